//! A stack: layers that are multiplied one after the other, each with activations made of outputs before it
//! (VERIFY.md section 15).
//!
//! It is what is left of a model when attention and everything else that is no product with weights is taken away. Between
//! two products stands one fixed step: columns are scaled by powers of two, outputs are added.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::dtype::Dtype;
use crate::threads;

/// Magnitudes below this become +0, so that no product of moderate values meets a subnormal: 2^-60.
pub const MAGNITUDE_MIN: f32 = 1.0 / (1u64 << 60) as f32;

/// Rows that a thread looks at before it takes the next ones.
const ROWS_AT_ONCE: usize = 256;

/// The layers of a block, and what the block gives to the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// How often the layers are run.
    pub blocks: usize,
    /// The layers of a block, in order.
    pub layers: Vec<Layer>,
    /// What the input of the next block is made of.
    pub next: Vec<Feed>,
}

/// A layer of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Rows of its A and of its output.
    pub m: usize,
    /// Columns of its A and rows of its V.
    pub k: usize,
    /// What its V is made of: at least one.
    pub from: Vec<Feed>,
}

/// Something that activations are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feed {
    /// The block's input.
    Input,
    /// The output of an earlier layer of the block, by its place.
    Layer(usize),
}

/// The place of a case in a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The stack.
    pub stack: Arc<Stack>,
    /// The block, from 0 on.
    pub block: usize,
    /// The layer in the block, from 0 on.
    pub layer: usize,
}

impl Place {
    /// How many layers are run before it.
    pub fn index(&self) -> usize {
        self.block * self.stack.layers.len() + self.layer
    }

    /// Whether it is the last of all.
    pub fn is_end(&self) -> bool {
        self.index() + 1 == self.stack.count()
    }
}

impl Stack {
    /// Layers of all blocks.
    pub fn count(&self) -> usize {
        self.blocks * self.layers.len()
    }

    /// Rows of a block's input.
    pub fn width(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.k)
    }

    /// Rows of a feed.
    pub fn rows(&self, feed: Feed) -> usize {
        match feed {
            Feed::Input => self.width(),
            Feed::Layer(at) => self.layers[at].m,
        }
    }

    /// The layers of all blocks, in order.
    pub fn all(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().cycle().take(self.count())
    }
}

/// Activations on their way through a stack: the input of the block at hand, and the outputs of its layers so far.
#[derive(Debug)]
pub struct Flow {
    stack: Arc<Stack>,
    dtype: Dtype,
    input: Array2<f32>,
    outputs: Vec<Array2<f32>>,
    block: usize,
}

impl Flow {
    /// Before the first layer, with the stack's own input (`width` x n); the V's are rounded to `dtype`.
    pub fn new(stack: Arc<Stack>, input: Array2<f32>, dtype: Dtype) -> Flow {
        Flow { stack, dtype, input, outputs: Vec::new(), block: 0 }
    }

    /// How many layers were run.
    pub fn index(&self) -> usize {
        self.block * self.stack.layers.len() + self.outputs.len()
    }

    /// V of the layer that comes next; `None` after the last one.
    pub fn activations(&self, threads: usize) -> Option<Array2<f32>> {
        let layer = self.stack.layers.get(self.outputs.len())?;
        (self.block < self.stack.blocks).then(|| self.made_of(&layer.from, layer.k, threads))
    }

    /// Takes the output (m x n, without -0) of the layer that came next.
    pub fn push(&mut self, y: Array2<f32>, threads: usize) {
        self.outputs.push(y);
        if self.outputs.len() == self.stack.layers.len() {
            self.input = self.made_of(&self.stack.next, self.stack.width(), threads);
            self.outputs.clear();
            self.block += 1;
        }
    }

    fn made_of(&self, feeds: &[Feed], rows: usize, threads: usize) -> Array2<f32> {
        let view = |feed: &Feed| match feed {
            Feed::Input => self.input.view(),
            Feed::Layer(at) => self.outputs[*at].view(),
        };
        let feeds: Vec<_> = feeds.iter().map(view).collect();
        step(&feeds, rows, self.dtype, threads)
    }
}

