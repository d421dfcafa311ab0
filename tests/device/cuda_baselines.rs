//! The vendor's baselines on a CUDA device: in the exact arithmetic every one of them must give the
//! f32 chain's bits at any shape, and on the wide grid those of lower precision must not.
//!
//! Without a device every test says `not run` and why.

use std::io::Write as _;
use std::sync::Arc;

use contract::arithmetic::tensor_core::{Architecture, Format, Model};
use contract::arithmetic::{Arithmetic, Slices, chain, exact};
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use ndarray::{Array2, ArrayView2, s};
use record::baseline::Kind;
use sparse_verify::backend::cpu::Isa;
use sparse_verify::backend::cuda::{Device, Layout};
use sparse_verify::baseline::cuda::{DeadRows, Libraries};
use sparse_verify::baseline::{DeviceBaseline, Precision, device_baselines};
use sparse_verify::check::tolerance::Tolerance;
use sparse_verify::operator::{
    DenseReference, DeviceOperator, Error, OnDevice, Operator, SkipDevice, Staged,
};
use sparse_verify::rules::Identifier;

use crate::device;

const CHAIN: Arithmetic = Arithmetic::F32Chain(Slices::One);

/// A stream of words that is the same everywhere.
struct Words(u64);

impl Words {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// Integers of magnitude at most `largest`; `dead` in 100 elements are zero, and every third row.
fn integers(rows: usize, cols: usize, largest: i64, dead: u64, seed: u64) -> Array2<f32> {
    let mut words = Words(seed);
    Array2::from_shape_fn((rows, cols), |(i, _)| {
        let value = words.below(2 * largest as u64 + 1) as i64 - largest;
        let is_zero = words.below(100) < dead || (dead > 0 && i % 3 == 1);
        if is_zero { 0.0 } else { value as f32 }
    })
}

/// Odd entries of 12 significant bits, one in each 64 of a row; the others fit 8 bits. V is -1, 0 or 1.
fn wide(m: usize, k: usize, n: usize) -> (Array2<f32>, Array2<f32>) {
    let mut words = Words(9);
    let narrow = integers(m, k, 32, 30, 5);
    let a = Array2::from_shape_fn((m, k), |(i, j)| {
        let wide = 2049.0 + 2.0 * words.below(1024) as f32;
        if j % 64 == i % 64 { wide } else { narrow[[i, j]] }
    });
    (a, integers(k, n, 1, 0, 6))
}

fn chain_of(a: ArrayView2<'_, f32>, v: ArrayView2<'_, f32>) -> Array2<f32> {
    Array2::from_shape_fn((a.nrows(), v.ncols()), |(i, j)| {
        let (a, v) = (a.row(i).to_vec(), v.column(j).to_vec());
        let y = chain::dot(Slices::One, &a, &v);
        assert_eq!(y, exact::dot(&a, &v), "the sums are exact");
        y + 0.0
    })
}

/// Y of a baseline in a host operator's place; -0 made +0.
fn apply(
    device: &Arc<Device>,
    baseline: &DeviceBaseline,
    a: ArrayView2<'_, f32>,
    v: ArrayView2<'_, f32>,
) -> Result<Array2<f32>, Error> {
    let operator = OnDevice { operator: baseline.operator.clone(), device: device.clone() };
    let mut staged = Staged::default();
    operator.stage(v, &mut staged, 1)?;
    let built = operator.build(a)?;
    let mut y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
    built.apply(v, &staged, y.view_mut(), 1)?;
    y.mapv_inplace(|x| x + 0.0);
    Ok(y)
}

/// What is missing must have a reason; with the libraries there nothing may be.
fn baselines(
    device: &Arc<Device>,
    dtype: Dtype,
    output: Dtype,
    arithmetic: Arithmetic,
) -> Vec<DeviceBaseline> {
    // Each row is an expert, so that every shape is a stack of them.
    let found = device_baselines(
        &mut Libraries::default(),
        device,
        dtype,
        output,
        arithmetic,
        DeadRows::Experts(1),
    );
    for missing in &found.missing {
        println!("not run: {} ({dtype}): {}", missing.name, missing.reason);
        assert!(missing.reason.starts_with("not "), "{}", missing.reason);
    }
    found.available
}

/// Nothing is a multiple of anything; single rows and columns; empty sides.
const SHAPES: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (13, 7, 1),
    (1, 67, 9),
    (31, 129, 17),
    (97, 513, 33),
    (131, 1777, 67),
    (5, 0, 3),
    (0, 4, 0),
];

