//! The schedule on a device that is a script: its clocks, its outputs and its state are what each
//! contender's script says, so that a record is the same to the byte everywhere.

use record::timings::{
    CaseTimings, ElementBytes, GIVEN_MARGIN, Roofline, Rule, Sample, Timed, Timing, Warmup,
};
use std::cell::RefCell;

use ndarray::Array2;

use super::tests::golden;
use std::sync::OnceLock;

use super::*;
use record::baseline::Kind;
use record::device::State;

/// Watts of the device when nobody calls.
const IDLE_W: u64 = 100;
/// What the host sees of a sample beyond the device's span.
const WAKE_NS: f64 = 12_000.0;

/// The host's clock and the device's energy counter, which move together.
#[derive(Debug)]
struct Lab {
    clock: MockClock,
    energy: MockEnergy,
}

impl Lab {
    fn new() -> Lab {
        Lab { clock: MockClock::default(), energy: MockEnergy::new(0, u64::MAX >> 1) }
    }

    fn pass(&self, ns: u64, watts: u64) {
        self.clock.advance_ns(ns);
        // Microjoules are thousandths of nanoseconds times watts.
        self.energy.add_uj(ns * watts / 1000);
    }
}

impl Clock for Lab {
    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn sleep_ns(&self, ns: u64) {
        self.pass(ns, IDLE_W);
    }
}

/// A contender. Samples are counted from 0 for each, those of the warm-up first.
struct Script {
    name: &'static str,
    kind: Option<Kind>,
    watts: u64,
    /// One call of a sample.
    call_ns: fn(usize) -> f64,
    /// What the host's clock shows for a sample of so many nanoseconds.
    host_ns: fn(usize, f64) -> f64,
    state: fn(usize) -> Option<State>,
    /// Whether a sample leaves the right Y.
    is_right: fn(usize) -> bool,
    /// Why a sample cannot be made.
    failure: fn(usize) -> Option<&'static str>,
}

fn state(clock_mhz: u32) -> Option<State> {
    Some(State {
        clock_mhz,
        power_w: Some(650.5),
        temperature_c: Some(61),
        throttled: None,
        limited: Some("software power cap".into()),
    })
}

fn throttled() -> Option<State> {
    state(990).map(|state| State { throttled: Some("hardware slowdown".into()), ..state })
}

fn script(name: &'static str, kind: Option<Kind>, call_ns: fn(usize) -> f64) -> Script {
    Script {
        name,
        kind,
        watts: 600,
        call_ns,
        host_ns: |_, device_ns| device_ns + WAKE_NS,
        state: |_| state(1980),
        is_right: |_| true,
        failure: |_| None,
    }
}

fn skip() -> Script {
    script("skip", None, |_| 5_000.0)
}

/// Doubles V, and keeps a diary.
struct MockDevice<'a> {
    lab: &'a Lab,
    v: Array2<f32>,
    y: Array2<f32>,
    diary: &'a RefCell<Vec<String>>,
    /// Threads that look at outputs while it goes on.
    beside: Option<usize>,
}

struct MockBuilt<'a> {
    script: &'a Script,
    samples: usize,
}

impl<'a> Platform for MockDevice<'a> {
    type Operator = &'a Script;
    type Built = MockBuilt<'a>;

    fn threads(&self) -> usize {
        1
    }

    fn device(&self) -> Option<String> {
        Some("Mock 1".into())
    }

