//! How the SpMM kernels are compiled, what they cost, and which one a matrix gets.

use super::chunked::{self, Chunked};
use super::pattern::Pattern;
use super::windowed::{self, Windowed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Chunked(Chunked),
    Windowed(Windowed),
}

/// One row an entry: serves any A.
pub(super) const SINGLE: Chunked =
    Chunked { warps: 15, groups: 10, rows: 1, bk: 64, entries_max: 11776, entry_clocks: 9 };
/// Three rows an entry: dense and blocked A.
pub(super) const TRIPLE: Chunked =
    Chunked { warps: 15, groups: 3, rows: 3, bk: 48, entries_max: 24576, entry_clocks: 12 };
/// Rows that need not keep step: sparse and even A.
pub(super) const WINDOW: Windowed = Windowed { warps: 11, groups: 28, shared_max: 232_448 };

/// Stages of V and entries where a block has 227 KiB of shared memory, or less.
const STAGES: usize = 3;
const STAGES_FEW: usize = 1;

/// What a tile takes longer when two workers share it, in clocks.
pub(super) const HANDOVER_CLOCKS: u64 = 3000;

/// What the kernels can count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Bulk copies: the kernels' BULK.
    pub has_bulk_copies: bool,
    pub stages: usize,
    pub has_windows: bool,
}

impl Abilities {
    /// `None` where a block has too little shared memory, or the compiler no target.
    pub fn of(compute_capability: (i32, i32)) -> Option<Abilities> {
        let (major, _) = compute_capability;
        let has_much_memory = matches!(major, 9 | 10);
        (major >= 8).then_some(Abilities {
            has_bulk_copies: major >= 9,
            stages: if has_much_memory { STAGES } else { STAGES_FEW },
            has_windows: has_much_memory,
        })
    }
}

/// Clocks in a nanosecond, bytes of V in a nanosecond from the L2 cache to all multiprocessors, and
/// the launch; fitted on one H200, with the other constants here, to 14336 x 4096 x 1024 at 70 to
/// 99 % zeros.
const CLOCKS_PER_NS: f64 = 1.98;
const V_BYTES_PER_NS: f64 = 5500.0;
const LAUNCH_NS: f64 = 5000.0;

/// The time of a variant; `workers` is one for each multiprocessor.
pub(super) fn estimate_ns(variant: &Variant, pattern: &Pattern, n: usize, workers: usize) -> u64 {
    let workers = workers.max(1) as f64;
    let (m, k) = (pattern.m as f64, pattern.k as f64);
    let nnz = pattern.nnz as f64;
    // Long rows make panels of few rows: see `panel_nnz`.
    let by_nnz = |column_blocks: f64| workers / (SHARE * column_blocks);
    let compute = match variant {
        Variant::Chunked(shape) => {
            let column_blocks = n.div_ceil(chunked::TILE_COLS) as f64;
            let entries = if shape.rows == 1 { nnz } else { pattern.union_of_three as f64 };
            let panels = (m / shape.panel_rows() as f64).ceil().max(by_nnz(column_blocks)).min(m);
            let tiles = panels * column_blocks / workers;
            let chunk_entries = entries / panels / k * shape.bk as f64;
            let room = (shape.entries_max / (4 * (shape.rows + 1))) as f64;
            let chunks = (k / shape.bk as f64).ceil() * (chunk_entries / room).max(1.0);
            let clocks = entries * column_blocks / workers * shape.entry_clocks as f64
                + tiles * (chunks * 175.0 + k * 8.0 + shape.tile_clocks() as f64);
            let compute = clocks / CLOCKS_PER_NS;
            let v_bytes = panels * column_blocks * k * (chunked::TILE_COLS * 4) as f64;
            let rate = V_BYTES_PER_NS * workers / H200_MULTIPROCESSORS;
            // Neither hides the other altogether.
            let fetch = v_bytes / rate;
            (compute.powi(4) + fetch.powi(4)).powf(0.25)
        }
        Variant::Windowed(shape) => {
            let column_blocks = n.div_ceil(windowed::TILE_COLS) as f64;
            let panels = (m / shape.panel_rows() as f64).ceil().max(by_nnz(column_blocks)).min(m);
            let tiles = panels * column_blocks / workers;
            // Entries of V rows, their own loads with padding, and what a tile costs.
            let mean = nnz / m.max(1.0);
            let uneven = (pattern.longest as f64 / mean.max(1.0)).max(1.0);
            let entries = nnz * column_blocks / workers * 1.4;
            // Rows of very different lengths leave warps idle.
            let idle = if uneven > 3.0 { 2.0 } else { 1.0 };
            (entries * idle + tiles * (TILE_CLOCKS + k * 1.5)) / CLOCKS_PER_NS
        }
    };
    (LAUNCH_NS + compute) as u64
}

const H200_MULTIPROCESSORS: f64 = 132.0;
/// A tile of the window kernel, besides its entries and V.
const TILE_CLOCKS: f64 = 38_000.0;
/// Of a worker's share of the non-zeros, what a panel may have.
const SHARE: f64 = 0.7;

/// The most non-zeros of a panel: a tile is a serial chain, and none should be longer than a
/// worker's share.
pub(super) fn panel_nnz(nnz: usize, column_blocks: usize, workers: usize) -> usize {
    (nnz as f64 * column_blocks as f64 / workers.max(1) as f64 * SHARE) as usize
}

/// The variants that serve, the one of the least estimate first.
pub(super) fn ranked(
    abilities: &Abilities,
    pattern: &Pattern,
    n: usize,
    workers: usize,
) -> Vec<(u64, Variant)> {
    let mut all = vec![Variant::Chunked(SINGLE), Variant::Chunked(TRIPLE)];
    all.extend(abilities.has_windows.then_some(Variant::Windowed(WINDOW)));
    let estimate = |variant| (estimate_ns(&variant, pattern, n, workers), variant);
    let mut all: Vec<(u64, Variant)> = all.into_iter().map(estimate).collect();
    all.sort_by_key(|(ns, _)| *ns);
    all
}

impl Variant {
    pub fn name(&self) -> &'static str {
        match self {
            Variant::Chunked(shape) if shape.rows == 1 => "single rows",
            Variant::Chunked(_) => "rows by three",
            Variant::Windowed(_) => "windows",
        }
    }
}
