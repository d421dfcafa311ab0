//! Records side by side: what differs, then every case.

use maud::{Markup, html};

use super::table::{Table, plain, wide};
use super::{folded, id, text};
use crate::Record;
use crate::report::compare::{Agreement, Compared, DIGESTS};
use crate::report::overview;
use crate::report::overview::count;

/// Differences that are named before the rest is folded away.
const NAMED_MAX: usize = 20;
/// Cases up to which the table is open from the start.
const OPEN_MAX: usize = 60;

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
    const NAMES: [&str; 6] = ["A", "V", "dense", "operator", "rebuilt", "shifted"];
    const { assert!(NAMES.len() == DIGESTS.len()) };
    let mut columns = vec![wide("case")];
    columns.extend(records.iter().map(|(name, _)| plain(name)));
    columns.extend(NAMES.map(plain));
    let agreement = |agreement: Agreement| {
        let class = (agreement == Agreement::Differs).then_some("verdict bad");
        html! { span class=[class] { (agreement.name()) } }
    };
    html! {
        section {
            h2 id="side-by-side" { "Side by side" }
            p.note {
                "Per case the verdict in each record, and whether the digests are the same in all that have them. "
                "Digests without a bit contract, and perturbed ones under another nonce, need not be."
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
                            cells.extend(row.verdicts.iter().map(|found| html! {
                                @match found { Some(found) => (super::verdict(*found)), None => "-" }
                            }));
                            cells.extend(row.digests.map(agreement));
                            cells
                        }).collect(),
                    }.render(),
                ))
            }
        }
    }
}
