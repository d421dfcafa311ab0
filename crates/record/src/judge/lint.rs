//! All rules over all claims of some manifests.

use super::accounted::{context, reading};
use super::rules;
use super::totals;
use crate::claims::Claim;
use crate::manifest::Manifest;

/// Something that does not agree with itself, with the arithmetic that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The manifest's name.
    pub manifest: String,
    /// Line in the manifest.
    pub line: u32,
    /// The claim or the section that it is about.
    pub about: String,
    /// Name of the rule.
    pub rule: &'static str,
    /// One line.
    pub text: String,
}

/// What was looked at, and what was found.
pub struct Linted {
    /// Number of claims.
    pub claims: usize,
    /// Everything that does not agree with itself.
    pub findings: Vec<Finding>,
    /// Claims about sections of manifests that were not given, and the names of these: they were not compared.
    pub not_compared: Vec<(String, Vec<String>)>,
}

/// Findings by manifest and line.
pub fn lint(manifests: &[&Manifest]) -> Linted {
    let mut findings = Vec::new();
    let mut push = |manifest: &Manifest, line, about: &str, (rule, text): rules::Found| {
        let (manifest, about) = (manifest.name.clone(), about.to_owned());
        findings.push(Finding { manifest, line, about, rule, text });
    };
    for manifest in manifests {
        for claim in &manifest.claims {
            let checked = rules::of_claim(claim, &context(manifest, claim));
            for found in checked.into_iter().filter(|checked| !checked.holds) {
                push(manifest, claim.line, &claim.id, (found.rule, found.line));
            }
        }
    }
    for placed in totals::of_all(manifests) {
        push(manifests[placed.manifest], placed.line, &placed.about, placed.found);
    }
    findings.sort_by(|a, b| (&a.manifest, a.line).cmp(&(&b.manifest, b.line)));
    let claims = manifests.iter().map(|manifest| manifest.claims.len()).sum();
    let all = manifests.iter().flat_map(|manifest| &manifest.claims);
    let not_compared = all
        .map(|claim| (claim.id.clone(), totals::not_given(manifests, claim)))
        .filter(|(_, missing)| !missing.is_empty())
        .map(|(id, missing)| (id, missing.into_iter().map(str::to_owned).collect()));
    Linted { claims, findings, not_compared: not_compared.collect() }
}

/// A rule that looked at a claim.
pub struct Explained {
    /// Its name.
    pub rule: &'static str,
    /// Whether what is printed agrees with it.
    pub holds: bool,
    /// One line, with the arithmetic.
    pub line: String,
    /// The strongest reading in the publisher's favour under which it would be no finding, where it is one.
    pub reading: Option<&'static str>,
}

/// Every rule that looked at a claim, those that hold as well. Of rules that compare claims only findings are known.
pub fn explain(manifests: &[&Manifest], manifest: &Manifest, claim: &Claim) -> Vec<Explained> {
    let own = rules::of_claim(claim, &context(manifest, claim));
    let trend = totals::trend(manifests, manifest, claim).filter(|checked| checked.holds);
    let own = own.into_iter().chain(trend);
    let own = own.map(|checked| (checked.rule, checked.holds, checked.line));
    let across = totals::of_all(manifests).into_iter();
    let across = across
        .filter(|placed| {
            manifests[placed.manifest].name == manifest.name && placed.about == claim.id
        })
        .map(|placed| (placed.found.0, false, placed.found.1));
    let explained = own.chain(across).map(|(rule, holds, line)| {
        let reading = (!holds).then(|| reading(rule));
        Explained { rule, holds, line, reading }
    });
    explained.collect()
}
