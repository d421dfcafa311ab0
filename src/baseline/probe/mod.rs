//! Which arithmetic a library follows on this machine.
//!
//! A library's documentation does not say in which order it sums, so the candidates are tried:
//! on random values of full significands one wrong rounding in a sum of hundreds of products
//! shows in most elements. A model counts as followed only where *every* element of the output
//! has its bits, and only for that library version, machine, shape and thread count.

use std::collections::HashSet;
use std::fmt;

use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::arithmetic::{Arithmetic, Slices, chain};
use crate::operator::{Error, Operator, Staged};

/// Elements on which each candidate is tried before all elements are compared.
const SCREENED: usize = 12;
/// Most slices of a split over k that are tried: vendor libraries split among few workers.
const SLICES_MAX: usize = 16;
/// Slice lengths of a split over k are rounded up to one of these.
const ROUNDINGS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Consecutive k that are dealt out together.
const GROUPS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Block lengths over k of cache-blocked kernels: multiples of 8 in this range.
const BLOCK_LENGTHS: std::ops::RangeInclusive<usize> = 64..=1024;

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

/// A way to sum a row's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    /// One that a case can name.
    Named(Slices),
    /// Blocks of `len` consecutive k, but a rest between one and two blocks is cut after
    /// `half`. This is how GotoBLAS and its successor OpenBLAS cut k (`min_l` in
    /// driver/level3/level3.c): in halves, the first rounded up to the kernel's unrolling.
    HalvedRest { len: usize, half: usize },
    /// One chain whose multiplications are rounded before they are added.
    Unfused,
}

impl Model {
    /// One output element.
    fn dot(self, a: &[f32], v: &[f32]) -> f32 {
        match self {
            Model::Named(slices) => chain::dot(slices, a, v),
            Model::Unfused => a.iter().zip(v).fold(0.0, |y, (&a, &v)| y + a * v),
            Model::HalvedRest { len, half } => {
                let (mut start, mut sum) = (0, None);
                while start < a.len() {
                    let end = start + next_block(a.len() - start, len, half);
                    let slice = chain::dot(Slices::One, &a[start..end], &v[start..end]);
                    sum = Some(sum.map_or(slice, |sum: f32| sum + slice));
                    start = end;
                }
                sum.unwrap_or(0.0)
            }
        }
    }

    /// The slice that each k belongs to.
    fn slices(self, k: usize) -> Vec<usize> {
        match self {
            Model::Named(slices) => (0..k).map(|k| slices.slice_of(k)).collect(),
            // One chain, but of another kind: it must not be taken for the fused one.
            Model::Unfused => vec![usize::MAX; k],
            Model::HalvedRest { len, half } => {
                let mut slices = Vec::with_capacity(k);
                for slice in 0.. {
                    if slices.len() == k {
                        break;
                    }
                    let end = slices.len() + next_block(k - slices.len(), len, half);
                    slices.resize(end, slice);
                }
                slices
            }
        }
    }

    /// All candidates for a sum of `k` products, the plainest first; none is another in disguise.
    fn candidates(k: usize) -> Vec<Model> {
        let contiguous = |len: usize| {
            Model::Named(Slices::Contiguous { count: k.div_ceil(len.max(1)), len: len.max(1) })
        };
        let mut models = vec![Model::Named(Slices::One), Model::Unfused];
        for count in 2..=SLICES_MAX {
            models.extend(
                ROUNDINGS.map(|rounding| contiguous(k.div_ceil(count).next_multiple_of(rounding))),
            );
        }
        models.extend(BLOCK_LENGTHS.step_by(8).map(contiguous));
        for count in 2..=SLICES_MAX {
            models.extend(GROUPS.map(|group| Model::Named(Slices::Dealt { count, group })));
        }
        for len in BLOCK_LENGTHS.step_by(8).filter(|&len| len < k) {
            let rest = len + k % len;
            models.extend(ROUNDINGS.map(|rounding| Model::HalvedRest {
                len,
                half: rest.div_ceil(2).next_multiple_of(rounding).min(rest),
            }));
        }
        let mut seen = HashSet::new();
        models.retain(|model| seen.insert(model.slices(k)));
        models
    }

    /// The arithmetic that a case can name, if there is one.
    fn arithmetic(self) -> Option<Arithmetic> {
        match self {
            Model::Named(slices) => Some(Arithmetic::F32Chain(slices)),
            Model::HalvedRest { .. } | Model::Unfused => None,
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Model::Named(slices) => Arithmetic::F32Chain(*slices).fmt(f),
            Model::HalvedRest { len, half } => {
                write!(f, "blocks of {len}, the rest below two blocks cut after {half}")
            }
            Model::Unfused => write!(f, "one chain, multiply and add rounded apart"),
        }
    }
}

