//! `verify check`: outputs that were made elsewhere, judged as a run judges an operator's. Nobody's code is run.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::commit;
use super::operators;
use super::progress::Progress;
use super::repeats::Repeats;
use super::resources::Resources;
use super::run::{describe, fresh, say_head};
use super::running::{Places, Running};
use super::select::{Selected, choose, load};
use crate::audit::{Auditor, Inputs, Returned, Stop, Task, blank};
use crate::carried;
use crate::challenge::{CaseAsked, Challenge, FILE, STATED, case_folder, output_layout, patch};
use crate::check::bits::{Outputs, Rows};
use crate::failure::Failure;
use crate::files;
use crate::interrupt;
use crate::output::note;
use crate::output::print_table as say;
use crate::records::Existing;
use crate::tensors::{TensorError, TensorFile};
use attest::commit::Commit;
use contract::case::Case;
use contract::digest::Digest;
use contract::words::{self, quote};
use record::commitment::After;
use record::exit::Require;
use record::expected::{Entry, Expected};
use record::manifest::Manifest;
use record::report::terminal;
use record::verdict::OUTPUTS;
use record::{CaseKey, CaseRecord, End, OutputsAsked, ReturnedOutput, RunOptions, Stated, Stopped};

#[derive(Args, Debug, Clone)]
pub struct CheckArgs {
    /// The folder of a challenge that came back; with --y a manifest
    #[arg(value_name = "DIR|PATH")]
    pub path: PathBuf,
    /// Only cases whose id matches (`*` matches any text, `/` included); may be repeated. With --y the id of one case
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    /// The manifest that the challenge was written from, where it is not at the place that challenge.json names
    #[arg(long, value_name = "PATH", conflicts_with = "y")]
    pub manifest: Vec<PathBuf>,
    /// File of Y = A V, .npy or safetensors. Without --rebuilt and --shifted nothing perturbed is asked for, and the
    /// headline says so
    #[arg(long, value_name = "FILE", requires = "cases")]
    pub y: Option<PathBuf>,
    /// An operator file of kind `outputs`: who made them, by which name and version, and what is claimed of them. Cases are
    /// those that it claims; the headline and the record name it
    #[arg(long, value_name = "FILE")]
    pub operator: Option<PathBuf>,
    /// File of A1 V
    #[arg(long, value_name = "FILE", requires = "y")]
    pub rebuilt: Option<PathBuf>,
    /// File of A V2
    #[arg(long, value_name = "FILE", requires = "y")]
    pub shifted: Option<PathBuf>,
    /// The text that the perturbation was drawn from; a challenge of another one is refused
    #[arg(long, value_name = "TEXT")]
    pub nonce: Option<String>,
    /// The commitment that a challenge names, which its manifests, the operator of --operator and outputs are set beside
    #[arg(long, value_name = "COMMIT", conflicts_with = "y")]
    pub after: Option<PathBuf>,
    /// Write the record here, case by case; `-` is standard output, at the end, with the table on standard error
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write a JUnit report here
    #[arg(long, value_name = "PATH")]
    pub junit: Option<PathBuf>,
    /// Write over a record that is at --json
    #[arg(long, requires = "json")]
    pub force: bool,
    /// Sections marked `required: false` count too
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub resources: Resources,
    /// Only cases that are not verified, and the summary
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// All digests and the perturbation of each case
    #[arg(short, long)]
    pub verbose: bool,
}

