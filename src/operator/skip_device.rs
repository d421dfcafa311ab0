//! The skip operator on a CUDA device: the same plan, the device's kernels, the same bits.

use std::sync::Arc;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::{DeviceBuilt, DeviceOperator, Error, Plan, costs};
use crate::backend::cuda::{
    ChainA, ChainPlan, ChainSpmmA, Device, DeviceMatrix, FixedPointA, MmaSyncA, ModelA, Pattern,
    Selection, SlicedA, TensorCoreA, TensorCores, tensor_cores,
};
use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::tensor_core::Format;
use contract::arithmetic::{Arithmetic, Slices, TensorCoreModel};
use contract::dtype::Dtype;
use contract::strategy::Strategy;

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
    /// Chains of fused multiply-adds, one an output.
    Chain,
    /// Several an output.
    Sliced(Slices),
    /// The device's tensor cores, tile by tile.
    Wgmma,
    /// The device's tensor cores, warp by warp.
    MmaSync(Format),
    /// Integers, for tensor cores that the device does not have.
    Model(TensorCoreModel),
    /// Exact sums of integers.
    FixedPoint,
    /// The rule is a CPU's.
    None(Instruction),
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
            Arithmetic::F32Chain(Slices::One) | Arithmetic::Exact | Arithmetic::Bounded => {
                Way::Chain
            }
            Arithmetic::F32Chain(slices) => Way::Sliced(slices),
            Arithmetic::FixedPoint => Way::FixedPoint,
            Arithmetic::Bf16Dot(instruction) => Way::None(instruction),
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
            Way::Chain | Way::Sliced(_) | Way::Model(_) | Way::FixedPoint | Way::None(_) => {
                Dtype::F32
            }
        };
        SkipDevice { way, input, output, strategy }
    }

    /// What tiles leave out; `None` leaves it to their estimates.
    fn selection(&self) -> Option<Selection> {
        Some(match self.strategy {
            Strategy::Auto => return None,
            Strategy::Dense => Selection::All,
            Strategy::Rows => Selection::LiveRows,
            Strategy::Columns => Selection::LiveColumns,
            // Tiles leave out nothing less.
            Strategy::Blocks | Strategy::Csr => Selection::Tiles,
        })
    }

    /// How A is held where tiles have this selection.
    fn strategy_of(&self, selection: Selection) -> Strategy {
        match (self.strategy, selection) {
            (Strategy::Auto, Selection::All) => Strategy::Dense,
            (Strategy::Auto, Selection::LiveRows) => Strategy::Rows,
            (Strategy::Auto, Selection::LiveColumns) => Strategy::Columns,
            (Strategy::Auto, Selection::Tiles) => Strategy::Blocks,
            (asked_for, _) => asked_for,
        }
    }

    /// Single chains: tiles, or single elements where those are asked for or estimated to be faster.
    fn build_chain(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
    ) -> Result<BuiltSkip, Error> {
        let pattern = Pattern::of_whole(a);
        let elements_ns = match ChainSpmmA::serves(device.compute_capability()) {
            true => ChainSpmmA::estimate_ns(device, &pattern, n),
            false => costs::sliced_ns(pattern.non_zeros(), n),
        };
        if self.strategy == Strategy::Csr {
            return self.build_elements(device, a, &pattern, n, "asked for");
        }
        let tiles = ChainPlan::new(device, a, n, self.selection())?;
        let why = match self.strategy {
            Strategy::Auto => {
                let (tiles, elements) = (tiles.estimates(), elements_ns as f64 / 1e3);
                format!("least of the estimates {tiles}, csr {elements:.1} us")
            }
            Strategy::Dense
            | Strategy::Rows
            | Strategy::Columns
            | Strategy::Blocks
            | Strategy::Csr => format!("asked for, estimate {}", tiles.estimates()),
        };
        if self.strategy == Strategy::Auto && elements_ns < tiles.estimate_ns() {
            return self.build_elements(device, a, &pattern, n, &why);
        }
        let packed = ChainA::pack(device, a, &tiles, self.output)?;
        let reason = format!("{why}; {}", packed.description());
        let plan = Plan { strategy: self.strategy_of(tiles.selection()), reason };
        Ok(BuiltSkip { a: Held::Chain(Box::new(packed)), plan })
    }

    /// Single chains over single elements.
    fn build_elements(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        pattern: &Pattern,
        n: usize,
        why: &str,
    ) -> Result<BuiltSkip, Error> {
        let plan = |how: &str| Plan { strategy: Strategy::Csr, reason: format!("{why}; {how}") };
        if ChainSpmmA::serves(device.compute_capability()) {
            let a = ChainSpmmA::pack_pattern(device, a, pattern, n, self.output)?;
            let plan = plan(&a.describe());
            return Ok(BuiltSkip { a: Held::Elements(Box::new(a)), plan });
        }
        let a = SlicedA::pack(device, a, Slices::One, self.output)?;
        Ok(BuiltSkip { a: Held::Sliced(a), plan: plan("a thread an output") })
    }
}