#[test]
fn in_exact_arithmetic_every_baseline_gives_the_bits_of_the_chain() {
    let Some(device) = device() else { return };
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        for baseline in baselines(&device, dtype, Dtype::F32, Arithmetic::Exact) {
            let name = format!("{} {dtype}", baseline.operator.name());
            for (m, k, n) in SHAPES {
                for dead in [0, 60, 97, 100] {
                    let a = integers(m, k, 32, dead, 1 + m as u64);
                    let v = integers(k, n, 32, 0, 2 + n as u64);
                    let y = match apply(&device, &baseline, a.view(), v.view()) {
                        Ok(y) => y,
                        Err(Error::Unsupported(reason)) => {
                            println!("not run: {name} at {m} x {k} x {n}: {reason}");
                            continue;
                        }
                        Err(error) => panic!("{name} at {m} x {k} x {n}, {dead} % dead: {error}"),
                    };
                    let want = chain_of(a.view(), v.view());
                    assert_eq!(y, want, "{name} at {m} x {k} x {n}, {dead} % dead");
                }
            }
        }
    }
}

fn adds_rounded_parts(baseline: &DeviceBaseline) -> bool {
    baseline.rival.note.contains("rounded to 16 bits before they are added")
}

#[test]
fn a_16_bit_output_is_the_f32_sum_rounded_once() {
    let Some(device) = device() else { return };
    for dtype in [Dtype::Bf16, Dtype::F16] {
        for baseline in baselines(&device, dtype, dtype, Arithmetic::Exact) {
            let name = baseline.operator.name();
            for (m, k, n) in SHAPES {
                let a = integers(m, k, 32, 60, 1 + m as u64);
                let v = integers(k, n, 1, 0, 2 + n as u64);
                let want = chain_of(a.view(), v.view()).mapv(|x| dtype.round(x));
                match apply(&device, &baseline, a.view(), v.view()) {
                    // Known of this library: such outputs are out of bound, and never timed.
                    Ok(y) if adds_rounded_parts(&baseline) => {
                        let wrong = y.iter().zip(&want).filter(|(y, want)| y != want).count();
                        println!(
                            "{name} {dtype} at {m} x {k} x {n}: {wrong} rounded more than once"
                        );
                    }
                    Ok(y) => assert_eq!(y, want, "{name} {dtype} at {m} x {k} x {n}"),
                    Err(Error::Unsupported(reason)) => {
                        println!("not run: {name} {dtype} at {m} x {k} x {n}: {reason}");
                    }
                    Err(error) => panic!("{name} {dtype} at {m} x {k} x {n}: {error}"),
                }
            }
        }
    }
}

#[test]
fn on_the_wide_grid_lower_precision_gives_other_bits() {
    let Some(device) = device() else { return };
    let (a, v) = wide(97, 513, 33);
    let want = chain_of(a.view(), v.view());
    let mut lower = 0;
    for baseline in baselines(&device, Dtype::F32, Dtype::F32, Arithmetic::Exact) {
        let y = apply(&device, &baseline, a.view(), v.view()).unwrap();
        let is_lower = baseline.rival.precision == Precision::Lower;
        lower += usize::from(is_lower);
        assert_eq!(y != want, is_lower, "{}", baseline.operator.name());
    }
    assert_eq!(lower, usize::from(device.compute_capability() >= (8, 0)));
    // Sixteen-bit operands cannot hold the grid: a silent drop to them shows.
    let rounded = a.mapv(|x| Dtype::Bf16.round(x));
    for baseline in baselines(&device, Dtype::Bf16, Dtype::F32, Arithmetic::Exact) {
        if let Ok(y) = apply(&device, &baseline, rounded.view(), v.view()) {
            assert_ne!(y, want, "{}", baseline.operator.name());
        }
    }
}

#[test]
fn on_any_values_every_baseline_is_within_its_bound() {
    let Some(device) = device() else { return };
    let mut words = Words(17);
    let mut values = |rows, cols, dtype: Dtype, dead| {
        Array2::from_shape_fn((rows, cols), |_| {
            let value = (words.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0)
                * 2f32.powi(-(words.below(12) as i32));
            if words.below(100) < dead { 0.0 } else { dtype.round(value) }
        })
    };
    let architecture = Architecture::of(device.compute_capability());
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        let (a, v) = (values(260, 1000, dtype, 70), values(1000, 130, dtype, 0));
        let tolerance = Tolerance::for_dtype(a.view(), v.view(), dtype, Isa::best(), 1).unwrap();
        for output in [Dtype::F32, dtype] {
            let mut identifier =
                Identifier::new(a.view(), v.view(), dtype, output, architecture, 1);
            for baseline in baselines(&device, dtype, output, CHAIN) {
                let name = format!("{} {dtype} to {output}", baseline.operator.name());
                match apply(&device, &baseline, a.view(), v.view()) {
                    Ok(y) => {
                        match tolerance.check_as(baseline.rival.summation, y.view(), output) {
                            Err(error) if adds_rounded_parts(&baseline) => {
                                println!("{name}: {error}");
                            }
                            other => other.unwrap_or_else(|error| panic!("{name}: {error}")),
                        }
                        let found = identifier.identify(y.view()).unwrap();
                        println!(
                            "{name}: {} ({:?} of {} differ)",
                            found.model.as_deref().unwrap_or("no model"),
                            found.differing,
                            found.elements
                        );
                    }
                    Err(Error::Unsupported(reason)) => println!("not run: {name}: {reason}"),
                    Err(error) => panic!("{name}: {error}"),
                }
            }
        }
    }
}

