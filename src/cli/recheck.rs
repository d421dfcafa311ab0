//! `verify recheck RECORD...`: what a record says, derived again and set beside the manifests and committed digests here.
//! Runs nothing.

use std::path::PathBuf;

use std::collections::HashMap;

use clap::Args;
use contract::case::Case;
use contract::digest::Digest;
use record::exit::{BAD_INPUT, NOT_VERIFIED, VERIFIED, worse};
use record::expected::{Entry, Expected};
use record::manifest::Manifest;
use record::report::overview::{self, visible};
use record::timings::Roofline;
use record::verdict::DigestRow;
use record::{CaseRecord, ManifestRecord, Record};
use serde_json::json;

use super::list::{print, print_json};
use super::options::Printed;
use super::select::globs;
use crate::audit::blank;
use crate::carried;
use crate::check::tally::block_size;
use crate::failure::Failure;
use crate::{expected, manifest, shard};

#[derive(Args, Debug, Clone)]
pub struct RecheckArgs {
    /// Records written with --json
    #[arg(value_name = "RECORD", required = true)]
    pub records: Vec<PathBuf>,
    /// Manifests, or folders of manifests, that the records are set beside
    #[arg(long, value_name = "PATH", default_value = "manifests")]
    pub manifests: Vec<PathBuf>,
    #[command(flatten)]
    pub printed: Printed,
}

/// The best that can be said of a record.
const CONSISTENT: &str = "consistent: nothing was re-derived";

pub fn run(args: &RecheckArgs) -> Result<u8, Failure> {
    let here = Here::load(args)?;
    let mut code = VERIFIED;
    let mut documents = Vec::new();
    for path in &args.records {
        let name = path.display().to_string();
        let record = match record::load(path) {
            Ok(record) => record,
            Err(error) => {
                let failure = Failure::from(error);
                crate::output::note(&format!("error: {}", visible(&failure.message)));
                code = worse(code, failure.code);
                documents.push(json!({
                    "record": name, "exit_code": failure.code, "error": failure.message,
                    "headline": null, "is_consistent": false, "contradictions": null,
                    "manifests_not_here": null, "cases_committed_otherwise": null, "lines": [],
                }));
                continue;
            }
        };
        let found = recheck(&record, &here);
        let outcome = record::outcome::of(&record);
        if args.printed.is_json() {
            let own = found.code(outcome.code);
            documents.push(json!({
                "record": name, "exit_code": own, "error": null, "headline": outcome.headline,
                "is_consistent": found.contradictions == 0, "contradictions": found.contradictions,
                "manifests_not_here": found.absent, "cases_committed_otherwise": found.others,
                "lines": found.lines,
            }));
            code = worse(code, own);
            continue;
        }
        print(&format!("{}: it says: {}\n", visible(&name), visible(&outcome.headline)));
        for line in &found.lines {
            print(&format!("  {}\n", visible(line)));
        }
        match found.contradictions {
            0 => {
                print(&format!("{}: {CONSISTENT}{}\n", visible(&name), found.unknown()));
                let own = found.code(outcome.code);
                let by = if own == outcome.code { " (by the record)" } else { "" };
                let meaning = overview::meaning_of(own, record.options.sample.is_some());
                print(&format!("exit code {own}: {meaning}{by}\n"));
                code = worse(code, own);
            }
            count => {
                let words = overview::count(count, "contradiction");
                print(&format!("{}: refused: {words}\n", visible(&name)));
                code = worse(code, found.code(outcome.code));
            }
        }
    }
    if args.printed.is_json() {
        print_json(&json!({"exit_code": code, "records": documents}));
    }
    Ok(code)
}

/// The manifests here, by their digests.
struct Here(HashMap<Digest, (Manifest, Expected, Option<Digest>)>);

