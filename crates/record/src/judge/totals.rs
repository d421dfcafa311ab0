//! Rules that compare claims with each other, with the sections they are about, and with their sum.

use std::collections::BTreeMap;

use super::rules::{Checked, Found, nnz, per_layer, range};
use crate::claims::{
    Axis, Claim, EMBEDDING, Figure, Printed, Range, Subject, Tensor, kind_of_layer,
};
use crate::manifest::Manifest;
use crate::numbers::number;
use contract::case::{Case, Weights};
use contract::inputs::spec::{Pattern, Sparsity};
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
        spans(index, manifest, &mut found);
        sparse_times(index, manifest, &mut found);
        masks(index, manifest, &mut found);
        counts(index, manifest, &mut found);
        shapes(index, manifest, &mut found);
        look_ups(index, manifest, &mut found);
        for claim in &manifest.claims {
            let trend = trend(manifests, manifest, claim).filter(|checked| !checked.holds);
            found.extend(trend.map(|checked| at_claim(index, claim, (checked.rule, checked.line))));
        }
    }
    shared_digests(manifests, &mut found);
    shared_figures(manifests, &mut found);
    statements_about_sections(manifests, &mut found);
    found
}

/// What two claims about one case must agree in.
const FIGURES: [(Figure, &str); 3] = [
    (Figure::VendorMs, "vendor_ms"),
    (Figure::OperatorMs, "operator_ms"),
    (Figure::Speedup, "speedup"),
];

