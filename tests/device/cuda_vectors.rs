//! Whole products of 1024 x 4096 x 512 with difficult values, computed by a device's tensor cores and compared with
//! the CPU model, element by element.

use std::time::Instant;

use contract::arithmetic::tensor_core::{Architecture, Format};
use contract::arithmetic::{Arithmetic, TensorCoreModel};
use contract::dtype::Dtype;
use ndarray::Array2;
use rayon::prelude::*;
use sparse_verify::backend::cpu::Isa;
use sparse_verify::backend::cuda::Device;
use sparse_verify::operator::DenseReference;
use sparse_verify::rules::vectors::{VectorFile, implementations, whole};

use crate::device;

const M: usize = 1024;
const K: usize = 4096;
const N: usize = 512;

/// Values of one matrix.
#[derive(Clone, Copy)]
enum Values {
    Gaussian,
    /// Random significands, exponents from and to.
    Spread(i32, i32),
}

/// A's values and the share of zeros in percent, V's, and whether TF32 operands are full binary32.
struct Case {
    name: &'static str,
    formats: &'static [Format],
    a: (Values, u64),
    v: (Values, u64),
    full: bool,
    /// Some sums are to overflow.
    overflows: bool,
}

impl Case {
    const fn new(
        name: &'static str,
        formats: &'static [Format],
        a: (Values, u64),
        v: (Values, u64),
    ) -> Case {
        Case { name, formats, a, v, full: false, overflows: false }
    }
}

const ALL: &[Format] = &Format::ALL;
const WIDE: &[Format] = &[Format::Bf16, Format::Tf32];
const F16: &[Format] = &[Format::F16];
const BF16: &[Format] = &[Format::Bf16];
const TF32: &[Format] = &[Format::Tf32];

fn cases() -> Vec<Case> {
    use Values::{Gaussian, Spread};
    let g = (Gaussian, 0);
    vec![
        Case::new("gaussian", ALL, g, g),
        Case::new("A 80 % zero", ALL, (Gaussian, 80), g),
        Case::new("A 99 % zero", ALL, (Gaussian, 99), g),
        Case::new(
            "exponents -40..40, A 50 % zero",
            WIDE,
            (Spread(-40, 40), 50),
            (Spread(-40, 40), 0),
        ),
        Case::new(
            "exponents -14..15, A 80 % zero",
            F16,
            (Spread(-14, 15), 80),
            (Spread(-14, 15), 0),
        ),
        Case::new("tiny A, V to 2^60", BF16, (Spread(-60, -50), 90), (Spread(-60, 60), 0)),
        Case::new("tiny A, huge V", WIDE, (Spread(-100, -90), 97), (Spread(-20, 100), 30)),
        Case::new("tiny A, huge V", F16, (Spread(-14, -10), 90), (Spread(-14, 15), 0)),
        Case::new("subnormal results", WIDE, (Spread(-75, -66), 30), (Spread(-75, -66), 0)),
        Case::new("subnormal A", WIDE, (Spread(-133, -120), 30), (Spread(-10, 5), 0)),
        Case::new("subnormal A and V", F16, (Spread(-24, -14), 50), (Spread(-24, 0), 0)),
        Case {
            overflows: true,
            ..Case::new("overflow", WIDE, (Spread(55, 62), 30), (Spread(55, 62), 0))
        },
        Case { full: true, ..Case::new("full f32, gaussian", TF32, g, g) },
        Case { full: true, ..Case::new("full f32, A 80 % zero", TF32, (Gaussian, 80), g) },
        Case {
            full: true,
            ..Case::new(
                "full f32, exponents -20..20",
                TF32,
                (Spread(-20, 20), 50),
                (Spread(-20, 20), 0),
            )
        },
    ]
}

/// SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// One element from its index.
fn element(values: Values, zeros: u64, format: Format, full: bool, index: u64) -> f32 {
    let word = mix(index);
    if mix(word) % 100 < zeros {
        return 0.0;
    }
    let x = match values {
        Values::Gaussian => {
            let words = [word, mix(word ^ 0x5555)];
            let sum = |word: u64| (0..4).map(|j| (word >> (16 * j) & 0xffff) as i32).sum::<i32>();
            let gaussian = (sum(words[0]) + sum(words[1]) - 262_140) as f32 / 65536.0;
            // 24 bits, where the sum has 19 at most.
            if full { gaussian + (word & 0xff) as f32 / 16_777_216.0 } else { gaussian }
        }
        Values::Spread(first, last) => {
            let exponent = first + ((word >> 32) % (last - first + 1) as u64) as i32;
            let significand = (1u64 << 23 | word & 0x7f_ffff) as f64;
            let scale = f64::from_bits(((1023 + exponent - 23) as u64) << 52);
            let sign = if word >> 31 & 1 == 1 { -1.0 } else { 1.0 };
            (sign * significand * scale) as f32
        }
    };
    if full {
        return x;
    }
    // Truncated, because rounding might leave the range of exponents; a subnormal is then rounded.
    let kept = match format {
        Format::Bf16 => !0xffff,
        Format::F16 | Format::Tf32 => !0x1fff,
    };
    format.dtype().round(f32::from_bits(x.to_bits() & kept))
}

