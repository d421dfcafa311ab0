//! amx-bf16 and avx512-bf16: how two instructions of x86-64 processors sum products of bf16 operands in binary32.
//!
//! Both are chains of fused multiply-adds, and both flush subnormals. `fma` and `+` below read every subnormal operand as
//! the zero of its sign (DAZ), round once to nearest, ties to even, and give the zero of the result's sign where that is
//! tiny (FTZ): where the exact value, rounded to 24 bits as if exponents had no end, is below 2^-126 in magnitude. So
//! 2^-126 - 2^-151, a tie, becomes 2^-126, and whatever is nearer to zero is flushed, also where rounding to subnormals
//! would have given 2^-126. MXCSR changes none of it.
//!
//! - **avx512-bf16** (VDPBF16PS). c = +0; per pair of k, ascending: c = fma(a\[2t\], v\[2t\], fma(a\[2t+1\], v\[2t+1\], c)).
//!   The odd element is first.
//! - **amx-bf16** (TDPBF16PS). c = +0; per aligned block of 32 k, ascending: e = o = +0; per pair of the block, ascending:
//!   e = fma(a\[2t\], v\[2t\], e) and o = fma(a\[2t+1\], v\[2t+1\], o); then c = c + (e + o).
//!
//! Where k is odd, or no multiple of 32, what is missing is a product of zeros.
//!
//! **Zeros may be skipped**, one by one or by pairs and blocks, as long as every other product stays in its pair and its
//! block of the original k. Accumulators are never subnormal: they begin at +0, and results are flushed. A product with a
//! zero operand is exactly zero, so fma gives an accumulator other than zero back as it is; e + o = 0 does the same to c. An
//! accumulator that is zero stays zero, of one sign or the other: flushing can make -0, which a zero product may turn into
//! +0. But two accumulators that differ in the sign of a zero alone never differ in more: added to a value other than zero,
//! both zeros give that value, and added to zero they give zero. So what is skipped can change the sign of a zero output and
//! nothing else, and outputs are hashed with -0 as +0.
//!
//! Sources: the Intel 64 and IA-32 Architectures Software Developer's Manual (volume 2, TDPBF16PS and VDPBF16PS: order,
//! rounding, DAZ and FTZ); measurements on processors (`CONFIRMED`), which also show when a result is tiny.

use serde::{Deserialize, Serialize};
use std::fmt;

use super::bounded;

/// An instruction that sums products of bf16 pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Instruction {
    /// TDPBF16PS, of AMX tiles.
    Amx,
    /// VDPBF16PS, of 512-bit and shorter vectors.
    Avx512,
}

/// k of a block of amx-bf16: those of one row of a tile.
pub const BLOCK: usize = 32;

/// Instructions that were seen to follow their rule, and the record that shows it. A record that is not there, or does
/// not replay, fails the tests.
pub const CONFIRMED: &[(Instruction, &str)] = &[
    (Instruction::Amx, "tests/records/cpu/amx-bf16-vectors.json"),
    (Instruction::Avx512, "tests/records/cpu/avx512-bf16-vectors.json"),
];

impl Instruction {
    /// All.
    pub const ALL: [Instruction; 2] = [Instruction::Amx, Instruction::Avx512];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Instruction::Amx => "amx-bf16",
            Instruction::Avx512 => "avx512-bf16",
        }
    }

    /// `confirmed (<record>)` or `unconfirmed`, as records and expected files say it.
    pub fn status(self) -> String {
        match CONFIRMED.iter().find(|(instruction, _)| *instruction == self) {
            Some((_, record)) => format!("confirmed ({record})"),
            None => "unconfirmed".to_owned(),
        }
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A subnormal as the zero of its sign.
pub fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x }
}

/// a v + c with one rounding, operands and result flushed. `a` and `v` are bf16.
pub fn fma(a: f32, v: f32, c: f32) -> f32 {
    let (a, v, c) = (flush(a), flush(v), flush(c));
    let y = a.mul_add(v, c);
    if y.abs() == f32::MIN_POSITIVE && is_below_the_tie(a, v, c, y) {
        return 0f32.copysign(y);
    }
    flush(y)
}

/// Whether the exact a v + c, of which `y` = 2^-126 or -2^-126 is the nearest binary32, is below 2^-126 - 2^-151 in
/// magnitude.
///
/// Nothing here rounds. The product of two bf16 has 16 bits. As the sum is about 2^-126, and a multiple of the last bit of
/// the product or of c, c is below 2^-100: c and the tie together span less than 53 bits.
fn is_below_the_tie(a: f32, v: f32, c: f32, y: f32) -> bool {
    let sign = f64::from(1f32.copysign(y));
    let tie = 2f64.powi(-126) - 2f64.powi(-151);
    sign * f64::from(a) * f64::from(v) < tie - sign * f64::from(c)
}

