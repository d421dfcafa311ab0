//! What a fetch leaves in the cache: a safetensors file with the one tensor, which says in its
//! header where the bytes come from.
//!
//! ```text
//! <cache>/weights/models--ORG--NAME/<revision>/<file>/<tensor>.safetensors
//! ```
//!
//! A download in progress is the same file under another name, `.part`, with zeros for the
//! tensor's digest. So it carries all that is needed to go on with it: other bytes of another
//! state of the file have another header. Whoever writes it holds its lock. Where there are no locks, as on some network
//! file systems, each process has a part of its own, which ends with it: a lock file in place of the lock could outlive
//! its holder, and from another machine nobody can tell.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;

use super::fault::Fault;
use super::{Place, State};
use contract::digest::Digest;

/// Of the header's layout and of what its texts mean.
const FORMAT: &str = "sparse-verify-extract/1";
/// Names of the header's texts that [`matches()`] and the resolver look at.
pub(in super::super) const TENSOR_SHA256: &str = "tensor_sha256";
pub(in super::super) const FILE_SHA256: &str = "file_sha256";
/// Digits of a digest that is not known yet.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// How often another process' download is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Bytes hashed at once.
const CHUNK_LEN: usize = 1 << 20;

/// The place of a tensor's extract.
pub(in super::super) fn path(folder: &Path, place: &Place) -> PathBuf {
    let model = hf_hub::Repo::model(place.repo.clone()).folder_name();
    let folder = folder.join(model).join(&place.revision).join(&place.file);
    folder.join(format!("{}.safetensors", file_name(&place.tensor)))
}

/// A tensor's name as a file's: as it is if that is safe, else shortened and told apart by digest.
fn file_name(tensor: &str) -> String {
    const LEN_MAX: usize = 120;
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_short = (1..=LEN_MAX).contains(&tensor.len());
    if is_short && tensor.chars().all(safe) && !tensor.starts_with('.') {
        return tensor.to_owned();
    }
    let start: String = tensor.chars().filter(|&c| safe(c)).take(40).collect();
    let digest = Digest::of(tensor.as_bytes()).to_string();
    format!("_{start}-{}", &digest[..32])
}

/// What an extract is of.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub place: Place,
    /// The file that has the tensor: the place's, or a shard of it.
    pub shard: String,
    pub dtype: safetensors::Dtype,
    pub shape: Vec<usize>,
    /// Where the tensor's bytes are in that file.
    pub start: u64,
    pub len: u64,
    pub state: State,
}

impl Subject {
    /// The bytes before the tensor's. Their length does not depend on the digest.
    fn header(&self, digest: Option<Digest>) -> Vec<u8> {
        let text = |digest: Option<Digest>| digest.map_or(UNKNOWN.to_owned(), |d| d.to_string());
        let metadata = BTreeMap::from([
            ("format", FORMAT.to_owned()),
            ("repo", self.place.repo.clone()),
            ("revision", self.place.revision.clone()),
            ("file", self.place.file.clone()),
            ("shard", self.shard.clone()),
            ("tensor", self.place.tensor.clone()),
            ("bytes", format!("{}+{}/{}", self.start, self.len, self.state.file_len)),
            ("etag", self.state.etag.clone()),
            (
                FILE_SHA256,
                self.state.file_sha256.map_or(String::new(), |digest| digest.to_string()),
            ),
            (TENSOR_SHA256, text(digest)),
        ]);
        let dtype = self.dtype.to_string();
        let mut object = serde_json::Map::new();
        object.insert("__metadata__".into(), serde_json::json!(metadata));
        object.insert(
            self.place.tensor.clone(),
            serde_json::json!({"dtype": dtype, "shape": self.shape, "data_offsets": [0, self.len]}),
        );
        let mut json = serde_json::Value::Object(object).to_string().into_bytes();
        // The tensor begins where numbers may.
        json.resize(json.len().next_multiple_of(8), b' ');
        [&(json.len() as u64).to_le_bytes()[..], &json].concat()
    }
}

