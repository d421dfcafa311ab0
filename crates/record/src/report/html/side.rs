//! Records side by side: what differs, then every case.

use maud::{Markup, html};

use super::table::{Table, plain, wide};
use super::{folded, id, speedup_of, text};
use crate::numbers;
use crate::report::claimed;
use crate::report::compare::{Agreement, Compared, DIGESTS};
use crate::report::overview;
use crate::report::overview::count;
use crate::timings::Rule;
use crate::{CaseRecord, Record};

/// Differences that are named before the rest is folded away.
const NAMED_MAX: usize = 20;
/// The digests in words, in the order of [`DIGESTS`].
const NAMES: [&str; 6] = ["A", "V", "dense", "operator", "rebuilt", "shifted"];
/// Cases up to which the table is open from the start.
const OPEN_MAX: usize = 100;

pub fn verdict(records: &[(String, Record)], compared: &Compared<'_>) -> Markup {
    let differences = &compared.differences;
    let (named, rest) = differences.split_at(differences.len().min(NAMED_MAX));
    html! {
        @if differences.is_empty() && compared.compared() == 0 {
            div class="banner open" {
                p.lead { "Nothing can be compared." }
                p { "No two records have digests of the same case." }
            }
        } @else if differences.is_empty() {
            div class="banner good" {
                p.lead { "The records agree." }
                p {
                    "No digest and no verdict differs in " (count(compared.compared(), "case"))
                    " that more than one record has."
                }
            }
        } @else {
            div class="banner bad" {
                p.lead { "The records differ." }
                p { (count(differences.len(), "difference")) ":" }
                ul { @for difference in named { li { (text(difference)) } } }
            }
            @if !rest.is_empty() {
                (folded(false, html! { (rest.len()) " more" }, html! {
                    ul { @for difference in rest { li { (text(difference)) } } }
                }))
            }
        }
        @for note in &compared.notes { p.note { "Note: " (text(note)) "." } }
        ul.records {
            @for (at, (name, record)) in records.iter().enumerate() {
                li {
                    a href={ "#record-" (at) } { (text(name)) } ": " (overview::sentence(record)) "; "
                    (overview::counts_in_words(record)) "; " (text(&record.environment.cpu_model))
                    @for device in &record.devices { ", " (text(&device.device.name)) }
                }
            }
        }
    }
}

pub fn table(records: &[(String, Record)], compared: &Compared<'_>) -> Markup {
    let mut columns = vec![wide("case")];
    columns.extend(records.iter().map(|(name, _)| plain(name)));
    columns.push(plain("digests"));
    html! {
        section {
            h2 id="side-by-side" { "Side by side" }
            p.note {
                "Per case the verdict in each record, the median time of a call with where it lies, the speedup over the best "
                "rival, and whether the digests are the same in all that have them. Times of different machines say nothing "
                "of each other's operators. Digests without a bit contract, and perturbed ones under another nonce, need not "
                "be the same."
            }
            @for rows in compared.rows.chunk_by(|a, b| a.manifest == b.manifest) {
                @let differ = rows.iter().filter(|row| row.digests.contains(&Agreement::Differs)).count();
                (folded(
                    rows.len() <= OPEN_MAX || differ > 0,
                    html! { (text(rows[0].manifest)) ": " (count(rows.len(), "case")) ", " (differ) " with a digest that differs" },
                    Table {
                        caption: &format!("{} in {}", rows[0].manifest, count(records.len(), "record")),
                        columns: &columns,
                        rows: rows.iter().map(|row| {
                            let mut cells = vec![id(row.id)];
                            cells.extend(row.cases.iter().map(|case| case.map_or_else(|| html! { "-" }, found)));
                            cells.push(digests(&row.digests));
                            cells
                        }).collect(),
                    }.render(),
                ))
            }
        }
    }
}

/// A case in one record: its verdict, and its time if it was measured.
fn found(case: &CaseRecord) -> Markup {
    let timing = case.measurement.as_ref().and_then(|timings| timings.operator.timing.as_ref());
    html! {
        (super::verdict(case.verdict))
        @if let Some(timing) = timing {
            @let interval = timing.summary.time_ns_interval;
            span.why {
                (numbers::time(timing.summary.time_ns_median))
                " [" (numbers::time(interval.low)) " to " (numbers::time(interval.high)) "]"
            }
            @match speedup_of(case.measurement.as_ref(), Rule::Best) {
                Some(best) => span.why { (numbers::ratio(best.ratio)) " " (text(&best.baseline)) },
                None => span.why { "no speedup" },
            }
        } @else { span.why { "no time" } }
    }
}

/// What became of the digests: one word for those that share it.
fn digests(all: &[Agreement; 6]) -> Markup {
    const { assert!(NAMES.len() == DIGESTS.len()) };
    let mut words: Vec<(Agreement, Vec<&str>)> = Vec::new();
    for (agreement, name) in all.iter().zip(NAMES) {
        match words.iter_mut().find(|(known, _)| known == agreement) {
            Some((_, names)) => names.push(name),
            None => words.push((*agreement, vec![name])),
        }
    }
    html! {
        @for (agreement, names) in &words {
            @let class = (*agreement == Agreement::Differs).then_some("verdict bad");
            div {
                span class=[class] { (agreement.name()) }
                @if words.len() > 1 { ": " (names.join(", ")) }
            }
        }
    }
}

/// Each claim with its word in each record.
pub fn claims(records: &[(String, Record)]) -> Markup {
    let mut known: Vec<(&str, &str)> = Vec::new();
    for claim in records.iter().flat_map(|(_, record)| &record.judged) {
        let key = (claim.manifest.as_str(), claim.id.as_str());
        if !known.contains(&key) {
            known.push(key);
        }
    }
    if known.is_empty() {
        return html! {};
    }
    let mut columns = vec![wide("claim")];
    columns.extend(records.iter().map(|(name, _)| plain(name)));
    let rows = known.iter().map(|(manifest, claim)| {
        let mut cells = vec![html! { (id(claim)) span.why { (text(manifest)) } }];
        cells.extend(records.iter().map(|(_, record)| {
            let mut judged = record.judged.iter();
            let found = judged.find(|judged| (judged.manifest.as_str(), judged.id.as_str()) == (*manifest, *claim));
            html! {
                @match found {
                    Some(judged) => {
                        span class={ "verdict " (super::claim_class(judged.word)) } { (judged.word.name()) }
                        @if let Some(speedup) = claimed::speedup(record, judged) {
                            span.why {
                                "printed " (text(&speedup.printed)) ", here "
                                (speedup.row.here.map_or("-".into(), numbers::ratio)) " over the same rival ("
                                (speedup.row.word.name()) ")"
                                @if let Some(best) = speedup.best { ", " (numbers::ratio(best.ratio)) " over the best" }
                            }
                        } @else if let Some(row) = judged.deciding_row() { span.why { (text(&row.line)) } }
                    }
                    None => "-",
                }
            }
        }));
        cells
    });
    html! {
        section {
            h2 id="claims-side-by-side" { "Claims side by side" }
            (Table { caption: "Claims side by side", columns: &columns, rows: rows.collect() }.render())
        }
    }
}
