//! Strategies: names of what the skip operator leaves out.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The skip operator's way of holding A.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Strategy {
    /// Chosen by the cost model from the measured structure of A.
    #[default]
    Auto,
    /// Nothing is skipped.
    Dense,
    /// Dead rows.
    Rows,
    /// Dead rows and dead columns.
    Columns,
    /// Dead blocks.
    Blocks,
    /// Single elements.
    Csr,
}

impl Strategy {
    /// All.
    pub const ALL: [Strategy; 6] = [
        Strategy::Auto,
        Strategy::Dense,
        Strategy::Rows,
        Strategy::Columns,
        Strategy::Blocks,
        Strategy::Csr,
    ];

    /// The name in manifests and records.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Auto => "auto",
            Strategy::Dense => "dense",
            Strategy::Rows => "rows",
            Strategy::Columns => "columns",
            Strategy::Blocks => "blocks",
            Strategy::Csr => "csr",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
