//! A as `kernels/gemm_tensor_core.cu` reads it: which groups of k of which rows, and their packing.

use ndarray::ArrayView2;

use super::super::live::{Live, Selection, row_index};
use contract::dtype::Dtype;
use contract::threads;

/// k of one tensor-core group, the least that is skipped.
const GROUP: usize = 16;
/// Groups of a k-step.
const STEP_GROUPS: usize = 4;
/// Bytes of a row of a k-step: 64 elements of 2 bytes.
const LINE: usize = 128;
/// What the kernel takes for a group without elements: behind V's edge, where zeros are read.
const NO_GROUP: i32 = -(GROUP as i32);

/// The groups of A that hold a non-zero.
pub(super) type LiveGroups = Live<GROUP>;

/// The rows and k-steps of A that are multiplied, cut into row tiles.
pub(super) struct RowTiles {
    pub tile_rows: usize,
    /// Row of A and Y for each row of each tile, ascending; -1 for padding.
    pub row_index: Vec<i32>,
    /// The rows that no tile has.
    pub dead_rows: Vec<i32>,
    /// K-steps of each tile.
    pub steps: Vec<usize>,
    /// First k of each k-step's four groups, tile by tile; empty where every tile has all k in place.
    pub group_k: Vec<i32>,
}

impl RowTiles {
    /// The rows and k of a matrix must fit in 32 bits with sign.
    pub fn new(live: &LiveGroups, selection: Selection, tile_rows: usize) -> RowTiles {
        let (rows, dead_rows) = live.rows(selection);
        let everywhere = match selection {
            Selection::LiveColumns => live.of_rows(&rows),
            Selection::All | Selection::LiveRows | Selection::Tiles => Vec::new(),
        };
        let mut tiles = RowTiles {
            tile_rows,
            row_index: row_index(&rows, tile_rows),
            dead_rows,
            steps: Vec::new(),
            group_k: Vec::new(),
        };
        for rows in rows.chunks(tile_rows) {
            let groups = match selection {
                Selection::All | Selection::LiveRows => {
                    tiles.steps.push(live.k.div_ceil(GROUP * STEP_GROUPS));
                    continue;
                }
                Selection::LiveColumns => everywhere.clone(),
                Selection::Tiles => live.of_rows(rows),
            };
            tiles.group_k.extend(&groups);
            let padded = tiles.group_k.len().next_multiple_of(STEP_GROUPS);
            tiles.group_k.resize(padded, NO_GROUP);
            tiles.steps.push(groups.len().div_ceil(STEP_GROUPS));
        }
        tiles
    }

    /// The first k-step of each tile, counted over all.
    pub fn step_base(&self) -> Vec<usize> {
        let mut base = 0;
        let before = |steps: &usize| {
            base += steps;
            base - steps
        };
        self.steps.iter().map(before).collect()
    }

    pub fn steps_in_all(&self) -> usize {
        self.steps.iter().sum()
    }

    /// The kernel's `a_packed`, little-endian: for each k-step of each tile the image of its rows in
    /// shared memory, 128 bytes a row, of which 16-byte chunk c lies at c ^ (row % 8).
    ///
    /// The elements of `a` must be values of `dtype`, bf16 or f16.
    pub fn pack(&self, a: ArrayView2<'_, f32>, dtype: Dtype, threads: usize) -> Vec<u8> {
        let image = self.tile_rows * LINE;
        let mut packed = vec![0; self.steps_in_all() * image];
        let mut rest = &mut packed[..];
        let mut tiles = Vec::with_capacity(self.steps.len());
        for steps in &self.steps {
            let (tile, after) = std::mem::take(&mut rest).split_at_mut(steps * image);
            tiles.push(tile);
            rest = after;
        }
        let base = self.step_base();
        threads::fill(threads, &mut tiles, 1, |tile, packed| {
            let groups: Vec<i32> = match self.group_k.is_empty() {
                true => (0..a.ncols()).step_by(GROUP).map(|k| k as i32).collect(),
                false => self.group_k[base[tile] * STEP_GROUPS..][..self.steps[tile] * STEP_GROUPS]
                    .to_vec(),
            };
            let rows = &self.row_index[tile * self.tile_rows..][..self.tile_rows];
            packed.iter_mut().for_each(|packed| pack_tile(a, dtype, rows, &groups, packed));
        });
        packed
    }
}

