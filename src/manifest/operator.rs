//! Operator files: who computes, with which code, under which limits. `docs/operators.md` describes the format.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::words::quote;
use record::operator::{CodeFile, OperatorDevice, OperatorKind, OperatorRecord, is_plain};

use super::errors::{ManifestError, ManifestErrors};
use super::tree::{self, Node, Value};
use super::walk::Walk;
use super::{read_file, source_text};

/// The version written in every operator file.
pub const FORMAT: &str = "sparse-verify-operator/1";

/// Names of arithmetics that an operator can claim: those of manifests, without their parameters.
pub const ARITHMETICS: [&str; 6] =
    ["exact", "f32-chain", "f32-sliced", "tensor-core", "fixed-point-24", "bounded"];

/// What an operator file says.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorFile {
    pub path: PathBuf,
    /// Digest of the file's bytes.
    pub sha256: Digest,
    pub name: String,
    pub version: String,
    pub author: String,
    pub kind: OperatorKind,
    /// The library or module that is opened: one of `files`. Empty of outputs.
    pub entry: String,
    /// Files of the code, by their paths beside the operator file, with their digests.
    pub files: BTreeMap<String, Digest>,
    /// A program by name or path; of Python only.
    pub interpreter: Option<String>,
    /// Of A and V.
    pub dtypes: Vec<Dtype>,
    /// Of Y; f32 where there are none.
    pub outputs: Vec<Dtype>,
    /// Some of [`ARITHMETICS`].
    pub arithmetics: Vec<&'static str>,
    /// Where its matrices lie.
    pub device: OperatorDevice,
    /// Folders and files that it reads beside those of the system.
    pub reads: Vec<PathBuf>,
    /// Environment variables that it gets.
    pub environment: BTreeMap<String, String>,
    pub memory_bytes: u64,
    pub build_limit: Duration,
    /// For the calls of one request, of which there are a few hundred at most.
    pub apply_limit: Duration,
}

impl OperatorFile {
    /// Names of its arithmetics, and of the dtypes of its inputs and outputs.
    pub fn claimed(&self) -> [Vec<String>; 3] {
        let names = |dtypes: &[Dtype]| dtypes.iter().map(|dtype| dtype.name().to_owned()).collect();
        let arithmetics = self.arithmetics.iter().map(|name| (*name).to_owned()).collect();
        [arithmetics, names(&self.dtypes), names(&self.outputs)]
    }

    /// What a record says of it, but for what it ran in.
    pub fn record(&self) -> OperatorRecord {
        let [arithmetics, dtypes, outputs] = self.claimed();
        let code =
            |(name, sha256): (&String, &Digest)| CodeFile { name: name.clone(), sha256: *sha256 };
        OperatorRecord {
            name: self.name.clone(),
            version: self.version.clone(),
            author: self.author.clone(),
            kind: self.kind,
            sha256: self.sha256,
            files: self.files.iter().map(code).collect(),
            interpreter: None,
            device: self.device,
            reads: self.reads.iter().map(|path| path.display().to_string()).collect(),
            arithmetics,
            dtypes,
            outputs,
            isolation: Vec::new(),
        }
    }
}

/// Memory of an operator beside its inputs and outputs, unless its file says otherwise.
const MEMORY_BYTES: u64 = 8 << 30;
const BUILD_S: u64 = 60;
const APPLY_S: u64 = 60;

/// Reads and validates an operator file; all its errors at once. The code's files are not looked at.
pub fn load(path: &Path) -> Result<OperatorFile, ManifestErrors> {
    parse(path, &read_file(path, "the operator file")?)
}

/// Validates the bytes of an operator file.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<OperatorFile, ManifestErrors> {
    let mut walk = Walk::default();
    let root = source_text(bytes).and_then(tree::parse);
    let root = root.map_err(|error| walk.errors.push(error));
    let read = root.ok().and_then(|root| read(&mut walk, &root, path, Digest::of(bytes)));
    let mut errors = walk.errors;
    match read {
        Some(file) if errors.is_empty() => Ok(file),
        _ => {
            errors.sort_by_key(|error: &ManifestError| error.place);
            Err(ManifestErrors { path: path.to_owned(), errors, unreadable: false })
        }
    }
}

