//! Records from bytes: parsed, or recovered where the writer was cut off, then derived anew.

use std::path::Path;

use serde_json::Value;

use crate::derive::{self, Contradiction};
use crate::run::{CaseRecord, FORMAT, OLD_FORMATS, Record};
use crate::text::CASES;

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be read or written.
    #[error("failed to {verb} the record {path}: {error}")]
    Io {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no record.
    #[error("{path} is not a record: {message}")]
    Malformed {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },
    /// The record says something that its own observations do not give.
    #[error("{path} contradicts itself: {contradiction}")]
    Contradiction {
        /// The file.
        path: String,
        /// What does not agree.
        contradiction: Box<Contradiction>,
    },
}

/// Reads a record and derives everything that follows from its observations anew; one that says otherwise is refused.
pub fn load(path: &Path) -> Result<Record, RecordError> {
    let name = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes, &name),
        Err(error) => Err(RecordError::Io { verb: "read", path: name, error }),
    }
}

/// The same of a file's bytes; `name` stands in messages.
pub fn parse(bytes: &[u8], name: &str) -> Result<Record, RecordError> {
    let record =
        read(bytes).map_err(|message| RecordError::Malformed { path: name.to_owned(), message })?;
    derive::check(record).map_err(|contradiction| RecordError::Contradiction {
        path: name.to_owned(),
        contradiction: Box::new(contradiction),
    })
}

/// What the bytes say, believed as it stands.
fn read(bytes: &[u8]) -> Result<Record, String> {
    // The version first, so that a newer record is not called malformed.
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return recover(bytes).ok_or_else(|| error.to_string()),
    };
    match value.get("format").and_then(Value::as_str) {
        Some(known) if known == FORMAT || OLD_FORMATS.contains(&known) => {}
        Some(other) => {
            let hint = match other.strip_suffix("-draft") {
                Some(FORMAT) => draft_hint(bytes, other),
                _ => String::new(),
            };
            return Err(format!("its format is `{other}`, expected `{FORMAT}`{hint}"));
        }
        None => return Err("it has no `format`".into()),
    }
    // From the bytes again, which know of places and of fields that stand twice.
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// How a record of the draft is carried over.
fn draft_hint(bytes: &[u8], draft: &str) -> String {
    let at = bytes.windows(draft.len()).position(|part| part == draft.as_bytes());
    let line = 1 + bytes[..at.unwrap_or(0)].iter().filter(|byte| **byte == b'\n').count();
    format!(
        "\nhint: nothing else differs from its draft: write `\"format\":\"{FORMAT}\"` in line {line}; its digest is then \
         another, and what was signed is to be signed anew"
    )
}

/// A record whose writer was killed in the middle of a line: its head, and the cases that are whole.
fn recover(bytes: &[u8]) -> Option<Record> {
    let text = String::from_utf8_lossy(bytes);
    let (head, rest) = text.split_once(&format!("\n{CASES}\n"))?;
    if !head.starts_with(&format!("{{\"format\":\"{FORMAT}\"")) {
        return None;
    }
    let mut record: Record =
        serde_json::from_str(&format!("{head}\n\"devices\":[],\"cases\":[]}}")).ok()?;
    for line in rest.lines() {
        match serde_json::from_str::<CaseRecord>(line.trim_end_matches(',')) {
            Ok(case) => record.cases.push(case),
            Err(_) => break,
        }
    }
    Some(record)
}
