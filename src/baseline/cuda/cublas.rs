//! Products by cuBLAS: of all rows of A, of the live ones, and of the live experts of a stack.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};

use super::super::grouped::live_experts;
use super::{
    Case, DeadRows, DeviceBaseline, DeviceBaselines, DeviceRival, Precision, environment, join,
    model, not_usable, require_same,
};
use crate::backend::cuda::{
    Cublas, Device, DeviceMatrix, GroupedA, Math, ScatteredA, require_grouped,
};
use crate::operator::{DeviceBuilt, DeviceOperator, Error, Plan, live_rows};
use contract::arithmetic::Arithmetic;
use contract::arithmetic::bounded::Summation;
use contract::arithmetic::tensor_core::Format;
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use record::baseline::Kind;

/// Which rows of A are multiplied, and how many calls of the library that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// All rows.
    Dense,
    /// The live ones: Y has only their rows.
    Compacted,
    /// The live ones, whose rows of Y are then put where they belong.
    Scattered,
    /// A product for each live expert of so many rows, in one call.
    Grouped(usize),
}

/// Which products there are: name, math and kind.
pub(super) fn products(
    dtype: Dtype,
    arithmetic: Arithmetic,
    dead: DeadRows,
) -> Vec<(&'static str, Math, Product)> {
    use Product::{Compacted, Dense, Grouped, Scattered};
    let tf32 = is_tf32(arithmetic);
    let mut all = match dtype {
        Dtype::F32 => vec![
            ("cublas", Math::Default, Dense),
            ("cublas-pedantic", Math::Pedantic, Dense),
            ("cublas-tf32", Math::Tf32, Dense),
            ("compacted-cublas", Math::Default, Compacted),
        ],
        Dtype::Bf16 | Dtype::F16 => {
            vec![("cublas", Math::Half, Dense), ("compacted-cublas", Math::Half, Compacted)]
        }
    };
    if dtype == Dtype::F32 && tf32 {
        all.push(("compacted-cublas-tf32", Math::Tf32, Compacted));
    }
    if dead != DeadRows::None {
        all.push(match dtype {
            Dtype::F32 if tf32 => ("scattered-cublas-tf32", Math::Tf32, Scattered),
            Dtype::F32 => ("scattered-cublas", Math::Default, Scattered),
            Dtype::Bf16 | Dtype::F16 => ("scattered-cublas", Math::Half, Scattered),
        });
    }
    if let DeadRows::Experts(rows) = dead {
        let math = if dtype == Dtype::F32 { Math::Default } else { Math::Half };
        all.push(("grouped-cublas", math, Grouped(rows)));
        if dtype == Dtype::F32 && tf32 {
            all.push(("grouped-cublas-tf32", Math::Tf32, Grouped(rows)));
        }
    }
    all
}

pub(super) fn names(dtype: Dtype, arithmetic: Arithmetic, dead: DeadRows) -> Vec<String> {
    products(dtype, arithmetic, dead).into_iter().map(|(name, ..)| name.into()).collect()
}

fn is_tf32(arithmetic: Arithmetic) -> bool {
    matches!(arithmetic, Arithmetic::TensorCore(model) if model.format == Format::Tf32)
}

const NO_SCATTER: &str =
    "live rows only; putting them where they belong and zeroing the dead rows of Y is not timed";
const TF32: &str = "operands are rounded to TF32";
const SCATTERED: &str =
    "live rows, then put where they belong by a kernel of ours; all of Y is written";

