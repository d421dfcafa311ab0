//! One section: its keys read, each by itself. What the values mean together is checked in
//! [`super::cases`].

use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;

use super::claims;
use super::tree::{Node, Value};
use super::walk::{Fields, Walk};
use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::{Architecture, Arithmetic, Slices};
use contract::case::{Activations, Scales, Stored, Weights};
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::inputs::spec::{Pattern, Sparsity, Values};
use contract::published::{Hardware, NUMPY_UNIFORM, Platform};
use contract::stack;
use contract::stack::{Feed, Stack};
use contract::strategy::Strategy;
use contract::words::quote;
use record::claims::{ModelConfig, Published};

/// Largest m and k.
const DIMENSION_MAX: u64 = 1 << 31;
/// Largest n.
const BATCH_MAX: u64 = 1 << 20;
/// Blocks of a stack.
const BLOCKS_MAX: u64 = 1000;

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

fn source(walk: &mut Walk, node: &Node) -> Option<Source> {
    const FORMS: &str = "write {synthetic: uniform}, {file: PATH, sha256: DIGEST}, \
                         {torch-device-uniform: {platform: cuda, multiprocessors: N}}, {generator: numpy-pcg64-uniform} or {hub: ORG/NAME, revision: COMMIT, file: PATH, sha256: DIGEST}";
    let Value::Map(entries) = &node.value else {
        return walk.expected(node, "`weights`: a mapping", FORMS);
    };
    let has = |name: &str| entries.iter().any(|(key, _)| key.value == Value::Text(name.to_owned()));
    if has("synthetic") {
        let fields = walk.fields(node, "synthetic weights", &["synthetic"])?;
        let kinds = Values::ALL.map(|v| (v.name(), v));
        let kinds: Vec<_> = kinds.into_iter().filter(|(_, v)| *v != Values::Ternary).collect();
        let values = walk.choice(fields.get("synthetic")?, "synthetic weights", &kinds)?;
        return Some(Source::Synthetic(values));
    }
    if has("torch-device-uniform") {
        let fields = walk.fields(node, "drawn weights", &["torch-device-uniform"])?;
        return hardware(walk, fields.get("torch-device-uniform")?).map(Source::Drawn);
    }
    if has("generator") {
        let fields = walk.fields(node, "weights of a generator", &["generator"])?;
        let known = [(NUMPY_UNIFORM, ())];
        return walk
            .choice(fields.get("generator")?, "a generator", &known)
            .map(|()| Source::Numpy);
    }
    if has("hub") {
        let keys = ["hub", "revision", "file", "sha256"];
        let fields = walk.fields(node, "weights of a Hugging Face model", &keys)?;
        let repo = fields.get("hub").and_then(|node| hub_name(walk, node));
        let revision = fields.require(walk, "revision").and_then(|node| revision(walk, node));
        let file = fields.require(walk, "file").and_then(|node| file_path(walk, node));
        let sha256 = optional_digest(walk, &fields);
        return Some(Source::Hub {
            repo: repo?,
            revision: revision?,
            file: file?,
            sha256: sha256?,
        });
    }
    if has("file") {
        let fields = walk.fields(node, "weights of a file", &["file", "sha256"])?;
        let path = fields.get("file").and_then(|node| file_path(walk, node));
        let sha256 = optional_digest(walk, &fields);
        return Some(Source::File { path: path?, sha256: sha256? });
    }
    walk.fail(node.place, "`weights` says neither `synthetic` nor `file` nor `hub`", FORMS);
    None
}

/// The device whose generator draws.
pub(super) fn hardware(walk: &mut Walk, node: &Node) -> Option<Hardware> {
    let keys = ["platform", "multiprocessors", "threads"];
    let fields = walk.fields(node, "the device that draws", &keys)?;
    let platforms = [("cuda", Platform::Cuda), ("rocm", Platform::Rocm)];
    let platform = fields
        .require(walk, "platform")
        .and_then(|node| walk.choice(node, "a platform", &platforms));
    let multiprocessors = fields
        .require(walk, "multiprocessors")
        .and_then(|node| walk.integer(node, "multiprocessors", 1, u64::from(u32::MAX)));
    let threads = match fields.get("threads") {
        Some(node) => walk.integer(node, "threads of a multiprocessor", 1, u64::from(u32::MAX)),
        None => Some(u64::from(Hardware::THREADS)),
    };
    // Both are at most u32::MAX.
    match Hardware::new(platform?, multiprocessors? as u32, threads? as u32) {
        Ok(hardware) => Some(hardware),
        Err(error) => {
            walk.fail(node.place, error.to_string(), "");
            None
        }
    }
}

