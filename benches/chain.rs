//! f32-chain kernels against other libraries' products, interleaved in one run.
//!
//! Prints a Markdown table: the shortest and the median time of each, on two threads. Our time
//! includes laying out V, which changes from call to call, and leaves out packing A, which does
//! not. OpenBLAS and oneMKL take part where `SPARSE_VERIFY_OPENBLAS` and `SPARSE_VERIFY_MKL`
//! name their shared objects.

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::time::{Duration, Instant};

use contract::arithmetic::Slices;
use libloading::Library;
use ndarray::{Array2, ArrayView2, s};
use sparse_verify::backend::cpu::{
    Isa, PackedV, Selection, SparseA, TiledA, flops_per_round, fma_rounds, gemm_chain, spmm_chain,
};
use sparse_verify::backend::csr::Csr;

const M: usize = 14336;
const K: usize = 4096;
const N: usize = 128;
const THREADS: usize = 2;
const ROUNDS: usize = 7;
/// OpenMP's workers spin for 200 ms by default.
const SPIN_DOWN: Duration = Duration::from_millis(250);

type Sgemm = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    f32,
    *const f32,
    c_int,
    *const f32,
    c_int,
    f32,
    *mut f32,
    c_int,
);

/// `struct matrix_descr`, passed by value.
#[repr(C)]
#[derive(Clone, Copy)]
struct MatrixDescr {
    kind: c_int,
    mode: c_int,
    diag: c_int,
}

const GENERAL: MatrixDescr = MatrixDescr { kind: 20, mode: 121, diag: 131 };
const NON_TRANSPOSE: c_int = 10;
const ROW_MAJOR: c_int = 101;
const NO_TRANS: c_int = 111;

/// A rival's name and what it does to Y.
type Contender<'a> = (String, Box<dyn FnMut(&mut Array2<f32>) + 'a>);

fn library(variable: &str, threads_symbol: &[u8]) -> Option<Library> {
    let path = std::env::var(variable).ok()?;
    // SAFETY: the named library's initialisers are those of a BLAS.
    let library = unsafe { Library::new(&path) };
    let library = library.map_err(|e| eprintln!("{variable}: {e}")).ok()?;
    // SAFETY: both libraries' setter takes one int and returns nothing.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(c_int)>(threads_symbol);
        set.expect("the library sets its threads")(THREADS as c_int);
    }
    Some(library)
}

/// Uniform values in [-1, 1) from a small generator: timing needs no more.
fn random(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    Array2::from_shape_simple_fn((rows, cols), || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    })
}

fn with_zeros(dense: &Array2<f32>, zeros: f64, seed: u64) -> Array2<f32> {
    let mut a = dense.clone();
    let drawn = random(dense.nrows(), dense.ncols(), seed);
    ndarray::Zip::from(&mut a).and(&drawn).for_each(|a, &x| {
        if f64::from(x) * 0.5 + 0.5 < zeros {
            *a = 0.0;
        }
    });
    a
}

/// Times the contenders in turn, round by round; `[shortest, median]` in seconds for each.
fn race(contenders: &mut [Contender<'_>]) -> Vec<[f64; 2]> {
    let mut y = Array2::zeros((M, N));
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            // Until the other libraries' workers have stopped spinning for more work; then one
            // call that wakes this one's and is not counted.
            std::thread::sleep(SPIN_DOWN);
            run(&mut y);
            for _ in 0..2 {
                let start = Instant::now();
                run(&mut y);
                times.push(start.elapsed().as_secs_f64());
                black_box(&y);
            }
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            [times[0], times[times.len() / 2]]
        })
        .collect()
}

fn report(case: &str, flop: f64, peak: f64, contenders: &mut [Contender<'_>]) -> Vec<[f64; 2]> {
    let times = race(contenders);
    for ((name, _), &[shortest, median]) in contenders.iter().zip(&times) {
        println!(
            "| {case} | {name} | {:.2} | {:.2} | {:.1} | {:.0} % | {:.2} x |",
            shortest * 1e3,
            median * 1e3,
            flop / median / 1e9,
            100.0 * flop / shortest / peak,
            median / times[0][1],
        );
    }
    times
}

fn ours_tiled<'a>(name: &str, a: &'a TiledA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut packed = PackedV::new(K, N);
    let run = move |y: &mut Array2<f32>| {
        packed.load(v, THREADS);
        gemm_chain(a, &packed, y.view_mut(), THREADS);
    };
    (name.into(), Box::new(run))
}

