//! Activations of a layer of a stack: the layers before it are multiplied, unless they were just audited.

use ndarray::{Array2, s};
use std::sync::{Mutex, PoisonError};

use super::{Auditor, Made, Stop, activations};
use crate::check::bits::{CaseError, positive_zeros, rows_max};
use crate::operator::{Staged, skip_operator};
use contract::case::Case;
use contract::stack::Flow;
use contract::threads;
use record::Stopped;
use record::manifest::Manifest;

impl Auditor<'_> {
    /// V, k x n.
    pub fn activations(&mut self, manifest: &Manifest, case: &Case) -> Result<Array2<f32>, Stop> {
        let threads = self.threads;
        let Some(place) = &case.stack else { return activations(case, threads) };
        let at = manifest.cases.iter().position(|known| known.id == case.id);
        let first = at.and_then(|at| at.checked_sub(place.index()));
        let stack = first.map(|first| &manifest.cases[first..=first + place.index()]);
        let stack = stack.unwrap_or_else(|| unreachable!("a stack's cases follow each other"));
        let mut flow = match self.held.take_flow(case, place) {
            Some(flow) => flow,
            None => {
                let input = activations(&stack[0], threads)?;
                Flow::new(place.stack.clone(), input, case.dtype)
            }
        };
        let next = |flow: &Flow| {
            flow.activations(threads).unwrap_or_else(|| unreachable!("it has not ended"))
        };
        while flow.index() < place.index() {
            let output = self.output(manifest, &stack[flow.index()], &next(&flow))?;
            flow.push(output, threads);
        }
        let v = next(&flow);
        self.held.keep_flow(case, place, flow);
        Ok(v)
    }

    /// Y of a layer that is not audited, by our own operator on this processor: it has the dense reference's bits, whose
    /// zeros it need not multiply.
    fn output(
        &mut self,
        manifest: &Manifest,
        case: &Case,
        v: &Array2<f32>,
    ) -> Result<Array2<f32>, Stop> {
        let Made { weights, .. } = self.weights(manifest, case)?;
        let operator = skip_operator(case, self.isa);
        let mut staged = Staged::default();
        operator.stage(v.view(), &mut staged, self.threads).map_err(CaseError::from)?;
        let chunks = threads::guided(case.m, 64, rows_max(case.k, self.threads), self.threads);
        let output = Mutex::new(Array2::zeros((case.m, case.n)));
        let done = threads::map(self.threads, chunks.len(), |at| {
            let rows = chunks[at].clone();
            let a = weights.rows(rows.clone()).map_err(CaseError::from)?;
            let mut y = Array2::from_elem((rows.len(), case.n), f32::NAN);
            let built = operator.build(a.view()).map_err(CaseError::from)?;
            built.apply(v.view(), &staged, y.view_mut(), 1).map_err(CaseError::from)?;
            positive_zeros(&mut y);
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.slice_mut(s![rows, ..]).assign(&y);
            Ok::<_, CaseError>(y.iter().all(|x| x.is_finite()))
        });
        for is_finite in done {
            if !is_finite? {
                let reason = format!(
                    "the output of `{}`, which comes before it in the stack, is not finite",
                    case.id
                );
                return Err(Stop { kind: Stopped::Refused, reason });
            }
        }
        Ok(output.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}
