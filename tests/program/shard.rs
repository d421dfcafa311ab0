//! A run dealt out to many machines is the run of one: nothing is lost, nothing is done twice, and what one machine
//! would have refused is refused.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Ran, Section, Workbench, change_digit, repository, small, text};
use contract::case::Case;
use contract::digest::Digest;
use contract::published::{Comparison, Scope};
use record::claims::{PublishedInput, Tensor};
use record::merge::{Part, join};
use record::shard::Shard;
use record::verdict::Verdict;
use record::{End, Record};
use sparse_verify::manifest;
use sparse_verify::shard::{chosen, work};

fn cases(manifests: &[&str]) -> Vec<Case> {
    let load =
        |name: &&str| manifest::load(Path::new(&repository(&format!("manifests/{name}.yaml"))));
    manifests.iter().flat_map(|name| load(name).expect("one of ours").cases).collect()
}

#[test]
fn shards_are_a_partition_and_no_part_is_much_larger_than_the_others() {
    for manifests in [&["quickstart"][..], &["b200"], &["mi300x"], &["h200", "minilm", "t4"]] {
        let cases = cases(manifests);
        let costs: Vec<u128> = cases.iter().map(work).collect();
        let (total, largest): (u128, u128) =
            (costs.iter().sum(), costs.iter().copied().max().unwrap_or(0));
        for count in (1..=7).chain([cases.len() as u16 + 3]) {
            let mut times_chosen = vec![0; cases.len()];
            for shard in Shard::all(count) {
                let is_own = chosen(cases.iter(), shard);
                assert_eq!(is_own, chosen(cases.iter(), shard), "the same every time");
                let mut cost = 0;
                for (at, _) in is_own.iter().enumerate().filter(|(_, own)| **own) {
                    times_chosen[at] += 1;
                    cost += costs[at];
                }
                assert!(cost <= total / u128::from(count) + largest, "{manifests:?} {shard}");
                // One stretch: what is on the same weights stays together.
                let starts = is_own.windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert!(starts <= 2, "{manifests:?} {shard}");
                let is_empty = !is_own.contains(&true);
                assert_eq!(is_empty, usize::from(shard.index()) > cases.len());
            }
            assert!(times_chosen.iter().all(|&times| times == 1), "{manifests:?} of {count}");
        }
    }
}

