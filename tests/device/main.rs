//! Kernels and libraries of a CUDA device; visibly not run where there is none. One binary, to be carried there.

mod cuda_baselines;
mod cuda_live;
mod cuda_operator;
mod cuda_published;
mod cuda_vectors;
mod kernels;
mod stack;
mod timed_call;

use std::io::Write as _;
use std::sync::Arc;

use sparse_verify::backend::cuda::Device;

/// The first device, or why there is none: past the test's captured output, so that it shows.
fn device() -> Option<Arc<Device>> {
    match Device::open(0) {
        Ok(device) => Some(device),
        Err(error) => {
            let reason = error.to_string().replace('\n', "; ");
            let _ = writeln!(std::io::stderr(), "not run: {reason}");
            None
        }
    }
}
