//! Records side by side: what differs, then every case.

use maud::{Markup, html};

use super::table::{Column, Table, plain, wide};
use super::{folded, id, text};
use crate::record::Record;
use crate::report::compare::{Agreement, Compared, DIGESTS};
use crate::report::overview::{self, count};

/// Differences that are named before the rest is folded away.
const NAMED_MAX: usize = 20;
/// Cases up to which the table is open from the start.
const OPEN_MAX: usize = 60;

pub fn verdict(records: &[(String, Record)], compared: &Compared<'_>) -> Markup {
    let differences = &compared.differences;
    let (named, rest) = differences.split_at(differences.len().min(NAMED_MAX));
    html! {
        @if differences.is_empty() {
            div class="banner good" {
                p.lead { "The records agree." }
                p { "No digest and no verdict of a case differs between two records that have it." }
            }
        } @else {
            div class="banner bad" {
                p.lead { "The records differ: " (count(differences.len(), "difference")) "." }
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
    const COLUMNS: [Column; 8] = [
        wide("case"),
        plain("verdicts"),
        plain("A"),
        plain("V"),
        plain("dense"),
        plain("operator"),
        plain("rebuilt"),
        plain("shifted"),
    ];
    const { assert!(COLUMNS.len() == 2 + DIGESTS.len()) };
    let agreement = |agreement: Agreement| {
        let class = match agreement {
            Agreement::Agrees => Some("verdict good"),
            Agreement::Differs => Some("verdict bad"),
            _ => None,
        };
        html! { span class=[class] { (agreement.name()) } }
    };
    html! {
        section {
            h2 id="side-by-side" { "Side by side" }
            p.note {
                "Per case the verdict in each record, in the order above, and whether the digests are the same. "
                "Digests without a bit contract, and perturbed ones under another nonce, need not be."
            }
            @for rows in compared.rows.chunk_by(|a, b| a.manifest == b.manifest) {
                @let differ = rows.iter().filter(|row| row.digests.contains(&Agreement::Differs)).count();
                (folded(
                    rows.len() <= OPEN_MAX || differ > 0,
                    html! { (text(rows[0].manifest)) ": " (count(rows.len(), "case")) ", " (differ) " with a digest that differs" },
                    Table {
                        caption: &format!("{} in {}", rows[0].manifest, count(records.len(), "record")),
                        columns: &COLUMNS,
                        rows: rows.iter().map(|row| {
                            let mut cells = vec![id(row.id), html! {
                                @for found in &row.verdicts {
                                    span.each { @match found { Some(found) => (super::verdict(*found)), None => "-" } }
                                }
                            }];
                            cells.extend(row.digests.map(agreement));
                            cells
                        }).collect(),
                    }.render(),
                ))
            }
        }
    }
}
