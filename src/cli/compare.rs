//! `verify compare`: operators side by side on the same cases. Reads records only.

use std::path::{Path, PathBuf};

use clap::Args;

use super::options::Printed;
use crate::failure::Failure;
use crate::files::replace;
use crate::output::{note, print, print_json, print_table};
use contract::words::visible;
use record::Record;
use record::exit::{VERIFIED, worse};
use record::outcome;
use record::report::operators::{HEADS, Line, apart, csv, lines};
use serde_json::json;

#[derive(Args, Debug, Clone)]
pub struct CompareArgs {
    /// Records written with --json, each of an operator of its own
    #[arg(value_name = "RECORD", required = true, num_args = 2..)]
    pub records: Vec<PathBuf>,
    /// Write CSV here, with times in ns and sizes in bytes; `-` is standard output
    #[arg(long, value_name = "OUT", conflicts_with = "format")]
    pub csv: Option<PathBuf>,
    #[command(flatten)]
    pub printed: Printed,
}

pub fn run(args: &CompareArgs) -> Result<u8, Failure> {
    let mut records: Vec<(String, Record)> = Vec::new();
    for path in &args.records {
        records.push((path.display().to_string(), record::load(path)?));
    }
    let lines = lines(&records);
    if let Some(path) = &args.csv {
        let text = csv(&lines);
        match path == Path::new("-") {
            true => print(&text),
            false => replace(path, text.as_bytes()).map_err(|error| {
                Failure::environment(format!("failed to write {}: {error}", path.display()))
            })?,
        }
    }
    let apart = apart(&records);
    let code = records.iter().map(|(_, record)| outcome::of(record).code).fold(VERIFIED, worse);
    if args.printed.is_json() {
        let lines: Vec<_> = lines.iter().map(document).collect();
        print_json(&json!({"exit_code": code, "lines": lines, "apart": apart}));
        return Ok(code);
    }
    if args.csv.is_none() {
        let rows: Vec<[String; HEADS.len()]> = std::iter::once(HEADS.map(str::to_owned))
            .chain(lines.iter().map(|line| line.cells().map(|cell| visible(&cell).into_owned())))
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..HEADS.len()).map(|at| width(at).unwrap_or(0)).collect();
        for row in &rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
            print_table(&format!("{}\n", cells.join("  ").trim_end()));
        }
    }
    if let Some(why) = apart {
        note(&visible(&why));
    }
    Ok(code)
}

/// A line as a document, with times in ns and sizes in bytes.
fn document(line: &Line<'_>) -> serde_json::Value {
    let [time, low, high] = match line.time_ns {
        Some((mid, low, high)) => [Some(mid), Some(low), Some(high)],
        None => [None; 3],
    };
    json!({
        "manifest": line.manifest, "case": line.id, "operator": line.operator, "verdict": line.verdict,
        "time_ns": time, "time_ns_low": low, "time_ns_high": high, "over_first": line.over_first,
        "bytes_held": line.bytes_held, "build_ns": line.build_ns,
    })
}
