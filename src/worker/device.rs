//! A device and the two workers that have it, from the judge's side.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::message::{DeviceContender, DeviceReply, DeviceRequest, Reply, Request};
use super::process::{Fault, Worker};
use super::slot::Slot;
use crate::backend::cuda::{CudaError, NormalDraw};
use crate::backend::shared::{BESIDE, SharedInput, SharedOutputs};
use crate::baseline::Host;
use crate::baseline::cuda::{DeadRows, DeviceRival};
use crate::operator::{Built, Error, Operator, Plan, Staged};
use crate::published::Normals;
use contract::arithmetic::Arithmetic;
use contract::dtype::Dtype;
use contract::words::visible;
use record::baseline::Missing;
use record::device::{DeviceInfo, KernelRecord};
use record::timings::Window;

/// Time for a request. Kernels are compiled in the first ones, and large matrices are packed and sent.
const LIMIT: Duration = Duration::from_secs(600);

/// Which of the processes that have a device is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one that owns inputs and outputs, and has our own kernels.
    Custodian,
    /// The one that has the vendor's libraries.
    Libraries,
}

impl Place {
    /// Where a contender runs.
    pub fn of(contender: &DeviceContender) -> Place {
        match contender {
            DeviceContender::Own { .. } => Place::Custodian,
            DeviceContender::Rival(_) => Place::Libraries,
        }
    }

    fn host(self) -> Host {
        match self {
            Place::Custodian => Host::Cuda,
            Place::Libraries => Host::CudaLibraries,
        }
    }
}

/// A device that other processes have. A process is started again where it was lost.
pub struct RemoteDevice {
    pub info: DeviceInfo,
    capability: (i32, i32),
    /// What counts the device's energy, or why nothing does.
    energy: Result<String, String>,
    threads: usize,
    /// Energy of the device at rest, once somebody waited for it.
    pub idle: OnceLock<Result<Window, String>>,
    state: Mutex<State>,
}

struct State {
    custodian: Slot,
    libraries: Slot,
    /// Kernels that ran, also in workers that are gone.
    kernels: Vec<KernelRecord>,
}

impl State {
    fn worker(&mut self, place: Place) -> &mut Slot {
        match place {
            Place::Custodian => &mut self.custodian,
            Place::Libraries => &mut self.libraries,
        }
    }
}

fn start(place: Place, threads: usize) -> Slot {
    let host = place.host();
    let started = Worker::start(host).and_then(|mut worker| {
        worker.open(threads, LIMIT)?;
        Ok(worker)
    });
    Slot::of(host, started)
}

