//! The skip operator on a CUDA device: the same plan, the device's kernels, the same bits.

use std::sync::Arc;

use ndarray::ArrayView2;

use super::{DeviceBuilt, DeviceOperator, Error, Plan, Strategy};
use crate::arithmetic::{Arithmetic, Slices};
use crate::backend::cuda::{Device, DeviceMatrix, ModelA, SlicedA};
use crate::matrix::Dtype;

/// Y = A V on a device, without the zeros of A.
pub struct SkipDevice {
    pub arithmetic: Arithmetic,
    pub output: Dtype,
    pub strategy: Strategy,
}

enum Held {
    Sliced(SlicedA),
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
        Dtype::F32
    }

    fn output(&self) -> Dtype {
        self.output
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        _n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        let slices = match self.arithmetic {
            Arithmetic::F32Chain(slices) => slices,
            _ => Slices::One,
        };
        let (a, reason) = match self.arithmetic {
            Arithmetic::TensorCore(model) => {
                let reason = "this device's tensor cores follow another rule: integers follow it";
                (Held::Model(ModelA::pack(device, a, model, self.output)?), reason)
            }
            _ => (Held::Sliced(SlicedA::pack(device, a, slices, self.output)?), "sliced"),
        };
        let plan = Plan { strategy: Strategy::Csr, reason: reason.into() };
        Ok(Box::new(BuiltSkip { a, plan }))
    }
}

impl DeviceBuilt for BuiltSkip {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        match &self.a {
            Held::Sliced(a) => a.launch(v, y)?,
            Held::Model(a) => a.launch(v, y)?,
        }
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        match &self.a {
            Held::Sliced(a) => a.bytes_held(),
            Held::Model(a) => a.bytes_held(),
        }
    }

    fn plan(&self) -> Plan {
        self.plan.clone()
    }
}
