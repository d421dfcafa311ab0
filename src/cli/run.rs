//! `verify PATH...`: audit every case, write the record case by case, decide the exit code.

use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::device::Devices;
use super::repeats::Repeats;
use super::select::{Selected, select};
use super::{Gate, RunArgs};
use crate::audit::{self, Auditor, Task};
use crate::backend::cuda::Device;
use crate::check::verdict::Verdict;
use crate::claims::PublishedInput;
use crate::digest::Digest;
use crate::doctor::environment;
use crate::exit::{self, Failure, Require};
use crate::manifest::Case;
use crate::predict::{predict, processor_s};
use crate::published::{Machine, Recipe};
use crate::record::{FORMAT, ManifestRecord, Record, RecordError, RunOptions, is_stream};
use crate::report::{junit, terminal};
use crate::shard::{self, Shard};
use crate::words::{self, terminal_lines, visible};

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Failure {
        match error {
            RecordError::Io { .. } => Failure::environment(error),
            RecordError::Malformed { .. } => Failure::bad_input(error),
        }
    }
}

pub fn run(args: &RunArgs) -> Result<u8, Failure> {
    args.check()?;
    let mut selected = select(&args.selection)?;
    let manifests = describe(&selected);
    let all: usize = selected.iter().map(|s| s.chosen.len()).sum();
    if let Some(shard) = args.shard {
        keep(&mut selected, shard);
    }
    let mut record = begin(args, &selected, manifests)?;
    let done: HashSet<(String, String)> =
        record.cases.iter().map(|case| (case.manifest.clone(), case.id.clone())).collect();
    // A stream gets the record once, when it is complete.
    let stream = args.json.as_ref().filter(|path| is_stream(path));
    let file = args.json.as_ref().filter(|path| !is_stream(path));
    if let Some(path) = file {
        // Before any work: a place that cannot be written to is found now.
        record.save(path)?;
    }
    // What could not be written. It does not hide a refutation.
    let mut failures: Vec<Failure> = Vec::new();

    let mut auditor = Auditor {
        nonce: args.nonce.clone(),
        measure: !args.no_measure,
        any_platform: args.any_platform,
        ..args.resources.auditor(args.quiet)
    };
    record.cases.iter().for_each(|case| {
        // What was shared is in its reasons already.
        let _ = auditor.seen.note_record(case);
    });

    let detail = match (args.quiet, args.verbose) {
        (true, _) => terminal::Detail::Quiet,
        (_, true) => terminal::Detail::Verbose,
        _ => terminal::Detail::Normal,
    };
    let places = places(&selected);
    let width = selected.iter().flat_map(Selected::cases).map(|c| c.id.len()).max().unwrap_or(4);
    let mut out = anstream::stdout();
    let mut say = |text: &str| {
        // A reader that went away must not stop the run: the record is still wanted.
        let _ = out.write_all(terminal_lines(text).as_bytes());
        let _ = out.flush();
    };
    let mut devices = Devices::new(args.resources.device);
    let device_of: Vec<Option<Arc<Device>>> = selected
        .iter()
        .map(|selected| match selected.chosen.is_empty() {
            true => Ok(None),
            false => devices.for_platform(selected.manifest.platform.as_deref()),
        })
        .collect::<Result<_, Failure>>()?;
    if let Some(shard) = args.shard.filter(|_| !args.quiet) {
        let own: usize = selected.iter().map(|s| s.chosen.len()).sum();
        say(&match own {
            0 => {
                format!("shard {shard}: none of the {all} cases, which are fewer than the shards\n")
            }
            _ => format!("shard {shard}: {own} of {all} cases\n"),
        });
    }
    let to_do: Vec<(&Case, bool)> = selected
        .iter()
        .zip(&device_of)
        .flat_map(|(selected, device)| {
            let name = &selected.manifest.name;
            let is_new = |case: &&Case| !done.contains(&(name.clone(), case.id.clone()));
            selected.cases().filter(is_new).map(|case| (case, device.is_some()))
        })
        .collect();
    let prediction = (!args.quiet && !to_do.is_empty()).then(|| {
        let prediction = predict(&to_do, auditor.isa, auditor.threads);
        let measuring = if args.no_measure { "" } else { ", and measuring on top of it" };
        anstream::eprintln!("predicted: {prediction}{measuring}");
        prediction
    });
    let mut repeats = Repeats::default();
    let (started, processor_before_s) = (Instant::now(), processor_s());
    'cases: for (selected, device) in selected.iter().zip(device_of) {
        let manifest = &selected.manifest;
        auditor.device = device;
        if detail != terminal::Detail::Quiet && !selected.chosen.is_empty() {
            say(&format!("{}: {}\n", visible(&manifest.name), visible(&manifest.title)));
            say(&terminal::head(width));
        }
        let expected_file = words::path(&selected.expected_path);
        for case in selected.cases() {
            let key = (manifest.name.clone(), case.id.clone());
            if done.contains(&key) {
                if let Some(case) = record.case(&key.0, &key.1) {
                    say(&terminal::case(&repeats.shown(case), width, detail));
                }
                continue;
            }
            let bar = progress_bar(case, args.quiet);
            let audited = auditor.audit(&Task {
                manifest,
                case,
                expected: &selected.expected,
                expected_file: &expected_file,
                progress: &|rows| bar.inc(rows as u64),
            });
            bar.finish_and_clear();
            say(&terminal::case(&repeats.shown(&audited), width, detail));
            record.cases.push(audited);
            record.devices = devices.records();
            // Already so, but where a resumed run fills a gap.
            record
                .cases
                .sort_by_key(|case| places.get(&(case.manifest.clone(), case.id.clone())).copied());
            if let Some(Err(error)) = file.map(|path| record.save(path)) {
                failures.push(error.into());
                break 'cases;
            }
        }
    }

    if failures.is_empty() {
        make_published_inputs(&selected, &mut auditor, &mut devices, &mut record);
        record.judge();
        if let Some(Err(error)) = file.map(|path| record.save(path)) {
            failures.push(error.into());
        }
        say(&terminal::claims(&record, detail));
    }
    let took_s = started.elapsed().as_secs_f64();
    let processor_s = processor_s().zip(processor_before_s).map(|(after, before)| after - before);
    if let Some(Err(error)) = stream.map(|path| record.save(path)) {
        failures.push(error.into());
    }
    if let Some(path) = &args.junit {
        failures.extend(write_junit(&record, path, &args.gate).err());
    }
    let mut code = args.gate.code(&record);
    for failure in failures {
        anstream::eprintln!("error: {failure}");
        code = exit::worse(code, failure.code);
    }
    say(&terminal::summary(&record, code));
    if let Some(prediction) = prediction.filter(|_| args.no_measure) {
        anstream::eprintln!("took: {}", prediction.beside(took_s, processor_s));
    }
    Ok(code)
}

