//! Products in tiles of AMX: integers as three digits of 8 bits, five sums of 32 bits by the digits' weight.
//!
//! A tile of A is 16 rows by 64 k of one digit, a tile of V 64 k by 16 columns. Operands are cut so that those of A stay in
//! the first cache and those of V in the second while they are used.

use std::cell::RefCell;
use std::ops::Range;

use super::super::amx::{self, TILE_BYTES, Tiles};
use super::super::per_isa;
use super::pack::{FixedA, Tile};
use super::panels::FixedV;
use super::{DIGITS, Path};

/// Rows of a tile, and columns of a panel.
pub(super) const SIDE: usize = 16;
/// k of an entry.
pub(super) const ENTRY: usize = 64;
/// Bytes of an entry of a tile of A or of a panel of V.
const ENTRY_BYTES: usize = DIGITS * TILE_BYTES;
/// Entries after which the sums leave the tiles: 36 KiB of A, of 48 in the first cache.
const ENTRIES_AT_ONCE: usize = 12;
/// Entries until the sums go to 64 bits: two products of digits a k, each up to 2^14, in 32 bits with a sign.
pub(super) const ENTRIES_MAX: usize = 80 * ENTRIES_AT_ONCE;
const _: () = assert!(2 * (1u64 << 14) * ((ENTRIES_MAX * ENTRY) as u64) < 1 << 31);
/// Sums of 32 bits for each output. Three products have the middle weight: the third has a sum of its own, which also
/// leaves time between additions to the same tile.
const PARTS: usize = 6;

/// A cache line of sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([i32; 16]);

/// Lines of the sums of a tile and a panel.
const LINES: usize = PARTS * SIDE;

