//! In which order calls are made, and which of them count.
//!
//! Each contender is warmed up until its times settle, and a device's clock. Then all of them
//! take turns, in a random order each round, so that what disturbs the machine for a while
//! disturbs all alike. A turn is one or more calls that are not timed, which find the caches and
//! the threads as the contender before left them, and one sample: a call that is timed, or as many
//! in a row as a device's clock needs. The output is poisoned before every sample, not only before
//! those that are checked: an operator cannot tell them apart.

use std::sync::OnceLock;

use ndarray::ArrayView2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::energy::Pace;
use super::looks::{Look, Looks, Of};
use super::{Called, Clock, Contender, EnergyCounter, Inputs, Part, Platform};
use crate::backend::cpu::{float_environment_is_ieee, reset_float_environment};
use record::baseline::Kind;
use record::timings::{
    CaseTimings, ElementBytes, Energy, LayerSizes, Roofline, Rule, Sample, Spent, Timed, Warmup,
    Window, Work, median,
};

/// How much time a case may take, and how it is spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The bootstrap follows from it.
    pub seed: u64,
    /// The order of contenders, and what is looked at of their outputs, follow from it: no contender knows it.
    pub secret: u64,
    /// For all timed rounds of a case; at least `samples_min` rounds are made.
    pub budget_ns: u64,
    pub samples_min: usize,
    pub samples_max: usize,
    /// A sample has as many calls as last so long, by the warm-up, or as many as the platform
    /// can time at once; 0 for one call.
    pub sample_ns_min: u64,
    /// Builds of the operator, and of each baseline. On a device the operator is built once more before these,
    /// not timed: kernels are compiled then, which happens once on a machine and not once a matrix.
    pub build_samples: usize,
    pub build_samples_baseline: usize,
    /// Samples of a warm-up, unless its time is up after the first.
    pub warmup_samples_min: usize,
    /// For one contender.
    pub warmup_ns_max: u64,
    /// A turn's calls are not timed for so long, and never the first: threads of the library
    /// before spin for a while after its last call.
    pub settle_ns: u64,
    /// Calls from this length on need no untimed one before them: what the contender before left in caches and spinning
    /// threads is gone after the first few percent.
    pub self_warming_ns: u64,
    /// A baseline that takes so many times as long as the fastest of its kind is sampled only in the two
    /// rounds that are checked; `None` samples all alike.
    pub hopeless_ratio: Option<f64>,
    /// Calls with empty caches, for the operator and its best rival.
    pub cold_samples: usize,
    /// Length of an energy window; `None` leaves energy out.
    pub energy_window_ns: Option<u64>,
}

impl Plan {
    /// For many small cases on the host's threads: about 0.15 s each.
    pub fn quick(threads: usize, seed: u64) -> Plan {
        Plan {
            seed,
            secret: seed,
            budget_ns: 60_000_000,
            samples_min: 3,
            samples_max: 100,
            // Many times what the way to a worker and back takes.
            sample_ns_min: 200_000,
            build_samples: 1,
            build_samples_baseline: 1,
            warmup_samples_min: 3,
            warmup_ns_max: 5_000_000,
            // oneMKL's threads spin for a millisecond; with one thread nobody's do.
            settle_ns: if threads > 1 { 2_000_000 } else { 0 },
            self_warming_ns: 50_000_000,
            hopeless_ratio: None,
            cold_samples: 1,
            energy_window_ns: None,
        }
    }

    /// The plan with as many cold calls as leave most of the time for others: before each, caches of so many bytes are
    /// read twice over. None where one alone takes longer than the timed rounds may.
    pub fn within(self, cache_bytes: u64) -> Plan {
        const BYTES_PER_NS: f64 = 10.0;
        let flush_ns = 2.0 * cache_bytes as f64 / BYTES_PER_NS;
        // Each for the operator and for its best rival.
        let affordable = (self.budget_ns as f64 / (2.0 * flush_ns)) as usize;
        Plan { cold_samples: self.cold_samples.min(affordable), ..self }
    }

