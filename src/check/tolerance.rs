//! Bounds for outputs that follow no bit contract, cheap enough for whole matrices.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::backend::cpu::Isa;
use crate::operator::{DenseReference, Error, Operator, Staged};
use contract::arithmetic::bounded;
use contract::arithmetic::bounded::Summation;
use contract::arithmetic::tensor_core::Format;
use contract::arithmetic::{Arithmetic, Slices};
use contract::dtype::Dtype;

/// The f32-chain output of a case and the sums of |a||v| beside it.
///
/// Both the chain and any other binary32 summation lie within `bounded::bound` of the exact
/// value, so they lie within twice that of each other; an output of tensor cores lies within the
/// sum of both bounds.
pub struct Tolerance {
    chain: Array2<f32>,
    magnitudes: Array2<f32>,
    /// The same with the format's smallest normal number in place of every subnormal; `None` where
    /// there is none.
    floored: Option<Array2<f32>>,
    nnz: Vec<usize>,
    k: usize,
}

/// `change` of every element, row-major, in the current rayon pool.
fn map(a: ArrayView2<'_, f32>, change: impl Fn(f32) -> f32 + Sync) -> Array2<f32> {
    let mut out = Array2::zeros(a.dim());
    let rows: Vec<_> = out.axis_iter_mut(Axis(0)).collect();
    rows.into_par_iter().zip(0..a.nrows()).for_each(|(mut out, i)| {
        out.iter_mut().zip(a.row(i)).for_each(|(out, &x)| *out = change(x));
    });
    out
}

impl Tolerance {
    /// Two dense products, of A and V and of their magnitudes.
    pub fn new(
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        isa: Isa,
        threads: usize,
    ) -> Result<Tolerance, Error> {
        Tolerance::for_dtype(a, v, Dtype::F32, isa, threads)
    }

