//! `verify list`: cases with shapes, bytes, flops, arithmetic, pinned or not.

use std::path::PathBuf;

use clap::Args;

use super::operators;
use super::options::Printed;
use super::select::{Selected, choose, load};
use crate::carried;
use crate::failure::Failure;
use record::claims::{Claim, NotJudged, Page};
use record::exit::VERIFIED;
use record::judge::accounted;
use record::manifest::Manifest;
use record::numbers::bytes;

#[derive(Args, Debug, Clone)]
pub struct ListArgs {
    /// Manifests, or folders of manifests [default: those that the program carries, without their cases]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Only cases whose id matches (`*` matches any text, `/` included); may be repeated
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    /// Operators that can be put to the test by name, instead of cases
    #[arg(long, conflicts_with_all = ["paths", "cases", "claims"])]
    pub operators: bool,
    #[command(flatten)]
    pub printed: Printed,
    /// Published claims instead of cases: their figures as printed, and the cases that stand for them
    #[arg(long)]
    pub claims: bool,
    /// Every number of the pages that the manifests account for: by which claim and rule it is judged, or why not
    #[arg(long, conflicts_with_all = ["cases", "claims", "operators"])]
    pub page: bool,
}

// The name by which other actions know it.
pub use crate::output::print;
pub use crate::output::{print_json, print_table};
use contract::words::visible;

/// The manifests that are listed: where none is named, those that the program carries.
fn all(paths: &[PathBuf]) -> Vec<PathBuf> {
    match paths.is_empty() {
        true => carried::names("manifests")
            .filter_map(|name| carried::named("manifests", name))
            .collect(),
        false => paths.to_vec(),
    }
}

/// The manifests that a name stands for, a line each.
fn list_carried(json: bool) -> Result<u8, Failure> {
    let selected = choose(load(&all(&[]))?, &[])?;
    let mut text =
        format!("{:<10}  {:>5}  {:>6}  {:<7}  title\n", "manifest", "cases", "pinned", "from");
    let mut documents = Vec::new();
    for Selected { manifest, expected, .. } in &selected {
        let cases = manifest.cases.len();
        let is_pinned = |case: &&contract::case::Case| expected.cases.contains_key(&case.id);
        let pinned = manifest.cases.iter().filter(is_pinned).count();
        let from = if carried::is_carried(&manifest.path) { "carried" } else { "here" };
        let name = visible(&manifest.name);
        let title = visible(&manifest.title);
        text.push_str(&format!("{name:<10}  {cases:>5}  {pinned:>6}  {from:<7}  {title}\n"));
        documents.push(serde_json::json!({
            "manifest": manifest.name, "cases": cases, "pinned": pinned, "from": from,
            "title": manifest.title, "sha256": manifest.sha256,
        }));
    }
    match json {
        true => print_json(&documents.into()),
        false => print_table(&text),
    }
    Ok(VERIFIED)
}

