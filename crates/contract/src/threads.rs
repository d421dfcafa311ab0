//! Work spread over threads without a pool: used where results are combined in order.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Whether no thread may be made any more.
static ALONE: AtomicBool = AtomicBool::new(false);

/// From now on everything is done on the thread that asks for it: for a process that can have no more threads, where one
/// that came late would wait for others that never do.
pub fn stay_alone() {
    ALONE.store(true, Ordering::SeqCst);
}

/// A thread of a scope; `None` where the system has no more of them (a limit of processes, or no memory for a stack):
/// the caller does without.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    if ALONE.load(Ordering::SeqCst) {
        return None;
    }
    Builder::new().spawn_scoped(scope, work).ok()
}

/// Calls `work` on this thread and, at the same time, on up to `threads - 1` more. A panic on one of them goes on here,
/// once all have ended.
pub fn together(threads: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map_while(|_| spawn(scope, &work)).collect();
        work();
        if let Some(Err(panic)) = others.into_iter().map(|other| other.join()).find(Result::is_err)
        {
            resume_unwind(panic);
        }
    });
}

/// `f(0), f(1), .., f(count - 1)`, computed on up to `threads` threads, in order.
pub fn map<T: Send>(threads: usize, count: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if threads <= 1 || count <= 1 {
        return (0..count).map(f).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(count));
    together(threads.min(count), || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            let result = f(i);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|&(i, _)| i);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Fills `out` in pieces of at most `size`: `f(start, piece)` writes the piece that starts there.
pub fn fill<T: Send>(
    threads: usize,
    out: &mut [T],
    size: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let size = size.max(1);
    each(threads, out.chunks_mut(size).enumerate(), |(i, piece)| f(i * size, piece));
}

/// Gives every item to `f`, on `threads` threads that take one after the other.
pub fn each<T>(threads: usize, items: impl Iterator<Item = T> + Send, f: impl Fn(T) + Sync) {
    let items = Mutex::new(items);
    together(threads, || {
        loop {
            let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = item else { return };
            f(item);
        }
    });
}

/// Rows cut into chunks of at most `size_max`, the last ones smaller, down to `size_min`, so that
/// threads which take one after the other end together.
pub fn guided(count: usize, size_min: usize, size_max: usize, threads: usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < count {
        let size = (count - start).div_ceil(3 * threads).clamp(size_min.min(size_max), size_max);
        let end = (start + size).min(count);
        chunks.push(start..end);
        start = end;
    }
    chunks
}

/// `count` items cut into ranges of at most `size`.
pub fn ranges(count: usize, size: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    (0..count).step_by(size).map(|start| start..(start + size).min(count)).collect()
}
