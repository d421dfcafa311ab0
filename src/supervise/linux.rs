//! The two processes on Linux.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _, parent_id};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal as Sent, kill_process, set_parent_process_death_signal};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};

use record::exit::ENVIRONMENT;

use super::{After, Death, LINE, MARK, PROGRESS, Role, is_code};
use crate::signal::{self, Signal};

/// Time that the child has to write what it has after INT or TERM. Records are written in well under a second.
const GRACE: Duration = Duration::from_secs(5);

/// Which process this is. A child takes its end of the pipe here, and dies with its parent from now on.
pub fn role() -> Result<Role, String> {
    let Some(mark) = env::var_os(MARK) else { return Ok(Role::Parent) };
    let mark = mark.to_string_lossy();
    let failed = |what: &dyn std::fmt::Display| {
        format!("failed to reach the parent process: {what}\nhint: {MARK} is set by `verify` alone")
    };
    let (parent, path) = mark.split_once(' ').ok_or_else(|| failed(&"not named"))?;
    set_parent_process_death_signal(Some(Sent::KILL)).map_err(|error| failed(&error))?;
    // Asked after the signal is set: a parent that died before is noticed here.
    if parent != parent_id().to_string() {
        return Err(failed(&"it is not the one that was named"));
    }
    let line = File::options().write(true).open(path);
    let line = line.map_err(|error| failed(&format!("{path}: {error}")))?;
    // It is called by the path that it was started by.
    let _ = rustix::thread::set_name(c"verify");
    let _ = LINE.set(line);
    Ok(Role::Child)
}

/// Starts the child and waits for it; the code to end with. INT and TERM are passed on, and the code is 130 or 143 once
/// the child has ended; a second one kills it. Called on the main thread, since the child dies with the thread that
/// started it.
///
/// `variables` are set in the child's environment; those of [`After::Again`] as well.
pub fn supervise(
    variables: Vec<(OsString, OsString)>,
    on_death: &mut dyn FnMut(&Death) -> After,
) -> Result<u8, String> {
    let failed = |error: io::Error| format!("failed to supervise a process: {error}");
    let caught = Caught::new().map_err(failed)?;
    let mut all = variables;
    loop {
        let (status, told, interrupted) = caught.child(&all).map_err(failed)?;
        let Told { progress, code: told } = told;
        if let Some(signal) = interrupted {
            return Ok(signal.code());
        }
        let death = match (status.code(), status.signal()) {
            (Some(status), _) => match told.filter(|&told| i32::from(told) == status) {
                Some(code) => return Ok(code),
                None => Death::Exit { status, told },
            },
            (None, signal) => Death::Signal(signal.unwrap_or_default()),
        };
        match on_death(&death) {
            After::Stop(code) => return Ok(code),
            // It would die again: nothing is left out that it died of.
            After::Again { .. } if !progress => return Ok(ENVIRONMENT),
            After::Again { variables } => {
                all.retain(|(name, _)| variables.iter().all(|(new, _)| new != name));
                all.extend(variables);
            }
        }
    }
}

/// What a child told before it ended.
#[derive(Default)]
struct Told {
    progress: bool,
    code: Option<u8>,
}

/// Signals to the parent, as flags, and a stream that has a byte when there is a new one.
struct Caught {
    wake: UnixStream,
    interrupts: Vec<(Signal, Arc<AtomicBool>)>,
}

impl Caught {
    fn new() -> io::Result<Caught> {
        let (wake, waker) = UnixStream::pair()?;
        let mut interrupts = Vec::new();
        for (signal, number) in [(Signal::Interrupt, SIGINT), (Signal::Terminate, SIGTERM)] {
            if signal::is_ignored(number) {
                continue;
            }
            let flag = Arc::new(AtomicBool::new(false));
            // The flag first: whoever is woken finds it set.
            signal_hook::flag::register(number, flag.clone())?;
            signal_hook::low_level::pipe::register(number, waker.try_clone()?)?;
            interrupts.push((signal, flag));
        }
        signal_hook::low_level::pipe::register(SIGCHLD, waker)?;
        Ok(Caught { wake, interrupts })
    }

    /// One child from start to end: its status, the code it told, and the signal that the parent got meanwhile.
    fn child(
        &self,
        variables: &[(OsString, OsString)],
    ) -> io::Result<(ExitStatus, Told, Option<Signal>)> {
        let (mut told, line) = io::pipe()?;
        // The process's name in whatever id space /proc shows.
        let name = fs::read_link("/proc/self")?;
        let path = format!("/proc/{}/fd/{}", name.display(), line.as_raw_fd());
        fs::metadata(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;

        let mut own = env::args_os();
        // The executable itself: the file of that name may be another by now.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(own.next().unwrap_or_else(|| "verify".into()))
            .args(own)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env(MARK, format!("{} {path}", std::process::id()));
        let mut child = command.spawn()?;
        let waited = self.wait(&mut child);
        if waited.is_err() {
            let _ = child.kill().and_then(|()| child.wait());
        }
        let (status, interrupted) = waited?;

        drop(line);
        // Somebody else may hold the pipe open, and would be waited for.
        rustix::io::ioctl_fionbio(&told, true)?;
        let mut bytes = [0; 3];
        let count = told.read(&mut bytes).unwrap_or(0);
        let told = match bytes[..count] {
            [PROGRESS] => Told { progress: true, code: None },
            [PROGRESS, code] if is_code(code) => Told { progress: true, code: Some(code) },
            [code] if is_code(code) => Told { progress: false, code: Some(code) },
            _ => Told::default(),
        };
        Ok((status, told, interrupted))
    }

    /// Waits for the child's end and passes signals on.
    fn wait(&self, child: &mut Child) -> io::Result<(ExitStatus, Option<Signal>)> {
        let mut interrupted = None;
        let mut deadline = None;
        loop {
            for (signal, flag) in &self.interrupts {
                if !flag.swap(false, Ordering::SeqCst) {
                    continue;
                }
                if interrupted.is_some() {
                    child.kill()?;
                    continue;
                }
                interrupted = Some(*signal);
                deadline = Some(Instant::now() + GRACE);
                let sent = match signal {
                    Signal::Interrupt => Sent::INT,
                    Signal::Terminate => Sent::TERM,
                };
                // It was not waited for yet, so its id is its own still.
                kill_process(Pid::from_child(child), sent)?;
            }
            if let Some(status) = child.try_wait()? {
                return Ok((status, interrupted));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                child.kill()?;
                deadline = None;
                continue;
            }
            self.wake.set_read_timeout(left)?;
            match (&self.wake).read(&mut [0; 64]) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    return Err(error);
                }
                _ => {}
            }
        }
    }
}
