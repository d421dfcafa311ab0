//! A dense library on one expert at a time: a grouped product, which is how a mixture of experts is run, and so the
//! honest rival where whole experts are dead.

use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

use super::DenseLibrary;
use crate::operator::{Built, Error, Operator, Plan, Staged};
use contract::strategy::Strategy;

/// Experts of A (a stack of experts of `rows` rows) with a non-zero, ascending. Rows that are left over are one more.
pub fn live_experts(a: ArrayView2<'_, f32>, rows: usize) -> Vec<usize> {
    // No chunk has no rows.
    let experts = a.axis_chunks_iter(Axis(0), rows.max(1)).enumerate();
    experts.filter(|(_, expert)| expert.iter().any(|&x| x != 0.0)).map(|(at, _)| at).collect()
}

/// A is a stack of experts, and stays where it is. Each call multiplies the live ones one after the other, each to its
/// rows of Y, and makes the others zero.
#[derive(Clone, Copy, Debug)]
pub struct Grouped<L> {
    pub library: L,
    /// Of an expert.
    pub rows: usize,
}

impl<L: DenseLibrary> Operator for Grouped<L> {
    fn name(&self) -> String {
        format!("grouped-{}", self.library.name())
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let rows = self.rows.max(1);
        Ok(Box::new(GroupedBuilt { library: self.library, rows, a, live: live_experts(a, rows) }))
    }
}

struct GroupedBuilt<'a, L> {
    library: L,
    rows: usize,
    a: ArrayView2<'a, f32>,
    live: Vec<usize>,
}

impl<L: DenseLibrary> GroupedBuilt<'_, L> {
    fn is_live(&self, expert: usize) -> bool {
        self.live.binary_search(&expert).is_ok()
    }

    /// Zeros in the rows of dead experts.
    fn clear(&self, y: &mut ArrayViewMut2<'_, f32>, threads: usize) {
        let expert_len = self.rows * y.ncols();
        match y.as_slice_mut() {
            Some(y) if threads > 1 && expert_len > 0 => {
                let experts = y.par_chunks_mut(expert_len).enumerate();
                experts.filter(|(at, _)| !self.is_live(*at)).for_each(|(_, rows)| rows.fill(0.0));
            }
            _ => {
                for (at, mut rows) in y.axis_chunks_iter_mut(Axis(0), self.rows).enumerate() {
                    if !self.is_live(at) {
                        rows.fill(0.0);
                    }
                }
            }
        }
    }
}

impl<L: DenseLibrary> Built for GroupedBuilt<'_, L> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        if v.nrows() != self.a.ncols() || y.dim() != (self.a.nrows(), v.ncols()) {
            let (a, y, v) = (self.a.dim(), y.dim(), v.dim());
            return Err(Error::Unsupported(format!(
                "shapes do not fit: A is {a:?}, V {v:?}, Y {y:?}"
            )));
        }
        self.clear(&mut y, threads);
        let experts = self.a.axis_chunks_iter(Axis(0), self.rows);
        for (at, (a, y)) in experts.zip(y.axis_chunks_iter_mut(Axis(0), self.rows)).enumerate() {
            if self.is_live(at) {
                self.library.sgemm(a, v, y, threads).map_err(Error::Unsupported)?;
            }
        }
        Ok(())
    }

    /// A's live experts, which are read where A lies.
    fn bytes_held(&self) -> usize {
        let experts = self.a.axis_chunks_iter(Axis(0), self.rows).enumerate();
        let live = experts.filter(|(at, _)| self.is_live(*at));
        live.map(|(_, expert)| expert.len() * size_of::<f32>()).sum()
    }

    fn plan(&self) -> Plan {
        Plan {
            strategy: Strategy::Rows,
            reason: format!("{} live experts of {} rows each", self.live.len(), self.rows),
        }
    }
}
