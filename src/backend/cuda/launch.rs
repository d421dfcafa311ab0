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

/// Bytes of arguments, and number, that the kernels get by with.
const ARGUMENT_BYTES: usize = 512;
const ARGUMENTS_MAX: usize = 32;

/// Arguments of a kernel, by value and without the heap.
#[derive(Clone)]
pub struct Arguments {
    storage: Storage,
    /// Where in the storage each one starts.
    starts: [u16; ARGUMENTS_MAX],
    count: usize,
    used: usize,
}

/// Aligned as tensor maps must be.
#[derive(Clone)]
#[repr(C, align(64))]
struct Storage([u8; ARGUMENT_BYTES]);

impl Default for Arguments {
    fn default() -> Arguments {
        let storage = Storage([0; ARGUMENT_BYTES]);
        Arguments { storage, starts: [0; ARGUMENTS_MAX], count: 0, used: 0 }
    }
}

impl Arguments {
    /// Arguments whose types must be the kernel's, in its order.
    pub fn new() -> Arguments {
        Arguments::default()
    }

    /// Adds a value; one of more than 8 bytes is aligned to 64.
    ///
    /// # Panics
    /// If the values take more than 512 bytes or are more than 32, which no kernel of ours does.
    pub fn with<T: bytemuck::NoUninit>(mut self, value: T) -> Arguments {
        let bytes = bytemuck::bytes_of(&value);
        let start = self.used.next_multiple_of(if bytes.len() > 8 { 64 } else { 8 });
        self.used = start + bytes.len();
        assert!(
            self.used <= ARGUMENT_BYTES && self.count < ARGUMENTS_MAX,
            "more arguments than a kernel of ours has"
        );
        self.storage.0[start..self.used].copy_from_slice(bytes);
        self.starts[self.count] = start as u16;
        self.count += 1;
        self
    }

    /// The addresses of the values, of which `count` are valid while `self` is not moved.
    fn addresses(&self) -> [*mut c_void; ARGUMENTS_MAX] {
        let base = self.storage.0.as_ptr();
        self.starts.map(|start| base.wrapping_add(start.into()).cast_mut().cast())
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
            // Always all there is: a function is shared by all that load it, and what one of them set would hold
            // for the others' launches.
            // SAFETY: the function is loaded.
            let own = unsafe {
                result::function::get_function_attribute(
                    function,
                    sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
                )
            }
            .call("cuFuncGetAttribute", || name.to_owned())?;
            let most = i32::try_from(device.shared_bytes_max()?).unwrap_or(i32::MAX) - own;
            // SAFETY: the function is loaded.
            unsafe {
                result::function::set_function_attribute(
                    function,
                    sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    most,
                )
            }
            .call("cuFuncSetAttribute", || format!("{name}: {most} bytes of shared memory"))?;
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
        // SAFETY: as the caller promised.
        unsafe { self.launch_on(stream, grid, arguments) }
    }

    /// The same, but the kernel may start while the one before it in the stream ends, where that one allows it
    /// (`griddepcontrol`): it waits itself before it touches what that one reads or writes.
    ///
    /// # Safety
    /// As for [`Kernel::launch`], and the kernel waits as said.
    pub(super) unsafe fn launch_early(
        &self,
        grid: Grid,
        arguments: &Arguments,
    ) -> Result<(), CudaError> {
        let stream = self.device.stream()?;
        let mut at = arguments.addresses();
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: grid.blocks.0,
            gridDimY: grid.blocks.1,
            gridDimZ: grid.blocks.2,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: grid.shared_bytes,
            hStream: stream,
            attrs: &mut attribute,
            numAttrs: 1,
        };
        // SAFETY: as the caller promised; the driver reads configuration and values before it returns.
        unsafe {
            sys::cuLaunchKernelEx(
                &config,
                self.function,
                at[..arguments.count].as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
        .result()
        .call("cuLaunchKernelEx", || self.described(grid))
    }

    /// Gives the kernel to another stream of the device, whose context is current.
    ///
    /// # Safety
    /// As for [`Kernel::launch`]; the stream is the device's.
    pub(super) unsafe fn launch_on(
        &self,
        stream: sys::CUstream,
        grid: Grid,
        arguments: &Arguments,
    ) -> Result<(), CudaError> {
        let mut at = arguments.addresses();
        // SAFETY: as the caller promised; the driver reads the values before it returns.
        unsafe {
            result::launch_kernel(
                self.function,
                grid.blocks,
                (grid.threads, 1, 1),
                grid.shared_bytes,
                stream,
                &mut at[..arguments.count],
            )
        }
        .call("cuLaunchKernel", || self.described(grid))
    }

    fn described(&self, grid: Grid) -> String {
        let (x, y, z) = grid.blocks;
        format!(
            "{} of {}: {x} x {y} x {z} blocks of {} threads, {} bytes of shared memory",
            self.name, self.module.record.source, grid.threads, grid.shared_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_lie_where_their_addresses_say() {
        let map = [7u64; 16];
        let arguments = Arguments::new().with(1i32).with(map).with(2i32).with(3u64).with(4u64);
        // Copies are read, not the original: the values move along.
        let arguments = Box::new(arguments.clone());
        let at = arguments.addresses();
        assert_eq!(arguments.count, 5);
        assert_eq!(at[1] as usize % 64, 0);
        assert!(at[..5].iter().all(|at| (*at as usize).is_multiple_of(8)));
        // SAFETY: the addresses lead to the values given above, in the box.
        unsafe {
            assert_eq!(*at[0].cast::<i32>(), 1);
            assert_eq!(*at[1].cast::<[u64; 16]>(), map);
            assert_eq!(*at[2].cast::<i32>(), 2);
            assert_eq!((*at[3].cast::<u64>(), *at[4].cast::<u64>()), (3, 4));
        }
    }
}
