//! Safetensors files, single or sharded, read by rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use half::{bf16, f16};
use sha2::{Digest as _, Sha256};

use super::WeightsError;
use super::header::{self, Header};
use super::index;
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::words::quote;

/// Bytes read at once. Large enough that system calls do not show, small enough for the cache.
const CHUNK_LEN: usize = 1 << 20;

/// A safetensors file, or the index of a sharded one. Its header has been checked.
pub struct WeightsFile {
    path: PathBuf,
    file: Arc<File>,
    content: Content,
    digest: OnceLock<Digest>,
    /// What passes over its tensors have found, by name.
    passes: Mutex<BTreeMap<String, (Digest, WeightStats)>>,
}

enum Content {
    Tensors(Header),
    /// The shard's file name of each tensor.
    Index(BTreeMap<String, String>),
}

/// Magnitudes in a tensor, of which every value is finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightStats {
    /// The smallest |x| but zero; 0 if all are zero.
    pub min_nonzero: f32,
    /// The largest |x|; 0 if there is none.
    pub max: f32,
}

impl WeightsFile {
    /// Opens a `.safetensors` or `.safetensors.index.json` file and checks its header. Reads no
    /// tensor.
    pub fn open(path: &Path) -> Result<WeightsFile, WeightsError> {
        let io = |action| move |source| WeightsError::Io { path: path.to_owned(), action, source };
        let metadata = std::fs::metadata(path).map_err(io("look at the file"))?;
        if metadata.is_dir() {
            return Err(malformed(path, "expected a safetensors file, found a folder"));
        }
        // Opening a pipe would wait for its writer.
        if !metadata.is_file() {
            return Err(malformed(path, "expected a regular file"));
        }
        let file = File::open(path).map_err(io("open the file"))?;
        let content = if index::is_index(&path.to_string_lossy()) {
            let shards = read_index(&file, metadata.len()).map_err(io("read the file"))?;
            Content::Index(shards.map_err(|message| malformed(path, message))?)
        } else {
            let bytes = read_header(&file, metadata.len()).map_err(io("read the header"))?;
            let header = bytes.and_then(|bytes| header::parse_header(&bytes, metadata.len()));
            Content::Tensors(header.map_err(|message| malformed(path, message))?)
        };
        Ok(WeightsFile {
            path: path.to_owned(),
            file: Arc::new(file),
            content,
            digest: OnceLock::new(),
            passes: Mutex::default(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A text that the file's header has for `key` beside the tensors.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        match &self.content {
            Content::Tensors(header) => header.metadata(key),
            Content::Index(_) => None,
        }
    }

    /// SHA-256 of the file itself (of an index: not of its shards). Computed once.
    pub fn digest(&self) -> Result<Digest, WeightsError> {
        if let Some(digest) = self.digest.get() {
            return Ok(*digest);
        }
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK_LEN];
        let mut offset = 0;
        loop {
            match self.file.read_at(&mut buffer, offset) {
                Ok(0) => break,
                Ok(len) => {
                    hasher.update(&buffer[..len]);
                    offset += len as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let path = self.path.clone();
                    return Err(WeightsError::Io { path, action: "read the file", source });
                }
            }
        }
        Ok(*self.digest.get_or_init(|| Digest::finish(hasher)))
    }

    /// Rows and columns of the tensor `name`, which must be a matrix.
    pub fn shape(&self, name: &str) -> Result<(usize, usize), WeightsError> {
        let malformed = |(message, hint)| {
            Err(WeightsError::Malformed { path: self.path.clone(), message, hint })
        };
        let header = match &self.content {
            Content::Tensors(header) => header,
            Content::Index(_) => return self.shard_of(name)?.shape(name),
        };
        match header.shape(name) {
            Some(&[m, k]) => Ok((m, k)),
            Some(shape) => {
                let message =
                    format!("tensor {}: expected a matrix, found shape {shape:?}", quote(name));
                malformed((message, None))
            }
            None => malformed(header::missing_tensor(name, header.tensor_names())),
        }
    }

    /// The tensor `name`, which must be a matrix of m x k.
    pub fn tensor(&self, name: &str, m: usize, k: usize) -> Result<Tensor, WeightsError> {
        let malformed = |(message, hint)| {
            Err(WeightsError::Malformed { path: self.path.clone(), message, hint })
        };
        let header = match &self.content {
            Content::Tensors(header) => header,
            Content::Index(_) => return self.shard_of(name)?.tensor(name, m, k),
        };
        let matrix = match header.matrix(name, m, k) {
            Ok(matrix) => matrix,
            Err(fault) => return malformed(fault),
        };
        Ok(Tensor {
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            name: name.to_owned(),
            offset: matrix.bytes.start,
            dtype: matrix.dtype,
            m,
            k,
        })
    }

    /// The shard that an index names for a tensor.
    fn shard_of(&self, name: &str) -> Result<WeightsFile, WeightsError> {
        let Content::Index(shards) = &self.content else { unreachable!("asked of indexes alone") };
        let Some(shard) = shards.get(name) else {
            let names = shards.keys().map(String::as_str);
            let (message, hint) = header::missing_tensor(name, names);
            return Err(WeightsError::Malformed { path: self.path.clone(), message, hint });
        };
        // Checked when the index was read: a plain name, and no index.
        let path = self.path.with_file_name(shard);
        if !path.exists() {
            return Err(WeightsError::NotFound {
                what: format!("the shard that holds tensor {}", quote(name)),
                looked: vec![path],
                hint: format!("{} lists it; copy it there", self.path.display()),
            });
        }
        WeightsFile::open(&path)
    }

    /// [`Tensor::pass`], remembered.
    pub(super) fn pass(&self, tensor: &Tensor) -> Result<(Digest, WeightStats), WeightsError> {
        // The map is valid whatever happened to another thread.
        let passes = || self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pass) = passes().get(&tensor.name) {
            return Ok(*pass);
        }
        let pass = tensor.pass()?;
        passes().insert(tensor.name.clone(), pass);
        Ok(pass)
    }
}

