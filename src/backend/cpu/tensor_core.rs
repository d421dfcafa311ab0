//! Y = A V as a tensor core accumulates it, fast on a CPU, bit for bit.
//!
//! The rule is [`contract::arithmetic::tensor_core`]. Its integers are not needed in the common
//! case: while every non-zero operand lies within [2^-50, 2^51) and within 2^64 of the largest,
//! the product of two operands is exact in binary32, and so is its multiple by 2^(F - E);
//! converting that to an integer with truncation *is* the aligned term. A kernel therefore
//! makes two passes over a group, for many columns at once:
//!
//! 1. E = max of (exponent of a + exponent of v), in 8-bit lanes, and of the accumulator's
//!    exponent. Exponents are those of the operands, not of the product.
//! 2. sum of trunc((a * v) * 2^(F - E)) in 32-bit integers, then one conversion back to 24
//!    significant bits, rounding towards zero.
//!
//! Exponents are held relative to the largest one of their side, zero as -128 with saturating
//! addition, and the maximum starts at the lowest sum two non-zero operands can have. Starting
//! there changes nothing: every accumulator is a multiple of 2^(that sum - F).
//!
//! Rows of A and blocks of 16 columns of V that hold anything else (subnormal bf16, huge, tiny,
//! or far below the rest) take an exact integer path of their own.
//!
//! Skipping an aligned group of zeros, or a single zero, changes no bit: zero products take no
//! part, and the accumulator passes through a group without products unchanged (if F >= 23, as
//! in every published model). Products never move to another group.

mod bulk;
mod exact;
mod pack;
mod panels;
mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Mutex;

use ndarray::{Array2, ArrayViewMut2};

use super::{Isa, parallel_for};
use contract::arithmetic::tensor_core::Model;

pub use pack::{GroupSelection, GroupedA};
pub use panels::GroupedV;

/// Columns of a panel of V: 64 one-byte exponents fill one 512-bit register.
const PANEL: usize = 64;
/// Columns that are handled at once in 32-bit lanes, and the unit of the exact path.
const LANES: usize = 16;
/// Rows of A that share the loads of V.
const TILE_ROWS: usize = 2;
/// Rows that one task carries through all of k, so that its accumulators stay in L1.
const BLOCK_ROWS: usize = 64;
/// Rows of V between two visits of the same accumulators: 512 * 64 * 5 bytes = 160 KiB of V
/// and as much of A stay in L2.
const BLOCK_K: usize = 512;
/// Beyond this many products the sum could leave the binary32 range: 2^102 * 2^22 < 2^127.
const K_MAX: usize = 1 << 22;

/// One row of a panel, a cache line at a time.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Values([f32; PANEL]);

/// Exponents of one row of a panel.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Exponents([i8; PANEL]);

/// 64 columns of V, padded with zeros to whole groups.
#[derive(Clone, Copy)]
struct Panel<'a> {
    values: &'a [Values],
    exponents: &'a [Exponents],
    /// Blocks of 16 columns in use, 1 to 4.
    vectors: usize,
    /// Whether no operand of V was rounded to infinity.
    finite: bool,
}

/// One or two rows of A in some of their groups.
#[derive(Clone, Copy)]
struct Tile<'a> {
    rows: usize,
    /// Numbers of the groups, ascending: group g holds k in [g L, (g + 1) L).
    groups: &'a [u32],
    entries: Entries<'a>,
    /// `values[entry * rows + row]`, and the same for the exponents.
    values: &'a [f32],
    exponents: &'a [i8],
}

/// Which k the entries of a tile stand for.
#[derive(Clone, Copy)]
enum Entries<'a> {
    /// L entries for each group, in order.
    Whole,
    /// `starts[i]..starts[i + 1]` are the entries of the i-th group, `k` is each entry's k.
    Listed { starts: &'a [u32], k: &'a [u32] },
}

