//! How long verifying bits takes, beside what a run predicts: hashing, and the operations of dense reference,
//! operator and perturbation passes at the single-core rate of each kernel, shared by all cores.
//!
//! `cargo bench --bench whole_run -- MANIFEST... [--weights DIR] [--threads N] [--case TEXT]`, where TEXT is a part of
//! the ids of the cases to run.

use std::path::PathBuf;
use std::time::Instant;

use contract::case::Case;
use record::expected::Expected;
use record::shared::SharedOutputs;
use sparse_verify::audit::{Auditor, HeldInputs, Task};
use sparse_verify::backend::cpu::Isa;
use sparse_verify::manifest;
use sparse_verify::operator::skip_operator;
use sparse_verify::predict::predict;
use sparse_verify::weights::Resolver;

fn main() {
    sparse_verify::backend::cpu::keep_freed_memory();
    let mut paths = Vec::new();
    let (mut weights, mut part) = (None, String::new());
    let mut threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--weights" => weights = arguments.next().map(PathBuf::from),
            "--threads" => threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1),
            "--case" => part = arguments.next().unwrap_or_default(),
            path => paths.push(PathBuf::from(path)),
        }
    }
    if paths.is_empty() {
        paths = vec!["manifests/quickstart.yaml".into(), "manifests/b200.yaml".into()];
    }
    println!("{threads} threads\n");
    println!(
        "| manifest | cases | hashed GB | hash s | operations s | predicted s | found out in s | wall s | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for path in paths {
        let manifest = manifest::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let cases: Vec<(&Case, bool)> = manifest
            .cases
            .iter()
            .filter(|case| case.id.contains(&part))
            .map(|case| (case, false))
            .collect();
        let prediction = predict(&cases, Isa::best(), threads);
        // As a run of `verify` does it: one auditor, every case.
        let mut auditor = Auditor {
            fetches_optional: true,
            isa: Isa::best(),
            threads,
            nonce: None,
            measuring: None,
            stranger: None,
            device: None,
            weights: Resolver::new(weights.clone(), true),
            operator: &skip_operator,
            held: HeldInputs::default(),
            seen: SharedOutputs::default(),
        };
        let start = Instant::now();
        for (case, _) in &cases {
            let audited = auditor.audit(&Task {
                manifest: &manifest,
                case,
                expected: &Expected::default(),
                expected_file: "",
                progress: &|_| {},
            });
            assert!(audited.bits.is_some(), "{:?}", audited.reasons);
        }
        let wall_s = start.elapsed().as_secs_f64();
        let limit_s = prediction.seconds();
        println!(
            "| {} | {} | {:.2} | {:.2} | {:.2} | {limit_s:.2} | {:.2} | {wall_s:.2} | {:.2} |",
            manifest.name,
            cases.len(),
            prediction.bytes_hashed as f64 / 1e9,
            prediction.hash_s,
            prediction.flops_s,
            prediction.calibration_s,
            wall_s / limit_s
        );
    }
}