/// Claims about the same one case, over the same baseline, with different times or ratios.
fn same_case(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    let claims = &manifest.claims;
    for (i, later) in claims.iter().enumerate() {
        let is_same = |earlier: &&Claim| {
            earlier.cases.len() == 1
                && earlier.cases == later.cases
                && earlier.baseline == later.baseline
        };
        for (figure, name) in FIGURES {
            // Of the claims that have the figure the first is the one that others are held against.
            let mut alike = claims[..i].iter().filter(is_same);
            let earlier = alike.find_map(|earlier| Some((earlier, per_layer(earlier, figure)?)));
            let (Some((earlier, a)), Some(b)) = (earlier, per_layer(later, figure)) else {
                continue;
            };
            if !a.meets(b) {
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
                    "{}... is the digest of A as it was drawn, before any of it was pruned",
                    published.digits.short()
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
            .filter(|member| member.cases.iter().all(|id| claim.cases.contains(id)));
        found.extend(above_peak(claim, peak, speedups).map(|it| at_claim(index, claim, it)));
    }
}

/// The largest of the members' speedups that are above the claim's peak. Where it names a baseline, only speedups over
/// that one are compared with it.
fn above_peak<'c>(
    claim: &Claim,
    peak: &Printed,
    members: impl Iterator<Item = &'c Claim>,
) -> Option<Found> {
    let is_alike = |member: &&Claim| claim.baseline.is_none() || member.baseline == claim.baseline;
    let (member, speedup) = members
        .filter(is_alike)
        .filter_map(|member| Some((member, member.figure(Figure::Speedup)?)))
        .filter(|(_, speedup)| peak.range.is_below(speedup.range))
        .max_by(|(_, a), (_, b)| a.range.low.total_cmp(&b.range.low))?;
    Some(("peak", format!("at most {peak}x, and {speedup}x in `{}`", member.id)))
}

/// A range of times or speedups over several cases, and a claim about one of them that lies outside of it.
fn spans(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    for claim in manifest.claims.iter().filter(|claim| claim.cases.len() > 1) {
        for (figure, name) in FIGURES {
            let Some(span) = claim.figure(figure).filter(|span| span.is_span()) else { continue };
            let outside = manifest.claims.iter().find_map(|member| {
                let printed = member.figure(figure)?;
                let is_member = member.cases.len() == 1
                    && claim.cases.contains(&member.cases[0])
                    && (claim.baseline.is_none() || claim.baseline == member.baseline);
                let is_outside = is_member && !printed.range.meets(span.range);
                is_outside.then(|| format!("{name} {span}, and {printed} in `{}`", member.id))
            });
            found.extend(outside.map(|line| at_claim(index, claim, ("range", line))));
        }
    }
}

/// Whether two cases differ in nothing but their sparsity.
fn differ_in_level(a: &Case, b: &Case) -> bool {
    let key = |case: &Case| (case.m, case.k, case.n, case.dtype, case.pattern);
    a.section == b.section && a.layer == b.layer && key(a) == key(b)
}

/// A sparse library that takes less time for a matrix of more non-zeros. Assumed: its work does not fall as non-zeros are
/// added to one shape and pattern.
fn sparse_times(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    let is_sparse = |claim: &&Claim| {
        claim.baseline.as_ref().is_some_and(|name| name.contains("SPARSE") || name.contains("CSR"))
    };
    let timed = |claim| {
        let [case] = cases(manifest, claim)[..] else { return None };
        Some((claim, case, claim.figure(Figure::VendorMs)?, per_layer(claim, Figure::VendorMs)?))
    };
    let timed: Vec<_> = manifest.claims.iter().filter(is_sparse).filter_map(timed).collect();
    for &(claim, case, printed, ms) in &timed {
        let above = timed.iter().find(|&&(other, sparser, _, less)| {
            other.baseline == claim.baseline
                && differ_in_level(case, sparser)
                && sparser.sparsity.as_f64() > case.sparsity.as_f64()
                && ms.is_below(less)
        });
        if let Some((other, sparser, longer, _)) = above {
            let line = format!(
                "{printed} ms at {} %, and {longer} ms at {} % in `{}`, where there is less to do",
                case.sparsity, sparser.sparsity, other.id
            );
            found.push(at_claim(index, claim, ("sparse time", line)));
        }
    }
}

/// Chance below which a count of non-zeros is not taken for that of a mask drawn at random.
const CHANCE_MIN: f64 = 1e-6;

/// Non-zeros at several levels that are the nominal ones. A mask that draws each of N elements alone with probability p
/// has a count with the standard deviation sqrt(N p (1 - p)); that the count is within d of the nominal one has at most
/// the chance 2 d / (sd sqrt(2 pi)), the largest value of the normal density times the width. Levels are drawn alone.
fn masks(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    for section in &manifest.sections {
        let mut chance = 1.0f64;
        let mut levels = Vec::new();
        for claim in
            manifest.claims.iter().filter(|claim| claim.section.as_ref() == Some(&section.name))
        {
            let [case] = cases(manifest, claim)[..] else { continue };
            let (Some(gflops), Some(tokens)) =
                (claim.figure(Figure::Gflops), claim.figure(Figure::TokensPerS))
            else {
                continue;
            };
            let is_random = case.pattern == Pattern::Uniform && case.sparsity != Sparsity::ZERO;
            if !is_random || levels.iter().any(|(level, _)| *level == case.sparsity) {
                continue;
            }
            let elements = case.m as f64 * case.k as f64;
            let density = 1.0 - case.sparsity.as_f64();
            // 2 non-zeros tokens operations.
            let count = gflops.range.times(Range::exact(0.5e9)).over(tokens.range);
            let nominal = elements * density;
            let away = (count.low - nominal).abs().max((count.high - nominal).abs());
            let deviation = (elements * density * (1.0 - density)).sqrt();
            let peak = 2.0 / (2.0 * std::f64::consts::PI).sqrt();
            chance *= (peak * away / deviation).min(1.0);
            levels.push((case.sparsity, claim));
        }
        let Some((_, last)) = levels.last() else { continue };
        if chance < CHANCE_MIN {
            let line = format!(
                "GFLOP/s / tokens/s / 2 are the nominal non-zeros at {} levels: by chance {} at most for a mask drawn element \
                 by element",
                levels.len(),
                number(chance)
            );
            found.push(at_claim(index, last, ("non-zeros", line)));
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
        claim.subject.batch?;
        Some((nnz, per_layer(claim, Figure::OperatorMs)?)).filter(|(nnz, _)| *nnz > 0.0)
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
            let kind = kind_of_layer(&case.layer);
            let Some((want, rule)) = config.shape(kind) else { continue };
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

/// Speedups of products by a matrix that the model multiplies nothing by: its rows are looked up.
fn look_ups(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    for section in &manifest.sections {
        let Some(config) = section.config.as_ref().filter(|it| it.tied_embeddings == Some(false))
        else {
            continue;
        };
        let of_product = |claim: &&Claim| {
            let own = claim.section.as_ref() == Some(&section.name);
            let [case] = cases(manifest, claim)[..] else { return false };
            own && claim.figure(Figure::Speedup).is_some()
                && kind_of_layer(&case.layer) == EMBEDDING
        };
        let claims: Vec<&Claim> = manifest.claims.iter().filter(of_product).collect();
        let Some(first) = claims.first() else { continue };
        let line = format!(
            "rows of `{EMBEDDING}` are looked up, and no product with it is part of the model: tie_word_embeddings is false \
             ({}); {}x in `{}`, {} claims",
            config.source,
            first.figure(Figure::Speedup).map(Printed::to_string).unwrap_or_default(),
            first.id,
            claims.len()
        );
        let (line_of, about) = (section.line, section.name.clone());
        found.push(Placed { manifest: index, line: line_of, about, found: ("look-up", line) });
    }
}

/// A speedup at one case that a claim about a trend is held against.
struct Point<'m> {
    claim: &'m Claim,
    speedup: &'m Printed,
    /// Where it stands in what the trend is over.
    at: f64,
    /// What must be alike of two of them, in words.
    alike: String,
}

/// The claims that one about a trend is held against: at one case of its section, or of the sections that it is about; if
/// it names none, those of its manifest beside sections.
fn points<'m>(manifests: &[&'m Manifest], own: &Manifest, claim: &Claim) -> Vec<Point<'m>> {
    let Some(axis) = claim.speedup_rises_with else { return Vec::new() };
    let mut points = Vec::new();
    for manifest in manifests {
        for member in &manifest.claims {
            let Some(speedup) = member.figure(Figure::Speedup) else { continue };
            let is_of = match (&claim.section, &member.section) {
                (Some(_), Some(_)) => {
                    manifest.name == own.name
                        && member.section == claim.section
                        && member.cases.iter().all(|id| claim.cases.contains(id))
                }
                (None, Some(section)) => {
                    !claim.about.is_empty() && claim.is_about(&manifest.name, section)
                }
                (None, None) => claim.about.is_empty() && manifest.name == own.name,
                (Some(_), None) => false,
            };
            let is_over = claim.baseline.is_none() || claim.baseline == member.baseline;
            let Subject { shape: Some((m, k)), batch: Some(n), sparsity: Some(level), dtype } =
                member.subject
            else {
                continue;
            };
            let case = match cases(manifest, member)[..] {
                [case] => Some(case),
                [] if member.section.is_none() => None,
                _ => continue,
            };
            if !is_of || !is_over {
                continue;
            }
            let size = m as f64 * k as f64;
            let at = match axis {
                Axis::Batch => n as f64,
                Axis::Size => size,
                Axis::Sparsity => level.as_f64(),
            };
            let unless = |over, text: String| if axis == over { String::new() } else { text };
            let alike = [
                format!("{:?}", member.platform.as_ref().or(manifest.platform.as_ref())),
                format!("{:?}", member.baseline),
                format!("{dtype:?}"),
                format!("{:?}", case.map(|case| (kind_of_layer(&case.layer), case.pattern))),
                unless(Axis::Batch, n.to_string()),
                unless(Axis::Size, format!("{m} x {k}")),
                unless(Axis::Sparsity, level.to_string()),
            ];
            points.push(Point { claim: member, speedup, at, alike: alike.join("/") });
        }
    }
    points
}

