//! A as the kernels read it: its rows' scales, and tiles of integers with the k that they are multiplied at.

use ndarray::{ArrayView2, CowArray, Ix2};

use super::super::memory::{AlignedBuffer, SharedMut, contiguous_rows, row};
use super::super::{Isa, parallel_for, per_isa};
use super::panels::{TO_INTEGER, digits, half};
use super::{Layout, Path, tiled};
use contract::arithmetic::fixed_point::{INTEGER_MAX, K_ALWAYS, LIMIT, exp2, log2_scale};

/// Rows that a block-selection tile covers: block sizes are multiples of it.
const BLOCK_ROWS: usize = 4;

/// Which part of A takes part in the product. What is left out has integers that are exactly zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FixedSelection {
    /// Every row and every k: multiplies each zero.
    All,
    /// Rows that have a non-zero; every k.
    LiveRows,
    /// Rows that have a non-zero, and the k where any row has one.
    LiveColumns,
    /// Per aligned group of four rows, or of 16 in tiles: its live rows, and the k where any of them is non-zero.
    Blocks,
    /// Per row the k where it is non-zero.
    Elements,
}

impl FixedSelection {
    pub const ALL: [FixedSelection; 5] = [
        FixedSelection::All,
        FixedSelection::LiveRows,
        FixedSelection::LiveColumns,
        FixedSelection::Blocks,
        FixedSelection::Elements,
    ];
}

/// A few packed rows and the list of entries they are multiplied at.
pub(super) struct Tile {
    /// The tile's rows are packed rows `first_row..first_row + height`.
    pub first_row: usize,
    pub height: usize,
    first_value: usize,
    list: usize,
}

impl Tile {
    /// Its packed rows.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.first_row..self.first_row + self.height
    }
}

/// A row chunk of A (m x k) as integers, packed for [`super::gemm_fixed_point`].
///
/// Invariants: rows ascend and are below `m`; entries of lists are below ceil(k / entry); a tile's height is 1 to the path's
/// `rows_max`.
pub struct FixedA {
    path: Path,
    m: usize,
    k: usize,
    rows: Vec<u32>,
    /// 2^-e of each packed row; NaN where a value is not finite.
    factors: Vec<f64>,
    tiles: Vec<Tile>,
    /// Numbers of entries: k, or pairs of k.
    entries: Vec<u32>,
    /// Where each list starts in `entries`, and where the last one ends.
    starts: Vec<usize>,
    /// Per tile `[entry][row][words]` of 32 bits: an integer, or its halves for two k; or of digits
    /// `[entry][digit][row][k]` of 8 bits.
    values: AlignedBuffer,
}

/// Sums that 64 bits do not hold, in words.
#[derive(Debug)]
pub struct TooLarge(u128);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limit = LIMIT;
        write!(
            f,
            "fixed-point: sums can reach {}, the limit is {limit}\nhint: a smaller k, or fewer non-zeros in a row",
            self.0
        )
    }
}

impl FixedA {
    /// Packs the selected part of `a` with the given number of threads. An error where a sum could be 2^63 and more.
    ///
    /// Panics where `isa` is not available, or where a dimension exceeds 2^32 - 1.
    pub fn pack(
        a: ArrayView2<'_, f32>,
        selection: FixedSelection,
        isa: Isa,
        threads: usize,
    ) -> Result<FixedA, TooLarge> {
        FixedA::on(Path::of(isa, selection), a, selection, threads)
    }