    /// For figures that are published, on the host's threads: about 20 s a case.
    pub fn thorough(threads: usize, seed: u64) -> Plan {
        Plan {
            seed,
            secret: seed,
            budget_ns: 15_000_000_000,
            samples_min: 10,
            samples_max: 1000,
            sample_ns_min: 1_000_000,
            build_samples: 3,
            build_samples_baseline: 3,
            warmup_samples_min: 5,
            warmup_ns_max: 500_000_000,
            // OpenBLAS's threads spin for 2^26 cycles.
            settle_ns: if threads > 1 { 30_000_000 } else { 0 },
            self_warming_ns: 50_000_000,
            hopeless_ratio: None,
            cold_samples: 5,
            energy_window_ns: None,
        }
    }

    /// For figures of a device: about 2 s a case, and an energy window each for idleness and up
    /// to three contenders where one is set.
    pub fn device(seed: u64) -> Plan {
        Plan {
            seed,
            secret: seed,
            budget_ns: 1_000_000_000,
            samples_min: 10,
            samples_max: 200,
            // Four hundred steps of the events' clock.
            sample_ns_min: 200_000,
            build_samples: 3,
            build_samples_baseline: 1,
            warmup_samples_min: 10,
            warmup_ns_max: 500_000_000,
            settle_ns: 0,
            // A device's L2 was read and written many times over by then.
            self_warming_ns: 10_000_000,
            hopeless_ratio: Some(3.0),
            cold_samples: 5,
            energy_window_ns: None,
        }
    }
}

/// The last so many samples of a warm-up are compared with as many before them.
const SETTLE_WINDOW: usize = 3;
/// Times have settled when two medians in a row differ by less than this share.
const SETTLE_SHARE: f64 = 0.05;
/// So many samples of a warm-up show that a contender is far from the best of its kind, or as many as take so long.
const FAR_SAMPLES: usize = 3;
const FAR_NS: u64 = 20_000_000;
/// The same for a device's clock, which moves in steps of about one percent.
const CLOCK_SETTLE_SHARE: f64 = 0.02;
/// Rounds that take so many budgets are cut short, even below `samples_min`.
const LATE: u64 = 4;
/// Short calls fill an energy window in batches of this length, so that waiting for the last of
/// them, some 10 microseconds, is a small part.
const ENERGY_BATCH_NS: f64 = 10e6;
/// An energy window has so many calls, unless it would take longer than ...
const ENERGY_CALLS: f64 = 40.0;
const ENERGY_WINDOW_NS_MAX: u64 = 1_500_000_000;
/// The window of rest, which all cases share, is not shorter.
const IDLE_WINDOW_NS: u64 = 1_000_000_000;

/// A case in figures; the matrices are the platform's.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// A is m x k, V is k x n.
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// Non-zeros of A, and its rows and columns that have one.
    pub nnz: usize,
    pub live_rows: usize,
    pub live_columns: usize,
    /// The fraction of zeros that the case asked for.
    pub sparsity: f64,
    pub element_bytes: ElementBytes,
    /// Where a call multiplies a whole stack, all its layers, of which the last one has the figures above.
    pub layers: Option<Vec<LayerSizes>>,
}

impl Case {
    /// Counts in A (m x k, whole).
    pub fn of(
        a: ArrayView2<'_, f32>,
        n: usize,
        sparsity: f64,
        element_bytes: ElementBytes,
    ) -> Case {
        let LayerSizes { m, k, nnz, live_rows, live_columns } = sizes(a);
        let layers = None;
        Case { m, k, n, nnz, live_rows, live_columns, sparsity, element_bytes, layers }
    }

    fn work(&self) -> Work {
        match &self.layers {
            Some(layers) => Work::of_stack(layers, self.n, None, self.element_bytes),
            None => Work::of(self.m, self.n, self.nnz, self.live_columns, self.element_bytes),
        }
    }
}

/// What is counted in an A.
pub fn sizes(a: ArrayView2<'_, f32>) -> LayerSizes {
    let (m, k) = a.dim();
    let nnz = a.iter().filter(|&&x| x != 0.0).count();
    let is_live = |column: &ndarray::ArrayView1<'_, f32>| column.iter().any(|&x| x != 0.0);
    let live_columns = a.columns().into_iter().filter(is_live).count();
    let live_rows = a.rows().into_iter().filter(is_live).count();
    LayerSizes { m, k, nnz, live_rows, live_columns }
}

