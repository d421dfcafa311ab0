//! The program and a hub: what it fetches, what it needs no more, and how it exits when there is nothing to be had.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Workbench, ran};
use crate::files::{bytes_of, entry, f32_file};
use crate::hub_server::{
    FILE, REVISION, Reply, Request, SECRET, Server, TwoServers, nobody, part_of,
};

/// A manifest of a required and an optional section, both on tensor `w` of 96 x 64.
fn manifest(required: bool) -> String {
    format!(
        "format: sparse-verify/2
title: A model's tensor
sections:
  - name: real
    required: {required}
    seed: 3
    weights: {{hub: org/name, revision: {REVISION}, file: {FILE}}}
    layers: {{name: up, shape: [96, 64], tensor: w}}
    patterns: row-magnitude
    sparsity: 0.5
    batch: 8
    dtype: f32
    arithmetic: f32-chain
  - name: made
    seed: 3
    weights: {{synthetic: uniform}}
    layers: {{name: up, shape: [96, 64]}}
    patterns: row-magnitude
    sparsity: 0.5
    batch: 8
    dtype: f32
    arithmetic: f32-chain
"
    )
}

/// A file of which only the tensor is fetched: 5 MB of others come before it.
fn larger_file() -> Vec<u8> {
    let (before, len) = (5_000_000, 96 * 64 * 4);
    let header = format!(
        "{{{},{}}}",
        entry("before", "F32", &[before / 4], 0, before),
        entry("w", "F32", &[96, 64], before, before + len)
    );
    let values = (0..96 * 64).flat_map(|i| ((i % 251) as f32 - 125.5).to_le_bytes());
    bytes_of(&header, &std::iter::repeat_n(0, before).chain(values).collect::<Vec<u8>>())
}

/// What is said before its tensor is fetched.
fn announced() -> String {
    let len = larger_file().len();
    format!("note: fetching tensor `w` of org/name, 24576 bytes of {len} in `{FILE}`\n")
}

/// Takes away whatever this environment says of hubs.
pub fn without_hub_variables(command: &mut Command) -> &mut Command {
    let is_ours = |name: &str| {
        let capitals = name.to_ascii_uppercase();
        ["HF_", "HUGGING", "TRANSFORMERS_", "SSL_CERT_", "XDG_CACHE"]
            .iter()
            .any(|start| capitals.starts_with(start))
            || ["_PROXY", "_CA_BUNDLE"].iter().any(|end| capitals.ends_with(end))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_ours) {
            command.env_remove(name);
        }
    }
    command
}

/// The program in a folder of its own, with the hub at `url` and nothing else from outside.
fn set_up(command: &mut Command, bench: &Workbench, url: &str) {
    without_hub_variables(command).env("HF_ENDPOINT", url);
    command.env("HF_HOME", bench.path("hf")).env("SPARSE_VERIFY_CACHE", bench.path("cache"));
}

fn program(bench: &Workbench, url: &str, arguments: &[&str]) -> Command {
    let mut command = bench.command(arguments);
    set_up(&mut command, bench, url);
    command
}

const RUN: [&str; 2] = ["manifests/real.yaml", "--no-measure"];

fn bench(required: bool) -> Workbench {
    let bench = Workbench::new(&[]);
    bench.write("manifests/real.yaml", &manifest(required));
    bench
}

