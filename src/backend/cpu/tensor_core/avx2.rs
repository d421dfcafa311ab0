//! The fast path in 256-bit vectors: the exponents of 64 columns at once, then 16 by 16.

// The indices number registers.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::{Entries, Exponents, LANES, Panel, Params, TILE_ROWS, Tile, Values};

/// # Safety
///
/// The processor has AVX2, and the operands have passed `super::check`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn run(params: Params, tile: Tile, panel: Panel, sums: &mut [Values; TILE_ROWS]) {
    // SAFETY: the caller's promise; the row count matches the first parameter.
    unsafe {
        match (tile.rows, tile.entries) {
            (1, Entries::Whole) => kernel::<1, false>(params, tile, panel, sums),
            (1, Entries::Listed { .. }) => kernel::<1, true>(params, tile, panel, sums),
            _ => kernel::<2, false>(params, tile, panel, sums),
        }
    }
}

/// # Safety
///
/// As for `run`; `tile.rows` is `R`, and `LISTED` says which kind of entries it has.
#[target_feature(enable = "avx2")]
unsafe fn kernel<const R: usize, const LISTED: bool>(
    params: Params,
    tile: Tile,
    panel: Panel,
    sums: &mut [Values; TILE_ROWS],
) {
    let (starts, listed_k) = match tile.entries {
        Entries::Whole => (&[][..], &[][..]),
        Entries::Listed { starts, k } => (starts, k),
    };
    for (i, &g) in tile.groups.iter().enumerate() {
        let first = g as usize * params.group;
        let (start, end) = if LISTED {
            (starts[i] as usize, starts[i + 1] as usize)
        } else {
            (i * params.group, (i + 1) * params.group)
        };
        let k_of = |entry: usize| {
            if LISTED {
                // SAFETY: `super::check` compared the last start with the length.
                unsafe { *listed_k.get_unchecked(entry) as usize }
            } else {
                first + (entry - start)
            }
        };

        let floor = _mm256_set1_epi8(params.floor);
        let mut top = [[floor; 2]; R];
        for entry in start..end {
            // SAFETY: k is below the panel's length and `entry * R + r` below that of the
            // tile's arrays, by `super::check`; a row of exponents is two aligned vectors.
            unsafe {
                let row = panel.exponents.get_unchecked(k_of(entry)).0.as_ptr().cast::<__m256i>();
                let v = [_mm256_load_si256(row), _mm256_load_si256(row.add(1))];
                for r in 0..R {
                    let a = _mm256_set1_epi8(*tile.exponents.get_unchecked(entry * R + r));
                    for half in 0..2 {
                        let sum = _mm256_adds_epi8(a, v[half]);
                        top[r][half] = _mm256_max_epi8(top[r][half], sum);
                    }
                }
            }
        }
        let mut tops = [Exponents([0; 64]); R];
        for r in 0..R {
            let row = tops[r].0.as_mut_ptr().cast::<__m256i>();
            // SAFETY: a row of exponents is two aligned vectors.
            unsafe {
                _mm256_store_si256(row, top[r][0]);
                _mm256_store_si256(row.add(1), top[r][1]);
            }
        }
        for c in 0..panel.vectors {
            // SAFETY: as above; `c` is below 4 by `super::check`.
            unsafe { columns::<R>(params, tile, panel, start..end, &k_of, &tops, c, sums) };
        }
    }
}

