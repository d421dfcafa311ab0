//! Operators that are wrong in the ways operators are wrong. Each must be refuted, the reasons
//! must say by what, and `verify explain` must show it from the record alone.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::common::{How, Section, audit, audit_all, digest, manifest, pin};
use crate::faulty::{Faulty, bits, explains_first_element, refuted, with};
use contract::arithmetic::{Arithmetic, Slices, fixed_point};
use contract::case::Case;
use contract::dtype::Dtype;
use ndarray::{Array2, Axis};
use record::expected::Expected;
use record::verdict::Verdict;
use record::{BitsRecord, CaseRecord};
use sparse_verify::audit::Outcome;
use sparse_verify::backend::cpu::Isa;
use sparse_verify::cli::explain::explain;
use sparse_verify::operator::Operator;

/// Rows of A that hold a non-zero, by the digests' own inputs.
fn live_rows(section: &Section<'_>) -> Vec<usize> {
    let a = weights(section);
    (0..a.nrows()).filter(|&i| a.row(i).iter().any(|&x| x != 0.0)).collect()
}

fn weights(section: &Section<'_>) -> Array2<f32> {
    let manifest = manifest(std::slice::from_ref(section));
    let case = &manifest.cases[0];
    let contract::case::Weights::Synthetic(values) = case.weights else {
        unreachable!("sections of these tests are synthetic")
    };
    let recipe = case.recipe();
    let source = Box::new(recipe.values(values, contract::inputs::synthetic::fill));
    let weights = recipe.synthetic(values, source, &mut None, 1).expect("synthetic");
    weights.rows(0..case.m).expect("synthetic")
}

#[test]
fn the_harness_without_a_fault_is_not_refuted() {
    for arithmetic in [
        "f32-chain",
        "{f32-sliced: {slices: 4, dealt: 8}}",
        "fixed-point-24",
        "{tensor-core: hopper}",
        "{tensor-core: amx-bf16}",
        "{tensor-core: avx512-bf16}",
    ] {
        let dtype = if arithmetic.contains("-bf16") { "bf16" } else { Section::default().dtype };
        let section = Section { arithmetic, dtype, ..Section::default() };
        let outcome = with(section.clone(), &Expected::default(), |f| f);
        assert_eq!(outcome.record.verdict, Verdict::Unpinned, "{:?}", outcome.record.reasons);
        assert!(bits(&outcome.record).broken.is_empty());
        assert!(bits(&outcome.record).rebuilt_and_shifted_apply());
        let verified = with(section.clone(), &pin(section), |f| f).record;
        assert_eq!(verified.verdict, Verdict::Verified, "{:?}", verified.reasons);
    }
}

trait Applies {
    fn rebuilt_and_shifted_apply(&self) -> bool;
}

impl Applies for BitsRecord {
    fn rebuilt_and_shifted_apply(&self) -> bool {
        self.perturbation.contains("A[") && self.perturbation.contains("in a row that was dead")
    }
}

#[test]
fn zero_output_is_refuted() {
    let record = refuted(
        Section::default(),
        |f| f.result(|_, mut y| y.fill(0.0)),
        &["vacuous output", "elements are zero that should not be"],
    );
    let first = live_rows(&Section::default())[0];
    explains_first_element(&record, first, 0);
}

#[test]
fn zero_output_is_refuted_under_every_arithmetic() {
    for (arithmetic, weights) in [
        ("{f32-sliced: {slices: 2, contiguous: 48}}", "uniform"),
        ("{tensor-core: ampere}", "heavy-tailed"),
        ("{tensor-core: amx-bf16}", "heavy-tailed"),
        ("{tensor-core: avx512-bf16}", "heavy-tailed"),
        ("exact", "binomial"),
        ("fixed-point-24", "uniform"),
        ("bounded", "uniform"),
    ] {
        let dtype = if arithmetic.contains("-bf16") { "bf16" } else { Section::default().dtype };
        let section = Section { arithmetic, weights, dtype, ..Section::default() };
        refuted(section, |f| f.result(|_, mut y| y.fill(0.0)), &["vacuous output"]);
    }
}

