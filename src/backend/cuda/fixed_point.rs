//! fixed-point-24 on a device: integers of A made when it is packed, those of V in each call, their exact sums.
//!
//! Nothing of it has an order, so every kernel, tile and split gives the same bits.

mod columns;
mod digits;
mod images;
mod mma;
mod plain;
mod work;

use std::sync::Arc;

use ndarray::ArrayView2;

use self::digits::Digits;
use self::images::Plan;
use self::mma::{Instruction, Mma};
use self::plain::Plain;
use super::device::Device;
use super::error::CudaError;
use super::generic::{output_define, require_i32};
use super::live::{Live, Selection, packing_threads};
use super::matrix::DeviceMatrix;
use super::variants::Variant;
use crate::backend::Error;
use contract::arithmetic::fixed_point::{INTEGER_MAX, K_ALWAYS, LIMIT, exp2, log2_scale, row_sum};
use contract::dtype::Dtype;
use contract::threads;

/// The power of two of a row of which a value is not finite, as `kernels/fixed_point.cuh` has it.
const NOT_FINITE: i32 = 1 << 20;

/// The elements of A that are not zero.
type LiveElements = Live<1>;

/// The devices that have the tensor cores of `gemm_fixed_wgmma.cu`.
const HOPPER: (i32, i32) = (9, 0);

/// The first devices that multiply integers of 8 bits by `mma.sync`.
const TURING: (i32, i32) = (7, 5);

/// What multiplies integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixedKernel {
    /// Integers in 64 bits, on any device.
    Plain,
    /// Turing's instruction of int8 tensor cores; later devices have it too.
    MmaK16,
    /// int8 tensor cores by mma.sync.
    Mma,
    /// Hopper's int8 tensor cores by wgmma.
    Wgmma,
}

impl FixedKernel {
    pub const ALL: [FixedKernel; 4] =
        [FixedKernel::Plain, FixedKernel::MmaK16, FixedKernel::Mma, FixedKernel::Wgmma];

    /// The fastest of a compute capability.
    pub fn of(capability: (i32, i32)) -> FixedKernel {
        match capability {
            HOPPER => FixedKernel::Wgmma,
            _ if FixedKernel::Mma.serves(capability) => FixedKernel::Mma,
            _ => FixedKernel::Plain,
        }
    }

    /// Whether a device of this compute capability can run it.
    pub fn serves(self, capability: (i32, i32)) -> bool {
        match self {
            FixedKernel::Plain => true,
            FixedKernel::MmaK16 | FixedKernel::Mma => capability >= TURING,
            FixedKernel::Wgmma => capability == HOPPER,
        }
    }
}

/// A (m x k) as integers, for V of n columns.
pub struct FixedPointA {
    shape: (usize, usize, usize),
    output: Dtype,
    selection: Selection,
    how: How,
}

enum How {
    /// Y has no elements.
    Nothing,
    /// On any device.
    Plain(Box<Plain>),
    /// Digits, on tensor cores by mma.sync.
    Mma(Box<Mma>),
    /// Digits, on Hopper's tensor cores.
    Digits(Box<Digits>),
}

impl FixedPointA {
    /// Packs A and takes all the memory that launching needs. Without a `wanted` selection the one is taken that
    /// multiplies least. An error where a sum could be 2^63 and more.
    pub fn pack(
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
        output: Dtype,
        wanted: Option<Selection>,
    ) -> Result<FixedPointA, Error> {
        let kernel = FixedKernel::of(device.compute_capability());
        FixedPointA::pack_for(device, kernel, a, n, output, wanted)
    }

