//! Records made by hand, of which nothing depends on the machine or the clock, and files to compare reports with.

use std::path::Path;

use contract::case::Case;
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::published::{Comparison, Scope};
use ndarray::ArrayView2;
use record::baseline::{Kind, Missing};
use record::claims::{
    Claim, JudgedClaim, ModelConfig, Printed, Published, PublishedDigest, PublishedInput, Row,
    Subject, Tensor, Word,
};
use record::compare::{Element, ErrorSeen};
use record::derive;
use record::device::{DeviceInfo, KernelRecord};
use record::environment::Environment;
use record::exit::Require;
use record::expected::Expected;
use record::manifest::SectionInfo;
use record::report::junit;
use record::timings::{
    CaseTimings, ElementBytes, Energy, GIVEN_MARGIN, Roofline, Sample, Timed, Warmup, Window, Work,
};
use record::{CaseRecord, DeviceRecord, End, FORMAT, ManifestRecord, Record, RunOptions, Stopped};
use sparse_verify::audit::Outcome;
use sparse_verify::backend::cpu::Isa;
use sparse_verify::operator::{Built, Error, Operator, Staged};

use super::{How, Section, audit_all, manifest};

/// Writes the row's index everywhere, and nothing in the last column: wrong in a way that is
/// the same on every machine.
struct RowIndex;

impl Operator for RowIndex {
    fn name(&self) -> String {
        "row-index".into()
    }

    fn build<'a>(&self, _a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        Ok(Box::new(RowIndex))
    }
}

impl Built for RowIndex {
    fn apply(
        &self,
        _v: ArrayView2<'_, f32>,
        _staged: &Staged,
        mut y: ndarray::ArrayViewMut2<'_, f32>,
        _threads: usize,
    ) -> Result<(), Error> {
        let last = y.ncols() - 1;
        y.indexed_iter_mut().filter(|((_, j), _)| *j != last).for_each(|((i, _), y)| *y = i as f32);
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        0
    }
}

/// A record with a verified, a refuted, an unpinned and a case that was not run, in this order.
/// Nothing in it depends on the machine or the clock.
pub fn record() -> Record {
    let small = Section {
        weights: "binomial",
        arithmetic: "exact",
        shape: (4, 8),
        batch: "3",
        patterns: "none",
        sparsity: "",
        operator: "dense",
        ..Section::default()
    };
    let section = |name, required| Section { name, required, ..small.clone() };
    let manifest = manifest(&[
        section("good", true),
        section("wrong", true),
        section("new", false),
        Section { seed: 4, ..section("gone", true) },
    ]);
    let wrong = |case: &Case, isa: Isa| -> Box<dyn Operator> {
        match case.section.as_str() {
            "wrong" => Box::new(RowIndex),
            _ => sparse_verify::operator::skip_operator(case, isa),
        }
    };
    let how = How { operator: &wrong, ..How::default() };
    let honest = audit_all(&manifest, &manifest.cases[..2], &Expected::default(), &How::default());
    let entry = |outcome: Outcome| (outcome.record.id, outcome.entry.expect("can be pinned").0);
    let expected =
        Expected { cases: honest.into_iter().map(entry).collect(), ..Expected::default() };
    let outcomes = audit_all(&manifest, &manifest.cases, &expected, &how);
    let mut cases: Vec<_> = outcomes.into_iter().map(|outcome| outcome.record).collect();
    for (case, seconds) in cases.iter_mut().zip([0.25, 1.5, 0.0, 62.04]) {
        case.seconds = seconds;
        case.measurement = None;
        case.measurement_reason = Some("not measured (--no-measure)".into());
    }
    cases[3].stopped = Some(Stopped::Environment);
    cases[3].bits = None;
    cases[3].reasons = vec!["out of memory: <&> 64 GiB\nhint: a larger machine".into()];
    let ids = |is_wanted: &dyn Fn(&CaseRecord) -> bool| -> Vec<String> {
        cases.iter().filter(|case| is_wanted(case)).map(|case| case.id.clone()).collect()
    };
    let (selected, optional) = (ids(&|_| true), ids(&|case| !case.required));
    derived(Record {
        format: FORMAT.into(),
        tool: "sparse-verify 0.0.0".into(),
        arguments: vec!["manifests".into(), "--no-measure".into()],
        started: "2026-01-02T03:04:05Z".into(),
        environment: machine(),
        options: RunOptions {
            threads: 2,
            isa: "portable".into(),
            device: None,
            nonce: None,
            measure: false,
            any_platform: false,
            shard: None,
            sample: None,
            select: Vec::new(),
            strict: false,
            require: Require::Bits,
            outputs: None,
            after: None,
        },
        operator: None,
        manifests: vec![ManifestRecord {
            name: "small".into(),
            title: "For tests".into(),
            platform: Some("NVIDIA B200".into()),
            sha256: Digest::of(b"manifest"),
            expected_sha256: None,
            sections: Vec::new(),
            claims: Vec::new(),
            claims_sha256: None,
            selected,
            optional,
            dealt: None,
            expected_path: None,
        }],
        devices: Vec::new(),
        cases,
        published_inputs: Vec::new(),
        judged: Vec::new(),
        shards: Vec::new(),
        running: None,
        ended: Some(End::Completed),
        outcome: None,
    })
}

