//! PyTorch's device generator: which word of which Philox call becomes which element, and where the
//! next tensor begins.
//!
//! Source of the facts: PyTorch, `aten/src/ATen/native/cuda/DistributionTemplates.h` (the grid, the
//! stride of four elements a thread, the offset) and cuRAND's `curand_kernel.h` (the counter of a
//! seed, a thread and an offset).

use std::fmt;
use std::ops::Range;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::{Error, uniform};
use crate::inputs::source::{Source, SourceError};

/// How words become elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Recipe {
    /// `torch.rand` on a device: uniform in [0, 1), on 2^-32 and coarser grids.
    #[serde(rename = "torch-device-uniform")]
    Uniform,
    /// `torch.randn` on a CUDA device: Box-Muller with the device's own sine and cosine.
    #[serde(rename = "torch-device-normal")]
    Normal,
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Recipe::Uniform => "torch-device-uniform",
            Recipe::Normal => "torch-device-normal",
        })
    }
}

/// The random library that PyTorch was built with. Both place words alike and scale them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// cuRAND.
    Cuda,
    /// rocRAND.
    Rocm,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Platform::Cuda => "CUDA",
            Platform::Rocm => "ROCm",
        })
    }
}

/// What of a device decides its random numbers. In records: the platform, and blocks that PyTorch starts at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(Platform, u32)", into = "(Platform, u32)")]
pub struct Hardware {
    platform: Platform,
    /// Blocks that PyTorch starts at most.
    blocks_max: u32,
}

impl Hardware {
    /// Threads of a block.
    const BLOCK: u32 = 256;
    /// PyTorch multiplies blocks, threads and elements of a thread in 32 bits.
    pub const BLOCKS_MAX: u32 = u32::MAX / (Hardware::BLOCK * WORDS as u32);
    /// Threads that a multiprocessor of a data centre's device holds: V100, A100, H100, H200, B200 and
    /// MI300X. Others may hold fewer.
    pub const THREADS: u32 = 2048;

    /// `multiprocessors` are compute units on ROCm; `threads` are those that each of them holds
    /// (`maxThreadsPerMultiProcessor`).
    pub fn new(platform: Platform, multiprocessors: u32, threads: u32) -> Result<Hardware, Error> {
        match multiprocessors.checked_mul(threads / Hardware::BLOCK) {
            Some(blocks_max @ 1..=Hardware::BLOCKS_MAX) => Ok(Hardware { platform, blocks_max }),
            _ => Err(Error::Hardware { multiprocessors, threads }),
        }
    }

    /// One whose multiprocessors hold [`Hardware::THREADS`] threads.
    pub(super) const fn of(platform: Platform, multiprocessors: u32) -> Hardware {
        let blocks_max = multiprocessors * (Hardware::THREADS / Hardware::BLOCK);
        Hardware { platform, blocks_max }
    }

    /// The random library that drew.
    pub fn platform(self) -> Platform {
        self.platform
    }

    /// A (m x k) and then V (k x n) of a generator that was just seeded, both uniform.
    pub fn uniform_inputs(
        self,
        seed: u64,
        (m, k): (usize, usize),
        n: usize,
    ) -> Result<(Drawn, Drawn), Error> {
        let mut generator = Generator::new(seed, self);
        let a = generator.draw(Recipe::Uniform, (m, k))?;
        Ok((a, generator.draw(Recipe::Uniform, (k, n))?))
    }

    /// Threads that draw a tensor. With few elements, those of as many blocks as are needed.
    fn drawing(self, elements: usize) -> u32 {
        let needed = elements.div_ceil(Hardware::BLOCK as usize).max(1);
        let blocks = u32::try_from(needed).map_or(self.blocks_max, |n| n.min(self.blocks_max));
        blocks * Hardware::BLOCK
    }
}

impl TryFrom<(Platform, u32)> for Hardware {
    type Error = Error;

    fn try_from((platform, blocks_max): (Platform, u32)) -> Result<Hardware, Error> {
        Hardware::new(platform, blocks_max, Hardware::BLOCK)
    }
}

impl From<Hardware> for (Platform, u32) {
    fn from(hardware: Hardware) -> (Platform, u32) {
        (hardware.platform, hardware.blocks_max)
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} blocks", self.platform, self.blocks_max)
    }
}

