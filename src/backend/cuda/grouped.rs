//! A grouped dense product on a device: A is a stack of experts of equal rows, each live one is multiplied by V in a
//! product of its own, and the rows of Y of dead ones become zero. All of it is given to the stream in two launches.
//!
//! Matrices are row-major here and column-major in cuBLAS, as in [`super::cublas`]: V is its first operand.

use std::sync::Arc;

use cudarc::cublas::sys::cublasOperation_t;
use ndarray::{ArrayView2, Axis};

use super::compile::Source;
use super::cublas::{Cublas, Math};
use super::device::Device;
use super::error::CudaError;
use super::launch::{Arguments, Grid, Kernel};
use super::library::int;
use super::matrix::{DeviceMatrix, Layout, ROW_MULTIPLE};
use super::memory::Buffer;
use super::variants::{ANY, Variant};
use contract::dtype::Dtype;

const SOURCE: Source =
    Source { name: "group_experts.cu", text: include_str!("../../../kernels/group_experts.cu") };
const ENTRY: &str = "group_experts";
const CALL: &str = "cublasGemmGroupedBatchedEx";

/// Of a block.
const THREADS: u32 = 256;
/// Bytes that a block makes zero before another one is worth its start.
const BLOCK_BYTES: u64 = 32 << 10;
/// Blocks of one expert at most: all experts together fill a device.
const PARTS_MAX: u64 = 64;

/// What [`ExpertAddresses::new`] asks for.
pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let (source, entry) = (SOURCE, ENTRY);
    std::iter::once(Variant { source, entry, defines: Vec::new(), capabilities: ANY })
}

/// The one group of equal products, as the library is told it: arrays of one element on the host. They are kept for as
/// long as what was launched with them may be repeated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub operation: [cublasOperation_t; 1],
    /// Columns of V.
    pub m: [i32; 1],
    /// Rows of an expert.
    pub n: [i32; 1],
    pub k: [i32; 1],
    /// Stride of V.
    pub lda: [i32; 1],
    /// Stride of A.
    pub ldb: [i32; 1],
    /// Stride of Y.
    pub ldc: [i32; 1],
    pub alpha: [f32; 1],
    pub beta: [f32; 1],
    /// How many products.
    pub size: [i32; 1],
}

impl Group {
    /// `live` experts of `rows` x k times V (k x n); rows of A, V and Y start so many elements apart.
    fn new(
        live: usize,
        rows: usize,
        k: usize,
        n: usize,
        [a, v, y]: [usize; 3],
    ) -> Result<Group, CudaError> {
        let size = |what, size| int(what, size, CALL).map(|size| [size]);
        Ok(Group {
            operation: [cublasOperation_t::CUBLAS_OP_N],
            m: size("columns of V", n)?,
            n: size("rows of an expert", rows)?,
            k: size("k", k)?,
            lda: size("stride of V", v)?,
            ldb: size("stride of A", a)?,
            ldc: size("stride of Y", y)?,
            alpha: [1.0],
            beta: [0.0],
            size: size("live experts", live)?,
        })
    }
}

/// For each of `experts` its number among the live ones (ascending), or -1.
fn places(live: &[usize], experts: usize) -> Vec<i32> {
    let mut places = vec![-1; experts];
    // `live` has fewer than 2^31.
    for (at, &expert) in (0..).zip(live) {
        places[expert] = at;
    }
    places
}

/// Addresses of `count` matrices that lie one after the other.
fn addresses(first: u64, count: usize, bytes: u64) -> Vec<u64> {
    (0..count as u64).map(|at| first + at * bytes).collect()
}

/// Grid of the kernel that readies the call.
fn grid(experts: u32, expert_bytes: u64) -> Grid {
    let parts = (expert_bytes / BLOCK_BYTES).clamp(1, PARTS_MAX) as u32;
    Grid { blocks: (experts, parts, 1), threads: THREADS, shared_bytes: 0 }
}

