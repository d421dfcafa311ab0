//! What benchmarks of a rule beside f32-chain's share: the layer, its values, f32-chain's products, and times in turn.

// Each benchmark uses its own part of this.
#![allow(dead_code)]

use std::hint::black_box;
use std::time::Instant;

use ndarray::{Array2, ArrayView2};
use sparse_verify::backend::cpu::{PackedV, SparseA, TiledA, gemm_chain, spmm_chain};

pub const M: usize = 14336;
pub const K: usize = 4096;
pub const N: usize = 128;
pub const THREADS: usize = 2;

/// A name, and what is done to Y.
pub type Contender<'a> = (String, Box<dyn FnMut(&mut Array2<f32>) + 'a>);

/// Sums of four uniform values, from -2 to 2: spread exponents, as in weights.
pub fn random(shape: (usize, usize), seed: u64) -> Array2<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    Array2::from_shape_simple_fn(shape, || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let sum: u64 = (0..4).map(|i| state >> (16 * i) & 0xffff).sum();
        (sum as f32 - 131072.0) / 65536.0
    })
}

pub fn chain<'a>(name: &str, a: &'a TiledA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut packed = PackedV::new(K, N);
    let run = move |y: &mut Array2<f32>| {
        packed.load(v, THREADS);
        gemm_chain(a, &packed, y.view_mut(), THREADS);
    };
    (name.into(), Box::new(run))
}

pub fn elements<'a>(name: &str, a: &'a SparseA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut packed = PackedV::new(K, N);
    let run = move |y: &mut Array2<f32>| {
        packed.load(v, THREADS);
        spmm_chain(a, &packed, y.view_mut(), THREADS);
    };
    (name.into(), Box::new(run))
}

/// Prints a line for each with its shortest and median time of `rounds`, in ms, and what `beside` makes of these and the
/// first one's.
pub fn report(
    case: &str,
    rounds: usize,
    contenders: &mut [Contender<'_>],
    beside: impl Fn(f64, f64) -> f64,
) {
    let mut y = Array2::zeros((M, N));
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run(black_box(&mut y));
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let first = [times[0][0], times[0][rounds / 2]];
    for ((name, _), times) in contenders.iter().zip(&times) {
        let (min, median) = (times[0], times[rounds / 2]);
        println!(
            "| {case} | {name} | {min:.1} | {median:.1} | {:.2} | {:.2} |",
            beside(min, first[0]),
            beside(median, first[1])
        );
    }
}
