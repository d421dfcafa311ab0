//! The judge's requests to a worker, and the worker's replies.

use serde::{Deserialize, Serialize};

use contract::arithmetic::Arithmetic;
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use record::baseline::{Kind, Missing};
use record::device::{DeviceInfo, KernelRecord};
use record::timings::Sample;

use crate::baseline::cuda::DeviceRival;

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
    /// Anything else that only a worker with a device does.
    Device(DeviceRequest),
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
    /// The request could not be done; the worker goes on. `refused`: it is outside of what can be done, whatever the
    /// machine.
    Failed {
        reason: String,
        refused: bool,
    },
    Device(DeviceReply),
}

/// What is asked of a worker with a device.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviceRequest {
    /// The names of all devices, without opening any.
    Names,
    /// Opens one: before anything below.
    Open { ordinal: usize },
    /// The kernels that ran on it.
    Kernels,
    /// The vendor's libraries for cases like this.
    Rivals { dtype: Dtype, output: Dtype, arithmetic: Arithmetic },
    /// Y = A V once, of the three files beside the message: A is m x k, V is k x n, Y is m x n.
    Apply { m: usize, k: usize, n: usize, contender: DeviceContender },
    /// Takes A, V's and Y's in, the three files beside the message, and drops those from before. A is m x k; of V
    /// (k x n) and Y (m x n) there are `slots` each.
    Load { m: usize, k: usize, n: usize, slots: usize },
    /// Drops what was loaded.
    Unload,
    /// Builds a contender from A.
    Build { contender: DeviceContender },
    /// Drops what was built of that name.
    Drop { name: String },
    /// Makes the V of a slot what the next calls multiply.
    Take { slot: u32 },
    /// Makes every element of Y a NaN.
    Poison,
    /// Times calls back to back.
    Sample { name: String, calls: usize },
    /// Makes calls.
    Run { name: String, calls: usize },
    /// Writes Y as the contender's calls left it to a slot; only these rows, one after the other, where some are named.
    Output { name: String, slot: u32, rows: Option<Vec<u32>> },
    /// Applies what was built of that name, where it was, to the V of a slot, and writes Y to that of a slot. Gives back
    /// the memory of timed calls.
    ApplyBuilt { name: String, slot: u32 },
    /// Leaves nothing of A, V and Y in the device's L2.
    Flush,
    /// The counter of the device's energy.
    Energy,
    /// Elements `first`, `first + 1`, ... of a normal tensor as PyTorch draws it, into the file beside the message.
    Normal { seed: u64, first_call: u64, threads: u32, first: usize, count: usize },
}

/// Who is to be built on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceContender {
    /// Our own operator, as a case asks for it.
    Own { arithmetic: Arithmetic, dtype: Dtype, output: Dtype, strategy: Strategy },
    /// A rival of the last [`DeviceRequest::Rivals`], by name.
    Rival(String),
}

/// Answers to [`DeviceRequest`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviceReply {
    Names(Vec<String>),
    Opened {
        info: DeviceInfo,
        capability: (i32, i32),
        energy: Result<String, String>,
    },
    Kernels(Vec<KernelRecord>),
    Rivals {
        rivals: Vec<DeviceRival>,
        missing: Vec<Missing>,
    },
    Applied {
        strategy: Strategy,
        reason: String,
        bytes_held: usize,
    },
    Sampled(Sample),
    /// Microjoules.
    Energy(u64),
    /// Nothing was built.
    NotBuilt,
}
