//! Recipes of published inputs that are not ours: what PyTorch's generators draw on a device of which
//! only a few numbers matter, and what NumPy's draws anywhere. They show whether a published digest is that of the inputs
//! it is said to be of.
//!
//! Uniform ones are weights and activations of cases as well. Left out: dtypes other than f32, tensors
//! that PyTorch draws in parts, normal draws of ROCm, and the elements of normal draws, whose sine and cosine are a
//! device's own.

mod generator;
mod known;
mod numpy;
mod philox;
mod scope;
mod uniform;

pub use generator::{Drawn, Generator, Hardware, Platform, Recipe};
pub use known::{KNOWN, Known, KnownTensor};
pub use numpy::{NUMPY_UNIFORM, NumpyMasked, NumpyUniform, NumpyValues};
pub use scope::{Comparison, PREFIX_BYTES, Scope};

/// Why there are no elements.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A device whose threads no generator is known to use.
    #[error(
        "no generator for {multiprocessors} multiprocessors of {threads} threads: expected blocks of 256 \
         threads, from 1 to {} in all",
        Hardware::BLOCKS_MAX
    )]
    Hardware {
        /// Multiprocessors, on ROCm compute units.
        multiprocessors: u32,
        /// Threads that each of them holds.
        threads: u32,
    },
    /// A recipe that a platform follows in a way of its own.
    #[error("{recipe} is not known for {platform}: rocRAND makes normal numbers in its own way")]
    Platform {
        /// The recipe asked for.
        recipe: Recipe,
        /// The platform that does otherwise.
        platform: Platform,
    },
    /// A tensor that PyTorch would draw in parts.
    #[error(
        "tensor of {rows} x {cols} is out of range: must have at most {} elements, because PyTorch draws \
         larger ones in parts",
        Drawn::ELEMENTS_MAX
    )]
    TooLarge {
        /// Rows of the tensor.
        rows: usize,
        /// Columns of the tensor.
        cols: usize,
    },
    /// Elements that the tensor does not have.
    #[error("elements {first} to {first} + {len} are out of range: the tensor has {elements}")]
    OutOfRange {
        /// The first element asked for, from 0.
        first: usize,
        /// How many were asked for.
        len: usize,
        /// Elements of the tensor.
        elements: usize,
    },
    /// A recipe that a CPU cannot follow.
    #[error("{0} needs a CUDA device")]
    NeedsDevice(Recipe),
}
