//! Records that say something else than what was seen. Every place of a real record is changed in turn; a change must be
//! refused, or be without effect because what is said there is derived anew, or be on a list with the reason why nothing
//! can contradict it.

mod forgery;
mod lists;
mod rewritten;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use self::forgery::{Forgery, fates, forgeries, kind};
use self::lists::{CONTRADICTED, CONTRADICTED_ON_DEVICES, DERIVED, assert_fates, is_in};
use crate::common::{Section, Workbench, repository, text};
use contract::published::{Hardware, Platform, Scope};
use record::Record;
use serde_json::Value;
use sparse_verify::published::Machine;

/// A bench with the record of a run that measured, in `record.json`, and what it is made of.
struct Real {
    bench: Workbench,
    value: Value,
    record: Record,
}

/// The sections: each arithmetic that is verified in its own way, one of them not required, and drawn inputs.
fn sections() -> Vec<Section<'static>> {
    let timed = Section { name: "timed", shape: (96, 64), batch: "8", ..Section::default() };
    let loose = Section { name: "loose", arithmetic: "bounded", ..timed.clone() };
    let tensor = Section {
        name: "tensor",
        required: false,
        dtype: "bf16",
        arithmetic: "{tensor-core: hopper}",
        shape: (40, 320),
        ..timed.clone()
    };
    let exact =
        Section { name: "whole", weights: "binomial", arithmetic: "exact", ..timed.clone() };
    vec![timed, loose, tensor, exact]
}

static REAL: LazyLock<Real> = LazyLock::new(|| {
    let hardware = Hardware::new(Platform::Cuda, 4, 2048).expect("it exists");
    let (a, _) = hardware.uniform_inputs(7, (48, 40), 8).expect("small");
    let a = Machine::cpu(1).digest(&a, Scope::Prefix).expect("on a CPU").to_string();
    let drawn = format!(
        "  - name: drawn\n    seed: 7\n    weights: {{torch-device-uniform: {{platform: cuda, multiprocessors: 4}}}}\n    \
         layers: {{name: up, shape: [48, 40]}}\n    patterns: row-magnitude\n    sparsity: 0.5\n    batch: 8\n    \
         dtype: f32\n    arithmetic: f32-chain\n    claims:\n      \
         - {{id: drawn, sources: [s], digests: {{a: '{}'}}, scope: prefix}}\n",
        &a[..16]
    );
    let claims = "    claims:\n      - {id: fast, sources: [s], baseline: CPU CSR, speedup: 0.01, vendor_ms: 1000000000, \
                  operator_ms: 1000000000, live_rows: 48, max_abs_error: 0.001}\n";
    let sections = text(&sections());
    let second = sections.find("  - name: loose").expect("the second section");
    let manifest = format!("{}{claims}{}{drawn}", &sections[..second], &sections[second..]);
    let bench = Workbench::new(&[]);
    bench.write("manifests/small.yaml", &manifest);
    let ran = bench.verify(&["pin", "manifests", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = bench.verify(&["manifests", "--shard", "1/1", "--json", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let value = serde_json::from_str(&bench.read("record.json")).expect("JSON");
    let record = bench.record("record.json");
    Real { bench, value, record }
});

#[test]
fn nothing_but_the_word_of_a_machine_can_be_changed() {
    let Real { bench, value, record } = &*REAL;
    let forged = forgeries(value, record);
    let kinds: BTreeSet<String> = forged.iter().map(|forgery| kind(&forgery.place)).collect();
    for known in DERIVED.iter().chain(&CONTRADICTED) {
        assert!(kinds.iter().any(|kind| is_in(&[*known], kind)), "{known} is nowhere");
    }
    let fates = fates(bench, "manifests", value, record, &forged);
    assert_fates(&forged, &fates);
    assert!(forged.len() > 1500, "{}", forged.len());
}

/// What a record of outputs made elsewhere has more: who was asked for what, and what came back.
#[test]
fn nothing_but_the_word_of_who_returned_outputs_can_be_changed() {
    let bench = Workbench::pinned(&sections()[..1]);
    let made = bench.verify(&["inputs", "manifests", "--out", "sent", "--outputs"]);
    assert_eq!(made.code, 0, "{made:?}");
    let id = "timed/up/row-magnitude-50/b8/f32/f32-chain";
    let y = format!("sent/small/{id}/y.npy");
    let more = ["--y", &y, "--json", "record.json"];
    let ran = bench.verify(&[&["check", "manifests/small.yaml", "--case", id][..], &more].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let value: Value = serde_json::from_str(&bench.read("record.json")).expect("JSON");
    let record = bench.record("record.json");
    // What a run has too is forged above, beside all that contradicts it there.
    let known: BTreeSet<String> =
        forgeries(&REAL.value, &REAL.record).iter().map(|forgery| kind(&forgery.place)).collect();
    let mut forged = forgeries(&value, &record);
    forged.retain(|forgery| !known.contains(&kind(&forgery.place)));
    for known in ["/options/outputs/from", "/options/outputs/perturbed", "/cases/*/bits/returned"] {
        let of_kind: Vec<&Forgery> =
            forged.iter().filter(|forgery| is_in(&[known], &kind(&forgery.place))).collect();
        assert!(!of_kind.is_empty(), "{known} is nowhere");
    }
    let fates = fates(&bench, "manifests", &value, &record, &forged);
    assert_fates(&forged, &fates);
}

/// What a record of a device has more: samples with the device's own clock, states, energy, vendors' libraries.
#[test]
fn nothing_but_the_word_of_a_device_can_be_changed() {
    let text = std::fs::read_to_string(repository("tests/records/h100/rows.json")).expect("there");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let record = record::parse(text.as_bytes(), "rows.json").expect("a record");
    let known: BTreeSet<String> =
        forgeries(&REAL.value, &REAL.record).iter().map(|forgery| kind(&forgery.place)).collect();
    let mut forged = forgeries(&value, &record);
    // Each is read in a tenth of a second.
    let mut seen = BTreeMap::new();
    forged.retain(|forgery| {
        let kind = kind(&forgery.place);
        let times: &mut usize = seen.entry(kind.clone()).or_default();
        *times += 1;
        !known.contains(&kind) && *times <= 3
    });
    for known in CONTRADICTED_ON_DEVICES {
        let is_there = forged.iter().any(|forgery| is_in(&[known], &kind(&forgery.place)));
        assert!(is_there, "{known} is nowhere");
    }
    let bench = Workbench::new(&[]);
    let fates = fates(&bench, &repository("manifests"), &value, &record, &forged);
    assert_fates(&forged, &fates);
}
