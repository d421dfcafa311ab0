//! Operators whose matrices live on a device, and how one stands where a host's operator stands.

use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

use super::{Built, Error, Operator, Plan, Staged};
use crate::backend::cuda::{CudaError, Device, DeviceMatrix, Layout};
use contract::dtype::Dtype;

/// Turns a weight matrix into something on a device that can be applied to many activations there.
pub trait DeviceOperator: Send + Sync {
    /// The name in records, such as `skip-cuda` or `cublas`.
    fn name(&self) -> String;

    /// The dtype in which V must be on the device.
    fn input(&self) -> Dtype;

    /// The dtype in which Y is left there.
    fn output(&self) -> Dtype;

    /// How V must lie on the device, and how Y is left there.
    fn layout(&self) -> Layout {
        Layout::RowMajor
    }

    /// Whether Y's first rows are those of the live rows of A, in order, and its others are not written: whoever looks at
    /// Y puts them where they belong.
    fn live_rows_only(&self) -> bool {
        false
    }

    /// A copy of V (k x n) on the device, as this operator wants it.
    fn upload(
        &self,
        device: &Arc<Device>,
        v: ArrayView2<'_, f32>,
    ) -> Result<DeviceMatrix, CudaError> {
        DeviceMatrix::upload_in(self.layout(), device, v, self.input(), "V")
    }

    /// Room for Y (m x n) on the device, as this operator wants it.
    fn room(&self, device: &Arc<Device>, shape: (usize, usize)) -> Result<DeviceMatrix, CudaError> {
        DeviceMatrix::new_in(self.layout(), device, shape, self.output(), "Y")
    }

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
    /// Gives Y = A V to the device's stream, to write every element of `y` (m x n) that
    /// [`DeviceBuilt::read`] looks at. `v` is k x n; both lie as the operator's layout says. Neither allocates nor
    /// waits, so that it can be captured in a graph.
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error>;

    /// Y (m x n) of what [`DeviceBuilt::launch`] left in `y`, row-major. Never timed: where it does more than copy,
    /// the operator was let off that much work.
    fn read(&self, y: &DeviceMatrix) -> Result<Array2<f32>, Error> {
        Ok(y.read()?)
    }

    /// The same to `out` (m x n).
    fn read_to(&self, y: &DeviceMatrix, mut out: ArrayViewMut2<'_, f32>) -> Result<(), Error> {
        out.assign(&self.read(y)?);
        Ok(())
    }

    /// Bytes of device memory kept between calls.
    fn bytes_held(&self) -> usize;

    /// Bytes of those that everything built by the same library has together.
    fn bytes_shared(&self) -> usize {
        0
    }

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
                *other = Some(self.operator.upload(&self.device, v)?);
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
        y: ArrayViewMut2<'_, f32>,
        _threads: usize,
    ) -> Result<(), Error> {
        let staged: &StagedV = staged.get()?;
        let there =
            staged.0.as_ref().ok_or_else(|| Error::Unsupported("apply before stage".into()))?;
        let built = self.built(v.ncols())?;
        let mut out = self.here.operator.room(&self.here.device, y.dim())?;
        // What the kernel does not write is seen here as it is on the host.
        out.poison()?;
        built.launch(there, &mut out)?;
        built.read_to(&out, y)
    }

    fn bytes_held(&self) -> usize {
        self.look(|built| built.bytes_held()).unwrap_or(0)
    }

    fn plan(&self) -> Plan {
        self.look(|built| built.plan()).unwrap_or_else(Plan::of_first_apply)
    }
}

/// Rows of A with a non-zero, ascending. In the current pool.
pub fn live_rows(a: ArrayView2<'_, f32>) -> Vec<usize> {
    let is_live = |&i: &usize| a.row(i).iter().any(|&x| x != 0.0);
    (0..a.nrows()).into_par_iter().filter(is_live).collect()
}