/// x + y, operands and result flushed. A sum that is tiny is exact, as sums of binary32 are multiples of 2^-149.
pub fn add(x: f32, y: f32) -> f32 {
    flush(flush(x) + flush(y))
}

/// One output element, before -0 becomes +0. `a` and `v` hold bf16 values, as many of each.
pub fn dot(instruction: Instruction, a: &[f32], v: &[f32]) -> f32 {
    match instruction {
        Instruction::Avx512 => pairs(a, v).into_iter().fold(0.0, |c, [even, odd]| {
            let c = fma(odd.0, odd.1, c);
            fma(even.0, even.1, c)
        }),
        Instruction::Amx => amx_by_blocks(a, v, BLOCK),
    }
}

/// amx-bf16's rule for blocks of `block` k, an even number: of [`BLOCK`] it is the instruction's, of any other one that data
/// must refute.
pub fn amx_by_blocks(a: &[f32], v: &[f32], block: usize) -> f32 {
    a.chunks(block).zip(v.chunks(block)).fold(0.0, |c, (a, v)| {
        let (mut e, mut o) = (0.0, 0.0);
        for [even, odd] in pairs(a, v) {
            e = fma(even.0, even.1, e);
            o = fma(odd.0, odd.1, o);
        }
        add(c, add(e, o))
    })
}

/// Pairs of k: operands of the even one, and of the odd one.
fn pairs(a: &[f32], v: &[f32]) -> Vec<[(f32, f32); 2]> {
    let at = |x: &[f32], k: usize| x.get(k).copied().unwrap_or(0.0);
    let of_pair = |k| [(at(a, k), at(v, k)), (at(a, k + 1), at(v, k + 1))];
    (0..a.len()).step_by(2).map(of_pair).collect()
}

