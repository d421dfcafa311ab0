//! `verify commit`, and nonces that were drawn after it.

use std::fs;

use super::outputs::{answer, chain};
use crate::common::{Ran, Workbench};
use contract::digest::Digest;
use record::Record;
use serde_json::Value;

/// Round 1 of drand's default chain, of 2020-07-22, as its beacon published it.
const CHAIN: &str = "8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce";
const ROUND_1: &str = "101297f1ca7dc44ef6088d94ad5fb7ba03455dc33d53ddb412bbc4564ed986ec";
/// Bitcoin's first block.
const BLOCK: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";

fn bench() -> Workbench {
    let bench = Workbench::pinned(&[chain()]);
    bench.write("maker.yaml", &maker("1.0"));
    bench
}

/// The file of an operator whose outputs are made elsewhere.
fn maker(version: &str) -> String {
    format!(
        "format: sparse-verify-operator/1\nname: elsewhere\nversion: {version}\nauthor: Somebody\nkind: outputs\n\
         dtypes: [f32]\narithmetics: [f32-chain]\n"
    )
}

fn commit(bench: &Workbench, more: &[&str]) -> Ran {
    let common = ["commit", "manifests/small.yaml", "--out", "commit.json"];
    bench.verify(&[&common, more].concat())
}

fn challenge(bench: &Workbench, nonce: &str, source: &str, more: &[&str]) -> Ran {
    let common = ["challenge", "manifests/small.yaml", "--out", "out", "--force", "--nonce", nonce];
    let after = ["--after", "commit.json", "--nonce-source", source];
    bench.verify(&[&common, &after[..], more].concat())
}

fn check(bench: &Workbench, more: &[&str]) -> Ran {
    bench.verify(&[&["check", "out", "--json", "record.json", "--force"], more].concat())
}

