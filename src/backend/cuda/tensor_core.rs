//! A device's own tensor cores: which rules they follow, and how A is brought to them.

mod layout;
mod variants;

use std::sync::Arc;

use ndarray::ArrayView2;

use self::layout::LiveGroups;
use self::variants::{Choice, HANDOVER_NS, Variant};
use super::compile::Source;
use super::device::{Device, require_driver_function};
use super::error::CudaError;
use super::generic::{output_define, require_i32};
use super::launch::{Arguments, Grid, Kernel};
use super::live::{Selection, estimates_text, packing_threads};
use super::matrix::DeviceMatrix;
use super::memory::Buffer;
use super::segments::{Dealing, WorkLists};
use super::tensor_map::{self, Swizzle};
use super::variants::Variant as KernelVariant;
use contract::arithmetic::TensorCoreModel;
use contract::arithmetic::tensor_core::{Architecture, Format};
use contract::dtype::Dtype;

const GEMM_TENSOR_CORE: Source = Source {
    name: "gemm_tensor_core.cu",
    text: include_str!("../../../kernels/gemm_tensor_core.cu"),
};
const GEMM_MMA_SYNC: Source =
    Source { name: "gemm_mma_sync.cu", text: include_str!("../../../kernels/gemm_mma_sync.cu") };

/// The instructions by which a device's tensor cores are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorCores {
    /// Warpgroups, on tiles in shared memory: bf16 and f16 on Hopper. See [`TensorCoreA`].
    Wgmma,
    /// Single warps: everything else. See [`MmaSyncA`].
    MmaSync,
}

/// The architecture whose tensor cores devices of a compute capability have, where that is known.
fn architecture(compute_capability: (i32, i32)) -> Option<Architecture> {
    Some(match compute_capability {
        (7, 0) => Architecture::Volta,
        (7, 5) => Architecture::Turing,
        (8, 0 | 6 | 7) => Architecture::Ampere,
        (8, 9) => Architecture::Ada,
        (9, 0) => Architecture::Hopper,
        (10, _) => Architecture::Blackwell,
        _ => return None,
    })
}

/// How a device's own tensor cores follow a rule; `None` where they follow another one, or no
/// kernel brings them to it.
///
/// One instruction is one group of the rule or several chained ones: m16n8k16 is one group of 16 on
/// Hopper and Blackwell and two of 8 on Ampere and Ada, m16n8k8 of TF32 one of 8 or two of 4, and of
/// f16 on Turing one of 8.
pub fn tensor_cores(compute_capability: (i32, i32), model: TensorCoreModel) -> Option<TensorCores> {
    let architecture = architecture(compute_capability)?;
    if TensorCoreModel::of(architecture, model.format) != Some(model) {
        return None;
    }
    match (architecture, model.format) {
        // Its one instruction, m8n8k4, is laid out like no other.
        (Architecture::Volta, _) => None,
        (Architecture::Hopper, Format::F16 | Format::Bf16) => Some(TensorCores::Wgmma),
        _ => Some(TensorCores::MmaSync),
    }
}

/// A (m x k) packed for wgmma, for V of n columns.
pub struct TensorCoreA {
    shape: (usize, usize, usize),
    dtype: Dtype,
    output: Dtype,
    selection: Selection,
    reason: String,
    /// `None` where Y is zeros only.
    work: Option<Work>,
}

struct Work {
    variant: &'static Variant,
    kernel: Kernel,
    grid: Grid,
    is_grouped: bool,
    a_packed: Buffer,
    step_base: Buffer,
    group_k: Buffer,
    row_index: Buffer,
    dead_rows: Buffer,
    dead_count: i32,
    segments: Buffer,
    segment_begin: Buffer,
    column_tiles: i32,
    k_steps: i32,
    partials: Buffer,
    flags: Buffer,
}

