//! `verify pin --record`: the confirmations that a run elsewhere supports. Runs nothing and changes no digest.

use std::path::Path;

use super::PinArgs;
use super::write;
use crate::audit::model_status;
use crate::cli::attest::statement_of;
use crate::cli::list::print;
use crate::cli::select::Selected;
use crate::cli::signed::{self, Trust};
use crate::failure::Failure;
use contract::case::Case;
use contract::words::{self, visible};
use record::exit;
use record::expected::{Entry, Tensors};
use record::verdict::Verdict;
use record::{BitsRecord, CaseRecord, Record, RecordError, ShardRecord};

/// What stands behind a confirmation from a record that nobody signed.
const UNSIGNED: &str = ", unsigned";

/// Who signed a record, by a statement that is of it.
fn signer(args: &PinArgs, path: &Path) -> Result<Option<String>, Failure> {
    let Some(statement) = &args.attestation else { return Ok(None) };
    let trust = Trust {
        signers: args.signers.clone(),
        verify_time: None,
        manifest: Vec::new(),
        tool: None,
    };
    let signed = signed::read(statement, &trust.allowed()?)?;
    // A statement is of its record, of whatever version that is.
    if let Some(differs) = signed.statement.differs(&statement_of(path)?) {
        return Err(Failure::bad_input(format!(
            "{}, beside {}: {differs}",
            words::path(statement),
            words::path(path)
        )));
    }
    Ok(Some(signed.names.join(",")))
}

/// Notes what a record confirms of a case, and who signed it; whether that is new. A confirmation from a record that nobody
/// signed says so, unless the same stands there already, made here or signed; a signature takes the mark away.
fn note_confirmation(confirmed: &mut Vec<String>, text: &str, signer: Option<&str>) -> bool {
    let is_it = |known: &String| {
        known
            .strip_prefix(text)
            .is_some_and(|rest| rest.is_empty() || rest == UNSIGNED || rest.starts_with(SIGNED_BY))
    };
    let new = match signer {
        None if confirmed.iter().any(is_it) => return false,
        None => format!("{text}{UNSIGNED}"),
        Some(signer) => format!("{text}{SIGNED_BY}{signer}"),
    };
    if confirmed.contains(&new) {
        return false;
    }
    confirmed.retain(|known| signer.is_none() || known.strip_suffix(UNSIGNED) != Some(text));
    confirmed.push(new);
    confirmed.sort();
    true
}

/// What stands before the signer's names.
const SIGNED_BY: &str = ", signed by ";

pub fn run(selected: &[Selected], path: &Path, args: &PinArgs) -> Result<u8, Failure> {
    let signer = signer(args, path)?;
    let record = record::load(path).map_err(|error| match error {
        RecordError::Io { .. } => Failure::environment(error),
        RecordError::Malformed { .. } | RecordError::Contradiction { .. } => {
            Failure::bad_input(error)
        }
    })?;
    if record.options.nonce.is_some() {
        return Err(Failure::bad_input(format!(
            "{} was made with --nonce, so its perturbed digests are not the committed ones\n\
             hint: run again without --nonce",
            words::path(path)
        )));
    }
    if record.options.outputs.is_some() {
        return Err(Failure::bad_input(format!(
            "{} is of outputs made elsewhere: it shows that they are right, and not what made them, so that it confirms \
             nothing\nhint: a confirmation is of a run, `verify PATH --json RECORD`",
            words::path(path)
        )));
    }
    let mut machines: Vec<_> = record.shards.iter().map(ShardRecord::machine).collect();
    machines.dedup();
    if machines.len() > 1 {
        return Err(Failure::bad_input(format!(
            "{} was joined from records of several machines, and does not say which of them ran a case\n\
             hint: give the record of each shard",
            words::path(path)
        )));
    }
    let mut code = exit::VERIFIED;
    let mut found = 0;
    let mut plans = Vec::new();
    for selected in selected {
        let mut after = selected.expected.clone();
        let (mut added, mut known) = (0, 0);
        for case in selected.cases() {
            let Some(ran) = record.case(&selected.manifest.name, &case.id) else { continue };
            found += 1;
            match confirmation(&record, ran, case, after.cases.get(&case.id)) {
                Finding::Confirmed(confirmation) => {
                    // `confirmation` has seen the entry.
                    let Some(entry) = after.cases.get_mut(&case.id) else { continue };
                    entry.model = model_status(case);
                    match confirmation {
                        Some(text)
                            if note_confirmation(
                                &mut entry.confirmed,
                                &text,
                                signer.as_deref(),
                            ) =>
                        {
                            added += 1;
                        }
                        _ => known += 1,
                    }
                }
                Finding::Nothing(reason) => {
                    print(&format!("- {}: not confirmed: {}\n", case.id, visible(&reason)));
                    code = exit::worse(code, exit::NOT_VERIFIED);
                }
                Finding::Refused(reason) => {
                    print(&format!("! {}: refused: {reason}\n", case.id));
                    code = exit::worse(code, exit::REFUTED);
                }
            }
        }
        plans.push((
            selected,
            after,
            format!("{added} confirmations added, {known} already there"),
        ));
    }
    if found == 0 {
        return Err(Failure::bad_input(format!(
            "{} has none of the cases asked for",
            words::path(path)
        )));
    }
    if code == exit::REFUTED {
        // A record that contradicts one digest is evidence for none.
        print("nothing was written\n");
        return Ok(code);
    }
    for (selected, after, summary) in plans {
        code = exit::worse(code, write(selected, &after, None, Some(&summary), args.yes)?);
    }
    Ok(code)
}

