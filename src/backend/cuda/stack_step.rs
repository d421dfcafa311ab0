//! The step between two products of a stack, on a device (VERIFY.md section 15).

use std::sync::Arc;

use super::compile::Source;
use super::device::Device;
use super::error::CudaError;
use super::launch::{Arguments, Grid, Kernel};
use super::matrix::{DeviceMatrix, Layout};
use super::memory::Buffer;
use super::timed_call::{define_sets, defines};
use super::variants::{ANY, Variant};
use contract::dtype::Dtype;

const SOURCE: Source =
    Source { name: "stack_step.cu", text: include_str!("../../../kernels/stack_step.cu") };
const MAX: &str = "column_max";
const ADD: &str = "add_scaled";
const FINISH: &str = "finish";

/// Of a block.
const THREADS: u32 = 128;
/// Rows that a thread of `column_max` looks at.
const ROWS: usize = 64;

/// All that [`StackStep::new`] may ask for: each has all entries.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let variant = |defines| Variant { source: SOURCE, entry: FINISH, defines, capabilities: ANY };
    define_sets().into_iter().map(variant)
}

/// The greatest magnitude of each column of a matrix, as the bits of a binary32.
pub struct ColumnMax(Buffer);

impl ColumnMax {
    /// Room for `n` columns.
    pub fn new(device: &Arc<Device>, n: usize) -> Result<ColumnMax, CudaError> {
        Ok(ColumnMax(Buffer::zeroed(device, 4 * n, "the greatest magnitudes of columns")?))
    }
}

/// A feed: the rows that were written of an output, or a block's input, with the greatest magnitudes of its columns.
#[derive(Clone, Copy)]
pub struct DeviceFeed<'a> {
    pub matrix: &'a DeviceMatrix,
    pub largest: &'a ColumnMax,
    /// For each row of the feed the row of the matrix where it lies, or -1 for a row of zeros: one i32 each. `None`: each is
    /// at its own place.
    pub place: Option<&'a Buffer>,
}

/// Kernels of the step and what they need between each other, for V's of n columns.
pub struct StackStep {
    kernels: Kernels,
    n: usize,
    /// rows x n, f32, of the greatest number of rows.
    sum: DeviceMatrix,
    largest: ColumnMax,
}

struct Kernels {
    max_of_outputs: Kernel,
    max_of_inputs: Kernel,
    max_of_sums: Kernel,
    add_outputs: Kernel,
    add_inputs: Kernel,
    finish: Kernel,
}

impl StackStep {
    /// For V's of up to `rows` rows and `n` columns, which are rounded to `dtype` and held as `stored`, and outputs held as
    /// `output`.
    pub fn new(
        device: &Arc<Device>,
        (rows, n): (usize, usize),
        [dtype, stored, output]: [Dtype; 3],
    ) -> Result<StackStep, CudaError> {
        let kernel = |name: &str, values, stored| {
            Kernel::new(device, SOURCE, &defines(values, stored), name, 0)
        };
        let kernels = Kernels {
            max_of_outputs: kernel(MAX, output, output)?,
            max_of_inputs: kernel(MAX, stored, stored)?,
            max_of_sums: kernel(MAX, Dtype::F32, Dtype::F32)?,
            add_outputs: kernel(ADD, output, output)?,
            add_inputs: kernel(ADD, stored, stored)?,
            finish: kernel(FINISH, dtype, stored)?,
        };
        let sum =
            DeviceMatrix::new_in(Layout::Dense, device, (rows, n), Dtype::F32, "sums of feeds")?;
        let largest = ColumnMax::new(device, n)?;
        Ok(StackStep { kernels, n, sum, largest })
    }

    /// Bytes of device memory kept between calls.
    pub fn bytes_held(&self) -> usize {
        self.sum.buffer.bytes() + self.largest.0.bytes()
    }

    /// The greatest magnitudes of the first `rows` rows of an output, in stream order.
    pub fn output_max(
        &self,
        y: &DeviceMatrix,
        rows: usize,
        largest: &mut ColumnMax,
    ) -> Result<(), CudaError> {
        max(&self.kernels.max_of_outputs, y, rows, largest)
    }

    /// The same of a block's input.
    pub fn input_max(&self, v: &DeviceMatrix, largest: &mut ColumnMax) -> Result<(), CudaError> {
        max(&self.kernels.max_of_inputs, v, v.rows, largest)
    }

    /// V of these feeds, each an output or (`true`) the block's input, in stream order.
    ///
    /// # Panics
    /// If a feed has no row or not n columns, or V is larger than was said, or not row-major.
    pub fn make(
        &mut self,
        feeds: &[(DeviceFeed<'_>, bool)],
        v: &mut DeviceMatrix,
    ) -> Result<(), CudaError> {
        let is_known = v.rows <= self.sum.rows
            && v.cols == self.n
            && v.layout != Layout::ColumnMajor
            && feeds.iter().all(|(feed, _)| feed.matrix.rows > 0 && feed.matrix.cols == self.n);
        assert!(is_known, "the caller made feeds and V for this step");
        if v.rows == 0 || self.n == 0 {
            return Ok(());
        }
        for (at, (feed, is_input)) in feeds.iter().enumerate() {
            let DeviceFeed { matrix, largest, place } = feed;
            let kernel = match is_input {
                true => &self.kernels.add_inputs,
                false => &self.kernels.add_outputs,
            };
            let arguments = Arguments::new()
                .with(matrix.pointer())
                .with(matrix.stride as u32)
                .with(matrix.rows as u32)
                .with(place.map_or(0, Buffer::pointer))
                .with(largest.0.pointer())
                .with(self.n as u32)
                .with(u32::from(at == 0))
                .with(self.sum.pointer());
            // SAFETY: arguments as at the kernel's head; the feed's rows are those of the matrix, or where `place` says,
            // which the caller made for it; all of them live until the device is waited for, as memory that is freed in
            // stream order does.
            unsafe { kernel.launch(grid(v.rows, self.n), &arguments) }?;
        }
        max(&self.kernels.max_of_sums, &self.sum, v.rows, &mut self.largest)?;
        let arguments = Arguments::new()
            .with(self.sum.pointer())
            .with(self.largest.0.pointer())
            .with(self.n as u32)
            .with(v.pointer())
            .with(v.stride as u32);
        // SAFETY: as above; V has so many rows of n columns.
        unsafe { self.kernels.finish.launch(grid(v.rows, self.n), &arguments) }
    }
}

fn grid(rows: usize, n: usize) -> Grid {
    let blocks = (rows as u32, n.div_ceil(THREADS as usize) as u32, 1);
    Grid { blocks, threads: THREADS, shared_bytes: 0 }
}

/// The greatest magnitudes of the first `rows` rows.
fn max(
    kernel: &Kernel,
    matrix: &DeviceMatrix,
    rows: usize,
    ColumnMax(largest): &mut ColumnMax,
) -> Result<(), CudaError> {
    let n = matrix.cols;
    assert!(rows <= matrix.rows && 4 * n <= largest.bytes(), "the caller made both");
    largest.fill(0)?;
    if rows == 0 || n == 0 {
        return Ok(());
    }
    let arguments = Arguments::new()
        .with(matrix.pointer())
        .with(matrix.stride as u32)
        .with(rows as u32)
        .with(n as u32)
        .with(largest.pointer());
    // SAFETY: arguments as at the kernel's head; the matrix has so many rows of n columns, and `largest` n words.
    unsafe { kernel.launch(grid(rows.div_ceil(ROWS), n), &arguments) }
}
