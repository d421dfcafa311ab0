//! CUDA on this machine: devices, compiler, libraries, and what is missing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Availability, PROBE_SEED, not_probed};
use crate::backend::cpu::with_threads;
use crate::backend::cuda::{
    CudaError, Device, compiler_version, cublas_version, cusparse_version, device_count,
};
use crate::baseline::cuda::{DeadRows, Libraries};
use crate::baseline::{DeviceBaselines, device_baselines};
use crate::operator::{OnDevice, Operator};
use crate::rules::probe;
use crate::rules::probe::{Followed, Setting};
use contract::arithmetic::tensor_core::Architecture;
use contract::arithmetic::{Arithmetic, Slices};
use contract::dtype::Dtype;
use record::baseline::Kind;
use record::device::DeviceInfo;

/// What there is of CUDA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuda {
    pub devices: Vec<DeviceInfo>,
    /// Why there is no device, or why one cannot be used.
    pub devices_missing: Vec<String>,
    pub compiler: Availability,
    pub cublas: Availability,
    pub cusparse: Availability,
}

/// A line for a list.
fn in_a_line(error: &CudaError) -> String {
    error.to_string().replace('\n', "; ")
}

fn availability(found: Result<String, CudaError>) -> Availability {
    match found {
        Ok(detail) => Availability { available: true, detail },
        Err(error) => Availability { available: false, detail: in_a_line(&error) },
    }
}

/// Looks at CUDA; the devices that can be used beside it.
pub fn cuda() -> (Cuda, Vec<Arc<Device>>) {
    let (mut devices, mut devices_missing) = (Vec::new(), Vec::new());
    match device_count() {
        Ok(0) => devices_missing.push("no CUDA device is visible".into()),
        Ok(count) => {
            for ordinal in 0..count {
                match Device::open(ordinal) {
                    Ok(device) => devices.push(device),
                    Err(error) => {
                        devices_missing.push(format!("device {ordinal}: {}", in_a_line(&error)));
                    }
                }
            }
        }
        Err(error) => devices_missing.push(in_a_line(&error)),
    }
    let cuda = Cuda {
        devices: devices.iter().map(|device| device.info.clone()).collect(),
        devices_missing,
        compiler: availability(compiler_version()),
        cublas: availability(cublas_version()),
        cusparse: availability(cusparse_version()),
    };
    (cuda, devices)
}

impl Cuda {
    /// What can be done with it, and what cannot.
    pub fn can(&self, can: &mut Vec<String>, cannot: &mut Vec<String>) {
        let mut names: Vec<&str> = self.devices.iter().map(|device| &*device.name).collect();
        names.dedup();
        for name in names {
            match self.compiler.available {
                true => can.push(format!("measure on {name}")),
                false => cannot.push(format!("measure on {name}: {}", self.compiler.detail)),
            }
        }
        let missing = self.devices_missing.iter();
        cannot.extend(missing.map(|reason| format!("measure on a GPU: {reason}")));
        if !self.devices.is_empty() {
            for library in [&self.cublas, &self.cusparse].into_iter().filter(|l| !l.available) {
                cannot.push(format!("compare with the device's vendor: {}", library.detail));
            }
        }
    }

    /// Name and description of each thing.
    pub fn lines(&self) -> Vec<(String, String)> {
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        let device = |device: &DeviceInfo| {
            let text = format!(
                "{}, compute capability {}, {} SMs, {:.1} GiB, driver for CUDA {}, {}",
                device.name,
                device.compute_capability,
                device.multiprocessors,
                gib(device.memory_bytes),
                device.driver,
                device.uuid
            );
            (format!("device {}", device.ordinal), text)
        };
        let mut lines: Vec<_> = self.devices.iter().map(device).collect();
        let missing = self.devices_missing.iter();
        lines.extend(missing.map(|reason| ("device".into(), format!("not available: {reason}"))));
        let parts =
            [("compiler", &self.compiler), ("cuBLAS", &self.cublas), ("cuSPARSE", &self.cusparse)];
        lines.extend(parts.map(|(name, part)| {
            let absent = if part.available { "" } else { "not available: " };
            (name.into(), format!("{absent}{}", part.detail))
        }));
        lines
    }
}

