//! A without its zeros, for chains of fused multiply-adds: `kernels/spmm_chain.cu` and
//! `kernels/spmm_window.cu`.

mod chunked;
mod pattern;
mod variants;
mod windowed;

use std::sync::Arc;

use ndarray::ArrayView2;

pub use pattern::Pattern;

use self::variants::{Abilities, HANDOVER_CLOCKS, Variant};
use super::compile::Source;
use super::device::{Device, require_driver_function};
use super::error::CudaError;
use super::generic::{output_define, require_i32};
use super::launch::{Arguments, Grid, Kernel};
use super::live::packing_threads;
use super::matrix::DeviceMatrix;
use super::memory::Buffer;
use super::segments::{Dealing, WorkLists};
use super::tensor_map::{self, Swizzle};
use super::variants::Variant as KernelVariant;
use contract::dtype::Dtype;

const SPMM_CHAIN: Source =
    Source { name: "spmm_chain.cu", text: include_str!("../../../kernels/spmm_chain.cu") };
const SPMM_WINDOW: Source =
    Source { name: "spmm_window.cu", text: include_str!("../../../kernels/spmm_window.cu") };

/// A (m x k) packed for V of n columns.
pub struct SpmmA {
    shape: (usize, usize, usize),
    output: Dtype,
    description: String,
    /// `None` where Y is zeros only.
    work: Option<Work>,
}

struct Work {
    kernel: Kernel,
    grid: Grid,
    /// Columns and rows of V that come by one copy; `None` where the kernel copies without a map.
    v_box: Option<(u32, u32)>,
    /// From the entries to the flags, in the kernel's order.
    arrays: Vec<Buffer>,
    column_blocks: i32,
    /// Behind the column blocks.
    geometry: Vec<i32>,
}

impl SpmmA {
    /// Whether there are kernels for devices of a compute capability.
    pub fn serves(compute_capability: (i32, i32)) -> bool {
        Abilities::of(compute_capability).is_some()
    }

    /// The time that a launch will take, without packing, in nanoseconds; `u64::MAX` where no kernel
    /// serves the device.
    pub fn estimate_ns(device: &Device, pattern: &Pattern, n: usize) -> u64 {
        let multiprocessors = device.info.multiprocessors;
        let Some(abilities) = Abilities::of(device.compute_capability()) else { return u64::MAX };
        let ranked = variants::ranked(&abilities, pattern, n, multiprocessors);
        ranked.first().map_or(u64::MAX, |(ns, _)| *ns)
    }

    /// Packs A, and takes all the memory that launching needs. Y is rounded once to `output`.
    ///
    /// # Errors
    /// If the device is not served, memory is short or an index would not fit in 32 bits.
    pub fn pack(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
        output: Dtype,
    ) -> Result<SpmmA, CudaError> {
        let (m, k) = a.dim();
        require_i32("rows", m)?;
        require_i32("columns", k)?;
        let pattern = Pattern::of(a, packing_threads(a.len()));
        SpmmA::pack_pattern(device, a, &pattern, n, output)
    }

    /// The same with A already looked at.
    ///
    /// # Panics
    /// If the pattern is another matrix's, by its shape.
    pub fn pack_pattern(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        pattern: &Pattern,
        n: usize,
        output: Dtype,
    ) -> Result<SpmmA, CudaError> {
        let (m, k) = a.dim();
        assert_eq!((m, k), (pattern.m, pattern.k), "the caller looked at this A");
        for (what, value) in [("rows", m), ("columns", k), ("columns of V", n)] {
            require_i32(what, value)?;
        }
        let mut built = SpmmA {
            shape: (m, k, n),
            output,
            description: "there is nothing to multiply".into(),
            work: None,
        };
        if n == 0 || pattern.nnz == 0 {
            return Ok(built);
        }
        let Some(abilities) = Abilities::of(device.compute_capability()) else {
            return Err(CudaError::new(
                "packing A",
                "no SpMM kernel for this device",
                format!("compute capability {}", device.info.compute_capability),
            ));
        };
        let a = a.as_standard_layout();
        let ranked = variants::ranked(&abilities, pattern, n, device.info.multiprocessors);
        let estimates: Vec<String> = ranked
            .iter()
            .map(|(ns, variant)| format!("{} {:.1} us", variant.name(), *ns as f64 / 1e3))
            .collect();
        // Just made so; without elements there were no non-zeros.
        let elements = a.as_slice().unwrap_or_default();
        for (_, variant) in &ranked {
            let work = Work::new(device, elements, pattern, n, output, variant, &abilities)?;
            if let Some((work, what)) = work {
                built.description =
                    format!("{what}; least that serves of the estimates {}", estimates.join(", "));
                built.work = Some(work);
                break;
            }
        }
        Ok(built)
    }

