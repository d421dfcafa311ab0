//! Every baseline that is here against the scalar rule, within the bound.

use ndarray::{Array2, ArrayView2, s};

use super::*;

/// All rivals, in this process.
fn all(threads: usize) -> Baselines {
    let mut all = Baselines { available: Vec::new(), missing: Vec::new() };
    for host in Host::LIBRARIES {
        let Baselines { available, missing } = of(host, threads);
        all.available.extend(available);
        all.missing.extend(missing);
    }
    // By the size of an expert: no size here is a multiple of it, but 64.
    all.available.push(Baseline {
        operator: Arc::new(Grouped { library: GemmRs, rows: 4 }),
        kind: Kind::Compacted,
        library: "gemm (Rust)".into(),
        version: String::new(),
    });
    all
}

#[test]
fn a_grouped_product_is_that_of_live_experts_in_their_places() {
    let (rows, experts, k, n) = (3, 6, 5, 7);
    let mut a = sparse_matrix(rows * experts, k, 0.0, 9);
    for expert in [0, 2, 3] {
        a.slice_mut(s![expert * rows..(expert + 1) * rows, ..]).fill(0.0);
    }
    assert_eq!(grouped::live_experts(a.view(), rows), [1, 4, 5]);
    let v = sparse_matrix(k, n, 0.0, 10);
    let operator = Grouped { library: GemmRs, rows };
    for threads in [1, 2] {
        let y = apply(&operator, a.view(), v.view(), threads);
        assert_eq!(out_of_bound(a.view(), v.view(), y.view()), "");
        assert!(y.slice(s![2 * rows..4 * rows, ..]).iter().all(|&x| x == 0.0));
    }
    let built = operator.build(a.view()).unwrap();
    assert_eq!(built.bytes_held(), 3 * rows * k * 4);
    assert_eq!(built.plan().to_string(), "rows: 3 live experts of 3 rows each");
    drop(built);
    // A dead row that comes to life brings its expert with it.
    a[[1, 2]] = 1.0;
    assert_eq!(grouped::live_experts(a.view(), rows), [0, 1, 4, 5]);
    let y = apply(&operator, a.view(), v.view(), 1);
    assert_eq!(out_of_bound(a.view(), v.view(), y.view()), "");
    // None at all, and rows of none.
    assert_eq!(grouped::live_experts(Array2::zeros((6, 2)).view(), 3), [0; 0]);
    assert_eq!(grouped::live_experts(Array2::ones((2, 2)).view(), 0), [0, 1]);
}

use crate::backend::cpu::runs_itself;
use crate::operator::{DenseReference, Operator, Staged};
use contract::arithmetic::Arithmetic;
use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::bounded;

/// Values of full significands, `sparsity` of them zero, one row in three dead.
fn sparse_matrix(rows: usize, cols: usize, sparsity: f64, seed: u64) -> Array2<f32> {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    Array2::from_shape_fn((rows, cols), |(i, _)| {
        let (value, draw) = (random(), random());
        let is_zero = f64::from(draw) < 2.0 * sparsity - 1.0 || (sparsity > 0.0 && i % 3 == 1);
        if is_zero { 0.0 } else { value }
    })
}

/// The first element that breaks the bound of VERIFY.md, section 4.
fn out_of_bound(a: ArrayView2<'_, f32>, v: ArrayView2<'_, f32>, y: ArrayView2<'_, f32>) -> String {
    for (i, row) in a.rows().into_iter().enumerate() {
        let row = row.to_vec();
        let nnz = row.iter().filter(|&&x| x != 0.0).count();
        for (j, column) in v.columns().into_iter().enumerate() {
            let column = column.to_vec();
            let want = bounded::reference(&row, &column);
            let bound = bounded::bound(nnz, bounded::magnitude(&row, &column));
            let got = y[[i, j]];
            let is_within = (f64::from(got) - want).abs() <= bound;
            if !is_within {
                return format!("({i}, {j}): {got}, want {want} within {bound:e}");
            }
        }
    }
    String::new()
}

/// The matrix in a dtype that the rival takes.
fn taken(rival: &Baseline, x: Array2<f32>) -> Array2<f32> {
    match only_dtype(&rival.operator.name()) {
        Some(dtype) => x.mapv(|x| dtype.round(x)),
        None => x,
    }
}

fn apply(
    operator: &dyn Operator,
    a: ArrayView2<'_, f32>,
    v: ArrayView2<'_, f32>,
    threads: usize,
) -> Array2<f32> {
    let mut y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
    let built = operator.build(a).unwrap();
    let mut staged = Staged::default();
    operator.stage(v, &mut staged, threads).unwrap();
    // Twice: the second call uses what the first one kept.
    built.apply(v, &staged, y.view_mut(), threads).unwrap();
    y.fill(f32::NAN);
    built.apply(v, &staged, y.view_mut(), threads).unwrap();
    y
}

#[test]
fn all_are_within_the_bound_at_odd_sizes() {
    let sizes = [
        (0, 0, 0),
        (0, 3, 2),
        (3, 0, 2),
        (3, 2, 0),
        (1, 1, 1),
        (2, 3, 5),
        (13, 7, 1),
        (1, 67, 9),
        (31, 129, 17),
        (64, 64, 64),
        (97, 513, 33),
    ];
    for baseline in all(2).available {
        for (m, k, n) in sizes {
            for (sparsity, threads) in [(0.0, 1), (0.6, 2), (0.97, 1), (1.0, 2)] {
                let a = taken(&baseline, sparse_matrix(m, k, sparsity, 1 + m as u64));
                let v = taken(&baseline, sparse_matrix(k, n, 0.0, 2 + n as u64));
                let y = apply(&*baseline.operator, a.view(), v.view(), threads);
                let error = out_of_bound(a.view(), v.view(), y.view());
                let name = baseline.operator.name();
                assert_eq!(error, "", "{name} {m} x {k} x {n} at {sparsity}");
            }
        }
    }
}

