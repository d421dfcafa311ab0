//! NVIDIA devices: driver, kernels compiled at run time, memory, timers, and the vendor's libraries.
//!
//! Everything is opened at run time: the same program starts where there is no CUDA, and each function
//! here then says what is missing.

pub mod compile;
mod cublas;
mod cusparse;
mod device;
mod error;
mod fixed_point;
mod gemm_chain;
mod generic;
mod graph;
mod grouped;
mod launch;
mod library;
mod live;
mod matrix;
mod memory;
pub mod nvml;
mod scattered;
pub mod segments;
mod spmm;
mod stack_step;
mod tensor_core;
mod tensor_map;
mod timed_call;
mod timer;
mod torch_normal;
mod variants;
mod watch;

pub use compile::{Source, architecture_name, compiler_version, cubin};
pub use cublas::{Cublas, Math, cublas_version, require_grouped};
pub use cusparse::{Cusparse, CusparseA, Spmm, SpmmAlgorithm, cusparse_version};
pub use device::{Device, device_count, device_names};
pub use error::CudaError;
pub use fixed_point::{FixedKernel, FixedPointA};
pub use gemm_chain::{ChainA, ChainPlan};
pub use generic::{ModelA, SlicedA};
pub use graph::Graph;
pub use grouped::{ExpertAddresses, GroupedA};
pub use live::Selection;
pub use matrix::{DeviceMatrix, Layout, ROW_MULTIPLE};
pub use memory::{Buffer, Handle, PinnedOutputs};
pub use scattered::{Scatter, ScatteredA};
pub use spmm::{Pattern, SpmmA as ChainSpmmA};
pub use stack_step::{ColumnMax, DeviceFeed, StackStep};
pub use tensor_core::{MmaSyncA, TensorCoreA, TensorCores, tensor_cores};
pub use timed_call::{Crossing, Drawing, counter, gather};
pub use timer::{CALLS_MAX, Timer};
pub use torch_normal::{NormalDraw, torch_normal};
pub use variants::{Variant, kernel_variants};
pub use watch::Watch;
