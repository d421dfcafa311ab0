//! Inputs that are kept from one case to the next, where the next has the same.

use std::sync::Arc;

use ndarray::Array2;

use contract::arithmetic::Arithmetic;
use contract::case::{Activations, Case, Weights as Origin};
use contract::dtype::Dtype;
use contract::inputs::RowRanking;
use contract::inputs::source::{Held, Source};
use contract::inputs::spec::{Pattern, Sparsity};
use contract::stack::{Flow, Place, Stack};

/// The last inputs read or drawn, for the cases on the same layer that follow each other.
#[derive(Default)]
pub struct HeldInputs {
    weights: Option<(OfWeights, Arc<Held>)>,
    /// Of the rows, which is the same at every sparsity.
    ranking: Option<(OfWeights, RowRanking)>,
    activations: Option<(OfActivations, Array2<f32>)>,
    /// Of the stack at hand.
    flow: Option<(OfStack, Flow)>,
}

/// Which stack: its layers, seed and weights, what its input is, and what its cases have in common.
type OfStack =
    (Arc<Stack>, u64, Origin, Activations, (Pattern, Sparsity), usize, [Dtype; 2], Arithmetic);

/// Which unpruned weights: where from, rounded to what, drawn with which seed, and their shape.
type OfWeights = (Origin, Dtype, u64, (usize, usize));
/// Which V: how, rounded to what, with which seed, its shape, and what was drawn before it where that matters.
type OfActivations = (Activations, Dtype, u64, (usize, usize), Option<OfWeights>);

impl HeldInputs {
    /// Unpruned weights of a case: the last ones if they are the same, else what `read` makes of `source`, else (they
    /// are too many to be held) `source` itself.
    pub(super) fn source<S: Source + 'static, E>(
        &mut self,
        case: &Case,
        source: S,
        read: impl FnOnce(&S) -> Result<Option<Held>, E>,
    ) -> Result<Box<dyn Source>, E> {
        let of = of_weights(case);
        if let Some((last, held)) = &self.weights
            && *last == of
        {
            return Ok(Box::new(held.clone()));
        }
        // First the old ones go, then the new ones come: never two at once.
        self.weights = None;
        let Some(held) = read(&source)? else { return Ok(Box::new(source)) };
        let held = Arc::new(held);
        self.weights = Some((of, held.clone()));
        Ok(Box::new(held))
    }

    /// The ranking of a case's rows, if the last case was on the same weights.
    pub(super) fn ranking(&self, case: &Case) -> Option<RowRanking> {
        let known = self.ranking.as_ref().filter(|(last, _)| *last == of_weights(case));
        known.map(|(_, ranking)| ranking.clone())
    }

    pub(super) fn keep_ranking(&mut self, case: &Case, ranking: Option<RowRanking>) {
        if let Some(ranking) = ranking {
            self.ranking = Some((of_weights(case), ranking));
        }
    }

    /// V of a case, if the last case had the same. It is held no more, whether it was or not.
    pub(super) fn take_activations(&mut self, case: &Case) -> Option<Array2<f32>> {
        let last = self.activations.take().filter(|(last, _)| *last == of_activations(case));
        last.filter(|_| case.stack.is_none()).map(|(_, v)| v)
    }

    /// Those of a stack are made of what comes before them, and kept there.
    pub(super) fn keep_activations(&mut self, case: &Case, v: Array2<f32>) {
        self.activations = case.stack.is_none().then(|| (of_activations(case), v));
    }

    /// The activations of a layer's stack, if they are not beyond the layer. They are held no more, whether they are or not.
    pub(super) fn take_flow(&mut self, case: &Case, place: &Place) -> Option<Flow> {
        let last = self.flow.take().filter(|(last, _)| *last == of_stack(case, place));
        last.map(|(_, flow)| flow).filter(|flow| flow.index() <= place.index())
    }

    /// Takes the output of the layer whose activations were asked for last.
    pub(super) fn go_on(&mut self, case: &Case, output: Array2<f32>, threads: usize) {
        let Some(place) = &case.stack else { return };
        if let Some(mut flow) = self.take_flow(case, place)
            && flow.index() == place.index()
            && !place.is_end()
        {
            flow.push(output, threads);
            self.keep_flow(case, place, flow);
        }
    }

    pub(super) fn keep_flow(&mut self, case: &Case, place: &Place, flow: Flow) {
        self.flow = Some((of_stack(case, place), flow));
    }
}