#[test]
fn what_a_rival_is_let_off_is_said() {
    let Some(device) = device() else { return };
    for baseline in baselines(&device, Dtype::F32, Dtype::F32, CHAIN) {
        let name = baseline.operator.name();
        assert!(!baseline.rival.version.is_empty() && !baseline.rival.math.is_empty(), "{name}");
        let is_column_major = baseline.operator.layout() == Layout::ColumnMajor;
        assert_eq!(baseline.rival.note.contains("transposition"), is_column_major, "{name}");
        let is_compacted = baseline.rival.kind == Kind::Compacted;
        let writes_all = baseline.rival.note.contains("all of Y is written");
        let of_all_rows = ["grouped-", "scattered-"];
        assert_eq!(writes_all, of_all_rows.iter().any(|of| name.starts_with(of)), "{name}");
        let is_let_off = baseline.rival.note.contains("live rows only");
        assert_eq!(is_let_off, is_compacted && !writes_all, "{name}");
        assert_eq!(is_let_off, baseline.operator.live_rows_only(), "{name}");
    }
}

/// Experts of many rows, some of them dead, at widths with and without room between rows; then one dead row that came to
/// life, as the perturbation test has it. Integers, so that every order of sums gives the same bits.
#[test]
fn products_of_what_is_live_write_all_of_y() {
    let Some(device) = device() else { return };
    let mut run = 0;
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        for (experts, rows, k, n) in
            [(4, 32, 64, 16), (8, 7, 129, 17), (16, 128, 513, 1), (3, 5, 16, 33), (256, 16, 64, 8)]
        {
            let m = experts * rows;
            let found = device_baselines(
                &mut Libraries::default(),
                &device,
                dtype,
                dtype,
                Arithmetic::Exact,
                DeadRows::Experts(rows),
            );
            let writes_all = ["grouped-cublas", "scattered-cublas"];
            for missing in found.missing.iter().filter(|one| writes_all.contains(&&*one.name)) {
                println!("not run: {} ({dtype}): {}", missing.name, missing.reason);
            }
            let available: Vec<_> = found
                .available
                .into_iter()
                .filter(|one| writes_all.contains(&&*one.rival.name))
                .collect();
            let v = integers(k, n, 2, 0, 5);
            for live in [vec![], vec![0], vec![experts - 1], vec![1, 2], (0..experts).collect()] {
                let mut a = integers(m, k, 2, 0, 3);
                for (i, mut row) in a.rows_mut().into_iter().enumerate() {
                    if !live.contains(&(i / rows)) {
                        row.fill(0.0);
                    }
                }
                for changed in [false, true] {
                    if changed {
                        a[[m / 2, k / 2]] = 1.0;
                    }
                    let want = chain_of(a.view(), v.view()).mapv(|x| dtype.round(x));
                    for rival in &available {
                        let name = &rival.rival.name;
                        let y = apply(&device, rival, a.view(), v.view()).unwrap_or_else(|error| {
                            panic!("{name}, {dtype} {m} x {k} x {n}: {error}")
                        });
                        let what =
                            format!("{name}, {dtype}, {m} x {k} x {n}, {live:?} live, {changed}");
                        assert_eq!(y, want, "{what}");
                        run += 1;
                    }
                }
            }
        }
    }
    println!("{run} products of live rows or experts");
}

#[test]
fn column_major_matrices_come_back_as_they_went() {
    use sparse_verify::backend::cuda::DeviceMatrix;
    let Some(device) = device() else { return };
    for (rows, cols) in [(1, 1), (3, 5), (17, 31), (64, 16), (0, 4), (4, 0)] {
        let a = integers(rows, cols, 100, 0, 3);
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            for layout in [Layout::RowMajor, Layout::ColumnMajor] {
                let there =
                    DeviceMatrix::upload_in(layout, &device, a.view(), dtype, "test").unwrap();
                let back = there.read().unwrap();
                assert!(back.is_standard_layout());
                assert_eq!(back, a, "{rows} x {cols} {dtype} {layout:?}");
            }
        }
    }
}

