//! What the bits of a case take of the host's memory, known before any of it is allocated.

use super::bits::{ADDRESS_CHECK_SIZE, CHUNK_ROWS_MIN, rows_max, waiting_max};
use crate::backend::cpu::FixedV;
use contract::arithmetic::Arithmetic;
use contract::case::Case;
use contract::inputs::source::Held;

/// The program itself, its libraries, and what does not grow with a case.
const BASE_BYTES: u128 = 16 << 20;

/// How kernels lay out A and V.
#[derive(Clone, Copy)]
enum Layout {
    /// Values, for chains (`TiledA`, `PackedV`).
    Chains,
    /// Values and a byte for the exponent, for tensor cores (`GroupedA`, `GroupedV`).
    Groups,
    /// Values of bf16, for instructions that sum pairs of products (`PairedA`, `PairedV`).
    Pairs,
    /// Integers, in binary64, in halves of 16 bits or in digits of 8 bits (`FixedA`, `FixedV`).
    Integers,
}

impl Layout {
    fn of(arithmetic: Arithmetic) -> Layout {
        match arithmetic {
            Arithmetic::TensorCore(_) => Layout::Groups,
            Arithmetic::Bf16Dot(_) => Layout::Pairs,
            Arithmetic::FixedPoint => Layout::Integers,
            Arithmetic::F32Chain(_) | Arithmetic::Exact | Arithmetic::Bounded => Layout::Chains,
        }
    }

    /// Bytes of V (k x n) as the kernels read it: at most, since k is padded to whole groups, tiles or blocks, of 32 k at
    /// most but for integers, and n to whole panels.
    fn staged(self, k: u128, n: u128) -> u128 {
        let (panel, depth, element_bytes) = match self {
            Layout::Chains => (32, 1, 4),
            Layout::Groups => (64, 32, 5),
            Layout::Pairs => (64, 32, 2),
            // By path: 3 to 8 bytes, and 9 where V lies both in digits and in halves.
            Layout::Integers => return FixedV::bytes_max(k as usize, n as usize),
        };
        element_bytes * k.next_multiple_of(depth) * n.next_multiple_of(panel)
    }

    /// Bytes of A (rows x k) as the kernels read it, where every element is alive: at most for integers and pairs, of which
    /// lists of single ones are the largest; tiles have 16 rows and 64 k.
    fn packed(self, rows: u128, k: u128) -> u128 {
        let in_tiles = rows.next_multiple_of(16) * k.next_multiple_of(64);
        match self {
            Layout::Chains | Layout::Groups => 4 * rows * k,
            Layout::Pairs => 3 * in_tiles,
            Layout::Integers => 8 * in_tiles,
        }
    }
}

/// Rows of A that each thread reads at once to rank them.
const RANKED_ROWS: u128 = 64;

/// Side of the part of V that is changed where it lies (`check_addresses`).
const ADDRESSED_COLUMNS: u128 = ADDRESS_CHECK_SIZE as u128;

/// Bytes that `bits::run` and the inputs made for it take at their peak, about. With `staged(c)` for c columns of V in
/// the kernels' layout, and r rows in a chunk:
///
/// ```text
/// base
/// + A, where it is held whole                                    4 m k, up to 512 MiB
/// + V and V' as they are                                     2 * 4 k n
/// + V for the reference and the operator, V' for the operator    3 * staged(n)
/// + a chunk a thread: A, the operator's form of it, two outputs  threads * r * (2 * 4 k + 2 * 4 n)
/// + its column of V' for the reference                           threads * staged(1)
/// + a quarter of the chunks that may wait to be hashed: A and four outputs    ... * r * (4 k + 4 * 4 n)
/// + V again where it is changed in place, and staged twice       4 k c + 2 * staged(c), c up to 64
/// + what is kept for each row, each column and each chunk        24 m + 8 k + 16 chunks
/// + in a stack: a block's input and outputs, and V once more     4 n (width + sum of m + k)
/// ```
///
/// The shares were found by measuring; the test below has what was measured. More than fits in 64 bits is as much as
/// fits.
///
/// Where the operator is on a device, of `device_bytes` of memory, r is as large as it may get, and a chunk is there once more.
/// Where it is asked for whole outputs ([`is_held_whole`]), all of A is there once more, three outputs are, and chunks are as
/// they are elsewhere.
pub fn needed_bytes(case: &Case, threads: usize, device_bytes: Option<u64>) -> u64 {
    let is_remote = device_bytes.is_some();
    let is_whole = device_bytes.is_some_and(|bytes| is_held_whole(case, bytes));
    let of_whole = if is_whole { u64::try_from(whole_bytes(case)).unwrap_or(u64::MAX) } else { 0 };
    let of_stack = case.stack.as_ref().map_or(0, |place| {
        let stack = &place.stack;
        let outputs: usize = stack.layers.iter().map(|layer| layer.m).sum();
        4 * case.n as u64 * (stack.width() + outputs + case.k) as u64
    });
    let layout = Layout::of(case.arithmetic);
    needed([case.m, case.k, case.n], layout, threads.max(1), is_remote && !is_whole)
        .saturating_add(of_stack)
        .saturating_add(of_whole)
}

