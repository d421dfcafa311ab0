//! What programs read: `--format json` of every command that prints data has the keys that docs/json.md gives it, and
//! `verify schema` prints what is committed.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::common::{Ran, Section, Workbench, change_digit, ran, repository};

/// What docs/json.md says below a heading: keys of the document, and for a key whose row names keys of its elements, these.
fn documented(heading: &str) -> Vec<(String, Vec<String>)> {
    let page = std::fs::read_to_string(repository("docs/json.md")).expect("the page");
    let heading = format!("\n## `{heading}`\n");
    let section = page.split(&heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let in_code = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let (keys, holds) = row[1..].split_once('|').expect("two cells");
        // Only arrays name the keys of what is in them.
        let inner = if holds.contains("an array") { in_code(holds) } else { Vec::new() };
        in_code(keys).into_iter().map(move |key| (key, inner.clone()))
    })
    .collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap_or_else(|| panic!("no object: {object}")).keys().cloned().collect()
}

/// The document of a command, whose objects have the documented keys and no other.
fn document(bench: &Workbench, arguments: &[&str], heading: &str, code: i32) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--format", "json"]);
    let said = bench.verify(&arguments);
    assert_eq!(said.code, code, "{said:?}");
    let document: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    let documented = documented(heading);
    let known: BTreeSet<String> = documented.iter().map(|(key, _)| key.clone()).collect();
    let objects = document.as_array().cloned().unwrap_or_else(|| vec![document.clone()]);
    assert!(!objects.is_empty() && !known.is_empty(), "{heading}: nothing");
    for object in &objects {
        assert_eq!(keys(object), known, "{heading}");
        for (key, inner) in documented.iter().filter(|(_, inner)| !inner.is_empty()) {
            let elements = object[key].as_array().unwrap_or_else(|| panic!("{heading}: {key}"));
            assert!(!elements.is_empty(), "{heading}: {key} is empty");
            let known: BTreeSet<String> = inner.iter().cloned().collect();
            elements
                .iter()
                .for_each(|element| assert_eq!(keys(element), known, "{heading}: {key}"));
        }
    }
    if let Some(stated) = document.get("exit_code") {
        assert_eq!(*stated, code, "{heading}");
    }
    document
}

/// A bench with claims, a record in which one digest differs, and one in which none does.
fn bench() -> Workbench {
    let bench = Workbench::pinned(&[Section { sparsity: "[0.5, 0.8]", ..Section::default() }]);
    let run = ["manifests", "--no-measure", "--json", "good.json"];
    assert_eq!(bench.verify(&run).code, 0);
    let committed = "expected-hashes/small.yaml";
    let good = bench.read(committed);
    let id = "small/up/row-magnitude-50/b24/f32/f32-chain";
    bench.write(committed, &change_digit(&good, id, "operator:"));
    let run = ["manifests", "--no-measure", "--json", "bad.json"];
    assert_eq!(bench.verify(&run).code, 1);
    bench.write(committed, &good);
    bench
}

