//! One case's bits: makes the inputs, runs operator and dense reference panel by panel, hashes
//! everything, and notes every promise that broke. Holds a few row panels and V, never all of A.
//! In place of an operator's outputs stand such that were made elsewhere, read by the same panels.

mod job;
mod samples;

use record::bits::Structure;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ndarray::{Array2, ArrayView2, s};

use self::job::{Job, Made, Perturbed, Shifted, column_max};
use self::samples::Samples;
use super::lanes::Lanes;
use super::tally::Tally;
use crate::backend::cpu::float_environment_is_ieee;
use crate::operator;
use crate::operator::{Operator, Staged};
use crate::panics;
use crate::tensors::TensorFile;
use contract::case::Case;
use contract::digest::{Hashed, TensorHasher};
use contract::inputs::Weights;
use contract::inputs::source::SourceError;
use contract::perturbation::Perturbation;
use contract::perturbation::{self, Unperturbed};
use contract::threads;
use record::compare::difference_in_words;
use record::compare::{Accuracy, BoundReport, Difference};

/// Why a case has no bits to judge.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CaseError {
    /// The inputs are outside what can be verified.
    #[error("{0}")]
    Refused(String),
    /// The machine failed.
    #[error("{0}")]
    Environment(String),
    /// The operator under test gave no outputs.
    #[error("{0}")]
    Operator(String),
}

impl From<SourceError> for CaseError {
    fn from(error: SourceError) -> CaseError {
        match error {
            SourceError::Refused(message) => CaseError::Refused(message),
            SourceError::Environment(message) => CaseError::Environment(message),
        }
    }
}

impl From<operator::Error> for CaseError {
    fn from(error: operator::Error) -> CaseError {
        match error {
            operator::Error::Unsupported(message) => CaseError::Refused(message),
            operator::Error::Environment(message) => CaseError::Environment(message),
        }
    }
}

/// How to go about it.
#[derive(Clone, Debug)]
pub struct Options {
    pub threads: usize,
    /// An auditor's text: other perturbations, compared with the local reference only.
    pub nonce: Option<String>,
    /// Whether the operator runs in another process: its chunks are as large as they get then.
    pub is_remote: bool,
    /// Whether the dense reference's output is kept whole.
    pub keeps_dense: bool,
}

/// What is being verified.
pub struct Subject<'a> {
    pub case: &'a Case,
    pub weights: &'a Weights,
    /// Whether scaling by 8 can neither overflow nor meet subnormals (VERIFY.md section 6).
    pub weights_are_moderate: bool,
    pub v: Array2<f32>,
    pub maker: Maker<'a>,
    pub reference: &'a dyn Operator,
    pub options: Options,
}

/// Who made the outputs that are judged.
#[derive(Clone, Copy)]
pub enum Maker<'a> {
    /// An operator, which is called here.
    Operator(&'a dyn Operator),
    /// Somebody elsewhere.
    Elsewhere(&'a Outputs<'a>),
    /// A stranger's operator, which is asked for whole outputs.
    Stranger(&'a Ask<'a>),
    /// Our own operator on a device, which is asked for whole outputs while the reference is computed here. It is called
    /// itself with inputs that change where they lie.
    OnDevice(&'a Ask<'a>, &'a dyn Operator),
}

/// Asks an operator of another process.
pub type Ask<'a> = dyn Fn(&Asked<'_>) -> Result<Answer, CaseError> + Sync + 'a;

/// What such an operator is asked for: A V, and where the perturbation test applies A1 V and A V2.
pub struct Asked<'a> {
    pub v: ArrayView2<'a, f32>,
    /// V2, and the elements in which A1 differs from A.
    pub perturbed: Option<(&'a Array2<f32>, &'a Perturbation)>,
}

/// What it gave.
pub struct Answer {
    pub y: Box<dyn Rows>,
    pub rebuilt: Option<Box<dyn Rows>>,
    pub shifted: Option<Box<dyn Rows>>,
    /// Promises that it broke, in words.
    pub broken: Vec<String>,
    /// How it held A, and why.
    pub plan: String,
}

/// An output that is there whole.
pub struct Whole(pub Array2<f32>);

impl Rows for Whole {
    fn rows(&self, rows: Range<usize>) -> Result<Array2<f32>, CaseError> {
        Ok(self.0.slice(s![rows, ..]).to_owned())
    }
}

