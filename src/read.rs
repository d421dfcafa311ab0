//! Small text files of others, read without being kept waiting and without an end.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// The text of a regular file of at most `bytes_max`. A pipe would wait for its writer, and a device need not end.
pub fn text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let refused = |why: String| io::Error::new(ErrorKind::InvalidData, why);
    if !std::fs::metadata(path)?.is_file() {
        return Err(refused("not a regular file".into()));
    }
    let mut bytes = Vec::new();
    // The limit holds for what grows meanwhile, too.
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(refused(format!("larger than {} MiB", bytes_max >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| refused(error.to_string()))
}
