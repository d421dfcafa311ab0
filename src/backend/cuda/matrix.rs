//! Dense matrices in device memory.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::device::Device;
use super::error::CudaError;
use super::live::packing_threads;
use super::memory::Buffer;
use contract::dtype::Dtype;
use contract::threads;

/// Rows of V and Y start at multiples of so many elements: kernels read V in vectors and whole tiles.
pub const ROW_MULTIPLE: usize = 16;

/// Rows that a thread encodes before it takes the next ones.
const LINES_AT_ONCE: usize = 64;

/// Columns that are read together where those of a column lie beside each other.
const COLUMNS_AT_ONCE: usize = 16;

/// Which elements lie beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Those of a row, as in every matrix on the host.
    #[default]
    RowMajor,
    /// The same, with nothing between two rows: what operators of others get.
    Dense,
    /// Those of a column: what some libraries are faster with. The transposition is done on the host.
    ColumnMajor,
}

/// `rows x cols` elements of `dtype`, each row (column-major: column) `stride` elements after the one before.
/// What lies between them is zero in V, and not looked at in Y.
#[derive(Debug)]
pub struct DeviceMatrix {
    pub buffer: Buffer,
    pub rows: usize,
    pub cols: usize,
    pub stride: usize,
    pub dtype: Dtype,
    pub layout: Layout,
}

impl DeviceMatrix {
    /// A row-major matrix of no defined values.
    pub fn new(
        device: &Arc<Device>,
        shape: (usize, usize),
        dtype: Dtype,
        what: &str,
    ) -> Result<DeviceMatrix, CudaError> {
        DeviceMatrix::new_in(Layout::RowMajor, device, shape, dtype, what)
    }

    /// A matrix of no defined values.
    pub fn new_in(
        layout: Layout,
        device: &Arc<Device>,
        (rows, cols): (usize, usize),
        dtype: Dtype,
        what: &str,
    ) -> Result<DeviceMatrix, CudaError> {
        let bytes = DeviceMatrix::bytes(layout, (rows, cols), dtype);
        let buffer = Buffer::new(device, bytes, &format!("{what}, {rows} x {cols} {dtype}"))?;
        Ok(DeviceMatrix::in_buffer(buffer, layout, (rows, cols), dtype))
    }

    /// Elements of a line with what lies before the next one, and lines.
    fn extent(layout: Layout, (rows, cols): (usize, usize)) -> (usize, usize) {
        match layout {
            Layout::Dense => (cols, rows),
            Layout::RowMajor => (cols.next_multiple_of(ROW_MULTIPLE), rows),
            Layout::ColumnMajor => (rows.next_multiple_of(ROW_MULTIPLE), cols),
        }
    }

    /// Bytes of a matrix.
    pub fn bytes(layout: Layout, shape: (usize, usize), dtype: Dtype) -> usize {
        let (stride, lines) = DeviceMatrix::extent(layout, shape);
        stride * lines * dtype.size()
    }

    /// A matrix of no defined values in memory that is there.
    ///
    /// # Panics
    /// If the buffer has fewer bytes than the matrix.
    pub fn in_buffer(
        buffer: Buffer,
        layout: Layout,
        (rows, cols): (usize, usize),
        dtype: Dtype,
    ) -> DeviceMatrix {
        let (stride, _) = DeviceMatrix::extent(layout, (rows, cols));
        let bytes = DeviceMatrix::bytes(layout, (rows, cols), dtype);
        assert!(bytes <= buffer.bytes(), "the caller sized the buffer");
        DeviceMatrix { buffer, rows, cols, stride, dtype, layout }
    }

    /// A row-major copy of a host matrix whose elements are values of `dtype`.
    pub fn upload(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        dtype: Dtype,
        what: &str,
    ) -> Result<DeviceMatrix, CudaError> {
        DeviceMatrix::upload_in(Layout::RowMajor, device, a, dtype, what)
    }

    /// A copy of a host matrix whose elements are values of `dtype`.
    pub fn upload_in(
        layout: Layout,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        dtype: Dtype,
        what: &str,
    ) -> Result<DeviceMatrix, CudaError> {
        let mut matrix = DeviceMatrix::new_in(layout, device, a.dim(), dtype, what)?;
        matrix.write(a)?;
        Ok(matrix)
    }

