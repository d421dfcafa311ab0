//! One tile of A times one panel of V: sums of products, added to 64-bit integers.

use super::panels::{FixedV, HALVES, TO_INTEGER};
use super::{Path, TERMS_MAX};

/// The operands of one call. `sums` are `[height][panel]`, and are added to.
pub(super) struct Call<'a> {
    pub path: Path,
    pub height: usize,
    /// Entries of V, [`Path::entries_max`] at most.
    pub ks: &'a [u32],
    /// `[entry][height][words]`.
    pub values: &'a [i32],
    /// The same in binary64 where the path sums so.
    pub wide: &'a [f64],
    pub v: &'a FixedV,
    pub panel: usize,
    pub sums: &'a mut [i64],
}

/// # Safety
///
/// The path is available, and every entry is one of V.
pub(super) unsafe fn run(call: Call<'_>) {
    let Call { path, height, ks, values, wide, v, panel, sums } = call;
    assert!((1..=path.rows_max()).contains(&height));
    assert!(ks.len() <= path.entries_max());
    assert_eq!(sums.len(), height * path.panel());
    debug_assert!(ks.iter().all(|&k| (k as usize) < v.entries()));
    let panel = v.panel(panel);
    match path {
        Path::Vnni => assert_eq!(values.len(), ks.len() * height * HALVES),
        Path::Portable | Path::Avx2 | Path::Avx512 => assert_eq!(wide.len(), ks.len() * height),
    }
    macro_rules! by_height {
        ($kernel:path, $values:expr, $panel:expr, [$($rows:literal)*]) => {
            match height {
                // SAFETY: the caller's promise; lengths were compared above.
                $($rows => unsafe { $kernel(ks, $values, $panel, sums.as_chunks_mut().0.as_chunks_mut::<$rows>().0) },)*
                _ => unreachable!("compared with the most above"),
            }
        };
    }
    match path {
        Path::Portable => match height {
            1 => portable::<1>(ks, wide, bytemuck::cast_slice(panel), sums),
            2 => portable::<2>(ks, wide, bytemuck::cast_slice(panel), sums),
            3 => portable::<3>(ks, wide, bytemuck::cast_slice(panel), sums),
            _ => portable::<4>(ks, wide, bytemuck::cast_slice(panel), sums),
        },
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => by_height!(x86::avx2, wide.as_ptr(), panel.as_ptr().cast(), [1 2 3 4 5 6]),
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => {
            by_height!(x86::avx512, wide.as_ptr(), panel.as_ptr().cast(), [1 2 3 4 5 6])
        }
        #[cfg(target_arch = "x86_64")]
        Path::Vnni => by_height!(x86::vnni, values.as_ptr(), panel.as_ptr().cast(), [1 2 3 4]),
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx2 | Path::Avx512 | Path::Vnni => unreachable!("refused by `FixedA::pack`"),
    }
}

/// Adds binary64 integers of magnitude up to 2^53 to 64-bit ones: in two parts that fit [`TO_INTEGER`].
#[inline(always)]
fn add(sums: &mut [i64], chunk: &[f64]) {
    const PART: f64 = (1u64 << 26) as f64;
    let integer = |x: f64| (x + TO_INTEGER).to_bits() as i64 - TO_INTEGER.to_bits() as i64;
    for (sum, &x) in sums.iter_mut().zip(chunk) {
        let high = (x * (1.0 / PART) + TO_INTEGER) - TO_INTEGER;
        let low = x - high * PART;
        *sum = sum.wrapping_add(integer(high) << 26).wrapping_add(integer(low));
    }
}

