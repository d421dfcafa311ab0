//! The vendor's libraries on a CUDA device.
//!
//! Everything that a real caller prepares once per weight matrix is done when an operator is built:
//! upload, conversion to CSR, the library's analysis. What a rival would have to do in every call and
//! is let off is said in its note.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::grouped::live_experts;
use crate::backend::csr::Csr;
use crate::backend::cuda::{
    Cublas, Cusparse, CusparseA, Device, DeviceMatrix, GroupedA, Layout, Math, ScatteredA, Spmm,
    SpmmAlgorithm, require_grouped,
};
use crate::operator::{DeviceBuilt, DeviceOperator, Error, Plan, live_rows};
use contract::arithmetic::bounded::Summation;
use contract::arithmetic::tensor_core::{Architecture, Format};
use contract::arithmetic::{Arithmetic, TensorCoreModel};
use contract::dtype::Dtype;
use contract::inputs::spec::Pattern;
use contract::strategy::Strategy;
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
    device: &Arc<Device>,
    dtype: Dtype,
    output: Dtype,
    arithmetic: Arithmetic,
    dead: DeadRows,
) -> DeviceBaselines {
    let mut all = DeviceBaselines::default();
    let capability = device.compute_capability();
    let of_cublas = || {
        let scattered = match dead {
            DeadRows::None => Vec::new(),
            DeadRows::Any | DeadRows::Experts(_) => scattered(dtype, arithmetic),
        };
        let grouped = match dead {
            DeadRows::None | DeadRows::Any => Vec::new(),
            DeadRows::Experts(_) => grouped(dtype, arithmetic),
        };
        let names = scattered.into_iter().chain(grouped).map(|(name, _)| name.to_owned());
        dense_names(dtype, arithmetic).into_iter().chain(names)
    };
    if dtype != output && output != Dtype::F32 {
        let reason = format!("not supported: {output} output of {dtype} operands");
        all.miss(of_cublas().chain(sparse_names()), &reason);
        return all;
    }
    if let Err(reason) = supports(capability, dtype) {
        all.miss(of_cublas().chain(sparse_names()), &reason);
        return all;
    }
    let case = Case { dtype, output, capability };
    match Cublas::new(device) {
        Ok(library) => {
            let library = Arc::new(library);
            all.add_dense(&library, case, arithmetic);
            if dead != DeadRows::None {
                all.add_scattered(&library, case, arithmetic);
            }
            if let DeadRows::Experts(rows) = dead {
                all.add_grouped(&library, case, arithmetic, rows);
            }
        }
        Err(error) => all.miss(of_cublas(), &not_usable(&error)),
    }
    match Cusparse::new(device) {
        Ok(library) => all.add_sparse(&Arc::new(library), case),
        Err(error) => all.miss(sparse_names(), &not_usable(&error)),
    }
    all
}

#[derive(Clone, Copy)]
struct Case {
    dtype: Dtype,
    output: Dtype,
    capability: (i32, i32),
}

/// Which dense baselines there are: name, math, and whether only the live rows are multiplied.
fn dense(dtype: Dtype, arithmetic: Arithmetic) -> Vec<(&'static str, Math, bool)> {
    if dtype != Dtype::F32 {
        return vec![("cublas", Math::Half, false), ("compacted-cublas", Math::Half, true)];
    }
    let mut all = vec![
        ("cublas", Math::Default, false),
        ("cublas-pedantic", Math::Pedantic, false),
        ("cublas-tf32", Math::Tf32, false),
        ("compacted-cublas", Math::Default, true),
    ];
    if is_tf32(arithmetic) {
        all.push(("compacted-cublas-tf32", Math::Tf32, true));
    }
    all
}

/// Which products of the live rows there are that write all of Y: name and math.
fn scattered(dtype: Dtype, arithmetic: Arithmetic) -> Vec<(&'static str, Math)> {
    if dtype != Dtype::F32 {
        return vec![("scattered-cublas", Math::Half)];
    }
    match is_tf32(arithmetic) {
        true => vec![("scattered-cublas-tf32", Math::Tf32)],
        false => vec![("scattered-cublas", Math::Default)],
    }
}

/// Which grouped products there are of the live experts: name and math.
fn grouped(dtype: Dtype, arithmetic: Arithmetic) -> Vec<(&'static str, Math)> {
    if dtype != Dtype::F32 {
        return vec![("grouped-cublas", Math::Half)];
    }
    let mut all = vec![("grouped-cublas", Math::Default)];
    if is_tf32(arithmetic) {
        all.push(("grouped-cublas-tf32", Math::Tf32));
    }
    all
}

