//! Records as Markdown for a pull request or a summary: what does not hold first, the rest folded away. Left out:
//! what only a page has room for, such as plots, environments and commands.

use std::fmt::Write as _;

use super::claimed;
use super::compare::{Compared, DIGESTS, compare};
use super::overview::{self, Gap, count, gaps, printed, visible};
use crate::claims::JudgedClaim;
use crate::numbers;
use crate::outcome;
use crate::timings::{Interval, Rule};
use crate::{CaseRecord, Record};

/// Characters of all of it: a comment on a forge may have 65,536.
pub const LENGTH_MAX: usize = 60_000;
/// Rows of a table at most, the first number with which all of it is short enough. A table that is cut off says so.
const ROWS_MAX: [usize; 9] = [200, 100, 50, 25, 12, 6, 3, 1, 0];
/// Where what is left out can be seen.
const WHERE: &str = "`verify report RECORD --html OUT` shows all of them.";
/// Characters of a cell: a longer one says nothing more in a summary.
const CELL_MAX: usize = 300;
/// Subjects that are named for one reason.
const SUBJECTS_MAX: usize = 5;

/// The records, each with its name, as Markdown that fits in a comment.
pub fn render(records: &[(String, Record)]) -> String {
    let compared = (records.len() > 1).then(|| compare(records));
    let mut text = String::new();
    for rows_max in ROWS_MAX {
        text = with_rows(records, compared.as_ref(), rows_max);
        if text.chars().count() <= LENGTH_MAX {
            return text;
        }
    }
    // Very many records: what is said of all of them comes first.
    const CUT: &str =
        "\n\nThe rest is not shown here: `verify report RECORD... --html OUT` shows all of it.\n";
    let mut text: String = text.chars().take(LENGTH_MAX - CUT.len()).collect();
    text.truncate(text.rfind('\n').unwrap_or(0));
    text + CUT
}

