//! The CPU: dispatch paths and the kernels behind them.

mod isa;

pub use isa::Isa;
