//! Claims beside what was measured: each figure recomputed by its own rule, in a word and a line of arithmetic.
//!
//! A published speed was measured with the publisher's operator. Ours stands in its place here, so that a speed is
//! `attained` or `not-attained` by the open operator and never refuted; what is published of baselines, ratios,
//! bytes, digests and arithmetic is judged in its own right. Knows records only: no device and no clock.

mod accounted;
mod lint;
mod rules;
mod times;
mod totals;

pub use accounted::{Accounted, accounted, reading};
pub use lint::{Explained, Finding, Linted, explain, lint};
pub use times::same_rival;

use crate::claims::{
    Claim, ClaimWord, Figure, Printed, PublishedDigest, Subject, Tensor, ToleranceOf,
};
use crate::claims::{JudgedClaim, PublishedInput, Row, Word, agrees, attained};
use crate::numbers::number;
use crate::{BitsRecord, CaseRecord, ManifestRecord, Record};
use contract::dtype::Dtype;
use contract::published::Scope;
use rules::Context;

/// Every claim about cases of the record, and every one about everything. Claims about cases that were not asked for
/// are left out.
pub fn judge(record: &Record) -> Vec<JudgedClaim> {
    let mut judged = Vec::new();
    for manifest in &record.manifests {
        for claim in &manifest.claims {
            judged.extend(judge_one(record, manifest, claim));
        }
    }
    judged
}

fn judge_one(record: &Record, manifest: &ManifestRecord, claim: &Claim) -> Option<JudgedClaim> {
    let (cases, twin) = match &claim.section {
        Some(section) => match standing_for(record, manifest, claim, section) {
            Some(found) => found,
            // Inputs can be made without a run.
            None if record
                .published_inputs
                .iter()
                .any(|input| input.is_of(&manifest.name, claim)) =>
            {
                (Vec::new(), None)
            }
            None => return None,
        },
        None => (Vec::new(), None),
    };
    let ships = claim.section.as_ref().and_then(|name| {
        let section = manifest.sections.iter().find(|section| section.name == *name)?;
        Some(section.config.as_ref()?.dtype)
    });
    let platform = claim.platform.as_deref().or(manifest.platform.as_deref());
    let who = record.operator.as_ref().map_or("open operator", |operator| operator.name.as_str());
    let subject = Judging { record, claim, cases: &cases, platform, ships, who };
    let mut rows: Vec<Row> = rules::of_claim(claim, &Context { platform, ships })
        .into_iter()
        // Which share a digest covers stands beside the digest.
        .filter(|checked| checked.rule != rules::COVERAGE)
        .map(|checked| Row {
            word: match (checked.holds, checked.rule) {
                (true, _) => Word::Agrees,
                (false, rules::ROOFLINE) => Word::Impossible,
                (false, _) => Word::Differs,
            },
            rule: checked.rule.into(),
            printed: None,
            here: None,
            interval: None,
            measured: false,
            line: checked.line,
        })
        .collect();
    rows.extend(
        totals::same_time(&manifest.claims, claim)
            .map(|(rule, line)| Row { word: Word::Differs, ..Row::not_judged(rule, line) }),
    );
    rows.extend(subject.structure());
    rows.extend(subject.errors());
    rows.extend(subject.tolerance());
    rows.extend(subject.times());
    rows.extend(subject.trend());
    rows.extend(subject.digests(&manifest.name));
    if rows.is_empty() {
        let line = "no figure of it can be recomputed alone (`verify lint` compares claims)";
        rows.push(Row::not_judged("figures", line.into()));
    }
    let word = whose(record, claim, &mut rows);
    Some(JudgedClaim {
        manifest: manifest.name.clone(),
        id: claim.id.clone(),
        section: claim.section.clone(),
        twin,
        cases: cases.iter().map(|case| case.id.clone()).collect(),
        word,
        rows,
    })
}

/// The word of a claim, by whose operator ran: what the publisher's own reaches is reproduced, or not.
fn whose(record: &Record, claim: &Claim, rows: &mut [Row]) -> ClaimWord {
    let Some(operator) = &record.operator else { return JudgedClaim::word_of(rows) };
    if claim.operator == Some(operator.sha256) {
        for row in rows.iter_mut() {
            row.word = match row.word {
                Word::Attained => Word::Reproduced,
                Word::NotAttained => Word::NotReproduced,
                other => other,
            };
        }
    }
    match JudgedClaim::word_of(rows) {
        ClaimWord::NotAttained => ClaimWord::NotAttainedByAnother,
        other => other,
    }
}

