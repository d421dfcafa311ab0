//! Renderings of a record: record in, bytes out. Reaches no device and decides nothing.

mod claimed;
pub mod compare;
pub mod csv;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod operators;
pub mod overview;
pub mod terminal;
