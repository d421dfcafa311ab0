//! Any bytes as a statement, or as a commitment: refused with a reason, or written back to the very bytes.
#![no_main]

use attest::commit::Commit;
use attest::statement::Statement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Statement::read(bytes) {
        Ok(statement) => assert_eq!(statement.text().as_bytes(), bytes),
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
    match Commit::read(bytes) {
        Ok(commit) => assert_eq!(commit.text().as_bytes(), bytes),
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
});
