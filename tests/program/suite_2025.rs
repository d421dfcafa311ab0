//! The benchmark log of 2025: its inputs drawn again, its digest of zeros beside true elements, its times.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::common::{Workbench, repository};
use crate::memory::code_and_most_bytes;
use contract::digest::Digest;
use contract::inputs::spec::Sparsity;
use contract::published::{NumpyUniform, Scope};
use record::Record;
use record::claims::{Claim, ClaimWord, JudgedClaim, Tensor, VRecipe, Word};
use sparse_verify::manifest;

/// As the log prints it beside all 96 runs.
const V: &str = "448b453ff50675840e0e32980b9e77974b1188713089eb2c28e45b6d12701070";

fn claims() -> Vec<Claim> {
    let path = repository("manifests/suite-2025.yaml");
    manifest::load(Path::new(&path)).unwrap_or_else(|error| panic!("{error}")).claims
}

fn published(claim: &Claim, tensor: Tensor) -> &str {
    let mut digests = claim.digests.iter().filter(|published| published.tensor == tensor);
    digests.next().expect("every run has it").digits.as_str()
}

/// A of a claim by its recipe, as the prefix is hashed.
fn a(claim: &Claim, generator: NumpyUniform, sparsity: Sparsity) -> String {
    let (m, k) = claim.subject.shape.expect("given with the recipe");
    generator.digest_a((m as usize, k as usize), sparsity, Scope::Prefix).to_string()
}

#[test]
fn all_sixteen_random_matrices_and_v_have_the_published_digests() {
    let claims = claims();
    assert_eq!(claims.len(), 96);
    let mut matrices = BTreeSet::new();
    for claim in &claims {
        let Some(VRecipe::Numpy(generator)) = claim.v_recipe else { panic!("{}", claim.id) };
        assert_eq!(generator.seed, 123_456);
        assert_eq!(published(claim, Tensor::V), V);
        let Some(generator) = claim.a_recipe else {
            assert!(!claim.id.contains("random"), "{}", claim.id);
            continue;
        };
        let sparsity = claim.subject.sparsity.expect("given with the recipe");
        assert_eq!(a(claim, generator, sparsity), published(claim, Tensor::A), "{}", claim.id);
        matrices.insert(published(claim, Tensor::A));
    }
    assert_eq!(matrices.len(), 16);
    let generator = NumpyUniform { seed: 123_456 };
    for shape in [(20_000, 5000), (3000, 334), (1, 1_000_000)] {
        assert_eq!(generator.digest_v(shape, Scope::Prefix).to_string(), V);
    }
    // One number fewer, another seed: another digest. So have other levels, and another size of A.
    assert_ne!(generator.digest_v((1, 999_999), Scope::Prefix).to_string(), V);
    assert_ne!(
        NumpyUniform { seed: 123_457 }.digest_v((1, 1_000_000), Scope::Prefix).to_string(),
        V
    );
    let claim = claims.iter().find(|claim| claim.id == "cpu-random-40").expect("a run");
    let level = |text: &str| Sparsity::parse(text).expect("a decimal");
    assert_eq!(a(claim, generator, level("0.4")), published(claim, Tensor::A));
    assert_ne!(a(claim, generator, level("0.400001")), published(claim, Tensor::A));
    let mut other = claim.clone();
    other.subject.shape = Some((3000, 3001));
    assert_ne!(a(&other, generator, level("0.4")), published(claim, Tensor::A));
}

