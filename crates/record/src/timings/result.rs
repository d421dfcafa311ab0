//! What a measurement says, as it stands in records.

use serde::{Deserialize, Serialize};

use super::statistics::{as_f64, ratio_interval};
use super::{ElementBytes, Energy, Interval, LayerSizes, Roofline, Sample, Summary, Work, median};
use crate::baseline::Kind;
use crate::compare::ErrorSeen;

/// From this sparsity on, published comparisons use the sparse library instead of the dense one.
const PUBLISHED_SPARSE_FROM: f64 = 0.7;

/// Share by which a sample may take less time by the host's clock than by the device's, which
/// runs inside of it: room for the drift and the steps of two good clocks.
const HOST_SHORT_SHARE: f64 = 0.02;
/// What the host may see beyond the device's span in half of the samples: waking up when the
/// device is done, 10 to 20 microseconds, and a share for hosts that are busy. More than that is
/// work that the device did outside of the span.
const HOST_LONG_NS: f64 = 50e3;
const HOST_LONG_SHARE: f64 = 0.1;

/// How many times as long as the best of its kind a dense library may take before it is flagged: OpenBLAS takes six
/// times as long with kernels for Prescott, and sound libraries are within a factor of two of each other.
const WEAK_TIMES: f64 = 3.0;
/// Operations of a dense product from which its time says something of a library's kernels.
const WEAK_FLOPS_MIN: f64 = 1e7;

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The kind of baseline that published comparisons take at a sparsity.
pub fn published_kind(sparsity: f64) -> Kind {
    if sparsity < PUBLISHED_SPARSE_FROM { Kind::Dense } else { Kind::Sparse }
}

/// How a warm-up went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Warmup {
    /// Calls of the warm-up.
    pub calls: usize,
    /// Whether the times, and a device's clock, stopped changing before the warm-up's time was up.
    pub settled: bool,
}

/// Inputs of the calls that were timed: each call had a V of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimedInputs {
    /// What they were drawn from: the run's nonce, or a text that was random.
    pub nonce: String,
    /// V's of the timed calls that there were at once; each batch had new ones.
    pub fresh: usize,
    /// V's that calls beside the timed ones had, again and again.
    pub ring: usize,
    /// Bytes of these V's and of their Y's.
    pub bytes: u64,
}

/// Where the time of a case's measurement went, by the host's clock: for whoever waits for it, and no
/// part of any figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Spent {
    /// Building, in ns.
    pub build_ns: u64,
    /// Warm-ups, in ns.
    pub warmup_ns: u64,
    /// Timed rounds, less `check_ns`.
    pub rounds_ns: u64,
    /// Reading outputs and checking them.
    pub check_ns: u64,
    /// Calls with cold caches, in ns.
    pub cold_ns: u64,
    /// Energy windows, in ns.
    pub energy_ns: u64,
}