#[test]
fn negative_zero_output_is_zero_output() {
    let negative =
        refuted(Section::default(), |f| f.result(|_, mut y| y.fill(-0.0)), &["vacuous output"]);
    let zero =
        refuted(Section::default(), |f| f.result(|_, mut y| y.fill(0.0)), &["vacuous output"]);
    assert_eq!(digest(&negative, "operator"), digest(&zero, "operator"));
    assert_eq!(bits(&negative).negative_zeros_operator, (negative.m * negative.n) as u64);
}

#[test]
fn constant_output_is_refuted() {
    let record = refuted(
        Section::default(),
        |f| f.result(|_, mut y| y.fill(0.5)),
        &["vacuous output: every element of the operator's output is the same"],
    );
    explains_first_element(&record, 0, 0);
}

#[test]
fn output_left_unwritten_from_the_second_call_on_is_refuted() {
    let record = refuted(
        Section::default(),
        |f| {
            f.result(|call, mut y| {
                if call.number > 0 {
                    y.assign(call.before);
                }
            })
        },
        &["perturbation, operator not rebuilt", "0x7fc00000 (NaN)", "perturbation, rebuilt"],
    );
    assert!(bits(&record).difference.is_none(), "the first call was right");
}

#[test]
fn the_first_result_given_again_is_refuted() {
    let record = refuted(
        Section::default(),
        |f| {
            let first = Mutex::new(HashMap::new());
            f.result(move |_, mut y| {
                let mut first = first.lock().expect("not poisoned");
                let first = first.entry(y.dim()).or_insert_with(|| y.to_owned());
                y.assign(first);
            })
        },
        &[
            "perturbation, operator not rebuilt: scaled and permuted activations do not give",
            "perturbation, rebuilt operator: a zero weight that became 1 is not taken in",
            "perturbation in place",
        ],
    );
    assert!(bits(&record).difference.is_none(), "the first call was right");
}

#[test]
fn a_last_row_left_unwritten_is_refuted() {
    // Every row lives, so that the last one is not right by accident.
    let section = Section { patterns: "uniform", ..Section::default() };
    let record = refuted(
        section,
        |f| {
            f.result(|call, mut y| {
                let last = y.nrows() - 1;
                y.row_mut(last).assign(&call.before.row(last));
            })
        },
        &["elements were left unwritten", "24 are not numbers"],
    );
    explains_first_element(&record, 39, 0);
    assert_eq!(bits(&record).difference.not_numbers, 24);
}

#[test]
fn a_dead_last_row_left_unwritten_is_refuted() {
    let section = Section::default();
    let last = section.shape.0 - 1;
    let seed = (0..)
        .find(|&seed| !live_rows(&Section { seed, ..section.clone() }).contains(&last))
        .expect("half of the rows are dead");
    let record = refuted(
        Section { seed, ..section },
        |f| {
            f.result(|call, mut y| {
                let last = y.nrows() - 1;
                y.row_mut(last).assign(&call.before.row(last));
            })
        },
        &["elements were left unwritten"],
    );
    explains_first_element(&record, last, 0);
}

#[test]
fn a_last_row_of_zeros_is_refuted() {
    let section = Section { patterns: "uniform", ..Section::default() };
    let record = refuted(
        section,
        |f| {
            f.result(|_, mut y| {
                let last = y.nrows() - 1;
                y.row_mut(last).fill(0.0);
            })
        },
        &["elements are zero that should not be", "24 of 960 elements differ"],
    );
    explains_first_element(&record, 39, 0);
    let text = explain(&record);
    assert!(text.contains("row panels that differ: 1 of 64, first 63 (rows 39..39)"), "{text}");
}

#[test]
fn one_more_pruned_weight_is_refuted() {
    let section = Section { patterns: "uniform", ..Section::default() };
    let record = refuted(
        section.clone(),
        |f| {
            f.weights(|_, a| {
                // The smallest of the last row: the one that would be missed least.
                let last = a.nrows() - 1;
                let live = a.row_mut(last).into_iter().filter(|x| **x != 0.0);
                if let Some(x) = live.min_by(|x, y| x.abs().total_cmp(&y.abs())) {
                    *x = 0.0;
                }
            })
        },
        &[" of 960 elements differ", "first at (row 39, column "],
    );
    let difference = &bits(&record).difference;
    let first = difference.first.expect("differs");
    assert_eq!(first.row, 39, "only the row that lost a weight");
    assert!(difference.differing <= 24);
    explains_first_element(&record, 39, first.column);
    assert!(explain(&record).contains("ULPs away: "));
}

