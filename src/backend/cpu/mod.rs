//! The CPU: dispatch paths and the kernels behind them.

mod amx;
mod bf16_dot;
mod caches;
mod csr_rows;
mod fixed_point;
mod float_environment;
mod gemm_rs;
mod isa;
mod memory;
mod nonzeros;
mod order;
mod packed;
mod peak;
mod per_isa;
mod scratch;
mod sparse;
mod sparse_kernels;
mod sparse_pack;
mod synthetic;
mod tensor_core;
mod threads;
mod tile_kernels;
mod tile_pack;
mod tiles;
mod vendor;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod drawn;

pub use bf16_dot::{PairedA, PairedV, gemm_bf16_dot, runs_itself};
pub use caches::CacheFlush;
pub use csr_rows::csr_row;
pub use fixed_point::{FixedA, FixedSelection, FixedV, fixed_point_has_tiles, gemm_fixed_point};
pub use float_environment::{float_environment_is_ieee, reset_float_environment};
pub use gemm_rs::{GEMM_RS_VERSION, sgemm_gemm_rs};
pub use isa::Isa;
pub use memory::keep_freed_memory;
pub use nonzeros::nonzero_bits;
pub use packed::PackedV;
pub use peak::{flops_per_round, fma_rounds, read_sum, vdpbf16ps_rounds};
pub(crate) use per_isa::per_isa;
pub use sparse::{SparseA, spmm_chain};
pub use synthetic::fill_synthetic;
pub use tensor_core::{GroupSelection, GroupedA, GroupedV, gemm_tensor_core};
pub use threads::{give_way, make_pool, parallel_for, with_threads};
pub use tiles::{Selection, TiledA, gemm_chain};
pub use vendor::{MklCsr, OneMkl, OpenBlas, Search};
