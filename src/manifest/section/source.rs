//! Where a section's matrices are from: synthetic weights, a file, a hub's model, or another's recipe.

use std::path::{Component, Path};

use contract::case::Weights;
use contract::digest::Digest;
use contract::inputs::spec::Values;
use contract::published::{Hardware, NUMPY_UNIFORM, Platform};

use super::super::tree::{Node, Value};
use super::super::walk::{Fields, Walk};
use super::{Source, name_char};

pub(super) fn source(walk: &mut Walk, node: &Node) -> Option<Source> {
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
pub(in super::super) fn hardware(walk: &mut Walk, node: &Node) -> Option<Hardware> {
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
pub(super) fn optional_digest(walk: &mut Walk, fields: &Fields<'_>) -> Option<Option<Digest>> {
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
