//! Recipes of published inputs that are not ours: what PyTorch's generators draw on a device of which
//! only a few numbers matter. They show whether a published digest is that of the inputs it is said
//! to be of.
//!
//! Uniform ones are weights and activations of cases as well. Left out: dtypes other than f32, tensors
//! that PyTorch draws in parts, and normal draws of ROCm.

mod generator;
mod known;
mod philox;
mod scope;
mod uniform;

use std::sync::Arc;

pub use generator::{Drawn, Generator, Hardware, Platform, Recipe};
pub use known::{KNOWN, Known, KnownTensor};
pub use scope::{Comparison, PREFIX_BYTES, Scope};

use crate::backend::cuda::{CudaError, Device};

/// What elements are computed with.
pub struct Machine {
    pub threads: usize,
    /// For [`Recipe::Normal`]: any CUDA device that has a compiler, or why there is none. It need not
    /// be of the kind that is imitated.
    pub device: Result<Arc<Device>, CudaError>,
}

impl Machine {
    /// The CPU alone.
    pub fn cpu(threads: usize) -> Machine {
        let asked = "a recipe that needs a CUDA device";
        let device = Err(CudaError::new("opening a device", "only the CPU was to be used", asked));
        Machine { threads, device }
    }
}

/// Why there are no elements.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is wrong with the request, but this machine cannot compute the recipe.
    #[error("{recipe} was not run: {reason}")]
    NotRun { recipe: Recipe, reason: CudaError },
    /// The device was there and failed.
    #[error("{recipe}: {error}")]
    Device { recipe: Recipe, error: CudaError },
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
}