/// What is measured with, beside the platform's own clock.
pub struct Instruments<'a> {
    /// The host's, for budgets, builds and energy windows.
    pub clock: &'a dyn Clock,
    /// The counter, or why there is none.
    pub energy: Result<&'a dyn EnergyCounter, String>,
    /// The window of rest, opened by the first case that needs it.
    pub idle: &'a OnceLock<Result<Window, String>>,
    pub roofline: &'a Roofline,
}

/// Gets a contender's name and a call that it made, or a part of it, and says what is wrong with it.
pub type Check<'a> = dyn Fn(&str, &Called) -> Result<(), String> + Sync + 'a;

/// Measures the operator and its rivals on one case. All of them are built at the same time, so
/// each that keeps a copy of A adds to the memory needed.
///
/// `check` is called outside of every timed span, for two samples of each contender: the last
/// and a random one. On a device it looks at the very first call too, and a contender that is wrong
/// there is not timed: some libraries' wrong outputs take a thousand times as long as right ones. Where the platform lets
/// outputs be looked at beside other calls, threads do so while the device goes on. What they find is waited for before a
/// contender is warmed up, and after the energy windows: whose output is found wrong then loses what was measured, and
/// the rival that is chosen instead is measured.
pub fn measure<P: Platform>(
    platform: &mut P,
    case: &Case,
    operator: &Contender<P::Operator>,
    baselines: &[Contender<P::Operator>],
    plan: &Plan,
    instruments: &Instruments<'_>,
    check: &Check<'_>,
) -> CaseTimings {
    let threads = platform.looks_beside();
    std::thread::scope(|scope| {
        let mut looks = Looks::new(check, 1 + baselines.len());
        if let Some(threads) = threads {
            looks.go_on_beside(scope, threads);
        }
        measure_looking(platform, case, operator, baselines, plan, instruments, &mut looks)
    })
}