#[test]
fn every_command_prints_what_is_documented() {
    let bench = bench();
    let all = document(&bench, &["list"], "verify list", 0);
    assert_eq!(all.as_array().map(Vec::len), Some(11));
    let cases = document(&bench, &["list", "manifests"], "verify list PATH", 0);
    assert_eq!(cases.as_array().map(Vec::len), Some(2));
    assert_eq!((&cases[0]["m"], &cases[0]["pinned"]), (&40.into(), &true.into()));
    let operators = ["list", "--operators"];
    document(&bench, &operators, "verify list --operators", 0);
    let of_h200 = ["list", "h200", "--claims"];
    document(&bench, &of_h200, "verify list PATH --claims", 0);
    let pages = document(&bench, &["list", "page", "--page"], "verify list PATH --page", 0);
    assert!(pages[0]["not_judged"].as_array().map(Vec::len) > Some(10));
    let explained = ["lint", "h200", "--explain", "h200-sweep-80"];
    let explained = document(&bench, &explained, "verify lint PATH --explain ID", 1);
    assert_eq!(explained[0]["manifest"], "h200");
    let linted = document(&bench, &["lint", "h200", "page"], "verify lint PATH", 1);
    assert!(linted["claims"].as_u64() > Some(5));

    let bad = document(&bench, &["explain", "bad.json"], "verify explain RECORD", 1);
    assert_eq!(bad["looked_at"], 2);
    assert_eq!(bad["cases"].as_array().map(Vec::len), Some(1));
    assert_eq!(bad["cases"][0]["verdict"], "mismatch");
    let good = bench.verify(&["explain", "good.json", "--format", "json"]);
    let good: Value = serde_json::from_str(&good.stdout).expect("JSON");
    assert_eq!((&good["exit_code"], &good["cases"]), (&0.into(), &Value::Array(Vec::new())));

    let records = ["compare", "good.json", "bad.json"];
    let compared = document(&bench, &records, "verify compare RECORD RECORD", 1);
    assert_eq!(compared["lines"].as_array().map(Vec::len), Some(4));
    assert_eq!(compared["lines"][1]["verdict"], "mismatch");

    let rechecked = document(&bench, &["recheck", "good.json"], "verify recheck RECORD", 0);
    assert_eq!(rechecked["records"][0]["is_consistent"], true);
    // One that is no record is among the others, with its reason.
    bench.write("none.json", "{}");
    let records = ["recheck", "none.json", "good.json", "bad.json"];
    let rechecked = document(&bench, &records, "verify recheck RECORD", 1);
    let records = rechecked["records"].as_array().expect("a list");
    let stated: Vec<&Value> = records.iter().map(|record| &record["exit_code"]).collect();
    assert_eq!(stated, [2, 0, 1]);
    assert!(records[0]["error"].is_string() && records[1]["error"].is_null());
}

