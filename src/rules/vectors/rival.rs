//! Rules beside the published one, which measured vectors must refute.

use contract::arithmetic::TensorCoreModel;
use contract::arithmetic::tensor_core::{Format, group_step, group_step_with_zero_exponents};

/// A change of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    FractionBitLess,
    FractionBitMore,
    HalfGroup,
    /// A zero operand has the least exponent of its format, and its product takes part in the search for the
    /// largest.
    ZeroExponents,
    /// binary32 operands are truncated to TF32. The same as the model for other formats, as is the next.
    OperandsTruncated,
    /// binary32 operands are rounded to the nearest TF32, ties away from zero.
    OperandsTiesAway,
}

impl Rival {
    pub const ALL: [Rival; 6] = [
        Rival::FractionBitLess,
        Rival::FractionBitMore,
        Rival::HalfGroup,
        Rival::ZeroExponents,
        Rival::OperandsTruncated,
        Rival::OperandsTiesAway,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Rival::FractionBitLess => "F-1",
            Rival::FractionBitMore => "F+1",
            Rival::HalfGroup => "L/2",
            Rival::ZeroExponents => "zero-exponents",
            Rival::OperandsTruncated => "operands-truncated",
            Rival::OperandsTiesAway => "operands-ties-away",
        }
    }
}

/// One output element by the model, or by a rival of it.
pub fn dot(model: TensorCoreModel, rival: Option<Rival>, a: &[f32], v: &[f32]) -> f32 {
    let mut changed = model;
    let mut step: fn(TensorCoreModel, f32, &[f32], &[f32]) -> f32 = group_step;
    match rival {
        Some(Rival::FractionBitLess) => changed.fraction_bits -= 1,
        Some(Rival::FractionBitMore) => changed.fraction_bits += 1,
        Some(Rival::HalfGroup) => changed.group /= 2,
        Some(Rival::ZeroExponents) => step = group_step_with_zero_exponents,
        None | Some(Rival::OperandsTruncated | Rival::OperandsTiesAway) => {}
    }
    let round = |x: &[f32]| x.iter().map(|&x| operand(model.format, rival, x)).collect::<Vec<_>>();
    a.chunks(changed.group)
        .zip(v.chunks(changed.group))
        .fold(0.0, |c, (a, v)| step(changed, c, &round(a), &round(v)))
}

fn operand(format: Format, rival: Option<Rival>, x: f32) -> f32 {
    match (format, rival) {
        (Format::Tf32, Some(Rival::OperandsTruncated)) => f32::from_bits(x.to_bits() & !0x1fff),
        (Format::Tf32, Some(Rival::OperandsTiesAway)) => {
            f32::from_bits(x.to_bits().wrapping_add(0x1000) & !0x1fff)
        }
        _ => format.round_operand(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::arithmetic::{Architecture, tensor_core};

    #[test]
    fn no_rival_is_the_models_own_rule() {
        let model = TensorCoreModel::of(Architecture::Hopper, Format::Tf32);
        let model = model.expect("Hopper has TF32");
        let a: Vec<f32> = (0..40).map(|i| ((i * 37 % 23) as f32 - 11.0) / 3.0).collect();
        let v: Vec<f32> = (0..40).map(|i| ((i * 53 % 29) as f32 - 14.0) / 7.0).collect();
        let own = tensor_core::dot(model, &a, &v).to_bits();
        assert_eq!(dot(model, None, &a, &v).to_bits(), own);
    }
}
