//! `verify attest`: a record's statement, signed; with --check a signed statement, looked at. No network in either.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attest::signature::{KEY_BYTES_MAX, Key, NAMESPACE, Signature};
use attest::statement::{STATEMENT_BYTES_MAX, Statement};
use clap::Args;
use contract::digest::Digest;
use contract::words::{self, visible};
use record::exit::VERIFIED;
use record::report::overview;
use rustix::termios;
use serde_json::json;

use super::options::Printed;
use super::signed::{self, signature_path};
use crate::failure::Failure;
use crate::files;
use crate::interrupt;
use crate::output::{note, print, print_json, print_table};
use crate::signal::Signal;

#[derive(Args, Debug, Clone)]
pub struct AttestArgs {
    /// A record written with --json
    #[arg(value_name = "RECORD", required_unless_present = "check", conflicts_with = "check")]
    pub record_path: Option<PathBuf>,
    /// The private key, ed25519 or ecdsa, in OpenSSH's format; its passphrase is asked on the terminal
    #[arg(long, value_name = "FILE", required_unless_present_any = ["check", "unsigned"])]
    pub key: Option<PathBuf>,
    /// Write the statement alone: for cosign, a forge's own attestations, or `ssh-keygen -Y sign` elsewhere
    #[arg(long, conflicts_with_all = ["key", "check"])]
    pub unsigned: bool,
    /// Have `ssh-keygen -Y sign` sign: for keys behind a FIDO token, and with a .pub file for --key those in an agent
    #[arg(long, requires = "key")]
    pub with_ssh_keygen: bool,
    /// Write the statement here, and its signature to FILE.sig [default: RECORD with the ending .statement.json]
    #[arg(long, value_name = "FILE", requires = "record_path")]
    pub out: Option<PathBuf>,
    /// Look at a signed statement instead
    #[arg(long, value_name = "STATEMENT", requires = "signers", conflicts_with_all = ["key", "out"])]
    pub check: Option<PathBuf>,
    /// The signer must be of this name
    #[arg(long, value_name = "NAME", requires = "check")]
    pub identity: Option<String>,
    /// The statement must be of this record
    #[arg(long, value_name = "RECORD", requires = "check")]
    pub record: Option<PathBuf>,
    #[command(flatten)]
    pub trust: signed::Trust,
    #[command(flatten)]
    pub printed: Printed,
}

/// Largest record that is read, in bytes; that of 511 cases with samples of all rivals takes 30 MB.
const RECORD_BYTES_MAX: u64 = 1 << 30;

pub fn run(args: &AttestArgs) -> Result<u8, Failure> {
    match (&args.check, &args.record_path, &args.key) {
        (Some(statement), ..) => check(args, statement),
        (None, Some(record), key) if key.is_some() || args.unsigned => {
            write(args, record, key.as_deref())
        }
        (None, ..) => Err(Failure::bad_input(
            "nothing to sign with\nhint: `verify attest RECORD --key KEY`; `ssh-keygen -t ed25519 -f KEY` makes one",
        )),
    }
}

/// The statement of a record's file.
pub(super) fn statement_of(path: &Path) -> Result<Statement, Failure> {
    let bytes = signed::bytes(path, RECORD_BYTES_MAX)?;
    let record = record::parse(&bytes, &path.display().to_string())?;
    Statement::of(&record, &bytes)
        .map_err(|refused| Failure::bad_input(format!("{}: {refused}", words::path(path))))
}

