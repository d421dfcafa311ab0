//! JUnit, for release gates: a suite per manifest, a test case per case. Valid by tests/schemas/junit.xsd, whatever a
//! record's texts hold: characters that XML 1.0 has no place for are shown by number.

use std::collections::HashMap;
use std::time::Duration;

use contract::words::{visible, visible_lines};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::claims::{ClaimWord, JudgedClaim};
use crate::exit::Require;
use crate::outcome;
use crate::sample;
use crate::verdict::Verdict;
use crate::{CaseRecord, Record};

/// The record as JUnit XML. What was refuted is a failure; what is required and was not verified
/// is an error; what is not required and was not verified is skipped, never passed; what was asked for and is not there
/// is an error. Where claims are required, each is a test case of a suite of its own: a refuted one is a failure, one
/// that could not be judged an error.
pub fn render(record: &Record) -> String {
    let (strict, claims) = (record.options.strict, record.options.require == Require::Claims);
    let incomplete = outcome::incomplete(record);
    let present: HashMap<(&str, &str), &CaseRecord> = record
        .cases
        .iter()
        .map(|case| ((case.manifest.as_str(), case.id.as_str()), case))
        .collect();
    let mut report = Report::new("sparse-verify");
    for manifest in &record.manifests {
        let mut suite = TestSuite::new(&*visible(&manifest.name));
        if let Some(operator) = &record.operator {
            let lacking = match operator.lacking() {
                lacking if lacking.is_empty() => "all layers".to_owned(),
                lacking => format!("without {}", lacking.join(", ")),
            };
            suite.add_property(("operator", &*visible(&operator.in_words())));
            suite.add_property(("operator-sha256", &*operator.sha256.to_string()));
            suite.add_property(("isolation", &*visible(&lacking)));
        }
        if let Some(sample) = sample::asked_in_words(record, manifest) {
            suite.add_property(("sample", &*visible(&sample)));
        }
        if let Some(others) = sample::others_in_words(record, manifest) {
            suite.add_property(("sample-others", &*visible(&others)));
        }
        let asked = manifest.own().iter().map(String::as_str);
        // Old records do not say what was asked for.
        let unasked = record.cases.iter().filter(|case| case.manifest == manifest.name);
        let unasked = unasked.map(|case| case.id.as_str());
        let unasked = unasked.filter(|id| !manifest.own().iter().any(|known| known == id));
        for id in asked.chain(unasked) {
            suite.add_test_case(match present.get(&(manifest.name.as_str(), id)) {
                Some(case) => test_case(case, strict),
                None => missing(&manifest.name, id, incomplete.as_deref()),
            });
        }
        report.add_test_suite(suite);
        let judged = record.judged.iter().filter(|claim| claims && claim.manifest == manifest.name);
        let mut judged = judged.peekable();
        if judged.peek().is_some() {
            let mut suite = TestSuite::new(format!("{}: claims", visible(&manifest.name)));
            suite.add_test_cases(judged.map(claim_case));
            report.add_test_suite(suite);
        }
    }
    if let Some(what) = incomplete {
        // Also where every case is there: a run that did not end shows less than one that did.
        let mut suite = TestSuite::new("run");
        let status = non_success(NonSuccessKind::Error, "incomplete", &[what]);
        suite.add_test_case(TestCase::new("complete", status));
        report.add_test_suite(suite);
    }
    let skipped = format!(" skipped=\"{}\"", report.skipped);
    // Writing to memory what holds no control characters cannot fail.
    let text = report.to_string().unwrap_or_else(|error| unreachable!("JUnit: {error}"));
    // The library counts what was skipped of the whole too, for which Jenkins' schema has no attribute. The first of
    // these is that one: before it is nothing but our own name.
    text.replacen(&skipped, "", 1)
}

/// A case that was asked for and is not in the record.
fn missing(manifest: &str, id: &str, why: Option<&str>) -> TestCase {
    let lines = [why.unwrap_or("the record does not have it").to_owned()];
    let status = non_success(NonSuccessKind::Error, "missing", &lines);
    let mut test_case = TestCase::new(&*visible(id), status);
    test_case.set_classname(&*visible(manifest));
    test_case
}

fn claim_case(claim: &JudgedClaim) -> TestCase {
    let lines: Vec<String> = claim
        .rows
        .iter()
        .map(|row| format!("{}: {}: {}", row.rule, row.word.name(), row.line))
        .collect();
    let word = claim.word.name();
    let status = match claim.word {
        ClaimWord::Confirmed
        | ClaimWord::Reproduced
        | ClaimWord::Attained
        | ClaimWord::NotAttained
        | ClaimWord::NotAttainedByAnother => TestCaseStatus::success(),
        ClaimWord::Refuted | ClaimWord::NotReproduced => {
            non_success(NonSuccessKind::Failure, word, &lines)
        }
        ClaimWord::Inconclusive | ClaimWord::NotJudged => {
            non_success(NonSuccessKind::Error, word, &lines)
        }
    };
    let mut test_case = TestCase::new(&*visible(&claim.id), status);
    test_case.set_classname(&*visible(&claim.manifest));
    test_case
}

fn non_success(kind: NonSuccessKind, word: &str, lines: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(word);
    status.set_type(word);
    status.set_description(&*visible_lines(&lines.join("\n")));
    status
}

fn test_case(case: &CaseRecord, strict: bool) -> TestCase {
    let mut status = match case.verdict {
        Verdict::Verified | Verdict::WithinBound => TestCaseStatus::success(),
        Verdict::Mismatch | Verdict::OutOfBound => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
        Verdict::Unpinned | Verdict::InPart | Verdict::NotRun if case.required || strict => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
        Verdict::Unpinned | Verdict::InPart | Verdict::NotRun => TestCaseStatus::skipped(),
    };
    if !case.verdict.satisfies() {
        status.set_message(case.verdict.name());
        status.set_type(case.verdict.name());
        status.set_description(&*visible_lines(&case.reasons.join("\n")));
    }
    let mut test_case = TestCase::new(&*visible(&case.id), status);
    test_case.set_classname(&*visible(&case.manifest));
    test_case.set_time(Duration::try_from_secs_f64(case.seconds).unwrap_or_default());
    test_case
}
