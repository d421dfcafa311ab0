//! Inputs that claims publish digests of, made again from their recipes: only as much as the digest covers.

use super::{Auditor, Stop, drawn};
use crate::claims::{Claim, PublishedDigest, PublishedInput, Tensor};
use crate::digest::Digest;
use crate::inputs::source::{Checkpoint, Source, SourceError};
use crate::manifest::{Case, Manifest, Weights as Origin};
use crate::matrix::Dtype;
use crate::published::{Comparison, Generator, Machine, Recipe};

/// k, and the elements of a panel of whole rows: a few megabytes.
fn panel(case: &Case) -> (usize, usize) {
    const ELEMENTS: usize = 1 << 20;
    let k = case.k.max(1);
    (k, (ELEMENTS / k).max(1) * k)
}

impl Auditor<'_> {
    /// The digests of A and V that a claim publishes, beside those of what its cases say they are. `machine` draws
    /// what needs a device. `cases` are the claim's; with none there is nothing to make.
    pub fn published_inputs(
        &mut self,
        manifest: &Manifest,
        claim: &Claim,
        cases: &[&Case],
        machine: &Machine,
    ) -> Vec<PublishedInput> {
        let Some(&first) = cases.first() else { return Vec::new() };
        let inputs = claim
            .digests
            .iter()
            .filter(|published| matches!(published.tensor, Tensor::A | Tensor::V));
        let mut made = Vec::new();
        for published in inputs {
            let compared = match published.tensor {
                Tensor::V => v(claim, first, published, machine),
                _ => self.a(manifest, cases, published),
            };
            let (compared, reason) = match compared {
                Ok(compared) => (Some(compared), None),
                Err(Stop::NotRun { reason, .. } | Stop::OtherWeights(reason)) => {
                    (None, Some(reason))
                }
            };
            let needs_device = matches!(claim.v_recipe, Some((Recipe::Normal, _)));
            let device = match (&machine.device, published.tensor) {
                (Ok(device), Tensor::V) if needs_device => Some(device.info.name.clone()),
                _ => None,
            };
            made.push(PublishedInput {
                manifest: manifest.name.clone(),
                claim: claim.id.clone(),
                tensor: published.tensor,
                device,
                compared,
                reason,
            });
        }
        made
    }

    /// A as it was before it was pruned, or else as one of the cases has it.
    fn a(
        &mut self,
        manifest: &Manifest,
        cases: &[&Case],
        published: &PublishedDigest,
    ) -> Result<Comparison, Stop> {
        let case = cases[0];
        let elements = case.m * case.k;
        let compare = |pruned, got| {
            Comparison::new(published.scope, elements, pruned, got, published.digits.as_str())
        };
        let unpruned = match &case.weights {
            Origin::Synthetic(_) => return Err(not_published("A")),
            Origin::Drawn(hardware) => {
                let (a, _) = drawn(case, *hardware)?;
                a.digest(published.scope, &Machine::cpu(self.threads))?
            }
            origin => {
                let source = self.weights.resolve(&manifest.path, origin, case.m, case.k)?;
                let checkpoint = Checkpoint { tensor: source.tensor, dtype: Dtype::F32 };
                let (k, panel) = panel(case);
                digest_of(published, elements, panel, |first, out| {
                    checkpoint.read(first / k..(first + out.len()) / k, out)
                })?
            }
        };
        let whole = compare(false, unpruned);
        if whole.matches {
            return Ok(whole);
        }
        // Then it may be of a pruned one.
        for case in cases {
            let (weights, _) = self.weights(manifest, case)?;
            let (k, panel) = panel(case);
            let got = digest_of(published, elements, panel, |first, out| {
                let values = weights.rows(first / k..(first + out.len()) / k)?;
                out.copy_from_slice(values.as_slice().unwrap_or_else(|| unreachable!("row-major")));
                Ok(())
            })?;
            let pruned = compare(true, got);
            if pruned.matches {
                return Ok(pruned);
            }
        }
        Ok(whole)
    }
}

/// V as the claim says that it was drawn, or as the case draws it.
fn v(
    claim: &Claim,
    case: &Case,
    published: &PublishedDigest,
    machine: &Machine,
) -> Result<Comparison, Stop> {
    let drawn = match (claim.v_recipe, &case.weights) {
        (Some((recipe, hardware)), _) => {
            Generator::new(case.seed, hardware).draw(recipe, (case.k, case.n))?
        }
        (None, Origin::Drawn(hardware)) => drawn(case, *hardware)?.1,
        (None, _) => return Err(not_published("V")),
    };
    let got = drawn.digest(published.scope, machine)?;
    Ok(Comparison::new(published.scope, drawn.elements(), false, got, published.digits.as_str()))
}

fn not_published(tensor: &str) -> Stop {
    let reason = format!("how {tensor} was made is not published");
    Stop::NotRun { code: crate::exit::NOT_VERIFIED, reason }
}

/// The digest of what is covered of a tensor of whole rows, `panel` elements at a time. A last panel may end within
/// a row: `fill` gets a buffer of whole rows.
fn digest_of(
    published: &PublishedDigest,
    elements: usize,
    panel: usize,
    fill: impl Fn(usize, &mut [f32]) -> Result<(), SourceError>,
) -> Result<Digest, Stop> {
    let mut rows = vec![0.0; panel];
    let digest = published.scope.digest(elements, panel, |first, out| {
        let end = (first + panel).min(elements);
        let rows = &mut rows[..end - first];
        fill(first, rows)?;
        out.copy_from_slice(&rows[..out.len()]);
        Ok::<(), SourceError>(())
    });
    digest.map_err(|error| crate::check::bits::CaseError::from(error).into())
}