impl<'a> Tile<'a> {
    /// The same rows in the groups `groups` (positions in the list) alone.
    fn slice(self, groups: Range<usize>, group: usize) -> Tile<'a> {
        let stride = group * self.rows;
        match self.entries {
            Entries::Whole => Tile {
                groups: &self.groups[groups.clone()],
                values: &self.values[groups.start * stride..groups.end * stride],
                exponents: &self.exponents[groups.start * stride..groups.end * stride],
                ..self
            },
            Entries::Listed { starts, k } => Tile {
                groups: &self.groups[groups.clone()],
                entries: Entries::Listed { starts: &starts[groups.start..=groups.end], k },
                ..self
            },
        }
    }

    /// Entries of the i-th listed group.
    #[inline(always)]
    fn range(self, i: usize, group: usize) -> Range<usize> {
        match self.entries {
            Entries::Whole => i * group..(i + 1) * group,
            Entries::Listed { starts, .. } => starts[i] as usize..starts[i + 1] as usize,
        }
    }

    /// k of an entry of the i-th listed group.
    #[inline(always)]
    fn k(self, i: usize, entry: usize, group: usize) -> usize {
        match self.entries {
            Entries::Whole => self.groups[i] as usize * group + (entry - i * group),
            Entries::Listed { k, .. } => k[entry] as usize,
        }
    }
}

/// What a kernel needs to know besides its operands.
#[derive(Clone, Copy)]
struct Params {
    group: usize,
    fraction_bits: i32,
    /// Added to a relative exponent sum to give the exponent.
    bias: i32,
    /// The lowest relative exponent sum of two non-zero operands.
    floor: i8,
    /// Terms that a 32-bit sum can hold: |term| < 2^(F + 2).
    terms_max: usize,
}

impl Params {
    /// `None` where only the exact path is right.
    fn new(a: &GroupedA, v: &GroupedV) -> Option<Params> {
        let Model { group, fraction_bits, exponent_floor, .. } = a.model();
        let (a, v) = (a.window()?, v.window()?);
        let (top, low) = (a.top + v.top, a.low + v.low);
        // The kernels know of no floor: what may lie below it takes the exact path.
        let fits = (1..=26).contains(&fraction_bits) && low >= exponent_floor;
        fits.then_some(Params {
            group,
            fraction_bits,
            bias: top,
            // Two spreads of at most 64 binades.
            floor: i8::try_from(low - top).expect("two spreads add up to 128 at most"),
            terms_max: 1 << (29 - fraction_bits),
        })
    }
}

/// Y = A V, all of `y` (m x n, binary32) written, dead rows as +0.
///
/// The bits are those of [`contract::arithmetic::tensor_core::dot`] for every element. `threads` =
/// 1 runs in the calling thread; otherwise that many tasks run in the current rayon pool.
///
/// # Panics
///
/// If the shapes disagree, or A and V were prepared for different models.
pub fn gemm_tensor_core(a: &GroupedA, v: &GroupedV, mut y: ArrayViewMut2<f32>, threads: usize) {
    assert_eq!(y.dim(), (a.m(), v.n()), "shape of Y");
    assert_eq!(a.k(), v.k(), "k of A and of V");
    assert_eq!(Some(a.model()), v.model(), "models of A and of V");
    if y.is_empty() {
        return;
    }
    match y.as_slice_mut() {
        Some(y) => gemm(a, v, y, threads),
        None => {
            let mut rows = Array2::zeros(y.dim());
            gemm(a, v, rows.as_slice_mut().expect("a new array is contiguous"), threads);
            y.assign(&rows);
        }
    }
}

fn gemm(a: &GroupedA, v: &GroupedV, mut y: &mut [f32], threads: usize) {
    let params = if a.k() < K_MAX { Params::new(a, v) } else { None };
    // Several blocks for each task, so that uneven tiles even out.
    let tasks = a.tile_count().div_ceil(4 * threads.max(1));
    let step = tasks.clamp(1, BLOCK_ROWS / TILE_ROWS);
    let mut blocks = Vec::new();
    let mut row = 0;
    for first in (0..a.tile_count()).step_by(step) {
        let tiles = first..(first + step).min(a.tile_count());
        let end = if tiles.end == a.tile_count() { a.m() } else { a.first_row(tiles.end) };
        let (rows, rest) = y.split_at_mut((end - row) * v.n());
        blocks.push((tiles, row, rows));
        (row, y) = (end, rest);
    }
    // Nothing is live: what is left of Y is all of it.
    y.fill(0.0);
    for_each(threads, blocks, |(tiles, row, y)| block(a, v, params, tiles, row, y));
}

