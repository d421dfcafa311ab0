//! `verify inputs`: A and V of cases as .npy and safetensors, and Y where it is asked for, for other people's tools.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::{Array2, ArrayView2};

use super::list::print;
use super::options::Selection;
use super::resources::Resources;
use super::select::{Selected, select};
use crate::audit::{Auditor, Made, Stop};
use crate::challenge::{case_folder, output_layout};
use crate::check::bits::{CaseError, positive_zeros};
use crate::check::memory::needed_bytes;
use crate::failure::Failure;
use crate::files;
use crate::machine;
use crate::operator::{DenseReference, Operator, Staged};
use crate::output::note;
use crate::tensors::{Layout, Npy, Safetensors};
use contract::case::Case;
use contract::digest::{Digest, TensorHasher};
use contract::inputs::Weights;
use contract::words;
use record::exit::VERIFIED;
use record::numbers;
use record::report::overview::count;

#[derive(Args, Debug, Clone)]
pub struct InputsArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub resources: Resources,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Also Y = A V, by our operator (y.npy) and by the dense reference (dense.npy)
    #[arg(long)]
    pub outputs: bool,
}

pub fn run(args: &InputsArgs) -> Result<u8, Failure> {
    let selected = select(&args.selection)?;
    let mut announced = Announced::default();
    for case in selected.iter().flat_map(Selected::cases) {
        announced.add(&input_layouts(case));
        if args.outputs {
            announced.add(&[output_layout(case); 2]);
        }
    }
    announced.announce(&args.out)?;
    let mut auditor = args.resources.auditor(false);
    let mut folders = Folders::default();
    for selected in &selected {
        for case in selected.cases() {
            let folder = args.out.join(case_folder(&selected.manifest, case)?);
            folders.make(&folder, case)?;
            let inputs = Inputs::of(&mut auditor, selected, case)?;
            let [a, v] = input_layouts(case);
            let matrices = [
                Matrix { name: "a", layout: a, rows: &|rows| inputs.a(rows) },
                Matrix { name: "v", layout: v, rows: &|rows| Ok(some_rows(&inputs.v, rows)) },
            ];
            write(&folder, "inputs.safetensors", &matrices)?;
            if args.outputs {
                let operator = (auditor.operator)(case, auditor.isa);
                let (arithmetic, output, isa) = (case.arithmetic, case.output, auditor.isa);
                let dense = DenseReference { arithmetic, output, isa };
                let staged = |operator: &dyn Operator| {
                    let mut staged = Staged::default();
                    let done = operator.stage(inputs.v.view(), &mut staged, auditor.threads);
                    done.map_err(|error| stopped(case, CaseError::from(error).into()))?;
                    Ok::<_, Failure>(staged)
                };
                let (by_operator, by_dense) = (staged(&*operator)?, staged(&dense)?);
                let threads = auditor.threads;
                let layout = output_layout(case);
                let matrices = [
                    Matrix {
                        name: "y",
                        layout,
                        rows: &|rows| inputs.product(&*operator, &by_operator, rows, threads),
                    },
                    Matrix {
                        name: "dense",
                        layout,
                        rows: &|rows| inputs.product(&dense, &by_dense, rows, threads),
                    },
                ];
                write(&folder, "outputs.safetensors", &matrices)?;
            }
        }
    }
    Ok(VERIFIED)
}

/// A and V of a case, A by rows.
pub(super) struct Inputs<'c> {
    case: &'c Case,
    pub weights: Weights,
    pub weights_are_moderate: bool,
    pub v: Array2<f32>,
}

impl<'c> Inputs<'c> {
    pub fn of(
        auditor: &mut Auditor<'_>,
        selected: &Selected,
        case: &'c Case,
    ) -> Result<Inputs<'c>, Failure> {
        machine::require(needed_bytes(case, auditor.threads, None))
            .map_err(|why| Failure::environment(format!("case `{}`: {why}", case.id)))?;
        let made = auditor.weights(&selected.manifest, case).map_err(|stop| stopped(case, stop))?;
        let v =
            auditor.activations(&selected.manifest, case).map_err(|stop| stopped(case, stop))?;
        let Made { weights, is_moderate, .. } = made;
        Ok(Inputs { case, weights, weights_are_moderate: is_moderate, v })
    }

    pub fn a(&self, rows: Range<usize>) -> Result<Array2<f32>, Failure> {
        let rows = self.weights.rows(rows);
        rows.map_err(|error| stopped(self.case, CaseError::from(error).into()))
    }

    /// Rows of Y as they are hashed: every -0 is +0.
    fn product(
        &self,
        operator: &dyn Operator,
        staged: &Staged,
        rows: Range<usize>,
        threads: usize,
    ) -> Result<Array2<f32>, Failure> {
        let a = self.a(rows)?;
        let mut y = Array2::from_elem((a.nrows(), self.case.n), f32::NAN);
        let apply = |a: ArrayView2<'_, f32>, y: &mut Array2<f32>| {
            operator.build(a)?.apply(self.v.view(), staged, y.view_mut(), threads)
        };
        apply(a.view(), &mut y)
            .map_err(|error| stopped(self.case, CaseError::from(error).into()))?;
        positive_zeros(&mut y);
        Ok(y)
    }
}