fn ask(
    worker: &mut Slot,
    request: DeviceRequest,
    files: &[BorrowedFd<'_>],
) -> Result<DeviceReply, Error> {
    // Hints of several lines are ours.
    let shown = |reason: &str| reason.lines().map(visible).collect::<Vec<_>>().join("\n");
    match worker.ask(&Request::Device(request), files, LIMIT) {
        Ok(Reply::Device(reply)) => Ok(reply),
        Ok(other) => Err(worker.misled(&other)),
        Err(Error::Unsupported(reason)) => Err(Error::Unsupported(shown(&reason))),
        Err(Error::Environment(reason)) => Err(Error::Environment(shown(&reason))),
    }
}

impl RemoteDevice {
    /// The names of all devices, by ordinal, or why none can be used.
    pub fn names() -> Result<Vec<String>, Error> {
        let mut worker = start(Place::Custodian, 1);
        match ask(&mut worker, DeviceRequest::Names, &[])? {
            DeviceReply::Names(names) => Ok(names),
            other => Err(worker.misled(&other)),
        }
    }

    /// Opens device `ordinal`, counted as `CUDA_VISIBLE_DEVICES` leaves them, in the custodian. It dies with the calling
    /// thread.
    pub fn open(ordinal: usize, threads: usize) -> Result<Arc<RemoteDevice>, Error> {
        let mut custodian = start(Place::Custodian, threads);
        let host = Place::Libraries.host();
        let libraries = Slot::of(host, Err(Fault::of(host, "was not started")));
        match ask(&mut custodian, DeviceRequest::Open { ordinal }, &[])? {
            DeviceReply::Opened { info, capability, energy } => Ok(Arc::new(RemoteDevice {
                info,
                capability,
                energy,
                threads,
                idle: OnceLock::new(),
                state: Mutex::new(State { custodian, libraries, kernels: Vec::new() }),
            })),
            other => Err(custodian.misled(&other)),
        }
    }

    /// Major and minor compute capability.
    pub fn compute_capability(&self) -> (i32, i32) {
        self.capability
    }

    /// What counts the device's energy, or why nothing does.
    pub fn energy(&self) -> &Result<String, String> {
        &self.energy
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process that is not there, or that can do nothing more with the device. It dies with the calling thread.
    pub fn revive(&self, place: Place) {
        let mut state = self.lock();
        if ask(state.worker(place), DeviceRequest::Ready, &[]).is_ok() {
            return;
        }
        if place == Place::Custodian {
            // The memory that it may have opened is gone.
            let host = Place::Libraries.host();
            state.libraries = Slot::of(host, Err(Fault::of(host, "was ended with its device's")));
        }
        let worker = state.worker(place);
        *worker = start(place, self.threads);
        let ordinal = self.info.ordinal;
        // Why it cannot be opened is what the next request is told.
        match ask(worker, DeviceRequest::Open { ordinal }, &[]) {
            Ok(DeviceReply::Opened { info, .. }) if info == self.info => {}
            Ok(other) => drop(worker.misled(&other)),
            Err(error) => {
                let fault = Fault::of(place.host(), &format!("opens no device: {error}"));
                *worker = Slot::of(place.host(), Err(fault));
            }
        }
    }

    /// Asks. After a fault nothing more is, until [`RemoteDevice::revive`].
    pub fn ask(
        &self,
        place: Place,
        request: DeviceRequest,
        files: &[BorrowedFd<'_>],
    ) -> Result<DeviceReply, Error> {
        ask(self.lock().worker(place), request, files)
    }

    /// What was answered that was not asked for ends the worker.
    pub fn misled<T>(&self, place: Place, reply: &DeviceReply) -> Result<T, Error> {
        Err(self.lock().worker(place).misled(reply))
    }

    /// Asks for something that has no other answer than that it was done.
    pub fn order(
        &self,
        place: Place,
        request: DeviceRequest,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        match self.ask(place, request, files)? {
            DeviceReply::Done => Ok(()),
            other => self.misled(place, &other),
        }
    }

    /// The kernels that ran on it.
    pub fn kernels(&self) -> Vec<KernelRecord> {
        let found = match self.ask(Place::Custodian, DeviceRequest::Kernels, &[]) {
            Ok(DeviceReply::Kernels(kernels)) => kernels,
            _ => Vec::new(),
        };
        let mut state = self.lock();
        for kernel in found {
            if !state.kernels.contains(&kernel) {
                state.kernels.push(kernel);
            }
        }
        state.kernels.sort();
        state.kernels.clone()
    }

    /// The vendor's libraries for cases like this, there or not.
    pub fn rivals(
        &self,
        dtype: Dtype,
        output: Dtype,
        arithmetic: Arithmetic,
        dead: DeadRows,
    ) -> Result<(Vec<DeviceRival>, Vec<Missing>), Error> {
        let request = DeviceRequest::Rivals { dtype, output, arithmetic, dead };
        match self.ask(Place::Libraries, request, &[])? {
            DeviceReply::Rivals { rivals, missing } => Ok((rivals, missing)),
            other => self.misled(Place::Libraries, &other),
        }
    }

    /// Y = A V once for each V (k x n), by our own operator as it is built from A (m x k). A Y lies beside its V, poisoned,
    /// and is all there when this returns. The plan, and the bytes of device memory held.
    pub fn apply(
        &self,
        contender: DeviceContender,
        a: BorrowedFd<'_>,
        shape: [usize; 3],
        pairs: &[(&LentV, &SharedOutputs)],
    ) -> Result<(Plan, usize), Error> {
        let v_numbers = pairs.iter().map(|(v, _)| v.number).collect();
        let request = DeviceRequest::Apply { shape, v_numbers, contender };
        let (of_v, of_y): (Vec<_>, Vec<_>) =
            pairs.iter().map(|(v, y)| (v.values.file(), y.file())).unzip();
        let files = [vec![a], of_v, of_y].concat();
        match self.ask(Place::Custodian, request, &files)? {
            DeviceReply::Applied { strategy, reason, bytes_held } => {
                if pairs.iter().any(|(_, y)| !y.is_guarded(0)) {
                    return Err(Error::Environment(BESIDE.into()));
                }
                let reason = visible(&reason).into_owned();
                Ok((Plan { strategy, reason }, bytes_held))
            }
            other => self.misled(Place::Custodian, &other),
        }
    }

    /// Fills `out` with elements `first`, `first + 1`, ... of a normal tensor as PyTorch draws it.
    pub fn normal(
        &self,
        (seed, first_call, threads): (u64, u64, u32),
        first: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let count = out.len();
        let drawn = SharedOutputs::new(1, count, f32::NAN.to_bits())?;
        let request = DeviceRequest::Normal { seed, first_call, threads, first, count };
        self.order(Place::Custodian, request, &[drawn.file()])?;
        drawn.copy(0, 0..count, out);
        Ok(())
    }
}

/// The counter of a device's energy.
pub struct RemoteMonitor<'a> {
    pub device: &'a RemoteDevice,
    pub name: String,
}

impl RemoteMonitor<'_> {
    /// Microjoules since the driver was loaded, of the whole board.
    pub fn energy_uj(&self) -> Result<u64, String> {
        let energy = match self.device.ask(Place::Custodian, DeviceRequest::Energy, &[]) {
            Ok(DeviceReply::Energy(microjoules)) => Ok(microjoules),
            Ok(other) => self.device.misled(Place::Custodian, &other),
            Err(error) => Err(error),
        };
        energy.map_err(|error| error.to_string())
    }
}

/// Our own operator on a device, in the place of an operator of this process.
pub struct RemoteOwn {
    pub device: Arc<RemoteDevice>,
    pub contender: DeviceContender,
}

/// V in memory that the worker can read, and a number that no other V has.
pub struct LentV {
    values: SharedInput,
    number: u64,
}

impl LentV {
    /// A copy of V.
    pub fn of(v: ArrayView2<'_, f32>) -> Result<LentV, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let values = SharedInput::of(v)?;
        Ok(LentV { values, number: NEXT.fetch_add(1, Ordering::Relaxed) })
    }
}

impl Operator for RemoteOwn {
    fn name(&self) -> String {
        crate::operator::SKIP_DEVICE.into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let (device, contender) = (self.device.clone(), self.contender.clone());
        let shared = SharedInput::of(a)?;
        Ok(Box::new(RemoteBuilt { device, contender, a, shared, last: Mutex::default() }))
    }

    fn stage(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &mut Staged,
        _threads: usize,
    ) -> Result<(), Error> {
        // A new one each time: what is there may be another V's.
        let lent = LentV::of(v)?;
        staged.reuse_or(|_: &LentV| false, || lent);
        Ok(())
    }
}

/// Built in the worker by each apply.
struct RemoteBuilt<'a> {
    device: Arc<RemoteDevice>,
    contender: DeviceContender,
    a: ArrayView2<'a, f32>,
    shared: SharedInput,
    last: Mutex<Last>,
}

