//! Single pairs of A by VDPBF16PS: what `sparse` does with values, with words of two.
//!
//! A is cut into blocks of pairs whose piece of V stays in L1, and within a block rows are grouped by their number of pairs:
//! see there. The rule is a chain over the pairs, so sums may be put down and picked up between any two of them.

use std::borrow::Cow;

use ndarray::{CowArray, Ix2};

use super::super::memory::{OutputRows, row};
use super::super::order::Order;
use super::super::scratch::Scratch;
use super::super::sparse::{SPAN_MAX, block_len, pack_row_blocks};
use super::super::sparse_pack::{Cell, Live, RowBlock, density, pack_rows};
use super::super::{Isa, parallel_for};
use super::PANEL;
use super::pack::join;
use super::panels::PairedV;
use contract::arithmetic::Slices;

/// The pairs of A of which one element is not zero.
pub(super) struct Elements {
    order: Order,
    row_blocks: Vec<RowBlock>,
}

impl Elements {
    pub fn pack(a: &CowArray<'_, f32, Ix2>, isa: Isa, threads: usize) -> Elements {
        let (m, k) = a.dim();
        let pairs = k.div_ceil(2);
        let words = |i| {
            let mut words = vec![0; pairs];
            join(isa, &row(a, i), &mut words);
            Cow::<[u32]>::Owned(words)
        };
        let density = density(words, Live::PAIR, m, pairs);
        let order = Order::new(pairs, Slices::One, block_len(density), SPAN_MAX);
        let row_blocks =
            pack_row_blocks(m, threads, |range| pack_rows(words, Live::PAIR, range, &order, isa));
        Elements { order, row_blocks }
    }

    pub fn bytes_held(&self) -> usize {
        self.row_blocks.iter().map(RowBlock::bytes_held).sum()
    }

    /// Y = A V, all of Y written.
    ///
    /// # Safety
    ///
    /// The processor has VDPBF16PS. `v` has as many rows as A has columns, `output` is of A's rows and V's columns, and its
    /// view is held until this returns.
    pub unsafe fn multiply(&self, v: &PairedV, output: OutputRows, threads: usize) {
        parallel_for(threads, self.row_blocks.len() * v.panels(), |item| {
            let rows = &self.row_blocks[item / v.panels()];
            // SAFETY: the caller's promise; no other item has this row block and this panel.
            unsafe { self.run_item(v, rows, item % v.panels(), output) }
        });
    }

    /// One row block against one panel.
    ///
    /// # Safety
    ///
    /// As for `multiply`, of whose items no other has these rows and this panel.
    unsafe fn run_item(&self, v: &PairedV, rows: &RowBlock, p: usize, output: OutputRows) {
        let columns = p * PANEL..v.n().min((p + 1) * PANEL);
        Scratch::with(rows.range.len() * PANEL, false, |scratch| {
            for (b, block) in self.order.blocks.iter().enumerate() {
                if block.opens_slice {
                    scratch.chains.fill(0.0);
                }
                let pairs = &v.panel(p)[block.start..block.end];
                // SAFETY: the caller's promise; `pack_rows` writes cells that describe what they hold, of rows of the block
                // and of pairs of it; scratch is aligned.
                unsafe { run_cell(rows.cell(b), pairs, columns.len(), scratch.chains) }
                if block.closes_slice {
                    scratch.close_slice();
                }
            }
            // SAFETY: the caller's promise.
            unsafe {
                output.write_rows(rows.range.clone(), columns.start, columns.len(), scratch.sums())
            }
        });
    }
}

/// A row block's share of a block of pairs against a panel: as many vectors as there are columns for.
///
/// # Safety
///
/// The processor has VDPBF16PS. The cell's buckets describe exactly its arrays, its row ids are rows of the sums, its offsets
/// those of `pairs`. The sums are 64-byte aligned.
#[cfg(target_arch = "x86_64")]
unsafe fn run_cell(cell: Cell<'_>, pairs: &[[u32; PANEL]], columns: usize, sums: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        match columns {
            0..=16 => x86::run_cell::<1>(cell, pairs.as_ptr(), sums.as_mut_ptr()),
            17..=32 => x86::run_cell::<2>(cell, pairs.as_ptr(), sums.as_mut_ptr()),
            _ => x86::run_cell::<4>(cell, pairs.as_ptr(), sums.as_mut_ptr()),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn run_cell(_: Cell<'_>, _: &[[u32; PANEL]], _: usize, _: &mut [f32]) {
    unreachable!("refused by `PairedA::pack`")
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop, reason = "iterators over arrays of registers spill them")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::kernels::pairs;
    use super::{Cell, PANEL};

    const LANES: usize = 16;

    /// # Safety
    ///
    /// As for the function of that name outside.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub unsafe fn run_cell<const VECTORS: usize>(
        cell: Cell<'_>,
        panel: *const [u32; PANEL],
        sums: *mut f32,
    ) {
        let mut values = cell.values.as_ptr();
        let mut offsets = cell.offsets.as_ptr();
        let mut row_ids = cell.row_ids.as_ptr();
        for bucket in cell.buckets {
            let count = bucket.nonzeros as usize;
            for _ in 0..bucket.rows {
                // SAFETY: the buckets describe exactly the cell's arrays; row ids are rows of `sums`, offsets pairs of the
                // panel's piece. Every vector's address is a multiple of 64 bytes.
                unsafe {
                    let at = sums.add(*row_ids as usize * PANEL);
                    row_ids = row_ids.add(1);
                    let mut c = [_mm512_setzero_ps(); VECTORS];
                    for w in 0..VECTORS {
                        c[w] = _mm512_load_ps(at.add(w * LANES));
                    }
                    for i in 0..count {
                        let a = pairs(_mm512_set1_epi32(*values.add(i) as i32));
                        let v = panel.add(*offsets.add(i) as usize).cast::<__m512i>();
                        for w in 0..VECTORS {
                            c[w] = _mm512_dpbf16_ps(c[w], a, pairs(_mm512_load_si512(v.add(w))));
                        }
                    }
                    values = values.add(count);
                    offsets = offsets.add(count);
                    for w in 0..VECTORS {
                        _mm512_store_ps(at.add(w * LANES), c[w]);
                    }
                }
            }
        }
    }
}
