//! The embedded CSR: textbook, row-parallel, always there. It stands for what a framework's CSR
//! product does.

use std::borrow::Cow;

use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

use crate::backend::cpu::{Isa, csr_row};
use crate::backend::csr::Csr;
use crate::operator::{Built, Error, Operator, Staged};

/// Row-parallel CSR.
#[derive(Clone, Copy, Debug)]
pub struct CsrRows;

impl Operator for CsrRows {
    fn name(&self) -> String {
        "csr".into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        Ok(Box::new(CsrBuilt(Csr::from_dense(a))))
    }
}

struct CsrBuilt(Csr);

impl Built for CsrBuilt {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        let (csr, n) = (&self.0, v.ncols());
        if v.nrows() != csr.cols() || y.dim() != (csr.rows(), n) {
            let (m, k) = (csr.rows(), csr.cols());
            return Err(Error::Unsupported(format!(
                "shapes do not fit: A ({m}, {k}), V {:?}, Y {:?}",
                v.dim(),
                y.dim()
            )));
        }
        if n == 0 {
            return Ok(());
        }
        let v: Cow<'_, [f32]> = match v.as_slice() {
            Some(v) => v.into(),
            None => v.iter().copied().collect::<Vec<_>>().into(),
        };
        let isa = Isa::best();
        let write = |(i, y): (usize, &mut [f32])| {
            let (columns, values) = csr.row(i);
            csr_row(isa, columns, values, &v, y);
        };
        match y.as_slice_mut() {
            Some(y) if threads > 1 => y.par_chunks_mut(n).enumerate().for_each(write),
            Some(y) => y.chunks_mut(n).enumerate().for_each(write),
            None => {
                let mut copy = vec![0.0; n];
                for (i, mut row) in y.rows_mut().into_iter().enumerate() {
                    write((i, &mut copy));
                    row.iter_mut().zip(&copy).for_each(|(y, &x)| *y = x);
                }
            }
        }
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        size_of_val(self.0.row_offsets())
            + size_of_val(self.0.col_indices())
            + size_of_val(self.0.values())
    }
}
