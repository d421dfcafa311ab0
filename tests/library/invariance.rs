//! What must not change a bit: threads, instruction sets, strategies, a nonce, the zeros that are
//! skipped; and the shapes at the edges.

use crate::common;
use crate::common::{How, Section, Workbench, audit, audit_all, digest, manifest};
use contract::arithmetic::{Slices, chain};
use contract::case::Case;
use contract::digest::Digest;
use contract::inputs::spec::Sparsity;
use contract::strategy::Strategy as Plan;
use proptest::prelude::*;
use record::CaseRecord;
use record::expected::Expected;
use record::manifest::Manifest;
use record::verdict::Verdict;
use sparse_verify::audit::Outcome;
use sparse_verify::backend::cpu::Isa;

const PATTERNS: &str = "[none, uniform, row-magnitude, element-magnitude, power-law, {block: 12}, two-of-four, \
                        {dead-experts: 19}]";

/// Every arithmetic x pattern, and every dtype, on a shape that fits no tile and takes several
/// chunks of rows.
fn every_arithmetic() -> Manifest {
    let base = Section {
        shape: (133, 77),
        batch: "19",
        sparsity: "0.8",
        patterns: PATTERNS,
        ..Section::default()
    };
    manifest(&[
        Section {
            name: "chain",
            arithmetic: "[f32-chain, {f32-sliced: {slices: 3, contiguous: 30}}, \
                         {f32-sliced: {slices: 4, dealt: 6}}, bounded]",
            dtype: "[f32, bf16]",
            ..base.clone()
        },
        Section {
            name: "tensor-core",
            arithmetic: "[{tensor-core: hopper}, {tensor-core: ampere}]",
            dtype: "[f32, bf16, f16]",
            ..base.clone()
        },
        Section {
            name: "tensor-core-f16",
            arithmetic: "[{tensor-core: volta}, {tensor-core: turing}]",
            dtype: "f16",
            ..base.clone()
        },
        Section {
            name: "bf16-instructions",
            arithmetic: "[{tensor-core: amx-bf16}, {tensor-core: avx512-bf16}]",
            dtype: "bf16",
            ..base.clone()
        },
        Section {
            name: "fixed-point",
            arithmetic: "fixed-point-24",
            dtype: "[f32, bf16, f16]",
            ..base.clone()
        },
        Section { name: "exact", arithmetic: "exact", weights: "binomial", ..base.clone() },
        Section { name: "wide", arithmetic: "exact", weights: "wide", ..base.clone() },
        Section { name: "to-bf16", weights: "uniform", output: "bf16", ..base.clone() },
        Section { name: "to-f16", weights: "uniform", output: "f16", ..base },
    ])
}

const DIGESTS: [&str; 6] = ["a", "v", "dense", "operator", "rebuilt", "shifted"];

/// The digests of every case, and that no promise broke.
fn digests(manifest: &Manifest, cases: &[Case], how: &How<'_>, names: &[&str]) -> Vec<Digests> {
    let outcomes = audit_all(manifest, cases, &Expected::default(), how);
    outcomes.into_iter().map(|outcome| of(&holds(outcome), names)).collect()
}

type Digests = (String, Vec<Option<Digest>>);

fn of(record: &CaseRecord, names: &[&str]) -> Digests {
    (record.id.clone(), names.iter().map(|name| digest(record, name)).collect())
}

/// The record of a case that nothing speaks against.
fn holds(outcome: Outcome) -> CaseRecord {
    let record = outcome.record;
    assert_eq!(record.verdict, Verdict::Unpinned, "{}: {}", record.id, record.reasons.join("\n"));
    let bits = record.bits.as_ref().expect("run");
    assert!(bits.implementations_agree && bits.broken.is_empty(), "{}", record.id);
    if bits.bound.is_none() {
        assert_eq!(digest(&record, "operator"), digest(&record, "dense"), "{}", record.id);
    }
    record
}

