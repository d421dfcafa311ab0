//! The host as a platform whose contenders are in other processes. Inputs and outputs are in shared memory. The clock
//! around the calls is this process's.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::dtype::Dtype;
use contract::threads;

use ndarray::{Array2, ArrayView2, Axis};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::platform::{Called, Inputs, Part, Platform};
use super::{Clock, Contender};
use crate::backend::cpu::CacheFlush;
use crate::backend::shared::{BESIDE, EncodedInput, SharedInput, SharedOutputs};
use crate::baseline::{DenseLibrary as _, GROUPED, GemmRs, Host, only_dtype};
use crate::operator::elements;
use crate::worker::message::{Contender as Wanted, Reply, Request, Stacked};
use crate::worker::{Hosted, Workers};
use record::baseline::Kind;
use record::timings::Sample;

/// Bytes of V's and Y's that a case has at once, at most, unless one fresh pair and one of the ring take more.
pub const BATCH_BYTES_MAX: u64 = 128 << 20;
/// Fresh calls of a sample, at most: numbers of as many slots fit into a message.
const FRESH_MAX: usize = 256;
/// V's of the ring, which are used again and again, at most.
const RING_MAX: usize = 16;

/// Numbers of V's and Y's of a case of shape m, k, n: fresh ones, and a ring that is used again.
pub fn slots([m, k, n]: [usize; 3]) -> Slots {
    let pair = 4 * (k as u64 * n as u64 + m as u64 * n as u64).max(1);
    let all = usize::try_from(BATCH_BYTES_MAX / pair).unwrap_or(usize::MAX);
    let ring = (all / 4).clamp(1, RING_MAX);
    Slots { fresh: all.saturating_sub(ring).clamp(1, FRESH_MAX), ring, pair_bytes: pair }
}

/// Numbers of V's and Y's of a case: each V has a Y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    pub fresh: usize,
    pub ring: usize,
    pair_bytes: u64,
}

impl Slots {
    /// Fresh slots and those of the ring together.
    pub fn count(self) -> usize {
        self.fresh + self.ring
    }

    /// Bytes of all V's and Y's.
    pub fn bytes(self) -> u64 {
        self.pair_bytes * self.count() as u64
    }
}

/// Draws the V of a number, k x n in f32, row-major. Different numbers give V's from different words of a stream.
pub type Draw<'a> = dyn Fn(u64, &mut [f32]) + Sync + 'a;

/// The V of a number that is not drawn, where there is one.
pub type Given<'a> = dyn Fn(u64) -> Option<ArrayView2<'a, f32>> + Sync + 'a;

/// What the V's of a case are.
#[derive(Clone, Copy)]
pub struct Numbered<'a> {
    /// Draws the V of a number on this side.
    pub draw: &'a Draw<'a>,
    /// Some are these instead.
    pub given: &'a Given<'a>,
}

impl<'a> Numbered<'a> {
    /// All are drawn.
    pub fn drawn(draw: &'a Draw<'a>) -> Numbered<'a> {
        Numbered { draw, given: &|_| None }
    }

    /// Gives `v` the V of a number.
    pub fn fill(&self, number: u64, v: &mut [f32]) {
        match (self.given)(number) {
            Some(given) => v.iter_mut().zip(given).for_each(|(to, &from)| *to = from),
            None => (self.draw)(number, v),
        }
    }
}

/// A (m x k, f32, row-major) in memory that workers can only read.
pub struct SharedA {
    shape: (usize, usize),
    values: SharedInput,
    /// The same in its own dtype, for strangers; there is none of f32.
    encoded: Option<EncodedInput>,
    /// Where it is the A's of all layers, one behind the other: `shape` is then that of the whole.
    stack: Option<Stacked>,
}

impl SharedA {
    /// Changes elements, which every process that has it sees.
    pub fn change(&mut self, elements: impl Iterator<Item = ((usize, usize), f32)>) {
        for ((row, column), value) in elements {
            let at = row * self.shape.1 + column;
            self.values[at] = value;
            if let Some(encoded) = &mut self.encoded {
                encoded.write(at, &[value]);
            }
        }
    }

