//! What a stranger must agree with to verify a case: inputs bit for bit, the rule of every output element, and what a
//! digest is of. VERIFY.md says the same in words.
//!
//! Everything here is scalar and obvious. Deliberately absent: devices, files, the network, clocks, verdicts, and
//! implementations that are fast.

#![forbid(unsafe_code)]

pub mod arithmetic;
pub mod case;
pub mod digest;
pub mod distinct;
pub mod dtype;
pub mod inputs;
pub mod perturbation;
pub mod published;
pub mod strategy;
pub mod threads;
pub mod words;