    /// The same for a kernel that serves the device. Where nothing is live, and where the kernel does not take so many
    /// columns, it is another one.
    pub fn pack_for(
        device: &Arc<Device>,
        kernel: FixedKernel,
        a: ArrayView2<'_, f32>,
        n: usize,
        output: Dtype,
        wanted: Option<Selection>,
    ) -> Result<FixedPointA, Error> {
        assert!(kernel.serves(device.compute_capability()), "{kernel:?} needs another device");
        let (m, k) = a.dim();
        for (what, value) in [("rows", m), ("columns", k), ("columns of V", n)] {
            // With room for whole steps and tiles.
            require_i32(what, value.saturating_add(256))?;
        }
        let threads = packing_threads(a.len());
        let rows = Rows { a, scales: scales(a, threads)? };
        let live = LiveElements::of(a, threads);
        let built = |selection, how| FixedPointA { shape: (m, k, n), output, selection, how };
        if m == 0 || n == 0 {
            return Ok(built(wanted.unwrap_or(Selection::All), How::Nothing));
        }
        if kernel != FixedKernel::Plain {
            let plan = Plan::new(&live, wanted);
            if !plan.steps.is_empty() {
                let how = match kernel {
                    FixedKernel::Wgmma if n <= digits::COLUMNS_MAX => How::Digits(Box::new(
                        Digits::new(device, &rows, n, output, &plan, threads)?,
                    )),
                    _ => {
                        let instruction = match kernel {
                            FixedKernel::MmaK16 => Instruction::K16,
                            FixedKernel::Plain | FixedKernel::Mma | FixedKernel::Wgmma => {
                                Instruction::Own
                            }
                        };
                        let of = Mma::new(device, &rows, n, output, &plan, threads, instruction)?;
                        How::Mma(Box::new(of))
                    }
                };
                return Ok(built(plan.selection, how));
            }
        }
        let selection = wanted.unwrap_or_else(|| plain::least(&live));
        let plain = Plain::new(device, &rows, &live, n, output, selection, threads)?;
        Ok(built(selection, How::Plain(Box::new(plain))))
    }

    /// Y = A V for f32 V.
    ///
    /// # Panics
    /// If V or Y is not what A was packed for.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let (m, k, n) = self.shape;
        assert_eq!((v.rows, v.cols), (k, n), "the caller made V for A");
        assert_eq!((y.rows, y.cols), (m, n), "the caller made Y for A and V");
        assert_eq!((v.dtype, y.dtype), (Dtype::F32, self.output), "the caller asked for these");
        match &self.how {
            How::Nothing => Ok(()),
            How::Plain(plain) => plain.launch(v, y),
            How::Mma(mma) => mma.launch(v, y),
            How::Digits(digits) => digits.launch(v, y),
        }
    }

    pub fn selection(&self) -> Selection {
        self.selection
    }

    /// What computes Y.
    pub fn description(&self) -> String {
        match &self.how {
            How::Nothing => "there is nothing to multiply".into(),
            How::Plain(_) => "integers in 64 bits, on any device".into(),
            How::Mma(mma) => mma.description(),
            How::Digits(digits) => digits.description(),
        }
    }

    pub fn bytes_held(&self) -> usize {
        match &self.how {
            How::Nothing => 0,
            How::Plain(plain) => plain.bytes_held(),
            How::Mma(mma) => mma.bytes_held(),
            How::Digits(digits) => digits.bytes_held(),
        }
    }
}

/// All that [`FixedPointA::pack`] may ask for.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    plain::variants().chain(columns::variants()).chain(mma::variants()).chain(digits::variants())
}

/// A with the powers of two of its rows.
struct Rows<'a> {
    a: ArrayView2<'a, f32>,
    scales: Vec<i32>,
}

impl Rows<'_> {
    /// The scales of rows as a tile lists them; 0 for padding (-1).
    fn scales_of(&self, row_index: &[i32]) -> Vec<i32> {
        let of = |&row: &i32| usize::try_from(row).map_or(0, |row| self.scales[row]);
        row_index.iter().map(of).collect()
    }

    /// The integers of a row to `to`, of k elements.
    fn integers(&self, row: usize, to: &mut [i32]) {
        let scale = self.scales[row];
        if scale == NOT_FINITE {
            return to.fill(0);
        }
        let factor = exp2(scale);
        let row = self.a.row(row);
        let integers = |row: &[f32], to: &mut [i32]| {
            to.iter_mut().zip(row).for_each(|(to, &x)| *to = integer(f64::from(x) * factor));
        };
        match row.to_slice() {
            Some(row) => integers(row, to),
            None => integers(&row.to_vec(), to),
        }
    }
}

/// The nearest integer, ties to even, of a magnitude below 2^31.
fn integer(x: f64) -> i32 {
    /// Its last place is 1, and the lower half of its bits are zero.
    const TO_INTEGER: f64 = 6_755_399_441_055_744.0;
    (x + TO_INTEGER).to_bits() as i32
}

