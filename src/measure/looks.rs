//! Looking at outputs: at once, or by threads of their own while a device goes on.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;

use super::lane::Lane;
use super::schedule::Check;
use super::{Called, Clock, Part, Platform};
use crate::backend::cpu::{give_way, with_threads};
use crate::panics;
use contract::threads;

/// Whole outputs that wait to be looked at have so many bytes at most, unless one has more.
const BYTES_WAITING_MAX: usize = 1 << 30;
/// So many samples' outputs wait for a thread at most.
const WAITING_MAX: usize = 64;
/// Threads that look: most looks are too small for all of a pool.
const LOOKING: usize = 4;

/// Outputs of a lane that were read.
pub struct Look {
    /// An `Err` counts as an output that is wrong.
    pub outputs: Vec<Result<Called, String>>,
    pub of: Of,
}

/// Which calls were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The first one, whole.
    FirstCall,
    /// Those of a sample.
    Sample {
        /// Whether nothing wrong makes the contender right.
        is_checked: bool,
    },
}

/// An output on its way.
struct Job {
    lane: usize,
    name: String,
    look: Look,
}

/// What was found.
struct Found {
    lane: usize,
    of: Of,
    outcome: Result<(), String>,
    bytes: usize,
}

/// What looks at outputs.
pub struct Looks<'c> {
    check: &'c Check<'c>,
    /// Threads that look, where there are any, and what they find. A lane's outputs are all looked at by the same one, in the
    /// order of its calls.
    beside: Option<(Vec<SyncSender<Job>>, Receiver<Found>)>,
    /// Looks of each lane that nothing is known of yet.
    waiting: Vec<usize>,
    /// Bytes of whole outputs among them.
    bytes: usize,
}

/// Why an output was not looked at.
const NOBODY: &str = "nobody was there to look at an output";

impl<'c> Looks<'c> {
    /// For so many lanes; at once.
    pub fn new(check: &'c Check<'c>, lanes: usize) -> Looks<'c> {
        Looks { check, beside: None, waiting: vec![0; lanes], bytes: 0 }
    }

    /// From now on threads of `scope` look, each with a pool of so many threads; where none can be had, all goes on at once.
    /// The threads end with the looks.
    pub fn go_on_beside<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, pool: usize)
    where
        'c: 'scope,
    {
        let (tell, found) = channel();
        let check = self.check;
        let looking = (0..LOOKING.min(self.waiting.len())).map_while(|_| {
            let (jobs, received) = sync_channel::<Job>(WAITING_MAX);
            let tell = tell.clone();
            let look = move || {
                // Timed calls are released and waited for by another thread.
                give_way();
                let received = Mutex::new(received);
                let all = || {
                    let received = received.lock().unwrap_or_else(PoisonError::into_inner);
                    for Job { lane, name, look } in received.iter() {
                        let (of, bytes) = (look.of, look.bytes());
                        let outcome = panics::catch(|| look_at(check, &name, look));
                        let outcome = outcome.unwrap_or_else(|panicked| Err(panicked.to_string()));
                        if tell.send(Found { lane, of, outcome, bytes }).is_err() {
                            return;
                        }
                    }
                };
                // Without a pool as well: what was sent already is waited for.
                if with_threads(pool, all).is_err() {
                    all();
                }
            };
            threads::spawn(scope, look).map(|_| jobs)
        });
        let looking: Vec<_> = looking.collect();
        if !looking.is_empty() {
            self.beside = Some((looking, found));
        }
    }

    /// Whether nothing is known yet of something that was read of a lane.
    pub fn is_waiting(&self, lane: usize) -> bool {
        self.waiting[lane] > 0
    }

    /// Looks at what was read of a lane, or has it looked at. Returns the nanoseconds that it took here.
    pub fn give<P: Platform>(
        &mut self,
        lanes: &mut [Lane<P>],
        lane: usize,
        look: Look,
        clock: &dyn Clock,
    ) -> u64 {
        let start = clock.now_ns();
        let (name, of) = (lanes[lane].name().to_owned(), look.of);
        match &self.beside {
            None => lanes[lane].note(of, look_at(self.check, &name, look)),
            Some((jobs, _)) => {
                let bytes = look.bytes();
                match jobs[lane % jobs.len()].send(Job { lane, name, look }) {
                    Ok(()) => {
                        self.waiting[lane] += 1;
                        self.bytes += bytes;
                    }
                    Err(_) => lanes[lane].note(of, Err(NOBODY.to_owned())),
                }
                self.note_found(lanes, |looks| looks.bytes > BYTES_WAITING_MAX);
            }
        }
        clock.now_ns() - start
    }

    /// Waits until all is known of a lane, or of all of them. Returns the nanoseconds that it took.
    pub fn wait_for<P: Platform>(
        &mut self,
        lanes: &mut [Lane<P>],
        lane: Option<usize>,
        clock: &dyn Clock,
    ) -> u64 {
        let start = clock.now_ns();
        self.note_found(lanes, |looks| match lane {
            Some(lane) => looks.is_waiting(lane),
            None => looks.waiting.iter().any(|&looks| looks > 0),
        });
        clock.now_ns() - start
    }

    /// Notes what was found so far, and waits for more as long as `is_waited_for`.
    fn note_found<P: Platform>(
        &mut self,
        lanes: &mut [Lane<P>],
        is_waited_for: impl Fn(&Self) -> bool,
    ) {
        let Some((_, found)) = &self.beside else { return };
        loop {
            let next = match found.try_recv() {
                Err(TryRecvError::Empty) if is_waited_for(self) => found.recv().ok(),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => None,
                Ok(next) => Some(next),
            };
            let Some(Found { lane, of, outcome, bytes }) = next else {
                // Whoever looked is gone: nothing will be known of what waits.
                for (lane, waiting) in lanes.iter_mut().zip(&mut self.waiting) {
                    if std::mem::take(waiting) > 0 {
                        lane.note(Of::Sample { is_checked: false }, Err(NOBODY.to_owned()));
                    }
                }
                self.bytes = 0;
                return;
            };
            self.waiting[lane] -= 1;
            self.bytes -= bytes;
            lanes[lane].note(of, outcome);
        }
    }
}

impl Look {
    /// Of whole outputs.
    fn bytes(&self) -> usize {
        let called = self.outputs.iter().flatten();
        let whole = called.filter(|called| called.part == Part::Whole);
        whole.map(|called| 4 * (called.y.len() + called.v.len())).sum()
    }
}

/// One wrong output is enough, and the first reason is kept.
fn look_at(check: &Check<'_>, name: &str, look: Look) -> Result<(), String> {
    let mut outcome = Ok(());
    for output in look.outputs {
        outcome = outcome.and(output.and_then(|called| check(name, &called)));
    }
    outcome
}
