//! A dense product of the live rows of A, and then all of Y from it: what a caller of a dense library does who wants the
//! rows where they belong and the others zero. Two launches; the second reads the product once and writes Y once.

use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{ArrayView2, Axis};

use super::compile::Source;
use super::cublas::{Cublas, Math};
use super::device::Device;
use super::error::CudaError;
use super::generic::require_i32;
use super::launch::{Arguments, Grid, Kernel};
use super::matrix::{DeviceMatrix, Layout};
use super::memory::Buffer;
use super::variants::{ANY, Variant};
use contract::dtype::Dtype;

const SOURCE: Source =
    Source { name: "scatter_rows.cu", text: include_str!("../../../kernels/scatter_rows.cu") };
const ENTRY: &str = "scatter_rows";
/// Of a block: 4 KiB of a row at a time.
const THREADS: u32 = 256;

/// What [`Scatter::new`] asks for.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let (source, entry) = (SOURCE, ENTRY);
    std::iter::once(Variant { source, entry, defines: Vec::new(), capabilities: ANY })
}

/// For each of `m` rows its number among the live ones (ascending), or -1.
fn places(live: &[usize], m: usize) -> Vec<i32> {
    let mut places = vec![-1; m];
    // `m` has fewer than 2^31.
    for (at, &row) in (0..).zip(live) {
        places[row] = at;
    }
    places
}

/// The second launch: rows of a product go to their places in Y. It needs no library.
pub struct Scatter {
    kernel: Kernel,
    places: Buffer,
    /// Rows of Y.
    m: usize,
    /// Rows of the product.
    live: usize,
}

impl Scatter {
    /// For a Y of `m` rows, of which those in `live` (ascending) come from a product of so many rows.
    ///
    /// Errors: 2^31 rows or more, no memory, failed calls.
    ///
    /// # Panics
    /// If a row of `live` is not below `m`.
    pub fn new(device: &Arc<Device>, live: &[usize], m: usize) -> Result<Scatter, CudaError> {
        require_i32("rows", m)?;
        require_i32("live rows", live.len())?;
        let kernel = Kernel::new(device, SOURCE, &[], ENTRY, 0)?;
        let places = Buffer::from_slice(device, &places(live, m), "places of rows")?;
        Ok(Scatter { kernel, places, m, live: live.len() })
    }

    /// Gives all rows of Y (m x n) to the device's stream: those of `product` (live rows x n), or zeros. Both are row-major
    /// and of one dtype; what lies between their rows is written too. Neither allocates nor waits.
    ///
    /// Errors: shapes, layouts or dtypes that do not fit; a failed call.
    pub fn launch(&self, product: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        if [product.layout, y.layout] != [Layout::RowMajor; 2]
            || (product.rows, y.rows) != (self.live, self.m)
            || (product.cols, product.dtype) != (y.cols, y.dtype)
        {
            let what =
                |x: &DeviceMatrix| format!("{} x {} {} {:?}", x.rows, x.cols, x.dtype, x.layout);
            let what = format!("{} from {}", what(y), what(product));
            return Err(CudaError::new("scatter_rows", "Y does not fit", what));
        }
        if self.m == 0 || y.cols == 0 {
            return Ok(());
        }
        let row_bytes = y.stride * y.dtype.size();
        let row_bytes = u32::try_from(row_bytes).map_err(|_| {
            CudaError::new("scatter_rows", "a row is too long", row_bytes.to_string())
        })?;
        let arguments = Arguments::new()
            .with(self.places.pointer())
            .with(product.pointer())
            .with(y.pointer())
            .with(row_bytes);
        // Fewer than 2^31, as was asked for when this was built.
        let grid = Grid { blocks: (self.m as u32, 1, 1), threads: THREADS, shared_bytes: 0 };
        // SAFETY: arguments as at the kernel's head: `m` places, each below the product's rows; rows of both matrices are
        // `stride` elements apart, the same of both as they have the same columns, and that is a multiple of 16 elements,
        // so of 16 bytes; buffers start at such multiples too. What is freed is freed in stream order.
        unsafe { self.kernel.launch(grid, &arguments) }
    }
}

/// The live rows of A, built for one n.
pub struct ScatteredA {
    library: Arc<Cublas>,
    math: Math,
    /// The live rows, row-major.
    a: DeviceMatrix,
    /// Their product, before it is put where it belongs. Launches take turns in the device's stream.
    product: Mutex<DeviceMatrix>,
    scatter: Scatter,
}

impl ScatteredA {
    /// Uploads the rows `live` (ascending) of A (m x k, on the host) as values of `dtype`, and takes all the memory that
    /// launching will need for Y (m x n) of `output`.
    ///
    /// Errors: 2^31 rows or more, no memory, failed calls.
    pub fn new(
        library: &Arc<Cublas>,
        math: Math,
        a: ArrayView2<'_, f32>,
        live: &[usize],
        (dtype, output): (Dtype, Dtype),
        n: usize,
    ) -> Result<ScatteredA, CudaError> {
        let device = library.device();
        let scatter = Scatter::new(device, live, a.nrows())?;
        let mut product =
            DeviceMatrix::new(device, (live.len(), n), output, "product of live rows")?;
        // The library leaves what lies between rows alone, and the scatter reads it.
        product.buffer.fill(0)?;
        Ok(ScatteredA {
            library: library.clone(),
            math,
            a: DeviceMatrix::upload(device, a.select(Axis(0), live).view(), dtype, "A")?,
            product: Mutex::new(product),
            scatter,
        })
    }

    /// Gives Y = A V to the device's stream: all of Y's rows. Neither allocates nor waits.
    ///
    /// Errors: shapes, layouts or dtypes that do not fit; a failed call.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let mut product = self.product.lock().unwrap_or_else(PoisonError::into_inner);
        self.library.gemm(self.math, &self.a, v, &mut product)?;
        self.scatter.launch(&product, y)
    }

    /// Bytes of device memory kept between calls.
    pub fn bytes_held(&self) -> usize {
        let product = self.product.lock().unwrap_or_else(PoisonError::into_inner);
        let buffers = [&self.a.buffer, &product.buffer, &self.scatter.places];
        buffers.iter().map(|buffer| buffer.bytes()).sum::<usize>() + self.library.workspace_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_knows_its_place() {
        assert_eq!(places(&[1, 4], 5), [-1, 0, -1, -1, 1]);
        assert_eq!(places(&[], 2), [-1, -1]);
    }
}
