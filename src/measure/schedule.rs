//! In which order calls are made, and which of them count.
//!
//! Each contender is warmed up until its times settle. Then all of them take turns, in a random
//! order each round, so that what disturbs the machine for a while disturbs all alike. A turn is
//! one or more calls that are not timed, which find the caches and the threads as the contender
//! before left them, and one that is. The output is poisoned before every timed call, not only before
//! those that are checked: an operator cannot tell them apart.

use std::hint::black_box;

use ndarray::{Array2, ArrayView2};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{
    CaseTimings, Clock, Energy, EnergyCounter, Roofline, Rule, Timed, Warmup, Window, Work,
};
use super::{as_f64, median};
use crate::backend::cpu::{float_environment_is_ieee, reset_float_environment};
use crate::baseline::{Baseline, Kind};
use crate::operator::{Built, Operator, Staged};

/// How much time a case may take, and how it is spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub threads: usize,
    /// Orders, the checked call and the bootstrap follow from it.
    pub seed: u64,
    /// For all timed rounds of a case; at least `samples_min` rounds are made.
    pub budget_ns: u64,
    pub samples_min: usize,
    pub samples_max: usize,
    pub build_samples: usize,
    /// Calls of a warm-up, unless its time is up after the first.
    pub warmup_calls_min: usize,
    /// For one contender.
    pub warmup_ns_max: u64,
    /// A turn's calls are not timed for so long, and never the first: threads of the library
    /// before spin for a while after its last call.
    pub settle_ns: u64,
    /// Calls with empty caches, for the operator and its best rival.
    pub cold_samples: usize,
    /// Length of an energy window; `None` leaves energy out.
    pub energy_window_ns: Option<u64>,
}

impl Plan {
    /// For many small cases: about 0.15 s each.
    pub fn quick(threads: usize, seed: u64) -> Plan {
        Plan {
            threads,
            seed,
            budget_ns: 60_000_000,
            samples_min: 3,
            samples_max: 100,
            build_samples: 1,
            warmup_calls_min: 3,
            warmup_ns_max: 5_000_000,
            // oneMKL's threads spin for a millisecond; with one thread nobody's do.
            settle_ns: if threads > 1 { 2_000_000 } else { 0 },
            cold_samples: 1,
            energy_window_ns: None,
        }
    }

    /// For figures that are published: about 20 s a case.
    pub fn thorough(threads: usize, seed: u64) -> Plan {
        Plan {
            threads,
            seed,
            budget_ns: 15_000_000_000,
            samples_min: 10,
            samples_max: 1000,
            build_samples: 3,
            warmup_calls_min: 5,
            warmup_ns_max: 500_000_000,
            // OpenBLAS's threads spin for 2^26 cycles.
            settle_ns: if threads > 1 { 30_000_000 } else { 0 },
            cold_samples: 5,
            energy_window_ns: None,
        }
    }
}

/// The last so many warm-up calls are compared with as many before them.
const SETTLE_WINDOW: usize = 3;
/// Times have settled when two medians in a row differ by less than this share.
const SETTLE_SHARE: f64 = 0.05;
/// Rounds that take so many budgets are cut short, even below `samples_min`.
const LATE: u64 = 4;
/// Calls from this length on need no untimed one before them: what the contender before left in
/// caches and spinning threads is gone after the first few percent.
const SELF_WARMING_NS: f64 = 50e6;

/// The operator or a baseline, with what is known of it.
pub struct Contender<'a> {
    pub operator: &'a dyn Operator,
    /// `None` for the operator under test.
    pub kind: Option<Kind>,
    pub library: &'a str,
    pub version: &'a str,
}

impl<'a> From<&'a Baseline> for Contender<'a> {
    fn from(baseline: &'a Baseline) -> Contender<'a> {
        Contender {
            operator: &*baseline.operator,
            kind: Some(baseline.kind),
            library: &baseline.library,
            version: &baseline.version,
        }
    }
}

/// The matrices of a case.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// m x k, whole.
    pub a: ArrayView2<'a, f32>,
    /// k x n.
    pub v: ArrayView2<'a, f32>,
    /// The fraction of zeros that the case asked for.
    pub sparsity: f64,
}

/// What is measured with.
pub struct Instruments<'a> {
    pub clock: &'a dyn Clock,
    /// The counter, or why there is none.
    pub energy: Result<&'a dyn EnergyCounter, String>,
    pub roofline: &'a Roofline,
    /// Empties the caches.
    pub flush: &'a dyn Fn(),
}

