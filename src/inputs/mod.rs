//! (spec, seed) -> A and V, bit for bit.

pub mod spec;
