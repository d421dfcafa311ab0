//! Records as files.

use std::path::Path;

use record::{Record, RecordError};

/// Replaces the file at once: a reader, or a run that is killed, finds the old or the new one.
pub fn save(record: &Record, path: &Path) -> Result<(), RecordError> {
    let mut text = serde_json::to_vec_pretty(record)
        .unwrap_or_else(|e| unreachable!("records hold no maps with keys other than strings: {e}"));
    text.push(b'\n');
    crate::files::replace(path, &text).map_err(|error| RecordError::Io {
        verb: "write",
        path: path.display().to_string(),
        error,
    })
}
