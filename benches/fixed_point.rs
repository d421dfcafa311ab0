//! Fixed-point products on the CPU against products in plain binary32, interleaved.
//!
//! Prints a Markdown table: the shortest and the median time of each on two threads, and how many times as long as f32-chain's
//! dense product, or its best on the same A, that is. Our times include laying out V, which changes from call to call, and
//! leave out packing A, which does not. oneMKL's product in binary32 is among the dense ones where it is found.

use std::hint::black_box;
use std::time::Instant;

use contract::arithmetic::Slices;
use ndarray::{Array2, ArrayView2};
use sparse_verify::backend::cpu::{
    FixedA, FixedSelection, FixedV, Isa, OneMkl, PackedV, Selection, SparseA, TiledA,
    fixed_point_has_tiles, gemm_chain, gemm_fixed_point, spmm_chain,
};

const M: usize = 14336;
const K: usize = 4096;
const N: usize = 128;
const THREADS: usize = 2;
const ROUNDS: usize = 9;

/// A name, and what is done to Y.
type Contender<'a> = (String, Box<dyn FnMut(&mut Array2<f32>) + 'a>);

/// Sums of four uniform values: spread exponents, as in weights.
fn random(shape: (usize, usize), seed: u64) -> Array2<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    Array2::from_shape_simple_fn(shape, || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let sum: u64 = (0..4).map(|i| state >> (16 * i) & 0xffff).sum();
        (sum as f32 - 131072.0) / 65536.0
    })
}

/// A without a share of its elements, or of its rows.
fn thin(a: &Array2<f32>, zeros: f64, by_rows: bool) -> Array2<f32> {
    let draws = random(if by_rows { (a.nrows(), 1) } else { a.dim() }, 7);
    // Of values from -2 to 2 with bits enough for a share.
    let is_kept =
        |x: f32| (f64::from(x.to_bits().wrapping_mul(2_654_435_761)) / 4_294_967_296.0) >= zeros;
    Array2::from_shape_fn(a.dim(), |(i, k)| {
        if is_kept(draws[[i, if by_rows { 0 } else { k }]]) { a[[i, k]] } else { 0.0 }
    })
}

fn chain<'a>(name: &str, a: &'a TiledA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut packed = PackedV::new(K, N);
    let run = move |y: &mut Array2<f32>| {
        packed.load(v, THREADS);
        gemm_chain(a, &packed, y.view_mut(), THREADS);
    };
    (name.into(), Box::new(run))
}

fn elements<'a>(name: &str, a: &'a SparseA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut packed = PackedV::new(K, N);
    let run = move |y: &mut Array2<f32>| {
        packed.load(v, THREADS);
        spmm_chain(a, &packed, y.view_mut(), THREADS);
    };
    (name.into(), Box::new(run))
}

fn fixed<'a>(name: String, isa: Isa, a: &'a FixedA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut laid_out = FixedV::new(K, N, isa);
    let run = move |y: &mut Array2<f32>| {
        laid_out.load(v, THREADS);
        gemm_fixed_point(a, &laid_out, y.view_mut(), THREADS);
    };
    (name, Box::new(run))
}

/// What a dispatch path multiplies with, where the processor has more than one way.
fn tiles(isa: Isa) -> &'static str {
    if fixed_point_has_tiles(isa) { " with AMX-INT8" } else { "" }
}

/// Shortest and median time of each, in ms; the first is what the others are beside.
fn report(case: &str, contenders: &mut [Contender<'_>]) {
    let mut y = Array2::zeros((M, N));
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run(black_box(&mut y));
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let first = [times[0][0], times[0][ROUNDS / 2]];
    for ((name, _), times) in contenders.iter().zip(&times) {
        let (min, median) = (times[0], times[ROUNDS / 2]);
        println!(
            "| {case} | {name} | {min:.1} | {median:.1} | {:.2} | {:.2} |",
            min / first[0],
            median / first[1]
        );
    }
}

fn main() {
    // `cargo test --benches` builds and runs benchmarks too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let isa = Isa::best();
    let (dense, v) = (random((M, K), 1), random((K, N), 2));
    println!("{M} x {K} x {N}, {THREADS} threads, {isa}\n");
    println!("| case | who | min ms | median ms | of the first's min | of its median |");
    println!("|---|---|---|---|---|---|");
    let pack = |a: &Array2<f32>, selection, isa| {
        FixedA::pack(a.view(), selection, isa, THREADS).expect("a short k")
    };
    {
        let of_chain = TiledA::pack(dense.view(), Selection::All, Slices::One, isa, THREADS);
        let packed: Vec<_> =
            Isa::available().map(|isa| (isa, pack(&dense, FixedSelection::All, isa))).collect();
        let mut contenders = vec![chain("f32-chain", &of_chain, v.view())];
        for (isa, a) in &packed {
            contenders.push(fixed(format!("fixed-point, {isa}{}", tiles(*isa)), *isa, a, v.view()));
        }
        if let Ok(library) = OneMkl::get() {
            let run = |y: &mut Array2<f32>| {
                library.sgemm(dense.view(), v.view(), y.view_mut(), THREADS).expect("it fits");
            };
            contenders.push(("oneMKL sgemm".into(), Box::new(run)));
        }
        report("dense", &mut contenders);
    }
    for zeros in [0.8, 0.95] {
        let a = thin(&dense, zeros, true);
        let of_chain = TiledA::pack(a.view(), Selection::LiveRows, Slices::One, isa, THREADS);
        let packed = pack(&a, FixedSelection::LiveRows, isa);
        let mut contenders = [
            chain("f32-chain, rows", &of_chain, v.view()),
            fixed("fixed-point, rows".into(), isa, &packed, v.view()),
        ];
        report(&format!("rows {:.0} %", zeros * 100.0), &mut contenders);
    }
    for zeros in [0.7, 0.8, 0.9, 0.95, 0.99] {
        let a = thin(&dense, zeros, false);
        let of_chain = SparseA::pack(a.view(), Slices::One, isa, THREADS);
        let all = pack(&a, FixedSelection::All, isa);
        let packed = pack(&a, FixedSelection::Elements, isa);
        let blocks = pack(&a, FixedSelection::Blocks, isa);
        let mut contenders = [
            elements("f32-chain, csr", &of_chain, v.view()),
            fixed("fixed-point, dense".into(), isa, &all, v.view()),
            fixed("fixed-point, csr".into(), isa, &packed, v.view()),
            fixed("fixed-point, blocks".into(), isa, &blocks, v.view()),
        ];
        report(&format!("uniform {:.0} %", zeros * 100.0), &mut contenders);
    }
}