fn ours_sparse<'a>(name: &str, a: &'a SparseA, v: ArrayView2<'a, f32>) -> Contender<'a> {
    let mut packed = PackedV::new(K, N);
    let run = move |y: &mut Array2<f32>| {
        packed.load(v, THREADS);
        spmm_chain(a, &packed, y.view_mut(), THREADS);
    };
    (name.into(), Box::new(run))
}

fn blas<'a>(
    name: &str,
    library: &'a Library,
    symbol: &[u8],
    a: ArrayView2<'a, f32>,
    v: &'a Array2<f32>,
) -> Contender<'a> {
    // SAFETY: the symbol is the library's cblas_sgemm, with 32-bit integers.
    let sgemm = unsafe { library.get::<Sgemm>(symbol) }.expect("the library has cblas_sgemm");
    let run = move |y: &mut Array2<f32>| {
        let (m, k, n) = (a.nrows() as c_int, K as c_int, N as c_int);
        // SAFETY: row-major m x k, k x n and m x n with these leading dimensions.
        unsafe {
            sgemm(
                ROW_MAJOR,
                NO_TRANS,
                NO_TRANS,
                m,
                n,
                k,
                1.0,
                a.as_ptr(),
                k,
                v.as_ptr(),
                n,
                0.0,
                y.as_mut_ptr(),
                n,
            );
        }
    };
    (name.into(), Box::new(run))
}

