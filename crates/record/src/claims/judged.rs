//! What judging gives: a word, a line of arithmetic, and what they are of.

use serde::{Deserialize, Serialize};

use super::{Claim, Printed, Tensor};
use crate::timings::Interval;
use contract::published::Comparison;

/// The word for one figure or digest of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The open operator is as fast, or saves as much, as is published.
    Attained,
    /// The open operator is slower, or saves less, than is published.
    NotAttained,
    /// The publisher's own operator is as fast, or saves as much, as is published.
    Reproduced,
    /// The publisher's own operator is slower, or saves less, than is published.
    NotReproduced,
    /// What is published follows from its rule, or from what was measured.
    Agrees,
    /// What is published does not follow.
    Differs,
    /// Below what the device can do.
    Impossible,
    /// A ratio by another rule than the published one: at least as large as printed, or lower.
    Holds,
    /// A ratio by another rule than the published one that is lower than printed.
    Lower,
    /// Digests: of the whole tensor, or of its published prefix.
    Match,
    /// The digest of the published prefix is the published one.
    PrefixMatch,
    /// The digest is another than the published one.
    Mismatch,
    /// The interval of what was measured crosses the limit, or rests on a noisy contender.
    Inconclusive,
    /// The line says why.
    NotJudged,
}

impl Word {
    /// The word in tables and records.
    pub fn name(self) -> &'static str {
        match self {
            Word::Attained => "attained",
            Word::NotAttained => "not-attained",
            Word::Reproduced => "reproduced",
            Word::NotReproduced => "not-reproduced",
            Word::Agrees => "agrees",
            Word::Differs => "differs",
            Word::Impossible => "impossible",
            Word::Holds => "holds",
            Word::Lower => "lower",
            Word::Match => "match",
            Word::PrefixMatch => "prefix-match",
            Word::Mismatch => "mismatch",
            Word::Inconclusive => "inconclusive",
            Word::NotJudged => "not-judged",
        }
    }

    /// Whether what is published does not hold by its own rule.
    pub fn refutes(self) -> bool {
        matches!(self, Word::Differs | Word::Impossible | Word::Mismatch)
    }
}

/// What became of a claim as a whole, in words that a reader of the published page understands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ClaimWord {
    /// Everything that was published and could be measured holds.
    Confirmed,
    /// Something does not hold by its own rule.
    Refuted,
    /// The open operator is as fast, or saves as much.
    Attained,
    /// The open operator is not.
    NotAttained,
    /// Another operator under test, which is not the publisher's, is not.
    NotAttainedByAnother,
    /// The publisher's own operator is as fast, or saves as much.
    Reproduced,
    /// The publisher's own operator is not.
    NotReproduced,
    /// Noise could change the word.
    Inconclusive,
    /// Nothing was measured that says anything of it.
    #[default]
    NotJudged,
}

impl ClaimWord {
    /// All, in the order in which they are counted.
    pub const ALL: [ClaimWord; 9] = [
        ClaimWord::Confirmed,
        ClaimWord::Reproduced,
        ClaimWord::NotReproduced,
        ClaimWord::Attained,
        ClaimWord::NotAttained,
        ClaimWord::NotAttainedByAnother,
        ClaimWord::Refuted,
        ClaimWord::Inconclusive,
        ClaimWord::NotJudged,
    ];

    /// The words in headlines.
    pub fn name(self) -> &'static str {
        match self {
            ClaimWord::Confirmed => "confirmed",
            ClaimWord::Refuted => "refuted",
            ClaimWord::Attained => "attained",
            ClaimWord::NotAttained => "not attained (by the open operator)",
            ClaimWord::NotAttainedByAnother => "not attained (by this operator)",
            ClaimWord::Reproduced => "reproduced",
            ClaimWord::NotReproduced => "not reproduced",
            ClaimWord::Inconclusive => "inconclusive (noisy)",
            ClaimWord::NotJudged => "not judged",
        }
    }
}

/// One claim, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JudgedClaim {
    /// Name of the manifest.
    pub manifest: String,
    /// Id of the claim.
    pub id: String,
    /// The claim's section; `None` for a claim about everything.
    pub section: Option<String>,
    /// The section whose cases stood for it where that is not its own: its synthetic twin.
    pub twin: Option<String>,
    /// Ids of the record's cases that stood for it.
    pub cases: Vec<String>,
    /// What follows from the rows.
    #[serde(default)]
    pub word: ClaimWord,
    /// One row for each figure or digest that was looked at.
    pub rows: Vec<Row>,
}

/// How rules of times that could not be applied are called.
const TIMES: [&str; 2] = ["times", "vendor"];

