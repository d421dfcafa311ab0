//! The published inputs whose recipe is known, with the digits that were published.

use super::generator::{Generator, Hardware, Platform, Recipe};
use super::{Comparison, Drawn, Error, Scope};
use crate::digest::Digest;

/// Tensors that were drawn one after the other from one generator.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// What was published, such as `H200 sweep`.
    pub title: &'static str,
    /// How words become elements.
    pub recipe: Recipe,
    /// The device that they were drawn on.
    pub hardware: Hardware,
    /// The generator's seed.
    pub seed: u64,
    /// The tensors, in the order in which they were drawn.
    pub tensors: &'static [KnownTensor],
}

/// One tensor of [`Known`].
#[derive(Clone, Copy, Debug)]
pub struct KnownTensor {
    /// `A` or `V`.
    pub name: &'static str,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// What the published digest covers.
    pub scope: Scope,
    /// Its hexadecimal digits that were published: the first 8, or all 64.
    pub published: &'static str,
}

impl KnownTensor {
    const fn prefix(
        name: &'static str,
        shape: (usize, usize),
        published: &'static str,
    ) -> KnownTensor {
        KnownTensor { name, shape, scope: Scope::Prefix, published }
    }

    /// Whether the published digest is `got`, that of what the scope covers of `drawn`. A's is that of the matrix as it
    /// was drawn: it stands beside every sparsity and covers no pruning.
    pub fn compare(&self, drawn: &Drawn, got: Digest) -> Comparison {
        Comparison::new(self.scope, drawn.elements(), false, got, self.published)
    }
}

const A: (usize, usize) = (10_000, 10_000);
const V: (usize, usize) = (10_000, 2500);

/// Source: the publisher's benchmark pages and validation kit, edition of March 2026. Seed and
/// distribution are theirs; that V follows A, and from which device, was found by trying.
pub const KNOWN: [Known; 4] = [
    Known {
        title: "H200 sweep",
        recipe: Recipe::Uniform,
        hardware: Hardware::of(Platform::Cuda, 132),
        seed: 42,
        tensors: &[
            KnownTensor::prefix("A", A, "b2687223"),
            KnownTensor::prefix("V", V, "f8b47533"),
        ],
    },
    Known {
        title: "B200 sweep",
        recipe: Recipe::Uniform,
        hardware: Hardware::of(Platform::Cuda, 148),
        seed: 42,
        tensors: &[
            KnownTensor::prefix("A", A, "6764dac0"),
            KnownTensor::prefix("V", V, "eabab8fa"),
        ],
    },
    Known {
        title: "MI300X sweep",
        recipe: Recipe::Uniform,
        hardware: Hardware::of(Platform::Rocm, 304),
        seed: 42,
        tensors: &[
            KnownTensor::prefix("A", A, "76252923"),
            KnownTensor::prefix("V", V, "7f9f717a"),
        ],
    },
    Known {
        title: "H200 LLaMA-3.1-8B up_proj",
        recipe: Recipe::Normal,
        hardware: Hardware::of(Platform::Cuda, 132),
        seed: 42,
        tensors: &[KnownTensor::prefix(
            "V",
            (4096, 1024),
            "32d38b5291bb7e2fdfb5df26616d3da6f7209f45e0f53d0ad89388a8811adf7e",
        )],
    },
];

impl Known {
    /// The tensors' places in the generator's stream, in the order in which they were drawn.
    pub fn draw(&self) -> Result<Vec<(&'static KnownTensor, Drawn)>, Error> {
        let mut generator = Generator::new(self.seed, self.hardware);
        let tensors = self.tensors.iter();
        tensors.map(|tensor| Ok((tensor, generator.draw(self.recipe, tensor.shape)?))).collect()
    }
}