/// The same, with what looks at outputs.
fn measure_looking<P: Platform>(
    platform: &mut P,
    case: &Case,
    operator: &Contender<P::Operator>,
    baselines: &[Contender<P::Operator>],
    plan: &Plan,
    instruments: &Instruments<'_>,
    looks: &mut Looks<'_>,
) -> CaseTimings {
    let (clock, work) = (instruments.clock, case.work());
    let mut random = ChaCha8Rng::seed_from_u64(plan.secret);
    let mut spent = Spent::default();
    let mut since = clock.now_ns();
    // The time since the last lap.
    let mut lap = || {
        let before = std::mem::replace(&mut since, clock.now_ns());
        since - before
    };
    let contenders = std::iter::once(operator).chain(baselines);
    let mut lanes: Vec<Lane<P>> =
        contenders.map(|contender| Lane::build(platform, contender, plan, clock)).collect();
    spent.build_ns = lap();

    for index in 0..lanes.len() {
        if let Some(look) = lanes[index].first_call(platform) {
            spent.check_ns += looks.give(&mut lanes, index, look, clock);
        }
    }
    let mut fastest = Vec::new();
    for index in 0..lanes.len() {
        spent.check_ns += looks.wait_for(&mut lanes, Some(index), clock);
        let lane = &mut lanes[index];
        let same = |(kind, _): &&mut (Option<Kind>, f64)| *kind == lane.timed.kind;
        let of_its_kind = fastest.iter_mut().find(same);
        let known_ns = of_its_kind.as_ref().map(|(_, ns)| *ns);
        lane.warm_up(platform, plan, clock, known_ns);
        match of_its_kind {
            Some((_, ns)) if lane.warm_ns > 0.0 => *ns = ns.min(lane.warm_ns),
            None if lane.warm_ns > 0.0 => fastest.push((lane.timed.kind, lane.warm_ns)),
            _ => {}
        }
    }
    spent.warmup_ns = lap().saturating_sub(spent.check_ns);
    let checked_ns = spent.check_ns;
    let hopeless = hopeless(&lanes, plan);
    let hopeful = |(_, hopeless): &(&Lane<P>, &bool)| !**hopeless;
    let round_ns: f64 =
        lanes.iter().zip(&hopeless).filter(hopeful).map(|(lane, _)| lane.turn_ns(plan)).sum();
    let affordable = (plan.budget_ns as f64 / round_ns.max(1.0)) as usize;
    let samples_min = plan.samples_min.max(1);
    let rounds = affordable.clamp(samples_min, plan.samples_max.max(samples_min));
    // The last sample and one before it, if there is one.
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
            if hopeless[lane] && !is_checked {
                continue;
            }
            let (prepare_ns, look) =
                lanes[lane].turn(platform, plan, clock, is_checked, &mut random);
            spent.check_ns += prepare_ns;
            if let Some(look) = look {
                spent.check_ns += looks.give(&mut lanes, lane, look, clock);
            }
        }
        rounds_made += 1;
        if is_last {
            break;
        }
    }
    spent.rounds_ns = lap().saturating_sub(spent.check_ns - checked_ns);

    let mut result = {
        let (elements, nnz) = ((case.m * case.k) as f64, case.nnz as f64);
        let mut timed = lanes.iter().map(|lane| lane.timed.clone());
        CaseTimings {
            m: case.m,
            k: case.k,
            n: case.n,
            nnz: case.nnz,
            sparsity: case.sparsity,
            sparsity_measured: if elements == 0.0 { 0.0 } else { 1.0 - nnz / elements },
            device: platform.device(),
            threads: platform.threads(),
            rounds: rounds_made,
            spent: None,
            inputs: None,
            layers: case.layers.clone(),
            work,
            live_rows: Some(case.live_rows),
            live_columns: Some(case.live_columns),
            element_bytes: Some(case.element_bytes),
            roofline: Some(instruments.roofline.clone()),
            minimum_time_ns: instruments.roofline.minimum_time_ns(work),
            operator: timed.next().unwrap_or_else(|| unreachable!("the operator's lane")),
            baselines: timed.collect(),
            speedups: Vec::new(),
            no_speedup: Vec::new(),
            break_even_calls: None,
        }
    };
    // Once to know the rivals, and again with what is measured because of that, and what was found meanwhile.
    let mut is_cold = vec![false; lanes.len()];
    loop {
        result.operator = lanes[0].so_far(looks.is_waiting(0));
        let rivals = lanes.iter().enumerate().skip(1);
        result.baselines =
            rivals.map(|(index, lane)| lane.so_far(looks.is_waiting(index))).collect();
        result.derive(plan.seed);
        // The operator's lane comes before those of the baselines.
        let lane_of = |rule: Rule| result.chosen(rule).map(|index| index + 1);
        let (published, best) = (lane_of(Rule::Published), lane_of(Rule::Best));
        let wanted = [Some(0), published, best];
        if best.is_none_or(|best| is_cold[best])
            && is_cold[0]
            && wanted.into_iter().flatten().all(|lane| lanes[lane].has_energy())
        {
            break;
        }
        let to_do: Vec<usize> =
            [Some(0), best].into_iter().flatten().filter(|&lane| !is_cold[lane]).collect();
        for _ in 0..plan.cold_samples {
            for &lane in &to_do {
                if let Some((look_ns, look)) = lanes[lane].cold(platform, clock, &mut random) {
                    spent.check_ns += look_ns + looks.give(&mut lanes, lane, look, clock);
                }
            }
        }
        to_do.into_iter().for_each(|lane| is_cold[lane] = true);
        spent.cold_ns += lap();
        let is_out = |index: usize, lane: &Lane<P>| match lane.timed.verified {
            Some(verified) => !verified,
            None => !looks.is_waiting(index),
        };
        measure_energy(platform, &mut lanes, wanted, &is_out, plan, instruments);
        spent.energy_ns += lap();
        spent.check_ns += looks.wait_for(&mut lanes, None, clock);
        lap();
        lanes.iter_mut().for_each(Lane::lose_energy_unless_right);
    }
    result.spent = Some(spent);
    result
}