/// Whether texts of a file's header say that it is the extract of a place.
pub(in super::super) fn matches<'a>(place: &Place, text: impl Fn(&str) -> Option<&'a str>) -> bool {
    [
        ("format", FORMAT),
        ("repo", &place.repo),
        ("revision", &place.revision),
        ("file", &place.file),
        ("tensor", &place.tensor),
    ]
    .iter()
    .all(|&(key, value)| text(key) == Some(value))
}

/// Takes a file's lock unless another process has it.
type TryLock = fn(&File) -> Result<(), TryLockError>;

/// A download in progress. Locked as long as it lives, or this process' own.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    /// Removes the file where it is this process' own.
    own: Option<TempPath>,
    target: PathBuf,
    subject: Subject,
    header_len: u64,
    /// Bytes of the tensor that are there.
    have: u64,
}

impl Part {
    /// Takes up a download, or begins one; `None` if another process has completed it meanwhile.
    ///
    /// Waits for another process that is at it, unless that gets nothing for `patience`.
    pub fn open(
        target: &Path,
        subject: &Subject,
        patience: Duration,
        bar: &ProgressBar,
        try_lock: TryLock,
    ) -> Result<Option<Part>, Fault> {
        let mut path = target.with_extension("safetensors.part");
        let mut own = None;
        let header = subject.header(None);
        let fault = |path: &Path, action: &'static str| {
            let path = path.to_owned();
            move |error| Fault::disk(&path, action, &error, subject.len)
        };
        let folder = target.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).map_err(fault(folder, "make the folder"))?;
        let file = loop {
            if target.exists() {
                return Ok(None);
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(fault(&path, "open the download"))?;
            if !lock(&file, &path, subject, patience, bar, try_lock)? {
                // What was only made to be locked.
                if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
                    let _ = fs::remove_file(&path);
                }
                let made = tempfile::Builder::new()
                    .prefix("own-")
                    .suffix(".part")
                    .permissions(fs::Permissions::from_mode(0o666))
                    .tempfile_in(folder)
                    .map_err(fault(folder, "make a download"))?;
                let (file, made) = made.into_parts();
                path = made.to_path_buf();
                own = Some(made);
                break file;
            }
            if target.exists() {
                return Ok(None);
            }
            // Whoever held the lock may have moved or removed what we opened.
            let ours = file.metadata().map_err(fault(&path, "look at the download"))?;
            let there = fs::metadata(&path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                break file;
            }
        };
        let header_len = header.len() as u64;
        let len = file.metadata().map_err(fault(&path, "look at the download"))?.len();
        let mut found = vec![0; header.len()];
        let goes_on = len >= header_len
            && file.read_exact_at(&mut found, 0).is_ok()
            && found == header
            && len - header_len <= subject.len;
        if !goes_on {
            if len > 0 {
                file.set_len(0).map_err(fault(&path, "cut the download"))?;
            }
            file.write_all_at(&header, 0).map_err(fault(&path, "write"))?;
        }
        let have = if goes_on { len - header_len } else { 0 };
        let target = target.to_owned();
        Ok(Some(Part { file, path, own, target, subject: subject.clone(), header_len, have }))
    }

    /// Bytes of the tensor that are there.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Whether there is no lock, and other processes may be at the same.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file
            .write_all_at(bytes, self.header_len + self.have)
            .map_err(|error| self.fault("write", &error))?;
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what is there: it is of another state of the file.
    pub fn discard(self) -> Result<(), Fault> {
        fs::remove_file(&self.path).map_err(|error| self.fault("remove the download", &error))
    }

    /// Moves the complete download to its place; `digest` is the tensor's.
    pub fn finish(self, digest: Digest) -> Result<(), Fault> {
        assert_eq!(self.have, self.subject.len, "bytes of a complete download");
        let header = self.subject.header(Some(digest));
        let publish = || {
            self.file.write_all_at(&header, 0)?;
            self.file.sync_all()?;
            fs::rename(&self.path, &self.target)
        };
        publish().map_err(|error| self.fault("complete the download", &error))
    }

    /// SHA-256 of the bytes that are there.
    pub fn digest(&self) -> Result<Digest, Fault> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK_LEN];
        let mut at = 0;
        while at < self.have {
            let len = (self.have - at).min(CHUNK_LEN as u64) as usize;
            self.file
                .read_exact_at(&mut buffer[..len], self.header_len + at)
                .map_err(|error| self.fault("read the download", &error))?;
            hasher.update(&buffer[..len]);
            at += len as u64;
        }
        Ok(Digest::finish(hasher))
    }

    fn fault(&self, action: &str, error: &io::Error) -> Fault {
        Fault::disk(&self.path, action, error, self.subject.len)
    }
}

