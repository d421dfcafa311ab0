//! Accelerators, and the machine code that ran on them.

use contract::digest::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stand_in;

/// What a device is, as records keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceInfo {
    pub ordinal: usize,
    /// Such as `NVIDIA H200`.
    pub name: String,
    /// `GPU-` and the UUID in hexadecimal, as NVML writes it.
    pub uuid: String,
    /// Such as `9.0`.
    pub compute_capability: String,
    pub multiprocessors: usize,
    pub memory_bytes: u64,
    pub l2_bytes: u64,
    /// Highest clock of the multiprocessors.
    pub clock_khz_max: u64,
    pub memory_clock_khz: u64,
    pub memory_bus_bits: u64,
    /// The newest CUDA that the driver serves, such as `13.0`.
    pub driver: String,
}

impl DeviceInfo {
    /// Major and minor compute capability.
    pub fn capability(&self) -> Option<(i32, i32)> {
        let (major, minor) = self.compute_capability.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }
}

/// How one kernel came about, as records keep it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct KernelRecord {
    pub source: String,
    /// Of the source and the headers.
    #[schemars(with = "stand_in::Digest")]
    pub source_sha256: Digest,
    pub options: String,
    pub compiler: String,
    /// Of the machine code.
    #[schemars(with = "stand_in::Digest")]
    pub cubin_sha256: Digest,
}

/// What a device says of itself at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// Of the multiprocessors.
    pub clock_mhz: u32,
    /// Averaged by the device over up to a second; `None` where it has no sensor.
    pub power_w: Option<f64>,
    pub temperature_c: Option<u32>,
    /// Why it ran slower than the work asks for; `None` if it did not.
    pub throttled: Option<String>,
    /// Limits that were reached and are normal.
    pub limited: Option<String>,
}
