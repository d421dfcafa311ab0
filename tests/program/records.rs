//! Records and what is rendered from them: nothing is lost, nothing is added, to the byte.

use std::path::Path;

use crate::common::records::{golden, record, render};
use record::FORMAT;
use record::report::terminal;
use record::report::terminal::Detail;
use record::verdict::Verdict;
use sparse_verify::cli::explain::explain;
use sparse_verify::files::replace;

#[test]
fn the_hand_made_record_is_what_the_tests_take_it_for() {
    let verdicts: Vec<Verdict> = record().cases.iter().map(|case| case.verdict).collect();
    use Verdict::{Mismatch, NotRun, Unpinned, Verified};
    assert_eq!(verdicts, [Verified, Mismatch, Unpinned, NotRun]);
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("record.json");
    let record = record();
    sparse_verify::records::save(&record, &path).expect("the folder is there");
    assert_eq!(record::load(&path).expect("just written"), record);
    // Twice the same bytes, whole lines, and nothing beside it.
    let first = std::fs::read(&path).expect("just written");
    sparse_verify::records::save(&record, &path).expect("the folder is there");
    assert_eq!(std::fs::read(&path).expect("just written"), first);
    assert_eq!(first.last(), Some(&b'\n'));
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder is there").count(), 1);
}

#[test]
fn verdicts_are_written_as_the_specification_names_them() {
    for (verdict, word) in [
        (Verdict::Verified, "verified"),
        (Verdict::Mismatch, "mismatch"),
        (Verdict::WithinBound, "within-bound"),
        (Verdict::OutOfBound, "out-of-bound"),
        (Verdict::Unpinned, "unpinned"),
        (Verdict::InPart, "in-part"),
        (Verdict::NotRun, "not-run"),
    ] {
        assert_eq!(verdict.name(), word);
        assert_eq!(serde_json::to_value(verdict).expect("a word"), word);
        assert_eq!(serde_json::from_value::<Verdict>(word.into()).expect("a word"), verdict);
    }
}

/// The message of a record that is not one.
fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("record.json");
    std::fs::write(&path, text).expect("the folder is there");
    let error = record::load(&path).expect_err("not a record").to_string();
    error.replace(&path.display().to_string(), "PATH")
}

