//! Inputs of timed calls, drawn on the device, and elements of their outputs, gathered there.

use std::sync::Arc;

use ndarray::Array2;

use super::compile::Source;
use super::device::Device;
use super::error::CudaError;
use super::generic::output_define;
use super::launch::{Arguments, Grid, Kernel};
use super::matrix::{DeviceMatrix, Layout};
use super::memory::Buffer;
use super::variants::{ANY, Variant};
use contract::dtype::Dtype;
use contract::inputs::spec::Values;

const SOURCE: Source =
    Source { name: "timed_call.cu", text: include_str!("../../../kernels/timed_call.cu") };
const DRAW: &str = "draw_values";
const GATHER: &str = "gather_values";

/// Of a block.
const THREADS: u32 = 128;

/// The defines for elements of `values` that are held as `stored`.
pub(super) fn defines(values: Dtype, stored: Dtype) -> Vec<String> {
    let widened = (values != Dtype::F32 && stored == Dtype::F32).then(|| "STORE_F32".into());
    output_define(values).into_iter().chain(widened).collect()
}

/// All that [`DeviceMatrix::draw`] and [`DeviceMatrix::gather`] may ask for.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let draw = define_sets().into_iter().map(|defines| (DRAW, defines));
    // What is gathered is widened from what it is held as.
    let all = [Dtype::F32, Dtype::Bf16, Dtype::F16];
    let gather = all.into_iter().map(|held| (GATHER, gather_defines(held)));
    draw.chain(gather).map(|(entry, defines)| Variant {
        source: SOURCE,
        entry,
        defines,
        capabilities: ANY,
    })
}

/// All that [`defines`] gives for elements held as they are, or as binary32.
pub(super) fn define_sets() -> Vec<Vec<String>> {
    let all = [Dtype::F32, Dtype::Bf16, Dtype::F16];
    let forms = all.into_iter().flat_map(|values| [(values, values), (values, Dtype::F32)]);
    let mut sets: Vec<_> = forms.map(|(values, stored)| defines(values, stored)).collect();
    sets.sort();
    sets.dedup();
    sets
}

fn gather_defines(held: Dtype) -> Vec<String> {
    output_define(held).into_iter().chain(["GATHER".to_owned()]).collect()
}

/// A stream of synthetic values (VERIFY.md sections 1 and 2).
#[derive(Clone, Copy, Debug)]
pub struct Drawing {
    pub key: [u32; 8],
    pub values: Values,
    /// What values are rounded to, whatever they are held as.
    pub dtype: Dtype,
}

impl Drawing {
    /// Number of the kernel's kind of values, and words of an element.
    fn kind(&self) -> (u32, u64) {
        match self.values {
            Values::Uniform => (0, 1),
            Values::HeavyTailed => (1, 2),
            Values::Binomial | Values::Wide => (2, 2),
            Values::Ternary => (3, 1),
        }
    }
}

/// Blocks of so many threads in all.
fn grid(threads: u64, what: &str) -> Result<Grid, CudaError> {
    let blocks = u32::try_from(threads.div_ceil(THREADS.into())).ok();
    let blocks = blocks.filter(|&blocks| blocks <= i32::MAX as u32).ok_or_else(|| {
        CudaError::new("launching a kernel", format!("{threads} threads are too many"), what)
    })?;
    Ok(Grid { blocks: (blocks.max(1), 1, 1), threads: THREADS, shared_bytes: 0 })
}

fn line_of(layout: Layout) -> u32 {
    match layout {
        Layout::RowMajor | Layout::Dense => 0,
        Layout::ColumnMajor => 1,
    }
}