#[test]
fn the_program_fetches_once_and_then_needs_no_network() {
    let servers = TwoServers::start(larger_file());
    let bench = bench(true);
    let verify = |url: &str, arguments: &[&str]| ran(&mut program(&bench, url, arguments));
    // Where the token comes from: the file, then the variable.
    std::fs::create_dir(bench.path("hf")).expect("writable");
    bench.write("hf/token", "hf_of_the_file\n");
    let pinned = verify(&servers.hub.url, &["pin", "manifests/real.yaml", "--yes"]);
    assert_eq!((pinned.code, &pinned.stderr), (0, &announced()), "{}", pinned.stdout);
    let token = |server: &Server| server.log().requests[0].authorization.clone();
    assert_eq!(token(&servers.hub).as_deref(), Some("Bearer hf_of_the_file"));
    let dead = format!("http://{}", nobody());
    let arguments = [&RUN[..], &["--json", "record.json", "--junit", "report.xml"]].concat();
    let again = ran(program(&bench, &dead, &arguments).env("HF_TOKEN", SECRET));
    assert_eq!((again.code, again.stderr.as_str()), (0, ""), "{}", again.stdout);
    assert!(again.stdout.contains("2 cases: 2 verified"), "{}", again.stdout);
    for text in [again.stdout, bench.read("record.json"), bench.read("report.xml")] {
        assert!(!text.contains(SECRET), "{text}");
    }
    let offline = verify(&servers.hub.url, &[&RUN[..], &["--offline"]].concat());
    assert_eq!(offline.code, 0, "{offline:?}");
    std::fs::remove_dir_all(bench.path("cache")).expect("kept there");
    let asked = servers.hub.log().requests.len();
    let offline = verify(&servers.hub.url, &[&RUN[..], &["--offline"]].concat());
    assert_eq!(offline.code, 3, "{offline:?}");
    assert!(offline.stdout.contains("nothing is downloaded (--offline)"), "{}", offline.stdout);
    assert_eq!(servers.hub.log().requests.len(), asked);
    let fetched = ran(program(&bench, &servers.hub.url, &RUN).env("HF_TOKEN", SECRET));
    assert_eq!((fetched.code, &fetched.stderr), (0, &announced()), "{}", fetched.stdout);
    let last = servers.hub.log().requests[asked].authorization.clone();
    assert_eq!(last, Some(format!("Bearer {SECRET}")));
    let cases = bench.read("record.json");
    assert!(cases.contains(&format!("org/name@{REVISION}/{FILE}: w")), "{cases}");
}

#[test]
fn without_a_network_only_what_is_required_fails_the_run() {
    let benches = [bench(true), bench(false)];
    let dead = format!("http://{}", nobody());
    for bench in &benches {
        let servers = TwoServers::start(larger_file());
        let pinned = ran(&mut program(bench, &servers.hub.url, &["pin", RUN[0], "--yes"]));
        assert_eq!(pinned.code, 0, "{pinned:?}");
        std::fs::remove_dir_all(bench.path("cache")).expect("kept there");
    }
    // At the same time, because each waits between its attempts.
    let runs = std::thread::scope(|scope| {
        let dead = &dead;
        let runs: Vec<_> =
            [(&benches[0], 4, "cannot reach 127.0.0.1:"), (&benches[1], 0, "not required")]
                .into_iter()
                .map(|(bench, code, why)| {
                    scope.spawn(move || (ran(&mut program(bench, dead, &RUN)), code, why))
                })
                .collect();
        runs.into_iter().map(|run| run.join().expect("no panic")).collect::<Vec<_>>()
    });
    for (ran, code, why) in runs {
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stdout.contains("2 cases: 1 verified, 1 not-run"), "{}", ran.stdout);
        assert!(ran.stdout.contains(why), "{}", ran.stdout);
    }
}