fn with_rows(
    records: &[(String, Record)],
    compared: Option<&Compared<'_>>,
    rows_max: usize,
) -> String {
    let mut text = String::new();
    if let Some(compared) = compared {
        side_by_side(&mut text, records, compared, rows_max);
    }
    for (name, record) in records {
        match records.len() {
            1 => text.push_str("# sparse-verify\n\n"),
            _ => line(&mut text, &format!("## {}\n", cell(name))),
        }
        one(&mut text, record, rows_max);
    }
    // One line break at the end.
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn one(text: &mut String, record: &Record, rows_max: usize) {
    line(text, &format!("**{}**\n", sentence(&cell(&overview::sentence(record)))));
    line(text, &format!("{}.\n", overview::counts_in_words(record)));
    if let Some(words) = outcome::claims_in_words(&record.judged) {
        line(text, &format!("**{}**\n", sentence(&words)));
        speedups(text, record, rows_max);
        for claim in record.judged.iter().take(rows_max) {
            let said = cell(&outcome::claim_in_words(claim));
            line(text, &format!("- {}: {said}", cell(&claim.id)));
        }
        if record.judged.len() > rows_max {
            line(text, &format!("- and {} more", record.judged.len() - rows_max));
        }
        text.push('\n');
    }
    let about = overview::about(record);
    if !about.is_empty() {
        line(text, &format!("{}\n", about.join(" ")));
    }
    let open: Vec<&CaseRecord> =
        record.cases.iter().filter(|case| !case.verdict.satisfies()).collect();
    if !open.is_empty() {
        let rows = open.iter().map(|case| {
            let reasons = case.reasons.join("\n");
            [cell(&case.id), case.verdict.name().into(), cell(&reasons)]
        });
        table(text, ["case", "verdict", "why"], rows, rows_max);
    }
    claims(text, record, rows_max);
    measured(text, record, rows_max);
    weights_notes(text, record, rows_max);
    stated(text, record, rows_max);
    not_verified(text, record, rows_max);
    let machine = &record.environment;
    let devices: Vec<String> = record.devices.iter().map(|d| cell(&d.device.name)).collect();
    line(
        text,
        &format!(
            "{}, {}; {}{}.",
            cell(&record.tool),
            cell(&record.started),
            cell(&machine.cpu_model),
            devices.iter().map(|device| format!(", {device}")).collect::<String>()
        ),
    );
    text.push('\n');
    if let Some(operator) = &record.operator {
        let rows = operator.facts();
        let rows = rows.iter().map(|(name, value)| [cell(name), cell(value)]);
        table(text, ["operator under test", ""], rows, usize::MAX);
        text.push('\n');
    }
}

/// Speedups that are printed, beside those over the same rival and over the best one.
fn speedups(text: &mut String, record: &Record, rows_max: usize) {
    let found: Vec<_> = record
        .judged
        .iter()
        .filter_map(|claim| Some((claim, claimed::speedup(record, claim)?)))
        .collect();
    if found.is_empty() {
        return;
    }
    let ratio = |mid: f64, interval: Interval, rival: &str| {
        let [mid, low, high] = [mid, interval.low, interval.high].map(numbers::number);
        format!("{mid}x [{low} to {high}] {}", cell(rival))
    };
    let rows = found.iter().map(|(claim, speedup)| {
        let same = match &speedup.same {
            Some(over) => ratio(over.ratio, over.interval, over.rival),
            None => {
                speedup.row.here.map_or("-".into(), |here| format!("{}x", numbers::number(here)))
            }
        };
        [
            cell(&claim.id),
            format!("**{}**", claim.word.name()),
            format!("{} over {}", cell(&speedup.printed), cell(speedup.baseline)),
            format!("{same}: {}", speedup.row.word.name()),
            speedup
                .best
                .map_or("-".into(), |best| ratio(best.ratio, best.interval, &best.baseline)),
        ]
    });
    let heads = ["claim", "word", "printed", "here, same rival", "here, best rival"];
    table(text, heads, rows, rows_max);
}

/// First letter of a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn table<const N: usize>(
    text: &mut String,
    heads: [&str; N],
    rows: impl ExactSizeIterator<Item = [String; N]>,
    rows_max: usize,
) {
    line(text, &format!("| {} |", heads.join(" | ")));
    line(text, &format!("|{}", " --- |".repeat(N)));
    let more = rows.len().saturating_sub(rows_max);
    for row in rows.take(rows_max) {
        line(text, &format!("| {} |", row.join(" | ")));
    }
    text.push('\n');
    if more > 0 {
        line(text, &format!("{more} more are not shown here. {WHERE}\n"));
    }
}

/// Folded away on hosts that know how to. `summary` holds no text from outside.
fn details(text: &mut String, summary: &str, inside: &str) {
    let _ = write!(
        text,
        "<details>\n<summary>{summary}</summary>\n\n{}\n\n</details>\n\n",
        inside.trim_end()
    );
}

/// Text from outside, as text in a table's cell or a line: no Markdown, no HTML, no line break.
fn cell(text: &str) -> String {
    let text = visible(text);
    let text = text.trim_end();
    let mut cell = String::new();
    for (at, c) in text.char_indices().take(CELL_MAX) {
        let next = text[at..].chars().nth(1);
        let after_digit = text[..at].ends_with(|c: char| c.is_ascii_digit());
        match c {
            '\n' => cell.push_str("<br>"),
            '&' => cell.push_str("&amp;"),
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            // Also within a cell, where a backslash before `|` is not enough for every host.
            '|' => cell.push_str("&#124;"),
            '`' => cell.push_str("&#96;"),
            // No mention of people, no issue, no address that becomes a link.
            '@' => cell.push_str("&#64;"),
            '#' => cell.push_str("&#35;"),
            ':' if !after_digit && next.is_some_and(|next| next != ' ' && next != '\n') => {
                cell.push_str("&#58;")
            }
            '.' if text[..at].ends_with("www") => cell.push_str("&#46;"),
            '\\' | '*' | '_' | '[' | ']' | '~' | '$' | '!' => {
                cell.push('\\');
                cell.push(c);
            }
            _ => cell.push(c),
        }
    }
    if text.chars().nth(CELL_MAX).is_some() {
        cell.push_str("...");
    }
    if cell.is_empty() { "-".into() } else { cell }
}

