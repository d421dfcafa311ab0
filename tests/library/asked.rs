//! Whole outputs of an operator on a device, asked for while the reference is computed: the bits are those of the same
//! operator called here, chunk by chunk, and whatever is wrong with an answer is seen.

use std::ops::Range;
use std::path::Path;

use contract::case::Case;
use contract::inputs::spec::Values;
use contract::inputs::{Weights, activations};
use ndarray::{Array2, ArrayView2};
use sparse_verify::backend::cpu::{Isa, fill_synthetic};
use sparse_verify::check::bits::{
    self, Answer, Ask, Asked, Bits, CaseError, Maker, Options, Rows, Subject, Whole,
};
use sparse_verify::check::memory::{is_held_whole, needed_bytes};
use sparse_verify::manifest;
use sparse_verify::operator::{DenseReference, Operator, Staged, skip_operator};

const MANIFEST: &str = "format: sparse-verify/2
title: One
sections:
  - name: one
    weights: {synthetic: uniform}
    seed: 1
    layers: {name: up, shape: [700, 64]}
    dtype: f32
    batch: 9
    sparsity: 0.5
    patterns: row-magnitude
    arithmetic: f32-chain
";

fn inputs() -> (Case, Weights, Array2<f32>) {
    let manifest = manifest::parse(Path::new("one.yaml"), MANIFEST.as_bytes());
    let case = manifest.expect("a good manifest").cases.remove(0);
    let source = Box::new(case.recipe().values(Values::Uniform, fill_synthetic));
    let weights = case.recipe().synthetic(Values::Uniform, source, &mut None, 1);
    let shape = (case.k, case.n);
    let v = activations(case.seed, Values::Uniform, shape, case.dtype, fill_synthetic, 1);
    (case, weights.expect("synthetic"), v)
}

fn run(
    case: &Case,
    weights: &Weights,
    v: &Array2<f32>,
    maker: Maker<'_>,
) -> Result<Bits, CaseError> {
    let reference =
        DenseReference { arithmetic: case.arithmetic, output: case.output, isa: Isa::best() };
    let subject = Subject {
        case,
        weights,
        weights_are_moderate: true,
        v: v.clone(),
        maker,
        reference: &reference,
        options: Options { threads: 2, nonce: None, is_remote: false, keeps_dense: false },
    };
    bits::run(&subject, &|_| {})
}

/// What is asked for, by an operator of this process.
fn answer(
    operator: &dyn Operator,
    weights: &Weights,
    asked: &Asked<'_>,
) -> Result<[Array2<f32>; 3], CaseError> {
    let (v2, changes) = asked.perturbed.expect("the perturbation test applies");
    let a = weights.rows(0..weights.recipe().m)?;
    let mut a1 = a.clone();
    changes.change_weights(0, &mut a1);
    let apply = |a: &Array2<f32>, v: ArrayView2<'_, f32>| {
        let mut staged = Staged::default();
        operator.stage(v, &mut staged, 1)?;
        let mut y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
        operator.build(a.view())?.apply(v, &staged, y.view_mut(), 1)?;
        Ok::<_, CaseError>(y)
    };
    Ok([apply(&a, asked.v)?, apply(&a1, asked.v)?, apply(&a, v2.view())?])
}

fn answered([y, rebuilt, shifted]: [Array2<f32>; 3]) -> Answer {
    let whole = |y| Box::new(Whole(y)) as Box<dyn Rows>;
    Answer {
        y: whole(y),
        rebuilt: Some(whole(rebuilt)),
        shifted: Some(whole(shifted)),
        broken: Vec::new(),
        plan: "as it was asked".into(),
    }
}

/// The bits where an answer was changed.
fn with(change: impl Fn(&mut [Array2<f32>; 3]) + Sync) -> Bits {
    let (case, weights, v) = inputs();
    let operator = skip_operator(&case, Isa::best());
    let ask = |asked: &Asked<'_>| {
        let mut outputs = answer(&*operator, &weights, asked)?;
        change(&mut outputs);
        Ok(answered(outputs))
    };
    run(&case, &weights, &v, Maker::OnDevice(&ask, &*operator)).expect("it is answered")
}

#[test]
fn whole_outputs_have_the_bits_of_chunks() {
    let (case, weights, v) = inputs();
    let operator = skip_operator(&case, Isa::best());
    let here = run(&case, &weights, &v, Maker::Operator(&*operator)).expect("it runs");
    let asked = with(|_| {});
    assert!(here.implementations_agree() && asked.implementations_agree());
    let digests = |bits: &Bits| {
        let Bits { a, v, dense, operator, rebuilt, shifted, .. } = bits;
        let all =
            [Some(a), Some(v), Some(dense), Some(operator), rebuilt.as_ref(), shifted.as_ref()];
        all.map(|hashed| hashed.map(|hashed| hashed.digest))
    };
    assert_eq!(digests(&here), digests(&asked));
    assert!(digests(&here).iter().all(Option::is_some));
    assert_eq!(asked.plan, "as it was asked");
}

#[test]
fn one_wrong_element_of_any_output_is_seen() {
    for which in 0..3 {
        for at in [0, 699 * 9 + 8] {
            let bits = with(|outputs| {
                let y = outputs[which].as_slice_mut().expect("row-major");
                y[at] = f32::from_bits(y[at].to_bits() ^ 1);
            });
            assert!(!bits.implementations_agree(), "{which}, {at}");
            assert_eq!(bits.difference.is_none(), which != 0, "{which}, {at}");
        }
    }
}

#[test]
fn an_operator_that_gives_no_answer_ends_the_case() {
    let (case, weights, v) = inputs();
    let operator = skip_operator(&case, Isa::best());
    let asks: [(&Ask<'_>, &str); 3] = [
        (&|_| Err(CaseError::Environment("the device is gone".into())), "the device is gone"),
        (&|_| panic!("a fault"), "a fault"),
        (
            &|asked| {
                let outputs = answer(&*operator, &weights, asked)?;
                Ok(Answer { y: Box::new(Lost), ..answered(outputs) })
            },
            "no such rows",
        ),
    ];
    for (ask, why) in asks {
        let stopped = run(&case, &weights, &v, Maker::OnDevice(ask, &*operator));
        let error = stopped.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(why), "{error}");
    }
}

/// An output whose memory cannot be read.
struct Lost;

impl Rows for Lost {
    fn rows(&self, _: Range<usize>) -> Result<Array2<f32>, CaseError> {
        Err(CaseError::Environment("no such rows".into()))
    }
}

#[test]
fn what_is_too_large_for_a_device_is_asked_for_in_parts() {
    let (case, _, _) = inputs();
    let whole = 4 * (700 * 64 + 3 * 700 * 9);
    assert!(is_held_whole(&case, 8 * whole) && !is_held_whole(&case, 8 * whole - 8));
    // All of A and the outputs are announced, where they are held.
    let here = needed_bytes(&case, 2, None);
    assert_eq!(needed_bytes(&case, 2, Some(8 * whole)), here + whole);
    let large = Case { m: 53_248, k: 16_384, ..case };
    assert!(!is_held_whole(&large, u64::MAX));
}
