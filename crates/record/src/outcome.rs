//! What a record amounts to: the exit code, and the line that is read first.

use std::collections::HashSet;

use contract::words::visible;

use crate::claims::{ClaimWord, JudgedClaim};
use crate::exit::{self, ENVIRONMENT, NOT_VERIFIED, REFUTED, Require, VERIFIED, worse};
use crate::operator::OperatorKind;
use crate::run::{CaseRecord, End, Outcome, Record};
use crate::sample;

/// What is missing from a record that should be complete, in words; `None` of one that is.
pub fn incomplete(record: &Record) -> Option<String> {
    let (asked, present) = (asked(record), record.cases.len());
    let how = match &record.ended {
        Some(End::Completed) if present >= asked => return None,
        Some(End::Completed) => "cases are missing".to_owned(),
        Some(End::Interrupted { signal }) => format!("interrupted by {signal}"),
        Some(End::Partial { missing }) => format!("partial, {missing}"),
        Some(End::Failed { reason }) => format!("failed, {reason}"),
        None if record.is_old() => "whether the run ended is not recorded".to_owned(),
        None => "cut off, or still going on".to_owned(),
    };
    Some(format!("{present} of {asked} cases: {how}"))
}

/// Cases that were asked for; those that are there where that was not recorded.
fn asked(record: &Record) -> usize {
    let own: usize = record.manifests.iter().map(|manifest| manifest.own().len()).sum();
    if record.is_old() { own.max(record.cases.len()) } else { own }
}

/// Whether a case counts for the exit code.
struct Counting<'r> {
    strict: bool,
    /// All that was asked for is optional, so that it is what counts.
    all_optional: bool,
    optional: HashSet<(&'r str, &'r str)>,
}

