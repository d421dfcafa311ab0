//! `verify spot PATH...`: a few row panels of each case, drawn by a nonce and made again; what was not looked at, and how likely
//! it is that something wrong was missed.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use contract::case::{Case, Weights as Origin};
use contract::digest::PANELS;
use contract::spot::{self, Drawn, SHARES};
use contract::words::{visible, visible_lines};
use record::numbers::probability;
use record::report::overview;
use record::{Record, exit};
use serde_json::{Value, json};

use super::device::Devices;
use super::list::{print, print_json};
use super::options::{Printed, Selection};
use super::progress::Progress;
use super::resources::{DeviceChoice, Resources};
use super::select::{Selected, select};
use crate::audit::{Auditor, Known, SpotAsked, Stop, random_text};
use crate::expected::panels::Panels;
use crate::failure::Failure;
use crate::worker::RemoteDevice;

#[derive(Args, Debug, Clone)]
pub struct SpotArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub resources: Resources,
    /// Cases of each manifest that are drawn [default: all]
    #[arg(long = "cases", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub sample: Option<u16>,
    /// Row panels of each case that are drawn
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub panels: u8,
    /// The text by which cases and panels are drawn [default: a random one, which is printed]
    #[arg(long, value_name = "TEXT")]
    pub nonce: Option<String>,
    /// Compare with what this record says instead of with what is committed
    #[arg(long, value_name = "RECORD")]
    pub record: Option<PathBuf>,
    /// Read all of A where its magnitudes decide what stays
    #[arg(long)]
    pub all_rows: bool,
    /// Also cases that are not required and need weights of a model: get these
    #[arg(long)]
    pub fetch: bool,
    #[command(flatten)]
    pub printed: Printed,
}

/// The name of the JSON document's format.
const FORMAT: &str = "sparse-verify-spot/1";

/// What was found in one manifest.
struct Found {
    name: String,
    /// Cases that can be looked at.
    all: usize,
    looked: usize,
    panels: usize,
    rows: usize,
    assumed: usize,
    /// Cases that cannot be or were not looked at, and why.
    left_out: Vec<(String, String)>,
    /// Cases of which something is other than it was said to be.
    differing: Vec<(String, Vec<String>)>,
    code: u8,
}

pub fn run(args: &SpotArgs) -> Result<u8, Failure> {
    let selected = select(&args.selection)?;
    let record = args.record.as_deref().map(record::load).transpose()?;
    let nonce = args.nonce.clone().unwrap_or_else(random_text);
    let panels = usize::from(args.panels);
    let mut auditor = args.resources.auditor(false);
    auditor.fetches_optional = args.fetch;
    let mut devices = Devices::new(args.resources.device, args.resources.threads());
    auditor.device = match args.resources.device {
        Some(DeviceChoice::Cuda(_)) => Some(devices.for_operator()?),
        Some(DeviceChoice::All) => {
            return Err(Failure::bad_input("--device all: a spot audit takes one device"));
        }
        Some(DeviceChoice::Cpu) | None => None::<Arc<RemoteDevice>>,
    };
    let is_json = args.printed.is_json();
    if !is_json {
        print(&format!(
            "{} of {PANELS} row panels of each case, drawn by the nonce {}\n",
            panels,
            visible(&nonce)
        ));
    }
    let mut all = Vec::new();
    for selected in &selected {
        let found = look(args, &mut auditor, selected, record.as_ref(), &nonce)?;
        if !is_json {
            print(&in_words(&found, panels, record.is_some()));
        }
        all.push(found);
    }
    let looked: usize = all.iter().map(|found| found.looked).sum();
    // Panels of outputs of few rows may have none: nothing was shown by those alone.
    let rows: usize = all.iter().map(|found| found.rows).sum();
    let mut code = all.iter().fold(exit::VERIFIED, |code, found| exit::worse(code, found.code));
    let differing: usize = all.iter().map(|found| found.differing.len()).sum();
    if rows == 0 && differing == 0 {
        code = exit::worse(code, exit::NOT_VERIFIED);
    }
    if is_json {
        let manifests: Vec<Value> = all.iter().map(|found| document(found, panels)).collect();
        print_json(&json!({
            "format": FORMAT, "tool": record::tool::tool(), "nonce": nonce, "panels": panels,
            "of_a_record": record.is_some(), "manifests": manifests, "exit_code": code,
        }));
    } else {
        let words = match (differing, rows) {
            (0, 0) if looked > 0 => "no row was looked at".to_owned(),
            (0, 0) => "nothing was looked at".to_owned(),
            (0, _) => "all that was looked at is as it was said to be".to_owned(),
            (count, _) => format!("{} otherwise", overview::count(count, "case")),
        };
        print(&format!("spot: {words} (exit code {code})\n"));
    }
    Ok(code)
}

/// Why a case is no part of what is drawn from.
fn left_out(case: &Case, selected: &Selected, args: &SpotArgs) -> Option<String> {
    if case.stack.as_ref().is_some_and(|place| place.index() > 0) {
        return Some("a layer of a stack is made of all layers before it".into());
    }
    if matches!(case.weights, Origin::Hub { .. }) && !case.required && !args.fetch {
        return Some("weights of a model that is not required: --fetch gets them".into());
    }
    if !selected.expected.cases.contains_key(&case.id) {
        return Some("nothing is committed for it".into());
    }
    None
}

