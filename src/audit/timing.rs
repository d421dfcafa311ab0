//! Measuring one verified case on this machine: the operator and every rival that is here.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::Auditor;
use crate::backend::cpu::{Isa, fill_synthetic, with_threads};
use crate::check::accuracy::Seen;
use crate::check::bits::positive_zeros;
use crate::check::tolerance::Tolerance;
use crate::environment::environment;
use crate::machine;
use crate::measure;
use crate::measure::{
    Called, Clock, Contender, EnergyCounter, Instruments, POWERCAP, Part, Plan, Rapl, RealClock,
    Remote, SharedA, WorkerPlatform,
};
use crate::operator::{DenseReference, Operator, Staged};
use crate::worker::Workers;
use crate::worker::message::{Contender as Wanted, Drawing};
use contract::arithmetic::bounded::Summation;
use contract::arithmetic::{Arithmetic, bounded};
use contract::case::{Activations, Case};
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::inputs::spec::Values;
use contract::inputs::{Stream, Weights};
use record::baseline::Missing;
use record::timings::{CaseTimings, ElementBytes, Roofline, TimedInputs, Window};

/// Cases with fewer dense operations than this are measured quickly: there are many of them.
const SMALL_FLOPS: f64 = 3e8;

/// The way to measure the cases of a run, and the instruments.
pub struct Measuring {
    /// On other hardware than a manifest names as well.
    pub any_platform: bool,
    /// A random text that nobody could know before the run. Inputs of timed calls are drawn from it where there is no
    /// nonce.
    secret: String,
    /// Made when the first case is measured on the host.
    bench: Mutex<Option<Bench>>,
}

impl Measuring {
    /// The way of a run that begins; nothing is started yet.
    pub fn new(any_platform: bool) -> Measuring {
        Measuring { any_platform, secret: random_text(), bench: Mutex::new(None) }
    }
}

