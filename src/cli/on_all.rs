//! Cases on several devices at a time: each device takes the next case when it has done the one before, and what is found is
//! told in the order of the cases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use contract::case::Case;
use record::expected::Expected;
use record::manifest::Manifest;
use record::shared::SharedOutputs;
use record::{CaseKey, CaseRecord, DeviceRecord};

use super::running::Running;
use crate::audit::{Auditor, Task};
use crate::failure::Failure;
use crate::operator::Error;
use crate::output::note;
use crate::worker::RemoteDevice;

/// A case that is to be audited.
pub struct Job<'a> {
    pub manifest: &'a Manifest,
    pub case: &'a Case,
    pub expected: &'a Expected,
    pub expected_file: String,
}

impl Job<'_> {
    pub fn key(&self) -> CaseKey {
        CaseKey { manifest: self.manifest.name.clone(), id: self.case.id.clone() }
    }
}

/// What a device's thread has to say.
enum Said {
    Found(usize, Box<CaseRecord>, DeviceRecord),
    /// The device cannot be used.
    Unusable(usize, Error),
    /// The run cannot go on.
    Failed(Failure),
}

/// Devices, and who works with each.
pub struct Team<'a> {
    /// Numbers of the devices.
    pub ordinals: &'a [usize],
    pub open: &'a (dyn Fn(usize) -> Result<Arc<RemoteDevice>, Error> + Sync),
    pub auditor: &'a (dyn Fn(Arc<RemoteDevice>) -> Auditor<'static> + Sync),
}

/// Records of jobs in their order, as they come.
pub struct Ahead {
    said: Receiver<Said>,
    /// Of jobs after the next one.
    waiting: BTreeMap<usize, CaseRecord>,
    next: usize,
    devices: BTreeMap<usize, DeviceRecord>,
    unusable: Option<Error>,
}

impl Ahead {
    /// The devices that were used so far.
    pub fn devices(&self) -> Vec<DeviceRecord> {
        self.devices.values().cloned().collect()
    }

    /// The record of the next job, which was audited without the others.
    pub fn next(&mut self) -> Result<CaseRecord, Failure> {
        loop {
            if let Some(record) = self.waiting.remove(&self.next) {
                self.next += 1;
                return Ok(record);
            }
            match self.said.recv() {
                Ok(Said::Found(at, record, device)) => {
                    self.devices.insert(device.device.ordinal, device);
                    self.waiting.insert(at, *record);
                }
                Ok(Said::Unusable(ordinal, error)) => {
                    note(&format!("warning: device {ordinal} is not used: {error}"));
                    self.unusable = Some(error);
                }
                Ok(Said::Failed(failure)) => return Err(failure),
                // No thread is left.
                Err(_) => {
                    return Err(match self.unusable.take() {
                        Some(error) => Failure::environment(error),
                        None => Failure::environment("no device is left to go on with"),
                    });
                }
            }
        }
    }
}

/// Lets all devices audit jobs while `tell` takes the records in their order. Ends when `tell` does: cases that are at
/// work then are finished and forgotten.
pub fn audit<T>(
    team: &Team<'_>,
    jobs: &[Job<'_>],
    running: &Running,
    tell: impl FnOnce(&mut Ahead) -> T,
) -> T {
    let next = AtomicUsize::new(0);
    let (send, said) = channel();
    std::thread::scope(|scope| {
        for &ordinal in team.ordinals {
            let (send, next, running) = (send.clone(), &next, running.clone());
            scope.spawn(move || work(team, ordinal, jobs, next, running, &send));
        }
        drop(send);
        let mut ahead = Ahead {
            said,
            waiting: BTreeMap::new(),
            next: 0,
            devices: BTreeMap::new(),
            unusable: None,
        };
        let told = tell(&mut ahead);
        next.store(jobs.len(), Ordering::Relaxed);
        told
    })
}

/// Audits jobs that nobody has taken on one device. What cannot be sent is not wanted any more.
fn work(
    team: &Team<'_>,
    ordinal: usize,
    jobs: &[Job<'_>],
    next: &AtomicUsize,
    mut running: Running,
    send: &Sender<Said>,
) {
    // Opened here: its processes die with this thread.
    let device = match (team.open)(ordinal) {
        Ok(device) => device,
        Err(error) => return drop(send.send(Said::Unusable(ordinal, error))),
    };
    let mut auditor = (team.auditor)(device.clone());
    while let Some((at, job)) = take(next, jobs) {
        if let Err(failure) = running.start(job.key()) {
            return drop(send.send(Said::Failed(failure)));
        }
        // Which of two cases came first is not this thread's to say.
        auditor.seen = SharedOutputs::default();
        let record = auditor.audit(&Task {
            manifest: job.manifest,
            case: job.case,
            expected: job.expected,
            expected_file: &job.expected_file,
            progress: &|_| {},
        });
        let device = DeviceRecord { device: device.info.clone(), kernels: device.kernels() };
        if send.send(Said::Found(at, Box::new(record), device)).is_err() {
            return;
        }
    }
}

/// The next job that nobody has taken.
fn take<'a, T>(next: &AtomicUsize, jobs: &'a [T]) -> Option<(usize, &'a T)> {
    let at = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| {
        (at < jobs.len()).then_some(at + 1)
    });
    at.ok().and_then(|at| Some((at, jobs.get(at)?)))
}
