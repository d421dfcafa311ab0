//! JUnit validates by the schema that its readers have, and a schema that could not fail would show nothing.

use crate::common::records::{golden, record, render};
use record::claims::{JudgedClaim, Row, Word};
use uppsala::{Document, XsdValidator, parse};

/// What is wrong with a document by tests/schemas/junit.xsd, in words.
fn faults(text: &str) -> Vec<String> {
    let schema = include_str!("../schemas/junit.xsd");
    let schema: Document = parse(schema).expect("the schema is XML");
    let validator = XsdValidator::from_schema(&schema).expect("a schema");
    let document = match parse(text) {
        Ok(document) => document,
        Err(error) => return vec![error.to_string()],
    };
    validator.validate(&document).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_not_junit_is_refused() {
    let faults = faults(include_str!("../schemas/invalid-junit.xml"));
    assert!(faults.iter().any(|fault| fault.contains("skipped")), "{faults:?}");
    let valid = render(&record(), false, false);
    for (from, to) in [
        // An attribute that only another reader knows, a missing one, a number that is none.
        ("<testcase name", "<testcase file=\"x\" name"),
        ("<testsuite name=\"small\"", "<testsuite"),
        ("tests=\"4\"", "tests=\"four\""),
        ("time=\"62.040\"", "time=\"1m2s\""),
        // Two outcomes of one case, an outcome of a suite, an element that nobody knows.
        ("</failure>", "</failure><skipped/>"),
        ("</testsuite>", "<skipped/></testsuite>"),
        ("</testsuite>", "</testsuite><summary/>"),
        // Not XML at all.
        ("</testsuites>", ""),
        ("out of memory", "out of \u{0} memory"),
        ("out of memory", "out of \u{fffe} memory"),
    ] {
        assert!(valid.contains(from), "{from}");
        assert!(!self::faults(&valid.replacen(from, to, 1)).is_empty(), "{from} -> {to}");
    }
}

#[test]
fn what_is_written_validates() {
    for strict in [false, true] {
        for claims in [false, true] {
            let text = render(&record(), strict, claims);
            assert_eq!(faults(&text), Vec::<String>::new(), "{text}");
        }
    }
    // Without cases, and without manifests.
    let mut empty = record();
    empty.cases.clear();
    assert_eq!(faults(&render(&empty, false, true)), Vec::<String>::new());
    empty.manifests.clear();
    assert_eq!(faults(&render(&empty, false, true)), Vec::<String>::new());
    golden("junit.xml", &render(&record(), false, false));
}

#[test]
fn no_text_of_a_record_makes_it_invalid_and_each_is_seen() {
    let hostile = "]]>\u{1b}]0;x\u{7} \u{0}<a b=\"\u{202e}\"> & 'c' \u{fffe}\u{ffff}\u{9b}\u{2028}\n--> skipped=\"1\" <!--";
    let mut record = record();
    record.manifests[0].name = hostile.into();
    for case in &mut record.cases {
        case.manifest = hostile.into();
        case.id = format!("{}{hostile}", case.id);
        case.reasons = vec![hostile.into()];
        case.required = true;
        case.seconds = f64::NAN;
    }
    let row = |word| Row {
        rule: hostile.into(),
        word,
        printed: Some(hostile.into()),
        here: None,
        interval: None,
        measured: true,
        line: hostile.into(),
    };
    let rows = vec![row(Word::Differs), row(Word::NotJudged)];
    record.judged = vec![JudgedClaim {
        manifest: hostile.into(),
        id: hostile.into(),
        section: None,
        twin: None,
        cases: Vec::new(),
        word: JudgedClaim::word_of(&rows),
        rows,
    }];
    let text = render(&record, true, true);
    assert_eq!(faults(&text), Vec::<String>::new(), "{text}");
    assert!(
        !text.contains(['\u{1b}', '\u{202e}', '\u{0}', '\u{fffe}', '\u{9b}', '\u{2028}']),
        "{text:?}"
    );
    for shown in [r"\u{1b}]0;x\u{7}", r"\u{0}", r"\u{202e}", r"\u{fffe}\u{ffff}\u{9b}\u{2028}"] {
        // Name and class of each case, its reasons, the suite, and the claim's.
        assert!(text.matches(shown).count() >= 12, "{shown} in {text}");
    }
    // The counts of the suites are left alone by what takes the whole's away.
    assert_eq!(text.matches(" skipped=\"0\" ").count(), 2, "{text}");
}
