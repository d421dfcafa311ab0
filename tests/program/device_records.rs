//! The committed records of runs on devices: still readable, and still of the committed digests. What was
//! found there of the vendor's libraries, by whole digests, is asserted here.

use std::path::{Path, PathBuf};

use record::timings::{CaseTimings, Timed};
use record::verdict::Verdict;
use record::{CaseRecord, Record};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn records() -> Vec<(PathBuf, Record)> {
    of_device("h200")
}

/// Cases in general, and those of the manifest h200.
fn of_device(folder: &str) -> Vec<(PathBuf, Record)> {
    ["bits.json", "h200.json"]
        .map(|name| root().join("tests/records").join(folder).join(name))
        .map(|path| (path.clone(), record::load(&path).unwrap_or_else(|error| panic!("{error}"))))
        .into()
}

#[test]
fn what_a_device_gave_is_what_is_committed() {
    assert_eq!(compare_with_committed("h200", "NVIDIA H200"), 225);
    // All that can be run of h200 without its gated weights, quickstart but for the bounded, and t4.
    assert_eq!(compare_with_committed("h100", "NVIDIA H100 80GB HBM3"), 71 + 132 + 24);
}

/// `workers.json` was measured with the device in other processes, and with a V and a Y for each call: its times are those
/// of `h200.json` of the same kind of card, which had one of each. Contenders that take several times as long as the best of
/// their kind have two samples only; one of these, `cusparse-alg2-col`, is 4 to 5 % faster than before, and nothing that is
/// published rests on it.
#[test]
fn times_of_a_device_in_a_worker_are_those_of_before() {
    const SHARE: f64 = 0.03;
    const SHARE_OF_TWO: f64 = 0.05;
    let load = |name: &str| {
        record::load(&root().join("tests/records/h200").join(name)).expect("it is committed")
    };
    let (workers, before) = (load("workers.json"), load("h200.json"));
    let mut compared = 0;
    for case in &workers.cases {
        // As it follows from the digests, beside those that were committed then.
        assert_eq!(case.verdict, Verdict::Verified, "{}", case.id);
        let timings = case.measurement.as_ref().expect("measured");
        let same = before.case(&case.manifest, &case.id).expect("measured before");
        let same = same.measurement.as_ref().expect("measured before");
        let all = |timings: &CaseTimings| -> Vec<Timed> {
            std::iter::once(&timings.operator).chain(&timings.baselines).cloned().collect()
        };
        for timed in all(timings) {
            let before = all(same).into_iter().find(|before| before.name == timed.name);
            let before = before.expect("the same contenders");
            let (Some(now), Some(before)) = (&timed.timing, &before.timing) else { continue };
            let (now, before) = (now.summary.time_ns_median, before.summary.time_ns_median);
            let what = format!("{} {}: {now} ns, before {before} ns", case.id, timed.name);
            let share = if timed.samples_ns.len() > 2 { SHARE } else { SHARE_OF_TWO };
            assert!((now / before - 1.0).abs() <= share, "{what}");
            // Of every call; one of the operator's is compared whole in each of two samples.
            let calls = timed.calls_per_sample * timed.samples_ns.len();
            let whole = if timed.kind.is_none() { 2 } else { 0 };
            assert!(timed.checked_elements >= 256 * (calls - whole) as u64, "{what}");
            assert!(timed.overhead_ns.is_some(), "{what}");
            compared += 1;
        }
        assert!(timings.inputs.is_some(), "{}", case.id);
    }
    assert!(compared > 40, "{compared}");
}

