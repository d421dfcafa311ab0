//! Every path against the scalar rule, bit for bit.

use ndarray::Array2;
use proptest::prelude::*;

use super::super::drawn::{Rng, bits};
use super::*;
use contract::arithmetic::tensor_core::{Architecture, Format, dot};

/// All published models, each also with a wrong F and a wrong L.
fn models() -> Vec<Model> {
    let mut models = Vec::new();
    for architecture in Architecture::ALL {
        for format in [Format::F16, Format::Bf16, Format::Tf32] {
            let Some(model) = Model::of(architecture, format) else { continue };
            models.push(model);
            for delta in [-1, 1] {
                models.push(Model { fraction_bits: model.fraction_bits + delta, ..model });
            }
            // Far off, and beyond what the fast path takes on.
            for fraction_bits in [12, 30] {
                models.push(Model { fraction_bits, ..model });
            }
            for group in [model.group / 2, model.group * 2, 1, 5] {
                models.push(Model { group, ..model });
            }
        }
    }
    models
}

/// Ways to be awkward.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Within a few binades.
    Plain,
    /// 80 binades, most of it within the fast path's window.
    Spread,
    /// Integers and their negatives: sums cancel, often to zero.
    Cancelling,
    /// Magnitudes just below a power of two, of one sign: the largest sums.
    Largest,
    /// Subnormals of the format among ordinary values.
    Subnormal,
    /// Anything finite.
    Any,
}

const KINDS: [Kind; 6] =
    [Kind::Plain, Kind::Spread, Kind::Cancelling, Kind::Largest, Kind::Subnormal, Kind::Any];

fn value(rng: &mut Rng, kind: Kind, format: Format) -> f32 {
    let sign = if rng.below(2) == 0 { 1.0 } else { -1.0 };
    let fraction = 1.0 + rng.below(1 << 23) as f32 / (1 << 23) as f32;
    let power = |exponent: i64| 2f64.powi(exponent as i32) as f32;
    let x = match kind {
        Kind::Plain => sign * fraction * power(rng.below(6) as i64 - 3),
        Kind::Spread => sign * fraction * power(rng.below(80) as i64 - 55),
        Kind::Cancelling => sign * rng.below(4) as f32,
        Kind::Largest => (2.0 - power(-7)) * power(rng.below(16) as i64 / 15),
        Kind::Subnormal if rng.below(4) > 0 => sign * fraction,
        Kind::Subnormal => {
            sign * fraction
                * power(match format {
                    Format::F16 => -15 - rng.below(9) as i64,
                    _ => -127 - rng.below(7) as i64,
                })
        }
        Kind::Any => f32::from_bits(rng.next() as u32),
    };
    let x = format.dtype().round(x);
    if x.is_finite() { x } else { format.dtype().round(sign * fraction) }
}

/// Zeros with probability `zeros` / 8 per element, and as many whole rows and blocks of 8.
fn matrix(
    rng: &mut Rng,
    shape: (usize, usize),
    kind: Kind,
    format: Format,
    zeros: u64,
) -> Array2<f32> {
    rng.matrix(shape, zeros, 8, |rng| value(rng, kind, format))
}

fn reference(model: Model, a: &Array2<f32>, v: &Array2<f32>) -> Array2<f32> {
    Array2::from_shape_fn((a.nrows(), v.ncols()), |(i, j)| {
        dot(model, &a.row(i).to_vec(), &v.column(j).to_vec())
    })
}

