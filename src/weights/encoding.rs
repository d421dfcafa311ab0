//! How a checkpoint's bytes stand for numbers: the dtypes of matrices, and quantised ones with their scales.

use contract::dtype::Dtype;

/// Encoding of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// An element of a dtype.
    Plain(Dtype),
    /// One byte: four bits of exponent with bias 7, three of mantissa; no infinities.
    F8E4m3,
    /// One byte: five bits of exponent with bias 15, two of mantissa.
    F8E5m2,
    /// Half a byte, the lower half first: two bits of exponent with bias 1, one of mantissa; neither infinities nor NaN.
    F4E2m1,
}

/// Columns that share a scale in MXFP4.
pub(super) const MX_BLOCK: usize = 32;
/// Rows and columns that share a scale where a matrix has one a block.
pub(super) const F8_BLOCK: usize = 128;

impl Encoding {
    /// Bits of an element.
    pub fn bits(self) -> usize {
        match self {
            Encoding::Plain(dtype) => 8 * dtype.size(),
            Encoding::F8E4m3 | Encoding::F8E5m2 => 8,
            Encoding::F4E2m1 => 4,
        }
    }

    /// Values of elements, exactly. Of half bytes the first one is the lower half of `bytes[0]`, or the upper one
    /// where `odd`.
    pub fn decode(self, bytes: &[u8], odd: bool, values: &mut [f32]) {
        match self {
            Encoding::Plain(dtype) => super::widen(dtype, bytes, values),
            Encoding::F8E4m3 | Encoding::F8E5m2 => {
                let table = self.table();
                for (value, byte) in values.iter_mut().zip(bytes) {
                    *value = table[usize::from(*byte)];
                }
            }
            Encoding::F4E2m1 => {
                let table = self.table();
                let halves = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
                for (value, half) in values.iter_mut().zip(halves.skip(usize::from(odd))) {
                    *value = table[usize::from(half)];
                }
            }
        }
    }

    /// Value of each code of a byte, or of half of one.
    fn table(self) -> [f32; 256] {
        std::array::from_fn(|code| small(self, code as u32))
    }
}

/// Value of a code of at most eight bits.
fn small(encoding: Encoding, code: u32) -> f32 {
    let (exponent_bits, mantissa_bits, bias) = match encoding {
        Encoding::F8E4m3 => (4, 3, 7),
        Encoding::F8E5m2 => (5, 2, 15),
        Encoding::F4E2m1 => (2, 1, 1),
        Encoding::Plain(_) => unreachable!("elements of a dtype have no table"),
    };
    let mantissa = code & ((1 << mantissa_bits) - 1);
    let exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1);
    let is_negative = code >> (mantissa_bits + exponent_bits) & 1 == 1;
    let magnitude = match (encoding, exponent, mantissa) {
        (Encoding::F8E4m3, 15, 7) => f32::NAN,
        (Encoding::F8E5m2, 31, 0) => f32::INFINITY,
        (Encoding::F8E5m2, 31, _) => f32::NAN,
        // A subnormal has the exponent of the smallest normal number, and no leading one.
        (_, 0, _) => mantissa as f32 * 2f32.powi(1 - bias - mantissa_bits),
        _ => {
            let significand = mantissa + (1 << mantissa_bits);
            significand as f32 * 2f32.powi(exponent as i32 - bias - mantissa_bits)
        }
    };
    if is_negative { -magnitude } else { magnitude }
}

/// Value of a scale of MXFP4: a power of two with bias 127, or NaN.
pub(super) fn power(code: u8) -> f32 {
    match code {
        // 2^-127 is subnormal.
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        code => f32::from_bits(u32::from(code) << 23),
    }
}
