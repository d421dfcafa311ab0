//! Costs of the strategies that `auto` chooses from, and the choice.
//!
//! A CPU's are counted in products of the dense kernel. A device's are times in ns: each family of kernels estimates its
//! own where its tiles are laid out (`backend/cuda/{gemm_chain,spmm,tensor_core}/variants.rs`), since the estimate also
//! picks the tile; the one without tiles is here.

use ndarray::ArrayView2;

use super::Plan;
use crate::backend::cpu::{Isa, fixed_point_has_tiles, nonzero_bits, runs_itself};
use contract::arithmetic::Arithmetic;
use contract::arithmetic::bf16_dot::Instruction;
use contract::strategy::Strategy;

/// The strategy of least cost for A (m x k) on a CPU. Of equal costs the simpler strategy is taken.
pub fn cheapest(arithmetic: Arithmetic, isa: Isa, a: ArrayView2<'_, f32>) -> Plan {
    let has = Has {
        tiles: match arithmetic {
            Arithmetic::Bf16Dot(_) => isa == Isa::Avx512 && runs_itself(Instruction::Amx).is_ok(),
            _ => fixed_point_has_tiles(isa),
        },
        vdpbf16ps: isa == Isa::Avx512 && runs_itself(Instruction::Avx512).is_ok(),
    };
    let costs = costs(arithmetic, has, a);
    let mut best = costs[0];
    for cost in costs {
        if cost.1 < best.1 {
            best = cost;
        }
    }
    let list = costs.map(|(strategy, cost)| format!("{strategy} {cost:.3e}")).join(", ");
    Plan { strategy: best.0, reason: format!("least of the costs {list}") }
}

/// What a dispatch path has on this processor.
#[derive(Clone, Copy)]
struct Has {
    /// Integers are multiplied in tiles of AMX, single rows as without them.
    tiles: bool,
    /// Pairs of bf16 are multiplied by that instruction.
    vdpbf16ps: bool,
}

/// How many products the strategies would multiply.
struct Products {
    dense: f64,
    rows: f64,
    columns: f64,
    blocks: f64,
    /// Non-zeros, and live groups of k summed over rows.
    nnz: f64,
    row_groups: f64,
    live_rows: f64,
}

/// Counts by looking at A once. With tensor cores whole groups of `group` k are multiplied;
/// blocks are looked at in tiles of `tile_rows`.
fn count_products(a: ArrayView2<'_, f32>, group: usize, tile_rows: usize) -> Products {
    let (m, k) = a.dim();
    let words = k.div_ceil(64);
    let (mut row_bits, mut tile_bits, mut all_bits) =
        (vec![0u64; words], vec![0u64; words], vec![0u64; words]);
    let (mut live_rows, mut blocks, mut nnz, mut row_groups) = (0, 0, 0, 0);
    for start in (0..m).step_by(tile_rows) {
        tile_bits.fill(0);
        let mut live_in_tile = 0;
        for i in start..m.min(start + tile_rows) {
            let row = a.row(i);
            let count = match row.to_slice() {
                Some(row) => nonzero_bits(row, &mut row_bits),
                None => nonzero_bits(&row.to_vec(), &mut row_bits),
            };
            if count > 0 {
                live_in_tile += 1;
                nnz += count;
                row_groups += if group == 1 { count } else { groups_live(&row_bits, k, group) };
                tile_bits.iter_mut().zip(&row_bits).for_each(|(tile, row)| *tile |= row);
            }
        }
        live_rows += live_in_tile;
        blocks += live_in_tile * groups_live(&tile_bits, k, group);
        all_bits.iter_mut().zip(&tile_bits).for_each(|(all, tile)| *all |= tile);
    }
    let columns = groups_live(&all_bits, k, group);
    Products {
        dense: (m * k) as f64,
        rows: (live_rows * k) as f64,
        columns: (live_rows * columns * group) as f64,
        blocks: (blocks * group) as f64,
        nnz: nnz as f64,
        row_groups: row_groups as f64,
        live_rows: live_rows as f64,
    }
}

