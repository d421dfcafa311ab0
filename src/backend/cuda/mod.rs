//! NVIDIA devices.

pub mod nvml;
