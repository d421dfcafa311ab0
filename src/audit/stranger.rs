//! A stranger's operator on one case: asked for its outputs by the same way on which it is timed.

use std::sync::{Arc, Mutex, PoisonError};

use contract::case::Case;
use contract::digest::Digest;
use contract::inputs::Weights;
use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use record::operator::{OperatorDevice, OperatorKind};

use super::Auditor;
use super::timing::{Checker, draw, drawing, random_text, require_memory};
use crate::check::bits::{Answer, Asked, CaseError, Rows, Whole};
use crate::measure::{
    self, Called, Clock, Contender, DeviceSlots, GuestBuilt, GuestPlatform, Inputs, Kept, Numbered,
    OnDevice, Part, Platform, RealClock, Remote, SharedA, WorkerPlatform,
};
use crate::worker::message::Contender as Wanted;
use crate::worker::{Hosted, Place, RemoteDevice, Stranger, UNDER_TEST, Workers};

/// An operator under test, and what nobody can know of the calls by which its bits are asked for.
pub struct UnderTest {
    stranger: Stranger,
    /// Drawn for this run.
    secret: String,
    /// Who keeps V's and Y's on the device that was used last.
    keeper: Mutex<Option<Arc<RemoteDevice>>>,
}

/// The plan of a stranger's operator.
const ITS_OWN: &str = "its own";

/// Calls of a round, at most: one of them is the case's, the others have V's as timed calls have.
const CALLS: usize = 4;
/// Calls before a sample with V's that are used again, as a measurement makes them.
const UNTIMED: usize = 2;

impl UnderTest {
    pub fn new(stranger: Stranger) -> UnderTest {
        UnderTest { stranger, secret: random_text(), keeper: Mutex::default() }
    }

    pub fn name(&self) -> &str {
        &self.stranger.file().name
    }

    /// Whether it multiplies on a CUDA device.
    pub fn is_on_device(&self) -> bool {
        self.stranger.file().device == OperatorDevice::Cuda
    }

    /// A fresh process for one phase of a case; `device` is where it multiplies.
    pub fn start(
        &self,
        case: &Case,
        threads: usize,
        device: Option<&RemoteDevice>,
    ) -> Result<Hosted, String> {
        let [m, k, n] = [case.m, case.k, case.n].map(|size| size as u64);
        let slots = measure::slots([case.m, case.k, case.n]);
        let shared = 4 * m * k + 4 * k * n + 4 * m * n + slots.bytes();
        let device = device.map(|device| device.info.uuid.as_str());
        self.stranger.start(&case.arithmetic.to_string(), threads, shared, device)
    }

