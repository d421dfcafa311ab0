//! How fast the machine can be at most, so that an impossible timing shows.
//!
//! S. Williams, A. Waterman, D. Patterson, *Roofline: an insightful visual performance model*,
//! CACM 52(4), 2009, with one roof more: what fits in the caches need not come from memory. Peak
//! and bandwidths of a host are measured, so they are estimates: a machine that was disturbed
//! while they were taken seems slower than it is. The best of several short runs is kept and a
//! sample counts as impossible only well below the limit. Those of a device are given: they
//! follow from its highest clock and its data sheet, and leave little room.

use std::hint::black_box;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Clock;
use crate::backend::cpu::{Isa, flops_per_round, fma_rounds, read_sum};

/// The margin of measured figures: the estimates are rarely wrong by a quarter, and wrong claims
/// that matter are off by more.
pub const MEASURED_MARGIN: f64 = 0.75;
/// The margin of given figures, which nothing exceeds: room for their rounding and that of the
/// device's clock, which steps by half a microsecond.
pub const GIVEN_MARGIN: f64 = 0.97;

/// Rounds of the multiply-add loop in one run: about a millisecond.
const FMA_ROUNDS: u64 = 1 << 18;
/// Runs of each loop, of which the fastest is kept.
const RUNS: usize = 9;
/// Words of the buffer that stays in the nearest caches of each thread: 16 KiB.
const CACHED_WORDS: usize = 16 << 7;
/// Reads of that buffer in one run.
const CACHED_READS: usize = 1024;

/// What a host can do at most with a number of threads, or a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Roofline {
    /// Of the arithmetic in question: a device has one peak for each.
    pub peak_flops_per_s: f64,
    /// From the caches nearest to the cores; of a device, from its L2.
    pub cache_bytes_per_s: f64,
    pub memory_bytes_per_s: f64,
    /// Bytes that all caches can hold; of a device, its L2.
    pub cache_bytes: u64,
    /// A sample below this share of the minimum time is impossible.
    pub margin: f64,
    /// How the figures came about.
    pub basis: String,
}

/// Bytes of one element of A, V and Y where the product is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementBytes {
    pub a: usize,
    pub v: usize,
    pub y: usize,
}

impl ElementBytes {
    pub const F32: ElementBytes = ElementBytes { a: 4, v: 4, y: 4 };
    pub const BF16: ElementBytes = ElementBytes { a: 2, v: 2, y: 2 };
}

/// The work that one product cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Two for each non-zero and column of V.
    pub flops: f64,
    /// Non-zero values of A, the rows of V that meet one, and Y, each moved once.
    pub bytes: f64,
}

impl Work {
    /// For A with `nnz` non-zeros in `live_columns` columns and m rows, and V of n columns.
    /// Where a zero is need not be stored, so indices are not counted.
    pub fn of(m: usize, n: usize, nnz: usize, live_columns: usize, bytes: ElementBytes) -> Work {
        let [m, n, nnz, live_columns] = [m, n, nnz, live_columns].map(|size| size as f64);
        let ElementBytes { a, v, y } = bytes;
        let moved = [(nnz, a), (live_columns * n, v), (m * n, y)];
        Work {
            flops: 2.0 * nnz * n,
            bytes: moved.map(|(elements, bytes)| elements * bytes as f64).iter().sum(),
        }
    }
}

