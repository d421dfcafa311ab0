//! Records as files: written case by case in time linear in the cases, by one writer at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use record::{CaseRecord, Record, RecordError, text};

use crate::failure::Failure;
use crate::files::{self, is_stream};

/// Writes a whole record at once.
pub fn save(record: &Record, path: &Path) -> Result<(), RecordError> {
    files::replace(path, text::whole(record).as_bytes()).map_err(|error| io("write", path, error))
}

fn io(verb: &'static str, path: &Path, error: std::io::Error) -> RecordError {
    RecordError::Io { verb, path: path.display().to_string(), error }
}

/// What to do with a record that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Go on after it.
    Resume,
    /// Begin anew in its place.
    Overwrite,
    /// Leave it, and refuse.
    Refuse,
}

/// A record's file while a run writes it. What is behind the last whole case is written anew with each, in one write; a
/// reader of a file that was cut off in the middle of it finds the cases before.
pub struct RecordFile {
    path: PathBuf,
    /// `None` for a stream, which gets the record once, when it is complete.
    file: Option<File>,
    /// Where the list of cases ends.
    end_of_cases: u64,
    /// Cases in the file.
    cases: usize,
}

impl RecordFile {
    /// Opens a place for a record before any work is done: a place that cannot be written to, a record that would be
    /// lost and a second writer are found now. With [`Existing::Resume`] the bytes that are there are returned.
    ///
    /// A new file is there whole, with `begun` in it: a process that is killed right then leaves a record too.
    pub fn open(
        path: &Path,
        existing: Existing,
        begun: &Record,
    ) -> Result<(RecordFile, Option<Vec<u8>>), Failure> {
        let closed = |file| RecordFile { path: path.to_owned(), file, end_of_cases: 0, cases: 0 };
        if path == Path::new("-") || is_stream(path) {
            return Ok((closed(None), None));
        }
        files::refuse_foreign_link(path)
            .map_err(|error| Failure::from(io("write", path, error)))?;
        // Where no new file can be made beside it, it is made in its place below.
        let is_new = !path.exists() && files::create(path, text::whole(begun).as_bytes()).is_ok();
        let was_there = path.exists() && !is_new;
        let failed = |verb, error| Failure::from(io(verb, path, error));
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(|error| failed("write", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::bad_input(format!(
                    "{} is being written by another run\nhint: wait for it, or give --json another place",
                    path.display()
                )));
            }
            // File systems without locks: nothing can be said of other writers.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| failed("read", error))?;
        match existing {
            Existing::Refuse if was_there && !bytes.is_empty() => Err(Failure::bad_input(format!(
                "{} exists, and would be lost\nhint: --resume goes on with a record; --force writes over the file",
                path.display()
            ))),
            Existing::Resume if was_there && !bytes.is_empty() => {
                Ok((closed(Some(file)), Some(bytes)))
            }
            _ => Ok((closed(Some(file)), None)),
        }
    }

    /// Writes the record as it is now.
    pub fn write(&mut self, record: &Record) -> Result<(), RecordError> {
        let mut body = text::head(record);
        for (at, case) in record.cases.iter().enumerate() {
            body.push_str(&text::case(case, at == 0));
        }
        self.end_of_cases = body.len() as u64;
        self.cases = record.cases.len();
        body.push_str(&text::tail(record));
        self.put(0, body.as_bytes())
    }

    /// Adds the record's last case.
    pub fn push(&mut self, case: &CaseRecord, record: &Record) -> Result<(), RecordError> {
        let line = text::case(case, self.cases == 0);
        let at = self.end_of_cases;
        self.end_of_cases += line.len() as u64;
        self.cases += 1;
        self.put(at, (line + &text::tail(record)).as_bytes())
    }

    /// Writes what stands behind the cases: which is at work, and at the end what follows from them all.
    pub fn note(&mut self, record: &Record) -> Result<(), RecordError> {
        self.put(self.end_of_cases, text::tail(record).as_bytes())
    }

    /// The end: a stream is written to now.
    pub fn finish(&mut self, record: &Record) -> Result<(), RecordError> {
        if self.file.is_some() {
            self.write(record)?;
            let synced = self.file.as_ref().map_or(Ok(()), File::sync_all);
            return synced.map_err(|error| io("write", &self.path, error));
        }
        let text = text::whole(record);
        if self.path == Path::new("-") {
            let mut out = std::io::stdout().lock();
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            return written.map_err(|error| io("write", &self.path, error));
        }
        files::replace(&self.path, text.as_bytes()).map_err(|error| io("write", &self.path, error))
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), RecordError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file
            .seek(SeekFrom::Start(at))
            .and_then(|_| file.write_all(bytes))
            .and_then(|()| file.set_len(at + bytes.len() as u64));
        written.map_err(|error| io("write", &self.path, error))
    }
}