impl Here {
    fn load(args: &RecheckArgs) -> Result<Here, Failure> {
        let paths: Vec<_> = args.manifests.iter().filter(|path| path.exists()).cloned().collect();
        // Those that the program carries are known wherever it runs.
        let own = carried::names("manifests")
            .map(|name| carried::path(&format!("manifests/{name}.yaml")));
        let there = if paths.is_empty() { Vec::new() } else { manifest::find(&paths)? };
        let mut here = HashMap::new();
        for path in own.chain(there) {
            // One that is broken is no manifest that a record could be of.
            let Ok(manifest) = manifest::load(&path) else { continue };
            let Ok(file) = expected::path_for(&manifest) else { continue };
            let Ok(committed) = expected::load(&file, &manifest.name) else { continue };
            let sha256 = carried::read(&file).ok().map(|bytes| Digest::of(&bytes));
            here.insert(manifest.sha256, (manifest, committed, sha256));
        }
        Ok(Here(here))
    }
}

/// What was found about a record.
#[derive(Default)]
struct Found {
    lines: Vec<String>,
    contradictions: usize,
    /// Manifests that are not here.
    absent: usize,
    /// Cases whose committed digests are others here.
    others: usize,
}

impl Found {
    fn contradicts(&mut self, place: &str, says: &str, here: &str) {
        self.contradictions += 1;
        self.lines.push(format!("{place}: the record says {says}, here it is {here}"));
    }

    /// The exit code, of a record from which `own` follows.
    fn code(&self, own: u8) -> u8 {
        let is_all_here = self.absent == 0 && self.others == 0;
        match (self.contradictions, is_all_here) {
            (0, true) => own,
            // What could not be set beside anything was not verified.
            (0, false) => worse(own, NOT_VERIFIED),
            (_, _) => BAD_INPUT,
        }
    }

    fn unknown(&self) -> String {
        let absent = (self.absent > 0)
            .then(|| format!("{} not here", overview::count(self.absent, "manifest")));
        let others = (self.others > 0).then(|| {
            format!("of {} other digests are committed here", overview::count(self.others, "case"))
        });
        let parts: Vec<String> = absent.into_iter().chain(others).collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
    }
}

fn recheck(record: &Record, here: &Here) -> Found {
    let mut found = Found::default();
    for ran in &record.manifests {
        let Some((manifest, committed, sha256)) = here.0.get(&ran.sha256) else {
            found.absent += 1;
            found.lines.push(format!(
                "manifest `{}` (sha256 {}): not recorded: it is not here",
                ran.name, ran.sha256
            ));
            continue;
        };
        selection(record, ran, manifest, &mut found);
        described_manifest(ran, manifest, here, &mut found);
        let is_same_file = ran.expected_sha256 == *sha256;
        if !is_same_file {
            let text = |digest: Option<Digest>| digest.map_or("none".into(), |d| d.to_string());
            found.lines.push(format!(
                "manifest `{}`: the committed digests are another file here: {}, the record's is {}",
                ran.name,
                text(*sha256),
                text(ran.expected_sha256)
            ));
        }
        for case in record.cases.iter().filter(|case| case.manifest == ran.name) {
            let Some(known) = manifest.cases.iter().find(|known| known.id == case.id) else {
                continue;
            };
            let before = (found.contradictions, found.others);
            described(case, manifest, known, &mut found);
            roofline(record, case, known, &mut found);
            digests(case, known, committed.cases.get(&case.id), is_same_file, &mut found);
            if (found.contradictions, found.others) == before {
                let said = case.verdict.name();
                found.lines.push(format!("{} `{}`: it says {said}: consistent", ran.name, case.id));
            }
        }
    }
    shares(record, here, &mut found);
    found
}

