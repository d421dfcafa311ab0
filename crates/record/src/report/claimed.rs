//! A claimed speedup beside what was measured, by both rules: for every report that shows it. Left out: how it looks.

use crate::claims::{Claim, Figure, JudgedClaim, Row};
use crate::judge::same_rival;
use crate::timings::{Interval, Rule, Speedup};
use crate::{CaseRecord, Record};

/// A ratio of times, where it lies, and over whom.
pub struct Over<'a> {
    /// The rival's time over the operator's.
    pub ratio: f64,
    /// Where the ratio lies with a probability of 95 %, by a bootstrap.
    pub interval: Interval,
    /// The rival's name.
    pub rival: &'a str,
}

/// A speedup that is printed, and was measured here as well.
pub struct Claimed<'a> {
    /// As it is printed, with its unit: `9.53x`.
    pub printed: String,
    /// The baseline's name, as published.
    pub baseline: &'a str,
    /// The row that the printed figure was judged in.
    pub row: &'a Row,
    /// Over the rival that the claim names; `None` where several cases stand for the claim, so that the row has it alone.
    pub same: Option<Over<'a>>,
    /// Over the fastest rival; `None` where several cases stand for the claim, or there is no such speedup.
    pub best: Option<&'a Speedup>,
}

/// The claim as its manifest has it.
pub fn published<'a>(record: &'a Record, judged: &JudgedClaim) -> Option<&'a Claim> {
    let manifest = record.manifests.iter().find(|known| known.name == judged.manifest)?;
    manifest.claims.iter().find(|claim| claim.id == judged.id)
}

/// The one case that stands for a claim, if it is one.
pub fn case<'a>(record: &'a Record, judged: &JudgedClaim) -> Option<&'a CaseRecord> {
    match judged.cases.as_slice() {
        [id] => record.case(&judged.manifest, id),
        _ => None,
    }
}

/// The claim's speedup; `None` where it prints none, or none was measured that says anything of it.
pub fn speedup<'a>(record: &'a Record, judged: &'a JudgedClaim) -> Option<Claimed<'a>> {
    let row = judged.rows.iter().find(|row| row.measured && row.rule.contains("speedup"))?;
    let claim = published(record, judged);
    let figure = claim.and_then(|claim| {
        claim.figure(Figure::Speedup).or_else(|| claim.figure(Figure::SpeedupMax))
    });
    let printed = row.printed.clone().or_else(|| figure.map(|printed| printed.to_string()))?;
    let case = case(record, judged);
    let speedups = || case?.measurement.as_ref()?.speedups.iter().find(|s| s.rule == Rule::Best);
    Some(Claimed {
        printed: format!("{printed}x"),
        baseline: claim
            .and_then(|c| c.baseline.as_deref())
            .unwrap_or("the published rule's baseline"),
        row,
        same: claim.zip(case).and_then(|(claim, case)| over_same(claim, case)),
        best: speedups(),
    })
}

/// Speedup of a case over the rival that the claim names.
pub fn over_same<'a>(claim: &Claim, case: &'a CaseRecord) -> Option<Over<'a>> {
    let timings = case.measurement.as_ref().filter(|_| case.verdict.satisfies())?;
    let rival = same_rival(claim, timings)?;
    let (ratio, interval) = timings.ratio_over(rival, case.seed)?;
    Some(Over { ratio, interval, rival: &rival.name })
}
