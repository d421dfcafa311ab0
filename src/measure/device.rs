//! A device of another process as a platform: V and Y stay in its memory, its events time the calls, and the host's clock
//! looks on.

use std::collections::HashSet;

use ndarray::{Array2, ArrayView2, Axis};

use super::platform::{Called, Inputs, Part, Platform};
use super::workers::{Draw, SharedA};
use crate::backend::cuda::CALLS_MAX;
use crate::backend::shared::{SharedInput, SharedOutputs};
use crate::operator::Error;
use crate::worker::RemoteDevice;
use crate::worker::message::{DeviceContender, DeviceReply, DeviceRequest};
use contract::dtype::Dtype;
use record::timings::{ElementBytes, Sample};

/// The case's own V, and those that timed calls have.
const PLAIN: u32 = 0;
const FRESH: u32 = 1;
const SLOTS: usize = 2;

/// A device of a worker, and the matrices of one case.
pub struct DevicePlatform<'a> {
    device: &'a RemoteDevice,
    shape: [usize; 3],
    v: SharedInput,
    y: SharedOutputs,
    draw: &'a Draw<'a>,
    drawn: u64,
    /// Whoever had the V of now; it is drawn anew for one that had it.
    had: HashSet<String>,
    /// The V that calls multiply now.
    taken: u32,
}

/// A contender on a device.
#[derive(Clone, Debug)]
pub struct OnDeviceNamed {
    pub name: String,
    pub wanted: DeviceContender,
}

/// What a worker built.
pub struct DeviceBuiltThere {
    name: String,
    plan: String,
    bytes_held: usize,
}

fn words(error: Error) -> String {
    error.to_string()
}

impl<'a> DevicePlatform<'a> {
    /// For A (m x k) and the case's V (k x n); `draw` makes those of timed calls.
    pub fn new(
        device: &'a RemoteDevice,
        a: &SharedA,
        v: ArrayView2<'_, f32>,
        draw: &'a Draw<'a>,
        guard: u32,
    ) -> Result<DevicePlatform<'a>, String> {
        let ((m, k), n) = (a.shape(), v.ncols());
        let mut shared = SharedInput::new(SLOTS * k * n).map_err(words)?;
        shared.write(0, v);
        let y = SharedOutputs::new(SLOTS, m * n, guard).map_err(words)?;
        let request = DeviceRequest::Load { m, k, n, slots: SLOTS };
        device.order(request, &[a.file(), shared.file(), y.file()]).map_err(words)?;
        Ok(DevicePlatform {
            device,
            shape: [m, k, n],
            v: shared,
            y,
            draw,
            drawn: 0,
            had: HashSet::new(),
            taken: PLAIN,
        })
    }

    fn v_of(&self, slot: u32) -> ArrayView2<'_, f32> {
        let [_, k, n] = self.shape;
        let first = slot as usize * k * n;
        ArrayView2::from_shape((k, n), &self.v[first..first + k * n])
            .unwrap_or_else(|_| unreachable!("k x n values"))
    }

    fn take(&mut self, slot: u32) -> Result<(), String> {
        self.device.order(DeviceRequest::Take { slot }, &[]).map_err(words)?;
        self.taken = slot;
        Ok(())
    }

    /// So many values at the front of the shared Y.
    fn read(&self, rows: usize) -> Result<Array2<f32>, String> {
        self.y.read(0, (rows, self.shape[2])).map_err(words)
    }

    /// Y (m x n) of what was built of A under that name and `v`, of the shape of V; `None` where nothing was built.
    /// Gives the device's memory back that timed calls used.
    pub fn apply_built(
        &mut self,
        name: &str,
        v: ArrayView2<'_, f32>,
    ) -> Result<Option<Array2<f32>>, String> {
        let [m, k, n] = self.shape;
        self.v.write(FRESH as usize * k * n, v);
        self.y.poison(0);
        let request = DeviceRequest::ApplyBuilt { name: name.to_owned(), slot: FRESH };
        match self.device.applied(request, &[]).map_err(words)? {
            None => Ok(None),
            Some(_) => self.read(m).map(Some),
        }
    }
}

impl Drop for DevicePlatform<'_> {
    fn drop(&mut self) {
        // One that is gone has nothing loaded.
        let _ = self.device.order(DeviceRequest::Unload, &[]);
    }
}

