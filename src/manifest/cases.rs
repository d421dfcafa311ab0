//! What a section's values mean together, and the cases they expand to.

use std::path::PathBuf;
use std::sync::Arc;

use super::section::{Layer, Placed, Rule, Section, Source};
use super::walk::Walk;
use contract::arithmetic::tensor_core::Format;
use contract::arithmetic::{Arithmetic, Slices, TensorCoreModel};
use contract::case::{Activations, Case, Weights};
use contract::dtype::Dtype;
use contract::inputs::spec::{Pattern, Sparsity, Values};
use contract::published::{Drawn, NUMPY_UNIFORM};
use contract::stack::{Place, Stack};

/// Elements of A, V or Y; indices and byte counts stay far from overflow.
const ELEMENTS_MAX: u64 = 1 << 40;
/// Cases of one manifest; more is a slip in a list, not a plan.
const CASES_MAX: usize = 100_000;

/// Appends the section's cases, if nothing in it is inconsistent.
pub(super) fn expand(walk: &mut Walk, section: &Section, cases: &mut Vec<Case>) {
    let errors = walk.errors.len();
    check_sizes(walk, section);
    check_experts(walk, section);
    check_values(walk, section);
    let arithmetics = arithmetics(walk, section);
    let levels = levels(section);
    let lengths = [
        section.stack.as_ref().map_or(1, |(stack, _)| stack.blocks),
        section.layers.len(),
        levels.len(),
        section.batch.len(),
        section.dtype.len(),
        section.arithmetic.len(),
    ];
    let count = lengths.iter().fold(1, |count: usize, &len| count.saturating_mul(len));
    if count.saturating_add(cases.len()) > CASES_MAX {
        let place = section.layers.first().map_or((1, 1), |layer| layer.place);
        let message = format!(
            "section `{}` brings the manifest to more than {CASES_MAX} cases",
            section.name
        );
        walk.fail(place, message, "split it into several manifests");
    }
    if walk.errors.len() > errors {
        return;
    }
    if let Some((stack, _)) = &section.stack {
        return expand_stack(section, stack, &levels, &arithmetics, cases);
    }
    for layer in &section.layers {
        for &level in &levels {
            for &(n, _) in &section.batch {
                for &pair in &arithmetics {
                    cases.extend(case(section, layer, level, n, pair));
                }
            }
        }
    }
}

/// A stack's cases follow each other, one stack after the other.
fn expand_stack(
    section: &Section,
    stack: &Arc<Stack>,
    levels: &[(Pattern, Sparsity)],
    arithmetics: &[(Dtype, Arithmetic)],
    cases: &mut Vec<Case>,
) {
    // Ids sort as the blocks do.
    let digits = (stack.blocks - 1).to_string().len().max(2);
    for &level in levels {
        for &(n, _) in &section.batch {
            for &pair in arithmetics {
                for block in 0..stack.blocks {
                    for (at, layer) in section.layers.iter().enumerate() {
                        let place = Place { stack: stack.clone(), block, layer: at };
                        let seed = section.seed.wrapping_add(place.index() as u64);
                        let layer = Layer {
                            name: format!("{block:0digits$}.{}", layer.name),
                            ..layer.clone()
                        };
                        let made = case(section, &layer, level, n, pair);
                        cases.extend(made.map(|case| Case { seed, stack: Some(place), ..case }));
                    }
                }
            }
        }
    }
}

fn case(
    section: &Section,
    layer: &Layer,
    (pattern, sparsity): (Pattern, Sparsity),
    n: u64,
    (dtype, arithmetic): (Dtype, Arithmetic),
) -> Option<Case> {
    Some(Case {
        id: id(section, layer, pattern, sparsity, n, dtype, arithmetic),
        section: section.name.clone(),
        required: section.required,
        seed: section.seed,
        layer: layer.name.clone(),
        m: layer.m as usize,
        k: layer.k as usize,
        n: n as usize,
        dtype,
        output: section.output,
        arithmetic,
        pattern,
        sparsity,
        weights: weights(&section.weights, layer)?,
        activations: section.activations.0,
        stack: None,
        strategy: section.strategy,
        line: layer.place.0,
    })
}