pub fn run(args: &CheckArgs) -> Result<u8, Failure> {
    let places = Places {
        json: args.json.as_deref(),
        junit: args.junit.as_deref(),
        existing: if args.force { Existing::Overwrite } else { Existing::Refuse },
    };
    places.check()?;
    let mut asked = match &args.y {
        Some(y) => of_files(args, y)?,
        None => of_folder(args)?,
    };
    let maker = args.operator.as_deref();
    let maker = maker.map(|path| operators::maker(path, &mut asked.selected)).transpose()?;
    if let (Some(path), Some((_, commit))) = (&args.after, &asked.after) {
        commit::hold(path, commit, &asked.selected, maker.as_ref())?;
    }
    let options = RunOptions {
        threads: args.resources.threads(),
        isa: args.resources.isa().to_string(),
        device: None,
        nonce: asked.nonce.clone(),
        measure: false,
        any_platform: false,
        shard: None,
        sample: None,
        select: asked.select.clone(),
        strict: args.strict,
        require: Require::Bits,
        outputs: Some(asked.outputs.clone()),
        after: asked.after.as_ref().map(|(after, _)| after.clone()),
    };
    let mut fresh = fresh(options, describe(&asked.selected));
    fresh.operator = maker;
    let mut running = Running::begin(&places, fresh)?;
    let interrupted = running.clone();
    let _registered =
        interrupt::finish_with(move |signal| interrupted.clone().interrupt(signal.name()));
    let mut auditor = Auditor { nonce: asked.nonce.clone(), ..args.resources.auditor(args.quiet) };

    let detail = match (args.quiet, args.verbose) {
        (true, _) => terminal::Detail::Quiet,
        (_, true) => terminal::Detail::Verbose,
        _ => terminal::Detail::Normal,
    };
    let ids = asked.selected.iter().flat_map(Selected::cases).map(|case| case.id.len());
    let width = ids.max().unwrap_or(4);
    let mut repeats = Repeats::default();
    let cases = asked.selected.iter().flat_map(Selected::cases);
    let mut progress = Progress::new(cases, !args.quiet);
    'cases: for selected in &asked.selected {
        let manifest = &selected.manifest;
        if !args.quiet && !selected.chosen.is_empty() {
            say_head(selected, width);
        }
        for case in selected.cases() {
            running.start(CaseKey { manifest: manifest.name.clone(), id: case.id.clone() })?;
            let bar = progress.begin(case);
            let judged = judge(&mut auditor, &asked, selected, case, &|rows| bar.inc(rows as u64));
            bar.finish_and_clear();
            progress.end(case);
            say(&terminal::case(&repeats.shown(&judged), width, detail));
            if !running.push(judged, Vec::new()) {
                break 'cases;
            }
        }
    }
    let code = running.end(End::Completed);
    running.with(|record| {
        say(&terminal::claims(record, detail));
        say(&terminal::summary(record, code));
    });
    Ok(code)
}

/// What is to be judged.
struct Asked {
    selected: Vec<Selected>,
    nonce: Option<String>,
    select: Vec<String>,
    outputs: OutputsAsked,
    /// The commitment that the nonce was drawn after.
    after: Option<(After, Commit)>,
    place: Place,
}

