//! One case from manifest to record: inputs, bits, verdict, measurement.

mod device;
mod device_stack;
mod held;
mod own_device;
mod published_inputs;
mod spot;
mod stack;
mod stranger;
mod timing;

use record::shared::{NOT_RIGHT, SharedOutputs};
use std::sync::Arc;
use std::time::Instant;

use ndarray::Array2;

use crate::backend::cpu::{Isa, fill_synthetic};
use crate::check::bits;
use crate::check::bits::{Bits, CaseError, Maker, Outputs, Subject};
use crate::check::explain;
use crate::check::explain::MadeBy;
use crate::check::memory::{is_held_whole, needed_bytes};
use crate::machine;
use crate::operator::{DenseReference, Operator, OperatorFor};
use crate::panics;
use crate::published;
use crate::weights::{Checkpoint, is_moderate};
use crate::weights::{FaultKind, WeightsError};
use crate::worker::{Place, RemoteDevice, RemoteOwn};
use contract::arithmetic::Arithmetic;
use contract::case::{Activations, Case, Weights as Origin};
use contract::digest::{Digest, TensorHasher, root_of, short};
use contract::inputs;
use contract::inputs::source::{Held, Source, SourceError, Synthetic};
use contract::inputs::spec::Pattern;
use contract::inputs::{Recipe, RowRanking, Weights};
use contract::perturbation::Perturbation;
use contract::published::{Drawn, Hardware, NumpyUniform, NumpyValues};
use record::exit;
use record::expected::{Entry, Expected, Pruned, Tensors};
use record::manifest::Manifest;
use record::verdict::Verdict;
use record::{BitsRecord, CaseRecord, Stopped};

pub use held::HeldInputs;
pub use spot::{Asked as SpotAsked, Known};
pub use stranger::UnderTest;
pub use timing::{Measuring, random_text};

/// How to audit, the same for all cases of a run.
pub struct Auditor<'a> {
    pub isa: Isa,
    pub threads: usize,
    pub nonce: Option<String>,
    /// `None`: bits only.
    pub measuring: Option<Measuring>,
    /// Where our own operator runs instead of on the CPU.
    pub device: Option<Arc<RemoteDevice>>,
    /// The operator under test, where it is not our own.
    pub stranger: Option<UnderTest>,
    pub weights: crate::weights::Resolver,
    /// Whether weights of cases that are not required are downloaded as well.
    pub fetches_optional: bool,
    pub operator: &'a OperatorFor,
    pub held: HeldInputs,
    /// Output digests seen, to find one that different weights share.
    pub seen: SharedOutputs,
}

/// One case to audit.
pub struct Task<'a> {
    pub manifest: &'a Manifest,
    pub case: &'a Case,
    /// The committed digests, and the name of their file.
    pub expected: &'a Expected,
    pub expected_file: &'a str,
    /// Told of rows done, of the case's m.
    pub progress: &'a (dyn Fn(usize) + Sync),
}

/// Outputs of a case that came back, and what they are called in its record.
pub struct Returned<'a> {
    pub name: &'a str,
    pub outputs: &'a Outputs<'a>,
}

/// What outputs had to be made from, by digests.
pub struct Inputs {
    pub a: Digest,
    pub v: Digest,
    /// `None` where the perturbation test does not apply.
    pub v2: Option<Digest>,
    /// As above.
    pub changes: Option<Arc<Perturbation>>,
}

/// Why a layer of a stack has no timing.
const OF_STACK: &str = "not measured: a layer of a stack";
/// The same of its end, where it could have one.
const STACK_ON_DEVICE: &str =
    "not measured: a stack is timed as a whole, on a device, by our own operator";

/// Why a rule of CPUs has no timing in a run on a device.
const OF_CPUS: &str = "not measured: a rule of CPUs, which no kernel of a device follows";

/// Why outputs made elsewhere have no timing.
const ELSEWHERE: &str = "not measured: made elsewhere";

