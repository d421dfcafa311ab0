//! One CUDA device: its context, one stream, and what it is.

use record::device::DeviceInfo;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};
use cudarc::driver::{CudaContext, result};

use super::compile::Kernels;
use super::error::{Call, CudaError};

/// A device in use. All work goes to one stream, in the order in which it is given.
pub struct Device {
    context: Arc<CudaContext>,
    stream: sys::CUstream,
    pub info: DeviceInfo,
    pub(super) kernels: Kernels,
}

// SAFETY: a stream may be used from any thread whose current context is the stream's; every use
// goes through `stream()`, which makes it so.
unsafe impl Send for Device {}
// SAFETY: as above; the driver serialises calls on one stream.
unsafe impl Sync for Device {}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.info.fmt(f)
    }
}

/// Whether the driver's library can be opened, else why not.
fn driver_is_present() -> Result<(), CudaError> {
    // SAFETY: opens the library, whose initialisers are NVIDIA's.
    match unsafe { sys::is_culib_present() } {
        true => Ok(()),
        false => Err(CudaError::new("dlopen", "libcuda was not found", "")
            .hint("install NVIDIA's driver, or name its folder in LD_LIBRARY_PATH")),
    }
}

/// Refuses a driver that lacks a function: the bindings panic where one is missing. The driver's library
/// must be there.
pub(super) fn require_driver_function(name: &str) -> Result<(), CudaError> {
    // SAFETY: the symbol is looked up and not used.
    match unsafe { sys::culib().get::<*const ()>(name.as_bytes()) } {
        Ok(_) => Ok(()),
        Err(_) => Err(CudaError::new("dlsym", "this driver does not have the function", name)
            .hint("update NVIDIA's driver: 525 and later serve CUDA 12")),
    }
}

/// How many devices there are, or why none can be used.
pub fn device_count() -> Result<usize, CudaError> {
    driver_is_present()?;
    result::init().call("cuInit", String::new)?;
    let count = result::device::get_count().call("cuDeviceGetCount", String::new)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The names of all devices, by ordinal, without opening any.
pub fn device_names() -> Result<Vec<String>, CudaError> {
    (0..device_count()?)
        .map(|ordinal| {
            let asked = || format!("device {ordinal}");
            let device = result::device::get(ordinal as i32).call("cuDeviceGet", asked)?;
            result::device::get_name(device).call("cuDeviceGetName", asked)
        })
        .collect()
}

impl Device {
    /// Opens device `ordinal`, counted as `CUDA_VISIBLE_DEVICES` leaves them.
    pub fn open(ordinal: usize) -> Result<Arc<Device>, CudaError> {
        let count = device_count()?;
        if ordinal >= count {
            return Err(CudaError::new(
                "cuDeviceGet",
                format!("there are {count} device(s)"),
                format!("device {ordinal}"),
            )
            .hint("`verify doctor` lists the devices"));
        }
        let asked = || format!("device {ordinal}");
        let context = CudaContext::new(ordinal).call("cuDevicePrimaryCtxRetain", asked)?;
        let attribute = |attribute| {
            context
                .attribute(attribute)
                .map(|value| u64::try_from(value).unwrap_or(0))
                .call("cuDeviceGetAttribute", asked)
        };
        let (major, minor) = context.compute_capability().call("cuDeviceGetAttribute", asked)?;
        let mut driver = 0;
        // SAFETY: writes one integer.
        unsafe { sys::cuDriverGetVersion(&mut driver) }
            .result()
            .call("cuDriverGetVersion", asked)?;
        let uuid = context.uuid().call("cuDeviceGetUuid", asked)?;
        let info = DeviceInfo {
            ordinal,
            name: context.name().call("cuDeviceGetName", asked)?,
            uuid: uuid_text(&uuid.bytes.map(|byte| byte.to_ne_bytes()[0])),
            compute_capability: format!("{major}.{minor}"),
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?
                as usize,
            memory_bytes: context.total_mem().call("cuDeviceTotalMem", asked)? as u64,
            l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
            clock_khz_max: attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?,
            memory_clock_khz: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?,
            memory_bus_bits: attribute(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?,
            driver: format!("{}.{}", driver / 1000, driver % 1000 / 10),
        };
        // Without that, allocations take longer.
        let _ = keep_freed_memory(&context);
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .call("cuStreamCreate", asked)?;
        let kernels = Kernels::new((major, minor));
        Ok(Arc::new(Device { context, stream, info, kernels }))
    }

    /// The stream, with the device's context current on this thread.
    pub(super) fn stream(&self) -> Result<sys::CUstream, CudaError> {
        self.context.bind_to_thread().call("cuCtxSetCurrent", String::new)?;
        Ok(self.stream)
    }

    /// Waits until everything that was given to the device is done, and reports what failed of it.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        let stream = self.stream()?;
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(stream) }.call("cuStreamSynchronize", String::new)
    }

    /// Waits until everything in this process's context is done, on whichever stream it was given.
    pub fn synchronize_all(&self) -> Result<(), CudaError> {
        self.stream()?;
        result::ctx::synchronize().call("cuCtxSynchronize", String::new)
    }

    /// Bytes of device memory that are free, and all of them.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.stream()?;
        result::mem_get_info().call("cuMemGetInfo", String::new)
    }

    /// Bytes of shared memory that one block may have, where the kernel asks for them.
    pub(super) fn shared_bytes_max(&self) -> Result<usize, CudaError> {
        self.context
            .attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
            .map(|bytes| usize::try_from(bytes).unwrap_or(0))
            .call("cuDeviceGetAttribute", || "shared memory of a block".into())
    }

    /// Major and minor compute capability.
    pub fn compute_capability(&self) -> (i32, i32) {
        self.kernels.architecture
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Ok(stream) = self.stream() {
            // SAFETY: nobody else has the stream. A failure leaves nothing to be done.
            let _ = unsafe { result::stream::destroy(stream) };
        }
    }
}