/// Keys about code that is run.
const RUN_KEYS: [&str; 9] = [
    "entry",
    "files",
    "interpreter",
    "device",
    "reads",
    "environment",
    "memory",
    "build_seconds",
    "apply_seconds",
];

const KEYS: [&str; 17] = [
    "format",
    "name",
    "version",
    "author",
    "kind",
    "entry",
    "files",
    "interpreter",
    "device",
    "dtypes",
    "outputs",
    "arithmetics",
    "reads",
    "environment",
    "memory",
    "build_seconds",
    "apply_seconds",
];

fn read(walk: &mut Walk, root: &Node, path: &Path, sha256: Digest) -> Option<OperatorFile> {
    let fields = walk.fields(root, "an operator file", &KEYS)?;
    if let Some(node) = fields.require(walk, "format")
        && !matches!(&node.value, Value::Text(text) if text == FORMAT)
    {
        walk.format(node, FORMAT);
    }
    let text = |walk: &mut Walk, key: &str| {
        let node = fields.require(walk, key)?;
        walk.text(node, key).map(str::to_owned)
    };
    let version = fields.require(walk, "version").and_then(|node| {
        let text = walk.text(node, "a version")?;
        match is_plain(text) {
            true => Some(text.to_owned()),
            false => {
                walk.expected(node, "a version made of letters, digits, `-`, `_`, `.` and `+`", "")
            }
        }
    });
    let author = text(walk, "author");
    let kinds = OperatorKind::ALL.map(|kind| (kind.name(), kind));
    let kind = fields.require(walk, "kind").and_then(|node| walk.choice(node, "kind", &kinds));
    let is_run = kind != Some(OperatorKind::Outputs);
    for key in RUN_KEYS.into_iter().filter(|_| !is_run) {
        if let Some(node) = fields.get(key) {
            let hint = "outputs come from elsewhere: nothing is opened or run here";
            walk.fail(node.place, format!("`{key}` of outputs"), hint);
        }
    }
    let entry = if is_run { text(walk, "entry") } else { Some(String::new()) };
    let name = fields.require(walk, "name").and_then(|node| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = walk.name(node, "a name", "letters, digits, `-`, `_` and `.`", is_allowed);
        name.map(str::to_owned)
    });
    let files = if is_run { fields.require(walk, "files") } else { None };
    let files = files.map(|node| files_of(walk, node)).unwrap_or_default();
    if let (Some(entry), Some(node)) = (&entry, fields.get("entry"))
        && !files.is_empty()
        && !files.contains_key(entry)
    {
        walk.expected::<()>(node, "one of `files`", "");
    }
    let interpreter = match (kind, fields.get("interpreter")) {
        (Some(OperatorKind::Library), Some(node)) => {
            walk.fail(node.place, "a library has no interpreter", "");
            None
        }
        (_, Some(node)) => walk.text(node, "a program").map(str::to_owned),
        (Some(OperatorKind::Python), None) => Some("python3".to_owned()),
        (_, None) => None,
    };
    let devices = OperatorDevice::ALL.map(|device| (device.name(), device));
    let device = match fields.get("device") {
        Some(node) => walk.choice(node, "a device", &devices),
        None => Some(OperatorDevice::Cpu),
    };
    let known = [Dtype::F32, Dtype::Bf16, Dtype::F16].map(|dtype| (dtype.name(), dtype));
    let of_node = |walk: &mut Walk, node: &Node| {
        walk.distinct(node, "a dtype", |walk, node| walk.choice(node, "a dtype", &known))
    };
    let dtypes = fields.require(walk, "dtypes").map(|node| of_node(walk, node));
    let outputs = fields.get("outputs").map(|node| of_node(walk, node)).unwrap_or_default();
    let arithmetics = ARITHMETICS.map(|name| (name, name));
    let arithmetics = fields.require(walk, "arithmetics").map(|node| {
        walk.distinct(node, "an arithmetic", |walk, node| {
            walk.choice(node, "an arithmetic", &arithmetics)
        })
    });
    let reads = fields.get("reads").map(|node| {
        walk.distinct(node, "a path", |walk, node| {
            let text = walk.text(node, "a path")?;
            let path = Path::new(text);
            // Two folders deep at least: `/`, `/home` and their like hold what others own.
            match path.is_absolute() && path.components().count() > 2 && !text.contains("..") {
                true => Some(path.to_owned()),
                false => walk.expected(
                    node,
                    "an absolute path of at least two parts",
                    "such as `/opt/vendor`",
                ),
            }
        })
    });
    let environment = fields.get("environment").map(|node| environment(walk, node));
    let memory = fields.get("memory").map(|node| memory(walk, node));
    let seconds = |walk: &mut Walk, key: &str, usual: u64| match fields.get(key) {
        Some(node) => walk.integer(node, key, 1, 86_400),
        None => Some(usual),
    };
    let build_s = seconds(walk, "build_seconds", BUILD_S);
    let apply_s = seconds(walk, "apply_seconds", APPLY_S);
    let plain = |values: Vec<(PathBuf, _)>| values.into_iter().map(|(value, _)| value).collect();
    Some(OperatorFile {
        path: path.to_owned(),
        sha256,
        name: name?,
        version: version?,
        author: author?,
        kind: kind?,
        entry: entry?,
        files,
        interpreter,
        device: device?,
        dtypes: dtypes?.into_iter().map(|(dtype, _)| dtype).collect(),
        outputs: outputs.into_iter().map(|(dtype, _)| dtype).collect(),
        arithmetics: arithmetics?.into_iter().map(|(name, _)| name).collect(),
        reads: reads.map(plain).unwrap_or_default(),
        environment: environment.unwrap_or_default(),
        memory_bytes: memory.unwrap_or(Some(MEMORY_BYTES))?,
        build_limit: Duration::from_secs(build_s?),
        apply_limit: Duration::from_secs(apply_s?),
    })
}