/// Outputs of a case that were made elsewhere.
pub struct Outputs<'a> {
    /// A V.
    pub y: &'a dyn Rows,
    /// The perturbed ones; `None` where they did not come back.
    pub rebuilt: Option<&'a dyn Rows>,
    pub shifted: Option<&'a dyn Rows>,
    /// Whether perturbed outputs were asked for.
    pub perturbed: bool,
}

/// An output that is there already, by rows.
pub trait Rows: Send + Sync {
    /// Rows of the output, n wide. The values are encoded in the case's output dtype and may be anything else: NaN,
    /// infinite, wrong.
    fn rows(&self, rows: Range<usize>) -> Result<Array2<f32>, CaseError>;
}

/// An output of an answer, waited for.
struct Later<'a> {
    answer: &'a OnceLock<Result<Answer, CaseError>>,
    part: fn(&Answer) -> Option<&dyn Rows>,
}

impl Rows for Later<'_> {
    fn rows(&self, rows: Range<usize>) -> Result<Array2<f32>, CaseError> {
        let answer = self.answer.wait().as_ref().map_err(Clone::clone)?;
        let none = || CaseError::Operator("an output is not there".into());
        (self.part)(answer).ok_or_else(none)?.rows(rows)
    }
}

impl Rows for TensorFile {
    fn rows(&self, rows: Range<usize>) -> Result<Array2<f32>, CaseError> {
        TensorFile::rows(self, rows).map_err(|error| CaseError::Environment(error.to_string()))
    }
}

/// The dense reference with V staged.
pub struct Reference<'a> {
    operator: &'a dyn Operator,
    v: ArrayView2<'a, f32>,
    staged: Staged,
}

impl<'a> Reference<'a> {
    pub fn new(
        operator: &'a dyn Operator,
        v: ArrayView2<'a, f32>,
        threads: usize,
    ) -> Result<Reference<'a>, CaseError> {
        let mut staged = Staged::default();
        operator.stage(v, &mut staged, threads)?;
        Ok(Reference { operator, v, staged })
    }

    /// Y for some rows of A, -0 made +0.
    pub fn apply(&self, a: ArrayView2<'_, f32>) -> Result<Array2<f32>, CaseError> {
        let mut y = Array2::from_elem((a.nrows(), self.v.ncols()), f32::NAN);
        self.operator.build(a)?.apply(self.v, &self.staged, y.view_mut(), 1)?;
        positive_zeros(&mut y);
        Ok(y)
    }
}

/// What was found out about a case's bits.
#[derive(Clone, Debug)]
pub struct Bits {
    pub a: Hashed,
    pub v: Hashed,
    pub dense: Hashed,
    pub operator: Hashed,
    /// `None` where the perturbation test does not apply, or the output did not come back.
    pub rebuilt: Option<Hashed>,
    pub shifted: Option<Hashed>,
    /// Names of the perturbed outputs that were asked for and did not come back.
    pub not_returned: Vec<&'static str>,
    pub structure: Structure,
    /// How the operator held the panels of A, and why.
    pub plan: String,
    /// Operator against dense reference.
    pub difference: Difference,
    /// `bounded` only.
    pub bound: Option<BoundReport>,
    /// Elements recomputed by the scalar rule.
    pub recomputed: u64,
    /// -0 made +0 in the operator's and the dense output.
    pub negative_zeros: [u64; 2],
    /// The largest magnitude of the dense output: how far an output of zeros is from it.
    pub dense_max: f32,
    /// The largest share that an element of the dense output has of its column's Euclidean norm; `None` where every column is
    /// of zeros.
    pub dense_share_max: Option<f32>,
    /// `exact` and fixed-point: the certified bound on every sum.
    pub certificate: Option<u64>,
    /// How far the recomputed elements lie from y_ref, where there is a bit contract.
    pub accuracy: Option<Accuracy>,
    /// The dense reference's output, where it was to be kept.
    pub dense_output: Option<Array2<f32>>,
    /// What changed in the perturbation test, in words.
    pub perturbation: String,
    /// The same, to be done again elsewhere; `None` where the test does not apply.
    pub changes: Option<Arc<Perturbation>>,
    /// Promises that broke, in words that say by what. Empty if all is well.
    pub broken: Vec<String>,
    /// Perturbed outputs that left the bound, in words; `bounded` only.
    pub out_of_bound: Vec<String>,
}

