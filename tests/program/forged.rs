//! Records that say something else than what was seen. Every place of a real record is changed in turn; a change must be
//! refused, or be without effect because what is said there is derived anew, or be on a list with the reason why nothing
//! can contradict it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::common::{Section, Workbench, repository, text};
use contract::published::{Hardware, Platform, Scope};
use record::Record;
use serde_json::{Value, json};
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

/// A place in a record, with what is written there instead.
struct Forgery {
    place: String,
    value: Value,
}

/// The place's kind: its path with `*` for each index.
fn kind(place: &str) -> String {
    let parts = place.split('/').map(|part| match part.parse::<usize>() {
        Ok(_) => "*",
        Err(_) => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, item)| places(item, &format!("{at}/{i}"), found));
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(field, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

/// Words of a record that stand for each other.
const WORDS: [&[&str]; 8] = [
    &["verified", "mismatch", "within-bound", "out-of-bound", "unpinned", "in-part", "not-run"],
    &["confirmed", "refuted", "attained", "not-attained", "inconclusive", "not-judged"],
    &["agrees", "differs", "impossible", "holds", "lower", "match", "prefix-match"],
    &["dense", "sparse", "compacted", "reduced"],
    &["bits", "measurements", "claims"],
    &["refused", "unavailable", "environment", "other-weights"],
    &["whole-tensor", "prefix"],
    &["published", "best", "measured", "proxy"],
];

/// What may stand in a place instead.
fn others(old: &Value) -> Vec<Value> {
    let mut new = vec![Value::Null];
    match old {
        Value::Null => new.extend([
            json!("x"),
            json!(1),
            json!(0.5),
            json!("0".repeat(64)),
            json!("1/2"),
            json!("environment"),
            json!(["x"]),
            json!({"row": 0, "column": 0, "got": 0, "want": 1, "ulps": 1}),
            json!({"manifest": "small", "id": "x"}),
        ]),
        Value::Bool(old) => new.push(json!(!old)),
        Value::Number(number) => {
            if let Some(whole) = number.as_u64() {
                new.extend([json!(whole + 1), json!(whole / 2), json!(0)]);
            }
            let number = number.as_f64().expect("all numbers are");
            new.extend([json!(number * 2.0 + 1.0), json!(number / 2.0)]);
        }
        Value::String(old) => {
            let is_hex = |len| old.len() == len && old.bytes().all(|b| b.is_ascii_hexdigit());
            if is_hex(64) || is_hex(16) {
                let digit = if old.starts_with('0') { "1" } else { "0" };
                new.push(json!(format!("{digit}{}", &old[1..])));
            } else {
                let of = |words: &&&[&str]| words.contains(&old.as_str());
                new.extend(
                    WORDS.iter().filter(of).flat_map(|words| words.iter()).map(|w| json!(w)),
                );
                new.push(json!(format!("{old}x")));
            }
        }
        Value::Array(items) => {
            let Some(last) = items.last() else { return vec![json!(["x"])] };
            new.push(json!([]));
            new.push(json!(items[1..]));
            new.push(json!(items[..items.len() - 1]));
            new.push(json!(items.iter().chain([last]).collect::<Vec<_>>()));
            if let [first, second, rest @ ..] = &items[..] {
                new.push(json!([second, first].into_iter().chain(rest).collect::<Vec<_>>()));
            }
        }
        Value::Object(_) => {}
    }
    new.retain(|new| new != old);
    new
}

/// Forgeries of every kind of place that are records by their types, and other than the honest one. Of many places of
/// one kind, some.
fn forgeries(value: &Value, honest: &Record) -> Vec<Forgery> {
    const PLACES_MAX: usize = 4;
    let mut found = Vec::new();
    places(value, "", &mut found);
    let mut of_kind: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for place in found.into_iter().filter(|place| !place.is_empty()) {
        of_kind.entry(kind(&place)).or_default().push(place);
    }
    let mut forged = Vec::new();
    for places in of_kind.into_values() {
        // Spread over all of them, the first and the last included.
        let count = places.len().min(PLACES_MAX);
        let chosen = (0..count).map(|i| &places[i * (places.len() - 1) / (count - 1).max(1)]);
        for place in chosen {
            let old = value.pointer(place).expect("found a moment ago");
            for new in others(old) {
                let mut other = value.clone();
                *other.pointer_mut(place).expect("found a moment ago") = new.clone();
                let typed = serde_json::from_value::<Record>(other);
                if typed.is_ok_and(|record| record != *honest) {
                    forged.push(Forgery { place: place.clone(), value: new });
                }
            }
        }
    }
    forged
}

impl Forgery {
    fn of(&self, value: &Value) -> Value {
        let mut other = value.clone();
        *other.pointer_mut(&self.place).expect("a place of it") = self.value.clone();
        other
    }
}

/// What became of a forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It contradicts itself.
    Refused,
    /// What was written is derived anew.
    WithoutEffect,
    /// It contradicts the manifests or the committed digests.
    Rechecked,
    /// Something of it cannot be set beside anything: it does not pass.
    NotShown,
    /// It passes.
    Accepted,
}

/// The fate of each forgery of a record, beside the manifests in a folder.
fn fates(
    bench: &Workbench,
    manifests: &str,
    value: &Value,
    honest: &Record,
    all: &[Forgery],
) -> Vec<Fate> {
    let mut fates = Vec::new();
    let mut names = Vec::new();
    for forgery in all {
        let text = forgery.of(value).to_string();
        fates.push(match record::parse(text.as_bytes(), "forged") {
            Err(_) => Fate::Refused,
            Ok(read) if read == *honest => Fate::WithoutEffect,
            Ok(_) => {
                let name = format!("forged-{}.json", names.len());
                bench.write(&name, &text);
                names.push((fates.len(), name));
                Fate::Accepted
            }
        });
    }
    for chunk in names.chunks(100) {
        let mut arguments = vec!["recheck", "--manifests", manifests];
        arguments.extend(chunk.iter().map(|(_, name)| name.as_str()));
        let ran = bench.verify(&arguments);
        for (at, name) in chunk {
            let (_, said) = ran.stdout.split_once(&format!("{name}: it says: ")).expect("its part");
            let end = format!("{name}: consistent: nothing was re-derived");
            let refused = said.find(&format!("{name}: refused: "));
            fates[*at] = match (refused, said.find(&end)) {
                (Some(refused), None) if refused < said.len() => Fate::Rechecked,
                (None, Some(end)) if said[end..].lines().nth(1) == Some(GREEN) => Fate::Accepted,
                (None, Some(_)) => Fate::NotShown,
                found => panic!("{found:?}: {said}"),
            };
        }
    }
    fates
}

const GREEN: &str = "exit code 0: everything required was verified (by the record)";

/// What follows from the rest of a record: whatever else is written there is refused when it is read.
const DERIVED: [&str; 24] = [
    "/cases/*/verdict",
    "/cases/*/exit_code",
    "/cases/*/required",
    "/cases/*/bits/digests/*/compared",
    "/cases/*/bits/implementations_agree",
    "/cases/*/bits/likely_cause",
    "/cases/*/measurement/sparsity",
    "/cases/*/measurement/sparsity_measured",
    "/cases/*/measurement/work",
    "/cases/*/measurement/minimum_time_ns",
    "/cases/*/measurement/operator/timing",
    "/cases/*/measurement/baselines/*/timing",
    "/cases/*/measurement/speedups",
    "/cases/*/measurement/no_speedup",
    "/cases/*/measurement/break_even_calls",
    "/published_inputs/*/compared/matches",
    "/judged/*/cases",
    "/judged/*/id",
    "/judged/*/twin",
    "/judged/*/word",
    "/judged/*/rows/*/word",
    "/judged/*/rows/*/here",
    "/judged/*/rows/*/interval",
    "/outcome",
];

/// Observations that another observation, the manifest or what is committed contradicts: no change of one passes.
const CONTRADICTED: [&str; 33] = [
    "/manifests/*/selected",
    "/manifests/*/optional",
    "/manifests/*/dealt",
    "/manifests/*/claims",
    "/manifests/*/sections",
    "/cases/*/id",
    "/cases/*/m",
    "/cases/*/k",
    "/cases/*/n",
    "/cases/*/seed",
    "/cases/*/weights",
    "/cases/*/arithmetic",
    "/cases/*/model",
    "/cases/*/stopped",
    "/cases/*/reasons",
    "/cases/*/bits/digests/*/expected",
    "/cases/*/bits/panels_dense",
    "/cases/*/bits/structure/elements",
    "/cases/*/bits/structure/nnz",
    "/cases/*/bits/structure/dead_rows",
    "/cases/*/bits/structure/dead_columns",
    "/cases/*/bits/structure/block_size",
    "/cases/*/bits/difference/elements",
    "/cases/*/bits/difference/differing",
    "/cases/*/bits/bound/outside",
    "/cases/*/measurement/nnz",
    "/cases/*/measurement/live_rows",
    "/cases/*/measurement/device",
    "/cases/*/measurement/element_bytes",
    "/cases/*/measurement/rounds",
    "/cases/*/measurement/roofline/margin",
    "/cases/*/measurement/operator/threads",
    "/published_inputs/*/compared/got",
];

/// The same of a measurement on a device.
const CONTRADICTED_ON_DEVICES: [&str; 6] = [
    "/cases/*/measurement/operator/device_samples/*/time_ns",
    "/cases/*/measurement/operator/device_cold_samples/*/time_ns",
    "/cases/*/measurement/operator/energy/joules_per_call",
    "/cases/*/measurement/operator/energy/joules_per_call_above_idle",
    "/cases/*/measurement/operator/energy/window",
    "/devices/*/device/clock_khz_max",
];

/// Whether a kind of place is one of these, or inside of one.
fn is_in(kinds: &[&str], kind: &str) -> bool {
    kinds.iter().any(|known| {
        kind.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Observations that nothing else in a record, and nothing that is committed, contradicts: a machine's word, which is as
/// good as the machine. Some changes of them are found, and some are not.
const WORDS_OF_MACHINES: [(&str, &str); 39] = [
    ("/arguments", "the command line is told, not used"),
    ("/started", "a time of day"),
    ("/environment", "a machine's description of itself"),
    ("/devices", "a device's description of itself"),
    ("/options/any_platform", "what was asked for, where it changes no outcome"),
    ("/options/device", "what was asked for: what ran is in the cases"),
    ("/options/isa", "a dispatch path: it changes no bit"),
    // Refused where a time is too noisy, which counts where times are required; on a quiet machine none may be.
    ("/options/require", "what was asked for, where it changes no outcome"),
    ("/options/strict", "what was asked for, where it changes no outcome"),
    ("/options/threads", "how it ran: it changes no bit"),
    ("/manifests/*/expected_path", "a path on another machine"),
    ("/manifests/*/expected_sha256", "the digests in the file are compared one by one"),
    ("/cases/*/seconds", "a time"),
    ("/cases/*/measurement_reason", "why nothing was measured, in words"),
    ("/cases/*/baselines", "what a vendor's library computed"),
    ("/cases/*/baselines_missing", "what was looked for on another machine"),
    ("/cases/*/bits/operator", "the name of what ran"),
    ("/cases/*/bits/plan", "how it ran, in words"),
    ("/cases/*/bits/perturbation", "what was changed, in words"),
    ("/cases/*/bits/recomputed", "a count, within its bounds"),
    ("/cases/*/bits/negative_zeros_operator", "a count, within its bounds"),
    ("/cases/*/bits/negative_zeros_dense", "a count, within its bounds"),
    ("/cases/*/bits/dense_max", "a magnitude"),
    ("/cases/*/bits/dense_share_max", "a share"),
    ("/cases/*/bits/accuracy", "distances of elements that were recomputed, within their bounds"),
    ("/cases/*/bits/certificate", "a bound of sums, below its limit"),
    ("/cases/*/bits/structure", "counts of zeros, within their bounds"),
    ("/cases/*/bits/bound/used_max", "a share, of at most 1"),
    ("/cases/*/bits/difference", "of an output that no digest is committed of"),
    ("/cases/*/bits/digests/*/got", "of an output that no digest is committed of"),
    ("/cases/*/bits/panels_operator", "of an output that no digest is committed of"),
    ("/cases/*/measurement", "what a clock, a counter or a library said"),
    ("/cases/*/bits/returned/*/file", "a path on another machine"),
    ("/cases/*/stated", "what came with outputs: it is shown as stated"),
    ("/cases/*/weights_note", "where weights came from, in words"),
    ("/options/outputs/challenge_sha256", "a file that nobody here has"),
    ("/published_inputs/*/compared/pruned", "which tensor had the digest"),
    ("/published_inputs/*/device", "what drew it"),
    ("/published_inputs/*/reason", "why it was not made, in words"),
];

/// Each kind of place with how often each fate was met, for a reader of the test.
fn table(forged: &[Forgery], fates: &[Fate]) -> String {
    let mut counts: BTreeMap<String, BTreeMap<Fate, usize>> = BTreeMap::new();
    for (forgery, fate) in forged.iter().zip(fates) {
        *counts.entry(kind(&forgery.place)).or_default().entry(*fate).or_default() += 1;
    }
    counts.into_iter().map(|(kind, counts)| format!("{kind}: {counts:?}\n")).collect()
}

/// The rules that every forgery has to obey.
fn assert_fates(forged: &[Forgery], fates: &[Fate]) {
    let table = table(forged, fates);
    println!("{table}");
    let machines: Vec<&str> = WORDS_OF_MACHINES.iter().map(|(kind, _)| *kind).collect();
    let mut wrong = Vec::new();
    for (forgery, fate) in forged.iter().zip(fates) {
        let kind = kind(&forgery.place);
        let is_right = match fate {
            Fate::Refused => true,
            _ if is_in(&DERIVED, &kind) => false,
            Fate::WithoutEffect | Fate::Accepted
                if is_in(&CONTRADICTED, &kind) || is_in(&CONTRADICTED_ON_DEVICES, &kind) =>
            {
                false
            }
            // A claim's lines, and what is said of it twice.
            Fate::WithoutEffect => is_in(&["/judged"], &kind),
            Fate::Rechecked | Fate::NotShown => true,
            Fate::Accepted => is_in(&machines, &kind),
        };
        if !is_right {
            let new = forgery.value.to_string().chars().take(120).collect::<String>();
            wrong.push(format!("{fate:?}: {} -> {new}\n", forgery.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

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
