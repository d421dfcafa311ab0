//! The variants of `kernels/gemm_chain.cu`, what they cost, and which one a matrix gets.

use super::super::live::Selection;
use super::layout::{LiveElements, counts};

/// One way of compiling the kernel. Names as at the kernel's head.
#[derive(Debug)]
pub(super) struct Variant {
    /// Computing warps, lanes of each, and outputs of a lane, along rows and columns.
    pub warps: (usize, usize),
    pub lanes: (usize, usize),
    pub outputs: (usize, usize),
    pub bk: usize,
    pub ku: usize,
    pub unroll: usize,
    pub stages: usize,
    /// Warps that move data, without and with lists of k.
    pub producers: (usize, usize),
    /// Registers of a computing and of a moving thread, where they are shared out anew.
    pub registers: Option<(usize, usize)>,
    /// Of the multiprocessors' fused multiply-adds, the percentage reached where nothing else is the limit.
    pub peak_percent: u64,
}

const WIDE: Variant = Variant {
    warps: (4, 2),
    lanes: (4, 8),
    outputs: (6, 8),
    bk: 32,
    ku: 2,
    unroll: 3,
    stages: 7,
    producers: (1, 4),
    registers: None,
    peak_percent: 76,
};

/// From the widest on; what they reach of the peak was measured on an H200 at k = 4096.
pub(super) const VARIANTS: [Variant; 9] = [
    // 256 x 128
    Variant {
        lanes: (8, 4),
        outputs: (8, 16),
        bk: 16,
        ku: 1,
        unroll: 1,
        stages: 8,
        producers: (4, 4),
        registers: Some((224, 56)),
        peak_percent: 80,
        ..WIDE
    },
    // 160 x 128
    Variant {
        warps: (2, 2),
        lanes: (8, 4),
        outputs: (10, 16),
        ku: 1,
        stages: 5,
        peak_percent: 79,
        ..WIDE
    },
    // 96 x 128
    WIDE,
    // 80 x 128
    Variant { outputs: (5, 8), stages: 8, peak_percent: 73, ..WIDE },
    // 64 x 128
    Variant { outputs: (4, 8), stages: 8, peak_percent: 72, ..WIDE },
    // 40 x 128
    Variant { warps: (2, 4), outputs: (5, 4), stages: 8, peak_percent: 66, ..WIDE },
    // 16 x 64, where a block has much shared memory
    Variant { bk: 256, stages: 2, peak_percent: 46, ..LOW },
    LOW,
    // 32 x 8
    Variant {
        warps: (1, 2),
        lanes: (32, 1),
        outputs: (1, 4),
        bk: 64,
        ku: 16,
        unroll: 1,
        stages: 16,
        producers: (1, 1),
        peak_percent: 13,
        ..WIDE
    },
];

/// 16 x 64
const LOW: Variant = Variant {
    warps: (1, 4),
    outputs: (4, 2),
    bk: 64,
    ku: 8,
    stages: 8,
    producers: (1, 1),
    peak_percent: 42,
    ..WIDE
};

/// Launching, and the time until all blocks run.
const LAUNCH_NS: u64 = 4000;
/// What a tile takes longer when two workers share it.
pub(super) const HANDOVER_NS: u64 = 2000;
/// Bytes that a multiprocessor gets from the level-2 cache in a clock.
const BYTES_PER_CLOCK: u64 = 20;
/// What a step takes where V is fetched by lists of k; a guess.
const LISTED_PERCENT: u64 = 110;

/// What a device gives to a kernel, as far as the choice depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub capability: (i32, i32),
    pub multiprocessors: usize,
    /// Shared memory that one block may have.
    pub shared_bytes: usize,
    /// The multiprocessors' highest clock.
    pub clock_khz: u64,
}

/// A variant as one device compiles it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Build {
    pub variant: &'static Variant,
    pub is_listed: bool,
    /// Stages, where warps of their own move data; elsewhere there are two.
    pub stages: Option<usize>,
}

impl Variant {
    /// Rows of a tile.
    pub fn bm(&self) -> usize {
        self.warps.0 * self.lanes.0 * self.outputs.0
    }

    /// Columns of a tile.
    pub fn bn(&self) -> usize {
        self.warps.1 * self.lanes.1 * self.outputs.1
    }

    /// As the device can have it; `None` where it does not fit.
    pub fn build(&'static self, selection: Selection, target: &Target) -> Option<Build> {
        let is_listed = selection.is_grouped();
        let stage = 4 * self.bk * (self.bm() + self.bn());
        let each = target.shared_bytes;
        let stages = match target.capability {
            (9.., _) => {
                let room = each.saturating_sub(BARRIER_BYTES) / stage;
                Some(self.stages.min(room)).filter(|stages| *stages >= 2)?
            }
            _ if 2 * stage <= each => {
                return Some(Build { variant: self, is_listed, stages: None });
            }
            _ => return None,
        };
        Some(Build { variant: self, is_listed, stages: Some(stages) })
    }

