//! A device of other processes as a platform: one owns V's and Y's in slots of the device's memory and has our operator,
//! the other has the vendor's libraries. The clock around the calls is this process's; the device's events look on.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use super::Clock;
use super::kept::{DeviceSlots, Kept, NUMBERS_MAX, words};
use super::platform::{Called, Inputs, Part, Platform, unread};
use super::workers::{Draw, SharedA};
use crate::baseline::cuda::place;
use crate::operator::live_rows;
use crate::worker::message::{DeviceContender, DeviceReply, DeviceRequest, Drawing, Form};
use crate::worker::{Place, RemoteDevice};
use contract::dtype::Dtype;
use record::timings::{ElementBytes, Sample, median};

/// Numbers of the case's own V, and of the perturbed one.
const OWN: u64 = 0;
const OTHER: u64 = 1;
/// Empty samples whose median is the way to a worker and back.
const EMPTY: usize = 9;

/// A device of workers, and the slots of one case.
pub struct DevicePlatform<'a> {
    device: &'a RemoteDevice,
    /// Rows of A with a non-zero.
    live: Vec<usize>,
    /// The case's own V.
    own: ArrayView2<'a, f32>,
    kept: Kept<'a>,
    /// Why the libraries' process cannot have the slots.
    borrowed: Result<(), String>,
    draw: &'a Draw<'a>,
    forms: HashMap<String, (Place, Form)>,
    clock: &'a dyn Clock,
    looks_beside: Option<usize>,
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
    place: Place,
    form: Form,
}

/// The judge's side of what timed calls of a case have.
pub struct Calls<'a> {
    /// Draws on this side what the device draws for itself.
    pub draw: &'a Draw<'a>,
    /// The stream of the same V's, for the device.
    pub drawing: Drawing,
    /// The order of the ring and the bits of the bands follow from it.
    pub secret: u64,
    pub clock: &'a dyn Clock,
    /// As [`Platform::looks_beside`] says.
    pub looks_beside: Option<usize>,
}

impl<'a> DevicePlatform<'a> {
    /// For A (m x k) and the case's own V (k x n).
    pub fn new(
        device: &'a RemoteDevice,
        a: &SharedA,
        own: ArrayView2<'a, f32>,
        slots: DeviceSlots,
        calls: Calls<'a>,
    ) -> Result<DevicePlatform<'a>, String> {
        let kept = Kept::new(device, a, own.ncols(), slots, calls.drawing, calls.secret)?;
        let mut platform = DevicePlatform {
            device,
            live: live_rows(a.view()),
            own,
            kept,
            borrowed: Ok(()),
            draw: calls.draw,
            forms: HashMap::new(),
            clock: calls.clock,
            looks_beside: calls.looks_beside,
        };
        platform.borrowed = platform.lend(a);
        Ok(platform)
    }

    /// Gives the slots to the libraries' process.
    fn lend(&self, a: &SharedA) -> Result<(), String> {
        let Kept { shape, slots, handles, .. } = &self.kept;
        let (shape, slots, handles) = (*shape, slots.fresh + slots.ring, handles.clone());
        let stack = a.stack().cloned();
        let request = DeviceRequest::Borrow { shape, slots, handles, stack };
        self.device.order(Place::Libraries, request, &[a.file()]).map_err(words)
    }

    fn order(&self, place: Place, request: DeviceRequest) -> Result<(), String> {
        self.device.order(place, request, &[]).map_err(words)
    }

    /// The whole Y of a slot.
    fn whole(&self, form: Form, slot: u32) -> Result<Array2<f32>, String> {
        let [m, _, _] = self.kept.shape;
        let rows = if form.live_rows_only { self.live.len() } else { m };
        let y = self.kept.whole(form, slot, rows)?;
        Ok(if rows < m { place(m, &self.live, y.view()) } else { y })
    }

    /// Y (m x n) of what was built of A under a name and of `v`, of the shape of V.
    fn apply(
        &mut self,
        name: &str,
        (place, form): (Place, Form),
        (v, number): (ArrayView2<'_, f32>, u64),
    ) -> Result<Array2<f32>, String> {
        const SLOT: u32 = 0;
        self.kept.put(form, SLOT, v, Some(number))?;
        self.order(place, DeviceRequest::Run { name: name.to_owned(), slots: vec![SLOT] })?;
        self.whole(form, SLOT)
    }

    /// Y (m x n) of what was built of A under a name and of the case's own V or `other`, which is always the same; `None` where
    /// nothing was built.
    pub fn apply_built(
        &mut self,
        name: &str,
        other: Option<ArrayView2<'_, f32>>,
    ) -> Result<Option<Array2<f32>>, String> {
        let v = other.map_or((self.own, OWN), |other| (other, OTHER));
        match self.forms.get(name) {
            None => Ok(None),
            Some(&built) => self.apply(name, built, v).map(Some),
        }
    }

    /// The time from letting calls go until they are done, by this process's clock, and by the device's.
    fn timed(
        &self,
        place: Place,
        name: Option<String>,
        slots: Vec<u32>,
    ) -> Result<(f64, f64), String> {
        self.order(place, DeviceRequest::Hold { name, slots })?;
        let start = self.clock.now_ns();
        let released = self.device.ask(place, DeviceRequest::Release, &[]);
        let host_ns = self.clock.now_ns() - start;
        match released.map_err(words)? {
            DeviceReply::Released(device_ns) => Ok((host_ns as f64, device_ns)),
            other => self.device.misled(place, &other).map_err(words),
        }
    }
}

