//! The record of a run: versioned JSON, complete after every case. Everything that is reported
//! is in here; reports are renderings of it and reach no device.

use serde::{Deserialize, Serialize};

use crate::baseline::BaselineRecord;
use crate::baseline::Missing;
use crate::bits::Structure;
use crate::claims::{Claim, JudgedClaim, PublishedInput};
use crate::commitment::After;
use crate::compare::{Accuracy, BoundReport, Difference};
use crate::device::{DeviceInfo, KernelRecord};
use crate::environment::Environment;
use crate::exit::{self, Require};
use crate::manifest::SectionInfo;
use crate::operator::OperatorRecord;
use crate::shard::Shard;
use crate::timings::CaseTimings;
use crate::verdict::{DigestRow, Verdict};
use contract::digest::Digest;

/// The version of the record's format. 2 has devices, and what they say of samples; 3 has what is published, and how
/// it was judged; 4 stores observations from which all else follows, and knows what was asked for and whether the run
/// ended.
pub const FORMAT: &str = "sparse-verify-record/4";
/// Older versions, which are read as observations: what they lack is `not recorded`.
pub const OLD_FORMATS: [&str; 2] = ["sparse-verify-record/2", "sparse-verify-record/3"];

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Record {
    /// [`FORMAT`], or one of [`OLD_FORMATS`].
    #[cfg_attr(feature = "schema", schemars(extend("const" = FORMAT)))]
    pub format: String,
    /// Name and version of the program.
    pub tool: String,
    /// The command line, without the path of the program.
    pub arguments: Vec<String>,
    /// RFC 3339, UTC.
    pub started: String,
    /// The machine; of a record that was joined, that of the first shard.
    pub environment: Environment,
    /// What the run was asked to do.
    pub options: RunOptions,
    /// The operator under test; `None` of our own, and where none was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorRecord>,
    /// The manifests that cases are of.
    pub manifests: Vec<ManifestRecord>,
    /// CUDA devices that cases ran on.
    pub devices: Vec<DeviceRecord>,
    /// The cases that were run, in order.
    pub cases: Vec<CaseRecord>,
    /// Inputs that claims publish digests of, made again.
    #[serde(default)]
    pub published_inputs: Vec<PublishedInput>,
    /// The manifests' claims, judged by all of the above.
    #[serde(default)]
    pub judged: Vec<JudgedClaim>,
    /// What it was joined from; empty for a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardRecord>,
    /// The case that was at work when this was written.
    #[serde(default)]
    pub running: Option<CaseKey>,
    /// How the run ended; `None` of one that goes on, or was cut off.
    #[serde(default)]
    pub ended: Option<End>,
    /// What follows from all of the above; `None` before the end.
    #[serde(default)]
    pub outcome: Option<Outcome>,
}

/// A case by its names in a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CaseKey {
    /// Name of the manifest.
    pub manifest: String,
    /// Id of the case in it.
    pub id: String,
}

/// The outcome of a record: its exit code and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// The exit code.
    pub code: u8,
    /// Cases that were asked for.
    pub asked: usize,
    /// Cases that are in the record.
    pub present: usize,
    /// Cases that are verified or within their bound.
    pub verified: usize,
    /// The first line of every rendering.
    pub headline: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum End {
    /// All that it had to do was done.
    Completed,
    /// Ended by a signal, such as `SIGINT`.
    Interrupted {
        /// The signal's name.
        signal: String,
    },
    /// Joined from an incomplete set of shards.
    Partial {
        /// What is missing, in words.
        missing: String,
    },
    /// Ended by a machine that failed: a full disk, or a death that could not be gone on after.
    Failed {
        /// In words.
        reason: String,
    },
}

/// One shard of a run that was dealt out: where and how it was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShardRecord {
    /// Which shard it is.
    pub shard: Shard,
    /// Threads that it ran with.
    pub threads: usize,
    /// Dispatch path of the CPU's kernels.
    pub isa: String,
    /// Command line.
    pub arguments: Vec<String>,
    /// Start, RFC 3339, UTC.
    pub started: String,
    /// The machine.
    pub environment: Environment,
    /// How its run ended; `None` of one that was cut off, and of one in an older record.
    #[serde(default)]
    pub ended: Option<End>,
}

impl ShardRecord {
    /// Whether its run did all that it had to do.
    pub fn is_complete(&self) -> bool {
        self.ended == Some(End::Completed)
    }

    /// The processor, and how it was used: as a confirmation names it.
    pub fn machine(&self) -> (&str, &str) {
        (&self.isa, &self.environment.cpu_model)
    }
}

/// A device, and the machine code that ran on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceRecord {
    /// What the device is.
    pub device: DeviceInfo,
    /// Kernels that ran on it.
    pub kernels: Vec<KernelRecord>,
}

