//! Passes over whole rows of operands, compiled for each dispatch path.
//!
//! Packing has to keep up with memory: a panel of A is often packed, used once, and dropped.
//! Hence no branch depends on an element here, and what is about to be written is not zeroed.

use std::mem::MaybeUninit;

use super::{Exponents, Isa, PANEL, Values, Window};
use crate::backend::cpu::per_isa;
use contract::arithmetic::tensor_core::Format;

/// Elements past the last non-zero that `compress` may scribble on.
pub(super) const SLACK: usize = 16;

per_isa! {
    /// `Window::of` for a long row.
    pub(super) fn window(values: &[f32], exponent_min: i32) -> Option<Window> {
        Window::of(values, exponent_min)
    }
}

per_isa! {
    /// Copies operands, rounded to the format.
    pub(super) fn round(format: Format, source: &[f32], values: &mut [f32]) {
        match format {
            Format::F16 | Format::Bf16 => values.copy_from_slice(source),
            // Named, so that the loop holds no choice.
            Format::Tf32 => {
                for (value, &x) in values.iter_mut().zip(source) {
                    *value = Format::Tf32.round_operand(x);
                }
            }
        }
    }
}

per_isa! {
    /// The exponents of a row, relative to the window's.
    pub(super) fn relative(
        window: Window,
        exponent_min: i32,
        values: &[f32],
        exponents: &mut [MaybeUninit<i8>],
    ) {
        assert_eq!(values.len(), exponents.len());
        for (&x, exponent) in values.iter().zip(exponents) {
            exponent.write(window.relative(x, exponent_min));
        }
    }
}

per_isa! {
    /// Two rows, element by element in turn, and their exponents: every element of the
    /// targets is written.
    pub(super) fn weave(
        window: Window,
        exponent_min: i32,
        rows: [&[f32]; 2],
        values: &mut [MaybeUninit<f32>],
        exponents: &mut [MaybeUninit<i8>],
    ) {
        let [row, other] = rows;
        assert_eq!(row.len(), other.len());
        assert!(values.len() == 2 * row.len() && exponents.len() == 2 * row.len());
        let (values, _) = values.as_chunks_mut::<2>();
        let (exponents, _) = exponents.as_chunks_mut::<2>();
        let rows = row.iter().zip(other);
        for ((&x, &y), value) in rows.clone().zip(values) {
            value[0].write(x);
            value[1].write(y);
        }
        for ((&x, &y), exponent) in rows.zip(exponents) {
            exponent[0].write(window.relative(x, exponent_min));
            exponent[1].write(window.relative(y, exponent_min));
        }
    }
}

per_isa! {
    /// The groups that have a bit set (or all of them), and for each the number of bits set
    /// up to its end; returns how many there are. The lists have room for every group.
    pub(super) fn list_groups(
        bits: &[u64],
        group: usize,
        all: bool,
        groups: &mut [u32],
        ends: &mut [u32],
    ) -> usize {
        assert_eq!(groups.len(), ends.len());
        let (mut listed, mut total) = (0, 0);
        for g in 0..groups.len() {
            let count = ones(bits, g * group, group);
            total += count;
            // Written in any case and kept if live: whether it is cannot be predicted.
            groups[listed] = g as u32;
            ends[listed] = total;
            listed += usize::from(all || count > 0);
        }
        listed
    }
}

/// Bits set among `len` from `at` on; past the last word there are none.
#[inline(always)]
fn ones(bits: &[u64], mut at: usize, mut len: usize) -> u32 {
    let mut count = 0;
    while len > 0 && at / 64 < bits.len() {
        let taken = len.min(64 - at % 64);
        count += (bits[at / 64] >> (at % 64) << (64 - taken)).count_ones();
        at += taken;
        len -= taken;
    }
    count
}

