//! Having dot products computed: by anything that turns (A, V) into Y.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use super::generate::{M, N, operands};
use super::{FORMAT, Kind, Outputs, PLAIN, VectorFile, VectorSet, all_mismatches, hex};
use crate::backend::cuda::{Cublas, Device, DeviceMatrix, Math, tensor_cores};
use crate::operator::{
    DeviceBuilt, DeviceOperator, Error, MmaSync, OnDevice, Operator, Plan, SkipDevice,
};
use contract::arithmetic::tensor_core::{Architecture, Format};
use contract::arithmetic::{Arithmetic, TensorCoreModel};
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use record::DeviceRecord;
use record::baseline::Missing;

/// The product that is computed has each row of A and each column of V this many times: libraries choose other
/// kernels, and other orders of summation, for products as small as a set.
pub const REPEATS: usize = 128;

/// Something that computes products in one format.
pub struct Implementation {
    pub name: String,
    /// Library and version, or where the code is from.
    pub version: String,
    pub format: Format,
    pub operator: Box<dyn Operator>,
}

/// What can compute products on a device's tensor cores by their own rule, and what cannot.
pub fn implementations(device: &Arc<Device>) -> (Vec<Implementation>, Vec<Missing>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    let Some(architecture) = Architecture::of(device.compute_capability()) else {
        let capability = &device.info.compute_capability;
        let reason = format!("compute capability {capability} has no tensor cores");
        missing.push(Missing { name: PLAIN.into(), reason });
        return (found, missing);
    };
    let cublas = Cublas::new(device).map(Arc::new).map_err(|error| {
        missing.push(Missing { name: "cublas".into(), reason: error.to_string() });
    });
    for format in Format::ALL {
        let Some(model) = TensorCoreModel::of(architecture, format) else { continue };
        if tensor_cores(device.compute_capability(), model).is_none() {
            let reason = format!("no kernel brings {} to {architecture}", format.name());
            missing.push(Missing { name: format!("{PLAIN} {}", format.name()), reason });
            continue;
        }
        let mut add = |name: &str, version: String, operator: Arc<dyn DeviceOperator>| {
            let operator = Box::new(OnDevice { operator, device: device.clone() });
            found.push(Implementation { name: name.into(), version, format, operator });
        };
        add(PLAIN, record::tool::tool(), Arc::new(MmaSync { format, output: Dtype::F32 }));
        if let Ok(cublas) = &cublas {
            let version = format!("cuBLAS {}", cublas.version());
            add("cublas", version, Arc::new(CublasGemm { cublas: cublas.clone(), format }));
        }
        let (arithmetic, dtype) = (Arithmetic::TensorCore(model), format.dtype());
        let skip = SkipDevice::new(arithmetic, dtype, Dtype::F32, Strategy::Auto, device);
        add("skip-cuda", record::tool::tool(), Arc::new(skip));
    }
    (found, missing)
}

/// The library as it comes: its own choice of algorithm, f32 output.
struct CublasGemm {
    cublas: Arc<Cublas>,
    format: Format,
}

struct CublasA {
    cublas: Arc<Cublas>,
    math: Math,
    a: DeviceMatrix,
}

impl DeviceOperator for CublasGemm {
    fn name(&self) -> String {
        "cublas".into()
    }

    fn input(&self) -> Dtype {
        self.format.dtype()
    }

    fn output(&self) -> Dtype {
        Dtype::F32
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        _n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        let math = match self.format {
            Format::Tf32 => Math::Tf32,
            Format::F16 | Format::Bf16 => Math::Half,
        };
        let a = DeviceMatrix::upload(device, a, self.format.dtype(), "A")?;
        Ok(Box::new(CublasA { cublas: self.cublas.clone(), math, a }))
    }
}

impl DeviceBuilt for CublasA {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        Ok(self.cublas.gemm(self.math, &self.a, v, y)?)
    }

    fn bytes_held(&self) -> usize {
        self.a.buffer.bytes()
    }

    fn plan(&self) -> Plan {
        Plan { strategy: Strategy::Dense, reason: self.math.to_string() }
    }
}

