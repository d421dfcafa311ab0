//! A worker's process, from the judge's side: started, asked, and ended with all that it started.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use super::message::{Reply, Request, VERSION};
use super::wire::{Channel, WireError};
use crate::baseline::Host;
use crate::supervise;
use contract::words::visible;

/// Variable that makes a process a worker: the id of its parent, and its host.
pub(super) const MARK: &str = "SPARSE_VERIFY_WORKER_OF";

/// Bytes of a worker's output that are kept, the last ones.
const WORDS_MAX: usize = 400;
/// Bytes of output after which a worker is ended as one that floods: 1 MiB.
const FLOOD: usize = 1 << 20;
/// Time for a process to be gone after its channel was closed.
const GOING: Duration = Duration::from_millis(500);

/// Whether this program answers to [`MARK`]: others, such as tests that use the library, start no workers.
static IS_PROGRAM: AtomicBool = AtomicBool::new(false);

/// Lets this process start workers, which are the same program.
pub(super) fn allow() {
    IS_PROGRAM.store(true, Ordering::Relaxed);
}

/// Processes that this one started and has not waited for.
static STARTED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn started() -> std::sync::MutexGuard<'static, Vec<u32>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of a worker that was not asked for, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    /// The fault of a worker that did something.
    pub(super) fn of(host: Host, what: &str) -> Fault {
        Fault(format!("the process of {} {}", host.name(), visible(what)))
    }

    /// The fault of a worker that answered another question.
    pub(super) fn of_answer(host: Host, reply: &dyn fmt::Debug) -> Fault {
        Fault::of(host, &format!("answered what was not asked: {reply:?}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The last of what a process wrote to its standard output and standard error.
#[derive(Default)]
struct Words {
    last: Vec<u8>,
    total: usize,
}

/// Whether a process was stopped by the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frozen {
    No,
    Stands,
    /// It could not be stopped, or went on by itself.
    Moved,
}

/// A process that answers requests. It is ended when this is dropped.
pub struct Worker {
    host: Host,
    child: Child,
    channel: Channel,
    words: Arc<Mutex<Words>>,
    /// Cleared before the process is waited for: its id may be another's after that.
    is_there: Arc<Mutex<bool>>,
    frozen: Frozen,
}

impl Worker {
    /// A worker, started. It dies with the calling thread, which therefore must go on to the end of the run.
    pub fn start(host: Host) -> Result<Worker, Fault> {
        Worker::start_in(host, None)
    }

    /// The same with nothing in its environment but these variables.
    pub fn start_in(
        host: Host,
        environment: Option<&BTreeMap<String, String>>,
    ) -> Result<Worker, Fault> {
        let failed =
            |error: &dyn fmt::Display| Fault(format!("no process for {}: {error}", host.name()));
        if !IS_PROGRAM.load(Ordering::Relaxed) {
            return Err(failed(&"this program starts none"));
        }
        // Processes that a worker leaves behind become this process's, and are ended.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let (own, other) = Channel::pair().map_err(|error| failed(&error))?;
        let (output, input) = std::io::pipe().map_err(|error| failed(&error))?;
        let again = input.try_clone().map_err(|error| failed(&error))?;
        let mut command = Command::new("/proc/self/exe");
        if let Some(environment) = environment {
            command.env_clear().envs(environment);
            if let Some(folder) = environment.get("HOME") {
                command.current_dir(folder);
            }
        }
        command
            .arg0("verify")
            .env(MARK, format!("{} {}", std::process::id(), host.name()))
            .stdin(Stdio::from(other.into_socket()))
            .stdout(Stdio::from(input))
            .stderr(Stdio::from(again))
            // Signals of a terminal are this process's to heed.
            .process_group(0);
        for name in supervise::VARIABLES {
            command.env_remove(name);
        }
        if environment.is_none() && std::env::var_os(SPINNING.0).is_none() {
            command.env(SPINNING.0, SPINNING.1);
        }
        let mut known = started();
        let child = command.spawn().map_err(|error| failed(&error))?;
        known.push(child.id());
        drop(known);
        // Both ends of the pipe that the child writes to are its alone.
        drop(command);
        let worker = Worker {
            host,
            child,
            channel: own,
            words: Arc::default(),
            is_there: Arc::new(Mutex::new(true)),
            frozen: Frozen::No,
        };
        let (words, is_there, group) =
            (worker.words.clone(), worker.is_there.clone(), worker.group());
        let listen = move || listen(output, &words, &is_there, group);
        let spawned = std::thread::Builder::new().name("words".into()).spawn(listen);
        spawned.map_err(|error| failed(&error))?;
        Ok(worker)
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// The reply to a request, waited for `limit` at most. After a fault there is no process to ask.
    pub fn ask(
        &mut self,
        request: &Request,
        files: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Reply, Fault> {
        self.thaw();
        match self.channel.send(request, files, Some(limit)) {
            Ok(()) => self.next(limit),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// The next reply of a request that has several.
    pub fn next(&mut self, limit: Duration) -> Result<Reply, Fault> {
        match self.channel.receive(Some(limit)) {
            Ok((reply, _)) => Ok(reply),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Stops all threads of the process, and returns when they stand: what it has not written by then it writes too late.
    pub fn freeze(&mut self) {
        const STOPPING: Duration = Duration::from_millis(500);
        let Some(process) = self.group() else { return };
        if self.frozen != Frozen::No
            || rustix::process::kill_process(process, Signal::STOP).is_err()
        {
            return;
        }
        let deadline = Instant::now() + STOPPING;
        self.frozen = loop {
            // The kernel tells it once no thread is left that runs.
            match rustix::process::waitid(
                WaitId::Pid(process),
                WaitIdOptions::STOPPED | WaitIdOptions::NOHANG,
            ) {
                Ok(Some(_)) => break Frozen::Stands,
                Err(_) => break Frozen::Moved,
                // It ended: the next request says how.
                Ok(None) if has_ended(process) => break Frozen::No,
                Ok(None) if Instant::now() >= deadline => break Frozen::Moved,
                Ok(None) => std::hint::spin_loop(),
            }
        };
    }

    /// Whether a process that was stopped stood still since: nobody let it go on, even if it stands again.
    pub fn stood_still(&mut self) -> bool {
        if let (Frozen::Stands, Some(process)) = (self.frozen, self.group()) {
            let events = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
            if !matches!(rustix::process::waitid(WaitId::Pid(process), events), Ok(None)) {
                self.frozen = Frozen::Moved;
            }
        }
        self.frozen != Frozen::Moved
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        if std::mem::replace(&mut self.frozen, Frozen::No) == Frozen::No {
            return;
        }
        if let Some(process) = self.group() {
            let _ = rustix::process::kill_process(process, Signal::CONT);
        }
    }

    /// Ends all processes that this one started, or left to the judge, and says how many there were.
    pub fn end_children(&self) -> usize {
        let mut ended = std::collections::BTreeSet::new();
        // Those that these started meanwhile come up in the next round.
        for _ in 0..100 {
            let strays: Vec<u32> =
                strays(&started()).map(|stray| stray.as_raw_nonzero().get() as u32).collect();
            let below = match has_children(self.child.id()) {
                Some(false) => Vec::new(),
                Some(true) | None => descendants(self.child.id()),
            };
            if below.is_empty() && strays.is_empty() {
                break;
            }
            for child in below.iter().chain(&strays).filter_map(|&id| Pid::from_raw(id as i32)) {
                if rustix::process::kill_process(child, Signal::KILL).is_ok() {
                    ended.insert(child.as_raw_nonzero().get());
                }
            }
            end_strays(&started());
        }
        ended.len()
    }

    /// Filters of system calls that the kernel has for the process.
    pub fn filters(&self) -> Option<u32> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"))?;
        line.trim().parse().ok()
    }

    /// Bytes of memory that the process has for itself, as the kernel counts them: what is shared with others is left out.
    pub fn private_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        let mut pages = text.split(' ').skip(1).map_while(|pages| pages.parse::<u64>().ok());
        let (resident, shared) = (pages.next()?, pages.next()?);
        Some(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
    }

    /// The reply to the first request: opens the library of the worker's host.
    pub fn open(&mut self, threads: usize, limit: Duration) -> Result<Reply, Fault> {
        self.ask(&Request::Open { version: VERSION, threads }, &[], limit)
    }

    /// Ends the process, and gives the words for how it failed.
    fn fault(&mut self, error: &WireError) -> Fault {
        let deadline = Instant::now() + GOING;
        let is_gone = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)) | Err(_));
        // Told from one that is ended here by its status.
        let alone = matches!(error, WireError::Closed).then(|| {
            while !is_gone(&mut self.child) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let status = self.child.try_wait().ok().flatten().filter(|_| alone.is_some());
        self.end();
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match (status, error) {
            _ if words.total > FLOOD => {
                format!("wrote more than {FLOOD} bytes to its standard output")
            }
            (Some(status), _) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exited with {code}"),
                (None, signal) => {
                    format!("was ended by {}", supervise::signal_name(signal.unwrap_or_default()))
                }
            },
            (None, error) => format!("was ended here: {error}"),
        };
        let last = String::from_utf8_lossy(&words.last);
        let last = match last.trim() {
            "" => String::new(),
            last => format!("; its last words: {}", visible(last)),
        };
        Fault(format!("the process of {} {what}{last}", self.host.name()))
    }

    /// Ends the process and all that it started.
    fn end(&mut self) {
        let mut is_there = self.is_there.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut *is_there) {
            return;
        }
        if let Some(group) = self.group() {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut known = started();
        known.retain(|&id| id != self.child.id());
        end_strays(&known);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Logarithm of the cycles for which OpenBLAS's threads spin after a call, unless the user set it. The library's own 26
/// takes the cores away from the contender that is measured next; 20 still bridges calls in a row.
pub(super) const SPINNING: (&str, &str) = ("OPENBLAS_THREAD_TIMEOUT", "20");

/// Keeps the last words that a worker writes, and ends a worker that floods.
fn listen(
    mut output: std::io::PipeReader,
    words: &Mutex<Words>,
    is_there: &Mutex<bool>,
    group: Option<Pid>,
) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut bytes) {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.total = words.total.saturating_add(count);
        words.last.extend_from_slice(&bytes[..count]);
        let surplus = words.last.len().saturating_sub(WORDS_MAX);
        words.last.drain(..surplus);
        if words.total <= FLOOD {
            continue;
        }
        drop(words);
        let is_there = is_there.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = group.filter(|_| *is_there) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        return;
    }
}

/// Whether a process is one that ended and is still to be waited for.
fn has_ended(process: Pid) -> bool {
    let asked = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(rustix::process::waitid(WaitId::Pid(process), asked), Ok(Some(_)))
}

/// Whether a process has children, by the kernel's own list of each of its threads; `None` where there is no such list.
fn has_children(of: u32) -> Option<bool> {
    for task in std::fs::read_dir(format!("/proc/{of}/task")).ok()?.flatten() {
        match std::fs::read_to_string(task.path().join("children")) {
            Ok(list) if list.trim().is_empty() => {}
            Ok(_) => return Some(true),
            // A thread that is gone meanwhile has none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && task.path().exists() => {
                return None;
            }
            Err(_) => {}
        }
    }
    Some(false)
}

/// Processes below another that run; those that ended and were not waited for are left out.
fn descendants(of: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: BTreeMap<u32, u32> = processes
        .filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name stands in brackets and may hold anything.
            let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
            let state = rest.next()?;
            let parent = rest.next()?.parse().ok()?;
            (state != "Z").then_some((id, parent))
        })
        .collect();
    let is_below = |mut id: u32| {
        // No chain is longer than there are processes.
        for _ in 0..=parents.len() {
            match parents.get(&id) {
                Some(&parent) if parent == of => return true,
                Some(&parent) => id = parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(|&id| is_below(id)).collect()
}

/// Children of this process that it did not start: workers left them behind.
fn strays(known: &[u32]) -> impl Iterator<Item = Pid> + use<> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let ids: Vec<i32> = lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()
        })
        .filter(|&id: &i32| !known.contains(&(id as u32)))
        .collect();
    ids.into_iter().filter_map(Pid::from_raw)
}

/// Ends children of this process that it did not start: workers that are gone left them behind.
fn end_strays(known: &[u32]) {
    // Processes that these started in turn come up as they end.
    for _ in 0..100 {
        let mut any = false;
        for stray in strays(known) {
            any = true;
            let _ = rustix::process::kill_process(stray, Signal::KILL);
            let _ = rustix::process::waitpid(Some(stray), WaitOptions::empty());
        }
        if !any {
            return;
        }
    }
}
