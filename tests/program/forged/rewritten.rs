//! Records that somebody rewrote with a purpose: refused by every command, with the place and both values.

use std::collections::BTreeMap;

use record::Record;
use serde_json::{Value, json};

use super::forgery::{Forgery, forgeries, kind};
use super::lists::{DERIVED, GREEN, is_in};
use super::{REAL, Real};
use crate::common::{Workbench, repository};

/// Every command that reads records.
fn commands<'a>(name: &'a str, page: &'a str, merged: &'a str) -> Vec<Vec<&'a str>> {
    vec![
        vec!["report", name],
        vec!["report", name, "--html", page],
        vec!["report", "record.json", name],
        vec!["explain", name],
        vec!["recheck", name],
        vec!["merge", name, "--json", merged],
        vec!["merge", name, "--json", merged, "--partial"],
        vec!["judge", "manifests", "--record", name],
        vec!["pin", "manifests", "--record", name, "--yes"],
        vec!["manifests", "--shard", "1/1", "--json", name, "--resume"],
    ]
}

/// Refused by each command, with the place in the message, and nothing is written.
fn assert_refused(bench: &Workbench, name: &str, what: &str) {
    let (before, committed) = (bench.read(name), bench.read("expected-hashes/small.yaml"));
    let (page, merged) = (format!("{name}.html"), format!("{name}.merged"));
    for arguments in commands(name, &page, &merged) {
        let ran = bench.verify(&arguments);
        assert_eq!(ran.code, 2, "{what}: {arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(name), "{what}: {arguments:?}: {ran:?}");
        assert!(!ran.stdout.contains("verified"), "{what}: {arguments:?}: {ran:?}");
    }
    for written in [&page, &merged] {
        assert!(!bench.path(written).exists(), "{what}: {written}");
    }
    assert_eq!(bench.read(name), before, "{what}");
    assert_eq!(bench.read("expected-hashes/small.yaml"), committed, "{what}");
}

#[test]
fn every_command_refuses_a_record_that_contradicts_itself() {
    let Real { bench, value, record } = &*REAL;
    let forged = forgeries(value, record);
    for derived in DERIVED {
        let forgery = forged.iter().find(|forgery| is_in(&[derived], &kind(&forgery.place)));
        let forgery = forgery.unwrap_or_else(|| panic!("{derived} is nowhere"));
        bench.write("first.json", &forgery.of(value).to_string());
        assert_refused(bench, "first.json", &forgery.place);
    }
}

#[test]
fn the_message_names_the_place_and_both_values() {
    let Real { value, .. } = &*REAL;
    let message = |place: &str, new: Value| {
        let forgery = Forgery { place: place.into(), value: new };
        let text = forgery.of(value).to_string();
        record::parse(text.as_bytes(), "x.json").expect_err(place).to_string()
    };
    let id = value["cases"][0]["id"].as_str().expect("an id");
    for (place, new, words) in [
        (
            "/cases/0/verdict",
            json!("mismatch"),
            format!("the verdict of case `{id}` is mismatch, and its observations give verified"),
        ),
        (
            "/cases/0/exit_code",
            json!(255),
            format!("the exit code of case `{id}` is 255, and 0 follows from the rest"),
        ),
        ("/outcome/code", json!(1), "the outcome is Some(Outcome { code: 1,".into()),
        (
            "/cases/0/bits/digests/0/got",
            json!("0".repeat(64)),
            format!("the verdict of case `{id}` is verified, and its observations give mismatch"),
        ),
        (
            "/cases/0/bits/structure/nnz",
            json!(3071),
            format!("non-zeros of the measurement of case `{id}` is 3072, and 3071 follows"),
        ),
        ("/cases/0/measurement/operator/error/elements", json!(0), "the error of `skip`".into()),
        (
            "/cases/0/measurement/operator/error/error_max",
            json!(-1.0),
            "the error of `skip`".into(),
        ),
        ("/cases/0/measurement/operator/error/error_max", json!(0.0), "the error of `skip`".into()),
    ] {
        let message = message(place, new);
        assert!(message.starts_with("x.json contradicts itself: "), "{message}");
        assert!(message.contains(&words), "no `{words}` in {message}");
    }
}

/// Several fields at once, as somebody would who wants a record to say something else.
#[test]
fn records_that_were_rewritten_in_part_are_refused() {
    let Real { bench, value, .. } = &*REAL;
    type Change = fn(&mut Value);
    let modes: [(&str, Change); 8] = [
        ("a mismatch with exit code 0", |case| {
            case["verdict"] = json!("mismatch");
            case["exit_code"] = json!(0);
            case["reasons"] = json!(["operator output digest mismatch"]);
            case["bits"]["digests"][3]["got"] = json!("0".repeat(64));
        }),
        ("verified although every digest differs", |case| {
            for digest in 0..6 {
                case["bits"]["digests"][digest]["got"] = json!("f".repeat(64));
            }
            case["bits"]["difference"]["differing"] = json!(99);
            case["bits"]["implementations_agree"] = json!(false);
            case["bits"]["broken"] = json!(["perturbation, rebuilt operator: broken"]);
        }),
        ("verified without bits", |case| case["bits"] = Value::Null),
        ("verified, and something stopped it", |case| {
            case["bits"] = Value::Null;
            case["measurement"] = Value::Null;
            case["measurement_reason"] = json!("not measured");
            case["stopped"] = json!("unavailable");
        }),
        ("not required, and unpinned", |case| {
            case["required"] = json!(false);
            case["verdict"] = json!("unpinned");
            case["exit_code"] = json!(3);
        }),
        ("refuted by nothing", |case| {
            case["verdict"] = json!("mismatch");
            case["exit_code"] = json!(1);
        }),
        ("not compared", |case| {
            for digest in 0..6 {
                case["bits"]["digests"][digest]["compared"] = json!(false);
                case["bits"]["digests"][digest]["got"] = json!("0".repeat(64));
            }
        }),
        ("nothing committed, and verified", |case| {
            for digest in 0..6 {
                case["bits"]["digests"][digest]["expected"] = Value::Null;
            }
        }),
    ];
    for (what, change) in modes {
        let mut other = value.clone();
        other["cases"].as_array_mut().expect("cases").iter_mut().for_each(change);
        bench.write("second.json", &other.to_string());
        assert_refused(bench, "second.json", what);
    }
}

/// A record whose every observation was rewritten alike is refused beside what is committed, and shows nothing without.
#[test]
fn a_record_that_was_rewritten_as_a_whole_is_refused_beside_what_is_committed() {
    let Real { bench, record, .. } = &*REAL;
    let recheck = |name: &str| bench.verify(&["recheck", name]);
    bench.save("third.json", record);
    let ran = recheck("third.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains(GREEN), "{ran:?}");

    // Another output, committed and found.
    let mut other = record.clone();
    let bits = other.cases[0].bits.as_mut().expect("verified");
    for row in &mut bits.digests[2..4] {
        row.got = Some(contract::digest::Digest::of(b"another"));
        row.expected = row.got;
    }
    bench.save("third.json", &other);
    let ran = recheck("third.json");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stdout.contains("committed digest `dense`: the record says "), "{ran:?}");
    // And the file of committed digests another, which this machine has not.
    other.manifests[0].expected_sha256 = None;
    bench.save("third.json", &other);
    let ran = recheck("third.json");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("(of 1 case other digests are committed here)"), "{ran:?}");

    // A case that was not right, and was never asked for.
    let mut fewer = record.clone();
    let gone = fewer.cases.remove(0).id;
    let manifest = &mut fewer.manifests[0];
    manifest.selected.retain(|id| *id != gone);
    manifest.dealt =
        manifest.dealt.take().map(|ids| ids.into_iter().filter(|id| *id != gone).collect());
    bench.save("third.json", &fewer);
    assert_eq!(record::outcome::of(&bench.record("third.json")).code, 0, "it is consistent");
    let ran = recheck("third.json");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stdout.contains("cases asked for: the record says 4 cases, here it is 5 cases"),
        "{ran:?}"
    );
    // By a selection that says so it would have been.
    fewer.options.select = vec!["[!t]*".into(), "tensor/*".into()];
    bench.save("third.json", &fewer);
    let ran = recheck("third.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("(only --case '[!t]*' --case 'tensor/*' --shard 1/1)"), "{ran:?}");

    // A manifest that nobody has.
    let mut nowhere = record.clone();
    nowhere.manifests[0].sha256 = contract::digest::Digest::of(b"another");
    bench.save("third.json", &nowhere);
    let ran = recheck("third.json");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("(1 manifest not here)"), "{ran:?}");
}

