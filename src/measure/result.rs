//! What a measurement says, as it stands in records.

use serde::{Deserialize, Serialize};

use super::statistics::{as_f64, ratio_interval};
use super::{Energy, Interval, Roofline, Summary, Work};
use crate::baseline::Kind;

/// From this sparsity on, published comparisons use the sparse library instead of the dense one.
const PUBLISHED_SPARSE_FROM: f64 = 0.7;

/// The kind of baseline that published comparisons take at a sparsity.
pub fn published_kind(sparsity: f64) -> Kind {
    if sparsity < PUBLISHED_SPARSE_FROM { Kind::Dense } else { Kind::Sparse }
}

/// How a warm-up went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warmup {
    pub calls: usize,
    /// Whether the times stopped changing before the warm-up's time was up.
    pub settled: bool,
}

/// The operator or one baseline: what was seen, and what may be published of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    pub name: String,
    /// `None` for the operator under test.
    pub kind: Option<Kind>,
    pub library: String,
    pub version: String,
    pub threads: usize,
    /// Whether every checked output was right; `None` if none was checked.
    pub verified: Option<bool>,
    /// Why it could not run, or what the check said.
    pub failure: Option<String>,
    pub build_ns: Vec<u64>,
    pub bytes_held: usize,
    pub warmup: Warmup,
    /// Every timed call, in order: `stage` and `apply` with caches as the calls before left them.
    pub samples_ns: Vec<u64>,
    /// Indices of the samples whose output was checked.
    pub checked_samples: Vec<usize>,
    /// Timed calls with empty caches.
    pub cold_samples_ns: Vec<u64>,
    /// How often a call left the thread flushing subnormals or rounding otherwise.
    pub float_environment_changes: usize,
    /// `None` unless `verified`: a timing is published only beside a right output.
    pub timing: Option<Timing>,
    pub energy: Option<Energy>,
    /// Why there is no energy figure.
    pub energy_reason: Option<String>,
}

/// What may be published of an operator whose outputs were right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    #[serde(flatten)]
    pub summary: Summary,
    pub cold_time_ns_median: Option<f64>,
    pub build_time_ns_median: f64,
    /// 10^9 floating-point operations on non-zeros per second.
    pub gflops: f64,
    /// Columns of V per second.
    pub tokens_per_s: f64,
    /// Whether the fastest sample beats what the machine can do.
    pub impossible: bool,
}

impl Timed {
    /// Fills `timing` in, if the outputs were right and there are samples.
    pub(super) fn summarise(&mut self, work: Work, n: usize, roofline: &Roofline, seed: u64) {
        self.timing = Summary::of(&self.samples_ns, seed)
            .filter(|_| self.verified == Some(true))
            .map(|summary| Timing {
                cold_time_ns_median: Summary::of(&self.cold_samples_ns, seed)
                    .map(|cold| cold.time_ns_median),
                build_time_ns_median: super::median(&as_f64(&self.build_ns)),
                // Operations per nanosecond are 10^9 per second.
                gflops: work.flops / summary.time_ns_median,
                tokens_per_s: n as f64 * 1e9 / summary.time_ns_median,
                impossible: roofline.is_impossible(work, summary.time_ns_min),
                summary,
            });
    }

    fn time_ns(&self) -> Option<f64> {
        self.timing.as_ref().map(|timing| timing.summary.time_ns_median)
    }
}

/// Which baseline a speedup is taken against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Dense below 70 % sparsity, sparse from there on: how published figures are made.
    Published,
    /// The fastest of all.
    Best,
}

/// A ratio of times, and whose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speedup {
    pub rule: Rule,
    pub baseline: String,
    /// The baseline's median time over the operator's.
    pub ratio: f64,
    pub interval: Interval,
    pub energy: EnergyRatio,
}

/// The baseline's energy over the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnergyRatio {
    pub ratio: f64,
    pub basis: EnergyBasis,
}