/// A case's outcome: the record, and the entry to commit.
pub struct Outcome {
    pub record: CaseRecord,
    /// What to commit, and the digests of the dense output's row panels; `Err` says why the case must not be pinned.
    pub entry: Result<(Entry, Vec<Digest>), String>,
}

impl Auditor<'_> {
    /// Audits one case.
    pub fn audit(&mut self, task: &Task<'_>) -> CaseRecord {
        self.conclude(task, None, |_, _, _| Ok(())).0
    }

    /// Audits outputs of one case that were made elsewhere, and says what they had to be made from. Nothing is measured,
    /// and no operator is run.
    pub fn audit_outputs(
        &mut self,
        task: &Task<'_>,
        returned: &Returned<'_>,
    ) -> (CaseRecord, Result<Inputs, String>) {
        let threads = self.threads;
        let inputs = |_: &Case, prepared: &Prepared, _| {
            let bits = &prepared.bits;
            let of = |p: &Perturbation| p.change_activations(prepared.v.view(), threads);
            let hashed = |v2: Array2<f32>| {
                let mut hasher = TensorHasher::new(task.case.dtype, v2.nrows(), false);
                hasher.update(&v2);
                hasher.finish().digest
            };
            let v2 = bits.changes.as_deref().map(of).map(hashed);
            Ok(Inputs { a: bits.a.digest, v: bits.v.digest, v2, changes: bits.changes.clone() })
        };
        self.conclude(task, Some(returned), inputs)
    }

    /// Audits one case that is to be pinned. Whether its data show which arithmetic ran is asked here only: it is asked
    /// on one thread, by the scalar rule.
    pub fn audit_to_pin(&mut self, task: &Task<'_>) -> Outcome {
        let (record, entry) = self.conclude(task, None, entry);
        Outcome { record, entry }
    }

    /// The record of a case, and what `make` gives for it: `make` sees the same findings, and which case shares the
    /// output digest. A panic
    /// keeps the case from being run, and no other. What is left of the auditor is sound: inputs are held once they are
    /// complete, digests are noted once they are computed, and a device says itself what it can no longer do.
    fn conclude<T>(
        &mut self,
        task: &Task<'_>,
        returned: Option<&Returned<'_>>,
        make: impl FnOnce(&Case, &Prepared, Option<String>) -> Result<T, String>,
    ) -> (CaseRecord, Result<T, String>) {
        let started = Instant::now();
        panics::catch(|| self.examine(task, returned, make)).unwrap_or_else(|panicked| {
            let mut record = blank(task.manifest, task.case);
            record.device = self.device.as_ref().map(|device| device.info.name.clone());
            record.exit_code = exit::of_verdict(Verdict::NotRun, Some(exit::ENVIRONMENT));
            record.reasons = vec![panicked.to_string()];
            record.seconds = started.elapsed().as_secs_f64();
            (record, Err(panicked.to_string()))
        })
    }

    fn examine<T>(
        &mut self,
        task: &Task<'_>,
        returned: Option<&Returned<'_>>,
        make: impl FnOnce(&Case, &Prepared, Option<String>) -> Result<T, String>,
    ) -> (CaseRecord, Result<T, String>) {
        let Task { manifest, case, expected, expected_file, progress } = *task;
        let started = Instant::now();
        let mut record = blank(manifest, case);
        record.device = self.device_of(case).map(|device| device.info.name.clone());
        let made = match self.bits(manifest, case, returned, progress) {
            Ok(prepared) => {
                let committed = expected.cases.get(&case.id);
                let nonce = self.nonce.is_some();
                let Bits { a, v, operator, .. } = &prepared.bits;
                let shared = self.seen.note(&case.id, a.digest, v.digest, operator.digest);
                let made_by = match returned {
                    None => MadeBy::Operator,
                    Some(Returned { outputs, .. }) => {
                        MadeBy::Elsewhere { perturbed: outputs.perturbed }
                    }
                };
                let (bits, reasons) = explain::explain(
                    case,
                    &prepared.bits,
                    committed,
                    expected_file,
                    nonce,
                    made_by,
                );
                record.reasons = reasons;
                record.reasons.extend(shared.clone());
                record.bits = Some(BitsRecord { operator: prepared.operator_name.clone(), ..bits });
                record.stopped = None;
                record.weights_note = prepared.note.clone();
                record.verdict = record::derive::verdict(&record, shared.is_some());
                record.exit_code = exit::of_verdict(record.verdict, None);
                let made = make(case, &prepared, shared);
                match returned {
                    None => self.measure(manifest, case, &prepared, &mut record),
                    Some(_) => record.measurement_reason = Some(ELSEWHERE.to_owned()),
                }
                self.held.keep_activations(case, prepared.v);
                made
            }
            Err(Stop { kind, reason }) => {
                record.stopped = Some(kind);
                record.verdict = record::derive::verdict(&record, false);
                record.exit_code = exit::of_verdict(record.verdict, Some(kind.code()));
                record.reasons = vec![reason.clone()];
                Err(reason)
            }
        };
        record.seconds = started.elapsed().as_secs_f64();
        (record, made)
    }

    /// The device on which a case's operator runs. Rules of CPUs have no kernel there: our own operator follows them on the
    /// CPU, whatever the others run on.
    fn device_of(&self, case: &Case) -> Option<&Arc<RemoteDevice>> {
        let is_of_cpus = matches!(case.arithmetic, Arithmetic::Bf16Dot(_));
        self.device.as_ref().filter(|_| self.stranger.is_some() || !is_of_cpus)
    }

    /// The operator under test, where it is to run.
    fn operator_for(&self, case: &Case) -> Box<dyn Operator> {
        match self.device_of(case) {
            None => (self.operator)(case, self.isa),
            Some(device) => {
                Box::new(RemoteOwn { device: device.clone(), contender: device::own(case) })
            }
        }
    }

    /// A, and what is known of it.
    pub fn weights(&mut self, manifest: &Manifest, case: &Case) -> Result<Made, Stop> {
        let mut ranking = self.held.ranking(case);
        let weights = self.weights_by(manifest, case, &mut ranking);
        self.held.keep_ranking(case, ranking);
        weights
    }

    fn weights_by(
        &mut self,
        manifest: &Manifest,
        case: &Case,
        ranking: &mut Option<RowRanking>,
    ) -> Result<Made, Stop> {
        let Unpruned { source, is_moderate, note, only_stated } =
            self.source(manifest, case, true)?;
        let (recipe, threads) = (case.recipe(), self.threads);
        let weights = match case.weights {
            Origin::Synthetic(values) => recipe.synthetic(values, source, ranking, threads),
            // The mask is the generator's own.
            Origin::Numpy => {
                let recipe = Recipe { pattern: Pattern::None, ..recipe };
                recipe.prune(source, ranking, threads)
            }
            Origin::Drawn(_) | Origin::File { .. } | Origin::Hub { .. } => {
                recipe.prune(source, ranking, threads)
            }
        };
        let weights = weights.map_err(CaseError::from)?;
        Ok(Made { weights, is_moderate, note, only_stated })
    }

    /// A before it is pruned; if `is_held` all of it, where it is small enough, for this case and those that follow.
    fn source(
        &mut self,
        manifest: &Manifest,
        case: &Case,
        is_held: bool,
    ) -> Result<Unpruned, Stop> {
        let recipe = case.recipe();
        let (mut note, mut only_stated) = (None, None);
        let (shape, threads) = ((case.m, case.k), self.threads);
        let (source, is_moderate) = match &case.weights {
            Origin::Drawn(hardware) => {
                let (a, _) = drawn(case, *hardware)?;
                // Parts of it cost four times as much as the whole.
                let whole = |a: &Drawn| match is_held {
                    true => Held::filled(shape, |values| a.fill(0, values, threads)),
                    false => Ok(None),
                };
                (self.held.source(case, a, whole)?, true)
            }
            Origin::Numpy => {
                let generator = NumpyUniform { seed: case.seed };
                let read = |source: &NumpyValues| read(source, is_held, shape, threads);
                let values = self.held.source(case, generator.values(case.k), read);
                let values = values.map_err(CaseError::from)?;
                let masked = generator.masked(values, shape, case.sparsity);
                (Box::new(masked) as Box<dyn Source>, true)
            }
            Origin::Synthetic(values) => {
                let read = |source: &Synthetic| read(source, is_held, shape, threads);
                let source = self.held.source(case, recipe.values(*values, fill_synthetic), read);
                (source.map_err(CaseError::from)?, true)
            }
            origin @ (Origin::File { .. } | Origin::Hub { .. }) => {
                let found = self.found(manifest, case, origin)?;
                note = found.note;
                only_stated = found.is_stated.then_some(found.sha256);
                let checkpoint = Checkpoint { tensor: found.tensor, dtype: case.dtype };
                let read = |source: &Checkpoint| read(source, is_held, shape, threads);
                let source = self.held.source(case, checkpoint, read);
                (source.map_err(CaseError::from)?, is_moderate(&found.stats))
            }
        };
        Ok(Unpruned { source, is_moderate, note, only_stated })
    }

    /// A case's tensor, downloaded where it must be.
    fn found(
        &self,
        manifest: &Manifest,
        case: &Case,
        origin: &Origin,
    ) -> Result<crate::weights::Source, WeightsError> {
        match case.required || self.fetches_optional {
            true => self.weights.resolve(&manifest.path, origin, case.m, case.k),
            false => self.weights.resolve_here(&manifest.path, origin, case.m, case.k),
        }
    }

    fn bits(
        &mut self,
        manifest: &Manifest,
        case: &Case,
        returned: Option<&Returned<'_>>,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Prepared, Stop> {
        let device_bytes = self.device_of(case).map(|device| device.info.memory_bytes);
        let bytes = needed_bytes(case, self.threads, device_bytes);
        machine::require(bytes).map_err(CaseError::Environment)?;
        if let Some(device) = self.device_of(case) {
            device.revive(Place::Custodian);
        }
        let known = self.held.take_activations(case);
        let Made { weights, is_moderate, note, only_stated } = self.weights(manifest, case)?;
        let v = match known {
            Some(v) => v,
            None => self.activations(manifest, case)?,
        };
        let operator = self.operator_for(case);
        let reference =
            DenseReference { arithmetic: case.arithmetic, output: case.output, isa: self.isa };
        let is_whole = |device: &&Arc<RemoteDevice>| is_held_whole(case, device.info.memory_bytes);
        let on_device = self.device_of(case).filter(is_whole);
        let ask = |asked: &bits::Asked<'_>| match (&self.stranger, on_device) {
            (Some(under_test), _) => under_test.ask(case, &weights, asked, self),
            (None, Some(device)) => own_device::ask(device, case, &weights, asked, self.threads),
            (None, None) => unreachable!("asked only of an operator of another process"),
        };
        let subject = Subject {
            case,
            weights: &weights,
            weights_are_moderate: is_moderate,
            v,
            maker: match (returned, &self.stranger) {
                (Some(returned), _) => Maker::Elsewhere(returned.outputs),
                (None, Some(_)) => Maker::Stranger(&ask),
                (None, None) if on_device.is_some() => Maker::OnDevice(&ask, &*operator),
                (None, None) => Maker::Operator(&*operator),
            },
            reference: &reference,
            options: bits::Options {
                threads: self.threads,
                nonce: self.nonce.clone(),
                is_remote: self.device_of(case).is_some() && on_device.is_none(),
                keeps_dense: case.stack.is_some(),
            },
        };
        let mut bits = bits::run(&subject, progress)?;
        let Subject { v, .. } = subject;
        let operator_name = match (returned, &self.stranger) {
            (Some(returned), _) => returned.name.to_owned(),
            (None, Some(under_test)) => under_test.name().to_owned(),
            (None, None) => operator.name(),
        };
        if let Some(output) = bits.dense_output.take() {
            self.held.go_on(case, output, self.threads);
        }
        Ok(Prepared { weights, v, operator_name, bits, note, only_stated })
    }

    /// Measures what was verified; else says why not.
    fn measure(
        &mut self,
        manifest: &Manifest,
        case: &Case,
        prepared: &Prepared,
        record: &mut CaseRecord,
    ) {
        let is_right = record.verdict.satisfies() || record.verdict == Verdict::Unpinned;
        let measuring = match (&self.measuring, &manifest.platform) {
            (None, _) => Err("not measured (--no-measure)".to_owned()),
            (Some(measuring), Some(platform)) if self.is_other_hardware(measuring, platform) => {
                Err(format!("not measured (needs {platform})"))
            }
            _ if !is_right => Err(NOT_RIGHT.to_owned()),
            _ if self.device.is_some() && self.device_of(case).is_none() => Err(OF_CPUS.to_owned()),
            _ => match &case.stack {
                Some(place) if !place.is_end() => Err(OF_STACK.to_owned()),
                Some(_) if self.device.is_none() || self.stranger.is_some() => {
                    Err(STACK_ON_DEVICE.to_owned())
                }
                Some(_) | None => Ok(()),
            },
        };
        // Made before anything of the auditor is lent.
        let whole = case.stack.as_ref().map(|place| {
            measuring.clone().and_then(|()| {
                panics::catch(|| self.whole(manifest, case, place))
                    .unwrap_or_else(|panicked| Err(format!("not measured: {panicked}")))
            })
        });
        let measuring = measuring.and_then(|()| {
            self.measuring.as_ref().ok_or_else(|| "not measured (--no-measure)".to_owned())
        });
        let Prepared { weights, v, bits, .. } = prepared;
        let mut wrong = None;
        // A panic gives no timings, and the bits are as they were found. What all cases are measured with is made
        // once and not changed after that.
        let measured = panics::catch(|| match (measuring, &self.device) {
            (Err(reason), _) => Err(reason),
            (Ok(measuring), Some(device)) => {
                let found = match (&case.stack, whole) {
                    (Some(place), Some(whole)) => {
                        device_stack::measure(case, place, &whole?, bits, device, self, measuring)
                    }
                    _ => device::measure(case, weights, v, bits, device, self, measuring),
                };
                found.map(|found| {
                    wrong = found.wrong;
                    record.baselines = found.baselines;
                    record.baselines_missing = found.missing;
                    found.timings
                })
            }
            (Ok(measuring), None) => timing::measure(case, weights, self, measuring).map(|found| {
                wrong = found.wrong;
                record.baselines_missing = found.missing;
                found.timings
            }),
        });
        let measured = measured.unwrap_or_else(|panicked| Err(format!("not measured: {panicked}")));
        match measured {
            // Of a stranger a wrong output is a finding about its bits, whenever it was made.
            Ok(_) if self.stranger.is_some() && wrong.is_some() => {
                let why = wrong.unwrap_or_default();
                if let Some(bits) = &mut record.bits {
                    bits.broken.push(format!("operator under test, timed: {why}"));
                    bits.implementations_agree = false;
                }
                record.reasons.push(format!("operator under test, timed: {why}"));
                record.verdict = record::derive::verdict(record, false);
                record.exit_code = exit::of_verdict(record.verdict, None);
                record.measurement_reason = Some(NOT_RIGHT.to_owned());
            }
            Ok(timings) => {
                record.measurement = Some(timings);
                record.measurement_reason = None;
            }
            Err(reason) => record.measurement_reason = Some(reason),
        }
    }

    /// Whether timings of a platform cannot be had where the operator runs.
    fn is_other_hardware(&self, measuring: &Measuring, platform: &str) -> bool {
        !measuring.any_platform
            && match &self.device {
                Some(device) => device.info.name != platform,
                None => record::manifest::names_accelerator(platform),
            }
    }
}

