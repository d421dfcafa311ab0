//! Ways to sum a row's products that libraries are known to use.

use std::collections::HashSet;
use std::fmt;

use contract::arithmetic::bf16_dot;
use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::tensor_core;
use contract::arithmetic::tensor_core::{Architecture, Format};
use contract::arithmetic::{Arithmetic, Slices, TensorCoreModel, chain};
use contract::dtype::Dtype;

/// Most slices of a split over k that are tried: vendor libraries split among few workers.
const SLICES_MAX: usize = 16;
/// Slice lengths of a split over k are rounded up to one of these.
const ROUNDINGS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Consecutive k that are dealt out together.
const GROUPS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Block lengths over k of cache-blocked kernels: multiples of 8 in this range.
const BLOCK_LENGTHS: std::ops::RangeInclusive<usize> = 64..=1024;

/// A way to sum a row's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// One that a case can name.
    Named(Slices),
    /// As the tensor cores of an architecture do, without a split over k.
    TensorCore(TensorCoreModel),
    /// As an instruction of CPUs sums pairs of bf16.
    Bf16Dot(Instruction),
    /// Blocks of `len` consecutive k, but a rest between one and two blocks is cut after
    /// `half`. This is how GotoBLAS and its successor OpenBLAS cut k (`min_l` in
    /// driver/level3/level3.c): in halves, the first rounded up to the kernel's unrolling.
    HalvedRest { len: usize, half: usize },
    /// One chain whose multiplications are rounded before they are added.
    Unfused,
}

impl Model {
    /// One output element, before it is rounded to the output dtype.
    pub fn dot(self, a: &[f32], v: &[f32]) -> f32 {
        match self {
            // As `chain::dot`, without a division for each product: this is what screening waits for.
            Model::Named(Slices::Contiguous { len, .. }) => {
                let slices = a.chunks(len).zip(v.chunks(len));
                let sums = slices.map(|(a, v)| chain::dot(Slices::One, a, v));
                sums.reduce(|y, slice| y + slice).unwrap_or(0.0)
            }
            Model::Named(Slices::Dealt { count, group }) => {
                let mut sums = vec![0.0f32; count];
                for (g, (a, v)) in a.chunks(group).zip(v.chunks(group)).enumerate() {
                    let y = &mut sums[g % count];
                    *y = a.iter().zip(v).fold(*y, |y, (&a, &v)| a.mul_add(v, y));
                }
                sums.into_iter().reduce(|y, slice| y + slice).unwrap_or(0.0)
            }
            Model::Named(Slices::One) => chain::dot(Slices::One, a, v),
            Model::TensorCore(model) => tensor_core::dot(model, a, v),
            Model::Bf16Dot(instruction) => bf16_dot::dot(instruction, a, v),
            Model::Unfused => a.iter().zip(v).fold(0.0, |y, (&a, &v)| y + a * v),
            Model::HalvedRest { len, half } => {
                let (mut start, mut sum) = (0, None);
                while start < a.len() {
                    let end = start + next_block(a.len() - start, len, half);
                    let slice = chain::dot(Slices::One, &a[start..end], &v[start..end]);
                    sum = Some(sum.map_or(slice, |sum: f32| sum + slice));
                    start = end;
                }
                sum.unwrap_or(0.0)
            }
        }
    }

    /// The slice that each k belongs to, of models that sum in binary32.
    pub fn slices(self, k: usize) -> Vec<usize> {
        match self {
            Model::TensorCore(_) | Model::Bf16Dot(_) => Vec::new(),
            Model::Named(slices) => (0..k).map(|k| slices.slice_of(k)).collect(),
            // One chain, but of another kind: it must not be taken for the fused one.
            Model::Unfused => vec![usize::MAX; k],
            Model::HalvedRest { len, half } => {
                let mut slices = Vec::with_capacity(k);
                for slice in 0.. {
                    if slices.len() == k {
                        break;
                    }
                    let end = slices.len() + next_block(k - slices.len(), len, half);
                    slices.resize(end, slice);
                }
                slices
            }
        }
    }

    /// All candidates for a sum of `k` products of operands of `dtype`, the likeliest first; none is
    /// another in disguise. The tensor cores of `architecture` come before those of others.
    pub fn candidates(k: usize, dtype: Dtype, architecture: Option<Architecture>) -> Vec<Model> {
        let (mut chains, mut cores) =
            (Model::chains(k), Model::tensor_cores(Format::of(dtype), architecture));
        match dtype {
            // TF32 has to be asked for.
            Dtype::F32 => {
                chains.append(&mut cores);
                chains
            }
            Dtype::Bf16 | Dtype::F16 => {
                cores.append(&mut chains);
                if dtype == Dtype::Bf16 {
                    cores.extend(Instruction::ALL.map(Model::Bf16Dot));
                }
                cores
            }
        }
    }

