//! Which arithmetic a library follows on this machine.
//!
//! A library's documentation does not say in which order it sums, so the candidates are tried:
//! on random values of full significands one wrong rounding in a sum of hundreds of products
//! shows in most elements. A model counts as followed only where *every* element of the output
//! has its bits, and only for that library version, machine, shape and thread count.

use std::fmt;

use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::identify::Identifier;
use crate::operator::{Error, Operator, Staged};
use contract::arithmetic::tensor_core::Architecture;
use contract::dtype::Dtype;

/// A shape to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// Shapes that make libraries choose different kernels: several cache blocks over k, few, one
/// odd, and a single column.
pub const SHAPES: [Shape; 5] = [
    Shape { m: 96, k: 4096, n: 64 },
    Shape { m: 384, k: 1024, n: 128 },
    Shape { m: 256, k: 384, n: 96 },
    Shape { m: 131, k: 1777, n: 67 },
    Shape { m: 256, k: 2048, n: 1 },
];

/// Shapes of published layers, at which libraries for devices split sums over k in several ways.
pub const DEVICE_SHAPES: [Shape; 6] = [
    Shape { m: 14336, k: 4096, n: 1024 },
    Shape { m: 2872, k: 4096, n: 1024 },
    Shape { m: 14336, k: 4096, n: 128 },
    Shape { m: 4096, k: 14336, n: 512 },
    Shape { m: 10000, k: 10000, n: 2500 },
    Shape { m: 5000, k: 5000, n: 1000 },
];

/// What one library was seen to follow at one shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    pub operator: String,
    pub shape: Shape,
    pub threads: usize,
    /// The model whose bits every element had; `None` if no candidate's.
    pub model: Option<String>,
    /// Whether a case can name that model as its arithmetic.
    pub can_be_named: bool,
    /// Candidates tried.
    pub tried: usize,
    /// Elements compared.
    pub elements: usize,
    /// Elements that differ from f32-chain, of which the operator's contract is made.
    pub unlike_chain: usize,
}

impl fmt::Display for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { m, k, n } = self.shape;
        write!(f, "{} {m}x{k}x{n}, {} thread(s): ", self.operator, self.threads)?;
        match &self.model {
            Some(model) => write!(f, "{model} (all {} elements)", self.elements),
            None => write!(
                f,
                "none of {} models tried ({} of {} elements differ from f32-chain)",
                self.tried, self.unlike_chain, self.elements
            ),
        }
    }
}

/// What is multiplied, and where.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Of A and V.
    pub dtype: Dtype,
    /// Of Y.
    pub output: Dtype,
    /// Of the device, if it is one.
    pub architecture: Option<Architecture>,
    pub threads: usize,
    /// Of the random data.
    pub seed: u64,
}

impl Setting {
    /// f32 on the CPU.
    pub fn cpu(threads: usize, seed: u64) -> Setting {
        Setting { dtype: Dtype::F32, output: Dtype::F32, architecture: None, threads, seed }
    }
}

/// Tries the candidates on random data at each shape.
pub fn probe(
    operator: &dyn Operator,
    shapes: &[Shape],
    setting: Setting,
) -> Result<Vec<Followed>, Error> {
    let one = |&shape: &Shape| probe_at(&[operator], shape, setting).remove(0);
    shapes.iter().map(one).collect()
}

