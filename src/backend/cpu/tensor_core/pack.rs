//! A as the kernels read it.

use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2};

use super::{Entries, Isa, TILE_ROWS, Tile, Window};
use crate::arithmetic::tensor_core::Model;

/// Which part of A takes part in the product. What is left out is exactly zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupSelection {
    /// Every row and every group: multiplies each zero.
    All,
    /// Rows that have a non-zero; every group.
    LiveRows,
    /// Rows that have a non-zero, and the groups of k where any row has one.
    LiveColumns,
    /// Pairs of live rows, and the groups of k where either row has a non-zero.
    Tiles,
    /// Single rows, and their non-zeros alone, held by group of k.
    Rows,
}

impl GroupSelection {
    pub const ALL: [GroupSelection; 5] = [
        GroupSelection::All,
        GroupSelection::LiveRows,
        GroupSelection::LiveColumns,
        GroupSelection::Tiles,
        GroupSelection::Rows,
    ];
}

/// A chunk of rows of A (m x k): operands rounded to the format, their exponents, and what the
/// selection keeps.
pub struct GroupedA {
    m: usize,
    k: usize,
    model: Model,
    selection: GroupSelection,
    isa: Isa,
    tiles: Vec<Packed>,
    /// The tiles' lists of groups; tiles with the same groups share one list.
    groups: Vec<u32>,
    /// `Rows` alone: for each tile one start more than it has groups, counted from the
    /// tile's first entry, and for each entry its k.
    starts: Vec<u32>,
    entries: Vec<u32>,
    values: Vec<f32>,
    exponents: Vec<i8>,
    window: Option<Window>,
}

/// Where a tile's parts lie.
struct Packed {
    rows: [u32; TILE_ROWS],
    count: usize,
    /// Whether only the exact path serves it.
    wild: bool,
    groups: Range<usize>,
    starts: usize,
    values: Range<usize>,
}

impl GroupedA {
    /// Prepares `a` (m x k, values of the model's format) for products under `model`.
    ///
    /// # Panics
    ///
    /// If this processor lacks `isa`, the model has no group, or m or k exceeds 2^32.
    pub fn pack(a: ArrayView2<f32>, model: Model, selection: GroupSelection, isa: Isa) -> GroupedA {
        assert!(isa.is_available(), "this processor has no {isa}");
        assert!(model.group > 0, "a group holds at least one product");
        let (m, k) = a.dim();
        u32::try_from(m.max(k)).expect("positions are 32 bits wide");
        let exponent_min = model.format.exponent_min();

        let mut row = Rounded::new(k, model);
        let mut windows = Vec::with_capacity(m);
        let mut live_groups = vec![!skips_groups(model); k.div_ceil(model.group)];
        for source in a.outer_iter() {
            row.read(source, model);
            let window = Window::of(&row.values, exponent_min);
            if selection == GroupSelection::LiveColumns && window.is_some() {
                row.mark_live(model.group, &mut live_groups);
            }
            windows.push(window);
        }
        let (window, wild) = Window::choose(&windows);

        let kept: Vec<u32> = (0..m as u32)
            .filter(|&row| selection == GroupSelection::All || windows[row as usize].is_some())
            .collect();
        let mut packed = GroupedA {
            m,
            k,
            model,
            selection,
            isa,
            tiles: Vec::new(),
            groups: Vec::new(),
            starts: Vec::new(),
            entries: Vec::new(),
            values: Vec::new(),
            exponents: Vec::new(),
            window,
        };
        match selection {
            GroupSelection::All | GroupSelection::LiveRows => {
                packed.groups.extend(0..live_groups.len() as u32);
            }
            GroupSelection::LiveColumns => packed.groups.extend(live(&live_groups)),
            GroupSelection::Tiles | GroupSelection::Rows => {}
        }
        if matches!(
            selection,
            GroupSelection::All | GroupSelection::LiveRows | GroupSelection::LiveColumns
        ) {
            let elements = kept.len() * packed.groups.len() * model.group;
            packed.values.reserve_exact(elements);
            packed.exponents.reserve_exact(elements);
        }

        let mut rows = [row, Rounded::new(k, model)];
        let window = window.unwrap_or(Window { top: 0, low: 0 });
        let tile_rows = if selection == GroupSelection::Rows { 1 } else { TILE_ROWS };
        for tile in kept.chunks(tile_rows) {
            for (&source, row) in tile.iter().zip(&mut rows) {
                row.read(a.row(source as usize), model);
                window.relative(&row.values, exponent_min, &mut row.exponents);
            }
            let wild = tile.iter().any(|&row| wild[row as usize]);
            packed.push(tile, &rows[..tile.len()], wild);
        }
        packed
    }