/// Words of one Philox call; the elements that they become lie a thread count apart.
pub(super) const WORDS: usize = 4;

/// A generator after `torch.manual_seed`, from which one tensor after the other is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generator {
    seed: u64,
    hardware: Hardware,
    offset: u64,
}

impl Generator {
    /// A generator as `torch.manual_seed(seed)` leaves it.
    pub fn new(seed: u64, hardware: Hardware) -> Generator {
        Generator { seed, hardware, offset: 0 }
    }

    /// Words that each thread has behind it, used or not: a multiple of 4.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next tensor. It holds no elements: any of them can be computed alone.
    pub fn draw(&mut self, recipe: Recipe, shape: (usize, usize)) -> Result<Drawn, Error> {
        let (rows, cols) = shape;
        let platform = self.hardware.platform;
        if (recipe, platform) == (Recipe::Normal, Platform::Rocm) {
            return Err(Error::Platform { recipe, platform });
        }
        let elements = rows
            .checked_mul(cols)
            .filter(|&elements| elements <= Drawn::ELEMENTS_MAX)
            .ok_or(Error::TooLarge { rows, cols })?;
        let threads = self.hardware.drawing(elements);
        let drawn =
            Drawn { recipe, platform, seed: self.seed, offset: self.offset, threads, shape };
        self.offset += (WORDS * elements.div_ceil(drawn.round())) as u64;
        Ok(drawn)
    }
}

/// A tensor of f32 elements, row-major, by its place in a generator's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    recipe: Recipe,
    platform: Platform,
    seed: u64,
    offset: u64,
    threads: u32,
    shape: (usize, usize),
}

impl Drawn {
    /// 2 GiB of f32. PyTorch splits what it cannot index with 32 bits, and each part moves the offset.
    pub const ELEMENTS_MAX: usize = 1 << 29;

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Rows times columns.
    pub fn elements(&self) -> usize {
        // At most ELEMENTS_MAX: `draw` saw to it.
        self.shape.0 * self.shape.1
    }

    /// How its words become elements.
    pub fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// The random library that drew.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// The generator's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Philox calls that each thread made for earlier tensors.
    pub fn first_call(&self) -> u64 {
        self.offset / WORDS as u64
    }

    /// Threads that draw the tensor.
    pub fn threads(&self) -> usize {
        self.threads as usize
    }

    /// Elements that one call of every thread makes.
    pub fn round(&self) -> usize {
        WORDS * self.threads()
    }

    /// Writes elements `first`, `first + 1`, ... of a uniform tensor until `out` is full. Fewer than [`round`](Self::round)
    /// of them at a time may take up to four times the work, because a call's four words lie far apart.
    pub fn fill(&self, first: usize, out: &mut [f32], threads: usize) -> Result<(), Error> {
        self.require(first, out.len())?;
        match self.recipe {
            Recipe::Uniform => {
                uniform::fill(self, first, out, threads);
                Ok(())
            }
            Recipe::Normal => Err(Error::NeedsDevice(self.recipe)),
        }
    }

    /// Refuses elements that the tensor does not have.
    pub fn require(&self, first: usize, len: usize) -> Result<(), Error> {
        let elements = self.elements();
        match first.checked_add(len).is_some_and(|end| end <= elements) {
            true => Ok(()),
            false => Err(Error::OutOfRange { first, len, elements }),
        }
    }

    /// Rows `rows`, as `fill` fills in elements from one on.
    pub fn rows<E: From<Error>>(
        &self,
        rows: Range<usize>,
        fill: impl FnOnce(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Array2<f32>, E> {
        let cols = self.shape.1;
        // Multiplied only where it fits: rows that are not there have no elements to hold.
        let (first, len) = (rows.start.saturating_mul(cols), rows.len().saturating_mul(cols));
        if rows.start > self.shape.0 || rows.end > self.shape.0 {
            return Err(Error::OutOfRange { first, len, elements: self.elements() }.into());
        }
        let mut values = vec![0.0; len];
        fill(first, &mut values)?;
        let shape = (rows.len(), cols);
        Ok(Array2::from_shape_vec(shape, values).unwrap_or_else(|_| unreachable!("sized above")))
    }
}

/// Uniform tensors only: they need no device.
impl Source for Drawn {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        let first = rows.start * self.shape.1;
        self.fill(first, out, 1).map_err(|error| SourceError::Refused(error.to_string()))
    }
}
