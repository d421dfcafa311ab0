//! Manifests: YAML text -> validated cases. Knows no device, reads no weights.
//!
//! VERIFY.md describes the format. What is accepted here is complete and consistent: every
//! later stage may rely on it.

mod errors;

use std::path::{Path, PathBuf};

pub use errors::{ManifestError, ManifestErrors};

use crate::arithmetic::Arithmetic;
use crate::digest::Digest;
use crate::inputs::spec::{Pattern, Sparsity, Values};
use crate::matrix::Dtype;
use crate::operator::Strategy;

/// A validated manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The file's stem: `h200` for `manifests/h200.yaml`.
    pub name: String,
    pub path: PathBuf,
    pub title: String,
    /// The hardware that the timings are about; `None` for any.
    pub platform: Option<String>,
    /// Of the file's bytes.
    pub sha256: Digest,
    /// In the order of the text, never empty.
    pub cases: Vec<Case>,
}

/// One thing to verify: `Y = A V` with A m x k and V k x n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `{section}/{layer}/{pattern}-{percent}/b{n}/{dtype}[-to-{output}]/{arithmetic}`, unique
    /// in the manifest and the same however long the section's lists are.
    pub id: String,
    pub section: String,
    /// Whether the section counts without `--strict`.
    pub required: bool,
    pub seed: u64,
    pub layer: String,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// Of A and V.
    pub dtype: Dtype,
    /// Of Y.
    pub output: Dtype,
    pub arithmetic: Arithmetic,
    pub pattern: Pattern,
    /// Zero for the pattern `none`.
    pub sparsity: Sparsity,
    pub weights: Weights,
    pub activations: Values,
    pub strategy: Strategy,
    /// The line of the layer in the manifest.
    pub line: u32,
}

/// Where the values of A come from, before pruning.
///
/// Of a file's digest and the tensor's, at least one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    Synthetic(Values),
    /// A tensor of a local safetensors file, relative to the manifest or to `--weights`.
    File {
        path: PathBuf,
        sha256: Option<Digest>,
        tensor: String,
        tensor_sha256: Option<Digest>,
    },
    /// A tensor of a safetensors file of a Hugging Face model.
    Hub {
        /// `organisation/name`.
        repo: String,
        /// The commit: 40 hexadecimal digits.
        revision: String,
        /// The path of the file in the repository.
        file: String,
        sha256: Option<Digest>,
        tensor: String,
        tensor_sha256: Option<Digest>,
    },
}

/// Reads and validates a manifest; all its errors at once.
pub fn load(path: &Path) -> Result<Manifest, ManifestErrors> {
    let bytes = std::fs::read(path).map_err(|e| {
        ManifestErrors::whole_file(path, format!("failed to read the manifest: {e}"), "")
    })?;
    parse(path, &bytes)
}

/// Validates the bytes of a manifest; `path` gives the name and stands in the messages.
pub fn parse(path: &Path, _bytes: &[u8]) -> Result<Manifest, ManifestErrors> {
    Err(ManifestErrors::whole_file(path, "not a manifest".to_owned(), ""))
}
