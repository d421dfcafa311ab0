//! Claims beside what was measured: each figure recomputed by its own rule, in a word and a line of arithmetic.
//!
//! A published speed was measured with the publisher's operator. Ours stands in its place here, so that a speed is
//! `attained` or `not-attained` by the open operator and never refuted; what is published of baselines, ratios,
//! bytes, digests and arithmetic is judged in its own right. Knows records only: no device and no clock.

use serde::{Deserialize, Serialize};

use super::rules::{self, Context, range};
use super::{Claim, Figure, Printed, PublishedDigest, Range, Subject, Tensor, ToleranceOf};
use crate::baseline::Kind;
use crate::manifest::names_accelerator;
use crate::matrix::Dtype;
use crate::measure::{self, CaseTimings, Rule, Timed};
use crate::numbers::number;
use crate::published::{Comparison, Scope};
use crate::record::{BitsRecord, CaseRecord, ManifestRecord, Record};

/// What became of one figure or digest of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The open operator is as fast, or saves as much, as is published.
    Attained,
    NotAttained,
    /// What is published follows from its rule, or from what was measured.
    Agrees,
    Differs,
    /// Below what the device can do.
    Impossible,
    /// A ratio by another rule than the published one: at least as large as printed, or lower.
    Holds,
    Lower,
    /// Digests: of the whole tensor, or of its published prefix.
    Match,
    PrefixMatch,
    Mismatch,
    /// The line says why.
    NotJudged,
}

impl Word {
    /// The word in tables and records.
    pub fn name(self) -> &'static str {
        match self {
            Word::Attained => "attained",
            Word::NotAttained => "not-attained",
            Word::Agrees => "agrees",
            Word::Differs => "differs",
            Word::Impossible => "impossible",
            Word::Holds => "holds",
            Word::Lower => "lower",
            Word::Match => "match",
            Word::PrefixMatch => "prefix-match",
            Word::Mismatch => "mismatch",
            Word::NotJudged => "not-judged",
        }
    }

    /// Whether what is published does not hold by its own rule.
    pub fn refutes(self) -> bool {
        matches!(self, Word::Differs | Word::Impossible | Word::Mismatch)
    }
}

/// One claim, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedClaim {
    pub manifest: String,
    /// Of the claim.
    pub id: String,
    pub section: Option<String>,
    /// The section whose cases stood for it where that is not its own: its synthetic twin.
    pub twin: Option<String>,
    /// Ids of the record's cases that stood for it.
    pub cases: Vec<String>,
    pub rows: Vec<Row>,
}

/// One figure or digest of a claim beside what it was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was looked at, such as `speedup` or `vendor time`.
    pub rule: String,
    pub word: Word,
    /// As it is printed; `None` where a rule is about several figures.
    pub printed: Option<String>,
    /// The same quantity here, in the unit of what is printed; `None` where there is none.
    pub here: Option<f64>,
    /// The arithmetic, in one line; for `not-judged` the reason.
    pub line: String,
}

/// An input that a claim publishes a digest of, made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedInput {
    pub manifest: String,
    /// Id of the claim.
    pub claim: String,
    pub tensor: Tensor,
    /// The device that it was drawn on; `None` for a CPU.
    pub device: Option<String>,
    /// `None` where it could not be made.
    pub compared: Option<Comparison>,
    /// Why it could not be made here.
    pub reason: Option<String>,
}

impl PublishedInput {
    pub fn is_of(&self, manifest: &str, claim: &Claim) -> bool {
        (self.manifest.as_str(), &self.claim) == (manifest, &claim.id)
    }
}

/// Share by which a published vendor time may differ from one here: cards of one kind differ in clocks, power limits
/// and library versions.
const VENDOR_MARGIN: f64 = 0.25;

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
    let platform = manifest.platform.as_deref();
    let subject = Judging { record, claim, cases: &cases, platform, ships };
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
            line: checked.line,
        })
        .collect();
    rows.extend(subject.structure());
    rows.extend(subject.errors());
    rows.extend(subject.tolerance());
    rows.extend(subject.times());
    rows.extend(subject.digests(&manifest.name));
    if rows.is_empty() {
        let line = "no figure of it can be recomputed alone (`verify lint` compares claims)";
        rows.push(Row::not_judged("figures", line.into()));
    }
    Some(JudgedClaim {
        manifest: manifest.name.clone(),
        id: claim.id.clone(),
        section: claim.section.clone(),
        twin,
        cases: cases.iter().map(|case| case.id.clone()).collect(),
        rows,
    })
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
            true => is_about(&claim.subject, case),
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