/// What is left of the last apply.
#[derive(Default)]
struct Last {
    /// Memory for a Y of so many elements: making it takes longer than filling it again.
    out: Option<(usize, SharedOutputs)>,
    done: Option<(Plan, usize)>,
}

impl RemoteBuilt<'_> {
    fn last(&self) -> Option<(Plan, usize)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).done.clone()
    }
}

impl Built for RemoteBuilt<'_> {
    fn apply(
        &self,
        _v: ArrayView2<'_, f32>,
        staged: &Staged,
        y: ArrayViewMut2<'_, f32>,
        _threads: usize,
    ) -> Result<(), Error> {
        let ((m, n), k) = (y.dim(), self.a.ncols());
        let v: &LentV = staged.get()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let out = match last.out.take() {
            Some((len, out)) if len == y.len() => {
                out.poison(0);
                out
            }
            _ => SharedOutputs::new(1, y.len(), f32::NAN.to_bits())?,
        };
        let (device, contender) = (&self.device, self.contender.clone());
        let done = device.apply(contender, self.shared.file(), [m, k, n], &[(v, &out)])?;
        out.read_to(0, y)?;
        (last.done, last.out) = (Some(done), Some((m * n, out)));
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        self.last().map_or(0, |(_, bytes_held)| bytes_held)
    }

    fn plan(&self) -> Plan {
        self.last().map_or_else(Plan::of_first_apply, |(plan, _)| plan)
    }
}

impl Normals for RemoteDevice {
    fn name(&self) -> String {
        self.info.name.clone()
    }

    fn ready(&self) -> Result<(), CudaError> {
        // Nothing is drawn, and what is needed for drawing is looked for.
        self.fill(NormalDraw { seed: 0, first_call: 0, threads: 1 }, 0, &mut [])
    }

    fn fill(&self, draw: NormalDraw, first: usize, out: &mut [f32]) -> Result<(), CudaError> {
        let NormalDraw { seed, first_call, threads } = draw;
        self.normal((seed, first_call, threads), first, out)
            .map_err(|error| CudaError::new("drawing normal numbers", error.to_string(), ""))
    }
}
