//! How long verifying the bits of cases takes on this machine: what it cannot do without, counted from the cases,
//! over rates that are timed on small slabs of them. Reads no weights and reaches no network or device: real weights
//! are stood in for by synthetic ones of their shape. Decides nothing.
//!
//! Left out: making the inputs, comparing, measuring, and whatever runs on a device.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use ndarray::Array2;

use crate::backend::cpu::{Isa, fill_synthetic};
use crate::operator::{DenseReference, Operator, Staged, skip_operator};
use contract::arithmetic::Arithmetic;
use contract::case::{Activations, Case, Weights};
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::inputs;
use contract::inputs::Recipe;
use contract::inputs::spec::{Pattern, Sparsity, Values};
use contract::strategy::Strategy;

/// What verifying the bits of a case takes, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// A, V, dense and operator output each whole and by panels, two perturbed outputs, and the f32 values of the
    /// tensor that real weights are from.
    pub bytes_hashed: u64,
    /// The dense reference once: 2 m k n.
    pub flops_dense: u64,
    /// The operator three times (plain, rebuilt, shifted), on what the pattern leaves alive.
    pub flops_operator: u64,
}

impl Work {
    pub fn of(case: &Case) -> Work {
        let (m, k, n) = (case.m as u64, case.k as u64, case.n as u64);
        let real = match case.weights {
            Weights::File { .. } | Weights::Hub { .. } => 4 * m * k,
            Weights::Synthetic(_) | Weights::Drawn(_) | Weights::Numpy => 0,
        };
        let live = match case.pattern {
            Pattern::None => m * k,
            Pattern::RowMagnitude => case.sparsity.live_of(m) * k,
            Pattern::DeadExperts { rows } => {
                let rows = (rows as u64).max(1);
                case.sparsity.live_of(m.div_ceil(rows)) * rows.min(m) * k
            }
            Pattern::Uniform
            | Pattern::ElementMagnitude
            | Pattern::PowerLaw
            | Pattern::TwoOfFour
            | Pattern::Block { .. } => case.sparsity.live_of(m * k),
        };
        // Products of three dimensions may not fit where m, k and n are all at their limits.
        let flops = |products: u64| products.saturating_mul(2).saturating_mul(n);
        Work {
            bytes_hashed: (m * k + k * n) * case.dtype.size() as u64
                + 6 * m * n * case.output.size() as u64
                + real,
            flops_dense: flops(m * k),
            flops_operator: flops(live).saturating_mul(3),
        }
    }
}

/// Seconds that one core takes for a case, by kind of work.
#[derive(Clone, Copy, Debug, Default)]
struct Seconds {
    dense: f64,
    operator: f64,
}

/// What decides how fast the kernels are.
type Kind = (Arithmetic, Dtype, Dtype, Pattern, Sparsity, Strategy);

fn kind(case: &Case) -> Kind {
    (case.arithmetic, case.dtype, case.output, case.pattern, case.sparsity, case.strategy)
}

/// How long cases will take, and what of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    pub cases: usize,
    pub bytes_hashed: u64,
    /// On the CPU.
    pub flops: u64,
    pub hash_bytes_per_s: f64,
    /// On one core.
    pub hash_s: f64,
    pub flops_s: f64,
    pub cores: usize,
    /// Operators that run on a device: not counted.
    pub on_device: usize,
    /// What finding the rates took.
    pub calibration_s: f64,
}

impl Prediction {
    /// All of it, shared by the cores without loss.
    pub fn seconds(&self) -> f64 {
        (self.hash_s + self.flops_s) / self.cores.max(1) as f64
    }

    /// What it is likely to take: the shipped manifests took 1.07 to 1.75 times the limit, on processors of AMD and Intel,
    /// and some milliseconds a case.
    pub fn likely_s(&self) -> f64 {
        1.35 * self.seconds() + 0.005 * self.cases as f64
    }

    /// What it took in words, beside this, which is a lower limit.
    pub fn beside(&self, took_s: f64, processor_s: Option<f64>) -> String {
        let ratio = took_s / self.seconds();
        let processor = processor_s.map_or(String::new(), |processor_s| {
            let ratio = processor_s / (self.hash_s + self.flops_s);
            format!("; {} of processor time, {ratio:.2} times", seconds(processor_s))
        });
        format!("{}, {ratio:.2} times that limit{processor}", seconds(took_s))
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cases, cores) = (self.cases, self.cores);
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{cases} case{}, {} hashed at {:.1} GB/s a core + {:.1e} flops at each arithmetic's single-core rate, \
             on {cores} core{}: at least {}, likely {}",
            plural(cases),
            bytes(self.bytes_hashed),
            self.hash_bytes_per_s / 1e9,
            self.flops as f64,
            plural(cores),
            seconds(self.seconds()),
            seconds(self.likely_s())
        )?;
        match self.on_device {
            0 => Ok(()),
            count => write!(f, " (without {count} operator{} on a device)", plural(count)),
        }
    }
}

fn bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        _ if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        _ if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

/// Two digits at least.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 10.0 => format!("{seconds:.1} s"),
        _ if seconds < 600.0 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// Seconds of processor time that this process has taken so far, all threads together, where the system tells. On a
