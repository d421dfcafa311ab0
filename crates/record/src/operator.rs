//! Operators that are not our own: who says what of them, and what held them while they ran.

use contract::digest::Digest;
use serde::{Deserialize, Serialize};

/// What an operator's file names as its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OperatorKind {
    /// A shared library behind the C ABI of `include/sparse_verify_operator.h`.
    Library,
    /// A Python module with `build(a)` and `apply(state, v, out)`.
    Python,
}

impl OperatorKind {
    /// All kinds.
    pub const ALL: [OperatorKind; 2] = [OperatorKind::Library, OperatorKind::Python];

    /// The name in operator files.
    pub fn name(self) -> &'static str {
        match self {
            OperatorKind::Library => "library",
            OperatorKind::Python => "python",
        }
    }
}

/// The operator under test of a run, where it is not our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperatorRecord {
    /// Name, as its file has it.
    pub name: String,
    /// Version, as its file has it.
    pub version: String,
    /// Author, as its file has it.
    pub author: String,
    /// What its code is.
    pub kind: OperatorKind,
    /// Digest of the operator file's bytes.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub sha256: Digest,
    /// Files of its code, by name, with the digests of what was run.
    pub files: Vec<CodeFile>,
    /// The interpreter that ran it; `None` of a library.
    pub interpreter: Option<String>,
    /// Arithmetics that it claims to follow, by their names.
    pub arithmetics: Vec<String>,
    /// Dtypes of A and V that it takes.
    pub dtypes: Vec<String>,
    /// What held it while it ran, layer by layer.
    pub isolation: Vec<Layer>,
}

impl OperatorRecord {
    /// `scipy-csr 1.0 (sha256 0123456789abcdef)`.
    pub fn in_words(&self) -> String {
        format!("{} {} (sha256 {})", self.name, self.version, &self.sha256.to_string()[..16])
    }

    /// Names of the layers that were not had.
    pub fn lacking(&self) -> Vec<&str> {
        self.isolation.iter().filter(|layer| !layer.had).map(|layer| layer.name.as_str()).collect()
    }
}

/// A file of an operator's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CodeFile {
    /// Path beside the operator file.
    pub name: String,
    /// Digest of its bytes.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub sha256: Digest,
}

/// One layer of isolation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Layer {
    /// One of [`LAYERS`].
    pub name: String,
    /// Whether it held the operator.
    pub had: bool,
    /// What it was, or why it was not had.
    pub what: String,
}

/// Names of the layers of isolation, in the order in which they are put up, and what each keeps away.
pub const LAYERS: [(&str, &str); 9] = [
    ("user", "another user than the judge's, without capabilities"),
    ("privileges", "no program that it starts has more rights than it has"),
    ("judge", "the judge's memory cannot be read or traced by its user"),
    ("network", "a network namespace without any interface that is up"),
    ("mounts", "a mount namespace with empty folders for temporary files, and an IPC namespace"),
    ("folders", "HOME and TMPDIR of each process are new and gone after it"),
    ("limits", "limits of memory, file sizes, open files and processes"),
    ("files", "landlock: it reads system folders and its own files, and writes its own folder"),
    ("calls", "seccomp: no sockets, tracing, signals to others; after it was built no new process"),
];
