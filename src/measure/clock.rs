//! Time as a trait, so that a schedule can run on a clock that a test drives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Monotonic nanoseconds from an arbitrary start.
pub trait Clock: Sync {
    fn now_ns(&self) -> u64;

    /// Leaves the machine idle for a while.
    fn sleep_ns(&self, ns: u64);
}

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct RealClock(Instant);

impl Default for RealClock {
    fn default() -> RealClock {
        RealClock(Instant::now())
    }
}

impl Clock for RealClock {
    fn now_ns(&self) -> u64 {
        // 2^64 ns are 584 years.
        self.0.elapsed().as_nanos() as u64
    }

    fn sleep_ns(&self, ns: u64) {
        std::thread::sleep(Duration::from_nanos(ns));
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct MockClock(AtomicU64);

impl MockClock {
    pub fn advance_ns(&self, ns: u64) {
        self.0.fetch_add(ns, Ordering::Relaxed);
    }
}

impl Clock for MockClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn sleep_ns(&self, ns: u64) {
        self.advance_ns(ns);
    }
}
