//! One tensor of a hub's model: of a large file only the header and the tensor's own bytes are fetched, into a file of ours
//! that later runs use without a network. A small file is fetched whole into Hugging Face's cache, where its own clients
//! find it.

mod answer;
mod client;
mod extract;
mod fault;
mod proxy;
mod settings;
mod shared;
mod trust;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use super::index::Index;
use super::resolve::Wanted;
use super::{header, index, tensor};
use client::{Client, Reading};
use contract::digest::Digest;
use contract::words::quote;
use extract::{Part, Subject};

pub use fault::{Fault, FaultKind};
pub use settings::{InForce, Setting, Settings, Token};

pub(super) use extract::{FILE_SHA256, TENSOR_SHA256, matches, path};
pub(super) use shared::path as shared_path;

/// Bytes of the first request: the length of the header and, of most files, the whole header.
const HEAD_LEN: u64 = 1 << 16;

/// A tensor of a file of a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `ORGANISATION/NAME`.
    pub repo: String,
    /// A commit.
    pub revision: String,
    /// A safetensors file, or the index of a sharded one.
    pub file: String,
    pub tensor: String,
}

/// A hub to fetch from.
pub struct Hub {
    client: Client,
    /// Hugging Face's cache, for whole files; `None`: nothing is fetched whole.
    cache: Option<PathBuf>,
    /// Bytes of a file that is fetched whole, at most.
    whole_max: u64,
    /// Makes the progress bar of so many bytes of what is named.
    pub bar: fn(&str, u64) -> ProgressBar,
    /// Tells what is about to be fetched, and why nothing happens for a while.
    pub say: fn(&str),
    /// What failed is not tried again in the same run.
    failed: Mutex<BTreeMap<Place, Fault>>,
}

/// What a fetch leaves.
pub(super) enum Fetched {
    /// The tensor's extract, in a folder of ours.
    Extract,
    /// The file itself, or the index of a model whose shard lies beside it, in Hugging Face's cache.
    Whole(PathBuf),
}

impl Hub {
    pub fn new(settings: Settings) -> Hub {
        Hub {
            cache: settings.cache.as_ref().map(|cache| cache.value.clone()),
            whole_max: settings.whole_max,
            client: Client::new(settings),
            bar: |_, _| ProgressBar::hidden(),
            say: |_| {},
            failed: Mutex::default(),
        }
    }

    /// Fetches a tensor into its extract below `folder`, unless another process has, or its whole file into Hugging Face's
    /// cache.
    pub(super) fn fetch(
        &self,
        folder: &Path,
        place: &Place,
        wanted: &Wanted<'_>,
    ) -> Result<Fetched, Fault> {
        // The map is valid whatever happened to another thread.
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failed()
            .iter()
            .find(|(other, fault)| fault.host_is_down || *other == place)
            .map(|(_, fault)| fault.clone());
        let result = known.map_or_else(|| self.fetch_now(folder, place, wanted), Err);
        if let Err(fault) = &result {
            failed().insert(place.clone(), fault.clone());
        }
        result
    }

    fn fetch_now(
        &self,
        folder: &Path,
        place: &Place,
        wanted: &Wanted<'_>,
    ) -> Result<Fetched, Fault> {
        let is_index = index::is_index(&place.file);
        let shard = if is_index { self.shard(place)? } else { place.file.clone() };
        let mut head = Vec::new();
        let mut reading =
            Reading { place, file: &shard, at: 0, end: HEAD_LEN, state: None, is_whole: false };
        let state = self.client.read(&mut reading, self.say, &mut |more: &[u8]| {
            head.extend_from_slice(more);
            Ok(())
        })?;
        let is_small = state.file_len <= self.whole_max;
        let is_fetched_whole = is_small || (reading.is_whole && self.whole_max > 0);
        let subject = self.subject(place, &shard, &mut head, &state, wanted)?;
        reading.at = head.len() as u64;
        if let Some(cache) = self.cache.as_ref().filter(|_| is_fetched_whole)
            && let Some(whole) = self.whole(cache, reading, &head, &state)?
        {
            let index = || shared::path(cache, &place.repo, &place.revision, &place.file);
            return Ok(Fetched::Whole(if is_index { index() } else { whole }));
        }
        // Of what is fetched whole the digest is compared with the bytes.
        if let (false, Some(expected), None) = (is_index, wanted.sha256, wanted.tensor_sha256) {
            match state.file_sha256 {
                Some(got) if got != expected => {
                    return Err(Fault::other_bytes("the file that it has", expected, got));
                }
                Some(_) => {}
                None => return Err(Fault::no_stated_digest()),
            }
        }
        self.extract(folder, place, wanted, &subject).map(|()| Fetched::Extract)
    }

    /// Fetches the rest of a file whose beginning is here, into Hugging Face's cache; `None` where nothing can be written
    /// there.
    fn whole(
        &self,
        cache: &Path,
        mut reading: Reading<'_>,
        head: &[u8],
        state: &State,
    ) -> Result<Option<PathBuf>, Fault> {
        let Ok(mut incoming) = shared::Incoming::create(cache, reading.place) else {
            return Ok(None);
        };
        let file = reading.file;
        let failed = |error: std::io::Error| {
            Fault::shared_disk(cache, "write a file that is fetched", &error, state.file_len)
        };
        (self.say)(&format!(
            "fetching {} of {}, {} bytes",
            quote(file),
            reading.place.repo,
            state.file_len
        ));
        let bar = (self.bar)(file, state.file_len);
        incoming.append(head).map_err(failed)?;
        reading.end = state.file_len;
        self.client.read(&mut reading, self.say, &mut |bytes| {
            bar.inc(bytes.len() as u64);
            incoming.append(bytes).map_err(failed)
        })?;
        incoming.finish(cache, reading.place, file, state).map(Some)
    }

