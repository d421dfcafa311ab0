//! A: weights from a source, pruned; and V. Any rows of A can be made alone.

use std::ops::Range;

use ndarray::Array2;

use super::pruning::{LastKept, Pruning, RowRanking};
use super::source::{Source, SourceError, Synthetic};
use super::spec::{Pattern, Sparsity, Values};
use super::stream::Stream;
use super::synthetic::Fill;
use crate::dtype::Dtype;
use crate::threads;

/// What identifies an A apart from its source.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// The seed of its streams.
    pub seed: u64,
    /// Rows.
    pub m: usize,
    /// Columns.
    pub k: usize,
    /// The dtype of its values.
    pub dtype: Dtype,
    /// Which elements are pruned.
    pub pattern: Pattern,
    /// How many of them.
    pub sparsity: Sparsity,
}

/// The weight matrix A of a case: m x k, pruned.
pub struct Weights {
    recipe: Recipe,
    source: Box<dyn Source>,
    pruning: Pruning,
    wide: Option<Stream>,
}

impl Recipe {
    fn stream(&self, role: &str) -> Stream {
        Stream::new(self.seed, role, &[self.m, self.k], self.dtype, None)
    }

    /// Values of synthetic weights before they are pruned.
    pub fn values(self, values: Values, fill: Fill) -> Synthetic {
        Synthetic { values, stream: self.stream("A.values"), dtype: self.dtype, k: self.k, fill }
    }

    /// Weights whose `source` are [`values`](Recipe::values), held or not; else like [`prune`](Recipe::prune).
    pub fn synthetic(
        self,
        values: Values,
        source: Box<dyn Source>,
        ranking: &mut Option<RowRanking>,
        threads: usize,
    ) -> Result<Weights, SourceError> {
        let mut weights = self.prune(source, ranking, threads)?;
        weights.wide = (values == Values::Wide).then(|| self.stream("A.wide"));
        Ok(weights)
    }

    /// Weights of which somebody says what stays: nothing is read for that, and it is as true as what they say. `None` for
    /// patterns that go by no magnitude: those need nobody's word, and [`prune`](Recipe::prune) reads nothing for them.
    /// `values` are those of synthetic weights.
    pub fn as_said(
        self,
        values: Option<Values>,
        source: Box<dyn Source>,
        said: LastKept,
    ) -> Option<Weights> {
        let pruning = said.pruning(self.pattern, (self.m, self.k))?;
        let wide = (values == Some(Values::Wide)).then(|| self.stream("A.wide"));
        Some(Weights { recipe: self, source, pruning, wide })
    }

    /// Whether which elements stay depends on the values of others.
    pub fn goes_by_magnitude(self) -> bool {
        matches!(self.pattern, Pattern::RowMagnitude | Pattern::ElementMagnitude)
    }

    /// Weights from anywhere. Errors are the source's own. Magnitude patterns read it several times; `ranking` is
    /// that of its rows, if it is known, and is filled in where it was needed.
    pub fn prune(
        self,
        source: Box<dyn Source>,
        ranking: &mut Option<RowRanking>,
        threads: usize,
    ) -> Result<Weights, SourceError> {
        let Recipe { m, k, pattern, sparsity, .. } = self;
        let stream = |role: &str| self.stream(role);
        let pruning =
            Pruning::decide(pattern, sparsity, (m, k), &stream, &*source, ranking, threads)?;
        Ok(Weights { recipe: self, source, pruning, wide: None })
    }
}

impl Weights {
    /// What identifies this A apart from its source.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The last of what stays, where magnitudes decided.
    pub fn last_kept(&self) -> Result<Option<LastKept>, SourceError> {
        let Recipe { m, k, sparsity, pattern, .. } = self.recipe;
        let all = match pattern {
            Pattern::RowMagnitude => m as u64,
            Pattern::ElementMagnitude => m as u64 * k as u64,
            _ => return Ok(None),
        };
        self.pruning.last_kept(sparsity.live_of(all), k, &*self.source).map(Some)
    }

    /// Rows `rows` of A, as values of the dtype; every zero is +0.
    pub fn rows(&self, rows: Range<usize>) -> Result<Array2<f32>, SourceError> {
        let k = self.recipe.k;
        let mut values = vec![0.0; rows.len() * k];
        // Runs of rows that survive as rows; the others are zero and stay unread.
        let mut next = rows.start;
        while next < rows.end {
            let start = (next..rows.end).find(|&i| !self.pruning.drops_row(i)).unwrap_or(rows.end);
            let end = (start..rows.end).find(|&i| self.pruning.drops_row(i)).unwrap_or(rows.end);
            let part = &mut values[(start - rows.start) * k..(end - rows.start) * k];
            self.source.read(start..end, part)?;
            self.pruning.apply(start..end, k, part);
            next = end;
        }
        if let Some(stream) = &self.wide {
            widen(stream, rows.clone(), k, &mut values);
        }
        let shape = (rows.len(), k);
        Ok(Array2::from_shape_vec(shape, values).unwrap_or_else(|_| unreachable!("sized above")))
    }
}

/// Replaces the first non-zero of each 64 columns by an odd integer of 12 bits.
fn widen(stream: &Stream, rows: Range<usize>, k: usize, values: &mut [f32]) {
    if k == 0 {
        return;
    }
    let groups = k.div_ceil(64);
    let mut words = vec![0; groups];
    for (i, row) in rows.zip(values.chunks_mut(k)) {
        stream.read(i as u64 * groups as u64, &mut words);
        for (group, &word) in row.chunks_mut(64).zip(&words) {
            if let Some(x) = group.iter_mut().find(|x| **x != 0.0) {
                let magnitude = (2049 + 2 * (word % 1024)) as f32;
                *x = if word >> 31 == 1 { -magnitude } else { magnitude };
            }
        }
    }
}

/// V, k x n.
pub fn activations(
    seed: u64,
    values: Values,
    (k, n): (usize, usize),
    dtype: Dtype,
    fill: Fill,
    threads: usize,
) -> Array2<f32> {
    let stream = Stream::new(seed, "V.values", &[k, n], dtype, None);
    let mut elements = vec![0.0; k * n];
    threads::fill(threads, &mut elements, 1 << 18, |first, part| {
        fill(values, &stream, dtype, first as u64, part);
    });
    Array2::from_shape_vec((k, n), elements).unwrap_or_else(|_| unreachable!("sized above"))
}