/// Where the outputs are.
enum Place {
    /// The folder of a challenge.
    Folder { folder: PathBuf, challenge: Box<Challenge> },
    /// Files by the names of their outputs.
    Files(Vec<(&'static str, PathBuf)>),
}

/// Single files, of one case.
fn of_files(args: &CheckArgs, y: &Path) -> Result<Asked, Failure> {
    let selected = choose(load(std::slice::from_ref(&args.path))?, &args.cases)?;
    let ids: Vec<&str> = selected.iter().flat_map(Selected::cases).map(|c| c.id.as_str()).collect();
    if ids.len() > 1 {
        return Err(Failure::bad_input(format!(
            "--y is the output of one case, and --case chooses {}: {}, {}{}\nhint: give the id of one, as `verify list PATH` \
             shows it",
            ids.len(),
            quote(ids[0]),
            quote(ids[1]),
            if ids.len() > 2 { ", ..." } else { "" }
        )));
    }
    let perturbed = [("rebuilt", &args.rebuilt), ("shifted", &args.shifted)];
    let perturbed = perturbed.into_iter().filter_map(|(name, path)| Some((name, path.clone()?)));
    let files: Vec<_> = std::iter::once(("y", y.to_owned())).chain(perturbed).collect();
    if let (Some(nonce), [_]) = (&args.nonce, &files[..]) {
        return Err(Failure::bad_input(format!(
            "--nonce is {}, from which a perturbation is drawn, and --y alone asks for nothing perturbed\nhint: give \
             --rebuilt and --shifted, or leave --nonce out",
            quote(nonce)
        )));
    }
    Ok(Asked {
        selected,
        nonce: args.nonce.clone(),
        select: args.cases.clone(),
        outputs: OutputsAsked {
            from: y.display().to_string(),
            perturbed: files.len() > 1,
            challenge_sha256: None,
        },
        after: None,
        place: Place::Files(files),
    })
}

/// The folder of a challenge that came back. What its `challenge.json` says is set beside the manifests here.
fn of_folder(args: &CheckArgs) -> Result<Asked, Failure> {
    let folder = args.path.clone();
    if folder.is_file() {
        return Err(Failure::bad_input(format!(
            "{} is a file, and not the folder of a challenge\nhint: outputs of one case of a manifest are judged with \
             `--case ID --y FILE`",
            words::path(&folder)
        )));
    }
    let (challenge, sha256) = Challenge::read(&folder)?;
    match (&args.nonce, &challenge.nonce) {
        (Some(given), said) if Some(given) != said.as_ref() => {
            let said = said.as_ref().map_or("without a nonce".to_owned(), |said| {
                format!("of the nonce {}", quote(said))
            });
            return Err(Failure::bad_input(format!(
                "{} is {said}, and --nonce is {}: these outputs answer another challenge",
                words::path(&folder.join(FILE)),
                quote(given)
            )));
        }
        (None, Some(said)) => note(&format!(
            "note: the nonce {} is what {FILE} says; `--nonce TEXT` makes sure that it is the one that you drew",
            quote(said)
        )),
        (Some(_), _) | (None, None) => {}
    }
    let manifests = manifests(args, &folder, &challenge)?;
    let select = if args.cases.is_empty() { challenge.select.clone() } else { args.cases.clone() };
    let selected = choose(manifests, &select)?;
    let is_chosen = |asked: &CaseAsked| {
        let mut of = selected.iter().filter(|selected| selected.manifest.name == asked.manifest);
        of.any(|selected| selected.cases().any(|case| case.id == asked.id))
    };
    let refuse = |id: &str, what: &str| {
        let path = words::path(&folder.join(FILE));
        Err(Failure::bad_input(format!("{path}: case {}: {what}", quote(id))))
    };
    for selected in &selected {
        for case in selected.cases() {
            if challenge.case(&selected.manifest.name, &case.id).is_none() {
                return refuse(&case.id, "it was chosen, and nothing is asked of it");
            }
        }
    }
    if args.cases.is_empty()
        && let Some(asked) = challenge.cases.iter().find(|asked| !is_chosen(asked))
    {
        return refuse(&asked.id, "it is none that its globs choose in the manifests here");
    }
    Ok(Asked {
        selected,
        nonce: challenge.nonce.clone(),
        select,
        outputs: OutputsAsked {
            from: folder.display().to_string(),
            perturbed: true,
            challenge_sha256: Some(sha256),
        },
        after: commitment(args, &folder, &challenge)?,
        place: Place::Folder { folder, challenge: Box::new(challenge) },
    })
}

/// The commitment that a challenge says its nonce was drawn after, which must be the one that is given.
fn commitment(
    args: &CheckArgs,
    folder: &Path,
    challenge: &Challenge,
) -> Result<Option<(After, Commit)>, Failure> {
    let shown = words::path(&folder.join(FILE));
    match (&args.after, &challenge.after) {
        (None, None) => Ok(None),
        (Some(path), None) => Err(Failure::bad_input(format!(
            "{shown} names no commitment, and --after is {}: this challenge was not written after it",
            words::path(path)
        ))),
        (None, Some(after)) => Err(Failure::bad_input(format!(
            "{shown} says that its nonce was drawn after the commitment {}, which is not here\nhint: `--after COMMIT` names its \
             file",
            after.commit_sha256
        ))),
        (Some(path), Some(after)) => {
            let (commit, sha256) = commit::read(path)?;
            if after.commit_sha256 != sha256 || after.committed != commit.committed {
                return Err(Failure::bad_input(format!(
                    "{shown} is of another commitment\n  expected {sha256}, of {} ({})\n  got      {}, of {}",
                    commit.committed,
                    words::path(path),
                    after.commit_sha256,
                    words::visible(&after.committed)
                )));
            }
            let order = after
                .check(challenge.nonce.as_deref())
                .map_err(|bad| Failure::bad_input(format!("{shown}: {bad}")))?;
            note(&format!("note: {}", words::visible(&order)));
            Ok(Some((after.clone(), commit)))
        }
    }
}

/// Refutes a case whose output is not the one that was committed to before the nonce existed.
fn hold_output(judged: &mut CaseRecord, commit: &Commit) {
    let Some(committed) = commit.output(&judged.manifest, &judged.id) else { return };
    let Some(bits) = &mut judged.bits else { return };
    let got = bits.digests.iter().find(|row| row.name == "operator").and_then(|row| row.got);
    if got == Some(committed) {
        return;
    }
    let got = got.map_or("none".to_owned(), |digest| digest.to_string());
    let why = format!("y is not the output that was committed to: expected {committed}, got {got}");
    bits.broken.push(why.clone());
    bits.implementations_agree = false;
    judged.reasons.push(why);
    judged.verdict = record::derive::verdict(judged, false);
    judged.exit_code = record::exit::of_verdict(judged.verdict, None);
}

/// The manifests that a challenge names, in its order: those given, else those at the places that it names. A manifest
/// in the folder itself would be a stranger's.
fn manifests(
    args: &CheckArgs,
    folder: &Path,
    challenge: &Challenge,
) -> Result<Vec<Manifest>, Failure> {
    let named: Vec<PathBuf> = challenge.manifests.iter().map(|m| PathBuf::from(&m.path)).collect();
    let hint = "hint: --manifest PATH names the manifest that the challenge was written from";
    if args.manifest.is_empty() {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = real(folder);
        for path in &named {
            let shown = words::path(path);
            if !path.is_file() && carried::bytes(path).is_none() {
                return Err(Failure::bad_input(format!(
                    "{FILE} names the manifest {shown}, and no such file is here\n{hint}"
                )));
            }
            if real(path).starts_with(&folder) {
                return Err(Failure::bad_input(format!(
                    "{FILE} names the manifest {shown}, which came with the folder itself\n{hint}, from a place of yours"
                )));
            }
        }
    }
    let given = if args.manifest.is_empty() { &named } else { &args.manifest };
    let mut here = load(given)?;
    let mut found = Vec::new();
    for wanted in &challenge.manifests {
        let at = here.iter().position(|m| m.name == wanted.name && m.sha256 == wanted.sha256);
        let Some(at) = at else {
            let same = here.iter().find(|manifest| manifest.name == wanted.name);
            let got = same.map_or("no manifest of that name".to_owned(), |manifest| {
                format!("{} in {}", manifest.sha256, words::path(&manifest.path))
            });
            return Err(Failure::bad_input(format!(
                "the challenge was written from another manifest {}\n  expected sha256 {}\n  got      {got}\n{hint}",
                quote(&wanted.name),
                wanted.sha256
            )));
        };
        found.push(here.swap_remove(at));
    }
    Ok(found)
}

/// One case, judged.
fn judge(
    auditor: &mut Auditor<'_>,
    asked: &Asked,
    selected: &Selected,
    case: &Case,
    progress: &(dyn Fn(usize) + Sync),
) -> CaseRecord {
    let manifest = &selected.manifest;
    let stopped = |stop: Stop| CaseRecord {
        stopped: Some(stop.kind),
        exit_code: stop.kind.code(),
        reasons: vec![stop.reason],
        measurement_reason: Some("not measured: made elsewhere".into()),
        ..blank(manifest, case)
    };
    let found = match find(asked, manifest, case) {
        Ok(found) => found,
        Err(stop) => return stopped(stop),
    };
    let of = |name: &str| {
        let file = found.iter().find(|found| found.name == name);
        file.map(|found| &found.file as &dyn Rows)
    };
    let Some(y) = of("y") else { unreachable!("a case without it was stopped") };
    let outputs = Outputs {
        y,
        rebuilt: of("rebuilt"),
        shifted: of("shifted"),
        perturbed: asked.outputs.perturbed,
    };
    let expected_file = selected.expected_file();
    let task = Task {
        manifest,
        case,
        expected: &selected.expected,
        expected_file: &expected_file,
        progress,
    };
    let name = asked.outputs.operator();
    let returned = Returned { name: &name, outputs: &outputs };
    let (mut judged, inputs) = auditor.audit_outputs(&task, &returned);
    if let (Place::Folder { challenge, .. }, Ok(inputs)) = (&asked.place, &inputs)
        && let Some(known) = challenge.case(&manifest.name, &case.id)
        && let Some(reason) = other_inputs(known, inputs, asked.nonce.as_deref())
    {
        let seconds = judged.seconds;
        return CaseRecord { seconds, ..stopped(Stop { kind: Stopped::Refused, reason }) };
    }
    if let Some((_, commit)) = &asked.after {
        hold_output(&mut judged, commit);
    }
    if judged.verdict.refutes() {
        let foreign = foreign(&judged, &selected.expected);
        judged.reasons.extend(foreign);
    }
    if let Some(bits) = &mut judged.bits {
        bits.returned = found
            .iter()
            .map(|found| ReturnedOutput {
                name: found.name.to_owned(),
                file: found.path.display().to_string(),
            })
            .collect();
    }
    if let Place::Folder { folder, .. } = &asked.place
        && let Ok(own) = case_folder(manifest, case)
    {
        judged.stated = stated(&folder.join(own).join(STATED));
    }
    judged
}

/// An output that came back.
struct Found {
    name: &'static str,
    path: PathBuf,
    file: TensorFile,
}

/// The outputs of a case that came back, y first; why the case cannot be judged without another.
fn find(asked: &Asked, manifest: &Manifest, case: &Case) -> Result<Vec<Found>, Stop> {
    let mut all = Vec::new();
    match &asked.place {
        Place::Files(files) => {
            for (name, path) in files {
                let file = open(path, name, case)?.ok_or_else(|| Stop {
                    kind: Stopped::Refused,
                    reason: format!("{}: no `{name}` is there", words::path(path)),
                })?;
                all.push(Found { name, path: path.clone(), file });
            }
        }
        Place::Folder { folder, .. } => {
            let own = case_folder(manifest, case)
                .map_err(|failure| Stop { kind: Stopped::Refused, reason: failure.message })?;
            require_no_links(folder, &own)?;
            for (name, _) in OUTPUTS {
                all.extend(in_folder(&folder.join(&own), name, case)?);
            }
            if all.first().is_none_or(|found| found.name != "y") {
                return Err(Stop {
                    kind: Stopped::Unavailable,
                    reason: format!(
                        "y was not returned: no y.npy, y.safetensors or outputs.safetensors with a tensor `y` in {}",
                        words::path(&folder.join(own))
                    ),
                });
            }
        }
    }
    Ok(all)
}

/// The file of an output in a case's folder; `None` if there is none. Two of them would leave open which is meant.
fn in_folder(folder: &Path, name: &'static str, case: &Case) -> Result<Option<Found>, Stop> {
    let names =
        [format!("{name}.npy"), format!("{name}.safetensors"), "outputs.safetensors".into()];
    let mut found: Option<Found> = None;
    for path in names.map(|file| folder.join(file)) {
        let Some(file) = open(&path, name, case)? else { continue };
        if let Some(first) = &found {
            let reason = format!(
                "`{name}` was returned twice, in {} and in {}\nhint: leave the one that is meant",
                words::path(&first.path),
                words::path(&path)
            );
            return Err(Stop { kind: Stopped::Refused, reason });
        }
        found = Some(Found { name, path, file });
    }
    Ok(found)
}

/// The file of a case's y below a folder, where there is one.
pub(super) fn find_in_folder(
    folder: &Path,
    own: &Path,
    case: &Case,
) -> Result<Option<TensorFile>, Stop> {
    require_no_links(folder, own)?;
    Ok(in_folder(&folder.join(own), "y", case)?.map(|found| found.file))
}

/// Refuses what is no folder.
pub(super) fn require_folder(folder: &Path) -> Result<(), Failure> {
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Failure::bad_input(format!(
            "{}: expected a folder of outputs, found none",
            words::path(folder)
        ))),
    }
}