fn malformed(path: &Path, message: impl Into<String>) -> WeightsError {
    WeightsError::Malformed { path: path.to_owned(), message: message.into(), hint: None }
}

/// The length and the JSON of the header; the inner error is the file's fault.
fn read_header(file: &File, file_len: u64) -> io::Result<Result<Vec<u8>, String>> {
    let mut bytes = vec![0; file_len.min(header::PREFIX_LEN) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let len = match header::header_len(&bytes, file_len) {
        Ok(len) => len,
        Err(message) => return Ok(Err(message)),
    };
    // At most 100 MB.
    let prefix_len = bytes.len();
    bytes.resize(prefix_len + len as usize, 0);
    file.read_exact_at(&mut bytes[prefix_len..], header::PREFIX_LEN)?;
    Ok(Ok(bytes))
}

/// The shard of each tensor; the inner error is the file's fault.
fn read_index(file: &File, len: u64) -> io::Result<Result<BTreeMap<String, String>, String>> {
    if let Err(message) = index::check_len(len) {
        return Ok(Err(message));
    }
    let mut bytes = Vec::new();
    let mut file = file;
    file.read_to_end(&mut bytes)?;
    Ok(index::parse(&bytes))
}

/// A matrix in a file: m x k, row-major, F32, F16 or BF16.
#[derive(Debug)]
pub struct Tensor {
    path: PathBuf,
    file: Arc<File>,
    name: String,
    /// Of its first byte in the file.
    offset: u64,
    dtype: Dtype,
    m: usize,
    k: usize,
}

impl Tensor {
    /// The file that holds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// m and k.
    pub fn shape(&self) -> (usize, usize) {
        (self.m, self.k)
    }

    /// Reads rows, widened exactly to binary32. `out` holds `rows.len() * k` values.
    ///
    /// Values that are not finite are refused.
    pub fn rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), WeightsError> {
        assert!(rows.start <= rows.end && rows.end <= self.m, "rows {rows:?} of {}", self.m);
        assert_eq!(out.len(), rows.len() * self.k, "elements of rows {rows:?}");
        let mut at = 0;
        self.chunks(rows, |_, values| {
            out[at..at + values.len()].copy_from_slice(values);
            at += values.len();
        })
    }

    /// Reads everything once: SHA-256 of the bytes as stored, and the magnitudes.
    ///
    /// Values that are not finite are refused.
    pub fn pass(&self) -> Result<(Digest, WeightStats), WeightsError> {
        let mut hasher = Sha256::new();
        // Magnitudes of finite numbers are ordered as their bits are.
        let (mut min, mut max) = (u32::MAX, 0);
        self.chunks(0..self.m, |bytes, values| {
            hasher.update(bytes);
            for value in values {
                let bits = value.abs().to_bits();
                // Zero becomes the largest, so that it is never the smallest.
                min = min.min(bits.wrapping_sub(1));
                max = max.max(bits);
            }
        })?;
        let min_nonzero = if max == 0 { 0.0 } else { f32::from_bits(min + 1) };
        Ok((Digest::finish(hasher), WeightStats { min_nonzero, max: f32::from_bits(max) }))
    }

    /// Reads rows in pieces: their bytes as stored, and their values.
    fn chunks(
        &self,
        rows: Range<usize>,
        mut use_chunk: impl FnMut(&[u8], &[f32]),
    ) -> Result<(), WeightsError> {
        let size = self.dtype.size();
        let (mut at, end) = (rows.start * self.k, rows.end * self.k);
        let chunk = (CHUNK_LEN / size).min(end - at);
        let (mut bytes, mut values) = (vec![0u8; chunk * size], vec![0f32; chunk]);
        while at < end {
            let len = chunk.min(end - at);
            let (bytes, values) = (&mut bytes[..len * size], &mut values[..len]);
            let offset = self.offset + (at * size) as u64;
            self.file.read_exact_at(bytes, offset).map_err(|source| {
                let action = "read the tensor (has the file been cut since it was opened?)";
                WeightsError::Io { path: self.path.clone(), action, source }
            })?;
            widen(self.dtype, bytes, values);
            if let Some(i) = values.iter().position(|x| !x.is_finite()) {
                let (row, column) = ((at + i) / self.k, (at + i) % self.k);
                let message = format!(
                    "tensor {}: {} at (row {row}, column {column}), must be finite",
                    quote(&self.name),
                    values[i]
                );
                return Err(malformed(&self.path, message));
            }
            use_chunk(bytes, values);
            at += len;
        }
        Ok(())
    }
}

/// The values of little-endian elements, exactly.
pub(crate) fn widen(dtype: Dtype, bytes: &[u8], values: &mut [f32]) {
    // The chunks are exactly as long as the arrays; the patterns say so to the compiler.
    match dtype {
        Dtype::F32 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Dtype::Bf16 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        Dtype::F16 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}
