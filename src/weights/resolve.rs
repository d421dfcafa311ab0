//! Finds the weights that a manifest names, and makes sure that they are those.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::WeightsError;
use super::file::{WeightStats, WeightsFile};
use super::hub::{self, Fetched, Hub, Place, Settings};
use super::index::is_index;
use super::tensor::{Raw, Tensor};
use crate::cache;
use contract::case::{Stored, Weights};
use contract::digest::Digest;
use contract::words::{self, quote};

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
    /// What says that nothing is fetched: a flag or a variable.
    pub offline: Option<String>,
    /// Tells of files that are damaged and that the hub is asked for again.
    pub say: fn(&str),
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
    /// Whether the manifest names the file by its digest alone, and the hub's word is all that it was compared with.
    pub is_stated: bool,
}

/// What a manifest says of a tensor.
pub(super) struct Wanted<'a> {
    /// Of the file.
    pub sha256: Option<Digest>,
    pub tensor: &'a str,
    pub tensor_sha256: Option<Digest>,
    /// How A lies in it.
    pub stored: &'a Stored,
    pub m: usize,
    pub k: usize,
}

impl Wanted<'_> {
    /// Whether the tensor's digest, and that of its scales, say which bytes are meant.
    fn is_pinned(&self) -> bool {
        self.tensor_sha256.is_some()
            && self.stored.scales.as_ref().is_none_or(|scales| scales.sha256.is_some())
    }
}