    /// A of this shape, a panel of rows at a time from `rows`, on up to `threads` threads.
    pub fn of<E: std::fmt::Display>(
        (m, k): (usize, usize),
        threads: usize,
        rows: impl Fn(Range<usize>) -> Result<Array2<f32>, E> + Sync,
    ) -> Result<SharedA, String> {
        const PANEL_BYTES: usize = 4 << 20;
        let mut values = SharedInput::new(m * k).map_err(|error| error.to_string())?;
        let panel = (PANEL_BYTES / (4 * k.max(1))).max(1);
        let failure = Mutex::new(None);
        threads::fill(threads, &mut values[..m * k], panel * k, |start, out| {
            let first = start / k;
            let made = rows(first..first + out.len() / k).map_err(|error| error.to_string());
            let made = made.and_then(|a| {
                let a = a.as_slice().filter(|a| a.len() == out.len());
                a.map(|a| out.copy_from_slice(a)).ok_or_else(|| "A is not row-major".into())
            });
            if let Err(why) = made {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(why),
            None => Ok(SharedA { shape: (m, k), values, encoded: None, stack: None }),
        }
    }

    /// The A's of all layers of a stack, filled by `fill` from the first element of each on.
    pub fn of_stack(
        stack: Stacked,
        mut fill: impl FnMut(usize, &mut [f32]) -> Result<(), String>,
    ) -> Result<SharedA, String> {
        let count = stack.layers.count();
        let last = stack.layers.layers.last().ok_or("a stack without layers")?;
        let shape = (last.m, stack.layers.width());
        let len = elements(&stack.layers, count).start;
        let mut values = SharedInput::new(len).map_err(|error| error.to_string())?;
        for at in 0..count {
            fill(at, &mut values[elements(&stack.layers, at)])?;
        }
        Ok(SharedA { shape, values, encoded: None, stack: Some(stack) })
    }

    /// The stack, where it is the A's of one.
    pub fn stack(&self) -> Option<&Stacked> {
        self.stack.as_ref()
    }

    /// A of a layer of the stack.
    pub fn layer(&self, at: usize) -> ArrayView2<'_, f32> {
        let Some(stack) = &self.stack else { return self.view() };
        let layer = &stack.layers.layers[at % stack.layers.layers.len()];
        let values = &self.values[elements(&stack.layers, at)];
        ArrayView2::from_shape((layer.m, layer.k), values)
            .unwrap_or_else(|_| unreachable!("sized when it was made"))
    }

    /// The same, with a copy in the dtype of its values for an operator under test.
    pub fn encoded(mut self, dtype: Dtype) -> Result<SharedA, String> {
        if dtype != Dtype::F32 {
            let len = self.shape.0 * self.shape.1;
            let mut encoded = EncodedInput::new(len, dtype).map_err(|error| error.to_string())?;
            encoded.write(0, &self.values[..len]);
            self.encoded = Some(encoded);
        }
        Ok(self)
    }

    /// Rows and columns; of a stack the rows of its end, and those of its input.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// What another process maps.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.values.file()
    }

    /// A, as the judge sees it; of a stack that of the last layer.
    pub fn view(&self) -> ArrayView2<'_, f32> {
        if let Some(stack) = &self.stack {
            return self.layer(stack.layers.count() - 1);
        }
        ArrayView2::from_shape(self.shape, &self.values[..self.shape.0 * self.shape.1])
            .unwrap_or_else(|_| unreachable!("m x k values"))
    }
}

/// Workers, and the matrices of one case.
pub struct WorkerPlatform<'a> {
    workers: &'a mut Workers,
    a: &'a SharedA,
    n: usize,
    slots: Slots,
    /// The fresh V's and then the ring's.
    v: SharedInput,
    /// The same in the dtype of A's copy.
    v_encoded: Option<EncodedInput>,
    /// Of strangers' Y's.
    output: Dtype,
    /// Each worker's own, once it has the case: none can write what another gave.
    y: Vec<Option<SharedOutputs>>,
    v_of: Numbered<'a>,
    drawn: u64,
    random: ChaCha8Rng,
    clock: &'a dyn Clock,
    /// Time for any request about this case.
    limit: Duration,
    cache_bytes: u64,
    next_id: u32,
    changes: u64,
    /// Of this process, for contenders that are not trusted with it.
    flush: Option<CacheFlush>,
}

/// A contender, by the place of its host among the workers.
#[derive(Clone, Debug)]
pub struct Remote {
    pub host: usize,
    pub wanted: Wanted,
}

/// A contender that a worker built.
pub struct RemoteBuilt {
    host: usize,
    id: u32,
    plan: String,
    bytes_held: usize,
}

