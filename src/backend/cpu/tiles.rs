//! Dense-style products: tiles of A's rows against panels of V.
//!
//! One micro-kernel serves every selection: it walks a list of k, so leaving rows or columns
//! out is a matter of what was packed. Chains live in registers within a k-block and in a
//! scratch buffer between blocks; Y is written once, at the end.

use ndarray::{ArrayView2, ArrayViewMut2, CowArray, Ix2};

use super::Isa;
use super::memory::{AlignedBuffer, OutputRows, SharedMut, contiguous_rows, row};
use super::order::Order;
use super::packed::{PANEL, PackedV};
use super::scratch::{Scratch, finish_rows};
use super::threads::parallel_for;
use super::tile_kernels::{TileCall, rows_max, run_tile};
use super::tile_pack::interleave;
use contract::arithmetic::Slices;

/// Rows of A that a block-selection tile covers: block sizes are multiples of it.
const BLOCK_ROWS: usize = 8;

/// Positions in a k-block: 64 KiB of V a panel.
const BLOCK_LEN: usize = 512;

/// What is worked on while a k-block of V is in L2.
struct Blocking {
    /// Panels that are finished before the next ones are begun. With all panels of a wide V each tile would fetch its
    /// k-block from L3 again, at half the speed (n = 2500).
    panels: usize,
    /// Tiles that share the k-block. Their chains lie in L2 too: 128 bytes a row and panel.
    tiles: usize,
}

impl Blocking {
    fn of(isa: Isa) -> Blocking {
        match isa {
            // L2 is 1 MiB or more where there are such vectors: 512 KiB of V and 573 KB of chains.
            Isa::Avx512 => Blocking { panels: 8, tiles: 40 },
            // 512 KiB: 256 KiB of V and 98 KB of chains. With eight panels a wide V (n = 1024) is a tenth slower.
            Isa::Avx2 | Isa::Portable => Blocking { panels: 4, tiles: 16 },
        }
    }
}

/// Items that each thread should find, so that a slow core holds the others up little.
const ITEMS_PER_THREAD: usize = 8;

/// Which part of A takes part in the product. What is left out is exactly zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// Every row and every k: multiplies each zero.
    All,
    /// Rows that have a non-zero; every k.
    LiveRows,
    /// Rows that have a non-zero, and the k where any row has one.
    LiveColumns,
    /// Per aligned group of eight rows: its live rows, and the k where any of them is non-zero.
    Blocks,
}

impl Selection {
    pub const ALL: [Selection; 4] =
        [Selection::All, Selection::LiveRows, Selection::LiveColumns, Selection::Blocks];
}

/// A few packed rows and the k they are multiplied at.
struct Tile {
    /// The tile's rows are `rows[first_row..first_row + height]`.
    first_row: usize,
    height: usize,
    /// Where its values start: `[k of its list][height]`.
    first_value: usize,
    list: usize,
}

/// A row chunk of A (m x k, f32), packed for [`gemm_chain`].
///
/// | array | length | holds |
/// |---|---|---|
/// | `rows` | packed rows | the original row of each packed row, ascending |
/// | `values` | sum over tiles of list length x height | A, per tile `[k of its list][height]` |
/// | `ks` | sum of the lists' lengths | the original k of each list's entries |
/// | `bounds` | lists x (blocks + 1) | where each k-block of each list starts in `ks` |
///
/// Invariants: rows are below `m` and entries of `ks` below `k`; a tile's height is 1 to
/// `rows_max` of its path; the bounds of a list ascend and lie inside `ks`.
pub struct TiledA {
    isa: Isa,
    m: usize,
    order: Order,
    k: usize,
    rows: Vec<u32>,
    tiles: Vec<Tile>,
    ks: Vec<u32>,
    bounds: Vec<usize>,
    values: AlignedBuffer,
}

