//! A run that is killed loses the case in hand and no other, and can be continued.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Ran, Section, Workbench, change_digit, text};
use record::verdict::Verdict;
use record::{FORMAT, Record, Stopped};

const BITS: [&str; 1] = ["--no-measure"];

/// Ten quick cases, one that takes seconds, ten quick cases: whoever kills the run when ten are
/// in the record kills it in the middle of the eleventh.
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
        shape: (4096, 2048),
        patterns: "uniform",
        sparsity: "0.5",
        batch: "1024",
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
    // The process that works dies with the one that was killed; until then the record is locked.
    let record = std::fs::File::open(bench.path("record.json")).expect("it was just read");
    record.lock().expect("a file system with locks");
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

/// The record of a run that nobody killed.
fn uninterrupted(bench: &Workbench) -> Record {
    let arguments =
        [&["manifests/small.yaml", "--threads", "1", "--json", "whole.json"], &BITS[..]].concat();
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
    assert_eq!(seen, 10, "the eleventh takes seconds");
    let left = bench.record("record.json");
    assert_eq!(left.cases.len(), 10);
    assert!(left.cases.iter().all(|case| case.bits.is_some()));

    let ran = resume(&bench, &BITS);
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "most are not pinned");
    let continued = bench.record("record.json");
    assert_eq!(continued.cases[..10], left.cases, "seconds included: not run again");
    let whole = uninterrupted(&bench);
    assert_eq!(whole.cases.len(), 21);
    assert_eq!(whole.cases.iter().filter(|c| c.verdict == Verdict::Verified).count(), 4);
    assert_eq!(timeless(continued), whole);
    // The table and the summary are about all of them.
    assert!(ran.stdout.contains("21 cases: 4 verified, 17 unpinned"), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("quick")).count(), 20);
}

#[test]
fn a_run_killed_at_any_time_leaves_a_whole_record() {
    for count in [0, 1, 4, 7] {
        let bench = Workbench::new(&sections());
        let seen = killed_after(&bench, count);
        let left = bench.record("record.json").cases.len();
        assert!((seen..=10).contains(&left), "{left} cases of at least {seen}");
        assert_eq!(resume(&bench, &BITS).code, 3);
        assert_eq!(timeless(bench.record("record.json")), uninterrupted(&bench));
    }
}

/// A bench whose record holds the quick cases of the first section.
fn half() -> Workbench {
    let bench = Workbench::new(&sections());
    let ran = resume(&bench, &QUICK);
    assert_eq!(ran.code, 3, "{ran:?}");
    bench
}

const QUICK: [&str; 3] = ["--no-measure", "--case", "quick/*"];

#[test]
fn without_a_record_resume_starts_anew() {
    let bench = Workbench::new(&sections()[..1]);
    assert_eq!(resume(&bench, &BITS).code, 3);
    assert_eq!(timeless(bench.record("record.json")), uninterrupted(&bench));
}

#[test]
fn a_record_is_written_over_only_if_that_is_said() {
    let bench = half();
    let old = bench.read("record.json");
    let one = "quick/up/uniform-50/b3/f32/f32-chain";
    let arguments =
        ["manifests/small.yaml", "--no-measure", "--json", "record.json", "--case", one];
    let ran = bench.verify(&arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    let words = "error: record.json exists, and would be lost\nhint: --resume goes on with a \
                 record; --force writes over the file\n";
    assert_eq!(ran.stderr, words);
    assert_eq!(bench.read("record.json"), old);
    let ran = bench.verify(&[&arguments[..], &["--force"]].concat());
    assert_eq!(ran.code, 3, "{ran:?}");
    let new = bench.record("record.json");
    assert_eq!(new.cases.len(), 1);
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
    let seen = killed_after(&bench, 10);
    assert_eq!(seen, 10, "the eleventh takes seconds");
    let ran = resume(&bench, &BITS);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("21 cases: 19 verified, 1 mismatch, 1 unpinned"), "{}", ran.stdout);
}

