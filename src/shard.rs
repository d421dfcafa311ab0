//! A run dealt out to many machines: which cases are whose. Which machine takes which shard, and when, is the
//! scheduler's business; the join is in `merge`.

use record::shard::Shard;

use crate::predict::Work;
use contract::arithmetic::Arithmetic;
use contract::case::Case;
use contract::inputs::spec::Pattern;

/// Operations that take as long as hashing a byte: 2 GB/s beside 118 GFLOP/s (BENCHMARKS.md).
const FLOPS_PER_BYTE: u128 = 60;

/// What verifying a case's bits costs, in operations of the dense f32 kernel: a deterministic estimate from the case
/// alone, so that all machines deal alike.
///
/// `60 * bytes hashed + f * 2 m k n * (1 + 3 w)`: the dense reference once and the operator three times. `w` is the
/// part of A that lives, times 3/2 and at most 1 where elements are skipped singly; `f` is 4 for the model of a tensor
/// core and for the binary64 reference of a bounded case, else 1. What measuring takes is not in it.
pub fn work(case: &Case) -> u128 {
    const ONE: u128 = 1_000_000_000;
    let live = ONE - u128::from(u32::from(case.sparsity)).min(ONE);
    let live = match case.pattern {
        Pattern::None => ONE,
        Pattern::RowMagnitude | Pattern::Block { .. } | Pattern::DeadExperts { .. } => live,
        Pattern::Uniform | Pattern::ElementMagnitude | Pattern::PowerLaw | Pattern::TwoOfFour => {
            (live * 3 / 2).min(ONE)
        }
    };
    let factor = match case.arithmetic {
        Arithmetic::TensorCore(_) | Arithmetic::Bounded => 4,
        Arithmetic::FixedPoint => 2,
        Arithmetic::F32Chain(_) | Arithmetic::Bf16Dot(_) | Arithmetic::Exact => 1,
    };
    // Each factor is below 2^31: 3 flops live is below 2^126.
    let flops = 2 * case.m as u128 * case.k as u128 * case.n as u128;
    let operations = factor * (flops + 3 * flops * live / ONE);
    FLOPS_PER_BYTE * u128::from(Work::of(case).bytes_hashed) + operations
}

/// Deals cases with these costs to `count` shards: for each case the shard, from 0 on.
///
/// Every shard is a stretch of consecutive cases, so that cases on the same weights, which follow each other, stay
/// together and in order. Of all ways to cut, one whose costliest shard costs least; no shard is left empty while
/// another has two cases.
pub fn deal(costs: &[u128], count: usize) -> Vec<usize> {
    let shards_needed = |limit: u128| {
        let (mut shards, mut sum) = (1usize, 0u128);
        for &cost in costs {
            if sum + cost > limit && sum > 0 {
                shards += 1;
                sum = 0;
            }
            sum += cost;
        }
        shards
    };
    // The least limit under which the shards suffice.
    let mut low = costs.iter().copied().max().unwrap_or(0);
    let mut high = costs.iter().sum::<u128>().max(low);
    while low < high {
        let middle = low + (high - low) / 2;
        if shards_needed(middle) <= count { high = middle } else { low = middle + 1 }
    }
    let (mut shard, mut sum, mut is_empty) = (0, 0u128, true);
    costs
        .iter()
        .enumerate()
        .map(|(at, &cost)| {
            let shards_left = count - 1 - shard;
            let scarce = costs.len() - at <= shards_left;
            if !is_empty && shards_left > 0 && (sum + cost > low || scarce) {
                shard += 1;
                sum = 0;
            }
            is_empty = false;
            sum += cost;
            shard
        })
        .collect()
}

/// Which of `cases`, in the order of the run, are a shard's.
pub fn chosen<'a>(cases: impl Iterator<Item = &'a Case>, shard: Shard) -> Vec<bool> {
    let costs: Vec<u128> = cases.map(work).collect();
    let dealt = deal(&costs, usize::from(shard.count()));
    dealt.into_iter().map(|of| of + 1 == usize::from(shard.index())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The least cost of the costliest of `count` stretches, by trying every cut.
    fn best(costs: &[u128], count: usize) -> u128 {
        if count == 1 || costs.len() <= 1 {
            return costs.iter().sum();
        }
        let cut = |at: usize| costs[..at].iter().sum::<u128>().max(best(&costs[at..], count - 1));
        (1..=costs.len()).map(cut).min().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn shards_are_stretches_and_no_cut_is_better(
            costs in prop::collection::vec(0u128..50, 0..9), count in 1usize..6,
        ) {
            let dealt = deal(&costs, count);
            prop_assert_eq!(dealt.len(), costs.len());
            prop_assert!(dealt.is_sorted() && dealt.iter().all(|&shard| shard < count));
            let used = dealt.iter().collect::<std::collections::HashSet<_>>().len();
            prop_assert_eq!(used, count.min(costs.len()));
            let cost = |shard| -> u128 {
                costs.iter().zip(&dealt).filter(|(_, of)| **of == shard).map(|(c, _)| c).sum()
            };
            prop_assert_eq!((0..count).map(cost).max().unwrap_or(0), best(&costs, count));
        }
    }
}