/// A text that nobody could know: 16 random bytes of the system, in hexadecimal.
pub fn random_text() -> String {
    use std::fmt::Write as _;
    let mut bytes = [0u8; 16];
    // Asked again after a signal; it gives as many as these at once.
    while rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {}
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Instruments that all cases of a run share.
struct Bench {
    workers: Workers,
    cache_bytes: u64,
    clock: RealClock,
    roofline: Roofline,
    energy: Result<Rapl, String>,
    idle: OnceLock<Result<Window, String>>,
}

impl Bench {
    /// Instruments, with the workers started; these die with the calling thread.
    fn new(threads: usize) -> Bench {
        let cache_bytes = environment().cache_bytes;
        let clock = RealClock::default();
        Bench {
            workers: Workers::open(threads),
            cache_bytes,
            roofline: measure::host_roofline(&clock, threads, cache_bytes),
            clock,
            energy: Rapl::open(POWERCAP.as_ref()),
            idle: OnceLock::new(),
        }
    }
}

fn plan(case: &Case, threads: usize, has_energy: bool) -> Plan {
    let flops = 2.0 * case.m as f64 * case.k as f64 * case.n as f64;
    if flops < SMALL_FLOPS {
        return Plan::quick(threads, case.seed);
    }
    Plan {
        budget_ns: 1_500_000_000,
        samples_min: 5,
        samples_max: 200,
        warmup_ns_max: 100_000_000,
        cold_samples: 3,
        energy_window_ns: has_energy.then_some(1_000_000_000),
        ..Plan::thorough(threads, case.seed)
    }
}

/// What is said of a case that is too large to be timed.
pub const TIMED: &str = "not measured: a timed operator";

/// An error in words unless a case can be held whole in the host's memory; `what` has to be held.
pub fn require_memory(case: &Case, what: &str) -> Result<(), String> {
    // A, three more forms of A (the operator's, the sparse and the compacted rivals'), the outputs that are compared,
    // and the V's and Y's of calls.
    let slots = measure::slots([case.m, case.k, case.n]);
    let [m, k, n] = [case.m, case.k, case.n].map(|x| x as u128);
    let bytes = 4 * 4 * m * k + 16 * m * n + u128::from(slots.bytes());
    match machine::memory_available() {
        Some(available) if bytes > u128::from(available.bytes / 2) => Err(format!(
            "{what} is held whole, which takes about {:.1} GB of the {:.1} \
             GB available (limit: {})",
            bytes as f64 / 1e9,
            available.bytes as f64 / 1e9,
            available.limit
        )),
        _ => Ok(()),
    }
}

/// Timings of a case on the host, with the rivals that are not there.
pub struct Found {
    pub timings: CaseTimings,
    pub missing: Vec<Missing>,
    /// Why an output of the operator under test was wrong when it was looked at.
    pub wrong: Option<String>,
}

/// Timings of a case, or the reason why there are none. Each timed call has a V of its own. The operator's output must
/// be that of the case's rule for this V; a baseline's must lie within its bound.
pub fn measure(
    case: &Case,
    weights: &Weights,
    auditor: &Auditor<'_>,
    measuring: &Measuring,
) -> Result<Found, String> {
    let Auditor { threads, isa, .. } = *auditor;
    if case.m == 0 || case.k == 0 || case.n == 0 {
        return Err("not measured: there is nothing to multiply".into());
    }
    require_memory(case, TIMED)?;
    let mut bench = measuring.bench.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = bench.get_or_insert_with(|| Bench::new(threads));
    bench.workers.revive();
    let Bench { workers, cache_bytes, clock, roofline, energy, idle } = bench;
    let (clock, roofline, energy, idle) = (&*clock, &*roofline, &*energy, &*idle);
    let failed = |error: &dyn std::fmt::Display| format!("not measured: {error}");
    // Without the operator under test there is nothing to compare with.
    if let Some(fault) = workers.hosts[OWN].fault() {
        return Err(failed(fault));
    }
    let a = SharedA::of((case.m, case.k), threads, |rows| weights.rows(rows));
    let a = match &auditor.stranger {
        Some(_) => a.and_then(|a| a.encoded(case.dtype)),
        None => a,
    };
    let a = a.map_err(|error| failed(&error))?;
    let secret = Secret::of(auditor, measuring, case);
    let missing = workers.missing().cloned().collect();
    let rivals = measure::rivals(workers, case.dtype, case.pattern.expert_rows());
    // A process for this case and this phase alone, gone at the end of it.
    if let Some(under_test) = &auditor.stranger {
        let started = under_test.start(case, threads, None).map_err(|error| failed(&error))?;
        workers.hosts.push(started);
    }
    let taken = Visitor { workers, is_there: auditor.stranger.is_some() };
    let workers = &mut *taken.workers;
    let wrong: Mutex<Option<String>> = Mutex::new(None);
    let measured = with_threads(threads, || {
        let checker = Checker::new(case, a.view(), isa, threads);
        let subject = match &auditor.stranger {
            None => Contender {
                name: (auditor.operator)(case, isa).name(),
                operator: Remote { host: OWN, wanted: own(case, isa) },
                kind: None,
                library: record::tool::NAME.into(),
                version: record::tool::VERSION.into(),
            },
            Some(under_test) => under_test.contender(workers.hosts.len() - 1),
        };
        let name = subject.name.clone();
        let check = |by: &str, called: &Called| {
            checker.note_error(by, called);
            match by == name {
                true => checker.operator(called).inspect_err(|why| {
                    wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why.clone());
                }),
                false => checker.rival(called),
            }
        };
        let instruments = Instruments {
            clock,
            energy: match energy {
                Ok(counter) => Ok(counter as &dyn EnergyCounter),
                Err(reason) => Err(reason.clone()),
            },
            idle,
            roofline,
        };
        let draw = |number: u64, v: &mut [f32]| draw(case, &secret.text, number, v);
        let figures =
            measure::Case::of(a.view(), case.n, case.sparsity.as_f64(), ElementBytes::F32);
        let mut plan = Plan { secret: secret.number, ..plan(case, threads, energy.is_ok()) }
            .within(*cache_bytes);
        if auditor.stranger.is_some() {
            // A process builds from one A, once: from its first call on it can start no process.
            plan.build_samples = 1;
            // It is stopped and looked at between any two requests.
            plan.warmup_ns_max = plan.warmup_ns_max.max(200_000_000);
            // The calls of a window are not looked at, and could be left out.
            plan.energy_window_ns = None;
        }
        let clock: &dyn Clock = clock;
        let mut platform = WorkerPlatform::new(
            workers,
            &a,
            (case.n, case.output),
            measure::Numbered::drawn(&draw),
            secret.number,
            clock,
            *cache_bytes,
        )?;
        let mut timings = measure::measure(
            &mut platform,
            &figures,
            &subject,
            &rivals,
            &plan,
            &instruments,
            &check,
        );
        checker.set_errors(&mut timings);
        let slots = measure::slots([case.m, case.k, case.n]);
        timings.inputs = Some(TimedInputs {
            nonce: secret.text.clone(),
            fresh: slots.fresh,
            ring: slots.ring,
            bytes: slots.bytes(),
        });
        Ok::<_, String>(timings)
    });
    let timings = measured
        .map_err(|error| failed(&format!("no thread pool: {error}")))?
        .map_err(|error| failed(&error))?;
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failure = timings.operator.failure.clone();
    let wrong = wrong.or(failure.filter(|why| measure::is_finding(why)));
    Ok(Found { timings, missing, wrong })
}

