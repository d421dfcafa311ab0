//! How long things take: schedule, statistics, roofline, energy.
//!
//! Operators go in, samples come out. What is deliberately absent is any opinion on whether an
//! output is right: the caller's check decides that, and a contender whose output it refused
//! gets no timing, only its raw samples.

mod clock;
mod energy;
mod result;
mod roofline;
mod schedule;
mod statistics;

pub use clock::{Clock, MockClock, RealClock};
pub use energy::{
    Energy, EnergyCounter, MockEnergy, POWERCAP, Rapl, WINDOW_S_MIN, Window, energy_j,
};
pub use result::{
    CaseTimings, EnergyBasis, EnergyRatio, Rule, Speedup, Timed, Timing, Warmup, published_kind,
};
pub use roofline::{MARGIN, Roofline, Work};
pub use schedule::{CacheFlush, Case, Contender, Instruments, Plan, measure, with_threads};
pub use statistics::{Interval, Summary, as_f64, median, median_interval, ratio_interval};

#[cfg(test)]
mod tests;
