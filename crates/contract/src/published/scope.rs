//! How much of a tensor a digest covers, and what its being the published one says. Left out: published
//! digests of normalised or scaled copies.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Drawn, Error};
use crate::digest::Digest;
use crate::dtype::Dtype;

/// What the published digests cover at most, from the tensor's first byte on.
pub const PREFIX_BYTES: usize = 4_000_000;

/// The part of an f32 tensor, row-major and little-endian, that a digest covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All of it, as our own digests.
    WholeTensor,
    /// Its first [`PREFIX_BYTES`], or all of it where it is smaller. Says nothing of what lies behind,
    /// nor of shape and dtype.
    Prefix,
}

impl Scope {
    /// Elements that are covered, of a tensor's `elements`.
    pub fn covered(self, elements: usize) -> usize {
        match self {
            Scope::WholeTensor => elements,
            Scope::Prefix => elements.min(PREFIX_BYTES / size_of::<f32>()),
        }
    }

    /// Their part of the tensor, from 0 to 1.
    pub fn share(self, elements: usize) -> f64 {
        match elements {
            0 => 1.0,
            _ => self.covered(elements) as f64 / elements as f64,
        }
    }

    /// The digest of a tensor that is held `panel` elements at a time: `fill(first, out)` writes elements
    /// `first`, `first + 1`, ... until `out` is full.
    pub fn digest<E>(
        self,
        elements: usize,
        panel: usize,
        mut fill: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Digest, E> {
        let (covered, panel) = (self.covered(elements), panel.max(1));
        let mut values = vec![0.0; panel.min(covered)];
        let (mut bytes, mut hasher) = (Vec::new(), Sha256::new());
        for first in (0..covered).step_by(panel) {
            let values = &mut values[..panel.min(covered - first)];
            fill(first, values)?;
            bytes.clear();
            Dtype::F32.encode(values, &mut bytes);
            hasher.update(&bytes);
        }
        Ok(Digest::finish(hasher))
    }
}

/// Elements of a panel at least, 16 MiB: enough for many threads. A panel is whole rounds.
const PANEL_MIN: usize = 1 << 22;

impl Drawn {
    /// The digest of what `scope` covers, as `fill` fills in elements from one on; the tensor is never held as a whole.
    pub fn digest_by<E>(
        &self,
        scope: Scope,
        fill: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Digest, E> {
        let panel = self.round() * PANEL_MIN.div_ceil(self.round());
        scope.digest(self.elements(), panel, fill)
    }

    /// The same of a uniform tensor.
    pub fn digest(&self, scope: Scope, threads: usize) -> Result<Digest, Error> {
        self.digest_by(scope, |first, out| self.fill(first, out, threads))
    }
}

/// A digest beside the published one, with all that a match would say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The part of the tensor that the digest covers.
    pub scope: Scope,
    /// The part of the tensor that the digest covers, from 0 to 1; `None` where the tensor's size is not published.
    pub share: Option<f64>,
    /// Whether the tensor here was pruned before it was hashed.
    pub pruned: bool,
    /// Hexadecimal digits that were published, of 64: as many are compared.
    pub digits: usize,
    /// The digest here.
    pub got: Digest,
    /// Whether the published digits are the first ones of `got`.
    pub matches: bool,
}

impl Comparison {
    /// `published` holds the digest's first hexadecimal digits, or all of them, in lower case. None
    /// match nothing. Without `elements` nobody knows how many the tensor has.
    pub fn new(
        scope: Scope,
        elements: impl Into<Option<usize>>,
        pruned: bool,
        got: Digest,
        published: &str,
    ) -> Self {
        let matches = !published.is_empty() && got.to_string().starts_with(published);
        let share = elements.into().map(|elements| scope.share(elements));
        let digits = published.len();
        Comparison { scope, share, pruned, digits, got, matches }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.scope, self.matches) {
            (Scope::WholeTensor, true) => "match",
            (Scope::WholeTensor, false) => "mismatch",
            (Scope::Prefix, true) => "prefix match",
            (Scope::Prefix, false) => "prefix mismatch",
        };
        let pruned = if self.pruned { "pruned" } else { "not pruned" };
        let covered = match self.share {
            Some(share) => format!("{:.2} % of the tensor", 100.0 * share),
            None => "of a tensor whose size is not published".to_owned(),
        };
        write!(f, "{what}: {} of 64 digits; {covered}, {pruned}", self.digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_covers_what_its_scope_says_in_panels_of_any_size() {
        let element = |i: usize| i as f32;
        let fill = |first: usize, out: &mut [f32]| {
            out.iter_mut().enumerate().for_each(|(i, x)| *x = element(first + i));
            Ok::<(), ()>(())
        };
        for elements in [0, 1, 999_999, 1_000_000, 1_000_001] {
            let bytes: Vec<u8> = (0..elements).flat_map(|i| element(i).to_le_bytes()).collect();
            for panel in [0, 7_000, 1_000_000, usize::MAX] {
                if panel == 0 && elements > 1 {
                    continue;
                }
                let digest = |scope: Scope| scope.digest(elements, panel, fill).unwrap();
                assert_eq!(digest(Scope::WholeTensor), Digest::of(&bytes));
                let prefix = &bytes[..bytes.len().min(PREFIX_BYTES)];
                assert_eq!(digest(Scope::Prefix), Digest::of(prefix), "{elements}");
            }
        }
        let failing = |_: usize, _: &mut [f32]| Err("no device");
        assert_eq!(Scope::Prefix.digest(1, 1, failing), Err("no device"));
        assert_eq!(Scope::Prefix.digest(0, 1, failing), Ok(Digest::of(b"")));
    }

    #[test]
    fn a_match_says_what_it_covers() {
        let got = Digest::of(b"");
        let compare = |scope, pruned, published| {
            Comparison::new(scope, 100_000_000, pruned, got, published).to_string()
        };
        assert_eq!(
            compare(Scope::Prefix, false, "e3b0c442"),
            "prefix match: 8 of 64 digits; 1.00 % of the tensor, not pruned"
        );
        assert_eq!(
            compare(Scope::Prefix, true, "e3b0c443"),
            "prefix mismatch: 8 of 64 digits; 1.00 % of the tensor, pruned"
        );
        assert_eq!(
            compare(Scope::WholeTensor, false, &got.to_string()),
            "match: 64 of 64 digits; 100.00 % of the tensor, not pruned"
        );
        assert_eq!(
            Comparison::new(Scope::Prefix, None, false, got, "e3b0c442").to_string(),
            "prefix match: 8 of 64 digits; of a tensor whose size is not published, not pruned"
        );
        assert!(!Comparison::new(Scope::Prefix, 1, false, got, "").matches);
        assert!(!Comparison::new(Scope::Prefix, 1, false, got, &format!("{got}0")).matches);
    }
}
