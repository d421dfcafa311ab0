//! The vectors of tests/vectors, replayed by the rules of the contract, and by the second implementation with its rules
//! changed one at a time. Python writes them; what stands here shares no code with it.

use std::path::{Path, PathBuf};

use contract::arithmetic::tensor_core::Format;
use contract::arithmetic::{
    Architecture, Arithmetic, Slices, TensorCoreModel, bf16_dot, bounded, exact, fixed_point,
};
use contract::case::{Activations, Case, Weights as Source};
use contract::digest::{self, Digest, TensorHasher, digest_of_output, root_of};
use contract::dtype::Dtype;
use contract::inputs::source::{Held, SourceError};
use contract::inputs::spec::{Pattern, Sparsity, Values};
use contract::inputs::{Recipe, Stream, Weights, activations, synthetic};
use contract::perturbation::{Unperturbed, choose};
use contract::published::{
    Generator, Hardware, NumpyUniform, Platform, Recipe as Published, Scope,
};
use contract::spot::{self, Drawn};
use contract::strategy::Strategy;
use ndarray::{Array2, ArrayView2};
use record::claims::Printed;
use serde_json::{Value, json};

use crate::independent::python;

/// Rules that only the second implementation replays: of files of weights, which other tests read; and rules whose steps the
/// contract keeps to itself, and shows as parts of `prune` and `torch-tensors`.
const ELSEWHERE: [&str; 4] = ["stored", "power-law", "philox", "torch-element"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// All vectors, with their file's name.
fn all() -> Vec<(String, Value)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let root: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(root["format"], "sparse-verify-rules/1", "{}", path.display());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for vector in root["vectors"].as_array().unwrap() {
            found.push((name.clone(), vector.clone()));
        }
    }
    found
}

// What is given, as types.

fn text<'v>(given: &'v Value, key: &str) -> &'v str {
    given[key].as_str().unwrap_or_else(|| panic!("`{key}` of {given}"))
}

fn whole(given: &Value, key: &str) -> u64 {
    given[key].as_u64().unwrap_or_else(|| panic!("`{key}` of {given}"))
}

