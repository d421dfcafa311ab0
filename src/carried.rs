//! Files that the program carries: the repository's manifests, committed digests and operators, as they were when it was
//! built. Their paths begin with `carried:/`, which no folder does.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// What stands for the folder of them all.
const ROOT: &str = "carried:/";

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../", $name)))),*]
    };
}

/// Paths below the repository's folder, and what is there.
pub const FILES: &[(&str, &[u8])] = files![
    "expected-hashes/b200.panels"
    "expected-hashes/b200.yaml"
    "expected-hashes/epyc-7b13.panels"
    "expected-hashes/epyc-7b13.yaml"
    "expected-hashes/h200.panels"
    "expected-hashes/h200.yaml"
    "expected-hashes/intel-cpu.panels"
    "expected-hashes/intel-cpu.yaml"
    "expected-hashes/mi300x.panels"
    "expected-hashes/mi300x.yaml"
    "expected-hashes/minilm.panels"
    "expected-hashes/minilm.yaml"
    "expected-hashes/quickstart.panels"
    "expected-hashes/quickstart.yaml"
    "expected-hashes/suite-2025.panels"
    "expected-hashes/suite-2025.yaml"
    "expected-hashes/t4.panels"
    "expected-hashes/t4.yaml"
    "manifests/b200.yaml"
    "manifests/epyc-7b13.yaml"
    "manifests/h200.yaml"
    "manifests/intel-cpu.yaml"
    "manifests/later.yaml"
    "manifests/mi300x.yaml"
    "manifests/minilm.yaml"
    "manifests/page.yaml"
    "manifests/quickstart.yaml"
    "manifests/suite-2025.yaml"
    "manifests/t4.yaml"
    "operators/cupy.yaml"
    "operators/cupy_mm.py"
    "operators/numpy.py"
    "operators/numpy.yaml"
    "operators/scipy-bsr.yaml"
    "operators/scipy-csr.yaml"
    "operators/scipy_bsr.py"
    "operators/scipy_csr.py"
    "operators/torch-csr.yaml"
    "operators/torch-mm.yaml"
    "operators/torch-two-of-four.yaml"
    "operators/torch_csr.py"
    "operators/torch_mm.py"
    "operators/torch_two_of_four.py"
    "operators/triton.yaml"
    "operators/triton_mm.py"
];

/// The file of a path that [`path`] or [`named`] gave, or of one beside it.
pub fn bytes(path: &Path) -> Option<&'static [u8]> {
    let name = path.to_str()?.strip_prefix(ROOT)?;
    FILES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}

/// Whether a path is that of a file which is carried, or would be if there were one.
pub fn is_carried(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(ROOT))
}

/// The path of a carried file.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("{ROOT}{name}"))
}

/// The file `FOLDER/NAME.yaml`: the one in the current folder, or else the one that is carried.
pub fn named(folder: &str, name: &str) -> Option<PathBuf> {
    let file = format!("{folder}/{name}.yaml");
    let here = PathBuf::from(&file);
    let carried = path(&file);
    match here.is_file() {
        true => Some(here),
        false => bytes(&carried).is_some().then_some(carried),
    }
}

/// Names of the YAML files that are carried in a folder, sorted.
pub fn names(folder: &str) -> impl Iterator<Item = &'static str> {
    let files = FILES.iter().filter_map(move |(name, _)| name.strip_prefix(folder));
    files.filter_map(|name| name.strip_prefix('/')?.strip_suffix(".yaml"))
}

/// The bytes of a file, from the disk or carried.
pub fn read(path: &Path) -> io::Result<Cow<'static, [u8]>> {
    match bytes(path) {
        Some(bytes) => Ok(Cow::Borrowed(bytes)),
        None => std::fs::read(path).map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest that is added to the repository is added here.
    #[test]
    fn all_of_the_repositorys_files_are_carried() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut there = Vec::new();
        for folder in ["expected-hashes", "manifests", "operators"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap().flatten() {
                there.push(format!("{folder}/{}", entry.file_name().to_string_lossy()));
            }
        }
        let carried = [".panels", ".py", ".yaml"];
        there.retain(|name| carried.iter().any(|end| name.ends_with(end)));
        there.sort();
        assert_eq!(there, FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, bytes) in FILES {
            assert_eq!(std::fs::read(root.join(name)).unwrap(), *bytes, "{name}");
        }
    }

    #[test]
    fn what_lies_beside_a_carried_file_is_found() {
        let manifest = path("manifests/quickstart.yaml");
        assert!(bytes(&manifest).is_some() && is_carried(&manifest));
        let beside = manifest.parent().unwrap().parent().unwrap().join("expected-hashes/t4.yaml");
        assert!(bytes(&beside).is_some());
        assert_eq!(bytes(&path("manifests/other.yaml")), None);
        assert_eq!(bytes(Path::new("manifests/quickstart.yaml")), None);
        let operators: Vec<&str> = names("operators").collect();
        assert!(operators.contains(&"scipy-csr") && operators.is_sorted(), "{operators:?}");
        assert!(operators.iter().all(|name| !name.contains('.')), "{operators:?}");
    }
}
