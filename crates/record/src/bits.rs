//! What was found about the bits of a case.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Non-zeros as they are, whatever the label says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Structure {
    pub elements: u64,
    pub nnz: u64,
    pub dead_rows: usize,
    pub dead_columns: usize,
    /// Side of the aligned square blocks counted.
    pub block_size: usize,
    pub blocks: u64,
    pub dead_blocks: u64,
}