/// The step between products: V (`rows` x n) of these feeds.
///
/// N scales each column by the power of two that brings its largest magnitude into [1, 2), and makes +0 of what is below
/// [`MAGNITUDE_MIN`] then. N of each feed is added in f32, in their order, row i of V being made of row i mod m of a feed of
/// m rows; V is N of the sum, rounded to `dtype`.
pub fn step(
    feeds: &[ArrayView2<'_, f32>],
    rows: usize,
    dtype: Dtype,
    threads: usize,
) -> Array2<f32> {
    let n = feeds.first().map_or(0, |feed| feed.ncols());
    let mut sum = vec![0.0f32; rows * n];
    if sum.is_empty() {
        return Array2::zeros((rows, n));
    }
    let scales: Vec<Vec<f32>> = feeds.iter().map(|feed| scales(*feed, threads)).collect();
    let part = ROWS_AT_ONCE * n;
    threads::fill(threads, &mut sum, part, |first, sum| {
        for (i, sum) in (first / n..).zip(sum.chunks_mut(n)) {
            for (at, (feed, scales)) in feeds.iter().zip(&scales).enumerate() {
                let row = feed.row(i % feed.nrows());
                let terms = row.iter().zip(scales).map(|(&y, &scale)| normalised(y, scale));
                match at {
                    0 => sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum = term),
                    _ => sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term),
                }
            }
        }
    });
    let of_sum = |sum: &[f32]| {
        let sum = ArrayView2::from_shape((rows, n), sum);
        self::scales(sum.unwrap_or_else(|_| unreachable!("sized above")), threads)
    };
    let scales = of_sum(&sum);
    threads::fill(threads, &mut sum, part, |_, sum| {
        for row in sum.chunks_mut(n) {
            row.iter_mut().zip(&scales).for_each(|(x, &scale)| *x = normalised(*x, scale));
        }
        dtype.round_all(sum);
        // A half may have rounded to -0.
        sum.iter_mut().for_each(|x| *x += 0.0);
    });
    Array2::from_shape_vec((rows, n), sum).unwrap_or_else(|_| unreachable!("sized above"))
}

/// An element of a column that is scaled by a power of two; +0 where it is below [`MAGNITUDE_MIN`] then.
fn normalised(y: f32, scale: f32) -> f32 {
    let scaled = y * scale;
    if scaled.abs() < MAGNITUDE_MIN { 0.0 } else { scaled }
}

/// For each column the power of two that brings its largest magnitude into [1, 2); 0 where that is below
/// [`MAGNITUDE_MIN`]. The values are finite.
fn scales(y: ArrayView2<'_, f32>, threads: usize) -> Vec<f32> {
    let parts = threads::ranges(y.nrows(), ROWS_AT_ONCE);
    let largest = threads::map(threads, parts.len(), |at| {
        let mut largest = vec![0u32; y.ncols()];
        let rows = parts[at].clone();
        for row in y.rows().into_iter().skip(rows.start).take(rows.len()) {
            // As integers, magnitudes have the order of their values.
            let magnitudes = row.into_iter().map(|x| x.to_bits() & !(1 << 31));
            largest.iter_mut().zip(magnitudes).for_each(|(max, x)| *max = x.max(*max));
        }
        largest
    });
    let mut all = vec![0u32; y.ncols()];
    for part in largest {
        all.iter_mut().zip(part).for_each(|(max, x)| *max = x.max(*max));
    }
    all.into_iter().map(scale_of).collect()
}