    pub(super) fn on(
        path: Path,
        a: ArrayView2<'_, f32>,
        selection: FixedSelection,
        threads: usize,
    ) -> Result<FixedA, TooLarge> {
        assert!(path.is_available(), "{path:?} is not available on this processor");
        let (m, k) = a.dim();
        assert!(u32::try_from(m).is_ok(), "m = {m} is over the limit of 2^32 - 1");
        assert!(u32::try_from(k).is_ok(), "k = {k} is over the limit of 2^32 - 1");
        let a = contiguous_rows(a);
        let isa = path.isa();
        let scales = scales(isa, &a, threads);
        if k > K_ALWAYS {
            require_sums(isa, &a, &scales)?;
        }

        let rows: Vec<u32> = match selection {
            FixedSelection::All => (0..m as u32).collect(),
            FixedSelection::LiveRows
            | FixedSelection::LiveColumns
            | FixedSelection::Blocks
            | FixedSelection::Elements => {
                (0..m as u32).filter(|&i| scales[i as usize] != Scale::Zero).collect()
            }
        };
        let groups = match selection {
            FixedSelection::All | FixedSelection::LiveRows | FixedSelection::LiveColumns => {
                balanced(rows.len(), path.rows_max())
            }
            FixedSelection::Blocks => aligned(&rows, path),
            FixedSelection::Elements => (0..rows.len()).map(|row| (row, 1)).collect(),
        };
        let entries_all = k.div_ceil(path.entry());
        let mut entries: Vec<u32> = Vec::new();
        let mut starts = vec![0];
        let add = |entries: &mut Vec<u32>, starts: &mut Vec<usize>, live: &[u32]| {
            let of_entry = |(entry, live): (usize, &[u32])| {
                live.iter().any(|live| *live != 0).then_some(entry as u32)
            };
            entries.extend(live.chunks(path.entry()).enumerate().filter_map(of_entry));
            starts.push(entries.len());
        };
        let mut live = vec![0; k];
        let mark = |live: &mut [u32], rows: &[u32]| {
            live.fill(0);
            for &i in rows {
                mark_live(isa, &row(&a, i as usize), scales[i as usize].factor(), live);
            }
        };
        match selection {
            FixedSelection::All | FixedSelection::LiveRows => {
                entries.extend(0..entries_all as u32);
                starts.push(entries.len());
            }
            FixedSelection::LiveColumns => {
                mark(&mut live, &rows);
                add(&mut entries, &mut starts, &live);
            }
            FixedSelection::Blocks | FixedSelection::Elements => {
                for &(first, height) in &groups {
                    mark(&mut live, &rows[first..first + height]);
                    add(&mut entries, &mut starts, &live);
                }
            }
        }
        let is_shared = starts.len() == 2;
        let mut value_count = 0;
        let mut tiles = Vec::with_capacity(groups.len());
        for (t, (first_row, height)) in groups.into_iter().enumerate() {
            let list = if is_shared { 0 } else { t };
            tiles.push(Tile { first_row, height, first_value: value_count, list });
            value_count += (starts[list + 1] - starts[list]) * path.entry_words(height);
        }
        let factors = rows.iter().map(|&i| scales[i as usize].inverse()).collect();
        let mut packed = FixedA {
            path,
            m,
            k,
            rows,
            factors,
            tiles,
            entries,
            starts,
            values: AlignedBuffer::zeroed(0),
        };
        // SAFETY: the tiles' value ranges follow each other and add up to the buffer, and `fill` writes all of a range.
        packed.values = unsafe {
            AlignedBuffer::filled(value_count, |values| {
                let values = SharedMut::of(values);
                parallel_for(threads, packed.tiles.len(), |t| {
                    let tile = &packed.tiles[t];
                    let count = packed.list(tile).len() * path.entry_words(tile.height);
                    let start = values.get().add(tile.first_value).cast::<i32>();
                    // Written before it is read as integers.
                    start.write_bytes(0, count);
                    let to = std::slice::from_raw_parts_mut(start, count);
                    packed.fill(&a, &scales, tile, to);
                });
            })
        };
        Ok(packed)
    }

