//! Any bytes as a manifest: refused with at least one error, or accepted with at least one case.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sparse_verify::manifest;

fuzz_target!(|bytes: &[u8]| match manifest::parse(Path::new("fuzz.yaml"), bytes) {
    Ok(manifest) => assert!(!manifest.cases.is_empty()),
    Err(errors) => assert!(!errors.errors.is_empty() && !errors.to_string().is_empty()),
});
