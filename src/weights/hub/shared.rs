//! Whole files in Hugging Face's cache, where its own clients find them, and find them whole.
//!
//! ```text
//! <cache>/models--ORG--NAME/blobs/<ETag>
//! <cache>/models--ORG--NAME/snapshots/<revision>/<file> -> the blob
//! ```
//!
//! A manifest names a commit, and so `refs/`, which says which commit a branch is at, is neither read nor written. A file
//! gets its name when it is complete; until then it is one of its own, as huggingface_hub's are, so that nobody needs a lock.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::fault::Fault;
use super::{Place, State};
use contract::digest::Digest;

/// The folder of a model in the cache.
fn model(cache: &Path, repo: &str) -> PathBuf {
    cache.join(hf_hub::Repo::model(repo.to_owned()).folder_name())
}

/// The place of a file of a model: where huggingface_hub puts it.
pub(in super::super) fn path(cache: &Path, repo: &str, revision: &str, file: &str) -> PathBuf {
    model(cache, repo).join("snapshots").join(revision).join(file)
}

/// A file that is being fetched.
pub(super) struct Incoming {
    file: NamedTempFile,
    hasher: Sha256,
    len: u64,
}

impl Incoming {
    /// Begins a file in the cache; the error is the cache's.
    pub fn create(cache: &Path, place: &Place) -> io::Result<Incoming> {
        let blobs = model(cache, &place.repo).join("blobs");
        fs::create_dir_all(&blobs)?;
        let file = tempfile::Builder::new()
            .suffix(".incomplete")
            // As any file of the user's: others may share the cache.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&blobs)?;
        Ok(Incoming { file, hasher: Sha256::new(), len: 0 })
    }

    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Puts the complete file to its place, in place of whatever is there, and returns that.
    pub fn finish(
        self,
        cache: &Path,
        place: &Place,
        file: &str,
        state: &State,
    ) -> Result<PathBuf, Fault> {
        let digest = Digest::finish(self.hasher);
        if let Some(stated) = state.file_sha256.filter(|stated| *stated != digest) {
            return Err(Fault::not_as_stated(file, stated, digest));
        }
        let target = path(cache, &place.repo, &place.revision, file);
        let fault = |path: &Path, action: &str, error: &io::Error| {
            Fault::shared_disk(path, action, error, self.len)
        };
        let folder = target.parent().unwrap_or(cache);
        fs::create_dir_all(folder).map_err(|error| fault(folder, "make the folder", &error))?;
        let incoming = self.file.path().to_owned();
        self.file.as_file().sync_all().map_err(|error| fault(&incoming, "write", &error))?;
        let publish = |file: NamedTempFile, to: &Path| {
            file.persist(to).map(|_: File| ()).map_err(|error| fault(to, "complete", &error.error))
        };
        if !is_plain(&state.etag) {
            // Without a name for the blob the file is at its place itself, as where there are no links.
            publish(self.file, &target)?;
            return Ok(target);
        }
        let blob = model(cache, &place.repo).join("blobs").join(&state.etag);
        publish(self.file, &blob)?;
        link(&blob, &target, file).map_err(|error| fault(&target, "link", &error))?;
        Ok(target)
    }
}

/// Whether an ETag can be a file's name.
fn is_plain(etag: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=200).contains(&etag.len()) && !etag.starts_with('.') && etag.bytes().all(plain)
}

/// Makes `target` lead to a blob, whatever it was. Where there are no links it becomes a copy.
fn link(blob: &Path, target: &Path, file: &str) -> io::Result<()> {
    // From the file's folder up to the model's: past the revision, `snapshots`, and the file's own folders.
    let up = "../".repeat(2 + file.matches('/').count());
    let name = blob.file_name().unwrap_or_default();
    let to = Path::new(&up).join("blobs").join(name);
    let folder = target.parent().unwrap_or(Path::new(""));
    // The link has another name first: a rename puts it in place at once.
    let made = tempfile::Builder::new()
        .suffix(".link")
        .make_in(folder, |path| symlink(&to, path))
        .and_then(|made| made.persist(target).map(|_| ()).map_err(|error| error.error));
    match made {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            fs::copy(blob, target).map(|_| ())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            repo: "org/name".into(),
            revision: "0123456789abcdef0123456789abcdef01234567".into(),
            file: "a/b.json".into(),
            tensor: "w".into(),
        }
    }

    fn put(cache: &Path, bytes: &[u8], etag: &str, sha: Option<Digest>) -> Result<PathBuf, Fault> {
        let mut incoming = Incoming::create(cache, &place()).expect("writable");
        incoming.append(bytes).expect("writable");
        let state = State { file_len: bytes.len() as u64, etag: etag.to_owned(), file_sha256: sha };
        incoming.finish(cache, &place(), "a/b.json", &state)
    }

    #[test]
    fn a_file_lies_where_huggingface_hub_puts_it_and_replaces_what_is_damaged() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        for bytes in [&b"first"[..], b"second"] {
            let path = put(cache.path(), bytes, "abc-1", None).unwrap_or_else(|f| panic!("{f:?}"));
            assert_eq!(fs::read(&path).expect("there"), bytes);
            assert_eq!(fs::read_link(&path).expect("a link"), Path::new("../../../blobs/abc-1"),);
        }
        let blobs = cache.path().join("models--org--name/blobs");
        assert_eq!(fs::read_dir(&blobs).expect("a folder").count(), 1);
        // Names that are none: the file is at its place itself.
        for etag in ["", "..", ".a", "a/b", &"x".repeat(300)] {
            let path = put(cache.path(), b"third", etag, None).unwrap_or_else(|f| panic!("{f:?}"));
            assert!(fs::symlink_metadata(&path).expect("there").is_file(), "{etag}");
            assert_eq!(fs::read(&path).expect("there"), b"third");
        }
        assert_eq!(fs::read_dir(&blobs).expect("a folder").count(), 1);
    }

    #[test]
    fn bytes_that_are_not_those_that_the_hub_states_are_not_kept() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let fault = put(cache.path(), b"x", "e", Some(Digest::of(b"y"))).expect_err("others");
        assert!(fault.message.contains("are not those that the hub states"), "{fault:?}");
        let blobs = cache.path().join("models--org--name/blobs");
        assert_eq!(fs::read_dir(&blobs).expect("a folder").count(), 0);
        assert!(!path(cache.path(), "org/name", &place().revision, "a/b.json").exists());
    }
}
