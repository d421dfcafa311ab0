//! Kernels that follow any rule at any shape, one thread an output: for sliced chains, and for the rules of
//! other architectures' tensor cores.

use std::sync::Arc;

use ndarray::ArrayView2;

use super::compile::Source;
use super::device::Device;
use super::error::CudaError;
use super::launch::{Arguments, Grid, Kernel};
use super::matrix::DeviceMatrix;
use super::memory::Buffer;
use super::variants::{ANY, Variant};
use contract::arithmetic::tensor_core::Format;
use contract::arithmetic::{Architecture, Slices, TensorCoreModel};
use contract::dtype::Dtype;

const SPMM_SLICED: Source =
    Source { name: "spmm_sliced.cu", text: include_str!("../../../kernels/spmm_sliced.cu") };
const TENSOR_CORE_MODEL: Source = Source {
    name: "tensor_core_model.cu",
    text: include_str!("../../../kernels/tensor_core_model.cu"),
};

const THREADS: u32 = 128;

/// The define that makes a kernel write `output`.
pub(super) fn output_define(output: Dtype) -> Option<String> {
    match output {
        Dtype::F32 => None,
        Dtype::Bf16 => Some("OUT_BF16".into()),
        Dtype::F16 => Some("OUT_F16".into()),
    }
}

fn sliced_defines(output: Dtype) -> Vec<String> {
    output_define(output).into_iter().collect()
}

fn model_defines(model: TensorCoreModel, output: Dtype) -> Vec<String> {
    let mut defines = vec![
        format!("GROUP={}", model.group),
        format!("FRACTION_BITS={}", model.fraction_bits),
        format!("EXPONENT_MIN={}", model.format.exponent_min()),
        format!("EXPONENT_FLOOR={}", model.exponent_floor),
    ];
    defines.extend((model.format == Format::Tf32).then(|| "ROUND_TF32".into()));
    defines.extend(output_define(output));
    defines
}

/// All that [`SlicedA::pack`] and [`ModelA::pack`] may ask for, with published models.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let variant = |source, entry, defines| Variant { source, entry, defines, capabilities: ANY };
    let outputs = [Dtype::F32, Dtype::Bf16, Dtype::F16];
    let mut variants: Vec<Variant> =
        outputs.map(|output| variant(SPMM_SLICED, "spmm_sliced", sliced_defines(output))).into();
    for (architecture, format) in Architecture::ALL
        .into_iter()
        .flat_map(|architecture| Format::ALL.map(|format| (architecture, format)))
    {
        let Some(model) = TensorCoreModel::of(architecture, format) else { continue };
        for output in outputs {
            let defines = model_defines(model, output);
            // Some architectures share their parameters.
            if !variants.iter().any(|v| v.defines == defines) {
                variants.push(variant(TENSOR_CORE_MODEL, "tensor_core_model", defines));
            }
        }
    }
    variants.into_iter()
}

/// Refuses what the kernels' 32-bit indices cannot address.
pub(super) fn require_i32(what: &str, value: usize) -> Result<i32, CudaError> {
    i32::try_from(value).map_err(|_| {
        CudaError::new("packing A", format!("{value} {what}, of at most {}", i32::MAX), "")
    })
}

/// The non-zeros of A, row by row and in a row slice by slice.
pub struct SlicedA {
    kernel: Kernel,
    arrays: [Buffer; 3],
    m: usize,
    k: usize,
    slices: usize,
}

impl SlicedA {
    pub fn pack(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        slices: Slices,
        output: Dtype,
    ) -> Result<SlicedA, CudaError> {
        let kernel = Kernel::new(device, SPMM_SLICED, &sliced_defines(output), "spmm_sliced", 0)?;
        let count = slices.count();
        let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        let mut parts: Vec<Vec<(i32, f32)>> = vec![Vec::new(); count];
        require_i32("columns", a.ncols())?;
        for row in a.rows() {
            for (k, &x) in row.iter().enumerate() {
                if x != 0.0 {
                    parts[slices.slice_of(k)].push((k as i32, x));
                }
            }
            for part in &mut parts {
                columns.extend(part.iter().map(|(k, _)| *k));
                values.extend(part.drain(..).map(|(_, x)| x));
                offsets.push(require_i32("non-zeros", values.len())?);
            }
        }
        let arrays = [
            Buffer::from_slice(device, &offsets, "offsets")?,
            Buffer::from_slice(device, &columns, "column indices")?,
            Buffer::from_slice(device, &values, "values")?,
        ];
        Ok(SlicedA { kernel, arrays, m: a.nrows(), k: a.ncols(), slices: count })
    }

