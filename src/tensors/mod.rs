//! Matrices in files for other people's tools: .npy and safetensors, written and read by rows, never held whole. What a
//! file is of is not known here.

mod read;
mod write;

use contract::dtype::Dtype;

pub use read::{TensorError, TensorFile};
pub use write::{Npy, Safetensors};

/// A matrix as a file has it: row-major, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub rows: usize,
    pub columns: usize,
    pub dtype: Dtype,
}

impl Layout {
    /// Bytes of the elements; more than fits in 64 bits is as much as fits.
    pub fn bytes(&self) -> u64 {
        let product = (self.rows as u64).saturating_mul(self.columns as u64);
        product.saturating_mul(self.dtype.size() as u64)
    }

    /// The dtype as a .npy file's header has it. NumPy has no bf16: its 16 bits stand there as an integer.
    pub fn npy_descr(&self) -> &'static str {
        match self.dtype {
            Dtype::F32 => "<f4",
            Dtype::F16 => "<f2",
            Dtype::Bf16 => "<u2",
        }
    }

    /// The dtype by safetensors' own name.
    pub fn safetensors_dtype(&self) -> safetensors::Dtype {
        match self.dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::F16 => safetensors::Dtype::F16,
            Dtype::Bf16 => safetensors::Dtype::BF16,
        }
    }
}
