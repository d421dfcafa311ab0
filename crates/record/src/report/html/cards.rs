//! A card for each claim: what is printed, what was found here by both rules, the word, and why. Left out: the claim's
//! other figures, which stand in a table of their own.

use maud::{Markup, html};

use super::plot::{Look, legend};
use super::{Part, claim_class, folded, text, timings};
use crate::CaseRecord;
use crate::claims::{ClaimWord, JudgedClaim, Row};
use crate::numbers;
use crate::outcome;
use crate::report::claimed::{self, Claimed};
use crate::report::overview::{self, count};
use crate::timings::Interval;

/// Claims up to which all have an open card.
const CARDS_MAX: usize = 12;
/// Other rules that a card names of a refuted claim.
const NAMED_MAX: usize = 3;

/// The cards, those of a judged speedup first: it is what is looked for.
pub fn cards(part: &Part<'_>) -> Markup {
    let judged = &part.record.judged;
    let Some(words) = outcome::claims_in_words(judged) else {
        return html! {};
    };
    let mut claims: Vec<(usize, &JudgedClaim)> = judged.iter().enumerate().collect();
    claims.sort_by_key(|(_, claim)| claimed::speedup(part.record, claim).is_none());
    let cards: Vec<(Markup, bool)> =
        claims.into_iter().map(|(at, claim)| card(part, at, claim)).collect();
    let has_picture = cards.iter().any(|(_, has_picture)| *has_picture);
    let (first, rest) = cards.split_at(cards.len().min(CARDS_MAX));
    part.section(
        "cards",
        &super::first_upper(&words),
        html! {
            div.cards { @for (card, _) in first { (card) } }
            @if !rest.is_empty() {
                (folded(false, html! { (count(rest.len(), "more claim")) }, html! {
                    div.cards { @for (card, _) in rest { (card) } }
                }))
            }
            @if has_picture {
                (legend(&[
                    (Look::Printed, "printed"),
                    (Look::Published, "here, over the same rival"),
                    (Look::Best, "here, over the best rival"),
                ]))
            }
            p.note {
                "Same rival: the fastest that is what the claim names as its baseline. Best rival: the fastest verified "
                "baseline of all. In brackets: where the ratio lies with a probability of 95 % (bootstrap). Below the "
                "dashed line the operator is slower. "
                "A published speed was measured with the publisher's operator. Another one stands in its place here: "
                "its speed is attained or not attained, and neither refutes the publisher. What is published of "
                "baselines, ratios, bytes, digests and arithmetic is judged in its own right."
            }
        },
    )
}

/// A ratio with the digits that its interval needs: `10.02x [10.01 to 10.04]`.
fn ratio(mid: f64, interval: Option<Interval>) -> Markup {
    html! {
        strong { (numbers::number(mid)) "x" }
        @if let Some(Interval { low, high }) = interval {
            " [" (numbers::number(low)) " to " (numbers::number(high)) "]"
        }
    }
}

fn card(part: &Part<'_>, at: usize, judged: &JudgedClaim) -> (Markup, bool) {
    let claim = claimed::published(part.record, judged);
    let case = claimed::case(part.record, judged);
    let speedup = claimed::speedup(part.record, judged);
    let picture = match (claim, case, &speedup) {
        (Some(claim), Some(case), Some(_)) => timings::of_claim(part, at, claim, case),
        _ => None,
    };
    let has_picture = picture.is_some();
    let name =
        html! { a href={ "#" (part.id(&format!("claim-{at}"))) } { (super::id(&judged.id)) } };
    let word = html! { span.verdict { (judged.word.name()) } };
    let card = html! {
        div class={ "card claim " (claim_class(judged.word)) } {
            (super::heading(part.level + 1, None, html! {
                @if let Some(speedup) = &speedup { (text(&speedup.printed)) ": " }
                (word)
            }))
            p.subject {
                (name)
                @if let Some(case) = case { span.why { (subject(case)) } }
                @if let Some(twin) = &judged.twin {
                    span.why { "Synthetic weights stood for the published ones (section " (text(twin)) ")." }
                }
            }
            @match &speedup {
                Some(speedup) => (speedups(judged, speedup)),
                None => (other(judged)),
            }
            (why(judged))
            @if let Some(picture) = picture { (picture) }
        }
    };
    (card, has_picture)
}

