//! Packing the non-zeros of a row block: per k-block, rows grouped by how many they have.
//!
//! Elements are words of 32 bits: binary32 by their encoding, or two bf16. What is a zero is said by [`Live`].

use std::borrow::Cow;
use std::ops::Range;

use ndarray::{CowArray, Ix2};

use super::Isa;
use super::memory::row;
use super::order::Order;

/// Bits of a word of which one is set where the word is not zero.
#[derive(Clone, Copy)]
pub(super) struct Live(pub u32);

impl Live {
    /// Of a binary32: all but its sign.
    pub const BINARY32: Live = Live(0x7fff_ffff);
    /// Of two bf16: all but their signs.
    pub const PAIR: Live = Live(0x7fff_7fff);

    fn is_set(self, word: u32) -> bool {
        word & self.0 != 0
    }
}

/// A row of binary32 as words.
pub(super) fn words<'a>(a: &'a CowArray<'_, f32, Ix2>, i: usize) -> Cow<'a, [u32]> {
    match row(a, i) {
        Cow::Borrowed(row) => Cow::Borrowed(bytemuck::cast_slice(row)),
        Cow::Owned(row) => row.into_iter().map(f32::to_bits).collect(),
    }
}

/// A run of rows that have the same number of non-zeros in a k-block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    /// Non-zeros a row, at least 1.
    pub nonzeros: u32,
    /// Rows, at least 1.
    pub rows: u32,
}

/// The non-zeros of some rows of A.
///
/// | array | length | holds |
/// |---|---|---|
/// | `values` | nnz | by k-block, bucket, row of the bucket, ascending k |
/// | `offsets` | nnz | k of each value, less the first k of its k-block |
/// | `row_ids` | rows of all buckets | the row, counted from the block's first |
/// | `buckets` | | by k-block, non-zeros ascending |
/// | `cells` | k-blocks + 1 | where each k-block starts in the four arrays above |
pub(super) struct RowBlock {
    pub range: Range<usize>,
    pub values: Vec<u32>,
    offsets: Vec<u16>,
    row_ids: Vec<u16>,
    buckets: Vec<Bucket>,
    cells: Vec<CellStart>,
}

#[derive(Clone, Copy, Default)]
struct CellStart {
    value: usize,
    row: usize,
    bucket: usize,
}

/// A row block's share of one k-block.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a> {
    pub values: &'a [u32],
    pub offsets: &'a [u16],
    pub row_ids: &'a [u16],
    pub buckets: &'a [Bucket],
}

impl RowBlock {
    pub fn cell(&self, b: usize) -> Cell<'_> {
        let (start, end) = (self.cells[b], self.cells[b + 1]);
        Cell {
            values: &self.values[start.value..end.value],
            offsets: &self.offsets[start.value..end.value],
            row_ids: &self.row_ids[start.row..end.row],
            buckets: &self.buckets[start.bucket..end.bucket],
        }
    }

    pub fn bytes_held(&self) -> usize {
        size_of_val(self.values.as_slice())
            + size_of_val(self.offsets.as_slice())
            + size_of_val(self.row_ids.as_slice())
            + size_of_val(self.buckets.as_slice())
            + size_of_val(self.cells.as_slice())
    }
}

/// Rows whose non-zeros are counted to choose the length of k-blocks.
const SAMPLED_ROWS: usize = 64;

/// The share of non-zeros in `m` rows of so many words, by some of them.
pub(super) fn density<'a>(
    row_of: impl Fn(usize) -> Cow<'a, [u32]>,
    live: Live,
    m: usize,
    length: usize,
) -> f64 {
    let sampled = m.min(SAMPLED_ROWS);
    let count = |i| row_of(i).iter().filter(|&&word| live.is_set(word)).count();
    let nonzeros: usize = (0..sampled).map(|s| count(m * s / sampled)).sum();
    nonzeros as f64 / (sampled * length).max(1) as f64
}

