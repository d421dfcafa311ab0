//! Tensors of a hub's models: fetched by range, kept, and every way in which a hub can misbehave.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::files::{Folder, bytes_of, entry, f32_file};
use crate::hub_server::{
    FILE, REVISION, Reply, Request, SECRET, Server, TwoServers, nobody, part_of,
};
use contract::case::{Stored, Weights};
use contract::digest::Digest;
use sparse_verify::weights::{Hub, Resolver, Settings, Source, WeightsError};

/// A model's tensor `w` as a manifest names it.
pub fn weights(file: &str, sha256: Option<Digest>, tensor_sha256: Option<Digest>) -> Weights {
    Weights::Hub {
        repo: "org/name".to_owned(),
        revision: REVISION.to_owned(),
        file: file.to_owned(),
        sha256,
        tensor: "w".to_owned(),
        tensor_sha256,
        stored: Stored::default(),
    }
}

pub fn plain() -> Weights {
    weights(FILE, None, None)
}

/// What variables say, without pauses between attempts; nothing is fetched whole.
pub fn settings(variables: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::of(&|name| {
        variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into())
    });
    settings.pause = Duration::ZERO;
    settings.whole_max = 0;
    settings
}

/// Asks the hub at `url`.
pub fn hub(url: &str, token: Option<&str>) -> Hub {
    let none = [("HF_ENDPOINT", url), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
    let known = token.map(|token| [("HF_ENDPOINT", url), ("HF_TOKEN", token)]);
    Hub::new(settings(known.as_ref().unwrap_or(&none)))
}

/// Keeps what it fetches in `folder`, and finds nothing elsewhere.
pub fn resolver(folder: &Folder, hub: Option<Hub>) -> Resolver {
    let mut resolver = Resolver::new(None, true);
    resolver.hub_cache = None;
    resolver.extracts = Some(folder.path("kept"));
    resolver.hub = hub;
    resolver
}

pub fn resolve(resolver: &Resolver, weights: &Weights) -> Result<Source, WeightsError> {
    resolver.resolve(Path::new("x.yaml"), weights, 2, 3)
}

pub fn values(source: &Source) -> Vec<f32> {
    let (m, k) = source.tensor.shape();
    let mut out = vec![0.0; m * k];
    source.tensor.rows(0..m, &mut out).expect("readable");
    out
}

pub const VALUES: [f32; 6] = [1.0, -2.0, 0.5, 4.0, 0.0, -0.25];

pub fn small_file() -> Vec<u8> {
    f32_file(2, 3, &VALUES)
}

/// Everything below a folder, by path.
pub fn kept(folder: &Folder) -> Vec<String> {
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

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let servers = TwoServers::start(small_file());
    let folder = Folder::new();
    let found = resolve(&resolver(&folder, Some(hub(&servers.hub.url, Some(SECRET)))), &plain());
    assert_eq!(values(&found.unwrap_or_else(|e| panic!("{e}"))), VALUES);
    let tokens = |server: &Server| -> Vec<Option<String>> {
        server.log().requests.iter().map(|request| request.authorization.clone()).collect()
    };
    assert_eq!(tokens(&servers.hub), vec![Some(format!("Bearer {SECRET}")); 2]);
    assert_eq!(tokens(&servers.bytes), vec![None; 2]);
}

#[test]
fn a_shard_is_found_by_the_index() {
    let file = small_file();
    let index = br#"{"weight_map": {"v": "model-1.safetensors", "w": "model-2.safetensors"}}"#;
    let answer = move |request: &Request| match request.path.rsplit('/').next() {
        Some("model-2.safetensors") => part_of(&file, request),
        Some("model.safetensors.index.json") => part_of(index, request),
        _ => Reply::new(404).header("X-Error-Code", "EntryNotFound"),
    };
    let server = Server::start(answer);
    let folder = Folder::new();
    let sharded = weights("sub/model.safetensors.index.json", None, None);
    let found = resolve(&resolver(&folder, Some(hub(&server.url, None))), &sharded);
    assert_eq!(values(&found.unwrap_or_else(|e| panic!("{e}"))), VALUES);
    assert_eq!(
        server.log().requests[1].path,
        format!("/org/name/resolve/{REVISION}/sub/model-2.safetensors")
    );
    let asked = server.log().requests.len();
    let found = resolve(&resolver(&folder, None), &sharded);
    assert_eq!(values(&found.unwrap_or_else(|e| panic!("{e}"))), VALUES);
    assert_eq!(server.log().requests.len(), asked);
}

/// What a fetch says that fails, the addresses cut out of it.
fn message(server: &Server, token: Option<&str>, weights: &Weights) -> String {
    let folder = Folder::new();
    let error = resolve(&resolver(&folder, Some(hub(&server.url, token))), weights)
        .expect_err("the server misbehaves");
    assert!(matches!(error, WeightsError::Hub { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    let host = server.url.trim_start_matches("http://");
    error.to_string().replace(&server.url, "HUB").replace(host, "HOST")
}

/// The message of a fetch of [`plain`] that fails so.
fn expected(message: &str, hint: &str) -> String {
    let hint = match hint.strip_suffix('!') {
        Some(alone) => alone.to_owned(),
        None => format!("{hint}, or name a folder that has the file with `--weights DIR`"),
    };
    format!("`{FILE}` of org/name at revision {REVISION}: {message}\nhint: {hint}")
}

#[test]
fn each_refusal_has_its_own_message() {
    let coded = |status, code: &str| Reply::new(status).header("X-Error-Code", code);
    let said = |status, message: &str| Reply::new(status).header("X-Error-Message", message);
    let token = Some(SECRET);
    let cases = [
        (
            coded(401, "GatedRepo"),
            None,
            "org/name is gated, and there is no token",
            "ask for access at HUB/org/name, then set HF_TOKEN or run `hf auth login`",
        ),
        (
            coded(403, "GatedRepo"),
            token,
            "org/name is gated, and the account of the token (HF_TOKEN) has no access",
            "ask for access at HUB/org/name",
        ),
        (
            said(401, "Invalid credentials in Authorization header"),
            token,
            "the hub refuses the token (HF_TOKEN): 401 Unauthorized, `Invalid credentials in \
             Authorization header`",
            "make a valid one at HUB/settings/tokens",
        ),
        (
            coded(404, "RevisionNotFound"),
            None,
            "org/name has no revision 0123456789abcdef0123456789abcdef01234567",
            "give a commit of the model's history in the manifest",
        ),
        (
            coded(404, "EntryNotFound"),
            None,
            "org/name has no file `model.safetensors` at that revision",
            "a sharded model is named by its index, `model.safetensors.index.json`: correct the \
             manifest",
        ),
        (
            coded(401, "RepoNotFound"),
            None,
            "there is no model org/name, or it is private and there is no token",
            "check its name; for a private model set HF_TOKEN or run `hf auth login`",
        ),
        (
            coded(404, "RepoNotFound"),
            token,
            "there is no model org/name, or the token may not see it",
            "check its name in the manifest",
        ),
        (
            said(403, "no permission"),
            token,
            "access to org/name is refused: 403 Forbidden, `no permission`",
            "see what the token may read (a fine-grained one names its models)",
        ),
        (
            Reply::new(404),
            None,
            "the hub does not give it: 404 Not Found",
            "check model, revision and file in the manifest",
        ),
        (
            Reply::new(429).header("Retry-After", 3600),
            None,
            "HOST asks to come back later, in 3600 s (we wait 300 s at most)",
            "run it again later: what was fetched is kept",
        ),
        (
            Reply::new(429).header("Retry-After", 0),
            None,
            "HOST asks to come back later (4 attempts)",
            "run it again later: what was fetched is kept",
        ),
        (
            Reply::new(503),
            None,
            "HOST answers 503 Service Unavailable (4 attempts)",
            "run it again later: what was fetched is kept",
        ),
        (
            Reply::new(418),
            None,
            "HOST answers 418 I'm a teapot",
            "check HF_ENDPOINT, download the file with Hugging Face's client",
        ),
        (
            Reply { body: b"<html>".to_vec(), ..Reply::new(200) }
                .header("Content-Type", "text/html; charset=utf-8"),
            None,
            "HOST answers with a web page, not with the file",
            "check HF_ENDPOINT, download the file with Hugging Face's client",
        ),
        (
            Reply { body: b"x".to_vec(), ..Reply::new(200) }.header("Content-Encoding", "gzip"),
            None,
            "HOST answers with `gzip` in place of the file's bytes",
            "check HF_ENDPOINT, download the file with Hugging Face's client",
        ),
        (
            Reply::new(206).header("Content-Range", "bytes 7-9/10"),
            None,
            "HOST does not answer with the range that it is asked for",
            "check HF_ENDPOINT, download the file with Hugging Face's client",
        ),
        (
            Reply::new(302).header("Location", "/again"),
            None,
            "HOST redirects more than 5 times",
            "check HF_ENDPOINT",
        ),
        (
            Reply::new(302).header("Location", "file:///etc/passwd"),
            None,
            "HOST redirects to an address that cannot be used",
            "check HF_ENDPOINT",
        ),
        (
            part_of(b"x", &Request { range: Some((0, 0)), ..Request::default() })
                .header("X-Repo-Commit", "ffff"),
            None,
            "the hub answers for another revision, `ffff`",
            "check HF_ENDPOINT",
        ),
    ];
    let mut failures = String::new();
    for (reply, token, text, hint) in cases {
        let server = Server::start(move |_| reply.clone());
        let (got, want) = (message(&server, token, &plain()), expected(text, hint));
        if got != want {
            failures += &format!("--- got\n{got}\n--- expected\n{want}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn bytes_servers_refuse_too() {
    let bytes = Server::start(|_| Reply::new(403));
    let to = bytes.url.clone();
    let hub = Server::start(move |_| Reply::new(302).header("Location", &to));
    let got = message(&hub, Some(SECRET), &plain());
    let host = bytes.url.trim_start_matches("http://");
    let text = format!("{host}, to which the hub redirects, answers 403 Forbidden");
    let hint = "run it again: such addresses are valid for some minutes";
    assert_eq!(got, expected(&text, hint));
}

#[test]
fn a_bad_file_on_the_hub_is_named() {
    let zeros = |header: &str| bytes_of(header, &[0; 24]);
    let object = |entry: String| format!("{{{entry}}}");
    let mut cut = small_file();
    cut.truncate(cut.len() - 4);
    for (file, text) in [
        (vec![], "empty file"),
        (
            b"<html>not found</html>".to_vec(),
            "expected a safetensors file, found a web page\nhint: the download went wrong: fetch the file again, with a token where the model asks for one",
        ),
        (cut, "tensor `w` ends at byte 24 of the data, the file holds 20"),
        (
            zeros(&object(entry("model.w", "F32", &[2, 3], 0, 24))),
            "no tensor `w`\nhint: it has `model.w`",
        ),
        (
            zeros(&object(entry("w", "F32", &[3, 2], 0, 24))),
            "tensor `w`: expected shape [2, 3], found [3, 2]\nhint: it is stored transposed: say `transposed: true`",
        ),
        (
            zeros(&object(entry("w", "I32", &[2, 3], 0, 24))),
            "tensor `w`: expected F32, F16, BF16 or F8, found I32",
        ),
    ] {
        let server = Server::start(move |request| part_of(&file, request));
        let got = message(&server, None, &plain());
        assert_eq!(got, format!("`{FILE}` of org/name at revision {REVISION}: {text}"));
    }
    let server = Server::start(|request| part_of(br#"{"weight_map": {}}"#, request));
    let got = message(&server, None, &weights("m.safetensors.index.json", None, None));
    assert!(got.ends_with(": no tensor `w`"), "{got}");
}

#[test]
fn long_headers_are_read_to_their_end() {
    let note = "x".repeat(100_000);
    let header =
        format!(r#"{{"__metadata__":{{"note":"{note}"}},{}}}"#, entry("w", "F32", &[2, 3], 0, 24));
    let data: Vec<u8> = VALUES.iter().flat_map(|x| x.to_le_bytes()).collect();
    let servers = TwoServers::start(bytes_of(&header, &data));
    let folder = Folder::new();
    let found = resolve(&resolver(&folder, Some(hub(&servers.hub.url, None))), &plain());
    assert_eq!(values(&found.unwrap_or_else(|e| panic!("{e}"))), VALUES);
}

#[test]
fn answers_that_break_off_are_gone_on_with() {
    let file = small_file();
    // Four bytes an answer, once the header is there.
    let start = (file.len() - 24) as u64;
    let server = Server::start(move |request| match request.range {
        Some((from, _)) if from >= start => part_of(&file, request).cut(4),
        _ => part_of(&file, request),
    });
    let folder = Folder::new();
    let found = resolve(&resolver(&folder, Some(hub(&server.url, None))), &plain());
    assert_eq!(values(&found.unwrap_or_else(|e| panic!("{e}"))), VALUES);
    let from: Vec<u64> = server.ranges(FILE).iter().map(|range| range.0).collect();
    assert_eq!(from, [0, start, start + 4, start + 8, start + 12, start + 16, start + 20]);
}

#[test]
fn what_never_comes_is_given_up() {
    let file = small_file();
    let len = file.len();
    let server = Server::start(move |request| part_of(&file, request).cut(0));
    let text = format!("the answer of HOST broke off after 0 of {len} bytes");
    let got = message(&server, None, &plain());
    assert!(got.contains(&text) && got.contains("(4 attempts)"), "{got}");
    assert!(got.contains("hint: run it again: it goes on where it stopped"), "{got}");
    // A server that keeps silent.
    let file = small_file();
    let minute = Duration::from_secs(60);
    let silent = Server::start(move |request| part_of(&file, request).cut(0).stall(minute));
    let mut settings = settings(&[("HF_ENDPOINT", &silent.url)]);
    settings.silence.value = Duration::from_millis(200);
    let hub = Hub::new(settings);
    let started = Instant::now();
    let error = resolve(&resolver(&Folder::new(), Some(hub)), &plain()).expect_err("silent");
    assert!(error.to_string().contains("timeout"), "{error}");
    assert!(started.elapsed() < minute, "{:?}", started.elapsed());
}

#[test]
fn passing_trouble_passes() {
    let file = small_file();
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(500),
        1 => Reply::new(429).header("Retry-After", 0),
        2 => Reply::new(502),
        _ => part_of(&file, request),
    });
    let folder = Folder::new();
    let found = resolve(&resolver(&folder, Some(hub(&server.url, None))), &plain());
    assert_eq!(values(&found.unwrap_or_else(|e| panic!("{e}"))), VALUES);
}

#[test]
fn what_failed_is_not_asked_for_again_in_the_same_run() {
    let server = Server::start(|_| Reply::new(503));
    let folder = Folder::new();
    let resolver = resolver(&folder, Some(hub(&server.url, None)));
    let first = resolve(&resolver, &plain()).expect_err("unavailable").to_string();
    let asked = server.log().requests.len();
    assert_eq!(resolve(&resolver, &plain()).expect_err("unavailable").to_string(), first);
    // Another file of a hub that is down fares no better.
    let other = resolve(&resolver, &weights("other.safetensors", None, None));
    assert!(other.expect_err("unavailable").to_string().contains("503"));
    assert_eq!(server.log().requests.len(), asked);
}

#[test]
fn other_bytes_than_the_manifests_are_a_refutation_and_are_not_kept() {
    let file = small_file();
    let (file_digest, digest) = (Digest::of(&file), Digest::of(&file[file.len() - 24..]));
    let wrong = Digest::of(b"other");
    let servers = TwoServers::start(file);
    let folder = Folder::new();
    let fetch = |sha256, tensor_sha256| {
        let weights = weights(FILE, sha256, tensor_sha256);
        resolve(&resolver(&folder, Some(hub(&servers.hub.url, None))), &weights)
    };
    let hint = "a commit's files do not change: correct the manifest's revision or digest!";
    for (sha256, tensor_sha256, of, got) in [
        (Some(wrong), None, "the file", file_digest),
        (None, Some(wrong), "the tensor", digest),
        (Some(file_digest), Some(wrong), "the tensor", digest),
    ] {
        let error = fetch(sha256, tensor_sha256).expect_err("another digest");
        let text =
            format!("digest mismatch of {of} that it has\n  expected {wrong}\n  got      {got}");
        assert_eq!(error.to_string(), expected(&text, hint));
        assert_eq!(kept(&folder), Vec::<String>::new());
    }
    // The tensor's decides.
    let source = fetch(Some(wrong), Some(digest)).unwrap_or_else(|e| panic!("{e}"));
    assert!(source.note.is_some_and(|note| note.contains("the tensor's digest is the manifest's")));
    // What was kept is held to the manifest too.
    let error = fetch(None, Some(wrong)).expect_err("another digest");
    assert!(matches!(error, WeightsError::DigestMismatch { .. }), "{error:?}");
    let error = fetch(Some(wrong), None).expect_err("another digest");
    assert!(matches!(error, WeightsError::DigestMismatch { .. }), "{error:?}");
    assert!(fetch(Some(file_digest), None).is_ok());
}

#[test]
fn a_files_digest_that_the_hub_does_not_state_needs_the_tensors() {
    let file = small_file();
    let digests = (Digest::of(&file), Digest::of(&file[file.len() - 24..]));
    let server = Server::start(move |request| part_of(&file, request));
    assert_eq!(
        message(&server, None, &weights(FILE, Some(digests.0), None)),
        expected(
            "the hub does not state the file's SHA-256, and of the file only the tensor is fetched",
            "give the tensor's `sha256` in the manifest"
        )
    );
    let folder = Folder::new();
    let resolver = resolver(&folder, Some(hub(&server.url, None)));
    assert!(resolve(&resolver, &weights(FILE, Some(digests.0), Some(digests.1))).is_ok());
}

#[test]
fn a_file_that_changes_meanwhile_is_not_put_together_of_two() {
    let file = small_file();
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        let etag = if n < 2 { "\"a\"" } else { "\"b\"" };
        let reply = part_of(&file, request).header("ETag", etag);
        if n == 1 { reply.cut(8) } else { reply }
    });
    let folder = Folder::new();
    let fetch = || resolve(&resolver(&folder, Some(hub(&server.url, None))), &plain());
    assert_eq!(
        fetch().expect_err("changed").to_string(),
        expected(
            "the file changed on the hub while it was fetched",
            "run it again: it begins anew"
        )
    );
    let asked = server.log().requests.len();
    assert_eq!(values(&fetch().unwrap_or_else(|e| panic!("{e}"))), VALUES);
    let start = small_file().len() as u64 - 24;
    assert_eq!(server.ranges(FILE)[asked + 1].0, start, "anew");
}

#[test]
fn what_is_damaged_is_fetched_again() {
    let servers = TwoServers::start(small_file());
    let folder = Folder::new();
    let fetch = |online: bool| {
        resolve(&resolver(&folder, online.then(|| hub(&servers.hub.url, None))), &plain())
    };
    fetch(true).unwrap_or_else(|e| panic!("{e}"));
    let [path] = &kept(&folder)[..] else { panic!("one file: {:?}", kept(&folder)) };
    let good = std::fs::read(path).expect("kept");
    let flipped = {
        let mut bytes = good.clone();
        *bytes.last_mut().expect("not empty") ^= 1;
        bytes
    };
    let other_place = {
        let text = String::from_utf8_lossy(&good).into_owned();
        let at = text.find("org/name").expect("in the header");
        let mut bytes = good.clone();
        bytes[at] = b'x';
        bytes
    };
    for bad in [flipped, other_place, good[..good.len() - 1].to_vec(), b"x".to_vec(), vec![]] {
        std::fs::write(path, &bad).expect("writable");
        let error = fetch(false).expect_err("damaged").to_string();
        assert!(error.contains("damaged since it was fetched\nhint: without --offline"), "{error}");
        assert_eq!(values(&fetch(true).unwrap_or_else(|e| panic!("{e}"))), VALUES);
        assert_eq!(std::fs::read(path).expect("kept"), good);
    }
}

#[test]
fn two_at_once_fetch_once() {
    let file = small_file();
    let start = (file.len() - 24) as u64;
    let server = Server::start(move |request| {
        if request.range.is_some_and(|range| range.0 >= start) {
            std::thread::sleep(Duration::from_millis(100));
        }
        part_of(&file, request)
    });
    let folder = Folder::new();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let found = resolve(&resolver(&folder, Some(hub(&server.url, None))), &plain());
                assert_eq!(values(&found.unwrap_or_else(|e| panic!("{e}"))), VALUES);
            });
        }
    });
    assert_eq!(server.ranges(FILE).iter().filter(|range| range.0 >= start).count(), 1);
}

#[test]
fn unreachable_hubs_and_proxies_are_told_apart() {
    let failure = |hub: Hub| {
        let folder = Folder::new();
        resolve(&resolver(&folder, Some(hub)), &plain()).expect_err("unreachable").to_string()
    };
    let through = |proxy: &str| {
        failure(Hub::new(settings(&[
            ("HF_ENDPOINT", "https://hub.invalid"),
            ("HTTPS_PROXY", proxy),
            ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
        ])))
    };
    let dead = nobody();
    let got = failure(hub(&format!("http://{dead}"), None));
    assert!(got.contains(&format!("cannot reach {dead}: ")), "{got}");
    assert!(got.contains("refused") && got.contains("hint: check the network"), "{got}");
    let got = through(&format!("http://user:{SECRET}@{dead}"));
    assert!(
        got.contains(&format!("cannot reach hub.invalid by the proxy http://{dead}: ")),
        "{got}"
    );
    assert!(
        got.contains("hint: correct or unset HTTPS_PROXY, or name hub.invalid in NO_PROXY"),
        "{got}"
    );
    assert!(!got.contains(SECRET), "{got}");
    // A proxy that refuses.
    let server = Server::start(|_| Reply::new(407));
    let got = through(&server.url);
    assert!(
        got.contains(" (HTTPS_PROXY) wants to know its user: ") && got.contains("407"),
        "{got}"
    );
    assert_eq!(server.log().requests.len(), 1, "a second attempt fares no better");
    for bad in ["hub", "ftp://hub", "http://", &format!("https://user:{SECRET}@hub")] {
        let got = failure(hub(bad, None));
        assert!(got.contains("HF_ENDPOINT is not a hub's address"), "{got}");
        assert!(!got.contains(SECRET), "{got}");
    }
    let server = Server::start(|_| Reply::new(200).header("X", "\u{7}"));
    let got = failure(hub(&server.url, None));
    assert!(got.contains("answers is not HTTP: "), "{got}");
    // What could end the header that a token goes into.
    let got = failure(hub(&format!("http://{dead}"), Some("hf_x\r\nHost: evil")));
    assert!(got.contains("the token (HF_TOKEN) has characters that no token has"), "{got}");
    assert!(!got.contains("evil"), "{got}");
}

#[test]
fn where_nothing_can_be_written_the_folder_is_named() {
    let servers = TwoServers::start(small_file());
    let folder = Folder::new();
    folder.write("kept", b"a file");
    let found = resolve(&resolver(&folder, Some(hub(&servers.hub.url, None))), &plain());
    let error = found.expect_err("no folder").to_string();
    assert!(
        error.contains("kept/models--org--name/") && error.contains("failed to make"),
        "{error}"
    );
    assert!(error.contains("hint: name a folder that can be written to"), "{error}");
}