#[test]
fn a_reversed_k_order_is_refuted() {
    let record = refuted(
        Section { patterns: "uniform", weights: "uniform", ..Section::default() },
        |f| f.weights(|_, a| a.invert_axis(Axis(1))).activations(|_, v| v.invert_axis(Axis(0))),
        &["accumulated in another order", "ULPs away: 1: "],
    );
    let difference = &bits(&record).difference;
    assert!(difference.ulp_histogram[0] > 100, "{difference:?}");
    assert_eq!(difference.ulp_histogram.iter().sum::<u64>(), difference.differing);
}

#[test]
fn bf16_inside_is_refuted() {
    let to_bf16 = |f: Faulty| {
        f.weights(|_, a| a.mapv_inplace(|x| Dtype::Bf16.round(x)))
            .activations(|_, v| v.mapv_inplace(|x| Dtype::Bf16.round(x)))
    };
    let words = ["rounded to a shorter format", "ULPs away: "];
    refuted(Section { weights: "uniform", ..Section::default() }, to_bf16, &words);
    // Exact in 12 bits, not in 8: any order of summation is right, a shorter format is not.
    let wide = Section { weights: "wide", arithmetic: "exact", ..Section::default() };
    refuted(wide, to_bf16, &["shorter format"]);
}

#[test]
fn what_the_exact_arithmetic_allows_is_verified() {
    // Narrow integers are exact in bf16, and their sums in every order.
    let section = Section { weights: "binomial", arithmetic: "exact", ..Section::default() };
    let faults: [fn(Faulty) -> Faulty; 2] = [
        |f| f.weights(|_, a| a.invert_axis(Axis(1))).activations(|_, v| v.invert_axis(Axis(0))),
        |f| f.weights(|_, a| a.mapv_inplace(|x| Dtype::Bf16.round(x))),
    ];
    for fault in faults {
        let record = with(section.clone(), &pin(section.clone()), fault).record;
        assert_eq!(record.verdict, Verdict::Verified, "{:?}", record.reasons);
    }
}

/// Keeps the first of what lies at a place, and gives it again ever after.
fn kept<K: std::hash::Hash + Eq>(
    kept: &Mutex<HashMap<K, Array2<f32>>>,
    key: K,
    x: &mut Array2<f32>,
) {
    let mut kept = kept.lock().expect("not poisoned");
    let first = kept.entry(key).or_insert_with(|| x.to_owned()).clone();
    x.assign(&first);
}

/// Only the pass with inputs changed where they lie may have noticed.
fn only_in_place(record: &CaseRecord) {
    let bits = bits(record);
    assert!(bits.difference.is_none());
    assert_eq!(bits.broken.len(), 1, "{:?}", bits.broken);
    assert!(bits.broken[0].starts_with("perturbation in place, same addresses"));
}

#[test]
fn a_result_kept_by_the_addresses_of_a_and_v_is_refuted() {
    let record = refuted(
        Section::default(),
        |f| {
            let results = Mutex::new(HashMap::new());
            f.result(move |call, mut y| {
                let mut result = y.to_owned();
                kept(&results, (call.a, call.v), &mut result);
                y.assign(&result);
            })
        },
        &["the output does not follow inputs that changed where they lie"],
    );
    only_in_place(&record);
}

#[test]
fn weights_kept_by_address_are_refuted() {
    let record = refuted(
        Section::default(),
        |f| {
            let matrices = Mutex::new(HashMap::new());
            f.weights(move |place, a| kept(&matrices, place, a))
        },
        &["the output does not follow inputs that changed where they lie"],
    );
    only_in_place(&record);
}

#[test]
fn activations_kept_by_address_are_refuted() {
    let record = refuted(
        Section::default(),
        |f| {
            let matrices = Mutex::new(HashMap::new());
            f.activations(move |place, v| kept(&matrices, place, v))
        },
        &["the output does not follow inputs that changed where they lie"],
    );
    only_in_place(&record);
}