/// Which lanes take too long to be the best rival of their kind, by their warm-up.
fn hopeless<P: Platform>(lanes: &[Lane<P>], plan: &Plan) -> Vec<bool> {
    let is_hopeless = |lane: &Lane<P>| {
        let of_its_kind = |other: &&Lane<P>| other.timed.kind == lane.timed.kind;
        let times = lanes.iter().filter(of_its_kind).map(|other| other.warm_ns);
        let fastest_ns = times.filter(|&ns| ns > 0.0).fold(f64::INFINITY, f64::min);
        plan.hopeless_ratio.is_some_and(|ratio| lane.warm_ns > ratio * fastest_ns)
    };
    lanes.iter().map(is_hopeless).collect()
}

/// Fisher and Yates.
fn shuffle(order: &mut [usize], random: &mut ChaCha8Rng) {
    for i in (1..order.len()).rev() {
        order.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
    }
}

/// Why most have no energy.
const NOT_WANTED: &str = "only for the operator and the baselines it is compared with";
/// Why who was not right has no energy.
const NOT_VERIFIED: &str = "not verified";

/// Energy windows: idle, then each lane asked for that has none yet.
fn measure_energy<P: Platform>(
    platform: &mut P,
    lanes: &mut [Lane<P>],
    wanted: [Option<usize>; 3],
    is_out: &dyn Fn(usize, &Lane<P>) -> bool,
    plan: &Plan,
    instruments: &Instruments<'_>,
) {
    let clock = instruments.clock;
    let opened = match (&instruments.energy, plan.energy_window_ns) {
        (_, None) => Err("not asked for".to_string()),
        (Err(reason), _) => Err(reason.clone()),
        (Ok(counter), Some(window_ns)) => {
            let idle = instruments.idle.get_or_init(|| {
                let window_ns = window_ns.max(IDLE_WINDOW_NS);
                super::energy::open_window(*counter, clock, window_ns, |pace| {
                    let part = if pace == Pace::Batch { 10 } else { 500 };
                    clock.sleep_ns((window_ns / part).max(1));
                    Ok(1)
                })
            });
            idle.as_ref().map(|idle| (*counter, window_ns, idle)).map_err(String::clone)
        }
    };
    for (index, lane) in lanes.iter_mut().enumerate() {
        if lane.timed.energy.is_some() {
            continue;
        }
        let outcome = match &opened {
            Err(reason) => Err(reason.clone()),
            Ok(_) if !wanted.contains(&Some(index)) => Err(NOT_WANTED.into()),
            Ok(_) if is_out(index, lane) => Err(NOT_VERIFIED.into()),
            Ok((counter, window_ns, idle)) => {
                let calls = lane.energy_batch(plan);
                // A call more or less must not matter.
                let enough_ns = (ENERGY_CALLS * lane.warm_ns) as u64;
                let window_ns = enough_ns.min(ENERGY_WINDOW_NS_MAX).max(*window_ns);
                super::energy::open_window(*counter, clock, window_ns, |pace| {
                    let calls = if pace == Pace::Batch { calls } else { calls.div_ceil(2) };
                    lane.call(|built| platform.run(built, calls)).map(|()| calls as u64)
                })
                .map(|window| Energy::of(window, idle, counter.window_s_min()))
            }
        };
        match outcome {
            Ok(energy) => (lane.timed.energy, lane.timed.energy_reason) = (Some(energy), None),
            Err(reason) => lane.timed.energy_reason = Some(reason),
        }
    }
}

/// A contender at work.
pub struct Lane<P: Platform> {
    built: Option<P::Built>,
    /// One call, at the end of the warm-up.
    warm_ns: f64,
    timed: Timed,
}

