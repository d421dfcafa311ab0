//! Products by the rules of CPUs' bf16 instructions, against f32-chain's, interleaved.
//!
//! Prints the rate of the instructions in registers, which no product can exceed, and a Markdown table: the shortest and the
//! median time of each on two threads, and how many times as fast as the first of the same A that is. Our times include
//! laying out V, which changes from call to call, and leave out packing A, which does not. oneMKL's products are among them
//! where it is found; its bf16 one too has V converted in the call.

mod contenders;

use std::hint::black_box;
use std::time::Instant;

use contenders::{Contender, K, M, N, THREADS, chain, elements, random};
use contract::arithmetic::Slices;
use contract::arithmetic::bf16_dot::Instruction;
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use ndarray::{Array2, ArrayView2};
use sparse_verify::backend::cpu::{
    Isa, OneMkl, PairedA, PairedV, Selection, SparseA, TiledA, flops_per_round, fma_rounds,
    gemm_bf16_dot, vdpbf16ps_rounds,
};
use sparse_verify::baseline::OneMklBf16;
use sparse_verify::operator::{Operator, Staged};

const ROUNDS: usize = 11;

/// A without a share of its elements, its rows, or its blocks of 16 x 16.
fn thin(a: &Array2<f32>, zeros: f64, rows: usize, columns: usize) -> Array2<f32> {
    let is_kept = |i: usize, k: usize| {
        let word = (i / rows) as u64 * 1_000_003 + (k / columns) as u64 + 1;
        let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word >> 11) as f64 / (1u64 << 53) as f64 >= zeros
    };
    Array2::from_shape_fn(a.dim(), |(i, k)| if is_kept(i, k) { a[[i, k]] } else { 0.0 })
}

fn paired<'a>(what: &str, a: &'a PairedA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut laid_out = PairedV::new(K, N);
    let run = move |y: &mut Array2<f32>| {
        laid_out.load(v, THREADS);
        gemm_bf16_dot(a, &laid_out, y.view_mut(), THREADS);
    };
    (format!("{what} {}", a.description()), Box::new(run))
}

fn report(case: &str, contenders: &mut [Contender<'_>]) {
    contenders::report(case, ROUNDS, contenders, |own, first| first / own);
}

/// Shortest of some runs on one thread, in operations per ns.
fn rate(flops: u64, run: impl Fn()) -> f64 {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    flops as f64 / times.fold(f64::INFINITY, f64::min) / 1e9
}

/// The same as bf16.
fn random_bf16(shape: (usize, usize), seed: u64) -> Array2<f32> {
    random(shape, seed).mapv(|x| Dtype::Bf16.round(x))
}

fn main() {
    // `cargo test --benches` builds and runs benchmarks too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let isa = Isa::best();
    const COUNT: u64 = 4_000_000;
    let fma = rate(COUNT * flops_per_round(isa), || _ = black_box(fma_rounds(isa, COUNT)));
    println!("fused multiply-adds in registers: {fma:.0} GFLOP/s on one thread");
    if vdpbf16ps_rounds(1).is_some() {
        let flops = COUNT * 2 * flops_per_round(Isa::Avx512);
        let vdp = rate(flops, || _ = black_box(vdpbf16ps_rounds(COUNT)));
        println!("VDPBF16PS in registers: {vdp:.0} GFLOP/s on one thread");
    }
    let (dense, v) = (random_bf16((M, K), 1), random_bf16((K, N), 2));
    println!("\n{M} x {K} x {N}, {THREADS} threads, {isa}\n");
    println!("| case | who | min ms | median ms | times as fast by min | by median |");
    println!("|---|---|---|---|---|---|");
    let pack = |a: &Array2<f32>, instruction, strategy, isa| {
        PairedA::pack(a.view(), instruction, strategy, isa, THREADS)
    };
    {
        let of_chain = TiledA::pack(dense.view(), Selection::All, Slices::One, isa, THREADS);
        let vector_paths = || Isa::available().filter(|isa| *isa != Isa::Portable);
        let packed: Vec<_> = Instruction::ALL
            .into_iter()
            .flat_map(|instruction| vector_paths().map(move |isa| (instruction, isa)))
            .map(|(instruction, isa)| {
                (instruction, pack(&dense, instruction, Strategy::Dense, isa))
            })
            .collect();
        let library = OneMkl::get().ok();
        let bf16 = library.map(OneMklBf16);
        let built = bf16.as_ref().and_then(|bf16| bf16.build(dense.view()).ok());
        let mut staged = Staged::default();
        let mut contenders = vec![chain("f32-chain", &of_chain, v.view())];
        for (instruction, a) in &packed {
            contenders.push(paired(instruction.name(), a, v.view()));
        }
        if let Some(library) = library {
            let run = |y: &mut Array2<f32>| {
                library.sgemm(dense.view(), v.view(), y.view_mut(), THREADS).expect("it fits");
            };
            contenders.push(("oneMKL sgemm".into(), Box::new(run)));
        }
        if let (Some(bf16), Some(built)) = (&bf16, &built) {
            let run = |y: &mut Array2<f32>| {
                bf16.stage(v.view(), &mut staged, THREADS).expect("bf16");
                built.apply(v.view(), &staged, y.view_mut(), THREADS).expect("it fits");
            };
            contenders.push(("oneMKL bf16".into(), Box::new(run)));
        }
        report("dense", &mut contenders);
    }
    let both = |case: &str, a: &Array2<f32>, first: Contender<'_>, strategies: &[Strategy]| {
        let packed: Vec<_> = Instruction::ALL
            .into_iter()
            .flat_map(|instruction| strategies.iter().map(move |strategy| (instruction, *strategy)))
            .map(|(instruction, strategy)| {
                (format!("{instruction}, {strategy},"), pack(a, instruction, strategy, isa))
            })
            .collect();
        let mut contenders = vec![first];
        contenders.extend(packed.iter().map(|(name, a)| paired(name, a, v.view())));
        report(case, &mut contenders);
    };
    for zeros in [0.8, 0.95] {
        let a = thin(&dense, zeros, 1, K);
        let of_chain = TiledA::pack(a.view(), Selection::LiveRows, Slices::One, isa, THREADS);
        let first = chain("f32-chain, rows", &of_chain, v.view());
        both(&format!("rows {:.0} %", zeros * 100.0), &a, first, &[Strategy::Rows]);
    }
    {
        let a = thin(&dense, 0.8, 16, 16);
        let of_chain = TiledA::pack(a.view(), Selection::Blocks, Slices::One, isa, THREADS);
        let first = chain("f32-chain, blocks", &of_chain, v.view());
        both("blocks of 16 80 %", &a, first, &[Strategy::Blocks]);
    }
    for zeros in [0.5, 0.7, 0.8, 0.9, 0.95, 0.99] {
        let a = thin(&dense, zeros, 1, 1);
        let of_chain = SparseA::pack(a.view(), Slices::One, isa, THREADS);
        let first = elements("f32-chain, csr", &of_chain, v.view());
        let strategies = [Strategy::Dense, Strategy::Blocks, Strategy::Csr];
        both(&format!("uniform {:.0} %", zeros * 100.0), &a, first, &strategies);
    }
}
