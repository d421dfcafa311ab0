//! The micro-kernel of tiles: `chains[r][j] = fma(a[k][r], v[k][j], chains[r][j])` for the k of
//! a list, in its order, with all chains in registers.

use super::Isa;
use super::packed::PANEL;

/// Tallest tile. 14 rows x 2 vectors leave 4 of the 32 AVX-512 registers for V and A.
const ROWS_MAX: usize = 14;

/// Tallest tile of a dispatch path.
pub(super) fn rows_max(isa: Isa) -> usize {
    match isa {
        // Twice what its registers hold.
        Isa::Avx2 => 12,
        Isa::Avx512 | Isa::Portable => ROWS_MAX,
    }
}

/// One tile against one k-block of one panel.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "nothing is fetched ahead"))]
pub(super) struct TileCall<'a> {
    pub isa: Isa,
    pub height: usize,
    /// A: `[ks.len()][height]`.
    pub values: &'a [f32],
    /// Rows of the panel to multiply with.
    pub ks: &'a [u32],
    /// V: `[k][32]`, 64-byte aligned.
    pub panel: &'a [f32],
    /// Columns of the panel that matter.
    pub width: usize,
    /// `[height][32]`, 64-byte aligned.
    pub chains: &'a mut [f32],
    /// Values that will be wanted next, to be brought into L2 meanwhile; may be empty.
    pub ahead: &'a [f32],
    /// Rows of V that will be wanted after that, likewise: a line for each k.
    pub ahead_v: &'a [f32],
    /// Start the chains at +0 instead of continuing them.
    pub fresh: bool,
}

/// Runs the kernel of the call's dispatch path. Panics where the call's lengths do not fit each other.
///
/// # Safety
///
/// The path is available, and each k of `ks` is a row of the panel: a look at every k would cost what a row of the tile
/// costs.
pub(super) unsafe fn run_tile(call: TileCall<'_>) {
    assert!((1..=ROWS_MAX).contains(&call.height) && call.width <= PANEL, "size of a tile");
    assert_eq!(call.values.len(), call.ks.len() * call.height, "values of a tile");
    assert_eq!(call.chains.len(), call.height * PANEL, "chains of a tile");
    let aligned = |values: &[f32]| values.as_ptr().addr().is_multiple_of(64);
    assert!(aligned(call.panel) && aligned(call.chains), "alignment of a tile's panel and chains");
    debug_assert!(call.ks.iter().all(|&k| (k as usize + 1) * PANEL <= call.panel.len()));
    match call.isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise, and what is asserted above.
        Isa::Avx512 => unsafe { x86::run_avx512(call) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { x86::run_avx2(call) },
        _ => run_portable(call),
    }
}