impl<P: Platform> Lane<P> {
    fn build(
        platform: &mut P,
        contender: &Contender<P::Operator>,
        plan: &Plan,
        clock: &dyn Clock,
    ) -> Lane<P> {
        let mut timed = Timed {
            name: contender.name.clone(),
            kind: contender.kind,
            library: contender.library.clone(),
            version: contender.version.clone(),
            threads: platform.threads(),
            verified: None,
            failure: None,
            plan: None,
            build_ns: Vec::new(),
            bytes_held: 0,
            warmup: Warmup::default(),
            calls_per_sample: 1,
            overhead_ns: None,
            samples_ns: Vec::new(),
            checked_samples: Vec::new(),
            checked_elements: 0,
            error: None,
            cold_samples_ns: Vec::new(),
            device_samples: Vec::new(),
            device_cold_samples: Vec::new(),
            float_environment_changes: 0,
            timing: None,
            energy: None,
            energy_reason: None,
        };
        let is_operator = contender.kind.is_none();
        let samples = if is_operator { plan.build_samples } else { plan.build_samples_baseline };
        let untimed = usize::from(is_operator && platform.device().is_some());
        let mut built: Option<P::Built> = None;
        for index in 0..untimed + samples.max(1) {
            // The one before is dropped first: two would hold twice the memory.
            if let Some(built) = built.take() {
                platform.drop_built(built);
            }
            let handed_over = platform.hand_over(&contender.operator);
            let start = clock.now_ns();
            let new = handed_over.and_then(|()| platform.build(&contender.operator));
            let took_ns = clock.now_ns() - start;
            match new {
                Ok(new) => {
                    if index >= untimed {
                        timed.build_ns.push(took_ns);
                    }
                    built = Some(new);
                }
                Err(reason) => {
                    timed.failure = Some(reason);
                    break;
                }
            }
        }
        timed.plan = built.as_ref().map(|built| platform.plan(built));
        Lane { built, warm_ns: 0.0, timed }
    }

    /// Lets the contender do something. A library may leave the thread's float environment
    /// changed, whether it multiplies here or only launches.
    fn call<T>(
        &mut self,
        work: impl FnOnce(&mut P::Built) -> Result<T, String>,
    ) -> Result<T, String> {
        let outcome = work(self.built.as_mut().ok_or("not built")?);
        if !float_environment_is_ieee() {
            self.timed.float_environment_changes += 1;
            reset_float_environment();
        }
        outcome
    }

    /// As [`Lane::call`]; a failure takes the contender out.
    fn call_or_leave<T>(
        &mut self,
        work: impl FnOnce(&mut P::Built) -> Result<T, String>,
    ) -> Option<T> {
        self.built.as_ref()?;
        match self.call(work) {
            Ok(outcome) => Some(outcome),
            Err(reason) => {
                self.timed.failure = Some(reason);
                self.timed.verified = self.timed.verified.map(|_| false);
                self.built = None;
                None
            }
        }
    }

    /// Once without a clock, where the platform wants that. A wrong output takes the contender out.
    fn first_call(&mut self, platform: &mut P) -> Option<Look> {
        let called = self.call_or_leave(|built| platform.first(built))??;
        Some(Look { outputs: vec![Ok(called)], of: Of::FirstCall })
    }

    /// The contender's name.
    pub fn name(&self) -> &str {
        &self.timed.name
    }

    /// What is known of it; what is still looked at is taken to be right.
    fn so_far(&self, is_waiting: bool) -> Timed {
        let verified = self.timed.verified.or(is_waiting.then_some(true));
        Timed { verified, ..self.timed.clone() }
    }

    /// Whether its energy was measured, or could not be.
    fn has_energy(&self) -> bool {
        let reason = self.timed.energy_reason.as_deref();
        self.timed.energy.is_some() || reason.is_some_and(|reason| reason != NOT_WANTED)
    }

    fn lose_energy_unless_right(&mut self) {
        if self.timed.verified != Some(true) && self.timed.energy.take().is_some() {
            self.timed.energy_reason = Some(NOT_VERIFIED.to_owned());
        }
    }

    /// What was found in outputs of this lane. The first reason is kept.
    pub fn note(&mut self, of: Of, outcome: Result<(), String>) {
        // Who has left is not right, whenever that is found of a call before.
        let has_left = self.built.is_none();
        self.timed.verified = match (self.timed.verified, of, outcome.is_ok()) {
            (verified, Of::FirstCall, true) => verified,
            (_, Of::FirstCall, false) => {
                self.built = None;
                Some(false)
            }
            (Some(verified), _, is_right) => Some(verified && is_right),
            // Elements alone do not make it right.
            (None, Of::Sample { is_checked }, true) => is_checked.then_some(!has_left),
            (None, Of::Sample { .. }, false) => Some(false),
        };
        self.timed.failure = self.timed.failure.take().or(outcome.err());
    }

