//! Operands that show a tensor core's rule: rows of A and columns of V, by integer draws alone.

use super::rival::Rival;
use contract::arithmetic::tensor_core::Format;
use contract::inputs::Stream;

/// Rows of A, and columns of V, of a set: M * N dot products.
pub const M: usize = 16;
pub const N: usize = 16;

/// Any will do; the operands are in the file.
const SEED: u64 = 1;

/// Sets of dot products, by what is special about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sums of eight uniform values.
    Gaussian,
    /// The same, half of A zero.
    Zeros50,
    /// 97 % of A zero and half of V.
    Zeros97,
    /// A is subnormal or next to it in the format, V is not.
    SubnormalOperands,
    /// Products below the least normal binary32, of normal operands. Not f16, which has none so small.
    SubnormalResults,
    /// Small operands on both sides, zeros among them.
    SubnormalBoth,
    /// Pairs of products that cancel but for a bit, near and far apart in k.
    Cancellation,
    /// Exponents spread far beyond the bits that are kept; half of A zero.
    WideExponents,
    /// A tiny and 90 % zero, V up to huge.
    TinyTimesHuge,
    /// Zeros of A meet huge values of V, and what is not zero is tiny.
    ZeroTimesHuge,
    /// Sums that reach infinity. Not f16, whose products are too small.
    Overflow,
    /// All combinations of signs, -0 and rows of zeros among them.
    Signs,
    /// A large product, and small ones on both sides of where truncation cuts; in half of the groups two large
    /// ones that cancel and leave the small ones to be seen.
    Truncation,
    /// binary32 operands of 24 bits, a third of them ties of the rounding to TF32.
    FullF32,
    /// The same, 80 % of A zero.
    FullF32Zeros80,
    /// The same with exponents -20 to 20, half of A zero.
    FullF32Wide,
}

impl Kind {
    pub const ALL: [Kind; 16] = [
        Kind::Gaussian,
        Kind::Zeros50,
        Kind::Zeros97,
        Kind::SubnormalOperands,
        Kind::SubnormalResults,
        Kind::SubnormalBoth,
        Kind::Cancellation,
        Kind::WideExponents,
        Kind::TinyTimesHuge,
        Kind::ZeroTimesHuge,
        Kind::Overflow,
        Kind::Signs,
        Kind::Truncation,
        Kind::FullF32,
        Kind::FullF32Zeros80,
        Kind::FullF32Wide,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gaussian => "gaussian",
            Kind::Zeros50 => "zeros-50",
            Kind::Zeros97 => "zeros-97",
            Kind::SubnormalOperands => "subnormal-operands",
            Kind::SubnormalResults => "subnormal-results",
            Kind::SubnormalBoth => "subnormal-both",
            Kind::Cancellation => "cancellation",
            Kind::WideExponents => "wide-exponents",
            Kind::TinyTimesHuge => "tiny-times-huge",
            Kind::ZeroTimesHuge => "zero-times-huge",
            Kind::Overflow => "overflow",
            Kind::Signs => "signs",
            Kind::Truncation => "truncation",
            Kind::FullF32 => "full-f32",
            Kind::FullF32Zeros80 => "full-f32-zeros-80",
            Kind::FullF32Wide => "full-f32-wide",
        }
    }

    /// Whether the format can show it.
    pub fn applies(self, format: Format) -> bool {
        match self {
            Kind::SubnormalResults | Kind::Overflow => format != Format::F16,
            Kind::FullF32 | Kind::FullF32Zeros80 | Kind::FullF32Wide => format == Format::Tf32,
            _ => true,
        }
    }

    /// Rules that this set must refute, whatever the architecture.
    pub fn refutes(self) -> &'static [Rival] {
        use Rival::*;
        match self {
            Kind::Gaussian | Kind::Cancellation | Kind::Truncation => {
                &[FractionBitLess, FractionBitMore, HalfGroup]
            }
            Kind::Zeros50 | Kind::Signs => &[FractionBitLess, FractionBitMore],
            Kind::ZeroTimesHuge => &[ZeroExponents],
            Kind::FullF32 | Kind::FullF32Zeros80 => &[OperandsTruncated, OperandsTiesAway],
            _ => &[],
        }
    }

    /// k: more than four groups of the longest, the last one short in half of the sets. A multiple of 8: at others
    /// (100 was tried) cuBLAS takes kernels that sum in another order.
    fn k(self) -> usize {
        match self {
            Kind::Gaussian | Kind::Truncation | Kind::Signs | Kind::FullF32 => 128,
            Kind::Cancellation | Kind::WideExponents | Kind::Zeros97 => 96,
            _ => 104,
        }
    }
}