    /// Appends one tile.
    fn push(&mut self, tile: &[u32], rows: &[Rounded], wild: bool) {
        let group = self.model.group;
        let (first_value, first_start) = (self.values.len(), self.starts.len());
        let mut groups = 0..self.groups.len();
        match self.selection {
            GroupSelection::All | GroupSelection::LiveRows | GroupSelection::LiveColumns => {}
            GroupSelection::Tiles => {
                let mut live_groups = vec![!skips_groups(self.model); self.k.div_ceil(group)];
                rows.iter().for_each(|row| row.mark_live(group, &mut live_groups));
                groups.start = groups.end;
                self.groups.extend(live(&live_groups));
                groups.end = self.groups.len();
            }
            GroupSelection::Rows => {
                groups.start = groups.end;
                self.starts.push(0);
                let [row] = rows else { unreachable!("tiles of `Rows` hold one row") };
                let chunks = row.values.chunks(group).zip(row.exponents.chunks(group));
                for (g, (values, exponents)) in chunks.enumerate() {
                    let before = self.values.len();
                    for (i, (&value, &exponent)) in values.iter().zip(exponents).enumerate() {
                        if value != 0.0 {
                            self.entries.push((g * group + i) as u32);
                            self.values.push(value);
                            self.exponents.push(exponent);
                        }
                    }
                    if self.values.len() > before || !skips_groups(self.model) {
                        self.groups.push(g as u32);
                        self.starts.push((self.values.len() - first_value) as u32);
                    }
                }
                groups.end = self.groups.len();
            }
        }
        if self.selection != GroupSelection::Rows {
            for &g in &self.groups[groups.clone()] {
                let entries = g as usize * group..(g as usize + 1) * group;
                match rows {
                    [row] => {
                        self.values.extend_from_slice(&row.values[entries.clone()]);
                        self.exponents.extend_from_slice(&row.exponents[entries]);
                    }
                    [row, other] => {
                        let values =
                            row.values[entries.clone()].iter().zip(&other.values[entries.clone()]);
                        self.values.extend(values.flat_map(|(&x, &y)| [x, y]));
                        let exponents =
                            row.exponents[entries.clone()].iter().zip(&other.exponents[entries]);
                        self.exponents.extend(exponents.flat_map(|(&x, &y)| [x, y]));
                    }
                    _ => unreachable!("a tile holds one or two rows"),
                }
            }
        }
        self.tiles.push(Packed {
            rows: [tile[0], *tile.last().expect("a tile has a row")],
            count: tile.len(),
            wild,
            groups,
            starts: first_start,
            values: first_value..self.values.len(),
        });
    }

    /// m of this chunk.
    pub fn m(&self) -> usize {
        self.m
    }

    /// k.
    pub fn k(&self) -> usize {
        self.k
    }

    pub fn model(&self) -> Model {
        self.model
    }

    pub fn selection(&self) -> GroupSelection {
        self.selection
    }

    /// The path the kernels take.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of the packed values, exponents and lists.
    pub fn bytes_held(&self) -> usize {
        self.values.len() * size_of::<f32>()
            + self.exponents.len()
            + (self.groups.len() + self.starts.len() + self.entries.len()) * size_of::<u32>()
            + self.tiles.len() * size_of::<Packed>()
    }

    pub(super) fn window(&self) -> Option<Window> {
        self.window
    }

    pub(super) fn group_count(&self) -> usize {
        self.k.div_ceil(self.model.group)
    }

    pub(super) fn tile_count(&self) -> usize {
        self.tiles.len()
    }

    pub(super) fn first_row(&self, t: usize) -> usize {
        self.tiles[t].rows[0] as usize
    }

    pub(super) fn tile_rows(&self, t: usize) -> &[u32] {
        &self.tiles[t].rows[..self.tiles[t].count]
    }

    pub(super) fn is_wild(&self, t: usize) -> bool {
        self.tiles[t].wild
    }

    pub(super) fn tile(&self, t: usize) -> Tile<'_> {
        let tile = &self.tiles[t];
        let entries = match self.selection {
            GroupSelection::Rows => Entries::Listed {
                starts: &self.starts[tile.starts..=tile.starts + tile.groups.len()],
                k: &self.entries[tile.values.clone()],
            },
            _ => Entries::Whole,
        };
        Tile {
            rows: tile.count,
            groups: &self.groups[tile.groups.clone()],
            entries,
            values: &self.values[tile.values.clone()],
            exponents: &self.exponents[tile.values.clone()],
        }
    }
}

/// Whether a group of zeros leaves the accumulator as it is. With less than 23 fraction bits,
/// which no published model has, it cuts the accumulator short, and has to be gone through.
fn skips_groups(model: Model) -> bool {
    model.fraction_bits >= 23
}

/// Positions of the set flags.
fn live(flags: &[bool]) -> impl Iterator<Item = u32> {
    flags.iter().enumerate().filter(|&(_, &live)| live).map(|(g, _)| g as u32)
}

/// One row, rounded, and padded with zeros to whole groups.
struct Rounded {
    values: Vec<f32>,
    exponents: Vec<i8>,
}

impl Rounded {
    fn new(k: usize, model: Model) -> Rounded {
        let depth = k.next_multiple_of(model.group);
        Rounded { values: vec![0.0; depth], exponents: vec![-128; depth] }
    }

    fn read(&mut self, source: ArrayView1<f32>, model: Model) {
        match source.as_slice() {
            // Contiguous rows are the rule, and this loop turns into vector code.
            Some(source) => {
                for (value, &x) in self.values.iter_mut().zip(source) {
                    *value = model.format.round_operand(x);
                }
            }
            None => {
                for (value, &x) in self.values.iter_mut().zip(source) {
                    *value = model.format.round_operand(x);
                }
            }
        }
    }

    /// Sets the flag of every group with a non-zero element.
    fn mark_live(&self, group: usize, flags: &mut [bool]) {
        for (values, flag) in self.values.chunks(group).zip(flags) {
            *flag |= values.iter().any(|&x| x != 0.0);
        }
    }
}