#[test]
fn noise_of_one_ulp_in_one_element_is_refuted() {
    let record = refuted(
        Section { patterns: "uniform", ..Section::default() },
        |f| {
            f.result(|call, mut y| {
                // Another element in every call.
                let at = (call.number * 7919 + 389) % y.len();
                let (i, j) = (at / y.ncols(), at % y.ncols());
                y[[i, j]] = f32::from_bits(y[[i, j]].to_bits() ^ 1);
            })
        },
        &["1 of 960 elements differ", "(1 ULP)", "ULPs away: 1: 1"],
    );
    explains_first_element(&record, 389 / 24, 389 % 24);
}

#[test]
fn noise_after_the_first_call_is_refuted_by_the_perturbations() {
    let record = refuted(
        Section { patterns: "uniform", ..Section::default() },
        |f| {
            f.result(|call, mut y| {
                if call.number > 0 {
                    let at = (call.number * 7919) % y.len();
                    let (i, j) = (at / y.ncols(), at % y.ncols());
                    y[[i, j]] = f32::from_bits(y[[i, j]].to_bits() ^ 1);
                }
            })
        },
        &["perturbation, operator not rebuilt", "a row changed although its weights did not"],
    );
    assert!(bits(&record).difference.is_none(), "the first call was right");
}

#[test]
fn dead_rows_remembered_from_the_first_build_are_refuted() {
    let record = refuted(
        Section::default(),
        |f| {
            let dead: Mutex<HashMap<(usize, usize), Vec<bool>>> = Mutex::default();
            f.weights(move |_, a| {
                let is_dead = |a: &Array2<f32>| {
                    a.rows().into_iter().map(|row| row.iter().all(|&x| x == 0.0)).collect()
                };
                let mut dead = dead.lock().expect("not poisoned");
                let dead = dead.entry(a.dim()).or_insert_with(|| is_dead(a));
                for (mut row, dead) in a.rows_mut().into_iter().zip(dead) {
                    if *dead {
                        row.fill(0.0);
                    }
                }
            })
        },
        &["perturbation, rebuilt operator: a zero weight that became 1 is not taken in"],
    );
    assert!(bits(&record).difference.is_none(), "the first build was right");
    assert!(bits(&record).perturbation.contains("in a row that was dead"));
}

#[test]
fn activations_taken_from_a_cache_of_similar_ones_are_refuted() {
    let record = refuted(
        Section { weights: "uniform", ..Section::default() },
        |f| {
            let first: Mutex<Option<Array2<f32>>> = Mutex::default();
            f.activations(move |_, v| {
                let mut first = first.lock().expect("not poisoned");
                let first = first.get_or_insert_with(|| v.clone());
                for mut column in v.columns_mut() {
                    // A column that is a known one, scaled, but for one element in a hundred.
                    let similar = first.columns().into_iter().find_map(|known| {
                        let ratio = |(x, y): (&f32, &f32)| x / y;
                        let ratios: Vec<f32> = column.iter().zip(known).map(ratio).collect();
                        let middle = ratios[ratios.len() / 2];
                        let same = ratios.iter().filter(|r| **r == middle).count();
                        (same + 2 >= ratios.len()).then(|| known.mapv(|x| x * middle + 0.0))
                    });
                    if let Some(similar) = similar {
                        column.assign(&similar);
                    }
                }
            })
        },
        &["perturbation, operator not rebuilt: the changed activation is not taken in"],
    );
    assert!(bits(&record).difference.is_none(), "the first activations were right");
}

#[test]
fn sliced_sums_in_the_place_of_a_chain_are_refuted() {
    for slices in [Slices::Contiguous { count: 2, len: 48 }, Slices::Dealt { count: 4, group: 8 }] {
        let operator = move |case: &Case, isa: Isa| -> Box<dyn Operator> {
            let arithmetic = Arithmetic::F32Chain(slices);
            Box::new(Faulty::new(case, isa).computing(arithmetic))
        };
        let section = Section { patterns: "uniform", weights: "uniform", ..Section::default() };
        let how = How { operator: &operator, ..How::default() };
        let Outcome { record, entry } = audit(section, &Expected::default(), &how);
        assert_eq!(record.verdict, Verdict::Mismatch);
        let reasons = record.reasons.join("\n");
        assert!(reasons.contains("the sums were accumulated in another order"), "{reasons}");
        assert!(explain(&record).contains("ULPs away: 1: "), "{}", explain(&record));
        assert!(entry.expect_err("refuted").contains("elements differ"));
    }
}