/// The same for several operators at one shape, which share data and references.
pub fn probe_at(
    operators: &[&dyn Operator],
    shape: Shape,
    setting: Setting,
) -> Vec<Result<Followed, Error>> {
    let Shape { m, k, n } = shape;
    let mut random = ChaCha8Rng::seed_from_u64(setting.seed);
    let a = random_values(m, k, setting.dtype, &mut random);
    let v = random_values(k, n, setting.dtype, &mut random);
    let Setting { dtype, output, architecture, threads, .. } = setting;
    let mut identifier = Identifier::new(a.view(), v.view(), dtype, output, architecture, threads);
    let followed = |operator: &&dyn Operator| {
        let mut y = Array2::from_elem((m, n), f32::NAN);
        let built = operator.build(a.view())?;
        let mut staged = Staged::default();
        operator.stage(v.view(), &mut staged, threads)?;
        built.apply(v.view(), &staged, y.view_mut(), threads)?;
        let found = identifier.identify(y.view())?;
        Ok(Followed {
            operator: operator.name(),
            shape,
            threads,
            model: found.model.filter(|_| found.verified),
            can_be_named: found.verified && found.can_be_named,
            tried: found.tried,
            elements: found.elements,
            unlike_chain: identifier.unlike_chain(y.view())?,
        })
    };
    operators.iter().map(followed).collect()
}

/// Values of random sign and full significands, so that no product of two f32 is exact. f32 values
/// lie in +-[0.5, 1); those of 16 bits have few significant bits, and spread over 12 binades, so that
/// sums are not exact.
fn random_values(rows: usize, cols: usize, dtype: Dtype, random: &mut ChaCha8Rng) -> Array2<f32> {
    Array2::from_shape_fn((rows, cols), |_| {
        let word = random.next_u32();
        let binade = match dtype {
            Dtype::F32 => 126,
            Dtype::Bf16 | Dtype::F16 => 126 - random.next_u32() % 12,
        };
        dtype.round(f32::from_bits((word & 0x8000_0000) | binade << 23 | (word & 0x007f_ffff)))
    })
}

/// The rows of a report, one a library and shape.
pub fn table(followed: &[Followed]) -> Vec<[String; 5]> {
    followed
        .iter()
        .map(|row| {
            let Shape { m, k, n } = row.shape;
            let model =
                row.model.clone().unwrap_or_else(|| format!("none of {} models tried", row.tried));
            [
                row.operator.clone(),
                format!("{m}x{k}x{n}"),
                row.threads.to_string(),
                model,
                format!("{}/{}", row.elements - row.unlike_chain, row.elements),
            ]
        })
        .collect()
}

/// Heads of [`table`]'s columns.
pub const TABLE_HEAD: [&str; 5] =
    ["library", "m x k x n", "threads", "arithmetic", "like f32-chain"];

#[cfg(test)]
mod tests {
    use ndarray::{ArrayView2, ArrayViewMut2};

    use crate::rules::model::Model;
    use record::baseline::Identified;

    use super::*;
    use crate::baseline::{CsrRows, Dense, GemmRs};
    use crate::operator::Built;
    use contract::arithmetic::bf16_dot;
    use contract::arithmetic::bf16_dot::Instruction;
    use contract::arithmetic::tensor_core;
    use contract::arithmetic::tensor_core::Format;
    use contract::arithmetic::{Arithmetic, Slices, TensorCoreModel, chain};

    /// An operator that sums each element by a rule of its own.
    struct Scalar<F>(F);

