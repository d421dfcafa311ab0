//! NumPy's default generator, drawing f32: a seed hashed into a state, a 128-bit congruential generator that can be
//! advanced to any place, and half a word for each number.
//!
//! Sources of the facts: NumPy's documentation of `SeedSequence`, `PCG64` and `Generator.random`, and the generators'
//! authors: M. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number
//! Generation" (XSL-RR), and her notes on hashing seeds (`seed_seq_fe128`). Left out: seeds of more than 64 bits, f64, and
//! every other distribution.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::digest::Digest;
use crate::inputs::source::{Source, SourceError};
use crate::inputs::spec::Sparsity;

/// `numpy.random.default_rng(seed)`, of which `random(dtype=float32)` is drawn alone: number e is known without those
/// before it.
///
/// A published A is made of two tensors of it, one after the other: the values, and the mask. V is the first tensor of
/// a generator of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NumpyUniform {
    /// The seed.
    #[serde(rename = "numpy-pcg64-uniform")]
    pub seed: u64,
}

/// The name of the recipe in manifests and records.
pub const NUMPY_UNIFORM: &str = "numpy-pcg64-uniform";

impl fmt::Display for NumpyUniform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NUMPY_UNIFORM)
    }
}

/// Values of less than this became zero. Source: the publisher's harness.
const LEAST: f32 = 1e-6;

impl NumpyUniform {
    /// Writes numbers `first`, `first + 1`, ... until `out` is full: multiples of 2^-24 in [0, 1).
    pub fn fill(self, first: u64, out: &mut [f32]) {
        let mut generator = Pcg64::seeded(self.seed);
        generator.advance(u128::from(first / 2));
        let mut numbers = out.iter_mut();
        if first % 2 == 1
            && let Some(x) = numbers.next()
        {
            *x = number((generator.next() >> 32) as u32);
        }
        // The lower half of a word comes first, and the upper one is kept for the next number.
        while let Some(x) = numbers.next() {
            let word = generator.next();
            *x = number(word as u32);
            if let Some(x) = numbers.next() {
                *x = number((word >> 32) as u32);
            }
        }
    }

    /// The same for the values of A, of which the smallest became zero.
    pub fn fill_values(self, first: u64, out: &mut [f32]) {
        self.fill(first, out);
        out.iter_mut().filter(|x| **x < LEAST).for_each(|x| *x = 0.0);
    }

    /// Elements `first`, `first + 1`, ... of an A of `elements` in all, `sparsity` of which are expected to be zero.
    pub fn fill_a(self, elements: u64, sparsity: Sparsity, first: u64, out: &mut [f32]) {
        self.fill_values(first, out);
        self.mask(elements, sparsity, first, out);
    }

    /// Leaves of those elements what the mask keeps: where the number drawn for it is below 1 - s. NumPy computes 1 - s
    /// in f64, and compares in f32.
    fn mask(self, elements: u64, sparsity: Sparsity, first: u64, values: &mut [f32]) {
        /// Of a piece of the mask, 16 KiB: it stays in L1.
        const PIECE: usize = 4096;
        let density = (1.0 - sparsity.as_f64()) as f32;
        let mut mask = [0.0; PIECE];
        let mut at = elements + first;
        for values in values.chunks_mut(PIECE) {
            let mask = &mut mask[..values.len()];
            self.fill(at, mask);
            at += mask.len() as u64;
            for (x, u) in values.iter_mut().zip(mask) {
                *x = if *u < density { *x } else { 0.0 };
            }
        }
    }

    /// The digest of what `scope` covers of an A of m x k.
    pub fn digest_a(self, (m, k): (usize, usize), sparsity: Sparsity, scope: Scope) -> Digest {
        let elements = m * k;
        self.digest(elements, scope, |first, out| {
            self.fill_a(elements as u64, sparsity, first, out);
        })
    }

    /// The digest of what `scope` covers of a V of k x n.
    pub fn digest_v(self, (k, n): (usize, usize), scope: Scope) -> Digest {
        self.digest(k * n, scope, |first, out| self.fill(first, out))
    }

    fn digest(self, elements: usize, scope: Scope, fill: impl Fn(u64, &mut [f32])) -> Digest {
        /// Elements of a panel, 4 MiB.
        const PANEL: usize = 1 << 20;
        let digest = scope.digest(elements, PANEL, |first, out| {
            fill(first as u64, out);
            Ok::<(), std::convert::Infallible>(())
        });
        digest.unwrap_or_else(|never| match never {})
    }

    /// The source of A's values, m x k, before the mask.
    pub fn values(self, k: usize) -> NumpyValues {
        NumpyValues { generator: self, k }
    }

