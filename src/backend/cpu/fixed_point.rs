//! Y = A V in fixed-point arithmetic, fast on a CPU, bit for bit.
//!
//! The rule is [`contract::arithmetic::fixed_point`]: integers of up to 23 bits and a sign, their exact sum in 64 bits, one
//! rounding. Three ways to the sum are used, and any other would give the same:
//!
//! - **Binary64.** A product has 46 bits, and 128 of them add up to 2^53 at most: so many are summed by fused
//!   multiply-adds, or by a multiplication and an addition, each of which is exact. The result is added to 64-bit
//!   integers.
//! - **16-bit halves** (AVX512-VNNI). An integer is h 2^12 + l with |l| <= 2^11 and |h| <= 2040. A product is h h' 2^24 + (h l' +
//!   l h') 2^12 + l l', whose middle is (h + l)(h' + l') - h h' - l l': three products of 16-bit integers in place of four. 128
//!   of each stay within 32 bits with a sign: 128 * 4088^2 < 2^31.
//! - **Digits of 8 bits** (AMX-INT8, NEON's dot products). An integer is d 2^16 + d' 2^8 + d'', digits from -128 to 127: nine
//!   products, of which those of one weight are summed in 32 bits.
//!
//! A and V are laid out for the path by [`FixedA::pack`] and [`FixedV::load`]. An element whose integer is zero contributes
//! nothing, so whatever a selection leaves out changes no bit.

mod kernels;
mod pack;
mod panels;
#[cfg(test)]
mod tests;
mod tiled;

use std::cell::RefCell;
use std::ops::Range;

use ndarray::ArrayViewMut2;

use super::memory::OutputRows;
use super::{Isa, amx, parallel_for, per_isa};
use kernels::{Call, Kernel};
use pack::Tile;

pub use pack::{FixedA, FixedSelection};
pub use panels::FixedV;

/// How a processor sums products of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// In binary64, as the compiler makes it.
    Portable,
    /// In binary64, 256-bit vectors with fused multiply-add.
    Avx2,
    /// In binary64, 512-bit vectors with fused multiply-add.
    Avx512,
    /// In 16-bit halves, 512-bit vectors (AVX512-VNNI).
    Vnni,
    /// In digits of 8 bits, tiles (AMX-INT8).
    Amx,
    /// In digits of 8 bits, sums of four products (NEON's `sdot`).
    Sdot,
    /// The same by plain code.
    #[cfg(test)]
    AmxModel,
}

/// How A and V lie for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Integers of A in 32 bits, of V in binary64.
    Integers,
    /// [`panels::HALVES`] of 16 bits for two k.
    Halves,
    /// [`DIGITS`] tiles of 8 bits for 64 k.
    Tiles,
    /// [`DIGITS`] vectors of 8 bits, of four rows or columns, for four k.
    Fours,
}

/// Digits of 8 bits of an integer.
const DIGITS: usize = 3;

impl Path {
    #[cfg(test)]
    const ALL: [Path; 7] = [
        Path::Portable,
        Path::Avx2,
        Path::Avx512,
        Path::Vnni,
        Path::Amx,
        Path::Sdot,
        Path::AmxModel,
    ];

    /// The fastest that a dispatch path has on this processor for a selection.
    fn of(isa: Isa, selection: FixedSelection) -> Path {
        match (isa, selection) {
            // Tiles and vectors are of many rows: single ones would waste them.
            (Isa::Portable, FixedSelection::Elements) => Path::Portable,
            (Isa::Portable, _) if Path::Sdot.is_available() => Path::Sdot,
            (Isa::Portable, _) => Path::Portable,
            (Isa::Avx2, _) => Path::Avx2,
            (Isa::Avx512, FixedSelection::Elements) => Path::of_elements(),
            (Isa::Avx512, _) if Path::Amx.is_available() => Path::Amx,
            (Isa::Avx512, _) => Path::of_elements(),
        }
    }

    /// The fastest of 512-bit vectors.
    fn of_elements() -> Path {
        if Path::Vnni.is_available() { Path::Vnni } else { Path::Avx512 }
    }

    /// The dispatch path that it belongs to.
    fn isa(self) -> Isa {
        match self {
            Path::Portable | Path::Sdot => Isa::Portable,
            Path::Avx2 => Isa::Avx2,
            Path::Avx512 | Path::Vnni | Path::Amx => Isa::Avx512,
            #[cfg(test)]
            Path::AmxModel => Isa::Portable,
        }
    }

    fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self == Path::Vnni && !is_x86_feature_detected!("avx512vnni") {
            return false;
        }
        if self == Path::Amx && amx::is_available(amx::Operands::Int8).is_err() {
            return false;
        }
        #[cfg(target_arch = "aarch64")]
        let has_sdot = std::arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(not(target_arch = "aarch64"))]
        let has_sdot = false;
        self.isa().is_available() && (self != Path::Sdot || has_sdot)
    }

    fn layout(self) -> Layout {
        match self {
            Path::Portable | Path::Avx2 | Path::Avx512 => Layout::Integers,
            Path::Vnni => Layout::Halves,
            Path::Amx => Layout::Tiles,
            Path::Sdot => Layout::Fours,
            #[cfg(test)]
            Path::AmxModel => Layout::Tiles,
        }
    }

    /// Its name in a plan.
    fn name(self) -> &'static str {
        match self {
            Path::Portable => "binary64",
            Path::Avx2 => "binary64 on AVX2",
            Path::Avx512 => "binary64 on AVX-512",
            Path::Vnni => "halves of 16 bits on AVX512-VNNI",
            Path::Amx => "digits of 8 bits on AMX-INT8",
            Path::Sdot => "digits of 8 bits on NEON's dot products",
            #[cfg(test)]
            Path::AmxModel => "digits of 8 bits by plain code",
        }
    }

    /// Columns of a panel of V: those that a kernel has sums of at once.
    fn panel(self) -> usize {
        match self {
            Path::Portable | Path::Avx2 => 8,
            Path::Avx512 | Path::Vnni => 32,
            Path::Amx => tiled::SIDE,
            Path::Sdot => 4,
            #[cfg(test)]
            Path::AmxModel => tiled::SIDE,
        }
    }

    /// Rows of a tile of A at most.
    fn rows_max(self) -> usize {
        match self {
            Path::Portable => 4,
            // Twelve of 16 registers, or 24 of 32, are sums.
            Path::Avx2 | Path::Avx512 => 6,
            // Three sums for each output.
            Path::Vnni => 4,
            Path::Amx => tiled::SIDE,
            // Five sums for each output.
            Path::Sdot => 4,
            #[cfg(test)]
            Path::AmxModel => tiled::SIDE,
        }
    }

    /// Consecutive k that an entry of a tile's list stands for.
    fn entry(self) -> usize {
        match self.layout() {
            Layout::Integers => 1,
            Layout::Halves => 2,
            Layout::Tiles => tiled::ENTRY,
            Layout::Fours => 4,
        }
    }

    /// Words of 32 bits that an entry holds for a tile of so many rows.
    fn entry_words(self, height: usize) -> usize {
        match self.layout() {
            Layout::Integers => height,
            Layout::Halves => panels::HALVES * height,
            // Rows that are not there are zeros.
            Layout::Tiles => DIGITS * tiled::SIDE * tiled::ENTRY / 4,
            Layout::Fours => DIGITS * 4,
        }
    }

    /// Entries whose products a kernel may sum before the sums go to 64 bits.
    fn entries_max(self) -> usize {
        match self.layout() {
            Layout::Integers | Layout::Halves => TERMS_MAX / self.entry(),
            Layout::Tiles => tiled::ENTRIES_MAX,
            // Far from what 32 bits hold, 3 * 2^14 for each k: 12 KiB of a tile of A, and of a panel of V.
            Layout::Fours => 256,
        }
    }

    /// Panels of V that are finished before the next ones are begun.
    fn panels_at_once(self) -> usize {
        match self.layout() {
            Layout::Integers | Layout::Halves | Layout::Fours => 16,
            // With the sums of as many tiles of A 400 KiB, and twice that much of V is in the second cache.
            Layout::Tiles => 8,
        }
    }

    /// Rows of A that share what is fetched of V, at most.
    fn item_rows(self) -> usize {
        match self.layout() {
            // With 512 columns of 64-bit sums and their chunk of A they stay in L2.
            Layout::Integers | Layout::Halves | Layout::Fours => 96,
            Layout::Tiles => 8 * tiled::SIDE,
        }
    }
}

/// Whether a dispatch path multiplies in tiles on this processor, all but single rows.
pub fn fixed_point_has_tiles(isa: Isa) -> bool {
    Path::of(isa, FixedSelection::All).layout() == Layout::Tiles
}

/// Products that binary64 sums exactly, and whose 16-bit halves 32 bits do.
const TERMS_MAX: usize = 128;

/// Items that each thread should find, so that a slow core holds the others up little.
const ITEMS_PER_THREAD: usize = 8;

/// Columns of the panels that are finished together, at most: 16 of 32.
const COLUMNS_MAX: usize = 512;

