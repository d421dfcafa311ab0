//! One verified case on a CUDA device: its times beside the vendor's libraries, and what those libraries'
//! outputs are, perturbed inputs included.

use record::baseline::{BaselineRecord, Perturbed};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use super::timing::{Checker, Secret};
use super::{Auditor, Measuring, timing};
use crate::backend::cpu::{give_way, with_threads};
use crate::baseline::cuda::{DeadRows, DeviceRival, Precision};
use crate::check::bits::Bits;
use crate::check::tolerance::Tolerance;
use crate::measure;
use crate::measure::Platform as _;
use crate::measure::{
    Beside, Called, Calls, Contender, DevicePlatform, DeviceSlots, EnergyCounter, GuestPlatform,
    Instruments, Kept, Numbered, OnDevice, OnDeviceNamed, Plan, RealClock, SharedA,
};
use crate::operator::SKIP_DEVICE;
use crate::panics;
use crate::rules::Identifier;
use crate::worker::message::DeviceContender;
use crate::worker::{Hosted, Place, RemoteDevice, RemoteMonitor};
use contract::arithmetic::tensor_core::Architecture;
use contract::case::Case;
use contract::digest::Digest;
use contract::digest::digest_of_output;
use contract::inputs::Weights;
use contract::threads;
use record::baseline::Identified;
use record::baseline::{Kind, Missing};
use record::timings::{CaseTimings, TimedInputs};
use record::verdict::Verdict;

/// Cases with fewer dense operations than this get no energy windows: they take seconds each.
const ENERGY_FLOPS_MIN: f64 = 1e11;
/// Length of an energy window.
const ENERGY_WINDOW_NS: u64 = 600_000_000;

/// What was found on the device.
pub struct Found {
    pub timings: CaseTimings,
    pub baselines: Vec<BaselineRecord>,
    pub missing: Vec<Missing>,
    /// Why an output of an operator under test was wrong when it was looked at.
    pub wrong: Option<String>,
}

/// The clock of all cases.
pub(super) fn clock() -> &'static RealClock {
    static CLOCK: OnceLock<RealClock> = OnceLock::new();
    CLOCK.get_or_init(RealClock::default)
}

pub(super) fn plan(case: &Case) -> Plan {
    let flops = 2.0 * case.m as f64 * case.k as f64 * case.n as f64;
    Plan {
        samples_max: 50,
        build_samples: 3,
        warmup_ns_max: 150_000_000,
        energy_window_ns: (flops >= ENERGY_FLOPS_MIN).then_some(ENERGY_WINDOW_NS),
        ..Plan::device(case.seed)
    }
}

/// Measures a case and looks at what the vendor's libraries returned, or says why that is not possible. The
/// operator's timed output must come out with the digest that was verified.
pub fn measure(
    case: &Case,
    weights: &Weights,
    v: &Array2<f32>,
    bits: &Bits,
    device: &Arc<RemoteDevice>,
    auditor: &Auditor<'_>,
    measuring: &Measuring,
) -> Result<Found, String> {
    if case.m == 0 || case.k == 0 || case.n == 0 {
        return Err("not measured: there is nothing to multiply".into());
    }
    timing::require_memory(case, timing::TIMED)?;
    for place in [Place::Custodian, Place::Libraries] {
        device.revive(place);
    }
    let threads = auditor.threads;
    let a = SharedA::of((case.m, case.k), threads, |rows| weights.rows(rows));
    let a = a.map_err(|e| failed(&e))?;
    let secret = Secret::of(auditor, measuring, case);
    // A process for this case and this phase alone, gone at the end of it, and then what it was lent.
    let stranger = auditor.stranger.as_ref();
    let keeper = stranger.map(|under_test| under_test.keeper(device, threads)).transpose();
    let keeper = keeper.map_err(|error| failed(&error))?;
    let kept = keeper.as_deref().map(|keeper| {
        let slots = DeviceSlots::of([case.m, case.k, case.n], keeper.info.memory_bytes);
        let drawing = timing::drawing(case, &secret.text);
        Kept::new(keeper, &a, case.n, slots, drawing, !secret.number)
    });
    let mut kept = kept.transpose().map_err(|error| failed(&error))?;
    let hosted = stranger.map(|under_test| under_test.start(case, threads, Some(device)));
    let mut hosted = hosted.transpose().map_err(|error| failed(&error))?;
    let guest = kept.as_mut().zip(hosted.as_mut());
    with_threads(threads, || {
        let (shared, a) = (&a, a.view());
        let here = Here { case, shared, a, v: v.view(), bits, device, auditor, secret: &secret };
        here.measure(guest)
    })
    .map_err(|error| failed(&error))?
}

