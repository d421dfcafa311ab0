//! oneMKL's inspector-executor CSR.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::backend::cpu::{MklCsr, OneMkl};
use crate::backend::csr::Csr;
use crate::operator::{Built, Error, Operator, Staged};

/// Columns of V that the inspector is told to expect: an operator is built before it sees V, and
/// this is a usual batch.
const COLUMNS_HINT: usize = 256;

/// `mkl_sparse_s_mm` on a matrix that was inspected and optimised first.
#[derive(Clone, Copy)]
pub struct OneMklCsr(pub &'static OneMkl);

impl Operator for OneMklCsr {
    fn name(&self) -> String {
        "onemkl-csr".into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let csr = MklCsr::new(self.0, &Csr::from_dense(a), COLUMNS_HINT);
        Ok(Box::new(OneMklCsrBuilt(csr.map_err(Error::Environment)?)))
    }
}

struct OneMklCsrBuilt(MklCsr);

impl Built for OneMklCsrBuilt {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        self.0.apply(v, y, threads).map_err(Error::Environment)
    }

    fn bytes_held(&self) -> usize {
        self.0.bytes_held()
    }
}
