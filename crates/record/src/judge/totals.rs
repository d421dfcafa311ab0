//! Rules that compare claims with each other, with the sections they are about, and with their sum.

use std::collections::BTreeMap;

use super::rules::{Found, nnz, range};
use crate::claims::{Claim, Figure, Printed, Range, Subject, Tensor};
use crate::manifest::Manifest;
use crate::numbers::number;
use contract::case::{Case, Weights};
use contract::inputs::spec::Sparsity;
use contract::published::Scope;

/// A finding at a line of a manifest.
pub struct Placed {
    pub manifest: usize,
    pub line: u32,
    /// The claim, or the section.
    pub about: String,
    pub found: Found,
}

fn at_claim(manifest: usize, claim: &Claim, found: Found) -> Placed {
    Placed { manifest, line: claim.line, about: claim.id.clone(), found }
}

pub fn of_all(manifests: &[&Manifest]) -> Vec<Placed> {
    let mut found = Vec::new();
    for (index, manifest) in manifests.iter().enumerate() {
        same_case(index, manifest, &mut found);
        one_digest_for_several_levels(index, manifest, &mut found);
        unpruned(index, manifest, &mut found);
        peaks(index, manifest, &mut found);
        for claim in &manifest.claims {
            let same = same_time(&manifest.claims, claim);
            found.extend(same.map(|found| at_claim(index, claim, found)));
        }
        shapes(index, manifest, &mut found);
    }
    shared_digests(manifests, &mut found);
    statements_about_all(manifests, &mut found);
    found
}

/// What two claims about one case must agree in.
const FIGURES: [(Figure, &str); 3] = [
    (Figure::VendorMs, "vendor_ms"),
    (Figure::OperatorMs, "operator_ms"),
    (Figure::Speedup, "speedup"),
];

/// Time of one layer; a ratio is of any number of them.
fn per_layer(claim: &Claim, figure: Figure) -> Option<Range> {
    let printed = claim.figure(figure)?.range;
    let layers = claim.figure(Figure::Layers).filter(|_| figure != Figure::Speedup);
    Some(printed.over(layers.map_or(Range::exact(1.0), |layers| layers.range)))
}

/// Claims about the same one case, over the same baseline, with different times or ratios.
fn same_case(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    let claims = &manifest.claims;
    for (i, later) in claims.iter().enumerate() {
        let is_same = |earlier: &&Claim| {
            earlier.cases.len() == 1
                && earlier.cases == later.cases
                && earlier.baseline == later.baseline
        };
        if let Some(earlier) = claims[..i].iter().find(is_same) {
            for (figure, name) in FIGURES {
                let (Some(a), Some(b)) = (per_layer(earlier, figure), per_layer(later, figure))
                else {
                    continue;
                };
                if a.meets(b) {
                    continue;
                }
                let show = |claim: &Claim| {
                    let printed = claim.figure(figure).map(Printed::to_string).unwrap_or_default();
                    match claim.figure(Figure::Layers) {
                        Some(layers) if figure != Figure::Speedup => {
                            let each = per_layer(claim, figure).map(range).unwrap_or_default();
                            format!("{printed} / {layers} layers = {each}")
                        }
                        _ => printed,
                    }
                };
                let line = format!(
                    "{name} {} here, {} in `{}`, of `{}`",
                    show(later),
                    show(earlier),
                    earlier.id,
                    earlier.cases[0]
                );
                found.push(at_claim(index, later, ("same case", line)));
            }
        }
    }
}

fn cases<'m>(manifest: &'m Manifest, claim: &Claim) -> Vec<&'m Case> {
    manifest.cases.iter().filter(|case| claim.cases.contains(&case.id)).collect()
}

/// One digest of what depends on the sparsity, beside several.
fn one_digest_for_several_levels(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    for claim in &manifest.claims {
        let mut levels: Vec<String> =
            cases(manifest, claim).iter().map(|case| case.sparsity.to_string()).collect();
        levels.dedup();
        if levels.len() < 2 {
            continue;
        }
        for published in claim.digests.iter().filter(|published| published.tensor != Tensor::V) {
            let line = format!(
                "one digest of {} ({}...) for {} levels of sparsity, {} to {} %",
                published.tensor.name(),
                published.digits.short(),
                levels.len(),
                levels[0],
                levels[levels.len() - 1]
            );
            found.push(at_claim(index, claim, ("shared digest", line)));
        }
    }
}

