//! What a record amounts to, for every report: counts, exit code, what was not verified, how to run a case again.
//! Left out: how it looks.

use std::collections::BTreeMap;

use contract::words::visible_lines;

use crate::claims::{Row, Word};
use crate::numbers;
use crate::outcome;
use crate::sample;
use crate::verdict::Verdict;
use crate::{CaseRecord, ManifestRecord, Record, Stated};

const VERDICTS: [Verdict; 7] = [
    Verdict::Verified,
    Verdict::WithinBound,
    Verdict::Mismatch,
    Verdict::OutOfBound,
    Verdict::Unpinned,
    Verdict::InPart,
    Verdict::NotRun,
];

/// How many cases there are of each verdict that occurs.
pub fn counts(record: &Record) -> Vec<(Verdict, usize)> {
    let count = |verdict| record.cases.iter().filter(|case| case.verdict == verdict).count();
    VERDICTS.into_iter().map(|v| (v, count(v))).filter(|(_, count)| *count > 0).collect()
}

/// What an exit code means.
pub fn meaning(exit_code: u8) -> &'static str {
    match exit_code {
        0 => "everything required was verified",
        1 => "something was refuted",
        2 => "bad input",
        3 => "nothing was refuted, but something required was not verified",
        _ => "the environment failed",
    }
}

/// The same of a run, maybe of a sample of cases: one that was verified is no manifest that was.
pub fn meaning_of(exit_code: u8, is_sample: bool) -> &'static str {
    match (exit_code, is_sample) {
        (0, true) => "the sample was verified, and nothing else was run",
        _ => meaning(exit_code),
    }
}

/// The globs that chose cases on the command line; empty where all were asked for.
pub fn selection(record: &Record) -> Vec<&str> {
    record.options.select.iter().map(String::as_str).collect()
}

/// The record in one sentence.
pub fn sentence(record: &Record) -> String {
    let outcome = outcome::of(record);
    format!("{} (exit code {})", outcome.headline, outcome.code)
}

/// `49 cases: 48 verified, 1 mismatch`.
pub fn counts_in_words(record: &Record) -> String {
    let counts = counts(record);
    let counts: Vec<String> = counts.iter().map(|(v, n)| format!("{n} {}", v.name())).collect();
    let of = if counts.is_empty() { "" } else { ": " };
    format!("{}{of}{}", count(record.cases.len(), "case"), counts.join(", "))
}

/// How often each word was said, in the order of [`Word`].
pub fn words(record: &Record) -> Vec<(Word, usize)> {
    let mut words = BTreeMap::new();
    for row in record.judged.iter().flat_map(|claim| &claim.rows) {
        *words.entry(row.word).or_insert(0) += 1;
    }
    words.into_iter().collect()
}

/// `2 attained, 1 differs`.
pub fn words_in_words(record: &Record) -> String {
    let words: Vec<String> =
        words(record).iter().map(|(word, count)| format!("{count} {}", word.name())).collect();
    words.join(", ")
}

/// What a part of what was asked for shows, and what it does not: of a sample of cases, and of outputs made elsewhere.
pub fn about(record: &Record) -> Vec<String> {
    let of = |manifest: &ManifestRecord| {
        let lines =
            [sample::asked_in_words(record, manifest), sample::others_in_words(record, manifest)];
        lines.into_iter().flatten()
    };
    let samples = record.manifests.iter().flat_map(of);
    // A sentence each, as the others are.
    let samples = samples.map(|line| format!("{}.", contract::words::visible(&line)));
    samples.chain(about_outputs(record).into_iter().map(str::to_owned)).collect()
}

/// What a check of outputs made elsewhere shows, and what it does not; nothing of a run.
pub fn about_outputs(record: &Record) -> Vec<&'static str> {
    match record.options.outputs {
        Some(_) => vec![
            "This shows whether these outputs are right: each element beside the one that the case's rule gives.",
            "It does not show who made them, where, or how fast: a time that came with them is stated, and nobody \
             measured it here.",
        ],
        None => Vec::new(),
    }
}

/// `stated: 0.52 ms, on NVIDIA H200`.
pub fn stated(stated: &Stated) -> String {
    let time = stated.latency_ms.map(|ms| numbers::time(ms * 1e6));
    let device = stated.device.as_ref().map(|device| format!("on {device}"));
    let parts: Vec<String> = time.into_iter().chain(device).collect();
    format!("stated: {}", if parts.is_empty() { "nothing".into() } else { parts.join(", ") })
}