    /// A custodian of a device for its V's and Y's alone. It dies with the calling thread.
    pub fn keeper(
        &self,
        device: &RemoteDevice,
        threads: usize,
    ) -> Result<Arc<RemoteDevice>, String> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = keeper.as_ref().filter(|keeper| keeper.info == device.info) {
            keeper.revive(Place::Custodian);
            return Ok(keeper.clone());
        }
        let opened = RemoteDevice::open(device.info.ordinal, threads);
        let opened = opened.map_err(|error| error.to_string())?;
        Ok(keeper.insert(opened).clone())
    }

    /// It as the contender whose speed is in question, on a device.
    pub fn guest(&self) -> Contender<OnDevice> {
        self.contender_of(OnDevice::Guest)
    }

    /// The same, in the host of that place.
    pub fn contender(&self, host: usize) -> Contender<Remote> {
        self.contender_of(Remote { host, wanted: Wanted::Rival(UNDER_TEST.into()) })
    }

    fn contender_of<O>(&self, operator: O) -> Contender<O> {
        let file = self.stranger.file();
        Contender {
            name: file.name.clone(),
            operator,
            kind: None,
            library: match file.kind {
                OperatorKind::Library => "a library under test".into(),
                OperatorKind::Python => "a Python module under test".into(),
                OperatorKind::Outputs => unreachable!("nothing of it is run"),
            },
            version: file.version.clone(),
        }
    }

    /// The outputs of a case. The process is asked as in a measurement: from an A in shared memory, by samples of calls,
    /// each with a V of its own. The case's V is that of one call, drawn here, of the first sample; V2 takes its place in
    /// the second; in the third V is in another place. A second process builds from A, closes that, and builds
    /// from A1 once A was changed to that where it lies.
    pub fn ask(
        &self,
        case: &Case,
        weights: &Weights,
        asked: &Asked<'_>,
        auditor: &Auditor<'_>,
    ) -> Result<Answer, CaseError> {
        if case.m == 0 || case.k == 0 || case.n == 0 {
            return Err(CaseError::Refused("there is nothing to multiply".into()));
        }
        require_memory(case, "an operator under test").map_err(CaseError::Environment)?;
        let text = Digest::of(format!("{}\n{}\nbits", self.secret, case.id).as_bytes());
        let seed = text.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let text = text.to_string();
        let environment = |error: String| CaseError::Environment(error);
        let operator = |error: String| CaseError::Operator(error);

        let mut a = SharedA::of((case.m, case.k), auditor.threads, |rows| weights.rows(rows))
            .and_then(|a| a.encoded(case.dtype))
            .map_err(environment)?;
        let device = auditor.device.as_deref().filter(|_| self.is_on_device());
        let keeper = device.map(|device| self.keeper(device, auditor.threads));
        let keeper = keeper.transpose().map_err(environment)?;
        // Memory is given back after the process that has it.
        let kept = keeper.as_deref().map(|keeper| {
            let slots = DeviceSlots::of([case.m, case.k, case.n], keeper.info.memory_bytes);
            Kept::new(keeper, &a, case.n, slots, drawing(case, &text), seed)
        });
        let kept = kept.transpose().map_err(environment)?;
        let hosted = || self.start(case, auditor.threads, device).map_err(operator);
        let mut way = match kept {
            None => Way::Host(Workers { threads: auditor.threads, hosts: vec![hosted()?] }),
            Some(kept) => Way::Device { hosted: hosted()?, kept: Box::new(kept) },
        };
        let (fresh, ring) = way.slots([case.m, case.k, case.n]);
        let calls = CALLS.min(fresh);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut place = || (random.next_u64() % calls as u64) as usize;
        let (first, again, rebuilt) = (place(), place(), place());
        // Fresh V's are numbered from behind the ring's on.
        let number = |round: usize, call: usize| (ring + round * calls + call) as u64;
        let clock = RealClock::default();
        let mut broken = Vec::new();
        let mut looks = ChaCha8Rng::seed_from_u64(seed.rotate_left(32));

        let v2 = asked.perturbed.map(|(v2, _)| v2);
        let plain = |at: u64, v: &mut [f32]| draw(case, &text, at, v);
        // One sample, and the Y of the call that is asked for. The outputs of the others are looked at as those of timed calls.
        let mut one = |platform: &mut dyn Asking,
                       call: usize,
                       checker: &Checker<'_>,
                       broken: &mut Vec<String>| {
            // As before a timed sample.
            platform.run(UNTIMED).map_err(operator)?;
            platform.prepare(calls).map_err(environment)?;
            platform.sample(calls).map_err(operator)?;
            // One reason is enough, the first.
            let mut note = |why: String| {
                if broken.is_empty() {
                    broken.push(format!("operator under test: {why}"));
                }
            };
            let mut parts = vec![(call, Part::Whole)];
            for at in (0..calls).filter(|&at| at != call) {
                parts.push((at, measure::block((case.m, case.n), &mut looks)));
            }
            let mut y = None;
            for output in platform.outputs(&parts).map_err(environment)? {
                match output {
                    Ok(called) if called.part == Part::Whole => {
                        y = Some(Arc::unwrap_or_clone(called.y));
                    }
                    Ok(called) => checker.operator(&called).unwrap_or_else(&mut note),
                    Err(why) if measure::is_finding(&why) => note(why),
                    Err(why) => return Err(environment(why)),
                }
            }
            match y {
                Some(y) => Ok::<_, CaseError>(y),
                None => platform.whole(call).map_err(environment),
            }
        };
        let (y, shifted) = {
            let checker = Checker::new(case, a.view(), auditor.isa, auditor.threads);
            let of = |at: u64| match at {
                at if at == number(0, first) || at == number(2, again) => Some(asked.v),
                at if at == number(1, first) => v2.map(|v2| v2.view()),
                _ => None,
            };
            let v = Numbered { draw: &plain, given: &of };
            let mut platform = way.open(case, &a, v, seed, &clock).map_err(environment)?;
            let platform = &mut *platform;
            platform.build().map_err(operator)?;
            let y = one(platform, first, &checker, &mut broken)?;
            let shifted = one(platform, first, &checker, &mut broken)?;
            let moved = one(platform, again, &checker, &mut broken)?;
            if case.arithmetic.has_bit_contract() {
                // -0 is +0, as in digests.
                let bits = |x: &f32| (x + 0.0).to_bits();
                let differs = |(one, other): (&f32, &f32)| bits(one) != bits(other);
                if let Some(at) = y.iter().zip(&moved).position(differs) {
                    let (row, column) = (at / case.n, at % case.n);
                    broken.push(format!(
                        "operator under test: the same A and V gave another output the second time, first at (row {row}, \
                         column {column})"
                    ));
                }
            }
            broken.extend(found(platform.end())?);
            (y, v2.map(|_| shifted))
        };
        let rebuilt_y = match asked.perturbed {
            None => None,
            Some((_, changes)) => {
                // In a process of its own, which built from A before and closed that.
                way.replace(hosted()?);
                let v = Numbered::drawn(&plain);
                way.open(case, &a, v, seed, &clock)
                    .map_err(environment)?
                    .build_and_close()
                    .map_err(operator)?;
                a.change(changes.changed_weights());
                let of = |at: u64| (at == number(0, rebuilt)).then_some(asked.v);
                let v = Numbered { draw: &plain, given: &of };
                let mut platform = way.open(case, &a, v, !seed, &clock).map_err(environment)?;
                let platform = &mut *platform;
                platform.build().map_err(operator)?;
                let checker = Checker::new(case, a.view(), auditor.isa, auditor.threads);
                let y = one(platform, rebuilt, &checker, &mut broken)?;
                broken.extend(found(platform.end())?);
                Some(y)
            }
        };
        let whole = |y| Box::new(Whole(y)) as Box<dyn Rows>;
        Ok(Answer {
            y: whole(y),
            rebuilt: rebuilt_y.map(whole),
            shifted: shifted.map(whole),
            broken,
            plan: ITS_OWN.into(),
        })
    }
}