/// The record with all that follows from its observations, which do not contradict each other.
pub fn derived(mut record: Record) -> Record {
    derive::fill(&mut record);
    let text = record::text::whole(&record);
    match record::parse(text.as_bytes(), "made by hand") {
        Ok(read) => assert!(read == record, "read otherwise than written: {text}"),
        Err(error) => panic!("{error}"),
    }
    record
}

/// A record as JUnit, under other options than its own.
pub fn render(record: &Record, strict: bool, claims: bool) -> String {
    let mut record = record.clone();
    record.options.strict = strict;
    record.options.require = if claims { Require::Claims } else { Require::Bits };
    junit::render(&record)
}

/// The text must be that of the file. With UPDATE_GOLDEN set the file becomes the text, for
/// somebody to read in a diff.
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("part of the repository");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(text == expected, "{name} is no longer what is rendered:\n{text}");
}

/// A machine that is written down, so that records of it can be compared to the byte.
fn machine() -> Environment {
    Environment {
        tool_version: "0.0.0".into(),
        tool_sha256: None,
        git_revision: None,
        os: "an operating system".into(),
        kernel: None,
        architecture: "x86_64".into(),
        cpu_model: "a processor".into(),
        cores: 2,
        memory_bytes: Some(1 << 34),
        cache_bytes: 1 << 25,
        isa: "avx2".into(),
        isa_available: vec!["portable".into(), "avx2".into()],
        sha_instructions: true,
        preloaded: Vec::new(),
        float_environment_is_ieee: true,
    }
}