/// Gets a contender's name and its output (m x n) and says what is wrong with it.
pub type Check<'a> = dyn FnMut(&str, ArrayView2<'_, f32>) -> Result<(), String> + 'a;

/// Empties the caches by reading a buffer that is larger than all of them.
pub struct CacheFlush(Vec<u64>);

impl CacheFlush {
    /// Twice the caches: those that do not replace the least recently used line need more than
    /// their size.
    pub fn new(cache_bytes: u64) -> CacheFlush {
        CacheFlush((0..cache_bytes / 4).collect())
    }

    pub fn flush(&self) {
        black_box(black_box(&self.0).iter().fold(0u64, |x, &word| x ^ word));
    }
}

/// Runs `work` where `threads` means what operators expect: on this thread for 1, else in a pool
/// of so many.
pub fn with_threads<T: Send>(
    threads: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, rayon::ThreadPoolBuildError> {
    if threads <= 1 {
        return Ok(work());
    }
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(work))
}

/// Measures the operator and its rivals on one case, inside of [`with_threads`]. All of them are
/// built at the same time, so each that keeps a copy of A adds to the memory needed.
///
/// `check` is called outside of every timed span, for two timed calls of each contender: the last
/// and a random one.
pub fn measure<'a>(
    case: Case<'a>,
    operator: &Contender<'a>,
    baselines: &[Contender<'a>],
    plan: &Plan,
    instruments: &Instruments<'_>,
    check: &mut Check<'_>,
) -> CaseTimings {
    let (clock, (m, k), n) = (instruments.clock, case.a.dim(), case.v.ncols());
    let nnz = case.a.iter().filter(|&&x| x != 0.0).count();
    let live_columns = case.a.columns().into_iter().filter(|c| c.iter().any(|&x| x != 0.0)).count();
    let work = Work::of(m, n, nnz, live_columns);
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut y = Array2::from_elem((m, n), f32::NAN);
    let contenders = std::iter::once(operator).chain(baselines);
    let mut lanes: Vec<Lane<'a>> =
        contenders.map(|contender| Lane::build(contender, case, plan, clock)).collect();

    let mut round_ns = 0.0;
    for lane in &mut lanes {
        lane.warm_up(case, &mut y, plan, clock);
        round_ns += lane.turn_ns(plan);
    }
    let affordable = (plan.budget_ns as f64 / round_ns.max(1.0)) as usize;
    let samples_min = plan.samples_min.max(1);
    let rounds = affordable.clamp(samples_min, plan.samples_max.max(samples_min));
    // The last call and one before it, if there is one.
    let seeded = random.next_u64() as usize % (rounds - 1).max(1);

    let mut order: Vec<usize> = (0..lanes.len()).collect();
    let start = clock.now_ns();
    let mut rounds_made = 0;
    while rounds_made < rounds {
        // A machine that turned out much slower than in the warm-up ends the case early.
        let is_late = clock.now_ns() - start > LATE * plan.budget_ns && rounds_made > 0;
        let is_last = is_late && plan.budget_ns > 0 || rounds_made == rounds - 1;
        let is_checked = is_last || rounds_made == seeded;
        shuffle(&mut order, &mut random);
        for &lane in &order {
            lanes[lane].turn(case, &mut y, plan, clock, is_checked.then_some(&mut *check));
        }
        rounds_made += 1;
        if is_last {
            break;
        }
    }

    let mut result = {
        let mut timed = lanes.iter().map(|lane| lane.timed.clone());
        CaseTimings {
            m,
            k,
            n,
            nnz,
            sparsity: case.sparsity,
            sparsity_measured: if m * k == 0 { 0.0 } else { 1.0 - nnz as f64 / (m * k) as f64 },
            threads: plan.threads,
            rounds: rounds_made,
            work,
            minimum_time_ns: instruments.roofline.minimum_time_ns(work),
            operator: timed.next().unwrap_or_else(|| unreachable!("the operator's lane")),
            baselines: timed.collect(),
            speedups: Vec::new(),
            no_speedup: Vec::new(),
            break_even_calls: None,
        }
    };
    let summarise = |result: &mut CaseTimings| {
        for timed in std::iter::once(&mut result.operator).chain(&mut result.baselines) {
            timed.summarise(work, n, instruments.roofline, plan.seed);
        }
    };
    // Once to know the rivals, and again with what is measured because of that.
    summarise(&mut result);
    let index = |rule: Rule| {
        let name = &result.chosen(rule)?.name;
        lanes.iter().position(|lane| lane.timed.kind.is_some() && lane.timed.name == *name)
    };
    let (published, best) = (index(Rule::Published), index(Rule::Best));
    for _ in 0..plan.cold_samples {
        for lane in [Some(0), best].into_iter().flatten() {
            lanes[lane].cold(case, &mut y, instruments);
        }
    }
    measure_energy(&mut lanes, [Some(0), published, best], case, &mut y, plan, instruments);
    let mut timed = lanes.into_iter().map(|lane| lane.timed);
    result.operator = timed.next().unwrap_or_else(|| unreachable!("the operator's lane"));
    result.baselines = timed.collect();
    summarise(&mut result);
    result.compare(plan.seed);
    result
}

