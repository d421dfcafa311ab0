//! Something that turns (A, V) into Y = A V: the one trait behind which the operator under test,
//! the dense reference and every baseline stand, and our own operator.
//!
//! What is deliberately absent: digests, clocks, cases. An implementation sees matrices only, so
//! one that lives in another process or on another device can stand in the same place.

mod costs;
mod device;
mod mma_sync;
mod reference;
mod skip;
mod skip_device;
mod stack;

use contract::case::Case;
use contract::strategy::Strategy;
use std::any::Any;

use ndarray::{ArrayView2, ArrayViewMut2};

pub use crate::backend::Error;
use crate::backend::cpu::Isa;
use crate::backend::cuda::Device;
pub use device::{DeviceBuilt, DeviceOperator, OnDevice, live_rows};
pub use mma_sync::MmaSync;
pub use reference::DenseReference;
pub use skip::SkipOperator;
pub use skip_device::{SKIP_DEVICE, SkipDevice};
pub use stack::{StackOperator, elements};

/// Turns a weight matrix into something that can be applied to many activations.
pub trait Operator: Send + Sync {
    /// The name in records, such as `skip` or `onemkl-csr`.
    fn name(&self) -> String;

    /// Builds from A, an m' x k row panel or a whole matrix. May keep borrowing A.
    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error>;

    /// Lays V (k x n) out as this operator wants it. `staged` is empty or from an earlier call
    /// of the same operator with the same shape, whose memory may be used again. Part of every
    /// timed call, because activations change from call to call.
    fn stage(
        &self,
        _v: ArrayView2<'_, f32>,
        _staged: &mut Staged,
        _threads: usize,
    ) -> Result<(), Error> {
        Ok(())
    }
}

/// An operator built from one A (m' x k).
pub trait Built: Send + Sync {
    /// Writes every element of `y` (m' x n), dead rows as zeros. `staged` is what
    /// [`Operator::stage`] made of the same `v`. With `threads` = 1 everything runs on the
    /// calling thread; otherwise in the current rayon pool.
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &Staged,
        y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error>;

    /// Bytes kept between calls, A's own if it is borrowed.
    fn bytes_held(&self) -> usize;

    /// How A is held, and why.
    fn plan(&self) -> Plan {
        Plan { strategy: Strategy::Dense, reason: "nothing is skipped".into() }
    }
}

/// Builds the operator under test for a case.
pub type OperatorFor = dyn Fn(&Case, Isa) -> Box<dyn Operator> + Sync;

/// Our own operator, as the manifest asks for it.
pub fn skip_operator(case: &Case, isa: Isa) -> Box<dyn Operator> {
    Box::new(SkipOperator {
        arithmetic: case.arithmetic,
        output: case.output,
        strategy: case.strategy,
        isa,
    })
}

/// Our own operator for a CUDA device, as the manifest asks for it.
pub fn skip_device(case: &Case, device: &Device) -> SkipDevice {
    SkipDevice::new(case.arithmetic, case.dtype, case.output, case.strategy, device)
}

/// Threads to build with: a whole A is built in a pool; panels are built beside each other, outside of any.
fn build_threads() -> usize {
    rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads())
}

/// What an operator decided to do with one A.
#[derive(Clone, Debug)]
pub struct Plan {
    pub strategy: Strategy,
    pub reason: String,
}

impl Plan {
    /// Of what is built when it is first applied, before that.
    pub fn of_first_apply() -> Plan {
        let reason = "decided on the device by the first apply".into();
        Plan { strategy: Strategy::Auto, reason }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.strategy.name(), self.reason)
    }
}

/// An operator's own form of V. Only the operator that made it looks inside.
#[derive(Default)]
pub struct Staged(Option<Box<dyn Any + Send + Sync>>);

impl Staged {
    /// The form from an earlier call if there is one that `fits`, else a new one.
    pub fn reuse_or<T: Any + Send + Sync>(
        &mut self,
        fits: impl Fn(&T) -> bool,
        new: impl FnOnce() -> T,
    ) -> &mut T {
        let old = self.0.take().and_then(|old| old.downcast::<T>().ok()).filter(|old| fits(old));
        let form = self.0.insert(old.unwrap_or_else(|| Box::new(new())));
        // The line above stored a `T`.
        form.downcast_mut().unwrap_or_else(|| unreachable!())
    }

    /// What [`Operator::stage`] left here.
    pub fn get<T: Any>(&self) -> Result<&T, Error> {
        self.0
            .as_ref()
            .and_then(|form| form.downcast_ref())
            .ok_or_else(|| Error::Unsupported("apply before stage, or another's stage".into()))
    }
}
