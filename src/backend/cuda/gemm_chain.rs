//! Chains of fused multiply-adds on tiles: dense, without dead rows, without dead columns.

mod layout;
mod variants;

use std::sync::Arc;

use ndarray::ArrayView2;

use self::layout::{LiveElements, RowTiles};
use self::variants::{Build, Choice, HANDOVER_NS, Target, VARIANTS};
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
use contract::dtype::Dtype;

const GEMM_CHAIN: Source =
    Source { name: "gemm_chain.cu", text: include_str!("../../../kernels/gemm_chain.cu") };

/// How A (m x k) would be held for V of n columns, and what that is estimated to take.
pub struct ChainPlan {
    shape: (usize, usize, usize),
    live: LiveElements,
    choice: Choice,
    target: Target,
    threads: usize,
}

impl ChainPlan {
    /// Looks at A. Without a `wanted` selection the one is taken that is estimated to be fastest.
    pub fn new(
        device: &Device,
        a: ArrayView2<'_, f32>,
        n: usize,
        wanted: Option<Selection>,
    ) -> Result<ChainPlan, CudaError> {
        let (m, k) = a.dim();
        for (what, value) in [("rows", m), ("columns", k), ("columns of V", n)] {
            // With room for whole steps and tiles.
            require_i32(what, value.saturating_add(256))?;
        }
        let target = Target {
            capability: device.compute_capability(),
            multiprocessors: device.info.multiprocessors,
            shared_bytes: device.shared_bytes_max()?,
            clock_khz: device.info.clock_khz_max,
        };
        let threads = packing_threads(a.len());
        let live = LiveElements::of(a, threads);
        let choice = variants::choose(&live, n, &target, wanted).ok_or_else(|| {
            CudaError::new("choosing a kernel", "none fits this device", format!("{target:?}"))
        })?;
        Ok(ChainPlan { shape: (m, k, n), live, choice, target, threads })
    }

    pub fn selection(&self) -> Selection {
        self.choice.selection
    }

    /// Time of a launch, as the choice sees it.
    pub fn estimate_ns(&self) -> u64 {
        self.choice.estimate_ns
    }

    /// Non-zeros of A.
    pub fn non_zeros(&self) -> usize {
        self.live.count()
    }

    /// The estimates of all selections that were looked at, in words.
    pub fn estimates(&self) -> String {
        estimates_text(&self.choice.estimates_ns)
    }
}

/// A (m x k) packed in tiles for chains, for V of n columns.
pub struct ChainA {
    shape: (usize, usize, usize),
    output: Dtype,
    /// `None` where Y is zeros only.
    work: Option<Work>,
}

struct Work {
    build: Build,
    kernel: Kernel,
    grid: Grid,
    tiles: usize,
    slots: usize,
    is_listed: bool,
    a_packed: Buffer,
    row_index: Buffer,
    k_list: Option<Buffer>,
    first_step: Buffer,
    segments: Buffer,
    segment_begin: Buffer,
    partials: Buffer,
    flags: Buffer,
    dead_rows: Buffer,
    dead_count: i32,
    column_tiles: i32,
}

