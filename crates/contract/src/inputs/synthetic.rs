//! Synthetic values by formula (VERIFY.md section 2).

use super::spec::Values;
use super::stream::Stream;
use crate::dtype::Dtype;

/// Words read from the stream at a time; a few kilobytes, so that they stay in L1.
const WORDS_AT_ONCE: usize = 2048;

/// How elements `first`, `first + 1`, ... of a synthetic tensor are drawn into a slice: [`fill`], or an implementation
/// that gives the same bits.
pub type Fill = fn(Values, &Stream, Dtype, u64, &mut [f32]);

/// Fills `out` with elements `first`, `first + 1`, ... of a synthetic tensor.
///
/// All of it is integers and exact conversions, so that it may be compiled for any processor and gives the same.
#[inline(always)]
pub fn fill(values: Values, stream: &Stream, dtype: Dtype, first: u64, out: &mut [f32]) {
    let mut words = [0u32; WORDS_AT_ONCE];
    let words_per_element = match values {
        Values::Uniform | Values::Ternary => 1,
        Values::HeavyTailed | Values::Binomial | Values::Wide => 2,
    };
    let mut position = first * words_per_element as u64;
    for out in out.chunks_mut(WORDS_AT_ONCE / words_per_element) {
        let words = &mut words[..out.len() * words_per_element];
        stream.read(position, words);
        position += words.len() as u64;
        let (pairs, _) = words.as_chunks::<2>();
        match values {
            Values::Uniform => each(out, words, uniform),
            Values::Ternary => each(out, words, |w| ((w & 3).count_ones() as i32 - 1) as f32),
            Values::HeavyTailed => each(out, pairs, heavy_tailed),
            Values::Binomial | Values::Wide => {
                each(out, pairs, |[a, b]| ((ones(a) + ones(b)) as i32 - 32) as f32);
            }
        }
        if dtype != Dtype::F32 {
            // Adding +0 turns the -0 of an underflow into +0.
            dtype.round_all(out);
            out.iter_mut().for_each(|x| *x += 0.0);
        }
    }
}

#[inline(always)]
fn each<W: Copy>(out: &mut [f32], words: &[W], value: impl Fn(W) -> f32) {
    for (x, &w) in out.iter_mut().zip(words) {
        *x = value(w);
    }
}

#[inline(always)]
fn uniform(w: u32) -> f32 {
    ((w >> 8) as i32 - (1 << 23)) as f32 * 2f32.powi(-23)
}

/// The number of ones, by sums that every processor vectorises.
#[inline(always)]
fn ones(x: u32) -> u32 {
    let x = x - (x >> 1 & 0x5555_5555);
    let x = (x & 0x3333_3333) + (x >> 2 & 0x3333_3333);
    let x = (x + (x >> 4)) & 0x0f0f_0f0f;
    let x = x + (x >> 8);
    (x + (x >> 16)) & 0x3f
}

#[inline(always)]
fn heavy_tailed([w0, w1]: [u32; 2]) -> f32 {
    let significand = ((w0 >> 8) as i32 - (1 << 23)) as f32;
    // The set bit stands for the 16 trailing zeros of an empty half-word.
    let lowest = w1 & 0xffff | 0x1_0000;
    let tail = (ones(!lowest & (lowest - 1)) / 2) as i32;
    let spread = ones(w1 >> 16) as i32;
    // 2^(tail - spread - 19) is a normal number: its bits are its exponent.
    let scale = f32::from_bits(((tail - spread - 19 + 127) as u32) << 23);
    significand * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_can_be_read_alone() {
        let stream = Stream::new(7, "A.values", &[11, 4099], Dtype::Bf16, None);
        for values in Values::ALL {
            let mut whole = vec![0.0; 11 * 4099];
            fill(values, &stream, Dtype::Bf16, 0, &mut whole);
            for (first, len) in [(0, 1), (1, 17), (4099, 4099), (40_000, 5089)] {
                let mut part = vec![f32::NAN; len];
                fill(values, &stream, Dtype::Bf16, first as u64, &mut part);
                assert_eq!(part, whole[first..first + len], "{values:?} from {first}");
            }
        }
    }

    #[test]
    fn values_stay_in_their_ranges() {
        let stream = Stream::new(1, "A.values", &[1, 1 << 16], Dtype::F32, None);
        let mut x = vec![0.0; 1 << 16];
        let mut range = |values| {
            fill(values, &stream, Dtype::F32, 0, &mut x);
            assert!(x.iter().all(|x| x.to_bits() != 1 << 31), "no negative zero");
            x.iter().fold((f32::MAX, f32::MIN), |(lo, hi), &x| (lo.min(x), hi.max(x)))
        };
        let (lo, hi) = range(Values::Uniform);
        assert!((-1.0..-0.999).contains(&lo) && (0.999..1.0).contains(&hi));
        let (lo, hi) = range(Values::HeavyTailed);
        assert!(lo < -2.0 && hi > 2.0 && lo >= -4096.0 && hi < 4096.0);
        let (lo, hi) = range(Values::Binomial);
        assert!((-32.0..-10.0).contains(&lo) && (10.0..=32.0).contains(&hi));
        assert_eq!(range(Values::Ternary), (-1.0, 1.0));
    }
}
