//! The judge's requests to a worker, and the worker's replies.

use serde::{Deserialize, Serialize};

use contract::arithmetic::Arithmetic;
use contract::dtype::Dtype;
use contract::stack::Stack;
use contract::strategy::Strategy;
use record::baseline::{Kind, Missing};
use record::device::{DeviceInfo, KernelRecord, State};
use record::operator::Layer;

use super::serve_stranger::Opening;
use crate::backend::cuda::Layout;
use crate::baseline::cuda::{DeadRows, DeviceRival};

/// Version of the protocol. Both sides are one executable, so that another version is another program.
pub const VERSION: u32 = 5;

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
    /// The embedded dense library on one expert at a time, for a stack of experts of so many rows.
    Grouped { rows: usize },
}

/// A request of the judge. Each has one reply.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The first message: opens the library of the worker's host, for calls of so many threads.
    Open { version: u32, threads: usize },
    /// The first message to a stranger's process. It has two replies: [`Reply::Isolated`], and then [`Reply::Opened`].
    OpenStranger(Opening),
    /// Anything else that only a worker with a device does.
    Device(DeviceRequest),
    /// Maps A, the V's and the Y's, the three files beside the message, and drops the case before. A is m x k; there
    /// are `slots` V's (k x n) and `slots` Y's (m x n), all row-major; A and V are of dtype `input`, Y is of `output`. Only
    /// strangers are given others than f32.
    Load {
        m: usize,
        k: usize,
        n: usize,
        slots: usize,
        input: Dtype,
        output: Dtype,
        /// Where the matrices lie instead, and no file comes with the message: strangers' alone.
        device: Option<Lent>,
    },
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
    /// The walls of a stranger's process, before anything foreign is there.
    Isolated {
        layers: Vec<Layer>,
    },
    Device(DeviceReply),
}

/// What is asked of a worker with a device.
///
/// A case has one owner and a borrower: the custodian takes device memory for the V's and Y's of calls, and the process of
/// the vendor's libraries opens it. A *slot* is a V and a Y. What lies in a slot is the contender's form of V and Y.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviceRequest {
    /// The names of all devices, without opening any.
    Names,
    /// Opens one: before anything below.
    Open { ordinal: usize },
    /// Waits until everything is done on it. After some errors of a kernel a process can do nothing more with a device.
    Ready,
    /// The kernels that ran on it.
    Kernels,
    /// The vendor's libraries for cases like this; where A is a stack of experts, with the rows of one.
    Rivals { dtype: Dtype, output: Dtype, arithmetic: Arithmetic, dead: DeadRows },
    /// Y = A V once for each V of a number, by the same build, of the files beside the message: A is m x k, then there are
    /// as many V's, k x n, as numbers, and as many Y's, m x n. The V of a number is always the same.
    Apply { shape: [usize; 3], v_numbers: Vec<u64>, contender: DeviceContender },
    /// Takes memory for the slots of a case. The three files beside the message are A (m x k), one V (k x n) and one Y
    /// (`y_len` elements). `guard` stands in the bands between Y's. Where a whole stack is multiplied, A is the A's of all
    /// layers one behind the other, V the input and Y the output of the last layer.
    Load {
        shape: [usize; 3],
        slots: usize,
        y_len: usize,
        guard: u32,
        drawing: Drawing,
        stack: Option<Stacked>,
    },
    /// Opens the slots that another process has; the file beside the message is A.
    Borrow { shape: [usize; 3], slots: usize, handles: Handles, stack: Option<Stacked> },
    /// Drops, or gives back, what was loaded or borrowed.
    Unload,
    /// Builds a contender from A.
    Build { contender: DeviceContender },
    /// Drops what was built of that name.
    Drop { name: String },
    /// Draws tensors `first`, `first + 1`, ... of the case's stream into the V's of these slots, and makes every element of
    /// their Y's a NaN.
    Draw { form: Form, slots: Vec<u32>, first: u64 },
    /// Copies the V beside the message [`DeviceRequest::Load`] to a slot's, and makes every element of its Y a NaN. The V of a
    /// number is always the same, and is kept on the device for the next time.
    Put { form: Form, slot: u32, number: Option<u64> },
    /// Looks for elements of V's that are not those of [`DeviceRequest::Draw`], and for bands that were written.
    Inspect { form: Form, slots: Vec<u32>, first: u64 },
    /// Copies the elements of blocks to the Y beside the message [`DeviceRequest::Load`], one block behind the other.
    Gather { form: Form, blocks: Vec<Block> },
    /// The same for the first `rows` rows of a Y.
    Whole { form: Form, slot: u32, rows: usize },
    /// Takes memory for A's elements of this dtype, row-major, which another process may open; the next time it writes them
    /// anew. For the owner of the slots.
    ShareA { dtype: Dtype },
    /// Looks for elements of that memory that are not A's.
    InspectA,
    /// Begins to watch whether other processes get the device, and answers once that runs.
    Watch,
    /// The longest time of a watch for which others had the device; with `ends`, that was the watch.
    Watched { ends: bool },
    /// Gives the device a kernel that does nothing, and waits for it.
    Touch,
    /// Bytes of the device's memory that nobody has.
    FreeMemory,
    /// Queues calls, one for each slot, that begin when [`DeviceRequest::Release`] comes; without a name, calls that do
    /// nothing.
    Hold { name: Option<String>, slots: Vec<u32> },
    /// Lets the queued calls begin, and answers when everything is done.
    Release,
    /// Makes calls, one for each slot, and answers when all are done.
    Run { name: String, slots: Vec<u32> },
    /// Leaves nothing of A, V and Y in the device's L2.
    Flush,
    /// Clocks, power and temperature now.
    State,
    /// The counter of the device's energy.
    Energy,
    /// Elements `first`, `first + 1`, ... of a normal tensor as PyTorch draws it, into the file beside the message.
    Normal { seed: u64, first_call: u64, threads: u32, first: usize, count: usize },
}