impl Row {
    fn not_judged(rule: &str, line: String) -> Row {
        Row { rule: rule.into(), word: Word::NotJudged, printed: None, here: None, line }
    }

    fn new(rule: &str, word: Word, printed: &Printed, here: f64, line: String) -> Row {
        let (rule, printed) = (rule.into(), Some(printed.to_string()));
        Row { rule, word, printed, here: Some(here), line }
    }
}

/// The open operator reaches what is published, or not.
fn attained(is_reached: bool) -> Word {
    if is_reached { Word::Attained } else { Word::NotAttained }
}

fn agrees(does: bool) -> Word {
    if does { Word::Agrees } else { Word::Differs }
}

/// Figures that only a measurement can say something of.
const TIMED: [Figure; 12] = [
    Figure::VendorMs,
    Figure::OperatorMs,
    Figure::Speedup,
    Figure::SpeedupMax,
    Figure::EnergySavedPercent,
    Figure::TokensPerS,
    Figure::VendorTokensPerS,
    Figure::Gflops,
    Figure::VendorGflops,
    Figure::UsPerToken,
    Figure::VendorUsPerToken,
    Figure::MemoryMb,
];
/// Those that are defined over several cases.
const OF_SEVERAL: [Figure; 2] = [Figure::Speedup, Figure::SpeedupMax];

/// What a claim is judged with.
struct Judging<'r> {
    record: &'r Record,
    claim: &'r Claim,
    cases: &'r [&'r CaseRecord],
    platform: Option<&'r str>,
    ships: Option<Dtype>,
}

fn verified_bits(case: &CaseRecord) -> Option<&BitsRecord> {
    case.bits.as_ref().filter(|_| case.verdict.satisfies())
}

/// Milliseconds of a timing that may be compared.
fn ms(timed: &Timed) -> Option<f64> {
    let timing = timed.timing.as_ref()?;
    let is_sound = !timing.impossible && timing.clock_disagreement.is_none();
    let ms = timing.summary.time_ns_median / 1e6;
    (is_sound && ms > 0.0).then_some(ms)
}

/// A rival with its time.
struct Rival<'r> {
    timed: &'r Timed,
    ms: f64,
}

fn fastest<'r>(timings: &'r CaseTimings, is_wanted: impl Fn(&Timed) -> bool) -> Option<Rival<'r>> {
    let rivals = timings.baselines.iter().filter(|timed| is_wanted(timed));
    let timed = rivals.filter_map(|timed| Some(Rival { timed, ms: ms(timed)? }));
    timed.min_by(|a, b| a.ms.total_cmp(&b.ms))
}

