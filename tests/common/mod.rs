//! What the end-to-end tests share: small manifests, audits of them, and the program itself.

// Each test file uses its own part of this.
#![allow(dead_code)]

pub mod records;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use contract::case::Case;
use contract::digest::Digest;
use record::expected::Expected;
use record::manifest::Manifest;
use record::shared::SharedOutputs;
use record::{CaseRecord, Record};
use sparse_verify::audit::{Auditor, HeldInputs, Outcome, Task};
use sparse_verify::backend::cpu::Isa;
use sparse_verify::manifest;
use sparse_verify::operator::{OperatorFor, skip_operator};
use sparse_verify::weights::Resolver;

/// A section of a manifest: what a test does not name is small and plain.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    pub name: &'a str,
    pub required: bool,
    pub seed: u64,
    pub weights: &'a str,
    pub activations: Option<&'a str>,
    pub shape: (usize, usize),
    pub patterns: &'a str,
    /// Empty for the pattern `none`.
    pub sparsity: &'a str,
    pub batch: &'a str,
    pub dtype: &'a str,
    pub output: &'a str,
    pub arithmetic: &'a str,
    pub operator: &'a str,
}

impl Default for Section<'_> {
    fn default() -> Self {
        Section {
            name: "small",
            required: true,
            seed: 3,
            weights: "heavy-tailed",
            activations: None,
            shape: (40, 96),
            patterns: "row-magnitude",
            sparsity: "0.5",
            batch: "24",
            dtype: "f32",
            output: "f32",
            arithmetic: "f32-chain",
            operator: "auto",
        }
    }
}

/// The text of a manifest.
pub fn text(sections: &[Section<'_>]) -> String {
    let mut text = "format: sparse-verify/2\ntitle: For tests\nsections:\n".to_owned();
    for s in sections {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "  - name: {}\n    required: {}\n    seed: {}\n    weights: {{synthetic: {}}}\n    \
             layers: {{name: up, shape: [{}, {}]}}\n    patterns: {}\n    batch: {}\n    \
             dtype: {}\n    output: {}\n    arithmetic: {}\n    plan: {}\n",
            s.name,
            s.required,
            s.seed,
            s.weights,
            s.shape.0,
            s.shape.1,
            s.patterns,
            s.batch,
            s.dtype,
            s.output,
            s.arithmetic,
            s.operator
        );
        if !s.sparsity.is_empty() {
            let _ = writeln!(text, "    sparsity: {}", s.sparsity);
        }
        if let Some(activations) = s.activations {
            let _ = writeln!(text, "    activations: {activations}");
        }
    }
    text
}

pub fn manifest(sections: &[Section<'_>]) -> Manifest {
    let text = text(sections);
    manifest::parse(Path::new("manifests/small.yaml"), text.as_bytes())
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// How to audit, where it matters.
pub struct How<'a> {
    pub isa: Isa,
    pub threads: usize,
    pub nonce: Option<&'a str>,
    pub operator: &'a OperatorFor,
}

impl Default for How<'_> {
    fn default() -> Self {
        How { isa: Isa::best(), threads: 1, nonce: None, operator: &skip_operator }
    }
}

/// Who audits so.
pub fn auditor<'a>(how: &How<'a>) -> Auditor<'a> {
    Auditor {
        fetches_optional: true,
        isa: how.isa,
        threads: how.threads,
        nonce: how.nonce.map(str::to_owned),
        measuring: None,
        stranger: None,
        device: None,
        weights: Resolver::new(None, true),
        operator: how.operator,
        held: HeldInputs::default(),
        seen: SharedOutputs::default(),
    }
}

/// Audits cases one after the other, as one run does.
pub fn audit_all(
    manifest: &Manifest,
    cases: &[Case],
    expected: &Expected,
    how: &How<'_>,
) -> Vec<Outcome> {
    let mut auditor = auditor(how);
    let audit = |case| {
        auditor.audit_to_pin(&Task {
            manifest,
            case,
            expected,
            expected_file: "expected.yaml",
            progress: &|_| {},
        })
    };
    cases.iter().map(audit).collect()
}

/// Audits the only case of a section.
pub fn audit(section: Section<'_>, expected: &Expected, how: &How<'_>) -> Outcome {
    let manifest = manifest(&[section]);
    assert_eq!(manifest.cases.len(), 1);
    audit_all(&manifest, &manifest.cases, expected, how).remove(0)
}