/// Memory that is freed is kept for the next allocation, up to all of it: returning it to the
/// driver takes longer than a small case.
fn keep_freed_memory(context: &CudaContext) -> Result<(), CudaError> {
    let mut keep = u64::MAX;
    let asked = || "release threshold".to_owned();
    // SAFETY: the attribute is a 64-bit integer; the device is the context's.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())
            .call("cuDeviceGetDefaultMemPool", asked)?;
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut keep).cast(),
        )
        .result()
        .call("cuMemPoolSetAttribute", asked)
    }
}

/// As NVML and nvidia-smi write it.
fn uuid_text(bytes: &[u8; 16]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!(
        "GPU-{}-{}-{}-{}-{}",
        hex(&bytes[..4]),
        hex(&bytes[4..6]),
        hex(&bytes[6..8]),
        hex(&bytes[8..10]),
        hex(&bytes[10..])
    )
}

#[cfg(test)]
impl Device {
    /// The first device, where there is one and a compiler; why there is none is said.
    pub fn for_tests() -> Option<Arc<Device>> {
        use std::io::Write as _;
        let opened = super::compile::compiler_version().and_then(|_| Device::open(0));
        // Past the test's captured output, so that it shows.
        opened.map_err(|reason| writeln!(std::io::stderr(), "not run: {reason}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_as_the_vendor_writes_it() {
        let bytes = std::array::from_fn(|i| i as u8 * 16 + 1);
        assert_eq!(uuid_text(&bytes), "GPU-01112131-4151-6171-8191-a1b1c1d1e1f1");
    }

    #[test]
    fn a_machine_without_a_device_gets_a_reason() {
        match device_count() {
            Ok(count) => assert!(Device::open(count).is_err()),
            Err(error) => assert!(error.to_string().contains(" failed"), "{error}"),
        }
    }
}
