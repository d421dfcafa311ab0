//! (spec, seed) -> A and V, bit for bit. Knows nothing of operators, digests or devices.

mod pruned;
mod pruning;
pub mod source;
pub mod spec;
mod stream;
pub mod synthetic;

pub use pruned::{Recipe, Weights, activations};
pub use pruning::{LastKept, RowRanking};
pub use stream::Stream;