/// Waits for the lock as long as its holder gets on; whether there are locks at all.
fn lock(
    file: &File,
    path: &Path,
    subject: &Subject,
    patience: Duration,
    bar: &ProgressBar,
    try_lock: TryLock,
) -> Result<bool, Fault> {
    let (mut since, mut len) = (Instant::now(), 0);
    loop {
        match try_lock(file) {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if has_no_locks(&error) => return Ok(false),
            Err(TryLockError::Error(error)) => {
                return Err(Fault::disk(path, "lock the download", &error, subject.len));
            }
        }
        let now = file.metadata().map_or(len, |metadata| metadata.len());
        if now != len {
            (since, len) = (Instant::now(), now);
        }
        if since.elapsed() > patience {
            return Err(Fault::environment(
                format!(
                    "{}: another process has the download and got nothing for {} s",
                    path.display(),
                    patience.as_secs()
                ),
                "end that process, remove the file",
            ));
        }
        bar.set_position(len.min(subject.len));
        std::thread::sleep(POLL);
    }
}

/// Whether a file system knows no locks, or its server keeps none.
fn has_no_locks(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    error.kind() == io::ErrorKind::Unsupported
        || [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS]
            .iter()
            .any(|known| number == Some(known.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::header::parse_header;

    fn subject(tensor: &str) -> Subject {
        Subject {
            place: Place {
                repo: "org/name".into(),
                revision: "0123456789abcdef0123456789abcdef01234567".into(),
                file: "sub/model.safetensors.index.json".into(),
                tensor: tensor.into(),
            },
            shard: "sub/model-2.safetensors".into(),
            dtype: safetensors::Dtype::BF16,
            shape: vec![3, 5],
            start: 1000,
            len: 30,
            state: State { file_len: 5000, etag: "e".into(), file_sha256: None },
        }
    }

    #[test]
    fn names_of_tensors_become_names_of_files() {
        for plain in ["w", "model.layers.0.mlp.up_proj.weight", "a-b_c"] {
            assert_eq!(file_name(plain), plain);
        }
        let long = "x".repeat(5000);
        let odd = ["", ".", "..", "../../etc/passwd", ".hidden", "a/b", "a\\b", "ä", "a\0", &long];
        let mut names: Vec<String> = odd.iter().map(|odd| file_name(odd)).collect();
        for name in &names {
            let len = name.len();
            assert!(name.starts_with('_') && !name.contains('/') && len < 100, "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), odd.len(), "each its own");
    }

    #[test]
    fn headers_are_those_of_safetensors_files_and_say_what_is_in_them() {
        for tensor in ["w", "a \"b\" \\ \u{1}", "ü", "__metadata_"] {
            let subject = subject(tensor);
            let digest = Digest::of(b"x");
            let (before, after) = (subject.header(None), subject.header(Some(digest)));
            assert_eq!(before.len(), after.len());
            assert_eq!(before.len() % 8, 0);
            let header = parse_header(&after, after.len() as u64 + 30).expect("well-formed");
            assert!(header.entry(tensor).is_ok_and(|entry| {
                entry.dtype == subject.dtype && entry.shape == subject.shape
            }));
            assert!(matches(&subject.place, |key| header.metadata(key)));
            assert_eq!(header.metadata(TENSOR_SHA256), Some(&*digest.to_string()));
            let other = Place { tensor: "other".into(), ..subject.place.clone() };
            assert!(!matches(&other, |key| header.metadata(key)));
        }
    }

    #[test]
    fn a_part_goes_on_only_with_the_same_state_of_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("a/w.safetensors");
        let bar = ProgressBar::hidden();
        let open = |subject: &Subject| {
            Part::open(&target, subject, Duration::ZERO, &bar, File::try_lock)
                .unwrap_or_else(|f| panic!("{f:?}"))
        };
        let first = subject("w");
        let mut part = open(&first).expect("not complete");
        part.append(&[1; 10]).expect("writable");
        drop(part);
        let mut part = open(&first).expect("not complete");
        assert_eq!(part.have(), 10);
        part.append(&[2; 20]).expect("writable");
        // Held by one at a time.
        let error = Part::open(&target, &first, Duration::ZERO, &bar, File::try_lock)
            .err()
            .expect("locked");
        assert!(error.message.contains("another process"), "{error:?}");
        let digest = part.digest().expect("readable");
        part.finish(digest).expect("writable");
        assert!(open(&first).is_none(), "complete");
        let bytes = fs::read(&target).expect("written");
        let header = parse_header(&bytes, bytes.len() as u64).expect("well-formed");
        let data = [[1; 10].as_slice(), &[2; 20]].concat();
        assert_eq!(header.metadata(TENSOR_SHA256), Some(&*Digest::of(&data).to_string()));
        assert_eq!(bytes[bytes.len() - 30..], data);
        assert_eq!(fs::read_dir(folder.path().join("a")).expect("a folder").count(), 1);
        // Another state.
        fs::remove_file(&target).expect("writable");
        let mut part = open(&first).expect("not complete");
        part.append(&[1; 10]).expect("writable");
        drop(part);
        let mut changed = first;
        changed.state.etag = "f".into();
        assert_eq!(open(&changed).expect("not complete").have(), 0);
    }

    #[test]
    fn without_locks_each_has_a_part_of_its_own_and_all_end_at_the_same_file() {
        let no_locks: [TryLock; 3] = [
            |_| Err(TryLockError::Error(Errno::NOLCK.into())),
            |_| Err(TryLockError::Error(Errno::OPNOTSUPP.into())),
            |_| Err(TryLockError::Error(Errno::NOSYS.into())),
        ];
        let bar = ProgressBar::hidden();
        for try_lock in no_locks {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let target = folder.path().join("w.safetensors");
            let subject = subject("w");
            let open = || {
                let part = Part::open(&target, &subject, Duration::ZERO, &bar, try_lock);
                part.unwrap_or_else(|f| panic!("{f:?}")).expect("not complete")
            };
            let (mut first, mut second, broken) = (open(), open(), open());
            assert!(first.is_own());
            drop(broken);
            for part in [&mut first, &mut second] {
                part.append(&[3; 30]).expect("writable");
            }
            for part in [first, second] {
                let digest = part.digest().expect("readable");
                part.finish(digest).expect("writable");
                let bytes = fs::read(&target).expect("written");
                assert!(parse_header(&bytes, bytes.len() as u64).is_ok());
                assert_eq!(bytes[bytes.len() - 30..], [3; 30]);
            }
            assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        }
        // Another error of the file system is no lack of locks.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let refused: TryLock = |_| Err(TryLockError::Error(Errno::IO.into()));
        let path = folder.path().join("w.safetensors");
        let part = Part::open(&path, &subject("w"), Duration::ZERO, &bar, refused);
        assert!(part.err().expect("an error").message.contains("failed to lock"));
    }
}
