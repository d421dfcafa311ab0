//! Processes of this program in which foreign code is opened and called: vendor libraries, and for timing our own
//! operator and the embedded rivals as well, so that all are measured alike.
//!
//! The judge's process opens none of it. It owns the inputs and the outputs, holds the clock and decides; a worker gets
//! memory that it can only read, memory to write, and requests. Whatever a worker does to itself (a crash, an exit with
//! any status, no answer, a flood of output) costs what was asked of it, with the words to say so.

mod device;
mod device_case;
mod distant;
pub mod message;
mod process;
mod serve;
mod serve_device;
mod wire;

#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use record::baseline::Missing;

pub use device::{RemoteDevice, RemoteMonitor, RemoteOwn, share};
pub use distant::Distant;
pub use process::{Fault, Worker};
pub use serve::{role, serve};
pub use wire::Channel;

use crate::baseline::{self, Host};
use message::{Reply, Request, Rival};

/// Lets this process start workers. Called by the program that answers as one.
pub fn allow() {
    process::allow();
}

/// Time for a library to be opened.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// A worker for a run, and what it has.
pub struct Hosted {
    pub host: Host,
    worker: Option<Worker>,
    pub rivals: Vec<Rival>,
    pub missing: Vec<Missing>,
    /// Why nothing is asked of it until it is started again.
    fault: Option<Fault>,
}

/// The workers of a run, one for each library.
pub struct Workers {
    pub threads: usize,
    pub hosts: Vec<Hosted>,
}

impl Workers {
    /// Starts all of them. What cannot be opened is missing, with the reason. They die with the calling thread.
    pub fn open(threads: usize) -> Workers {
        let hosts = Host::LIBRARIES.map(|host| Hosted::open(host, threads)).into();
        Workers { threads, hosts }
    }

    /// Starts those again that were lost since. They die with the calling thread.
    pub fn revive(&mut self) {
        for hosted in &mut self.hosts {
            // One that never opened does not open now.
            if hosted.fault.is_some() && !hosted.rivals.is_empty() {
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
        let mut hosted =
            Hosted { host, worker: None, rivals: Vec::new(), missing: Vec::new(), fault: None };
        let opened = Worker::start(host).and_then(|mut worker| {
            let reply = worker.open(threads, OPEN_LIMIT)?;
            Ok((worker, reply))
        });
        let reason = match opened {
            Ok((worker, Reply::Opened { rivals, missing })) => {
                (hosted.worker, hosted.rivals, hosted.missing) = (Some(worker), rivals, missing);
                return hosted;
            }
            Ok((_, Reply::Failed { reason, .. })) => Fault::of(host, &reason),
            Ok((_, Reply::Built { .. } | Reply::Done { .. } | Reply::Device(_))) => {
                Fault::of(host, "answered what was not asked")
            }
            Err(fault) => fault,
        };
        hosted.missing = baseline::names(host)
            .iter()
            .map(|&name| Missing { name: name.into(), reason: format!("not usable: {reason}") })
            .collect();
        hosted.fault = Some(reason);
        hosted
    }

    /// Why it is not there.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Asks; after a fault nothing more, until it is started again. A request that cannot be done is an error in words.
    pub fn ask(
        &mut self,
        request: &Request,
        files: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Reply, String> {
        if let Some(fault) = &self.fault {
            return Err(fault.to_string());
        }
        let worker = self.worker.as_mut().ok_or("no process")?;
        match worker.ask(request, files, limit) {
            Ok(Reply::Failed { reason, .. }) => Err(contract::words::visible(&reason).into_owned()),
            Ok(reply) => Ok(reply),
            Err(fault) => {
                let words = fault.to_string();
                (self.worker, self.fault) = (None, Some(fault));
                Err(words)
            }
        }
    }

    /// As [`Hosted::ask`], of what has no other answer than that it was done: changes of the float environment.
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

    /// Ends a worker that answered something else than was asked.
    pub fn misled(&mut self, reply: &Reply) -> String {
        let fault = Fault::of(self.host, &format!("answered what was not asked: {reply:?}"));
        let words = fault.to_string();
        (self.worker, self.fault) = (None, Some(fault));
        words
    }
}
