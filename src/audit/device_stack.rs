//! A whole stack on a CUDA device: one call goes from its input to its end.
//!
//! A column of the end depends on the same column of the input alone, so that elements of a timed call are recomputed here,
//! through all layers, from the columns that they stand in.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ndarray::{Array2, ArrayView1, ArrayView2};

use super::device::{self, Found, failed, note};
use super::timing::{self, Secret};
use super::{Auditor, Made, Measuring, activations};
use crate::backend::cpu::with_threads;
use crate::baseline::cuda::{DeadRows, DeviceRival, Precision};
use crate::check::bits::{Bits, positive_zeros};
use crate::machine;
use crate::measure::{
    self, Called, Calls, Contender, DevicePlatform, DeviceSlots, EnergyCounter, Instruments,
    OnDeviceNamed, Part, Plan, SharedA,
};
use crate::operator::{Built, Operator, SKIP_DEVICE, Staged, skip_operator};
use crate::worker::message::Stacked;
use crate::worker::{Place as Process, RemoteDevice, RemoteMonitor};
use contract::case::Case;
use contract::digest::digest_of_output;
use contract::dtype::Dtype;
use contract::stack::{Flow, Place, Stack};
use contract::threads;
use record::baseline::Missing;
use record::manifest::Manifest;
use record::timings::{Roofline, TimedInputs};

/// Rows of A that a thread makes at once.
const ROWS_AT_ONCE: usize = 64;

/// Largest distance of a rival's column from the right one, as a share of its norm. No bound is proven for it: each layer
/// rounds what the ones before it gave. It tells a rival that multiplies all layers from one that does not.
fn share_max(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 1.0 / 128.0,
        Dtype::Bf16 | Dtype::F16 => 0.125,
    }
}

/// Columns of a block that may be further away: where the largest magnitude of a column lies beside a power of two, a rival's
/// rounding may scale it by another.
const FAR_COLUMNS_SHARE: f64 = 0.25;

/// A stack as it is measured: the A's of its layers, and its input.
pub struct Whole {
    pub layers: SharedA,
    pub input: Array2<f32>,
    /// Draws the inputs of timed calls.
    pub first: Case,
}

impl Auditor<'_> {
    /// The stack that a case ends.
    pub(super) fn whole(
        &mut self,
        manifest: &Manifest,
        case: &Case,
        place: &Place,
    ) -> Result<Whole, String> {
        let stack = &place.stack;
        let elements: usize = stack.all().map(|layer| layer.m * layer.k).sum();
        // A on the host, what checks build of it, and a worker's copy of a layer.
        let bytes = 4.0 * elements as f64 * 2.5;
        if let Some(available) = machine::memory_available()
            && bytes > available.bytes as f64 * 0.9
        {
            return Err(format!(
                "{} of {} layers takes about {:.1} GB of the {:.1} GB available (limit: {})",
                timing::TIMED,
                stack.count(),
                bytes / 1e9,
                available.bytes as f64 / 1e9,
                available.limit
            ));
        }
        let at = manifest.cases.iter().position(|known| known.id == case.id);
        let first = at.and_then(|at| at.checked_sub(place.index()));
        let cases = first.map(|first| &manifest.cases[first..=first + place.index()]);
        let cases = cases.unwrap_or_else(|| unreachable!("a stack's cases follow each other"));
        let input = activations(&cases[0], self.threads).map_err(|stop| failed(&stop.reason))?;
        let stacked = Stacked { layers: (**stack).clone(), dtype: case.dtype };
        let layers = SharedA::of_stack(stacked, |at, values| {
            let Made { weights, .. } =
                self.weights(manifest, &cases[at]).map_err(|stop| stop.reason)?;
            let k = cases[at].k;
            let error = Mutex::new(None);
            threads::fill(self.threads, values, ROWS_AT_ONCE * k, |first, part| {
                match weights.rows(first / k..(first + part.len()) / k) {
                    Ok(a) => part.iter_mut().zip(&a).for_each(|(to, &from)| *to = from),
                    Err(why) => {
                        error.lock().unwrap_or_else(PoisonError::into_inner).replace(why);
                    }
                }
            });
            match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(why) => Err(why.to_string()),
                None => Ok(()),
            }
        });
        let layers = layers.map_err(|error| failed(&error))?;
        Ok(Whole { layers, input, first: cases[0].clone() })
    }
}

