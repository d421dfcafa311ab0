//! `verify challenge`: what a machine needs that never saw this code, to make outputs that can be judged here.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::commit;
use super::commit::AfterArgs;
use super::inputs::{Announced, Folders, Inputs, Matrix, input_layouts, some_rows, stopped, write};
use super::list::print;
use super::options::Selection;
use super::resources::Resources;
use super::select::{Selected, select};
use crate::audit::Auditor;
use crate::challenge::{
    CaseAsked, Challenge, FILE, FORMAT, ManifestNamed, STATED, TensorNamed, case_folder, outputs,
    patch, rule,
};
use crate::check::bits::{Reference, perturb};
use crate::failure::Failure;
use crate::files;
use crate::operator::DenseReference;
use crate::tensors::Layout;
use contract::case::Case;
use contract::digest::Digest;
use contract::perturbation::Unperturbed;
use contract::words;
use record::exit::VERIFIED;
use record::verdict::OUTPUTS;

#[derive(Args, Debug, Clone)]
pub struct ChallengeArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub resources: Resources,
    /// Folder to write to; one that holds something is refused
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Perturb at positions drawn from this text too, which nobody could know beforehand
    #[arg(long, value_name = "TEXT")]
    pub nonce: Option<String>,
    #[command(flatten)]
    pub after: AfterArgs,
    /// Write A1 whole, too
    #[arg(long)]
    pub full: bool,
    /// Write into a folder that holds something; outputs that answered an earlier challenge there are removed
    #[arg(long)]
    pub force: bool,
}

pub fn run(args: &ChallengeArgs) -> Result<u8, Failure> {
    let selected = select(&args.selection)?;
    let after = commit::bind(&args.after, args.nonce.as_deref())?;
    if let (Some(path), Some((_, commit))) = (&args.after.after, &after) {
        commit::hold_manifests(path, commit, &selected)?;
    }
    require_empty(args)?;
    // What `challenge.json` takes, about.
    const CASE_BYTES: u64 = 4096;
    let mut announced = Announced::default();
    for case in selected.iter().flat_map(Selected::cases) {
        announced.add(&layouts(case, args.full));
    }
    let cases: usize = selected.iter().map(|selected| selected.chosen.len()).sum();
    announced.add_file(CASE_BYTES.saturating_mul(cases as u64 + 1));
    announced.announce(&args.out)?;

    // A folder with an old list and new inputs would be a challenge of neither.
    remove(&args.out.join(FILE))?;
    let mut auditor = args.resources.auditor(false);
    let (mut asked, mut folders) = (Vec::new(), Folders::default());
    for selected in &selected {
        for case in selected.cases() {
            let own = case_folder(&selected.manifest, case)?;
            folders.make(&args.out.join(own), case)?;
            asked.push(one(&mut auditor, selected, case, args)?);
        }
    }
    let challenge = Challenge {
        format: FORMAT.to_owned(),
        tool: record::tool::tool(),
        how: HOW.iter().map(|line| (*line).to_owned()).collect(),
        nonce: args.nonce.clone(),
        after: after.map(|(after, _)| after),
        select: args.selection.cases.clone(),
        manifests: selected
            .iter()
            .filter(|selected| !selected.chosen.is_empty())
            .map(|Selected { manifest, .. }| ManifestNamed {
                name: manifest.name.clone(),
                path: manifest.path.display().to_string(),
                sha256: manifest.sha256,
            })
            .collect(),
        cases: asked,
    };
    let (path, text) = (args.out.join(FILE), challenge.to_text());
    files::replace(&path, text.as_bytes()).map_err(|error| {
        Failure::environment(format!("failed to write {}: {error}", words::path(&path)))
    })?;
    print(&format!("{}  challenge  {}\n", words::path(&path), Digest::of(text.as_bytes())));
    Ok(VERIFIED)
}

/// What to do, for whoever opens `challenge.json` and knows nothing else.
const HOW: [&str; 6] = [
    "For each case compute the products named under `outputs`, by its `rule`, and put each into the case's folder: as \
     <name>.npy (numpy.save: little-endian, C order), as <name>.safetensors, or as tensors of these names in \
     outputs.safetensors. Shape and dtype are given; bf16 in a .npy file is its 16 bits as uint16.",
    "A (a), V (v) and V2 (v2) are in <name>.npy and in inputs.safetensors. A1 is A with the elements of `patch` replaced; \
     a1 is there too if the challenge was written whole.",
    "rebuilt is to be made by an operator that was built anew from A1; shifted by the one that was built from A, which must \
     not be built again for V2.",
    "A zero may have either sign: -0 is made +0 before anything is compared.",
    "A file stated.json in a case's folder, such as {\"latency_ms\": 0.52, \"device\": \"NVIDIA H200\"}, is shown as stated. \
     Nothing is judged by it.",
    "Send back the whole folder, or its outputs and challenge.json as it is. `verify check FOLDER` judges it.",
];

