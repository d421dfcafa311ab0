//! A as the kernels read it: tiles of rows, their blocks of k, and words of two k.

use ndarray::{ArrayView2, CowArray, Ix2};

use super::super::memory::{AlignedBuffer, SharedMut, contiguous_rows, row};
use super::super::{Isa, nonzero_bits, parallel_for, per_isa};
use super::elements::Elements;
use super::panels::word;
use super::{PAIRS, Path, TILE_ROWS};
use contract::arithmetic::bf16_dot::{BLOCK, Instruction};
use contract::strategy::Strategy;

/// Rows that a tile covers where blocks are skipped: block sizes are multiples of it.
const BLOCK_ROWS: usize = 4;

/// A block of 32 k, and those of its 16 pairs that are multiplied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub number: u32,
    /// Bit t for pair t.
    pub pairs: u16,
}

impl Block {
    pub fn len(self) -> usize {
        self.pairs.count_ones() as usize
    }
}

/// A few packed rows and the list of blocks they are multiplied in.
pub(super) struct Tile {
    /// The tile's rows are packed rows `first_row..first_row + height`.
    pub first_row: usize,
    pub height: usize,
    first_word: usize,
    word_count: usize,
    list: usize,
}

impl Tile {
    /// Its packed rows.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.first_row..self.first_row + self.height
    }
}

/// A row chunk of A (m x k) of bf16 values, packed for [`super::gemm_bf16_dot`].
///
/// Invariants: rows ascend and are below `m`; blocks of a list ascend and are below ceil(k / 32); a tile's height is 1 to the
/// path's `rows_max`.
pub struct PairedA {
    instruction: Instruction,
    path: Path,
    m: usize,
    k: usize,
    rows: Vec<u32>,
    tiles: Vec<Tile>,
    blocks: Vec<Block>,
    /// Where each list starts in `blocks`, and where the last one ends.
    starts: Vec<usize>,
    /// Per tile and block `[row][pair]`; with AMX tiles 16 rows, those beyond the tile's height zero.
    words: AlignedBuffer,
    /// Single pairs, in place of tiles.
    elements: Option<Elements>,
}

impl PairedA {
    /// Packs what `strategy` keeps of `a` with the given number of threads: `dense` and `auto` all of it, `rows` the live
    /// rows, `columns` of these the pairs of k where any row has a non-zero, `blocks` the pairs where one of four
    /// neighbouring rows has one (of 16, with AMX tiles), `csr` those where the row has one. AMX tiles take whole blocks.
    ///
    /// Panics where `isa` is not available, or where a dimension exceeds 2^32 - 1.
    pub fn pack(
        a: ArrayView2<'_, f32>,
        instruction: Instruction,
        strategy: Strategy,
        isa: Isa,
        threads: usize,
    ) -> PairedA {
        assert!(isa.is_available(), "this processor has no {isa}");
        let path = Path::of(isa, instruction, strategy);
        PairedA::on(path, a, instruction, strategy, threads)
    }