fn id(
    section: &Section,
    layer: &Layer,
    pattern: Pattern,
    sparsity: Sparsity,
    n: u64,
    dtype: Dtype,
    arithmetic: Arithmetic,
) -> String {
    let pattern = match pattern {
        Pattern::None | Pattern::TwoOfFour => pattern.to_string(),
        Pattern::Block { size } => format!("block{size}-{sparsity}"),
        Pattern::DeadExperts { rows } => format!("dead-experts{rows}-{sparsity}"),
        Pattern::Uniform
        | Pattern::RowMagnitude
        | Pattern::ElementMagnitude
        | Pattern::PowerLaw => format!("{pattern}-{sparsity}"),
    };
    let output = match section.output {
        Dtype::F32 => String::new(),
        output @ (Dtype::Bf16 | Dtype::F16) => format!("-to-{output}"),
    };
    let (section, layer) = (&section.name, &layer.name);
    format!("{section}/{layer}/{pattern}/b{n}/{dtype}{output}/{arithmetic}")
}

/// Pattern and sparsity; a pattern that has its own once.
fn levels(section: &Section) -> Vec<(Pattern, Sparsity)> {
    let mut levels = Vec::new();
    for &(pattern, _) in &section.patterns {
        match pattern {
            Pattern::None => levels.push((pattern, Sparsity::ZERO)),
            Pattern::TwoOfFour => levels.push((pattern, Sparsity::HALF)),
            Pattern::Uniform
            | Pattern::RowMagnitude
            | Pattern::ElementMagnitude
            | Pattern::PowerLaw
            | Pattern::Block { .. }
            | Pattern::DeadExperts { .. } => {
                levels.extend(section.sparsity.iter().map(|&(sparsity, _)| (pattern, sparsity)));
            }
        }
    }
    levels
}

fn weights(source: &Source, layer: &Layer) -> Option<Weights> {
    Some(match source {
        Source::Synthetic(values) => Weights::Synthetic(*values),
        Source::Drawn(hardware) => Weights::Drawn(*hardware),
        Source::Numpy => Weights::Numpy,
        Source::File { path, sha256 } => Weights::File {
            path: PathBuf::from(path),
            sha256: *sha256,
            tensor: layer.tensor.clone()?,
            tensor_sha256: layer.sha256,
            stored: layer.stored.clone(),
        },
        Source::Hub { repo, revision, file, sha256 } => Weights::Hub {
            repo: repo.clone(),
            revision: revision.clone(),
            file: file.clone(),
            sha256: *sha256,
            tensor: layer.tensor.clone()?,
            tensor_sha256: layer.sha256,
            stored: layer.stored.clone(),
        },
    })
}

/// Each layer's A, and each batch size with the layers of most rows and columns.
fn check_sizes(walk: &mut Walk, section: &Section) {
    let mut check = |place, what: &str, layer: &Layer, rows: u64, columns: u64| {
        // Both factors are at most 2^31.
        if rows * columns >= ELEMENTS_MAX {
            let name = &layer.name;
            let message = format!(
                "{what} of layer `{name}` is {rows} x {columns}: must be below 2^40 elements"
            );
            walk.fail(place, message, "");
        }
    };
    for layer in &section.layers {
        check(layer.shape_place, "A", layer, layer.m, layer.k);
    }
    let tallest = section.layers.iter().max_by_key(|layer| layer.m);
    let widest = section.layers.iter().max_by_key(|layer| layer.k);
    let (Some(tallest), Some(widest)) = (tallest, widest) else { return };
    for &(n, place) in &section.batch {
        check(place, "V", widest, widest.k, n);
        check(place, "Y", tallest, tallest.m, n);
    }
}