/// The first launch: addresses of each product's matrices, and zeros in Y's rows of dead experts. It needs no library.
pub struct ExpertAddresses {
    kernel: Kernel,
    places: Buffer,
    addresses: Buffer,
    /// Of the whole stack.
    experts: i32,
    /// Of an expert.
    rows: usize,
    live: i32,
}

impl ExpertAddresses {
    /// For a stack of so many experts of `rows` rows each. `a` has the rows of those in `live` (ascending), one expert after
    /// the other, row-major.
    ///
    /// Errors: 2^31 experts or more, no memory, failed calls.
    ///
    /// # Panics
    /// If an expert of `live` is not below `experts`, or `a` has not their rows.
    pub fn new(
        device: &Arc<Device>,
        a: &DeviceMatrix,
        (experts, rows): (usize, usize),
        live: &[usize],
    ) -> Result<ExpertAddresses, CudaError> {
        assert_eq!(a.rows, live.len() * rows, "the caller gathered them");
        let of_a = (rows * a.stride * a.dtype.size()) as u64;
        let of_a = addresses(a.pointer(), live.len(), of_a);
        let unknown = vec![0; live.len()];
        let all = [&unknown[..], &of_a, &unknown].concat();
        Ok(ExpertAddresses {
            experts: int("experts", experts, CALL)?,
            live: int("live experts", live.len(), CALL)?,
            kernel: Kernel::new(device, SOURCE, &[], ENTRY, 0)?,
            places: Buffer::from_slice(device, &places(live, experts), "places of experts")?,
            addresses: Buffer::from_slice(device, &all, "addresses of experts")?,
            rows,
        })
    }

    /// Gives the addresses of `v` and of Y's rows, and Y's zeros, to the device's stream. Y has the whole stack's rows and is
    /// row-major. Neither allocates nor waits.
    ///
    /// Errors: a failed call.
    ///
    /// # Panics
    /// If Y has other rows, or another layout.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        // Not negative, as they were counts.
        let experts = self.experts as u32;
        let fits = y.rows == experts as usize * self.rows && y.layout == Layout::RowMajor;
        assert!(fits, "the caller made Y for this stack");
        if y.rows == 0 || y.cols == 0 {
            return Ok(());
        }
        // Rows start at multiples of 16 elements: at multiples of 8 bytes.
        let expert_bytes = (self.rows * y.stride * y.dtype.size()) as u64;
        let arguments = Arguments::new()
            .with(self.addresses.pointer())
            .with(self.places.pointer())
            .with(v.pointer())
            .with(y.pointer())
            .with(expert_bytes)
            .with(self.live);
        // SAFETY: arguments as at the kernel's head: three times `live` addresses, `experts` places, and Y, whose rows are
        // all within its buffer. What is freed is freed in stream order.
        unsafe { self.kernel.launch(grid(experts, expert_bytes), &arguments) }
    }

    /// Three arrays of 64-bit addresses, one a live expert: of V, of its rows of A, of its rows of Y. The second is there
    /// from the start, the others are the last launch's.
    pub fn addresses(&self) -> &Buffer {
        &self.addresses
    }
}

/// The live experts of a stack, built for one n.
pub struct GroupedA {
    library: Arc<Cublas>,
    math: Math,
    /// The live experts, one after the other, row-major.
    a: DeviceMatrix,
    ready: ExpertAddresses,
    group: Group,
    /// Rows of the whole stack.
    m: usize,
    n: usize,
}

