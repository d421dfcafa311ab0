//! Published inputs, drawn again on this machine and compared with the digits that were published.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::check::verdict::Verdict;
use crate::digest::Digest;
use crate::exit::{self, ENVIRONMENT};
use crate::published::{Drawn, Error, KNOWN, Known, KnownTensor, Machine, PREFIX_BYTES, Recipe};

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
    /// The first hexadecimal digits of the prefix's digest: as many as were published.
    pub published: String,
    /// The prefix's digest here.
    pub got: Option<Digest>,
    /// `verified`, `mismatch` or `not-run`.
    pub verdict: Verdict,
    /// Why it was not run.
    pub reason: Option<String>,
    /// The part of the tensor that the digest covers, from 0 to 1.
    pub share: f64,
    pub exit_code: u8,
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
    let prefix = drawn.prefix(machine);
    let (verdict, failed) = match &prefix {
        Ok(prefix) if prefix.digest.to_string().starts_with(tensor.published) => {
            (Verdict::Verified, None)
        }
        Ok(_) => (Verdict::Mismatch, None),
        Err(Error::NotRun { .. }) => (Verdict::NotRun, None),
        Err(_) => (Verdict::NotRun, Some(ENVIRONMENT)),
    };
    PublishedTensor {
        recipe: known.recipe,
        tensor: format!("{} {}", known.title, tensor.name),
        shape: tensor.shape,
        published: tensor.published.into(),
        got: prefix.as_ref().ok().map(|prefix| prefix.digest),
        verdict,
        reason: prefix.err().map(|error| error.to_string()),
        share: drawn.prefix_share(),
        exit_code: exit::of_verdict(verdict, failed),
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

fn row(f: &mut fmt::Formatter<'_>, columns: [&str; 7]) -> fmt::Result {
    let [recipe, tensor, shape, published, got, verdict, covers] = columns;
    writeln!(
        f,
        "{recipe:20}  {tensor:27}  {shape:>13}  {published:21}  {got:DIGITS$}  {verdict:8}  {covers:>7}"
    )
}

impl fmt::Display for PublishedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["recipe", "tensor", "shape", "published (digits)", "got", "verdict", "covers"];
        row(f, head)?;
        for tensor in &self.tensors {
            let (rows, cols) = tensor.shape;
            let digits: String = tensor.published.chars().take(DIGITS).collect();
            let got = tensor.got.map_or("-".into(), |digest| digest.to_string());
            let columns = [
                &*tensor.recipe.to_string(),
                &tensor.tensor,
                &format!("{rows} x {cols}"),
                &format!("{digits:DIGITS$} ({})", tensor.published.len()),
                &got[..got.len().min(DIGITS)],
                tensor.verdict.name(),
                &format!("{:.2} %", 100.0 * tensor.share),
            ];
            row(f, columns)?;
            if let Some(reason) = &tensor.reason {
                writeln!(f, "    {}", reason.replace('\n', "\n    "))?;
            }
        }
        let count = |verdict| self.tensors.iter().filter(|t| t.verdict == verdict).count();
        let counts: Vec<String> = [Verdict::Verified, Verdict::Mismatch, Verdict::NotRun]
            .into_iter()
            .map(|verdict| (count(verdict), verdict.name()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        writeln!(f, "\n{} published tensors: {}", self.tensors.len(), counts.join(", "))?;
        writeln!(
            f,
            "compared are as many digits as were published, of a digest of a tensor's first {PREFIX_BYTES} bytes; \
             `covers` is their part of it"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{NOT_VERIFIED, REFUTED};

    #[test]
    fn a_report_is_as_bad_as_its_worst_tensor_and_survives_json() {
        let mut report = published(&Machine::cpu(2)).unwrap();
        let verdicts: Vec<Verdict> = report.tensors.iter().map(|t| t.verdict).collect();
        assert_eq!(verdicts[..6], [Verdict::Verified; 6]);
        assert_eq!(verdicts[6..], [Verdict::NotRun]);
        assert_eq!(report.exit_code(), NOT_VERIFIED);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<PublishedReport>(&json).unwrap(), report);
        // One digit of what was published is another.
        let known = Known { tensors: &WRONG, ..KNOWN[0] };
        let (wrong, drawn) = known.draw().unwrap()[0];
        report.tensors.push(tensor(&known, wrong, &drawn, &Machine::cpu(1)));
        assert_eq!(report.tensors[7].verdict, Verdict::Mismatch);
        assert_eq!(report.exit_code(), REFUTED);
        assert!(
            report.to_string().contains("8 published tensors: 6 verified, 1 mismatch, 1 not-run")
        );
    }

    const WRONG: [KnownTensor; 1] =
        [KnownTensor { name: "A", shape: (10_000, 10_000), published: "b2687224" }];
}
