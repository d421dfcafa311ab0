//! `verify pin --record`: what a run elsewhere confirms is added to the committed digests, which do not change.

use crate::common;
use crate::common::records::find_another;
use crate::common::{Section, Workbench, change_digit, text};
use contract::digest::Digest;
use record::device::{DeviceInfo, KernelRecord};
use record::expected::Expected;
use record::verdict::Verdict;
use record::{DeviceRecord, Record, Stopped};

const EXPECTED: &str = "expected-hashes/small.yaml";
const CHAIN: &str = "small/up/row-magnitude-50/b24/f32/f32-chain";
const BOUNDED: &str = "loose/up/row-magnitude-50/b24/f32/bounded";
const TENSOR: &str = "tensor/up/row-magnitude-50/b24/bf16/tensor-core-hopper";
const CONFIRMATION: &str =
    "skip-cuda on NVIDIA H200 (driver 13.0, NVRTC 13.0), sparse-verify 0.1.0, unsigned";

fn sections() -> Vec<Section<'static>> {
    let plain = Section::default();
    let loose = Section { name: "loose", arithmetic: "bounded", ..plain.clone() };
    let tensor = Section {
        name: "tensor",
        dtype: "bf16",
        arithmetic: "{tensor-core: hopper}",
        shape: (40, 320),
        ..plain.clone()
    };
    vec![plain, loose, tensor]
}

