//! The fast path in 512-bit vectors: up to 64 columns of one or two rows at once.

// The indices number registers.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::{Entries, LANES, Panel, Params, TILE_ROWS, Tile, Values};

const TRUNCATE: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;

/// # Safety
///
/// The processor has AVX-512 F, BW, DQ and VL, and the operands have passed `super::check`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run(params: Params, tile: Tile, panel: Panel, sums: &mut [Values; TILE_ROWS]) {
    macro_rules! vectors {
        ($rows:literal, $listed:literal, $wide:literal) => {
            match panel.vectors {
                1 => kernel::<$rows, 1, $listed, $wide>(params, tile, panel, sums),
                2 => kernel::<$rows, 2, $listed, $wide>(params, tile, panel, sums),
                // A third block costs less than a kernel of its own: padding is zero.
                _ => kernel::<$rows, 4, $listed, $wide>(params, tile, panel, sums),
            }
        };
    }
    let listed = matches!(tile.entries, Entries::Listed { .. });
    let wide = params.group > params.terms_max;
    // SAFETY: the caller's promise; the row count matches the first parameter.
    unsafe {
        match (tile.rows, listed, wide) {
            (1, false, false) => vectors!(1, false, false),
            (1, false, true) => vectors!(1, false, true),
            (1, true, false) => vectors!(1, true, false),
            (1, true, true) => vectors!(1, true, true),
            (_, _, false) => vectors!(2, false, false),
            (_, _, true) => vectors!(2, false, true),
        }
    }
}

