//! Records as one page that needs nothing else: one file, no network. One script of ours, which is run by its hash alone,
//! sorts and filters tables; the page is read without it as well. Left out: anything that is not in the records.
//!
//! Claims come first, then cases, then what was not verified. What explains a line is folded behind it.
//!
//! Every text of a record goes through `text`: the template escapes it, and what could hide or move other text
//! is written out.

mod cards;
mod cases;
mod claims;
mod environment;
mod plot;
mod side;
mod table;
mod timings;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::compare::compare;
use super::overview::{self, Gap, count, gaps, visible};
use crate::claims::ClaimWord;
use crate::outcome;
use crate::timings::{CaseTimings, Rule, Speedup};
use crate::verdict::Verdict;
use crate::{CaseRecord, Record};

/// Nothing may be loaded, and nothing run but the page's own script, whatever a record holds.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src 'sha256-{SCRIPT_SHA256}'; style-src 'unsafe-inline'; img-src data:; \
         base-uri 'none'; form-action 'none'"
    )
}

/// SHA-256 of the script in base64, as a policy names it; a test has it computed.
pub const SCRIPT_SHA256: &str = "34U+eosrebz6n0oDabRx0JSOg3jSARRKYVNuVo/ptcw=";
pub use cases::SCRIPT;

/// Cases up to which tables are open from the start.
const OPEN_MAX: usize = 60;
/// The same for tables that say more of what a plot shows.
const TINY_MAX: usize = 12;
/// Digits of a digest in a table.
const DIGITS: usize = 16;
/// Refuted cases that are explained before the rest is folded away.
const REFUTED_MAX: usize = 5;
/// Reasons with fewer subjects name them in line.
const SUBJECTS_MAX: usize = 4;

/// The records, each with its name, as a page.
pub fn render(records: &[(String, Record)]) -> String {
    let compared = (records.len() > 1).then(|| compare(records));
    let body = html! {
        @match (records, &compared) {
            (_, Some(compared)) => {
                header {
                    h1 { "Verification of sparse operators" }
                    (side::verdict(records, compared))
                }
                (side::claims(records))
                (side::table(records, compared))
                @for (at, (name, record)) in records.iter().enumerate() {
                    @let part = Part { record, at, level: 3 };
                    section class="record" id={ "record-" (at) } {
                        h2 { (text(name)) }
                        (part.verdict())
                        details {
                            summary { "All of " (text(name)) ": claims, cases, what was not verified, environment" }
                            div.folded { (part.contents()) (part.all()) }
                        }
                    }
                }
            }
            ([(_, record)], None) => {
                @let part = Part { record, at: 0, level: 2 };
                header {
                    h1 { "Verification of sparse operators" }
                    (part.verdict())
                }
                (part.contents())
                (part.all())
            }
            _ => p { "No record." }
        }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title(records)) }
                link rel="icon" href="data:,";
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main { (body) (words::legend()) p.paper { "What is folded is on paper only where it was open." } }
                (cases::script())
            }
        }
    };
    page.into_string() + "\n"
}

fn title(records: &[(String, Record)]) -> String {
    match records {
        [(_, record)] => {
            let names: Vec<&str> = record.manifests.iter().map(|m| m.name.as_str()).collect();
            let about = if names.is_empty() { "record".to_owned() } else { names.join(", ") };
            format!("{}: {}", visible(&about), overview::sentence(record))
        }
        _ => format!("{} side by side", count(records.len(), "record")),
    }
}

/// Text from a record, in one piece.
fn text(text: &str) -> Markup {
    html! { (visible(text)) }
}

/// Text that may be broken where its parts end.
fn id(id: &str) -> Markup {
    let id = visible(id);
    html! {
        @for (at, part) in id.split('/').enumerate() {
            @if at > 0 { "/" wbr; }
            (part)
        }
    }
}

fn digest(digest: Option<String>) -> Markup {
    html! {
        @match digest {
            Some(digest) => code.short { (digest.chars().take(DIGITS).collect::<String>()) },
            None => "-",
        }
    }
}

fn verdict(verdict: Verdict) -> Markup {
    let class = match verdict {
        v if v.satisfies() => "good",
        v if v.refutes() => "bad",
        _ => "open",
    };
    html! { span class={ "verdict " (class) } { (verdict.name()) } }
}

