//! One section: its keys read, each by itself. What the values mean together is checked in
//! [`super::cases`].

mod layers;
mod source;

use std::sync::Arc;

use layers::{layers, stack};
use source::source;

pub(super) use layers::shape;
pub(super) use source::hardware;

use super::claims;
use super::tree::{Node, Value};
use super::walk::Walk;
use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::{Architecture, Arithmetic, Slices};
use contract::case::{Activations, Stored};
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::inputs::spec::{Pattern, Sparsity, Values};
use contract::published::Hardware;
use contract::stack::Stack;
use contract::strategy::Strategy;
use contract::words::quote;
use record::claims::{ModelConfig, Published};

/// Largest m and k.
const DIMENSION_MAX: u64 = 1 << 31;
/// Largest n.
const BATCH_MAX: u64 = 1 << 20;

/// A value and where it stands.
pub(super) type Placed<T> = (T, (u32, u32));

/// A section as written. A value that was refused is absent, and its error reported.
pub(super) struct Section {
    pub name: String,
    pub required: bool,
    pub seed: u64,
    pub weights: Source,
    pub layers: Vec<Layer>,
    pub patterns: Vec<Placed<Pattern>>,
    pub sparsity: Vec<Placed<Sparsity>>,
    pub batch: Vec<Placed<u64>>,
    pub dtype: Vec<Placed<Dtype>>,
    pub output: Dtype,
    pub activations: Placed<Activations>,
    pub arithmetic: Vec<Placed<Rule>>,
    pub strategy: Strategy,
    /// Where the section begins.
    pub line: u32,
    pub published: Option<Placed<Published>>,
    pub twin_of: Vec<Placed<String>>,
    pub config: Option<ModelConfig>,
    pub stack: Option<Placed<Arc<Stack>>>,
}

/// The section's weights; the layers add the tensors.
#[derive(Clone)]
pub(super) enum Source {
    Synthetic(Values),
    Drawn(Hardware),
    Numpy,
    File { path: String, sha256: Option<Digest> },
    Hub { repo: String, revision: String, file: String, sha256: Option<Digest> },
}

#[derive(Clone)]
pub(super) struct Layer {
    pub place: (u32, u32),
    /// What its activations are made of, in a stack.
    pub from: Option<Vec<Placed<String>>>,
    pub shape_place: (u32, u32),
    pub name: String,
    pub m: u64,
    pub k: u64,
    pub tensor: Option<String>,
    pub sha256: Option<Digest>,
    pub stored: Stored,
}

/// An arithmetic as written: a tensor core's model also depends on the dtype.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Rule {
    Plain(Arithmetic),
    TensorCore(Architecture),
    Bf16Dot(Instruction),
}

const SECTION_KEYS: [&str; 19] = [
    "name",
    "required",
    "seed",
    "weights",
    "layers",
    "stack",
    "patterns",
    "sparsity",
    "batch",
    "dtype",
    "output",
    "activations",
    "arithmetic",
    "plan",
    // Told from other unknown keys: it was the name of `plan`.
    "operator",
    "published",
    "twin_of",
    "config",
    "claims",
];

/// Characters of section names.
fn section_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')
}

/// Characters of layer names, models and organisations.
pub(super) fn name_char(c: char) -> bool {
    c.is_ascii_uppercase() || section_char(c)
}

