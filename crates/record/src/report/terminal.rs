//! The table on the terminal: a line as each case finishes, a summary at the end.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::overview;
use crate::claims::ClaimWord;
use crate::compare::difference_in_words;
use crate::numbers::{narrow_time, percent, seconds};
use crate::outcome;
use crate::timings::{Interval, Rule, Speedup};
use crate::verdict::Verdict;
use crate::{CaseRecord, Record};
use contract::words::{visible, visible_lines};

/// How much to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The summary alone.
    Quiet,
    /// A line for each case, and the summary.
    Normal,
    /// As `Normal`, with more of each case.
    Verbose,
}

fn style(verdict: Verdict) -> Style {
    let color = match verdict {
        Verdict::Verified | Verdict::WithinBound => AnsiColor::Green,
        Verdict::Mismatch | Verdict::OutOfBound => AnsiColor::Red,
        Verdict::Unpinned | Verdict::InPart | Verdict::NotRun => AnsiColor::Yellow,
    };
    Style::new().fg_color(Some(color.into()))
}

/// Characters of the column of ids at most: a formatted width has 16 bits, and a terminal far fewer.
const WIDTH_MAX: usize = 200;

/// The table's head; `width` is that of the longest id.
pub fn head(width: usize) -> String {
    let width = width.min(WIDTH_MAX);
    format!(
        "{:<width$}  {:<12}  {:<16}  {:>9}  {:>8}  {}\n",
        "case", "verdict", "operator sha256", "nnz", "time", "measured"
    )
}

/// One case's line, with its reasons below it.
pub fn case(case: &CaseRecord, width: usize, detail: Detail) -> String {
    let width = width.min(WIDTH_MAX);
    let mut text = String::new();
    if detail == Detail::Quiet && case.verdict.satisfies() {
        return text;
    }
    let style = style(case.verdict);
    let verdict = case.verdict.name();
    let bits = case.bits.as_ref();
    let digest = bits.and_then(|bits| bits.digests.iter().find(|row| row.name == "operator"));
    let digest = digest.and_then(|row| row.got).map_or(String::new(), |d| d.to_string());
    let nnz =
        bits.map_or(String::new(), |bits| percent(bits.structure.nnz, bits.structure.elements));
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{:<width$}  {style}{verdict:<12}{style:#}  {:<16.16}  {nnz:>9}  {:>8}",
        visible(&case.id),
        digest,
        seconds(case.seconds)
    );
    let _ = writeln!(text, "  {}", measurement(case));
    for reason in &case.reasons {
        for line in reason.lines() {
            let _ = writeln!(text, "    {}", visible(line));
        }
    }
    if let Some(note) = &case.weights_note {
        let _ = writeln!(text, "    note: {}", visible(note));
    }
    if let Some(bits) = bits.filter(|_| detail == Detail::Verbose) {
        for row in &bits.digests {
            if let Some(got) = row.got {
                let _ = writeln!(text, "    {:<9} {got}", visible(&row.name));
            }
        }
        let s = &bits.structure;
        let _ = writeln!(
            text,
            "    structure {} non-zeros of {}; dead: {} rows, {} columns, {} of {} blocks of side {}",
            s.nnz, s.elements, s.dead_rows, s.dead_columns, s.dead_blocks, s.blocks, s.block_size
        );
        let _ = writeln!(text, "    plan      {}", visible(&bits.plan));
        let _ = writeln!(text, "    perturbed {}", visible(&bits.perturbation));
        if let Some(bound) = &bits.bound {
            let _ = writeln!(text, "    bound     {:.2} % used", 100.0 * bound.used_max);
            let difference = difference_in_words(&bits.difference).replace('\n', "\n    ");
            let _ = writeln!(text, "    reference {difference}");
        }
    }
    text
}

