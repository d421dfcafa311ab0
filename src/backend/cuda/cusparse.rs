//! cuSPARSE: products of a CSR matrix with a dense one in device memory (`cusparseSpMM`).

use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cudarc::cusparse::sys;

use super::device::Device;
use super::error::CudaError;
use super::library::{Library, int, version};
use super::live::packing_threads;
use super::matrix::{DeviceMatrix, Layout};
use super::memory::Buffer;
use crate::backend::Error;
use crate::backend::csr::Csr;
use contract::dtype::Dtype;
use contract::threads;

const LIBRARY: Library<'static> = Library {
    name: "cuSPARSE",
    file: "cusparse",
    package: "nvidia-cusparse",
    functions: &[
        "cusparseCreate",
        "cusparseCreateConstCsr",
        "cusparseCreateConstDnMat",
        "cusparseCreateDnMat",
        "cusparseDestroy",
        "cusparseDestroyDnMat",
        "cusparseDestroySpMat",
        "cusparseGetProperty",
        "cusparseSetStream",
        "cusparseSpMM",
        "cusparseSpMM_bufferSize",
        "cusparseSpMM_preprocess",
    ],
};

/// Which of the library's ways to multiply a CSR matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpmmAlgorithm {
    Default,
    Alg1,
    Alg2,
    Alg3,
}

impl SpmmAlgorithm {
    pub const ALL: [SpmmAlgorithm; 4] =
        [SpmmAlgorithm::Default, SpmmAlgorithm::Alg1, SpmmAlgorithm::Alg2, SpmmAlgorithm::Alg3];

    /// The name in baselines, such as `alg1`.
    pub fn name(self) -> &'static str {
        match self {
            SpmmAlgorithm::Default => "default",
            SpmmAlgorithm::Alg1 => "alg1",
            SpmmAlgorithm::Alg2 => "alg2",
            SpmmAlgorithm::Alg3 => "alg3",
        }
    }

    fn code(self) -> sys::cusparseSpMMAlg_t {
        use sys::cusparseSpMMAlg_t::*;
        match self {
            SpmmAlgorithm::Default => CUSPARSE_SPMM_ALG_DEFAULT,
            SpmmAlgorithm::Alg1 => CUSPARSE_SPMM_CSR_ALG1,
            SpmmAlgorithm::Alg2 => CUSPARSE_SPMM_CSR_ALG2,
            SpmmAlgorithm::Alg3 => CUSPARSE_SPMM_CSR_ALG3,
        }
    }
}

/// The name in the library's manual.
impl fmt::Display for SpmmAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SpmmAlgorithm::Default => "CUSPARSE_SPMM_ALG_DEFAULT",
            SpmmAlgorithm::Alg1 => "CUSPARSE_SPMM_CSR_ALG1",
            SpmmAlgorithm::Alg2 => "CUSPARSE_SPMM_CSR_ALG2",
            SpmmAlgorithm::Alg3 => "CUSPARSE_SPMM_CSR_ALG3",
        })
    }
}

/// Whether cuSPARSE can be called, else what is missing.
fn require() -> Result<(), CudaError> {
    static FOUND: OnceLock<Result<(), CudaError>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            LIBRARY.require(
                // SAFETY: opens the library, whose initialisers are NVIDIA's.
                || unsafe { sys::is_culib_present() },
                // SAFETY: the library was found just now; the address is not called.
                |name| unsafe { sys::culib().get::<*const c_void>(name.as_bytes()) }.is_ok(),
            )
        })
        .clone()
}

/// cuSPARSE's version, such as `12.6.3`, or why it cannot be called. Needs no device.
pub fn cusparse_version() -> Result<String, CudaError> {
    require()?;
    let property = |kind| {
        let mut value = 0;
        // SAFETY: the function is there; it writes one integer.
        let code = unsafe { sys::cusparseGetProperty(kind, &mut value) };
        match code {
            sys::cusparseStatus_t::CUSPARSE_STATUS_SUCCESS => Ok(value),
            code => Err(CudaError::new("cusparseGetProperty", format!("{code:?}"), "")),
        }
    };
    use sys::libraryPropertyType_t::*;
    Ok(version([property(MAJOR_VERSION)?, property(MINOR_VERSION)?, property(PATCH_LEVEL)?]))
}

