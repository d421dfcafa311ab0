//! Signed statements as files: a statement at NAME, its signature at NAME.sig, and who may sign.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use attest::quorum::{About, Signed};
use attest::signature::{SIGNATURE_BYTES_MAX, Signature};
use attest::signers::{SIGNERS_BYTES_MAX, Signers};
use attest::statement::{STATEMENT_BYTES_MAX, Statement, committed_of};
use clap::Args;
use contract::words::{self, quote};

use super::select::{choose, load};
use crate::failure::Failure;
use crate::files;

/// How signatures are checked, and what statements must be about.
#[derive(Args, Debug, Clone)]
pub struct Trust {
    /// Who may sign: OpenSSH's file of allowed signers, a line `NAME namespaces="verify-record@sparse-verify" KEYTYPE BASE64` each
    #[arg(long, value_name = "FILE")]
    pub signers: Option<PathBuf>,
    /// The moment at which signers must be valid, such as 20261128Z or 202611280401Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = verify_time, requires = "signers")]
    pub verify_time: Option<i64>,
    /// Manifests that statements must be about, with the digests that are committed for them here; folders too
    #[arg(long, value_name = "PATH", requires = "signers")]
    pub manifest: Vec<PathBuf>,
    /// The version of the program that made the records [default: this one]
    #[arg(long, value_name = "'NAME VERSION'", requires = "signers")]
    pub tool: Option<String>,
}

fn verify_time(text: &str) -> Result<i64, String> {
    attest::signers::time(text)
        .ok_or_else(|| "expected YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ".into())
}

/// Bytes of a file that is read whole, and no larger than `bytes_max`.
pub fn bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    files::bytes(path, bytes_max).map_err(|error| {
        let shown = words::path(path);
        match error.kind() {
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
                Failure::bad_input(format!("{shown}: {error}, expected at most {bytes_max} bytes"))
            }
            _ => Failure::environment(format!("failed to read {shown}: {error}")),
        }
    })
}

/// The place of a statement's signature.
pub fn signature_path(statement: &Path) -> PathBuf {
    let mut name: OsString = statement.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Signers, and the moment at which they must be valid.
pub struct Allowed {
    path: PathBuf,
    signers: Signers,
    at: i64,
}

impl Trust {
    /// Reads the file of signers.
    pub fn allowed(&self) -> Result<Allowed, Failure> {
        let Some(path) = &self.signers else {
            return Err(Failure::bad_input(
                "--signers FILE is missing: without it nobody is known\nhint: `ssh-keygen(1)`, ALLOWED SIGNERS, describes the file",
            ));
        };
        let signers = Signers::read(&bytes(path, SIGNERS_BYTES_MAX)?)
            .map_err(|bad| Failure::bad_input(format!("{}: {bad}", words::path(path))))?;
        let at = self.verify_time.unwrap_or_else(|| chrono::Utc::now().timestamp());
        Ok(Allowed { path: path.clone(), signers, at })
    }

    /// What statements must be about, as far as that was given.
    pub fn about(&self) -> Result<About, Failure> {
        let mut about = About::tool(self.tool.as_deref().unwrap_or(&record::tool::tool()));
        if self.manifest.is_empty() {
            return Ok(about);
        }
        for selected in choose(load(&self.manifest)?, &[])? {
            let committed = selected.expected.cases.iter();
            about.know(
                &selected.expected_file(),
                &selected.manifest.name,
                selected.manifest.sha256,
                committed.map(|(id, entry)| (id.clone(), committed_of(entry))),
            );
        }
        about.close();
        Ok(about)
    }
}

/// A statement whose signature is right, by somebody who is allowed.
pub fn read(path: &Path, allowed: &Allowed) -> Result<Signed, Failure> {
    let shown = words::path(path);
    let own = bytes(path, STATEMENT_BYTES_MAX)?;
    let signature_path = signature_path(path);
    let signature = match bytes(&signature_path, SIGNATURE_BYTES_MAX) {
        Err(_) if !signature_path.exists() => {
            return Err(Failure::bad_input(format!(
                "{shown} is not signed: there is no {}\nhint: `verify attest RECORD --key KEY` signs, as does `ssh-keygen -Y sign -n \
                 {} -f KEY {shown}`",
                words::path(&signature_path),
                attest::signature::NAMESPACE
            )));
        }
        read => read?,
    };
    let of_signature = |refused: attest::signature::Refused| {
        Failure::bad_input(format!("{}: {refused}", words::path(&signature_path)))
    };
    let signature = Signature::read(&signature).map_err(of_signature)?;
    // The signature first: nothing of a statement that nobody signed is looked at.
    signature.verify(&own).map_err(of_signature)?;
    let key = signature.key();
    let names = allowed.signers.names(&key, allowed.at).map_err(|why| {
        Failure::bad_input(format!("{shown}: {}: {why}", words::path(&allowed.path)))
    })?;
    let names = names.into_iter().map(str::to_owned).collect();
    let statement = Statement::read(&own)
        .map_err(|refused| Failure::bad_input(format!("{shown}: {refused}")))?;
    Ok(Signed { file: path.display().to_string(), names, key: key.fingerprint(), statement })
}

/// Refuses a signer who is not of that name.
pub fn require_identity(signed: &Signed, identity: &str) -> Result<(), Failure> {
    if signed.names.iter().any(|name| name == identity) {
        return Ok(());
    }
    Err(Failure::bad_input(format!(
        "{} is signed by another\n  expected {}\n  got      {}",
        words::path(Path::new(&signed.file)),
        quote(identity),
        words::visible(&signed.names.join(","))
    )))
}
