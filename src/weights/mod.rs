//! Where real weights come from: safetensors files on this machine, and tensors fetched from a hub.
//!
//! A file is found, its header checked, its digest and the tensor's compared with the
//! manifest's; then rows are read as they are needed. No file is ever held whole.

mod checkpoint;
mod file;
mod header;
mod hub;
mod index;
mod resolve;
mod source;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use checkpoint::{Found, Origin};
pub(crate) use file::widen;
pub use file::{Tensor, WeightStats, WeightsFile};
pub use header::{Header, Matrix, parse_header};
pub use hub::{Fault, FaultKind, Hub, Place, Token};
pub use resolve::{Resolver, Source};
pub use source::{Checkpoint, is_moderate};

use contract::digest::Digest;
use contract::words::quote;
use contract::words::{self, visible, visible_lines};

/// Why weights cannot be used.
#[derive(Debug)]
pub enum WeightsError {
    /// Nothing of that name where weights are looked for: the case is not run.
    NotFound { what: String, looked: Vec<PathBuf>, hint: String },
    /// The weights are there and are others than the manifest's: a refutation.
    DigestMismatch {
        path: PathBuf,
        /// The tensor whose digest differs; `None` for the file's own.
        tensor: Option<String>,
        expected: Digest,
        got: Digest,
    },
    /// The file is not what it should be: bad input.
    Malformed { path: PathBuf, message: String, hint: Option<String> },
    /// The hub was asked, and nothing came of it.
    Hub { what: String, fault: Fault },
    /// The environment failed.
    Io { path: PathBuf, action: &'static str, source: io::Error },
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WeightsError::NotFound { what, looked, hint } => {
                write!(f, "{} not found", visible(what))?;
                for path in looked {
                    write!(f, "\n  looked at {}", words::path(path))?;
                }
                write!(f, "\nhint: {}", visible(hint))
            }
            WeightsError::DigestMismatch { path, tensor, expected, got } => {
                write!(f, "{}: ", words::path(path))?;
                match tensor {
                    Some(tensor) => write!(f, "digest mismatch of tensor {}", quote(tensor))?,
                    None => write!(f, "digest mismatch of the file")?,
                }
                write!(f, "\n  expected {expected}\n  got      {got}")
            }
            WeightsError::Malformed { path, message, hint } => {
                write!(f, "{}: {}", words::path(path), visible_lines(message))?;
                hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {}", visible_lines(hint)))
            }
            WeightsError::Hub { what, fault } => {
                write!(f, "{}: {}", visible(what), visible_lines(&fault.message))?;
                fault
                    .hint
                    .as_ref()
                    .map_or(Ok(()), |hint| write!(f, "\nhint: {}", visible_lines(hint)))
            }
            WeightsError::Io { path, action, source } => {
                write!(f, "{}: failed to {action}: {source}", words::path(path))
            }
        }
    }
}

impl std::error::Error for WeightsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WeightsError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
