//! How long things take: schedule, statistics, roofline, energy.
//!
//! Operators go in, samples come out, from whatever [`Platform`] they run on. What is deliberately
//! absent is any opinion on whether an output is right: the caller's check decides that, and a
//! contender whose output it refused gets no timing, only its raw samples.

mod clock;
mod device;
mod energy;
mod guest;
mod kept;
mod lane;
mod looks;
mod platform;
mod roofline;
mod schedule;
mod workers;

pub use clock::{Clock, MockClock, RealClock};
pub use device::{Calls, DevicePlatform, OnDeviceNamed, element_bytes};
pub use energy::{EnergyCounter, MockEnergy, POWERCAP, Rapl, WINDOW_S_MIN, energy_j};
pub use guest::{Beside, GuestBuilt, GuestPlatform, OnDevice};
pub use kept::{DeviceSlots, Kept};
pub use lane::block;
pub use platform::{Called, Contender, Inputs, Part, Platform, WROTE, is_finding};
pub use roofline::host_roofline;
pub use schedule::{Case, Check, Instruments, Plan, measure, sizes};
pub use workers::{Draw, Numbered, Remote, SharedA, Slots, WorkerPlatform, rivals, slots};

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod in_process;
#[cfg(test)]
mod kept_tests;
#[cfg(test)]
mod tests;
