//! What a failed call into CUDA says: the call, the code, what was asked for, and a hint.

use std::fmt;

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;

use crate::backend::Error;

/// A failed call into the driver or one of CUDA's libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaError {
    /// The function, such as `cuMemAllocAsync`.
    pub call: String,
    /// The code, by name and with what it means.
    pub code: String,
    /// What was asked for: bytes, a shape, a kernel.
    pub asked: String,
    pub hint: Option<String>,
}

impl fmt::Display for CudaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.call)?;
        if !self.asked.is_empty() {
            write!(f, " ({})", self.asked)?;
        }
        write!(f, ": {}", self.code)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CudaError {}

impl From<CudaError> for Error {
    fn from(error: CudaError) -> Error {
        Error::Environment(error.to_string())
    }
}

impl CudaError {
    pub fn new(call: &str, code: impl Into<String>, asked: impl Into<String>) -> CudaError {
        CudaError { call: call.into(), code: code.into(), asked: asked.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> CudaError {
        self.hint = Some(hint.into());
        self
    }

    /// Of a call into the driver. `asked` is made only if it failed.
    pub fn driver(call: &str, asked: impl Into<String>, error: DriverError) -> CudaError {
        let text = |text: Result<&std::ffi::CStr, DriverError>| {
            text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let name = text(error.error_name());
        let code = if name.is_empty() {
            format!("code {}", error.0 as u32)
        } else {
            format!("{name}, {}", text(error.error_string()))
        };
        let mut failed = CudaError::new(call, code, asked);
        failed.hint = hint_for(error.0).map(Into::into);
        failed
    }
}

fn hint_for(code: CUresult) -> Option<&'static str> {
    Some(match code {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            "close other programs on the device, choose another with --device N, or use --device cpu"
        }
        CUresult::CUDA_ERROR_NO_DEVICE => "no CUDA device is visible (see CUDA_VISIBLE_DEVICES)",
        CUresult::CUDA_ERROR_INVALID_DEVICE => "`verify doctor` lists the devices",
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU | CUresult::CUDA_ERROR_INVALID_PTX => {
            "the kernels do not support this device's architecture"
        }
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
        | CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => {
            "the driver's kernel module and its library differ: restart after an update"
        }
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
        | CUresult::CUDA_ERROR_LAUNCH_FAILED
        | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
        | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
        | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE => {
            "the device is unusable for the rest of this run; --device cpu needs none"
        }
        _ => return None,
    })
}

/// Adds call and circumstances to a driver's result.
pub trait Call<T> {
    fn call(self, call: &str, asked: impl FnOnce() -> String) -> Result<T, CudaError>;
}

impl<T> Call<T> for Result<T, DriverError> {
    fn call(self, call: &str, asked: impl FnOnce() -> String) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::driver(call, asked(), error))
    }
}
