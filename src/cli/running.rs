//! A run while it goes on: the record, and the files that must say the truth about it whenever it ends.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::words::quote;
use record::derive;
use record::exit;
use record::report::terminal;
use record::{
    CaseKey, CaseRecord, DeviceRecord, End, ManifestRecord, Record, RunOptions, SampleAsked,
};

use super::run::write_junit;
use crate::failure::Failure;
use crate::files::is_stream;
use crate::output::{leave_stdout_to_data, note, print_table};
use crate::records::{Existing, RecordFile};
use crate::supervise::{self, AFTER, JOURNAL};

/// Where the record and the JUnit report of a run go.
pub struct Places<'a> {
    pub json: Option<&'a Path>,
    pub junit: Option<&'a Path>,
    /// What becomes of a record that is there.
    pub existing: Existing,
}

impl Places<'_> {
    /// Refuses places that would overwrite each other. Where one of them is standard output, nothing else is written there.
    pub fn check(&self) -> Result<(), Failure> {
        if [self.json, self.junit].contains(&Some(Path::new("-"))) {
            leave_stdout_to_data();
        }
        let real = |path: &Path| {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            let name = path.file_name().unwrap_or(path.as_os_str());
            let folder = folder.unwrap_or(Path::new("."));
            path.canonicalize().or_else(|_| Ok(folder.canonicalize()?.join(name)))
        };
        let same = |a: &Path, b: &Path| -> bool {
            let found: [std::io::Result<PathBuf>; 2] = [real(a), real(b)];
            a == b || matches!(found, [Ok(a), Ok(b)] if a == b)
        };
        match (self.json, self.junit) {
            (Some(json), Some(junit)) if same(json, junit) && json != Path::new("/dev/null") => {
                Err(Failure::bad_input(format!(
                    "--json and --junit are both {}: one would overwrite the other",
                    json.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// The sample of the record that is to be continued. Why that record cannot be read [`Running::begin`] says.
    pub fn sample(&self) -> Option<SampleAsked> {
        let goes_on = std::env::var_os(AFTER).is_some();
        if !goes_on && !matches!(self.existing, Existing::Resume) {
            return None;
        }
        let kept = self.json.filter(|path| !is_output(path)).map(Path::to_owned);
        let path = kept.or_else(|| std::env::var_os(JOURNAL).map(PathBuf::from))?;
        record::load(&path).ok()?.options.sample
    }
}

/// Shared with whoever ends the run early.
#[derive(Clone)]
pub struct Running {
    state: Arc<Mutex<State>>,
    /// The case at which an earlier process of this run died, and how.
    died: Option<(CaseKey, String)>,
}

struct State {
    record: Record,
    /// Where `--json` says, and the parent's journal where that is no file.
    files: Vec<RecordFile>,
    junit: Option<PathBuf>,
    /// The code of what could not be written. It does not hide a refutation.
    failed: u8,
    /// Whether the end was written.
    has_ended: bool,
}

impl Running {
    /// Opens the record's place, takes up the record that is there if the run is to be continued, and begins the JUnit
    /// report: until the end it says that cases are missing.
    pub fn begin(places: &Places<'_>, fresh: Record) -> Result<Running, Failure> {
        let death = std::env::var(AFTER).ok();
        let existing = if death.is_some() { Existing::Resume } else { places.existing };
        let (mut record, mut died, mut files) = (fresh, None, Vec::new());
        let kept = places.json.filter(|path| !is_output(path));
        // Where the record is not kept in a file, what was done must outlive this process all the same.
        let journal = std::env::var_os(JOURNAL).map(PathBuf::from).filter(|_| kept.is_none());
        for path in places.json.map(Path::to_owned).into_iter().chain(journal) {
            let (opened, bytes) = RecordFile::open(&path, existing, &record)?;
            if let Some(bytes) = bytes {
                let old = record::parse(&bytes, &path.display().to_string())?;
                record = match &death {
                    Some(death) => {
                        let (old, key) = survivor(old)?;
                        died = Some((key, death.clone()));
                        old
                    }
                    None => continued(old, record, &path)?,
                };
            } else if death.is_some() && !is_output(&path) {
                return Err(nothing_left());
            }
            files.push(opened);
        }
        let mut state = State {
            record,
            files,
            junit: places.junit.map(Path::to_owned),
            failed: exit::VERIFIED,
            has_ended: false,
        };
        for file in &mut state.files {
            file.write(&state.record)?;
        }
        if let Some(path) = state.junit.as_ref().filter(|path| !is_output(path)) {
            write_junit(&state.record, path)?;
        }
        Ok(Running { state: Arc::new(Mutex::new(state)), died })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for the thread that works. Once a signal has ended the run nothing is added to it: what was written
    /// then is all, and whoever wrote it ends the process.
    fn lock_to_work(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        if !state.has_ended {
            return state;
        }
        drop(state);
        loop {
            std::thread::park();
        }
    }

    /// Looks at the record, or changes it.
    pub fn with<T>(&self, f: impl FnOnce(&mut Record) -> T) -> T {
        f(&mut self.lock().record)
    }

    /// How an earlier process of this run died at a case.
    pub fn death_at(&self, key: &CaseKey) -> Option<&str> {
        self.died.as_ref().filter(|(at, _)| at == key).map(|(_, death)| death.as_str())
    }

    /// Whether this process goes on where an earlier one died: what that one printed is there.
    pub fn goes_on(&self) -> bool {
        self.died.is_some()
    }

    /// Notes which case is at work.
    pub fn start(&mut self, key: CaseKey) -> Result<(), Failure> {
        let mut state = self.lock_to_work();
        let State { record, files, .. } = &mut *state;
        record.running = Some(key);
        files.iter_mut().try_for_each(|file| file.note(record))?;
        // From here on a death costs this case and no other.
        supervise::progress();
        Ok(())
    }

    /// Adds a case. `false` if it could not be written: the run cannot go on.
    pub fn push(&mut self, case: CaseRecord, devices: Vec<DeviceRecord>) -> bool {
        let mut state = self.lock_to_work();
        let State { record, files, failed, .. } = &mut *state;
        record.running = None;
        record.devices = devices;
        // At its place in the order asked for; the last but where a resumed run fills a gap.
        let places = places(&record.manifests);
        let place = |case: &CaseRecord| places(&case.manifest, &case.id);
        let at = record.cases.partition_point(|known| place(known) < place(&case));
        let is_last = at == record.cases.len();
        record.cases.insert(at, case);
        let written = files.iter_mut().try_for_each(|file| match is_last {
            true => file.push(&record.cases[at], record),
            false => file.write(record),
        });
        match written {
            Ok(()) => true,
            Err(error) => {
                let failure = Failure::from(error);
                note(&format!("error: {failure}"));
                *failed = exit::worse(*failed, failure.code);
                record.ended = Some(End::Failed { reason: failure.message });
                false
            }
        }
    }

    /// Ends the run once: derives what follows, writes record and JUnit, and says which code that gives.
    pub fn end(&mut self, end: End) -> u8 {
        let mut state = self.lock();
        let State { record, files, junit, failed, has_ended } = &mut *state;
        if !*has_ended {
            *has_ended = true;
            record.ended.get_or_insert(end);
            if record.ended == Some(End::Completed) {
                record.running = None;
            }
            derive::fill(record);
            let mut failures: Vec<Failure> = Vec::new();
            for file in files {
                failures.extend(file.finish(record).err().map(Failure::from));
            }
            if let Some(path) = junit {
                failures.extend(write_junit(record, path).err());
            }
            for failure in failures {
                note(&format!("error: {failure}"));
                *failed = exit::worse(*failed, failure.code);
            }
        }
        exit::worse(record::outcome::of(record).code, *failed)
    }

    /// Ends the run because of a signal, such as `SIGINT`, with the headline on standard output.
    pub fn interrupt(&mut self, signal: &str) {
        let code = self.end(End::Interrupted { signal: signal.to_owned() });
        let state = self.lock();
        let text = terminal::summary(&state.record, code);
        print_table(&text);
    }
}

/// Whether a path is standard output or a stream, which is written to once.
fn is_output(path: &Path) -> bool {
    path == Path::new("-") || is_stream(path)
}

/// The place of a case among those asked for.
fn places(manifests: &[ManifestRecord]) -> impl Fn(&str, &str) -> Option<(usize, usize)> {
    move |manifest, id| {
        let at = manifests.iter().position(|known| known.name == manifest)?;
        Some((at, manifests[at].own().iter().position(|known| known == id)?))
    }
}

/// Why nothing can be done after a death: it was told already.
fn nothing_left() -> Failure {
    Failure::environment("nothing of the run can be gone on with after that")
}

/// The record of a process that died, and the case that was at work.
fn survivor(mut old: Record) -> Result<(Record, CaseKey), Failure> {
    let key = old.running.take().ok_or_else(nothing_left)?;
    (old.ended, old.outcome) = (None, None);
    old.judged.clear();
    Ok((old, key))
}

/// The record of an earlier run, to be continued by `new`: exactly what was asked then, by the same program.
fn continued(mut old: Record, new: Record, path: &Path) -> Result<Record, Failure> {
    if let Some(why) = differs(&old, &new) {
        return Err(Failure::bad_input(format!(
            "cannot continue {}: {why}\nhint: run without --resume, and with --force or another --json, to start anew",
            path.display()
        )));
    }
    // What could not be run may be by now.
    old.cases.retain(|case| case.bits.is_some());
    (old.running, old.ended, old.outcome) = (None, None, None);
    old.judged.clear();
    Ok(old)
}

/// What keeps two records from being of one run.
fn differs(old: &Record, new: &Record) -> Option<String> {
    if old.is_old() {
        return Some(format!(
            "its format is `{}`, this program writes `{}`",
            old.format, new.format
        ));
    }
    if old.tool != new.tool {
        return Some(format!("it was made by {}, this is {}", old.tool, new.tool));
    }
    let builds = [&old.environment.tool_sha256, &new.environment.tool_sha256];
    if builds[0] != builds[1] {
        let [old, new] = builds.map(|sha256| sha256.as_deref().unwrap_or("unknown"));
        return Some(format!("it was made by another build: sha256 {old}, this one is {new}"));
    }
    if !old.shards.is_empty() {
        return Some("it was joined from shards".into());
    }
    let (a, b) = (&old.options, &new.options);
    let said = |value: Option<&str>| match value {
        Some(value) => format!("with {}", quote(value)),
        None => "without it".to_owned(),
    };
    let globs = |globs: &[String]| match globs {
        [] => said(None),
        globs => {
            let globs: Vec<String> = globs.iter().map(|glob| quote(glob)).collect();
            format!("with {}", globs.join(", "))
        }
    };
    let sampled = |sample: &SampleAsked| format!("{}, drawn by {}", sample.cases, sample.nonce);
    let flag = |is_set: bool| if is_set { "with it" } else { "without it" }.to_owned();
    let both = |of: &dyn Fn(&RunOptions) -> String| (of(a), of(b));
    let options = [
        ("--threads", both(&|of| format!("with {}", of.threads))),
        ("--isa", both(&|of| said(Some(&of.isa)))),
        ("--device", both(&|of| said(of.device.as_deref()))),
        ("--nonce", both(&|of| said(of.nonce.as_deref()))),
        ("--no-measure", both(&|of| flag(!of.measure))),
        ("--any-platform", both(&|of| flag(of.any_platform))),
        ("--shard", both(&|of| said(of.shard.map(|shard| shard.to_string()).as_deref()))),
        ("--sample", both(&|of| said(of.sample.as_ref().map(sampled).as_deref()))),
        ("--case", both(&|of| globs(&of.select))),
        ("--strict", both(&|of| flag(of.strict))),
        ("--require", both(&|of| said(Some(of.require.name())))),
    ];
    if let Some((name, (old, new))) = options.into_iter().find(|(_, (old, new))| old != new) {
        return Some(format!("{name}: it was asked {old}, now it is {new}"));
    }
    if a.outputs != b.outputs {
        return Some("it is of other outputs made elsewhere".into());
    }
    let names = |record: &Record| -> Vec<String> {
        record.manifests.iter().map(|manifest| manifest.name.clone()).collect()
    };
    if old.operator != new.operator {
        let of = |record: &Record| {
            let operator = record.operator.as_ref();
            operator.map_or("the open operator".to_owned(), |operator| operator.in_words())
        };
        return Some(format!("it is of {}, now it is {}", of(old), of(new)));
    }
    if names(old) != names(new) {
        let [old, new] = [old, new].map(|record| names(record).join(", "));
        return Some(format!("it is of the manifests {old}, now they are {new}"));
    }
    let pairs = old.manifests.iter().zip(&new.manifests);
    let changed = pairs.into_iter().find(|(old, new)| {
        // Where the digests were found may be called otherwise from another folder.
        let of = |m: &ManifestRecord| ManifestRecord { expected_path: None, ..m.clone() };
        of(old) != of(new)
    });
    changed.map(|(m, _)| {
        format!("manifest `{}`, its selection or its committed digests changed", m.name)
    })
}
