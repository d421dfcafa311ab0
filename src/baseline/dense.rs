//! Dense libraries: every element of A is multiplied, zeros included.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::backend::cpu::{GEMM_RS_VERSION, OneMkl, OpenBlas, sgemm_gemm_rs};
use crate::operator::{Built, Error, Operator, Staged};

/// A library with a single-precision GEMM.
pub trait DenseLibrary: Copy + Send + Sync + 'static {
    /// The baseline's name, such as `openblas`.
    fn name(&self) -> &'static str;

    /// The library's name as its makers write it.
    fn library(&self) -> String;

    /// What the library says of itself.
    fn version(&self) -> String;

    /// y = a v.
    fn sgemm(
        &self,
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), String>;
}

/// The embedded Rust GEMM: always there.
#[derive(Clone, Copy, Debug)]
pub struct GemmRs;

impl DenseLibrary for GemmRs {
    fn name(&self) -> &'static str {
        "gemm-rs"
    }

    fn library(&self) -> String {
        "gemm (Rust)".into()
    }

    fn version(&self) -> String {
        GEMM_RS_VERSION.into()
    }

    fn sgemm(
        &self,
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), String> {
        sgemm_gemm_rs(a, v, y, threads)
    }
}

impl DenseLibrary for &'static OpenBlas {
    fn name(&self) -> &'static str {
        "openblas"
    }

    fn library(&self) -> String {
        "OpenBLAS".into()
    }

    fn version(&self) -> String {
        format!("{} ({})", OpenBlas::version(self), self.path().display())
    }

    fn sgemm(
        &self,
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), String> {
        OpenBlas::sgemm(self, a, v, y, threads)
    }
}

impl DenseLibrary for &'static OneMkl {
    fn name(&self) -> &'static str {
        "onemkl"
    }

    fn library(&self) -> String {
        "oneMKL".into()
    }

    fn version(&self) -> String {
        format!("{} ({})", OneMkl::version(self), self.path().display())
    }

    fn sgemm(
        &self,
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), String> {
        OneMkl::sgemm(self, a, v, y, threads)
    }
}

/// A dense library as an operator: nothing is built, A stays where it is.
#[derive(Clone, Copy, Debug)]
pub struct Dense<L>(pub L);

impl<L: DenseLibrary> Operator for Dense<L> {
    fn name(&self) -> String {
        self.0.name().into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        Ok(Box::new(DenseBuilt { library: self.0, a }))
    }
}

struct DenseBuilt<'a, L> {
    library: L,
    a: ArrayView2<'a, f32>,
}

impl<L: DenseLibrary> Built for DenseBuilt<'_, L> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        self.library.sgemm(self.a, v, y, threads).map_err(Error::Unsupported)
    }

    fn bytes_held(&self) -> usize {
        self.a.len() * size_of::<f32>()
    }
}
