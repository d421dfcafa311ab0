//! Operators that are not our own: who says what of them, and what held them while they ran.

use contract::arithmetic::{Arithmetic, Slices};
use contract::case::Case;
use contract::digest::Digest;
use contract::dtype::Dtype;
use serde::{Deserialize, Serialize};

/// What an operator's file names as its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OperatorKind {
    /// A shared library behind the C ABI of `include/sparse_verify_operator.h`.
    Library,
    /// A Python module with `build(a)` and `apply(state, v, out)`.
    Python,
    /// Outputs that were made elsewhere: none of its code is run or looked at.
    Outputs,
}

/// Where an operator takes A and V, and leaves Y.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OperatorDevice {
    /// In the host's memory.
    #[default]
    Cpu,
    /// In a CUDA device's memory.
    Cuda,
}

impl OperatorDevice {
    /// Both.
    pub const ALL: [OperatorDevice; 2] = [OperatorDevice::Cpu, OperatorDevice::Cuda];

    /// The name in operator files.
    pub fn name(self) -> &'static str {
        match self {
            OperatorDevice::Cpu => "cpu",
            OperatorDevice::Cuda => "cuda",
        }
    }

    fn is_cpu(&self) -> bool {
        *self == OperatorDevice::Cpu
    }
}

impl OperatorKind {
    /// All kinds.
    pub const ALL: [OperatorKind; 3] =
        [OperatorKind::Library, OperatorKind::Python, OperatorKind::Outputs];

    /// The name in operator files.
    pub fn name(self) -> &'static str {
        match self {
            OperatorKind::Library => "library",
            OperatorKind::Python => "python",
            OperatorKind::Outputs => "outputs",
        }
    }
}

/// The operator under test of a run, where it is not our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperatorRecord {
    /// Name, as its file has it.
    pub name: String,
    /// Version, as its file has it.
    pub version: String,
    /// Author, as its file has it.
    pub author: String,
    /// What its code is.
    pub kind: OperatorKind,
    /// Digest of the operator file's bytes.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub sha256: Digest,
    /// Files of its code, by name, with the digests of what was run.
    pub files: Vec<CodeFile>,
    /// The interpreter that ran it, with its digest; `None` of a library.
    pub interpreter: Option<String>,
    /// Where its matrices lie; records without it are of the host.
    #[serde(default, skip_serializing_if = "OperatorDevice::is_cpu")]
    pub device: OperatorDevice,
    /// What it may read beside the system's folders and its own, as its file asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// Arithmetics that it claims to follow, by their names.
    pub arithmetics: Vec<String>,
    /// Dtypes of A and V that it takes.
    pub dtypes: Vec<String>,
    /// Dtypes of Y that it gives; f32 where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// What held it while it ran, layer by layer.
    pub isolation: Vec<Layer>,
}

impl OperatorRecord {
    /// `scipy-csr 1.0 (sha256 0123456789abcdef)`.
    pub fn in_words(&self) -> String {
        format!("{} {} (sha256 {})", self.name, self.version, &self.sha256.to_string()[..16])
    }

    /// Whether it says that it can do a case.
    pub fn claims(&self, case: &Case) -> bool {
        claims(&self.arithmetics, &self.dtypes, &self.outputs, case)
    }

    /// What it is, by fact: for reports.
    pub fn facts(&self) -> Vec<(String, String)> {
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let interpreter =
            self.interpreter.as_ref().map_or(String::new(), |path| format!(", run by {path}"));
        let mut facts = vec![
            fact(
                "operator under test",
                format!("{} {}, by {}", self.name, self.version, self.author),
            ),
            fact("its file's sha256", self.sha256.to_string()),
            fact("its kind", format!("{}{interpreter}", self.kind.name())),
            fact("its claims", claims_in_words(&self.arithmetics, &self.dtypes, &self.outputs)),
        ];
        if self.device == OperatorDevice::Cuda {
            let says =
                "a CUDA device, whose driver it calls: no layer below looks into those calls";
            facts.push(fact("its matrices lie on", says.to_owned()));
        }
        if !self.reads.is_empty() {
            facts.push(fact("it may read", self.reads.join(", ")));
        }
        let code = self.files.iter();
        facts.extend(
            code.map(|file| fact(&format!("sha256 of {}", file.name), file.sha256.to_string())),
        );
        facts.extend(self.isolation.iter().map(|layer| {
            let had = if layer.had { "had" } else { "NOT had" };
            fact(&format!("isolation: {}", layer.name), format!("{had}: {}", layer.what))
        }));
        facts
    }