fn shape(given: &Value) -> Vec<usize> {
    given["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
}

fn dtype(given: &Value, key: &str) -> Dtype {
    let name = given[key].as_str().unwrap_or("f32");
    [Dtype::F32, Dtype::Bf16, Dtype::F16].into_iter().find(|dtype| dtype.name() == name).unwrap()
}

fn kind(name: &str) -> Values {
    Values::ALL.into_iter().find(|values| values.name() == name).unwrap()
}

fn sparsity(given: &Value) -> Sparsity {
    Sparsity::parse(given["sparsity"].as_str().unwrap_or("0")).unwrap()
}

/// A size, which a manifest's values have as text.
fn size(value: &Value) -> usize {
    value.as_str().unwrap().parse().unwrap()
}

fn pattern(given: &Value) -> Pattern {
    let named = [
        Pattern::None,
        Pattern::Uniform,
        Pattern::RowMagnitude,
        Pattern::ElementMagnitude,
        Pattern::PowerLaw,
        Pattern::TwoOfFour,
    ];
    match &given["pattern"] {
        Value::Null => Pattern::None,
        Value::String(name) => named.into_iter().find(|p| p.to_string() == *name).unwrap(),
        map if map["block"].is_string() => Pattern::Block { size: size(&map["block"]) },
        map => Pattern::DeadExperts { rows: size(&map["dead-experts"]) },
    }
}

fn arithmetic(given: &Value) -> Arithmetic {
    let rule = &given["arithmetic"];
    let plain = [
        Arithmetic::F32Chain(Slices::One),
        Arithmetic::Exact,
        Arithmetic::FixedPoint,
        Arithmetic::Bounded,
    ];
    if let Some(name) = rule.as_str() {
        return plain.into_iter().find(|rule| rule.to_string() == name).unwrap();
    }
    if let Some(name) = rule["tensor-core"].as_str() {
        let instructions = bf16_dot::Instruction::ALL.map(Arithmetic::Bf16Dot);
        let is_named = |rule: &Arithmetic| rule.to_string() == format!("tensor-core-{name}");
        if let Some(rule) = instructions.into_iter().find(is_named) {
            return rule;
        }
        let architecture = Architecture::ALL.into_iter().find(|a| a.name() == name).unwrap();
        let model = TensorCoreModel::of(architecture, Format::of(dtype(given, "dtype"))).unwrap();
        return Arithmetic::TensorCore(model);
    }
    let cut = &rule["f32-sliced"];
    let count = size(&cut["slices"]);
    Arithmetic::F32Chain(match cut.get("dealt") {
        Some(group) => Slices::Dealt { count, group: size(group) },
        None => Slices::Contiguous { count, len: size(&cut["contiguous"]) },
    })
}

fn values(text: &str, dtype: Dtype) -> Vec<f32> {
    text.split_whitespace()
        .map(|word| dtype.of_bits(u32::from_str_radix(word, 16).unwrap()))
        .collect()
}

fn matrix(given: &Value, dtype: Dtype) -> Array2<f32> {
    let shape = shape(given);
    let size = (shape[0], shape[1]);
    if let Some(rows) = given["rows"].as_array() {
        let elements = rows.iter().flat_map(|row| values(row.as_str().unwrap(), dtype)).collect();
        return Array2::from_shape_vec(size, elements).unwrap();
    }
    let mut out = Array2::from_elem(size, values(text(given, "fill"), dtype)[0]);
    for but in given["but"].as_array().into_iter().flatten() {
        let at = [0, 1].map(|axis| but[axis].as_u64().unwrap() as usize);
        out[at] = values(but[2].as_str().unwrap(), dtype)[0];
    }
    out
}

// What a rule gives, as the files write it.

fn bits(values: &[f32], dtype: Dtype) -> String {
    let mut bytes = Vec::new();
    dtype.encode(values, &mut bytes);
    let hex = |word: &[u8]| word.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(dtype.size()).map(hex).collect::<Vec<_>>().join(" ")
}

fn rows(x: ArrayView2<'_, f32>, dtype: Dtype) -> Value {
    x.rows().into_iter().map(|row| bits(&row.to_vec(), dtype)).collect()
}

fn whole_tensor(x: &Array2<f32>, dtype: Dtype) -> String {
    digest_of_output(x.view(), dtype).to_string()
}

fn y(value: f32, output: Dtype) -> String {
    if value.is_finite() { bits(&[value], output) } else { "not finite".to_owned() }
}

fn element(rule: Arithmetic, output: Dtype, a: &[f32], v: &[f32]) -> f32 {
    output.round(rule.dot(a, v)) + 0.0
}

fn multiply(
    rule: Arithmetic,
    output: Dtype,
    a: ArrayView2<'_, f32>,
    v: ArrayView2<'_, f32>,
) -> Array2<f32> {
    Array2::from_shape_fn((a.nrows(), v.ncols()), |(i, j)| {
        element(rule, output, &a.row(i).to_vec(), &v.column(j).to_vec())
    })
}

// Rules.

fn stream(given: &Value) -> Value {
    let stream = Stream::new(
        whole(given, "seed"),
        text(given, "role"),
        &shape(given),
        dtype(given, "dtype"),
        given["nonce"].as_str(),
    );
    let mut words = vec![0; whole(given, "count") as usize];
    stream.read(whole(given, "first"), &mut words);
    let key: String = stream.key().iter().map(|byte| format!("{byte:02x}")).collect();
    let words: Vec<String> = words.iter().map(|word| format!("{word:08x}")).collect();
    json!({ "key": key, "words": words.join(" ") })
}

fn tensor(given: &Value, role: &str, size: (usize, usize)) -> Array2<f32> {
    let dtype = dtype(given, "dtype");
    let stream = Stream::new(whole(given, "seed"), role, &[size.0, size.1], dtype, None);
    let mut out = vec![0.0; size.0 * size.1];
    synthetic::fill(kind(text(given, "values")), &stream, dtype, 0, &mut out);
    Array2::from_shape_vec(size, out).unwrap()
}

fn elements(given: &Value) -> Value {
    let (dtype, shape) = (dtype(given, "dtype"), shape(given));
    let stream = Stream::new(whole(given, "seed"), text(given, "role"), &shape, dtype, None);
    let one = |element: &Value| {
        let mut out = [0.0];
        synthetic::fill(
            kind(text(given, "values")),
            &stream,
            dtype,
            element.as_u64().unwrap(),
            &mut out,
        );
        out[0]
    };
    let values: Vec<f32> = given["elements"].as_array().unwrap().iter().map(one).collect();
    json!({ "bits": bits(&values, dtype) })
}

/// A of a vector: given whole, or by its seed; then pruned.
fn weights(given: &Value, size: (usize, usize)) -> Weights {
    let dtype = dtype(given, "dtype");
    let recipe = Recipe {
        seed: whole(given, "seed"),
        m: size.0,
        k: size.1,
        dtype,
        pattern: pattern(given),
        sparsity: sparsity(given),
    };
    match given.get("a") {
        Some(a) => {
            let held = Held { values: matrix(a, dtype).into_raw_vec_and_offset().0, k: size.1 };
            recipe.prune(Box::new(std::sync::Arc::new(held)), &mut None, 1).unwrap()
        }
        None => {
            let values = kind(text(given, "values"));
            let source = Box::new(recipe.values(values, synthetic::fill));
            recipe.synthetic(values, source, &mut None, 1).unwrap()
        }
    }
}

fn prune(given: &Value) -> Value {
    let shape = shape(given.get("a").unwrap_or(given));
    let size = (shape[0], shape[1]);
    let a = weights(given, size).rows(0..size.0).unwrap();
    let dtype = dtype(given, "dtype");
    let mut out = json!({ "sha256": whole_tensor(&a, dtype) });
    if a.len() <= 1000 {
        out["rows"] = rows(a.view(), dtype);
    }
    out
}

fn dot(given: &Value) -> Value {
    let (dtype, output, rule) = (dtype(given, "dtype"), dtype(given, "output"), arithmetic(given));
    let [a, v] = ["a", "v"].map(|key| values(text(given, key), dtype));
    let mut out = json!({ "y": y(element(rule, output, &a, &v), output) });
    if rule == Arithmetic::Bounded {
        out["y_ref"] = format!("{:016x}", bounded::reference(&a, &v).to_bits()).into();
    }
    out
}

fn product(given: &Value) -> Value {
    let shape = shape(given);
    let a = tensor(given, "A.values", (shape[0], shape[1]));
    let v = tensor(given, "V.values", (shape[1], shape[2]));
    let output = dtype(given, "output");
    let y = multiply(arithmetic(given), output, a.view(), v.view());
    json!({ "rows": rows(y.view(), output), "sha256": whole_tensor(&y, output) })
}

fn certificate(given: &Value) -> Value {
    let [a, v] = ["a", "v"].map(|key| matrix(&given[key], Dtype::F32));
    if arithmetic(given) == Arithmetic::FixedPoint {
        let sums = a.rows().into_iter().map(|row| fixed_point::row_sum(&row.to_vec()));
        let holds = fixed_point::certificate(sums.max().unwrap_or(0)) < fixed_point::LIMIT;
        return json!({ "holds": holds });
    }
    if !a.iter().chain(&v).all(|&x| exact::on_grid(x)) {
        return json!({ "holds": false });
    }
    let largest = |x: &mut dyn Iterator<Item = &f32>| x.fold(0, |most, x| most.max(x.abs() as u64));
    let column_max: Vec<u64> = v.rows().into_iter().map(|row| largest(&mut row.iter())).collect();
    let sums = a.rows().into_iter().map(|row| exact::row_bound(&row.to_vec(), &column_max));
    let most = sums.max().unwrap_or(0) + largest(&mut a.iter()) + largest(&mut v.iter());
    json!({ "holds": most < exact::LIMIT })
}

fn within(given: &Value) -> Value {
    let (dtype, output) = (dtype(given, "dtype"), dtype(given, "output"));
    let [a, v] = ["a", "v"].map(|key| values(text(given, key), dtype));
    let y = values(text(given, "y"), output)[0];
    let nnz = a.iter().filter(|&&x| x != 0.0).count();
    let reference = bounded::reference(&a, &v);
    let bound = bounded::bound(nnz, bounded::magnitude(&a, &v))
        + bounded::output_rounding(output, reference, y);
    json!({ "within": (f64::from(y) - reference).abs() <= bound })
}

fn whole_digest(given: &Value) -> Value {
    let dtype = dtype(given, "dtype");
    let x = matrix(&given["tensor"], dtype);
    let mut hasher = TensorHasher::new(dtype, x.nrows(), true);
    hasher.update(&x);
    let hashed = hasher.finish();
    let empty = Digest::of(b"").to_string();
    let panels = digest::short(&hashed.panels);
    let there = panels.iter().enumerate().filter(|(_, text)| **text != empty[..16]);
    let panels: serde_json::Map<String, Value> =
        there.map(|(p, text)| (p.to_string(), text.clone().into())).collect();
    json!({ "sha256": hashed.digest.to_string(), "panels": panels })
}

/// SHA-256 of the panels that have rows, and the root of all.
fn leaves(given: &Value) -> Value {
    let dtype = dtype(given, "dtype");
    let x = matrix(&given["tensor"], dtype);
    let mut hasher = TensorHasher::new(dtype, x.nrows(), true);
    hasher.update(&x);
    let panels = hasher.finish().panels;
    let there = panels.iter().enumerate().filter(|(_, leaf)| **leaf != Digest::of(b""));
    let there: serde_json::Map<String, Value> =
        there.map(|(p, leaf)| (p.to_string(), leaf.to_string().into())).collect();
    json!({ "leaves": there, "root": root_of(&panels).to_string() })
}

fn draw_cases(given: &Value) -> Value {
    let ids: Vec<&str> =
        given["cases"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let drawn = spot::cases(text(given, "nonce"), &ids, whole(given, "count") as usize);
    json!({ "drawn": drawn.into_iter().map(|at| ids[at]).collect::<Vec<_>>() })
}

fn draw_panels(given: &Value) -> Value {
    let count = whole(given, "count") as usize;
    json!({ "drawn": spot::panels(text(given, "nonce"), text(given, "case"), count) })
}

/// Probabilities as binary64, where the files have fractions.
fn missed(given: &Value, gives: &Value) -> Value {
    let [all, cases, panels, wrong] =
        ["cases", "drawn", "panels", "wrong"].map(|key| whole(given, key) as usize);
    let drawn = Drawn { all, cases, panels };
    let share = text(given, "share").parse().unwrap();
    let kept = |key: &str, got| {
        if is_fraction(&gives[key], got) { gives[key].clone() } else { json!(got) }
    };
    json!({
        "panels": kept("panels", drawn.misses_panels_everywhere(share)),
        "cases": kept("cases", drawn.misses_cases(wrong)),
    })
}

fn following(given: &Value) -> Value {
    let dtype = dtype(given, "dtype");
    let x = values(text(given, "x"), dtype)[0];
    let candidates: Vec<f32> = match arithmetic(given) {
        Arithmetic::Exact => vec![x + 1.0],
        _ if x == 0.0 => vec![1.0],
        _ => (0..dtype.mantissa_bits())
            .filter_map(|b| dtype.step_away_from_zero(x, 1 << b))
            .collect(),
    };
    json!({ "candidates": bits(&candidates, dtype) })
}

fn order(given: &Value) -> Value {
    let (seed, shape) = (whole(given, "seed"), shape(given));
    let nonce = given["nonce"].as_str();
    let stream = Stream::new(seed, "perturb.columns", &shape, dtype(given, "dtype"), nonce);
    let mut words = vec![0; shape[2]];
    stream.read(0, &mut words);
    let mut order: Vec<u32> = (0..shape[2] as u32).collect();
    order.sort_by_key(|&column| (words[column as usize], column));
    let bytes: Vec<u8> = order.iter().flat_map(|column| column.to_le_bytes()).collect();
    json!({ "sha256": Digest::of(&bytes).to_string(), "order": order })
}

fn perturbation(given: &Value) -> Value {
    let (dtype, output, rule) = (dtype(given, "dtype"), dtype(given, "output"), arithmetic(given));
    let size: Vec<usize> = match given.get("a") {
        Some(a) => [shape(a), vec![shape(&given["v"])[1]]].concat(),
        None => shape(given),
    };
    let (m, k, n) = (size[0], size[1], size[2]);
    let case = Case {
        id: String::new(),
        section: String::new(),
        required: true,
        seed: whole(given, "seed"),
        layer: String::new(),
        m,
        k,
        n,
        dtype,
        output,
        arithmetic: rule,
        pattern: pattern(given),
        sparsity: sparsity(given),
        weights: Source::Synthetic(Values::Uniform),
        activations: Activations::Synthetic(Values::Uniform),
        stack: None,
        strategy: Strategy::Auto,
        line: 1,
    };
    // A that is given whole is pruned already.
    let mut unpruned = given.clone();
    if given.get("a").is_some() {
        unpruned["pattern"] = Value::Null;
    }
    let source = weights(&unpruned, (m, k));
    let v = match given.get("v") {
        Some(v) => matrix(v, dtype),
        None => {
            activations(case.seed, kind(text(given, "values")), (k, n), dtype, synthetic::fill, 1)
        }
    };
    let a = source.rows(0..m).unwrap();
    let dense = multiply(rule, output, a.view(), v.view());
    let subject = Unperturbed {
        case: &case,
        weights: &source,
        weights_are_moderate: given["moderate"].as_bool().unwrap_or(true),
        v: v.view(),
        nonce: given["nonce"].as_str(),
    };
    let reference =
        |rows: ArrayView2<'_, f32>| Ok::<_, SourceError>(multiply(rule, output, rows, v.view()));
    let mut out = json!({ "dense": whole_tensor(&dense, output) });
    let Some(choice) = choose(&subject, &reference).unwrap() else {
        out["applies"] = false.into();
        return out;
    };
    let mut a1 = a.clone();
    choice.change_weights(0, &mut a1);
    let y1 = multiply(rule, output, a1.view(), v.view());
    let v2 = choice.change_activations(v.view(), 1);
    let y2 = multiply(rule, output, a.view(), v2.view());
    for (key, value) in [
        ("applies", json!(true)),
        ("i", json!(choice.live.0)),
        ("h", json!(choice.live.1)),
        ("j", json!(choice.column)),
        ("a", json!(bits(&[choice.live_value], dtype))),
        ("v", json!(bits(&[choice.column_value], dtype))),
        ("i2", json!(choice.revived.map(|at| at.0))),
        ("h2", json!(choice.revived.map(|at| at.1))),
        ("h3", json!(choice.displaced.map(|at| at.1))),
        ("b", json!(choice.log2_scale)),
        ("order", json!(choice.order)),
        ("v2", rows(v2.view(), dtype)),
        ("y1", rows(y1.view(), output)),
        ("y2", rows(y2.view(), output)),
        ("rebuilt", json!(whole_tensor(&y1, output))),
        ("shifted", json!(whole_tensor(&y2, output))),
    ] {
        out[key] = value;
    }
    out
}

fn step(given: &Value) -> Value {
    let feeds: Vec<Array2<f32>> =
        given["feeds"].as_array().unwrap().iter().map(|feed| matrix(feed, Dtype::F32)).collect();
    let views: Vec<ArrayView2<'_, f32>> = feeds.iter().map(|feed| feed.view()).collect();
    let dtype = dtype(given, "dtype");
    let v = contract::stack::step(&views, whole(given, "rows") as usize, dtype, 1);
    json!({ "rows": rows(v.view(), dtype) })
}

fn cases(given: &Value) -> Value {
    match sparse_verify::manifest::parse(Path::new("m.yaml"), text(given, "text").as_bytes()) {
        Err(_) => json!({ "refused": true }),
        Ok(mut manifest) => {
            manifest.cases.sort_by(|one, other| one.id.cmp(&other.id));
            let cases = manifest.cases.iter();
            let cases = cases.map(|case| json!({ "id": case.id, "seed": case.seed, "shape": [case.m, case.k, case.n] }));
            json!({ "cases": cases.collect::<Vec<_>>() })
        }
    }
}

fn torch_tensors(given: &Value) -> Value {
    let platform = if text(given, "platform") == "cuda" { Platform::Cuda } else { Platform::Rocm };
    let hardware =
        Hardware::new(platform, whole(given, "multiprocessors") as u32, Hardware::THREADS).unwrap();
    let mut generator = Generator::new(whole(given, "seed"), hardware);
    let sizes = given["elements"].as_array().unwrap().iter();
    let tensors = sizes.map(|size| {
        let drawn = generator.draw(Published::Uniform, (1, size.as_u64().unwrap() as usize)).unwrap();
        json!({ "sha256": drawn.digest(Scope::WholeTensor, 1).unwrap().to_string(), "offset": generator.offset() })
    });
    json!({ "tensors": tensors.collect::<Vec<_>>() })
}

fn numpy_numbers(given: &Value) -> Value {
    let mut out = vec![0.0; whole(given, "count") as usize];
    NumpyUniform { seed: whole(given, "seed") }.fill(whole(given, "first"), &mut out);
    json!({ "bits": bits(&out, Dtype::F32) })
}

fn numpy_a(given: &Value) -> Value {
    let shape = shape(given);
    let generator = NumpyUniform { seed: whole(given, "seed") };
    let digest = generator.digest_a((shape[0], shape[1]), sparsity(given), Scope::WholeTensor);
    json!({ "sha256": digest.to_string() })
}

/// Whether a binary64 is a fraction as far as it can be.
fn is_fraction(want: &Value, got: f64) -> bool {
    let Some(fraction) = want.as_str() else { return false };
    let (over, under) = fraction.split_once('/').unwrap_or((fraction, "1"));
    let want = over.parse::<f64>().unwrap() / under.parse::<f64>().unwrap();
    (got - want).abs() <= 1e-12 * want.abs()
}

/// Ends as binary64, where the files have fractions.
fn figure(given: &Value, gives: &Value) -> Value {
    let range = Printed::parse(text(given, "printed")).unwrap().range;
    let same = |end: &Value, got: f64| match end {
        Value::Null => got == f64::INFINITY,
        end => is_fraction(end, got),
    };
    let kept =
        |key: &str, got| if same(&gives[key], got) { gives[key].clone() } else { json!(got) };
    json!({ "low": kept("low", range.low), "high": kept("high", range.high) })
}

/// What the contract gives; `None` for a rule of [`ELSEWHERE`].
fn replay(rule: &str, given: &Value, gives: &Value) -> Option<Value> {
    Some(match rule {
        "stream" => stream(given),
        "values" => elements(given),
        "tensor" => {
            let shape = shape(given);
            let x = tensor(given, text(given, "role"), (shape[0], shape[1]));
            let dtype = dtype(given, "dtype");
            json!({ "bits": rows(x.view(), dtype), "sha256": whole_tensor(&x, dtype) })
        }
        "threshold" => json!({ "threshold": sparsity(given).word_threshold() }),
        "live" => json!({ "live": sparsity(given).live_of(whole(given, "count")) }),
        // The reader of a source looks at that, before anything is pruned.
        "prune" if gives["refused"] == true => return None,
        "prune" => prune(given),
        "dot" => dot(given),
        "product" => product(given),
        "integers" => {
            let (e, integers) = fixed_point::integers(&values(text(given, "x"), Dtype::F32));
            json!({ "e": e, "integers": integers })
        }
        "scaled" => {
            let sum = text(given, "sum").parse().unwrap();
            let value = fixed_point::scaled(sum, given["exponent"].as_i64().unwrap() as i32);
            json!({ "y": y(value, Dtype::F32) })
        }
        "certificate" => certificate(given),
        "within" => within(given),
        "digest" => whole_digest(given),
        "next" => following(given),
        "order" => order(given),
        "perturbation" => perturbation(given),
        "step" => step(given),
        "cases" => cases(given),
        "torch-tensors" => torch_tensors(given),
        "numpy-numbers" => numpy_numbers(given),
        "numpy-a" => numpy_a(given),
        "figure" => figure(given, gives),
        "leaves" => leaves(given),
        "draw-cases" => draw_cases(given),
        "draw-panels" => draw_panels(given),
        "missed" => missed(given, gives),
        other => {
            assert!(ELSEWHERE.contains(&other), "nobody replays `{other}`");
            return None;
        }
    })
}

/// What both give is the same, but for steps on the way that the contract does not show.
#[test]
fn the_contract_gives_what_the_vectors_say() {
    const ON_THE_WAY: [&str; 6] = ["domain", "words", "draws", "attempts", "broken", "survive"];
    let (mut replayed, mut wrong) = (0, Vec::new());
    for (file, vector) in all() {
        let (id, rule, gives) = (&vector["id"], text(&vector, "rule"), &vector["gives"]);
        let Some(got) = replay(rule, &vector["given"], gives) else { continue };
        replayed += 1;
        for (key, want) in gives.as_object().unwrap() {
            match got.get(key) {
                None if ON_THE_WAY.contains(&key.as_str()) => {}
                Some(got) if got == want => {}
                other => wrong.push(format!("{file}/{id}: {key} is {other:?}, not {want}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(replayed > 350, "{replayed}");
}

#[test]
fn a_changed_vector_fails() {
    let (_, vector) = all().into_iter().find(|(file, _)| file == "chains").unwrap();
    let mut given = vector["given"].clone();
    given["a"] = "3f800000 3f800000".into();
    assert_ne!(replay("dot", &given, &vector["gives"]), Some(vector["gives"].clone()));
}

#[test]
fn the_second_implementation_gives_what_the_vectors_say() {
    let stdout = python("vectors.py", &[]);
    assert!(stdout.ends_with(" passed, 0 failed\n"), "{stdout}");
    let stdout = python("make_vectors.py", &[]);
    assert!(stdout.ends_with(" vectors, 0 bad\n"), "{stdout}");
}

/// Each rule that is changed in the second implementation makes a vector fail.
#[test]
fn the_vectors_hold_every_rule() {
    let stdout = python("mutate.py", &[]);
    assert!(stdout.ends_with(" killed, 0 failed\n"), "{stdout}");
}

/// What each entry of the committed digests says of its case, of every manifest.
#[test]
fn the_second_implementation_reads_every_manifest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(root.join("expected-hashes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".yaml") {
            continue;
        }
        let [manifest, expected] =
            ["manifests", "expected-hashes"].map(|folder| format!("{folder}/{name}"));
        let stdout = python("verify.py", &["--entries", &manifest, &expected]);
        assert!(stdout.ends_with(" passed, 0 failed\n"), "{stdout}");
        seen += 1;
    }
    assert!(seen > 0);
}
