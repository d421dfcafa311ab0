//! A stranger's operator on one case: asked for its outputs by the same way on which it is timed.

use contract::case::Case;
use contract::digest::Digest;
use contract::inputs::Weights;
use ndarray::ArrayView2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use record::operator::OperatorKind;

use super::Auditor;
use super::timing::{Checker, draw, random_text, require_memory};
use crate::check::bits::{Answer, Asked, CaseError, Whole};
use crate::measure::{
    self, Contender, Inputs, Part, Platform as _, RealClock, Remote, SharedA, WorkerPlatform,
};
use crate::worker::message::Contender as Wanted;
use crate::worker::{Hosted, Stranger, UNDER_TEST, Workers};

/// An operator under test, and what nobody can know of the calls by which its bits are asked for.
pub struct UnderTest {
    stranger: Stranger,
    /// Drawn for this run.
    secret: String,
}

/// Calls of a round, at most: one of them is the case's, the others have V's as timed calls have.
const CALLS: usize = 4;
/// Calls before a sample with V's that are used again, as a measurement makes them.
const UNTIMED: usize = 2;

impl UnderTest {
    pub fn new(stranger: Stranger) -> UnderTest {
        UnderTest { stranger, secret: random_text() }
    }

    pub fn name(&self) -> &str {
        &self.stranger.file().name
    }

    /// A fresh process for one phase of a case.
    pub fn start(&self, case: &Case, threads: usize) -> Result<Hosted, String> {
        let [m, k, n] = [case.m, case.k, case.n].map(|size| size as u64);
        let slots = measure::slots([case.m, case.k, case.n]);
        let shared = 4 * m * k + 4 * k * n + 4 * m * n + slots.bytes();
        self.stranger.start(&case.arithmetic.to_string(), threads, shared)
    }

    /// It as the contender whose speed is in question, in the host of that place.
    pub fn contender(&self, host: usize) -> Contender<Remote> {
        let file = self.stranger.file();
        Contender {
            name: file.name.clone(),
            operator: Remote { host, wanted: Wanted::Rival(UNDER_TEST.into()) },
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

        let hosted = self.start(case, auditor.threads).map_err(operator)?;
        let mut workers = Workers { threads: auditor.threads, hosts: vec![hosted] };
        let mut a = SharedA::of((case.m, case.k), |rows| weights.rows(rows))
            .and_then(|a| a.encoded(case.dtype))
            .map_err(environment)?;
        let slots = measure::slots([case.m, case.k, case.n]);
        let calls = CALLS.min(slots.fresh);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut place = || (random.next_u64() % calls as u64) as usize;
        let (first, again, rebuilt) = (place(), place(), place());
        // Fresh V's are numbered from behind the ring's on.
        let number = |round: usize, call: usize| (slots.ring + round * calls + call) as u64;
        let clock = RealClock::default();
        let mut broken = Vec::new();
        let mut looks = ChaCha8Rng::seed_from_u64(seed.rotate_left(32));

        let v2 = asked.perturbed.map(|(v2, _)| v2);
        let fill = |own: Option<ArrayView2<'_, f32>>, at: u64, v: &mut [f32]| match own {
            Some(own) => v.iter_mut().zip(own).for_each(|(to, &from)| *to = from),
            None => draw(case, &text, at, v),
        };
        let wanted = Remote { host: 0, wanted: Wanted::Rival(UNDER_TEST.into()) };
        // One sample, and the Y of the call that is asked for. The outputs of the others are looked at as those of timed calls.
        let mut one = |platform: &mut WorkerPlatform<'_>,
                       built: &mut _,
                       call: usize,
                       checker: &Checker<'_>,
                       broken: &mut Vec<String>| {
            // As before a timed sample.
            platform.run(built, UNTIMED).map_err(operator)?;
            platform.prepare(built, calls).map_err(environment)?;
            platform.sample(built, Inputs::Fresh, calls).map_err(operator)?;
            // One reason is enough, the first.
            let mut note = |why: String| {
                if broken.is_empty() {
                    broken.push(format!("operator under test: {why}"));
                }
            };
            let y = match platform.output(built, call, &Part::Whole) {
                Ok(called) => called.y,
                Err(why) => {
                    note(why);
                    platform.whole(built, call).map_err(environment)?
                }
            };
            for at in (0..calls).filter(|&at| at != call) {
                let part = measure::block((case.m, case.n), &mut looks);
                let called = platform.output(built, at, &part);
                called.and_then(|called| checker.operator(&called)).unwrap_or_else(&mut note);
            }
            Ok::<_, CaseError>(y)
        };
        let (y, shifted) = {
            let checker = Checker::new(case, a.view(), auditor.isa, auditor.threads);
            let of = |at: u64| match at {
                at if at == number(0, first) || at == number(2, again) => Some(asked.v),
                at if at == number(1, first) => v2.map(|v2| v2.view()),
                _ => None,
            };
            let draw = |at: u64, v: &mut [f32]| fill(of(at), at, v);
            let mut platform = WorkerPlatform::new(
                &mut workers,
                &a,
                (case.n, case.output),
                &draw,
                seed,
                &clock,
                0,
            )
            .map_err(environment)?;
            let mut built = platform.build(&wanted).map_err(operator)?;
            let y = one(&mut platform, &mut built, first, &checker, &mut broken)?;
            let shifted = one(&mut platform, &mut built, first, &checker, &mut broken)?;
            let moved = one(&mut platform, &mut built, again, &checker, &mut broken)?;
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
            platform.drop_built(built);
            (y, v2.map(|_| shifted))
        };
        let rebuilt_y = match asked.perturbed {
            None => None,
            Some((_, changes)) => {
                // In a process of its own, which built from A before and closed that.
                workers.hosts = vec![self.start(case, auditor.threads).map_err(operator)?];
                let of = |at: u64| (at == number(0, rebuilt)).then_some(asked.v);
                let draw = |at: u64, v: &mut [f32]| fill(of(at), at, v);
                {
                    let mut platform = WorkerPlatform::new(
                        &mut workers,
                        &a,
                        (case.n, case.output),
                        &draw,
                        seed,
                        &clock,
                        0,
                    )
                    .map_err(environment)?;
                    let built = platform.build_alone(&wanted).map_err(operator)?;
                    platform.close(&built).map_err(operator)?;
                }
                a.change(changes.changed_weights());
                let mut platform = WorkerPlatform::new(
                    &mut workers,
                    &a,
                    (case.n, case.output),
                    &draw,
                    !seed,
                    &clock,
                    0,
                )
                .map_err(environment)?;
                let mut built = platform.build(&wanted).map_err(operator)?;
                let checker = Checker::new(case, a.view(), auditor.isa, auditor.threads);
                Some(one(&mut platform, &mut built, rebuilt, &checker, &mut broken)?)
            }
        };
        Ok(Answer {
            y: Whole(y),
            rebuilt: rebuilt_y.map(Whole),
            shifted: shifted.map(Whole),
            broken,
        })
    }
}
