//! Real weights: every case verifies, and what is wrong with a file or a digest is named.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn weights() -> PathBuf {
    std::env::var_os("SPARSE_VERIFY_MINILM")
        .expect("SPARSE_VERIFY_MINILM names the folder with MiniLM's weights: use tests/run.sh")
        .into()
}

/// Runs `verify` on a manifest with bits only, with no cache of models and no hub in reach.
fn verify(manifest: &Path, weights: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verify"))
        .arg(manifest)
        .args(["--no-measure", "--offline"])
        .arg("--weights")
        .arg(weights)
        .args(more)
        .env("HF_HUB_CACHE", root().join("target/no-such-cache"))
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A copy of the manifest, with the committed digests as `change` leaves them.
fn copy(folder: &Path, change: impl FnOnce(String) -> Option<String>) -> PathBuf {
    for name in ["manifests", "expected-hashes"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    let manifest = folder.join("manifests/minilm.yaml");
    std::fs::copy(root().join("manifests/minilm.yaml"), &manifest).unwrap();
    let expected = std::fs::read_to_string(root().join("expected-hashes/minilm.yaml")).unwrap();
    if let Some(expected) = change(expected) {
        std::fs::write(folder.join("expected-hashes/minilm.yaml"), expected).unwrap();
    }
    manifest
}

/// Changes the first digit of a key's value in an entry.
fn change_digit(text: &str, id: &str, key: &str) -> String {
    let entry = text.find(&format!("  {id}:\n")).unwrap();
    let key = format!("    {key}: \"");
    let at = entry + text[entry..].find(&key).unwrap() + key.len();
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    let mut changed = text.to_owned();
    changed.replace_range(at..=at, digit);
    changed
}

#[test]
fn every_case_is_verified() {
    let output = verify(&root().join("manifests/minilm.yaml"), &weights(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("40 cases: 40 verified"), "{}", text(&output));
}

/// Runs one case on weights in which the bit at `place` is flipped, which must be refuted with `digest`.
fn refutes_a_flipped_bit(manifest: &Path, place: usize, digest: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(weights().join("model.safetensors")).unwrap();
    bytes[place] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let output = verify(manifest, folder.path(), &["--case", "rows/l0.query/*-50/*"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in ["mismatch", digest, path.to_str().unwrap()] {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
}

#[test]
fn a_flipped_bit_in_the_tensor_names_the_tensors_digest() {
    let bytes = std::fs::read(weights().join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("encoder.layer.0.attention.self.query.weight").unwrap();
    let place = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
    refutes_a_flipped_bit(
        &root().join("manifests/minilm.yaml"),
        place + tensor.data().len() / 2,
        "37cd347d0b4299ae014caff80bbd196d9f597b14548b26027f800e300128486c",
    );
}

#[test]
fn where_no_tensor_has_a_digest_a_flipped_bit_anywhere_names_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("minilm.yaml");
    let text = std::fs::read_to_string(root().join("manifests/minilm.yaml")).unwrap();
    let mut parts = text.split(",\n         sha256: ");
    let first = parts.next().unwrap_or_default().to_owned();
    // Each part begins with a digest.
    let without = parts.fold(first, |text, part| text + &part[64..]);
    assert!(without.len() < text.len());
    std::fs::write(&manifest, without).unwrap();
    let length = std::fs::metadata(weights().join("model.safetensors")).unwrap().len();
    refutes_a_flipped_bit(
        &manifest,
        length as usize / 2,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    );
}

#[test]
fn missing_weights_leave_the_case_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let output = verify(
        &root().join("manifests/minilm.yaml"),
        folder.path(),
        &["--case", "rows/l0.query/*-50/*"],
    );
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("not-run") && text.contains("hint:"), "{text}");
}

const CASE: &str = "rows/l0.query/row-magnitude-80/b128/f32/f32-chain";

#[test]
fn a_changed_digit_of_a_digest_is_named() {
    for (key, named) in [
        ("a", "A (pruned weights) digest mismatch"),
        ("v", "V (activations) digest mismatch"),
        ("dense", "dense reference output digest mismatch"),
        ("operator", "operator output digest mismatch"),
        ("rebuilt", "perturbed output, rebuilt operator digest mismatch"),
        ("shifted", "perturbed output, operator not rebuilt digest mismatch"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let manifest = copy(folder.path(), |text| Some(change_digit(&text, CASE, key)));
        let output = verify(&manifest, &weights(), &["--case", CASE]);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(named), "{text}");
        assert_eq!(text.matches("digest mismatch").count(), 1, "only {key}: {text}");
        assert!(text.contains("the local implementations agree with each other"), "{text}");
    }
}

#[test]
fn the_row_panel_that_differs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = copy(folder.path(), |text| {
        let text = change_digit(&text, CASE, "operator");
        let entry = text.find(&format!("  {CASE}:\n")).unwrap();
        let start = entry + text[entry..].find("panels: [").unwrap();
        // Panel 5 is the sixth quoted text: 384 rows in 64 panels are 6 rows each.
        let at = start + text[start..].match_indices('"').nth(10).unwrap().0 + 1;
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        let mut changed = text;
        changed.replace_range(at..=at, digit);
        Some(changed)
    });
    let output = verify(&manifest, &weights(), &["--case", CASE]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("first row panel that differs: 5 (rows 30..35)"), "{text}");
}

#[test]
fn without_committed_digests_nothing_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = copy(folder.path(), |_| None);
    let output = verify(&manifest, &weights(), &["--case", CASE]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("unpinned"), "{text}");
}
