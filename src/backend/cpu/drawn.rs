//! Matrices that tests of kernels draw, and how their outputs are compared.

use ndarray::Array2;

/// A small generator, so that one seed makes a whole matrix.
pub(super) struct Rng(pub u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Zeros with probability `zeros` / 8 per element, and as many whole rows and blocks of `block`.
    pub(super) fn matrix(
        &mut self,
        shape: (usize, usize),
        zeros: u64,
        block: usize,
        mut value: impl FnMut(&mut Rng) -> f32,
    ) -> Array2<f32> {
        let dead: Vec<bool> = (0..shape.0).map(|_| self.below(16) < zeros).collect();
        let mut empty = false;
        Array2::from_shape_fn(shape, |(i, j)| {
            if j % block == 0 {
                empty = self.below(8) < zeros;
            }
            let x = value(self);
            if dead[i] || empty || self.below(8) < zeros {
                if x < 0.0 { -0.0 } else { 0.0 }
            } else {
                x
            }
        })
    }
}

/// Bits with -0 as +0 and one NaN.
pub(super) fn bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { (x + 0.0).to_bits() }
}
