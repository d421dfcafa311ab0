//! Which device a manifest's cases run on.

use std::collections::HashMap;
use std::sync::Arc;

use super::DeviceChoice;
use crate::backend::cuda::{CudaError, Device, device_names};
use crate::exit::Failure;
use crate::record::DeviceRecord;
use crate::words::visible_lines;

/// The devices of a run, each opened once.
pub struct Devices {
    choice: Option<DeviceChoice>,
    open: HashMap<usize, Arc<Device>>,
}

impl Devices {
    pub fn new(choice: Option<DeviceChoice>) -> Devices {
        Devices { choice, open: HashMap::new() }
    }

    /// The device that was asked for, or one that is what `platform` names; `None` for the CPU.
    pub fn for_platform(&mut self, platform: Option<&str>) -> Result<Option<Arc<Device>>, Failure> {
        let ordinal = match (self.choice, platform) {
            (Some(DeviceChoice::Cpu), _) => None,
            (Some(DeviceChoice::Cuda(ordinal)), _) => Some(ordinal),
            // Without a driver there is no such device: its timings say that they need one.
            (None, Some(platform)) => {
                device_names().unwrap_or_default().iter().position(|name| name == platform)
            }
            (None, None) => None,
        };
        let Some(ordinal) = ordinal else { return Ok(None) };
        if let Some(device) = self.open.get(&ordinal) {
            return Ok(Some(device.clone()));
        }
        match Device::open(ordinal) {
            Ok(device) => {
                self.open.insert(ordinal, device.clone());
                Ok(Some(device))
            }
            Err(error) if self.choice.is_none() => {
                // Nobody asked for it: the bits can be had without.
                let error = visible_lines(&error.to_string()).into_owned();
                anstream::eprintln!("warning: device {ordinal} is not used: {error}");
                Ok(None)
            }
            Err(error) => Err(Failure::environment(error)),
        }
    }

    /// Any CUDA device, for what any of them computes alike: the one asked for, or the first; why there is none.
    pub fn any(&mut self) -> Result<Arc<Device>, CudaError> {
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
            None => 0,
        };
        match self.open.get(&ordinal) {
            Some(device) => Ok(device.clone()),
            None => {
                let device = Device::open(ordinal)?;
                self.open.insert(ordinal, device.clone());
                Ok(device)
            }
        }
    }

    /// What was used, for the record.
    pub fn records(&self) -> Vec<DeviceRecord> {
        let mut records: Vec<DeviceRecord> = self
            .open
            .values()
            .map(|device| DeviceRecord {
                device: device.info.clone(),
                kernels: device.kernels_loaded(),
            })
            .collect();
        records.sort_by_key(|record| record.device.ordinal);
        records
    }
}