#[test]
fn nothing_is_downloaded_for_what_is_not_required_unless_it_is_asked_for() {
    let servers = TwoServers::start(larger_file());
    let bench = bench(false);
    let verify = |arguments: &[&str]| ran(&mut program(&bench, &servers.hub.url, arguments));
    assert_eq!(verify(&["pin", RUN[0], "--yes"]).code, 0);
    std::fs::remove_dir_all(bench.path("cache")).expect("kept there");
    let before = servers.hub.log().requests.len();
    let left = verify(&RUN);
    assert!(left.stdout.contains("nothing is downloaded for it: `--fetch` downloads"), "{left:?}");
    assert!(
        left.stderr.contains("note: 1 of the cases, on models of the hub, are not required"),
        "{left:?}"
    );
    assert_eq!((left.code, servers.hub.log().requests.len()), (0, before), "{left:?}");
    // A part of the manifest is asked for with nothing more.
    let part = verify(&[RUN[0], RUN[1], "--case", "real/*"]);
    assert!(part.stdout.contains("1 case: 1 not-run"), "{part:?}");
    assert_eq!(servers.hub.log().requests.len(), before);
    let both = verify(&[RUN[0], "--fetch", "--offline"]);
    assert_eq!(both.code, 2, "{both:?}");
    let asked = verify(&[RUN[0], RUN[1], "--case", "real/*", "--fetch"]);
    assert!(asked.stdout.contains("1 case: 1 verified"), "{asked:?}");
    assert!(servers.hub.log().requests.len() > before);
}

