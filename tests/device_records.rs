//! The committed records of runs on devices: still readable, and still of the committed digests. What was
//! found there of the vendor's libraries, by whole digests, is asserted here.

use std::path::{Path, PathBuf};

use sparse_verify::check::verdict::Verdict;
use sparse_verify::expected::Expected;
use sparse_verify::record::{CaseRecord, Record};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn records() -> Vec<(PathBuf, Record)> {
    ["bits.json", "h200.json"]
        .map(|name| root().join("tests/records/h200").join(name))
        .map(|path| (path.clone(), Record::load(&path).unwrap_or_else(|error| panic!("{error}"))))
        .into()
}

#[test]
fn what_a_device_gave_is_what_is_committed() {
    let mut compared = 0;
    for (path, record) in records() {
        assert_eq!(record.devices.len(), 1, "{}", path.display());
        assert_eq!(record.devices[0].device.name, "NVIDIA H200");
        assert!(!record.devices[0].kernels.is_empty());
        for manifest in &record.manifests {
            let file = root().join("expected-hashes").join(format!("{}.yaml", manifest.name));
            let expected = Expected::load(&file, &manifest.name).expect("it is committed");
            for case in record.cases.iter().filter(|case| case.manifest == manifest.name) {
                assert!(!case.verdict.refutes(), "{}", case.id);
                let Some(bits) = &case.bits else { continue };
                assert_eq!(case.device.as_deref(), Some("NVIDIA H200"), "{}", case.id);
                assert_eq!(bits.operator, "skip-cuda", "{}", case.id);
                let entry = &expected.cases[&case.id];
                let got = |name: &str| bits.digests.iter().find(|row| row.name == name)?.got;
                assert_eq!((got("a"), got("v")), (Some(entry.a), Some(entry.v)), "{}", case.id);
                assert_eq!(got("dense"), Some(entry.dense), "{}", case.id);
                if case.verdict == Verdict::Verified {
                    assert_eq!(got("operator"), entry.operator, "{}", case.id);
                    assert_eq!(got("rebuilt"), entry.rebuilt, "{}", case.id);
                    assert_eq!(got("shifted"), entry.shifted, "{}", case.id);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 193);
}

/// Cases of h200.json and what `baseline` was found to follow in each.
fn followed<'a>(record: &'a Record, baseline: &str) -> Vec<(&'a CaseRecord, Option<&'a str>)> {
    let of_case = |case: &'a CaseRecord| {
        let found = case.baselines.iter().find(|found| found.name == baseline)?;
        let identified = found.identified.as_ref()?;
        let is_verified = found.verdict == Verdict::Verified && identified.verified;
        Some((case, identified.model.as_deref().filter(|_| is_verified)))
    };
    record.cases.iter().filter_map(of_case).collect()
}

#[test]
fn unmodified_cublas_gives_digests_that_a_cpu_derives() {
    let [_, (_, record)] = &records()[..] else { panic!("two records") };
    let models = |baseline, dtype: &str| {
        let all = followed(record, baseline);
        let of_dtype = all.into_iter().filter(|(case, _)| case.dtype == dtype);
        of_dtype.map(|(_, model)| model).collect::<Vec<_>>()
    };
    // Tensor cores: the digest of the case itself.
    let hopper = Some("tensor-core-hopper (bf16, L = 16, F = 25)");
    assert_eq!(models("cublas", "bf16"), vec![hopper; 12]);
    for (case, model) in followed(record, "compacted-cublas") {
        // 143 live rows: no model is known of what cuBLAS does there.
        let is_known = case.section != "rows-bf16" || case.sparsity_percent != "99";
        if case.dtype == "bf16" {
            assert_eq!(model, hopper.filter(|_| is_known), "{}", case.id);
        }
    }
    let tf32 = models("cublas-tf32", "f32");
    assert_eq!(tf32, vec![Some("tensor-core-hopper (tf32, L = 8, F = 25)"); tf32.len()]);
    // SGEMM splits k into four, and another way for each number of live rows.
    assert_eq!(models("cublas", "f32"), vec![Some("f32-sliced-4x1024"); 9]);
    let live_rows = models("compacted-cublas", "f32");
    for slices in ["f32-sliced-8by8", "f32-sliced-5by8"] {
        assert!(live_rows.contains(&Some(slices)), "{live_rows:?}");
    }
    // cuSPARSE's third algorithm is the chain where no row is split.
    for (case, model) in followed(record, "cusparse-alg3") {
        if case.pattern == "uniform" && case.dtype == "f32" {
            assert_eq!(model, Some("f32-chain"), "{}", case.id);
        }
    }
}

#[test]
fn what_was_perturbed_on_the_device_is_verified_or_within_its_bound() {
    let [_, (_, record)] = &records()[..] else { panic!("two records") };
    let mut seen = [0, 0];
    for case in &record.cases {
        for baseline in case.baselines.iter().filter(|b| b.verdict != Verdict::OutOfBound) {
            for perturbed in [&baseline.rebuilt, &baseline.shifted].into_iter().flatten() {
                let verified = perturbed.verdict == Verdict::Verified;
                assert!(
                    verified || perturbed.verdict == Verdict::WithinBound,
                    "{} {}: {:?}",
                    case.id,
                    baseline.name,
                    perturbed.verdict
                );
                seen[usize::from(verified)] += 1;
            }
        }
    }
    assert!(seen[0] > 50 && seen[1] > 30, "{seen:?}");
}