/// `Some(None)`: not given; `None`: given and wrong.
fn optional_digest(walk: &mut Walk, fields: &Fields<'_>) -> Option<Option<Digest>> {
    fields.get("sha256").map_or(Some(None), |node| walk.digest(node).map(Some))
}

fn hub_name(walk: &mut Walk, node: &Node) -> Option<String> {
    let text = walk.text(node, "a model's name")?;
    // `--` separates the parts in the cache's folder names.
    let part = |part: &str| {
        !part.is_empty()
            && part.chars().all(name_char)
            && !part.starts_with(['.', '-'])
            && !part.contains("..")
            && !part.contains("--")
    };
    match text.split_once('/') {
        Some((organisation, name)) if part(organisation) && part(name) => Some(text.to_owned()),
        _ => walk.expected(node, "a model's name: ORGANISATION/NAME", ""),
    }
}

fn revision(walk: &mut Walk, node: &Node) -> Option<String> {
    let text = walk.text(node, "a revision")?;
    if text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Some(text.to_owned());
    }
    let what = "a revision: 40 lower-case hexadecimal digits";
    walk.expected(node, what, "branches and tags move; give the commit")
}

/// A path inside some folder: nothing that leads out of it.
fn file_path(walk: &mut Walk, node: &Node) -> Option<String> {
    let text = walk.text(node, "a file's path")?;
    let inside = Path::new(text).components().all(|c| matches!(c, Component::Normal(_)))
        && !text.contains(['\\', ':'])
        && !text.starts_with('~');
    if !inside {
        let what = "a relative path with forward slashes and without `..`";
        let hint = "files elsewhere are found with `--weights DIR`";
        return walk.expected(node, what, hint);
    }
    if !text.ends_with(".safetensors") && !Weights::is_index(text) {
        let what = "a .safetensors or .safetensors.index.json file";
        return walk.expected(node, what, elsewhere(text));
    }
    Some(text.to_owned())
}

/// Where there may be a safetensors file of what another kind of file has; empty if nobody knows.
fn elsewhere(file: &str) -> &'static str {
    let extension = file.rsplit('.').next().unwrap_or_default();
    match extension {
        "bin" | "pt" | "pth" | "ckpt" | "pkl" | "h5" | "msgpack" => {
            "many models have the same tensors as model.safetensors; else write them anew with a safetensors library"
        }
        "gguf" | "ggml" | "onnx" => "the checkpoint that it was made from has the weights",
        _ => "",
    }
}

fn layers(walk: &mut Walk, node: &Node, weights: Option<&Source>) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for item in walk.list(node, "layer") {
        let Some(layer) = layer(walk, item, weights) else { continue };
        if layers.iter().any(|seen| seen.name == layer.name) {
            let message = format!("layer `{}` given twice in the section", layer.name);
            walk.fail(layer.place, message, "");
        } else {
            layers.push(layer);
        }
    }
    layers
}

const LAYER_KEYS: [&str; 9] =
    ["name", "shape", "from", "tensor", "sha256", "scales", "expert", "transposed", "rows"];
/// Keys of a layer that are about a tensor.
const TENSOR_KEYS: [&str; 6] = ["tensor", "sha256", "scales", "expert", "transposed", "rows"];

