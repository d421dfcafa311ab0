//! The vendor's libraries on a CUDA device.
//!
//! Everything that a real caller prepares once per weight matrix is done when an operator is built:
//! upload, conversion to CSR, the library's analysis. What a rival would have to do in every call and
//! is let off is said in its note.

mod cublas;
mod cusparse;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use cublas::place;

use crate::backend::cuda::{Cublas, Cusparse, Device};
use crate::operator::{DeviceOperator, Error};
use contract::arithmetic::bounded::Summation;
use contract::arithmetic::tensor_core::{Architecture, Format};
use contract::arithmetic::{Arithmetic, TensorCoreModel};
use contract::dtype::Dtype;
use contract::inputs::spec::Pattern;
use record::baseline::{Kind, Missing};

/// A rival's precision beside the case's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// At least the case's.
    AsCase,
    /// Lower: it is measured and shown, and never the best.
    Lower,
}

/// A rival that can run on a device.
#[derive(Clone)]
pub struct DeviceBaseline {
    pub operator: Arc<dyn DeviceOperator>,
    pub rival: DeviceRival,
}

/// What is known of a rival on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceRival {
    pub name: String,
    pub kind: Kind,
    /// The library's name, such as `cuBLAS`.
    pub library: String,
    /// What the library says of itself.
    pub version: String,
    /// Function, algorithm and math mode, and what in the environment may change them.
    pub math: String,
    pub precision: Precision,
    /// What its bound is made of.
    pub summation: Summation,
    /// What it is let off, and what sets it apart from the case; empty if nothing.
    pub note: String,
}

/// Which rows of A have no non-zero, as far as a pattern says so beforehand: there are rivals for those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadRows {
    /// None, or by chance.
    None,
    /// Any.
    Any,
    /// Those of whole experts, of so many rows each.
    Experts(usize),
}

impl DeadRows {
    /// Those of a pattern.
    pub fn of(pattern: Pattern) -> DeadRows {
        match pattern {
            Pattern::DeadExperts { rows } => DeadRows::Experts(rows),
            Pattern::RowMagnitude => DeadRows::Any,
            Pattern::None
            | Pattern::Uniform
            | Pattern::ElementMagnitude
            | Pattern::PowerLaw
            | Pattern::Block { .. }
            | Pattern::TwoOfFour => DeadRows::None,
        }
    }
}

/// All rivals on a device, there or not.
#[derive(Clone, Default)]
pub struct DeviceBaselines {
    pub available: Vec<DeviceBaseline>,
    pub missing: Vec<Missing>,
}

/// The vendor's baselines for cases of these dtypes and this arithmetic. Y of 16-bit operands may be
/// f32; Y of f32 operands is. Where rows are dead there are products of the live ones put where they belong, and where
/// these are experts a grouped product too.
pub fn device_baselines(
    libraries: &mut Libraries,
    device: &Arc<Device>,
    dtype: Dtype,
    output: Dtype,
    arithmetic: Arithmetic,
    dead: DeadRows,
) -> DeviceBaselines {
    let mut all = DeviceBaselines::default();
    let capability = device.compute_capability();
    let of_cublas = cublas::names(dtype, arithmetic, dead);
    if dtype != output && output != Dtype::F32 {
        let reason = format!("not supported: {output} output of {dtype} operands");
        all.miss(of_cublas.into_iter().chain(cusparse::names()), &reason);
        return all;
    }
    if let Err(reason) = supports(capability, dtype) {
        all.miss(of_cublas.into_iter().chain(cusparse::names()), &reason);
        return all;
    }
    let case = Case { dtype, output, capability };
    match opened(&mut libraries.cublas, || Cublas::new(device)) {
        Ok(library) => all.add_cublas(&library, case, arithmetic, dead),
        Err(error) => all.miss(of_cublas, &not_usable(&error)),
    }
    match opened(&mut libraries.cusparse, || Cusparse::new(device)) {
        Ok(library) => all.add_cusparse(&library, case),
        Err(error) => all.miss(cusparse::names(), &not_usable(&error)),
    }
    all
}

/// The vendor's libraries of a device, opened by the first case that asks for them.
#[derive(Default)]
pub struct Libraries {
    cublas: Option<Arc<Cublas>>,
    cusparse: Option<Arc<Cusparse>>,
}