#[test]
fn a_record_shows_that_the_commitment_was_first() {
    let bench = bench();
    let said = commit(&bench, &["--operator", "maker.yaml"]);
    assert_eq!(said.code, 0, "{said:?}");
    let sha256 = Digest::of(bench.read("commit.json").as_bytes());
    assert!(said.stdout.contains(&format!("commit.json  commitment  {sha256}\n")), "{said:?}");
    assert_eq!(commit(&bench, &[]).code, 2, "a commitment is not replaced");
    let source = format!("bitcoin:0840000:{BLOCK}");
    let said = challenge(&bench, BLOCK, &source, &[]);
    assert!(said.code == 2 && said.stderr.contains("the height of a block"), "{said:?}");
    let source = format!("bitcoin:840000:{BLOCK}");
    let said = challenge(&bench, BLOCK, &source, &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let list: Value = serde_json::from_str(&bench.read("out/challenge.json")).expect("JSON");
    assert_eq!(list["after"]["commit_sha256"], sha256.to_string());
    assert_eq!(list["after"]["nonce_source"], source);
    answer(&bench, "out");
    let said = check(&bench, &["--operator", "maker.yaml", "--after", "commit.json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let record = bench.record("record.json");
    let after = record.options.after.as_ref().expect("noted");
    assert_eq!((after.commit_sha256, after.nonce_source.as_str()), (sha256, source.as_str()));
    assert_eq!(record.options.nonce.as_deref(), Some(BLOCK));
    // A record that gives its nonce another source is refused.
    let text = bench.read("record.json");
    for (from, to) in [
        (source.as_str(), format!("drand:{CHAIN}:1:{ROUND_1}")),
        (source.as_str(), source.replace("26f", "26e")),
        (after.committed.as_str(), "2026".to_owned()),
    ] {
        bench.write("forged.json", &text.replace(from, &to));
        let said = bench.verify(&["report", "forged.json"]);
        assert!(said.code == 2 && said.stderr.contains("contradicts itself"), "{to}: {said:?}");
    }
}

#[test]
fn what_was_not_committed_to_is_refused() {
    let bench = bench();
    assert_eq!(commit(&bench, &["--operator", "maker.yaml"]).code, 0);
    let good = bench.read("commit.json");
    // A beacon whose round is older than the commitment shows no order.
    let said = challenge(&bench, ROUND_1, &format!("drand:{CHAIN}:1:{ROUND_1}"), &[]);
    assert!(said.code == 2 && said.stderr.contains("before the commitment was made"), "{said:?}");
    let said = challenge(&bench, "mine", &format!("drand:{CHAIN}:9999999:{ROUND_1}"), &[]);
    assert!(
        said.code == 2 && said.stderr.contains("not the one that its source gives"),
        "{said:?}"
    );
    assert!(!bench.path("out").exists(), "refused before anything is written");
    // One changed bit, and another manifest.
    bench.write("commit.json", &good.replacen("\"committed\":\"2", "\"committed\":\"3", 1));
    let said = challenge(&bench, "n", "dice", &[]);
    assert_eq!(said.code, 0, "another commitment, whose digest is another: {said:?}");
    answer(&bench, "out");
    let own = ["--operator", "maker.yaml", "--after", "commit.json"];
    bench.write("commit.json", &good);
    let said = check(&bench, &own);
    assert!(said.code == 2 && said.stderr.contains("is of another commitment"), "{said:?}");
    bench.write("commit.json", &good.replace('{', "{ "));
    let said = challenge(&bench, "n", "dice", &[]);
    assert!(said.code == 2 && said.stderr.contains("not in canonical form"), "{said:?}");
    bench.write("commit.json", &good);
    let manifest = bench.read("manifests/small.yaml");
    bench.write("manifests/small.yaml", &format!("{manifest}# later\n"));
    let said = challenge(&bench, "n", "dice", &[]);
    assert!(
        said.code == 2 && said.stderr.contains("the commitment is to another manifest"),
        "{said:?}"
    );
    bench.write("manifests/small.yaml", &manifest);

    let said = challenge(&bench, "n", "dice, with witnesses", &[]);
    assert!(said.code == 0 && said.stderr.contains("its order is not checked"), "{said:?}");
    answer(&bench, "out");
    let said = check(&bench, &own);
    assert_eq!(said.code, 0, "{said:?}");
    // Without the commitment, or by another operator than that which was committed to.
    let said = check(&bench, &["--operator", "maker.yaml"]);
    assert!(said.code == 2 && said.stderr.contains("`--after COMMIT` names its file"), "{said:?}");
    let said = check(&bench, &["--after", "commit.json"]);
    assert!(
        said.code == 2 && said.stderr.contains("the commitment is to another operator"),
        "{said:?}"
    );
    bench.write("maker.yaml", &maker("1.1"));
    let said = check(&bench, &own);
    assert!(said.code == 2 && said.stderr.contains("expected elsewhere 1.0"), "{said:?}");
    // A challenge that was written after none.
    let plain = ["challenge", "manifests/small.yaml", "--out", "out", "--force", "--nonce", "n"];
    assert_eq!(bench.verify(&plain).code, 0);
    let said = check(&bench, &own);
    assert!(said.code == 2 && said.stderr.contains("names no commitment"), "{said:?}");
    // Neither a source without a commitment, nor a commitment without a nonce.
    for more in [&["--nonce-source", "dice"][..], &["--after", "commit.json"]] {
        let said =
            bench.verify(&[&["challenge", "manifests/small.yaml", "--out", "x"], more].concat());
        assert_eq!(said.code, 2, "{said:?}");
    }
}

#[test]
fn outputs_that_were_committed_to_must_come_back() {
    let bench = bench();
    let plain = ["challenge", "manifests/small.yaml", "--out", "out"];
    assert_eq!(bench.verify(&plain).code, 0);
    let said = commit(&bench, &["--outputs", "out"]);
    assert!(said.code == 2 && said.stderr.contains("out has no output of a case"), "{said:?}");
    answer(&bench, "out");
    assert_eq!(commit(&bench, &["--outputs", "out"]).code, 0);
    let committed: Value = serde_json::from_str(&bench.read("commit.json")).expect("JSON");
    let id = committed["outputs"][0]["id"].as_str().expect("a case").to_owned();
    let y = committed["outputs"][0]["y"].as_str().expect("a digest").to_owned();
    assert_eq!(challenge(&bench, "n", "dice", &[]).code, 0);
    answer(&bench, "out");
    let said = check(&bench, &["--after", "commit.json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let got = bench.record("record.json");
    assert_eq!(digest(&got), y, "as a record has it");
    // Committed to something else than what comes back: right, and refuted.
    fs::remove_file(bench.path("commit.json")).expect("there");
    let file = bench.path("out").join("small").join(&id).join("y.npy");
    let good = fs::read(&file).expect("answered");
    let mut other = good.clone();
    *other.last_mut().expect("not empty") ^= 1;
    fs::write(&file, other).expect("ours");
    assert_eq!(commit(&bench, &["--outputs", "out"]).code, 0);
    assert_eq!(challenge(&bench, "n", "dice", &[]).code, 0);
    answer(&bench, "out");
    let said = check(&bench, &["--after", "commit.json"]);
    assert!(
        said.code == 1 && said.stdout.contains("y is not the output that was committed to"),
        "{said:?}"
    );
    assert_eq!(bench.record("record.json").outcome.expect("it ended").code, 1);
}

fn digest(record: &Record) -> String {
    let rows = &record.cases[0].bits.as_ref().expect("judged").digests;
    let row = rows.iter().find(|row| row.name == "operator").expect("one of six");
    row.got.expect("there").to_string()
}

#[test]
fn a_run_is_bound_to_a_commitment_as_well() {
    let bench = bench();
    assert_eq!(commit(&bench, &[]).code, 0);
    let run = |more: &[&str]| {
        let common =
            ["manifests", "--no-measure", "--nonce", "n", "--json", "record.json", "--force"];
        bench.verify(&[&common, more].concat())
    };
    let said = run(&["--after", "commit.json", "--nonce-source", "dice"]);
    assert_eq!(said.code, 0, "{said:?}");
    let sha256 = Digest::of(bench.read("commit.json").as_bytes());
    let after = bench.record("record.json").options.after.expect("noted");
    assert_eq!(after.commit_sha256, sha256);
    fs::remove_file(bench.path("commit.json")).expect("there");
    assert_eq!(commit(&bench, &["--operator", "maker.yaml"]).code, 0);
    let said = run(&["--after", "commit.json", "--nonce-source", "dice"]);
    assert!(said.code == 2 && said.stderr.contains("expected elsewhere 1.0"), "{said:?}");
}