/// Hands every item to `work`, on `threads` workers.
fn for_each<T: Send>(threads: usize, items: Vec<T>, work: impl Fn(T) + Sync) {
    // Each item goes to one worker, once; the locks are never contended.
    let items: Vec<_> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    parallel_for(threads, items.len(), |i| {
        let item = items[i].lock().expect("no worker panics under the lock").take();
        work(item.expect("every item is handed out once"));
    });
}

/// The rows of Y from `first_row` on that the tiles `tiles` are responsible for.
fn block(
    a: &GroupedA,
    v: &GroupedV,
    params: Option<Params>,
    tiles: Range<usize>,
    first_row: usize,
    y: &mut [f32],
) {
    y.fill(0.0);
    let n = v.n();
    let group = a.model().group;
    // The accumulator is a binary32 between groups, so it can be put down between blocks of k.
    let mut sums = vec![[Values([0.0; PANEL]); TILE_ROWS]; tiles.len()];
    let mut next = vec![0; tiles.len()];
    for p in 0..v.panel_count() {
        let panel = v.panel(p);
        sums.fill([Values([0.0; PANEL]); TILE_ROWS]);
        if let Some(params) = params {
            next.fill(0);
            let step = (BLOCK_K / group).max(1);
            for end in (step..a.group_count() + step).step_by(step) {
                for ((t, sums), next) in tiles.clone().zip(&mut sums).zip(&mut next) {
                    let tile = a.tile(t);
                    if a.is_wild(t) {
                        continue;
                    }
                    let ahead = &tile.groups[*next..];
                    // Lists are dense as often as not: try the whole step before searching.
                    let count = match ahead.get(step) {
                        Some(&g) if g as usize == end => step,
                        _ => ahead.partition_point(|&g| (g as usize) < end),
                    };
                    if count > 0 {
                        let tile = tile.slice(*next..*next + count, group);
                        // SAFETY: `GroupedA::pack` makes sure of the path, and packs groups in their order and k below
                        // A's columns, which are the panel's rows.
                        unsafe { run(a.isa(), params, tile, panel, sums) };
                        *next += count;
                    }
                }
            }
        }
        for (t, sums) in tiles.clone().zip(&mut sums) {
            for c in 0..panel.vectors {
                if params.is_none() || a.is_wild(t) || v.is_wild(p, c) {
                    exact::run(a.isa(), a.model(), a.tile(t), panel, c, sums);
                }
            }
        }
        let columns = p * PANEL..((p + 1) * PANEL).min(n);
        for (t, sums) in tiles.clone().zip(&sums) {
            for (&row, sums) in a.tile_rows(t).iter().zip(sums) {
                let y = &mut y[(row as usize - first_row) * n..][..n];
                y[columns.clone()].copy_from_slice(&sums.0[..columns.len()]);
            }
        }
    }
}

