//! A contender at work: how it is built, warmed up and sampled, and what is known of it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::looks::{Look, Of};
use super::schedule::Plan;
use super::{Clock, Contender, Inputs, Part, Platform};
use crate::backend::cpu::{float_environment_is_ieee, reset_float_environment};
use record::timings::{Sample, Timed, Warmup, median};
/// The last so many samples of a warm-up are compared with as many before them.
const SETTLE_WINDOW: usize = 3;
/// Times have settled when two medians in a row differ by less than this share.
const SETTLE_SHARE: f64 = 0.05;
/// The same for a device's clock, which moves in steps of about one percent.
const CLOCK_SETTLE_SHARE: f64 = 0.02;
/// So many samples of a warm-up show that a contender is far from the best of its kind, or as many as take so long.
const FAR_SAMPLES: usize = 3;
const FAR_NS: u64 = 20_000_000;
/// Short calls fill an energy window in batches of this length, so that waiting for the last of
/// them, some 10 microseconds, is a small part.
const ENERGY_BATCH_NS: f64 = 10e6;
/// Why most have no energy.
pub const NOT_WANTED: &str = "only for the operator and the baselines it is compared with";
/// Why who was not right has no energy.
pub const NOT_VERIFIED: &str = "not verified";

/// A contender at work.
pub struct Lane<P: Platform> {
    built: Option<P::Built>,
    /// One call, at the end of the warm-up.
    pub warm_ns: f64,
    pub timed: Timed,
}

impl<P: Platform> Lane<P> {
    pub fn build(
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
    pub fn call<T>(
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
    pub fn first_call(&mut self, platform: &mut P) -> Option<Look> {
        let called = self.call_or_leave(|built| platform.first(built))??;
        Some(Look { outputs: vec![Ok(called)], of: Of::FirstCall })
    }

    /// The contender's name.
    pub fn name(&self) -> &str {
        &self.timed.name
    }

    /// What is known of it; what is still looked at is taken to be right.
    pub fn so_far(&self, is_waiting: bool) -> Timed {
        let verified = self.timed.verified.or(is_waiting.then_some(true));
        Timed { verified, ..self.timed.clone() }
    }

    /// Whether its energy was measured, or could not be.
    pub fn has_energy(&self) -> bool {
        let reason = self.timed.energy_reason.as_deref();
        self.timed.energy.is_some() || reason.is_some_and(|reason| reason != NOT_WANTED)
    }

    /// Energy that was measured before something wrong was found does not stay.
    pub fn lose_energy_unless_right(&mut self) {
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
    pub fn warm_up(
        &mut self,
        platform: &mut P,
        plan: &Plan,
        clock: &dyn Clock,
        known_ns: Option<f64>,
    ) {
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
    pub fn turn_ns(&self, plan: &Plan) -> f64 {
        let untimed_ns =
            if self.is_self_warming(plan) { 0.0 } else { self.warm_ns.max(plan.settle_ns as f64) };
        self.warm_ns * self.timed.calls_per_sample as f64 + untimed_ns
    }

    /// Calls between two looks at the clock in an energy window.
    pub fn energy_batch(&self, plan: &Plan) -> usize {
        if plan.sample_ns_min == 0 {
            return 1;
        }
        ((ENERGY_BATCH_NS / self.warm_ns.max(1.0)) as usize).max(1)
    }

    /// Returns how many nanoseconds preparing and reading took, and what was read.
    pub fn turn(
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
        let mut parts = Vec::with_capacity(calls);
        for call in 0..calls {
            let part = match whole == Some(call) {
                true => Part::Whole,
                false => block(platform.shape(), random),
            };
            if let Part::Block { rows, columns } = &part {
                self.timed.checked_elements += (rows.len() * columns.len()) as u64;
            }
            parts.push((call, part));
        }
        let outputs = platform.outputs(built, &parts);
        Some(Look { outputs, of: Of::Sample { is_checked: one_whole } })
    }

    /// Returns how many nanoseconds reading took, and what was read.
    pub fn cold(
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

/// Rows and columns of a block of a Y of this shape.
pub fn block_shape((m, n): (usize, usize)) -> (usize, usize) {
    let across = n.min(16usize.max(ELEMENTS.div_ceil(m.clamp(1, 16))));
    (m.min(ELEMENTS.div_ceil(across.max(1))), across)
}

/// Rows and columns that meet in 256 elements, or in all of fewer.
pub fn block((m, n): (usize, usize), random: &mut ChaCha8Rng) -> Part {
    let (down, across) = block_shape((m, n));
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