impl DeviceBaselines {
    pub(super) fn add_cublas(
        &mut self,
        library: &Arc<Cublas>,
        case: Case,
        arithmetic: Arithmetic,
        dead: DeadRows,
    ) {
        for (name, math, product) in products(case.dtype, arithmetic, dead) {
            let model = match math {
                Math::Default | Math::Pedantic => None,
                Math::Tf32 | Math::Half => model(case.capability, Format::of(case.dtype)),
            };
            if let Err(reason) = usable(case, math, product, model.is_some()) {
                self.miss([name.to_owned()], &reason);
                continue;
            }
            let is_lower = math == Math::Tf32 && !is_tf32(arithmetic);
            let function = match product {
                Product::Grouped(_) => math.grouped().to_owned(),
                Product::Dense | Product::Compacted | Product::Scattered => math.to_string(),
            };
            let rival = DeviceRival {
                name: name.into(),
                kind: match product {
                    Product::Dense => Kind::Dense,
                    Product::Compacted | Product::Scattered | Product::Grouped(_) => {
                        Kind::Compacted
                    }
                },
                library: "cuBLAS".into(),
                version: library.version().into(),
                math: format!("{function}{}", environment(|name| std::env::var(name).ok())),
                precision: if is_lower { Precision::Lower } else { Precision::AsCase },
                summation: model.map_or(Summation::Binary32, Summation::TensorCore),
                note: match product {
                    Product::Dense => join([(is_lower, TF32)]),
                    Product::Compacted => join([(is_lower, TF32), (true, NO_SCATTER)]),
                    Product::Scattered => SCATTERED.into(),
                    Product::Grouped(rows) => {
                        format!(
                            "a product for each live expert of {rows} rows; all of Y is written"
                        )
                    }
                },
            };
            let operator = Arc::new(CublasOperator {
                name,
                library: library.clone(),
                math,
                product,
                input: case.dtype,
                output: case.output,
            });
            self.available.push(DeviceBaseline { operator, rival });
        }
    }
}

/// Whether the library and the device have such a product, else a reason in a line.
fn usable(case: Case, math: Math, product: Product, has_model: bool) -> Result<(), String> {
    let Case { dtype, output, capability: (major, minor) } = case;
    if let Product::Grouped(_) = product {
        require_grouped().map_err(|error| not_usable(&error))?;
        if output != dtype {
            return Err(format!(
                "not supported: {output} output of {dtype} operands, by cublasGemmGroupedBatchedEx"
            ));
        }
    }
    if math == Math::Tf32 && !has_model {
        return Err(format!(
            "not supported: TF32 needs compute capability 8.0, and the device has {major}.{minor}"
        ));
    }
    Ok(())
}

/// A product by cuBLAS.
struct CublasOperator {
    name: &'static str,
    library: Arc<Cublas>,
    math: Math,
    product: Product,
    input: Dtype,
    output: Dtype,
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
        self.product == Product::Compacted
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        let (library, math) = (&self.library, self.math);
        require_same(device, library.device())?;
        Ok(match self.product {
            Product::Dense | Product::Compacted => {
                let live = self.live_rows_only().then(|| live_rows(a));
                let a = match &live {
                    Some(live) if live.len() < a.nrows() => {
                        let a = a.select(Axis(0), live);
                        DeviceMatrix::upload(device, a.view(), self.input, "A")?
                    }
                    _ => DeviceMatrix::upload(device, a, self.input, "A")?,
                };
                Box::new(DenseBuilt { library: library.clone(), math, a, live })
            }
            Product::Scattered => {
                let live = live_rows(a);
                let dtypes = (self.input, self.output);
                let a = ScatteredA::new(library, math, a, &live, dtypes, n)?;
                Box::new(ScatteredBuilt { a, live: live.len() })
            }
            Product::Grouped(rows) => {
                let live = live_experts(a, rows);
                let a = GroupedA::new(library, math, a, (rows, &live), self.input, n)?;
                Box::new(GroupedBuilt { a, live: live.len(), rows })
            }
        })
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

/// All rows of A, or the live ones.
struct DenseBuilt {
    library: Arc<Cublas>,
    math: Math,
    a: DeviceMatrix,
    /// Which row of Y each row of the product is, where it has fewer.
    live: Option<Vec<usize>>,
}

impl DeviceBuilt for DenseBuilt {
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
            Some(live) => of_live_rows(live.len()),
            None => Plan { strategy: Strategy::Dense, reason: "nothing is skipped".into() },
        }
    }
}

/// The plan of a product of so many rows.
fn of_live_rows(live: usize) -> Plan {
    Plan { strategy: Strategy::Rows, reason: format!("{live} live rows, gathered when built") }
}

struct ScatteredBuilt {
    a: ScatteredA,
    live: usize,
}

impl DeviceBuilt for ScatteredBuilt {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        Ok(self.a.launch(v, y)?)
    }

    fn bytes_held(&self) -> usize {
        self.a.bytes_held()
    }

    fn plan(&self) -> Plan {
        of_live_rows(self.live)
    }
}

struct GroupedBuilt {
    a: GroupedA,
    live: usize,
    rows: usize,
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

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

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