#[test]
fn a_record_of_another_version_is_refused() {
    let text = serde_json::to_string(&record()).expect("a record");
    assert_eq!(
        refused(&text.replace(FORMAT, "sparse-verify-record/9")),
        "PATH is not a record: its format is `sparse-verify-record/9`, expected \
         `sparse-verify-record/4`"
    );
    // Nothing else differs in a record of the draft.
    let draft = text.replace(FORMAT, "sparse-verify-record/4-draft");
    assert_eq!(
        refused(&format!("\n{draft}")),
        "PATH is not a record: its format is `sparse-verify-record/4-draft`, expected \
         `sparse-verify-record/4`\nhint: nothing else differs from its draft: write \
         `\"format\":\"sparse-verify-record/4\"` in line 2; its digest is then another, and what was signed is to be \
         signed anew"
    );
    // A newer one may have other keys: the version is what is wrong with it.
    assert_eq!(
        refused(r#"{"format": "sparse-verify-record/9", "runs": []}"#),
        "PATH is not a record: its format is `sparse-verify-record/9`, expected \
         `sparse-verify-record/4`"
    );
    assert_eq!(refused("{}"), "PATH is not a record: it has no `format`");
    assert_eq!(refused("[]"), "PATH is not a record: it has no `format`");
    assert_eq!(refused(r#"{"format": 1}"#), "PATH is not a record: it has no `format`");
}

#[test]
fn a_damaged_record_is_refused() {
    let text = serde_json::to_string(&record()).expect("a record");
    for (damaged, words) in [
        (String::new(), "EOF while parsing"),
        (text[..text.len() / 2].to_owned(), "EOF while parsing"),
        (text.replace("\"cases\"", "\"case\""), "missing field `cases`"),
        (text.replace("\"verified\"", "\"passed\""), "unknown variant `passed`"),
        (text.clone() + "x", "trailing characters"),
        // The last of two would be believed by one reader and the first by another.
        (text.replacen("\"cases\"", "\"cases\":[],\"cases\"", 1), "duplicate field `cases`"),
    ] {
        let message = refused(&damaged);
        assert!(message.starts_with("PATH is not a record: "), "{message}");
        assert!(message.contains(words), "no `{words}` in {message}");
    }
    let missing = record::load(Path::new("missing.json")).expect_err("not there").to_string();
    assert!(missing.starts_with("failed to read the record missing.json: "), "{missing}");
}

#[test]
fn a_file_that_cannot_be_replaced_is_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("taken")).expect("new");
    assert!(replace(&folder.path().join("taken"), b"x").is_err(), "a folder is in its place");
    assert!(replace(&folder.path().join("missing/x"), b"x").is_err());
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("there").collect();
    assert_eq!(left.len(), 1, "no temporary file is left behind");
}

#[test]
fn junit_to_the_byte() {
    golden("junit.xml", &render(&record(), false, false));
}

#[test]
fn junit_strict_counts_what_is_not_required() {
    let [plain, strict] = [false, true].map(|strict| render(&record(), strict, false));
    assert!(plain.contains(r#"tests="4" skipped="1" errors="1" failures="1""#), "{plain}");
    assert!(strict.contains(r#"errors="2" failures="1""#), "{strict}");
    assert!(!strict.contains("<skipped"), "{strict}");
}

#[test]
fn junit_is_one_document_whatever_the_reasons_hold() {
    let mut record = record();
    record.cases[1].reasons = vec!["]]> \u{1b}[31m\u{0} <a> & \"b\" \u{fffe}".into()];
    let text = render(&record, false, false);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{0}'), "{text:?}");
    let report = quick_junit::Report::deserialize_from_str(&text).expect("well formed");
    assert_eq!(report.test_suites[0].test_cases.len(), 4);
}

/// The table as it is on a terminal without colour.
fn table(detail: Detail) -> String {
    let record = record();
    let width = record.cases.iter().map(|case| case.id.len()).max().unwrap_or(4);
    let mut text = terminal::head(width);
    record.cases.iter().for_each(|case| text.push_str(&terminal::case(case, width, detail)));
    text.push_str(&terminal::summary(&record, 1));
    text
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn the_table_to_the_byte() {
    golden("table.txt", &plain(&table(Detail::Normal)));
    golden("table-verbose.txt", &plain(&table(Detail::Verbose)));
}

#[test]
fn quiet_leaves_out_what_is_verified() {
    let normal = plain(&table(Detail::Normal));
    let without: String =
        normal.lines().filter(|l| !l.starts_with("good/")).map(|l| l.to_owned() + "\n").collect();
    assert_ne!(without, normal);
    assert_eq!(plain(&table(Detail::Quiet)), without);
}

#[test]
fn the_verdict_alone_is_coloured() {
    let text = table(Detail::Normal);
    for (verdict, colour) in [("verified", 32), ("mismatch", 31), ("unpinned", 33), ("not-run", 33)]
    {
        let coloured = format!("\x1b[{colour}m{verdict:<12}\x1b[0m");
        assert_eq!(text.matches(&coloured).count(), 1, "{text:?}");
        let counted = format!("1 \x1b[{colour}m{verdict}\x1b[0m");
        assert_eq!(text.matches(&counted).count(), 1, "{text:?}");
    }
    // And the headline above them.
    assert!(text.contains("\x1b[31mrefuted: 1 of 4 cases not right\x1b[0m"), "{text:?}");
    assert_eq!(text.matches('\x1b').count(), 18);
}

#[test]
fn the_explanation_to_the_byte() {
    let record = record();
    let text: String = record.cases[1..].iter().map(explain).collect();
    golden("explanation.txt", &text);
}

#[test]
fn every_exit_code_has_its_meaning_in_the_summary() {
    let record = record();
    let last = |code| plain(&terminal::summary(&record, code)).lines().last().map(str::to_owned);
    for (code, meaning) in [
        (0, "everything required was verified (exit code 0)"),
        (1, "something was refuted (exit code 1)"),
        (2, "bad input (exit code 2)"),
        (3, "nothing was refuted, but something required was not verified (exit code 3)"),
        (4, "the environment failed (exit code 4)"),
    ] {
        let counts = "4 cases: 1 verified, 1 mismatch, 1 unpinned, 1 not-run; 63.8 s; ";
        assert_eq!(last(code), Some(format!("{counts}{meaning}")));
    }
}
