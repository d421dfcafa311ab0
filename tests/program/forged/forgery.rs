//! Forgeries of a record: every place of it with something else, and what became of each.

use std::collections::BTreeMap;

use record::Record;
use serde_json::{Value, json};

use super::lists::GREEN;
use crate::common::Workbench;

/// A place in a record, with what is written there instead.
pub(super) struct Forgery {
    pub place: String,
    pub value: Value,
}

/// The place's kind: its path with `*` for each index.
pub(super) fn kind(place: &str) -> String {
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
pub(super) fn forgeries(value: &Value, honest: &Record) -> Vec<Forgery> {
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
    pub(super) fn of(&self, value: &Value) -> Value {
        let mut other = value.clone();
        *other.pointer_mut(&self.place).expect("a place of it") = self.value.clone();
        other
    }
}

/// What became of a forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
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
pub(super) fn fates(
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

/// Each kind of place with how often each fate was met, for a reader of the test.
pub(super) fn table(forged: &[Forgery], fates: &[Fate]) -> String {
    let mut counts: BTreeMap<String, BTreeMap<Fate, usize>> = BTreeMap::new();
    for (forgery, fate) in forged.iter().zip(fates) {
        *counts.entry(kind(&forgery.place)).or_default().entry(*fate).or_default() += 1;
    }
    counts.into_iter().map(|(kind, counts)| format!("{kind}: {counts:?}\n")).collect()
}
