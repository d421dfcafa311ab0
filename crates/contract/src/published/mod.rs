//! Recipes of published inputs that are not ours: what PyTorch's generators draw on a device of which
//! only a few numbers matter. They show whether a published digest is that of the inputs it is said
//! to be of.
//!
//! Uniform ones are weights and activations of cases as well. Left out: dtypes other than f32, tensors
//! that PyTorch draws in parts, normal draws of ROCm, and the elements of normal draws, whose sine and cosine are a
//! device's own.

mod generator;
mod known;
mod philox;
mod scope;
mod uniform;

pub use generator::{Drawn, Generator, Hardware, Platform, Recipe};
pub use known::{KNOWN, Known, KnownTensor};
pub use scope::{Comparison, PREFIX_BYTES, Scope};

/// Why there are no elements.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "no generator for {multiprocessors} multiprocessors of {threads} threads: expected blocks of 256 \
         threads, from 1 to {} in all",
        Hardware::BLOCKS_MAX
    )]
    Hardware { multiprocessors: u32, threads: u32 },
    #[error("{recipe} is not known for {platform}: rocRAND makes normal numbers in its own way")]
    Platform { recipe: Recipe, platform: Platform },
    #[error(
        "tensor of {rows} x {cols} is out of range: must have at most {} elements, because PyTorch draws \
         larger ones in parts",
        Drawn::ELEMENTS_MAX
    )]
    TooLarge { rows: usize, cols: usize },
    #[error("elements {first} to {first} + {len} are out of range: the tensor has {elements}")]
    OutOfRange { first: usize, len: usize, elements: usize },
    #[error("{0} needs a CUDA device")]
    NeedsDevice(Recipe),
}
