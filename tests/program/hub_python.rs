//! The program beside huggingface_hub itself: in one environment and with one hub both find, both refuse, both stay offline,
//! and each finds what the other has fetched.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Ran, Workbench, ran};
use crate::files::{Folder, bytes_of, entry, f32_file};
use crate::hub_program::without_hub_variables;
use crate::hub_server::{
    Certificate, FILE, Opening, REVISION, RealHub, Request, SECRET, Server, Tunnel, nobody, whole,
};
use contract::digest::Digest;

const INDEX: &str = "model.safetensors.index.json";

/// Variables with their values.
type Set<'a> = &'a [(&'a str, &'a str)];

/// Downloads files, and says where they are; ends with 1 where it cannot.
const DOWNLOAD: &str = "
import sys
from huggingface_hub import hf_hub_download
repo, revision = sys.argv[1:3]
for name in sys.argv[3:]:
    print(hf_hub_download(repo, name, revision=revision))
";

/// A Python that has huggingface_hub; `None`, said aloud, where there is none.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("SPARSE_VERIFY_PYTHON").map_or("python3".into(), PathBuf::from);
    let import = Command::new(&python).args(["-c", "import huggingface_hub, socksio"]).output();
    if import.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    // Past the test's captured output: what was not run must show.
    let note = "not run: the comparison with huggingface_hub (no Python that has it and socksio)";
    writeln!(std::io::stderr(), "{note}").expect("a terminal or a log");
    None
}

fn small_file() -> Vec<u8> {
    f32_file(96, 64, &(0..96 * 64).map(|i| (i % 251) as f32 - 125.5).collect::<Vec<_>>())
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let index = br#"{"metadata": {}, "weight_map": {"v": "a.safetensors", "w": "b.safetensors"}}"#;
    let other = bytes_of(&format!("{{{}}}", entry("v", "F32", &[1], 0, 4)), &[0; 4]);
    vec![
        (FILE, small_file()),
        (INDEX, index.to_vec()),
        ("a.safetensors", other),
        ("b.safetensors", small_file()),
    ]
}

/// A folder in which both clients run, with variables and nothing else of hubs from outside.
struct Both {
    bench: Workbench,
    python: PathBuf,
    variables: Vec<(String, String)>,
}

impl Both {
    fn new(python: &Path, variables: &[(&str, &str)]) -> Both {
        let bench = Workbench::new(&[]);
        for (name, repo, file) in
            [("file", "org/name", FILE), ("index", "org/name", INDEX), ("gated", "org/gated", FILE)]
        {
            bench.write(
                &format!("manifests/{name}.yaml"),
                &format!(
                    "format: sparse-verify/2
title: A model's tensor
sections:
  - name: real
    seed: 3
    weights: {{hub: {repo}, revision: {REVISION}, file: {file}}}
    layers: {{name: up, shape: [96, 64], tensor: w}}
    patterns: row-magnitude
    sparsity: 0.5
    batch: 8
    dtype: f32
    arithmetic: f32-chain
"
                ),
            );
        }
        let home = bench.path("home").display().to_string();
        let expand = |text: &str| text.replace("HERE", &bench.path("").display().to_string());
        let mut all = vec![("HOME".to_owned(), home)];
        all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), expand(value))));
        Both { bench, python: python.to_owned(), variables: all }
    }

    fn run(&self, mut command: Command, more: &[(&str, &str)]) -> Ran {
        let command = without_hub_variables(&mut command).current_dir(self.bench.path(""));
        command.env("SPARSE_VERIFY_CACHE", self.bench.path("cache"));
        command.env("HF_HUB_DISABLE_TELEMETRY", "1").env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        ran(command.envs(more.iter().copied()))
    }

    fn verify(&self, model: &str, more: &[(&str, &str)]) -> Ran {
        let manifest = format!("manifests/{model}.yaml");
        let out = self.bench.path("inputs");
        let _ = std::fs::remove_dir_all(&out);
        let command = self.bench.command(&["inputs", &manifest, "--out", "inputs"]);
        self.run(command, more)
    }

    fn python(&self, model: &str, more: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(&self.python);
        let repo = if model == "gated" { "org/gated" } else { "org/name" };
        command.args(["-c", DOWNLOAD, repo, REVISION]);
        command.args(if model == "index" { &[INDEX, "b.safetensors"][..] } else { &[FILE] });
        self.run(command, more)
    }
}