impl ChainA {
    /// Packs A as planned, and takes all the memory that launching needs. `a` is the plan's.
    pub fn pack(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        plan: &ChainPlan,
        output: Dtype,
    ) -> Result<ChainA, CudaError> {
        let (m, k, n) = plan.shape;
        assert_eq!(a.dim(), (m, k), "the caller planned for this A");
        let mut built = ChainA { shape: plan.shape, output, work: None };
        if m > 0 && n > 0 && k > 0 {
            let build = plan.choice.build;
            let tile = (build.variant.bm(), build.variant.bk);
            let tiles = RowTiles::new(&plan.live, plan.choice.selection, build.is_listed, tile);
            if !tiles.counts.is_empty() {
                built.work = Some(Work::new(device, a, plan, &tiles, output)?);
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
        let variant = work.build.variant;
        let v_map = match work.build.stages {
            Some(_) if !work.is_listed => {
                tensor_map::encode(v, (variant.bk, variant.bn()), Swizzle::None)?
            }
            // Not looked at.
            _ => [0; 16],
        };
        let arguments = Arguments::new()
            .with(v_map)
            .with(work.a_packed.pointer())
            .with(v.pointer())
            .with(y.pointer())
            .with(work.row_index.pointer())
            .with(work.k_list.as_ref().map_or(0, Buffer::pointer))
            .with(work.first_step.pointer())
            .with(work.segments.pointer())
            .with(work.segment_begin.pointer())
            .with(work.partials.pointer())
            .with(work.flags.pointer())
            .with(work.dead_rows.pointer())
            .with(work.dead_count)
            .with(require_i32("columns of A", k)?)
            .with(require_i32("columns of V", n)?)
            .with(require_i32("columns of V", v.stride)?)
            .with(require_i32("columns of Y", y.stride)?)
            .with(work.column_tiles);
        // SAFETY: arguments as at the kernel's head, sized in `Work::new`; shapes were checked; the
        // grid is resident at once; buffers live until the device is done with them, because freeing
        // is in stream order.
        unsafe { work.kernel.launch(work.grid, &arguments) }
    }

    /// What computes Y.
    pub fn description(&self) -> String {
        let Some(work) = &self.work else { return "there is nothing to multiply".into() };
        let variant = work.build.variant;
        format!(
            "{} tiles {} x {}, {} workers, {} hand-overs",
            work.tiles,
            variant.bm(),
            variant.bn(),
            work.grid.blocks.0,
            work.slots
        )
    }

    pub fn bytes_held(&self) -> usize {
        let Some(work) = &self.work else { return 0 };
        let held = [
            &work.a_packed,
            &work.row_index,
            &work.first_step,
            &work.segments,
            &work.segment_begin,
            &work.partials,
            &work.flags,
            &work.dead_rows,
        ];
        held.into_iter().chain(&work.k_list).map(Buffer::bytes).sum()
    }
}

impl Work {
    /// There is something to multiply.
    fn new(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        plan: &ChainPlan,
        tiles: &RowTiles,
        output: Dtype,
    ) -> Result<Work, CudaError> {
        let build = plan.choice.build;
        let variant = build.variant;
        if build.stages.is_some() && !build.is_listed {
            require_driver_function("cuTensorMapEncodeTiled")?;
        }
        let (threads, shared_bytes) = (build.threads(), build.shared_bytes());
        let kernel =
            Kernel::new(device, GEMM_CHAIN, &defines(&build, output), "gemm_chain", shared_bytes)?;
        let fitting = kernel.blocks_per_multiprocessor(threads, shared_bytes)?;
        if fitting == 0 {
            return Err(CudaError::new(
                "cuOccupancyMaxActiveBlocksPerMultiprocessor",
                "the kernel does not fit on this device",
                format!("{build:?}"),
            ));
        }
        let column_tiles = plan.shape.2.div_ceil(variant.bn());
        let tile_count = tiles.counts.len().saturating_mul(column_tiles);
        require_i32("tiles", tile_count)?;
        require_i32("steps", tiles.steps_in_all())?;
        let workers = plan.target.multiprocessors.min(tile_count);
        let step_ns = build.step_ns(plan.target.clock_khz);
        let lists = work_lists(tiles, column_tiles, workers, step_ns);
        let first: Vec<i32> = tiles.first_step().into_iter().map(|step| step as i32).collect();
        let packed = tiles.pack(a, plan.threads);
        let k_list = tiles
            .k_list
            .as_ref()
            .map(|list| Buffer::from_slice(device, list, "lists of k"))
            .transpose()?;
        Ok(Work {
            build,
            kernel,
            grid: Grid { blocks: (workers as u32, 1, 1), threads, shared_bytes },
            tiles: tile_count,
            slots: lists.slots,
            is_listed: build.is_listed,
            a_packed: Buffer::from_slice(device, &packed, "packed A")?,
            row_index: Buffer::from_slice(device, &tiles.row_index, "rows")?,
            k_list,
            first_step: Buffer::from_slice(device, &first, "first steps")?,
            segments: Buffer::from_slice(device, &lists.encoded(), "segments")?,
            segment_begin: Buffer::from_slice(device, &lists.begin, "segments of workers")?,
            partials: Buffer::new(
                device,
                lists.slots * variant.bm() * variant.bn() * 4,
                "accumulators",
            )?,
            flags: Buffer::zeroed(device, lists.slots * 4, "flags")?,
            dead_rows: Buffer::from_slice(device, &tiles.dead_rows, "dead rows")?,
            dead_count: require_i32("rows", tiles.dead_rows.len())?,
            column_tiles: require_i32("tiles", column_tiles)?,
        })
    }
}

fn defines(build: &Build, output: Dtype) -> Vec<String> {
    build.defines().into_iter().chain(output_define(output)).collect()
}

/// Who computes what: tile t is row tile t / column_tiles.
fn work_lists(tiles: &RowTiles, column_tiles: usize, workers: usize, step_ns: u64) -> WorkLists {
    let columns = |steps| std::iter::repeat_n(steps, column_tiles);
    let steps: Vec<usize> = tiles.steps().flat_map(columns).collect();
    WorkLists::new(&steps, |_, _| step_ns, workers, Dealing::Rounds, HANDOVER_NS)
}

/// All that [`ChainA::pack`] may ask for, on devices as they are sold.
pub(super) fn kernel_variants() -> impl Iterator<Item = KernelVariant> {
    // Shared memory decides how many stages there are.
    let families = [
        (((0, 0), (8, 9)), usize::MAX),
        (((9, 0), (11, i32::MAX)), 232_448),
        (((12, 0), (i32::MAX, 0)), 101_376),
    ];
    let mut all: Vec<KernelVariant> = Vec::new();
    for (capabilities, shared_bytes) in families {
        let capability = capabilities.0;
        let target = Target { capability, shared_bytes, multiprocessors: 1, clock_khz: 0 };
        for variant in &VARIANTS {
            for selection in [Selection::All, Selection::Tiles] {
                let Some(build) = variant.build(selection, &target) else { continue };
                for output in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
                    let (source, entry) = (GEMM_CHAIN, "gemm_chain");
                    let defines = defines(&build, output);
                    // Lists of k need no kernel of their own where as many warps move data.
                    if !all.iter().any(|v| v.defines == defines) {
                        all.push(KernelVariant { source, entry, defines, capabilities });
                    }
                }
            }
        }
    }
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use contract::arithmetic::Slices;
    use ndarray::Array2;

    /// What the kernel does with its arguments, on the host: worker by worker, each in one go, which
    /// serves because every wait is for a worker of lower index.
    fn emulate(
        a: &Array2<f32>,
        v: &Array2<f32>,
        tiles: &RowTiles,
        tile_cols: usize,
        workers: usize,
    ) -> Array2<f32> {
        let (k, n) = v.dim();
        let (tile_rows, step_k) = (tiles.tile_rows, tiles.step_k);
        let column_tiles = n.div_ceil(tile_cols);
        let lists = work_lists(tiles, column_tiles, workers, 3000);
        let packed = tiles.pack(a.view(), 2);
        let first_step = tiles.first_step();
        let mut y = Array2::from_elem((a.nrows(), n), f32::NAN);
        tiles.dead_rows.iter().for_each(|&i| y.row_mut(i as usize).fill(0.0));
        let mut partials = vec![Vec::new(); lists.slots];
        for segment in &lists.segments {
            let tile = segment.tile as usize;
            let (row_tile, first_col) = (tile / column_tiles, tile % column_tiles * tile_cols);
            let mut acc = match segment.from {
                -1 => vec![0.0f32; tile_rows * tile_cols],
                slot => std::mem::take(&mut partials[slot as usize]),
            };
            for step in segment.step_begin as usize..segment.step_end as usize {
                let image = first_step[row_tile] + step;
                for at in 0..step_k {
                    let k_at = match &tiles.k_list {
                        Some(list) => list[image * step_k + at] as usize,
                        None => step * step_k + at,
                    };
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let col = first_col + i % tile_cols;
                        let of_a = packed[(image * step_k + at) * tile_rows + i / tile_cols];
                        let of_v = if k_at < k && col < n { v[[k_at, col]] } else { 0.0 };
                        *acc = of_a.mul_add(of_v, *acc);
                    }
                }
            }
            if segment.to >= 0 {
                partials[segment.to as usize] = acc;
                continue;
            }
            for (i, acc) in acc.into_iter().enumerate() {
                let row = tiles.row_index[row_tile * tile_rows + i / tile_cols];
                let col = first_col + i % tile_cols;
                if row >= 0 && col < n {
                    y[[row as usize, col]] = acc + 0.0;
                }
            }
        }
        y
    }

