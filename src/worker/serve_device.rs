//! The worker that has a device: the driver, our own kernels and the vendor's libraries are opened here.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ndarray::Array2;

use super::device_case::{BuiltCase, DeviceCase};
use super::message::{DeviceContender, DeviceReply, DeviceRequest, Reply, Request};
use super::serve::{Files, Refusal, view};
use super::wire::{Channel, WireError};
use crate::backend::cuda::nvml::Monitor;
use crate::backend::cuda::{Device, NormalDraw, compiler_version, device_names, torch_normal};
use crate::backend::shared::MappedOutputs;
use crate::baseline::cuda::{DeviceBaselines, device_baselines};
use crate::operator::{DeviceOperator, OnDevice, Operator, SkipDevice, Staged};
use crate::panics;

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
                device = Some(Serving { channel, device: opened, monitor });
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

struct Serving<'a> {
    channel: &'a Channel,
    device: Arc<Device>,
    monitor: Result<Monitor, String>,
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
            if let DeviceRequest::Load { m, k, n, slots } = request {
                match Files::new([m, k, n], slots, files) {
                    Ok(files) => self.case([m, k, n], files, &mut rivals)?,
                    Err(refusal) => self.channel.send(&refusal.reply(), &[], None)?,
                }
                continue;
            }
            let answer = panics::catch(|| self.plain(request, files, &mut rivals));
            let answer = answer.unwrap_or_else(|panicked| Err(Refusal::machine(panicked)));
            self.channel.send(&reply(answer), &[], None)?;
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
            DeviceRequest::Kernels => Ok(DeviceReply::Kernels(self.device.kernels_loaded())),
            DeviceRequest::Rivals { dtype, output, arithmetic } => {
                *rivals = device_baselines(&self.device, dtype, output, arithmetic);
                let DeviceBaselines { available, missing } = &*rivals;
                let rivals = available.iter().map(|baseline| baseline.rival.clone()).collect();
                Ok(DeviceReply::Rivals { rivals, missing: missing.clone() })
            }
            DeviceRequest::Apply { m, k, n, contender } => {
                let Files { a, v, mut y } = Files::new([m, k, n], 1, files)?;
                let operator = self.operator(&contender, rivals)?;
                let here = OnDevice { operator, device: self.device.clone() };
                let (a, v) = (view(&a, (m, k))?, view(&v, (k, n))?);
                let mut staged = Staged::default();
                here.stage(v, &mut staged, 1)?;
                let built = here.build(a)?;
                let mut out = Array2::from_elem((m, n), f32::NAN);
                built.apply(v, &staged, out.view_mut(), 1)?;
                write(&mut y, 0, &out);
                let plan = built.plan();
                Ok(DeviceReply::Applied {
                    strategy: plan.strategy,
                    reason: plan.reason,
                    bytes_held: built.bytes_held(),
                })
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
                let mut out = MappedOutputs::new(file, 1, count).map_err(Refusal::machine)?;
                let draw = NormalDraw { seed, first_call, threads };
                torch_normal(&self.device, draw, first, out.get_mut(0))
                    .map_err(Refusal::machine)?;
                Ok(DeviceReply::NotBuilt)
            }
            DeviceRequest::Unload => Ok(DeviceReply::NotBuilt),
            other => Err(Refusal::of(format!("{other:?} without a case"))),
        }
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

    /// Answers requests about one case, until it is unloaded.
    fn case(
        &self,
        [m, k, n]: [usize; 3],
        files: Files,
        rivals: &mut DeviceBaselines,
    ) -> Result<(), WireError> {
        let Files { a, v, mut y } = files;
        let slot_of = |slot: u32| {
            let slot = slot as usize;
            let v = v.get(slot * k * n..(slot + 1) * k * n);
            view(v.ok_or_else(|| Refusal::of("no such input"))?, (k, n))
        };
        let begin = || {
            let a = view(&a, (m, k))?;
            let monitor = self.monitor.as_ref().ok();
            DeviceCase::new(&self.device, monitor, a, slot_of(0)?).map_err(Refusal::machine)
        };
        let mut case = match begin() {
            Ok(case) => case,
            Err(refusal) => return self.channel.send(&refusal.reply(), &[], None),
        };
        self.channel.send(&Reply::Device(DeviceReply::NotBuilt), &[], None)?;
        let mut built: HashMap<String, BuiltCase> = HashMap::new();
        loop {
            let (request, files) = self.channel.receive(None)?;
            let Request::Device(request) = request else {
                let refusal = Refusal::of(format!("{request:?} to a device"));
                self.channel.send(&refusal.reply(), &[], None)?;
                continue;
            };
            let is_end = matches!(request, DeviceRequest::Unload);
            let find = |built: &HashMap<String, BuiltCase>, name: &str| {
                built.get(name).cloned().ok_or_else(|| Refusal::of("not built"))
            };
            let answer = panics::catch(|| match request {
                DeviceRequest::Build { contender } => {
                    let operator = self.operator(&contender, rivals)?;
                    // Two would hold twice the memory.
                    built.remove(&operator.name());
                    let new = case.build(&operator)?;
                    let (plan, bytes_held) = (new.built.plan(), new.built.bytes_held());
                    built.insert(operator.name(), new);
                    let (strategy, reason) = (plan.strategy, plan.reason);
                    Ok(DeviceReply::Applied { strategy, reason, bytes_held })
                }
                DeviceRequest::Drop { name } => {
                    built.remove(&name);
                    case.forget(&name);
                    Ok(DeviceReply::NotBuilt)
                }
                DeviceRequest::Take { slot } => {
                    case.take(slot_of(slot)?)?;
                    Ok(DeviceReply::NotBuilt)
                }
                DeviceRequest::Poison => {
                    case.poison()?;
                    Ok(DeviceReply::NotBuilt)
                }
                DeviceRequest::Sample { name, calls } => {
                    let sample = case.sample(&find(&built, &name)?, calls);
                    Ok(DeviceReply::Sampled(sample.map_err(Refusal::machine)?))
                }
                DeviceRequest::Run { name, calls } => {
                    case.run(&find(&built, &name)?, calls)?;
                    Ok(DeviceReply::NotBuilt)
                }
                DeviceRequest::Output { name, slot, rows } => {
                    let rows: Option<Vec<usize>> =
                        rows.map(|rows| rows.iter().map(|&row| row as usize).collect());
                    let out = case.output(&find(&built, &name)?, rows.as_deref())?;
                    write(&mut y, slot as usize, &out);
                    Ok(DeviceReply::NotBuilt)
                }
                DeviceRequest::ApplyBuilt { name, slot } => {
                    built.clear();
                    match case.apply_built(&name, slot_of(slot)?)? {
                        None => Ok(DeviceReply::NotBuilt),
                        Some((out, bytes_held)) => {
                            write(&mut y, 0, &out);
                            let (strategy, reason) = Default::default();
                            Ok(DeviceReply::Applied { strategy, reason, bytes_held })
                        }
                    }
                }
                DeviceRequest::Flush => {
                    case.flush()?;
                    Ok(DeviceReply::NotBuilt)
                }
                other => self.plain(other, files, rivals),
            });
            let answer = answer.unwrap_or_else(|panicked| Err(Refusal::machine(panicked)));
            self.channel.send(&reply(answer), &[], None)?;
            if is_end {
                return Ok(());
            }
        }
    }
}

/// Writes the rows of `out` to the front of a slot, which holds as many.
fn write(y: &mut MappedOutputs, slot: usize, out: &Array2<f32>) {
    let to = y.get_mut(slot);
    match out.as_slice() {
        Some(values) => to[..values.len()].copy_from_slice(values),
        None => to.iter_mut().zip(out).for_each(|(to, &from)| *to = from),
    }
}
