//! A's digits for int8 tensor cores: images of 128 rows by 128 k, and which of them are made.
//!
//! wgmma's and mma.sync's fragments of 16 rows by 32 k are the same, so both kernels read these images.

use std::sync::Arc;

use super::super::device::Device;
use super::super::error::CudaError;
use super::super::generic::require_i32;
use super::super::live::{Selection, row_index};
use super::super::memory::Buffer;
use super::{LiveElements, Rows};
use contract::threads;

/// Rows of a tile.
pub(super) const BM: usize = 128;
/// k of a step.
pub(super) const STEP: usize = 128;
/// Bytes of the image of a step of a tile of A.
pub(super) const IMAGE: usize = 3 * BM * STEP;

/// What of A is multiplied: rows in tiles of 128, k in steps of 128.
pub(super) struct Plan {
    pub selection: Selection,
    pub rows: Vec<i32>,
    pub dead_rows: Vec<i32>,
    /// The k that are packed, ascending; `None` where all are in place.
    pub k_list: Option<Vec<i32>>,
    /// The steps of packed k.
    pub v_steps: usize,
    /// The steps of each tile; without any, every tile has all of them.
    pub listed: Option<Vec<Vec<i32>>>,
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
    pub(super) fn work(&self) -> usize {
        self.steps.iter().sum()
    }

    /// The first image of each tile.
    pub(super) fn first_image(&self) -> Vec<usize> {
        let mut first = 0;
        let before = |steps: &usize| {
            first += steps;
            first - steps
        };
        self.steps.iter().map(before).collect()
    }

    /// The kernels' `a_images`.
    pub(super) fn pack(&self, rows: &Rows<'_>, row_index: &[i32], threads: usize) -> Vec<u8> {
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

/// A's images and the lists of a plan on a device, as the kernels take them.
pub(super) struct Images {
    pub a_images: Buffer,
    pub row_index: Buffer,
    pub row_scale: Buffer,
    pub dead_rows: Buffer,
    pub dead_count: i32,
    pub v_steps: i32,
    k_list: Option<Buffer>,
    v_step: Option<Buffer>,
}

impl Images {
    pub(super) fn new(
        device: &Arc<Device>,
        rows: &Rows<'_>,
        plan: &Plan,
        threads: usize,
    ) -> Result<Images, CudaError> {
        let index = row_index(&plan.rows, BM);
        let listed = plan.listed.as_ref().map(|listed| listed.concat());
        let of = |list: Option<Vec<i32>>, what| {
            list.map(|list| Buffer::from_slice(device, &list, what)).transpose()
        };
        Ok(Images {
            a_images: Buffer::from_slice(device, &plan.pack(rows, &index, threads), "packed A")?,
            k_list: of(padded_list(plan), "k")?,
            v_step: of(listed, "steps")?,
            row_scale: Buffer::from_slice(device, &rows.scales_of(&index), "scales of rows")?,
            row_index: Buffer::from_slice(device, &index, "rows")?,
            dead_rows: Buffer::from_slice(device, &plan.dead_rows, "dead rows")?,
            dead_count: require_i32("rows", plan.dead_rows.len())?,
            v_steps: require_i32("steps", plan.v_steps)?,
        })
    }

    /// The kernels' `k_list`; 0 where all k are in place.
    pub(super) fn k_list(&self) -> u64 {
        self.k_list.as_ref().map_or(0, Buffer::pointer)
    }

    /// The kernels' `v_step`; 0 where every tile has all steps.
    pub(super) fn v_step(&self) -> u64 {
        self.v_step.as_ref().map_or(0, Buffer::pointer)
    }

    pub(super) fn bytes(&self) -> usize {
        let held = [&self.a_images, &self.row_index, &self.row_scale, &self.dead_rows];
        held.into_iter().chain(&self.k_list).chain(&self.v_step).map(Buffer::bytes).sum()
    }
}

/// Where each k is among the packed ones.
fn places(k: usize, list: Option<&[i32]>) -> Vec<i32> {
    let Some(list) = list else { return (0..k as i32).collect() };
    let mut place = vec![0; k];
    list.iter().zip(0..).for_each(|(&k, at)| place[k as usize] = at);
    place
}

/// The k of all steps, -1 after the last, where they are not in place.
fn padded_list(plan: &Plan) -> Option<Vec<i32>> {
    plan.k_list.as_ref().map(|list| {
        let mut list = list.clone();
        list.resize(plan.v_steps * STEP, -1);
        list
    })
}

/// The digits of row `r` of an image, as the fragments of wgmma and of mma.sync have them.
fn pack_row(r: usize, integers: &[i32], image: &mut [u8]) {
    let (warp, below) = (r / 16, r % 16);
    for (group, four) in integers.chunks_exact(4).enumerate() {
        let (quarter, inside) = (group / 8, group % 8);
        let lane = below % 8 * 4 + inside % 4;
        let word = below / 8 + inside / 4 * 2;
        // Three digits with a sign, the least in the lowest byte.
        let digits = |i: usize| ((four[i] + 0x80_8080) ^ 0x80_8080).to_le_bytes();
        let of_four = [digits(0), digits(1), digits(2), digits(3)];
        for d in 0..3 {
            let at = ((warp * 4 + quarter) * 3 + d) * 512 + lane * 16 + word * 4;
            image[at..at + 4].copy_from_slice(&of_four.map(|digits| digits[2 - d]));
        }
    }
}

/// The digits of row `r` at `k` of an image, from where a lane of the kernel has them.
#[cfg(test)]
pub(super) fn digits_at(image: &[u8], r: usize, k: usize) -> [i32; 3] {
    let (warp, quarter) = (r / 16, k / 32);
    let lane = r % 8 * 4 + k % 16 / 4;
    let word = r / 8 % 2 + k % 32 / 16 * 2;
    [0, 1, 2].map(|d| {
        let at = ((warp * 4 + quarter) * 3 + d) * 512 + lane * 16 + word * 4 + k % 4;
        i32::from(image[at] as i8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn nothing_is_planned_where_nothing_is_live() {
        let live = LiveElements::of(Array2::zeros((300, 200)).view(), 1);
        assert_eq!(Plan::new(&live, Some(Selection::All)).steps, [2; 3]);
        for selection in
            [Some(Selection::LiveRows), Some(Selection::LiveColumns), Some(Selection::Tiles), None]
        {
            assert!(Plan::new(&live, selection).steps.is_empty(), "{selection:?}");
        }
        let live = LiveElements::of(Array2::zeros((300, 0)).view(), 1);
        assert!(Plan::new(&live, Some(Selection::All)).steps.is_empty());
    }
}
