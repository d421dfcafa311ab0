//! How long things take: schedule, statistics, roofline, energy.
//!
//! Operators go in, samples come out, from whatever [`Platform`] they run on. What is deliberately
//! absent is any opinion on whether an output is right: the caller's check decides that, and a
//! contender whose output it refused gets no timing, only its raw samples.

mod clock;
mod cpu;
mod cuda;
mod energy;
mod platform;
mod result;
mod roofline;
mod schedule;
mod statistics;

pub use clock::{Clock, MockClock, RealClock};
pub use cpu::{CacheFlush, CpuBuilt, CpuPlatform, with_threads};
pub use cuda::{CudaBuilt, CudaPlatform, element_bytes, roofline as device_roofline};
pub use energy::{
    Energy, EnergyCounter, MockEnergy, POWERCAP, Rapl, WINDOW_S_MIN, Window, energy_j,
};
pub use platform::{Contender, Platform, Sample};
pub use result::{
    CaseTimings, EnergyBasis, EnergyRatio, Rule, Speedup, Spent, Timed, Timing, Warmup,
    published_kind,
};
pub use roofline::{ElementBytes, GIVEN_MARGIN, MEASURED_MARGIN, Roofline, Work};
pub use schedule::{Case, Check, Instruments, Plan, measure};
pub use statistics::{Interval, Summary, as_f64, median, median_interval, ratio_interval};

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod tests;
