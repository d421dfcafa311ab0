//! Any bytes as what a device's tensor cores or a processor's instruction computed: refused with a reason, or replayed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sparse_verify::rules::vectors::{InstructionFile, VectorFile};

fuzz_target!(|bytes: &[u8]| {
    match VectorFile::read(bytes) {
        Ok(file) => {
            assert_eq!(VectorFile::read(file.to_text().as_bytes()), Ok(file.clone()));
            let _ = (file.summary(), file.replay());
        }
        Err(refused) => assert!(!refused.is_empty()),
    }
    match InstructionFile::read(bytes) {
        Ok(file) => {
            assert_eq!(InstructionFile::read(file.to_text().as_bytes()), Ok(file.clone()));
            let _ = (file.summary(), file.replay());
        }
        Err(refused) => assert!(!refused.is_empty()),
    }
});
