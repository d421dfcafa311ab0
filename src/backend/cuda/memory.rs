//! Device memory: taken and freed in stream order, filled from and read into host slices. Memory that another process is
//! to have is taken and freed at once, and parts of it are buffers too.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::device::Device;
use super::error::{Call, CudaError};
use crate::backend::shared::MappedOutputs;

/// Bytes of device memory, 256-byte aligned.
pub struct Buffer {
    device: Arc<Device>,
    pointer: sys::CUdeviceptr,
    bytes: usize,
    origin: Origin,
}

/// Where a buffer's memory comes from, and so where it goes.
enum Origin {
    /// The device's pool, in stream order.
    Pool,
    /// An allocation of its own, which another process may open.
    Own,
    /// Another process's allocation.
    Opened,
    /// A part of a buffer, which lives as long.
    Part { _whole: Arc<Buffer> },
}

/// What another process opens a buffer's memory by (`CUipcMemHandle`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(pub [u8; 64]);

/// Allocations of whole multiples of this lie in no other one's memory, which a handle would open as well.
const PAGE: usize = 2 << 20;

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes at {:#x}", self.bytes, self.pointer)
    }
}

impl Buffer {
    /// Takes memory; what is in it is not defined. `what` names it in an error.
    pub fn new(device: &Arc<Device>, bytes: usize, what: &str) -> Result<Buffer, CudaError> {
        let stream = device.stream()?;
        // A kernel may get the address of a buffer without elements, so it is made to have one.
        // SAFETY: the stream is the device's.
        let pointer = unsafe { result::malloc_async(stream, bytes.max(256)) }.call(
            "cuMemAllocAsync",
            || {
                let free = device
                    .memory()
                    .map_or(String::new(), |(free, all)| format!(", {free} of {all} free"));
                format!("{what}, {bytes} bytes{free}")
            },
        )?;
        Ok(Buffer { device: device.clone(), pointer, bytes, origin: Origin::Pool })
    }

    /// Memory that other processes can open, of at least so many bytes, every one of them 0xff. Waits for the device.
    pub fn to_share(device: &Arc<Device>, bytes: usize, what: &str) -> Result<Buffer, CudaError> {
        device.stream()?;
        let bytes = bytes.max(1).next_multiple_of(PAGE);
        // SAFETY: the device's context is current; freed once, in `drop`.
        let pointer = unsafe { result::malloc_sync(bytes) }
            .call("cuMemAlloc", || format!("{what}, {bytes} bytes"))?;
        let mut buffer = Buffer { device: device.clone(), pointer, bytes, origin: Origin::Own };
        buffer.fill(0xff)?;
        device.synchronize()?;
        Ok(buffer)
    }

    /// What another process opens this memory by, for a buffer of [`Buffer::to_share`].
    pub fn handle(&self) -> Result<Handle, CudaError> {
        self.device.stream()?;
        let mut handle = sys::CUipcMemHandle { reserved: [0; 64] };
        // SAFETY: writes one handle; the driver refuses memory that has none.
        unsafe { sys::cuIpcGetMemHandle(&mut handle, self.pointer) }
            .result()
            .call("cuIpcGetMemHandle", || format!("{self:?}"))?;
        Ok(Handle(handle.reserved.map(|byte| byte.to_ne_bytes()[0])))
    }

    /// Another process's memory of so many bytes.
    pub fn open(device: &Arc<Device>, handle: Handle, bytes: usize) -> Result<Buffer, CudaError> {
        device.stream()?;
        let bytes = bytes.max(1).next_multiple_of(PAGE);
        let handle =
            sys::CUipcMemHandle { reserved: handle.0.map(|byte| byte as std::ffi::c_char) };
        let flags = sys::CUipcMem_flags::CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS as u32;
        let mut pointer = 0;
        // SAFETY: writes one address; closed once, in `drop`.
        unsafe { sys::cuIpcOpenMemHandle_v2(&mut pointer, handle, flags) }
            .result()
            .call("cuIpcOpenMemHandle", || format!("{bytes} bytes of another process"))?;
        Ok(Buffer { device: device.clone(), pointer, bytes, origin: Origin::Opened })
    }

    /// So many bytes of a buffer from `first` on, as a buffer of its own.
    ///
    /// # Panics
    /// If they reach beyond it, or do not start at a multiple of 256.
    pub fn part(self: &Arc<Buffer>, first: usize, bytes: usize) -> Buffer {
        let is_inside = first.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        assert!(is_inside && first.is_multiple_of(256), "the caller sized the buffer");
        Buffer {
            device: self.device.clone(),
            pointer: self.pointer + first as u64,
            bytes,
            origin: Origin::Part { _whole: self.clone() },
        }
    }

    /// A copy of `values`.
    pub fn from_slice<T: bytemuck::Pod>(
        device: &Arc<Device>,
        values: &[T],
        what: &str,
    ) -> Result<Buffer, CudaError> {
        let mut buffer = Buffer::new(device, size_of_val(values), what)?;
        buffer.write(values)?;
        Ok(buffer)
    }

