//! A as `kernels/gemm_chain.cu` reads it: which k of which rows, and their packing.

use std::borrow::Cow;

use ndarray::ArrayView2;

use super::super::live::{Live, Selection, row_index};
use contract::threads;

/// The elements of A that are not zero.
pub(super) type LiveElements = Live<1>;

/// The rows and k of A that are multiplied, cut into row tiles and k-steps.
pub(super) struct RowTiles {
    pub tile_rows: usize,
    /// k of a step.
    pub step_k: usize,
    /// Row of A and Y for each row of each tile, ascending; -1 for padding.
    pub row_index: Vec<i32>,
    /// The rows that no tile has.
    pub dead_rows: Vec<i32>,
    /// k of each tile.
    pub counts: Vec<usize>,
    /// The k of all steps, ascending in each tile, each tile's last one repeated to whole steps; `None`
    /// where every tile has all k in place.
    pub k_list: Option<Vec<i32>>,
}

/// How many k each tile has of `rows`, in tiles of `tile_rows`, under a selection.
pub(super) fn counts(
    live: &LiveElements,
    selection: Selection,
    rows: &[i32],
    tile_rows: usize,
) -> Vec<usize> {
    let tiles = rows.len().div_ceil(tile_rows);
    match selection {
        Selection::All | Selection::LiveRows => vec![live.k; tiles],
        Selection::LiveColumns => vec![live.count_of_rows(rows); tiles],
        Selection::Tiles => rows.chunks(tile_rows).map(|rows| live.count_of_rows(rows)).collect(),
    }
}

impl RowTiles {
    /// The rows and k of a matrix must fit in 32 bits with sign. With `is_listed` there is a list of k
    /// even where it leaves nothing out; the selections that do need one always have it.
    pub fn new(
        live: &LiveElements,
        selection: Selection,
        is_listed: bool,
        (tile_rows, step_k): (usize, usize),
    ) -> RowTiles {
        let (rows, dead_rows) = live.rows(selection);
        let mut tiles = RowTiles {
            tile_rows,
            step_k,
            row_index: row_index(&rows, tile_rows),
            dead_rows,
            counts: Vec::new(),
            k_list: None,
        };
        if !is_listed && !selection.is_grouped() {
            tiles.counts = counts(live, selection, &rows, tile_rows);
            return tiles;
        }
        let common: Vec<i32> = match selection {
            Selection::All | Selection::LiveRows => (0..live.k as i32).collect(),
            Selection::LiveColumns => live.of_rows(&rows),
            Selection::Tiles => Vec::new(),
        };
        let mut k_list = Vec::new();
        for rows in rows.chunks(tile_rows) {
            let of_tile = match selection {
                Selection::Tiles => Cow::Owned(live.of_rows(rows)),
                Selection::All | Selection::LiveRows | Selection::LiveColumns => {
                    Cow::Borrowed(&common)
                }
            };
            k_list.extend(of_tile.iter());
            if let Some(&last) = of_tile.last() {
                k_list.resize(k_list.len().next_multiple_of(step_k), last);
            }
            tiles.counts.push(of_tile.len());
        }
        tiles.k_list = Some(k_list);
        tiles
    }

    /// Steps of each tile.
    pub fn steps(&self) -> impl Iterator<Item = usize> {
        self.counts.iter().map(|count| count.div_ceil(self.step_k))
    }

    /// The first step of each tile, counted over all.
    pub fn first_step(&self) -> Vec<usize> {
        let mut first = 0;
        let before = |steps: usize| {
            first += steps;
            first - steps
        };
        self.steps().map(before).collect()
    }

    pub fn steps_in_all(&self) -> usize {
        self.steps().sum()
    }

