//! A CUDA device as a platform: V and Y stay in its memory, its events time the calls.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use super::{Called, Inputs, Part, Platform};
use crate::backend::cuda::nvml::Monitor;
use crate::backend::cuda::{Buffer, CALLS_MAX, CudaError, Device, DeviceMatrix, Layout, Timer};
use crate::operator::{DeviceBuilt, DeviceOperator, Error};
use contract::dtype::Dtype;
use record::timings::{ElementBytes, Sample};

/// A (on the host), V and Y of one case on a device. V and Y are there once for each dtype and layout that
/// a contender wants.
pub struct CudaPlatform<'a> {
    device: Arc<Device>,
    timer: Timer,
    monitor: Option<&'a Monitor>,
    a: ArrayView2<'a, f32>,
    v: ArrayView2<'a, f32>,
    inputs: Vec<DeviceMatrix>,
    outputs: Vec<DeviceMatrix>,
    /// What was built of A, by name, until the platform goes: it serves other V as well.
    built: HashMap<String, Arc<dyn DeviceBuilt>>,
    /// What was written last: index of its output, and who reads it.
    last: Option<(usize, Arc<dyn DeviceBuilt>)>,
    /// More than twice the L2.
    flush: Buffer,
}

/// A contender built on the device, and where its V and Y are.
pub struct CudaBuilt {
    built: Arc<dyn DeviceBuilt>,
    input: usize,
    output: usize,
}

impl<'a> CudaPlatform<'a> {
    /// For A (m x k) and V (k x n). `monitor` is asked for the state after each sample.
    pub fn new(
        device: &Arc<Device>,
        monitor: Option<&'a Monitor>,
        a: ArrayView2<'a, f32>,
        v: ArrayView2<'a, f32>,
    ) -> Result<CudaPlatform<'a>, CudaError> {
        let flush = Buffer::new(
            device,
            3 * device.info.l2_bytes as usize,
            "a buffer to empty the L2 with",
        )?;
        Ok(CudaPlatform {
            device: device.clone(),
            timer: Timer::new(device)?,
            monitor,
            a,
            v,
            inputs: Vec::new(),
            outputs: Vec::new(),
            built: HashMap::new(),
            last: None,
            flush,
        })
    }

    /// Y (m x n) of what was built of A and `v`, of the shape of V; `None` where nothing was built. Gives the
    /// device's memory back that timed calls used.
    pub fn apply_built(
        &mut self,
        operator: &Arc<dyn DeviceOperator>,
        v: ArrayView2<'_, f32>,
    ) -> Result<Option<Array2<f32>>, Error> {
        (self.inputs, self.outputs, self.last) = Default::default();
        let Some(built) = self.built.get(&operator.name()) else { return Ok(None) };
        let v = operator.upload(&self.device, v)?;
        let mut y = operator.room(&self.device, (self.a.nrows(), v.cols))?;
        y.poison()?;
        built.launch(&v, &mut y)?;
        built.read(&y).map(Some)
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

impl Platform for CudaPlatform<'_> {
    type Operator = Arc<dyn DeviceOperator>;
    type Built = CudaBuilt;

    fn threads(&self) -> usize {
        1
    }

    fn device(&self) -> Option<String> {
        Some(self.device.info.name.clone())
    }

    fn build(&mut self, operator: &Arc<dyn DeviceOperator>) -> Result<CudaBuilt, String> {
        let failed = |error: CudaError| error.to_string();
        let shape = (self.a.nrows(), self.v.ncols());
        let (input, output) =
            ((operator.input(), operator.layout()), (operator.output(), operator.layout()));
        let input = find_or_make(&mut self.inputs, input, || operator.upload(&self.device, self.v));
        let output = find_or_make(&mut self.outputs, output, || operator.room(&self.device, shape));
        let (input, output) = (input.map_err(failed)?, output.map_err(failed)?);
        // One built before goes first: two would hold twice the memory.
        self.built.remove(&operator.name());
        let built: Arc<dyn DeviceBuilt> = operator
            .build(&self.device, self.a, self.v.ncols())
            .map_err(|error| error.to_string())?
            .into();
        self.device.synchronize().map_err(failed)?;
        self.built.insert(operator.name(), built.clone());
        Ok(CudaBuilt { built, input, output })
    }

    fn bytes_held(&self, built: &CudaBuilt) -> usize {
        built.built.bytes_held()
    }

    fn plan(&self, built: &CudaBuilt) -> String {
        built.built.plan().to_string()
    }

    fn shape(&self) -> (usize, usize) {
        (self.a.nrows(), self.v.ncols())
    }

    fn prepare(&mut self, _calls: usize) -> Result<(), String> {
        let poisoned = self.outputs.iter_mut().try_for_each(DeviceMatrix::poison);
        poisoned.and_then(|()| self.device.synchronize()).map_err(|error| error.to_string())
    }

    fn calls_max(&self) -> usize {
        CALLS_MAX
    }

    fn sample(
        &mut self,
        built: &mut CudaBuilt,
        _inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        let (v, y) = (&self.inputs[built.input], &mut self.outputs[built.output]);
        self.last = Some((built.output, built.built.clone()));
        let span = self
            .timer
            .time(calls, &mut || built.built.launch(v, y).map_err(|error| error.to_string()))?;
        // A state that cannot be had leaves the sample as it is.
        let state = self.monitor.and_then(|monitor| monitor.state().ok());
        Ok(Sample { time_ns: span.device_ns, host_ns: Some(span.host_ns), state })
    }

    fn run(&mut self, built: &mut CudaBuilt, calls: usize) -> Result<(), String> {
        let (v, y) = (&self.inputs[built.input], &mut self.outputs[built.output]);
        self.last = Some((built.output, built.built.clone()));
        for _ in 0..calls {
            built.built.launch(v, y).map_err(|error| error.to_string())?;
        }
        self.device.synchronize().map_err(|error| error.to_string())
    }

    fn has_outputs_of_each(&self) -> bool {
        false
    }

    fn output(&mut self, _call: usize, part: &Part) -> Result<Called, String> {
        let (output, built) = self.last.as_ref().ok_or("nothing was written")?;
        let y = built.read(&self.outputs[*output]).map_err(|error| error.to_string())?;
        Ok(Called::of(part, self.v, y.view()))
    }

    fn flush(&mut self, _built: &mut CudaBuilt) -> Result<(), String> {
        let flushed = self.flush.fill(1).and_then(|()| self.device.synchronize());
        flushed.map_err(|error| error.to_string())
    }
}

/// Bytes of A's, V's and Y's elements on the device.
pub fn element_bytes(dtype: Dtype, output: Dtype) -> ElementBytes {
    ElementBytes { a: dtype.size(), v: dtype.size(), y: output.size() }
}
