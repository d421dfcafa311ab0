//! Decides correctness: digests, comparisons, perturbation, verdicts. Never looks at a clock.

pub(crate) mod accuracy;
pub mod bits;
pub mod explain;
pub mod lanes;
pub mod memory;
pub(crate) mod tally;
pub mod tolerance;
