//! A run that is killed loses the case in hand and no other, and can be continued.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Ran, Section, Workbench, change_digit, text};
use record::Record;
use record::verdict::Verdict;

/// Ids of the quick cases.
const QUICK: [&str; 3] = ["--no-measure", "--case", "quick*"];

/// Ten quick cases, one that takes minutes, ten quick cases: whoever kills the run when ten are
/// in the record kills it in the middle of the eleventh, however slow the machine is.
fn sections() -> Vec<Section<'static>> {
    let quick = Section {
        name: "quick",
        shape: (70, 33),
        patterns: "[uniform, row-magnitude]",
        sparsity: "[0, 0.5, 0.8, 0.9, 1]",
        batch: "3",
        ..Section::default()
    };
    let long = Section {
        name: "long",
        shape: (262_144, 4096),
        patterns: "uniform",
        sparsity: "0.5",
        batch: "2048",
        ..Section::default()
    };
    let rest = Section { name: "quick-too", seed: 4, ..quick.clone() };
    vec![quick, long, rest]
}

/// Runs everything to `record.json` and kills the run once the record has `count` cases. Gives
/// the number of cases seen before.
fn killed_after(bench: &Workbench, count: usize) -> usize {
    let arguments =
        ["manifests/small.yaml", "--no-measure", "--threads", "1", "--json", "record.json"];
    let mut command = bench.command(&arguments);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program was built");
    let started = Instant::now();
    let seen = loop {
        assert!(started.elapsed() < Duration::from_secs(120), "no {count} cases in two minutes");
        assert!(child.try_wait().expect("our child").is_none(), "ended by itself");
        // Not there yet, or complete: never in between.
        if bench.path("record.json").exists() {
            let cases = bench.record("record.json").cases.len();
            if cases >= count {
                break cases;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    child.kill().expect("still running");
    child.wait().expect("our child");
    seen
}

fn resume(bench: &Workbench, more: &[&str]) -> Ran {
    let arguments =
        [&["manifests/small.yaml", "--threads", "1", "--json", "record.json", "--resume"], more]
            .concat();
    bench.verify(&arguments)
}

/// The record without what differs from run to run.
fn timeless(mut record: Record) -> Record {
    record.started = String::new();
    record.arguments = Vec::new();
    record.cases.iter_mut().for_each(|case| case.seconds = 0.0);
    record
}

/// The record of a run of the quick cases that nobody killed.
fn uninterrupted(bench: &Workbench) -> Record {
    let arguments =
        [&["manifests/small.yaml", "--threads", "1", "--json", "whole.json"], &QUICK[..]].concat();
    let ran = bench.verify(&arguments);
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    timeless(bench.record("whole.json"))
}

#[test]
fn a_killed_run_loses_the_case_in_hand_and_is_continued() {
    let bench = Workbench::new(&sections());
    for glob in ["quick/*-5?/*", "quick-too/*-8?/*"] {
        let ran = bench.verify(&["pin", "manifests", "--yes", "--case", glob]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let seen = killed_after(&bench, 10);
    assert_eq!(seen, 10, "the eleventh takes minutes");
    let left = bench.record("record.json");
    assert_eq!(left.cases.len(), 10);
    assert!(left.cases.iter().all(|case| case.bits.is_some()));

    let ran = resume(&bench, &QUICK);
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "most are not pinned");
    let continued = bench.record("record.json");
    assert_eq!(continued.cases[..10], left.cases, "seconds included: not run again");
    let whole = uninterrupted(&bench);
    assert_eq!(whole.cases.len(), 20);
    assert_eq!(whole.cases.iter().filter(|c| c.verdict == Verdict::Verified).count(), 4);
    assert_eq!(timeless(continued), whole);
    // The table and the summary are about all of them.
    assert!(ran.stdout.contains("20 cases: 4 verified, 16 unpinned"), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("quick")).count(), 20);
}

#[test]
fn a_run_killed_at_any_time_leaves_a_whole_record() {
    for count in [0, 1, 4, 7] {
        let bench = Workbench::new(&sections());
        let seen = killed_after(&bench, count);
        let left = bench.record("record.json").cases.len();
        assert!((seen..=10).contains(&left), "{left} cases of at least {seen}");
        assert_eq!(resume(&bench, &QUICK).code, 3);
        assert_eq!(timeless(bench.record("record.json")), uninterrupted(&bench));
    }
}

/// A bench whose record holds the first half of the quick cases.
fn half() -> Workbench {
    let bench = Workbench::new(&sections());
    let ran = bench.verify(&[
        "manifests/small.yaml",
        "--no-measure",
        "--threads",
        "1",
        "--json",
        "record.json",
        "--case",
        "quick/*",
    ]);
    assert_eq!(ran.code, 3, "{ran:?}");
    bench
}

#[test]
fn without_a_record_resume_starts_anew() {
    let bench = Workbench::new(&sections());
    assert_eq!(resume(&bench, &QUICK).code, 3);
    assert_eq!(timeless(bench.record("record.json")), uninterrupted(&bench));
}

#[test]
fn without_resume_the_record_is_made_anew() {
    let bench = half();
    let old = bench.record("record.json");
    let one = "quick/up/uniform-50/b3/f32/f32-chain";
    let ran = bench.verify(&[
        "manifests/small.yaml",
        "--no-measure",
        "--json",
        "record.json",
        "--case",
        one,
    ]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let new = bench.record("record.json");
    assert_eq!((old.cases.len(), new.cases.len()), (10, 1));
    assert_eq!(new.cases[0].id, one);
}

#[test]
fn a_resumed_run_refutes_what_the_killed_run_refuted() {
    let bench = Workbench::new(&sections());
    let ran = bench.verify(&["pin", "manifests", "--yes", "--case", "quick*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = bench.read("expected-hashes/small.yaml");
    let id = "quick/up/uniform-50/b3/f32/f32-chain";
    bench.write("expected-hashes/small.yaml", &change_digit(&expected, id, "    a: "));
    let first = resume(&bench, &["--no-measure", "--case", "quick/*"]);
    assert_eq!(first.code, 1, "{first:?}");
    let second = resume(&bench, &QUICK);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stdout.contains("20 cases: 19 verified, 1 mismatch"), "{}", second.stdout);
}

#[test]
fn a_case_that_could_not_be_run_is_tried_again_in_its_place() {
    let bench = half();
    let before = bench.record("record.json");
    let mut failed = before.clone();
    failed.cases[3].verdict = Verdict::NotRun;
    failed.cases[3].exit_code = 4;
    failed.cases[3].bits = None;
    failed.cases[3].reasons = vec!["out of memory".into()];
    sparse_verify::records::save(&failed, &bench.path("record.json")).expect("the folder is there");
    let ran = resume(&bench, &["--no-measure", "--case", "quick/*"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(!ran.stdout.contains("out of memory"), "{}", ran.stdout);
    assert_eq!(timeless(bench.record("record.json")), timeless(before));
}

/// Refused with 2, in these words, and the record is as it was.
fn refused(bench: &Workbench, more: &[&str], words: &str) {
    let before = bench.read("record.json");
    let ran = resume(bench, more);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains(words), "no `{words}` in\n{}", ran.stderr);
    assert_eq!(bench.read("record.json"), before);
}

#[test]
fn a_run_with_other_options_is_not_continued() {
    let bench = half();
    refused(&bench, &["--case", "quick*"], "other options");
    refused(&bench, &[&QUICK[..], &["--nonce", "x"]].concat(), "other options");
    if sparse_verify::backend::cpu::Isa::best().name() != "portable" {
        refused(&bench, &[&QUICK[..], &["--isa", "portable"]].concat(), "other options");
    }
    let mut other = bench.record("record.json");
    other.options.threads = 2;
    sparse_verify::records::save(&other, &bench.path("record.json")).expect("the folder is there");
    refused(&bench, &QUICK, "other options");
}

#[test]
fn a_run_of_another_manifest_is_not_continued() {
    let bench = half();
    let mut other = sections();
    other[0].seed = 5;
    bench.write("manifests/small.yaml", &text(&other));
    refused(&bench, &QUICK, "manifest `small` or its committed digests changed");

    let bench = half();
    bench.write("manifests/more.yaml", &text(&sections()[..1]));
    refused(&bench, &["manifests/more.yaml", QUICK[0]], "manifest `more`");
}

#[test]
fn a_run_against_other_committed_digests_is_not_continued() {
    let bench = half();
    let ran = bench.verify(&["pin", "manifests", "--yes", "--case", "quick/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    refused(&bench, &QUICK, "manifest `small` or its committed digests changed");
}

#[test]
fn a_run_of_another_version_is_not_continued() {
    let bench = half();
    let mut other = bench.record("record.json");
    other.tool = "sparse-verify 0.0.9".into();
    sparse_verify::records::save(&other, &bench.path("record.json")).expect("the folder is there");
    refused(&bench, &QUICK, "it was made by sparse-verify 0.0.9, this is ");
}

#[test]
fn a_damaged_record_is_not_continued() {
    let bench = half();
    let whole = bench.read("record.json");
    for length in [0, 1, whole.len() / 2, whole.len() - 3] {
        bench.write("record.json", &whole[..length]);
        refused(&bench, &QUICK, "record.json is not a record");
    }
    bench.write("record.json", &whole.replace("sparse-verify-record/3", "sparse-verify-record/9"));
    refused(&bench, &QUICK, "its format is `sparse-verify-record/9`");
}