    /// A, whose values are those of [`values`](Self::values), held or not.
    pub fn masked(
        self,
        values: Box<dyn Source>,
        (m, k): (usize, usize),
        sparsity: Sparsity,
    ) -> NumpyMasked {
        NumpyMasked { generator: self, values, elements: m as u64 * k as u64, k, sparsity }
    }
}

/// Values of A before the mask.
#[derive(Clone, Copy, Debug)]
pub struct NumpyValues {
    generator: NumpyUniform,
    k: usize,
}

impl Source for NumpyValues {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        self.generator.fill_values(rows.start as u64 * self.k as u64, out);
        Ok(())
    }
}

/// A, of values and a mask.
pub struct NumpyMasked {
    generator: NumpyUniform,
    values: Box<dyn Source>,
    elements: u64,
    k: usize,
    sparsity: Sparsity,
}

impl Source for NumpyMasked {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        let first = rows.start as u64 * self.k as u64;
        self.values.read(rows, out)?;
        self.generator.mask(self.elements, self.sparsity, first, out);
        Ok(())
    }
}

/// The 24 upper bits of half a word, times 2^-24.
fn number(half: u32) -> f32 {
    (half >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// PCG64: a congruential generator of 128 bits whose words are permuted (XSL-RR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pcg64 {
    state: u128,
    increment: u128,
}

impl Pcg64 {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

    /// As `default_rng(seed)` leaves it.
    fn seeded(seed: u64) -> Pcg64 {
        let words = seed_words(seed);
        let wide = |i: usize| {
            // Of two words of 64 bits the first is the upper one; of 32 the lower.
            let word = |i: usize| u128::from(words[i]) | u128::from(words[i + 1]) << 32;
            word(i) << 64 | word(i + 2)
        };
        let (start, stream) = (wide(0), wide(4));
        let mut generator = Pcg64 { state: 0, increment: stream << 1 | 1 };
        generator.step();
        generator.state = generator.state.wrapping_add(start);
        generator.step();
        generator
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(Pcg64::MULTIPLIER).wrapping_add(self.increment);
    }

    fn next(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// Leaves `steps` words out. A step is x -> a x + b; two of them are x -> a^2 x + (a + 1) b, and so on by doubling.
    fn advance(&mut self, mut steps: u128) {
        let (mut factor, mut summand) = (Pcg64::MULTIPLIER, self.increment);
        let (mut all_factor, mut all_summand) = (1u128, 0u128);
        while steps > 0 {
            if steps & 1 == 1 {
                all_factor = all_factor.wrapping_mul(factor);
                all_summand = all_summand.wrapping_mul(factor).wrapping_add(summand);
            }
            summand = factor.wrapping_add(1).wrapping_mul(summand);
            factor = factor.wrapping_mul(factor);
            steps >>= 1;
        }
        self.state = self.state.wrapping_mul(all_factor).wrapping_add(all_summand);
    }
}

/// The first eight words of 32 bits of `SeedSequence(seed)`.
fn seed_words(seed: u64) -> [u32; 8] {
    let mut hash = Hash { constant: 0x43b0_d7e5, factor: 0x931e_8875 };
    // The lower half comes first. A seed that is shorter than the pool is continued by zeros.
    let mut pool = [seed as u32, (seed >> 32) as u32, 0, 0].map(|word| hash.of(word));
    for from in 0..4 {
        for to in (0..4).filter(|&to| to != from) {
            pool[to] = mixed(pool[to], hash.of(pool[from]));
        }
    }
    let mut hash = Hash { constant: 0x8b51_f9dd, factor: 0x58f3_8ded };
    std::array::from_fn(|i| hash.of(pool[i % 4]))
}

/// A hash whose constant changes with each word.
struct Hash {
    constant: u32,
    factor: u32,
}

impl Hash {
    fn of(&mut self, word: u32) -> u32 {
        let word = word ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.factor);
        let word = word.wrapping_mul(self.constant);
        word ^ word >> 16
    }
}

/// Two words in one.
fn mixed(x: u32, y: u32) -> u32 {
    let word = x.wrapping_mul(0xca01_f9dd).wrapping_sub(y.wrapping_mul(0x4973_f715));
    word ^ word >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 123_456;

    fn bits(first: u64, len: usize) -> Vec<u32> {
        let mut numbers = vec![f32::NAN; len];
        NumpyUniform { seed: SEED }.fill(first, &mut numbers);
        numbers.iter().map(|x| x.to_bits()).collect()
    }

    /// The numbers are those that NumPy 2.4.6 gave: `SeedSequence(s).generate_state(8)`, `PCG64(s).state` and
    /// `PCG64(s).random_raw(3)`.
    #[test]
    fn seeds_become_the_states_that_numpy_has() {
        for (seed, words, state, increment, raw) in [
            (
                0,
                [
                    0xb0f4_78be,
                    0xdb2c_d7e7,
                    0x2c71_ba49,
                    0xabf4_641a,
                    0x9d7b_8d41,
                    0x20c6_ed6d,
                    0x223c_39d4,
                    0x2c40_99de,
                ],
                0x1aa1_b534_5996_452d_0958_5eb7_a695_61e3,
                0x418d_dadb_3af7_1a82_5881_33bc_4478_73a9,
                [0xa30f_ebcf_d9c2_825f, 0x4510_bdf8_82d9_d721, 0x0a7d_3da9_4ecd_e8b8],
            ),
            (
                0x1234_5678_9abc_def0,
                [
                    0x535c_1b4c,
                    0x8ac3_dd19,
                    0x1857_5690,
                    0x76e2_344a,
                    0xbc11_e2f1,
                    0xf271_183b,
                    0x7363_1de4,
                    0xdbd4_b42c,
                ],
                0x9d84_f022_8dae_1bb9_376b_9ca7_fa4c_33c6,
                0xe4e2_3077_7823_c5e3_b7a9_6858_e6c6_3bc9,
                [0x3445_5331_ba6e_7cbe, 0x5f9d_240f_0ffe_035d, 0x8055_4d3d_68b3_6e2b],
            ),
        ] {
            assert_eq!(seed_words(seed), words);
            let mut generator = Pcg64::seeded(seed);
            assert_eq!(generator, Pcg64 { state, increment });
            assert_eq!([(); 3].map(|()| generator.next()), raw);
        }
    }

    #[test]
    fn any_numbers_can_be_drawn_alone() {
        let all = bits(0, 64);
        assert_eq!(all[..5], [0x3dc9_9710, 0x3f22_f290, 0x3f50_d47d, 0x3ec5_0608, 0x3ebf_678c]);
        for first in 0..64 {
            for len in [0, 1, 2, 3, 64 - first] {
                let end = (first + len).min(64);
                assert_eq!(bits(first as u64, end - first), all[first..end], "{first} {len}");
            }
        }
        // Far ahead, on both halves of a word: NumPy's `PCG64.advance`.
        assert_eq!(bits(400_000_000, 3), [0x3e59_9128, 0x3f48_ca0f, 0x3e59_1e98]);
        assert_eq!(bits(400_000_001, 2), [0x3f48_ca0f, 0x3e59_1e98]);
        assert_eq!(bits(700_000_003, 2), [0x3e59_f984, 0x3eb2_39e6]);
    }

    #[test]
    fn leaving_words_out_is_drawing_them() {
        for steps in [0u32, 1, 2, 3, 7, 100, 1023] {
            let (mut slow, mut fast) = (Pcg64::seeded(1), Pcg64::seeded(1));
            (0..steps).for_each(|_| {
                slow.next();
            });
            fast.advance(u128::from(steps));
            assert_eq!(slow, fast, "{steps}");
        }
    }

    #[test]
    fn a_is_its_values_where_the_mask_keeps_them() {
        let generator = NumpyUniform { seed: 7 };
        let sparsity = Sparsity::parse("0.3").unwrap();
        // More than a piece of the mask, and an odd number of elements: the mask begins in the middle of a word.
        let (m, k) = (67, 131);
        let mut drawn = vec![0.0; 2 * m * k];
        generator.fill(0, &mut drawn);
        let (values, mask) = drawn.split_at(m * k);
        let want: Vec<f32> =
            values.iter().zip(mask).map(|(x, u)| if *u < 0.7 { *x } else { 0.0 }).collect();
        let a = generator.masked(Box::new(generator.values(k)), (m, k), sparsity);
        for rows in [0..m, 0..1, 5..9, 66..67, 3..3] {
            let mut out = vec![f32::NAN; rows.len() * k];
            a.read(rows.clone(), &mut out).unwrap();
            assert_eq!(out, want[rows.start * k..rows.end * k]);
        }
        let bytes: Vec<u8> = want.iter().flat_map(|x| x.to_le_bytes()).collect();
        let digest = generator.digest_a((m, k), sparsity, Scope::WholeTensor);
        assert_eq!(digest, Digest::of(&bytes));
    }

    /// The smallest values that stay and the largest that go, on the grid of 2^-24.
    #[test]
    fn values_below_a_millionth_become_zero() {
        assert!(number(16 << 8) < LEAST && number(17 << 8) >= LEAST);
        assert_eq!(number(u32::MAX), 1.0 - f32::EPSILON / 2.0);
        assert_eq!(number(255), 0.0);
    }
}
