//! Elements of `torch.randn` as a CUDA device draws them. Not on a CPU: they go through the device's fast
//! sine and cosine.

use std::sync::Arc;

use super::compile::Source;
use super::device::Device;
use super::error::CudaError;
use super::launch::{Arguments, Grid, Kernel};
use super::memory::Buffer;
use super::variants::{ANY, Variant};

const TORCH_NORMAL: Source =
    Source { name: "torch_normal.cu", text: include_str!("../../../kernels/torch_normal.cu") };
const ENTRY: &str = "torch_normal";

/// Of a block.
const THREADS: u32 = 256;

/// What [`torch_normal`] asks for.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let (source, entry) = (TORCH_NORMAL, ENTRY);
    std::iter::once(Variant { source, entry, defines: Vec::new(), capabilities: ANY })
}

/// A tensor by its place in a generator's stream.
#[derive(Clone, Copy, Debug)]
pub struct NormalDraw {
    pub seed: u64,
    /// Philox calls of each thread before this tensor.
    pub first_call: u64,
    /// Threads that the device which is imitated draws with.
    pub threads: u32,
}

/// Fills `out` with elements `first`, `first + 1`, ... of a tensor.
pub fn torch_normal(
    device: &Arc<Device>,
    draw: NormalDraw,
    first: usize,
    out: &mut [f32],
) -> Result<(), CudaError> {
    // `NormalDraw` is open to all: the kernel divides by the threads.
    let refused = |what: String| CudaError::new("drawing normal numbers", what, ENTRY);
    if draw.threads == 0 {
        return Err(refused("no threads to draw with".into()));
    }
    let count = u32::try_from(out.len())
        .ok()
        .filter(|&count| count <= i32::MAX as u32)
        .ok_or_else(|| refused(format!("{} elements, of at most {}", out.len(), i32::MAX)))?;
    if count == 0 {
        return Ok(());
    }
    let kernel = Kernel::new(device, TORCH_NORMAL, &[], ENTRY, 0)?;
    let drawn = Buffer::new(device, size_of_val(out), "normal numbers")?;
    let arguments = Arguments::new()
        .with(drawn.pointer())
        .with(draw.seed)
        .with(draw.first_call)
        .with(first as u64)
        .with(draw.threads)
        .with(count);
    let grid = Grid { blocks: (count.div_ceil(THREADS), 1, 1), threads: THREADS, shared_bytes: 0 };
    // SAFETY: arguments as at the kernel's head; the buffer has `count` floats and lives until it was read.
    unsafe { kernel.launch(grid, &arguments)? };
    drawn.read(out)
}