/// Writes a record's statement, and its signature if there is a key.
fn write(args: &AttestArgs, record: &Path, key: Option<&Path>) -> Result<u8, Failure> {
    let out = args.out.clone().unwrap_or_else(|| {
        let stem = record.file_stem().unwrap_or_default().to_string_lossy();
        record.with_file_name(format!("{stem}.statement.json"))
    });
    let signature_at = signature_path(&out);
    let real = |path: &Path| path.canonicalize().ok();
    let others = [(Some(record), "the record"), (key, "the key")];
    for (other, what) in others.into_iter().filter_map(|(path, what)| Some((path?, what))) {
        let is_other = |path: &Path| real(path).is_some() && real(path) == real(other);
        if is_other(&out) || is_other(&signature_at) {
            return Err(Failure::bad_input(format!(
                "--out {}: this would write over {what}\nhint: give --out another name",
                words::path(&out)
            )));
        }
    }
    let text = statement_of(record)?.text();
    if text.len() as u64 > STATEMENT_BYTES_MAX {
        return Err(Failure::bad_input(format!(
            "{}: its statement takes {} bytes, expected at most {STATEMENT_BYTES_MAX}\nhint: records of shards have smaller ones",
            words::path(record),
            text.len()
        )));
    }
    let armoured = key.map(|key| sign(args, key, text.as_bytes())).transpose()?;
    if armoured.is_none() {
        // One that is left would be of another statement.
        remove(&signature_at)?;
    }
    for (path, text) in [(&out, Some(&text)), (&signature_at, armoured.as_ref())] {
        let Some(text) = text else { continue };
        files::replace(path, text.as_bytes()).map_err(|error| {
            Failure::environment(format!("failed to write {}: {error}", words::path(path)))
        })?;
    }
    print(&format!("{}  statement  {}\n", words::path(&out), Digest::of(text.as_bytes())));
    if let (Some(_), Some(key)) = (&armoured, key) {
        print(&format!("{}  signature by {}\n", words::path(&signature_at), words::path(key)));
        note(&format!(
            "to check without this program: ssh-keygen -Y verify -f ALLOWED -I NAME -n {NAMESPACE} -s {} < {}",
            words::path(&signature_at),
            words::path(&out)
        ));
    }
    Ok(VERIFIED)
}

fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::environment(format!("failed to remove {}: {error}", words::path(path))))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The armoured signature of these bytes.
fn sign(args: &AttestArgs, key: &Path, bytes: &[u8]) -> Result<String, Failure> {
    let armoured = match args.with_ssh_keygen {
        true => by_ssh_keygen(key, bytes)?,
        false => natively(key, bytes)?,
    };
    // Whoever made it, it is what `--check` accepts.
    let refused = |refused: attest::signature::Refused| {
        Failure::bad_input(format!("the signature by {}: {refused}", words::path(key)))
    };
    let signature = Signature::read(armoured.as_bytes()).map_err(refused)?;
    signature.verify(bytes).map_err(refused)?;
    Ok(armoured)
}

fn natively(path: &Path, bytes: &[u8]) -> Result<String, Failure> {
    let shown = words::path(path);
    let refused =
        |refused: attest::signature::Refused| Failure::bad_input(format!("{shown}: {refused}"));
    let mut key = Key::read(&signed::bytes(path, KEY_BYTES_MAX)?).map_err(refused)?;
    if key.is_locked() {
        key = key.unlock(&ask_passphrase(&shown)?).map_err(refused)?;
    }
    key.sign(bytes).map_err(refused)
}

/// The passphrase of a key, asked on the terminal, which shows what is typed again once this ends, also by a signal.
fn ask_passphrase(key: &str) -> Result<String, Failure> {
    let terminal = std::fs::File::open("/dev/tty");
    let before = terminal.and_then(|terminal| Ok((termios::tcgetattr(&terminal)?, terminal)));
    let _registered = before.ok().map(|(settings, terminal)| {
        interrupt::finish_with(move |_| {
            let _ = termios::tcsetattr(&terminal, termios::OptionalActions::Now, &settings);
        })
    });
    rpassword::prompt_password(format!("passphrase of {key}: ")).map_err(|error| {
        match error.kind() {
            // Ctrl-C, which is read as a character while nothing is shown.
            ErrorKind::Interrupted => interrupt::interrupted(Signal::Interrupt),
            // Ctrl-D.
            ErrorKind::UnexpectedEof => {
                Failure::bad_input(format!("{key} has a passphrase, and none was given"))
            }
            _ => Failure::bad_input(format!(
                "{key} has a passphrase, and there is no terminal to ask for it on: {error}\nhint: load it into an agent, and \
                 give its .pub with --with-ssh-keygen"
            )),
        }
    })
}