thread_local! {
    /// Sums of 32 bits, kept from call to call.
    static SUMS: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Adds the products of `tiles` and `panels` to `sums`, which are `[tile][panel][height][SIDE]`.
pub(super) fn add(a: &FixedA, v: &FixedV, tiles: &[Tile], panels: Range<usize>, sums: &mut [i64]) {
    match a.path() {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Path::Amx => {
            let by = &mut amx::Hardware::configure(amx::Operands::Int8);
            add_by(by, a, v, tiles, panels, sums);
        }
        #[cfg(test)]
        Path::AmxModel => {
            add_by(&mut amx::Model::new(), a, v, tiles, panels, sums);
        }
        _ => unreachable!("refused by `FixedA::pack`"),
    }
}

fn add_by<T: Tiles>(
    by: &mut T,
    a: &FixedA,
    v: &FixedV,
    tiles: &[Tile],
    panels: Range<usize>,
    sums: &mut [i64],
) {
    let longest = tiles.iter().map(|tile| a.list(tile).len()).max().unwrap_or(0);
    SUMS.with_borrow_mut(|parts| {
        parts.resize(tiles.len() * panels.len() * LINES, Line([0; 16]));
        for chunk in (0..longest).step_by(ENTRIES_MAX) {
            let end = longest.min(chunk + ENTRIES_MAX);
            for start in (chunk..end).step_by(ENTRIES_AT_ONCE) {
                for (i, tile) in tiles.iter().enumerate() {
                    let (ks, values) = a.entries(tile, start, ENTRIES_AT_ONCE);
                    if ks.is_empty() && start > chunk {
                        continue;
                    }
                    let next = match tiles.get(i + 1) {
                        Some(next) => a.entries(next, start, ENTRIES_AT_ONCE).1,
                        None => a.entries(&tiles[0], start + ENTRIES_AT_ONCE, ENTRIES_AT_ONCE).1,
                    };
                    let next: &[u8] = bytemuck::cast_slice(next);
                    for (q, p) in panels.clone().enumerate() {
                        let panel: &[u8] = bytemuck::cast_slice(v.panel(p));
                        // What follows in this panel, where k do.
                        let after = ks.last().map_or(0, |&k| (k as usize + 1) * ENTRY_BYTES);
                        let after = &panel[after..panel.len().min(after + ks.len() * ENTRY_BYTES)];
                        let ahead = [share(next, q, panels.len()), share(after, i, tiles.len())];
                        let at = (i * panels.len() + q) * LINES;
                        let parts = (&mut parts[at..at + LINES]).try_into();
                        let parts = parts.unwrap_or_else(|_| unreachable!("as many as taken"));
                        multiply(
                            by,
                            ks,
                            bytemuck::cast_slice(values),
                            panel,
                            parts,
                            start == chunk,
                            ahead,
                        );
                    }
                }
            }
            let mut rest = &mut sums[..];
            for (i, tile) in tiles.iter().enumerate() {
                for q in 0..panels.len() {
                    let to;
                    (to, rest) = std::mem::take(&mut rest).split_at_mut(tile.height * SIDE);
                    join(a.path().isa(), &parts[(i * panels.len() + q) * LINES..][..LINES], to);
                }
            }
        }
    });
}

/// The part `i` of `count` of what is fetched.
fn share(bytes: &[u8], i: usize, count: usize) -> &[u8] {
    &bytes[bytes.len() * i / count..bytes.len() * (i + 1) / count]
}

/// The sums of one tile of A and one panel of V get the products of some entries added, or start with them.
fn multiply<T: Tiles>(
    by: &mut T,
    ks: &[u32],
    values: &[u8],
    panel: &[u8],
    parts: &mut [Line; LINES],
    is_first: bool,
    ahead: [&[u8]; 2],
) {
    assert_eq!(values.len(), ks.len() * ENTRY_BYTES);
    let parts = parts.as_mut_ptr().cast::<u8>();
    // SAFETY: six tiles of sums.
    unsafe {
        match is_first {
            true => {
                by.zero::<0>();
                by.zero::<1>();
                by.zero::<2>();
                by.zero::<3>();
                by.zero::<4>();
                by.zero::<5>();
            }
            false => {
                by.load::<0>(parts);
                by.load::<1>(parts.add(TILE_BYTES));
                by.load::<2>(parts.add(2 * TILE_BYTES));
                by.load::<3>(parts.add(3 * TILE_BYTES));
                by.load::<4>(parts.add(4 * TILE_BYTES));
                by.load::<5>(parts.add(5 * TILE_BYTES));
            }
        }
    }
    // Lines to fetch for each entry.
    let lines = ahead.map(|ahead| ahead.len().div_ceil(64 * ks.len().max(1)));
    for (i, &k) in ks.iter().enumerate() {
        let [a0, a1, a2] = digits(&values[i * ENTRY_BYTES..][..ENTRY_BYTES]);
        let [v0, v1, v2] = digits(&panel[k as usize * ENTRY_BYTES..][..ENTRY_BYTES]);
        // A way through the nine pairs on which each step changes one operand.
        // SAFETY: each pointer is that of a whole tile.
        unsafe {
            by.load::<6>(a0);
            by.load::<7>(v0);
            by.dot_i8::<0, 6, 7>();
            by.load::<7>(v1);
            by.dot_i8::<1, 6, 7>();
            by.load::<7>(v2);
            by.dot_i8::<2, 6, 7>();
            by.load::<6>(a1);
            by.dot_i8::<3, 6, 7>();
            by.load::<7>(v1);
            by.dot_i8::<5, 6, 7>();
            by.load::<7>(v0);
            by.dot_i8::<1, 6, 7>();
            by.load::<6>(a2);
            by.dot_i8::<2, 6, 7>();
            by.load::<7>(v1);
            by.dot_i8::<3, 6, 7>();
            by.load::<7>(v2);
            by.dot_i8::<4, 6, 7>();
        }
        for (ahead, &lines) in ahead.iter().zip(&lines) {
            for line in i * lines..(i + 1) * lines {
                by.fetch(ahead.as_ptr().wrapping_add(64 * line));
            }
        }
    }
    // SAFETY: six tiles of sums.
    unsafe {
        by.store::<0>(parts);
        by.store::<1>(parts.add(TILE_BYTES));
        by.store::<2>(parts.add(2 * TILE_BYTES));
        by.store::<3>(parts.add(3 * TILE_BYTES));
        by.store::<4>(parts.add(4 * TILE_BYTES));
        by.store::<5>(parts.add(5 * TILE_BYTES));
    }
}

/// The tiles of an entry's digits, the greatest first.
#[inline(always)]
fn digits(entry: &[u8]) -> [*const u8; DIGITS] {
    assert_eq!(entry.len(), ENTRY_BYTES);
    [0, TILE_BYTES, 2 * TILE_BYTES].map(|at| entry[at..].as_ptr())
}

per_isa! {
    /// Adds the sums of digits' products, each by its weight, to sums in 64 bits, of as many rows as there are.
    fn join(parts: &[Line], sums: &mut [i64]) {
        for (r, sums) in sums.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
            for (c, sum) in sums.iter_mut().enumerate() {
                let part = |i: usize| i64::from(parts[i * SIDE + r].0[c]);
                let high = (part(0) << 8) + part(1);
                let low = (part(3) << 8) + part(4);
                let all = (high << 24).wrapping_add((part(2) + part(5)) << 16).wrapping_add(low);
                *sum = sum.wrapping_add(all);
            }
        }
    }
}
