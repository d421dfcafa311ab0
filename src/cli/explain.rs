//! `verify explain`: why a digest in a record differs. Reads the record only.

use std::path::PathBuf;

use clap::Args;

use super::list::{print, print_json};
use super::near;
use super::options::Printed;
use super::select::globs;
use crate::failure::Failure;
use contract::digest::panel_start;
use contract::words::{self, visible, visible_lines};
use record::CaseRecord;
use record::compare::difference_in_words;
use record::outcome;
use record::verdict::Verdict;
use serde_json::json;

#[derive(Args, Debug, Clone)]
pub struct ExplainArgs {
    /// A record written with --json
    #[arg(value_name = "RECORD")]
    pub record: PathBuf,
    /// Only cases whose id matches
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    #[command(flatten)]
    pub printed: Printed,
}

pub fn run(args: &ExplainArgs) -> Result<u8, Failure> {
    let record = record::load(&args.record)?;
    let globs = globs(&args.cases)?;
    let chosen: Vec<&CaseRecord> = record
        .cases
        .iter()
        .filter(|case| globs.as_ref().is_none_or(|globs| globs.is_match(&case.id)))
        .collect();
    if chosen.is_empty() {
        let ids: Vec<&str> = record.cases.iter().map(|case| case.id.as_str()).collect();
        let hint = match args.cases.is_empty() {
            true => String::new(),
            false => format!("\nhint: {}", near::glob_hint(&args.cases, &ids)),
        };
        return Err(Failure::bad_input(format!(
            "no case of {} matches (it has {}){hint}",
            words::path(&args.record),
            record.cases.len()
        )));
    }
    let differing: Vec<&CaseRecord> =
        chosen.iter().copied().filter(|case| !case.verdict.satisfies()).collect();
    let code = outcome::of(&record).code;
    if args.printed.is_json() {
        let cases: Vec<_> = differing.into_iter().map(document).collect();
        print_json(&json!({"exit_code": code, "looked_at": chosen.len(), "cases": cases}));
        return Ok(code);
    }
    if differing.is_empty() {
        print(&format!("all {} cases hold: nothing to explain\n", chosen.len()));
    }
    differing.into_iter().for_each(|case| print(&explain(case)));
    Ok(code)
}

/// One case as a document: `bits` are a record's.
fn document(case: &CaseRecord) -> serde_json::Value {
    let CaseRecord { manifest, id, verdict, reasons, bits, .. } = case;
    json!({"manifest": manifest, "id": id, "verdict": verdict, "reasons": reasons, "bits": bits})
}

/// One case in full.
pub fn explain(case: &CaseRecord) -> String {
    let (manifest, id) = (visible(&case.manifest), visible(&case.id));
    let mut lines = vec![format!("{manifest} `{id}`: {}", case.verdict.name())];
    let mut line = |text: String| lines.push(text);
    let Some(bits) = &case.bits else {
        case.reasons.iter().flat_map(|reason| reason.lines()).for_each(|r| line(format!("  {r}")));
        return lines.join("\n") + "\n";
    };
    for row in &bits.digests {
        let state = match (row.compared, row.differs()) {
            (false, _) if row.expected.is_none() => "nothing committed",
            (false, _) => "not compared",
            (true, true) => "DIFFERS",
            (true, false) => "as committed",
        };
        let text = |d: Option<contract::digest::Digest>| d.map_or("none".into(), |d| d.to_string());
        line(format!("  {:<9} {state}", visible(&row.name)));
        if row.differs() {
            line(format!("    expected {}", text(row.expected)));
            line(format!("    got      {}", text(row.got)));
        }
    }
    let who = match bits.returned.is_empty() {
        true => format!("local implementations (operator `{}`", visible(&bits.operator)),
        false => format!("what came back and what is computed here (`{}`", visible(&bits.operator)),
    };
    line(format!(
        "  {who}, dense reference, scalar rule): {}",
        if bits.implementations_agree { "agree with each other" } else { "DISAGREE" }
    ));
    if !bits.difference.is_none() {
        line(format!(
            "  operator against dense reference: {}",
            difference_in_words(&bits.difference).replace('\n', "\n  ")
        ));
        let pairs = bits.panels_operator.iter().zip(&bits.panels_dense);
        let panels: Vec<usize> =
            pairs.enumerate().filter(|(_, (a, b))| a != b).map(|(p, _)| p).collect();
        if let (Some(&first), count) = (panels.first(), panels.len()) {
            let (start, end) = (panel_start(first, case.m), panel_start(first + 1, case.m));
            let last = end.saturating_sub(1);
            line(format!(
                "  row panels that differ: {count} of 64, first {first} (rows {start}..{last})"
            ));
        }
    }
    if let Some(cause) = &bits.likely_cause {
        line(format!("  likely cause: {}", indented(cause)));
    }
    for broken in &bits.broken {
        line(format!("  {}", indented(broken)));
    }
    if let Some(accuracy) = &bits.accuracy {
        line(format!("  {accuracy}"));
    }
    line(format!("  perturbed: {}", indented(&bits.perturbation)));
    if !bits.not_returned.is_empty() {
        line(format!("  not returned: {}", visible(&bits.not_returned.join(", "))));
    }
    line(format!("  plan: {}", indented(&bits.plan)));
    if case.verdict == Verdict::Mismatch && bits.implementations_agree {
        let hint = case.reasons.iter().rev().find_map(|reason| reason.split_once("hint: "));
        hint.into_iter().for_each(|(_, hint)| line(format!("  hint: {}", indented(hint))));
    }
    lines.join("\n") + "\n"
}

/// `text` with its further lines below the first: none passes for a line of the report's own.
fn indented(text: &str) -> String {
    visible_lines(text).replace('\n', "\n    ")
}
