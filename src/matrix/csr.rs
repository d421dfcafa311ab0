//! Compressed sparse rows.

use ndarray::{ArrayView2, Axis};
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
    /// The non-zeros of a dense matrix, rows in order, columns ascending. Row ranges are looked at in
    /// parallel, in the current rayon pool.
    pub fn from_dense(a: ArrayView2<'_, f32>) -> Csr {
        const ROWS: usize = 128;
        let ranges: Vec<_> = a.axis_chunks_iter(Axis(0), ROWS).collect();
        let parts: Vec<(Vec<usize>, Vec<u32>, Vec<f32>)> =
            ranges.par_iter().map(|rows| nonzeros(rows.view())).collect();
        let nnz = parts.iter().map(|(_, _, values)| values.len()).sum();
        let mut csr = Csr {
            cols: a.ncols(),
            row_offsets: Vec::with_capacity(a.nrows() + 1),
            col_indices: Vec::with_capacity(nnz),
            values: Vec::with_capacity(nnz),
        };
        csr.row_offsets.push(0);
        for (counts, columns, values) in parts {
            let mut end = csr.values.len();
            csr.row_offsets.extend(counts.iter().map(|count| {
                end += count;
                end
            }));
            csr.col_indices.extend(columns);
            csr.values.extend(values);
        }
        csr
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

/// Non-zeros of each row, and all their columns and values.
fn nonzeros(a: ArrayView2<'_, f32>) -> (Vec<usize>, Vec<u32>, Vec<f32>) {
    let (mut counts, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for row in a.rows() {
        let before = values.len();
        for (k, &x) in row.iter().enumerate() {
            if x != 0.0 {
                columns.push(k as u32);
                values.push(x);
            }
        }
        counts.push(values.len() - before);
    }
    (counts, columns, values)
}

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