/// Packs the rows and groups of one tile; negative ones stay zero.
fn pack_tile(
    a: ArrayView2<'_, f32>,
    dtype: Dtype,
    rows: &[i32],
    groups: &[i32],
    packed: &mut [u8],
) {
    const CHUNK: usize = 16;
    let bytes = a.ncols().next_multiple_of(GROUP) * dtype.size();
    let mut encoded = Vec::with_capacity(bytes);
    for (r, &row) in rows.iter().enumerate().filter(|(_, row)| **row >= 0) {
        encoded.clear();
        let row = a.row(row as usize);
        match row.to_slice() {
            Some(row) => dtype.encode(row, &mut encoded),
            None => dtype.encode(&row.to_vec(), &mut encoded),
        }
        encoded.resize(bytes, 0);
        for (i, &k) in groups.iter().enumerate().filter(|(_, k)| **k >= 0) {
            let from = &encoded[k as usize * dtype.size()..][..2 * CHUNK];
            let line = (i / STEP_GROUPS * rows.len() + r) * LINE;
            let line = &mut packed[line..][..LINE];
            for half in 0..2 {
                let chunk = (i % STEP_GROUPS * 2 + half) ^ (r % 8);
                line[chunk * CHUNK..][..CHUNK].copy_from_slice(&from[half * CHUNK..][..CHUNK]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// Values that bf16 and f16 have, every one different from its neighbours; zero where `dead` says.
    fn matrix(m: usize, k: usize, dead: impl Fn(usize, usize) -> bool) -> Array2<f32> {
        let value = |(i, j)| if dead(i, j) { 0.0 } else { ((i * 37 + j * 11) % 127 + 1) as f32 };
        Array2::from_shape_fn((m, k), value)
    }

    /// What the kernel finds in row r, position `at` of k-step `step` (counted over all tiles).
    fn unpacked(packed: &[u8], tile_rows: usize, step: usize, r: usize, at: usize) -> u16 {
        let chunk = (at / 8) ^ (r % 8);
        let byte = (step * tile_rows + r) * LINE + chunk * 16 + at % 8 * 2;
        u16::from_le_bytes([packed[byte], packed[byte + 1]])
    }

    fn bits(dtype: Dtype, x: f32) -> u16 {
        match dtype {
            Dtype::F16 => half::f16::from_f32(x).to_bits(),
            _ => half::bf16::from_f32(x).to_bits(),
        }
    }

    fn check(a: &Array2<f32>, selection: Selection, tile_rows: usize, dtype: Dtype) -> RowTiles {
        let (m, k) = a.dim();
        let live = LiveGroups::of(a.view(), 2);
        let tiles = RowTiles::new(&live, selection, tile_rows);

        // Every row is in one place, ascending, padding at the end.
        let rows: Vec<i32> = tiles.row_index.iter().copied().filter(|row| *row >= 0).collect();
        assert!(rows.is_sorted() && tiles.dead_rows.is_sorted());
        assert!(tiles.row_index[..rows.len()].iter().all(|row| *row >= 0));
        assert_eq!(tiles.row_index.len(), rows.len().next_multiple_of(tile_rows));
        assert_eq!(tiles.row_index.len(), tiles.steps.len() * tile_rows);
        let mut all = [&rows[..], &tiles.dead_rows].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..m as i32));
        let is_zero = |i: &i32| a.row(*i as usize).iter().all(|x| *x == 0.0);
        assert!(tiles.dead_rows.iter().all(is_zero));
        assert!(selection == Selection::All || !rows.iter().any(is_zero));

        let packed = tiles.pack(a.view(), dtype, 3);
        assert_eq!(packed.len(), tiles.steps_in_all() * tile_rows * 128);
        assert_eq!(packed, tiles.pack(a.view(), dtype, 1));
        for (t, base) in tiles.step_base().into_iter().enumerate() {
            let first_k = |step: usize, group: usize| match tiles.group_k.is_empty() {
                true => (step * 64 + group * 16) as i32,
                false => tiles.group_k[(base + step) * 4 + group],
            };
            for r in 0..tile_rows {
                let row = tiles.row_index[t * tile_rows + r];
                let mut seen = vec![false; k];
                for (step, at) in (0..tiles.steps[t]).flat_map(|s| (0..64).map(move |at| (s, at))) {
                    let first = first_k(step, at / 16);
                    let at_k = first as usize + at % 16;
                    let inside = row >= 0 && first >= 0 && at_k < k;
                    let want = if inside { a[[row as usize, at_k]] } else { 0.0 };
                    let got = unpacked(&packed, tile_rows, base + step, r, at);
                    assert_eq!(got, bits(dtype, want), "row {row}, step {step}, at {at}");
                    if inside {
                        seen[at_k] = true;
                    }
                }
                // What is left out is zero.
                if row >= 0 {
                    let row = a.row(row as usize);
                    assert!(row.iter().zip(&seen).all(|(x, seen)| *seen || *x == 0.0));
                }
            }
            let groups = (0..tiles.steps[t] * 4).map(|i| first_k(i / 4, i % 4));
            let groups: Vec<i32> = groups.take_while(|k| *k >= 0).collect();
            assert!(groups.is_sorted() && groups.iter().all(|k| k % 16 == 0));
        }
        tiles
    }

    #[test]
    fn packing_is_what_the_kernel_says_at_its_head() {
        for (m, k) in [(1, 1), (3, 15), (65, 64), (130, 77), (129, 1040), (64, 17), (7, 200)] {
            let patterns: [&dyn Fn(usize, usize) -> bool; 6] = [
                &|_, _| false,
                &|i, _| i % 3 == 1,
                &|i, j| (i * 5 + j * 3) % 7 != 0,
                &|_, j| j / 16 % 3 == 1,
                &|i, j| (i / 64 + j / 16) % 2 == 0,
                &|i, j| i != m - 1 || j != k - 1,
            ];
            for dead in patterns {
                let a = matrix(m, k, dead);
                for selection in Selection::EVERY {
                    check(&a, selection, 64, Dtype::Bf16);
                    check(&a, selection, 128, Dtype::F16);
                }
            }
        }
    }

    #[test]
    fn only_the_groups_that_a_tile_needs_are_taken() {
        // Two tiles: the first lives in groups 0 and 2, the second in group 5; one row is dead.
        let a = matrix(128, 100, |i, j| match (i, j / 16) {
            (3, _) => true,
            (..65, 0 | 2) | (65.., 5) => false,
            _ => true,
        });
        let tiles = check(&a, Selection::Tiles, 64, Dtype::Bf16);
        assert_eq!(tiles.group_k, [0, 32, -16, -16, 80, -16, -16, -16]);
        assert_eq!((tiles.steps, tiles.dead_rows), (vec![1, 1], vec![3]));
        let tiles = check(&a, Selection::LiveColumns, 64, Dtype::Bf16);
        assert_eq!(tiles.group_k, [0, 32, 80, -16, 0, 32, 80, -16]);
        let tiles = check(&a, Selection::LiveRows, 64, Dtype::Bf16);
        assert_eq!((tiles.steps, tiles.group_k), (vec![2, 2], vec![]));
    }

    #[test]
    fn nothing_to_multiply_leaves_dead_rows_only() {
        for (m, k) in [(0, 0), (0, 5), (5, 0), (70, 40)] {
            let live = LiveGroups::of(Array2::zeros((m, k)).view(), 1);
            for selection in Selection::EVERY.into_iter().filter(|s| *s != Selection::All) {
                let tiles = RowTiles::new(&live, selection, 64);
                assert!(tiles.dead_rows.iter().copied().eq(0..m as i32));
                assert_eq!((tiles.row_index.len(), tiles.steps.len()), (0, 0));
            }
        }
    }

    #[test]
    fn columns_of_another_matrix_are_packed_alike() {
        let a = matrix(70, 90, |i, j| (i + j) % 3 == 0);
        let transposed = a.t().as_standard_layout().into_owned();
        let pack = |a: ArrayView2<'_, f32>| {
            RowTiles::new(&LiveGroups::of(a, 1), Selection::Tiles, 64).pack(a, Dtype::Bf16, 1)
        };
        assert_eq!(pack(transposed.t()), pack(a.view()));
    }
}