fn claims(text: &mut String, record: &Record, rows_max: usize) {
    if record.judged.is_empty() && record.published_inputs.is_empty() {
        return;
    }
    line(text, "### Claim against measurement\n");
    let row = |claim: &JudgedClaim, row: &crate::claims::Row| {
        [
            cell(&claim.id) + if claim.twin.is_some() { " (synthetic twin)" } else { "" },
            cell(&row.rule),
            row.word.name().to_owned(),
            printed(row).as_deref().map_or("-".into(), cell),
            row.here.map_or("-".into(), numbers::number),
            cell(&row.line),
        ]
    };
    const HEADS: [&str; 6] = ["claim", "of", "word", "printed", "here", "arithmetic"];
    let all = || record.judged.iter().flat_map(|claim| claim.rows.iter().map(move |r| (claim, r)));
    let (refuted, others): (Vec<_>, Vec<_>) = all().partition(|(_, row)| row.word.refutes());
    let words = overview::words_in_words(record);
    if !words.is_empty() {
        line(text, &format!("{}: {}.\n", count(record.judged.len(), "claim"), words));
    }
    if !refuted.is_empty() {
        table(text, HEADS, refuted.into_iter().map(|(claim, r)| row(claim, r)), rows_max);
    }
    if !others.is_empty() {
        let mut inside = String::new();
        let summary = format!(
            "{} that hold, are attained or not, or were not judged",
            count(others.len(), "figure")
        );
        table(&mut inside, HEADS, others.into_iter().map(|(claim, r)| row(claim, r)), rows_max);
        details(text, &summary, &inside);
    }
    if !record.published_inputs.is_empty() {
        let rows = record.published_inputs.iter().map(|input| {
            let said = match (&input.compared, &input.reason) {
                (Some(compared), _) => compared.to_string(),
                (None, reason) => {
                    format!("not made: {}", reason.as_deref().unwrap_or("no reason is given"))
                }
            };
            [cell(&input.claim), input.tensor.name().to_owned(), cell(&said)]
        });
        table(text, ["published input of", "tensor", "made again"], rows, rows_max);
    }
}

fn measured(text: &mut String, record: &Record, rows_max: usize) {
    let measured: Vec<_> = record
        .cases
        .iter()
        .filter_map(|case| Some((case, case.measurement.as_ref()?)))
        .filter_map(|(case, timings)| Some((case, timings, timings.operator.timing.as_ref()?)))
        .collect();
    if measured.is_empty() {
        return;
    }
    let rows = measured.iter().map(|(case, timings, timing)| {
        let speedup = |rule| match timings.speedups.iter().find(|s| s.rule == rule) {
            Some(speedup) => {
                let names: Vec<String> =
                    timings.left_out(rule).iter().map(|(name, _)| cell(name)).collect();
                let without = match names.is_empty() {
                    true => String::new(),
                    false => format!("<br>without {}", names.join(", ")),
                };
                let (low, high) = (speedup.interval.low, speedup.interval.high);
                format!(
                    "{} ({} to {}) {}{without}",
                    numbers::ratio(speedup.ratio),
                    numbers::ratio(low),
                    numbers::ratio(high),
                    cell(&speedup.baseline)
                )
            }
            None => "-".into(),
        };
        let layers = timings.layers.as_ref();
        let of = layers.map(|layers| format!(" (all {} layers)", layers.len()));
        [
            cell(&case.id),
            numbers::time(timing.summary.time_ns_median) + &of.unwrap_or_default(),
            speedup(Rule::Best),
            speedup(Rule::Published),
        ]
    });
    let mut inside = String::new();
    table(
        &mut inside,
        ["case", "median time", "over the best", "over the published rule's"],
        rows,
        rows_max,
    );
    details(text, &format!("Times of {}", count(measured.len(), "case")), &inside);
}