/// Options of a run. A resumed run has the same as the one it continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunOptions {
    /// Threads of the CPU.
    pub threads: usize,
    /// Dispatch path of the CPU's kernels.
    pub isa: String,
    /// As given; `None` leaves it to each manifest's platform.
    pub device: Option<String>,
    /// An auditor's text; perturbations are drawn from it instead of the seed.
    pub nonce: Option<String>,
    /// Whether times were to be measured.
    pub measure: bool,
    /// Measured on other hardware than the manifests name as well.
    #[serde(default)]
    pub any_platform: bool,
    /// The part of the selected cases that was run; `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The sample of the selected cases that was run; `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleAsked>,
    /// The globs that chose cases; empty where all of the manifests were asked for.
    #[serde(default)]
    pub select: Vec<String>,
    /// Whether sections marked `required: false` count too.
    #[serde(default)]
    pub strict: bool,
    /// What must be shown for exit code 0.
    #[serde(default)]
    pub require: Require,
    /// The outputs that were judged where they were made elsewhere; `None` where an operator was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<OutputsAsked>,
    /// The commitment that the nonce was drawn after, and where it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
}

/// A sample of cases, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SampleAsked {
    /// Cases of each manifest; all of them where there are fewer.
    pub cases: u32,
    /// The text that drew them.
    pub nonce: String,
}

/// Outputs made elsewhere, as they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OutputsAsked {
    /// The folder that came back, or the file of Y, as it was given.
    pub from: String,
    /// Whether the perturbed outputs were asked for too.
    pub perturbed: bool,
    /// Digest of the folder's `challenge.json`; `None` where files were named.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Digest>"))]
    pub challenge_sha256: Option<Digest>,
}

impl OutputsAsked {
    /// The name of the operator in their cases.
    pub fn operator(&self) -> String {
        format!("outputs: {}", self.from)
    }
}

/// An output that came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReturnedOutput {
    /// `y`, `rebuilt` or `shifted`.
    pub name: String,
    /// The file that it was read from, as it was found.
    pub file: String,
}

/// A timing that came back with outputs: somebody's word, which nobody here measured and nothing is judged by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Stated {
    /// Time of one product, in ms.
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// The hardware, in words.
    #[serde(default)]
    pub device: Option<String>,
}

/// One manifest of a run, and what of it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ManifestRecord {
    /// Name: the file's stem.
    pub name: String,
    /// What it is about, in a line.
    pub title: String,
    /// The hardware that its timings are about; `None` for any.
    pub platform: Option<String>,
    /// Digest of the manifest file's bytes.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub sha256: Digest,
    /// Digest of the committed digests' file; `None` where there is none.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Digest>"))]
    pub expected_sha256: Option<Digest>,
    /// All of the manifest's, in its order.
    #[serde(default)]
    pub sections: Vec<SectionInfo>,
    /// All that the manifest publishes.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// Digest of the manifest file that sections and claims are from, where it is not the one that was run.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::stand_in::Digest>"))]
    pub claims_sha256: Option<Digest>,
    /// Ids of the cases that were asked for, in order, those of other shards included.
    #[serde(default)]
    pub selected: Vec<String>,
    /// Ids of `selected` whose section is not required.
    #[serde(default)]
    pub optional: Vec<String>,
    /// Ids of `selected` that are this shard's, or those of the sample; `None` of a run of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dealt: Option<Vec<String>>,
    /// Where the committed digests were found, as it was printed.
    #[serde(default)]
    pub expected_path: Option<String>,
}

impl ManifestRecord {
    /// Ids of the cases that this record should have, in order.
    pub fn own(&self) -> &[String] {
        self.dealt.as_deref().unwrap_or(&self.selected)
    }
}

/// One case: what it is, what was found, what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CaseRecord {
    /// Name of the manifest.
    pub manifest: String,
    /// Id of the case.
    pub id: String,
    /// Section of the manifest.
    pub section: String,
    /// Whether the case counts without `--strict`.
    pub required: bool,
    /// Rows of A and Y.
    pub m: usize,
    /// Columns of A, rows of V.
    pub k: usize,
    /// Columns of V and Y.
    pub n: usize,
    /// Dtype of A and V.
    pub dtype: String,
    /// Dtype of Y.
    pub output: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// Source of A's values, before pruning.
    pub weights: String,
    /// Source of V's values.
    pub activations: String,
    /// Pattern by which A was pruned.
    pub pattern: String,
    /// The percentage asked for; `structure` has what was found.
    pub sparsity_percent: String,
    /// The rule of Y's elements.
    pub arithmetic: String,
    /// `confirmed (<record>)` where hardware was seen to follow the model with chained groups, else `unconfirmed`;
    /// tensor cores only.
    pub model: Option<String>,
    /// What became of the case.
    pub verdict: Verdict,
    /// The device that the operator ran on; `None` for the CPU.
    pub device: Option<String>,
    /// Why, line by line; empty for a case that is verified.
    pub reasons: Vec<String>,
    /// The exit code that the case alone would give.
    pub exit_code: u8,
    /// What kept it from having bits; `None` for a case that has.
    #[serde(default)]
    pub stopped: Option<Stopped>,
    /// `None` for a case that was not run.
    pub bits: Option<BitsRecord>,
    /// `None` where nothing was measured, for `measurement_reason`.
    pub measurement: Option<CaseTimings>,
    /// Why nothing was measured; `None` where something was.
    pub measurement_reason: Option<String>,
    /// The device's libraries: what their outputs are. Empty where none was run.
    pub baselines: Vec<BaselineRecord>,
    /// Libraries that could not be run, with the reason.
    pub baselines_missing: Vec<Missing>,
    /// A timing that came back with outputs made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<Stated>,
    /// What a reader should know of where the weights come from: that a digest was stated by the hub and not compared
    /// with bytes, or that a tensor comes from another file than the manifest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_note: Option<String>,
    /// Seconds that the case took.
    pub seconds: f64,
}