/// Keys behind a FIDO token, in an agent, or of any other kind that OpenSSH knows.
fn by_ssh_keygen(key: &Path, bytes: &[u8]) -> Result<String, Failure> {
    const PROGRAM: &str = "ssh-keygen";
    let mut command = Command::new(PROGRAM);
    command.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => "\nhint: it comes with OpenSSH (openssh-client)",
            _ => "",
        };
        Failure::environment(format!("--with-ssh-keygen: failed to start {PROGRAM}: {error}{hint}"))
    })?;
    // It reads all before it writes, and a signature fits into a pipe.
    let sent = child.stdin.take().map(|mut input| input.write_all(bytes));
    let ended = child
        .wait_with_output()
        .map_err(|error| Failure::environment(format!("failed to wait for {PROGRAM}: {error}")))?;
    if !ended.status.success() {
        return Err(Failure::bad_input(format!(
            "{PROGRAM} did not sign with {}: it ended with {}\nhint: what it said stands above; for a key in an agent give the \
             .pub file, and `ssh-add -L` lists them",
            words::path(key),
            ended.status
        )));
    }
    if let Some(Err(error)) = sent {
        return Err(Failure::environment(format!("failed to write to {PROGRAM}: {error}")));
    }
    String::from_utf8(ended.stdout)
        .map_err(|_| Failure::environment(format!("{PROGRAM} wrote no text")))
}

fn check(args: &AttestArgs, path: &Path) -> Result<u8, Failure> {
    let allowed = args.trust.allowed()?;
    let mut about = args.trust.about()?;
    let signed = signed::read(path, &allowed)?;
    if let Some(identity) = &args.identity {
        signed::require_identity(&signed, identity)?;
    }
    let statement = &signed.statement;
    about.take(&signed.file, statement).map_err(Failure::bad_input)?;
    if let Some(record) = &args.record {
        let of_record = statement_of(record)?;
        if let Some(differs) = statement.differs(&of_record) {
            let shown = words::path(path);
            let record = words::path(record);
            return Err(Failure::bad_input(format!("{shown}, beside {record}: {differs}")));
        }
    }
    let code = statement.outcome.code;
    let operator = statement.operator.as_ref().map(|o| format!("{} {}", o.name, o.version));
    let is_compared = !args.trust.manifest.is_empty();
    if args.printed.is_json() {
        print_json(&json!({
            "exit_code": code, "statement": signed.file, "signers": signed.names, "key": signed.key,
            "tool": statement.tool, "headline": statement.outcome.headline,
            "completeness": statement.completeness(), "operator": operator, "nonce": statement.options.nonce,
            "machines": statement.machines, "devices": statement.devices,
            "record_sha256": statement.record.sha256, "record_compared": args.record.is_some(),
            "manifests_compared": is_compared,
        }));
        return Ok(code);
    }
    let shown = words::path(path);
    print_table(&format!(
        "{shown}: signed by {} ({})\n  it says: {}\n",
        visible(&signed.names.join(",")),
        signed.key,
        visible(&statement.outcome.headline)
    ));
    let mut lines = vec![format!("{}, of {}", statement.completeness(), statement.tool)];
    lines.extend(operator.map(|operator| format!("operator under test: {operator}")));
    if let Some(nonce) = &statement.options.nonce {
        lines.push(format!("nonce {}", words::quote(nonce)));
    }
    if let Some(after) = &statement.options.after {
        let order = after.check(statement.options.nonce.as_deref());
        lines.extend(order.ok().map(|order| format!("after {}: {order}", after.commit_sha256)));
    }
    let machines = statement.machines.iter().map(|m| format!("{} ({})", m.cpu_model, m.isa));
    let devices = statement.devices.iter().map(|device| device.name.clone());
    let all: Vec<String> = devices.chain(machines).collect();
    lines.push(format!("claimed: {}", all.join(", ")));
    lines.push(match &args.record {
        Some(record) => {
            format!("record: {} has the bytes that were signed for", words::path(record))
        }
        None => format!(
            "record: not compared (sha256 {}); --record RECORD does",
            statement.record.sha256
        ),
    });
    lines.push(match is_compared {
        true => "manifests and committed digests: those here".into(),
        false => "manifests and committed digests: not compared; --manifest PATH does".into(),
    });
    lines.iter().for_each(|line| print_table(&format!("  {}\n", visible(line))));
    let meaning = overview::meaning_of(code, statement.options.sample.is_some());
    print(&format!("exit code {code}: {meaning} (by the statement)\n"));
    Ok(code)
}