    fn extract(
        &self,
        folder: &Path,
        place: &Place,
        wanted: &Wanted<'_>,
        subject: &Subject,
    ) -> Result<(), Fault> {
        let target = path(folder, place);
        let bar = (self.bar)(&place.tensor, subject.len);
        let part = Part::open(&target, subject, self.client.silence, &bar, File::try_lock)?;
        let Some(mut part) = part else { return Ok(()) };
        if part.is_own() {
            (self.say)(&format!(
                "{} has no locks: another process may fetch the same, and what breaks off begins anew",
                folder.display()
            ));
        }
        (self.say)(&format!(
            "fetching tensor {} of {}, {} bytes of {} in {}",
            quote(&place.tensor),
            place.repo,
            subject.len - part.have(),
            subject.state.file_len,
            quote(&subject.shard)
        ));
        bar.set_position(part.have());
        let mut reading = Reading {
            place,
            file: &subject.shard,
            at: subject.start + part.have(),
            end: subject.start + subject.len,
            state: Some(subject.state.clone()),
            is_whole: false,
        };
        self.client.read(&mut reading, self.say, &mut |bytes| {
            part.append(bytes)?;
            bar.set_position(part.have());
            Ok(())
        })?;
        let got = part.digest()?;
        let expected = match &wanted.stored.scales {
            Some(scales) if scales.tensor == place.tensor => scales.sha256,
            _ => wanted.tensor_sha256,
        };
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            part.discard()?;
            return Err(Fault::other_bytes("the tensor that it has", expected, got));
        }
        part.finish(got)
    }

    /// Finds out where the tensor is in a file whose beginning is `head`, which becomes as long as the header.
    fn subject(
        &self,
        place: &Place,
        shard: &str,
        head: &mut Vec<u8>,
        state: &State,
        wanted: &Wanted<'_>,
    ) -> Result<Subject, Fault> {
        let header_len = header::header_len(head, state.file_len).map_err(Fault::malformed)?;
        let at = head.len() as u64;
        if at < header::PREFIX_LEN + header_len {
            let end = header::PREFIX_LEN + header_len;
            let state = Some(state.clone());
            let mut reading = Reading { place, file: shard, at, end, state, is_whole: false };
            self.client.read(&mut reading, self.say, &mut |more: &[u8]| {
                head.extend_from_slice(more);
                Ok(())
            })?;
        }
        let header = header::parse_header(head, state.file_len).map_err(Fault::malformed)?;
        let entry = header.entry(&place.tensor).map_err(Fault::malformed)?;
        // Before it is fetched. Scales are small, and looked at with their tensor.
        if place.tensor == wanted.tensor {
            let names = header.tensor_names();
            tensor::check(&place.tensor, &entry, wanted.stored, (wanted.m, wanted.k), names)
                .map_err(Fault::malformed)?;
        }
        Ok(Subject {
            place: place.clone(),
            shard: shard.to_owned(),
            dtype: entry.dtype,
            shape: entry.shape,
            start: entry.bytes.start,
            len: entry.bytes.end - entry.bytes.start,
            state: state.clone(),
        })
    }

    /// The file beside an index that has the tensor.
    fn shard(&self, place: &Place) -> Result<String, Fault> {
        let here = self
            .cache
            .as_ref()
            .map(|cache| shared::path(cache, &place.repo, &place.revision, &place.file))
            .and_then(|path| index_here(&path));
        let index = match here {
            Some(index) => index,
            None => self.index(place)?,
        };
        let shard = index.shard(&place.tensor).map_err(Fault::malformed)?;
        // Both are plain paths inside the model: the manifest and the index were checked.
        let folder = place.file.rsplit_once('/').map(|(folder, _)| format!("{folder}/"));
        Ok(folder.unwrap_or_default() + shard)
    }

    /// An index, which is kept in Hugging Face's cache where that can be written to.
    fn index(&self, place: &Place) -> Result<Index, Fault> {
        let mut bytes = Vec::new();
        let end = index::INDEX_LEN_MAX;
        let file = &place.file;
        let mut reading = Reading { place, file, at: 0, end, state: None, is_whole: false };
        let state = self.client.read(&mut reading, self.say, &mut |more: &[u8]| {
            bytes.extend_from_slice(more);
            Ok(())
        })?;
        let bad = |message| Fault::malformed((message, None));
        index::check_len(state.file_len).map_err(bad)?;
        let index = index::parse_index(&bytes).map_err(Fault::malformed)?;
        if let Some(cache) = self.cache.as_ref().filter(|_| self.whole_max > 0) {
            self.whole(cache, reading, &bytes, &state)?;
        }
        Ok(index)
    }
}

/// An index on this machine that can be read.
fn index_here(path: &Path) -> Option<Index> {
    let len = std::fs::metadata(path).ok().filter(|metadata| metadata.is_file())?.len();
    index::check_len(len).ok()?;
    index::parse_index(&std::fs::read(path).ok()?).ok()
}

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    file_len: u64,
    /// Empty if the hub does not say.
    etag: String,
    /// The file's digest, if the hub states it.
    file_sha256: Option<Digest>,
}
