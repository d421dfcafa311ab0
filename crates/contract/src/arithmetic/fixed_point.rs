//! fixed-point: a row of A and a column of V as integers below 2^23, a power-of-two scale beside each, their exact sum
//! of products, and one rounding.
//!
//! The largest integer is 0x7f7f7f, the largest of three balanced digits of 8 bits; the rule knows of no digits. A sum of
//! integers has no order, so whatever is summed how and where, the bits are the same. Zeros are the integer zero.

use super::bounded;

/// Bits of an integer and its sign, in the arithmetic's name.
pub const BITS: u32 = 24;

/// The largest magnitude of a scaled value: 127 (2^16 + 2^8 + 1).
pub const INTEGER_MAX: i32 = 0x7f_7f7f;

/// Every certified sum is below this, so that 64 bits with a sign hold it.
pub const LIMIT: u64 = 1 << 63;

/// The largest k that needs no look at A: (k + 1) `INTEGER_MAX`^2 is below [`LIMIT`].
pub const K_ALWAYS: usize = (LIMIT / (INTEGER_MAX as u64 * INTEGER_MAX as u64)) as usize - 1;

/// 2^`exponent`, exactly, of an exponent from -1022 to 1023.
pub fn exp2(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// The largest e for which `largest` * 2^e, rounded to the nearest integer (ties to even), is at most
/// [`INTEGER_MAX`]: from -106 to 171. 0 for zero.
pub fn log2_scale(largest: f32) -> i32 {
    if largest == 0.0 {
        return 0;
    }
    let largest = f64::from(largest.abs());
    // Binary64 has every binary32 as a normal number: 2^x <= largest < 2^(x + 1).
    let x = (largest.to_bits() >> 52) as i32 - 1023;
    // The product with 2^(22 - x) is 2^22 and more, with 2^(23 - x) too large.
    let e = 22 - x;
    if (largest * exp2(e)).round_ties_even() <= f64::from(INTEGER_MAX) { e } else { e - 1 }
}

/// `x` * 2^`log2_scale`, which is exact in binary64, rounded to the nearest integer, ties to even.
pub fn integer(x: f32, log2_scale: i32) -> i32 {
    (f64::from(x) * exp2(log2_scale)).round_ties_even() as i32
}

/// The e of a row of A, or the f of a column of V, and its integers. The values are finite.
pub fn integers(values: &[f32]) -> (i32, Vec<i32>) {
    let largest = values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let e = log2_scale(largest);
    (e, values.iter().map(|&x| integer(x, e)).collect())
}

/// `sum` * 2^`exponent`, rounded once to binary32: to nearest, ties to even, subnormals too.
pub fn scaled(sum: i128, exponent: i32) -> f32 {
    let magnitude = sum.unsigned_abs();
    if magnitude == 0 {
        return 0.0;
    }
    let top = magnitude.ilog2() as i32 + exponent;
    // The place of the last bit of a binary32 of this magnitude, and how many bits of the sum lie below it.
    let last = (top - 23).max(-149);
    let below = last - exponent;
    let kept = if below <= 0 {
        magnitude << -below
    } else if below > 127 {
        // More than a bit below half of the smallest subnormal.
        0
    } else {
        let (kept, rest, half) =
            (magnitude >> below, magnitude & ((1 << below) - 1), 1 << (below - 1));
        kept + u128::from(rest > half || rest == half && kept % 2 == 1)
    };
    // At most 2^24 of a place: exact in binary64, and in binary32 unless it is an overflow.
    let rounded = (kept as f64 * exp2(last)) as f32;
    if sum < 0 { -rounded } else { rounded }
}

/// One output element; NaN where an operand is not finite.
pub fn dot(a: &[f32], v: &[f32]) -> f32 {
    if !a.iter().chain(v).all(|x| x.is_finite()) {
        return f32::NAN;
    }
    let ((e, a), (f, v)) = (integers(a), integers(v));
    let sum = a.iter().zip(&v).map(|(&a, &v)| i128::from(a) * i128::from(v)).sum();
    scaled(sum, -(e + f))
}

/// Sum of the magnitudes of a row's integers.
pub fn row_sum(a: &[f32]) -> u64 {
    integers(a).1.iter().map(|a| u64::from(a.unsigned_abs())).sum()
}

/// The certificate: a bound on every sum of a matrix whose rows' integers add up to `row_sum_max` at most in magnitude,
/// with room for the perturbation test, which adds at most one largest integer to a row. A V of any values is allowed.
pub fn certificate(row_sum_max: u64) -> u64 {
    row_sum_max.saturating_add(INTEGER_MAX as u64).saturating_mul(INTEGER_MAX as u64)
}

/// The same for any A of k columns.
pub fn certificate_of_k(k: usize) -> u64 {
    certificate((k as u64).saturating_mul(INTEGER_MAX as u64))
}

/// A bound on |y - y_ref| by the row's and the column's scales, y_ref being [`bounded::reference`]. With d = 2^-(e + 1)
/// and g = 2^-(f + 1), the most by which rounding moves a value of the row and of the column, and sums over the q places
/// where neither is zero:
///
/// g sum |a| + d sum |v| + q d g, then half a unit in the last place of y, and the binary64 sum's own error.
pub fn bound(a: &[f32], v: &[f32]) -> f64 {
    let largest = |values: &[f32]| values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let [d, g] = [a, v].map(|values| exp2(-(log2_scale(largest(values)) + 1)));
    let (mut of_a, mut of_v, mut q) = (0.0, 0.0, 0.0);
    for (&a, &v) in a.iter().zip(v).filter(|&(&a, &v)| a != 0.0 && v != 0.0) {
        of_a += f64::from(a.abs());
        of_v += f64::from(v.abs());
        q += 1.0;
    }
    let magnitude = bounded::magnitude(a, v);
    let moved = g * of_a + d * of_v + q * d * g;
    let rounded = (magnitude + moved) * exp2(-24) + exp2(-150);
    // Sums of q terms in binary64: the terms above are so far from exact, and so is y_ref.
    let own = q * exp2(-52);
    (moved + rounded) * (1.0 + own) + own * magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of random words.
    fn words(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state ^ state >> 29
        }
    }

    /// A finite value of any exponent from `lowest` on, over `spread` binades; one in eight is zero.
    fn value(draw: &mut impl FnMut() -> u64, lowest: i32, spread: u64) -> f32 {
        let exponent = lowest + (draw() % spread) as i32;
        let significand = 1.0 + (draw() % (1 << 23)) as f64 / f64::from(1 << 23);
        let sign = if draw() % 2 == 0 { 1.0 } else { -1.0 };
        if draw() % 8 == 0 { 0.0 } else { (sign * significand * exp2(exponent)) as f32 }
    }

    #[test]
    fn the_scale_is_the_largest_whose_integer_fits() {
        let mut draw = words(1);
        let fits = |x: f32, e: i32| (f64::from(x) * exp2(e)).round_ties_even() <= 8_355_711.0;
        let mut values: Vec<f32> = (0..10_000).map(|_| value(&mut draw, -149, 277).abs()).collect();
        values.retain(|x| *x != 0.0 && x.is_finite());
        values.extend([f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), 1.0, 2.0]);
        for x in values {
            let e = log2_scale(x);
            assert!(fits(x, e) && !fits(x, e + 1), "{x:e}: {e}");
            assert!(integer(x, e) >= 0x3f_bfc0, "{x:e}: {:#x}", integer(x, e));
        }
        assert_eq!([f32::MAX, f32::from_bits(1), 1.0, 0.0].map(log2_scale), [-106, 171, 22, 0]);
    }

    #[test]
    fn the_border_is_at_half_above_the_largest_integer() {
        // 24 bits of significand: 0xfefefe is 0x7f7f7f and no rest, 0xfefeff half more, which goes to the even 0x7f7f80.
        for exponent in [-126, -1, 0, 104] {
            let of = |significand: u32| (f64::from(significand) * exp2(exponent - 23)) as f32;
            for (significand, integer_of, e) in [
                (0xfe_fefe, 0x7f_7f7f, 22 - exponent),
                (0xfe_feff, 0x3f_bfc0, 21 - exponent),
                (0xff_ffff, 0x40_0000, 21 - exponent),
                (0x80_0000, 0x40_0000, 22 - exponent),
            ] {
                let x = of(significand);
                assert_eq!(log2_scale(x), e, "{significand:#x}");
                assert_eq!(integer(x, e), integer_of, "{significand:#x}");
                assert_eq!(integer(-x, e), -integer_of, "{significand:#x}");
            }
        }
    }

    #[test]
    fn integers_round_to_nearest_and_ties_to_even() {
        // The largest value, 1, has e = 22: these lie at half integers and beside them.
        let place = exp2(-23) as f32;
        let (e, integers) = integers(&[1.0, place, 3.0 * place, -place, -3.0 * place, 5.0 * place]);
        assert_eq!((e, integers), (22, vec![1 << 22, 0, 2, 0, -2, 2]));
    }

    /// A quotient of integers by a power of two, as binary64 and binary32 divide: |sum| < 2^53 is exact in binary64, and
    /// one division by a power of two and one conversion round once.
    #[test]
    fn scaling_rounds_once() {
        let mut draw = words(2);
        for _ in 0..200_000 {
            let bits = draw() % 53;
            let sum = (draw() >> 11 >> (52 - bits)) as i64 * if draw() % 2 == 0 { 1 } else { -1 };
            let exponent = 60 - (draw() % 240) as i32;
            let want = (sum as f64 * exp2(exponent)) as f32;
            assert_eq!(scaled(sum.into(), exponent).to_bits(), want.to_bits(), "{sum} {exponent}");
        }
        // Beyond 53 bits a sum that is rounded twice gives another result: 2^60 + 2^36 is a tie, and a bit more is not.
        let tie = (1i128 << 60) + (1 << 36);
        assert_eq!(scaled(tie, -60), 1.0);
        assert_eq!(scaled(tie + 1, -60), 1.0 + f32::EPSILON);
        assert_eq!(scaled(-tie - 1, -60), -1.0 - f32::EPSILON);
        // Subnormal results: half of the smallest goes to zero, more than half does not.
        assert_eq!(scaled(1 << 30, -180).to_bits(), 0);
        assert_eq!(scaled((1 << 30) + 1, -180).to_bits(), 1);
        assert_eq!(scaled(3 << 30, -180).to_bits(), 2);
        assert_eq!(scaled((0xff_ffffi128 << 20) + (1 << 19), -169).to_bits(), 0x0100_0000);
        assert_eq!(scaled(i128::MAX, -400).to_bits(), 0);
        assert_eq!(scaled(1, 128), f32::INFINITY);
        assert_eq!(scaled(0xff_ffff, 104), f32::MAX);
        assert_eq!(scaled((0xff_ffff << 1) + 1, 103), f32::INFINITY);
    }

    #[test]
    fn vectors() {
        let of = |a: &[u32], v: &[u32]| {
            let values =
                |bits: &[u32]| bits.iter().copied().map(f32::from_bits).collect::<Vec<_>>();
            dot(&values(a), &values(v)).to_bits()
        };
        // 1/3 and 1 by 1 and -1/3: integers 0x155555, 0x400000 and 0x400000, -0x155555, whose products cancel.
        assert_eq!(of(&[0x3eaa_aaab, 0x3f80_0000], &[0x3f80_0000, 0xbeaa_aaab]), 0);
        // (2^24 - 1) 2^-24 squared: 0x400000 with e = 22 is 1.
        assert_eq!(of(&[0x3f7f_ffff], &[0x3f7f_ffff]), 0x3f80_0000);
        // 2^-24 beside 1 is less than half an integer, and lost.
        assert_eq!(of(&[0x3f80_0000, 0x3380_0000], &[0, 0x3f80_0000]), 0);
        // The smallest subnormal, squared and by 2^127.
        assert_eq!(of(&[1], &[1]), 0);
        assert_eq!(of(&[1], &[0x7f00_0000]), 0x3480_0000);
        assert_eq!(of(&[], &[]), 0);
        assert_eq!(of(&[0, 0x8000_0000], &[0x3f80_0000, 0x3f80_0000]), 0);
        assert_eq!(of(&[0x7f7f_ffff], &[0x4000_0000]), 0x7f80_0000);
        assert!(f32::from_bits(of(&[0x7f80_0000, 0], &[0, 0])).is_nan());
        assert!(f32::from_bits(of(&[0], &[0x7fc0_0000])).is_nan());
    }

    #[test]
    fn an_output_is_the_rounded_sum_and_within_its_bound() {
        let mut draw = words(3);
        for (lowest, spread) in [(0, 1), (-10, 20), (-149, 150), (-149, 30), (-40, 100)] {
            for k in [1, 2, 7, 64, 300] {
                let a: Vec<f32> = (0..k).map(|_| value(&mut draw, lowest, spread)).collect();
                let v: Vec<f32> = (0..k).map(|_| value(&mut draw, lowest, spread)).collect();
                let y = dot(&a, &v);
                let error = (f64::from(y) - bounded::reference(&a, &v)).abs();
                let bound = bound(&a, &v);
                assert!(error <= bound, "{lowest} {spread} {k}: {error:e} {bound:e}");
                // Order is nothing.
                let backwards = |values: &[f32]| values.iter().rev().copied().collect::<Vec<_>>();
                assert_eq!(dot(&backwards(&a), &backwards(&v)).to_bits(), y.to_bits());
                // A power of two moves the scale alone, while nothing is subnormal.
                if lowest == -10 {
                    let scaled: Vec<f32> = v.iter().map(|v| v * -8.0).collect();
                    assert_eq!(dot(&a, &scaled).to_bits(), (y * -8.0 + 0.0).to_bits());
                }
            }
        }
    }

    #[test]
    fn the_bound_is_near_the_error_where_all_is_rounded_the_same_way() {
        // Three eighths of an integer are rounded away at each place but the first, which fixes the scale.
        let small = 0.25 + 3.0 * exp2(-25) as f32;
        let a: Vec<f32> = std::iter::once(1.0).chain(std::iter::repeat_n(small, 100)).collect();
        let v = vec![1.0; 101];
        let error = (f64::from(dot(&a, &v)) - bounded::reference(&a, &v)).abs();
        let bound = bound(&a, &v);
        assert!(error <= bound && bound < 2.5 * error, "{error:e} {bound:e}");
    }

    #[test]
    fn a_certificate_leaves_room_and_covers_every_k_below_the_limit() {
        assert_eq!(K_ALWAYS, 132_105);
        assert!(certificate_of_k(K_ALWAYS) < LIMIT && certificate_of_k(K_ALWAYS + 1) >= LIMIT);
        assert_eq!(certificate(u64::MAX), u64::MAX);
        assert_eq!(row_sum(&[1.0, -0.5, 0.0]), 3 << 21);
    }
}