    /// The same for A and V of `dtype`, whose subnormals count for what tensor cores make of them: a
    /// third product where there are any.
    pub fn for_dtype(
        a: ArrayView2<'_, f32>,
        v: ArrayView2<'_, f32>,
        dtype: Dtype,
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
        let smallest = 2f32.powi(Format::of(dtype).exponent_min());
        let is_subnormal = |x: &f32| *x != 0.0 && x.abs() < smallest;
        let floor = |x: f32| if x == 0.0 { 0.0 } else { x.abs().max(smallest) };
        let any_subnormal = |a: ArrayView2<'_, f32>| {
            (0..a.nrows()).into_par_iter().any(|i| a.row(i).iter().any(is_subnormal))
        };
        let has_subnormals = any_subnormal(a) || any_subnormal(v);
        Ok(Tolerance {
            chain: product(a, v)?,
            magnitudes: product(map(a, f32::abs).view(), map(v, f32::abs).view())?,
            floored: match has_subnormals {
                true => Some(product(map(a, floor).view(), map(v, floor).view())?),
                false => None,
            },
            nnz: (0..a.nrows()).into_par_iter().map(|i| nonzeros(a.row(i))).collect(),
            k: a.ncols(),
        })
    }

    /// Whether `y`, a binary32 summation in any order, is one of A V.
    pub fn check(&self, y: ArrayView2<'_, f32>) -> Result<(), String> {
        self.check_as(Summation::Binary32, y, Dtype::F32)
    }

    /// The same for an output that was then rounded to `output`.
    pub fn check_rounded(&self, y: ArrayView2<'_, f32>, output: Dtype) -> Result<(), String> {
        self.check_as(Summation::Binary32, y, output)
    }

    /// Whether `y`, summed so and then rounded to `output`, is one of A V.
    pub fn check_as(
        &self,
        summation: Summation,
        y: ArrayView2<'_, f32>,
        output: Dtype,
    ) -> Result<(), String> {
        self.check_at(summation, y, output, &|i, j| (i, j))
    }

    /// The same for elements of a larger output; `place` says where in it they are.
    pub fn check_at(
        &self,
        summation: Summation,
        y: ArrayView2<'_, f32>,
        output: Dtype,
        place: &(dyn Fn(usize, usize) -> (usize, usize) + Sync),
    ) -> Result<(), String> {
        if y.dim() != self.chain.dim() {
            return Err(format!("the shape is {:?}, want {:?}", y.dim(), self.chain.dim()));
        }
        let bound = |i: usize, magnitude: f32, floored: f32| {
            let nnz = self.nnz[i];
            // The magnitudes are sums of the same length, rounded in the same way.
            let raised = |sum: f32| f64::from(sum) + bounded::bound(nnz, f64::from(sum)) * 2.0;
            let chain = bounded::bound(nnz, raised(magnitude));
            match summation {
                Summation::Binary32 => 2.0 * chain,
                Summation::TensorCore(model) => {
                    chain + bounded::tensor_core_bound(model, self.k, nnz, raised(floored))
                }
            }
        };
        let floored = self.floored.as_ref().unwrap_or(&self.magnitudes);
        let first_in_row = |i: usize| {
            let (y, chain) = (y.row(i), self.chain.row(i));
            let sums = self.magnitudes.row(i).into_iter().zip(floored.row(i));
            y.into_iter().zip(chain).zip(sums).enumerate().find_map(
                |(j, ((&got, &want), (&magnitude, &floored)))| {
                    let bound = bound(i, magnitude, floored)
                        + bounded::output_rounding(output, f64::from(want), got);
                    let error = (f64::from(got) - f64::from(want)).abs();
                    (error.is_nan() || error > bound).then(|| {
                        let (row, column) = place(i, j);
                        format!(
                            "out of bound at (row {row}, column {column}): got {got:e}, want \
                             {want:e} +- {bound:e}"
                        )
                    })
                },
            )
        };
        match (0..y.nrows()).into_par_iter().find_map_first(first_in_row) {
            None => Ok(()),
            Some(outside) => Err(outside),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::arithmetic::TensorCoreModel;
    use contract::arithmetic::tensor_core;
    use contract::arithmetic::tensor_core::Architecture;

    /// Values of many magnitudes, as values of `dtype`; some subnormal, a third of them zero.
    fn values(rows: usize, cols: usize, dtype: Dtype, lowest: i32, seed: u64) -> Array2<f32> {
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        Array2::from_shape_fn((rows, cols), |_| {
            let (bits, exponent) = (random(), lowest + (random() % 12) as i32);
            let significand = 1.0 + (bits & 0x7f_ffff) as f32 / (1 << 23) as f32;
            match random() % 6 {
                0 | 1 => 0.0,
                draw => {
                    let sign = if draw % 2 == 0 { 1.0 } else { -1.0 };
                    dtype.round(sign * significand * 2f32.powi(exponent))
                }
            }
        })
    }

    fn models() -> Vec<TensorCoreModel> {
        Architecture::ALL
            .into_iter()
            .flat_map(|architecture| {
                [Format::F16, Format::Bf16, Format::Tf32]
                    .map(|format| TensorCoreModel::of(architecture, format))
            })
            .flatten()
            .collect()
    }

    #[test]
    fn every_model_is_within_its_bound_and_a_wrong_element_is_not() {
        for model in models() {
            let dtype = model.format.dtype();
            let summation = Summation::TensorCore(model);
            // The second pair is subnormal in part.
            let lowest = model.format.exponent_min() - 4;
            for (a_lowest, v_lowest) in [(-6, -6), (lowest, 3)] {
                let (a, v) =
                    (values(7, 133, dtype, a_lowest, 1), values(133, 5, dtype, v_lowest, 2));
                let tolerance =
                    Tolerance::for_dtype(a.view(), v.view(), dtype, Isa::best(), 1).unwrap();
                assert_eq!(tolerance.floored.is_some(), a_lowest == lowest);
                for output in [Dtype::F32, dtype] {
                    let rule = |(i, j)| {
                        let (a, v) = (a.row(i).to_vec(), v.column(j).to_vec());
                        output.round(tensor_core::dot(model, &a, &v))
                    };
                    let y = Array2::from_shape_fn((7, 5), rule);
                    tolerance.check_as(summation, y.view(), output).unwrap();
                    // Without one of its products an element is far outside.
                    let mut wrong = y.clone();
                    let largest = (0..133).max_by(|&x, &y| {
                        let size = |k: usize| (a[[3, k]] * v[[k, 2]]).abs();
                        size(x).total_cmp(&size(y))
                    });
                    wrong[[3, 2]] -= a[[3, largest.unwrap()]] * v[[largest.unwrap(), 2]];
                    let error = tolerance.check_as(summation, wrong.view(), output).unwrap_err();
                    assert!(error.contains("(row 3, column 2)"), "{error}");
                }
            }
        }
    }

    #[test]
    fn tf32_is_outside_the_bound_of_binary32() {
        let model = TensorCoreModel::of(Architecture::Hopper, Format::Tf32).unwrap();
        let (a, v) = (values(7, 133, Dtype::F32, -2, 5), values(133, 5, Dtype::F32, -2, 6));
        let y = Array2::from_shape_fn((7, 5), |(i, j)| {
            tensor_core::dot(model, &a.row(i).to_vec(), &v.column(j).to_vec())
        });
        let tolerance = Tolerance::new(a.view(), v.view(), Isa::best(), 1).unwrap();
        tolerance.check_as(Summation::TensorCore(model), y.view(), Dtype::F32).unwrap();
        assert!(tolerance.check(y.view()).is_err());
    }

    #[test]
    fn what_is_not_a_number_or_of_another_shape_is_refused() {
        let tolerance = Tolerance::new(
            Array2::ones((2, 3)).view(),
            Array2::ones((3, 2)).view(),
            Isa::best(),
            1,
        )
        .unwrap();
        let mut y = Array2::from_elem((2, 2), 3.0);
        assert_eq!(tolerance.check(y.view()), Ok(()));
        y[[1, 1]] = f32::NAN;
        assert!(tolerance.check(y.view()).unwrap_err().contains("(row 1, column 1)"));
        assert!(tolerance.check(y.slice(ndarray::s![..1, ..])).is_err());
    }
}
