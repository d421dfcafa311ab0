//! The index of a sharded model: which safetensors file beside it holds which tensor.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;

use contract::words::quote;

/// Bytes of an index; the largest models' have a few hundred thousand.
pub(super) const INDEX_LEN_MAX: u64 = 64 << 20;

/// Whether a path is an index's.
pub(super) fn is_index(path: &str) -> bool {
    path.ends_with(".index.json")
}

/// Refuses a length that no index has.
pub(super) fn check_len(len: u64) -> Result<(), String> {
    if len > INDEX_LEN_MAX {
        return Err(format!("index of {len} bytes: must be at most {INDEX_LEN_MAX}"));
    }
    Ok(())
}

/// The shard's file name of each tensor: plain names, none of them an index's.
pub(super) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let index: Index = serde_json::from_slice(bytes).map_err(|e| format!("bad index: {e}"))?;
    for (tensor, shard) in &index.weight_map {
        let mut components = Path::new(shard).components();
        let plain = matches!(
            (components.next(), components.next()),
            (Some(Component::Normal(name)), None) if name == shard.as_str()
        );
        if !plain || !shard.ends_with(".safetensors") || shard.contains('\0') {
            return Err(format!(
                "tensor {}: expected a .safetensors file beside the index, found {}",
                quote(tensor),
                quote(shard)
            ));
        }
    }
    Ok(index.weight_map)
}
