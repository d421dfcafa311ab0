//! Which elements of A are not zero, and what of A kernels leave out.

use ndarray::ArrayView2;

use crate::backend::cpu::nonzero_bits;
use contract::threads;

/// What of A is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// Everything.
    All,
    /// Rows that hold a non-zero.
    LiveRows,
    /// Of those, the k that hold one in any row; on tensor cores, the aligned groups of 16 k.
    LiveColumns,
    /// Of those, the k (groups) that hold one in any row of the tile.
    Tiles,
}

impl Selection {
    /// From the simplest on.
    pub const EVERY: [Selection; 4] =
        [Selection::All, Selection::LiveRows, Selection::LiveColumns, Selection::Tiles];

    /// Whether the kernel must be told the k (groups) of each k-step.
    pub fn is_grouped(self) -> bool {
        matches!(self, Selection::LiveColumns | Selection::Tiles)
    }

    /// As the strategy that it is.
    pub fn name(self) -> &'static str {
        match self {
            Selection::All => "dense",
            Selection::LiveRows => "rows",
            Selection::LiveColumns => "columns",
            Selection::Tiles => "blocks",
        }
    }
}

/// Selections with their estimates, in words.
pub(super) fn estimates_text(estimates_ns: &[(Selection, u64)]) -> String {
    let text = |(selection, ns): &(Selection, u64)| {
        format!("{} {:.1} us", selection.name(), *ns as f64 / 1e3)
    };
    estimates_ns.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Threads for looking at and packing A of so many elements: the pool's, or all there are.
pub(super) fn packing_threads(elements: usize) -> usize {
    /// What keeps a thread busy for much longer than it takes to start.
    const ELEMENTS_MIN: usize = 1 << 20;
    let threads = match rayon::current_thread_index() {
        Some(_) => rayon::current_num_threads(),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    threads.min(elements / ELEMENTS_MIN).max(1)
}

/// Which aligned groups of `GROUP` k, 1 or 16, hold a non-zero, row by row.
pub(super) struct Live<const GROUP: usize> {
    pub m: usize,
    pub k: usize,
    /// 64-bit words of a row.
    words: usize,
    bits: Vec<u64>,
}

impl<const GROUP: usize> Live<GROUP> {
    /// Looks at A once, on up to `threads` threads.
    pub fn of(a: ArrayView2<'_, f32>, threads: usize) -> Live<GROUP> {
        const { assert!(GROUP == 1 || GROUP == 16) };
        /// Rows that a thread takes at a time.
        const ROWS: usize = 64;
        let (m, k) = a.dim();
        let words = k.div_ceil(GROUP).div_ceil(64);
        let mut bits = vec![0; m * words];
        if words > 0 {
            threads::fill(threads, &mut bits, ROWS * words, |start, bits| {
                let mut elements = vec![0; k.div_ceil(64)];
                for (i, live) in bits.chunks_mut(words).enumerate() {
                    let row = a.row(start / words + i);
                    match row.to_slice() {
                        Some(row) => nonzero_bits(row, &mut elements),
                        None => nonzero_bits(&row.to_vec(), &mut elements),
                    };
                    if GROUP == 1 {
                        live.copy_from_slice(&elements);
                        continue;
                    }
                    for (j, word) in elements.iter().enumerate() {
                        let groups = (0..4)
                            .map(|g| u64::from(word >> (16 * g) & 0xffff != 0) << g)
                            .sum::<u64>();
                        live[j / 16] |= groups << (4 * (j % 16));
                    }
                }
            });
        }
        Live { m, k, words, bits }
    }

    fn row(&self, i: usize) -> &[u64] {
        &self.bits[i * self.words..(i + 1) * self.words]
    }

    fn is_live(&self, i: usize) -> bool {
        self.row(i).iter().any(|word| *word != 0)
    }

    /// The rows that a selection multiplies and those that it leaves out, ascending. Rows must fit in
    /// 32 bits with sign.
    pub fn rows(&self, selection: Selection) -> (Vec<i32>, Vec<i32>) {
        let is_taken = |i: &i32| selection == Selection::All || self.is_live(*i as usize);
        (0..self.m as i32).partition(is_taken)
    }

    fn any(&self, rows: &[i32]) -> Vec<u64> {
        let mut any = vec![0u64; self.words];
        for &i in rows {
            any.iter_mut().zip(self.row(i as usize)).for_each(|(any, row)| *any |= row);
        }
        any
    }

    /// The first k of each group that holds a non-zero in any of `rows`.
    pub fn of_rows(&self, rows: &[i32]) -> Vec<i32> {
        let any = self.any(rows);
        (0..self.k.div_ceil(GROUP))
            .filter(|g| any[g / 64] >> (g % 64) & 1 == 1)
            .map(|g| (g * GROUP) as i32)
            .collect()
    }

    /// How many groups hold a non-zero in any of `rows`.
    pub fn count_of_rows(&self, rows: &[i32]) -> usize {
        self.any(rows).iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many groups hold a non-zero, over all rows.
    pub fn count(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// `rows` in tiles of `tile_rows`, the last one filled up with -1.
pub(super) fn row_index(rows: &[i32], tile_rows: usize) -> Vec<i32> {
    let mut index = rows.to_vec();
    index.resize(rows.len().next_multiple_of(tile_rows), -1);
    index
}
