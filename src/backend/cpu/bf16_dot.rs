//! Y = A V as TDPBF16PS or VDPBF16PS sums it, on the instruction where the processor has it, and bit for bit on any other.
//!
//! The rule is [`contract::arithmetic::bf16_dot`]. A and V are held as words of two bf16, k = 2t below and k = 2t + 1 above,
//! which is what both instructions read. V lies in panels of 64 columns, the same for every path.
//!
//! Paths without the instruction split each word into two binary32 and run the rule's chains with fused multiply-adds, with
//! the thread's modes set to flush (`FlushScope`): x86-64 too judges by 24 bits whether a result is tiny. The portable path
//! is the scalar rule.
//!
//! A tile of A lists its blocks of 32 k, and of each block the pairs that it multiplies. Pairs of zeros may be left out: the
//! rule's own words say why.

mod amx;
mod elements;
mod kernels;
mod pack;
mod panels;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;

use ndarray::ArrayViewMut2;

use super::memory::OutputRows;
use super::{Isa, parallel_for};
use contract::arithmetic::bf16_dot::{BLOCK, Instruction};
use contract::strategy::Strategy;
use kernels::Call;
use pack::Tile;

pub use pack::PairedA;
pub use panels::PairedV;

/// Columns of a panel of V.
const PANEL: usize = 64;
/// Pairs of a block.
const PAIRS: usize = BLOCK / 2;
/// Rows of an AMX tile.
const TILE_ROWS: usize = 16;

/// Sums of one row of A and a panel.
type Sums = [f32; PANEL];

/// How a processor sums products of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// The scalar rule.
    Portable,
    /// Fused multiply-adds of 256-bit vectors.
    Avx2,
    /// Fused multiply-adds of 512-bit vectors.
    Avx512,
    /// VDPBF16PS of 512-bit vectors.
    Vdpbf16ps,
    /// TDPBF16PS of AMX tiles.
    Tdpbf16ps,
    /// The loop over AMX tiles, its instructions in software.
    #[cfg(test)]
    SoftwareTiles,
}

impl Path {
    /// The fastest that a dispatch path has on this processor. Single elements of A fill no tile.
    fn of(isa: Isa, instruction: Instruction, strategy: Strategy) -> Path {
        match (isa, instruction) {
            (Isa::Portable, _) => Path::Portable,
            (Isa::Avx2, _) => Path::Avx2,
            (Isa::Avx512, Instruction::Avx512) if Path::Vdpbf16ps.is_available() => Path::Vdpbf16ps,
            (Isa::Avx512, Instruction::Amx)
                if strategy != Strategy::Csr && Path::Tdpbf16ps.is_available() =>
            {
                Path::Tdpbf16ps
            }
            (Isa::Avx512, _) => Path::Avx512,
        }
    }

    /// Whether it follows the instruction's rule.
    #[cfg(test)]
    fn follows(self, instruction: Instruction) -> bool {
        match self {
            Path::Portable | Path::Avx2 | Path::Avx512 => true,
            Path::Vdpbf16ps => instruction == Instruction::Avx512,
            Path::Tdpbf16ps | Path::SoftwareTiles => instruction == Instruction::Amx,
        }
    }

    fn is_available(self) -> bool {
        match self {
            Path::Portable => true,
            Path::Avx2 => Isa::Avx2.is_available(),
            Path::Avx512 => Isa::Avx512.is_available(),
            Path::Vdpbf16ps => has_vdpbf16ps(),
            Path::Tdpbf16ps => Isa::Avx512.is_available() && amx::is_available().is_ok(),
            #[cfg(test)]
            Path::SoftwareTiles => true,
        }
    }

    /// Whether it works on whole tiles of 16 rows and on whole blocks.
    fn has_tiles(self) -> bool {
        match self {
            Path::Portable | Path::Avx2 | Path::Avx512 | Path::Vdpbf16ps => false,
            Path::Tdpbf16ps => true,
            #[cfg(test)]
            Path::SoftwareTiles => true,
        }
    }

    /// Rows of a tile of A at most.
    fn rows_max(self) -> usize {
        if self.has_tiles() { TILE_ROWS } else { kernels::ROWS_MAX }
    }
}

fn has_vdpbf16ps() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        Isa::Avx512.is_available() && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Why this processor does not run an instruction itself, in words; `Ok` where it does.
pub fn runs_itself(instruction: Instruction) -> Result<(), String> {
    match instruction {
        Instruction::Avx512 if has_vdpbf16ps() => Ok(()),
        Instruction::Avx512 => Err("this processor has no AVX512_BF16".into()),
        Instruction::Amx if Isa::Avx512.is_available() => amx::is_available(),
        Instruction::Amx => {
            Err("this processor has no AVX-512, which the paths beside AMX need".into())
        }
    }
}

