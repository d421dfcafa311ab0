//! A few row panels of a case, made again alone: all of V, those rows of A, and what the dense reference and the operator
//! make of them, beside the committed digests of these panels.

use contract::arithmetic::Arithmetic;
use contract::case::{Case, Weights as Origin};
use contract::digest::{
    Digest, PANELS, TensorHasher, digest_of_output, panel_start, root_of, short,
};
use contract::inputs::Weights;
use ndarray::{Array2, ArrayView2};
use record::CaseRecord;
use record::expected::Entry;
use record::manifest::Manifest;

use super::{Auditor, Stop, Unpruned};
use crate::backend::cpu::with_threads;
use crate::check::bits::CaseError;
use crate::check::tolerance::Tolerance;
use crate::machine;
use crate::operator::{self, DenseReference, Operator, Staged};
use record::Stopped;

/// What is asked about a case.
pub struct Asked<'a> {
    pub manifest: &'a Manifest,
    pub case: &'a Case,
    /// What is committed of it.
    pub entry: Option<&'a Entry>,
    /// The digests of the committed output's row panels, from the file beside.
    pub panels: Option<&'a [Digest]>,
    /// The panels that are looked at.
    pub drawn: &'a [usize],
    /// Whether all of A is read where magnitudes decide what stays of it.
    pub all_rows: bool,
    /// What somebody's record says of it.
    pub record: Option<&'a CaseRecord>,
}

/// How it was known which elements of A stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Each row says it of itself.
    Alone,
    /// From all rows.
    FromAllRows,
    /// By the committed last row or element that stays: that it is the last is taken for true.
    Assumed,
}

/// What was found.
pub struct Spotted {
    /// Rows of A that were made.
    pub rows: usize,
    pub known: Known,
    /// What is other than was committed, or recorded, in words. Empty if all is as it was said to be.
    pub differences: Vec<String>,
}

fn not_shown(reason: impl Into<String>) -> Stop {
    Stop { kind: Stopped::Unavailable, reason: reason.into() }
}

