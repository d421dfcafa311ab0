//! Whether a case's data show which arithmetic ran: a tensor-core case may be pinned only if
//! every rival rule gives another output (VERIFY.md section 7).

use ndarray::{Array2, Axis};

use crate::arithmetic::{Arithmetic, Slices, TensorCoreModel};
use crate::case::Case;
use crate::inputs::Weights;

/// Rows looked at before it is concluded that a rival gives the same output.
const ROWS_TRIED: usize = 512;

/// `Err` names the rival that the data cannot tell from `model`.
pub fn distinguishes(
    model: TensorCoreModel,
    case: &Case,
    weights: &Weights,
    v: &Array2<f32>,
) -> Result<(), String> {
    let with = |group, fraction_bits| {
        Arithmetic::TensorCore(TensorCoreModel { group, fraction_bits, ..model })
    };
    let mut rivals = vec![
        ("f32-chain", Arithmetic::F32Chain(Slices::One)),
        ("L halved", with(model.group / 2, model.fraction_bits)),
        ("F + 1", with(model.group, model.fraction_bits + 1)),
        ("F - 1", with(model.group, model.fraction_bits - 1)),
    ];
    // The rivals see what the tensor core sees; else rounding to tf32 alone would tell them apart.
    let round = |x: &f32| model.format.round_operand(*x);
    let columns: Vec<Vec<f32>> =
        v.axis_iter(Axis(1)).map(|column| column.iter().map(round).collect()).collect();
    let mut tried = 0;
    for i in 0..case.m {
        if rivals.is_empty() || tried == ROWS_TRIED {
            break;
        }
        let row = weights.rows(i..i + 1).map_err(|error| error.to_string())?;
        let row: Vec<f32> = row.iter().map(round).collect();
        if row.iter().all(|&x| x == 0.0) {
            continue;
        }
        tried += 1;
        for column in &columns {
            let of = |arithmetic: Arithmetic| case.output.round(arithmetic.dot(&row, column)) + 0.0;
            let own = of(Arithmetic::TensorCore(model)).to_bits();
            rivals.retain(|&(_, rival)| of(rival).to_bits() == own);
            if rivals.is_empty() {
                break;
            }
        }
    }
    match rivals.first() {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "the data do not show which arithmetic ran: {name} gives the same output\nhint: larger \
             k, values with spread exponents, or an f32 output"
        )),
    }
}
