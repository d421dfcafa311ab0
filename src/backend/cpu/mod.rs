//! The CPU: dispatch paths and the kernels behind them.

mod isa;
pub mod tensor_core;

pub use isa::Isa;