/// What each strategy costs, in products of the dense kernel. The factors were fitted to times
/// of the kernels at m = 14336, k = 4096, n = 128 on Zen 4: single rows reuse V less than tiles
/// do, and pay for each stretch of k that they walk.
/// The factors of single rows beside tiles of AMX were fitted on two cores of an Emerald Rapids (benches/results).
fn costs(arithmetic: Arithmetic, has: Has, a: ArrayView2<'_, f32>) -> [(Strategy, f64); 5] {
    let k = a.ncols() as f64;
    let (products, blocks, csr) = match arithmetic {
        Arithmetic::TensorCore(model) => {
            let products = count_products(a, model.group, 2);
            let csr = 0.72 * products.nnz + 5.2 * products.row_groups;
            let blocks = 1.05 * products.blocks;
            (products, blocks, csr)
        }
        Arithmetic::FixedPoint if has.tiles => {
            let products = count_products(a, 64, 16);
            // An element beside a zero is multiplied with it, and single rows are done as without tiles.
            let csr = 12.0 * products.nnz + 0.7 * products.live_rows * k;
            let blocks = 1.05 * products.blocks;
            (products, blocks, csr)
        }
        Arithmetic::Bf16Dot(Instruction::Amx) if has.tiles => {
            let products = count_products(a, 32, 16);
            // A pair is multiplied where one of its elements is not zero: of so many twice as many elements at most.
            let csr = 2.0 * 14.0 * products.nnz + 0.28 * products.live_rows * k;
            let blocks = 1.05 * products.blocks;
            (products, blocks, csr)
        }
        Arithmetic::Bf16Dot(instruction) => {
            // A pair is multiplied where one of its elements is not zero.
            let products = count_products(a, 2, 4);
            // Beside each instruction's own dense product: one row at a time is bound by V, more so where products are
            // fast.
            let of_pair = match instruction {
                Instruction::Amx => 2.0 * 1.75,
                // 29 ms for all pairs, the dense product 20 ms, at m = 4096.
                Instruction::Avx512 if has.vdpbf16ps => 2.0 * 1.45,
                Instruction::Avx512 => 2.0 * 2.6,
            };
            let csr = of_pair * products.row_groups + 0.02 * products.live_rows * k;
            let blocks = 1.05 * products.blocks;
            (products, blocks, csr)
        }
        Arithmetic::FixedPoint => {
            // An element beside a zero is multiplied with it where pairs are.
            let products = count_products(a, 2, 4);
            let csr = 2.0 * 2.0 * products.row_groups + 0.02 * products.live_rows * k;
            let blocks = 1.05 * products.blocks;
            (products, blocks, csr)
        }
        Arithmetic::F32Chain(_) | Arithmetic::Exact | Arithmetic::Bounded => {
            let products = count_products(a, 1, 8);
            let csr = 1.5 * products.nnz + 0.02 * products.live_rows * k;
            let blocks = 1.05 * products.blocks;
            (products, blocks, csr)
        }
    };
    [
        (Strategy::Dense, products.dense),
        (Strategy::Rows, products.rows),
        (Strategy::Columns, products.columns),
        (Strategy::Blocks, blocks),
        (Strategy::Csr, csr),
    ]
}

/// Aligned groups of `group` bits, of k bits in all, that are not empty.
fn groups_live(bits: &[u64], k: usize, group: usize) -> usize {
    if group == 1 {
        return bits.iter().map(|word| word.count_ones() as usize).sum();
    }
    let is_live =
        |g: usize| (g * group..k.min((g + 1) * group)).any(|k| bits[k / 64] >> (k % 64) & 1 == 1);
    if 64 % group == 0 {
        let mask = u64::MAX >> (64 - group);
        let in_word =
            |word: &u64| (0..64).step_by(group).filter(|at| word >> at & mask != 0).count();
        return bits.iter().map(in_word).sum();
    }
    (0..k.div_ceil(group)).filter(|&g| is_live(g)).count()
}

/// Estimated time of a launch with a thread for each output, in ns, for `non_zeros` elements of A and `n` columns of V.
/// The constants are those of one H200.
pub fn sliced_ns(non_zeros: usize, n: usize) -> u64 {
    const LAUNCH_NS: u64 = 5000;
    const MULTIPLY_ADDS_PER_NS: u64 = 4000;
    LAUNCH_NS + (non_zeros as u64).saturating_mul(n as u64) / MULTIPLY_ADDS_PER_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// The strategy for A with so many of 1000 elements live, with tiles and without.
    fn strategies(arithmetic: Arithmetic, of_1000: usize) -> [Strategy; 2] {
        let a = Array2::from_shape_fn((64, 1024), |(i, j)| {
            f32::from((i * 1024 + j).wrapping_mul(2_654_435_761) >> 8 & 0xffff < of_1000 * 65)
        });
        [true, false].map(|tiles| {
            let has = Has { tiles, vdpbf16ps: false };
            let costs = costs(arithmetic, has, a.view());
            costs.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("five").0
        })
    }

    #[test]
    fn tiles_multiply_zeros_that_single_rows_would_leave_out() {
        for arithmetic in [Arithmetic::FixedPoint, Arithmetic::Bf16Dot(Instruction::Amx)] {
            assert_eq!(strategies(arithmetic, 900), [Strategy::Dense; 2]);
            assert_eq!(strategies(arithmetic, 120), [Strategy::Dense, Strategy::Csr]);
            assert_eq!(strategies(arithmetic, 50), [Strategy::Dense, Strategy::Csr]);
            assert_eq!(strategies(arithmetic, 10), [Strategy::Csr; 2]);
        }
    }
}
