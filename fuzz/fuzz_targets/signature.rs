//! Any bytes as an armoured signature, as the bytes inside of one, and as a private key: refused, or a signature of nothing that
//! was not signed.
#![no_main]

use attest::signature::{Key, Signature};
use base64::Engine as _;
use libfuzzer_sys::fuzz_target;

/// What nobody signed.
const STATEMENT: &[u8] = b"a statement that no key of the corpus signed\n";

fuzz_target!(|bytes: &[u8]| {
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).expect("Base64 is ASCII"))
        .collect();
    let armoured = format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    );
    for bytes in [bytes, armoured.as_bytes()] {
        if let Ok(signature) = Signature::read(bytes) {
            assert!(signature.verify(STATEMENT).is_err());
        }
    }
    let _ = Key::read(bytes);
});
