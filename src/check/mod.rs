//! Decides correctness: digests, comparisons, perturbation, verdicts. Never looks at a clock.

pub mod bits;
pub mod compare;
pub mod distinct;
pub mod lanes;
pub mod memory;
pub mod perturb;
mod tally;
pub mod tolerance;
pub mod verdict;