/// The operator or one baseline: what was seen, and what may be published of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timed {
    /// The contender's name.
    pub name: String,
    /// `None` for the operator under test.
    pub kind: Option<Kind>,
    /// The library's name.
    pub library: String,
    /// The library's version.
    pub version: String,
    /// Threads of the host; 1 on a device.
    pub threads: usize,
    /// Whether every checked output was right; `None` if none was checked.
    pub verified: Option<bool>,
    /// Why it could not run, what the check said, or why no sample can be used.
    pub failure: Option<String>,
    /// How A was held in the timed calls, and why; `None` where it was not built.
    pub plan: Option<String>,
    /// Time of each build, in ns.
    pub build_ns: Vec<u64>,
    /// Bytes held between calls.
    pub bytes_held: usize,
    /// How its warm-up went.
    pub warmup: Warmup,
    /// Calls in a row in each sample.
    pub calls_per_sample: usize,
    /// Time of a sample in which nothing is multiplied, in ns: part of every sample, and not taken off; `None` where
    /// the calls are made in the process that times them, and in records that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead_ns: Option<u64>,
    /// Every sample, in order, as the time of one call from the plain V to the whole Y, with
    /// caches as the calls before left them.
    pub samples_ns: Vec<u64>,
    /// Indices of the samples of which one output was compared whole.
    pub checked_samples: Vec<usize>,
    /// Elements recomputed of the other outputs; 0 in records that did not note it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub checked_elements: u64,
    /// How far some of them lie from the binary64 sum; `None` where one was not finite, and in records that did not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorSeen>,
    /// Timed calls with empty caches, one at a time.
    pub cold_samples_ns: Vec<u64>,
    /// What stands behind each of `samples_ns` on a device, throttled ones as well: the times of
    /// all calls of the sample together. Empty on a host, where nothing is behind them.
    pub device_samples: Vec<Sample>,
    /// The same behind each of `cold_samples_ns`.
    pub device_cold_samples: Vec<Sample>,
    /// How often a call left the thread flushing subnormals or rounding otherwise.
    pub float_environment_changes: usize,
    /// `None` unless `verified`: a timing is published only beside a right output.
    pub timing: Option<Timing>,
    /// Energy of its calls; `None` for `energy_reason`.
    pub energy: Option<Energy>,
    /// Why there is no energy figure.
    pub energy_reason: Option<String>,
}

/// What may be published of an operator whose outputs were right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timing {
    /// Statistics of the samples that were not discarded.
    #[serde(flatten)]
    pub summary: Summary,
    /// The median of all samples, so that it shows what discarding did.
    pub time_ns_median_with_discarded: f64,
    /// Median time of calls with cold caches, in ns; `None` where none was made.
    pub cold_time_ns_median: Option<f64>,
    /// Median time of a build, in ns.
    pub build_time_ns_median: f64,
    /// 10^9 floating-point operations on non-zeros per second.
    pub gflops: f64,
    /// Columns of V per second.
    pub tokens_per_s: f64,
    /// Whether the fastest sample, discarded or not, beats what the machine can do.
    pub impossible: bool,
    /// Why the device's clock and the host's cannot both be right about the samples; no speedup
    /// is taken from such a set.
    pub clock_disagreement: Option<String>,
}

impl Timed {
    /// Fills `timing` in, if the outputs were right and there are samples that count.
    ///
    /// Without a roofline, whether it is impossible stays as it was noted.
    pub fn summarise(
        &mut self,
        work: Work,
        n: usize,
        roofline: Option<&Roofline>,
        flops: f64,
        seed: u64,
    ) {
        let noted = self.timing.take().is_some_and(|timing| timing.impossible);
        if self.verified != Some(true) {
            return;
        }
        let kept = self.kept_ns();
        let all = as_f64(&self.samples_ns);
        let Some(summary) = Summary::of(&kept, seed) else {
            self.failure = Some(format!("all of {} samples were throttled", all.len()));
            return;
        };
        let time_ns_min = all.iter().copied().fold(f64::INFINITY, f64::min);
        // The peak is that of the case's arithmetic, which a shorter format may exceed.
        let is_reduced = self.kind == Some(Kind::Reduced);
        self.timing = Some(Timing {
            time_ns_median_with_discarded: median(&all),
            cold_time_ns_median: Summary::of(
                &kept_ns(&self.cold_samples_ns, &self.device_cold_samples),
                seed,
            )
            .map(|cold| cold.time_ns_median),
            build_time_ns_median: median(&as_f64(&self.build_ns)),
            // Operations per nanosecond are 10^9 per second.
            gflops: flops / summary.time_ns_median,
            tokens_per_s: n as f64 * 1e9 / summary.time_ns_median,
            impossible: match roofline {
                Some(roofline) => !is_reduced && roofline.is_impossible(work, time_ns_min),
                None => noted,
            },
            clock_disagreement: clock_disagreement(&self.device_samples, self.overhead_ns),
            summary: Summary { discarded: all.len() - kept.len(), ..summary },
        });
    }

