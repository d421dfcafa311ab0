//! Stacks by the contract alone, an element at a time: what comes after a layer depends on every bit before it.

use std::path::Path;

use contract::case::{Case, Weights};
use contract::digest::{Digest, digest_of_output};
use contract::dtype::Dtype;
use contract::inputs::{activations, synthetic};
use contract::stack::Flow;
use ndarray::Array2;
use sparse_verify::{expected, manifest};

/// The small stack of quickstart.
fn cases() -> Vec<Case> {
    let manifest = manifest::load(Path::new("manifests/quickstart.yaml")).expect("a manifest");
    manifest.cases.into_iter().filter(|case| case.section == "stack").collect()
}

fn a(case: &Case) -> Array2<f32> {
    let Weights::Synthetic(values) = case.weights else { panic!("synthetic") };
    let recipe = case.recipe();
    let source = Box::new(recipe.values(values, synthetic::fill));
    let weights = recipe.synthetic(values, source, &mut None, 1).expect("synthetic");
    weights.rows(0..case.m).expect("synthetic")
}

/// V and Y of each layer, once `change` saw the first layer's A.
fn run(cases: &[Case], change: impl FnOnce(&mut Array2<f32>)) -> Vec<(Array2<f32>, Array2<f32>)> {
    let first = &cases[0];
    let contract::case::Activations::Synthetic(values) = first.activations else {
        panic!("synthetic")
    };
    let input =
        activations(first.seed, values, (first.k, first.n), first.dtype, synthetic::fill, 1);
    let stack = first.stack.as_ref().expect("a stack").stack.clone();
    let mut flow = Flow::new(stack, input, first.dtype);
    let mut change = Some(change);
    cases
        .iter()
        .map(|case| {
            let v = flow.activations(1).expect("a layer is left");
            let mut a = a(case);
            if let Some(change) = change.take() {
                change(&mut a);
            }
            let y = Array2::from_shape_fn((case.m, case.n), |(i, j)| {
                case.rule(&a.row(i).to_vec(), &v.column(j).to_vec())
            });
            flow.push(y.clone(), 1);
            (v, y)
        })
        .collect()
}

fn digest(y: &Array2<f32>) -> Digest {
    digest_of_output(y.view(), Dtype::F32)
}

#[test]
fn the_scalar_rule_gives_every_committed_digest_and_activations_live() {
    let cases = cases();
    let committed = expected::load(Path::new("expected-hashes/quickstart.yaml"), "quickstart")
        .expect("digests");
    for (case, (v, y)) in cases.iter().zip(run(&cases, |_| ())) {
        assert_eq!(digest(&y), committed.cases[&case.id].dense, "{}", case.id);
        for x in [&v, &y] {
            let live = x.iter().filter(|&&x| x != 0.0).count();
            assert!(10 * live >= x.len(), "{}: {live} of {} live", case.id, x.len());
        }
        let largest = v.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        assert!((1.0..2.0).contains(&largest), "{}: {largest}", case.id);
    }
}

/// The highest bit of the fraction, of each live row's largest element. Lower bits can be rounded away on the way: of the
/// lowest one of row 4 nothing is left at the end, and so each layer has a digest of its own (VERIFY.md section 15).
#[test]
fn one_bit_of_the_first_layer_changes_the_last_digest() {
    let cases = cases();
    let ends = |all: Vec<(Array2<f32>, Array2<f32>)>| {
        [all.first(), all.last()].map(|layer| digest(&layer.expect("layers").1))
    };
    let plain = ends(run(&cases, |_| ()));
    let live: Vec<usize> = {
        let a = a(&cases[0]);
        (0..a.nrows()).filter(|&i| a.row(i).iter().any(|&x| x != 0.0)).collect()
    };
    for &row in &live {
        let flipped = ends(run(&cases, |a| {
            let row = a.row_mut(row);
            let largest = row.into_iter().max_by(|x, y| x.abs().total_cmp(&y.abs()));
            let largest = largest.expect("a live row");
            *largest = f32::from_bits(largest.to_bits() ^ 1 << 22);
        }));
        assert_ne!(plain[0], flipped[0], "row {row}: the first layer");
        assert_ne!(plain[1], flipped[1], "row {row}: the last one");
    }
    assert!(!live.is_empty());
}

/// The times of a whole stack, on a device: its layers are those of the record's cases, and cannot be others.
#[test]
fn a_record_of_a_stacks_times_says_of_its_layers_what_its_cases_say() {
    let text = std::fs::read_to_string("tests/records/h200/stack.json").expect("committed");
    let whole: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let read = |record: &serde_json::Value| {
        let path = folder.path().join("record.json");
        std::fs::write(&path, record.to_string()).expect("written");
        record::load(&path)
    };
    let record = read(&whole).expect("a record that holds");
    let end = record.cases.last().expect("cases");
    let layers = end.measurement.as_ref().and_then(|timings| timings.layers.as_ref());
    assert_eq!(layers.map(Vec::len), Some(224));
    let at = |field: &str| format!("/cases/{}/measurement/{field}", record.cases.len() - 1);
    for (field, value, want) in [
        ("layers/0/nnz", 1.into(), "layer `prefill/00.q_proj/"),
        ("layers/222/live_rows", 14336.into(), "layer `prefill/31.up_proj/"),
        ("layers/223/nnz", 2.into(), "the last layer"),
        ("layers/7/nnz", 4_000_000_000_u64.into(), "a layer"),
        ("layers", serde_json::json!([]), "the layers"),
        ("work/flops", 1e9.into(), "flops"),
        ("nnz", 1.into(), "non-zeros"),
    ] {
        let mut forged = whole.clone();
        *forged.pointer_mut(&at(field)).expect(field) = value;
        let refused = read(&forged).map(drop).expect_err(field).to_string();
        assert!(refused.contains(want), "{field}: {refused}");
    }
    // Fewer operations than all layers have would be another time's.
    let mut forged = whole.clone();
    let timings = forged.pointer_mut(&at("layers")).and_then(|layers| layers.as_array_mut());
    timings.expect("layers").remove(0);
    assert!(read(&forged).is_err());
}