/// What an error says of the operator; one of the machine stops the case.
fn found(ended: Result<(), String>) -> Result<Option<String>, CaseError> {
    match ended {
        Ok(()) => Ok(None),
        Err(why) if measure::is_finding(&why) => Ok(Some(format!("operator under test: {why}"))),
        Err(why) => Err(CaseError::Environment(why)),
    }
}

/// Where an operator under test is asked.
enum Way<'k> {
    Host(Workers),
    /// The process goes before the memory that it was lent.
    Device {
        hosted: Hosted,
        kept: Box<Kept<'k>>,
    },
}

impl Way<'_> {
    /// Numbers of fresh V's, and of the ring's.
    fn slots(&self, shape: [usize; 3]) -> (usize, usize) {
        match self {
            Way::Host(_) => {
                let slots = measure::slots(shape);
                (slots.fresh, slots.ring)
            }
            Way::Device { kept, .. } => (kept.slots.fresh, kept.slots.ring),
        }
    }

    /// Ends its process, for another one.
    fn replace(&mut self, with: Hosted) {
        match self {
            Way::Host(workers) => workers.hosts = vec![with],
            Way::Device { hosted, .. } => *hosted = with,
        }
    }

    /// Its process with these matrices.
    fn open<'a>(
        &'a mut self,
        case: &Case,
        a: &'a SharedA,
        v: Numbered<'a>,
        secret: u64,
        clock: &'a dyn Clock,
    ) -> Result<Box<dyn Asking + 'a>, String> {
        match self {
            Way::Host(workers) => {
                let platform =
                    WorkerPlatform::new(workers, a, (case.n, case.output), v, secret, clock, 0)?;
                let operator = Remote { host: 0, wanted: Wanted::Rival(UNDER_TEST.into()) };
                Ok(Box::new(One { platform, operator, built: None }))
            }
            Way::Device { hosted, kept } => {
                let dtypes = [case.dtype, case.output];
                let platform = GuestPlatform::new(kept, hosted, dtypes, v, clock)?;
                Ok(Box::new(One { platform, operator: (), built: None }))
            }
        }
    }
}