#[test]
fn every_case_is_perturbed() {
    let manifest = every_arithmetic();
    assert_eq!(manifest.cases.len(), 8 * (4 * 2 + 2 * 3 + 2 + 2 + 3 + 4));
    let outcomes = audit_all(&manifest, &manifest.cases, &Expected::default(), &How::default());
    for record in outcomes.into_iter().map(holds) {
        assert!(digest(&record, "rebuilt").is_some(), "{}", record.id);
        // Within a bound the smallest change of a weight need not show.
        if record.arithmetic != "bounded" {
            assert_ne!(digest(&record, "rebuilt"), digest(&record, "operator"), "{}", record.id);
            assert_ne!(digest(&record, "shifted"), digest(&record, "operator"), "{}", record.id);
        }
        let bits = record.bits.expect("run");
        assert!(bits.recomputed >= 256, "{}: {}", record.id, bits.recomputed);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let manifest = every_arithmetic();
    let with = |threads| {
        let how = How { threads, ..How::default() };
        digests(&manifest, &manifest.cases, &how, &DIGESTS)
    };
    let one = with(1);
    for threads in [2, 7] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}

#[test]
fn the_instruction_set_and_the_strategy_change_no_bit() {
    let manifest = every_arithmetic();
    // Without a contract the operator's bits are its own.
    let names = |case: &Case| match case.arithmetic.has_bit_contract() {
        true => &DIGESTS[..],
        false => &DIGESTS[..3],
    };
    let with = |isa, strategy| -> Vec<Digests> {
        let cases: Vec<Case> =
            manifest.cases.iter().map(|case| Case { strategy, ..case.clone() }).collect();
        let how = How { isa, ..How::default() };
        let outcomes = audit_all(&manifest, &cases, &Expected::default(), &how);
        let pairs = outcomes.into_iter().zip(&cases);
        pairs
            .map(|(outcome, case)| {
                let record = holds(outcome);
                let plan = &record.bits.as_ref().expect("run").plan;
                if strategy != Plan::Auto {
                    let asked = plan.starts_with(&format!("{strategy} (asked for"));
                    assert!(asked, "{}: {plan}", record.id);
                }
                of(&record, names(case))
            })
            .collect()
    };
    let portable = with(Isa::Portable, Plan::Dense);
    for isa in Isa::available() {
        for strategy in Plan::ALL {
            assert_eq!(with(isa, strategy), portable, "{isa}, {strategy}");
        }
    }
}

#[test]
fn the_manifest_and_the_command_line_reach_strategy_and_instruction_set() {
    let section = Section { shape: (64, 40), batch: "4", ..Section::default() };
    let bench = Workbench::pinned(std::slice::from_ref(&section));
    for strategy in Plan::ALL {
        let section = Section { operator: strategy.name(), ..section.clone() };
        bench.write("manifests/small.yaml", &common::text(&[section]));
        for isa in Isa::available() {
            let arguments = [
                "manifests",
                "--no-measure",
                "--isa",
                isa.name(),
                "--force",
                "--json",
                "record.json",
            ];
            let ran = bench.verify(&arguments);
            assert_eq!(ran.code, 0, "{isa}, {strategy}: {}", ran.stdout);
            let record = bench.record("record.json");
            assert_eq!(record.options.isa, isa.name());
            let plan = &record.cases[0].bits.as_ref().expect("run").plan;
            let asked = plan.starts_with(&format!("{strategy} (asked for"));
            assert_eq!(asked, strategy != Plan::Auto, "{plan}");
        }
    }
}

#[test]
fn a_nonce_changes_the_perturbations_alone() {
    let manifest = every_arithmetic();
    let with = |nonce, names: &[&str]| {
        let how = How { nonce, ..How::default() };
        digests(&manifest, &manifest.cases, &how, names)
    };
    let kept = &DIGESTS[..4];
    assert_eq!(with(Some("nobody knew"), kept), with(None, kept));
    let perturbed = &DIGESTS[4..];
    let [without, one, other] =
        [None, Some("one"), Some("other")].map(|nonce| with(nonce, perturbed));
    let same = |x: &[Digests], y: &[Digests]| x.iter().zip(y).filter(|(x, y)| x.1 == y.1).count();
    assert_eq!((same(&without, &one), same(&without, &other), same(&one, &other)), (0, 0, 0));
    assert_eq!(with(Some("one"), perturbed), one, "one nonce, one perturbation");
}

/// The digest of `count` zeros of four bytes.
fn zeros(count: usize) -> Option<Digest> {
    Some(Digest::of(&vec![0; 4 * count]))
}

const PLAIN: [&str; 5] = [
    "f32-chain",
    "{f32-sliced: {slices: 2, dealt: 4}}",
    "fixed-point-24",
    "bounded",
    "{tensor-core: hopper}",
];

#[test]
fn all_weights_pruned_give_zeros_and_nothing_to_perturb() {
    for arithmetic in PLAIN {
        let section = Section { sparsity: "1", arithmetic, ..Section::default() };
        let record = holds(audit(section, &Expected::default(), &How::default()));
        assert_eq!(digest(&record, "operator"), zeros(40 * 24), "{arithmetic}");
        assert_eq!(digest(&record, "dense"), zeros(40 * 24), "{arithmetic}");
        assert_eq!(digest(&record, "rebuilt"), None);
        let bits = record.bits.expect("run");
        assert_eq!((bits.structure.nnz, bits.structure.dead_rows), (0, 40));
        assert_eq!(bits.perturbation, "does not apply: no element of A or V changes the output");
    }
}

#[test]
fn an_empty_sum_is_zero() {
    for arithmetic in PLAIN {
        let section = Section {
            shape: (40, 0),
            patterns: "none",
            sparsity: "",
            arithmetic,
            ..Section::default()
        };
        let record = holds(audit(section, &Expected::default(), &How::default()));
        assert_eq!(digest(&record, "operator"), zeros(40 * 24), "{arithmetic}");
        assert_eq!(digest(&record, "a"), zeros(0));
        assert_eq!(digest(&record, "v"), zeros(0));
    }
}

#[test]
fn no_rows_give_an_empty_output() {
    for arithmetic in PLAIN {
        for pattern in [
            "uniform",
            "row-magnitude",
            "element-magnitude",
            "power-law",
            "{block: 4}",
            "{dead-experts: 4}",
        ] {
            let section =
                Section { shape: (0, 16), patterns: pattern, arithmetic, ..Section::default() };
            let outcome = audit(section, &Expected::default(), &How::default());
            assert!(outcome.entry.is_ok() || arithmetic.contains("tensor"), "{:?}", outcome.entry);
            let record = holds(outcome);
            assert_eq!(digest(&record, "operator"), zeros(0), "{arithmetic}, {pattern}");
        }
    }
}

#[test]
fn one_column_and_two_thousand_follow_the_same_rule() {
    for batch in ["1", "2048"] {
        for arithmetic in PLAIN {
            let section = Section { shape: (70, 40), batch, arithmetic, ..Section::default() };
            let record = holds(audit(section, &Expected::default(), &How::default()));
            assert!(record.bits.expect("run").recomputed >= if batch == "1" { 70 } else { 256 });
        }
    }
}

/// Rows of an expert in a pattern of experts.
fn experts(pattern: &str) -> Option<usize> {
    pattern.strip_prefix("{dead-experts: ")?.strip_suffix('}')?.parse().ok()
}

/// Patterns, values and arithmetics that go together, as manifests write them.
fn any_section() -> impl Strategy<Value = (Section<'static>, usize, usize)> {
    let size = || prop_oneof![1 => Just(0usize), 1 => Just(1), 6 => 0..=70usize];
    let pattern = prop::sample::select(vec![
        "none",
        "uniform",
        "row-magnitude",
        "element-magnitude",
        "power-law",
        "two-of-four",
        "{block: 1}",
        "{block: 7}",
        "{block: 100}",
        "{dead-experts: 1}",
        "{dead-experts: 7}",
    ]);
    let sparsity = prop::sample::select(vec!["0", "0.1", "0.5", "0.8", "0.99", "1"]);
    let kind = prop::sample::select(vec![
        ("f32-chain", "heavy-tailed", "f32"),
        ("f32-chain", "uniform", "f32"),
        ("f32-chain", "heavy-tailed", "f16"),
        ("{f32-sliced: {slices: 3, dealt: 5}}", "heavy-tailed", "bf16"),
        ("{f32-sliced: {slices: 8, dealt: 1}}", "uniform", "f32"),
        ("bounded", "heavy-tailed", "f32"),
        ("bounded", "uniform", "bf16"),
        ("fixed-point-24", "heavy-tailed", "f32"),
        ("fixed-point-24", "uniform", "bf16"),
        ("fixed-point-24", "binomial", "f16"),
        ("exact", "binomial", "f32"),
        ("exact", "binomial", "f16"),
        ("exact", "wide", "f32"),
        ("{tensor-core: hopper}", "heavy-tailed", "bf16"),
        ("{tensor-core: blackwell}", "heavy-tailed", "f16"),
        ("{tensor-core: ada}", "heavy-tailed", "f32"),
        ("{tensor-core: turing}", "uniform", "f16"),
        ("{tensor-core: volta}", "heavy-tailed", "f16"),
    ]);
    let output = prop::sample::select(vec!["f32", "f32", "bf16"]);
    let operator = prop::sample::select(Plan::ALL.map(Plan::name).to_vec());
    let shape = (size(), size(), size());
    ((shape, any::<u64>(), 1..=3usize), pattern, sparsity, kind, output, operator).prop_map(
        |(((m, k, n), seed, threads), patterns, sparsity, kind, output, operator)| {
            let (arithmetic, weights, dtype) = kind;
            let mut sparsity =
                if matches!(patterns, "none" | "two-of-four") { "" } else { sparsity };
            let (mut m, k) = (m, k);
            // Whole experts, and all or some of them alive unless all are dead: manifests have no others.
            if let Some(rows) = experts(patterns) {
                m -= m % rows;
                let level = Sparsity::parse(sparsity).expect("a level");
                if level.live_of((m / rows) as u64) == 0 {
                    sparsity = "1";
                }
            }
            let section = Section {
                name: "any",
                seed,
                weights,
                shape: (m, k),
                patterns,
                sparsity,
                batch: "1",
                dtype,
                output,
                arithmetic,
                operator,
                ..Section::default()
            };
            (section, n, threads)
        },
    )
}

/// A finite value: any bits, or one of those where things go wrong.
fn any_finite() -> impl Strategy<Value = f32> {
    let special = prop::sample::select(vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        f32::from_bits(1),
        -f32::from_bits(1),
        f32::from_bits(0x007f_ffff),
        1e-38,
        -1e-30,
        1e30,
        -1e30,
        16_777_216.0,
        -16_777_216.0,
        1.0 + f32::EPSILON,
    ]);
    let bits = any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite());
    let small = (-1000..=1000i32).prop_map(|x| x as f32 / 16.0);
    prop_oneof![3 => special, 2 => bits, 3 => small]
}

