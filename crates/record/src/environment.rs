//! The machine a run was made on.

use serde::{Deserialize, Serialize};

/// A machine and the tool on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Environment {
    /// Version of the program.
    pub tool_version: String,
    /// SHA-256 of the executable, which says more than a version or a revision can.
    pub tool_sha256: Option<String>,
    /// What the build was told in SPARSE_VERIFY_REVISION. It is never looked up at run time:
    /// the checkout may have moved on since.
    pub git_revision: Option<String>,
    /// The operating system as it names itself.
    pub os: String,
    /// Release of the kernel; `None` where it does not say.
    pub kernel: Option<String>,
    /// Architecture of the processor, such as `x86_64`.
    pub architecture: String,
    /// Model of the processor.
    pub cpu_model: String,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// Bytes of memory; `None` where the system does not say.
    pub memory_bytes: Option<u64>,
    /// All levels that hold data, as seen from one core, the last level whole.
    pub cache_bytes: u64,
    /// The dispatch path in use.
    pub isa: String,
    /// All dispatch paths that this processor can run.
    pub isa_available: Vec<String>,
    /// Whether SHA-256 has instructions of its own.
    pub sha_instructions: bool,
    /// Variables and files by which the loader puts code into every process, this program's own included, such as
    /// `LD_PRELOAD=libx.so`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preloaded: Vec<String>,
    /// Whether this thread rounds to nearest even and keeps subnormals.
    pub float_environment_is_ieee: bool,
}