/// What one case of a record says about the committed digests.
enum Finding {
    /// They came back; by what, or `None` where the arithmetic leaves no output to confirm.
    Confirmed(Option<String>),
    /// Nothing, for this reason.
    Nothing(String),
    /// The opposite.
    Refused(String),
}

fn confirmation(
    record: &Record,
    ran: &CaseRecord,
    case: &Case,
    committed: Option<&Entry>,
) -> Finding {
    let Some(entry) = committed else { return Finding::Nothing("it is not pinned".into()) };
    let Some(bits) = &ran.bits else {
        let reason = ran.reasons.first().map_or("no reason is given", |reason| reason);
        return Finding::Nothing(format!("it was not run: {reason}"));
    };
    if let Some(difference) = difference(ran, bits, case, entry) {
        return Finding::Refused(difference);
    }
    match ran.verdict {
        Verdict::Verified => match machine(record, ran, bits) {
            Ok(machine) => Finding::Confirmed(Some(machine)),
            Err(reason) => Finding::Refused(reason),
        },
        Verdict::WithinBound => Finding::Confirmed(None),
        Verdict::Mismatch | Verdict::OutOfBound => {
            Finding::Refused(format!("the record's verdict is {}", ran.verdict.name()))
        }
        Verdict::Unpinned | Verdict::InPart | Verdict::NotRun => {
            Finding::Nothing(format!("the record's verdict is {}", ran.verdict.name()))
        }
    }
}

/// What differs between the record and the committed entry, or between either and the manifest's case.
fn difference(ran: &CaseRecord, bits: &BitsRecord, case: &Case, entry: &Entry) -> Option<String> {
    if let Some(another) = entry.describes_another(case) {
        return Some(another);
    }
    let tensor = |rows, columns, dtype: &str| format!("{rows}x{columns} {dtype}");
    let tensors = Tensors {
        a: tensor(ran.m, ran.k, &ran.dtype),
        v: tensor(ran.k, ran.n, &ran.dtype),
        y: tensor(ran.m, ran.n, &ran.output),
    };
    if tensors != entry.tensors || ran.arithmetic != entry.arithmetic {
        return Some("the record is about other shapes, dtypes or another arithmetic".into());
    }
    let contract = case.arithmetic.has_bit_contract();
    let committed = [
        ("a", Some(entry.a), true),
        ("v", Some(entry.v), true),
        ("dense", Some(entry.dense), true),
        ("operator", entry.operator, contract),
        ("rebuilt", entry.rebuilt, contract),
        ("shifted", entry.shifted, contract),
    ];
    for (name, expected, compared) in committed {
        let Some(row) = bits.digests.iter().find(|row| row.name == name) else {
            return Some(format!("the record has no digest `{name}`"));
        };
        if compared && row.got != expected {
            let text = |digest: Option<contract::digest::Digest>| {
                digest.map_or("none".to_owned(), |digest| digest.to_string())
            };
            return Some(format!(
                "{name} differs\n    committed {}\n    record    {}",
                text(expected),
                text(row.got)
            ));
        }
    }
    (bits.panels_dense != entry.panels).then(|| "the digests of row panels differ".into())
}

/// Which implementation ran where, as expected files say it; `Err` if the record does not tell.
fn machine(record: &Record, ran: &CaseRecord, bits: &BitsRecord) -> Result<String, String> {
    let operator = &bits.operator;
    let Some(device) = &ran.device else {
        let (isa, cpu) = (&record.options.isa, &record.environment.cpu_model);
        return Ok(format!("{operator} on cpu {isa}: {cpu}, {}", record.tool));
    };
    let on =
        record.devices.iter().find(|on| on.device.name == *device).ok_or_else(|| {
            format!("the record does not describe its device {}", visible(device))
        })?;
    let mut compilers: Vec<&str> = on.kernels.iter().map(|kernel| &*kernel.compiler).collect();
    compilers.sort_unstable();
    compilers.dedup();
    let with: String = compilers.iter().map(|compiler| format!(", {compiler}")).collect();
    Ok(format!("{operator} on {device} (driver {}{with}), {}", on.device.driver, record.tool))
}