    /// The samples that count, in ns: those in which the device was not throttled.
    pub fn kept_ns(&self) -> Vec<u64> {
        kept_ns(&self.samples_ns, &self.device_samples)
    }

    fn time_ns(&self) -> Option<f64> {
        self.timing.as_ref().map(|timing| timing.summary.time_ns_median)
    }
}

/// Samples of `samples_ns` that were not throttled; all on a host, where `behind` is empty.
fn kept_ns(samples_ns: &[u64], behind: &[Sample]) -> Vec<u64> {
    let is_throttled = |index: usize| behind.get(index).is_some_and(Sample::is_throttled);
    let kept = samples_ns.iter().enumerate().filter(|&(index, _)| !is_throttled(index));
    kept.map(|(_, &ns)| ns).collect()
}

/// Sets each sample's two times side by side. A single one that is too short by the host's clock
/// is wrong whatever the others are; a host is often late, so only half of them being too long
/// says that the device worked outside of the span that it timed. The host's time has the way to a
/// worker and back in it, where there is one.
fn clock_disagreement(samples: &[Sample], overhead_ns: Option<u64>) -> Option<String> {
    let overhead_ns = overhead_ns.unwrap_or(0) as f64;
    let both: Vec<(usize, f64, f64)> = samples
        .iter()
        .enumerate()
        .filter_map(|(index, sample)| Some((index, sample.time_ns, sample.host_ns?)))
        .collect();
    let mut short = both
        .iter()
        .filter(|(_, device_ns, host_ns)| *host_ns < (1.0 - HOST_SHORT_SHARE) * device_ns);
    if let Some((index, device_ns, host_ns)) = short.next() {
        return Some(format!(
            "{} of {} samples took less time by the host's clock than by the device's, the first \
             of them sample {index}: {host_ns:.0} ns, {device_ns:.0} ns",
            1 + short.count(),
            both.len()
        ));
    }
    let excess: Vec<f64> = both
        .iter()
        .map(|(_, device_ns, host_ns)| host_ns - overhead_ns - (1.0 + HOST_LONG_SHARE) * device_ns)
        .collect();
    (median(&excess) > HOST_LONG_NS).then(|| {
        let medians = |time: fn(&(usize, f64, f64)) -> f64| {
            median(&both.iter().map(time).collect::<Vec<_>>())
        };
        format!(
            "the device was busy outside of the span that it timed: the median sample took {:.0} \
             ns by the host's clock, {:.0} ns by the device's",
            medians(|sample| sample.2),
            medians(|sample| sample.1)
        )
    })
}

/// Rules that choose the baseline of a speedup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Dense below 70 % sparsity, sparse from there on: how published figures are made.
    Published,
    /// The fastest of all.
    Best,
}

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Rule::Published => "published",
            Rule::Best => "best",
        }
    }
}

/// A ratio of times, and whose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Speedup {
    /// The rule that chose the baseline.
    pub rule: Rule,
    /// The baseline's name.
    pub baseline: String,
    /// The baseline's median time over the operator's.
    pub ratio: f64,
    /// Where the ratio lies with a probability of 95 %.
    pub interval: Interval,
    /// The baseline's energy over the operator's.
    pub energy: EnergyRatio,
}

/// The baseline's energy over the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnergyRatio {
    /// The baseline's energy over the operator's.
    pub ratio: f64,
    /// Where the ratio comes from.
    pub basis: EnergyBasis,
}

/// Where an energy ratio comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum EnergyBasis {
    /// Two valid windows of a counter.
    Measured,
    /// The ratio of times: no energy was measured, equal power is assumed.
    Proxy,
}

