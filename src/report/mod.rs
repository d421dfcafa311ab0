//! Renderings of a record: record in, bytes out. Reaches no device and decides nothing.

pub mod junit;
pub mod terminal;