/// 2^-e of a magnitude from 2^e up to 2^(e+1), by its bits.
fn scale_of(magnitude: u32) -> f32 {
    if f32::from_bits(magnitude) < MAGNITUDE_MIN {
        return 0.0;
    }
    // 2^-127 is subnormal: half of the least normal number.
    match 254 - (magnitude >> 23) {
        0 => f32::from_bits(1 << 22),
        exponent => f32::from_bits(exponent << 23),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    /// By the words of VERIFY.md, in f64, an element at a time.
    fn slow(feeds: &[Array2<f32>], rows: usize) -> Array2<f32> {
        let normal = |y: &Array2<f32>| {
            let mut y = y.clone();
            for mut column in y.columns_mut() {
                let largest = column.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                let mut scale = 1.0f64;
                if largest >= MAGNITUDE_MIN {
                    while f64::from(largest) * scale >= 2.0 {
                        scale /= 2.0;
                    }
                    while f64::from(largest) * scale < 1.0 {
                        scale *= 2.0;
                    }
                } else {
                    scale = 0.0;
                }
                for x in &mut column {
                    let scaled = f64::from(*x) * scale;
                    let is_kept = scaled.abs() >= f64::from(MAGNITUDE_MIN);
                    *x = if is_kept { scaled as f32 } else { 0.0 };
                }
            }
            y
        };
        let mut sum = Array2::zeros((rows, feeds[0].ncols()));
        for feed in feeds {
            let feed = normal(feed);
            for ((i, j), x) in sum.indexed_iter_mut() {
                *x += feed[[i % feed.nrows(), j]];
            }
        }
        normal(&sum)
    }

    fn magnitudes() -> impl Strategy<Value = f32> {
        let any = (any::<bool>(), 0u32..255, 0u32..1 << 23);
        any.prop_map(|(sign, exponent, digits)| {
            f32::from_bits(u32::from(sign) << 31 | exponent << 23 | digits) + 0.0
        })
    }

    fn matrix(rows: usize, n: usize) -> impl Strategy<Value = Array2<f32>> {
        let element =
            (0..3, magnitudes(), -2.0f32..2.0).prop_map(|(which, any, near)| match which {
                0 => 0.0,
                1 => any,
                _ => near + 0.0,
            });
        prop::collection::vec(element, rows * n)
            .prop_map(move |x| Array2::from_shape_vec((rows, n), x).expect("sized"))
    }

    proptest! {
        #[test]
        fn a_step_is_what_its_rule_says(a in matrix(6, 5), b in matrix(2, 5), c in matrix(3, 5)) {
            let feeds = [a, b, c];
            let views: Vec<_> = feeds.iter().map(|feed| feed.view()).collect();
            let bits = |y: Array2<f32>| y.mapv(f32::to_bits);
            for count in 1..=3 {
                let want = bits(slow(&feeds[..count], 6));
                for threads in [1, 2, 7] {
                    prop_assert_eq!(&bits(step(&views[..count], 6, Dtype::F32, threads)), &want);
                }
            }
        }

        #[test]
        fn a_column_ends_between_1_and_2_or_as_zeros(y in matrix(7, 3)) {
            for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
                let v = step(&[y.view()], 7, dtype, 1);
                for (column, y) in v.columns().into_iter().zip(y.columns()) {
                    let largest = column.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                    let is_nothing = y.iter().all(|x| x.abs() < MAGNITUDE_MIN);
                    prop_assert_eq!(is_nothing, largest == 0.0);
                    prop_assert!(is_nothing || (1.0..=2.0).contains(&largest));
                    prop_assert!(column.iter().all(|x| x.to_bits() != 1 << 31 && dtype.round(*x) == *x));
                }
            }
        }
    }

    #[test]
    fn extreme_columns_are_scaled_exactly() {
        let y = array![
            [f32::MAX, 2f32.powi(-60), 2f32.powi(-61), -3.0],
            [1.0, -(2f32.powi(-90)), 0.0, 1.5]
        ];
        let v = step(&[y.view()], 2, Dtype::F32, 1);
        let want = array![
            [f32::from_bits(0x3fff_ffff), 1.0, 0.0, -1.5],
            [0.0, -(2f32.powi(-30)), 0.0, 0.75]
        ];
        assert_eq!(v.mapv(f32::to_bits), want.mapv(f32::to_bits));
    }

    #[test]
    fn a_flow_gives_each_layer_what_it_is_fed() {
        let layer = |m, k, from: &[Feed]| Layer { m, k, from: from.to_vec() };
        let (input, first) = (Feed::Input, Feed::Layer(0));
        let stack = Arc::new(Stack {
            blocks: 2,
            layers: vec![layer(1, 2, &[input]), layer(2, 2, &[first, input])],
            next: vec![input, Feed::Layer(1)],
        });
        let mut flow = Flow::new(stack.clone(), array![[4.0], [-1.0]], Dtype::F32);
        assert_eq!((flow.index(), stack.width(), stack.count()), (0, 2, 4));
        assert_eq!(flow.activations(1), Some(array![[1.0], [-0.25]]));
        flow.push(array![[8.0]], 1);
        // (1, 1) + (1, -0.25).
        assert_eq!(flow.activations(1), Some(array![[1.0], [0.375]]));
        flow.push(array![[0.0], [2.0]], 1);
        // The next block's input: (1, -0.25) + (0, 1), scaled by its largest, 1.
        assert_eq!((flow.index(), flow.activations(1)), (2, Some(array![[1.0], [0.75]])));
        flow.push(array![[0.0]], 1);
        flow.push(array![[0.0], [0.0]], 1);
        assert_eq!((flow.index(), flow.activations(1)), (4, None));
    }
}