/// Y of one product, -0 as +0.
pub fn whole(
    operator: &dyn Operator,
    a: ArrayView2<'_, f32>,
    v: ArrayView2<'_, f32>,
    threads: usize,
) -> Result<Array2<f32>, Error> {
    let built = operator.build(a)?;
    let mut staged = Default::default();
    operator.stage(v, &mut staged, threads)?;
    // An element that is not written stays NaN, which no number equals.
    let mut y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
    built.apply(v, &staged, y.view_mut(), threads)?;
    y.mapv_inplace(|x| x + 0.0);
    Ok(y)
}

/// Has every set of every format computed by all implementations, each row and column `repeats` times (on a device
/// [`REPEATS`]). `device` describes where they ran.
///
/// Errors: the implementation that failed and why.
pub fn measure(
    device: &mut dyn FnMut() -> DeviceRecord,
    architecture: Architecture,
    implementations: &[Implementation],
    missing: Vec<Missing>,
    repeats: usize,
    threads: usize,
) -> Result<VectorFile, Error> {
    let mut sets = Vec::new();
    for format in Format::ALL {
        let Some(model) = TensorCoreModel::of(architecture, format) else { continue };
        let of_format: Vec<_> = implementations.iter().filter(|i| i.format == format).collect();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.applies(format)) {
            sets.push(set(model, kind, &of_format, repeats, threads)?);
        }
    }
    let named = |i: &Implementation| (i.name.clone(), i.version.clone());
    Ok(VectorFile {
        format: FORMAT.into(),
        tool: record::tool::tool(),
        made: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        architecture: architecture.name().into(),
        // Last: by now it knows all kernels.
        device: device(),
        implementations: implementations.iter().map(named).collect::<BTreeMap<_, _>>(),
        missing,
        sets,
    })
}

fn set(
    model: TensorCoreModel,
    kind: Kind,
    implementations: &[&Implementation],
    repeats: usize,
    threads: usize,
) -> Result<VectorSet, Error> {
    let operands = operands(kind, model.format);
    let k = operands.k;
    let a = Array2::from_shape_fn((M * repeats, k), |(i, at)| operands.a[i % M][at]);
    let v = Array2::from_shape_fn((k, N * repeats), |(at, j)| operands.v[j % N][at]);
    let mut outputs: Vec<Outputs> = Vec::new();
    for implementation in implementations {
        let y = whole(&*implementation.operator, a.view(), v.view(), threads).map_err(|error| {
            let name = format!("{} ({} {})", implementation.name, model.format.name(), kind.name());
            match error {
                Error::Unsupported(reason) => Error::Unsupported(format!("{name}: {reason}")),
                Error::Environment(reason) => Error::Environment(format!("{name}: {reason}")),
            }
        })?;
        let unlike =
            |((i, j), x): ((usize, usize), &f32)| x.to_bits() != y[[i % M, j % N]].to_bits();
        let unlike_repeats = y.indexed_iter().filter(|&at| unlike(at)).count() as u64;
        let rows: Vec<Vec<f32>> = (0..M).map(|i| (0..N).map(|j| y[[i, j]]).collect()).collect();
        let text: Vec<String> = rows.iter().map(|row| hex(row, Format::Tf32)).collect();
        let name = implementation.name.clone();
        match outputs.iter_mut().find(|o| o.y == text && o.unlike_repeats == unlike_repeats) {
            Some(same) => same.by.push(name),
            None => outputs.push(Outputs {
                by: vec![name],
                y: text,
                unlike_repeats,
                non_finite: rows.iter().flatten().filter(|y| !y.is_finite()).count() as u64,
                mismatches: all_mismatches(model, &operands, &rows),
            }),
        }
    }
    let text = |lines: &[Vec<f32>]| lines.iter().map(|line| hex(line, model.format)).collect();
    Ok(VectorSet {
        name: kind.name().into(),
        format: model.format.name().into(),
        k,
        group: model.group,
        fraction_bits: model.fraction_bits,
        a: text(&operands.a),
        v: text(&operands.v),
        outputs,
    })
}
