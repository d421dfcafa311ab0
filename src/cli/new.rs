//! `verify new`: a commented manifest for one layer, to begin with.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use super::NewArgs;
use crate::failure::Failure;
use crate::manifest;
use crate::output::{note, print};
use contract::words;
use record::exit::VERIFIED;

pub fn run(args: &NewArgs) -> Result<u8, Failure> {
    let text = text(args);
    // Every value is judged where a manifest's are, by its words.
    let made = manifest::parse(Path::new("(this manifest)"), text.as_bytes());
    let made = made.map_err(|errors| {
        Failure::bad_input(format!("these options give no manifest\n{errors}\n{text}"))
    })?;
    let Some(path) = &args.out else {
        print(&text);
        return Ok(VERIFIED);
    };
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::bad_input(format!(
            "{} is there already, and nothing is written over\nhint: name another file",
            words::path(path)
        )),
        _ => Failure::environment(format!("failed to write {}: {error}", words::path(path))),
    };
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let count = made.cases.len();
    let path = words::path(path);
    note(&format!(
        "wrote {path}: {count} case{}\nhint: `verify list {path}` shows them, `verify pin {path}` commits their digests, `verify {path}` runs them",
        if count == 1 { "" } else { "s" }
    ));
    Ok(VERIFIED)
}

/// The manifest's text.
fn text(args: &NewArgs) -> String {
    let (m, k) = args.shape;
    let is_exact = args.arithmetic == "exact";
    let values =
        args.values.as_deref().unwrap_or(if is_exact { "binomial" } else { "heavy-tailed" });
    let arithmetic = match args.arithmetic.strip_prefix("tensor-core-") {
        Some(architecture) => format!("{{tensor-core: {architecture}}}"),
        None => args.arithmetic.clone(),
    };
    let has_sparsity = !matches!(args.pattern.as_str(), "none" | "two-of-four");
    let pattern = match args.pattern.strip_prefix("block") {
        Some(size) if !size.is_empty() => format!("{{block: {size}}}"),
        _ => args.pattern.clone(),
    };
    let sparsity = match has_sparsity {
        true => format!(
            "    sparsity: [{}]            # the share of zeros\n",
            args.sparsity.join(", ")
        ),
        false => String::new(),
    };
    let batch: Vec<String> = args.batch.iter().map(u64::to_string).collect();
    let [batch, dtype] = [batch.join(", "), args.dtype.join(", ")];
    let layer = &args.layer;
    format!(
        "# yaml-language-server: $schema=manifest.schema.json
# `verify schema manifest > manifest.schema.json` writes what editors complete from; VERIFY.md section 8 has all keys.
format: sparse-verify/2-draft
title: {layer}, {m} x {k}
# platform: NVIDIA H200         # the hardware that published times are about
sections:
  # Every combination of a section's lists is a case, with an id of its own.
  - name: {layer_lower}
    seed: {seed}                    # what A, V and the perturbation are drawn from
    # Or {{file: PATH, sha256: DIGEST}}, or {{hub: ORG/NAME, revision: COMMIT, file: PATH}}: then a layer names its tensor.
    weights: {{synthetic: {values}}}
    layers:
      - {{name: {layer}, shape: [{m}, {k}]}}   # rows and columns of A
    patterns: {pattern}            # which elements of A become zero
{sparsity}    batch: [{batch}]                # columns of V
    dtype: [{dtype}]                 # of A and V
    arithmetic: {arithmetic}         # the rule that fixes the bits of Y
",
        layer_lower = layer.to_lowercase(),
        seed = args.seed,
    )
}