/// The workers of a run, with a stranger's as the last of them for as long as this is there.
struct Visitor<'a> {
    workers: &'a mut Workers,
    is_there: bool,
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        if self.is_there {
            self.workers.hosts.pop();
        }
    }
}

/// The source of the random choices of a case's timed calls: the text from which inputs are drawn, and the number that
/// seeds the order of calls and the choice of elements that are looked at.
pub struct Secret {
    pub text: String,
    pub number: u64,
}

impl Secret {
    /// The source for a case. The text is the auditor's nonce, or else the SHA-256, in hexadecimal digits, of the run's
    /// random text, line break and case id: a record may be read before the next case is measured, and says nothing of
    /// that one. The number is the first 8 bytes of the SHA-256 of text, line break and case id, little-endian.
    pub fn of(auditor: &Auditor<'_>, measuring: &Measuring, case: &Case) -> Secret {
        let of_case = |text: &str| Digest::of(format!("{text}\n{}", case.id).as_bytes());
        let text = match &auditor.nonce {
            Some(nonce) => nonce.clone(),
            None => of_case(&measuring.secret).to_string(),
        };
        let number = of_case(&text).0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Secret { text, number }
    }
}

/// The place of the embedded host among the workers.
const OWN: usize = 0;

/// Our own operator, as the case asks for it.
fn own(case: &Case, isa: Isa) -> Wanted {
    Wanted::Own {
        arithmetic: case.arithmetic,
        output: case.output,
        strategy: case.strategy,
        isa: isa.to_string(),
    }
}

/// The stream of the V's of timed calls, and what their values are: as the case's V has them. V number `i`, k x n and
/// row-major, has elements `i * k * n`, `i * k * n + 1`, ... of the stream `V.timed` whose nonce is `secret`.
fn stream(case: &Case, secret: &str) -> (Values, Stream) {
    let values = match case.activations {
        Activations::Synthetic(values) => values,
        // All generators of a manifest's inputs draw V uniformly.
        Activations::Drawn | Activations::Numpy => Values::Uniform,
    };
    let shape = [case.k, case.n];
    (values, Stream::new(case.seed, "V.timed", &shape, case.dtype, Some(secret)))
}

/// Fills the V of a call, in f32.
pub fn draw(case: &Case, secret: &str, number: u64, v: &mut [f32]) {
    let (values, stream) = stream(case, secret);
    let first = number * v.len() as u64;
    // In the current pool, a megabyte at a time.
    const PART: usize = 1 << 18;
    v.par_chunks_mut(PART).enumerate().for_each(|(at, part)| {
        fill_synthetic(values, &stream, case.dtype, first + (at * PART) as u64, part);
    });
}

/// The same stream for a device that draws for itself.
pub fn drawing(case: &Case, secret: &str) -> Drawing {
    let (values, stream) = stream(case, secret);
    let key = stream.key();
    let (words, _) = key.as_chunks::<4>();
    let word = |i: usize| words.get(i).map_or(0, |bytes| u32::from_le_bytes(*bytes));
    Drawing { key: std::array::from_fn(word), values: values.name().into(), dtype: case.dtype }
}

/// The check of outputs of timed calls.
pub struct Checker<'a> {
    case: &'a Case,
    a: ArrayView2<'a, f32>,
    isa: Isa,
    threads: usize,
    /// The largest sum of magnitudes in a row of A; `exact` only.
    row_max: f64,
    /// Each contender's, by its name.
    errors: Mutex<BTreeMap<String, Seen>>,
}

