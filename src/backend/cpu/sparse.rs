//! Unstructured sparsity: the non-zeros of A against panels of V.
//!
//! A fused multiply-add can take V straight from L1, one a cycle, which is all that the units
//! do. So A is cut into k-blocks whose piece of V stays in a cache, and a row's chains are
//! picked up from scratch and put back once a block. Within a block rows are grouped by their
//! number of non-zeros: the loop over a row then ends where the last one did, and the branch
//! predictor, which would miss once a row, misses once a group.

use std::ops::Range;
use std::sync::OnceLock;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::Isa;
use super::memory::{OutputRows, contiguous_rows};
use super::order::Order;
use super::packed::{PANEL, PackedV};
use super::scratch::Scratch;
use super::sparse_kernels::{CellCall, panels_at_once, run_cell};
use super::sparse_pack::{Live, RowBlock, density, pack_rows, words};
use super::threads::parallel_for;
use contract::arithmetic::Slices;

/// Rows that share a k-block of V while it is in L1, and a scratch buffer that fits in L2.
pub(super) const ROWS_MAX: usize = 512;

/// Columns of k that a 16-bit index can tell apart.
pub(super) const SPAN_MAX: usize = u16::MAX as usize;

/// A row chunk of A (m x k, f32) without its zeros, packed for [`spmm_chain`].
pub struct SparseA {
    isa: Isa,
    m: usize,
    k: usize,
    order: Order,
    row_blocks: Vec<RowBlock>,
}

/// Positions in a k-block, for a share of non-zeros; measured on a core with 32 KiB of L1.
///
/// Up to 128 k, the block of V that is read again and again (128 bytes a k and panel, two
/// panels at once) stays in L1. Where a row has few non-zeros in so short a block, fetching and
/// storing its chains costs more than reading V from L2.
pub(super) fn block_len(density: f64) -> usize {
    match density {
        d if d > 0.07 => 128,
        d if d > 0.025 => 192,
        _ => 1024,
    }
}

/// Row blocks of `m` rows, each made by `pack` of its rows.
pub(super) fn pack_row_blocks(
    m: usize,
    threads: usize,
    pack: impl Fn(Range<usize>) -> RowBlock + Sync,
) -> Vec<RowBlock> {
    let blocks = m.div_ceil(ROWS_MAX);
    let slots: Vec<OnceLock<RowBlock>> = (0..blocks).map(|_| OnceLock::new()).collect();
    parallel_for(threads, blocks, |b| {
        slots[b].get_or_init(|| pack(m * b / blocks..m * (b + 1) / blocks));
    });
    slots.into_iter().filter_map(OnceLock::into_inner).collect()
}

impl SparseA {
    /// Packs the non-zeros of `a` with the given number of threads.
    ///
    /// Panics where `isa` is not available, where `slices` leaves a k without a slice, or where
    /// a dimension exceeds 2^32 - 1.
    pub fn pack(a: ArrayView2<'_, f32>, slices: Slices, isa: Isa, threads: usize) -> SparseA {
        assert!(isa.is_available(), "{isa} is not available on this processor");
        let (m, k) = a.dim();
        let a = contiguous_rows(a);
        let density = density(|i| words(&a, i), Live::BINARY32, m, k);
        let order = Order::new(k, slices, block_len(density), SPAN_MAX);
        let row_blocks = pack_row_blocks(m, threads, |range| {
            pack_rows(|i| words(&a, i), Live::BINARY32, range, &order, isa)
        });
        SparseA { isa, m, k, order, row_blocks }
    }

    /// Rows of A.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Columns of A.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Values held: the non-zeros of A.
    pub fn nnz(&self) -> usize {
        self.row_blocks.iter().map(|block| block.values.len()).sum()
    }

    /// Bytes of the packed form.
    pub fn bytes_held(&self) -> usize {
        self.row_blocks.iter().map(RowBlock::bytes_held).sum()
    }
}

/// Y = A V in f32-chain arithmetic. Writes all of `y` (m x n).
///
/// Panics where the shapes do not fit each other.
pub fn spmm_chain(a: &SparseA, v: &PackedV, mut y: ArrayViewMut2<'_, f32>, threads: usize) {
    assert_eq!(a.k, v.k(), "columns of A against rows of V");
    assert_eq!(y.dim(), (a.m, v.n()), "Y against rows of A and columns of V");
    let at_once = panels_at_once(a.isa);
    let groups = v.panels().div_ceil(at_once);
    let output = OutputRows::of(&mut y);
    parallel_for(threads, a.row_blocks.len() * groups, |item| {
        let first = item % groups * at_once;
        let panels = first..v.panels().min(first + at_once);
        run_item(a, v, &a.row_blocks[item / groups], panels, output);
    });
}

/// One row block against a group of panels.
fn run_item(a: &SparseA, v: &PackedV, rows: &RowBlock, panels: Range<usize>, output: OutputRows) {
    assert_eq!(a.k, v.k(), "columns of A against rows of V");
    let width = panels.len() * PANEL;
    Scratch::with(rows.range.len() * width, a.order.sums_slices, |scratch| {
        for (b, block) in a.order.blocks.iter().enumerate() {
            if block.opens_slice {
                scratch.chains.fill(0.0);
            }
            let call = CellCall {
                isa: a.isa,
                cell: rows.cell(b),
                v,
                panels: panels.clone(),
                first_k: a.order.k_at(block.start),
                chains: scratch.chains,
            };
            // SAFETY: `SparseA::pack` makes sure of the path; `pack_rows` writes cells that describe what they hold, of
            // rows of the block and of k below A's columns, which are V's rows; scratch is aligned.
            unsafe { run_cell(call) }
            if block.closes_slice {
                scratch.close_slice();
            }
        }
        let first = panels.start * PANEL;
        let columns = v.n().min(panels.end * PANEL) - first;
        // SAFETY: no other item has this row block and these panels; `spmm_chain` holds Y.
        unsafe { output.write_rows(rows.range.clone(), first, columns, scratch.sums()) }
    });
}
