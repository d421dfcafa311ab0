//! Distances of recomputed elements from y_ref: of the case's rule, and of f32-chain beside it.

use contract::arithmetic::tensor_core::Model;
use contract::arithmetic::{Arithmetic, Slices, bf16_dot, bounded, chain, fixed_point};
use contract::case::Case;
use record::compare::{Accuracy, Distance, ErrorSeen};

/// What the elements add up to.
#[derive(Default)]
pub(super) struct Accuracies {
    elements: u64,
    /// Sum of y_ref squared.
    reference_squares: f64,
    rule: Errors,
    f32_chain: Errors,
}

#[derive(Default)]
struct Errors {
    max: f64,
    squares: f64,
    bound_max: f64,
    used_max: f64,
    /// Whether an output was not finite.
    overflows: bool,
}

impl Accuracies {
    /// Adds an element `got` of a row of A and a column of V; y_ref where it is outside of its bound.
    pub fn add(&mut self, case: &Case, a: &[f32], v: &[f32], got: f32) -> Option<f64> {
        let y_ref = bounded::reference(a, v);
        let rounding = |y: f32| bounded::output_rounding(case.output, y_ref, y);
        self.elements += 1;
        self.reference_squares += y_ref * y_ref;
        let chain = case.output.round(chain::dot(Slices::One, a, v));
        self.f32_chain.add(y_ref, chain, in_binary32(a, v) + rounding(chain));
        let bound = match case.arithmetic {
            Arithmetic::FixedPoint => fixed_point::bound(a, v),
            Arithmetic::Bf16Dot(instruction) => bf16_dot::bound(instruction, a, v),
            Arithmetic::TensorCore(model) => on_tensor_cores(model, a, v),
            Arithmetic::F32Chain(_) | Arithmetic::Exact | Arithmetic::Bounded => in_binary32(a, v),
        };
        let is_inside = self.rule.add(y_ref, got, bound + rounding(got));
        (!is_inside).then_some(y_ref)
    }

    pub fn merge(&mut self, other: Accuracies) {
        self.elements += other.elements;
        self.reference_squares += other.reference_squares;
        self.rule.merge(&other.rule);
        self.f32_chain.merge(&other.f32_chain);
    }

    /// `None` where there were no elements.
    pub fn report(&self) -> Option<Accuracy> {
        let Accuracies { elements, reference_squares, ref rule, ref f32_chain } = *self;
        (elements > 0).then(|| Accuracy {
            elements,
            rule: rule.report(reference_squares),
            f32_chain: (!f32_chain.overflows).then(|| f32_chain.report(reference_squares)),
        })
    }
}

/// What elements of a contender's timed outputs add up to.
#[derive(Default)]
pub(crate) struct Seen {
    elements: u64,
    max: f64,
    squares: f64,
    reference_squares: f64,
}

impl Seen {
    /// Elements of a contender that are looked at: a share is within some per cent of that of all.
    pub(crate) const ELEMENTS: u64 = 4096;

    pub(crate) fn is_enough(&self) -> bool {
        self.elements >= Seen::ELEMENTS
    }

    /// Adds an output and its y_ref.
    pub(crate) fn add(&mut self, y_ref: f64, y: f32) {
        let error = (f64::from(y) - y_ref).abs();
        self.elements += 1;
        // A NaN stays one.
        self.max = if error > self.max || error.is_nan() { error } else { self.max };
        self.squares += error * error;
        self.reference_squares += y_ref * y_ref;
    }

    /// `None` without elements, and where one was not finite.
    pub(crate) fn report(&self) -> Option<ErrorSeen> {
        let share = (self.squares.sqrt() / self.reference_squares.sqrt()) as f32;
        let is_finite = self.max.is_finite() && self.squares.is_finite();
        (self.elements > 0 && is_finite).then_some(ErrorSeen {
            elements: self.elements,
            error_max: self.max,
            error_share: (self.reference_squares > 0.0).then_some(share),
        })
    }
}

