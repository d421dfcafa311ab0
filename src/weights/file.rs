//! Safetensors files, single or sharded, read by rows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use half::{bf16, f16};
use sha2::{Digest as _, Sha256};

use super::WeightsError;
use super::foreign::{self, Expected};
use super::header::{self, Fault, Header};
use super::index::{self, Index};
use super::tensor::{self, CHUNK_LEN, Raw, Tensor};
use contract::case::Stored;
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::words::quote;

/// A safetensors file, or the index of a sharded one. Its header has been checked.
pub struct WeightsFile {
    path: PathBuf,
    file: Arc<File>,
    content: Content,
    digest: OnceLock<Digest>,
    /// What passes over its tensors have found.
    passes: Mutex<Passes>,
}

#[derive(Default)]
struct Passes {
    /// Of whole tensors, by name.
    digests: HashMap<String, Digest>,
    stats: HashMap<(String, Stored), WeightStats>,
}

enum Content {
    Tensors(Header),
    Index(Index),
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
            let message = "expected a safetensors file, found a folder".to_owned();
            return Err(malformed(path, (message, None)));
        }
        // Opening a pipe would wait for its writer.
        if !metadata.is_file() {
            return Err(malformed(path, ("expected a regular file".to_owned(), None)));
        }
        let file = File::open(path).map_err(io("open the file"))?;
        let len = metadata.len();
        let head = read_head(&file, len).map_err(io("read the file"))?;
        let content = if index::is_index(&path.to_string_lossy()) {
            read_index(&file, &head, len).map_err(io("read the file"))?.map(Content::Index)
        } else {
            let header = read_header(&file, &head, len).map_err(io("read the header"))?;
            header.map(Content::Tensors)
        };
        let content = content.map_err(|fault| match foreign::parse_pointer(&head) {
            Some(pointer) => WeightsError::Pointer { path: path.to_owned(), pointer, wanted: None },
            None => malformed(path, fault),
        })?;
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
        let raw = self.raw(name)?;
        match raw.entry.shape[..] {
            [m, k] => Ok((m, k)),
            ref shape => {
                let message =
                    format!("tensor {}: expected a matrix, found shape {shape:?}", quote(name));
                Err(malformed(&raw.path, (message, None)))
            }
        }
    }

    /// The tensor `name` as it is stored: here, or in the shard that the index names.
    pub(super) fn raw(&self, name: &str) -> Result<Raw, WeightsError> {
        let header = match &self.content {
            Content::Tensors(header) => header,
            Content::Index(index) => {
                let shard = index.shard(name).map_err(|fault| malformed(&self.path, fault))?;
                // Plain names, and no index: checked when the index was read.
                let path = self.path.with_file_name(shard);
                if !path.exists() {
                    return Err(WeightsError::NotFound {
                        what: format!("the shard that holds tensor {}", quote(name)),
                        looked: vec![path],
                        hint: format!("{} lists it; copy it there", self.path.display()),
                    });
                }
                return WeightsFile::open(&path)?.raw(name);
            }
        };
        let entry = header.entry(name).map_err(|fault| malformed(&self.path, fault))?;
        let (path, file) = (self.path.clone(), Arc::clone(&self.file));
        Ok(Raw { path, file, name: name.to_owned(), entry })
    }

    /// A of m x k in the tensor `name`, which is stored so.
    pub fn tensor(
        &self,
        name: &str,
        stored: &Stored,
        m: usize,
        k: usize,
    ) -> Result<Tensor, WeightsError> {
        let raw = self.raw(name)?;
        let names: Vec<&str> = match &self.content {
            Content::Tensors(header) => header.tensor_names().collect(),
            Content::Index(index) => index.tensor_names().collect(),
        };
        tensor::check(name, &raw.entry, stored, (m, k), names.into_iter())
            .map_err(|fault| malformed(&raw.path, fault))?;
        let scales = stored.scales.as_ref().map(|scales| self.raw(&scales.tensor)).transpose()?;
        Tensor::new(raw, scales.as_ref(), stored, (m, k))
    }

    /// [`Tensor::pass`], remembered.
    pub(super) fn pass(&self, tensor: &Tensor) -> Result<(Digest, WeightStats), WeightsError> {
        // The maps are valid whatever happened to another thread.
        let passes = || self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = tensor.name().to_owned();
        let of = (name.clone(), tensor.stored().clone());
        let known = passes().digests.get(&name).copied();
        if let Some((digest, stats)) = known.zip(passes().stats.get(&of).copied()) {
            return Ok((digest, stats));
        }
        let (digest, stats) = tensor.pass(known)?;
        passes().digests.insert(name, digest);
        passes().stats.insert(of, stats);
        Ok((digest, stats))
    }
}

fn malformed(path: &Path, (message, hint): Fault) -> WeightsError {
    WeightsError::Malformed { path: path.to_owned(), message, hint }
}

/// The first bytes of a file.
fn read_head(file: &File, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len.min(foreign::HEAD_LEN as u64) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The header; the inner error is the file's fault.
fn read_header(file: &File, head: &[u8], file_len: u64) -> io::Result<Result<Header, Fault>> {
    let len = match header::header_len(head, file_len) {
        Ok(len) => len,
        Err(fault) => return Ok(Err(fault)),
    };
    // At most 100 MB.
    let mut bytes = vec![0; (header::PREFIX_LEN + len) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(header::parse_header(&bytes, file_len))
}

/// The index; the inner error is the file's fault.
fn read_index(file: &File, head: &[u8], len: u64) -> io::Result<Result<Index, Fault>> {
    if let Err(message) = index::check_len(len) {
        return Ok(Err(foreign::fault(head, Expected::Index).unwrap_or((message, None))));
    }
    let mut bytes = Vec::new();
    let mut file = file;
    file.read_to_end(&mut bytes)?;
    Ok(index::parse_index(&bytes))
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