/// The library says no to this case, or it failed.
fn check(
    code: sys::cusparseStatus_t,
    call: &str,
    asked: impl FnOnce() -> String,
) -> Result<(), Error> {
    use sys::cusparseStatus_t::*;
    let error = |asked| CudaError::new(call, format!("{code:?}"), asked);
    match code {
        CUSPARSE_STATUS_SUCCESS => Ok(()),
        CUSPARSE_STATUS_NOT_SUPPORTED
        | CUSPARSE_STATUS_ARCH_MISMATCH
        | CUSPARSE_STATUS_INVALID_VALUE
        | CUSPARSE_STATUS_MATRIX_TYPE_NOT_SUPPORTED => Err(Error::Unsupported(format!(
            "the library does not support this case: {}",
            error(asked())
        ))),
        CUSPARSE_STATUS_ALLOC_FAILED | CUSPARSE_STATUS_INSUFFICIENT_RESOURCES => {
            Err(error(asked())
                .hint("close other programs on the device, or choose another with --device N")
                .into())
        }
        CUSPARSE_STATUS_NOT_INITIALIZED => Err(error(asked())
            .hint("the driver may be older than the library; `verify doctor` lists both")
            .into()),
        _ => Err(error(asked()).into()),
    }
}

/// cuSPARSE on one device, working on the device's stream.
pub struct Cusparse {
    device: Arc<Device>,
    /// Locked for each call, as for what a call may keep in a matrix's descriptor.
    handle: Mutex<Handle>,
    version: String,
}

struct Handle(sys::cusparseHandle_t);

// SAFETY: a handle may be used from any thread, by one at a time, whose current context is the
// handle's; every use holds the lock and makes the context current first.
unsafe impl Send for Handle {}