/// How a claim's word looks. None is green that rests on no measurement.
fn claim_class(word: ClaimWord) -> &'static str {
    match word {
        ClaimWord::Confirmed | ClaimWord::Reproduced | ClaimWord::Attained => "good",
        ClaimWord::Refuted | ClaimWord::NotReproduced => "bad",
        ClaimWord::NotAttained
        | ClaimWord::NotAttainedByAnother
        | ClaimWord::Inconclusive
        | ClaimWord::NotJudged => "open",
    }
}

/// The first digits of a digest, with the rest for whoever points at it.
fn short_digest(digest: &str) -> Markup {
    html! { code.short title=(digest) { (digest.chars().take(DIGITS).collect::<String>()) } }
}

/// A sentence's first letter.
fn first_upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// A heading of any level.
fn heading(level: u8, id: Option<&str>, inside: Markup) -> Markup {
    html! {
        @match level {
            2 => h2 id=[id] { (inside) },
            3 => h3 id=[id] { (inside) },
            4 => h4 id=[id] { (inside) },
            _ => h5 id=[id] { (inside) },
        }
    }
}

/// What can be long, folded away unless it is wanted. Open where it is printed.
fn folded(open: bool, summary: Markup, inside: Markup) -> Markup {
    html! { details open[open] { summary { (summary) } div.folded { (inside) } } }
}

/// One record on the page.
struct Part<'a> {
    record: &'a Record,
    /// Its place among the records, for ids.
    at: usize,
    /// Of its headings.
    level: u8,
}

