//! expected-hashes/NAME.panels: the digests of all row panels of the committed outputs, which the roots in NAME.yaml are of.
//!
//! The file is a line, [`HEAD`], and then for each case, in ascending order of ids as bytes: the length of the id in bytes
//! (two bytes, little-endian), the id in UTF-8, and 64 digests of 32 bytes. It is written by `verify pin`, and what is in it
//! needs no trust: whoever reads a case's digests compares them with the root.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::carried;
use crate::files;
use contract::digest::{Digest, PANELS};

use super::ExpectedError;

/// The first line.
pub const HEAD: &[u8] = b"sparse-verify panels 1\n";
/// Largest file that is read, in bytes: some 30,000 cases.
const BYTES_MAX: u64 = 64 << 20;
/// Bytes of a case's digests.
const DIGESTS: usize = 32 * PANELS;

/// Digests of the row panels of outputs by case id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panels(pub BTreeMap<String, Vec<Digest>>);

/// The file beside the one with the digests of a manifest.
pub fn path_beside(expected: &Path) -> PathBuf {
    expected.with_extension("panels")
}

impl Panels {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        for (id, panels) in &self.0 {
            // A manifest's ids are shorter: its size has a limit.
            let len = u16::try_from(id.len()).unwrap_or(u16::MAX);
            bytes.extend(len.to_le_bytes());
            bytes.extend(id.as_bytes());
            panels.iter().for_each(|panel| bytes.extend(panel.0));
        }
        bytes
    }

    /// From a file's bytes; an error says where it ends to make sense.
    pub fn parse(bytes: &[u8]) -> Result<Panels, String> {
        let Some(mut rest) = bytes.strip_prefix(HEAD) else {
            let head = String::from_utf8_lossy(HEAD);
            return Err(format!("byte 0: expected the line `{}`", head.trim_end()));
        };
        let mut panels = Panels::default();
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let cut_off = |what: &str| format!("byte {at}: the file ends within {what}");
            let (len, after) = rest.split_first_chunk().ok_or_else(|| cut_off("a length"))?;
            let len = usize::from(u16::from_le_bytes(*len));
            let (id, after) = after.split_at_checked(len).ok_or_else(|| cut_off("an id"))?;
            let id = std::str::from_utf8(id)
                .map_err(|_| format!("byte {at}: expected an id in UTF-8"))?;
            let (digests, after) =
                after.split_at_checked(DIGESTS).ok_or_else(|| cut_off("the digests of a case"))?;
            if panels.0.last_key_value().is_some_and(|(last, _)| last.as_str() >= id) {
                return Err(format!("byte {at}: expected ids in ascending order, each once"));
            }
            let (digests, _) = digests.as_chunks::<32>();
            panels.0.insert(id.to_owned(), digests.iter().copied().map(Digest).collect());
            rest = after;
        }
        Ok(panels)
    }

    /// Reads the file beside a manifest's digests; one that is not there has no cases.
    pub fn load(expected: &Path) -> Result<Panels, ExpectedError> {
        let path = path_beside(expected);
        let io = |error: io::Error| ExpectedError::Io {
            verb: "read",
            path: path.display().to_string(),
            error,
        };
        let bytes = match carried::bytes(&path) {
            Some(bytes) => bytes.to_vec(),
            None if carried::is_carried(&path) => return Ok(Panels::default()),
            None => match files::bytes(&path, BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Panels::default());
                }
                Err(error) => return Err(io(error)),
            },
        };
        Panels::parse(&bytes).map_err(|message| ExpectedError::Malformed {
            path: path.display().to_string(),
            message,
        })
    }

    /// Replaces the file beside a manifest's digests at once, or leaves it as it was.
    pub fn save(&self, expected: &Path) -> Result<(), ExpectedError> {
        let path = path_beside(expected);
        let io =
            |error| ExpectedError::Io { verb: "write", path: path.display().to_string(), error };
        // The first that is pinned makes the folder.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io)?;
        files::replace(&path, &self.to_bytes()).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Panels {
        let of = |seed: u8| (0..PANELS).map(|p| Digest([seed.wrapping_add(p as u8); 32])).collect();
        Panels(BTreeMap::from([("a/b".to_owned(), of(1)), ("é".to_owned(), of(200))]))
    }

    #[test]
    fn bytes_come_back() {
        let bytes = some().to_bytes();
        assert_eq!(bytes.len(), HEAD.len() + 2 * (2 + DIGESTS) + 3 + 2);
        assert_eq!(Panels::parse(&bytes), Ok(some()));
        assert_eq!(Panels::parse(HEAD), Ok(Panels::default()));
    }

    #[test]
    fn what_is_cut_off_or_out_of_order_is_refused_with_its_place() {
        let bytes = some().to_bytes();
        for len in 0..bytes.len() {
            let whole = len == HEAD.len() || len == HEAD.len() + 2 + 3 + DIGESTS;
            let parsed = Panels::parse(&bytes[..len]);
            assert_eq!(parsed.is_ok(), whole, "{len}: {parsed:?}");
        }
        let at = HEAD.len();
        assert_eq!(
            Panels::parse(&bytes[..at + 1]),
            Err(format!("byte {at}: the file ends within a length"))
        );
        let mut twice = bytes.clone();
        twice.extend(&bytes[at..]);
        let error = Panels::parse(&twice).unwrap_err();
        assert!(error.ends_with("expected ids in ascending order, each once"), "{error}");
        let mut other = bytes;
        other[at + 2] = 0xff;
        assert_eq!(Panels::parse(&other), Err(format!("byte {at}: expected an id in UTF-8")));
        assert!(Panels::parse(b"sparse-verify panels 2\n").is_err());
    }
}