impl TiledA {
    /// Packs the selected part of `a` with the given number of threads.
    ///
    /// Panics where `isa` is not available, where `slices` leaves a k without a slice, or where
    /// a dimension exceeds 2^32 - 1.
    pub fn pack(
        a: ArrayView2<'_, f32>,
        selection: Selection,
        slices: Slices,
        isa: Isa,
        threads: usize,
    ) -> TiledA {
        assert!(isa.is_available(), "{isa} is not available on this processor");
        let (m, k) = a.dim();
        assert!(u32::try_from(m).is_ok(), "m = {m} is over the limit of 2^32 - 1");
        let a = contiguous_rows(a);
        let order = Order::new(k, slices, BLOCK_LEN, usize::MAX);

        let rows = match selection {
            Selection::All => (0..m as u32).collect(),
            Selection::LiveRows | Selection::LiveColumns | Selection::Blocks => {
                live_rows(&a, threads)
            }
        };
        let groups = match selection {
            Selection::Blocks => aligned_groups(&rows),
            Selection::All | Selection::LiveRows | Selection::LiveColumns => {
                balanced_groups(rows.len(), rows_max(isa))
            }
        };
        let mut tiled = TiledA {
            isa,
            m,
            k,
            order,
            rows,
            tiles: Vec::with_capacity(groups.len()),
            ks: Vec::new(),
            bounds: Vec::new(),
            values: AlignedBuffer::zeroed(0),
        };
        match selection {
            Selection::All | Selection::LiveRows => tiled.add_list(|_| true),
            Selection::LiveColumns => {
                let live = live_columns(&a, &tiled.rows);
                tiled.add_list(|k| live[k]);
            }
            Selection::Blocks => {}
        }
        let mut value_count = 0;
        for (first_row, height) in groups {
            if selection == Selection::Blocks {
                let live = live_columns(&a, &tiled.rows[first_row..first_row + height]);
                tiled.add_list(|k| live[k]);
            }
            let list = tiled.lists() - 1;
            tiled.tiles.push(Tile { first_row, height, first_value: value_count, list });
            value_count += height * tiled.list(list).len();
        }
        // SAFETY: the tiles' value ranges follow each other and add up to the buffer, and
        // `interleave` writes all of a range.
        tiled.values = unsafe {
            AlignedBuffer::filled(value_count, |values| {
                let values = SharedMut::of(values);
                parallel_for(threads, tiled.tiles.len(), |t| {
                    let tile = &tiled.tiles[t];
                    let ks = tiled.list(tile.list);
                    let start = values.get().add(tile.first_value);
                    let to = std::slice::from_raw_parts_mut(start, tile.height * ks.len());
                    let rows = &tiled.rows[tile.first_row..tile.first_row + tile.height];
                    interleave(isa, &a, rows, ks, to);
                });
            })
        };
        tiled
    }

    /// Adds the list of those k that `keep` keeps, in the order of the walk.
    fn add_list(&mut self, keep: impl Fn(usize) -> bool) {
        self.bounds.push(self.ks.len());
        for block in &self.order.blocks {
            for i in block.start..block.end {
                let k = self.order.k_at(i);
                if keep(k) {
                    self.ks.push(k as u32);
                }
            }
            self.bounds.push(self.ks.len());
        }
    }

    fn lists(&self) -> usize {
        self.bounds.len() / (self.order.blocks.len() + 1)
    }

    /// The bounds of list `list`'s blocks in `ks`.
    fn list_bounds(&self, list: usize) -> &[usize] {
        let len = self.order.blocks.len() + 1;
        &self.bounds[list * len..(list + 1) * len]
    }

    /// The k of list `list`.
    fn list(&self, list: usize) -> &[u32] {
        let bounds = self.list_bounds(list);
        &self.ks[bounds[0]..bounds[bounds.len() - 1]]
    }

    /// The k of a tile in k-block `b`, and its values there: `[k][height]`.
    fn block(&self, tile: &Tile, b: usize) -> (&[u32], &[f32]) {
        let bounds = self.list_bounds(tile.list);
        let first_value = tile.first_value + (bounds[b] - bounds[0]) * tile.height;
        let ks = &self.ks[bounds[b]..bounds[b + 1]];
        (ks, &self.values[first_value..first_value + ks.len() * tile.height])
    }

    /// Rows of A, dead ones included.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Columns of A.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Values that take part in the product, zeros among them included.
    pub fn values_held(&self) -> usize {
        self.values.len()
    }