/// A function by itself, as the other paths' are, so that its loops are the same whoever calls it.
#[inline(never)]
fn run_portable(call: TileCall<'_>) {
    if call.fresh {
        call.chains.fill(0.0);
    }
    for (values, &k) in call.values.chunks_exact(call.height).zip(call.ks) {
        let v = &call.panel[k as usize * PANEL..][..call.width];
        for (&a, chains) in values.iter().zip(call.chains.chunks_exact_mut(PANEL)) {
            for (chain, &v) in chains.iter_mut().zip(v) {
                *chain = a.mul_add(v, *chain);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
// Registers are named by row and column; iterators over nested arrays hide that.
#[allow(clippy::needless_range_loop)]
mod x86 {
    use std::arch::x86_64::*;
    use std::ops::Range;

    use super::{PANEL, TileCall};

    /// Values in a cache line.
    const LINE: usize = 16;

    /// # Safety
    ///
    /// AVX-512 F is available; the call's lengths fit each other and its `ks` the panel.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn run_avx512(call: TileCall<'_>) {
        // SAFETY: handed on; one vector covers a width up to 16.
        unsafe {
            if call.width > 16 { by_height_avx512::<2>(call) } else { by_height_avx512::<1>(call) }
        }
    }

    /// `Z` vectors of columns.
    ///
    /// # Safety
    ///
    /// As for [`run_avx512`].
    #[target_feature(enable = "avx512f")]
    unsafe fn by_height_avx512<const Z: usize>(call: TileCall<'_>) {
        macro_rules! heights {
            ($($h:literal)*) => {
                match call.height {
                    // SAFETY: handed on, with the tile's height.
                    $($h => unsafe { tile_avx512::<$h, Z>(call) },)*
                    height => unreachable!("tile of {height} rows"),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }

    /// `H` rows, all chains in registers.
    ///
    /// # Safety
    ///
    /// As for [`run_avx512`]; the call's height is `H`.
    #[target_feature(enable = "avx512f")]
    unsafe fn tile_avx512<const H: usize, const Z: usize>(call: TileCall<'_>) {
        let chains = call.chains.as_mut_ptr();
        let panel = call.panel.as_ptr();
        let mut values = call.values.as_ptr();
        // Prefetching what is in L1 costs next to nothing, a branch would.
        let mut ahead = if call.ahead.is_empty() { values } else { call.ahead.as_ptr() };
        let mut ahead_v = if call.ahead_v.is_empty() { values } else { call.ahead_v.as_ptr() };
        let mut y = [[_mm512_setzero_ps(); Z]; H];
        // SAFETY: chains are `H x 32`, values `ks.len() x H`, each k a row of the panel; panel
        // and chains start on 64-byte boundaries and their rows are multiples of that.
        unsafe {
            if !call.fresh {
                for r in 0..H {
                    for z in 0..Z {
                        y[r][z] = _mm512_load_ps(chains.add(r * PANEL + z * 16));
                    }
                }
            }
            for &k in call.ks {
                // One line an iteration covers the next tile: `H` values are less than a line.
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(H);
                _mm_prefetch::<_MM_HINT_T1>(ahead_v.cast());
                ahead_v = ahead_v.wrapping_add(LINE);
                let row = panel.add(k as usize * PANEL);
                let mut v = [_mm512_setzero_ps(); Z];
                for z in 0..Z {
                    v[z] = _mm512_load_ps(row.add(z * 16));
                }
                for r in 0..H {
                    let a = _mm512_set1_ps(*values.add(r));
                    for z in 0..Z {
                        y[r][z] = _mm512_fmadd_ps(a, v[z], y[r][z]);
                    }
                }
                values = values.add(H);
            }
            for r in 0..H {
                for z in 0..Z {
                    _mm512_store_ps(chains.add(r * PANEL + z * 16), y[r][z]);
                }
            }
        }
    }

    /// # Safety
    ///
    /// AVX2 and FMA are available; the call's lengths fit each other and its `ks` the panel.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn run_avx2(mut call: TileCall<'_>) {
        // Six rows x two vectors leave 4 of the 16 registers for V and A.
        const ROWS: usize = 6;
        // So many rows of V, 16 KiB of it, stay in L1 for all rows and both halves of a tile.
        const KS: usize = 128;
        if call.fresh && call.ks.is_empty() {
            call.chains.fill(0.0);
        }
        let here = call.values.as_ptr();
        for start in (0..call.ks.len()).step_by(KS) {
            let ks = start..call.ks.len().min(start + KS);
            // The first pass fetches the next values, the second the next rows of V, later ones what is there.
            let mut passes = [(call.ahead, call.height), (call.ahead_v, LINE)].into_iter();
            for column in (0..call.width).step_by(16) {
                for row in (0..call.height).step_by(ROWS) {
                    let ahead = match passes.next() {
                        Some((ahead, step)) if !ahead.is_empty() => {
                            (ahead.as_ptr().wrapping_add(start * step), step)
                        }
                        _ => (here, 0),
                    };
                    macro_rules! heights {
                        ($($h:literal)*) => {
                            match ROWS.min(call.height - row) {
                                // SAFETY: handed on; `row + $h <= height`, `column + 16 <= 32`, and `ks` are the call's.
                                $($h => unsafe {
                                    tile_avx2::<$h>(&mut call, ks.clone(), row, column, ahead)
                                },)*
                                height => unreachable!("tile of {height} rows"),
                            }
                        };
                    }
                    heights!(1 2 3 4 5 6)
                }
            }
        }
    }

    /// Positions `ks`, rows `row..row + H` and columns `column..column + 16` of a call; fetches a line for each k from
    /// `ahead` on.
    ///
    /// # Safety
    ///
    /// As for [`run_avx2`]; `row + H` is at most the height, `column` a multiple of 8 up to 16, and `ks` lie in the call's.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_avx2<const H: usize>(
        call: &mut TileCall<'_>,
        ks: Range<usize>,
        row: usize,
        column: usize,
        (mut ahead, step): (*const f32, usize),
    ) {
        let stride = call.height;
        // SAFETY: the parts named above lie inside chains `height x 32` and values
        // `ks.len() x height`, and each k is a row of the panel; panel and chains start on
        // 64-byte boundaries, and rows and columns are multiples of 32 bytes apart.
        unsafe {
            let chains = call.chains.as_mut_ptr().add(row * PANEL + column);
            let panel = call.panel.as_ptr().add(column);
            let mut values = call.values.as_ptr().wrapping_add(ks.start * stride + row);
            let mut y = [[_mm256_setzero_ps(); 2]; H];
            if !call.fresh || ks.start > 0 {
                for r in 0..H {
                    for z in 0..2 {
                        y[r][z] = _mm256_load_ps(chains.add(r * PANEL + z * 8));
                    }
                }
            }
            for &k in &call.ks[ks] {
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(step);
                let v = panel.add(k as usize * PANEL);
                let v = [_mm256_load_ps(v), _mm256_load_ps(v.add(8))];
                for r in 0..H {
                    let a = _mm256_broadcast_ss(&*values.add(r));
                    for z in 0..2 {
                        y[r][z] = _mm256_fmadd_ps(a, v[z], y[r][z]);
                    }
                }
                values = values.wrapping_add(stride);
            }
            for r in 0..H {
                for z in 0..2 {
                    _mm256_store_ps(chains.add(r * PANEL + z * 8), y[r][z]);
                }
            }
        }
    }
}
