//! A kernel that runs while another process must not: it sees whether the device was given to somebody else meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use cudarc::driver::{result, sys};

use super::compile::Source;
use super::device::Device;
use super::error::{Call, CudaError};
use super::launch::{Arguments, Grid, Kernel};
use super::variants::{ANY, Variant};

const SOURCE: Source = Source { name: "watch.cu", text: include_str!("../../../kernels/watch.cu") };
const ENTRY: &str = "watch";

/// What [`Watch::new`] asks for.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    std::iter::once(Variant {
        source: SOURCE,
        entry: ENTRY,
        defines: Vec::new(),
        capabilities: ANY,
    })
}

/// A watch ends by itself after so long.
const LIMIT_NS: u64 = 600_000_000_000;
/// Time for it to begin. Another process's work before it takes that long at most.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A thread on the device that looks at its clock for as long as this wants it, beside the work of this process.
pub struct Watch {
    device: Arc<Device>,
    kernel: Kernel,
    arguments: Arguments,
    stream: sys::CUstream,
    /// Three integers that host and device share: end, runs, longest time between two looks in ns.
    flags: *mut AtomicI32,
    is_on: bool,
}

// SAFETY: stream and flags belong to this watch; the device's context is made current before use.
unsafe impl Send for Watch {}

impl Watch {
    pub fn new(device: &Arc<Device>) -> Result<Watch, CudaError> {
        let kernel = Kernel::new(device, SOURCE, &[], ENTRY, 0)?;
        device.stream()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .call("cuStreamCreate", || "a watch's".into())?;
        // Visible to the device at the same address; read and written by it in place.
        let kinds = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: freed in `drop`.
        let flags = unsafe { result::malloc_host(3 * size_of::<AtomicI32>(), kinds) }
            .call("cuMemHostAlloc", String::new)?
            .cast::<AtomicI32>();
        // SAFETY: all three lie in the allocation.
        unsafe { (0..3).for_each(|i| flags.add(i).write(AtomicI32::new(0))) };
        let arguments = Arguments::new().with(flags as u64).with(LIMIT_NS);
        Ok(Watch { device: device.clone(), kernel, arguments, stream, flags, is_on: false })
    }

    fn flag(&self, index: usize) -> &AtomicI32 {
        // SAFETY: three flags lie there for as long as `self`.
        unsafe { &*self.flags.add(index) }
    }

    /// Begins, and returns once it runs: what another process gave to the device before is done then, or waits.
    pub fn start(&mut self) -> Result<(), CudaError> {
        if self.is_on {
            return Ok(());
        }
        (0..3).for_each(|i| self.flag(i).store(0, Ordering::SeqCst));
        self.device.stream()?;
        let grid = Grid { blocks: (1, 1, 1), threads: 1, shared_bytes: 0 };
        // SAFETY: the kernel takes an address and an integer; the flags live as long as `self`, which waits for its end.
        unsafe { self.kernel.launch_on(self.stream, grid, &self.arguments) }?;
        self.is_on = true;
        let deadline = Instant::now() + START_LIMIT;
        while self.flag(1).load(Ordering::SeqCst) == 0 {
            if Instant::now() > deadline {
                let _ = self.stop();
                return Err(CudaError::new(
                    "watching the device",
                    "others do not let go of it",
                    "",
                ));
            }
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// The longest time since it began for which the device was not this process's, in ns; `None` where it does not run.
    pub fn longest_ns(&self) -> Option<u32> {
        self.is_on.then(|| self.flag(2).load(Ordering::SeqCst).unsigned_abs())
    }

    /// Ends it: the longest time, as above.
    pub fn stop(&mut self) -> Result<Option<u32>, CudaError> {
        if !self.is_on {
            return Ok(None);
        }
        self.flag(0).store(1, Ordering::SeqCst);
        self.device.stream()?;
        // SAFETY: the stream is this watch's.
        unsafe { result::stream::synchronize(self.stream) }
            .call("cuStreamSynchronize", || "a watch".into())?;
        let longest = self.longest_ns();
        self.is_on = false;
        Ok(longest)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.stop();
        // SAFETY: made in `new`, ended once, after all work. A failure leaves nothing to be done.
        unsafe {
            let _ = result::stream::destroy(self.stream);
            let _ = result::free_host(self.flags.cast());
        }
    }
}