/// A digest of A beside a sparsity that is that of A before it was pruned: drawn again here.
fn unpruned(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    for claim in &manifest.claims {
        let cases = cases(manifest, claim);
        let Some(pruned) = cases.iter().rev().find(|case| case.sparsity != Sparsity::ZERO) else {
            continue;
        };
        let Weights::Drawn(hardware) = pruned.weights else { continue };
        // What was validated can be drawn.
        let Ok((a, _)) = hardware.uniform_inputs(pruned.seed, (pruned.m, pruned.k), pruned.n)
        else {
            continue;
        };
        for published in claim.digests.iter().filter(|published| published.tensor == Tensor::A) {
            let is_cheap = published.scope == Scope::Prefix;
            let digest = is_cheap.then(|| a.digest(published.scope, 1));
            if let Some(Ok(digest)) = digest
                && published.matches(&digest)
            {
                let line = format!(
                    "{}... is the digest of A as it was drawn, before {} % of it were pruned",
                    published.digits.short(),
                    pruned.sparsity
                );
                found.push(at_claim(index, claim, ("unpruned digest", line)));
            }
        }
    }
}

/// The largest speedup of a section, against what its own claims print.
fn peaks(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    for claim in &manifest.claims {
        let (Some(peak), Some(section)) = (claim.figure(Figure::SpeedupMax), &claim.section) else {
            continue;
        };
        let speedups = manifest
            .claims
            .iter()
            .filter(|member| member.section.as_ref() == Some(section))
            .filter(|member| member.cases.iter().all(|id| claim.cases.contains(id)))
            .filter_map(|member| Some((member, member.figure(Figure::Speedup)?)));
        let above: Vec<_> = speedups.filter(|(_, s)| peak.range.is_below(s.range)).collect();
        if let Some((member, speedup)) = above.first() {
            let line = format!("at most {peak}x, and {speedup}x in `{}`", member.id);
            found.push(at_claim(index, claim, ("peak", line)));
        }
    }
}

/// Times are the same up to this ratio, and non-zeros others from that one on.
const SAME_TIME: f64 = 1.05;
const OTHER_NNZ: f64 = 10.0;

/// What the times of one shape on one device say, at the claim with the fewest non-zeros: that they are those of all
/// levels, of which the densest has many times the products. It is assumed that a time that is independent of the
/// non-zeros is not that of their products.
pub fn same_time(claims: &[Claim], claim: &Claim) -> Option<Found> {
    let of = |claim: &Claim| {
        let (_, nnz) = nnz(&claim.subject)?;
        Some((nnz, claim.figure(Figure::OperatorMs)?.range))
    };
    let key = |claim: &Claim| {
        let Subject { shape, batch, dtype, .. } = claim.subject;
        (claim.section.clone(), claim.platform.clone(), shape, batch, dtype)
    };
    let (least, _) = of(claim)?;
    let own = key(claim);
    let alike: Vec<(&Claim, f64, Range)> = claims
        .iter()
        .filter(|other| key(other) == own)
        .filter_map(|other| of(other).map(|(nnz, ms)| (other, nnz, ms)))
        .collect();
    let (sparsest, ..) = alike.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let (densest, most, _) = alike.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let low = alike.iter().map(|(.., ms)| ms.low).fold(f64::INFINITY, f64::min);
    let high = alike.iter().map(|(.., ms)| ms.high).fold(0.0, f64::max);
    let is_placed_here = std::ptr::eq(*sparsest, claim);
    if !is_placed_here || least <= 0.0 || *most < OTHER_NNZ * least || high > SAME_TIME * low {
        return None;
    }
    let (ours, theirs) = (claim.figure(Figure::OperatorMs)?, densest.figure(Figure::OperatorMs)?);
    let line = format!(
        "{ours} ms for {} non-zeros, {theirs} ms for {} in `{}`: {} times the products in the same time ({} claims)",
        number(least),
        number(*most),
        densest.id,
        number(most / least),
        alike.len()
    );
    Some(("time and non-zeros", line))
}

