//! A as `kernels/spmm_window.cu` reads it: which entry each row takes in which round.

use super::pattern::{Pattern, for_each_bit};
use contract::threads;

/// Columns of a lane, and of a tile.
pub(super) const COLS: usize = 4;
pub(super) const TILE_COLS: usize = 8 * COLS;
/// Rows that a warp has in a group.
const QUAD: usize = 4;
/// Bytes of a quad's entries.
const QUAD_BYTES: usize = 8 * QUAD;
/// What says that there is no entry.
const PADDING: u32 = 0x8000_0000;

/// How the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windowed {
    pub warps: usize,
    pub groups: usize,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_max: usize,
}

/// The kernel's last arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Geometry {
    pub bk: usize,
    pub ring: usize,
    pub window: usize,
    pub pieces: usize,
    pub piece_bytes: usize,
}

/// The kernel's arrays, named as at its head, and the clocks of each chunk.
#[derive(Default)]
pub(super) struct Packed {
    pub geometry: Geometry,
    pub entries: Vec<u32>,
    pub chunks: Vec<[u32; 4]>,
    pub chunk_begin: Vec<i32>,
    pub panel_groups: Vec<i32>,
    pub row_index: Vec<i32>,
    pub clocks: Vec<u64>,
    /// Entries that are not padding, of all.
    pub used: f64,
}

impl Windowed {
    pub fn panel_rows(&self) -> usize {
        self.warps * self.groups * QUAD
    }

    pub fn threads(&self) -> u32 {
        32 * (self.warps as u32 + 1)
    }

    /// Accumulators that a block hands over, in bytes.
    pub fn partial_bytes(&self) -> usize {
        self.panel_rows() * TILE_COLS * 4
    }

    /// Writing a tile of Y.
    pub fn tile_clocks(&self) -> u64 {
        (self.panel_rows() * TILE_COLS / 32 * 2 + 500) as u64
    }

    pub fn defines(&self) -> Vec<String> {
        let Windowed { warps, groups, .. } = self;
        vec![format!("WARPS={warps}"), format!("GROUPS={groups}"), format!("COLS={COLS}")]
    }

    /// Words of a piece's header.
    fn head_words(&self) -> usize {
        self.warps.next_multiple_of(4)
    }

    /// Packs `a`, row-major; `None` if its rows are too dense for any window. No panel gets more
    /// than `panel_nnz` non-zeros unless one row has them: a tile is a serial chain.
    pub fn pack(
        &self,
        a: &[f32],
        pattern: &Pattern,
        panel_nnz: usize,
        threads: usize,
    ) -> Option<Packed> {
        let panels = self.panels(pattern, panel_nnz);
        let lists = threads::map(threads, panels.len(), |i| RowLists::new(pattern, panels[i].rows));
        /// Little is gained above.
        const USED_ENOUGH: f64 = 0.75;
        let mut choice: Option<(f64, Geometry, Vec<Part>)> = None;
        // Long chunks cost less; shorter ones make a longer window where that is needed.
        for bk in [64, 32, 16, 8] {
            if choice.as_ref().is_some_and(|(used, ..)| *used > USED_ENOUGH) {
                break;
            }
            for slack in [1.15, 1.5, 2.0, 3.0, 0.0] {
                let Some(geometry) = self.geometry(pattern, bk, slack) else { continue };
                let Some((used, parts)) = self.best_fill(a, geometry, &panels, &lists, threads)
                else {
                    continue;
                };
                if choice.as_ref().is_none_or(|(least, ..)| used > least + 0.02) {
                    choice = Some((used, geometry, parts));
                }
                break;
            }
        }
        let (used, geometry, parts) = choice?;
        Some(self.joined(used, geometry, &panels, parts))
    }

