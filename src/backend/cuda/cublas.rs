//! cuBLAS: dense products of matrices in device memory.
//!
//! Matrices are row-major here and column-major there: the same memory is the transposed matrix,
//! and Y = A V is Y^T = V^T A^T. So V is cuBLAS's first operand, A its second, and nothing is moved.

use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::cublas::sys;

use super::device::Device;
use super::error::CudaError;
use super::grouped::Group;
use super::library::{Library, int, version};
use super::matrix::{DeviceMatrix, Layout};
use super::memory::Buffer;
use contract::dtype::Dtype;

/// Bytes that a product may use between its passes: what the manual recommends for Hopper, and more
/// than for what came before (section on `cublasSetWorkspace`). It is taken once, because a call
/// must not allocate while it is captured or timed.
const WORKSPACE_BYTES: usize = 32 << 20;

const LIBRARY: Library<'static> = Library {
    name: "cuBLAS",
    file: "cublas",
    package: "nvidia-cublas",
    functions: &[
        "cublasCreate_v2",
        "cublasDestroy_v2",
        "cublasGemmEx",
        "cublasGetProperty",
        "cublasSetMathMode",
        "cublasSetStream_v2",
        "cublasSetWorkspace_v2",
        "cublasSgemm_v2",
    ],
};

/// What grouped products need besides.
const GROUPED: Library<'static> = Library { functions: &["cublasGemmGroupedBatchedEx"], ..LIBRARY };

/// Which arithmetic a product may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Math {
    /// f32 operands and sums: `cublasSgemm` as it comes, which keeps away from TF32.
    Default,
    /// f32 operands and sums, without any liberty: `CUBLAS_PEDANTIC_MATH`.
    Pedantic,
    /// f32 operands rounded to TF32, f32 sums on tensor cores: `CUBLAS_COMPUTE_32F_FAST_TF32`.
    Tf32,
    /// bf16 or f16 operands, f32 sums: `CUBLAS_COMPUTE_32F`. Where a sum over k is split, its parts
    /// stay f32 until the output is rounded once.
    Half,
}

impl fmt::Display for Math {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Math::Default => "cublasSgemm, CUBLAS_DEFAULT_MATH",
            Math::Pedantic => "cublasSgemm, CUBLAS_PEDANTIC_MATH",
            Math::Tf32 => "cublasGemmEx, CUBLAS_COMPUTE_32F_FAST_TF32",
            Math::Half => {
                "cublasGemmEx, CUBLAS_COMPUTE_32F, \
                 CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION"
            }
        })
    }
}

/// Whether cuBLAS can be called, else what is missing.
fn require() -> Result<(), CudaError> {
    static FOUND: OnceLock<Result<(), CudaError>> = OnceLock::new();
    FOUND.get_or_init(|| find(&LIBRARY)).clone()
}

/// Whether cuBLAS has grouped products, else what is missing.
pub fn require_grouped() -> Result<(), CudaError> {
    static FOUND: OnceLock<Result<(), CudaError>> = OnceLock::new();
    let find = || find(&GROUPED).map_err(|error| error.hint("cuBLAS has it from 12.5 on"));
    require().and_then(|()| FOUND.get_or_init(find).clone())
}

fn find(library: &Library<'_>) -> Result<(), CudaError> {
    library.require(
        // SAFETY: opens the library, whose initialisers are NVIDIA's.
        || unsafe { sys::is_culib_present() },
        // SAFETY: the library was found just now; the address is not called.
        |name| unsafe { sys::culib().get::<*const c_void>(name.as_bytes()) }.is_ok(),
    )
}

