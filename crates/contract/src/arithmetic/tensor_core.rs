//! tensor-core: how NVIDIA tensor cores accumulate, as a rule that integers can follow.
//!
//! Per aligned group of `group` products in ascending k: the products (exact, exponents added
//! and not renormalised) and the accumulator are aligned to the largest exponent E among them,
//! each magnitude is truncated to a multiple of 2^(E - fraction_bits), the sum is exact, and it
//! is truncated to 24 significant bits to become the next accumulator. Zero products take no
//! part; subnormals are kept. On Hopper E is at least -133.
//!
//! Sources of the rule and its parameters: B. Hickmann and D. Bradford, "Experimental analysis
//! of matrix multiplication functional units" (ARITH 2019); M. Fasi, N. Higham, M. Mikaitis and
//! S. Pranesh, "Numerical behavior of NVIDIA tensor cores" (PeerJ CS 2021); the MMA-Sim and
//! MATLAB-tensor-core projects; measurements on an H200.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::dtype::Dtype;

/// An NVIDIA architecture, as far as its tensor cores' accumulation differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// Compute capability 7.0.
    Volta,
    /// Compute capability 7.5.
    Turing,
    /// Compute capability 8.0 to 8.7.
    Ampere,
    /// Compute capability 8.9.
    Ada,
    /// Compute capability 9.0.
    Hopper,
    /// Compute capability 10.0 and newer.
    Blackwell,
}

/// Architectures whose tensor cores were seen to follow their published models in every format, over chained
/// groups, and the record that shows it. A record that is not there, or does not replay, fails the tests.
pub const CONFIRMED: &[(Architecture, &str)] =
    &[(Architecture::Hopper, "tests/records/h200/tensor-core-vectors.json")];

/// The format that operands are rounded to before they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Binary32 operands, rounded to 11 significant bits, ties to even.
    Tf32,
}

/// One architecture's rule for one operand format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Model {
    /// The architecture whose tensor cores follow it.
    pub architecture: Architecture,
    /// The format of the operands.
    pub format: Format,
    /// L: products summed at once, aligned in the original k.
    pub group: usize,
    /// F: fraction bits kept below the largest exponent.
    pub fraction_bits: i32,
    /// The least exponent that terms are aligned to, however small all of them are.
    pub exponent_floor: i32,
}

/// Below every exponent: an architecture of which no floor is known.
pub const NO_FLOOR: i32 = -0x1000;

impl Architecture {
    /// All, oldest first.
    pub const ALL: [Architecture; 6] = [
        Architecture::Volta,
        Architecture::Turing,
        Architecture::Ampere,
        Architecture::Ada,
        Architecture::Hopper,
        Architecture::Blackwell,
    ];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Volta => "volta",
            Architecture::Turing => "turing",
            Architecture::Ampere => "ampere",
            Architecture::Ada => "ada",
            Architecture::Hopper => "hopper",
            Architecture::Blackwell => "blackwell",
        }
    }
}

impl Architecture {
    /// The architecture of a device of this compute capability, one newer than all of these taken for the newest;
    /// `None` if it has no tensor cores.
    pub fn of((major, minor): (i32, i32)) -> Option<Architecture> {
        Some(match (major, minor) {
            (..7, _) => return None,
            (7, ..5) => Architecture::Volta,
            (7, _) => Architecture::Turing,
            (8, 9) => Architecture::Ada,
            (8, _) => Architecture::Ampere,
            (9, _) => Architecture::Hopper,
            (10.., _) => Architecture::Blackwell,
        })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Format {
    /// All.
    pub const ALL: [Format; 3] = [Format::F16, Format::Bf16, Format::Tf32];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
            Format::Tf32 => "tf32",
        }
    }

    /// The dtype whose values are fed to it.
    pub fn dtype(self) -> Dtype {
        match self {
            Format::F16 => Dtype::F16,
            Format::Bf16 => Dtype::Bf16,
            Format::Tf32 => Dtype::F32,
        }
    }