/// Operators under test whose matrices lie on a device: those that are shipped, and `examples/operators/cublas.c`. A library's
/// times are those of the same library as a baseline.
#[test]
fn operators_of_others_on_a_device_give_what_is_committed() {
    const SHARE: f64 = 0.03;
    let committed = |manifest: &str| {
        let file = root().join("expected-hashes").join(format!("{manifest}.yaml"));
        sparse_verify::expected::load(&file, manifest).expect("it is committed")
    };
    let (mut verified, mut within, mut timed_alike) = (0, 0, 0);
    let folder = root().join("tests/records/h200/operators");
    for path in std::fs::read_dir(folder).expect("records").flatten().map(|entry| entry.path()) {
        let record = record::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let operator = record.operator.as_ref().expect("an operator");
        assert_eq!(operator.device, record::operator::OperatorDevice::Cuda, "{}", operator.name);
        assert!(operator.lacking().is_empty(), "{}: {:?}", operator.name, operator.lacking());
        for code in &operator.files {
            let shipped = root().join("operators").join(&code.name);
            if let Ok(bytes) = std::fs::read(shipped) {
                assert_eq!(code.sha256, contract::digest::Digest::of(&bytes), "{}", code.name);
            }
        }
        for case in &record.cases {
            assert_eq!(case.device.as_deref(), Some("NVIDIA H200"), "{}", case.id);
            let bits = case.bits.as_ref().expect("bits");
            assert_eq!(bits.operator, operator.name, "{}", case.id);
            match case.verdict {
                Verdict::WithinBound => within += 1,
                verdict => {
                    assert_eq!(verdict, Verdict::Verified, "{} {}", operator.name, case.id);
                    let got = bits.digests.iter().find(|row| row.name == "operator");
                    let entry = &committed(&case.manifest).cases[&case.id];
                    assert_eq!(got.and_then(|row| row.got), entry.operator, "{}", case.id);
                    verified += 1;
                }
            }
            let Some(timings) = &case.measurement else { continue };
            let median = |timed: &Timed| timed.timing.as_ref().map(|t| t.summary.time_ns_median);
            let own = median(&timings.operator).expect("timed");
            if ["cublas-c", "torch-mm"].contains(&operator.name.as_str()) {
                let cublas = timings.baselines.iter().find(|timed| timed.name == "cublas");
                let cublas = cublas.and_then(median).expect("timed");
                assert!((own / cublas - 1.0).abs() <= SHARE, "{}: {own}, {cublas}", case.id);
                timed_alike += 1;
            }
        }
    }
    assert_eq!((verified, within, timed_alike), (15, 7, 4));
}