#[test]
fn a_digest_that_only_the_hub_states_is_said_so_and_is_not_pinned() {
    let file = larger_file();
    let digest = contract::digest::Digest::of(&file);
    let servers = TwoServers::start(file.clone());
    let bench = bench(true);
    let of_file = format!("file: {FILE}, sha256: {digest}");
    let manifest = manifest(true).replace(&format!("file: {FILE}"), &of_file);
    bench.write("manifests/real.yaml", &manifest);
    let verify = |arguments: &[&str]| ran(&mut program(&bench, &servers.hub.url, arguments));
    let tensor = contract::digest::Digest::of(&file[file.len() - 96 * 64 * 4..]);
    let refused = verify(&["pin", RUN[0], "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("compared with nothing but the hub's word"), "{refused:?}");
    assert!(refused.stdout.contains(&format!("it is {tensor}")), "{refused:?}");
    let run = verify(&[&RUN[..], &["--case", "real/*", "--json", "record.json"]].concat());
    let note = format!("the digest of `{FILE}` is stated by the hub: only the tensor was fetched");
    assert!(run.stdout.contains(&format!("    note: {note}")), "{run:?}");
    assert!(bench.read("record.json").contains(&format!("\"weights_note\":\"{note}")));
    let report = verify(&["report", "record.json", "--html", "page.html", "--markdown", "page.md"]);
    assert_eq!(report.code, run.code, "{report:?}");
    for page in ["page.html", "page.md"] {
        assert!(bench.read(page).contains("is stated by the hub"), "{page}");
    }
    // With the tensor's own digest it is pinned.
    let own = format!("tensor: w, sha256: {tensor}");
    bench.write("manifests/real.yaml", &manifest.replace("tensor: w", &own));
    let pinned = verify(&["pin", RUN[0], "--yes"]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    let run = verify(&[&RUN[..], &["--case", "real/*"]].concat());
    assert!(run.code == 0 && !run.stdout.contains("stated by the hub"), "{run:?}");
}

#[test]
fn doctor_says_what_is_in_force_and_why() {
    let bench = bench(true);
    let mut command = program(&bench, "http://hub.example/", &["doctor"]);
    command.env("HF_HUB_OFFLINE", "yes").env("HF_TOKEN", SECRET).env("no_proxy", "a,b");
    command.env("HTTPS_PROXY", format!("http://user:{SECRET}@proxy.example:8080"));
    command.env("HF_HUB_CACHE", "~/models").env("HOME", "/home/somebody");
    let said = ran(&mut command);
    assert_eq!(said.code, 0, "{said:?}");
    for line in [
        "  hub         http://hub.example (HF_ENDPOINT)",
        "  network     not used (HF_HUB_OFFLINE)",
        "  cache       /home/somebody/models (HF_HUB_CACHE)",
        "  token       used (HF_TOKEN)",
        "  https proxy http://proxy.example:8080 (HTTPS_PROXY)",
        "  no proxy    for 2 kinds of address (no_proxy)",
        "  authorities this machine's",
    ] {
        assert!(said.stdout.contains(&format!("{line}\n")), "{line} in {}", said.stdout);
    }
    assert!(!said.stdout.contains(SECRET), "{}", said.stdout);
}

#[test]
fn gated_models_and_bad_files_have_their_codes() {
    for (reply, code, word) in [
        (Reply::new(401).header("X-Error-Code", "GatedRepo"), 3, "org/name is gated"),
        (part_of_whole(b"not a file"), 2, "not a safetensors file"),
        (part_of_whole(&f32_file(1, 1, &[1.0])), 2, "expected shape [96, 64], found [1, 1]"),
    ] {
        let bench = bench(true);
        let server = Server::start(move |_| reply.clone());
        let ran =
            ran(&mut program(&bench, &server.url, &[&RUN[..], &["--case", "real/*"]].concat()));
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stdout.contains(word) && ran.stdout.contains("not-run"), "{}", ran.stdout);
    }
}

/// All of a file, to whoever asks for its beginning.
fn part_of_whole(file: &[u8]) -> Reply {
    let range = Some((0, file.len() as u64));
    part_of(file, &Request { range, ..Request::default() })
}

#[test]
fn a_killed_download_goes_on_where_it_stopped() {
    let file = larger_file();
    let start = (file.len() - 96 * 64 * 4) as u64;
    let half = 96 * 64 * 2;
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let is_tensor = request.range.is_some_and(|range| range.0 >= start);
        match is_tensor && count.fetch_add(1, Ordering::SeqCst) == 0 {
            true => part_of(&file, request).cut(half).stall(Duration::from_secs(20)),
            false => part_of(&file, request),
        }
    });
    let bench = bench(true);
    let mut child = program(&bench, &server.url, &["pin", RUN[0], "--yes"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was built");
    let part = bench
        .path(&format!("cache/weights/models--org--name/{REVISION}/{FILE}/w.safetensors.part"));
    // After the length of a header and the header.
    let is_there = || {
        let bytes = std::fs::read(&part).unwrap_or_default();
        let header = bytes.first_chunk::<8>().map(|len| u64::from_le_bytes(*len) as usize);
        header.is_some_and(|header| bytes.len() == 8 + header + half)
    };
    let since = Instant::now();
    while !is_there() && since.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(is_there());
    child.kill().expect("still waiting");
    child.wait().expect("killed");
    let ran = ran(&mut program(&bench, &server.url, &["pin", RUN[0], "--yes"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let from: Vec<u64> = server.ranges(FILE).iter().map(|range| range.0).collect();
    assert_eq!(from, [0, start, 0, start + half as u64]);
    assert!(!part.exists());
    let tensor = std::fs::read(part.with_extension("")).expect("kept");
    assert!(tensor.ends_with(&larger_file()[start as usize..]));
}

#[test]
fn a_full_disk_is_named_and_what_is_there_is_gone_on_with() {
    let servers = TwoServers::start(larger_file());
    let bench = bench(true);
    // No file may have more than 8 KiB, of a tensor of 24.
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash"]);
    command.arg(env!("CARGO_BIN_EXE_verify")).args([&RUN[..], &["--case", "real/*"]].concat());
    command.current_dir(bench.path(""));
    set_up(&mut command, &bench, &servers.hub.url);
    let full = ran(&mut command);
    assert_eq!(full.code, 4, "{full:?}");
    assert!(full.stdout.contains("w.safetensors.part: failed to write: "), "{}", full.stdout);
    assert!(full.stdout.contains("the tensor takes 24576 bytes"), "{}", full.stdout);
    let ran = ran(&mut program(&bench, &servers.hub.url, &["pin", RUN[0], "--yes"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let from: Vec<u64> = servers.bytes.ranges("signature=x").iter().map(|range| range.0).collect();
    assert!(from[3] > from[1], "{from:?}");
}
