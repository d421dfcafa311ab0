//! What the row panels of a case add up to: structure, differences, bounds, broken promises.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView2};

use super::accuracy::Accuracies;
use super::bits::{Bits, CaseError, magnitude_max};
use crate::backend::cpu::nonzero_bits;
use contract::arithmetic::{Arithmetic, bounded, exact, fixed_point};
use contract::case::Case;
use contract::digest::Hashed;
use contract::inputs::spec::Pattern;
use record::bits::Structure;
use record::compare::{BoundReport, Difference, Element};

/// What the chunks add up to.
#[derive(Default)]
pub(super) struct Tally {
    pub nnz: u64,
    pub dead_rows: usize,
    /// A bit a column.
    pub live_columns: Vec<u64>,
    pub block_size: usize,
    pub live_blocks: Vec<bool>,
    pub difference: Difference,
    pub bound: BoundReport,
    pub recomputed: u64,
    pub accuracies: Accuracies,
    pub negative_zeros: [u64; 2],
    pub dense_max: f32,
    /// Of each column of the dense output: the sum of squares, and the largest magnitude.
    pub dense_columns: Vec<(f64, f32)>,
    pub row_bound_max: u64,
    pub a_max: u64,
    pub v_max: u64,
    /// Kinds of plan chosen, with the number of chunks, and the first of them (by its row) and its reason: whichever
    /// thread was first.
    pub plans: BTreeMap<&'static str, (usize, (usize, String))>,
    pub off_grid: Option<(usize, usize)>,
    pub not_finite: Option<(usize, usize)>,
    /// (check, row, what), to report the first of its kind only.
    pub broken: Vec<(&'static str, usize, String)>,
    /// The same for perturbed outputs outside the bound.
    pub out_of_bound: Vec<(&'static str, usize, String)>,
}
/// Whether any of bits `start..end` is set.
fn any_bit(bits: &[u64], start: usize, end: usize) -> bool {
    let mut at = start;
    while at < end {
        let take = (64 - at % 64).min(end - at);
        if bits[at / 64] >> (at % 64) & (u64::MAX >> (64 - take)) != 0 {
            return true;
        }
        at += take;
    }
    false
}

/// Side of the blocks of A that are counted.
pub fn block_size(pattern: &Pattern) -> usize {
    match *pattern {
        Pattern::Block { size } => size,
        Pattern::None
        | Pattern::Uniform
        | Pattern::RowMagnitude
        | Pattern::ElementMagnitude
        | Pattern::PowerLaw
        | Pattern::TwoOfFour
        | Pattern::DeadExperts { .. } => 16,
    }
}

/// What a comparison within the bound is of when it is no perturbation.
pub(super) const OPERATOR_ITSELF: &str = "the operator";

fn broken_in_words(
    check: &str,
    row: usize,
    column: usize,
    got: f32,
    want: f32,
    what: &str,
) -> String {
    format!(
        "{check}: {what}: first at (row {row}, column {column}): {:#010x} ({got:e}), want {:#010x} ({want:e})",
        got.to_bits(),
        want.to_bits()
    )
}

/// The first of each kind, in words.
fn first_of_each(mut broken: Vec<(&'static str, usize, String)>) -> Vec<String> {
    broken.sort();
    broken.dedup_by_key(|(check, _, _)| *check);
    broken.into_iter().map(|(_, _, message)| message).collect()
}

impl Tally {
    pub fn new(case: &Case) -> Tally {
        let block_size = block_size(&case.pattern);
        let blocks = case.m.div_ceil(block_size) * case.k.div_ceil(block_size);
        Tally {
            live_columns: vec![0; case.k.div_ceil(64)],
            live_blocks: vec![false; blocks],
            dense_columns: vec![(0.0, 0.0); case.n],
            block_size,
            ..Tally::default()
        }
    }

    pub fn structure(&mut self, case: &Case, first: usize, a: &Array2<f32>) {
        let size = self.block_size;
        let across = case.k.div_ceil(size);
        let mut bits = vec![0; case.k.div_ceil(64)];
        for (i, row) in a.rows().into_iter().enumerate() {
            let Some(row) = row.to_slice() else { unreachable!("panels are row-major") };
            let nnz = nonzero_bits(row, &mut bits);
            self.nnz += nnz as u64;
            if nnz == 0 {
                self.dead_rows += 1;
                continue;
            }
            self.live_columns.iter_mut().zip(&bits).for_each(|(live, bits)| *live |= bits);
            let blocks = &mut self.live_blocks[(first + i) / size * across..][..across];
            for (q, live) in blocks.iter_mut().enumerate() {
                *live = *live || any_bit(&bits, q * size, case.k.min((q + 1) * size));
            }
        }
    }

    pub fn certify(&mut self, first: usize, a: &Array2<f32>, column_max: &[u64]) {
        for (i, row) in a.rows().into_iter().enumerate() {
            let Some(row) = row.to_slice() else { unreachable!("panels are row-major") };
            if let Some(k) = row.iter().position(|&x| !exact::on_grid(x)) {
                self.off_grid.get_or_insert((first + i, k));
            }
            self.row_bound_max = self.row_bound_max.max(exact::row_bound(row, column_max));
            self.a_max = row.iter().fold(self.a_max, |max, x| max.max(x.abs() as u64));
        }
    }

    /// The sums of rows' integers, where k alone does not bound them.
    pub fn certify_integers(&mut self, case: &Case, a: &Array2<f32>) {
        if case.k > fixed_point::K_ALWAYS {
            let sums = a.rows().into_iter().map(|row| fixed_point::row_sum(&row.to_vec()));
            self.row_bound_max = sums.fold(self.row_bound_max, u64::max);
        }
    }

    /// What an output of zeros would be off by: magnitudes of the dense output, and of its columns.
    pub fn magnitudes(&mut self, dense: &Array2<f32>) {
        for row in dense.rows() {
            for ((squares, max), &x) in self.dense_columns.iter_mut().zip(row) {
                *squares += f64::from(x) * f64::from(x);
                *max = max.max(x.abs());
            }
        }
        self.dense_max = magnitude_max(dense);
    }

    /// The distance of an element of the dense output, which is at `place`, from y_ref; a promise broken where it is outside of
    /// what the rule allows.
    pub fn accuracy(&mut self, case: &Case, place: (usize, usize), a: &[f32], v: &[f32], got: f32) {
        if !case.arithmetic.has_bit_contract() || !got.is_finite() {
            return;
        }
        if let Some(y_ref) = self.accuracies.add(case, a, v, got) {
            let what = "an element is farther from the binary64 sum than the rule's bound";
            self.break_promise("error bound", place.0, place.1, got, y_ref as f32, what);
        }
    }

    /// Every element of `y` within the bound around the binary64 reference.
    pub fn compare_within_bound(
        &mut self,
        case: &Case,
        first: usize,
        a: &Array2<f32>,
        v: ArrayView2<'_, f32>,
        y: &Array2<f32>,
        what: &'static str,
    ) {
        for (i, row) in a.rows().into_iter().enumerate() {
            let nnz = row.iter().filter(|&&x| x != 0.0).count();
            let Some(row) = row.to_slice() else { unreachable!("panels are row-major") };
            let (reference, magnitude) = bounded::row(row, v);
            for (j, &got) in y.row(i).iter().enumerate() {
                let bound = bounded::bound(nnz, magnitude[j])
                    + bounded::output_rounding(case.output, reference[j], got);
                let error = (f64::from(got) - reference[j]).abs();
                let is_inside = error <= bound;
                let want = case.output.round(reference[j] as f32) + 0.0;
                if what != OPERATOR_ITSELF {
                    if !is_inside && self.out_of_bound.iter().all(|&(check, _, _)| check != what) {
                        let message =
                            broken_in_words(what, first + i, j, got, want, "outside the bound");
                        self.out_of_bound.push((what, first + i, message));
                    }
                    continue;
                }
                let share = if is_inside { error / bound.max(f64::MIN_POSITIVE) } else { 0.0 };
                let element = Element::new(case.output, first + i, j, got, want);
                self.bound.merge(BoundReport {
                    used_max: share,
                    outside: u64::from(!is_inside),
                    first_outside: (!is_inside).then_some(element),
                });
            }
        }
    }

    pub fn break_promise(
        &mut self,
        check: &'static str,
        row: usize,
        column: usize,
        got: f32,
        want: f32,
        what: &str,
    ) {
        let message = broken_in_words(check, row, column, got, want, what);
        self.broken.push((check, row, message));
    }

    /// Notes the first element of an output from elsewhere that is no finite number: none of a right output is.
    pub fn require_finite(&mut self, first: usize, y: &Array2<f32>, dense: &Array2<f32>) {
        if let Some(((i, j), &got)) = y.indexed_iter().find(|(_, y)| !y.is_finite()) {
            let what = "an element is not a finite number";
            self.break_promise("the output y", first + i, j, got, dense[[i, j]], what);
        }
    }

    /// The largest share that an element of the dense output has of its column's norm. Of a column of zeros an output of zeros is
    /// not off at all.
    fn dense_share_max(&self) -> Option<f32> {
        let columns = self.dense_columns.iter().filter(|(squares, _)| *squares > 0.0);
        columns.map(|(squares, max)| (f64::from(*max) / squares.sqrt()) as f32).reduce(f32::max)
    }

    pub fn merge(&mut self, other: Tally) {
        self.nnz += other.nnz;
        self.dead_rows += other.dead_rows;
        self.live_columns.iter_mut().zip(other.live_columns).for_each(|(to, from)| *to |= from);
        self.live_blocks.iter_mut().zip(other.live_blocks).for_each(|(to, from)| *to |= from);
        self.difference.merge(other.difference);
        self.bound.merge(other.bound);
        self.recomputed += other.recomputed;
        self.accuracies.merge(other.accuracies);
        self.negative_zeros[0] += other.negative_zeros[0];
        self.negative_zeros[1] += other.negative_zeros[1];
        self.dense_max = self.dense_max.max(other.dense_max);
        for (to, (squares, max)) in self.dense_columns.iter_mut().zip(other.dense_columns) {
            *to = (to.0 + squares, to.1.max(max));
        }
        self.row_bound_max = self.row_bound_max.max(other.row_bound_max);
        self.a_max = self.a_max.max(other.a_max);
        let first = |one: Option<_>, other: Option<_>| one.into_iter().chain(other).min();
        self.off_grid = first(self.off_grid, other.off_grid);
        self.not_finite = first(self.not_finite, other.not_finite);
        self.broken.extend(other.broken);
        self.out_of_bound.extend(other.out_of_bound);
        for (name, (count, first)) in other.plans {
            let plan = self.plans.entry(name).or_insert_with(|| (0, first.clone()));
            plan.0 += count;
            if first.0 < plan.1.0 {
                plan.1 = first;
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub fn finish(
        self,
        case: &Case,
        a: Hashed,
        v: Hashed,
        operator: Hashed,
        dense: Hashed,
        rebuilt: Option<Hashed>,
        shifted: Option<Hashed>,
        perturbation: String,
    ) -> Result<Bits, CaseError> {
        if let Some((i, j)) = self.not_finite {
            return Err(CaseError::Refused(format!(
                "the reference output is not finite at (row {i}, column {j})\nhint: smaller values, \
                 or an arithmetic with a wider range"
            )));
        }
        let mut certificate = None;
        if case.arithmetic == Arithmetic::Exact {
            if let Some((i, k)) = self.off_grid {
                return Err(CaseError::Refused(format!(
                    "exact: A[{i},{k}] is not an integer below 2^24"
                )));
            }
            let sums = self.row_bound_max;
            let bound = sums.saturating_add(self.a_max).saturating_add(self.v_max);
            if bound >= exact::LIMIT {
                return Err(CaseError::Refused(format!(
                    "exact: sums can reach {bound}, the limit is {}\nhint: a smaller k or narrower \
                     values",
                    exact::LIMIT
                )));
            }
            certificate = Some(bound);
        }
        if case.arithmetic == Arithmetic::FixedPoint {
            let bound = match case.k {
                0..=fixed_point::K_ALWAYS => fixed_point::certificate_of_k(case.k),
                _ => fixed_point::certificate(self.row_bound_max),
            };
            if bound >= fixed_point::LIMIT {
                return Err(CaseError::Refused(format!(
                    "{}: sums can reach {bound}, the limit is {}\nhint: a smaller k, or fewer \
                     non-zeros in a row",
                    case.arithmetic,
                    fixed_point::LIMIT
                )));
            }
            certificate = Some(bound);
        }
        let dense_share_max = self.dense_share_max();
        let mut broken = first_of_each(self.broken);
        if operator.constant && !dense.constant {
            broken
                .push("vacuous output: every element of the operator's output is the same".into());
        }
        let live_columns: u32 = self.live_columns.iter().map(|bits| bits.count_ones()).sum();
        let structure = Structure {
            elements: case.m as u64 * case.k as u64,
            nnz: self.nnz,
            dead_rows: self.dead_rows,
            dead_columns: case.k - live_columns as usize,
            block_size: self.block_size,
            blocks: self.live_blocks.len() as u64,
            dead_blocks: self.live_blocks.iter().filter(|live| !**live).count() as u64,
        };
        let chunks: usize = self.plans.values().map(|(count, _)| count).sum();
        let plan = |(name, (count, (_, reason))): (&'static str, (usize, (usize, String)))| {
            let share = if count < chunks {
                format!(" in {count} of {chunks} panels")
            } else {
                String::new()
            };
            format!("{name}{share} ({reason})")
        };
        let plan = self.plans.into_iter().map(plan).collect::<Vec<_>>().join("; ");
        Ok(Bits {
            a,
            v,
            dense,
            operator,
            rebuilt,
            shifted,
            not_returned: Vec::new(),
            structure,
            plan,
            difference: self.difference,
            bound: (!case.arithmetic.has_bit_contract()).then_some(self.bound),
            recomputed: self.recomputed,
            negative_zeros: self.negative_zeros,
            dense_max: self.dense_max,
            dense_share_max,
            dense_output: None,
            certificate,
            accuracy: self.accuracies.report(),
            perturbation,
            changes: None,
            broken,
            out_of_bound: first_of_each(self.out_of_bound),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest share that an element has of its column's norm, in the order of the definition.
    fn share(y: &Array2<f32>) -> f64 {
        let of_column = |column: ndarray::ArrayView1<'_, f32>| {
            let norm = column.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            column.iter().map(|&x| f64::from(x.abs()) / norm).fold(0.0, f64::max)
        };
        y.columns().into_iter().map(of_column).filter(|share| !share.is_nan()).fold(0.0, f64::max)
    }

    /// Three kinds of data, of which a rule that knows the number of rows alone could not tell one from another.
    #[test]
    fn shares_of_columns_are_those_of_the_definition_however_rows_are_dealt() {
        let (m, n) = (819, 5);
        // Sums of twelve draws are nearly normal.
        let mut state = 1u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let normal = Array2::from_shape_simple_fn((m, n), || (0..12).map(|_| draw()).sum::<f32>());
        let mut scaled = normal.clone();
        scaled.row_mut(400).mapv_inplace(|x| x * 1000.0);
        let mut constant = normal.mapv(|x| 1.0 + x / 1000.0);
        constant.column_mut(2).fill(0.0);
        let least = 1.0 / (m as f64).sqrt();
        for (y, low, high) in
            [(normal, 3.0 * least, 0.2), (scaled, 0.9, 1.0), (constant, least, 1.01 * least)]
        {
            let want = share(&y);
            assert!((low..=high).contains(&want), "{want}");
            for chunk in [m, 100, 1] {
                let mut all = Tally { dense_columns: vec![(0.0, 0.0); n], ..Tally::default() };
                for rows in y.axis_chunks_iter(ndarray::Axis(0), chunk) {
                    let mut part = Tally { dense_columns: vec![(0.0, 0.0); n], ..Tally::default() };
                    part.magnitudes(&rows.to_owned());
                    all.merge(part);
                }
                let got = all.dense_share_max().expect("not of zeros");
                assert!((f64::from(got) - want).abs() <= 1e-6 * want, "{chunk}: {got}, {want}");
            }
        }
        let zeros = Tally { dense_columns: vec![(0.0, 0.0); n], ..Tally::default() };
        assert_eq!(zeros.dense_share_max(), None);
    }
}