/// machine with other work it says more than the clock does.
pub fn processor_s() -> Option<f64> {
    // What Linux counts in for programs, whatever its own clock.
    const TICKS_PER_S: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

/// Of the predicted time, at most this part is spent to find the rates, ...
const SHARE_MAX: f64 = 0.02;
/// ... and at most this.
const BUDGET_S_MAX: f64 = 2.0;
/// Operations of a slab at most.
const SLAB_FLOPS_MAX: f64 = 4e8;
/// Rates of the dense kernels, for what there is no time to find out: of one core with AVX2.
const FLOPS_PER_S: f64 = 5e10;
const FLOPS_PER_S_FIXED_POINT: f64 = 3e10;
const FLOPS_PER_S_TENSOR_CORE: f64 = 1.5e10;
const FLOPS_PER_S_BINARY64: f64 = 1e9;
const HASH_BYTES_PER_S: f64 = 2e9;

/// Predicts what verifying the bits of `cases` takes; `true` stands beside those whose operator runs on a device.
pub fn predict(cases: &[(&Case, bool)], isa: Isa, threads: usize) -> Prediction {
    let start = Instant::now();
    let cores = std::thread::available_parallelism().map_or(threads, |cores| cores.get());
    let mut prediction = Prediction {
        cases: cases.len(),
        cores: threads.min(cores).max(1),
        ..Prediction::default()
    };
    let mut guess_s = 0.0;
    // Kind -> its costliest case and the dense operations of all.
    let mut kinds: HashMap<Kind, (&Case, f64)> = HashMap::new();
    for &(case, on_device) in cases {
        let work = Work::of(case);
        prediction.bytes_hashed = prediction.bytes_hashed.saturating_add(work.bytes_hashed);
        prediction.flops = prediction.flops.saturating_add(work.flops_dense);
        if on_device {
            prediction.on_device += 1;
        } else {
            prediction.flops = prediction.flops.saturating_add(work.flops_operator);
        }
        let flops = work.flops_dense as f64;
        let guess = guess(case);
        guess_s += (guess.dense + guess.operator) * flops;
        let (largest, sum) = kinds.entry(kind(case)).or_insert((case, 0.0));
        *sum += flops;
        if work.flops_dense > Work::of(largest).flops_dense {
            *largest = case;
        }
    }
    let guess_s = guess_s + prediction.bytes_hashed as f64 / HASH_BYTES_PER_S;
    let budget_s = (SHARE_MAX * guess_s / prediction.cores as f64).min(BUDGET_S_MAX);
    let deadline = start + Duration::from_secs_f64(budget_s.max(0.0));

    let hash_rate_before = hash_rate(budget_s);
    let mut kinds: Vec<(Kind, (&Case, f64))> = kinds.into_iter().collect();
    // What matters most comes first, in an order that does not depend on the table's.
    kinds.sort_by(|(_, (a, x)), (_, (b, y))| y.total_cmp(x).then_with(|| a.id.cmp(&b.id)));
    let slab_s = budget_s / (4 * kinds.len().max(1)) as f64;
    let mut rates: HashMap<Kind, Seconds> = HashMap::new();
    let mut slabs = Slabs { isa, activations: None };
    for (kind, (case, _)) in &kinds {
        // One at least, for runs of milliseconds.
        if !rates.is_empty() && Instant::now() >= deadline {
            break;
        }
        if let Some(rate) = slabs.time(case, slab_s) {
            rates.insert(*kind, rate);
        }
    }
    // Other work on the machine slows it for moments: rates are the best seen.
    prediction.hash_bytes_per_s = hash_rate_before.max(hash_rate(budget_s));
    for &(case, on_device) in cases {
        let rate = rates.get(&kind(case)).copied().unwrap_or_else(|| nearest(case, &rates));
        let operator = if on_device { 0.0 } else { rate.operator };
        prediction.flops_s += Work::of(case).flops_dense as f64 * (rate.dense + 3.0 * operator);
    }
    prediction.hash_s = prediction.bytes_hashed as f64 / prediction.hash_bytes_per_s;
    prediction.calibration_s = start.elapsed().as_secs_f64();
    prediction
}

/// Seconds for an operation of the dense product, from a table.
fn guess(case: &Case) -> Seconds {
    let dense = match case.arithmetic {
        Arithmetic::TensorCore(_) => FLOPS_PER_S_TENSOR_CORE,
        Arithmetic::Bounded => FLOPS_PER_S_BINARY64,
        Arithmetic::F32Chain(_) | Arithmetic::Exact => FLOPS_PER_S,
        Arithmetic::FixedPoint => FLOPS_PER_S_FIXED_POINT,
        Arithmetic::Bf16Dot(_) => FLOPS_PER_S,
    };
    // A bounded case's operator is the chain's.
    let operator = match case.arithmetic {
        Arithmetic::Bounded => FLOPS_PER_S,
        Arithmetic::F32Chain(_)
        | Arithmetic::TensorCore(_)
        | Arithmetic::Bf16Dot(_)
        | Arithmetic::Exact
        | Arithmetic::FixedPoint => dense,
    };
    let live = 1.0 - case.sparsity.as_f64();
    Seconds { dense: 1.0 / dense, operator: (1.5 * live).min(1.0) / operator }
}

/// The rate of the timed kind with the same arithmetic whose sparsity is nearest, else that of the table.
fn nearest(case: &Case, rates: &HashMap<Kind, Seconds>) -> Seconds {
    let distance = |kind: &Kind| {
        (kind.4.as_f64() - case.sparsity.as_f64()).abs() + f64::from(kind.3 != case.pattern)
    };
    rates
        .iter()
        .filter(|(kind, _)| kind.0 == case.arithmetic)
        .min_by(|(a, _), (b, _)| distance(a).total_cmp(&distance(b)))
        .map_or_else(|| guess(case), |(_, rate)| *rate)
}

/// Bytes that a core hashes in a second.
fn hash_rate(budget_s: f64) -> f64 {
    // As much as a thread works on at once.
    const BYTES_MAX: f64 = (8 << 20) as f64;
    let bytes = vec![1; (budget_s / 64.0 * HASH_BYTES_PER_S).clamp(4096.0, BYTES_MAX) as usize];
    let best_s = best_of(2, || {
        black_box(Digest::of(black_box(&bytes)));
        Some(())
    });
    best_s.map_or(HASH_BYTES_PER_S, |best_s| bytes.len() as f64 / best_s.max(1e-9))
}

/// The shortest of so many rounds on this thread, in seconds of its processor time: other work on the machine may stop a slab
/// for longer than it takes, and what is printed is a lower limit.
fn best_of(rounds: usize, mut run: impl FnMut() -> Option<()>) -> Option<f64> {
    let now_s = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
    };
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let start_s = now_s();
        run()?;
        best = best.min(now_s() - start_s);
    }
    Some(best)
}

