//! The whole schedule on a clock and a counter that the operators drive.

use record::timings::{CaseTimings, ElementBytes, EnergyBasis, MEASURED_MARGIN, Roofline, Rule};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use std::sync::OnceLock;

use super::in_process::InProcess;
use super::*;
use crate::baseline::Host;
use crate::operator::{Built, Error, Operator, Staged};
use contract::arithmetic::bounded;
use record::baseline::Kind;

/// What the operators share with the test.
#[derive(Default)]
struct Stage {
    clock: MockClock,
    calls: AtomicUsize,
}

/// Right, and as slow as it is told to be.
struct Scripted {
    name: &'static str,
    stage: Arc<Stage>,
    energy: Option<Arc<MockEnergy>>,
    time_ns: u64,
    /// Calls after which it stops writing Y.
    lazy_after: usize,
    fails: bool,
}

struct ScriptedBuilt<'a> {
    script: ScriptedCall,
    a: ArrayView2<'a, f32>,
}

struct ScriptedCall {
    stage: Arc<Stage>,
    energy: Option<Arc<MockEnergy>>,
    time_ns: u64,
    lazy_after: usize,
    fails: bool,
    calls: AtomicUsize,
}

impl Operator for Scripted {
    fn name(&self) -> String {
        self.name.into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        self.stage.clock.advance_ns(1_000_000);
        let script = ScriptedCall {
            stage: self.stage.clone(),
            energy: self.energy.clone(),
            time_ns: self.time_ns,
            lazy_after: self.lazy_after,
            fails: self.fails,
            calls: AtomicUsize::new(0),
        };
        Ok(Box::new(ScriptedBuilt { script, a }))
    }
}

impl Built for ScriptedBuilt<'_> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        _threads: usize,
    ) -> Result<(), Error> {
        let ScriptedCall { stage, energy, time_ns, lazy_after, fails, calls } = &self.script;
        if *fails {
            return Err(Error::Environment("out of memory".into()));
        }
        stage.calls.fetch_add(1, Ordering::Relaxed);
        stage.clock.advance_ns(*time_ns);
        if let Some(energy) = energy {
            // 20 W: microjoules are microseconds times watts.
            energy.add_uj(time_ns * 20 / 1000);
        }
        if calls.fetch_add(1, Ordering::Relaxed) < *lazy_after {
            y.assign(&self.a.dot(&v));
        }
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        64
    }
}

fn scripted(stage: &Arc<Stage>, name: &'static str, time_ns: u64) -> Scripted {
    let (stage, lazy_after) = (stage.clone(), usize::MAX);
    Scripted { name, stage, energy: None, time_ns, lazy_after, fails: false }
}

const ROOFLINE: Roofline = Roofline {
    peak_flops_per_s: 1e9,
    cache_bytes_per_s: 1e12,
    memory_bytes_per_s: 1e12,
    cache_bytes: 0,
    margin: MEASURED_MARGIN,
    basis: String::new(),
};

const PLAN: Plan = Plan {
    seed: 3,
    secret: 3,
    budget_ns: 100_000,
    samples_min: 2,
    samples_max: 4,
    sample_ns_min: 0,
    build_samples: 1,
    build_samples_baseline: 1,
    warmup_samples_min: 2,
    warmup_ns_max: 50_000,
    settle_ns: 0,
    self_warming_ns: 50_000_000,
    hopeless_ratio: None,
    cold_samples: 1,
    energy_window_ns: None,
};

/// 4 x 4, three quarters zero.
fn a() -> Array2<f32> {
    Array2::from_diag_elem(4, 2.0)
}

fn contender(operator: &Scripted, kind: Option<Kind>) -> Contender<&dyn Operator> {
    let (library, version) = ("lib".into(), "1".into());
    Contender { name: operator.name(), operator, kind, library, version }
}

fn run(
    stage: &Arc<Stage>,
    energy: Result<&dyn EnergyCounter, String>,
    plan: &Plan,
    operator: &Scripted,
    baselines: &[(&Scripted, Kind)],
) -> CaseTimings {
    let (a, v) = (a(), Array2::<f32>::ones((4, 2)));
    let want = a.dot(&v);
    let baselines: Vec<_> =
        baselines.iter().map(|&(baseline, kind)| contender(baseline, Some(kind))).collect();
    let instruments =
        Instruments { clock: &stage.clock, idle: &OnceLock::new(), energy, roofline: &ROOFLINE };
    measure(
        &mut InProcess::new(a.view(), v.view(), &stage.clock),
        &Case::of(a.view(), 2, 0.75, ElementBytes::F32),
        &contender(operator, None),
        &baselines,
        plan,
        &instruments,
        &|name, called| {
            let want = Called::of(&called.part, v.view(), want.view());
            if called.y == want.y { Ok(()) } else { Err(format!("{name} is wrong")) }
        },
    )
}