fn look(
    args: &SpotArgs,
    auditor: &mut Auditor<'_>,
    selected: &Selected,
    record: Option<&Record>,
    nonce: &str,
) -> Result<Found, Failure> {
    let name = &selected.manifest.name;
    let of_path = selected.expected_path.as_deref().map(Panels::load).transpose()?;
    let committed = of_path.unwrap_or_default();
    let mut found = Found {
        name: name.clone(),
        all: 0,
        looked: 0,
        panels: 0,
        rows: 0,
        assumed: 0,
        left_out: Vec::new(),
        differing: Vec::new(),
        code: exit::VERIFIED,
    };
    let mut able: Vec<&Case> = Vec::new();
    for case in selected.cases() {
        let no_record = record.is_some_and(|record| record.case(name, &case.id).is_none());
        match left_out(case, selected, args) {
            Some(why) => found.left_out.push((case.id.clone(), why)),
            None if no_record => {
                found.left_out.push((case.id.clone(), "the record does not have it".into()));
            }
            None => able.push(case),
        }
    }
    found.all = able.len();
    let ids: Vec<&str> = able.iter().map(|case| case.id.as_str()).collect();
    let chosen = spot::cases(nonce, &ids, args.sample.map_or(usize::MAX, usize::from));
    let chosen: Vec<&Case> = chosen.into_iter().map(|at| able[at]).collect();
    let mut progress = Progress::new(chosen.iter().copied(), true);
    for case in chosen {
        let bar = progress.begin(case);
        let drawn = spot::panels(nonce, &case.id, usize::from(args.panels));
        let spotted = auditor.spot(&SpotAsked {
            manifest: &selected.manifest,
            case,
            entry: selected.expected.cases.get(&case.id),
            panels: committed.0.get(&case.id).map(Vec::as_slice),
            drawn: &drawn,
            all_rows: args.all_rows,
            record: record.and_then(|record| record.case(name, &case.id)),
        });
        bar.finish_and_clear();
        progress.end(case);
        match spotted {
            Ok(spotted) => {
                found.looked += 1;
                found.panels += drawn.len();
                found.rows += spotted.rows;
                found.assumed += usize::from(spotted.known == Known::Assumed);
                if !spotted.differences.is_empty() {
                    found.code = exit::worse(found.code, exit::REFUTED);
                    found.differing.push((case.id.clone(), spotted.differences));
                }
            }
            Err(Stop { kind, reason }) => {
                found.code = exit::worse(found.code, kind.code());
                found.left_out.push((case.id.clone(), reason));
            }
        }
    }
    Ok(found)
}

impl Found {
    fn drawn(&self, panels: usize) -> Drawn {
        Drawn { all: self.all, cases: self.looked, panels }
    }
}

fn in_words(found: &Found, panels: usize, of_a_record: bool) -> String {
    let Found { name, all, looked, rows, assumed, .. } = found;
    let mut lines = Vec::new();
    let all_panels = all * PANELS;
    lines.push(format!(
        "{}: looked at {looked} of {}, {} of {all_panels} row panels, {rows} rows",
        visible(name),
        overview::count(*all, "case"),
        found.panels
    ));
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for (_, why) in &found.left_out {
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, count)) => *count += 1,
            None => reasons.push((why, 1)),
        }
    }
    for (why, count) in reasons {
        let cases = overview::count(count, "case");
        let why = visible_lines(why).replace('\n', "\n    ");
        lines.push(format!("  not looked at: {cases}: {why}"));
    }
    for (id, differences) in &found.differing {
        lines.push(format!("  {}: otherwise", visible(id)));
        lines.extend(differences.iter().map(|line| format!("    {}", visible(line))));
    }
    if *looked > 0 {
        let said = if of_a_record { "recorded" } else { "committed" };
        lines.push(format!(
            "  not checked: digests of A, and of perturbed outputs; panels that were not drawn are as {said}, or not"
        ));
        if *assumed > 0 {
            lines.push(format!(
                "  assumed: in {} which rows or elements of A stay, by the committed last one: --all-rows reads all of A",
                overview::count(*assumed, "case")
            ));
        }
        let drawn = found.drawn(panels);
        for share in SHARES {
            lines.push(format!(
                "  were {:.0} % of all row panels wrong, however spread: missed with a probability of at most {}; were {:.0} % of \
                 cases wrong throughout: {}",
                share * 100.0,
                probability(drawn.misses_panels_everywhere(share)),
                share * 100.0,
                probability(drawn.misses_a_share_of_cases(share))
            ));
        }
    }
    lines.join("\n") + "\n"
}

fn document(found: &Found, panels: usize) -> Value {
    let drawn = found.drawn(panels);
    let missed: Vec<Value> = SHARES
        .map(|share| {
            json!({
                "share": share,
                "panels": drawn.misses_panels_everywhere(share),
                "cases": drawn.misses_a_share_of_cases(share),
            })
        })
        .to_vec();
    let left_out: Vec<Value> =
        found.left_out.iter().map(|(id, why)| json!({"id": id, "reason": why})).collect();
    let differing: Vec<Value> =
        found.differing.iter().map(|(id, lines)| json!({"id": id, "differences": lines})).collect();
    json!({
        "manifest": found.name, "cases": found.all, "looked_at": found.looked,
        "row_panels": found.panels, "rows": found.rows, "pruning_assumed": found.assumed,
        "not_looked_at": left_out, "otherwise": differing, "missed_at_most": missed,
        "exit_code": found.code,
    })
}