    pub(super) fn on(
        path: Path,
        a: ArrayView2<'_, f32>,
        instruction: Instruction,
        strategy: Strategy,
        threads: usize,
    ) -> PairedA {
        assert!(path.is_available(), "{path:?} is not available on this processor");
        let (m, k) = a.dim();
        assert!(u32::try_from(m).is_ok(), "m = {m} is over the limit of 2^32 - 1");
        assert!(u32::try_from(k).is_ok(), "k = {k} is over the limit of 2^32 - 1");
        let a = contiguous_rows(a);
        if path == Path::Vdpbf16ps && strategy == Strategy::Csr {
            return PairedA {
                instruction,
                path,
                m,
                k,
                rows: Vec::new(),
                tiles: Vec::new(),
                blocks: Vec::new(),
                starts: vec![0],
                words: AlignedBuffer::zeroed(0),
                elements: Some(Elements::pack(&a, Isa::Avx512, threads)),
            };
        }
        let bits: Vec<Vec<u64>> = match strategy {
            Strategy::Auto | Strategy::Dense => Vec::new(),
            Strategy::Rows | Strategy::Columns | Strategy::Blocks | Strategy::Csr => {
                let of_row = |i| {
                    let mut bits = vec![0; k.div_ceil(64)];
                    nonzero_bits(&row(&a, i), &mut bits);
                    bits
                };
                (0..m).map(of_row).collect()
            }
        };
        let is_live = |i: &u32| match bits.get(*i as usize) {
            Some(bits) => bits.iter().any(|&word| word != 0),
            None => true,
        };
        let rows: Vec<u32> = (0..m as u32).filter(is_live).collect();
        let heights = match strategy {
            Strategy::Auto | Strategy::Dense | Strategy::Rows | Strategy::Columns => {
                balanced(rows.len(), path.rows_max())
            }
            Strategy::Blocks if path.has_tiles() => aligned(&rows, TILE_ROWS),
            Strategy::Blocks => aligned(&rows, BLOCK_ROWS),
            Strategy::Csr => (0..rows.len()).map(|row| (row, 1)).collect(),
        };
        let mut blocks = Vec::new();
        let mut starts = vec![0];
        let mut add = |rows: &[u32]| {
            let live = |block: usize| {
                let of_row = |&i: &u32| (bits[i as usize][block / 2] >> (block % 2 * BLOCK)) as u32;
                rows.iter().fold(0, |live, i| live | of_row(i))
            };
            for block in 0..k.div_ceil(BLOCK) {
                let pairs = match pairs_of(live(block)) {
                    0 => continue,
                    _ if path.has_tiles() => u16::MAX,
                    pairs => pairs,
                };
                blocks.push(Block { number: block as u32, pairs });
            }
            starts.push(blocks.len());
        };
        match strategy {
            Strategy::Auto | Strategy::Dense | Strategy::Rows => {
                let number = 0..k.div_ceil(BLOCK) as u32;
                blocks.extend(number.map(|number| Block { number, pairs: u16::MAX }));
                starts.push(blocks.len());
            }
            Strategy::Columns => add(&rows),
            Strategy::Blocks | Strategy::Csr => {
                heights.iter().for_each(|&(first, height)| add(&rows[first..first + height]));
            }
        }
        let lists = starts.windows(2).map(|ends| &blocks[ends[0]..ends[1]]);
        let lengths: Vec<usize> =
            lists.map(|list| list.iter().map(|block| block.len()).sum()).collect();
        let is_shared = lengths.len() == 1;
        let mut words = 0;
        let mut tiles = Vec::with_capacity(heights.len());
        for (t, (first_row, height)) in heights.into_iter().enumerate() {
            let list = if is_shared { 0 } else { t };
            let stored = if path.has_tiles() { TILE_ROWS } else { height };
            let word_count = stored * lengths[list];
            tiles.push(Tile { first_row, height, first_word: words, word_count, list });
            words += word_count;
        }
        let mut packed = PairedA {
            instruction,
            path,
            m,
            k,
            rows,
            tiles,
            blocks,
            starts,
            words: AlignedBuffer::zeroed(words),
            elements: None,
        };
        let mut words = std::mem::replace(&mut packed.words, AlignedBuffer::zeroed(0));
        let shared = SharedMut::of(&mut words);
        parallel_for(threads, packed.tiles.len(), |t| {
            let tile = &packed.tiles[t];
            // SAFETY: the tiles' words follow each other and add up to the buffer; one thread has a tile.
            let to = unsafe {
                let start = shared.get().add(tile.first_word).cast::<u32>();
                std::slice::from_raw_parts_mut(start, tile.word_count)
            };
            packed.fill(&a, tile, to);
        });
        packed.words = words;
        packed
    }