/// How many verified cases of the records of a device have the committed digests. None may have others.
fn compare_with_committed(folder: &str, name: &str) -> usize {
    let mut compared = 0;
    for (path, record) in of_device(folder) {
        assert_eq!(record.devices.len(), 1, "{}", path.display());
        assert_eq!(record.devices[0].device.name, name);
        assert!(!record.devices[0].kernels.is_empty());
        for manifest in &record.manifests {
            let file = root().join("expected-hashes").join(format!("{}.yaml", manifest.name));
            let expected =
                sparse_verify::expected::load(&file, &manifest.name).expect("it is committed");
            for case in record.cases.iter().filter(|case| case.manifest == manifest.name) {
                assert!(!case.verdict.refutes(), "{}", case.id);
                let Some(bits) = &case.bits else { continue };
                assert_eq!(case.device.as_deref(), Some(name), "{}", case.id);
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
    compared
}

#[test]
fn records_of_a_cpu_and_two_devices_agree() {
    let names = ["cpu", "h100", "h200"].map(|folder| format!("tests/records/{folder}/h200.json"));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_verify"))
        .arg("report")
        .args(&names)
        .current_dir(root())
        .output()
        .expect("the program was built");
    let text = String::from_utf8_lossy(&output.stdout);
    // Nothing differs; whether these runs ended was not recorded then.
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("**No difference** in 71 cases that more than one record has."),
        "{text}"
    );
}

#[test]
fn published_inputs_were_made_on_devices() {
    for (folder, made) in [("h200", 3), ("h100", 3)] {
        let [_, (_, record)] = &of_device(folder)[..] else { panic!("two records") };
        let compared: Vec<_> =
            record.published_inputs.iter().filter_map(|input| input.compared).collect();
        assert_eq!(compared.len(), made, "{folder}");
        assert!(compared.iter().all(|compared| compared.matches));
        let v = record.published_inputs.iter().find(|input| input.device.is_some());
        let compared = v.and_then(|input| input.compared).expect("V of LLaMA was drawn");
        assert_eq!(compared.digits, 64);
        let whole = "32d38b5291bb7e2fdfb5df26616d3da6f7209f45e0f53d0ad89388a8811adf7e";
        assert_eq!(compared.got.to_string(), whole);
    }
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

/// The models that `baseline` follows, by what a case's id begins with; `None` where no model is known.
fn assert_follows(record: &Record, baseline: &str, dtype: &str, want: &[(&str, Option<&str>)]) {
    let of_dtype: Vec<_> =
        followed(record, baseline).into_iter().filter(|(case, _)| case.dtype == dtype).collect();
    assert!(!of_dtype.is_empty());
    for (case, model) in of_dtype {
        let entry = want.iter().find(|(id, _)| case.id.starts_with(id));
        let (_, want) = entry.unwrap_or_else(|| panic!("{baseline} {}: {model:?}", case.id));
        assert_eq!(model, *want, "{baseline} {}", case.id);
    }
}

const HOPPER_BF16: Option<&str> = Some("tensor-core-hopper (bf16, L = 16, F = 25)");
const HOPPER_F16: Option<&str> = Some("tensor-core-hopper (f16, L = 16, F = 25)");
const HOPPER_TF32: Option<&str> = Some("tensor-core-hopper (tf32, L = 8, F = 25)");

#[test]
fn unmodified_cublas_on_tensor_cores_gives_digests_that_a_cpu_derives() {
    let [_, (_, record)] = &records()[..] else { panic!("two records") };
    // 1024 x 8192 x 512: no model is known of how it splits k there.
    let wide = ("cublas-tensor-core/wide/", None);
    assert_follows(record, "cublas", "bf16", &[wide, ("", HOPPER_BF16)]);
    assert_follows(record, "cublas", "f16", &[wide, ("", HOPPER_F16)]);
    // 143 live rows are another such shape.
    let few_rows = ("rows-bf16/up_proj/row-magnitude-99/", None);
    assert_follows(record, "compacted-cublas", "bf16", &[wide, few_rows, ("", HOPPER_BF16)]);
    let narrow = "batch/up_proj/row-magnitude-80/";
    let tf32 = [
        wide,
        (&format!("{narrow}b1/")[..], None),
        (&format!("{narrow}b8/")[..], None),
        // Small integers, on which many models agree: the likeliest is named.
        ("exact/", Some("f32-chain")),
        ("", HOPPER_TF32),
    ];
    assert_follows(record, "cublas-tf32", "f32", &tf32);
}

#[test]
fn unmodified_sgemm_and_cusparse_give_digests_that_a_cpu_derives() {
    let [_, (_, record)] = &records()[..] else { panic!("two records") };
    let sgemm = [
        ("batch/up_proj/row-magnitude-80/b1/", None),
        ("batch/up_proj/row-magnitude-80/b8/", Some("f32-sliced-2by8")),
        ("batch/up_proj/row-magnitude-80/b64/", Some("f32-sliced-2by8")),
        ("batch/up_proj/row-magnitude-80/b2048/", Some("f32-chain")),
        ("cublas-tensor-core/live-80/", Some("f32-sliced-8by8")),
        ("cublas-tensor-core/square/", Some("f32-sliced-4x512")),
        ("cublas-tensor-core/wide/", Some("f32-sliced-8x1024")),
        ("cublas-tensor-core/", Some("f32-sliced-2by8")),
        ("exact", Some("f32-chain")),
        ("", Some("f32-sliced-4x1024")),
    ];
    assert_follows(record, "cublas", "f32", &sgemm);
    assert_follows(record, "cublas-pedantic", "f32", &sgemm);
    // cuSPARSE's third algorithm is the chain where no row is split.
    for (case, model) in followed(record, "cusparse-alg3") {
        if case.pattern == "uniform" {
            assert_eq!(model, Some("f32-chain"), "{}", case.id);
        }
    }
}

#[test]
fn in_the_exact_lane_every_algorithm_gives_the_pinned_bits_and_on_the_wide_grid_tf32_does_not() {
    let [_, (_, record)] = &records()[..] else { panic!("two records") };
    let mut compared = 0;
    for case in record.cases.iter().filter(|case| case.section.starts_with("exact")) {
        let digests = &case.bits.as_ref().expect("it was run").digests;
        let pinned = digests.iter().find(|row| row.name == "operator").and_then(|row| row.expected);
        for baseline in &case.baselines {
            let found = baseline.identified.as_ref().map(|identified| identified.digest);
            let is_reduced = case.section == "exact-wide" && baseline.name.ends_with("tf32");
            let is_pinned = found == pinned && found.is_some();
            assert_eq!(is_pinned, !is_reduced, "{} {}", case.id, baseline.name);
            compared += 1;
        }
    }
    // Two widths, two patterns; cuBLAS in three modes and on the live rows, cuSPARSE in eight.
    assert_eq!(compared, 4 * 12);
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
