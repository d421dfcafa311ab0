//! `verify PATH...`: audit every case, write the record case by case, decide the exit code.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use contract::case::{Case, Weights as Origin};
use contract::digest::Digest;
use contract::published::Recipe;
use record::claims::{PublishedInput, VRecipe};
use record::manifest::Manifest;
use record::merge::refute_shared;
use record::operator::OperatorDevice;
use record::report::{junit, terminal};
use record::shard::Shard;
use record::{
    CaseKey, CaseRecord, End, FORMAT, ManifestRecord, Record, RecordError, RunOptions, SampleAsked,
    Stopped,
};

use super::RunArgs;
use super::commit;
use super::device::Devices;
use super::on_all::{self, Ahead, Job, Team};
use super::operators;
use super::progress::Progress;
use super::repeats::Repeats;
use super::resources::DeviceChoice;
use super::running::{Places, Running};
use super::select::{Selected, select};
use crate::audit::{Auditor, Measuring, Task, UnderTest, blank, random_text};
use crate::carried;
use crate::environment::environment;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::note;
use crate::output::print_table as say;
use crate::predict::{predict, processor_s};
use crate::published::Machine;
use crate::records::Existing;
use crate::shard;
use crate::worker::RemoteDevice;
use contract::words::visible;

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Failure {
        match error {
            RecordError::Io { .. } => Failure::environment(error),
            RecordError::Malformed { .. } | RecordError::Contradiction { .. } => {
                Failure::bad_input(error)
            }
        }
    }
}

pub fn run(args: &RunArgs) -> Result<u8, Failure> {
    run_with(args, || select(&args.selection))
}

