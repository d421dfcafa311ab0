//! `verify judge`: published claims beside a record that was made earlier. Runs no case.

use std::path::PathBuf;

use clap::Args;

use super::device::Devices;
use super::list::{print_json, print_table};
use super::options::{Printed, Selection};
use super::resources::Resources;
use super::run::make_published_inputs;
use super::select::{Selected, select};
use crate::audit::recipe_text;
use crate::failure::Failure;
use crate::files::is_stream;
use contract::words;
use record::claims::Claim;
use record::exit::{Require, worse};
use record::report::terminal;
use record::report::terminal::Detail;
use record::{FORMAT, Record};

#[derive(Args, Debug, Clone)]
pub struct JudgeArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// The record, written with --json
    #[arg(long, value_name = "RECORD")]
    pub record: PathBuf,
    /// Write the record with its claims judged here
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub printed: Printed,
    #[command(flatten)]
    pub resources: Resources,
}

pub fn run(args: &JudgeArgs) -> Result<u8, Failure> {
    if args.printed.is_json() && args.json.as_deref().is_some_and(is_stream) {
        return Err(Failure::bad_input(
            "--format json and --json both write to a stream, and two documents are none\nhint: give --json a file",
        ));
    }
    let selected = select(&args.selection)?;
    let mut record = record::load(&args.record)?;
    let mut found = 0;
    for selected in &selected {
        found += adopt(&mut record, selected)?;
    }
    if found == 0 {
        let path = words::path(&args.record);
        return Err(Failure::bad_input(format!("{path} has none of the cases asked for")));
    }
    let mut auditor = args.resources.auditor(false);
    let mut devices = Devices::new(args.resources.device, args.resources.threads());
    make_published_inputs(&selected, &mut auditor, &mut devices, &mut record);
    record.format = FORMAT.to_owned();
    record::derive::fill(&mut record);
    let bits = record::outcome::under(&record, record.options.strict, Require::Bits).code;
    let code = worse(bits, record::outcome::of_claims(&record.judged));
    match args.printed.is_json() {
        true => {
            let claims = &record.judged;
            print_json(&serde_json::json!({"exit_code": code, "claims": claims}));
        }
        false => print_table(&terminal::claims(&record, Detail::Verbose)),
    }
    if let Some(path) = &args.json {
        crate::records::save(&record, path)?;
        if !is_stream(path) {
            crate::output::note(&format!("wrote {}", path.display()));
        }
    }
    Ok(code)
}

/// Takes a manifest's sections and claims into the record of a run of it; how many of its cases are there.
/// A run of other cases under the same names is refused.
fn adopt(record: &mut Record, selected: &Selected) -> Result<usize, Failure> {
    let manifest = &selected.manifest;
    let mut found = 0;
    for case in selected.cases() {
        let Some(ran) = record.case(&manifest.name, &case.id) else { continue };
        found += 1;
        let (wanted, got) = (recipe_text(manifest, case), ran.recipe_text());
        if wanted != got {
            return Err(Failure::bad_input(format!(
                "case `{}` of the record is another than the manifest's\n  expected {wanted}\n  got      {got}",
                case.id
            )));
        }
    }
    let Some(ran) = record.manifests.iter_mut().find(|ran| ran.name == manifest.name) else {
        return Ok(found);
    };
    // What was compared with other digests than are published now is to be made again.
    let known = std::mem::take(&mut ran.claims);
    record.published_inputs.retain(|input| {
        let of = |claims: &[Claim]| {
            let claim = claims.iter().find(|claim| input.is_of(&manifest.name, claim))?;
            let Claim { digests, subject, a_recipe, v_recipe, cases, .. } = claim;
            Some((digests.clone(), *subject, *a_recipe, *v_recipe, cases.clone()))
        };
        input.manifest != manifest.name || of(&known) == of(&manifest.claims)
    });
    ran.platform.clone_from(&manifest.platform);
    ran.sections.clone_from(&manifest.sections);
    ran.claims.clone_from(&manifest.claims);
    ran.claims_sha256 = (ran.sha256 != manifest.sha256).then_some(manifest.sha256);
    Ok(found)
}
