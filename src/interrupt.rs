//! INT and TERM in the process that does the work: a thread of its own lets the run finish what it has, and ends the
//! process. Left out: passing signals on from the parent, which `supervise` does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::signal::Signal;
#[cfg(unix)]
use crate::signal::is_ignored;
use crate::supervise;

type Finish = Box<dyn FnOnce(Signal) + Send>;

/// Locked while it is called, and never unlocked after that.
static FINISH: Mutex<Option<Finish>> = Mutex::new(None);

fn finish() -> MutexGuard<'static, Option<Finish>> {
    FINISH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A registered closure; it is called no more once this is dropped.
#[must_use = "the closure is forgotten when this is dropped"]
#[derive(Debug)]
pub struct Registered(());

/// Has `f` called once, on a thread of its own, when INT or TERM comes; then the process ends with 130 or 143. The last
/// closure registered counts. While it runs, dropping what this returned waits for the end of the process: hold no lock
/// then that `f` takes.
pub fn finish_with(f: impl FnOnce(Signal) + Send + 'static) -> Registered {
    *finish() = Some(Box::new(f));
    Registered(())
}

impl Drop for Registered {
    fn drop(&mut self) {
        *finish() = None;
    }
}

/// Calls what is registered and ends the process, as when this signal comes.
pub fn interrupted(signal: Signal) -> ! {
    let mut registered = finish();
    if let Some(finish) = registered.take() {
        // A panic is told of by its hook; the process ends all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| finish(signal)));
    }
    supervise::end(signal.code())
}

/// Waits for signals on a thread of its own, from when this returns. Where no thread can be had, they end the process as they do by default.
#[cfg(unix)]
pub fn listen() {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let all = [(SIGINT, Signal::Interrupt), (SIGTERM, Signal::Terminate)];
    let heeded: Vec<(i32, Signal)> =
        all.into_iter().filter(|(number, _)| !is_ignored(*number)).collect();
    let (listening, begun) = std::sync::mpsc::channel();
    let wait = move || {
        let numbers = heeded.iter().map(|(number, _)| number);
        let signals = signal_hook::iterator::Signals::new(numbers);
        // Received until the thread listens or has given up.
        let _ = listening.send(());
        let Ok(mut signals) = signals else { return };
        let first = signals.forever().next();
        if let Some((_, signal)) = heeded.iter().find(|(number, _)| Some(*number) == first) {
            interrupted(*signal);
        }
    };
    if std::thread::Builder::new().name("interrupt".into()).spawn(wait).is_ok() {
        let _ = begun.recv();
    }
}

#[cfg(not(unix))]
pub fn listen() {}