fn dense_names(dtype: Dtype, arithmetic: Arithmetic) -> Vec<String> {
    dense(dtype, arithmetic).into_iter().map(|(name, ..)| name.into()).collect()
}

/// Every algorithm in both layouts: `cusparse-alg2`, `cusparse-alg2-col`.
fn sparse() -> impl Iterator<Item = (String, SpmmAlgorithm, Layout)> {
    let layouts = [(Layout::RowMajor, ""), (Layout::ColumnMajor, "-col")];
    layouts.into_iter().flat_map(|(layout, suffix)| {
        SpmmAlgorithm::ALL
            .map(|algorithm| (format!("cusparse-{}{suffix}", algorithm.name()), algorithm, layout))
    })
}

fn sparse_names() -> Vec<String> {
    sparse().map(|(name, ..)| name).collect()
}

fn is_tf32(arithmetic: Arithmetic) -> bool {
    matches!(arithmetic, Arithmetic::TensorCore(model) if model.format == Format::Tf32)
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

const COLUMN_MAJOR: &str = "V and Y are column-major: the transposition of V and Y is not timed";
const ROUNDED_PARTS: &str =
    "parts of a sum are rounded to 16 bits before they are added: out of bound where that shows";
const NO_SCATTER: &str =
    "live rows only; putting them where they belong and zeroing the dead rows of Y is not timed";
const TF32: &str = "operands are rounded to TF32";

impl DeviceBaselines {
    fn miss(&mut self, names: impl IntoIterator<Item = String>, reason: &str) {
        let missing = |name| Missing { name, reason: reason.into() };
        self.missing.extend(names.into_iter().map(missing));
    }

    fn add_dense(&mut self, library: &Arc<Cublas>, case: Case, arithmetic: Arithmetic) {
        for (name, math, live_rows_only) in dense(case.dtype, arithmetic) {
            let format = Format::of(case.dtype);
            let model = match math {
                Math::Default | Math::Pedantic => None,
                Math::Tf32 | Math::Half => model(case.capability, format),
            };
            if math == Math::Tf32 && model.is_none() {
                let (major, minor) = case.capability;
                let reason = format!(
                    "not supported: TF32 needs compute capability 8.0, and the device has \
                     {major}.{minor}"
                );
                self.miss([name.to_owned()], &reason);
                continue;
            }
            let is_lower = math == Math::Tf32 && !is_tf32(arithmetic);
            let notes = [(is_lower, TF32), (live_rows_only, NO_SCATTER)];
            let operator = Arc::new(CublasOperator {
                name,
                library: library.clone(),
                math,
                live_rows_only,
                input: case.dtype,
                output: case.output,
            });
            let rival = DeviceRival {
                name: name.into(),
                kind: if live_rows_only { Kind::Compacted } else { Kind::Dense },
                library: "cuBLAS".into(),
                version: library.version().into(),
                math: format!("{math}{}", environment(|name| std::env::var(name).ok())),
                precision: if is_lower { Precision::Lower } else { Precision::AsCase },
                summation: model.map_or(Summation::Binary32, Summation::TensorCore),
                note: join(notes),
            };
            self.available.push(DeviceBaseline { operator, rival });
        }
    }

    fn add_scattered(&mut self, library: &Arc<Cublas>, case: Case, arithmetic: Arithmetic) {
        for (name, math) in scattered(case.dtype, arithmetic) {
            let model = match math {
                Math::Default | Math::Pedantic => None,
                Math::Tf32 | Math::Half => model(case.capability, Format::of(case.dtype)),
            };
            if math == Math::Tf32 && model.is_none() {
                self.miss([name.to_owned()], "not supported: TF32 needs compute capability 8.0");
                continue;
            }
            let operator = Arc::new(ScatteredOperator {
                name,
                library: library.clone(),
                math,
                input: case.dtype,
                output: case.output,
            });
            let rival = DeviceRival {
                name: name.into(),
                kind: Kind::Compacted,
                library: "cuBLAS".into(),
                version: library.version().into(),
                math: format!("{math}{}", environment(|name| std::env::var(name).ok())),
                precision: Precision::AsCase,
                summation: model.map_or(Summation::Binary32, Summation::TensorCore),
                note:
                    "live rows, then put where they belong by a kernel of ours; all of Y is written"
                        .into(),
            };
            self.available.push(DeviceBaseline { operator, rival });
        }
    }

    fn add_grouped(
        &mut self,
        library: &Arc<Cublas>,
        case: Case,
        arithmetic: Arithmetic,
        rows: usize,
    ) {
        for (name, math) in grouped(case.dtype, arithmetic) {
            let names = || [name.to_owned()];
            if let Err(error) = require_grouped() {
                self.miss(names(), &not_usable(&error));
                continue;
            }
            if case.output != case.dtype {
                let Case { dtype, output, .. } = case;
                let reason = format!(
                    "not supported: {output} output of {dtype} operands, by cublasGemmGroupedBatchedEx"
                );
                self.miss(names(), &reason);
                continue;
            }
            let model = match math {
                Math::Default | Math::Pedantic => None,
                Math::Tf32 | Math::Half => model(case.capability, Format::of(case.dtype)),
            };
            if math == Math::Tf32 && model.is_none() {
                self.miss(names(), "not supported: TF32 needs compute capability 8.0");
                continue;
            }
            let rival = DeviceRival {
                name: name.into(),
                kind: Kind::Compacted,
                library: "cuBLAS".into(),
                version: library.version().into(),
                math: format!("{}{}", math.grouped(), environment(|name| std::env::var(name).ok())),
                precision: Precision::AsCase,
                summation: model.map_or(Summation::Binary32, Summation::TensorCore),
                note: format!("a product for each live expert of {rows} rows; all of Y is written"),
            };
            let operator = Arc::new(GroupedOperator {
                name,
                library: library.clone(),
                math,
                rows,
                dtype: case.dtype,
            });
            self.available.push(DeviceBaseline { operator, rival });
        }
    }

    fn add_sparse(&mut self, library: &Arc<Cusparse>, case: Case) {
        let model = match case.dtype {
            Dtype::F32 => None,
            // The manual does not say which units multiply.
            dtype @ (Dtype::Bf16 | Dtype::F16) => model(case.capability, Format::of(dtype)),
        };
        for (name, algorithm, layout) in sparse() {
            let how = Spmm { algorithm, layout, input: case.dtype, output: case.output };
            let rival = DeviceRival {
                name: name.clone(),
                kind: Kind::Sparse,
                library: "cuSPARSE".into(),
                version: library.version().into(),
                math: format!(
                    "cusparseSpMM, {algorithm}, CSR, sums in f32{}",
                    environment(|name| std::env::var(name).ok())
                ),
                precision: Precision::AsCase,
                summation: model.map_or(Summation::Binary32, Summation::TensorCore),
                note: join([
                    (layout == Layout::ColumnMajor, COLUMN_MAJOR),
                    (how.adds_rounded_parts(), ROUNDED_PARTS),
                ]),
            };
            let operator = Arc::new(CusparseOperator { name, library: library.clone(), how });
            self.available.push(DeviceBaseline { operator, rival });
        }
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

/// A dense product, of all rows of A or of the live ones.
struct CublasOperator {
    name: &'static str,
    library: Arc<Cublas>,
    math: Math,
    live_rows_only: bool,
    input: Dtype,
    output: Dtype,
}

struct CublasBuilt {
    library: Arc<Cublas>,
    math: Math,
    a: DeviceMatrix,
    /// Which row of Y each row of the product is, where it has fewer.
    live: Option<Vec<usize>>,
}

impl DeviceOperator for CublasOperator {
    fn name(&self) -> String {
        self.name.into()
    }

    fn input(&self) -> Dtype {
        self.input
    }

    fn output(&self) -> Dtype {
        self.output
    }

    fn live_rows_only(&self) -> bool {
        self.live_rows_only
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        _n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        require_same(device, self.library.device())?;
        let live = self.live_rows_only.then(|| live_rows(a));
        let a = match &live {
            Some(live) if live.len() < a.nrows() => {
                DeviceMatrix::upload(device, a.select(Axis(0), live).view(), self.input, "A")?
            }
            _ => DeviceMatrix::upload(device, a, self.input, "A")?,
        };
        Ok(Box::new(CublasBuilt { library: self.library.clone(), math: self.math, a, live }))
    }
}

/// Y of `m` rows: the first rows of `product` where `live` says, zeros elsewhere.
pub fn place(m: usize, live: &[usize], product: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut y = Array2::zeros((m, product.ncols()));
    for (&i, row) in live.iter().zip(product.rows()) {
        y.row_mut(i).assign(&row);
    }
    y
}

impl DeviceBuilt for CublasBuilt {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        Ok(self.library.gemm(self.math, &self.a, v, y)?)
    }

    fn read(&self, y: &DeviceMatrix) -> Result<Array2<f32>, Error> {
        let product = y.read()?;
        Ok(match &self.live {
            Some(live) => place(y.rows, live, product.view()),
            None => product,
        })
    }

    fn bytes_held(&self) -> usize {
        self.a.buffer.bytes() + self.library.workspace_bytes()
    }

    fn bytes_shared(&self) -> usize {
        self.library.workspace_bytes()
    }

    fn plan(&self) -> Plan {
        match &self.live {
            Some(live) => Plan {
                strategy: Strategy::Rows,
                reason: format!("{} live rows, gathered when built", live.len()),
            },
            None => Plan { strategy: Strategy::Dense, reason: "nothing is skipped".into() },
        }
    }
}

/// A dense product of the live rows of A, which are then put where they belong.
struct ScatteredOperator {
    name: &'static str,
    library: Arc<Cublas>,
    math: Math,
    input: Dtype,
    output: Dtype,
}

struct ScatteredBuilt {
    a: ScatteredA,
    live: usize,
}

impl DeviceOperator for ScatteredOperator {
    fn name(&self) -> String {
        self.name.into()
    }

    fn input(&self) -> Dtype {
        self.input
    }

    fn output(&self) -> Dtype {
        self.output
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        require_same(device, self.library.device())?;
        let live = live_rows(a);
        let dtypes = (self.input, self.output);
        let a = ScatteredA::new(&self.library, self.math, a, &live, dtypes, n)?;
        Ok(Box::new(ScatteredBuilt { a, live: live.len() }))
    }
}

impl DeviceBuilt for ScatteredBuilt {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        Ok(self.a.launch(v, y)?)
    }

    fn bytes_held(&self) -> usize {
        self.a.bytes_held()
    }

    fn plan(&self) -> Plan {
        Plan {
            strategy: Strategy::Rows,
            reason: format!("{} live rows, gathered when built", self.live),
        }
    }
}

/// A product for each live expert of a stack, in one call of the library.
struct GroupedOperator {
    name: &'static str,
    library: Arc<Cublas>,
    math: Math,
    /// Of an expert.
    rows: usize,
    /// Of A, V and Y.
    dtype: Dtype,
}

struct GroupedBuilt {
    a: GroupedA,
    live: usize,
    rows: usize,
}

impl DeviceOperator for GroupedOperator {
    fn name(&self) -> String {
        self.name.into()
    }

    fn input(&self) -> Dtype {
        self.dtype
    }

    fn output(&self) -> Dtype {
        self.dtype
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        require_same(device, self.library.device())?;
        let (rows, live) = (self.rows, live_experts(a, self.rows));
        let a = GroupedA::new(&self.library, self.math, a, (rows, &live), self.dtype, n)?;
        Ok(Box::new(GroupedBuilt { a, live: live.len(), rows }))
    }
}

impl DeviceBuilt for GroupedBuilt {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        Ok(self.a.launch(v, y)?)
    }

    fn bytes_held(&self) -> usize {
        self.a.bytes_held()
    }

    fn plan(&self) -> Plan {
        Plan {
            strategy: Strategy::Rows,
            reason: format!("{} live experts of {} rows each", self.live, self.rows),
        }
    }
}

