//! A dense library on the live rows only: the honest rival wherever whole rows are dead.

use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

use super::DenseLibrary;
use crate::operator::{Built, Error, Operator, Staged};

/// Live rows are gathered once, in order; each call multiplies them and scatters the result.
#[derive(Clone, Copy, Debug)]
pub struct Compacted<L>(pub L);

impl<L: DenseLibrary> Operator for Compacted<L> {
    fn name(&self) -> String {
        format!("compacted-{}", self.0.name())
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let mut live_rows = 0;
        let mut source = Vec::with_capacity(a.nrows());
        let mut values = Vec::new();
        for row in a.rows() {
            let is_live = row.iter().any(|&x| x != 0.0);
            source.push(is_live.then_some(live_rows));
            if is_live {
                live_rows += 1;
                values.extend(row.iter().copied());
            }
        }
        let live = Array2::from_shape_vec((live_rows, a.ncols()), values)
            .map_err(|error| Error::Unsupported(error.to_string()))?;
        Ok(Box::new(CompactedBuilt { library: self.0, live, source, product: Mutex::default() }))
    }
}

struct CompactedBuilt<L> {
    library: L,
    /// The live rows of A.
    live: Array2<f32>,
    /// For each row of A its row in `live`, if it has one.
    source: Vec<Option<usize>>,
    /// The product of the live rows, kept from call to call: fresh memory would be paid for in
    /// page faults on every call.
    product: Mutex<Array2<f32>>,
}

impl<L: DenseLibrary> Built for CompactedBuilt<L> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        if y.dim() != (self.source.len(), v.ncols()) {
            let (m, y, v) = (self.source.len(), y.dim(), v.dim());
            return Err(Error::Unsupported(format!(
                "shapes do not fit: A has {m} rows, V {v:?}, Y {y:?}"
            )));
        }
        if self.live.nrows() == self.source.len() {
            return self.library.sgemm(self.live.view(), v, y, threads).map_err(Error::Unsupported);
        }
        // What a panic may have left is overwritten below.
        let mut product = self.product.lock().unwrap_or_else(PoisonError::into_inner);
        let shape = (self.live.nrows(), v.ncols());
        if product.dim() != shape {
            *product = Array2::zeros(shape);
        }
        self.library
            .sgemm(self.live.view(), v, product.view_mut(), threads)
            .map_err(Error::Unsupported)?;
        scatter(&self.source, product.view(), &mut y, threads);
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        let product = self.product.lock().unwrap_or_else(PoisonError::into_inner).len();
        (self.live.len() + product) * size_of::<f32>()
            + self.source.len() * size_of::<Option<usize>>()
    }
}

/// Every row of y: its row of the product, or zeros.
fn scatter(
    source: &[Option<usize>],
    product: ArrayView2<'_, f32>,
    y: &mut ArrayViewMut2<'_, f32>,
    threads: usize,
) {
    let n = y.ncols();
    let fill = |row: &mut [f32], source: Option<usize>| match source
        .and_then(|source| product.row(source).to_slice())
    {
        Some(values) => row.copy_from_slice(values),
        None => row.fill(0.0),
    };
    match y.as_slice_mut() {
        Some(y) if threads > 1 && n > 0 => {
            y.par_chunks_mut(n).zip(source).for_each(|(row, &source)| fill(row, source));
        }
        Some(y) if n > 0 => {
            y.chunks_mut(n).zip(source).for_each(|(row, &source)| fill(row, source));
        }
        _ => {
            for (mut row, source) in y.rows_mut().into_iter().zip(source) {
                match source {
                    Some(source) => row.assign(&product.row(*source)),
                    None => row.fill(0.0),
                }
            }
        }
    }
}
