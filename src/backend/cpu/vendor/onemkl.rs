//! Intel oneMKL through its single dynamic library, opened at run time.

use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::find::{function, open};
use super::{CblasSgemm, ROW_MAJOR, Search, leading_dimension, row_major, with_row_major_output};
use crate::backend::cpu::reset_float_environment;
use crate::backend::csr::Csr;

const SEARCH: Search = Search {
    variable: "SPARSE_VERIFY_MKL",
    file_names: &["libmkl_rt.so.3", "libmkl_rt.so.2", "libmkl_rt.so"],
};

/// 32-bit sizes (mkl_service.h, `MKL_INTERFACE_LP64`).
const INTERFACE_LP64: c_int = 0;
/// `MKL_THREADING_SEQUENTIAL`.
const THREADING_SEQUENTIAL: c_int = 1;

/// How long the threads of Intel's runtime spin after a call. Its default of 200 ms takes the
/// cores away from whatever is measured next; a millisecond still bridges calls in a row.
const BLOCKTIME_MS: c_int = 1;

/// A threading layer: mkl_rt ends the process if it cannot load the layer it is told to use,
/// so both files are opened here first.
struct Layer {
    /// `MKL_THREADING_*` of mkl_service.h.
    number: c_int,
    name: &'static str,
    /// Start of the layer's own file name.
    file: &'static str,
    /// The threads' runtime, by the names it goes by.
    runtimes: &'static [&'static str],
}

/// Intel's runtime comes with oneMKL and is what it is tuned for; GNU's is on most systems.
const LAYERS: [Layer; 3] = [
    Layer { number: 0, name: "intel", file: "libmkl_intel_thread.so", runtimes: &["libiomp5.so"] },
    Layer { number: 3, name: "gnu", file: "libmkl_gnu_thread.so", runtimes: &["libgomp.so.1"] },
    Layer { number: 4, name: "tbb", file: "libmkl_tbb_thread.so", runtimes: &["libtbb.so.12"] },
];

/// `matrix_descr` of mkl_spblas.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct MatrixDescr {
    kind: c_int,
    mode: c_int,
    diag: c_int,
}

/// `SPARSE_MATRIX_TYPE_GENERAL`; the two others are read for triangular types only
/// (`SPARSE_FILL_MODE_LOWER`, `SPARSE_DIAG_NON_UNIT`).
const GENERAL: MatrixDescr = MatrixDescr { kind: 20, mode: 40, diag: 50 };
const SPARSE_NON_TRANSPOSE: c_int = 10;
const SPARSE_INDEX_BASE_ZERO: c_int = 0;

/// handle, indexing, rows, columns, row starts, row ends, column indices, values.
type CreateCsr = unsafe extern "C" fn(
    *mut *mut c_void,
    c_int,
    c_int,
    c_int,
    *mut c_int,
    *mut c_int,
    *mut c_int,
    *mut f32,
) -> c_int;
/// handle, operation, description, layout, columns of V, expected calls.
type SetMmHint =
    unsafe extern "C" fn(*mut c_void, c_int, MatrixDescr, c_int, c_int, c_int) -> c_int;
/// operation, alpha, handle, description, layout, B, columns, ldb, beta, C, ldc.
type SparseMm = unsafe extern "C" fn(
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
type OnHandle = unsafe extern "C" fn(*mut c_void) -> c_int;

/// layout, transposition of A and B, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc; A and B of bf16.
type GemmBf16 = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    f32,
    *const u16,
    c_int,
    *const u16,
    c_int,
    f32,
    *mut f32,
    c_int,
);

/// The inspector-executor interface.
#[derive(Clone, Copy)]
struct Sparse {
    create_csr: CreateCsr,
    set_mm_hint: SetMmHint,
    optimize: OnHandle,
    mm: SparseMm,
    destroy: OnHandle,
}

/// An open oneMKL.
pub struct OneMkl {
    sgemm: CblasSgemm,
    gemm_bf16: Result<GemmBf16, String>,
    sparse: Result<Sparse, String>,
    /// Sets the count of the calling thread only and returns the old one.
    set_num_threads_local: unsafe extern "C" fn(c_int) -> c_int,
    /// Of Intel's threading runtime, if that is in use.
    set_blocktime_ms: Option<unsafe extern "C" fn(c_int)>,
    is_sequential: bool,
    version: String,
    path: PathBuf,
    /// Keep the functions above valid.
    _libraries: Vec<Library>,
}

