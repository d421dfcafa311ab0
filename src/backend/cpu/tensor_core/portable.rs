//! The fast path in plain Rust, 16 columns at a time.

use super::{LANES, PANEL, Panel, Params, TILE_ROWS, Tile, Values};

/// A function by itself, as the other paths' are, so that its loops are the same whoever calls it.
#[inline(never)]
pub(super) fn run(params: Params, tile: Tile, panel: Panel, sums: &mut [Values; TILE_ROWS]) {
    for (row, sums) in sums.iter_mut().enumerate().take(tile.rows) {
        for c in 0..panel.vectors {
            for i in 0..tile.groups.len() {
                let sums: &mut [f32; LANES] = (&mut sums.0[c * LANES..(c + 1) * LANES])
                    .try_into()
                    .expect("a slice of that length");
                group(params, tile, row, panel, c, i, sums);
            }
        }
    }
}

/// Block `c` of 16 columns, of a length that the compiler knows.
fn block<T>(row: &[T; PANEL], c: usize) -> &[T; LANES] {
    row[c * LANES..(c + 1) * LANES].try_into().expect("a slice of that length")
}

/// `x as i32` in the fewest instructions: one bound each way, NaN included.
fn truncate(x: f32) -> i32 {
    let x = if x > -2147483648.0 { x } else { -2147483648.0 };
    let x = if x < 2147483520.0 { x } else { 2147483520.0 };
    // SAFETY: a number, and within the range of i32.
    unsafe { x.to_int_unchecked() }
}

/// The i-th group of one row.
fn group(
    params: Params,
    tile: Tile,
    row: usize,
    panel: Panel,
    c: usize,
    i: usize,
    sums: &mut [f32; LANES],
) {
    let entries = tile.range(i, params.group);
    let mut top = [params.floor; LANES];
    for entry in entries.clone() {
        let a = tile.exponents[entry * tile.rows + row];
        let v = block(&panel.exponents[tile.k(i, entry, params.group)].0, c);
        for (top, &v) in top.iter_mut().zip(v) {
            *top = (*top).max(a.saturating_add(v));
        }
    }

    // Biased exponents: the accumulator's own takes part, zero as -127 is below the floor.
    let mut scale = [0f32; LANES];
    let mut unscale = [0f32; LANES];
    for lane in 0..LANES {
        let own = (sums[lane].to_bits() >> 23 & 0xff) as i32;
        let top = own.max(i32::from(top[lane]) + params.bias + 127);
        scale[lane] = f32::from_bits(((254 + params.fraction_bits - top) as u32) << 23);
        unscale[lane] = f32::from_bits(((top - params.fraction_bits) as u32) << 23);
    }

    // Binary64 holds every sum of a group exactly; 32-bit integers hold `terms_max` terms.
    let mut total: [f64; LANES] =
        std::array::from_fn(|lane| f64::from((sums[lane] * scale[lane]) as i32));
    let mut entry = entries.start;
    while entry < entries.end {
        let end = entries.end.min(entry + params.terms_max);
        let mut part = [0i32; LANES];
        for entry in entry..end {
            let a = tile.values[entry * tile.rows + row];
            let v = block(&panel.values[tile.k(i, entry, params.group)].0, c);
            for lane in 0..LANES {
                let term = truncate(a * v[lane] * scale[lane]);
                part[lane] = part[lane].wrapping_add(term);
            }
        }
        for lane in 0..LANES {
            total[lane] += f64::from(part[lane]);
        }
        entry = end;
    }
    for lane in 0..LANES {
        // Clearing 29 of 52 fraction bits truncates to 24 significant ones.
        let truncated = f64::from_bits(total[lane].to_bits() & !0x1fff_ffff);
        sums[lane] = truncated as f32 * unscale[lane];
    }
}
