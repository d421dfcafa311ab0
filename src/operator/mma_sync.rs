//! A device's own tensor cores without any of our scheduling: to see what they do.

use std::sync::Arc;

use ndarray::ArrayView2;

use super::{DeviceBuilt, DeviceOperator, Error, Plan};
use crate::backend::cuda::{Device, DeviceMatrix, MmaSyncA};
use contract::arithmetic::tensor_core::Format;
use contract::dtype::Dtype;
use contract::strategy::Strategy;

/// Y = A V by `mma.sync` in ascending k, whatever rule the device's tensor cores follow.
pub struct MmaSync {
    pub format: Format,
    pub output: Dtype,
}

impl DeviceOperator for MmaSync {
    fn name(&self) -> String {
        "mma.sync".into()
    }

    fn input(&self) -> Dtype {
        self.format.dtype()
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
        Ok(Box::new(MmaSyncA::pack(device, a, self.format, self.output)?))
    }
}

impl DeviceBuilt for MmaSyncA {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        Ok(MmaSyncA::launch(self, v, y)?)
    }

    fn bytes_held(&self) -> usize {
        MmaSyncA::bytes_held(self)
    }

    fn plan(&self) -> Plan {
        Plan { strategy: Strategy::Dense, reason: "mma.sync, every zero multiplied".into() }
    }
}