/// A whole case on a device.
#[derive(Clone, Copy)]
struct Here<'a> {
    case: &'a Case,
    shared: &'a SharedA,
    a: ArrayView2<'a, f32>,
    v: ArrayView2<'a, f32>,
    bits: &'a Bits,
    device: &'a RemoteDevice,
    auditor: &'a Auditor<'a>,
    secret: &'a Secret,
}

pub(super) fn rival_of(rival: &DeviceRival) -> OnDeviceNamed {
    OnDeviceNamed { name: rival.name.clone(), wanted: DeviceContender::Rival(rival.name.clone()) }
}

/// Our own operator on a device, as a case asks for it.
pub fn own(case: &Case) -> DeviceContender {
    DeviceContender::Own {
        arithmetic: case.arithmetic,
        dtype: case.dtype,
        output: case.output,
        strategy: case.strategy,
    }
}

impl Here<'_> {
    fn measure(&self, guest: Option<(&mut Kept<'_>, &mut Hosted)>) -> Result<Found, String> {
        let Here { case, device, .. } = *self;
        let (rivals, missing) = device
            .rivals(case.dtype, case.output, case.arithmetic, DeadRows::of(case.pattern))
            .map_err(|error| failed(&error))?;
        let monitor = device.energy().clone().map(|name| RemoteMonitor { device, name });
        let draw = |number: u64, v: &mut [f32]| timing::draw(case, &self.secret.text, number, v);
        let slots = DeviceSlots::of([case.m, case.k, case.n], device.info.memory_bytes);
        let devices = DevicePlatform::new(device, self.shared, self.v, slots, self.calls(&draw))
            .map_err(|error| failed(&error))?;
        let guest = guest.map(|(kept, hosted)| {
            let (dtypes, v) = ([case.dtype, case.output], Numbered::drawn(&draw));
            let mut guest = GuestPlatform::new(kept, hosted, dtypes, v, clock())?;
            guest.time_the_way(device)?;
            Ok::<_, String>(guest)
        });
        let guest = guest.transpose().map_err(|error| failed(&error))?;
        let mut platform = Beside { device: devices, guest };
        let wrong = Mutex::new(None);
        // The device goes on while outputs are looked at, by a thread with a pool of its own: hashing and
        // comparing take longer than the products. What they are compared with is computed while contenders
        // are built and warmed up, and the perturbed inputs are made.
        let y_bytes = 4 * case.m * case.n;
        let (jobs, received) = sync_channel((BYTES_WAITING_MAX / y_bytes).clamp(2, 64));
        let (tolerance, perturbed) = (OnceLock::new(), OnceLock::new());
        std::thread::scope(|scope| {
            let make = || {
                // Waited for: both are there whatever happens.
                tolerance.get_or_init(|| self.made(|| self.tolerance(self.a, self.v)));
                perturbed.get_or_init(|| {
                    panics::catch(|| self.perturbed_inputs()).map_err(|panicked| failed(&panicked))
                });
            };
            let behind = move || {
                give_way();
                make();
            };
            if threads::spawn(scope, behind).is_none() {
                make();
            }
            let look = || {
                give_way();
                self.look(&rivals, received, &perturbed)
            };
            let looking = threads::spawn(scope, look)
                .ok_or_else(|| failed(&"no thread to look at outputs"))?;
            let mut timings =
                self.time(&mut platform, &monitor, &rivals, &tolerance, &jobs, &wrong);
            let Beside { device: platform, guest } = platform;
            if let Some(Err(why)) = guest.map(|mut guest| guest.inspect_a()) {
                // Without a look at A there is no time.
                timings = match measure::is_finding(&why) {
                    true => timings.inspect(|_| note(&wrong, &why)),
                    false => Err(failed(&why)),
                };
            }
            if let Ok(timings) = &timings {
                self.perturb(platform, &rivals, timings, perturbed.wait(), &jobs);
            }
            drop(jobs);
            let mut baselines =
                looking.join().map_err(|panic| failed(&panics::of_payload(&*panic)))??;
            let mut timings = timings?;
            timings.inputs = Some(TimedInputs {
                nonce: self.secret.text.clone(),
                fresh: slots.fresh,
                ring: slots.ring,
                bytes: slots.bytes as u64,
            });
            for (record, timed) in baselines.iter_mut().zip(&timings.baselines) {
                if record.identified.is_none() {
                    record.reasons.extend(timed.failure.clone());
                }
            }
            let failure = timings.operator.failure.as_ref();
            if let Some(why) = failure.filter(|why| measure::is_finding(why)) {
                note(&wrong, why);
            }
            let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
            Ok(Found { timings, baselines, missing, wrong })
        })
    }

    /// Times the operator and its rivals. The first output of each rival is passed on.
    fn time(
        &self,
        platform: &mut Beside<'_, '_>,
        monitor: &Result<RemoteMonitor<'_>, String>,
        rivals: &[DeviceRival],
        tolerance: &OnceLock<Result<Tolerance, String>>,
        jobs: &SyncSender<Job>,
        wrong: &Mutex<Option<String>>,
    ) -> Result<CaseTimings, String> {
        let Here { case, device, .. } = *self;
        let versions: Vec<String> = rivals.iter().map(version).collect();
        let seen: Vec<AtomicBool> = rivals.iter().map(|_| AtomicBool::new(false)).collect();
        let checker = Checker::new(case, self.a, self.auditor.isa, self.auditor.threads);
        let under_test = self.auditor.stranger.as_ref();
        // One under test has no first call of the case's own V.
        let operator_was_seen = AtomicBool::new(under_test.is_some());
        let check = |name: &str, called: &Called| {
            checker.note_error(name, called);
            let Some(index) = rivals.iter().position(|rival| rival.name == name) else {
                // The first output is of the case's own V.
                return match operator_was_seen.swap(true, Ordering::Relaxed) {
                    false => {
                        let tolerance = tolerance.wait().as_ref().map_err(Clone::clone)?;
                        self.check_operator(tolerance, called.y.view())
                    }
                    true => checker.operator(called).inspect_err(|why| note(wrong, why)),
                };
            };
            if seen[index].swap(true, Ordering::Relaxed) {
                return checker.within(called, rivals[index].summation, case.output, case.dtype);
            }
            let tolerance = tolerance.wait().as_ref().map_err(Clone::clone)?;
            let y = called.y.view();
            let within = tolerance.check_as(rivals[index].summation, y, case.output);
            // Nobody receives after a failure, which is reported at the end.
            let _ = jobs.send(Job {
                index,
                pass: Pass::Plain,
                y: Ok(called.y.clone()),
                within: Some(within.clone()),
            });
            within
        };
        let roofline = record::timings::Roofline::of_device(&device.info, case.arithmetic);
        let instruments = Instruments {
            clock: clock(),
            energy: monitor
                .as_ref()
                .map(|monitor| monitor as &dyn EnergyCounter)
                .map_err(Clone::clone),
            idle: &device.idle,
            roofline: &roofline,
        };
        let elements = measure::element_bytes(case.dtype, case.output);
        let figures = measure::Case::of(self.a, case.n, case.sparsity.as_f64(), elements);
        let subject = match under_test {
            Some(under_test) => under_test.guest(),
            None => Contender {
                name: SKIP_DEVICE.into(),
                operator: OnDevice::Ours(OnDeviceNamed {
                    name: SKIP_DEVICE.into(),
                    wanted: own(case),
                }),
                kind: None,
                library: record::tool::NAME.into(),
                version: record::tool::VERSION.into(),
            },
        };
        let contenders: Vec<Contender<OnDevice>> = rivals
            .iter()
            .zip(&versions)
            .map(|(rival, version)| Contender {
                name: rival.name.clone(),
                operator: OnDevice::Ours(rival_of(rival)),
                kind: Some(kind(rival)),
                library: rival.library.clone(),
                version: version.clone(),
            })
            .collect();
        let mut timings = measure::measure(
            platform,
            &figures,
            &subject,
            &contenders,
            &self.plan(),
            &instruments,
            &check,
        );
        checker.set_errors(&mut timings);
        Ok(timings)
    }

    fn plan(&self) -> Plan {
        let plan = Plan { secret: self.secret.number, ..plan(self.case) };
        match self.auditor.stranger {
            None => plan,
            Some(_) => Plan {
                // A process builds from one A, once: from its first call on it can start no process.
                build_samples: 1,
                // Many times what the way to its process and back takes, which is half a millisecond of Python.
                sample_ns_min: 30_000_000,
                // One call alone is shorter than that way.
                cold_samples: 0,
                // The calls of a window are not looked at, and could be left out.
                energy_window_ns: None,
                ..plan
            },
        }
    }

    fn tolerance(
        &self,
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
    ) -> Result<Tolerance, crate::operator::Error> {
        Tolerance::for_dtype(a, v, self.case.dtype, self.auditor.isa, self.auditor.threads)
    }

    fn check_operator(&self, tolerance: &Tolerance, y: ArrayView2<'_, f32>) -> Result<(), String> {
        if !self.case.arithmetic.has_bit_contract() {
            return tolerance.check_rounded(y, self.case.output);
        }
        let (got, want) = (digest_of_output(y, self.case.output), self.bits.operator.digest);
        match got == want {
            true => Ok(()),
            false => Err(format!("a timed call gave the digest {got}, verified was {want}")),
        }
    }

    /// Gives the libraries the perturbed inputs of VERIFY.md section 6 and passes their outputs on. Those that
    /// are far from the best of their kind are left out: they would take longer than all others together.
    fn perturb(
        &self,
        mut platform: DevicePlatform<'_>,
        rivals: &[DeviceRival],
        timings: &CaseTimings,
        perturbed: &Result<Option<PerturbedInputs>, String>,
        jobs: &SyncSender<Job>,
    ) {
        let is_left_out = |index: usize| {
            timings
                .baselines
                .get(index)
                .is_some_and(|timed| timed.samples_ns.len() < timings.rounds)
        };
        let give =
            |index: usize, pass: Pass, apply: &mut dyn FnMut() -> Result<Array2<f32>, String>| {
                let y = if is_left_out(index) { Err(LEFT_OUT.to_owned()) } else { apply() };
                let _ = jobs.send(Job { index, pass, y: y.map(Arc::new), within: None });
            };
        let PerturbedInputs { a1, v2, .. } = match perturbed {
            Ok(Some(inputs)) => inputs,
            Ok(None) => return,
            Err(reason) => {
                for index in 0..rivals.len() {
                    give(index, Pass::Shifted, &mut || Err(reason.clone()));
                }
                return;
            }
        };
        for (index, rival) in rivals.iter().enumerate() {
            give(index, Pass::Shifted, &mut || {
                platform
                    .apply_built(&rival.name, Some(v2.view()))?
                    .ok_or_else(|| LEFT_OUT.to_owned())
            });
        }
        // Frees what was built of A.
        drop(platform);
        let secret = self.secret;
        let draw = |number: u64, v: &mut [f32]| timing::draw(self.case, &secret.text, number, v);
        let mut platform = a1.as_ref().map_err(Clone::clone).and_then(|shared| {
            let slots = DeviceSlots::least(shared.shape(), self.case.n);
            DevicePlatform::new(self.device, shared, self.v, slots, self.calls(&draw))
        });
        for (index, rival) in rivals.iter().enumerate() {
            give(index, Pass::Rebuilt, &mut || {
                let platform = platform.as_mut().map_err(|reason| reason.clone())?;
                let built = platform.build(&rival_of(rival))?;
                let y = platform.apply_built(&rival.name, None);
                platform.drop_built(built);
                y?.ok_or_else(|| LEFT_OUT.to_owned())
            });
        }
    }

    /// What timed calls of the case have; `draw` makes V's on this side.
    fn calls<'b>(&self, draw: &'b measure::Draw<'b>) -> Calls<'b> {
        Calls {
            draw,
            drawing: timing::drawing(self.case, &self.secret.text),
            secret: self.secret.number,
            clock: clock(),
            // The thread that measures, and the kernel of the system, keep a core each.
            looks_beside: self.auditor.threads.checked_sub(2).filter(|&threads| threads > 1),
        }
    }

    /// `None` where the perturbation test does not apply.
    fn perturbed_inputs(&self) -> Option<PerturbedInputs> {
        let changes = self.bits.changes.as_ref()?;
        let a1 = SharedA::of(self.a.dim(), self.auditor.threads, |rows| {
            Ok::<_, std::convert::Infallible>(self.a.slice(s![rows, ..]).to_owned())
        });
        let a1 = a1.map(|mut a1| {
            a1.change(changes.changed_weights());
            a1
        });
        let v2 = changes.change_activations(self.v, self.auditor.threads);
        let rebuilt = self.made(|| match &a1 {
            Ok(a1) => self.tolerance(a1.view(), self.v),
            Err(error) => Err(crate::operator::Error::Environment(error.clone())),
        });
        let shifted = self.made(|| self.tolerance(self.a, v2.view()));
        Some(PerturbedInputs { a1, v2, rebuilt, shifted })
    }

    /// What a pool of this case's threads makes; a panic is an error like any other.
    fn made<T: Send>(
        &self,
        make: impl FnOnce() -> Result<T, crate::operator::Error> + Send,
    ) -> Result<T, String> {
        let made = panics::catch(|| {
            with_threads(self.auditor.threads, make).map_err(|error| failed(&error))
        });
        let made = made.map_err(|panicked| failed(&panicked)).flatten();
        made.and_then(|made| made.map_err(|error| failed(&error)))
    }

    /// Looks at outputs as they come. A library whose plain output is that of the contract must give the
    /// contract's perturbed outputs; the others must stay within their bound.
    fn look(
        &self,
        rivals: &[DeviceRival],
        jobs: Receiver<Job>,
        inputs: &OnceLock<Result<Option<PerturbedInputs>, String>>,
    ) -> Result<Vec<BaselineRecord>, String> {
        with_threads(self.auditor.threads, || {
            let mut records: Vec<BaselineRecord> = rivals.iter().map(blank).collect();
            let mut identifier = Identifier::new(
                self.a,
                self.v,
                self.case.dtype,
                self.case.output,
                Architecture::of(self.device.compute_capability()),
                self.auditor.threads,
            );
            let jobs = jobs;
            while let Ok(first) = jobs.recv() {
                // All that wait are looked at together.
                let batch: Vec<Job> = std::iter::once(first).chain(jobs.try_iter()).collect();
                for Job { index, y, within, .. } in
                    batch.iter().filter(|job| job.pass == Pass::Plain)
                {
                    let Ok(y) = y else { continue };
                    match identifier.identify(y.view()) {
                        Ok(identified) => {
                            let within = within.clone().unwrap_or(Ok(()));
                            note_plain(&mut records[*index], identified, &within);
                        }
                        Err(error) => records[*index].reasons.push(error.to_string()),
                    }
                }
                let perturbed = |job: &Job| {
                    let y = job.y.as_ref().map_err(Clone::clone)?;
                    let follows = self.follows_contract(&records[job.index]);
                    // They were made before anything was perturbed.
                    let inputs = inputs.wait().as_ref().map_err(Clone::clone)?;
                    let inputs = inputs.as_ref().ok_or("no perturbation")?;
                    let (hashed, tolerance) = match job.pass {
                        Pass::Plain | Pass::Rebuilt => (&self.bits.rebuilt, &inputs.rebuilt),
                        Pass::Shifted => (&self.bits.shifted, &inputs.shifted),
                    };
                    let tolerance = tolerance.as_ref().map_err(Clone::clone)?;
                    let want = hashed.as_ref().filter(|_| follows).map(|hashed| hashed.digest);
                    Ok(self.perturbed(&rivals[job.index], want, y.view(), tolerance))
                };
                let outcomes: Vec<_> = batch
                    .par_iter()
                    .filter(|job| job.pass != Pass::Plain)
                    .map(|job| (job.index, job.pass, perturbed(job)))
                    .collect();
                for (index, pass, outcome) in outcomes {
                    note_perturbed(&mut records[index], pass, outcome);
                }
            }
            Ok(records)
        })
        .map_err(|error| failed(&error))?
    }

    /// Whether a library's plain output has the bits of the case's contract.
    fn follows_contract(&self, record: &BaselineRecord) -> bool {
        self.case.arithmetic.has_bit_contract()
            && record.identified.as_ref().is_some_and(|i| i.digest == self.bits.operator.digest)
    }

    /// `want`: the contract's digest, for a library that follows it.
    fn perturbed(
        &self,
        rival: &DeviceRival,
        want: Option<Digest>,
        y: ArrayView2<'_, f32>,
        tolerance: &Tolerance,
    ) -> Perturbed {
        let digest = digest_of_output(y, self.case.output);
        if want == Some(digest) {
            return Perturbed { digest, verdict: Verdict::Verified };
        }
        let verdict = match tolerance.check_as(rival.summation, y, self.case.output) {
            Ok(()) if want.is_none() => Verdict::WithinBound,
            Ok(()) => Verdict::Mismatch,
            Err(_) => Verdict::OutOfBound,
        };
        Perturbed { digest, verdict }
    }
}

