//! Figures of a claim, what looks at each, and how a finding could be none.

use super::rules::{self, Context};
use super::totals;
use crate::claims::{Claim, Figure, Printed, Tensor};
use crate::manifest::Manifest;

/// A figure, a count or a digest of a claim, and what looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounted {
    /// Its key in manifests: `speedup`, `over cuBLAS`, `factors`, `digest of A`.
    pub figure: String,
    /// As it is printed.
    pub printed: String,
    /// Rules on printed figures that look at it.
    pub lint: Vec<&'static str>,
    /// The line that judges it by a record.
    pub record: Option<&'static str>,
}

impl Accounted {
    /// Why nothing looks at it; `None` where something does.
    pub fn because(&self, claim: &Claim) -> Option<&'static str> {
        if !self.lint.is_empty() || self.record.is_some() {
            return None;
        }
        Some(match claim.cases.len() {
            _ if self.figure == Figure::Iterations.key() => {
                "how often the publisher measured changes no figure"
            }
            0 => "the case that it is of is not printed",
            1 => "no rule has what else it needs",
            _ => "it is of several cases, and each has a time of its own",
        })
    }
}

/// Every figure of a claim of the manifest.
pub fn accounted(manifest: &Manifest, claim: &Claim) -> Vec<Accounted> {
    let context = context(manifest, claim);
    let applied = rules::of_claim(claim, &context);
    // A rule looks at a figure if it says something else without it.
    let looks = |without: &Claim| {
        let rest = rules::of_claim(without, &context);
        let gone = applied.iter().filter(|checked| !rest.contains(checked));
        let mut names: Vec<&'static str> = gone.map(|checked| checked.rule).collect();
        names.dedup();
        names
    };
    let mut all = Vec::new();
    for (figure, printed) in &claim.figures {
        let mut without = claim.clone();
        without.figures.retain(|(known, _)| known != figure);
        let mut lint = looks(&without);
        lint.extend(across(manifest, claim, *figure));
        lint.dedup();
        all.push(Accounted {
            figure: figure.key().to_owned(),
            printed: printed.to_string(),
            lint,
            record: by_record(claim, *figure),
        });
    }
    for (baseline, printed) in &claim.over {
        let mut without = claim.clone();
        without.over.retain(|(known, _)| known != baseline);
        let (figure, printed) = (format!("over {baseline}"), printed.to_string());
        all.push(Accounted { figure, printed, lint: looks(&without), record: None });
    }
    for factor in &claim.factors {
        let without = Claim { factors: Vec::new(), ..claim.clone() };
        let (figure, printed) = ("factors".to_owned(), factor.to_string());
        all.push(Accounted { figure, printed, lint: looks(&without), record: None });
    }
    for published in &claim.digests {
        let mut without = claim.clone();
        without.digests.retain(|known| known != published);
        let mut lint = looks(&without);
        lint.push("shared digest");
        let is_input = claim.section.is_some();
        let record = match published.tensor {
            Tensor::A if is_input => Some("digest of A"),
            Tensor::V if is_input => Some("digest of V"),
            _ => None,
        };
        let figure = format!("digest of {}", published.tensor.name());
        let printed = published.digits.as_str().to_owned();
        all.push(Accounted { figure, printed, lint, record });
    }
    all
}

/// What the rules know beside the claim.
pub fn context<'m>(manifest: &'m Manifest, claim: &'m Claim) -> Context<'m> {
    let section = claim.section.as_ref();
    let section = manifest.sections.iter().find(|known| Some(&known.name) == section);
    Context {
        platform: claim.platform.as_deref().or(manifest.platform.as_deref()),
        ships: section.and_then(|section| Some(section.config.as_ref()?.dtype)),
    }
}

/// Rules that compare a figure with other claims or with the sections.
fn across(manifest: &Manifest, claim: &Claim, figure: Figure) -> Vec<&'static str> {
    let is_alike = |other: &Claim| {
        other.id != claim.id
            && other.cases == claim.cases
            && other.baseline == claim.baseline
            && other.figure(figure).is_some()
    };
    let is_compared = claim.cases.len() == 1 && manifest.claims.iter().any(is_alike);
    match figure {
        Figure::VendorMs | Figure::OperatorMs | Figure::Speedup => {
            let is_span =
                claim.cases.len() > 1 && claim.figure(figure).is_some_and(Printed::is_span);
            let same_case = is_compared.then_some("same case");
            let is_of_a_trend = figure == Figure::Speedup && totals::is_of_a_trend(manifest, claim);
            let trend = is_of_a_trend.then_some("trend");
            same_case.into_iter().chain(is_span.then_some("range")).chain(trend).collect()
        }
        Figure::SpeedupMax => vec!["peak"],
        Figure::MaxAbsError => vec!["maximum"],
        Figure::Cases | Figure::CasesPassed => vec!["totals"],
        _ => Vec::new(),
    }
}