    /// Rows of similar population; few long ones make a shallow panel.
    fn panels<'a>(&self, pattern: &'a Pattern, panel_nnz: usize) -> Vec<Rows<'a>> {
        let mut panels = Vec::new();
        let mut rest = &pattern.order[..];
        while !rest.is_empty() {
            let mut rows = rest.len().div_ceil(rest.len().div_ceil(self.panel_rows()));
            let mut groups = self.groups;
            let sum = |rows| rest[..rows].iter().map(|&row| pattern.count(row)).sum::<usize>();
            let longest = pattern.count(rest[0]);
            if sum(rows) > panel_nnz || longest * rows > 3 * sum(rows) + 16 * rows {
                groups = 1;
                rows = rest.len().min(self.warps * QUAD);
                while rows > 1 && sum(rows) > panel_nnz {
                    rows -= 1;
                }
            }
            let (panel, after) = rest.split_at(rows);
            panels.push(Rows { rows: panel, groups });
            rest = after;
        }
        panels
    }

    /// `slack` is how much more than the mean a piece has room for, with 0 for what the fullest row
    /// may need.
    fn geometry(&self, pattern: &Pattern, bk: usize, slack: f64) -> Option<Geometry> {
        const PIECES: usize = 3;
        /// Barriers, generously.
        const BARRIER_BYTES: usize = 1024;
        /// Of V, on its way while the window is in use.
        const AHEAD_BYTES: usize = 36 << 10;
        let cells = pattern.m as f64 * pattern.k as f64;
        let density = (pattern.nnz as f64 / cells).max(1e-4);
        let mean = self.panel_rows() as f64 * density * 8.0 * bk as f64;
        if mean > 20_000.0 && bk > 8 {
            return None;
        }
        let round = self.warps * self.groups * QUAD_BYTES;
        let longest = bk as f64 * pattern.longest as f64 / pattern.k as f64;
        let room = if slack > 0.0 {
            let rounds = ((mean * slack / round as f64).ceil() as usize).max(1);
            (rounds * round).max(self.warps * QUAD_BYTES * longest.ceil() as usize)
        } else {
            round * (1.2 * longest).ceil() as usize
        };
        let piece_bytes = self.head_words() * 4 + room;
        let chunk = bk * TILE_COLS * 4;
        let left = self.shared_max.checked_sub(BARRIER_BYTES + PIECES * piece_bytes)?;
        let ring = (left / chunk).min(32);
        if ring < 5 {
            return None;
        }
        let ahead = AHEAD_BYTES.div_ceil(chunk).max(2).min(ring / 3 + 1);
        Some(Geometry { bk, ring, window: ring - ahead, pieces: PIECES, piece_bytes })
    }

    pub fn shared_bytes(&self, geometry: &Geometry) -> u32 {
        let Geometry { bk, ring, pieces, piece_bytes, .. } = geometry;
        (ring * bk * TILE_COLS * 4 + pieces * piece_bytes + (2 * ring + pieces) * 8) as u32
    }

    /// All panels, and how much of their entries is not padding. How full a round must be to be taken
    /// early is tried on one panel.
    fn best_fill(
        &self,
        a: &[f32],
        geometry: Geometry,
        panels: &[Rows<'_>],
        lists: &[RowLists],
        threads: usize,
    ) -> Option<(f64, Vec<Part>)> {
        const FILLS: [f64; 3] = [1.0, 0.9, 0.75];
        let part = |i: usize, fill| Part::new(self, &geometry, a, &panels[i], &lists[i], fill);
        let sample = panels.len() / 2;
        let tried = threads::map(threads, FILLS.len(), |i| {
            part(sample, FILLS[i]).map(|part| part.taken as f64 / part.all.max(1) as f64)
        });
        let mut fills: Vec<(f64, f64)> =
            tried.into_iter().zip(FILLS).filter_map(|(used, fill)| Some((used?, fill))).collect();
        // Stable: of equal ones the one that waits longest.
        fills.sort_by(|(x, _), (y, _)| y.total_cmp(x));
        fills.into_iter().find_map(|(_, fill)| {
            let parts = threads::map(threads, panels.len(), |i| part(i, fill));
            let parts = parts.into_iter().collect::<Option<Vec<Part>>>()?;
            let sum = |of: fn(&Part) -> usize| parts.iter().map(of).sum::<usize>();
            let used = sum(|part| part.taken) as f64 / sum(|part| part.all).max(1) as f64;
            Some((used, parts))
        })
    }

    fn joined(
        &self,
        used: f64,
        geometry: Geometry,
        panels: &[Rows<'_>],
        parts: Vec<Part>,
    ) -> Packed {
        let mut packed = Packed { geometry, used, chunk_begin: vec![0], ..Packed::default() };
        packed.row_index = vec![-1; panels.len() * self.panel_rows()];
        packed.entries.reserve(parts.iter().map(|part| part.entries.len()).sum());
        for ((panel, part), slots) in
            panels.iter().zip(parts).zip(packed.row_index.chunks_mut(self.panel_rows()))
        {
            packed.panel_groups.push(panel.groups as i32);
            for (warp, slots) in slots.chunks_mut(self.groups * QUAD).enumerate() {
                let rows = &panel.rows[panel.of_warp(warp, self.warps)];
                slots.iter_mut().zip(rows).for_each(|(slot, &row)| *slot = row as i32);
            }
            let mut at = packed.entries.len() / 4;
            for (words, k_first) in part.chunks {
                packed.chunks.push([at as u32, words as u32 / 4, k_first as u32, 0]);
                at += words / 4;
            }
            packed.entries.extend(part.entries);
            packed.clocks.extend(part.clocks);
            packed.chunk_begin.push(packed.clocks.len() as i32);
        }
        packed
    }
}

/// Rows of a panel, and the groups that they take of each warp.
struct Rows<'a> {
    rows: &'a [u32],
    groups: usize,
}