/// Y = A V, all of `y` (m x n, binary32) written, dead rows as +0.
///
/// The bits are those of [`contract::arithmetic::fixed_point::dot`] for every element.
///
/// Panics where the shapes do not fit each other, or A and V were laid out for different dispatch paths.
pub fn gemm_fixed_point(a: &FixedA, v: &FixedV, mut y: ArrayViewMut2<'_, f32>, threads: usize) {
    assert_eq!(a.k(), v.k(), "columns of A against rows of V");
    assert_eq!(y.dim(), (a.m(), v.n()), "Y against rows of A and columns of V");
    if y.is_empty() {
        return;
    }
    let v = v.laid_out_for(a.path());
    assert_eq!(a.path(), v.path(), "the path of A against that of V");
    let output = OutputRows::of(&mut y);
    let tiles = a.tiles().len();
    let most = a.path().item_rows() / a.path().rows_max();
    let panels_at_once = a.path().panels_at_once();
    let tiles_per_item = match threads {
        0 | 1 => most,
        _ => tiles.div_ceil(threads * ITEMS_PER_THREAD).clamp(1, most),
    };
    let items = tiles.div_ceil(tiles_per_item).max(1);
    parallel_for(threads, items, |item| {
        let tiles = &a.tiles()[tiles * item / items..tiles * (item + 1) / items];
        let next = a.tiles().get(a.tiles().len() * (item + 1) / items);
        // An item owns the rows from its first tile up to the next item's first tile.
        let first = match tiles.first() {
            Some(tile) if item > 0 => a.row(tile.first_row),
            _ => 0,
        };
        let end = next.map_or(a.m(), |tile| a.row(tile.first_row));
        for first in (0..v.panels()).step_by(panels_at_once) {
            run_panels(a, v, tiles, first..v.panels().min(first + panels_at_once), output);
        }
        let mut next = first;
        let zeros = |rows: Range<usize>| {
            for i in rows {
                // SAFETY: the item owns these rows, and the product holds Y until it returns.
                unsafe { output.write_zeros(i) }
            }
        };
        for i in tiles.iter().flat_map(|tile| tile.rows()).map(|row| a.row(row)) {
            zeros(next..i);
            next = i + 1;
        }
        zeros(next..end);
    });
}