impl<'a> WorkerPlatform<'a> {
    /// The platform of a case with A (m x k) and V's of n columns, which are `v_of`; Y's of a stranger are of dtype
    /// `output`. The order of the ring and the bits of the guard bands follow from `secret`, which no worker is told.
    /// `cache_bytes` are emptied before a cold call.
    pub fn new(
        workers: &'a mut Workers,
        a: &'a SharedA,
        (n, output): (usize, Dtype),
        v_of: Numbered<'a>,
        secret: u64,
        clock: &'a dyn Clock,
        cache_bytes: u64,
    ) -> Result<WorkerPlatform<'a>, String> {
        let (m, k) = a.shape;
        let slots = slots([m, k, n]);
        let random = ChaCha8Rng::seed_from_u64(secret);
        let len = slots.count() * k * n;
        let v = SharedInput::new(len).map_err(|error| error.to_string())?;
        let v_encoded = a.encoded.as_ref().map(|a| EncodedInput::new(len, a.dtype()));
        let v_encoded = v_encoded.transpose().map_err(|error| error.to_string())?;
        let y = workers.hosts.iter().map(|_| None).collect();
        let flops = 2.0 * m as f64 * k as f64 * n as f64;
        // A hundredth of one core's rate, for four calls of a sample.
        let limit_s = 10.0 + flops / 1e8 * slots.fresh.min(4) as f64;
        let mut platform = WorkerPlatform {
            workers,
            a,
            n,
            slots,
            v,
            v_encoded,
            output,
            y,
            v_of,
            drawn: 0,
            random,
            clock,
            limit: Duration::from_secs_f64(limit_s.min(3600.0)),
            cache_bytes,
            next_id: 0,
            changes: 0,
            flush: None,
        };
        // The ring is drawn first: no fresh call gets one of these.
        (slots.fresh..slots.count()).for_each(|slot| platform.draw_next(slot));
        Ok(platform)
    }

    /// Draws the next V, into a slot.
    fn draw_next(&mut self, slot: usize) {
        let len = self.k() * self.n;
        let v = &mut self.v[slot * len..(slot + 1) * len];
        self.v_of.fill(self.drawn, v);
        self.drawn += 1;
        if let Some(encoded) = &mut self.v_encoded {
            encoded.write(slot * len, v);
        }
    }

    fn k(&self) -> usize {
        self.a.shape.1
    }

    /// The Y's of a contender's worker.
    fn y(&self, built: &RemoteBuilt) -> Result<&SharedOutputs, String> {
        self.y[built.host].as_ref().ok_or_else(|| "it has no outputs".into())
    }

    fn order(&mut self, host: usize, request: &Request) -> Result<(), String> {
        self.timed(host, request).map(drop)
    }

    /// The host's worker, which is given the case before the first request about it.
    fn load(&mut self, host: usize) -> Result<&mut Hosted, String> {
        let (m, k) = self.a.shape;
        let (n, slots) = (self.n, self.slots.count());
        let hosted = &mut self.workers.hosts[host];
        if self.y[host].is_none() {
            let of_f32 = (Dtype::F32, self.a.values.file(), self.v.file());
            let ((input, a, v), output) = match (&self.a.encoded, &self.v_encoded) {
                _ if !hosted.is_strange() => (of_f32, Dtype::F32),
                (Some(a), Some(v)) => ((a.dtype(), a.file(), v.file()), self.output),
                _ => (of_f32, self.output),
            };
            let y = SharedOutputs::of(output, slots, m * n, self.random.next_u32());
            let y = y.map_err(|error| error.to_string())?;
            let load = Request::Load { m, k, n, slots, input, output, device: None };
            hosted.order(&load, &[a, v, y.file()], self.limit)?;
            hosted.stand()?;
            self.y[host] = Some(y);
        }
        Ok(hosted)
    }

    /// Slots of the ring in an order that nobody can foresee.
    fn ring(&mut self, calls: usize) -> Vec<u32> {
        let Slots { fresh, ring, .. } = self.slots;
        (0..calls).map(|_| (fresh + self.random.next_u32() as usize % ring) as u32).collect()
    }

    fn slots_of(&mut self, inputs: Inputs, calls: usize) -> Vec<u32> {
        match inputs {
            Inputs::Fresh => (0..calls as u32).collect(),
            Inputs::Ring => self.ring(calls),
        }
    }

    /// Time of a request by this process's clock, in ns: 1 at least.
    fn timed(&mut self, host: usize, request: &Request) -> Result<u64, String> {
        let hosted = &mut self.workers.hosts[host];
        let (_, limit) = hosted.limits(self.limit);
        // It saw no V before its request.
        hosted.require_still()?;
        // Before it may go on: threads of it could keep this one from the processor.
        let start = self.clock.now_ns();
        hosted.thaw();
        let done = hosted.order(request, &[], limit);
        let time_ns = (self.clock.now_ns() - start).max(1);
        self.changes += done?;
        // What it has not written by now comes too late.
        hosted.stand()?;
        Ok(time_ns)
    }
}

