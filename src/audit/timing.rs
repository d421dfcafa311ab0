//! Measuring one verified case on this machine: the operator and every rival that is here.

use std::sync::OnceLock;

use ndarray::ArrayView2;

use super::Auditor;
use crate::baseline;
use crate::baseline::Baselines;
use crate::check::bits::Bits;
use crate::check::tolerance::Tolerance;
use crate::environment::environment;
use crate::machine;
use crate::measure;
use crate::measure::{
    CacheFlush, Contender, CpuPlatform, EnergyCounter, Instruments, POWERCAP, Plan, Rapl, RealClock,
};
use crate::operator::Operator;
use contract::case::Case;
use contract::digest::digest_of_output;
use contract::inputs::Weights;
use record::timings::{CaseTimings, ElementBytes, Roofline, Window};

/// Cases with fewer dense operations than this are measured quickly: there are many of them.
const SMALL_FLOPS: f64 = 3e8;

/// What all cases are measured with; made once.
struct Bench {
    baselines: Baselines,
    clock: RealClock,
    roofline: Roofline,
    energy: Result<Rapl, String>,
    idle: OnceLock<Result<Window, String>>,
    flush: CacheFlush,
}

fn bench(threads: usize) -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let cache_bytes = environment().cache_bytes;
        let clock = RealClock::default();
        Bench {
            baselines: baseline::all(threads),
            roofline: measure::host_roofline(&clock, threads, cache_bytes),
            clock,
            energy: Rapl::open(POWERCAP.as_ref()),
            idle: OnceLock::new(),
            flush: CacheFlush::new(cache_bytes),
        }
    })
}

fn plan(case: &Case, threads: usize, has_energy: bool) -> Plan {
    let flops = 2.0 * case.m as f64 * case.k as f64 * case.n as f64;
    if flops < SMALL_FLOPS {
        return Plan::quick(threads, case.seed);
    }
    Plan {
        budget_ns: 1_500_000_000,
        samples_min: 5,
        samples_max: 200,
        warmup_ns_max: 100_000_000,
        cold_samples: 3,
        energy_window_ns: has_energy.then_some(1_000_000_000),
        ..Plan::thorough(threads, case.seed)
    }
}

/// Whether a case can be held whole in the host's memory.
pub fn require_memory(case: &Case) -> Result<(), String> {
    // A, the operator's form of it, those of the sparse and compacted rivals, and two Y.
    let [m, k, n] = [case.m, case.k, case.n].map(|x| x as u128);
    let bytes = 4 * 4 * m * k + 16 * m * n;
    match machine::memory_available() {
        Some(available) if bytes > u128::from(available.bytes / 2) => Err(format!(
            "not measured: a timed operator is held whole, which takes about {:.1} GB of the {:.1} \
             GB available (limit: {})",
            bytes as f64 / 1e9,
            available.bytes as f64 / 1e9,
            available.limit
        )),
        _ => Ok(()),
    }
}

/// Measures a case, or says why that is not possible. The operator's output must come out with
/// the digest that was verified; a baseline's must lie within its bound.
pub fn measure(
    case: &Case,
    weights: &Weights,
    v: &ndarray::Array2<f32>,
    bits: &Bits,
    operator: &dyn Operator,
    auditor: &Auditor<'_>,
) -> Result<CaseTimings, String> {
    let threads = auditor.threads;
    if case.m == 0 || case.k == 0 || case.n == 0 {
        return Err("not measured: there is nothing to multiply".into());
    }
    require_memory(case)?;
    let a = weights.rows(0..case.m).map_err(|error| format!("not measured: {error}"))?;

    let bench = bench(threads);
    let sparsity = case.sparsity.as_f64();
    let measured = measure::with_threads(threads, || {
        let tolerance = Tolerance::new(a.view(), v.view(), auditor.isa, threads)
            .map_err(|error| format!("not measured: {error}"))?;
        let mut check = |name: &str, y: ArrayView2<'_, f32>| {
            if name != operator.name() {
                return tolerance.check(y);
            }
            if !case.arithmetic.has_bit_contract() {
                return tolerance.check_rounded(y, case.output);
            }
            match digest_of_output(y, case.output) {
                digest if digest == bits.operator.digest => Ok(()),
                digest => Err(format!(
                    "a timed call gave the digest {digest}, verified was {}",
                    bits.operator.digest
                )),
            }
        };
        let subject = Contender {
            name: operator.name(),
            operator,
            kind: None,
            library: record::tool::NAME,
            version: record::tool::VERSION,
        };
        let baselines: Vec<Contender<'_>> =
            bench.baselines.available.iter().map(Contender::from).collect();
        let flush = || bench.flush.flush();
        let instruments = Instruments {
            clock: &bench.clock,
            energy: match &bench.energy {
                Ok(counter) => Ok(counter as &dyn EnergyCounter),
                Err(reason) => Err(reason.clone()),
            },
            idle: &bench.idle,
            roofline: &bench.roofline,
        };
        let mut platform = CpuPlatform::new(a.view(), v.view(), threads, &bench.clock, &flush);
        let figures = measure::Case::of(a.view(), v.ncols(), sparsity, ElementBytes::F32);
        let plan = plan(case, threads, bench.energy.is_ok());
        Ok(measure::measure(
            &mut platform,
            &figures,
            &subject,
            &baselines,
            &plan,
            &instruments,
            &mut check,
        ))
    });
    measured.map_err(|error| format!("not measured: no thread pool: {error}"))?
}
