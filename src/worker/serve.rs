//! The worker's side: one request after the other, until the judge is gone. Vendors' libraries of the CPU are called from
//! here and nowhere else; `serve_device` is the same for a device. Damage that they do to this process stays in it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::parent_id;
use std::sync::{Arc, OnceLock};

use ndarray::{ArrayView2, ArrayViewMut2};
use rustix::process::{Signal, set_parent_process_death_signal};

use contract::dtype::Dtype;

use super::message::{Contender, Reply, Request, Rival, VERSION};
use super::process::MARK;
use super::wire::{Channel, WireError};
use super::{serve_device, serve_stranger};
use crate::backend::cpu::{
    CacheFlush, Isa, float_environment_is_ieee, keep_freed_memory, reset_float_environment,
    with_threads,
};
use crate::backend::cuda::CudaError;
use crate::backend::shared::{MappedInput, MappedOutputs};
use crate::baseline::{self, Baselines, GemmRs, Grouped, Host};
use crate::operator::{Built, Error, Operator, SkipOperator, Staged};
use crate::panics;

/// Host and channel of the worker that this process is; `None` if the process is none. A worker dies with its parent
/// from now on.
pub fn role() -> Option<Result<(Host, Channel), String>> {
    let mark = std::env::var(MARK).ok()?;
    let take = || {
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
        let (parent, host) = mark.split_once(' ').ok_or("not named")?;
        // Asked after the signal is set: a parent that died before is noticed here.
        if parent != parent_id().to_string() {
            return Err("its parent is not the one that was named".to_owned());
        }
        let host = Host::named(host).ok_or_else(|| format!("`{host}` is unknown"))?;
        // Nothing that is opened here finds the channel as its standard input.
        let channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3);
        let channel = channel.map_err(|error| error.to_string())?;
        let nothing = std::fs::File::open("/dev/null").map_err(|error| error.to_string())?;
        rustix::stdio::dup2_stdin(&nothing).map_err(|error| error.to_string())?;
        Ok((host, Channel::of(channel)))
    };
    Some(take().map_err(|what| {
        format!("a worker could not start: {what}\nhint: {MARK} is set by `verify` alone")
    }))
}

/// Answers requests until the judge is gone, or until something fails that is no fault of a contender.
pub fn serve(host: Host, channel: &Channel) -> Result<(), WireError> {
    keep_freed_memory();
    let (threads, opening) = match (host, channel.receive(None)?.0) {
        (Host::Stranger, Request::OpenStranger(opening)) => (opening.threads, Some(opening)),
        (_, Request::Open { version: VERSION, threads }) => (threads, None),
        (_, other) => return Err(WireError::Malformed(format!("{other:?} as the first request"))),
    };
    if let Some(opening) = opening {
        return serve_stranger::serve(&opening, channel);
    }
    let mut serving = None;
    if matches!(host, Host::Cuda | Host::CudaLibraries) {
        channel.send(&Reply::Done { changes: 0 }, &[], None)?;
        let served = with_threads(threads, || serve_device::serve(channel));
        return served.map_err(|error| WireError::Malformed(error.to_string()))?;
    }
    // Libraries are opened before threads are started: some look at the environment only then.
    let reply = match panics::catch(|| baseline::of(host, threads)) {
        Ok(baselines) => {
            let rivals = baselines.available.iter().map(|baseline| Rival {
                name: baseline.operator.name(),
                kind: baseline.kind,
                library: baseline.library.clone(),
                version: baseline.version.clone(),
            });
            let reply =
                Reply::Opened { rivals: rivals.collect(), missing: baselines.missing.clone() };
            serving = Some(Serving { channel, baselines, threads, flush: OnceLock::new() });
            reply
        }
        Err(panicked) => Refusal::machine(panicked).reply(),
    };
    channel.send(&reply, &[], None)?;
    let Some(serving) = serving else { return Ok(()) };
    let served = with_threads(threads, || serving.cases());
    served.map_err(|error| WireError::Malformed(error.to_string()))?
}

/// Bytes of caches, at most: twice as many are taken to empty them.
const CACHES_MAX: u64 = 16 << 30;