fn layer(walk: &mut Walk, node: &Node, weights: Option<&Source>) -> Option<Layer> {
    let fields = walk.fields(node, "a layer", &LAYER_KEYS)?;
    let name = fields.require(walk, "name").and_then(|node| {
        walk.name(node, "a layer's name", "A-Z, a-z, 0-9, `.`, `_`, `-`", name_char)
    });
    let shape = fields
        .require(walk, "shape")
        .and_then(|node| shape(walk, node).map(|shape| (shape, node.place)));
    let from = fields.get("from").map(|node| feeds(walk, node));
    let tensor = match fields.get("tensor") {
        Some(node) => walk.text(node, "a tensor's name").map(|name| Some(name.to_owned())),
        None => Some(None),
    };
    let sha256 = optional_digest(walk, &fields);
    let stored = stored(walk, &fields, shape.map(|((m, _), _)| m));
    match weights {
        Some(Source::Synthetic(_) | Source::Drawn(_) | Source::Numpy) => {
            for key in TENSOR_KEYS {
                if let Some(node) = fields.get(key) {
                    walk.fail(node.place, format!("`{key}` given for synthetic weights"), "");
                }
            }
        }
        Some(
            weights @ (Source::File { path: file, sha256 } | Source::Hub { file, sha256, .. }),
        ) => {
            let _ = fields.require(walk, "tensor");
            let pinned_by_file = sha256.is_some() && !Weights::is_index(file);
            // A commit names its files' digests: the hub serves no other bytes under it.
            let pinned_by_commit = sha256.is_none() && matches!(weights, Source::Hub { .. });
            if !fields.has("sha256") && !pinned_by_file && !pinned_by_commit {
                let (message, hint) = match sha256 {
                    Some(_) => (
                        "missing key `sha256` of the tensor",
                        "the digest of an index does not pin its shards",
                    ),
                    None => (
                        "neither the file nor the tensor has a `sha256`",
                        "without a digest nothing says which weights are meant",
                    ),
                };
                walk.fail(fields.place, message, hint);
            }
            let scales = stored.as_ref().and_then(|stored| stored.scales.as_ref());
            let is_unpinned = !pinned_by_file && !pinned_by_commit;
            let is_bare = is_unpinned && scales.is_some_and(|scales| scales.sha256.is_none());
            if let Some(node) = fields.get("scales").filter(|_| is_bare) {
                let message = "the scales have no `sha256`, and no digest of a file pins them";
                walk.fail(node.place, message, "write `scales: {tensor: NAME, sha256: DIGEST}`");
            }
        }
        None => {}
    }
    let ((m, k), shape_place) = shape?;
    Some(Layer {
        place: node.place,
        from,
        shape_place,
        name: name?.to_owned(),
        m,
        k,
        tensor: tensor?,
        sha256: sha256?,
        stored: stored?,
    })
}

/// The name of a block's input among feeds.
const INPUT: &str = "in";

/// Names of what activations are made of.
fn feeds(walk: &mut Walk, node: &Node) -> Vec<Placed<String>> {
    walk.distinct(node, "feed", |walk, node| {
        let feed = "the name of an earlier layer of the block, or `in`";
        walk.text(node, feed).map(str::to_owned)
    })
}

/// The layers as a stack.
fn stack(
    walk: &mut Walk,
    node: &Node,
    layers: &[Layer],
    weights: Option<&Source>,
) -> Option<Arc<Stack>> {
    let fields = walk.fields(node, "a stack", &["blocks", "next"])?;
    let blocks = fields
        .require(walk, "blocks")
        .and_then(|node| walk.integer(node, "`blocks`", 1, BLOCKS_MAX));
    let next = fields.get("next").map(|node| feeds(walk, node));
    let errors = walk.errors.len();
    if let Some(Source::Drawn(_) | Source::Numpy | Source::File { .. } | Source::Hub { .. }) =
        weights
    {
        let hint = "each of its matrices is drawn from a seed of its own";
        walk.fail(node.place, "a stack needs synthetic weights", hint);
    }
    let width = layers.first().map_or(0, |layer| layer.k);
    // The feeds of something that comes after `earlier` and has `rows` rows.
    let mut find = |feeds: &[Placed<String>], earlier: &[Layer], rows: u64, of: &str| {
        let mut found = Vec::new();
        for (name, place) in feeds {
            let at = earlier.iter().position(|layer| layer.name == *name);
            let feed = match at {
                _ if name == INPUT => Some((Feed::Input, width)),
                Some(at) => Some((Feed::Layer(at), earlier[at].m)),
                None => None,
            };
            match feed {
                None => walk.fail(
                    *place,
                    format!("no earlier layer of the block is named {}", quote(name)),
                    "",
                ),
                Some((_, has)) if has == 0 || !rows.is_multiple_of(has) => {
                    let message = format!(
                        "{} has {has} rows, and {of} needs {rows}: must be a multiple",
                        quote(name)
                    );
                    walk.fail(*place, message, "rows are repeated until there are enough");
                }
                Some((feed, _)) => found.push(feed),
            }
        }
        found
    };
    let mut all = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let before = layers[..at].last().map_or(INPUT, |before| before.name.as_str());
        let last = [(before.to_owned(), layer.place)];
        let from = layer.from.as_deref().unwrap_or(&last);
        let from = find(from, &layers[..at], layer.k, &format!("layer `{}`", layer.name));
        all.push(stack::Layer { m: layer.m as usize, k: layer.k as usize, from });
    }
    let last = layers.last().map(|layer| (layer.name.clone(), layer.place));
    let last: Vec<_> = last.into_iter().collect();
    let next = find(next.as_deref().unwrap_or(&last), layers, width, "the next block");
    if let Some(layer) = layers.iter().find(|layer| layer.name == INPUT) {
        walk.fail(layer.place, "a layer of a stack is named `in`", "that is the block's input");
    }
    if walk.errors.len() > errors || all.is_empty() {
        return None;
    }
    Some(Arc::new(Stack { blocks: blocks? as usize, layers: all, next }))
}

