//! The skip operator: analyse A, plan, apply. What it skips is exactly zero, so its output is
//! that of the dense reference, bit for bit.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::reference::{round_output, stage_grouped, stage_packed};
use super::{Built, Error, Operator, Plan, Staged, Strategy};
use crate::arithmetic::{Arithmetic, Slices};
use crate::backend::cpu::tensor_core::{GroupedA, Selection as GroupSelection, gemm_tensor_core};
use crate::backend::cpu::{Isa, Selection, SparseA, TiledA, gemm_chain, spmm_chain};
use crate::matrix::Dtype;

/// Y = A V without the zeros of A.
pub struct SkipOperator {
    pub arithmetic: Arithmetic,
    pub output: Dtype,
    pub strategy: Strategy,
    pub isa: Isa,
    /// Threads that `build` may use: several when A is whole, one when panels are built beside
    /// each other.
    pub build_threads: usize,
}

/// Rows that the block strategy looks at together.
const TILE_ROWS: usize = 8;

/// Cost of one product in the per-element kernels, that of one in the tiled kernels being 1.
/// From the table in README: a row alone reuses V less than a tile of rows does.
const CSR_COST: f64 = 1.7;
/// The same for single rows of tensor-core groups.
const ROW_GROUP_COST: f64 = 1.4;
/// And for tiles that each walk their own list of k.
const BLOCK_COST: f64 = 1.05;

/// How many products each strategy would multiply.
struct Products {
    dense: f64,
    rows: f64,
    columns: f64,
    blocks: f64,
    csr: f64,
}

/// Counts by looking at A once. With tensor cores whole groups of `group` k are multiplied.
fn count_products(a: ArrayView2<'_, f32>, group: usize) -> Products {
    let (m, k) = a.dim();
    let groups = k.div_ceil(group);
    let mut live_rows = 0usize;
    let mut live_columns = vec![false; groups];
    let mut blocks = 0usize;
    let mut elements = 0usize;
    let mut in_row = vec![false; groups];
    for start in (0..m).step_by(TILE_ROWS) {
        let end = m.min(start + TILE_ROWS);
        let mut in_tile = vec![false; groups];
        let mut live_in_tile = 0;
        for row in (start..end).map(|i| a.row(i)) {
            let row = row.to_slice().unwrap_or_default();
            if group == 1 {
                in_row.iter_mut().zip(row).for_each(|(live, &x)| *live = x != 0.0);
            } else {
                let any = |x: &[f32]| x.iter().any(|&x| x != 0.0);
                in_row.iter_mut().zip(row.chunks(group)).for_each(|(live, x)| *live = any(x));
            }
            let count: usize = in_row.iter().map(|&live| usize::from(live)).sum();
            if count > 0 {
                live_in_tile += 1;
                elements += count;
                in_tile.iter_mut().zip(&in_row).for_each(|(tile, row)| *tile |= row);
            }
        }
        live_rows += live_in_tile;
        blocks += live_in_tile * in_tile.iter().map(|&live| usize::from(live)).sum::<usize>();
        live_columns.iter_mut().zip(&in_tile).for_each(|(all, tile)| *all |= tile);
    }
    let live_columns = live_columns.iter().filter(|&&live| live).count();
    let of = |count: usize| (count * group) as f64;
    Products {
        dense: (m * k) as f64,
        rows: (live_rows * k) as f64,
        columns: of(live_rows * live_columns),
        blocks: of(blocks),
        csr: of(elements),
    }
}

impl SkipOperator {
    fn plan(&self, a: ArrayView2<'_, f32>) -> Plan {
        if self.strategy != Strategy::Auto {
            return Plan { strategy: self.strategy, reason: "asked for".into() };
        }
        let (group, csr_cost) = match self.arithmetic {
            Arithmetic::TensorCore(model) => (model.group, ROW_GROUP_COST),
            _ => (1, CSR_COST),
        };
        let products = count_products(a, group);
        // Of equal costs the simpler strategy is taken.
        let costs = [
            (Strategy::Dense, products.dense),
            (Strategy::Rows, products.rows),
            (Strategy::Columns, products.columns),
            (Strategy::Blocks, products.blocks * BLOCK_COST),
            (Strategy::Csr, products.csr * csr_cost),
        ];
        let mut best = costs[0];
        for cost in costs {
            if cost.1 < best.1 {
                best = cost;
            }
        }
        let list = costs.map(|(strategy, cost)| format!("{strategy} {cost:.3e}")).join(", ");
        Plan { strategy: best.0, reason: format!("least of the costs {list}") }
    }
}

enum Held {
    Tiles(TiledA),
    Elements(SparseA),
    Groups(GroupedA),
}

struct BuiltSkip {
    a: Held,
    plan: Plan,
    output: Dtype,
}

impl Operator for SkipOperator {
    fn name(&self) -> String {
        "skip".into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let plan = SkipOperator::plan(self, a);
        let (isa, threads) = (self.isa, self.build_threads);
        let tiles =
            |selection, slices| Held::Tiles(TiledA::pack(a, selection, slices, isa, threads));
        let a = match self.arithmetic {
            Arithmetic::TensorCore(model) => {
                let selection = match plan.strategy {
                    Strategy::Auto | Strategy::Dense => GroupSelection::Dense,
                    Strategy::Rows => GroupSelection::LiveRows,
                    Strategy::Columns => GroupSelection::Columns,
                    Strategy::Blocks => GroupSelection::TileGroups,
                    Strategy::Csr => GroupSelection::RowGroups,
                };
                Held::Groups(GroupedA::pack(a, model, selection, isa))
            }
            Arithmetic::F32Chain(_) | Arithmetic::Exact | Arithmetic::Bounded => {
                let slices = match self.arithmetic {
                    Arithmetic::F32Chain(slices) => slices,
                    _ => Slices::One,
                };
                match plan.strategy {
                    Strategy::Auto | Strategy::Dense => tiles(Selection::All, slices),
                    Strategy::Rows => tiles(Selection::LiveRows, slices),
                    Strategy::Columns => tiles(Selection::LiveColumns, slices),
                    Strategy::Blocks => tiles(Selection::Blocks, slices),
                    Strategy::Csr => Held::Elements(SparseA::pack(a, slices, isa, threads)),
                }
            }
        };
        Ok(Box::new(BuiltSkip { a, plan, output: self.output }))
    }

    fn stage(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &mut Staged,
        threads: usize,
    ) -> Result<(), Error> {
        match self.arithmetic {
            Arithmetic::TensorCore(model) => stage_grouped(v, model, staged, threads),
            _ => stage_packed(v, staged, threads),
        }
        Ok(())
    }
}

impl Built for BuiltSkip {
    fn apply(
        &self,
        _v: ArrayView2<'_, f32>,
        staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        match &self.a {
            Held::Tiles(a) => gemm_chain(a, staged.get()?, y.view_mut(), threads),
            Held::Elements(a) => spmm_chain(a, staged.get()?, y.view_mut(), threads),
            Held::Groups(a) => gemm_tensor_core(a, staged.get()?, y.view_mut(), threads),
        }
        round_output(self.output, y);
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        match &self.a {
            Held::Tiles(a) => a.bytes_held(),
            Held::Elements(a) => a.bytes_held(),
            Held::Groups(a) => a.bytes_held(),
        }
    }

    fn plan(&self) -> Plan {
        self.plan.clone()
    }
}