/// A process of an operator under test, by what is asked of it.
trait Asking {
    fn build(&mut self) -> Result<(), String>;
    /// A build without a first call, which is closed again.
    fn build_and_close(&mut self) -> Result<(), String>;
    fn run(&mut self, calls: usize) -> Result<(), String>;
    fn prepare(&mut self, calls: usize) -> Result<(), String>;
    fn sample(&mut self, calls: usize) -> Result<(), String>;
    fn outputs(&mut self, parts: &[(usize, Part)]) -> Result<Vec<Result<Called, String>>, String>;
    /// The whole Y of a call as it is, whatever was written beside it.
    fn whole(&mut self, call: usize) -> Result<Array2<f32>, String>;
    /// Drops what was built: an error if A is another one now.
    fn end(&mut self) -> Result<(), String>;
}

/// A platform, and what was built there.
struct One<P: Platform> {
    platform: P,
    operator: P::Operator,
    built: Option<P::Built>,
}

/// What only an operator under test is asked.
trait Alone: Platform {
    fn build_alone(&mut self, operator: &Self::Operator) -> Result<Self::Built, String>;
    fn close(&mut self, built: &Self::Built) -> Result<(), String>;
    fn whole(&self, built: &Self::Built, call: usize) -> Result<Array2<f32>, String>;
    /// An error unless A is as it was.
    fn inspect_a(&mut self) -> Result<(), String>;
}

impl Alone for WorkerPlatform<'_> {
    fn build_alone(&mut self, operator: &Remote) -> Result<Self::Built, String> {
        WorkerPlatform::build_alone(self, operator)
    }

    fn close(&mut self, built: &Self::Built) -> Result<(), String> {
        WorkerPlatform::close(self, built)
    }

    fn whole(&self, built: &Self::Built, call: usize) -> Result<Array2<f32>, String> {
        WorkerPlatform::whole(self, built, call)
    }

    fn inspect_a(&mut self) -> Result<(), String> {
        // It could not be written.
        Ok(())
    }
}

impl Alone for GuestPlatform<'_, '_> {
    fn build_alone(&mut self, (): &()) -> Result<GuestBuilt, String> {
        GuestPlatform::build_alone(self)
    }

    fn close(&mut self, built: &GuestBuilt) -> Result<(), String> {
        GuestPlatform::close(self, built)
    }

    fn whole(&self, _built: &GuestBuilt, call: usize) -> Result<Array2<f32>, String> {
        GuestPlatform::whole(self, call)
    }

    fn inspect_a(&mut self) -> Result<(), String> {
        GuestPlatform::inspect_a(self)
    }
}

impl<P: Alone> One<P> {
    fn with<T>(
        &mut self,
        ask: impl FnOnce(&mut P, &mut P::Built) -> Result<T, String>,
    ) -> Result<T, String> {
        ask(&mut self.platform, self.built.as_mut().ok_or("nothing is built")?)
    }
}

impl<P: Alone> Asking for One<P> {
    fn build(&mut self) -> Result<(), String> {
        self.built = Some(self.platform.build(&self.operator)?);
        Ok(())
    }

    fn build_and_close(&mut self) -> Result<(), String> {
        let built = self.platform.build_alone(&self.operator)?;
        self.platform.close(&built)
    }

    fn run(&mut self, calls: usize) -> Result<(), String> {
        self.with(|platform, built| platform.run(built, calls))
    }

    fn prepare(&mut self, calls: usize) -> Result<(), String> {
        self.with(|platform, built| platform.prepare(built, calls))
    }

    fn sample(&mut self, calls: usize) -> Result<(), String> {
        self.with(|platform, built| platform.sample(built, Inputs::Fresh, calls).map(drop))
    }

    fn outputs(&mut self, parts: &[(usize, Part)]) -> Result<Vec<Result<Called, String>>, String> {
        self.with(|platform, built| Ok(platform.outputs(built, parts)))
    }

    fn whole(&mut self, call: usize) -> Result<Array2<f32>, String> {
        self.with(|platform, built| platform.whole(built, call))
    }

    fn end(&mut self) -> Result<(), String> {
        if let Some(built) = self.built.take() {
            self.platform.drop_built(built);
        }
        self.platform.inspect_a()
    }
}
