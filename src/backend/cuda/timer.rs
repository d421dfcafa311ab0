//! Device time: events behind a kernel that holds the stream, so that launching is no part of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use cudarc::driver::{result, sys};

use super::compile::Source;
use super::device::Device;
use super::error::{Call, CudaError};
use super::launch::{Arguments, Grid, Kernel};
use super::variants::{ANY, Variant};

const BLOCK_STREAM: Source =
    Source { name: "block_stream.cu", text: include_str!("../../../kernels/block_stream.cu") };

/// What [`Timer::new`] asks for.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let (source, entry) = (BLOCK_STREAM, "block_stream");
    std::iter::once(Variant { source, entry, defines: Vec::new(), capabilities: ANY })
}

/// How long the stream is held for the host to queue its calls. One that takes longer waits for the
/// device itself, and is not timed.
const TIMEOUT_NS: u64 = 2_000_000_000;

/// Most calls in one span: a stream takes about a thousand launches before the host has to wait, and a
/// library's call may be several.
pub const CALLS_MAX: usize = 100;

/// Times what is given to a device's stream.
pub struct Timer {
    device: Arc<Device>,
    block: Kernel,
    arguments: Arguments,
    start: sys::CUevent,
    end: sys::CUevent,
    /// Two integers that host and device share: release, gave up.
    flags: *mut AtomicI32,
}

// SAFETY: events and flags belong to this timer; the device's context is made current before use.
unsafe impl Send for Timer {}

impl Timer {
    pub fn new(device: &Arc<Device>) -> Result<Timer, CudaError> {
        let block = Kernel::new(device, BLOCK_STREAM, &[], "block_stream", 0)?;
        device.stream()?;
        let event = || {
            result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)
                .call("cuEventCreate", String::new)
        };
        let (start, end) = (event()?, event()?);
        // Visible to the device at the same address; read and written by it in place.
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: freed in `drop`.
        let flags = unsafe { result::malloc_host(2 * size_of::<AtomicI32>(), flags) }
            .call("cuMemHostAlloc", String::new)?
            .cast::<AtomicI32>();
        // SAFETY: both lie in the allocation.
        unsafe {
            flags.write(AtomicI32::new(1));
            flags.add(1).write(AtomicI32::new(0));
        }
        let arguments = Arguments::new().with(flags as u64).with(flags as u64 + 4).with(TIMEOUT_NS);
        Ok(Timer { device: device.clone(), block, arguments, start, end, flags })
    }

    fn flag(&self, index: usize) -> &AtomicI32 {
        // SAFETY: two flags lie there for as long as `self`.
        unsafe { &*self.flags.add(index) }
    }

    /// Queues `calls` calls of `launch`, back to back, behind a kernel that holds the stream until
    /// [`Timer::release`]; at most [`CALLS_MAX`]. Nothing of the calls before is left on the device, and no line of its L2
    /// is kept there by them.
    pub fn hold(
        &mut self,
        calls: usize,
        launch: &mut dyn FnMut(usize) -> Result<(), String>,
    ) -> Result<(), String> {
        if calls > CALLS_MAX {
            return Err(format!("{calls} calls in one span, of at most {CALLS_MAX}"));
        }
        self.let_go();
        self.device.synchronize().map_err(|error| error.to_string())?;
        // SAFETY: takes nothing; the device's context is current. Devices without such lines refuse, and need it not.
        let _ = unsafe { sys::cuCtxResetPersistingL2Cache() };
        self.flag(0).store(0, Ordering::SeqCst);
        self.flag(1).store(0, Ordering::SeqCst);
        let queued = self.queue(calls, launch);
        if queued.is_err() {
            // The stream must not stay blocked.
            self.let_go();
            let _ = self.device.synchronize();
        }
        queued
    }

    /// Gives the device a kernel that ends at once, and waits for it.
    pub fn touch(&self) -> Result<(), CudaError> {
        self.let_go();
        let grid = Grid { blocks: (1, 1, 1), threads: 1, shared_bytes: 0 };
        // SAFETY: the kernel takes two addresses and an integer; both flags live as long as `self`.
        unsafe { self.block.launch(grid, &self.arguments) }?;
        self.device.synchronize_all()
    }

    fn let_go(&self) {
        self.flag(0).store(1, Ordering::SeqCst);
    }

    /// Lets go of the stream and waits until the device is done: nanoseconds between events around the calls, by the
    /// device's clock.
    pub fn release(&mut self) -> Result<f64, String> {
        let failed = |error: CudaError| error.to_string();
        self.let_go();
        self.device.synchronize_all().map_err(failed)?;
        if self.flag(1).load(Ordering::SeqCst) != 0 {
            return Err(
                "a call waits for the device: its launch cannot be kept out of its time".into()
            );
        }
        // SAFETY: both events were recorded and are complete.
        let milliseconds = unsafe { result::event::elapsed(self.start, self.end) }
            .call("cuEventElapsedTime", String::new)
            .map_err(failed)?;
        Ok(f64::from(milliseconds) * 1e6)
    }

    fn queue(
        &self,
        calls: usize,
        launch: &mut dyn FnMut(usize) -> Result<(), String>,
    ) -> Result<(), String> {
        let failed = |error: CudaError| error.to_string();
        let stream = self.device.stream().map_err(failed)?;
        let grid = Grid { blocks: (1, 1, 1), threads: 1, shared_bytes: 0 };
        // SAFETY: the kernel takes two addresses and an integer; both flags live as long as `self`.
        unsafe { self.block.launch(grid, &self.arguments) }.map_err(failed)?;
        let record = |event| {
            // SAFETY: event and stream are this device's.
            unsafe { result::event::record(event, stream) }
                .call("cuEventRecord", String::new)
                .map_err(failed)
        };
        record(self.start)?;
        (0..calls).try_for_each(launch)?;
        record(self.end)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.let_go();
        let _ = self.device.synchronize();
        // SAFETY: made in `new`, ended once, after all work. A failure leaves nothing to be done.
        unsafe {
            let _ = result::event::destroy(self.start);
            let _ = result::event::destroy(self.end);
            let _ = result::free_host(self.flags.cast());
        }
    }
}
