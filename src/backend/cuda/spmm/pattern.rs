//! Where A is not zero: what choosing and packing start from.

use ndarray::ArrayView2;

use super::super::live::packing_threads;
use crate::backend::cpu::nonzero_bits;
use contract::threads;

/// The non-zeros of a matrix as bits, and its rows by population.
pub struct Pattern {
    pub(super) m: usize,
    pub(super) k: usize,
    /// 64-bit words of a row.
    words: usize,
    bits: Vec<u64>,
    /// Non-zeros of each row.
    counts: Vec<u32>,
    /// Rows, the fullest first.
    pub(super) order: Vec<u32>,
    pub(super) nnz: usize,
    /// Non-zeros of the fullest row.
    pub(super) longest: usize,
    /// Each three rows in order: at how many k any of them has a non-zero, all together.
    pub(super) union_of_three: usize,
}

impl Pattern {
    /// Looks at A once, on as many threads as packing takes.
    pub fn of_whole(a: ArrayView2<'_, f32>) -> Pattern {
        Pattern::of(a, packing_threads(a.len()))
    }

    pub fn non_zeros(&self) -> usize {
        self.nnz
    }

    /// Looks at A once, on up to `threads` threads. Rows and columns must fit in 32 bits with sign.
    pub fn of(a: ArrayView2<'_, f32>, threads: usize) -> Pattern {
        /// Rows that a thread takes at a time.
        const ROWS: usize = 64;
        let (m, k) = a.dim();
        let words = k.div_ceil(64);
        let mut bits = vec![0; m * words];
        if words > 0 {
            threads::fill(threads, &mut bits, ROWS * words, |start, bits| {
                for (i, bits) in bits.chunks_mut(words).enumerate() {
                    let row = a.row(start / words + i);
                    match row.to_slice() {
                        Some(row) => nonzero_bits(row, bits),
                        None => nonzero_bits(&row.to_vec(), bits),
                    };
                }
            });
        }
        let mut pattern = Pattern {
            m,
            k,
            words,
            bits,
            counts: Vec::new(),
            order: (0..m as u32).collect(),
            nnz: 0,
            longest: 0,
            union_of_three: 0,
        };
        let ranges = threads::ranges(m, ROWS);
        let counts = threads::map(threads, ranges.len(), |i| {
            let count = |row| pattern.row(row).iter().map(|word| word.count_ones()).sum::<u32>();
            ranges[i].clone().map(count).collect::<Vec<u32>>()
        });
        pattern.counts = counts.concat();
        pattern.nnz = pattern.counts.iter().map(|&count| count as usize).sum();
        pattern.longest = pattern.counts.iter().copied().max().unwrap_or(0) as usize;
        let counts = &pattern.counts;
        pattern.order.sort_by_key(|&row| std::cmp::Reverse(counts[row as usize]));
        let ranges = threads::ranges(m.div_ceil(3), ROWS);
        let unions = threads::map(threads, ranges.len(), |i| {
            let rows = ranges[i].start * 3..(ranges[i].end * 3).min(m);
            pattern.order[rows].chunks(3).map(|rows| pattern.union_count(rows)).sum::<usize>()
        });
        pattern.union_of_three = unions.into_iter().sum();
        pattern
    }

    pub(super) fn row(&self, i: usize) -> &[u64] {
        &self.bits[i * self.words..(i + 1) * self.words]
    }

    /// Non-zeros of a row.
    pub(super) fn count(&self, i: u32) -> usize {
        self.counts[i as usize] as usize
    }

    fn union_count(&self, rows: &[u32]) -> usize {
        let any = |word| rows.iter().fold(0, |any, &i| any | self.row(i as usize)[word]);
        (0..self.words).map(|word| any(word).count_ones() as usize).sum()
    }

    /// At which k any of the rows has a non-zero.
    pub(super) fn union(&self, rows: &[u32]) -> Vec<u64> {
        let mut any = vec![0; self.words];
        for &i in rows {
            any.iter_mut().zip(self.row(i as usize)).for_each(|(any, row)| *any |= row);
        }
        any
    }
}

/// The set bits, ascending, from `begin` to before `end`.
pub(super) fn for_each_bit(bits: &[u64], begin: usize, end: usize, mut f: impl FnMut(usize)) {
    if begin >= end {
        return;
    }
    let (first, last) = (begin / 64, (end - 1) / 64);
    for (i, word) in bits[first..=last].iter().enumerate() {
        let at = first + i;
        let mut word = *word;
        if at == first {
            word &= u64::MAX << (begin % 64);
        }
        if at == last {
            word &= u64::MAX >> (63 - (end - 1) % 64);
        }
        while word != 0 {
            f(at * 64 + word.trailing_zeros() as usize);
            word &= word - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn counts_are_those_of_the_matrix() {
        for (m, k) in [(0, 0), (0, 7), (7, 0), (1, 1), (100, 130), (65, 64)] {
            let is_live =
                |i: usize, j: usize| i % 5 != 2 && (i * 7 + j * 3).is_multiple_of(i % 9 + 1);
            let a = Array2::from_shape_fn((m, k), |(i, j)| f32::from(u8::from(is_live(i, j))));
            let pattern = Pattern::of(a.view(), 3);
            let count = |i: usize| (0..k).filter(|&j| is_live(i, j)).count();
            assert_eq!(pattern.nnz, (0..m).map(count).sum::<usize>());
            assert_eq!(pattern.longest, (0..m).map(count).max().unwrap_or(0));
            assert!((0..m).all(|i| pattern.count(i as u32) == count(i)));
            assert!(pattern.order.is_sorted_by_key(|&i| std::cmp::Reverse(count(i as usize))));
            let union = |rows: &[u32]| {
                (0..k).filter(|&j| rows.iter().any(|&i| is_live(i as usize, j))).count()
            };
            assert_eq!(pattern.union_of_three, pattern.order.chunks(3).map(union).sum::<usize>());
            let columns = Pattern::of(a.t().as_standard_layout().t(), 1);
            assert_eq!(columns.bits, pattern.bits);
        }
    }

    #[test]
    fn bits_are_found_from_any_place_to_any_place() {
        let bits = [0x8000_0000_0000_0001, 0, u64::MAX];
        for (begin, end) in [(0, 0), (0, 1), (0, 192), (1, 63), (63, 64), (64, 129), (130, 191)] {
            let mut found = Vec::new();
            for_each_bit(&bits, begin, end, |k| found.push(k));
            let want = (begin..end).filter(|k| bits[k / 64] >> (k % 64) & 1 == 1);
            assert!(found.into_iter().eq(want));
        }
    }
}