    #[test]
    fn what_the_kernel_is_given_makes_y() {
        let value = |i: usize, j: usize| {
            let x = (i * 7919 + j * 104_729) % 65_521;
            (x as f32 / 65_521.0 - 0.5) * 2f32.powi((i + j) as i32 % 5)
        };
        let (m, k, n) = (75, 230, 37);
        let patterns: [fn(usize, usize) -> bool; 5] = [
            |_, _| true,
            |i, _| i % 3 != 1,
            |_, j| j % 3 != 1,
            |i, j| (i / 16 + j / 16).is_multiple_of(3),
            |i, j| i % 4 != 0 && (i * 5 + j * 3).is_multiple_of(23),
        ];
        let v = Array2::from_shape_fn((k, n), |(i, j)| value(j, i));
        for is_live in patterns {
            let a = |(i, j)| if is_live(i, j) { value(i, j) } else { 0.0 };
            let a = Array2::from_shape_fn((m, k), a);
            let want = Array2::from_shape_fn((m, n), |(i, j)| {
                let chain = |y: f32, k: usize| a[[i, k]].mul_add(v[[k, j]], y);
                (0..k).fold(0.0, chain) + 0.0
            });
            let live = LiveElements::of(a.view(), 1);
            for selection in Selection::EVERY {
                for is_listed in [false, true] {
                    let tiles = RowTiles::new(&live, selection, is_listed, (16, 8));
                    for workers in [1, 4, 7, 100] {
                        let y = emulate(&a, &v, &tiles, 8, workers);
                        let same =
                            y.iter().zip(&want).all(|(y, want)| y.to_bits() == want.to_bits());
                        assert!(same, "{selection:?}, {workers} workers, listed {is_listed}");
                    }
                }
            }
        }
    }

