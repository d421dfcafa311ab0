//! Chains between k-blocks: aligned, contiguous, one buffer a thread.

use std::cell::RefCell;
use std::ops::Range;

use super::memory::{AlignedBuffer, OutputRows};

/// Running chains of the current slice, and the sums of the slices closed so far.
pub(super) struct Scratch<'a> {
    pub chains: &'a mut [f32],
    sums: &'a mut [f32],
    closed: bool,
}

thread_local! {
    /// Kept from call to call: fresh pages cost more than the additions they hold.
    static BUFFER: RefCell<AlignedBuffer> = RefCell::new(AlignedBuffer::zeroed(0));
}

impl Scratch<'_> {
    /// Calls `f` with `len` chains, all +0 or stale; `sums_slices` says that slices will be
    /// closed one by one.
    pub fn with<R>(len: usize, sums_slices: bool, f: impl FnOnce(&mut Scratch<'_>) -> R) -> R {
        let needed = if sums_slices { 2 * len } else { len };
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < needed {
                *buffer = AlignedBuffer::zeroed(needed);
            }
            let (chains, sums) = buffer[..needed].split_at_mut(len);
            f(&mut Scratch { chains, sums, closed: false })
        })
    }

    /// Ends a slice: its chains become, or are added to, the sums.
    pub fn close_slice(&mut self) {
        if self.sums.is_empty() {
        } else if self.closed {
            for (sum, &chain) in self.sums.iter_mut().zip(self.chains.iter()) {
                *sum += chain;
            }
        } else {
            self.sums.copy_from_slice(self.chains);
        }
        self.closed = true;
    }

    /// The outputs, once every slice is closed; +0 where there was none.
    pub fn sums(&mut self) -> &[f32] {
        if !self.closed {
            self.chains.fill(0.0);
            return self.chains;
        }
        if self.sums.is_empty() { self.chains } else { self.sums }
    }
}

/// Writes +0 to dead rows.
pub(super) fn finish_rows(output: OutputRows, dead: Range<usize>) {
    for i in dead {
        // SAFETY: the calling item owns these rows, and the product holds Y until it returns.
        unsafe { output.write_zeros(i) }
    }
}