/// A stack whose layers are multiplied in one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stacked {
    pub layers: Stack,
    /// What V's are rounded to.
    pub dtype: Dtype,
}

/// The stream from which V's are drawn (VERIFY.md sections 1 and 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Drawing {
    /// Eight words of the key, little-endian.
    pub key: [u32; 8],
    /// The name in manifests.
    pub values: String,
    pub dtype: Dtype,
}

/// How a contender wants V, and leaves Y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Form {
    pub input: Dtype,
    pub output: Dtype,
    /// Of V and of Y.
    pub layout: Layout,
    /// Y's first rows are those of A's live rows, in order, and there are no others.
    pub live_rows_only: bool,
}

/// Elements of a slot: where these rows (`u32::MAX`: zeros) and columns of Y meet, and behind them these columns of V.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    pub slot: u32,
    pub rows: Vec<u32>,
    pub columns: Vec<u32>,
}

impl Block {
    /// Elements of Y and of a V of k rows together, or `usize::MAX` where they cannot be counted.
    pub fn len(&self, k: usize) -> usize {
        self.rows.len().saturating_add(k).saturating_mul(self.columns.len())
    }
}

/// What the memory of a case is opened by, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Handles {
    pub v: String,
    pub y: String,
}

/// Memory of a device that its custodian lends to an operator under test. A is m x k. Slots of V's (k x n) and Y's (m x n)
/// are so many bytes apart, and Y's begin at `y_first`. Rows lie one behind the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lent {
    pub a: String,
    pub slots: Handles,
    pub places: Places,
}

/// Where slots lie, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    pub v_apart: usize,
    pub y_apart: usize,
    pub y_first: usize,
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
    Loaded(Handles),
    Built {
        strategy: Strategy,
        reason: String,
        bytes_held: usize,
        form: Form,
    },
    /// Elements of V's that are not what was drawn, and whether a band was written.
    Inspected {
        differing: u32,
        beside: bool,
    },
    /// What another process opens A's memory by.
    SharedA(String),
    /// Nanoseconds; `None` where nothing is watched.
    Watched(Option<u32>),
    /// Bytes.
    FreeMemory(u64),
    /// Nanoseconds of the calls by the device's clock.
    Released(f64),
    State(Option<State>),
    /// Microjoules.
    Energy(u64),
    /// It was done, and there is nothing to say.
    Done,
}