enum Held {
    Chain(Box<ChainA>),
    Elements(Box<ChainSpmmA>),
    Sliced(SlicedA),
    Tiles(Box<TensorCoreA>),
    Plain(MmaSyncA),
    Model(ModelA),
    FixedPoint(Box<FixedPointA>),
}

struct BuiltSkip {
    a: Held,
    plan: Plan,
}

/// The name of our own operator on a device, in records.
pub const SKIP_DEVICE: &str = "skip-cuda";

impl DeviceOperator for SkipDevice {
    fn name(&self) -> String {
        SKIP_DEVICE.into()
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
            Way::Chain => self.build_chain(device, a, n)?,
            Way::Sliced(slices) => BuiltSkip {
                a: Held::Sliced(SlicedA::pack(device, a, slices, self.output)?),
                plan: plan(Strategy::Csr, "sliced"),
            },
            Way::Wgmma => {
                let selection = self.selection();
                let a = TensorCoreA::pack(device, a, n, self.input, self.output, selection)?;
                let plan = plan(self.strategy_of(a.selection()), a.reason());
                BuiltSkip { a: Held::Tiles(Box::new(a)), plan }
            }
            Way::MmaSync(format) => BuiltSkip {
                a: Held::Plain(MmaSyncA::pack(device, a, format, self.output)?),
                plan: plan(
                    Strategy::Dense,
                    "this device's tensor cores by mma.sync: nothing is skipped",
                ),
            },
            Way::None(instruction) => {
                return Err(Error::Unsupported(format!(
                    "tensor-core-{instruction} is a rule of CPUs, and no kernel follows it on a device\nhint: verify it \
                     with `--device cpu`"
                )));
            }
            Way::FixedPoint => {
                let wanted = self.selection();
                let a = FixedPointA::pack(device, a, n, self.output, wanted)?;
                let why = if wanted.is_some() { "asked for" } else { "fewest products" };
                let reason = format!("{why}; {}", a.description());
                let plan = Plan { strategy: self.strategy_of(a.selection()), reason };
                BuiltSkip { a: Held::FixedPoint(Box::new(a)), plan }
            }
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
            Held::Chain(a) => a.launch(v, y)?,
            Held::Elements(a) => a.launch(v, y)?,
            Held::Sliced(a) => a.launch(v, y)?,
            Held::Tiles(a) => a.launch(v, y)?,
            Held::Plain(a) => a.launch(v, y)?,
            Held::Model(a) => a.launch(v, y)?,
            Held::FixedPoint(a) => a.launch(v, y)?,
        }
        Ok(())
    }

    fn read_to(&self, y: &DeviceMatrix, mut out: ArrayViewMut2<'_, f32>) -> Result<(), Error> {
        match out.as_slice_mut() {
            Some(values) => y.read_to(values)?,
            None => out.assign(&y.read()?),
        }
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        match &self.a {
            Held::Chain(a) => a.bytes_held(),
            Held::Elements(a) => a.bytes_held(),
            Held::Sliced(a) => a.bytes_held(),
            Held::Tiles(a) => a.bytes_held(),
            Held::Plain(a) => a.bytes_held(),
            Held::Model(a) => a.bytes_held(),
            Held::FixedPoint(a) => a.bytes_held(),
        }
    }

    fn plan(&self) -> Plan {
        self.plan.clone()
    }
}