/// One tile times one panel on the chosen path; `sums` are the accumulators, read and written.
/// Panics where the operands' lengths do not fit each other.
///
/// # Safety
///
/// The path is available. The tile's groups ascend; of listed entries the starts ascend and each k is a row of the
/// panel.
unsafe fn run(isa: Isa, params: Params, tile: Tile, panel: Panel, sums: &mut [Values; TILE_ROWS]) {
    check(params, tile, panel);
    match isa {
        Isa::Portable => portable::run(params, tile, panel, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            // SAFETY: the caller's promise, and the operands have just been checked.
            unsafe { avx2::run(params, tile, panel, sums) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            // SAFETY: as above.
            unsafe { avx512::run(params, tile, panel, sums) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => unreachable!("refused by `GroupedA::pack`"),
    }
}

/// What the kernels' unchecked reads rely on, as far as a few comparisons per tile and block of k can say; the rest is
/// promised by who calls [`run`].
fn check(params: Params, tile: Tile, panel: Panel) {
    assert!((1..=TILE_ROWS).contains(&tile.rows));
    assert!((1..=PANEL / LANES).contains(&panel.vectors));
    assert_eq!(panel.values.len(), panel.exponents.len());
    assert_eq!(tile.values.len(), tile.exponents.len());
    let last = tile.groups.last().map_or(0, |&g| (g as usize + 1) * params.group);
    assert!(last <= panel.values.len());
    match tile.entries {
        Entries::Whole => {
            assert_eq!(tile.values.len(), tile.groups.len() * params.group * tile.rows);
            debug_assert!(tile.groups.is_sorted());
        }
        Entries::Listed { starts, k } => {
            assert_eq!(starts.len(), tile.groups.len() + 1);
            assert!(starts[tile.groups.len()] as usize <= k.len());
            assert_eq!(tile.values.len(), k.len() * tile.rows);
            debug_assert!(starts.is_sorted());
            debug_assert!(k.iter().all(|&k| (k as usize) < panel.values.len()));
        }
    }
}

/// Largest and smallest exponent of a set of non-zero operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    top: i32,
    low: i32,
}

impl Window {
    /// Exponents that the fast path can work with at all.
    const EXPONENT_MAX: i32 = 50;
    /// Binades below the largest exponent that fit its 8-bit lanes.
    const SPREAD_MAX: i32 = 64;

    /// The window of rounded operands, `None` if all are zero. Infinity counts as 2^128.
    #[inline(always)]
    fn of(values: &[f32], exponent_min: i32) -> Option<Window> {
        let (mut top, mut low) = (0, u32::MAX);
        for x in values {
            let magnitude = x.to_bits() & 0x7fff_ffff;
            top = top.max(magnitude);
            // Zero wraps around to the largest value.
            low = low.min(magnitude.wrapping_sub(1));
        }
        // The smallest magnitude is one above `low`.
        (top != 0).then(|| Window {
            top: exponent(top, exponent_min),
            low: exponent(low + 1, exponent_min),
        })
    }

    /// The window that the fast path serves, and which of `parts` lie outside it. Without a
    /// non-zero operand any window will do.
    fn choose(parts: &[Option<Window>]) -> (Option<Window>, Vec<bool>) {
        let fits = |window: &Window| {
            window.top <= Window::EXPONENT_MAX && window.low >= -Window::EXPONENT_MAX
        };
        let tops = parts.iter().flatten().filter(|&w| fits(w)).map(|window| window.top);
        let Some(top) = tops.max() else {
            let wild: Vec<bool> = parts.iter().map(Option::is_some).collect();
            let empty = !wild.contains(&true);
            return (empty.then_some(Window { top: 0, low: 0 }), wild);
        };
        let inside = |w: &Window| fits(w) && w.low >= top - Window::SPREAD_MAX;
        let wild: Vec<bool> =
            parts.iter().map(|window| window.is_some_and(|w| !inside(&w))).collect();
        let low = parts.iter().flatten().filter(|&w| inside(w)).map(|window| window.low).min();
        // The row that gave `top` may itself reach too far down.
        (Some(Window { top, low: low.unwrap_or(top) }), wild)
    }

    /// The exponent of an operand relative to the window's largest, zero as -128.
    #[inline(always)]
    fn relative(self, x: f32, exponent_min: i32) -> i8 {
        let magnitude = x.to_bits() & 0x7fff_ffff;
        let difference = exponent(magnitude, exponent_min) - self.top;
        // Only what the exact path serves is out of range here.
        if magnitude == 0 { -128 } else { difference.clamp(-128, 127) as i8 }
    }
}

/// The exponent of the binary32 with these bits, not below `exponent_min`.
#[inline(always)]
fn exponent(magnitude: u32, exponent_min: i32) -> i32 {
    ((magnitude >> 23) as i32 - 127).max(exponent_min)
}