const OFFLINE: (&str, &str) = ("HF_HUB_OFFLINE", "1");

#[test]
fn each_finds_what_the_other_has_fetched_wherever_a_variable_puts_it() {
    let Some(python) = python() else { return };
    let places: [&[(&str, &str)]; 10] = [
        &[],
        &[("XDG_CACHE_HOME", "HERE/xdg")],
        &[("XDG_CACHE_HOME", "~/xdg")],
        &[("HF_HOME", "HERE/hf"), ("XDG_CACHE_HOME", "HERE/xdg")],
        &[("HF_HOME", "~/hf")],
        &[("HF_HOME", "$PLACE/hf"), ("PLACE", "HERE/place")],
        &[("HF_HUB_CACHE", "${PLACE}/hub"), ("PLACE", "HERE/place"), ("HF_HOME", "HERE/hf")],
        &[("HUGGINGFACE_HUB_CACHE", "~/older")],
        &[("HF_HUB_CACHE", "HERE/newer"), ("HUGGINGFACE_HUB_CACHE", "HERE/older")],
        &[("HF_HUB_CACHE", "relative/$UNSET")],
    ];
    for variables in places {
        for model in ["file", "index"] {
            let real = RealHub::start(files());
            let endpoint = ("HF_ENDPOINT", &*format!("{}/", real.hub.url));
            let first = Both::new(&python, variables);
            let fetched = first.python(model, &[endpoint]);
            assert_eq!(fetched.code, 0, "{variables:?}: {fetched:?}");
            let found = first.verify(model, &[endpoint, OFFLINE]);
            assert_eq!(found.code, 0, "{variables:?}: {found:?}");
            let second = Both::new(&python, variables);
            let fetched = second.verify(model, &[endpoint]);
            assert_eq!(fetched.code, 0, "{variables:?}: {fetched:?}");
            let found = second.python(model, &[endpoint, OFFLINE]);
            assert_eq!(found.code, 0, "{variables:?}: {found:?}");
            let path = found.stdout.lines().last().expect("a path").to_owned();
            let path = second.bench.path("").join(path);
            assert_eq!(std::fs::read(path).expect("there"), small_file());
            // Both lay the same files out alike.
            let blobs = |both: &Both| {
                let mut found = Vec::new();
                let mut left = vec![both.bench.path("")];
                while let Some(folder) = left.pop() {
                    for entry in std::fs::read_dir(folder).expect("a folder") {
                        let path = entry.expect("listed").path();
                        let kind = path.symlink_metadata().expect("there");
                        let name = path.strip_prefix(both.bench.path("")).expect("below");
                        let name = name.display().to_string();
                        if kind.is_dir() {
                            left.push(path);
                        } else if name.contains("models--") && !name.contains(".locks") {
                            let leads = std::fs::read_link(&path).ok();
                            found.push((name, leads, std::fs::read(&path).expect("readable")));
                        }
                    }
                }
                found.sort();
                found
            };
            assert_eq!(blobs(&first), blobs(&second), "{variables:?}");
        }
    }
}

/// What reached a hub: whether anything, and with which tokens.
fn seen(hub: &Server) -> Vec<Option<String>> {
    let mut seen: Vec<_> =
        hub.log().requests.drain(..).map(|request: Request| request.authorization).collect();
    seen.dedup();
    seen
}