/// Packs the rows `range` (at most 65536 of them).
pub(super) fn pack_rows<'a>(
    row_of: impl Fn(usize) -> Cow<'a, [u32]>,
    live: Live,
    range: Range<usize>,
    order: &Order,
    isa: Isa,
) -> RowBlock {
    let rows = range.len();
    let blocks = order.blocks.len();
    let mut walked = Vec::new();

    // Counts, [row][k-block]: where they are made and used again row by row.
    let mut counts = vec![0u32; rows * blocks];
    for (i, counts) in range.clone().zip(counts.chunks_exact_mut(blocks.max(1))) {
        let row = row_of(i);
        let row = in_order(&row, order, &mut walked);
        for (count, block) in counts.iter_mut().zip(&order.blocks) {
            *count = count_run(isa, live, &row[block.start..block.end]);
        }
    }

    // A counting sort a k-block turns the counts into places in `values`.
    let mut packed = RowBlock {
        range: range.clone(),
        values: Vec::new(),
        offsets: Vec::new(),
        row_ids: Vec::new(),
        buckets: Vec::new(),
        cells: vec![CellStart::default()],
    };
    let mut nnz = 0;
    let mut places = vec![0usize; rows * blocks];
    let mut rows_with = Vec::new();
    for b in 0..blocks {
        let longest = order.blocks[b].end - order.blocks[b].start;
        rows_with.clear();
        rows_with.resize(longest + 1, 0u32);
        for r in 0..rows {
            rows_with[counts[r * blocks + b] as usize] += 1;
        }
        let first_row = packed.row_ids.len();
        packed.row_ids.resize(first_row + rows - rows_with[0] as usize, 0);
        // From here on, `rows_with` holds the next free place among the row ids.
        let mut next_row = first_row as u32;
        let mut first_values = Vec::new();
        for (nonzeros, count) in rows_with.iter_mut().enumerate().skip(1) {
            let rows = std::mem::replace(count, next_row);
            if rows != 0 {
                packed.buckets.push(Bucket { nonzeros: nonzeros as u32, rows });
                first_values.push((nonzeros, next_row, nnz));
                nnz += nonzeros * rows as usize;
                next_row += rows;
            }
        }
        let mut value_of = vec![(0u32, 0usize); longest + 1];
        for (nonzeros, row, value) in first_values {
            value_of[nonzeros] = (row, value);
        }
        for r in 0..rows {
            let nonzeros = counts[r * blocks + b] as usize;
            if nonzeros != 0 {
                let at = rows_with[nonzeros];
                rows_with[nonzeros] += 1;
                packed.row_ids[at as usize] = r as u16;
                let (row, value) = value_of[nonzeros];
                places[r * blocks + b] = value + (at - row) as usize * nonzeros;
            }
        }
        packed.cells.push(CellStart {
            value: nnz,
            row: packed.row_ids.len(),
            bucket: packed.buckets.len(),
        });
    }

    packed.values = vec![0; nnz];
    packed.offsets = vec![0; nnz];
    for (r, i) in range.enumerate() {
        let row = row_of(i);
        let row = in_order(&row, order, &mut walked);
        for (b, block) in order.blocks.iter().enumerate() {
            let (place, count) = (places[r * blocks + b], counts[r * blocks + b] as usize);
            let positions = order.positions().map(|p| &p[block.start..block.end]);
            compress_run(
                isa,
                live,
                &row[block.start..block.end],
                positions,
                &mut packed.values[place..place + count],
                &mut packed.offsets[place..place + count],
            );
        }
    }
    packed
}

/// The row as the order walks it.
fn in_order<'a>(row: &'a [u32], order: &Order, walked: &'a mut Vec<u32>) -> &'a [u32] {
    match order.positions() {
        None => row,
        Some(positions) => {
            walked.clear();
            walked.extend(positions.iter().map(|&k| row[k as usize]));
            walked
        }
    }
}

