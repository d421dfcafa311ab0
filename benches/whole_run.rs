//! How long verifying bits takes, beside what it cannot do without: hashing at 2.0 GB/s a core,
//! and the operations of dense reference, operator and perturbation passes at the single-core
//! rate of each kernel, shared by all cores.
//!
//! `cargo bench --bench whole_run -- MANIFEST... [--weights DIR] [--threads N]`

use std::path::PathBuf;
use std::time::Instant;

use ndarray::Array2;
use sparse_verify::audit::{self, Auditor, HeldWeights, SharedOutputs, skip_operator};
use sparse_verify::backend::cpu::Isa;
use sparse_verify::expected::Expected;
use sparse_verify::inputs::weights::Resolver;
use sparse_verify::manifest::{self, Case, Manifest, Weights};
use sparse_verify::operator::{DenseReference, Operator, Staged};

const HASH_BYTES_PER_S: f64 = 2.0e9;

fn main() {
    sparse_verify::backend::cpu::keep_freed_memory();
    let mut paths = Vec::new();
    let mut weights = None;
    let mut threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--weights" => weights = arguments.next().map(PathBuf::from),
            "--threads" => threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1),
            path => paths.push(PathBuf::from(path)),
        }
    }
    if paths.is_empty() {
        paths = vec!["manifests/quickstart.yaml".into(), "manifests/b200.yaml".into()];
    }
    println!("{threads} threads\n");
    println!("| manifest | cases | hashed GB | hash s | operations s | limit s | wall s | ratio |");
    println!("|---|---|---|---|---|---|---|---|");
    for path in paths {
        let manifest = manifest::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let mut bench = Bench::new(weights.clone(), threads);
        let (mut bytes, mut operations_s) = (0.0, 0.0);
        for case in &manifest.cases {
            bytes += bytes_hashed(case);
            operations_s += bench.operations_s(&manifest, case);
        }
        // As a run of `verify` does it: one auditor, every case.
        let mut auditor = Bench::new(weights.clone(), threads).auditor;
        let start = Instant::now();
        for case in &manifest.cases {
            let outcome = auditor.audit(&manifest, case, &Expected::default(), "", &|_| {});
            assert!(outcome.record.bits.is_some(), "{:?}", outcome.record.reasons);
        }
        let wall_s = start.elapsed().as_secs_f64();
        let hash_s = bytes / HASH_BYTES_PER_S;
        let limit_s = (hash_s + operations_s) / threads as f64;
        println!(
            "| {} | {} | {:.2} | {hash_s:.2} | {operations_s:.2} | {limit_s:.2} | {wall_s:.2} | {:.2} |",
            manifest.name,
            manifest.cases.len(),
            bytes / 1e9,
            wall_s / limit_s
        );
    }
}

/// A, V, dense and operator output with their panels, two perturbed outputs, and the tensor of
/// real weights.
fn bytes_hashed(case: &Case) -> f64 {
    let (m, k, n) = (case.m as f64, case.k as f64, case.n as f64);
    let real = if matches!(case.weights, Weights::Synthetic(_)) { 0.0 } else { 4.0 * m * k };
    (m * k + k * n) * case.dtype.size() as f64 + 6.0 * m * n * case.output.size() as f64 + real
}

struct Bench {
    auditor: Auditor<'static>,
}

impl Bench {
    fn new(weights: Option<PathBuf>, threads: usize) -> Bench {
        let auditor = Auditor {
            isa: Isa::best(),
            threads,
            nonce: None,
            measure: false,
            any_platform: false,
            device: None,
            weights: Resolver::new(weights, true),
            operator: &skip_operator,
            held: HeldWeights::default(),
            seen: SharedOutputs::default(),
        };
        Bench { auditor }
    }

    /// Dense once, operator three times (plain, rebuilt, shifted), on one core, V staged anew.
    fn operations_s(&mut self, manifest: &Manifest, case: &Case) -> f64 {
        let Ok((weights, _)) = self.auditor.weights(manifest, case) else {
            panic!("{}: no weights", case.id)
        };
        let a = weights.rows(0..case.m).unwrap_or_else(|error| panic!("{error}"));
        let Ok(v) = audit::activations(case, self.auditor.threads) else {
            panic!("{}: no activations", case.id)
        };
        let isa = self.auditor.isa;
        let reference = DenseReference { arithmetic: case.arithmetic, output: case.output, isa };
        let operator = skip_operator(case, isa);
        seconds(&reference, &a, &v) + 3.0 * seconds(&*operator, &a, &v)
    }
}

fn seconds(operator: &dyn Operator, a: &Array2<f32>, v: &Array2<f32>) -> f64 {
    let built = operator.build(a.view()).unwrap_or_else(|error| panic!("{error}"));
    let mut staged = Staged::default();
    let mut y = Array2::zeros((a.nrows(), v.ncols()));
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        operator
            .stage(v.view(), &mut staged, 1)
            .and_then(|()| built.apply(v.view(), &staged, y.view_mut(), 1))
            .unwrap_or_else(|error| panic!("{error}"));
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
