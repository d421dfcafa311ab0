//! Records as CSV (RFC 4180), for a spreadsheet or a script: four tables, which have all figures that a record has or
//! gives. Times are in ns, sizes in bytes, energy in J. Left out: prose that explains, environments.

use super::overview::visible;
use crate::numbers;
use crate::timings::{Rule, Timed};
use crate::{CaseRecord, Record};

/// A file's name and its text.
pub type File = (&'static str, String);

/// The records, each with its name, as files.
pub fn render(records: &[(String, Record)]) -> [File; 4] {
    [
        ("cases.csv", cases(records)),
        ("times.csv", times(records)),
        ("samples.csv", samples(records)),
        ("claims.csv", claims(records)),
    ]
}

/// A cell of text: quoted, on one line, and nothing that a spreadsheet takes for a formula.
fn text(text: &str) -> String {
    let text = visible(text).replace('\n', " ");
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quote = if is_formula { "'" } else { "" };
    format!("\"{quote}{}\"", text.replace('"', "\"\""))
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = heads.join(",") + "\r\n";
    for row in rows {
        assert_eq!(row.len(), heads.len(), "a cell for each head");
        text.push_str(&row.join(","));
        text.push_str("\r\n");
    }
    text
}

/// Every case with the name of its record.
fn all(records: &[(String, Record)]) -> impl Iterator<Item = (&str, &CaseRecord)> {
    records
        .iter()
        .flat_map(|(name, record)| record.cases.iter().map(move |case| (name.as_str(), case)))
}

fn key(record: &str, case: &CaseRecord) -> Vec<String> {
    vec![text(record), text(&case.manifest), text(&case.id)]
}

fn cases(records: &[(String, Record)]) -> String {
    const HEADS: [&str; 28] = [
        "record",
        "manifest",
        "case",
        "section",
        "required",
        "m",
        "k",
        "n",
        "dtype",
        "output",
        "seed",
        "pattern",
        "sparsity_percent",
        "arithmetic",
        "nnz",
        "verdict",
        "reasons",
        "device",
        "sha256_a",
        "sha256_v",
        "sha256_dense",
        "sha256_operator",
        "sha256_rebuilt",
        "sha256_shifted",
        "digests_as_committed",
        "not_measured",
        "rivals_missing",
        "seconds",
    ];
    let rows = all(records).map(|(record, case)| {
        let digest = |name: &str| {
            let row = case.bits.as_ref()?.digests.iter().find(|row| row.name == name)?;
            row.got
        };
        let as_committed = case.bits.as_ref().map(|bits| {
            let compared = bits.digests.iter().filter(|row| row.compared);
            compared.filter(|row| row.got == row.expected).count()
        });
        let missing: Vec<String> =
            case.baselines_missing.iter().map(|m| format!("{}: {}", m.name, m.reason)).collect();
        let mut row = key(record, case);
        row.extend([
            text(&case.section),
            case.required.to_string(),
            case.m.to_string(),
            case.k.to_string(),
            case.n.to_string(),
            text(&case.dtype),
            text(&case.output),
            case.seed.to_string(),
            text(&case.pattern),
            text(&case.sparsity_percent),
            text(&case.arithmetic),
            optional(case.bits.as_ref().map(|bits| bits.structure.nnz)),
            case.verdict.name().to_owned(),
            text(&case.reasons.join("; ")),
            text(case.device.as_deref().unwrap_or("CPU")),
        ]);
        let names = super::compare::DIGESTS;
        row.extend(names.map(|name| optional(digest(name))));
        row.extend([
            optional(as_committed),
            text(case.measurement_reason.as_deref().unwrap_or("")),
            text(&missing.join("; ")),
            case.seconds.to_string(),
        ]);
        row
    });
    table(&HEADS, rows)
}

/// All that were timed on a case, the operator first.
fn timed(case: &CaseRecord) -> Vec<&Timed> {
    let of = |timings| -> Vec<&Timed> {
        let timings: &crate::timings::CaseTimings = timings;
        std::iter::once(&timings.operator).chain(&timings.baselines).collect()
    };
    case.measurement.as_ref().map(of).unwrap_or_default()
}

fn times(records: &[(String, Record)]) -> String {
    const HEADS: [&str; 23] = [
        "record",
        "manifest",
        "case",
        "timed",
        "kind",
        "library",
        "version",
        "time_ns",
        "time_ns_low",
        "time_ns_high",
        "samples",
        "samples_throttled",
        "noisy",
        "impossible",
        "cold_time_ns",
        "times_the_operator",
        "ratio_low",
        "ratio_high",
        "chosen_by",
        "build_ns",
        "bytes_held",
        "joules",
        "why_not",
    ];
    let rows = all(records).flat_map(|(record, case)| {
        timed(case).into_iter().map(move |one| {
            let timings = case.measurement.as_ref();
            let timing = one.timing.as_ref();
            let summary = timing.map(|timing| &timing.summary);
            let ratio =
                one.kind.and(timings).and_then(|timings| timings.ratio_over(one, case.seed));
            let chosen =
                [(Rule::Best, "best"), (Rule::Published, "published")].map(|(rule, name)| {
                    let chosen =
                        timings.and_then(|timings| timings.baselines.get(timings.chosen(rule)?));
                    chosen.filter(|chosen| std::ptr::eq(*chosen, one)).map(|_| name)
                });
            let chosen: Vec<&str> = chosen.into_iter().flatten().collect();
            let kind =
                one.kind.map_or("operator".into(), |kind| format!("{kind:?}").to_lowercase());
            let energy = one.energy.as_ref().filter(|energy| energy.is_valid);
            let disagree = timing.and_then(|timing| timing.clock_disagreement.clone());
            let mut row = key(record, case);
            row.extend([
                text(&one.name),
                kind,
                text(&one.library),
                text(&one.version),
                optional(summary.map(|s| s.time_ns_median)),
                optional(summary.map(|s| s.time_ns_interval.low)),
                optional(summary.map(|s| s.time_ns_interval.high)),
                optional(summary.map(|s| s.count)),
                optional(summary.map(|s| s.discarded)),
                optional(summary.map(|s| s.is_noisy)),
                optional(timing.map(|timing| timing.impossible)),
                optional(timing.and_then(|timing| timing.cold_time_ns_median)),
                optional(ratio.map(|(ratio, _)| ratio)),
                optional(ratio.map(|(_, interval)| interval.low)),
                optional(ratio.map(|(_, interval)| interval.high)),
                chosen.join(" "),
                optional(timing.map(|timing| timing.build_time_ns_median)),
                one.bytes_held.to_string(),
                optional(energy.map(|energy| energy.joules_per_call)),
                text(one.failure.as_deref().or(disagree.as_deref()).unwrap_or("")),
            ]);
            row
        })
    });
    table(&HEADS, rows)
}

fn samples(records: &[(String, Record)]) -> String {
    const HEADS: [&str; 6] = ["record", "manifest", "case", "timed", "sample", "time_ns"];
    let rows = all(records).flat_map(|(record, case)| {
        timed(case).into_iter().flat_map(move |one| {
            one.kept_ns().into_iter().enumerate().map(move |(at, ns)| {
                let mut row = key(record, case);
                row.extend([text(&one.name), at.to_string(), ns.to_string()]);
                row
            })
        })
    });
    table(&HEADS, rows)
}

fn claims(records: &[(String, Record)]) -> String {
    const HEADS: [&str; 12] = [
        "record",
        "manifest",
        "claim",
        "claim_word",
        "cases",
        "twin",
        "rule",
        "word",
        "printed",
        "here",
        "interval",
        "arithmetic",
    ];
    let rows = records.iter().flat_map(|(record, of)| {
        of.judged.iter().flat_map(move |claim| {
            claim.rows.iter().map(move |row| {
                let interval = row.interval.map(|interval| {
                    format!(
                        "{} to {}",
                        numbers::number(interval.low),
                        numbers::number(interval.high)
                    )
                });
                vec![
                    text(record),
                    text(&claim.manifest),
                    text(&claim.id),
                    text(claim.word.name()),
                    text(&claim.cases.join(" ")),
                    text(claim.twin.as_deref().unwrap_or("")),
                    text(&row.rule),
                    row.word.name().to_owned(),
                    text(row.printed.as_deref().unwrap_or("")),
                    optional(row.here),
                    optional(interval),
                    text(&row.line),
                ]
            })
        })
    });
    table(&HEADS, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_formula_or_ends_its_cell() {
        assert_eq!(text("a, \"b\"\nc"), "\"a, \"\"b\"\" c\"");
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)"] {
            assert_eq!(text(formula), format!("\"'{formula}\""));
        }
    }
}
