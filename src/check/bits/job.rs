//! What the threads of a case do: a chunk of rows made, multiplied, compared and handed to the hashers.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use contract::arithmetic::Arithmetic;
use contract::case::Case;
use contract::perturbation::Perturbation;
use ndarray::{Array2, ArrayView2, s};
use record::compare::Difference;

use super::super::lanes::Lanes;
use super::super::tally::{OPERATOR_ITSELF, Tally};
use super::samples::Samples;
use super::{
    ADDRESS_CHECK_SIZE, CaseError, Outputs, Reference, Subject, positive_zeros, require_ieee,
};

use crate::operator::{Built, Operator, Staged};

// Places of tensors that are hashed.
const A: usize = 0;
const OPERATOR: usize = 1;
const DENSE: usize = 2;

/// The perturbed outputs.
#[derive(Clone, Copy)]
pub(super) enum Perturbed {
    /// A1 V.
    Rebuilt,
    /// A V2.
    Shifted,
}

/// Where outputs come from.
pub(super) enum Made<'a> {
    Here {
        operator: &'a dyn Operator,
        staged: Staged,
        /// V' as the operator wants it.
        shifted: Option<Staged>,
    },
    Elsewhere(&'a Outputs<'a>),
}

pub(super) struct Shifted<'a> {
    pub perturbation: &'a Perturbation,
    pub v: &'a Array2<f32>,
    /// The column of V' with the changed element, k x 1.
    pub column: Array2<f32>,
}

/// Everything the threads share.
pub(super) struct Job<'a> {
    pub subject: &'a Subject<'a>,
    pub reference: Reference<'a>,
    pub made: Made<'a>,
    pub shifted: Option<Shifted<'a>>,
    /// The operator that is given inputs that change where they lie.
    pub in_place: Option<&'a dyn Operator>,
    pub rebuilt_lane: Option<usize>,
    pub shifted_lane: Option<usize>,
    pub column_max: Vec<u64>,
    pub samples: Samples,
    pub lanes: &'a Lanes,
    pub tally: Mutex<Tally>,
    /// The dense reference's output, where it is kept.
    pub kept: Option<Mutex<Array2<f32>>>,
}

