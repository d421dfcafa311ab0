//! `verify inputs`: A and V of cases as .npy and safetensors, for other people's tools.

use std::fs;

use ndarray::Array2;
use ndarray_npy::WriteNpyExt as _;
use safetensors::tensor::{Dtype as FileDtype, TensorView};

use super::InputsArgs;
use super::select::select;
use crate::audit;
use crate::audit::Stop;
use crate::failure::Failure;
use crate::machine;
use contract::case::Case;
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::words;
use record::exit::VERIFIED;

pub fn run(args: &InputsArgs) -> Result<u8, Failure> {
    let selected = select(&args.selection)?;
    let mut auditor = args.resources.auditor(false);
    let io = |error: &dyn std::fmt::Display| {
        Failure::environment(format!("failed to write to {}: {error}", words::path(&args.out)))
    };
    for selected in &selected {
        for case in selected.cases() {
            // Both as values and as the bytes of their dtype.
            let [m, k, n] = [case.m, case.k, case.n].map(|x| x as u128);
            let bytes = 8 * (m * k + k * n);
            machine::require(u64::try_from(bytes).unwrap_or(u64::MAX))
                .map_err(|why| Failure::environment(format!("case `{}`: {why}", case.id)))?;
            let (weights, _) =
                auditor.weights(&selected.manifest, case).map_err(|stop| stopped(case, stop))?;
            let a = weights
                .rows(0..case.m)
                .map_err(|error| Failure::environment(format!("case `{}`: {error}", case.id)))?;
            let v =
                audit::activations(case, auditor.threads).map_err(|stop| stopped(case, stop))?;
            let folder = args.out.join(&selected.manifest.name).join(case.id.replace('/', "_"));
            fs::create_dir_all(&folder).map_err(|error| io(&error))?;
            let bytes = [("a", &a), ("v", &v)].map(|(name, x)| (name, x, encode(case.dtype, x)));
            for (name, x, bytes) in &bytes {
                let path = folder.join(format!("{name}.npy"));
                let mut file =
                    std::io::BufWriter::new(fs::File::create(&path).map_err(|error| io(&error))?);
                match case.dtype {
                    Dtype::F32 => x.write_npy(&mut file),
                    // NumPy has no bf16, and ndarray no f16: the 16-bit words as they are.
                    Dtype::Bf16 | Dtype::F16 => words(x, bytes).write_npy(&mut file),
                }
                .map_err(|error| io(&error))?;
                let digest = Digest::of(bytes);
                super::list::print(&format!("{}  {name}  {digest}\n", words::path(&path)));
            }
            let dtype = match case.dtype {
                Dtype::F32 => FileDtype::F32,
                Dtype::Bf16 => FileDtype::BF16,
                Dtype::F16 => FileDtype::F16,
            };
            let views = bytes.iter().map(|(name, x, bytes)| {
                TensorView::new(dtype, vec![x.nrows(), x.ncols()], bytes).map(|view| (*name, view))
            });
            let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| io(&error))?;
            safetensors::serialize_to_file(views, None, &folder.join("inputs.safetensors"))
                .map_err(|error| io(&error))?;
        }
    }
    Ok(VERIFIED)
}

fn encode(dtype: Dtype, x: &Array2<f32>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(x.len() * dtype.size());
    dtype.encode(x.as_slice().unwrap_or_default(), &mut bytes);
    bytes
}

fn words(x: &Array2<f32>, bytes: &[u8]) -> Array2<u16> {
    let words = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    Array2::from_shape_vec(x.dim(), words).unwrap_or_else(|_| unreachable!("two bytes an element"))
}

/// Why there are no inputs of a case.
fn stopped(case: &Case, stop: Stop) -> Failure {
    let Stop { kind, reason } = stop;
    Failure { code: kind.code(), message: format!("case `{}`: {reason}", case.id) }
}
