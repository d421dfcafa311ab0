//! Every way for a manifest to be wrong has a small file in `tests/bad/manifests` and the whole
//! message it must give beside it.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sparse_verify::manifest;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/manifests")
}

#[test]
fn bad_manifests_give_their_messages() {
    let manifests = manifest::find(&[folder()]).expect("the folder holds manifests");
    assert!(manifests.len() >= 20);
    let mut failures = String::new();
    for path in &manifests {
        let name = path.file_name().expect("found in a folder");
        let bytes = std::fs::read(path).expect("listed a moment ago");
        let got = match manifest::parse(Path::new(name), &bytes) {
            Ok(manifest) => format!("accepted, {} cases", manifest.cases.len()),
            Err(errors) => errors.to_string(),
        };
        let expected = std::fs::read_to_string(path.with_extension("expected"));
        let expected = expected.unwrap_or_else(|e| format!("({e})"));
        if got.trim_end() != expected.trim_end() {
            failures += &format!("--- {}\n{got}\n--- expected\n{expected}\n", name.display());
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn every_message_has_its_manifest() {
    for entry in std::fs::read_dir(folder()).expect("the folder exists") {
        let path = entry.expect("the folder can be listed").path();
        assert!(path.with_extension("yaml").is_file(), "{} has no manifest", path.display());
    }
}

#[test]
fn all_forms_are_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good/manifests/all.yaml");
    let manifest = manifest::load(&path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(manifest.name, "all");
    assert_eq!(manifest.platform.as_deref(), Some("NVIDIA B200"));
    let ids: Vec<&str> = manifest.cases.iter().map(|case| case.id.as_str()).collect();
    // Layers x (none and two-of-four once, six patterns at three levels) x batches x dtypes x arithmetics.
    assert_eq!(ids.len(), 2 * (2 + 6 * 3) * 2 * 3 * 5 + 4);
    for id in [
        "structures/up_proj/none/b1/f32/f32-chain",
        "structures/up_proj/uniform-80/b1/f32/f32-sliced-4x24",
        "structures/up_proj/block32-99.5/b1024/bf16/f32-sliced-8by8",
        "structures/up_proj/two-of-four/b1/f16/bounded",
        "structures/up_proj/dead-experts1-99.5/b1/f32/f32-chain",
        "structures/empty/power-law-70/b1024/f16/tensor-core-hopper",
        "integers/up/none/b3/f32-to-bf16/exact",
        "real.file/l0.ffn-up/row-magnitude-80/b1/f32/f32-chain",
        "real.hub/l0/block32-100/b1/f32/tensor-core-ampere",
    ] {
        assert!(ids.contains(&id), "{id} is not among the cases");
    }
    assert!(!manifest.cases.iter().find(|c| c.section == "integers").expect("present").required);
}

/// How a matrix lies in its tensor is told from the layer's keys, and no id says it.
#[test]
fn keys_of_stored_tensors_are_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good/manifests/checkpoints.yaml");
    let manifest = manifest::load(&path).unwrap_or_else(|e| panic!("{e}"));
    let cases = manifest.cases.iter().map(|case| format!("{} {}", case.id, case.weights));
    let hub = "org/name@0123456789012345678901234567890123456789";
    assert_eq!(
        cases.collect::<Vec<_>>(),
        [
            "part/all/none/b1/f32/f32-chain a/w.safetensors: t (scales s, expert 3, transposed, rows 10..255)".to_owned(),
            "part/rows/none/b1/f32/f32-chain a/w.safetensors: t (rows 7..7)".to_owned(),
            "part/plain/none/b1/f32/f32-chain a/w.safetensors: t (scales s)".to_owned(),
            format!("index/pinned/none/b1/f32/f32-chain {hub}/a/m.safetensors.fp16.index.json: t (scales s, expert 0)"),
            format!("commit/by-commit/none/b1/f32/f32-chain {hub}/m.safetensors.index.fp16.json: t (scales s)"),
        ]
    );
}

#[test]
fn ids_do_not_depend_on_the_other_entries() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good/manifests/all.yaml"),
    )
    .expect("part of the repository");
    let ids = |text: &str| -> Vec<String> {
        let manifest = manifest::parse(Path::new("all.yaml"), text.as_bytes());
        manifest.unwrap_or_else(|e| panic!("{e}")).cases.into_iter().map(|c| c.id).collect()
    };
    let all = ids(&text);
    let fewer = ids(&text.replace("[1, 1024]", "1").replace("[0.7, 0.80, 0.995]", "0.800"));
    assert!(fewer.len() < all.len() && fewer.iter().all(|id| all.contains(id)));
}