/// The first reason is kept.
pub(super) fn note(wrong: &Mutex<Option<String>>, why: &str) {
    wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why.to_owned());
}

const LEFT_OUT: &str = "not perturbed: not run, or far slower than the best of its kind";

/// Outputs that wait to be looked at have so many bytes at most.
const BYTES_WAITING_MAX: usize = 2 << 30;

/// Which inputs an output is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Plain,
    Rebuilt,
    Shifted,
}

/// What the perturbation test gives the libraries, and how far their outputs may be from y_ref.
struct PerturbedInputs {
    /// A1, for workers.
    a1: Result<SharedA, String>,
    v2: Array2<f32>,
    /// Of A1 V.
    rebuilt: Result<Tolerance, String>,
    /// Of A V2.
    shifted: Result<Tolerance, String>,
}

/// A rival's output, or why there is none.
struct Job {
    /// Of the rival.
    index: usize,
    pass: Pass,
    y: Result<Arc<Array2<f32>>, String>,
    /// Whether it is within its bound, if that is known.
    within: Option<Result<(), String>>,
}

pub(super) fn failed(error: &dyn std::fmt::Display) -> String {
    format!("not measured: {error}")
}

pub(super) fn version(rival: &DeviceRival) -> String {
    format!("{}; {}", rival.version, rival.math)
}

