//! Published inputs, drawn again on this machine and compared with the digits that were published.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::published::{Error, Machine};
use contract::published::{
    Comparison, Drawn, KNOWN, Known, KnownTensor, PREFIX_BYTES, Recipe, Scope,
};
use record::exit;
use record::exit::{ENVIRONMENT, NOT_VERIFIED, REFUTED};

/// What `verify doctor --published` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedReport {
    pub tensors: Vec<PublishedTensor>,
}

/// One published tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedTensor {
    pub recipe: Recipe,
    /// What was published and which of its tensors, such as `H200 sweep V`.
    pub tensor: String,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// The first hexadecimal digits of the digest: as many as were published.
    pub published: String,
    pub outcome: Outcome,
    /// `None` where it was not run.
    pub compared: Option<Comparison>,
    /// Why it was not run.
    pub reason: Option<String>,
    pub exit_code: u8,
}

/// What became of a published digest. A match says no more than its scope covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Of the whole tensor.
    Match,
    PrefixMatch,
    Mismatch,
    NotRun,
}

impl Outcome {
    const ALL: [Outcome; 4] =
        [Outcome::Match, Outcome::PrefixMatch, Outcome::Mismatch, Outcome::NotRun];

    /// The word in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Match => "match",
            Outcome::PrefixMatch => "prefix-match",
            Outcome::Mismatch => "mismatch",
            Outcome::NotRun => "not-run",
        }
    }
}

/// Draws every published tensor whose recipe is known. A tensor that this machine cannot draw has its
/// reason in the report; an error is a fault of the table.
pub fn published(machine: &Machine) -> Result<PublishedReport, Error> {
    let mut tensors = Vec::new();
    for known in &KNOWN {
        for (published, drawn) in known.draw()? {
            tensors.push(tensor(known, published, &drawn, machine));
        }
    }
    Ok(PublishedReport { tensors })
}

fn tensor(
    known: &Known,
    tensor: &KnownTensor,
    drawn: &Drawn,
    machine: &Machine,
) -> PublishedTensor {
    let compared = machine.digest(drawn, tensor.scope).map(|got| tensor.compare(drawn, got));
    let (outcome, exit_code) = match &compared {
        Ok(Comparison { matches: false, .. }) => (Outcome::Mismatch, REFUTED),
        Ok(Comparison { scope: Scope::WholeTensor, .. }) => (Outcome::Match, exit::VERIFIED),
        Ok(Comparison { scope: Scope::Prefix, .. }) => (Outcome::PrefixMatch, exit::VERIFIED),
        Err(Error::NotRun { .. }) => (Outcome::NotRun, NOT_VERIFIED),
        Err(_) => (Outcome::NotRun, ENVIRONMENT),
    };
    PublishedTensor {
        recipe: known.recipe,
        tensor: format!("{} {}", known.title, tensor.name),
        shape: tensor.shape,
        published: tensor.published.into(),
        outcome,
        reason: compared.as_ref().err().map(Error::to_string),
        compared: compared.ok(),
        exit_code,
    }
}

impl PublishedReport {
    /// The worst of the tensors'.
    pub fn exit_code(&self) -> u8 {
        self.tensors.iter().fold(exit::VERIFIED, |code, tensor| exit::worse(code, tensor.exit_code))
    }
}

/// Digits of a digest in a table; the others are in the JSON.
const DIGITS: usize = 16;

fn row(f: &mut fmt::Formatter<'_>, columns: [&str; 8]) -> fmt::Result {
    let [recipe, tensor, shape, published, got, outcome, covers, pruned] = columns;
    writeln!(
        f,
        "{recipe:20}  {tensor:27}  {shape:>13}  {published:21}  {got:DIGITS$}  {outcome:12}  \
         {covers:>8}  {pruned}"
    )
}

impl fmt::Display for PublishedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "recipe",
            "tensor",
            "shape",
            "published (digits)",
            "got",
            "outcome",
            "covers",
            "pruned",
        ];
        row(f, head)?;
        for tensor in &self.tensors {
            let (rows, cols) = tensor.shape;
            let published: String = tensor.published.chars().take(DIGITS).collect();
            let compared = |text: &dyn Fn(&Comparison) -> String| {
                tensor.compared.as_ref().map_or("-".into(), text)
            };
            let columns = [
                &*tensor.recipe.to_string(),
                &tensor.tensor,
                &format!("{rows} x {cols}"),
                &format!("{published:DIGITS$} ({})", tensor.published.len()),
                &compared(&|c| c.got.to_string()[..DIGITS].into()),
                tensor.outcome.name(),
                &compared(&|c| {
                    c.share.map_or("-".into(), |share| format!("{:.2} %", 100.0 * share))
                }),
                &compared(&|c| if c.pruned { "yes" } else { "no" }.into()),
            ];
            row(f, columns)?;
            if let Some(reason) = &tensor.reason {
                writeln!(f, "    {}", reason.replace('\n', "\n    "))?;
            }
        }
        let count = |outcome| self.tensors.iter().filter(|t| t.outcome == outcome).count();
        let counts: Vec<String> = Outcome::ALL
            .into_iter()
            .map(|outcome| (count(outcome), outcome.name()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        writeln!(f, "\n{} published tensors: {}", self.tensors.len(), counts.join(", "))?;
        writeln!(
            f,
            "compared are as many digits as were published; a prefix is a tensor's first {PREFIX_BYTES} bytes, \
             `covers` their part of it;\na match of A that was not pruned says nothing of what was multiplied"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_as_bad_as_its_worst_tensor_and_survives_json() {
        let mut report = published(&Machine::cpu(2)).unwrap();
        let outcomes: Vec<Outcome> = report.tensors.iter().map(|t| t.outcome).collect();
        assert_eq!(outcomes[..6], [Outcome::PrefixMatch; 6]);
        assert_eq!(outcomes[6..], [Outcome::NotRun]);
        assert_eq!(report.exit_code(), NOT_VERIFIED);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<PublishedReport>(&json).unwrap(), report);
        // One digit of what was published is another.
        let known = Known { tensors: &WRONG, ..KNOWN[0] };
        for (wrong, drawn) in known.draw().unwrap() {
            report.tensors.push(tensor(&known, wrong, &drawn, &Machine::cpu(1)));
        }
        assert_eq!(report.tensors[7].outcome, Outcome::Mismatch);
        assert_eq!(report.tensors[8].outcome, Outcome::Match);
        assert_eq!(report.exit_code(), REFUTED);
        let counts = "9 published tensors: 1 match, 6 prefix-match, 1 mismatch, 1 not-run";
        assert!(report.to_string().contains(counts), "{report}");
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::json!(outcome), outcome.name());
        }
    }

    /// The second one is whole, and its digest that of no bytes.
    const WRONG: [KnownTensor; 2] = [
        KnownTensor {
            name: "A",
            shape: (10_000, 10_000),
            scope: Scope::Prefix,
            published: "b2687224",
        },
        KnownTensor {
            name: "V",
            shape: (0, 3),
            scope: Scope::WholeTensor,
            published: "e3b0c44298fc1c14",
        },
    ];
}
