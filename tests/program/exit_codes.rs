//! What the program returns, says and leaves behind, end to end: a release gate goes by nothing
//! else.

use crate::common;
use std::process::Stdio;

use crate::common::{Section, Workbench, change_digit, ran, text};
use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use record::verdict::Verdict;

const CHAIN: &str = "must/up/row-magnitude-50/b5/f32/f32-chain";
const EXACT: &str = "integers/up/none/b5/f32/exact";
const EXPECTED: &str = "expected-hashes/small.yaml";

/// Two required cases, milliseconds each.
fn two() -> Vec<Section<'static>> {
    let small = Section { shape: (96, 32), batch: "5", ..Section::default() };
    let exact = Section {
        name: "integers",
        weights: "binomial",
        arithmetic: "exact",
        patterns: "none",
        sparsity: "",
        ..small.clone()
    };
    vec![Section { name: "must", ..small }, exact]
}

/// And one that only counts under `--strict`.
fn three() -> Vec<Section<'static>> {
    let mut sections = two();
    sections.push(Section { name: "may", required: false, ..sections[0].clone() });
    sections
}

const RUN: [&str; 2] = ["manifests/small.yaml", "--no-measure"];

fn run(bench: &Workbench, more: &[&str]) -> common::Ran {
    bench.verify(&[&RUN, more].concat())
}

