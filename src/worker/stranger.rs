//! A stranger's operator from the judge's side: its code looked at, its folder made, its process started.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::digest::Digest;
use contract::words::{self, visible};
use record::operator::{Layer, OperatorDevice, OperatorRecord, is_had};

use super::Hosted;
use super::isolate::{OWN_FOLDERS, Walls};
use super::message::{Reply, Request};
use super::process::{Fault, SPINNING, Worker};
use super::serve_stranger::{BOOTSTRAP, Opening};
use super::slot::Slot;
use crate::baseline::{self, Host};
use crate::carried;
use crate::failure::Failure;
use crate::files;
use crate::manifest::operator::OperatorFile;
use crate::own_folder::OwnFolder;

/// Names of our own operators, in records and reports.
const OWN_NAMES: [&str; 2] = ["open", "skip"];
/// Largest file of code, in bytes.
const CODE_BYTES_MAX: u64 = 1 << 30;
/// Time for the walls.
const WALLS_LIMIT: Duration = Duration::from_secs(30);
/// Time for code to be opened: what it imports may be much.
const OPEN_LIMIT: Duration = Duration::from_secs(120);
/// Addresses beyond memory, inputs and outputs: what libraries reserve and never touch.
const RESERVED_BYTES: u64 = 64 << 30;
/// Addresses beyond that for the driver of a CUDA device, which reserves some for all of the device's memory many times over.
const DRIVER_BYTES: u64 = 4 << 40;
/// The first id of users that nobody is; the judge's process id is added.
const USERS: u32 = 1_500_000_000;

/// An operator under test that is not our own, ready to be started.
pub struct Stranger {
    file: OperatorFile,
    /// The code, as its digests were found.
    code: BTreeMap<String, Vec<u8>>,
    interpreter: Option<PathBuf>,
    user: Result<u32, String>,
    judge: Result<(), String>,
    /// Names of layers of isolation that are not wanted.
    off: Vec<String>,
}

/// What a process of an operator has with it.
pub(super) struct Held {
    /// Gone with the process.
    _folder: OwnFolder,
    /// Filters of system calls that its process had when it was opened; `None` where there are none.
    pub filters: Option<u32>,
    pub build_limit: Duration,
    pub apply_limit: Duration,
}

