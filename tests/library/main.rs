//! The library end to end: inputs, bits, verdicts, bad input; one binary, so that it is linked once.

#[path = "../common/mod.rs"]
mod common;
#[path = "../faulty/mod.rs"]
mod faulty;
#[path = "../files/mod.rs"]
mod files;
#[path = "../hub_server/mod.rs"]
mod hub_server;

mod asked;
mod bad_manifests;
mod bad_weights;
mod broken_operators;
mod checkpoints;
mod direction;
mod hub;
mod hub_reach;
mod independent;
mod invariance;
mod out_of_bound;
mod schemas;
mod spot;
mod stacks;
mod tensor_core_records;
mod tensor_core_vectors;
mod vectors;
mod weights;