/// `1 case`, `2 cases`.
pub fn count(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// What is printed, as tables show it: of a digest the first digits.
pub fn printed(row: &Row) -> Option<String> {
    const DIGITS: usize = 16;
    let text = row.printed.as_deref()?;
    let is_digest = text.len() > DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    Some(if is_digest { format!("{}...", &text[..DIGITS]) } else { text.to_owned() })
}

/// `text` with every character that could hide or move others written out. Line breaks stay.
pub fn visible(text: &str) -> String {
    visible_lines(text).into_owned()
}

/// The digest of a case's operator output.
pub fn operator_digest(case: &CaseRecord) -> Option<String> {
    let bits = case.bits.as_ref()?;
    let row = bits.digests.iter().find(|row| row.name == "operator")?;
    row.got.map(|digest| digest.to_string())
}

/// The command that runs a case again, for a POSIX shell; `None` where a name holds what no manifest allows.
pub fn command(record: &Record, case: &CaseRecord) -> Option<String> {
    // As in manifests: nothing that a shell, a glob or a terminal takes for something else.
    let is_plain = |text: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        !text.is_empty() && text.chars().all(known)
    };
    let is_name = |text: &str| is_plain(text) && !text.contains('/');
    if !is_plain(&case.id) || !is_name(&case.manifest) {
        return None;
    }
    let manifest = format!("manifests/{}.yaml", case.manifest);
    let options = &record.options;
    let outputs = options.outputs.as_ref();
    let mut command = match outputs.map(|asked| asked.challenge_sha256.is_some()) {
        None => format!("verify {manifest} --case '{}'", case.id),
        Some(true) => format!("verify check --manifest {manifest} --case '{}'", case.id),
        Some(false) => format!("verify check {manifest} --case '{}'", case.id),
    };
    let mut add = |option: &str, value: &str| {
        let value = visible(value).replace('\n', "\\u{a}").replace('\'', r"'\''");
        command.push_str(&format!(" {option}='{value}'"));
    };
    let returned = case.bits.iter().flat_map(|bits| &bits.returned);
    match outputs {
        Some(asked) if asked.challenge_sha256.is_none() => {
            returned.for_each(|output| add(&format!("--{}", output.name), &output.file));
        }
        Some(_) | None => {}
    }
    record.operator.iter().for_each(|operator| add("--operator", &operator.name));
    options.nonce.iter().for_each(|nonce| add("--nonce", nonce));
    options.device.iter().for_each(|device| add("--device", device));
    match outputs {
        // The folder last: it may begin with a dash.
        Some(asked) if asked.challenge_sha256.is_some() => {
            let folder = visible(&asked.from).replace('\n', "\\u{a}").replace('\'', r"'\''");
            command.push_str(&format!(" -- '{folder}'"));
        }
        None if !options.measure => command.push_str(" --no-measure"),
        Some(_) | None => {}
    }
    Some(command)
}

/// Something that a record does not show, and of what, by reason.
pub struct Gap {
    /// What is missing, in words.
    pub title: &'static str,
    /// Each reason with what it is about, in the order of the record.
    pub reasons: Vec<(String, Vec<String>)>,
}

impl Gap {
    fn new(title: &'static str, found: impl IntoIterator<Item = (String, String)>) -> Gap {
        let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
        let mut places = BTreeMap::new();
        for (subject, reason) in found {
            let at = *places.entry(reason.clone()).or_insert_with(|| {
                reasons.push((reason, Vec::new()));
                reasons.len() - 1
            });
            reasons[at].1.push(subject);
        }
        Gap { title, reasons }
    }
}

