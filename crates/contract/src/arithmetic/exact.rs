//! exact: integer inputs, sums that stay below 2^24, so that any order of summation is right.

/// Every certified sum is below this, so binary32 holds each partial sum exactly.
pub const LIMIT: u64 = 1 << 24;

/// One output element, summed in integers: independent of every floating-point kernel.
pub fn dot(a: &[f32], v: &[f32]) -> f32 {
    a.iter().zip(v).map(|(&a, &v)| a as i64 * v as i64).sum::<i64>() as f32
}

/// Whether a value lies on the integer grid that the certificate is about.
pub fn on_grid(x: f32) -> bool {
    x.abs() < LIMIT as f32 && x == x.trunc()
}

/// One row's share of the certificate: sum over k of `|a[k]| * column_max[k]`.
///
/// `column_max[k]` is the largest |v[k, j]| over j. Saturates instead of wrapping.
pub fn row_bound(a: &[f32], column_max: &[u64]) -> u64 {
    a.iter()
        .zip(column_max)
        .fold(0u64, |sum, (&a, &v)| sum.saturating_add((a.abs() as u64).saturating_mul(v)))
}