    /// Makes samples until they are long enough and have settled, or take too long to be the best of a kind of which another
    /// takes `known_ns`.
    fn warm_up(&mut self, platform: &mut P, plan: &Plan, clock: &dyn Clock, known_ns: Option<f64>) {
        let far_ns = plan.hopeless_ratio.zip(known_ns).map_or(f64::INFINITY, |(r, ns)| r * ns);
        let start = clock.now_ns();
        let (mut times_ns, mut clocks_mhz) = (Vec::new(), Vec::new());
        // Samples of as many calls as the latest begin here.
        let mut alike = 0;
        loop {
            let calls = self.timed.calls_per_sample;
            let Some(sample) =
                self.call_or_leave(|built| platform.sample(built, Inputs::Ring, calls))
            else {
                break;
            };
            self.timed.warmup.calls += calls;
            times_ns.push(sample.time_ns / calls as f64);
            clocks_mhz.extend(sample.state.as_ref().map(|state| f64::from(state.clock_mhz)));
            let sample_ns_min = plan.sample_ns_min as f64;
            let calls_max = platform.calls_max();
            if sample.time_ns < sample_ns_min && calls < calls_max {
                let wanted = (sample_ns_min / sample.time_ns * calls as f64).ceil() as usize;
                self.timed.calls_per_sample = wanted.clamp(calls + 1, calls_max);
                alike = times_ns.len();
            }
            self.timed.warmup.settled = times_ns.len() >= plan.warmup_samples_min
                && has_settled(&times_ns[alike..], SETTLE_SHARE)
                // Nobody may have been asked.
                && (clocks_mhz.is_empty() || has_settled(&clocks_mhz, CLOCK_SETTLE_SHARE));
            let is_enough = times_ns.len() >= FAR_SAMPLES || clock.now_ns() - start >= FAR_NS;
            let is_far = is_enough && times_ns.iter().all(|&ns| ns > far_ns);
            if self.timed.warmup.settled || is_far || clock.now_ns() - start >= plan.warmup_ns_max {
                break;
            }
        }
        let recent = &times_ns[times_ns.len().saturating_sub(SETTLE_WINDOW)..];
        self.warm_ns = if recent.is_empty() { 0.0 } else { median(recent) };
        let calls = self.timed.calls_per_sample;
        self.timed.overhead_ns =
            self.built.as_mut().and_then(|built| platform.overhead_ns(built, calls));
        self.timed.bytes_held = self.built.as_ref().map_or(0, |built| platform.bytes_held(built));
    }

    fn is_self_warming(&self, plan: &Plan) -> bool {
        self.warm_ns >= plan.self_warming_ns as f64
    }

    /// What a turn will take.
    fn turn_ns(&self, plan: &Plan) -> f64 {
        let untimed_ns =
            if self.is_self_warming(plan) { 0.0 } else { self.warm_ns.max(plan.settle_ns as f64) };
        self.warm_ns * self.timed.calls_per_sample as f64 + untimed_ns
    }

    /// Calls between two looks at the clock in an energy window.
    fn energy_batch(&self, plan: &Plan) -> usize {
        if plan.sample_ns_min == 0 {
            return 1;
        }
        ((ENERGY_BATCH_NS / self.warm_ns.max(1.0)) as usize).max(1)
    }

