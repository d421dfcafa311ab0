//! `verify lint`: published claims checked against themselves, without any hardware.

use std::path::PathBuf;

use std::collections::BTreeMap;

use clap::Args;

use super::list::{print, print_json};
use super::options::Printed;
use super::select::load;
use crate::failure::Failure;
use contract::words::{self, nearest, quote, visible};
use record::claims::Claim;
use record::exit::{REFUTED, VERIFIED};
use record::judge::{Explained, Finding, Linted, explain, lint};
use record::manifest::Manifest;

#[derive(Args, Debug, Clone)]
pub struct LintArgs {
    /// Manifests, or folders of manifests; sums are of all that are given
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// One claim alone: its sources and figures, every rule that looks at it, and the strongest reading in the publisher's
    /// favour of each finding
    #[arg(long, value_name = "ID")]
    pub explain: Option<String>,
    #[command(flatten)]
    pub printed: Printed,
}

pub fn run(args: &LintArgs) -> Result<u8, Failure> {
    let manifests = load(&args.paths)?;
    let manifests: Vec<&Manifest> = manifests.iter().collect();
    if let Some(id) = &args.explain {
        return explain_one(&manifests, id, args.printed.is_json());
    }
    let linted = lint(&manifests);
    match args.printed.is_json() {
        true => print_json(&json(&linted)),
        false => print(&text(&manifests, &linted)),
    }
    Ok(if linted.findings.is_empty() { VERIFIED } else { REFUTED })
}

/// A finding a line, and how many there are of each rule.
fn text(manifests: &[&Manifest], linted: &Linted) -> String {
    let mut text = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for Finding { manifest, line, about, rule, text: what } in &linted.findings {
        let path = manifests.iter().find(|known| known.name == *manifest).map(|known| &known.path);
        let path = path.map(|path| words::path(path)).unwrap_or_default();
        text.push_str(&format!("{path}:{line}: {about}: {rule}: {what}\n"));
        *counts.entry(rule).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
    let of = match counts.is_empty() {
        true => String::new(),
        false => format!(" ({})", counts.join(", ")),
    };
    for (claim, missing) in &linted.not_compared {
        let missing = missing.join(", ");
        text.push_str(&format!(
            "{claim}: not compared: it is about sections of {missing}, not given\n"
        ));
    }
    text.push_str(&format!("{} claims, {} findings{of}\n", linted.claims, linted.findings.len()));
    text
}

fn json(linted: &Linted) -> serde_json::Value {
    let findings: Vec<serde_json::Value> = linted
        .findings
        .iter()
        .map(|finding| {
            serde_json::json!({
                "manifest": finding.manifest,
                "line": finding.line,
                "about": finding.about,
                "rule": finding.rule,
                "finding": finding.text,
            })
        })
        .collect();
    let not_compared = linted.not_compared.iter();
    let not_compared: Vec<serde_json::Value> = not_compared
        .map(|(claim, missing)| serde_json::json!({"claim": claim, "not_given": missing}))
        .collect();
    serde_json::json!({
        "claims": linted.claims, "findings": findings, "not_compared": not_compared,
    })
}

/// `--explain`: all that is known of the claims of an id.
fn explain_one(manifests: &[&Manifest], id: &str, is_json: bool) -> Result<u8, Failure> {
    let claims =
        manifests.iter().flat_map(|manifest| manifest.claims.iter().map(|it| (*manifest, it)));
    let named: Vec<(&Manifest, &Claim)> =
        claims.clone().filter(|(_, claim)| claim.id == id).collect();
    if named.is_empty() {
        let near = nearest(id, claims.map(|(_, claim)| claim.id.as_str()));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`verify list PATH --claims` has all of them".to_owned(),
        };
        return Err(Failure::bad_input(format!("no claim has the id {}\nhint: {hint}", quote(id))));
    }
    let mut holds = true;
    let (mut text, mut documents) = (String::new(), Vec::new());
    for (manifest, claim) in named {
        let rules = explain(manifests, manifest, claim);
        holds &= rules.iter().all(|rule| rule.holds);
        text.push_str(&explanation(manifest, claim, &rules));
        documents.push(serde_json::json!({
            "manifest": manifest.name,
            "claim": claim.id,
            "line": claim.line,
            "sources": claim.sources,
            "figures": claim.figures.iter().map(|(figure, printed)| serde_json::json!({
                "figure": figure.key(),
                "printed": printed.to_string(),
                "low": printed.range.low,
                // JSON has no infinity.
                "high": Some(printed.range.high).filter(|high| high.is_finite()),
            })).collect::<Vec<_>>(),
            "rules": rules.iter().map(|rule| serde_json::json!({
                "rule": rule.rule, "holds": rule.holds, "line": rule.line, "reading": rule.reading,
            })).collect::<Vec<_>>(),
        }));
    }
    match is_json {
        true => print_json(&documents.into()),
        false => print(&text),
    }
    Ok(if holds { VERIFIED } else { REFUTED })
}

/// The end of an interval with all of its digits: one more than the figure has, none of which is of the doubles' rounding.
fn digits(value: f64) -> String {
    let text = format!("{value:.12}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A claim's sources and figures, and each rule that looked at it.
fn explanation(manifest: &Manifest, claim: &Claim, rules: &[Explained]) -> String {
    let path = words::path(&manifest.path);
    let mut text = format!("{path}:{}: {}\n", claim.line, claim.id);
    let sources: Vec<String> =
        claim.sources.iter().map(|source| visible(source).to_string()).collect();
    text.push_str(&format!("  sources: {}\n", sources.join(", ")));
    for (figure, printed) in &claim.figures {
        let (low, high) = (digits(printed.range.low), digits(printed.range.high));
        let values = match (low == high, printed.range.high.is_finite()) {
            (true, _) => "no other value".to_owned(),
            (false, true) => format!("{low} to {high}"),
            (false, false) => format!("{low} and more"),
        };
        text.push_str(&format!("  {} {printed}: {values}\n", figure.key()));
    }
    for Explained { rule, holds, line, reading } in rules {
        let word = if *holds { "agrees" } else { "finding" };
        text.push_str(&format!("  {rule}: {word}: {line}\n"));
        if let Some(reading) = reading {
            text.push_str(&format!("    no finding if {reading}\n"));
        }
    }
    if rules.is_empty() {
        text.push_str("  no rule looks at it alone, and none that compares claims has a finding\n");
    }
    text
}
