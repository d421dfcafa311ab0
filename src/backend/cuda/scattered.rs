//! A dense product of the live rows of A, and then all of Y from it: what a caller of a dense library does who wants the
//! rows where they belong and the others zero. Two launches; the second reads the product once and writes Y once.

use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{ArrayView2, Axis};

use super::compile::Source;
use super::cublas::{Cublas, Math};
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

/// What [`ScatteredA::new`] asks for.
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

/// The live rows of A, built for one n.
pub struct ScatteredA {
    library: Arc<Cublas>,
    math: Math,
    kernel: Kernel,
    /// The live rows, row-major.
    a: DeviceMatrix,
    /// Their product, before it is put where it belongs. Launches take turns in the device's stream.
    product: Mutex<DeviceMatrix>,
    places: Buffer,
    m: usize,
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
        let m = a.nrows();
        require_i32("rows", m)?;
        let product = DeviceMatrix::new(device, (live.len(), n), output, "product of live rows")?;
        Ok(ScatteredA {
            library: library.clone(),
            math,
            kernel: Kernel::new(device, SOURCE, &[], ENTRY, 0)?,
            a: DeviceMatrix::upload(device, a.select(Axis(0), live).view(), dtype, "A")?,
            product: Mutex::new(product),
            places: Buffer::from_slice(device, &places(live, m), "places of rows")?,
            m,
        })
    }

    /// Gives Y = A V to the device's stream: all of Y's rows. Neither allocates nor waits.
    ///
    /// Errors: shapes, layouts or dtypes that do not fit; a failed call.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let mut product = self.product.lock().unwrap_or_else(PoisonError::into_inner);
        if y.layout != Layout::RowMajor
            || (y.rows, y.cols, y.dtype) != (self.m, product.cols, product.dtype)
        {
            let what = format!("{} x {} {} {:?}", y.rows, y.cols, y.dtype, y.layout);
            return Err(CudaError::new("scatter_rows", "Y does not fit", what));
        }
        self.library.gemm(self.math, &self.a, v, &mut product)?;
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

    /// Bytes of device memory kept between calls.
    pub fn bytes_held(&self) -> usize {
        let product = self.product.lock().unwrap_or_else(PoisonError::into_inner);
        let buffers = [&self.a.buffer, &product.buffer, &self.places];
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