impl Bits {
    /// Where the operator's output is not what the contract makes of the dense reference's.
    pub fn disagreement(&self) -> Option<String> {
        let difference = difference_in_words(&self.difference);
        match &self.bound {
            None => (!self.difference.is_none()).then(|| {
                let cause = self.difference.likely_cause();
                format!("dense reference and operator differ here: {difference}\n  likely cause: {cause}")
            }),
            Some(bound) => bound.first_outside.map(|at| {
                format!(
                    "outside the bound: {} of {} elements; first at (row {}, column {}): {:#010x}, \
                     want {:#010x} ({} ULP)\n  against the reference: {difference}",
                    bound.outside, self.difference.elements, at.row, at.column, at.got, at.want, at.ulps
                )
            }),
        }
    }

    /// Whether operator, dense reference and scalar rule agree with each other, perturbed or not.
    pub fn implementations_agree(&self) -> bool {
        self.disagreement().is_none() && self.broken.is_empty() && self.out_of_bound.is_empty()
    }
}

/// Makes every -0 a +0 and counts them.
pub fn positive_zeros(y: &mut Array2<f32>) -> u64 {
    let y = y.as_slice_mut().unwrap_or_else(|| unreachable!("outputs are row-major"));
    let mut count = 0;
    // Counts of 32 bits, as wide as the elements, so that the loop is vectorised.
    for part in y.chunks_mut(4096) {
        count += u64::from(part.iter().map(|x| u32::from(x.to_bits() == 1 << 31)).sum::<u32>());
        part.iter_mut().for_each(|x| *x += 0.0);
    }
    count
}

/// The largest magnitude; not finite where any of them is not.
pub(super) fn magnitude_max(y: &Array2<f32>) -> f32 {
    // As integers, magnitudes have the order of their values, and the loop is vectorised.
    f32::from_bits(y.iter().map(|x| x.to_bits() & !(1 << 31)).max().unwrap_or(0))
}

/// Bytes of A that a thread works on at once, at most, but ...
const CHUNK_BYTES: usize = 8 << 20;
/// ... so many rows, because each chunk fetches all of V: with k = 16384 and n = 512 on two cores, 512 rows were
/// multiplied an eighth faster than 128, ...
const CHUNK_ROWS: usize = 512;
/// ... as long as they stay within this. All threads together get twice as much: some chunks a thread wait to be hashed.
const CHUNK_BYTES_MAX: usize = 32 << 20;
/// Rows and columns of the pass that changes inputs where they lie.
pub(super) const ADDRESS_CHECK_SIZE: usize = 64;
/// Rows below which a chunk is not cut further: kernels work on tiles of rows.
pub(super) const CHUNK_ROWS_MIN: usize = 64;

/// Rows of the largest chunk of an A that is k wide.
pub fn rows_max(k: usize, threads: usize) -> usize {
    let rows_in = |bytes: usize| (bytes / (4 * k.max(1))).max(1);
    let bytes_max = (2 * CHUNK_BYTES_MAX / threads.max(1)).clamp(CHUNK_BYTES, CHUNK_BYTES_MAX);
    rows_in(CHUNK_BYTES).max(CHUNK_ROWS.min(rows_in(bytes_max)))
}

/// Chunks that may be under way or wait to be hashed.
pub(super) fn waiting_max(threads: usize) -> usize {
    2 * threads + 2
}

/// The changes of a case that a perturbation test makes; `None` where the test does not apply.
pub fn perturb(
    unperturbed: &Unperturbed<'_>,
    reference: &Reference<'_>,
) -> Result<Option<Perturbation>, CaseError> {
    require_ieee()?;
    perturbation::choose(unperturbed, &|rows| reference.apply(rows))
}