fn weights_notes(text: &mut String, record: &Record, rows_max: usize) {
    let noted: Vec<_> =
        record.cases.iter().filter_map(|case| Some((case, case.weights_note.as_ref()?))).collect();
    if noted.is_empty() {
        return;
    }
    let rows = noted.iter().map(|(case, note)| [cell(&case.id), cell(note)]);
    let mut inside = String::new();
    table(&mut inside, ["case", "note on its weights"], rows, rows_max);
    details(text, &format!("Weights of {}", count(noted.len(), "case")), &inside);
}

fn stated(text: &mut String, record: &Record, rows_max: usize) {
    let stated: Vec<_> =
        record.cases.iter().filter_map(|case| Some((case, case.stated.as_ref()?))).collect();
    if stated.is_empty() {
        return;
    }
    let rows = stated.iter().map(|(case, said)| [cell(&case.id), cell(&overview::stated(said))]);
    let mut inside = String::new();
    table(
        &mut inside,
        ["case", "stated with the outputs, measured by nobody here"],
        rows,
        rows_max,
    );
    details(text, &format!("Stated of {}", count(stated.len(), "case")), &inside);
}

fn not_verified(text: &mut String, record: &Record, rows_max: usize) {
    let gaps = gaps(record);
    if gaps.is_empty() {
        return;
    }
    let mut inside = String::new();
    for Gap { title, reasons } in &gaps {
        line(&mut inside, &format!("{title}:\n"));
        for (reason, subjects) in reasons.iter().take(rows_max) {
            let named: Vec<String> = subjects.iter().take(SUBJECTS_MAX).map(|s| cell(s)).collect();
            let more = match subjects.len().saturating_sub(SUBJECTS_MAX) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            line(&mut inside, &format!("- {}: {}{more}", cell(reason), named.join(", ")));
        }
        if reasons.len() > rows_max {
            line(&mut inside, &format!("- and {} more reasons", reasons.len() - rows_max));
        }
        inside.push('\n');
    }
    details(text, "What was not verified", &inside);
}

fn side_by_side(
    text: &mut String,
    records: &[(String, Record)],
    compared: &Compared<'_>,
    rows_max: usize,
) {
    line(text, "# sparse-verify: records side by side\n");
    match compared.differences.len() {
        0 if compared.compared() == 0 => {
            line(
                text,
                "**Nothing can be compared**: no two records have digests of the same case.\n",
            );
        }
        0 => {
            let cases = count(compared.compared(), "case");
            line(text, &format!("**No difference** in {cases} that more than one record has.\n"));
        }
        n => {
            line(text, &format!("**{}:**\n", count(n, "difference")));
            for difference in compared.differences.iter().take(rows_max) {
                line(text, &format!("- {}", cell(difference)));
            }
            if n > rows_max {
                line(text, &format!("- and {} more", n - rows_max));
            }
            text.push('\n');
        }
    }
    compared.notes.iter().take(rows_max).for_each(|note| line(text, &format!("- {}", cell(note))));
    if compared.notes.len() > rows_max {
        line(text, &format!("- and {} more notes", compared.notes.len() - rows_max));
    }
    if !compared.notes.is_empty() {
        text.push('\n');
    }
    let mut inside = String::new();
    let names: Vec<String> = records.iter().map(|(name, _)| cell(name)).collect();
    line(&mut inside, &format!("| case | {} | {} |", names.join(" | "), DIGESTS.join(" | ")));
    line(&mut inside, &format!("|{}", " --- |".repeat(1 + names.len() + DIGESTS.len())));
    for row in compared.rows.iter().take(rows_max) {
        let verdicts = row.verdicts.iter().map(|v| v.map_or("-", |v| v.name()).to_owned());
        let digests = row.digests.iter().map(|agreement| agreement.name().to_owned());
        let cells: Vec<String> = verdicts.chain(digests).collect();
        line(&mut inside, &format!("| {} | {} |", cell(row.id), cells.join(" | ")));
    }
    if compared.rows.len() > rows_max {
        line(
            &mut inside,
            &format!("\n{} more are not shown here. {WHERE}", compared.rows.len() - rows_max),
        );
    }
    details(text, &format!("All {}", count(compared.rows.len(), "case")), &inside);
}
