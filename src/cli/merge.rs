//! `verify merge`: the records of all shards of a run -> the record of the run, and its exit code.

use std::path::PathBuf;

use clap::Args;

use super::list::{print, print_table};
use super::options::Gate;
use super::repeats::Repeats;
use super::run;
use crate::failure::Failure;
use contract::words::visible;
use record::exit;
use record::merge::{Merged, Part, Refusal, join};
use record::report::terminal;

#[derive(Args, Debug, Clone)]
pub struct MergeArgs {
    /// Records written with --shard and --json
    #[arg(value_name = "RECORD", required = true)]
    pub records: Vec<PathBuf>,
    /// Write the record of the whole here
    #[arg(long, value_name = "PATH")]
    pub json: PathBuf,
    /// Write a JUnit report of the whole here
    #[arg(long, value_name = "PATH")]
    pub junit: Option<PathBuf>,
    /// Join an incomplete set: what is missing is named, and the exit code is 3 at best
    #[arg(long)]
    pub partial: bool,
    #[command(flatten)]
    pub gate: Gate,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::bad_input(refusal)
    }
}

pub fn run(args: &MergeArgs) -> Result<u8, Failure> {
    let Merged { mut record, duplicates, missing_shards, unfinished_shards, missing_cases } =
        join(&load(args)?, std::env::args().skip(1).collect())?;
    if !args.partial {
        if !missing_shards.is_empty() {
            return Err(Failure::bad_input(format!(
                "no record of {}\nhint: --partial joins what is there, and exits with 3 at best",
                listed("shard", &missing_shards)
            )));
        }
        if !missing_cases.is_empty() {
            return Err(Failure::bad_input(format!(
                "no record has {}\nhint: a shard that was stopped goes on with --resume; --partial joins what is there",
                listed("case", &missing_cases)
            )));
        }
        if !unfinished_shards.is_empty() {
            return Err(Failure::bad_input(format!(
                "all cases are there, and no record says that the run ended by itself of {}\nhint: a shard that was stopped goes on with --resume; --partial joins what is there",
                listed("shard", &unfinished_shards)
            )));
        }
    }
    if !duplicates.is_empty() {
        let what = listed("case", &duplicates);
        crate::output::note(&format!("note: twice and alike, one is kept: {what}"));
    }
    record.options.strict = args.gate.strict;
    record.options.require = args.gate.require;
    record::derive::fill(&mut record);
    let mut code = record::outcome::of(&record).code;
    let width = record.cases.iter().map(|case| case.id.len()).max().unwrap_or(4);
    let quiet = terminal::Detail::Quiet;
    let mut repeats = Repeats::default();
    let mut show = |case| print_table(&terminal::case(&repeats.shown(case), width, quiet));
    record.cases.iter().for_each(&mut show);
    if !missing_shards.is_empty() {
        print(&format!("missing: {}\n", listed("shard", &missing_shards)));
    }
    if !unfinished_shards.is_empty() {
        print(&format!("not ended: {}\n", listed("shard", &unfinished_shards)));
    }
    for id in &missing_cases {
        print(&format!("missing: case `{}` is in no record\n", visible(id)));
    }
    let mut failures: Vec<Failure> = Vec::new();
    failures.extend(crate::records::save(&record, &args.json).err().map(Failure::from));
    if let Some(path) = &args.junit {
        failures.extend(run::write_junit(&record, path).err());
    }
    for failure in failures {
        crate::output::note(&format!("error: {failure}"));
        code = exit::worse(code, failure.code);
    }
    print_table(&terminal::summary(&record, code));
    Ok(code)
}

/// Reads all records; what is none is said of all at once.
fn load(args: &MergeArgs) -> Result<Vec<Part>, Failure> {
    let (mut parts, mut errors) = (Vec::new(), Vec::new());
    for path in &args.records {
        match record::load(path) {
            Ok(record) => parts.push(Part { name: path.display().to_string(), record }),
            Err(error) => errors.push(Failure::from(error)),
        }
    }
    if errors.is_empty() {
        return Ok(parts);
    }
    let code = errors.iter().fold(exit::VERIFIED, |code, error| exit::worse(code, error.code));
    let messages: Vec<String> = errors.into_iter().map(|error| error.message).collect();
    Err(Failure { code, message: messages.join("\n") })
}

/// `shards 2/4, 3/4`; of many, the first.
fn listed<T: std::fmt::Display>(what: &str, things: &[T]) -> String {
    const SHOWN_MAX: usize = 10;
    let shown: Vec<String> = things.iter().take(SHOWN_MAX).map(|thing| thing.to_string()).collect();
    let plural = if things.len() == 1 { "" } else { "s" };
    let rest = match things.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{what}{plural} {}{rest}", shown.join(", "))
}