    struct ScalarBuilt<'a, F>(F, ArrayView2<'a, f32>);

    impl<F: Fn(&[f32], &[f32]) -> f32 + Copy + Send + Sync + 'static> Operator for Scalar<F> {
        fn name(&self) -> String {
            "scalar".into()
        }

        fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
            Ok(Box::new(ScalarBuilt(self.0, a)))
        }
    }

    impl<F: Fn(&[f32], &[f32]) -> f32 + Send + Sync> Built for ScalarBuilt<'_, F> {
        fn apply(
            &self,
            v: ArrayView2<'_, f32>,
            _staged: &Staged,
            mut y: ArrayViewMut2<'_, f32>,
            _threads: usize,
        ) -> Result<(), Error> {
            for ((i, j), y) in y.indexed_iter_mut() {
                *y = (self.0)(&self.1.row(i).to_vec(), &v.column(j).to_vec());
            }
            Ok(())
        }

        fn bytes_held(&self) -> usize {
            0
        }
    }

    const SHAPE: Shape = Shape { m: 9, k: 1000, n: 5 };

    fn found(dot: impl Fn(&[f32], &[f32]) -> f32 + Copy + Send + Sync + 'static) -> Followed {
        probe(&Scalar(dot), &[SHAPE], Setting::cpu(1, 7)).unwrap().remove(0)
    }

    #[test]
    fn each_kind_of_model_is_found() {
        for slices in [
            Slices::One,
            Slices::Contiguous { count: 3, len: 336 },
            Slices::Contiguous { count: 16, len: 63 },
            Slices::Contiguous { count: 4, len: 256 },
            Slices::Dealt { count: 7, group: 8 },
            Slices::Dealt { count: 2, group: 1 },
        ] {
            let followed = found(move |a, v| chain::dot(slices, a, v));
            assert_eq!(followed.model, Some(Arithmetic::F32Chain(slices).to_string()));
            assert!(followed.can_be_named);
            assert_eq!(followed.unlike_chain == 0, slices == Slices::One);
        }
        let halved = Model::HalvedRest { len: 384, half: 312 };
        let followed = found(move |a, v| halved.dot(a, v));
        assert_eq!(
            followed.to_string(),
            "scalar 9x1000x5, 1 thread(s): blocks of 384, the rest below two blocks cut after \
             312 (all 45 elements)"
        );
        assert!(!followed.can_be_named);
    }

    #[test]
    fn what_follows_no_model_is_none() {
        let descending =
            found(|a, v| a.iter().zip(v).rev().fold(0.0, |y: f32, (&a, &v)| a.mul_add(v, y)));
        assert_eq!(descending.model, None);
        assert!(descending.to_string().contains(": none of "), "{descending}");
        // One element apart is enough: the model is not followed.
        let almost = found(|a, v| {
            let y = chain::dot(Slices::One, a, v);
            if y.to_bits() % 16 == 3 { y.next_up() } else { y }
        });
        assert_eq!(almost.model, None);
    }

    #[test]
    fn the_embedded_gemm_follows_a_model() {
        let shape = Shape { m: 96, k: 2048, n: 64 };
        let followed = probe(&Dense(GemmRs), &[shape], Setting::cpu(1, 1)).unwrap().remove(0);
        // The block length follows the caches; one that is found is a model of blocks.
        println!("{followed}");
        assert!(followed.model.is_some(), "{followed}");
        let csr = probe(&CsrRows, &[SHAPE], Setting::cpu(1, 1)).unwrap().remove(0);
        println!("{csr}");
    }
    /// What is said of an output that each element of is computed by `dot` and rounded to `output`.
    fn identified(
        shape: Shape,
        dtype: Dtype,
        output: Dtype,
        threads: usize,
        dot: impl Fn(&[f32], &[f32]) -> f32,
    ) -> Identified {
        let Shape { m, k, n } = shape;
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut a = random_values(m, k, dtype, &mut random);
        a.row_mut(m / 2).fill(0.0);
        let v = random_values(k, n, dtype, &mut random);
        let y = Array2::from_shape_fn((m, n), |(i, j)| {
            output.round(dot(&a.row(i).to_vec(), &v.column(j).to_vec()))
        });
        let hopper = Some(Architecture::Hopper);
        Identifier::new(a.view(), v.view(), dtype, output, hopper, threads)
            .identify(y.view())
            .unwrap()
    }

    #[test]
    fn the_models_seen_on_devices_are_found() {
        let at = |k| Shape { m: 5, k, n: 13 };
        for (shape, slices) in [
            (at(4096), Slices::Contiguous { count: 4, len: 1024 }),
            (at(4096), Slices::Dealt { count: 8, group: 8 }),
            (at(4096), Slices::Dealt { count: 7, group: 8 }),
            (at(14336), Slices::Dealt { count: 2, group: 8 }),
            (at(10000), Slices::Contiguous { count: 3, len: 3336 }),
        ] {
            let found =
                identified(shape, Dtype::F32, Dtype::F32, 2, |a, v| Model::Named(slices).dot(a, v));
            assert!(found.verified, "{found:?}");
            assert_eq!(found.model, Some(Arithmetic::F32Chain(slices).to_string()));
            assert_eq!((found.differing, found.elements), (Some(0), 65));
        }
    }

    #[test]
    fn tensor_cores_are_found_in_every_format_and_output() {
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            let format = Format::of(dtype);
            for architecture in [Architecture::Ampere, Architecture::Hopper] {
                let model = TensorCoreModel::of(architecture, format).unwrap();
                let want = Model::TensorCore(model).to_string();
                for output in [Dtype::F32, dtype] {
                    // Rounding to 16 bits hides most differences: it takes more elements to see one.
                    let shape = Shape { m: 96, k: 512, n: 96 };
                    let found =
                        identified(shape, dtype, output, 1, |a, v| tensor_core::dot(model, a, v));
                    assert!(found.verified, "{found:?}");
                    // Ada's are Ampere's.
                    let found = found.model.unwrap().replace("-ada ", "-ampere ");
                    assert_eq!(found, want, "{output}");
                }
            }
        }
    }

    #[test]
    fn the_instructions_of_cpus_are_found() {
        for instruction in Instruction::ALL {
            let shape = Shape { m: 40, k: 300, n: 30 };
            let rule = |a: &[f32], v: &[f32]| bf16_dot::dot(instruction, a, v);
            let found = identified(shape, Dtype::Bf16, Dtype::F32, 1, rule);
            let name = Arithmetic::Bf16Dot(instruction).to_string();
            assert_eq!((found.model, found.verified), (Some(name), true));
            assert!(found.can_be_named);
        }
    }

    #[test]
    fn a_model_followed_in_all_but_one_element_is_not_verified() {
        let shape = Shape { m: 80, k: 256, n: 90 };
        for (dtype, output) in [(Dtype::F32, Dtype::F32), (Dtype::Bf16, Dtype::Bf16)] {
            let calls = std::cell::Cell::new(0);
            let found = identified(shape, dtype, output, 1, |a, v| {
                calls.set(calls.get() + 1);
                let y = chain::dot(Slices::One, a, v);
                if calls.get() == 4321 { y * 1.01 } else { y }
            });
            assert!(!found.verified);
            assert_eq!(found.differing, Some(1), "{found:?}");
            assert_eq!(found.elements, 7200);
        }
    }

    #[test]
    fn what_fits_nothing_says_so() {
        let reversed = |a: &[f32], v: &[f32]| {
            a.iter().zip(v).rev().fold(0.0, |y: f32, (&a, &v)| a.mul_add(v, y))
        };
        let found = identified(SHAPE, Dtype::F32, Dtype::F32, 1, reversed);
        assert_eq!((found.model, found.differing, found.verified), (None, None, false));
        let (a, v) = (Array2::zeros((2, 3)), Array2::zeros((3, 4)));
        let mut identifier = Identifier::new(a.view(), v.view(), Dtype::F32, Dtype::F32, None, 1);
        assert!(identifier.identify(Array2::zeros((2, 3)).view()).is_err());
    }

    #[test]
    fn the_digest_is_that_of_the_bytes() {
        let (a, v) = (Array2::ones((1, 1)), Array2::ones((1, 2)));
        let mut identifier = Identifier::new(a.view(), v.view(), Dtype::F32, Dtype::Bf16, None, 1);
        let y = ndarray::array![[1.0, -0.0]];
        let found = identifier.identify(y.view()).unwrap();
        assert_eq!(found.digest, contract::digest::Digest::of(&[0x80, 0x3f, 0, 0]));
        assert!(!found.verified);
    }
}