    /// Names of the layers that were not had.
    pub fn lacking(&self) -> Vec<&str> {
        self.isolation.iter().filter(|layer| !layer.had).map(|layer| layer.name.as_str()).collect()
    }
}

/// `exact, bounded, of f32`, and of which outputs where they are not f32 alone.
pub fn claims_in_words(arithmetics: &[String], dtypes: &[String], outputs: &[String]) -> String {
    let outputs = match outputs {
        [] => String::new(),
        outputs => format!(", to {}", outputs.join(", ")),
    };
    format!("{}, of {}{outputs}", arithmetics.join(", "), dtypes.join(", "))
}

/// Whether an operator with these arithmetics, and dtypes of inputs and outputs, by their names, says that it can do a
/// case. Without `outputs` they are f32.
pub fn claims(arithmetics: &[String], dtypes: &[String], outputs: &[String], case: &Case) -> bool {
    let arithmetic = match case.arithmetic {
        Arithmetic::Exact => "exact",
        Arithmetic::FixedPoint => "fixed-point-24",
        Arithmetic::Bounded => "bounded",
        Arithmetic::F32Chain(Slices::One) => "f32-chain",
        Arithmetic::F32Chain(Slices::Contiguous { .. } | Slices::Dealt { .. }) => "f32-sliced",
        Arithmetic::TensorCore(_) | Arithmetic::Bf16Dot(_) => "tensor-core",
    };
    arithmetics.iter().any(|name| name == arithmetic)
        && dtypes.iter().any(|name| name == case.dtype.name())
        && match outputs {
            [] => case.output == Dtype::F32,
            outputs => outputs.iter().any(|name| name == case.output.name()),
        }
}

/// Whether a layer of that name was had.
pub fn is_had(layers: &[Layer], name: &str) -> bool {
    layers.iter().any(|layer| layer.name == name && layer.had)
}

/// Whether a name or a version of an operator can stand in a headline: letters, digits, `-`, `_`, `.` and `+`, 100 at most.
pub fn is_plain(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !text.is_empty() && text.len() <= 100 && text.chars().all(is_allowed)
}

/// A file of an operator's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CodeFile {
    /// Path beside the operator file.
    pub name: String,
    /// Digest of its bytes.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub sha256: Digest,
}

/// One layer of isolation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Layer {
    /// One of [`LAYERS`].
    pub name: String,
    /// Whether it held the operator.
    pub had: bool,
    /// What it was, or why it was not had.
    pub what: String,
}

/// Names of the layers of isolation, in the order in which they are put up, and what each keeps away.
pub const LAYERS: [(&str, &str); 9] = [
    ("user", "another user than the judge's, without capabilities"),
    ("privileges", "no program that it starts has more rights than it has"),
    ("judge", "the judge's memory cannot be read or traced by its user"),
    ("network", "a network namespace without any interface that is up"),
    ("mounts", "a mount namespace with empty folders for temporary files, and an IPC namespace"),
    ("folders", "HOME and TMPDIR of each process are new and gone after it"),
    ("limits", "limits of memory, file sizes, open files and processes"),
    ("files", "landlock: it reads system folders and its own files, and writes its own folder"),
    ("calls", "seccomp: no sockets, tracing, signals to others; after it was built no new process"),
];