    /// Each tile with and without lists of k, whichever the estimates would take; small matrices never get wide ones.
    #[test]
    fn every_variant_runs_on_a_device() {
        let Some(device) = Device::for_tests() else { return };
        let value = |i: usize, j: usize| {
            let x = (i * 7919 + j * 104_729) % 65_521;
            (x as f32 / 65_521.0 - 0.5) * 2f32.powi((i + j) as i32 % 5)
        };
        // The second and the last have more tiles than a device has multiprocessors, but for the widest: some are handed on.
        for (m, k, n) in [(203, 571, 67), (3001, 331, 1000), (70, 40, 130), (9000, 96, 1100)] {
            let live = |i: usize, j: usize| i % 7 != 3 && (i / 32 + j / 16) % 3 != 1;
            let a = |(i, j)| if live(i, j) { value(i, j) } else { 0.0 };
            let a = Array2::from_shape_fn((m, k), a);
            let v = Array2::from_shape_fn((k, n), |(i, j)| value(j + 1000, i));
            let columns: Vec<Vec<f32>> = v.columns().into_iter().map(|x| x.to_vec()).collect();
            let want = Array2::from_shape_fn((m, n), |(i, j)| {
                let row = a.row(i);
                let row = row.as_slice().expect("made row-major");
                contract::arithmetic::chain::dot(Slices::One, row, &columns[j]) + 0.0
            });
            let there = DeviceMatrix::upload(&device, v.view(), Dtype::F32, "V").expect("V fits");
            let mut served = 0;
            for selection in [Selection::LiveRows, Selection::Tiles] {
                for variant in &VARIANTS {
                    let mut plan = ChainPlan::new(&device, a.view(), n, Some(selection))
                        .expect("some variant serves");
                    let Some(build) = variant.build(selection, &plan.target) else { continue };
                    plan.choice.build = build;
                    let packed = ChainA::pack(&device, a.view(), &plan, Dtype::F32);
                    let packed = packed.expect("it builds");
                    let mut y =
                        DeviceMatrix::new(&device, (m, n), Dtype::F32, "Y").expect("Y fits");
                    // Flags are lowered by whoever waited for them, and a race is lost now and then only.
                    for _ in 0..8 {
                        y.poison().expect("it runs");
                        packed.launch(&there, &mut y).expect("it runs");
                        let got = y.read().expect("it ran");
                        let differ =
                            got.iter().zip(&want).filter(|(y, w)| y.to_bits() != w.to_bits());
                        assert_eq!(differ.count(), 0, "{build:?}, {m} x {k} x {n}");
                    }
                    served += 1;
                }
            }
            let name = &device.info.name;
            let _ = writeln!(std::io::stderr(), "{served} variants on {name}: {m} x {k} x {n}");
            assert!(served >= 4, "{m} x {k} x {n}");
        }
    }
}