/// Speedups under both rules, or why there are none.
fn measurement(case: &CaseRecord) -> String {
    let Some(timings) = &case.measurement else {
        let reason = case.measurement_reason.as_deref().unwrap_or_default();
        let stated = case.stated.as_ref().map(overview::stated);
        let stated = stated.map_or(String::new(), |stated| format!("; {stated}"));
        return visible(&format!("{reason}{stated}")).into_owned();
    };
    let name = |rule| match rule {
        Rule::Published => "published rule",
        Rule::Best => "best",
    };
    let speedup = |s: &Speedup| {
        let Interval { low, high } = s.interval;
        let left_out = timings.left_out(s.rule);
        let names: Vec<&str> = left_out.iter().map(|(name, _)| *name).collect();
        let without = match names.is_empty() {
            true => String::new(),
            false => format!(", without {}", names.join(", ")),
        };
        format!(
            "{:.2}x [{low:.2} to {high:.2}] {} ({}{without})",
            s.ratio,
            s.baseline,
            name(s.rule)
        )
    };
    let mut parts: Vec<String> = Vec::new();
    if let Some(timing) = &timings.operator.timing {
        let of = match &timings.layers {
            Some(layers) => format!("{} layers: ", layers.len()),
            None => String::new(),
        };
        parts.push(format!("{of}{}", narrow_time(timing.summary.time_ns_median)));
    }
    // The headline is against the best.
    let best_first = [Rule::Best, Rule::Published];
    parts.extend(best_first.iter().filter_map(|rule| {
        timings.speedups.iter().find(|speedup| speedup.rule == *rule).map(speedup)
    }));
    parts.extend(timings.no_speedup.iter().cloned());
    visible(&parts.join(", ")).into_owned()
}

/// The colour of a claim's word. None is green that rests on no measurement.
fn claim_style(word: ClaimWord) -> Style {
    let color = match word {
        ClaimWord::Confirmed | ClaimWord::Reproduced | ClaimWord::Attained => AnsiColor::Green,
        ClaimWord::Refuted | ClaimWord::NotReproduced => AnsiColor::Red,
        ClaimWord::NotAttained
        | ClaimWord::NotAttainedByAnother
        | ClaimWord::Inconclusive
        | ClaimWord::NotJudged => AnsiColor::Yellow,
    };
    Style::new().fg_color(Some(color.into()))
}

/// A line for each claim: its word, the printed figure, the figure here and the rule; below it what does not hold by its
/// own rule, or with [`Detail::Verbose`] everything.
pub fn claims(record: &Record, detail: Detail) -> String {
    let mut text = String::new();
    if detail == Detail::Quiet || record.judged.is_empty() {
        return text;
    }
    let width = record.judged.iter().map(|claim| claim.id.len()).max().unwrap_or(0).min(WIDTH_MAX);
    text.push_str("\nclaims\n");
    for claim in &record.judged {
        let style = claim_style(claim.word);
        let said = outcome::claim_in_words(claim);
        let twin = claim.twin.as_ref();
        let twin =
            twin.map(|twin| format!(" (by its synthetic twin `{twin}`)")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<width$}  {style}{}{style:#}{}",
            visible(&claim.id),
            visible(&said),
            visible(&twin)
        );
        for row in &claim.rows {
            if detail == Detail::Verbose || row.word.refutes() {
                let line = visible_lines(&row.line).replace('\n', "\n        ");
                let _ = writeln!(text, "    {}: {}: {line}", visible(&row.rule), row.word.name());
            }
        }
    }
    text
}

/// The headline of bits, that of claims, counts by verdict, and what the exit code means.
pub fn summary(record: &Record, exit_code: u8) -> String {
    let mut text = String::from("\n");
    let outcome = outcome::of(record);
    let color = match exit_code {
        0 if outcome.verified > 0 => AnsiColor::Green,
        1 => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    let style = Style::new().fg_color(Some(color.into()));
    let _ = writeln!(text, "{style}{}{style:#}", outcome.headline);
    if let Some(claims) = outcome::claims_in_words(&record.judged) {
        let _ = writeln!(text, "{claims}");
    }
    let counts: Vec<String> = overview::counts(record)
        .into_iter()
        .map(|(verdict, count)| {
            let style = self::style(verdict);
            format!("{count} {style}{}{style:#}", verdict.name())
        })
        .collect();
    for line in overview::about(record) {
        let _ = writeln!(text, "{line}");
    }
    // A sum of nothing is -0 in Rust.
    let total = record.cases.iter().map(|case| case.seconds).sum::<f64>() + 0.0;
    let _ = writeln!(
        text,
        "{}{}{}; {}; {} (exit code {exit_code})",
        overview::count(record.cases.len(), "case"),
        if counts.is_empty() { "" } else { ": " },
        counts.join(", "),
        seconds(total),
        overview::meaning_of(exit_code, record.options.sample.is_some())
    );
    text
}
