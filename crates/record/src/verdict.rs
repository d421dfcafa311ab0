//! Verdicts: the word for a case, and the digests that it rests on.

use contract::digest::Digest;
use serde::{Deserialize, Serialize};

/// The word for a case. Nothing starts as passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every digest that is compared is the committed one.
    Verified,
    /// Something that the contract promises does not hold.
    Mismatch,
    /// No bit contract, and every element lies within the bound.
    WithinBound,
    /// No bit contract, and an element lies outside of the bound.
    OutOfBound,
    /// Nothing is committed to compare with.
    Unpinned,
    /// What came back from elsewhere is right, and not all came back that was asked for.
    InPart,
    /// There are no bits.
    NotRun,
}

impl Verdict {
    /// The word in tables and records.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Verified => "verified",
            Verdict::Mismatch => "mismatch",
            Verdict::WithinBound => "within-bound",
            Verdict::OutOfBound => "out-of-bound",
            Verdict::Unpinned => "unpinned",
            Verdict::InPart => "in-part",
            Verdict::NotRun => "not-run",
        }
    }

    /// Everything that the case's contract promises was seen.
    pub fn satisfies(self) -> bool {
        matches!(self, Verdict::Verified | Verdict::WithinBound)
    }

    /// Something was refuted.
    pub fn refutes(self) -> bool {
        matches!(self, Verdict::Mismatch | Verdict::OutOfBound)
    }
}

/// One digest beside the committed one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DigestRow {
    /// `a`, `v`, `dense`, `operator`, `rebuilt` or `shifted`.
    pub name: String,
    /// `None` where there is no such tensor: a perturbation that does not apply.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Digest>"))]
    pub got: Option<Digest>,
    /// `None` where nothing is committed.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Digest>"))]
    pub expected: Option<Digest>,
    /// Whether the two must be equal: not for an operator without a bit contract, nor under a
    /// nonce.
    pub compared: bool,
}

impl DigestRow {
    /// Whether the row refutes its case.
    pub fn differs(&self) -> bool {
        self.compared && self.got != self.expected
    }
}

/// Names of the digests of a case, in the order of records.
pub const DIGESTS: [&str; 6] = ["a", "v", "dense", "operator", "rebuilt", "shifted"];
/// Outputs that may come back from elsewhere, by the names of their files, and the digest of each.
pub const OUTPUTS: [(&str, &str); 3] =
    [("y", "operator"), ("rebuilt", "rebuilt"), ("shifted", "shifted")];
/// Places in [`DIGESTS`].
pub const DENSE: usize = 2;
/// As above.
pub const OPERATOR: usize = 3;

/// Whether the arithmetic of that name fixes the operator's bits.
pub fn has_contract(arithmetic: &str) -> bool {
    arithmetic != "bounded"
}

/// Which of [`DIGESTS`] must equal the committed ones: outputs only under a bit contract, perturbed ones only without
/// a nonce.
pub fn is_compared(name: &str, contract: bool, nonce: bool) -> bool {
    match name {
        "operator" => contract,
        "rebuilt" | "shifted" => contract && !nonce,
        _ => true,
    }
}