/// [`record`] with more cases, measured on a device, and with claims in every word.
pub fn full() -> Record {
    let mut record = record();
    let verified = record.cases[0].clone();
    for (percent, ms) in [("50", 2.0), ("80", 0.9), ("95", 0.25)] {
        let mut case = verified.clone();
        case.section = "sweep".into();
        case.id = format!("sweep/up/row-magnitude-{percent}/b3/f32/f32-chain");
        (case.pattern, case.sparsity_percent) = ("row-magnitude".into(), percent.into());
        (case.m, case.k, case.n) = (4096, 1024, 64);
        case.arithmetic = "f32-chain".into();
        case.seconds = 2.5;
        case.device = Some("NVIDIA B200".into());
        case.measurement_reason = None;
        let bits = case.bits.as_mut().expect("it is verified");
        bits.structure.elements = (case.m * case.k) as u64;
        bits.structure.nnz = ((case.m * case.k) as f64 * ms / 4.0) as u64;
        bits.difference.elements = (case.m * case.n) as u64;
        bits.recomputed = 256;
        bits.accuracy.iter_mut().for_each(|accuracy| accuracy.elements = 256);
        bits.operator = "skip-cuda".into();
        bits.certificate = None;
        let blocks = case.m.div_ceil(16) * case.k.div_ceil(16);
        (bits.structure.block_size, bits.structure.blocks) = (16, blocks as u64);
        bits.structure.dead_blocks = 0;
        case.measurement = Some(timings(&case, ms));
        case.baselines_missing = vec![Missing {
            name: "onemkl-csr".into(),
            reason: "not installed: looked for libmkl_rt.so.2".into(),
        }];
        record.manifests[0].selected.push(case.id.clone());
        record.cases.push(case);
    }
    // No counter for one.
    let energyless = record.cases[5].measurement.as_mut().expect("just measured");
    energyless.operator.energy = None;
    energyless.operator.energy_reason = Some("no permission to read the counter".into());
    record.options.measure = true;
    record.options.nonce = Some("today's numbers".into());
    record.devices = vec![device()];
    let section = |name: &str, published, twin_of: Option<&str>, config| SectionInfo {
        name: name.into(),
        line: 4,
        published,
        twin_of: twin_of.into_iter().map(str::to_owned).collect(),
        config,
    };
    let published = Published {
        title: "A sweep".into(),
        cases: 22,
        chosen: vec!["sparsity levels".into(), "the seed".into()],
    };
    record.manifests[0].sections = vec![
        section("good", None, None, None),
        section("real", None, None, Some(model())),
        section("sweep", Some(published), Some("real"), None),
    ];
    record.manifests[0].claims = ["sweep-80", "sweep-95", "unjudged"].map(claim).to_vec();
    record.published_inputs = published_inputs();
    let mut record = derived(record);
    // Every word is to be seen, whether or not these claims would get it: only renderings look at them.
    record.judged = judged(&record);
    record
}

/// What is seen of a case: samples, bytes and windows, of which the rest follows.
fn timings(case: &CaseRecord, ms: f64) -> CaseTimings {
    let structure = &case.bits.as_ref().expect("it is verified").structure;
    let nnz = structure.nnz as usize;
    let timed = |name: &str, kind, ms: f64, joules: f64| {
        let samples_ns = [0.99, 1.0, 1.01].map(|share| (share * ms * 1e6).round());
        let sample = |time_ns| Sample { time_ns, host_ns: None, state: None };
        Timed {
            name: name.into(),
            kind,
            library: if kind.is_some() { "cuBLAS" } else { "sparse-verify" }.into(),
            version: "13.1.0".into(),
            threads: 1,
            verified: Some(true),
            failure: None,
            plan: Some("rows: least of the estimates".into()),
            build_ns: vec![44_000_000],
            bytes_held: 4 * nnz,
            warmup: Warmup { calls: 10, settled: true },
            calls_per_sample: 1,
            samples_ns: samples_ns.map(|ns| ns as u64).to_vec(),
            overhead_ns: None,
            checked_samples: vec![1],
            checked_elements: 4096,
            error: Some(ErrorSeen {
                elements: 4096,
                error_max: 2e-7 * ms.sqrt(),
                error_share: Some(1e-7 / ms as f32),
            }),
            cold_samples_ns: Vec::new(),
            device_samples: samples_ns.map(sample).to_vec(),
            device_cold_samples: Vec::new(),
            float_environment_changes: 0,
            timing: None,
            energy: Some(Energy {
                joules_per_call: joules,
                joules_per_call_above_idle: joules / 2.0,
                idle_power_w: 25.0 * joules,
                window: Window {
                    seconds: 2.0,
                    calls: 100,
                    energy_j: 100.0 * joules,
                    power_w: 50.0 * joules,
                },
                is_valid: true,
            }),
            energy_reason: None,
        }
    };
    let elements = (case.m * case.k) as f64;
    CaseTimings {
        m: case.m,
        k: case.k,
        n: case.n,
        nnz,
        sparsity: case.sparsity_percent.parse::<f64>().expect("a number") / 100.0,
        sparsity_measured: 1.0 - nnz as f64 / elements,
        device: Some("NVIDIA B200".into()),
        threads: 1,
        rounds: 3,
        spent: None,
        inputs: None,
        layers: None,
        work: Work { flops: 0.0, bytes: 0.0 },
        live_rows: Some(case.m - structure.dead_rows),
        live_columns: Some(case.k - structure.dead_columns),
        element_bytes: Some(ElementBytes::F32),
        // The product of the non-zeros takes a tenth of the operator's time at least.
        roofline: Some(Roofline {
            peak_flops_per_s: 5.0 * elements * case.n as f64 * 1e3,
            cache_bytes_per_s: 1e13,
            memory_bytes_per_s: 8e12,
            cache_bytes: 132_000_000,
            margin: GIVEN_MARGIN,
            basis: "given".into(),
        }),
        minimum_time_ns: 0.0,
        operator: timed("skip-cuda", None, ms, 0.4 * ms),
        baselines: vec![
            timed("cublas", Some(Kind::Dense), 2.2, 1.1),
            timed("cusparse-alg2", Some(Kind::Sparse), 9.0 * ms, 4.5 * ms),
        ],
        speedups: Vec::new(),
        no_speedup: Vec::new(),
        break_even_calls: None,
    }
}

