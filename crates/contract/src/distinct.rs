//! Whether a case's data show which arithmetic ran: a tensor-core case may be pinned only if
//! every rival rule gives another output (VERIFY.md section 7).

use ndarray::{Array2, Axis};

use crate::arithmetic::bf16_dot::{self, BLOCK, Instruction};
use crate::arithmetic::{Arithmetic, Slices, TensorCoreModel};
use crate::case::Case;
use crate::inputs::Weights;

/// Rows looked at before it is concluded that a rival gives the same output.
const ROWS_TRIED: usize = 512;

/// The rule's result for a row of A and a column of V, before it is rounded to the output's dtype.
type Dot<'a> = Box<dyn Fn(&[f32], &[f32]) -> f32 + 'a>;

fn dot_of<'a>(arithmetic: Arithmetic) -> Dot<'a> {
    Box::new(move |a, v| arithmetic.dot(a, v))
}

/// `Err` names the rival that the data cannot tell from `model`.
pub fn distinguishes(
    model: TensorCoreModel,
    case: &Case,
    weights: &Weights,
    v: &Array2<f32>,
) -> Result<(), String> {
    let with = |group, fraction_bits| {
        dot_of(Arithmetic::TensorCore(TensorCoreModel { group, fraction_bits, ..model }))
    };
    let rivals = vec![
        ("f32-chain", dot_of(Arithmetic::F32Chain(Slices::One))),
        ("L halved", with(model.group / 2, model.fraction_bits)),
        ("F + 1", with(model.group, model.fraction_bits + 1)),
        ("F - 1", with(model.group, model.fraction_bits - 1)),
    ];
    // The rivals see what the tensor core sees; else rounding to tf32 alone would tell them apart.
    let round = |x: f32| model.format.round_operand(x);
    refutes(rivals, &round, case, weights, v)
}

/// The same for an instruction's rule. That subnormals are flushed need not show: no ordinary data can show it.
pub fn distinguishes_instruction(
    instruction: Instruction,
    case: &Case,
    weights: &Weights,
    v: &Array2<f32>,
) -> Result<(), String> {
    let other = |other| dot_of(Arithmetic::Bf16Dot(other));
    let mut rivals = vec![("f32-chain", dot_of(Arithmetic::F32Chain(Slices::One)))];
    match instruction {
        Instruction::Amx => {
            let halves = |a: &[f32], v: &[f32]| bf16_dot::amx_by_blocks(a, v, BLOCK / 2);
            rivals.push(("blocks of 16", Box::new(halves)));
            rivals.push(("avx512-bf16", other(Instruction::Avx512)));
        }
        Instruction::Avx512 => rivals.push(("amx-bf16", other(Instruction::Amx))),
    }
    refutes(rivals, &|x| x, case, weights, v)
}

/// `Err` names a rival that gives each output that the case's rule gives.
fn refutes(
    mut rivals: Vec<(&str, Dot<'_>)>,
    round: &dyn Fn(f32) -> f32,
    case: &Case,
    weights: &Weights,
    v: &Array2<f32>,
) -> Result<(), String> {
    let columns: Vec<Vec<f32>> =
        v.axis_iter(Axis(1)).map(|column| column.iter().map(|&x| round(x)).collect()).collect();
    let mut tried = 0;
    for i in 0..case.m {
        if rivals.is_empty() || tried == ROWS_TRIED {
            break;
        }
        let row = weights.rows(i..i + 1).map_err(|error| error.to_string())?;
        let row: Vec<f32> = row.iter().map(|&x| round(x)).collect();
        if row.iter().all(|&x| x == 0.0) {
            continue;
        }
        tried += 1;
        for column in &columns {
            let rounded = |y: f32| (case.output.round(y) + 0.0).to_bits();
            let own = rounded(case.arithmetic.dot(&row, column));
            rivals.retain(|(_, rival)| rounded(rival(&row, column)) == own);
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