#[test]
fn anchors_and_line_endings_change_nothing() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good/manifests/all.yaml"),
    )
    .expect("part of the repository");
    let cases = |text: &str| {
        let manifest = manifest::parse(Path::new("all.yaml"), text.as_bytes());
        manifest.unwrap_or_else(|e| panic!("{e}")).cases
    };
    let plain = cases(&text);
    assert_eq!(plain, cases(&text.replace('\n', "\r\n")));
    let anchored = text
        .replace("sparsity: 0.8\n", "sparsity: *levels\n")
        .replace("sparsity: [0.7, 0.80, 0.995]", "sparsity: &levels [0.7, 0.80, 0.995]");
    assert_eq!(cases(&anchored).len(), plain.len() + 2);
}

#[test]
fn missing_files_and_empty_folders_are_named() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let missing = empty.path().join("other.yaml");
    let message = |path: &Path| match manifest::find(&[path.to_owned()]) {
        Ok(found) => panic!("found {found:?}"),
        Err(e) => e.to_string().replace(&path.display().to_string(), "PATH"),
    };
    assert_eq!(
        message(&missing),
        "PATH: expected a manifest or a folder of manifests, found nothing"
    );
    assert_eq!(
        message(&empty.path().join("h200.yaml")),
        "PATH: expected a manifest or a folder of manifests, found nothing\nhint: the program carries `h200`: give its \
         name alone, or write it here by `verify eject`"
    );
    assert_eq!(
        message(empty.path()),
        "PATH: expected manifests in the folder, found none\nhint: their names end in .yaml"
    );
    let error = manifest::load(empty.path()).expect_err("a folder is no manifest").to_string();
    assert!(error.contains("failed to read the manifest"), "{error}");
}

#[test]
fn a_folder_gives_its_manifests_sorted_and_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["b.yaml", "a.yaml", "notes.txt", "c.yml"] {
        std::fs::write(folder.path().join(name), "").expect("the folder is writable");
    }
    std::fs::create_dir(folder.path().join("d.yaml")).expect("the folder is writable");
    let paths = [folder.path().join("b.yaml"), folder.path().to_owned()];
    let found = manifest::find(&paths).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found, [folder.path().join("b.yaml"), folder.path().join("a.yaml")]);
}

#[test]
fn errors_are_counted_beyond_a_hundred() {
    let text = format!("format: sparse-verify/2\n{}", "x: 1\n".repeat(150));
    let errors = manifest::parse(Path::new("x.yaml"), text.as_bytes()).expect_err("unknown keys");
    assert_eq!(errors.errors.len(), 101);
    assert_eq!(errors.errors[100].message, "52 more errors");
}

/// What YAML's structure is made of.
const SYNTAX: &[u8] = b"[]{}:,-'\"&*!|>#%@`\n\t 0";

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = manifest::parse(Path::new("random.yaml"), &bytes);
    }

    #[test]
    fn mutated_manifests_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..6usize, any::<u8>()), 1..6)
    ) {
        let mut bytes = include_bytes!("../good/manifests/all.yaml").to_vec();
        for (index, kind, byte) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match kind {
                0 => { bytes.remove(at); }
                1 => bytes.insert(at, byte),
                2 => bytes.insert(at, SYNTAX[usize::from(byte) % SYNTAX.len()]),
                3 => bytes.truncate(at.max(1)),
                4 => { let end = (at + usize::from(byte)).min(bytes.len()); bytes.drain(at..end); bytes.push(b'\n'); }
                _ => bytes[at] = byte,
            }
        }
        if let Err(errors) = manifest::parse(Path::new("mutated.yaml"), &bytes) {
            prop_assert!(!errors.errors.is_empty());
            let text = errors.to_string();
            prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        }
    }
}