    /// The format that serves operands of `dtype`.
    pub fn of(dtype: Dtype) -> Format {
        match dtype {
            Dtype::F16 => Format::F16,
            Dtype::Bf16 => Format::Bf16,
            Dtype::F32 => Format::Tf32,
        }
    }

    /// Exponent of the smallest normal number; subnormals are not normalised below it.
    pub fn exponent_min(self) -> i32 {
        match self {
            Format::F16 => -14,
            Format::Bf16 | Format::Tf32 => -126,
        }
    }

    /// The operand as the multiplier sees it.
    pub fn round_operand(self, x: f32) -> f32 {
        match self {
            Format::F16 | Format::Bf16 => x,
            Format::Tf32 => {
                let bits = x.to_bits();
                // Half of the lowest kept bit, less one unless that bit is odd: ties to even.
                let rounded = bits.wrapping_add(0x0fff + (bits >> 13 & 1)) & !0x1fff;
                f32::from_bits(rounded)
            }
        }
    }
}

impl Model {
    /// The published parameters of an architecture; `None` where it has no such tensor core.
    pub fn of(architecture: Architecture, format: Format) -> Option<Model> {
        use Architecture::*;
        let fraction_bits = match architecture {
            Volta => 23,
            Turing | Ampere | Ada => 24,
            Hopper | Blackwell => 25,
        };
        let group = match (format, architecture) {
            (Format::F16, Volta) => 4,
            (Format::F16, Turing) => 8,
            (Format::Bf16 | Format::Tf32, Volta | Turing) => return None,
            (Format::F16 | Format::Bf16, Ampere | Ada) => 8,
            (Format::F16 | Format::Bf16, Hopper | Blackwell) => 16,
            (Format::Tf32, Ampere | Ada) => 4,
            (Format::Tf32, Hopper | Blackwell) => 8,
        };
        // Measured on an H200, where all products of a group and the accumulator are that small.
        let exponent_floor = if architecture == Hopper { -133 } else { NO_FLOOR };
        Some(Model { architecture, format, group, fraction_bits, exponent_floor })
    }

    /// `confirmed (<record>)` or `unconfirmed`, as records and expected files say it. Only a published model can
    /// be confirmed.
    pub fn status(self) -> String {
        let published = Model::of(self.architecture, self.format) == Some(self);
        match CONFIRMED.iter().find(|(architecture, _)| *architecture == self.architecture) {
            Some((_, record)) if published => format!("confirmed ({record})"),
            _ => "unconfirmed".to_owned(),
        }
    }
}

/// A finite number as `significand * 2^(exponent - 23)` with `exponent >= exponent_min`.
/// The significand's bit 23 is set unless the value is subnormal in the format (or zero).
fn split(x: f32, exponent_min: i32) -> (i64, i32) {
    let bits = x.to_bits();
    let field = (bits >> 23 & 0xff) as i32;
    let mut significand = i64::from(bits & 0x7f_ffff) | if field > 0 { 1 << 23 } else { 0 };
    let mut exponent = field.max(1) - 127;
    if exponent < exponent_min {
        // Exact: the format has no bits below its own smallest subnormal, and a zero is further down.
        significand >>= (exponent_min - exponent).min(63);
        exponent = exponent_min;
    }
    (if x.is_sign_negative() { -significand } else { significand }, exponent)
}

/// Fraction bits of an exact product of two significands.
const PRODUCT_FRACTION_BITS: i32 = 46;

/// A term of exponent `exponent` in units of 2^(top - fraction_bits), truncated towards zero.
fn align(value: i64, exponent: i32, top: i32, fraction_bits: i32) -> i64 {
    let shift = (PRODUCT_FRACTION_BITS - fraction_bits + top - exponent).min(63);
    value.signum() * (value.abs() >> shift)
}

/// One group: the accumulator `c` and the products of `a` and `v`, which are operands already
/// rounded to the format. At most `model.group` of each.
///
/// An operand that rounding made infinite makes the result infinite, or NaN where such
/// products disagree in sign; a case with either is refused.
pub fn group_step(model: Model, c: f32, a: &[f32], v: &[f32]) -> f32 {
    step(model, c, a, v, false)
}

