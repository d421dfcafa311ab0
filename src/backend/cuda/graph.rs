//! Launches recorded once and repeated as a whole.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::device::Device;
use super::error::{Call, CudaError};

/// A captured sequence of launches. What they were given must outlive it.
pub struct Graph {
    device: Arc<Device>,
    graph: sys::CUgraph,
    executable: sys::CUgraphExec,
}

// SAFETY: handles are used under the device's context, which each use makes current, by one thread at a time: a graph is no
// `Sync`.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `launch` gives to the device's stream. It must neither allocate nor wait.
    pub fn capture(
        device: &Arc<Device>,
        launch: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<Graph, String> {
        let failed = |error: CudaError| error.to_string();
        let stream = device.stream().map_err(failed)?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is the device's; capture ends below whatever happens.
        unsafe { result::stream::begin_capture(stream, mode) }
            .call("cuStreamBeginCapture", String::new)
            .map_err(failed)?;
        let launched = launch();
        // SAFETY: capture was begun above.
        let graph =
            unsafe { result::stream::end_capture(stream) }.call("cuStreamEndCapture", String::new);
        launched?;
        let graph = graph.map_err(failed)?;
        let mut executable = std::ptr::null_mut();
        // SAFETY: the graph was just made.
        unsafe { sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0) }
            .result()
            .call("cuGraphInstantiate", String::new)
            .map_err(failed)?;
        Ok(Graph { device: device.clone(), graph, executable })
    }

    /// Gives the whole sequence to the stream.
    pub fn launch(&self) -> Result<(), CudaError> {
        let stream = self.device.stream()?;
        // SAFETY: instantiated in `capture`; what it refers to is alive, as the maker promised.
        unsafe { result::graph::launch(self.executable, stream) }.call("cuGraphLaunch", String::new)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.device.synchronize().is_ok() {
            // SAFETY: made in `capture`, ended once. A failure leaves nothing to be done.
            unsafe {
                let _ = result::graph::exec_destroy(self.executable);
                let _ = result::graph::destroy(self.graph);
            }
        }
    }
}
