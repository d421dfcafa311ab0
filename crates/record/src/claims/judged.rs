//! What judging gives: a word, a line of arithmetic, and what they are of.

use serde::{Deserialize, Serialize};

use super::{Claim, Printed, Tensor};
use contract::published::Comparison;

/// What became of one figure or digest of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The open operator is as fast, or saves as much, as is published.
    Attained,
    NotAttained,
    /// What is published follows from its rule, or from what was measured.
    Agrees,
    Differs,
    /// Below what the device can do.
    Impossible,
    /// A ratio by another rule than the published one: at least as large as printed, or lower.
    Holds,
    Lower,
    /// Digests: of the whole tensor, or of its published prefix.
    Match,
    PrefixMatch,
    Mismatch,
    /// The line says why.
    NotJudged,
}

impl Word {
    /// The word in tables and records.
    pub fn name(self) -> &'static str {
        match self {
            Word::Attained => "attained",
            Word::NotAttained => "not-attained",
            Word::Agrees => "agrees",
            Word::Differs => "differs",
            Word::Impossible => "impossible",
            Word::Holds => "holds",
            Word::Lower => "lower",
            Word::Match => "match",
            Word::PrefixMatch => "prefix-match",
            Word::Mismatch => "mismatch",
            Word::NotJudged => "not-judged",
        }
    }

    /// Whether what is published does not hold by its own rule.
    pub fn refutes(self) -> bool {
        matches!(self, Word::Differs | Word::Impossible | Word::Mismatch)
    }
}

/// One claim, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedClaim {
    pub manifest: String,
    /// Of the claim.
    pub id: String,
    pub section: Option<String>,
    /// The section whose cases stood for it where that is not its own: its synthetic twin.
    pub twin: Option<String>,
    /// Ids of the record's cases that stood for it.
    pub cases: Vec<String>,
    pub rows: Vec<Row>,
}

/// One figure or digest of a claim beside what it was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was looked at, such as `speedup` or `vendor time`.
    pub rule: String,
    pub word: Word,
    /// As it is printed; `None` where a rule is about several figures.
    pub printed: Option<String>,
    /// The same quantity here, in the unit of what is printed; `None` where there is none.
    pub here: Option<f64>,
    /// The arithmetic, in one line; for `not-judged` the reason.
    pub line: String,
}

/// An input that a claim publishes a digest of, made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedInput {
    pub manifest: String,
    /// Id of the claim.
    pub claim: String,
    pub tensor: Tensor,
    /// The device that it was drawn on; `None` for a CPU.
    pub device: Option<String>,
    /// `None` where it could not be made.
    pub compared: Option<Comparison>,
    /// Why it could not be made here.
    pub reason: Option<String>,
}

impl PublishedInput {
    pub fn is_of(&self, manifest: &str, claim: &Claim) -> bool {
        (self.manifest.as_str(), &self.claim) == (manifest, &claim.id)
    }
}

impl Row {
    pub fn not_judged(rule: &str, line: String) -> Row {
        Row { rule: rule.into(), word: Word::NotJudged, printed: None, here: None, line }
    }

    pub fn new(rule: &str, word: Word, printed: &Printed, here: f64, line: String) -> Row {
        let (rule, printed) = (rule.into(), Some(printed.to_string()));
        Row { rule, word, printed, here: Some(here), line }
    }
}

/// The open operator reaches what is published, or not.
pub fn attained(is_reached: bool) -> Word {
    if is_reached { Word::Attained } else { Word::NotAttained }
}

pub fn agrees(does: bool) -> Word {
    if does { Word::Agrees } else { Word::Differs }
}