fn count_run(isa: Isa, live: Live, run: &[u32]) -> u32 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: packing made sure that the path is available.
        Isa::Avx512 => unsafe { x86::count_run(live, run) },
        _ => run.iter().filter(|&&x| live.is_set(x)).count() as u32,
    }
}

/// Writes the non-zeros of a run, and their k less the run's first, to slices of their number.
fn compress_run(
    isa: Isa,
    live: Live,
    run: &[u32],
    positions: Option<&[u32]>,
    values: &mut [u32],
    offsets: &mut [u16],
) {
    if values.is_empty() {
        return;
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: packing made sure that the path is available; the outputs have as many
        // places as `run` has non-zeros, and there are as many positions as values.
        Isa::Avx512 => unsafe { x86::compress_run(live, run, positions, values, offsets) },
        _ => {
            let first = positions.map_or(0, |positions| positions[0]);
            let nonzeros = run.iter().enumerate().filter(|&(_, &x)| live.is_set(x));
            for ((i, &x), (value, offset)) in nonzeros.zip(values.iter_mut().zip(offsets)) {
                *value = x;
                *offset = positions.map_or(i as u32, |positions| positions[i] - first) as u16;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Live;

    /// The lanes of the `i`-th vector of a run of `len`.
    fn lanes(i: usize, len: usize) -> __mmask16 {
        let left = len - i;
        if left >= 16 { !0 } else { (1 << left) - 1 }
    }

    /// # Safety
    ///
    /// AVX-512 F is available.
    #[target_feature(enable = "avx512f,popcnt")]
    pub unsafe fn count_run(live: Live, run: &[u32]) -> u32 {
        let live = _mm512_set1_epi32(live.0 as i32);
        let mut count = 0;
        for i in (0..run.len()).step_by(16) {
            // SAFETY: the mask keeps the load inside the run.
            let x = unsafe {
                _mm512_maskz_loadu_epi32(lanes(i, run.len()), run.as_ptr().add(i).cast())
            };
            count += _mm512_test_epi32_mask(x, live).count_ones();
        }
        count
    }

    /// # Safety
    ///
    /// AVX-512 F is available; `values` and `offsets` have as many places as `run` has
    /// non-zeros, and `positions` as many as `run`.
    #[target_feature(enable = "avx512f,popcnt")]
    pub unsafe fn compress_run(
        live: Live,
        run: &[u32],
        positions: Option<&[u32]>,
        values: &mut [u32],
        offsets: &mut [u16],
    ) {
        let live = _mm512_set1_epi32(live.0 as i32);
        let (values, offsets) = (values.as_mut_ptr(), offsets.as_mut_ptr());
        let iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let mut written = 0;
        for i in (0..run.len()).step_by(16) {
            let lanes = lanes(i, run.len());
            // SAFETY: the masks keep loads inside the inputs and stores to the places that the
            // vector's non-zeros have in the outputs.
            unsafe {
                let x = _mm512_maskz_loadu_epi32(lanes, run.as_ptr().add(i).cast());
                let nonzero = _mm512_test_epi32_mask(x, live);
                let offset = match positions {
                    None => _mm512_add_epi32(iota, _mm512_set1_epi32(i as i32)),
                    Some(positions) => _mm512_sub_epi32(
                        _mm512_maskz_loadu_epi32(lanes, positions.as_ptr().add(i).cast()),
                        _mm512_set1_epi32(positions[0] as i32),
                    ),
                };
                // Compressing in a register and storing under a mask: a compressing store is
                // microcode on some processors.
                let count = nonzero.count_ones();
                let kept = ((1u32 << count) - 1) as __mmask16;
                let x = _mm512_maskz_compress_epi32(nonzero, x);
                let offset = _mm512_maskz_compress_epi32(nonzero, offset);
                _mm512_mask_storeu_epi32(values.add(written).cast(), kept, x);
                _mm512_mask_cvtepi32_storeu_epi16(offsets.add(written).cast(), kept, offset);
                written += count as usize;
            }
        }
    }
}
