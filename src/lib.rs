//! Independent verification of sparse-operator performance claims.
//!
//! Data flows one way: manifest -> cases -> inputs -> {reference, operator, baselines} ->
//! digests and comparisons -> verdict -> record -> reports. VERIFY.md is the contract.

#![deny(unsafe_code)]

pub mod arithmetic;
pub mod audit;
#[allow(unsafe_code, reason = "kernels, devices and vendor libraries")]
pub mod backend;
pub mod baseline;
mod cache;
pub mod check;
pub mod claims;
pub mod cli;
pub mod digest;
pub mod doctor;
pub mod exit;
pub mod expected;
pub mod inputs;
pub mod interrupt;
pub mod machine;
pub mod manifest;
pub mod matrix;
pub mod measure;
pub mod merge;
pub mod numbers;
pub mod operator;
pub mod output;
pub mod panics;
pub mod predict;
pub mod published;
mod read;
pub mod record;
pub mod report;
pub mod shard;
pub mod supervise;
pub mod threads;
pub mod vectors;
mod words;
