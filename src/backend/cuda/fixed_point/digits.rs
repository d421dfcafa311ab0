//! Hopper's int8 tensor cores: integers as three digits of 8 bits, A's made when it is packed.

use std::sync::Arc;

use super::super::compile::Source;
use super::super::device::Device;
use super::super::error::CudaError;
use super::super::generic::require_i32;
use super::super::launch::{Arguments, Grid, Kernel};
use super::super::live::{Selection, row_index};
use super::super::matrix::DeviceMatrix;
use super::super::memory::Buffer;
use super::super::variants::Variant;
use super::work::Work;
use super::{HOPPER, LiveElements, OUTPUTS, Rows, output_defines};
use contract::dtype::Dtype;
use contract::threads;

const GEMM: Source = Source {
    name: "gemm_fixed_wgmma.cu",
    text: include_str!("../../../../kernels/gemm_fixed_wgmma.cu"),
};
const DIGITS: Source =
    Source { name: "fixed_digits.cu", text: include_str!("../../../../kernels/fixed_digits.cu") };

/// Rows of a tile.
const BM: usize = 128;
/// k of a step.
pub(super) const STEP: usize = 128;
/// Bytes of the image of a step of a tile of A.
const IMAGE: usize = 3 * BM * STEP;
/// Blocks that share columns of V while they look for the largest magnitudes.
const CLUSTER: usize = 8;
/// Steps of V that a block keeps in registers where all fit.
const KEPT: usize = 4;

/// Columns of a tile, and stages of the loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    bn: usize,
    stages: usize,
}

const TILES: [Tile; 3] =
    [Tile { bn: 8, stages: 4 }, Tile { bn: 32, stages: 3 }, Tile { bn: 64, stages: 3 }];

impl Tile {
    /// The least that holds n columns, or the widest.
    fn of(n: usize) -> Tile {
        TILES.into_iter().find(|tile| n <= tile.bn).unwrap_or(TILES[TILES.len() - 1])
    }

    fn gemm_defines(self, output: Dtype) -> Vec<String> {
        let own = [format!("BN={}", self.bn), format!("STAGES={}", self.stages)];
        own.into_iter().chain(output_defines(output)).collect()
    }

    fn digits_defines(self, kept: usize) -> Vec<String> {
        vec![format!("BN={}", self.bn), format!("KEPT={kept}")]
    }

    fn shared_bytes(self) -> u32 {
        (1024 + 2048 + self.stages * (IMAGE + 3 * STEP * self.bn)) as u32
    }

    /// Columns that a cluster looks at.
    fn strip(self) -> usize {
        self.bn.min(16)
    }
}

pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let variant =
        |source, entry, defines| Variant { source, entry, defines, capabilities: (HOPPER, HOPPER) };
    TILES.into_iter().flat_map(move |tile| {
        let gemm = OUTPUTS
            .into_iter()
            .map(move |output| variant(GEMM, "gemm_fixed_wgmma", tile.gemm_defines(output)));
        let digits =
            [0, KEPT].map(|kept| variant(DIGITS, "fixed_digits", tile.digits_defines(kept)));
        gemm.chain(digits)
    })
}

/// What of A is multiplied: rows in tiles of 128, k in steps of 128.
pub(super) struct Plan {
    pub selection: Selection,
    rows: Vec<i32>,
    dead_rows: Vec<i32>,
    /// The k that are packed, ascending; `None` where all are in place.
    k_list: Option<Vec<i32>>,
    /// The steps of packed k.
    v_steps: usize,
    /// The steps of each tile; without any, every tile has all of them.
    listed: Option<Vec<Vec<i32>>>,
    /// How many each tile has.
    pub steps: Vec<usize>,
}

impl Plan {
    /// Without a `wanted` selection the one of the fewest steps. There are none where nothing is live.
    pub(super) fn new(live: &LiveElements, wanted: Option<Selection>) -> Plan {
        if let Some(selection) = wanted {
            return Plan::of(live, selection);
        }
        let mut best = Plan::of(live, Selection::All);
        for selection in &Selection::EVERY[1..] {
            let plan = Plan::of(live, *selection);
            // Lists have their price, in V's preparation above all.
            let price = if selection.is_grouped() { plan.work() / 8 } else { 0 };
            if plan.work() + price < best.work() {
                best = plan;
            }
        }
        best
    }

    fn of(live: &LiveElements, selection: Selection) -> Plan {
        let (rows, dead_rows) = live.rows(selection);
        let all = live.k.div_ceil(STEP);
        let mut plan = Plan {
            selection,
            rows,
            dead_rows,
            k_list: None,
            v_steps: all,
            listed: None,
            steps: Vec::new(),
        };
        if selection.is_grouped() {
            let list = live.of_rows(&plan.rows);
            let packed = list.len().div_ceil(STEP);
            if packed < all {
                plan.v_steps = packed;
                plan.k_list = Some(list);
            }
        }
        if selection == Selection::Tiles {
            let place = places(live.k, plan.k_list.as_deref());
            let of_tile = |rows: &[i32]| {
                let steps = live.of_rows(rows).into_iter().map(|k| place[k as usize] / STEP as i32);
                let mut steps: Vec<i32> = steps.collect();
                steps.dedup();
                steps
            };
            plan.listed = Some(plan.rows.chunks(BM).map(of_tile).collect());
        }
        plan.steps = match &plan.listed {
            Some(listed) => listed.iter().map(Vec::len).collect(),
            None => vec![plan.v_steps; plan.rows.len().div_ceil(BM)],
        };
        if plan.work() == 0 {
            plan.steps.clear();
        }
        plan
    }