/// Numbers and tensors as VERIFY.md has them.
#[test]
fn the_vectors_of_the_specification_come_out() {
    let generator = NumpyUniform { seed: 123_456 };
    let bits = |first: u64, len: usize| {
        let mut numbers = vec![0.0; len];
        generator.fill(first, &mut numbers);
        numbers.iter().map(|x: &f32| format!("{:08x} ({x:?})", x.to_bits())).collect::<Vec<_>>()
    };
    let text = std::fs::read_to_string(repository("VERIFY.md")).expect("the specification");
    let first = bits(0, 4).join(", ");
    // Shortest decimals of f32 are not those of f64, which the text has.
    let hexadecimal = |text: &str| -> Vec<String> {
        text.split(", ").map(|number| number[..8].to_owned()).collect()
    };
    let line = |start: &str| {
        let rest = text.split_once(start).unwrap_or_else(|| panic!("no {start}")).1;
        rest.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(hexadecimal(&line("numbers  0 to 3: ")), hexadecimal(&first));
    let ahead = line("where the mask of 20000 x 20000 begins: ");
    assert_eq!(hexadecimal(&ahead), hexadecimal(&bits(400_000_000, 2).join(", ")));
    let half = Sparsity::parse("0.5").expect("a decimal");
    let a = generator.digest_a((3, 5), half, Scope::WholeTensor);
    let v = generator.digest_v((5, 2), Scope::WholeTensor);
    assert!(text.contains(&format!("13, 14 survive | `{a}` |")), "{a}");
    assert!(text.contains(&format!("| V 5 x 2 | `{v}` |")), "{v}");
}

/// What became of a claim's digest of a tensor.
fn row(claim: &JudgedClaim, tensor: Tensor) -> (Word, &str) {
    let rule = format!("digest of {}", tensor.name());
    let row = claim.rows.iter().find(|row| row.rule == rule).expect("published");
    (row.word, &row.line)
}

fn words(claim: &JudgedClaim, rule: &str) -> Vec<Word> {
    claim.rows.iter().filter(|row| row.rule == rule).map(|row| row.word).collect()
}

/// On a CPU, in seconds, and without a product of 20000 x 20000 x 5000.
#[test]
fn a_run_draws_the_inputs_again_and_refutes_the_zeros() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.json");
    let mut program = Command::new(env!("CARGO_BIN_EXE_verify"));
    program.arg(repository("manifests/suite-2025.yaml"));
    program.args(["--offline", "--device", "cpu", "--json"]).arg(&path);
    let (code, most) = code_and_most_bytes(&mut program);
    assert_eq!(code, Some(0), "its eight cases are verified");
    assert!((10 << 20..2 << 30).contains(&most), "{most} bytes");
    let record = record::load(&path).expect("a record");
    assert_eq!((record.cases.len(), record.judged.len()), (8, 96));
    for (claim, judged) in claims().iter().zip(&record.judged) {
        let id = &claim.id;
        assert_eq!((&judged.id, judged.word), (id, ClaimWord::Refuted));
        let is_random = id.contains("random");
        let (word, line) = row(judged, Tensor::V);
        assert_eq!(word, Word::PrefixMatch, "{id}: {line}");
        assert!(line.starts_with("prefix match: 64 of 64 digits; ") && line.contains(V), "{line}");
        let (word, line) = row(judged, Tensor::A);
        if is_random {
            assert_eq!(word, Word::PrefixMatch, "{id}: {line}");
            assert!(line.starts_with("prefix match: 64 of 64 digits; "), "{id}: {line}");
        } else {
            assert_eq!((word, line), (Word::NotJudged, "how A was made is not published"), "{id}");
        }
        assert_eq!(words(judged, "vacuous digest"), [Word::Differs], "{id}");
        assert_eq!(words(judged, "speedup"), [Word::Agrees], "{id}");
        // Where the batch is printed and A known, an element that is not zero is shown.
        let is_shown = is_random && !id.starts_with("cpu");
        assert_eq!(words(judged, "true element").len(), usize::from(is_shown), "{id}");
        assert_eq!(words(judged, "roofline").len(), usize::from(is_shown), "{id}");
        assert_eq!(words(judged, "times").len(), usize::from(!is_shown), "{id}");
        let is_sparsest = is_shown && id.ends_with("99");
        assert_eq!(words(judged, "time and non-zeros").len(), usize::from(is_sparsest), "{id}");
    }
    let impossible = record.judged.iter().filter(|j| words(j, "roofline") == [Word::Impossible]);
    assert_eq!(impossible.count(), 13);
    // By the rule of the cases' own multiplication: the elements are those of NumPy's product.
    let element = record.judged.iter().find(|judged| judged.id == "b200-random-70");
    let element =
        element.and_then(|judged| judged.rows.iter().find(|row| row.rule == "true element"));
    let line = &element.expect("shown").line;
    assert!(
        line.ends_with("element (0, 0) of A V is 1514, of 6050 products, none of them negative"),
        "{line}"
    );
}