impl Resolver {
    /// Looks and asks where the environment says ([`Settings`]).
    pub fn new(weights_dir: Option<PathBuf>, offline: bool) -> Resolver {
        let settings = Settings::from_environment();
        let hub_cache = settings.cache.as_ref().map(|cache| cache.value.clone());
        let extracts = cache::folder().map(|folder| folder.join("weights"));
        let flag = offline.then(|| "--offline".to_owned());
        let offline = flag.or_else(|| settings.offline.clone());
        let hub = offline.is_none().then(|| Hub::new(settings));
        let files = Mutex::default();
        Resolver { weights_dir, hub_cache, extracts, hub, offline, say: |_| {}, files }
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
                let hint = "the case is not required, and nothing is downloaded for it: `--fetch` downloads it";
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
            Weights::File { path, sha256, tensor, tensor_sha256, stored } => {
                let (sha256, tensor_sha256) = (*sha256, *tensor_sha256);
                let wanted = Wanted { sha256, tensor, tensor_sha256, stored, m, k };
                let what = format!("weights {}", quote(&path.to_string_lossy()));
                (self.places_of_file(manifest, path), wanted, what, None)
            }
            Weights::Hub { repo, revision, file, sha256, tensor, tensor_sha256, stored } => {
                let (sha256, tensor_sha256) = (*sha256, *tensor_sha256);
                let wanted = Wanted { sha256, tensor, tensor_sha256, stored, m, k };
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
        let mut damaged = None;
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
                Err(error) if hub_place.is_some() && self.is_fetched_anew(path, &error) => {
                    damaged = damaged.or(Some(error));
                }
                Err(error) => first_error = first_error.or(Some(of_file(error, wanted.sha256))),
            }
        }
        if let (Some(place), Some(folder)) = (&hub_place, &self.extracts) {
            match self.extract(folder, place, &wanted) {
                Ok(Some(source)) => return Ok(source),
                Ok(None) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match (first_error, &hub_place, hub, damaged) {
            (Some(error), _, _, _) => Err(error),
            (None, Some(place), Some(hub), damaged) => {
                if let Some(WeightsError::Malformed { path, message, .. }) = damaged {
                    let path = words::path(&path);
                    (self.say)(&format!("{path}: {message}; the hub is asked for it"));
                }
                self.fetch(hub, place, &wanted, what)
            }
            (None, _, None, Some(error)) => Err(self.damaged(error)),
            _ => Err(self.not_found(weights, what, places)),
        }
    }

    /// Whether a fault of a file in Hugging Face's cache is that it is not all there: cut off, or an index without its
    /// shard.
    fn is_fetched_anew(&self, path: &Path, error: &WeightsError) -> bool {
        if !self.hub_cache.as_ref().is_some_and(|cache| path.starts_with(cache)) {
            return false;
        }
        match error {
            // The file itself, or a shard beside it.
            WeightsError::Malformed { path, .. } => WeightsFile::open(path).is_err(),
            WeightsError::NotFound { .. } => true,
            _ => false,
        }
    }

    /// What is wrong with a file in the cache that cannot be fetched now.
    fn damaged(&self, error: WeightsError) -> WeightsError {
        let Some(offline) = &self.offline else { return error };
        let hint = format!("without {offline} it is fetched again");
        match error {
            WeightsError::Malformed { path, message, .. } => {
                WeightsError::Malformed { path, message, hint: Some(hint) }
            }
            WeightsError::NotFound { what, looked, .. } => {
                let hint = hint.replace(" again", "");
                WeightsError::NotFound { what, looked, hint }
            }
            error => error,
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
        let Some((file, raw)) = self.extracted(folder, place)? else { return Ok(None) };
        let scales = match scales_place(place, wanted) {
            None => None,
            Some(place) => match self.extracted(folder, &place)? {
                Some((file, raw)) => Some((place, file, raw)),
                None => return Ok(None),
            },
        };
        let scales_raw = scales.as_ref().map(|(_, _, raw)| raw);
        let shape = (wanted.m, wanted.k);
        let tensor = Tensor::new(raw, scales_raw, wanted.stored, shape)?;
        let (sha256, _) = file.pass(&tensor)?;
        if file.metadata(hub::TENSOR_SHA256) != Some(&*sha256.to_string()) {
            return self.remove_damaged(hub::path(folder, place));
        }
        if let Some((place, file, raw)) = &scales
            && file.metadata(hub::TENSOR_SHA256) != Some(&*raw.digest()?.to_string())
        {
            return self.remove_damaged(hub::path(folder, place));
        }
        // What the hub said of the file; of an index it would be of a shard.
        let stated = file.metadata(hub::FILE_SHA256).filter(|_| !is_index(&place.file));
        let stated = stated.and_then(|digest| digest.parse().ok());
        if wanted.sha256.is_some() && !wanted.is_pinned() && stated.is_none() {
            return Ok(None);
        }
        let source = check(&file, tensor, scales_raw, stated, wanted)?;
        if wanted.sha256.is_none() || wanted.is_pinned() {
            return Ok(Some(source));
        }
        let note = Some(format!(
            "the digest of {} is stated by the hub: only the tensor was fetched, and the file's bytes were not compared with it",
            quote(&place.file)
        ));
        Ok(Some(Source { note, is_stated: true, ..source }))
    }

    /// What was fetched of a place, if it says that it is of that.
    fn extracted(
        &self,
        folder: &Path,
        place: &Place,
    ) -> Result<Option<(Arc<WeightsFile>, Raw)>, WeightsError> {
        let path = hub::path(folder, place);
        if !path.exists() {
            return Ok(None);
        }
        match self.open(&path) {
            Ok(file) if hub::matches(place, |key| file.metadata(key)) => {
                let raw = file.raw(&place.tensor)?;
                Ok(Some((file, raw)))
            }
            Ok(_) | Err(WeightsError::Malformed { .. } | WeightsError::Pointer { .. }) => {
                self.remove_damaged(path)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes what is damaged, so that it is fetched again: nothing is there then.
    fn remove_damaged<T>(&self, path: PathBuf) -> Result<Option<T>, WeightsError> {
        if self.hub.is_none() {
            let message = "damaged since it was fetched".to_owned();
            let offline = self.offline.as_deref().unwrap_or("--offline");
            let hint = Some(format!("without {offline} it is fetched again"));
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
        let fetched = folder.ok_or_else(hub::Fault::no_folder).and_then(|folder| {
            let fetched = hub.fetch(folder, place, wanted)?;
            // What is fetched whole has the scales too, unless they are in another shard.
            if let Some(place) = scales_place(place, wanted) {
                hub.fetch(folder, &place, wanted)?;
            }
            Ok((fetched, folder))
        });
        match fetched {
            Ok((Fetched::Whole(path), _)) => {
                // What is open was there before.
                self.files().remove(&path);
                self.open(&path).and_then(|file| check_file(&file, wanted))
            }
            Ok((Fetched::Extract, folder)) => self
                .extract(folder, place, wanted)?
                .ok_or(WeightsError::Hub { what, fault: hub::Fault::changed() }),
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
            places.push(hub::shared_path(cache, repo, revision, file));
        }
        distinct(places)
    }

    fn not_found(&self, weights: &Weights, what: String, looked: Vec<PathBuf>) -> WeightsError {
        let hint = match (weights, &self.weights_dir) {
            (Weights::Hub { .. }, _) => {
                let offline = self.offline.as_deref().unwrap_or("offline");
                format!(
                    "nothing is downloaded ({offline}); `--weights DIR` names a folder that has it"
                )
            }
            (_, None) => "name a folder that has it with `--weights DIR`".to_owned(),
            (_, Some(_)) => "put it into the folder of `--weights`".to_owned(),
        };
        WeightsError::NotFound { what, looked, hint }
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

/// The place of the scales of a tensor, if it has any.
fn scales_place(place: &Place, wanted: &Wanted<'_>) -> Option<Place> {
    let scales = wanted.stored.scales.as_ref()?;
    Some(Place { tensor: scales.tensor.clone(), ..place.clone() })
}

/// An error that says which file a pointer should be.
fn of_file(error: WeightsError, wanted: Option<Digest>) -> WeightsError {
    match error {
        WeightsError::Pointer { path, pointer, .. } => {
            WeightsError::Pointer { path, pointer, wanted }
        }
        error => error,
    }
}

fn check_file(file: &WeightsFile, wanted: &Wanted<'_>) -> Result<Source, WeightsError> {
    let file_digest = wanted.sha256.map(|_| file.digest()).transpose()?;
    other_file(file, file_digest, wanted)?;
    let tensor = file.tensor(wanted.tensor, wanted.stored, wanted.m, wanted.k)?;
    let scales = wanted.stored.scales.as_ref();
    let scales = scales.map(|scales| file.raw(&scales.tensor)).transpose()?;
    check(file, tensor, scales.as_ref(), file_digest, wanted)
}

/// The digests wanted and found, if the file is another one and its tensors' own digests do not decide.
fn other_file(
    file: &WeightsFile,
    file_digest: Option<Digest>,
    wanted: &Wanted<'_>,
) -> Result<Option<(Digest, Digest)>, WeightsError> {
    let other = wanted.sha256.zip(file_digest).filter(|(expected, got)| expected != got);
    match other {
        Some((expected, got)) if !wanted.is_pinned() => {
            let path = file.path().to_owned();
            Err(WeightsError::DigestMismatch { path, tensor: None, expected, got })
        }
        other => Ok(other),
    }
}

/// The tensor, if the digests that are given are its own.
///
/// Where both are given the tensor's decides: an extract of a checkpoint serves as well.
fn check(
    file: &WeightsFile,
    tensor: Tensor,
    scales: Option<&Raw>,
    file_digest: Option<Digest>,
    wanted: &Wanted<'_>,
) -> Result<Source, WeightsError> {
    let mismatch = |path: &Path, tensor: &str, expected, got| {
        let tensor = Some(tensor.to_owned());
        Err(WeightsError::DigestMismatch { path: path.to_owned(), tensor, expected, got })
    };
    let other_file = other_file(file, file_digest, wanted)?;
    let (sha256, stats) = file.pass(&tensor)?;
    if let Some(expected) = wanted.tensor_sha256.filter(|expected| *expected != sha256) {
        return mismatch(tensor.path(), wanted.tensor, expected, sha256);
    }
    let expected = wanted.stored.scales.as_ref().and_then(|scales| scales.sha256);
    if let Some((expected, raw)) = expected.zip(scales) {
        let got = raw.digest()?;
        if got != expected {
            return mismatch(&raw.path, &raw.name, expected, got);
        }
    }
    let note = other_file.map(|(expected, got)| {
        format!(
            "{} is another file than the manifest's (digest {got}, not {expected}); accepted, \
             because the tensor's digest is the manifest's",
            file.path().display()
        )
    });
    Ok(Source { tensor, sha256, stats, note, is_stated: false })
}
