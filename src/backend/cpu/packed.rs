//! V as the kernels read it: column panels, each a dense strip of memory.

use ndarray::ArrayView2;

use super::memory::{AlignedBuffer, SharedMut, contiguous_rows, row};
use super::threads::parallel_for;

/// Columns of a panel: two 512-bit vectors or four 256-bit ones.
pub(super) const PANEL: usize = 32;

/// Rows of V that one thread lays out at a time: 64 KiB of V at n = 128.
const ROWS_PER_ITEM: usize = 128;

/// V (k x n, f32), laid out `[ceil(n / 32)][k][32]`, the last panel padded with zeros.
pub struct PackedV {
    k: usize,
    n: usize,
    data: AlignedBuffer,
}

impl PackedV {
    /// Room for a `k x n` matrix, which is zero until loaded.
    pub fn new(k: usize, n: usize) -> PackedV {
        PackedV { k, n, data: AlignedBuffer::zeroed(n.div_ceil(PANEL) * k * PANEL) }
    }

    /// Lays `v` out with the given number of threads.
    ///
    /// Panics unless `v` is `k x n`.
    pub fn load(&mut self, v: ArrayView2<'_, f32>, threads: usize) {
        assert_eq!(v.dim(), (self.k, self.n), "V to load against the packed V");
        let (k, n) = (self.k, self.n);
        let v = contiguous_rows(v);
        let data = SharedMut::of(&mut self.data);
        parallel_for(threads, k.div_ceil(ROWS_PER_ITEM), |item| {
            for i in item * ROWS_PER_ITEM..k.min((item + 1) * ROWS_PER_ITEM) {
                for (panel, piece) in row(&v, i).chunks(PANEL).enumerate() {
                    let to = (panel * k + i) * PANEL;
                    // SAFETY: `panel < ceil(n / 32)` and `i < k`, so the piece lies inside the
                    // buffer; each row is laid out by one thread.
                    unsafe {
                        let to = data.get().add(to);
                        if piece.len() == PANEL {
                            // The constant length makes this straight vector moves.
                            piece.as_ptr().copy_to_nonoverlapping(to, PANEL);
                        } else {
                            piece.as_ptr().copy_to_nonoverlapping(to, piece.len());
                        }
                    }
                }
            }
        });
        debug_assert_eq!(n.div_ceil(PANEL) * k * PANEL, self.data.len());
    }

    /// Rows of V.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of V.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes of the layout.
    pub fn bytes_held(&self) -> usize {
        size_of_val::<[f32]>(&self.data)
    }

    /// Number of panels.
    pub(super) fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// Columns of panel `p` that are V's and not padding.
    pub(super) fn panel_width(&self, p: usize) -> usize {
        PANEL.min(self.n - p * PANEL)
    }

    /// Panel `p`: `[k][32]`.
    pub(super) fn panel(&self, p: usize) -> &[f32] {
        &self.data[p * self.k * PANEL..(p + 1) * self.k * PANEL]
    }
}