/// The record's cases that a claim is judged by, and the section that they are of where it is another: the
/// claim's own if any of them has bits that were verified, else those of a synthetic twin. `None` if neither was
/// asked for.
fn standing_for<'r>(
    record: &'r Record,
    manifest: &ManifestRecord,
    claim: &Claim,
    section: &str,
) -> Option<(Vec<&'r CaseRecord>, Option<String>)> {
    let of_manifest = || record.cases.iter().filter(|case| case.manifest == manifest.name);
    let own: Vec<&CaseRecord> =
        of_manifest().filter(|case| claim.cases.contains(&case.id)).collect();
    if own.iter().any(|case| case.verdict.satisfies()) {
        return Some((own, None));
    }
    let is_twin = |name: &str| {
        let sections = manifest.sections.iter();
        let mut twins = sections.filter(|known| known.twin_of.iter().any(|of| of == section));
        twins.any(|twin| twin.name == name)
    };
    let twins: Vec<&CaseRecord> = of_manifest()
        .filter(|case| is_twin(&case.section) && case.verdict.satisfies())
        .filter(|case| match own.is_empty() {
            false => own.iter().any(|own| is_alike(own, case)),
            true => is_about(&claim.subject, case) || is_named_alike(claim, case),
        })
        .collect();
    match (twins.first().map(|case| case.section.clone()), own.is_empty()) {
        (Some(twin), _) => Some((twins, Some(twin))),
        (None, false) => Some((own, None)),
        (None, true) => None,
    }
}

/// Whether two cases are the same but for their weights and names.
fn is_alike(a: &CaseRecord, b: &CaseRecord) -> bool {
    let key = |case: &CaseRecord| {
        let CaseRecord { m, k, n, dtype, output, pattern, sparsity_percent, arithmetic, .. } =
            case.clone();
        (m, k, n, dtype, output, pattern, sparsity_percent, arithmetic)
    };
    key(a) == key(b)
}

/// Whether a case has the name of one of the claim's, but for the section, and no other shape than the claim's. Where digests
/// alone are published there is nothing that a twin could stand for.
fn is_named_alike(claim: &Claim, case: &CaseRecord) -> bool {
    let within = |id: &str| id.split_once('/').map(|(_, name)| name.to_owned());
    let shape = (case.m as u64, case.k as u64);
    !claim.figures.is_empty()
        && claim.subject.shape.is_none_or(|known| known == shape)
        && claim.cases.iter().any(|id| within(id) == within(&case.id))
}

/// Whether a case has all that a claim says of its subject, which says all that matters.
fn is_about(subject: &Subject, case: &CaseRecord) -> bool {
    let Subject {
        shape: Some(shape),
        batch: Some(batch),
        sparsity: Some(sparsity),
        dtype: Some(dtype),
    } = *subject
    else {
        return false;
    };
    shape == (case.m as u64, case.k as u64)
        && batch == case.n as u64
        && sparsity.to_string() == case.sparsity_percent
        && dtype.name() == case.dtype
}

/// What a claim is judged with.
struct Judging<'r> {
    record: &'r Record,
    claim: &'r Claim,
    cases: &'r [&'r CaseRecord],
    platform: Option<&'r str>,
    ships: Option<Dtype>,
    /// The operator under test, in words.
    who: &'r str,
}

fn verified_bits(case: &CaseRecord) -> Option<&BitsRecord> {
    case.bits.as_ref().filter(|_| case.verdict.satisfies())
}