/// Verifies the bits of a case as far as this machine can say without committed digests.
/// `progress` is told of rows done.
pub fn run(subject: &Subject<'_>, progress: &(dyn Fn(usize) + Sync)) -> Result<Bits, CaseError> {
    require_ieee()?;
    let case = subject.case;
    let (m, k) = (case.m, case.k);
    let threads = subject.options.threads;
    let v = subject.v.view();

    let reference = Reference::new(subject.reference, v, threads)?;
    let unperturbed = Unperturbed {
        case,
        weights: subject.weights,
        weights_are_moderate: subject.weights_are_moderate,
        v,
        nonce: subject.options.nonce.as_deref(),
    };
    let perturbation = perturb(&unperturbed, &reference)?;
    let shifted_v = perturbation.as_ref().map(|p| p.change_activations(v, threads));
    let shifted = match (&perturbation, &shifted_v) {
        (Some(perturbation), Some(v)) => {
            let column = v.column(perturbation.shifted_column()).to_owned();
            let column = column.insert_axis(ndarray::Axis(1));
            Some(Shifted { perturbation, v, column })
        }
        _ => None,
    };
    let answer = OnceLock::new();
    let later = |part| Later { answer: &answer, part };
    let (y, rebuilt, shifted_y) = (
        later(|of| Some(&*of.y)),
        later(|of| of.rebuilt.as_deref()),
        later(|of| of.shifted.as_deref()),
    );
    let returned;
    let ask = |ask: &Ask<'_>| {
        let perturbed = shifted_v.as_ref().zip(perturbation.as_ref());
        let asked = panics::catch(|| ask(&Asked { v, perturbed }));
        asked.unwrap_or_else(|panicked| Err(CaseError::Environment(panicked.to_string())))
    };
    let made = match subject.maker {
        Maker::Operator(operator) => {
            let stage = |v| {
                let mut staged = Staged::default();
                operator.stage(v, &mut staged, threads)?;
                Ok::<_, CaseError>(staged)
            };
            let staged = stage(v)?;
            let shifted = shifted_v.as_ref().map(|v| stage(v.view())).transpose()?;
            Made::Here { operator, staged, shifted }
        }
        Maker::Elsewhere(outputs) => Made::Elsewhere(outputs),
        Maker::Stranger(_) | Maker::OnDevice(..) => {
            if let Maker::Stranger(stranger) = subject.maker {
                // Nothing goes on beside a stranger.
                answer.set(Ok(ask(stranger)?)).unwrap_or_else(|_| unreachable!("set once"));
            }
            let is_perturbed = shifted_v.is_some();
            returned = Outputs {
                y: &y,
                rebuilt: is_perturbed.then_some(&rebuilt),
                shifted: is_perturbed.then_some(&shifted_y),
                perturbed: true,
            };
            Made::Elsewhere(&returned)
        }
    };

    let mut hashers = vec![
        TensorHasher::new(case.dtype, m, false),
        TensorHasher::new(case.output, m, true),
        TensorHasher::new(case.output, m, true),
    ];
    let applies = shifted.is_some();
    let [rebuilt_lane, shifted_lane] = [Perturbed::Rebuilt, Perturbed::Shifted].map(|which| {
        (applies && subject.maker.has(which)).then(|| {
            hashers.push(TensorHasher::new(case.output, m, false));
            hashers.len() - 1
        })
    });
    let lanes = Lanes::new(hashers);
    let job = Job {
        subject,
        reference,
        made,
        shifted,
        rebuilt_lane,
        shifted_lane,
        in_place: match subject.maker {
            Maker::Operator(operator) | Maker::OnDevice(_, operator) => Some(operator),
            // A stranger is given such inputs when it is asked; what was made elsewhere has no addresses here.
            Maker::Stranger(_) | Maker::Elsewhere(_) => None,
        },
        column_max: column_max(case, v),
        samples: Samples::new(case, v),
        lanes: &lanes,
        tally: Mutex::new(Tally::new(case)),
        kept: subject.options.keeps_dense.then(|| Mutex::new(Array2::zeros((m, case.n)))),
    };

    let rows_max = rows_max(k, threads);
    let rows_min = match subject.options.is_remote {
        // Each chunk is sent there and back.
        true => rows_max.max(CHUNK_ROWS_MIN),
        false => CHUNK_ROWS_MIN,
    };
    let chunks = threads::guided(m, rows_min, rows_max.max(rows_min), threads);
    let v_hasher = Mutex::new(TensorHasher::new(case.dtype, k, false));
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    // Whatever goes wrong on a thread, a panic included, is kept here, and the others are woken: nothing is waited for
    // that does not come. All that they share is dropped then.
    let attempt = |work: &mut dyn FnMut() -> Result<(), CaseError>| {
        let ended = panics::catch(work);
        let ended = ended.unwrap_or_else(|p| Err(CaseError::Environment(p.to_string())));
        if let Err(error) = ended {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            failed.store(true, Ordering::Release);
            lanes.wake();
        }
    };
    let hash_v = || {
        attempt(&mut || {
            v_hasher.lock().unwrap_or_else(PoisonError::into_inner).update(&subject.v);
            Ok(())
        });
    };
    std::thread::scope(|scope| {
        // Beside the chunks: V is hashed as one, and nothing waits for it.
        if threads::spawn(scope, hash_v).is_none() {
            hash_v();
        }
        if let Maker::OnDevice(device, _) = subject.maker {
            // Waited for by all chunks, whatever happens.
            let asking = || answer.get_or_init(|| ask(device));
            if threads::spawn(scope, asking).is_none() {
                asking();
            }
        }
        threads::together(threads.min(chunks.len()).max(1), || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                lanes.wait_for_room(index, waiting_max(threads), || failed.load(Ordering::Acquire));
                if index >= chunks.len() || failed.load(Ordering::Acquire) {
                    return;
                }
                attempt(&mut || {
                    job.chunk(index, chunks[index].clone())?;
                    progress(chunks[index].len());
                    Ok(())
                });
            }
        });
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }

    let Job { column_max, tally, kept, .. } = job;
    let words = match &perturbation {
        Some(perturbation) => describe(perturbation),
        None => "does not apply: no element of A or V changes the output".into(),
    };
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.v_max = column_max.iter().copied().max().unwrap_or(0);
    let mut hashed = lanes.finish().into_iter();
    let mut take = || hashed.next().unwrap_or_else(|| unreachable!("one per hasher"));
    let (a, operator, dense) = (take(), take(), take());
    let [rebuilt, shifted] = [rebuilt_lane, shifted_lane].map(|lane| lane.map(|_| take()));
    let v = v_hasher.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    let bits = tally.finish(case, a, v, operator, dense, rebuilt, shifted, words)?;
    let dense_output = kept.map(|kept| kept.into_inner().unwrap_or_else(PoisonError::into_inner));
    let bits = Bits { changes: perturbation.map(Arc::new), dense_output, ..bits };
    Ok(match subject.maker {
        Maker::Operator(_) => bits,
        Maker::Stranger(_) | Maker::OnDevice(..) => {
            let Answer { mut broken, plan, .. } =
                answer.into_inner().unwrap_or_else(|| unreachable!("all chunks had it"))?;
            broken.extend(bits.broken);
            Bits { broken, plan, ..bits }
        }
        Maker::Elsewhere(outputs) => {
            let missing = [("rebuilt", &bits.rebuilt), ("shifted", &bits.shifted)].into_iter();
            let missing = missing.filter(|(_, hashed)| hashed.is_none()).map(|(name, _)| name);
            let not_returned = missing.filter(|_| applies && outputs.perturbed).collect();
            Bits { not_returned, plan: ELSEWHERE.into(), ..bits }
        }
    })
}

