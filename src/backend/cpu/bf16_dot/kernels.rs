//! One tile of A times one panel of V, on paths without tiles of the processor's own.

use super::pack::Block;
use super::panels::values;
use super::{PAIRS, PANEL, Path, Sums};
#[cfg(target_arch = "x86_64")]
use crate::backend::cpu::float_environment::FlushScope;
use contract::arithmetic::bf16_dot::{Instruction, add, fma};

/// Rows of a tile at most: 6 rows of 64 columns are 24 of 32 registers of sums, and 6 of 8 columns with two chains each 12 of
/// 16.
pub(super) const ROWS_MAX: usize = 6;

/// The operands of one call. `sums` are read and written.
pub(super) struct Call<'a> {
    pub instruction: Instruction,
    pub blocks: &'a [Block],
    /// Per block `[row][pair]`.
    pub words: &'a [u32],
    pub panel: &'a [[u32; PANEL]],
    /// Columns of the panel that are wanted.
    pub columns: usize,
    pub sums: &'a mut [Sums],
}

/// # Safety
///
/// The path is available, and every block lies inside of the panel.
pub(super) unsafe fn run(path: Path, call: Call<'_>) {
    let rows = call.sums.len();
    assert!((1..=ROWS_MAX).contains(&rows));
    let pairs: usize = call.blocks.iter().map(|block| block.len()).sum();
    assert_eq!(call.words.len(), pairs * rows);
    debug_assert!(call.blocks.iter().all(|b| (b.number as usize + 1) * PAIRS <= call.panel.len()));
    let is_full = call.blocks.iter().all(|block| block.pairs == u16::MAX);
    #[cfg(target_arch = "x86_64")]
    macro_rules! by_rows {
        ($module:ident, [$($rows:literal)*]) => {
            match (rows, is_full, call.instruction) {
                $(
                    // SAFETY: the caller's promise; lengths were compared above.
                    ($rows, true, Instruction::Amx) => unsafe { $module::amx::<$rows, true>(call) },
                    // SAFETY: as above.
                    ($rows, false, Instruction::Amx) => unsafe { $module::amx::<$rows, false>(call) },
                    // SAFETY: as above.
                    ($rows, true, Instruction::Avx512) => unsafe { $module::avx512::<$rows, true>(call) },
                    // SAFETY: as above.
                    ($rows, false, Instruction::Avx512) => unsafe { $module::avx512::<$rows, false>(call) },
                )*
                _ => unreachable!("compared with the most above"),
            }
        };
    }
    match path {
        Path::Portable => portable(call),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => {
            let _flush = FlushScope::enter();
            by_rows!(in_256_bits, [1 2 3 4 5 6])
        }
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => {
            let _flush = FlushScope::enter();
            by_rows!(in_512_bits, [1 2 3 4 5 6])
        }
        #[cfg(target_arch = "x86_64")]
        Path::Vdpbf16ps => {
            assert_eq!(call.instruction, Instruction::Avx512);
            macro_rules! by_rows {
                ([$($rows:literal)*]) => {
                    match (rows, is_full) {
                        $(
                            // SAFETY: as above.
                            ($rows, true) => unsafe { vdpbf16ps::run::<$rows, true>(call) },
                            // SAFETY: as above.
                            ($rows, false) => unsafe { vdpbf16ps::run::<$rows, false>(call) },
                        )*
                        _ => unreachable!("compared with the most above"),
                    }
                };
            }
            by_rows!([1 2 3 4 5 6])
        }
        _ => unreachable!("refused by `PairedA::pack`"),
    }
}

/// Calls `f` with the position of each pair among those of its block that are listed, and its number in the block.
#[inline(always)]
fn for_pairs<const FULL: bool>(block: Block, mut f: impl FnMut(usize, usize)) {
    if FULL {
        for t in 0..PAIRS {
            f(t, t);
        }
    } else {
        let mut left = block.pairs;
        let mut at = 0;
        while left != 0 {
            f(at, left.trailing_zeros() as usize);
            left &= left - 1;
            at += 1;
        }
    }
}

/// The scalar rule, column by column.
fn portable(call: Call<'_>) {
    let rows = call.sums.len();
    let mut words = call.words;
    for &block in call.blocks {
        let of_block;
        (of_block, words) = words.split_at(rows * block.len());
        let panel = &call.panel[block.number as usize * PAIRS..][..PAIRS];
        for (sums, words) in call.sums.iter_mut().zip(of_block.chunks_exact(block.len())) {
            for (j, sum) in sums[..call.columns].iter_mut().enumerate() {
                let (mut even, mut odd) = (0.0, 0.0);
                for_pairs::<false>(block, |at, t| {
                    let [a0, a1] = values(words[at]);
                    let [v0, v1] = values(panel[t][j]);
                    match call.instruction {
                        Instruction::Avx512 => *sum = fma(a0, v0, fma(a1, v1, *sum)),
                        Instruction::Amx => {
                            even = fma(a0, v0, even);
                            odd = fma(a1, v1, odd);
                        }
                    }
                });
                if call.instruction == Instruction::Amx {
                    *sum = add(*sum, add(even, odd));
                }
            }
        }
    }
}