/// What was dealt to the record's shard is what is dealt of its selection; looked at where all manifests are here.
fn shares(record: &Record, here: &Here, found: &mut Found) {
    let Some(own) = record.options.shard else { return };
    let mut cases: Vec<&Case> = Vec::new();
    let mut says: Vec<&str> = Vec::new();
    for ran in &record.manifests {
        let Some((manifest, ..)) = here.0.get(&ran.sha256) else { return };
        for id in &ran.selected {
            let Some(case) = manifest.cases.iter().find(|case| case.id == *id) else { return };
            cases.push(case);
        }
        says.extend(ran.dealt.iter().flatten().map(String::as_str));
    }
    let is_own = shard::chosen(cases.iter().copied(), own);
    let dealt = cases.iter().zip(is_own).filter(|(_, is_own)| *is_own);
    let dealt: Vec<&str> = dealt.map(|(case, _)| case.id.as_str()).collect();
    if says != dealt {
        let count = |ids: &[&str]| overview::count(ids.len(), "case");
        let place = format!("shard {own}");
        found.contradicts(
            &place,
            &format!("it is {}", count(&says)),
            &format!("other {}", count(&dealt)),
        );
    }
}

/// Title, sections and claims are the manifest's.
fn described_manifest(ran: &ManifestRecord, manifest: &Manifest, here: &Here, found: &mut Found) {
    let place = format!("manifest `{}`", ran.name);
    if ran.title != manifest.title {
        found.contradicts(&format!("{place}, title"), &ran.title, &manifest.title);
    }
    // A record that was judged by a later manifest has that one's claims.
    let of = match ran.claims_sha256 {
        None => manifest,
        Some(sha256) => match here.0.get(&sha256) {
            Some((later, ..)) => later,
            None => {
                found.absent += 1;
                let line = "the manifest whose claims it was judged by is not here";
                found.lines.push(format!("{place} (sha256 {sha256}): {line}"));
                return;
            }
        },
    };
    if ran.claims != of.claims {
        found.contradicts(&place, "other claims", "those of the file of that digest");
    }
    if ran.sections != of.sections {
        found.contradicts(&place, "other sections", "those of the file of that digest");
    }
}

/// What a device can do at most follows from what it is.
fn roofline(record: &Record, case: &CaseRecord, known: &Case, found: &mut Found) {
    let Some(timings) = &case.measurement else { return };
    let (Some(device), Some(says)) = (&timings.device, &timings.roofline) else { return };
    let described = record.devices.iter().filter(|on| on.device.name == *device);
    let mut rooflines = described.map(|on| Roofline::of_device(&on.device, known.arithmetic));
    if !rooflines.any(|roofline| roofline == *says) {
        let place = format!("case `{}`, roofline", case.id);
        found.contradicts(&place, &says.basis, &format!("not that of {device} as it is described"));
    }
}

/// What was asked for is what the manifest has.
fn selection(record: &Record, ran: &ManifestRecord, manifest: &Manifest, found: &mut Found) {
    if !record.is_old() {
        let globs = globs(&record.options.select);
        let is_asked = |case: &&Case| match &globs {
            Ok(globs) => globs.as_ref().is_none_or(|globs| globs.is_match(&case.id)),
            Err(_) => false,
        };
        let operator = record.operator.as_ref();
        let is_claimed = |case: &&Case| operator.is_none_or(|operator| operator.claims(case));
        let asked: Vec<&String> = manifest
            .cases
            .iter()
            .filter(is_asked)
            .filter(is_claimed)
            .map(|case| &case.id)
            .collect();
        if !asked.iter().copied().eq(&ran.selected) {
            let count = |count| overview::count(count, "case");
            found.contradicts(
                &format!("manifest `{}`, cases asked for", ran.name),
                &count(ran.selected.len()),
                &format!("{}, by what was asked", count(asked.len())),
            );
        }
    }
    let place = format!("manifest `{}`", ran.name);
    if ran.name != manifest.name {
        found.contradicts(&place, &format!("`{}`", ran.name), &format!("`{}`", manifest.name));
    }
    for id in &ran.selected {
        match manifest.cases.iter().find(|case| case.id == *id) {
            None => found.contradicts(&place, &format!("case `{id}`"), "none of its cases"),
            Some(case) if case.required == ran.optional.contains(id) => found.contradicts(
                &format!("{place}, case `{id}`, required"),
                &(!case.required).to_string(),
                &case.required.to_string(),
            ),
            Some(_) => {}
        }
    }
    if ran.platform != manifest.platform {
        let text = |platform: &Option<String>| platform.clone().unwrap_or_else(|| "none".into());
        found.contradicts(&place, &text(&ran.platform), &text(&manifest.platform));
    }
}