#[test]
fn both_send_the_same_token_or_none() {
    let Some(python) = python() else { return };
    let bearer = |token: &str| vec![Some(format!("Bearer {token}"))];
    let cases: [(Set<'_>, Set<'_>, Vec<Option<String>>); 12] = [
        (&[], &[], vec![None]),
        (&[("HF_TOKEN", SECRET)], &[], bearer(SECRET)),
        (&[("HF_TOKEN", "\t hf_x\n")], &[], bearer("hf_x")),
        (&[("HUGGING_FACE_HUB_TOKEN", SECRET)], &[], bearer(SECRET)),
        (&[("HF_TOKEN", "hf_new"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")], &[], bearer("hf_new")),
        (&[("HF_TOKEN", ""), ("HUGGING_FACE_HUB_TOKEN", "hf_old")], &[], bearer("hf_old")),
        (&[], &[("home/.cache/huggingface/token", "hf_stored\n")], bearer("hf_stored")),
        (&[("HF_HOME", "HERE/hf")], &[("hf/token", "hf_home")], bearer("hf_home")),
        (&[("HF_TOKEN_PATH", "~/t")], &[("home/t", "hf_path")], bearer("hf_path")),
        (&[("HF_TOKEN_PATH", "$P/t"), ("P", "HERE")], &[("t", "hf_var")], bearer("hf_var")),
        (&[("HF_TOKEN", SECRET), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "ON")], &[], vec![None]),
        (&[("HF_TOKEN", SECRET), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "no")], &[], bearer(SECRET)),
    ];
    for (variables, written, expected) in cases {
        let real = RealHub::start(files());
        let endpoint = ("HF_ENDPOINT", &*real.hub.url);
        let mut codes = Vec::new();
        for client in [Both::python, Both::verify] {
            let both = Both::new(&python, variables);
            for (path, text) in written {
                let folder = both.bench.path(path);
                std::fs::create_dir_all(folder.parent().expect("a folder")).expect("writable");
                both.bench.write(path, text);
            }
            let ran = client(&both, "gated", &[endpoint]);
            assert_eq!(seen(&real.hub), expected, "{variables:?}: {ran:?}");
            codes.push(ran.code == 0);
        }
        // The model wants a token, whichever.
        let known = expected != [None];
        assert_eq!(codes, [known, known], "{variables:?}");
        let leaked = real.bytes.log().requests.iter().any(|asked| asked.authorization.is_some());
        assert!(!leaked);
    }
}

#[test]
fn both_stay_offline_or_neither() {
    let Some(python) = python() else { return };
    let cases: [(&[(&str, &str)], bool); 14] = [
        (&[("HF_HUB_OFFLINE", "1")], true),
        (&[("HF_HUB_OFFLINE", "on")], true),
        (&[("HF_HUB_OFFLINE", "Yes")], true),
        (&[("HF_HUB_OFFLINE", "TRUE")], true),
        (&[("HF_HUB_OFFLINE", "0")], false),
        (&[("HF_HUB_OFFLINE", "")], false),
        (&[("HF_HUB_OFFLINE", "2")], false),
        (&[("HF_HUB_OFFLINE", " 1")], false),
        (&[("TRANSFORMERS_OFFLINE", "1")], true),
        (&[("TRANSFORMERS_OFFLINE", "no")], false),
        (&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")], false),
        (&[("HF_HUB_OFFLINE", ""), ("TRANSFORMERS_OFFLINE", "1")], true),
        // What cannot be read keeps both from asking.
        (&[("HF_HUB_DOWNLOAD_TIMEOUT", "soon")], true),
        (&[("HF_HUB_ETAG_TIMEOUT", "1.5")], true),
    ];
    for (variables, is_offline) in cases {
        let real = RealHub::start(files());
        for client in [Both::python, Both::verify] {
            let both = Both::new(&python, variables);
            let ran = client(&both, "file", &[("HF_ENDPOINT", &real.hub.url)]);
            let asked = !seen(&real.hub).is_empty();
            assert_eq!(
                (asked, ran.code == 0),
                (!is_offline, !is_offline),
                "{variables:?}: {ran:?}"
            );
        }
    }
}

#[test]
fn both_take_the_same_way_to_the_hub() {
    let Some(python) = python() else { return };
    let real = RealHub::start(files());
    let dead = format!("http://{}", nobody());
    let socks = Tunnel::start(Opening::Socks5, real.hub.host());
    let bytes = Tunnel::start(Opening::Socks5, real.bytes.host());
    let (socks, bytes) =
        (format!("socks5://{}", socks.address), format!("socks5h://{}", bytes.address));
    let (hub, far) = (&*real.hub.url, "http://hub.invalid");
    let near = "127.0.0.1";
    // The hub's own server is the proxy too: it is asked for an address in full.
    let cases: [(&str, Set<'_>, bool); 15] = [
        (hub, &[], true),
        (far, &[("HTTP_PROXY", hub), ("NO_PROXY", near)], true),
        (far, &[("http_proxy", hub), ("no_proxy", "127.0.0.0/8")], true),
        (far, &[("ALL_PROXY", hub), ("NO_PROXY", near)], true),
        (far, &[("http_proxy", hub), ("HTTP_PROXY", &dead), ("NO_PROXY", near)], true),
        (far, &[("HTTP_PROXY", hub), ("ALL_PROXY", &dead), ("NO_PROXY", near)], true),
        (far, &[("HTTP_PROXY", hub), ("NO_PROXY", "hub.invalid")], false),
        (far, &[("HTTPS_PROXY", hub)], false),
        (hub, &[("HTTP_PROXY", &dead)], false),
        (hub, &[("HTTP_PROXY", &dead), ("http_proxy", "")], true),
        (hub, &[("HTTP_PROXY", &dead), ("NO_PROXY", "*")], true),
        (hub, &[("ALL_PROXY", &dead), ("NO_PROXY", "x,127.0.0.0/8")], true),
        (hub, &[("ALL_PROXY", "ftp://proxy")], false),
        (far, &[("ALL_PROXY", &socks), ("NO_PROXY", near)], true),
        (far, &[("ALL_PROXY", &bytes)], false),
    ];
    // At the same time: Python's client waits long before it gives up.
    std::thread::scope(|scope| {
        for (endpoint, variables, is_found) in cases {
            let python = &python;
            scope.spawn(move || {
                for client in [Both::python, Both::verify] {
                    let both = Both::new(python, variables);
                    let ran = client(&both, "file", &[("HF_ENDPOINT", endpoint)]);
                    assert_eq!(ran.code == 0, is_found, "{endpoint} {variables:?}: {ran:?}");
                }
            });
        }
    });
}

#[test]
fn both_trust_whom_a_variable_names() {
    let Some(python) = python() else { return };
    let certificate = Certificate::new("127.0.0.1", 2020..2100);
    let folder = Folder::new();
    let named = folder.write("a.pem", certificate.authority.as_bytes()).display().to_string();
    let other = Certificate::new("127.0.0.1", 2020..2100).authority;
    let other = folder.write("b.pem", other.as_bytes()).display().to_string();
    let hub = Server::secure(&certificate, |_| {
        whole(&small_file())
            .header("ETag", format!("\"{}\"", Digest::of(&small_file())))
            .header("X-Repo-Commit", REVISION)
    });
    let cases: [(&[(&str, &str)], bool); 4] = [
        (&[], false),
        (&[("SSL_CERT_FILE", &named)], true),
        (&[("SSL_CERT_FILE", &other)], false),
        (&[("SSL_CERT_FILE", &named), ("SSL_CERT_DIR", "HERE")], true),
    ];
    for (variables, is_found) in cases {
        for client in [Both::python, Both::verify] {
            let both = Both::new(&python, variables);
            let ran = client(&both, "file", &[("HF_ENDPOINT", &hub.url)]);
            assert_eq!(ran.code == 0, is_found, "{variables:?}: {ran:?}");
        }
    }
}
