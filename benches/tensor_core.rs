//! Tensor-core accumulation on the CPU against products in plain binary32, interleaved.
//!
//! Prints a Markdown table: the shortest and the median time of each on two threads, and how
//! many times as long as the dense f32-chain product that is. Our times include loading V,
//! which changes from call to call, and leave out packing A, which does not.

mod contenders;

use std::hint::black_box;
use std::time::Instant;

use contenders::{Contender, K, M, N, THREADS, chain};
use contract::arithmetic::Slices;
use contract::arithmetic::tensor_core::{Architecture, Format, Model};
use ndarray::{Array2, ArrayView2};
use sparse_verify::backend::cpu::{
    GroupSelection, GroupedA, GroupedV, Isa, Selection, TiledA, gemm_tensor_core,
};

const ROUNDS: usize = 5;

/// Values of a format.
fn random(shape: (usize, usize), format: Format, seed: u64) -> Array2<f32> {
    contenders::random(shape, seed).mapv(|x| format.dtype().round(x))
}

/// Whether each element is kept when a fraction `zeros` is set to zero.
fn thin(a: &mut Array2<f32>, zeros: f64, seed: u64) {
    let drawn = random(a.dim(), Format::Tf32, seed);
    let mut order: Vec<f32> = drawn.iter().copied().step_by(101).collect();
    order.sort_by(f32::total_cmp);
    let limit = order[((order.len() as f64 * zeros) as usize).min(order.len() - 1)];
    ndarray::Zip::from(a).and(&drawn).for_each(|a, &x| {
        if x < limit {
            *a = 0.0;
        }
    });
}

fn gemm_crate<'a>(a: ArrayView2<'a, f32>, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let run = move |y: &mut Array2<f32>| {
        // A row-major result is the column-major Y^T = V^T A^T.
        // SAFETY: row-major M x K, K x N and M x N.
        unsafe {
            gemm_f32::gemm::f32::get_gemm_fn()(
                N,
                M,
                K,
                y.as_mut_ptr(),
                N as isize,
                1,
                false,
                v.as_ptr(),
                N as isize,
                1,
                a.as_ptr(),
                K as isize,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm_common::Parallelism::Rayon(THREADS),
            );
        }
    };
    ("gemm crate, f32".into(), Box::new(run))
}

fn ours<'a>(name: &str, a: &'a GroupedA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut packed = GroupedV::new(K, N);
    let run = move |y: &mut Array2<f32>| {
        packed.load(v, a.model(), THREADS);
        gemm_tensor_core(a, &packed, y.view_mut(), THREADS);
    };
    let Model { architecture, format, group, fraction_bits, .. } = a.model();
    let dtype = format!("{format:?}").to_lowercase();
    let name =
        format!("{name}: {dtype}, {architecture} (L {group}, F {fraction_bits}), {}", a.isa());
    (name, Box::new(run))
}

/// Times the contenders in turn, round by round; `[shortest, median]` in seconds for each.
fn race(contenders: &mut [Contender<'_>]) -> Vec<[f64; 2]> {
    let mut y = Array2::zeros((M, N));
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..=ROUNDS {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            run(&mut y);
            black_box(&y);
            // The first round warms up.
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let summary = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        [times[0], times[times.len() / 2]]
    };
    times.into_iter().map(summary).collect()
}

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().expect("the first pool");
    // `cargo bench -- quick` leaves out all but the dense Hopper case.
    let quick = std::env::args().any(|argument| argument == "quick");
    let of = |architecture, format| Model::of(architecture, format).expect("a published model");
    let hopper = of(Architecture::Hopper, Format::Bf16);
    let best = Isa::best();

    let a = random((M, K), Format::Bf16, 1);
    let v = random((K, N), Format::Bf16, 2);
    let chain_a = TiledA::pack(a.view(), Selection::All, Slices::One, best, THREADS);
    let mut cases = vec![("dense", 0.0, hopper, GroupSelection::All, best)];
    if !quick {
        cases.extend([
            ("dense", 0.0, of(Architecture::Ampere, Format::Bf16), GroupSelection::All, best),
            ("dense", 0.0, of(Architecture::Hopper, Format::F16), GroupSelection::All, best),
            ("dense", 0.0, of(Architecture::Hopper, Format::Tf32), GroupSelection::All, best),
            ("dense", 0.0, Model { fraction_bits: 26, ..hopper }, GroupSelection::All, best),
            ("dense", 0.0, Model { group: 8, ..hopper }, GroupSelection::All, best),
            ("dense", 0.0, of(Architecture::Volta, Format::F16), GroupSelection::All, best),
        ]);
        let slower = Isa::available().filter(|&isa| isa != best);
        cases.extend(slower.map(|isa| ("dense", 0.0, hopper, GroupSelection::All, isa)));
        cases.extend([
            ("80 % zeros", 0.8, hopper, GroupSelection::Rows, best),
            ("90 % zeros", 0.9, hopper, GroupSelection::Rows, best),
            ("95 % zeros", 0.95, hopper, GroupSelection::Rows, best),
            ("99 % zeros", 0.99, hopper, GroupSelection::Rows, best),
        ]);
    }

    println!("Y = A V, m = {M}, k = {K}, n = {N}, {THREADS} threads\n");
    println!("| | shortest ms | median ms | G products/s | x f32-chain | pack A, ms |");
    println!("|---|---|---|---|---|---|");
    let products = (M * K * N) as f64;
    for (name, zeros, model, selection, isa) in cases {
        let mut thinned = a.clone();
        if zeros > 0.0 {
            thin(&mut thinned, zeros, 3);
        }
        let start = Instant::now();
        let packed = GroupedA::pack(thinned.view(), model, selection, isa);
        let pack_ms = start.elapsed().as_secs_f64() * 1e3;
        let mut contenders = [
            chain("f32-chain, dense", &chain_a, v.view()),
            gemm_crate(a.view(), v.view()),
            ours(name, &packed, v.view()),
        ];
        let times = race(&mut contenders);
        for (i, ((name, _), [shortest, median])) in contenders.iter().zip(&times).enumerate() {
            let pack = if i == 2 { format!("{pack_ms:.0}") } else { String::new() };
            println!(
                "| {name} | {:.1} | {:.1} | {:.1} | {:.2} | {pack} |",
                shortest * 1e3,
                median * 1e3,
                products / median / 1e9,
                median / times[0][1],
            );
        }
    }
}