/// Whether a claim is one that a trend of its manifest is held against.
pub fn is_of_a_trend(manifest: &Manifest, claim: &Claim) -> bool {
    manifest.claims.iter().any(|trend| {
        points(&[manifest], manifest, trend).iter().any(|point| point.claim.id == claim.id)
    })
}

/// Speedups that are said to rise, of which one is below another that it should not be below, whatever their last digits
/// were rounded from. Of several claims at one place any may be meant, so that together they are one range.
///
/// Ranges in order can be chosen from without falling if and only if no range is below an earlier one: choose the
/// largest low end so far.
pub fn trend(manifests: &[&Manifest], manifest: &Manifest, claim: &Claim) -> Option<Checked> {
    let axis = claim.speedup_rises_with?;
    if !not_given(manifests, claim).is_empty() {
        return None;
    }
    let mut groups: BTreeMap<String, Vec<(f64, Range, Vec<Point<'_>>)>> = BTreeMap::new();
    for point in points(manifests, manifest, claim) {
        let group = groups.entry(point.alike.clone()).or_default();
        let range = point.speedup.range;
        match group.iter_mut().find(|(at, ..)| *at == point.at) {
            Some((_, all, points)) => {
                *all = Range { low: all.low.min(range.low), high: all.high.max(range.high) };
                points.push(point);
            }
            None => group.push((point.at, range, vec![point])),
        }
    }
    let mut rows = 0;
    let mut compared = 0;
    for group in groups.values_mut().filter(|group| group.len() > 1) {
        group.sort_by(|a, b| a.0.total_cmp(&b.0));
        rows += 1;
        compared += group.iter().map(|(_, _, points)| points.len()).sum::<usize>();
        for (i, (_, earlier, before)) in group.iter().enumerate() {
            let fallen = group[i + 1..].iter().find(|(_, later, _)| later.is_below(*earlier));
            let Some((_, _, after)) = fallen else { continue };
            let show = |point: &Point<'_>| {
                let Subject { shape, batch, sparsity, .. } = point.claim.subject;
                let at = match axis {
                    Axis::Batch => format!("batch {}", batch.unwrap_or_default()),
                    Axis::Size => {
                        let (m, k) = shape.unwrap_or_default();
                        format!("{m} x {k}")
                    }
                    Axis::Sparsity => {
                        format!("{} %", sparsity.map(|level| level.to_string()).unwrap_or_default())
                    }
                };
                format!("{}x at {at} in `{}`", point.speedup, point.claim.id)
            };
            let line = format!(
                "speedup is said to rise with {}: {}, and {}",
                axis.name(),
                show(&before[0]),
                show(&after[0])
            );
            return Some(Checked { rule: "trend", holds: false, line });
        }
    }
    let line = format!(
        "speedup is said to rise with {}: {compared} figures in {rows} rows, and none is below an earlier one",
        axis.name()
    );
    (rows > 0).then_some(Checked { rule: "trend", holds: true, line })
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

/// Digits from which on two devices do not give one figure by chance.
const DIGITS_MIN: usize = 5;

/// One measured figure of five digits or more under two platforms. Assumed: the last digits of two measurements are
/// independent, so that they agree by chance once in 10^4 or less.
fn shared_figures(manifests: &[&Manifest], found: &mut Vec<Placed>) {
    let mut seen: Vec<(Figure, String, &str, &Claim)> = Vec::new();
    for (index, manifest) in manifests.iter().enumerate() {
        for claim in &manifest.claims {
            // A claim about sections is of their platform, where they have one.
            let named = |name: &String| {
                let named = name.split_once('/').map_or(name.as_str(), |(manifest, _)| manifest);
                manifests.iter().find(|known| known.name == named)?.platform.as_deref()
            };
            let own = claim.platform.as_deref().or(manifest.platform.as_deref());
            let Some(platform) = own.or_else(|| named(claim.about.first()?)) else { continue };
            for (figure, printed) in &claim.figures {
                let text = printed.to_string();
                let digits = text.bytes().filter(u8::is_ascii_digit);
                let digits = digits.skip_while(|&digit| digit == b'0').count();
                if figure.is_count() || !printed.is_one() || digits < DIGITS_MIN {
                    continue;
                }
                let same = seen.iter().find(|(known, other, on, _)| {
                    known == figure && *other == text && *on != platform
                });
                if let Some((_, _, on, earlier)) = same {
                    let key = figure.key();
                    let line =
                        format!("{key} {text} on {platform}, and on {on} in `{}`", earlier.id);
                    found.push(at_claim(index, claim, ("shared figure", line)));
                }
                seen.push((*figure, text, platform, claim));
            }
        }
    }
}

/// A count of all cases of a section, and the cases that are published of it.
fn counts(index: usize, manifest: &Manifest, found: &mut Vec<Placed>) {
    for claim in &manifest.claims {
        let section =
            manifest.sections.iter().find(|known| Some(&known.name) == claim.section.as_ref());
        let Some(published) = section.and_then(|section| section.published.as_ref()) else {
            continue;
        };
        let Some(cases) = claim.figure(Figure::Cases) else { continue };
        let is_of_all = claim.cases.len() as u64 == published.cases;
        if is_of_all && !cases.range.contains(published.cases as f64) {
            let line = format!("{cases} cases, and the section has {}", published.cases);
            found.push(at_claim(index, claim, ("totals", line)));
        }
    }
}

/// What is said of everything or of sections of any manifest, against each claim and the sum of the sections that it is
/// about.
fn statements_about_sections(manifests: &[&Manifest], found: &mut Vec<Placed>) {
    for (index, manifest) in manifests.iter().enumerate() {
        for claim in manifest.claims.iter().filter(|claim| claim.section.is_none()) {
            let mut push = |found_here: Found| found.push(at_claim(index, claim, found_here));
            for name in claim.about.iter().filter(|name| is_missing(manifests, name)) {
                push(("about", format!("no section is named `{name}`")));
            }
            // Sums and peaks of a part would say less than they seem to.
            if !not_given(manifests, claim).is_empty() {
                continue;
            }
            let mut members: Vec<&Claim> = Vec::new();
            for other in manifests {
                let is_about = |member: &&Claim| {
                    let section = member.section.as_ref();
                    section.is_some_and(|section| claim.is_about(&other.name, section))
                };
                members.extend(other.claims.iter().filter(is_about));
            }
            [
                sections_and_cases(manifests, claim),
                above_error(claim, &members),
                claim
                    .figure(Figure::SpeedupMax)
                    .and_then(|peak| above_peak(claim, peak, members.iter().copied())),
                not_all_passed(claim, &members),
            ]
            .into_iter()
            .flatten()
            .for_each(push);
        }
    }
}

/// The manifests that a claim is about and that were not given.
pub fn not_given<'c>(manifests: &[&Manifest], claim: &'c Claim) -> Vec<&'c str> {
    let mut missing: Vec<&str> = claim
        .about
        .iter()
        .map(|name| name.split_once('/').map_or(name.as_str(), |(manifest, _)| manifest))
        .filter(|named| !manifests.iter().any(|manifest| manifest.name == *named))
        .collect();
    missing.dedup();
    missing
}

