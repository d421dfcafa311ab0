//! V as the kernels read it: words of two k, in panels of columns.

use ndarray::ArrayView2;

use super::super::memory::{AlignedBuffer, SharedMut, contiguous_rows, row};
use super::super::{Isa, parallel_for, per_isa};
use super::{PAIRS, PANEL};
use contract::arithmetic::bf16_dot::BLOCK;

/// Pairs of rows of V that one thread lays out at a time.
const PAIRS_PER_ITEM: usize = 64;

/// V (k x n) of bf16 values: `[ceil(n / 64)][pairs][64]` words, where pairs are those of whole blocks of 32 k. What is beyond
/// k or n is zero.
pub struct PairedV {
    k: usize,
    n: usize,
    words: AlignedBuffer,
}

impl PairedV {
    /// Room for a `k x n` matrix.
    pub fn new(k: usize, n: usize) -> PairedV {
        let words = n.div_ceil(PANEL) * k.div_ceil(BLOCK) * PAIRS * PANEL;
        PairedV { k, n, words: AlignedBuffer::zeroed(words) }
    }

    /// Lays `v`, of bf16 values, out with the given number of threads.
    ///
    /// Panics unless `v` is `k x n`.
    pub fn load(&mut self, v: ArrayView2<'_, f32>, threads: usize) {
        assert_eq!(v.dim(), (self.k, self.n), "V to load against the laid out V");
        let (k, n) = (self.k, self.n);
        let isa = Isa::best();
        let v = contiguous_rows(v);
        let panel_words = self.panel_words();
        let words = SharedMut::of(&mut self.words);
        let pairs = k.div_ceil(2);
        let zeros = vec![0.0; n];
        parallel_for(threads, pairs.div_ceil(PAIRS_PER_ITEM), |item| {
            for t in item * PAIRS_PER_ITEM..pairs.min((item + 1) * PAIRS_PER_ITEM) {
                let even = row(&v, 2 * t);
                let odd = if 2 * t + 1 < k { row(&v, 2 * t + 1) } else { (&zeros[..]).into() };
                for (p, (even, odd)) in even.chunks(PANEL).zip(odd.chunks(PANEL)).enumerate() {
                    // SAFETY: panel and pair are inside of the buffer, and one thread lays out a pair.
                    let to = unsafe {
                        let start = words.get().add(p * panel_words + t * PANEL).cast::<u32>();
                        std::slice::from_raw_parts_mut(start, even.len())
                    };
                    join(isa, even, odd, to);
                }
            }
        });
    }

    /// Bytes of the layout.
    pub fn bytes_held(&self) -> usize {
        size_of_val::<[f32]>(&self.words)
    }

    /// Rows of V.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of V.
    pub fn n(&self) -> usize {
        self.n
    }

    fn panel_words(&self) -> usize {
        self.k.div_ceil(BLOCK) * PAIRS * PANEL
    }

    pub(super) fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// The words of a panel, a pair behind the other.
    pub(super) fn panel(&self, p: usize) -> &[[u32; PANEL]] {
        let words = self.panel_words();
        let words: &[u32] = bytemuck::cast_slice(&self.words[p * words..(p + 1) * words]);
        words.as_chunks().0
    }
}

per_isa! {
    /// Words of the elements of two rows.
    fn join(even: &[f32], odd: &[f32], words: &mut [u32]) {
        for ((word, even), odd) in words.iter_mut().zip(even).zip(odd) {
            *word = super::panels::word(*even, *odd);
        }
    }
}

/// Two bf16 as the instructions read them.
#[inline(always)]
pub(super) fn word(even: f32, odd: f32) -> u32 {
    even.to_bits() >> 16 | odd.to_bits() & 0xffff_0000
}

/// The binary32 values of a word: k = 2t and k = 2t + 1.
#[inline(always)]
pub(super) fn values(word: u32) -> [f32; 2] {
    [f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000)]
}