impl Cusparse {
    /// Opens the library on a device.
    pub fn new(device: &Arc<Device>) -> Result<Cusparse, Error> {
        let version = cusparse_version()?;
        let stream = device.stream()?;
        let asked = || format!("on {}", device.info.name);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the functions are there, the device's context is current; writes one pointer.
        check(unsafe { sys::cusparseCreate(&mut handle) }, "cusparseCreate", asked)?;
        // From here on the handle is destroyed whatever happens.
        let cusparse =
            Cusparse { device: device.clone(), handle: Mutex::new(Handle(handle)), version };
        // SAFETY: handle and stream are alive; the driver's and the runtime's streams are one.
        let code = unsafe { sys::cusparseSetStream(handle, stream.cast()) };
        check(code, "cusparseSetStream", asked)?;
        Ok(cusparse)
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// As [`cusparse_version`].
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The handle, with the device's context current on this thread.
    fn handle(&self) -> Result<MutexGuard<'_, Handle>, CudaError> {
        self.device.stream()?;
        Ok(self.handle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Cusparse {
    fn drop(&mut self) {
        let handle = self.handle.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.device.stream().is_ok() {
            // SAFETY: created in `new`, destroyed once. A failure leaves nothing to be done.
            let _ = unsafe { sys::cusparseDestroy(handle.0) };
        }
    }
}

/// How A is multiplied: fixed when it is built, as the library analyses A for it.
#[derive(Clone, Copy, Debug)]
pub struct Spmm {
    pub algorithm: SpmmAlgorithm,
    /// Of V and of Y.
    pub layout: Layout,
    /// Dtype of A and V.
    pub input: Dtype,
    /// Dtype of Y: `input`, or f32. Sums are f32.
    pub output: Dtype,
}

/// A (m x k) in CSR on the device, analysed for V of n columns.
///
/// | array | length | type |
/// |---|---|---|
/// | row offsets | m + 1 | i32 |
/// | column indices | nnz | i32 |
/// | values | nnz | the input dtype |
pub struct CusparseA {
    /// `None` where there is nothing to multiply: Y is zero or empty. Dropped before the library.
    held: Option<Held>,
    library: Arc<Cusparse>,
    how: Spmm,
    /// m, k and n.
    shape: (usize, usize, usize),
}

/// In the order in which they are dropped: the descriptor refers to the rest.
struct Held {
    a: SparseDescriptor,
    /// What the analysis left, and what a product needs.
    workspace: Buffer,
    arrays: [Buffer; 3],
}

/// The library's description of a sparse matrix.
struct SparseDescriptor(sys::cusparseConstSpMatDescr_t);

// SAFETY: a descriptor is host memory, used by one thread at a time under the handle's lock.
unsafe impl Send for SparseDescriptor {}
// SAFETY: as above.
unsafe impl Sync for SparseDescriptor {}

impl Drop for SparseDescriptor {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once. A failure leaves nothing to be done.
        let _ = unsafe { sys::cusparseDestroySpMat(self.0) };
    }
}

/// The library's description of V or Y, for one call.
struct DenseDescriptor(sys::cusparseDnMatDescr_t);

impl Drop for DenseDescriptor {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once. A failure leaves nothing to be done.
        let _ = unsafe { sys::cusparseDestroyDnMat(self.0) };
    }
}

impl DenseDescriptor {
    /// The matrix must outlive what it is given to. Needs the library, and no device.
    fn new(matrix: &DeviceMatrix) -> Result<DenseDescriptor, Error> {
        let order = match matrix.layout {
            Layout::RowMajor | Layout::Dense => sys::cusparseOrder_t::CUSPARSE_ORDER_ROW,
            Layout::ColumnMajor => sys::cusparseOrder_t::CUSPARSE_ORDER_COL,
        };
        let mut descriptor = std::ptr::null_mut();
        // SAFETY: writes one pointer; the elements are not read. V's descriptor is only given where
        // the library takes one of a constant matrix.
        let code = unsafe {
            sys::cusparseCreateDnMat(
                &mut descriptor,
                matrix.rows as i64,
                matrix.cols as i64,
                matrix.stride as i64,
                matrix.pointer() as *mut c_void,
                data_type(matrix.dtype),
                order,
            )
        };
        check(code, "cusparseCreateDnMat", || {
            let DeviceMatrix { rows, cols, stride, dtype, .. } = matrix;
            format!("{rows} x {cols} {dtype}, stride {stride}")
        })?;
        Ok(DenseDescriptor(descriptor))
    }
}

impl CusparseA {
    /// Uploads and analyses A for V of `n` columns: everything that a call need not repeat.
    ///
    /// Errors: [`Error::Unsupported`] where the library or its 32-bit indices cannot do it.
    pub fn new(
        library: &Arc<Cusparse>,
        csr: &Csr,
        n: usize,
        how: Spmm,
    ) -> Result<CusparseA, Error> {
        let shape = (csr.rows(), csr.cols(), n);
        let nothing = csr.nnz() == 0 || n == 0;
        let held = if nothing { None } else { Some(Held::new(library, csr, n, how)?) };
        Ok(CusparseA { library: library.clone(), how, shape, held })
    }

