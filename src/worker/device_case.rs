//! One case on a CUDA device, in the worker that has the device: V and Y stay in its memory, its events time the calls.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use crate::backend::cuda::nvml::Monitor;
use crate::backend::cuda::{Buffer, CudaError, Device, DeviceMatrix, Layout, Timer};
use crate::operator::{DeviceBuilt, DeviceOperator, Error};
use contract::dtype::Dtype;
use record::timings::Sample;

/// A (on the host), V and Y of one case on a device. V and Y are there once for each dtype and layout that
/// a contender wants.
pub struct DeviceCase<'a> {
    device: Arc<Device>,
    timer: Timer,
    monitor: Option<&'a Monitor>,
    a: ArrayView2<'a, f32>,
    v: ArrayView2<'a, f32>,
    inputs: Vec<DeviceMatrix>,
    outputs: Vec<DeviceMatrix>,
    /// What was built of A, by name, until the platform goes: it serves other V as well.
    built: HashMap<String, Contender>,
    /// More than twice the L2.
    flush: Buffer,
}

/// An operator, and what it built of A.
type Contender = (Arc<dyn DeviceOperator>, Arc<dyn DeviceBuilt>);

/// A contender built on the device, and where its V and Y are.
#[derive(Clone)]
pub struct BuiltCase {
    pub built: Arc<dyn DeviceBuilt>,
    input: usize,
    output: usize,
}

impl<'a> DeviceCase<'a> {
    /// For A (m x k) and V (k x n). `monitor` is asked for the state after each sample.
    pub fn new(
        device: &Arc<Device>,
        monitor: Option<&'a Monitor>,
        a: ArrayView2<'a, f32>,
        v: ArrayView2<'a, f32>,
    ) -> Result<DeviceCase<'a>, CudaError> {
        let flush = Buffer::new(
            device,
            3 * device.info.l2_bytes as usize,
            "a buffer to empty the L2 with",
        )?;
        Ok(DeviceCase {
            device: device.clone(),
            timer: Timer::new(device)?,
            monitor,
            a,
            v,
            inputs: Vec::new(),
            outputs: Vec::new(),
            built: HashMap::new(),
            flush,
        })
    }

    /// Y (m x n) of what was built of A under that name and `v`, of the shape of V, and the bytes that it holds; `None`
    /// where nothing was built. Gives the device's memory back that timed calls used.
    pub fn apply_built(
        &mut self,
        name: &str,
        v: ArrayView2<'_, f32>,
    ) -> Result<Option<(Array2<f32>, usize)>, Error> {
        (self.inputs, self.outputs) = Default::default();
        let Some((operator, built)) = self.built.get(name) else { return Ok(None) };
        let v = operator.upload(&self.device, v)?;
        let mut y = operator.room(&self.device, (self.a.nrows(), v.cols))?;
        y.poison()?;
        built.launch(&v, &mut y)?;
        Ok(Some((built.read(&y)?, built.bytes_held())))
    }

    /// Drops what was built under a name.
    pub fn forget(&mut self, name: &str) {
        self.built.remove(name);
    }
}

/// The index of the matrix of this kind, made if there is none.
fn find_or_make(
    matrices: &mut Vec<DeviceMatrix>,
    (dtype, layout): (Dtype, Layout),
    make: impl FnOnce() -> Result<DeviceMatrix, CudaError>,
) -> Result<usize, CudaError> {
    let is_it = |there: &DeviceMatrix| (there.dtype, there.layout) == (dtype, layout);
    match matrices.iter().position(is_it) {
        Some(index) => Ok(index),
        None => {
            matrices.push(make()?);
            Ok(matrices.len() - 1)
        }
    }
}

impl<'a> DeviceCase<'a> {
    /// Builds a contender from A and returns when that is done, on the device as well. One of that name goes first.
    pub fn build(&mut self, operator: &Arc<dyn DeviceOperator>) -> Result<BuiltCase, Error> {
        let shape = (self.a.nrows(), self.v.ncols());
        let (input, output) =
            ((operator.input(), operator.layout()), (operator.output(), operator.layout()));
        let input =
            find_or_make(&mut self.inputs, input, || operator.upload(&self.device, self.v))?;
        let output =
            find_or_make(&mut self.outputs, output, || operator.room(&self.device, shape))?;
        // Two would hold twice the memory.
        self.built.remove(&operator.name());
        let built: Arc<dyn DeviceBuilt> =
            operator.build(&self.device, self.a, self.v.ncols())?.into();
        self.device.synchronize()?;
        self.built.insert(operator.name(), (operator.clone(), built.clone()));
        Ok(BuiltCase { built, input, output })
    }

    /// Makes `v` (k x n) what the next calls multiply.
    pub fn take(&mut self, v: ArrayView2<'a, f32>) -> Result<(), Error> {
        self.v = v;
        self.inputs.iter_mut().try_for_each(|input| input.write(v))?;
        Ok(self.device.synchronize()?)
    }

    /// Makes every element of every Y a NaN.
    pub fn poison(&mut self) -> Result<(), Error> {
        let poisoned = self.outputs.iter_mut().try_for_each(DeviceMatrix::poison);
        Ok(poisoned.and_then(|()| self.device.synchronize())?)
    }

    /// Times calls back to back, at most as many as the timer takes.
    pub fn sample(&mut self, built: &BuiltCase, calls: usize) -> Result<Sample, String> {
        let (v, y) = (&self.inputs[built.input], &mut self.outputs[built.output]);
        let span = self
            .timer
            .time(calls, &mut || built.built.launch(v, y).map_err(|error| error.to_string()))?;
        // A state that cannot be had leaves the sample as it is.
        let state = self.monitor.and_then(|monitor| monitor.state().ok());
        Ok(Sample { time_ns: span.device_ns, host_ns: Some(span.host_ns), state })
    }

    /// Makes calls without timing them.
    pub fn run(&mut self, built: &BuiltCase, calls: usize) -> Result<(), Error> {
        let (v, y) = (&self.inputs[built.input], &mut self.outputs[built.output]);
        for _ in 0..calls {
            built.built.launch(v, y)?;
        }
        Ok(self.device.synchronize()?)
    }

    /// Y as a contender's calls left it, or some rows of it.
    pub fn output(&self, built: &BuiltCase, rows: Option<&[usize]>) -> Result<Array2<f32>, Error> {
        let y = &self.outputs[built.output];
        match rows {
            None => built.built.read(y),
            Some(rows) => built.built.read_rows(y, rows),
        }
    }

    /// Leaves nothing of A, V and Y in the L2.
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(self.flush.fill(1).and_then(|()| self.device.synchronize())?)
    }
}
