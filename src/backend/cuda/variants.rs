//! Every kernel that this program can ask a compiler for, so that all can be compiled where there is
//! no device. Each list stands beside the code that asks.

use super::compile::{Cubin, Source, architecture_name, cubin};
use super::error::CudaError;
use super::{
    fixed_point, gemm_chain, generic, grouped, scattered, spmm, stack_step, tensor_core,
    timed_call, timer, torch_normal, watch,
};

/// One kernel under one set of defines.
#[derive(Clone, Debug)]
pub struct Variant {
    pub source: Source,
    /// The kernel's name in the source.
    pub entry: &'static str,
    pub defines: Vec<String>,
    /// The least and the greatest compute capability that it is made for.
    pub capabilities: ((i32, i32), (i32, i32)),
}

/// Every compute capability.
pub(super) const ANY: ((i32, i32), (i32, i32)) = ((0, 0), (i32::MAX, 0));

/// All variants of all kernels.
pub fn kernel_variants() -> Vec<Variant> {
    generic::variants()
        .chain(fixed_point::variants())
        .chain(gemm_chain::kernel_variants())
        .chain(grouped::variants())
        .chain(scattered::variants())
        .chain(spmm::kernel_variants())
        .chain(stack_step::variants())
        .chain(tensor_core::kernel_variants())
        .chain(timed_call::variants())
        .chain(timer::variants())
        .chain(torch_normal::variants())
        .chain(watch::variants())
        .collect()
}

impl Variant {
    /// Whether a device of this compute capability may be given it.
    pub fn serves(&self, capability: (i32, i32)) -> bool {
        (self.capabilities.0..=self.capabilities.1).contains(&capability)
    }

    /// Compiles it, or takes it from the cache; needs no device.
    pub fn compile(&self, capability: (i32, i32)) -> Result<Cubin, CudaError> {
        cubin(self.source, &architecture_name(capability), &self.defines)
    }
}
