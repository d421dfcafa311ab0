//! The hand-written JSON Schemas accept what is accepted, and know the keys and names that the readers know.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sparse_verify::cli::schema::SCHEMAS;
use sparse_verify::manifest::{self, operator};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema(kind: &str) -> Value {
    let (_, text) = SCHEMAS.iter().find(|(known, _)| *known == kind).expect("a kind");
    serde_json::from_str(text).expect("a schema is JSON")
}

fn validator(kind: &str) -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema(kind)).expect("a schema")
}

/// What is wrong with a document, one line each.
fn faults(validator: &jsonschema::Validator, document: &Value) -> Vec<String> {
    let errors = validator.iter_errors(document);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// A YAML document as an editor sees it; `None` where it is no YAML.
fn yaml(text: &str) -> Option<Value> {
    serde_saphyr::from_str(text).ok()
}

/// YAML files of a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder").flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

#[test]
fn all_shipped_files_validate() {
    for (kind, folder) in [
        ("manifest", "manifests"),
        ("manifest", "tests/good/manifests"),
        ("operator", "operators"),
        ("expected", "expected-hashes"),
    ] {
        let validator = validator(kind);
        for path in files(folder) {
            let document = yaml(&std::fs::read_to_string(&path).expect("text")).expect("YAML");
            assert_eq!(faults(&validator, &document), Vec::<String>::new(), "{}", path.display());
        }
    }
}

/// Every other one of tests/bad is refused by the schema, or is no YAML.
const NOT_SEEN: [&str; 12] = [
    // Two of one name, or of one id.
    "claims-without-section",
    "duplicate-layer",
    "duplicate-section",
    // Products and quotients of numbers.
    "experts-none-alive",
    "experts-of-a-part",
    "more-slices-than-k",
    "rows-do-not-fit",
    "slices-do-not-fit",
    "too-large",
    "too-many-cases",
    "stack-feeds",
    // What a reader of YAML resolves before a schema sees it.
    "merge-key",
];

#[test]
fn bad_manifests_do_not_validate() {
    let validator = validator("manifest");
    let mut accepted = Vec::new();
    for path in files("tests/bad/manifests") {
        let text = std::fs::read(&path).expect("it is there");
        let document = std::str::from_utf8(&text).ok().and_then(yaml);
        if document.is_some_and(|document| validator.is_valid(&document)) {
            accepted.push(path.file_stem().expect("a name").to_string_lossy().into_owned());
        }
    }
    let mut not_seen = NOT_SEEN.to_vec();
    not_seen.sort_unstable();
    assert_eq!(accepted, not_seen);
}

const MANIFEST: &str = "format: sparse-verify/2
title: T
sections:
  - name: s
    seed: 1
    weights: {synthetic: uniform}
    layers: [{name: l, shape: [8, 8]}]
    patterns: uniform
    sparsity: 0.5
    batch: 1
    dtype: f32
    activations: uniform
    arithmetic: f32-chain
    plan: auto
    config: {source: s, dtype: f32, hidden_size: 1, intermediate_size: 1, attention_heads: 1, key_value_heads: 1, vocabulary: 1, tie_word_embeddings: true}
    published: {title: t, cases: 1}
    claims: [{id: c, sources: s, speedup_rises_with: batch, energy_method: counter, tolerance_of: output, case: {layer: l}, digests: {a: 01234567}, scope: whole, output_digests: output, a_recipe: {numpy-pcg64-uniform: {seed: 3}}, v_recipe: {torch-device-normal: {platform: cuda, multiprocessors: 1}}}]
claims: [{id: e, sources: s, case: {batch: 1}}]
page: {source: s, not_judged: [{because: b, numbers: [{line: 1, printed: 4}]}]}
";

const OPERATOR: &str = "format: sparse-verify-operator/1
name: mine
version: 1.0
author: Somebody
kind: python
entry: mine.py
files: {mine.py: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}
dtypes: [f32]
arithmetics: [exact, bounded]
";

fn errors(kind: &str, text: &str) -> String {
    let path = Path::new("x.yaml");
    let error = match kind {
        "manifest" => manifest::parse(path, text.as_bytes()).err(),
        _ => operator::parse(path, text.as_bytes()).err(),
    };
    error.map(|error| error.to_string()).unwrap_or_default()
}

/// The text with one part of it replaced.
fn changed(kind: &str, from: &str, to: &str) -> String {
    let text = if kind == "manifest" { MANIFEST } else { OPERATOR };
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// The names that an error lists between two words of it.
fn listed(errors: &str, before: &str, after: &str) -> BTreeSet<String> {
    let (_, rest) = errors.split_once(before).unwrap_or_else(|| panic!("no {before}: {errors}"));
    let (names, _) = rest.split_once(after).expect("an end");
    names.split(", ").map(str::to_owned).collect()
}

/// Keys of each mapping are those that the error about an unknown one lists.
#[test]
fn keys_are_those_that_are_known() {
    for (kind, place, from, to) in [
        ("manifest", "", "title: T", "title: T\nzz: 1"),
        ("manifest", "/$defs/section", "    seed: 1", "    seed: 1\n    zz: 1"),
        ("manifest", "/$defs/layer", "{name: l,", "{zz: 1, name: l,"),
        (
            "manifest",
            "/$defs/layer/properties/scales/anyOf/1",
            "synthetic: uniform}\n    layers: [{name: l,",
            "file: a.safetensors}\n    layers: [{name: l, scales: {zz: 1},",
        ),
        ("manifest", "/$defs/weights/oneOf/0", "synthetic: uniform", "synthetic: uniform, zz: 1"),
        (
            "manifest",
            "/$defs/weights/oneOf/1",
            "synthetic: uniform",
            "torch-device-uniform: {}, zz: 1",
        ),
        ("manifest", "/$defs/weights/oneOf/2", "synthetic: uniform", "file: a, zz: 1"),
        ("manifest", "/$defs/weights/oneOf/3", "synthetic: uniform", "hub: a/b, zz: 1"),
        (
            "manifest",
            "/$defs/weights/oneOf/4",
            "synthetic: uniform",
            "generator: numpy-pcg64-uniform, zz: 1",
        ),
        ("manifest", "/$defs/numpy_generator", "{seed: 3}", "{seed: 3, zz: 1}"),
        ("manifest", "/$defs/claim/properties/a_recipe", "a_recipe: {", "a_recipe: {zz: 1, "),
        ("manifest", "/$defs/device", "platform: cuda", "platform: cuda, zz: 1"),
        ("manifest", "/$defs/pattern/anyOf/1", "patterns: uniform", "patterns: {zz: 1}"),
        (
            "manifest",
            "/$defs/arithmetic/anyOf/1/properties/f32-sliced",
            "arithmetic: f32-chain",
            "arithmetic: {f32-sliced: {zz: 1}}",
        ),
        ("manifest", "/$defs/config", "{source: s,", "{source: s, zz: 1,"),
        ("manifest", "/$defs/published", "{title: t,", "{title: t, zz: 1,"),
        ("manifest", "/$defs/claim", "{id: c,", "{id: c, zz: 1,"),
        ("manifest", "/$defs/claim/properties/case", "{layer: l}", "{zz: 1}"),
        ("manifest", "/$defs/claim/properties/digests", "{a: 01234567}", "{zz: 1}"),
        (
            "manifest",
            "/$defs/claim/properties/v_recipe",
            "{torch-device-normal:",
            "{zz: 1, torch-device-normal:",
        ),
        ("manifest", "/$defs/claim_of_everything", "{id: e,", "{id: e, zz: 1,"),
        ("manifest", "/$defs/claim_of_everything/properties/case", "{batch: 1}", "{zz: 1}"),
        ("manifest", "/$defs/page", "{source: s, not", "{zz: 1, source: s, not"),
        ("manifest", "/$defs/page/properties/not_judged/items", "{because:", "{zz: 1, because:"),
        (
            "manifest",
            "/$defs/page/properties/not_judged/items/properties/numbers/items",
            "{line: 1,",
            "{zz: 1, line: 1,",
        ),
        ("operator", "", "name: mine", "name: mine\nzz: 1"),
    ] {
        let mut known = listed(&errors(kind, &changed(kind, from, to)), "(known keys: ", ")");
        // A section's old key has a message of its own.
        if place == "/$defs/section" {
            assert!(known.remove("operator"));
        }
        let schema = schema(kind);
        let mapping = schema.pointer(place).unwrap_or_else(|| panic!("no {place}"));
        let properties = mapping["properties"].as_object().expect("properties");
        assert_eq!(properties.keys().cloned().collect::<BTreeSet<_>>(), known, "{kind} {place}");
        assert_eq!(mapping["additionalProperties"], false, "{kind} {place}");
    }
    // The two forms of an arithmetic with parameters.
    let known =
        errors("manifest", &changed("manifest", "arithmetic: f32-chain", "arithmetic: {zz: 1}"));
    let known = listed(&known, "(known keys: ", ")");
    let arithmetic = &schema("manifest")["$defs"]["arithmetic"]["anyOf"];
    let forms = arithmetic.as_array().expect("forms").iter().skip(1);
    let forms = forms.flat_map(|form| form["required"].as_array().expect("one").clone());
    let forms: BTreeSet<String> =
        forms.filter_map(|form| Some(form.as_str()?.to_owned())).collect();
    assert_eq!(forms, known);
}

/// Names of each kind are those that the error about an unknown one lists.
#[test]
fn names_are_those_that_are_known() {
    for (kind, place, from, to, what) in [
        ("manifest", "/$defs/dtype", "dtype: f32", "dtype: zz", "a dtype"),
        ("manifest", "/$defs/pattern/anyOf/0", "patterns: uniform", "patterns: zz", "a pattern"),
        (
            "manifest",
            "/$defs/weight_values",
            "synthetic: uniform",
            "synthetic: zz",
            "synthetic weights",
        ),
        (
            "manifest",
            "/$defs/activation_values",
            "activations: uniform",
            "activations: zz",
            "`activations`",
        ),
        ("manifest", "/$defs/plan", "plan: auto", "plan: zz", "`plan`"),
        (
            "manifest",
            "/$defs/architecture",
            "arithmetic: f32-chain",
            "arithmetic: {tensor-core: zz}",
            "an architecture",
        ),
        (
            "manifest",
            "/$defs/arithmetic/anyOf/0",
            "arithmetic: f32-chain",
            "arithmetic: zz",
            "an arithmetic (or {f32-sliced: ...}, {tensor-core: ...})",
        ),
        (
            "manifest",
            "/$defs/device/properties/platform",
            "platform: cuda",
            "platform: zz",
            "a platform",
        ),
        (
            "manifest",
            "/$defs/claim/properties/speedup_rises_with",
            "speedup_rises_with: batch",
            "speedup_rises_with: zz",
            "`speedup_rises_with`",
        ),
        (
            "manifest",
            "/$defs/claim/properties/energy_method",
            "energy_method: counter",
            "energy_method: zz",
            "`energy_method`",
        ),
        (
            "manifest",
            "/$defs/claim/properties/tolerance_of",
            "tolerance_of: output",
            "tolerance_of: zz",
            "`tolerance_of`",
        ),
        ("manifest", "/$defs/claim/properties/scope", "scope: whole", "scope: zz", "`scope`"),
        (
            "manifest",
            "/$defs/claim/properties/output_digests",
            "output_digests: output",
            "output_digests: zz",
            "`output_digests`",
        ),
        (
            "manifest",
            "/$defs/weights/oneOf/4/properties/generator",
            "synthetic: uniform",
            "generator: zz",
            "a generator",
        ),
        ("operator", "/properties/kind", "kind: python", "kind: zz", "kind"),
        ("operator", "/$defs/dtype", "dtypes: [f32]", "dtypes: [zz]", "a dtype"),
        (
            "operator",
            "/properties/arithmetics/anyOf/0",
            "[exact, bounded]",
            "[zz]",
            "an arithmetic",
        ),
    ] {
        let errors = errors(kind, &changed(kind, from, to));
        let known = listed(&errors, &format!("expected {what}: one of "), ", found");
        let schema = schema(kind);
        let names = schema.pointer(place).and_then(|names| names["enum"].as_array());
        let names = names.unwrap_or_else(|| panic!("no names at {place}")).iter();
        let names: BTreeSet<String> =
            names.filter_map(|name| Some(name.as_str()?.to_owned())).collect();
        assert_eq!(names, known, "{kind} {place}");
    }
}

/// A change of an operator file is refused by both, or by neither.
#[test]
fn operator_files_are_judged_alike() {
    let validator = validator("operator");
    let agree = |from: &str, to: &str, is_good: bool| {
        let text = changed("operator", from, to);
        let document = yaml(&text).unwrap_or_else(|| panic!("no YAML: {to}"));
        let faults = faults(&validator, &document);
        let errors = errors("operator", &text);
        assert_eq!(
            (errors.is_empty(), faults.is_empty()),
            (is_good, is_good),
            "{to}: {errors} {faults:?}"
        );
    };
    for (from, to) in [
        ("version: 1.0", "version: 1.0-rc.1+x"),
        ("dtypes: [f32]", "dtypes: f32\noutputs: [bf16, f16]"),
        ("dtypes: [f32]", "dtypes: f32\nmemory: 512MiB\nbuild_seconds: 86400\napply_seconds: 1"),
        (
            "dtypes: [f32]",
            "dtypes: f32\nreads: [/opt/vendor, /usr/share/x]\nenvironment: {A: b, B: 1}",
        ),
        ("dtypes: [f32]", "dtypes: f32\ninterpreter: ../venv/bin/python"),
        ("kind: python", "kind: library"),
    ] {
        agree(from, to, true);
    }
    for (from, to) in [
        ("format: sparse-verify-operator/1", "format: sparse-verify-operator/2"),
        ("name: mine", "name: -mine"),
        ("name: mine", "name: a/b"),
        ("version: 1.0", "version: '1.0), verified: (1'"),
        ("author: Somebody\n", ""),
        ("author: Somebody", "author: []"),
        ("kind: python", "kind: outputs"),
        ("entry: mine.py\n", ""),
        ("mine.py: e3", "../mine.py: e3"),
        ("mine.py: e3", "/mine.py: e3"),
        ("mine.py: e3", "mine.py: E3"),
        (
            "files: {mine.py: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}",
            "files: {}",
        ),
        ("dtypes: [f32]", "dtypes: []"),
        ("dtypes: [f32]", "dtypes: [f32, f32]"),
        ("dtypes: [f32]", "dtypes: f32\nmemory: 4 GB"),
        ("dtypes: [f32]", "dtypes: f32\nmemory: 0GiB"),
        ("dtypes: [f32]", "dtypes: f32\nbuild_seconds: 0"),
        ("dtypes: [f32]", "dtypes: f32\napply_seconds: 86401"),
        ("dtypes: [f32]", "dtypes: f32\nreads: [/home]"),
        ("dtypes: [f32]", "dtypes: f32\nreads: [opt/vendor]"),
        ("dtypes: [f32]", "dtypes: f32\nreads: [/opt/../etc]"),
        ("dtypes: [f32]", "dtypes: f32\nenvironment: {LD_PRELOAD: x}"),
        ("kind: python", "kind: library\ninterpreter: python3"),
        ("arithmetics: [exact, bounded]", "arithmetics: []"),
    ] {
        agree(from, to, false);
    }
}

/// A change of a file of committed digests is refused by both.
#[test]
fn files_of_committed_digests_are_judged_alike() {
    let validator = validator("expected");
    let text = std::fs::read_to_string(root().join("expected-hashes/t4.yaml")).expect("committed");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t4.yaml");
    for (from, to) in [
        ("", ""),
        ("format: 1", "format: 2"),
        ("format: 1\n", ""),
        ("format: 1", "format: 1\nzz: 1"),
        ("    order:", "    zz: 1\n    order:"),
        ("    order: row-major\n", ""),
        ("    a: \"", "    a: \"x"),
        ("    tensors: {", "    tensors: {zz: 1, "),
        ("    panels: [", "    panels: [{}, "),
    ] {
        let text = text.replacen(from, to, 1);
        std::fs::write(&path, &text).expect("written");
        let read = sparse_verify::expected::load(&path, "t4");
        let faults = faults(&validator, &yaml(&text).expect("YAML"));
        assert_eq!((read.is_ok(), faults.is_empty()), (from.is_empty(), from.is_empty()), "{to}");
    }
}
