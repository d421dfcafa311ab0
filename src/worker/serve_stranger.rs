//! A stranger's process: puts up its walls, says which it had, and opens the operator. A library is called from here; for
//! a Python module this process becomes the interpreter.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use contract::dtype::Dtype;
use record::baseline::Kind;
use record::operator::{OperatorKind, is_had};
use serde::{Deserialize, Serialize};

use super::device_case::handle_of;
use super::isolate::{Walls, as_bytes, filter_of_calls};
use super::message::{Lent, Reply, Request, Rival};
use super::process::MARK;
use super::serve::{Files, Refusal};
use super::wire::{Channel, WireError};
use crate::backend::cuda::{Buffer, Device};
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
                    Serving { channel, opening, library, is_locked, device: None }.cases()
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
    /// Opened for the first case that lies on it.
    device: Option<Arc<Device>>,
}

/// Sizes and dtypes of a case: m, k, n; those of inputs and of outputs.
type Shape = ([usize; 3], [Dtype; 2]);

impl Serving<'_> {
    /// Answers requests until the judge is gone.
    fn cases(mut self) -> Result<(), WireError> {
        let (mut request, mut files) = self.channel.receive(None)?;
        loop {
            let loaded = match request {
                Request::Load { m, k, n, slots, input, output, device } => {
                    let shape: Shape = ([m, k, n], [input, output]);
                    let matrices = match device {
                        None => Files::new(shape.0, slots, shape.1, files).map(Matrices::Host),
                        Some(lent) => self.borrow(shape, slots, &lent).map(Matrices::Device),
                    };
                    matrices.map(|matrices| (shape, matrices))
                }
                other => Err(Refusal::of(format!("{other:?} before any case"))),
            };
            (request, files) = match loaded {
                Ok((shape, matrices)) => {
                    self.channel.send(&Reply::Done { changes: 0 }, &[], None)?;
                    self.case(shape, matrices)?
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
        matrices: Matrices,
    ) -> Result<(Request, Vec<OwnedFd>), WireError> {
        let (a, mut calls) = matrices.into_parts();
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
                    Some(built) => self.run(shape, built, &slots, &mut calls),
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

    /// Opens memory of a device's custodian. The device is the only one that this process sees.
    fn borrow(
        &mut self,
        ([m, k, n], [input, output]): Shape,
        slots: usize,
        Lent { a, slots: handles, places }: &Lent,
    ) -> Result<Lending, Refusal> {
        let device = match self.device.take() {
            Some(device) => device,
            None => Device::open(0)?,
        };
        let device = self.device.insert(device);
        let [a_bytes, v_bytes, y_bytes] =
            [(m, k, input), (k, n, input), (m, n, output)].map(|(x, y, of)| x * y * of.size());
        let open = |handle: &str, bytes: usize| {
            let handle = handle_of(handle).ok_or_else(|| Refusal::of("no handle"))?;
            Buffer::open(device, handle, bytes).map(Arc::new).map_err(Refusal::machine)
        };
        let a = open(a, a_bytes)?;
        let v = open(&handles.v, slots * places.v_apart)?;
        let y = open(&handles.y, slots * places.y_apart + places.y_first)?;
        let calls = (0..slots).map(|slot| {
            let v = v.part(slot * places.v_apart, v_bytes);
            (v, y.part(places.y_first + slot * places.y_apart, y_bytes))
        });
        Ok(Lending { a: a.part(0, a_bytes), calls: calls.collect() })
    }

    fn build<'a>(
        &self,
        ([m, k, _], [dtype, _]): Shape,
        a: &'a OfA,
    ) -> Result<ForeignBuilt<'a>, Refusal> {
        let a = match a {
            // A mapping is never empty.
            OfA::Host(a) => {
                Elements::of(a.bytes().get(..dtype.size() * m * k).unwrap_or_default(), dtype)
            }
            OfA::Device(a) => Elements::on_cuda(a, dtype),
        };
        let Opening { arithmetic, threads, .. } = self.opening;
        let built = self.library.build(a, (m, k), arithmetic, *threads)?;
        self.finish()?;
        Ok(built)
    }

    /// Returns once a device has done all that it was given here.
    fn finish(&self) -> Result<(), Refusal> {
        match &self.device {
            Some(device) => Ok(device.synchronize_all()?),
            None => Ok(()),
        }
    }

    fn run(
        &mut self,
        ([_, k, n], [input, output]): Shape,
        built: &ForeignBuilt<'_>,
        slots: &[u32],
        calls: &mut Calls,
    ) -> Result<Reply, Refusal> {
        if !self.is_locked {
            let program = filter_of_calls().map_err(Refusal::machine)?;
            seccompiler::apply_filter_all_threads(&program).map_err(Refusal::machine)?;
            self.is_locked = true;
        }
        let size = input.size() * k * n;
        for &slot in slots {
            let slot = slot as usize;
            let (v, y) = match calls {
                Calls::Host(v, y) => {
                    let of_slot = v.bytes().get(slot * size..(slot + 1) * size);
                    let v = of_slot.ok_or_else(|| Refusal::of("no such input"))?;
                    (Elements::of(v, input), Elements::of_mut(y.bytes_mut(slot), output))
                }
                Calls::Device(calls) => {
                    let call = calls.get(slot).ok_or_else(|| Refusal::of("no such input"))?;
                    (Elements::on_cuda(&call.0, input), Elements::on_cuda(&call.1, output))
                }
            };
            built.apply(v, y, n)?;
        }
        self.finish()?;
        Ok(Reply::Done { changes: 0 })
    }
}

/// The matrices of a case, wherever they lie.
enum Matrices {
    Host(Files),
    Device(Lending),
}

/// A, and a V and a Y for each call.
struct Lending {
    a: Buffer,
    calls: Vec<(Buffer, Buffer)>,
}

enum OfA {
    Host(MappedInput),
    Device(Buffer),
}

enum Calls {
    Host(MappedInput, MappedOutputs),
    Device(Vec<(Buffer, Buffer)>),
}

impl Matrices {
    fn into_parts(self) -> (OfA, Calls) {
        match self {
            Matrices::Host(Files { a, v, y }) => (OfA::Host(a), Calls::Host(v, y)),
            Matrices::Device(Lending { a, calls }) => (OfA::Device(a), Calls::Device(calls)),
        }
    }
}
