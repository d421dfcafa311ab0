//! Two loops that show what the processor can do at most: fused multiply-adds, and reads.
//!
//! They compute nothing of use and know no clock; `measure::roofline` times them.

use super::Isa;

/// Independent vectors in the loop: enough to hide the latency of a fused multiply-add (4
/// cycles, two units) on all common cores, few enough for 16 vector registers.
const CHAINS: usize = 12;

/// Floating-point operations of one round of [`fma_rounds`] on each path.
pub fn flops_per_round(isa: Isa) -> u64 {
    let lanes: u64 = match isa {
        Isa::Portable => 4,
        Isa::Avx2 => 8,
        Isa::Avx512 => 16,
    };
    2 * lanes * CHAINS as u64
}

/// Runs `rounds` times 12 independent vector multiply-adds in registers. The result keeps the
/// compiler from dropping the work.
pub fn fma_rounds(isa: Isa, rounds: u64) -> f32 {
    assert!(isa.is_available(), "the {isa} path needs another processor");
    match isa {
        Isa::Portable => portable(rounds),
        // SAFETY: the processor has the features of the path, asserted above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(rounds) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(rounds) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("not available on this architecture"),
    }
}

/// Runs `rounds` times 12 independent VDPBF16PS in registers, of twice as many operations as [`fma_rounds`] on 512 bits;
/// `None` where the processor has none.
pub fn vdpbf16ps_rounds(rounds: u64) -> Option<f32> {
    #[cfg(target_arch = "x86_64")]
    if Isa::Avx512.is_available() && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the processor has the features, looked at above.
        return Some(unsafe { vdpbf16ps(rounds) });
    }
    let _ = rounds;
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn vdpbf16ps(rounds: u64) -> f32 {
    use std::arch::x86_64::*;
    let (a, v) = std::hint::black_box((1.0f32, 1e-3f32));
    let pair = |x: f32| _mm512_cvtne2ps_pbh(_mm512_set1_ps(x), _mm512_set1_ps(x));
    let (a, v) = (pair(a), pair(v));
    let mut sums = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, a, v);
        }
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
}

/// Multiplies and adds apart: `mul_add` would call a library function here.
fn portable(rounds: u64) -> f32 {
    let (a, v) = std::hint::black_box(([1.0f32; 4], [1e-3f32; 4]));
    let mut sums = [[0.0f32; 4]; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            for lane in 0..4 {
                sum[lane] = sum[lane] * a[lane] + v[lane];
            }
        }
    }
    sums.iter().flatten().sum()
}

#[cfg(target_arch = "x86_64")]
macro_rules! fma_loop {
    ($name:ident, $feature:literal, $set1:ident, $fma:ident, $add:ident, $first:ident) => {
        #[target_feature(enable = $feature)]
        fn $name(rounds: u64) -> f32 {
            use std::arch::x86_64::*;
            let (a, v) = std::hint::black_box((1.0f32, 1e-3f32));
            let (a, v) = ($set1(a), $set1(v));
            let mut sums = [v; CHAINS];
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = $fma(*sum, a, v);
                }
            }
            let sum = sums.into_iter().fold(v, |x, y| $add(x, y));
            $first(sum)
        }
    };
}

#[cfg(target_arch = "x86_64")]
fma_loop!(avx2, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_cvtss_f32);
#[cfg(target_arch = "x86_64")]
fma_loop!(avx512, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_cvtss_f32);

macro_rules! read {
    ($name:ident $(, $feature:literal)?) => {
        $(#[target_feature(enable = $feature)])?
        fn $name(words: &[u64]) -> u64 {
            words.iter().fold(0, |x, &word| x ^ word)
        }
    };
}

read!(read_portable);
#[cfg(target_arch = "x86_64")]
read!(read_avx2, "avx2");
#[cfg(target_arch = "x86_64")]
read!(read_avx512, "avx512f");

/// Reads every word once, in vectors where the path has them.
pub fn read_sum(isa: Isa, words: &[u64]) -> u64 {
    assert!(isa.is_available(), "the {isa} path needs another processor");
    match isa {
        Isa::Portable => read_portable(words),
        // SAFETY: the processor has the features of the path, asserted above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { read_avx2(words) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { read_avx512(words) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("not available on this architecture"),
    }
}