/// `name: digest` of each file of the code.
fn files_of(walk: &mut Walk, node: &Node) -> BTreeMap<String, Digest> {
    const WHAT: &str = "the files of the code, each with its SHA-256 digest";
    let Value::Map(entries) = &node.value else {
        walk.expected::<()>(
            node,
            WHAT,
            "for example `operator.py: <digest>`, as sha256sum gives it",
        );
        return BTreeMap::new();
    };
    if entries.is_empty() {
        walk.expected::<()>(node, WHAT, "");
    }
    let mut files = BTreeMap::new();
    for (key, value) in entries {
        let name = match walk.text(key, "a file's path") {
            Some(name) if is_beside(name) => name.to_owned(),
            Some(name) => {
                let message = format!(
                    "expected a path below the operator file's folder, found {}",
                    quote(name)
                );
                walk.fail(key.place, message, "");
                continue;
            }
            None => continue,
        };
        if let Some(digest) = walk.digest(value)
            && files.insert(name, digest).is_some()
        {
            walk.fail(key.place, "a file given twice", "");
        }
    }
    files
}

/// Whether a path leads nowhere but below the folder that it is taken from.
fn is_beside(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Beginnings of names of variables that are the loader's, or this program's.
const NOT_TO_BE_SET: [&str; 4] = ["SPARSE_VERIFY", "LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES"];

fn environment(walk: &mut Walk, node: &Node) -> BTreeMap<String, String> {
    let Value::Map(entries) = &node.value else {
        walk.expected::<()>(node, "environment variables with their values", "");
        return BTreeMap::new();
    };
    let mut variables = BTreeMap::new();
    for (key, value) in entries {
        let name = walk.text(key, "a variable's name").map(str::to_owned);
        let value = walk.text(value, "a variable's value").map(str::to_owned);
        match (name, value) {
            (Some(name), Some(_))
                if name.contains('=') || NOT_TO_BE_SET.iter().any(|of| name.starts_with(of)) =>
            {
                let message = format!("expected another variable's name, found {}", quote(&name));
                walk.fail(key.place, message, "");
            }
            (Some(name), Some(value)) => {
                variables.insert(name, value);
            }
            _ => {}
        }
    }
    variables
}

/// `4GiB`, `512MiB`.
fn memory(walk: &mut Walk, node: &Node) -> Option<u64> {
    let text = walk.text(node, "memory")?;
    let units = [("MiB", 20), ("GiB", 30)];
    let bytes = units.into_iter().find_map(|(unit, shift)| {
        let count: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        count.checked_shl(shift).filter(|bytes| bytes >> shift == count && count > 0)
    });
    bytes.or_else(|| walk.expected(node, "memory in MiB or GiB, such as `4GiB`", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "format: sparse-verify-operator/1
name: mine
version: 1.0
author: Somebody
kind: python
entry: mine.py
files:
  mine.py: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
dtypes: [f32]
arithmetics: [exact, bounded]
";

    fn errors(text: &str) -> String {
        parse(Path::new("mine.yaml"), text.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn a_plain_file_is_read_whole() {
        let file = parse(Path::new("mine.yaml"), TEXT.as_bytes()).expect("a good file");
        assert_eq!((file.name.as_str(), file.version.as_str()), ("mine", "1.0"));
        assert_eq!(file.interpreter.as_deref(), Some("python3"));
        assert_eq!((file.arithmetics, file.dtypes), (vec!["exact", "bounded"], vec![Dtype::F32]));
        assert_eq!(file.memory_bytes, MEMORY_BYTES);
        let more = format!(
            "{TEXT}memory: 512MiB\nenvironment: {{A: b}}\nreads: [/opt/x]\nbuild_seconds: 7\n"
        );
        let file = parse(Path::new("mine.yaml"), more.as_bytes()).expect("a good file");
        assert_eq!((file.memory_bytes, file.build_limit.as_secs()), (512 << 20, 7));
        assert_eq!(file.environment["A"], "b");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (from, to, words) in [
            (
                "kind: python",
                "kind: pyhton",
                "mine.yaml:5:7: expected kind: one of library, python",
            ),
            (
                "operator/1",
                "operator/1-draft",
                "mine.yaml:1:9: expected the format `sparse-verify-operator/1`, found the text `sparse-verify-operator/1-draft`\nhint: \
                 write `format: sparse-verify-operator/1`",
            ),
            ("entry: mine.py", "entry: other.py", "mine.yaml:6:8: expected one of `files`"),
            (
                "  mine.py: e3",
                "  ../mine.py: e3",
                "expected a path below the operator file's folder",
            ),
            ("  mine.py: e3", "  mine.py: f", "a SHA-256 digest"),
            ("[exact, bounded]", "[exact, fast]", "one of exact, f32-chain"),
            ("dtypes: [f32]", "dtypes: [fp8]", "a dtype: one of f32"),
            ("version: 1.0", "memory: 4 GB", "memory in MiB or GiB"),
            ("author: Somebody\n", "", "missing key `author`"),
            (
                "version: 1.0",
                "version: '1.0), verified: (1'",
                "3:10: expected a version made of letters",
            ),
            ("kind: python", "kind: library\ninterpreter: python3", "a library has no interpreter"),
            (
                "version: 1.0",
                "version: 1.0\nenvironment: {SPARSE_VERIFY_X: y}",
                "another variable's name",
            ),
            (
                "version: 1.0",
                "version: 1.0\nenvironment: {LD_PRELOAD: ./x.so}",
                "another variable's name",
            ),
            ("version: 1.0", "version: 1.0\nreads: [/]", "of at least two parts"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let said = errors(&TEXT.replace(from, to));
            assert!(said.contains(words), "{to}: {said}");
        }
    }
}
