//! Which model made a whole output: screened on a few elements, then compared on all.

use record::baseline::Identified;
use std::collections::HashMap;

use ndarray::{Array2, ArrayView2, s};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::model::Model;
use crate::backend::cpu::Isa;
use crate::operator::{DenseReference, Error, Operator, Staged};
use contract::arithmetic::Slices;
use contract::arithmetic::tensor_core::Architecture;
use contract::digest::Digest;
use contract::digest::digest_of_output;
use contract::dtype::Dtype;

/// Elements on which every candidate is tried by the scalar rule. A model with one rounding in another
/// place differs in most elements of an f32 output.
const SCREENED: usize = 48;
/// Whole references computed for one output. Each that differs says where, which rules out the
/// candidates that it has in common.
const WHOLE_MAX: usize = 8;
/// Differing elements that are kept from each.
const DIFFERING_KEPT: usize = 64;
/// Elements of A and of Y in the rows that are compared at a time.
const CHUNK_ELEMENTS: usize = 16 << 20;
/// Any seed serves: all elements are compared in the end.
const SEED: u64 = 1;

/// Finds out which model made outputs of one A (m x k) and V (k x n).
pub struct Identifier<'a> {
    a: ArrayView2<'a, f32>,
    v: ArrayView2<'a, f32>,
    output: Dtype,
    threads: usize,
    candidates: Vec<Model>,
    screen: Vec<Element>,
    /// Outputs that were verified before.
    known: HashMap<Digest, Model>,
    /// The output of f32-chain, once it was asked for.
    chain: Option<Array2<f32>>,
}

/// One output element, and what it is summed from.
struct Element {
    at: (usize, usize),
    row: Vec<f32>,
    column: Vec<f32>,
}

/// How an output differs from a model's.
struct Compared {
    differing: usize,
    /// Some of the places.
    places: Vec<(usize, usize)>,
}

