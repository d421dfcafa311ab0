//! Compressed sparse rows.

use ndarray::ArrayView2;

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
    /// The non-zeros of a dense matrix, rows in order, columns ascending.
    pub fn from_dense(a: ArrayView2<'_, f32>) -> Csr {
        let mut csr = Csr {
            cols: a.ncols(),
            row_offsets: Vec::with_capacity(a.nrows() + 1),
            col_indices: Vec::new(),
            values: Vec::new(),
        };
        csr.row_offsets.push(0);
        for row in a.rows() {
            for (k, &x) in row.iter().enumerate() {
                if x != 0.0 {
                    csr.col_indices.push(k as u32);
                    csr.values.push(x);
                }
            }
            csr.row_offsets.push(csr.values.len());
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