    /// Clocks of a multiprocessor for one k of a tile, in hundredths.
    fn centiclocks(&self) -> u64 {
        let (bm, bn) = (self.bm() as u64, self.bn() as u64);
        let multiplying = bm * bn * 10_000 / (128 * self.peak_percent);
        // Of a warp: 16-byte loads take two clocks, smaller ones one.
        let fragment =
            |length: usize| (length / 4 * 2 + usize::from(!length.is_multiple_of(4))) as u64 * 100;
        let of_v = fragment(self.outputs.1);
        let loading = (self.warps.0 * self.warps.1) as u64 * (fragment(self.outputs.0) + of_v);
        let fetching = 4 * (bm + bn) * 100 / BYTES_PER_CLOCK;
        multiplying.max(loading).max(fetching)
    }
}

/// Shared memory in front of the stages.
const BARRIER_BYTES: usize = 4608;

impl Build {
    pub fn defines(&self) -> Vec<String> {
        let Variant { warps, lanes, outputs, bk, ku, unroll, registers, .. } = self.variant;
        let mut defines = vec![
            format!("WARPS_M={}", warps.0),
            format!("WARPS_N={}", warps.1),
            format!("LANES_M={}", lanes.0),
            format!("LANES_N={}", lanes.1),
            format!("TM={}", outputs.0),
            format!("TN={}", outputs.1),
            format!("BK={bk}"),
            format!("KU={ku}"),
            format!("UNROLL={unroll}"),
        ];
        if let Some(stages) = self.stages {
            defines.push(format!("STAGES={stages}"));
            defines.push(format!("PRODUCERS={}", self.producers()));
            if let Some((consumer, producer)) = registers {
                defines.push(format!("CONSUMER_REGISTERS={consumer}"));
                defines.push(format!("PRODUCER_REGISTERS={producer}"));
            }
        }
        defines
    }

    fn producers(&self) -> usize {
        let (plain, listed) = self.variant.producers;
        if self.is_listed { listed } else { plain }
    }

    /// As at the kernel's head.
    pub fn threads(&self) -> u32 {
        let moving = self.stages.map_or(0, |_| self.producers());
        (32 * (self.variant.warps.0 * self.variant.warps.1 + moving)) as u32
    }

    /// Dynamic shared memory of a block; as at the kernel's head.
    pub fn shared_bytes(&self) -> u32 {
        let Variant { bk, .. } = self.variant;
        let stage = 4 * bk * (self.variant.bm() + self.variant.bn());
        self.stages.map_or(2 * stage, |stages| BARRIER_BYTES + stages * stage) as u32
    }

    /// A step of a tile that has the multiprocessor for itself.
    pub fn step_ns(&self, clock_khz: u64) -> u64 {
        let percent = if self.is_listed { LISTED_PERCENT } else { 100 };
        let centiclocks = self.variant.centiclocks() * self.variant.bk as u64 * percent / 100;
        // Without a clock, as if it were 1 GHz.
        let clock_khz = if clock_khz == 0 { 1_000_000 } else { clock_khz };
        (centiclocks * 10_000 / clock_khz).max(1)
    }

    /// The busiest worker's time, with the launch. Each multiprocessor has one worker.
    fn estimate_ns(&self, steps: &[usize], column_tiles: usize, target: &Target) -> u64 {
        let step_ns = self.step_ns(target.clock_khz);
        let total = (steps.iter().sum::<usize>() * column_tiles) as u64;
        let longest = steps.iter().copied().max().unwrap_or(0) as u64;
        let workers = target.multiprocessors.max(1);
        let busiest = if steps.len() * column_tiles <= workers {
            longest * step_ns
        } else {
            total.div_ceil(workers as u64).max(longest) * step_ns + HANDOVER_NS
        };
        LAUNCH_NS + busiest
    }
}

/// A variant and what it multiplies.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub build: Build,
    pub selection: Selection,
    pub estimate_ns: u64,
    /// Each selection's least estimate.
    pub estimates_ns: Vec<(Selection, u64)>,
}

