//! Calls that were timed, and energy that was counted.

use serde::{Deserialize, Serialize};

use crate::device::State;

/// Calls made back to back, as the platform saw them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sample {
    /// Time of all calls together, in ns, by the platform's best clock: a device's events, else the host's.
    pub time_ns: f64,
    /// Time of the same calls, in ns, by the host's clock, from before a device could start on them until it
    /// was seen to be idle; `None` where `time_ns` is the host's.
    pub host_ns: Option<f64>,
    /// What the device said of itself about then; `None` where there is nobody to ask.
    pub state: Option<State>,
}

impl Sample {
    /// Whether the device was held back in a way that says nothing about the contender.
    pub fn is_throttled(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.throttled.is_some())
    }
}

/// Energy over one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Window {
    /// Length of the window, in s.
    pub seconds: f64,
    /// Calls made in it.
    pub calls: u64,
    /// Energy that the counter saw, in J.
    pub energy_j: f64,
    /// Mean power, in W.
    pub power_w: f64,
}

/// The energy of one operator's calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Energy {
    /// Per call, everything that the counter saw.
    pub joules_per_call: f64,
    /// Per call, less what the idle machine would have used.
    pub joules_per_call_above_idle: f64,
    /// Mean power of the machine at rest, in W, in a window as long.
    pub idle_power_w: f64,
    /// The window that the figures are from.
    pub window: Window,
    /// Whether the window was long enough and the machine drew more than when idle.
    pub is_valid: bool,
}

impl Energy {
    /// Sets a window beside the idle one; both are valid from `window_s_min` seconds on.
    pub fn of(window: Window, idle: &Window, window_s_min: f64) -> Energy {
        let per_call = |joules: f64| joules / window.calls as f64;
        Energy {
            joules_per_call: per_call(window.energy_j),
            joules_per_call_above_idle: per_call(window.energy_j - idle.power_w * window.seconds),
            idle_power_w: idle.power_w,
            is_valid: window.seconds >= window_s_min
                && idle.seconds >= window_s_min
                && window.power_w > idle.power_w,
            window,
        }
    }
}