fn check(
    code: sys::cublasStatus_t,
    call: &str,
    asked: impl FnOnce() -> String,
) -> Result<(), CudaError> {
    use sys::cublasStatus_t::*;
    if code == CUBLAS_STATUS_SUCCESS {
        return Ok(());
    }
    let error = CudaError::new(call, format!("{code:?}"), asked());
    Err(match code {
        CUBLAS_STATUS_NOT_INITIALIZED => {
            error.hint("the driver may be older than the library; `verify doctor` lists both")
        }
        CUBLAS_STATUS_ALLOC_FAILED => {
            error.hint("close other programs on the device, or choose another with --device N")
        }
        CUBLAS_STATUS_ARCH_MISMATCH | CUBLAS_STATUS_NOT_SUPPORTED => {
            error.hint("this device does not support the product in this dtype")
        }
        _ => error,
    })
}

/// cuBLAS's version, such as `13.1.0`, or why it cannot be called. Needs no device.
pub fn cublas_version() -> Result<String, CudaError> {
    require()?;
    let property = |kind| {
        let mut value = 0;
        // SAFETY: the function is there; it writes one integer.
        check(unsafe { sys::cublasGetProperty(kind, &mut value) }, "cublasGetProperty", String::new)
            .map(|()| value)
    };
    use sys::libraryPropertyType_t::*;
    Ok(version([property(MAJOR_VERSION)?, property(MINOR_VERSION)?, property(PATCH_LEVEL)?]))
}

/// cuBLAS on one device, working on the device's stream.
pub struct Cublas {
    device: Arc<Device>,
    /// Locked for each call: the math mode is part of the handle.
    handle: Mutex<Handle>,
    /// Freed after the handle, which may use it until then.
    workspace: Buffer,
    version: String,
}

struct Handle(sys::cublasHandle_t);

// SAFETY: a handle may be used from any thread, by one at a time, whose current context is the
// handle's; every use holds the lock and makes the context current first.
unsafe impl Send for Handle {}

