//! All cases in one table: a line for each, and behind it rivals, samples, digests and the command. The page's script
//! sorts and filters it; without scripts it is read in the order of the record.

use std::collections::HashMap;

use maud::{Markup, PreEscaped, html};

use super::table::{Column, Table, number, plain, wide};
use super::{Part, id, speedup_of, text, verdict, visible};
use crate::CaseRecord;
use crate::baseline::Kind;
use crate::numbers;
use crate::report::overview;
use crate::timings::{CaseTimings, Interval, Rule, Timed, as_f64};

/// Cases up to which the table is as long as they are; more are in a box that scrolls.
const TALL_MAX: usize = 100;
/// Rivals without which a ratio is that are named in its cell; the table behind the line has all, with reasons.
const NAMED_MAX: usize = 2;
/// Share of the median that a strip of samples shows to either side.
const STRIP_SHARE: f64 = 0.1;
/// Width of a strip and its height, in CSS pixels.
const STRIP: (f64, f64) = (96.0, 12.0);
/// Characters of an anchor, beyond which it is cut: ids are short unless somebody made them long.
const ANCHOR_MAX: usize = 200;

/// Name and class of each column.
const COLUMNS: [Column<'_>; 6] = [
    wide("case"),
    plain("verdict"),
    number("non-zeros"),
    number("time of a call"),
    number("over the best rival"),
    number("over the published rule's"),
];

pub fn cases(part: &Part<'_>) -> Markup {
    let cases = &part.record.cases;
    if cases.is_empty() {
        return super::nothing("The record holds none.");
    }
    let caption = "Cases";
    let mut anchors = Anchors::default();
    let class = if cases.len() > TALL_MAX { "box cases tall" } else { "box cases" };
    html! {
        div class=(class) role="region" tabindex="0" aria-label=(caption) {
            table {
                caption { (caption) }
                thead {
                    tr {
                        @for column in COLUMNS {
                            th scope="col" class=[column.class()] { (column.head) }
                        }
                    }
                }
                @for case in cases { (one(part, case, &mut anchors)) }
            }
        }
        p.note {
            "Non-zeros are counted, not taken from a label. Times are medians of a call in steady state. In brackets: where "
            "the value lies with a probability of 95 %. Speedups are over the fastest rival of all, and over the one that "
            "published comparisons take: dense below 70 % sparsity, sparse from there on."
        }
    }
}

/// Ids of rows, each once.
#[derive(Default)]
struct Anchors(HashMap<String, usize>);