/// The powers of two of all rows.
fn scales(a: ArrayView2<'_, f32>, threads: usize) -> Result<Vec<i32>, Error> {
    /// Rows that a thread takes at a time.
    const ROWS: usize = 64;
    let mut scales = vec![0; a.nrows()];
    threads::fill(threads, &mut scales, ROWS, |start, scales| {
        for (i, scale) in scales.iter_mut().enumerate() {
            // Bits of magnitudes are ordered as the magnitudes are, NaN above all.
            let magnitude = |x: &f32| x.to_bits() & 0x7fff_ffff;
            let largest = f32::from_bits(a.row(start + i).iter().map(magnitude).max().unwrap_or(0));
            *scale = if largest.is_finite() { log2_scale(largest) } else { NOT_FINITE };
        }
    });
    if a.ncols() > K_ALWAYS {
        let finite = a.rows().into_iter().zip(&scales).filter(|(_, scale)| **scale != NOT_FINITE);
        let largest = finite.map(|(row, _)| row_sum(&row.to_vec())).max().unwrap_or(0);
        let sum = u128::from(largest) * INTEGER_MAX as u128;
        if sum >= u128::from(LIMIT) {
            return Err(Error::Unsupported(format!(
                "fixed-point: sums can reach {sum}, the limit is {LIMIT}\nhint: a smaller k, or fewer non-zeros in a row"
            )));
        }
    }
    Ok(scales)
}

/// The selection of least work, the simplest of equal ones.
fn least_of(work: impl Fn(Selection) -> usize) -> Selection {
    let mut least = (Selection::All, work(Selection::All));
    for selection in Selection::EVERY {
        let here = work(selection);
        if here < least.1 {
            least = (selection, here);
        }
    }
    least.0
}

fn output_defines(output: Dtype) -> Vec<String> {
    output_define(output).into_iter().collect()
}

const OUTPUTS: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::F16];

#[cfg(test)]
mod tests {
    use super::*;
    use contract::arithmetic::fixed_point;
    use ndarray::Array2;

    #[test]
    fn integers_are_the_rules() {
        let value = |i: usize, j: usize| {
            let x = (i * 7919 + j * 104_729) % 65_521;
            (x as f32 / 65_521.0 - 0.5) * 2f32.powi((i * 37 + j) as i32 % 60 - 40)
        };
        let mut a = Array2::from_shape_fn((9, 70), |(i, j)| value(i, j));
        a.row_mut(3).fill(0.0);
        a.row_mut(4).mapv_inplace(|x| x * 2f32.powi(-120));
        a[[8, 1]] = f32::INFINITY;
        // Rows that are slices, and rows that are not.
        for a in [a.clone(), a.reversed_axes().as_standard_layout().reversed_axes().to_owned()] {
            let rows = Rows { a: a.view(), scales: scales(a.view(), 2).expect("a short k") };
            for (i, row) in a.rows().into_iter().enumerate().take(8) {
                let (e, want) = fixed_point::integers(&row.to_vec());
                let mut got = vec![-1; a.ncols()];
                rows.integers(i, &mut got);
                assert_eq!((rows.scales[i], got), (e, want), "row {i}");
            }
            assert_eq!(rows.scales[8], NOT_FINITE);
        }
    }

    #[test]
    fn sums_that_64_bits_do_not_hold_are_refused() {
        let k = 140_001;
        let of = |live: usize| Array2::from_shape_fn((2, k), |(_, j)| f32::from(j < live));
        assert!(scales((of(130_000) * 1.9).view(), 1).is_ok());
        let refused = scales((of(k) * 1.99).view(), 1).expect_err("too large").to_string();
        assert!(refused.contains("sums can reach") && refused.contains("hint: "), "{refused}");
    }

    #[test]
    fn each_device_has_its_kernel() {
        for (capability, kernel) in [
            ((7, 0), FixedKernel::Plain),
            ((7, 5), FixedKernel::Mma),
            ((8, 0), FixedKernel::Mma),
            ((8, 9), FixedKernel::Mma),
            ((9, 0), FixedKernel::Wgmma),
            ((10, 0), FixedKernel::Mma),
            ((12, 0), FixedKernel::Mma),
        ] {
            assert_eq!(FixedKernel::of(capability), kernel, "{capability:?}");
            let serving = FixedKernel::ALL.map(|kernel| kernel.serves(capability));
            let is_turing = capability >= (7, 5);
            assert_eq!(serving, [true, is_turing, is_turing, capability == (9, 0)]);
        }
    }

    #[test]
    fn the_simplest_of_the_least_is_taken() {
        let work = |columns, tiles| {
            move |selection| match selection {
                Selection::All => 10,
                Selection::LiveRows => 8,
                Selection::LiveColumns => columns,
                Selection::Tiles => tiles,
            }
        };
        assert_eq!(least_of(work(8, 8)), Selection::LiveRows);
        assert_eq!(least_of(work(7, 7)), Selection::LiveColumns);
        assert_eq!(least_of(work(8, 2)), Selection::Tiles);
        assert_eq!(least_of(|_| 3), Selection::All);
    }
}