/// A product of the non-zeros of A.
struct CusparseOperator {
    name: String,
    library: Arc<Cusparse>,
    how: Spmm,
}

struct CusparseBuilt(CusparseA);

impl DeviceOperator for CusparseOperator {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn input(&self) -> Dtype {
        self.how.input
    }

    fn output(&self) -> Dtype {
        self.how.output
    }

    fn layout(&self) -> Layout {
        self.how.layout
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        require_same(device, self.library.device())?;
        Ok(Box::new(CusparseBuilt(CusparseA::new(
            &self.library,
            &Csr::from_dense(a),
            n,
            self.how,
        )?)))
    }
}

impl DeviceBuilt for CusparseBuilt {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        self.0.launch(v, y)
    }

    fn bytes_held(&self) -> usize {
        self.0.bytes_held()
    }

    fn plan(&self) -> Plan {
        Plan { strategy: Strategy::Csr, reason: "the library's CSR, analysed when built".into() }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

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
            let mut names = dense_names(dtype, arithmetic);
            names.extend(sparse_names());
            let of_live =
                scattered(dtype, arithmetic).into_iter().chain(grouped(dtype, arithmetic));
            names.extend(of_live.map(|(name, _)| name.to_owned()));
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{names:?}");
        }
        assert!(sparse_names().contains(&"cusparse-alg3-col".into()));
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

    #[test]
    fn live_rows_go_back_to_their_places() {
        let a = array![[0.0, 1.0], [0.0, 0.0], [2.0, 0.0], [-0.0, 0.0]];
        let live = live_rows(a.view());
        assert_eq!(live, [0, 2]);
        let nan = f32::NAN;
        let product = array![[5.0, 6.0], [7.0, 8.0], [nan, nan], [nan, nan]];
        let want = array![[5.0, 6.0], [0.0, 0.0], [7.0, 8.0], [0.0, 0.0]];
        assert_eq!(place(4, &live, product.view()), want);
        assert_eq!(place(2, &[], product.view()), Array2::<f32>::zeros((2, 2)));
    }
}
