//! bounded: no bit contract; a rigorous elementwise bound around a binary64 reference.
//!
//! The bound is the standard one for a sum of n products in any order, with or without fused
//! multiply-add: |y - y_exact| <= gamma_n * sum |a||v| with gamma_n = n u / (1 - n u) and
//! u = 2^-24 (N. Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1), plus
//! one smallest subnormal a step for underflow. The binary64 reference's own error is covered
//! by counting one step more than there are products.

use ndarray::ArrayView2;

use crate::matrix::Dtype;

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
