//! Processes of this program in which foreign code is opened and called: vendors' libraries, and all that runs on a
//! device. For timing, our own operator and the embedded rivals run in such a process as well, so that all contenders are
//! measured alike.
//!
//! The judge's process opens no foreign library. The judge owns the inputs and the outputs, holds the clock and
//! decides. A worker gets memory that it can only read, memory to write, and requests. A worker that crashes, exits
//! with any status, gives no answer or floods its output loses its contenders' places in the case, and the record says
//! why.
//!
//! Left out: namespaces and filters of system calls. A worker runs as the same user as the judge, and reaches the files
//! and the network that this user reaches.

mod device;
mod device_case;
mod distant;
mod isolate;
pub mod message;
mod process;
mod serve;
mod serve_device;
mod serve_stranger;
mod slot;
mod stranger;
mod wire;

#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use record::baseline::Missing;

pub use device::{LentV, Place, RemoteDevice, RemoteMonitor, RemoteOwn};
pub use device_case::{bytes_of_slots, places};
pub use distant::Distant;
pub use process::{Fault, Worker};
pub use serve::{role, serve};
pub use serve_stranger::UNDER_TEST;
use slot::Slot;
pub use stranger::Stranger;
pub use wire::{Channel, MESSAGE_MAX};

use crate::baseline::{self, Host};
use message::{Reply, Request, Rival};

/// Lets this process start workers. Only the program calls this: only its executable answers as a worker.
pub fn allow() {
    process::allow();
}

/// What is said of a stranger's process that moved between two requests.
pub const MOVED: &str = "it went on while it had to stand still";

/// What is said of a stranger whose work was on the device between two requests.
pub const ON_DEVICE: &str = "it worked on the device while it had to stand still";

/// Time for a library to be opened, after which it is taken for one that hangs.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// The worker of a host in a run, with the rivals that it has.
pub struct Hosted {
    pub host: Host,
    worker: Slot,
    pub rivals: Vec<Rival>,
    pub missing: Vec<Missing>,
    /// What more there is of a stranger's process.
    stranger: Option<stranger::Held>,
}

/// The workers of a run, one for each host.
pub struct Workers {
    pub threads: usize,
    pub hosts: Vec<Hosted>,
}

impl Workers {
    /// Workers of all hosts, started. A library that cannot be opened is missing, with the reason. The workers die with
    /// the calling thread.
    pub fn open(threads: usize) -> Workers {
        let hosts = Host::LIBRARIES.map(|host| Hosted::open(host, threads)).into();
        Workers { threads, hosts }
    }

    /// Starts the workers again that were lost since. The new ones die with the calling thread.
    pub fn revive(&mut self) {
        for hosted in &mut self.hosts {
            // One that never opened does not open now.
            if hosted.fault().is_some() && !hosted.rivals.is_empty() {
                *hosted = Hosted::open(hosted.host, self.threads);
            }
        }
    }

    /// Rivals that are not there, with the reason.
    pub fn missing(&self) -> impl Iterator<Item = &Missing> {
        self.hosts.iter().flat_map(|hosted| &hosted.missing)
    }
}

impl Hosted {
    fn open(host: Host, threads: usize) -> Hosted {
        let opened = Worker::start(host).and_then(|mut worker| {
            let reply = worker.open(threads, OPEN_LIMIT)?;
            Ok((worker, reply))
        });
        let fault = match opened {
            Ok((worker, Reply::Opened { rivals, missing })) => {
                let worker = Slot::of(host, Ok(worker));
                return Hosted { host, worker, rivals, missing, stranger: None };
            }
            Ok((_, Reply::Failed { reason, .. })) => Fault::of(host, &reason),
            Ok((_, other)) => Fault::of_answer(host, &other),
            Err(fault) => fault,
        };
        let missing = baseline::names(host)
            .iter()
            .map(|&name| Missing { name: name.into(), reason: format!("not usable: {fault}") })
            .collect();
        let worker = Slot::of(host, Err(fault));
        Hosted { host, worker, rivals: Vec::new(), missing, stranger: None }
    }

    /// The reason why the worker is not there.
    pub fn fault(&self) -> Option<&Fault> {
        self.worker.fault()
    }

    /// The answer to a request, for which the worker has `limit`; `files` go with the request. After a fault there is
    /// only that fault, until the worker is started again. A request that the worker could not do is an error in words.
    pub fn ask(
        &mut self,
        request: &Request,
        files: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Reply, String> {
        let asked = self.worker.ask(request, files, limit);
        asked.map_err(|error| contract::words::visible(&error.to_string()).into_owned())
    }

    /// As [`Hosted::ask`], for a request that is only done or not: changes of the float environment that it left.
    pub fn order(
        &mut self,
        request: &Request,
        files: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<u64, String> {
        match self.ask(request, files, limit)? {
            Reply::Done { changes } => Ok(changes),
            other => Err(self.misled(&other)),
        }
    }

    /// Times for a build and for the calls of a request; those of a stranger are its file's.
    pub fn limits(&self, usual: Duration) -> (Duration, Duration) {
        self.stranger.as_ref().map_or((usual, usual), |held| (held.build_limit, held.apply_limit))
    }

    /// Whether it is a stranger's.
    pub fn is_strange(&self) -> bool {
        self.stranger.is_some()
    }

    /// Stops a stranger's process after a reply, so that nothing is done before the next request, and ends what it started:
    /// an error if that was still there.
    pub fn stand(&mut self) -> Result<(), String> {
        let is_strange = self.is_strange();
        let Some(worker) = self.worker.worker().filter(|_| is_strange) else { return Ok(()) };
        worker.freeze();
        // It could let the process go on where that stands still, and work while others are timed.
        match worker.end_children() {
            0 => Ok(()),
            1 => Err("it left a process behind".into()),
            left => Err(format!("it left {left} processes behind")),
        }
    }

    /// An error unless the kernel has one more filter of system calls for a stranger's process than when it was opened, where
    /// there are filters at all.
    pub fn require_filter(&mut self) -> Result<(), String> {
        let Some(before) = self.stranger.as_ref().and_then(|held| held.filters) else {
            return Ok(());
        };
        let now = self.worker.worker().and_then(|worker| worker.filters());
        match now.is_some_and(|now| now > before) {
            true => Ok(()),
            false => Err("it put off the filter that forbids new processes".into()),
        }
    }

    /// An error unless a stranger's process stood still since it was stopped.
    pub fn require_still(&mut self) -> Result<(), String> {
        match self.is_strange() && self.worker.worker().is_some_and(|worker| !worker.stood_still())
        {
            true => Err(MOVED.into()),
            false => Ok(()),
        }
    }

    /// Lets it go on, right before a request.
    pub fn thaw(&mut self) {
        if let Some(worker) = self.worker.worker() {
            worker.thaw();
        }
    }

    /// Bytes of memory that a stranger's process has for itself; `None` of others, whose own word is taken.
    pub fn private_bytes(&mut self) -> Option<u64> {
        let is_strange = self.is_strange();
        self.worker.worker().filter(|_| is_strange)?.private_bytes()
    }

    /// Ends a worker that answered another question, and gives the words for that.
    pub fn misled(&mut self, reply: &Reply) -> String {
        self.worker.misled(reply).to_string()
    }
}
