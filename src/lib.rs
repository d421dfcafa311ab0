//! Independent verification of sparse-operator performance claims: the kit.
//!
//! Data flows one way: manifest -> cases -> inputs -> {reference, operator, baselines} ->
//! digests and comparisons -> verdict -> record -> reports. The `contract` crate is what a stranger must agree with,
//! the `record` crate what was seen and what follows from it; the rest, which reaches files, devices, clocks and the
//! network, is here. VERIFY.md is the specification.

#![deny(unsafe_code)]

#[cfg(windows)]
compile_error!(
    "sparse-verify does not run on Windows: its workers and their walls are those of Linux. Build it in WSL, or in a container."
);

pub mod audit;
#[allow(unsafe_code, reason = "kernels, devices and vendor libraries")]
pub mod backend;
pub mod baseline;
mod cache;
pub mod carried;
pub mod challenge;
pub mod check;
pub mod cli;
pub mod doctor;
pub mod environment;
pub mod expected;
pub mod failure;
pub mod files;
pub mod interrupt;
pub mod machine;
pub mod manifest;
pub mod measure;
pub mod operator;
pub mod output;
pub mod own_folder;
pub mod panics;
pub mod predict;
pub mod published;
pub mod records;
pub mod rules;
pub mod shard;
pub mod signal;
pub mod supervise;
pub mod tensors;
pub mod weights;
pub mod worker;