    /// Rows (column-major: columns), and elements of each.
    fn lines(&self) -> (usize, usize) {
        match self.layout {
            Layout::RowMajor | Layout::Dense => (self.rows, self.cols),
            Layout::ColumnMajor => (self.cols, self.rows),
        }
    }

    /// Replaces all elements.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn write(&mut self, a: ArrayView2<'_, f32>) -> Result<(), CudaError> {
        assert_eq!(a.dim(), (self.rows, self.cols), "the caller made both");
        let a = match self.layout {
            Layout::RowMajor | Layout::Dense => a,
            Layout::ColumnMajor => a.reversed_axes(),
        };
        let (lines, length) = self.lines();
        if self.dtype == Dtype::F32
            && self.stride == length
            && let Some(values) = a.as_slice()
        {
            return self.buffer.write(values);
        }
        let line_bytes = self.stride * self.dtype.size();
        let mut bytes = vec![0; lines * line_bytes];
        threads::fill(
            packing_threads(a.len()),
            &mut bytes,
            LINES_AT_ONCE * line_bytes,
            |at, part| {
                let mut line = Vec::with_capacity(length);
                // What is left of each is zero, as it was made.
                for (i, bytes) in part.chunks_exact_mut(line_bytes.max(1)).enumerate() {
                    let row = a.row(at / line_bytes + i);
                    line.clear();
                    line.extend(row.iter());
                    self.dtype.encode_into(&line, &mut bytes[..length * self.dtype.size()]);
                }
            },
        );
        self.buffer.write(&bytes)
    }

    /// Makes every element a NaN.
    pub fn poison(&mut self) -> Result<(), CudaError> {
        self.buffer.fill(0xff)
    }

    /// Copies all elements to the host, row-major, after all work given before.
    pub fn read(&self) -> Result<Array2<f32>, CudaError> {
        let mut y = Array2::zeros((self.rows, self.cols));
        // Just made, so row-major.
        self.read_to(y.as_slice_mut().unwrap_or_default())?;
        Ok(y)
    }

    /// The same to `elements`, of which there are as many.
    ///
    /// # Panics
    /// If there are not.
    pub fn read_to(&self, elements: &mut [f32]) -> Result<(), CudaError> {
        assert_eq!(elements.len(), self.rows * self.cols, "the caller knows the shape");
        match self.dtype {
            Dtype::F32 if self.layout != Layout::ColumnMajor && self.stride == self.cols => {
                self.buffer.read(elements)?;
            }
            Dtype::F32 => self.read_widened(elements, |x: f32| x)?,
            Dtype::F16 => {
                self.read_widened(elements, |x: u16| half::f16::from_bits(x).to_f32())?;
            }
            Dtype::Bf16 => {
                self.read_widened(elements, |x: u16| f32::from_bits(u32::from(x) << 16))?
            }
        }
        Ok(())
    }

    /// `elements` is row-major and has no padding.
    fn read_widened<T: bytemuck::Pod + Sync>(
        &self,
        elements: &mut [f32],
        widen: impl Fn(T) -> f32 + Sync,
    ) -> Result<(), CudaError> {
        let (stride, cols) = (self.stride, self.cols.max(1));
        let mut values = vec![T::zeroed(); self.lines().0 * stride];
        self.buffer.read(&mut values)?;
        let threads = packing_threads(elements.len());
        threads::fill(threads, elements, LINES_AT_ONCE * cols, |at, part| {
            let first = at / cols;
            match self.layout {
                Layout::RowMajor | Layout::Dense => {
                    for (to, from) in
                        part.chunks_mut(cols).zip(values[first * stride..].chunks(stride))
                    {
                        to.iter_mut().zip(from).for_each(|(to, &from)| *to = widen(from));
                    }
                }
                // A cache line of each row, of as many columns, whose elements are read one behind the other.
                Layout::ColumnMajor => {
                    for (b, columns) in values.chunks(COLUMNS_AT_ONCE * stride).enumerate() {
                        for (i, row) in part.chunks_mut(cols).enumerate() {
                            let to = &mut row[b * COLUMNS_AT_ONCE..];
                            for (to, column) in to.iter_mut().zip(columns.chunks(stride)) {
                                *to = widen(column[first + i]);
                            }
                        }
                    }
                }
            }
        });
        Ok(())
    }

    /// The address of the first element.
    pub fn pointer(&self) -> u64 {
        self.buffer.pointer()
    }
}
