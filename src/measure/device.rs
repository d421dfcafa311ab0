//! A device of other processes as a platform: one owns V's and Y's in slots of the device's memory and has our operator,
//! the other has the vendor's libraries. The clock around the calls is this process's; the device's events look on.

use std::collections::HashMap;

use ndarray::{Array2, ArrayView2};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Clock;
use super::platform::{Called, Inputs, Part, Platform};
use super::workers::{Draw, SharedA};
use crate::backend::cuda::CALLS_MAX;
use crate::backend::shared::{BESIDE, SharedInput, SharedOutputs};
use crate::baseline::cuda::{live_rows, place};
use crate::operator::Error;
use crate::worker::message::{DeviceContender, DeviceReply, DeviceRequest, Drawing, Form, Handles};
use crate::worker::{Place, RemoteDevice, bytes_of_slots};
use contract::dtype::Dtype;
use record::timings::{ElementBytes, Sample, median};

/// Bytes of device memory that V's and Y's of a case take, at most, unless two slots take more.
const SLOT_BYTES_MAX: usize = 4 << 30;
/// V's of the ring, which are used again and again, at most.
const RING_MAX: usize = 8;
/// Calls of a request at most: numbers of as many slots fit into a message.
const RUN_MAX: usize = 4096;
/// Empty samples whose median is the way to a worker and back.
const EMPTY: usize = 9;

/// Numbers of V's, each with a Y: fresh ones, which a sample's calls have, and a ring that is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSlots {
    pub fresh: usize,
    pub ring: usize,
    /// Of device memory.
    pub bytes: usize,
}

impl DeviceSlots {
    /// For timed calls of a case of shape m, k, n on a device with so much memory.
    pub fn of(shape: [usize; 3], memory_bytes: u64) -> DeviceSlots {
        let one = bytes_of_slots(shape, 1).max(1);
        let most = SLOT_BYTES_MAX.min(usize::try_from(memory_bytes / 8).unwrap_or(usize::MAX));
        let all = (most / one).clamp(2, CALLS_MAX + RING_MAX);
        let ring = (all / 4).clamp(1, RING_MAX);
        DeviceSlots { fresh: all - ring, ring, bytes: bytes_of_slots(shape, all) }
    }

    /// For single calls that nobody times, of A (m x k) and V's of n columns.
    pub fn least((m, k): (usize, usize), n: usize) -> DeviceSlots {
        DeviceSlots { fresh: 1, ring: 1, bytes: bytes_of_slots([m, k, n], 2) }
    }
}

/// A device of workers, and the slots of one case.
pub struct DevicePlatform<'a> {
    device: &'a RemoteDevice,
    shape: [usize; 3],
    /// Rows of A with a non-zero.
    live: Vec<usize>,
    /// The case's own V.
    own: ArrayView2<'a, f32>,
    /// For one V that is not drawn on the device.
    v: SharedInput,
    y: SharedOutputs,
    slots: DeviceSlots,
    /// Why the libraries' process cannot have the slots.
    borrowed: Result<(), String>,
    draw: &'a Draw<'a>,
    /// The number of the next V.
    next: u64,
    /// What lies in each slot of the ring.
    in_ring: Vec<Option<Form>>,
    /// The first number of the fresh V's of now.
    first: u64,
    /// Whether the V's and the bands of the last sample are as they were; `None` before anybody looked.
    inspected: Option<Result<(), String>>,
    /// Fresh calls of the last sample.
    calls: usize,
    forms: HashMap<String, (Place, Form)>,
    random: ChaCha8Rng,
    clock: &'a dyn Clock,
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