#[test]
fn what_is_no_shard_is_bad_usage() {
    let bench = Workbench::new(&small());
    for (shard, words) in [
        ("0/4", "shard 0 is out of range: must be from 1 to 4"),
        ("5/4", "shard 5 is out of range: must be from 1 to 4"),
        ("1/0", "0 shards are out of range"),
        ("x", "expected I/N"),
        ("", "expected I/N"),
    ] {
        let ran = bench.verify(&["manifests", "--shard", shard]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{shard}: {ran:?}");
        assert!(ran.stderr.contains(words), "{shard}: {}", ran.stderr);
    }
}

/// Runs shards of `count` to `record-I.json`, and gives their exit codes.
fn run_shards(bench: &Workbench, path: &str, count: u16, more: &[&str]) -> Vec<i32> {
    Shard::all(count).map(|shard| run_shard(bench, path, shard, more).code).collect()
}

fn run_shard(bench: &Workbench, path: &str, shard: Shard, more: &[&str]) -> Ran {
    let (of, json) = (shard.to_string(), format!("record-{}.json", shard.index()));
    let arguments =
        [path, "--no-measure", "--threads", "2", "--shard", &of, "--json", &json, "--force"];
    bench.verify(&[&arguments, more].concat())
}

fn merge(bench: &Workbench, indices: &[u16], more: &[&str]) -> Ran {
    let names: Vec<String> = indices.iter().map(|i| format!("record-{i}.json")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.verify(&[&["merge"], &names[..], &["--json", "merged.json"], more].concat())
}

/// What differs from one run to the next: times, and the command line. A merged record also says what it is from.
fn timeless(mut record: Record) -> Record {
    record.started = String::new();
    record.arguments = Vec::new();
    record.shards = Vec::new();
    record.cases.iter_mut().for_each(|case| case.seconds = 0.0);
    record
}

fn whole(bench: &Workbench, path: &str, more: &[&str]) -> (Record, i32) {
    let arguments = [path, "--no-measure", "--threads", "2", "--json", "whole.json", "--force"];
    let ran = bench.verify(&[&arguments, more].concat());
    (bench.record("whole.json"), ran.code)
}

#[test]
fn the_merged_record_is_that_of_the_whole_but_for_times() {
    let bench = Workbench::new(&small());
    let quickstart = repository("manifests/quickstart.yaml");
    assert_eq!(run_shards(&bench, &quickstart, 4, &[]), [0; 4]);
    // In any order.
    let ran = merge(&bench, &[3, 1, 4, 2], &["--junit", "merged.xml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("222 cases: 197 verified, 25 within-bound"), "{}", ran.stdout);
    let (whole, code) = whole(&bench, &quickstart, &[]);
    assert_eq!(code, 0);
    let merged = bench.record("merged.json");
    assert_eq!(timeless(merged.clone()), timeless(whole.clone()));
    assert!(whole.shards.is_empty());

    // Where and how each shard was run is kept.
    assert_eq!(merged.arguments[0], "merge");
    let shards: Vec<String> = merged.shards.iter().map(|s| s.shard.to_string()).collect();
    assert_eq!(shards, ["1/4", "2/4", "3/4", "4/4"]);
    for (shard, index) in merged.shards.iter().zip(1..) {
        let record = bench.record(&format!("record-{index}.json"));
        assert_eq!(
            (&shard.arguments, &shard.started, &shard.environment),
            (&record.arguments, &record.started, &record.environment)
        );
    }
    assert!(bench.read("merged.xml").contains(r#"tests="222""#));
}

#[test]
fn several_manifests_and_a_selection_are_dealt_as_one_run() {
    let bench = Workbench::pinned(&small());
    bench.write("manifests/again.yaml", &text(&small()[1..]));
    let glob = ["--case", "*uniform*"];
    assert_eq!(run_shards(&bench, "manifests", 3, &glob).iter().max(), Some(&3), "not pinned");
    let ran = merge(&bench, &[1, 2, 3], &[]);
    let (whole, code) = whole(&bench, "manifests", &glob);
    assert_eq!((ran.code, code), (3, 3), "{ran:?}");
    assert_eq!(whole.cases.len(), 4 + 3 + 4);
    assert_eq!(timeless(bench.record("merged.json")), timeless(whole));
}

#[test]
fn a_shard_without_cases_succeeds_and_says_so() {
    let bench = Workbench::pinned(&small());
    let ran = run_shard(&bench, "manifests", "12/12".parse().expect("a shard"), &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("shard 12/12: none of the 10 cases"), "{}", ran.stdout);
    assert!(ran.stdout.contains("0 cases; 0 ms"), "{}", ran.stdout);
    assert!(bench.record("record-12.json").cases.is_empty());
    assert_eq!(run_shards(&bench, "manifests", 12, &[]), [0; 12]);
    let ran = merge(&bench, &(1..=12).collect::<Vec<_>>(), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("10 cases: 10 verified"), "{}", ran.stdout);
}

#[test]
fn merge_exits_as_the_whole_run_would() {
    let bench = Workbench::pinned(&small());
    let committed = bench.read("expected-hashes/small.yaml");
    let id = "small/up/row-magnitude-50/b3/f32/f32-chain";
    bench.write("expected-hashes/small.yaml", &change_digit(&committed, id, "    a: "));
    let mut codes = run_shards(&bench, "manifests", 3, &[]);
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 1]);
    let ran = merge(&bench, &[1, 2, 3], &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("A (pruned weights) digest mismatch"), "{}", ran.stdout);
    assert!(ran.stdout.contains("10 cases: 9 verified, 1 mismatch"), "{}", ran.stdout);

    // The flags of a run.
    let optional = Section { required: false, name: "may", ..small()[1].clone() };
    let bench = Workbench::new(&[optional]);
    run_shards(&bench, "manifests", 2, &[]);
    assert_eq!(merge(&bench, &[1, 2], &[]).code, 3, "nothing was verified");
    let optional = Section { required: false, name: "may", ..small()[1].clone() };
    let bench = Workbench::new(&[small()[0].clone(), optional]);
    let ran = bench.verify(&["pin", "manifests", "--yes", "--case", "small/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    run_shards(&bench, "manifests", 2, &[]);
    assert_eq!(merge(&bench, &[1, 2], &[]).code, 0, "what is required was verified");
    assert_eq!(merge(&bench, &[1, 2], &["--strict"]).code, 3);
    let bench = Workbench::pinned(&small());
    run_shards(&bench, "manifests", 2, &[]);
    assert_eq!(merge(&bench, &[1, 2], &[]).code, 0);
    assert_eq!(merge(&bench, &[1, 2], &["--require", "measurements"]).code, 3);
}

/// Refused with 2, in these words, and nothing is written.
fn refused(bench: &Workbench, indices: &[u16], words: &[&str]) {
    let ran = merge(bench, indices, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    for words in words {
        assert!(ran.stderr.contains(words), "no `{words}` in\n{}", ran.stderr);
    }
    assert!(!bench.path("merged.json").exists());
}

/// A bench with the records of three shards.
fn three() -> Workbench {
    let bench = Workbench::pinned(&small());
    assert_eq!(run_shards(&bench, "manifests", 3, &[]), [0; 3]);
    bench
}

/// Three shards of which one was changed, and all that follows from it.
fn changed(change: impl Fn(&mut Record)) -> Workbench {
    let bench = three();
    let mut record = bench.record("record-2.json");
    change(&mut record);
    bench.save("record-2.json", &record);
    bench
}

#[test]
fn records_of_other_runs_are_refused() {
    let both = "record-1.json and record-2.json are not of one run: ";
    let bench = changed(|record| record.tool = "sparse-verify 0.0.9".into());
    let words = "the version of the tool is 0.1.0, and the record is of `sparse-verify 0.0.9`";
    refused(&bench, &[1, 2, 3], &["record-2.json contradicts itself", words]);
    let bench = changed(|record| {
        record.tool = "sparse-verify 0.0.9".into();
        record.environment.tool_version = "0.0.9".into();
    });
    refused(&bench, &[1, 2, 3], &[both, "the other by sparse-verify 0.0.9"]);
    let bench = changed(|record| record.options.nonce = Some("x".into()));
    refused(&bench, &[1, 2, 3], &["--nonce is not given and x"]);
    let bench = changed(|record| record.options.device = Some("cpu".into()));
    refused(&bench, &[1, 2, 3], &["--device is not given and cpu"]);
    let bench = changed(|record| record.options.measure = true);
    refused(&bench, &[1, 2, 3], &["measuring is false and true"]);
    let bench = changed(|record| record.options.shard = "2/4".parse().ok());
    refused(&bench, &[1, 2, 3], &["one is of 3 shards, the other of 4"]);
    let bench = changed(|record| record.manifests[0].sha256 = Digest::of(b"other"));
    refused(&bench, &[1, 2, 3], &[both, "manifest `small` has sha256"]);
    let bench = changed(|record| record.manifests[0].expected_sha256 = None);
    refused(&bench, &[1, 2, 3], &["the committed digests of manifest `small` differ"]);
    let bench = changed(|record| {
        record.manifests[0].name = "large".into();
        record.cases.iter_mut().for_each(|case| case.manifest = "large".into());
    });
    refused(&bench, &[1, 2, 3], &["one is of the manifests small, the other of large"]);
    let bench = changed(|record| drop(record.manifests[0].selected.pop()));
    refused(&bench, &[1, 2, 3], &["10 and 9 cases of manifest `small` were asked for"]);
    let bench = changed(|record| record.options.shard = None);
    refused(&bench, &[1, 2, 3], &["record-2.json contradicts itself: the shard is None"]);
    let bench = changed(|record| {
        record.options.shard = None;
        record.manifests[0].dealt = None;
        record.ended = None;
    });
    refused(&bench, &[1, 2, 3], &["record-2.json is no record of a shard"]);
    let bench = changed(|record| record.cases[0].id = "other".into());
    let words = "a case is `other`, and it is none of those asked for";
    refused(&bench, &[1, 2, 3], &["record-2.json contradicts itself", words]);
}

#[test]
fn files_that_are_no_records_are_refused_all_at_once() {
    let bench = three();
    bench.write("record-1.json", "{}");
    bench.write("record-3.json", "no");
    let words =
        ["record-1.json is not a record: it has no `format`", "record-3.json is not a record"];
    refused(&bench, &[1, 2, 3], &words);
    let ran = merge(&bench, &[2, 9], &[]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("failed to read the record record-9.json"), "{ran:?}");
}

#[test]
fn missing_shards_are_named_and_never_pass() {
    let bench = three();
    refused(&bench, &[1], &["no record of shards 2/3, 3/3", "hint: --partial"]);
    let ran = merge(&bench, &[1, 3], &["--partial"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("missing: shard 2/3\n"), "{}", ran.stdout);
    for case in bench.record("record-2.json").cases {
        let words = format!("missing: case `{}` is in no record\n", case.id);
        assert!(ran.stdout.contains(&words), "{}", ran.stdout);
    }
    // What was joined can be joined with the rest.
    std::fs::rename(bench.path("merged.json"), bench.path("record-4.json")).expect("just written");
    let ran = merge(&bench, &[4, 2], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let joined = bench.record("merged.json");
    assert_eq!(merge(&bench, &[1, 2, 3], &[]).code, 0);
    let at_once = bench.record("merged.json");
    assert_eq!(joined.shards, at_once.shards);
    assert_eq!(timeless(joined), timeless(at_once));
}

/// It has all its cases; what was to be done after them was not.
#[test]
fn a_shard_that_was_stopped_after_its_last_case_is_no_whole_one() {
    let stops = [None, Some(End::Interrupted { signal: "SIGTERM".into() })];
    for ended in stops {
        let bench = three();
        let whole = bench.record("record-2.json");
        let mut stopped = whole.clone();
        stopped.ended = ended;
        bench.save("record-2.json", &stopped);
        let words = "no record says that the run ended by itself of shard 2/3";
        refused(&bench, &[1, 2, 3], &[words, "goes on with --resume"]);
        let ran = merge(&bench, &[1, 2, 3], &["--partial"]);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stdout.contains("not ended: shard 2/3"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("bits verified"), "{}", ran.stdout);
        // What was joined is said to be complete: its shard is not.
        let mut joined = bench.record("merged.json");
        joined.ended = Some(End::Completed);
        bench.save("forged.json", &joined);
        let ran = bench.verify(&["report", "forged.json"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("the number of shards that were completed"), "{}", ran.stderr);
        // Gone on with, it is whole.
        bench.save("record-4.json", &whole);
        let ran = merge(&bench, &[1, 2, 3, 4], &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn a_case_in_two_records_is_kept_once_if_they_agree() {
    let bench = three();
    std::fs::copy(bench.path("record-2.json"), bench.path("record-4.json")).expect("there");
    let mut again = bench.record("record-4.json");
    again.cases.iter_mut().for_each(|case| case.seconds += 1.0);
    bench.save("record-4.json", &again);
    let ran = merge(&bench, &[1, 2, 3, 4], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("note: twice and alike, one is kept: case"), "{}", ran.stderr);
    assert!(ran.stdout.contains("10 cases: 10 verified"), "{}", ran.stdout);

    let bench = three();
    let mut record = bench.record("record-2.json");
    let id = record.cases[0].id.clone();
    record.cases[0].bits.as_mut().expect("verified").negative_zeros_dense += 1;
    bench.save("record-4.json", &record);
    let words = format!("record-2.json and record-4.json differ in case `{id}`: what was found");
    refused(&bench, &[1, 2, 3, 4], &[&words]);
    let mut worse = record;
    worse.cases[0].verdict = Verdict::Mismatch;
    bench.forge("record-4.json", &worse);
    refused(&bench, &[1, 2, 3, 4], &["is mismatch, and its observations give verified"]);
    let bits = worse.cases[0].bits.as_mut().expect("verified");
    bits.digests[0].got = Some(Digest::of(b"another"));
    bench.save("record-4.json", &worse);
    refused(&bench, &[1, 2, 3, 4], &["verified and mismatch"]);
}

/// Two shards that hold a case each, changed as records of machines that were fooled alike.
fn two_parts(change: impl Fn(usize, &mut Record)) -> Vec<Part> {
    let one = Section { sparsity: "0.5", patterns: "uniform", ..small()[0].clone() };
    let bench = Workbench::pinned(&[one.clone(), Section { seed: 4, name: "later", ..one }]);
    assert_eq!(run_shards(&bench, "manifests", 2, &[]), [0; 2]);
    (1..=2)
        .map(|index| {
            let name = format!("record-{index}.json");
            let mut record = bench.record(&name);
            assert_eq!(record.cases.len(), 1);
            change(index, &mut record);
            Part { name, record }
        })
        .collect()
}

#[test]
fn one_output_digest_of_two_machines_is_noticed() {
    let honest = join(&two_parts(|_, _| {}), Vec::new()).expect("one run").record;
    assert!(honest.cases.iter().all(|case| case.verdict == Verdict::Verified));
    let parts = two_parts(|_, record| {
        // Committed as well: no digest differs.
        let bits = record.cases[0].bits.as_mut().expect("verified");
        for row in &mut bits.digests {
            if ["v", "dense", "operator"].contains(&row.name.as_str()) {
                let is_v = row.name == "v";
                row.got = Some(Digest::of(if is_v { b"activations" } else { b"output" }));
                row.expected = row.got;
            }
        }
    });
    let merged = join(&parts, Vec::new()).expect("one run").record;
    assert_eq!(merged.cases[0].verdict, Verdict::Verified, "the first of them");
    let second = &merged.cases[1];
    assert_eq!((second.verdict, second.exit_code), (Verdict::Mismatch, 1));
    let words = format!("vacuous output: `{}` has other weights", merged.cases[0].id);
    assert!(second.reasons[0].starts_with(&words), "{:?}", second.reasons);
}

#[test]
fn published_inputs_are_joined_and_must_agree() {
    let input = |claim: &str, tensor, got: Option<&[u8]>| PublishedInput {
        device: None,
        manifest: "small".into(),
        claim: claim.into(),
        tensor,
        compared: got.map(|bytes| {
            Comparison::new(Scope::WholeTensor, 1, false, Digest::of(bytes), "0123456789abcdef")
        }),
        reason: got.is_none().then(|| "needs a CUDA device".into()),
    };
    let parts = two_parts(|index, record| {
        record.published_inputs = match index {
            1 => vec![input("x", Tensor::V, None), input("x", Tensor::A, Some(b"a"))],
            _ => vec![input("x", Tensor::A, Some(b"a")), input("x", Tensor::V, Some(b"v"))],
        };
    });
    let merged = join(&parts, Vec::new()).expect("one run").record;
    let want = [input("x", Tensor::A, Some(b"a")), input("x", Tensor::V, Some(b"v"))];
    assert_eq!(merged.published_inputs, want);

    // A shard without the case does not find that A was pruned before it was hashed.
    let pruned = |matches| {
        let got = Digest::of(b"a");
        let published = if matches { got.to_string() } else { "0123456789abcdef".into() };
        let compared = Comparison::new(Scope::WholeTensor, 1, matches, got, &published);
        PublishedInput { compared: Some(compared), ..input("x", Tensor::A, None) }
    };
    for first in [true, false] {
        let parts = two_parts(|index, record| {
            record.published_inputs = vec![pruned((index == 1) == first)];
        });
        let merged = join(&parts, Vec::new()).expect("one run").record;
        assert_eq!(merged.published_inputs, [pruned(true)]);
    }

    let parts = two_parts(|index, record| {
        record.published_inputs = vec![input("x", Tensor::A, Some(&[index as u8]))];
    });
    let message = join(&parts, Vec::new()).expect_err("two answers").to_string();
    assert!(
        message.contains("differ in what they made of the published A of claim `x`"),
        "{message}"
    );
}

#[test]
fn a_shard_that_was_killed_goes_on_and_is_merged() {
    // Ten quick cases, then one of seconds.
    let long = Section {
        name: "long",
        shape: (4096, 2048),
        patterns: "uniform",
        sparsity: "0.5",
        batch: "1024",
        ..Section::default()
    };
    let bench = Workbench::pinned(&[small(), vec![long]].concat());
    let arguments = [
        "manifests",
        "--no-measure",
        "--threads",
        "2",
        "--shard",
        "1/1",
        "--json",
        "record-1.json",
    ];
    let mut child = bench
        .command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was built");
    let started = Instant::now();
    while !bench.path("record-1.json").exists() || bench.record("record-1.json").cases.len() < 10 {
        assert!(started.elapsed() < Duration::from_secs(120), "no ten cases in two minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("still running");
    child.wait().expect("our child");
    // The process that works dies with the one that was killed; until then the record is locked.
    let record = std::fs::File::open(bench.path("record-1.json")).expect("it was just read");
    record.lock().expect("a file system with locks");
    drop(record);

    // A stopped shard is no whole one.
    let ran = merge(&bench, &[1], &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("no record has case long/"), "{}", ran.stderr);
    assert!(ran.stderr.contains("goes on with --resume"), "{}", ran.stderr);
    let ran = merge(&bench, &[1], &["--partial"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    std::fs::remove_file(bench.path("merged.json")).expect("just written");

    // Another shard does not go on from this one.
    let before = bench.read("record-1.json");
    let other = arguments.map(|argument| if argument == "1/1" { "1/2" } else { argument });
    let ran = bench.verify(&[&other[..], &["--resume"]].concat());
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--shard: it was asked with `"), "{}", ran.stderr);
    assert_eq!(bench.read("record-1.json"), before);

    let ran = bench.verify(&[&arguments[..], &["--resume"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = merge(&bench, &[1], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let (whole, _) = whole(&bench, "manifests", &[]);
    assert_eq!(timeless(bench.record("merged.json")), timeless(whole));
}

#[test]
fn shards_of_different_machines_are_joined_and_confirm_nothing_together() {
    let bench = changed(|record| {
        record.options.threads = 7;
        record.options.isa = "other".into();
        record.environment.cpu_model = "another processor".into();
    });
    let files = ["record-1.json", "record-2.json", "record-3.json"];
    let merged = bench.verify(&[&["merge"], &files[..], &["--json", "whole.json"]].concat());
    assert_eq!(merged.code, 0, "{merged:?}");
    let record = bench.record("whole.json");
    let machines: Vec<(&str, usize)> =
        record.shards.iter().map(|shard| (shard.isa.as_str(), shard.threads)).collect();
    assert_eq!(machines[1], ("other", 7));
    assert_eq!(record.options.isa, machines[0].0);
    assert_eq!(record.shards[1].environment.cpu_model, "another processor");
    let pin = bench.verify(&["pin", "manifests", "--record", "whole.json", "--yes"]);
    assert_eq!(pin.code, 2, "{pin:?}");
    assert!(pin.stderr.contains("does not say which of them ran a case"), "{pin:?}");
    assert_eq!(bench.verify(&["pin", "manifests", "--record", "record-1.json", "--yes"]).code, 0);
}
