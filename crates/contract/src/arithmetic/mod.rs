//! The numeric contracts: for each arithmetic, the rule that fixes every bit of `Y = A V`.
//!
//! Everything here is short, scalar and obvious: it is what fast implementations are compared with, and what VERIFY.md
//! says in words. Nothing here is fast, parallel or aware of sparsity plans.

pub mod bf16_dot;
pub mod bounded;
pub mod chain;
pub mod exact;
pub mod fixed_point;
pub mod tensor_core;

use serde::{Deserialize, Serialize};
use std::fmt;

pub use tensor_core::{Architecture, Model as TensorCoreModel};

use crate::dtype::Dtype;

/// How a sum over k is cut into independently accumulated slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Slices {
    /// One chain over all k.
    One,
    /// Slice `s` holds `k` in `[s * len, min((s + 1) * len, K))`; the last may be short.
    Contiguous {
        /// S, the number of slices.
        count: usize,
        /// Consecutive k of a slice.
        len: usize,
    },
    /// Slice of `k` is `floor(k / group) mod count`.
    Dealt {
        /// S, the number of slices.
        count: usize,
        /// Consecutive k that are dealt out together.
        group: usize,
    },
}

impl Slices {
    /// Number of slices.
    pub fn count(self) -> usize {
        match self {
            Slices::One => 1,
            Slices::Contiguous { count, .. } | Slices::Dealt { count, .. } => count,
        }
    }

    /// The slice that the product at position `k` of the *original* matrix belongs to.
    pub fn slice_of(self, k: usize) -> usize {
        match self {
            Slices::One => 0,
            Slices::Contiguous { len, .. } => k / len,
            Slices::Dealt { count, group } => (k / group) % count,
        }
    }
}

/// The rule under which a case's output is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Arithmetic {
    /// Fused multiply-add chains in binary32, ascending k; one chain or several slices.
    F32Chain(Slices),
    /// Grouped, truncated accumulation as a tensor core does it.
    TensorCore(TensorCoreModel),
    /// Pairs of bf16 products as an instruction of x86-64 sums them.
    Bf16Dot(bf16_dot::Instruction),
    /// Integers small enough that every order of summation is exact.
    Exact,
    /// Rows of A and columns of V as integers, their exact sums, one rounding.
    FixedPoint,
    /// No bit contract: an elementwise error bound around a binary64 reference.
    Bounded,
}

impl Arithmetic {
    /// Whether the operator's digest is fixed by the contract.
    pub fn has_bit_contract(self) -> bool {
        match self {
            Arithmetic::F32Chain(_)
            | Arithmetic::TensorCore(_)
            | Arithmetic::Bf16Dot(_)
            | Arithmetic::Exact
            | Arithmetic::FixedPoint => true,
            Arithmetic::Bounded => false,
        }
    }

    /// The rule's result for one output element, before rounding to the output dtype.
    ///
    /// `a` and `v` hold the row of A and the column of V, both of length k, as binary32.
    pub fn dot(self, a: &[f32], v: &[f32]) -> f32 {
        match self {
            Arithmetic::F32Chain(slices) => chain::dot(slices, a, v),
            Arithmetic::TensorCore(model) => tensor_core::dot(model, a, v),
            Arithmetic::Bf16Dot(instruction) => bf16_dot::dot(instruction, a, v),
            Arithmetic::Exact => exact::dot(a, v),
            Arithmetic::FixedPoint => fixed_point::dot(a, v),
            Arithmetic::Bounded => bounded::reference(a, v) as f32,
        }
    }

    /// Whether an operand dtype can be used under this rule.
    pub fn accepts(self, dtype: Dtype) -> bool {
        match self {
            Arithmetic::TensorCore(model) => model.format.dtype() == dtype,
            Arithmetic::Bf16Dot(_) => dtype == Dtype::Bf16,
            Arithmetic::F32Chain(_)
            | Arithmetic::Exact
            | Arithmetic::FixedPoint
            | Arithmetic::Bounded => true,
        }
    }
}

/// The name in manifests, case ids, expected files and records.
impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arithmetic::F32Chain(Slices::One) => write!(f, "f32-chain"),
            Arithmetic::F32Chain(Slices::Contiguous { count, len }) => {
                write!(f, "f32-sliced-{count}x{len}")
            }
            Arithmetic::F32Chain(Slices::Dealt { count, group }) => {
                write!(f, "f32-sliced-{count}by{group}")
            }
            Arithmetic::TensorCore(model) => write!(f, "tensor-core-{}", model.architecture),
            Arithmetic::Bf16Dot(instruction) => write!(f, "tensor-core-{instruction}"),
            Arithmetic::Exact => write!(f, "exact"),
            Arithmetic::FixedPoint => write!(f, "fixed-point-{}", fixed_point::BITS),
            Arithmetic::Bounded => write!(f, "bounded"),
        }
    }
}
