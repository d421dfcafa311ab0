//! The embedded Rust GEMM (single-precision part of the `gemm` crate), with a safe signature.

use gemm_common::Parallelism;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::vendor::Dims;

/// Version of the `gemm-f32` crate in Cargo.toml.
pub const GEMM_RS_VERSION: &str = "0.19.0";

/// y = a v with any strides. With `threads` > 1 in the current rayon pool.
pub fn sgemm_gemm_rs(
    a: ArrayView2<'_, f32>,
    v: ArrayView2<'_, f32>,
    mut y: ArrayViewMut2<'_, f32>,
    threads: usize,
) -> Result<(), String> {
    if Dims::check(a, v, &mut y)?.is_none() {
        return Ok(());
    }
    // The kernels write columns. A row-major Y is the transpose of a column-major one, so they
    // are given transpose(Y) = transpose(V) transpose(A), as the `gemm` crate itself does.
    if y.strides()[1].abs() < y.strides()[0].abs() {
        product(v.reversed_axes(), a.reversed_axes(), y.reversed_axes(), threads);
    } else {
        product(a, v, y, threads);
    }
    Ok(())
}

/// y = a v; the caller has checked that the shapes fit.
fn product(
    a: ArrayView2<'_, f32>,
    v: ArrayView2<'_, f32>,
    mut y: ArrayViewMut2<'_, f32>,
    threads: usize,
) {
    let ((m, k), n) = (a.dim(), v.ncols());
    assert!(v.nrows() == k && y.dim() == (m, n));
    let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    let (a_strides, v_strides) = (strides(a), strides(v));
    let y_strides = (y.strides()[0], y.strides()[1]);
    let gemm = gemm_f32::gemm::f32::get_gemm_fn();
    // SAFETY: the three pointers and their strides come from live ndarray views of shapes
    // m x k, k x n and m x n (asserted above), so every addressed element exists; `y` is
    // borrowed mutably and overlaps neither input. The function was chosen for this processor.
    // `read_dst` is false: y is only written.
    unsafe {
        gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            y_strides.1,
            y_strides.0,
            false,
            a.as_ptr(),
            a_strides.1,
            a_strides.0,
            v.as_ptr(),
            v_strides.1,
            v_strides.0,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// (row stride, column stride) in elements.
fn strides(x: ArrayView2<'_, f32>) -> (isize, isize) {
    (x.strides()[0], x.strides()[1])
}
