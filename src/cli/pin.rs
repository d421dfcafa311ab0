//! `verify pin`: run cases and commit their digests, or note what a record confirms. The only writer of
//! expected-hashes/.

mod confirm;

use std::path::PathBuf;

use std::io::{IsTerminal, Write as _};

use clap::Args;

use super::list::print;
use super::options::Selection;
use super::resources::Resources;
use super::select::{Selected, select};
use crate::audit::Task;
use crate::carried;
use crate::environment::environment;
use crate::expected::panels::Panels;
use crate::failure::Failure;
use contract::words;
use record::exit;
use record::expected::{Entry, Expected};

#[derive(Args, Debug, Clone)]
pub struct PinArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub resources: Resources,
    /// Add what the record of a run elsewhere confirms; refuses one that differs in a digest
    #[arg(long, value_name = "RECORD", conflicts_with_all = ["weights", "threads", "device", "isa"])]
    pub record: Option<PathBuf>,
    /// The signed statement of that record: confirmations then name who signed it, and are marked `unsigned` otherwise
    #[arg(long, value_name = "STATEMENT", requires = "record", requires = "signers")]
    pub attestation: Option<PathBuf>,
    /// Who may sign: OpenSSH's file of allowed signers
    #[arg(long, value_name = "FILE", requires = "attestation")]
    pub signers: Option<PathBuf>,
    /// Write without asking
    #[arg(long)]
    pub yes: bool,
}

pub fn run(args: &PinArgs) -> Result<u8, Failure> {
    let selected = select(&args.selection)?;
    if let Some(record) = &args.record {
        return confirm::run(&selected, record, args);
    }
    let isa = args.resources.isa();
    let mut auditor = args.resources.auditor(false);
    let confirmation =
        format!("skip on cpu {isa}: {}, {}", environment().cpu_model, record::tool::tool());
    let mut code = exit::VERIFIED;
    for selected in &selected {
        let mut after = selected.expected.clone();
        let Some(path) = &selected.expected_path else { unreachable!("what is pinned has a file") };
        let mut panels = Panels::load(path)?;
        let mut changes = Vec::new();
        for case in selected.cases() {
            let outcome = auditor.audit_to_pin(&Task {
                manifest: &selected.manifest,
                case,
                expected: &Expected::default(),
                expected_file: "",
                progress: &|_| {},
            });
            match outcome.entry {
                Err(reason) => {
                    changes.push(format!("! {}: refused: {reason}", case.id));
                    code = exit::worse(
                        code,
                        match outcome.record.exit_code {
                            exit::NOT_VERIFIED if outcome.record.bits.is_some() => exit::REFUTED,
                            other => other,
                        },
                    );
                }
                Ok((mut entry, of_entry)) => {
                    let before = selected.expected.cases.get(&case.id);
                    changes.extend(difference(&case.id, before, &entry));
                    if let Some(before) = before.filter(|before| before.same_digests(&entry)) {
                        entry.confirmed = before.confirmed.clone();
                        entry.tool = before.tool.clone();
                    }
                    if !entry.confirmed.contains(&confirmation) {
                        entry.confirmed.push(confirmation.clone());
                        entry.confirmed.sort();
                    }
                    after.cases.insert(case.id.clone(), entry);
                    panels.0.insert(case.id.clone(), of_entry);
                }
            }
        }
        // Entries of cases that the manifest no longer has.
        let ids: Vec<&String> = selected.expected.cases.keys().collect();
        for id in ids {
            if !selected.manifest.cases.iter().any(|case| case.id == *id) {
                changes.push(format!("- {id}: no longer in the manifest"));
                after.cases.remove(id);
            }
        }
        panels.0.retain(|id, _| after.cases.contains_key(id));
        changes.iter().for_each(|change| print(&format!("{change}\n")));
        let quiet = changes.is_empty().then_some("digests unchanged, confirmations added");
        code = exit::worse(code, write(selected, &after, Some(&panels), quiet, args.yes)?);
    }
    Ok(code)
}

/// Writes `after` in place of what is committed, if it is another and somebody says yes, with the digests of row panels that
/// its roots are of, unless these stay as they are. `summary` says what is new.
fn write(
    selected: &Selected,
    after: &Expected,
    panels: Option<&Panels>,
    summary: Option<&str>,
    yes: bool,
) -> Result<u8, Failure> {
    let Some(path) = &selected.expected_path else { unreachable!("what is pinned has a file") };
    if carried::is_carried(path) && *after != selected.expected {
        return Err(Failure::bad_input(format!(
            "{} is carried by the program, and nothing can be pinned there\nhint: `verify eject` writes it out; pin \
             manifests/{}.yaml then",
            words::path(path),
            selected.manifest.name
        )));
    }
    let has_panels = match panels {
        Some(panels) => *panels == Panels::load(path)?,
        None => true,
    };
    if *after == selected.expected && has_panels {
        print(&format!("{}: unchanged\n", words::path(path)));
        return Ok(exit::VERIFIED);
    }
    if let Some(summary) = summary {
        print(&format!("{}: {summary}\n", words::path(path)));
    }
    if yes || confirmed(&path.display().to_string())? {
        // First what the roots are of: it is of no use without them, and they are not without it.
        if let Some(panels) = panels {
            panels.save(path).map_err(Failure::environment)?;
        }
        crate::expected::save(after, path).map_err(Failure::environment)?;
        print(&format!("wrote {}\n", path.display()));
        Ok(exit::VERIFIED)
    } else {
        print(&format!("left {} as it was\n", words::path(path)));
        Ok(exit::NOT_VERIFIED)
    }
}

/// What committing `after` would change, a line a digest.
fn difference(id: &str, before: Option<&Entry>, after: &Entry) -> Vec<String> {
    let Some(before) = before else {
        return vec![format!("+ {id}: dense {}", after.dense)];
    };
    let optional =
        |digest: Option<contract::digest::Digest>| digest.map_or("none".into(), |d| d.to_string());
    let rows = |e: &Entry| {
        [
            ("a", e.a.to_string()),
            ("v", e.v.to_string()),
            ("dense", e.dense.to_string()),
            ("operator", optional(e.operator)),
            ("rebuilt", optional(e.rebuilt)),
            ("shifted", optional(e.shifted)),
            ("order", e.order.clone()),
            ("arithmetic", e.arithmetic.clone()),
            ("tensors", format!("{} {} {}", e.tensors.a, e.tensors.v, e.tensors.y)),
        ]
    };
    let mut lines: Vec<String> = rows(before)
        .into_iter()
        .zip(rows(after))
        .filter(|(before, after)| before != after)
        .map(|((name, before), (_, after))| {
            format!("~ {id}: {name}\n    - {before}\n    + {after}")
        })
        .collect();
    // Where the whole changed its panels did; here only they were wrong.
    if before.dense == after.dense && before.panels != after.panels {
        let wrong = |&(p, panel): &(usize, &String)| after.panels.get(p) != Some(panel);
        let wrong: Vec<String> = before
            .panels
            .iter()
            .enumerate()
            .filter(wrong)
            .map(|(p, panel)| format!("{p}: {panel}"))
            .collect();
        lines.push(format!("~ {id}: panels\n    - {}", wrong.join(", ")));
    }
    lines
}

/// Asks on the terminal; without one the answer is an error, not a guess.
fn confirmed(path: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::bad_input(format!(
            "nobody to ask whether to write {path}\nhint: look at the difference above, then `--yes`"
        )));
    }
    let mut err = anstream::stderr();
    let _ = write!(err, "write {path}? [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::environment)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
