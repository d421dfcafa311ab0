//! `verify report`: records as a page, as Markdown or as CSV. Reads records only.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;
use crate::files::{is_stream, replace};
use crate::output::print;
use record::Record;
use record::exit::{REFUTED, VERIFIED, worse};
use record::outcome;
use record::report::overview::visible;
use record::report::{compare, csv, html, markdown};

#[derive(Args, Debug, Clone)]
pub struct ReportArgs {
    /// Records written with --json
    #[arg(value_name = "RECORD", required = true)]
    pub records: Vec<PathBuf>,
    /// Write one self-contained page here: nothing is fetched, and it is read without scripts as well
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Write Markdown for a pull request or a summary here, or to stdout (`-`, or without OUT)
    #[arg(long, value_name = "OUT", num_args = 0..=1, default_missing_value = "-")]
    pub markdown: Option<PathBuf>,
    /// Write cases.csv, times.csv, samples.csv and claims.csv into this folder, with times in ns, sizes in bytes and
    /// energy in J; text that a spreadsheet would take for a formula has a ' before it
    #[arg(long, value_name = "FOLDER")]
    pub csv: Option<PathBuf>,
}

pub fn run(args: &ReportArgs) -> Result<u8, Failure> {
    let mut records: Vec<(String, Record)> = Vec::new();
    for path in &args.records {
        records.push((path.display().to_string(), record::load(path)?));
    }
    shorten(&mut records);
    if let Some(path) = &args.html {
        write(path, &html::render(&records))?;
    }
    if let Some(folder) = &args.csv {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::environment(format!("failed to make the folder {}: {error}", folder.display()))
        })?;
        for (name, text) in csv::render(&records) {
            write(&folder.join(name), &text)?;
        }
    }
    match &args.markdown {
        Some(path) if path != Path::new("-") => write(path, &markdown::render(&records))?,
        None if args.html.is_some() || args.csv.is_some() => {}
        _ => print(&markdown::render(&records)),
    }
    let differences = compare::compare(&records).differences;
    if let (Some(first), more) = (differences.first(), differences.len().saturating_sub(1)) {
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        crate::output::note(&format!("the records differ: {}{more}", visible(first)));
    }
    let own = records.iter().map(|(_, record)| outcome::of(record).code);
    let code = own.fold(VERIFIED, worse);
    Ok(if differences.is_empty() { code } else { worse(code, REFUTED) })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // `--markdown a.json b.json` is a slip that would cost a record.
    if !is_stream(path) && record::load(path).is_ok() {
        return Err(Failure::bad_input(format!(
            "{} is a record, and would be written over\nhint: records come before --markdown, or after --markdown=OUT",
            path.display()
        )));
    }
    replace(path, text.as_bytes()).map_err(|error| {
        Failure::environment(format!("failed to write {}: {error}", path.display()))
    })
}

/// Records go by the names of their files where those are all different: the same record gives the same report
/// wherever it lies.
fn shorten(records: &mut [(String, Record)]) {
    let short: Vec<String> = records
        .iter()
        .map(|(path, _)| {
            let name = Path::new(path).file_name();
            name.map_or_else(|| path.clone(), |name| name.to_string_lossy().into_owned())
        })
        .collect();
    let is_unique = |name: &String| short.iter().filter(|other| *other == name).count() == 1;
    if short.iter().all(is_unique) {
        records.iter_mut().zip(short).for_each(|((name, _), short)| *name = short);
    }
}
