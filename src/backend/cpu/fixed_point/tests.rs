//! The paths against the scalar rule, bit for bit.

use ndarray::Array2;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{FixedA, FixedSelection, FixedV, Path, TERMS_MAX, gemm_fixed_point};
use contract::arithmetic::fixed_point;

/// Values of ordinary size, of extreme exponents, subnormal, and at the borders of integers.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => any::<i16>().prop_map(|x| f32::from(x) / 4096.0 + 1e-7),
        1 => (0u32..0x0080_0000, any::<bool>())
            .prop_map(|(bits, negative)| f32::from_bits(bits | u32::from(negative) << 31)),
        1 => (-1.0f32..1.0).prop_map(|x| x * 2f32.powi(-70)),
        1 => (-1.0f32..1.0).prop_map(|x| x * 2f32.powi(50)),
        1 => prop_oneof![Just(16_711_422.0f32), Just(-16_711_423.0), Just(-0.0), Just(0.5), Just(-1.5)],
    ]
}

fn matrices() -> impl Strategy<Value = (Array2<f32>, Array2<f32>, usize)> {
    (0..=40usize, 0..=300usize, 0..=70usize).prop_flat_map(|(m, k, n)| {
        let a = (vec(value(), m * k), vec(0u8..100, m * k), 0u8..100);
        let dead = (vec(0u8..4, m), vec(0u8..4, k), 0u8..3, 0u8..3);
        // Rows and columns whose exponents differ by binades, so that scales do.
        let exponents = (vec(-30i32..30, m), vec(-30i32..30, n));
        let v = vec(value(), k * n);
        (a, dead, exponents, v, prop_oneof![Just(1usize), Just(2), Just(7)]).prop_map(
            move |(
                (a, drawn, zeros),
                (rows, columns, row_level, column_level),
                (es, fs),
                v,
                threads,
            )| {
                let mut a = Array2::from_shape_vec((m, k), a).expect("m x k values");
                for ((i, j), x) in a.indexed_iter_mut() {
                    let dead = rows[i] < row_level || columns[j] < column_level;
                    *x = if dead || drawn[i * k + j] < zeros { 0.0 } else { *x * 2f32.powi(es[i]) };
                }
                let mut v = Array2::from_shape_vec((k, n), v).expect("k x n values");
                v.indexed_iter_mut().for_each(|((_, j), x)| *x *= 2f32.powi(fs[j]));
                (a, v, threads)
            },
        )
    })
}

fn available() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

/// What another processor would show.
#[test]
fn paths_that_are_not_here_are_named() {
    for path in Path::ALL.into_iter().filter(|path| !path.is_available()) {
        eprintln!("not run: fixed-point in {} (not on this processor)", path.name());
    }
    assert!(available().count() >= 2);
}

/// V in digits, and single rows of A for another path.
#[test]
fn v_in_digits_serves_single_rows_too() {
    let value = |i: usize| (((i * 2_654_435_761) >> 3) % 2_000_003) as f32 / 4096.0 - 200.0;
    for (k, n) in [(1, 1), (63, 17), (130, 33), (300, 70)] {
        let a =
            Array2::from_shape_fn(
                (9, k),
                |(i, j)| {
                    if (i + j) % 4 == 1 { value(i * k + j) } else { 0.0 }
                },
            );
        let v = Array2::from_shape_fn((k, n), |(j, c)| value(7 + j * n + c));
        let want = rule(&a, &v);
        let digits = [Path::AmxModel, Path::Sdot].into_iter().filter(|path| path.is_available());
        for (path, of_v) in available().flat_map(|path| digits.clone().map(move |v| (path, v))) {
            let packed = FixedA::on(path, a.view(), FixedSelection::Elements, 1).expect("short");
            let mut laid_out = FixedV::on(of_v, k, n);
            // What was made of an earlier V is not taken for this one's.
            for v in [v.mapv(|x| 1.0 - x).view(), v.view()] {
                laid_out.load(v, 1);
                let mut y = Array2::from_elem((9, n), f32::NAN);
                gemm_fixed_point(&packed, &laid_out, y.view_mut(), 2);
                if v[[0, 0]] == value(7) {
                    assert_eq!(y.mapv(f32::to_bits), want, "{path:?} {of_v:?} {k} {n}");
                }
            }
            let other = if path == of_v { 0 } else { super::panels::bytes_of(path, k, n) };
            let held = laid_out.bytes_held() as u128;
            assert_eq!(
                held,
                super::panels::bytes_of(of_v, k, n) + other,
                "{path:?} {of_v:?} {k} {n}"
            );
        }
    }
}