/// The case is the manifest's.
fn described(case: &CaseRecord, manifest: &Manifest, of: &Case, found: &mut Found) {
    let known = blank(manifest, of);
    let facts = |case: &CaseRecord| {
        [
            ("section", case.section.clone()),
            ("required", case.required.to_string()),
            ("m", case.m.to_string()),
            ("k", case.k.to_string()),
            ("n", case.n.to_string()),
            ("dtype", case.dtype.clone()),
            ("output", case.output.clone()),
            ("seed", case.seed.to_string()),
            ("weights", case.weights.clone()),
            ("activations", case.activations.clone()),
            ("pattern", case.pattern.clone()),
            ("sparsity", case.sparsity_percent.clone()),
            ("arithmetic", case.arithmetic.clone()),
        ]
    };
    for ((name, says), (_, here)) in facts(case).into_iter().zip(facts(&known)) {
        if says != here {
            found.contradicts(&format!("case `{}`, {name}", case.id), &says, &here);
        }
    }
    if let Some(bits) = &case.bits {
        let here = block_size(&of.pattern);
        if bits.structure.block_size != here {
            let place = format!("case `{}`, side of blocks", case.id);
            found.contradicts(&place, &bits.structure.block_size.to_string(), &here.to_string());
        }
    }
    // One that was unconfirmed then may be confirmed since.
    let is_confirmed =
        |model: &Option<String>| model.as_ref().is_some_and(|model| model.starts_with("confirmed"));
    if case.model.is_some() != known.model.is_some()
        || is_confirmed(&case.model) && case.model != known.model
    {
        let text = |model: &Option<String>| model.clone().unwrap_or_else(|| "none".into());
        found.contradicts(
            &format!("case `{}`, model", case.id),
            &text(&case.model),
            &text(&known.model),
        );
    }
}

/// The digests that the record says are committed are those that are.
fn digests(
    case: &CaseRecord,
    known: &Case,
    entry: Option<&Entry>,
    is_same_file: bool,
    found: &mut Found,
) {
    let Some(bits) = &case.bits else { return };
    let committed = |name: &str| {
        let entry = entry?;
        match name {
            "a" => Some(entry.a),
            "v" => Some(entry.v),
            "dense" => Some(entry.dense),
            "operator" => entry.operator,
            "rebuilt" => entry.rebuilt,
            _ => entry.shifted,
        }
    };
    let text = |digest: Option<Digest>| digest.map_or("none".to_owned(), |d| d.to_string());
    if !is_same_file {
        // Other ones may be committed since, or confirmations alone.
        let differs = |row: &&DigestRow| row.expected != committed(&row.name);
        if let Some(row) = bits.digests.iter().find(differs) {
            found.others += 1;
            found.lines.push(format!(
                "case `{}`, committed digest `{}`: the record was compared with {}, here it is {}",
                case.id,
                row.name,
                text(row.expected),
                text(committed(&row.name))
            ));
        }
        return;
    }
    for row in &bits.digests {
        let here = committed(&row.name);
        if row.expected != here {
            let place = format!("case `{}`, committed digest `{}`", case.id, row.name);
            found.contradicts(&place, &text(row.expected), &text(here));
        }
    }
    let panels = entry.map(|entry| &entry.panels);
    let is_dense_same = bits.digests.iter().any(|row| row.name == "dense" && !row.differs());
    if let Some(panels) = panels.filter(|_| is_dense_same)
        && *panels != bits.panels_dense
    {
        let place = format!("case `{}`, row panels", case.id);
        found.contradicts(&place, "others", "those that are committed with the same digest");
    }
    let differs = entry.and_then(|entry| entry.describes_another(known)).is_some();
    if differs != bits.committed_differs.is_some() {
        let place = format!("case `{}`, the committed entry", case.id);
        let word = |differs| if differs { "of another case" } else { "of this case" };
        found.contradicts(&place, word(!differs), word(differs));
    }
}