fn of_stack(case: &Case, place: &Place) -> OfStack {
    let seed = case.seed.wrapping_sub(place.index() as u64);
    let (level, dtypes) = ((case.pattern, case.sparsity), [case.dtype, case.output]);
    let (weights, activations) = (case.weights.clone(), case.activations);
    (place.stack.clone(), seed, weights, activations, level, case.n, dtypes, case.arithmetic)
}

fn of_weights(case: &Case) -> OfWeights {
    (case.weights.clone(), case.dtype, case.seed, (case.m, case.k))
}

fn of_activations(case: &Case) -> OfActivations {
    let before = (case.activations == Activations::Drawn).then(|| of_weights(case));
    (case.activations, case.dtype, case.seed, (case.k, case.n), before)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::Path;

    use super::*;
    use crate::manifest;
    use contract::inputs::source::Synthetic;
    use contract::inputs::spec::Values;

    const SECTION: &str = "
    weights: {synthetic: uniform}
    seed: 1
    layers: {name: up, shape: [96, 64]}
    dtype: f32
    batch: 8
    sparsity: 0.5
    patterns: row-magnitude
    arithmetic: f32-chain
";

    /// The only case of a section in which `from` became `to`.
    fn case(from: &str, to: &str) -> Case {
        assert!(SECTION.contains(from), "{from}");
        let section = SECTION.replace(from, to);
        let text =
            format!("format: sparse-verify/2\ntitle: One\nsections:\n  - name: one{section}");
        let manifest = manifest::parse(Path::new("one.yaml"), text.as_bytes());
        manifest.expect("a good manifest").cases.remove(0)
    }

    /// What makes other weights, and other activations, of a case.
    const CHANGES: [(&str, &str, bool, bool); 10] = [
        ("seed: 1", "seed: 2", true, true),
        ("f32\n", "bf16\n", true, true),
        ("[96, 64]", "[96, 128]", true, true),
        ("{synthetic: uniform}", "{synthetic: heavy-tailed}", true, true),
        ("[96, 64]", "[192, 64]", true, false),
        ("batch: 8", "batch: 9", false, true),
        ("sparsity: 0.5", "sparsity: 0.9", false, false),
        ("row-magnitude", "uniform", false, false),
        ("f32-chain", "bounded", false, false),
        ("name: up", "name: down", false, false),
    ];

    #[test]
    fn activations_are_given_to_cases_that_have_the_same() {
        let first = case("", "");
        for (from, to, _, others) in CHANGES {
            let next = case(from, to);
            let mut held = HeldInputs::default();
            held.keep_activations(&first, Array2::zeros((64, 8)));
            assert_eq!(held.take_activations(&next).is_none(), others, "{from} to {to}");
            assert!(held.take_activations(&first).is_none(), "held no more");
        }
    }

    #[test]
    fn weights_and_their_ranking_are_given_to_cases_that_have_the_same() {
        let first = case("", "");
        for (from, to, others, _) in CHANGES {
            let next = case(from, to);
            let mut held = HeldInputs::default();
            let mut reads = 0;
            let mut ask = |held: &mut HeldInputs, case: &Case| {
                let source =
                    case.recipe().values(Values::Uniform, contract::inputs::synthetic::fill);
                let read = |_: &Synthetic| {
                    reads += 1;
                    Ok::<_, Infallible>(Some(Held {
                        values: vec![0.0; case.m * case.k],
                        k: case.k,
                    }))
                };
                held.source(case, source, read).map(drop).unwrap_or_else(|never| match never {});
                reads
            };
            assert_eq!((ask(&mut held, &first), ask(&mut held, &first)), (1, 1));
            assert_eq!(ask(&mut held, &next), 1 + usize::from(others), "{from} to {to}");

            let source = first.recipe().values(Values::Uniform, contract::inputs::synthetic::fill);
            let ranking = RowRanking::of((first.m, first.k), &source, 1).expect("synthetic");
            held.keep_ranking(&first, Some(ranking));
            assert_eq!(held.ranking(&next).is_none(), others, "{from} to {to}");
        }
    }
}
