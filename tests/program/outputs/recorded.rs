//! What a record says of outputs that came back: who is said to have made them, what was stated, and nothing more.

use std::fs;

use contract::digest::Digest;
use record::Record;
use record::operator::OperatorKind;
use record::report::overview;
use serde_json::{Value, json};

use super::{CHAIN, answer, chain, check, only, sent};
use crate::common::Section;

#[test]
fn timings_that_came_with_outputs_are_stated_and_nothing_more() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    let path = format!("sent/small/{CHAIN}/stated.json");
    bench.write(&path, r#"{"latency_ms": 0.52, "device": "NVIDIA <b>H200</b>"}"#);
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = "not measured: made elsewhere; stated: 520 us, on NVIDIA <b>H200</b>\n";
    assert!(ran.stdout.contains(said), "{ran:?}");
    let (_, case) = only(&bench);
    assert!(case.measurement.is_none());
    assert_eq!(case.stated.expect("it was stated").latency_ms, Some(0.52));
    let markdown = bench.verify(&["report", "record.json"]).stdout;
    assert!(markdown.contains("stated: 520 us, on NVIDIA &lt;b&gt;H200&lt;/b&gt;"), "{markdown}");
    assert_eq!(bench.verify(&["report", "record.json", "--html", "page.html"]).code, 0);
    let page = bench.read("page.html");
    assert!(page.contains("stated: 520 us, on NVIDIA &lt;b&gt;H200&lt;/b&gt;"));
    for line in overview::about_outputs(&bench.record("record.json")) {
        let escaped = line.replace('\'', "&#39;");
        assert!(page.contains(line) || page.contains(&escaped), "{line}");
        assert!(markdown.contains(line), "{line}");
    }
    for (stated, why) in [
        ("{\"latency_ms\": -1}", "latency_ms is no time"),
        ("{\"latency_ms\": 1e999}", "number out of range"),
        ("{\"speedup\": 9.5}", "unknown field `speedup`"),
        ("fast", "expected"),
    ] {
        bench.write(&path, stated);
        let ran = check(&bench, "sent", &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let warned = format!("warning: {path}: not shown: ");
        assert!(ran.stderr.contains(&warned) && ran.stderr.contains(why), "{ran:?}");
        assert_eq!(only(&bench).1.stated, None);
    }
}

#[test]
fn the_record_is_read_as_any_other_and_confirms_nothing() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    assert_eq!(check(&bench, "sent", &[]).code, 0);
    let rechecked = bench.verify(&["recheck", "record.json"]);
    assert_eq!(rechecked.code, 0, "{rechecked:?}");
    assert!(rechecked.stdout.contains("consistent: nothing was re-derived"));
    assert_eq!(bench.verify(&["explain", "record.json"]).code, 0);
    assert_eq!(bench.verify(&["report", "record.json"]).code, 0);
    let pinned = bench.verify(&["pin", "manifests", "--record", "record.json", "--yes"]);
    assert_eq!(pinned.code, 2, "{pinned:?}");
    assert!(pinned.stderr.contains("is of outputs made elsewhere: "), "{pinned:?}");
    let merged = bench.verify(&["merge", "record.json", "--json", "merged.json"]);
    assert_eq!(merged.code, 2, "{merged:?}");
    let resumed = bench.verify(&[
        "manifests/small.yaml",
        "--no-measure",
        "--json",
        "record.json",
        "--resume",
    ]);
    assert_eq!(resumed.code, 2, "{resumed:?}");
    assert!(resumed.stderr.contains("outputs made elsewhere"), "{resumed:?}");
    // A run beside it: the same digests.
    assert_eq!(bench.verify(&["manifests", "--no-measure", "--json", "run.json"]).code, 0);
    let beside = bench.verify(&["report", "record.json", "run.json"]);
    assert_eq!(beside.code, 0, "{beside:?}");
    let (record, case) = only(&bench);
    let command = overview::command(&record, &case).expect("names are plain");
    assert_eq!(
        command,
        format!("verify check --manifest manifests/small.yaml --case '{CHAIN}' -- 'sent'")
    );
    let words: Vec<&str> =
        command.split_whitespace().skip(1).map(|word| word.trim_matches('\'')).collect();
    assert_eq!(bench.verify(&words).code, 0, "{command}");
}

