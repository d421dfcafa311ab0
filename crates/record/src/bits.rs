//! What was found about the bits of a case.

use serde::{Deserialize, Serialize};

/// Non-zeros as they are, whatever the label says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Structure {
    /// Elements of A.
    pub elements: u64,
    /// Elements that are not zero.
    pub nnz: u64,
    /// Rows without a non-zero.
    pub dead_rows: usize,
    /// Columns without a non-zero.
    pub dead_columns: usize,
    /// Side of the aligned square blocks counted.
    pub block_size: usize,
    /// Blocks, those at the borders included.
    pub blocks: u64,
    /// Blocks without a non-zero.
    pub dead_blocks: u64,
}
