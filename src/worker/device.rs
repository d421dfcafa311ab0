//! A device of a worker, from the judge's side.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::message::{DeviceContender, DeviceReply, DeviceRequest, Reply, Request};
use super::process::{Fault, Worker};
use super::slot::Slot;
use crate::backend::cuda::{CudaError, NormalDraw};
use crate::backend::shared::{SharedInput, SharedOutputs};
use crate::baseline::Host;
use crate::baseline::cuda::DeviceRival;
use crate::operator::{Built, Error, Operator, Plan, Staged};
use crate::published::Normals;
use contract::arithmetic::Arithmetic;
use contract::dtype::Dtype;
use contract::words::visible;
use record::baseline::Missing;
use record::device::{DeviceInfo, KernelRecord};

/// Time for a request. Kernels are compiled in the first ones, and large matrices are packed and sent.
const LIMIT: Duration = Duration::from_secs(600);

/// A device that another process has. That process is started again where it was lost.
pub struct RemoteDevice {
    pub info: DeviceInfo,
    capability: (i32, i32),
    /// What counts the device's energy, or why nothing does.
    energy: Result<String, String>,
    threads: usize,
    state: Mutex<State>,
}

struct State {
    worker: Slot,
    /// Kernels that ran, also in workers that are gone.
    kernels: Vec<KernelRecord>,
}

fn start(threads: usize) -> Slot {
    let started = Worker::start(Host::Cuda).and_then(|mut worker| {
        worker.open(threads, LIMIT)?;
        Ok(worker)
    });
    Slot::of(Host::Cuda, started)
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
        let mut worker = start(1);
        match ask(&mut worker, DeviceRequest::Names, &[])? {
            DeviceReply::Names(names) => Ok(names),
            other => Err(worker.misled(&other)),
        }
    }

    /// Opens device `ordinal`, counted as `CUDA_VISIBLE_DEVICES` leaves them. The worker dies with the calling thread.
    pub fn open(ordinal: usize, threads: usize) -> Result<Arc<RemoteDevice>, Error> {
        let mut worker = start(threads);
        match ask(&mut worker, DeviceRequest::Open { ordinal }, &[])? {
            DeviceReply::Opened { info, capability, energy } => Ok(Arc::new(RemoteDevice {
                info,
                capability,
                energy,
                threads,
                state: Mutex::new(State { worker, kernels: Vec::new() }),
            })),
            other => Err(worker.misled(&other)),
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

    /// Starts the worker again if it was lost. It dies with the calling thread.
    pub fn revive(&self) {
        let mut state = self.lock();
        if state.worker.fault().is_none() {
            return;
        }
        state.worker = start(self.threads);
        let ordinal = self.info.ordinal;
        // Why it cannot be opened is what the next request is told.
        match ask(&mut state.worker, DeviceRequest::Open { ordinal }, &[]) {
            Ok(DeviceReply::Opened { info, .. }) if info == self.info => {}
            Ok(other) => drop(state.worker.misled(&other)),
            Err(error) => {
                let fault = Fault::of(Host::Cuda, &format!("does not open it again: {error}"));
                state.worker = Slot::of(Host::Cuda, Err(fault));
            }
        }
    }

    /// Asks. After a fault nothing more is, until [`RemoteDevice::revive`].
    pub fn ask(
        &self,
        request: DeviceRequest,
        files: &[BorrowedFd<'_>],
    ) -> Result<DeviceReply, Error> {
        ask(&mut self.lock().worker, request, files)
    }

    /// What was answered that was not asked for ends the worker.
    pub fn misled<T>(&self, reply: &DeviceReply) -> Result<T, Error> {
        Err(self.lock().worker.misled(reply))
    }

    /// Asks for something that has no other answer than that it was done.
    pub fn order(&self, request: DeviceRequest, files: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match self.ask(request, files)? {
            DeviceReply::NotBuilt => Ok(()),
            other => self.misled(&other),
        }
    }

    /// Builds, or applies: how A is held, and bytes of it.
    pub fn applied(
        &self,
        request: DeviceRequest,
        files: &[BorrowedFd<'_>],
    ) -> Result<Option<(Plan, usize)>, Error> {
        match self.ask(request, files)? {
            DeviceReply::Applied { strategy, reason, bytes_held } => {
                let reason = visible(&reason).into_owned();
                Ok(Some((Plan { strategy, reason }, bytes_held)))
            }
            DeviceReply::NotBuilt => Ok(None),
            other => self.misled(&other),
        }
    }

    /// The kernels that ran on it.
    pub fn kernels(&self) -> Vec<KernelRecord> {
        let found = match self.ask(DeviceRequest::Kernels, &[]) {
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
    ) -> Result<(Vec<DeviceRival>, Vec<Missing>), Error> {
        match self.ask(DeviceRequest::Rivals { dtype, output, arithmetic }, &[])? {
            DeviceReply::Rivals { rivals, missing } => Ok((rivals, missing)),
            other => self.misled(&other),
        }
    }

    /// Y = A V once, by a contender that is built for it.
    pub fn apply(
        &self,
        contender: DeviceContender,
        a: &SharedInput,
        v: &SharedInput,
        [m, k, n]: [usize; 3],
    ) -> Result<(Array2<f32>, Plan, usize), Error> {
        let out = SharedOutputs::new(1, m * n, f32::NAN.to_bits())?;
        let request = DeviceRequest::Apply { m, k, n, contender };
        let applied = self.applied(request, &[a.file(), v.file(), out.file()])?;
        let Some((plan, bytes_held)) = applied else { return self.misled(&DeviceReply::NotBuilt) };
        Ok((out.read(0, (m, n))?, plan, bytes_held))
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
        self.order(request, &[drawn.file()])?;
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
        let energy = match self.device.ask(DeviceRequest::Energy, &[]) {
            Ok(DeviceReply::Energy(microjoules)) => Ok(microjoules),
            Ok(other) => self.device.misled(&other),
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

/// V in memory that the worker can read.
struct StagedV(SharedInput);

impl Operator for RemoteOwn {
    fn name(&self) -> String {
        crate::operator::SKIP_DEVICE.into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let (device, contender) = (self.device.clone(), self.contender.clone());
        let shared = SharedInput::of(a)?;
        Ok(Box::new(RemoteBuilt { device, contender, a, shared, last: Mutex::new(None) }))
    }

    fn stage(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &mut Staged,
        _threads: usize,
    ) -> Result<(), Error> {
        let shared = SharedInput::of(v)?;
        // A new one each time: what is there may be another V's.
        staged.reuse_or(|_: &StagedV| false, || StagedV(shared));
        Ok(())
    }
}

/// Built in the worker by each apply.
struct RemoteBuilt<'a> {
    device: Arc<RemoteDevice>,
    contender: DeviceContender,
    a: ArrayView2<'a, f32>,
    shared: SharedInput,
    last: Mutex<Option<(Plan, usize)>>,
}

impl RemoteBuilt<'_> {
    fn last(&self) -> Option<(Plan, usize)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Built for RemoteBuilt<'_> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        _threads: usize,
    ) -> Result<(), Error> {
        let staged: &StagedV = staged.get()?;
        let (m, k) = self.a.dim();
        let shape = [m, k, v.ncols()];
        let (out, plan, bytes_held) =
            self.device.apply(self.contender.clone(), &self.shared, &staged.0, shape)?;
        y.assign(&out);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((plan, bytes_held));
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
