//! Any bytes as digests of row panels: refused with a place, or written again as they were.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sparse_verify::expected::panels::Panels;

fuzz_target!(|bytes: &[u8]| match Panels::parse(bytes) {
    Ok(panels) => assert_eq!(panels.to_bytes(), bytes),
    Err(error) => assert!(error.starts_with("byte ")),
});