/// What is to be committed, or why it must not be.
fn entry(
    case: &Case,
    prepared: &Prepared,
    shared: Option<String>,
) -> Result<(Entry, Vec<Digest>), String> {
    let bits = &prepared.bits;
    let contract = case.arithmetic.has_bit_contract();
    let broken = bits.broken.iter().chain(&bits.out_of_bound).cloned();
    let reasons: Vec<String> =
        shared.into_iter().chain(bits.disagreement()).chain(broken).collect();
    if !reasons.is_empty() {
        return Err(reasons.join("\n"));
    }
    if let Some(tensor) = prepared.only_stated {
        return Err(format!(
            "the manifest's `sha256` of the file was compared with nothing but the hub's word: any bytes would pass\n\
             hint: give the tensor's own `sha256` in the manifest (of the bytes that the hub sends it is {tensor}), or name \
             a folder that has the whole file with `--weights DIR`"
        ));
    }
    match case.arithmetic {
        Arithmetic::TensorCore(model) => {
            contract::distinct::distinguishes(model, case, &prepared.weights, &prepared.v)?;
        }
        Arithmetic::Bf16Dot(instruction) => {
            contract::distinct::distinguishes_instruction(
                instruction,
                case,
                &prepared.weights,
                &prepared.v,
            )?;
        }
        // Chains are what the others are told from; exact sums are all rules' alike, bounds fix no bits, and integers are no
        // model of a device.
        Arithmetic::F32Chain(_)
        | Arithmetic::Exact
        | Arithmetic::FixedPoint
        | Arithmetic::Bounded => {}
    }
    let digest = |hashed: &Option<contract::digest::Hashed>| {
        hashed.as_ref().map(|h| h.digest).filter(|_| contract)
    };
    let last_kept = prepared.weights.last_kept().map_err(|error| error.to_string())?;
    let entry = Entry {
        a: bits.a.digest,
        v: bits.v.digest,
        dense: bits.dense.digest,
        operator: contract.then_some(bits.operator.digest),
        rebuilt: digest(&bits.rebuilt),
        shifted: digest(&bits.shifted),
        tensors: Tensors::of(case),
        order: "row-major".into(),
        arithmetic: case.arithmetic.to_string(),
        model: model_status(case),
        tool: record::tool::tool(),
        confirmed: Vec::new(),
        panels: short(&bits.dense.panels),
        panels_root: Some(root_of(&bits.dense.panels)),
        pruning: last_kept.map(Pruned::from),
    };
    Ok((entry, bits.dense.panels.clone()))
}

