//! JUnit, for release gates: a suite per manifest, a test case per case. Valid by tests/schemas/junit.xsd, whatever a
//! record's texts hold: characters that XML 1.0 has no place for are shown by number.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::check::verdict::Verdict;
use crate::claims::{JudgedClaim, Word};
use crate::record::{CaseRecord, Record};
use crate::words::{visible, visible_lines};

/// The record as JUnit XML. What was refuted is a failure; what is required and was not verified
/// is an error; what is not required and was not verified is skipped, never passed. Where `claims` are required, each
/// is a test case of a suite of its own: one that does not hold by its own rule is a failure, one that could not be
/// judged an error.
pub fn render(record: &Record, strict: bool, claims: bool) -> String {
    let mut report = Report::new("sparse-verify");
    for manifest in &record.manifests {
        let name = visible(&manifest.name);
        let mut suite = TestSuite::new(&*name);
        for case in record.cases.iter().filter(|case| case.manifest == manifest.name) {
            suite.add_test_case(test_case(case, strict));
        }
        report.add_test_suite(suite);
        let judged = record.judged.iter().filter(|claim| claims && claim.manifest == manifest.name);
        let mut judged = judged.peekable();
        if judged.peek().is_some() {
            let mut suite = TestSuite::new(format!("{name}: claims"));
            suite.add_test_cases(judged.map(claim_case));
            report.add_test_suite(suite);
        }
    }
    let skipped = format!(" skipped=\"{}\"", report.skipped);
    // Writing to memory what holds no control characters cannot fail.
    let text = report.to_string().unwrap_or_else(|error| unreachable!("JUnit: {error}"));
    // The library counts what was skipped of the whole too, for which Jenkins' schema has no attribute. The first of
    // these is that one: before it is nothing but our own name.
    text.replacen(&skipped, "", 1)
}

fn claim_case(claim: &JudgedClaim) -> TestCase {
    let rows = |is_wanted: fn(Word) -> bool| {
        let rows = claim.rows.iter().filter(move |row| is_wanted(row.word));
        rows.map(|row| format!("{}: {}: {}", row.rule, row.word.name(), row.line))
            .collect::<Vec<_>>()
    };
    let (refuted, open) = (rows(Word::refutes), rows(|word| word == Word::NotJudged));
    let status = match (refuted.is_empty(), open.is_empty()) {
        (true, true) => TestCaseStatus::success(),
        (false, _) => non_success(NonSuccessKind::Failure, Word::Differs.name(), &refuted),
        (true, false) => non_success(NonSuccessKind::Error, Word::NotJudged.name(), &open),
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
        Verdict::Unpinned | Verdict::NotRun if case.required || strict => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
        Verdict::Unpinned | Verdict::NotRun => TestCaseStatus::skipped(),
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
