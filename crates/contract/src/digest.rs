//! SHA-256 digests, as values instead of as text; and the one place that says what the digest of a tensor is of: all
//! elements, row-major, little-endian in their dtype, as `hashlib.sha256(array.tobytes())` gives it.

use std::fmt;
use std::str::FromStr;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::dtype::Dtype;

/// A SHA-256 digest. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The digest of everything fed to `hasher`.
    pub fn finish(hasher: Sha256) -> Digest {
        Digest(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Why a text is no digest; reads on after "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("64 lower-case hexadecimal digits")]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(NotADigest),
        };
        let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| NotADigest)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Digest(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Digest, NotADigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Row panels of an output, each with a digest of its own.
pub const PANELS: usize = 64;

/// The digest of all digests of a tensor's row panels, one after the other: who has it can be given the others by anybody.
pub fn root_of(panels: &[Digest]) -> Digest {
    let mut hasher = Sha256::new();
    panels.iter().for_each(|panel| hasher.update(panel.0));
    Digest::finish(hasher)
}

/// The first 16 hexadecimal digits of each, which name a panel to people.
pub fn short(panels: &[Digest]) -> Vec<String> {
    panels.iter().map(|panel| panel.to_string()[..16].to_owned()).collect()
}

/// What is known of a hashed tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Hashed {
    /// Digest of all elements.
    pub digest: Digest,
    /// Each row panel's digest; empty where panels were not asked for.
    pub panels: Vec<Digest>,
    /// Whether all elements are equal: such a digest proves little.
    pub constant: bool,
}

/// Feeds rows of one tensor, in order, to its digests.
pub struct TensorHasher {
    dtype: Dtype,
    rows: usize,
    next_row: usize,
    whole: Sha256,
    panels: Option<(Sha256, Vec<Digest>)>,
    bytes: Vec<u8>,
    first: Option<u32>,
    constant: bool,
}

impl TensorHasher {
    /// A hasher of a tensor of `rows` rows; with `panels`, of each row panel as well.
    pub fn new(dtype: Dtype, rows: usize, panels: bool) -> TensorHasher {
        let mut hasher = TensorHasher {
            dtype,
            rows,
            next_row: 0,
            whole: Sha256::new(),
            panels: panels.then(|| (Sha256::new(), Vec::with_capacity(PANELS))),
            bytes: Vec::new(),
            first: None,
            constant: true,
        };
        hasher.close_panels();
        hasher
    }

    /// The next rows.
    pub fn update(&mut self, rows: &Array2<f32>) {
        let columns = rows.ncols();
        let Some(values) = rows.as_slice() else { unreachable!("panels are row-major") };
        if self.constant {
            let first = *self.first.get_or_insert(values.first().map_or(0, |x| x.to_bits()));
            self.constant = values.iter().all(|x| x.to_bits() == first);
        }
        let mut done = 0;
        while done < rows.nrows() {
            let until = match &self.panels {
                Some((_, closed)) => panel_start(closed.len() + 1, self.rows) - self.next_row,
                None => rows.nrows() - done,
            };
            let take = until.min(rows.nrows() - done);
            let part = &values[done * columns..(done + take) * columns];
            let bytes: &[u8] = if self.dtype == Dtype::F32 && cfg!(target_endian = "little") {
                bytemuck::cast_slice(part)
            } else {
                self.bytes.clear();
                self.dtype.encode(part, &mut self.bytes);
                &self.bytes
            };
            self.whole.update(bytes);
            if let Some((panel, _)) = &mut self.panels {
                panel.update(bytes);
            }
            done += take;
            self.next_row += take;
            self.close_panels();
        }
    }

    /// Closes every panel that ends at the next row, empty ones included.
    fn close_panels(&mut self) {
        if let Some((panel, closed)) = &mut self.panels {
            while closed.len() < PANELS && panel_start(closed.len() + 1, self.rows) == self.next_row
            {
                closed.push(Digest::finish(std::mem::take(panel)));
            }
        }
    }

    /// Digests of everything that was fed; all `rows` must have been.
    pub fn finish(self) -> Hashed {
        Hashed {
            digest: Digest::finish(self.whole),
            panels: self.panels.map(|(_, closed)| closed).unwrap_or_default(),
            constant: self.constant && self.first.is_some(),
        }
    }
}

/// Digest of a whole output (row-major, little-endian in `output`, -0 made +0), hashed as it is
/// encoded.
pub fn digest_of_output(y: ArrayView2<'_, f32>, output: Dtype) -> Digest {
    let mut hasher = Sha256::new();
    let (mut row, mut bytes) = (Vec::with_capacity(y.ncols()), Vec::new());
    for elements in y.rows() {
        row.clear();
        row.extend(elements.iter().map(|y| y + 0.0));
        bytes.clear();
        output.encode(&row, &mut bytes);
        hasher.update(&bytes);
    }
    Digest::finish(hasher)
}

/// First row of panel `p` of a tensor of `rows` rows.
pub fn panel_start(p: usize, rows: usize) -> usize {
    p * rows / PANELS
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn text_and_bytes_agree() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Digest::of(b"")));
    }

    #[test]
    fn only_lower_case_hex_of_the_right_length_parses() {
        let good = "0".repeat(64);
        assert!(good.parse::<Digest>().is_ok());
        for bad in [&good[1..], &format!("{good}0"), &good.replace('0', "A"), &"é".repeat(32)] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
