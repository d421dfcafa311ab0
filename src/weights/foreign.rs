//! Files that are no safetensors files, by their first bytes. A file is looked at here once it was found not to be
//! one: no first bytes alone rule a safetensors file out.

use serde_json::Value;

use super::header::{Fault, SAVE_ANEW};
use contract::digest::Digest;
use contract::words::quote;

/// First bytes of a file that are enough to tell what it is.
pub(super) const HEAD_LEN: usize = 4096;

/// What Git has in place of a large file that was not fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// SHA-256 of the file that it stands for.
    pub oid: Digest,
    /// Bytes of that file.
    pub size: u64,
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1";

/// The pointer that a whole file is; `None` if it is none.
pub fn parse_pointer(bytes: &[u8]) -> Option<Pointer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r'));
    if lines.next()? != POINTER {
        return None;
    }
    let (mut oid, mut size) = (None, None);
    for (key, value) in lines.filter_map(|line| line.split_once(' ')) {
        match key {
            "oid" => oid = Some(value.strip_prefix("sha256:")?.parse().ok()?),
            "size" => size = Some(value.parse().ok()?),
            _ => {}
        }
    }
    Some(Pointer { oid: oid?, size: size? })
}

/// What a file was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Safetensors,
    Index,
}

const FETCH: &str =
    "the download went wrong: fetch the file again, with a token where the model asks for one";

/// Message and hint for a file with this beginning; `None` if nothing is known of it.
pub(super) fn fault(bytes: &[u8], expected: Expected) -> Option<Fault> {
    let wanted = match expected {
        Expected::Safetensors => "a safetensors file",
        Expected::Index => "the index of safetensors files",
    };
    let (what, hint) = found(bytes, expected)?;
    Some((format!("expected {wanted}, found {what}"), Some(hint.to_owned())))
}

/// What a file is, and how to come to the one that is meant.
fn found(bytes: &[u8], expected: Expected) -> Option<(String, &'static str)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(POINTER.as_bytes()) {
        let what = match parse_pointer(bytes) {
            Some(Pointer { oid, size }) => {
                format!("a Git LFS pointer to a file of {size} bytes with digest {oid}")
            }
            None => "a Git LFS pointer that is damaged".to_owned(),
        };
        return Some((what, PULL));
    }
    let start = bytes.trim_ascii_start();
    let lower = start[..start.len().min(64)].to_ascii_lowercase();
    let begins = |beginnings: &[&'static str]| -> Option<&'static str> {
        beginnings
            .iter()
            .find(|text| lower.starts_with(text.to_ascii_lowercase().as_bytes()))
            .copied()
    };
    if begins(&["<!doctype html", "<html", "<head", "<body"]).is_some() {
        return Some((format!("a web page{}", title(start)), FETCH));
    }
    if begins(&["<?xml", "<error"]).is_some() {
        return Some(("an answer in XML".to_owned(), FETCH));
    }
    if let Some(answer) = begins(&ANSWERS).filter(|_| bytes.len() < ANSWER_LEN_MAX) {
        return Some((format!("a server's answer, {}", quote(answer)), FETCH));
    }
    if start.first() == Some(&b'{') {
        return json(start, expected);
    }
    let is_header = bytes.get(4..9) == Some(b"\0\0\0\0{");
    if expected == Expected::Index && is_header {
        let hint = "give it a name that ends in `.safetensors`";
        return Some(("a safetensors file".to_owned(), hint));
    }
    binary(bytes).map(|(what, hint)| (what.to_owned(), hint))
}

/// How a hub and other servers begin an answer that is no file.
const ANSWERS: [&str; 8] = [
    "Entry not found",
    "Not found",
    "404: Not found",
    "Repository not found",
    "Invalid rev id",
    "Invalid username or password",
    "Unauthorized",
    "Forbidden",
];
/// Bytes of such an answer are fewer.
const ANSWER_LEN_MAX: usize = 256;
const PULL: &str = "`git lfs pull` fetches the file itself";

/// The title of a page, for a message.
fn title(page: &[u8]) -> String {
    let page = String::from_utf8_lossy(page);
    let title = page.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    title.map_or(String::new(), |(title, _)| format!(" with the title {}", quote(title.trim())))
}

