//! What the judge asks of a worker, and what it answers.

use serde::{Deserialize, Serialize};

use contract::arithmetic::Arithmetic;
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use record::baseline::{Kind, Missing};

/// The protocol's version. Both sides are one program, so that another version is another program.
pub const VERSION: u32 = 1;

/// A rival that a worker has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    pub name: String,
    pub kind: Kind,
    /// The library's name, such as `OpenBLAS`.
    pub library: String,
    /// What the library says of itself.
    pub version: String,
}

/// Who is to be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// Our own operator, as a case asks for it.
    Own { arithmetic: Arithmetic, output: Dtype, strategy: Strategy, isa: String },
    /// A rival, by name.
    Rival(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The first message: opens what the worker is for.
    Open { version: u32, threads: usize },
    /// Takes A, V's and Y's in, the three files beside the message, and drops those from before. A is m x k; of V
    /// (k x n) and Y (m x n) there are `slots` each.
    Load { m: usize, k: usize, n: usize, slots: usize },
    /// Builds a contender from A in the place of `id`.
    Build { id: u32, contender: Contender },
    /// Applies what was built to the V of each slot, in this order, and writes all of that slot's Y.
    Run { id: u32, slots: Vec<u32> },
    /// The same without applying anything: what the way to a worker and back takes.
    Nothing { slots: Vec<u32> },
    /// Drops what was built.
    Drop { id: u32 },
    /// Leaves nothing in caches of so many bytes.
    Flush { bytes: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    Opened {
        rivals: Vec<Rival>,
        missing: Vec<Missing>,
    },
    Built {
        plan: String,
        bytes_held: usize,
    },
    /// `changes` of the float environment were found and undone.
    Done {
        changes: u64,
    },
    /// The request could not be done; the worker goes on.
    Failed {
        reason: String,
    },
}