impl Rows<'_> {
    fn of_warp(&self, warp: usize, warps: usize) -> std::ops::Range<usize> {
        warp * self.rows.len() / warps..(warp + 1) * self.rows.len() / warps
    }
}

/// The k of a panel's rows, row after row.
struct RowLists {
    k_all: usize,
    k: Vec<u32>,
    begin: Vec<usize>,
    union: Vec<u64>,
}

impl RowLists {
    fn new(pattern: &Pattern, rows: &[u32]) -> RowLists {
        let union = pattern.union(rows);
        let mut lists = RowLists { k_all: pattern.k, k: Vec::new(), begin: vec![0], union };
        for &row in rows {
            for_each_bit(pattern.row(row as usize), 0, pattern.k, |k| lists.k.push(k as u32));
            lists.begin.push(lists.k.len());
        }
        lists
    }

    fn of(&self, row: usize) -> &[u32] {
        &self.k[self.begin[row]..self.begin[row + 1]]
    }
}

/// A packed panel.
struct Part {
    entries: Vec<u32>,
    /// Words of each chunk's piece, and its first row of V.
    chunks: Vec<(usize, usize)>,
    clocks: Vec<u64>,
    /// Entries that are not padding, and all.
    taken: usize,
    all: usize,
}

impl Part {
    /// `None` if a row has more entries than rounds while they are in the window.
    fn new(
        shape: &Windowed,
        geometry: &Geometry,
        a: &[f32],
        panel: &Rows<'_>,
        lists: &RowLists,
        fill: f64,
    ) -> Option<Part> {
        let &Geometry { bk, ring, window, piece_bytes, .. } = geometry;
        let head_words = shape.head_words();
        let rows = panel.rows.len();
        let k_all = lists.k_all;
        let mut firsts = Vec::new();
        // Where in the ring each k's row of V is, in bytes.
        let mut offsets = vec![0u32; k_all];
        let mut next = 0;
        for_each_bit(&lists.union, 0, k_all, |k| {
            if k >= next {
                firsts.push(k);
                next = k + bk;
            }
            let chunk = firsts.len() - 1;
            let row = chunk % ring * bk + k - firsts[chunk];
            offsets[k] = (row * TILE_COLS * 4) as u32;
        });
        let chunks = firsts.len();
        let mut part =
            Part { entries: Vec::new(), chunks: Vec::new(), clocks: Vec::new(), taken: 0, all: 0 };
        if chunks == 0 {
            // A tile must have a step, or its rows would not be written.
            part.entries.resize(head_words, 0);
            part.chunks.push((head_words, 0));
            part.clocks.push(chunk_clocks(bk, head_words));
            return Some(part);
        }
        // Entries of each row in the chunks up to each one.
        let mut up_to = vec![0usize; rows * chunks];
        for (i, up_to) in up_to.chunks_mut(chunks).enumerate() {
            let list = lists.of(i);
            let mut at = 0;
            for (first, up_to) in firsts.iter().zip(up_to) {
                while at < list.len() && (list[at] as usize) < first + bk {
                    at += 1;
                }
                *up_to = at;
            }
        }
        // What must have been taken when chunk c is done, for the window moves on.
        let due = |i: usize, c: usize| match (c + 1).checked_sub(window) {
            None => 0,
            Some(leaving) => up_to[i * chunks + leaving.min(chunks - 1)],
        };
        let rounds_max = (piece_bytes - head_words * 4) / shape.warps / (panel.groups * QUAD_BYTES);
        let mut taken = vec![0usize; rows];
        let mut c = 0;
        let mut is_left = true;
        // Steps after the last chunk, while the window has entries to take, load rows behind V.
        while c < chunks || is_left {
            let now = c.min(chunks - 1);
            is_left = false;
            let base = part.entries.len();
            part.entries.resize(base + head_words, 0);
            let mut clocks = 0.0;
            for warp in 0..shape.warps {
                let of_warp = panel.of_warp(warp, shape.warps);
                let mut need = 0;
                for i in of_warp.clone() {
                    for ahead in (window - 1).saturating_sub(c)..=window {
                        let earlier = taken[i] + rounds_max * ahead;
                        need = need.max(due(i, c + ahead).saturating_sub(earlier));
                    }
                }
                let begin = (part.entries.len() - base) / 4;
                let mut rounds = 0;
                while rounds < rounds_max {
                    let is_ready = |taken: &[usize], i: usize| taken[i] < up_to[i * chunks + now];
                    let ready = of_warp.clone().filter(|&i| is_ready(&taken, i)).count();
                    let may_wait = rounds >= need && c + 1 < chunks;
                    if ready == 0 || (may_wait && (ready as f64) < fill * of_warp.len() as f64) {
                        break;
                    }
                    for i in of_warp.start..of_warp.start + panel.groups * QUAD {
                        if i < of_warp.end && is_ready(&taken, i) {
                            let k = lists.of(i)[taken[i]] as usize;
                            let x = a[panel.rows[i] as usize * k_all + k];
                            part.entries.extend([offsets[k], x.to_bits()]);
                            taken[i] += 1;
                        } else {
                            part.entries.extend([PADDING, 0]);
                        }
                    }
                    part.taken += ready;
                    part.all += of_warp.len();
                    clocks += ready as f64 * (COLS as f64 / 4.0) + panel.groups as f64;
                    rounds += 1;
                }
                for i in of_warp {
                    if taken[i] < due(i, c) {
                        return None;
                    }
                    is_left |= c + 1 >= chunks && taken[i] < up_to[i * chunks + now];
                }
                part.entries[base + warp] = (begin | rounds << 16) as u32;
            }
            let words = part.entries.len() - base;
            part.chunks.push((words, if c < chunks { firsts[c] } else { k_all }));
            part.clocks.push(clocks as u64 + chunk_clocks(bk, words));
            c += 1;
        }
        Some(part)
    }
}

/// What a chunk costs besides its products.
fn chunk_clocks(bk: usize, words: usize) -> u64 {
    (words / 32 + bk * TILE_COLS / 32 + 60) as u64
}
