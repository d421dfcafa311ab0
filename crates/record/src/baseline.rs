//! Rivals: what they are, what their outputs were found to be, and why one is missing.

use contract::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

/// Kinds of baselines, by what they multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Every element of A.
    Dense,
    /// The non-zeros of A.
    Sparse,
    /// The live rows of A, every element of them.
    Compacted,
    /// Every element of A, rounded to a shorter format than the case's: shown, and never the best.
    Reduced,
}

/// A rival that cannot run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Missing {
    /// The baseline's name, such as `onemkl-csr`.
    pub name: String,
    /// `not installed: looked for ...`, or why the library cannot be used.
    pub reason: String,
}

/// The model that an output was found to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Identified {
    /// The model that the output follows, in all elements or, if not `verified`, in those that were
    /// screened and in more of the others than any other candidate that was compared; `None` if no candidate got so far. Data that do not tell models apart (small
    /// integers) follow many: the likeliest of them is named.
    pub model: Option<String>,
    /// SHA-256 of Y, row-major, little-endian in its dtype, -0 made +0.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub digest: Digest,
    /// Elements of Y.
    pub elements: usize,
    /// Elements that differ from those of `model`; `None` where there is no model.
    pub differing: Option<usize>,
    /// Whether every element, and so the digest, is that of the model computed here.
    pub verified: bool,
    /// Whether a case can name that model as its arithmetic.
    pub can_be_named: bool,
    /// Candidates tried.
    pub tried: usize,
}

/// A vendor's library on a case, and its outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BaselineRecord {
    /// The baseline's name.
    pub name: String,
    /// Function, algorithm and math mode.
    pub math: String,
    /// What it is let off, and what sets it apart from the case.
    pub note: String,
    /// `verified`: every element is that of a model computed on the CPU; `within-bound`, or not.
    pub verdict: Verdict,
    /// `None` where it could not be run.
    pub identified: Option<Identified>,
    /// The output for A changed, as the perturbation test does; `None` where it was not computed.
    pub rebuilt: Option<Perturbed>,
    /// As `rebuilt`, for V changed.
    pub shifted: Option<Perturbed>,
    /// Why it is not verified, in words.
    pub reasons: Vec<String>,
}

/// A library's output for perturbed inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Perturbed {
    /// Digest of the output.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub digest: Digest,
    /// `verified`: the digest that the case's contract gives; else `within-bound` or `out-of-bound`.
    pub verdict: Verdict,
}
