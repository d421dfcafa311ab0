//! `verify new`: a commented manifest for a layer, or for tensors of a checkpoint, to begin with.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use crate::failure::Failure;
use crate::manifest;
use crate::output::{note, print};
use crate::weights::{Found, Origin, Resolver, WeightsError};
use contract::words::{self, quote};
use record::exit::VERIFIED;
use record::manifest::Manifest;

#[derive(Args, Debug, Clone)]
#[command(group = ArgGroup::new("of").args(["checkpoint", "shape"]).required(true))]
pub struct NewArgs {
    /// A safetensors file, an index of some, or a model in Hugging Face's cache, with --tensor
    #[arg(value_name = CHECKPOINT, requires = "tensors")]
    pub checkpoint: Option<String>,
    /// A matrix of the checkpoint; may be repeated
    #[arg(long = "tensor", value_name = "NAME", requires = "checkpoint")]
    pub tensors: Vec<String>,
    /// Rows and columns of an A that is drawn, such as 14336x4096
    #[arg(long, value_name = "MxK", value_parser = shape)]
    pub shape: Option<(u64, u64)>,
    /// Values of an A that is drawn: uniform, heavy-tailed, binomial or wide [default: heavy-tailed, or binomial where sums are
    /// exact]
    #[arg(long, value_name = "VALUES", requires = "shape")]
    pub values: Option<String>,
    /// The layer's name, where A is drawn
    #[arg(long, value_name = "NAME", default_value = "layer", conflicts_with = "checkpoint")]
    pub layer: String,
    #[command(flatten)]
    pub case: CaseArgs,
    /// Write to this file, which must not be there [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How a checkpoint is named.
pub(super) const CHECKPOINT: &str = "FILE|ORG/NAME[@COMMIT]";

/// What a layer's cases are like.
#[derive(Args, Debug, Clone)]
pub struct CaseArgs {
    /// Columns of V; several with commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "128")]
    pub batch: Vec<u64>,
    /// Share of zeros, such as 0.8; several with commas
    #[arg(long, value_name = "S", value_delimiter = ',', default_value = "0.8")]
    pub sparsity: Vec<String>,
    /// Which elements become zero: uniform, row-magnitude, element-magnitude, power-law, block32, dead-experts2048, two-of-four
    /// or none
    #[arg(long, value_name = "PATTERN", default_value = "row-magnitude")]
    pub pattern: String,
    /// f32, bf16 or f16; several with commas [default: f32, or as the checkpoint stores it]
    #[arg(long, value_name = "DTYPE", value_delimiter = ',')]
    pub dtype: Vec<String>,
    /// The rule of the sums: f32-chain, fixed-point-24, exact, bounded or tensor-core-hopper (volta, turing, ampere, ada, blackwell, amx-bf16, avx512-bf16)
    #[arg(long, value_name = "RULE", default_value = "f32-chain")]
    pub arithmetic: String,
    /// What inputs are drawn from, and the perturbation
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
}

/// `14336x4096`.
fn shape(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('x').and_then(|(m, k)| Some((m.parse().ok()?, k.parse().ok()?)));
    parts.ok_or_else(|| "expected rows and columns, such as 14336x4096".into())
}

pub fn run(args: &NewArgs) -> Result<u8, Failure> {
    let folder = match args.out.as_deref().and_then(Path::parent) {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let layers = match (&args.checkpoint, args.shape) {
        (Some(checkpoint), _) => {
            // Nothing of a checkpoint is fetched here.
            let resolver = Resolver::new(None, true);
            let found = args.tensors.iter().map(|tensor| resolver.checkpoint(checkpoint, tensor));
            let found = found.collect::<Result<Vec<Found>, _>>()?;
            if let Some(other) = found.iter().find(|other| other.origin != found[0].origin) {
                return Err(Failure::bad_input(format!(
                    "{} and {} are in different files, and a section has one\nhint: write a manifest for each",
                    quote(&found[0].tensor),
                    quote(&other.tensor)
                )));
            }
            Layers::Tensors { file: file_from(&found[0].origin, folder), found }
        }
        (None, Some(shape)) => {
            Layers::Synthetic { name: &args.layer, shape, values: args.values.as_deref() }
        }
        (None, None) => unreachable!("the command line requires one"),
    };
    let text = text(&layers, &args.case);
    let made = parse("(this manifest)", &text)?;
    if let Layers::Tensors { file: Some(file), found } = &layers
        && !folder.join(file).exists()
        && let Origin::File(path) = &found[0].origin
    {
        let beside = path.parent().map(words::path).unwrap_or_default();
        note(&format!(
            "note: {} is not below the manifest's folder\nhint: run the manifest with `--weights {beside}`",
            words::path(path)
        ));
    }
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

/// Judges what options gave where a manifest's values are, by its words.
pub(super) fn parse(path: &str, text: &str) -> Result<Manifest, Failure> {
    manifest::parse(Path::new(path), text.as_bytes()).map_err(|errors| {
        Failure::bad_input(format!("these options give no manifest\n{errors}\n{text}"))
    })
}

/// How a manifest in a folder names a file: by its path from there, or by its bare name where it is elsewhere. `None`: the
/// checkpoint is a model of the hub.
fn file_from(origin: &Origin, folder: &Path) -> Option<String> {
    let Origin::File(path) = origin else { return None };
    let below = folder.canonicalize().ok().and_then(|folder| path.strip_prefix(folder).ok());
    let named = below.or_else(|| path.file_name().map(Path::new)).unwrap_or(path);
    Some(named.to_string_lossy().into_owned())
}

/// The layers of a manifest's one section.
pub(super) enum Layers<'a> {
    Synthetic {
        name: &'a str,
        shape: (u64, u64),
        values: Option<&'a str>,
    },
    /// Matrices of one checkpoint; at least one.
    Tensors {
        /// The file as the manifest names it; `None` of a model of the hub.
        file: Option<String>,
        found: Vec<Found>,
    },
}

/// Text in double quotes, as YAML takes it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A layer's name after a tensor: what a name may have, without what every tensor's has.
fn layer_name(tensor: &str) -> String {
    let name = tensor.strip_suffix(".weight").unwrap_or(tensor);
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect()
}

/// The manifest's text.
pub(super) fn text(layers: &Layers<'_>, args: &CaseArgs) -> String {
    let is_exact = args.arithmetic == "exact";
    let (title, section, weights, lines) = match layers {
        Layers::Synthetic { name, shape: (m, k), values } => (
            format!("{name}, {m} x {k}"),
            name.to_lowercase(),
            format!(
                "    # Or {{file: PATH}}, or {{hub: ORG/NAME, revision: COMMIT, file: PATH}}: then a layer names its tensor, with its sha256.
    weights: {{synthetic: {}}}",
                values.unwrap_or(if is_exact { "binomial" } else { "heavy-tailed" })
            ),
            format!("      - {{name: {name}, shape: [{m}, {k}]}}   # rows and columns of A\n"),
        ),
        Layers::Tensors { file, found } => {
            let first = &found[0];
            let weights = match (&first.origin, file) {
                (Origin::Hub { repo, revision, file }, _) => {
                    format!("    weights: {{hub: {repo}, revision: {revision}, file: {}}}", quoted(file))
                }
                (Origin::File(_), file) => format!(
                    "    # Looked for beside this manifest, and in the folder of --weights.\n    weights: {{file: {}}}",
                    quoted(file.as_deref().unwrap_or_default())
                ),
            };
            let of = match (&first.origin, file) {
                (Origin::Hub { repo, .. }, _) => repo.clone(),
                (Origin::File(_), file) => file.clone().unwrap_or_default(),
            };
            let lines = found.iter().map(|found| {
                let Found { tensor, m, k, sha256, .. } = found;
                format!(
                    "      - {{name: {}, shape: [{m}, {k}], tensor: {},\n         sha256: {sha256}}}   # of the tensor's bytes as stored\n",
                    layer_name(tensor),
                    quoted(tensor)
                )
            });
            let title = match &found[..] {
                [one] => format!("{} of {of}", one.tensor),
                all => format!("{} matrices of {of}", all.len()),
            };
            (title, "checkpoint".to_owned(), weights, lines.collect())
        }
    };
    let arithmetic = match args.arithmetic.strip_prefix("tensor-core-") {
        Some(architecture) => format!("{{tensor-core: {architecture}}}"),
        None => args.arithmetic.clone(),
    };
    let has_sparsity = !matches!(args.pattern.as_str(), "none" | "two-of-four");
    let sized = ["block", "dead-experts"].into_iter().find_map(|name| {
        let size = args.pattern.strip_prefix(name).filter(|size| !size.is_empty())?;
        Some(format!("{{{name}: {size}}}"))
    });
    let pattern = sized.unwrap_or_else(|| args.pattern.clone());
    let sparsity = match has_sparsity {
        true => format!(
            "    sparsity: [{}]            # the share of zeros\n",
            args.sparsity.join(", ")
        ),
        false => String::new(),
    };
    let batch: Vec<String> = args.batch.iter().map(u64::to_string).collect();
    let dtype = match (&args.dtype[..], layers) {
        ([], Layers::Synthetic { .. }) => "f32".to_owned(),
        ([], Layers::Tensors { found, .. }) => found[0].dtype.to_string(),
        (dtypes, _) => dtypes.join(", "),
    };
    let batch = batch.join(", ");
    format!(
        "# yaml-language-server: $schema=manifest.schema.json
# `verify schema manifest > manifest.schema.json` writes what editors complete from; VERIFY.md section 8 has all keys.
format: sparse-verify/2
title: {title}
# platform: NVIDIA H200         # the hardware that published times are about
sections:
  # Every combination of a section's lists is a case, with an id of its own.
  - name: {section}
    seed: {seed}                    # what inputs are drawn from, and the perturbation
{weights}
    layers:
{lines}    patterns: {pattern}            # which elements of A become zero
{sparsity}    batch: [{batch}]                # columns of V
    dtype: [{dtype}]                 # of A and V
    arithmetic: {arithmetic}         # the rule that fixes the bits of Y
",
        title = quoted(&title),
        seed = args.seed,
    )
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Failure {
        match error {
            WeightsError::Io { .. } => Failure::environment(error),
            _ => Failure::bad_input(error),
        }
    }
}