impl TensorCoreA {
    /// Packs A, whose elements are values of `dtype` (bf16 or f16), and takes all the memory that
    /// launching needs. Without a `wanted` selection the one is taken that is estimated to be
    /// fastest.
    pub fn pack(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
        dtype: Dtype,
        output: Dtype,
        wanted: Option<Selection>,
    ) -> Result<TensorCoreA, CudaError> {
        let (m, k) = a.dim();
        for (what, value) in [("rows", m), ("columns", k), ("columns of V", n)] {
            require_i32(what, value)?;
        }
        let threads = packing_threads(a.len());
        let live = LiveGroups::of(a, threads);
        let choice = variants::choose(&live, n, device.info.multiprocessors, wanted);
        let Choice { selection, .. } = choice;
        let mut built = TensorCoreA {
            shape: (m, k, n),
            dtype,
            output,
            selection,
            reason: "there is nothing to multiply".into(),
            work: None,
        };
        if n > 0 && k > 0 && !choice.tiles.steps.is_empty() {
            let work = Work::new(device, a, n, (dtype, output), &choice, threads)?;
            built.reason = reason(&choice, &work, wanted.is_some());
            built.work = Some(work);
        }
        Ok(built)
    }

    /// Y = A V for V of the dtype given to `pack`.
    ///
    /// # Panics
    /// If V or Y is not what A was packed for.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let (m, k, n) = self.shape;
        assert_eq!((v.rows, v.cols), (k, n), "the caller made V for A");
        assert_eq!((y.rows, y.cols), (m, n), "the caller made Y for A and V");
        assert_eq!((v.dtype, y.dtype), (self.dtype, self.output), "the caller asked for these");
        let Some(work) = &self.work else { return y.buffer.fill(0) };
        // One k-step of 64 columns, or one group.
        let box_shape = (if work.is_grouped { 16 } else { 64 }, 64);
        let arguments = Arguments::new()
            .with(tensor_map::encode(v, box_shape, Swizzle::Bytes128)?)
            .with(work.a_packed.pointer())
            .with(work.step_base.pointer())
            .with(work.group_k.pointer())
            .with(work.row_index.pointer())
            .with(work.dead_rows.pointer())
            .with(work.dead_count)
            .with(work.segments.pointer())
            .with(work.segment_begin.pointer())
            .with(work.column_tiles)
            .with(work.k_steps)
            .with(require_i32("columns of V", n)?)
            .with(require_i32("columns of Y", y.stride)?)
            .with(y.pointer())
            .with(work.partials.pointer())
            .with(work.flags.pointer());
        // SAFETY: arguments as at the kernel's head, sized in `Work::new`; shapes were checked;
        // buffers live until the device is done with them, because freeing is in stream order.
        unsafe { work.kernel.launch(work.grid, &arguments) }
    }

    pub fn selection(&self) -> Selection {
        self.selection
    }

    /// Why A is held like this.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub fn bytes_held(&self) -> usize {
        let Some(work) = &self.work else { return 0 };
        [
            &work.a_packed,
            &work.step_base,
            &work.group_k,
            &work.row_index,
            &work.dead_rows,
            &work.segments,
            &work.segment_begin,
            &work.partials,
            &work.flags,
        ]
        .map(Buffer::bytes)
        .iter()
        .sum()
    }
}

impl Work {
    fn new(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
        (dtype, output): (Dtype, Dtype),
        choice: &Choice,
        threads: usize,
    ) -> Result<Work, CudaError> {
        let Choice { variant, selection, tiles, .. } = choice;
        let variant: &'static Variant = variant;
        require_driver_function("cuTensorMapEncodeTiled")?;
        let is_grouped = selection.is_grouped();
        let kernel = Kernel::new(
            device,
            GEMM_TENSOR_CORE,
            &defines(variant, is_grouped, (dtype, output)),
            "gemm_tensor_core",
            variant.shared_bytes(),
        )?;
        let each = kernel.blocks_per_multiprocessor(variant.threads(), variant.shared_bytes())?;
        let workers = device.info.multiprocessors * each;
        if workers == 0 {
            return Err(CudaError::new(
                "cuOccupancyMaxActiveBlocksPerMultiprocessor",
                "the kernel does not fit on this device",
                format!("{variant:?}"),
            ));
        }

        let column_tiles = n.div_ceil(variant.bn);
        require_i32("tiles", tiles.steps.len().saturating_mul(column_tiles))?;
        require_i32("groups", tiles.steps_in_all().saturating_mul(4))?;
        let lists = work_lists(choice, column_tiles, workers);

        let step_base: Vec<i32> = tiles.step_base().into_iter().map(|step| step as i32).collect();
        let packed = tiles.pack(a, dtype, threads);
        let slots = lists.slots;
        Ok(Work {
            variant,
            grid: Grid {
                blocks: (workers as u32, 1, 1),
                threads: variant.threads(),
                shared_bytes: variant.shared_bytes(),
            },
            is_grouped,
            a_packed: Buffer::from_slice(device, &packed, "packed A")?,
            step_base: Buffer::from_slice(device, &step_base, "first steps")?,
            group_k: Buffer::from_slice(device, &tiles.group_k, "groups")?,
            row_index: Buffer::from_slice(device, &tiles.row_index, "rows")?,
            dead_rows: Buffer::from_slice(device, &tiles.dead_rows, "dead rows")?,
            dead_count: require_i32("rows", tiles.dead_rows.len())?,
            segments: Buffer::from_slice(device, &lists.encoded(), "segments")?,
            segment_begin: Buffer::from_slice(device, &lists.begin, "segments of workers")?,
            column_tiles: require_i32("tiles", column_tiles)?,
            k_steps: require_i32("steps", a.ncols().div_ceil(64))?,
            partials: Buffer::new(device, slots * variant.bm * variant.bn * 4, "accumulators")?,
            flags: Buffer::zeroed(device, slots * (variant.bm / 64) * 4, "flags")?,
            kernel,
        })
    }
}

