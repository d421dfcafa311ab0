//! Launching kernels: by value, in stream order, without allocation.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::compile::{Module, Source};
use super::device::Device;
use super::error::{Call, CudaError};

/// An entry of a module.
pub struct Kernel {
    device: Arc<Device>,
    /// Keeps the code loaded.
    module: Arc<Module>,
    function: sys::CUfunction,
    name: String,
}

// SAFETY: a function handle is used under the device's context, which each launch makes current.
unsafe impl Send for Kernel {}
// SAFETY: as above; launches on one stream are serialised by the driver.
unsafe impl Sync for Kernel {}

/// Blocks, threads a block, and dynamic shared memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: u32,
    pub shared_bytes: u32,
}

/// Arguments of a kernel, by value. Made once: launching copies nothing to the heap.
#[derive(Default)]
pub struct Arguments {
    /// 64-byte aligned, as tensor maps must be.
    storage: Vec<[Slot; 2]>,
    at: Vec<*mut c_void>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Slot([u8; 64]);

// SAFETY: the pointers lead into `storage`, which moves with them on the heap.
unsafe impl Send for Arguments {}
// SAFETY: nothing is written through the pointers.
unsafe impl Sync for Arguments {}

impl Arguments {
    /// Arguments whose types must be the kernel's, in its order.
    pub fn new() -> Arguments {
        Arguments::default()
    }

    /// Adds a value of at most 128 bytes.
    pub fn with<T: Copy>(mut self, value: T) -> Arguments {
        const { assert!(size_of::<T>() <= 128 && align_of::<T>() <= 64) };
        let mut slot = [Slot([0; 64]); 2];
        // SAFETY: the slot is large enough and aligned, by the assertion.
        unsafe { (&raw mut slot).cast::<T>().write(value) };
        self.storage.push(slot);
        // The vector may have moved.
        self.at = self.storage.iter_mut().map(|slot| (&raw mut *slot).cast()).collect();
        self
    }
}

impl Kernel {
    /// Compiles if need be, and allows `shared_bytes` of dynamic shared memory.
    pub fn new(
        device: &Arc<Device>,
        source: Source,
        defines: &[String],
        name: &str,
        shared_bytes: u32,
    ) -> Result<Kernel, CudaError> {
        let module = device.module(source, defines)?;
        let function = module.function(name)?;
        /// What a block gets without asking.
        const SHARED_BYTES_FREE: u32 = 48 << 10;
        if shared_bytes > SHARED_BYTES_FREE {
            // SAFETY: the function is loaded.
            unsafe {
                result::function::set_function_attribute(
                    function,
                    sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared_bytes as i32,
                )
            }
            .call("cuFuncSetAttribute", || {
                format!("{name}: {shared_bytes} bytes of shared memory")
            })?;
        }
        Ok(Kernel { device: device.clone(), module, function, name: name.into() })
    }

    /// Blocks that one multiprocessor holds at a time.
    pub fn blocks_per_multiprocessor(
        &self,
        threads: u32,
        shared_bytes: u32,
    ) -> Result<usize, CudaError> {
        self.device.stream()?;
        // SAFETY: the function is loaded.
        unsafe {
            result::occupancy::max_active_block_per_multiprocessor(
                self.function,
                threads as i32,
                shared_bytes as usize,
            )
        }
        .map(|blocks| usize::try_from(blocks).unwrap_or(0))
        .call("cuOccupancyMaxActiveBlocksPerMultiprocessor", || self.name.clone())
    }

    /// Gives the kernel to the device's stream.
    ///
    /// # Safety
    /// `arguments` must be of the kernel's types and number, and every address in them must lead to
    /// memory as large as the kernel's head says, alive until the work is done.
    pub unsafe fn launch(&self, grid: Grid, arguments: &Arguments) -> Result<(), CudaError> {
        let stream = self.device.stream()?;
        let mut at = [std::ptr::null_mut(); 32];
        let count = arguments.at.len();
        at[..count].copy_from_slice(&arguments.at);
        // SAFETY: as the caller promised.
        unsafe {
            result::launch_kernel(
                self.function,
                grid.blocks,
                (grid.threads, 1, 1),
                grid.shared_bytes,
                stream,
                &mut at[..count],
            )
        }
        .call("cuLaunchKernel", || {
            let (x, y, z) = grid.blocks;
            format!(
                "{} of {}: {x} x {y} x {z} blocks of {} threads, {} bytes of shared memory",
                self.name, self.module.record.source, grid.threads, grid.shared_bytes
            )
        })
    }
}
