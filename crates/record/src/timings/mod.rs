//! What was measured, and what follows from the samples.

mod result;
mod roofline;
mod sample;
mod statistics;

pub use result::{
    CaseTimings, EnergyBasis, EnergyRatio, Rule, Speedup, Spent, Timed, TimedInputs, Timing,
    Warmup, published_kind,
};
pub use roofline::{ElementBytes, GIVEN_MARGIN, LayerSizes, MEASURED_MARGIN, Roofline, Work};
pub use sample::{Energy, Sample, Window};
pub use statistics::{Interval, Summary, as_f64, median, median_interval, ratio_interval};
