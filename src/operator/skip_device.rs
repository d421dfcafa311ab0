//! The skip operator on a CUDA device: the same plan, the device's kernels, the same bits.

use std::sync::Arc;

use ndarray::ArrayView2;

use super::{DeviceBuilt, DeviceOperator, Error, Plan, Strategy};
use crate::arithmetic::tensor_core::Format;
use crate::arithmetic::{Arithmetic, Slices, TensorCoreModel};
use crate::backend::cuda::{
    Device, DeviceMatrix, MmaSyncA, ModelA, Selection, SlicedA, TensorCoreA, TensorCores,
    tensor_cores,
};
use crate::matrix::Dtype;

/// Y = A V on a device, without the zeros of A.
pub struct SkipDevice {
    way: Way,
    input: Dtype,
    output: Dtype,
    strategy: Strategy,
}

/// What follows the case's arithmetic on the device.
#[derive(Clone, Copy)]
enum Way {
    /// Chains of fused multiply-adds.
    Sliced(Slices),
    /// The device's tensor cores, tile by tile.
    Wgmma,
    /// The device's tensor cores, warp by warp.
    MmaSync(Format),
    /// Integers, for tensor cores that the device does not have.
    Model(TensorCoreModel),
}

impl SkipDevice {
    /// For a case's arithmetic, dtype of A and V, and dtype of Y. It is to be built on `device`, or
    /// on one of the same compute capability.
    pub fn new(
        arithmetic: Arithmetic,
        dtype: Dtype,
        output: Dtype,
        strategy: Strategy,
        device: &Device,
    ) -> SkipDevice {
        let way = match arithmetic {
            Arithmetic::F32Chain(slices) => Way::Sliced(slices),
            Arithmetic::Exact | Arithmetic::Bounded => Way::Sliced(Slices::One),
            Arithmetic::TensorCore(model) => {
                match tensor_cores(device.compute_capability(), model) {
                    Some(TensorCores::Wgmma) => Way::Wgmma,
                    Some(TensorCores::MmaSync) => Way::MmaSync(model.format),
                    None => Way::Model(model),
                }
            }
        };
        let input = match way {
            // f32 under TF32.
            Way::Wgmma | Way::MmaSync(_) => dtype,
            Way::Sliced(_) | Way::Model(_) => Dtype::F32,
        };
        SkipDevice { way, input, output, strategy }
    }

    /// What tiles on tensor cores leave out; `None` leaves it to their estimates.
    fn selection(&self) -> Option<Selection> {
        Some(match self.strategy {
            Strategy::Auto => return None,
            Strategy::Dense => Selection::All,
            Strategy::Rows => Selection::LiveRows,
            Strategy::Columns => Selection::LiveColumns,
            // Less than a group of a tile cannot be left out.
            Strategy::Blocks | Strategy::Csr => Selection::Tiles,
        })
    }

    /// How A is held by what tiles on tensor cores do.
    fn tiled_plan(&self, a: &TensorCoreA) -> Plan {
        let strategy = match (self.strategy, a.selection()) {
            (Strategy::Auto, Selection::All) => Strategy::Dense,
            (Strategy::Auto, Selection::LiveRows) => Strategy::Rows,
            (Strategy::Auto, Selection::LiveColumns) => Strategy::Columns,
            (Strategy::Auto, Selection::Tiles) => Strategy::Blocks,
            (asked_for, _) => asked_for,
        };
        Plan { strategy, reason: a.reason().into() }
    }
}

enum Held {
    Sliced(SlicedA),
    Tiles(Box<TensorCoreA>),
    Plain(MmaSyncA),
    Model(ModelA),
}

struct BuiltSkip {
    a: Held,
    plan: Plan,
}

impl DeviceOperator for SkipDevice {
    fn name(&self) -> String {
        "skip-cuda".into()
    }

    fn input(&self) -> Dtype {
        self.input
    }

    fn output(&self) -> Dtype {
        self.output
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        let plan = |strategy, reason: &str| Plan { strategy, reason: reason.into() };
        let built = match self.way {
            Way::Sliced(slices) => BuiltSkip {
                a: Held::Sliced(SlicedA::pack(device, a, slices, self.output)?),
                plan: plan(Strategy::Csr, "sliced"),
            },
            Way::Wgmma => {
                let selection = self.selection();
                let a = TensorCoreA::pack(device, a, n, self.input, self.output, selection)?;
                BuiltSkip { plan: self.tiled_plan(&a), a: Held::Tiles(Box::new(a)) }
            }
            Way::MmaSync(format) => BuiltSkip {
                a: Held::Plain(MmaSyncA::pack(device, a, format, self.output)?),
                plan: plan(
                    Strategy::Dense,
                    "this device's tensor cores by mma.sync: nothing is skipped",
                ),
            },
            Way::Model(model) => BuiltSkip {
                a: Held::Model(ModelA::pack(device, a, model, self.output)?),
                plan: plan(
                    Strategy::Csr,
                    "this device's tensor cores follow another rule: integers follow it",
                ),
            },
        };
        Ok(Box::new(built))
    }
}

impl DeviceBuilt for BuiltSkip {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        match &self.a {
            Held::Sliced(a) => a.launch(v, y)?,
            Held::Tiles(a) => a.launch(v, y)?,
            Held::Plain(a) => a.launch(v, y)?,
            Held::Model(a) => a.launch(v, y)?,
        }
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        match &self.a {
            Held::Sliced(a) => a.bytes_held(),
            Held::Tiles(a) => a.bytes_held(),
            Held::Plain(a) => a.bytes_held(),
            Held::Model(a) => a.bytes_held(),
        }
    }

    fn plan(&self) -> Plan {
        self.plan.clone()
    }
}