impl GroupedA {
    /// Uploads the experts `live` (ascending) of A (m x k, on the host), `rows` rows each, as values of `dtype`, and takes
    /// all the memory that launching will need.
    ///
    /// Errors: rows that are left over, sizes beyond 2^31 - 1, a library without the function, failed calls.
    pub fn new(
        library: &Arc<Cublas>,
        math: Math,
        a: ArrayView2<'_, f32>,
        (rows, live): (usize, &[usize]),
        dtype: Dtype,
        n: usize,
    ) -> Result<GroupedA, CudaError> {
        super::cublas::require_grouped()?;
        let device = library.device();
        let (m, k) = a.dim();
        let unfit = |why: &str| {
            CudaError::new(CALL, why, format!("{m} x {k}, experts of {rows} rows, {live:?} live"))
        };
        let experts = m.checked_div(rows).unwrap_or(0);
        if experts * rows != m || !live.iter().all(|&expert| expert < experts) {
            return Err(unfit("A is no stack of such experts"));
        }
        let gathered: Vec<usize> =
            live.iter().flat_map(|&expert| expert * rows..(expert + 1) * rows).collect();
        let a = match live.len() == experts {
            true => DeviceMatrix::upload(device, a, dtype, "A")?,
            false => DeviceMatrix::upload(device, a.select(Axis(0), &gathered).view(), dtype, "A")?,
        };
        // Of every V and Y of these columns: as matrices are laid out.
        let stride = n.next_multiple_of(ROW_MULTIPLE);
        let group = Group::new(live.len(), rows, k, n, [a.stride, stride, stride])?;
        let ready = ExpertAddresses::new(device, &a, (experts, rows), live)?;
        Ok(GroupedA { library: library.clone(), math, a, ready, group, m, n })
    }