/// The least estimate of `wanted` or, without it, of all selections; of equal ones the simpler. `None`
/// where no variant fits the device.
pub(super) fn choose(
    live: &LiveElements,
    n: usize,
    target: &Target,
    wanted: Option<Selection>,
) -> Option<Choice> {
    let mut best: Option<Choice> = None;
    let mut estimates_ns = Vec::new();
    for selection in Selection::EVERY {
        if wanted.is_some_and(|wanted| wanted != selection) {
            continue;
        }
        let (rows, _) = live.rows(selection);
        let mut least = u64::MAX;
        let mut of_tiles: Vec<(usize, Vec<usize>)> = Vec::new();
        for variant in &VARIANTS {
            let Some(build) = variant.build(selection, target) else { continue };
            let bm = variant.bm();
            let at = of_tiles.iter().position(|(rows, _)| *rows == bm).unwrap_or_else(|| {
                of_tiles.push((bm, counts(live, selection, &rows, bm)));
                of_tiles.len() - 1
            });
            let steps: Vec<usize> =
                of_tiles[at].1.iter().map(|count| count.div_ceil(variant.bk)).collect();
            let ns = build.estimate_ns(&steps, n.div_ceil(variant.bn()), target);
            least = least.min(ns);
            if best.as_ref().is_none_or(|best| ns < best.estimate_ns) {
                let estimates_ns = Vec::new();
                best = Some(Choice { build, selection, estimate_ns: ns, estimates_ns });
            }
        }
        estimates_ns.push((selection, least));
    }
    Some(Choice { estimates_ns, ..best? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    pub const H200: Target = Target {
        capability: (9, 0),
        multiprocessors: 132,
        shared_bytes: 232_448,
        clock_khz: 1_980_000,
    };

    fn live(shape: (usize, usize), is_live: impl Fn(usize, usize) -> bool) -> LiveElements {
        let a = Array2::from_shape_fn(shape, |(i, j)| if is_live(i, j) { 1.0 } else { 0.0 });
        LiveElements::of(a.view(), 2)
    }

    fn chosen(live: &LiveElements, n: usize) -> (Selection, (usize, usize)) {
        let choice = choose(live, n, &H200, None).expect("every variant fits");
        assert_eq!(choice.estimates_ns.len(), 4);
        let least = choice.estimates_ns.iter().map(|(_, ns)| *ns).min();
        assert_eq!(least, Some(choice.estimate_ns));
        let variant = choice.build.variant;
        (choice.selection, (variant.bm(), variant.bn()))
    }

    #[test]
    fn the_structure_decides_what_is_skipped() {
        let shape = (14336, 512);
        let dense = live(shape, |_, _| true);
        assert_eq!(chosen(&dense, 1024), (Selection::All, (256, 128)));
        assert_eq!(chosen(&dense, 8), (Selection::All, (32, 8)));
        assert_eq!(chosen(&dense, 1), (Selection::All, (32, 8)));
        assert_eq!(chosen(&live(shape, |i, j| (i + j) % 5 == 0), 1024).0, Selection::All);
        let rows = |percent| move |i: usize, _| i * 61 % 100 < percent;
        assert_eq!(chosen(&live(shape, rows(50)), 1024).0, Selection::LiveRows);
        let (selection, (bm, _)) = chosen(&live(shape, rows(1)), 1024);
        assert_eq!((selection, bm < 64), (Selection::LiveRows, true));
        assert_eq!(chosen(&live(shape, |_, j| j % 2 == 0), 1024).0, Selection::LiveColumns);
        let blocks = |i: usize, j: usize| (i / 256 + j / 16).is_multiple_of(4);
        assert_eq!(chosen(&live(shape, blocks), 1024).0, Selection::Tiles);
    }

    #[test]
    fn every_variant_is_one_that_the_kernel_takes() {
        let shapes: Vec<_> = VARIANTS.iter().map(|v| (v.bm(), v.bn())).collect();
        let wide = [(256, 128), (160, 128), (96, 128), (80, 128), (64, 128), (40, 128)];
        assert_eq!(shapes, [&wide[..], &[(16, 64), (16, 64), (32, 8)]].concat());
        for variant in &VARIANTS {
            let (bm, bn) = (variant.bm(), variant.bn());
            assert_eq!(variant.lanes.0 * variant.lanes.1, 32);
            assert!(variant.outputs.0 % 4 != 3 && variant.outputs.1 % 4 != 3);
            assert!(bn == 1 || bn.is_multiple_of(4));
            assert!((variant.bk * bm).is_multiple_of(32) && (variant.bk * bn).is_multiple_of(32));
            assert!((variant.bk / variant.ku).is_multiple_of(2));
            for selection in [Selection::All, Selection::Tiles] {
                let build = variant.build(selection, &H200).expect("made for it");
                // None had to be made smaller.
                assert_eq!(build.stages, Some(variant.stages), "{variant:?}");
                assert!(build.shared_bytes() as usize <= H200.shared_bytes);
                assert!(variant.registers.is_none() || build.producers() == 4);
            }
        }
    }

    #[test]
    fn every_device_has_a_variant_for_each_n() {
        for (capability, shared_bytes) in [
            ((5, 2), 49_152),
            ((7, 5), 65_536),
            ((8, 0), 166_912),
            ((8, 9), 101_376),
            ((12, 0), 101_376),
        ] {
            let target = Target { capability, shared_bytes, ..H200 };
            let live = live((300, 100), |i, _| i % 2 == 0);
            for n in [1, 5, 64, 1000] {
                for selection in Selection::EVERY {
                    let choice = choose(&live, n, &target, Some(selection));
                    let choice = choice.unwrap_or_else(|| panic!("{capability:?}, n {n}"));
                    assert_eq!((choice.selection, choice.estimates_ns.len()), (selection, 1));
                    assert!(choice.build.shared_bytes() as usize <= shared_bytes);
                    assert_eq!(choice.build.stages.is_some(), capability.0 >= 9);
                }
            }
        }
    }
}