/// Where an energy ratio comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnergyBasis {
    /// Two valid windows of a counter.
    Measured,
    /// The ratio of times: no energy was measured, equal power is assumed.
    Proxy,
}

/// All measurements of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseTimings {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub nnz: usize,
    /// As the case names it: decides which baseline published figures would take.
    pub sparsity: f64,
    /// The fraction of zeros in A.
    pub sparsity_measured: f64,
    pub threads: usize,
    pub rounds: usize,
    pub work: Work,
    /// No call can take less, by the roofline.
    pub minimum_time_ns: f64,
    pub operator: Timed,
    pub baselines: Vec<Timed>,
    pub speedups: Vec<Speedup>,
    /// Why a speedup is missing.
    pub no_speedup: Vec<String>,
    /// Calls after which building the operator has paid for itself against the fastest dense
    /// baseline; `None` where it never does.
    pub break_even_calls: Option<f64>,
}

impl CaseTimings {
    /// The fastest baseline of which a timing may be published, of the wanted kinds.
    pub fn fastest(&self, wanted: impl Fn(Kind) -> bool) -> Option<&Timed> {
        self.baselines
            .iter()
            .filter(|baseline| baseline.kind.is_some_and(&wanted))
            .filter(|baseline| baseline.timing.as_ref().is_some_and(|timing| !timing.impossible))
            .min_by(|x, y| {
                x.time_ns().unwrap_or(f64::NAN).total_cmp(&y.time_ns().unwrap_or(f64::NAN))
            })
    }

    /// The baseline that a rule chooses.
    pub fn chosen(&self, rule: Rule) -> Option<&Timed> {
        match rule {
            Rule::Published => {
                let kind = published_kind(self.sparsity);
                self.fastest(|other| other == kind)
            }
            Rule::Best => self.fastest(|_| true),
        }
    }

    /// Fills in what follows from the timings.
    pub(super) fn compare(&mut self, seed: u64) {
        let Some(timing) = &self.operator.timing else {
            self.no_speedup.push(match self.operator.verified {
                Some(false) => "the operator's output was not verified".into(),
                _ => "the operator was not measured".into(),
            });
            return;
        };
        if timing.impossible {
            self.no_speedup.push("the operator's timing is impossible on this machine".into());
            return;
        }
        let (build_ns, time_ns) = (timing.build_time_ns_median, timing.summary.time_ns_median);
        self.break_even_calls = self
            .fastest(|kind| kind == Kind::Dense)
            .and_then(Timed::time_ns)
            .filter(|&dense_ns| dense_ns > time_ns)
            .map(|dense_ns| (build_ns / (dense_ns - time_ns)).ceil());
        for rule in [Rule::Published, Rule::Best] {
            match self.chosen(rule).and_then(|baseline| self.speedup(rule, baseline, seed)) {
                Some(speedup) => self.speedups.push(speedup),
                None => self.no_speedup.push(match rule {
                    Rule::Published => format!(
                        "published: no verified {:?} baseline",
                        published_kind(self.sparsity)
                    )
                    .to_lowercase(),
                    Rule::Best => "best: no verified baseline".into(),
                }),
            }
        }
    }

    fn speedup(&self, rule: Rule, baseline: &Timed, seed: u64) -> Option<Speedup> {
        let ratio = baseline.time_ns()? / self.operator.time_ns()?;
        let measured = match (&baseline.energy, &self.operator.energy) {
            (Some(theirs), Some(ours)) if theirs.is_valid && ours.is_valid => {
                Some(theirs.joules_per_call / ours.joules_per_call)
            }
            _ => None,
        };
        Some(Speedup {
            rule,
            baseline: baseline.name.clone(),
            ratio,
            interval: ratio_interval(
                &as_f64(&baseline.samples_ns),
                &as_f64(&self.operator.samples_ns),
                seed,
            ),
            energy: match measured {
                Some(ratio) => EnergyRatio { ratio, basis: EnergyBasis::Measured },
                None => EnergyRatio { ratio, basis: EnergyBasis::Proxy },
            },
        })
    }
}
