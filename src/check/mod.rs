//! Decides correctness: digests, comparisons, perturbation, verdicts. Never looks at a clock.

pub mod bits;
pub mod explain;
pub mod lanes;
pub mod memory;
mod tally;
pub mod tolerance;