    /// The kernel's `a_packed`: tile by tile its k, ascending, of each the elements of all rows of the
    /// tile; zeros where there is no row or no k.
    pub fn pack(&self, a: ArrayView2<'_, f32>, threads: usize) -> Vec<f32> {
        let step = self.tile_rows * self.step_k;
        let mut packed = vec![0.0; self.steps_in_all() * step];
        let mut rest = &mut packed[..];
        let mut tiles = Vec::with_capacity(self.counts.len());
        for steps in self.steps() {
            let (tile, after) = std::mem::take(&mut rest).split_at_mut(steps * step);
            tiles.push(tile);
            rest = after;
        }
        let first = self.first_step();
        threads::fill(threads, &mut tiles, 1, |tile, packed| {
            let rows: Vec<Option<Cow<'_, [f32]>>> = self.row_index[tile * self.tile_rows..]
                [..self.tile_rows]
                .iter()
                .map(|&row| {
                    let row = a.row(usize::try_from(row).ok()?);
                    Some(row.to_slice().map_or_else(|| Cow::Owned(row.to_vec()), Cow::Borrowed))
                })
                .collect();
            let count = self.counts[tile];
            let listed =
                self.k_list.as_ref().map(|list| &list[first[tile] * self.step_k..][..count]);
            packed.iter_mut().for_each(|packed| pack_tile(&rows, listed, count, packed));
        });
        packed
    }
}

