//! `verify try`: one layer of a checkpoint, without a manifest.

use std::path::{Path, PathBuf};

use clap::Args;

use super::RunArgs;
use super::commit::AfterArgs;
use super::new::{CHECKPOINT, CaseArgs, Layers, parse, text};
use super::options::{Gate, Selection};
use super::resources::Resources;
use super::run::run_with;
use super::select::Selected;
use crate::failure::Failure;
use crate::output::note;
use crate::weights::{Origin, Resolver};
use record::exit::{NOT_VERIFIED, Require};

#[derive(Args, Debug, Clone)]
pub struct TryArgs {
    /// A safetensors file, an index of some, or a model in Hugging Face's cache
    #[arg(value_name = CHECKPOINT)]
    pub checkpoint: String,
    /// The matrix of it that becomes A
    #[arg(long, value_name = "NAME")]
    pub tensor: String,
    #[command(flatten)]
    pub case: CaseArgs,
    /// The operator under test, by its file or by the name of one in `operators/` [default: the open operator]
    #[arg(long, value_name = "NAME|FILE")]
    pub operator: Option<String>,
    /// The Python that runs it, by path or by name on PATH [default: as its file says]
    #[arg(long, value_name = "PROGRAM", requires = "operator")]
    pub interpreter: Option<String>,
    /// Write the record here; `-` is standard output, at the end, with the table on standard error
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write over a record that is at --json
    #[arg(long, requires = "json")]
    pub force: bool,
    /// Bits only
    #[arg(long)]
    pub no_measure: bool,
    /// All digests, the plan and the perturbation
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub resources: Resources,
}

pub fn run(args: &TryArgs) -> Result<u8, Failure> {
    let resources = &args.resources;
    let found = Resolver::new(resources.weights.clone(), true)
        .checkpoint(&args.checkpoint, &args.tensor)?;
    // The manifest names a file as it would stand beside it; it is looked for where it is.
    let (file, folder) = match &found.origin {
        Origin::File(path) => (
            path.file_name().map(|name| name.to_string_lossy().into_owned()),
            path.parent().map(Path::to_owned),
        ),
        Origin::Hub { .. } => (None, resources.weights.clone()),
    };
    let layers = Layers::Tensors { file, found: vec![found] };
    let manifest = parse("try.yaml", &text(&layers, &args.case))?;
    let run = RunArgs {
        selection: Selection { paths: Vec::new(), cases: Vec::new() },
        shard: None,
        sample: None,
        sample_nonce: None,
        json: args.json.clone(),
        junit: None,
        operator: args.operator.clone(),
        interpreter: args.interpreter.clone(),
        isolation_off: Vec::new(),
        nonce: None,
        after: AfterArgs { after: None, nonce_source: None },
        fetch: false,
        resume: false,
        force: args.force,
        gate: Gate { require: Require::Bits, strict: false },
        resources: Resources { weights: folder, offline: true, ..resources.clone() },
        no_measure: args.no_measure,
        any_platform: false,
        quiet: false,
        verbose: args.verbose,
    };
    let code = run_with(&run, || Ok(vec![Selected::of_no_file(manifest)]))?;
    if code == NOT_VERIFIED {
        note(
            "hint: `unpinned` says that the outputs are right by the dense reference and the perturbation, and that nothing is committed \
             to compare them with; `verify new` with the same checkpoint and options writes a manifest, `verify pin` commits its digests",
        );
    }
    Ok(code)
}
