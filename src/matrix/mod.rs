//! Dense panels, dtypes and CSR: shapes and layouts, validated once, then trusted.
//! Depends on no other room.

mod csr;
mod dtype;

pub use csr::Csr;
pub use dtype::Dtype;
