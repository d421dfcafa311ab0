//! What publishers say of cases: figures as they are printed, and whether they agree with each other.
//!
//! A printed figure stands for all values that round to it, so every rule computes with intervals: what is
//! reported cannot be an effect of rounding. Knows no device and no clock; only `judge` looks at records.

mod figure;
mod judged;
mod printed;

pub use figure::Figure;
pub use judged::{ClaimWord, JudgedClaim, PublishedInput, Row, Word, agrees, attained};
pub use printed::{Printed, Range};

use serde::{Deserialize, Serialize};

use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::inputs::spec::Sparsity;
use contract::published::{Hardware, NumpyUniform, Recipe, Scope};

/// A claim: something published, of some cases of a section or of all there is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Claim {
    /// Unique in the manifest.
    pub id: String,
    /// The section that it is about; `None` for everything that was published.
    pub section: Option<String>,
    /// The sections that a claim of no section is about, `MANIFEST/SECTION` each, or `MANIFEST` for all of its sections;
    /// empty for everything that is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<String>,
    /// The one thing that the figures are of, as far as there is one.
    pub subject: Subject,
    /// Ids of the manifest's cases that stand for it; empty where there is no section.
    pub cases: Vec<String>,
    /// The hardware that its times are about, where it is not the manifest's platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Where it can be read.
    pub sources: Vec<String>,
    /// The baseline's name, as published.
    pub baseline: Option<String>,
    /// Published quantities, each as it is printed.
    #[serde(with = "figure::as_map")]
    #[cfg_attr(feature = "schema", schemars(with = "std::collections::BTreeMap<Figure, Printed>"))]
    pub figures: Vec<(Figure, Printed)>,
    /// Counts of models, layers and levels whose product the cases should be.
    pub factors: Vec<u64>,
    /// What the speedup is said to rise with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speedup_rises_with: Option<Axis>,
    /// Speedups published over other baselines on the same case, by the baseline's name.
    pub over: Vec<(String, Printed)>,
    /// How published energy came about; `None` where no energy is published or the publisher does not say.
    pub energy_method: Option<EnergyMethod>,
    /// What a published tolerance is compared with.
    pub tolerance_of: Option<ToleranceOf>,
    /// Published digests.
    pub digests: Vec<PublishedDigest>,
    /// Whether the digests of outputs are those of f64, each column divided by its norm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub normalised_outputs: bool,
    /// How the A of the published digest was drawn; `None` where it is the case's own A, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::NumpyUniform>"))]
    pub a_recipe: Option<NumpyUniform>,
    /// How the V of the published digest was drawn; `None` where it is the case's own V, or not known.
    pub v_recipe: Option<VRecipe>,
    /// Digest of the publisher's own operator file; `None` where none was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Digest>"))]
    pub operator: Option<Digest>,
    /// Line of the claim in the manifest.
    pub line: u32,
}

/// How a published V was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum VRecipe {
    /// First of a generator of PyTorch on a device, with the case's seed.
    Device(
        #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Recipe"))] Recipe,
        #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Hardware"))] Hardware,
    ),
    /// First of NumPy's default generator, with a seed of its own.
    Numpy(
        #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::NumpyUniform"))]
        NumpyUniform,
    ),
}

impl Claim {
    /// Whether it says of A or V how they were drawn, so that they can be made without a case.
    pub fn has_own_inputs(&self) -> bool {
        self.a_recipe.is_some() || matches!(self.v_recipe, Some(VRecipe::Numpy(_)))
    }

    /// Bytes of an element of a tensor, as it was hashed.
    pub fn hashed_size(&self, tensor: Tensor) -> u64 {
        match tensor {
            Tensor::A | Tensor::V => self.subject.dtype.map_or(4, |dtype| dtype.size() as u64),
            Tensor::Dense | Tensor::Operator if self.normalised_outputs => 8,
            Tensor::Dense | Tensor::Operator => 4,
        }
    }

    /// Elements of a tensor of what the claim is about, as far as that says them.
    pub fn elements(&self, tensor: Tensor) -> Option<u64> {
        let ((m, k), n) = (self.subject.shape?, self.subject.batch);
        match tensor {
            Tensor::A => m.checked_mul(k),
            Tensor::V => k.checked_mul(n?),
            Tensor::Dense | Tensor::Operator => m.checked_mul(n?),
        }
    }

    /// Whether a claim of no section is about this section.
    pub fn is_about(&self, manifest: &str, section: &str) -> bool {
        let names = |about: &String| match about.split_once('/') {
            Some((named, of_it)) => named == manifest && of_it == section,
            None => about == manifest,
        };
        self.about.is_empty() || self.about.iter().any(names)
    }

    /// The figure as it is printed, if the claim has it.
    pub fn figure(&self, figure: Figure) -> Option<&Printed> {
        self.figures.iter().find(|(known, _)| *known == figure).map(|(_, printed)| printed)
    }
}

/// Shape, batch, sparsity and dtype that a claim's figures are of; `None` where it is about several or does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Subject {
    /// Rows and columns of A.
    pub shape: Option<(u64, u64)>,
    /// Columns of V.
    pub batch: Option<u64>,
    /// Zero where nothing was pruned.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Sparsity>"))]
    pub sparsity: Option<Sparsity>,
    /// Element type.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Dtype>"))]
    pub dtype: Option<Dtype>,
}