pub fn run(args: &ListArgs) -> Result<u8, Failure> {
    let is_json = args.printed.is_json();
    if args.operators {
        match is_json {
            true => print_json(&operators::documents().into()),
            false => print_table(&operators::list()),
        }
        return Ok(VERIFIED);
    }
    if args.page {
        return list_pages(&load(&all(&args.paths))?, is_json);
    }
    if args.paths.is_empty() && args.cases.is_empty() && !args.claims {
        return list_carried(is_json);
    }
    let selected = choose(load(&all(&args.paths))?, &args.cases)?;
    if args.claims {
        return list_claims(&selected, is_json);
    }
    let mut text = String::new();
    let mut json = Vec::new();
    let mut count = 0;
    let mut pinned_count = 0;
    let width =
        selected.iter().flat_map(|s| s.cases()).map(|case| case.id.len()).max().unwrap_or(4);
    text.push_str(&format!(
        "{:<9}  {:<width$}  {:>20}  {:>9}  {:>9}  {:>9}  {:<22}  {}\n",
        "manifest", "case", "m x k x n", "A", "V + Y", "GFLOP", "arithmetic", "state"
    ));
    for selected in &selected {
        for case in selected.cases() {
            let (m, k, n) = (case.m as u64, case.k as u64, case.n as u64);
            let product = |factors: [u64; 3]| factors.into_iter().fold(1, u64::saturating_mul);
            let a_bytes = product([m, k, case.dtype.size() as u64]);
            let v_bytes = product([k, n, case.dtype.size() as u64]);
            let y_bytes = product([m, n, case.output.size() as u64]);
            let flops = product([m, k, n]).saturating_mul(2);
            let pinned = selected.expected.cases.contains_key(&case.id);
            count += 1;
            pinned_count += usize::from(pinned);
            let published = selected.manifest.published_as(case);
            let state = match (pinned, case.required) {
                (true, _) => "pinned",
                (false, true) => "unpinned",
                (false, false) => "unpinned, not required",
            };
            let published_text = published.map(|of| format!("; {}", of.title)).unwrap_or_default();
            text.push_str(&format!(
                "{:<9}  {:<width$}  {:>20}  {:>9}  {:>9}  {:>9.3}  {:<22}  {state}{published_text}\n",
                visible(&selected.manifest.name),
                case.id,
                format!("{m} x {k} x {n}"),
                bytes(a_bytes as f64),
                bytes(v_bytes.saturating_add(y_bytes) as f64),
                flops as f64 / 1e9,
                case.arithmetic.to_string(),
            ));
            json.push(serde_json::json!({
                "manifest": selected.manifest.name,
                "id": case.id,
                "section": case.section,
                "required": case.required,
                "pinned": pinned,
                "published": published.map(|of| &of.title),
                "seed": case.seed,
                "m": m, "k": k, "n": n,
                "dtype": case.dtype.name(),
                "output": case.output.name(),
                "weights": case.weights.to_string(),
                "activations": case.activations_text(),
                "pattern": case.pattern.to_string(),
                "block_size": match case.pattern {
                    contract::inputs::spec::Pattern::Block { size } => Some(size),
                    _ => None,
                },
                "expert_rows": case.pattern.expert_rows(),
                "sparsity_percent": case.sparsity.to_string(),
                "arithmetic": case.arithmetic.to_string(),
                "bytes_a": a_bytes, "bytes_v": v_bytes, "bytes_y": y_bytes,
                "flops_dense": flops,
            }));
        }
    }
    text.push_str(&format!("{count} cases, {pinned_count} pinned"));
    let sections = selected.iter().flat_map(|selected| &selected.manifest.sections);
    let (mut titles, mut published) = (0, 0);
    for section in sections.filter_map(|section| section.published.as_ref()) {
        titles += 1;
        published += section.cases;
    }
    if titles > 0 {
        text.push_str(&format!("; {titles} sections stand for {published} published cases"));
    }
    text.push('\n');
    if is_json {
        print_json(&serde_json::Value::Array(json));
    } else {
        print(&text);
    }
    Ok(VERIFIED)
}

/// A line for each claim that is about everything or about a selected case.
fn list_claims(selected: &[Selected], json: bool) -> Result<u8, Failure> {
    let is_asked_for = |selected: &Selected, claim: &Claim| {
        claim.cases.is_empty() || selected.cases().any(|case| claim.cases.contains(&case.id))
    };
    let claims: Vec<(&Manifest, &Claim)> = selected
        .iter()
        .flat_map(|selected| {
            let claims = selected.manifest.claims.iter();
            let claims = claims.filter(|claim| is_asked_for(selected, claim));
            claims.map(|claim| (&selected.manifest, claim))
        })
        .collect();
    if json {
        let document: Vec<serde_json::Value> = claims
            .iter()
            .map(|(manifest, claim)| serde_json::json!({"manifest": manifest.name, "claim": claim}))
            .collect();
        print_json(&serde_json::Value::Array(document));
        return Ok(VERIFIED);
    }
    let width = claims.iter().map(|(_, claim)| claim.id.len()).max().unwrap_or(5);
    let mut text = format!("{:<10}  {:<width$}  figures [cases]\n", "manifest", "claim");
    for (manifest, claim) in &claims {
        let figures =
            claim.figures.iter().map(|(figure, printed)| format!("{} {printed}", figure.key()));
        let digests = claim.digests.iter().map(|published| {
            format!("digest of {} {}", published.tensor.name(), published.digits.short())
        });
        let figures: Vec<String> = figures.chain(digests).collect();
        let cases = match &claim.cases[..] {
            [] => "everything".to_owned(),
            [case] => case.clone(),
            cases => {
                format!("{} cases of {}", cases.len(), claim.section.as_deref().unwrap_or("-"))
            }
        };
        text.push_str(&format!(
            "{:<10}  {:<width$}  {} [{cases}]\n",
            visible(&manifest.name),
            visible(&claim.id),
            figures.join(", ")
        ));
    }
    print(&text);
    Ok(VERIFIED)
}

