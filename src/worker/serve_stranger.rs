//! A stranger's process: puts up its walls, says which it had, and opens the operator. A library is called from here; for
//! a Python module this process becomes the interpreter.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use contract::dtype::Dtype;
use record::baseline::Kind;
use record::operator::{OperatorKind, is_had};
use serde::{Deserialize, Serialize};

use super::isolate::{Walls, as_bytes, filter_of_calls};
use super::message::{Reply, Request, Rival};
use super::process::MARK;
use super::serve::{Files, Refusal};
use super::wire::{Channel, WireError};
use crate::backend::foreign::{Elements, ForeignBuilt, ForeignLibrary};
use crate::backend::namespaces;
use crate::backend::shared::{MappedInput, MappedOutputs};

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

/// Puts up the walls, answers which there are, and serves the operator until the judge is gone.
pub fn serve(opening: &Opening, channel: &Channel) -> Result<(), WireError> {
    let refuse = |reason: String| channel.send(&Reply::Failed { reason, refused: true }, &[], None);
    let layers = match opening.walls.put_up() {
        Ok(layers) => layers,
        Err(reason) => return refuse(reason),
    };
    let has_filter = is_had(&layers, "calls");
    channel.send(&Reply::Isolated { layers }, &[], None)?;
    if opening.only_walls {
        return Ok(());
    }
    match (opening.kind, &opening.interpreter) {
        (OperatorKind::Python, Some(interpreter)) => {
            let lock = match has_filter {
                true => filter_of_calls().map(|program| as_bytes(&program)),
                false => Ok(Vec::new()),
            };
            // Does not come back where that succeeds.
            let became = lock.and_then(|lock| become_python(opening, interpreter, &lock, channel));
            became.or_else(refuse)
        }
        _ => {
            namespaces::set_environment(&opening.environment);
            match ForeignLibrary::open(&opening.entry) {
                Ok(library) => {
                    let under_test = Rival {
                        name: UNDER_TEST.into(),
                        kind: Kind::Sparse,
                        library: String::new(),
                        version: String::new(),
                    };
                    let opened = Reply::Opened { rivals: vec![under_test], missing: Vec::new() };
                    channel.send(&opened, &[], None)?;
                    let is_locked = !has_filter;
                    Serving { channel, opening, library, is_locked }.cases()
                }
                Err(error) => refuse(error.to_string()),
            }
        }
    }
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

/// A library under test, and whom it answers.
struct Serving<'a> {
    channel: &'a Channel,
    opening: &'a Opening,
    library: &'static ForeignLibrary,
    /// Whether it can start no process any more, or the kernel has no filter for that.
    is_locked: bool,
}

/// Sizes and dtypes of a case: m, k, n; those of inputs and of outputs.
type Shape = ([usize; 3], [Dtype; 2]);

impl Serving<'_> {
    /// Answers requests until the judge is gone.
    fn cases(mut self) -> Result<(), WireError> {
        let (mut request, mut files) = self.channel.receive(None)?;
        loop {
            let loaded = match request {
                Request::Load { m, k, n, slots, input, output } => {
                    let shape: Shape = ([m, k, n], [input, output]);
                    Files::new(shape.0, slots, shape.1, files).map(|files| (shape, files))
                }
                other => Err(Refusal::of(format!("{other:?} before any case"))),
            };
            (request, files) = match loaded {
                Ok((shape, files)) => {
                    self.channel.send(&Reply::Done { changes: 0 }, &[], None)?;
                    self.case(shape, files)?
                }
                Err(refusal) => {
                    self.channel.send(&refusal.reply(), &[], None)?;
                    self.channel.receive(None)?
                }
            };
        }
    }

    /// Answers requests about one case, and gives the first request that is about another.
    fn case(
        &mut self,
        shape: Shape,
        Files { a, v, mut y }: Files,
    ) -> Result<(Request, Vec<OwnedFd>), WireError> {
        let mut built = HashMap::new();
        loop {
            let (request, files) = self.channel.receive(None)?;
            if matches!(request, Request::Load { .. }) {
                return Ok((request, files));
            }
            let reply = match request {
                Request::Build { id, .. } => {
                    built.remove(&id);
                    self.build(shape, &a).map(|new| {
                        built.insert(id, new);
                        Reply::Built { plan: "a library under test".into(), bytes_held: 0 }
                    })
                }
                Request::Run { id, slots } => match built.get(&id) {
                    Some(built) => self.run(shape, built, &slots, &v, &mut y),
                    None => Err(Refusal::of("not built")),
                },
                Request::Nothing { slots } => {
                    std::hint::black_box(slots);
                    Ok(Reply::Done { changes: 0 })
                }
                Request::Drop { id } => {
                    built.remove(&id);
                    Ok(Reply::Done { changes: 0 })
                }
                other => Err(Refusal::of(format!("{other:?} of an operator under test"))),
            };
            self.channel.send(&reply.unwrap_or_else(Refusal::reply), &[], None)?;
        }
    }

    fn build<'a>(
        &self,
        ([m, k, _], [dtype, _]): Shape,
        a: &'a MappedInput,
    ) -> Result<ForeignBuilt<'a>, Refusal> {
        // A mapping is never empty.
        let bytes = a.bytes().get(..dtype.size() * m * k).unwrap_or_default();
        let Opening { arithmetic, threads, .. } = self.opening;
        Ok(self.library.build(Elements { bytes, dtype }, (m, k), arithmetic, *threads)?)
    }

    fn run(
        &mut self,
        ([_, k, n], [input, output]): Shape,
        built: &ForeignBuilt<'_>,
        slots: &[u32],
        v: &MappedInput,
        y: &mut MappedOutputs,
    ) -> Result<Reply, Refusal> {
        if !self.is_locked {
            let program = filter_of_calls().map_err(Refusal::machine)?;
            seccompiler::apply_filter_all_threads(&program).map_err(Refusal::machine)?;
            self.is_locked = true;
        }
        let size = input.size() * k * n;
        for &slot in slots {
            let slot = slot as usize;
            let of_slot = v.bytes().get(slot * size..(slot + 1) * size);
            let v = Elements {
                bytes: of_slot.ok_or_else(|| Refusal::of("no such input"))?,
                dtype: input,
            };
            built.apply(v, Elements { bytes: y.bytes_mut(slot), dtype: output }, n)?;
        }
        Ok(Reply::Done { changes: 0 })
    }
}