#[test]
fn everything_verified_is_0() {
    let bench = Workbench::pinned(&two());
    let ran = run(&bench, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("2 cases: 2 verified"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("everything required was verified (exit code 0)\n"));
    // A folder of manifests is the same.
    let ran = bench.verify(&["manifests", "--no-measure"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn one_digit_of_a_committed_digest_changed_is_1_and_is_named() {
    let bench = Workbench::pinned(&two());
    let committed = bench.read(EXPECTED);
    for (key, words) in [
        ("    a: ", "A (pruned weights) digest mismatch"),
        ("    v: ", "V (activations) digest mismatch"),
        ("    dense: ", "dense reference output digest mismatch"),
        ("    operator: ", "operator output digest mismatch"),
        ("    rebuilt: ", "perturbed output, rebuilt operator digest mismatch"),
        ("    shifted: ", "perturbed output, operator not rebuilt digest mismatch"),
    ] {
        bench.write(EXPECTED, &change_digit(&committed, CHAIN, key));
        let ran = run(&bench, &[]);
        assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "{}", ran.stdout);
        assert!(ran.stdout.contains(words), "{}", ran.stdout);
        assert_eq!(ran.stdout.matches("digest mismatch").count(), 1, "{}", ran.stdout);
        for part in [
            "2 cases: 1 verified, 1 mismatch",
            "(expected-hashes/small.yaml)",
            "the local implementations agree with each other",
            "hint: the inputs are",
            "refuted: 1 of 2 cases not right",
            "something was refuted (exit code 1)",
        ] {
            assert!(ran.stdout.contains(part), "`{part}` is not in\n{}", ran.stdout);
        }
        let inputs = matches!(key.trim(), "a:" | "v:");
        assert_eq!(ran.stdout.contains("the inputs are not those that were pinned"), inputs);
        let output = matches!(key.trim(), "dense:" | "operator:");
        let only_whole = "all 64 row panels are as committed: only the digest of the whole differs";
        assert_eq!(ran.stdout.contains(only_whole), output, "{}", ran.stdout);
    }
}

#[test]
fn a_mismatch_names_the_first_row_panel_that_differs() {
    let bench = Workbench::pinned(&two());
    let committed = bench.read(EXPECTED);
    let changed = change_digit(&committed, CHAIN, "    dense: ");
    let entry = changed.find(&format!("  {CHAIN}:")).expect("committed");
    let panels = entry + changed[entry..].find("panels: [").expect("committed");
    // Panel 5 of 96 rows holds rows 7 and 8, panel 9 rows 13 and 14.
    let digest = |p: usize| {
        let quotes: Vec<usize> =
            changed[panels..].match_indices('"').map(|(at, _)| panels + at).collect();
        quotes[2 * p] + 1..quotes[2 * p + 1]
    };
    for (edited, words) in [
        (vec![9], "first row panel that differs: 9 (rows 13..14)"),
        (vec![9, 5], "first row panel that differs: 5 (rows 7..8)"),
    ] {
        let mut text = changed.clone();
        for p in edited {
            text.replace_range(digest(p), "0123456789abcdef");
        }
        bench.write(EXPECTED, &text);
        let ran = run(&bench, &[]);
        assert_eq!(ran.code, 1, "{}", ran.stdout);
        assert!(ran.stdout.contains(words), "{}", ran.stdout);
    }
}

#[test]
fn an_entry_about_another_shape_is_1() {
    let bench = Workbench::pinned(&two());
    let committed = bench.read(EXPECTED);
    bench.write(EXPECTED, &committed.replacen("y: 96x5 f32", "y: 96x6 f32", 1));
    let ran = run(&bench, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("the committed entry is about another case"), "{}", ran.stdout);
}

#[test]
fn nothing_committed_is_3() {
    let bench = Workbench::new(&two());
    let ran = run(&bench, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("no expected digests are committed"), "{}", ran.stdout);
    assert!(ran.stdout.contains("2 cases: 2 unpinned"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("everything required"), "{}", ran.stdout);
    assert!(!bench.path("expected-hashes").exists(), "only pin writes there");
}

#[test]
fn one_required_case_that_is_not_committed_is_3() {
    let bench = Workbench::new(&two());
    let ran = bench.verify(&["pin", "manifests/small.yaml", "--yes", "--case", "must/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = run(&bench, &[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("1 verified, 1 unpinned"), "{}", ran.stdout);
    assert_eq!(run(&bench, &["--case", "must/*"]).code, 0);
}

#[test]
fn what_is_not_required_counts_under_strict_only() {
    let bench = Workbench::new(&three());
    for glob in ["must/*", "integers/*"] {
        let ran = bench.verify(&["pin", "manifests", "--yes", "--case", glob]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let ran = run(&bench, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("2 verified, 1 unpinned"), "{}", ran.stdout);
    assert_eq!(run(&bench, &["--strict"]).code, 3);
    // A refutation counts wherever it is.
    assert_eq!(bench.verify(&["pin", "manifests", "--yes"]).code, 0);
    let id = "may/up/row-magnitude-50/b5/f32/f32-chain";
    bench.write(EXPECTED, &change_digit(&bench.read(EXPECTED), id, "    a: "));
    assert_eq!(run(&bench, &[]).code, 1);
}

#[test]
fn a_refutation_outranks_what_is_missing() {
    let bench = Workbench::new(&two());
    let ran = bench.verify(&["pin", "manifests", "--yes", "--case", "must/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    bench.write(EXPECTED, &change_digit(&bench.read(EXPECTED), CHAIN, "    v: "));
    let ran = run(&bench, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("1 mismatch, 1 unpinned"), "{}", ran.stdout);
}

#[test]
fn required_measurements_that_were_not_made_are_3() {
    let bench = Workbench::pinned(&two());
    let text = bench.read("manifests/small.yaml");
    bench.write("manifests/small.yaml", &(text + "platform: NVIDIA H9000\n"));
    let ran = bench.verify(&["manifests", "--require", "measurements"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("2 cases: 2 verified"), "{}", ran.stdout);
    assert_eq!(run(&bench, &["--require", "bits"]).code, 0);
    // Those that nobody was to make are a slip.
    assert_eq!(run(&bench, &["--require", "measurements"]).code, 2);
}

/// What goes wrong before there is a run is said on stderr, and nothing on stdout.
fn fails(bench: &Workbench, arguments: &[&str], code: i32, words: &[&str]) {
    let ran = bench.verify(arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}: {}", ran.stderr);
    assert!(ran.stderr.starts_with("error: "), "{arguments:?}: {}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "{arguments:?}: no `{word}` in\n{}", ran.stderr);
    }
}

#[test]
fn bad_usage_is_2() {
    let bench = Workbench::pinned(&two());
    let run = |more: &[&'static str]| [&RUN, more].concat();
    fails(&bench, &run(&["--fast"]), 2, &["--fast"]);
    fails(&bench, &run(&["--threads", "0"]), 2, &["--threads"]);
    fails(&bench, &run(&["--isa", "sse9"]), 2, &["not a dispatch path", "portable"]);
    fails(&bench, &run(&["--require", "luck"]), 2, &["luck", "measurements"]);
    fails(&bench, &run(&["--quiet", "--verbose"]), 2, &["--quiet"]);
    fails(&bench, &run(&["--resume"]), 2, &["--json"]);
    fails(&bench, &run(&["--case", "nothing*"]), 2, &["no case matches `nothing*` (of 2 cases)"]);
    fails(&bench, &run(&["--case", "a["]), 2, &["--case `a[`"]);
    fails(&bench, &["pin"], 2, &["PATH"]);
    let ran = bench.verify(&[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
}

#[test]
fn help_and_version_are_0_and_data() {
    let bench = Workbench::new(&two());
    for flag in ["--help", "--version", "-h"] {
        let ran = bench.verify(&[flag]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.contains("verify"));
    }
    let help = bench.verify(&["--help"]).stdout;
    for line in [
        "0  everything required was verified",
        "1  something was refuted",
        "2  bad usage",
        "3  nothing refuted, but something required was not verified",
        "4  the environment failed",
    ] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn bad_manifests_are_2() {
    let bench = Workbench::pinned(&two());
    let good = bench.read("manifests/small.yaml");
    bench.write("manifests/bad.yaml", &good.replace("seed: 3", "seed: minus"));
    // All errors of all manifests, with places.
    fails(&bench, &["manifests"], 2, &["manifests/bad.yaml:6:", "manifests/bad.yaml:18:", "seed"]);
    bench.write("manifests/bad.yaml", "");
    fails(&bench, &["manifests/bad.yaml"], 2, &["the manifest is empty"]);
    fails(&bench, &["manifests/none.yaml"], 2, &["manifests/none.yaml", "found nothing"]);
    fails(&bench, &["manifests/small.yaml/x"], 2, &["manifests/small.yaml/x"]);
    std::fs::create_dir(bench.path("empty")).expect("new");
    fails(&bench, &["empty"], 2, &["expected manifests in the folder, found none"]);
    std::fs::create_dir(bench.path("other")).expect("new");
    bench.write("other/small.yaml", &good);
    fails(&bench, &["manifests/small.yaml", "other"], 2, &["have the same name"]);
}

#[test]
fn a_manifest_named_twice_is_run_once() {
    let bench = Workbench::pinned(&two());
    let ran = bench.verify(&["manifests/small.yaml", "manifests", "--no-measure"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("2 cases: 2 verified"), "{}", ran.stdout);
}

#[test]
fn broken_committed_digests_are_2() {
    let bench = Workbench::pinned(&two());
    let committed = bench.read(EXPECTED);
    for (from, to, words) in [
        ("format: 1", "format: 2", "format 2 is not known: expected 1"),
        ("manifest: small", "manifest: large", "those of manifest `large`, not of `small`"),
        ("    dense: \"", "    dense: \"x", "expected-hashes/small.yaml"),
        ("    order:", "    sorted:", "sorted"),
    ] {
        bench.write(EXPECTED, &committed.replacen(from, to, 1));
        fails(&bench, &RUN, 2, &[words, "hint: only `verify pin` writes this file"]);
    }
}

#[test]
fn committed_digests_that_cannot_be_read_are_4() {
    let bench = Workbench::pinned(&two());
    std::fs::remove_file(bench.path(EXPECTED)).expect("pinned");
    std::fs::create_dir(bench.path(EXPECTED)).expect("its place is free");
    fails(&bench, &RUN, 4, &["failed to read", EXPECTED]);
}

#[cfg(unix)]
#[test]
fn a_manifest_that_cannot_be_read_is_4() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let bench = Workbench::pinned(&two());
    // A link to itself: there, and nobody can read it.
    symlink("loop.yaml", bench.path("loop.yaml")).expect("a link");
    fails(&bench, &["loop.yaml"], 4, &["loop.yaml", "failed to"]);
    let path = bench.path("manifests/small.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("ours");
    if std::fs::File::open(&path).is_ok() {
        eprintln!("not run: permissions do not hold for this user");
        return;
    }
    fails(&bench, &["manifests/small.yaml"], 4, &["failed to read the manifest"]);
}

#[test]
fn the_record_goes_where_asked() {
    let bench = Workbench::pinned(&two());
    std::fs::create_dir(bench.path("out")).expect("new");
    let ran = run(&bench, &["--json", "out/record.json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(!ran.stdout.contains('{'), "the table only: {}", ran.stdout);
    assert_eq!(bench.list("out"), ["record.json"], "nothing is left beside it");
    let record = bench.record("out/record.json");
    assert_eq!(record.cases.len(), 2);
    assert!(record.cases.iter().all(|case| case.verdict == Verdict::Verified));
    assert_eq!(record.arguments, [RUN[0], RUN[1], "--json", "out/record.json"]);
}

#[cfg(unix)]
#[test]
fn the_files_written_are_readable_as_any_new_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Workbench::pinned(&two());
    assert_eq!(run(&bench, &["--json", "record.json", "--junit", "report.xml"]).code, 0);
    bench.write("any", "");
    let mode = |name: &str| {
        let meta = std::fs::metadata(bench.path(name)).expect("written");
        meta.permissions().mode() & 0o777
    };
    for name in ["record.json", "report.xml", EXPECTED] {
        assert_eq!(mode(name), mode("any"), "{name}");
    }
    let path = bench.path("record.json");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("ours");
    assert_eq!(run(&bench, &["--json", "record.json"]).code, 2, "it is there");
    assert_eq!(run(&bench, &["--json", "record.json", "--force"]).code, 0);
    assert_eq!(mode("record.json"), 0o640, "written over, not made anew");
}

#[cfg(unix)]
#[test]
fn the_record_is_written_through_a_link() {
    let bench = Workbench::pinned(&two());
    std::fs::create_dir(bench.path("out")).expect("new");
    std::os::unix::fs::symlink("out/record.json", bench.path("link.json")).expect("a link");
    // First where there is nothing yet, then over what is there.
    for more in [&[][..], &["--force"]] {
        assert_eq!(run(&bench, &[&["--json", "link.json"], more].concat()).code, 0);
        assert!(bench.path("link.json").is_symlink(), "the link was replaced");
        assert_eq!(bench.record("out/record.json").cases.len(), 2);
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_gets_the_record_once() {
    let bench = Workbench::pinned(&two());
    let ran = run(&bench, &["--quiet", "--json", "/dev/stderr"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let record: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one document");
    assert_eq!(record["cases"].as_array().map(Vec::len), Some(2));
}

#[test]
fn on_standard_output_the_record_stands_alone() {
    let bench = Workbench::pinned(&two());
    for more in [&["--json", "-"][..], &["--quiet", "--json", "-"], &["--verbose", "--json", "-"]] {
        let ran = run(&bench, more);
        assert_eq!(ran.code, 0, "{ran:?}");
        let record: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one document");
        assert_eq!(record["cases"].as_array().map(Vec::len), Some(2));
        assert!(ran.stderr.contains("bits verified: 2 of 2 cases"), "{ran:?}");
    }
    let ran = run(&bench, &["--junit", "-"]);
    assert!(ran.stdout.starts_with("<?xml ") && ran.stdout.ends_with("</testsuites>\n"), "{ran:?}");
    assert!(ran.stderr.contains("bits verified: 2 of 2 cases"), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_for_the_record_is_4() {
    let bench = Workbench::pinned(&two());
    let ran = run(&bench, &["--json", "/dev/full"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let words = "error: failed to write the record /dev/full: No space left on device";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert!(!ran.stdout.contains("everything required was verified"), "{}", ran.stdout);
}

#[test]
fn a_missing_folder_for_the_record_is_4_before_any_work() {
    let bench = Workbench::pinned(&two());
    let arguments = [&RUN[..], &["--json", "missing/record.json"]].concat();
    fails(
        &bench,
        &arguments,
        4,
        &["failed to write the record missing/record.json", "No such file"],
    );
}

#[test]
fn a_report_that_cannot_be_written_is_4_unless_something_was_refuted() {
    let bench = Workbench::pinned(&two());
    // Found before any work where there is no place for it.
    let missing = [&RUN[..], &["--junit", "missing/report.xml"]].concat();
    fails(&bench, &missing, 4, &["failed to write missing/report.xml"]);
    if !cfg!(target_os = "linux") {
        return;
    }
    // A stream is written to at the end.
    let junit = ["--junit", "/dev/full"];
    let words = "failed to write /dev/full";
    let ran = run(&bench, &junit);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert!(ran.stdout.ends_with("(exit code 4)\n"), "{}", ran.stdout);
    bench.write(EXPECTED, &change_digit(&bench.read(EXPECTED), CHAIN, "    a: "));
    let ran = run(&bench, &junit);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert!(ran.stdout.ends_with("(exit code 1)\n"), "{}", ran.stdout);
}

/// A case of a JUnit report.
struct Reported {
    id: String,
    skipped: bool,
    /// With the verdict; `None` for what passed or was skipped.
    failed: Option<(NonSuccessKind, String)>,
    /// The reasons; empty for what passed.
    text: String,
}

/// The cases of report.xml.
fn junit(bench: &Workbench) -> Vec<Reported> {
    let report = Report::deserialize_from_str(&bench.read("report.xml")).expect("JUnit");
    assert_eq!(report.test_suites.len(), 1);
    assert_eq!(report.test_suites[0].name.as_str(), "small");
    let reported = |case: &quick_junit::TestCase| {
        assert_eq!(case.classname.as_ref().map(|name| name.as_str()), Some("small"));
        let mut reported = Reported {
            id: case.name.to_string(),
            skipped: false,
            failed: None,
            text: String::new(),
        };
        let description = match &case.status {
            TestCaseStatus::Success { .. } => None,
            TestCaseStatus::NonSuccess { kind, message, description, .. } => {
                let verdict = message.as_ref().expect("the verdict").to_string();
                reported.failed = Some((*kind, verdict));
                description.as_ref()
            }
            TestCaseStatus::Skipped { description, .. } => {
                reported.skipped = true;
                description.as_ref()
            }
        };
        reported.text = description.map(|text| text.to_string()).unwrap_or_default();
        reported
    };
    report.test_suites[0].test_cases.iter().map(reported).collect()
}

#[test]
fn junit_tells_failures_errors_and_skips_apart() {
    let bench = Workbench::new(&three());
    let ran = bench.verify(&["pin", "manifests", "--yes", "--case", "must/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    bench.write(EXPECTED, &change_digit(&bench.read(EXPECTED), CHAIN, "    dense: "));
    assert_eq!(run(&bench, &["--junit", "report.xml"]).code, 1);
    let cases = junit(&bench);
    let failed = |i: usize| cases[i].failed.as_ref().map(|(kind, word)| (*kind, word.as_str()));
    assert_eq!(cases[0].id, CHAIN);
    assert_eq!(failed(0), Some((NonSuccessKind::Failure, "mismatch")));
    let text = &cases[0].text;
    assert!(text.contains("dense reference output digest mismatch"), "{text}");
    assert_eq!(cases[1].id, EXACT);
    assert_eq!(failed(1), Some((NonSuccessKind::Error, "unpinned")));
    assert_eq!(failed(2), None);
    assert!(cases[2].skipped, "what was not verified never counts as passed");

    assert_eq!(run(&bench, &["--strict", "--junit", "report.xml"]).code, 1);
    let strict = junit(&bench);
    let kind = strict[2].failed.as_ref().map(|failed| failed.0);
    assert_eq!(kind, Some(NonSuccessKind::Error));

    assert_eq!(bench.verify(&["pin", "manifests", "--yes"]).code, 0);
    assert_eq!(run(&bench, &["--junit", "report.xml"]).code, 0);
    for case in junit(&bench) {
        assert!(case.failed.is_none() && !case.skipped && case.text.is_empty(), "{}", case.id);
    }
}

#[test]
fn what_is_piped_has_no_colour() {
    let bench = Workbench::pinned(&two());
    bench.write(EXPECTED, &change_digit(&bench.read(EXPECTED), CHAIN, "    a: "));
    let plain = run(&bench, &["--verbose"]);
    assert_eq!(plain.code, 1);
    assert!(!plain.stdout.contains('\x1b') && !plain.stderr.contains('\x1b'), "{plain:?}");
    let usage = run(&bench, &["--fast"]);
    assert!(!usage.stderr.contains('\x1b'), "{usage:?}");
    // There is colour to leave out.
    let forced = ran(bench.command(&RUN).env("CLICOLOR_FORCE", "1"));
    assert!(forced.stdout.contains('\x1b'), "{forced:?}");
}

#[test]
fn quiet_shows_what_is_not_verified_and_the_summary() {
    let bench = Workbench::pinned(&two());
    bench.write(EXPECTED, &change_digit(&bench.read(EXPECTED), CHAIN, "    a: "));
    let ran = run(&bench, &["--quiet"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains(CHAIN) && !ran.stdout.contains(EXACT), "{}", ran.stdout);
    assert!(ran.stdout.contains("2 cases: 1 verified, 1 mismatch"), "{}", ran.stdout);
}

#[cfg(target_os = "linux")]
#[test]
fn a_table_that_cannot_be_written_does_not_stop_the_run() {
    let bench = Workbench::pinned(&two());
    // As if the disk were full behind `> table.txt`.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
    let arguments = [&RUN[..], &["--json", "record.json"]].concat();
    let status = bench.command(&arguments).stdout(full).stderr(Stdio::null()).status();
    assert_eq!(status.expect("the program was built").code(), Some(4));
    let record = bench.record("record.json");
    assert_eq!(record.cases.len(), 2);
    assert_eq!(record.outcome.map(|outcome| outcome.code), Some(0), "the record is whole");
}

#[test]
fn explain_reads_the_record_alone() {
    let bench = Workbench::pinned(&two());
    bench.write(EXPECTED, &change_digit(&bench.read(EXPECTED), CHAIN, "    dense: "));
    assert_eq!(run(&bench, &["--json", "record.json"]).code, 1);
    for folder in ["manifests", "expected-hashes"] {
        std::fs::remove_dir_all(bench.path(folder)).expect("no longer wanted");
    }
    let ran = bench.verify(&["explain", "record.json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "as the record");
    for part in [
        &format!("small `{CHAIN}`: mismatch") as &str,
        "dense     DIFFERS",
        "operator  as committed",
        "scalar rule): agree with each other",
        "hint: the inputs are those that were pinned",
    ] {
        assert!(ran.stdout.contains(part), "no `{part}` in\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains(EXACT), "a verified case needs no explanation");
    let ran = bench.verify(&["explain", "record.json", "--case", "integers/*"]);
    assert_eq!(ran.stdout, "all 1 cases hold: nothing to explain\n");
    fails(&bench, &["explain", "record.json", "--case", "x"], 2, &["no case of record.json"]);
    fails(&bench, &["explain", "missing.json"], 4, &["failed to read the record missing.json"]);
    bench.write("bad.json", "{");
    fails(&bench, &["explain", "bad.json"], 2, &["bad.json is not a record"]);
}

#[test]
fn pin_asks_and_without_a_terminal_leaves_the_file_as_it_was() {
    let bench = Workbench::pinned(&two());
    let damaged = change_digit(&bench.read(EXPECTED), CHAIN, "    rebuilt: ");
    bench.write(EXPECTED, &damaged);
    let ran = bench.verify(&["pin", "manifests/small.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("nobody to ask whether to write"), "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!("~ {CHAIN}: rebuilt\n    - ")), "{}", ran.stdout);
    assert_eq!(bench.read(EXPECTED), damaged);

    let fresh = Workbench::new(&two());
    assert_eq!(fresh.verify(&["pin", "manifests/small.yaml"]).code, 2);
    assert!(!fresh.path("expected-hashes").exists());
}

#[test]
fn pinning_again_is_unchanged() {
    let bench = Workbench::pinned(&three());
    let committed = bench.read(EXPECTED);
    for arguments in [&["pin", "manifests", "--yes"][..], &["pin", "manifests"]] {
        let ran = bench.verify(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.ends_with("small.yaml: unchanged\n"), "{}", ran.stdout);
        assert_eq!(bench.read(EXPECTED), committed);
    }
    assert_eq!(bench.list("expected-hashes"), ["small.panels", "small.yaml"]);
}

#[test]
fn pin_shows_what_changed_and_puts_it_right() {
    let bench = Workbench::pinned(&two());
    let committed = bench.read(EXPECTED);
    let damaged = change_digit(&committed, EXACT, "    shifted: ");
    bench.write(EXPECTED, &damaged);
    let ran = bench.verify(&["pin", "manifests/small.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let value = |text: &str| {
        let entry = text.find(&format!("  {EXACT}:")).expect("committed");
        let at = entry + text[entry..].find("shifted: \"").expect("committed") + 10;
        text[at..at + 64].to_owned()
    };
    let difference =
        format!("~ {EXACT}: shifted\n    - {}\n    + {}\n", value(&damaged), value(&committed));
    assert!(ran.stdout.starts_with(&difference), "{}", ran.stdout);
    assert_eq!(bench.read(EXPECTED), committed);
}

#[test]
fn pin_shows_a_row_panel_that_changed() {
    let bench = Workbench::pinned(&two());
    let committed = bench.read(EXPECTED);
    let panels = committed.find("panels: [").expect("committed");
    let at = panels + committed[panels..].find('"').expect("a panel") + 1;
    let mut damaged = committed.clone();
    damaged.replace_range(at..at + 16, "0123456789abcdef");
    bench.write(EXPECTED, &damaged);
    let ran = bench.verify(&["pin", "manifests/small.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains(": panels\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("0123456789abcdef"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("digests unchanged"), "{}", ran.stdout);
    assert_eq!(bench.read(EXPECTED), committed);
}

#[test]
fn pinning_some_cases_leaves_the_others() {
    let bench = Workbench::pinned(&two());
    let committed = bench.read(EXPECTED);
    let one = change_digit(&committed, CHAIN, "    a: ");
    bench.write(EXPECTED, &change_digit(&one, EXACT, "    v: "));
    let ran = bench.verify(&["pin", "manifests", "--yes", "--case", "integers/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains(EXACT) && !ran.stdout.contains(CHAIN), "{}", ran.stdout);
    assert_eq!(bench.read(EXPECTED), one, "the other entry's damage is still there");
}

#[test]
fn pin_removes_entries_of_cases_that_are_gone() {
    let bench = Workbench::pinned(&three());
    bench.write("manifests/small.yaml", &text(&two()));
    let before = bench.read(EXPECTED);
    // A run does not mind, and does not count them.
    let ran = run(&bench, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(bench.read(EXPECTED), before);
    let ran = bench.verify(&["pin", "manifests", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("no longer in the manifest"), "{}", ran.stdout);
    assert!(!bench.read(EXPECTED).contains("  may/"));
    assert_eq!(run(&bench, &["--strict"]).code, 0);
}

#[test]
fn pin_refuses_data_that_do_not_show_the_arithmetic() {
    // One product a row: every tensor core and the chain agree.
    let section = Section {
        shape: (4, 1),
        batch: "1",
        dtype: "bf16",
        arithmetic: "{tensor-core: hopper}",
        patterns: "none",
        sparsity: "",
        ..Section::default()
    };
    let bench = Workbench::new(&[section]);
    let ran = bench.verify(&["pin", "manifests", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let words = "refused: the data do not show which arithmetic ran: f32-chain gives the same";
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    assert!(!bench.path("expected-hashes").exists());
}

#[test]
fn a_nonce_compares_the_perturbed_outputs_with_nothing_committed() {
    let bench = Workbench::pinned(&two());
    let ran = run(&bench, &["--nonce", "nobody knew", "--json", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for case in bench.record("record.json").cases {
        let bits = case.bits.expect("run");
        for row in bits.digests {
            let perturbed = matches!(&*row.name, "rebuilt" | "shifted");
            assert_eq!(row.compared, !perturbed, "{}", row.name);
            assert_eq!(row.got == row.expected, !perturbed, "{}", row.name);
        }
    }
}

#[test]
fn list_says_what_is_pinned() {
    let bench = Workbench::new(&two());
    assert!(bench.verify(&["list", "manifests"]).stdout.ends_with("2 cases, 0 pinned\n"));
    assert_eq!(bench.verify(&["pin", "manifests", "--yes"]).code, 0);
    assert!(bench.verify(&["list", "manifests"]).stdout.ends_with("2 cases, 2 pinned\n"));
    let json = bench.verify(&["list", "manifests", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("one document");
    assert_eq!(json[0]["id"], CHAIN);
    assert_eq!(json[1]["pinned"], true);
}