impl Cublas {
    /// Opens the library on a device.
    pub fn new(device: &Arc<Device>) -> Result<Cublas, CudaError> {
        let version = cublas_version()?;
        let workspace = Buffer::new(device, WORKSPACE_BYTES, "cuBLAS's workspace")?;
        let stream = device.stream()?;
        let asked = || format!("on {}", device.info.name);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the functions are there, the device's context is current; writes one pointer.
        check(unsafe { sys::cublasCreate_v2(&mut handle) }, "cublasCreate", asked)?;
        // From here on the handle is destroyed whatever happens.
        let cublas = Cublas {
            device: device.clone(),
            handle: Mutex::new(Handle(handle)),
            workspace,
            version,
        };
        // The stream first: setting it takes the library back to its own workspace.
        // SAFETY: handle and stream are alive; the driver's and the runtime's streams are one.
        check(unsafe { sys::cublasSetStream_v2(handle, stream.cast()) }, "cublasSetStream", asked)?;
        // SAFETY: the memory is as long as said, 256-byte aligned, and outlives the handle.
        let code = unsafe {
            let memory = cublas.workspace.pointer() as *mut c_void;
            sys::cublasSetWorkspace_v2(handle, memory, WORKSPACE_BYTES)
        };
        check(code, "cublasSetWorkspace", || format!("{WORKSPACE_BYTES} bytes"))?;
        Ok(cublas)
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// As [`cublas_version`].
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Gives the product A V to the device's stream; it goes to the first `a.rows` rows of `y`, whose
    /// other rows are left as they are. All three are row-major; A and V are of one dtype; Y is of
    /// that dtype or f32. Neither allocates nor waits.
    ///
    /// Errors: shapes, layouts or dtypes that do not fit; sizes beyond 2^31 - 1; a failed call.
    pub fn gemm(
        &self,
        math: Math,
        a: &DeviceMatrix,
        v: &DeviceMatrix,
        y: &mut DeviceMatrix,
    ) -> Result<(), CudaError> {
        let call = match math {
            Math::Default | Math::Pedantic => "cublasSgemm",
            Math::Tf32 | Math::Half => "cublasGemmEx",
        };
        let asked = || {
            format!(
                "{} x {} {} times {} x {} {}, {} x {} {}",
                a.rows, a.cols, a.dtype, v.rows, v.cols, v.dtype, y.rows, y.cols, y.dtype
            )
        };
        let unfit = |why: &str| Err(CudaError::new(call, why, asked()));
        if a.cols != v.rows || a.rows > y.rows || v.cols != y.cols {
            return unfit("shapes do not fit");
        }
        if [a, v, y].iter().any(|matrix| matrix.layout != Layout::RowMajor) {
            return unfit("matrices must be row-major");
        }
        let dtypes_fit = match math {
            Math::Half => {
                a.dtype != Dtype::F32
                    && v.dtype == a.dtype
                    && (y.dtype == a.dtype || y.dtype == Dtype::F32)
            }
            _ => [a.dtype, v.dtype, y.dtype] == [Dtype::F32; 3],
        };
        if !dtypes_fit {
            return unfit("dtypes do not fit the math mode");
        }
        let (m, n, k) = (a.rows, v.cols, a.cols);
        if m == 0 || n == 0 {
            return Ok(());
        }
        if k == 0 {
            return y.buffer.fill(0);
        }
        let size = |what, size| int(what, size, call);
        let (m, n, k) = (size("rows of A", m)?, size("columns of V", n)?, size("k", k)?);
        let (lda, ldv) = (size("stride of A", a.stride)?, size("stride of V", v.stride)?);
        let ldy = size("stride of Y", y.stride)?;
        let (one, zero) = (1f32, 0f32);
        let (plain, mode) = (sys::cublasOperation_t::CUBLAS_OP_N, math.mode());

        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        self.device.stream()?;
        // SAFETY: the handle is alive.
        check(unsafe { sys::cublasSetMathMode(handle.0, mode) }, "cublasSetMathMode", || {
            math.to_string()
        })?;
        // SAFETY: the device's context is current. The matrices lie where they say, as large as they
        // say: of n x k, k x m and n x m column-major elements with these leading dimensions none
        // reaches beyond its buffer. The scalars are read before the call returns. The buffers are
        // freed in stream order, so after the product.
        let code = unsafe {
            match math {
                Math::Default | Math::Pedantic => sys::cublasSgemm_v2(
                    handle.0,
                    plain,
                    plain,
                    n,
                    m,
                    k,
                    &one,
                    v.pointer() as *const f32,
                    ldv,
                    a.pointer() as *const f32,
                    lda,
                    &zero,
                    y.pointer() as *mut f32,
                    ldy,
                ),
                Math::Tf32 | Math::Half => sys::cublasGemmEx(
                    handle.0,
                    plain,
                    plain,
                    n,
                    m,
                    k,
                    (&raw const one).cast(),
                    v.pointer() as *const c_void,
                    data_type(v.dtype),
                    ldv,
                    a.pointer() as *const c_void,
                    data_type(a.dtype),
                    lda,
                    (&raw const zero).cast(),
                    y.pointer() as *mut c_void,
                    data_type(y.dtype),
                    ldy,
                    math.compute_type(),
                    // Another name of CUBLAS_GEMM_DEFAULT.
                    sys::cublasGemmAlgo_t::CUBLAS_GEMM_DFALT,
                ),
            }
        };
        check(code, call, || format!("{}, {math}", asked()))
    }

    /// Gives a group of products to the device's stream. `pointers` are those of three arrays of addresses in device
    /// memory, of the first operands, the second ones and the outputs, as many as the group's size, all of `dtype`.
    /// `asked` describes it in an error. Neither allocates nor waits.
    ///
    /// # Safety
    /// When the stream comes to it, each address must be that of a column-major matrix as large as the group says, in
    /// device memory; no two outputs overlap. `group` must outlive what repeats the launch.
    pub(super) unsafe fn gemm_grouped(
        &self,
        math: Math,
        group: &Group,
        pointers: [u64; 3],
        dtype: Dtype,
        asked: impl Fn() -> String,
    ) -> Result<(), CudaError> {
        const CALL: &str = "cublasGemmGroupedBatchedEx";
        require_grouped()?;
        let (mode, kind) = (math.mode(), data_type(dtype));
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        self.device.stream()?;
        // SAFETY: the handle is alive.
        check(unsafe { sys::cublasSetMathMode(handle.0, mode) }, "cublasSetMathMode", || {
            math.grouped().to_owned()
        })?;
        // SAFETY: the function is there and the device's context is current. Arrays on the host have an element for the one
        // group; those on the device are as the caller promised.
        let code = unsafe {
            sys::cublasGemmGroupedBatchedEx(
                handle.0,
                group.operation.as_ptr(),
                group.operation.as_ptr(),
                group.m.as_ptr(),
                group.n.as_ptr(),
                group.k.as_ptr(),
                group.alpha.as_ptr().cast(),
                pointers[0] as *const *const c_void,
                kind,
                group.lda.as_ptr(),
                pointers[1] as *const *const c_void,
                kind,
                group.ldb.as_ptr(),
                group.beta.as_ptr().cast(),
                pointers[2] as *const *mut c_void,
                kind,
                group.ldc.as_ptr(),
                1,
                group.size.as_ptr(),
                math.compute_type(),
            )
        };
        check(code, CALL, || format!("{}, {}", asked(), math.grouped()))
    }

    /// Bytes of device memory that the library was given.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.bytes()
    }
}

