//! One case: what is computed, from what, and under which rule. Who computes it is not in it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::arithmetic::Arithmetic;
use crate::digest::Digest;
use crate::dtype::Dtype;
use crate::inputs::Recipe;
use crate::inputs::spec::{Pattern, Sparsity, Values};
use crate::published::{Hardware, NUMPY_UNIFORM};
use crate::stack;
use crate::strategy::Strategy;

/// One thing to verify: `Y = A V` with A m x k and V k x n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `{section}/{layer}/{pattern}-{percent}/b{n}/{dtype}[-to-{output}]/{arithmetic}`, unique
    /// in the manifest and the same however long the section's lists are.
    pub id: String,
    /// The section of the manifest that it is of.
    pub section: String,
    /// Whether the section counts without `--strict`.
    pub required: bool,
    /// The seed of all its random streams.
    pub seed: u64,
    /// The layer's name.
    pub layer: String,
    /// Rows of A and Y.
    pub m: usize,
    /// Columns of A, rows of V.
    pub k: usize,
    /// Columns of V and Y.
    pub n: usize,
    /// Dtype of A and V.
    pub dtype: Dtype,
    /// Dtype of Y.
    pub output: Dtype,
    /// The rule of Y's elements.
    pub arithmetic: Arithmetic,
    /// The pattern by which A is pruned.
    pub pattern: Pattern,
    /// Zero for the pattern `none`.
    pub sparsity: Sparsity,
    /// The source of A's values, before pruning.
    pub weights: Weights,
    /// The source of V's values; in a stack, of those of the stack's input.
    pub activations: Activations,
    /// Where the case is one layer of a stack: V is made of what comes before it.
    pub stack: Option<stack::Place>,
    /// What our own operator is told to skip.
    pub strategy: Strategy,
    /// The line of the layer in the manifest.
    pub line: u32,
}

/// Where the values of V come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// Values by formula.
    Synthetic(Values),
    /// Drawn after A by the generator of [`Weights::Drawn`].
    Drawn,
    /// Drawn first by a generator of its own, with the seed of that of [`Weights::Numpy`].
    Numpy,
}

impl Activations {
    /// The name in case ids and records.
    pub fn name(self) -> &'static str {
        match self {
            Activations::Synthetic(values) => values.name(),
            Activations::Drawn => "torch-device-uniform",
            Activations::Numpy => NUMPY_UNIFORM,
        }
    }
}

/// Where the values of A come from, before pruning.
///
/// At least one of two digests is given: the file's or the tensor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Values by formula.
    Synthetic(Values),
    /// What PyTorch's `rand` draws first on a device, once its generator has the case's seed.
    Drawn(Hardware),
    /// What NumPy's default generator draws first once it has the case's seed, and masked by what it draws next: the
    /// pattern is `uniform`, and the mask this one.
    Numpy,
    /// A tensor of a local safetensors file, relative to the manifest or to `--weights`.
    File {
        /// The file.
        path: PathBuf,
        /// Digest of the whole file.
        sha256: Option<Digest>,
        /// The tensor's name in the file.
        tensor: String,
        /// Digest of the bytes of the whole tensor as it is stored.
        tensor_sha256: Option<Digest>,
        /// How A lies in the tensor.
        stored: Stored,
    },
    /// A tensor of a safetensors file of a Hugging Face model.
    Hub {
        /// `organisation/name`.
        repo: String,
        /// The commit: 40 hexadecimal digits.
        revision: String,
        /// The path of the file in the repository.
        file: String,
        /// Digest of the whole file.
        sha256: Option<Digest>,
        /// The tensor's name in the file.
        tensor: String,
        /// Digest of the bytes of the whole tensor as it is stored.
        tensor_sha256: Option<Digest>,
        /// How A lies in the tensor.
        stored: Stored,
    },
}

impl Weights {
    /// Whether a file of this name is the index of a sharded model: `x.safetensors.index.json`, with a variant's name
    /// before or behind `index` where libraries put one.
    pub fn is_index(file: &str) -> bool {
        let mut parts = file.rsplit('/').next().unwrap_or(file).rsplit('.');
        if parts.next() != Some("json") {
            return false;
        }
        let parts: [Option<&str>; 4] = std::array::from_fn(|_| parts.next());
        matches!(
            parts,
            [Some("index"), Some("safetensors"), Some(_), _]
                | [Some("index"), Some(_), Some("safetensors"), Some(_)]
                | [Some(_), Some("index"), Some("safetensors"), Some(_)]
        )
    }
}

/// How A lies in the tensor that a checkpoint stores: first the values are scaled, then a matrix is taken out of the
/// stack, then it is transposed, then rows of it are taken (VERIFY.md section 2).
///
/// The default is a tensor that is A.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The scales of a quantised tensor.
    pub scales: Option<Scales>,
    /// The matrix that is meant of a stack of matrices.
    pub expert: Option<usize>,
    /// Whether the matrix is stored as its transpose, k x m.
    pub transposed: bool,
    /// The rows that are A, of a matrix that has others as well.
    pub rows: Option<Range<usize>>,
}

/// A tensor beside a quantised one, whose values its values are multiplied by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scales {
    /// The name in the file.
    pub tensor: String,
    /// Digest of the tensor's bytes.
    pub sha256: Option<Digest>,
}

impl Case {
    /// What identifies A apart from the source of its values.
    pub fn recipe(&self) -> Recipe {
        let Case { seed, m, k, dtype, pattern, sparsity, .. } = *self;
        Recipe { seed, m, k, dtype, pattern, sparsity }
    }

    /// The source of V's values, in a line of a record.
    pub fn activations_text(&self) -> String {
        let name = self.activations.name();
        match &self.stack {
            None => name.to_owned(),
            Some(place) => {
                format!("the stack before it ({} products, input {name})", place.index())
            }
        }
    }

    /// One output element by the scalar rule, as it is hashed.
    pub fn rule(&self, a: &[f32], v: &[f32]) -> f32 {
        self.output.round(self.arithmetic.dot(a, v)) + 0.0
    }
}

/// Where the values come from, in a line of a record.
impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weights::Synthetic(values) => write!(f, "synthetic {}", values.name()),
            Weights::Drawn(hardware) => write!(f, "torch-device-uniform of {hardware}"),
            Weights::Numpy => f.write_str(NUMPY_UNIFORM),
            Weights::File { path, tensor, stored, .. } => {
                write!(f, "{}: {tensor}{stored}", path.display())
            }
            Weights::Hub { repo, revision, file, tensor, stored, .. } => {
                write!(f, "{repo}@{revision}/{file}: {tensor}{stored}")
            }
        }
    }
}

/// What follows a tensor's name in a line of a record; nothing where the tensor is A.
impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stored { scales, expert, transposed, rows } = self;
        let parts = [
            scales.as_ref().map(|scales| format!("scales {}", scales.tensor)),
            expert.map(|expert| format!("expert {expert}")),
            transposed.then(|| "transposed".to_owned()),
            rows.as_ref().map(|rows| format!("rows {}..{}", rows.start, rows.end)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join(", ")) }
    }
}