/// Whether each layer is a stack of whole experts, of which one at least is left at every level that is not all zeros.
fn check_experts(walk: &mut Walk, section: &Section) {
    let stacks = section.patterns.iter().filter_map(|&(pattern, place)| {
        pattern.expert_rows().filter(|&rows| rows > 0).map(|rows| (rows as u64, place))
    });
    for (rows, place) in stacks {
        for Layer { name, m, .. } in &section.layers {
            if m % rows != 0 {
                let message = format!(
                    "layer `{name}` is no stack of experts of {rows} rows: it has {m} rows, {} of them left over",
                    m % rows
                );
                walk.fail(place, message, "rows of A are a multiple of those of an expert");
                continue;
            }
            let experts = m / rows;
            for &(sparsity, place) in &section.sparsity {
                let is_all = u32::from(sparsity) == 1_000_000_000;
                if experts > 0 && !is_all && sparsity.live_of(experts) == 0 {
                    let message = format!(
                        "{sparsity} % of the {experts} experts of layer `{name}` leaves none alive: {experts} x (1 - s) \
                         is rounded to 0"
                    );
                    walk.fail(place, message, "a level that leaves at least one expert");
                }
            }
        }
    }
}

/// Whether weights, activations and dtypes go together.
fn check_values(walk: &mut Walk, section: &Section) {
    if let Source::Numpy = section.weights {
        for &(dtype, place) in &section.dtype {
            if dtype != Dtype::F32 {
                let message = format!("drawn weights need dtype f32, found {dtype}");
                walk.fail(place, message, "the generator's recipe is one of f32");
            }
        }
        for &(pattern, place) in &section.patterns {
            if pattern != Pattern::Uniform {
                let message = format!(
                    "weights of {NUMPY_UNIFORM} need the pattern `uniform`, found `{pattern}`"
                );
                walk.fail(place, message, "the generator draws the mask too");
            }
        }
    }
    if let Source::Drawn(_) = section.weights {
        for &(dtype, place) in &section.dtype {
            if dtype != Dtype::F32 {
                let message = format!("drawn weights need dtype f32, found {dtype}");
                walk.fail(place, message, "PyTorch draws other elements for other dtypes");
            }
        }
        for layer in &section.layers {
            for &(n, place) in &section.batch {
                let largest = (layer.m * layer.k).max(layer.k.saturating_mul(n));
                if largest > Drawn::ELEMENTS_MAX as u64 {
                    let message = format!(
                        "layer `{}` with batch {n} has a tensor of {largest} elements: at most {} can be drawn",
                        layer.name,
                        Drawn::ELEMENTS_MAX
                    );
                    walk.fail(place, message, "PyTorch draws larger tensors in parts");
                }
            }
        }
    }
    if !matches!(section.weights, Source::Synthetic(Values::Wide)) {
        return;
    }
    let (activations, place) = section.activations;
    if activations != Activations::Synthetic(Values::Ternary) {
        let message =
            format!("`wide` weights need `ternary` activations, found `{}`", activations.name());
        walk.fail(place, message, "the exact sums would not fit 24 bits");
    }
    for &(dtype, place) in &section.dtype {
        if dtype != Dtype::F32 {
            let message = format!("`wide` weights need dtype f32, found {dtype}");
            walk.fail(place, message, "their 12 significant bits do not fit");
        }
    }
}