struct Serving<'a> {
    channel: &'a Channel,
    baselines: Baselines,
    threads: usize,
    /// Made for the first request; later ones have caches of the same size.
    flush: OnceLock<CacheFlush>,
}

/// A contender built from the A of a case, with its own form of V.
struct Held<'a> {
    operator: Arc<dyn Operator>,
    built: Box<dyn Built + 'a>,
    staged: Staged,
}

impl Serving<'_> {
    fn cases(&self) -> Result<(), WireError> {
        let mut next = self.channel.receive(None)?;
        loop {
            let (request, files) = next;
            let loaded = match request {
                Request::Load {
                    m,
                    k,
                    n,
                    slots,
                    input: Dtype::F32,
                    output: Dtype::F32,
                    device: None,
                } => {
                    let dtypes = [Dtype::F32; 2];
                    Files::new([m, k, n], slots, dtypes, files).map(|files| ([m, k, n], files))
                }
                other => Err(Refusal::of(format!("{other:?} before any case"))),
            };
            match loaded {
                Ok((shape, files)) => {
                    self.channel.send(&Reply::Done { changes: 0 }, &[], None)?;
                    next = self.case(shape, files)?;
                }
                Err(refusal) => {
                    self.channel.send(&refusal.reply(), &[], None)?;
                    next = self.channel.receive(None)?;
                }
            }
        }
    }

    /// Answers requests about one case, and gives the first request that is about another.
    fn case(
        &self,
        [m, k, n]: [usize; 3],
        files: Files,
    ) -> Result<(Request, Vec<OwnedFd>), WireError> {
        let Files { a, v, mut y } = files;
        let Ok(a) = view(a.values(), (m, k)) else { unreachable!("mapped with this size") };
        let mut held: HashMap<u32, Held<'_>> = HashMap::new();
        loop {
            let (request, files) = self.channel.receive(None)?;
            if matches!(request, Request::Load { .. }) {
                return Ok((request, files));
            }
            let answer = panics::catch(|| match request {
                Request::Build { id, contender } => {
                    // The contender before is dropped first: two would hold twice the memory.
                    held.remove(&id);
                    let operator = self.operator(&contender)?;
                    let built = operator.build(a)?;
                    let (plan, bytes_held) = (built.plan().to_string(), built.bytes_held());
                    held.insert(id, Held { operator, built, staged: Staged::default() });
                    Ok(Reply::Built { plan, bytes_held })
                }
                Request::Run { id, slots } => {
                    let held = held.get_mut(&id).ok_or_else(|| Refusal::of("not built"))?;
                    for slot in slots {
                        let slot = slot as usize;
                        let v = v.values().get(slot * k * n..(slot + 1) * k * n);
                        let v = view(v.ok_or_else(|| Refusal::of("no such input"))?, (k, n))?;
                        let y = ArrayViewMut2::from_shape((m, n), y.get_mut(slot));
                        let y = y.map_err(Refusal::machine)?;
                        let Held { operator, built, staged } = held;
                        operator
                            .stage(v, staged, self.threads)
                            .and_then(|()| built.apply(v, staged, y, self.threads))?;
                    }
                    Ok(Reply::Done { changes: 0 })
                }
                Request::Nothing { slots } => {
                    std::hint::black_box(slots);
                    Ok(Reply::Done { changes: 0 })
                }
                Request::Drop { id } => {
                    held.remove(&id);
                    Ok(Reply::Done { changes: 0 })
                }
                Request::Flush { bytes } => {
                    if bytes > CACHES_MAX {
                        return Err(Refusal::of("no processor has such caches"));
                    }
                    self.flush.get_or_init(|| CacheFlush::new(bytes)).flush();
                    Ok(Reply::Done { changes: 0 })
                }
                Request::Open { .. }
                | Request::OpenStranger(_)
                | Request::Load { .. }
                | Request::Device(_) => Err(Refusal::of("not now")),
            });
            let mut reply = answer
                .unwrap_or_else(|panicked| Err(Refusal::machine(panicked)))
                .unwrap_or_else(Refusal::reply);
            // A library may leave the thread's modes changed.
            if !float_environment_is_ieee() {
                reset_float_environment();
                if let Reply::Done { changes } = &mut reply {
                    *changes += 1;
                }
            }
            self.channel.send(&reply, &[], None)?;
        }
    }

    fn operator(&self, contender: &Contender) -> Result<Arc<dyn Operator>, Refusal> {
        match contender {
            Contender::Own { arithmetic, output, strategy, isa } => {
                let isa = Isa::available().find(|known| known.to_string() == *isa);
                Ok(Arc::new(SkipOperator {
                    arithmetic: *arithmetic,
                    output: *output,
                    strategy: *strategy,
                    isa: isa.ok_or_else(|| Refusal::of("an unknown dispatch path"))?,
                }))
            }
            Contender::Rival(name) => {
                let mut all = self.baselines.available.iter();
                let rival = all.find(|baseline| baseline.operator.name() == *name);
                Ok(rival.ok_or_else(|| Refusal::of("no such rival"))?.operator.clone())
            }
            Contender::Grouped { rows } => Ok(Arc::new(Grouped { library: GemmRs, rows: *rows })),
        }
    }
}