impl Anchors {
    fn of(&mut self, part: &Part<'_>, case: &CaseRecord) -> String {
        let name = match part.record.manifests.len() {
            0 | 1 => case.id.clone(),
            _ => format!("{}/{}", case.manifest, case.id),
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let plain = name.chars().take(ANCHOR_MAX).map(|c| if is_plain(c) { c } else { '_' });
        let anchor = part.id(&format!("case-{}", plain.collect::<String>()));
        let seen = self.0.entry(anchor.clone()).or_insert(0);
        *seen += 1;
        // `~` is in no plain name.
        if *seen == 1 { anchor } else { format!("{anchor}~{seen}") }
    }
}

/// A cell with what it is sorted by; without a key it comes last.
fn cell(column: usize, key: Option<f64>, inside: Markup) -> Markup {
    let Column { head, .. } = COLUMNS[column];
    let key = key.filter(|key| key.is_finite()).map(|key| key.to_string());
    html! {
        td class=[COLUMNS[column].class()] data-label=(head) data-sort=[key] { div { (inside) } }
    }
}

fn one(part: &Part<'_>, case: &CaseRecord, anchors: &mut Anchors) -> Markup {
    let anchor = anchors.of(part, case);
    let timings = case.measurement.as_ref();
    let timing = timings.and_then(|timings| timings.operator.timing.as_ref());
    let structure = case.bits.as_ref().map(|bits| &bits.structure);
    let share = structure.map(|found| found.nnz as f64 / found.elements as f64);
    let rank = if case.verdict.refutes() {
        0.0
    } else if case.verdict.satisfies() {
        2.0
    } else {
        1.0
    };
    html! {
        tbody id=(anchor) {
            tr {
                th scope="row" class="wide" {
                    a href={ "#" (anchor) } { (id(&case.id)) }
                    @if part.record.manifests.len() > 1 { span.why { "manifest " (text(&case.manifest)) } }
                    @if !case.verdict.refutes() { @for reason in &case.reasons { span.why { (text(reason)) } } }
                    @if let Some(note) = &case.weights_note { span.why { "note: " (text(note)) } }
                    @if let Some(stated) = &case.stated { span.why { (text(&overview::stated(stated))) } }
                }
                (cell(1, Some(rank), verdict(case.verdict)))
                (cell(2, share, html! {
                    @match structure { Some(found) => (numbers::percent(found.nnz, found.elements)), None => "-" }
                }))
                (cell(3, timing.map(|timing| timing.summary.time_ns_median), html! {
                    @match timing {
                        Some(timing) => {
                            (spread(timing.summary.time_ns_median, timing.summary.time_ns_interval, numbers::time))
                            @if timing.impossible { span.why { "impossible on this machine" } }
                            @if timing.summary.is_noisy { span.why { "noisy" } }
                        }
                        None => "not measured",
                    }
                }))
                (cell(4, ratio_of(timings, Rule::Best), speedup(timings, Rule::Best)))
                (cell(5, ratio_of(timings, Rule::Published), speedup(timings, Rule::Published)))
            }
            tr.more {
                td colspan=(COLUMNS.len()) {
                    details {
                        summary { (about(case)) }
                        div.folded { (more(part, case)) }
                    }
                }
            }
        }
    }
}

fn ratio_of(timings: Option<&CaseTimings>, rule: Rule) -> Option<f64> {
    speedup_of(timings, rule).map(|speedup| speedup.ratio)
}

/// What is behind a line.
fn about(case: &CaseRecord) -> Markup {
    html! {
        @match &case.measurement {
            Some(timings) if !timings.baselines.is_empty() => { (overview::count(timings.baselines.len(), "rival")) ", samples, " }
            _ => {}
        }
        "digests, run again"
    }
}

/// A value and where it lies.
fn spread(mid: f64, interval: Interval, show: impl Fn(f64) -> String) -> Markup {
    html! { (show(mid)) " " span.interval { "[" (show(interval.low)) " to " (show(interval.high)) "]" } }
}

fn speedup(timings: Option<&CaseTimings>, rule: Rule) -> Markup {
    html! {
        @match speedup_of(timings, rule) {
            Some(speedup) => {
                (spread(speedup.ratio, speedup.interval, numbers::ratio))
                span.why { (text(&speedup.baseline)) }
                @let left_out = timings.map(|timings| timings.left_out(rule)).unwrap_or_default();
                @if !left_out.is_empty() {
                    span.why {
                        "without "
                        @for (at, (name, why)) in left_out.iter().take(NAMED_MAX).enumerate() {
                            @if at > 0 { ", " } span title=(visible(why)) { (text(name)) }
                        }
                        @if left_out.len() > NAMED_MAX { " and " (left_out.len() - NAMED_MAX) " more" }
                    }
                }
            }
            None => "-",
        }
    }
}

fn more(part: &Part<'_>, case: &CaseRecord) -> Markup {
    let command = overview::command(part.record, case)
        .unwrap_or_else(|| "# no command: a name holds what no manifest allows".into());
    html! {
        p {
            (text(&case.recipe_text())) "; " (text(&case.pattern)) " " (text(&case.sparsity_percent)) " %, "
            (text(&case.dtype)) " to " (text(&case.output)) ", " (text(&case.arithmetic)) "; section " (text(&case.section))
            @if let Some(bits) = &case.bits { ", " (bits.structure.nnz) " non-zeros" }
            @if let Some(timings) = &case.measurement { ", on " (text(timings.device.as_deref().unwrap_or("the CPU"))) }
            "."
        }
        @match &case.measurement {
            Some(timings) => (rivals(case, timings)),
            None => p { (text(case.measurement_reason.as_deref().unwrap_or("Not measured."))) }
        }
        (digests(case))
        p { "Digests must be the same on any machine, times will not be:" }
        pre.commands tabindex="0" { (command) }
    }
}

/// All that were timed, the operator first.
fn rivals(case: &CaseRecord, timings: &CaseTimings) -> Markup {
    const COLUMNS: [Column<'_>; 6] = [
        wide("timed"),
        plain("multiplies"),
        number("time of a call"),
        number("times the operator's"),
        plain("samples"),
        plain("note"),
    ];
    let all = std::iter::once(&timings.operator).chain(&timings.baselines);
    let left_out = timings.left_out(Rule::Best);
    let rows = all.map(|timed| {
        let timing = timed.timing.as_ref();
        let ratio = timed.kind.and_then(|_| timings.ratio_over(timed, case.seed));
        let mut notes: Vec<String> = Vec::new();
        if let Some(timing) = timing {
            let cold = timing.cold_time_ns_median.map(|ns| format!("cold {}", numbers::time(ns)));
            notes.extend(cold);
            notes.extend(timing.summary.is_noisy.then(|| "noisy".into()));
            let discarded = timing.summary.discarded;
            notes.extend((discarded > 0).then(|| format!("{discarded} samples were throttled")));
        }
        let is_left_out = |(name, _): &&(&str, String)| timed.kind.is_some() && *name == timed.name;
        match left_out.iter().find(is_left_out) {
            Some((_, why)) => notes.push(format!("left out: {why}")),
            None => notes.extend(timed.failure.clone()),
        }
        vec![
            html! {
                (text(&timed.name))
                @if timed.kind.is_none() { span.why { "the operator under test" } }
            },
            html! {
                @match timed.kind {
                    None => "as planned",
                    Some(Kind::Dense) => "all of A",
                    Some(Kind::Sparse) => "non-zeros",
                    Some(Kind::Compacted) => "live rows",
                    Some(Kind::Reduced) => "all of A, shorter format",
                }
            },
            html! {
                @match timing {
                    Some(timing) => (spread(timing.summary.time_ns_median, timing.summary.time_ns_interval, numbers::time)),
                    None => "-",
                }
            },
            html! {
                @match ratio {
                    Some((ratio, interval)) => (spread(ratio, interval, numbers::ratio)),
                    None => "-",
                }
            },
            strip(timed),
            text(&notes.join("; ")),
        ]
    });
    html! {
        @if let Some(layers) = &timings.layers {
            p.note { "A call multiplies all " (layers.len()) " layers of the stack that ends here, with the steps between them." }
        }
        (Table { caption: "All that were timed", columns: &COLUMNS, rows: rows.collect() }.render())
        @if !timings.no_speedup.is_empty() { p.note { "No speedup: " (text(&timings.no_speedup.join("; "))) "." } }
        p.note {
            "A strip has a line for each sample, from 10 % below the median to 10 % above; what is beyond stands at its end."
        }
    }
}

/// The samples that count, as lines on either side of the median.
fn strip(timed: &Timed) -> Markup {
    let Some(timing) = &timed.timing else {
        return html! { "-" };
    };
    let (width, height) = STRIP;
    let median = timing.summary.time_ns_median;
    let samples = as_f64(&timed.kept_ns());
    let place = |ns: &f64| {
        let share = (ns / median - 1.0) / STRIP_SHARE;
        let share = if share.is_finite() { share.clamp(-1.0, 1.0) } else { 0.0 };
        // Half pixels: what lies in the same one looks the same.
        ((share + 1.0) * (width - 1.0)).round() / 2.0 + 0.5
    };
    let mut places: Vec<String> = samples.iter().map(place).map(|x| format!("{x:.1}")).collect();
    places.sort();
    places.dedup();
    let mut path = String::new();
    for x in &places {
        path.push_str(&format!("M{x} 2v8"));
    }
    let ends = |pick: fn(f64, f64) -> f64| {
        samples.iter().copied().reduce(pick).map_or("-".into(), numbers::time)
    };
    let said = format!(
        "{} from {} to {}",
        overview::count(samples.len(), "sample"),
        ends(f64::min),
        ends(f64::max)
    );
    html! {
        svg class="strip" viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) role="img" aria-label=(said) {
            path class="axis" d={ "M0 6h" (width) } {}
            path class="sample" d=(path) { title { (said) } }
        }
    }
}

/// Each digest beside the committed one.
fn digests(case: &CaseRecord) -> Markup {
    let Some(bits) = &case.bits else {
        return html! {};
    };
    const COLUMNS: [Column<'_>; 3] = [plain("digest of"), plain("here"), plain("committed")];
    let rows = bits.digests.iter().map(|row| {
        let got = row.got.map(|digest| digest.to_string());
        let committed = match (row.got, row.expected, row.compared) {
            (_, None, _) => "none".to_owned(),
            (Some(got), Some(expected), _) if got == expected => "the same".to_owned(),
            (_, Some(expected), true) => expected.to_string(),
            (_, Some(expected), false) => format!("{expected}, not compared"),
        };
        vec![
            text(&row.name),
            html! { code { @match got { Some(got) => (text(&got)), None => "-" } } },
            html! { (text(&committed)) },
        ]
    });
    Table { caption: "Digests", columns: &COLUMNS, rows: rows.collect() }.render()
}

/// The page's script, which changes only what is shown of the tables of cases.
pub fn script() -> Markup {
    html! { script { (PreEscaped(SCRIPT)) } }
}

/// Its text holds no `<`, so that nothing in it can be taken for a tag.
pub const SCRIPT: &str = include_str!("script.js");
