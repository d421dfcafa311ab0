//! Finds the weights that a manifest names, and makes sure that they are those.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hf_hub::{Cache, Repo};

use super::WeightsError;
use super::file::{Tensor, WeightStats, WeightsFile};
use crate::digest::Digest;
use crate::manifest::Weights;
use crate::words::quote;

/// Where weights are looked for. Files stay open, and what was hashed is not hashed again.
pub struct Resolver {
    /// `--weights`.
    pub weights_dir: Option<PathBuf>,
    /// Whether downloading is forbidden. Nothing is downloaded yet; hints differ.
    pub offline: bool,
    /// Hugging Face's cache of downloaded files.
    pub hub_cache: Option<PathBuf>,
    files: Mutex<BTreeMap<PathBuf, Arc<WeightsFile>>>,
}

/// A tensor that has been found to be the manifest's.
#[derive(Debug)]
pub struct Source {
    pub tensor: Tensor,
    /// Of the tensor's bytes as stored.
    pub sha256: Digest,
    pub stats: WeightStats,
    /// What a reader of the record should know.
    pub note: Option<String>,
}

/// What a manifest says of a tensor.
struct Wanted<'a> {
    sha256: Option<Digest>,
    tensor: &'a str,
    tensor_sha256: Option<Digest>,
    m: usize,
    k: usize,
}

impl Resolver {
    /// The cache is where HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME say, or in the home folder.
    pub fn new(weights_dir: Option<PathBuf>, offline: bool) -> Resolver {
        let folder = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let hub_cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
            .or_else(|| env::home_dir().map(|home| home.join(".cache/huggingface/hub")));
        Resolver { weights_dir, offline, hub_cache, files: Mutex::default() }
    }

    /// Finds and checks a tensor of m x k; `manifest` is the path of the manifest's file.
    ///
    /// Of several files the first that passes is used; if none does, the first one's fault is
    /// reported.
    ///
    /// # Panics
    ///
    /// For synthetic weights, which are not found but made.
    pub fn resolve(
        &self,
        manifest: &Path,
        weights: &Weights,
        m: usize,
        k: usize,
    ) -> Result<Source, WeightsError> {
        let (places, wanted, what) = match weights {
            Weights::Synthetic(_) => panic!("synthetic weights have no file"),
            Weights::File { path, sha256, tensor, tensor_sha256 } => {
                let wanted =
                    Wanted { sha256: *sha256, tensor, tensor_sha256: *tensor_sha256, m, k };
                let what = format!("weights {}", quote(&path.to_string_lossy()));
                (self.places_of_file(manifest, path), wanted, what)
            }
            Weights::Hub { repo, revision, file, sha256, tensor, tensor_sha256 } => {
                let wanted =
                    Wanted { sha256: *sha256, tensor, tensor_sha256: *tensor_sha256, m, k };
                let what = format!("`{file}` of {repo} at revision {revision}");
                (self.places_of_hub(repo, revision, file), wanted, what)
            }
        };
        let mut first_error = None;
        // What cannot even be looked at is reported when it is opened.
        let is_there = |path: &&PathBuf| {
            std::fs::metadata(path).map_or_else(
                |e| {
                    use std::io::ErrorKind::{NotADirectory, NotFound};
                    !matches!(e.kind(), NotFound | NotADirectory)
                },
                |_| true,
            )
        };
        for path in places.iter().filter(is_there) {
            match self.open(path).and_then(|file| check(&file, &wanted)) {
                Ok(source) => return Ok(source),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| self.not_found(weights, what, places)))
    }

    fn places_of_file(&self, manifest: &Path, path: &Path) -> Vec<PathBuf> {
        let mut places = Vec::new();
        if let Some(dir) = &self.weights_dir {
            places.push(dir.join(path));
            places.extend(path.file_name().map(|name| dir.join(name)));
        }
        places.push(manifest.parent().unwrap_or(Path::new("")).join(path));
        distinct(places)
    }

    fn places_of_hub(&self, repo: &str, revision: &str, file: &str) -> Vec<PathBuf> {
        let mut places = Vec::new();
        let name = repo.rsplit('/').next().unwrap_or(repo);
        if let Some(dir) = &self.weights_dir {
            // From the most to the least telling.
            places.extend([
                dir.join(repo).join(file),
                dir.join(name).join(file),
                dir.join(format!("{name}.safetensors")),
                dir.join(file),
            ]);
            places.extend(Path::new(file).file_name().map(|name| dir.join(name)));
        }
        if let Some(cache) = &self.hub_cache {
            let model = Cache::new(cache.clone()).repo(Repo::model(repo.to_owned()));
            places.push(model.pointer_path(revision).join(file));
        }
        distinct(places)
    }

    fn not_found(&self, weights: &Weights, what: String, looked: Vec<PathBuf>) -> WeightsError {
        let hint = match (weights, &self.weights_dir) {
            (Weights::Hub { .. }, _) if self.offline => {
                "nothing is downloaded (offline); `--weights DIR` names a folder that has it"
            }
            (Weights::Hub { .. }, _) => {
                "download it with Hugging Face's client, or name a folder that has it with \
                 `--weights DIR`"
            }
            (_, None) => "name a folder that has it with `--weights DIR`",
            (_, Some(_)) => "put it into the folder of `--weights`",
        };
        WeightsError::NotFound { what, looked, hint: hint.to_owned() }
    }

    fn open(&self, path: &Path) -> Result<Arc<WeightsFile>, WeightsError> {
        // The map is valid whatever happened to another thread.
        let files = || self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files().get(path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(WeightsFile::open(path)?);
        files().insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

fn distinct(places: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for place in places {
        if !kept.contains(&place) {
            kept.push(place);
        }
    }
    kept
}

/// The tensor, if the digests that are given are its own.
///
/// Where both are given the tensor's decides: an extract of a checkpoint serves as well.
fn check(file: &WeightsFile, wanted: &Wanted<'_>) -> Result<Source, WeightsError> {
    let mismatch = |path: &Path, tensor: Option<&str>, expected, got| {
        let tensor = tensor.map(str::to_owned);
        Err(WeightsError::DigestMismatch { path: path.to_owned(), tensor, expected, got })
    };
    let file_digest = wanted.sha256.map(|_| file.digest()).transpose()?;
    let other_file = wanted.sha256.zip(file_digest).filter(|(expected, got)| expected != got);
    if let (Some((expected, got)), None) = (other_file, wanted.tensor_sha256) {
        return mismatch(file.path(), None, expected, got);
    }
    let tensor = file.tensor(wanted.tensor, wanted.m, wanted.k)?;
    let (sha256, stats) = file.pass(&tensor)?;
    if let Some(expected) = wanted.tensor_sha256.filter(|expected| *expected != sha256) {
        return mismatch(tensor.path(), Some(wanted.tensor), expected, sha256);
    }
    let note = other_file.map(|(expected, got)| {
        format!(
            "{} is another file than the manifest's (digest {got}, not {expected}); accepted, \
             because the tensor's digest is the manifest's",
            file.path().display()
        )
    });
    Ok(Source { tensor, sha256, stats, note })
}