/// The plan of outputs that were made elsewhere.
const ELSEWHERE: &str = "made elsewhere";

impl Maker<'_> {
    /// Whether there is such an output; an operator makes each.
    fn has(self, which: Perturbed) -> bool {
        match (self, which) {
            (Maker::Operator(_) | Maker::Stranger(_) | Maker::OnDevice(..), _) => true,
            (Maker::Elsewhere(outputs), Perturbed::Rebuilt) => outputs.rebuilt.is_some(),
            (Maker::Elsewhere(outputs), Perturbed::Shifted) => outputs.shifted.is_some(),
        }
    }
}

/// Why nothing is verified under other modes than those of IEEE 754.
pub const NOT_IEEE: &str = "the processor flushes subnormals to zero or does not round to nearest: a loaded library \
                            changed the floating-point environment";

/// Every thread asks before every pass: loaded libraries set these modes.
fn require_ieee() -> Result<(), CaseError> {
    if float_environment_is_ieee() {
        return Ok(());
    }
    Err(CaseError::Environment(NOT_IEEE.into()))
}

fn describe(p: &Perturbation) -> String {
    let (i, k) = p.live;
    let revived = match p.revived {
        Some((i, k)) => format!(
            ", A[{i},{k}] = 1 in a row {}",
            if p.revived_row_was_dead { "that was dead" } else { "that was not dead" }
        ),
        None => String::new(),
    };
    let (scale, column) = (p.scale(), p.column);
    format!(
        "A[{i},{k}] = {:e}{revived}; V times {scale} with columns permuted and V[{k},{column}] = {:e}",
        p.live_value, p.column_value
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_magnitude_has_no_sign() {
        let of = |values: [f32; 4]| {
            magnitude_max(&Array2::from_shape_vec((2, 2), values.to_vec()).expect("four"))
        };
        assert_eq!(of([1.0, -3.5, 2.0, -0.0]), 3.5);
        assert_eq!(of([-0.0, 0.0, f32::MIN_POSITIVE / 2.0, 0.0]), f32::MIN_POSITIVE / 2.0);
        assert_eq!(magnitude_max(&Array2::zeros((0, 3))), 0.0);
    }
}