impl Math {
    /// Function and mode of a grouped product.
    pub fn grouped(self) -> &'static str {
        match self {
            Math::Default => "cublasGemmGroupedBatchedEx, CUBLAS_COMPUTE_32F, CUBLAS_DEFAULT_MATH",
            Math::Pedantic => "cublasGemmGroupedBatchedEx, CUBLAS_COMPUTE_32F_PEDANTIC",
            Math::Tf32 => "cublasGemmGroupedBatchedEx, CUBLAS_COMPUTE_32F_FAST_TF32",
            Math::Half => {
                "cublasGemmGroupedBatchedEx, CUBLAS_COMPUTE_32F, \
                 CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION"
            }
        }
    }

    fn mode(self) -> sys::cublasMath_t {
        use sys::cublasMath_t::*;
        match self {
            Math::Default | Math::Tf32 => CUBLAS_DEFAULT_MATH,
            Math::Pedantic => CUBLAS_PEDANTIC_MATH,
            Math::Half => CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION,
        }
    }

    fn compute_type(self) -> sys::cublasComputeType_t {
        use sys::cublasComputeType_t::*;
        match self {
            Math::Tf32 => CUBLAS_COMPUTE_32F_FAST_TF32,
            Math::Pedantic => CUBLAS_COMPUTE_32F_PEDANTIC,
            Math::Default | Math::Half => CUBLAS_COMPUTE_32F,
        }
    }
}

fn data_type(dtype: Dtype) -> sys::cudaDataType_t {
    match dtype {
        Dtype::F32 => sys::cudaDataType_t::CUDA_R_32F,
        Dtype::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        Dtype::F16 => sys::cudaDataType_t::CUDA_R_16F,
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        let handle = self.handle.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.device.stream().is_ok() {
            // SAFETY: created in `new`, destroyed once. A failure leaves nothing to be done.
            let _ = unsafe { sys::cublasDestroy_v2(handle.0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_there_or_what_is_missing() {
        match cublas_version() {
            Ok(version) => assert_eq!(version.split('.').count(), 3, "{version}"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("cuBLAS") && error.contains("hint: "), "{error}");
            }
        }
    }

    #[test]
    fn a_failed_call_says_code_and_shape() {
        let code = sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED;
        let error = check(code, "cublasGemmEx", || "3 x 5 bf16".into()).unwrap_err().to_string();
        assert!(
            error
                .starts_with("cublasGemmEx failed (3 x 5 bf16): CUBLAS_STATUS_NOT_SUPPORTED\nhint"),
            "{error}"
        );
    }
}
