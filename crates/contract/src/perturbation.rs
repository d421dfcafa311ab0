//! The perturbation test (VERIFY.md section 6): which elements change, to what, and what the
//! outputs must then be. "The hash changed" alone proves nothing: noise passes that.

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::arithmetic::{Arithmetic, bounded};
use crate::case::Case;
use crate::dtype::Dtype;
use crate::inputs::source::SourceError;
use crate::inputs::spec::Pattern;
use crate::inputs::{Stream, Weights};
use crate::threads;

/// Rows looked at for one without non-zeros.
const DEAD_ROWS_TRIED: usize = 256;
/// Rows of V that a thread permutes at once.
const ROWS_AT_ONCE: usize = 64;
/// Redraws before the test is given up as not applicable.
const ATTEMPTS: usize = 64;

/// The changes of one case. Made from the seed, or from the seed and an auditor's nonce.
#[derive(Debug)]
pub struct Perturbation {
    /// The live element (i, k) of A and its new value.
    pub live: (usize, usize),
    /// The new value of that element.
    pub live_value: f32,
    /// A zero element (i', k') that becomes 1.
    pub revived: Option<(usize, usize)>,
    /// An element of the same group that becomes 0, so that of four no more than two are not: under `two-of-four`.
    pub displaced: Option<(usize, usize)>,
    /// Whether the revived element's row was dead.
    pub revived_row_was_dead: bool,
    /// Column j of V whose element (k, j) changes, to this value.
    pub column: usize,
    /// The new value of that element.
    pub column_value: f32,
    /// s: V' is scaled by -2^s.
    pub log2_scale: i32,
    /// Column c of V' is column `order[c]` of V.
    pub order: Vec<usize>,
    /// What rows i and i' of Y must become.
    pub rows: Vec<(usize, Vec<f32>)>,
}

/// What the changes are drawn for.
pub struct Unperturbed<'a> {
    /// The case.
    pub case: &'a Case,
    /// A, m x k.
    pub weights: &'a Weights,
    /// Whether scaling by 8 can neither overflow nor meet subnormals (VERIFY.md section 6).
    pub weights_are_moderate: bool,
    /// V, k x n.
    pub v: ArrayView2<'a, f32>,
    /// An auditor's text.
    pub nonce: Option<&'a str>,
}

/// A product of some rows of A with V (k x n) under a case's rule.
pub type Reference<'r, E> = dyn Fn(ArrayView2<'_, f32>) -> Result<Array2<f32>, E> + 'r;