/// Whether a manifest that was given has no section of this name.
fn is_missing(manifests: &[&Manifest], name: &str) -> bool {
    let Some((named, section)) = name.split_once('/') else { return false };
    let mut given = manifests.iter().filter(|manifest| manifest.name == named);
    given.any(|manifest| manifest.sections.iter().all(|known| known.name != section))
}

/// Cases that are claimed, and those of the published sections that the claim is about.
fn sections_and_cases(manifests: &[&Manifest], claim: &Claim) -> Option<Found> {
    let cases = claim.figure(Figure::Cases)?;
    let (mut sections, mut itemised) = (0, 0);
    for manifest in manifests {
        for section in &manifest.sections {
            let published = section.published.as_ref();
            if let Some(published) =
                published.filter(|_| claim.is_about(&manifest.name, &section.name))
            {
                sections += 1;
                itemised += published.cases;
            }
        }
    }
    if sections == 0 || cases.range.contains(itemised as f64) {
        return None;
    }
    let which = if claim.about.is_empty() { ", of all editions" } else { "" };
    let named = format!("{itemised} of named sections ({sections}{which})");
    let line = match itemised as f64 > cases.range.high {
        true => format!("{cases} cases, and {named}"),
        false => {
            let rest = number(cases.range.low - itemised as f64);
            format!("{cases} cases, {named}: {rest} are of none")
        }
    };
    Some(("totals", line))
}

/// A member's error above the largest of all.
fn above_error(claim: &Claim, members: &[&Claim]) -> Option<Found> {
    let error = claim.figure(Figure::MaxAbsError)?;
    let (member, larger) = members
        .iter()
        .filter_map(|member| Some((member, member.figure(Figure::MaxAbsError)?)))
        .filter(|(_, larger)| error.range.is_below(larger.range))
        .max_by(|(_, a), (_, b)| a.range.low.total_cmp(&b.range.low))?;
    Some(("maximum", format!("error of all at most {error}, and {larger} in `{}`", member.id)))
}

/// All passed, and not all of a member.
fn not_all_passed(claim: &Claim, members: &[&Claim]) -> Option<Found> {
    let (passed, cases) = (claim.figure(Figure::CasesPassed)?, claim.figure(Figure::Cases)?);
    let (member, passed, of) = members
        .iter()
        .filter(|_| passed.range == cases.range)
        .filter_map(|member| {
            let (passed, of) = (member.figure(Figure::CasesPassed)?, member.figure(Figure::Cases)?);
            Some((member, passed, of))
        })
        .find(|(_, passed, of)| passed.range.is_below(of.range))?;
    Some(("totals", format!("all passed, and {passed} of {of} in `{}`", member.id)))
}