impl<'a> Identifier<'a> {
    /// For operands of `dtype`, and an output that was rounded to `output` once. `architecture` is that of
    /// the device, whose tensor cores are tried before others'. With `threads` = 1 everything runs on
    /// the calling thread; otherwise in the current rayon pool.
    pub fn new(
        a: ArrayView2<'a, f32>,
        v: ArrayView2<'a, f32>,
        dtype: Dtype,
        output: Dtype,
        architecture: Option<Architecture>,
        threads: usize,
    ) -> Identifier<'a> {
        let mut identifier = Identifier {
            a,
            v,
            output,
            threads,
            candidates: Model::candidates(a.ncols(), dtype, architecture),
            screen: Vec::new(),
            known: HashMap::new(),
            chain: None,
        };
        let n = v.ncols();
        let is_live = |i: &usize| a.row(*i).iter().any(|&x| x != 0.0);
        // Every model gives a dead row zeros.
        let live: Vec<usize> = (0..a.nrows()).filter(is_live).collect();
        if !live.is_empty() && n > 0 {
            let mut random = ChaCha8Rng::seed_from_u64(SEED);
            let mut below = |end: usize| (random.next_u64() % end as u64) as usize;
            identifier.screen = (0..SCREENED)
                .map(|_| identifier.element((live[below(live.len())], below(n))))
                .collect();
        }
        identifier
    }

    /// Which model `y` (m x n, as the library left it) follows.
    ///
    /// Errors: a shape that is not that of A V; a reference that cannot be computed.
    pub fn identify(&mut self, y: ArrayView2<'_, f32>) -> Result<Identified, Error> {
        self.require_shape(y)?;
        let digest = digest_of_output(y, self.output);
        let found = |model: Option<(Model, usize)>| Identified {
            model: model.map(|(model, _)| model.to_string()),
            digest,
            elements: y.len(),
            differing: model.map(|(_, differing)| differing),
            verified: model.is_some_and(|(_, differing)| differing == 0),
            can_be_named: model.is_some_and(|(model, _)| model.arithmetic().is_some()),
            tried: self.candidates.len(),
        };
        if y.is_empty() {
            return Ok(found(None));
        }
        if let Some(&model) = self.known.get(&digest) {
            return Ok(found(Some((model, 0))));
        }
        let mut left = self.screen(&self.candidates, &self.screen, y, |wrong| wrong == 0);
        let mut nearest: Option<(Model, usize)> = None;
        for _ in 0..WHOLE_MAX {
            let Some(&model) = left.first() else { break };
            let least = nearest.map_or(usize::MAX, |(_, differing)| differing);
            let Compared { differing, places } = self.compare(model, y, least)?;
            if differing == 0 {
                let found = found(Some((model, 0)));
                self.known.insert(digest, model);
                return Ok(found);
            }
            if differing < least {
                nearest = Some((model, differing));
            }
            let elements: Vec<Element> = places.into_iter().map(|at| self.element(at)).collect();
            // An element that is wrong under every model must not rule out the nearest.
            left = self.screen(&left[1..], &elements, y, |wrong| 2 * wrong < elements.len());
        }
        Ok(found(nearest))
    }

    /// Elements of `y` that differ from those of f32-chain.
    pub fn unlike_chain(&mut self, y: ArrayView2<'_, f32>) -> Result<usize, Error> {
        self.require_shape(y)?;
        if self.chain.is_none() {
            let mut chain = Array2::zeros(y.dim());
            self.rows_of(Model::Named(Slices::One), &mut |first, rows| {
                chain.slice_mut(s![first..first + rows.nrows(), ..]).assign(&rows);
                true
            })?;
            self.chain = Some(chain);
        }
        let chain = self.chain.iter().flatten();
        Ok(chain.zip(y).filter(|(x, y)| bits(**x) != bits(**y)).count())
    }

    fn require_shape(&self, y: ArrayView2<'_, f32>) -> Result<(), Error> {
        let want = (self.a.nrows(), self.v.ncols());
        if self.a.ncols() == self.v.nrows() && y.dim() == want {
            return Ok(());
        }
        let (a, v, y) = (self.a.dim(), self.v.dim(), y.dim());
        Err(Error::Unsupported(format!("shapes do not fit: A {a:?}, V {v:?}, Y {y:?}")))
    }

    fn element(&self, at: (usize, usize)) -> Element {
        Element { at, row: self.a.row(at.0).to_vec(), column: self.v.column(at.1).to_vec() }
    }

    /// The candidates that differ from `y` in as few of `elements` as `allows` says, in their order.
    fn screen(
        &self,
        candidates: &[Model],
        elements: &[Element],
        y: ArrayView2<'_, f32>,
        allows: impl Fn(usize) -> bool + Sync,
    ) -> Vec<Model> {
        let stays = |model: &Model| {
            let mut wrong = 0;
            elements.iter().all(|element| {
                let want = self.output.round(model.dot(&element.row, &element.column));
                wrong += usize::from(bits(want) != bits(y[element.at]));
                allows(wrong)
            })
        };
        if self.threads > 1 {
            candidates.par_iter().copied().filter(stays).collect()
        } else {
            candidates.iter().copied().filter(stays).collect()
        }
    }

    /// Compares elements until `enough` of them differ.
    fn compare(
        &self,
        model: Model,
        y: ArrayView2<'_, f32>,
        enough: usize,
    ) -> Result<Compared, Error> {
        let mut compared = Compared { differing: 0, places: Vec::new() };
        self.rows_of(model, &mut |first, rows| {
            let y = y.slice(s![first..first + rows.nrows(), ..]);
            for (i, (want, got)) in rows.rows().into_iter().zip(y.rows()).enumerate() {
                for (j, (want, got)) in want.iter().zip(got).enumerate() {
                    if bits(*want) != bits(*got) {
                        compared.differing += 1;
                        if compared.places.len() < DIFFERING_KEPT {
                            compared.places.push((first + i, j));
                        }
                    }
                }
            }
            compared.differing < enough
        })?;
        Ok(compared)
    }

    /// The whole output under a model, some rows at a time: the first row's number and the rows go to
    /// `take` until it says no.
    fn rows_of(
        &self,
        model: Model,
        take: &mut dyn FnMut(usize, ArrayView2<'_, f32>) -> bool,
    ) -> Result<(), Error> {
        let ((m, k), n) = (self.a.dim(), self.v.ncols());
        let reference = model.arithmetic().map(|arithmetic| DenseReference {
            arithmetic,
            output: self.output,
            isa: Isa::best(),
        });
        let mut staged = Staged::default();
        if let Some(reference) = &reference {
            reference.stage(self.v, &mut staged, self.threads)?;
        }
        let columns = match reference {
            Some(_) => Vec::new(),
            None => self.v.columns().into_iter().map(|column| column.to_vec()).collect(),
        };
        let step = (CHUNK_ELEMENTS / k.max(n).max(1)).max(64).next_multiple_of(64);
        for first in (0..m).step_by(step) {
            let a = self.a.slice(s![first..m.min(first + step), ..]);
            let mut rows = Array2::from_elem((a.nrows(), n), f32::NAN);
            match &reference {
                Some(reference) => {
                    reference.build(a)?.apply(self.v, &staged, rows.view_mut(), self.threads)?;
                }
                None => self.scalar_rows(model, a, &columns, &mut rows),
            }
            if !take(first, rows.view()) {
                break;
            }
        }
        Ok(())
    }

    /// By the scalar rule: for models without another implementation.
    fn scalar_rows(
        &self,
        model: Model,
        a: ArrayView2<'_, f32>,
        columns: &[Vec<f32>],
        rows: &mut Array2<f32>,
    ) {
        let n = columns.len();
        let fill = |(i, y): (usize, &mut [f32])| {
            let row = a.row(i).to_vec();
            for (y, column) in y.iter_mut().zip(columns) {
                *y = self.output.round(model.dot(&row, column));
            }
        };
        // Just made, so row-major.
        let rows = rows.as_slice_mut().unwrap_or_default();
        if self.threads > 1 {
            rows.par_chunks_mut(n.max(1)).enumerate().for_each(fill);
        } else {
            rows.chunks_mut(n.max(1)).enumerate().for_each(fill);
        }
    }
}

/// Bits after the one normalisation that all outputs get: -0 is +0.
fn bits(y: f32) -> u32 {
    (y + 0.0).to_bits()
}