thread_local! {
    /// 64-bit sums, and A's integers in binary64: kept from call to call, since fresh pages cost more than they hold.
    static SCRATCH: RefCell<(Vec<i64>, Vec<f64>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// The columns of `panels`, in the rows of `tiles`.
fn run_panels(a: &FixedA, v: &FixedV, tiles: &[Tile], panels: Range<usize>, output: OutputRows) {
    let path = a.path();
    let width = path.panel();
    let first_row = tiles.first().map_or(0, |tile| tile.first_row);
    let row_count = tiles.last().map_or(0, |tile| tile.rows().end - first_row);
    SCRATCH.with_borrow_mut(|(sums, wide)| {
        sums.clear();
        sums.resize(row_count * panels.len() * width, 0);
        match path.layout() {
            Layout::Tiles => tiled::add(a, v, tiles, panels.clone(), sums),
            Layout::Integers | Layout::Halves | Layout::Fours => {
                add(a, v, tiles, panels.clone(), sums, wide)
            }
        }
        let columns = panels.start * width..v.n().min(panels.end * width);
        let factors = &v.factors()[columns.clone()];
        let (mut of_row, mut y) = ([0; COLUMNS_MAX], [0.0; COLUMNS_MAX]);
        let y = &mut y[..columns.len()];
        let mut rest = &sums[..];
        for tile in tiles {
            let of_tile;
            (of_tile, rest) = rest.split_at(tile.height * panels.len() * width);
            for (r, row) in tile.rows().enumerate() {
                // All panels' sums in one run, which single rows have already.
                let sums = if tile.height == 1 {
                    of_tile
                } else {
                    let of_panels = of_tile.chunks_exact(width).skip(r).step_by(tile.height);
                    for (to, sums) in of_row.chunks_exact_mut(width).zip(of_panels) {
                        to.copy_from_slice(sums);
                    }
                    &of_row
                };
                finish(path.isa(), &sums[..y.len()], a.factor(row), factors, y);
                // SAFETY: the item owns the rows of its tiles, and `gemm_fixed_point` holds Y.
                unsafe { output.write(a.row(row), columns.start, y) }
            }
        }
    });
}

/// A tile's next entries, and the kernel of its height.
struct Piece<'a> {
    kernel: Kernel,
    ks: &'a [u32],
    values: &'a [i32],
    wide: &'a [f64],
    /// Where its sums begin, those of the first panel, and how many each panel has.
    sums: usize,
    sums_of_panel: usize,
}

/// Adds the products of `tiles` and `panels` to `sums`, which are `[tile][panel][height][columns of a panel]`. A function by
/// itself, so that its loops are the same whoever calls it.
#[inline(never)]
fn add(
    a: &FixedA,
    v: &FixedV,
    tiles: &[Tile],
    panels: Range<usize>,
    sums: &mut [i64],
    wide: &mut Vec<f64>,
) {
    let path = a.path();
    let (width, at_once) = (path.panel(), path.entries_max());
    let is_wide = path.layout() == Layout::Integers;
    let first_row = tiles.first().map_or(0, |tile| tile.first_row);
    let longest = tiles.iter().map(|tile| a.list(tile).len()).max().unwrap_or(0);
    for start in (0..longest).step_by(at_once) {
        if is_wide {
            widen_tiles(a, tiles, start, at_once, wide);
        }
        let mut wide = &wide[..];
        // Looked up once, not for each panel.
        let mut pieces = Vec::with_capacity(tiles.len());
        for tile in tiles {
            let (ks, values) = a.entries(tile, start, at_once);
            let of_tile;
            (of_tile, wide) = wide.split_at(if is_wide { values.len() } else { 0 });
            if !ks.is_empty() {
                pieces.push(Piece {
                    kernel: kernels::kernel(path, tile.height),
                    ks,
                    values,
                    wide: of_tile,
                    sums: (tile.first_row - first_row) * panels.len() * width,
                    sums_of_panel: tile.height * width,
                });
            }
        }
        for (q, p) in panels.clone().enumerate() {
            let panel = v.panel(p);
            for piece in &pieces {
                let &Piece { kernel, ks, values, wide, sums: at, sums_of_panel } = piece;
                debug_assert!(ks.iter().all(|&k| (k as usize) < v.entries()));
                let sums = &mut sums[at + q * sums_of_panel..][..sums_of_panel];
                // SAFETY: `FixedA::pack` makes sure of the path, and its lists hold entries below V's.
                unsafe { kernel(Call { ks, values, wide, panel, sums }) }
            }
        }
    }
}

/// The next entries of all tiles in binary64, one tile behind the other.
fn widen_tiles(a: &FixedA, tiles: &[Tile], start: usize, at_once: usize, wide: &mut Vec<f64>) {
    let count = tiles.iter().map(|tile| a.entries(tile, start, at_once).1.len()).sum();
    wide.resize(count, 0.0);
    let mut rest = &mut wide[..];
    for tile in tiles {
        let values = a.entries(tile, start, at_once).1;
        let to;
        (to, rest) = rest.split_at_mut(values.len());
        widen(a.path().isa(), values, to);
    }
}

per_isa! {
    /// Integers as binary64.
    fn widen(values: &[i32], to: &mut [f64]) {
        to.iter_mut().zip(values).for_each(|(to, &x)| *to = f64::from(x));
    }
}

per_isa! {
    /// Sums times the row's and their columns' powers of two, rounded once.
    ///
    /// Binary64 holds 53 bits. A sum of more goes to the neighbour of 52 bits that is odd, unless it is one: what rounding to
    /// 24 bits or fewer sees, on which side of which half it lies, is the same then. The powers of two change nothing, since
    /// products lie within binary64's range: the conversion to binary32 is the one rounding.
    /// Written in what vectors of 64-bit lanes have everywhere: AVX2 neither converts 64-bit integers nor compares them without
    /// sign.
    fn finish(sums: &[i64], row_factor: f64, factors: &[f64], y: &mut [f32]) {
        const TWO_52: u64 = 0x4330_0000_0000_0000;
        const TWO_32: f64 = 4_294_967_296.0;
        for ((y, &sum), factor) in y.iter_mut().zip(sums).zip(factors) {
            let odd = sum & !0x7ff | i64::from(sum & 0x7ff != 0) << 11;
            // From -2^53 up to 2^53, where both are the same.
            let is_short = sum.wrapping_add(1 << 53) as u64 >> 54 == 0;
            let sum = if is_short { sum } else { odd } as u64;
            // Halves of 32 bits, the upper one with a bias in place of a sign, as the last bits of 2^52: binary64 holds the
            // sum, so that every step is exact.
            let high = f64::from_bits(TWO_52 | (sum >> 32 ^ 0x8000_0000))
                - (f64::from_bits(TWO_52) + TWO_32 / 2.0);
            let low = f64::from_bits(TWO_52 | sum & 0xffff_ffff) - f64::from_bits(TWO_52);
            *y = ((high * TWO_32 + low) * (row_factor * factor)) as f32;
        }
    }
}
