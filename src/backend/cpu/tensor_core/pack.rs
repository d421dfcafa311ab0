//! A as the kernels read it.

use std::mem::MaybeUninit;
use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2};

use super::{Entries, Isa, TILE_ROWS, Tile, Window, bulk};
use crate::backend::cpu::nonzero_bits;
use contract::arithmetic::tensor_core::{Format, Model};

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

        let mut reader = Reader::new(k, model);
        let mut windows = Vec::with_capacity(m);
        let mut nonzeros = 0;
        let mut live_bits = vec![0; reader.bits[0].len()];
        for source in a.outer_iter() {
            let row = reader.rows[0].read(source, model, isa);
            windows.push(bulk::window(isa, row, exponent_min));
            if matches!(selection, GroupSelection::Rows | GroupSelection::LiveColumns) {
                nonzeros += nonzero_bits(row, &mut reader.bits[0]);
                live_bits.iter_mut().zip(&reader.bits[0]).for_each(|(live, bits)| *live |= bits);
            }
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
                packed.groups.extend(0..packed.group_count() as u32);
            }
            GroupSelection::LiveColumns => {
                packed.groups.extend_from_slice(reader.lists.find(&live_bits, model, isa).0);
            }
            GroupSelection::Tiles => {}
            GroupSelection::Rows => {
                packed.entries.reserve_exact(nonzeros + bulk::SLACK);
                packed.values.reserve_exact(nonzeros + bulk::SLACK);
                packed.exponents.reserve_exact(nonzeros);
            }
        }
        // Without a list of its own, each tile goes through this one.
        let elements = kept.len() * packed.groups.len() * model.group;
        packed.values.reserve_exact(elements);
        packed.exponents.reserve_exact(elements);

        let tile_rows = if selection == GroupSelection::Rows { 1 } else { TILE_ROWS };
        for tile in kept.chunks(tile_rows) {
            let wild = tile.iter().any(|&row| wild[row as usize]);
            packed.push(tile, wild, a, &mut reader);
        }
        packed
    }

    /// Appends one tile.
    fn push(&mut self, tile: &[u32], wild: bool, a: ArrayView2<f32>, reader: &mut Reader) {
        let (model, isa) = (self.model, self.isa);
        let exponent_min = model.format.exponent_min();
        let window = self.window.unwrap_or(Window { top: 0, low: 0 });
        let (first_value, first_start) = (self.values.len(), self.starts.len());
        let mut groups = 0..self.groups.len();
        let Reader { rows: [row, other], bits: [bits, other_bits], lists } = reader;
        let row = row.read(a.row(tile[0] as usize), model, isa);
        let other = match *tile {
            [_, other_row] => Some(other.read(a.row(other_row as usize), model, isa)),
            _ => None,
        };
        match self.selection {
            GroupSelection::All | GroupSelection::LiveRows | GroupSelection::LiveColumns => {}
            GroupSelection::Tiles => {
                nonzero_bits(row, bits);
                if let Some(other) = other {
                    nonzero_bits(other, other_bits);
                    bits.iter_mut().zip(other_bits).for_each(|(bits, other)| *bits |= *other);
                }
                groups.start = groups.end;
                self.groups.extend_from_slice(lists.find(bits, model, isa).0);
                groups.end = self.groups.len();
            }
            GroupSelection::Rows => {
                let count = nonzero_bits(row, bits);
                let (live, ends) = lists.find(bits, model, isa);
                groups.start = groups.end;
                self.groups.extend_from_slice(live);
                groups.end = self.groups.len();
                self.starts.push(0);
                self.starts.extend_from_slice(ends);

                let values = spare(&mut self.values, count + bulk::SLACK);
                let entries = spare(&mut self.entries, count + bulk::SLACK);
                bulk::compress(isa, row, bits, values, entries);
                // SAFETY: there is room for these, and `compress` has written them.
                unsafe {
                    self.values.set_len(first_value + count);
                    self.entries.set_len(first_value + count);
                }
                let exponents = spare(&mut self.exponents, count);
                let values = &self.values[first_value..];
                bulk::relative(isa, window, exponent_min, values, exponents);
                // SAFETY: there is room for these, and `relative` has written them.
                unsafe { self.exponents.set_len(first_value + count) };
            }
        }
        if self.selection != GroupSelection::Rows {
            let elements = groups.len() * model.group * tile.len();
            let mut values = spare(&mut self.values, elements);
            let mut exponents = spare(&mut self.exponents, elements);
            // One pass for each run of neighbouring groups.
            for run in self.groups[groups.clone()].chunk_by(|&g, &next| g + 1 == next) {
                let first = run[0] as usize * model.group;
                let k = first..first + run.len() * model.group;
                let (to_values, rest) = values.split_at_mut(k.len() * tile.len());
                values = rest;
                let (to_exponents, rest) = exponents.split_at_mut(k.len() * tile.len());
                exponents = rest;
                let row = &row[k.clone()];
                match other {
                    Some(other) => {
                        let rows = [row, &other[k]];
                        bulk::weave(isa, window, exponent_min, rows, to_values, to_exponents);
                    }
                    None => {
                        to_values.iter_mut().zip(row).for_each(|(to, &x)| _ = to.write(x));
                        bulk::relative(isa, window, exponent_min, row, to_exponents);
                    }
                }
            }
            assert!(values.is_empty() && exponents.is_empty(), "the runs are all groups");
            // SAFETY: there is room for these; the pieces handed out above are written from
            // end to end, and they are all of the room.
            unsafe {
                self.values.set_len(first_value + elements);
                self.exponents.set_len(first_value + elements);
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
            GroupSelection::All
            | GroupSelection::LiveRows
            | GroupSelection::LiveColumns
            | GroupSelection::Tiles => Entries::Whole,
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

/// Room for `len` more elements, not yet part of the vector.
fn spare<T>(vec: &mut Vec<T>, len: usize) -> &mut [MaybeUninit<T>] {
    vec.reserve(len);
    &mut vec.spare_capacity_mut()[..len]
}

/// What a tile's rows go through, kept from tile to tile.
struct Reader {
    rows: [Rounded; TILE_ROWS],
    /// Where each row's non-zeros are.
    bits: [Vec<u64>; TILE_ROWS],
    lists: Lists,
}

impl Reader {
    fn new(k: usize, model: Model) -> Reader {
        let depth = k.next_multiple_of(model.group);
        Reader {
            rows: [(); TILE_ROWS].map(|()| Rounded { depth, copy: Vec::new() }),
            bits: [(); TILE_ROWS].map(|()| vec![0; depth.div_ceil(64)]),
            lists: Lists {
                groups: vec![0; depth / model.group],
                ends: vec![0; depth / model.group],
            },
        }
    }
}

/// One row, rounded, and padded with zeros to whole groups.
struct Rounded {
    depth: usize,
    /// Empty until a row needs it.
    copy: Vec<f32>,
}

impl Rounded {
    /// The row itself where it is contiguous and needs neither rounding nor padding.
    fn read<'a>(&'a mut self, source: ArrayView1<'a, f32>, model: Model, isa: Isa) -> &'a [f32] {
        let slice = source.to_slice();
        if let Some(slice) = slice
            && slice.len() == self.depth
            && model.format != Format::Tf32
        {
            return slice;
        }
        self.copy.resize(self.depth, 0.0);
        let copy = &mut self.copy[..source.len()];
        match slice {
            Some(slice) => bulk::round(isa, model.format, slice, copy),
            None => {
                for (value, &x) in copy.iter_mut().zip(source) {
                    *value = model.format.round_operand(x);
                }
            }
        }
        &self.copy
    }
}

/// Groups of one row or tile that take part.
struct Lists {
    groups: Vec<u32>,
    ends: Vec<u32>,
}

impl Lists {
    /// The groups with a bit set, and the number of bits set up to the end of each.
    fn find(&mut self, bits: &[u64], model: Model, isa: Isa) -> (&[u32], &[u32]) {
        let all = !skips_groups(model);
        let count =
            bulk::list_groups(isa, bits, model.group, all, &mut self.groups, &mut self.ends);
        (&self.groups[..count], &self.ends[..count])
    }
}
