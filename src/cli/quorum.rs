//! `verify quorum`: signed statements counted together, case by case. Reads statements alone: no record, no manifest unless
//! one is given.

use std::path::PathBuf;

use std::collections::BTreeMap;

use attest::quorum::{CaseQuorum, Quorum, STATEMENTS_MAX, Standing, count};
use clap::Args;
use contract::words::{quote, visible};
use record::report::overview;
use serde_json::json;

use super::options::Printed;
use super::select::globs;
use super::signed;
use crate::failure::Failure;
use crate::output::{print_json, print_table};

#[derive(Args, Debug, Clone)]
pub struct QuorumArgs {
    /// Signed statements, each with its signature beside it
    #[arg(value_name = "STATEMENT", required = true)]
    pub statements: Vec<PathBuf>,
    /// Votes that a case needs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub need: u16,
    #[command(flatten)]
    pub trust: signed::Trust,
    /// Only cases whose id matches (`*` matches any text, `/` included); may be repeated
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    /// Sections marked `required: false` count too
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub printed: Printed,
}

pub fn run(args: &QuorumArgs) -> Result<u8, Failure> {
    if args.statements.len() > STATEMENTS_MAX {
        return Err(Failure::bad_input(format!(
            "{} statements were given, expected at most {STATEMENTS_MAX}",
            args.statements.len()
        )));
    }
    let allowed = args.trust.allowed()?;
    let mut about = args.trust.about()?;
    let globs = globs(&args.cases)?;
    let mut all = Vec::new();
    for path in &args.statements {
        let signed = signed::read(path, &allowed)?;
        about.take(&signed.file, &signed.statement).map_err(Failure::bad_input)?;
        all.push(signed);
    }
    let is_wanted = |id: &str| globs.as_ref().is_none_or(|globs| globs.is_match(id));
    let quorum = count(&all, usize::from(args.need), args.strict, &is_wanted);
    if quorum.cases.is_empty() {
        return Err(Failure::bad_input(
            "the statements have none of the cases asked for\nhint: `--case GLOB` chooses by id",
        ));
    }
    match args.printed.is_json() {
        true => print_json(&json!(quorum)),
        false => show(&quorum),
    }
    Ok(quorum.exit_code)
}

fn show(quorum: &Quorum) {
    let distinct = |of: &dyn Fn(usize) -> usize| {
        let mut all: Vec<usize> = (0..quorum.statements.len()).map(of).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    for counted in &quorum.statements {
        let operator = counted.operator.as_deref().unwrap_or("the open operator");
        let lacking = match &counted.isolation_lacking[..] {
            [] => String::new(),
            layers => format!(", without the layers {}", layers.join(", ")),
        };
        let nonce =
            counted.nonce.as_ref().map_or(String::new(), |n| format!(", nonce {}", quote(n)));
        line(&format!(
            "{}: signed by {}: {operator}{lacking} on {}, {}{nonce}; by it exit code {}",
            counted.file, counted.signer, counted.on, counted.completeness, counted.exit_code
        ));
    }
    let (signers, machines) = (
        distinct(&|at| quorum.statements[at].voter),
        distinct(&|at| quorum.statements[at].machine),
    );
    line(&format!(
        "{}, {}, {} by their own word; a case needs {}",
        overview::count(quorum.statements.len(), "statement"),
        overview::count(signers, "signer"),
        overview::count(machines, "machine"),
        overview::count(quorum.need, "vote"),
    ));
    if machines < quorum.statements.len() {
        line(
            "statements of one machine, or of machines that describe themselves alike, have one vote",
        );
    }
    // Cases of which all is the same in one line.
    let mut groups: BTreeMap<(&str, &str, usize, Vec<String>), Vec<&CaseQuorum>> = BTreeMap::new();
    for case in &quorum.cases {
        if case.standing == Standing::Refuted {
            continue;
        }
        let voices = case.voices.iter().map(|voice| {
            let operator = voice.operator.as_deref().unwrap_or("nothing");
            format!("{} {} by {operator} on {}", voice.signer, voice.verdict.name(), voice.on)
        });
        let key = (case.manifest.as_str(), case.standing.name(), case.votes, voices.collect());
        groups.entry(key).or_default().push(case);
    }
    for ((manifest, standing, votes, voices), cases) in groups {
        const NAMED_MAX: usize = 3;
        let ids: Vec<&str> = cases.iter().map(|case| case.id.as_str()).take(NAMED_MAX).collect();
        let more = if cases.len() > NAMED_MAX { ", ..." } else { "" };
        let optional =
            if cases.iter().any(|case| !case.required) { ", some not required" } else { "" };
        line(&format!(
            "{manifest}: {} {standing}, {} each{optional}: {}{more}",
            overview::count(cases.len(), "case"),
            overview::count(votes, "vote"),
            ids.join(", ")
        ));
        voices.iter().for_each(|voice| line(&format!("  {voice}")));
        if voices.is_empty() {
            line("  nobody has them");
        }
    }
    for case in quorum.cases.iter().filter(|case| case.standing == Standing::Refuted) {
        line(&format!("{} {}: refuted", case.manifest, case.id));
        for voice in &case.voices {
            line(&format!("  {} says {} (on {})", voice.signer, voice.verdict.name(), voice.on));
        }
        for differing in &case.differing {
            line(&format!("  digest {} differs", differing.digest));
            for found in &differing.values {
                let got = found.got.map_or("none".into(), |digest| digest.to_string());
                line(&format!("    {got}  {}", found.signers.join(", ")));
            }
        }
    }
    let code = quorum.exit_code;
    line(&format!("exit code {code}: {}", overview::meaning(code)));
}

/// A line of what strangers wrote, on which nothing hides.
fn line(text: &str) {
    print_table(&format!("{}\n", visible(text)));
}