/// All measurements of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CaseTimings {
    /// Rows of A and Y.
    pub m: usize,
    /// Columns of A, rows of V.
    pub k: usize,
    /// Columns of V and Y.
    pub n: usize,
    /// Non-zeros of A.
    pub nnz: usize,
    /// As the case names it: decides which baseline published figures would take.
    pub sparsity: f64,
    /// The fraction of zeros in A.
    pub sparsity_measured: f64,
    /// The device that multiplied; `None` where the host's threads did.
    pub device: Option<String>,
    /// Threads of the host; 1 on a device.
    pub threads: usize,
    /// Rounds in which every contender had a turn.
    pub rounds: usize,
    /// `None` in records of versions that did not note it.
    pub spent: Option<Spent>,
    /// What the timed calls multiplied; `None` in records that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<TimedInputs>,
    /// Where a whole stack was timed, the A's of its layers in order, of which the last one is the case's own: a call goes
    /// from the stack's input to its end, with the steps between products. `None`: one product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerSizes>>,
    /// What skips zeros cannot do without.
    pub work: Work,
    /// Rows of A that have a non-zero, and columns; `None` in records of versions that did not note them.
    #[serde(default)]
    pub live_rows: Option<usize>,
    /// Columns of A that have a non-zero; `None` as above.
    #[serde(default)]
    pub live_columns: Option<usize>,
    /// Bytes of one element where the product is made; `None` as above.
    #[serde(default)]
    pub element_bytes: Option<ElementBytes>,
    /// What the machine can do at most; `None` as above.
    #[serde(default)]
    pub roofline: Option<Roofline>,
    /// No call that skips zeros can take less, by the roofline.
    pub minimum_time_ns: f64,
    /// The operator under test.
    pub operator: Timed,
    /// The baselines, in the order in which they were given.
    pub baselines: Vec<Timed>,
    /// Speedups by each rule, as far as there is a baseline for it.
    pub speedups: Vec<Speedup>,
    /// Why a speedup is missing.
    pub no_speedup: Vec<String>,
    /// Calls after which building the operator has paid for itself against the fastest dense
    /// baseline; `None` where it never does.
    pub break_even_calls: Option<f64>,
}

impl CaseTimings {
    /// The index of the fastest baseline of which a timing may be published, of the wanted kinds.
    fn fastest(&self, wanted: impl Fn(Kind) -> bool) -> Option<usize> {
        self.baselines
            .iter()
            .enumerate()
            .filter(|(_, baseline)| baseline.kind.is_some_and(&wanted))
            .filter_map(|(index, baseline)| Some((index, baseline.timing.as_ref()?)))
            .filter(|(_, timing)| !timing.impossible)
            .min_by(|(_, x), (_, y)| x.summary.time_ns_median.total_cmp(&y.summary.time_ns_median))
            .map(|(index, _)| index)
    }

    /// Whether a rule looks at baselines of a kind.
    fn is_for(&self, rule: Rule, kind: Kind) -> bool {
        match rule {
            Rule::Best => match kind {
                Kind::Dense | Kind::Compacted | Kind::Sparse => true,
                Kind::Reduced => false,
            },
            Rule::Published => kind == published_kind(self.sparsity),
        }
    }

    /// The index of the baseline that a rule chooses. Several may have one name.
    pub fn chosen(&self, rule: Rule) -> Option<usize> {
        self.fastest(|kind| self.is_for(rule, kind))
    }

    /// The work of a contender: a dense one multiplies zeros as well, a compacted one those of live rows.
    pub fn work_of(&self, kind: Option<Kind>) -> Work {
        let CaseTimings { m, k, n, .. } = *self;
        if let (Some(layers), Some(bytes)) = (&self.layers, self.element_bytes) {
            return Work::of_stack(layers, n, kind, bytes);
        }
        match (kind, self.element_bytes, self.live_rows) {
            (Some(Kind::Dense | Kind::Reduced), Some(bytes), _) => Work::of(m, n, m * k, k, bytes),
            (Some(Kind::Compacted), Some(bytes), Some(rows)) => Work::of(m, n, rows * k, k, bytes),
            (Some(Kind::Dense | Kind::Reduced), None, _)
            | (Some(Kind::Compacted | Kind::Sparse) | None, _, _) => self.work,
        }
    }

