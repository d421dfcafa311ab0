//! Published inputs made again on this machine: uniform tensors on the CPU, normal ones on a CUDA device.

use std::ops::Range;
use std::sync::Arc;

use contract::digest::Digest;
use contract::published::{Drawn, Recipe, Scope};
use ndarray::Array2;

use crate::backend::cuda::{CudaError, Device, NormalDraw, compiler_version, torch_normal};

/// What elements are computed with.
pub struct Machine {
    pub threads: usize,
    /// For [`Recipe::Normal`]: any CUDA device that has a compiler, or why there is none. It need not
    /// be of the kind that is imitated.
    pub device: Result<Arc<dyn Normals>, CudaError>,
}

/// A device that draws normal numbers as PyTorch does, in this process or in another.
pub trait Normals: Send + Sync {
    /// The device's name.
    fn name(&self) -> String;

    /// Why it cannot draw, though it is there.
    fn ready(&self) -> Result<(), CudaError>;

    /// Fills `out` with elements `first`, `first + 1`, ... of a tensor.
    fn fill(&self, draw: NormalDraw, first: usize, out: &mut [f32]) -> Result<(), CudaError>;
}

/// In this process.
impl Normals for Arc<Device> {
    fn name(&self) -> String {
        self.info.name.clone()
    }

    fn ready(&self) -> Result<(), CudaError> {
        compiler_version().map(drop)
    }

    fn fill(&self, draw: NormalDraw, first: usize, out: &mut [f32]) -> Result<(), CudaError> {
        torch_normal(self, draw, first, out)
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
    /// The request cannot be met anywhere.
    #[error(transparent)]
    Recipe(#[from] contract::published::Error),
}

impl Machine {
    /// The CPU alone.
    pub fn cpu(threads: usize) -> Machine {
        let asked = "a recipe that needs a CUDA device";
        let device = Err(CudaError::new("opening a device", "only the CPU was to be used", asked));
        Machine { threads, device }
    }

    /// Writes elements `first`, `first + 1`, ... of a tensor until `out` is full.
    pub fn fill(&self, drawn: &Drawn, first: usize, out: &mut [f32]) -> Result<(), Error> {
        match drawn.recipe() {
            Recipe::Uniform => Ok(drawn.fill(first, out, self.threads)?),
            recipe @ Recipe::Normal => {
                drawn.require(first, out.len())?;
                let not_run = |reason| Error::NotRun { recipe, reason };
                let device = self.device.as_ref().map_err(|reason| not_run(reason.clone()))?;
                device.ready().map_err(not_run)?;
                let draw = NormalDraw {
                    seed: drawn.seed(),
                    first_call: drawn.first_call(),
                    // At most 2^22: PyTorch counts them in 32 bits.
                    threads: drawn.threads() as u32,
                };
                device.fill(draw, first, out).map_err(|error| Error::Device { recipe, error })
            }
        }
    }

    /// Rows `rows` of a tensor.
    pub fn rows(&self, drawn: &Drawn, rows: Range<usize>) -> Result<Array2<f32>, Error> {
        drawn.rows(rows, |first, out| self.fill(drawn, first, out))
    }

    /// The digest of what `scope` covers of a tensor.
    pub fn digest(&self, drawn: &Drawn, scope: Scope) -> Result<Digest, Error> {
        drawn.digest_by(scope, |first, out| self.fill(drawn, first, out))
    }
}