/// Why a case stops before there are bits.
pub struct Stop {
    pub kind: Stopped,
    pub reason: String,
}

impl From<CaseError> for Stop {
    fn from(error: CaseError) -> Stop {
        let kind = match error {
            CaseError::Refused(_) => Stopped::Refused,
            CaseError::Environment(_) => Stopped::Environment,
            CaseError::Operator(_) => Stopped::Operator,
        };
        Stop { kind, reason: error.to_string() }
    }
}

impl From<contract::published::Error> for Stop {
    fn from(error: contract::published::Error) -> Stop {
        published::Error::from(error).into()
    }
}

impl From<published::Error> for Stop {
    fn from(error: published::Error) -> Stop {
        Stop { kind: Stopped::Refused, reason: error.to_string() }
    }
}

impl From<WeightsError> for Stop {
    fn from(error: WeightsError) -> Stop {
        let reason = error.to_string();
        let fault = match error {
            WeightsError::DigestMismatch { .. } => FaultKind::Refuted,
            WeightsError::NotFound { .. } => FaultKind::Unavailable,
            WeightsError::Malformed { .. } | WeightsError::Pointer { .. } => FaultKind::Malformed,
            WeightsError::Io { .. } => FaultKind::Environment,
            WeightsError::Hub { fault, .. } => fault.kind,
        };
        let kind = match fault {
            FaultKind::Refuted => Stopped::OtherWeights,
            FaultKind::Unavailable => Stopped::Unavailable,
            FaultKind::Malformed => Stopped::Refused,
            FaultKind::Environment => Stopped::Environment,
        };
        Stop { kind, reason }
    }
}