impl Auditor<'_> {
    /// Looks at some panels of a case. `Err` says why nothing could be looked at.
    pub fn spot(&mut self, asked: &Asked<'_>) -> Result<Spotted, Stop> {
        let Asked { manifest, case, .. } = *asked;
        if case.stack.as_ref().is_some_and(|place| place.index() > 0) {
            return Err(not_shown("a layer of a stack is made of all layers before it"));
        }
        if case.m == 0 || case.n == 0 {
            return Err(not_shown("there is nothing to multiply"));
        }
        let entry = asked.entry.ok_or_else(|| not_shown("nothing is committed for it"))?;
        if let Some(another) = entry.describes_another(case) {
            return Ok(Spotted { rows: 0, known: Known::Alone, differences: vec![another] });
        }
        let mut differences = Vec::new();
        let wanted = match asked.record {
            // What a record says is compared with what is made here, and needs no committed panels.
            Some(_) => None,
            None => Some(self.committed(asked, entry, &mut differences)?),
        };
        if !differences.is_empty() {
            return Ok(Spotted { rows: 0, known: Known::Alone, differences });
        }
        let rows = asked.drawn.iter().map(|&p| rows_of(p, case.m).len()).max().unwrap_or(0);
        // V plain and staged twice, the rows of A in three forms, and what comes of them twice.
        let bytes = 4 * (4 * case.k * case.n + 3 * rows * case.k + 3 * rows * case.n);
        machine::require(bytes as u64).map_err(CaseError::Environment)?;
        let (weights, known) = self.some_rows(asked, entry, &mut differences)?;
        let v = match self.held.take_activations(case) {
            Some(v) => v,
            None => self.activations(manifest, case)?,
        };
        let mut hasher = TensorHasher::new(case.dtype, case.k, false);
        hasher.update(&v);
        let of_v = hasher.finish().digest;
        if of_v != entry.v {
            differences.push(format!("v: committed {}, here {of_v}", entry.v));
        }
        let found = self.panels(asked, &weights, v.view(), wanted, &mut differences);
        self.held.keep_activations(case, v);
        Ok(Spotted { rows: found?, known, differences })
    }

    /// The committed digests of all panels, if they are those that the root is of.
    fn committed<'a>(
        &self,
        asked: &Asked<'a>,
        entry: &Entry,
        differences: &mut Vec<String>,
    ) -> Result<&'a [Digest], Stop> {
        let none = || {
            not_shown(
                "no digests of row panels are committed\nhint: `verify pin` writes them beside the others",
            )
        };
        let (root, panels) = entry.panels_root.zip(asked.panels).ok_or_else(none)?;
        let of_panels = root_of(panels);
        if of_panels != root {
            differences.push(format!(
                "the digests of row panels are not those that were committed: their root is {of_panels}, committed is {root}"
            ));
        } else if short(panels) != entry.panels {
            differences.push("the digests of row panels are not those that `panels` names".into());
        }
        Ok(panels)
    }

    /// A, of which any rows can be made.
    fn some_rows(
        &mut self,
        asked: &Asked<'_>,
        entry: &Entry,
        differences: &mut Vec<String>,
    ) -> Result<(Weights, Known), Stop> {
        let Asked { manifest, case, all_rows, .. } = *asked;
        let recipe = case.recipe();
        let magnitudes = recipe.goes_by_magnitude() && case.weights != Origin::Numpy;
        if all_rows && magnitudes {
            let made = self.weights(manifest, case)?;
            let here = made.weights.last_kept().map_err(CaseError::from)?;
            let here = here.map(record::expected::Pruned::from);
            if let Some(committed) = &entry.pruning
                && here.as_ref() != Some(committed)
            {
                differences.push(format!("pruning: committed {committed:?}, here {here:?}"));
            }
            return Ok((made.weights, Known::FromAllRows));
        }
        let Unpruned { source, .. } = self.source(manifest, case, false)?;
        let values = match case.weights {
            Origin::Synthetic(values) => Some(values),
            Origin::Drawn(_) | Origin::Numpy | Origin::File { .. } | Origin::Hub { .. } => None,
        };
        if magnitudes {
            let said = entry.pruning.as_ref().ok_or_else(|| {
                not_shown("which elements stay is not committed\nhint: --all-rows reads all of A for that")
            })?;
            let last = said.last_kept().map_err(|expected| {
                CaseError::Refused(format!("pruning: expected {expected}, found {said:?}"))
            })?;
            let elements = case.m as u64 * case.k as u64;
            let all = match case.pattern {
                contract::inputs::spec::Pattern::RowMagnitude => case.m as u64,
                _ => elements,
            };
            let kept = case.sparsity.live_of(all);
            if last.kept != kept {
                differences.push(format!(
                    "pruning: {} are committed to stay, and {kept} do at this sparsity",
                    last.kept
                ));
            }
            let weights = recipe.as_said(values, source, last);
            let weights = weights.unwrap_or_else(|| unreachable!("it goes by magnitude"));
            return Ok((weights, Known::Assumed));
        }
        let recipe = match case.weights {
            // The mask is the generator's own.
            Origin::Numpy => contract::inputs::Recipe {
                pattern: contract::inputs::spec::Pattern::None,
                ..recipe
            },
            _ => recipe,
        };
        let weights = match values {
            Some(values) => recipe.synthetic(values, source, &mut None, self.threads),
            None => recipe.prune(source, &mut None, self.threads),
        };
        Ok((weights.map_err(CaseError::from)?, Known::Alone))
    }

    /// Makes the panels that were drawn and compares them. Returns how many rows these are.
    fn panels(
        &self,
        asked: &Asked<'_>,
        weights: &Weights,
        v: ArrayView2<'_, f32>,
        wanted: Option<&[Digest]>,
        differences: &mut Vec<String>,
    ) -> Result<usize, Stop> {
        let Asked { case, record, .. } = *asked;
        let (threads, isa) = (self.threads, self.isa);
        let (arithmetic, output) = (case.arithmetic, case.output);
        let reference = DenseReference { arithmetic, output, isa };
        let operator = self.operator_for(case);
        let made = with_threads(threads, || {
            let stage = |operator: &dyn Operator| {
                let mut staged = Staged::default();
                operator.stage(v, &mut staged, threads).map(|()| staged)
            };
            let staged = [stage(&reference)?, stage(&*operator)?];
            let mut made = Vec::new();
            for &p in asked.drawn {
                let rows = rows_of(p, case.m);
                if rows.is_empty() {
                    // Its digest is that of no bytes.
                    made.push((p, 0, [Digest::of(b""); 2], Ok(())));
                    continue;
                }
                let a = weights.rows(rows.clone()).map_err(CaseError::from)?;
                let apply = |operator: &dyn Operator, staged: &Staged| {
                    let mut y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
                    operator.build(a.view())?.apply(v, staged, y.view_mut(), threads)?;
                    Ok::<_, operator::Error>(y)
                };
                let dense = apply(&reference, &staged[0])?;
                let ours = apply(&*operator, &staged[1])?;
                let within = match arithmetic.has_bit_contract() {
                    true => Ok(()),
                    false => Tolerance::for_dtype(a.view(), v, case.dtype, isa, threads)?
                        .check_rounded(ours.view(), output),
                };
                made.push((
                    p,
                    rows.len(),
                    [dense, ours].map(|y| digest_of_output(y.view(), output)),
                    within,
                ));
            }
            Ok::<_, CaseError>(made)
        });
        let made = made.map_err(|error| CaseError::Environment(error.to_string()))??;
        let mut rows = 0;
        for (p, count, [dense, ours], within) in made {
            rows += count;
            let place = format!("row panel {p} of {PANELS} (rows {:?})", rows_of(p, case.m));
            let mut compare = |what: &str, said: &str, want: String, got: Digest| {
                if !got.to_string().starts_with(&want) {
                    differences.push(format!("{place}: {what}: {said} {want}, here {got}"));
                }
            };
            let is_exact = arithmetic != Arithmetic::Bounded;
            match (wanted, record.and_then(|record| record.bits.as_ref())) {
                (Some(wanted), _) => {
                    compare("dense", "committed", wanted[p].to_string(), dense);
                    if is_exact {
                        compare("operator", "committed", wanted[p].to_string(), ours);
                    }
                }
                (None, Some(bits)) => {
                    let of = |panels: &[String]| panels.get(p).cloned();
                    // A record that lacks panels was refused when it was read.
                    let none = "none".to_owned();
                    let of_dense = of(&bits.panels_dense).unwrap_or_else(|| none.clone());
                    compare("dense", "recorded", of_dense, dense);
                    if is_exact {
                        let of_operator = of(&bits.panels_operator).unwrap_or(none);
                        compare("operator", "recorded", of_operator, ours);
                    }
                }
                (None, None) => {
                    return Err(not_shown("the record has no bits of it"));
                }
            }
            if let Err(why) = within {
                differences.push(format!("{place}: operator: {why}"));
            }
        }
        Ok(rows)
    }
}

/// The rows of a panel of an output of `m` rows.
fn rows_of(panel: usize, m: usize) -> std::ops::Range<usize> {
    panel_start(panel, m)..panel_start(panel + 1, m)
}
