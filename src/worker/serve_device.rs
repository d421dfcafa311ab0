//! A worker that has a device, from its own side: the custodian, with our own kernels and the memory of calls, or the one
//! that opens this memory and the vendor's libraries.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ndarray::ArrayViewMut2;

use super::device_case::{Custody, DeviceCase, Slots};
use super::message::{
    DeviceContender, DeviceReply, DeviceRequest, Drawing, Handles, Reply, Request, Stacked,
};
use super::serve::{Refusal, product, three, view};
use super::wire::{Channel, WireError};
use crate::backend::cuda::nvml::Monitor;
use crate::backend::cuda::{
    Device, Drawing as Stream, NormalDraw, PinnedOutputs, compiler_version, device_names,
    torch_normal,
};
use crate::backend::shared::{MappedInput, MappedOutputs};
use crate::baseline::cuda::{DeviceBaselines, Libraries, device_baselines};
use crate::operator::{DeviceOperator, OnDevice, Operator, Plan, SkipDevice, Staged};
use crate::panics;
use contract::dtype::Dtype;
use contract::inputs::spec::Values;

/// Answers requests until the judge is gone.
pub(super) fn serve(channel: &Channel) -> Result<(), WireError> {
    let mut device = None;
    loop {
        let (request, _) = channel.receive(None)?;
        let answer = panics::catch(|| match request {
            Request::Device(DeviceRequest::Names) => {
                Ok(DeviceReply::Names(device_names().map_err(Refusal::machine)?))
            }
            Request::Device(DeviceRequest::Open { ordinal }) => {
                let opened = Device::open(ordinal).map_err(Refusal::machine)?;
                let monitor = Monitor::open(&opened.info.uuid);
                let reply = DeviceReply::Opened {
                    info: opened.info.clone(),
                    capability: opened.compute_capability(),
                    energy: monitor.as_ref().map(|m| m.name.clone()).map_err(Clone::clone),
                };
                let (staged, libraries) = (RefCell::default(), RefCell::default());
                device = Some(Serving { channel, device: opened, monitor, staged, libraries });
                Ok(reply)
            }
            other => Err(Refusal::of(format!("{other:?} before a device"))),
        });
        let answer = answer.unwrap_or_else(|panicked| Err(Refusal::machine(panicked)));
        channel.send(&reply(answer), &[], None)?;
        if let Some(serving) = device.take() {
            return serving.cases();
        }
    }
}

fn reply(answer: Result<DeviceReply, Refusal>) -> Reply {
    match answer {
        Ok(reply) => Reply::Device(reply),
        Err(refusal) => refusal.reply(),
    }
}

/// V's that stay on the device from one product to the next: a case's, and the perturbed one.
const STAGED_MAX: usize = 2;

/// The V of a number, as a contender wants it.
struct LastV {
    number: u64,
    contender: DeviceContender,
    staged: Staged,
}

struct Serving<'a> {
    channel: &'a Channel,
    device: Arc<Device>,
    monitor: Result<Monitor, String>,
    /// V's of the last products, the latest first.
    staged: RefCell<Vec<LastV>>,
    libraries: RefCell<Libraries>,
}