struct Prepared {
    weights: Weights,
    v: Array2<f32>,
    operator_name: String,
    bits: Bits,
    /// As [`Made`] has them.
    note: Option<String>,
    only_stated: Option<contract::digest::Digest>,
}

/// All of a source, where it is to be held and small enough.
fn read(
    source: &dyn Source,
    is_held: bool,
    shape: (usize, usize),
    threads: usize,
) -> Result<Option<Held>, SourceError> {
    match is_held {
        true => Held::read(source, shape, threads),
        false => Ok(None),
    }
}

/// A before it is pruned, and the rest as [`Made`] has it.
struct Unpruned {
    source: Box<dyn Source>,
    is_moderate: bool,
    note: Option<String>,
    only_stated: Option<contract::digest::Digest>,
}

/// A, and what is known of it.
pub struct Made {
    pub weights: Weights,
    /// Whether it is moderate (VERIFY.md section 6).
    pub is_moderate: bool,
    /// What a reader of the record should know of where it comes from.
    pub note: Option<String>,
    /// The tensor's digest, where the manifest names its file alone and that was compared with nothing but the hub's word.
    pub only_stated: Option<contract::digest::Digest>,
}

/// V, k x n, of a case that stands alone.
fn activations(case: &Case, threads: usize) -> Result<Array2<f32>, Stop> {
    let shape = (case.k, case.n);
    match (case.activations, &case.weights) {
        (Activations::Synthetic(values), _) => {
            Ok(inputs::activations(case.seed, values, shape, case.dtype, fill_synthetic, threads))
        }
        (Activations::Drawn, Origin::Drawn(hardware)) => {
            let (_, v) = drawn(case, *hardware)?;
            v.rows(0..case.k, |first, out| Ok(v.fill(first, out, threads)?))
        }
        (Activations::Numpy, _) => {
            let generator = NumpyUniform { seed: case.seed };
            let mut elements = vec![0.0; case.k * case.n];
            contract::threads::fill(threads, &mut elements, 1 << 18, |first, part| {
                generator.fill(first as u64, part);
            });
            let v = Array2::from_shape_vec(shape, elements);
            Ok(v.unwrap_or_else(|_| unreachable!("sized above")))
        }
        (Activations::Drawn, _) => unreachable!("V is drawn only where A is"),
    }
}