/// Our own operator on this processor, built of every layer.
struct Host<'a> {
    stack: Arc<Stack>,
    dtype: Dtype,
    operator: &'a dyn Operator,
    built: Vec<Box<dyn Built + 'a>>,
    threads: usize,
}

impl<'a> Host<'a> {
    fn new(
        case: &Case,
        place: &Place,
        layers: &'a SharedA,
        operator: &'a dyn Operator,
        threads: usize,
    ) -> Result<Host<'a>, String> {
        let built = (0..place.stack.count()).map(|at| operator.build(layers.layer(at)));
        let built = built.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Ok(Host { stack: place.stack.clone(), dtype: case.dtype, operator, built, threads })
    }

    /// Y of the last layer from columns of the input.
    fn end(&self, input: ArrayView2<'_, f32>) -> Result<Array2<f32>, String> {
        let mut flow = Flow::new(self.stack.clone(), input.to_owned(), self.dtype);
        let mut end = Array2::zeros((0, 0));
        for (built, layer) in self.built.iter().zip(self.stack.all()) {
            let v = flow.activations(self.threads).ok_or("the stack has ended")?;
            let mut staged = Staged::default();
            let mut y = Array2::from_elem((layer.m, v.ncols()), f32::NAN);
            self.operator
                .stage(v.view(), &mut staged, self.threads)
                .and_then(|()| built.apply(v.view(), &staged, y.view_mut(), self.threads))
                .map_err(|error| error.to_string())?;
            positive_zeros(&mut y);
            if !y.iter().all(|x| x.is_finite()) {
                return Err("an output within the stack is not finite".into());
            }
            match flow.index() + 1 == self.stack.count() {
                true => end = y,
                false => flow.push(y, self.threads),
            }
        }
        Ok(end)
    }

    /// What a call had to give, where it is looked at.
    fn wanted(&self, called: &Called) -> Result<Array2<f32>, String> {
        let end = self.end(called.v.view())?;
        Ok(match &called.part {
            Part::Whole => end,
            Part::Block { rows, .. } => end.select(ndarray::Axis(0), rows),
        })
    }

    /// An error unless the operator's call has the right bits.
    fn operator(&self, called: &Called) -> Result<(), String> {
        let want = self.wanted(called)?;
        let mut got = Array2::clone(&called.y);
        positive_zeros(&mut got);
        let differs = |(got, want): (&f32, &f32)| got.to_bits() != want.to_bits();
        let Some(at) = got.iter().zip(&want).position(differs) else { return Ok(()) };
        let (i, j) = (at / got.ncols(), at % got.ncols());
        let (row, column) = called.part.place(i, j);
        Err(format!(
            "a timed call gave {:#010x} at (row {row}, column {column}) of the end, want {:#010x}",
            got[[i, j]].to_bits(),
            want[[i, j]].to_bits()
        ))
    }

    /// An error unless most columns of a rival's call are near the right ones.
    fn rival(&self, called: &Called) -> Result<(), String> {
        near(called.y.view(), self.wanted(called)?.view(), self.dtype)
    }
}

