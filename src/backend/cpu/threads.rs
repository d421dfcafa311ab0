//! Work shared by the threads of the current rayon pool: numbered items, handed out one by one, under IEEE modes.
//!
//! Timed calls run here, since starting threads would be part of their time. `contract::threads` starts its own for work
//! that is not timed and whose results are combined in order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, mpsc};

use super::float_environment::IeeeScope;

/// Makes rayon's global pool of as many threads as the system gives, up to one a core: rayon itself makes all of them
/// or panics. Without a single one the calling thread is the pool.
pub fn make_pool() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let thread = |_| {
            let (give, take) = mpsc::channel::<rayon::ThreadBuilder>();
            let run = move || take.recv().into_iter().for_each(rayon::ThreadBuilder::run);
            std::thread::Builder::new().spawn(run).ok().map(|_| give)
        };
        let mut threads: Vec<_> = (0..cores).map_while(thread).collect();
        let pool = rayon::ThreadPoolBuilder::new();
        // An error says that there is a pool already.
        let _ = match threads.len() {
            0 => {
                contract::threads::stay_alone();
                pool.num_threads(1).use_current_thread().build_global()
            }
            count => {
                let pool = pool.num_threads(count).spawn_handler(|member| {
                    let thread = threads.pop().ok_or(std::io::ErrorKind::WouldBlock)?;
                    thread.send(member).map_err(|_| std::io::ErrorKind::WouldBlock.into())
                });
                pool.build_global()
            }
        };
    });
}

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

/// Runs `work` where `threads` means what operators expect: on this thread for 1, else in a pool
/// of so many.
pub fn with_threads<T: Send>(
    threads: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, rayon::ThreadPoolBuildError> {
    if threads <= 1 {
        return Ok(work());
    }
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(work))
}

/// From here on the calling thread, and those that it starts, give way to all others that want a core.
pub fn give_way() {
    // Where it may not, it goes on as it is.
    let _ = rustix::process::nice(10);
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