#[test]
fn a_record_that_says_otherwise_of_what_came_back_is_refused() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    assert_eq!(check(&bench, "sent", &[]).code, 0);
    let honest: Value = serde_json::from_str(&bench.read("record.json")).expect("JSON");
    let refused = |change: &dyn Fn(&mut Value), what: &str| {
        let mut forged = honest.clone();
        change(&mut forged);
        assert_ne!(forged, honest, "{what}");
        let said = record::parse(forged.to_string().as_bytes(), "forged").err();
        let said = said.unwrap_or_else(|| panic!("{what}: it passes")).to_string();
        assert!(said.contains(what), "{what}: {said}");
    };
    let bits = "/cases/0/bits";
    let set = |place: String, value: Value| {
        move |forged: &mut Value| {
            let (parent, key) = place.rsplit_once('/').expect("a path");
            forged.pointer_mut(parent).expect("a place")[key] = value.clone();
        }
    };
    let y = honest.pointer("/cases/0/bits/returned/0").expect("there").clone();
    refused(&set(format!("{bits}/returned"), json!([])), "whether `y` came back");
    refused(&set(format!("{bits}/returned"), json!([y.clone(), y])), "whether `rebuilt` came back");
    refused(&set(format!("{bits}/not_returned"), json!(["rebuilt"])), "what did not come back");
    refused(&set(format!("{bits}/not_returned"), json!(["x"])), "what did not come back");
    refused(&set("/options/outputs/perturbed".into(), json!(false)), "it was not asked for");
    refused(&set("/options/outputs".into(), Value::Null), "an operator was run");
    refused(&set("/options/outputs/from".into(), json!("other")), "the operator of case");
    refused(&set(format!("{bits}/operator"), json!("skip")), "the operator of case");
    refused(&set("/options/measure".into(), json!(true)), "outputs made elsewhere were judged");
    refused(&set("/cases/0/device".into(), json!("NVIDIA H200")), "nothing was run");
    refused(&set("/cases/0/stated".into(), json!({"latency_ms": -1})), "it is no time");
    // What did not come back is not verified by leaving out that it was asked for.
    fs::remove_file(bench.path(&format!("sent/small/{CHAIN}/shifted.npy"))).expect("there");
    assert_eq!(check(&bench, "sent", &[]).code, 3);
    let part: Value = serde_json::from_str(&bench.read("record.json")).expect("JSON");
    let mut forged = part.clone();
    forged["cases"][0]["bits"]["not_returned"] = json!([]);
    let said =
        record::parse(forged.to_string().as_bytes(), "forged").expect_err("refused").to_string();
    assert!(said.contains("the verdict of case") || said.contains("the comparison"), "{said}");
    // A run has nothing that came back.
    assert_eq!(bench.verify(&["manifests", "--no-measure", "--json", "run.json"]).code, 0);
    let mut run: Value = serde_json::from_str(&bench.read("run.json")).expect("JSON");
    run["cases"][0]["stated"] = json!({"latency_ms": 0.1});
    let said =
        record::parse(run.to_string().as_bytes(), "forged").expect_err("refused").to_string();
    assert!(said.contains("`stated`"), "{said}");
}

/// Who is said to have made outputs is in the headline and the record; only cases that are claimed are judged.
#[test]
fn the_maker_of_outputs_is_named_by_an_operator_file() {
    let exact = Section { name: "exact", weights: "binomial", arithmetic: "exact", ..chain() };
    let bench = sent(&[chain(), exact]);
    answer(&bench, "sent");
    let file = |more: &str| {
        let text = format!(
            "format: sparse-verify-operator/1\nname: far\nversion: 2.1\nauthor: Somebody\nkind: outputs\n\
             dtypes: [f32]\narithmetics: [exact]\n{more}"
        );
        bench.write("far.yaml", &text);
    };
    file("");
    let ran = check(&bench, "sent", &["--operator", "far.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let named = "1 of 1 case (only what the operator claims: exact), said to be far 2.1 (sha256 ";
    assert!(ran.stdout.contains(named), "{ran:?}");
    let record = bench.record("record.json");
    let maker = record.operator.as_ref().expect("named");
    assert_eq!((maker.kind, maker.isolation.len()), (OperatorKind::Outputs, 0));
    assert_eq!(maker.sha256, Digest::of(bench.read("far.yaml").as_bytes()));
    let ran = bench.verify(&["recheck", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let forged = |change: &dyn Fn(&mut Record), words: &str| {
        let mut record = record.clone();
        change(&mut record);
        let text = serde_json::to_vec(&record).expect("JSON");
        let said = record::parse(&text, "forged").expect_err(words).to_string();
        assert!(said.contains(words), "{said}");
    };
    let of = |record: &mut Record, kind| {
        record.operator.as_mut().expect("there").kind = kind;
    };
    forged(&|record| of(record, OperatorKind::Library), "the layers of isolation");
    forged(&|record| record.options.outputs = None, "whether the operator was run");

    file("entry: far.so\nmemory: 1GiB\n");
    let ran = check(&bench, "sent", &["--operator", "far.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("far.yaml:8:8: `entry` of outputs"), "{ran:?}");
    assert!(ran.stderr.contains("far.yaml:9:9: `memory` of outputs"), "{ran:?}");
    file("");
    let ran = bench.verify(&["manifests/small.yaml", "--operator", "far.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("`verify check DIR --operator FILE` judges them"), "{ran:?}");
    let text = bench.read("far.yaml");
    let python = "kind: python\nentry: far.py\nfiles: {}\n";
    bench.write("far.yaml", &text.replace("kind: outputs\n", python));
    let ran = check(&bench, "sent", &["--operator", "far.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}
