//! One case from manifest to record: inputs, bits, verdict, measurement.

mod device;
mod held;
mod published_inputs;
mod timing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use ndarray::Array2;

use crate::arithmetic::Arithmetic;
use crate::backend::cpu::Isa;
use crate::backend::cuda::Device;
use crate::check::bits::{self, Bits, CaseError, Subject};
use crate::check::memory::needed_bytes;
use crate::check::verdict::{self, Judgement, Verdict};
use crate::digest::Digest;
use crate::exit;
use crate::expected::{Entry, Expected, Tensors};
use crate::inputs::source::{Checkpoint, Held, Synthetic, is_moderate};
use crate::inputs::weights::{FaultKind, WeightsError};
use crate::inputs::{self, Recipe, RowRanking, Weights};
use crate::machine;
use crate::manifest::{Activations, Case, Manifest, Weights as Origin};
use crate::operator::{DenseReference, OnDevice, Operator, SkipDevice, SkipOperator};
use crate::panics;
use crate::published::{self, Drawn, Hardware, Machine};
use crate::record::{BitsRecord, CaseRecord};

pub use device::{BaselineRecord, Perturbed};
pub use held::HeldInputs;

/// Builds the operator under test for a case.
pub type OperatorFor = dyn Fn(&Case, Isa) -> Box<dyn Operator> + Sync;

/// Our own operator, as the manifest asks for it.
pub fn skip_operator(case: &Case, isa: Isa) -> Box<dyn Operator> {
    Box::new(SkipOperator {
        arithmetic: case.arithmetic,
        output: case.output,
        strategy: case.strategy,
        isa,
    })
}

/// Our own operator for a CUDA device, as the manifest asks for it.
pub fn skip_device(case: &Case, device: &Device) -> SkipDevice {
    SkipDevice::new(case.arithmetic, case.dtype, case.output, case.strategy, device)
}

/// How to audit, the same for all cases of a run.
pub struct Auditor<'a> {
    pub isa: Isa,
    pub threads: usize,
    pub nonce: Option<String>,
    /// `false`: bits only.
    pub measure: bool,
    /// Measure on other hardware than a manifest names as well.
    pub any_platform: bool,
    /// Where our own operator runs instead of on the CPU.
    pub device: Option<Arc<Device>>,
    pub weights: inputs::weights::Resolver,
    pub operator: &'a OperatorFor,
    pub held: HeldInputs,
    /// Output digests seen, to find one that different weights share.
    pub seen: SharedOutputs,
}

/// How the reason begins that [`SharedOutputs`] gives.
pub const VACUOUS: &str = "vacuous output: ";
/// Why there are no timings of a case that is refuted.
pub const NOT_RIGHT: &str = "not measured: the output is not right";

/// (manifest-independent) V and output digests -> A digest and case.
#[derive(Default)]
pub struct SharedOutputs(HashMap<(Digest, Digest), (Digest, String)>);

impl SharedOutputs {
    /// Notes a case's digests; says so if another case with equal V and another A gave the same
    /// output. An output without elements is exempt: there is but one.
    fn note(&mut self, id: &str, a: Digest, v: Digest, output: Digest) -> Option<String> {
        if output == Digest::of(b"") {
            return None;
        }
        match self.0.get(&(v, output)) {
            Some((other_a, other)) if *other_a != a => Some(format!(
                "{VACUOUS}`{other}` has other weights, the same activations and the same \
                 output digest {output}"
            )),
            Some(_) => None,
            None => {
                self.0.insert((v, output), (a, id.to_owned()));
                None
            }
        }
    }

    /// Notes a case of an earlier run, or of another machine's; says so as above.
    pub fn note_record(&mut self, case: &CaseRecord) -> Option<String> {
        let digest = |name| case.bits.as_ref()?.digests.iter().find(|row| row.name == name)?.got;
        self.note(&case.id, digest("a")?, digest("v")?, digest("operator")?)
    }
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

/// A case's outcome: the record, and the entry to commit.
pub struct Outcome {
    pub record: CaseRecord,
    /// `Err` says why the case must not be pinned.
    pub entry: Result<Entry, String>,
}

impl Auditor<'_> {
    /// Audits one case.
    pub fn audit(&mut self, task: &Task<'_>) -> CaseRecord {
        self.conclude(task, |_, _, _| Ok(())).0
    }

    /// Audits one case that is to be pinned. Whether its data show which arithmetic ran is asked here only: it is asked
    /// on one thread, by the scalar rule.
    pub fn audit_to_pin(&mut self, task: &Task<'_>) -> Outcome {
        let (record, entry) = self.conclude(task, entry);
        Outcome { record, entry }
    }