/// Fisher and Yates.
fn shuffle(order: &mut [usize], random: &mut ChaCha8Rng) {
    for i in (1..order.len()).rev() {
        order.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
    }
}

/// Energy windows: idle, then each lane asked for.
fn measure_energy(
    lanes: &mut [Lane<'_>],
    wanted: [Option<usize>; 3],
    case: Case<'_>,
    y: &mut Array2<f32>,
    plan: &Plan,
    instruments: &Instruments<'_>,
) {
    let clock = instruments.clock;
    let opened = match (&instruments.energy, plan.energy_window_ns) {
        (_, None) => Err("not asked for".to_string()),
        (Err(reason), _) => Err(reason.clone()),
        (Ok(counter), Some(window_ns)) => {
            let idle = Window::open(*counter, clock, window_ns, || {
                clock.sleep_ns((window_ns / 10).max(1));
                Ok(())
            });
            idle.map(|idle| (*counter, window_ns, idle))
        }
    };
    for (index, lane) in lanes.iter_mut().enumerate() {
        let outcome = match &opened {
            Err(reason) => Err(reason.clone()),
            Ok(_) if !wanted.contains(&Some(index)) => {
                Err("only for the operator and the baselines it is compared with".into())
            }
            Ok(_) if lane.timed.verified != Some(true) => Err("not verified".into()),
            Ok((counter, window_ns, idle)) => {
                Window::open(*counter, clock, *window_ns, || lane.call(case, y, clock).map(drop))
                    .map(|window| Energy::of(window, idle))
            }
        };
        match outcome {
            Ok(energy) => lane.timed.energy = Some(energy),
            Err(reason) => lane.timed.energy_reason = Some(reason),
        }
    }
}

/// A contender at work.
struct Lane<'a> {
    operator: &'a dyn Operator,
    built: Option<Box<dyn Built + 'a>>,
    staged: Staged,
    threads: usize,
    warm_ns: f64,
    timed: Timed,
}

