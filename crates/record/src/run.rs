//! The record of a run: versioned JSON, complete after every case. Everything that is reported
//! is in here; reports are renderings of it and reach no device.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::baseline::BaselineRecord;
use crate::baseline::Missing;
use crate::bits::Structure;
use crate::claims::{Claim, JudgedClaim, PublishedInput};
use crate::compare::{BoundReport, Difference};
use crate::device::{DeviceInfo, KernelRecord};
use crate::environment::Environment;
use crate::manifest::SectionInfo;
use crate::shard::Shard;
use crate::timings::CaseTimings;
use crate::verdict::{DigestRow, Verdict};
use contract::digest::Digest;

/// The version of the record's format. 2 has devices, and what they say of samples; 3 has what is published, and how
/// it was judged.
pub const FORMAT: &str = "sparse-verify-record/3";
/// Versions that are read: what 2 lacks is empty.
const READ: [&str; 2] = ["sparse-verify-record/2", FORMAT];

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub format: String,
    pub tool: String,
    /// The command line, without the path of the program.
    pub arguments: Vec<String>,
    /// RFC 3339, UTC.
    pub started: String,
    /// The machine; of a record that was joined, that of the first shard.
    pub environment: Environment,
    pub options: RunOptions,
    pub manifests: Vec<ManifestRecord>,
    /// CUDA devices that cases ran on.
    pub devices: Vec<DeviceRecord>,
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
}

/// One shard of a run that was dealt out: where and how it was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    pub shard: Shard,
    pub threads: usize,
    pub isa: String,
    pub arguments: Vec<String>,
    pub started: String,
    pub environment: Environment,
}

impl ShardRecord {
    /// The processor, and how it was used: as a confirmation names it.
    pub fn machine(&self) -> (&str, &str) {
        (&self.isa, &self.environment.cpu_model)
    }
}

/// A device, and the machine code that ran on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    pub device: DeviceInfo,
    pub kernels: Vec<KernelRecord>,
}

/// What a resumed run must have in common with the one it continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOptions {
    pub threads: usize,
    pub isa: String,
    /// As given; `None` leaves it to each manifest's platform.
    pub device: Option<String>,
    pub nonce: Option<String>,
    pub measure: bool,
    /// Measured on other hardware than the manifests name as well.
    #[serde(default)]
    pub any_platform: bool,
    /// The part of the selected cases that was run; `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestRecord {
    pub name: String,
    pub title: String,
    pub platform: Option<String>,
    /// Of the manifest file's bytes.
    pub sha256: Digest,
    /// Of the committed digests' file; `None` where there is none.
    pub expected_sha256: Option<Digest>,
    /// All of the manifest's, in its order.
    #[serde(default)]
    pub sections: Vec<SectionInfo>,
    /// All that the manifest publishes.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// Of the manifest file that sections and claims are of, where it is not the one that was run.
    #[serde(default)]
    pub claims_sha256: Option<Digest>,
    /// Ids of the cases that were asked for, in order, those of other shards included.
    #[serde(default)]
    pub selected: Vec<String>,
}

/// One case: what it is, what was found, what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseRecord {
    pub manifest: String,
    pub id: String,
    pub section: String,
    pub required: bool,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub dtype: String,
    pub output: String,
    pub seed: u64,
    pub weights: String,
    pub activations: String,
    pub pattern: String,
    /// The percentage asked for; `structure` has what was found.
    pub sparsity_percent: String,
    pub arithmetic: String,
    /// `confirmed (<record>)` where hardware was seen to follow the model with chained groups, else `unconfirmed`;
    /// tensor cores only.
    pub model: Option<String>,
    pub verdict: Verdict,
    /// The device that the operator ran on; `None` for the CPU.
    pub device: Option<String>,
    /// Why, line by line; empty for a case that is verified.
    pub reasons: Vec<String>,
    /// The exit code that the case alone would give.
    pub exit_code: u8,
    /// `None` for a case that was not run.
    pub bits: Option<BitsRecord>,
    /// `None` where nothing was measured, for `measurement_reason`.
    pub measurement: Option<CaseTimings>,
    pub measurement_reason: Option<String>,
    /// The device's libraries: what their outputs are. Empty where none was run.
    pub baselines: Vec<BaselineRecord>,
    /// Those that could not be run, with the reason.
    pub baselines_missing: Vec<Missing>,
    pub seconds: f64,
}

impl CaseRecord {
    /// What the case is, beyond its id.
    pub fn recipe_text(&self) -> String {
        let CaseRecord { m, k, n, seed, weights, activations, .. } = self;
        format!("A {m} x {k} from {weights}, V {k} x {n} from {activations}, seed {seed}")
    }
}

/// What was found about the bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BitsRecord {
    pub digests: Vec<DigestRow>,
    pub panels_dense: Vec<String>,
    pub panels_operator: Vec<String>,
    pub structure: Structure,
    pub operator: String,
    pub plan: String,
    /// Operator against dense reference.
    pub difference: Difference,
    pub implementations_agree: bool,
    pub likely_cause: Option<String>,
    /// `bounded` only.
    pub bound: Option<BoundReport>,
    pub recomputed: u64,
    pub negative_zeros_operator: u64,
    pub negative_zeros_dense: u64,
    /// The largest magnitude of the dense output; `None` in records that did not note it.
    #[serde(default)]
    pub dense_max: Option<f32>,
    pub certificate: Option<u64>,
    pub perturbation: String,
    /// Promises that broke, each in words.
    pub broken: Vec<String>,
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("failed to {verb} the record {path}: {error}")]
    Io { verb: &'static str, path: String, error: std::io::Error },
    #[error("{path} is not a record: {message}")]
    Malformed { path: String, message: String },
}

impl Record {
    pub fn load(path: &Path) -> Result<Record, RecordError> {
        let name = || path.display().to_string();
        let text = std::fs::read(path).map_err(|error| RecordError::Io {
            verb: "read",
            path: name(),
            error,
        })?;
        let malformed = |message| RecordError::Malformed { path: name(), message };
        // The version first, so that a newer record is not called malformed.
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        match value.get("format").and_then(|format| format.as_str()) {
            Some(known) if READ.contains(&known) => {}
            Some(other) => {
                return Err(malformed(format!("its format is `{other}`, expected `{FORMAT}`")));
            }
            None => return Err(malformed("it has no `format`".into())),
        }
        serde_json::from_value(value).map_err(|error| malformed(error.to_string()))
    }

    /// Judges the claims by what is in the record now.
    pub fn judge(&mut self) {
        self.judged = crate::judge::judge(self);
    }

    pub fn case(&self, manifest: &str, id: &str) -> Option<&CaseRecord> {
        self.cases.iter().find(|case| case.manifest == manifest && case.id == id)
    }
}
