//! OpenBLAS, opened at run time.

use std::ffi::{CStr, c_char, c_int};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use libloading::Library;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::find::function;
use super::{CblasSgemm, Search};
use crate::backend::cpu::reset_float_environment;

const SEARCH: Search = Search {
    variable: "SPARSE_VERIFY_OPENBLAS",
    file_names: &[
        "libopenblas.so.0",
        "libopenblas.so",
        "libscipy_openblas.so",
        "libopenblas64.so.0",
        "libscipy_openblas64_.so",
        "libopenblas.dylib",
    ],
};

/// An open OpenBLAS.
pub struct OpenBlas {
    sgemm: CblasSgemm,
    set_num_threads: unsafe extern "C" fn(c_int),
    /// The thread count last set: it is the whole library's, so calls are taken in turn.
    threads: Mutex<usize>,
    version: String,
    path: PathBuf,
    /// Keeps the functions above valid.
    _library: Library,
}

impl OpenBlas {
    /// The library, opened once per process, or why it is missing.
    pub fn get() -> Result<&'static OpenBlas, &'static str> {
        static LIBRARY: OnceLock<Result<OpenBlas, String>> = OnceLock::new();
        LIBRARY
            .get_or_init(|| {
                let (library, path) = SEARCH.open()?;
                OpenBlas::bind(library, path.clone())
                    .map_err(|reason| format!("not usable: {}: {reason}", path.display()))
            })
            .as_ref()
            .map_err(String::as_str)
    }

    fn bind(library: Library, path: PathBuf) -> Result<OpenBlas, String> {
        // Distributions export plain names; SciPy's builds prefix them; 64-bit ones append 64_.
        let forms = [("", ""), ("scipy_", ""), ("", "64_"), ("scipy_", "64_")];
        let name = |(prefix, suffix): (&str, &str), name: &str| format!("{prefix}{name}{suffix}");
        for form in forms {
            // SAFETY: the types are those of OpenBLAS's cblas.h; with the suffix, `blasint` is
            // 64 bits wide.
            let found = unsafe {
                let symbol = name(form, "cblas_sgemm");
                let sgemm = if form.1.is_empty() {
                    function(&library, &symbol).map(CblasSgemm::Lp64)
                } else {
                    function(&library, &symbol).map(CblasSgemm::Ilp64)
                };
                let Ok(sgemm) = sgemm else { continue };
                let config: unsafe extern "C" fn() -> *const c_char =
                    function(&library, &name(form, "openblas_get_config"))?;
                // The kernels chosen for this processor; older versions lack it.
                let core = function::<unsafe extern "C" fn() -> *const c_char>(
                    &library,
                    &name(form, "openblas_get_corename"),
                );
                (
                    sgemm,
                    function(&library, &name(form, "openblas_set_num_threads"))?,
                    text(config()),
                    core.map(|core| text(core())).unwrap_or_default(),
                )
            };
            let (sgemm, set_num_threads, config, core) = found;
            // The configuration ends in the build's own target; `core` is what runs.
            let version =
                if core.is_empty() { config } else { format!("{config}; kernels: {core}") };
            reset_float_environment();
            return Ok(OpenBlas {
                sgemm,
                set_num_threads,
                threads: Mutex::new(0),
                version,
                path,
                _library: library,
            });
        }
        Err("no `cblas_sgemm` under a known prefix or suffix".into())
    }

    /// y = a v on `threads` of the library's own threads.
    pub fn sgemm(
        &self,
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), String> {
        // A panic elsewhere leaves a plain number, which is set anew below if it is stale.
        let mut current = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != threads {
            let count = super::c_int("threads", threads)?;
            // SAFETY: takes any positive count; no call is in flight while the lock is held.
            unsafe { (self.set_num_threads)(count) };
            *current = threads;
        }
        let result = self.sgemm.call(a, v, y);
        reset_float_environment();
        result
    }

    /// The library's own description of itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }
}

/// A C string that the library keeps.
///
/// # Safety
/// `text` is null or points at a nul-terminated string that lives as long as the call.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by this function's own contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_string()
}
