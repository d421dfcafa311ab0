//! One tile of A times one panel of V: sums of products, added to 64-bit integers.

use super::panels::TO_INTEGER;
use super::{Path, TERMS_MAX};

/// The operands of one call. `sums` are `[height][panel]`, and are added to.
pub(super) struct Call<'a> {
    /// Entries of the panel, [`Path::entries_max`] at most.
    pub ks: &'a [u32],
    /// `[entry][height][words]`.
    pub values: &'a [i32],
    /// The same in binary64 where the path sums so.
    pub wide: &'a [f64],
    /// A panel of V.
    pub panel: &'a [f32],
    pub sums: &'a mut [i64],
}

impl Call<'_> {
    /// What a kernel relies on, as far as a few comparisons say: as many values of each entry as `words`, `entries` at most,
    /// whole rows of sums.
    #[inline(always)]
    fn check(&self, values: usize, words: usize, entries: usize, sums: usize) {
        assert!(self.ks.len() <= entries);
        assert_eq!(values, self.ks.len() * words);
        assert_eq!(self.sums.len(), sums);
    }
}

/// Multiplies and adds.
///
/// # Safety
///
/// The processor has the path that the kernel was asked for, and every entry is one of the panel.
pub(super) type Kernel = unsafe fn(Call<'_>);

/// The kernel of a path for tiles of so many rows. Chosen once for a tile: a call is a few hundred instructions where a tile
/// has a few entries.
pub(super) fn kernel(path: Path, height: usize) -> Kernel {
    #[cfg(target_arch = "aarch64")]
    use arm::sdot;
    #[cfg(target_arch = "x86_64")]
    use x86::{avx2, avx512, vnni};
    macro_rules! by_height {
        ($kernel:ident, [$($rows:literal)*]) => {
            match height {
                $($rows => $kernel::<$rows> as Kernel,)*
                _ => unreachable!("tiles have {} rows at most", path.rows_max()),
            }
        };
    }
    match path {
        Path::Portable => match height {
            1 => portable::<1, 8>,
            2 => portable::<2, 8>,
            3 => portable::<3, PORTABLE_COLUMNS>,
            4 => portable::<4, PORTABLE_COLUMNS>,
            _ => unreachable!("tiles have {} rows at most", path.rows_max()),
        },
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => by_height!(avx2, [1 2 3 4 5 6]),
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => by_height!(avx512, [1 2 3 4 5 6]),
        #[cfg(target_arch = "x86_64")]
        Path::Vnni => by_height!(vnni, [1 2 3 4]),
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx2 | Path::Avx512 | Path::Vnni => unreachable!("refused by `FixedA::pack`"),
        #[cfg(target_arch = "aarch64")]
        Path::Sdot => by_height!(sdot, [1 2 3 4]),
        #[cfg(not(target_arch = "aarch64"))]
        Path::Sdot => unreachable!("refused by `FixedA::pack`"),
        Path::Amx => unreachable!("multiplied by `tiled`"),
        #[cfg(test)]
        Path::AmxModel => unreachable!("multiplied by `tiled`"),
    }
}

/// The sums of all rows: as many as were checked.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn rows_of<const ROWS: usize, const COLUMNS: usize>(
    sums: &mut [i64],
) -> &mut [[i64; COLUMNS]; ROWS] {
    let rows = sums.as_chunks_mut().0.try_into();
    rows.unwrap_or_else(|_| unreachable!("as many as the height"))
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

/// Columns whose sums the plain kernel has at once for three and four rows: four of them are 8 registers of two, of the 16
/// that every x86-64 has; 64-bit ARM has 32.
const PORTABLE_COLUMNS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };

/// Rows of eight columns, `COLUMNS` at a time. A multiplication and an addition are exact, fused or not.
///
/// # Safety
///
/// It is safe, and says otherwise to be as the other kernels are.
#[inline(never)]
unsafe fn portable<const ROWS: usize, const COLUMNS: usize>(call: Call<'_>) {
    const { assert!(TERMS_MAX <= 129 && 8 % COLUMNS == 0) };
    call.check(call.wide.len(), ROWS, TERMS_MAX, ROWS * 8);
    let (values, _) = call.wide.as_chunks::<ROWS>();
    let (panel, _) = bytemuck::cast_slice::<f32, f64>(call.panel).as_chunks::<8>();
    for part in 0..8 / COLUMNS {
        let mut chunk = [[0.0f64; COLUMNS]; ROWS];
        for (&k, values) in call.ks.iter().zip(values) {
            let v = &panel[k as usize].as_chunks::<COLUMNS>().0[part];
            for (chunk, a) in chunk.iter_mut().zip(values) {
                for (chunk, v) in chunk.iter_mut().zip(v) {
                    // One instruction where every processor has it.
                    *chunk = if cfg!(target_arch = "aarch64") {
                        a.mul_add(*v, *chunk)
                    } else {
                        *chunk + a * v
                    };
                }
            }
        }
        for (sums, chunk) in call.sums.as_chunks_mut::<8>().0.iter_mut().zip(&chunk) {
            add(&mut sums.as_chunks_mut::<COLUMNS>().0[part], chunk);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop, reason = "iterators over arrays of registers spill them")]
mod x86 {
    //! Loops over constant bounds and places, no iterators: what holds the sums stays in registers.

    use std::arch::x86_64::*;

    use super::super::panels::HALVES;
    use super::{Call, TERMS_MAX, add, rows_of};

    /// Rows of eight columns.
    ///
    /// # Safety
    ///
    /// The processor has AVX2 and FMA. `wide` is `[ks][ROWS]`, the panel has rows of eight in binary64 for every k, aligned to
    /// 32 bytes.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2<const ROWS: usize>(call: Call<'_>) {
        call.check(call.wide.len(), ROWS, TERMS_MAX, ROWS * 8);
        let (ks, values, panel) = (call.ks, call.wide.as_ptr(), call.panel.as_ptr().cast::<f64>());
        let sums = rows_of::<ROWS, 8>(call.sums);
        let mut chunk = [[_mm256_setzero_pd(); 2]; ROWS];
        for (i, &k) in ks.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let v = panel.add(k as usize * 8);
                let v = [_mm256_load_pd(v), _mm256_load_pd(v.add(4))];
                for r in 0..ROWS {
                    let a = _mm256_broadcast_sd(&*values.add(i * ROWS + r));
                    for c in 0..2 {
                        chunk[r][c] = _mm256_fmadd_pd(a, v[c], chunk[r][c]);
                    }
                }
            }
        }
        let mut stored = [[0.0f64; 8]; ROWS];
        for r in 0..ROWS {
            for c in 0..2 {
                // SAFETY: four of eight values.
                unsafe { _mm256_storeu_pd(stored[r].as_mut_ptr().add(4 * c), chunk[r][c]) }
            }
        }
        add(sums.as_flattened_mut(), stored.as_flattened());
    }

    /// Rows of 32 columns.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F and DQ. `wide` is `[ks][ROWS]`, the panel has rows of 32 in binary64 for every k, aligned
    /// to 64 bytes.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub unsafe fn avx512<const ROWS: usize>(call: Call<'_>) {
        call.check(call.wide.len(), ROWS, TERMS_MAX, ROWS * 32);
        let (ks, values, panel) = (call.ks, call.wide.as_ptr(), call.panel.as_ptr().cast::<f64>());
        let sums = rows_of::<ROWS, 32>(call.sums);
        let mut chunk = [[_mm512_setzero_pd(); 4]; ROWS];
        for (i, &k) in ks.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let v = panel.add(k as usize * 32);
                let v = [
                    _mm512_load_pd(v),
                    _mm512_load_pd(v.add(8)),
                    _mm512_load_pd(v.add(16)),
                    _mm512_load_pd(v.add(24)),
                ];
                for r in 0..ROWS {
                    let a = _mm512_set1_pd(*values.add(i * ROWS + r));
                    for c in 0..4 {
                        chunk[r][c] = _mm512_fmadd_pd(a, v[c], chunk[r][c]);
                    }
                }
            }
        }
        for r in 0..ROWS {
            for c in 0..4 {
                add_eight(&mut sums[r], 8 * c, _mm512_cvtpd_epi64(chunk[r][c]));
            }
        }
    }

    /// Adds eight integers to eight sums from `at` on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_eight(sums: &mut [i64; 32], at: usize, x: __m512i) {
        let sums = sums[at..at + 8].as_mut_ptr().cast();
        // SAFETY: eight sums, taken from the slice just now.
        unsafe { _mm512_storeu_si512(sums, _mm512_add_epi64(_mm512_loadu_si512(sums), x)) }
    }

    /// Rows of 32 columns, in halves: low by low, high by high, and both by both.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW, DQ, VL and VNNI. `values` are `[ks][ROWS][3]`, the panel has rows of 3 x 32 x 2 halves
    /// for every entry, aligned to 64 bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub unsafe fn vnni<const ROWS: usize>(call: Call<'_>) {
        call.check(call.values.len(), ROWS * HALVES, TERMS_MAX / 2, ROWS * 32);
        let (ks, values) = (call.ks, call.values.as_ptr());
        let panel = call.panel.as_ptr().cast::<i16>();
        let sums = rows_of::<ROWS, 32>(call.sums);
        let mut chunk = [[[_mm512_setzero_si512(); 2]; HALVES]; ROWS];
        for (i, &k) in ks.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let v: *const __m512i = panel.add(k as usize * HALVES * 64).cast();
                let v = [
                    [_mm512_load_si512(v), _mm512_load_si512(v.add(1))],
                    [_mm512_load_si512(v.add(2)), _mm512_load_si512(v.add(3))],
                    [_mm512_load_si512(v.add(4)), _mm512_load_si512(v.add(5))],
                ];
                for r in 0..ROWS {
                    for kind in 0..HALVES {
                        let a = _mm512_set1_epi32(*values.add((i * ROWS + r) * HALVES + kind));
                        for part in 0..2 {
                            let sum = chunk[r][kind][part];
                            chunk[r][kind][part] = _mm512_dpwssd_epi32(sum, a, v[kind][part]);
                        }
                    }
                }
            }
        }
        for r in 0..ROWS {
            for part in 0..2 {
                let [low, high, both] = [chunk[r][0][part], chunk[r][1][part], chunk[r][2][part]];
                let middle = _mm512_sub_epi32(_mm512_sub_epi32(both, low), high);
                let first = join(
                    _mm512_castsi512_si256(low),
                    _mm512_castsi512_si256(middle),
                    _mm512_castsi512_si256(high),
                );
                let second = join(
                    _mm512_extracti64x4_epi64::<1>(low),
                    _mm512_extracti64x4_epi64::<1>(middle),
                    _mm512_extracti64x4_epi64::<1>(high),
                );
                add_eight(&mut sums[r], 16 * part, first);
                add_eight(&mut sums[r], 16 * part + 8, second);
            }
        }
    }

    /// high 2^24 + middle 2^12 + low, in 64 bits.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn join(low: __m256i, middle: __m256i, high: __m256i) -> __m512i {
        let middle = _mm512_slli_epi64::<12>(_mm512_cvtepi32_epi64(middle));
        let high = _mm512_slli_epi64::<24>(_mm512_cvtepi32_epi64(high));
        _mm512_add_epi64(_mm512_add_epi64(_mm512_cvtepi32_epi64(low), middle), high)
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;
    use std::arch::asm;

    use super::super::DIGITS;
    use super::{Call, Path, rows_of};

    /// Each of four sums gets the four products of a word of `v` and the word `LANE` of `a` added, bytes with a sign.
    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn sdot_lane<const LANE: usize>(sums: &mut int32x4_t, v: int8x16_t, a: int8x16_t) {
        const { assert!(LANE < 4) };
        // By its name, since the standard library's function is not stable yet.
        // SAFETY: the instruction is there by the function's target features, and reads and writes registers alone.
        unsafe {
            asm!("sdot {sums:v}.4s, {v:v}.16b, {a:v}.4b[{lane}]", sums = inout(vreg) *sums, v = in(vreg) v,
                a = in(vreg) a, lane = const LANE, options(pure, nomem, nostack, preserves_flags));
        }
    }

    /// Rows of four columns, in digits: five sums, by the weight of products.
    ///
    /// # Safety
    ///
    /// The processor has `sdot`. `values` are `[ks][3][4 rows][4 k]` bytes, the panel has `[3][4 columns][4 k]` for every
    /// entry.
    #[target_feature(enable = "neon,dotprod")]
    pub unsafe fn sdot<const ROWS: usize>(call: Call<'_>) {
        const { assert!(ROWS <= 4) };
        call.check(call.values.len(), DIGITS * 4, Path::Sdot.entries_max(), ROWS * 4);
        let (ks, values) = (call.ks, call.values.as_ptr());
        let panel = call.panel.as_ptr().cast::<i8>();
        let sums = rows_of::<ROWS, 4>(call.sums);
        let mut parts = [[vdupq_n_s32(0); 5]; ROWS];
        let values = values.cast::<i8>();
        for (i, &k) in ks.iter().enumerate() {
            // SAFETY: the caller's promise.
            let load = |from: *const i8| unsafe {
                [vld1q_s8(from), vld1q_s8(from.add(16)), vld1q_s8(from.add(32))]
            };
            let a = load(values.wrapping_add(i * 48));
            let v = load(panel.wrapping_add(k as usize * 48));
            for p in 0..DIGITS {
                for q in 0..DIGITS {
                    for (r, parts) in parts.iter_mut().enumerate() {
                        let part = &mut parts[p + q];
                        match r {
                            0 => sdot_lane::<0>(part, v[q], a[p]),
                            1 => sdot_lane::<1>(part, v[q], a[p]),
                            2 => sdot_lane::<2>(part, v[q], a[p]),
                            _ => sdot_lane::<3>(part, v[q], a[p]),
                        }
                    }
                }
            }
        }
        for (sums, parts) in sums.iter_mut().zip(parts) {
            let mut stored = [[0i32; 4]; 5];
            for (to, part) in stored.iter_mut().zip(parts) {
                // SAFETY: four values.
                unsafe { vst1q_s32(to.as_mut_ptr(), part) }
            }
            for (c, sum) in sums.iter_mut().enumerate() {
                let all = stored.iter().fold(0i64, |all, part| (all << 8) + i64::from(part[c]));
                *sum = sum.wrapping_add(all);
            }
        }
    }
}