impl Serving<'_> {
    fn cases(&self) -> Result<(), WireError> {
        // Those of the last request for them.
        let mut rivals = DeviceBaselines::default();
        loop {
            let (request, files) = self.channel.receive(None)?;
            let Request::Device(request) = request else {
                let refusal = Refusal::of(format!("{request:?} to a device"));
                self.channel.send(&refusal.reply(), &[], None)?;
                continue;
            };
            let begun = match request {
                DeviceRequest::Load { shape, slots, y_len, guard, drawing, stack } => {
                    let of = Of { shape, slots, stack };
                    self.load(of, y_len, guard, &drawing, files)
                }
                DeviceRequest::Borrow { shape, slots, handles, stack } => {
                    self.borrow(Of { shape, slots, stack }, &handles, files)
                }
                request => {
                    let answer = panics::catch(|| self.plain(request, files, &mut rivals));
                    let answer = answer.unwrap_or_else(|panicked| Err(Refusal::machine(panicked)));
                    self.channel.send(&reply(answer), &[], None)?;
                    continue;
                }
            };
            match begun {
                Ok(begun) => self.case(begun, &mut rivals)?,
                Err(refusal) => self.channel.send(&refusal.reply(), &[], None)?,
            }
        }
    }

    /// Requests that need no case.
    fn plain(
        &self,
        request: DeviceRequest,
        files: Vec<OwnedFd>,
        rivals: &mut DeviceBaselines,
    ) -> Result<DeviceReply, Refusal> {
        match request {
            DeviceRequest::Ready => {
                self.device.synchronize_all()?;
                Ok(DeviceReply::Done)
            }
            DeviceRequest::Kernels => Ok(DeviceReply::Kernels(self.device.kernels_loaded())),
            DeviceRequest::Rivals { dtype, output, arithmetic, dead } => {
                let libraries = &mut *self.libraries.borrow_mut();
                *rivals =
                    device_baselines(libraries, &self.device, dtype, output, arithmetic, dead);
                let DeviceBaselines { available, missing } = &*rivals;
                let rivals = available.iter().map(|baseline| baseline.rival.clone()).collect();
                Ok(DeviceReply::Rivals { rivals, missing: missing.clone() })
            }
            DeviceRequest::Apply { shape, v_numbers, contender } => {
                let operator = self.operator(&contender, rivals)?;
                let here = OnDevice { operator, device: self.device.clone() };
                self.apply(&contender, &here, shape, &v_numbers, files)
            }
            DeviceRequest::FreeMemory => {
                let (free, _) = self.device.memory()?;
                Ok(DeviceReply::FreeMemory(free as u64))
            }
            DeviceRequest::State => {
                // A state that cannot be had leaves a sample as it is.
                let monitor = self.monitor.as_ref().ok();
                Ok(DeviceReply::State(monitor.and_then(|monitor| monitor.state().ok())))
            }
            DeviceRequest::Energy => {
                let monitor = self.monitor.as_ref().map_err(Refusal::machine)?;
                let millijoules = monitor.energy_mj().map_err(Refusal::machine)?;
                Ok(DeviceReply::Energy(millijoules.saturating_mul(1000)))
            }
            DeviceRequest::Normal { seed, first_call, threads, first, count } => {
                compiler_version().map_err(Refusal::machine)?;
                let mut files = files.into_iter();
                let file = files.next().ok_or_else(|| Refusal::of("no file"))?;
                let mut out =
                    MappedOutputs::new(file, 1, count, Dtype::F32).map_err(Refusal::machine)?;
                let draw = NormalDraw { seed, first_call, threads };
                torch_normal(&self.device, draw, first, out.get_mut(0))
                    .map_err(Refusal::machine)?;
                Ok(DeviceReply::Done)
            }
            DeviceRequest::Unload => Ok(DeviceReply::Done),
            other => Err(Refusal::of(format!("{other:?} without a case"))),
        }
    }

    /// A product of one build with each V; the files are A, the V's and the Y's.
    fn apply(
        &self,
        contender: &DeviceContender,
        here: &OnDevice,
        [m, k, n]: [usize; 3],
        v_numbers: &[u64],
        files: Vec<OwnedFd>,
    ) -> Result<DeviceReply, Refusal> {
        if files.len() != 1 + 2 * v_numbers.len() {
            return Err(Refusal::of("A, and a V and a Y for each number are wanted"));
        }
        let mut files = files.into_iter();
        let mut input = |sizes: [usize; 2]| {
            let file = files.next().ok_or_else(|| Refusal::of("no file"))?;
            MappedInput::new(file, product(&sizes)?, Dtype::F32).map_err(Refusal::machine)
        };
        let a = input([m, k])?;
        let all_v = v_numbers.iter().map(|_| input([k, n])).collect::<Result<Vec<_>, _>>()?;
        let built = here.build(view(a.values(), (m, k))?)?;
        for ((number, v), file) in v_numbers.iter().zip(&all_v).zip(files) {
            let mut y = MappedOutputs::new(file, 1, product(&[m, n])?, Dtype::F32)
                .map_err(Refusal::machine)?;
            let v = view(v.values(), (k, n))?;
            let mut last = self.staged.borrow_mut();
            // Panels of one A have the same V's, which are brought here once.
            let is_it = |last: &LastV| last.number == *number && last.contender == *contender;
            let at = match last.iter().position(is_it) {
                Some(at) => at,
                None => {
                    last.truncate(STAGED_MAX - 1);
                    let mut staged = Staged::default();
                    here.stage(v, &mut staged, 1)?;
                    last.insert(0, LastV { number: *number, contender: contender.clone(), staged });
                    0
                }
            };
            let staged = &last[at].staged;
            let out = ArrayViewMut2::from_shape((m, n), &mut y.get_mut(0)[..m * n]);
            built.apply(v, staged, out.map_err(Refusal::machine)?, 1)?;
        }
        let Plan { strategy, reason } = built.plan();
        Ok(DeviceReply::Applied { strategy, reason, bytes_held: built.bytes_held() })
    }

    fn operator(
        &self,
        contender: &DeviceContender,
        rivals: &DeviceBaselines,
    ) -> Result<Arc<dyn DeviceOperator>, Refusal> {
        match contender {
            DeviceContender::Own { arithmetic, dtype, output, strategy } => {
                Ok(Arc::new(SkipDevice::new(*arithmetic, *dtype, *output, *strategy, &self.device)))
            }
            DeviceContender::Rival(name) => {
                let mut all = rivals.available.iter();
                let rival = all.find(|baseline| baseline.rival.name == *name);
                Ok(rival.ok_or_else(|| Refusal::of("no such rival"))?.operator.clone())
            }
        }
    }

    /// The memory of a case, taken here.
    fn load(
        &self,
        of: Of,
        y_len: usize,
        guard: u32,
        Drawing { key, values, dtype }: &Drawing,
        files: Vec<OwnedFd>,
    ) -> Result<Begun, Refusal> {
        let [a, v, y] = three(files)?;
        let (a, [m, k, n], slots) = (of.a(a)?, of.shape, of.slots);
        let y = MappedOutputs::new(y, 1, y_len, Dtype::F32).map_err(Refusal::machine)?;
        let host = OnHost {
            v: MappedInput::new(v, product(&[k, n])?, Dtype::F32).map_err(Refusal::machine)?,
            y: PinnedOutputs::new(&self.device, y),
        };
        // Of sizes that can be multiplied.
        product(&[slots, m.max(k), n.max(16), 8])?;
        let values = Values::ALL.into_iter().find(|known| known.name() == values);
        let values = values.ok_or_else(|| Refusal::of("values of no known kind"))?;
        self.staged.borrow_mut().clear();
        let slots = Slots::new(&self.device, [m, k, n], slots)?;
        let stream = Stream { key: *key, values, dtype: *dtype };
        let custody = Custody::new(&self.device, &slots, stream, guard)?;
        let reply = DeviceReply::Loaded(slots.handles()?);
        Ok(Begun { of, a, slots, custody: Some((custody, host)), reply })
    }

    /// The memory of a case that another process took.
    fn borrow(&self, of: Of, handles: &Handles, files: Vec<OwnedFd>) -> Result<Begun, Refusal> {
        let a = files.into_iter().next().ok_or_else(|| Refusal::of("a file is wanted"))?;
        let (a, [m, k, n], slots) = (of.a(a)?, of.shape, of.slots);
        product(&[slots, m.max(k), n.max(16), 8])?;
        let slots = Slots::open(&self.device, [m, k, n], slots, handles)?;
        Ok(Begun { of, a, slots, custody: None, reply: DeviceReply::Done })
    }

    /// Answers requests about one case, until it is unloaded.
    fn case(&self, begun: Begun, rivals: &mut DeviceBaselines) -> Result<(), WireError> {
        let Begun { of, a, slots, mut custody, reply: begun } = begun;
        let [_, k, n] = of.shape;
        let begin = || {
            let a = view(a.values(), of.of_a()?)?;
            DeviceCase::new(&self.device, a, slots, of.stack).map_err(Refusal::machine)
        };
        let mut case = match begin() {
            Ok(case) => case,
            Err(refusal) => return self.channel.send(&refusal.reply(), &[], None),
        };
        self.channel.send(&Reply::Device(begun), &[], None)?;
        loop {
            let (request, files) = self.channel.receive(None)?;
            let Request::Device(request) = request else {
                let refusal = Refusal::of(format!("{request:?} to a device"));
                self.channel.send(&refusal.reply(), &[], None)?;
                continue;
            };
            let is_end = matches!(request, DeviceRequest::Unload);
            let answer = panics::catch(|| match request {
                DeviceRequest::Build { contender } => {
                    let operator = self.operator(&contender, rivals)?;
                    let (built, form) = case.build(operator)?;
                    let (plan, bytes_held) = (built.plan(), built.bytes_held());
                    let (strategy, reason) = (plan.strategy, plan.reason);
                    Ok(DeviceReply::Built { strategy, reason, bytes_held, form })
                }
                DeviceRequest::Drop { name } => {
                    case.forget(&name);
                    Ok(DeviceReply::Done)
                }
                DeviceRequest::Hold { name, slots } => {
                    case.hold(name.as_deref(), &slots).map(|()| DeviceReply::Done)
                }
                DeviceRequest::ShareA { dtype } if custody.is_some() => {
                    case.share_a(dtype).map(DeviceReply::SharedA)
                }
                DeviceRequest::InspectA => case
                    .inspect_a()
                    .map(|differing| DeviceReply::Inspected { differing, beside: false }),
                DeviceRequest::Watch => case.watch().map(|()| DeviceReply::Done),
                DeviceRequest::Watched { ends } => case.watched(ends).map(DeviceReply::Watched),
                DeviceRequest::Touch => case.touch().map(|()| DeviceReply::Done),
                DeviceRequest::Release => case.release().map(DeviceReply::Released),
                DeviceRequest::Run { name, slots } => {
                    case.run(&name, &slots).map(|()| DeviceReply::Done)
                }
                request => match &mut custody {
                    Some((custody, host)) if of_custody(&request) => {
                        keep(&case, custody, host, (k, n), request)
                    }
                    _ => self.plain(request, files, rivals),
                },
            });
            let answer = answer.unwrap_or_else(|panicked| Err(Refusal::machine(panicked)));
            self.channel.send(&reply(answer), &[], None)?;
            if is_end {
                return Ok(());
            }
        }
    }
}