#[test]
fn another_tensor_core_is_refuted() {
    for (rule, other) in [
        ("{tensor-core: hopper}", "{tensor-core: ampere}"),
        ("{tensor-core: amx-bf16}", "{tensor-core: avx512-bf16}"),
        ("{tensor-core: avx512-bf16}", "{tensor-core: amx-bf16}"),
        ("{tensor-core: avx512-bf16}", "f32-chain"),
    ] {
        let section = Section { arithmetic: rule, dtype: "bf16", ..Section::default() };
        let other = manifest(&[Section { arithmetic: other, ..section.clone() }]);
        let arithmetic = other.cases[0].arithmetic;
        let operator = move |case: &Case, isa: Isa| -> Box<dyn Operator> {
            Box::new(Faulty::new(case, isa).computing(arithmetic))
        };
        let how = How { operator: &operator, ..How::default() };
        let record = audit(section, &Expected::default(), &how).record;
        assert_eq!(record.verdict, Verdict::Mismatch, "{rule}");
        assert!(bits(&record).difference.differing > 50, "{rule}");
    }
}

#[test]
fn another_rule_in_the_place_of_fixed_point_is_refuted() {
    let section =
        Section { arithmetic: "fixed-point-24", patterns: "uniform", ..Section::default() };
    let chain = move |case: &Case, isa: Isa| -> Box<dyn Operator> {
        Box::new(Faulty::new(case, isa).computing(Arithmetic::F32Chain(Slices::One)))
    };
    let how = How { operator: &chain, ..How::default() };
    let record = audit(section.clone(), &Expected::default(), &how).record;
    assert_eq!(record.verdict, Verdict::Mismatch);
    assert!(bits(&record).difference.differing > 100);
    // Rows to integers of one bit less, as with a limit of 2^22: the difference is in the last places.
    let coarser = |faulty: Faulty| {
        faulty.weights(|_, a| {
            for mut row in a.rows_mut() {
                let (e, _) = fixed_point::integers(&row.to_vec());
                let unit = fixed_point::exp2(1 - e);
                row.mapv_inplace(|x| (f64::from(fixed_point::integer(x, e - 1)) * unit) as f32);
            }
        })
    };
    let record = refuted(section, coarser, &["elements differ"]);
    assert!(bits(&record).difference.differing > 100);
}

/// The scale of a column is its own in each call: by one that is kept from the first call the integers of
/// the scaled V are too large.
#[test]
fn a_scale_that_is_kept_is_refuted() {
    let section = Section { arithmetic: "fixed-point-24", ..Section::default() };
    let kept = |faulty: Faulty| {
        let first: Mutex<Option<(usize, usize, Vec<i32>)>> = Mutex::new(None);
        faulty.activations(move |_, v| {
            let mut first = first.lock().expect("no test panics under it");
            let scales =
                || v.columns().into_iter().map(|v| fixed_point::integers(&v.to_vec()).0).collect();
            let (k, n, scales) = first.get_or_insert_with(|| (v.nrows(), v.ncols(), scales()));
            if (*k, *n) != v.dim() {
                return;
            }
            for (mut column, f) in v.columns_mut().into_iter().zip(scales) {
                let (unit, most) = (fixed_point::exp2(-*f), fixed_point::INTEGER_MAX);
                column.mapv_inplace(|x| {
                    let integer = fixed_point::integer(x, *f).clamp(-most, most);
                    (f64::from(integer) * unit) as f32
                });
            }
        })
    };
    let how = "perturbation, operator not rebuilt";
    let record = refuted(section, kept, &[how]);
    assert!(bits(&record).difference.is_none(), "the first activations were right");
}

#[test]
fn output_that_is_not_a_number_is_refuted() {
    let everywhere = refuted(
        Section::default(),
        |f| f.result(|_, mut y| y.fill(f32::NAN)),
        &["960 are not numbers", "vacuous output", "elements were left unwritten"],
    );
    explains_first_element(&everywhere, 0, 0);
    let somewhere = refuted(
        Section::default(),
        |f| f.result(|_, mut y| y[[17, 5]] = f32::NAN),
        &["1 of 960 elements differ", "1 are not numbers"],
    );
    explains_first_element(&somewhere, 17, 5);
    // With a 16-bit output the bits are other, the verdict is the same.
    let bf16 = Section { output: "bf16", ..Section::default() };
    refuted(bf16, |f| f.result(|_, mut y| y[[17, 5]] = f32::NAN), &["1 are not numbers"]);
}

