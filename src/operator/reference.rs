//! The dense reference: multiplies every zero, knows of no plan, and keeps its own copy of V.

use ndarray::{ArrayView2, ArrayViewMut2, Zip};

use super::{Built, Error, Operator, Staged};
use crate::backend::cpu::{
    FixedA, FixedSelection, FixedV, GroupSelection, GroupedA, GroupedV, Isa, PackedV, PairedA,
    PairedV, Selection, TiledA, gemm_bf16_dot, gemm_chain, gemm_fixed_point, gemm_tensor_core,
};
use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::{Arithmetic, Slices, TensorCoreModel, bounded};
use contract::dtype::Dtype;
use contract::strategy::Strategy;

/// Dense Y = A V under a case's arithmetic, rounded once to its output dtype.
pub struct DenseReference {
    pub arithmetic: Arithmetic,
    pub output: Dtype,
    pub isa: Isa,
}

impl DenseReference {
    fn rule(&self) -> Rule {
        match self.arithmetic {
            Arithmetic::F32Chain(slices) => Rule::Chain(slices),
            // Any order is right; a chain is as good as any.
            Arithmetic::Exact => Rule::Chain(Slices::One),
            Arithmetic::TensorCore(model) => Rule::TensorCore(model),
            Arithmetic::Bf16Dot(instruction) => Rule::Bf16Dot(instruction),
            Arithmetic::FixedPoint => Rule::FixedPoint,
            Arithmetic::Bounded => Rule::Binary64,
        }
    }
}

enum Rule {
    Chain(Slices),
    TensorCore(TensorCoreModel),
    Bf16Dot(Instruction),
    FixedPoint,
    Binary64,
}

impl Operator for DenseReference {
    fn name(&self) -> String {
        "dense-reference".into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        let a = match self.rule() {
            Rule::Chain(slices) => {
                let threads = super::build_threads();
                Held::Tiles(TiledA::pack(a, Selection::All, slices, self.isa, threads))
            }
            Rule::TensorCore(model) => {
                Held::Groups(GroupedA::pack(a, model, GroupSelection::All, self.isa))
            }
            Rule::Bf16Dot(instruction) => {
                let threads = super::build_threads();
                Held::Pairs(PairedA::pack(a, instruction, Strategy::Dense, self.isa, threads))
            }
            Rule::FixedPoint => Held::Integers(pack_fixed_point(a, FixedSelection::All, self.isa)?),
            Rule::Binary64 => Held::Plain(a),
        };
        Ok(Box::new(BuiltReference { a, output: self.output }))
    }

    fn stage(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &mut Staged,
        threads: usize,
    ) -> Result<(), Error> {
        match self.rule() {
            Rule::Chain(_) => stage_packed(v, staged, threads),
            Rule::TensorCore(model) => stage_grouped(v, model, staged, threads),
            Rule::Bf16Dot(_) => stage_paired(v, staged, threads),
            Rule::FixedPoint => stage_fixed_point(v, self.isa, staged, threads),
            Rule::Binary64 => {}
        }
        Ok(())
    }
}

/// V for the chain kernels.
pub(super) fn stage_packed(v: ArrayView2<'_, f32>, staged: &mut Staged, threads: usize) {
    let (k, n) = v.dim();
    let fits = |packed: &PackedV| (packed.k(), packed.n()) == (k, n);
    staged.reuse_or(fits, || PackedV::new(k, n)).load(v, threads);
}

/// V for the tensor-core kernels.
pub(super) fn stage_grouped(
    v: ArrayView2<'_, f32>,
    model: TensorCoreModel,
    staged: &mut Staged,
    threads: usize,
) {
    let (k, n) = v.dim();
    let fits = |grouped: &GroupedV| (grouped.k(), grouped.n()) == (k, n);
    staged.reuse_or(fits, || GroupedV::new(k, n)).load(v, model, threads);
}

/// V for the kernels of bf16 pairs.
pub(super) fn stage_paired(v: ArrayView2<'_, f32>, staged: &mut Staged, threads: usize) {
    let (k, n) = v.dim();
    let fits = |paired: &PairedV| (paired.k(), paired.n()) == (k, n);
    staged.reuse_or(fits, || PairedV::new(k, n)).load(v, threads);
}

/// V for the fixed-point kernels.
pub(super) fn stage_fixed_point(
    v: ArrayView2<'_, f32>,
    isa: Isa,
    staged: &mut Staged,
    threads: usize,
) {
    let (k, n) = v.dim();
    let fits = |fixed: &FixedV| (fixed.k(), fixed.n()) == (k, n) && fixed.serves(isa);
    staged.reuse_or(fits, || FixedV::new(k, n, isa)).load(v, threads);
}

/// A for the fixed-point kernels; an error where 64 bits do not hold a sum.
pub(super) fn pack_fixed_point(
    a: ArrayView2<'_, f32>,
    selection: FixedSelection,
    isa: Isa,
) -> Result<FixedA, Error> {
    let packed = FixedA::pack(a, selection, isa, super::build_threads());
    packed.map_err(|too_large| Error::Unsupported(too_large.to_string()))
}

/// Rounds every element to the output dtype.
pub(super) fn round_output(output: Dtype, mut y: ArrayViewMut2<'_, f32>) {
    if output != Dtype::F32 {
        match y.as_slice_mut() {
            // Not finite: an overflow that the caller refuses.
            Some(y) if y.iter().all(|x| x.is_finite()) => output.round_all(y),
            _ => y.mapv_inplace(|x| output.round(x)),
        }
    }
}

enum Held<'a> {
    Tiles(TiledA),
    Groups(GroupedA),
    Pairs(PairedA),
    Integers(FixedA),
    Plain(ArrayView2<'a, f32>),
}

struct BuiltReference<'a> {
    a: Held<'a>,
    output: Dtype,
}

impl Built for BuiltReference<'_> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        match &self.a {
            Held::Tiles(a) => gemm_chain(a, staged.get()?, y.view_mut(), threads),
            Held::Groups(a) => gemm_tensor_core(a, staged.get()?, y.view_mut(), threads),
            Held::Pairs(a) => gemm_bf16_dot(a, staged.get()?, y.view_mut(), threads),
            Held::Integers(a) => gemm_fixed_point(a, staged.get()?, y.view_mut(), threads),
            Held::Plain(a) => {
                Zip::from(y.rows_mut()).and(a.rows()).for_each(|mut y, a| {
                    let (reference, _) = bounded::row(&a.to_vec(), v);
                    y.iter_mut().zip(reference).for_each(|(y, x)| *y = x as f32);
                });
            }
        }
        round_output(self.output, y);
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        match &self.a {
            Held::Tiles(a) => a.bytes_held(),
            Held::Groups(a) => a.bytes_held(),
            Held::Pairs(a) => a.bytes_held(),
            Held::Integers(a) => a.bytes_held(),
            Held::Plain(a) => a.len() * size_of::<f32>(),
        }
    }
}
