//! Independent verification of sparse-operator performance claims.
//!
//! Data flows one way: manifest -> cases -> inputs -> {reference, operator, baselines} ->
//! digests and comparisons -> verdict -> record -> reports. VERIFY.md is the contract.

pub mod arithmetic;
pub mod backend;
pub mod baseline;
pub mod doctor;
pub mod inputs;
pub mod matrix;
pub mod measure;
pub mod operator;