/// Operands of one set.
#[derive(Clone, Debug, PartialEq)]
pub struct Operands {
    pub k: usize,
    /// M rows of k.
    pub a: Vec<Vec<f32>>,
    /// N columns of k.
    pub v: Vec<Vec<f32>>,
}

/// The operands of a set, values of the format's dtype (of TF32, other than the full sets, on its grid).
pub fn operands(kind: Kind, format: Format) -> Operands {
    let role = format!("vectors.{}.{}", format.name(), kind.name());
    let stream = Stream::new(SEED, &role, &[M, kind.k(), N], format.dtype(), None);
    let mut draw = Draw { draws: Box::new(stream.draws()), format, full: false };
    let k = kind.k();
    let narrow = format == Format::F16;
    let mut both = |a: &mut dyn FnMut(&mut Draw) -> f32, v: &mut dyn FnMut(&mut Draw) -> f32| {
        let a = (0..M).map(|_| (0..k).map(|_| a(&mut draw)).collect()).collect();
        let v = (0..N).map(|_| (0..k).map(|_| v(&mut draw)).collect()).collect();
        Operands { k, a, v }
    };
    // Exponents of A and V, and which percentage is zero.
    let mut spread = |zeros_a: u64, a: [i32; 2], zeros_v: u64, v: [i32; 2]| {
        both(&mut |d| d.or_zero(zeros_a, |d| d.value(a)), &mut |d| {
            d.or_zero(zeros_v, |d| d.value(v))
        })
    };
    match kind {
        Kind::Gaussian => both(&mut Draw::gaussian, &mut Draw::gaussian),
        Kind::Zeros50 => both(&mut |d| d.or_zero(50, Draw::gaussian), &mut Draw::gaussian),
        Kind::Zeros97 => {
            both(&mut |d| d.or_zero(97, Draw::gaussian), &mut |d| d.or_zero(50, Draw::gaussian))
        }
        Kind::SubnormalOperands if narrow => spread(0, [-24, -13], 0, [0, 15]),
        Kind::SubnormalOperands => spread(0, [-134, -124], 0, [90, 127]),
        Kind::SubnormalResults => spread(30, [-75, -66], 0, [-75, -66]),
        Kind::SubnormalBoth if narrow => spread(50, [-24, -14], 0, [-24, 0]),
        Kind::SubnormalBoth => spread(30, [-133, -122], 0, [-10, 0]),
        Kind::WideExponents if narrow => spread(50, [-14, 15], 0, [-14, 15]),
        Kind::WideExponents => spread(50, [-40, 40], 0, [-40, 40]),
        Kind::TinyTimesHuge if narrow => spread(90, [-14, -10], 30, [-14, 15]),
        Kind::TinyTimesHuge => spread(90, [-100, -90], 30, [-20, 100]),
        Kind::Overflow => spread(30, [56, 63], 0, [56, 63]),
        Kind::ZeroTimesHuge => {
            let (tiny, huge) = if narrow { ([-14, -8], 15) } else { ([-60, -50], 127) };
            let odd = |at: usize| at % 2 == 1;
            let mut a = |at, d: &mut Draw| if odd(at) { 0.0 } else { d.value(tiny) };
            let mut v = |at, d: &mut Draw| d.value(if odd(at) { [huge; 2] } else { tiny });
            let line = |make: &mut dyn FnMut(usize, &mut Draw) -> f32, draw: &mut Draw| {
                (0..k).map(|at| make(at, draw)).collect::<Vec<f32>>()
            };
            let a = (0..M).map(|_| line(&mut a, &mut draw)).collect();
            let v = (0..N).map(|_| line(&mut v, &mut draw)).collect();
            Operands { k, a, v }
        }
        Kind::Signs => {
            let mut line = |i: usize| -> Vec<f32> {
                (0..k)
                    .map(|at| {
                        let x = draw.value([-2, 2]).abs();
                        match i % 5 {
                            0 => x,
                            1 => -x,
                            2 if at % 2 == 0 => -x,
                            2 => x,
                            3 => draw.sign() * draw.or_zero(25, |_| x),
                            _ => draw.sign() * draw.or_zero(90, |_| x),
                        }
                    })
                    .collect()
            };
            let mut a: Vec<_> = (0..M).map(&mut line).collect();
            let v = (0..N).map(&mut line).collect();
            // All zero, of both signs.
            a[M - 1].iter_mut().for_each(|x| *x *= 0.0);
            Operands { k, a, v }
        }
        Kind::Cancellation => cancellation(k, &mut draw),
        Kind::Truncation => truncation(k, &mut draw),
        Kind::FullF32 | Kind::FullF32Zeros80 | Kind::FullF32Wide => {
            let (zeros, exponents) = match kind {
                Kind::FullF32 => (0, [-3, 3]),
                Kind::FullF32Zeros80 => (80, [-3, 3]),
                _ => (50, [-20, 20]),
            };
            draw.full = true;
            let mut lines = |count: usize, zeros: u64| -> Vec<Vec<f32>> {
                let mut one = || draw.or_zero(zeros, |d| d.value_or_tie(exponents));
                (0..count).map(|_| (0..k).map(|_| one()).collect()).collect()
            };
            Operands { k, a: lines(M, zeros), v: lines(N, 0) }
        }
    }
}

