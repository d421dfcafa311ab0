//! Any device's int8 tensor cores by mma.sync: integers as three digits of 8 bits, A's made when it is packed.

use std::sync::Arc;

use super::super::compile::Source;
use super::super::device::Device;
use super::super::error::CudaError;
use super::super::generic::require_i32;
use super::super::launch::{Arguments, Grid, Kernel};
use super::super::matrix::DeviceMatrix;
use super::super::memory::Buffer;
use super::super::variants::{ANY, Variant};
use super::columns::Columns;
use super::images::{BM, Images, Plan, STEP};
use super::{OUTPUTS, Rows, TURING, output_defines};
use contract::dtype::Dtype;

const GEMM: Source = Source {
    name: "gemm_fixed_mma.cu",
    text: include_str!("../../../../kernels/gemm_fixed_mma.cu"),
};
const FRAGMENTS: Source = Source {
    name: "fixed_fragments.cu",
    text: include_str!("../../../../kernels/fixed_fragments.cu"),
};

/// Columns of a tile, as the kernels have them.
const BN: usize = 32;
/// Threads of a block of either kernel.
const THREADS: u32 = 256;

/// k of one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    /// What the device has: 32 from Ampere on.
    Own,
    /// 16, as Turing has it.
    K16,
}

fn gemm_defines(output: Dtype, instruction: Instruction) -> Vec<String> {
    let k16 = (instruction == Instruction::K16).then(|| "K16".to_owned());
    output_defines(output).into_iter().chain(k16).collect()
}

pub(super) fn variants() -> impl Iterator<Item = Variant> {
    let of = |instruction: Instruction| {
        OUTPUTS.into_iter().map(move |output| Variant {
            source: GEMM,
            entry: "gemm_fixed_mma",
            defines: gemm_defines(output, instruction),
            capabilities: (TURING, ANY.1),
        })
    };
    let fragments = Variant {
        source: FRAGMENTS,
        entry: "fixed_fragments",
        defines: Vec::new(),
        capabilities: ANY,
    };
    of(Instruction::Own).chain(of(Instruction::K16)).chain([fragments])
}

/// A's digits for the kernel, and what a call needs.
pub(super) struct Mma {
    gemm: Kernel,
    fragments: Kernel,
    columns: Columns,
    images: Images,
    first_image: Buffer,
    v_images: Buffer,
    tiles: i32,
    column_tiles: i32,
    blocks: u32,
    instruction: Instruction,
}

impl Mma {
    /// The plan has steps.
    pub(super) fn new(
        device: &Arc<Device>,
        rows: &Rows<'_>,
        n: usize,
        output: Dtype,
        plan: &Plan,
        threads: usize,
        instruction: Instruction,
    ) -> Result<Mma, CudaError> {
        let defines = gemm_defines(output, instruction);
        let gemm = Kernel::new(device, GEMM, &defines, "gemm_fixed_mma", 0)?;
        let fragments = Kernel::new(device, FRAGMENTS, &[], "fixed_fragments", 0)?;
        let column_tiles = n.div_ceil(BN);
        let tiles = plan.steps.len().saturating_mul(column_tiles);
        let blocks = tiles.saturating_add(plan.dead_rows.len().div_ceil(BM));
        require_i32("blocks", column_tiles.saturating_mul(plan.v_steps))?;
        let mut first_image = plan.first_image();
        first_image.push(plan.work());
        let first_image: Vec<i32> =
            first_image.into_iter().map(|x| require_i32("images", x)).collect::<Result<_, _>>()?;
        let v_bytes = column_tiles * plan.v_steps * (3 * STEP * BN);
        Ok(Mma {
            gemm,
            fragments,
            columns: Columns::new(device, n)?,
            images: Images::new(device, rows, plan, threads)?,
            first_image: Buffer::from_slice(device, &first_image, "first images")?,
            v_images: Buffer::new(device, v_bytes, "digits of V")?,
            tiles: require_i32("tiles", tiles)?,
            column_tiles: require_i32("tiles", column_tiles)?,
            blocks: require_i32("blocks", blocks)? as u32,
            instruction,
        })
    }

    /// V and Y are of the shapes that this was made for.
    pub(super) fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), CudaError> {
        let images = &self.images;
        let n = require_i32("columns of V", v.cols)?;
        self.columns.launch(v)?;
        let arguments = Arguments::new()
            .with(v.pointer())
            .with(images.k_list())
            .with(self.columns.scales.pointer())
            .with(self.v_images.pointer())
            .with(require_i32("rows of V", v.rows)?)
            .with(n)
            .with(require_i32("columns of V", v.stride)?)
            .with(images.v_steps);
        let blocks = ((self.column_tiles * images.v_steps) as u32, 1, 1);
        let grid = Grid { blocks, threads: THREADS, shared_bytes: 0 };
        // SAFETY: arguments as at the kernel's head, sized in `new`; V's shape as it is; buffers live until the device is
        // done with them, because freeing is in stream order.
        unsafe { self.fragments.launch(grid, &arguments)? };
        let arguments = Arguments::new()
            .with(images.a_images.pointer())
            .with(self.first_image.pointer())
            .with(self.v_images.pointer())
            .with(images.v_step())
            .with(images.row_index.pointer())
            .with(images.row_scale.pointer())
            .with(self.columns.scales.pointer())
            .with(images.dead_rows.pointer())
            .with(y.pointer())
            .with(self.tiles)
            .with(self.column_tiles)
            .with(images.dead_count)
            .with(images.v_steps)
            .with(n)
            .with(require_i32("columns of Y", y.stride)?);
        let grid = Grid { blocks: (self.blocks, 1, 1), threads: THREADS, shared_bytes: 0 };
        // SAFETY: as above; every row and step in A's arrays is one of Y and V.
        unsafe { self.gemm.launch(grid, &arguments) }
    }

    pub(super) fn description(&self) -> String {
        let of_k = match self.instruction {
            Instruction::Own => "",
            Instruction::K16 => " of 16 k",
        };
        format!("int8 tensor cores by mma.sync{of_k}, {} tiles 128 x {BN}", self.tiles)
    }

    pub(super) fn bytes_held(&self) -> usize {
        let held = [&self.columns.scales, &self.first_image, &self.v_images];
        self.images.bytes() + held.into_iter().map(Buffer::bytes).sum::<usize>()
    }
}
