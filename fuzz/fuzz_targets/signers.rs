//! Any bytes as a file of allowed signers: refused with its line, or read.
#![no_main]

use attest::signers::Signers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(bad) = Signers::read(bytes) {
        assert!(bad.line >= 1 && !bad.what.is_empty());
    }
});