/// Numbers of each page: those of claims that name it as a source, and those that no claim has.
fn list_pages(manifests: &[Manifest], json: bool) -> Result<u8, Failure> {
    let pages: Vec<(&Manifest, &Page)> =
        manifests.iter().filter_map(|manifest| Some((manifest, manifest.page.as_ref()?))).collect();
    if pages.is_empty() {
        let message =
            "no manifest of these has a page\nhint: `verify list manifests/ --page` has one";
        return Err(Failure::bad_input(message));
    }
    let (mut text, mut documents) = (String::new(), Vec::new());
    for (manifest, page) in pages {
        let (mut figures, mut lines) = (Vec::new(), Vec::new());
        for (of, claim) in claims_of(manifests, &page.source) {
            for figure in accounted(of, claim) {
                let because = figure.because(claim);
                let by = figure.lint.iter().copied().chain(figure.record).collect::<Vec<_>>();
                let by = because.map_or_else(|| by.join(", "), |why| format!("not judged: {why}"));
                let id = format!("{}/{}", of.name, claim.id);
                lines.push((id, figure.figure.clone(), figure.printed.clone(), by));
                figures.push(serde_json::json!({
                    "manifest": of.name, "claim": claim.id, "figure": figure.figure,
                    "printed": figure.printed, "lint": figure.lint, "record": figure.record,
                    "because": because,
                }));
            }
        }
        let not_judged: Vec<serde_json::Value> = page
            .not_judged
            .iter()
            .map(|NotJudged { line, printed, because }| {
                serde_json::json!({"line": line, "printed": printed, "because": because})
            })
            .collect();
        let width = lines.iter().map(|(id, ..)| id.len()).max().unwrap_or(5);
        text.push_str(&format!(
            "{:<width$}  {:<22}  {:<16}  judged by\n",
            "claim", "figure", "printed"
        ));
        for (id, figure, printed, by) in &lines {
            let printed: String = printed.chars().take(16).collect();
            text.push_str(&format!("{:<width$}  {figure:<22}  {printed:<16}  {by}\n", visible(id)));
        }
        text.push_str(&format!("\n{:<5}  {:<16}  not judged, because\n", "line", "printed"));
        for NotJudged { line, printed, because } in &page.not_judged {
            text.push_str(&format!("{line:<5}  {:<16}  {}\n", visible(printed), visible(because)));
        }
        text.push_str(&format!(
            "\n{} ({}): {} figures of claims, {} numbers that no claim has\n",
            visible(&page.source),
            visible(&manifest.name),
            lines.len(),
            not_judged.len()
        ));
        documents.push(serde_json::json!({
            "manifest": manifest.name, "source": page.source, "figures": figures,
            "not_judged": not_judged,
        }));
    }
    match json {
        true => print_json(&documents.into()),
        false => print(&text),
    }
    Ok(VERIFIED)
}

/// Claims that name the source, with their manifests.
fn claims_of<'m>(
    manifests: &'m [Manifest],
    source: &'m str,
) -> impl Iterator<Item = (&'m Manifest, &'m Claim)> {
    let all =
        manifests.iter().flat_map(|manifest| manifest.claims.iter().map(move |it| (manifest, it)));
    all.filter(move |(_, claim)| claim.sources.iter().any(|known| known == source))
}
