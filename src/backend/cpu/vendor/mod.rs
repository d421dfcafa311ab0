//! Vendor libraries that are opened at run time, where they are installed.
//!
//! Nothing is linked: a library that is missing, or lacks a symbol, is a reason in words and
//! never a failed start.

mod find;
mod onemkl;
mod openblas;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, CowArray, Ix2};

pub use find::Search;
pub use onemkl::{MklCsr, OneMkl};
pub use openblas::OpenBlas;

/// Row-major, and no transposition, in CBLAS and in oneMKL's sparse interface.
const ROW_MAJOR: i32 = 101;
const CBLAS_NO_TRANS: i32 = 111;

/// The sizes of Y (m x n) = A (m x k) V (k x n).
#[derive(Clone, Copy)]
pub(super) struct Dims {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Dims {
    /// The sizes if the shapes fit and there is something to multiply; otherwise `None` after
    /// the zeros of an empty sum have been written.
    pub fn check(
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        y: &mut ArrayViewMut2<'_, f32>,
    ) -> Result<Option<Dims>, String> {
        let ((m, k), n) = (a.dim(), v.ncols());
        if v.nrows() != k || y.dim() != (m, n) {
            return Err(format!(
                "shapes do not fit: A {:?}, V {:?}, Y {:?}",
                a.dim(),
                v.dim(),
                y.dim()
            ));
        }
        if m == 0 || n == 0 || k == 0 {
            y.fill(0.0);
            return Ok(None);
        }
        Ok(Some(Dims { m, n, k }))
    }
}

/// A C `int`, as LP64 interfaces take their sizes.
fn c_int(what: &str, size: usize) -> Result<i32, String> {
    i32::try_from(size).map_err(|_| format!("{what} = {size} does not fit the library's 32 bits"))
}

/// Whether the columns lie side by side and the rows do not overlap.
fn is_row_major(dim: (usize, usize), strides: &[isize]) -> bool {
    (dim.1 <= 1 || strides[1] == 1) && (dim.0 <= 1 || strides[0] >= dim.1.max(1) as isize)
}

/// The matrix itself if it is row-major, else a copy that is.
fn row_major<'a>(x: ArrayView2<'a, f32>) -> CowArray<'a, f32, Ix2> {
    if is_row_major(x.dim(), x.strides()) {
        x.into()
    } else {
        // Not `to_owned`, which keeps a column-major layout.
        Array2::from_shape_vec(x.dim(), x.iter().copied().collect())
            .unwrap_or_else(|_| unreachable!("as many elements as the shape has"))
            .into()
    }
}

/// Elements from one row to the next of a row-major matrix.
fn leading_dimension(dim: (usize, usize), strides: &[isize]) -> usize {
    if dim.0 <= 1 { dim.1.max(1) } else { strides[0] as usize }
}

/// Runs `write` on y if that is row-major, else on a matrix that is then copied to y.
fn with_row_major_output(
    mut y: ArrayViewMut2<'_, f32>,
    write: impl FnOnce(ArrayViewMut2<'_, f32>) -> Result<(), String>,
) -> Result<(), String> {
    if is_row_major(y.dim(), y.strides()) {
        return write(y);
    }
    let mut copy = Array2::zeros(y.dim());
    write(copy.view_mut())?;
    y.assign(&copy);
    Ok(())
}

/// `cblas_sgemm` with 32-bit (LP64) or 64-bit (ILP64) sizes.
#[derive(Clone, Copy)]
enum CblasSgemm {
    Lp64(CblasSgemmFn<i32>),
    Ilp64(CblasSgemmFn<i64>),
}

/// layout, transposition of A and B, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc.
type CblasSgemmFn<I> = unsafe extern "C" fn(
    i32,
    i32,
    i32,
    I,
    I,
    I,
    f32,
    *const f32,
    I,
    *const f32,
    I,
    f32,
    *mut f32,
    I,
);

impl CblasSgemm {
    /// y = a v.
    fn call(
        self,
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        mut y: ArrayViewMut2<'_, f32>,
    ) -> Result<(), String> {
        let Some(dims) = Dims::check(a, v, &mut y)? else { return Ok(()) };
        let (a, v) = (row_major(a), row_major(v));
        let lda = leading_dimension(a.dim(), a.strides());
        let ldv = leading_dimension(v.dim(), v.strides());
        with_row_major_output(y, |mut y| {
            let ldy = leading_dimension(y.dim(), y.strides());
            let [m, n, k, lda, ldv, ldy] = [
                c_int("m", dims.m)?,
                c_int("n", dims.n)?,
                c_int("k", dims.k)?,
                c_int("lda", lda)?,
                c_int("ldb", ldv)?,
                c_int("ldc", ldy)?,
            ];
            let (a, v, y) = (a.as_ptr(), v.as_ptr(), y.as_mut_ptr());
            // SAFETY: a, v and y are live row-major matrices of the shapes m x k, k x n and
            // m x n (checked above) with the leading dimensions passed; y is borrowed
            // mutably and overlaps neither input. The integer width is the symbol's own.
            unsafe {
                match self {
                    CblasSgemm::Lp64(sgemm) => sgemm(
                        ROW_MAJOR,
                        CBLAS_NO_TRANS,
                        CBLAS_NO_TRANS,
                        m,
                        n,
                        k,
                        1.0,
                        a,
                        lda,
                        v,
                        ldv,
                        0.0,
                        y,
                        ldy,
                    ),
                    CblasSgemm::Ilp64(sgemm) => sgemm(
                        ROW_MAJOR,
                        CBLAS_NO_TRANS,
                        CBLAS_NO_TRANS,
                        m.into(),
                        n.into(),
                        k.into(),
                        1.0,
                        a,
                        lda.into(),
                        v,
                        ldv.into(),
                        0.0,
                        y,
                        ldy.into(),
                    ),
                }
            }
            Ok(())
        })
    }
}
