//! Work shared by threads: numbered items, handed out one by one.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::float_environment::IeeeScope;

/// Calls `f` once for each of `0..items`, under IEEE floating-point modes.
///
/// With one thread the calls are made in order on the caller's thread, and no pool is touched
/// or started. With more, that many workers in the current rayon pool take the next item when
/// they are done with one, so that a slow core holds nobody up for longer than one item.
pub fn parallel_for(threads: usize, items: usize, f: impl Fn(usize) + Sync) {
    let workers = threads.min(items);
    if workers <= 1 {
        let _ieee = IeeeScope::enter();
        return (0..items).for_each(f);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let _ieee = IeeeScope::enter();
        // Relaxed: only the count is shared; the scope's end publishes the results.
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            if item >= items {
                break;
            }
            f(item);
        }
    };
    rayon::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|_| work());
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once() {
        for threads in [0, 1, 2, 7] {
            for items in [0, 1, 2, 5, 100] {
                let counts: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                parallel_for(threads, items, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn one_thread_is_the_callers_own() {
        let caller = std::thread::current().id();
        parallel_for(1, 3, |_| assert_eq!(std::thread::current().id(), caller));
    }
}
