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
#[derive(Clone)]
pub struct OnDevice {
    pub operator: Arc<dyn DeviceOperator>,
    pub device: Arc<Device>,
}

/// V on the device; nothing before the first staging.
#[derive(Default)]
struct StagedV(Option<DeviceMatrix>);

impl Operator for OnDevice {
    fn name(&self) -> String {
        self.operator.name()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        Ok(Box::new(BuiltOnDevice { here: self.clone(), a, built: Mutex::new(None) }))
    }

    fn stage(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &mut Staged,
        _threads: usize,
    ) -> Result<(), Error> {
        let staged = staged.reuse_or(|_: &StagedV| true, StagedV::default);
        match &mut staged.0 {
            Some(there) if (there.rows, there.cols) == v.dim() => there.write(v)?,
            other => {
                *other = None;
                *other = Some(DeviceMatrix::upload(&self.device, v, self.operator.input(), "V")?);
            }
        }
        Ok(())
    }
}

/// Built on the device by the first apply, which knows how many columns V has; the next ones find it there.
struct BuiltOnDevice<'a> {
    here: OnDevice,
    a: ArrayView2<'a, f32>,
    built: Mutex<Option<(usize, Arc<dyn DeviceBuilt>)>>,
}

impl BuiltOnDevice<'_> {
    fn built(&self, n: usize) -> Result<Arc<dyn DeviceBuilt>, Error> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        match &*built {
            Some((for_n, built)) if *for_n == n => Ok(built.clone()),
            _ => {
                let new: Arc<dyn DeviceBuilt> =
                    self.here.operator.build(&self.here.device, self.a, n)?.into();
                *built = Some((n, new.clone()));
                Ok(new)
            }
        }
    }

    fn look<T>(&self, at: impl FnOnce(&dyn DeviceBuilt) -> T) -> Option<T> {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.as_ref().map(|(_, built)| at(&**built))
    }
}

impl Built for BuiltOnDevice<'_> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        _threads: usize,
    ) -> Result<(), Error> {
        let staged: &StagedV = staged.get()?;
        let there =
            staged.0.as_ref().ok_or_else(|| Error::Unsupported("apply before stage".into()))?;
        let built = self.built(v.ncols())?;
        let mut out =
            DeviceMatrix::new(&self.here.device, y.dim(), self.here.operator.output(), "Y")?;
        // What the kernel does not write is seen here as it is on the host.
        out.poison()?;
        built.launch(there, &mut out)?;
        y.assign(&out.read()?);
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        self.look(|built| built.bytes_held()).unwrap_or(0)
    }

    fn plan(&self) -> Plan {
        self.look(|built| built.plan()).unwrap_or_else(|| Plan {
            strategy: super::Strategy::Auto,
            reason: "decided on the device by the first apply".into(),
        })
    }
}