    /// Fills in what follows from the samples: every statistic, ratio and reason. `seed` is the case's.
    pub fn derive(&mut self, seed: u64) {
        let roofline = self.roofline.clone();
        if let (Some(live_columns), Some(bytes)) = (self.live_columns, self.element_bytes) {
            self.work = match &self.layers {
                Some(layers) => Work::of_stack(layers, self.n, None, bytes),
                None => Work::of(self.m, self.n, self.nnz, live_columns, bytes),
            };
        }
        if let Some(roofline) = &roofline {
            self.minimum_time_ns = roofline.minimum_time_ns(self.work);
        }
        let kinds: Vec<Option<Kind>> = self.baselines.iter().map(|timed| timed.kind).collect();
        let works: Vec<Work> = kinds.iter().map(|kind| self.work_of(*kind)).collect();
        let (own, n, flops) = (self.work, self.n, self.work.flops);
        self.operator.summarise(own, n, roofline.as_ref(), flops, seed);
        for (timed, work) in self.baselines.iter_mut().zip(works) {
            timed.summarise(work, n, roofline.as_ref(), flops, seed);
        }
        self.speedups.clear();
        self.no_speedup.clear();
        self.break_even_calls = None;
        self.compare(seed);
    }

    /// Where a baseline's time over the operator's lies with a probability of 95 %; both have samples that count.
    /// `seed` is the case's.
    fn interval_over(&self, baseline: &Timed, seed: u64) -> Interval {
        ratio_interval(&as_f64(&baseline.kept_ns()), &as_f64(&self.operator.kept_ns()), seed)
    }

    /// A baseline's median time over the operator's, and where the ratio lies; `None` where one of the two may not be
    /// published. `seed` is the case's.
    pub fn ratio_over(&self, baseline: &Timed, seed: u64) -> Option<(f64, Interval)> {
        let is_sound = |timed: &Timed| {
            let timing = timed.timing.as_ref()?;
            (!timing.impossible && timing.clock_disagreement.is_none()).then(|| timed.time_ns())?
        };
        let ratio = is_sound(baseline)? / is_sound(&self.operator)?;
        Some((ratio, self.interval_over(baseline, seed)))
    }

    /// Rivals that a rule looks at and that were disqualified or never timed, each with the reason.
    pub fn left_out(&self, rule: Rule) -> Vec<(&str, String)> {
        let is_looked_at = |timed: &&Timed| timed.kind.is_some_and(|kind| self.is_for(rule, kind));
        let why = |timed: &Timed| match &timed.timing {
            Some(timing) if timing.impossible => Some("faster than the machine can be".to_owned()),
            Some(timing) => timing.clock_disagreement.clone(),
            None => Some(timed.failure.clone().unwrap_or_else(|| "not timed".into())),
        };
        let rivals = self.baselines.iter().filter(is_looked_at);
        rivals.filter_map(|timed| Some((timed.name.as_str(), why(timed)?))).collect()
    }

