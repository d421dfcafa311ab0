//! `verify commit`: what will be tested, written before the nonce of the test exists; and the nonce that is bound to it
//! afterwards.

use std::path::{Path, PathBuf};

use attest::commit::{
    COMMIT_BYTES_MAX, COMMIT_FORMAT, Commit, ManifestCommitted, OperatorCommitted, OutputCommitted,
};
use clap::Args;
use contract::case::Case;
use contract::digest::{Digest, TensorHasher};
use contract::words;
use record::commitment::After;
use record::exit::VERIFIED;
use record::operator::OperatorRecord;

use super::check::{find_in_folder, require_folder};
use super::operators;
use super::select::{Selected, choose, load};
use super::signed;
use crate::audit::Stop;
use crate::challenge::case_folder;
use crate::check::bits::positive_zeros;
use crate::failure::Failure;
use crate::files;
use crate::output::{note, print};
use crate::tensors::{Layout, TensorFile};

#[derive(Args, Debug, Clone)]
pub struct CommitArgs {
    /// Manifests, or folders of manifests, whose cases will be asked for
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// The operator under test, by its file or by the name of one in `operators/` [default: the open operator]
    #[arg(long, value_name = "NAME|FILE")]
    pub operator: Option<String>,
    /// A folder of outputs that were made already, laid out as that of a challenge: the digest of each y in it
    #[arg(long, value_name = "DIR")]
    pub outputs: Option<PathBuf>,
    /// Write to this file, which must not be there
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// The commitment that a nonce was drawn after.
#[derive(Args, Debug, Clone)]
pub struct AfterArgs {
    /// The commitment that was made before the nonce existed, written by `verify commit`
    #[arg(long, value_name = "COMMIT", requires_all = ["nonce", "nonce_source"])]
    pub after: Option<PathBuf>,
    /// Where the nonce is from: words, drand:CHAIN:ROUND:RANDOMNESS (and :SIGNATURE), or bitcoin:HEIGHT:HASH
    ///
    /// Of the last two the form is checked without a network, that the nonce is the randomness or the hash, and, of drand
    /// chains whose times are known, that the round is later than the commitment.
    #[arg(long, value_name = "TEXT", requires = "after")]
    pub nonce_source: Option<String>,
}

/// Bytes of an output that are held at once, about.
const PANEL_BYTES: usize = 64 << 20;

pub fn run(args: &CommitArgs) -> Result<u8, Failure> {
    let selected = choose(load(&args.paths)?, &[])?;
    let operator = args.operator.as_deref().map(operators::described).transpose()?;
    let mut outputs = Vec::new();
    if let Some(folder) = &args.outputs {
        require_folder(folder)?;
        for selected in &selected {
            for case in selected.cases() {
                let y = output(folder, selected, case)?;
                outputs.extend(y.map(|y| OutputCommitted {
                    manifest: selected.manifest.name.clone(),
                    id: case.id.clone(),
                    y,
                }));
            }
        }
        if outputs.is_empty() {
            return Err(Failure::bad_input(format!(
                "{} has no output of a case\nhint: it is laid out as `verify challenge` writes it: y.npy in MANIFEST/ID",
                words::path(folder)
            )));
        }
    }
    let commit = Commit {
        format: COMMIT_FORMAT.to_owned(),
        tool: record::tool::tool(),
        committed: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        manifests: selected
            .iter()
            .map(|Selected { manifest, .. }| ManifestCommitted {
                name: manifest.name.clone(),
                sha256: manifest.sha256,
            })
            .collect(),
        operator: operator.as_ref().map(committed_operator),
        outputs,
    };
    let text = commit.text();
    let shown = words::path(&args.out);
    // A commitment that is replaced was none.
    files::create(&args.out, text.as_bytes()).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::bad_input(format!(
            "{shown} is there already\nhint: a commitment stays; give --out another name"
        )),
        _ => Failure::environment(format!("failed to write {shown}: {error}")),
    })?;
    print(&format!("{shown}  commitment  {}\n", Digest::of(text.as_bytes())));
    note(
        "publish this digest before the nonce exists: the time in the file is your own word, and only who has seen the digest knows \
         that it was there",
    );
    Ok(VERIFIED)
}

/// The digest of a case's output in a folder; `None` where there is none.
fn output(folder: &Path, selected: &Selected, case: &Case) -> Result<Option<Digest>, Failure> {
    let stopped = |stop: Stop| Failure {
        code: stop.kind.code(),
        message: format!("case {}: {}", words::quote(&case.id), stop.reason),
    };
    let own = case_folder(&selected.manifest, case)?;
    let Some(file) = find_in_folder(folder, &own, case).map_err(stopped)? else { return Ok(None) };
    let failed = |error: crate::tensors::TensorError| Failure::environment(error);
    digest(&file, crate::challenge::output_layout(case)).map(Some).map_err(failed)
}

fn digest(file: &TensorFile, layout: Layout) -> Result<Digest, crate::tensors::TensorError> {
    let mut hasher = TensorHasher::new(layout.dtype, layout.rows, false);
    let at_once = (PANEL_BYTES / (4 * layout.columns.max(1))).max(1);
    for first in (0..layout.rows).step_by(at_once) {
        let mut rows = file.rows(first..layout.rows.min(first + at_once))?;
        positive_zeros(&mut rows);
        hasher.update(&rows);
    }
    Ok(hasher.finish().digest)
}

/// What a commitment says of an operator.
pub fn committed_operator(operator: &OperatorRecord) -> OperatorCommitted {
    OperatorCommitted {
        name: operator.name.clone(),
        version: operator.version.clone(),
        sha256: operator.sha256,
        files: operator.files.clone(),
    }
}

/// A commitment, and the digest of its bytes.
pub fn read(path: &Path) -> Result<(Commit, Digest), Failure> {
    let bytes = signed::bytes(path, COMMIT_BYTES_MAX)?;
    let commit = Commit::read(&bytes).map_err(refused(path))?;
    Ok((commit, Digest::of(&bytes)))
}

fn refused(path: &Path) -> impl Fn(attest::commit::Refused) -> Failure {
    move |refused| Failure::bad_input(format!("{}: {refused}", words::path(path)))
}

/// Refuses manifests that are not those of a commitment.
pub fn hold_manifests(path: &Path, commit: &Commit, selected: &[Selected]) -> Result<(), Failure> {
    let asked = selected.iter().filter(|selected| !selected.chosen.is_empty());
    asked
        .map(|selected| &selected.manifest)
        .try_for_each(|manifest| commit.holds_manifest(&manifest.name, manifest.sha256))
        .map_err(refused(path))
}

/// And an operator that is not.
pub fn hold(
    path: &Path,
    commit: &Commit,
    selected: &[Selected],
    operator: Option<&OperatorRecord>,
) -> Result<(), Failure> {
    hold_manifests(path, commit, selected)?;
    commit.holds_operator(operator.map(committed_operator).as_ref()).map_err(refused(path))
}

/// Binds a nonce to the commitment that was given, and says what is known of their order.
pub fn bind(args: &AfterArgs, nonce: Option<&str>) -> Result<Option<(After, Commit)>, Failure> {
    let (Some(path), Some(source), Some(nonce)) = (&args.after, &args.nonce_source, nonce) else {
        return Ok(None);
    };
    let (commit, sha256) = read(path)?;
    let (after, order) = commit.nonce(sha256, nonce, source).map_err(refused(path))?;
    note(&format!("note: {}", words::visible(&order)));
    Ok(Some((after, commit)))
}