/// Packs `count` k of the rows of one tile: those `listed`, or the first ones.
fn pack_tile(
    rows: &[Option<Cow<'_, [f32]>>],
    listed: Option<&[i32]>,
    count: usize,
    packed: &mut [f32],
) {
    /// k at a time: what lies between two visits to a line of either side stays in the cache.
    const BLOCK: usize = 16;
    for (b, block) in packed.chunks_mut(BLOCK * rows.len()).enumerate() {
        let start = b * BLOCK;
        let here = BLOCK.min(count.saturating_sub(start));
        for (r, row) in rows.iter().enumerate() {
            let Some(row) = row else { continue };
            let to = block.iter_mut().skip(r).step_by(rows.len());
            match listed {
                Some(listed) => {
                    let listed = &listed[count.min(start)..][..here];
                    to.zip(listed).for_each(|(to, &k)| *to = row[k as usize]);
                }
                None => {
                    let row = &row[count.min(start)..][..here];
                    to.zip(row).for_each(|(to, &x)| *to = x);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn matrix(m: usize, k: usize, dead: impl Fn(usize, usize) -> bool) -> Array2<f32> {
        let value = |(i, j)| if dead(i, j) { 0.0 } else { (i * 1009 + j + 1) as f32 };
        Array2::from_shape_fn((m, k), value)
    }

    /// Everything that the kernel relies on, for one way of cutting A.
    fn check(a: &Array2<f32>, selection: Selection, is_listed: bool, tile: (usize, usize)) {
        let (m, k) = a.dim();
        let (bm, bk) = tile;
        let live = LiveElements::of(a.view(), 2);
        let tiles = RowTiles::new(&live, selection, is_listed, tile);
        let what = format!("{m} x {k}, {selection:?}, listed {is_listed}, tiles {tile:?}");

        // Every row is in one place, ascending, padding at the end; what is dead is zero.
        let rows: Vec<i32> = tiles.row_index.iter().copied().filter(|row| *row >= 0).collect();
        assert!(rows.is_sorted() && tiles.dead_rows.is_sorted(), "{what}");
        assert!(tiles.row_index[..rows.len()].iter().all(|row| *row >= 0), "{what}");
        assert_eq!(tiles.row_index.len(), rows.len().next_multiple_of(bm), "{what}");
        assert_eq!(tiles.row_index.len(), tiles.counts.len() * bm, "{what}");
        let mut all = [&rows[..], &tiles.dead_rows].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..m as i32), "{what}");
        let is_zero = |i: &i32| a.row(*i as usize).iter().all(|x| *x == 0.0);
        assert!(tiles.dead_rows.iter().all(is_zero), "{what}");
        assert!(selection == Selection::All || !rows.iter().any(is_zero), "{what}");

        // What the choice is made by is what is built.
        assert_eq!(counts(&live, selection, &rows, bm), tiles.counts, "{what}");
        assert!(selection == Selection::All || tiles.counts.iter().all(|count| *count > 0));

        let packed = tiles.pack(a.view(), 3);
        assert_eq!(packed, tiles.pack(a.view(), 1), "{what}");
        assert_eq!(packed.len(), tiles.steps_in_all() * bk * bm, "{what}");
        assert_eq!(tiles.k_list.is_some(), is_listed || selection.is_grouped());
        let steps: Vec<usize> = tiles.steps().collect();
        for (t, first) in tiles.first_step().into_iter().enumerate() {
            let k_of: Vec<i32> = match &tiles.k_list {
                Some(list) => list[first * bk..][..steps[t] * bk].to_vec(),
                None => (0..(steps[t] * bk) as i32).collect(),
            };
            let count = tiles.counts[t];
            assert!(k_of[..count].is_sorted_by(|a, b| a < b), "{what}");
            assert!(k_of[..count].iter().all(|at| (0..k as i32).contains(at)), "{what}");
            if tiles.k_list.is_some() {
                assert!(k_of.iter().all(|at| (0..k as i32).contains(at)), "{what}");
            }
            for r in 0..bm {
                let row = tiles.row_index[t * bm + r];
                let mut seen = vec![false; k];
                for (at, &k_at) in k_of.iter().enumerate() {
                    let got = packed[(first * bk + at) * bm + r];
                    let inside = row >= 0 && at < count;
                    let want = if inside { a[[row as usize, k_at as usize]] } else { 0.0 };
                    assert_eq!(got.to_bits(), want.to_bits(), "{what}: row {row}, k {k_at}");
                    if inside {
                        seen[k_at as usize] = true;
                    }
                }
                if row >= 0 {
                    let row = a.row(row as usize);
                    assert!(row.iter().zip(&seen).all(|(x, seen)| *seen || *x == 0.0), "{what}");
                }
            }
        }
    }

    #[test]
    fn packing_is_what_the_kernel_says_at_its_head() {
        for (m, k) in [(0, 0), (0, 5), (5, 0), (1, 1), (3, 15), (65, 64), (97, 77), (33, 1040)] {
            let patterns: [&dyn Fn(usize, usize) -> bool; 7] = [
                &|_, _| false,
                &|_, _| true,
                &|i, _| i % 3 == 1,
                &|i, j| (i * 5 + j * 3) % 7 != 0,
                &|_, j| j % 3 == 1,
                &|i, j| (i / 32 + j / 16) % 2 == 0,
                &|i, j| i != m - 1 || j != k - 1,
            ];
            for dead in patterns {
                let a = matrix(m, k, dead);
                for selection in Selection::EVERY {
                    for (is_listed, tile) in
                        [(false, (16, 32)), (true, (32, 128)), (false, (48, 32))]
                    {
                        check(&a, selection, is_listed, tile);
                    }
                }
            }
        }
    }

    #[test]
    fn only_the_k_that_a_tile_needs_are_taken() {
        // Two tiles: the first lives in k 0 and 70, the second in k 5; one row is dead.
        let a = matrix(33, 100, |i, j| !matches!((i, j), (4..=15, 0) | (0, 70) | (16.., 5)));
        let live = LiveElements::of(a.view(), 1);
        let new = |selection| RowTiles::new(&live, selection, false, (16, 4));
        let tiles = new(Selection::Tiles);
        assert_eq!(tiles.dead_rows, [1, 2, 3]);
        assert_eq!(tiles.counts, [3, 1]);
        assert_eq!(tiles.k_list, Some(vec![0, 5, 70, 70, 5, 5, 5, 5]));
        let tiles = new(Selection::LiveColumns);
        assert_eq!(tiles.k_list, Some(vec![0, 5, 70, 70, 0, 5, 70, 70]));
        let tiles = new(Selection::LiveRows);
        assert_eq!((tiles.counts, tiles.k_list), (vec![100, 100], None));
    }

    #[test]
    fn columns_of_another_matrix_are_packed_alike() {
        let a = matrix(70, 90, |i, j| (i + j) % 3 == 0);
        let transposed = a.t().as_standard_layout().into_owned();
        let pack = |a: ArrayView2<'_, f32>| {
            let live = LiveElements::of(a, 1);
            RowTiles::new(&live, Selection::Tiles, false, (32, 16)).pack(a, 1)
        };
        assert_eq!(pack(transposed.t()), pack(a.view()));
    }
}