    /// Y = A V for f32 V.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        check_shapes((self.m, self.k), v, y);
        let [offsets, columns, values] = self.arrays.each_ref().map(Buffer::pointer);
        let arguments = Arguments::new()
            .with(offsets)
            .with(columns)
            .with(values)
            .with(v.pointer())
            .with(y.pointer())
            .with(require_i32("columns of V", v.cols)?)
            .with(self.slices as i32)
            .with(require_i32("columns of V", v.stride)?)
            .with(require_i32("columns of Y", y.stride)?);
        // SAFETY: arguments as at the kernel's head; shapes were checked; buffers live until the device is waited
        // for, because freeing is in stream order.
        unsafe { launch_per_row(&self.kernel, y, &arguments) }
    }

    pub fn bytes_held(&self) -> usize {
        self.arrays.iter().map(Buffer::bytes).sum()
    }
}

/// The groups of A that hold a non-zero, row by row.
pub struct ModelA {
    kernel: Kernel,
    arrays: [Buffer; 3],
    m: usize,
    k: usize,
}

impl ModelA {
    pub fn pack(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        model: TensorCoreModel,
        output: Dtype,
    ) -> Result<ModelA, CudaError> {
        let kernel = Kernel::new(
            device,
            TENSOR_CORE_MODEL,
            &model_defines(model, output),
            "tensor_core_model",
            0,
        )?;
        let (mut offsets, mut groups, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in a.rows() {
            let row = row.to_vec();
            for (g, group) in row.chunks(model.group).enumerate() {
                if group.iter().any(|&x| x != 0.0) {
                    groups.push(g as i32);
                    values.extend(group);
                    values.resize(groups.len() * model.group, 0.0f32);
                }
            }
            offsets.push(require_i32("groups", groups.len())?);
        }
        let arrays = [
            Buffer::from_slice(device, &offsets, "offsets")?,
            Buffer::from_slice(device, &groups, "groups")?,
            Buffer::from_slice(device, &values, "values")?,
        ];
        Ok(ModelA { kernel, arrays, m: a.nrows(), k: a.ncols() })
    }

    /// Y = A V for f32 V, whose elements are values of the model's format's dtype.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        check_shapes((self.m, self.k), v, y);
        let [offsets, groups, values] = self.arrays.each_ref().map(Buffer::pointer);
        let arguments = Arguments::new()
            .with(offsets)
            .with(groups)
            .with(values)
            .with(v.pointer())
            .with(y.pointer())
            .with(require_i32("columns of A", self.k)?)
            .with(require_i32("columns of V", v.cols)?)
            .with(require_i32("columns of V", v.stride)?)
            .with(require_i32("columns of Y", y.stride)?);
        // SAFETY: as in `SlicedA::launch`.
        unsafe { launch_per_row(&self.kernel, y, &arguments) }
    }

    pub fn bytes_held(&self) -> usize {
        self.arrays.iter().map(Buffer::bytes).sum()
    }
}

/// # Panics
/// If the shapes are not those of a product, or V is not f32.
fn check_shapes((m, k): (usize, usize), v: &DeviceMatrix, y: &DeviceMatrix) {
    assert_eq!(
        (y.rows, v.rows, y.cols),
        (m, k, v.cols),
        "the caller made A, V and Y for each other"
    );
    assert_eq!(v.dtype, Dtype::F32, "the operator asked for f32");
}

/// # Safety
/// As for [`Kernel::launch`]; the kernel has a thread for each output.
unsafe fn launch_per_row(
    kernel: &Kernel,
    y: &DeviceMatrix,
    arguments: &Arguments,
) -> Result<(), CudaError> {
    if y.rows == 0 || y.cols == 0 {
        return Ok(());
    }
    let blocks = (y.rows as u32, y.cols.div_ceil(THREADS as usize) as u32, 1);
    // SAFETY: as the caller promised.
    unsafe { kernel.launch(Grid { blocks, threads: THREADS, shared_bytes: 0 }, arguments) }
}
