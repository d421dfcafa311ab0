//! Device memory: taken and freed in stream order, filled from and read into host slices.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::device::Device;
use super::error::{Call, CudaError};

/// Bytes of device memory, 256-byte aligned.
pub struct Buffer {
    device: Arc<Device>,
    pointer: sys::CUdeviceptr,
    bytes: usize,
}

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
        Ok(Buffer { device: device.clone(), pointer, bytes })
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
        if let Ok(stream) = self.device.stream() {
            // SAFETY: taken in `new`, and freed once, after the work given before. A failure
            // leaves nothing to be done.
            let _ = unsafe { result::free_async(self.pointer, stream) };
        }
    }
}