/// Largest |y - A V| of an element, by n = q roundings of avx512-bf16 for a row with q non-zeros, and two more of amx-bf16
/// for each block that holds one, q at most:
///
/// gamma(n + 1) sum |a||v| + 2 (n + 1) 2^-126 + sum of |a||v| where a or v is subnormal.
///
/// A rounding errs by 2^-24 of its result, or by less than 2^-126 where that is flushed; the 2 is for what later roundings
/// make of such an error, the 1 for the binary64 reference's own. Infinite where gamma is void.
pub fn bound(instruction: Instruction, a: &[f32], v: &[f32]) -> f64 {
    let non_zeros = a.iter().filter(|x| **x != 0.0).count();
    let sums = match instruction {
        Instruction::Amx => 2 * a.len().div_ceil(BLOCK).min(non_zeros),
        Instruction::Avx512 => 0,
    };
    let steps = (non_zeros + sums + 1) as f64;
    let nu = steps * 2f64.powi(-24);
    if nu >= 0.5 {
        return f64::INFINITY;
    }
    let lost = a.iter().zip(v).filter(|(a, v)| flush(**a) == 0.0 || flush(**v) == 0.0);
    let lost: f64 = lost.map(|(a, v)| (f64::from(*a) * f64::from(*v)).abs()).sum();
    nu / (1.0 - nu) * bounded::magnitude(a, v) + 2.0 * steps * f64::from(f32::MIN_POSITIVE) + lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arithmetic::{Slices, chain};

    const TINY: f32 = f32::MIN_POSITIVE;

    fn exp2(exponent: i32) -> f32 {
        2f32.powi(exponent)
    }

    #[test]
    fn a_result_is_tiny_by_what_24_bits_would_hold() {
        // 2^-126 less so many 2^-151.
        let less = |count: f32| fma(-count * exp2(-75), exp2(-76), TINY);
        assert_eq!(less(1.0), TINY, "the tie");
        assert_eq!(less(1.0078125), 0.0, "2^-126 is the nearest of the subnormals too");
        assert_eq!(less(2.0), 0.0);
        assert_eq!(
            (-less(1.0078125)).to_bits(),
            fma(1.0078125 * exp2(-75), exp2(-76), -TINY).to_bits()
        );
        assert_eq!(less(-1.0), TINY);
        // The same by cancellation of larger ones.
        let (a, v) = (1.0078125 * exp2(-60), -exp2(-60));
        assert_eq!(fma(a, v, 1.0078125 * exp2(-120) + TINY), TINY);
    }

    #[test]
    fn operands_and_results_are_flushed() {
        let subnormal = exp2(-130);
        assert_eq!(fma(subnormal, exp2(100), 1.0), 1.0);
        assert_eq!(fma(exp2(100), subnormal, 1.0), 1.0);
        assert_eq!(fma(0.0, 1.0, subnormal).to_bits(), 0);
        assert_eq!(fma(-exp2(-70), exp2(-70), 0.0).to_bits(), 1 << 31);
        assert_eq!(add(TINY, -1.5 * TINY).to_bits(), 1 << 31);
    }

    /// VERIFY.md section 4 has the same table.
    #[test]
    fn the_published_vectors_are_the_rules() {
        let ones = [0x3f80; 4];
        let rows: [(&[u32], &[u32], [u32; 3]); 7] = [
            (&[0x3380, 0x3f80, 0x3380, 0], &ones, [0x3f80_0000, 0x3f80_0001, 0x3f80_0000]),
            (&[0x3f80, 0x3380, 0x3380, 0], &ones, [0x3f80_0000, 0x3f80_0000, 0x3f80_0000]),
            (&[0x3380, 0x3380, 0x3f80, 0], &ones, [0x3f80_0001, 0x3f80_0000, 0x3f80_0001]),
            (&[0x2000, 0, 0x9a00], &[0x2000, 0, 0x1980], [0x80_0000; 3]),
            (&[0x2000, 0, 0x9a00], &[0x2000, 0, 0x1981], [0, 0, 0x80_0000]),
            (&[0x40], &[0x7f00], [0, 0, 0x3f80_0000]),
            (&[0x1f80], &[0x1f80], [0, 0, 0x20_0000]),
        ];
        for (a, v, want) in rows {
            let values = |x: &[u32]| x.iter().map(|x| f32::from_bits(x << 16)).collect::<Vec<_>>();
            let (a, v) = (values(a), values(v));
            let got = [
                dot(Instruction::Avx512, &a, &v),
                dot(Instruction::Amx, &a, &v),
                chain::dot(Slices::One, &a, &v),
            ];
            assert_eq!(got.map(|y| (y + 0.0).to_bits()), want, "{a:?} {v:?}");
        }
    }

    /// Zeros left out of their pairs change no bit but a zero's sign, and every result lies within the bound.
    #[test]
    fn blocks_and_bounds() {
        let mut word = 1u64;
        let mut next = |below: u64| {
            word = word.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (word >> 33) % below
        };
        for spread in [6, 140, 254] {
            for _ in 0..300 {
                let k = 1 + next(100) as usize;
                let mut line = |zeros: u64| -> Vec<f32> {
                    let value = |_| {
                        let exponent = 127 + next(spread) as u32 - spread as u32 / 2;
                        let bits =
                            next(2) << 31 | u64::from(exponent.min(254)) << 23 | next(128) << 16;
                        if next(8) < zeros { 0.0 } else { f32::from_bits(bits as u32) }
                    };
                    (0..k).map(value).collect()
                };
                let (a, v) = (line(5), line(1));
                for instruction in Instruction::ALL {
                    let y = dot(instruction, &a, &v);
                    if !y.is_finite() {
                        continue;
                    }
                    let error = (f64::from(y) - bounded::reference(&a, &v)).abs();
                    assert!(error <= bound(instruction, &a, &v), "{instruction} {a:?} {v:?} {y:e}");
                    // Blocks without a non-zero fall out.
                    if instruction == Instruction::Amx {
                        let live: Vec<usize> = (0..k)
                            .step_by(BLOCK)
                            .filter(|&b| a[b..k.min(b + BLOCK)].iter().any(|&x| x != 0.0))
                            .flat_map(|b| b..b + BLOCK)
                            .collect();
                        let of = |x: &[f32]| -> Vec<f32> {
                            live.iter().map(|&k| x.get(k).copied().unwrap_or(0.0)).collect()
                        };
                        let packed = dot(instruction, &of(&a), &of(&v));
                        assert_eq!((packed + 0.0).to_bits(), (y + 0.0).to_bits());
                    }
                }
            }
        }
    }

    #[test]
    fn each_clause_changes_bits() {
        let ulp = f32::EPSILON;
        let dots = |a: &[f32], v: &[f32]| Instruction::ALL.map(|i| dot(i, a, v));
        // The odd product first: 1, which half an ulp does not move; the other way round it stays in front.
        let half = ulp / 2.0;
        assert_eq!(dots(&[half, 1.0, half, 0.0], &[1.0; 4]), [1.0 + ulp, 1.0]);
        // Blocks of 32: the second half ulp is in another block than the first.
        let mut a = [0.0; 64];
        (a[0], a[30], a[32]) = (1.0, half, half);
        assert_eq!(dots(&a, &[1.0; 64]), [1.0, 1.0]);
        (a[0], a[30], a[31], a[32], a[33]) = (0.0, 0.0, 1.0, half, half);
        assert_eq!(dots(&a, &[1.0; 64]), [1.0 + ulp, 1.0]);
    }
}
