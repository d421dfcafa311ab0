//! A as `kernels/spmm_chain.cu` reads it: panels of rows, chunks of k, and the entries of each.

use super::pattern::{Pattern, for_each_bit};
use contract::threads;

/// Rows of V that come by one copy.
pub(super) const RUN: usize = 8;
/// Columns of a lane, and of a tile.
pub(super) const COLS: usize = 8;
pub(super) const TILE_COLS: usize = 32 * COLS;

/// How the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    /// Consumer warps, groups of a warp, and rows of a group.
    pub warps: usize,
    pub groups: usize,
    pub rows: usize,
    /// Rows of V in a chunk.
    pub bk: usize,
    /// Bytes of a chunk's entries.
    pub entries_max: usize,
    /// Clocks of an entry, by shared memory and arithmetic.
    pub entry_clocks: u64,
}

/// The kernel's arrays, named as at its head, and the clocks of each chunk.
#[derive(Default)]
pub(super) struct Packed {
    pub entries: Vec<u32>,
    pub entry_begin: Vec<u32>,
    pub k_runs: Vec<i32>,
    pub k_begin: Vec<i32>,
    pub chunk_begin: Vec<i32>,
    pub row_index: Vec<i32>,
    pub clocks: Vec<u64>,
}

/// What a chunk costs besides its entries; fitted on one H200, as all clocks here.
const CHUNK_CLOCKS: u64 = 175;
/// Of a row of V: written to shared memory, and brought from the L2 cache by all at once.
const V_ROW_CLOCKS: u64 = 8;
const V_ROW_FETCH_CLOCKS: u64 = 48;
/// Between the entries of one warp.
const LATENCY_CLOCKS: u64 = 45;

impl Chunked {
    pub fn panel_rows(&self) -> usize {
        self.warps * self.groups * self.rows
    }

    pub fn threads(&self) -> u32 {
        32 * (self.warps as u32 + 1)
    }

    fn entry_words(&self) -> usize {
        self.rows + 1
    }

    /// Words of a warp's header.
    fn head_words(&self) -> usize {
        (self.groups + 4) / 4 * 4
    }

    /// `SMEM_BYTES` at the kernel's head; without bulk copies one stage serves.
    pub fn shared_bytes(&self, stages: usize, has_bulk_copies: bool) -> u32 {
        let stage = self.bk * TILE_COLS * 4 + self.entries_max;
        (if has_bulk_copies { stages * (stage + 16) } else { stage }) as u32
    }

    /// Accumulators that a block hands over, in bytes.
    pub fn partial_bytes(&self) -> usize {
        self.panel_rows() * TILE_COLS * 4
    }

    /// Writing a tile of Y.
    pub fn tile_clocks(&self) -> u64 {
        (self.panel_rows() * COLS * 2 + 500) as u64
    }

    pub fn defines(&self, stages: usize) -> Vec<String> {
        let Chunked { warps, groups, rows, bk, entries_max, .. } = self;
        vec![
            format!("WARPS={warps}"),
            format!("GROUPS={groups}"),
            format!("ROWS={rows}"),
            format!("COLS={COLS}"),
            format!("BK={bk}"),
            format!("STAGES={stages}"),
            format!("ECAP={entries_max}"),
            "UNROLL=2".into(),
        ]
    }

    /// Packs `a`, row-major. No panel gets more than `panel_nnz` non-zeros unless one row has them:
    /// a tile is a serial chain.
    pub fn pack(&self, a: &[f32], pattern: &Pattern, panel_nnz: usize, threads: usize) -> Packed {
        let panels = self.panels(pattern, panel_nnz);
        let planned = threads::map(threads, panels.len(), |i| Panel::new(self, pattern, panels[i]));
        let mut packed = Packed {
            entry_begin: vec![0],
            k_begin: vec![0],
            chunk_begin: vec![0],
            ..Packed::default()
        };
        let mut end = 0;
        for panel in &planned {
            for chunk in &panel.chunks {
                end += chunk.words / 4;
                packed.entry_begin.push(end as u32);
                packed.k_runs.extend(&chunk.runs);
                packed.k_begin.push(packed.k_runs.len() as i32);
                packed.clocks.push(chunk.clocks);
            }
            packed.chunk_begin.push(packed.clocks.len() as i32);
            packed.row_index.extend(&panel.row_index);
        }
        packed.entries = vec![0; end * 4];
        let mut rest = &mut packed.entries[..];
        let mut parts = Vec::with_capacity(planned.len());
        for panel in &planned {
            let words = panel.chunks.iter().map(|chunk| chunk.words).sum();
            let (part, after) = std::mem::take(&mut rest).split_at_mut(words);
            parts.push(part);
            rest = after;
        }
        threads::fill(threads, &mut parts, 1, |i, parts| {
            parts.iter_mut().for_each(|part| planned[i].write(self, a, pattern.k, part));
        });
        packed
    }

    /// Rows of similar population.
    fn panels<'a>(&self, pattern: &'a Pattern, panel_nnz: usize) -> Vec<&'a [u32]> {
        let mut panels = Vec::new();
        let mut rest = &pattern.order[..];
        while !rest.is_empty() {
            let mut sum = 0;
            let mut rows = 0;
            while rows < rest.len().min(self.panel_rows()) {
                sum += pattern.count(rest[rows]);
                if rows > 0 && sum > panel_nnz {
                    break;
                }
                rows += 1;
            }
            let (panel, after) = rest.split_at(rows);
            panels.push(panel);
            rest = after;
        }
        panels
    }
}

