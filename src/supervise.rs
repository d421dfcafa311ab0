//! A parent process that ends when the program's work has ended, and with which code. The work is done by a child: the
//! same executable with the same arguments. Libraries that are loaded there can end it at any time with any status, and
//! so can the kernel; none of that may look like a verdict.
//!
//! The child tells its code over a pipe as its last act. The parent believes a code that was told and is also the
//! child's exit status; every other end is a [`Death`]. The pipe is inherited by nobody: the child opens the parent's
//! end of it by its path under /proc, so that what the child starts in turn cannot hold it open.
//!
//! Left out: what a death means for a run. Whoever calls [`supervise`] decides whether to start the child again.
//! Systems other than Linux have no parent process: the program does its work itself.

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::sync::{Mutex, Once, OnceLock, PoisonError};

use record::exit::{BAD_INPUT, ENVIRONMENT, NOT_VERIFIED, REFUTED, VERIFIED};

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::{role, supervise};

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Starts the child and waits for it.
    Parent,
    /// Does the work and ends with [`end`].
    Child,
    /// Does the work without a parent: there is none on this system.
    Alone,
}

/// An end of the child that gives no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// Ended by a signal, whatever was told before.
    Signal(i32),
    /// Exited with `status`; `told` is the code it told, if any.
    Exit { status: i32, told: Option<u8> },
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHO: &str = "the process that did the work";
        match self {
            Death::Signal(number) => {
                write!(f, "{WHO} was ended by {}", signal_name(*number))?;
                // Not by us: a second signal is reported as an interrupt.
                if *number == SIGKILL {
                    write!(f, ", as the kernel does where memory runs out")?;
                }
                Ok(())
            }
            Death::Exit { status, told: None } => {
                write!(f, "{WHO} exited with {status} without a verdict")
            }
            Death::Exit { status, told: Some(told) } => {
                write!(f, "{WHO} exited with {status}, but its verdict was {told}")
            }
        }
    }
}

const SIGKILL: i32 = 9;

pub fn signal_name(number: i32) -> String {
    #[cfg(unix)]
    if let Some(name) = signal_hook::low_level::signal_name(number) {
        return name.to_owned();
    }
    format!("signal {number}")
}

/// Variables that only processes of ours are to see.
pub const VARIABLES: [&str; 3] = [MARK, AFTER, JOURNAL];

/// Makes a process a child: the parent's id and the path of its pipe. The child's own children have another parent, and
/// are refused.
const MARK: &str = "SPARSE_VERIFY_CHILD_OF";

/// Says to a child that the one before it died, and how.
pub const AFTER: &str = "SPARSE_VERIFY_AFTER";
/// A place for a child's notes on its progress that its parent removes.
pub const JOURNAL: &str = "SPARSE_VERIFY_JOURNAL";

/// How to go on after a [`Death`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// End with this code.
    Stop(u8),
    /// Start the child again, with the same arguments and these environment variables.
    Again { variables: Vec<(OsString, OsString)> },
}

/// Codes after INT and TERM, as shells give them.
const INTERRUPTED: [u8; 2] = [130, 143];

/// Whether a process of ours ends with this code.
fn is_code(code: u8) -> bool {
    [VERIFIED, REFUTED, BAD_INPUT, NOT_VERIFIED, ENVIRONMENT].contains(&code)
        || INTERRUPTED.contains(&code)
}

/// What a child tells once a part of its work is under way: no code. A child that died before that would die again.
const PROGRESS: u8 = 0xa5;

/// Tells the parent that a part of the work is under way, which can be left out if this process dies of it.
pub fn progress() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Some(mut line) = LINE.get() {
            // A parent that is gone has ended this process already.
            let _ = line.write_all(&[PROGRESS]);
        }
    });
}

/// The child's end of the pipe.
static LINE: OnceLock<std::fs::File> = OnceLock::new();

/// Ends this process with `code`, and tells the parent so. The first thread that calls this decides; no exit handler of
/// a loaded library is run.
pub fn end(code: u8) -> ! {
    static ENDING: Mutex<()> = Mutex::new(());
    // Held until the process is gone: the code is told once.
    let _ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(mut line) = LINE.get() {
        // A parent that is gone has ended this process already.
        let _ = line.write_all(&[code]);
    }
    #[cfg(unix)]
    signal_hook::low_level::exit(i32::from(code));
    #[cfg(not(unix))]
    std::process::exit(i32::from(code))
}

#[cfg(not(target_os = "linux"))]
pub fn role() -> Result<Role, String> {
    Ok(Role::Alone)
}

#[cfg(not(target_os = "linux"))]
pub fn supervise(
    _: Vec<(OsString, OsString)>,
    _: &mut dyn FnMut(&Death) -> After,
) -> Result<u8, String> {
    Err("this system has no supervised processes".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_says_what_happened() {
        for (death, text) in [
            (Death::Signal(6), "was ended by SIGABRT"),
            (Death::Signal(9), "was ended by SIGKILL, as the kernel does where memory runs out"),
            (Death::Signal(63), "was ended by signal 63"),
            (Death::Exit { status: 0, told: None }, "exited with 0 without a verdict"),
            (Death::Exit { status: 0, told: Some(3) }, "exited with 0, but its verdict was 3"),
        ] {
            assert_eq!(death.to_string(), format!("the process that did the work {text}"));
        }
    }
}