    /// The words of a tile.
    fn fill(&self, a: &CowArray<'_, f32, Ix2>, tile: &Tile, to: &mut [u32]) {
        let stored = if self.path.has_tiles() { TILE_ROWS } else { tile.height };
        let mut words = vec![0; self.k.div_ceil(BLOCK) * PAIRS];
        for (r, packed) in tile.rows().enumerate() {
            join(Isa::best(), &row(a, self.rows[packed] as usize), &mut words);
            let mut at = 0;
            for block in self.blocks(tile) {
                let of_block = &words[block.number as usize * PAIRS..][..PAIRS];
                let to = &mut to[at + r * block.len()..][..block.len()];
                if block.pairs == u16::MAX {
                    to.copy_from_slice(of_block);
                } else {
                    let live = (0..PAIRS).filter(|t| block.pairs >> t & 1 == 1);
                    to.iter_mut().zip(live).for_each(|(to, t)| *to = of_block[t]);
                }
                at += stored * block.len();
            }
        }
    }

    /// What multiplies, in words.
    pub fn description(&self) -> &'static str {
        match self.path {
            Path::Portable => "by the scalar rule",
            Path::Avx2 => "by fused multiply-adds of 256 bits",
            Path::Avx512 => "by fused multiply-adds of 512 bits",
            Path::Vdpbf16ps => "by VDPBF16PS",
            Path::Tdpbf16ps => "by TDPBF16PS",
            #[cfg(test)]
            Path::SoftwareTiles => "by TDPBF16PS in software",
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

    /// Bytes of the packed form.
    pub fn bytes_held(&self) -> usize {
        size_of_val::<[f32]>(&self.words)
            + size_of_val(self.rows.as_slice())
            + size_of_val(self.tiles.as_slice())
            + size_of_val(self.blocks.as_slice())
            + size_of_val(self.starts.as_slice())
            + self.elements.as_ref().map_or(0, Elements::bytes_held)
    }

    pub(super) fn elements(&self) -> Option<&Elements> {
        self.elements.as_ref()
    }

    pub(super) fn instruction(&self) -> Instruction {
        self.instruction
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    pub(super) fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Rows of sums that a tile needs.
    pub(super) fn stored_height(&self) -> usize {
        self.path.rows_max()
    }

    /// The row of A that a packed row is.
    pub(super) fn row(&self, packed: usize) -> usize {
        self.rows[packed] as usize
    }

    /// The blocks of a tile.
    pub(super) fn blocks(&self, tile: &Tile) -> &[Block] {
        &self.blocks[self.starts[tile.list]..self.starts[tile.list + 1]]
    }

    /// The words of a tile.
    pub(super) fn words(&self, tile: &Tile) -> &[u32] {
        bytemuck::cast_slice(&self.words[tile.first_word..tile.first_word + tile.word_count])
    }
}

/// Bit t where bit 2t or bit 2t + 1 is set.
fn pairs_of(elements: u32) -> u16 {
    let mut x = (elements | elements >> 1) & 0x5555_5555;
    x = (x | x >> 1) & 0x3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff;
    (x | x >> 8) as u16
}

/// Tiles of rows of at most `most`, as high as each other as far as that goes.
fn balanced(rows: usize, most: usize) -> Vec<(usize, usize)> {
    let count = rows.div_ceil(most);
    let at = |tile: usize| rows * tile / count;
    (0..count).map(|tile| (at(tile), at(tile + 1) - at(tile))).collect()
}

/// Live rows by aligned groups of `size`.
fn aligned(rows: &[u32], size: usize) -> Vec<(usize, usize)> {
    let mut first = 0;
    rows.chunk_by(|a, b| *a as usize / size == *b as usize / size)
        .map(|group| {
            first += group.len();
            (first - group.len(), group.len())
        })
        .collect()
}

per_isa! {
    /// Words of the elements of a row; those beyond it stay as they are.
    pub(super) fn join(row: &[f32], words: &mut [u32]) {
        let (pairs, last) = row.as_chunks::<2>();
        words.iter_mut().zip(pairs).for_each(|(to, [even, odd])| *to = word(*even, *odd));
        if let [even] = last {
            words[pairs.len()] = word(*even, 0.0);
        }
    }
}
