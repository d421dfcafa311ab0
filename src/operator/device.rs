//! Operators whose matrices live on a device, and how one stands where a host's operator stands.

use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{ArrayView2, ArrayViewMut2};

use super::{Built, Error, Operator, Plan, Staged};
use crate::backend::cuda::{Device, DeviceMatrix};
use crate::matrix::Dtype;

/// Turns a weight matrix into something on a device that can be applied to many activations there.
pub trait DeviceOperator: Send + Sync {
    /// The name in records, such as `skip-cuda` or `cublas`.
    fn name(&self) -> String;

    /// The dtype in which V must be on the device.
    fn input(&self) -> Dtype;

    /// The dtype in which Y is left there.
    fn output(&self) -> Dtype;

    /// Builds from A (m x k, on the host) for V of `n` columns: packs, plans, uploads, and takes all the memory
    /// that launching will need.
    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error>;
}

/// A device operator built from one A (m x k) for one n.
pub trait DeviceBuilt: Send + Sync {
    /// Gives Y = A V to the device's stream, to write every element of `y` (m x n). `v` is k x n. Neither
    /// allocates nor waits, so that it can be captured in a graph.
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error>;

    /// Bytes of device memory kept between calls.
    fn bytes_held(&self) -> usize;

    /// How A is held, and why.
    fn plan(&self) -> Plan;
}

/// A device operator in a host operator's place: V goes to the device when it is staged, Y comes back from
/// each apply.
pub struct OnDevice<D> {
    pub operator: D,
    pub device: Arc<Device>,
}

impl<D: DeviceOperator> Operator for OnDevice<D> {
    fn name(&self) -> String {
        self.operator.name()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        todo!()
    }
}
