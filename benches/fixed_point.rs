//! Fixed-point products on the CPU against products in plain binary32, interleaved.
//!
//! Prints a Markdown table: the shortest and the median time of each on two threads, and how many times as long as f32-chain's
//! dense product, or its best on the same A, that is. Our times include laying out V, which changes from call to call, and
//! leave out packing A, which does not. oneMKL's product in binary32 is among the dense ones where it is found.

mod contenders;

use contenders::{Contender, K, M, N, THREADS, chain, elements, random};
use contract::arithmetic::Slices;
use ndarray::{Array2, ArrayView2};
use sparse_verify::backend::cpu::{
    FixedA, FixedSelection, FixedV, Isa, OneMkl, Selection, SparseA, TiledA, fixed_point_has_tiles,
    gemm_fixed_point,
};

const ROUNDS: usize = 9;

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

fn report(case: &str, contenders: &mut [Contender<'_>]) {
    contenders::report(case, ROUNDS, contenders, |own, first| own / first);
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