/// Commits what the skip operator gives for every case of a section.
pub fn pin(section: Section<'_>) -> Expected {
    let manifest = manifest(&[section]);
    let outcomes = audit_all(&manifest, &manifest.cases, &Expected::default(), &How::default());
    let entry = |outcome: Outcome| (outcome.record.id, outcome.entry.expect("can be pinned").0);
    Expected { cases: outcomes.into_iter().map(entry).collect(), ..Expected::default() }
}

/// The digest named `name` of a case.
pub fn digest(case: &CaseRecord, name: &str) -> Option<Digest> {
    let bits = case.bits.as_ref().unwrap_or_else(|| panic!("{}: {:?}", case.id, case.reasons));
    bits.digests.iter().find(|row| row.name == name).expect("one of the six").got
}

/// A folder with `manifests/` and `expected-hashes/` in which the program is run.
pub struct Workbench {
    folder: tempfile::TempDir,
}

/// What a run of the program left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    /// Without what is predicted, which is another on every machine.
    pub stderr: String,
}

impl Workbench {
    /// With `manifests/small.yaml`, nothing pinned.
    pub fn new(sections: &[Section<'_>]) -> Workbench {
        let bench = Workbench { folder: tempfile::tempdir().expect("a temporary folder") };
        std::fs::create_dir(bench.path("manifests")).expect("the folder is empty");
        bench.write("manifests/small.yaml", &text(sections));
        bench
    }

    /// And everything pinned.
    pub fn pinned(sections: &[Section<'_>]) -> Workbench {
        let bench = Workbench::new(sections);
        let ran = bench.verify(&["pin", "manifests/small.yaml", "--yes"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    pub fn record(&self, name: &str) -> Record {
        record::load(&self.path(name)).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Writes a record with all that follows from its observations.
    pub fn save(&self, name: &str, record: &Record) {
        let mut record = record.clone();
        record::derive::fill(&mut record);
        self.forge(name, &record);
    }

    /// Writes a record as it stands, whether or not what it says follows from its observations.
    pub fn forge(&self, name: &str, record: &Record) {
        sparse_verify::records::save(record, &self.path(name)).expect("the folder is there");
    }

    /// Names of the files in a folder, sorted.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).expect("the folder exists");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The program, to be run in the folder without a terminal and without colour variables.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for name in ["CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "COLUMNS"] {
            command.env_remove(name);
        }
        command
    }

    pub fn verify(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments))
    }
}

pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the program was built");
    let mut stderr = String::from_utf8(output.stderr).expect("text");
    if stderr.starts_with("predicted: ") {
        // What is said of every run that takes long, or of another machine's manifest.
        let usual = ["predicted: ", "took: ", "note: no times: ", "hint: --case '"];
        let is_said = |line: &&str| !usual.iter().any(|usual| line.starts_with(usual));
        stderr = stderr.split_inclusive('\n').filter(is_said).collect();
    }
    Ran {
        code: output.status.code().expect("not ended by a signal"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr,
    }
}

/// `text` with the last digit of the digest after `before` (in case `id`) changed.
pub fn change_digit(text: &str, id: &str, before: &str) -> String {
    let case = text.find(&format!("  {id}:\n")).expect("the case is committed");
    let start = case + text[case..].find(before).expect("the key is there") + before.len();
    let start = start + text[start..].find('"').expect("a digest in quotes") + 1;
    let end = start + text[start..].find('"').expect("the closing quote");
    let digit = if text[start..end].ends_with('0') { "1" } else { "0" };
    format!("{}{digit}{}", &text[..end - 1], &text[end..])
}

/// A path of the repository.
pub fn repository(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Ten quick cases.
pub fn small() -> Vec<Section<'static>> {
    let first = Section {
        shape: (70, 33),
        patterns: "[uniform, row-magnitude]",
        sparsity: "[0, 0.5, 0.8]",
        batch: "3",
        ..Section::default()
    };
    let second = Section {
        name: "later",
        seed: 4,
        patterns: "uniform",
        sparsity: "[0, 0.5, 0.8, 0.9]",
        ..first.clone()
    };
    vec![first, second]
}
