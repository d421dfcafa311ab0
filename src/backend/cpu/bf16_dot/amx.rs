//! amx-bf16 on AMX tiles: the loop, the instructions, and the same instructions in software.
//!
//! Four tiles hold sums of 16 rows and 64 columns, one a block of A (16 rows of 16 pairs), three take turns with blocks of V
//! (16 pairs of 16 columns). The loop does not know which [`Unit`] runs it, so that all of it is tested on any processor.

use super::super::amx::{self as tiles, Operands};
use super::pack::Block;
use super::panels::values;
use super::{PAIRS, PANEL, Sums, TILE_ROWS};
use contract::arithmetic::bf16_dot::{Instruction, dot};

/// A block of a tile of A: `[row][pair]`.
pub(super) type BlockOfA = [u32; TILE_ROWS * PAIRS];
/// A block of a panel of V: `[pair][column]`.
pub(super) type BlockOfV = [[u32; PANEL]; PAIRS];
/// The sums of a tile of A and a panel of V.
pub(super) type SumsOfTile = [Sums; TILE_ROWS];

/// Blocks of k between two visits of the same sums: 8 * 4 KiB of V stay in L1, of 48 KiB where there are tiles.
const BLOCKS_AT_ONCE: u32 = 8;

/// 16 rows of A in the blocks of a list, which ascend.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub blocks: &'a [Block],
    pub words: &'a [BlockOfA],
}

/// What multiplies tiles.
pub(super) trait Unit {
    fn load(&mut self, sums: &SumsOfTile);
    fn store(&mut self, sums: &mut SumsOfTile);
    /// TDPBF16PS for each 16 columns. `next` will be the A of a later call.
    fn multiply(&mut self, a: &BlockOfA, v: &BlockOfV, next: Option<&BlockOfA>);
}

/// Adds the products of all operands with a panel to their sums.
#[inline(always)]
pub(super) fn run<U: Unit>(
    unit: &mut U,
    operands: &[Operand<'_>],
    panel: &[BlockOfV],
    sums: &mut [SumsOfTile],
) {
    let mut done = vec![0; operands.len()];
    let blocks = panel.len() as u32;
    for end in (BLOCKS_AT_ONCE..blocks + BLOCKS_AT_ONCE).step_by(BLOCKS_AT_ONCE as usize) {
        for (i, (operand, sums)) in operands.iter().zip(&mut *sums).enumerate() {
            let ahead = &operand.blocks[done[i]..];
            let count = ahead.partition_point(|block| block.number < end);
            if count == 0 {
                continue;
            }
            let next = operands.get(i + 1).map_or(&[][..], |next| &next.words[done[i + 1]..]);
            unit.load(sums);
            for (b, (block, a)) in ahead[..count].iter().zip(&operand.words[done[i]..]).enumerate()
            {
                unit.multiply(a, &panel[block.number as usize], next.get(b));
            }
            unit.store(sums);
            done[i] += count;
        }
    }
}

/// The rule in place of the instructions.
#[derive(Default)]
#[cfg_attr(not(test), expect(dead_code, reason = "tests run the loop with it"))]
pub(super) struct Software {
    sums: Vec<Sums>,
}

impl Unit for Software {
    fn load(&mut self, sums: &SumsOfTile) {
        self.sums = sums.to_vec();
    }

    fn store(&mut self, sums: &mut SumsOfTile) {
        sums.copy_from_slice(&self.sums);
    }

    fn multiply(&mut self, a: &BlockOfA, v: &BlockOfV, _: Option<&BlockOfA>) {
        for (sums, a) in self.sums.iter_mut().zip(a.as_chunks::<PAIRS>().0) {
            let a: Vec<f32> = a.iter().flat_map(|&word| values(word)).collect();
            for (j, sum) in sums.iter_mut().enumerate() {
                let v: Vec<f32> = v.iter().flat_map(|row| values(row[j])).collect();
                // Of one block the rule gives +0 + (e + o), and the sum is never subnormal.
                *sum = contract::arithmetic::bf16_dot::add(*sum, dot(Instruction::Amx, &a, &v));
            }
        }
    }
}

/// Why this processor has no tiles for this process, in words.
pub(super) fn is_available() -> Result<(), String> {
    tiles::is_available(Operands::Bf16)
}

/// [`run`] on the processor's tiles. Panics where it has none.
pub(super) fn run_on_hardware(
    operands: &[Operand<'_>],
    panel: &[BlockOfV],
    sums: &mut [SumsOfTile],
) {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        run(&mut tiles::Hardware::configure(Operands::Bf16), operands, panel, sums);
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    {
        let _ = (operands, panel, sums);
        unreachable!("refused by `PairedA::pack`");
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod hardware {
    use std::arch::asm;
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

    use super::super::super::amx::Hardware;
    use super::{BlockOfA, BlockOfV, SumsOfTile, Unit};

    /// Bytes from a row of A to the next, and of sums or of V.
    const A_STRIDE: usize = 64;
    const STRIDE: usize = 256;

    // Tiles are configured while `self` is there, and no others use them: the borrow is unique.
    impl Unit for Hardware {
        #[inline(always)]
        fn load(&mut self, sums: &SumsOfTile) {
            // SAFETY: each tile is 16 rows of 64 bytes, 256 bytes apart: all of `sums` together.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{sums} + {stride}]",
                    "tileloadd tmm1, [{sums} + {stride} + 64]",
                    "tileloadd tmm2, [{sums} + {stride} + 128]",
                    "tileloadd tmm3, [{sums} + {stride} + 192]",
                    sums = in(reg) sums,
                    stride = in(reg) STRIDE,
                    options(nostack, readonly, preserves_flags),
                );
            }
        }

        #[inline(always)]
        fn store(&mut self, sums: &mut SumsOfTile) {
            // SAFETY: as in `load`, and the borrow is unique.
            unsafe {
                asm!(
                    "tilestored [{sums} + {stride}], tmm0",
                    "tilestored [{sums} + {stride} + 64], tmm1",
                    "tilestored [{sums} + {stride} + 128], tmm2",
                    "tilestored [{sums} + {stride} + 192], tmm3",
                    sums = in(reg) sums,
                    stride = in(reg) STRIDE,
                    options(nostack, preserves_flags),
                );
            }
        }

        #[inline(always)]
        fn multiply(&mut self, a: &BlockOfA, v: &BlockOfV, next: Option<&BlockOfA>) {
            if let Some(next) = next {
                for line in next.chunks_exact(16) {
                    // SAFETY: a prefetch changes nothing, whatever the address.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
                }
            }
            // SAFETY: A is 16 rows of 64 bytes, one behind the other; V's tiles are as those of sums.
            unsafe {
                asm!(
                    "tileloadd tmm4, [{a} + {a_stride}]",
                    "tileloadd tmm5, [{v} + {stride}]",
                    "tileloadd tmm6, [{v} + {stride} + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm5",
                    "tileloadd tmm7, [{v} + {stride} + 128]",
                    "tdpbf16ps tmm1, tmm4, tmm6",
                    "tileloadd tmm5, [{v} + {stride} + 192]",
                    "tdpbf16ps tmm2, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm4, tmm5",
                    a = in(reg) a,
                    a_stride = in(reg) A_STRIDE,
                    v = in(reg) v,
                    stride = in(reg) STRIDE,
                    options(nostack, readonly, preserves_flags),
                );
            }
        }
    }
}