    /// Memory with every byte 0.
    pub fn zeroed(device: &Arc<Device>, bytes: usize, what: &str) -> Result<Buffer, CudaError> {
        let mut buffer = Buffer::new(device, bytes, what)?;
        buffer.fill(0)?;
        Ok(buffer)
    }

    /// Copies `values` to the front.
    ///
    /// # Panics
    /// If they are longer than the buffer.
    pub fn write<T: bytemuck::Pod>(&mut self, values: &[T]) -> Result<(), CudaError> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        assert!(bytes.len() <= self.bytes, "the caller sized the buffer");
        if bytes.is_empty() {
            return Ok(());
        }
        let stream = self.device.stream()?;
        // SAFETY: the source outlives the copy, which is waited for; the target is as long.
        unsafe { result::memcpy_htod_async(self.pointer, bytes, stream) }
            .call("cuMemcpyHtoDAsync", || format!("{} bytes", bytes.len()))?;
        self.device.synchronize()
    }

    /// Copies the front into `values`, after all work given before.
    ///
    /// # Panics
    /// If they are longer than the buffer.
    pub fn read<T: bytemuck::Pod>(&self, values: &mut [T]) -> Result<(), CudaError> {
        self.read_from(0, bytemuck::cast_slice_mut(values))
    }

    /// Copies the bytes from `first` on into `bytes`, after all work given before.
    ///
    /// # Panics
    /// If they reach beyond the buffer.
    pub fn read_from(&self, first: usize, bytes: &mut [u8]) -> Result<(), CudaError> {
        let is_inside = first.checked_add(bytes.len()).is_some_and(|end| end <= self.bytes);
        assert!(is_inside, "the caller sized the buffer");
        if bytes.is_empty() {
            return Ok(());
        }
        let (stream, length) = (self.device.stream()?, bytes.len());
        // SAFETY: the target outlives the copy, which is waited for; the source is as long.
        unsafe { result::memcpy_dtoh_async(bytes, self.pointer + first as u64, stream) }
            .call("cuMemcpyDtoHAsync", || format!("{length} bytes"))?;
        self.device.synchronize()
    }

    /// Sets every byte, in stream order. 0xff makes every float of any width a NaN.
    pub fn fill(&mut self, byte: u8) -> Result<(), CudaError> {
        if self.bytes == 0 {
            return Ok(());
        }
        let stream = self.device.stream()?;
        // SAFETY: the length is the buffer's.
        unsafe { result::memset_d8_async(self.pointer, byte, self.bytes, stream) }
            .call("cuMemsetD8Async", || format!("{} bytes", self.bytes))
    }

    /// Copies the front of another buffer, as many bytes as both have, in stream order.
    pub fn copy_from(&mut self, other: &Buffer) -> Result<(), CudaError> {
        let (stream, bytes) = (self.device.stream()?, self.bytes.min(other.bytes));
        // SAFETY: both have so many bytes, and live until the device is waited for, as memory that is freed in stream
        // order does.
        unsafe { result::memcpy_dtod_async(self.pointer, other.pointer, bytes, stream) }
            .call("cuMemcpyDtoDAsync", || format!("{bytes} bytes"))
    }

    /// The address, as kernels and libraries take it.
    pub fn pointer(&self) -> sys::CUdeviceptr {
        self.pointer
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Ok(stream) = self.device.stream() else { return };
        // SAFETY: taken or opened once, and given back once, after the work given before. A failure leaves nothing to be
        // done.
        let _ = unsafe {
            match self.origin {
                Origin::Pool => result::free_async(self.pointer, stream),
                Origin::Own => {
                    let _ = self.device.synchronize();
                    result::free_sync(self.pointer)
                }
                Origin::Opened => {
                    let _ = self.device.synchronize();
                    sys::cuIpcCloseMemHandle(self.pointer).result()
                }
                Origin::Part { .. } => Ok(()),
            }
        };
    }
}

/// Shared outputs that a device copies to at full speed, where the driver takes the memory for that.
pub struct PinnedOutputs {
    device: Arc<Device>,
    outputs: MappedOutputs,
    is_pinned: bool,
}

impl PinnedOutputs {
    pub fn new(device: &Arc<Device>, mut outputs: MappedOutputs) -> PinnedOutputs {
        let memory = outputs.get_mut(0);
        // SAFETY: the memory is mapped, and stays so until this is dropped, which gives it back first.
        let mut pin = || unsafe {
            sys::cuMemHostRegister_v2(memory.as_mut_ptr().cast(), size_of_val(memory), 0).result()
        };
        let is_pinned = device.stream().is_ok() && pin().is_ok();
        PinnedOutputs { device: device.clone(), outputs, is_pinned }
    }

    /// The first output, to be written.
    pub fn get_mut(&mut self) -> &mut [f32] {
        self.outputs.get_mut(0)
    }
}

impl Drop for PinnedOutputs {
    fn drop(&mut self) {
        if self.is_pinned && self.device.synchronize().is_ok() {
            let start = self.outputs.get_mut(0).as_mut_ptr();
            // SAFETY: registered in `new`, and no copy to it is under way. A failure leaves nothing to be done.
            let _ = unsafe { sys::cuMemHostUnregister(start.cast()) };
        }
    }
}