impl<'a> Lane<'a> {
    fn build(
        contender: &Contender<'a>,
        case: Case<'a>,
        plan: &Plan,
        clock: &dyn Clock,
    ) -> Lane<'a> {
        let mut timed = Timed {
            name: contender.operator.name(),
            kind: contender.kind,
            library: contender.library.into(),
            version: contender.version.into(),
            threads: plan.threads,
            verified: None,
            failure: None,
            build_ns: Vec::new(),
            bytes_held: 0,
            warmup: Warmup::default(),
            samples_ns: Vec::new(),
            checked_samples: Vec::new(),
            cold_samples_ns: Vec::new(),
            float_environment_changes: 0,
            timing: None,
            energy: None,
            energy_reason: None,
        };
        let mut built = None;
        for _ in 0..plan.build_samples.max(1) {
            // The one before is dropped first: two would hold twice the memory.
            drop(built.take());
            let start = clock.now_ns();
            match contender.operator.build(case.a) {
                Ok(new) => {
                    timed.build_ns.push(clock.now_ns() - start);
                    built = Some(new);
                }
                Err(error) => {
                    timed.failure = Some(error.to_string());
                    break;
                }
            }
        }
        Lane {
            operator: contender.operator,
            built,
            staged: Staged::default(),
            threads: plan.threads,
            warm_ns: 0.0,
            timed,
        }
    }

    /// One call: what it took, from the plain V to the whole Y.
    fn call(
        &mut self,
        case: Case<'_>,
        y: &mut Array2<f32>,
        clock: &dyn Clock,
    ) -> Result<u64, String> {
        let built = self.built.as_ref().ok_or("not built")?;
        let start = clock.now_ns();
        let outcome = self
            .operator
            .stage(case.v, &mut self.staged, self.threads)
            .and_then(|()| built.apply(case.v, &self.staged, y.view_mut(), self.threads));
        // A clock too coarse to see the call still gives a time that can be divided by.
        let elapsed = (clock.now_ns() - start).max(1);
        if !float_environment_is_ieee() {
            self.timed.float_environment_changes += 1;
            reset_float_environment();
        }
        outcome.map(|()| elapsed).map_err(|error| error.to_string())
    }

    /// As [`Lane::call`]; a failed call takes the contender out.
    fn call_or_leave(
        &mut self,
        case: Case<'_>,
        y: &mut Array2<f32>,
        clock: &dyn Clock,
    ) -> Option<u64> {
        self.built.as_ref()?;
        match self.call(case, y, clock) {
            Ok(ns) => Some(ns),
            Err(reason) => {
                self.timed.failure = Some(reason);
                self.timed.verified = self.timed.verified.map(|_| false);
                self.built = None;
                None
            }
        }
    }

    fn warm_up(&mut self, case: Case<'_>, y: &mut Array2<f32>, plan: &Plan, clock: &dyn Clock) {
        let start = clock.now_ns();
        let mut samples = Vec::new();
        while let Some(ns) = self.call_or_leave(case, y, clock) {
            samples.push(ns);
            self.timed.warmup.settled =
                samples.len() >= plan.warmup_calls_min && has_settled(&samples);
            if self.timed.warmup.settled || clock.now_ns() - start >= plan.warmup_ns_max {
                break;
            }
        }
        self.timed.warmup.calls = samples.len();
        let recent = &samples[samples.len().saturating_sub(SETTLE_WINDOW)..];
        self.warm_ns = if recent.is_empty() { 0.0 } else { median(&as_f64(recent)) };
        self.timed.bytes_held = self.built.as_ref().map_or(0, |built| built.bytes_held());
    }

    fn is_self_warming(&self) -> bool {
        self.warm_ns >= SELF_WARMING_NS
    }

    /// What a turn will take.
    fn turn_ns(&self, plan: &Plan) -> f64 {
        let untimed_ns =
            if self.is_self_warming() { 0.0 } else { self.warm_ns.max(plan.settle_ns as f64) };
        self.warm_ns + untimed_ns
    }

    fn turn(
        &mut self,
        case: Case<'_>,
        y: &mut Array2<f32>,
        plan: &Plan,
        clock: &dyn Clock,
        check: Option<&mut Check<'_>>,
    ) {
        let start = clock.now_ns();
        while !self.is_self_warming() {
            if self.call_or_leave(case, y, clock).is_none() {
                return;
            }
            if clock.now_ns() - start >= plan.settle_ns {
                break;
            }
        }
        y.fill(f32::NAN);
        let Some(ns) = self.call_or_leave(case, y, clock) else { return };
        self.timed.samples_ns.push(ns);
        if let Some(check) = check {
            self.timed.checked_samples.push(self.timed.samples_ns.len() - 1);
            let outcome = check(&self.timed.name, y.view());
            // One wrong output is enough, and the first reason is kept.
            self.timed.verified = Some(self.timed.verified != Some(false) && outcome.is_ok());
            self.timed.failure = self.timed.failure.take().or(outcome.err());
        }
    }

    fn cold(&mut self, case: Case<'_>, y: &mut Array2<f32>, instruments: &Instruments<'_>) {
        if self.built.is_some() {
            (instruments.flush)();
            let sample = self.call_or_leave(case, y, instruments.clock);
            self.timed.cold_samples_ns.extend(sample);
        }
    }
}

/// Whether the latest calls took about as long as those before them.
fn has_settled(samples: &[u64]) -> bool {
    let Some(before) = samples.len().checked_sub(2 * SETTLE_WINDOW) else { return false };
    let (before, latest) = samples[before..].split_at(SETTLE_WINDOW);
    let (before, latest) = (median(&as_f64(before)), median(&as_f64(latest)));
    (before - latest).abs() <= SETTLE_SHARE * latest
}