/// Runs everywhere: without a device each part says why it is not there, and nothing panics.
#[test]
fn what_is_missing_is_said_without_a_panic() {
    use sparse_verify::backend::cuda::{cublas_version, cusparse_version, device_count};
    for found in [cublas_version(), cusparse_version()] {
        match found {
            Ok(version) => assert!(version.contains('.'), "{version}"),
            Err(error) => assert!(error.hint.is_some(), "{error}"),
        }
    }
    if let Err(error) = device_count() {
        assert!(error.to_string().contains("failed"), "{error}");
    }
    let report = sparse_verify::doctor::report(false).to_string();
    for part in ["compiler", "cuBLAS", "cuSPARSE"] {
        assert!(report.contains(part), "{report}");
    }
}

/// The grid above tells the precisions apart on the CPU's models too: the test on a device rests on it.
#[test]
fn the_wide_grid_shows_tf32_and_the_narrow_one_hides_it() {
    let tf32 = Model::of(Architecture::Hopper, Format::Tf32).unwrap();
    let output = |a: ArrayView2<'_, f32>, v: ArrayView2<'_, f32>| {
        let reference = DenseReference {
            arithmetic: Arithmetic::TensorCore(tf32),
            output: Dtype::F32,
            isa: Isa::best(),
        };
        let mut staged = Staged::default();
        reference.stage(v, &mut staged, 1).unwrap();
        let mut y = Array2::zeros((a.nrows(), v.ncols()));
        reference.build(a).unwrap().apply(v, &staged, y.view_mut(), 1).unwrap();
        y.mapv(|x| x + 0.0)
    };
    let (a, v) = wide(97, 513, 33);
    assert_ne!(output(a.view(), v.view()), chain_of(a.view(), v.view()));
    let (a, v) = (integers(97, 513, 32, 60, 1), integers(513, 33, 32, 0, 2));
    assert_eq!(output(a.view(), v.view()), chain_of(a.view(), v.view()));
}

/// On normal data the exact sums of integers are nearer to y_ref, in the Frobenius norm, than the library's sums in binary32.
#[test]
fn fixed_point_errs_no_more_than_the_librarys_binary32() {
    let Some(device) = device() else { return };
    let (k, n) = (4096, 256);
    let mut words = Words(3);
    // A sum of twelve is nearly normal.
    let mut normal = |rows, cols| {
        Array2::from_shape_fn((rows, cols), |_| {
            (0..12).map(|_| words.below(1 << 24) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
        })
    };
    let v = normal(k, n);
    let found = device_baselines(
        &mut Libraries::default(),
        &device,
        Dtype::F32,
        Dtype::F32,
        CHAIN,
        DeadRows::None,
    );
    let rival = found.available.into_iter().find(|baseline| baseline.rival.name == "cublas");
    let Some(rival) = rival else {
        let _ = writeln!(std::io::stderr(), "not run: cublas");
        return;
    };
    for m in [143, 717, 2867, 14336] {
        let a = normal(m, k);
        let own = SkipDevice::new(
            Arithmetic::FixedPoint,
            Dtype::F32,
            Dtype::F32,
            Strategy::Auto,
            &device,
        );
        let apply = |operator: Arc<dyn DeviceOperator>| {
            let here = OnDevice { operator, device: device.clone() };
            let mut staged = Staged::default();
            here.stage(v.view(), &mut staged, 1).expect("staged");
            let mut y = Array2::zeros((m, n));
            let built = here.build(a.view()).expect("built");
            built.apply(v.view(), &staged, y.view_mut(), 1).expect("applied");
            y
        };
        let seen = 64.min(m);
        let wide = |x: ArrayView2<'_, f32>| x.mapv(f64::from);
        let reference = wide(a.slice(s![..seen, ..])).dot(&wide(v.view()));
        let norm = |y: &Array2<f64>| y.iter().map(|x| x * x).sum::<f64>().sqrt();
        let error =
            |y: Array2<f32>| norm(&(wide(y.slice(s![..seen, ..])) - &reference)) / norm(&reference);
        let (ours, theirs) = (error(apply(Arc::new(own))), error(apply(rival.operator.clone())));
        let _ = writeln!(
            std::io::stderr(),
            "{m} x {k} x {n} on {}: {ours:.2e} of the norm, cuBLAS in binary32 {theirs:.2e}",
            device.info.name
        );
        assert!(ours <= theirs, "{m} rows");
    }
}