impl Job<'_> {
    pub(super) fn chunk(&self, index: usize, rows: Range<usize>) -> Result<(), CaseError> {
        let case = self.subject.case;
        require_ieee()?;
        let first = rows.start;
        let shape = (rows.len(), case.n);
        let v = self.subject.v.view();
        let mut tally = Tally::new(case);

        let a = Arc::new(self.subject.weights.rows(rows.clone())?);
        tally.structure(case, first, &a);
        match case.arithmetic {
            Arithmetic::Exact => tally.certify(first, &a, &self.column_max),
            Arithmetic::FixedPoint => tally.certify_integers(case, &a),
            Arithmetic::F32Chain(_)
            | Arithmetic::TensorCore(_)
            | Arithmetic::Bf16Dot(_)
            | Arithmetic::Bounded => {}
        }
        self.lanes.push(A, index, a.clone());

        // Outputs that are made elsewhere may still be on their way.
        let ahead = matches!(self.made, Made::Elsewhere(_)).then(|| self.dense(&a)).transpose()?;
        let apply = |built: &dyn Built, v, staged: &Staged| -> Result<Array2<f32>, CaseError> {
            // Poison: what is not written is seen.
            let mut y = Array2::from_elem(shape, f32::NAN);
            built.apply(v, staged, y.view_mut(), 1)?;
            Ok(y)
        };
        let (built, mut y) = match &self.made {
            Made::Here { operator, staged, .. } => {
                let built = operator.build(a.view())?;
                let y = apply(&*built, v, staged)?;
                let plan = built.plan();
                tally.plans.insert(plan.strategy.name(), (1, (first, plan.reason)));
                (Some(built), y)
            }
            Made::Elsewhere(outputs) => (None, outputs.y.rows(rows.clone())?),
        };
        tally.negative_zeros[0] = positive_zeros(&mut y);
        let y = Arc::new(y);
        self.lanes.push(OPERATOR, index, y.clone());

        if let Some(shifted) = &self.shifted {
            let y2 = match (&self.made, &built) {
                (Made::Here { shifted: Some(staged), .. }, Some(built)) => {
                    Some(apply(&**built, shifted.v.view(), staged)?)
                }
                (Made::Here { .. }, _) => unreachable!("V' is staged and the operator built"),
                (Made::Elsewhere(outputs), _) => {
                    outputs.shifted.map(|of| of.rows(rows.clone())).transpose()?
                }
            };
            drop(built);
            if let (Some(mut y2), Some(lane)) = (y2, self.shifted_lane) {
                positive_zeros(&mut y2);
                self.check_shifted(shifted, first, &a, &y, &y2, &mut tally)?;
                self.lanes.push(lane, index, Arc::new(y2));
            }

            let mut changed = a.clone();
            let p = shifted.perturbation;
            if rows.contains(&p.live.0) || p.revived.is_some_and(|(i, _)| rows.contains(&i)) {
                p.change_weights(first, Arc::make_mut(&mut changed));
            }
            let y1 = match &self.made {
                Made::Here { operator, staged, .. } => {
                    Some(apply(&*operator.build(changed.view())?, v, staged)?)
                }
                Made::Elsewhere(outputs) => {
                    outputs.rebuilt.map(|of| of.rows(rows.clone())).transpose()?
                }
            };
            if let (Some(mut y1), Some(lane)) = (y1, self.rebuilt_lane) {
                positive_zeros(&mut y1);
                self.check_rebuilt(p, first, &changed, &y, &y1, &mut tally);
                self.lanes.push(lane, index, Arc::new(y1));
            }
            if let Some(operator) = self.in_place.filter(|_| rows.contains(&p.live.0)) {
                self.check_addresses(operator, shifted, first, &a, &mut tally)?;
            }
        } else {
            drop(built);
        }

        // The operator's output belongs to its hasher by now; nothing can write to it.
        let mut dense = match ahead {
            Some(dense) => dense,
            None => self.dense(&a)?,
        };
        tally.negative_zeros[1] = positive_zeros(&mut dense);
        tally.magnitudes(&dense);
        if !tally.dense_max.is_finite() {
            let at = dense.indexed_iter().find(|(_, x)| !x.is_finite());
            tally.not_finite = at.map(|((i, j), _)| (first + i, j));
        }
        if let Made::Elsewhere(_) = self.made {
            tally.require_finite(first, &y, &dense);
        }
        self.samples.recompute(case, first, &a, &dense, &mut tally);
        tally.difference.add(case.output, first, y.view(), dense.view());
        if !case.arithmetic.has_bit_contract() {
            tally.compare_within_bound(case, first, &a, v, &y, OPERATOR_ITSELF);
        }
        if let Some(kept) = &self.kept {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.slice_mut(s![rows, ..]).assign(&dense);
        }
        self.lanes.push(DENSE, index, Arc::new(dense));
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).merge(tally);
        Ok(())
    }

    /// The dense reference's output of some rows of A.
    fn dense(&self, a: &Array2<f32>) -> Result<Array2<f32>, CaseError> {
        let Reference { operator, v, staged } = &self.reference;
        let mut dense = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
        operator.build(a.view())?.apply(*v, staged, dense.view_mut(), 1)?;
        Ok(dense)
    }

    /// Y' = -2^s Y with columns permuted, but for the changed column where A has a non-zero; in fixed-point for all of it.
    fn check_shifted(
        &self,
        shifted: &Shifted<'_>,
        first: usize,
        a: &Array2<f32>,
        y: &Array2<f32>,
        y2: &Array2<f32>,
        tally: &mut Tally,
    ) -> Result<(), CaseError> {
        let Subject { case, reference, .. } = *self.subject;
        const WHAT: &str = "perturbation, operator not rebuilt";
        if !case.arithmetic.has_bit_contract() {
            tally.compare_within_bound(case, first, a, shifted.v.view(), y2, WHAT);
            return Ok(());
        }
        let p = shifted.perturbation;
        let column = p.shifted_column();
        let scale = p.scale();
        let is_touched = |&i: &usize| match case.arithmetic {
            // The changed element may move its column's scale, and with it every integer of the column.
            Arithmetic::FixedPoint => a.row(i).iter().any(|&x| x != 0.0),
            Arithmetic::F32Chain(_)
            | Arithmetic::TensorCore(_)
            | Arithmetic::Bf16Dot(_)
            | Arithmetic::Exact
            | Arithmetic::Bounded => a[[i, p.live.1]] != 0.0,
        };
        let touched: Vec<usize> = (0..a.nrows()).filter(is_touched).collect();
        let of_touched = Reference::new(reference, shifted.column.view(), 1)?
            .apply(a.select(ndarray::Axis(0), &touched).view())?;
        let mut of_touched = touched.iter().copied().zip(of_touched.iter().copied()).peekable();
        let mut want = vec![0.0; case.n];
        for (i, (y, y2)) in y.rows().into_iter().zip(y2.rows()).enumerate() {
            let exception = of_touched.next_if(|&(row, _)| row == i).map(|(_, want)| want);
            let Some(y) = y.to_slice() else { unreachable!("outputs are row-major") };
            want.iter_mut().zip(&p.order).for_each(|(want, &from)| *want = y[from] * scale + 0.0);
            if let Some(exception) = exception {
                want[column] = exception;
            }
            let differs = |(got, want): (&f32, &f32)| got.to_bits() != want.to_bits();
            if let Some(c) = y2.iter().zip(&want).position(differs) {
                let what = if c == column && exception.is_some() {
                    "the changed activation is not taken in"
                } else {
                    "scaled and permuted activations do not give the scaled and permuted output"
                };
                tally.break_promise(WHAT, first + i, c, y2[c], want[c], what);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Only rows i and i' change, and they equal the reference's.
    fn check_rebuilt(
        &self,
        p: &Perturbation,
        first: usize,
        a: &Array2<f32>,
        y: &Array2<f32>,
        y1: &Array2<f32>,
        tally: &mut Tally,
    ) {
        let case = self.subject.case;
        const WHAT: &str = "perturbation, rebuilt operator";
        if !case.arithmetic.has_bit_contract() {
            tally.compare_within_bound(case, first, a, self.subject.v.view(), y1, WHAT);
            return;
        }
        for (i, (y, y1)) in y.rows().into_iter().zip(y1.rows()).enumerate() {
            let row = first + i;
            let want = p.rows.iter().find(|(r, _)| *r == row).map(|(_, want)| want.as_slice());
            let what = match want {
                None => "a row changed although its weights did not",
                Some(_) if p.revived.is_some_and(|(r, _)| r == row) => {
                    "a zero weight that became 1 is not taken in"
                }
                Some(_) => "a changed weight is not taken in",
            };
            let Some(want) = want.or(y.as_slice()) else { unreachable!("rows are contiguous") };
            let differs = |(got, want): (&f32, &f32)| got.to_bits() != want.to_bits();
            if let Some(c) = y1.iter().zip(want).position(differs) {
                tally.break_promise(WHAT, row, c, y1[c], want[c], what);
            }
        }
    }

    /// The same again with A and V changed in place: a result kept by address comes out stale.
    fn check_addresses(
        &self,
        operator: &dyn Operator,
        shifted: &Shifted<'_>,
        first: usize,
        a: &Array2<f32>,
        tally: &mut Tally,
    ) -> Result<(), CaseError> {
        let Subject { case, ref v, .. } = *self.subject;
        const WHAT: &str = "perturbation in place, same addresses";
        // A few rows and columns around the changes are enough: what is kept by address is kept
        // whatever its size.
        let p = shifted.perturbation;
        let around = |at: usize, of: usize| {
            let size = of.min(ADDRESS_CHECK_SIZE);
            let start = at.min(of - size);
            start..start + size
        };
        let rows = around(p.live.0 - first, a.nrows());
        let columns = around(p.shifted_column(), case.n);
        let mut a = a.slice(s![rows.clone(), ..]).to_owned();
        let mut v = v.slice(s![.., columns.clone()]).to_owned();
        let first = first + rows.start;
        let mut staged = Staged::default();
        let mut y = Array2::from_elem((rows.len(), columns.len()), f32::NAN);

        let mut pass = |a: &Array2<f32>, v: &Array2<f32>| {
            let built = operator.build(a.view())?;
            operator.stage(v.view(), &mut staged, 1)?;
            y.fill(f32::NAN);
            built.apply(v.view(), &staged, y.view_mut(), 1)?;
            Ok::<_, CaseError>(y.clone())
        };
        pass(&a, &v)?;
        v.assign(&shifted.v.slice(s![.., columns.clone()]));
        p.change_weights(first, &mut a);
        let mut got = pass(&a, &v)?;
        positive_zeros(&mut got);
        if !case.arithmetic.has_bit_contract() {
            tally.compare_within_bound(case, first, &a, v.view(), &got, WHAT);
            return Ok(());
        }
        let want = Reference::new(self.subject.reference, v.view(), 1)?.apply(a.view())?;
        let mut difference = Difference::default();
        difference.add(case.output, first, got.view(), want.view());
        if let Some(at) = difference.first {
            let (got, want) = (f32::from_bits(at.got), f32::from_bits(at.want));
            let what = "the output does not follow inputs that changed where they lie";
            tally.break_promise(WHAT, at.row, columns.start + at.column, got, want, what);
        }
        Ok(())
    }
}

/// max over j of |V[k, j]|, for the exact certificate.
pub(super) fn column_max(case: &Case, v: ArrayView2<'_, f32>) -> Vec<u64> {
    if case.arithmetic != Arithmetic::Exact {
        return Vec::new();
    }
    let largest = |row: ndarray::ArrayView1<'_, f32>| {
        row.iter().fold(0u64, |max, x| max.max(x.abs().ceil() as u64))
    };
    v.rows().into_iter().map(largest).collect()
}