/// The inputs that the selected cases' claims publish digests of. What an earlier run made stays.
pub(super) fn make_published_inputs(
    selected: &[Selected],
    auditor: &mut Auditor<'_>,
    devices: &mut Devices,
    record: &mut Record,
) {
    record.published_inputs.retain(|input| input.compared.is_some());
    for selected in selected {
        let manifest = &selected.manifest;
        for claim in &manifest.claims {
            let is_made = |tensor| {
                let mut made = record.published_inputs.iter();
                made.any(|input| input.is_of(&manifest.name, claim) && input.tensor == tensor)
            };
            let mut claim = claim.clone();
            claim.digests.retain(|published| !is_made(published.tensor));
            let cases: Vec<&Case> =
                selected.cases().filter(|case| claim.cases.contains(&case.id)).collect();
            let threads = auditor.threads;
            let machine = match claim.v_recipe {
                Some((Recipe::Normal, _)) => Machine { threads, device: devices.any() },
                _ => Machine::cpu(threads),
            };
            record
                .published_inputs
                .extend(auditor.published_inputs(manifest, &claim, &cases, &machine));
        }
    }
    // In the manifests' order, whichever was made first.
    let place = |input: &PublishedInput| {
        let manifest = selected.iter().position(|s| s.manifest.name == input.manifest);
        let claims = manifest.map(|at| &selected[at].manifest.claims);
        let claim = claims.and_then(|all| all.iter().position(|claim| claim.id == input.claim));
        (manifest, claim, input.tensor)
    };
    record.published_inputs.sort_by_key(place);
}

/// Writes the JUnit report of a run, or of what was joined.
pub fn write_junit(record: &Record, path: &Path, gate: &Gate) -> Result<(), Failure> {
    let report = junit::render(record, gate.strict, gate.require == Require::Claims);
    crate::record::replace(path, report.as_bytes()).map_err(|error| {
        Failure::environment(format!("failed to write {}: {error}", path.display()))
    })
}

