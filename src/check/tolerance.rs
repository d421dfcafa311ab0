//! Bounds for outputs that follow no bit contract, cheap enough for whole matrices.

use ndarray::{Array2, ArrayView2};

use crate::arithmetic::{Arithmetic, Slices, bounded};
use crate::backend::cpu::Isa;
use crate::matrix::Dtype;
use crate::operator::{DenseReference, Error, Operator, Staged};

/// The f32-chain output of a case and the sums of |a||v| beside it.
///
/// Both the chain and any other binary32 summation lie within `bounded::bound` of the exact
/// value, so they lie within twice that of each other.
pub struct Tolerance {
    chain: Array2<f32>,
    magnitudes: Array2<f32>,
    nnz: Vec<usize>,
}

impl Tolerance {
    /// Two dense products, of A and V and of their magnitudes.
    pub fn new(
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        isa: Isa,
        threads: usize,
    ) -> Result<Tolerance, Error> {
        let reference = DenseReference {
            arithmetic: Arithmetic::F32Chain(Slices::One),
            output: Dtype::F32,
            isa,
        };
        let product = |a: ArrayView2<'_, f32>, v: ArrayView2<'_, f32>| {
            let mut staged = Staged::default();
            let mut y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
            reference.stage(v, &mut staged, threads)?;
            reference.build(a)?.apply(v, &staged, y.view_mut(), threads)?;
            Ok::<_, Error>(y)
        };
        let nonzeros =
            |row: ndarray::ArrayView1<'_, f32>| row.iter().filter(|x| **x != 0.0).count();
        Ok(Tolerance {
            chain: product(a, v)?,
            magnitudes: product(a.mapv(f32::abs).view(), v.mapv(f32::abs).view())?,
            nnz: a.rows().into_iter().map(nonzeros).collect(),
        })
    }

    /// Whether `y`, a binary32 summation in any order, is one of A V.
    pub fn check(&self, y: ArrayView2<'_, f32>) -> Result<(), String> {
        self.check_rounded(y, Dtype::F32)
    }

    /// The same for an output that was then rounded to `output`.
    pub fn check_rounded(&self, y: ArrayView2<'_, f32>, output: Dtype) -> Result<(), String> {
        for ((i, j), &got) in y.indexed_iter() {
            let (want, magnitude) = (self.chain[[i, j]], f64::from(self.magnitudes[[i, j]]));
            // The magnitudes are sums of the same length, rounded in the same way.
            let magnitude = magnitude + bounded::bound(self.nnz[i], magnitude) * 2.0;
            let bound = 2.0 * bounded::bound(self.nnz[i], magnitude)
                + bounded::output_rounding(output, f64::from(want), got);
            let error = (f64::from(got) - f64::from(want)).abs();
            if error.is_nan() || error > bound {
                return Err(format!(
                    "out of bound at (row {i}, column {j}): got {got:e}, want {want:e} +- {bound:e}"
                ));
            }
        }
        Ok(())
    }
}