#[test]
fn a_case_that_could_not_be_run_is_tried_again_in_its_place() {
    let bench = half();
    let before = bench.record("record.json");
    let mut failed = before.clone();
    failed.cases[3].stopped = Some(Stopped::Environment);
    failed.cases[3].bits = None;
    failed.cases[3].reasons = vec!["out of memory".into()];
    bench.save("record.json", &failed);
    assert_eq!(bench.record("record.json").cases[3].verdict, Verdict::NotRun);
    let ran = resume(&bench, &QUICK);
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
    let mut cases: Vec<(Vec<&str>, &str)> = vec![
        (vec!["--case", "quick/*"], "--no-measure: it was asked with it, now it is without it"),
        (BITS.to_vec(), "--case: it was asked with `quick/*`, now it is without it"),
        (
            vec!["--no-measure", "--case", "quick*"],
            "--case: it was asked with `quick/*`, now it is with `quick*`",
        ),
        (
            [&QUICK[..], &["--nonce", "x"]].concat(),
            "--nonce: it was asked without it, now it is with `x`",
        ),
        (
            [&QUICK[..], &["--shard", "1/2"]].concat(),
            "--shard: it was asked without it, now it is with `1/2`",
        ),
        (
            [&QUICK[..], &["--strict"]].concat(),
            "--strict: it was asked without it, now it is with it",
        ),
        (
            [&QUICK[..], &["--require", "claims"]].concat(),
            "--require: it was asked with `bits`, now it is with `claims`",
        ),
        (
            [&QUICK[..], &["--device", "cpu"]].concat(),
            "--device: it was asked without it, now it is with `cpu`",
        ),
    ];
    if sparse_verify::backend::cpu::Isa::best().name() != "portable" {
        cases.push(([&QUICK[..], &["--isa", "portable"]].concat(), "now it is with `portable`"));
    }
    for (more, words) in cases {
        refused(&bench, &more, words);
    }
    let mut other = bench.record("record.json");
    other.options.threads = 2;
    bench.save("record.json", &other);
    refused(&bench, &QUICK, "--threads: it was asked with 2, now it is with 1");
}

#[test]
fn a_run_of_another_manifest_is_not_continued() {
    let changed = "manifest `small`, its selection or its committed digests changed";
    let bench = half();
    let mut other = sections();
    other[0].seed = 5;
    bench.write("manifests/small.yaml", &text(&other));
    refused(&bench, &QUICK, changed);

    let bench = half();
    bench.write("manifests/more.yaml", &text(&sections()[..1]));
    let words = "it is of the manifests small, now they are small, more";
    refused(&bench, &[&["manifests/more.yaml"], &QUICK[..]].concat(), words);
}

#[test]
fn a_run_against_other_committed_digests_is_not_continued() {
    let bench = half();
    let ran = bench.verify(&["pin", "manifests", "--yes", "--case", "quick/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let changed = "manifest `small`, its selection or its committed digests changed";
    refused(&bench, &QUICK, changed);
}

#[test]
fn a_run_of_another_version_or_build_is_not_continued() {
    let bench = half();
    let record = bench.record("record.json");
    let mut other = record.clone();
    other.tool = "sparse-verify 0.0.9".into();
    bench.save("record.json", &other);
    let words = "the version of the tool is 0.1.0, and the record is of `sparse-verify 0.0.9`";
    refused(&bench, &QUICK, words);
    other.environment.tool_version = "0.0.9".into();
    bench.save("record.json", &other);
    refused(&bench, &QUICK, "it was made by sparse-verify 0.0.9, this is ");

    let mut other = record;
    other.environment.tool_sha256 = Some("0".repeat(64));
    bench.save("record.json", &other);
    refused(&bench, &QUICK, "it was made by another build: sha256 0000");
}

#[test]
fn a_file_that_is_no_record_is_not_continued() {
    let bench = half();
    let whole = bench.read("record.json");
    // Cut off before the first case could be written.
    for length in [1, whole.find("\"cases\"").expect("its cases") / 2] {
        bench.write("record.json", &whole[..length]);
        refused(&bench, &QUICK, "record.json is not a record");
    }
    let other = whole.replace(FORMAT, "sparse-verify-record/9");
    assert_ne!(other, whole);
    bench.write("record.json", &other);
    refused(&bench, &QUICK, "its format is `sparse-verify-record/9`");
}

/// Wherever the file ends, the run goes on with the whole cases in it and gives the same record.
#[test]
fn a_record_that_was_cut_off_is_continued_with_its_whole_cases() {
    let bench = half();
    let whole = bench.read("record.json");
    let first = whole.find("\"cases\":[\n").expect("its cases") + "\"cases\":[\n".len();
    let before = timeless(bench.record("record.json"));
    for length in [first, first + 1, (first + whole.len()) / 2, whole.len() - 3] {
        bench.write("record.json", &whole[..length]);
        let left = bench.record("record.json");
        assert!(left.ended.is_none() && left.outcome.is_none(), "{length}");
        let lines = whole[first..length].lines().count();
        assert!(left.cases.len() + 1 >= lines.min(10), "{} of {lines}", left.cases.len());
        let outcome = record::outcome::of(&left);
        assert_eq!(outcome.code, 3);
        assert!(outcome.headline.contains("cut off, or still going on"), "{}", outcome.headline);
        let ran = resume(&bench, &QUICK);
        assert_eq!(ran.code, 3, "{length}: {ran:?}");
        assert_eq!(timeless(bench.record("record.json")), before);
    }
    // An empty file is a place for a record.
    bench.write("record.json", "");
    assert_eq!(resume(&bench, &QUICK).code, 3);
    assert_eq!(timeless(bench.record("record.json")), before);
}