/// Reads a section; `None` if one of its required keys is missing or unusable.
pub(super) fn read(walk: &mut Walk, node: &Node) -> Option<Section> {
    let fields = walk.fields(node, "a section", &SECTION_KEYS)?;
    // Every key is read before any `?`, so that all errors are found.
    let name = fields.require(walk, "name").and_then(|node| {
        walk.name(node, "a section's name", "a-z, 0-9, `.`, `_`, `-`", section_char)
    });
    let required =
        fields.get("required").map_or(Some(true), |node| walk.boolean(node, "`required`"));
    let seed =
        fields.require(walk, "seed").and_then(|node| walk.integer(node, "`seed`", 0, u64::MAX));
    let weights = fields.require(walk, "weights").and_then(|node| source(walk, node));
    let layers = match fields.require(walk, "layers") {
        Some(node) => layers(walk, node, weights.as_ref()),
        None => Vec::new(),
    };
    let stack = match fields.get("stack") {
        Some(node) => {
            stack(walk, node, &layers, weights.as_ref()).map(|stack| Some((stack, node.place)))
        }
        None => {
            let fed = layers.iter().find_map(|layer| layer.from.as_ref()?.first());
            if let Some((_, place)) = fed {
                walk.fail(
                    *place,
                    "`from` given in a section that is no stack",
                    "give the section a `stack`",
                );
            }
            Some(None)
        }
    };
    let errors = walk.errors.len();
    let patterns = match fields.require(walk, "patterns") {
        Some(node) => walk.distinct(node, "pattern", pattern),
        None => Vec::new(),
    };
    // Where a pattern was refused, nobody knows whether sparsities belong to it.
    let has_own = |pattern: Pattern| matches!(pattern, Pattern::None | Pattern::TwoOfFour);
    let none_wanted = walk.errors.len() == errors && patterns.iter().all(|(p, _)| has_own(*p));
    let sparsity = match fields.get("sparsity") {
        Some(node) if none_wanted => {
            let names: Vec<String> = patterns.iter().map(|(p, _)| format!("`{p}`")).collect();
            let only = match names.len() {
                1 => format!("the only pattern is {}", names[0]),
                _ => format!("the only patterns are {}", names.join(" and ")),
            };
            walk.fail(node.place, format!("`sparsity` given, but {only}"), "");
            Vec::new()
        }
        Some(node) => walk.distinct(node, "sparsity", sparsity),
        None => {
            if patterns.iter().any(|(p, _)| !has_own(*p)) {
                fields.require(walk, "sparsity");
            }
            Vec::new()
        }
    };
    let batch = match fields.require(walk, "batch") {
        Some(node) => walk.distinct(node, "batch size", |walk, node| {
            walk.integer(node, "a batch size", 1, BATCH_MAX)
        }),
        None => Vec::new(),
    };
    let dtype = match fields.require(walk, "dtype") {
        Some(node) => walk.distinct(node, "dtype", dtype),
        None => Vec::new(),
    };
    let output = fields.get("output").map_or(Some(Dtype::F32), |node| self::dtype(walk, node));
    let activations = match (fields.get("activations"), &weights) {
        (Some(node), Some(Source::Numpy)) => {
            let hint = "V is drawn first by a generator of its own";
            walk.fail(node.place, "`activations` given for drawn weights", hint);
            None
        }
        (Some(node), Some(Source::Drawn(_))) => {
            walk.fail(node.place, "`activations` given for drawn weights", "V is drawn after A");
            None
        }
        (Some(node), _) => activations(walk, node),
        (None, _) => weights.as_ref().map(|weights| (default_activations(weights), node.place)),
    };
    let arithmetic = match fields.require(walk, "arithmetic") {
        Some(node) => walk.distinct(node, "arithmetic", rule),
        None => Vec::new(),
    };
    if let Some(node) = fields.get("operator") {
        let hint = "what our own operator does with A is its `plan`; who computes a case is not said in a manifest";
        walk.fail(node.place, "the key `operator` is now called `plan`", hint);
    }
    let strategy = fields.get("plan").map_or(Some(Strategy::Auto), |node| {
        walk.choice(node, "`plan`", &Strategy::ALL.map(|s| (s.name(), s)))
    });
    let published =
        fields.get("published").and_then(|node| Some((claims::published(walk, node)?, node.place)));
    let twin_of = match fields.get("twin_of") {
        Some(node) => walk.distinct(node, "section", |walk, node| {
            walk.text(node, "a section's name").map(str::to_owned)
        }),
        None => Vec::new(),
    };
    let config = fields.get("config").and_then(|node| claims::config(walk, node));
    Some(Section {
        name: name?.to_owned(),
        required: required?,
        seed: seed?,
        weights: weights?,
        layers,
        patterns,
        sparsity,
        batch,
        dtype,
        output: output?,
        activations: activations?,
        arithmetic,
        strategy: strategy?,
        line: node.place.0,
        published,
        twin_of,
        config,
        stack: stack?,
    })
}

/// The section's claims without judging them.
pub(super) fn claims_of(node: &Node) -> Option<&Node> {
    let Value::Map(entries) = &node.value else { return None };
    let is_claims = |key: &Node| key.value == Value::Text("claims".to_owned());
    entries.iter().find(|(key, _)| is_claims(key)).map(|(_, value)| value)
}

/// The section's name without judging it, so that repeated names are found even in sections
/// that have other errors.
pub(super) fn name_of(node: &Node) -> Option<(&str, (u32, u32))> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find_map(|(key, value)| match (&key.value, &value.value) {
        (Value::Text(key), Value::Text(name)) if key == "name" => {
            Some((name.as_str(), value.place))
        }
        _ => None,
    })
}

pub(super) fn dtype(walk: &mut Walk, node: &Node) -> Option<Dtype> {
    walk.choice(node, "a dtype", &[Dtype::F32, Dtype::Bf16, Dtype::F16].map(|d| (d.name(), d)))
}

