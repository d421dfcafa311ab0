//! Finds the weights that a manifest names, and makes sure that they are those.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hf_hub::{Cache, Repo};

use super::WeightsError;
use super::file::{Tensor, WeightStats, WeightsFile};
use super::hub::{self, Hub, Place};
use super::index::is_index;
use crate::cache;
use contract::case::Weights;
use contract::digest::Digest;
use contract::words::quote;

/// Where weights are looked for. Files stay open, and what was hashed is not hashed again.
pub struct Resolver {
    /// `--weights`.
    pub weights_dir: Option<PathBuf>,
    /// Hugging Face's cache of downloaded files.
    pub hub_cache: Option<PathBuf>,
    /// Our own folder of tensors that were fetched.
    pub extracts: Option<PathBuf>,
    /// Where tensors of models are fetched that are nowhere here; `None`: nowhere.
    pub hub: Option<Hub>,
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
pub(super) struct Wanted<'a> {
    /// Of the file.
    pub sha256: Option<Digest>,
    pub tensor: &'a str,
    pub tensor_sha256: Option<Digest>,
    pub m: usize,
    pub k: usize,
}

impl Resolver {
    /// Hugging Face's cache is where HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME say, or in the home
    /// folder.
    pub fn new(weights_dir: Option<PathBuf>, offline: bool) -> Resolver {
        let hub_cache = std::env::var_os("HF_HUB_CACHE").filter(|value| !value.is_empty());
        let hub_cache = hub_cache.map(PathBuf::from).or_else(|| Some(hub::home()?.join("hub")));
        let extracts = cache::folder().map(|folder| folder.join("weights"));
        let hub = (!offline).then(Hub::from_environment);
        Resolver { weights_dir, hub_cache, extracts, hub, files: Mutex::default() }
    }