/// A claim of the log about a smaller matrix, with one thing changed.
fn changed(from: &str, to: &str) -> Record {
    let generator = NumpyUniform { seed: 123_456 };
    let sparsity = Sparsity::parse("0.7").expect("a decimal");
    let digest = generator.digest_a((1200, 1000), sparsity, Scope::Prefix);
    let zeros = Digest::of(&vec![0; 4_000_000]);
    let text = format!(
        "format: sparse-verify/2\ntitle: One\nsections:\n  - name: one\n    seed: 9\n    weights: {{generator: \
         numpy-pcg64-uniform}}\n    layers: {{name: odd, shape: [37, 51]}}\n    patterns: uniform\n    sparsity: 0.7\n    \
         batch: 5\n    dtype: f32\n    arithmetic: f32-chain\nclaims:\n  - id: one\n    case: {{shape: [1200, 1000], \
         sparsity: 0.7, batch: 1000}}\n    sources: [s]\n    digests: {{a: '{digest}', v: '{V}', operator: \
         '{zeros}'}}\n    scope: prefix\n    a_recipe: {{numpy-pcg64-uniform: {{seed: 123456}}}}\n    v_recipe: \
         {{numpy-pcg64-uniform: {{seed: 123456}}}}\n"
    );
    assert!(text.contains(from), "{from}");
    let bench = Workbench::new(&[]);
    bench.write("manifests/one.yaml", &text.replacen(from, to, 1));
    let pinned = bench.verify(&["pin", "manifests/one.yaml", "--yes"]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    let ran = bench.verify(&["manifests/one.yaml", "--no-measure", "--json", "run.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    bench.record("run.json")
}

#[test]
fn what_is_changed_is_found() {
    let of = |from: &str, to: &str| {
        let judged = changed(from, to).judged.remove(0);
        let shown = words(&judged, "true element").len();
        (row(&judged, Tensor::A).0, row(&judged, Tensor::V).0, shown)
    };
    let (same, other) = (Word::PrefixMatch, Word::Mismatch);
    assert_eq!(of("title: One", "title: Same"), (same, same, 1));
    // A digit of V's digest, the level, a shape, either seed.
    assert_eq!(of("v: '448b453f", "v: '448b453e"), (same, other, 1));
    assert_eq!(of("sparsity: 0.7, batch: 1000", "sparsity: 0.71, batch: 1000"), (other, same, 1));
    assert_eq!(of("[1200, 1000]", "[1201, 1000]"), (other, same, 1));
    assert_eq!(
        of(
            "a_recipe: {numpy-pcg64-uniform: {seed: 123456}}",
            "a_recipe: {numpy-pcg64-uniform: {seed: 1}}"
        ),
        (other, same, 1)
    );
    assert_eq!(
        of(
            "v_recipe: {numpy-pcg64-uniform: {seed: 123456}}",
            "v_recipe: {numpy-pcg64-uniform: {seed: 1}}"
        ),
        (same, other, 1)
    );
    // An A without non-zeros has a product of zeros, and a digest that is not that of zeros is no business of the rule.
    assert_eq!(of("sparsity: 0.7, batch: 1000", "sparsity: 1, batch: 1000").2, 0);
    assert_eq!(of("operator: '8dbe5f13", "operator: '8dbe5f14").2, 0);
    // Of how many columns V has nothing is said: its prefix is known all the same, and an element of the product not.
    assert_eq!(of(", batch: 1000}", "}"), (same, same, 0));
    let record = changed(", batch: 1000}", "}");
    let v = record.published_inputs.iter().find(|input| input.tensor == Tensor::V);
    assert_eq!(v.and_then(|v| v.compared).expect("made").share, None);
}

/// The second implementation, by NumPy's own generator, gets the digests of a case of it.
#[test]
fn the_second_implementation_gets_the_digests_of_a_case() {
    let bench = Workbench::new(&[]);
    bench.write(
        "manifests/one.yaml",
        "format: sparse-verify/2\ntitle: One\nsections:\n  - name: one\n    seed: 9\n    weights: {generator: \
         numpy-pcg64-uniform}\n    layers: {name: odd, shape: [37, 51]}\n    patterns: uniform\n    sparsity: [0.3, \
         0.95]\n    batch: 5\n    dtype: f32\n    arithmetic: f32-chain\n",
    );
    let pinned = bench.verify(&["pin", "manifests/one.yaml", "--yes"]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    let python = std::env::var_os("SPARSE_VERIFY_PYTHON").unwrap_or_else(|| "python3".into());
    let judge = || {
        let output = Command::new(&python)
            .arg(repository("tests/independent/verify.py"))
            .args([bench.path("manifests/one.yaml"), bench.path("expected-hashes/one.yaml")])
            .output()
            .expect("a Python with NumPy and PyYAML: tests/run.sh sets it up");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = judge();
    assert!(said.ends_with("2 passed, 0 failed\n"), "{said}");
    let committed = bench.read("expected-hashes/one.yaml");
    let at = committed.find("    a: \"").expect("a digest") + "    a: \"".len();
    let digit = if &committed[at..=at] == "0" { "1" } else { "0" };
    let mut other = committed.clone();
    other.replace_range(at..=at, digit);
    bench.write("expected-hashes/one.yaml", &other);
    let said = judge();
    assert!(said.ends_with("1 passed, 1 failed\n"), "{said}");
}
