//! The index of a sharded model: which file beside it holds which tensor.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;

use super::foreign::{self, Expected};
use super::header::{self, Fault};
use contract::case::Weights;
use contract::words::quote;

/// Bytes of an index; the largest models' have a few hundred thousand.
pub(super) const INDEX_LEN_MAX: u64 = 64 << 20;

/// Whether a path is an index's.
pub(super) fn is_index(path: &str) -> bool {
    Weights::is_index(path)
}

/// Refuses a length that no index has.
pub(super) fn check_len(len: u64) -> Result<(), String> {
    if len > INDEX_LEN_MAX {
        return Err(format!("index of {len} bytes: must be at most {INDEX_LEN_MAX}"));
    }
    Ok(())
}

/// A checked index: every file that it names is in its own folder, or below it.
#[derive(Debug)]
pub struct Index {
    /// File of each tensor: a path of plain names.
    files: BTreeMap<String, String>,
}

impl Index {
    /// The tensors, by name.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.files.keys().map(String::as_str)
    }

    /// The safetensors file, relative to the index, that holds a tensor; else message and hint.
    pub fn shard(&self, tensor: &str) -> Result<&str, Fault> {
        let Some(file) = self.files.get(tensor) else {
            return Err(header::missing_tensor(tensor, self.tensor_names()));
        };
        if !file.ends_with(".safetensors") {
            let message = format!(
                "tensor {}: expected a .safetensors file, found {}",
                quote(tensor),
                quote(file)
            );
            return Err((message, Some(header::SAVE_ANEW.to_owned())));
        }
        Ok(file)
    }
}

/// Reads an index; else message and hint.
pub fn parse_index(bytes: &[u8]) -> Result<Index, Fault> {
    #[derive(Deserialize)]
    struct Written {
        weight_map: BTreeMap<String, String>,
    }

    let written: Written = serde_json::from_slice(bytes).map_err(|error| {
        let message = || (format!("bad index: {error}"), None);
        foreign::fault(bytes, Expected::Index).unwrap_or_else(message)
    })?;
    let mut files = written.weight_map;
    for (tensor, file) in &mut files {
        let Some(path) = inside(file) else {
            let (tensor, file) = (quote(tensor), quote(file));
            let message =
                format!("tensor {tensor}: expected a file beside the index, found {file}");
            return Err((message, None));
        };
        *file = path;
    }
    Ok(Index { files })
}

/// A path as plain names; `None` if it is none that stays inside its folder.
fn inside(file: &str) -> Option<String> {
    let mut names = Vec::new();
    for component in Path::new(file).components() {
        match component {
            Component::Normal(name) => names.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let is_file = !names.is_empty() && !file.ends_with('/') && !file.contains('\0');
    is_file.then(|| names.join("/"))
}