/// The rule, with each row and column made integers once.
fn rule(a: &Array2<f32>, v: &Array2<f32>) -> Array2<u32> {
    let integers = |values: ndarray::ArrayView1<'_, f32>| fixed_point::integers(&values.to_vec());
    let rows: Vec<_> = a.rows().into_iter().map(integers).collect();
    let columns: Vec<_> = v.columns().into_iter().map(integers).collect();
    Array2::from_shape_fn((a.nrows(), v.ncols()), |(i, j)| {
        let ((e, a), (f, v)) = (&rows[i], &columns[j]);
        let sum = a.iter().zip(v).map(|(&a, &v)| i128::from(a) * i128::from(v)).sum();
        fixed_point::scaled(sum, -(e + f)).to_bits()
    })
}

/// Every path, every selection, and the same once more with memory that is used again.
fn check(a: &Array2<f32>, v: &Array2<f32>, threads: usize) -> Result<(), TestCaseError> {
    let want = rule(a, v);
    for path in available() {
        let mut laid_out = FixedV::on(path, v.nrows(), v.ncols());
        laid_out.load(v.mapv(|x| 3.0 - x).view(), threads);
        laid_out.load(v.view(), threads);
        for selection in FixedSelection::ALL {
            let packed = FixedA::on(path, a.view(), selection, threads).expect("a short k");
            let mut y = Array2::from_elem(want.dim(), f32::NAN);
            gemm_fixed_point(&packed, &laid_out, y.view_mut(), threads);
            if let Some((at, want)) =
                want.indexed_iter().find(|&(at, want)| y[at].to_bits() != *want)
            {
                let want = f32::from_bits(*want);
                return Err(TestCaseError::fail(format!(
                    "{path:?} {selection:?}: {:e} at {at:?}, want {want:e}",
                    y[at]
                )));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 100, ..Default::default() })]

    #[test]
    fn products_follow_the_rule((a, v, threads) in matrices()) {
        check(&a, &v, threads)?;
    }
}

/// Every integer the largest: sums of a chunk are at their limit, and sums of all k need more than 53 bits.
#[test]
fn the_largest_integers_stay_within_every_sum() {
    for k in [TERMS_MAX, TERMS_MAX + 1, 4 * TERMS_MAX - 1, 3000, 61_441] {
        let signs = |i: usize, j: usize| if (i * j) % 3 == 1 { -1.0 } else { 1.0 };
        let a = Array2::from_shape_fn((9, k), |(i, j)| signs(i, j) * 8_355_711.0);
        let v = Array2::from_shape_fn((k, 5), |(j, c)| {
            signs(c, j) * (8_355_711.0 - (c * j % 7) as f32)
        });
        check(&a, &v, 1).expect("the rule's bits");
    }
}

/// Beyond the k for which any A is certified a row decides: 64 bits hold its sums, or it is refused.
#[test]
fn a_long_k_is_certified_by_its_rows() {
    let k = 140_001;
    let sparse =
        |live: usize| Array2::from_shape_fn((2, k), |(_, j)| if j < live { 1.9f32 } else { 0.0 });
    let v = Array2::from_shape_fn((k, 3), |(j, c)| if j % 5 == c { 1.9f32 } else { -1.8 });
    check(&sparse(130_000), &v, 2).expect("the rule's bits");
    for path in available() {
        let refused = FixedA::on(path, sparse(k).view(), FixedSelection::All, 1);
        let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            message.contains("sums can reach") && message.contains("9223372036854775808"),
            "{message}"
        );
    }
}

/// Results below the smallest normal number are rounded once, at their own last place, and those above the largest are
/// infinite.
#[test]
fn subnormal_and_overflowing_results_follow_the_rule() {
    for (row, column) in [(-149, 0), (-100, -40), (-75, -72), (-126, -24), (100, 27), (127, 126)] {
        let of = |exponent: i32, i: usize| {
            (((i * 2_654_435_761) % 16_777_213) as f64 / 8_388_608.0 * 2f64.powi(exponent)) as f32
        };
        let a = Array2::from_shape_fn((5, 70), |(i, j)| of(row, 70 * i + j));
        let v = Array2::from_shape_fn((70, 40), |(j, c)| {
            of(column, 1 + 40 * j + c) * if c % 2 == 0 { 1.0 } else { -1.0 }
        });
        check(&a, &v, 1).expect("the rule's bits");
    }
}

#[test]
fn values_that_are_not_finite_give_no_number() {
    let mut a = Array2::from_elem((3, 7), 1.0f32);
    let mut v = Array2::from_elem((7, 4), 2.0f32);
    a[[1, 2]] = f32::INFINITY;
    v[[0, 3]] = f32::NAN;
    for path in available() {
        let mut laid_out = FixedV::on(path, 7, 4);
        laid_out.load(v.view(), 1);
        for selection in FixedSelection::ALL {
            let packed = FixedA::on(path, a.view(), selection, 1).expect("a short k");
            let mut y = Array2::zeros((3, 4));
            gemm_fixed_point(&packed, &laid_out, y.view_mut(), 1);
            for ((i, j), y) in y.indexed_iter() {
                assert_eq!(y.is_nan(), i == 1 || j == 3, "{path:?} {selection:?} {i} {j}: {y}");
            }
        }
    }
}