/// Everything pinned, and the record of a run of it as a device would have made it.
fn bench() -> (Workbench, Record) {
    let bench = Workbench::pinned(&sections());
    let ran = bench.verify(&["manifests/small.yaml", "--no-measure", "--json", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut record = bench.record("record.json");
    record.devices = vec![DeviceRecord {
        device: DeviceInfo {
            ordinal: 0,
            name: "NVIDIA H200".into(),
            uuid: "GPU-0".into(),
            compute_capability: "9.0".into(),
            multiprocessors: 132,
            memory_bytes: 1,
            l2_bytes: 1,
            clock_khz_max: 1,
            memory_clock_khz: 1,
            memory_bus_bits: 1,
            driver: "13.0".into(),
        },
        kernels: ["one.cu", "two.cu"]
            .map(|source| KernelRecord {
                source: source.into(),
                source_sha256: Digest::of(b"source"),
                options: String::new(),
                compiler: "NVRTC 13.0".into(),
                cubin_sha256: Digest::of(b"code"),
            })
            .into(),
    }];
    for case in &mut record.cases {
        case.device = Some("NVIDIA H200".into());
        case.bits.as_mut().expect("it ran").operator = "skip-cuda".into();
    }
    (bench, record)
}

/// With all that follows from the record's observations.
fn pin(bench: &Workbench, record: &Record, more: &[&str]) -> common::Ran {
    let mut derived = record.clone();
    record::derive::fill(&mut derived);
    pin_as_it_stands(bench, &derived, more)
}

fn pin_as_it_stands(bench: &Workbench, record: &Record, more: &[&str]) -> common::Ran {
    bench.forge("elsewhere.json", record);
    let arguments = ["pin", "manifests/small.yaml", "--record", "elsewhere.json"];
    bench.verify(&[&arguments, more].concat())
}

fn expected(bench: &Workbench) -> Expected {
    sparse_verify::expected::load(&bench.path(EXPECTED), "small").expect("it was pinned")
}

#[test]
fn a_record_of_the_same_digests_confirms_them() {
    let (bench, record) = bench();
    let before = expected(&bench);
    let ran = pin(&bench, &record, &["--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let summary = format!("{EXPECTED}: 2 confirmations added, 1 already there\nwrote {EXPECTED}\n");
    assert_eq!(ran.stdout, summary);
    let after = expected(&bench);
    for (id, entry) in &after.cases {
        let old = &before.cases[id];
        assert!(entry.same_digests(old), "{id}");
        assert_eq!((&entry.tool, &entry.model), (&old.tool, &old.model));
        let new: Vec<_> = entry.confirmed.iter().filter(|c| !old.confirmed.contains(c)).collect();
        assert!(old.confirmed.iter().all(|c| entry.confirmed.contains(c)));
        match &**id {
            BOUNDED => assert_eq!(new, [""; 0], "an output within a bound confirms no digest"),
            _ => assert_eq!(new, [CONFIRMATION], "{id}"),
        }
    }
    let once = bench.read(EXPECTED);
    let ran = pin(&bench, &record, &["--yes"]);
    assert_eq!((ran.code, bench.read(EXPECTED)), (0, once), "the second time changes nothing");
    assert_eq!(ran.stdout, format!("{EXPECTED}: unchanged\n"));
}

#[test]
fn a_record_of_this_machine_repeats_what_is_there() {
    let (bench, _) = bench();
    let before = bench.read(EXPECTED);
    let ran = pin(&bench, &bench.record("record.json"), &["--yes"]);
    assert_eq!((ran.code, bench.read(EXPECTED)), (0, before), "{ran:?}");
}

#[test]
fn one_differing_digest_refuses_the_whole_record() {
    let (bench, record) = bench();
    let before = bench.read(EXPECTED);
    for name in ["a", "v", "dense", "operator", "rebuilt", "shifted"] {
        // Whether the record's digest is another ...
        let mut other = record.clone();
        let case = other.cases.iter_mut().find(|case| case.id == CHAIN).expect("it ran");
        find_another(case, name);
        let ran = pin_as_it_stands(&bench, &other, &["--yes"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        let words = "is verified, and its observations give mismatch";
        assert!(ran.stderr.contains(words), "{ran:?}");
        let ran = pin(&bench, &other, &["--yes"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let line = format!("! {CHAIN}: refused: {name} differs\n    committed ");
        assert!(ran.stdout.starts_with(&line), "{}", ran.stdout);
        assert!(ran.stdout.ends_with("nothing was written\n"));
        assert_eq!(bench.read(EXPECTED), before);
        // ... or the committed one.
        let changed = change_digit(&before, CHAIN, &format!("    {name}: "));
        bench.write(EXPECTED, &changed);
        let ran = pin(&bench, &record, &["--yes"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stdout.starts_with(&line), "{}", ran.stdout);
        assert_eq!(bench.read(EXPECTED), changed);
        bench.write(EXPECTED, &before);
    }
    let mut panels = record.clone();
    let case = panels.cases.iter_mut().find(|case| case.id == BOUNDED).expect("it ran");
    case.bits.as_mut().expect("it ran").panels_dense[5] = "0".repeat(16);
    let ran = pin(&bench, &panels, &["--yes"]);
    assert_eq!(ran.code, 1);
    let line = format!("! {BOUNDED}: refused: the digests of row panels differ\n");
    assert!(ran.stdout.starts_with(&line), "{}", ran.stdout);
    assert_eq!(bench.read(EXPECTED), before);
}

#[test]
fn a_refuting_verdict_or_another_shape_is_refused() {
    let (bench, record) = bench();
    let before = bench.read(EXPECTED);
    let mut refuted = record.clone();
    refuted.cases[0].verdict = Verdict::Mismatch;
    let ran = pin_as_it_stands(&bench, &refuted, &["--yes"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("is mismatch, and its observations give verified"), "{ran:?}");
    refuted.cases[0].bits.as_mut().expect("it ran").broken = vec!["a promise".into()];
    refuted.cases[0].bits.as_mut().expect("it ran").implementations_agree = false;
    let ran = pin(&bench, &refuted, &["--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("the record's verdict is mismatch"), "{}", ran.stdout);
    let mut other = record.clone();
    let case = &mut other.cases[0];
    case.m += 1;
    let bits = case.bits.as_mut().expect("it ran");
    bits.structure.elements += case.k as u64;
    bits.difference.elements += case.n as u64;
    let ran = pin(&bench, &other, &["--yes"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("the record is about other shapes"), "{}", ran.stdout);
    let mut nowhere = record;
    nowhere.devices.clear();
    let ran = pin(&bench, &nowhere, &["--yes"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("does not describe its device NVIDIA H200"), "{}", ran.stdout);
    assert_eq!(bench.read(EXPECTED), before);
}

#[test]
fn what_was_not_verified_confirms_nothing() {
    let (bench, mut record) = bench();
    record.cases[0].stopped = Some(Stopped::Unavailable);
    record.cases[0].bits = None;
    record.cases[0].reasons = vec!["no weights".into()];
    let bits = record.cases[1].bits.as_mut().expect("it ran");
    bits.digests.iter_mut().for_each(|row| row.expected = None);
    let ran = pin(&bench, &record, &["--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains(": not confirmed: it was not run: no weights\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains(": not confirmed: the record's verdict is unpinned\n"));
    assert!(ran.stdout.contains("1 confirmations added"), "{}", ran.stdout);
    assert!(expected(&bench).cases[TENSOR].confirmed.contains(&CONFIRMATION.to_owned()));
    assert!(!expected(&bench).cases[CHAIN].confirmed.contains(&CONFIRMATION.to_owned()));

    bench.write(EXPECTED, "format: 1\nmanifest: small\ncases: {}\n");
    let ran = pin(&bench, &record, &["--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(ran.stdout.matches(": not confirmed: it is not pinned\n").count(), 3);
    assert_eq!(bench.read(EXPECTED), "format: 1\nmanifest: small\ncases: {}\n");
}

#[test]
fn a_record_with_a_nonce_or_of_other_cases_is_bad_input() {
    let (bench, record) = bench();
    let before = bench.read(EXPECTED);
    let mut with_nonce = record.clone();
    with_nonce.options.nonce = Some("auditor".into());
    let ran = pin(&bench, &with_nonce, &["--yes"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("made with --nonce") && ran.stderr.contains("hint: "), "{ran:?}");
    let mut other = record.clone();
    other.manifests[0].name = "large".into();
    other.cases.iter_mut().for_each(|case| case.manifest = "large".into());
    let ran = pin(&bench, &other, &["--yes"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("has none of the cases asked for"), "{ran:?}");
    // Nobody to ask.
    assert_eq!(pin(&bench, &record, &[]).code, 2);
    assert_eq!(pin(&bench, &record, &["--threads", "1", "--yes"]).code, 2);
    bench.write("elsewhere.json", "{}");
    let arguments = ["pin", "manifests/small.yaml", "--record", "elsewhere.json", "--yes"];
    assert_eq!(bench.verify(&arguments).code, 2);
    assert_eq!(bench.verify(&["pin", "manifests/small.yaml", "--record", "missing.json"]).code, 4);
    assert_eq!(bench.read(EXPECTED), before);
}

#[test]
fn the_models_confirmation_is_brought_up_to_date_and_globs_choose() {
    let (bench, record) = bench();
    let pinned = bench.read(EXPECTED);
    let status = expected(&bench).cases[TENSOR].model.clone().expect("a tensor core's");
    bench.write(EXPECTED, &pinned.replace(&format!("model: {status}"), "model: another"));
    let ran = pin(&bench, &record, &["--yes", "--case", "tensor/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let after = expected(&bench);
    assert_eq!(after.cases[TENSOR].model.as_deref(), Some(&*status));
    assert!(!after.cases[CHAIN].confirmed.contains(&CONFIRMATION.to_owned()), "not chosen");
}

#[test]
fn the_sections_are_what_the_tests_take_them_for() {
    let manifest = text(&sections());
    let bench = Workbench::new(&sections());
    assert_eq!(bench.read("manifests/small.yaml"), manifest);
    let ran = bench.verify(&["list", "manifests/small.yaml"]);
    for id in [CHAIN, BOUNDED, TENSOR] {
        assert!(ran.stdout.contains(id), "{}", ran.stdout);
    }
}
