//! What was published beside what was found: a block for each claim.

use maud::{Markup, html};

use super::table::{Column, Table, number, plain, prose, wide};
use super::{Part, folded, id, nothing, text};
use crate::claims::{JudgedClaim, PublishedInput};
use crate::numbers;
use crate::report::claimed::published;
use crate::report::overview;
use crate::report::overview::{count, printed};
use contract::published::Scope;

pub fn claims(part: &Part<'_>) -> Markup {
    let record = part.record;
    let words = overview::words_in_words(record);
    let published: usize = record.manifests.iter().map(|manifest| manifest.claims.len()).sum();
    html! {
        @if record.judged.is_empty() && record.published_inputs.is_empty() {
            @if published == 0 { (nothing("The record holds no claim.")) }
            @else { (nothing("The record holds claims, and no judgement of them.")) }
        }
        @if !words.is_empty() {
            p { (count(record.judged.len(), "claim")) ": " (words) "." }
        }
        @for (at, claim) in record.judged.iter().enumerate() {
            (folded(
                false,
                html! { (text(&claim.id)) ": " (said(claim)) },
                html! { div id=(part.id(&format!("claim-{at}"))) { (block(part, claim)) } },
            ))
        }
        @if !record.published_inputs.is_empty() { (inputs(&record.published_inputs)) }
    }
}

/// The words of a claim, each once, in the order of its rows.
fn said(claim: &JudgedClaim) -> String {
    let mut words: Vec<&str> = Vec::new();
    for row in &claim.rows {
        if !words.contains(&row.word.name()) {
            words.push(row.word.name());
        }
    }
    if words.is_empty() { "nothing was judged".into() } else { words.join(", ") }
}

fn block(part: &Part<'_>, judged: &JudgedClaim) -> Markup {
    const COLUMNS: [Column<'_>; 5] =
        [plain("of"), plain("word"), number("printed"), number("here"), prose("arithmetic")];
    let claim = published(part.record, judged);
    let rows = judged.rows.iter().map(|row| {
        vec![
            text(&row.rule),
            html! { span.word { (row.word.name()) } },
            html! { @match &printed(row) { Some(printed) => (text(printed)), None => "-" } },
            html! { (row.here.map_or("-".into(), numbers::number)) },
            text(&row.line),
        ]
    });
    html! {
        p.note {
            "Manifest " (text(&judged.manifest))
            @if let Some(section) = &judged.section { ", section " (text(section)) }
            @if let Some(baseline) = claim.and_then(|claim| claim.baseline.as_ref()) {
                ", published baseline " (text(baseline))
            }
            "."
            @if let Some(twin) = &judged.twin {
                " " strong { "Synthetic weights stood for the published ones" } " (section " (text(twin)) ")."
            }
        }
        @if !judged.rows.is_empty() {
            (Table { caption: &format!("Claim {}", judged.id), columns: &COLUMNS, rows: rows.collect() }.render())
        }
        @if !judged.cases.is_empty() {
            p.note {
                "Cases: " @for (at, case) in judged.cases.iter().enumerate() { @if at > 0 { ", " } (id(case)) } "."
            }
        }
        @if let Some(claim) = claim.filter(|claim| !claim.sources.is_empty()) {
            p.note {
                "Published in: "
                @for (at, source) in claim.sources.iter().enumerate() { @if at > 0 { ", " } (link(source)) } "."
            }
        }
    }
}

/// An address that can be followed, if it is one.
fn link(source: &str) -> Markup {
    html! {
        @if source.starts_with("https://") && source.bytes().all(|b| b.is_ascii_graphic()) {
            a href=(source) rel="noreferrer noopener nofollow" { (text(source)) }
        } @else { (text(source)) }
    }
}

fn inputs(inputs: &[PublishedInput]) -> Markup {
    const COLUMNS: [Column<'_>; 7] = [
        wide("claim"),
        plain("tensor"),
        plain("made again"),
        number("digits published"),
        number("of the tensor"),
        plain("pruned before"),
        plain("sha256 here"),
    ];
    let row = |input: &PublishedInput| {
        let mut cells = vec![id(&input.claim), html! { (input.tensor.name()) }];
        match &input.compared {
            Some(compared) => {
                let word = match (compared.scope, compared.matches) {
                    (Scope::WholeTensor, true) => "match",
                    (Scope::Prefix, true) => "prefix-match",
                    (_, false) => "mismatch",
                };
                cells.extend([
                    html! { span.word { (word) } },
                    html! { (compared.digits) " of 64" },
                    html! { (compared.share.map_or("not known".into(), numbers::percent_of)) },
                    html! { (if compared.pruned { "yes" } else { "no" }) },
                    super::digest(Some(compared.got.to_string())),
                ]);
            }
            None => {
                let why = input.reason.as_deref().unwrap_or("no reason is given");
                cells.push(html! { "not made" span.why { (text(why)) } });
                cells.extend((3..COLUMNS.len()).map(|_| html! { "-" }));
            }
        }
        cells
    };
    html! {
        p.note {
            "Published inputs, made again. A prefix-match says nothing of what lies behind the prefix; where the tensor "
            "was not pruned before it was hashed, it says nothing of the matrix that was multiplied."
        }
        (Table { caption: "Published inputs", columns: &COLUMNS, rows: inputs.iter().map(row).collect() }.render())
    }
}
