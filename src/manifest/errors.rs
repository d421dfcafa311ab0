//! Everything that is wrong with a manifest, at once, each with its place.

use std::fmt;
use std::path::PathBuf;

use contract::words::{self, visible_lines};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Line and column, both from 1; `None` where the fault has no place in the text.
    pub place: Option<(u32, u32)>,
    /// A lower-case fragment: what was expected and what was found.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// All errors of one file, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestErrors {
    pub path: PathBuf,
    pub errors: Vec<ManifestError>,
    /// The manifest is there and could not be read: the machine's fault, not the text's.
    pub unreadable: bool,
}

impl ManifestErrors {
    /// One error that has no place in the text.
    pub(super) fn whole_file(path: impl Into<PathBuf>, message: String, hint: &str) -> Self {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        ManifestErrors {
            path: path.into(),
            errors: vec![ManifestError { place: None, message, hint }],
            unreadable: false,
        }
    }

    /// The machine refused.
    pub(super) fn unreadable(path: impl Into<PathBuf>, message: String) -> Self {
        ManifestErrors { unreadable: true, ..ManifestErrors::whole_file(path, message, "") }
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", words::path(&self.path))?;
            if let Some((line, column)) = error.place {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", visible_lines(&error.message))?;
            if let Some(hint) = &error.hint {
                write!(f, "\nhint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}
