//! `verify recheck RECORD...`: what a record says, derived again and set beside the manifests and committed digests here.
//! Runs nothing.

use std::collections::HashMap;

use contract::case::Case;
use contract::digest::Digest;
use record::exit::{BAD_INPUT, VERIFIED, worse};
use record::expected::{Entry, Expected};
use record::manifest::Manifest;
use record::report::overview::{self, visible};
use record::{CaseRecord, ManifestRecord, Record};

use super::RecheckArgs;
use super::list::print;
use crate::audit::blank;
use crate::failure::Failure;
use crate::{expected, manifest};

/// The best that can be said of a record.
const CONSISTENT: &str = "consistent: nothing was re-derived";

pub fn run(args: &RecheckArgs) -> Result<u8, Failure> {
    let here = Here::load(args)?;
    let mut code = VERIFIED;
    for path in &args.records {
        let name = path.display().to_string();
        let record = match record::load(path) {
            Ok(record) => record,
            Err(error) => {
                let failure = Failure::from(error);
                crate::output::note(&format!("error: {}", visible(&failure.message)));
                code = worse(code, failure.code);
                continue;
            }
        };
        let found = recheck(&record, &here);
        let outcome = record::outcome::of(&record);
        print(&format!("{}: it says: {}\n", visible(&name), visible(&outcome.headline)));
        for line in &found.lines {
            print(&format!("  {}\n", visible(line)));
        }
        match found.contradictions {
            0 => {
                print(&format!("{}: {CONSISTENT}{}\n", visible(&name), found.unknown()));
                print(&format!(
                    "exit code {}: {} (by the record)\n",
                    outcome.code,
                    overview::meaning(outcome.code)
                ));
                code = worse(code, outcome.code);
            }
            count => {
                let words = overview::count(count, "contradiction");
                print(&format!("{}: refused: {words}\n", visible(&name)));
                code = worse(code, BAD_INPUT);
            }
        }
    }
    Ok(code)
}

/// The manifests here, by their digests.
struct Here(HashMap<Digest, (Manifest, Expected, Option<Digest>)>);

impl Here {
    fn load(args: &RecheckArgs) -> Result<Here, Failure> {
        let paths: Vec<_> = args.manifests.iter().filter(|path| path.exists()).cloned().collect();
        if paths.is_empty() {
            return Ok(Here(HashMap::new()));
        }
        let mut here = HashMap::new();
        for path in manifest::find(&paths)? {
            // One that is broken is no manifest that a record could be of.
            let Ok(manifest) = manifest::load(&path) else { continue };
            let Ok(file) = expected::path_for(&manifest) else { continue };
            let Ok(committed) = expected::load(&file, &manifest.name) else { continue };
            let sha256 = std::fs::read(&file).ok().map(|bytes| Digest::of(&bytes));
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
}

impl Found {
    fn contradicts(&mut self, place: &str, says: &str, here: &str) {
        self.contradictions += 1;
        self.lines.push(format!("{place}: the record says {says}, here it is {here}"));
    }

    fn unknown(&self) -> String {
        match self.absent {
            0 => String::new(),
            count => format!(" ({} not here)", overview::count(count, "manifest")),
        }
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
        selection(ran, manifest, &mut found);
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
            let before = found.contradictions;
            described(case, manifest, known, &mut found);
            digests(case, known, committed.cases.get(&case.id), is_same_file, &mut found);
            if found.contradictions == before {
                let said = case.verdict.name();
                found.lines.push(format!("{} `{}`: it says {said}: consistent", ran.name, case.id));
            }
        }
    }
    found
}

/// What was asked for is what the manifest has.
fn selection(ran: &ManifestRecord, manifest: &Manifest, found: &mut Found) {
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
    if ran.claims_sha256.is_none() && ran.claims != manifest.claims {
        found.contradicts(&place, "other claims", "those of the file of that digest");
    }
    if ran.platform != manifest.platform {
        let text = |platform: &Option<String>| platform.clone().unwrap_or_else(|| "none".into());
        found.contradicts(&place, &text(&ran.platform), &text(&manifest.platform));
    }
}

/// The case is the manifest's.
fn described(case: &CaseRecord, manifest: &Manifest, known: &Case, found: &mut Found) {
    let known = blank(manifest, known);
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
    if !is_same_file {
        return;
    }
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
