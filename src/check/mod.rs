//! Decides correctness: digests, comparisons, perturbation, verdicts. Never looks at a clock.

mod accuracy;
pub mod bits;
pub mod explain;
pub mod lanes;
pub mod memory;
pub(crate) mod tally;
pub mod tolerance;
