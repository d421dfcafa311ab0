//! Any finite operands whatever, in integers: the rule as written, 16 columns at a time.

use super::{Isa, LANES, PANEL, Panel, TILE_ROWS, Tile, Values};
use crate::backend::cpu::per_isa;
use contract::arithmetic::tensor_core::{Model, NO_FLOOR, group_step, truncate};

/// Fraction bits of an exact product of two significands.
const PRODUCT_FRACTION_BITS: i32 = 46;

/// All groups of one tile, in columns `16 c..` of the panel; the sums are written, not read.
pub(super) fn run(
    isa: Isa,
    model: Model,
    tile: Tile,
    panel: Panel,
    c: usize,
    sums: &mut [Values; TILE_ROWS],
) {
    let finite = panel.finite && tile.values.iter().all(|x| x.is_finite());
    for (row, sums) in sums.iter_mut().enumerate().take(tile.rows) {
        let sums: &mut [f32; LANES] =
            (&mut sums.0[c * LANES..][..LANES]).try_into().expect("a slice of that length");
        *sums = if !finite {
            one_by_one(model, tile, row, panel, c)
        } else {
            lanes(isa, model, tile, row, panel, c)
        };
    }
}

/// Significand with 23 fraction bits, and exponent; zero keeps a zero significand.
#[inline(always)]
fn split(bits: u32, exponent_min: i32) -> (u32, i32) {
    let field = (bits >> 23 & 0xff) as i32;
    let significand = bits & 0x7f_ffff | u32::from(field != 0) << 23;
    let exponent = field.max(1) - 127;
    let below = (exponent_min - exponent).clamp(0, 31);
    (significand >> below, exponent.max(exponent_min))
}

per_isa! {
    /// One row times 16 columns.
    fn lanes(model: Model, tile: Tile, row: usize, panel: Panel, c: usize) -> [f32; LANES] {
        let exponent_min = model.format.exponent_min();
        let bits_of = |k: usize| -> [u32; LANES] {
            std::array::from_fn(|lane| panel.values[k].0[c * LANES + lane].to_bits())
        };
        let mut sums = [0f32; LANES];
        for i in 0..tile.groups.len() {
            let mut own = [(0u32, 0i32); LANES];
            // What zeros lend is below every exponent.
            let mut top = [model.exponent_floor; LANES];
            for lane in 0..LANES {
                own[lane] = split(sums[lane].to_bits(), -126);
                if own[lane].0 != 0 {
                    top[lane] = top[lane].max(own[lane].1);
                }
            }
            for entry in tile.range(i, model.group) {
                let (a, a_exponent) =
                    split(tile.values[entry * tile.rows + row].to_bits(), exponent_min);
                if a == 0 {
                    continue;
                }
                let v = bits_of(tile.k(i, entry, model.group));
                for lane in 0..LANES {
                    let (v, v_exponent) = split(v[lane], exponent_min);
                    let exponent = if v == 0 { NO_FLOOR } else { a_exponent + v_exponent };
                    top[lane] = top[lane].max(exponent);
                }
            }

            let shift = |top: i32, exponent: i32| {
                (PRODUCT_FRACTION_BITS - model.fraction_bits + top - exponent).clamp(0, 63) as u32
            };
            let mut total = [0i64; LANES];
            for lane in 0..LANES {
                let (significand, exponent) = own[lane];
                let term = ((u64::from(significand) << 23) >> shift(top[lane], exponent)) as i64;
                total[lane] = if sums[lane] < 0.0 { -term } else { term };
            }
            for entry in tile.range(i, model.group) {
                let a_bits = tile.values[entry * tile.rows + row].to_bits();
                let (a, a_exponent) = split(a_bits, exponent_min);
                if a == 0 {
                    continue;
                }
                let v = bits_of(tile.k(i, entry, model.group));
                for lane in 0..LANES {
                    let sign = i64::from((a_bits ^ v[lane]) as i32 >> 31);
                    let (v, v_exponent) = split(v[lane], exponent_min);
                    let shift = shift(top[lane], a_exponent + v_exponent);
                    let term = ((u64::from(a) * u64::from(v)) >> shift) as i64;
                    total[lane] += (term ^ sign) - sign;
                }
            }
            for lane in 0..LANES {
                // An infinite accumulator stays. Without a term the total is zero.
                if sums[lane].is_finite() {
                    sums[lane] = truncate(total[lane], top[lane] - model.fraction_bits);
                }
            }
        }
        sums
    }
}

/// Operands that rounding made infinite: the reference itself, element by element.
#[cold]
fn one_by_one(model: Model, tile: Tile, row: usize, panel: Panel, c: usize) -> [f32; LANES] {
    debug_assert!(c < PANEL / LANES);
    std::array::from_fn(|lane| {
        (0..tile.groups.len()).fold(0.0, |sum, i| {
            let entries = tile.range(i, model.group);
            let a: Vec<f32> =
                entries.clone().map(|entry| tile.values[entry * tile.rows + row]).collect();
            let v: Vec<f32> = entries
                .map(|entry| panel.values[tile.k(i, entry, model.group)].0[c * LANES + lane])
                .collect();
            group_step(model, sum, &a, &v)
        })
    })
}