/// The baselines for cases of `dtype`, with f32 output: it shows the sums as they are.
fn baselines(device: &Arc<Device>, dtype: Dtype) -> DeviceBaselines {
    let libraries = &mut Libraries::default();
    device_baselines(
        libraries,
        device,
        dtype,
        Dtype::F32,
        Arithmetic::F32Chain(Slices::One),
        DeadRows::Any,
    )
}

/// The baselines for f32 cases.
pub fn f32_baselines(device: &Arc<Device>) -> DeviceBaselines {
    baselines(device, Dtype::F32)
}

/// Probes every dense and sparse baseline of a device in every dtype; `threads` compute the models.
pub fn followed(device: &Arc<Device>, threads: usize) -> Vec<Followed> {
    let mut rows = Vec::new();
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        let available = baselines(device, dtype).available;
        let operators: Vec<OnDevice> = available
            .into_iter()
            .filter(|baseline| baseline.rival.kind != Kind::Compacted)
            .map(|baseline| OnDevice { operator: baseline.operator, device: device.clone() })
            .collect();
        let references: Vec<&dyn Operator> =
            operators.iter().map(|operator| operator as &dyn Operator).collect();
        let setting = Setting {
            dtype,
            output: Dtype::F32,
            architecture: Architecture::of(device.compute_capability()),
            threads,
            seed: PROBE_SEED,
        };
        for shape in probe::SHAPES.into_iter().chain(probe::DEVICE_SHAPES) {
            let probed = with_threads(threads, || probe::probe_at(&references, shape, setting));
            let named = |operator: &OnDevice| format!("{} {dtype}", operator.name());
            match probed {
                Ok(probed) => {
                    for (operator, row) in operators.iter().zip(probed) {
                        let name = named(operator);
                        rows.push(match row {
                            Ok(row) => Followed { operator: name, ..row },
                            Err(error) => not_probed(&name, shape, threads, &error),
                        });
                    }
                }
                Err(error) => {
                    let failed = |o| not_probed(&named(o), shape, threads, &error);
                    rows.extend(operators.iter().map(failed));
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(detail: &str) -> Availability {
        Availability { available: false, detail: detail.into() }
    }

    fn there(detail: &str) -> Availability {
        Availability { available: true, detail: detail.into() }
    }

    fn h200() -> DeviceInfo {
        DeviceInfo {
            ordinal: 0,
            name: "NVIDIA H200".into(),
            uuid: "GPU-0".into(),
            compute_capability: "9.0".into(),
            multiprocessors: 132,
            memory_bytes: 139 << 30,
            l2_bytes: 60 << 20,
            clock_khz_max: 1_980_000,
            memory_clock_khz: 3_201_000,
            memory_bus_bits: 6144,
            driver: "13.0".into(),
        }
    }

    #[test]
    fn a_device_can_be_measured_on_if_kernels_can_be_compiled() {
        let mut cuda = Cuda {
            devices: vec![h200()],
            devices_missing: Vec::new(),
            compiler: there("NVRTC 13.0"),
            cublas: there("13.1.0"),
            cusparse: absent("cuSPARSE was not found"),
        };
        let said = |cuda: &Cuda| {
            let (mut can, mut cannot) = (Vec::new(), Vec::new());
            cuda.can(&mut can, &mut cannot);
            (can, cannot)
        };
        let (can, cannot) = said(&cuda);
        assert_eq!(can, ["measure on NVIDIA H200"]);
        assert_eq!(cannot, ["compare with the device's vendor: cuSPARSE was not found"]);
        cuda.compiler = absent("no NVRTC");
        let (can, cannot) = said(&cuda);
        assert!(can.is_empty());
        assert_eq!(cannot[0], "measure on NVIDIA H200: no NVRTC");
        let lines = cuda.lines();
        assert!(lines[0].1.starts_with("NVIDIA H200, compute capability 9.0, 132 SMs, 139.0 GiB"));
        assert_eq!(lines[1], ("compiler".into(), "not available: no NVRTC".into()));
    }

    #[test]
    fn this_machine_has_a_device_or_a_reason() {
        let (cuda, devices) = cuda();
        assert_eq!(cuda.devices.len(), devices.len());
        assert!(!devices.is_empty() || !cuda.devices_missing.is_empty());
        for part in [&cuda.compiler, &cuda.cublas, &cuda.cusparse] {
            assert!(!part.detail.is_empty() && !part.detail.contains('\n'), "{part:?}");
        }
    }
}