impl OneMkl {
    /// The library, opened once per process, or why it is missing.
    pub fn get() -> Result<&'static OneMkl, &'static str> {
        static LIBRARY: OnceLock<Result<OneMkl, String>> = OnceLock::new();
        LIBRARY
            .get_or_init(|| {
                let (library, path) = SEARCH.open()?;
                OneMkl::bind(library, path.clone())
                    .map_err(|reason| format!("not usable: {}: {reason}", path.display()))
            })
            .as_ref()
            .map_err(String::as_str)
    }

    fn bind(library: Library, path: PathBuf) -> Result<OneMkl, String> {
        // mkl_rt ends the process where it cannot load its parts.
        for part in ["libmkl_core.so", "libmkl_intel_lp64.so"] {
            if beside(&path, part).is_some_and(|part| !part.exists()) {
                return Err(format!("no {part} beside it"));
            }
        }
        let mut libraries = Vec::new();
        let (layer, layer_name) = match layer_beside(&path, &mut libraries) {
            Some(layer) => (layer.number, layer.name),
            None => (THREADING_SEQUENTIAL, "sequential"),
        };
        // SAFETY: the types are those of mkl_service.h, mkl_cblas.h and mkl_spblas.h, with the
        // LP64 interface chosen before any other call. The capitalised names take values, the
        // others are Fortran's and take pointers.
        let mkl = unsafe {
            let set_layer: unsafe extern "C" fn(c_int) -> c_int =
                function(&library, "MKL_Set_Threading_Layer")?;
            let set_interface: unsafe extern "C" fn(c_int) -> c_int =
                function(&library, "MKL_Set_Interface_Layer")?;
            let set_dynamic: unsafe extern "C" fn(c_int) = function(&library, "MKL_Set_Dynamic")?;
            let version_string: unsafe extern "C" fn(*mut c_char, c_int) =
                function(&library, "MKL_Get_Version_String")?;
            let sparse = (|| {
                Ok(Sparse {
                    create_csr: function(&library, "mkl_sparse_s_create_csr")?,
                    set_mm_hint: function(&library, "mkl_sparse_set_mm_hint")?,
                    optimize: function(&library, "mkl_sparse_optimize")?,
                    mm: function(&library, "mkl_sparse_s_mm")?,
                    destroy: function(&library, "mkl_sparse_destroy")?,
                })
            })();
            let (sgemm, set_num_threads_local) = (
                CblasSgemm::Lp64(function(&library, "cblas_sgemm")?),
                function(&library, "MKL_Set_Num_Threads_Local")?,
            );
            let gemm_bf16 = function(&library, "cblas_gemm_bf16bf16f32");
            set_interface(INTERFACE_LP64);
            set_layer(layer);
            // Otherwise oneMKL may use fewer threads than it was given.
            set_dynamic(0);
            let mut text = [0u8; 256];
            version_string(text.as_mut_ptr().cast(), text.len() as c_int - 1);
            let text = String::from_utf8_lossy(&text);
            let version = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
            let set_blocktime_ms = libraries
                .first()
                // Only Intel's runtime exports it.
                .and_then(|runtime| function(runtime, "kmp_set_blocktime").ok());
            libraries.push(library);
            OneMkl {
                sgemm,
                gemm_bf16,
                sparse,
                set_num_threads_local,
                set_blocktime_ms,
                is_sequential: layer == THREADING_SEQUENTIAL,
                version: format!("{version}; {layer_name} threading layer"),
                path,
                _libraries: libraries,
            }
        };
        reset_float_environment();
        Ok(mkl)
    }

    /// y = a v on `threads` of the library's own threads.
    pub fn sgemm(
        &self,
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), String> {
        self.with_threads(threads, || self.sgemm.call(a, v, y))
    }