/// Fused multiply-adds in vectors. The instructions that look at the thread's modes are written as assembly, which the
/// compiler neither computes itself nor moves out of a `FlushScope`.
#[cfg(target_arch = "x86_64")]
macro_rules! fused {
    (
        $module:ident, $features:literal, $class:ident, $vector:ident, $words:ident, $lanes:literal, $vectors:literal,
        $load:ident, $store:ident, $zero:ident, $load_words:ident, $broadcast:ident, $shift:ident, $and:ident, $cast:ident
    ) => {
        #[allow(
            clippy::needless_range_loop,
            reason = "iterators over arrays of registers spill them"
        )]
        mod $module {
            use super::{Call, PAIRS, PANEL, for_pairs};
            use std::arch::asm;
            use std::arch::x86_64::*;

            const LANES: usize = $lanes;
            const VECTORS: usize = $vectors;

            macro_rules! fma {
                        ($y:expr, $a:expr, $v:expr) => {
                            // SAFETY: the function has the instruction; it touches registers alone.
                            unsafe {
                                asm!(
                                    "vfmadd231ps {y}, {a}, {v}",
                                    y = inout($class) $y, a = in($class) $a, v = in($class) $v,
                                    options(nomem, nostack, preserves_flags),
                                )
                            }
                        };
                    }
            macro_rules! add {
                        ($y:expr, $x:expr) => {
                            // SAFETY: as above.
                            unsafe {
                                asm!(
                                    "vaddps {y}, {y}, {x}",
                                    y = inout($class) $y, x = in($class) $x,
                                    options(nomem, nostack, preserves_flags),
                                )
                            }
                        };
                    }

            /// The elements k = 2t and k = 2t + 1 of words.
            #[target_feature(enable = $features)]
            #[inline]
            fn split(words: $words) -> [$vector; 2] {
                [$cast($shift::<16>(words)), $cast($and(words, $broadcast(-0x1_0000)))]
            }

            /// # Safety
            ///
            /// The processor has the instructions; blocks lie inside of the panel; as many words as blocks list pairs in
            /// ROWS rows; ROWS rows of sums.
            #[target_feature(enable = $features)]
            pub unsafe fn avx512<const ROWS: usize, const FULL: bool>(call: Call<'_>) {
                let (panel, sums) =
                    (call.panel.as_ptr().cast::<u32>(), call.sums.as_mut_ptr().cast::<f32>());
                for first in (0..call.columns).step_by(VECTORS * LANES) {
                    let mut words = call.words.as_ptr();
                    let mut c = [[$zero(); VECTORS]; ROWS];
                    for r in 0..ROWS {
                        for w in 0..VECTORS {
                            // SAFETY: the columns are inside of the panel's 64.
                            c[r][w] = unsafe { $load(sums.add(r * PANEL + first + w * LANES)) };
                        }
                    }
                    for &block in call.blocks {
                        let len = block.len();
                        for_pairs::<FULL>(block, |at, t| {
                            let mut v = [[$zero(); 2]; VECTORS];
                            for w in 0..VECTORS {
                                let at =
                                    (block.number as usize * PAIRS + t) * PANEL + first + w * LANES;
                                // SAFETY: the block is inside of the panel.
                                v[w] = split(unsafe { $load_words(panel.add(at).cast()) });
                            }
                            for r in 0..ROWS {
                                // SAFETY: the words of all blocks' pairs are there.
                                let word = unsafe { *words.add(r * len + at) };
                                let [even, odd] = split($broadcast(word as i32));
                                for w in 0..VECTORS {
                                    fma!(c[r][w], odd, v[w][1]);
                                    fma!(c[r][w], even, v[w][0]);
                                }
                            }
                        });
                        // SAFETY: at most to the end of the words.
                        words = unsafe { words.add(ROWS * len) };
                    }
                    for r in 0..ROWS {
                        for w in 0..VECTORS {
                            // SAFETY: as for the loads.
                            unsafe { $store(sums.add(r * PANEL + first + w * LANES), c[r][w]) };
                        }
                    }
                }
            }

            /// # Safety
            ///
            /// As for `avx512`.
            #[target_feature(enable = $features)]
            pub unsafe fn amx<const ROWS: usize, const FULL: bool>(call: Call<'_>) {
                let (panel, sums) =
                    (call.panel.as_ptr().cast::<u32>(), call.sums.as_mut_ptr().cast::<f32>());
                for first in (0..call.columns).step_by(VECTORS * LANES) {
                    let mut words = call.words.as_ptr();
                    for &block in call.blocks {
                        let len = block.len();
                        let mut e = [[$zero(); VECTORS]; ROWS];
                        let mut o = [[$zero(); VECTORS]; ROWS];
                        for_pairs::<FULL>(block, |at, t| {
                            let mut v = [[$zero(); 2]; VECTORS];
                            for w in 0..VECTORS {
                                let at =
                                    (block.number as usize * PAIRS + t) * PANEL + first + w * LANES;
                                // SAFETY: the block is inside of the panel.
                                v[w] = split(unsafe { $load_words(panel.add(at).cast()) });
                            }
                            for r in 0..ROWS {
                                // SAFETY: the words of all blocks' pairs are there.
                                let word = unsafe { *words.add(r * len + at) };
                                let [even, odd] = split($broadcast(word as i32));
                                for w in 0..VECTORS {
                                    fma!(e[r][w], even, v[w][0]);
                                    fma!(o[r][w], odd, v[w][1]);
                                }
                            }
                        });
                        for r in 0..ROWS {
                            for w in 0..VECTORS {
                                // SAFETY: the columns are inside of the panel's 64.
                                let at = unsafe { sums.add(r * PANEL + first + w * LANES) };
                                // SAFETY: as above.
                                let mut c = unsafe { $load(at) };
                                add!(e[r][w], o[r][w]);
                                add!(c, e[r][w]);
                                // SAFETY: as above.
                                unsafe { $store(at, c) };
                            }
                        }
                        // SAFETY: at most to the end of the words.
                        words = unsafe { words.add(ROWS * len) };
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
fused!(
    in_256_bits,
    "avx2,fma,popcnt",
    ymm_reg,
    __m256,
    __m256i,
    8,
    1,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_setzero_ps,
    _mm256_loadu_si256,
    _mm256_set1_epi32,
    _mm256_slli_epi32,
    _mm256_and_si256,
    _mm256_castsi256_ps
);
#[cfg(target_arch = "x86_64")]
fused!(
    in_512_bits,
    "avx512f,avx512bw,avx512dq,avx512vl,popcnt",
    zmm_reg,
    __m512,
    __m512i,
    16,
    2,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_setzero_ps,
    _mm512_loadu_si512,
    _mm512_set1_epi32,
    _mm512_slli_epi32,
    _mm512_and_si512,
    _mm512_castsi512_ps
);

/// Words as the instruction's operands.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn pairs(words: std::arch::x86_64::__m512i) -> std::arch::x86_64::__m512bh {
    // SAFETY: both are 64 bytes, any of which will do.
    unsafe { std::mem::transmute(words) }
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop, reason = "iterators over arrays of registers spill them")]
mod vdpbf16ps {
    use super::{Call, PAIRS, PANEL, for_pairs, pairs};
    use std::arch::x86_64::*;

    const LANES: usize = 16;
    const VECTORS: usize = PANEL / LANES;

    /// # Safety
    ///
    /// As for the kernels of fused multiply-adds.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,popcnt")]
    pub unsafe fn run<const ROWS: usize, const FULL: bool>(call: Call<'_>) {
        let (panel, sums) =
            (call.panel.as_ptr().cast::<u32>(), call.sums.as_mut_ptr().cast::<f32>());
        let mut words = call.words.as_ptr();
        let mut c = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for r in 0..ROWS {
            for w in 0..VECTORS {
                // SAFETY: a row of sums has the panel's 64 columns.
                c[r][w] = unsafe { _mm512_loadu_ps(sums.add(r * PANEL + w * LANES)) };
            }
        }
        for &block in call.blocks {
            let len = block.len();
            for_pairs::<FULL>(block, |at, t| {
                let mut v = [pairs(_mm512_setzero_si512()); VECTORS];
                for w in 0..VECTORS {
                    let at = (block.number as usize * PAIRS + t) * PANEL + w * LANES;
                    // SAFETY: the block is inside of the panel.
                    v[w] = pairs(unsafe { _mm512_loadu_si512(panel.add(at).cast()) });
                }
                for r in 0..ROWS {
                    // SAFETY: the words of all blocks' pairs are there.
                    let a = pairs(_mm512_set1_epi32(unsafe { *words.add(r * len + at) } as i32));
                    for w in 0..VECTORS {
                        c[r][w] = _mm512_dpbf16_ps(c[r][w], a, v[w]);
                    }
                }
            });
            // SAFETY: at most to the end of the words.
            words = unsafe { words.add(ROWS * len) };
        }
        for r in 0..ROWS {
            for w in 0..VECTORS {
                // SAFETY: as for the loads.
                unsafe { _mm512_storeu_ps(sums.add(r * PANEL + w * LANES), c[r][w]) };
            }
        }
    }
}
