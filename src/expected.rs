//! expected-hashes/: the committed digests, one file a manifest. Read by everyone, written by
//! `verify pin` alone, in one stable form that reads well in a diff.

pub mod panels;

use record::expected::Expected;
use record::expected::FORMAT;
use std::io;
use std::path::{Path, PathBuf};

use crate::carried;
use crate::files;
use record::manifest::Manifest;

/// Largest file that is read, in bytes. A case takes about 2.4 KB, and a manifest has 25,000 at most for its own size.
const BYTES_MAX: u64 = 64 << 20;

/// Why committed digests could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ExpectedError {
    #[error("{path}: {message}\nhint: only `verify pin` writes this file")]
    Malformed { path: String, message: String },
    #[error("failed to {verb} {path}: {error}")]
    Io { verb: &'static str, path: String, error: std::io::Error },
}

/// Where a manifest's digests are committed, by one rule: `expected-hashes/<name>.yaml` in the folder that holds the
/// manifest, but of a manifest in a folder named `manifests`, in the folder that holds that one. A folder
/// `manifests/expected-hashes` would shadow the reviewed one, and is refused.
pub fn path_for(manifest: &Manifest) -> Result<PathBuf, ExpectedError> {
    const FOLDER: &str = "expected-hashes";
    let folder = manifest.path.parent().unwrap_or(Path::new(""));
    let file = format!("{}.yaml", manifest.name);
    // The folder's own name, also where it is called `.` or by a link.
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let real = here.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let beside = folder.join(FOLDER);
    let is_manifests = real.file_name().is_some_and(|name| name == "manifests");
    // A project may itself be called so.
    if !is_manifests || real.join(".git").exists() {
        return Ok(beside.join(file));
    }
    if beside.is_dir() {
        return Err(ExpectedError::Malformed {
            path: beside.display().to_string(),
            message: format!(
                "this folder is not looked at: the digests of manifests/ are in {FOLDER}/ beside it"
            ),
        });
    }
    // `manifests/x.yaml` has the parent `manifests`, whose own parent is the empty path.
    let above = match folder.file_name() {
        Some(_) => folder.parent().unwrap_or(Path::new("")).to_owned(),
        None => folder.join(".."),
    };
    Ok(above.join(FOLDER).join(file))
}

/// Reads a file; one that is not there has no cases.
pub fn load(path: &Path, manifest: &str) -> Result<Expected, ExpectedError> {
    let text = match carried::bytes(path) {
        Some(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        None if carried::is_carried(path) => Err(io::ErrorKind::NotFound.into()),
        None => files::text(path, BYTES_MAX),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Expected::empty(manifest));
        }
        Err(error) => {
            let path = path.display().to_string();
            return Err(ExpectedError::Io { verb: "read", path, error });
        }
    };
    let malformed =
        |message: String| ExpectedError::Malformed { path: path.display().to_string(), message };
    let expected: Expected =
        serde_saphyr::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    if expected.format != FORMAT {
        return Err(malformed(format!(
            "format {} is not known: expected {FORMAT}",
            expected.format
        )));
    }
    if expected.manifest != manifest {
        return Err(malformed(format!(
            "the digests are those of manifest `{}`, not of `{manifest}`",
            expected.manifest
        )));
    }
    Ok(expected)
}

/// Replaces the file at once, or leaves it as it was.
pub fn save(expected: &Expected, path: &Path) -> Result<(), ExpectedError> {
    let io = |error| ExpectedError::Io { verb: "write", path: path.display().to_string(), error };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    files::replace(path, expected.to_text().as_bytes()).map_err(io)
}
