//! Tensors of a hub's models: fetched by range, kept, and every way in which a hub can misbehave.

mod common;
mod files;
mod hub_server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Ran, ran};
use files::{Folder, bytes_of, entry, f32_file};
use hub_server::{Reply, Request, Server, part_of};
use sparse_verify::digest::Digest;
use sparse_verify::inputs::weights::{Hub, Resolver, Source, Token, WeightsError};
use sparse_verify::manifest::Weights;

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const SECRET: &str = "hf_secretsecretsecret";

/// A model's tensor `w` as a manifest names it.
fn weights(file: &str, sha256: Option<Digest>, tensor_sha256: Option<Digest>) -> Weights {
    Weights::Hub {
        repo: "org/name".to_owned(),
        revision: REVISION.to_owned(),
        file: file.to_owned(),
        sha256,
        tensor: "w".to_owned(),
        tensor_sha256,
    }
}

const FILE: &str = "model.safetensors";

fn plain() -> Weights {
    weights(FILE, None, None)
}

/// Asks the hub at `url`, with little patience.
fn hub(url: &str, token: Option<&str>) -> Hub {
    let token = token.map(|text| Token { text: text.to_owned(), origin: "HF_TOKEN".to_owned() });
    Hub::new(url, token, None, Duration::from_millis(300), Duration::from_millis(1))
}

/// Keeps what it fetches in `folder`, and finds nothing elsewhere.
fn resolver(folder: &Folder, hub: Option<Hub>) -> Resolver {
    let mut resolver = Resolver::new(None, true);
    resolver.hub_cache = None;
    resolver.extracts = Some(folder.path("kept"));
    resolver.hub = hub;
    resolver
}

fn resolve(resolver: &Resolver, weights: &Weights) -> Result<Source, WeightsError> {
    resolver.resolve(Path::new("x.yaml"), weights, 2, 3)
}

fn values(source: &Source) -> Vec<f32> {
    let (m, k) = source.tensor.shape();
    let mut out = vec![0.0; m * k];
    source.tensor.rows(0..m, &mut out).expect("readable");
    out
}

const VALUES: [f32; 6] = [1.0, -2.0, 0.5, 4.0, 0.0, -0.25];

fn small_file() -> Vec<u8> {
    f32_file(2, 3, &VALUES)
}

/// A hub that redirects to another server for the bytes, as the real one does.
struct TwoServers {
    hub: Server,
    bytes: Server,
}

impl TwoServers {
    fn start(file: Vec<u8>) -> TwoServers {
        let digest = Digest::of(&file);
        let bytes = Server::start(move |request| part_of(&file, request));
        let to = format!("{}/blob?signature=x", bytes.url);
        let hub = Server::start(move |_| {
            Reply::new(302)
                .header("Location", &to)
                .header("X-Repo-Commit", REVISION)
                .header("X-Linked-Etag", format!("\"{digest}\""))
        });
        TwoServers { hub, bytes }
    }
}

/// Everything below a folder, by path.
fn kept(folder: &Folder) -> Vec<String> {
    let mut left = vec![folder.path("kept")];
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&path) else { continue };
        for entry in entries {
            let path = entry.expect("listed").path();
            if path.is_dir() { left.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found
}

#[test]
fn only_the_tensors_bytes_travel_and_only_once() {
    // 90 MB, of which one 1536 x 384 matrix is wanted.
    let (m, k) = (1536, 384);
    let (before, len) = (40_000_000, m * k * 4);
    let after = 90_000_000 - before - len;
    let header = format!(
        "{{{},{},{}}}",
        entry("a", "F32", &[before / 4], 0, before),
        entry("w", "F32", &[m, k], before, before + len),
        entry("z", "F32", &[after / 4], before + len, before + len + after)
    );
    let mut file = bytes_of(&header, &[]);
    let start = file.len() + before;
    file.resize(file.len() + 90_000_000, 0);
    let values: Vec<u8> = (0..m * k).flat_map(|i| (i as f32 - 1000.0).to_le_bytes()).collect();
    file[start..start + len].copy_from_slice(&values);
    let servers = TwoServers::start(file);
    let folder = Folder::new();
    let find = |hub| resolver(&folder, hub).resolve(Path::new("x.yaml"), &plain(), m, k);
    let source = find(Some(hub(&servers.hub.url, None))).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(source.sha256, Digest::of(&values));
    assert_eq!(source.stats.max, (m * k - 1001) as f32);
    let sent = servers.bytes.log().sent;
    assert!(sent < len + 100_000, "{sent} bytes for a tensor of {len}");
    // Afterwards nothing is asked, with the network or without.
    let asked = servers.hub.log().requests.len();
    for hub in [Some(hub(&servers.hub.url, None)), None] {
        assert_eq!(find(hub).unwrap_or_else(|e| panic!("{e}")).sha256, source.sha256);
    }
    assert_eq!(servers.hub.log().requests.len(), asked);
}
