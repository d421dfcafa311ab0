//! One product by one kernel, for a tool that counts instructions: `benches/instructions.sh` runs it.
//!
//! `instructions CASE ISA` packs A, and lays out V and multiplies twice, on one thread; only the second product, in [`measured`],
//! is to be counted: the first takes memory that the second finds, and what the allocator does then depends on what was
//! allocated before. `instructions` alone prints the cases and the paths of this processor, a pair a line.

use std::hint::black_box;

use contract::arithmetic::tensor_core::{Architecture, Format, Model};
use contract::arithmetic::{Arithmetic, Slices};
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use ndarray::Array2;
use sparse_verify::backend::cpu::Isa;
use sparse_verify::operator::{Operator, SkipOperator, Staged};

/// The least shape that a newcomer's first run has: of the quickstart's sections.
const SHAPE: (usize, usize, usize) = (192, 320, 48);

/// A name, an arithmetic, a strategy, and the share of zeros in A.
type Case = (&'static str, fn() -> Arithmetic, Strategy, f64);

const CASES: [Case; 8] = [
    ("chain-dense", || Arithmetic::F32Chain(Slices::One), Strategy::Dense, 0.0),
    ("chain-csr-80", || Arithmetic::F32Chain(Slices::One), Strategy::Csr, 0.8),
    ("chain-csr-99", || Arithmetic::F32Chain(Slices::One), Strategy::Csr, 0.99),
    ("hopper-bf16-dense", hopper, Strategy::Dense, 0.0),
    ("hopper-bf16-csr-80", hopper, Strategy::Csr, 0.8),
    ("fixed-point-dense", || Arithmetic::FixedPoint, Strategy::Dense, 0.0),
    ("fixed-point-csr-80", || Arithmetic::FixedPoint, Strategy::Csr, 0.8),
    ("fixed-point-csr-99", || Arithmetic::FixedPoint, Strategy::Csr, 0.99),
];

fn hopper() -> Arithmetic {
    let model = Model::of(Architecture::Hopper, Format::Bf16);
    Arithmetic::TensorCore(model.expect("Hopper has such tensor cores"))
}

/// Sums of four uniform values of which a share is zero, rounded to bf16: every arithmetic takes them.
fn random(shape: (usize, usize), zeros: f64, seed: u64) -> Array2<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    Array2::from_shape_simple_fn(shape, || {
        let is_zero = (draw() >> 11) as f64 / (1u64 << 53) as f64 <= zeros;
        let drawn = draw();
        let sum: u64 = (0..4).map(|i| drawn >> (16 * i) & 0xffff).sum();
        if is_zero && zeros > 0.0 {
            return 0.0;
        }
        Dtype::Bf16.round((sum as f32 - 131072.0) / 65536.0)
    })
}

/// What is counted.
#[inline(never)]
fn measured(mut product: impl FnMut()) {
    product();
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [name, isa] = &arguments[..] else {
        for (name, ..) in CASES {
            Isa::available().for_each(|isa| println!("{name} {isa}"));
        }
        return;
    };
    let found = CASES.into_iter().find(|(known, ..)| known == name);
    let (_, arithmetic, strategy, zeros) = found.expect("a case that is printed without arguments");
    let isa = Isa::from_name(isa).filter(|isa| isa.is_available()).expect("a path of this machine");
    let operator = SkipOperator { arithmetic: arithmetic(), output: Dtype::F32, strategy, isa };
    let (m, k, n) = SHAPE;
    let (a, v) = (random((m, k), zeros, 1), random((k, n), 0.0, 2));
    let built = operator.build(a.view()).expect("A is packed");
    let (mut staged, mut y) = (Staged::default(), Array2::zeros((m, n)));
    let mut product = || {
        operator.stage(v.view(), &mut staged, 1).expect("V is laid out");
        built.apply(v.view(), &staged, y.view_mut(), 1).expect("A and V are multiplied");
    };
    product();
    measured(&mut product);
    black_box(&y);
}