/// Opens the file of an output; `None` if there is none of that name.
fn open(path: &Path, name: &str, case: &Case) -> Result<Option<TensorFile>, Stop> {
    let known = OUTPUTS.map(|(name, _)| name);
    match TensorFile::open(path, name, output_layout(case), &known) {
        Ok(file) => Ok(Some(file)),
        Err(TensorError::Absent(_)) => Ok(None),
        Err(error @ TensorError::Malformed { .. }) => {
            Err(Stop { kind: Stopped::Refused, reason: error.to_string() })
        }
        Err(error @ TensorError::Io { .. }) => {
            Err(Stop { kind: Stopped::Environment, reason: error.to_string() })
        }
    }
}

/// Refuses a folder below `folder` that is a link: it would lead out of what came back.
fn require_no_links(folder: &Path, own: &Path) -> Result<(), Stop> {
    let mut path = folder.to_owned();
    for part in own {
        path.push(part);
        if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            let reason = format!(
                "{}: expected a folder, found a symbolic link\nhint: give the folder itself: what comes from elsewhere is not \
                 followed",
                words::path(&path)
            );
            return Err(Stop { kind: Stopped::Refused, reason });
        }
    }
    Ok(())
}

/// Says so if `challenge.json` asked for outputs of other inputs than those that were made again here.
fn other_inputs(asked: &CaseAsked, here: &Inputs, nonce: Option<&str>) -> Option<String> {
    let text = |digest: Option<Digest>| digest.map_or("none".to_owned(), |d| d.to_string());
    let given = nonce.map_or("no nonce".to_owned(), |nonce| format!("the nonce {}", quote(nonce)));
    for (name, got) in [("a", Some(here.a)), ("v", Some(here.v)), ("v2", here.v2)] {
        let said = asked.inputs.iter().find(|input| input.name == name).map(|input| input.sha256);
        if said != got {
            return Some(format!(
                "{FILE} asks for outputs of another `{name}` than this case and {given} have\n  expected {}\n  got      {}\n\
                 hint: it is of another case, another nonce or another seed, or was changed",
                text(got),
                text(said)
            ));
        }
    }
    let here = here.changes.as_deref().map(patch).unwrap_or_default();
    (asked.patch != here).then(|| {
        format!(
            "{FILE} asks for outputs of another A1 than this case and {given} have\nhint: it is of another case, another nonce \
             or another seed, or was changed"
        )
    })
}

