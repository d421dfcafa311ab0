//! Any bytes as a whole safetensors file: what is accepted, the format's own crate accepts too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sparse_verify::weights::parse_header;

fuzz_target!(|bytes: &[u8]| {
    if parse_header(bytes, bytes.len() as u64).is_ok() {
        let metadata = safetensors::SafeTensors::read_metadata(bytes);
        assert!(metadata.is_ok(), "{metadata:?}");
    }
});
