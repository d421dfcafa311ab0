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
use contract::published::{Comparison, Generator, NumpyUniform, Recipe, Scope};
use record::claims::{Claim, PublishedDigest, PublishedInput, Tensor, VRecipe};
use record::manifest::Manifest;

impl Auditor<'_> {
    /// The digests of A and V that a claim publishes, beside those of what its cases say they are. `machine` draws
    /// what needs a device. `cases` are the claim's; with none there is nothing to make, unless the claim says how.
    pub fn published_inputs(
        &mut self,
        manifest: &Manifest,
        claim: &Claim,
        cases: &[&Case],
        machine: &Machine,
    ) -> Vec<PublishedInput> {
        if cases.is_empty() && !claim.has_own_inputs() {
            return Vec::new();
        }
        let inputs = claim
            .digests
            .iter()
            .filter(|published| matches!(published.tensor, Tensor::A | Tensor::V));
        let mut made = Vec::new();
        for published in inputs {
            let compared = match published.tensor {
                Tensor::V => v(claim, cases.first().copied(), published, machine),
                _ => match claim.a_recipe {
                    Some(generator) => numpy_a(claim, generator, published),
                    None => self.a(manifest, cases, published),
                },
            };
            let (compared, reason) = match compared {
                Ok(compared) => (Some(compared), None),
                Err(Stop { reason, .. }) => (None, Some(reason)),
            };
            let needs_device = matches!(claim.v_recipe, Some(VRecipe::Device(Recipe::Normal, _)));
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

    /// A as it was before it was pruned, or else as one of the cases has it.
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
            let (weights, _) = self.weights(manifest, case)?;
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
            // Drawn with its mask: there is no other.
            Origin::Synthetic(_) | Origin::Numpy => Err(not_published("A")),
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
    case: Option<&Case>,
    published: &PublishedDigest,
    machine: &Machine,
) -> Result<Comparison, Stop> {
    let drawn = match (claim.v_recipe, case) {
        (Some(VRecipe::Numpy(generator)), _) => return numpy_v(claim, generator, published),
        (Some(VRecipe::Device(recipe, hardware)), Some(case)) => {
            Generator::new(case.seed, hardware).draw(recipe, (case.k, case.n))?
        }
        (None, Some(case)) => match case.weights {
            Origin::Drawn(hardware) => drawn(case, hardware)?.1,
            _ => return Err(not_published("V")),
        },
        (_, None) => return Err(not_published("V")),
    };
    let got = machine.digest(&drawn, published.scope)?;
    Ok(Comparison::new(published.scope, drawn.elements(), false, got, published.digits.as_str()))
}

/// A as the claim says that it was drawn.
fn numpy_a(
    claim: &Claim,
    generator: NumpyUniform,
    published: &PublishedDigest,
) -> Result<Comparison, Stop> {
    let (Some((m, k)), Some(sparsity)) = (claim.subject.shape, claim.subject.sparsity) else {
        return Err(unavailable("the shape and the sparsity of A are not published"));
    };
    let elements = drawable(claim.elements(Tensor::A))?;
    let got = generator.digest_a((m as usize, k as usize), sparsity, published.scope);
    // Drawn with its mask, and hashed with it.
    Ok(Comparison::new(published.scope, elements, true, got, published.digits.as_str()))
}

/// V as the claim says that it was drawn. Of how many columns a prefix says nothing.
fn numpy_v(
    claim: &Claim,
    generator: NumpyUniform,
    published: &PublishedDigest,
) -> Result<Comparison, Stop> {
    let (elements, covered) = match (claim.elements(Tensor::V), published.scope) {
        (None, Scope::Prefix) => (None, Scope::Prefix.covered(usize::MAX)),
        (None, Scope::WholeTensor) => {
            return Err(unavailable("the shape of V is not published"));
        }
        (known, _) => {
            let elements = drawable(known)?;
            (Some(elements), elements)
        }
    };
    let got = generator.digest_v((1, covered), published.scope);
    Ok(Comparison::new(published.scope, elements, false, got, published.digits.as_str()))
}

/// Elements of a tensor that can be drawn here in minutes.
fn drawable(elements: Option<u64>) -> Result<usize, Stop> {
    const MOST: u64 = 1 << 36;
    let fits = elements.filter(|&elements| elements <= MOST);
    fits.map(|elements| elements as usize)
        .ok_or_else(|| unavailable("it has more than 2^36 elements"))
}

fn not_published(tensor: &str) -> Stop {
    unavailable(&format!("how {tensor} was made is not published"))
}

fn unavailable(reason: &str) -> Stop {
    Stop { kind: record::Stopped::Unavailable, reason: reason.to_owned() }
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
