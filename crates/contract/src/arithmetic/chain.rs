//! f32-chain: fused multiply-adds in ascending k, IEEE binary32, round to nearest even.

use super::Slices;

/// One output element: a chain per slice, the slices' sums added in ascending slice order.
pub fn dot(slices: Slices, a: &[f32], v: &[f32]) -> f32 {
    let mut sums = vec![0.0f32; slices.count()];
    for (k, (&a, &v)) in a.iter().zip(v).enumerate() {
        let y = &mut sums[slices.slice_of(k)];
        *y = a.mul_add(v, *y);
    }
    sums.into_iter().reduce(|y, slice| y + slice).unwrap_or(0.0)
}