/// Draws the changes; `None` where no element changes the output.
///
/// `reference` multiplies rows of A by the subject's V under the case's rule; its errors and those of A's source are
/// returned.
pub fn choose<E: From<SourceError>>(
    subject: &Unperturbed<'_>,
    reference: &Reference<'_, E>,
) -> Result<Option<Perturbation>, E> {
    let case = subject.case;
    let (m, k, n) = (case.m, case.k, case.n);
    if m == 0 || k == 0 || n == 0 {
        return Ok(None);
    }
    let stream = |role| Stream::new(case.seed, role, &[m, k, n], case.dtype, subject.nonce);
    let mut draws = stream("perturb").draws();
    let mut draw = || draws.next().unwrap_or_else(|| unreachable!("the stream has no end"));
    let row = |i: usize| subject.weights.rows(i..i + 1);
    let cyclic = |start: usize, count: usize| (start..m).chain(0..start).take(count);

    let row_changes = |a: &Array2<f32>, before: &Array2<f32>, after: &Array2<f32>| {
        let a = a.row(0).to_vec();
        let nnz = a.iter().filter(|&&x| x != 0.0).count();
        let magnitudes = match case.arithmetic.has_bit_contract() {
            true => vec![0.0; n],
            false => bounded::row(&a, subject.v).1,
        };
        let elements = before.iter().zip(after).zip(magnitudes);
        let mut any = false;
        for ((&before, &after), magnitude) in elements {
            any |= changes(case, nnz, magnitude, before, after);
            if !after.is_finite() {
                return false;
            }
        }
        any
    };

    let mut chosen = None;
    for _ in 0..ATTEMPTS {
        let (d1, d2, d3) = (draw(), draw(), draw());
        let mut found = None;
        for i in cyclic((d1 % m as u64) as usize, m) {
            let a = row(i)?;
            if a.iter().any(|&x| x != 0.0) {
                found = Some((i, a));
                break;
            }
        }
        let Some((i, a)) = found else { return Ok(None) };
        let live: Vec<usize> = (0..k).filter(|&k| a[[0, k]] != 0.0).collect();
        let kk = live[(d2 % live.len() as u64) as usize];
        let j = (d3 % n as u64) as usize;

        let before = reference(a.view())?;
        let new_row = candidates(case, a[[0, kk]]).into_iter().find_map(|value| {
            let mut changed = a.clone();
            changed[[0, kk]] = value;
            match reference(changed.view()) {
                Ok(after) if !row_changes(&changed, &before, &after) => None,
                Ok(after) => Some(Ok((value, after.row(0).to_vec()))),
                Err(e) => Some(Err(e)),
            }
        });
        let mut column = subject.v.column(j).to_vec();
        let a = a.row(0).to_vec();
        let before = case.rule(&a, &column);
        let new_column = candidates(case, column[kk]).into_iter().find(|&value| {
            let old = std::mem::replace(&mut column[kk], value);
            let after = case.rule(&a, &column);
            let magnitude = bounded::magnitude(&a, &column);
            column[kk] = old;
            changes(case, live.len(), magnitude, before, after)
        });
        if let (Some(new_row), Some(column_value)) = (new_row, new_column) {
            chosen = Some((i, kk, j, new_row?, column_value));
            break;
        }
    }
    let Some((i, kk, column, (live_value, new_row), column_value)) = chosen else {
        return Ok(None);
    };

    let d4 = draw();
    let tried = || cyclic((d4 % m as u64) as usize, DEAD_ROWS_TRIED.min(m));
    let mut dead = None;
    let mut holed = None;
    for r in tried() {
        let a = row(r)?;
        if a.iter().all(|&x| x == 0.0) {
            dead = Some((r, a));
            break;
        }
        if holed.is_none() && r != i && a.iter().any(|&x| x == 0.0) {
            holed = Some((r, a));
        }
    }
    let revived_row_was_dead = dead.is_some();
    let mut rows = vec![(i, new_row)];
    let (mut revived, mut displaced) = (None, None);
    if let Some((r, a)) = dead.or(holed) {
        let before = reference(a.view())?;
        let zeros: Vec<usize> = (0..k).filter(|&k| a[[0, k]] == 0.0).collect();
        for _ in 0..ATTEMPTS {
            let z = zeros[(draw() % zeros.len() as u64) as usize];
            let mut changed = a.clone();
            let gone = displaces(case.pattern, changed.row(0), z);
            changed[[0, z]] = 1.0;
            if let Some(gone) = gone {
                changed[[0, gone]] = 0.0;
            }
            let after = reference(changed.view())?;
            if row_changes(&changed, &before, &after) {
                revived = Some((r, z));
                displaced = gone.map(|gone| (r, gone));
                rows.push((r, after.row(0).to_vec()));
                break;
            }
        }
    }

    let d6 = draw();
    let may_scale =
        case.dtype != Dtype::F16 && case.output != Dtype::F16 && subject.weights_are_moderate;
    let log2_scale = if may_scale { 1 + (d6 % 3) as i32 } else { 0 };

    let mut words = vec![0; n];
    stream("perturb.columns").read(0, &mut words);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&c| (words[c], c));

    Ok(Some(Perturbation {
        live: (i, kk),
        live_value,
        revived,
        displaced,
        revived_row_was_dead,
        column,
        column_value,
        log2_scale,
        order,
        rows,
    }))
}

