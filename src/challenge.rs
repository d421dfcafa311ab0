//! The folder of a challenge: where each case lies in it, and `challenge.json`, which says what to compute and under
//! which names to return it. The folder comes back from strangers: what is read of it here is compared with what is
//! regenerated, and believed in nothing.

use std::path::{Path, PathBuf};

use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::{Arithmetic, Slices};
use contract::case::Case;
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::perturbation::Perturbation;
use contract::words;
use record::commitment::After;
use record::manifest::Manifest;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::files;
use crate::tensors::Layout;

/// The version of `challenge.json`.
pub const FORMAT: &str = "sparse-verify-challenge/1";
/// The file that is written last: a folder without it is no challenge, or an unfinished one.
pub const FILE: &str = "challenge.json";
/// What somebody may state of a case's speed, beside its outputs.
pub const STATED: &str = "stated.json";
/// Largest `challenge.json` that is read, in bytes: a case takes about 3 KB, and a manifest has 25,000 at most.
const BYTES_MAX: u64 = 128 << 20;

/// The folder of a case below another: the manifest's name, then the case's id, whose parts are the names of folders.
/// No two cases have one folder: a manifest holds no part of an id with a `/` or a leading `.`, and each id has six.
pub fn case_folder(manifest: &Manifest, case: &Case) -> Result<PathBuf, Failure> {
    match manifest.name.as_str() {
        "" | "." | ".." => Err(Failure::bad_input(format!(
            "{}: the name of this manifest is no name for a folder\nhint: give the file another name",
            words::path(&manifest.path)
        ))),
        name => Ok(Path::new(name).join(&case.id)),
    }
}

/// `challenge.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    pub format: String,
    /// Name and version of the program.
    pub tool: String,
    /// What to do with it, for whoever opens the file.
    pub how: Vec<String>,
    /// An auditor's text, from which the perturbation was drawn.
    pub nonce: Option<String>,
    /// The commitment that the nonce was drawn after; without one the key is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// The globs that chose the cases; empty where all of the manifests were asked for.
    pub select: Vec<String>,
    pub manifests: Vec<ManifestNamed>,
    pub cases: Vec<CaseAsked>,
}

/// A manifest by name, place and content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestNamed {
    pub name: String,
    /// As it was given when the challenge was written.
    pub path: String,
    pub sha256: Digest,
}

/// A case: what to compute from what, and what to return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseAsked {
    pub manifest: String,
    pub id: String,
    /// Its folder, below that of the challenge.
    pub folder: String,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub arithmetic: String,
    /// The rule of an output element, in words.
    pub rule: String,
    pub inputs: Vec<TensorNamed>,
    /// The elements in which A1 differs from A; none where the perturbation test does not apply.
    pub patch: Vec<Element>,
    /// What to compute.
    pub outputs: Vec<OutputAsked>,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorNamed {
    /// `a`, `v`, `v2` or `a1`: `<name>.npy`, and the tensor in `inputs.safetensors`.
    pub name: String,
    pub shape: [usize; 2],
    pub dtype: String,
    /// The dtype in the .npy file.
    pub npy: String,
    /// Digest of its elements, as VERIFY.md section 5 has it.
    pub sha256: Digest,
}

/// An element of A1 that A has otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Element {
    pub row: usize,
    pub column: usize,
    /// Its new value, exactly.
    pub value: f64,
    /// The same as binary32, in hexadecimal.
    pub bits: String,
}

/// An output to return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputAsked {
    /// `y`, `rebuilt` or `shifted`: `<name>.npy`, `<name>.safetensors`, or a tensor in `outputs.safetensors`.
    pub name: String,
    /// The product: `A V`.
    pub of: String,
    pub shape: [usize; 2],
    pub dtype: String,
    /// The dtype of a .npy file.
    pub npy: String,
}

/// The elements in which A1 differs from A.
pub fn patch(perturbation: &Perturbation) -> Vec<Element> {
    let element = |((row, column), value): ((usize, usize), f32)| {
        let bits = format!("{:#010x}", value.to_bits());
        Element { row, column, value: value.into(), bits }
    };
    perturbation.changed_weights().map(element).collect()
}