impl Platform for WorkerPlatform<'_> {
    type Operator = Remote;
    type Built = RemoteBuilt;

    fn threads(&self) -> usize {
        self.workers.threads
    }

    fn shape(&self) -> (usize, usize) {
        (self.a.shape.0, self.n)
    }

    fn device(&self) -> Option<String> {
        None
    }

    fn hand_over(&mut self, operator: &Remote) -> Result<(), String> {
        self.load(operator.host).map(drop)
    }

    fn build(&mut self, operator: &Remote) -> Result<RemoteBuilt, String> {
        let host = operator.host;
        let before = self.workers.hosts[host].private_bytes();
        let built = self.build_alone(operator)?;
        if !self.workers.hosts[host].is_strange() {
            return Ok(built);
        }
        // What its first call does is a part of its build: nobody knows what it left for then. From that call on it can
        // start no process.
        let slots = self.ring(1);
        let called = self.order(host, &Request::Run { id: built.id, slots });
        let hosted = &mut self.workers.hosts[host];
        // Whoever put it off could start processes: whether one is still there is chance.
        if hosted.fault().is_none() {
            hosted.require_filter()?;
        }
        called?;
        // As the kernel sees it: its own word would be a stranger's.
        let after = hosted.private_bytes();
        let taken = before.zip(after).map_or(0, |(before, after)| after.saturating_sub(before));
        Ok(RemoteBuilt { bytes_held: usize::try_from(taken).unwrap_or(usize::MAX), ..built })
    }

    fn drop_built(&mut self, built: RemoteBuilt) {
        // One that is gone has nothing to drop.
        let _ = self.order(built.host, &Request::Drop { id: built.id });
    }

    fn bytes_held(&self, built: &RemoteBuilt) -> usize {
        built.bytes_held
    }

    fn plan(&self, built: &RemoteBuilt) -> String {
        built.plan.clone()
    }

    fn prepare(&mut self, built: &mut RemoteBuilt, calls: usize) -> Result<(), String> {
        for slot in 0..calls {
            self.draw_next(slot);
            self.y(built)?.poison(slot);
        }
        Ok(())
    }

    fn calls_max(&self) -> usize {
        self.slots.fresh
    }

    fn sample(
        &mut self,
        built: &mut RemoteBuilt,
        inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        let slots = self.slots_of(inputs, calls);
        let time_ns = self.timed(built.host, &Request::Run { id: built.id, slots })? as f64;
        Ok(Sample { time_ns, host_ns: None, state: None })
    }

    fn run(&mut self, built: &mut RemoteBuilt, calls: usize) -> Result<(), String> {
        // As many at once as a message holds with room to spare.
        const AT_ONCE: usize = 1000;
        let mut left = calls;
        while left > 0 {
            let slots = self.ring(left.min(AT_ONCE));
            left -= slots.len();
            self.order(built.host, &Request::Run { id: built.id, slots })?;
        }
        Ok(())
    }

    fn overhead_ns(&mut self, built: &mut RemoteBuilt, calls: usize) -> Option<u64> {
        let request = Request::Nothing { slots: (0..calls as u32).collect() };
        let mut times: Vec<u64> =
            (0..5).map_while(|_| self.timed(built.host, &request).ok()).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    fn outputs(
        &mut self,
        built: &RemoteBuilt,
        parts: &[(usize, Part)],
    ) -> Vec<Result<Called, String>> {
        let mut one = |(call, part): &(usize, Part)| {
            let called = self.read(built, *call, part)?;
            // After it was read: what was read then is what stood there at the reply.
            self.workers.hosts[built.host].require_still()?;
            Ok(called)
        };
        parts.iter().map(&mut one).collect()
    }

    fn float_environment_changes(&mut self) -> u64 {
        std::mem::take(&mut self.changes)
    }

    fn flush(&mut self, built: &mut RemoteBuilt) -> Result<(), String> {
        if self.workers.hosts[built.host].is_strange() {
            // Not left to it.
            self.flush.get_or_insert_with(|| CacheFlush::new(self.cache_bytes)).flush();
            return Ok(());
        }
        self.order(built.host, &Request::Flush { bytes: self.cache_bytes })
    }
}

