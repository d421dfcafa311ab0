//! The kernels against the scalar rule, bit for bit, but for the sign of a zero.

use ndarray::Array2;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Isa, PackedV, Selection, SparseA, TiledA, gemm_chain, spmm_chain};
use contract::arithmetic::{Slices, chain};

/// Values whose sums show order, fusing and flushing: cancelling neighbours, subnormals, and
/// magnitudes far apart (no product or sum reaches infinity).
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => any::<i16>().prop_map(|x| f32::from(x) / 4096.0 + 1e-7),
        1 => (0u32..0x0080_0000, any::<bool>())
            .prop_map(|(bits, negative)| f32::from_bits(bits | u32::from(negative) << 31)),
        1 => (-1.0f32..1.0).prop_map(|x| x * 2f32.powi(-70)),
        1 => (-1.0f32..1.0).prop_map(|x| x * 2f32.powi(50)),
        1 => prop_oneof![Just(16_777_217.0f32), Just(-16_777_216.0), Just(-0.0)],
    ]
}

fn slices(k: usize) -> impl Strategy<Value = Slices> {
    let contiguous = (1..=k + 2).prop_flat_map(move |len| {
        let count = k.div_ceil(len);
        (count..count + 3).prop_map(move |count| Slices::Contiguous { count, len })
    });
    prop_oneof![
        Just(Slices::One),
        contiguous,
        (1..=5usize, 1..=k + 2).prop_map(|(count, group)| Slices::Dealt { count, group }),
    ]
}

#[derive(Clone)]
struct Case {
    a: Array2<f32>,
    v: Array2<f32>,
    slices: Slices,
    threads: usize,
}

/// The shape only: a report of a failure names the first element that differs.
impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (m, k) = self.a.dim();
        let n = self.v.ncols();
        write!(f, "{m} x {k} x {n}, {:?}, {} threads", self.slices, self.threads)
    }
}

fn case_of(m: usize, k: usize, n: usize) -> impl Strategy<Value = Case> {
    let a = (vec(value(), m * k), vec(0u8..100, m * k), 0u8..100);
    let dead = (vec(0u8..4, m), vec(0u8..4, k), 0u8..3, 0u8..3);
    (a, dead, vec(value(), k * n), slices(k), prop_oneof![Just(1usize), Just(2), Just(7)]).prop_map(
        move |((a, drawn, zeros), (rows, columns, row_level, column_level), v, slices, threads)| {
            let mut a = Array2::from_shape_vec((m, k), a).expect("m x k values");
            for ((i, j), x) in a.indexed_iter_mut() {
                let dead = rows[i] < row_level || columns[j] < column_level;
                if dead || drawn[i * k + j] < zeros {
                    *x = 0.0;
                }
            }
            let v = Array2::from_shape_vec((k, n), v).expect("k x n values");
            Case { a, v, slices, threads }
        },
    )
}

fn expected(case: &Case) -> Array2<u32> {
    let columns: Vec<Vec<f32>> = case.v.columns().into_iter().map(|v| v.to_vec()).collect();
    Array2::from_shape_fn((case.a.nrows(), case.v.ncols()), |(i, j)| {
        let a = case.a.row(i).to_vec();
        (chain::dot(case.slices, &a, &columns[j]) + 0.0).to_bits()
    })
}