/// The column of a row that must become 0 where column `z`, which is 0, becomes 1, so that the row keeps its pattern.
fn displaces(pattern: Pattern, row: ArrayView1<'_, f32>, z: usize) -> Option<usize> {
    if pattern != Pattern::TwoOfFour {
        return None;
    }
    let first = z / 4 * 4;
    let mut live = (first..row.len().min(first + 4)).filter(|&k| row[k] != 0.0);
    let gone = live.next()?;
    live.next().is_some().then_some(gone)
}

/// The values that may take the place of `x`, nearest first.
fn candidates(case: &Case, x: f32) -> Vec<f32> {
    if case.arithmetic == Arithmetic::Exact {
        return vec![x + 1.0];
    }
    if x == 0.0 {
        return vec![1.0];
    }
    let dtype = case.dtype;
    (0..dtype.mantissa_bits()).filter_map(|b| dtype.step_away_from_zero(x, 1 << b)).collect()
}

/// Whether an element changes so that everybody must notice: to other finite bits, and where no
/// bits are promised, by more than two right answers can lie apart.
fn changes(case: &Case, nnz: usize, magnitude: f64, before: f32, after: f32) -> bool {
    if !after.is_finite() || case.arithmetic.has_bit_contract() {
        return after.is_finite() && before.to_bits() != after.to_bits();
    }
    let rounding = bounded::output_rounding(case.output, f64::from(before), after);
    let bound = bounded::bound(nnz + 1, magnitude) + rounding;
    (f64::from(before) - f64::from(after)).abs() > 2.0 * bound
}

impl Perturbation {
    /// -2^s, exactly.
    pub fn scale(&self) -> f32 {
        -((1u32 << self.log2_scale) as f32)
    }

    /// The elements in which A1 differs from A, by row and column.
    pub fn changed_weights(&self) -> impl Iterator<Item = ((usize, usize), f32)> + use<> {
        let revived = self.revived.map(|place| (place, 1.0));
        let displaced = self.displaced.map(|place| (place, 0.0));
        std::iter::once((self.live, self.live_value)).chain(revived).chain(displaced)
    }

    /// Changes rows `first_row..` of A in place; says whether any did.
    pub fn change_weights(&self, first_row: usize, a: &mut Array2<f32>) -> bool {
        let mut changed = false;
        for ((i, k), value) in self.changed_weights() {
            if (first_row..first_row + a.nrows()).contains(&i) {
                a[[i - first_row, k]] = value;
                changed = true;
            }
        }
        changed
    }

    /// V': scaled, columns in another order, one element changed before that.
    pub fn change_activations(&self, v: ArrayView2<'_, f32>, threads: usize) -> Array2<f32> {
        let scale = self.scale();
        let n = v.ncols();
        // Adding +0 keeps zeros positive.
        let change = |x: f32| x * scale + 0.0;
        let mut shifted = Array2::zeros(v.dim());
        let out = shifted.as_slice_mut().unwrap_or_else(|| unreachable!("new and row-major"));
        threads::fill(threads, out, n * ROWS_AT_ONCE, |first, part| {
            for (i, out) in part.chunks_exact_mut(n).enumerate() {
                let row = v.row(first / n + i);
                let row = row.to_slice().unwrap_or_else(|| unreachable!("V is row-major"));
                out.iter_mut().zip(&self.order).for_each(|(out, &c)| *out = change(row[c]));
            }
        });
        shifted[[self.live.1, self.shifted_column()]] = change(self.column_value);
        shifted
    }

    /// Where column j of V stands in V'.
    pub fn shifted_column(&self) -> usize {
        self.order.iter().position(|&c| c == self.column).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_four_no_more_than_two_are_left() {
        let row = ndarray::array![0.0f32, 5.0, 0.0, 6.0, 0.0, 7.0, 0.0, 0.0, 8.0, 0.0, 9.0];
        let displaced = |z| displaces(Pattern::TwoOfFour, row.view(), z);
        assert_eq!([0, 2].map(displaced), [Some(1); 2]);
        assert_eq!([4, 6, 7].map(displaced), [None; 3], "there is room");
        assert_eq!(displaced(9), Some(8), "a group that is cut off");
        assert_eq!(displaces(Pattern::Uniform, row.view(), 0), None);
    }
}