impl Drop for DevicePlatform<'_> {
    fn drop(&mut self) {
        // The borrower first; one that is gone has nothing loaded.
        let _ = self.order(Place::Libraries, DeviceRequest::Unload);
    }
}

impl Platform for DevicePlatform<'_> {
    type Operator = OnDeviceNamed;
    type Built = DeviceBuiltThere;

    fn threads(&self) -> usize {
        1
    }

    fn shape(&self) -> (usize, usize) {
        (self.kept.shape[0], self.kept.shape[2])
    }

    fn device(&self) -> Option<String> {
        Some(self.device.info.name.clone())
    }

    fn build(&mut self, operator: &OnDeviceNamed) -> Result<DeviceBuiltThere, String> {
        let OnDeviceNamed { name, wanted } = operator.clone();
        let place = Place::of(&wanted);
        if place == Place::Libraries {
            self.borrowed.clone()?;
        }
        let built = self.device.ask(place, DeviceRequest::Build { contender: wanted }, &[]);
        match built.map_err(words)? {
            DeviceReply::Built { strategy, reason, bytes_held, form } => {
                let reason = contract::words::visible(&reason).into_owned();
                let plan = crate::operator::Plan { strategy, reason }.to_string();
                self.forms.insert(name.clone(), (place, form));
                Ok(DeviceBuiltThere { name, plan, bytes_held, place, form })
            }
            other => self.device.misled(place, &other).map_err(words),
        }
    }

    fn drop_built(&mut self, built: DeviceBuiltThere) {
        self.forms.remove(&built.name);
        // One that is gone has nothing to drop.
        let _ = self.order(built.place, DeviceRequest::Drop { name: built.name });
    }

    fn bytes_held(&self, built: &DeviceBuiltThere) -> usize {
        built.bytes_held
    }

    fn plan(&self, built: &DeviceBuiltThere) -> String {
        built.plan.clone()
    }

    fn prepare(&mut self, built: &mut DeviceBuiltThere, calls: usize) -> Result<(), String> {
        self.kept.prepare(built.form, calls)
    }

    fn calls_max(&self) -> usize {
        self.kept.slots.calls_max()
    }

    fn sample(
        &mut self,
        built: &mut DeviceBuiltThere,
        inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        let slots = match inputs {
            Inputs::Fresh => (0..calls as u32).collect(),
            Inputs::Ring => self.kept.ring(built.form, calls)?,
        };
        let (host_ns, time_ns) = self.timed(built.place, Some(built.name.clone()), slots)?;
        let state = self.kept.state()?;
        Ok(Sample { time_ns, host_ns: Some(host_ns), state })
    }

    fn run(&mut self, built: &mut DeviceBuiltThere, calls: usize) -> Result<(), String> {
        for first in (0..calls).step_by(NUMBERS_MAX) {
            let slots = self.kept.ring(built.form, NUMBERS_MAX.min(calls - first))?;
            let request = DeviceRequest::Run { name: built.name.clone(), slots };
            self.order(built.place, request)?;
        }
        Ok(())
    }

    fn overhead_ns(&mut self, built: &mut DeviceBuiltThere, _calls: usize) -> Option<u64> {
        let empty = || self.timed(built.place, None, Vec::new()).map(|(host_ns, _)| host_ns);
        let times: Vec<f64> = (0..EMPTY).map(|_| empty()).collect::<Result<_, _>>().ok()?;
        Some(median(&times) as u64)
    }

    fn first(&mut self, built: &mut DeviceBuiltThere) -> Result<Option<Called>, String> {
        // What draws V's is compiled here, and not in the time of the first warm-up.
        self.kept.ring(built.form, 1)?;
        let y = self.apply(&built.name, (built.place, built.form), (self.own, OWN))?;
        // Whoever looks at it has V.
        let v = Array2::zeros((self.own.nrows(), 0));
        Ok(Some(Called { part: Part::Whole, v, y: Arc::new(y) }))
    }

    fn compares_rivals_whole(&self) -> bool {
        false
    }

    fn looks_beside(&self) -> Option<usize> {
        self.looks_beside
    }

    fn outputs(
        &mut self,
        built: &DeviceBuiltThere,
        parts: &[(usize, Part)],
    ) -> Vec<Result<Called, String>> {
        let form = built.form;
        if let Err(why) = self.kept.inspect(form, &|_| false) {
            return unread(parts, &why);
        }
        // The place of a row in the product; a dead one has none.
        let place_of = |row: usize| match form.live_rows_only {
            false => row as u32,
            true => self.live.binary_search(&row).map_or(u32::MAX, |at| at as u32),
        };
        let whole = |call: usize| {
            let [_, k, n] = self.kept.shape;
            let mut v = vec![0.0; k * n];
            (self.draw)(self.kept.first + call as u64, &mut v);
            let v = Array2::from_shape_vec((k, n), v).map_err(|error| error.to_string())?;
            Ok(Called { part: Part::Whole, v, y: Arc::new(self.whole(form, call as u32)?) })
        };
        self.kept.outputs(form, parts, place_of, whole)
    }

    fn flush(&mut self, _built: &mut DeviceBuiltThere) -> Result<(), String> {
        self.kept.order(DeviceRequest::Flush)
    }
}

/// Bytes of A's, V's and Y's elements on the device.
pub fn element_bytes(dtype: Dtype, output: Dtype) -> ElementBytes {
    ElementBytes { a: dtype.size(), v: dtype.size(), y: output.size() }
}