/// A quantity in which cases differ that a trend is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// Columns of V.
    Batch,
    /// Elements of A, of the layer of one name in several models.
    Size,
    /// Share of zeros.
    Sparsity,
}

impl Axis {
    /// With their names in manifests.
    pub const ALL: [(&'static str, Axis); 3] =
        [("batch", Axis::Batch), ("size", Axis::Size), ("sparsity", Axis::Sparsity)];

    /// The name in manifests and sentences.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Batch => "batch",
            Axis::Size => "size",
            Axis::Sparsity => "sparsity",
        }
    }
}

/// How published energy came about, as far as the publisher says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EnergyMethod {
    /// From a counter or a sensor of the device.
    Counter,
    /// From the ratio of times, and said to be.
    TimeRatio,
}

/// What a tolerance is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ToleranceOf {
    /// The largest difference of two output elements.
    Output,
    /// The same, after each column of both outputs was divided by its Euclidean norm.
    NormalisedColumns,
}

/// A digest of a tensor, or its first digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublishedDigest {
    /// The tensor.
    pub tensor: Tensor,
    /// The digits that are published.
    pub digits: Digits,
    /// The part of the tensor that the digest covers.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Scope"))]
    pub scope: Scope,
}

impl PublishedDigest {
    /// Whether `digest` begins with these digits.
    pub fn matches(&self, digest: &Digest) -> bool {
        digest.to_string().starts_with(self.digits.as_str())
    }
}

/// The first digits of a SHA-256 digest: lower-case hexadecimal, 8 to 64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[0-9a-f]{8,64}$")))]
pub struct Digits(String);

impl Digits {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight, for messages.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl TryFrom<String> for Digits {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Digits, &'static str> {
        let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex && (8..=64).contains(&text.len()) {
            Ok(Digits(text))
        } else {
            Err("8 to 64 lower-case hexadecimal digits")
        }
    }
}

impl From<Digits> for String {
    fn from(digits: Digits) -> String {
        digits.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
/// A tensor of a case whose digest may be published.
#[serde(rename_all = "kebab-case")]
pub enum Tensor {
    /// The weights.
    A,
    /// The activations.
    V,
    /// The output of the dense reference.
    Dense,
    /// The operator's output.
    Operator,
}

impl Tensor {
    /// With their keys in manifests.
    pub const ALL: [(&'static str, Tensor); 4] = [
        ("a", Tensor::A),
        ("v", Tensor::V),
        ("dense", Tensor::Dense),
        ("operator", Tensor::Operator),
    ];

    /// The name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Tensor::A => "A",
            Tensor::V => "V",
            Tensor::Dense => "the dense output",
            Tensor::Operator => "the operator's output",
        }
    }
}

/// A section of what was published, and the manifest's section that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Published {
    /// The publisher's name for the section.
    pub title: String,
    /// Its cases, as the publisher counts; the manifest's section has as many.
    pub cases: u64,
    /// What is not published and was chosen by the manifest's author.
    pub chosen: Vec<String>,
}

/// A published page of which every number is accounted for: by a claim that names it as a source, or here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name among the sources of claims.
    pub source: String,
    /// Numbers that no claim has.
    pub not_judged: Vec<NotJudged>,
}

/// A number of a page that no claim has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotJudged {
    /// Line of the page's text.
    pub line: u64,
    /// The number as it is printed, written as a figure is.
    pub printed: String,
    /// Why no claim has it.
    pub because: String,
}

/// What a model's own configuration says of its shapes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelConfig {
    /// Where the configuration can be read.
    pub source: String,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the feed-forward layers.
    pub intermediate_size: u64,
    /// Heads of attention.
    pub attention_heads: u64,
    /// Heads of keys and values, at most as many.
    pub key_value_heads: u64,
    /// Rows of the embedding.
    pub vocabulary: u64,
    /// Element type that the checkpoint ships in.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Dtype"))]
    pub dtype: Dtype,
    /// Whether the last layer multiplies by the embedding (`tie_word_embeddings`); `None` where it is not said here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tied_embeddings: Option<bool>,
}

/// The layer whose rows a model looks up.
pub const EMBEDDING: &str = "embed_tokens";

/// The last part of a layer's name, which says what it is: `gate_proj` of `model.layers.0.mlp.gate_proj`.
pub fn kind_of_layer(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

impl ModelConfig {
    /// Rows and columns of a layer's weights, by the last part of its name, with how they follow from the
    /// configuration; `None` for other names.
    pub fn shape(&self, layer: &str) -> Option<((u64, u64), &'static str)> {
        let hidden = self.hidden_size;
        let key_value = self.key_value_heads * (hidden / self.attention_heads.max(1));
        Some(match layer {
            "embed_tokens" | "lm_head" => ((self.vocabulary, hidden), "vocabulary x hidden_size"),
            "gate_proj" | "up_proj" => {
                ((self.intermediate_size, hidden), "intermediate_size x hidden_size")
            }
            "down_proj" => ((hidden, self.intermediate_size), "hidden_size x intermediate_size"),
            "q_proj" | "o_proj" => ((hidden, hidden), "hidden_size x hidden_size"),
            "k_proj" | "v_proj" => (
                (key_value, hidden),
                "key_value_heads x (hidden_size / attention_heads) x hidden_size",
            ),
            _ => return None,
        })
    }
}