/// What a case is of.
struct Of {
    shape: [usize; 3],
    slots: usize,
    stack: Option<Stacked>,
}

impl Of {
    /// Rows and columns of A as it lies: a row of the elements of all layers, where a stack is multiplied.
    fn of_a(&self) -> Result<(usize, usize), Refusal> {
        let [m, k, _] = self.shape;
        let Some(Stacked { layers, .. }) = &self.stack else { return Ok((m, k)) };
        let mut elements = 0usize;
        for layer in layers.all() {
            let known = elements.checked_add(product(&[layer.m, layer.k])?);
            elements = known.ok_or_else(|| Refusal::of("more elements than can be counted"))?;
        }
        Ok((1, elements))
    }

    fn a(&self, file: OwnedFd) -> Result<MappedInput, Refusal> {
        let (rows, cols) = self.of_a()?;
        MappedInput::new(file, product(&[rows, cols])?, Dtype::F32).map_err(Refusal::machine)
    }
}

/// A case whose memory is there.
struct Begun {
    of: Of,
    a: MappedInput,
    slots: Slots,
    /// Where the memory is this process's.
    custody: Option<(Custody, OnHost)>,
    reply: DeviceReply,
}

/// A V that the judge writes and a Y that it reads.
struct OnHost {
    v: MappedInput,
    y: PinnedOutputs,
}

