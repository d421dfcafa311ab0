//! Safetensors files made by hand, and folders to put them in.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::path::PathBuf;

use sparse_verify::weights::WeightsError;

/// A file with this header and this much data.
pub fn bytes_of(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A header entry.
pub fn entry(name: &str, dtype: &str, shape: &[usize], start: usize, end: usize) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
}

/// A file with one F32 matrix named `w`.
pub fn f32_file(m: usize, k: usize, values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    bytes_of(&format!("{{{}}}", entry("w", "F32", &[m, k], 0, data.len())), &data)
}

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("writable");
        fs::write(&path, bytes).expect("writable");
        path
    }

    /// The message, the folder's own path cut out of it.
    pub fn message(&self, error: &WeightsError) -> String {
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}