/// A matrix of these values.
pub(super) fn view(
    values: &[f32],
    (rows, cols): (usize, usize),
) -> Result<ArrayView2<'_, f32>, Refusal> {
    // A mapping is never empty.
    let values = values.get(..rows * cols).ok_or_else(|| Refusal::of("too few values"))?;
    ArrayView2::from_shape((rows, cols), values).map_err(Refusal::machine)
}

/// Why a request was not done.
#[derive(Debug)]
pub(super) struct Refusal {
    reason: String,
    /// Whether no machine could do it.
    refused: bool,
}

impl Refusal {
    /// Something that is not to be asked.
    pub fn of(reason: impl std::fmt::Display) -> Refusal {
        Refusal { reason: reason.to_string(), refused: true }
    }

    /// Something that failed.
    pub fn machine(reason: impl std::fmt::Display) -> Refusal {
        Refusal { reason: reason.to_string(), refused: false }
    }

    pub fn reply(self) -> Reply {
        // A message holds no more, and a library may have much to say.
        const CHARS_MAX: usize = 2000;
        let reason = self.reason.chars().take(CHARS_MAX).collect();
        Reply::Failed { reason, refused: self.refused }
    }
}

impl From<CudaError> for Refusal {
    fn from(error: CudaError) -> Refusal {
        Refusal::machine(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let refused = matches!(error, Error::Unsupported(_));
        Refusal { reason: error.to_string(), refused }
    }
}

/// The three files of a case, mapped.
pub(super) struct Files {
    pub a: MappedInput,
    pub v: MappedInput,
    pub y: MappedOutputs,
}

impl Files {
    /// A is m x k; of V (k x n) and Y (m x n) there are `slots` each. A and V are of the first dtype, Y is of the second.
    pub fn new(
        [m, k, n]: [usize; 3],
        slots: usize,
        [input, output]: [Dtype; 2],
        files: Vec<OwnedFd>,
    ) -> Result<Files, Refusal> {
        let [a, v, y] = three(files)?;
        let input = |file, sizes: &[usize]| {
            MappedInput::new(file, product(sizes)?, input).map_err(Refusal::machine)
        };
        Ok(Files {
            a: input(a, &[m, k])?,
            v: input(v, &[slots, k, n])?,
            y: MappedOutputs::new(y, slots, product(&[m, n])?, output).map_err(Refusal::machine)?,
        })
    }
}

/// Exactly three files.
pub(super) fn three(files: Vec<OwnedFd>) -> Result<[OwnedFd; 3], Refusal> {
    <[OwnedFd; 3]>::try_from(files).map_err(|_| Refusal::of("three files are wanted"))
}

/// Elements of so many sizes.
pub(super) fn product(sizes: &[usize]) -> Result<usize, Refusal> {
    let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    product.ok_or_else(|| Refusal::of("too many elements"))
}