/// Products 2i and 2i + 1 cancel but for a unit in the last place of an operand; the pairs' places in k are
/// shuffled, so that some meet in a group and some across groups.
fn cancellation(k: usize, draw: &mut Draw) -> Operands {
    let mut order: Vec<usize> = (0..k).collect();
    for i in (1..k).rev() {
        order.swap(i, draw.below(i as u64 + 1) as usize);
    }
    let mut lines = |count: usize, negate: bool| -> Vec<Vec<f32>> {
        (0..count)
            .map(|_| {
                let mut line = vec![0.0; k];
                for pair in order.chunks(2) {
                    let x = draw.value([-3, 3]);
                    line[pair[0]] = x;
                    if let Some(&second) = pair.get(1) {
                        let near = if draw.below(4) == 0 { draw.next_up(x) } else { x };
                        line[second] = if negate { -near } else { near };
                    }
                }
                line
            })
            .collect()
    };
    Operands { k, a: lines(M, true), v: lines(N, false) }
}

/// In each 16 of k: product 0 is large (exponent 0), the others have exponents -27 to -22. In every second 16
/// product 1 is large as well and cancels product 0.
fn truncation(k: usize, draw: &mut Draw) -> Operands {
    let mut lines = |count: usize, negate: bool| -> Vec<Vec<f32>> {
        (0..count)
            .map(|_| {
                let mut line: Vec<f32> = Vec::with_capacity(k);
                for at in 0..k {
                    line.push(match (at % 16, at / 16 % 2) {
                        (0, _) => draw.value([0, 0]),
                        (1, 1) if negate => -line[at - 1],
                        (1, 1) => line[at - 1],
                        _ => draw.value([-13, -11]),
                    });
                }
                line
            })
            .collect()
    };
    Operands { k, a: lines(M, true), v: lines(N, false) }
}

struct Draw {
    draws: Box<dyn Iterator<Item = u64>>,
    format: Format,
    /// 24 significant bits instead of the format's.
    full: bool,
}

impl Draw {
    fn word(&mut self) -> u64 {
        // The stream does not end.
        self.draws.next().unwrap_or_default()
    }

    /// Below `bound`, at most 2^32; the bias does not matter here.
    fn below(&mut self, bound: u64) -> u64 {
        (self.word() >> 32) % bound
    }

    fn sign(&mut self) -> f32 {
        if self.below(2) == 0 { 1.0 } else { -1.0 }
    }