impl Part<'_> {
    fn id(&self, name: &str) -> String {
        format!("r{}-{name}", self.at)
    }

    /// A part of the record under its heading; nothing where there is nothing inside.
    fn section(&self, name: &str, title: &str, inside: Markup) -> Markup {
        html! {
            section {
                (heading(self.level, Some(&self.id(name)), html! { (title) }))
                (inside)
            }
        }
    }

    /// Few enough for tables of detail to be open as well.
    fn is_tiny(&self) -> bool {
        self.record.cases.len() <= TINY_MAX
    }

    fn is_short(&self) -> bool {
        self.record.cases.len() <= OPEN_MAX
    }

    fn verdict(&self) -> Markup {
        let outcome = outcome::of(self.record);
        let class = match outcome.code {
            0 if outcome.verified > 0 => "good",
            1 => "bad",
            _ => "open",
        };
        let not_required = self.record.cases.iter().filter(|c| !c.required).count();
        html! {
            div class={ "banner " (class) } {
                p.lead { (first_upper(&visible(&outcome.headline))) "." }
                p {
                    "Exit code " (outcome.code) ": " (overview::meaning_of(outcome.code, self.record.options.sample.is_some())) ". "
                    (overview::counts_in_words(self.record))
                    @if not_required > 0 { " (" (not_required) " not required)" }
                    "."
                }
            }
            @for line in overview::about(self.record) { p.note { (line) } }
            (self.refuted())
            p.note {
                @for manifest in &self.record.manifests {
                    strong { (text(&manifest.name)) } ": " (text(&manifest.title))
                    " (manifest " (short_digest(&manifest.sha256.to_string())) "). "
                }
                (text(&self.record.tool)) ", started " (text(&self.record.started)) ", on "
                (text(&self.record.environment.cpu_model))
                @for device in &self.record.devices { ", " (text(&device.device.name)) }
                "."
            }
            @if let Some(operator) = &self.record.operator {
                p.note {
                    "Operator under test: " (text(&operator.in_words())) ", by " (text(&operator.author)) "."
                    @if !operator.lacking().is_empty() {
                        " " strong { "Without isolation by " (text(&operator.lacking().join(", "))) "." }
                    }
                }
            }
        }
    }

    /// Why cases are refuted, at the top: nothing on the page matters more.
    fn refuted(&self) -> Markup {
        let refuted: Vec<&CaseRecord> =
            self.record.cases.iter().filter(|case| case.verdict.refutes()).collect();
        let (first, rest) = refuted.split_at(refuted.len().min(REFUTED_MAX));
        let one = |case: &CaseRecord| {
            html! {
                div.refuted {
                    p { strong { (id(&case.id)) } " " (verdict(case.verdict)) }
                    pre tabindex="0" { (visible(&case.reasons.join("\n"))) }
                }
            }
        };
        html! {
            @for case in first { (one(case)) }
            @if !rest.is_empty() {
                (folded(false, html! { (rest.len()) " more that are refuted" }, html! {
                    @for case in rest { (one(case)) }
                }))
            }
        }
    }

    fn all(&self) -> Markup {
        let record = self.record;
        let gaps = gaps(record);
        let measured = record.cases.iter().any(|case| case.measurement.is_some());
        html! {
            (cards::cards(self))
            (self.section("cases", "Cases", cases::cases(self)))
            (self.section("not-verified", "What was not verified", self.gaps(&gaps)))
            (self.section("claims", "Claims, figure by figure", claims::claims(self)))
            (self.section("measured", "What was measured", html! {
                @if measured {
                    (folded(false, html! { "Speedup over sparsity, batch and size" }, timings::speedups(self)))
                    (folded(false, html! { "Roofline" }, timings::rooflines(self)))
                    @if timings::has_errors(record) {
                        (folded(false, html! { "Error against time" }, timings::errors(self)))
                    }
                    (folded(false, html! { "Energy" }, timings::energy(self)))
                    (folded(false, html! { "Build and amortisation" }, timings::build(self)))
                } @else { (nothing("Nothing was measured.")) }
            }))
            (self.section("environment", "Environment", environment::environment(self)))
        }
    }

    fn contents(&self) -> Markup {
        const PARTS: [(&str, &str); 5] = [
            ("cases", "Cases"),
            ("not-verified", "Not verified"),
            ("claims", "Claims, figure by figure"),
            ("measured", "Measured"),
            ("environment", "Environment"),
        ];
        html! {
            nav aria-label={ "Contents" @if self.level > 2 { " of record " (self.at + 1) } } {
                @for (name, title) in PARTS { a href={ "#" (self.id(name)) } { (title) } " " }
            }
        }
    }

    /// Something of each section of each manifest, folded away where it is long.
    fn by_section(
        &self,
        is_open: impl Fn(&[CaseRecord]) -> bool,
        inside: impl Fn(&[CaseRecord], &str) -> Option<Markup>,
    ) -> Markup {
        let manifests: Vec<&[CaseRecord]> =
            self.record.cases.chunk_by(|a, b| a.manifest == b.manifest).collect();
        html! {
            @for of_manifest in &manifests {
                @if manifests.len() > 1 {
                    (heading(self.level + 1, None, html! { "Manifest " (text(&of_manifest[0].manifest)) }))
                }
                @for cases in of_manifest.chunk_by(|a, b| a.section == b.section) {
                    @let section = &cases[0].section;
                    @if let Some(inside) = inside(cases, section) {
                        (folded(
                            is_open(cases),
                            html! { (text(section)) ": " (in_words(cases)) },
                            inside,
                        ))
                    }
                }
            }
        }
    }

    fn gaps(&self, gaps: &[Gap]) -> Markup {
        html! {
            @if gaps.is_empty() { p { "Nothing that the record knows of." } }
            @for gap in gaps {
                @let about: usize = gap.reasons.iter().map(|(_, subjects)| subjects.len()).sum();
                (folded(false, html! { (gap.title) ": " (about) }, html! { ul.gaps {
                    @for (reason, subjects) in &gap.reasons {
                        li {
                            span.reason { (text(reason)) }
                            @if subjects.len() <= SUBJECTS_MAX {
                                span.subjects { @for subject in subjects { span { (id(subject)) } } }
                            } @else {
                                (folded(
                                    false,
                                    html! { (subjects.len()) " of them" },
                                    html! { span.subjects { @for subject in subjects { span { (id(subject)) } } } },
                                ))
                            }
                        }
                    }
                } }))
            }
        }
    }
}

/// `5 cases: 4 verified, 1 mismatch`.
fn in_words(cases: &[CaseRecord]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for case in cases {
        match counts.iter_mut().find(|(name, _)| *name == case.verdict.name()) {
            Some((_, count)) => *count += 1,
            None => counts.push((case.verdict.name(), 1)),
        }
    }
    let counts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    format!("{}, {}", count(cases.len(), "case"), counts.join(", "))
}

fn speedup_of(timings: Option<&CaseTimings>, rule: Rule) -> Option<&Speedup> {
    timings?.speedups.iter().find(|speedup| speedup.rule == rule)
}

/// A paragraph for a part that has nothing to show.
fn nothing(why: &str) -> Markup {
    html! { p { (why) } }
}