/// A weight, zero as often as not; a zero may be negative.
fn any_weight() -> impl Strategy<Value = f32> {
    prop_oneof![4 => Just(0.0f32), 1 => Just(-0.0f32), 5 => any_finite()]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn no_shape_pattern_or_arithmetic_is_a_mismatch((section, n, threads) in any_section()) {
        let mut manifest = manifest(&[section]);
        for case in &mut manifest.cases {
            // Manifests have no batch of 0; the operator may meet one all the same.
            case.n = n;
        }
        let how = How { threads, ..How::default() };
        let outcome = audit_all(&manifest, &manifest.cases, &Expected::default(), &how).remove(0);
        let record = &outcome.record;
        prop_assert_eq!(record.verdict, Verdict::Unpinned, "{}: {:?}", record.id, record.reasons);
        let bits = record.bits.as_ref().expect("run");
        prop_assert!(bits.implementations_agree && bits.broken.is_empty(), "{:?}", bits.broken);
        if manifest.cases[0].arithmetic.has_bit_contract() {
            prop_assert!(digest(record, "operator") == digest(record, "dense"));
        }
        let (m, k) = (record.m, record.k);
        prop_assert_eq!(bits.structure.elements, (m * k) as u64);
        prop_assert_eq!(bits.difference.elements, (m * n) as u64);
        prop_assert!(bits.recomputed >= 256.min((m * n) as u64), "{} of {m} x {n}", bits.recomputed);
        prop_assert_eq!(bits.panels_dense.len(), 64);
    }
}

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn skipping_zeros_changes_no_bit_but_the_sign_of_a_zero(
        pairs in prop::collection::vec((any_weight(), any_finite()), 0..40)
    ) {
        let (a, v): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        let (live_a, live_v): (Vec<f32>, Vec<f32>) =
            pairs.iter().copied().filter(|(a, _)| *a != 0.0).unzip();
        let all = chain::dot(Slices::One, &a, &v) + 0.0;
        let live = chain::dot(Slices::One, &live_a, &live_v) + 0.0;
        let same = all.to_bits() == live.to_bits() || (all.is_nan() && live.is_nan());
        prop_assert!(same, "{all:e} and {live:e}");
    }

    #[test]
    fn skipping_zeros_in_slices_changes_no_bit_but_the_sign_of_a_zero(
        pairs in prop::collection::vec((any_weight(), any_finite()), 0..40),
        count in 1..5usize,
        group in 1..9usize,
    ) {
        let (a, v): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        let slices = Slices::Dealt { count, group };
        // Slices keep what they hold: the original k says which that is.
        let slice = |s: usize| {
            let mut sum = 0.0f32;
            for (k, &(a, v)) in pairs.iter().enumerate() {
                if slices.slice_of(k) == s && a != 0.0 {
                    sum = a.mul_add(v, sum);
                }
            }
            sum
        };
        let all = chain::dot(slices, &a, &v) + 0.0;
        let live = (1..count).fold(slice(0), |y, s| y + slice(s)) + 0.0;
        let same = all.to_bits() == live.to_bits() || (all.is_nan() && live.is_nan());
        prop_assert!(same, "{all:e} and {live:e}");
    }
}

#[test]
fn the_sign_of_a_zero_does_change() {
    // Why outputs are made +0 before they are hashed: the first product underflows to -0.
    let tiny = f32::from_bits(1);
    let live = chain::dot(Slices::One, &[tiny], &[-tiny]);
    let all = chain::dot(Slices::One, &[tiny, 0.0], &[-tiny, 1.0]);
    assert_eq!((live.to_bits(), all.to_bits()), ((-0.0f32).to_bits(), 0));
}

#[test]
fn a_case_whose_output_is_not_finite_is_refused() {
    // Two thousand integers near 3000 a row, with random signs, beyond the range of f16.
    let section = Section {
        weights: "wide",
        shape: (16, 64 * 2000),
        batch: "8",
        output: "f16",
        patterns: "none",
        sparsity: "",
        ..Section::default()
    };
    let outcome = audit(section, &Expected::default(), &How::default());
    let record = outcome.record;
    assert_eq!((record.verdict, record.exit_code), (Verdict::NotRun, 2));
    assert!(record.reasons[0].contains("the reference output is not finite at (row "));
    assert!(outcome.entry.is_err());
}
