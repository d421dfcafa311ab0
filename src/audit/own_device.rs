//! Our own operator on a device, asked for whole outputs of a case: built from all of A, as it is where it is timed.

use std::ops::Range;

use contract::case::Case;
use contract::inputs::Weights;
use contract::perturbation::Perturbation;
use ndarray::Array2;

use super::device::own;
use crate::backend::cpu::with_threads;
use crate::backend::shared::SharedOutputs;
use crate::check::bits::{Answer, Asked, CaseError, Rows};
use crate::measure::SharedA;
use crate::worker::{LentV, RemoteDevice};

/// An output that the device's process wrote, n wide.
struct Written {
    y: SharedOutputs,
    n: usize,
}

impl Rows for Written {
    fn rows(&self, rows: Range<usize>) -> Result<Array2<f32>, CaseError> {
        let mut out = vec![0.0; rows.len() * self.n];
        self.y.copy(0, rows.start * self.n..rows.end * self.n, &mut out);
        let out = Array2::from_shape_vec((rows.len(), self.n), out);
        Ok(out.unwrap_or_else(|_| unreachable!("sized above")))
    }
}

/// A V, and where the perturbation test applies A V2 by the same build and A1 V by one of A1, to which A is changed where
/// it lies.
pub fn ask(
    device: &RemoteDevice,
    case: &Case,
    weights: &Weights,
    asked: &Asked<'_>,
    threads: usize,
) -> Result<Answer, CaseError> {
    let &Case { m, k, n, .. } = case;
    let failed = |error: String| CaseError::Environment(error);
    let mut a = SharedA::of((m, k), threads, |rows| weights.rows(rows)).map_err(failed)?;
    let v = LentV::of(asked.v)?;
    let v2 = asked.perturbed.map(|(v2, _)| LentV::of(v2.view())).transpose()?;
    let room = || with_threads(threads, || SharedOutputs::new(1, m * n, f32::NAN.to_bits()));
    let room = || room().map_err(|error| failed(error.to_string()))?.map_err(CaseError::from);
    let y = room()?;
    let shifted = v2.map(|v2| Ok::<_, CaseError>((v2, room()?))).transpose()?;

    let mut pairs = vec![(&v, &y)];
    pairs.extend(shifted.as_ref().map(|(v2, shifted)| (v2, shifted)));
    let contender = own(case);
    let apply = |a: &SharedA, pairs: &[(&LentV, &SharedOutputs)]| {
        device.apply(contender.clone(), a.file(), [m, k, n], pairs)
    };
    let (plan, _) = apply(&a, &pairs)?;
    let mut rebuild = |changes: &Perturbation| {
        let rebuilt = room()?;
        a.change(changes.changed_weights());
        apply(&a, &[(&v, &rebuilt)])?;
        Ok::<_, CaseError>(rebuilt)
    };
    let rebuilt = asked.perturbed.map(|(_, changes)| rebuild(changes)).transpose()?;
    let written = |y| Box::new(Written { y, n }) as Box<dyn Rows>;
    Ok(Answer {
        y: written(y),
        rebuilt: rebuilt.map(written),
        shifted: shifted.map(|(_, shifted)| written(shifted)),
        broken: Vec::new(),
        plan: plan.to_string(),
    })
}