/// The rule of an output element in words; VERIFY.md section 4 is the specification.
pub fn rule(case: &Case) -> String {
    let sum = match case.arithmetic {
        Arithmetic::F32Chain(Slices::One) => {
            "y = +0; for k ascending y = fma(a[k], v[k], y): one rounding to binary32 each, subnormals kept".to_owned()
        }
        Arithmetic::F32Chain(Slices::Contiguous { count, len }) => format!(
            "{count} chains of binary32 fma, k in chain floor(k / {len}), each from +0 with k ascending; their results added in \
             binary32, the first chain first"
        ),
        Arithmetic::F32Chain(Slices::Dealt { count, group }) => format!(
            "{count} chains of binary32 fma, k in chain floor(k / {group}) mod {count}, each from +0 with k ascending; their \
             results added in binary32, the first chain first"
        ),
        Arithmetic::TensorCore(model) => format!(
            "as {} tensor cores accumulate: groups of {} products, aligned and truncated (VERIFY.md section 4)",
            model.architecture, model.group
        ),
        Arithmetic::Bf16Dot(Instruction::Avx512) => {
            "as VDPBF16PS sums: per pair of k, ascending, c = fma(a[2t], v[2t], fma(a[2t+1], v[2t+1], c)), subnormal operands \
             and tiny results flushed to zero (VERIFY.md section 4)"
                .to_owned()
        }
        Arithmetic::Bf16Dot(Instruction::Amx) => {
            "as TDPBF16PS sums: per 32 k, ascending, a chain of fma over even k and one over odd k, each from +0, their sum \
             added to c; subnormal operands and tiny results flushed to zero (VERIFY.md section 4)"
                .to_owned()
        }
        Arithmetic::Exact => "the exact sum of integers, in any order".to_owned(),
        Arithmetic::FixedPoint => {
            "rows of A and columns of V times powers of two, the largest for which integers stay within 0x7f7f7f, rounded to \
             integers; their exact sum times both powers' inverses, rounded once to binary32 (VERIFY.md section 4)"
                .to_owned()
        }
        Arithmetic::Bounded => {
            "any order of binary32 sums: an element must lie within the bound of VERIFY.md section 4".to_owned()
        }
    };
    match case.output {
        Dtype::F32 => sum,
        Dtype::Bf16 | Dtype::F16 => format!("{sum}; then rounded once to {}", case.output),
    }
}

/// Layout of an output of a case.
pub fn output_layout(case: &Case) -> Layout {
    Layout { rows: case.m, columns: case.n, dtype: case.output }
}

/// What to return of a case; the perturbed outputs only where the test applies.
pub fn outputs(case: &Case, is_perturbed: bool) -> Vec<OutputAsked> {
    let layout = output_layout(case);
    [("y", "A V"), ("rebuilt", "A1 V"), ("shifted", "A V2")]
        .into_iter()
        .take(if is_perturbed { 3 } else { 1 })
        .map(|(name, of)| OutputAsked {
            name: name.to_owned(),
            of: of.to_owned(),
            shape: [layout.rows, layout.columns],
            dtype: layout.dtype.name().to_owned(),
            npy: layout.npy_descr().to_owned(),
        })
        .collect()
}

impl Challenge {
    /// Reads the file of a folder that came back, and its digest.
    pub fn read(folder: &Path) -> Result<(Challenge, Digest), Failure> {
        let path = folder.join(FILE);
        let shown = words::path(&path);
        let text = files::text_of_stranger(&path, BYTES_MAX).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Failure::bad_input(format!(
                    "{shown}: not there\nhint: `verify challenge` writes it, last of all; outputs without it are judged by \
                     `verify check PATH --case ID --y FILE`"
                ))
            }
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
                Failure::bad_input(format!("{shown}: {error}"))
            }
            _ => Failure::environment(format!("failed to read {shown}: {error}")),
        })?;
        let malformed = |message: &dyn std::fmt::Display| {
            Failure::bad_input(format!(
                "{shown}: {message}\nhint: `verify challenge` writes this file; it must come back as it was sent"
            ))
        };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| malformed(&error))?;
        // The version first, so that a newer one is not called malformed.
        match value.get("format").and_then(serde_json::Value::as_str) {
            Some(FORMAT) => {}
            Some(other) => {
                let draft = match other.strip_suffix("-draft") {
                    Some(FORMAT) => {
                        ", a draft of it, is of manifests in a draft format as well: ask anew by `verify challenge`"
                    }
                    _ => "",
                };
                let other = words::quote(other);
                return Err(malformed(&format!(
                    "its format is {other}, expected `{FORMAT}`{draft}"
                )));
            }
            None => return Err(malformed(&"it has no `format`")),
        }
        let challenge = serde_json::from_value(value).map_err(|error| malformed(&error))?;
        Ok((challenge, Digest::of(text.as_bytes())))
    }

    /// The file's text: one line a case would be long, one key a line is not.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.unwrap_or_else(|e| unreachable!("no maps with keys other than strings: {e}")) + "\n"
    }
}