    /// Y = A V for f32 V.
    ///
    /// # Panics
    /// If V or Y is not what A was packed for.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let (m, k, n) = self.shape;
        assert_eq!((v.rows, v.cols), (k, n), "the caller made V for A");
        assert_eq!((y.rows, y.cols), (m, n), "the caller made Y for A and V");
        assert_eq!((v.dtype, y.dtype), (Dtype::F32, self.output), "the caller asked for these");
        let Some(work) = &self.work else { return y.buffer.fill(0) };
        let map = match work.v_box {
            Some((cols, rows)) => {
                tensor_map::encode(v, (rows as usize, cols as usize), Swizzle::None)?
            }
            None => [0; 16],
        };
        let mut arguments = Arguments::new().with(map).with(v.pointer()).with(y.pointer());
        for array in &work.arrays {
            arguments = arguments.with(array.pointer());
        }
        arguments = arguments
            .with(require_i32("rows of V", k)?)
            .with(require_i32("columns of V", n)?)
            .with(require_i32("columns of V", v.stride)?)
            .with(require_i32("columns of Y", y.stride)?)
            .with(work.column_blocks);
        for &value in &work.geometry {
            arguments = arguments.with(value);
        }
        // SAFETY: arguments as at the kernel's head, sized in `Work::new`; shapes were checked, and
        // strides are multiples of 16; buffers live until the device is done with them, because
        // freeing is in stream order.
        unsafe { work.kernel.launch(work.grid, &arguments) }
    }

    pub fn bytes_held(&self) -> usize {
        let bytes = |work: &Work| work.arrays.iter().map(Buffer::bytes).sum();
        self.work.as_ref().map_or(0, bytes)
    }

    /// How A is held, and why.
    pub fn describe(&self) -> String {
        self.description.clone()
    }
}

impl Work {
    /// `None` where the variant does not serve this A.
    fn new(
        device: &Arc<Device>,
        a: &[f32],
        pattern: &Pattern,
        n: usize,
        output: Dtype,
        variant: &Variant,
        abilities: &Abilities,
    ) -> Result<Option<(Work, String)>, CudaError> {
        let threads = packing_threads(a.len());
        // One block each: registers and shared memory are used up.
        let workers = device.info.multiprocessors.max(1);
        let Some(host) = HostWork::new(a, pattern, n, variant, workers, threads) else {
            return Ok(None);
        };
        let tiles = (host.chunk_begin.len() - 1).saturating_mul(host.column_blocks);
        require_i32("tiles", tiles)?;
        if abilities.has_bulk_copies {
            require_driver_function("cuTensorMapEncodeTiled")?;
        }
        let (source, name, grid_threads, shared_bytes, v_box) = match (variant, &host.packed) {
            (Variant::Windowed(shape), HostPacked::Windowed(packed)) => {
                let rows = packed.geometry.bk as u32;
                let bytes = shape.shared_bytes(&packed.geometry);
                let v_box = (windowed::TILE_COLS as u32, rows);
                (SPMM_WINDOW, "spmm_window", shape.threads(), bytes, v_box)
            }
            (Variant::Chunked(shape), _) => {
                let bytes = shape.shared_bytes(abilities.stages, abilities.has_bulk_copies);
                let v_box = (chunked::TILE_COLS as u32, chunked::RUN as u32);
                (SPMM_CHAIN, "spmm_chain", shape.threads(), bytes, v_box)
            }
            (Variant::Windowed(_), HostPacked::Chunked(_)) => return Ok(None),
        };
        let defines = defines(variant, abilities, output);
        let kernel = Kernel::new(device, source, &defines, name, shared_bytes)?;
        if kernel.blocks_per_multiprocessor(grid_threads, shared_bytes)? == 0 {
            return Err(CudaError::new(
                "cuOccupancyMaxActiveBlocksPerMultiprocessor",
                "the kernel does not fit on this device",
                format!("{variant:?}"),
            ));
        }
        let what = host.describe(variant);
        let arrays = host.upload(device, variant)?;
        let grid = Grid { blocks: (workers as u32, 1, 1), threads: grid_threads, shared_bytes };
        let work = Work {
            kernel,
            grid,
            v_box: abilities.has_bulk_copies.then_some(v_box),
            arrays,
            column_blocks: require_i32("columns of V", host.column_blocks)?,
            geometry: host.geometry(),
        };
        Ok(Some((work, what)))
    }
}