fn device() -> DeviceRecord {
    DeviceRecord {
        device: DeviceInfo {
            ordinal: 0,
            name: "NVIDIA B200".into(),
            uuid: "GPU-0".into(),
            compute_capability: "10.0".into(),
            multiprocessors: 148,
            memory_bytes: 192_000_000_000,
            l2_bytes: 132_000_000,
            clock_khz_max: 1_965_000,
            memory_clock_khz: 3_996_000,
            memory_bus_bits: 8192,
            driver: "13.0".into(),
        },
        kernels: vec![KernelRecord {
            source: "rows.cu".into(),
            source_sha256: Digest::of(b"source"),
            options: "-fmad=false".into(),
            compiler: "NVRTC 13.0".into(),
            cubin_sha256: Digest::of(b"cubin"),
        }],
    }
}

fn model() -> ModelConfig {
    ModelConfig {
        source: "https://example.com/config.json".into(),
        hidden_size: 4096,
        intermediate_size: 14336,
        attention_heads: 32,
        key_value_heads: 8,
        vocabulary: 128_256,
        dtype: Dtype::Bf16,
        tied_embeddings: None,
    }
}

fn claim(id: &str) -> Claim {
    Claim {
        platform: None,
        normalised_outputs: false,
        a_recipe: None,
        v_recipe: None,
        id: id.into(),
        section: Some("sweep".into()),
        about: Vec::new(),
        subject: Subject::default(),
        cases: Vec::new(),
        sources: vec!["https://example.com/paper".into(), "javascript:alert(1)".into()],
        baseline: Some("cuSPARSE".into()),
        operator: None,
        figures: vec![(record::claims::Figure::Speedup, Printed::parse("9.53").expect("a figure"))],
        factors: Vec::new(),
        speedup_rises_with: None,
        over: Vec::new(),
        energy_method: None,
        tolerance_of: None,
        digests: if id == "sweep-95" { published_digests() } else { Vec::new() },
        line: 12,
    }
}

