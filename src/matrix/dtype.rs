//! Element types and their bytes.

use std::fmt;

use half::{bf16, f16};

/// An element type of A, V or Y.
///
/// In memory every element is the binary32 of the same value (each bf16 and f16 is one), so
/// that one set of kernels serves all; the dtype says which values may occur and how they
/// are laid out as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    F32,
    Bf16,
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

    /// Appends the little-endian bytes of `values`, which must be values of this dtype.
    pub fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Dtype::F32 => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
            Dtype::Bf16 => {
                bytes.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()));
            }
            Dtype::F16 => {
                bytes.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
            }
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
