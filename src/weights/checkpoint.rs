//! A checkpoint as a person names it: a file, or a model in Hugging Face's cache.

use std::path::PathBuf;

use hf_hub::{Cache, Repo};

use super::file::WeightsFile;
use super::index::is_index;
use super::{Resolver, WeightsError};
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::words::quote;

/// A matrix of a checkpoint on this machine, and how a manifest names it.
#[derive(Debug)]
pub struct Found {
    pub origin: Origin,
    pub tensor: String,
    pub m: usize,
    pub k: usize,
    /// As stored.
    pub dtype: Dtype,
    /// Of the tensor's bytes as stored.
    pub sha256: Digest,
}

/// Where a checkpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file, with its whole path.
    File(PathBuf),
    /// A file of a model, at a commit.
    Hub { repo: String, revision: String, file: String },
}

/// The branch whose commit the cache has noted, where no revision is named.
const BRANCH: &str = "main";

impl Resolver {
    /// Finds a matrix of the checkpoint that `named` is: a safetensors file or an index of some, or `ORG/NAME`, or
    /// `ORG/NAME@COMMIT`, a model in Hugging Face's cache. Values that are not finite are refused.
    pub fn checkpoint(&self, named: &str, tensor: &str) -> Result<Found, WeightsError> {
        let in_folder = self.weights_dir.as_ref().map(|folder| folder.join(named));
        let path = [Some(PathBuf::from(named)), in_folder]
            .into_iter()
            .flatten()
            .find(|path| path.exists());
        let (origin, file) = match path {
            Some(path) => {
                let file = WeightsFile::open(&path)?;
                let action = "find the file";
                let whole = path.canonicalize().map_err(|source| WeightsError::Io {
                    path,
                    action,
                    source,
                })?;
                (Origin::File(whole), file)
            }
            None => self.model(named, tensor)?,
        };
        let (m, k) = file.shape(tensor)?;
        let matrix = file.tensor(tensor, m, k)?;
        let (sha256, _) = file.pass(&matrix)?;
        Ok(Found { origin, tensor: tensor.to_owned(), m, k, dtype: matrix.dtype(), sha256 })
    }

    /// The file of a cached model that has the tensor.
    fn model(&self, named: &str, tensor: &str) -> Result<(Origin, WeightsFile), WeightsError> {
        let not_found = |looked: Vec<PathBuf>, hint: &str| WeightsError::NotFound {
            what: format!("checkpoint {}", quote(named)),
            looked,
            hint: hint.to_owned(),
        };
        const FORMS: &str = "name a .safetensors file, an index of such files, or a model as ORG/NAME or ORG/NAME@COMMIT";
        let (repo, revision) =
            named.split_once('@').map_or((named, None), |(repo, at)| (repo, Some(at)));
        let is_file = [".safetensors", ".json"].iter().any(|end| named.ends_with(end));
        let is_name =
            |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('/');
        if is_file || !repo.split_once('/').is_some_and(|(org, name)| is_name(org) && is_name(name))
        {
            return Err(not_found(vec![PathBuf::from(named)], FORMS));
        }
        let Some(cache) = &self.hub_cache else {
            return Err(not_found(
                Vec::new(),
                "there is no home folder: name the cache in HF_HUB_CACHE",
            ));
        };
        const FETCH: &str =
            "fetch it with Hugging Face's client (`hf download`), or name a file of it";
        let repo_of = Repo::model(repo.to_owned());
        let revision = match revision {
            Some(revision) => revision.to_owned(),
            None => {
                let branch = cache.join(repo_of.folder_name()).join("refs").join(BRANCH);
                let commit = std::fs::read_to_string(&branch).unwrap_or_default().trim().to_owned();
                if commit.is_empty() {
                    return Err(not_found(vec![branch], FETCH));
                }
                commit
            }
        };
        let is_commit = revision.len() == 40
            && revision.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_commit {
            return Err(not_found(
                Vec::new(),
                "after the @ stands a commit: 40 lower-case hexadecimal digits",
            ));
        }
        let folder = Cache::new(cache.clone()).repo(repo_of).pointer_path(&revision);
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .map(|entries| {
                entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
            })
            .unwrap_or_default();
        names.retain(|name| {
            name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")
        });
        // An index before its shards: it is what a manifest names.
        names.sort_by_key(|name| (!is_index(name), name.clone()));
        if names.is_empty() {
            return Err(not_found(vec![folder], FETCH));
        }
        let mut first_fault = None;
        for name in names {
            let opened = WeightsFile::open(&folder.join(&name))
                .and_then(|file| file.shape(tensor).map(|_| file));
            match opened {
                Ok(file) => {
                    let origin = Origin::Hub { repo: repo.to_owned(), revision, file: name };
                    return Ok((origin, file));
                }
                Err(fault) => first_fault = first_fault.or(Some(fault)),
            }
        }
        Err(first_fault.unwrap_or_else(|| unreachable!("there is a name, and none opened")))
    }
}