fn defines(variant: &Variant, is_grouped: bool, (dtype, output): (Dtype, Dtype)) -> Vec<String> {
    let mut defines = variant.defines(is_grouped);
    defines.push(if dtype == Dtype::F16 { "IN_F16".into() } else { "IN_BF16".into() });
    defines.extend(output_define(output));
    defines
}

fn mma_sync_defines(format: Format, output: Dtype) -> Vec<String> {
    let format = match format {
        Format::F16 => "FORMAT_F16",
        Format::Bf16 => "FORMAT_BF16",
        Format::Tf32 => "FORMAT_TF32",
    };
    std::iter::once(format.to_owned()).chain(output_define(output)).collect()
}

/// All that [`TensorCoreA::pack`] and [`MmaSyncA::pack`] may ask for.
pub(super) fn kernel_variants() -> impl Iterator<Item = KernelVariant> {
    let outputs = [Dtype::F32, Dtype::Bf16, Dtype::F16];
    let mut all = Vec::new();
    for variant in &variants::VARIANTS {
        for is_grouped in [false, true] {
            for dtype in [Dtype::Bf16, Dtype::F16] {
                all.extend(outputs.map(|output| KernelVariant {
                    source: GEMM_TENSOR_CORE,
                    entry: "gemm_tensor_core",
                    defines: defines(variant, is_grouped, (dtype, output)),
                    capabilities: ((9, 0), (9, 0)),
                }));
            }
        }
    }
    for (format, first) in [(Format::F16, (7, 5)), (Format::Bf16, (8, 0)), (Format::Tf32, (8, 0))] {
        all.extend(outputs.map(|output| KernelVariant {
            source: GEMM_MMA_SYNC,
            entry: "gemm_mma_sync",
            defines: mma_sync_defines(format, output),
            capabilities: (first, (i32::MAX, 0)),
        }));
    }
    all.into_iter()
}

/// Who computes what: tile t is row tile t / column_tiles.
fn work_lists(choice: &Choice, column_tiles: usize, workers: usize) -> WorkLists {
    let Choice { variant, selection, tiles, .. } = choice;
    let columns = |&steps: &usize| std::iter::repeat_n(steps, column_tiles);
    let steps: Vec<usize> = tiles.steps.iter().flat_map(columns).collect();
    let weight_ns =
        |tile: usize, step| variant.weight_ns(selection.is_grouped(), step, steps[tile]);
    WorkLists::new(&steps, weight_ns, workers, Dealing::Rounds, HANDOVER_NS)
}

fn reason(choice: &Choice, work: &Work, asked_for: bool) -> String {
    let Variant { bm, bn, .. } = work.variant;
    let why = if asked_for {
        "asked for".to_owned()
    } else {
        format!("least of the estimates {}", estimates_text(&choice.estimates_ns))
    };
    format!("{why}; this device's tensor cores by wgmma, tiles {bm} x {bn}")
}

/// A (m x k) as it is, for single warps: nothing is skipped.
pub struct MmaSyncA {
    kernel: Kernel,
    a: Buffer,
    m: usize,
    k: usize,
    dtype: Dtype,
    output: Dtype,
}