fn no_energy<'a>() -> Result<&'a dyn EnergyCounter, String> {
    Err("no counter".into())
}

#[test]
fn a_run_is_recorded_to_the_byte() {
    let stage = Arc::new(Stage::default());
    let (operator, rival) = (scripted(&stage, "skip", 1000), scripted(&stage, "csr", 3000));
    let timings = run(&stage, no_energy(), &PLAN, &operator, &[(&rival, Kind::Sparse)]);
    // Six warm-up calls each, four rounds of two calls each, one cold call each.
    assert_eq!(stage.calls.load(Ordering::Relaxed), 12 + 16 + 2);
    golden("run.json", &timings);
}

/// The timings must be written as the file says and come back from it. With UPDATE_GOLDEN set the
/// file is written instead, for somebody to read in a diff.
pub(super) fn golden(name: &str, timings: &CaseTimings) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/measure").join(name);
    let json = serde_json::to_string_pretty(timings).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{json}\n")).unwrap();
    }
    assert_eq!(json, std::fs::read_to_string(&path).unwrap().trim_end(), "{name}");
    assert_eq!(serde_json::from_str::<CaseTimings>(&json).unwrap(), *timings);
}

#[test]
fn rounds_follow_the_budget() {
    let stage = Arc::new(Stage::default());
    let operator = scripted(&stage, "skip", 1000);
    for (budget_ns, samples_max, rounds) in [(0, 4, 2), (7_000, 4, 3), (1 << 40, 4, 4)] {
        let plan = Plan { budget_ns, samples_max, ..PLAN };
        let timings = run(&stage, no_energy(), &plan, &operator, &[]);
        assert_eq!(timings.rounds, rounds);
        assert_eq!(timings.operator.samples_ns, vec![1000; rounds]);
        assert_eq!(timings.operator.checked_samples.last(), Some(&(rounds - 1)));
        assert_eq!(timings.no_speedup.len(), 2, "{:?}", timings.no_speedup);
    }
}

#[test]
fn an_operator_that_stops_working_gets_no_timing() {
    let stage = Arc::new(Stage::default());
    let operator = Scripted { lazy_after: 10, ..scripted(&stage, "skip", 1000) };
    let rival = scripted(&stage, "csr", 3000);
    let timings = run(&stage, no_energy(), &PLAN, &operator, &[(&rival, Kind::Sparse)]);
    assert_eq!(timings.operator.verified, Some(false));
    assert_eq!(timings.operator.failure.as_deref(), Some("skip is wrong"));
    assert_eq!(timings.operator.samples_ns.len(), 4, "raw samples are kept");
    assert_eq!(timings.operator.timing, None);
    assert!(timings.baselines[0].timing.is_some());
    assert!(timings.speedups.is_empty());
    assert_eq!(timings.no_speedup, ["the operator's output was not verified: skip is wrong"]);
}

#[test]
fn a_baseline_that_fails_or_errs_is_no_rival() {
    let stage = Arc::new(Stage::default());
    let operator = scripted(&stage, "skip", 1000);
    let broken = Scripted { fails: true, ..scripted(&stage, "broken", 1) };
    let wrong = Scripted { lazy_after: 0, ..scripted(&stage, "wrong", 1100) };
    let slow = scripted(&stage, "slow", 5000);
    let rivals = [(&broken, Kind::Sparse), (&wrong, Kind::Sparse), (&slow, Kind::Dense)];
    let timings = run(&stage, no_energy(), &PLAN, &operator, &rivals);
    let [broken, wrong, _] = &timings.baselines[..] else { panic!("three baselines") };
    assert_eq!((broken.verified, broken.failure.as_deref()), (None, Some("out of memory")));
    assert_eq!((wrong.verified, wrong.timing.is_none()), (Some(false), true));
    assert_eq!(timings.speedups.len(), 1);
    assert_eq!((timings.speedups[0].rule, timings.speedups[0].ratio), (Rule::Best, 5.0));
    assert_eq!(timings.no_speedup, ["published: no verified sparse baseline"]);
    // Built in 1 ms, 4000 ns saved a call.
    assert_eq!(timings.break_even_calls, Some(250.0));
}

#[test]
fn impossible_timings_are_flagged() {
    let stage = Arc::new(Stage::default());
    // 16 operations at 1 GFLOP/s take 16 ns.
    let (operator, rival) = (scripted(&stage, "skip", 11), scripted(&stage, "csr", 12));
    let timings = run(&stage, no_energy(), &PLAN, &operator, &[(&rival, Kind::Sparse)]);
    assert_eq!(timings.minimum_time_ns, 16.0);
    assert!(timings.operator.timing.as_ref().unwrap().impossible);
    assert!(!timings.baselines[0].timing.as_ref().unwrap().impossible);
    assert_eq!(timings.no_speedup, ["the operator's timing is impossible on this machine"]);
}

