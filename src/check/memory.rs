//! What the bits of a case take of the host's memory, known before any of it is allocated.

use super::bits::{rows_max, waiting_max};
use contract::arithmetic::Arithmetic;
use contract::case::Case;
use contract::inputs::source::Held;

/// The program itself, its libraries, and what does not grow with a case.
const BASE_BYTES: u64 = 32 << 20;

/// Columns of a panel of V in the kernels' layout, which pads n to a multiple: 32 for chains, 64 for tensor cores,
/// whose elements take a byte more for the exponent (`PackedV`, `GroupedV`).
const PANELS: [(u64, u64); 2] = [(32, 4), (64, 5)];

/// Rows of A that each thread reads at once to rank them.
const RANKED_ROWS: u64 = 64;

/// Bytes that `bits::run` and the inputs made for it take at their peak, about:
///
/// ```text
/// base
/// + A, where it is held whole                                4 m k, up to 512 MiB
/// + V and V' as they are                                 2 * 4 k n
/// + V for the reference and the operator, V' for the operator    3 * 4 k pad(n)
/// + a chunk a thread: A, the operator's form of it and four outputs    threads * rows * (2 * 4 k + 4 * 4 n)
/// + chunks that wait to be hashed: A and four outputs         half of what may wait * rows * (4 k + 4 * 4 n)
/// + what is kept for each row and each column                 24 m + 8 k
/// ```
///
/// The hashing of five tensors keeps up with the products half of the time. More than fits in 64 bits is as much as
/// fits.
pub fn needed_bytes(case: &Case, threads: usize) -> u64 {
    let [m, k, n, threads] = [case.m, case.k, case.n, threads.max(1)].map(|x| x as u128);
    let (panel, element_bytes) = match case.arithmetic {
        Arithmetic::TensorCore(_) => PANELS[1],
        Arithmetic::F32Chain(_) | Arithmetic::Exact | Arithmetic::Bounded => PANELS[0],
    };
    let a = 4 * m * k;
    let held =
        if a <= Held::BYTES_MAX as u128 { a } else { threads * u128::from(RANKED_ROWS) * 4 * k };
    let staged = u128::from(element_bytes) * k * n.next_multiple_of(u128::from(panel));
    let v = 2 * 4 * k * n + 3 * staged;

    let rows = (rows_max(case.k, threads as usize) as u128).min(m);
    let chunks = m.div_ceil(rows.max(1));
    let at_work = threads.min(chunks);
    let waiting = (waiting_max(threads as usize) as u128).min(chunks) / 2 * u128::from(threads > 1);
    let outputs = 4 * 4 * rows * n;
    let chunks = at_work * (2 * 4 * rows * k + outputs) + waiting * (4 * rows * k + outputs);

    let all = u128::from(BASE_BYTES) + held + v + chunks + 24 * m + 8 * k;
    u64::try_from(all).unwrap_or(u64::MAX)
}