#[test]
fn attestations_print_what_is_documented() {
    let bench = bench();
    let key = std::fs::read(repository("crates/attest/tests/keys/ed25519")).expect("there");
    std::fs::write(bench.path("key"), &key).expect("new");
    let key = attest::signature::Key::read(&key).expect("a key");
    bench.write("allowed", &format!("ada {}\n", key.public().text().expect("text")));
    for name in ["good", "bad"] {
        let said =
            bench.verify(&["attest", &format!("{name}.json"), "--key", "key", "--out", name]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let check = ["attest", "--check", "bad", "--signers", "allowed"];
    let checked = document(&bench, &check, "verify attest --check STATEMENT", 1);
    assert_eq!(checked["signers"], serde_json::json!(["ada"]));
    // The digests that were committed for the bad one are others.
    let quorum = ["quorum", "--signers", "allowed", "--need", "1", "good"];
    let counted = document(&bench, &quorum, "verify quorum STATEMENT", 0);
    assert_eq!(counted["cases"][0]["standing"], "confirmed");
    let both = bench.verify(&[&quorum[..], &["bad"]].concat());
    assert!(both.code == 2 && both.stderr.contains("other digests were committed"), "{both:?}");
}

#[test]
fn judge_prints_what_is_documented() {
    let record = repository("tests/records/h200/h200.json");
    let bench = Workbench::new(&[]);
    let judge = ["judge", "h200", "--offline", "--record", record.as_str()];
    let judged = document(&bench, &judge, "verify judge PATH --record RECORD", 1);
    let claims = judged["claims"].as_array().expect("a list");
    let claim = claims.iter().find(|claim| claim["id"] == "h200-llama31-8b-up-80").expect("it");
    assert_eq!(claim["word"], "refuted");
    let rows = claim["rows"].as_array().expect("rows");
    let speedup = rows.iter().find(|row| row["rule"] == "speedup here").expect("judged");
    assert_eq!((&speedup["printed"], &speedup["word"]), (&"9.53".into(), &"attained".into()));
    // Two documents on one stream would be none.
    let both = [&judge[..], &["--format", "json", "--json", "/dev/stdout"]].concat();
    let said = bench.verify(&both);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
}

#[test]
fn doctor_prints_what_is_documented() {
    let bench = Workbench::new(&[]);
    let doctor = document(&bench, &["doctor"], "verify doctor", 0);
    assert!(doctor["environment"]["cores"].as_u64() > Some(0));
}

/// Whoever has the old spelling in a script learns the new one.
#[test]
fn the_old_spelling_names_the_new_one() {
    let bench = Workbench::new(&[]);
    let commands: [&[&str]; 7] = [
        &["list", "--json"],
        &["lint", "h200", "--json"],
        &["doctor", "--json"],
        &["doctor", "--published", "--json"],
        &["explain", "r.json", "--json"],
        &["compare", "a.json", "b.json", "--json"],
        &["recheck", "r.json", "--json"],
    ];
    for arguments in commands {
        let said = bench.verify(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.contains("hint: `--format json` prints one JSON document"), "{said:?}");
    }
    // Where `--json` is a record's file, or nothing, it is left alone.
    let said = bench.verify(&["report", "r.json", "--json"]);
    assert!(said.code == 2 && !said.stderr.contains("--format json"), "{said:?}");
}

/// In a folder that has nothing.
fn verify(arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    ran(Command::new(env!("CARGO_BIN_EXE_verify")).args(arguments).current_dir(&folder))
}

#[test]
fn schemas_are_printed_and_ejected_as_they_are_committed() {
    let bench = Workbench::new(&[]);
    assert_eq!(bench.verify(&["eject"]).code, 0);
    for (kind, file) in [
        ("manifest", "schemas/manifest.json"),
        ("operator", "schemas/operator.json"),
        ("expected", "schemas/expected.json"),
        ("record", "crates/record/schema/record-4.json"),
    ] {
        let said = verify(&["schema", kind]);
        let committed = std::fs::read_to_string(repository(file)).expect("committed");
        assert_eq!((said.code, &said.stdout), (0, &committed), "{kind}");
        let written = std::fs::read_to_string(bench.path(&format!("schemas/{kind}.json")));
        assert_eq!(written.expect("ejected"), committed, "{kind}");
    }
    let said = verify(&["schema", "manifests"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("manifest"), "{said:?}");
}

/// A manifest that `verify new` wrote is accepted by all that read one.
#[test]
fn a_new_manifest_is_one() {
    let bench = Workbench::new(&[]);
    let shape = ["--shape", "96x64"];
    for (more, cases) in [
        (&[][..], 1),
        (&["--batch", "1,32", "--sparsity", "0.8,0.95", "--layer", "Up_proj", "--seed", "7"], 4),
        (&["--pattern", "none", "--dtype", "f32,bf16", "--arithmetic", "bounded"], 2),
        (&["--pattern", "two-of-four"], 1),
        (&["--pattern", "dead-experts12", "--sparsity", "0.75"], 1),
        (&["--pattern", "block16", "--arithmetic", "tensor-core-hopper", "--dtype", "bf16"], 1),
        (&["--arithmetic", "tensor-core-amx-bf16", "--dtype", "bf16"], 1),
        (&["--arithmetic", "exact"], 1),
        (&["--arithmetic", "fixed-point-24"], 1),
        (&["--arithmetic", "exact", "--values", "wide"], 1),
    ] {
        let arguments = [&["new"][..], &shape, more].concat();
        let said = bench.verify(&arguments);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
        bench.write("new.yaml", &said.stdout);
        assert_eq!(bench.verify(&["lint", "new.yaml"]).code, 0, "{}", said.stdout);
        let listed = bench.verify(&["list", "new.yaml", "--format", "json"]);
        let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
        assert_eq!(listed.as_array().map(Vec::len), Some(cases), "{}", said.stdout);
    }
    // Into a file that must be new; then pinned and verified.
    let arguments = [&["new"][..], &shape, &["--out", "mine.yaml"]].concat();
    let said = bench.verify(&arguments);
    assert_eq!((said.code, said.stdout.as_str()), (0, ""), "{said:?}");
    let again = bench.verify(&arguments);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("mine.yaml is there already"), "{again:?}");
    assert_eq!(bench.verify(&["pin", "mine.yaml", "--yes"]).code, 0);
    assert_eq!(bench.verify(&["mine.yaml", "--no-measure"]).code, 0);
}

/// A folder with a checkpoint of two files under an index, and the same as a model in Hugging Face's cache.
fn with_checkpoint() -> Workbench {
    let bench = Workbench::new(&[]);
    let values = |m: usize, k: usize| {
        let values = (0..m * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0);
        values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()
    };
    let file = |name: &str, m: usize, k: usize| {
        let header = format!(
            r#"{{"{name}":{{"dtype":"F32","shape":[{m},{k}],"data_offsets":[0,{}]}}}}"#,
            m * k * 4
        );
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &values(m, k)].concat()
    };
    let index = r#"{"weight_map":{"up.weight":"a.safetensors","odd/name: x":"b.safetensors"}}"#;
    let snapshot = format!("hub/models--org--name/snapshots/{}", "0123456789".repeat(4));
    for folder in ["sub", &snapshot] {
        std::fs::create_dir_all(bench.path(folder)).expect("writable");
        for (name, bytes) in [
            ("a.safetensors", file("up.weight", 48, 32)),
            ("b.safetensors", file("odd/name: x", 16, 24)),
            ("model.safetensors.index.json", index.as_bytes().to_vec()),
        ] {
            std::fs::write(bench.path(folder).join(name), bytes).expect("writable");
        }
    }
    std::fs::create_dir_all(bench.path("hub/models--org--name/refs")).expect("writable");
    bench.write("hub/models--org--name/refs/main", &"0123456789".repeat(4));
    bench
}

#[test]
fn a_matrix_of_a_checkpoint_becomes_a_manifest() {
    let bench = with_checkpoint();
    let commit = "0123456789".repeat(4);
    let at_commit = format!("org/name@{commit}");
    let verify =
        |arguments: &[&str]| ran(bench.command(arguments).env("HF_HUB_CACHE", bench.path("hub")));
    for (at, (source, more, layers)) in [
        ("sub/a.safetensors", &["--tensor", "up.weight"][..], 1),
        (
            "sub/model.safetensors.index.json",
            &["--tensor", "up.weight", "--tensor", "odd/name: x"],
            2,
        ),
        ("org/name", &["--tensor", "odd/name: x", "--dtype", "bf16"], 1),
        (&at_commit, &["--tensor", "up.weight", "--pattern", "none"], 1),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("new{at}.yaml");
        let said = verify(&[&["new", source, "--out", &name][..], more].concat());
        assert_eq!((said.code, said.stdout.as_str()), (0, ""), "{said:?}");
        // Found where the manifest says, beside it or in the cache, by the digests in it.
        let pinned = verify(&["pin", &name, "--yes", "--offline"]);
        assert_eq!(pinned.code, 0, "{source}: {pinned:?}\n{}", bench.read(&name));
        let again = verify(&[&name, "--no-measure", "--offline"]);
        assert_eq!(again.code, 0, "{source}: {again:?}");
        assert!(
            again.stdout.contains(&format!("bits verified: {layers} of {layers}")),
            "{again:?}"
        );
    }
    // A file elsewhere is named, with what finds it.
    std::fs::create_dir_all(bench.path("below")).expect("writable");
    let elsewhere = ["new", "../sub/a.safetensors", "--tensor", "up.weight"];
    let said = ran(bench.command(&elsewhere).current_dir(bench.path("below")));
    assert!(said.code == 0 && said.stderr.contains("--weights "), "{said:?}");
    // Another byte in it: another checkpoint than the manifest's.
    let mut bytes = std::fs::read(bench.path("sub/a.safetensors")).expect("written");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(bench.path("sub/a.safetensors"), bytes).expect("writable");
    let refuted = verify(&["new0.yaml", "--no-measure", "--offline"]);
    assert!(refuted.code == 1 && refuted.stdout.contains("digest mismatch"), "{refuted:?}");
}

#[test]
fn a_layer_is_tried_without_a_manifest() {
    let bench = with_checkpoint();
    let verify =
        |arguments: &[&str]| ran(bench.command(arguments).env("HF_HUB_CACHE", bench.path("hub")));
    for source in ["sub/a.safetensors", "sub/model.safetensors.index.json", "org/name"] {
        let tried =
            verify(&["try", source, "--tensor", "up.weight", "--no-measure", "--json", "-"]);
        // Right, and nothing is committed: not green.
        assert_eq!(tried.code, 3, "{tried:?}");
        let words = [
            "committed digests: none for what is tried",
            "hint: `unpinned` says that the outputs are right",
        ];
        assert!(words.iter().all(|words| tried.stderr.contains(words)), "{tried:?}");
        let record: Value = serde_json::from_str(&tried.stdout).expect("the record alone");
        assert_eq!(record["cases"][0]["verdict"], "unpinned", "{tried:?}");
        assert_eq!(record["cases"][0]["m"], 48);
    }
    // What it leaves: nothing.
    assert_eq!(bench.list("."), ["hub", "manifests", "sub"]);
    bench.write("wrong.yaml", "format: sparse-verify-operator/1\n");
    for (arguments, words) in [
        (&["sub/a.safetensors", "--tensor", "down.weight"][..], "no tensor `down.weight`"),
        (&["sub/none.safetensors", "--tensor", "x"], "name a .safetensors file"),
        (&["org/other", "--tensor", "x"], "models--org--other/refs/main"),
        (&["org/name@main", "--tensor", "x"], "40 lower-case hexadecimal digits"),
        (&["../../none/such", "--tensor", "x"], "name a .safetensors file"),
        (&["sub", "--tensor", "x"], "found a folder"),
        (&["sub/a.safetensors"], "--tensor <NAME>"),
        (
            &["sub/a.safetensors", "--tensor", "up.weight", "--sparsity", "80"],
            "a sparsity: a plain decimal",
        ),
        (&["sub/a.safetensors", "--tensor", "up.weight", "--operator", "wrong.yaml"], "wrong.yaml"),
    ] {
        let said = verify(&[&["try", "--no-measure"][..], arguments].concat());
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.contains(words), "{words}: {said:?}");
    }
}

#[test]
fn options_that_make_no_manifest_are_refused_in_its_words() {
    let bench = Workbench::new(&[]);
    for (arguments, words) in [
        (&["--shape", "96"][..], "expected rows and columns, such as 14336x4096"),
        (&["--shape", "9x9", "--sparsity", "80%"], "a sparsity: a plain decimal from 0 to 1"),
        (&["--shape", "9x9", "--pattern", "rows"], "expected a pattern: one of none, uniform"),
        (&["--shape", "9x9", "--dtype", "fp8"], "expected a dtype: one of f32, bf16, f16"),
        (
            &["--shape", "9x9", "--arithmetic", "exact", "--values", "uniform"],
            "`exact` needs integer weights",
        ),
        (&["--shape", "9x9", "--layer", "../up"], "a layer's name made of"),
        (&["--shape", "9x9", "--layer", "a: b\nc"], "not valid YAML"),
    ] {
        let arguments = [&["new", "--out", "new.yaml"][..], arguments].concat();
        let said = bench.verify(&arguments);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(said.stderr.contains(words), "{words}: {said:?}");
        assert!(!bench.path("new.yaml").exists(), "{said:?}");
    }
}