pub(super) fn kind(rival: &DeviceRival) -> Kind {
    match rival.precision {
        Precision::Lower => Kind::Reduced,
        Precision::AsCase => rival.kind,
    }
}

fn blank(rival: &DeviceRival) -> BaselineRecord {
    BaselineRecord {
        name: rival.name.clone(),
        math: rival.math.clone(),
        note: rival.note.clone(),
        verdict: Verdict::NotRun,
        identified: None,
        rebuilt: None,
        shifted: None,
        reasons: Vec::new(),
    }
}

fn note_plain(record: &mut BaselineRecord, identified: Identified, within: &Result<(), String>) {
    record.verdict = match within {
        _ if identified.verified => Verdict::Verified,
        Ok(()) => Verdict::WithinBound,
        Err(_) => Verdict::OutOfBound,
    };
    if !identified.verified {
        record.reasons.push(format!("none of {} models tried gives these bits", identified.tried));
    }
    record.reasons.extend(within.clone().err());
    record.identified = Some(identified);
}

fn note_perturbed(record: &mut BaselineRecord, pass: Pass, outcome: Result<Perturbed, String>) {
    let (slot, name) = match pass {
        Pass::Plain | Pass::Rebuilt => (&mut record.rebuilt, "rebuilt"),
        Pass::Shifted => (&mut record.shifted, "shifted"),
    };
    match outcome {
        Ok(perturbed) => {
            if perturbed.verdict.refutes() {
                record.verdict = perturbed.verdict;
                record.reasons.push(format!("{name}: {}", perturbed.verdict.name()));
            }
            *slot = Some(perturbed);
        }
        Err(reason) if record.reasons.contains(&reason) => {}
        Err(reason) => record.reasons.push(reason),
    }
}
