//! What turns (A, V) into Y by skipping zeros.

mod strategy;

pub use strategy::Strategy;