    /// The record of a case, and what else is made of what was found out: with what refutes it beyond its bits. A panic
    /// keeps the case from being run, and no other. What is left of the auditor is sound: inputs are held once they are
    /// complete, digests are noted once they are computed, and a device says itself what it can no longer do.
    fn conclude<T>(
        &mut self,
        task: &Task<'_>,
        make: impl FnOnce(&Case, &Prepared, Option<String>) -> Result<T, String>,
    ) -> (CaseRecord, Result<T, String>) {
        let started = Instant::now();
        panics::catch(|| self.examine(task, make)).unwrap_or_else(|panicked| {
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
        make: impl FnOnce(&Case, &Prepared, Option<String>) -> Result<T, String>,
    ) -> (CaseRecord, Result<T, String>) {
        let Task { manifest, case, expected, expected_file, progress } = *task;
        let started = Instant::now();
        let mut record = blank(manifest, case);
        record.device = self.device.as_ref().map(|device| device.info.name.clone());
        let made = match self.bits(manifest, case, progress) {
            Ok(prepared) => {
                let committed = expected.cases.get(&case.id);
                let nonce = self.nonce.is_some();
                let mut judgement =
                    verdict::judge(case, &prepared.bits, committed, expected_file, nonce);
                let Bits { a, v, operator, .. } = &prepared.bits;
                let shared = self.seen.note(&case.id, a.digest, v.digest, operator.digest);
                let shared_reason = shared.clone();
                if let Some(reason) = shared {
                    judgement.reasons.push(reason);
                    judgement.verdict = Verdict::Mismatch;
                }
                let made = make(case, &prepared, shared_reason);
                record.verdict = judgement.verdict;
                self.measure(manifest, case, &prepared, &mut record);
                let Prepared { v, operator_name, bits, .. } = prepared;
                self.held.keep_activations(case, v);
                fill(&mut record, case, operator_name, bits, judgement);
                made
            }
            Err(Stop::NotRun { code, reason }) => {
                record.exit_code = exit::of_verdict(Verdict::NotRun, Some(code));
                record.reasons = vec![reason.clone()];
                Err(reason)
            }
            Err(Stop::OtherWeights(reason)) => {
                record.verdict = Verdict::Mismatch;
                record.exit_code = exit::REFUTED;
                record.reasons = vec![reason.clone()];
                Err(reason)
            }
        };
        record.seconds = started.elapsed().as_secs_f64();
        (record, made)
    }

    /// The operator under test, where it is to run.
    fn operator_for(&self, case: &Case) -> Box<dyn Operator> {
        match &self.device {
            None => (self.operator)(case, self.isa),
            Some(device) => {
                let operator = Arc::new(skip_device(case, device));
                Box::new(OnDevice { operator, device: device.clone() })
            }
        }
    }

    /// A and whether it is moderate (VERIFY.md section 6).
    pub fn weights(&mut self, manifest: &Manifest, case: &Case) -> Result<(Weights, bool), Stop> {
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
    ) -> Result<(Weights, bool), Stop> {
        let recipe = recipe(case);
        let (shape, threads) = ((case.m, case.k), self.threads);
        let (source, is_moderate) = match &case.weights {
            Origin::Drawn(hardware) => {
                let (a, _) = drawn(case, *hardware)?;
                // Parts of it cost four times as much as the whole.
                let whole = |a: &Drawn| {
                    Held::filled(shape, |values| a.fill(0, values, &Machine::cpu(threads)))
                };
                (self.held.source(case, a, whole)?, true)
            }
            Origin::Synthetic(values) => {
                let read = |source: &Synthetic| Held::read(source, shape, threads);
                let source = self.held.source(case, recipe.values(*values), read);
                (source.map_err(CaseError::from)?, true)
            }
            origin => {
                let found = self.weights.resolve(&manifest.path, origin, case.m, case.k)?;
                let checkpoint = Checkpoint { tensor: found.tensor, dtype: case.dtype };
                let read = |source: &Checkpoint| Held::read(source, shape, threads);
                let source = self.held.source(case, checkpoint, read);
                (source.map_err(CaseError::from)?, is_moderate(&found.stats))
            }
        };
        let weights = match case.weights {
            Origin::Synthetic(values) => recipe.synthetic(values, source, ranking, threads),
            _ => recipe.prune(source, ranking, threads),
        };
        Ok((weights.map_err(CaseError::from)?, is_moderate))
    }

    fn bits(
        &mut self,
        manifest: &Manifest,
        case: &Case,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Prepared, Stop> {
        let bytes = needed_bytes(case, self.threads);
        machine::require(bytes).map_err(CaseError::Environment)?;
        let known = self.held.take_activations(case);
        let (weights, weights_are_moderate) = self.weights(manifest, case)?;
        let v = match known {
            Some(v) => v,
            None => activations(case, self.threads)?,
        };
        let operator = self.operator_for(case);
        let reference =
            DenseReference { arithmetic: case.arithmetic, output: case.output, isa: self.isa };
        let subject = Subject {
            case,
            weights: &weights,
            weights_are_moderate,
            v,
            operator: &*operator,
            reference: &reference,
            options: bits::Options { threads: self.threads, nonce: self.nonce.clone() },
        };
        let bits = bits::run(&subject, progress)?;
        let Subject { v, .. } = subject;
        Ok(Prepared { weights, v, operator_name: operator.name(), bits })
    }

    /// Measures what was verified; else says why not.
    fn measure(
        &self,
        manifest: &Manifest,
        case: &Case,
        prepared: &Prepared,
        record: &mut CaseRecord,
    ) {
        let is_right = record.verdict.satisfies() || record.verdict == Verdict::Unpinned;
        let reason = match (self.measure, &manifest.platform) {
            (false, _) => Some("not measured (--no-measure)".to_owned()),
            (true, Some(platform)) if self.is_other_hardware(platform) => {
                Some(format!("not measured (needs {platform})"))
            }
            _ if !is_right => Some(NOT_RIGHT.to_owned()),
            _ => None,
        };
        let Prepared { weights, v, bits, .. } = prepared;
        // A panic gives no timings, and the bits are as they were found. What all cases are measured with is made
        // once and not changed after that.
        let measured = panics::catch(|| match (reason, &self.device) {
            (Some(reason), _) => Err(reason),
            (None, Some(device)) => {
                device::measure(case, weights, v, bits, device, self).map(|found| {
                    record.baselines = found.baselines;
                    record.baselines_missing = found.missing;
                    found.timings
                })
            }
            (None, None) => {
                let operator = self.operator_for(case);
                timing::measure(case, weights, v, bits, &*operator, self)
            }
        });
        match measured.unwrap_or_else(|panicked| Err(format!("not measured: {panicked}"))) {
            Ok(timings) => {
                record.measurement = Some(timings);
                record.measurement_reason = None;
            }
            Err(reason) => record.measurement_reason = Some(reason),
        }
    }

    /// Whether timings of a platform cannot be had where the operator runs.
    fn is_other_hardware(&self, platform: &str) -> bool {
        !self.any_platform
            && match &self.device {
                Some(device) => device.info.name != platform,
                None => crate::manifest::names_accelerator(platform),
            }
    }
}

/// What is to be committed, or why it must not be.
fn entry(case: &Case, prepared: &Prepared, shared: Option<String>) -> Result<Entry, String> {
    let bits = &prepared.bits;
    let contract = case.arithmetic.has_bit_contract();
    let broken = bits.broken.iter().chain(&bits.out_of_bound).cloned();
    let reasons: Vec<String> =
        shared.into_iter().chain(bits.disagreement()).chain(broken).collect();
    if !reasons.is_empty() {
        return Err(reasons.join("\n"));
    }
    if let Arithmetic::TensorCore(model) = case.arithmetic {
        crate::check::distinct::distinguishes(model, case, &prepared.weights, &prepared.v)?;
    }
    let digest = |hashed: &Option<crate::check::lanes::Hashed>| {
        hashed.as_ref().map(|h| h.digest).filter(|_| contract)
    };
    Ok(Entry {
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
        tool: tool(),
        confirmed: Vec::new(),
        panels: bits.dense.panels.clone(),
    })
}

/// Why a case stops before there are bits.
pub enum Stop {
    /// With the exit code that gives.
    NotRun { code: u8, reason: String },
    /// The weights are not those that the manifest names.
    OtherWeights(String),
}

impl From<CaseError> for Stop {
    fn from(error: CaseError) -> Stop {
        let code = match error {
            CaseError::Refused(_) => exit::BAD_INPUT,
            CaseError::Environment(_) => exit::ENVIRONMENT,
        };
        Stop::NotRun { code, reason: error.to_string() }
    }
}

impl From<published::Error> for Stop {
    fn from(error: published::Error) -> Stop {
        Stop::NotRun { code: exit::BAD_INPUT, reason: error.to_string() }
    }
}

impl From<WeightsError> for Stop {
    fn from(error: WeightsError) -> Stop {
        let reason = error.to_string();
        let kind = match error {
            WeightsError::DigestMismatch { .. } => FaultKind::Refuted,
            WeightsError::NotFound { .. } => FaultKind::Unavailable,
            WeightsError::Malformed { .. } => FaultKind::Malformed,
            WeightsError::Io { .. } => FaultKind::Environment,
            WeightsError::Hub { fault, .. } => fault.kind,
        };
        let code = match kind {
            FaultKind::Refuted => return Stop::OtherWeights(reason),
            FaultKind::Unavailable => exit::NOT_VERIFIED,
            FaultKind::Malformed => exit::BAD_INPUT,
            FaultKind::Environment => exit::ENVIRONMENT,
        };
        Stop::NotRun { code, reason }
    }
}

struct Prepared {
    weights: Weights,
    v: Array2<f32>,
    operator_name: String,
    bits: Bits,
}

pub fn recipe(case: &Case) -> Recipe {
    Recipe {
        seed: case.seed,
        m: case.m,
        k: case.k,
        dtype: case.dtype,
        pattern: case.pattern,
        sparsity: case.sparsity,
    }
}

/// V, k x n.
pub fn activations(case: &Case, threads: usize) -> Result<Array2<f32>, Stop> {
    let shape = (case.k, case.n);
    match (case.activations, &case.weights) {
        (Activations::Synthetic(values), _) => {
            Ok(inputs::activations(case.seed, values, shape, case.dtype, threads))
        }
        (Activations::Drawn, Origin::Drawn(hardware)) => {
            let (_, v) = drawn(case, *hardware)?;
            v.rows(0..case.k, &Machine::cpu(threads)).map_err(Stop::from)
        }
        (Activations::Drawn, _) => unreachable!("V is drawn only where A is"),
    }
}

/// A before it is pruned, and V.
fn drawn(case: &Case, hardware: Hardware) -> Result<(Drawn, Drawn), Stop> {
    Ok(hardware.uniform_inputs(case.seed, (case.m, case.k), case.n)?)
}

/// Name and version, as records and expected files write them.
pub fn tool() -> String {
    concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Whether hardware was seen to follow the case's model with chained groups; tensor cores only.
pub fn model_status(case: &Case) -> Option<String> {
    match case.arithmetic {
        Arithmetic::TensorCore(model) => Some(model.status()),
        _ => None,
    }
}

/// What a case is, as [`CaseRecord::recipe_text`] says it of one that was run.
pub fn recipe_text(manifest: &Manifest, case: &Case) -> String {
    blank(manifest, case).recipe_text()
}

fn blank(manifest: &Manifest, case: &Case) -> CaseRecord {
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
        activations: case.activations.name().to_owned(),
        pattern: case.pattern.to_string(),
        sparsity_percent: case.sparsity.to_string(),
        arithmetic: case.arithmetic.to_string(),
        model: model_status(case),
        verdict: Verdict::NotRun,
        device: None,
        reasons: Vec::new(),
        exit_code: exit::NOT_VERIFIED,
        bits: None,
        measurement: None,
        measurement_reason: Some("not measured: the case was not run".into()),
        baselines: Vec::new(),
        baselines_missing: Vec::new(),
        seconds: 0.0,
    }
}

fn fill(
    record: &mut CaseRecord,
    case: &Case,
    operator_name: String,
    bits: Bits,
    judgement: Judgement,
) {
    record.verdict = judgement.verdict;
    record.exit_code = exit::of_verdict(judgement.verdict, None);
    record.reasons = judgement.reasons;
    let differs = !bits.difference.is_none();
    let implementations_agree = bits.implementations_agree();
    record.bits = Some(BitsRecord {
        digests: judgement.digests,
        panels_dense: bits.dense.panels,
        panels_operator: bits.operator.panels,
        structure: bits.structure,
        operator: operator_name,
        plan: bits.plan,
        implementations_agree,
        likely_cause: (differs && case.arithmetic.has_bit_contract())
            .then(|| bits.difference.likely_cause().to_owned()),
        difference: bits.difference,
        bound: bits.bound,
        recomputed: bits.recomputed,
        negative_zeros_operator: bits.negative_zeros[0],
        negative_zeros_dense: bits.negative_zeros[1],
        // Numbers that are not finite have no place in JSON; such outputs are refused.
        dense_max: Some(bits.dense_max).filter(|max| max.is_finite()),
        certificate: bits.certificate,
        perturbation: bits.perturbation,
        broken: bits.broken.into_iter().chain(bits.out_of_bound).collect(),
    });
}