#[test]
fn strides_do_not_matter() {
    for baseline in all(1).available {
        let a = taken(&baseline, sparse_matrix(40, 60, 0.5, 3));
        let v = taken(&baseline, sparse_matrix(60, 50, 0.0, 4));
        let forms = [
            (a.slice(s![..20, ..30]), v.slice(s![..30, ..11])),
            (a.slice(s![..;2, ..;2]), v.slice(s![..30, ..;2])),
            (v.t().reversed_axes(), a.t()),
            (a.t(), a.view()),
        ];
        for (a, v) in forms.into_iter().filter(|(a, v)| a.ncols() == v.nrows()) {
            let mut wide = Array2::from_elem((a.nrows(), 2 * v.ncols()), f32::NAN);
            let mut columns = Array2::from_elem((v.ncols(), a.nrows()), f32::NAN);
            let built = baseline.operator.build(a).unwrap();
            let mut staged = Staged::default();
            baseline.operator.stage(v, &mut staged, 1).unwrap();
            for mut y in [wide.slice_mut(s![.., ..;2]), columns.view_mut().reversed_axes()] {
                built.apply(v, &staged, y.view_mut(), 1).unwrap();
                assert_eq!(out_of_bound(a, v, y.view()), "", "{}", baseline.operator.name());
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let (a, v) = (Array2::<f32>::ones((3, 4)), Array2::<f32>::ones((5, 2)));
    for baseline in all(1).available {
        let built = baseline.operator.build(a.view()).unwrap();
        let mut y = Array2::zeros((3, 2));
        let mut staged = Staged::default();
        baseline.operator.stage(v.view(), &mut staged, 1).unwrap();
        let error = built.apply(v.view(), &staged, y.view_mut(), 1).unwrap_err();
        assert!(error.to_string().contains("shapes do not fit"), "{error}");
    }
}

#[test]
fn every_name_is_there_or_missing_with_a_reason() {
    let all = all(1);
    let mut names: Vec<_> = all.available.iter().map(|b| b.operator.name()).collect();
    assert!(all.missing.iter().all(|missing| missing.reason.contains("not ")), "{:?}", all.missing);
    names.extend(all.missing.into_iter().map(|missing| missing.name));
    names.sort();
    let want = [
        "compacted-gemm-rs",
        "compacted-onemkl",
        "compacted-openblas",
        "csr",
        "gemm-rs",
        "grouped-gemm-rs",
        "onemkl",
        "onemkl-bf16",
        "onemkl-csr",
        "openblas",
    ];
    assert_eq!(names, want);
}

#[test]
fn the_float_environment_survives_every_library() {
    let (a, v) = (sparse_matrix(64, 64, 0.5, 1), sparse_matrix(64, 64, 0.0, 2));
    for baseline in all(2).available {
        let (a, v) = (taken(&baseline, a.clone()), taken(&baseline, v.clone()));
        apply(&*baseline.operator, a.view(), v.view(), 2);
        assert!(crate::backend::cpu::float_environment_is_ieee(), "{}", baseline.operator.name());
    }
}

/// Written past the test harness's capture, so that a plain `cargo test` shows it.
fn not_run(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "not run: oneMKL's bf16 product ({why})");
}

/// Where AMX is, oneMKL's bf16 product has every bit of the rule, at sizes of several blockings. A V of one column is left
/// out: it is multiplied in another way, whose bits differ (oneMKL 2026.2, 96 x 2048 x 1).
#[test]
fn onemkl_bf16_follows_amx_where_amx_is() {
    let library = match (OneMkl::get(), runs_itself(Instruction::Amx)) {
        (Err(why), _) => return not_run(why),
        (_, Err(why)) => return not_run(&why),
        (Ok(library), Ok(())) => library,
    };
    let rule = DenseReference {
        arithmetic: Arithmetic::Bf16Dot(Instruction::Amx),
        output: Dtype::F32,
        isa: Isa::best(),
    };
    for (m, k, n) in [
        (64, 16, 48),
        (64, 33, 48),
        (333, 999, 77),
        (45, 4099, 108),
        (512, 4096, 128),
        (96, 2048, 16),
    ] {
        let bf16 = |x: Array2<f32>| x.mapv(|x| Dtype::Bf16.round(x));
        let a = bf16(sparse_matrix(m, k, 0.0, m as u64));
        let v = bf16(sparse_matrix(k, n, 0.0, n as u64));
        let want = apply(&rule, a.view(), v.view(), 1).mapv(|x| (x + 0.0).to_bits());
        for threads in [1, 2] {
            let y = apply(&OneMklBf16(library), a.view(), v.view(), threads);
            assert!(
                y.mapv(|x| (x + 0.0).to_bits()) == want,
                "{m} x {k} x {n}, {threads} thread(s)"
            );
        }
    }
}

#[test]
fn onemkl_bf16_refuses_what_is_not_bf16() {
    let library = match OneMkl::get() {
        Ok(library) => library,
        Err(why) => return not_run(why),
    };
    let a = Array2::from_elem((2, 2), 1.0 + f32::EPSILON);
    let refused = OneMklBf16(library).build(a.view()).err().expect("24 bits").to_string();
    assert!(refused.contains("A holds values that are not bf16"), "{refused}");
}