fn near(got: ArrayView2<'_, f32>, want: ArrayView2<'_, f32>, dtype: Dtype) -> Result<(), String> {
    let share = |(got, want): (ArrayView1<'_, f32>, ArrayView1<'_, f32>)| {
        let square = |x: f64| x * x;
        let pairs = got.iter().zip(want).map(|(&got, &want)| (f64::from(got), f64::from(want)));
        let (far, all) = pairs.fold((0.0, 0.0), |(far, all), (got, want)| {
            (far + square(got - want), all + square(want))
        });
        // Nothing of nothing is near.
        if far == 0.0 { 0.0 } else { (far / all).sqrt() }
    };
    let shares: Vec<f64> = got.columns().into_iter().zip(want.columns()).map(share).collect();
    let most = share_max(dtype);
    // A NaN is far.
    let is_near = |share: &&f64| **share <= most;
    let far = shares.len() - shares.iter().filter(is_near).count();
    if far as f64 <= FAR_COLUMNS_SHARE * shares.len() as f64 {
        return Ok(());
    }
    let worst = shares.iter().copied().fold(0.0, f64::max);
    Err(format!(
        "{far} of {} columns of the end are further than {most} of their norm from the right ones, up to {worst:.3}",
        shares.len()
    ))
}

/// Which rivals multiply a whole stack, each of which holds all its A's: of each kind the one that is fastest on one layer in
/// the committed records, with the case's precision and row-major V and Y.
fn is_measured(rival: &DeviceRival) -> bool {
    rival.precision == Precision::AsCase
        && ["cublas", "compacted-cublas", "compacted-cublas-tf32", "cusparse-alg2", "cusparse-alg3"]
            .contains(&rival.name.as_str())
}

/// Measures the stack that a case ends. The operator's first call, with the stack's own input, must have the digest that was
/// verified of the end.
pub fn measure(
    case: &Case,
    place: &Place,
    whole: &Whole,
    bits: &Bits,
    remote: &RemoteDevice,
    auditor: &Auditor<'_>,
    measuring: &Measuring,
) -> Result<Found, String> {
    for process in [Process::Custodian, Process::Libraries] {
        remote.revive(process);
    }
    let secret = Secret::of(auditor, measuring, case);
    let operator = skip_operator(case, auditor.isa);
    with_threads(auditor.threads, || {
        let host = Host::new(case, place, &whole.layers, &*operator, auditor.threads);
        let host = host.map_err(|error| failed(&error))?;
        measured(case, whole, bits, remote, &secret, &host)
    })
    .map_err(|error| failed(&error))?
}