pub(super) fn pattern(walk: &mut Walk, node: &Node) -> Option<Pattern> {
    if matches!(node.value, Value::Map(_)) {
        let errors = walk.errors.len();
        let fields = walk.fields(node, "a pattern", &["block", "dead-experts"])?;
        let is_misspelt = walk.errors.len() > errors;
        let mut size = |key: &str, what: &str| {
            let node = fields.get(key)?;
            Some(walk.integer(node, what, 1, DIMENSION_MAX).map(|size| size as usize))
        };
        let block = size("block", "a block's size");
        let experts = size("dead-experts", "rows of an expert");
        return match (block, experts) {
            (Some(size), None) => Some(Pattern::Block { size: size? }),
            (None, Some(rows)) => Some(Pattern::DeadExperts { rows: rows? }),
            (None, None) if is_misspelt => None,
            _ => {
                let hint = "write {block: 32} or {dead-experts: 2048}";
                walk.fail(node.place, "expected one pattern: `block` or `dead-experts`", hint);
                None
            }
        };
    }
    let without_size = [
        ("block", "a block's size", "write {block: 32}"),
        ("dead-experts", "rows of an expert", "write {dead-experts: 2048}"),
    ];
    for (name, what, hint) in without_size {
        if node.value == Value::Text(name.to_owned()) {
            return walk.expected(node, what, hint);
        }
    }
    let names = [
        Pattern::None,
        Pattern::Uniform,
        Pattern::RowMagnitude,
        Pattern::ElementMagnitude,
        Pattern::PowerLaw,
        Pattern::TwoOfFour,
    ];
    let names = names.map(|pattern| (pattern.to_string(), pattern));
    let choices: Vec<(&str, Pattern)> =
        names.iter().map(|(name, pattern)| (name.as_str(), *pattern)).collect();
    walk.choice(node, "a pattern", &choices)
}

pub(super) fn sparsity(walk: &mut Walk, node: &Node) -> Option<Sparsity> {
    // Quoted or not: only the spelling counts.
    let text = walk.text(node, "a sparsity")?;
    if let Some(sparsity) = Sparsity::parse(text) {
        return Some(sparsity);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    if digits && decimals > 9 {
        return walk.expected(node, "a sparsity of at most nine decimals", "");
    }
    walk.expected(node, "a sparsity: a plain decimal from 0 to 1", "0.8 is 80 % zeros")
}

fn activations(walk: &mut Walk, node: &Node) -> Option<Placed<Activations>> {
    let kinds = Values::ALL.map(|v| (v.name(), v));
    let kinds: Vec<_> = kinds.into_iter().filter(|(_, v)| *v != Values::Wide).collect();
    let values = walk.choice(node, "`activations`", &kinds)?;
    Some((Activations::Synthetic(values), node.place))
}

fn default_activations(weights: &Source) -> Activations {
    Activations::Synthetic(match weights {
        Source::Synthetic(Values::Wide) => Values::Ternary,
        Source::Synthetic(values) => *values,
        Source::Drawn(_) => return Activations::Drawn,
        Source::Numpy => return Activations::Numpy,
        Source::File { .. } | Source::Hub { .. } => Values::Uniform,
    })
}

fn rule(walk: &mut Walk, node: &Node) -> Option<Rule> {
    if let Value::Map(_) = node.value {
        let fields = walk.fields(node, "an arithmetic", &["f32-sliced", "tensor-core"])?;
        return match (fields.get("f32-sliced"), fields.get("tensor-core")) {
            (Some(node), None) => slices(walk, node).map(|s| Rule::Plain(Arithmetic::F32Chain(s))),
            (None, Some(node)) => {
                let gpus = Architecture::ALL.map(|a| (a.name(), Rule::TensorCore(a)));
                let cpus = Instruction::ALL.map(|i| (i.name(), Rule::Bf16Dot(i)));
                walk.choice(node, "an architecture", &[&gpus[..], &cpus].concat())
            }
            _ => {
                let message = "expected one arithmetic: `f32-sliced` or `tensor-core`";
                walk.fail(node.place, message, "");
                None
            }
        };
    }
    let plain = [
        ("f32-chain", Arithmetic::F32Chain(Slices::One)),
        ("exact", Arithmetic::Exact),
        ("fixed-point-24", Arithmetic::FixedPoint),
        ("bounded", Arithmetic::Bounded),
    ];
    if let Value::Text(text) = &node.value {
        let hint = match text.as_str() {
            "f32-sliced" => "write {f32-sliced: {slices: 4, contiguous: 1024}}",
            "tensor-core" => "write {tensor-core: hopper}",
            "fixed-point" => "write fixed-point-24",
            _ => "",
        };
        if !hint.is_empty() {
            let message = format!("{} without its parameters", quote(text));
            walk.fail(node.place, message, hint);
            return None;
        }
    }
    let hint_names = "an arithmetic (or {f32-sliced: ...}, {tensor-core: ...})";
    walk.choice(node, hint_names, &plain).map(Rule::Plain)
}

fn slices(walk: &mut Walk, node: &Node) -> Option<Slices> {
    let fields = walk.fields(node, "`f32-sliced`", &["slices", "contiguous", "dealt"])?;
    let count = fields
        .require(walk, "slices")
        .and_then(|node| walk.integer(node, "`slices`", 1, DIMENSION_MAX));
    let length = |walk: &mut Walk, key: &str| {
        fields.get(key).map(|node| walk.integer(node, &format!("`{key}`"), 1, DIMENSION_MAX))
    };
    match (length(walk, "contiguous"), length(walk, "dealt")) {
        (Some(len), None) => {
            Some(Slices::Contiguous { count: count? as usize, len: len? as usize })
        }
        (None, Some(group)) => {
            Some(Slices::Dealt { count: count? as usize, group: group? as usize })
        }
        _ => {
            let message = "expected either `contiguous` or `dealt`";
            walk.fail(fields.place, message, "slices are contiguous runs of k, or dealt in turn");
            None
        }
    }
}