/// The line by which a record judges a figure of cases.
fn by_record(claim: &Claim, figure: Figure) -> Option<&'static str> {
    claim.section.as_ref()?;
    let is_of_one = claim.cases.len() == 1;
    let line = match figure {
        Figure::Speedup => "speedup here",
        Figure::SpeedupMax => "largest speedup here",
        Figure::MaxAbsError => "max error here",
        Figure::Tolerance if claim.tolerance_of.is_some() => "tolerance here",
        _ if !is_of_one => return None,
        Figure::VendorMs => "vendor time",
        Figure::OperatorMs => "operator time",
        Figure::EnergySavedPercent => "energy here",
        Figure::TokensPerS => "tokens/s here",
        Figure::VendorTokensPerS => "vendor tokens/s",
        Figure::Gflops => "GFLOP/s here",
        Figure::VendorGflops => "vendor GFLOP/s",
        Figure::UsPerToken => "us per token here",
        Figure::VendorUsPerToken => "vendor us per token",
        Figure::BuildS => "build here",
        Figure::BreakEvenCalls => "break-even here",
        Figure::Layers => "operator time",
        Figure::LiveRows => "live rows here",
        Figure::MemoryMb => "memory here",
        Figure::MemoryReduction => "memory reduction here",
        _ => return None,
    };
    Some(line)
}

/// The strongest reading in the publisher's favour under which a finding of this rule would be none.
pub fn reading(rule: &str) -> &'static str {
    match rule {
        "speedup" => {
            "the ratio is of other runs than the two times, or was rounded more coarsely than its digits say"
        }
        "tokens" => "tokens/s and latency are of different runs or batches",
        "gflops" => "operations on zeros are counted as well",
        "energy" => {
            "energy was measured, and both ran at the same power; or it is said to be a ratio of times other than those \
             printed"
        }
        "roofline" => {
            "work was left out that the sparsity does not name, or the time is of another device or dtype"
        }
        "live rows" => "the level is rounded, and more or fewer rows were pruned than it says",
        "baseline" => {
            "the named library is meant as the one that is deployed, and not as the fastest"
        }
        "memory" => {
            "both sides are counted in f32, as they were held, and not as the checkpoint ships"
        }
        "vacuous digest" => {
            "the digest is printed as a constant, and not as that of the tensor beside it"
        }
        "prefix coverage" => {
            "the publisher says that a prefix is hashed, and claims no more than its equality"
        }
        "shared digest" => "the digest is meant as that of what the cases have in common",
        "unpruned digest" => "the digest is meant as that of A before anything was pruned",
        "same case" => "the two figures are of different runs of the case",
        "peak" => "the peak is meant of fewer cases than the claim says",
        "range" => "the range is meant of fewer cases than the claim says",
        "maximum" => {
            "the larger error was measured by another rule, such as before columns were divided by their norms"
        }
        "totals" => {
            "cases are counted that no section names, or passing means less than every test that is said to belong to it"
        }
        "sparse time" => "the two times are of different matrices or versions of the library",
        "non-zeros" => "the mask leaves exactly the nominal count, and GFLOP/s is counted",
        "shared figure" => {
            "the two figures are one measurement, printed beside another device by mistake"
        }
        "gain" => "the gain is of other cases than the speedups",
        "margin" => "the tolerance is rounded as well",
        "amortisation" => {
            "the build is said to pay against another library, or with more columns a call, than its times are of"
        }
        "power" => "energy is counted above what the idle board takes",
        "index" => "a dense array of all elements is meant, which no sparse product counts",
        "look-up" => "a matrix of that shape is meant, such as the last layer's",
        "trend" => "the rise is meant on the whole, and not from each figure to the next",
        "about" => "the section has another name in the manifest",
        _ => "none is known",
    }
}