impl Stranger {
    /// An operator by its file: its code is read and must have its digests, its interpreter must be there. `interpreter`
    /// takes the place of the file's. `off` are layers of isolation that are not to be put up.
    pub fn new(
        file: OperatorFile,
        interpreter: Option<&str>,
        off: Vec<String>,
    ) -> Result<Stranger, Failure> {
        let is_rival = |host: Host| baseline::names(host).contains(&file.name.as_str());
        if OWN_NAMES.contains(&file.name.as_str()) || Host::ALL.into_iter().any(is_rival) {
            return Err(Failure::bad_input(format!(
                "{}: the name `{}` is that of an operator or a rival of the kit\nhint: give it another name",
                words::path(&file.path),
                file.name
            )));
        }
        let folder = file.path.parent().unwrap_or(Path::new("")).to_owned();
        let mut code = BTreeMap::new();
        for (name, digest) in &file.files {
            let path = folder.join(name);
            let shown = words::path(&path);
            let failed = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Failure::bad_input(
                    format!("{}: file `{name}`: {error}", words::path(&file.path)),
                ),
                _ => Failure::environment(format!("failed to read {shown}: {error}")),
            };
            let bytes = match carried::bytes(&path) {
                Some(bytes) => bytes.to_vec(),
                None => files::bytes(&path, CODE_BYTES_MAX).map_err(failed)?,
            };
            let found = Digest::of(&bytes);
            if found != *digest {
                return Err(Failure::bad_input(format!(
                    "{}: `{name}` is another file than the one named here\n  expected {digest}\n  got      {found}\n\
                     hint: if you changed it yourself, write the new digest into the operator file",
                    words::path(&file.path)
                )));
            }
            code.insert(name.clone(), bytes);
        }
        // A path on the command line is one from here; a path in the file is one from there.
        let wanted = match interpreter {
            Some(name) => Some((name, Path::new(""))),
            None => file.interpreter.as_deref().map(|name| (name, folder.as_path())),
        };
        let interpreter = match wanted {
            None => None,
            Some((name, from)) => Some(program(name, from).ok_or_else(|| {
                Failure::bad_input(format!(
                    "{}: the interpreter `{}` is not there\nhint: give its path, or put it on PATH",
                    words::path(&file.path),
                    visible(name)
                ))
            })?),
        };
        let judge = match off.iter().any(|off| off == "judge") {
            true => Err("switched off".to_owned()),
            false => rustix::process::set_dumpable_behavior(
                rustix::process::DumpableBehavior::NotDumpable,
            )
            .map_err(|error| error.to_string()),
        };
        let user = user();
        Ok(Stranger { file, code, interpreter, user, judge, off })
    }

    pub fn file(&self) -> &OperatorFile {
        &self.file
    }

    /// What a record says of it, with the walls that a process of it has here.
    pub fn record(&self) -> Result<OperatorRecord, Failure> {
        let file = &self.file;
        let folder = self.folder().map_err(|error| {
            Failure::environment(format!("no folder for the operator: {error}"))
        })?;
        let opening = self.opening(&folder, "", 1, 0, true);
        let layers = self.walled(&folder, opening).map(|(_, layers)| layers);
        let layers = layers.map_err(|fault| Failure::environment(fault.to_string()))?;
        Ok(OperatorRecord {
            interpreter: self.interpreter.as_ref().map(|path| {
                let digest =
                    files::bytes(path, CODE_BYTES_MAX).map(|bytes| Digest::of(&bytes).to_string());
                format!("{} (sha256 {})", path.display(), digest.unwrap_or("unknown".into()))
            }),
            isolation: layers,
            ..file.record()
        })
    }

    /// A process that has opened the operator, for cases of this arithmetic; `shared_bytes` of inputs and outputs will be
    /// mapped there. It dies with the calling thread.
    ///
    /// `device` is the UUID of the CUDA device on which it multiplies, the only one that it sees.
    pub fn start(
        &self,
        arithmetic: &str,
        threads: usize,
        shared_bytes: u64,
        device: Option<&str>,
    ) -> Result<Hosted, String> {
        let folder = self.folder().map_err(|error| format!("no folder for it: {error}"))?;
        let mut opening = self.opening(&folder, arithmetic, threads, shared_bytes, false);
        opening.environment.extend(device.map(|uuid| ("CUDA_VISIBLE_DEVICES".into(), uuid.into())));
        let (mut worker, layers) =
            self.walled(&folder, opening).map_err(|fault| fault.to_string())?;
        let fault = match worker.next(OPEN_LIMIT) {
            Ok(Reply::Opened { rivals, missing }) => {
                let filters = worker.filters().filter(|_| is_had(&layers, "calls"));
                let worker = Slot::of(Host::Stranger, Ok(worker));
                let held = Held {
                    _folder: folder,
                    filters,
                    build_limit: self.file.build_limit,
                    apply_limit: self.file.apply_limit,
                };
                return Ok(Hosted {
                    host: Host::Stranger,
                    worker,
                    rivals,
                    missing,
                    stranger: Some(held),
                });
            }
            Ok(Reply::Failed { reason, .. }) => {
                let hint = match reason.contains("No module named") {
                    true => {
                        "\nhint: it must be installed in the interpreter's own environment; --interpreter names another"
                    }
                    false => "",
                };
                return Err(format!("it cannot be opened: {}{hint}", visible(&reason)));
            }
            Ok(other) => Fault::of_answer(Host::Stranger, &other),
            Err(fault) => fault,
        };
        Err(fault.to_string())
    }

    /// A process with its walls, which it names.
    fn walled(&self, folder: &OwnFolder, opening: Opening) -> Result<(Worker, Vec<Layer>), Fault> {
        let environment = self.environment(folder.path(), opening.threads);
        let mut worker = Worker::start_in(Host::Stranger, Some(&environment))?;
        match worker.ask(&Request::OpenStranger(opening), &[], WALLS_LIMIT)? {
            Reply::Isolated { layers } => Ok((worker, layers)),
            Reply::Failed { reason, .. } => Err(Fault::of(Host::Stranger, &reason)),
            other => Err(Fault::of_answer(Host::Stranger, &other)),
        }
    }

    fn opening(
        &self,
        folder: &OwnFolder,
        arithmetic: &str,
        threads: usize,
        shared_bytes: u64,
        only_walls: bool,
    ) -> Opening {
        let file = &self.file;
        let has_device = file.device == OperatorDevice::Cuda;
        let driver_bytes = if has_device { DRIVER_BYTES } else { 0 };
        let walls = Walls {
            folder: folder.path().to_owned(),
            reads: file.reads.iter().cloned().chain(self.interpreter_folders()).collect(),
            programs: self
                .interpreter
                .iter()
                .cloned()
                .chain([folder.path().join("home")])
                .collect(),
            user: self.user.clone(),
            judge: self.judge.clone(),
            has_device,
            memory_bytes: file.memory_bytes,
            addresses_bytes: file
                .memory_bytes
                .saturating_add(2 * shared_bytes)
                .saturating_add(RESERVED_BYTES + driver_bytes),
            off: self.off.clone(),
        };
        Opening {
            walls,
            environment: file.environment.clone(),
            kind: file.kind,
            entry: folder.path().join("operator").join(&file.entry),
            interpreter: self.interpreter.clone(),
            arithmetic: arithmetic.to_owned(),
            threads,
            only_walls,
        }
    }

    /// Where an interpreter's own library is: around it, and around what its name is a link to.
    fn interpreter_folders(&self) -> Vec<PathBuf> {
        let Some(interpreter) = &self.interpreter else { return Vec::new() };
        let around = |path: &Path| {
            let two_up = path.parent().and_then(Path::parent)?;
            // Never a folder that holds other things as well, such as a home with programs in it.
            let is_its_own = two_up.join("pyvenv.cfg").is_file()
                || fs::read_dir(two_up.join("lib")).into_iter().flatten().flatten().any(|entry| {
                    entry.file_name().to_string_lossy().starts_with("python3")
                        && entry.path().is_dir()
                });
            Some(if is_its_own { two_up } else { path }.to_owned())
        };
        let real = interpreter.canonicalize().ok();
        [around(interpreter), real.as_deref().and_then(around)].into_iter().flatten().collect()
    }

    /// A folder of its own, with HOME and TMPDIR, and the code as its digests were found.
    fn folder(&self) -> io::Result<OwnFolder> {
        let folder = OwnFolder::new()?;
        let root = folder.path();
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        for name in OWN_FOLDERS.into_iter().chain(["operator"]) {
            fs::create_dir(root.join(name))?;
        }
        open(root, 0o755)?;
        let bootstrap = root.join(BOOTSTRAP.0);
        fs::write(&bootstrap, BOOTSTRAP.1)?;
        open(&bootstrap, 0o444)?;
        for (name, bytes) in &self.code {
            let path = root.join("operator").join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, bytes)?;
            open(&path, 0o555)?;
        }
        if let (Ok(id), false) = (&self.user, self.off.iter().any(|off| off == "user")) {
            for name in OWN_FOLDERS {
                std::os::unix::fs::chown(root.join(name), Some(*id), Some(*id))?;
            }
        }
        Ok(folder)
    }

    /// All that its environment holds.
    fn environment(&self, folder: &Path, threads: usize) -> BTreeMap<String, String> {
        let threads = threads.to_string();
        let path = |name: &str| folder.join(name).display().to_string();
        let variables: BTreeMap<String, String> = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", path("home")),
            ("TMPDIR", path("tmp")),
            // Its user has no entry in the system's list, where libraries look for a name otherwise.
            ("USER", "operator".to_owned()),
            ("OMP_NUM_THREADS", threads.clone()),
            ("OPENBLAS_NUM_THREADS", threads.clone()),
            (SPINNING.0, SPINNING.1.to_owned()),
            // Threads that spin take the cores away from the contender that is measured next.
            ("OMP_WAIT_POLICY", "passive".to_owned()),
            ("MKL_NUM_THREADS", threads),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        variables
    }
}

/// A program by its path from a folder, or by its name on PATH.
fn program(name: &str, folder: &Path) -> Option<PathBuf> {
    if name.contains('/') {
        let path = std::path::absolute(folder.join(name)).ok()?;
        return path.is_file().then_some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The user that a process becomes, or why it stays this one.
fn user() -> Result<u32, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can become another user".into());
    }
    Ok(USERS + std::process::id() % 500_000_000)
}
