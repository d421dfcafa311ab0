//! An operator under test on a device: another's process, with V's and Y's in memory that a custodian of its own keeps. The
//! clock is this process's alone: it runs from the request until the custodian has the device again.
//!
//! Between two requests the process is stopped, and the custodian watches whether somebody else gets the device: work that
//! was left there to come late, or to look on while V's are drawn, is seen.

use std::time::Duration;

use contract::dtype::Dtype;
use std::sync::Arc;

use ndarray::{Array2, Axis};
use record::timings::Sample;

use super::Clock;
use super::device::{DeviceBuiltThere, DevicePlatform, OnDeviceNamed};
use super::kept::{Kept, NUMBERS_MAX, words};
use super::platform::{Called, Inputs, Part, Platform, WROTE, unread};
use super::workers::Numbered;
use crate::backend::cuda::Layout;
use crate::worker::message::{Contender as Wanted, DeviceReply, DeviceRequest, Form, Lent};
use crate::worker::message::{Reply, Request};
use crate::worker::{Hosted, ON_DEVICE, Place, RemoteDevice, UNDER_TEST, places};

/// Nobody else had the device where two looks at its clock lie this close together, in ns: 8 us were seen at most, and 300 us
/// at least where another process got it, on an H200.
const GIVEN_AWAY_NS: u32 = 100_000;
/// Empty calls, of which the fastest is the way to another process and back.
const EMPTY: usize = 9;

/// An operator under test and the slots that it is lent.
pub struct GuestPlatform<'a, 'k> {
    kept: &'a mut Kept<'k>,
    hosted: &'a mut Hosted,
    form: Form,
    v: Numbered<'a>,
    clock: &'a dyn Clock,
    /// Time for any request.
    limit: Duration,
    next_id: u32,
    /// What of a time is the way there and back at the least.
    overhead_ns: f64,
    /// That it was seen to work while it had to stand still.
    moved: Option<String>,
}

/// What it built.
pub struct GuestBuilt {
    id: u32,
    plan: String,
    bytes_held: usize,
}

impl<'a, 'k> GuestPlatform<'a, 'k> {
    /// Hands A, of dtype `input`, and the slots to its process; Y's are of dtype `output`.
    pub fn new(
        kept: &'a mut Kept<'k>,
        hosted: &'a mut Hosted,
        [input, output]: [Dtype; 2],
        v: Numbered<'a>,
        clock: &'a dyn Clock,
    ) -> Result<GuestPlatform<'a, 'k>, String> {
        let form = Form { input, output, layout: Layout::Dense, live_rows_only: false };
        // Kernels are loaded now: while a watch runs they would wait for its end.
        kept.warm_up(form)?;
        let asked = DeviceRequest::ShareA { dtype: input };
        let a = match kept.device.ask(Place::Custodian, asked, &[]).map_err(words)? {
            DeviceReply::SharedA(handle) => handle,
            other => return kept.device.misled(Place::Custodian, &other).map_err(words),
        };
        let [m, k, n] = kept.shape;
        let slots = kept.slots.fresh + kept.slots.ring;
        let lent = Lent { a, slots: kept.handles.clone(), places: places(kept.shape) };
        let load = Request::Load { m, k, n, slots, input, output, device: Some(lent) };
        let limit = Duration::from_secs(120);
        hosted.order(&load, &[], limit)?;
        hosted.stand()?;
        let (next_id, overhead_ns, moved) = (0, 0.0, None);
        Ok(GuestPlatform { kept, hosted, form, v, clock, limit, next_id, overhead_ns, moved })
    }

    /// Times empty calls of another process of ours, `other`'s custodian: no time of a call is less by more than the
    /// fastest of them took.
    pub fn time_the_way(&mut self, other: &RemoteDevice) -> Result<(), String> {
        let mut fastest = f64::INFINITY;
        for _ in 0..EMPTY {
            self.kept.order(DeviceRequest::Watch)?;
            self.rest()?;
            let start = self.clock.now_ns();
            other.order(Place::Custodian, DeviceRequest::Touch, &[]).map_err(words)?;
            self.kept.order(DeviceRequest::Watch)?;
            fastest = fastest.min((self.clock.now_ns() - start) as f64);
        }
        self.overhead_ns = fastest;
        self.rest()
    }

