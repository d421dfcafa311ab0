//! bounded: no bit contract; a rigorous elementwise bound around a binary64 reference.
//!
//! The bound is the standard one for a sum of n products in any order, with or without fused
//! multiply-add: |y - y_exact| <= gamma_n * sum |a||v| with gamma_n = n u / (1 - n u) and
//! u = 2^-24 (N. Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1), plus
//! one smallest subnormal a step for underflow. The binary64 reference's own error is covered
//! by counting one step more than there are products.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::tensor_core::{Format, Model};
use crate::dtype::Dtype;

/// Unit roundoff of binary32.
const U32: f64 = 1.0 / (1u64 << 24) as f64;
/// Smallest positive binary32.
const TINY: f64 = f32::from_bits(1) as f64;

/// One output element in binary64, ascending k. Each product of two binary32 values is exact
/// in binary64, so it rounds once a step, fused or not.
pub fn reference(a: &[f32], v: &[f32]) -> f64 {
    a.iter().zip(v).fold(0.0, |y, (&a, &v)| y + f64::from(a) * f64::from(v))
}

/// Sum of |a||v| in binary64, ascending k.
pub fn magnitude(a: &[f32], v: &[f32]) -> f64 {
    a.iter().zip(v).fold(0.0, |y, (&a, &v)| y + (f64::from(a) * f64::from(v)).abs())
}

/// Largest allowed |y - reference| for a binary32 sum of `nnz` products whose magnitudes sum
/// to `magnitude`. Infinite where the bound is void (nnz >= 2^24).
pub fn bound(nnz: usize, magnitude: f64) -> f64 {
    // Two roundings a product (multiply, add) where they are not fused, and one step more for
    // the reference's own error and the final rounding of its digest.
    let steps = (nnz + 1) as f64;
    let nu = steps * U32;
    if nu >= 0.5 {
        return f64::INFINITY;
    }
    nu / (1.0 - nu) * magnitude + steps * TINY
}

/// How an output without a bit contract was summed, as far as its bound depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summation {
    /// Binary32, in any order: [`bound`].
    Binary32,
    /// On tensor cores, or in binary32 as above: [`tensor_core_bound`].
    TensorCore(Model),
}

/// Largest allowed |y - A V| for one output of a tensor core that follows `model`'s rule, or that was
/// summed in binary32. `nnz` is the number of non-zero elements of a row of A of length `k`;
/// `magnitude` is the sum of \[a\]\[v\] over them, where \[x\] is |x|, but for a subnormal of the
/// format the format's smallest normal number. Infinite where the binary32 bound is void.
///
/// Write T for the groups that hold a product (at most `nnz`, and ceil(k / L)), and M for the sum of
/// the terms \[a\]\[v\].
///
/// - *Alignment.* A term x of exponent e (operands' exponents added) has 2^e <= \[a\]\[v\]; the
///   accumulator c has 2^e <= max(|c|, 2^-126). Truncation never raises a magnitude, so |c| is at most
///   the sum of the terms so far, and in every group 2^E <= M + 2^-126. Truncating a term to a multiple
///   of 2^(E-F) costs less than 2^(E-F). There are `nnz` products, and T accumulators: together less
///   than (nnz + T) 2^-F (M + 2^-126).
/// - *24 bits.* Each group's sum, at most M, loses less than 2^-23 of itself, or 2^-149: together
///   T (2^-23 M + 2^-149).
/// - *Partial sums.* A library may sum parts of k apart (at group boundaries) and add at most T parts in
///   binary32, in any order: less than T (2^-23 M + 2^-149) again.
/// - *Input rounding*, TF32 only: each operand to nearest within 2^-11 \[x\], so a product moves by at most
///   (2^-10 + 2^-22) \[a\]\[v\]; and M above is that of the rounded operands, at most (1 + 2^-11)^2 M.
///
/// A group without products passes c on unchanged, as F >= 23.
///
/// Where operands are not aligned to what tensor cores load, libraries use binary32 units: the larger of
/// the two bounds holds for both.
pub fn tensor_core_bound(model: Model, k: usize, nnz: usize, magnitude: f64) -> f64 {
    let exp2 = |exponent: i32| 2f64.powi(exponent);
    let groups = k.div_ceil(model.group.max(1)).min(nnz) as f64;
    let (input, growth) = match model.format {
        Format::Tf32 => (exp2(-10) + exp2(-22), (1.0 + exp2(-11)).powi(2)),
        Format::F16 | Format::Bf16 => (0.0, 1.0),
    };
    let largest = growth * magnitude;
    let alignment = (nnz as f64 + groups) * exp2(-model.fraction_bits) * (largest + exp2(-126));
    let truncation = 2.0 * groups * (exp2(-23) * largest + TINY);
    (input * magnitude + alignment + truncation).max(bound(nnz, magnitude))
}

/// A row of the reference and of the magnitudes, for a row of A and V (k x n).
pub fn row(a: &[f32], v: ArrayView2<'_, f32>) -> (Vec<f64>, Vec<f64>) {
    let mut reference = vec![0.0; v.ncols()];
    let mut magnitude = vec![0.0; v.ncols()];
    for (&a, v) in a.iter().zip(v.rows()) {
        for ((y, size), &v) in reference.iter_mut().zip(&mut magnitude).zip(v) {
            let product = f64::from(a) * f64::from(v);
            *y += product;
            *size += product.abs();
        }
    }
    (reference, magnitude)
}

/// What rounding to a 16-bit output may add: half a unit in the last place of the larger.
pub fn output_rounding(output: Dtype, reference: f64, got: f32) -> f64 {
    let (mantissa_bits, exponent_min) = match output {
        Dtype::F32 => return 0.0,
        Dtype::Bf16 => (7, -126),
        Dtype::F16 => (10, -14),
    };
    let larger = reference.abs().max(f64::from(got).abs());
    let exponent = if larger > 0.0 { (larger.to_bits() >> 52) as i32 - 1023 } else { exponent_min };
    2f64.powi(exponent.max(exponent_min) - mantissa_bits - 1)
}