    /// Returns how many nanoseconds preparing and reading took, and what was read.
    fn turn(
        &mut self,
        platform: &mut P,
        plan: &Plan,
        clock: &dyn Clock,
        one_whole: bool,
        random: &mut ChaCha8Rng,
    ) -> (u64, Option<Look>) {
        let start = clock.now_ns();
        while !self.is_self_warming(plan) {
            if self.call_or_leave(|built| platform.run(built, 1)).is_none() {
                return (0, None);
            }
            if clock.now_ns() - start >= plan.settle_ns {
                break;
            }
        }
        let calls = self.timed.calls_per_sample;
        let start = clock.now_ns();
        if self.call_or_leave(|built| platform.prepare(built, calls)).is_none() {
            return (0, None);
        }
        let prepare_ns = clock.now_ns() - start;
        let sample = self.call_or_leave(|built| platform.sample(built, Inputs::Fresh, calls));
        let Some(sample) = sample else { return (prepare_ns, None) };
        self.timed.samples_ns.push(per_call_ns(&sample, calls));
        if platform.device().is_some() {
            self.timed.device_samples.push(sample);
        }
        let start = clock.now_ns();
        if one_whole {
            self.timed.checked_samples.push(self.timed.samples_ns.len() - 1);
        }
        let look = self.read(platform, calls, one_whole, random);
        self.timed.float_environment_changes += platform.float_environment_changes() as usize;
        (prepare_ns + clock.now_ns() - start, look)
    }

    /// Reads elements of each of the calls just made, and one of them whole if that is wanted. What is read is drawn now
    /// that the outputs are there.
    fn read(
        &mut self,
        platform: &mut P,
        calls: usize,
        one_whole: bool,
        random: &mut ChaCha8Rng,
    ) -> Option<Look> {
        let built = self.built.as_ref()?;
        let is_operator = self.timed.kind.is_none();
        let is_whole = one_whole && (platform.compares_rivals_whole() || is_operator);
        let whole = is_whole.then(|| random.next_u64() as usize % calls);
        let mut outputs = Vec::with_capacity(calls);
        for call in 0..calls {
            let part = match whole == Some(call) {
                true => Part::Whole,
                false => block(platform.shape(), random),
            };
            if let Part::Block { rows, columns } = &part {
                self.timed.checked_elements += (rows.len() * columns.len()) as u64;
            }
            outputs.push(platform.output(built, call, &part));
        }
        Some(Look { outputs, of: Of::Sample { is_checked: one_whole } })
    }

    /// Returns how many nanoseconds reading took, and what was read.
    fn cold(
        &mut self,
        platform: &mut P,
        clock: &dyn Clock,
        random: &mut ChaCha8Rng,
    ) -> Option<(u64, Look)> {
        let sample = self.call_or_leave(|built| {
            platform.prepare(built, 1)?;
            platform.flush(built)?;
            platform.sample(built, Inputs::Fresh, 1)
        })?;
        self.timed.cold_samples_ns.push(per_call_ns(&sample, 1));
        if platform.device().is_some() {
            self.timed.device_cold_samples.push(sample);
        }
        let start = clock.now_ns();
        let look = self.read(platform, 1, false, random)?;
        Some((clock.now_ns() - start, look))
    }
}

/// Elements of a Y of this shape that are looked at in each timed call, at least, where there are as many.
const ELEMENTS: usize = 256;

/// Rows and columns that meet in 256 elements, or in all of fewer.
pub fn block((m, n): (usize, usize), random: &mut ChaCha8Rng) -> Part {
    let across = n.min(16usize.max(ELEMENTS.div_ceil(m.clamp(1, 16))));
    let down = m.min(ELEMENTS.div_ceil(across.max(1)));
    let mut pick = |count: usize, of: usize| {
        let mut all = std::collections::BTreeSet::new();
        // Few of many: hardly any is drawn twice. Many of few: all are taken.
        while count < of && all.len() < count {
            all.insert((random.next_u64() % of as u64) as usize);
        }
        if count >= of { (0..of).collect() } else { all.into_iter().collect() }
    };
    Part::Block { rows: pick(down, m), columns: pick(across, n) }
}

/// Whole nanoseconds, and at least one, so that it can be divided by.
fn per_call_ns(sample: &Sample, calls: usize) -> u64 {
    ((sample.time_ns / calls as f64).round() as u64).max(1)
}

/// Whether the latest samples are about as those before them.
fn has_settled(samples: &[f64], share: f64) -> bool {
    let Some(before) = samples.len().checked_sub(2 * SETTLE_WINDOW) else { return false };
    let (before, latest) = samples[before..].split_at(SETTLE_WINDOW);
    let (before, latest) = (median(before), median(latest));
    (before - latest).abs() <= share * latest
}