/// What was not verified, not measured, not judged or not published: only what there is.
pub fn gaps(record: &Record) -> Vec<Gap> {
    let cases = |pick: &dyn Fn(&CaseRecord) -> Vec<String>| -> Vec<(String, String)> {
        let of = |case: &CaseRecord| -> Vec<(String, String)> {
            pick(case).into_iter().map(|reason| (case.id.clone(), reason)).collect()
        };
        record.cases.iter().flat_map(of).collect()
    };
    let with_reasons = |verdict: Verdict| {
        cases(&|case| {
            let reasons = match case.reasons.is_empty() {
                true => "no reason is given".to_owned(),
                false => case.reasons.join("\n"),
            };
            if case.verdict == verdict { vec![reasons] } else { Vec::new() }
        })
    };
    let platform = |case: &CaseRecord| {
        let manifest = record.manifests.iter().find(|known| known.name == case.manifest);
        manifest.and_then(|manifest| manifest.platform.clone())
    };
    let mut gaps = vec![
        Gap::new("Cases without committed digests", with_reasons(Verdict::Unpinned)),
        Gap::new("Cases of which not every output came back", with_reasons(Verdict::InPart)),
        Gap::new("Cases that were not run", with_reasons(Verdict::NotRun)),
        Gap::new(
            "Cases whose bits were computed on a CPU, which credits no other device",
            cases(&|case| match (&case.device, &case.bits, platform(case)) {
                (None, Some(_), Some(platform)) => {
                    vec![format!("the manifest is about {platform}")]
                }
                _ => Vec::new(),
            }),
        ),
        Gap::new(
            "Models of tensor cores that no hardware confirmed",
            cases(&|case| match case.model.as_deref() {
                Some(model) if !model.starts_with("confirmed") => {
                    vec![format!("{}: {model}", case.arithmetic)]
                }
                _ => Vec::new(),
            }),
        ),
        Gap::new("Cases that were not measured", cases(&unmeasured)),
        Gap::new(
            "Dense libraries that are far below another on the same matrix",
            cases(&|case| {
                let weak = case.measurement.iter().flat_map(|timings| timings.weak());
                weak.map(|(name, line)| format!("{name} {line}")).collect()
            }),
        ),
        Gap::new(
            "Speedups that are not given",
            cases(&|case| {
                case.measurement.as_ref().map(|t| t.no_speedup.clone()).unwrap_or_default()
            }),
        ),
        Gap::new(
            "Baselines that are missing, or were not verified",
            cases(&|case| {
                let missing = case.baselines_missing.iter();
                let missing = missing.map(|m| format!("{}: {}", m.name, m.reason));
                let timed = case.measurement.iter().flat_map(|t| &t.baselines);
                let failed = timed.filter(|timed| timed.timing.is_none());
                let why = |failure: &Option<String>| failure.clone().unwrap_or("no timing".into());
                missing.chain(failed.map(|t| format!("{}: {}", t.name, why(&t.failure)))).collect()
            }),
        ),
    ];
    gaps.extend([
        Gap::new("Published cases that are not in this record", published_cases(record)),
        Gap::new("Claims that were not judged", unjudged(record)),
        Gap::new("Published inputs that could not be made", {
            let inputs = record.published_inputs.iter();
            inputs.filter(|input| input.compared.is_none()).map(|input| {
                let why = input.reason.clone().unwrap_or_else(|| "no reason is given".into());
                (format!("{}, {}", input.claim, input.tensor.name()), why)
            })
        }),
        Gap::new(
            "Synthetic weights in place of a model's",
            sections(record, |_, section| {
                let twin = section.twin_of.iter();
                twin.map(|of| format!("shapes are those of section {of}")).collect()
            }),
        ),
        Gap::new(
            "What is not published and was chosen here",
            sections(record, |_, section| {
                section.published.iter().flat_map(|published| published.chosen.clone()).collect()
            }),
        ),
    ]);
    gaps.retain(|gap| !gap.reasons.is_empty());
    gaps
}

/// Why a case has no timing of the operator.
fn unmeasured(case: &CaseRecord) -> Vec<String> {
    match &case.measurement {
        None => {
            vec![case.measurement_reason.clone().unwrap_or_else(|| "no reason is given".into())]
        }
        Some(timings) if timings.operator.timing.is_none() => {
            let failure = timings.operator.failure.clone();
            vec![failure.unwrap_or_else(|| "the operator was not timed".into())]
        }
        Some(_) => Vec::new(),
    }
}

/// Each section of the manifests with what `pick` says of it.
fn sections(
    record: &Record,
    pick: impl Fn(&ManifestRecord, &crate::manifest::SectionInfo) -> Vec<String>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for manifest in &record.manifests {
        for section in &manifest.sections {
            let name = format!("{}: {}", manifest.name, section.name);
            found.extend(pick(manifest, section).into_iter().map(|text| (name.clone(), text)));
        }
    }
    found
}

fn published_cases(record: &Record) -> Vec<(String, String)> {
    sections(record, |manifest, section| {
        let Some(published) = &section.published else { return Vec::new() };
        let is_of =
            |case: &&CaseRecord| case.manifest == manifest.name && case.section == section.name;
        let here = record.cases.iter().filter(is_of).count() as u64;
        match here < published.cases {
            true => vec![format!("{here} of {} cases are here", published.cases)],
            false => Vec::new(),
        }
    })
}

fn unjudged(record: &Record) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for manifest in &record.manifests {
        for claim in &manifest.claims {
            let is_of = |j: &&crate::claims::JudgedClaim| {
                j.manifest == manifest.name && j.id == claim.id && !j.rows.is_empty()
            };
            if !record.judged.iter().any(|judged| is_of(&judged)) {
                found.push((claim.id.clone(), "the record holds no judgement of it".into()));
            }
        }
    }
    for judged in &record.judged {
        let rows = judged.rows.iter().filter(|row| row.word == Word::NotJudged);
        found.extend(rows.map(|row| (format!("{}, {}", judged.id, row.rule), row.line.clone())));
    }
    found
}
