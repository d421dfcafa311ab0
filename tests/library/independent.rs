//! The second implementation, in NumPy, gets the committed digests: it shares no code with this
//! one, only VERIFY.md.

use std::path::{Path, PathBuf};
use std::process::Command;

use contract::inputs::spec::Sparsity;
use contract::published::{Generator, Hardware, NumpyUniform, Platform, Recipe, Scope};
use sparse_verify::published::Machine;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script of tests/independent and returns what it printed. Fails if it fails, or if there
/// is no Python for it: a check that did not run has not passed.
pub fn python(script: &str, arguments: &[&str]) -> String {
    let python = std::env::var_os("SPARSE_VERIFY_PYTHON").map_or("python3".into(), PathBuf::from);
    let output = Command::new(&python)
        .arg(root().join("tests/independent").join(script))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| {
            panic!("{}: {error}; tests/run.sh sets up what this needs", python.display())
        });
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script} {arguments:?} failed; without NumPy and PyYAML use tests/run.sh\n{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

#[test]
fn it_gets_every_digest_of_the_quickstart() {
    let arguments = ["--pins", "manifests/quickstart.yaml", "expected-hashes/quickstart.yaml"];
    let stdout = python("verify.py", &arguments);
    assert!(stdout.ends_with("222 passed, 0 failed\n"), "{stdout}");
}

#[test]
fn it_gets_the_digests_of_real_weights() {
    let weights = std::env::var("SPARSE_VERIFY_MINILM")
        .expect("SPARSE_VERIFY_MINILM names the folder with MiniLM's weights: use tests/run.sh");
    for case in ["rows/l0.ffn-up/row-magnitude-80/*", "elements/l5.ffn-down/*-90/*"] {
        let arguments = [
            "manifests/minilm.yaml",
            "expected-hashes/minilm.yaml",
            "--case",
            case,
            "--weights",
            &weights,
        ];
        let stdout = python("verify.py", &arguments);
        assert!(stdout.ends_with("1 passed, 0 failed\n"), "{stdout}");
    }
}

#[test]
fn a_changed_digest_fails_it() {
    let text = std::fs::read_to_string(root().join("expected-hashes/quickstart.yaml")).unwrap();
    let case = text.find("  chain/up/block16-80/").unwrap();
    let at = case + text[case..].find("    dense: \"").unwrap() + "    dense: \"".len();
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    let mut changed = text.clone();
    changed.replace_range(at..=at, digit);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quickstart.yaml");
    std::fs::write(&path, changed).unwrap();
    let python = std::env::var_os("SPARSE_VERIFY_PYTHON").map_or("python3".into(), PathBuf::from);
    let output = Command::new(python)
        .arg(root().join("tests/independent/verify.py"))
        .args(["--no-perturb", "--case", "chain/up/block16-80/*"])
        .arg(root().join("manifests/quickstart.yaml"))
        .arg(&path)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("FAIL"), "{stdout}");
}

#[test]
fn it_draws_the_published_uniform_inputs() {
    let stdout = python("published.py", &[]);
    assert!(stdout.ends_with("6 passed, 0 failed\n"), "{stdout}");
}

#[test]
fn it_draws_the_inputs_of_numpy_that_claims_publish() {
    let stdout = python("published.py", &["claims", "manifests/suite-2025.yaml"]);
    // A of 24 runs, V of 96.
    assert_eq!(stdout, "120 passed, 0 failed\n");
}

/// NumPy itself draws the same tensors as this one, of even and odd sizes, at levels from nothing to everything.
#[test]
fn numpy_draws_any_inputs_as_this_one_does() {
    for (seed, m, k, n) in [
        (0, 3, 5, 2),
        (123_456, 67, 131, 7),
        (u64::MAX, 64, 96, 33),
        (1 << 32, 1, 1, 1),
        (42, 700, 1100, 900),
    ] {
        let sizes = [m, k, n].map(|size: usize| size.to_string());
        let stdout =
            python("published.py", &["numpy", &seed.to_string(), &sizes[0], &sizes[1], &sizes[2]]);
        let generator = NumpyUniform { seed };
        let levels = [("0.0", "0"), ("0.3", "0.3"), ("0.4", "0.4"), ("0.99", "0.99"), ("1.0", "1")];
        let of_a = levels.map(|(name, level)| {
            let sparsity = Sparsity::parse(level).unwrap();
            let digest = generator.digest_a((m, k), sparsity, Scope::WholeTensor);
            format!("{name} {digest}\n")
        });
        let v = generator.digest_v((k, n), Scope::WholeTensor);
        assert_eq!(stdout, format!("{}{v}\n", of_a.concat()), "{seed} {m} {k} {n}");
    }
}

/// Both draw the same tensors, one after the other from one generator: prefixes and whole tensors.
#[test]
fn it_draws_any_uniform_inputs_as_this_one_does() {
    // A published V behind its A, both whole; tensors that end before, at and behind a block and a
    // round; a seed of two words.
    let sweep = [100_000_000, 25_000_000].as_slice();
    let odd = [1, 255, 257, 6_143, 24_576, 24_577, 0, 999_999, 1_000_001].as_slice();
    for (platform, name, multiprocessors, seed, sizes) in [
        (Platform::Cuda, "cuda", 132, 42, sweep),
        (Platform::Rocm, "rocm", 304, 42, sweep),
        (Platform::Cuda, "cuda", 3, u64::MAX - 7, odd),
        (Platform::Rocm, "rocm", 7, 1 << 40, odd),
    ] {
        let mut arguments = vec![name.to_string(), format!("{multiprocessors}"), format!("{seed}")];
        arguments.extend(sizes.iter().map(usize::to_string));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let stdout = python("published.py", &arguments);
        let hardware = Hardware::new(platform, multiprocessors, Hardware::THREADS).unwrap();
        let mut generator = Generator::new(seed, hardware);
        let machine = Machine::cpu(2);
        let lines = sizes.iter().map(|&size| {
            let drawn = generator.draw(Recipe::Uniform, (1, size)).unwrap();
            let [prefix, whole] = [Scope::Prefix, Scope::WholeTensor]
                .map(|scope| machine.digest(&drawn, scope).unwrap());
            format!("{size} {prefix} {whole}\n")
        });
        assert_eq!(stdout, lines.collect::<String>(), "{arguments:?}");
    }
}

#[test]
fn its_own_rules_hold() {
    let stdout = python("selftest.py", &[]);
    assert!(stdout.ends_with(" passed, 0 failed\n"), "{stdout}");
}