/// Whether a request is about slots, for the process that owns them.
fn of_custody(request: &DeviceRequest) -> bool {
    use DeviceRequest as R;
    match request {
        R::Draw { .. } | R::Put { .. } | R::Inspect { .. } => true,
        R::Gather { .. } | R::Whole { .. } | R::Flush => true,
        R::Names | R::Open { .. } | R::Ready | R::Kernels | R::Rivals { .. } | R::Apply { .. } => {
            false
        }
        R::Load { .. } | R::Borrow { .. } | R::Unload | R::Build { .. } | R::Drop { .. } => false,
        R::Hold { .. } | R::Release | R::Run { .. } | R::State | R::Energy => false,
        R::ShareA { .. } | R::InspectA | R::Watch | R::Watched { .. } | R::Touch => false,
        R::FreeMemory => false,
        R::Normal { .. } => false,
    }
}

/// Does what is asked of the owner of the slots.
fn keep(
    case: &DeviceCase<'_>,
    custody: &mut Custody,
    host: &mut OnHost,
    v_shape: (usize, usize),
    request: DeviceRequest,
) -> Result<DeviceReply, Refusal> {
    match request {
        DeviceRequest::Draw { form, slots, first } => custody.draw(case, form, &slots, first)?,
        DeviceRequest::Put { form, slot, number } => {
            custody.put(case, form, slot, view(host.v.values(), v_shape)?, number)?;
        }
        DeviceRequest::Inspect { form, slots, first } => {
            let (differing, beside) = custody.inspect(case, form, &slots, first)?;
            return Ok(DeviceReply::Inspected { differing, beside });
        }
        DeviceRequest::Gather { form, blocks } => {
            custody.gather(case, form, &blocks, host.y.get_mut())?;
        }
        DeviceRequest::Whole { form, slot, rows } => {
            custody.whole(case, form, slot, rows, host.y.get_mut())?;
        }
        DeviceRequest::Flush => custody.flush()?,
        other => return Err(Refusal::of(format!("{other:?} of the owner of slots"))),
    }
    Ok(DeviceReply::Done)
}
