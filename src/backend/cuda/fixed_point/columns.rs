//! The powers of two of V's columns, on any device.

use std::sync::Arc;

use super::super::compile::Source;
use super::super::device::Device;
use super::super::error::CudaError;
use super::super::generic::require_i32;
use super::super::launch::{Arguments, Grid, Kernel};
use super::super::matrix::DeviceMatrix;
use super::super::memory::Buffer;
use super::super::variants::{ANY, Variant};

const SOURCE: Source =
    Source { name: "fixed_columns.cu", text: include_str!("../../../../kernels/fixed_columns.cu") };
const ENTRY: &str = "fixed_columns";
/// Columns of a block.
const AT_ONCE: usize = 32;

pub(super) fn variants() -> impl Iterator<Item = Variant> {
    [Variant { source: SOURCE, entry: ENTRY, defines: Vec::new(), capabilities: ANY }].into_iter()
}

/// The kernel, and a power for each column.
pub(super) struct Columns {
    kernel: Kernel,
    pub scales: Buffer,
}

impl Columns {
    pub(super) fn new(device: &Arc<Device>, n: usize) -> Result<Columns, CudaError> {
        let kernel = Kernel::new(device, SOURCE, &[], ENTRY, 0)?;
        Ok(Columns { kernel, scales: Buffer::new(device, n * 4, "scales of columns")? })
    }

    /// V has the n columns that this was made for.
    pub(super) fn launch(&self, v: &DeviceMatrix) -> Result<(), CudaError> {
        let arguments = Arguments::new()
            .with(v.pointer())
            .with(self.scales.pointer())
            .with(require_i32("rows of V", v.rows)?)
            .with(require_i32("columns of V", v.cols)?)
            .with(require_i32("columns of V", v.stride)?);
        let blocks = (v.cols.div_ceil(AT_ONCE) as u32, 1, 1);
        // SAFETY: arguments as at the kernel's head, V's shape as it is, a scale for each of its columns; buffers live
        // until the device is done with them, because freeing is in stream order.
        unsafe { self.kernel.launch(Grid { blocks, threads: 1024, shared_bytes: 0 }, &arguments) }
    }
}