    /// Bytes of the packed form.
    pub fn bytes_held(&self) -> usize {
        size_of_val::<[f32]>(&self.values)
            + size_of_val(self.rows.as_slice())
            + size_of_val(self.tiles.as_slice())
            + size_of_val(self.ks.as_slice())
            + size_of_val(self.bounds.as_slice())
    }
}

/// Y = A V in f32-chain arithmetic. Writes all of `y` (m x n); rows left out become +0.
///
/// Panics where the shapes do not fit each other.
pub fn gemm_chain(a: &TiledA, v: &PackedV, mut y: ArrayViewMut2<'_, f32>, threads: usize) {
    assert_eq!(a.k, v.k(), "columns of A against rows of V");
    assert_eq!(y.dim(), (a.m, v.n()), "Y against rows of A and columns of V");
    if a.m == 0 || v.n() == 0 {
        return;
    }
    let output = OutputRows::of(&mut y);
    let tiles = a.tiles.len();
    let most = Blocking::of(a.isa).tiles;
    let tiles_per_item = match threads {
        // Nobody to balance with: the fewer items, the fewer times V is fetched.
        0 | 1 => most,
        _ => tiles.div_ceil(threads * ITEMS_PER_THREAD).clamp(1, most),
    };
    let items = tiles.div_ceil(tiles_per_item).max(1);
    parallel_for(threads, items, |item| {
        let tiles = &a.tiles[tiles * item / items..tiles * (item + 1) / items];
        let next = a.tiles.get(a.tiles.len() * (item + 1) / items);
        // An item owns the rows from its first tile up to the next item's first tile.
        let first = match tiles.first() {
            Some(tile) if item > 0 => a.rows[tile.first_row] as usize,
            _ => 0,
        };
        let end = next.map_or(a.m, |tile| a.rows[tile.first_row] as usize);
        run_item(a, v, tiles, first..end, output);
    });
}

/// The rows `range` of Y, to which exactly `tiles` contribute.
fn run_item(
    a: &TiledA,
    v: &PackedV,
    tiles: &[Tile],
    range: std::ops::Range<usize>,
    output: OutputRows,
) {
    let at_once = Blocking::of(a.isa).panels;
    for first in (0..v.panels()).step_by(at_once) {
        run_panels(a, v, tiles, first..v.panels().min(first + at_once), output);
    }
    let mut next = range.start;
    for &i in tiles.iter().flat_map(|tile| &a.rows[tile.first_row..tile.first_row + tile.height]) {
        finish_rows(output, next..i as usize);
        next = i as usize + 1;
    }
    finish_rows(output, next..range.end);
}

/// The columns of `panels`, in the rows of `tiles`.
fn run_panels(
    a: &TiledA,
    v: &PackedV,
    tiles: &[Tile],
    panels: std::ops::Range<usize>,
    output: OutputRows,
) {
    assert_eq!(a.k, v.k(), "columns of A against rows of V");
    let first_row = tiles.first().map_or(0, |tile| tile.first_row);
    let row_count = tiles.last().map_or(0, |tile| tile.first_row + tile.height - first_row);
    let width = panels.len() * PANEL;
    Scratch::with(row_count * width, a.order.sums_slices, |scratch| {
        for (b, block) in a.order.blocks.iter().enumerate() {
            for (t, tile) in tiles.iter().enumerate() {
                let (ks, values) = a.block(tile, b);
                if ks.is_empty() && !block.opens_slice {
                    continue;
                }
                let next = tiles.get(t + 1).map_or(&[][..], |next| a.block(next, b).1);
                for (q, p) in panels.clone().enumerate() {
                    let at = (tile.first_row - first_row) * width + q * tile.height * PANEL;
                    let call = TileCall {
                        isa: a.isa,
                        height: tile.height,
                        values,
                        ks,
                        panel: v.panel(p),
                        width: v.panel_width(p),
                        chains: &mut scratch.chains[at..at + tile.height * PANEL],
                        ahead: if p + 1 == panels.end { next } else { &[] },
                        ahead_v: v_ahead(a, v, tile, (b, t), p),
                        fresh: block.opens_slice,
                    };
                    // SAFETY: `TiledA::pack` makes sure of the path; its lists hold k below A's columns, which are
                    // the panel's rows.
                    unsafe { run_tile(call) }
                }
            }
            if block.closes_slice {
                scratch.close_slice();
            }
        }
        let sums = scratch.sums();
        for tile in tiles {
            let values = &sums[(tile.first_row - first_row) * width..][..tile.height * width];
            for (r, &i) in a.rows[tile.first_row..tile.first_row + tile.height].iter().enumerate() {
                for (q, p) in panels.clone().enumerate() {
                    let at = (q * tile.height + r) * PANEL;
                    // SAFETY: the item owns the rows of its tiles, and `gemm_chain` holds Y.
                    unsafe {
                        output.write(i as usize, p * PANEL, &values[at..at + v.panel_width(p)]);
                    }
                }
            }
        }
    });
}

