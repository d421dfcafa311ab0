//! The caches, emptied.

use std::hint::black_box;

/// Empties the caches by reading a buffer that is larger than all of them.
pub struct CacheFlush(Vec<u64>);

impl CacheFlush {
    /// Twice the caches: those that do not replace the least recently used line need more than
    /// their size.
    pub fn new(cache_bytes: u64) -> CacheFlush {
        CacheFlush((0..cache_bytes / 4).collect())
    }

    pub fn flush(&self) {
        black_box(black_box(&self.0).iter().fold(0u64, |x, &word| x ^ word));
    }
}