    fn tensor_cores(format: Format, architecture: Option<Architecture>) -> Vec<Model> {
        let mut seen = HashSet::new();
        architecture
            .into_iter()
            .chain(Architecture::ALL.into_iter().rev())
            .filter_map(|architecture| TensorCoreModel::of(architecture, format))
            .filter(|model| seen.insert((model.group, model.fraction_bits)))
            .map(Model::TensorCore)
            .collect()
    }

    /// Sums in binary32, the plainest first.
    fn chains(k: usize) -> Vec<Model> {
        let contiguous = |len: usize| {
            Model::Named(Slices::Contiguous { count: k.div_ceil(len.max(1)), len: len.max(1) })
        };
        let mut models = vec![Model::Named(Slices::One), Model::Unfused];
        for count in 2..=SLICES_MAX {
            models.extend(
                ROUNDINGS.map(|rounding| contiguous(k.div_ceil(count).next_multiple_of(rounding))),
            );
        }
        models.extend(BLOCK_LENGTHS.step_by(8).map(contiguous));
        for count in 2..=SLICES_MAX {
            models.extend(GROUPS.map(|group| Model::Named(Slices::Dealt { count, group })));
        }
        for len in BLOCK_LENGTHS.step_by(8).filter(|&len| len < k) {
            let rest = len + k % len;
            models.extend(ROUNDINGS.map(|rounding| Model::HalvedRest {
                len,
                half: rest.div_ceil(2).next_multiple_of(rounding).min(rest),
            }));
        }
        let mut seen = HashSet::new();
        models.retain(|model| seen.insert(model.slices(k)));
        models
    }

    /// The arithmetic that a case can name, if there is one.
    pub fn arithmetic(self) -> Option<Arithmetic> {
        match self {
            Model::TensorCore(model) => Some(Arithmetic::TensorCore(model)),
            Model::Bf16Dot(instruction) => Some(Arithmetic::Bf16Dot(instruction)),
            Model::Named(slices) => Some(Arithmetic::F32Chain(slices)),
            Model::HalvedRest { .. } | Model::Unfused => None,
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Model::Named(slices) => Arithmetic::F32Chain(*slices).fmt(f),
            Model::TensorCore(model) => {
                let TensorCoreModel { format, group, fraction_bits, .. } = model;
                let name = Arithmetic::TensorCore(*model);
                write!(f, "{name} ({}, L = {group}, F = {fraction_bits})", format.name())
            }
            Model::Bf16Dot(instruction) => Arithmetic::Bf16Dot(*instruction).fmt(f),
            Model::HalvedRest { len, half } => {
                write!(f, "blocks of {len}, the rest below two blocks cut after {half}")
            }
            Model::Unfused => write!(f, "one chain, multiply and add rounded apart"),
        }
    }
}

/// Length of the next block when `rest` products are left.
fn next_block(rest: usize, len: usize, half: usize) -> usize {
    match rest {
        _ if rest >= 2 * len => len,
        _ if rest > len => half,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_candidate_comes_twice() {
        for k in [1, 2, 17, 384, 1000, 4096] {
            let models = Model::chains(k);
            let mut all: Vec<_> = models.iter().map(|model| model.slices(k)).collect();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), models.len(), "k = {k}");
        }
    }

    #[test]
    fn what_was_seen_on_devices_is_among_the_candidates() {
        for (k, slices) in [
            (4096, Slices::Contiguous { count: 4, len: 1024 }),
            (4096, Slices::Dealt { count: 8, group: 8 }),
            (4096, Slices::Dealt { count: 7, group: 8 }),
            (14336, Slices::Dealt { count: 2, group: 8 }),
            (10000, Slices::Contiguous { count: 3, len: 3336 }),
        ] {
            let found = Model::candidates(k, Dtype::F32, None).contains(&Model::Named(slices));
            assert!(found, "{k} {slices:?}");
        }
    }

    #[test]
    fn tensor_cores_of_the_device_come_first() {
        let first = |dtype| Model::candidates(64, dtype, Some(Architecture::Hopper))[0].to_string();
        assert_eq!(first(Dtype::Bf16), "tensor-core-hopper (bf16, L = 16, F = 25)");
        assert_eq!(first(Dtype::F32), "f32-chain");
        // Two architectures of the same parameters are one candidate.
        assert_eq!(Model::tensor_cores(Format::F16, None).len(), 3);
        assert_eq!(Model::tensor_cores(Format::Tf32, Some(Architecture::Hopper)).len(), 2);
    }

    #[test]
    fn screening_sums_as_the_rule_does() {
        let word = |k: usize| (k as u32).wrapping_mul(2654435761) >> 9;
        let a: Vec<f32> = (0..101).map(|k| 1.0 + word(k) as f32 / (1 << 23) as f32).collect();
        let v: Vec<f32> = (0..101).map(|k| word(k + 500) as f32 / (1 << 22) as f32 - 1.0).collect();
        for model in Model::chains(101) {
            if let Model::Named(slices) = model {
                let want = chain::dot(slices, &a, &v);
                assert_eq!(model.dot(&a, &v).to_bits(), want.to_bits(), "{model}");
            }
        }
    }
}