/// Rows of eight columns. A multiplication and an addition are exact, fused or not.
fn portable<const ROWS: usize>(ks: &[u32], values: &[f64], panel: &[f64], sums: &mut [i64]) {
    const { assert!(TERMS_MAX <= 129) };
    let mut chunk = [[0.0f64; 8]; ROWS];
    let (values, _) = values.as_chunks::<ROWS>();
    let (panel, _) = panel.as_chunks::<8>();
    for (&k, values) in ks.iter().zip(values) {
        let v = &panel[k as usize];
        for (chunk, a) in chunk.iter_mut().zip(values) {
            chunk.iter_mut().zip(v).for_each(|(chunk, v)| *chunk += a * v);
        }
    }
    add(sums, chunk.as_flattened());
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{HALVES, add};

    /// Rows of eight columns.
    ///
    /// # Safety
    ///
    /// The processor has AVX2 and FMA. `values` are `[ks][ROWS]`, `panel` has rows of eight for every k, aligned to 32 bytes.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2<const ROWS: usize>(
        ks: &[u32],
        values: *const f64,
        panel: *const f64,
        sums: &mut [[[i64; 8]; ROWS]],
    ) {
        let mut chunk = [[_mm256_setzero_pd(); 2]; ROWS];
        for (i, &k) in ks.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let v = panel.add(k as usize * 8);
                let v = [_mm256_load_pd(v), _mm256_load_pd(v.add(4))];
                for (r, chunk) in chunk.iter_mut().enumerate() {
                    let a = _mm256_broadcast_sd(&*values.add(i * ROWS + r));
                    chunk[0] = _mm256_fmadd_pd(a, v[0], chunk[0]);
                    chunk[1] = _mm256_fmadd_pd(a, v[1], chunk[1]);
                }
            }
        }
        let mut stored = [[0.0f64; 8]; ROWS];
        for (stored, chunk) in stored.iter_mut().zip(chunk) {
            // SAFETY: eight values.
            unsafe {
                _mm256_storeu_pd(stored.as_mut_ptr(), chunk[0]);
                _mm256_storeu_pd(stored.as_mut_ptr().add(4), chunk[1]);
            }
        }
        add(sums.as_flattened_mut().as_flattened_mut(), stored.as_flattened());
    }

    /// Rows of 32 columns.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F and DQ. `values` are `[ks][ROWS]`, `panel` has rows of 32 for every k, aligned to 64 bytes.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub unsafe fn avx512<const ROWS: usize>(
        ks: &[u32],
        values: *const f64,
        panel: *const f64,
        sums: &mut [[[i64; 32]; ROWS]],
    ) {
        let mut chunk = [[_mm512_setzero_pd(); 4]; ROWS];
        for (i, &k) in ks.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let v = panel.add(k as usize * 32);
                let v = [0, 8, 16, 24].map(|at| _mm512_load_pd(v.add(at)));
                for (r, chunk) in chunk.iter_mut().enumerate() {
                    let a = _mm512_set1_pd(*values.add(i * ROWS + r));
                    for (chunk, v) in chunk.iter_mut().zip(v) {
                        *chunk = _mm512_fmadd_pd(a, v, *chunk);
                    }
                }
            }
        }
        for (sums, chunk) in sums[0].iter_mut().zip(chunk) {
            for (sums, chunk) in sums.as_chunks_mut::<8>().0.iter_mut().zip(chunk) {
                let at = sums.as_mut_ptr().cast();
                // SAFETY: eight sums.
                unsafe {
                    let sum = _mm512_add_epi64(_mm512_loadu_si512(at), _mm512_cvtpd_epi64(chunk));
                    _mm512_storeu_si512(at, sum);
                }
            }
        }
    }

    /// Rows of 32 columns, in halves: low by low, high by high, and both by both.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW, DQ, VL and VNNI. `values` are `[ks][ROWS][3]`, `panel` has rows of 3 x 32 x 2 halves for
    /// every entry, aligned to 64 bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub unsafe fn vnni<const ROWS: usize>(
        ks: &[u32],
        values: *const i32,
        panel: *const i16,
        sums: &mut [[[i64; 32]; ROWS]],
    ) {
        let mut chunk = [[[_mm512_setzero_si512(); 2]; HALVES]; ROWS];
        for (i, &k) in ks.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let v = panel.add(k as usize * HALVES * 64);
                let v = [0, 1, 2].map(|kind| {
                    [0, 1].map(|part| _mm512_load_si512(v.add(64 * kind + 32 * part).cast()))
                });
                for (r, chunk) in chunk.iter_mut().enumerate() {
                    for (kind, (chunk, v)) in chunk.iter_mut().zip(v).enumerate() {
                        let a = _mm512_set1_epi32(*values.add((i * ROWS + r) * HALVES + kind));
                        chunk[0] = _mm512_dpwssd_epi32(chunk[0], a, v[0]);
                        chunk[1] = _mm512_dpwssd_epi32(chunk[1], a, v[1]);
                    }
                }
            }
        }
        for (sums, [low, high, both]) in sums[0].iter_mut().zip(chunk) {
            for part in 0..2 {
                let (low, high) = (low[part], high[part]);
                let middle = _mm512_sub_epi32(_mm512_sub_epi32(both[part], low), high);
                let wide = |x: __m512i| {
                    [
                        _mm512_cvtepi32_epi64(_mm512_castsi512_si256(x)),
                        _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(x)),
                    ]
                };
                let (low, middle, high) = (wide(low), wide(middle), wide(high));
                for half in 0..2 {
                    let at = sums[16 * part + 8 * half..][..8].as_mut_ptr().cast();
                    let middle = _mm512_slli_epi64::<12>(middle[half]);
                    let high = _mm512_slli_epi64::<24>(high[half]);
                    let sum = _mm512_add_epi64(_mm512_add_epi64(low[half], middle), high);
                    // SAFETY: eight sums.
                    unsafe {
                        _mm512_storeu_si512(at, _mm512_add_epi64(_mm512_loadu_si512(at), sum));
                    }
                }
            }
        }
    }
}
