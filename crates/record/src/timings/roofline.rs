//! What no machine can beat: times below it are impossible.

use contract::arithmetic::Arithmetic;
use contract::dtype::Dtype;
use serde::{Deserialize, Serialize};

use crate::baseline::Kind;
use crate::device::DeviceInfo;

/// The margin of measured figures: the estimates are rarely wrong by a quarter, and wrong claims
/// that matter are off by more.
pub const MEASURED_MARGIN: f64 = 0.75;
/// The margin of given figures, which nothing exceeds: room for their rounding and that of the
/// device's clock, which steps by half a microsecond.
pub const GIVEN_MARGIN: f64 = 0.97;

/// Limits of a host with a number of threads, or of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Roofline {
    /// Peak of the arithmetic in question: a device has one for each.
    pub peak_flops_per_s: f64,
    /// Bandwidth of the caches nearest to the cores; of a device, of its L2.
    pub cache_bytes_per_s: f64,
    /// Bandwidth of the memory.
    pub memory_bytes_per_s: f64,
    /// Bytes that all caches can hold; of a device, its L2.
    pub cache_bytes: u64,
    /// A sample below this share of the minimum time is impossible.
    pub margin: f64,
    /// How the figures came about.
    pub basis: String,
}

/// Bytes of one element of A, V and Y where the product is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ElementBytes {
    /// Bytes of an element of A.
    pub a: usize,
    /// Bytes of an element of V.
    pub v: usize,
    /// Bytes of an element of Y.
    pub y: usize,
}

impl ElementBytes {
    /// Binary32 throughout.
    pub const F32: ElementBytes = ElementBytes { a: 4, v: 4, y: 4 };
    /// bfloat16 throughout.
    pub const BF16: ElementBytes = ElementBytes { a: 2, v: 2, y: 2 };
}

/// The work that one product cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Work {
    /// Two for each non-zero and column of V; for what multiplies zeros too, for each element.
    pub flops: f64,
    /// Non-zero values of A, the rows of V that meet one, and Y, each moved once.
    pub bytes: f64,
}

impl Work {
    /// For A with `nnz` non-zeros in `live_columns` columns and m rows, and V of n columns.
    /// Where a zero is need not be stored, so indices are not counted.
    pub fn of(m: usize, n: usize, nnz: usize, live_columns: usize, bytes: ElementBytes) -> Work {
        let [m, n, nnz, live_columns] = [m, n, nnz, live_columns].map(|size| size as f64);
        let ElementBytes { a, v, y } = bytes;
        let moved = [(nnz, a), (live_columns * n, v), (m * n, y)];
        Work {
            flops: 2.0 * nnz * n,
            bytes: moved.map(|(elements, bytes)| elements * bytes as f64).iter().sum(),
        }
    }
}

/// The sizes of a layer's A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LayerSizes {
    /// Rows.
    pub m: usize,
    /// Columns.
    pub k: usize,
    /// Non-zeros.
    pub nnz: usize,
    /// Rows that have one.
    pub live_rows: usize,
    /// Columns that have one.
    pub live_columns: usize,
}

impl LayerSizes {
    /// Elements that a contender multiplies, and columns of A that it cannot leave out.
    fn multiplied(&self, kind: Option<Kind>) -> (usize, usize) {
        let LayerSizes { m, k, nnz, live_rows, live_columns } = *self;
        match kind {
            Some(Kind::Dense | Kind::Reduced) => (m * k, k),
            Some(Kind::Compacted) => (live_rows * k, k),
            Some(Kind::Sparse) | None => (nnz, live_columns),
        }
    }
}

impl Work {
    /// For all layers of a stack, and an input of n columns. Bytes are those of the A's, of the input and of the end:
    /// what lies between two products need not leave the caches.
    pub fn of_stack(
        layers: &[LayerSizes],
        n: usize,
        kind: Option<Kind>,
        bytes: ElementBytes,
    ) -> Work {
        let multiplied = |layer: &LayerSizes| layer.multiplied(kind).0 as f64;
        let elements: f64 = layers.iter().map(multiplied).sum();
        let input = layers.first().map_or(0, |layer| layer.multiplied(kind).1) as f64;
        let end = layers.last().map_or(0, |layer| layer.m) as f64;
        let ElementBytes { a, v, y } = bytes;
        let n = n as f64;
        Work {
            flops: 2.0 * elements * n,
            bytes: elements * a as f64 + input * n * v as f64 + end * n * y as f64,
        }
    }
}

