//! `verify spot`, as the program: what it says, and its exit codes.

use serde_json::Value;

use crate::common::{Section, Workbench};

fn bench() -> Workbench {
    let even = Section { name: "even", patterns: "uniform", ..Section::default() };
    Workbench::pinned(&[Section::default(), even])
}

#[test]
fn a_part_is_looked_at_and_the_rest_is_said() {
    let bench = bench();
    let ran = bench.verify(&["spot", "manifests", "--nonce", "round 1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for said in [
        "1 of 64 row panels of each case, drawn by the nonce round 1\n",
        "small: looked at 2 of 2 cases, 2 of 128 row panels",
        "not checked: digests of A, and of perturbed outputs",
        "assumed: in 1 case which rows or elements of A stay",
        "were 1 % of all row panels wrong, however spread: missed with a probability of at most 98.0 %",
        "spot: all that was looked at is as it was said to be (exit code 0)\n",
    ] {
        assert!(ran.stdout.contains(said), "{said}\n{}", ran.stdout);
    }
    let ran =
        bench.verify(&["spot", "manifests", "--panels", "64", "--all-rows", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let document: Value = serde_json::from_str(&ran.stdout).expect("a document");
    let manifest = &document["manifests"][0];
    assert_eq!((&manifest["row_panels"], &manifest["pruning_assumed"]), (&128.into(), &0.into()));
    assert_eq!(manifest["missed_at_most"][0]["panels"], 0.0);
    assert_eq!(document["nonce"].as_str().map(str::len), Some(32), "a random one");
    let ran = bench.verify(&["spot", "manifests", "--cases", "1", "--format", "json"]);
    let document: Value = serde_json::from_str(&ran.stdout).expect("a document");
    assert_eq!(document["manifests"][0]["looked_at"], 1);
}

#[test]
fn panels_without_rows_show_nothing() {
    // Its row is in the last panel.
    let bench =
        Workbench::pinned(&[Section { shape: (1, 96), patterns: "uniform", ..Section::default() }]);
    let codes: Vec<i32> = (0..8)
        .map(|nonce| bench.verify(&["spot", "manifests", "--nonce", &nonce.to_string()]))
        .map(|ran| {
            assert_eq!(ran.code == 3, ran.stdout.contains("no row was looked at"), "{ran:?}");
            ran.code
        })
        .collect();
    assert!(codes.contains(&3), "{codes:?}");
    assert_eq!(bench.verify(&["spot", "manifests", "--panels", "64"]).code, 0);
}

#[test]
fn what_is_otherwise_or_missing_has_a_code_of_its_own() {
    let bench = bench();
    let panels = bench.path("expected-hashes/small.panels");
    let bytes = std::fs::read(&panels).expect("pinned");
    let mut other = bytes.clone();
    *other.last_mut().expect("digests") ^= 1;
    std::fs::write(&panels, &other).expect("written");
    let ran = bench.verify(&["spot", "manifests"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains("their root is") && ran.stdout.contains("spot: 1 case otherwise"),
        "{ran:?}"
    );
    std::fs::write(&panels, &bytes[..bytes.len() - 1]).expect("written");
    let ran = bench.verify(&["spot", "manifests"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("the file ends within the digests of a case"), "{ran:?}");
    std::fs::remove_file(&panels).expect("removed");
    let ran = bench.verify(&["spot", "manifests"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("`verify pin` writes them beside the others"), "{ran:?}");
    // Which it does, and nothing else.
    let committed = bench.read("expected-hashes/small.yaml");
    assert_eq!(bench.verify(&["pin", "manifests", "--yes"]).code, 0);
    assert_eq!(std::fs::read(&panels).expect("pinned"), bytes);
    assert_eq!(bench.read("expected-hashes/small.yaml"), committed);
}

#[test]
fn a_record_is_compared_with_what_is_made_here() {
    let bench = bench();
    let ran = bench.verify(&["manifests", "--no-measure", "--json", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let all = ["spot", "manifests", "--panels", "64", "--record", "record.json"];
    let ran = bench.verify(&all);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("looked at 2 of 2 cases"), "{ran:?}");
    // An output of which one panel was made up, and all that follows with it.
    let mut record = bench.record("record.json");
    let bits = record.cases[1].bits.as_mut().expect("it ran");
    bits.panels_dense[40] = "0123456789abcdef".into();
    bits.panels_operator[40] = "0123456789abcdef".into();
    bench.save("other.json", &record);
    let ran = bench.verify(&["spot", "manifests", "--panels", "64", "--record", "other.json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains("row panel 40 of 64")
            && ran.stdout.contains("recorded 0123456789abcdef"),
        "{ran:?}"
    );
}
