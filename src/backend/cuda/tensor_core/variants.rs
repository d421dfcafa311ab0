//! The variants of `kernels/gemm_tensor_core.cu`, what they cost, and which one a matrix gets.

use super::super::live::Selection;
use super::layout::{LiveGroups, RowTiles};

/// Tile and stages of one way of compiling the kernel, and what it takes. A multiprocessor holds one block.
#[derive(Debug)]
pub(super) struct Variant {
    /// Rows and columns of Y that a block makes.
    pub bm: usize,
    pub bn: usize,
    pub stages: usize,
    /// One k-step of a tile, with all multiprocessors at work.
    pub step_ns: u64,
    /// The same where the groups of each k-step are fetched one by one.
    pub grouped_step_ns: u64,
    /// Starting a tile and writing it.
    pub tile_ns: u64,
}

/// Times fitted on one H200, at its power limit, to bf16 output at k = 4096, n = 1024 with 0 to 99 % of the
/// rows dead; the grouped ones are guesses.
pub(super) const VARIANTS: [Variant; 5] = [
    Variant { bm: 128, bn: 256, stages: 4, step_ns: 730, grouped_step_ns: 860, tile_ns: 2200 },
    Variant { bm: 192, bn: 128, stages: 5, step_ns: 570, grouped_step_ns: 660, tile_ns: 1500 },
    Variant { bm: 128, bn: 128, stages: 7, step_ns: 415, grouped_step_ns: 500, tile_ns: 1200 },
    Variant { bm: 64, bn: 128, stages: 9, step_ns: 330, grouped_step_ns: 400, tile_ns: 900 },
    Variant { bm: 64, bn: 64, stages: 13, step_ns: 215, grouped_step_ns: 260, tile_ns: 600 },
];

/// Launching, and the time until all blocks run; as above.
const LAUNCH_NS: u64 = 4000;

/// What a tile takes longer when two workers share it; as above.
pub(super) const HANDOVER_NS: u64 = 1500;

impl Variant {
    /// As at the kernel's head.
    pub fn threads(&self) -> u32 {
        128 + 2 * self.bm as u32
    }

    /// Dynamic shared memory of a block; as at the kernel's head.
    pub fn shared_bytes(&self) -> u32 {
        (3072 + self.stages * (self.bm + self.bn) * 128) as u32
    }

    pub fn defines(&self, is_grouped: bool) -> Vec<String> {
        let Variant { bm, bn, stages, .. } = self;
        let mut defines = vec![format!("BM={bm}"), format!("BN={bn}"), format!("STAGES={stages}")];
        defines.extend(is_grouped.then(|| "GROUPED=1".into()));
        defines
    }

    /// What step `step` of a tile of `steps` takes.
    pub fn weight_ns(&self, is_grouped: bool, step: usize, steps: usize) -> u64 {
        let step_ns = if is_grouped { self.grouped_step_ns } else { self.step_ns };
        step_ns + if step + 1 == steps { self.tile_ns } else { 0 }
    }

    /// The busiest worker's time, with the launch.
    fn estimate_ns(
        &self,
        tiles: &RowTiles,
        is_grouped: bool,
        n: usize,
        multiprocessors: usize,
    ) -> u64 {
        let workers = multiprocessors.max(1) as u64;
        let column_tiles = n.div_ceil(self.bn) as u64;
        let step_ns = self.weight_ns(is_grouped, 0, 0);
        let of = |steps: &usize| *steps as u64 * step_ns + self.tile_ns;
        let longest = tiles.steps.iter().map(of).max().unwrap_or(0);
        let busiest = if tiles.steps.len() as u64 * column_tiles <= workers {
            longest
        } else {
            let all = tiles.steps.iter().map(of).sum::<u64>() * column_tiles;
            longest.max(all / workers + HANDOVER_NS)
        };
        LAUNCH_NS + busiest
    }
}

/// A variant and what it multiplies.
pub(super) struct Choice {
    pub variant: &'static Variant,
    pub selection: Selection,
    pub tiles: RowTiles,
    /// Each selection's least estimate.
    pub estimates_ns: Vec<(Selection, u64)>,
}

/// The least estimate of `wanted` or, without it, of all selections; of equal ones the simpler.
pub(super) fn choose(
    live: &LiveGroups,
    n: usize,
    multiprocessors: usize,
    wanted: Option<Selection>,
) -> Choice {
    let mut best: Option<(u64, Choice)> = None;
    let mut estimates_ns = Vec::new();
    for selection in Selection::EVERY {
        if wanted.is_some_and(|wanted| wanted != selection) {
            continue;
        }
        let mut least = u64::MAX;
        for variant in &VARIANTS {
            let tiles = RowTiles::new(live, selection, variant.bm);
            let ns = variant.estimate_ns(&tiles, selection.is_grouped(), n, multiprocessors);
            least = least.min(ns);
            if best.as_ref().is_none_or(|(least, _)| ns < *least) {
                best = Some((ns, Choice { variant, selection, tiles, estimates_ns: Vec::new() }));
            }
        }
        estimates_ns.push((selection, least));
    }
    // Neither table is empty, and `wanted` is one of the selections.
    let (_, choice) = best.unwrap_or_else(|| unreachable!());
    Choice { estimates_ns, ..choice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn chosen(
        (m, k, n): (usize, usize, usize),
        live: impl Fn(usize, usize) -> bool,
    ) -> (Selection, usize) {
        let a = Array2::from_shape_fn((m, k), |(i, j)| if live(i, j) { 1.0 } else { 0.0 });
        let choice = choose(&LiveGroups::of(a.view(), 2), n, 132, None);
        assert_eq!(choice.estimates_ns.len(), 4);
        let least = choice.estimates_ns.iter().map(|(_, ns)| *ns).min();
        let of_chosen = choice.estimates_ns.iter().find(|(s, _)| *s == choice.selection);
        assert_eq!(of_chosen.map(|(_, ns)| *ns), least);
        (choice.selection, choice.variant.bn)
    }

    #[test]
    fn the_structure_decides_what_is_skipped() {
        let shape = (14336, 512, 1024);
        assert_eq!(chosen(shape, |_, _| true), (Selection::All, 256));
        // Single zeros in every group: nothing can be skipped.
        assert_eq!(chosen(shape, |i, j| (i + j) % 5 == 0), (Selection::All, 256));
        assert_eq!(chosen(shape, |i, _| i % 2 == 0).0, Selection::LiveRows);
        // Few rows leave multiprocessors idle with wide tiles.
        assert_eq!(chosen(shape, |i, _| i % 10 == 0), (Selection::LiveRows, 128));
        assert_eq!(chosen(shape, |_, j| j / 16 % 2 == 0).0, Selection::LiveColumns);
        let blocks = |i: usize, j: usize| (i / 128 + j / 16).is_multiple_of(4);
        assert_eq!(chosen(shape, blocks).0, Selection::Tiles);
    }

    #[test]
    fn what_is_asked_for_is_done() {
        let a = Array2::from_elem((300, 100), 1.0);
        let live = LiveGroups::of(a.view(), 1);
        for selection in Selection::EVERY {
            let choice = choose(&live, 40, 132, Some(selection));
            assert_eq!((choice.selection, choice.estimates_ns.len()), (selection, 1));
        }
    }

    #[test]
    fn every_variant_is_one_that_the_kernel_takes() {
        for variant in &VARIANTS {
            assert!([64, 128, 192].contains(&variant.bm));
            assert!([64, 128, 256].contains(&variant.bn));
            assert!(variant.shared_bytes() <= 232_448, "{variant:?}");
        }
    }
}
