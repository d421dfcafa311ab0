//! How fast the machine can be at most, so that an impossible timing shows.
//!
//! S. Williams, A. Waterman, D. Patterson, *Roofline: an insightful visual performance model*,
//! CACM 52(4), 2009, with one roof more: what fits in the caches need not come from memory. Peak
//! and bandwidths of a host are measured, so they are estimates: a machine that was disturbed
//! while they were taken seems slower than it is. The best of several short runs is kept and a
//! sample counts as impossible only well below the limit. Those of a device are given: they
//! follow from its highest clock and its data sheet, and leave little room.

use record::timings::{MEASURED_MARGIN, Roofline};
use std::hint::black_box;

use rayon::prelude::*;

use super::Clock;
use crate::backend::cpu::{Isa, flops_per_round, fma_rounds, read_sum};

/// Rounds of the multiply-add loop in one run: about a millisecond.
const FMA_ROUNDS: u64 = 1 << 18;
/// Runs of each loop, of which the fastest is kept.
const RUNS: usize = 9;
/// A buffer of more bytes than this is read fewer times.
const LARGE_BYTES: usize = 256 << 20;
/// Runs over such a buffer.
const LARGE_RUNS: usize = 3;
/// Words of the buffer that stays in the nearest caches of each thread: 16 KiB.
const CACHED_WORDS: usize = 16 << 7;
/// Reads of that buffer in one run.
const CACHED_READS: usize = 1024;

/// Measures the three roofs of the host in about a tenth of a second. With more than one thread it runs
/// in the current rayon pool, which should have as many.
///
/// Arithmetic and caches belong to a core: they are measured on one, alone, and multiplied.
/// Cores slow down when all are busy and are disturbed by other programs, so this errs to
/// the high side, where nothing true is called impossible.
pub fn host_roofline(clock: &dyn Clock, threads: usize, cache_bytes: u64) -> Roofline {
    let (isa, threads) = (Isa::best(), threads.max(1));
    let best_of = |runs: usize, work: &dyn Fn() -> u64| {
        (0..runs)
            .map(|_| {
                let start = clock.now_ns();
                black_box(work());
                clock.now_ns() - start
            })
            .min()
            .unwrap_or(0)
            .max(1) as f64
    };
    let best_ns = |work: &dyn Fn() -> u64| best_of(RUNS, work);
    let fma_ns = best_ns(&|| u64::from(fma_rounds(isa, FMA_ROUNDS).to_bits()));
    let cached = vec![1u64; CACHED_WORDS];
    let cached_ns =
        best_ns(&|| (0..CACHED_READS).fold(0, |sum, _| sum ^ read_sum(isa, black_box(&cached))));
    // Four times the caches, so that what is left of one run cannot help the next.
    let words = (cache_bytes as usize / 2).max(CACHED_WORDS * threads);
    let large = vec![1u64; words];
    // A read of so much lasts long enough to be told from noise, and nine of them are waited for.
    let runs = if 8 * words > LARGE_BYTES { LARGE_RUNS } else { RUNS };
    let mut memory_ns = best_of(runs, &|| read_sum(isa, black_box(&large)));
    if threads > 1 {
        let all = best_of(runs, &|| {
            let chunks = large.par_chunks(words.div_ceil(threads)).with_max_len(1);
            chunks.map(|chunk| read_sum(isa, black_box(chunk))).reduce(|| 0, |x, y| x ^ y)
        });
        memory_ns = memory_ns.min(all);
    }
    let cores = threads as f64;
    let fma_flops = (FMA_ROUNDS * flops_per_round(isa)) as f64;
    let cached_bytes = (CACHED_WORDS * 8 * CACHED_READS) as f64;
    Roofline {
        // Per nanosecond, so times 10^9.
        peak_flops_per_s: cores * fma_flops / fma_ns * 1e9,
        cache_bytes_per_s: cores * cached_bytes / cached_ns * 1e9,
        memory_bytes_per_s: (words * 8) as f64 / memory_ns * 1e9,
        cache_bytes,
        margin: MEASURED_MARGIN,
        basis: format!(
            "estimate: best of {RUNS} short runs; one core's {isa} multiply-adds in registers \
             and reads of its nearest cache, times {threads} thread(s); reads of memory on all"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::RealClock;
    use super::*;

    #[test]
    fn this_machine_has_roofs() {
        let roofline = host_roofline(&RealClock::default(), 1, 1 << 20);
        // No machine that runs this is outside 0.1 GFLOP/s .. 10 TFLOP/s a thread.
        assert!((1e8..1e13).contains(&roofline.peak_flops_per_s), "{roofline:?}");
        assert!(roofline.cache_bytes_per_s > 1e8 && roofline.memory_bytes_per_s > 1e7);
    }
}