enum HostPacked {
    Chunked(chunked::Packed),
    Windowed(windowed::Packed),
}

/// All that the kernel is given, on the host.
struct HostWork {
    packed: HostPacked,
    chunk_begin: Vec<i32>,
    lists: WorkLists,
    column_blocks: usize,
}

impl HostWork {
    fn new(
        a: &[f32],
        pattern: &Pattern,
        n: usize,
        variant: &Variant,
        workers: usize,
        threads: usize,
    ) -> Option<HostWork> {
        let (packed, clocks, mut chunk_begin, tile_cols, tile_clocks);
        match variant {
            Variant::Chunked(shape) => {
                tile_cols = chunked::TILE_COLS;
                tile_clocks = shape.tile_clocks();
                let most = variants::panel_nnz(pattern.nnz, n.div_ceil(tile_cols), workers);
                let mut arrays = shape.pack(a, pattern, most, threads);
                clocks = std::mem::take(&mut arrays.clocks);
                chunk_begin = std::mem::take(&mut arrays.chunk_begin);
                packed = HostPacked::Chunked(arrays);
            }
            Variant::Windowed(shape) => {
                tile_cols = windowed::TILE_COLS;
                tile_clocks = shape.tile_clocks();
                let most = variants::panel_nnz(pattern.nnz, n.div_ceil(tile_cols), workers);
                let mut arrays = shape.pack(a, pattern, most, threads)?;
                clocks = std::mem::take(&mut arrays.clocks);
                chunk_begin = std::mem::take(&mut arrays.chunk_begin);
                packed = HostPacked::Windowed(arrays);
            }
        }
        if chunk_begin.is_empty() {
            chunk_begin.push(0);
        }
        let column_blocks = n.div_ceil(tile_cols);
        let panels = chunk_begin.len() - 1;
        let steps_of = |panel: usize| (chunk_begin[panel + 1] - chunk_begin[panel]) as usize;
        let steps: Vec<usize> = (0..panels)
            .flat_map(|panel| std::iter::repeat_n(steps_of(panel), column_blocks))
            .collect();
        let weight = |tile: usize, step: usize| {
            let last = if step + 1 == steps[tile] { tile_clocks } else { 0 };
            clocks[chunk_begin[tile / column_blocks] as usize + step] + last
        };
        let lists = WorkLists::new(&steps, weight, workers, Dealing::Stretches, HANDOVER_CLOCKS);
        Some(HostWork { packed, chunk_begin, lists, column_blocks })
    }