    /// The integers of a tile.
    fn fill(&self, a: &CowArray<'_, f32, Ix2>, scales: &[Scale], tile: &Tile, to: &mut [i32]) {
        let isa = self.path.isa();
        let list = self.list(tile);
        let words = self.path.entry_words(tile.height);
        let mut integers = vec![0; self.k.next_multiple_of(self.path.entry())];
        for (r, packed) in tile.rows().enumerate() {
            let i = self.rows[packed] as usize;
            integers_of(isa, &row(a, i), scales[i].factor(), &mut integers);
            let to = to.chunks_exact_mut(words).zip(list);
            match self.path.layout() {
                Layout::Integers => to.for_each(|(to, &k)| to[r] = integers[k as usize]),
                Layout::Tiles => {
                    for (to, &entry) in to {
                        let integers = &integers[entry as usize * tiled::ENTRY..][..tiled::ENTRY];
                        let to: &mut [u8] = bytemuck::cast_slice_mut(to);
                        for (d, to) in to.chunks_exact_mut(tiled::SIDE * tiled::ENTRY).enumerate() {
                            let to = &mut to[r * tiled::ENTRY..][..tiled::ENTRY];
                            for (to, &x) in to.iter_mut().zip(integers) {
                                *to = digits(x)[d];
                            }
                        }
                    }
                }
                Layout::Fours => {
                    for (to, &entry) in to {
                        let four = &integers[entry as usize * 4..][..4];
                        for (d, to) in to.chunks_exact_mut(4).enumerate() {
                            let bytes = [0, 1, 2, 3].map(|i| digits(four[i])[d]);
                            to[r] = i32::from_le_bytes(bytes);
                        }
                    }
                }
                Layout::Halves => {
                    for (to, &pair) in to {
                        let pair = 2 * pair as usize;
                        let [[l0, h0], [l1, h1]] = [integers[pair], integers[pair + 1]].map(half);
                        let of = |first: i16, second: i16| {
                            i32::from(first) & 0xffff | i32::from(second) << 16
                        };
                        to[3 * r..3 * r + 3].copy_from_slice(&[
                            of(l0, l1),
                            of(h0, h1),
                            of(l0 + h0, l1 + h1),
                        ]);
                    }
                }
            }
        }
    }

    /// Rows of A, dead ones included.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Columns of A.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How sums are made, in words.
    pub fn summed_by(&self) -> &'static str {
        self.path.name()
    }

    /// Bytes of the packed form.
    pub fn bytes_held(&self) -> usize {
        size_of_val::<[f32]>(&self.values)
            + size_of_val(self.rows.as_slice())
            + size_of_val(self.factors.as_slice())
            + size_of_val(self.tiles.as_slice())
            + size_of_val(self.entries.as_slice())
            + size_of_val(self.starts.as_slice())
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    pub(super) fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// The row of A that a packed row is.
    pub(super) fn row(&self, packed: usize) -> usize {
        self.rows[packed] as usize
    }

    /// 2^-e of a packed row.
    pub(super) fn factor(&self, packed: usize) -> f64 {
        self.factors[packed]
    }

    /// The entries of a tile.
    pub(super) fn list(&self, tile: &Tile) -> &[u32] {
        &self.entries[self.starts[tile.list]..self.starts[tile.list + 1]]
    }

    /// The entries `start..start + count` of a tile, as far as there are so many, and their integers.
    #[inline]
    pub(super) fn entries(&self, tile: &Tile, start: usize, count: usize) -> (&[u32], &[i32]) {
        let list = self.list(tile);
        let (start, end) = (start.min(list.len()), list.len().min(start + count));
        let words = self.path.entry_words(tile.height);
        let values = &self.values[tile.first_value + start * words..tile.first_value + end * words];
        (&list[start..end], bytemuck::cast_slice(values))
    }
}

/// The scale of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// Of a row of zeros.
    Zero,
    /// e.
    Log2(i32),
    /// Of a row with a value that is not finite.
    None,
}