/// `A 14336 x 4096, row-magnitude 80 %, n = 1024, f32`.
fn subject(case: &CaseRecord) -> Markup {
    html! {
        "A " (case.m) " x " (case.k) ", " (text(&case.pattern)) " " (text(&case.sparsity_percent)) " %, n = " (case.n)
        ", " (text(&case.dtype))
    }
}

/// The three figures of a speedup: printed, over the same rival, over the best one.
fn speedups(judged: &JudgedClaim, speedup: &Claimed<'_>) -> Markup {
    let row = speedup.row;
    let by_printed_time = |rule: &str| judged.rows.iter().find(|row| row.rule == rule)?.here;
    let printed_times: Vec<String> = ["ratio, published rule", "ratio, best rule"]
        .into_iter()
        .filter_map(by_printed_time)
        .map(|here| format!("{}x", numbers::number(here)))
        .collect();
    html! {
        dl.figures {
            div {
                dt { "printed" }
                dd {
                    strong { (text(&speedup.printed)) }
                    span.why { "over " (text(speedup.baseline)) }
                }
            }
            div {
                dt { "here, same rival" }
                dd {
                    @match &speedup.same {
                        Some(over) => (ratio(over.ratio, Some(over.interval))),
                        None => @match row.here { Some(here) => (ratio(here, row.interval)), None => "-" },
                    }
                    span.why {
                        @if let Some(over) = &speedup.same { "over " (text(over.rival)) ": " }
                        span.word { (row.word.name()) }
                    }
                }
            }
            div {
                dt { "here, best rival" }
                dd {
                    @match speedup.best {
                        Some(best) => {
                            (ratio(best.ratio, Some(best.interval)))
                            span.why { "over " (text(&best.baseline)) }
                        }
                        None => "not measured",
                    }
                }
            }
        }
        @if printed_times.len() == 2 {
            p.why {
                "With the printed time of the operator, over the rivals' times here: " (printed_times[0]) " (published rule), "
                (printed_times[1]) " (best)."
            }
        }
    }
}

/// The figure that decided a claim without a measured speedup.
fn other(judged: &JudgedClaim) -> Markup {
    let Some(row) = judged.deciding_row() else {
        return html! { p.why { "Nothing was judged." } };
    };
    html! {
        @if let Some(here) = row.here {
            dl.figures {
                div {
                    dt { "printed" }
                    dd {
                        strong { (text(&overview::printed(row).unwrap_or_else(|| "-".into()))) }
                        span.why { (text(&row.rule)) }
                    }
                }
                div {
                    dt { "here" }
                    dd {
                        strong { (numbers::number(here)) }
                        @if let Some(Interval { low, high }) = row.interval {
                            " [" (numbers::number(low)) " to " (numbers::number(high)) "]"
                        }
                    }
                }
            }
        }
        @if judged.word != ClaimWord::Refuted { p.why { (text(&row.rule)) ": " (text(&row.line)) } }
    }
}

/// What does not hold of a refuted claim: one rule in full, one that was measured if there is one, and the names of others.
fn why(judged: &JudgedClaim) -> Markup {
    let refuting: Vec<&Row> = judged.rows.iter().filter(|row| row.word.refutes()).collect();
    let Some(first) = refuting.iter().find(|row| row.measured).or(refuting.first()) else {
        return html! {};
    };
    let mut others: Vec<&str> = Vec::new();
    for row in &refuting {
        if row.rule != first.rule && !others.contains(&row.rule.as_str()) {
            others.push(&row.rule);
        }
    }
    let more = others.len().saturating_sub(NAMED_MAX);
    html! {
        p.why {
            "What does not hold: " strong { (text(&first.rule)) } " (" (text(&first.line)) ")"
            @for name in others.iter().take(NAMED_MAX) { ", " (text(name)) }
            @if more > 0 { ", and " (more) " more" }
            "."
        }
    }
}