/// Every pair of dtype and arithmetic.
fn arithmetics(walk: &mut Walk, section: &Section) -> Vec<(Dtype, Arithmetic)> {
    let mut pairs = Vec::new();
    for &(dtype, _) in &section.dtype {
        for &(rule, place) in &section.arithmetic {
            match rule {
                Rule::Bf16Dot(instruction) if dtype == Dtype::Bf16 => {
                    pairs.push((dtype, Arithmetic::Bf16Dot(instruction)));
                }
                Rule::Bf16Dot(instruction) => {
                    let message = format!(
                        "dtype {dtype} with tensor-core {instruction} is impossible: the instruction multiplies bf16"
                    );
                    walk.fail(place, message, "give this dtype a section of its own");
                }
                Rule::Plain(arithmetic) => pairs.push((dtype, arithmetic)),
                Rule::TensorCore(architecture) => {
                    match TensorCoreModel::of(architecture, Format::of(dtype)) {
                        Some(model) => pairs.push((dtype, Arithmetic::TensorCore(model))),
                        None => {
                            let message = format!(
                                "dtype {dtype} with tensor-core {architecture} is impossible: \
                                 {architecture} has no tensor core for it"
                            );
                            walk.fail(place, message, "give this dtype a section of its own");
                        }
                    }
                }
            }
        }
    }
    for &(rule, place) in &section.arithmetic {
        if let (Some(_), Rule::Plain(Arithmetic::Bounded)) = (&section.stack, rule) {
            let hint = "the activations of a layer are made of the bits before it";
            walk.fail(place, "`bounded` fixes no bits, and a stack needs them", hint);
        }
        match rule {
            Rule::Plain(Arithmetic::F32Chain(slices)) => {
                check_slices(walk, section, (slices, place))
            }
            Rule::Plain(Arithmetic::Exact) => check_exact(walk, section, place),
            Rule::Plain(
                Arithmetic::Bounded
                | Arithmetic::TensorCore(_)
                | Arithmetic::Bf16Dot(_)
                | Arithmetic::FixedPoint,
            )
            | Rule::TensorCore(_)
            | Rule::Bf16Dot(_) => {}
        }
    }
    pairs
}

/// So many slices may be dealt whatever k is: one rule for layers of every size, of which some leave slices empty.
const DEALT_ANYWAY: u64 = 1024;

/// Contiguous slices cover k, and none of them is empty. Slices that are dealt beyond k are empty, and beyond some number
/// a mistake: each is a sum that is kept for every output.
fn check_slices(walk: &mut Walk, section: &Section, (slices, place): Placed<Slices>) {
    let (count, len) = match slices {
        Slices::One => return,
        Slices::Contiguous { count, len } => (count, len),
        Slices::Dealt { count, .. } => {
            let has_fewer = |layer: &&Layer| count as u64 > layer.k.max(DEALT_ANYWAY);
            if let Some(Layer { name, k, .. }) = section.layers.iter().find(has_fewer) {
                let message = format!("{count} slices are dealt to layer `{name}`: k is {k}");
                walk.fail(place, message, "slices beyond k are empty: leave them out");
            }
            return;
        }
    };
    // Both factors are at most 2^31.
    let (count, len) = (count as u64, len as u64);
    let fits = |layer: &&Layer| {
        let k = layer.k.max(1);
        count * len >= k && (count - 1) * len < k
    };
    if let Some(layer) = section.layers.iter().find(|layer| !fits(layer)) {
        let message = format!(
            "{count} contiguous slices of {len} do not fit layer `{}`: k is {}, must be from {} \
             to {}",
            layer.name,
            layer.k,
            (count - 1) * len + 1,
            count * len
        );
        let hint = format!("{} slices of {len} cover it", layer.k.max(1).div_ceil(len));
        walk.fail(place, message, &hint);
    }
}

fn check_exact(walk: &mut Walk, section: &Section, place: (u32, u32)) {
    if section.stack.is_some() {
        let hint = "between two products columns are scaled to fractions";
        walk.fail(place, "`exact` needs integer activations, and those of a stack are none", hint);
        return;
    }
    let weights = match section.weights {
        Source::Synthetic(values) if values.is_integer() => None,
        Source::Synthetic(values) => Some(format!("`{}`", values.name())),
        Source::Drawn(_) | Source::Numpy => Some("drawn ones".to_owned()),
        Source::File { .. } => Some("a file".to_owned()),
        Source::Hub { .. } => Some("a model".to_owned()),
    };
    if let Some(found) = weights {
        let message = format!("`exact` needs integer weights (binomial or wide), found {found}");
        walk.fail(place, message, "");
    }
    let (activations, _) = section.activations;
    if !matches!(activations, Activations::Synthetic(values) if values.is_integer()) {
        let message = format!(
            "`exact` needs integer activations (binomial or ternary), found `{}`",
            activations.name()
        );
        walk.fail(place, message, "");
    }
}
