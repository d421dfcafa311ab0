//! All rules over all claims of some manifests.

use super::rules::{self, Context};
use super::totals;
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
            let section = claim.section.as_ref();
            let section = manifest.sections.iter().find(|known| Some(&known.name) == section);
            let context = Context {
                platform: claim.platform.as_deref().or(manifest.platform.as_deref()),
                ships: section.and_then(|section| Some(section.config.as_ref()?.dtype)),
            };
            let checked = rules::of_claim(claim, &context);
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
    Linted { claims, findings }
}