    /// An error if others had the device since the watch began; `ends` ends it.
    fn watched(&mut self, ends: bool) -> Result<(), String> {
        let asked = DeviceRequest::Watched { ends };
        match self.kept.device.ask(Place::Custodian, asked, &[]).map_err(words)? {
            DeviceReply::Watched(longest) if longest.is_some_and(|ns| ns > GIVEN_AWAY_NS) => {
                self.moved.get_or_insert_with(|| ON_DEVICE.to_owned());
            }
            DeviceReply::Watched(_) => {}
            other => self.kept.device.misled(Place::Custodian, &other).map_err(words)?,
        }
        self.moved.clone().map_or(Ok(()), Err)
    }

    /// Leaves the device to others.
    pub fn rest(&mut self) -> Result<(), String> {
        self.watched(true)
    }

    /// The reply to a request, and the time until the device was the custodian's again, in ns.
    fn timed(&mut self, request: &Request, limit: Duration) -> Result<(Reply, f64), String> {
        // It saw no V before its request.
        self.hosted.require_still()?;
        self.rest()?;
        let start = self.clock.now_ns();
        self.hosted.thaw();
        let reply = self.hosted.ask(request, &[], limit);
        // What is there to be done first is in the time; what comes in between later is seen.
        let watched = self.kept.order(DeviceRequest::Watch);
        let time_ns = (self.clock.now_ns() - start).max(1);
        let reply = reply?;
        watched?;
        self.hosted.stand()?;
        Ok((reply, time_ns as f64))
    }

    fn order(&mut self, request: &Request) -> Result<f64, String> {
        let (_, limit) = self.hosted.limits(self.limit);
        match self.timed(request, limit)? {
            (Reply::Done { .. }, time_ns) => Ok(time_ns),
            (other, _) => Err(self.hosted.misled(&other)),
        }
    }

