//! The skip operator: analyse A, plan, apply. What it skips is exactly zero, so its output is
//! that of the dense reference, bit for bit.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::reference::{
    pack_fixed_point, round_output, stage_fixed_point, stage_grouped, stage_packed, stage_paired,
};
use super::{Built, Error, Operator, Plan, Staged, costs};
use crate::backend::cpu::{
    FixedA, FixedSelection, GroupSelection, GroupedA, Isa, PairedA, Selection, SparseA, TiledA,
    gemm_bf16_dot, gemm_chain, gemm_fixed_point, gemm_tensor_core, spmm_chain,
};
use contract::arithmetic::{Arithmetic, Slices};
use contract::dtype::Dtype;
use contract::strategy::Strategy;

/// Y = A V without the zeros of A.
pub struct SkipOperator {
    pub arithmetic: Arithmetic,
    pub output: Dtype,
    pub strategy: Strategy,
    pub isa: Isa,
}

impl SkipOperator {
    fn plan(&self, a: ArrayView2<'_, f32>) -> Plan {
        if self.strategy != Strategy::Auto {
            return Plan { strategy: self.strategy, reason: "asked for".into() };
        }
        costs::cheapest(self.arithmetic, self.isa, a)
    }
}

enum Held {
    Tiles(TiledA),
    Elements(SparseA),
    Groups(GroupedA),
    Pairs(PairedA),
    Integers(FixedA),
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
        let mut plan = SkipOperator::plan(self, a);
        let isa = self.isa;
        let threads = super::build_threads();
        let tiles =
            |selection, slices| Held::Tiles(TiledA::pack(a, selection, slices, isa, threads));
        let a = match self.arithmetic {
            Arithmetic::TensorCore(model) => {
                let selection = match plan.strategy {
                    Strategy::Auto | Strategy::Dense => GroupSelection::All,
                    Strategy::Rows => GroupSelection::LiveRows,
                    Strategy::Columns => GroupSelection::LiveColumns,
                    Strategy::Blocks => GroupSelection::Tiles,
                    Strategy::Csr => GroupSelection::Rows,
                };
                Held::Groups(GroupedA::pack(a, model, selection, isa))
            }
            Arithmetic::Bf16Dot(instruction) => {
                let a = PairedA::pack(a, instruction, plan.strategy, isa, threads);
                plan.reason = format!("{}; {}", plan.reason, a.description());
                Held::Pairs(a)
            }
            Arithmetic::FixedPoint => {
                let selection = match plan.strategy {
                    Strategy::Auto | Strategy::Dense => FixedSelection::All,
                    Strategy::Rows => FixedSelection::LiveRows,
                    Strategy::Columns => FixedSelection::LiveColumns,
                    Strategy::Blocks => FixedSelection::Blocks,
                    Strategy::Csr => FixedSelection::Elements,
                };
                let packed = pack_fixed_point(a, selection, isa)?;
                plan.reason = format!("{}; {}", plan.reason, packed.summed_by());
                Held::Integers(packed)
            }
            Arithmetic::F32Chain(_) | Arithmetic::Exact | Arithmetic::Bounded => {
                let slices = match self.arithmetic {
                    Arithmetic::F32Chain(slices) => slices,
                    Arithmetic::Exact
                    | Arithmetic::Bounded
                    | Arithmetic::TensorCore(_)
                    | Arithmetic::Bf16Dot(_)
                    | Arithmetic::FixedPoint => Slices::One,
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
            Arithmetic::Bf16Dot(_) => stage_paired(v, staged, threads),
            Arithmetic::FixedPoint => stage_fixed_point(v, self.isa, staged, threads),
            Arithmetic::F32Chain(_) | Arithmetic::Exact | Arithmetic::Bounded => {
                stage_packed(v, staged, threads);
            }
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
            Held::Pairs(a) => gemm_bf16_dot(a, staged.get()?, y.view_mut(), threads),
            Held::Integers(a) => gemm_fixed_point(a, staged.get()?, y.view_mut(), threads),
        }
        round_output(self.output, y);
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        match &self.a {
            Held::Tiles(a) => a.bytes_held(),
            Held::Elements(a) => a.bytes_held(),
            Held::Groups(a) => a.bytes_held(),
            Held::Pairs(a) => a.bytes_held(),
            Held::Integers(a) => a.bytes_held(),
        }
    }

    fn plan(&self) -> Plan {
        self.plan.clone()
    }
}