impl Errors {
    /// Whether the element is inside of its bound.
    fn add(&mut self, y_ref: f64, y: f32, bound: f64) -> bool {
        if !y.is_finite() {
            self.overflows = true;
            return true;
        }
        let error = (f64::from(y) - y_ref).abs();
        self.max = self.max.max(error);
        self.squares += error * error;
        self.bound_max = self.bound_max.max(bound);
        if error > 0.0 {
            self.used_max = self.used_max.max(error / bound);
        }
        error <= bound
    }

    fn merge(&mut self, other: &Errors) {
        self.max = self.max.max(other.max);
        self.squares += other.squares;
        self.bound_max = self.bound_max.max(other.bound_max);
        self.used_max = self.used_max.max(other.used_max);
        self.overflows |= other.overflows;
    }

    fn report(&self, reference_squares: f64) -> Distance {
        let share = (self.squares.sqrt() / reference_squares.sqrt()) as f32;
        Distance {
            error_max: self.max,
            error_share: (reference_squares > 0.0).then_some(share),
            // Void where a row has 2^23 non-zeros or more.
            bound_max: Some(self.bound_max).filter(|bound| bound.is_finite()),
            used_max: self.used_max,
        }
    }
}

fn non_zeros(a: &[f32]) -> usize {
    a.iter().filter(|x| **x != 0.0).count()
}

/// The bound of a sum in binary32, in any order.
fn in_binary32(a: &[f32], v: &[f32]) -> f64 {
    bounded::bound(non_zeros(a), bounded::magnitude(a, v))
}

/// The bound of tensor cores: a subnormal of the format counts as its smallest normal number.
fn on_tensor_cores(model: Model, a: &[f32], v: &[f32]) -> f64 {
    let smallest = 2f32.powi(model.format.exponent_min());
    let floored = |x: &f32| if *x == 0.0 { 0.0 } else { x.abs().max(smallest) };
    let [floored_a, floored_v] = [a, v].map(|x| x.iter().map(floored).collect::<Vec<f32>>());
    let magnitude = bounded::magnitude(&floored_a, &floored_v);
    bounded::tensor_core_bound(model, a.len(), non_zeros(a), magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_of_a_contender_is_of_norms_and_never_no_number() {
        let mut seen = Seen::default();
        assert_eq!(seen.report(), None);
        seen.add(3.0, 3.5);
        seen.add(-4.0, -4.0);
        let report = seen.report().expect("two elements");
        assert_eq!((report.elements, report.error_max, report.error_share), (2, 0.5, Some(0.1)));
        let mut zeros = Seen::default();
        zeros.add(0.0, 0.0);
        assert_eq!(zeros.report().map(|report| report.error_share), Some(None));
        for y in [f32::NAN, f32::INFINITY] {
            let mut seen = Seen::default();
            seen.add(1.0, y);
            seen.add(1.0, 1.5);
            assert_eq!(seen.report(), None, "{y}");
        }
    }

    #[test]
    fn a_wrong_element_is_outside_and_shares_are_of_norms() {
        let mut errors = Errors::default();
        assert!(errors.add(3.0, 3.5, 0.5) && errors.add(-4.0, -4.0, 0.5));
        assert!(!errors.add(0.0, 0.6, 0.5));
        let report = errors.report(25.0);
        assert_eq!(report.bound_max, Some(0.5));
        assert!((report.error_max - 0.6).abs() < 1e-6 && (report.used_max - 1.2).abs() < 1e-6);
        let share = (0.25f64 + 0.36).sqrt() / 5.0;
        assert!((f64::from(report.error_share.expect("a norm")) - share).abs() < 1e-6);
        assert!(errors.add(0.0, f32::INFINITY, 0.5) && errors.overflows);
        assert_eq!(Errors::default().report(0.0).error_share, None);
    }
}
