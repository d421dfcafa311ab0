//! bounded: no bit contract; a rigorous elementwise bound around a binary64 reference.
//!
//! The bound is the standard one for a sum of n products in any order, with or without fused
//! multiply-add: |y - y_exact| <= gamma_n * sum |a||v| with gamma_n = n u / (1 - n u) and
//! u = 2^-24 (N. Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1), plus
//! one smallest subnormal a step for underflow. The binary64 reference's own error is covered
//! by counting one step more than there are products.

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
