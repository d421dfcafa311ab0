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
use rayon::prelude::*;

use super::energy::Pace;
use super::lane::{Lane, NOT_VERIFIED, NOT_WANTED};
use super::looks::Looks;
use super::{Called, Clock, Contender, EnergyCounter, Platform};
use record::baseline::Kind;
use record::timings::{
    CaseTimings, ElementBytes, Energy, LayerSizes, Roofline, Rule, Spent, Window, Work,
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
    /// A baseline that takes so many times as long as the fastest of its kind is sampled only in the last
    /// round; `None` samples all alike.
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

/// Rounds that take so many budgets are cut short, even below `samples_min`.
const LATE: u64 = 4;
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

/// What is counted in an A. In the current pool.
pub fn sizes(a: ArrayView2<'_, f32>) -> LayerSizes {
    let (m, k) = a.dim();
    let none = || (0, 0, vec![false; k]);
    let of_row = |(nnz, live_rows, mut live): (usize, usize, Vec<bool>), i: usize| {
        let mut count = 0;
        for (live, x) in live.iter_mut().zip(a.row(i)) {
            let is_live = *x != 0.0;
            *live |= is_live;
            count += usize::from(is_live);
        }
        (nnz + count, live_rows + usize::from(count > 0), live)
    };
    let both = |one: (usize, usize, Vec<bool>), other: (usize, usize, Vec<bool>)| {
        let live = one.2.iter().zip(&other.2).map(|(one, other)| one | other).collect();
        (one.0 + other.0, one.1 + other.1, live)
    };
    let rows = (0..m).into_par_iter();
    let (nnz, live_rows, live) = rows.fold(none, of_row).reduce(none, both);
    let live_columns = live.into_iter().filter(|&live| live).count();
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
            if hopeless[lane] && !is_last {
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
        // That wait is no part of what comes next.
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