/// [`group_step`] by a rule that is published too, and is not the hardware's: a zero operand has the
/// least exponent of its format, and its product takes part in the search for the largest. Kept to show that data
/// can tell the two apart.
pub fn group_step_with_zero_exponents(model: Model, c: f32, a: &[f32], v: &[f32]) -> f32 {
    step(model, c, a, v, true)
}

fn step(model: Model, c: f32, a: &[f32], v: &[f32], zeros_have_exponents: bool) -> f32 {
    if !c.is_finite() {
        return c;
    }
    let exponent_min = model.format.exponent_min();
    // (value, exponent): the number is value * 2^(exponent - PRODUCT_FRACTION_BITS).
    let mut terms: Vec<(i64, i32)> = Vec::with_capacity(a.len() + 1);
    let mut overflow: Option<f32> = None;
    for (&a, &v) in a.iter().zip(v) {
        if (a == 0.0 || v == 0.0) && !zeros_have_exponents {
            continue;
        }
        if !a.is_finite() || !v.is_finite() {
            overflow = Some(overflow.unwrap_or(0.0) + a * v);
            continue;
        }
        let (a, a_exponent) = split(a, exponent_min);
        let (v, v_exponent) = split(v, exponent_min);
        terms.push((a * v, a_exponent + v_exponent));
    }
    if let Some(overflow) = overflow {
        return overflow;
    }
    if c != 0.0 {
        let (c, c_exponent) = split(c, -126);
        terms.push((c << 23, c_exponent));
    }

    let Some(top) = terms.iter().map(|&(_, exponent)| exponent).max() else {
        return 0.0;
    };
    let top = top.max(model.exponent_floor);
    let fraction_bits = model.fraction_bits;
    let sum =
        terms.iter().map(|&(value, exponent)| align(value, exponent, top, fraction_bits)).sum();
    truncate(sum, top - fraction_bits)
}

/// `value * 2^exponent`, truncated towards zero to a binary32; infinity on overflow.
pub fn truncate(value: i64, exponent: i32) -> f32 {
    if value == 0 {
        return 0.0;
    }
    let magnitude = value.unsigned_abs();
    let lead = 63 - magnitude.leading_zeros() as i32;
    let top = exponent + lead;
    let bits = if top > 127 {
        0x7f80_0000
    } else if top < -126 {
        let shift = exponent + 149;
        if shift >= 0 {
            (magnitude << shift) as u32
        } else {
            (magnitude >> (-shift).min(63)) as u32
        }
    } else {
        let significand =
            if lead > 23 { magnitude >> (lead - 23) } else { magnitude << (23 - lead) };
        ((top + 127) as u32) << 23 | (significand as u32 & 0x7f_ffff)
    };
    f32::from_bits(bits | if value < 0 { 1 << 31 } else { 0 })
}

/// One output element: groups of `model.group` consecutive k, chained.
pub fn dot(model: Model, a: &[f32], v: &[f32]) -> f32 {
    let round = |x: &[f32]| x.iter().map(|&x| model.format.round_operand(x)).collect::<Vec<_>>();
    a.chunks(model.group)
        .zip(v.chunks(model.group))
        .fold(0.0, |c, (a, v)| group_step(model, c, &round(a), &round(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hopper_aligns_tiny_products_to_its_floor() {
        // 2^-149 - 2^-157, and 2^-158 once whole and once in halves: 2^-149 together.
        let scale = 2f32.powi(-75);
        let v = [1.0, 2f32.powi(-8), 2f32.powi(-9), 2f32.powi(-9)].map(|x| x * scale);
        let a = [1.9921875, 1.0, 1.0, 1.0].map(|x| x * scale);
        let dot_on = |architecture| {
            let model = Model::of(architecture, Format::Bf16).expect("it has such tensor cores");
            dot(model, &a, &v)
        };
        assert_eq!(dot_on(Architecture::Ampere), f32::from_bits(1));
        // The halves lie below 2^(-133 - 25).
        assert_eq!(dot_on(Architecture::Hopper), 0.0);
    }
}