/// The same of cases that come from elsewhere than from the selection's paths.
pub(super) fn run_with(
    args: &RunArgs,
    select: impl FnOnce() -> Result<Vec<Selected>, Failure>,
) -> Result<u8, Failure> {
    let places = Places {
        json: args.json.as_deref(),
        junit: args.junit.as_deref(),
        existing: match (args.resume, args.force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        },
    };
    places.check()?;
    args.check()?;
    let mut selected = select()?;
    let stranger = args.operator.as_deref().map(|asked| {
        let stranger = operators::open(asked, args.interpreter.as_deref(), &args.isolation_off)?;
        let on_device = matches!(args.resources.device, Some(DeviceChoice::Cuda(_)));
        if on_device && stranger.file().device == OperatorDevice::Cpu {
            return Err(Failure::bad_input(
                "--device: the operator is one of the CPU\nhint: leave --device out; `device: cuda` in its file makes it one of a \
                 device",
            ));
        }
        operators::keep_claimed(&mut selected, stranger.file())?;
        Ok::<_, Failure>(stranger)
    });
    let stranger = stranger.transpose()?;
    let mut manifests = describe(&selected);
    let all: usize = selected.iter().map(|s| s.chosen.len()).sum();
    if let Some(shard) = args.shard {
        keep(&mut selected, shard);
        for (manifest, selected) in manifests.iter_mut().zip(&selected) {
            manifest.dealt = Some(selected.cases().map(|case| case.id.clone()).collect());
        }
    }
    let mut fresh = fresh(options(args), manifests);
    if let Some(cases) = args.sample {
        // A run that is continued has the cases that it had.
        let given = args.sample_nonce.clone().or_else(|| args.nonce.clone());
        let nonce = given.or_else(|| places.sample().map(|sample| sample.nonce));
        let nonce = nonce.unwrap_or_else(random_text);
        fresh.options.sample = Some(SampleAsked { cases, nonce });
        draw(&mut selected, &mut fresh);
    }
    fresh.operator = stranger.as_ref().map(|stranger| stranger.record()).transpose()?;
    if let (Some(path), Some((after, commit))) =
        (&args.after.after, commit::bind(&args.after, args.nonce.as_deref())?)
    {
        commit::hold(path, &commit, &selected, fresh.operator.as_ref())?;
        fresh.options.after = Some(after);
    }
    let mut running = Running::begin(&places, fresh)?;
    let interrupted = running.clone();
    let _registered =
        interrupt::finish_with(move |signal| interrupted.clone().interrupt(signal.name()));
    let done: HashSet<(String, String)> = running.with(|record| {
        record.cases.iter().map(|case| (case.manifest.clone(), case.id.clone())).collect()
    });
    let mut auditor = Auditor {
        nonce: args.nonce.clone(),
        measuring: (!args.no_measure).then(|| Measuring::new(args.any_platform)),
        stranger: stranger.map(UnderTest::new),
        fetches_optional: args.fetch,
        ..args.resources.auditor(args.quiet)
    };
    running.with(|record| {
        for case in &record.cases {
            // What was shared is in its reasons already.
            let _ = auditor.seen.note_record(case);
        }
    });

    let detail = match (args.quiet, args.verbose) {
        (true, _) => terminal::Detail::Quiet,
        (_, true) => terminal::Detail::Verbose,
        _ => terminal::Detail::Normal,
    };
    let width = selected.iter().flat_map(Selected::cases).map(|c| c.id.len()).max().unwrap_or(4);
    let mut devices = Devices::new(args.resources.device, args.resources.threads());
    let all_devices = devices.all()?;
    let device_of: Vec<Option<Arc<RemoteDevice>>> = selected
        .iter()
        .map(|selected| {
            let is_chosen = !selected.chosen.is_empty() && all_devices.is_none();
            match &auditor.stranger {
                Some(under_test) if is_chosen && under_test.is_on_device() => {
                    devices.for_operator().map(Some)
                }
                None if is_chosen => devices.for_platform(selected.manifest.platform.as_deref()),
                _ => Ok(None),
            }
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
    if args.sample.is_some() && !args.quiet {
        running.with(|record| {
            for manifest in &record.manifests {
                let drawn = record::sample::asked_in_words(record, manifest);
                say(&format!("{}\n", visible(&drawn.unwrap_or_default())));
            }
        });
    }
    let to_do: Vec<(&Case, bool)> = selected
        .iter()
        .zip(&device_of)
        .flat_map(|(selected, device)| {
            let name = &selected.manifest.name;
            let is_new = |case: &&Case| !done.contains(&(name.clone(), case.id.clone()));
            let is_on_device = device.is_some() || all_devices.is_some();
            selected.cases().filter(is_new).map(move |case| (case, is_on_device))
        })
        .collect();
    // How long a stranger takes is not known.
    let is_own = auditor.stranger.is_none();
    let prediction = (!args.quiet && !to_do.is_empty() && is_own).then(|| {
        let prediction = predict(&to_do, auditor.isa, auditor.threads);
        let is_on_host = to_do.iter().any(|(_, is_on_device)| !is_on_device);
        let measuring = match (args.no_measure, is_on_host) {
            (true, _) => "",
            (false, false) => ", and measuring on top of it",
            (false, true) => {
                ", and measuring on top of it: the first case that is measured also bears the seconds in which this \
                 machine's limits are found out"
            }
        };
        note(&format!("predicted: {prediction}{measuring}"));
        for said in beforehand(args, &auditor, &selected, &to_do, &device_of, prediction.likely_s()) {
            note(&said);
        }
        prediction
    });
    let mut repeats = Repeats::default();
    let (started, processor_before_s) = (Instant::now(), processor_s());
    let told = running.clone();
    let mut progress = Progress::new(to_do.iter().map(|(case, _)| *case), !args.quiet);
    let tell = |mut ahead: Option<&mut Ahead>| -> Result<(), Failure> {
        'cases: for (selected, device) in selected.iter().zip(device_of) {
            let manifest = &selected.manifest;
            auditor.device = device;
            if detail != terminal::Detail::Quiet && !selected.chosen.is_empty() {
                say_head(selected, width);
            }
            let expected_file = selected.expected_file();
            for case in selected.cases() {
                let key = CaseKey { manifest: manifest.name.clone(), id: case.id.clone() };
                if done.contains(&(key.manifest.clone(), key.id.clone())) {
                    if running.goes_on() {
                        continue;
                    }
                    running.with(|record| {
                        if let Some(case) = record.case(&key.manifest, &key.id) {
                            say(&terminal::case(&repeats.shown(case), width, detail));
                        }
                    });
                    continue;
                }
                let audited = match (running.death_at(&key), &mut ahead) {
                    (Some(death), _) => died(manifest, case, death),
                    (None, Some(ahead)) => {
                        let mut audited = ahead.next()?;
                        refute_shared(&mut auditor.seen, &mut audited);
                        audited
                    }
                    (None, None) => {
                        running.start(key)?;
                        let bar = progress.begin(case);
                        let audited = auditor.audit(&Task {
                            manifest,
                            case,
                            expected: &selected.expected,
                            expected_file: &expected_file,
                            progress: &|rows| bar.inc(rows as u64),
                        });
                        bar.finish_and_clear();
                        progress.end(case);
                        audited
                    }
                };
                say(&terminal::case(&repeats.shown(&audited), width, detail));
                // Of several, each with cases of its own, or of those of this thread.
                let used =
                    ahead.as_ref().map_or_else(|| devices.records(), |ahead| ahead.devices());
                if !running.push(audited, used) {
                    break 'cases;
                }
            }
        }
        Ok(())
    };
    match &all_devices {
        None => tell(None)?,
        Some(ordinals) => {
            let jobs: Vec<Job<'_>> = selected
                .iter()
                .flat_map(|selected| {
                    let job = |case| Job {
                        manifest: &selected.manifest,
                        case,
                        expected: &selected.expected,
                        expected_file: selected.expected_file(),
                    };
                    selected.cases().map(job)
                })
                .filter(|job| {
                    let key = job.key();
                    let is_dead = told.death_at(&key).is_some();
                    !is_dead && !done.contains(&(key.manifest, key.id))
                })
                .collect();
            let threads = (args.resources.threads() / ordinals.len()).max(1);
            let team = Team {
                ordinals,
                open: &|ordinal| RemoteDevice::open(ordinal, threads),
                auditor: &|device| Auditor {
                    nonce: args.nonce.clone(),
                    measuring: (!args.no_measure).then(|| Measuring::new(args.any_platform)),
                    device: Some(device),
                    fetches_optional: args.fetch,
                    threads,
                    ..args.resources.auditor(true)
                },
            };
            on_all::audit(&team, &jobs, &told, |ahead| tell(Some(ahead)))?;
        }
    }
    // Not under the lock that a signal waits for: this can take minutes.
    let mut with_inputs = running.with(|record| record.clone());
    make_published_inputs(&selected, &mut auditor, &mut devices, &mut with_inputs);
    running.with(|record| record.published_inputs = with_inputs.published_inputs);
    let took_s = started.elapsed().as_secs_f64();
    let processor_s = processor_s().zip(processor_before_s).map(|(after, before)| after - before);
    let code = running.end(End::Completed);
    running.with(|record| {
        say(&terminal::claims(record, detail));
        say(&terminal::summary(record, code));
    });
    if let Some(devices) = &all_devices {
        // The summary has the time of all cases together.
        note(&format!("took: {took_s:.1} s on {} devices", devices.len()));
    }
    if let Some(prediction) = prediction.filter(|_| args.no_measure) {
        note(&format!("took: {}", prediction.beside(took_s, processor_s)));
    }
    Ok(code)
}

/// What the user would wonder about later: times that cannot be had, weights that are not downloaded, and, of a run that takes
/// long, how to look at a part of it.
fn beforehand(
    args: &RunArgs,
    auditor: &Auditor<'_>,
    selected: &[Selected],
    to_do: &[(&Case, bool)],
    device_of: &[Option<Arc<RemoteDevice>>],
    likely_s: f64,
) -> Vec<String> {
    const LONG_S: f64 = 60.0;
    let mut said = Vec::new();
    let lacking: Vec<String> = selected
        .iter()
        .zip(device_of)
        .filter(|(selected, device)| !selected.chosen.is_empty() && device.is_none())
        .filter_map(|(selected, _)| selected.manifest.platform.as_deref())
        .filter(|platform| record::manifest::names_accelerator(platform))
        .map(|platform| visible(platform).into_owned())
        .collect();
    if !lacking.is_empty()
        && !args.no_measure
        && !args.any_platform
        && args.resources.device.is_none()
    {
        said.push(format!("note: no times: they need {}, which is not here", lacking.join(", ")));
    }
    let is_left = |case: &Case| !case.required && matches!(case.weights, Origin::Hub { .. });
    let left = to_do.iter().filter(|(case, _)| is_left(case)).count();
    if left > 0 && !auditor.fetches_optional {
        said.push(format!(
            "note: {left} of the cases, on models of the hub, are not required: nothing is downloaded for them without --fetch, and \
             they are run only where their weights are here"
        ));
    }
    let is_all = args.selection.cases.is_empty() && args.sample.is_none();
    if let (true, true, Some((first, _))) = (likely_s > LONG_S, is_all, to_do.first()) {
        let section = visible(&first.section);
        said.push(format!(
            "hint: --case '{section}/*' runs a part, --sample N a few cases that a nonce draws; `verify list` shows the cases of a manifest"
        ));
    }
    said
}

/// What stands above the cases of a manifest.
pub(super) fn say_head(selected: &Selected, width: usize) {
    let manifest = &selected.manifest;
    say(&format!("{}: {}\n", visible(&manifest.name), visible(&manifest.title)));
    say(&format!("committed digests: {}\n", selected.expected_file()));
    say(&terminal::head(width));
}

/// A case at which the process died.
fn died(manifest: &Manifest, case: &Case, death: &str) -> CaseRecord {
    CaseRecord {
        stopped: Some(Stopped::Environment),
        exit_code: Stopped::Environment.code(),
        reasons: vec![death.to_owned()],
        ..blank(manifest, case)
    }
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
                Some(VRecipe::Device(Recipe::Normal, _)) => {
                    Machine { threads, device: devices.any() }
                }
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

/// Writes a record as a JUnit report.
pub fn write_junit(record: &Record, path: &Path) -> Result<(), Failure> {
    let report = junit::render(record);
    let written = match path == Path::new("-") {
        true => std::io::stdout().lock().write_all(report.as_bytes()),
        false => crate::files::replace(path, report.as_bytes()),
    };
    written.map_err(|error| {
        Failure::environment(format!("failed to write {}: {error}", path.display()))
    })
}

/// Leaves the cases of the sample.
fn draw(selected: &mut [Selected], fresh: &mut Record) {
    let drawn = record::sample::drawn(fresh).unwrap_or_default();
    for ((selected, manifest), drawn) in selected.iter_mut().zip(&mut fresh.manifests).zip(drawn) {
        let is_drawn: HashSet<&String> = drawn.iter().collect();
        let cases = &selected.manifest.cases;
        selected.chosen.retain(|&at| is_drawn.contains(&cases[at].id));
        manifest.dealt = Some(drawn);
    }
}

/// Leaves the cases of one shard.
fn keep(selected: &mut [Selected], shard: Shard) {
    let mut is_own = shard::chosen(selected.iter().flat_map(Selected::cases), shard).into_iter();
    for selected in selected {
        // One answer a case, in the same order.
        selected.chosen.retain(|_| is_own.next().unwrap_or(false));
    }
}

/// The manifests as records hold them, with all cases that were asked for.
pub(super) fn describe(selected: &[Selected]) -> Vec<ManifestRecord> {
    selected
        .iter()
        .map(|selected| ManifestRecord {
            name: selected.manifest.name.clone(),
            title: selected.manifest.title.clone(),
            platform: selected.manifest.platform.clone(),
            sha256: selected.manifest.sha256,
            expected_sha256: selected
                .expected_path
                .as_deref()
                .and_then(|path| carried::read(path).ok())
                .map(|bytes| Digest::of(&bytes)),
            sections: selected.manifest.sections.clone(),
            claims: selected.manifest.claims.clone(),
            claims_sha256: None,
            selected: selected.cases().map(|case| case.id.clone()).collect(),
            optional: selected
                .cases()
                .filter(|case| !case.required)
                .map(|case| case.id.clone())
                .collect(),
            dealt: None,
            expected_path: selected.expected_path.as_ref().map(|path| path.display().to_string()),
        })
        .collect()
}

/// What a run is asked to do.
fn options(args: &RunArgs) -> RunOptions {
    RunOptions {
        threads: args.resources.threads(),
        isa: args.resources.isa().to_string(),
        device: args.resources.device_text(),
        nonce: args.nonce.clone(),
        measure: !args.no_measure,
        any_platform: args.any_platform,
        shard: args.shard,
        // Once its nonce is known.
        sample: None,
        select: args.selection.cases.clone(),
        strict: args.gate.strict,
        require: args.gate.require,
        outputs: None,
        after: None,
    }
}

/// A new record of what is asked.
pub(super) fn fresh(options: RunOptions, manifests: Vec<ManifestRecord>) -> Record {
    Record {
        format: FORMAT.to_owned(),
        tool: record::tool::tool(),
        arguments: std::env::args().skip(1).collect(),
        started: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        environment: environment(),
        options,
        operator: None,
        manifests,
        devices: Vec::new(),
        cases: Vec::new(),
        published_inputs: Vec::new(),
        judged: Vec::new(),
        shards: Vec::new(),
        running: None,
        ended: None,
        outcome: None,
    }
}