/// The second pass over one group, in columns `16 c..`.
///
/// # Safety
///
/// As for `kernel`; `entries` lie in the tile and `c` is below 4.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::too_many_arguments)]
unsafe fn columns<const R: usize>(
    params: Params,
    tile: Tile,
    panel: Panel,
    entries: std::ops::Range<usize>,
    k_of: &impl Fn(usize) -> usize,
    tops: &[Exponents; R],
    c: usize,
    sums: &mut [Values; TILE_ROWS],
) {
    let field = _mm256_set1_epi32(0x7f80_0000);
    let bias = _mm256_set1_epi32((params.bias + 127) << 23);
    // The exponent fields of 2^(F - E) and 2^(E - F), less and plus that of E.
    let scale_of = _mm256_set1_epi32((((254 + params.fraction_bits) as u32) << 23) as i32);
    let unscale_of = _mm256_set1_epi32(254 << 23);

    let mut scale = [[_mm256_setzero_ps(); 2]; R];
    // Binary64 holds every sum of a group exactly; 32-bit integers hold `terms_max` terms.
    let mut total = [[[_mm256_setzero_pd(); 2]; 2]; R];
    for r in 0..R {
        for half in 0..2 {
            let column = c * LANES + half * 8;
            // SAFETY: eight bytes and eight aligned floats from `column` < 64 on.
            let (bytes, sum) = unsafe {
                (
                    _mm_loadl_epi64(tops[r].0.as_ptr().add(column).cast()),
                    _mm256_load_ps(sums[r].0.as_ptr().add(column)),
                )
            };
            let products = _mm256_slli_epi32::<23>(_mm256_cvtepi8_epi32(bytes));
            let own = _mm256_and_si256(_mm256_castps_si256(sum), field);
            let top = _mm256_max_epi32(_mm256_add_epi32(products, bias), own);
            scale[r][half] = _mm256_castsi256_ps(_mm256_sub_epi32(scale_of, top));
            total[r][half] = widen(_mm256_cvttps_epi32(_mm256_mul_ps(sum, scale[r][half])));
        }
    }

    let mut entry = entries.start;
    while entry < entries.end {
        let stop = entries.end.min(entry + params.terms_max);
        let mut part = [[_mm256_setzero_si256(); 2]; R];
        for entry in entry..stop {
            // SAFETY: k is below the panel's length and `entry * R + r` below that of the
            // tile's arrays.
            unsafe {
                let row = panel.values.as_ptr().add(k_of(entry)).cast::<f32>().add(c * LANES);
                let v = [_mm256_load_ps(row), _mm256_load_ps(row.add(8))];
                for r in 0..R {
                    let a = _mm256_set1_ps(*tile.values.get_unchecked(entry * R + r));
                    for half in 0..2 {
                        let product = _mm256_mul_ps(a, v[half]);
                        let term = _mm256_cvttps_epi32(_mm256_mul_ps(product, scale[r][half]));
                        part[r][half] = _mm256_add_epi32(part[r][half], term);
                    }
                }
            }
        }
        for r in 0..R {
            for half in 0..2 {
                let more = widen(part[r][half]);
                for (total, more) in total[r][half].iter_mut().zip(more) {
                    *total = _mm256_add_pd(*total, more);
                }
            }
        }
        entry = stop;
    }

    for r in 0..R {
        for half in 0..2 {
            let unscale = _mm256_sub_epi32(unscale_of, _mm256_castps_si256(scale[r][half]));
            let sum = _mm256_mul_ps(narrow(total[r][half]), _mm256_castsi256_ps(unscale));
            // SAFETY: eight aligned floats of the row of sums.
            unsafe { _mm256_store_ps(sums[r].0.as_mut_ptr().add(c * LANES + half * 8), sum) };
        }
    }
}

/// 8 integers as binary64.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(x: __m256i) -> [__m256d; 2] {
    [
        _mm256_cvtepi32_pd(_mm256_castsi256_si128(x)),
        _mm256_cvtepi32_pd(_mm256_extracti128_si256::<1>(x)),
    ]
}

/// 8 integers held as binary64, truncated to 24 significant bits.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow(x: [__m256d; 2]) -> __m256 {
    // Without the lowest 29 of 52 fraction bits the conversion is exact.
    let kept = _mm256_castsi256_pd(_mm256_set1_epi64x(!0x1fff_ffff));
    let [low, high] = x.map(|x| _mm256_cvtpd_ps(_mm256_and_pd(x, kept)));
    _mm256_set_m128(high, low)
}
