//! One tensor of a hub's model: of its file only the header and the tensor's own bytes are fetched,
//! into a file of ours that later runs use without a network.

mod client;
mod extract;
mod fault;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;

use super::resolve::Wanted;
use super::{header, index, tensor};
use client::{Client, Reading};
use contract::digest::Digest;
use extract::{Part, Subject};

pub use fault::{Fault, FaultKind};

pub(super) use extract::{FILE_SHA256, TENSOR_SHA256, matches, path};

/// Bytes of the first request: the length of the header and, of most files, the whole header.
const HEAD_LEN: u64 = 1 << 16;
/// How long nothing may come before a connection is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Before the second attempt; each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(500);

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

/// What a hub knows its user by. Never shown.
pub struct Token {
    pub text: String,
    /// Where it comes from, for messages.
    pub origin: String,
}

/// A hub to fetch from.
pub struct Hub {
    client: Client,
    /// Makes the progress bar of so many bytes of a tensor.
    pub bar: fn(&str, u64) -> ProgressBar,
    /// What failed is not tried again in the same run.
    failed: Mutex<BTreeMap<Place, Fault>>,
}

/// HF_HOME, or Hugging Face's folder in the user's cache folder.
pub(super) fn home() -> Option<PathBuf> {
    variable("HF_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable("XDG_CACHE_HOME")?).join("huggingface")))
        .or_else(|| env::home_dir().map(|home| home.join(".cache/huggingface")))
}

/// An environment variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl Token {
    /// HF_TOKEN, or what Hugging Face's client has stored.
    fn from_environment() -> Option<Token> {
        if let Some(text) = variable("HF_TOKEN") {
            return Some(Token { text: text.trim().to_owned(), origin: "HF_TOKEN".to_owned() });
        }
        let path = home()?.join("token");
        let text = std::fs::read_to_string(&path).ok()?.trim().to_owned();
        (!text.is_empty()).then(|| Token { text, origin: path.display().to_string() })
    }
}

impl Hub {
    /// The hub that HF_ENDPOINT names, reached as ALL_PROXY, HTTPS_PROXY, HTTP_PROXY and NO_PROXY
    /// say.
    pub fn from_environment() -> Hub {
        let endpoint = variable("HF_ENDPOINT");
        let endpoint = endpoint.as_deref().unwrap_or("https://huggingface.co");
        let proxy = ureq::Proxy::try_from_env();
        Hub::new(endpoint, Token::from_environment(), proxy, SILENCE, PAUSE)
    }

    /// `silence` is how long nothing may come before a connection is given up, `pause` comes before
    /// the second attempt and doubles.
    pub fn new(
        endpoint: &str,
        token: Option<Token>,
        proxy: Option<ureq::Proxy>,
        silence: Duration,
        pause: Duration,
    ) -> Hub {
        Hub {
            client: Client::new(endpoint, token, proxy, silence, pause),
            bar: |_, _| ProgressBar::hidden(),
            failed: Mutex::default(),
        }
    }

    /// Fetches a tensor into its extract below `folder`, unless another process has.
    pub(super) fn fetch(
        &self,
        folder: &Path,
        place: &Place,
        wanted: &Wanted<'_>,
    ) -> Result<(), Fault> {
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

    fn fetch_now(&self, folder: &Path, place: &Place, wanted: &Wanted<'_>) -> Result<(), Fault> {
        let subject = self.subject(place, wanted)?;
        let target = path(folder, place);
        let bar = (self.bar)(&place.tensor, subject.len);
        let Some(mut part) = Part::open(&target, &subject, self.client.silence, &bar)? else {
            return Ok(());
        };
        bar.set_position(part.have());
        let mut reading = Reading {
            place,
            file: &subject.shard,
            at: subject.start + part.have(),
            end: subject.start + subject.len,
            state: Some(subject.state.clone()),
        };
        self.client.read(&mut reading, &mut |bytes| {
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

    /// Finds out where the tensor is, and whether it is in the file that is wanted.
    fn subject(&self, place: &Place, wanted: &Wanted<'_>) -> Result<Subject, Fault> {
        let is_index = index::is_index(&place.file);
        let shard = if is_index { self.shard(place)? } else { place.file.clone() };
        let mut bytes = Vec::new();
        let mut reading = Reading { place, file: &shard, at: 0, end: HEAD_LEN, state: None };
        let mut keep = |more: &[u8]| {
            bytes.extend_from_slice(more);
            Ok(())
        };
        let state = self.client.read(&mut reading, &mut keep)?;
        let header_len = header::header_len(&bytes, state.file_len).map_err(Fault::malformed)?;
        if reading.at < header::PREFIX_LEN + header_len {
            reading.end = header::PREFIX_LEN + header_len;
            let mut keep = |more: &[u8]| {
                bytes.extend_from_slice(more);
                Ok(())
            };
            self.client.read(&mut reading, &mut keep)?;
        }
        let header = header::parse_header(&bytes, state.file_len).map_err(Fault::malformed)?;
        let entry = header.entry(&place.tensor).map_err(Fault::malformed)?;
        // Before it is fetched. Scales are small, and looked at with their tensor.
        if place.tensor == wanted.tensor {
            let names = header.tensor_names();
            tensor::check(&place.tensor, &entry, wanted.stored, (wanted.m, wanted.k), names)
                .map_err(Fault::malformed)?;
        }
        if let (false, Some(expected), None) = (is_index, wanted.sha256, wanted.tensor_sha256) {
            match state.file_sha256 {
                Some(got) if got != expected => {
                    return Err(Fault::other_bytes("the file that it has", expected, got));
                }
                Some(_) => {}
                None => return Err(Fault::no_stated_digest()),
            }
        }
        Ok(Subject {
            place: place.clone(),
            shard,
            dtype: entry.dtype,
            shape: entry.shape,
            start: entry.bytes.start,
            len: entry.bytes.end - entry.bytes.start,
            state,
        })
    }

    /// The file beside an index that has the tensor.
    fn shard(&self, place: &Place) -> Result<String, Fault> {
        let bad = |message| Fault::malformed((message, None));
        let mut bytes = Vec::new();
        let end = index::INDEX_LEN_MAX;
        let mut reading = Reading { place, file: &place.file, at: 0, end, state: None };
        let state = self.client.read(&mut reading, &mut |more: &[u8]| {
            bytes.extend_from_slice(more);
            Ok(())
        })?;
        index::check_len(state.file_len).map_err(bad)?;
        let index = index::parse_index(&bytes).map_err(Fault::malformed)?;
        let shard = index.shard(&place.tensor).map_err(Fault::malformed)?;
        // Both are plain paths inside the model: the manifest and the index were checked.
        let folder = place.file.rsplit_once('/').map(|(folder, _)| format!("{folder}/"));
        Ok(folder.unwrap_or_default() + shard)
    }
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