/// A library that is open, or `open`s it; one that does not open is tried again.
fn opened<L, E>(
    library: &mut Option<Arc<L>>,
    open: impl FnOnce() -> Result<L, E>,
) -> Result<Arc<L>, E> {
    match library {
        Some(library) => Ok(library.clone()),
        None => Ok(library.insert(Arc::new(open()?)).clone()),
    }
}

#[derive(Clone, Copy)]
struct Case {
    dtype: Dtype,
    output: Dtype,
    capability: (i32, i32),
}

/// Whether a device of this compute capability multiplies operands of this dtype. By the libraries'
/// manuals: f16 from 5.3 on, bf16 from 8.0 on.
fn supports(capability: (i32, i32), dtype: Dtype) -> Result<(), String> {
    let least = match dtype {
        Dtype::F32 => (0, 0),
        Dtype::F16 => (5, 3),
        Dtype::Bf16 => (8, 0),
    };
    if capability >= least {
        return Ok(());
    }
    let ((major, minor), (least_major, least_minor)) = (capability, least);
    Err(format!(
        "not supported: {dtype} needs compute capability {least_major}.{least_minor}, and the device \
         has {major}.{minor}"
    ))
}

/// What tensor cores of a device do with this format; `None` where it has none for it.
fn model(capability: (i32, i32), format: Format) -> Option<TensorCoreModel> {
    TensorCoreModel::of(Architecture::of(capability)?, format)
}

/// A reason in a line.
fn not_usable(error: &dyn std::fmt::Display) -> String {
    format!("not usable: {error}").replace('\n', "; ")
}

/// Variables by which a user changes what the libraries compute, as far as they are set.
fn environment(variable: impl Fn(&str) -> Option<String>) -> String {
    ["NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLAS_EMULATION_STRATEGY"]
        .iter()
        .filter_map(|name| variable(name).map(|value| format!("; {name}={value} is set")))
        .collect()
}

impl DeviceBaselines {
    fn miss(&mut self, names: impl IntoIterator<Item = String>, reason: &str) {
        let missing = |name| Missing { name, reason: reason.into() };
        self.missing.extend(names.into_iter().map(missing));
    }
}

/// The notes that apply.
fn join<const N: usize>(notes: [(bool, &str); N]) -> String {
    let notes = notes.iter().filter_map(|(applies, note)| applies.then_some(*note));
    notes.collect::<Vec<_>>().join("; ")
}

/// The device that a library was opened on is the only one that it works on.
fn require_same(device: &Arc<Device>, library: &Arc<Device>) -> Result<(), Error> {
    if Arc::ptr_eq(device, library) {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "the library was opened on device {}, not on device {}",
        library.info.ordinal, device.info.ordinal
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::arithmetic::Slices;

    const CHAIN: Arithmetic = Arithmetic::F32Chain(Slices::One);

    #[test]
    fn every_baseline_has_a_name_of_its_own() {
        let tf32 = Arithmetic::TensorCore(model((9, 0), Format::Tf32).unwrap());
        for (dtype, arithmetic, count) in [
            (Dtype::F32, CHAIN, 14),
            (Dtype::F32, Arithmetic::FixedPoint, 14),
            (Dtype::F32, tf32, 16),
            (Dtype::Bf16, CHAIN, 12),
        ] {
            let mut names = cublas::names(dtype, arithmetic, DeadRows::Experts(1));
            names.extend(cusparse::names());
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{names:?}");
        }
        assert!(cusparse::names().contains(&"cusparse-alg3-col".into()));
    }

    #[test]
    fn dtypes_need_devices_that_have_them() {
        assert_eq!(supports((8, 0), Dtype::Bf16), Ok(()));
        assert_eq!(supports((5, 2), Dtype::F32), Ok(()));
        let error = supports((7, 5), Dtype::Bf16).unwrap_err();
        assert!(error.contains("bf16 needs compute capability 8.0, and the device has 7.5"));
        assert_eq!(model((7, 5), Format::Tf32), None);
        assert_eq!(model((6, 1), Format::F16), None);
        assert_eq!(model((9, 0), Format::Bf16).unwrap().group, 16);
    }

    #[test]
    fn variables_that_change_the_arithmetic_are_said() {
        assert_eq!(environment(|_| None), "");
        let set = |name: &str| (name == "NVIDIA_TF32_OVERRIDE").then(|| "0".to_owned());
        assert_eq!(environment(set), "; NVIDIA_TF32_OVERRIDE=0 is set");
    }
}
