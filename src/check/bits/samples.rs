//! Elements of the dense reference that are recomputed by the scalar rule.

use contract::case::Case;
use contract::inputs::Stream;
use ndarray::{Array2, ArrayView2};

use super::super::tally::Tally;

/// A grid of elements recomputed by the scalar rule: at least 256 where there are as many,
/// first and last rows and columns included.
pub(super) struct Samples {
    rows: Vec<usize>,
    columns: Vec<(usize, Vec<f32>)>,
}

impl Samples {
    pub(super) fn new(case: &Case, v: ArrayView2<'_, f32>) -> Samples {
        let (m, k, n) = (case.m, case.k, case.n);
        let across = n.min(16usize.max(256usize.div_ceil(m.clamp(1, 16))));
        let down = m.min(16usize.max(256usize.div_ceil(across.max(1))));
        let stream = Stream::new(case.seed, "sample", &[m, k, n], case.dtype, None);
        let mut draws = stream.draws();
        let mut pick = |count: usize, of: usize| {
            let mut picked: Vec<usize> = [0, of.saturating_sub(1)].into_iter().take(of).collect();
            picked.dedup();
            while picked.len() < count {
                let x = (draws.next().unwrap_or_default() % of as u64) as usize;
                if !picked.contains(&x) {
                    picked.push(x);
                }
            }
            picked
        };
        let rows = pick(down, m);
        let columns = pick(across, n).into_iter().map(|j| (j, v.column(j).to_vec())).collect();
        Samples { rows, columns }
    }

    pub(super) fn recompute(
        &self,
        case: &Case,
        first: usize,
        a: &Array2<f32>,
        dense: &Array2<f32>,
        tally: &mut Tally,
    ) {
        for &i in self.rows.iter().filter(|&&i| (first..first + a.nrows()).contains(&i)) {
            let row = a.row(i - first).to_vec();
            for (j, v) in &self.columns {
                tally.recomputed += 1;
                let (want, got) = (case.rule(&row, v), dense[[i - first, *j]]);
                tally.accuracy(case, (i, *j), &row, v, got);
                if got.to_bits() != want.to_bits() {
                    let what = "the dense reference does not follow the scalar rule";
                    tally.break_promise("recomputed sample", i, *j, got, want, what);
                }
            }
        }
    }
}