    fn build(&mut self, script: &&'a Script) -> Result<MockBuilt<'a>, String> {
        self.lab.pass(2_000_000, IDLE_W);
        Ok(MockBuilt { script, samples: 0 })
    }

    fn bytes_held(&self, _built: &MockBuilt<'a>) -> usize {
        4096
    }

    fn plan(&self, built: &MockBuilt<'a>) -> String {
        format!("{}: as scripted", built.script.name)
    }

    fn shape(&self) -> (usize, usize) {
        self.y.dim()
    }

    fn prepare(&mut self, _built: &mut MockBuilt<'a>, _calls: usize) -> Result<(), String> {
        self.diary.borrow_mut().push("poison".into());
        self.y.fill(f32::NAN);
        Ok(())
    }

    fn calls_max(&self) -> usize {
        100
    }

    fn sample(
        &mut self,
        built: &mut MockBuilt<'a>,
        _inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        assert!((1..=self.calls_max()).contains(&calls), "{calls}");
        let (script, index) = (built.script, built.samples);
        built.samples += 1;
        self.diary.borrow_mut().push(format!("{} x {calls}", script.name));
        if let Some(reason) = (script.failure)(index) {
            return Err(reason.into());
        }
        let time_ns = (script.call_ns)(index) * calls as f64;
        let host_ns = (script.host_ns)(index, time_ns);
        self.lab.pass(host_ns as u64, script.watts);
        if (script.is_right)(index) {
            self.y = 2.0 * &self.v;
        }
        Ok(Sample { time_ns, host_ns: Some(host_ns), state: (script.state)(index) })
    }

    fn run(&mut self, built: &mut MockBuilt<'a>, calls: usize) -> Result<(), String> {
        let MockBuilt { script, samples } = built;
        self.lab.pass(((script.call_ns)(*samples) * calls as f64) as u64, script.watts);
        if (script.is_right)(*samples) {
            self.y = 2.0 * &self.v;
        }
        Ok(())
    }

    fn compares_rivals_whole(&self) -> bool {
        false
    }

    fn looks_beside(&self) -> Option<usize> {
        self.beside
    }

    fn first(&mut self, built: &mut MockBuilt<'a>) -> Result<Option<Called>, String> {
        self.prepare(built, 1)?;
        self.run(built, 1)?;
        self.outputs(built, &[(0, Part::Whole)]).remove(0).map(Some)
    }

    fn outputs(
        &mut self,
        _built: &MockBuilt<'a>,
        parts: &[(usize, Part)],
    ) -> Vec<Result<Called, String>> {
        self.diary.borrow_mut().push(format!("outputs of {}", parts.len()));
        assert!(parts.iter().map(|(call, _)| *call).eq(0..parts.len()), "each call once");
        parts.iter().map(|(_, part)| Ok(Called::of(part, self.v.view(), self.y.view()))).collect()
    }

    fn flush(&mut self, _built: &mut MockBuilt<'a>) -> Result<(), String> {
        self.diary.borrow_mut().push("flush".into());
        Ok(())
    }
}

/// Half of A's elements are not zero; bf16 in, f32 out.
const CASE: Case = Case {
    m: 4,
    k: 4,
    n: 2,
    nnz: 8,
    live_rows: 4,
    live_columns: 4,
    sparsity: 0.5,
    element_bytes: ElementBytes { a: 2, v: 2, y: 4 },
    layers: None,
};

const PLAN: Plan = Plan {
    seed: 3,
    secret: 3,
    budget_ns: 10_000_000,
    samples_min: 4,
    samples_max: 4,
    sample_ns_min: 200_000,
    build_samples: 1,
    build_samples_baseline: 1,
    warmup_samples_min: 3,
    warmup_ns_max: 50_000_000,
    settle_ns: 0,
    self_warming_ns: 50_000_000,
    hopeless_ratio: None,
    cold_samples: 1,
    energy_window_ns: None,
};

/// 32 operations take a nanosecond.
fn roofline() -> Roofline {
    Roofline {
        peak_flops_per_s: 32e9,
        cache_bytes_per_s: 1e13,
        memory_bytes_per_s: 1e12,
        cache_bytes: 50 << 20,
        margin: GIVEN_MARGIN,
        basis: "given".into(),
    }
}

/// The timings and the diary: the same whether outputs are looked at before the next call or beside it.
fn run_with(
    plan: &Plan,
    roofline: &Roofline,
    operator: &Script,
    baselines: &[Script],
) -> (CaseTimings, Vec<String>) {
    let [at_once, on_one, on_two] = [None, Some(1), Some(2)]
        .map(|beside| run_looking(beside, plan, roofline, operator, baselines));
    assert_eq!(at_once, on_one);
    assert_eq!(at_once, on_two);
    at_once
}

fn run_looking(
    beside: Option<usize>,
    plan: &Plan,
    roofline: &Roofline,
    operator: &Script,
    baselines: &[Script],
) -> (CaseTimings, Vec<String>) {
    let (lab, diary) = (Lab::new(), RefCell::default());
    let v = Array2::ones((4, 2));
    let y = Array2::zeros((4, 2));
    let want = 2.0 * &v;
    let mut device = MockDevice { lab: &lab, v, y, diary: &diary, beside };
    let contender = |operator| Contender::<&Script> {
        name: Script::name(operator),
        operator,
        kind: operator.kind,
        library: "mock".into(),
        version: "1".into(),
    };
    let rivals: Vec<_> = baselines.iter().map(contender).collect();
    let instruments =
        Instruments { clock: &lab, idle: &OnceLock::new(), energy: Ok(&lab.energy), roofline };
    let timings = measure(
        &mut device,
        &CASE,
        &contender(operator),
        &rivals,
        plan,
        &instruments,
        &|name, called| {
            if *called.y == want { Ok(()) } else { Err(format!("{name} is wrong")) }
        },
    );
    (timings, diary.into_inner())
}

impl Script {
    fn name(&self) -> String {
        self.name.into()
    }
}

fn run(operator: &Script, baselines: &[Script]) -> CaseTimings {
    run_with(&PLAN, &roofline(), operator, baselines).0
}

fn timing(timed: &Timed) -> &Timing {
    timed.timing.as_ref().expect("verified, with samples that count")
}

#[test]
fn a_run_on_a_device_is_recorded_to_the_byte() {
    let operator = Script {
        call_ns: |index| 5_000.0 + 10.0 * (index % 3) as f64,
        // Its clock rises during the warm-up; the second sample after that is held back.
        state: |index| match index {
            0..=7 => state(1200 + 90 * index as u32),
            14 => throttled(),
            _ => state(1980),
        },
        ..skip()
    };
    let baselines = [
        script("cublas", Some(Kind::Dense), |_| 20_000.0),
        Script { watts: 700, ..script("cublaslt", Some(Kind::Dense), |_| 15_000.0) },
        Script { watts: 300, ..script("csr", Some(Kind::Sparse), |_| 30_000.0) },
        Script {
            failure: |_| Some("out of device memory"),
            ..script("bsr", Some(Kind::Sparse), |_| 1.0)
        },
    ];
    let plan = Plan { energy_window_ns: Some(1_000_000_000), ..PLAN };
    let (timings, _) = run_with(&plan, &roofline(), &operator, &baselines);
    golden("device.json", &timings);
}

#[test]
fn samples_are_as_long_as_the_clock_needs() {
    // The first call is slow, as where a library chooses its kernel then.
    let slow_start = |index| if index == 0 { 1_000_000.0 } else { 3_000.0 };
    let baselines = [
        script("dense", Some(Kind::Dense), |_| 250_000.0),
        script("sparse", Some(Kind::Sparse), slow_start),
        script("tiny", Some(Kind::Sparse), |_| 1_000.0),
    ];
    let timings = run(&skip(), &baselines);
    let calls = |timed: &Timed| timed.calls_per_sample;
    assert_eq!(calls(&timings.operator), 40);
    assert_eq!(timings.baselines.iter().map(calls).collect::<Vec<_>>(), [1, 67, 100]);
    assert_eq!(timings.operator.samples_ns, [5_000; 4], "of one call");
    assert_eq!(timings.operator.cold_samples_ns, [5_000], "one call");
    let spans: Vec<f64> = timings.operator.device_samples.iter().map(|s| s.time_ns).collect();
    assert_eq!(spans, [200_000.0; 4], "of all calls");
    // One short sample, then six that are long enough.
    assert_eq!(timings.operator.warmup, Warmup { calls: 1 + 6 * 40, settled: true });
}

#[test]
fn the_warm_up_waits_for_the_devices_clock() {
    let ramp = |index: usize| state(1000 + 100 * index.min(9) as u32);
    let timings = run(&Script { state: ramp, ..skip() }, &[]);
    // Samples 8 to 10 are the first whose median, 1900 MHz, is that of the three after them.
    assert_eq!(timings.operator.warmup, Warmup { calls: 1 + 13 * 40, settled: true });

    let hunting = |index: usize| state(if index % 6 < 3 { 1400 } else { 1980 });
    let timings = run(&Script { state: hunting, ..skip() }, &[]);
    assert!(!timings.operator.warmup.settled, "time was up");

    let timings = run(&Script { state: |_| None, ..skip() }, &[]);
    assert!(timings.operator.warmup.settled, "nobody to ask");
}

#[test]
fn throttled_samples_are_kept_counted_and_left_out() {
    // Samples 0 to 6 are the warm-up's.
    let operator = Script {
        call_ns: |index| if index == 8 { 9_000.0 } else { 5_000.0 + index as f64 },
        state: |index| if index == 8 { throttled() } else { state(1980) },
        ..skip()
    };
    let timings = run(&operator, &[script("dense", Some(Kind::Dense), |_| 10_000.0)]);
    assert_eq!(timings.operator.samples_ns, [5_007, 9_000, 5_009, 5_010]);
    let states: Vec<bool> =
        timings.operator.device_samples.iter().map(Sample::is_throttled).collect();
    assert_eq!(states, [false, true, false, false]);
    let timing = timing(&timings.operator);
    assert_eq!((timing.summary.count, timing.summary.discarded), (3, 1));
    assert_eq!(timing.summary.time_ns_median, 5_009.0);
    assert_eq!(timing.time_ns_median_with_discarded, 5_009.5);
    assert_eq!(timings.speedups[0].ratio, 10_000.0 / 5_009.0);
    assert!(timings.speedups[0].interval.low > 1.9, "no resample has the throttled one");
}

#[test]
fn who_was_always_throttled_is_not_passed_over() {
    let hot = |script| Script { state: |_| throttled(), ..script };
    let dense = || script("dense", Some(Kind::Dense), |_| 10_000.0);
    let sparse = || script("csr", Some(Kind::Sparse), |_| 6_000.0);

    let timings = run(&hot(skip()), &[dense()]);
    assert_eq!((timings.operator.verified, &timings.operator.timing), (Some(true), &None));
    assert_eq!(timings.operator.failure.as_deref(), Some("all of 4 samples were throttled"));
    assert_eq!(timings.no_speedup, ["all samples of the operator were throttled"]);

    // The published rule does not look at it.
    let timings = run(&skip(), &[dense(), hot(sparse())]);
    assert_eq!((timings.speedups.len(), timings.speedups[0].rule), (1, Rule::Published));
    assert_eq!(timings.no_speedup, ["best: all samples of `csr` were throttled"]);
}

#[test]
fn clocks_that_cannot_both_be_right_are_flagged() {
    let dense = || script("dense", Some(Kind::Dense), |_| 10_000.0);
    // 3 % less on the host's clock, once.
    let short = |index, device_ns| if index == 9 { 0.97 * device_ns } else { device_ns + WAKE_NS };
    let timings = run(&Script { host_ns: short, ..skip() }, &[dense()]);
    assert_eq!(
        timing(&timings.operator).clock_disagreement.as_deref(),
        Some(
            "1 of 4 samples took less time by the host's clock than by the device's, the first \
             of them sample 2: 194000 ns, 200000 ns"
        )
    );
    assert_eq!(timings.no_speedup, ["the device's clock and the host's disagree on the operator"]);
    assert!(timings.speedups.is_empty() && timings.break_even_calls.is_none());

    // Work that goes on after the span, in every sample.
    let timings = run(&skip(), &[Script { host_ns: |_, ns| 2.0 * ns, ..dense() }]);
    assert_eq!(
        timing(&timings.baselines[0]).clock_disagreement.as_deref(),
        Some(
            "the device was busy outside of the span that it timed: the median sample took 400000 \
             ns by the host's clock, 200000 ns by the device's"
        )
    );
    let reason = "the device's clock and the host's disagree on `dense`";
    assert_eq!(timings.no_speedup, [format!("published: {reason}"), format!("best: {reason}")]);
    assert!(timings.break_even_calls.is_none());

    // A host that is late once, and one that is a little late always, are hosts.
    let late = |index, ns| if index == 8 { 9.0 * ns } else { ns + WAKE_NS };
    let timings = run(&Script { host_ns: late, ..skip() }, &[dense()]);
    assert_eq!(timing(&timings.operator).clock_disagreement, None);
    let timings = run(&Script { host_ns: |_, ns| 1.1 * ns + 50e3, ..skip() }, &[dense()]);
    assert_eq!(timing(&timings.operator).clock_disagreement, None);
}

#[test]
fn a_sample_below_the_roofline_is_flagged_even_if_it_was_throttled() {
    let operator = Script {
        call_ns: |index| if index == 9 { 100.0 } else { 5_000.0 },
        state: |index| if index == 9 { throttled() } else { state(1980) },
        ..skip()
    };
    // 110 ns at least.
    let roofline = Roofline { peak_flops_per_s: 32e9 / 110.0, ..roofline() };
    let (timings, _) = run_with(&PLAN, &roofline, &operator, &[]);
    assert!((timings.minimum_time_ns - 110.0).abs() < 1e-9);
    assert!(timing(&timings.operator).impossible);
    assert_eq!(timings.no_speedup, ["the operator's timing is impossible on this machine"]);
}

#[test]
fn every_sample_is_poisoned_and_looked_at() {
    let (timings, diary) = run_with(&PLAN, &roofline(), &skip(), &[]);
    let sample = ["poison", "skip x 40"];
    let mut want = vec!["poison", "outputs of 1", "skip x 1"];
    want.extend(["skip x 40"; 6]);
    for _ in 0..4 {
        want.extend(sample);
        // All calls at once.
        want.push("outputs of 40");
    }
    want.extend(["poison", "flush", "skip x 1", "outputs of 1"]);
    assert_eq!(diary, want);
    assert_eq!(timings.operator.checked_samples.len(), 2);

    // One that writes nothing in its last sample, of the warm-up's seven and four more.
    let lazy = Script { is_right: |index| index != 10, ..skip() };
    let timings = run(&lazy, &[]);
    assert_eq!(timings.operator.verified, Some(false));
    assert_eq!(timings.operator.failure.as_deref(), Some("skip is wrong"));
    assert_eq!((timings.operator.device_samples.len(), &timings.operator.timing), (4, &None));
}

#[test]
fn who_is_wrong_in_the_first_call_is_not_timed() {
    let wrong = Script { is_right: |_| false, ..script("dense", Some(Kind::Dense), |_| 9_000.0) };
    let (timings, diary) = run_with(&PLAN, &roofline(), &skip(), &[wrong]);
    let dense = &timings.baselines[0];
    assert_eq!((dense.verified, dense.failure.as_deref()), (Some(false), Some("dense is wrong")));
    assert!(dense.samples_ns.is_empty() && !diary.iter().any(|entry| entry.starts_with("dense x")));
    assert!(timings.operator.timing.is_some());
}

#[test]
fn who_fails_midway_keeps_its_samples_and_gets_no_timing() {
    let failing = Script {
        failure: |index| (index == 9).then_some("an illegal memory access"),
        ..script("dense", Some(Kind::Dense), |_| 5_000.0)
    };
    let timings = run(&skip(), &[failing]);
    let dense = &timings.baselines[0];
    assert_eq!((dense.samples_ns.len(), dense.device_samples.len()), (2, 2));
    assert_eq!(dense.failure.as_deref(), Some("an illegal memory access"));
    assert_eq!((&dense.timing, dense.verified == Some(true)), (&None, false));
    assert!(timings.operator.timing.is_some());
}

#[test]
fn the_fastest_of_a_kind_is_the_rival_whatever_its_name() {
    // Two versions of one library, under one name.
    let baselines = [
        script("dense", Some(Kind::Dense), |_| 30_000.0),
        script("csr", Some(Kind::Sparse), |_| 9_000.0),
        script("dense", Some(Kind::Dense), |_| 20_000.0),
        script("csr", Some(Kind::Sparse), |_| 8_000.0),
    ];
    let plan = Plan { energy_window_ns: Some(1_000_000_000), ..PLAN };
    let (timings, _) = run_with(&plan, &roofline(), &skip(), &baselines);
    let [published, best] = [Rule::Published, Rule::Best].map(|rule| timings.chosen(rule));
    assert_eq!((published, best), (Some(2), Some(3)));
    let ratios: Vec<f64> = timings.speedups.iter().map(|speedup| speedup.ratio).collect();
    assert_eq!(ratios, [4.0, 1.6]);
    // Energy of the two that are compared, cold samples of the best.
    let measured: Vec<bool> = timings.baselines.iter().map(|t| t.energy.is_some()).collect();
    assert_eq!(measured, [false, false, true, true]);
    let cold: Vec<usize> = timings.baselines.iter().map(|t| t.cold_samples_ns.len()).collect();
    assert_eq!(cold, [0, 0, 0, 1]);
}

#[test]
fn energy_windows_are_filled_with_batches() {
    let plan = Plan { energy_window_ns: Some(1_000_000_000), ..PLAN };
    let (timings, diary) = run_with(&plan, &roofline(), &skip(), &[]);
    let energy = timings.operator.energy.as_ref().expect("there is a counter");
    // 2000 calls of 5 us are 10 ms; 600 W for 5 us are 3 mJ, of which 0.5 mJ in any case.
    assert_eq!(energy.window.calls, 200_000);
    assert!((energy.joules_per_call - 3e-3).abs() < 1e-9, "{energy:?}");
    assert!((energy.joules_per_call_above_idle - 2.5e-3).abs() < 1e-9, "{energy:?}");
    assert!(energy.is_valid && (energy.idle_power_w - 100.0).abs() < 1e-6);
    assert_eq!(
        diary.last().map(String::as_str),
        Some("outputs of 1"),
        "nothing was timed in there"
    );
}

#[test]
fn a_shorter_format_is_shown_and_never_the_best() {
    let baselines = [
        script("dense", Some(Kind::Dense), |_| 50_000.0),
        // Faster than the case's arithmetic could be, which says nothing: it follows another.
        script("reduced", Some(Kind::Reduced), |_| 100.0),
    ];
    let roofline = Roofline { peak_flops_per_s: 32e9 / 110.0, ..roofline() };
    let (timings, _) = run_with(&PLAN, &roofline, &skip(), &baselines);
    assert_eq!(timings.chosen(Rule::Best), Some(0));
    let reduced = timing(&timings.baselines[1]);
    assert!(!reduced.impossible && reduced.summary.time_ns_median == 100.0);
}

#[test]
fn what_is_far_from_the_best_of_its_kind_is_sampled_once() {
    let plan = Plan { hopeless_ratio: Some(3.0), ..PLAN };
    let baselines = [
        script("dense", Some(Kind::Dense), |_| 6_000.0),
        script("slow-dense", Some(Kind::Dense), |_| 20_000.0),
        // Slow, but the best of its kind: the published rule may want it.
        script("sparse", Some(Kind::Sparse), |_| 90_000.0),
    ];
    let (timings, _) = run_with(&plan, &roofline(), &skip(), &baselines);
    let samples = |index: usize| timings.baselines[index].samples_ns.len();
    assert_eq!((samples(0), samples(2)), (4, 4));
    assert_eq!(samples(1), 1);
    assert_eq!(timings.baselines[1].verified, Some(true));
    assert!(timing(&timings.baselines[1]).summary.time_ns_median > 19_000.0);
}