fn gemm_crate<'a>(a: ArrayView2<'a, f32>, v: &'a Array2<f32>) -> Contender<'a> {
    let run = move |y: &mut Array2<f32>| {
        let (m, k, n) = (a.nrows(), K, N);
        // As the `gemm` crate does for a row-major result: Y^T = V^T A^T, column-major.
        // SAFETY: row-major m x k, k x n and m x n.
        unsafe {
            gemm_f32::gemm::f32::get_gemm_fn()(
                n,
                m,
                k,
                y.as_mut_ptr(),
                n as isize,
                1,
                false,
                v.as_ptr(),
                n as isize,
                1,
                a.as_ptr(),
                k as isize,
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
    ("gemm crate".into(), Box::new(run))
}

fn mkl_sparse<'a>(mkl: &'a Library, a: &Csr, v: &'a Array2<f32>) -> Contender<'a> {
    let offsets: Vec<c_int> = a.row_offsets().iter().map(|&x| x as c_int).collect();
    let columns: Vec<c_int> = a.col_indices().iter().map(|&x| x as c_int).collect();
    let values = a.values().to_vec();
    let mut handle: *mut c_void = std::ptr::null_mut();
    // SAFETY: signatures as in mkl_spblas.h with 32-bit integers; the handle refers to the
    // arrays, which the closure below keeps.
    unsafe {
        type Create = unsafe extern "C" fn(
            *mut *mut c_void,
            c_int,
            c_int,
            c_int,
            *const c_int,
            *const c_int,
            *const c_int,
            *const f32,
        ) -> c_int;
        type Hint =
            unsafe extern "C" fn(*mut c_void, c_int, MatrixDescr, c_int, c_int, c_int) -> c_int;
        let create = mkl.get::<Create>(b"mkl_sparse_s_create_csr\0").expect("create_csr");
        let hint = mkl.get::<Hint>(b"mkl_sparse_set_mm_hint\0").expect("set_mm_hint");
        let optimize = mkl
            .get::<unsafe extern "C" fn(*mut c_void) -> c_int>(b"mkl_sparse_optimize\0")
            .expect("optimize");
        let status = create(
            &mut handle,
            0,
            M as c_int,
            K as c_int,
            offsets.as_ptr(),
            offsets.as_ptr().add(1),
            columns.as_ptr(),
            values.as_ptr(),
        );
        assert_eq!(status, 0, "create_csr");
        let status = hint(handle, NON_TRANSPOSE, GENERAL, ROW_MAJOR, N as c_int, 1000);
        assert_eq!(status, 0, "set_mm_hint");
        assert_eq!(optimize(handle), 0, "optimize");
    }
    type Mm = unsafe extern "C" fn(
        c_int,
        f32,
        *mut c_void,
        MatrixDescr,
        c_int,
        *const f32,
        c_int,
        c_int,
        f32,
        *mut f32,
        c_int,
    ) -> c_int;
    // SAFETY: signature as in mkl_spblas.h.
    let mm = unsafe { mkl.get::<Mm>(b"mkl_sparse_s_mm\0") }.expect("s_mm");
    let run = move |y: &mut Array2<f32>| {
        let _arrays = (&offsets, &columns, &values);
        let n = N as c_int;
        // SAFETY: row-major K x N and M x N.
        let status = unsafe {
            mm(
                NON_TRANSPOSE,
                1.0,
                handle,
                GENERAL,
                ROW_MAJOR,
                v.as_ptr(),
                n,
                n,
                0.0,
                y.as_mut_ptr(),
                n,
            )
        };
        assert_eq!(status, 0, "s_mm");
    };
    ("oneMKL inspector-executor".into(), Box::new(run))
}

/// FLOP/s of one core's fused multiply-adds, in registers.
fn fma_peak(isa: Isa) -> f64 {
    const FMA_ROUNDS: u64 = 20_000;
    let mut best = f64::INFINITY;
    for _ in 0..500 {
        let start = Instant::now();
        black_box(fma_rounds(isa, FMA_ROUNDS));
        best = best.min(start.elapsed().as_secs_f64());
    }
    (FMA_ROUNDS * flops_per_round(isa)) as f64 / best
}

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().expect("the first pool");
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|only| only == name);
    let openblas = library("SPARSE_VERIFY_OPENBLAS", b"scipy_openblas_set_num_threads\0");
    let mkl = library("SPARSE_VERIFY_MKL", b"MKL_Set_Num_Threads\0");
    let isa = Isa::best();
    let peak = THREADS as f64 * fma_peak(isa);
    println!("{M} x {K} x {N}, {THREADS} threads, {isa}; peak {:.0} GFLOP/s\n", peak / 1e9);
    println!("| case | who | min ms | median ms | GFLOP/s | of peak | ours is faster by |");
    println!("|---|---|---|---|---|---|---|");

    let dense = random(M, K, 1);
    let v = random(K, N, 2);
    let flop = 2.0 * (M * K * N) as f64;
    if wanted("dense") {
        let tiled = TiledA::pack(dense.view(), Selection::All, Slices::One, isa, THREADS);
        let mut contenders = vec![ours_tiled("ours", &tiled, v.view())];
        contenders.push(gemm_crate(dense.view(), &v));
        if let Some(library) = &openblas {
            contenders.push(blas("OpenBLAS", library, b"scipy_cblas_sgemm\0", dense.view(), &v));
        }
        if let Some(library) = &mkl {
            contenders.push(blas("oneMKL", library, b"cblas_sgemm\0", dense.view(), &v));
        }
        report("dense", flop, peak, &mut contenders);
    }
    if wanted("rows") {
        let mut a = dense.clone();
        for i in (0..M).filter(|i| i % 5 != 0) {
            a.row_mut(i).fill(0.0);
        }
        let live = dense.slice(s![..M.div_ceil(5), ..]);
        let skip = TiledA::pack(a.view(), Selection::LiveRows, Slices::One, isa, THREADS);
        let all = TiledA::pack(a.view(), Selection::All, Slices::One, isa, THREADS);
        let mut contenders = vec![
            ours_tiled("ours, live rows", &skip, v.view()),
            ours_tiled("ours, all rows", &all, v.view()),
            gemm_crate(live, &v),
        ];
        if let Some(library) = &openblas {
            contenders.push(blas(
                "OpenBLAS on live rows",
                library,
                b"scipy_cblas_sgemm\0",
                live,
                &v,
            ));
        }
        if let Some(library) = &mkl {
            contenders.push(blas("oneMKL on live rows", library, b"cblas_sgemm\0", live, &v));
        }
        report("80 % dead rows", flop / 5.0, peak, &mut contenders);
    }
    for percent in [70, 80, 90, 95, 99] {
        if !wanted(&percent.to_string()) {
            continue;
        }
        let a = with_zeros(&dense, f64::from(percent) / 100.0, 3);
        let start = Instant::now();
        let sparse = SparseA::pack(a.view(), Slices::One, isa, 1);
        let pack = start.elapsed().as_secs_f64();
        let csr = Csr::from_dense(a.view());
        let mut contenders = vec![ours_sparse("ours", &sparse, v.view())];
        if let Some(library) = &mkl {
            contenders.push(mkl_sparse(library, &csr, &v));
        }
        let nnz = csr.nnz() as f64;
        report(&format!("uniform {percent} %"), 2.0 * nnz * N as f64, peak, &mut contenders);
        eprintln!(
            "pack {percent} %: {:.1} ms, {:.1} GB/s",
            pack * 1e3,
            (M * K * 4) as f64 / pack / 1e9
        );
    }
}
