//! The program end to end: commands, records, reports, exit codes; one binary, so that it is linked once.

#[path = "../common/mod.rs"]
mod common;
#[path = "../files/mod.rs"]
mod files;
#[path = "../hub_server/mod.rs"]
mod hub_server;

mod attest;
mod carried;
mod checkpoints;
mod ci_examples;
mod claims;
mod commit;
mod data;
mod device_records;
mod devices;
#[cfg(target_os = "linux")]
mod ends;
mod exit_codes;
mod forged;
mod hub_program;
mod hub_python;
#[cfg(target_os = "linux")]
mod interrupted;
mod junit;
mod lint;
#[cfg(target_os = "linux")]
mod memory;
mod minilm;
mod newcomer;
#[cfg(target_os = "linux")]
mod operators;
#[cfg(target_os = "linux")]
mod operators_page;
mod outputs;
mod page;
mod passphrase;
mod pin_record;
mod predict;
mod published;
mod records;
mod report;
mod report_browser;
mod resume;
mod sample;
mod shard;
mod spot;
#[cfg(target_os = "linux")]
mod suite_2025;
mod terminal;
mod tolerance;
mod words;
#[cfg(target_os = "linux")]
mod workers;
#[cfg(target_os = "linux")]
mod zoo;