/// Layouts of a case's inputs: A, V, V2, and with `full` A1.
fn layouts(case: &Case, full: bool) -> Vec<Layout> {
    let [a, v] = input_layouts(case);
    [a, v, v, a].into_iter().take(if full { 4 } else { 3 }).collect()
}

/// Writes one case, and says what is asked of it.
fn one(
    auditor: &mut Auditor<'_>,
    selected: &Selected,
    case: &Case,
    args: &ChallengeArgs,
) -> Result<CaseAsked, Failure> {
    let own = case_folder(&selected.manifest, case)?;
    let folder = args.out.join(&own);
    if args.force {
        remove_answers(&folder)?;
    }
    let inputs = Inputs::of(auditor, selected, case)?;
    let failed = |error: crate::check::bits::CaseError| stopped(case, error.into());
    let (arithmetic, output, isa) = (case.arithmetic, case.output, auditor.isa);
    let dense = DenseReference { arithmetic, output, isa };
    let (v, threads) = (inputs.v.view(), auditor.threads);
    let reference = Reference::new(&dense, v, threads).map_err(failed)?;
    let unperturbed = Unperturbed {
        case,
        weights: &inputs.weights,
        weights_are_moderate: inputs.weights_are_moderate,
        v,
        nonce: args.nonce.as_deref(),
    };
    let perturbation = perturb(&unperturbed, &reference).map_err(failed)?;
    drop(reference);
    let v2 = perturbation.as_ref().map(|p| p.change_activations(v, threads));

    let [of_a, of_v] = input_layouts(case);
    let v2_rows = |rows| match &v2 {
        Some(v2) => Ok(some_rows(v2, rows)),
        None => unreachable!("written where the test applies"),
    };
    let a1_rows = |rows: std::ops::Range<usize>| {
        let first = rows.start;
        let mut a = inputs.a(rows)?;
        perturbation.iter().for_each(|p| {
            p.change_weights(first, &mut a);
        });
        Ok(a)
    };
    let (a_rows, v_rows) = (|rows| inputs.a(rows), |rows| Ok(some_rows(&inputs.v, rows)));
    let mut matrices = vec![
        Matrix { name: "a", layout: of_a, rows: &a_rows },
        Matrix { name: "v", layout: of_v, rows: &v_rows },
    ];
    if perturbation.is_some() {
        matrices.push(Matrix { name: "v2", layout: of_v, rows: &v2_rows });
        if args.full {
            matrices.push(Matrix { name: "a1", layout: of_a, rows: &a1_rows });
        }
    }
    let digests = write(&folder, "inputs.safetensors", &matrices)?;
    let named = matrices.iter().zip(digests).map(|(matrix, sha256)| TensorNamed {
        name: matrix.name.to_owned(),
        shape: [matrix.layout.rows, matrix.layout.columns],
        dtype: matrix.layout.dtype.name().to_owned(),
        npy: matrix.layout.npy_descr().to_owned(),
        sha256,
    });
    Ok(CaseAsked {
        manifest: selected.manifest.name.clone(),
        id: case.id.clone(),
        folder: own.display().to_string(),
        m: case.m,
        k: case.k,
        n: case.n,
        arithmetic: case.arithmetic.to_string(),
        rule: rule(case),
        inputs: named.collect(),
        patch: perturbation.as_ref().map(patch).unwrap_or_default(),
        outputs: outputs(case, perturbation.is_some()),
    })
}

/// Refuses a folder that holds something, unless it was asked for.
fn require_empty(args: &ChallengeArgs) -> Result<(), Failure> {
    let shown = words::path(&args.out);
    match fs::read_dir(&args.out).map(|entries| entries.count()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(Failure::bad_input(format!("{shown} is a file, and --out is a folder")))
        }
        Err(error) => Err(Failure::environment(format!("failed to look at {shown}: {error}"))),
        Ok(1..) if !args.force => Err(Failure::bad_input(format!(
            "{shown} holds something already\nhint: give --out another folder; --force writes into this one"
        ))),
        Ok(_) => Ok(()),
    }
}

/// Removes what answered an earlier challenge in a case's folder: it would be judged as an answer to this one.
fn remove_answers(folder: &Path) -> Result<(), Failure> {
    let names =
        OUTPUTS.iter().flat_map(|(name, _)| ["npy", "safetensors"].map(|e| format!("{name}.{e}")));
    let inputs = ["a1.npy", "v2.npy", "outputs.safetensors", STATED].map(str::to_owned);
    names.chain(inputs).try_for_each(|name| remove(&folder.join(name)))
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(Failure::environment(format!("failed to remove {}: {error}", words::path(path))))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