impl Platform for DevicePlatform<'_> {
    type Operator = OnDeviceNamed;
    type Built = DeviceBuiltThere;

    fn threads(&self) -> usize {
        1
    }

    fn shape(&self) -> (usize, usize) {
        (self.shape[0], self.shape[2])
    }

    fn device(&self) -> Option<String> {
        Some(self.device.info.name.clone())
    }

    fn build(&mut self, operator: &OnDeviceNamed) -> Result<DeviceBuiltThere, String> {
        let OnDeviceNamed { name, wanted } = operator.clone();
        let built = self.device.applied(DeviceRequest::Build { contender: wanted }, &[]);
        let (plan, bytes_held) = built.map_err(words)?.ok_or("nothing was built")?;
        Ok(DeviceBuiltThere { name, plan: plan.to_string(), bytes_held })
    }

    fn drop_built(&mut self, built: DeviceBuiltThere) {
        // One that is gone has nothing to drop.
        let _ = self.device.order(DeviceRequest::Drop { name: built.name }, &[]);
    }

    fn bytes_held(&self, built: &DeviceBuiltThere) -> usize {
        built.bytes_held
    }

    fn plan(&self, built: &DeviceBuiltThere) -> String {
        built.plan.clone()
    }

    fn prepare(&mut self, built: &mut DeviceBuiltThere, _calls: usize) -> Result<(), String> {
        if self.taken == PLAIN || self.had.contains(&built.name) {
            let [_, k, n] = self.shape;
            let first = FRESH as usize * k * n;
            (self.draw)(self.drawn, &mut self.v[first..first + k * n]);
            self.drawn += 1;
            self.had.clear();
            self.take(FRESH)?;
        }
        self.had.insert(built.name.clone());
        self.device.order(DeviceRequest::Poison, &[]).map_err(words)
    }

    fn calls_max(&self) -> usize {
        CALLS_MAX
    }

    fn sample(
        &mut self,
        built: &mut DeviceBuiltThere,
        _inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        let request = DeviceRequest::Sample { name: built.name.clone(), calls };
        match self.device.ask(request, &[]).map_err(words)? {
            DeviceReply::Sampled(sample) => Ok(sample),
            other => Err(format!("answered what was not asked: {other:?}")),
        }
    }

    fn run(&mut self, built: &mut DeviceBuiltThere, calls: usize) -> Result<(), String> {
        let request = DeviceRequest::Run { name: built.name.clone(), calls };
        self.device.order(request, &[]).map_err(words)
    }

    fn first(&mut self, built: &mut DeviceBuiltThere) -> Result<Option<Called>, String> {
        if self.taken != PLAIN {
            self.take(PLAIN)?;
        }
        self.device.order(DeviceRequest::Poison, &[]).map_err(words)?;
        self.run(built, 1)?;
        self.output(built, 0, &Part::Whole).map(Some)
    }

    fn has_outputs_of_each(&self) -> bool {
        false
    }

    fn output(
        &mut self,
        built: &DeviceBuiltThere,
        _call: usize,
        part: &Part,
    ) -> Result<Called, String> {
        let rows = match part {
            Part::Whole => None,
            Part::Block { rows, .. } => Some(rows.iter().map(|&row| row as u32).collect()),
        };
        let count = rows.as_ref().map_or(self.shape[0], Vec::len);
        self.y.poison_front(0, count * self.shape[2]);
        let request = DeviceRequest::Output { name: built.name.clone(), slot: 0, rows };
        self.device.order(request, &[]).map_err(words)?;
        let y = self.read(count)?;
        let v = self.v_of(self.taken);
        Ok(match part {
            Part::Whole => Called { part: part.clone(), v: v.to_owned(), y },
            Part::Block { columns, .. } => Called {
                part: part.clone(),
                v: v.select(Axis(1), columns),
                // Selected columns come column by column.
                y: y.select(Axis(1), columns).as_standard_layout().into_owned(),
            },
        })
    }

    fn flush(&mut self, _built: &mut DeviceBuiltThere) -> Result<(), String> {
        self.device.order(DeviceRequest::Flush, &[]).map_err(words)
    }
}

/// Bytes of A's, V's and Y's elements on the device.
pub fn element_bytes(dtype: Dtype, output: Dtype) -> ElementBytes {
    ElementBytes { a: dtype.size(), v: dtype.size(), y: output.size() }
}
