//! Why nothing was computed: the request, or the machine.

/// Why something could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is outside what this implementation does.
    #[error("{0}")]
    Unsupported(String),
    /// The machine failed: memory, a library, a device.
    #[error("{0}")]
    Environment(String),
}