    /// Gives Y = A V to the device's stream, all of `y` written. Neither allocates device memory nor waits.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        let (m, k, n) = self.shape;
        let Spmm { layout, input, output, .. } = self.how;
        if (v.rows, v.cols, y.rows, y.cols) != (k, n, m, n)
            || (v.dtype, y.dtype) != (input, output)
            || [v.layout, y.layout] != [layout; 2]
        {
            return Err(Error::Unsupported(format!(
                "V and Y do not fit: V is {} x {} {} {:?}, Y {} x {} {} {:?}; for A of {m} x {k} built {:?}, n = {n}",
                v.rows, v.cols, v.dtype, v.layout, y.rows, y.cols, y.dtype, y.layout, self.how
            )));
        }
        let Some(held) = &self.held else { return Ok(y.buffer.fill(0)?) };
        let (v, y) = (DenseDescriptor::new(v)?, DenseDescriptor::new(y)?);
        let handle = self.library.handle()?;
        let (one, zero) = (1f32, 0f32);
        // SAFETY: handle, descriptors and workspace are alive; the workspace is what this matrix was
        // analysed with. The scalars are read before the call returns; the buffers are freed in
        // stream order, so after the product.
        let code = unsafe {
            sys::cusparseSpMM(
                handle.0,
                PLAIN,
                PLAIN,
                (&raw const one).cast(),
                held.a.0,
                v.0,
                (&raw const zero).cast(),
                y.0,
                COMPUTE,
                self.how.algorithm.code(),
                held.workspace.pointer() as *mut c_void,
            )
        };
        check(code, "cusparseSpMM", || self.how.in_words(self.shape))
    }

    /// CSR arrays and workspace.
    pub fn bytes_held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| {
            held.arrays.iter().map(Buffer::bytes).sum::<usize>() + held.workspace.bytes()
        })
    }
}

/// Values that a thread encodes before it takes the next ones.
const ENCODED_AT_ONCE: usize = 1 << 16;
const PLAIN: sys::cusparseOperation_t = sys::cusparseOperation_t::CUSPARSE_OPERATION_NON_TRANSPOSE;
/// The type of the sums and of both scalars.
const COMPUTE: sys::cudaDataType_t = sys::cudaDataType_t::CUDA_R_32F;

impl Held {
    /// A has a non-zero, so all of m, k and n are at least 1.
    fn new(library: &Arc<Cusparse>, csr: &Csr, n: usize, how: Spmm) -> Result<Held, Error> {
        let (m, k) = (csr.rows(), csr.cols());
        let device = library.device();
        let fits = |what, size| {
            int(what, size, "cusparseCreateConstCsr")
                .map_err(|error| Error::Unsupported(error.to_string()))
        };
        fits("columns", k)?;
        fits("non-zeros", csr.nnz())?;
        // Offsets ascend to the number of non-zeros, columns are below k: both fit.
        let offsets: Vec<i32> = csr.row_offsets().iter().map(|&offset| offset as i32).collect();
        let size = how.input.size();
        let mut values = vec![0; csr.nnz() * size];
        threads::fill(
            packing_threads(csr.nnz()),
            &mut values,
            ENCODED_AT_ONCE * size,
            |at, bytes| {
                let first = at / size;
                how.input.encode_into(&csr.values()[first..first + bytes.len() / size], bytes);
            },
        );
        let arrays = [
            Buffer::from_slice(device, &offsets, "row offsets")?,
            Buffer::from_slice(device, csr.col_indices(), "column indices")?,
            Buffer::from_slice(device, &values, "values")?,
        ];
        let index = sys::cusparseIndexType_t::CUSPARSE_INDEX_32I;
        let mut a = std::ptr::null();
        // SAFETY: writes one pointer; the arrays are as long as the head of `CusparseA` says and outlive
        // the descriptor.
        let code = unsafe {
            sys::cusparseCreateConstCsr(
                &mut a,
                m as i64,
                k as i64,
                csr.nnz() as i64,
                arrays[0].pointer() as *const c_void,
                arrays[1].pointer() as *const c_void,
                arrays[2].pointer() as *const c_void,
                index,
                index,
                sys::cusparseIndexBase_t::CUSPARSE_INDEX_BASE_ZERO,
                data_type(how.input),
            )
        };
        check(code, "cusparseCreateConstCsr", || {
            format!("{m} x {k} {}, {} non-zeros", how.input, csr.nnz())
        })?;
        let a = SparseDescriptor(a);

        // The analysis wants V and Y by shape; the manual lets later calls have others of the same.
        let v = DeviceMatrix::new_in(how.layout, device, (k, n), how.input, "V to analyse for")?;
        let y = DeviceMatrix::new_in(how.layout, device, (m, n), how.output, "Y to analyse for")?;
        let (v_descriptor, y_descriptor) = (DenseDescriptor::new(&v)?, DenseDescriptor::new(&y)?);
        let (one, zero) = (1f32, 0f32);
        let (one, zero) = ((&raw const one).cast(), (&raw const zero).cast());
        let algorithm = how.algorithm.code();
        let handle = library.handle()?;
        let mut bytes = 0;
        // SAFETY: handle and descriptors are alive; writes one integer.
        let code = unsafe {
            sys::cusparseSpMM_bufferSize(
                handle.0,
                PLAIN,
                PLAIN,
                one,
                a.0,
                v_descriptor.0,
                zero,
                y_descriptor.0,
                COMPUTE,
                algorithm,
                &mut bytes,
            )
        };
        check(code, "cusparseSpMM_bufferSize", || how.in_words((m, k, n)))?;
        let workspace = Buffer::new(device, bytes, "cuSPARSE's workspace")?;
        // SAFETY: as above; the workspace is as long as the library asked for.
        let code = unsafe {
            sys::cusparseSpMM_preprocess(
                handle.0,
                PLAIN,
                PLAIN,
                one,
                a.0,
                v_descriptor.0,
                zero,
                y_descriptor.0,
                COMPUTE,
                algorithm,
                workspace.pointer() as *mut c_void,
            )
        };
        check(code, "cusparseSpMM_preprocess", || how.in_words((m, k, n)))?;
        drop(handle);
        // What the analysis does on the device is part of building.
        device.synchronize()?;
        Ok(Held { a, workspace, arrays })
    }
}

