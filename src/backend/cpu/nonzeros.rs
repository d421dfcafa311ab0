//! Where the non-zeros of a row are, as bits: the cheapest thing that every count follows from.

use super::Isa;

/// Sets bit `k % 64` of `bits[k / 64]` where `row[k]` is not zero, and clears all others; returns
/// how many are set. `bits` has `row.len().div_ceil(64)` words.
pub fn nonzero_bits(row: &[f32], bits: &mut [u64]) -> usize {
    assert_eq!(bits.len(), row.len().div_ceil(64), "words for a row of {}", row.len());
    let (words, rest) = row.as_chunks::<64>();
    let count = match Isa::best() {
        // SAFETY: `Isa::best` is a path that this processor can run.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { words_avx512(words, bits) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { words_avx2(words, bits) },
        _ => words_portable(words, bits),
    };
    if rest.is_empty() {
        return count;
    }
    let last = rest.iter().rev().fold(0u64, |bits, &x| bits << 1 | u64::from(x != 0.0));
    bits[words.len()] = last;
    count + last.count_ones() as usize
}

fn words_portable(words: &[[f32; 64]], bits: &mut [u64]) -> usize {
    let mut count = 0;
    for (word, bits) in words.iter().zip(bits) {
        *bits = word.iter().rev().fold(0u64, |bits, &x| bits << 1 | u64::from(x != 0.0));
        count += bits.count_ones() as usize;
    }
    count
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
fn words_avx512(words: &[[f32; 64]], bits: &mut [u64]) -> usize {
    use std::arch::x86_64::{_CMP_NEQ_UQ, _mm512_cmp_ps_mask, _mm512_loadu_ps, _mm512_setzero_ps};
    let zero = _mm512_setzero_ps();
    let mut count = 0;
    for (word, bits) in words.iter().zip(bits) {
        *bits = 0;
        for (i, part) in word.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: `part` is 16 floats; the load needs no alignment.
            let x = unsafe { _mm512_loadu_ps(part.as_ptr()) };
            *bits |= u64::from(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(x, zero)) << (16 * i);
        }
        count += bits.count_ones() as usize;
    }
    count
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn words_avx2(words: &[[f32; 64]], bits: &mut [u64]) -> usize {
    use std::arch::x86_64::{
        _CMP_NEQ_UQ, _mm256_cmp_ps, _mm256_loadu_ps, _mm256_movemask_ps, _mm256_setzero_ps,
    };
    let zero = _mm256_setzero_ps();
    let mut count = 0;
    for (word, bits) in words.iter().zip(bits) {
        *bits = 0;
        for (i, part) in word.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: `part` is 8 floats; the load needs no alignment.
            let x = unsafe { _mm256_loadu_ps(part.as_ptr()) };
            let mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(x, zero));
            *bits |= u64::from(mask as u8) << (8 * i);
        }
        count += bits.count_ones() as usize;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_finds_the_same_bits() {
        for len in (0..200).chain([1000, 4096]) {
            // Zeros of both signs, subnormals, infinities and NaN among ordinary values.
            let values = [0.0, -0.0, 1.0, f32::from_bits(1), f32::NAN, -3.5, f32::INFINITY];
            let row: Vec<f32> = (0..len).map(|k| values[k * k % 11 % 7]).collect();
            let mut want = vec![0u64; len.div_ceil(64)];
            for (k, &x) in row.iter().enumerate() {
                want[k / 64] |= u64::from(x != 0.0) << (k % 64);
            }
            let mut got = vec![u64::MAX; want.len()];
            let count = nonzero_bits(&row, &mut got);
            assert_eq!(got, want, "len {len}");
            assert_eq!(count, row.iter().filter(|x| **x != 0.0).count());
            let (words, _) = row.as_chunks::<64>();
            let mut portable = vec![0; words.len()];
            words_portable(words, &mut portable);
            assert_eq!(portable, want[..words.len()]);
            #[cfg(target_arch = "x86_64")]
            if Isa::Avx2.is_available() {
                let mut avx2 = vec![0; words.len()];
                // SAFETY: just checked.
                unsafe { words_avx2(words, &mut avx2) };
                assert_eq!(avx2, want[..words.len()]);
            }
        }
    }
}
