//! What NVML says of a device: energy, clocks, power, temperature, what holds it back.
//!
//! The library is opened when first asked for; without it, or without a device, there is a
//! reason instead. What is deliberately absent: setting anything.

use record::device::State;
use std::sync::OnceLock;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// Reasons for which the device runs slower than the contender makes it: heat, and power that
/// the board or the machine could not deliver.
const THROTTLED: [(ThrottleReasons, &str); 4] = [
    (ThrottleReasons::HW_SLOWDOWN, "hardware slowdown"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hardware thermal slowdown"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "software thermal slowdown"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hardware power brake"),
];

/// Limits that belong to the device as it was set up. A large GEMM runs at the power limit: that
/// is its speed.
const LIMITED: [(ThrottleReasons, &str); 4] = [
    (ThrottleReasons::SW_POWER_CAP, "software power cap"),
    (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "applications clocks setting"),
    (ThrottleReasons::SYNC_BOOST, "sync boost"),
    (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display clock setting"),
];

/// One device, seen through NVML.
#[derive(Debug)]
pub struct Monitor {
    device: Device<'static>,
    /// Such as `NVIDIA H200`.
    pub name: String,
    /// The highest clock of the multiprocessors.
    pub clock_mhz_max: u32,
}

impl Monitor {
    /// Finds the device with this UUID (`GPU-...`, as CUDA and nvidia-smi write it), else this
    /// PCI bus id (`0000:3b:00.0`), or says why it cannot be seen. An index is no name: NVML
    /// counts all devices, CUDA those that it was left.
    pub fn open(id: &str) -> Result<Monitor, String> {
        let nvml = library()?;
        let found = if id.starts_with("GPU-") || id.starts_with("MIG-") {
            nvml.device_by_uuid(id)
        } else {
            nvml.device_by_pci_bus_id(id)
        };
        let said = |what: &str, error: NvmlError| format!("NVML, device {id}: {what}: {error}");
        let device = found.map_err(|error| said("not found", error))?;
        Ok(Monitor {
            name: device.name().map_err(|error| said("name", error))?,
            clock_mhz_max: device
                .max_clock_info(Clock::SM)
                .map_err(|error| said("highest SM clock", error))?,
            device,
        })
    }

    /// Millijoules since the driver was loaded, of the whole board. The device counts on every
    /// 20 to 100 ms.
    pub fn energy_mj(&self) -> Result<u64, String> {
        self.device
            .total_energy_consumption()
            .map_err(|error| format!("NVML: total energy of {}: {error}", self.name))
    }

    /// The state now. A device that has gone idle soon says nothing of the work before, so this
    /// is to be asked while the work runs or right after it.
    pub fn state(&self) -> Result<State, String> {
        let said = |what: &str, error: NvmlError| format!("NVML: {what} of {}: {error}", self.name);
        let clock = self.device.clock_info(Clock::SM).map_err(|error| said("SM clock", error))?;
        let reasons = self
            .device
            .current_throttle_reasons()
            .map_err(|error| said("throttle reasons", error))?;
        Ok(State {
            clock_mhz: clock,
            power_w: self.device.power_usage().ok().map(|mw| f64::from(mw) / 1e3),
            temperature_c: self.device.temperature(TemperatureSensor::Gpu).ok(),
            throttled: in_words(reasons, &THROTTLED),
            limited: in_words(reasons, &LIMITED),
        })
    }
}

/// The library, opened once and never closed, or why it cannot be used.
fn library() -> Result<&'static Nvml, String> {
    static LIBRARY: OnceLock<Result<Nvml, String>> = OnceLock::new();
    LIBRARY
        .get_or_init(|| Nvml::init().map_err(|error| format!("NVML cannot be used: {error}")))
        .as_ref()
        .map_err(String::clone)
}

/// Those of `named` that are among `reasons`.
fn in_words(reasons: ThrottleReasons, named: &[(ThrottleReasons, &str)]) -> Option<String> {
    let words: Vec<&str> = named
        .iter()
        .filter(|(reason, _)| reasons.contains(*reason))
        .map(|&(_, words)| words)
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaching_the_power_limit_is_no_throttling() {
        let words = |reasons| (in_words(reasons, &THROTTLED), in_words(reasons, &LIMITED));
        assert_eq!(words(ThrottleReasons::empty()), (None, None));
        assert_eq!(words(ThrottleReasons::GPU_IDLE), (None, None));
        assert_eq!(words(ThrottleReasons::SW_POWER_CAP), (None, Some("software power cap".into())));
        // As an overheated device reports it: the general bit and the particular one.
        assert_eq!(
            words(
                ThrottleReasons::HW_SLOWDOWN
                    | ThrottleReasons::HW_THERMAL_SLOWDOWN
                    | ThrottleReasons::SW_POWER_CAP
            ),
            (
                Some("hardware slowdown, hardware thermal slowdown".into()),
                Some("software power cap".into())
            )
        );
    }

    #[test]
    fn every_reason_but_idleness_is_sorted() {
        let known = THROTTLED.iter().chain(&LIMITED).map(|&(reason, _)| reason);
        let known = known.fold(ThrottleReasons::GPU_IDLE, |known, reason| known | reason);
        assert_eq!(known, ThrottleReasons::all());
    }

    #[test]
    fn a_device_that_is_not_there_gets_a_reason() {
        for id in ["GPU-00000000-0000-0000-0000-000000000000", "0000:ff:1f.7"] {
            let reason = Monitor::open(id).expect_err("no such device");
            assert!(reason.starts_with("NVML"), "{reason}");
        }
    }

    #[test]
    fn the_first_device_is_monitored_where_there_is_one() {
        let first = library().and_then(|nvml| {
            nvml.device_by_index(0).and_then(|device| device.uuid()).map_err(|e| e.to_string())
        });
        match first {
            Err(reason) => println!("not run: {reason}"),
            Ok(uuid) => {
                let monitor = Monitor::open(&uuid).expect("its UUID was just given");
                let state = monitor.state().expect("a device that is there");
                assert!(state.clock_mhz <= monitor.clock_mhz_max, "{state:?}");
                let before = monitor.energy_mj().expect("Volta and later count");
                assert!(monitor.energy_mj().expect("as above") >= before);
            }
        }
    }
}
