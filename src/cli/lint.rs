//! `verify lint`: published claims checked against themselves, without any hardware.

use std::collections::BTreeMap;

use super::LintArgs;
use super::list::{print, print_json};
use super::select::load;
use crate::failure::Failure;
use contract::words;
use record::exit::{REFUTED, VERIFIED};
use record::judge::{Finding, Linted, lint};
use record::manifest::Manifest;

pub fn run(args: &LintArgs) -> Result<u8, Failure> {
    let manifests = load(&args.paths)?;
    let manifests: Vec<&Manifest> = manifests.iter().collect();
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
    serde_json::json!({"claims": linted.claims, "findings": findings})
}