impl<'r> Counting<'r> {
    fn new(record: &'r Record) -> Counting<'r> {
        let optional: HashSet<(&str, &str)> = record
            .manifests
            .iter()
            .flat_map(|m| m.optional.iter().map(|id| (m.name.as_str(), id.as_str())))
            .collect();
        let selected: usize = record.manifests.iter().map(|m| m.selected.len()).sum();
        let all_optional = match record.is_old() {
            true => record.cases.iter().all(|case| !case.required),
            false => selected == optional.len(),
        };
        Counting { strict: record.options.strict, all_optional, optional }
    }

    fn counts(&self, case: &CaseRecord) -> bool {
        case.required || self.strict || self.all_optional
    }

    /// Whether any of a record's own cases counts, there or not.
    fn any(&self, record: &Record) -> bool {
        let mut own = record
            .manifests
            .iter()
            .flat_map(|m| m.own().iter().map(|id| (m.name.as_str(), id.as_str())));
        own.any(|key| self.strict || self.all_optional || !self.optional.contains(&key))
    }
}

/// The outcome that a record's cases, claims and end give under its own options.
pub fn of(record: &Record) -> Outcome {
    under(record, record.options.strict, record.options.require)
}

/// The same under other options.
pub fn under(record: &Record, strict: bool, require: Require) -> Outcome {
    let counting = Counting { strict, ..Counting::new(record) };
    let (asked, present) = (asked(record), record.cases.len());
    let verified = record.cases.iter().filter(|case| case.verdict.satisfies()).count();
    let incomplete = incomplete(record);
    let mut code = record.cases.iter().fold(VERIFIED, |code, case| {
        let own = match case.exit_code {
            NOT_VERIFIED | ENVIRONMENT if !counting.counts(case) => VERIFIED,
            own => own,
        };
        let is_unmeasured = require == Require::Measurements
            && counting.counts(case)
            && case.measurement.as_ref().is_none_or(|t| t.operator.timing.is_none());
        let is_noisy = require == Require::Measurements
            && case.measurement.as_ref().is_some_and(|timings| {
                timings.operator.timing.as_ref().is_some_and(|timing| timing.summary.is_noisy)
            });
        let lacks = is_unmeasured || is_noisy && counting.counts(case);
        worse(code, if lacks { worse(own, NOT_VERIFIED) } else { own })
    });
    // A shard goes by the whole selection: what it has not, others have.
    let nothing_to_show =
        record.options.shard.is_some() && !counting.any(record) && incomplete.is_none();
    if verified == 0 && !nothing_to_show {
        code = worse(code, NOT_VERIFIED);
    }
    if incomplete.is_some() {
        let failed = matches!(record.ended, Some(End::Failed { .. }));
        code = worse(code, if failed { ENVIRONMENT } else { NOT_VERIFIED });
    }
    if require == Require::Claims {
        code = worse(code, of_claims(&record.judged));
    }
    let lacking = record.operator.as_ref().map(|operator| operator.lacking()).unwrap_or_default();
    if require == Require::Isolation && (record.operator.is_none() || !lacking.is_empty()) {
        code = worse(code, NOT_VERIFIED);
    }
    let refuted = record.cases.iter().filter(|case| case.verdict.refutes()).count();
    let cases = |asked| match sample::population(record) {
        None => cases(asked),
        Some(all) => format!("{} of a sample, drawn from {all}", cases(asked)),
    };
    let bits = match code {
        _ if refuted > 0 => format!("refuted: {refuted} of {} not right", cases(asked)),
        VERIFIED if nothing_to_show && verified == 0 => "nothing to show in this shard".to_owned(),
        VERIFIED | REFUTED if incomplete.is_none() && verified > 0 => {
            format!("bits verified: {verified} of {}", cases(asked))
        }
        exit::BAD_INPUT => format!("bad input: {verified} of {} verified", cases(asked)),
        ENVIRONMENT => format!("the environment failed: {verified} of {} verified", cases(asked)),
        _ => format!("not verified: bits of {verified} of {}", cases(asked)),
    };
    let first = incomplete.map_or(String::new(), |what| format!("{what}; "));
    let mut headline = format!("{first}{bits}");
    if let Some(only) = selection(record) {
        headline.push_str(&format!(" ({only})"));
    }
    if let Some(operator) = &record.operator {
        let by = match operator.kind {
            OperatorKind::Outputs => "said to be",
            OperatorKind::Library | OperatorKind::Python => "by",
        };
        headline.push_str(&format!(", {by} {}", operator.in_words()));
        if !operator.reads.is_empty() {
            headline.push_str(&format!(", which may read {}", operator.reads.join(", ")));
        }
        if !lacking.is_empty() {
            headline.push_str(&format!(", without isolation by {}", lacking.join(", ")));
        }
    }
    if !record.environment.preloaded.is_empty() {
        let all = record.environment.preloaded.join(", ");
        headline.push_str(&format!(", by a process that other code was put into: {all}"));
    }
    // One line, whatever a record has for a selection or a path.
    let headline = visible(&headline).into_owned();
    Outcome { code, asked, present, verified, headline }
}

fn cases(count: usize) -> String {
    format!("{count} case{}", if count == 1 { "" } else { "s" })
}

/// Which part of the manifests was asked for, as on the command line; `None` for all.
pub fn selection(record: &Record) -> Option<String> {
    const GLOBS_MAX: usize = 3;
    let globs = &record.options.select;
    let mut parts: Vec<String> =
        globs.iter().take(GLOBS_MAX).map(|glob| format!("--case '{glob}'")).collect();
    if globs.len() > GLOBS_MAX {
        parts.push(format!("and {} more", globs.len() - GLOBS_MAX));
    }
    parts.extend(record.options.shard.map(|shard| format!("--shard {shard}")));
    parts.extend(
        record
            .options
            .sample
            .as_ref()
            .map(|sample| format!("--sample {} --sample-nonce '{}'", sample.cases, sample.nonce)),
    );
    let only_y = record.options.outputs.as_ref().is_some_and(|asked| !asked.perturbed);
    parts.extend(only_y.then(|| "--y, nothing perturbed".to_owned()));
    let claimed = record
        .operator
        .as_ref()
        .map(|operator| format!("what the operator claims: {}", operator.arithmetics.join(", ")));
    let asked = (!parts.is_empty()).then(|| parts.join(" "));
    let all: Vec<String> = asked.into_iter().chain(claimed).collect();
    (!all.is_empty()).then(|| format!("only {}", all.join(", ")))
}

/// The code of judged claims, where they are required: what does not hold by its own rule is refuted; what could not be
/// judged, or rests on noise, was not verified. Whether another operator than the publisher's attains a published speed is neither.
pub fn of_claims(judged: &[JudgedClaim]) -> u8 {
    judged.iter().fold(VERIFIED, |code, claim| match claim.word {
        ClaimWord::Refuted | ClaimWord::NotReproduced => worse(code, REFUTED),
        ClaimWord::Inconclusive | ClaimWord::NotJudged => worse(code, NOT_VERIFIED),
        ClaimWord::Confirmed
        | ClaimWord::Reproduced
        | ClaimWord::Attained
        | ClaimWord::NotAttained
        | ClaimWord::NotAttainedByAnother => code,
    })
}

/// How many claims there are of each word that occurs.
pub fn claim_counts(judged: &[JudgedClaim]) -> Vec<(ClaimWord, usize)> {
    let count = |word| judged.iter().filter(|claim| claim.word == word).count();
    let counts = ClaimWord::ALL.into_iter().map(|word| (word, count(word)));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// `claims: 2 attained, 1 not judged`; `None` where nothing is claimed.
pub fn claims_in_words(judged: &[JudgedClaim]) -> Option<String> {
    let counts: Vec<String> = claim_counts(judged)
        .into_iter()
        .map(|(word, count)| format!("{count} {}", word.name()))
        .collect();
    (!counts.is_empty()).then(|| format!("claims: {}", counts.join(", ")))
}

/// A claim in one line: the word, the printed figure, the figure here and the rule.
pub fn claim_in_words(claim: &JudgedClaim) -> String {
    let Some(row) = claim.deciding_row() else { return claim.word.name().to_owned() };
    let printed = row.printed.as_deref().map(|printed| format!("printed {printed}, "));
    let here = row.here.map(|here| format!("here {}", crate::numbers::number(here)));
    let interval = row.interval.map_or(String::new(), |i| {
        format!(" [{} to {}]", crate::numbers::number(i.low), crate::numbers::number(i.high))
    });
    match (printed, here) {
        (printed, Some(here)) => format!(
            "{}: {}{here}{interval} ({})",
            claim.word.name(),
            printed.unwrap_or_default(),
            row.rule
        ),
        (_, None) => {
            let line = row.line.lines().next().unwrap_or_default();
            format!("{}: {}: {line}", claim.word.name(), row.rule)
        }
    }
}
