//! expected-hashes/: the committed digests, one file a manifest. Read by everyone, written by
//! `verify pin` alone, in one stable form that reads well in a diff.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::manifest::{Case, Manifest};
use crate::words::{self, visible_yaml};

/// The version of the files' format.
const FORMAT: u32 = 1;

/// One manifest's committed digests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub format: u32,
    pub manifest: String,
    #[serde(default)]
    pub cases: BTreeMap<String, Entry>,
}

/// One case's committed digests.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub a: Digest,
    pub v: Digest,
    pub dense: Digest,
    /// `None` for an operator without a bit contract, and so the next two.
    pub operator: Option<Digest>,
    /// `None` also where the perturbation test does not apply.
    pub rebuilt: Option<Digest>,
    pub shifted: Option<Digest>,
    /// Shape and dtype of each tensor, such as `192x320 f32`.
    pub tensors: Tensors,
    pub order: String,
    pub arithmetic: String,
    /// Whether hardware was seen to follow the arithmetic's model; tensor cores only.
    pub model: Option<String>,
    pub tool: String,
    /// Implementations and machines that gave these digests.
    pub confirmed: Vec<String>,
    pub panels: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensors {
    pub a: String,
    pub v: String,
    pub y: String,
}

impl Tensors {
    pub fn of(case: &Case) -> Tensors {
        let tensor = |rows, columns, dtype| format!("{rows}x{columns} {dtype}");
        Tensors {
            a: tensor(case.m, case.k, case.dtype),
            v: tensor(case.k, case.n, case.dtype),
            y: tensor(case.m, case.n, case.output),
        }
    }
}

/// Why committed digests could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ExpectedError {
    #[error("{path}: {message}\nhint: only `verify pin` writes this file")]
    Malformed { path: String, message: String },
    #[error("failed to {verb} {path}: {error}")]
    Io { verb: &'static str, path: String, error: std::io::Error },
}

/// Where a manifest's digests are committed: `expected-hashes/<name>.yaml` in the folder above
/// the manifest's, or `expected-hashes/` beside the manifest if that is there.
pub fn path_for(manifest: &Manifest) -> PathBuf {
    let folder = manifest.path.parent().unwrap_or(Path::new(""));
    let file = format!("{}.yaml", manifest.name);
    let beside = folder.join("expected-hashes");
    if beside.is_dir() {
        return beside.join(file);
    }
    // `manifests/x.yaml` has the parent `manifests`, whose own parent is the empty path.
    let above = match folder.file_name() {
        Some(_) => folder.parent().unwrap_or(Path::new("")).to_owned(),
        None => folder.join(".."),
    };
    above.join("expected-hashes").join(file)
}

impl Expected {
    /// Reads a file; one that is not there has no cases.
    pub fn load(path: &Path, manifest: &str) -> Result<Expected, ExpectedError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Expected {
                    format: FORMAT,
                    manifest: manifest.to_owned(),
                    cases: BTreeMap::new(),
                });
            }
            Err(error) => {
                let path = words::path(path);
                return Err(ExpectedError::Io { verb: "read", path, error });
            }
        };
        let malformed =
            |message: String| ExpectedError::Malformed { path: words::path(path), message };
        let expected: Expected =
            serde_saphyr::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if expected.format != FORMAT {
            return Err(malformed(format!(
                "format {} is not known: expected {FORMAT}",
                expected.format
            )));
        }
        if expected.manifest != manifest {
            return Err(malformed(format!(
                "the digests are those of manifest `{}`, not of `{manifest}`",
                expected.manifest
            )));
        }
        Ok(expected)
    }

    /// The file's text: cases sorted, one key a line.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "# Written by `verify pin` alone. VERIFY.md section 5 says what each digest is of.\n\
             format: {}\nmanifest: {}\ncases:\n",
            self.format, self.manifest
        );
        for (id, entry) in &self.cases {
            let optional = |digest: Option<Digest>| match digest {
                Some(digest) => digest.to_string(),
                None => "null".to_owned(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {id}:");
            for (name, digest) in [
                ("a", Some(entry.a)),
                ("v", Some(entry.v)),
                ("dense", Some(entry.dense)),
                ("operator", entry.operator),
                ("rebuilt", entry.rebuilt),
                ("shifted", entry.shifted),
            ] {
                let quote = if digest.is_some() { "\"" } else { "" };
                let _ = writeln!(text, "    {name}: {quote}{}{quote}", optional(digest));
            }
            let Tensors { a, v, y } = &entry.tensors;
            let _ = writeln!(text, "    tensors: {{a: {a}, v: {v}, y: {y}}}");
            let _ = writeln!(text, "    order: {}", entry.order);
            let _ = writeln!(text, "    arithmetic: {}", entry.arithmetic);
            if let Some(model) = &entry.model {
                let _ = writeln!(text, "    model: {model}");
            }
            let _ = writeln!(text, "    tool: {}", entry.tool);
            let _ = writeln!(text, "    confirmed:");
            for confirmation in &entry.confirmed {
                let _ = writeln!(text, "      - {}", quoted(confirmation));
            }
            let fours = entry.panels.chunks(4).map(|four| {
                four.iter().map(|panel| format!("\"{panel}\"")).collect::<Vec<_>>().join(", ")
            });
            let lines = fours.collect::<Vec<_>>().join(",\n      ");
            let _ = writeln!(text, "    panels: [\n      {lines}]");
        }
        text
    }

    /// Replaces the file at once, or leaves it as it was.
    pub fn save(&self, path: &Path) -> Result<(), ExpectedError> {
        let io = |error| ExpectedError::Io { verb: "write", path: words::path(path), error };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io)?;
        crate::record::replace(path, self.to_text().as_bytes()).map_err(io)
    }
}

/// A YAML double-quoted scalar.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", visible_yaml(&text))
}

impl Entry {
    /// Says so if the entry is about other shapes, dtypes or arithmetic than the case.
    pub fn describes_another(&self, case: &Case) -> Option<String> {
        let tensors = Tensors::of(case);
        if self.tensors == tensors && self.arithmetic == case.arithmetic.to_string() {
            return None;
        }
        let line = |t: &Tensors, arithmetic: &str| {
            format!("A {}, V {}, Y {}, {arithmetic}", t.a, t.v, t.y)
        };
        Some(format!(
            "the committed entry is about another case\n  expected {}\n  got      {}",
            line(&self.tensors, &self.arithmetic),
            line(&tensors, &case.arithmetic.to_string())
        ))
    }

    /// Whether two entries commit the same digests of the same tensors.
    pub fn same_digests(&self, other: &Entry) -> bool {
        let key =
            |e: &Entry| (e.a, e.v, e.dense, e.operator, e.rebuilt, e.shifted, e.arithmetic.clone());
        key(self) == key(other) && self.tensors == other.tensors && self.panels == other.panels
    }
}