fn measured(
    case: &Case,
    whole: &Whole,
    bits: &Bits,
    remote: &RemoteDevice,
    secret: &Secret,
    host: &Host<'_>,
) -> Result<Found, String> {
    let (all, mut missing) = remote
        .rivals(case.dtype, case.output, case.arithmetic, DeadRows::None)
        .map_err(|error| failed(&error))?;
    let (rivals, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_measured);
    missing.extend(others.into_iter().map(|rival| Missing {
        name: rival.name,
        reason: "not measured: a stack is timed beside one or two libraries of each kind".into(),
    }));
    let monitor = remote.energy().clone().map(|name| RemoteMonitor { device: remote, name });
    let draw = |number: u64, v: &mut [f32]| timing::draw(&whole.first, &secret.text, number, v);
    let (m, k) = whole.layers.shape();
    let slots = DeviceSlots::of([m, k, case.n], remote.info.memory_bytes);
    let calls = Calls {
        draw: &draw,
        drawing: timing::drawing(&whole.first, &secret.text),
        secret: secret.number,
        clock: device::clock(),
        // A rival's end is compared with the operator's, which is looked at before it.
        looks_beside: None,
    };
    let platform = DevicePlatform::new(remote, &whole.layers, whole.input.view(), slots, calls);
    let mut platform = platform.map_err(|error| failed(&error))?;
    let wrong = Mutex::new(None);
    // The end of the stack's own input, once it had the digest that was verified.
    let end: OnceLock<Array2<f32>> = OnceLock::new();
    let check = |name: &str, called: &Called| {
        let is_rival = rivals.iter().any(|rival| rival.name == name);
        // Its V is the case's own, and is not given back.
        let is_first = matches!(called.part, Part::Whole) && called.v.is_empty();
        match (is_rival, is_first) {
            (false, true) => {
                let digest = digest_of_output(called.y.view(), case.output);
                if digest != bits.operator.digest {
                    let why = format!(
                        "the end of a call has the digest {digest}, want {}",
                        bits.operator.digest
                    );
                    note(&wrong, &why);
                    return Err(why);
                }
                end.get_or_init(|| Array2::clone(&called.y));
                Ok(())
            }
            (true, true) => {
                let end = end.get().ok_or("the operator's own end is not known")?;
                near(called.y.view(), end.view(), case.dtype)
            }
            (false, false) => host.operator(called).inspect_err(|why| note(&wrong, why)),
            (true, false) => host.rival(called),
        }
    };
    let roofline = Roofline::of_device(&remote.info, case.arithmetic);
    let instruments = Instruments {
        clock: device::clock(),
        energy: monitor.as_ref().map(|monitor| monitor as &dyn EnergyCounter).map_err(Clone::clone),
        idle: &remote.idle,
        roofline: &roofline,
    };
    let elements = measure::element_bytes(case.dtype, case.output);
    let sparsity = case.sparsity.as_f64();
    let layers =
        threads::map(host.threads, host.stack.count(), |at| measure::sizes(whole.layers.layer(at)));
    let figures = measure::Case::of(whole.layers.view(), case.n, sparsity, elements);
    let figures = measure::Case { layers: Some(layers), ..figures };
    let subject = Contender {
        name: SKIP_DEVICE.into(),
        operator: OnDeviceNamed { name: SKIP_DEVICE.into(), wanted: device::own(case) },
        kind: None,
        library: record::tool::NAME.into(),
        version: record::tool::VERSION.into(),
    };
    let contender = |rival: &DeviceRival| Contender {
        name: rival.name.clone(),
        operator: device::rival_of(rival),
        kind: Some(device::kind(rival)),
        library: rival.library.clone(),
        version: device::version(rival),
    };
    let contenders: Vec<_> = rivals.iter().map(contender).collect();
    let plan = Plan {
        secret: secret.number,
        // Looking at outputs takes much longer than the calls, and is in it.
        budget_ns: 30_000_000_000,
        samples_max: 10,
        // Each takes seconds, and no L2 holds anything of a call before.
        build_samples: 1,
        cold_samples: 0,
        ..device::plan(case)
    };
    let mut timings = measure::measure(
        &mut platform,
        &figures,
        &subject,
        &contenders,
        &plan,
        &instruments,
        &check,
    );
    timings.inputs = Some(TimedInputs {
        nonce: secret.text.clone(),
        fresh: slots.fresh,
        ring: slots.ring,
        bytes: slots.bytes as u64,
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failure = timings.operator.failure.clone();
    let wrong = wrong.or(failure.filter(|why| measure::is_finding(why)));
    Ok(Found { timings, baselines: Vec::new(), missing, wrong })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rivals_end_is_near_where_three_of_four_columns_are() {
        let want = Array2::from_shape_fn((50, 8), |(i, j)| (i as f32 - 20.0) * (j as f32 + 1.0));
        let is_near = |change: &dyn Fn(usize, f32) -> f32| {
            let got = Array2::from_shape_fn(want.dim(), |(i, j)| change(j, want[[i, j]]));
            near(got.view(), want.view(), Dtype::F32).is_ok()
        };
        assert!(is_near(&|_, x| x) && is_near(&|_, x| x * 1.005));
        // Two of eight may be scaled by another power of two.
        assert!(is_near(&|j, x| if j < 2 { 2.0 * x } else { x }));
        assert!(!is_near(&|j, x| if j < 3 { 2.0 * x } else { x }));
        for wrong in [0.0, f32::NAN, f32::INFINITY] {
            assert!(!is_near(&|_, _| wrong), "{wrong}");
        }
        assert!(!is_near(&|_, x| x * 1.02) && !is_near(&|_, x| -x));
        // Of nothing, nothing is near.
        let zeros = Array2::zeros((50, 8));
        assert!(near(zeros.view(), zeros.view(), Dtype::F32).is_ok());
        assert!(near(want.view(), zeros.view(), Dtype::F32).is_err());
    }
}