fn matrix(case: &Case, format: Format, is_a: bool) -> Array2<f32> {
    let ((values, zeros), shape, role) =
        if is_a { (case.a, (M, K), 1u64) } else { (case.v, (K, N), 2) };
    let elements = (0..(shape.0 * shape.1) as u64)
        .into_par_iter()
        .map(|i| element(values, zeros, format, case.full, role << 40 | i))
        .collect();
    Array2::from_shape_vec(shape, elements).expect("as many as asked for")
}

#[test]
fn whole_products_are_the_models() {
    let Some(device) = device() else { return };
    let Some(architecture) = Architecture::of(device.compute_capability()) else {
        println!("not run: {} has no tensor cores", device.info.name);
        return;
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (implementations, missing) = implementations(&device);
    missing.iter().for_each(|missing| println!("{}: {}", missing.name, missing.reason));
    let started = Instant::now();
    let (mut products, mut wrong) = (0, Vec::new());
    for case in cases() {
        for &format in case.formats {
            let Some(model) = TensorCoreModel::of(architecture, format) else { continue };
            let (a, v) = (matrix(&case, format, true), matrix(&case, format, false));
            let reference = DenseReference {
                arithmetic: Arithmetic::TensorCore(model),
                output: Dtype::F32,
                isa: Isa::best(),
            };
            let want = whole(&reference, a.view(), v.view(), threads).expect("on the CPU");
            let infinite = want.iter().filter(|y| !y.is_finite()).count();
            assert_eq!(infinite > 0, case.overflows, "{}: {infinite} not finite", case.name);
            assert!(infinite < M * N, "{}: nothing is finite", case.name);
            for implementation in implementations.iter().filter(|i| i.format == format) {
                let name = format!("{} {}, {}", format.name(), case.name, implementation.name);
                let got = whole(&*implementation.operator, a.view(), v.view(), threads)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                // The same elements are not finite, and all others are the same bits.
                let differ = |(got, want): (&f32, &f32)| {
                    got.to_bits() != want.to_bits() && (got.is_finite() || want.is_finite())
                };
                let count = got.iter().zip(&want).filter(|&pair| differ(pair)).count();
                println!("{name}: {count} of {} differ, {infinite} not finite", M * N);
                products += 1;
                wrong.extend((count > 0).then_some(name));
            }
        }
    }
    println!("{products} products in {:.1} s", started.elapsed().as_secs_f64());
    assert!(products > 0);
    assert_eq!(wrong, [""; 0], "differ from the CPU model");
}

/// The values are what their names say: looked at on any machine.
#[test]
fn the_values_are_what_their_names_say() {
    for case in cases() {
        for &format in case.formats {
            let ((values, zeros), count) = (case.a, 20_000);
            let a: Vec<f32> =
                (0..count).map(|i| element(values, zeros, format, case.full, i)).collect();
            assert!(a.iter().all(|x| x.is_finite()), "{}", case.name);
            let share = a.iter().filter(|x| **x == 0.0).count() as u64 * 100 / count;
            assert!(share.abs_diff(zeros) <= 3, "{}: {share} % zero", case.name);
            let on_grid = a.iter().filter(|&&x| format.round_operand(x) == x).count();
            assert_eq!(on_grid == a.len(), !case.full, "{}", case.name);
        }
    }
}

#[test]
fn doctor_writes_vectors_or_says_why_there_are_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("vectors.json");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_verify"))
        .args(["doctor", "--vectors"])
        .arg(&path)
        .output()
        .expect("the program was built");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if Device::open(0).is_err() {
        assert_eq!(output.status.code(), Some(4), "{stderr}");
        assert!(stderr.contains(" failed"), "{stderr}");
        assert!(!path.exists());
        return;
    }
    println!("{stdout}");
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let file = VectorFile::load(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(file.replay(), [""; 0]);
    assert!(file.to_text().len() < 2 << 20, "too long to be committed");
}