#[test]
fn energy_is_measured_in_windows_or_null_with_a_reason() {
    let stage = Arc::new(Stage::default());
    let counter = Arc::new(MockEnergy::new(0, u64::MAX >> 1));
    let hungry = |name, time_ns| Scripted {
        energy: Some(counter.clone()),
        ..scripted(&stage, name, time_ns)
    };
    let (operator, rival) = (hungry("skip", 1_000_000), hungry("csr", 3_000_000));
    let other = hungry("dense", 9_000_000);
    let rivals = [(&rival, Kind::Sparse), (&other, Kind::Dense)];
    let plan = Plan { energy_window_ns: Some(1_000_000_000), ..PLAN };
    let timings = run(&stage, Ok(&*counter), &plan, &operator, &rivals);
    let energy = timings.operator.energy.as_ref().unwrap();
    assert_eq!((energy.window.calls, energy.joules_per_call, energy.is_valid), (1000, 0.02, true));
    let ratio = timings.speedups[0].energy;
    assert_eq!(ratio.basis, EnergyBasis::Measured);
    assert!((ratio.ratio - 3.0).abs() < 0.01, "{ratio:?}");
    assert!(timings.baselines[1].energy_reason.is_some());

    let timings = run(&stage, no_energy(), &plan, &operator, &rivals);
    assert_eq!(timings.operator.energy_reason.as_deref(), Some("no counter"));
    assert_eq!(timings.speedups[0].energy.basis, EnergyBasis::Proxy);
}

/// Values of full significands, so many of a hundred zero.
fn random_matrix(rows: usize, cols: usize, zeros: u32, seed: u32) -> Array2<f32> {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        state >> 8
    };
    Array2::from_shape_fn((rows, cols), |_| {
        let value = random() as f32 / (1 << 23) as f32 - 1.0;
        if random() % 100 < zeros { 0.0 } else { value }
    })
}

#[test]
fn real_rivals_are_measured_and_verified_within_the_bound() {
    let all: Vec<_> = Host::LIBRARIES
        .into_iter()
        .flat_map(|host| crate::baseline::of(host, 1).available)
        .collect();
    let contenders: Vec<Contender<&dyn Operator>> = all
        .iter()
        // A and V are f32.
        .filter(|baseline| crate::baseline::only_dtype(&baseline.operator.name()).is_none())
        .map(|baseline| Contender {
            name: baseline.operator.name(),
            operator: &*baseline.operator,
            kind: Some(baseline.kind),
            library: baseline.library.clone(),
            version: baseline.version.clone(),
        })
        .collect();
    // The embedded CSR stands in for the operator.
    let (operator, baselines): (Vec<_>, Vec<_>) =
        contenders.into_iter().partition(|contender| contender.library == "embedded CSR");
    let operator = Contender { kind: None, ..operator.into_iter().next().unwrap() };
    let (a, v) = (random_matrix(61, 127, 80, 1), random_matrix(127, 19, 0, 2));
    let clock = RealClock::default();
    let roofline = super::host_roofline(&clock, 1, 1 << 20);
    let instruments = Instruments {
        clock: &clock,
        idle: &OnceLock::new(),
        energy: no_energy(),
        roofline: &roofline,
    };
    let checks = AtomicUsize::new(0);
    let timings = measure(
        &mut InProcess::new(a.view(), v.view(), &clock),
        &Case::of(a.view(), 19, 0.8, ElementBytes::F32),
        &operator,
        &baselines,
        &Plan { budget_ns: 20_000_000, ..Plan::quick(1, 5) },
        &instruments,
        &|_, called| {
            let Part::Whole = called.part else { return Ok(()) };
            checks.fetch_add(1, Ordering::Relaxed);
            for ((i, j), &y) in called.y.indexed_iter() {
                let (row, column) = (a.row(i).to_vec(), v.column(j).to_vec());
                let want = bounded::reference(&row, &column);
                let bound = bounded::bound(127, bounded::magnitude(&row, &column));
                if (f64::from(y) - want).abs() > bound || y.is_nan() {
                    return Err(format!("({i}, {j}): {y}, want {want}"));
                }
            }
            Ok(())
        },
    );
    for timed in std::iter::once(&timings.operator).chain(&timings.baselines) {
        assert_eq!((timed.verified, &timed.failure), (Some(true), &None), "{}", timed.name);
        assert!(timed.timing.is_some() && timed.float_environment_changes == 0, "{}", timed.name);
        assert!(timed.bytes_held > 0 && timed.warmup.calls > 0);
    }
    assert_eq!(checks.into_inner(), 2 * (1 + baselines.len()));
    let best = &timings.baselines[timings.chosen(Rule::Best).unwrap()].name;
    assert_eq!(timings.speedups.last().map(|speedup| &speedup.baseline), Some(best));
}