    /// Dense rivals that are far below what another dense rival reaches on the same matrix: a library that chose
    /// kernels of another processor's generation is no rival. Each with a sentence.
    pub fn weak(&self) -> Vec<(&str, String)> {
        let dense = || self.baselines.iter().filter(|timed| timed.kind == Some(Kind::Dense));
        let best = dense().filter_map(|timed| Some((timed.time_ns()?, &timed.name)));
        let Some((best_ns, best)) = best.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Vec::new();
        };
        let is_large = 2.0 * self.m as f64 * self.k as f64 * self.n as f64 >= WEAK_FLOPS_MIN;
        let weak = dense().filter(|_| is_large).filter_map(|timed| {
            let times = timed.time_ns()? / best_ns;
            (times >= WEAK_TIMES).then(|| {
                let line = format!(
                    "takes {times:.1} times as long as `{best}`: kernels of another generation of processors?"
                );
                (timed.name.as_str(), line)
            })
        });
        weak.collect()
    }

    /// Fills in what follows from the timings.
    fn compare(&mut self, seed: u64) {
        let Some(timing) = &self.operator.timing else {
            let what = match self.operator.verified {
                Some(false) => "the operator's output was not verified",
                Some(true) => "all samples of the operator were throttled",
                None => "the operator was not measured",
            };
            // Of throttled samples the words say all.
            let why =
                self.operator.failure.as_ref().filter(|_| self.operator.verified != Some(true));
            let why = why.map(|why| format!(": {why}"));
            self.no_speedup.push(format!("{what}{}", why.unwrap_or_default()));
            return;
        };
        if timing.impossible {
            self.no_speedup.push("the operator's timing is impossible on this machine".into());
            return;
        }
        if timing.clock_disagreement.is_some() {
            self.no_speedup
                .push("the device's clock and the host's disagree on the operator".into());
            return;
        }
        let (build_ns, time_ns) = (timing.build_time_ns_median, timing.summary.time_ns_median);
        self.break_even_calls = self
            .fastest(|kind| kind == Kind::Dense)
            .and_then(|index| self.baselines[index].timing.as_ref())
            .filter(|dense| dense.clock_disagreement.is_none())
            .map(|dense| dense.summary.time_ns_median - time_ns)
            .filter(|&saved_ns| saved_ns > 0.0)
            .map(|saved_ns| (build_ns / saved_ns).ceil());
        for rule in [Rule::Published, Rule::Best] {
            match self.speedup(rule, seed) {
                Ok(speedup) => self.speedups.push(speedup),
                Err(reason) => self.no_speedup.push(format!("{}: {reason}", rule.name())),
            }
        }
    }

    /// The speedup under a rule. A rival that cannot be judged might have been the fastest, so
    /// it is not passed over: there is no speedup then, and the reason names it.
    fn speedup(&self, rule: Rule, seed: u64) -> Result<Speedup, String> {
        let throttled = self.baselines.iter().find(|baseline| {
            baseline.kind.is_some_and(|kind| self.is_for(rule, kind))
                && baseline.verified == Some(true)
                && baseline.timing.is_none()
        });
        if let Some(baseline) = throttled {
            return Err(format!("all samples of `{}` were throttled", baseline.name));
        }
        let none = || match rule {
            Rule::Published => {
                format!("no verified {:?} baseline", published_kind(self.sparsity)).to_lowercase()
            }
            Rule::Best => "no verified baseline".into(),
        };
        let baseline = &self.baselines[self.chosen(rule).ok_or_else(none)?];
        let clocks = baseline.timing.as_ref().map(|timing| &timing.clock_disagreement);
        if let Some(Some(_)) = clocks {
            let name = &baseline.name;
            return Err(format!("the device's clock and the host's disagree on `{name}`"));
        }
        let ratio =
            baseline.time_ns().zip(self.operator.time_ns()).map(|(theirs, ours)| theirs / ours);
        let ratio = ratio.ok_or_else(none)?;
        let measured = match (&baseline.energy, &self.operator.energy) {
            (Some(theirs), Some(ours)) if theirs.is_valid && ours.is_valid => {
                Some(theirs.joules_per_call / ours.joules_per_call)
            }
            _ => None,
        };
        Ok(Speedup {
            rule,
            baseline: baseline.name.clone(),
            ratio,
            interval: self.interval_over(baseline, seed),
            energy: match measured {
                Some(ratio) => EnergyRatio { ratio, basis: EnergyBasis::Measured },
                None => EnergyRatio { ratio, basis: EnergyBasis::Proxy },
            },
        })
    }
}
