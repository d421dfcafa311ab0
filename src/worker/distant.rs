//! A worker's rival in the place of an operator of this process, for calls that nobody times: `verify doctor` probes
//! libraries by it.

use contract::dtype::Dtype;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::Workers;
use super::message::{Contender, Reply, Request};
use crate::backend::shared::{SharedInput, SharedOutputs};
use crate::operator::{Built, Error, Operator, Staged};

/// Time for a request: the products of a probe are small.
const LIMIT: Duration = Duration::from_secs(60);

/// A rival of a worker, by the place of its host among the workers.
#[derive(Clone)]
pub struct Distant {
    pub workers: Arc<Mutex<Workers>>,
    pub host: usize,
    pub name: String,
}

impl Operator for Distant {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        Ok(Box::new(BuiltDistant { operator: self.clone(), a }))
    }
}

/// A rival that each apply builds anew in its worker, with A and V sent along.
struct BuiltDistant<'a> {
    operator: Distant,
    a: ArrayView2<'a, f32>,
}

impl Built for BuiltDistant<'_> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        _threads: usize,
    ) -> Result<(), Error> {
        let ((m, k), n) = (self.a.dim(), v.ncols());
        let (a, v) = (SharedInput::of(self.a)?, SharedInput::of(v)?);
        let out = SharedOutputs::new(1, m * n, f32::NAN.to_bits())?;
        let mut workers = self.operator.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let hosted = &mut workers.hosts[self.operator.host];
        let files = [a.file(), v.file(), out.file()];
        let contender = Contender::Rival(self.operator.name.clone());
        let (input, output) = (Dtype::F32, Dtype::F32);
        let load = Request::Load { m, k, n, slots: 1, input, output, device: None };
        hosted
            .order(&load, &files, LIMIT)
            .and_then(|_| match hosted.ask(&Request::Build { id: 0, contender }, &[], LIMIT)? {
                Reply::Built { .. } => Ok(()),
                other => Err(hosted.misled(&other)),
            })
            .and_then(|()| hosted.order(&Request::Run { id: 0, slots: vec![0] }, &[], LIMIT))
            .map_err(Error::Environment)?;
        y.assign(&out.read(0, (m, n))?);
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        0
    }
}
