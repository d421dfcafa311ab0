//! Compressed sparse rows.

use ndarray::ArrayView2;
use rayon::prelude::*;

/// A sparse `rows x cols` matrix in CSR.
///
/// | array | length | holds |
/// |---|---|---|
/// | `row_offsets` | `rows + 1` | where each row starts in the other two |
/// | `col_indices` | `nnz` | the columns of each row, strictly ascending |
/// | `values` | `nnz` | the values, in the order of `col_indices` |
///
/// Invariants: `row_offsets[0] == 0`, ascending, `row_offsets[rows] == nnz`; every column is
/// below `cols`; no stored value is zero.
///
/// `[[0, 5], [0, 0], [7, 9]]` is `row_offsets = [0, 1, 1, 3]`, `col_indices = [1, 0, 1]`,
/// `values = [5, 7, 9]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Csr {
    cols: usize,
    row_offsets: Vec<usize>,
    col_indices: Vec<u32>,
    values: Vec<f32>,
}

impl Csr {
    /// The non-zeros of a dense matrix, rows in order, columns ascending. Rows are counted and then
    /// copied in parallel, in the current rayon pool.
    pub fn from_dense(a: ArrayView2<'_, f32>) -> Csr {
        let counts: Vec<usize> = (0..a.nrows())
            .into_par_iter()
            .with_min_len(ROWS_AT_ONCE)
            .map(|i| a.row(i).iter().filter(|&&x| x != 0.0).count())
            .collect();
        let ends = counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        let row_offsets: Vec<usize> = std::iter::once(0).chain(ends).collect();
        let nnz = counts.iter().sum();
        let (mut col_indices, mut values) = (vec![0; nnz], vec![0.0; nnz]);
        // Each row's part of both arrays.
        let mut parts = Vec::with_capacity(a.nrows());
        let mut rest = (&mut col_indices[..], &mut values[..]);
        for &count in &counts {
            let (columns, values) = (rest.0.split_at_mut(count), rest.1.split_at_mut(count));
            parts.push((columns.0, values.0));
            rest = (columns.1, values.1);
        }
        let rows = parts.into_par_iter().with_min_len(ROWS_AT_ONCE).enumerate();
        rows.for_each(|(i, (columns, values))| {
            let row = a.row(i);
            let nonzeros = row.iter().enumerate().filter(|(_, x)| **x != 0.0);
            for ((column, value), (k, x)) in columns.iter_mut().zip(values).zip(nonzeros) {
                (*column, *value) = (k as u32, *x);
            }
        });
        Csr { cols: a.ncols(), row_offsets, col_indices, values }
    }

    pub fn rows(&self) -> usize {
        self.row_offsets.len() - 1
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn nnz(&self) -> usize {
        self.values.len()
    }

    pub fn row_offsets(&self) -> &[usize] {
        &self.row_offsets
    }

    pub fn col_indices(&self) -> &[u32] {
        &self.col_indices
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Columns and values of row `i`.
    pub fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let span = self.row_offsets[i]..self.row_offsets[i + 1];
        (&self.col_indices[span.clone()], &self.values[span])
    }
}

/// Rows that a thread takes at least.
const ROWS_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn row_ranges_are_put_together_in_order() {
        let a = Array2::from_shape_fn((300, 7), |(i, k)| ((i * 7 + k) % 3 * (i % 5)) as f32);
        let csr = Csr::from_dense(a.view());
        assert_eq!((csr.rows(), csr.cols()), (300, 7));
        for (i, row) in a.rows().into_iter().enumerate() {
            let (columns, values) = csr.row(i);
            assert!(columns.is_sorted() && values.iter().all(|&x| x != 0.0));
            let mut dense = vec![0.0; 7];
            columns.iter().zip(values).for_each(|(&k, &x)| dense[k as usize] = x);
            assert_eq!(dense, row.to_vec());
        }
        let empty = Csr::from_dense(Array2::zeros((0, 3)).view());
        assert_eq!((empty.rows(), empty.nnz()), (0, 0));
    }
}
