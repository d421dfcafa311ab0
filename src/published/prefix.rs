//! The published kind of digest: of a tensor's first bytes only.

use super::{Drawn, Error, Machine};
use crate::digest::Digest;
use crate::matrix::Dtype;

/// What the published digests cover at most, from the tensor's first byte on.
pub const PREFIX_BYTES: usize = 4_000_000;

/// A digest that says nothing of what lies behind the prefix, nor of shape and dtype.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prefix {
    /// Of the first [`PREFIX_BYTES`], or of the whole tensor where it is smaller.
    pub digest: Digest,
    /// Elements that the digest covers.
    pub covered: usize,
    /// Their part of the tensor, from 0 to 1.
    pub share: f64,
}

impl Drawn {
    /// How many elements [`Drawn::prefix`] covers.
    pub fn prefix_elements(&self) -> usize {
        self.elements().min(PREFIX_BYTES / size_of::<f32>())
    }

    /// The part of the tensor that [`Drawn::prefix`] covers, from 0 to 1.
    pub fn prefix_share(&self) -> f64 {
        match self.elements() {
            0 => 1.0,
            elements => self.prefix_elements() as f64 / elements as f64,
        }
    }

    /// The digest of row-major, little-endian f32.
    pub fn prefix(&self, machine: &Machine) -> Result<Prefix, Error> {
        let covered = self.prefix_elements();
        let mut values = vec![0.0; covered];
        self.fill(0, &mut values, machine)?;
        let mut bytes = Vec::new();
        Dtype::F32.encode(&values, &mut bytes);
        Ok(Prefix { digest: Digest::of(&bytes), covered, share: self.prefix_share() })
    }
}
