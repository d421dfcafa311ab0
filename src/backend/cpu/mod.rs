//! The CPU: dispatch paths and the kernels behind them.

mod csr_rows;
mod float_env;
mod gemm_rs;
mod isa;
mod peak;
mod vendor;

pub use csr_rows::csr_row;
pub use float_env::{float_environment_is_ieee, reset_float_environment};
pub use gemm_rs::{GEMM_RS_VERSION, sgemm_gemm_rs};
pub use isa::Isa;
pub use peak::{flops_per_round, fma_rounds, read_sum};
pub use vendor::{MklCsr, OneMkl, OpenBlas, Search};