/// Runs a product into poisoned memory; the bits, with -0 as +0.
fn bits(
    case: &Case,
    product: impl FnOnce(&PackedV, ndarray::ArrayViewMut2<'_, f32>),
) -> Array2<u32> {
    let mut v = PackedV::new(case.v.nrows(), case.v.ncols());
    v.load(case.v.view(), case.threads);
    let mut y = Array2::from_elem((case.a.nrows(), case.v.ncols()), f32::NAN);
    product(&v, y.view_mut());
    y.mapv(|y| (y + 0.0).to_bits())
}

fn same_bits(got: &Array2<u32>, want: &Array2<u32>, name: &str) -> Result<(), TestCaseError> {
    let differs = got.indexed_iter().find(|&(at, &got)| got != want[at]);
    if let Some((at, &got)) = differs {
        let (got, want) = (f32::from_bits(got), f32::from_bits(want[at]));
        return Err(TestCaseError::fail(format!("{name}: {got:e} at {at:?}, want {want:e}")));
    }
    Ok(())
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let expected = expected(case);
    for isa in Isa::available() {
        for selection in Selection::ALL {
            let a = TiledA::pack(case.a.view(), selection, case.slices, isa, case.threads);
            let got = bits(case, |v, y| gemm_chain(&a, v, y, case.threads));
            same_bits(&got, &expected, &format!("{isa} {selection:?}"))?;
        }
        let a = SparseA::pack(case.a.view(), case.slices, isa, case.threads);
        let got = bits(case, |v, y| spmm_chain(&a, v, y, case.threads));
        same_bits(&got, &expected, &format!("{isa} sparse"))?;
        prop_assert_eq!(a.nnz(), case.a.iter().filter(|&&x| x != 0.0).count());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn small_products_follow_the_rule(
        case in (0..=70usize, 0..=70usize, 0..=70usize).prop_flat_map(|(m, k, n)| case_of(m, k, n))
    ) {
        check(&case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 0, ..Default::default() })]

    /// Long enough for several k-blocks, row blocks and panel groups.
    #[test]
    fn large_products_follow_the_rule(
        case in (prop_oneof![1..40usize, 513..540usize], 1025..1100usize, 65..100usize)
            .prop_flat_map(|(m, k, n)| case_of(m, k, n))
    ) {
        check(&case)?;
    }

    /// Wide enough that panels are taken in parts.
    #[test]
    fn wide_products_follow_the_rule(
        case in (1..60usize, 500..530usize, 250..530usize).prop_flat_map(|(m, k, n)| case_of(m, k, n))
    ) {
        check(&case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 0, ..Default::default() })]

    /// Were sums of these values the same in any order, the tests above would show little.
    #[test]
    fn values_tell_orders_and_roundings_apart(case in case_of(20, 64, 20)) {
        let case = Case { slices: Slices::One, a: case.a.mapv(|x| if x == 0.0 { 1.5 } else { x }), ..case };
        let rule = expected(&case);
        let reversed = Case {
            a: case.a.slice(ndarray::s![.., ..;-1]).to_owned(),
            v: case.v.slice(ndarray::s![..;-1, ..]).to_owned(),
            ..case.clone()
        };
        prop_assert_ne!(&rule, &expected(&reversed));
        let sliced = Case { slices: Slices::Dealt { count: 2, group: 8 }, ..case.clone() };
        prop_assert_ne!(&rule, &expected(&sliced));
        let unfused = Array2::from_shape_fn(rule.dim(), |(i, j)| {
            let products = case.a.row(i).into_iter().zip(case.v.column(j)).map(|(a, v)| a * v);
            (products.fold(0.0f32, |y, product| y + product) + 0.0).to_bits()
        });
        prop_assert_ne!(&rule, &unfused);
    }
}

#[test]
fn views_need_not_be_contiguous() {
    let a = Array2::from_shape_fn((20, 33), |(i, k)| ((i * 7 + k * 3) % 5) as f32 - 2.0);
    let v = Array2::from_shape_fn((33, 40), |(k, j)| ((k + j * 11) % 9) as f32 - 4.0);
    let (at, vt) =
        (a.t().as_standard_layout().into_owned(), v.t().as_standard_layout().into_owned());
    let mut packed = PackedV::new(33, 40);
    packed.load(vt.t(), 1);
    for isa in Isa::available() {
        let mut y = Array2::from_elem((40, 20), f32::NAN);
        let tiled = TiledA::pack(at.t(), Selection::LiveRows, Slices::One, isa, 1);
        gemm_chain(&tiled, &packed, y.view_mut().reversed_axes(), 1);
        assert_eq!(y.t(), a.dot(&v));
        y.fill(f32::NAN);
        let sparse = SparseA::pack(at.t(), Slices::One, isa, 1);
        spmm_chain(&sparse, &packed, y.view_mut().reversed_axes(), 1);
        assert_eq!(y.t(), a.dot(&v));
    }
}

/// The rule keeps subnormals whatever modes the caller's thread was left in.
#[cfg(target_arch = "x86_64")]
#[test]
fn results_do_not_depend_on_the_threads_modes() {
    use std::arch::asm;

    let a = Array2::from_elem((3, 1), f32::MIN_POSITIVE);
    let v = Array2::from_elem((1, 2), 0.5);
    let mut packed = PackedV::new(1, 2);
    packed.load(v.view(), 1);
    for isa in Isa::available() {
        let tiled = TiledA::pack(a.view(), Selection::All, Slices::One, isa, 1);
        let mut y = Array2::from_elem((3, 2), f32::NAN);
        let flushing = 0x9fc0u32;
        // SAFETY: sets flush-to-zero and denormals-are-zero, which the last line unsets; only
        // the product in between does floating-point arithmetic.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &flushing, options(nostack)) }
        gemm_chain(&tiled, &packed, y.view_mut(), 1);
        super::reset_float_environment();
        assert!(y.iter().all(|y| y.to_bits() == 1 << 22), "{isa}");
    }
}
