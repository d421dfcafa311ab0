//! Packing a tile: a few rows of A, interleaved so that the kernel reads them as one stream.

use std::mem::MaybeUninit;

use ndarray::{CowArray, Ix2};

use super::Isa;
use super::memory::row;

/// k at a time: what is written stays in L1 until every row has been.
const CHUNK: usize = 64;

/// Writes A at `rows` and `ks` as `[k][row]`; `to` has a place for each.
///
/// Panics where a row or a k is not in A, or `to` has another length; writes all of it.
pub(super) fn interleave(
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "one path"))]
    isa: Isa,
    a: &CowArray<'_, f32, Ix2>,
    rows: &[u32],
    ks: &[u32],
    to: &mut [MaybeUninit<f32>],
) {
    let height = rows.len();
    assert_eq!(to.len(), ks.len() * height, "places of a tile");
    let rows: Vec<_> = rows.iter().map(|&i| row(a, i as usize)).collect();
    for (ks, to) in ks.chunks(CHUNK).zip(to.chunks_mut(CHUNK * height)) {
        let run = ks.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
        #[cfg(target_arch = "x86_64")]
        if run && isa != Isa::Portable && height <= 16 {
            let mut pieces: [&[f32]; 16] = [&[]; 16];
            for (piece, row) in pieces.iter_mut().zip(&rows) {
                *piece = &row[ks[0] as usize..][..ks.len()];
            }
            // SAFETY: packing made sure that the path is available; the first `height` pieces
            // are as long as `ks`, and `to` is `ks.len() x height`.
            unsafe {
                match isa {
                    Isa::Avx512 => x86::transpose_avx512(&pieces[..height], to),
                    Isa::Avx2 | Isa::Portable => x86::transpose_avx2(&pieces[..height], to),
                }
            }
            continue;
        }
        for (r, row) in rows.iter().enumerate() {
            let to = to[r..].iter_mut().step_by(height);
            if run {
                let row = &row[ks[0] as usize..][..ks.len()];
                to.zip(row).for_each(|(to, &x)| _ = to.write(x));
            } else {
                to.zip(ks).for_each(|(to, &k)| _ = to.write(row[k as usize]));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::MaybeUninit;

    /// Bytes between what is read and what is fetched. Rows are too many streams, too far
    /// apart, for the processor to foresee.
    const AHEAD: usize = 512;

    /// `to[k][row] = rows[row][k]`.
    ///
    /// # Safety
    ///
    /// AVX-512 F is available; there are 1 to 16 rows, all as long as the first, and `to` has a
    /// place for each of their values.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn transpose_avx512(rows: &[&[f32]], to: &mut [MaybeUninit<f32>]) {
        let (height, len) = (rows.len(), rows[0].len());
        let kept = ((1u32 << height) - 1) as __mmask16;
        for k in (0..len).step_by(16) {
            let left = (len - k).min(16);
            let lanes = ((1u32 << left) - 1) as __mmask16;
            let mut x = [_mm512_setzero_ps(); 16];
            // SAFETY: the masks keep the loads inside the rows and the stores inside `to`;
            // prefetching reads nothing.
            unsafe {
                for (x, row) in x.iter_mut().zip(rows) {
                    let at = row.as_ptr().add(k);
                    _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>().wrapping_add(AHEAD));
                    *x = _mm512_maskz_loadu_ps(lanes, at);
                }
                let columns = transpose_16x16(x);
                for (i, &column) in columns.iter().enumerate().take(left) {
                    let to = to.as_mut_ptr().cast::<f32>().add((k + i) * height);
                    _mm512_mask_storeu_ps(to, kept, column);
                }
            }
        }
    }

    /// Columns from rows: pairs, then quads within the 128-bit lanes, then the lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transpose_16x16(x: [__m512; 16]) -> [__m512; 16] {
        let mut pairs = [_mm512_setzero_ps(); 16];
        for i in 0..8 {
            pairs[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
            pairs[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        }
        // quads[4 * g + c]: column c of each lane, rows 4 g to 4 g + 3.
        let mut quads = [_mm512_setzero_ps(); 16];
        for g in 0..4 {
            for half in 0..2 {
                let low = _mm512_castps_pd(pairs[4 * g + half]);
                let high = _mm512_castps_pd(pairs[4 * g + 2 + half]);
                quads[4 * g + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
                quads[4 * g + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
            }
        }
        let mut columns = [_mm512_setzero_ps(); 16];
        for c in 0..4 {
            let (q0, q1, q2, q3) = (quads[c], quads[4 + c], quads[8 + c], quads[12 + c]);
            let lanes_01_low = _mm512_shuffle_f32x4::<0x44>(q0, q1);
            let lanes_23_low = _mm512_shuffle_f32x4::<0x44>(q2, q3);
            let lanes_01_high = _mm512_shuffle_f32x4::<0xee>(q0, q1);
            let lanes_23_high = _mm512_shuffle_f32x4::<0xee>(q2, q3);
            columns[c] = _mm512_shuffle_f32x4::<0x88>(lanes_01_low, lanes_23_low);
            columns[4 + c] = _mm512_shuffle_f32x4::<0xdd>(lanes_01_low, lanes_23_low);
            columns[8 + c] = _mm512_shuffle_f32x4::<0x88>(lanes_01_high, lanes_23_high);
            columns[12 + c] = _mm512_shuffle_f32x4::<0xdd>(lanes_01_high, lanes_23_high);
        }
        columns
    }

    /// The same.
    ///
    /// # Safety
    ///
    /// As for [`transpose_avx512`], but for AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn transpose_avx2(rows: &[&[f32]], to: &mut [MaybeUninit<f32>]) {
        let (height, len) = (rows.len(), rows[0].len());
        let to = to.as_mut_ptr().cast::<f32>();
        // Eight rows at a time; the last eight may share some with the first, which are written twice.
        let (eights, whole) = match height {
            0..8 => (0, 0),
            8 => (1, len / 8 * 8),
            _ => (2, len / 8 * 8),
        };
        let eights = &[0, height.saturating_sub(8)][..eights];
        for k in (0..whole).step_by(8) {
            for &first in eights {
                let mut x = [_mm256_setzero_ps(); 8];
                // SAFETY: `k + 8 <= len`, and `first + 8 <= height`; prefetching reads nothing.
                unsafe {
                    for (x, row) in x.iter_mut().zip(&rows[first..]) {
                        let at = row.as_ptr().add(k);
                        _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>().wrapping_add(AHEAD));
                        *x = _mm256_loadu_ps(at);
                    }
                    for (i, column) in transpose_8x8(x).into_iter().enumerate() {
                        _mm256_storeu_ps(to.add((k + i) * height + first), column);
                    }
                }
            }
        }
        for (r, row) in rows.iter().enumerate() {
            for (k, &x) in row.iter().enumerate().skip(whole) {
                // SAFETY: `to` is `len x height`.
                unsafe { to.add(k * height + r).write(x) }
            }
        }
    }

    /// Columns from rows, as in [`transpose_16x16`].
    #[inline]
    #[target_feature(enable = "avx2")]
    fn transpose_8x8(x: [__m256; 8]) -> [__m256; 8] {
        let mut pairs = [_mm256_setzero_ps(); 8];
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        }
        // quads[4 * g + c]: column c of each lane, rows 4 g to 4 g + 3.
        let mut quads = [_mm256_setzero_ps(); 8];
        for g in 0..2 {
            for half in 0..2 {
                let low = _mm256_castps_pd(pairs[4 * g + half]);
                let high = _mm256_castps_pd(pairs[4 * g + 2 + half]);
                quads[4 * g + 2 * half] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
                quads[4 * g + 2 * half + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
            }
        }
        let mut columns = [_mm256_setzero_ps(); 8];
        for c in 0..4 {
            columns[c] = _mm256_permute2f128_ps::<0x20>(quads[c], quads[4 + c]);
            columns[4 + c] = _mm256_permute2f128_ps::<0x31>(quads[c], quads[4 + c]);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn every_path_puts_each_value_in_its_place() {
        let a = Array2::from_shape_fn((16, 203), |(i, k)| (1000 * i + k) as f32);
        let a = CowArray::from(a);
        // A run that ends inside a vector, and a list with gaps.
        let lists: [Vec<u32>; 2] = [(3..190).collect(), (0..203).step_by(3).collect()];
        for isa in Isa::available() {
            for (height, ks) in (1..=16).flat_map(|height| lists.iter().map(move |ks| (height, ks)))
            {
                let rows: Vec<u32> = (0..height).rev().collect();
                let mut to = vec![MaybeUninit::new(f32::NAN); ks.len() * rows.len()];
                interleave(isa, &a, &rows, ks, &mut to);
                // SAFETY: initialised above.
                let got: Vec<f32> = to.iter().map(|x| unsafe { x.assume_init() }).collect();
                let want: Vec<f32> = ks
                    .iter()
                    .flat_map(|k| rows.iter().map(move |i| (1000 * i + k) as f32))
                    .collect();
                assert_eq!(got, want, "{isa}, {height} rows");
            }
        }
    }
}