impl Spmm {
    /// Whether parts of one sum are rounded to the output's 16 bits before they are added: seen of all but
    /// ALG3 (cuSPARSE 12.6 on an H200).
    pub fn adds_rounded_parts(self) -> bool {
        self.output != Dtype::F32 && self.algorithm != SpmmAlgorithm::Alg3
    }

    fn in_words(self, (m, k, n): (usize, usize, usize)) -> String {
        let Spmm { algorithm, layout, input, output } = self;
        format!("{algorithm}, {m} x {k} {input} times {k} x {n}, {layout:?}, to {output}")
    }
}

fn data_type(dtype: Dtype) -> sys::cudaDataType_t {
    match dtype {
        Dtype::F32 => sys::cudaDataType_t::CUDA_R_32F,
        Dtype::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        Dtype::F16 => sys::cudaDataType_t::CUDA_R_16F,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_there_or_what_is_missing() {
        match cusparse_version() {
            Ok(version) => assert_eq!(version.split('.').count(), 3, "{version}"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("cuSPARSE") && error.contains("hint: "), "{error}");
            }
        }
    }

    #[test]
    fn what_the_library_refuses_is_unsupported_and_what_fails_is_not() {
        use sys::cusparseStatus_t::*;
        let how = Spmm {
            algorithm: SpmmAlgorithm::Alg3,
            layout: Layout::ColumnMajor,
            input: Dtype::F16,
            output: Dtype::F32,
        };
        let asked = || how.in_words((3, 5, 7));
        let refused = check(CUSPARSE_STATUS_NOT_SUPPORTED, "cusparseSpMM", asked).unwrap_err();
        assert!(matches!(refused, Error::Unsupported(_)));
        assert_eq!(
            refused.to_string(),
            "the library does not support this case: cusparseSpMM failed \
             (CUSPARSE_SPMM_CSR_ALG3, 3 x 5 f16 times 5 x 7, ColumnMajor, to f32): \
             CUSPARSE_STATUS_NOT_SUPPORTED"
        );
        let failed = check(CUSPARSE_STATUS_EXECUTION_FAILED, "cusparseSpMM", asked).unwrap_err();
        assert!(matches!(failed, Error::Environment(_)));
    }
}