impl Scale {
    /// 2^e; 0 where all integers are zero.
    fn factor(self) -> f64 {
        match self {
            Scale::Log2(e) => exp2(e),
            Scale::Zero | Scale::None => 0.0,
        }
    }

    /// 2^-e.
    fn inverse(self) -> f64 {
        match self {
            Scale::Zero => 1.0,
            Scale::Log2(e) => exp2(-e),
            Scale::None => f64::NAN,
        }
    }
}

/// The scale of each row.
fn scales(isa: Isa, a: &CowArray<'_, f32, Ix2>, threads: usize) -> Vec<Scale> {
    let mut scales = vec![Scale::Zero; a.nrows()];
    let shared = SharedMut::of(&mut scales);
    const CHUNK: usize = 64;
    parallel_for(threads, a.nrows().div_ceil(CHUNK), |item| {
        for i in item * CHUNK..a.nrows().min((item + 1) * CHUNK) {
            let largest = f32::from_bits(magnitude_max(isa, &row(a, i)));
            let scale = match largest {
                0.0 => Scale::Zero,
                x if x.is_finite() => Scale::Log2(log2_scale(x)),
                _ => Scale::None,
            };
            // SAFETY: `i` is below the length, and one thread looks at row `i`.
            unsafe { shared.get().add(i).write(scale) }
        }
    });
    scales
}

/// An error unless every sum of a row's integers with any integers is below 2^63.
fn require_sums(isa: Isa, a: &CowArray<'_, f32, Ix2>, scales: &[Scale]) -> Result<(), TooLarge> {
    let mut integers = vec![0; a.ncols()];
    for (i, scale) in scales.iter().enumerate() {
        integers_of(isa, &row(a, i), scale.factor(), &mut integers);
        let sum: u64 = integers.iter().map(|x| u64::from(x.unsigned_abs())).sum();
        let most = u128::from(sum) * INTEGER_MAX as u128;
        if most >= LIMIT.into() {
            return Err(TooLarge(most));
        }
    }
    Ok(())
}

/// Tiles of rows of at most `most`, as high as each other as far as that goes.
fn balanced(rows: usize, most: usize) -> Vec<(usize, usize)> {
    let count = rows.div_ceil(most);
    let at = |tile: usize| rows * tile / count;
    (0..count).map(|tile| (at(tile), at(tile + 1) - at(tile))).collect()
}

/// Live rows by aligned groups of [`BLOCK_ROWS`], or of as many as a tile has.
fn aligned(rows: &[u32], path: Path) -> Vec<(usize, usize)> {
    let block = match path.layout() {
        Layout::Integers | Layout::Halves | Layout::Fours => BLOCK_ROWS,
        Layout::Tiles => tiled::SIDE,
    };
    let mut first = 0;
    rows.chunk_by(|a, b| *a as usize / block == *b as usize / block)
        .map(|group| {
            first += group.len();
            (first - group.len(), group.len())
        })
        .collect()
}

per_isa! {
    /// The largest magnitude, as its encoding.
    fn magnitude_max(row: &[f32]) -> u32 {
        row.iter().fold(0, |max, x| max.max(x.to_bits() & 0x7fff_ffff))
    }
}

per_isa! {
    /// Marks the k of integers that are not zero.
    fn mark_live(row: &[f32], scale: f64, live: &mut [u32]) {
        for (live, &x) in live.iter_mut().zip(row) {
            // An integer is not zero from more than a half on: the tie goes to zero.
            *live |= u32::from((f64::from(x) * scale).abs() > 0.5);
        }
    }
}

per_isa! {
    /// Values times their row's scale, rounded to integers; zeros where the scale is.
    fn integers_of(row: &[f32], scale: f64, integers: &mut [i32]) {
        if scale == 0.0 {
            integers.fill(0);
            return;
        }
        for (integer, &x) in integers.iter_mut().zip(row) {
            *integer = (f64::from(x) * scale + TO_INTEGER).to_bits() as i32;
        }
    }
}