fn words(error: Error) -> String {
    error.to_string()
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
        let ((m, k), n) = (a.shape(), own.ncols());
        let shape = [m, k, n];
        let live = live_rows(a.view());
        let v = SharedInput::new(k * n).map_err(words)?;
        // Room for whole outputs, and for elements with their columns of V.
        let y_len = (m * n).max(1 << 16).max(32 * (k + 64));
        let y = SharedOutputs::new(1, y_len, calls.secret as u32).map_err(words)?;
        let request = DeviceRequest::Load {
            shape,
            slots: slots.fresh + slots.ring,
            y_len,
            guard: (calls.secret >> 32) as u32,
            drawing: calls.drawing,
        };
        let files = [a.file(), v.file(), y.file()];
        let handles = match device.ask(Place::Custodian, request, &files).map_err(words)? {
            DeviceReply::Loaded(handles) => handles,
            other => return device.misled(Place::Custodian, &other).map_err(words),
        };
        let mut platform = DevicePlatform {
            device,
            shape,
            live,
            own,
            v,
            y,
            slots,
            borrowed: Ok(()),
            draw: calls.draw,
            // Those of the ring come first.
            next: slots.ring as u64,
            in_ring: vec![None; slots.ring],
            first: 0,
            inspected: None,
            calls: 0,
            forms: HashMap::new(),
            random: ChaCha8Rng::seed_from_u64(calls.secret),
            clock: calls.clock,
        };
        platform.borrowed = platform.lend(a, handles);
        Ok(platform)
    }

    /// Gives the slots to the libraries' process.
    fn lend(&self, a: &SharedA, handles: Handles) -> Result<(), String> {
        let slots = self.slots.fresh + self.slots.ring;
        let request = DeviceRequest::Borrow { shape: self.shape, slots, handles };
        self.device.order(Place::Libraries, request, &[a.file()]).map_err(words)
    }

    fn order(&self, place: Place, request: DeviceRequest) -> Result<(), String> {
        self.device.order(place, request, &[]).map_err(words)
    }

    /// So many slots of the ring, in an order that nobody could know, with V's as a contender wants them.
    fn ring(&mut self, form: Form, calls: usize) -> Result<Vec<u32>, String> {
        let DeviceSlots { fresh, ring, .. } = self.slots;
        let chosen: Vec<usize> =
            (0..calls).map(|_| self.random.next_u64() as usize % ring).collect();
        for &at in &chosen {
            // Contenders that want the same V find it there.
            let is_there = self.in_ring[at].is_some_and(|there| {
                (there.input, there.column_major) == (form.input, form.column_major)
            });
            if !is_there {
                let (slots, first) = (vec![(fresh + at) as u32], at as u64);
                self.order(Place::Custodian, DeviceRequest::Draw { form, slots, first })?;
                self.in_ring[at] = Some(form);
            }
        }
        Ok(chosen.into_iter().map(|at| (fresh + at) as u32).collect())
    }

    /// The whole Y of a slot.
    fn whole(&self, form: Form, slot: u32) -> Result<Array2<f32>, String> {
        let [m, _, n] = self.shape;
        let rows = if form.live_rows_only { self.live.len() } else { m };
        self.y.poison_front(0, rows * n);
        self.order(Place::Custodian, DeviceRequest::Whole { form, slot, rows })?;
        let y = self.y.read(0, (rows, n)).map_err(words)?;
        Ok(if form.live_rows_only { place(m, &self.live, y.view()) } else { y })
    }

    /// Y (m x n) of what was built of A under a name and of `v`, of the shape of V.
    fn apply(
        &mut self,
        name: &str,
        (place, form): (Place, Form),
        v: ArrayView2<'_, f32>,
    ) -> Result<Array2<f32>, String> {
        const SLOT: u32 = 0;
        self.v.write(0, v);
        self.order(Place::Custodian, DeviceRequest::Put { form, slot: SLOT })?;
        self.order(Place::Custodian, DeviceRequest::Poison { slots: vec![SLOT] })?;
        self.order(place, DeviceRequest::Run { name: name.to_owned(), slots: vec![SLOT] })?;
        self.whole(form, SLOT)
    }

    /// Y (m x n) of what was built of A under a name and of `v`, of the shape of V; `None` where nothing was built.
    pub fn apply_built(
        &mut self,
        name: &str,
        v: ArrayView2<'_, f32>,
    ) -> Result<Option<Array2<f32>>, String> {
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

    /// An error unless the V's of the last sample's calls are what was drawn, and nothing was written beside their Y's.
    fn inspect(&mut self, form: Form) -> Result<(), String> {
        if let Some(known) = &self.inspected {
            return known.clone();
        }
        let slots = (0..self.calls as u32).collect();
        let request = DeviceRequest::Inspect { form, slots, first: self.first };
        let found = match self.device.ask(Place::Custodian, request, &[]).map_err(words)? {
            DeviceReply::Inspected { differing: 0, beside: false } => Ok(()),
            DeviceReply::Inspected { beside: true, .. } => Err(BESIDE.to_owned()),
            DeviceReply::Inspected { differing, .. } => {
                Err(format!("it wrote to its input: {differing} elements of V are others"))
            }
            other => self.device.misled(Place::Custodian, &other).map_err(words),
        };
        self.inspected = Some(found.clone());
        found
    }
}