/// Outputs that are those of another case, of another product, or of no nonce, by their committed digests.
fn foreign(judged: &CaseRecord, expected: &Expected) -> Vec<String> {
    let outputs = |entry: &Entry| {
        [("y", entry.operator), ("rebuilt", entry.rebuilt), ("shifted", entry.shifted)]
    };
    let mut said = Vec::new();
    for (name, row) in OUTPUTS {
        let rows = judged.bits.iter().flat_map(|bits| &bits.digests);
        let Some(got) = rows.filter(|known| known.name == row).find_map(|row| row.got) else {
            continue;
        };
        // This case's own first.
        let own = expected.cases.get_key_value(&judged.id);
        for (id, entry) in own.into_iter().chain(&expected.cases) {
            let other = outputs(entry).into_iter().find(|(_, digest)| *digest == Some(got));
            let Some((other, _)) = other else { continue };
            match (*id == judged.id, other == name) {
                (true, true) if name == "y" => {}
                (true, true) => said.push(format!("`{name}` is the output without a nonce")),
                (true, false) => {
                    said.push(format!("`{name}` is the output `{other}` of this case"))
                }
                (false, _) => said.push(format!("`{name}` is the output `{other}` of case `{id}`")),
            }
            break;
        }
    }
    said
}

/// What came back beside the outputs of a case about their speed; what cannot be shown is said once and left out.
fn stated(path: &Path) -> Option<Stated> {
    const BYTES_MAX: u64 = 1 << 16;
    let left_out = |why: &dyn std::fmt::Display| {
        note(&format!("warning: {}: not shown: {why}", words::path(path)));
        None
    };
    let text = match files::text_of_stranger(path, BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return left_out(&error),
    };
    let stated: Stated = match serde_json::from_str(&text) {
        Ok(stated) => stated,
        Err(error) => return left_out(&error),
    };
    match stated.latency_ms {
        Some(ms) if !ms.is_finite() || ms <= 0.0 => left_out(&"latency_ms is no time"),
        Some(_) | None => Some(stated),
    }
}

impl Challenge {
    /// What is asked of a case.
    fn case(&self, manifest: &str, id: &str) -> Option<&CaseAsked> {
        self.cases.iter().find(|asked| asked.manifest == manifest && asked.id == id)
    }
}
