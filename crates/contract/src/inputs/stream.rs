//! The random streams: ChaCha8 keyed by a domain string, addressable word by word.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};

use crate::dtype::Dtype;

/// One stream of 32-bit words (VERIFY.md section 1). Any part of it can be read alone.
pub struct Stream {
    origin: ChaCha8Rng,
}

impl Stream {
    /// `shape` is written as `<r>x<c>` (or with three factors); `nonce` is an auditor's text.
    pub fn new(
        seed: u64,
        role: &str,
        shape: &[usize],
        dtype: Dtype,
        nonce: Option<&str>,
    ) -> Stream {
        let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let mut domain =
            format!("sparse-verify/1 seed={seed} role={role} shape={shape} dtype={dtype}");
        if let Some(nonce) = nonce {
            domain.push_str(" nonce=");
            domain.push_str(nonce);
        }
        Stream { origin: ChaCha8Rng::from_seed(Sha256::digest(domain.as_bytes()).into()) }
    }

    /// The key: the SHA-256 of the domain string.
    pub fn key(&self) -> [u8; 32] {
        self.origin.get_seed()
    }

    /// Words `first`, `first + 1`, ... until `words` is full.
    pub fn read(&self, first: u64, words: &mut [u32]) {
        let mut rng = self.origin.clone();
        rng.set_word_pos(u128::from(first));
        // Bulk output is several times faster than a word at a time.
        rng.fill_bytes(bytemuck::cast_slice_mut(words));
        if cfg!(target_endian = "big") {
            words.iter_mut().for_each(|word| *word = u32::from_le(*word));
        }
    }

    /// One word.
    pub fn word(&self, index: u64) -> u32 {
        let mut word = [0];
        self.read(index, &mut word);
        word[0]
    }

    /// Consecutive 64-bit draws: draw t is `w[2t] + 2^32 w[2t+1]`.
    pub fn draws(&self) -> impl Iterator<Item = u64> + use<> {
        let mut rng = self.origin.clone();
        std::iter::repeat_with(move || {
            let low = u64::from(rng.next_u32());
            low | u64::from(rng.next_u32()) << 32
        })
    }
}