impl JudgedClaim {
    /// What the rows amount to. A claim whose speed could not be judged is refuted by the rest of it or not judged at
    /// all; arithmetic on printed figures alone confirms nothing, and nothing is confirmed of which a part is open.
    pub fn word_of(rows: &[Row]) -> ClaimWord {
        let has = |word: Word| rows.iter().any(|row| row.word == word);
        let is_untimed =
            |row: &Row| row.word == Word::NotJudged && TIMES.contains(&row.rule.as_str());
        let is_shown = |row: &Row| {
            row.measured && matches!(row.word, Word::Agrees | Word::Match | Word::PrefixMatch)
        };
        if rows.iter().any(|row| row.word.refutes()) {
            ClaimWord::Refuted
        } else if rows.iter().any(is_untimed) {
            ClaimWord::NotJudged
        } else if has(Word::Inconclusive) {
            ClaimWord::Inconclusive
        } else if has(Word::NotReproduced) {
            ClaimWord::NotReproduced
        } else if has(Word::Reproduced) {
            ClaimWord::Reproduced
        } else if has(Word::NotAttained) {
            ClaimWord::NotAttained
        } else if has(Word::Attained) {
            ClaimWord::Attained
        } else if rows.iter().any(is_shown) && !has(Word::NotJudged) {
            ClaimWord::Confirmed
        } else {
            ClaimWord::NotJudged
        }
    }

    /// The row that decided the word, a speedup before others: what a headline shows.
    pub fn deciding_row(&self) -> Option<&Row> {
        let decides = |row: &&Row| match self.word {
            ClaimWord::Refuted => row.word.refutes(),
            ClaimWord::Inconclusive => row.word == Word::Inconclusive,
            ClaimWord::NotAttained | ClaimWord::NotAttainedByAnother => {
                row.word == Word::NotAttained
            }
            ClaimWord::Reproduced => row.word == Word::Reproduced,
            ClaimWord::NotReproduced => row.word == Word::NotReproduced,
            ClaimWord::Attained => row.word == Word::Attained,
            ClaimWord::Confirmed => row.measured && row.word != Word::NotJudged,
            ClaimWord::NotJudged => row.word == Word::NotJudged,
        };
        let is_speedup = |row: &&Row| row.rule.contains("speedup");
        let mut rows = self.rows.iter().filter(decides);
        let speedup = self.rows.iter().filter(decides).find(is_speedup);
        speedup.or_else(|| rows.next())
    }
}

/// One figure or digest of a claim beside what it was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Row {
    /// What was looked at, such as `speedup` or `vendor time`.
    pub rule: String,
    /// What became of it.
    pub word: Word,
    /// As it is printed; `None` where a rule is about several figures.
    pub printed: Option<String>,
    /// The same quantity here, in the unit of what is printed; `None` where there is none.
    pub here: Option<f64>,
    /// Where that lies with a probability of 95 %; `None` of what is exact.
    #[serde(default)]
    pub interval: Option<Interval>,
    /// Whether it rests on something that was measured or computed here, instead of on printed figures alone.
    #[serde(default)]
    pub measured: bool,
    /// The arithmetic, in one line; for `not-judged` the reason.
    pub line: String,
}

/// An input that a claim publishes a digest of, made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublishedInput {
    /// Name of the manifest.
    pub manifest: String,
    /// Id of the claim.
    pub claim: String,
    /// The tensor that was made.
    pub tensor: Tensor,
    /// The device that it was drawn on; `None` for a CPU.
    pub device: Option<String>,
    /// `None` where it could not be made.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Comparison>"))]
    pub compared: Option<Comparison>,
    /// Why it could not be made here.
    pub reason: Option<String>,
}

impl PublishedInput {
    /// Whether it is an input of that claim.
    pub fn is_of(&self, manifest: &str, claim: &Claim) -> bool {
        (self.manifest.as_str(), &self.claim) == (manifest, &claim.id)
    }
}

impl Row {
    /// A row that says why nothing was judged.
    pub fn not_judged(rule: &str, line: String) -> Row {
        Row {
            rule: rule.into(),
            word: Word::NotJudged,
            printed: None,
            here: None,
            interval: None,
            measured: false,
            line,
        }
    }

    /// A row of something measured or computed here: `here` in the unit of what is printed.
    pub fn new(rule: &str, word: Word, printed: &Printed, here: f64, line: String) -> Row {
        let (rule, printed) = (rule.into(), Some(printed.to_string()));
        Row { rule, word, printed, here: Some(here), interval: None, measured: true, line }
    }
}

impl Row {
    /// The same with where the quantity lies.
    pub fn within(self, low: f64, high: f64) -> Row {
        Row { interval: Some(Interval { low, high }), ..self }
    }
}

/// The open operator reaches what is published, or not.
pub fn attained(is_reached: bool) -> Word {
    if is_reached { Word::Attained } else { Word::NotAttained }
}

/// The word for a figure that follows, or does not.
pub fn agrees(does: bool) -> Word {
    if does { Word::Agrees } else { Word::Differs }
}