impl Roofline {
    /// What a device can do at most, by its highest clock, its number of multiprocessors and what NVIDIA says of
    /// one of them: see the sources in the body. All figures are upper bounds.
    pub fn of_device(info: &DeviceInfo, arithmetic: Arithmetic) -> Roofline {
        // Multiply-adds of one multiprocessor in one clock: binary32, and dense products of tensor cores in 16-bit
        // formats ("NVIDIA H100 Tensor Core GPU Architecture" and its predecessors and successors; TF32 has half).
        let (scalar, tensor_16) = match info.compute_capability.split_once('.') {
            Some(("7", "0")) => (64.0, 512.0),
            Some(("7", _)) => (64.0, 512.0),
            Some(("8", "0")) => (64.0, 1024.0),
            Some(("8", _)) => (128.0, 512.0),
            Some(("9", _)) => (128.0, 2048.0),
            // Blackwell, and what is not known yet: an upper bound.
            _ => (128.0, 4096.0),
        };
        let (unit, per_clock) = match arithmetic {
            Arithmetic::TensorCore(model) if model.format.dtype() == Dtype::F32 => {
                ("TF32 tensor", tensor_16 / 2.0)
            }
            Arithmetic::TensorCore(_) | Arithmetic::Bf16Dot(_) => ("16-bit tensor", tensor_16),
            // No known way makes an exact product of 24 bits of fewer than six of 8 bits, which come at twice the rate of
            // those of 16.
            Arithmetic::FixedPoint => ("8-bit tensor", tensor_16 * 2.0 / 6.0),
            Arithmetic::F32Chain(_) | Arithmetic::Exact | Arithmetic::Bounded => {
                ("binary32", scalar)
            }
        };
        let clock_hz = info.clock_khz_max as f64 * 1e3;
        let multiprocessors = info.multiprocessors as f64;
        // Two transfers a memory clock.
        let memory = 2.0 * info.memory_clock_khz as f64 * 1e3 * info.memory_bus_bits as f64 / 8.0;
        // The way from the L2 to a multiprocessor is 64 bytes wide in each clock.
        let l2 = 64.0 * multiprocessors * clock_hz;
        Roofline {
            peak_flops_per_s: 2.0 * per_clock * multiprocessors * clock_hz,
            cache_bytes_per_s: l2,
            memory_bytes_per_s: memory,
            cache_bytes: info.l2_bytes,
            margin: GIVEN_MARGIN,
            basis: format!(
                "{} multiprocessors, {per_clock} {unit} multiply-adds a clock each, {:.0} MHz at most; memory {:.0} GB/s",
                info.multiprocessors,
                clock_hz / 1e6,
                memory / 1e9
            ),
        }
    }

    /// No call that does `work` can take less. What the caches may have kept from the call
    /// before is not charged to memory.
    pub fn minimum_time_ns(&self, work: Work) -> f64 {
        let from_memory = (work.bytes - self.cache_bytes as f64).max(0.0);
        let seconds = (work.flops / self.peak_flops_per_s)
            .max(work.bytes / self.cache_bytes_per_s)
            .max(from_memory / self.memory_bytes_per_s);
        seconds * 1e9
    }

    /// Whether a sample cannot be true.
    pub fn is_impossible(&self, work: Work, time_ns: f64) -> bool {
        time_ns < self.margin * self.minimum_time_ns(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32: ElementBytes = ElementBytes::F32;

    fn roofline() -> Roofline {
        Roofline {
            peak_flops_per_s: 100e9,
            cache_bytes_per_s: 200e9,
            memory_bytes_per_s: 10e9,
            cache_bytes: 1_000_000,
            margin: MEASURED_MARGIN,
            basis: String::new(),
        }
    }

    #[test]
    fn each_roof_counts() {
        let roofline = roofline();
        // 2e6 flops at 100 GFLOP/s.
        let work = Work::of(100, 100, 10_000, 100, F32);
        assert_eq!(work, Work { flops: 2e6, bytes: 120_000.0 });
        assert_eq!(roofline.minimum_time_ns(work), 20_000.0);
        // Nothing to multiply: writing Y at 200 GB/s.
        assert_eq!(roofline.minimum_time_ns(Work::of(1000, 100, 0, 0, F32)), 2_000.0);
        // 4 MB of Y, of which 1 MB may stay in the caches: 3 MB at 10 GB/s.
        assert_eq!(roofline.minimum_time_ns(Work::of(10_000, 100, 0, 0, F32)), 300_000.0);
        assert!(roofline.is_impossible(work, 14_999.0));
        assert!(!roofline.is_impossible(work, 15_000.0));
        let given = Roofline { margin: GIVEN_MARGIN, ..roofline };
        assert!(given.is_impossible(work, 19_399.0) && !given.is_impossible(work, 19_400.0));
    }

    #[test]
    fn elements_are_as_large_as_they_are() {
        let bytes = |element_bytes| Work::of(5, 7, 11, 3, element_bytes).bytes;
        assert_eq!(bytes(ElementBytes::F32), 4.0 * (11.0 + 21.0 + 35.0));
        assert_eq!(bytes(ElementBytes::BF16), 2.0 * (11.0 + 21.0 + 35.0));
        assert_eq!(bytes(ElementBytes { a: 2, v: 4, y: 8 }), 22.0 + 84.0 + 280.0);
    }
}
