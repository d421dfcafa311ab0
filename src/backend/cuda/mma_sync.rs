//! The plain tensor-core kernel: mma.sync, any shape, every zero multiplied.

use std::sync::Arc;

use ndarray::ArrayView2;

use super::compile::Source;
use super::device::Device;
use super::error::CudaError;
use super::generic::{output_define, require_i32};
use super::launch::{Arguments, Grid, Kernel};
use super::matrix::DeviceMatrix;
use super::memory::Buffer;
use super::variants::Variant;
use crate::arithmetic::tensor_core::Format;
use crate::matrix::Dtype;

const GEMM_MMA_SYNC: Source =
    Source { name: "gemm_mma_sync.cu", text: include_str!("../../../kernels/gemm_mma_sync.cu") };

/// Outputs of one block, and its threads: as at the kernel's head.
const TILE_M: usize = 64;
const TILE_N: usize = 32;
const THREADS: u32 = 128;

fn defines(format: Format, output: Dtype) -> Vec<String> {
    let format = match format {
        Format::F16 => "FORMAT_F16",
        Format::Bf16 => "FORMAT_BF16",
        Format::Tf32 => "FORMAT_TF32",
    };
    std::iter::once(format.to_owned()).chain(output_define(output)).collect()
}

/// The least compute capability whose `mma.sync` has the format with f32 sums in these shapes, and which has
/// instructions to round to `output`.
fn capability_min(format: Format, output: Dtype) -> (i32, i32) {
    match (format, output) {
        (Format::F16, Dtype::F32 | Dtype::F16) => (7, 5),
        _ => (8, 0),
    }
}

/// All that [`MmaSyncA::pack`] may ask for.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let each = |format: Format| {
        [Dtype::F32, Dtype::Bf16, Dtype::F16].map(move |output| Variant {
            source: GEMM_MMA_SYNC,
            entry: "gemm_mma_sync",
            defines: defines(format, output),
            capabilities: (capability_min(format, output), (i32::MAX, 0)),
        })
    };
    Format::ALL.into_iter().flat_map(each)
}

/// All of A, as it is.
pub struct MmaSyncA {
    kernel: Kernel,
    /// Row-major, without gaps.
    values: Buffer,
    m: usize,
    k: usize,
    input: Dtype,
}

impl MmaSyncA {
    /// Uploads A, whose elements are values of the format's dtype.
    ///
    /// Errors: a device whose tensor cores lack the format, or the output's.
    pub fn pack(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        format: Format,
        output: Dtype,
    ) -> Result<MmaSyncA, CudaError> {
        let (major, minor) = capability_min(format, output);
        if device.compute_capability() < (major, minor) {
            let has = &device.info.compute_capability;
            let why = format!("compute capability {has}, at least {major}.{minor} is needed");
            return Err(CudaError::new("mma.sync", why, format.name()));
        }
        let kernel =
            Kernel::new(device, GEMM_MMA_SYNC, &defines(format, output), "gemm_mma_sync", 0)?;
        let input = format.dtype();
        let mut bytes = Vec::with_capacity(a.len() * input.size());
        for row in a.rows() {
            input.encode(&row.to_vec(), &mut bytes);
        }
        let values = Buffer::from_slice(device, &bytes, "A")?;
        Ok(MmaSyncA { kernel, values, m: a.nrows(), k: a.ncols(), input })
    }

    /// Y = A V for V of the format's dtype, both row-major.
    ///
    /// # Panics
    /// If the shapes are not those of a product, or V is of another dtype.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        assert_eq!(
            (y.rows, v.rows, y.cols),
            (self.m, self.k, v.cols),
            "the caller made A, V and Y for each other"
        );
        assert_eq!(v.dtype, self.input, "the operator asked for it");
        if y.rows == 0 || y.cols == 0 {
            return Ok(());
        }
        // The kernel writes rows without gaps: what lies between the rows of Y is written as well, from what lies
        // between those of V. Both are padded alike.
        if v.stride < y.stride {
            let asked = format!("strides {} of V and {} of Y", v.stride, y.stride);
            return Err(CudaError::new("mma.sync", "Y's rows are longer than V's", asked));
        }
        let arguments = Arguments::new()
            .with(self.values.pointer())
            .with(v.pointer())
            .with(y.pointer())
            .with(require_i32("rows of A", self.m)?)
            .with(require_i32("columns of A", self.k)?)
            .with(require_i32("columns of Y", y.stride)?)
            .with(require_i32("columns of V", v.stride)?);
        let blocks = (y.stride.div_ceil(TILE_N) as u32, self.m.div_ceil(TILE_M) as u32, 1);
        // SAFETY: arguments as at the kernel's head, with n the padded length of a row of Y, which rows of V have at
        // least; shapes were checked; buffers are freed in stream order.
        unsafe {
            self.kernel.launch(Grid { blocks, threads: THREADS, shared_bytes: 0 }, &arguments)
        }
    }

    pub fn bytes_held(&self) -> usize {
        self.values.bytes()
    }
}