impl WorkerPlatform<'_> {
    /// A build without a first call, which a stranger's build has otherwise.
    pub fn build_alone(&mut self, operator: &Remote) -> Result<RemoteBuilt, String> {
        let (host, id, limit) = (operator.host, self.next_id, self.limit);
        self.next_id += 1;
        let request = Request::Build { id, contender: operator.wanted.clone() };
        let hosted = self.load(host)?;
        hosted.require_still()?;
        let (limit, _) = hosted.limits(limit);
        let built = match hosted.ask(&request, &[], limit)? {
            Reply::Built { plan, bytes_held } => {
                let plan = contract::words::visible(&plan).to_string();
                RemoteBuilt { host, id, plan, bytes_held }
            }
            other => return Err(hosted.misled(&other)),
        };
        hosted.stand()?;
        Ok(built)
    }

    /// Drops what was built, and says if that failed.
    pub fn close(&mut self, built: &RemoteBuilt) -> Result<(), String> {
        self.order(built.host, &Request::Drop { id: built.id })
    }

    /// The whole Y of a call as it is, whatever was written beside it.
    pub fn whole(&self, built: &RemoteBuilt, call: usize) -> Result<Array2<f32>, String> {
        let (m, n) = (self.a.shape.0, self.n);
        let mut y = vec![f32::NAN; m * n];
        self.y(built)?.copy(call, 0..m * n, &mut y);
        Array2::from_shape_vec((m, n), y).map_err(|error| error.to_string())
    }

    /// A part of a call, as its Y is now.
    fn read(&self, built: &RemoteBuilt, call: usize, part: &Part) -> Result<Called, String> {
        let ((m, k), n) = (self.a.shape, self.n);
        let shared = self.y(built)?;
        let v = &self.v[call * k * n..(call + 1) * k * n];
        let v = ArrayView2::from_shape((k, n), v).map_err(|error| error.to_string())?;
        match part {
            Part::Whole => {
                let y = shared.read(call, (m, n)).map_err(|error| error.to_string())?;
                Ok(Called { part: part.clone(), v: v.to_owned(), y: Arc::new(y) })
            }
            Part::Block { .. } if !shared.is_guarded(call) => Err(BESIDE.into()),
            Part::Block { rows, columns } => {
                let y = |(i, j): (usize, usize)| shared.element(call, rows[i] * n + columns[j]);
                let y = Array2::from_shape_fn((rows.len(), columns.len()), y);
                Ok(Called { part: part.clone(), v: v.select(Axis(1), columns), y: Arc::new(y) })
            }
        }
    }
}

/// All rivals that workers have for A and V of `dtype`; where A is a stack of experts of so many rows, a grouped product too.
pub fn rivals(
    workers: &Workers,
    dtype: Dtype,
    expert_rows: Option<usize>,
) -> Vec<Contender<Remote>> {
    let takes = move |name: &str| only_dtype(name).is_none_or(|only| only == dtype);
    let hosts = workers.hosts.iter().enumerate();
    let grouped = expert_rows.into_iter().flat_map(|rows| {
        let embedded = hosts.clone().find(|(_, hosted)| hosted.host == Host::Embedded);
        let dense = embedded.and_then(|(host, hosted)| {
            let dense = hosted.rivals.iter().find(|rival| rival.name == GemmRs.name())?;
            Some((host, dense))
        });
        dense.map(|(host, dense)| Contender {
            name: GROUPED.to_owned(),
            operator: Remote { host, wanted: Wanted::Grouped { rows } },
            kind: Some(Kind::Compacted),
            library: dense.library.clone(),
            version: dense.version.clone(),
        })
    });
    hosts
        .clone()
        .flat_map(|(host, hosted)| {
            hosted.rivals.iter().filter(move |rival| takes(&rival.name)).map(move |rival| {
                Contender {
                    name: rival.name.clone(),
                    operator: Remote { host, wanted: Wanted::Rival(rival.name.clone()) },
                    kind: Some(rival.kind),
                    library: rival.library.clone(),
                    version: rival.version.clone(),
                }
            })
        })
        .chain(grouped)
        .collect()
}