/// Leaves the cases of one shard.
fn keep(selected: &mut [Selected], shard: Shard) {
    let mut is_own = shard::chosen(selected.iter().flat_map(Selected::cases), shard).into_iter();
    for selected in selected {
        // One answer a case, in the same order.
        selected.chosen.retain(|_| is_own.next().unwrap_or(false));
    }
}

/// A bar for the rows of a case, on a terminal, once it takes long enough to be wanted.
fn progress_bar(case: &Case, quiet: bool) -> ProgressBar {
    const LONG_FLOPS: f64 = 2e9;
    let flops = 2.0 * case.m as f64 * case.k as f64 * case.n as f64;
    if quiet || flops < LONG_FLOPS || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(case.m as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} rows {eta}") {
        bar.set_style(style);
    }
    bar.set_message(case.id.clone());
    bar
}

/// Manifest and id of each selected case -> its place in the run.
fn places(selected: &[Selected]) -> HashMap<(String, String), usize> {
    let cases = selected.iter().flat_map(|s| s.cases().map(|case| (&s.manifest.name, &case.id)));
    cases.enumerate().map(|(at, (name, id))| ((name.clone(), id.clone()), at)).collect()
}

/// The manifests as records hold them, with all cases that were asked for.
fn describe(selected: &[Selected]) -> Vec<ManifestRecord> {
    selected
        .iter()
        .map(|selected| ManifestRecord {
            name: selected.manifest.name.clone(),
            title: selected.manifest.title.clone(),
            platform: selected.manifest.platform.clone(),
            sha256: selected.manifest.sha256,
            expected_sha256: std::fs::read(&selected.expected_path).ok().map(|b| Digest::of(&b)),
            sections: selected.manifest.sections.clone(),
            claims: selected.manifest.claims.clone(),
            claims_sha256: None,
            selected: selected.cases().map(|case| case.id.clone()).collect(),
        })
        .collect()
}

/// A new record, or the one to be continued. `selected` are the cases to run.
fn begin(
    args: &RunArgs,
    selected: &[Selected],
    manifests: Vec<ManifestRecord>,
) -> Result<Record, Failure> {
    let options = RunOptions {
        threads: args.resources.threads(),
        isa: args.resources.isa().to_string(),
        device: args.resources.device_text(),
        nonce: args.nonce.clone(),
        measure: !args.no_measure,
        any_platform: args.any_platform,
        shard: args.shard,
    };
    let fresh = Record {
        format: FORMAT.to_owned(),
        tool: audit::tool(),
        arguments: std::env::args().skip(1).collect(),
        started: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        environment: environment(),
        options,
        manifests,
        devices: Vec::new(),
        cases: Vec::new(),
        published_inputs: Vec::new(),
        judged: Vec::new(),
        shards: Vec::new(),
    };
    match &args.json {
        Some(path) if args.resume && path.exists() => {
            let mut record = Record::load(path)?;
            continues(&record, &fresh, path)?;
            // Other cases may be asked for than before.
            record.manifests = fresh.manifests;
            let wanted = places(selected);
            // What could not be run may be by now.
            record.cases.retain(|case| {
                let key = (case.manifest.clone(), case.id.clone());
                wanted.contains_key(&key) && case.verdict != Verdict::NotRun
            });
            Ok(record)
        }
        _ => Ok(fresh),
    }
}

/// Refuses to continue a run of something else.
fn continues(old: &Record, new: &Record, path: &Path) -> Result<(), Failure> {
    let differs = if old.tool != new.tool {
        Some(format!("it was made by {}, this is {}", old.tool, new.tool))
    } else if old.options != new.options {
        Some(format!("it was made with other options: {:?}, now {:?}", old.options, new.options))
    } else {
        let is_in = |manifest: &ManifestRecord, record: &Record| {
            record.manifests.iter().any(|other| {
                *manifest == ManifestRecord { selected: manifest.selected.clone(), ..other.clone() }
            })
        };
        let changed = old.manifests.iter().find(|manifest| !is_in(manifest, new));
        let changed = changed.or_else(|| new.manifests.iter().find(|m| !is_in(m, old)));
        changed.map(|m| format!("manifest `{}` or its committed digests changed", m.name))
    };
    match differs {
        None => Ok(()),
        Some(why) => Err(Failure::bad_input(format!(
            "cannot continue {}: {why}\nhint: run without --resume to start anew",
            path.display()
        ))),
    }
}
