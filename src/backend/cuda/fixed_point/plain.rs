//! Any device: integers in 64 bits, V's made where they are loaded.

use std::sync::Arc;

use super::super::compile::Source;
use super::super::device::Device;
use super::super::error::CudaError;
use super::super::generic::require_i32;
use super::super::launch::{Arguments, Grid, Kernel};
use super::super::live::{Selection, row_index};
use super::super::matrix::DeviceMatrix;
use super::super::memory::Buffer;
use super::super::variants::{ANY, Variant};
use super::columns::Columns;
use super::{LiveElements, OUTPUTS, Rows, least_of, output_defines};
use contract::dtype::Dtype;
use contract::threads;

const GEMM: Source = Source {
    name: "gemm_fixed_point.cu",
    text: include_str!("../../../../kernels/gemm_fixed_point.cu"),
};

/// Rows and columns of a tile, and k of a step, as the kernel has them.
const BM: usize = 64;
const BN: usize = 64;
const BK: usize = 16;

pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let variant = |source, entry, defines| Variant { source, entry, defines, capabilities: ANY };
    OUTPUTS.into_iter().map(move |output| variant(GEMM, "gemm_fixed_point", output_defines(output)))
}

/// A's integers for the kernel, and what a call needs.
pub(super) struct Plain {
    gemm: Kernel,
    columns: Columns,
    a_packed: Buffer,
    first_step: Buffer,
    k_list: Buffer,
    row_index: Buffer,
    row_scale: Buffer,
    dead_rows: Buffer,
    row_tiles: i32,
    dead_count: i32,
    grid: Grid,
}

/// k of each tile of BM rows.
fn k_of_tiles(live: &LiveElements, selection: Selection, rows: &[i32]) -> Vec<Vec<i32>> {
    let common = match selection {
        Selection::All | Selection::LiveRows => (0..live.k as i32).collect(),
        Selection::LiveColumns => live.of_rows(rows),
        Selection::Tiles => Vec::new(),
    };
    let of_tile = |rows: &[i32]| match selection {
        Selection::Tiles => live.of_rows(rows),
        Selection::All | Selection::LiveRows | Selection::LiveColumns => common.clone(),
    };
    rows.chunks(BM).map(of_tile).collect()
}

/// The selection that multiplies least.
pub(super) fn least(live: &LiveElements) -> Selection {
    least_of(|selection| {
        let (rows, _) = live.rows(selection);
        match selection {
            Selection::All | Selection::LiveRows => rows.len().div_ceil(BM) * live.k,
            Selection::LiveColumns => rows.len().div_ceil(BM) * live.count_of_rows(&rows),
            Selection::Tiles => rows.chunks(BM).map(|rows| live.count_of_rows(rows)).sum(),
        }
    })
}

impl Plain {
    pub(super) fn new(
        device: &Arc<Device>,
        rows: &Rows<'_>,
        live: &LiveElements,
        n: usize,
        output: Dtype,
        selection: Selection,
        threads: usize,
    ) -> Result<Plain, CudaError> {
        let gemm = Kernel::new(device, GEMM, &output_defines(output), "gemm_fixed_point", 0)?;
        let (live_rows, dead_rows) = live.rows(selection);
        let k_of_tiles = k_of_tiles(live, selection, &live_rows);
        let index = row_index(&live_rows, BM);
        let mut k_list = Vec::new();
        let mut first_step = vec![0];
        for of_tile in k_of_tiles {
            k_list.extend(of_tile);
            k_list.resize(k_list.len().next_multiple_of(BK), -1);
            first_step.push(require_i32("steps", k_list.len() / BK)?);
        }
        let packed = pack(rows, &index, &first_step, &k_list, threads);
        let (row_tiles, dead_count) = (index.len() / BM, dead_rows.len());
        let blocks_x = row_tiles + dead_count.div_ceil(BM);
        let blocks = (blocks_x as u32, n.div_ceil(BN) as u32, 1);
        Ok(Plain {
            gemm,
            columns: Columns::new(device, n)?,
            a_packed: Buffer::from_slice(device, &packed, "packed A")?,
            first_step: Buffer::from_slice(device, &first_step, "first steps")?,
            k_list: Buffer::from_slice(device, &k_list, "k")?,
            row_scale: Buffer::from_slice(device, &rows.scales_of(&index), "scales of rows")?,
            row_index: Buffer::from_slice(device, &index, "rows")?,
            dead_rows: Buffer::from_slice(device, &dead_rows, "dead rows")?,
            row_tiles: require_i32("tiles", row_tiles)?,
            dead_count: require_i32("rows", dead_count)?,
            grid: Grid { blocks, threads: 256, shared_bytes: 0 },
        })
    }

    /// V and Y are of the shapes that this was made for.
    pub(super) fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let n = require_i32("columns of V", v.cols)?;
        let v_stride = require_i32("columns of V", v.stride)?;
        self.columns.launch(v)?;
        let arguments = Arguments::new()
            .with(self.a_packed.pointer())
            .with(self.first_step.pointer())
            .with(self.k_list.pointer())
            .with(self.row_index.pointer())
            .with(self.row_scale.pointer())
            .with(self.dead_rows.pointer())
            .with(v.pointer())
            .with(self.columns.scales.pointer())
            .with(y.pointer())
            .with(self.row_tiles)
            .with(self.dead_count)
            .with(n)
            .with(v_stride)
            .with(require_i32("columns of Y", y.stride)?);
        // SAFETY: arguments as at the kernel's head; A's arrays were sized in `new`, and every k and row in them is one of V
        // and Y; buffers live until the device is done with them, because freeing is in stream order.
        unsafe { self.gemm.launch(self.grid, &arguments) }
    }

    pub(super) fn bytes_held(&self) -> usize {
        [
            &self.a_packed,
            &self.first_step,
            &self.k_list,
            &self.row_index,
            &self.row_scale,
            &self.dead_rows,
            &self.columns.scales,
        ]
        .map(Buffer::bytes)
        .iter()
        .sum()
    }
}

/// The kernel's `a_packed`.
fn pack(
    rows: &Rows<'_>,
    row_index: &[i32],
    first_step: &[i32],
    k_list: &[i32],
    threads: usize,
) -> Vec<i32> {
    let mut packed = vec![0; k_list.len() * BM];
    let mut rest = &mut packed[..];
    let mut tiles = Vec::with_capacity(first_step.len());
    for steps in first_step.windows(2) {
        let (tile, after) =
            std::mem::take(&mut rest).split_at_mut((steps[1] - steps[0]) as usize * (BK * BM));
        tiles.push(tile);
        rest = after;
    }
    threads::fill(threads, &mut tiles, 1, |tile, packed| {
        let list = &k_list[first_step[tile] as usize * BK..];
        let mut integers = vec![0; rows.a.ncols()];
        for packed in packed {
            for (r, &row) in row_index[tile * BM..][..BM].iter().enumerate() {
                let Ok(row) = usize::try_from(row) else { continue };
                rows.integers(row, &mut integers);
                for (to, &k) in packed.iter_mut().skip(r).step_by(BM).zip(list) {
                    *to = usize::try_from(k).map_or(0, |k| integers[k]);
                }
            }
        }
    });
    packed
}