    /// Finds and checks a tensor of m x k; `manifest` is the path of the manifest's file.
    ///
    /// Of several files the first that passes is used; if none does, the first one's fault is
    /// reported. The hub is asked where there is none.
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
        self.find(manifest, weights, (m, k), self.hub.as_ref())
    }

    /// The same of what is on this machine.
    ///
    /// # Panics
    ///
    /// As [`Resolver::resolve`].
    pub fn resolve_here(
        &self,
        manifest: &Path,
        weights: &Weights,
        m: usize,
        k: usize,
    ) -> Result<Source, WeightsError> {
        let found = self.find(manifest, weights, (m, k), None);
        found.map_err(|error| match error {
            WeightsError::NotFound { what, looked, .. } if self.hub.is_some() => {
                let hint = "the case is not required, and nothing is downloaded for it unless `--case` asks for it";
                WeightsError::NotFound { what, looked, hint: hint.to_owned() }
            }
            error => error,
        })
    }

    fn find(
        &self,
        manifest: &Path,
        weights: &Weights,
        (m, k): (usize, usize),
        hub: Option<&Hub>,
    ) -> Result<Source, WeightsError> {
        let (places, wanted, what, hub_place) = match weights {
            Weights::Synthetic(_) | Weights::Drawn(_) | Weights::Numpy => {
                panic!("weights by formula have no file")
            }
            Weights::File { path, sha256, tensor, tensor_sha256 } => {
                let wanted =
                    Wanted { sha256: *sha256, tensor, tensor_sha256: *tensor_sha256, m, k };
                let what = format!("weights {}", quote(&path.to_string_lossy()));
                (self.places_of_file(manifest, path), wanted, what, None)
            }
            Weights::Hub { repo, revision, file, sha256, tensor, tensor_sha256 } => {
                let wanted =
                    Wanted { sha256: *sha256, tensor, tensor_sha256: *tensor_sha256, m, k };
                let what = format!("`{file}` of {repo} at revision {revision}");
                let place = Place {
                    repo: repo.clone(),
                    revision: revision.clone(),
                    file: file.clone(),
                    tensor: tensor.clone(),
                };
                (self.places_of_hub(repo, revision, file), wanted, what, Some(place))
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
            match self.open(path).and_then(|file| check_file(&file, &wanted)) {
                Ok(source) => return Ok(source),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let (Some(place), Some(folder)) = (&hub_place, &self.extracts) {
            match self.extract(folder, place, &wanted) {
                Ok(Some(source)) => return Ok(source),
                Ok(None) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match (first_error, &hub_place, hub) {
            (Some(error), _, _) => Err(error),
            (None, Some(place), Some(hub)) => self.fetch(hub, place, &wanted, what),
            _ => Err(self.not_found(weights, what, places)),
        }
    }

    /// The tensor as it was fetched before; `None` if it was not, or cannot be compared with what
    /// the manifest says.
    fn extract(
        &self,
        folder: &Path,
        place: &Place,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Source>, WeightsError> {
        let path = hub::path(folder, place);
        if !path.exists() {
            return Ok(None);
        }
        let file = match self.open(&path) {
            Ok(file) => Some(file).filter(|file| hub::matches(place, |key| file.metadata(key))),
            Err(WeightsError::Malformed { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(file) = file {
            let tensor = file.tensor(wanted.tensor, wanted.m, wanted.k)?;
            let (sha256, _) = file.pass(&tensor)?;
            if file.metadata(hub::TENSOR_SHA256) == Some(&*sha256.to_string()) {
                // What the hub said of the file; of an index it would be of a shard.
                let stated = file.metadata(hub::FILE_SHA256).filter(|_| !is_index(&place.file));
                let stated = stated.and_then(|digest| digest.parse().ok());
                let is_pinned = wanted.sha256.is_none() || wanted.tensor_sha256.is_some();
                if !is_pinned && stated.is_none() {
                    return Ok(None);
                }
                return check(&file, stated, wanted).map(Some);
            }
        }
        if self.hub.is_none() {
            let message = "damaged since it was fetched".to_owned();
            let hint = Some("without --offline it is fetched again".to_owned());
            return Err(WeightsError::Malformed { path, message, hint });
        }
        self.files().remove(&path);
        let action = "remove what is damaged";
        fs::remove_file(&path).map_err(|source| WeightsError::Io { path, action, source })?;
        Ok(None)
    }

    fn fetch(
        &self,
        hub: &Hub,
        place: &Place,
        wanted: &Wanted<'_>,
        what: String,
    ) -> Result<Source, WeightsError> {
        let folder = self.extracts.as_deref();
        let fetched = folder
            .ok_or_else(hub::Fault::no_folder)
            .and_then(|folder| hub.fetch(folder, place, wanted).map(|_| folder));
        match fetched.map(|folder| self.extract(folder, place, wanted)) {
            Ok(Ok(Some(source))) => Ok(source),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) => Err(WeightsError::Hub { what, fault: hub::Fault::changed() }),
            Err(fault) => Err(WeightsError::Hub { what, fault }),
        }
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
            (Weights::Hub { .. }, _) => {
                "nothing is downloaded (offline); `--weights DIR` names a folder that has it"
            }
            (_, None) => "name a folder that has it with `--weights DIR`",
            (_, Some(_)) => "put it into the folder of `--weights`",
        };
        WeightsError::NotFound { what, looked, hint: hint.to_owned() }
    }

    fn open(&self, path: &Path) -> Result<Arc<WeightsFile>, WeightsError> {
        if let Some(file) = self.files().get(path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(WeightsFile::open(path)?);
        self.files().insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<WeightsFile>>> {
        // The map is valid whatever happened to another thread.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
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

fn check_file(file: &WeightsFile, wanted: &Wanted<'_>) -> Result<Source, WeightsError> {
    let file_digest = wanted.sha256.map(|_| file.digest()).transpose()?;
    check(file, file_digest, wanted)
}

/// The tensor, if the digests that are given are its own.
///
/// Where both are given the tensor's decides: an extract of a checkpoint serves as well.
fn check(
    file: &WeightsFile,
    file_digest: Option<Digest>,
    wanted: &Wanted<'_>,
) -> Result<Source, WeightsError> {
    let mismatch = |path: &Path, tensor: Option<&str>, expected, got| {
        let tensor = tensor.map(str::to_owned);
        Err(WeightsError::DigestMismatch { path: path.to_owned(), tensor, expected, got })
    };
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