/// A record of another build, as if by this one, is not gone on with.
#[test]
fn a_record_of_another_build_is_not_gone_on_with() {
    let Real { bench, record, .. } = &*REAL;
    let mut other = record.clone();
    other.environment.tool_sha256 = Some("0".repeat(64));
    bench.save("fourth.json", &other);
    let ran = bench.verify(&["manifests", "--shard", "1/1", "--json", "fourth.json", "--resume"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("it was made by another build"), "{ran:?}");
}

/// Of an old record nothing that can be derived is believed either; what it did not note stays as it says.
#[test]
fn what_an_old_record_says_is_refused_or_derived_anew() {
    let text = std::fs::read_to_string(repository("tests/records/h200/h200.json")).expect("there");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["format"], "sparse-verify-record/3");
    // Of many cases two, one of them on tensor cores: the whole takes seconds to read.
    let cases = value["cases"].as_array_mut().expect("cases");
    let tensor = cases.iter().position(|case| case["dtype"] == "bf16").expect("one");
    *cases = vec![cases[0].clone(), cases[tensor].clone()];
    let record = record::parse(value.to_string().as_bytes(), "old").expect("a record");
    // The roofline was not noted then, and what follows from it is believed.
    const BELIEVED: [&str; 5] = [
        "/cases/*/required",
        "/cases/*/measurement/work",
        "/cases/*/measurement/minimum_time_ns",
        "/cases/*/measurement/operator/timing",
        "/cases/*/measurement/baselines/*/timing",
    ];
    let mut refused = 0;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for forgery in forgeries(&value, &record) {
        let kind = kind(&forgery.place);
        let times = seen.entry(kind.clone()).or_default();
        *times += 1;
        if *times > 4 || !is_in(&DERIVED, &kind) {
            continue;
        }
        let Ok(read) = record::parse(forgery.of(&value).to_string().as_bytes(), "old") else {
            refused += 1;
            continue;
        };
        let is_noted = kind.ends_with("/timing") || kind.ends_with("/timing/impossible");
        let is_believed = is_in(&BELIEVED, &kind) && (is_noted || !kind.contains("/timing"));
        assert!(read == record || is_believed, "{} -> {}", forgery.place, forgery.value);
        let (verdicts, honest) =
            (|r: &Record| r.cases.iter().map(|c| c.verdict).collect::<Vec<_>>(), &record);
        assert_eq!(verdicts(&read), verdicts(honest), "{}", forgery.place);
        assert_eq!(record::outcome::of(&read).code, 3, "{}", forgery.place);
    }
    assert!(refused > 10, "{refused}");
}