/// The folders that were written to: no two cases share one, whatever a file system takes for one name.
#[derive(Default)]
pub(super) struct Folders(HashSet<(u64, u64)>);

impl Folders {
    /// Makes the folder of a case.
    pub fn make(&mut self, folder: &Path, case: &Case) -> Result<(), Failure> {
        let made = fs::create_dir_all(folder).and_then(|()| fs::metadata(folder));
        let made = made.map_err(|error| {
            Failure::environment(format!("failed to make {}: {error}", words::path(folder)))
        })?;
        match self.0.insert((made.dev(), made.ino())) {
            true => Ok(()),
            false => Err(Failure::environment(format!(
                "{}: another case has this folder, and case `{}` would write over it\nhint: a disk that tells upper case \
                 from lower case, or one of the cases alone (--case)",
                words::path(folder),
                case.id
            ))),
        }
    }
}

/// Layouts of A and V.
pub(super) fn input_layouts(case: &Case) -> [Layout; 2] {
    let dtype = case.dtype;
    [
        Layout { rows: case.m, columns: case.k, dtype },
        Layout { rows: case.k, columns: case.n, dtype },
    ]
}

/// Some rows of a matrix that is held.
pub(super) fn some_rows(x: &Array2<f32>, rows: Range<usize>) -> Array2<f32> {
    x.slice(ndarray::s![rows, ..]).to_owned()
}

/// What is going to be written: its bytes and files, said before.
#[derive(Default)]
pub(super) struct Announced {
    bytes: u64,
    files: usize,
}

impl Announced {
    /// Matrices of one folder and one safetensors file: each is in a .npy file too.
    pub fn add(&mut self, layouts: &[Layout]) {
        // More than any header takes.
        const HEADER_BYTES: u64 = 1024;
        for layout in layouts {
            let twice = layout.bytes().saturating_mul(2).saturating_add(HEADER_BYTES);
            self.bytes = self.bytes.saturating_add(twice);
        }
        self.files += layouts.len() + 1;
    }

    /// Bytes and files that are no matrices.
    pub fn add_file(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files += 1;
    }

    /// Says what will be written, and refuses it where there is no room.
    pub fn announce(&self, out: &Path) -> Result<(), Failure> {
        let (bytes, files) = (numbers::bytes(self.bytes as f64), count(self.files, "file"));
        note(&format!("writes {bytes} to {} in {files}", words::path(out)));
        match files::bytes_free(out) {
            Some(free) if free < self.bytes => Err(Failure::environment(format!(
                "{}: {bytes} are to be written, the disk has room for {}\nhint: fewer cases (--case GLOB), or another disk",
                words::path(out),
                numbers::bytes(free as f64)
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// A matrix to be written, made by rows.
pub(super) struct Matrix<'a> {
    pub name: &'a str,
    pub layout: Layout,
    pub rows: &'a dyn Fn(Range<usize>) -> Result<Array2<f32>, Failure>,
}

/// Writes matrices into a folder that is there, each as a .npy file and all of them as one safetensors file, and prints the digest of
/// each. Nothing is held but some rows.
pub(super) fn write(
    folder: &Path,
    all: &str,
    matrices: &[Matrix<'_>],
) -> Result<Vec<Digest>, Failure> {
    const BYTES_AT_ONCE: usize = 8 << 20;
    let io = |error: std::io::Error| {
        Failure::environment(format!("failed to write to {}: {error}", words::path(folder)))
    };
    let layouts: Vec<(&str, Layout)> = matrices.iter().map(|m| (m.name, m.layout)).collect();
    let mut together = Safetensors::begin(&folder.join(all), &layouts).map_err(io)?;
    let mut digests = Vec::new();
    for Matrix { name, layout, rows } in matrices {
        let path = folder.join(format!("{name}.npy"));
        let mut alone = Npy::begin(&path, *layout).map_err(io)?;
        let mut hasher = TensorHasher::new(layout.dtype, layout.rows, false);
        let step = (BYTES_AT_ONCE / (4 * layout.columns.max(1))).max(1);
        for first in (0..layout.rows).step_by(step) {
            let rows = rows(first..layout.rows.min(first + step))?;
            alone.rows(*layout, &rows).map_err(io)?;
            together.rows(*layout, &rows).map_err(io)?;
            hasher.update(&rows);
        }
        alone.finish().map_err(io)?;
        let digest = hasher.finish().digest;
        print(&format!("{}  {name}  {digest}\n", words::path(&path)));
        digests.push(digest);
    }
    together.finish().map_err(io)?;
    Ok(digests)
}

/// Why there are no inputs of a case.
pub(super) fn stopped(case: &Case, stop: Stop) -> Failure {
    let Stop { kind, reason } = stop;
    Failure { code: kind.code(), message: format!("case `{}`: {reason}", case.id) }
}