    /// Steps of all tiles.
    fn work(&self) -> usize {
        self.steps.iter().sum()
    }

    /// The first image of each tile.
    fn first_image(&self) -> Vec<usize> {
        let mut first = 0;
        let before = |steps: &usize| {
            first += steps;
            first - steps
        };
        self.steps.iter().map(before).collect()
    }

    /// The kernel's `a_images`.
    fn pack(&self, rows: &Rows<'_>, row_index: &[i32], threads: usize) -> Vec<u8> {
        let mut packed = vec![0; self.work() * IMAGE];
        let mut rest = &mut packed[..];
        let mut tiles = Vec::with_capacity(self.steps.len());
        for steps in &self.steps {
            let (tile, after) = std::mem::take(&mut rest).split_at_mut(steps * IMAGE);
            tiles.push(tile);
            rest = after;
        }
        let k = rows.a.ncols();
        threads::fill(threads, &mut tiles, 1, |tile, packed| {
            let (mut integers, mut line) = (vec![0; k], vec![0; self.v_steps * STEP]);
            for packed in packed {
                for (r, &row) in row_index[tile * BM..][..BM].iter().enumerate() {
                    let Ok(row) = usize::try_from(row) else { continue };
                    rows.integers(row, &mut integers);
                    match &self.k_list {
                        Some(list) => {
                            line.iter_mut()
                                .zip(list)
                                .for_each(|(to, &k)| *to = integers[k as usize]);
                        }
                        None => line[..k].copy_from_slice(&integers),
                    }
                    for (i, image) in packed.chunks_exact_mut(IMAGE).enumerate() {
                        let step = match &self.listed {
                            Some(listed) => listed[tile][i] as usize,
                            None => i,
                        };
                        pack_row(r, &line[step * STEP..][..STEP], image);
                    }
                }
            }
        });
        packed
    }
}

/// Where each k is among the packed ones.
fn places(k: usize, list: Option<&[i32]>) -> Vec<i32> {
    let Some(list) = list else { return (0..k as i32).collect() };
    let mut place = vec![0; k];
    list.iter().zip(0..).for_each(|(&k, at)| place[k as usize] = at);
    place
}

/// The digits of row `r` of an image, as the fragments of wgmma have them.
fn pack_row(r: usize, integers: &[i32], image: &mut [u8]) {
    let (warp, below) = (r / 16, r % 16);
    for (group, four) in integers.chunks_exact(4).enumerate() {
        let (quarter, inside) = (group / 8, group % 8);
        let lane = below % 8 * 4 + inside % 4;
        let word = below / 8 + inside / 4 * 2;
        for (i, &integer) in four.iter().enumerate() {
            // Three digits with a sign, the least in the lowest byte.
            let digits = ((integer + 0x80_8080) ^ 0x80_8080).to_le_bytes();
            for d in 0..3 {
                let at = ((warp * 4 + quarter) * 3 + d) * 512 + lane * 16 + word * 4 + i;
                image[at] = digits[2 - d];
            }
        }
    }
}

/// A's digits for the kernel, and what a call needs.
pub(super) struct Digits {
    tile: Tile,
    gemm: Kernel,
    digits: Kernel,
    a_images: Buffer,
    v_images: Buffer,
    k_list: Option<Buffer>,
    v_step: Option<Buffer>,
    row_index: Buffer,
    row_scale: Buffer,
    column_scale: Buffer,
    dead_rows: Buffer,
    segments: Buffer,
    segment_begin: Buffer,
    partials: Buffer,
    flags: Buffer,
    dead_count: i32,
    v_steps: i32,
    column_tiles: usize,
    workers: u32,
    slots: usize,
    row_tiles: usize,
}

