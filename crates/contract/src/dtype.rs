//! Element types and their bytes.

use std::fmt;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// An element type of A, V or Y.
///
/// In memory every element is the binary32 of the same value (each bf16 and f16 is one), so
/// that one set of kernels serves all; the dtype says which values may occur and how they
/// are laid out as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE binary32.
    F32,
    /// bfloat16: binary32 without its lower 16 bits.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl Dtype {
    /// The name in manifests, case ids and domain strings.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
            Dtype::F16 => "f16",
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::Bf16 | Dtype::F16 => 2,
        }
    }

    /// The nearest value of this dtype, ties to even; gradual underflow, overflow to infinity.
    pub fn round(self, x: f32) -> f32 {
        match self {
            Dtype::F32 => x,
            Dtype::Bf16 => bf16::from_f32(x).to_f32(),
            Dtype::F16 => f16::from_f32(x).to_f32(),
        }
    }

    /// Rounds every value; see [`Dtype::round`]. The values must be finite.
    pub fn round_all(self, values: &mut [f32]) {
        match self {
            Dtype::F32 => {}
            // Half of the lowest kept bit, less one unless that bit is odd: ties to even. Without
            // a case for NaN the loop is vectorised.
            Dtype::Bf16 => values.iter_mut().for_each(|x| {
                let bits = x.to_bits();
                let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
                *x = f32::from_bits(rounded);
            }),
            Dtype::F16 => {
                let mut halves = [f16::ZERO; 256];
                for values in values.chunks_mut(halves.len()) {
                    let halves = &mut halves[..values.len()];
                    halves.convert_from_f32_slice(values);
                    halves.convert_to_f32_slice(values);
                }
            }
        }
    }

    /// Appends the little-endian bytes of `values`, which must be values of this dtype.
    pub fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.resize(start + self.size() * values.len(), 0);
        self.encode_into(values, &mut bytes[start..]);
    }

    /// As [`Dtype::encode`], in place; `bytes` is as long as the values.
    pub fn encode_into(self, values: &[f32], bytes: &mut [u8]) {
        match self {
            Dtype::F32 => {
                for (word, x) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                    *word = x.to_le_bytes();
                }
            }
            // The value is a bf16 already: its upper half is its encoding.
            Dtype::Bf16 => {
                for (pair, x) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                    *pair = ((x.to_bits() >> 16) as u16).to_le_bytes();
                }
            }
            Dtype::F16 => {
                let mut halves = [f16::ZERO; 256];
                let pieces = bytes.chunks_mut(2 * halves.len());
                for (bytes, values) in pieces.zip(values.chunks(halves.len())) {
                    let halves = &mut halves[..values.len()];
                    halves.convert_from_f32_slice(values);
                    for (pair, half) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
                        *pair = half.to_le_bytes();
                    }
                }
            }
        }
    }

    /// The value of an encoding, which is the lower half of `bits` where an element has two bytes.
    pub fn of_bits(self, bits: u32) -> f32 {
        match self {
            Dtype::F32 => f32::from_bits(bits),
            Dtype::Bf16 => f32::from_bits(bits << 16),
            Dtype::F16 => f16::from_bits(bits as u16).to_f32(),
        }
    }

    /// The encoding of a NaN.
    pub fn nan_bits(self) -> u32 {
        match self {
            Dtype::F32 => f32::NAN.to_bits(),
            Dtype::Bf16 => u32::from(bf16::NAN.to_bits()),
            Dtype::F16 => u32::from(f16::NAN.to_bits()),
        }
    }

    /// The value whose magnitude lies `steps` encodings above that of `x`, sign kept; `None`
    /// if that is not finite. `x` must be a finite value of this dtype.
    pub fn step_away_from_zero(self, x: f32, steps: u32) -> Option<f32> {
        let y = match self {
            Dtype::F32 => f32::from_bits(x.to_bits().checked_add(steps)?),
            Dtype::Bf16 => {
                bf16::from_bits(bf16::from_f32(x).to_bits().checked_add(steps.try_into().ok()?)?)
                    .to_f32()
            }
            Dtype::F16 => {
                f16::from_bits(f16::from_f32(x).to_bits().checked_add(steps.try_into().ok()?)?)
                    .to_f32()
            }
        };
        (y.is_finite() && y.is_sign_negative() == x.is_sign_negative()).then_some(y)
    }

    /// Stored bits of a significand, the leading one not counted.
    pub fn mantissa_bits(self) -> u32 {
        match self {
            Dtype::F32 => 23,
            Dtype::Bf16 => 7,
            Dtype::F16 => 10,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_round_and_encode_as_single_values_do() {
        // Every high half with low halves around ties, subnormals and both zeros included.
        let lows = [0, 1, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff];
        let all = (0..=0xffffu32).flat_map(|high| lows.map(|low| f32::from_bits(high << 16 | low)));
        let values: Vec<f32> = all.filter(|x| x.is_finite()).collect();
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            let mut rounded = values.clone();
            dtype.round_all(&mut rounded);
            for (x, got) in values.iter().zip(&rounded) {
                assert_eq!(got.to_bits(), dtype.round(*x).to_bits(), "{dtype} {x:e}");
            }
            let mut bytes = Vec::new();
            dtype.encode(&rounded, &mut bytes);
            let one = |x: &f32| match dtype {
                Dtype::F32 => x.to_le_bytes().to_vec(),
                Dtype::Bf16 => bf16::from_f32(*x).to_le_bytes().to_vec(),
                Dtype::F16 => f16::from_f32(*x).to_le_bytes().to_vec(),
            };
            assert_eq!(bytes, rounded.iter().flat_map(one).collect::<Vec<u8>>(), "{dtype}");
            for (x, bytes) in rounded.iter().zip(bytes.chunks(dtype.size())) {
                let bits = bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
                assert_eq!(dtype.of_bits(bits).to_bits(), x.to_bits(), "{dtype} {x:e}");
            }
            assert!(dtype.of_bits(dtype.nan_bits()).is_nan(), "{dtype}");
        }
    }
}