per_isa! {
    /// Rounds a panel's operands where the format needs it; gives the largest magnitude and
    /// the smallest non-zero magnitude less one, column by column.
    pub(super) fn scan_columns(values: &mut [Values], format: Format) -> [[u32; PANEL]; 2] {
        let (mut top, mut low) = ([0u32; PANEL], [u32::MAX; PANEL]);
        for row in values {
            if format == Format::Tf32 {
                row.0.iter_mut().for_each(|x| *x = Format::Tf32.round_operand(*x));
            }
            for ((x, top), low) in row.0.iter().zip(&mut top).zip(&mut low) {
                let magnitude = x.to_bits() & 0x7fff_ffff;
                *top = (*top).max(magnitude);
                // Zero wraps around to the largest value.
                *low = (*low).min(magnitude.wrapping_sub(1));
            }
        }
        [top, low]
    }
}

per_isa! {
    /// The exponents of a panel, relative to the window's.
    pub(super) fn relative_columns(
        window: Window,
        exponent_min: i32,
        values: &[Values],
        exponents: &mut [Exponents],
    ) {
        for (values, exponents) in values.iter().zip(exponents) {
            for (&x, exponent) in values.0.iter().zip(&mut exponents.0) {
                *exponent = window.relative(x, exponent_min);
            }
        }
    }
}

/// Moves the elements of `row` whose bit is set to the front of `values`, and their positions
/// to the front of `positions`. The targets hold `SLACK` elements more than there are bits
/// set; those before the slack are all written.
pub(super) fn compress(
    isa: Isa,
    row: &[f32],
    bits: &[u64],
    values: &mut [MaybeUninit<f32>],
    positions: &mut [MaybeUninit<u32>],
) {
    assert_eq!(values.len(), positions.len());
    let whole = match isa {
        // SAFETY: the caller's path is available, and every processor with AVX2 counts bits.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { compress_avx512(row, bits, values, positions) },
        _ => (0, 0),
    };
    let (first, mut count) = whole;
    for (word, &bits) in bits.iter().enumerate().skip(first) {
        let mut bits = bits;
        while bits != 0 {
            let k = word * 64 + bits.trailing_zeros() as usize;
            values[count].write(row[k]);
            positions[count].write(k as u32);
            count += 1;
            bits &= bits - 1;
        }
    }
    assert_eq!(count + SLACK, values.len(), "room for the non-zeros");
}

/// The words of `bits` that stand for 64 elements each: how many these are, and how many
/// elements have been moved.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
fn compress_avx512(
    row: &[f32],
    bits: &[u64],
    values: &mut [MaybeUninit<f32>],
    positions: &mut [MaybeUninit<u32>],
) -> (usize, usize) {
    use std::arch::x86_64::*;
    let (words, _) = row.as_chunks::<64>();
    let set: usize = bits.iter().map(|bits| bits.count_ones() as usize).sum();
    assert!(set + SLACK <= values.len().min(positions.len()), "room for the non-zeros");
    let mut at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let step = _mm512_set1_epi32(16);
    let mut count = 0;
    for (word, &bits) in words.iter().zip(bits) {
        for (i, part) in word.as_chunks::<16>().0.iter().enumerate() {
            let mask = (bits >> (16 * i)) as u16;
            // SAFETY: `part` is 16 floats. `count` is at most the number of bits set, and the
            // targets have been seen to hold 16 elements more than that. Compressing in a
            // register and storing all of it is much faster than compressing to memory.
            unsafe {
                let x = _mm512_maskz_compress_ps(mask, _mm512_loadu_ps(part.as_ptr()));
                _mm512_storeu_ps(values.as_mut_ptr().add(count).cast(), x);
                let x = _mm512_maskz_compress_epi32(mask, at);
                _mm512_storeu_si512(positions.as_mut_ptr().add(count).cast(), x);
            }
            count += mask.count_ones() as usize;
            at = _mm512_add_epi32(at, step);
        }
    }
    (words.len(), count)
}