impl MmaSyncA {
    /// A's elements are values of the format's dtype.
    pub fn pack(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        format: Format,
        output: Dtype,
    ) -> Result<MmaSyncA, CudaError> {
        let (m, k) = a.dim();
        require_i32("rows", m)?;
        require_i32("columns", k)?;
        let defines = mma_sync_defines(format, output);
        let kernel = Kernel::new(device, GEMM_MMA_SYNC, &defines, "gemm_mma_sync", 0)?;
        let dtype = format.dtype();
        let mut bytes = Vec::with_capacity(m * k * dtype.size());
        for row in a.rows() {
            match row.to_slice() {
                Some(row) => dtype.encode(row, &mut bytes),
                None => dtype.encode(&row.to_vec(), &mut bytes),
            }
        }
        let a = Buffer::from_slice(device, &bytes, "A")?;
        Ok(MmaSyncA { kernel, a, m, k, dtype, output })
    }

    /// Y = A V for V of the format's dtype.
    ///
    /// # Panics
    /// If V or Y is not what A was packed for.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let (m, k, n) = (self.m, self.k, v.cols);
        assert_eq!(
            (v.rows, y.rows, y.cols),
            (k, m, n),
            "the caller made A, V and Y for each other"
        );
        assert_eq!((v.dtype, y.dtype), (self.dtype, self.output), "the caller asked for these");
        if m == 0 || n == 0 {
            return Ok(());
        }
        let arguments = Arguments::new()
            .with(self.a.pointer())
            .with(v.pointer())
            .with(y.pointer())
            .with(m as i32)
            .with(k as i32)
            .with(require_i32("columns of V", n)?)
            .with(require_i32("columns of V", v.stride)?)
            .with(require_i32("columns of Y", y.stride)?);
        let blocks = (n.div_ceil(32) as u32, m.div_ceil(64) as u32, 1);
        // SAFETY: arguments as at the kernel's head; shapes were checked, m and k when A was packed;
        // buffers live until the device is done with them, because freeing is in stream order.
        unsafe { self.kernel.launch(Grid { blocks, threads: 128, shared_bytes: 0 }, &arguments) }
    }

    pub fn bytes_held(&self) -> usize {
        self.a.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::layout::RowTiles;
    use super::*;
    use contract::arithmetic::tensor_core::{dot, group_step};
    use ndarray::Array2;

    #[test]
    fn a_device_serves_its_own_rules_only() {
        use TensorCores::{MmaSync, Wgmma};
        let model = |architecture, format| TensorCoreModel::of(architecture, format);
        let served = |capability| {
            let mut served = Vec::new();
            for architecture in Architecture::ALL {
                for format in [Format::F16, Format::Bf16, Format::Tf32] {
                    let model = model(architecture, format);
                    if let Some(by) = model.and_then(|model| tensor_cores(capability, model)) {
                        served.push((architecture, format, by));
                    }
                }
            }
            served
        };
        let all = |architecture, sixteen| {
            [(Format::F16, sixteen), (Format::Bf16, sixteen), (Format::Tf32, MmaSync)]
                .map(|(format, by)| (architecture, format, by))
                .to_vec()
        };
        assert_eq!(served((9, 0)), all(Architecture::Hopper, Wgmma));
        assert_eq!(served((8, 9)), all(Architecture::Ada, MmaSync));
        assert_eq!(served((10, 3)), all(Architecture::Blackwell, MmaSync));
        for minor in [0, 6, 7] {
            assert_eq!(served((8, minor)), all(Architecture::Ampere, MmaSync));
        }
        assert_eq!(served((7, 5)), [(Architecture::Turing, Format::F16, MmaSync)]);
        for unknown in [(6, 1), (7, 0), (7, 2), (12, 0)] {
            assert_eq!(served(unknown), []);
        }
        // A changed parameter is another rule.
        let mut changed = model(Architecture::Hopper, Format::Bf16).expect("there is one");
        changed.fraction_bits += 1;
        assert_eq!(tensor_cores((9, 0), changed), None);
    }

    /// What the kernel does with its arguments, on the host: worker by worker, each in one go, which
    /// serves because every wait is for a worker of lower index.
    fn emulate(
        a: &Array2<f32>,
        v: &Array2<f32>,
        model: TensorCoreModel,
        choice: &Choice,
        workers: usize,
    ) -> Array2<f32> {
        let (k, n) = v.dim();
        let Choice { variant, tiles, .. } = choice;
        let (tile_rows, tile_cols) = (variant.bm, variant.bn);
        let column_tiles = n.div_ceil(tile_cols);
        let lists = work_lists(choice, column_tiles, workers);
        let packed = tiles.pack(a.view(), Dtype::Bf16, 2);
        let step_base = tiles.step_base();
        let mut y = Array2::from_elem((a.nrows(), n), f32::NAN);
        tiles.dead_rows.iter().for_each(|&i| y.row_mut(i as usize).fill(0.0));
        let mut partials = vec![Vec::new(); lists.slots];
        for segment in &lists.segments {
            let tile = segment.tile as usize;
            let (row_tile, first_col) = (tile / column_tiles, tile % column_tiles * tile_cols);
            let mut acc = match segment.from {
                -1 => vec![0.0; tile_rows * tile_cols],
                slot => std::mem::take(&mut partials[slot as usize]),
            };
            for step in segment.step_begin as usize..segment.step_end as usize {
                let image = step_base[row_tile] + step;
                let outputs = acc.len();
                for (group, at) in (0..4).flat_map(|g| (0..outputs).map(move |at| (g, at))) {
                    let (r, j) = (at / tile_cols, first_col + at % tile_cols);
                    let first = match tiles.group_k.is_empty() {
                        true => (step * 64 + group * 16) as i32,
                        false => tiles.group_k[image * 4 + group],
                    };
                    let from_a = |i: usize| {
                        let chunk = (group * 2 + i / 8) ^ (r % 8);
                        let byte = (image * tile_rows + r) * 128 + chunk * 16 + i % 8 * 2;
                        let bits = u16::from_le_bytes([packed[byte], packed[byte + 1]]);
                        half::bf16::from_bits(bits).to_f32()
                    };
                    let from_v = |i: usize| {
                        let k_at = first + i as i32;
                        let inside = (0..k as i32).contains(&k_at) && j < n;
                        if inside { v[[k_at as usize, j]] } else { 0.0 }
                    };
                    let (a, v): ([f32; 16], [f32; 16]) =
                        (std::array::from_fn(from_a), std::array::from_fn(from_v));
                    acc[at] = group_step(model, acc[at], &a, &v);
                }
            }
            if segment.to >= 0 {
                partials[segment.to as usize] = acc;
                continue;
            }
            for (at, acc) in acc.into_iter().enumerate() {
                let row = tiles.row_index[row_tile * tile_rows + at / tile_cols];
                let col = first_col + at % tile_cols;
                if row >= 0 && col < n {
                    y[[row as usize, col]] = acc + 0.0;
                }
            }
        }
        y
    }

    #[test]
    fn what_the_kernel_is_given_makes_y() {
        static SMALL: Variant = Variant {
            bm: 16,
            bn: 8,
            stages: 4,
            step_ns: 5000,
            grouped_step_ns: 5000,
            tile_ns: 1000,
        };
        let model = TensorCoreModel::of(Architecture::Hopper, Format::Bf16).expect("there is one");
        let value = |i: usize, j: usize| ((i * 31 + j * 17) % 251) as f32 - 125.0;
        let (m, k, n) = (75, 230, 37);
        let patterns: [fn(usize, usize) -> bool; 4] = [
            |_, _| true,
            |i, _| i % 3 != 1,
            |i, j| (i / 16 + j / 16).is_multiple_of(3),
            |i, j| i % 4 != 0 && (i * 5 + j * 3).is_multiple_of(23),
        ];
        let v = Array2::from_shape_fn((k, n), |(i, j)| value(j, i) * 2f32.powi(i as i32 % 9));
        for is_live in patterns {
            let a = |(i, j)| if is_live(i, j) { value(i, j) } else { 0.0 };
            let a = Array2::from_shape_fn((m, k), a);
            let want = Array2::from_shape_fn((m, n), |(i, j)| {
                dot(model, &a.row(i).to_vec(), &v.column(j).to_vec()) + 0.0
            });
            let live = LiveGroups::of(a.view(), 1);
            for selection in Selection::EVERY {
                for workers in [1, 4, 7, 100] {
                    let tiles = RowTiles::new(&live, selection, SMALL.bm);
                    let variant = &SMALL;
                    let choice = Choice { variant, selection, tiles, estimates_ns: Vec::new() };
                    let y = emulate(&a, &v, model, &choice, workers);
                    let same = y.iter().zip(&want).all(|(y, want)| y.to_bits() == want.to_bits());
                    assert!(same, "{selection:?}, {workers} workers");
                }
            }
        }
    }
}