impl<'r> Judging<'r> {
    fn figure(&self, figure: Figure) -> Option<&'r Printed> {
        self.claim.figure(figure)
    }

    /// Live rows are counted in the matrix that was made.
    fn structure(&self) -> Vec<Row> {
        let (Some(printed), [case]) = (self.figure(Figure::LiveRows), self.cases) else {
            return Vec::new();
        };
        let Some(bits) = verified_bits(case) else { return Vec::new() };
        let live = case.m.saturating_sub(bits.structure.dead_rows);
        let line = format!(
            "{} rows - {} dead = {live}, printed {printed}",
            case.m, bits.structure.dead_rows
        );
        let word = agrees(printed.range.contains(live as f64));
        vec![Row::new("live rows here", word, printed, live as f64, line)]
    }

    /// The operator's largest error against the dense reference.
    fn errors(&self) -> Vec<Row> {
        let Some(printed) = self.figure(Figure::MaxAbsError) else { return Vec::new() };
        let here: Vec<(f64, u64)> = self
            .cases
            .iter()
            .filter_map(|case| Some(&verified_bits(case)?.difference))
            .map(|difference| (difference.error_max.unwrap_or(0.0), difference.differing))
            .collect();
        let Some(error) = here.iter().map(|(error, _)| *error).reduce(f64::max) else {
            return Vec::new();
        };
        let differing: u64 = here.iter().map(|(_, differing)| differing).sum();
        let line = format!(
            "{} against dense reference: {} at most, {differing} elements differ; printed {printed}",
            self.who,
            number(error)
        );
        let word = attained(error <= printed.range.high);
        vec![Row::new("max error here", word, printed, error, line)]
    }

    /// Whether an output of zeros would pass, by the outputs' largest element, or the largest share that one has of its
    /// column's norm.
    fn tolerance(&self) -> Option<Row> {
        let printed = self.figure(Figure::Tolerance)?;
        let of = self.claim.tolerance_of?;
        let bits: Vec<&BitsRecord> =
            self.cases.iter().filter_map(|case| verified_bits(case)).collect();
        let largest = bits.iter().filter_map(|bits| match of {
            ToleranceOf::Output => bits.dense_max,
            ToleranceOf::NormalisedColumns => bits.dense_share_max,
        });
        let Some(here) = largest.reduce(f32::min).map(f64::from) else {
            let line = "the record does not say by how much an output of zeros is off".to_owned();
            return (!bits.is_empty()).then(|| Row::not_judged("tolerance here", line));
        };
        // For every value that prints as the tolerance.
        let passes = here <= printed.range.low;
        let line = format!(
            "an output of zeros is off by {} at most{}, tolerance {printed}: {}",
            number(here),
            match of {
                ToleranceOf::Output => "",
                ToleranceOf::NormalisedColumns => " after columns were divided by their norms",
            },
            if passes { "it passes" } else { "it does not pass" }
        );
        Some(Row::new("tolerance here", agrees(!passes), printed, here, line))
    }

    /// Digests of inputs that were made again. Those of outputs are of the publisher's arithmetic, which is not
    /// published.
    fn digests(&self, manifest: &str) -> Vec<Row> {
        let of_input = |published: &PublishedDigest| {
            let rule = format!("digest of {}", published.tensor.name());
            let inputs = self.record.published_inputs.iter();
            let mut made = inputs.filter(|input| {
                input.is_of(manifest, self.claim) && input.tensor == published.tensor
            });
            let (word, line) = match made.next() {
                Some(PublishedInput { compared: Some(compared), device, .. }) => {
                    let word = match (compared.matches, compared.scope) {
                        (true, Scope::WholeTensor) => Word::Match,
                        (true, Scope::Prefix) => Word::PrefixMatch,
                        (false, _) => Word::Mismatch,
                    };
                    let on = device.as_ref().map(|device| format!(", drawn on {device}"));
                    (word, format!("{compared}; here {}{}", compared.got, on.unwrap_or_default()))
                }
                Some(PublishedInput { reason, .. }) => {
                    (Word::NotJudged, reason.clone().unwrap_or_else(|| "it was not made".into()))
                }
                None if matches!(published.tensor, Tensor::A | Tensor::V) => {
                    (Word::NotJudged, "it was not made".into())
                }
                None => {
                    (Word::NotJudged, "the order of summation behind it is not published".into())
                }
            };
            Row {
                printed: Some(published.digits.as_str().into()),
                word,
                measured: word != Word::NotJudged,
                ..Row::not_judged(&rule, line)
            }
        };
        self.claim.digests.iter().map(of_input).collect()
    }
}