/// How A lies in the layer's tensor; `m` are A's rows.
fn stored(walk: &mut Walk, fields: &Fields<'_>, m: Option<u64>) -> Option<Stored> {
    let scales = fields.get("scales").map_or(Some(None), |node| scales(walk, node).map(Some));
    let expert = fields
        .get("expert")
        .map_or(Some(None), |node| walk.integer(node, "`expert`", 0, DIMENSION_MAX - 1).map(Some));
    let transposed =
        fields.get("transposed").map_or(Some(false), |node| walk.boolean(node, "`transposed`"));
    let rows = fields.get("rows").map_or(Some(None), |node| rows(walk, node, m).map(Some));
    Some(Stored {
        scales: scales?,
        expert: expert?.map(|expert| expert as usize),
        transposed: transposed?,
        rows: rows?,
    })
}

fn scales(walk: &mut Walk, node: &Node) -> Option<Scales> {
    if !matches!(node.value, Value::Map(_)) {
        let tensor = walk.text(node, "the tensor of scales, or {tensor: NAME, sha256: DIGEST}")?;
        return Some(Scales { tensor: tensor.to_owned(), sha256: None });
    }
    let fields = walk.fields(node, "scales", &["tensor", "sha256"])?;
    let tensor = fields
        .require(walk, "tensor")
        .and_then(|node| walk.text(node, "a tensor's name").map(str::to_owned));
    let sha256 = optional_digest(walk, &fields);
    Some(Scales { tensor: tensor?, sha256: sha256? })
}

/// Rows of a larger matrix, the last one not among them.
fn rows(walk: &mut Walk, node: &Node, m: Option<u64>) -> Option<Range<usize>> {
    const FORM: &str = "rows: [first, end], the end is not among them";
    let Value::List(items) = &node.value else { return walk.expected(node, FORM, "") };
    let [first, end] = items.as_slice() else {
        let message = format!("expected {FORM}, found a list of {}", items.len());
        walk.fail(node.place, message, "");
        return None;
    };
    let first = walk.integer(first, "the first row", 0, DIMENSION_MAX);
    let end = walk.integer(end, "the end of the rows", 0, DIMENSION_MAX);
    let (first, end) = (first?, end?);
    if first > end {
        walk.fail(node.place, format!("rows [{first}, {end}] run backwards"), "");
        return None;
    }
    if let Some(m) = m.filter(|m| end - first != *m) {
        let message = format!("rows [{first}, {end}] are {}, `shape` has {m}", end - first);
        walk.fail(node.place, message, "`shape` is that of A: the rows that are taken");
        return None;
    }
    Some(first as usize..end as usize)
}

pub(super) fn shape(walk: &mut Walk, node: &Node) -> Option<(u64, u64)> {
    let Value::List(items) = &node.value else {
        return walk.expected(node, "a shape: [rows, columns]", "");
    };
    let [m, k] = items.as_slice() else {
        let message = format!("expected a shape: [rows, columns], found a list of {}", items.len());
        walk.fail(node.place, message, "");
        return None;
    };
    let m = walk.integer(m, "rows", 0, DIMENSION_MAX);
    let k = walk.integer(k, "columns", 0, DIMENSION_MAX);
    Some((m?, k?))
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