impl Digits {
    /// The plan has steps.
    pub(super) fn new(
        device: &Arc<Device>,
        rows: &Rows<'_>,
        n: usize,
        output: Dtype,
        plan: &Plan,
        threads: usize,
    ) -> Result<Digits, CudaError> {
        let tile = Tile::of(n);
        let (shared, defines) = (tile.shared_bytes(), tile.gemm_defines(output));
        let gemm = Kernel::new(device, GEMM, &defines, "gemm_fixed_wgmma", shared)?;
        let fits = plan.k_list.is_none() && plan.v_steps.div_ceil(CLUSTER) <= KEPT;
        let defines = tile.digits_defines(if fits { KEPT } else { 0 });
        let digits = Kernel::new(device, DIGITS, &defines, "fixed_digits", 0)?;
        let each = gemm.blocks_per_multiprocessor(384, shared)?;
        let workers = device.info.multiprocessors * each;
        if workers == 0 {
            return Err(CudaError::new(
                "cuOccupancyMaxActiveBlocksPerMultiprocessor",
                "the kernel does not fit on this device",
                format!("{tile:?}"),
            ));
        }
        let column_tiles = n.div_ceil(tile.bn);
        require_i32("tiles", plan.steps.len().saturating_mul(column_tiles))?;
        require_i32("images", plan.work())?;
        let work = Work::new(&plan.steps, column_tiles, workers);
        require_i32("slots", work.slots)?;
        let index = row_index(&plan.rows, BM);
        let k_list = plan.k_list.as_ref().map(|list| {
            let mut list = list.clone();
            list.resize(plan.v_steps * STEP, -1);
            list
        });
        let v_step = plan.listed.as_ref().map(|listed| listed.concat());
        let of = |list: Option<Vec<i32>>, what| {
            list.map(|list| Buffer::from_slice(device, &list, what)).transpose()
        };
        let slot = BM * tile.bn * 8;
        let columns = column_tiles * tile.bn;
        Ok(Digits {
            tile,
            gemm,
            digits,
            a_images: Buffer::from_slice(device, &plan.pack(rows, &index, threads), "packed A")?,
            v_images: Buffer::new(device, columns * plan.v_steps * (3 * STEP), "digits of V")?,
            k_list: of(k_list, "k")?,
            v_step: of(v_step, "steps")?,
            row_scale: Buffer::from_slice(device, &rows.scales_of(&index), "scales of rows")?,
            row_index: Buffer::from_slice(device, &index, "rows")?,
            column_scale: Buffer::new(device, columns * 4, "scales of columns")?,
            dead_rows: Buffer::from_slice(device, &plan.dead_rows, "dead rows")?,
            segments: Buffer::from_slice(device, &work.encoded(&plan.first_image()), "segments")?,
            segment_begin: Buffer::from_slice(device, &work.begin, "segments of workers")?,
            partials: Buffer::new(device, work.slots * slot, "sums")?,
            flags: Buffer::zeroed(device, work.slots * 8, "flags")?,
            dead_count: require_i32("rows", plan.dead_rows.len())?,
            v_steps: require_i32("steps", plan.v_steps)?,
            column_tiles,
            workers: workers as u32,
            slots: work.slots,
            row_tiles: plan.steps.len(),
        })
    }

    /// V and Y are of the shapes that this was made for.
    pub(super) fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let pointer = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, Buffer::pointer);
        let n = require_i32("columns of V", v.cols)?;
        let arguments = Arguments::new()
            .with(v.pointer())
            .with(pointer(&self.k_list))
            .with(self.column_scale.pointer())
            .with(self.v_images.pointer())
            .with(require_i32("rows of V", v.rows)?)
            .with(n)
            .with(require_i32("columns of V", v.stride)?)
            .with(self.v_steps);
        let strips = self.column_tiles * self.tile.bn / self.tile.strip();
        let blocks = (CLUSTER as u32, strips as u32, 1);
        let threads = 8 * self.tile.strip() as u32;
        // SAFETY: arguments as at the kernel's head, sized in `new`; V's shape as it is; buffers live until the device is
        // done with them, because freeing is in stream order.
        unsafe { self.digits.launch(Grid { blocks, threads, shared_bytes: 0 }, &arguments)? };
        let arguments = Arguments::new()
            .with(self.a_images.pointer())
            .with(self.v_images.pointer())
            .with(pointer(&self.v_step))
            .with(self.row_index.pointer())
            .with(self.row_scale.pointer())
            .with(self.column_scale.pointer())
            .with(self.dead_rows.pointer())
            .with(self.segments.pointer())
            .with(self.segment_begin.pointer())
            .with(y.pointer())
            .with(self.partials.pointer())
            .with(self.flags.pointer())
            .with(self.dead_count)
            .with(self.v_steps)
            .with(n)
            .with(require_i32("columns of Y", y.stride)?);
        let blocks = (self.workers, 1, 1);
        let shared_bytes = self.tile.shared_bytes();
        // SAFETY: as above; all blocks are resident at once, and every row and step in A's arrays is one of Y and V.
        unsafe { self.gemm.launch(Grid { blocks, threads: 384, shared_bytes }, &arguments) }
    }

    pub(super) fn description(&self) -> String {
        format!(
            "int8 tensor cores by wgmma, {} tiles 128 x {}, {} sums handed on",
            self.row_tiles * self.column_tiles,
            self.tile.bn,
            self.slots
        )
    }

    pub(super) fn bytes_held(&self) -> usize {
        let held = [
            &self.a_images,
            &self.v_images,
            &self.row_index,
            &self.row_scale,
            &self.column_scale,
            &self.dead_rows,
            &self.segments,
            &self.segment_begin,
            &self.partials,
            &self.flags,
        ];
        held.into_iter().chain(&self.k_list).chain(&self.v_step).map(Buffer::bytes).sum()
    }
}