impl DeviceMatrix {
    fn drawn(
        &self,
        drawing: &Drawing,
        number: u64,
        differing: Option<&Buffer>,
    ) -> Result<(), CudaError> {
        let count = self.rows as u64 * self.cols as u64;
        let (kind, words) = drawing.kind();
        let first = number.checked_mul(count).and_then(|first| first.checked_mul(words));
        let refused = |what: String| CudaError::new("drawing inputs", what, DRAW);
        let first = first.ok_or_else(|| refused(format!("number {number} of a stream")))?;
        if count > i32::MAX as u64 {
            return Err(refused(format!("{count} elements, of at most {}", i32::MAX)));
        }
        if ![drawing.dtype, Dtype::F32].contains(&self.dtype) {
            return Err(refused(format!("{} held as {}", drawing.dtype, self.dtype)));
        }
        if count == 0 {
            return Ok(());
        }
        let device = self.buffer.device();
        let kernel = Kernel::new(device, SOURCE, &defines(drawing.dtype, self.dtype), DRAW, 0)?;
        // From the block of the first word to that of the last.
        let blocks = (first + count * words).div_ceil(16) - first / 16;
        let arguments = Arguments::new()
            .with(self.pointer())
            .with(differing.map_or(0, Buffer::pointer))
            .with(drawing.key)
            .with(first)
            .with(self.rows as u32)
            .with(self.cols as u32)
            .with(self.stride as u32)
            .with(line_of(self.layout))
            .with(kind);
        // SAFETY: arguments as at the kernel's head; the matrix and the counter live until the caller has waited, as
        // memory that is freed in stream order does.
        unsafe { kernel.launch(grid(blocks, DRAW)?, &arguments) }
    }

    /// Gives tensor `number` of a stream to the matrix, in stream order: element e is element `number * rows * cols + e`.
    /// What lies between lines becomes zero.
    pub fn draw(&mut self, drawing: &Drawing, number: u64) -> Result<(), CudaError> {
        self.buffer.fill(0)?;
        self.drawn(drawing, number, None)
    }

    /// Adds to `count` (a u32 in device memory), in stream order, the elements that are not those of [`DeviceMatrix::draw`].
    pub fn count_differing(
        &self,
        drawing: &Drawing,
        number: u64,
        count: &Buffer,
    ) -> Result<(), CudaError> {
        self.drawn(drawing, number, Some(count))
    }

    /// Elements where rows and columns meet, after all work given before. A row of `u32::MAX` is one of zeros; `None`
    /// is all rows.
    ///
    /// # Panics
    /// If there is no such row or column.
    pub fn gather(&self, rows: Option<&[u32]>, columns: &[u32]) -> Result<Array2<f32>, CudaError> {
        let row_count = rows.map_or(self.rows, <[u32]>::len);
        let is_row = |&row: &u32| row == u32::MAX || (row as usize) < self.rows;
        assert!(rows.is_none_or(|rows| rows.iter().all(is_row)), "the caller knows the shape");
        assert!(columns.iter().all(|&column| (column as usize) < self.cols));
        let mut out = Array2::zeros((row_count, columns.len()));
        if out.is_empty() {
            return Ok(out);
        }
        let device = self.buffer.device();
        let kernel = Kernel::new(device, SOURCE, &gather_defines(self.dtype), GATHER, 0)?;
        let lines = rows.map(|rows| Buffer::from_slice(device, rows, "rows")).transpose()?;
        let wanted = Buffer::from_slice(device, columns, "columns")?;
        let gathered = Buffer::new(device, 4 * out.len(), "elements")?;
        let arguments = Arguments::new()
            .with(self.pointer())
            .with(self.stride as u32)
            .with(line_of(self.layout))
            .with(lines.as_ref().map_or(0, Buffer::pointer))
            .with(row_count as u32)
            .with(wanted.pointer())
            .with(columns.len() as u32)
            .with(gathered.pointer());
        // SAFETY: arguments as at the kernel's head, which reads rows and columns that the matrix has; all of them live
        // until the elements were read.
        unsafe { kernel.launch(grid(out.len() as u64, GATHER)?, &arguments)? };
        gathered.read(out.as_slice_mut().unwrap_or_default())?;
        Ok(out)
    }
}

/// A counter in device memory, at zero.
pub fn counter(device: &Arc<Device>) -> Result<Buffer, CudaError> {
    Buffer::zeroed(device, 4, "a counter")
}