impl Roofline {
    /// Measures the three roofs of the host in about a tenth of a second. With more than one thread it runs
    /// in the current rayon pool, which should have as many.
    ///
    /// Arithmetic and caches belong to a core: they are measured on one, alone, and multiplied.
    /// Cores slow down when all are busy and are disturbed by other programs, so this errs to
    /// the high side, where nothing true is called impossible.
    pub fn measure(clock: &dyn Clock, threads: usize, cache_bytes: u64) -> Roofline {
        let (isa, threads) = (Isa::best(), threads.max(1));
        let best_ns = |work: &dyn Fn() -> u64| {
            (0..RUNS)
                .map(|_| {
                    let start = clock.now_ns();
                    black_box(work());
                    clock.now_ns() - start
                })
                .min()
                .unwrap_or(0)
                .max(1) as f64
        };
        let fma_ns = best_ns(&|| u64::from(fma_rounds(isa, FMA_ROUNDS).to_bits()));
        let cached = vec![1u64; CACHED_WORDS];
        let cached_ns = best_ns(&|| {
            (0..CACHED_READS).fold(0, |sum, _| sum ^ read_sum(isa, black_box(&cached)))
        });
        // Four times the caches, so that what is left of one run cannot help the next.
        let words = (cache_bytes as usize / 2).max(CACHED_WORDS * threads);
        let large = vec![1u64; words];
        let mut memory_ns = best_ns(&|| read_sum(isa, black_box(&large)));
        if threads > 1 {
            let all = best_ns(&|| {
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

    /// No call that does `work` can take less. What the caches may have kept from the call
    /// before is not charged to memory.
    pub fn minimum_time_ns(&self, work: Work) -> f64 {
        let from_memory = (work.bytes - self.cache_bytes as f64).max(0.0);
        let seconds = (work.flops / self.peak_flops_per_s)
            .max(work.bytes / self.cache_bytes_per_s)
            .max(from_memory / self.memory_bytes_per_s);
        seconds * 1e9
    }

    /// Whether a sample cannot be true.
    pub fn is_impossible(&self, work: Work, time_ns: f64) -> bool {
        time_ns < self.margin * self.minimum_time_ns(work)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RealClock;
    use super::*;

    const F32: ElementBytes = ElementBytes::F32;

    fn roofline() -> Roofline {
        Roofline {
            peak_flops_per_s: 100e9,
            cache_bytes_per_s: 200e9,
            memory_bytes_per_s: 10e9,
            cache_bytes: 1_000_000,
            margin: MEASURED_MARGIN,
            basis: String::new(),
        }
    }

    #[test]
    fn each_roof_counts() {
        let roofline = roofline();
        // 2e6 flops at 100 GFLOP/s.
        let work = Work::of(100, 100, 10_000, 100, F32);
        assert_eq!(work, Work { flops: 2e6, bytes: 120_000.0 });
        assert_eq!(roofline.minimum_time_ns(work), 20_000.0);
        // Nothing to multiply: writing Y at 200 GB/s.
        assert_eq!(roofline.minimum_time_ns(Work::of(1000, 100, 0, 0, F32)), 2_000.0);
        // 4 MB of Y, of which 1 MB may stay in the caches: 3 MB at 10 GB/s.
        assert_eq!(roofline.minimum_time_ns(Work::of(10_000, 100, 0, 0, F32)), 300_000.0);
        assert!(roofline.is_impossible(work, 14_999.0));
        assert!(!roofline.is_impossible(work, 15_000.0));
        let given = Roofline { margin: GIVEN_MARGIN, ..roofline };
        assert!(given.is_impossible(work, 19_399.0) && !given.is_impossible(work, 19_400.0));
    }

    #[test]
    fn elements_are_as_large_as_they_are() {
        let bytes = |element_bytes| Work::of(5, 7, 11, 3, element_bytes).bytes;
        assert_eq!(bytes(ElementBytes::F32), 4.0 * (11.0 + 21.0 + 35.0));
        assert_eq!(bytes(ElementBytes::BF16), 2.0 * (11.0 + 21.0 + 35.0));
        assert_eq!(bytes(ElementBytes { a: 2, v: 4, y: 8 }), 22.0 + 84.0 + 280.0);
    }

    #[test]
    fn this_machine_has_roofs() {
        let roofline = Roofline::measure(&RealClock::default(), 1, 1 << 20);
        // No machine that runs this is outside 0.1 GFLOP/s .. 10 TFLOP/s a thread.
        assert!((1e8..1e13).contains(&roofline.peak_flops_per_s), "{roofline:?}");
        assert!(roofline.cache_bytes_per_s > 1e8 && roofline.memory_bytes_per_s > 1e7);
    }
}
