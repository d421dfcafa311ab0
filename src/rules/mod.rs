//! Which rule a library or a device follows: asked by outputs alone, since no documentation says in which order it sums.
//!
//! `probe` asks on random values, `identify` about a whole output, `vectors` with operands that tell the clauses of a
//! tensor core's rule apart. `model` holds the candidates. Left out: whether following a rule is right or fast.

mod identify;
mod model;
pub mod probe;
pub mod vectors;

pub use identify::Identifier;