/// What JSON is that is no header, as its keys tell. It may be cut off.
fn json(bytes: &[u8], expected: Expected) -> Option<(String, &'static str)> {
    // Its keys are at its beginning, and an answer is short.
    let bytes = &bytes[..bytes.len().min(16 * HEAD_LEN)];
    let has = |key: &str| {
        let key = format!("\"{key}\"");
        bytes.windows(key.len()).any(|window| window == key.as_bytes())
    };
    if has("weight_map") {
        let hint = "give it a name that ends in `.safetensors.index.json`";
        return (expected == Expected::Safetensors)
            .then(|| ("the index of a sharded model".to_owned(), hint));
    }
    let value = serde_json::from_slice::<Value>(bytes).ok();
    let text = value.as_ref().and_then(|value| {
        ["error", "message", "detail"].iter().find_map(|key| value.get(key)?.as_str())
    });
    if let Some(text) = text {
        return Some((format!("a server's answer, {}", quote(text)), FETCH));
    }
    if has("model_type") || has("architectures") {
        return Some(("a model's configuration".to_owned(), "name the file of its weights"));
    }
    (expected == Expected::Safetensors).then(|| ("JSON of another kind".to_owned(), FETCH))
}

const UNPACK: &str = "unpack it and name the safetensors file in it";
/// How arrays of NumPy become a safetensors file.
const FROM_NUMPY: &str = "convert it: `from safetensors.numpy import save_file; save_file({\"w\": a}, \"w.safetensors\")`";
const FROM_GGUF: &str =
    "its values are quantised in blocks of its own: take the checkpoint that it was made from";
const FROM_ONNX: &str = "take the checkpoint that it was exported from, or convert its initializers: \
     `from onnx import load, numpy_helper`, `from safetensors.numpy import save_file`";

/// First bytes of files, what they are, and how to come to a safetensors file.
const KINDS: [(&[u8], &str, &str); 14] = [
    (b"GGUF", "a GGUF file", FROM_GGUF),
    (b"tjgg", "a GGML file", FROM_GGUF),
    (b"fmgg", "a GGML file", FROM_GGUF),
    (b"lmgg", "a GGML file", FROM_GGUF),
    (b"\x93NUMPY", "an array of NumPy (.npy)", FROM_NUMPY),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", FROM_NUMPY),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", "a PyTorch file (a pickle)", SAVE_ANEW),
    (b"PK\x05\x06", "an empty zip archive", UNPACK),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
];

/// What a file of bytes is, and how to come to a safetensors file.
fn binary(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if let Some((_, what, hint)) = KINDS.iter().find(|(start, ..)| bytes.starts_with(start)) {
        return Some((what, hint));
    }
    match bytes {
        [b'P', b'K', 3, 4, ..] => Some(archive(bytes)),
        // Its version.
        [0x80, 2..=5, ..] => Some(("a pickle of Python", SAVE_ANEW)),
        _ if bytes.get(257..262) == Some(b"ustar") => Some(("a tar archive", UNPACK)),
        _ if is_onnx(bytes) => Some(("an ONNX model", FROM_ONNX)),
        _ => None,
    }
}

/// What a zip archive is, by the name of its first member, and by the padding that PyTorch puts behind it.
fn archive(bytes: &[u8]) -> (&'static str, &'static str) {
    let number = |at: usize| {
        bytes.get(at..at + 2).map_or(0, |two| usize::from(u16::from_le_bytes([two[0], two[1]])))
    };
    let end = 30 + number(26);
    let name = bytes.get(30..end).unwrap_or_default();
    let padding = bytes.get(end..).unwrap_or_default();
    if name.ends_with(b".npy") {
        return ("arrays of NumPy (.npz)", FROM_NUMPY);
    }
    if name.ends_with(b"data.pkl") || number(28) > 0 && padding.starts_with(b"FB") {
        return ("a PyTorch file (a zip archive with a pickle)", SAVE_ANEW);
    }
    ("a zip archive", UNPACK)
}

/// Whether bytes begin as an ONNX model does: its version, then who made it, its domain, operators or graph.
fn is_onnx(bytes: &[u8]) -> bool {
    let [0x08, version @ 1..=30, field, len, ..] = bytes else { return false };
    let text = || {
        let text = bytes.get(4..4 + usize::from(*len)).unwrap_or_default();
        !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    };
    match field {
        // producer_name, producer_version, domain
        0x12 | 0x1a | 0x22 => text(),
        // graph; opset_import
        0x3a | 0x42 => *version >= 3,
        _ => false,
    }
}
