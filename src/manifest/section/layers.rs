//! A section's layers: their shapes, how each lies in a checkpoint's tensor, and what feeds them in a stack.

use std::ops::Range;
use std::sync::Arc;

use contract::case::{Scales, Stored, Weights};
use contract::stack;
use contract::stack::{Feed, Stack};
use contract::words::quote;

use super::super::tree::{Node, Value};
use super::super::walk::{Fields, Walk};
use super::source::optional_digest;
use super::{DIMENSION_MAX, Layer, Placed, Source, name_char};

/// Blocks of a stack.
const BLOCKS_MAX: u64 = 1000;

pub(super) fn layers(walk: &mut Walk, node: &Node, weights: Option<&Source>) -> Vec<Layer> {
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
pub(super) fn stack(
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

pub(in super::super) fn shape(walk: &mut Walk, node: &Node) -> Option<(u64, u64)> {
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
