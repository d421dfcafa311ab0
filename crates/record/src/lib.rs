//! What was seen in a run, and what follows from it.
//!
//! A record stores observations: digests, samples, bounds. Verdicts, statistics, words of claims and exit codes follow
//! from them by functions of this crate, and every reader derives them anew. Deliberately absent: devices, clocks,
//! the network, and any way to run a case.
//!
//! A word that a record's own observations do not give is refused:
//!
//! ```
//! use sparse_verify_record as record;
//!
//! let written = include_str!("../../../tests/records/h100/rows.json");
//! let read = record::parse(written.as_bytes(), "rows.json")?;
//! let outcome = read.outcome.as_ref().expect("the run ended");
//! assert_eq!(*outcome, record::outcome::of(&read));
//! assert_eq!(outcome.code, record::exit::VERIFIED);
//!
//! let forged = written.replacen("\"verdict\":\"verified\"", "\"verdict\":\"mismatch\"", 1);
//! let refused = record::parse(forged.as_bytes(), "rows.json").expect_err("its digests are equal");
//! assert!(refused.to_string().contains("rows.json contradicts itself"));
//! # Ok::<(), record::RecordError>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod baseline;
pub mod bits;
pub mod claims;
pub mod commitment;
pub mod compare;
pub mod derive;
pub mod device;
pub mod environment;
pub mod exit;
pub mod expected;
pub mod judge;
pub mod manifest;
pub mod merge;
pub mod moment;
pub mod numbers;
pub mod operator;
pub mod outcome;
mod read;
pub mod report;
mod run;
pub mod sample;
#[cfg(feature = "schema")]
mod schema;
pub mod shard;
pub mod shared;
#[cfg(feature = "schema")]
mod stand_in;
pub mod text;
pub mod timings;
pub mod tool;
pub mod verdict;

/// The JSON Schema of a record, as it is committed; [`FORMAT`] is its title.
pub const SCHEMA: &str = include_str!("../schema/record-4.json");

pub use read::{RecordError, load, parse};
pub use run::{
    BitsRecord, CaseKey, CaseRecord, DeviceRecord, End, FORMAT, ManifestRecord, OLD_FORMATS,
    Outcome, OutputsAsked, Record, ReturnedOutput, RunOptions, SampleAsked, ShardRecord, Stated,
    Stopped,
};
#[cfg(feature = "schema")]
pub use schema::schema;