/// `R` rows, `C` blocks of 16 columns. `WIDE` where 32 bits do not hold a group's sum.
///
/// # Safety
///
/// As for `run`; `tile.rows` is `R`, and `LISTED` says which kind of entries it has.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn kernel<const R: usize, const C: usize, const LISTED: bool, const WIDE: bool>(
    params: Params,
    tile: Tile,
    panel: Panel,
    sums: &mut [Values; TILE_ROWS],
) {
    let fraction = params.fraction_bits;
    let floor = _mm512_set1_epi8(params.floor);
    let field = _mm512_set1_epi32(0x7f80_0000);
    let bias = _mm512_set1_epi32((params.bias + 127) << 23);
    // The exponent fields of 2^(F - E) and 2^(E - F), less and plus that of E.
    let scale_of = _mm512_set1_epi32((((254 + fraction) as u32) << 23) as i32);
    let unscale_of = _mm512_set1_epi32(254 << 23);

    let (starts, listed_k) = match tile.entries {
        Entries::Whole => (&[][..], &[][..]),
        Entries::Listed { starts, k } => (starts, k),
    };
    // SAFETY: every k of an entry is below the panel's length (a whole group ends at most at
    // it; listed ones were packed from the same k), and `entry * R + row` is below the length
    // of the tile's arrays: all checked by `super::check`.
    let k_of = |first: usize, start: usize, entry: usize| unsafe {
        if LISTED { *listed_k.get_unchecked(entry) as usize } else { first + (entry - start) }
    };
    // SAFETY: as above; a k of the panel has 64 exponents.
    let v_exponents =
        |k: usize| unsafe { _mm512_load_si512(panel.exponents.get_unchecked(k).0.as_ptr().cast()) };
    // SAFETY: as above; a k of the panel has four vectors of values, and `c` is below 4.
    let v_values = |k: usize, c: usize| unsafe {
        _mm512_load_ps(panel.values.as_ptr().add(k).cast::<f32>().add(c * LANES))
    };
    // SAFETY: as above; `i` is an entry's place in the tile's arrays.
    let a_exponent = |i: usize| _mm512_set1_epi8(unsafe { *tile.exponents.get_unchecked(i) });
    // SAFETY: likewise.
    let a_value = |i: usize| _mm512_set1_ps(unsafe { *tile.values.get_unchecked(i) });

    for (i, &g) in tile.groups.iter().enumerate() {
        let first = g as usize * params.group;
        let (start, end) = if LISTED {
            (starts[i] as usize, starts[i + 1] as usize)
        } else {
            (i * params.group, (i + 1) * params.group)
        };

        let mut top = [floor; R];
        for entry in start..end {
            let v = v_exponents(k_of(first, start, entry));
            for r in 0..R {
                let sum = _mm512_adds_epi8(a_exponent(entry * R + r), v);
                top[r] = _mm512_max_epi8(top[r], sum);
            }
        }

        let mut scale = [[_mm512_setzero_ps(); C]; R];
        for r in 0..R {
            let bytes = quarters(top[r]);
            for c in 0..C {
                let products = _mm512_slli_epi32::<23>(_mm512_cvtepi8_epi32(bytes[c]));
                // SAFETY: a `Values` holds four aligned vectors, and `c` < `C` <= 4.
                let sum = unsafe { _mm512_load_si512(sums[r].0.as_ptr().add(c * LANES).cast()) };
                let top = _mm512_max_epi32(
                    _mm512_add_epi32(products, bias),
                    _mm512_and_si512(sum, field),
                );
                scale[r][c] = _mm512_castsi512_ps(_mm512_sub_epi32(scale_of, top));
            }
        }

        let mut part = [[_mm512_setzero_si512(); C]; R];
        let mut total = [[[_mm512_setzero_pd(); 2]; C]; R];
        let mut entry = start;
        loop {
            let stop = if WIDE { end.min(entry + params.terms_max) } else { end };
            for entry in entry..stop {
                let k = k_of(first, start, entry);
                let mut v = [_mm512_setzero_ps(); C];
                for c in 0..C {
                    v[c] = v_values(k, c);
                }
                for r in 0..R {
                    let a = a_value(entry * R + r);
                    for c in 0..C {
                        let product = _mm512_mul_ps(a, v[c]);
                        let term = _mm512_cvttps_epi32(_mm512_mul_ps(product, scale[r][c]));
                        part[r][c] = _mm512_add_epi32(part[r][c], term);
                    }
                }
            }
            entry = stop;
            if !WIDE || entry == end {
                break;
            }
            for r in 0..R {
                for c in 0..C {
                    let halves = widen(part[r][c]);
                    total[r][c] = add(total[r][c], halves);
                    part[r][c] = _mm512_setzero_si512();
                }
            }
        }

        let mut own = [[_mm512_setzero_si512(); C]; R];
        let mut next = [[_mm512_setzero_ps(); C]; R];
        let mut overflow = _mm512_setzero_si512();
        for r in 0..R {
            for c in 0..C {
                // SAFETY: as above.
                let sum = unsafe { _mm512_load_ps(sums[r].0.as_ptr().add(c * LANES)) };
                own[r][c] = _mm512_cvttps_epi32(_mm512_mul_ps(sum, scale[r][c]));
                if !WIDE {
                    let all = _mm512_add_epi32(part[r][c], own[r][c]);
                    // Sign bit set where both addends differ in sign from the sum.
                    let wrapped = _mm512_ternarylogic_epi32::<0x42>(part[r][c], own[r][c], all);
                    overflow = _mm512_or_si512(overflow, wrapped);
                    next[r][c] = _mm512_cvt_roundepi32_ps::<TRUNCATE>(all);
                }
            }
        }
        // Sixteen products near the largest and an accumulator can just pass 2^31.
        if WIDE || _mm512_movepi32_mask(overflow) != 0 {
            for r in 0..R {
                for c in 0..C {
                    let all = add(widen(part[r][c]), widen(own[r][c]));
                    next[r][c] = narrow(add(all, total[r][c]));
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let unscale = _mm512_sub_epi32(unscale_of, _mm512_castps_si512(scale[r][c]));
                let sum = _mm512_mul_ps(next[r][c], _mm512_castsi512_ps(unscale));
                // SAFETY: as above.
                unsafe { _mm512_store_ps(sums[r].0.as_mut_ptr().add(c * LANES), sum) };
            }
        }
    }
}

/// The four 16-byte quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(x: __m512i) -> [__m128i; 4] {
    [
        _mm512_castsi512_si128(x),
        _mm512_extracti32x4_epi32::<1>(x),
        _mm512_extracti32x4_epi32::<2>(x),
        _mm512_extracti32x4_epi32::<3>(x),
    ]
}

/// 16 integers as binary64.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(x: __m512i) -> [__m512d; 2] {
    [
        _mm512_cvtepi32_pd(_mm512_castsi512_si256(x)),
        _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64::<1>(x)),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(x: [__m512d; 2], y: [__m512d; 2]) -> [__m512d; 2] {
    [_mm512_add_pd(x[0], y[0]), _mm512_add_pd(x[1], y[1])]
}

/// 16 integers held as binary64, truncated to 24 significant bits.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn narrow(x: [__m512d; 2]) -> __m512 {
    let low = _mm512_castps256_ps512(_mm512_cvt_roundpd_ps::<TRUNCATE>(x[0]));
    _mm512_insertf32x8::<1>(low, _mm512_cvt_roundpd_ps::<TRUNCATE>(x[1]))
}
