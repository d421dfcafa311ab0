//! What computes: buffers, kernels, timers, energy. The only room with `unsafe` and FFI.

pub mod cpu;
pub mod csr;
pub mod cuda;
mod error;
pub mod foreign;
pub mod namespaces;
pub mod shared;

pub use error::Error;
