//! Hopper's int8 tensor cores: integers as three digits of 8 bits, A's made when it is packed.

use std::sync::Arc;

use super::super::compile::Source;
use super::super::device::{Device, require_driver_function};
use super::super::error::CudaError;
use super::super::generic::require_i32;
use super::super::launch::{Arguments, Grid, Kernel};
use super::super::matrix::DeviceMatrix;
use super::super::memory::Buffer;
use super::super::variants::Variant;
use super::images::{BM, IMAGE, Images, Plan, STEP};
use super::work::Work;
use super::{HOPPER, OUTPUTS, Rows, output_defines};
use contract::dtype::Dtype;

const GEMM: Source = Source {
    name: "gemm_fixed_wgmma.cu",
    text: include_str!("../../../../kernels/gemm_fixed_wgmma.cu"),
};
const DIGITS: Source =
    Source { name: "fixed_digits.cu", text: include_str!("../../../../kernels/fixed_digits.cu") };

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
    /// The one for n columns: up to two tiles of the narrower ones.
    fn of(n: usize) -> Tile {
        match n {
            0..=8 => TILES[0],
            9..=64 => TILES[1],
            _ => TILES[2],
        }
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

/// Columns of V that one launch makes digits of.
pub(super) const COLUMNS_MAX: usize = 65_535 * 16;

/// A's digits for the kernel, and what a call needs.
pub(super) struct Digits {
    tile: Tile,
    gemm: Kernel,
    digits: Kernel,
    images: Images,
    v_images: Buffer,
    column_scale: Buffer,
    segments: Buffer,
    segment_begin: Buffer,
    partials: Buffer,
    flags: Buffer,
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
        require_driver_function("cuLaunchKernelEx")?;
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
        let slot = BM * tile.bn * 8;
        let columns = column_tiles * tile.bn;
        Ok(Digits {
            tile,
            gemm,
            digits,
            images: Images::new(device, rows, plan, threads)?,
            v_images: Buffer::new(device, columns * plan.v_steps * (3 * STEP), "digits of V")?,
            column_scale: Buffer::new(device, columns * 4, "scales of columns")?,
            segments: Buffer::from_slice(device, &work.encoded(&plan.first_image()), "segments")?,
            segment_begin: Buffer::from_slice(device, &work.begin, "segments of workers")?,
            partials: Buffer::new(device, work.slots * slot, "sums")?,
            flags: Buffer::zeroed(device, work.slots * 8, "flags")?,
            column_tiles,
            workers: workers as u32,
            slots: work.slots,
            row_tiles: plan.steps.len(),
        })
    }

    /// V and Y are of the shapes that this was made for.
    pub(super) fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let images = &self.images;
        let n = require_i32("columns of V", v.cols)?;
        let arguments = Arguments::new()
            .with(v.pointer())
            .with(images.k_list())
            .with(self.column_scale.pointer())
            .with(self.v_images.pointer())
            .with(require_i32("rows of V", v.rows)?)
            .with(n)
            .with(require_i32("columns of V", v.stride)?)
            .with(images.v_steps);
        let strips = self.column_tiles * self.tile.bn / self.tile.strip();
        let blocks = (CLUSTER as u32, strips as u32, 1);
        let threads = 8 * self.tile.strip() as u32;
        // SAFETY: arguments as at the kernel's head, sized in `new`; V's shape as it is; buffers live until the device is
        // done with them, because freeing is in stream order.
        unsafe { self.digits.launch(Grid { blocks, threads, shared_bytes: 0 }, &arguments)? };
        let arguments = Arguments::new()
            .with(images.a_images.pointer())
            .with(self.v_images.pointer())
            .with(images.v_step())
            .with(images.row_index.pointer())
            .with(images.row_scale.pointer())
            .with(self.column_scale.pointer())
            .with(images.dead_rows.pointer())
            .with(self.segments.pointer())
            .with(self.segment_begin.pointer())
            .with(y.pointer())
            .with(self.partials.pointer())
            .with(self.flags.pointer())
            .with(images.dead_count)
            .with(images.v_steps)
            .with(n)
            .with(require_i32("columns of Y", y.stride)?);
        let blocks = (self.workers, 1, 1);
        let shared_bytes = self.tile.shared_bytes();
        let grid = Grid { blocks, threads: 384, shared_bytes };
        // SAFETY: as above; all blocks are resident at once, and every row and step in A's arrays is one of Y and V. It waits
        // for the kernel before it as its head says, and that one for all others.
        unsafe { self.gemm.launch_early(grid, &arguments) }
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
            &self.v_images,
            &self.column_scale,
            &self.segments,
            &self.segment_begin,
            &self.partials,
            &self.flags,
        ];
        self.images.bytes() + held.into_iter().map(Buffer::bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::live::Selection;
    use super::super::super::live::row_index;
    use super::super::images::digits_at;
    use super::super::{LiveElements, scales};
    use super::*;
    use contract::arithmetic::fixed_point;
    use ndarray::Array2;

    /// Digits of an integer of V, the greatest first.
    fn digits_of(integer: i32) -> [i32; 3] {
        let least = (integer + 128).rem_euclid(256) - 128;
        let rest = (integer - least) / 256;
        let middle = (rest + 128).rem_euclid(256) - 128;
        [(rest - middle) / 256, middle, least]
    }

    /// Y from what the kernels are given, part by part, with five sums of 32 bits.
    fn emulate(
        a: &Array2<f32>,
        v: &Array2<f32>,
        plan: &Plan,
        bn: usize,
        workers: usize,
    ) -> Array2<f32> {
        let (m, n) = (a.nrows(), v.ncols());
        let rows = Rows { a: a.view(), scales: scales(a.view(), 1).expect("a short k") };
        let columns: Vec<(i32, Vec<i32>)> =
            v.columns().into_iter().map(|v| fixed_point::integers(&v.to_vec())).collect();
        let index = row_index(&plan.rows, BM);
        let (images, first) = (plan.pack(&rows, &index, 2), plan.first_image());
        let work = Work::new(&plan.steps, n.div_ceil(bn), workers);
        let listed = plan.listed.as_ref().map(|listed| listed.concat());
        let mut y = Array2::from_elem((m, n), f32::NAN);
        plan.dead_rows.iter().for_each(|&row| y.row_mut(row as usize).fill(0.0));
        let mut slots: Vec<Vec<i64>> = vec![Vec::new(); work.slots];
        // In order of index no worker waits.
        for part in work.encoded(&first).chunks_exact(8) {
            let [row_tile, column_tile, image, step, steps] =
                [0, 1, 2, 3, 4].map(|i| part[i] as usize);
            let (to, from) = (part[5], part[6] as usize..(part[6] + part[7]) as usize);
            let mut sums = vec![0i64; BM * bn];
            for (i, sum) in sums.iter_mut().enumerate() {
                let (r, column) = (i / bn, column_tile * bn + i % bn);
                let Some((_, of_v)) = columns.get(column) else { continue };
                let mut acc = [0i32; 5];
                for s in 0..steps {
                    let v_step =
                        listed.as_ref().map_or(step + s, |listed| listed[image + s] as usize);
                    let of_a = &images[(image + s) * IMAGE..][..IMAGE];
                    for at in 0..STEP {
                        let k = v_step * STEP + at;
                        let k = match &plan.k_list {
                            Some(list) => list.get(k).map(|k| *k as usize),
                            None => Some(k),
                        };
                        let Some(&x) = k.and_then(|k| of_v.get(k)) else { continue };
                        let (p, q) = (digits_at(of_a, r, at), digits_of(x));
                        for i in 0..3 {
                            for j in 0..3 {
                                acc[i + j] += p[i] * q[j];
                            }
                        }
                    }
                }
                *sum = acc.iter().fold(0, |sum, &acc| sum * 256 + i64::from(acc));
            }
            if to >= 0 {
                slots[to as usize] = sums;
                continue;
            }
            for other in &slots[from] {
                sums.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
            }
            let scale = rows.scales_of(&index[row_tile * BM..][..BM]);
            for (i, &sum) in sums.iter().enumerate() {
                let (r, column) = (i / bn, column_tile * bn + i % bn);
                let row = index[row_tile * BM + r];
                if row >= 0 && column < n {
                    let exponent = -(scale[r] + columns[column].0);
                    y[[row as usize, column]] = fixed_point::scaled(sum.into(), exponent) + 0.0;
                }
            }
        }
        y
    }

    #[test]
    fn what_the_kernels_are_given_makes_y() {
        let value = |i: usize, j: usize| {
            let x = (i * 7919 + j * 104_729) % 65_521;
            (x as f32 / 65_521.0 - 0.5) * 2f32.powi((i + 3 * j) as i32 % 9)
        };
        let (m, k, n) = (150, 300, 9);
        let patterns: [fn(usize, usize) -> bool; 6] = [
            |_, _| true,
            |i, _| i % 3 != 1,
            |_, j| j % 3 != 1,
            |i, j| (i / 64 + j / 128).is_multiple_of(3),
            |i, j| i % 4 != 0 && (i * 5 + j * 3).is_multiple_of(2300),
            |i, j| (i, j) == (149, 299),
        ];
        let v = Array2::from_shape_fn((k, n), |(i, j)| value(j, i));
        for is_live in patterns {
            let a = Array2::from_shape_fn(
                (m, k),
                |(i, j)| if is_live(i, j) { value(i, j) } else { 0.0 },
            );
            let want = Array2::from_shape_fn((m, n), |(i, j)| {
                fixed_point::dot(&a.row(i).to_vec(), &v.column(j).to_vec()) + 0.0
            });
            let live = LiveElements::of(a.view(), 1);
            let mut steps = Vec::new();
            for selection in Selection::EVERY.map(Some).into_iter().chain([None]) {
                let plan = Plan::new(&live, selection);
                steps.push(plan.work());
                for workers in [1, 5] {
                    let y = emulate(&a, &v, &plan, 8, workers);
                    let same = y.iter().zip(&want).all(|(y, want)| y.to_bits() == want.to_bits());
                    assert!(same, "{selection:?}, {workers} workers");
                }
            }
            // Lists leave out more, the longer they are; the choice is one of them.
            assert!(
                steps[..4].is_sorted_by(|a, b| a >= b) && steps[..4].contains(&steps[4]),
                "{steps:?}"
            );
        }
    }

    #[test]
    fn stages_fit_a_multiprocessor() {
        // What a block of compute capability 9.0 may have.
        assert!(TILES.iter().all(|tile| tile.shared_bytes() <= 232_448));
    }
}