/// What tile `t` fetches of V while it multiplies k-block `b` of panel `p`: the first two tiles fetch half a k-block
/// each, of the next block or of the next panels' first one. A few rows are done with a block before V is there.
fn v_ahead<'v>(
    a: &TiledA,
    v: &'v PackedV,
    tile: &Tile,
    (b, t): (usize, usize),
    p: usize,
) -> &'v [f32] {
    let is_last = b + 1 == a.order.blocks.len();
    let (b, p) = if is_last { (0, p + Blocking::of(a.isa).panels) } else { (b + 1, p) };
    let ks = a.block(tile, b).0;
    let (Some(&first), Some(&last)) = (ks.first(), ks.last()) else { return &[] };
    // Lines are fetched in a row: of a list with gaps many would be fetched for nothing.
    let is_whole = last.wrapping_sub(first) as usize + 1 == ks.len();
    if t > 1 || p >= v.panels() || !is_whole {
        return &[];
    }
    &v.panel(p)[(first as usize + t * (ks.len() / 2)) * PANEL..]
}

/// Rows with a non-zero, ascending.
fn live_rows(a: &CowArray<'_, f32, Ix2>, threads: usize) -> Vec<u32> {
    let mut live = vec![false; a.nrows()];
    let shared = SharedMut::of(&mut live);
    const CHUNK: usize = 64;
    parallel_for(threads, a.nrows().div_ceil(CHUNK), |item| {
        for i in item * CHUNK..a.nrows().min((item + 1) * CHUNK) {
            if is_live(&row(a, i)) {
                // SAFETY: `i` is below the length, and one thread looks at row `i`.
                unsafe { shared.get().add(i).write(true) }
            }
        }
    });
    (0..a.nrows() as u32).filter(|&i| live[i as usize]).collect()
}

/// Whether a row has a value that is not zero, of either sign.
fn is_live(row: &[f32]) -> bool {
    // Chunks keep the test free of a branch an element, and it still stops early.
    row.chunks(256).any(|chunk| chunk.iter().fold(0, |bits, x| bits | x.to_bits() << 1) != 0)
}

/// For each k, whether any of `rows` is non-zero there.
fn live_columns(a: &CowArray<'_, f32, Ix2>, rows: &[u32]) -> Vec<bool> {
    let mut bits = vec![0u32; a.ncols()];
    for &i in rows {
        for (bits, x) in bits.iter_mut().zip(row(a, i as usize).iter()) {
            *bits |= x.to_bits() << 1;
        }
    }
    bits.into_iter().map(|bits| bits != 0).collect()
}

/// Tiles of nearly equal height: `(first packed row, height)`.
fn balanced_groups(rows: usize, height_max: usize) -> Vec<(usize, usize)> {
    let tiles = rows.div_ceil(height_max);
    (0..tiles).map(|t| (rows * t / tiles, rows * (t + 1) / tiles - rows * t / tiles)).collect()
}

/// Tiles of the packed rows that share an aligned group of original rows.
fn aligned_groups(rows: &[u32]) -> Vec<(usize, usize)> {
    let mut first = 0;
    rows.chunk_by(|&a, &b| a as usize / BLOCK_ROWS == b as usize / BLOCK_ROWS)
        .map(|group| {
            first += group.len();
            (first - group.len(), group.len())
        })
        .collect()
}
