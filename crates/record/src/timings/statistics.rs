//! What is said about a list of samples.
//!
//! Times of a computer are neither normal nor symmetric, so the median stands for them, with a
//! bootstrap interval (T. Hoefler, R. Belli, *Scientific Benchmarking of Parallel Computing
//! Systems*, SC 2015, rules 5 and 6). The interval is the percentile interval of B. Efron,
//! R. Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Resamples of a bootstrap: Efron and Tibshirani ask for 1000 and more for intervals.
const RESAMPLES: usize = 1000;
/// Probability that an interval should cover.
const CONFIDENCE: f64 = 0.95;
/// Coefficient of variation above which a run is called noisy. A convention: quiet machines
/// stay below 2 %, shared ones do not.
const NOISY_CV: f64 = 0.1;

/// The middle sample; the mean of the two middle ones. NaN without samples.
pub fn median(samples: &[f64]) -> f64 {
    median_in_place(&mut samples.to_vec())
}

/// The same; `samples` are in another order afterwards.
fn median_in_place(samples: &mut [f64]) -> f64 {
    let len = samples.len();
    if len == 0 {
        return f64::NAN;
    }
    let (below, &mut upper, _) = samples.select_nth_unstable_by(len / 2, f64::total_cmp);
    if len % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
    (lower + upper) / 2.0
}

/// Where a statistic lies with a probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Percentile bootstrap interval of `statistic` over resamples of each list. The same seed gives
/// the same interval.
fn bootstrap<const N: usize>(
    lists: [&[f64]; N],
    seed: u64,
    statistic: impl Fn([f64; N]) -> f64,
) -> Interval {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut resample = Vec::new();
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            statistic(lists.map(|list| {
                resample.clear();
                // The bias of the remainder is below 2^-40 for any list that fits in memory.
                resample.extend(
                    list.iter().map(|_| list[(random.next_u64() % list.len() as u64) as usize]),
                );
                median_in_place(&mut resample)
            }))
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let at = |q: f64| values[((q * (RESAMPLES - 1) as f64).round()) as usize];
    Interval { low: at(tail), high: at(1.0 - tail) }
}

/// Interval of the median.
pub fn median_interval(samples: &[f64], seed: u64) -> Interval {
    bootstrap([samples], seed, |[median]| median)
}

/// Interval of the ratio of two medians.
pub fn ratio_interval(numerator: &[f64], denominator: &[f64], seed: u64) -> Interval {
    bootstrap([numerator, denominator], seed, |[n, d]| n / d)
}

/// A summary of one list of times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// Samples that count.
    pub count: usize,
    /// Samples left out because the device said that it was throttled. On a CPU none ever is:
    /// there is no counter that says so, and leaving out what looks slow is choosing the result.
    pub discarded: usize,
    /// Median, in ns.
    pub time_ns_median: f64,
    /// Where the median lies with a probability of 95 %.
    pub time_ns_interval: Interval,
    /// Shortest time, in ns.
    pub time_ns_min: f64,
    /// Mean, in ns.
    pub time_ns_mean: f64,
    /// Standard deviation over mean.
    pub coefficient_of_variation: f64,
    /// Whether the dispersion is so large that the median should not be trusted.
    pub is_noisy: bool,
}

impl Summary {
    /// `None` without samples.
    pub fn of(samples_ns: &[u64], seed: u64) -> Option<Summary> {
        if samples_ns.is_empty() {
            return None;
        }
        let samples = as_f64(samples_ns);
        let count = samples.len();
        let mean = samples.iter().sum::<f64>() / count as f64;
        // Sample variance; one sample has no dispersion to speak of.
        let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
            / count.saturating_sub(1).max(1) as f64;
        let coefficient_of_variation = if mean > 0.0 { variance.sqrt() / mean } else { 0.0 };
        Some(Summary {
            count,
            discarded: 0,
            time_ns_median: median(&samples),
            time_ns_interval: median_interval(&samples, seed),
            time_ns_min: samples.iter().copied().fold(f64::INFINITY, f64::min),
            time_ns_mean: mean,
            coefficient_of_variation,
            is_noisy: coefficient_of_variation > NOISY_CV,
        })
    }
}

/// Nanoseconds as numbers that can be divided; exact up to 104 days.
pub fn as_f64(samples_ns: &[u64]) -> Vec<f64> {
    samples_ns.iter().map(|&ns| ns as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 5.0, 7.0]), 6.0);
    }

    #[test]
    fn equal_samples_have_no_interval() {
        let summary = Summary::of(&[7; 12], 1).unwrap();
        assert_eq!(summary.time_ns_interval, Interval { low: 7.0, high: 7.0 });
        assert_eq!(summary.coefficient_of_variation, 0.0);
        assert!(!summary.is_noisy);
        assert_eq!(Summary::of(&[], 1), None);
        assert_eq!(Summary::of(&[5], 1).unwrap().coefficient_of_variation, 0.0);
    }

    #[test]
    fn an_interval_is_seeded_and_holds_the_median() {
        let samples: Vec<u64> = (0..101).map(|i| 1000 + (i * 37) % 101).collect();
        let summary = Summary::of(&samples, 4).unwrap();
        assert_eq!(summary, Summary::of(&samples, 4).unwrap());
        assert_eq!(summary.time_ns_median, 1050.0);
        let Interval { low, high } = summary.time_ns_interval;
        // Exact order-statistic interval of a median of 101: ranks 41 and 61, that is 1040, 1060.
        assert!(
            (1036.0..1045.0).contains(&low) && (1055.0..1065.0).contains(&high),
            "{low} {high}"
        );
        let ratio = ratio_interval(&as_f64(&samples), &as_f64(&samples), 4);
        assert!(ratio.low < 1.0 && ratio.high > 1.0);
    }

    #[test]
    fn dispersion_is_flagged_and_nothing_is_left_out() {
        let summary = Summary::of(&[100, 100, 100, 300], 1).unwrap();
        assert!(summary.is_noisy);
        assert_eq!((summary.count, summary.discarded, summary.time_ns_min), (4, 0, 100.0));
        assert_eq!(summary.time_ns_mean, 150.0);
    }
}
