//! Which device a manifest's cases run on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::resources::DeviceChoice;
use crate::backend::cuda::CudaError;
use crate::failure::Failure;
use crate::operator::Error;
use crate::output::note;
use crate::published::Normals;
use crate::worker::RemoteDevice;
use contract::words::visible;
use record::DeviceRecord;
use record::manifest::names_accelerator;

/// The devices of a run, each opened once.
pub struct Devices {
    choice: Option<DeviceChoice>,
    threads: usize,
    open: HashMap<usize, Arc<RemoteDevice>>,
    /// Of all devices, once somebody asked.
    names: Option<Vec<String>>,
    /// Platforms in whose place a device stands.
    told: HashSet<String>,
}

impl Devices {
    pub fn new(choice: Option<DeviceChoice>, threads: usize) -> Devices {
        Devices { choice, threads, open: HashMap::new(), names: None, told: HashSet::new() }
    }

    /// Names of all devices; none where the driver cannot be used, whatever it does.
    fn names(&mut self) -> &[String] {
        self.names.get_or_insert_with(|| RemoteDevice::names().unwrap_or_default())
    }

    /// The device that was asked for, or one that is what `platform` names, or else, for bits, the first one where
    /// `platform` is an accelerator; `None` for the CPU.
    pub fn for_platform(
        &mut self,
        platform: Option<&str>,
    ) -> Result<Option<Arc<RemoteDevice>>, Failure> {
        let ordinal = match (self.choice, platform) {
            (Some(DeviceChoice::Cpu), _) | (None, None) => return Ok(None),
            (Some(DeviceChoice::Cuda(ordinal)), _) => ordinal,
            (Some(DeviceChoice::All), _) => 0,
            (None, Some(platform)) => match self.names().iter().position(|name| name == platform) {
                Some(ordinal) => ordinal,
                None => return Ok(self.stand_in(platform)),
            },
        };
        match self.opened(ordinal) {
            Ok(device) => Ok(Some(device)),
            Err(error) if self.choice.is_none() => {
                // Nobody asked for it: the bits can be had without.
                note(&format!("warning: device {ordinal} is not used: {error}"));
                Ok(None)
            }
            Err(error) => Err(Failure::environment(error)),
        }
    }

    /// The device of an operator under test that needs one: the one asked for, or the first.
    pub fn for_operator(&mut self) -> Result<Arc<RemoteDevice>, Failure> {
        let ordinal = match self.choice {
            Some(DeviceChoice::Cpu) => {
                return Err(Failure::bad_input(
                    "--device cpu: the operator is one of a CUDA device\nhint: leave `--device` out, or give its number",
                ));
            }
            Some(DeviceChoice::Cuda(ordinal)) => ordinal,
            Some(DeviceChoice::All) | None => 0,
        };
        self.opened(ordinal).map_err(|error| {
            Failure::environment(format!("the operator is one of a CUDA device: {error}"))
        })
    }

    /// Numbers of all devices, where all are to be used; an error if there is none.
    pub fn all(&self) -> Result<Option<Vec<usize>>, Failure> {
        if self.choice != Some(DeviceChoice::All) {
            return Ok(None);
        }
        match RemoteDevice::names().map_err(Failure::environment)?.len() {
            0 => Err(Failure::environment("--device all: there is no CUDA device")),
            count => Ok(Some((0..count).collect())),
        }
    }

    fn opened(&mut self, ordinal: usize) -> Result<Arc<RemoteDevice>, Error> {
        if let Some(device) = self.open.get(&ordinal) {
            return Ok(device.clone());
        }
        let device = RemoteDevice::open(ordinal, self.threads)?;
        self.open.insert(ordinal, device.clone());
        Ok(device)
    }

    /// The first device, where `platform` is an accelerator that is not here: it gives the same bits. One that cannot
    /// be used is not missed, since the CPU gives them as well.
    fn stand_in(&mut self, platform: &str) -> Option<Arc<RemoteDevice>> {
        if !names_accelerator(platform) || self.names().is_empty() {
            return None;
        }
        let device = self.opened(0).ok().filter(|device| device.ready().is_ok())?;
        if self.told.insert(platform.to_owned()) {
            note(&format!(
                "note: {} is not here: bits are verified on {}, and no time is measured\nhint: --any-platform \
                 measures on it, --device cpu leaves it alone",
                visible(platform),
                visible(&device.info.name)
            ));
        }
        Some(device)
    }

    /// Any CUDA device, for what any of them computes alike: the one asked for, or the first; why there is none.
    pub fn any(&mut self) -> Result<Arc<dyn Normals>, CudaError> {
        let ordinal = match self.choice {
            Some(DeviceChoice::Cpu) => {
                let asked = "`--device cpu`";
                return Err(CudaError::new(
                    "opening a device",
                    "only the CPU was to be used",
                    asked,
                ));
            }
            Some(DeviceChoice::Cuda(ordinal)) => ordinal,
            Some(DeviceChoice::All) | None => 0,
        };
        let device = self.opened(ordinal);
        Ok(device.map_err(|error| CudaError::new("opening a device", error.to_string(), ""))?)
    }

    /// What was used, for the record.
    pub fn records(&self) -> Vec<DeviceRecord> {
        let mut records: Vec<DeviceRecord> = self
            .open
            .values()
            .map(|device| DeviceRecord { device: device.info.clone(), kernels: device.kernels() })
            .collect();
        records.sort_by_key(|record| record.device.ordinal);
        records
    }
}
