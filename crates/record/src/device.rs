//! Accelerators, and the machine code that ran on them.

use contract::digest::Digest;
use serde::{Deserialize, Serialize};

/// What a device is, as records keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceInfo {
    /// Number of the device, as the driver counts from 0.
    pub ordinal: usize,
    /// Such as `NVIDIA H200`.
    pub name: String,
    /// `GPU-` and the UUID in hexadecimal, as NVML writes it.
    pub uuid: String,
    /// Such as `9.0`.
    pub compute_capability: String,
    /// Number of multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of device memory.
    pub memory_bytes: u64,
    /// Bytes of the L2 cache.
    pub l2_bytes: u64,
    /// Highest clock of the multiprocessors.
    pub clock_khz_max: u64,
    /// Highest clock of the memory, in kHz.
    pub memory_clock_khz: u64,
    /// Width of the memory's bus, in bits.
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KernelRecord {
    /// Name of the source file.
    pub source: String,
    /// Digest of the source and the headers.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub source_sha256: Digest,
    /// Options of the compilation, in one line.
    pub options: String,
    /// The compiler and its version.
    pub compiler: String,
    /// Digest of the machine code.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub cubin_sha256: Digest,
}

/// State of a device at one moment, as it says itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct State {
    /// Clock of the multiprocessors, in MHz.
    pub clock_mhz: u32,
    /// Averaged by the device over up to a second; `None` where it has no sensor.
    pub power_w: Option<f64>,
    /// Temperature in degrees Celsius; `None` where there is no sensor.
    pub temperature_c: Option<u32>,
    /// Why it ran slower than the work asks for; `None` if it did not.
    pub throttled: Option<String>,
    /// Limits that were reached and are normal.
    pub limited: Option<String>,
}
