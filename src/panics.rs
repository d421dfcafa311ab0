//! Panics as errors with a message and a place. A defect in one case, or on one thread, is told of there and ends
//! nothing else. Left out: deciding what state a panic left behind; each caller of [`catch`] says why its own is sound.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    pub message: String,
    /// File and line, where the hook saw it.
    pub place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_deref().unwrap_or("an unknown place");
        write!(f, "a defect in this program: panic at {place}: {}", self.message)
    }
}

/// The last panic of any thread. A panic on a thread of a pool goes on, without its place, on the thread that waits.
static LAST: Mutex<Option<Panicked>> = Mutex::new(None);

/// Calls of [`catch`] that are running.
static CATCHING: AtomicUsize = AtomicUsize::new(0);

/// Has places noted from now on. What is caught is not printed as well, unless RUST_BACKTRACE is set.
pub fn note_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        let backtrace = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            let last = Panicked { message: message(info.payload()), place };
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            if backtrace || CATCHING.load(Ordering::SeqCst) == 0 {
                print(info);
            }
        }));
    });
}

/// What `work` gives, or the panic that ended it, on this thread or on one that it waited for.
///
/// Whatever `work` changed may be half done: the caller uses none of it any more, or says why it can.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    CATCHING.fetch_add(1, Ordering::SeqCst);
    let caught = catch_unwind(AssertUnwindSafe(work));
    CATCHING.fetch_sub(1, Ordering::SeqCst);
    caught.map_err(|payload| of_payload(&*payload))
}

/// A panic that was found by joining a thread.
pub fn of_payload(payload: &(dyn Any + Send)) -> Panicked {
    let message = message(payload);
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    last.filter(|last| last.message == message).unwrap_or(Panicked { message, place: None })
}

fn message(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_has_its_message_and_its_place_also_from_a_pool() {
        note_places();
        let line = line!() + 1;
        let panicked = catch(|| panic!("seven is {}", 7)).expect_err("it panics");
        assert_eq!(panicked.message, "seven is 7");
        assert_eq!(panicked.place, Some(format!("src/panics.rs:{line}")));
        assert_eq!(catch(|| 7), Ok(7));

        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
        let panicked = catch(|| pool.install(|| panic!("in a pool"))).expect_err("it panics");
        assert!(panicked.place.is_some_and(|place| place.starts_with("src/panics.rs:")));
    }
}