    /// Bytes of the device's memory that nobody has, as its driver says.
    fn free_memory(&self) -> Option<u64> {
        match self.kept.device.ask(Place::Custodian, DeviceRequest::FreeMemory, &[]) {
            Ok(DeviceReply::FreeMemory(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// A build without a first call.
    pub fn build_alone(&mut self) -> Result<GuestBuilt, String> {
        let id = self.next_id;
        self.next_id += 1;
        let request = Request::Build { id, contender: Wanted::Rival(UNDER_TEST.into()) };
        let (limit, _) = self.hosted.limits(self.limit);
        match self.timed(&request, limit)? {
            (Reply::Built { plan, .. }, _) => {
                let plan = contract::words::visible(&plan).to_string();
                Ok(GuestBuilt { id, plan, bytes_held: 0 })
            }
            (other, _) => Err(self.hosted.misled(&other)),
        }
    }

    /// Drops what was built, and says if that failed.
    pub fn close(&mut self, built: &GuestBuilt) -> Result<(), String> {
        self.order(&Request::Drop { id: built.id }).map(drop)
    }

    /// The whole Y of a call as it is, whatever was written beside it.
    pub fn whole(&self, call: usize) -> Result<Array2<f32>, String> {
        self.kept.whole(self.form, call as u32, self.kept.shape[0])
    }

    /// An error unless A is as it was handed over.
    pub fn inspect_a(&mut self) -> Result<(), String> {
        self.rest()?;
        match self.kept.device.ask(Place::Custodian, DeviceRequest::InspectA, &[]).map_err(words)? {
            DeviceReply::Inspected { differing: 0, .. } => Ok(()),
            DeviceReply::Inspected { differing, .. } => {
                Err(format!("{WROTE}: {differing} elements of A are others"))
            }
            other => self.kept.device.misled(Place::Custodian, &other).map_err(words),
        }
    }

    /// Parts of fresh calls, or why none of them says anything.
    fn read(&mut self, parts: &[(usize, Part)]) -> Result<Vec<Result<Called, String>>, String> {
        let (form, first, given) = (self.form, self.kept.first, self.v.given);
        self.kept.inspect(form, &|number| given(number).is_some())?;
        let whole = |call: usize| {
            let y = self.kept.whole(form, call as u32, self.kept.shape[0])?;
            Ok(Called { part: Part::Whole, v: self.v_of(first + call as u64)?, y: Arc::new(y) })
        };
        let mut outputs = self.kept.outputs(form, parts, |row| row as u32, whole);
        for ((call, part), output) in parts.iter().zip(&mut outputs) {
            // What lies there may have been written since.
            if let (Part::Block { columns, .. }, Ok(called)) = (part, output)
                && let Some(given) = given(first + *call as u64)
            {
                called.v = given.select(Axis(1), columns);
            }
        }
        // After they were read: what was read then is what stood there at the reply.
        self.hosted.require_still()?;
        self.watched(false)?;
        Ok(outputs)
    }

    fn v_of(&self, number: u64) -> Result<Array2<f32>, String> {
        let [_, k, n] = self.kept.shape;
        let mut v = vec![0.0; k * n];
        self.v.fill(number, &mut v);
        Array2::from_shape_vec((k, n), v).map_err(|error| error.to_string())
    }
}

impl Platform for GuestPlatform<'_, '_> {
    type Operator = ();
    type Built = GuestBuilt;

    fn threads(&self) -> usize {
        1
    }

    fn shape(&self) -> (usize, usize) {
        (self.kept.shape[0], self.kept.shape[2])
    }

    fn device(&self) -> Option<String> {
        Some(self.kept.device.info.name.clone())
    }

    fn build(&mut self, (): &()) -> Result<GuestBuilt, String> {
        let before = self.free_memory();
        let built = self.build_alone()?;
        // What its first call does is a part of its build: nobody knows what it left for then. From that call on it can
        // start no process.
        let slots = self.kept.ring(self.form, 1)?;
        let called = self.order(&Request::Run { id: built.id, slots });
        // Whoever put it off could start processes: whether one is still there is chance.
        if self.hosted.fault().is_none() {
            self.hosted.require_filter()?;
        }
        called?;
        let taken = before
            .zip(self.free_memory())
            .map_or(0, |(before, after)| before.saturating_sub(after));
        Ok(GuestBuilt { bytes_held: usize::try_from(taken).unwrap_or(usize::MAX), ..built })
    }

    fn drop_built(&mut self, built: GuestBuilt) {
        // One that is gone has nothing to drop.
        let _ = self.close(&built);
    }

    fn bytes_held(&self, built: &GuestBuilt) -> usize {
        built.bytes_held
    }

    fn plan(&self, built: &GuestBuilt) -> String {
        built.plan.clone()
    }

    fn prepare(&mut self, _built: &mut GuestBuilt, calls: usize) -> Result<(), String> {
        // From before the first V is there.
        self.kept.order(DeviceRequest::Watch)?;
        self.kept.prepare(self.form, calls)?;
        for slot in 0..calls as u32 {
            if let Some(v) = (self.v.given)(self.kept.first + u64::from(slot)) {
                self.kept.put(self.form, slot, v, None)?;
            }
        }
        Ok(())
    }

    fn calls_max(&self) -> usize {
        self.kept.slots.calls_max()
    }

    fn sample(
        &mut self,
        built: &mut GuestBuilt,
        inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        let slots = match inputs {
            Inputs::Fresh => (0..calls as u32).collect(),
            Inputs::Ring => self.kept.ring(self.form, calls)?,
        };
        let host_ns = self.order(&Request::Run { id: built.id, slots })?;
        let state = self.kept.state()?;
        // A call that avoids a part of the way is given it all the same: half of its time at most.
        let time_ns = (host_ns - self.overhead_ns).max(host_ns / 2.0);
        Ok(Sample { time_ns, host_ns: Some(host_ns), state })
    }

    fn run(&mut self, built: &mut GuestBuilt, calls: usize) -> Result<(), String> {
        for first in (0..calls).step_by(NUMBERS_MAX) {
            let slots = self.kept.ring(self.form, NUMBERS_MAX.min(calls - first))?;
            self.order(&Request::Run { id: built.id, slots })?;
        }
        Ok(())
    }

    fn overhead_ns(&mut self, _built: &mut GuestBuilt, _calls: usize) -> Option<u64> {
        Some(self.overhead_ns as u64)
    }

    fn outputs(
        &mut self,
        _built: &GuestBuilt,
        parts: &[(usize, Part)],
    ) -> Vec<Result<Called, String>> {
        self.read(parts).unwrap_or_else(|why| unread(parts, &why))
    }

    fn flush(&mut self, _built: &mut GuestBuilt) -> Result<(), String> {
        self.kept.order(DeviceRequest::Flush)
    }
}

/// Our own operator, or a vendor's, or the one under test.
#[derive(Clone, Debug)]
pub enum OnDevice {
    Ours(OnDeviceNamed),
    Guest,
}

pub enum OnDeviceBuilt {
    Ours(DeviceBuiltThere),
    Guest(GuestBuilt),
}

/// A device on which an operator under test may be beside the others. It has slots and a custodian of its own, which leaves
/// the device to the others for as long as they are asked.
pub struct Beside<'a, 'k> {
    pub device: DevicePlatform<'a>,
    pub guest: Option<GuestPlatform<'a, 'k>>,
}

/// What is asked of nobody who is there.
const NO_GUEST: &str = "there is no operator under test";

impl<'a, 'k> Beside<'a, 'k> {
    /// The others, with the device left to them.
    fn ours(&mut self) -> &mut DevicePlatform<'a> {
        if let Some(guest) = &mut self.guest {
            // What it says is said again when the guest is asked next.
            let _ = guest.rest();
        }
        &mut self.device
    }

    fn guest(&mut self) -> Result<&mut GuestPlatform<'a, 'k>, String> {
        self.guest.as_mut().ok_or_else(|| NO_GUEST.to_owned())
    }
}

impl Platform for Beside<'_, '_> {
    type Operator = OnDevice;
    type Built = OnDeviceBuilt;

    fn threads(&self) -> usize {
        1
    }

    fn shape(&self) -> (usize, usize) {
        self.device.shape()
    }

    fn device(&self) -> Option<String> {
        self.device.device()
    }

    fn build(&mut self, operator: &OnDevice) -> Result<OnDeviceBuilt, String> {
        match operator {
            OnDevice::Ours(named) => self.ours().build(named).map(OnDeviceBuilt::Ours),
            OnDevice::Guest => self.guest()?.build(&()).map(OnDeviceBuilt::Guest),
        }
    }

    fn drop_built(&mut self, built: OnDeviceBuilt) {
        match (built, &mut self.guest) {
            (OnDeviceBuilt::Ours(built), _) => self.ours().drop_built(built),
            (OnDeviceBuilt::Guest(built), Some(guest)) => guest.drop_built(built),
            (OnDeviceBuilt::Guest(_), None) => {}
        }
    }

    fn bytes_held(&self, built: &OnDeviceBuilt) -> usize {
        match built {
            OnDeviceBuilt::Ours(built) => self.device.bytes_held(built),
            OnDeviceBuilt::Guest(built) => built.bytes_held,
        }
    }

    fn plan(&self, built: &OnDeviceBuilt) -> String {
        match built {
            OnDeviceBuilt::Ours(built) => self.device.plan(built),
            OnDeviceBuilt::Guest(built) => built.plan.clone(),
        }
    }

    fn prepare(&mut self, built: &mut OnDeviceBuilt, calls: usize) -> Result<(), String> {
        match built {
            OnDeviceBuilt::Ours(built) => self.ours().prepare(built, calls),
            OnDeviceBuilt::Guest(built) => self.guest()?.prepare(built, calls),
        }
    }

    fn calls_max(&self) -> usize {
        self.device.calls_max()
    }

    fn sample(
        &mut self,
        built: &mut OnDeviceBuilt,
        inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        match built {
            OnDeviceBuilt::Ours(built) => self.ours().sample(built, inputs, calls),
            OnDeviceBuilt::Guest(built) => self.guest()?.sample(built, inputs, calls),
        }
    }

    fn run(&mut self, built: &mut OnDeviceBuilt, calls: usize) -> Result<(), String> {
        match built {
            OnDeviceBuilt::Ours(built) => self.ours().run(built, calls),
            OnDeviceBuilt::Guest(built) => self.guest()?.run(built, calls),
        }
    }

    fn overhead_ns(&mut self, built: &mut OnDeviceBuilt, calls: usize) -> Option<u64> {
        match built {
            OnDeviceBuilt::Ours(built) => self.ours().overhead_ns(built, calls),
            OnDeviceBuilt::Guest(built) => self.guest().ok()?.overhead_ns(built, calls),
        }
    }

    fn first(&mut self, built: &mut OnDeviceBuilt) -> Result<Option<Called>, String> {
        match built {
            OnDeviceBuilt::Ours(built) => self.ours().first(built),
            OnDeviceBuilt::Guest(_) => Ok(None),
        }
    }

    fn compares_rivals_whole(&self) -> bool {
        self.device.compares_rivals_whole()
    }

    fn looks_beside(&self) -> Option<usize> {
        self.device.looks_beside()
    }

    fn outputs(
        &mut self,
        built: &OnDeviceBuilt,
        parts: &[(usize, Part)],
    ) -> Vec<Result<Called, String>> {
        match built {
            OnDeviceBuilt::Ours(built) => self.ours().outputs(built, parts),
            OnDeviceBuilt::Guest(built) => match self.guest() {
                Ok(guest) => guest.outputs(built, parts),
                Err(why) => unread(parts, &why),
            },
        }
    }

    fn flush(&mut self, built: &mut OnDeviceBuilt) -> Result<(), String> {
        match built {
            OnDeviceBuilt::Ours(built) => self.ours().flush(built),
            OnDeviceBuilt::Guest(built) => self.guest()?.flush(built),
        }
    }
}