/// Two claims, which have every word between them.
fn judged(record: &Record) -> Vec<JudgedClaim> {
    let row = |rule: &str, word, printed: Option<&str>, here, line: &str| Row {
        rule: rule.into(),
        word,
        printed: printed.map(str::to_owned),
        here,
        interval: None,
        measured: here.is_some(),
        line: line.into(),
    };
    let judged = |id: &str, twin: Option<&str>, case: usize, rows: Vec<Row>| JudgedClaim {
        manifest: "small".into(),
        id: id.into(),
        section: Some("sweep".into()),
        twin: twin.map(str::to_owned),
        cases: vec![record.cases[case].id.clone()],
        word: JudgedClaim::word_of(&rows),
        rows,
    };
    vec![
        judged(
            "sweep-80",
            Some("sweep"),
            5,
            vec![
                row("speedup", Word::Attained, Some("9.53"), Some(9.0), "8.1 ms / 0.9 ms = 9"),
                row("energy", Word::NotAttained, Some("89.6"), Some(60.0), "1 - 1 / 2.5 = 60 %"),
                row("vendor time", Word::Agrees, Some("8.1"), Some(8.1), "8.1 ms here"),
                row(
                    "speedup figures",
                    Word::Differs,
                    Some("9.53"),
                    Some(8.75),
                    "4.9 / 0.56 = 8.75",
                ),
                row("roofline", Word::Impossible, Some("0.01"), Some(0.02), "0.02 ms at least"),
            ],
        ),
        judged(
            "sweep-95",
            None,
            6,
            vec![
                row("best baseline", Word::Holds, Some("7"), Some(8.8), "2.2 ms / 0.25 ms = 8.8"),
                row("compacted", Word::Lower, Some("7"), Some(1.1), "0.275 ms / 0.25 ms = 1.1"),
                row("digest of A", Word::Match, Some("e3b0c442"), None, "64 of 64 digits"),
                row(
                    "digest of V",
                    Word::PrefixMatch,
                    Some("e3b0c442"),
                    None,
                    "8 of 64 digits, 1 % of it",
                ),
                row("digest of Y", Word::Mismatch, Some("01234567"), None, "got e3b0c442"),
                row("tokens", Word::NotJudged, Some("19.3e6"), None, "nothing was measured"),
            ],
        ),
    ]
}

fn published_digests() -> Vec<PublishedDigest> {
    let whole = Digest::of(b"").to_string();
    let published = |tensor, scope, digits: &str| PublishedDigest {
        tensor,
        scope,
        digits: digits.to_owned().try_into().expect("hexadecimal"),
    };
    vec![
        published(Tensor::A, Scope::Prefix, "e3b0c442"),
        published(Tensor::V, Scope::WholeTensor, &whole),
        published(Tensor::Dense, Scope::Prefix, "e3b0c443"),
        published(Tensor::Operator, Scope::Prefix, "01234567"),
    ]
}

fn published_inputs() -> Vec<PublishedInput> {
    let got = Digest::of(b"");
    let input = |tensor, compared, reason: Option<&str>| PublishedInput {
        device: None,
        manifest: "small".into(),
        claim: "sweep-95".into(),
        tensor,
        compared,
        reason: reason.map(str::to_owned),
    };
    let compared = |scope, pruned, digits: &str| {
        Some(Comparison::new(scope, 100_000_000, pruned, got, digits))
    };
    vec![
        input(Tensor::A, compared(Scope::Prefix, false, "e3b0c442"), None),
        input(Tensor::V, compared(Scope::WholeTensor, true, &got.to_string()), None),
        input(Tensor::Dense, compared(Scope::Prefix, false, "e3b0c443"), None),
        input(Tensor::Operator, None, Some("needs an NVIDIA GPU")),
    ]
}

/// Another digest for one tensor of a case, with all that an honest record would say of it.
pub fn find_another(case: &mut CaseRecord, name: &str) {
    let bits = case.bits.as_mut().expect("it ran");
    let row = bits.digests.iter_mut().find(|row| row.name == name).expect("one of six");
    row.got = Some(Digest::of(b"another"));
    // An output that differs from the reference has an element that does.
    if ["dense", "operator"].contains(&name) {
        bits.difference.differing = 1;
        bits.difference.error_max = Some(1.0);
        bits.difference.ulp_histogram = vec![0; 24];
        bits.difference.ulp_histogram[23] = 1;
        bits.difference.first = Some(Element::new(Dtype::F32, 0, 0, 1.0, 2.0));
        // The first row, which is panel 1's: 40 rows in 64 panels.
        bits.panels_operator[1] = "0".repeat(16);
        bits.likely_cause = Some(bits.difference.likely_cause().to_owned());
        bits.implementations_agree = false;
    }
}