fn compare(model: Model, a: &Array2<f32>, v: &Array2<f32>, threads: usize) {
    let expected = reference(model, a, v);
    let mut packed = GroupedV::new(v.nrows(), v.ncols());
    // A second load must not see the first.
    packed.load(v.map(|x| x * 0.5 + 1.0).view(), model, threads);
    packed.load(v.view(), model, threads);
    for isa in Isa::available() {
        for selection in GroupSelection::ALL {
            let chunk = GroupedA::pack(a.view(), model, selection, isa);
            let mut y = Array2::from_elem(expected.dim(), f32::NAN);
            gemm_tensor_core(&chunk, &packed, y.view_mut(), threads);
            for ((at, &got), &want) in y.indexed_iter().zip(&expected) {
                assert_eq!(
                    bits(got),
                    bits(want),
                    "{model:?} {isa} {selection:?} at {at:?}: got {got:e}, want {want:e}"
                );
                let dead = a.row(at.0).iter().all(|&x| x == 0.0);
                assert!(!dead || got.to_bits() == 0, "a dead row holds {got:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_path_gives_the_bits_of_the_rule(
        m in 0usize..=70,
        k in 0usize..=70,
        n in 0usize..=70,
        model in prop::sample::select(models()),
        kinds in prop::sample::select(KINDS.to_vec()).prop_flat_map(|a| {
            (Just(a), prop::sample::select(KINDS.to_vec()))
        }),
        zeros in (0u64..8, 0u64..4),
        threads in prop::sample::select(vec![1usize, 2, 7]),
        seed in any::<u64>(),
    ) {
        let mut rng = Rng(seed);
        let a = matrix(&mut rng, (m, k), kinds.0, model.format, zeros.0);
        let v = matrix(&mut rng, (k, n), kinds.1, model.format, zeros.1);
        compare(model, &a, &v, threads);
    }
}

/// Long rows: several blocks of k, accumulators that shrink and grow, two panels.
#[test]
fn sums_are_carried_across_blocks_of_k() {
    let mut rng = Rng(7);
    for (kind, zeros) in [(Kind::Plain, 0), (Kind::Spread, 2), (Kind::Cancelling, 6)] {
        for architecture in [Architecture::Ampere, Architecture::Hopper] {
            let model = Model::of(architecture, Format::Bf16).unwrap();
            let a = matrix(&mut rng, (5, 3 * BLOCK_K + 37), kind, model.format, zeros);
            let v = matrix(&mut rng, (3 * BLOCK_K + 37, 81), kind, model.format, zeros);
            compare(model, &a, &v, 2);
        }
    }
}

/// A group of the largest products, after a group that leaves a small accumulator: the sum
/// passes 2^31 units, and with one more fraction bit or a longer group the products alone do.
#[test]
fn the_largest_sums_do_not_wrap() {
    for format in [Format::F16, Format::Bf16] {
        let model = Model::of(Architecture::Hopper, format).unwrap();
        let largest = format.dtype().round(2.0 - 2f32.powi(-7));
        for (group, fraction_bits) in [(16, 25), (16, 26), (32, 25), (32, 26)] {
            let model = Model { group, fraction_bits, ..model };
            for (first, sign) in [(1.0, 1.0), (0.0, 1.0), (1.0, -1.0), (-1.0, 1.0)] {
                let a = Array2::from_shape_fn((3, 3 * group), |(_, k)| match k {
                    0 => first,
                    k if k < group => 0.0,
                    _ => largest,
                });
                let v = Array2::from_shape_fn((3 * group, 20), |(k, _)| {
                    if k < 2 * group { sign * largest } else { -sign * largest }
                });
                compare(model, &a, &v, 1);
            }
        }
    }
}

/// One outlier sends its rows and its columns down the exact path, and nothing else astray.
#[test]
fn outliers_are_contained() {
    let mut rng = Rng(11);
    let model = Model::of(Architecture::Blackwell, Format::Bf16).unwrap();
    for outlier in [2f32.powi(-120), 2f32.powi(100), f32::from_bits(0x0001_0000), 2f32.powi(-49)] {
        let mut a = matrix(&mut rng, (40, 50), Kind::Plain, model.format, 1);
        let mut v = matrix(&mut rng, (50, 70), Kind::Plain, model.format, 1);
        a *= 8192.0;
        v *= 8192.0;
        a[[17, 3]] = outlier;
        v[[9, 66]] = outlier;
        v[[10, 2]] = -outlier;
        compare(model, &a, &v, 1);
    }
}

/// Whole matrices near both ends of the fast path's window and of binary32.
#[test]
fn scaled_matrices_give_the_bits_of_the_rule() {
    let mut rng = Rng(13);
    let powers = [-110, -64, -50, -46, 0, 46, 50, 64, 110];
    for format in [Format::Bf16, Format::Tf32] {
        let model = Model::of(Architecture::Hopper, format).unwrap();
        let a = matrix(&mut rng, (5, 40), Kind::Plain, format, 1);
        let v = matrix(&mut rng, (40, 19), Kind::Plain, format, 1);
        for (p, q) in powers.into_iter().flat_map(|p| powers.map(|q| (p, q))) {
            compare(model, &(&a * 2f32.powi(p)), &(&v * 2f32.powi(q)), 1);
        }
    }
}

/// Rounding to TF32 can make the largest binary32 infinite.
#[test]
fn operands_that_round_to_infinity_overflow() {
    let model = Model::of(Architecture::Hopper, Format::Tf32).unwrap();
    let mut a = Array2::from_elem((3, 20), 1.0);
    let mut v = Array2::from_elem((20, 18), 2.0);
    a[[1, 9]] = f32::MAX;
    v[[9, 4]] = 0.0;
    v[[19, 5]] = -f32::MAX;
    assert_eq!(reference(model, &a, &v)[[1, 0]], f32::INFINITY);
    compare(model, &a, &v, 1);
}

#[test]
fn y_need_not_be_contiguous() {
    let model = Model::of(Architecture::Hopper, Format::Bf16).unwrap();
    let mut rng = Rng(3);
    let a = matrix(&mut rng, (9, 33), Kind::Plain, model.format, 1);
    let v = matrix(&mut rng, (33, 17), Kind::Plain, model.format, 1);
    let mut packed = GroupedV::new(33, 17);
    packed.load(v.view(), model, 1);
    let mut y = Array2::from_elem((17, 9), f32::NAN);
    let chunk = GroupedA::pack(a.view(), model, GroupSelection::All, Isa::best());
    gemm_tensor_core(&chunk, &packed, y.view_mut().reversed_axes(), 1);
    assert_eq!(y.reversed_axes(), reference(model, &a, &v));
}

#[test]
fn a_and_v_need_not_be_contiguous() {
    let mut rng = Rng(5);
    for format in [Format::Bf16, Format::Tf32] {
        let model = Model::of(Architecture::Hopper, format).unwrap();
        // Whole groups, so that contiguous rows would be read in place.
        let a = matrix(&mut rng, (64, 7), Kind::Plain, format, 2);
        let v = matrix(&mut rng, (70, 64), Kind::Plain, format, 1);
        let (a, v) = (a.t(), v.t());
        let mut packed = GroupedV::new(64, 70);
        packed.load(v, model, 1);
        for selection in GroupSelection::ALL {
            let mut y = Array2::from_elem((7, 70), f32::NAN);
            let chunk = GroupedA::pack(a, model, selection, Isa::best());
            gemm_tensor_core(&chunk, &packed, y.view_mut(), 1);
            let want = reference(model, &a.to_owned(), &v.to_owned());
            assert_eq!(y.map(|&x| bits(x)), want.map(|&x| bits(x)), "{selection:?}");
        }
    }
}