impl CaseRecord {
    /// What the case is, beyond its id.
    pub fn recipe_text(&self) -> String {
        let CaseRecord { m, k, n, seed, weights, activations, .. } = self;
        format!("A {m} x {k} from {weights}, V {k} x {n} from {activations}, seed {seed}")
    }
}

/// The reason, by kind, why a case has no bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// The inputs are outside what can be verified.
    Refused,
    /// The weights cannot be had here.
    Unavailable,
    /// The machine failed: memory, a disk, a device, or the program itself.
    Environment,
    /// The weights are not those that the manifest names.
    OtherWeights,
    /// The operator under test gave no outputs: its process ended, took too long, or said that it could not.
    Operator,
}

impl Stopped {
    /// The exit code that it gives a case.
    pub fn code(self) -> u8 {
        match self {
            Stopped::Refused => exit::BAD_INPUT,
            Stopped::Unavailable | Stopped::Operator => exit::NOT_VERIFIED,
            Stopped::Environment => exit::ENVIRONMENT,
            Stopped::OtherWeights => exit::REFUTED,
        }
    }
}

/// Findings about the bits of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BitsRecord {
    /// Digests beside the committed ones.
    pub digests: Vec<DigestRow>,
    /// First 16 digits of the digest of each row panel of the dense output.
    pub panels_dense: Vec<String>,
    /// The same of the operator's output.
    pub panels_operator: Vec<String>,
    /// Zeros and non-zeros of A as they were found.
    pub structure: Structure,
    /// Name of the operator.
    pub operator: String,
    /// How the operator held A, and why.
    pub plan: String,
    /// Operator against dense reference.
    pub difference: Difference,
    /// Whether operator, dense reference and scalar rule agree with each other.
    pub implementations_agree: bool,
    /// What usually makes outputs differ in this way; `None` where they do not.
    pub likely_cause: Option<String>,
    /// `bounded` only.
    pub bound: Option<BoundReport>,
    /// Elements that were recomputed by the scalar rule.
    pub recomputed: u64,
    /// -0 of the operator's output that became +0.
    pub negative_zeros_operator: u64,
    /// -0 of the dense output that became +0.
    pub negative_zeros_dense: u64,
    /// The largest magnitude of the dense output; `None` in records that did not note it.
    #[serde(default)]
    pub dense_max: Option<f32>,
    /// The largest share that an element of the dense output has of its column's Euclidean norm: what an output of zeros is off by
    /// at most, after columns were divided by their norms. `None` where all are zeros, and in records that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense_share_max: Option<f32>,
    /// Certified bound on every sum of magnitudes: of integers under `exact` and fixed-point, else `None`.
    pub certificate: Option<u64>,
    /// How far the recomputed elements lie from the binary64 sum, where there is a bit contract; `None` in records that did not
    /// note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// What the perturbation test changed, in words.
    pub perturbation: String,
    /// Promises that broke, each in words.
    pub broken: Vec<String>,
    /// Perturbed outputs that left the bound, each in words; `bounded` only.
    #[serde(default)]
    pub out_of_bound: Vec<String>,
    /// Where the committed entry is about another case, in words.
    #[serde(default)]
    pub committed_differs: Option<String>,
    /// The outputs that came back, where they were made elsewhere; empty where an operator was run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned: Vec<ReturnedOutput>,
    /// Names of perturbed outputs that were asked for and did not come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_returned: Vec<String>,
}

impl Record {
    /// Whether the record is of an older version, which lacks observations.
    pub fn is_old(&self) -> bool {
        OLD_FORMATS.contains(&self.format.as_str())
    }

    /// The case of that name.
    pub fn case(&self, manifest: &str, id: &str) -> Option<&CaseRecord> {
        self.cases.iter().find(|case| case.manifest == manifest && case.id == id)
    }
}