/// A before it is pruned, and V.
fn drawn(case: &Case, hardware: Hardware) -> Result<(Drawn, Drawn), Stop> {
    Ok(hardware.uniform_inputs(case.seed, (case.m, case.k), case.n)?)
}

/// Whether hardware was seen to follow the case's model with chained groups; tensor cores only.
pub fn model_status(case: &Case) -> Option<String> {
    match case.arithmetic {
        Arithmetic::TensorCore(model) => Some(model.status()),
        Arithmetic::Bf16Dot(instruction) => Some(instruction.status()),
        Arithmetic::F32Chain(_)
        | Arithmetic::Exact
        | Arithmetic::FixedPoint
        | Arithmetic::Bounded => None,
    }
}

/// What a case is, as [`CaseRecord::recipe_text`] says it of one that was run.
pub fn recipe_text(manifest: &Manifest, case: &Case) -> String {
    blank(manifest, case).recipe_text()
}

/// A record of a case of which nothing is known yet.
pub fn blank(manifest: &Manifest, case: &Case) -> CaseRecord {
    CaseRecord {
        manifest: manifest.name.clone(),
        id: case.id.clone(),
        section: case.section.clone(),
        required: case.required,
        m: case.m,
        k: case.k,
        n: case.n,
        dtype: case.dtype.to_string(),
        output: case.output.to_string(),
        seed: case.seed,
        weights: case.weights.to_string(),
        activations: case.activations_text(),
        pattern: case.pattern.to_string(),
        sparsity_percent: case.sparsity.to_string(),
        arithmetic: case.arithmetic.to_string(),
        model: model_status(case),
        verdict: Verdict::NotRun,
        device: None,
        reasons: Vec::new(),
        exit_code: exit::NOT_VERIFIED,
        stopped: Some(Stopped::Unavailable),
        bits: None,
        measurement: None,
        measurement_reason: Some("not measured: the case was not run".into()),
        baselines: Vec::new(),
        baselines_missing: Vec::new(),
        stated: None,
        weights_note: None,
        seconds: 0.0,
    }
}
