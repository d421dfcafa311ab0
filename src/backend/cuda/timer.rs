//! Device time: events behind a kernel that blocks the stream, beside the host's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

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

/// What a number of calls took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Between events around the calls, by the device's clock.
    pub device_ns: f64,
    /// From letting go of the stream until the host knew that all was done.
    pub host_ns: f64,
}

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

    /// Times `calls` calls of `launch`, back to back; at most [`CALLS_MAX`].
    pub fn time(
        &mut self,
        calls: usize,
        launch: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<Span, String> {
        let failed = |error: CudaError| error.to_string();
        if calls > CALLS_MAX {
            return Err(format!("{calls} calls in one span, of at most {CALLS_MAX}"));
        }
        self.device.synchronize().map_err(failed)?;
        self.flag(0).store(0, Ordering::SeqCst);
        self.flag(1).store(0, Ordering::SeqCst);
        let queued = self.queue(calls, launch);
        let released = Instant::now();
        // Whatever happened: the stream must not stay blocked.
        self.flag(0).store(1, Ordering::SeqCst);
        let done = self.device.synchronize().map_err(failed);
        let host_ns = released.elapsed().as_nanos() as f64;
        queued?;
        done?;
        if self.flag(1).load(Ordering::SeqCst) != 0 {
            return Err(
                "a call waits for the device: its launch cannot be kept out of its time".into()
            );
        }
        // SAFETY: both events were recorded and are complete.
        let milliseconds = unsafe { result::event::elapsed(self.start, self.end) }
            .call("cuEventElapsedTime", String::new)
            .map_err(failed)?;
        Ok(Span { device_ns: f64::from(milliseconds) * 1e6, host_ns })
    }

    fn queue(
        &self,
        calls: usize,
        launch: &mut dyn FnMut() -> Result<(), String>,
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
        for _ in 0..calls {
            launch()?;
        }
        record(self.end)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let _ = self.device.synchronize();
        // SAFETY: made in `new`, ended once, after all work. A failure leaves nothing to be done.
        unsafe {
            let _ = result::event::destroy(self.start);
            let _ = result::event::destroy(self.end);
            let _ = result::free_host(self.flags.cast());
        }
    }
}