    /// Whether there is a product of bf16.
    pub fn has_bf16(&self) -> Result<(), String> {
        self.gemm_bf16.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// y = a v on `threads` of the library's own threads; `a` (m x k) and `v` (k x n) are encodings of bf16, row-major.
    pub fn gemm_bf16(
        &self,
        a: ArrayView2<'_, u16>,
        v: ArrayView2<'_, u16>,
        mut y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), String> {
        let gemm = *self.gemm_bf16.as_ref().map_err(Clone::clone)?;
        let ((m, k), n) = (a.dim(), v.ncols());
        let (Some(of_a), Some(of_v)) = (a.as_slice(), v.as_slice()) else {
            return Err("A or V is not row-major".into());
        };
        if v.nrows() != k || y.dim() != (m, n) {
            let (a, v, y) = (a.dim(), v.dim(), y.dim());
            return Err(format!("shapes do not fit: A {a:?}, V {v:?}, Y {y:?}"));
        }
        if m == 0 || k == 0 || n == 0 {
            y.fill(0.0);
            return Ok(());
        }
        self.with_threads(threads, || {
            with_row_major_output(y, |mut y| {
                let ldy = leading_dimension(y.dim(), y.strides());
                let [m, n, k, ldy] = [
                    super::c_int("m", m)?,
                    super::c_int("n", n)?,
                    super::c_int("k", k)?,
                    super::c_int("ldc", ldy)?,
                ];
                // SAFETY: a, v and y are live row-major matrices of the shapes m x k, k x n and m x n (compared above)
                // with the leading dimensions passed; y is borrowed mutably.
                unsafe {
                    gemm(
                        ROW_MAJOR,
                        super::CBLAS_NO_TRANS,
                        super::CBLAS_NO_TRANS,
                        m,
                        n,
                        k,
                        1.0,
                        of_a.as_ptr(),
                        k,
                        of_v.as_ptr(),
                        n,
                        0.0,
                        y.as_mut_ptr(),
                        ldy,
                    );
                }
                Ok(())
            })
        })
    }

    /// Whether the inspector-executor interface is there.
    pub fn has_sparse(&self) -> Result<(), String> {
        self.sparse.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Whether no threading layer was found, so that every call runs on one thread.
    pub fn is_sequential(&self) -> bool {
        self.is_sequential
    }

    /// The library's own description of itself, and the threading layer in use.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    fn with_threads<T>(&self, threads: usize, call: impl FnOnce() -> T) -> T {
        if let Some(set_blocktime_ms) = self.set_blocktime_ms {
            // SAFETY: sets a number of the calling thread.
            unsafe { set_blocktime_ms(BLOCKTIME_MS) };
        }
        // SAFETY: takes any count; 0 gives the thread its default back.
        let old = unsafe { (self.set_num_threads_local)(threads.min(4096) as c_int) };
        let result = call();
        // SAFETY: as above.
        unsafe { (self.set_num_threads_local)(old) };
        reset_float_environment();
        result
    }
}

/// A part of oneMKL that goes with `mkl_rt`: libmkl_core.so.3 with libmkl_rt.so.3. `None` where
/// it is not known in which folder mkl_rt lies.
fn beside(mkl_rt: &Path, part: &str) -> Option<PathBuf> {
    let folder = mkl_rt.parent().filter(|folder| folder.is_absolute())?;
    let suffix = mkl_rt.file_name()?.to_str()?.strip_prefix("libmkl_rt.so").unwrap_or("");
    Some(folder.join(format!("{part}{suffix}")))
}

/// The first threading layer that is installed beside `mkl_rt` and whose runtime opens.
fn layer_beside(mkl_rt: &Path, opened: &mut Vec<Library>) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| {
        let Some(file) = beside(mkl_rt, layer.file).filter(|file| file.exists()) else {
            return false;
        };
        let runtime = layer.runtimes.iter().find_map(|name| {
            open(&file.with_file_name(name)).or_else(|_| open(Path::new(name))).ok()
        });
        let found = runtime.is_some();
        opened.extend(runtime);
        found
    })
}

/// A sparse matrix that oneMKL has inspected.
pub struct MklCsr {
    mkl: &'static OneMkl,
    sparse: Sparse,
    handle: *mut c_void,
    rows: usize,
    cols: usize,
    /// The arrays that the handle points into: oneMKL does not copy them.
    row_offsets: Vec<c_int>,
    col_indices: Vec<c_int>,
    values: Vec<f32>,
}

// SAFETY: after `new` the handle is only read (`mkl_sparse_s_mm` on a const matrix, which oneMKL
// documents as thread-safe) until `drop`, which has it alone.
unsafe impl Send for MklCsr {}
// SAFETY: as above.
unsafe impl Sync for MklCsr {}

