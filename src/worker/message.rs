//! The judge's requests to a worker, and the worker's replies.

use serde::{Deserialize, Serialize};

use contract::arithmetic::Arithmetic;
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use record::baseline::{Kind, Missing};

/// Version of the protocol. Both sides are one executable, so that another version is another program.
pub const VERSION: u32 = 1;

/// A rival that a worker has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    pub name: String,
    pub kind: Kind,
    /// The library's name, such as `OpenBLAS`.
    pub library: String,
    /// The version as the library states it.
    pub version: String,
}

/// A contender that is to be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// Our own operator, as a case asks for it.
    Own { arithmetic: Arithmetic, output: Dtype, strategy: Strategy, isa: String },
    /// A rival, by name.
    Rival(String),
}

/// A request of the judge. Each has one reply.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The first message: opens the library of the worker's host, for calls of so many threads.
    Open { version: u32, threads: usize },
    /// Maps A, the V's and the Y's, the three files beside the message, and drops the case before. A is m x k; there
    /// are `slots` V's (k x n) and `slots` Y's (m x n), all f32 and row-major.
    Load { m: usize, k: usize, n: usize, slots: usize },
    /// Builds a contender from A, which later requests name by `id`. A contender that has this `id` is dropped first.
    Build { id: u32, contender: Contender },
    /// Applies a built contender to the V of each slot, in this order, and writes all of that slot's Y.
    Run { id: u32, slots: Vec<u32> },
    /// The same without a product: its time is that of the way to a worker and back.
    Nothing { slots: Vec<u32> },
    /// Drops a built contender.
    Drop { id: u32 },
    /// Empties caches of so many bytes.
    Flush { bytes: u64 },
}

/// A reply of a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// The library was opened, or is missing.
    Opened { rivals: Vec<Rival>, missing: Vec<Missing> },
    /// The contender was built: how it holds A, and bytes that it keeps between calls.
    Built { plan: String, bytes_held: usize },
    /// The request was done; `changes` of the float environment were found after it and undone.
    Done { changes: u64 },
    /// The request could not be done; the worker goes on.
    Failed { reason: String },
}
