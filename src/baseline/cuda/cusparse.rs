//! Products of the non-zeros of A by cuSPARSE.

use std::sync::Arc;

use ndarray::ArrayView2;

use super::{
    Case, DeviceBaseline, DeviceBaselines, DeviceRival, Precision, environment, join, model,
    require_same,
};
use crate::backend::csr::Csr;
use crate::backend::cuda::{
    Cusparse, CusparseA, Device, DeviceMatrix, Layout, Spmm, SpmmAlgorithm,
};
use crate::operator::{DeviceBuilt, DeviceOperator, Error, Plan};
use contract::arithmetic::bounded::Summation;
use contract::arithmetic::tensor_core::Format;
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use record::baseline::Kind;

/// Every algorithm in both layouts: `cusparse-alg2`, `cusparse-alg2-col`.
fn products() -> impl Iterator<Item = (String, SpmmAlgorithm, Layout)> {
    let layouts = [(Layout::RowMajor, ""), (Layout::ColumnMajor, "-col")];
    layouts.into_iter().flat_map(|(layout, suffix)| {
        SpmmAlgorithm::ALL
            .map(|algorithm| (format!("cusparse-{}{suffix}", algorithm.name()), algorithm, layout))
    })
}

pub(super) fn names() -> Vec<String> {
    products().map(|(name, ..)| name).collect()
}

const COLUMN_MAJOR: &str = "V and Y are column-major: the transposition of V and Y is not timed";
const ROUNDED_PARTS: &str =
    "parts of a sum are rounded to 16 bits before they are added: out of bound where that shows";

impl DeviceBaselines {
    pub(super) fn add_cusparse(&mut self, library: &Arc<Cusparse>, case: Case) {
        let model = match case.dtype {
            Dtype::F32 => None,
            // The manual does not say which units multiply.
            dtype @ (Dtype::Bf16 | Dtype::F16) => model(case.capability, Format::of(dtype)),
        };
        for (name, algorithm, layout) in products() {
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
