//! Inputs of timed calls, drawn on the device, and elements of their outputs, gathered there.

use std::sync::Arc;

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

/// All that [`DeviceMatrix::draw`] and [`gather`] may ask for.
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
}

/// Elements of a matrix where these rows and columns meet. A row of `u32::MAX` is one of zeros; `None` is all
/// rows.
pub struct Crossing<'a> {
    pub matrix: &'a DeviceMatrix,
    pub rows: Option<&'a [u32]>,
    pub columns: &'a [u32],
}

impl Crossing<'_> {
    fn row_count(&self) -> usize {
        self.rows.map_or(self.matrix.rows, <[u32]>::len)
    }

    /// Elements that are wanted.
    fn len(&self) -> usize {
        self.row_count() * self.columns.len()
    }
}

/// Copies the elements of crossings to `out`, row-major, one crossing behind the other, after all work given before: with one
/// copy there and one back, however many they are.
///
/// # Panics
/// If there is no such row or column, or `out` is of another length.
pub fn gather(
    device: &Arc<Device>,
    crossings: &[Crossing<'_>],
    out: &mut [f32],
) -> Result<(), CudaError> {
    for Crossing { matrix, rows, columns } in crossings {
        let is_row = |&row: &u32| row == u32::MAX || (row as usize) < matrix.rows;
        assert!(rows.is_none_or(|rows| rows.iter().all(is_row)), "the caller knows the shape");
        assert!(columns.iter().all(|&column| (column as usize) < matrix.cols));
    }
    let len = crossings.iter().map(Crossing::len).sum::<usize>();
    assert!(len == out.len(), "{len} elements to {}", out.len());
    if out.is_empty() {
        return Ok(());
    }
    let lines = crossings.iter().flat_map(|of| [of.rows.unwrap_or_default(), of.columns]);
    let lines =
        Buffer::from_slice(device, &lines.collect::<Vec<_>>().concat(), "rows and columns")?;
    let gathered = Buffer::new(device, size_of_val(out), "elements")?;
    // Where the next crossing's rows and columns are, and where its elements go.
    let (mut line, mut to) = (lines.pointer(), gathered.pointer());
    for crossing in crossings {
        let Crossing { matrix, rows, columns } = crossing;
        let columns_from = line + rows.map_or(0, size_of_val) as u64;
        if crossing.len() > 0 {
            let kernel = Kernel::new(device, SOURCE, &gather_defines(matrix.dtype), GATHER, 0)?;
            let arguments = Arguments::new()
                .with(matrix.pointer())
                .with(matrix.stride as u32)
                .with(line_of(matrix.layout))
                .with(if rows.is_some() { line } else { 0 })
                .with(crossing.row_count() as u32)
                .with(columns_from)
                .with(columns.len() as u32)
                .with(to);
            // SAFETY: arguments as at the kernel's head, which reads rows and columns that the matrix has, and writes as many
            // elements as were counted for it; all of the memory lives until the elements were read.
            unsafe { kernel.launch(grid(crossing.len() as u64, GATHER)?, &arguments)? };
        }
        line = columns_from + size_of_val(*columns) as u64;
        to += (size_of::<f32>() * crossing.len()) as u64;
    }
    gathered.read(out)
}

/// A counter in device memory, at zero.
pub fn counter(device: &Arc<Device>) -> Result<Buffer, CudaError> {
    Buffer::zeroed(device, 4, "a counter")
}