    /// Gives Y = A V to the device's stream: all of Y's rows. Neither allocates nor waits.
    ///
    /// Errors: shapes, layouts or dtypes that do not fit; a failed call.
    pub fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let GroupedA { a, m, n, ready, .. } = self;
        let ExpertAddresses { rows, live, .. } = ready;
        let asked = |y: &DeviceMatrix| {
            format!(
                "{live} of {m} x {} {} in experts of {rows} rows, times {} x {} {}, {} x {} {}",
                a.cols, a.dtype, v.rows, v.cols, v.dtype, y.rows, y.cols, y.dtype
            )
        };
        let unfit = |why: &str| Err(CudaError::new(CALL, why, asked(y)));
        if (v.rows, v.cols) != (a.cols, *n) || (y.rows, y.cols) != (*m, *n) {
            return unfit("shapes do not fit");
        }
        if [v, y].iter().any(|matrix| matrix.layout != Layout::RowMajor) {
            return unfit("matrices must be row-major");
        }
        if [v.dtype, y.dtype] != [a.dtype; 2] {
            return unfit("A, V and Y must be of one dtype");
        }
        if *m == 0 || *n == 0 {
            return Ok(());
        }
        if a.cols == 0 || *live == 0 {
            return y.buffer.fill(0);
        }
        ready.launch(v, y)?;
        // Address arrays of V, A and Y: in this order, as V is the first operand.
        let part = |at: u64| ready.addresses.pointer() + at * *live as u64 * 8;
        let pointers = [part(0), part(1), part(2)];
        // SAFETY: the addresses are written by then, in stream order; each matrix lies where its address says, as large as
        // the group says: n x k, k x rows and n x rows column-major elements with these leading dimensions. Products
        // write different rows.
        unsafe { self.library.gemm_grouped(self.math, &self.group, pointers, a.dtype, || asked(y)) }
    }

    /// Bytes of device memory kept between calls.
    pub fn bytes_held(&self) -> usize {
        let buffers = [&self.a.buffer, &self.ready.places, &self.ready.addresses];
        buffers.iter().map(|buffer| buffer.bytes()).sum::<usize>() + self.library.workspace_bytes()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;

    /// What the library does with a group, by its manual: op(A) op(B) of column-major matrices, for addresses that are
    /// places in one memory.
    fn multiply(group: &Group, memory: &mut [f32], addresses: [&[u64]; 3]) {
        assert_eq!(group.operation, [cublasOperation_t::CUBLAS_OP_N]);
        let [m, n, k] = [group.m[0], group.n[0], group.k[0]].map(|x| x as usize);
        let [lda, ldb, ldc] = [group.lda[0], group.ldb[0], group.ldc[0]].map(|x| x as usize);
        assert!(lda >= m.max(1) && ldb >= k.max(1) && ldc >= m.max(1), "leading dimensions");
        for problem in 0..group.size[0] as usize {
            let [a, b, c] = addresses.map(|of| of[problem] as usize);
            for i in 0..m {
                for j in 0..n {
                    let products =
                        (0..k).map(|l| memory[a + i + l * lda] * memory[b + l + j * ldb]);
                    let sum = group.alpha[0] * products.sum::<f32>();
                    memory[c + i + j * ldc] = sum;
                }
            }
        }
    }

    /// What the kernel does, as its head says, with elements of one float for bytes.
    fn ready(
        memory: &mut [f32],
        addresses: [&mut [u64]; 2],
        places: &[i32],
        [v, y, expert]: [u64; 3],
    ) {
        let [of_v, of_y] = addresses;
        for (i, &at) in places.iter().enumerate() {
            let rows = y + i as u64 * expert;
            match usize::try_from(at) {
                Ok(at) => (of_v[at], of_y[at]) = (v, rows),
                Err(_) => memory[rows as usize..(rows + expert) as usize].fill(0.0),
            }
        }
    }

    proptest! {
        /// Integers, so that sums are exact in any order.
        #[test]
        fn a_group_is_the_product_of_the_whole_stack(
            (live, rows, k, n) in (
                prop::collection::vec(any::<bool>(), 1..7), 1..5usize, 1..9usize, 1..20usize,
            ),
            seed: u32,
        ) {
            let experts = live.len();
            let m = experts * rows;
            let mut state = seed;
            let mut draw = || {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                (state >> 28) as f32 - 8.0
            };
            let a = Array2::from_shape_fn((m, k), |(i, _)| if live[i / rows] { draw() } else { 0.0 });
            let v = Array2::from_shape_simple_fn((k, n), draw);
            let alive: Vec<usize> = (0..experts).filter(|&e| live[e]).collect();
            let stride = |cols: usize| cols.next_multiple_of(ROW_MULTIPLE);
            // A's live experts, V and Y in one memory, in another order than they are given.
            let (of_y, of_v, of_a) = (5, 5 + m * stride(n), 7 + m * stride(n) + k * stride(n));
            let mut memory = vec![f32::NAN; of_a + alive.len() * rows * stride(k)];
            for (at, &expert) in alive.iter().enumerate() {
                for i in 0..rows {
                    for l in 0..k {
                        memory[of_a + (at * rows + i) * stride(k) + l] = a[[expert * rows + i, l]];
                    }
                }
            }
            for ((l, j), &x) in v.indexed_iter() {
                memory[of_v + l * stride(n) + j] = x;
            }
            let group = Group::new(alive.len(), rows, k, n, [stride(k), stride(n), stride(n)]).unwrap();
            let a_at = addresses(of_a as u64, alive.len(), (rows * stride(k)) as u64);
            let (mut v_at, mut y_at) = (vec![0; alive.len()], vec![0; alive.len()]);
            let expert = (rows * stride(n)) as u64;
            let places = places(&alive, experts);
            ready(&mut memory, [&mut v_at, &mut y_at], &places, [of_v as u64, of_y as u64, expert]);
            multiply(&group, &mut memory, [&v_at, &a_at, &y_at]);
            let want = a.dot(&v);
            let got = Array2::from_shape_fn((m, n), |(i, j)| memory[of_y + i * stride(n) + j]);
            prop_assert_eq!(got, want);
            // Nothing before Y was written.
            prop_assert!(memory[..of_y].iter().all(|x| x.is_nan()));
        }
    }

    #[test]
    fn sizes_beyond_the_librarys_integers_are_errors() {
        let error = Group::new(1, 1 << 31, 1, 1, [16; 3]).unwrap_err().to_string();
        assert!(
            error.starts_with("cublasGemmGroupedBatchedEx failed (rows of an expert): 2147483648"),
            "{error}"
        );
    }

    #[test]
    fn every_expert_has_a_block_and_large_ones_have_some() {
        assert_eq!(grid(256, 64).blocks, (256, 1, 1));
        assert_eq!(grid(3, 2048 * 64).blocks, (3, 4, 1));
        assert_eq!(grid(8, 1 << 40).blocks, (8, 64, 1));
    }
}