impl MklCsr {
    /// Inspects `a` for products with V of about `columns_hint` columns.
    pub fn new(mkl: &'static OneMkl, a: &Csr, columns_hint: usize) -> Result<MklCsr, String> {
        let sparse = mkl.sparse.clone()?;
        let mut csr = MklCsr {
            mkl,
            sparse,
            handle: ptr::null_mut(),
            rows: a.rows(),
            cols: a.cols(),
            row_offsets: a
                .row_offsets()
                .iter()
                .map(|&offset| super::c_int("non-zeros", offset))
                .collect::<Result<_, _>>()?,
            col_indices: a.col_indices().iter().map(|&k| k as c_int).collect(),
            values: a.values().to_vec(),
        };
        let (rows, cols) = (super::c_int("m", a.rows())?, super::c_int("k", a.cols())?);
        let columns_hint = super::c_int("n", columns_hint.max(1))?;
        // oneMKL refuses empty matrices and sparse ones without elements: they have no handle.
        if csr.rows == 0 || csr.cols == 0 || csr.values.is_empty() {
            return Ok(csr);
        }
        // SAFETY: the arrays have the lengths that CSR requires (`Csr`'s invariants), stay where
        // they are while the handle lives (their heap blocks do not move with the struct) and
        // are not changed. Row ends are the row starts shifted by one element.
        let status = unsafe {
            let starts = csr.row_offsets.as_mut_ptr();
            (sparse.create_csr)(
                &mut csr.handle,
                SPARSE_INDEX_BASE_ZERO,
                rows,
                cols,
                starts,
                starts.add(1),
                csr.col_indices.as_mut_ptr(),
                csr.values.as_mut_ptr(),
            )
        };
        check("mkl_sparse_s_create_csr", status)?;
        // Enough calls to make any optimisation worth its time.
        const EXPECTED_CALLS: c_int = 1000;
        // SAFETY: the handle was created above.
        let (hint, optimize) = unsafe {
            (
                (sparse.set_mm_hint)(
                    csr.handle,
                    SPARSE_NON_TRANSPOSE,
                    GENERAL,
                    ROW_MAJOR,
                    columns_hint,
                    EXPECTED_CALLS,
                ),
                (sparse.optimize)(csr.handle),
            )
        };
        reset_float_environment();
        // 6 is "not supported": a hint that is not taken, as on other makers' processors.
        for (name, status) in [("mkl_sparse_set_mm_hint", hint), ("mkl_sparse_optimize", optimize)]
        {
            if status != 6 {
                check(name, status)?;
            }
        }
        Ok(csr)
    }

    /// y = a v on `threads` of the library's own threads.
    pub fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        mut y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), String> {
        let n = v.ncols();
        if v.nrows() != self.cols || y.dim() != (self.rows, n) {
            let (a, v, y) = ((self.rows, self.cols), v.dim(), y.dim());
            return Err(format!("shapes do not fit: A {a:?}, V {v:?}, Y {y:?}"));
        }
        if self.handle.is_null() || n == 0 {
            y.fill(0.0);
            return Ok(());
        }
        let v = row_major(v);
        let ldv = leading_dimension(v.dim(), v.strides());
        self.mkl.with_threads(threads, || {
            with_row_major_output(y, |mut y| {
                let ldy = leading_dimension(y.dim(), y.strides());
                let [n, ldv, ldy] =
                    [super::c_int("n", n)?, super::c_int("ldb", ldv)?, super::c_int("ldc", ldy)?];
                // SAFETY: v and y are live row-major matrices, cols x n and rows x n, with the
                // leading dimensions passed; y is borrowed mutably. The handle is valid until
                // `drop`.
                let status = unsafe {
                    (self.sparse.mm)(
                        SPARSE_NON_TRANSPOSE,
                        1.0,
                        self.handle,
                        GENERAL,
                        ROW_MAJOR,
                        v.as_ptr(),
                        n,
                        ldv,
                        0.0,
                        y.as_mut_ptr(),
                        ldy,
                    )
                };
                check("mkl_sparse_s_mm", status)
            })
        })
    }

    /// Bytes of the arrays; what the optimisation added is the library's secret.
    pub fn bytes_held(&self) -> usize {
        4 * (self.row_offsets.len() + self.col_indices.len() + self.values.len())
    }
}

impl Drop for MklCsr {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: created by `create_csr` and destroyed once.
            unsafe { (self.sparse.destroy)(self.handle) };
        }
    }
}

/// `sparse_status_t`: 0 is success.
fn check(name: &str, status: c_int) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(format!("{name} failed with status {status}")) }
}
