//! A stranger's process: puts up its walls, says which it had, and opens the operator. A library is called from here; for
//! a Python module this process becomes the interpreter.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use ndarray::{ArrayView2, ArrayViewMut2};
use serde::{Deserialize, Serialize};

use super::isolate::{Walls, as_bytes, filter_of_calls};
use super::message::Reply;
use super::process::MARK;
use super::wire::{Channel, WireError};
use crate::backend::foreign::{ForeignBuilt, ForeignLibrary};
use crate::backend::namespaces;
use crate::baseline::{Baseline, Baselines};
use crate::operator::{Built, Error, Operator, Plan, Staged};
use contract::strategy::Strategy;
use record::baseline::Kind;
use record::operator::{OperatorKind, is_had};

/// The name by which an operator under test is asked for in its own process.
pub const UNDER_TEST: &str = "operator";

/// What a Python operator is run by.
pub const BOOTSTRAP: (&str, &str) = ("bootstrap.py", include_str!("bootstrap.py"));

/// What a stranger's process is to open, and how it is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Opening {
    pub walls: Walls,
    pub kind: OperatorKind,
    /// The library, or the module.
    pub entry: PathBuf,
    /// Variables of its file: set behind the walls, where the loader of this program has run.
    pub environment: BTreeMap<String, String>,
    /// Of Python only.
    pub interpreter: Option<PathBuf>,
    /// The name of the case's arithmetic.
    pub arithmetic: String,
    pub threads: usize,
    /// Whether nothing is opened: only the walls are asked for.
    pub only_walls: bool,
}

/// Puts up the walls, answers which there are, and opens a library. Does not come back for a Python module.
pub fn open(opening: &Opening, channel: &Channel) -> Result<Baselines, WireError> {
    let mut all = Baselines { available: Vec::new(), missing: Vec::new() };
    let refuse = |reason: String| channel.send(&Reply::Failed { reason, refused: true }, &[], None);
    let layers = match opening.walls.put_up() {
        Ok(layers) => layers,
        Err(reason) => {
            refuse(reason)?;
            return Ok(all);
        }
    };
    let has_filter = is_had(&layers, "calls");
    channel.send(&Reply::Isolated { layers }, &[], None)?;
    if opening.only_walls {
        return Ok(all);
    }
    match (opening.kind, &opening.interpreter) {
        (OperatorKind::Python, Some(interpreter)) => {
            let lock = match has_filter {
                true => filter_of_calls().map(|program| as_bytes(&program)),
                false => Ok(Vec::new()),
            };
            let became = lock.and_then(|lock| become_python(opening, interpreter, &lock, channel));
            if let Err(reason) = became {
                refuse(reason)?;
            }
        }
        _ => match open_library(opening) {
            Ok(library) => all.available.push(Baseline {
                operator: Arc::new(Foreign {
                    library,
                    arithmetic: opening.arithmetic.clone(),
                    threads: opening.threads,
                    lock: Arc::new(Lock { is_wanted: has_filter, put_on: OnceLock::new() }),
                }),
                kind: Kind::Sparse,
                library: String::new(),
                version: String::new(),
            }),
            Err(error) => refuse(error.to_string())?,
        },
    }
    Ok(all)
}

fn open_library(opening: &Opening) -> Result<&'static ForeignLibrary, Error> {
    namespaces::set_environment(&opening.environment);
    ForeignLibrary::open(&opening.entry)
}

/// Comes back only with the reason why that failed.
fn become_python(
    opening: &Opening,
    interpreter: &PathBuf,
    lock: &[u8],
    channel: &Channel,
) -> Result<(), String> {
    let bootstrap = opening.walls.folder.join(BOOTSTRAP.0);
    rustix::io::fcntl_setfd(channel, rustix::io::FdFlags::empty())
        .map_err(|error| error.to_string())?;
    let socket = std::os::fd::AsFd::as_fd(channel).as_raw_fd();
    let lock: String = lock.iter().map(|byte| format!("{byte:02x}")).collect();
    let error = Command::new(interpreter)
        // Neither the environment nor the folder of the file decides what is imported.
        .args(["-I", "-B"])
        .args([bootstrap.as_os_str(), socket.to_string().as_ref(), opening.entry.as_os_str()])
        .arg(lock)
        .env_remove(MARK)
        .envs(&opening.environment)
        .exec();
    Err(format!("failed to run {}: {error}", interpreter.display()))
}

/// A library under test, among what a worker calls.
struct Foreign {
    library: &'static ForeignLibrary,
    arithmetic: String,
    threads: usize,
    lock: Arc<Lock>,
}

/// The filter that is put on before the first call, once.
struct Lock {
    /// Whether the kernel filters this process's calls at all.
    is_wanted: bool,
    put_on: OnceLock<Result<(), String>>,
}

impl Lock {
    fn put_on(&self) -> Result<(), Error> {
        let put_on = self.put_on.get_or_init(|| match self.is_wanted {
            true => filter_of_calls().and_then(|program| {
                seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
            }),
            false => Ok(()),
        });
        put_on.clone().map_err(Error::Environment)
    }
}

impl Operator for Foreign {
    fn name(&self) -> String {
        UNDER_TEST.to_owned()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let values = a.to_slice().ok_or_else(|| Error::Unsupported("A is not row-major".into()))?;
        let built = self.library.build(values, a.dim(), &self.arithmetic, self.threads)?;
        Ok(Box::new(BuiltForeign { built, lock: self.lock.clone() }))
    }
}

struct BuiltForeign<'a> {
    built: ForeignBuilt<'a>,
    lock: Arc<Lock>,
}

impl Built for BuiltForeign<'_> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        _threads: usize,
    ) -> Result<(), Error> {
        self.lock.put_on()?;
        let not_dense = || Error::Unsupported("V and Y are not row-major".into());
        let n = v.ncols();
        let v = v.to_slice().ok_or_else(not_dense)?;
        self.built.apply(v, y.as_slice_mut().ok_or_else(not_dense)?, n)
    }

    fn bytes_held(&self) -> usize {
        0
    }

    fn plan(&self) -> Plan {
        Plan { strategy: Strategy::Auto, reason: "its own".into() }
    }
}
