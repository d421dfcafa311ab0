//! `--sample N`: whole cases that a nonce draws. What is said of them, of the others, and what is refused.

use record::report::{html, markdown};
use record::sample;
use serde_json::Value;

use crate::common::{Ran, Section, Workbench, change_digit, small};

/// Eight cases.
fn bench() -> Workbench {
    Workbench::pinned(&[Section {
        batch: "[1, 2, 3, 4, 5, 6, 7, 9]",
        patterns: "uniform",
        ..Section::default()
    }])
}

fn run(bench: &Workbench, more: &[&str]) -> Ran {
    bench.verify(&[&["manifests", "--no-measure", "--threads", "2"][..], more].concat())
}

fn ids(bench: &Workbench, record: &str) -> Vec<String> {
    bench.record(record).cases.iter().map(|case| case.id.clone()).collect()
}

#[test]
fn the_drawn_cases_are_run_and_every_rendering_says_that_they_are_a_sample() {
    let bench = bench();
    let ran = run(
        &bench,
        &["--sample", "3", "--sample-nonce", "round 1", "--json", "r.json", "--junit", "r.xml"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let headline = "bits verified: 3 of 3 cases of a sample, drawn from 8 (only --sample 3 --sample-nonce 'round 1')";
    let drawn = "sample of small: 3 of 8 cases, drawn by the nonce round 1";
    // One wrong one of 8 is not among 3 with 5/8; of 10 % that is one as well.
    let missed = "5 others were not drawn and not run: were 1 of the 8 wrong (1 %, one at least), none of them was drawn with a \
                  probability of 62.5 %; were 1 of the 8 wrong (10 %, one at least), none of them was drawn with a probability of \
                  62.5 %";
    let end = "the sample was verified, and nothing else was run (exit code 0)";
    for said in [headline, drawn, missed, end] {
        assert!(ran.stdout.contains(said), "{said}\n{}", ran.stdout);
    }
    let record = bench.record("r.json");
    assert_eq!((record.manifests[0].selected.len(), record.cases.len()), (8, 3));
    assert_eq!(sample::population(&record), Some(8));
    let asked = record.options.sample.as_ref().expect("a sample");
    assert_eq!((asked.cases, asked.nonce.as_str()), (3, "round 1"));
    // Perturbed outputs are the committed ones: which cases are run is all that this nonce decides.
    assert_eq!(record.options.nonce, None);
    assert!(record.cases.iter().all(|case| {
        let rows = &case.bits.as_ref().expect("it ran").digests;
        rows.iter().all(|row| row.got == row.expected)
    }));
    let junit = bench.read("r.xml");
    assert_eq!(junit.matches("<testcase ").count(), 3, "{junit}");
    for said in [drawn, missed] {
        assert!(junit.contains(said), "{said}: {junit}");
        assert!(markdown::render(&[("r".into(), record.clone())]).contains(said), "{said}");
        assert!(html::render(&[("r".into(), record.clone())]).contains(said), "{said}");
    }
}

#[test]
fn the_same_nonce_draws_the_same_and_another_one_others() {
    let bench = bench();
    let drawn = |more: &[&str]| {
        let ran = run(&bench, &[&["--json", "r.json", "--force"], more].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ids(&bench, "r.json")
    };
    let three = drawn(&["--sample", "3", "--sample-nonce", "round 1"]);
    assert_eq!(drawn(&["--sample", "3", "--sample-nonce", "round 1"]), three);
    assert_ne!(drawn(&["--sample", "3", "--sample-nonce", "round 2"]), three);
    // The nonce of the perturbation draws as well, and is then in both places.
    assert_eq!(drawn(&["--sample", "3", "--nonce", "round 1"]), three);
    let record = bench.record("r.json");
    assert_eq!(record.options.nonce.as_deref(), Some("round 1"));
    assert_eq!(drawn(&["--sample", "3", "--nonce", "round 2", "--sample-nonce", "round 1"]), three);
    // Without one it is random, recorded, and enough to draw them again.
    let random = drawn(&["--sample", "3"]);
    let nonce = bench.record("r.json").options.sample.expect("a sample").nonce;
    assert_eq!(nonce.len(), 32);
    assert_eq!(drawn(&["--sample", "3", "--sample-nonce", &nonce]), random);
    assert!(
        drawn(&["--sample", "4", "--sample-nonce", "round 1"])
            .iter()
            .filter(|id| three.contains(id))
            .count()
            == 3
    );
    // More than there are: all, which is said.
    let ran = run(&bench, &["--sample", "9", "--sample-nonce", "x"]);
    let said = "sample of small: 8 of 8 cases, drawn by the nonce x; 9 were asked for\n";
    assert!(ran.code == 0 && ran.stdout.contains(said), "{ran:?}");
    assert!(!ran.stdout.contains("probability"), "{ran:?}");
    // Of a selection.
    let ran = run(
        &bench,
        &["--sample", "1", "--sample-nonce", "x", "--case", "*/b1/*", "--case", "*/b2/*"],
    );
    assert!(
        ran.stdout.contains(
            "1 of 1 case of a sample, drawn from 2 (only --case '*/b1/*' --case '*/b2/*' --sample 1"
        ),
        "{ran:?}"
    );
}

/// A wrong digest is found where its case is drawn, and nowhere else: what the probability says is counted.
#[test]
fn what_is_planted_is_missed_where_it_is_not_drawn() {
    let bench = bench();
    assert_eq!(run(&bench, &["--json", "all.json"]).code, 0);
    let wrong = &ids(&bench, "all.json")[2];
    let committed = "expected-hashes/small.yaml";
    bench.write(committed, &change_digit(&bench.read(committed), wrong, "    v: "));
    let mut missed = 0;
    for nonce in 0..12 {
        let nonce = nonce.to_string();
        let ran = run(
            &bench,
            &["--sample", "3", "--sample-nonce", &nonce, "--json", "r.json", "--force"],
        );
        let is_drawn = ids(&bench, "r.json").contains(wrong);
        assert_eq!(ran.code, i32::from(is_drawn), "{ran:?}");
        assert_eq!(ran.stdout.contains("probability"), !is_drawn, "{ran:?}");
        if is_drawn {
            let said = "refuted: 1 of 3 cases of a sample, drawn from 8 not right";
            let nothing = "5 others were not drawn, and nothing is said of them: 1 of the drawn ones is not verified";
            assert!(ran.stdout.contains(said) && ran.stdout.contains(nothing), "{ran:?}");
        }
        missed += usize::from(!is_drawn);
    }
    assert!((1..12).contains(&missed), "{missed}");
}

#[test]
fn cases_that_are_not_required_have_no_part_in_it() {
    let optional = Section {
        name: "more",
        required: false,
        patterns: "uniform",
        batch: "[1, 2]",
        ..Section::default()
    };
    let bench =
        Workbench::pinned(&[Section { patterns: "uniform", ..Section::default() }, optional]);
    let ran = run(&bench, &["--sample", "3", "--sample-nonce", "x"]);
    let said = "sample of small: 1 of 1 case, drawn by the nonce x; 3 were asked for; 2 cases not required, of which none is drawn";
    assert!(ran.code == 0 && ran.stdout.contains(said), "{ran:?}");
    for more in [&["--strict"][..], &["--case", "more/*"]] {
        let ran = run(&bench, &[&["--sample", "2", "--sample-nonce", "x"], more].concat());
        assert!(
            ran.code == 0 && ran.stdout.contains("2 of 2 cases of a sample"),
            "{more:?}: {ran:?}"
        );
    }
}

#[test]
fn a_sample_goes_on_with_its_own_cases() {
    let bench = bench();
    let sample = ["--sample", "4", "--json", "r.json"];
    assert_eq!(run(&bench, &sample).code, 0);
    let whole = bench.record("r.json");
    let drawn = ids(&bench, "r.json");
    // As it was when it was cut off.
    let cut = |bench: &Workbench| {
        let mut record = whole.clone();
        record.cases.truncate(1);
        (record.ended, record.outcome) = (None, None);
        bench.save("r.json", &record);
    };
    cut(&bench);
    // The record's nonce: none was given, and none is drawn anew.
    let ran = run(&bench, &[&sample[..], &["--resume"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ids(&bench, "r.json"), drawn);
    assert_eq!(bench.record("r.json").options.sample, whole.options.sample);
    for (more, said) in [
        (&["--sample", "5"][..], "--sample: it was asked with `4, drawn by "),
        (&["--sample", "4", "--sample-nonce", "x"], "now it is with `4, drawn by x`"),
        (&[], "now it is without it"),
    ] {
        cut(&bench);
        let ran = run(&bench, &[&["--json", "r.json", "--resume"], more].concat());
        assert!(ran.code == 2 && ran.stderr.contains(said), "{more:?}: {ran:?}");
    }
}

#[test]
fn what_is_no_sample_is_refused() {
    let bench = Workbench::new(&small());
    for (more, said) in [
        (&["--sample", "0"][..], "0 is not in 1.."),
        (&["--sample", "few"], "invalid value 'few'"),
        (&["--sample", "1", "--shard", "1/2"], "cannot be used with '--shard <I/N>'"),
        (&["--sample-nonce", "x"], "--sample <N>"),
    ] {
        let ran = run(&bench, more);
        assert!(ran.code == 2 && ran.stderr.contains(said), "{more:?}: {ran:?}");
    }
}

/// Which cases are a sample's follows from its nonce: a record that has chosen ones is refused.
#[test]
fn a_record_of_other_cases_than_those_drawn_is_refused() {
    let bench = bench();
    let made = ["--sample", "3", "--sample-nonce", "round 1", "--json", "r.json"];
    assert_eq!(run(&bench, &made).code, 0);
    let good = bench.read("r.json");
    assert!(record::parse(good.as_bytes(), "r").is_ok());
    let forged = |from: &str, to: &str| {
        assert_eq!(good.matches(from).count(), 1, "{from}");
        let error = record::parse(good.replace(from, to).as_bytes(), "r").expect_err(to);
        error.to_string()
    };
    let sample = r#""sample":{"cases":3,"nonce":"round 1"}"#;
    for (to, said) in [
        (r#""sample":{"cases":3,"nonce":"round 2"}"#, "the sample of manifest `small`"),
        (r#""sample":{"cases":4,"nonce":"round 1"}"#, "the sample of manifest `small`"),
        (r#""sample":{"cases":3,"nonce":"round 1"},"shard":"1/2""#, "it is a shard as well"),
        (r#""sample":null"#, "the cases say otherwise"),
        (r#""sample":{"cases":3,"nonce":"round 1","more":1}"#, "unknown field `more`"),
    ] {
        let error = forged(sample, to);
        assert!(error.contains(said), "{to}: {error}");
    }
    // The headline follows, too.
    forged("3 of 3 cases of a sample, drawn from 8", "3 of 3 cases");
    // What is signed of it says so.
    let statement = bench.verify(&["attest", "r.json", "--unsigned"]);
    assert_eq!(statement.code, 0, "{statement:?}");
    let statement: Value = serde_json::from_str(&bench.read("r.statement.json")).expect("JSON");
    let own = &statement["predicate"]["sparseVerify"];
    assert_eq!(own["options"]["sample"]["nonce"], "round 1");
    assert_eq!(own["manifests"][0]["whole"], false);
    assert_eq!(own["manifests"][0]["asked"].as_array().map(Vec::len), Some(3));
    // It confirms what it ran.
    assert_eq!(bench.verify(&["recheck", "r.json", "--manifests", "manifests"]).code, 0);
}
