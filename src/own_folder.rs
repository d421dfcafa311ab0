//! Folders of a process in the system's folder for temporary files: gone with it, or, where it was killed, with the next
//! that makes one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use tempfile::TempDir;

/// How their names begin.
const PREFIX: &str = "sparse-verify-";
/// The file in each that its process has locked.
const LOCK: &str = "lock";

/// A folder that is removed when this is dropped.
pub struct OwnFolder {
    folder: TempDir,
    /// Held as long as the process lives.
    _lock: File,
}

impl OwnFolder {
    /// A new one. Those of this user whose processes are gone are removed.
    pub fn new() -> io::Result<OwnFolder> {
        OwnFolder::in_folder(&std::env::temp_dir())
    }

    fn in_folder(place: &Path) -> io::Result<OwnFolder> {
        sweep(place);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
        let mut new = OpenOptions::new();
        new.write(true).create_new(true).mode(0o600);
        let lock = new.open(folder.path().join(LOCK))?;
        lock.try_lock()?;
        Ok(OwnFolder { folder, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders that nobody holds. A folder without a lock is left: its process may be about to lock it.
fn sweep(place: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user);
        if !is_ours {
            continue;
        }
        let path = entry.path();
        // What is no plain file is neither followed nor waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let lock = OpenOptions::new().write(true).custom_flags(flags).open(path.join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_whose_process_is_gone_is_removed_by_the_next() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let left = OwnFolder::in_folder(place.path()).unwrap();
        let held = OwnFolder::in_folder(place.path()).unwrap();
        // As if it had been killed.
        let OwnFolder { folder, _lock } = left;
        let gone = folder.keep();
        fs::write(gone.join("more"), "").unwrap();
        drop(_lock);
        fs::create_dir(path("sparse-verify-new")).unwrap();
        fs::create_dir(path("other")).unwrap();
        fs::write(path("other").join(LOCK), "").unwrap();
        let next = OwnFolder::in_folder(place.path()).unwrap();
        assert!(!gone.exists());
        assert!(
            [held.path(), next.path(), &path("sparse-verify-new"), &path("other")]
                .iter()
                .all(|path| path.exists())
        );
        let was = next.path().to_owned();
        drop(next);
        assert!(!was.exists());
    }
}
