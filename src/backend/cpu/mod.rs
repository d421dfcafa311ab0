//! The CPU: dispatch paths and the kernels behind them.

mod float_environment;
mod isa;
mod memory;
mod order;
mod packed;
mod scratch;
mod sparse;
mod sparse_kernels;
mod sparse_pack;
mod tensor_core;
mod threads;
mod tile_kernels;
mod tiles;

#[cfg(test)]
mod chain_tests;

pub use float_environment::{float_environment_is_ieee, reset_float_environment};
pub use isa::Isa;
pub use packed::PackedV;
pub use sparse::{SparseA, spmm_chain};
pub use tensor_core::{GroupSelection, GroupedA, GroupedV, gemm_tensor_core};
pub use threads::parallel_for;
pub use tiles::{Selection, TiledA, gemm_chain};
