//! Every path against the scalar rule, bit for bit.

use ndarray::Array2;
use proptest::prelude::{Just, ProptestConfig, Strategy as _, any, prop, proptest};

use super::super::drawn::{Rng, bits};
use super::*;
use contract::arithmetic::bf16_dot::dot;
use contract::dtype::Dtype;
use contract::strategy::Strategy;

/// Ways to be awkward.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Within a few binades.
    Plain,
    /// Integers and their negatives: sums cancel, often to zero.
    Cancelling,
    /// Operands whose products lie about 2^-126, subnormal ones among them.
    Tiny,
    /// Subnormals among ordinary values.
    Subnormal,
    /// Anything finite.
    Any,
}

const KINDS: [Kind; 5] = [Kind::Plain, Kind::Cancelling, Kind::Tiny, Kind::Subnormal, Kind::Any];

fn value(rng: &mut Rng, kind: Kind) -> f32 {
    let sign = if rng.below(2) == 0 { 1.0 } else { -1.0 };
    let fraction = 1.0 + rng.below(1 << 7) as f32 / (1 << 7) as f32;
    let power = |exponent: i64| 2f64.powi(exponent as i32) as f32;
    let x = match kind {
        Kind::Plain => sign * fraction * power(rng.below(6) as i64 - 3),
        Kind::Cancelling => sign * rng.below(4) as f32,
        Kind::Tiny if rng.below(16) == 0 => sign * fraction * power(-130),
        Kind::Tiny => sign * fraction * power(rng.below(14) as i64 - 70),
        Kind::Subnormal if rng.below(4) == 0 => sign * fraction * power(-127),
        Kind::Subnormal => sign * fraction,
        Kind::Any => f32::from_bits((rng.next() as u32) & 0xffff_0000),
    };
    let x = Dtype::Bf16.round(x);
    if x.is_finite() { x } else { sign * fraction }
}

/// Zeros with probability `zeros` / 8 per element, and as many whole rows and blocks of 32.
fn matrix(rng: &mut Rng, shape: (usize, usize), kind: Kind, zeros: u64) -> Array2<f32> {
    rng.matrix(shape, zeros, 32, |rng| value(rng, kind))
}

const PATHS: [Path; 6] = [
    Path::Portable,
    Path::Avx2,
    Path::Avx512,
    Path::Vdpbf16ps,
    Path::Tdpbf16ps,
    Path::SoftwareTiles,
];

fn compare(instruction: Instruction, a: &Array2<f32>, v: &Array2<f32>, threads: usize) {
    let expected = Array2::from_shape_fn((a.nrows(), v.ncols()), |(i, j)| {
        dot(instruction, &a.row(i).to_vec(), &v.column(j).to_vec())
    });
    let mut paired = PairedV::new(v.nrows(), v.ncols());
    // A second load must not see the first.
    paired.load(v.map(|x| x * 0.5 + 1.0).view(), threads);
    paired.load(v.view(), threads);
    let able = |path: &&Path| path.follows(instruction) && path.is_available();
    for &path in PATHS.iter().filter(able) {
        for strategy in Strategy::ALL {
            let packed = PairedA::on(path, a.view(), instruction, strategy, threads);
            let mut y = Array2::from_elem(expected.dim(), f32::NAN);
            gemm_bf16_dot(&packed, &paired, y.view_mut(), threads);
            for ((at, &got), &want) in y.indexed_iter().zip(&expected) {
                assert_eq!(
                    bits(got),
                    bits(want),
                    "{instruction} {path:?} {strategy} at {at:?}: got {got:e}, want {want:e}"
                );
                let dead = a.row(at.0).iter().all(|&x| x == 0.0) && strategy != Strategy::Dense;
                assert!(!dead || strategy == Strategy::Auto || got.to_bits() == 0, "a dead row");
            }
        }
    }
    assert!(crate::backend::cpu::float_environment_is_ieee());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_path_and_strategy_gives_the_bits_of_the_rule(
        m in 0usize..=40,
        k in 0usize..=140,
        n in 0usize..=70,
        instruction in prop::sample::select(Instruction::ALL.to_vec()),
        kinds in prop::sample::select(KINDS.to_vec()).prop_flat_map(|a| {
            (Just(a), prop::sample::select(KINDS.to_vec()))
        }),
        zeros in (0u64..8, 0u64..4),
        threads in prop::sample::select(vec![1usize, 2, 7]),
        seed in any::<u64>(),
    ) {
        let mut rng = Rng(seed);
        let a = matrix(&mut rng, (m, k), kinds.0, zeros.0);
        let v = matrix(&mut rng, (k, n), kinds.1, zeros.1);
        compare(instruction, &a, &v, threads);
    }
}

/// Several chunks of blocks, two panels, tiles that end in the middle of a chunk.
#[test]
fn sums_are_carried_across_chunks_of_blocks() {
    let mut rng = Rng(7);
    for (kind, zeros) in [(Kind::Plain, 0), (Kind::Tiny, 2), (Kind::Cancelling, 6)] {
        for instruction in Instruction::ALL {
            let a = matrix(&mut rng, (35, 37 * 32 + 21), kind, zeros);
            let v = matrix(&mut rng, (37 * 32 + 21, 81), kind, 0);
            compare(instruction, &a, &v, 2);
        }
    }
}

/// What is tiny by 24 bits and what only by the bits of a subnormal: 2^-126 less so many 2^-151.
#[test]
fn every_path_judges_tiny_results_alike() {
    let power = |exponent: i32| 2f32.powi(exponent);
    for count in [0.5, 1.0, 1.0078125, 1.5, 2.0, 3.0] {
        for sign in [1.0, -1.0] {
            for instruction in Instruction::ALL {
                for places in [(0, 2), (1, 3), (1, 0), (0, 32), (0, 31)] {
                    let mut a = Array2::zeros((1, 40));
                    let mut v = Array2::from_elem((40, 17), 1.0);
                    a[[0, places.0]] = sign * power(-126);
                    a[[0, places.1]] = -sign * count * power(-75);
                    v.row_mut(places.1).fill(power(-76));
                    compare(instruction, &a, &v, 1);
                }
            }
        }
    }
}

#[test]
fn y_a_and_v_need_not_be_contiguous() {
    let mut rng = Rng(3);
    let a = matrix(&mut rng, (33, 9), Kind::Plain, 1);
    let v = matrix(&mut rng, (17, 33), Kind::Plain, 1);
    for instruction in Instruction::ALL {
        let mut paired = PairedV::new(33, 17);
        paired.load(v.t(), 1);
        let mut y = Array2::from_elem((17, 9), f32::NAN);
        let packed = PairedA::pack(a.t(), instruction, Strategy::Csr, Isa::best(), 1);
        gemm_bf16_dot(&packed, &paired, y.view_mut().reversed_axes(), 1);
        let want = |(j, i): (usize, usize)| {
            dot(instruction, &a.column(i).to_vec(), &v.row(j).to_vec()) + 0.0
        };
        assert_eq!(y.map(|x| x + 0.0), Array2::from_shape_fn((17, 9), want));
    }
}