impl<'a> Checker<'a> {
    pub fn new(case: &'a Case, a: ArrayView2<'a, f32>, isa: Isa, threads: usize) -> Checker<'a> {
        let sum = |row: ArrayView2<'_, f32>| row.iter().map(|x| f64::from(x.abs())).sum::<f64>();
        let row_max = match case.arithmetic {
            Arithmetic::Exact => a.axis_chunks_iter(Axis(0), 1).map(sum).fold(0.0, f64::max),
            Arithmetic::F32Chain(_)
            | Arithmetic::TensorCore(_)
            | Arithmetic::Bf16Dot(_)
            | Arithmetic::FixedPoint
            | Arithmetic::Bounded => 0.0,
        };
        Checker { case, a, isa, threads, row_max, errors: Mutex::default() }
    }

    /// Notes how far drawn elements of a contender's first calls lie from the binary64 sum.
    pub fn note_error(&self, name: &str, called: &Called) {
        let Part::Block { rows, .. } = &called.part else { return };
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = errors.entry(name.to_owned()).or_default();
        if seen.is_enough() {
            return;
        }
        let a = self.a.select(Axis(0), rows);
        let columns: Vec<Vec<f32>> =
            called.v.columns().into_iter().map(|column| column.to_vec()).collect();
        let (rows, cols) = called.y.dim();
        // In the current pool; added one after the other, so that a record does not depend on threads.
        let references = (0..rows * cols).into_par_iter().map(|at| {
            let row = a.row(at / cols);
            bounded::reference(row.to_slice().unwrap_or_default(), &columns[at % cols])
        });
        let references: Vec<f64> = references.collect();
        for (y_ref, y) in references.into_iter().zip(called.y.iter()) {
            seen.add(y_ref, *y);
        }
    }

    /// Sets what [`Checker::note_error`] noted.
    pub fn set_errors(&self, timings: &mut CaseTimings) {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        for timed in std::iter::once(&mut timings.operator).chain(&mut timings.baselines) {
            timed.error = errors.get(&timed.name).and_then(Seen::report);
        }
    }

    /// An error unless a rival's output lies within the bound: any order of summation in binary32.
    fn rival(&self, called: &Called) -> Result<(), String> {
        self.within(called, Summation::Binary32, Dtype::F32, Dtype::F32)
    }

    /// Summed so, of A and V of `dtype`, and then rounded to `output`.
    pub fn within(
        &self,
        called: &Called,
        summation: Summation,
        output: Dtype,
        dtype: Dtype,
    ) -> Result<(), String> {
        let place = |i, j| called.part.place(i, j);
        self.tolerance(called, dtype)?.check_at(summation, called.y.view(), output, &place)
    }

    fn tolerance(&self, called: &Called, dtype: Dtype) -> Result<Tolerance, String> {
        let v = called.v.view();
        let made = match &called.part {
            Part::Whole => Tolerance::for_dtype(self.a, v, dtype, self.isa, self.threads),
            Part::Block { rows, .. } => {
                let a = self.a.select(Axis(0), rows);
                Tolerance::for_dtype(a.view(), v, dtype, self.isa, 1)
            }
        };
        made.map_err(|error| error.to_string())
    }

    /// An error unless an output of the operator under test is right: bit for bit where its arithmetic has a bit
    /// contract, else within its bound. Elements are recomputed by the scalar rule, a whole output by the dense
    /// reference.
    pub fn operator(&self, called: &Called) -> Result<(), String> {
        let case = self.case;
        let largest = called.v.iter().fold(0.0f64, |largest, x| largest.max(f64::from(x.abs())));
        // A sum that might not be exact has no bits to ask for.
        let is_certified =
            case.arithmetic != Arithmetic::Exact || self.row_max * largest < f64::from(1 << 24);
        if !case.arithmetic.has_bit_contract() || !is_certified {
            return self.within(called, Summation::Binary32, case.output, Dtype::F32);
        }
        let want = match &called.part {
            Part::Block { rows, .. } => {
                let a = self.a.select(Axis(0), rows);
                let columns: Vec<Vec<f32>> =
                    called.v.columns().into_iter().map(|column| column.to_vec()).collect();
                let (rows, cols) = called.y.dim();
                // In the current pool.
                let elements = (0..rows * cols).into_par_iter().map(|at| {
                    case.rule(a.row(at / cols).to_slice().unwrap_or_default(), &columns[at % cols])
                });
                Array2::from_shape_vec((rows, cols), elements.collect())
                    .map_err(|error| error.to_string())?
            }
            Part::Whole => self.reference(called.v.view()).map_err(|error| error.to_string())?,
        };
        let mut got = Array2::clone(&called.y);
        positive_zeros(&mut got);
        let differs = |(got, want): (&f32, &f32)| got.to_bits() != want.to_bits();
        match got.iter().zip(&want).position(differs) {
            None => Ok(()),
            Some(at) => {
                let (i, j) = (at / got.ncols(), at % got.ncols());
                let (row, column) = called.part.place(i, j);
                Err(format!(
                    "a timed call gave {:#010x} at (row {row}, column {column}), want {:#010x}",
                    got[[i, j]].to_bits(),
                    want[[i, j]].to_bits()
                ))
            }
        }
    }

    fn reference(&self, v: ArrayView2<'_, f32>) -> Result<Array2<f32>, crate::operator::Error> {
        let Case { arithmetic, output, .. } = *self.case;
        let reference = DenseReference { arithmetic, output, isa: self.isa };
        let mut staged = Staged::default();
        reference.stage(v, &mut staged, self.threads)?;
        let mut y = Array2::from_elem((self.a.nrows(), v.ncols()), f32::NAN);
        reference.build(self.a)?.apply(v, &staged, y.view_mut(), self.threads)?;
        positive_zeros(&mut y);
        Ok(y)
    }
}