struct Panel {
    /// The kernel's, of this panel.
    row_index: Vec<i32>,
    /// Where each slot of a warp and group has its non-zeros; none where it has no rows.
    unions: Vec<Option<Vec<u64>>>,
    chunks: Vec<Chunk>,
}

struct Chunk {
    /// All k up to this one are in this chunk or in one before.
    k_end: usize,
    runs: Vec<i32>,
    /// Of its piece of the entries.
    words: usize,
    clocks: u64,
}

impl Panel {
    fn new(shape: &Chunked, pattern: &Pattern, rows: &[u32]) -> Panel {
        let &Chunked { warps, groups, rows: each, .. } = shape;
        let mut row_index = vec![-1; shape.panel_rows()];
        let mut unions = vec![None; warps * groups];
        let mut counts = vec![0u32; pattern.k];
        for (i, rows) in rows.chunks(each).enumerate() {
            // Dealt to the warps in turn, back and forth.
            let (group, turn) = (i / warps, i % warps);
            let warp = if group % 2 == 1 { warps - 1 - turn } else { turn };
            let slot = warp * groups + group;
            let to = &mut row_index[slot * each..][..rows.len()];
            to.iter_mut().zip(rows).for_each(|(to, &row)| *to = row as i32);
            let union = pattern.union(rows);
            for_each_bit(&union, 0, pattern.k, |k| counts[k] += 1);
            unions[slot] = Some(union);
        }
        let active = rows.len().div_ceil(each).clamp(1, warps) as u64;
        let chunks = chunks(shape, &counts, active);
        Panel { row_index, unions, chunks }
    }

    /// Writes the entries of all chunks.
    fn write(&self, shape: &Chunked, a: &[f32], k_all: usize, mut out: &mut [u32]) {
        let &Chunked { warps, groups, rows: each, .. } = shape;
        let head_words = shape.head_words();
        let row = |slot: usize, r: usize| {
            let row = usize::try_from(self.row_index[slot * each + r]).ok()?;
            Some(&a[row * k_all..][..k_all])
        };
        // The byte offset of each k's row of V.
        let mut offsets = vec![0u32; k_all];
        let mut k_begin = 0;
        for chunk in &self.chunks {
            let (piece, after) = std::mem::take(&mut out).split_at_mut(chunk.words);
            out = after;
            for (i, &run) in chunk.runs.iter().enumerate() {
                for (j, offset) in offsets[run as usize..].iter_mut().take(RUN).enumerate() {
                    *offset = ((i * RUN + j) * TILE_COLS * 4) as u32;
                }
            }
            let mut at = warps * head_words;
            for warp in 0..warps {
                piece[warp * head_words] = at as u32 * 4;
                for group in 0..groups {
                    let slot = warp * groups + group;
                    if let Some(union) = &self.unions[slot] {
                        let entry = shape.entry_words();
                        if each == 1 {
                            let row = row(slot, 0).unwrap_or_default();
                            for_each_bit(union, k_begin, chunk.k_end, |k| {
                                piece[at] = offsets[k];
                                piece[at + 1] = row[k].to_bits();
                                at += entry;
                            });
                        } else {
                            let rows: Vec<&[f32]> =
                                (0..each).filter_map(|r| row(slot, r)).collect();
                            for_each_bit(union, k_begin, chunk.k_end, |k| {
                                piece[at] = offsets[k];
                                let to = &mut piece[at + 1..at + entry];
                                to.iter_mut()
                                    .zip(&rows)
                                    .for_each(|(to, row)| *to = row[k].to_bits());
                                at += entry;
                            });
                        }
                    }
                    piece[warp * head_words + 1 + group] = at as u32 * 4;
                }
            }
            k_begin = chunk.k_end;
        }
    }
}

/// Cuts k, at which `counts` entries are, into chunks; at least one.
fn chunks(shape: &Chunked, counts: &[u32], active_warps: u64) -> Vec<Chunk> {
    let head_words = shape.warps * shape.head_words();
    let clocks = shape.entry_clocks.max(LATENCY_CLOCKS / active_warps);
    let finish = |k_end, runs: Vec<i32>, entries: usize| {
        let v_rows = (runs.len() * RUN) as u64;
        let work = entries as u64 * clocks + v_rows * V_ROW_CLOCKS + CHUNK_CLOCKS;
        let words = (head_words + entries * shape.entry_words()).next_multiple_of(4);
        Chunk { k_end, runs, words, clocks: work.max(v_rows * V_ROW_FETCH_CLOCKS) }
    };
    let mut chunks = Vec::new();
    let (mut runs, mut entries, mut k) = (Vec::new(), 0, 0);
    while k < counts.len() {
        if counts[k] == 0 {
            k += 1;
            continue;
        }
        let end = (k + RUN).min(counts.len());
        let more: usize = counts[k..end].iter().map(|&count| count as usize).sum();
        let bytes = (head_words + (entries + more) * shape.entry_words()) * 4;
        // A run fits by itself, see the variants' test.
        if runs.len() == shape.bk / RUN || (bytes > shape.entries_max && !runs.is_empty()) {
            chunks.push(finish(k, std::mem::take(&mut runs), std::mem::take(&mut entries)));
        }
        runs.push(k as i32);
        entries += more;
        k = end;
    }
    if !runs.is_empty() || chunks.is_empty() {
        chunks.push(finish(counts.len(), runs, entries));
    }
    chunks
}
