//! Published tolerances of normalised columns, on three kinds of data with the rows of their cases: the word is the one that
//! the data earn.

use std::fmt::Write as _;
use std::path::Path;

use contract::case::Activations;
use contract::digest::Digest;
use contract::inputs::{activations, synthetic};
use ndarray::Array2;
use record::claims::{Figure, ToleranceOf, Word};
use sparse_verify::manifest;

use crate::common::Workbench;

const KINDS: [&str; 3] = ["normal", "row-scaled", "near-constant"];
const K: usize = 8;
const N: usize = 4;

/// In (-1, 1), and always the same.
fn uniform(at: &mut u64) -> f32 {
    *at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (*at ^ (*at >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// A (m x K) of which so many rows live, evenly spread.
fn a(kind: &str, m: usize, live: usize) -> Array2<f32> {
    let mut at = (m + live) as u64;
    let mut a = Array2::zeros((m, K));
    for (i, mut row) in a.rows_mut().into_iter().enumerate() {
        if (i + 1) * live / m == i * live / m {
            continue;
        }
        // Four rows in a thousand are eighty times as large.
        let scale = if i % 256 == 1 { 80.0 } else { 1.0 };
        row.mapv_inplace(|_: f32| match kind {
            // A sum of twelve is nearly normal.
            "normal" => (0..12).map(|_| uniform(&mut at)).sum(),
            "row-scaled" => scale * (0..12).map(|_| uniform(&mut at)).sum::<f32>(),
            _ => 1.0 + 1e-4 * uniform(&mut at),
        });
    }
    a
}

/// A file of tensors, each with a name.
fn safetensors(tensors: &[(String, Array2<f32>)]) -> Vec<u8> {
    let (mut header, mut data) = (String::from("{"), Vec::new());
    for (name, a) in tensors {
        let begin = data.len();
        data.extend(a.iter().flat_map(|x| x.to_le_bytes()));
        let comma = if begin == 0 { "" } else { "," };
        write!(
            header,
            "{comma}\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{},{K}],\"data_offsets\":[{begin},{}]}}",
            a.nrows(),
            data.len()
        )
        .expect("text");
    }
    header.push('}');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

/// The largest share that an element of A V has of its column's norm: what zeros are off by.
fn share(a: &Array2<f32>, v: &Array2<f32>) -> f64 {
    let y = a.mapv(f64::from).dot(&v.mapv(f64::from));
    let of_column = |column: ndarray::ArrayView1<'_, f64>| {
        let norm = column.iter().map(|x| x * x).sum::<f64>().sqrt();
        column.iter().fold(0.0f64, |most, x| most.max(x.abs())) / norm
    };
    y.columns().into_iter().map(of_column).fold(0.0, f64::max)
}

#[test]
fn the_word_for_a_published_tolerance_is_that_of_the_data() {
    let b200 = manifest::load(Path::new("manifests/b200.yaml")).expect("a manifest");
    // Rows and level of each published case, once.
    let mut cases: Vec<(usize, String, usize)> = b200
        .claims
        .iter()
        .filter(|claim| claim.tolerance_of == Some(ToleranceOf::NormalisedColumns))
        .filter(|claim| claim.figure(Figure::Tolerance).is_some())
        .filter_map(|claim| b200.cases.iter().find(|case| claim.cases.contains(&case.id)))
        .map(|case| {
            let live = case.sparsity.live_of(case.m as u64) as usize;
            (case.m, format!("{}", case.sparsity.as_f64()), live)
        })
        .collect();
    cases.sort();
    cases.dedup();
    assert!(cases.len() >= 6, "{cases:?}");
    let bench = Workbench::new(&[]);
    let mut tensors = Vec::new();
    for (at, (m, _, live)) in cases.iter().enumerate() {
        tensors.extend(KINDS.map(|kind| (format!("{kind}-{at}"), a(kind, *m, *live))));
    }
    let bytes = safetensors(&tensors);
    std::fs::write(bench.path("manifests/data.safetensors"), &bytes).expect("written");
    let mut text = String::from("format: sparse-verify/2\ntitle: Tolerances\nsections:\n");
    for (at, (m, level, _)) in cases.iter().enumerate() {
        write!(
            text,
            "  - name: s{at}\n    seed: 1\n    weights: {{file: data.safetensors, sha256: {}}}\n    layers:\n",
            Digest::of(&bytes)
        )
        .expect("text");
        for kind in KINDS {
            writeln!(text, "      - {{name: {kind}, tensor: {kind}-{at}, shape: [{m}, {K}]}}")
                .expect("text");
        }
        write!(
            text,
            "    patterns: row-magnitude\n    sparsity: {level}\n    batch: {N}\n    dtype: f32\n    arithmetic: f32-chain\n    \
             claims:\n"
        )
        .expect("text");
        for kind in KINDS {
            writeln!(
                text,
                "      - {{id: {kind}-{at}, sources: [s], case: {{layer: {kind}}}, tolerance: 0.05, \
                 tolerance_of: normalised-columns}}"
            )
            .expect("text");
        }
    }
    bench.write("manifests/data.yaml", &text);
    let pinned = bench.verify(&["pin", "manifests/data.yaml", "--yes"]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    let ran = bench.verify(&["manifests/data.yaml", "--no-measure", "--json", "r.json"]);
    let record = bench.record("r.json");
    let data = manifest::load(&bench.path("manifests/data.yaml")).expect("a manifest");
    let mut words = Vec::new();
    for (name, a) in &tensors {
        let claim = record.judged.iter().find(|claim| claim.id == *name).expect("it is judged");
        let case = data.cases.iter().find(|case| claim.cases == [case.id.clone()]).expect("a case");
        let Activations::Synthetic(values) = case.activations else { panic!("synthetic") };
        let v = activations(case.seed, values, (K, N), case.dtype, synthetic::fill, 1);
        let share = share(a, &v);
        // A finding needs zeros to pass by every value that prints as 0.05, of which 0.045 is the least.
        let want = if share > 0.045 { Word::Agrees } else { Word::Differs };
        let rows: Vec<_> =
            claim.rows.iter().filter(|row| row.rule.starts_with("tolerance")).collect();
        let here = rows.iter().find(|row| row.rule == "tolerance here").expect("it was run");
        assert!((here.here.expect("a figure") - share).abs() < 1e-5, "{name}: {share}, {here:?}");
        // The rule that needs no run says nothing else, where it says something.
        assert!(rows.iter().all(|row| row.word == want), "{name}: {share}: {rows:?}");
        words.push((name.split_once('-').expect("a kind").0.to_owned(), want));
    }
    // Each word is some kind's, so that no one answer is right for all.
    for want in [Word::Agrees, Word::Differs] {
        assert!(words.iter().any(|(_, word)| *word == want), "{want:?}: {words:?}");
    }
    assert!(words.iter().any(|(kind, word)| kind == "near" && *word == Word::Differs), "{words:?}");
    assert!(words.iter().all(|(kind, word)| kind != "row" || *word == Word::Agrees), "{words:?}");
    assert_eq!(ran.code, 0, "{ran:?}");
}