#[test]
fn infinite_output_is_refuted() {
    let record = refuted(
        Section::default(),
        |f| f.result(|_, mut y| y[[0, 23]] = f32::INFINITY),
        &["1 of 960 elements differ", "0x7f800000"],
    );
    explains_first_element(&record, 0, 23);
}

#[test]
fn the_difference_of_a_refuted_operator_counts_each_element_once() {
    for arithmetic in ["f32-chain", "bounded"] {
        let section = Section { arithmetic, ..Section::default() };
        let record = with(section, &Expected::default(), |f| f.result(|_, mut y| y[[3, 3]] = 1e9));
        let bits = bits(&record.record);
        let refuted = bits.bound.as_ref().map_or(bits.difference.differing, |b| b.outside);
        assert_eq!((bits.difference.elements, refuted), (960, 1), "{arithmetic}");
    }
}

#[test]
fn zeros_are_pinned_only_where_the_reference_predicts_them() {
    let zeros: fn(Faulty) -> Faulty = |f| f.result(|_, mut y| y.fill(0.0));
    let refused = with(Section::default(), &Expected::default(), zeros);
    let reason = refused.entry.expect_err("vacuous");
    assert!(reason.contains("vacuous output"), "{reason}");
    // All weights are pruned: zeros are what is right.
    let section = Section { sparsity: "1", ..Section::default() };
    let predicted = with(section, &Expected::default(), zeros);
    let (entry, _) = predicted.entry.expect("predicted");
    assert_eq!(Some(entry.dense), entry.operator);
    assert_eq!((entry.rebuilt, entry.shifted), (None, None), "nothing can be perturbed");
    assert_eq!(predicted.record.verdict, Verdict::Unpinned);
}

#[test]
fn one_output_of_different_weights_and_equal_activations_is_refused() {
    // One weight of two is pruned, and the activation that it meets is 0: an honest operator
    // gives the same output for both matrices, and the digest shows nothing about the pruning.
    let sections = |seed| {
        let section = Section {
            seed,
            weights: "binomial",
            activations: Some("ternary"),
            arithmetic: "exact",
            shape: (1, 2),
            batch: "1",
            ..Section::default()
        };
        let whole = Section { name: "whole", patterns: "none", sparsity: "", ..section.clone() };
        let pruned = Section { name: "pruned", patterns: "element-magnitude", ..section };
        manifest(&[whole, pruned])
    };
    let audit = |seed| {
        let manifest = sections(seed);
        audit_all(&manifest, &manifest.cases, &Expected::default(), &How::default())
    };
    let shares = |outcomes: &[Outcome]| {
        let of = |name| [0, 1].map(|i| digest(&outcomes[i].record, name));
        let [(a, b), (v, w), (y, z)] = ["a", "v", "operator"].map(of).map(|[x, y]| (x, y));
        assert_eq!(v, w, "one seed, one shape: one V");
        a != b && y == z
    };
    let outcomes =
        (0..200).map(audit).find(|o| shares(o)).expect("three of eight activations are 0");
    assert_eq!(outcomes[0].record.verdict, Verdict::Unpinned);
    assert!(outcomes[0].entry.is_ok());
    let second = &outcomes[1];
    assert_eq!(second.record.verdict, Verdict::Mismatch);
    let reason = second.entry.as_ref().expect_err("shared");
    assert!(reason.contains("vacuous output: `whole/up/none/b1/f32/exact` has other weights"));
    assert_eq!(second.record.reasons.last(), Some(reason));
}

#[test]
fn one_output_of_equal_weights_is_not_refused() {
    // Sparsity 1 gives zeros whatever the pattern.
    let patterns = "[uniform, row-magnitude, power-law, {block: 16}]";
    let manifest = manifest(&[Section { patterns, sparsity: "1", ..Section::default() }]);
    let outcomes = audit_all(&manifest, &manifest.cases, &Expected::default(), &How::default());
    assert_eq!(outcomes.len(), 4);
    for outcome in outcomes {
        assert_eq!(outcome.record.verdict, Verdict::Unpinned);
        assert!(outcome.entry.is_ok(), "{:?}", outcome.entry);
    }
}
