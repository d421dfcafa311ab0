//! What a case says about its inputs: values, patterns, exact sparsities.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A distribution of synthetic values. VERIFY.md has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Values {
    /// 24-bit dyadic rationals in [-1, 1).
    Uniform,
    /// Spread exponents with a heavy upper tail, as in the weights of language models.
    HeavyTailed,
    /// Integers in [-32, 32]: a population count.
    Binomial,
    /// `Binomial`, with one odd 12-bit integer in each 64 consecutive k of a live row.
    /// Weights only.
    Wide,
    /// -1, 0, 1. Activations only.
    Ternary,
}

impl Values {
    /// All.
    pub const ALL: [Values; 5] =
        [Values::Uniform, Values::HeavyTailed, Values::Binomial, Values::Wide, Values::Ternary];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Values::Uniform => "uniform",
            Values::HeavyTailed => "heavy-tailed",
            Values::Binomial => "binomial",
            Values::Wide => "wide",
            Values::Ternary => "ternary",
        }
    }

    /// Whether every value is a small integer, as the exact arithmetic needs.
    pub fn is_integer(self) -> bool {
        matches!(self, Values::Binomial | Values::Wide | Values::Ternary)
    }
}

/// How zeros are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Nothing is pruned.
    None,
    /// Each element is pruned independently.
    Uniform,
    /// Whole rows of least sum of squares are pruned.
    RowMagnitude,
    /// The elements of least magnitude are pruned.
    ElementMagnitude,
    /// Row densities follow a power law of exponent 1 over a random ranking of the rows.
    PowerLaw,
    /// Aligned square blocks are pruned independently.
    Block {
        /// Rows and columns of a block.
        size: usize,
    },
    /// Of each aligned group of four in a row, the two of least magnitude are pruned: what sparse tensor cores take.
    TwoOfFour,
    /// A is a stack of experts, of which whole ones are pruned: a layer of a mixture of experts, for tokens that all go to
    /// the same few.
    DeadExperts {
        /// Rows of an expert, of which A has a multiple.
        rows: usize,
    },
}

impl Pattern {
    /// Rows of an expert, where A is a stack of experts.
    pub fn expert_rows(self) -> Option<usize> {
        match self {
            Pattern::DeadExperts { rows } => Some(rows),
            Pattern::None
            | Pattern::Uniform
            | Pattern::RowMagnitude
            | Pattern::ElementMagnitude
            | Pattern::PowerLaw
            | Pattern::Block { .. }
            | Pattern::TwoOfFour => None,
        }
    }
}

/// The name in manifests and case ids.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pattern::None => "none",
            Pattern::Uniform => "uniform",
            Pattern::RowMagnitude => "row-magnitude",
            Pattern::ElementMagnitude => "element-magnitude",
            Pattern::PowerLaw => "power-law",
            Pattern::Block { .. } => "block",
            Pattern::TwoOfFour => "two-of-four",
            Pattern::DeadExperts { .. } => "dead-experts",
        })
    }
}

/// The fraction of zeros asked for: an exact decimal in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Sparsity {
    /// Billionths.
    billionths: u32,
}

impl Sparsity {
    const ONE: u32 = 1_000_000_000;
    /// No zeros.
    pub const ZERO: Sparsity = Sparsity { billionths: 0 };
    /// Half of all elements.
    pub const HALF: Sparsity = Sparsity { billionths: Sparsity::ONE / 2 };

    /// Reads a plain decimal such as `0.8`, `0.995`, `1`: at most nine decimals, no exponent.
    pub fn parse(text: &str) -> Option<Sparsity> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 1 || decimals.len() > 9 {
            return None;
        }
        let scale = 10u32.pow(9 - decimals.len() as u32);
        let billionths =
            whole.parse::<u32>().ok()? * Sparsity::ONE + decimals.parse::<u32>().ok()? * scale;
        (billionths <= Sparsity::ONE).then_some(Sparsity { billionths })
    }

    /// The nearest binary64, for rules of thumb and reports only.
    pub fn as_f64(self) -> f64 {
        f64::from(self.billionths) / f64::from(Sparsity::ONE)
    }

    /// floor(s * 2^32): a uniform 32-bit word is below it with probability s.
    pub fn word_threshold(self) -> u64 {
        (u64::from(self.billionths) << 32) / u64::from(Sparsity::ONE)
    }

    /// count * (1 - s), rounded half to even.
    pub fn live_of(self, count: u64) -> u64 {
        let one = u128::from(Sparsity::ONE);
        let product = u128::from(count) * (one - u128::from(self.billionths));
        let (floor, rest) = (product / one, product % one);
        let up = 2 * rest > one || (2 * rest == one && floor % 2 == 1);
        (floor + u128::from(up)) as u64
    }
}

/// Billionths, as records hold them.
impl TryFrom<u32> for Sparsity {
    type Error = String;

    fn try_from(billionths: u32) -> Result<Sparsity, String> {
        if billionths > Sparsity::ONE {
            return Err(format!("a sparsity of {billionths} billionths is above 1"));
        }
        Ok(Sparsity { billionths })
    }
}

impl From<Sparsity> for u32 {
    fn from(sparsity: Sparsity) -> u32 {
        sparsity.billionths
    }
}

/// Percent without trailing zeros, as in case ids: `80`, `99.5`.
impl fmt::Display for Sparsity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.billionths / 10_000_000, self.billionths % 10_000_000);
        if rest == 0 {
            return f.pad(&whole.to_string());
        }
        f.pad(format!("{whole}.{rest:07}").trim_end_matches('0'))
    }
}