    /// From the entries to the flags, in the kernel's order.
    fn upload(&self, device: &Arc<Device>, variant: &Variant) -> Result<Vec<Buffer>, CudaError> {
        let mut arrays = Vec::new();
        let partial_bytes = match (&self.packed, variant) {
            (HostPacked::Chunked(packed), Variant::Chunked(shape)) => {
                arrays.push(Buffer::from_slice(device, &packed.entries, "packed A")?);
                arrays.push(Buffer::from_slice(device, &packed.entry_begin, "pieces of A")?);
                arrays.push(Buffer::from_slice(device, &packed.k_runs, "runs of k")?);
                arrays.push(Buffer::from_slice(device, &packed.k_begin, "chunks")?);
                arrays.push(Buffer::from_slice(device, &self.chunk_begin, "chunks of panels")?);
                arrays.push(Buffer::from_slice(device, &packed.row_index, "rows")?);
                shape.partial_bytes()
            }
            (HostPacked::Windowed(packed), Variant::Windowed(shape)) => {
                arrays.push(Buffer::from_slice(device, &packed.entries, "packed A")?);
                arrays.push(Buffer::from_slice(device, &packed.chunks, "chunks")?);
                arrays.push(Buffer::from_slice(device, &self.chunk_begin, "chunks of panels")?);
                arrays.push(Buffer::from_slice(device, &packed.panel_groups, "groups")?);
                arrays.push(Buffer::from_slice(device, &packed.row_index, "rows")?);
                shape.partial_bytes()
            }
            _ => unreachable!("packed by this variant"),
        };
        arrays.push(Buffer::from_slice(device, &self.lists.encoded(), "segments")?);
        arrays.push(Buffer::from_slice(device, &self.lists.begin, "segments of workers")?);
        let slots = self.lists.slots;
        arrays.push(Buffer::new(device, slots * partial_bytes, "accumulators")?);
        arrays.push(Buffer::zeroed(device, slots * 4, "flags")?);
        Ok(arrays)
    }

    /// The kernel's arguments behind the column blocks.
    fn geometry(&self) -> Vec<i32> {
        let HostPacked::Windowed(packed) = &self.packed else { return Vec::new() };
        let windowed::Geometry { bk, ring, window, pieces, piece_bytes } = packed.geometry;
        [bk, ring, window, pieces, piece_bytes].map(|x| x as i32).into()
    }

    fn describe(&self, variant: &Variant) -> String {
        let panels = self.chunk_begin.len() - 1;
        let rows = match variant {
            Variant::Chunked(shape) => shape.panel_rows(),
            Variant::Windowed(shape) => shape.panel_rows(),
        };
        let window = match &self.packed {
            HostPacked::Chunked(_) => String::new(),
            HostPacked::Windowed(packed) => format!(
                ", {:.0} % of the entries used, {} of {} chunks of {} rows of V in use at a time",
                packed.used * 100.0,
                packed.geometry.window,
                packed.geometry.ring,
                packed.geometry.bk
            ),
        };
        let name = variant.name();
        format!("fused multiply-adds of non-zeros, {name}, {panels} panels of up to {rows}{window}")
    }
}

fn defines(variant: &Variant, abilities: &Abilities, output: Dtype) -> Vec<String> {
    let mut defines = match variant {
        Variant::Chunked(shape) => shape.defines(abilities.stages),
        Variant::Windowed(shape) => shape.defines(),
    };
    defines.extend(output_define(output));
    defines
}

/// All that [`SpmmA::pack`] may ask for.
pub(super) fn kernel_variants() -> impl Iterator<Item = KernelVariant> {
    const MINOR_MAX: i32 = 9;
    let mut all = Vec::new();
    for output in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        for (from, to) in [(8, 8), (9, 10), (11, i32::MAX)] {
            let Some(abilities) = Abilities::of((from, 0)) else { continue };
            let mut add = |source, entry, variant| {
                let defines = defines(&variant, &abilities, output);
                let capabilities = ((from, 0), (to, MINOR_MAX));
                all.push(KernelVariant { source, entry, defines, capabilities });
            };
            add(SPMM_CHAIN, "spmm_chain", Variant::Chunked(variants::SINGLE));
            add(SPMM_CHAIN, "spmm_chain", Variant::Chunked(variants::TRIPLE));
            if abilities.has_windows {
                add(SPMM_WINDOW, "spmm_window", Variant::Windowed(variants::WINDOW));
            }
        }
    }
    all.into_iter()
}

#[cfg(test)]
mod tests;