    /// The nearest value that the format has.
    fn round(&self, x: f32) -> f32 {
        match self.full {
            true => x,
            false => self.format.round_operand(self.format.dtype().round(x)),
        }
    }

    fn or_zero(&mut self, percent: u64, value: impl FnOnce(&mut Draw) -> f32) -> f32 {
        if self.below(100) < percent { 0.0 } else { value(self) }
    }

    /// A random significand, rounded towards zero so that the exponent is one of `first..=last`; where the format
    /// has fewer bits there, rounded to them.
    fn value(&mut self, [first, last]: [i32; 2]) -> f32 {
        let exponent = first + self.below((last - first + 1) as u64) as i32;
        let sign = f64::from(self.sign());
        let bits = match (self.full, self.format) {
            (true, _) => 23,
            (false, Format::Bf16) => 7,
            (false, _) => 10,
        };
        let significand = (1u64 << bits) + self.below(1 << bits);
        // Exact: a power of two of at least 2^-160 times an integer.
        let scale = f64::from_bits(((1023 + exponent - bits) as u64) << 52);
        self.round((sign * significand as f64 * scale) as f32)
    }

    /// As [`Draw::value`] with 24 bits; one of three lies halfway between two TF32 values.
    fn value_or_tie(&mut self, exponents: [i32; 2]) -> f32 {
        let x = self.value(exponents);
        match self.below(3) {
            0 => f32::from_bits(x.to_bits() & !0x1fff | 0x1000),
            _ => x,
        }
    }

    /// Eight uniform 16-bit integers less their mean, in units of 2^-16.
    fn gaussian(&mut self) -> f32 {
        let mut sum = -262_140i32;
        for _ in 0..2 {
            let word = self.word();
            sum += (0..4).map(|j| (word >> (16 * j) & 0xffff) as i32).sum::<i32>();
        }
        self.round(sum as f32 / 65536.0)
    }

    /// The format's next larger magnitude.
    fn next_up(&self, x: f32) -> f32 {
        let unit = match self.format {
            Format::Bf16 => 1 << 16,
            Format::F16 | Format::Tf32 => 1 << 13,
        };
        f32::from_bits(x.to_bits() + unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_finite_values_of_their_format() {
        for format in Format::ALL {
            for kind in Kind::ALL.into_iter().filter(|kind| kind.applies(format)) {
                let operands = operands(kind, format);
                assert_eq!((operands.a.len(), operands.v.len()), (M, N));
                let full = matches!(kind, Kind::FullF32 | Kind::FullF32Zeros80 | Kind::FullF32Wide);
                for x in operands.a.iter().chain(&operands.v).flatten() {
                    assert!(x.is_finite());
                    let rounded = format.round_operand(format.dtype().round(*x));
                    assert!(full || rounded.to_bits() == x.to_bits(), "{kind:?} {format:?} {x:e}");
                }
                assert!(operands.a.iter().chain(&operands.v).all(|line| line.len() == operands.k));
                assert!(operands.k >= 4 * 16, "four groups of the longest");
            }
        }
    }

    #[test]
    fn sets_hold_what_their_names_say() {
        let zeros = |kind, format| {
            let a = operands(kind, format).a;
            let count = a.iter().flatten().filter(|x| **x == 0.0).count();
            100 * count / a.iter().map(Vec::len).sum::<usize>()
        };
        for format in Format::ALL {
            assert!((45..55).contains(&zeros(Kind::Zeros50, format)));
            assert!((94..=99).contains(&zeros(Kind::Zeros97, format)));
            let least = 2f32.powi(format.exponent_min());
            let operands = operands(Kind::SubnormalOperands, format);
            let count = |line: &[Vec<f32>]| {
                line.iter().flatten().filter(|x| **x != 0.0 && x.abs() < least).count()
            };
            assert!(count(&operands.a) > 200, "{format:?}");
            assert_eq!(count(&operands.v), 0);
        }
        let ties = |x: &&f32| x.to_bits() & 0x1fff == 0x1000;
        let full = operands(Kind::FullF32, Format::Tf32);
        assert!(full.a.iter().flatten().filter(ties).count() > 500);
    }
}