/// Bytes of A and of a case's three outputs.
fn whole_bytes(case: &Case) -> u128 {
    let [m, k, n] = [case.m, case.k, case.n].map(|x| x as u128);
    4 * m * k + 3 * 4 * m * n
}

/// Whether an operator on a device of so much memory is given all of A at once: there is something to multiply, and not too
/// much to hold, here and there, where A lies packed and V and Y's have their places.
pub fn is_held_whole(case: &Case, device_bytes: u64) -> bool {
    const BYTES_MAX: u128 = 2 << 30;
    let most = BYTES_MAX.min(u128::from(device_bytes / 8));
    case.m > 0 && case.k > 0 && case.n > 0 && whole_bytes(case) <= most
}

fn needed(shape: [usize; 3], layout: Layout, threads: usize, is_remote: bool) -> u64 {
    // At most 2^31 each: products of two of them and of small factors fit.
    let [m, k, n] = shape.map(|x| x as u128);
    let staged = |columns: u128| layout.staged(k, columns);
    let a = 4 * m * k;
    let threads_wide = threads as u128;
    let held = if a <= Held::BYTES_MAX as u128 { a } else { threads_wide * RANKED_ROWS * 4 * k };
    let v = 2 * 4 * k * n + 3 * staged(n);

    // As `threads::guided` cuts the first chunk.
    let rows_max = rows_max(shape[1], threads);
    let rows = match is_remote {
        true => 2 * rows_max,
        false => shape[0].div_ceil(3 * threads).clamp(CHUNK_ROWS_MIN.min(rows_max), rows_max),
    };
    let rows = rows.min(shape[0]) as u128;
    let chunks = m.div_ceil(rows.max(1));
    let at_work = threads_wide.min(chunks)
        * (4 * rows * k + layout.packed(rows, k) + 2 * 4 * rows * n + staged(1));
    let waiting = match threads {
        1 => 0,
        _ => (waiting_max(threads) as u128).min(chunks) / 4 * (4 * rows * k + 4 * 4 * rows * n),
    };
    let columns = n.min(ADDRESSED_COLUMNS);
    let addressed = 4 * k * columns + 2 * staged(columns);

    let all = BASE_BYTES + held + v + at_work + waiting + addressed + 24 * m + 8 * k + 16 * chunks;
    u64::try_from(all).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use contract::arithmetic::bf16_dot::Instruction;
    use contract::arithmetic::tensor_core::{Architecture, Format, Model};
    use contract::strategy::Strategy;
    use ndarray::Array2;

    use super::{Layout, needed};
    use crate::backend::cpu::{
        FixedA, FixedSelection, FixedV, GroupedV, Isa, PackedV, PairedA, PairedV, gemm_fixed_point,
    };

    /// What is announced of the kernels' forms, beside what they hold.
    #[test]
    fn what_is_announced_of_v_and_a_is_what_is_held_at_most() {
        for (m, k, n) in [(1, 1, 1), (17, 33, 31), (48, 64, 64), (19, 300, 130)] {
            let (a, v) = (Array2::from_elem((m, k), 1.5), Array2::from_elem((k, n), -0.5));
            let of_v = |layout: Layout| layout.staged(k as u128, n as u128);
            // Lists of rows and tiles are few beside the elements of any case.
            let of_a = |layout: Layout| layout.packed(m as u128, k as u128) + 128 + 64 * m as u128;
            assert_eq!(PackedV::new(k, n).bytes_held() as u128, of_v(Layout::Chains));
            for architecture in [Architecture::Ampere, Architecture::Hopper] {
                let model = Model::of(architecture, Format::Bf16).expect("there is one");
                let mut grouped = GroupedV::new(k, n);
                grouped.load(v.view(), model, 1);
                assert!(grouped.bytes_held() as u128 <= of_v(Layout::Groups));
            }
            assert_eq!(PairedV::new(k, n).bytes_held() as u128, of_v(Layout::Pairs));
            for isa in Isa::available() {
                for instruction in Instruction::ALL {
                    for strategy in Strategy::ALL {
                        let packed = PairedA::pack(a.view(), instruction, strategy, isa, 1);
                        let (held, most) = (packed.bytes_held() as u128, of_a(Layout::Pairs));
                        assert!(
                            held <= most,
                            "{isa} {instruction} {strategy} {m} {k}: {held} {most}"
                        );
                    }
                }
                let mut laid_out = FixedV::new(k, n, isa);
                laid_out.load(v.view(), 1);
                for selection in FixedSelection::ALL {
                    let packed = FixedA::pack(a.view(), selection, isa, 1).expect("short");
                    let (held, most) = (packed.bytes_held() as u128, of_a(Layout::Integers));
                    assert!(held <= most, "{isa} {selection:?} {m} {k}: {held} {most}");
                    // Single rows may need V once more.
                    let mut y = Array2::zeros((m, n));
                    gemm_fixed_point(&packed, &laid_out, y.view_mut(), 1);
                    let (held, most) = (laid_out.bytes_held() as u128, of_v(Layout::Integers));
                    assert!(held <= most, "{isa} {selection:?} {k} {n}: {held} {most}");
                }
            }
        }
    }

    /// Largest resident set of `verify --no-measure` with one such case, in MiB; two cores with AVX-512.
    const MEASURED: [([usize; 3], bool, usize, u64); 14] = [
        ([64, 16_384, 2048], false, 2, 685),
        ([64, 16_384, 2048], false, 1, 685),
        ([4096, 4096, 128], false, 2, 141),
        ([4096, 4096, 128], false, 1, 115),
        ([4096, 4096, 4096], false, 2, 486),
        ([16_384, 4096, 256], false, 2, 339),
        ([16_384, 16_384, 64], false, 2, 173),
        ([8192, 8192, 64], false, 4, 480),
        ([8192, 8192, 64], false, 16, 507),
        ([100_000, 64, 512], false, 2, 249),
        ([100_000, 64, 512], false, 1, 192),
        ([1_000_000, 8, 64], false, 2, 298),
        ([2048, 2048, 512], true, 2, 74),
        ([64, 1_048_576, 1], false, 2, 1195),
    ];

    #[test]
    fn the_estimate_is_near_what_was_measured() {
        for (shape, is_grouped, threads, mib) in MEASURED {
            let layout = if is_grouped { Layout::Groups } else { Layout::Chains };
            let ratio = needed(shape, layout, threads, false) as f64 / (mib << 20) as f64;
            assert!((0.8..2.0).contains(&ratio), "{shape:?}, {threads} threads: {ratio:.2}");
        }
    }

    #[test]
    fn the_largest_published_layer_fits_in_2_gib_and_the_largest_case_in_no_machine() {
        for threads in [1, 2, 16, 64] {
            let bytes = needed([131_072, 16_384, 512], Layout::Chains, threads, false);
            assert!(bytes < 2 << 30, "{threads} threads: {bytes}");
        }
        let largest = 1 << 31;
        for shape in [[largest; 3], [1, 1 << 20, 1_000_000], [largest, 1, largest]] {
            assert!(needed(shape, Layout::Chains, 1, false) > 1 << 41, "{shape:?}");
        }
        assert!(needed([0, 0, 0], Layout::Chains, 1, true) < 1 << 30);
    }
}
