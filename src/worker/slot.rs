//! The place of a worker that may be lost: after a fault nothing is asked, until another worker is put there.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::message::{Reply, Request};
use super::process::{Fault, Worker};
use crate::baseline::Host;
use crate::operator::Error;

/// A worker of a host, or the fault that it ended with.
pub(super) struct Slot {
    host: Host,
    worker: Result<Worker, Fault>,
}

impl Slot {
    pub fn of(host: Host, worker: Result<Worker, Fault>) -> Slot {
        Slot { host, worker }
    }

    /// Why no worker is there.
    pub fn fault(&self) -> Option<&Fault> {
        self.worker.as_ref().err()
    }

    /// The answer to a request, for which the worker has `limit`. A fault ends the worker; a request that it could not
    /// do is an error with the worker's words, which are foreign.
    pub fn ask(
        &mut self,
        request: &Request,
        files: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Reply, Error> {
        let answered = match &mut self.worker {
            Ok(worker) => worker.ask(request, files, limit),
            Err(fault) => Err(fault.clone()),
        };
        match answered {
            Ok(Reply::Failed { reason, refused: true }) => Err(Error::Unsupported(reason)),
            Ok(Reply::Failed { reason, refused: false }) => Err(Error::Environment(reason)),
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.end(fault)),
        }
    }

    /// The worker, if it is there.
    pub fn worker(&mut self) -> Option<&mut Worker> {
        self.worker.as_mut().ok()
    }

    /// Ends a worker that answered another question, and gives the words for that.
    pub fn misled(&mut self, reply: &dyn fmt::Debug) -> Error {
        self.end(Fault::of_answer(self.host, reply))
    }

    fn end(&mut self, fault: Fault) -> Error {
        let error = Error::Environment(fault.to_string());
        self.worker = Err(fault);
        error
    }
}