impl<'r> Judging<'r> {
    fn figure(&self, figure: Figure) -> Option<&'r Printed> {
        self.claim.figure(figure)
    }

    /// A case's timings, or why they say nothing about the claim.
    fn timings(&self, case: &'r CaseRecord) -> Result<&'r CaseTimings, String> {
        if !case.verdict.satisfies() {
            return Err(format!("the case is {}", case.verdict.name()));
        }
        let Some(timings) = &case.measurement else {
            let reason = case.measurement_reason.as_deref();
            return Err(reason.unwrap_or("not measured").to_owned());
        };
        match (self.platform, timings.device.as_deref()) {
            (Some(platform), Some(device)) if device != platform => {
                Err(format!("measured on {device}, and the claim is about {platform}"))
            }
            (Some(platform), None) => {
                let cpu = &self.record.environment.cpu_model;
                let names = |word: &str| word == "CPU" || cpu.contains(word);
                if !names_accelerator(platform) && platform.split_whitespace().all(names) {
                    return Ok(timings);
                }
                Err(format!("measured on {cpu}, and the claim is about {platform}"))
            }
            _ => Ok(timings),
        }
    }

    /// Whether a rival is what the claim names as its baseline: `cuBLAS-BF16` is cuBLAS on a bf16 case, `CPU CSR`
    /// any CSR product. Without a name, what the published rule takes.
    fn is_named(&self, timings: &CaseTimings, timed: &Timed) -> bool {
        let Some(name) = &self.claim.baseline else {
            return timed.kind == Some(measure::published_kind(timings.sparsity));
        };
        let is_plain = matches!(timed.kind, Some(Kind::Dense | Kind::Sparse));
        let library = name.strip_suffix("-BF16").unwrap_or(name);
        match library {
            "CPU CSR" => timed.kind == Some(Kind::Sparse),
            library => is_plain && timed.library == library,
        }
    }

    fn baseline(&self, timings: &'r CaseTimings) -> Option<Rival<'r>> {
        fastest(timings, |timed| self.is_named(timings, timed))
    }

    fn baseline_name(&self) -> &'r str {
        self.claim.baseline.as_deref().unwrap_or("the baseline of the published rule")
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
            "open operator against dense reference: {} at most, {differing} elements differ; printed {printed}",
            number(error)
        );
        let word = attained(error <= printed.range.high);
        vec![Row::new("max error here", word, printed, error, line)]
    }

    /// Whether an output of zeros would pass, by the outputs' largest element. (Of normalised columns a rule knows
    /// without the outputs.)
    fn tolerance(&self) -> Option<Row> {
        let printed = self.figure(Figure::Tolerance)?;
        if self.claim.tolerance_of != Some(ToleranceOf::Output) {
            return None;
        }
        let largest = self.cases.iter().filter_map(|case| verified_bits(case)?.dense_max);
        let here = f64::from(largest.reduce(f32::min)?);
        let passes = here <= printed.range.high;
        let line = format!(
            "an output of zeros is off by {} at most, tolerance {printed}: {}",
            number(here),
            if passes { "it passes" } else { "it does not pass" }
        );
        Some(Row::new("tolerance here", agrees(!passes), printed, here, line))
    }

    /// Figures that need a clock, in the order in which they are printed.
    fn times(&self) -> Vec<Row> {
        let printed = self.printed_of(&TIMED);
        if printed.is_empty() || self.claim.section.is_none() {
            return Vec::new();
        }
        let refused = |reason: &str| {
            vec![Row::not_judged("times", format!("{}: {reason}", printed.join(", ")))]
        };
        match self.cases {
            [] => refused("no case that stands for it was verified"),
            [case] => match self.timings(case) {
                Ok(timings) => self.of_one(case, timings),
                Err(reason) => refused(&reason),
            },
            cases => {
                let timings: Result<Vec<_>, _> =
                    cases.iter().map(|case| self.timings(case)).collect();
                match timings {
                    Ok(timings) => {
                        let mut rows = self.of_several(&timings);
                        let of_one =
                            TIMED.into_iter().filter(|figure| !OF_SEVERAL.contains(figure));
                        let of_one = self.printed_of(&of_one.collect::<Vec<_>>());
                        if !of_one.is_empty() {
                            let count = cases.len();
                            let line = format!("{}: of {count} cases together", of_one.join(", "));
                            rows.push(Row::not_judged("times", line));
                        }
                        rows
                    }
                    Err(reason) => refused(&reason),
                }
            }
        }
    }

    /// Keys of those that are printed.
    fn printed_of(&self, figures: &[Figure]) -> Vec<&'static str> {
        let printed = figures.iter().filter(|figure| self.figure(**figure).is_some());
        printed.map(|figure| figure.key()).collect()
    }

    /// The least speedup over all of them, and the largest.
    fn of_several(&self, all: &[&'r CaseTimings]) -> Vec<Row> {
        let ratios: Vec<f64> = all
            .iter()
            .filter_map(|timings| Some(self.baseline(timings)?.ms / ms(&timings.operator)?))
            .collect();
        let ends = (
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
        );
        let baseline = self.baseline_name();
        let mut rows = Vec::new();
        for (figure, rule) in
            [(Figure::Speedup, "speedup here"), (Figure::SpeedupMax, "largest speedup here")]
        {
            let Some(printed) = self.figure(figure) else { continue };
            if ratios.len() < all.len() {
                let line = format!(
                    "no time of {baseline} in {} of {} cases",
                    all.len() - ratios.len(),
                    all.len()
                );
                rows.push(Row::not_judged(rule, line));
                continue;
            }
            let here = if figure == Figure::Speedup { ends.0 } else { ends.1 };
            let line = format!(
                "{} cases: {} to {} times as fast as {baseline}, printed {printed}x",
                all.len(),
                number(ends.0),
                number(ends.1)
            );
            rows.push(Row::new(rule, attained(here >= printed.range.low), printed, here, line));
        }
        rows
    }

    fn of_one(&self, case: &CaseRecord, timings: &'r CaseTimings) -> Vec<Row> {
        let Some(ours) = ms(&timings.operator) else {
            return vec![Row::not_judged("times", "no sound time of the open operator".into())];
        };
        let mut rows = Vec::new();
        let baseline = self.baseline(timings);
        self.operator_rows(timings, ours, &mut rows);
        match &baseline {
            Some(baseline) => self.vendor_rows(timings, baseline, ours, &mut rows),
            None => {
                let name = self.baseline_name();
                rows.push(Row::not_judged("vendor", format!("no time of {name} here")));
            }
        }
        self.ratios(case, timings, &baseline, &mut rows);
        if self.figure(Figure::SpeedupMax).is_some() {
            rows.extend(self.of_several(&[timings]).pop());
        }
        rows
    }

    /// Layers that printed times are of.
    fn layers(&self) -> Range {
        self.figure(Figure::Layers).map_or(Range::exact(1.0), |layers| layers.range)
    }

    /// What the open operator reaches.
    fn operator_rows(&self, timings: &CaseTimings, ours: f64, rows: &mut Vec<Row>) {
        let n = timings.n as f64;
        if let Some(printed) = self.figure(Figure::OperatorMs) {
            let per_layer = printed.range.over(self.layers());
            let each = match self.figure(Figure::Layers) {
                Some(layers) => format!(" / {layers} layers = {} ms", range(per_layer)),
                None => String::new(),
            };
            let line = format!("open operator {} ms, printed {printed} ms{each}", number(ours));
            rows.push(Row::new(
                "operator time",
                attained(ours <= per_layer.high),
                printed,
                ours,
                line,
            ));
        }
        let rates = [
            (
                Figure::TokensPerS,
                "tokens/s here",
                n / ours * 1e3,
                format!("{n} tokens / {} ms", number(ours)),
            ),
            (
                Figure::Gflops,
                "GFLOP/s here",
                timings.work.flops / ours / 1e6,
                format!("2 x {} non-zeros x {n} / {} ms", timings.nnz, number(ours)),
            ),
        ];
        for (figure, rule, here, arithmetic) in rates {
            let Some(printed) = self.figure(figure) else { continue };
            let line = format!("{arithmetic} = {}, printed {printed}", number(here));
            rows.push(Row::new(rule, attained(here >= printed.range.low), printed, here, line));
        }
        if let Some(printed) = self.figure(Figure::UsPerToken) {
            let here = ours / n * 1e3;
            let line = format!(
                "{} ms / {n} tokens = {} us, printed {printed}",
                number(ours),
                number(here)
            );
            let word = attained(here <= printed.range.high);
            rows.push(Row::new("us per token here", word, printed, here, line));
        }
        let held = timings.operator.bytes_held as f64;
        if let Some(printed) = self.figure(Figure::MemoryMb).filter(|_| held > 0.0) {
            let here = held / 1e6;
            let line = format!("the open operator holds {} MB, printed {printed} MB", number(here));
            rows.push(Row::new(
                "memory here",
                attained(here <= printed.range.high),
                printed,
                here,
                line,
            ));
        }
        if let Some(printed) = self.figure(Figure::MemoryReduction).filter(|_| held > 0.0) {
            for dtype in [Some(Dtype::F32), self.ships.filter(|ships| *ships != Dtype::F32)]
                .into_iter()
                .flatten()
            {
                let dense = (timings.m as f64) * (timings.k as f64) * dtype.size() as f64;
                let here = dense / held;
                let line = format!(
                    "dense {dtype} {} MB / {} MB held by the open operator = {}, printed {printed}",
                    number(dense / 1e6),
                    number(held / 1e6),
                    number(here)
                );
                let word = attained(here >= printed.range.low);
                rows.push(Row::new("memory reduction here", word, printed, here, line));
            }
        }
    }

    /// What is published of the vendor's library, and of the open operator over it.
    fn vendor_rows(
        &self,
        timings: &CaseTimings,
        baseline: &Rival<'_>,
        ours: f64,
        rows: &mut Vec<Row>,
    ) {
        let (n, theirs) = (timings.n as f64, baseline.ms);
        let name = &baseline.timed.name;
        if let Some(printed) = self.figure(Figure::Speedup) {
            let here = theirs / ours;
            let line = format!(
                "{name} {} ms / {} ms = {}x, printed {printed}x over {}",
                number(theirs),
                number(ours),
                number(here),
                self.baseline_name()
            );
            rows.push(Row::new(
                "speedup here",
                attained(here >= printed.range.low),
                printed,
                here,
                line,
            ));
        }
        if let Some(printed) = self.figure(Figure::VendorMs) {
            let per_layer = printed.range.over(self.layers());
            // Which of its algorithms was timed is not published: any of them will do.
            let variants = timings.baselines.iter().filter(|timed| self.is_named(timings, timed));
            let nearest = variants
                .filter_map(|timed| Some(Rival { timed, ms: ms(timed)? }))
                .min_by(|a, b| {
                    let far = |rival: &Rival<'_>| distance(per_layer, rival.ms);
                    far(a).total_cmp(&far(b))
                });
            if let Some(nearest) = nearest {
                let each = match self.figure(Figure::Layers) {
                    Some(layers) => format!(" / {layers} layers = {} ms", range(per_layer)),
                    None => String::new(),
                };
                let line = format!(
                    "{name} {} ms (fastest), {} {} ms (nearest), printed {printed} ms{each}: {} times the nearest, of \
                     at most {}",
                    number(theirs),
                    nearest.timed.name,
                    number(nearest.ms),
                    range(per_layer.over(Range::exact(nearest.ms))),
                    1.0 + VENDOR_MARGIN
                );
                let word = agrees(distance(per_layer, nearest.ms) <= VENDOR_MARGIN);
                rows.push(Row::new("vendor time", word, printed, theirs, line));
            }
        }
        if self.claim.baseline.is_some() && self.figure(Figure::Speedup).is_some() {
            let plain = |timed: &Timed| matches!(timed.kind, Some(Kind::Dense | Kind::Sparse));
            if let Some(best) = fastest(timings, plain) {
                let is_best = theirs <= best.ms;
                let line = format!(
                    "fastest dense or sparse library here: {} {} ms; {} takes {} ms",
                    best.timed.name,
                    number(best.ms),
                    self.baseline_name(),
                    number(theirs)
                );
                let row = Row {
                    printed: self.claim.baseline.clone(),
                    ..Row::not_judged("choice of baseline", line)
                };
                rows.push(Row { word: agrees(is_best), here: Some(best.ms), ..row });
            }
        }
        let rates = [
            (
                Figure::VendorTokensPerS,
                "vendor tokens/s",
                n / theirs * 1e3,
                format!("{n} tokens / {} ms", number(theirs)),
            ),
            (
                Figure::VendorGflops,
                "vendor GFLOP/s",
                timings.work.flops / theirs / 1e6,
                format!("2 x {} non-zeros x {n} / {} ms", timings.nnz, number(theirs)),
            ),
            (
                Figure::VendorUsPerToken,
                "vendor us per token",
                theirs / n * 1e3,
                format!("{} ms / {n} tokens", number(theirs)),
            ),
        ];
        for (figure, rule, here, arithmetic) in rates {
            let Some(printed) = self.figure(figure) else { continue };
            let line = format!("{name}: {arithmetic} = {}, printed {printed}", number(here));
            let word = agrees(distance(printed.range, here) <= VENDOR_MARGIN);
            rows.push(Row::new(rule, word, printed, here, line));
        }
        if let Some(printed) = self.figure(Figure::EnergySavedPercent) {
            rows.push(self.energy(timings, baseline, printed));
        }
    }

    /// Energy by counters, where both were read.
    fn energy(&self, timings: &CaseTimings, baseline: &Rival<'_>, printed: &Printed) -> Row {
        const RULE: &str = "energy here";
        let joules = |timed: &Timed| {
            let energy = timed.energy.as_ref().filter(|energy| energy.is_valid)?;
            (energy.joules_per_call > 0.0).then_some(energy.joules_per_call)
        };
        // The window is that of the variant which the published rule chose.
        let measured = timings
            .baselines
            .iter()
            .filter(|timed| self.is_named(timings, timed))
            .find_map(|timed| Some((&timed.name, joules(timed)?)));
        let (Some((name, theirs)), Some(ours)) = (measured, joules(&timings.operator)) else {
            let reason = timings.operator.energy_reason.as_deref();
            let reason = reason.unwrap_or("no energy was read for both");
            return Row::not_judged(RULE, format!("{reason} ({})", baseline.timed.name));
        };
        let here = 100.0 * (1.0 - ours / theirs);
        let line = format!(
            "1 - {} J / {} J ({name}) = {} %, printed {printed} %",
            number(ours),
            number(theirs),
            number(here)
        );
        Row::new(RULE, attained(here >= printed.range.low), printed, here, line)
    }

    /// The printed operator time under other rules than the publisher's: against what was measured here.
    fn ratios(
        &self,
        case: &CaseRecord,
        timings: &CaseTimings,
        baseline: &Option<Rival<'_>>,
        rows: &mut Vec<Row>,
    ) {
        let (Some(printed), Some(speedup)) =
            (self.figure(Figure::OperatorMs), self.figure(Figure::Speedup))
        else {
            return;
        };
        let operator = printed.range.over(self.layers());
        let by_rule = |rule: Rule| {
            let timed = &timings.baselines[timings.chosen(rule)?];
            Some(Rival { timed, ms: ms(timed)? })
        };
        let compacted = || fastest(timings, |timed| timed.kind == Some(Kind::Compacted));
        let rivals = [
            (
                "ratio, published rule",
                by_rule(Rule::Published).or_else(|| {
                    baseline.as_ref().map(|rival| Rival { timed: rival.timed, ms: rival.ms })
                }),
                "no verified baseline of that rule",
            ),
            ("ratio, best rule", by_rule(Rule::Best), "no verified baseline"),
            ("ratio, compacted dense", compacted(), "no dense product of the live rows was timed"),
        ];
        let mut push = |rule: &str, name: &str, theirs: f64| {
            let here = Range::exact(theirs).over(operator);
            let line = format!(
                "{name} {} ms / printed operator time {} ms = {}x, printed {speedup}x",
                number(theirs),
                range(operator),
                range(here)
            );
            let word = if here.high >= speedup.range.low { Word::Holds } else { Word::Lower };
            rows.push(Row::new(
                rule,
                word,
                speedup,
                theirs / (operator.low + operator.high) * 2.0,
                line,
            ));
        };
        let mut missing = Vec::new();
        for (rule, rival, reason) in rivals {
            match rival {
                Some(rival) => push(rule, &rival.timed.name, rival.ms),
                None => missing.push(Row::not_judged(rule, reason.into())),
            }
        }
        if let Some(ships) = self.ships.filter(|ships| ships.name() != case.dtype) {
            let rule = format!("ratio, dense {ships} as shipped");
            match self.shipped(case, ships) {
                Some((name, theirs)) => push(&rule, &name, theirs),
                None => {
                    let line = format!("no dense {ships} product of this shape was timed");
                    missing.push(Row::not_judged(&rule, line));
                }
            }
        }
        rows.extend(missing);
    }

    /// The fastest dense product of the shape in the dtype that the checkpoint ships in, on the same device.
    fn shipped(&self, case: &CaseRecord, ships: Dtype) -> Option<(String, f64)> {
        let same = |other: &&CaseRecord| {
            (other.m, other.k, other.n) == (case.m, case.k, case.n)
                && other.dtype == ships.name()
                && other.sparsity_percent == "0"
                && other.device == case.device
        };
        let timings =
            self.record.cases.iter().filter(same).filter_map(|case| self.timings(case).ok());
        let rivals =
            timings.filter_map(|timings| fastest(timings, |timed| timed.kind == Some(Kind::Dense)));
        let best = rivals.min_by(|a, b| a.ms.total_cmp(&b.ms))?;
        Some((format!("{} ({ships})", best.timed.name), best.ms))
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
                ..Row::not_judged(&rule, line)
            }
        };
        self.claim.digests.iter().map(of_input).collect()
    }
}

/// How far a value is from a range, as a share of the nearer end.
fn distance(range: Range, value: f64) -> f64 {
    if range.contains(value) {
        return 0.0;
    }
    let ratio = if value < range.low { range.low / value } else { value / range.high };
    ratio - 1.0
}
