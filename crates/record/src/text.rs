//! A record as text: JSON with a case a line, so that a writer can append to it and a diff can be read.

use serde::Serialize;

use crate::run::{CaseRecord, Record};

/// The line after which cases follow, one a line.
pub const CASES: &str = "\"cases\":[";

/// A value on one line.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .unwrap_or_else(|e| unreachable!("records hold no maps with keys other than strings: {e}"))
}

/// `"name":value`, and what follows it.
fn field(text: &mut String, name: &str, value: &impl Serialize, end: &str) {
    text.push_str(&format!("\"{name}\":{}{end}", line(value)));
}

/// All that stands before the first case and does not change while the run goes on.
pub fn head(record: &Record) -> String {
    let Record {
        format,
        tool,
        arguments,
        started,
        environment,
        options,
        operator,
        manifests,
        shards,
        cases: _,
        devices: _,
        published_inputs: _,
        judged: _,
        running: _,
        ended: _,
        outcome: _,
    } = record;
    let mut text = String::from("{");
    field(&mut text, "format", format, ",\n");
    field(&mut text, "tool", tool, ",\n");
    field(&mut text, "arguments", arguments, ",\n");
    field(&mut text, "started", started, ",\n");
    field(&mut text, "environment", environment, ",\n");
    field(&mut text, "options", options, ",\n");
    if let Some(operator) = operator {
        field(&mut text, "operator", operator, ",\n");
    }
    field(&mut text, "manifests", manifests, ",\n");
    field(&mut text, "shards", shards, ",\n");
    text.push_str(CASES);
    text
}

/// One case; `is_first` of them.
pub fn case(case: &CaseRecord, is_first: bool) -> String {
    format!("{}\n{}", if is_first { "" } else { "," }, line(case))
}

/// All that stands behind the last case.
pub fn tail(record: &Record) -> String {
    let mut text = String::from("\n],\n");
    field(&mut text, "devices", &record.devices, ",\n");
    field(&mut text, "published_inputs", &record.published_inputs, ",\n");
    field(&mut text, "judged", &record.judged, ",\n");
    field(&mut text, "running", &record.running, ",\n");
    field(&mut text, "ended", &record.ended, ",\n");
    field(&mut text, "outcome", &record.outcome, "}\n");
    text
}

/// The whole.
pub fn whole(record: &Record) -> String {
    let mut text = head(record);
    for (at, one) in record.cases.iter().enumerate() {
        text.push_str(&case(one, at == 0));
    }
    text.push_str(&tail(record));
    text
}