/// Items that each thread should find, so that a slow core holds the others up little.
const ITEMS_PER_THREAD: usize = 8;
/// Rows of an item at most, and with tiles: A's words for them stay in L2 while panels of V pass by.
const ITEM_ROWS: usize = 48;
const ITEM_ROWS_OF_TILES: usize = 128;

/// Y = A V, all of `y` (m x n, binary32) written, dead rows as +0.
///
/// The bits are those of [`contract::arithmetic::bf16_dot::dot`] for every element, but for the sign of zeros.
///
/// Panics where the shapes do not fit each other.
pub fn gemm_bf16_dot(a: &PairedA, v: &PairedV, mut y: ArrayViewMut2<'_, f32>, threads: usize) {
    assert_eq!(a.k(), v.k(), "columns of A against rows of V");
    assert_eq!(y.dim(), (a.m(), v.n()), "Y against rows of A and columns of V");
    if y.is_empty() {
        return;
    }
    let output = OutputRows::of(&mut y);
    if let Some(elements) = a.elements() {
        // SAFETY: `PairedA::pack` makes sure of the path; shapes were compared above, and Y is held until this returns.
        return unsafe { elements.multiply(v, output, threads) };
    }
    let tiles = a.tiles().len();
    let rows = if a.path().has_tiles() { ITEM_ROWS_OF_TILES } else { ITEM_ROWS };
    let most = rows / a.path().rows_max();
    let tiles_per_item = match threads {
        0 | 1 => most,
        _ => tiles.div_ceil(threads * ITEMS_PER_THREAD).clamp(1, most),
    };
    let items = tiles.div_ceil(tiles_per_item).max(1);
    parallel_for(threads, items, |item| {
        let first_tile = |item: usize| tiles * item / items;
        let of_item = &a.tiles()[first_tile(item)..first_tile(item + 1)];
        // An item owns the rows from its first tile up to the next item's first tile.
        let first = match of_item.first() {
            Some(tile) if item > 0 => a.row(tile.first_row),
            _ => 0,
        };
        let end = match a.tiles().get(first_tile(item + 1)) {
            Some(tile) => a.row(tile.first_row),
            None => a.m(),
        };
        for p in 0..v.panels() {
            run_panel(a, v, of_item, p, output);
        }
        let mut next = first;
        let zeros = |rows: Range<usize>| {
            for i in rows {
                // SAFETY: the item owns these rows, and the product holds Y until it returns.
                unsafe { output.write_zeros(i) }
            }
        };
        for i in of_item.iter().flat_map(|tile| tile.rows()).map(|row| a.row(row)) {
            zeros(next..i);
            next = i + 1;
        }
        zeros(next..end);
    });
}

thread_local! {
    /// Sums, kept from call to call, since fresh pages cost more than they hold.
    static SUMS: RefCell<Vec<Sums>> = const { RefCell::new(Vec::new()) };
}

/// The columns of panel `p`, in the rows of `tiles`.
fn run_panel(a: &PairedA, v: &PairedV, tiles: &[Tile], p: usize, output: OutputRows) {
    let columns = p * PANEL..v.n().min((p + 1) * PANEL);
    let height = a.stored_height();
    SUMS.with_borrow_mut(|sums| {
        sums.clear();
        sums.resize(tiles.len() * height, [0.0; PANEL]);
        if a.path().has_tiles() {
            run_tiles(a, v, tiles, p, sums);
        } else {
            for (tile, sums) in tiles.iter().zip(sums.chunks_exact_mut(height)) {
                let call = Call {
                    instruction: a.instruction(),
                    blocks: a.blocks(tile),
                    words: a.words(tile),
                    panel: v.panel(p),
                    columns: columns.len(),
                    sums: &mut sums[..tile.height],
                };
                // SAFETY: `PairedA::pack` makes sure of the path, and its lists hold blocks below V's.
                unsafe { kernels::run(a.path(), call) }
            }
        }
        for (tile, sums) in tiles.iter().zip(sums.chunks_exact(height)) {
            for (row, sums) in tile.rows().zip(sums) {
                // SAFETY: the item owns the rows of its tiles, and `gemm_bf16_dot` holds Y.
                unsafe { output.write(a.row(row), columns.start, &sums[..columns.len()]) }
            }
        }
    });
}

/// The same on AMX tiles.
fn run_tiles(a: &PairedA, v: &PairedV, tiles: &[Tile], p: usize, sums: &mut [Sums]) {
    let operands = tiles
        .iter()
        .map(|tile| amx::Operand { blocks: a.blocks(tile), words: a.words(tile).as_chunks().0 });
    let operands: Vec<_> = operands.collect();
    let panel = v.panel(p).as_chunks().0;
    let sums = sums.as_chunks_mut().0;
    match a.path() {
        #[cfg(test)]
        Path::SoftwareTiles => amx::run(&mut amx::Software::default(), &operands, panel, sums),
        _ => amx::run_on_hardware(&operands, panel, sums),
    }
}