/// Shapes that the model's configuration does not have.
fn shapes(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    for section in &manifest.sections {
        let mut push = |found_here: Found| {
            let (line, about) = (section.line, section.name.clone());
            found.push(Placed { manifest: index, line, about, found: found_here });
        };
        let Some(config) = &section.config else { continue };
        let mut seen = Vec::new();
        for case in manifest.cases.iter().filter(|case| case.section == section.name) {
            if seen.contains(&&case.layer) {
                continue;
            }
            seen.push(&case.layer);
            let last = case.layer.rsplit('.').next().unwrap_or(&case.layer);
            let Some((want, rule)) = config.shape(last) else { continue };
            let got = (case.m as u64, case.k as u64);
            if got != want {
                let line = format!(
                    "`{}` is {} x {}, {rule} = {} x {} ({})",
                    case.layer, got.0, got.1, want.0, want.1, config.source
                );
                push(("shape", line));
            }
        }
    }
}

/// A digest that stands beside claims of different inputs.
fn shared_digests(manifests: &[&Manifest], found: &mut Vec<Placed>) {
    type Seen<'a> = Vec<(usize, &'a Claim)>;
    let mut by_digits: BTreeMap<(Tensor, &str), Seen<'_>> = BTreeMap::new();
    for (index, manifest) in manifests.iter().enumerate() {
        for claim in &manifest.claims {
            for published in &claim.digests {
                let key = (published.tensor, published.digits.as_str());
                by_digits.entry(key).or_default().push((index, claim));
            }
        }
    }
    for ((tensor, digits), claims) in by_digits {
        let (_, first) = claims[0];
        let differs = |other: &Claim| {
            let (a, b) = (first.subject, other.subject);
            let both = a.shape.zip(b.shape);
            match tensor {
                Tensor::A => a.shape != b.shape || a.sparsity != b.sparsity,
                Tensor::V => both.is_some_and(|((_, k), (_, l))| k != l) || a.batch != b.batch,
                Tensor::Dense | Tensor::Operator => a != b,
            }
        };
        let others: Vec<_> = claims[1..].iter().filter(|(_, claim)| differs(claim)).collect();
        let Some((index, last)) = others.last() else { continue };
        let line = format!(
            "{}... of {} stands beside {} claims about different inputs, from `{}` to `{}`",
            &digits[..8],
            tensor.name(),
            others.len() + 1,
            first.id,
            last.id
        );
        found.push(at_claim(*index, last, ("shared digest", line)));
    }
}

/// What is said of everything, against each claim and the sum of sections.
fn statements_about_all(manifests: &[&Manifest], found: &mut Vec<Placed>) {
    let members = || {
        manifests
            .iter()
            .flat_map(|manifest| &manifest.claims)
            .filter(|claim| claim.section.is_some())
    };
    let published = manifests
        .iter()
        .flat_map(|manifest| &manifest.sections)
        .filter_map(|section| section.published.as_ref());
    let (mut sections, mut itemised) = (0, 0);
    for section in published {
        sections += 1;
        itemised += section.cases;
    }
    for (index, manifest) in manifests.iter().enumerate() {
        for claim in manifest.claims.iter().filter(|claim| claim.section.is_none()) {
            let mut push = |rule, line| found.push(at_claim(index, claim, (rule, line)));
            let cases = claim.figure(Figure::Cases);
            if let Some(cases) = cases
                && sections > 0
                && !cases.range.contains(itemised as f64)
            {
                let rest = cases.range.low.max(cases.range.high - 0.5) - itemised as f64;
                push(
                    "totals",
                    format!(
                        "{cases} cases, {itemised} of them in the {sections} sections that are named: {} are not",
                        number(rest)
                    ),
                );
            }
            if let Some(error) = claim.figure(Figure::MaxAbsError) {
                let of_member = |member: &'_ Claim| {
                    Some((member.id.clone(), member.figure(Figure::MaxAbsError)?.clone()))
                };
                let above = members()
                    .filter_map(of_member)
                    .filter(|(_, larger)| error.range.is_below(larger.range))
                    .max_by(|(_, a), (_, b)| a.range.low.total_cmp(&b.range.low));
                if let Some((id, larger)) = above {
                    push(
                        "maximum",
                        format!("error of all at most {error}, and {larger} in `{id}`"),
                    );
                }
            }
            let all_passed =
                claim.figure(Figure::CasesPassed).zip(cases).is_some_and(|(p, c)| p == c);
            let failed = members().find_map(|member| {
                let (passed, of) =
                    member.figure(Figure::CasesPassed).zip(member.figure(Figure::Cases))?;
                passed
                    .range
                    .is_below(of.range)
                    .then(|| (member.id.clone(), passed.clone(), of.clone()))
            });
            if let (true, Some((id, passed, of))) = (all_passed, failed) {
                push("totals", format!("all passed, and {passed} of {of} in `{id}`"));
            }
        }
    }
}
