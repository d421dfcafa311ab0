//! Who says what of a run, so that it can be believed or not elsewhere.
//!
//! A [`statement::Statement`] follows from a record's bytes. A [`signature::Signature`] says whose key signed a
//! statement's bytes, [`signers::Signers`] whose key that is, and [`quorum`] how many agree, case by case. A
//! [`commit::Commit`] names an operator and its outputs before a nonce exists. Deliberately absent: files, clocks, the
//! network, certificates, and any opinion on whether a record is true.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod canonical;
pub mod commit;
pub mod quorum;
pub mod signature;
pub mod signers;
pub mod statement;
