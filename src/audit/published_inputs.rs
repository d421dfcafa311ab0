//! Inputs that claims publish digests of, made again from their recipes: only as much as the digest covers.

use crate::weights::Checkpoint;
use std::ops::Range;

use super::{Auditor, Stop, drawn};
use crate::check::bits::CaseError;
use crate::published::Machine;
use contract::case::{Case, Weights as Origin};
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::inputs::source::{Source, SourceError};
use contract::published::{Comparison, Generator, Recipe};
use record::claims::{Claim, PublishedDigest, PublishedInput, Tensor};
use record::manifest::Manifest;

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
                Err(Stop { reason, .. }) => (None, Some(reason)),
            };
            let needs_device = matches!(claim.v_recipe, Some((Recipe::Normal, _)));
            let device = match (&machine.device, published.tensor) {
                (Ok(device), Tensor::V) if needs_device => Some(device.name()),
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

    /// A as it was before it was pruned, or else as one of the cases has it. `cases` are not empty.
    fn a(
        &mut self,
        manifest: &Manifest,
        cases: &[&Case],
        published: &PublishedDigest,
    ) -> Result<Comparison, Stop> {
        let compare = |case: &Case, pruned, got| {
            let elements = case.m * case.k;
            Comparison::new(published.scope, elements, pruned, got, published.digits.as_str())
        };
        let of = |case: &Case| (case.weights.clone(), case.seed, case.m, case.k);
        let (mut first, mut last) = (None, None);
        for case in cases {
            // Cases on the same weights follow each other.
            if last.replace(of(case)) == Some(of(case)) {
                continue;
            }
            let whole = compare(case, false, self.unpruned(manifest, case, published)?);
            if whole.matches {
                return Ok(whole);
            }
            first.get_or_insert(whole);
        }
        // Then it may be of a pruned one.
        for case in cases {
            let weights = self.weights(manifest, case)?.weights;
            let got = digest_of(published, case, |rows, out| {
                let values = weights.rows(rows)?;
                out.copy_from_slice(values.as_slice().unwrap_or_else(|| unreachable!("row-major")));
                Ok(())
            })?;
            let pruned = compare(case, true, got);
            if pruned.matches {
                return Ok(pruned);
            }
        }
        first.ok_or_else(|| not_published("A"))
    }

    fn unpruned(
        &mut self,
        manifest: &Manifest,
        case: &Case,
        published: &PublishedDigest,
    ) -> Result<Digest, Stop> {
        match &case.weights {
            Origin::Synthetic(_) => Err(not_published("A")),
            Origin::Drawn(hardware) => {
                let (a, _) = drawn(case, *hardware)?;
                Ok(a.digest(published.scope, self.threads)?)
            }
            origin @ (Origin::File { .. } | Origin::Hub { .. }) => {
                let source = self.found(manifest, case, origin)?;
                let checkpoint = Checkpoint { tensor: source.tensor, dtype: Dtype::F32 };
                digest_of(published, case, |rows, out| checkpoint.read(rows, out))
            }
        }
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
    let got = machine.digest(&drawn, published.scope)?;
    Ok(Comparison::new(published.scope, drawn.elements(), false, got, published.digits.as_str()))
}

fn not_published(tensor: &str) -> Stop {
    let reason = format!("how {tensor} was made is not published");
    Stop { kind: record::Stopped::Unavailable, reason }
}

/// The digest of what is covered of a case's A, some whole rows at a time: `read` fills a buffer with rows.
fn digest_of(
    published: &PublishedDigest,
    case: &Case,
    read: impl Fn(Range<usize>, &mut [f32]) -> Result<(), SourceError>,
) -> Result<Digest, Stop> {
    /// Of a panel: a few megabytes.
    const ELEMENTS: usize = 1 << 20;
    let (elements, k) = (case.m * case.k, case.k.max(1));
    let panel = (ELEMENTS / k).max(1) * k;
    let mut rows = vec![0.0; panel];
    let digest = published.scope.digest(elements, panel, |first, out| {
        // What is covered may end within a row.
        let end = (first + panel).min(elements);
        let rows = &mut rows[..end - first];
        read(first / k..end / k, rows)?;
        out.copy_from_slice(&rows[..out.len()]);
        Ok::<(), SourceError>(())
    });
    digest.map_err(|error| CaseError::from(error).into())
}
