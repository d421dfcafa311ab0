//! Which device a manifest's cases run on.

use std::collections::HashMap;
use std::sync::Arc;

use super::DeviceChoice;
use crate::backend::cuda::CudaError;
use crate::failure::Failure;
use crate::published::Normals;
use crate::worker::RemoteDevice;
use record::DeviceRecord;

/// The devices of a run, each opened once.
pub struct Devices {
    choice: Option<DeviceChoice>,
    threads: usize,
    open: HashMap<usize, Arc<RemoteDevice>>,
    /// Of all devices, once somebody asked.
    names: Option<Vec<String>>,
}

impl Devices {
    pub fn new(choice: Option<DeviceChoice>, threads: usize) -> Devices {
        Devices { choice, threads, open: HashMap::new(), names: None }
    }

    /// Names of all devices; none where the driver cannot be used, whatever it does.
    fn names(&mut self) -> &[String] {
        self.names.get_or_insert_with(|| RemoteDevice::names().unwrap_or_default())
    }

    /// The device that was asked for, or one that is what `platform` names; `None` for the CPU.
    pub fn for_platform(
        &mut self,
        platform: Option<&str>,
    ) -> Result<Option<Arc<RemoteDevice>>, Failure> {
        let ordinal = match (self.choice, platform) {
            (Some(DeviceChoice::Cpu), _) => None,
            (Some(DeviceChoice::Cuda(ordinal)), _) => Some(ordinal),
            // Without a driver there is no such device: its timings say that they need one.
            (None, Some(platform)) => self.names().iter().position(|name| name == platform),
            (None, None) => None,
        };
        let Some(ordinal) = ordinal else { return Ok(None) };
        if let Some(device) = self.open.get(&ordinal) {
            return Ok(Some(device.clone()));
        }
        match RemoteDevice::open(ordinal, self.threads) {
            Ok(device) => {
                self.open.insert(ordinal, device.clone());
                Ok(Some(device))
            }
            Err(error) if self.choice.is_none() => {
                // Nobody asked for it: the bits can be had without.
                crate::output::note(&format!("warning: device {ordinal} is not used: {error}"));
                Ok(None)
            }
            Err(error) => Err(Failure::environment(error)),
        }
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
            None => 0,
        };
        match self.open.get(&ordinal) {
            Some(device) => Ok(device.clone()),
            None => {
                let device = RemoteDevice::open(ordinal, self.threads)
                    .map_err(|error| CudaError::new("opening a device", error, ""))?;
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
            .map(|device| DeviceRecord { device: device.info.clone(), kernels: device.kernels() })
            .collect();
        records.sort_by_key(|record| record.device.ordinal);
        records
    }
}
