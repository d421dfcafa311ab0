//! Operators without a contract of bits: whatever stays within the bound is right, and nothing else.

use std::sync::Mutex;

use crate::common::{Section, pin};
use crate::faulty::{bits, explains_first_element, with};
use contract::dtype::Dtype;
use ndarray::{Array2, Axis};
use record::expected::Expected;
use record::verdict::Verdict;
use sparse_verify::audit::Outcome;
use sparse_verify::cli::explain::explain;

#[test]
fn within_the_bound_any_order_is_right() {
    for output in ["f32", "bf16", "f16"] {
        let section = Section {
            arithmetic: "bounded",
            patterns: "uniform",
            weights: "uniform",
            output,
            ..Section::default()
        };
        let record = with(section.clone(), &pin(section), |f| {
            f.weights(|_, a| a.invert_axis(Axis(1))).activations(|_, v| v.invert_axis(Axis(0)))
        })
        .record;
        assert_eq!(record.verdict, Verdict::WithinBound, "{:?}", record.reasons);
        let bound = bits(&record).bound.as_ref().expect("bounded");
        assert!(bound.used_max > 0.0 && bound.used_max < 1.0, "{bound:?}");
        let difference = &bits(&record).difference;
        assert_eq!(difference.error_max.is_some(), difference.differing > 0);
        assert_eq!(difference.ulp_histogram.iter().sum::<u64>(), difference.differing);
        assert!(output != "f32" || difference.differing > 0, "{difference:?}");
    }
}

#[test]
fn bf16_inside_is_out_of_bound() {
    let section = Section { arithmetic: "bounded", weights: "uniform", ..Section::default() };
    let expected = pin(section.clone());
    for expected in [&expected, &Expected::default()] {
        let Outcome { record, entry } = with(section.clone(), expected, |f| {
            f.weights(|_, a| a.mapv_inplace(|x| Dtype::Bf16.round(x)))
        });
        assert_eq!(record.verdict, Verdict::OutOfBound, "{:?}", record.reasons);
        assert_eq!(record.exit_code, 1);
        let reasons = record.reasons.join("\n");
        assert!(reasons.contains("outside the bound: "), "{reasons}");
        let first = bits(&record).difference.first.expect("differs");
        explains_first_element(&record, first.row, first.column);
        assert!(explain(&record).contains("ULPs away: "));
        assert!(entry.is_err());
    }
}

#[test]
fn weights_that_never_change_are_out_of_bound() {
    let section = Section {
        arithmetic: "bounded",
        patterns: "uniform",
        sparsity: "0",
        weights: "uniform",
        ..Section::default()
    };
    let record = with(section.clone(), &pin(section), |f| {
        let first: Mutex<Option<Array2<f32>>> = Mutex::default();
        f.weights(move |_, a| {
            let mut first = first.lock().expect("not poisoned");
            let first = first.get_or_insert_with(|| a.clone());
            if first.dim() == a.dim() {
                a.assign(first);
            }
        })
    })
    .record;
    assert_eq!(record.verdict, Verdict::OutOfBound, "{:?}", record.reasons);
    let reasons = record.reasons.join("\n");
    assert!(reasons.contains("perturbation, rebuilt operator: outside the bound"), "{reasons}");
}

#[test]
fn out_of_bound_from_the_second_call_on_is_out_of_bound() {
    let section = Section { arithmetic: "bounded", weights: "uniform", ..Section::default() };
    let record = with(section.clone(), &pin(section), |f| {
        f.result(|call, mut y| {
            if call.number > 0 {
                y.mapv_inplace(|x| Dtype::Bf16.round(x));
            }
        })
    })
    .record;
    assert_eq!(record.verdict, Verdict::OutOfBound, "{:?}", record.reasons);
    let reasons = record.reasons.join("\n");
    assert!(reasons.contains("perturbation, operator not rebuilt: outside the bound"), "{reasons}");
    let bound = bits(&record).bound.as_ref().expect("bounded");
    assert_eq!(bound.outside, 0, "the first call was right");
}