/// V of a slab, with what decides it.
type SlabActivations = ((usize, usize, Dtype, Values), Array2<f32>);

struct Slabs {
    isa: Isa,
    /// The last V: the levels of a sweep share it.
    activations: Option<SlabActivations>,
}

impl Slabs {
    /// Times both kernels of a case on a slab of it that takes about `slab_s` each; `None` where they refuse it.
    fn time(&mut self, case: &Case, slab_s: f64) -> Option<Seconds> {
        const COLUMNS: Range<usize> = 64..256;
        // As many as an audit works on at once: kernels for single elements are slow with fewer.
        const ROWS: usize = 192;
        let flops = (slab_s / guess(case).dense).min(SLAB_FLOPS_MAX);
        // All of k: slices and groups are of the whole.
        let k = case.k;
        let of_k = 2.0 * k.max(1) as f64;
        // Whole panels of V, up to four; then as many rows as there is time for.
        let n = (flops / (of_k * ROWS as f64)) as usize / 64 * 64;
        let n = n.clamp(COLUMNS.start, COLUMNS.end).min(case.n);
        let m = (flops / (of_k * n.max(1) as f64)) as usize;
        let m = m.clamp(8, 4 * ROWS).min(case.m);
        let flops = 2.0 * m as f64 * k as f64 * n as f64;
        if flops == 0.0 {
            return None;
        }
        let values = match case.weights {
            Weights::Synthetic(values) => values,
            Weights::Drawn(_) | Weights::Numpy => Values::Uniform,
            Weights::File { .. } | Weights::Hub { .. } => Values::HeavyTailed,
        };
        let mut recipe = Recipe { m, ..case.recipe() };
        // A slab is less than an expert: as much of it lives if its rows are experts.
        if let Pattern::DeadExperts { rows } = &mut recipe.pattern {
            *rows = 1;
        }
        let source = Box::new(recipe.values(values, fill_synthetic));
        let weights = recipe.synthetic(values, source, &mut None, 1).ok()?;
        let a = weights.rows(0..m).ok()?;
        let of_v = match case.activations {
            Activations::Synthetic(values) => values,
            Activations::Drawn | Activations::Numpy => Values::Uniform,
        };
        let key = (k, n, case.dtype, of_v);
        let (_, v) = match self.activations.take() {
            Some(held) if held.0 == key => self.activations.insert(held),
            _ => {
                let v = inputs::activations(case.seed, of_v, (k, n), case.dtype, fill_synthetic, 1);
                self.activations.insert((key, v))
            }
        };
        let reference =
            DenseReference { arithmetic: case.arithmetic, output: case.output, isa: self.isa };
        let operator = skip_operator(case, self.isa);
        Some(Seconds {
            dense: apply_s(&reference, &a, v)? / flops,
            operator: apply_s(&*operator, &a, v)? / flops,
        })
    }
}

/// Seconds of one application, V staged before.
fn apply_s(operator: &dyn Operator, a: &Array2<f32>, v: &Array2<f32>) -> Option<f64> {
    let built = operator.build(a.view()).ok()?;
    let mut staged = Staged::default();
    operator.stage(v.view(), &mut staged, 1).ok()?;
    let mut y = Array2::zeros((a.nrows(), v.ncols()));
    best_of(2, || built.apply(v.view(), &staged, y.view_mut(), 1).ok())
}