/// Length of the next block when `rest` products are left.
fn next_block(rest: usize, len: usize, half: usize) -> usize {
    match rest {
        _ if rest >= 2 * len => len,
        _ if rest > len => half,
        _ => rest,
    }
}

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

/// Tries the candidates on random data at each shape.
pub fn probe(
    operator: &dyn Operator,
    shapes: &[Shape],
    seed: u64,
    threads: usize,
) -> Result<Vec<Followed>, Error> {
    shapes.iter().map(|&shape| probe_shape(operator, shape, seed, threads)).collect()
}

fn probe_shape(
    operator: &dyn Operator,
    shape: Shape,
    seed: u64,
    threads: usize,
) -> Result<Followed, Error> {
    let Shape { m, k, n } = shape;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let a = full_significands(m, k, &mut random);
    let v = full_significands(k, n, &mut random);
    let mut y = Array2::from_elem((m, n), f32::NAN);
    let built = operator.build(a.view())?;
    let mut staged = Staged::default();
    operator.stage(v.view(), &mut staged, threads)?;
    built.apply(v.view(), &staged, y.view_mut(), threads)?;

    // Columns of V as rows, so that a product reads two slices.
    let columns = Array2::from_shape_fn((n, k), |(j, k)| v[[k, j]]);
    let differs = |model: Model, i: usize, j: usize| match (a.row(i).as_slice(), columns.row(j)) {
        (Some(row), column) => {
            column.as_slice().is_none_or(|column| bits(model.dot(row, column)) != bits(y[[i, j]]))
        }
        (None, _) => true,
    };
    let screen: Vec<(usize, usize)> = match m * n {
        0 => Vec::new(),
        _ => (0..SCREENED)
            .map(|_| {
                let element = random.next_u64() as usize % (m * n);
                (element / n, element % n)
            })
            .collect(),
    };
    let all = || (0..m).flat_map(|i| (0..n).map(move |j| (i, j)));
    let candidates = Model::candidates(k);
    let model = candidates.iter().copied().find(|&model| {
        !screen.iter().any(|&(i, j)| differs(model, i, j))
            && !all().any(|(i, j)| differs(model, i, j))
    });
    let chain = Model::Named(Slices::One);
    Ok(Followed {
        operator: operator.name(),
        shape,
        threads,
        model: model.map(|model| model.to_string()),
        can_be_named: model.is_some_and(|model| model.arithmetic().is_some()),
        tried: candidates.len(),
        elements: m * n,
        unlike_chain: match model {
            Some(model) if model == chain => 0,
            _ => all().filter(|&(i, j)| differs(chain, i, j)).count(),
        },
    })
}

/// Bits after the one normalisation that all outputs get: -0 is +0.
fn bits(y: f32) -> u32 {
    (y + 0.0).to_bits()
}

/// Values in +-[0.5, 1) with 24 random significant bits: no product is exact.
fn full_significands(rows: usize, cols: usize, random: &mut ChaCha8Rng) -> Array2<f32> {
    Array2::from_shape_fn((rows, cols), |_| {
        let word = random.next_u32();
        f32::from_bits((word & 0x8000_0000) | 0x3f00_0000 | (word & 0x007f_ffff))
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

    use super::*;
    use crate::baseline::{CsrRows, Dense, GemmRs};
    use crate::operator::Built;

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
        probe(&Scalar(dot), &[SHAPE], 7, 1).unwrap().remove(0)
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
    fn no_candidate_comes_twice() {
        for k in [1, 2, 17, 384, 1000, 4096] {
            let models = Model::candidates(k);
            let mut all: Vec<_> = models.iter().map(|model| model.slices(k)).collect();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), models.len(), "k = {k}");
        }
    }

    #[test]
    fn the_embedded_gemm_follows_a_model() {
        let shape = Shape { m: 96, k: 2048, n: 64 };
        let followed = probe(&Dense(GemmRs), &[shape], 1, 1).unwrap().remove(0);
        // The block length follows the caches; one that is found is a model of blocks.
        println!("{followed}");
        assert!(followed.model.is_some(), "{followed}");
        let csr = probe(&CsrRows, &[SHAPE], 1, 1).unwrap().remove(0);
        println!("{csr}");
    }
}
