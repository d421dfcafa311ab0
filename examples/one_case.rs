//! One small case from a manifest's text: its inputs, both outputs and their digests, in a few lines; then one output
//! element and the digest of A again, by the contract alone.
//!
//! `cargo run --release --example one_case`

use std::error::Error;
use std::path::Path;

use contract::case::{Activations, Weights};
use contract::digest::TensorHasher;
use contract::inputs::{self, synthetic};
use record::expected::Expected;
use record::shared::SharedOutputs;
use sparse_verify::audit::{Auditor, HeldInputs, Task};
use sparse_verify::backend::cpu::Isa;
use sparse_verify::manifest;
use sparse_verify::operator::skip_operator;
use sparse_verify::weights::Resolver;

const MANIFEST: &str = "
format: sparse-verify/2
title: One small case
sections:
  - name: example
    seed: 42
    weights: {synthetic: heavy-tailed}
    layers: {name: up, shape: [96, 160]}
    patterns: uniform
    sparsity: 0.8
    batch: 8
    dtype: f32
    arithmetic: f32-chain
";

fn main() -> Result<(), Box<dyn Error>> {
    // The path is where a file of weights would be looked for; nothing is read here.
    let manifest = manifest::parse(Path::new("example.yaml"), MANIFEST.as_bytes())?;
    let case = &manifest.cases[0];

    let mut auditor = Auditor {
        fetches_optional: true,
        isa: Isa::best(),
        threads: 1,
        nonce: None,
        measuring: None,
        stranger: None,
        device: None,
        weights: Resolver::new(None, true),
        operator: &skip_operator,
        held: HeldInputs::default(),
        seen: SharedOutputs::default(),
    };
    // Nothing is committed for this case, so its verdict is `unpinned`.
    let audited = auditor.audit(&Task {
        manifest: &manifest,
        case,
        expected: &Expected::default(),
        expected_file: "",
        progress: &|_rows| {},
    });
    println!("{}: {}", audited.id, audited.verdict.name());
    let bits = audited.bits.ok_or_else(|| audited.reasons.join("\n"))?;
    for row in &bits.digests {
        let digest = row.got.map_or_else(|| "not applicable".to_owned(), |got| got.to_string());
        println!("  {:<9} {digest}", row.name);
    }
    println!("  operator: {}, {}", bits.operator, bits.plan);

    // What an auditor who trusts none of the above does with the contract.
    let (Weights::Synthetic(weights), Activations::Synthetic(of_v)) =
        (&case.weights, case.activations)
    else {
        return Err("the manifest says synthetic".into());
    };
    let (recipe, fill) = (case.recipe(), synthetic::fill);
    let source = Box::new(recipe.values(*weights, fill));
    let a = recipe.synthetic(*weights, source, &mut None, 1)?.rows(0..case.m)?;
    let v = inputs::activations(case.seed, of_v, (case.k, case.n), case.dtype, fill, 1);
    let mut hasher = TensorHasher::new(case.dtype, case.m, false);
    hasher.update(&a);
    println!("by the contract alone");
    println!("  a         {}", hasher.finish().digest);
    println!("  Y[0, 0]   {}", case.rule(&a.row(0).to_vec(), &v.column(0).to_vec()));
    Ok(())
}