impl Drop for DevicePlatform<'_> {
    fn drop(&mut self) {
        // Borrowers first; one that is gone has nothing loaded.
        for place in [Place::Libraries, Place::Custodian] {
            let _ = self.order(place, DeviceRequest::Unload);
        }
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
        let slots: Vec<u32> = (0..calls as u32).collect();
        (self.first, self.calls, self.inspected) = (self.next, calls, None);
        self.next += calls as u64;
        let (form, first) = (built.form, self.first);
        self.order(Place::Custodian, DeviceRequest::Draw { form, slots: slots.clone(), first })?;
        self.order(Place::Custodian, DeviceRequest::Poison { slots })
    }

    fn calls_max(&self) -> usize {
        self.slots.fresh.min(CALLS_MAX)
    }

    fn sample(
        &mut self,
        built: &mut DeviceBuiltThere,
        inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        let slots = match inputs {
            Inputs::Fresh => (0..calls as u32).collect(),
            Inputs::Ring => self.ring(built.form, calls)?,
        };
        let (host_ns, time_ns) = self.timed(built.place, Some(built.name.clone()), slots)?;
        let state = match self.device.ask(Place::Custodian, DeviceRequest::State, &[]) {
            Ok(DeviceReply::State(state)) => state,
            Ok(other) => return self.device.misled(Place::Custodian, &other).map_err(words),
            Err(error) => return Err(words(error)),
        };
        Ok(Sample { time_ns, host_ns: Some(host_ns), state })
    }

    fn run(&mut self, built: &mut DeviceBuiltThere, calls: usize) -> Result<(), String> {
        for first in (0..calls).step_by(RUN_MAX) {
            let slots = self.ring(built.form, RUN_MAX.min(calls - first))?;
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
        let v = self.own;
        let y = self.apply(&built.name, (built.place, built.form), v)?;
        Ok(Some(Called { part: Part::Whole, v: v.to_owned(), y }))
    }

    fn compares_rivals_whole(&self) -> bool {
        false
    }

    fn output(
        &mut self,
        built: &DeviceBuiltThere,
        call: usize,
        part: &Part,
    ) -> Result<Called, String> {
        let (form, slot) = (built.form, call as u32);
        self.inspect(form)?;
        let [_, k, n] = self.shape;
        let Part::Block { rows, columns } = part else {
            let mut v = vec![0.0; k * n];
            (self.draw)(self.first + call as u64, &mut v);
            let v = Array2::from_shape_vec((k, n), v).map_err(|error| error.to_string())?;
            return Ok(Called { part: Part::Whole, v, y: self.whole(form, slot)? });
        };
        // The place of a row in the product; a dead one has none.
        let place_of = |row: &usize| match form.live_rows_only {
            false => *row as u32,
            true => self.live.binary_search(row).map_or(u32::MAX, |at| at as u32),
        };
        let request = DeviceRequest::Gather {
            form,
            slot,
            rows: rows.iter().map(place_of).collect(),
            columns: columns.iter().map(|&column| column as u32).collect(),
        };
        let y_len = rows.len() * columns.len();
        self.y.poison_front(0, y_len + k * columns.len());
        self.order(Place::Custodian, request)?;
        let [mut y, mut v] = [(rows.len(), columns.len()), (k, columns.len())].map(Array2::zeros);
        let parts = [(0..y_len, &mut y), (y_len..y_len + k * columns.len(), &mut v)];
        for (range, to) in parts {
            self.y.copy(0, range, to.as_slice_mut().unwrap_or_default());
        }
        Ok(Called { part: part.clone(), v, y })
    }

    fn flush(&mut self, _built: &mut DeviceBuiltThere) -> Result<(), String> {
        self.order(Place::Custodian, DeviceRequest::Flush)
    }
}

/// Bytes of A's, V's and Y's elements on the device.
pub fn element_bytes(dtype: Dtype, output: Dtype) -> ElementBytes {
    ElementBytes { a: dtype.size(), v: dtype.size(), y: output.size() }
}
