//! What a record amounts to, derived from its observations: nothing that it says of itself is believed.
//!
//! `cargo run --release --example outcome -- RECORD...`; exits with the worst code of the records.

use std::path::Path;
use std::process::ExitCode;

use record::exit;

fn main() -> ExitCode {
    let code = std::env::args().skip(1).fold(exit::VERIFIED, |code, path| {
        let own = match record::load(Path::new(&path)) {
            Ok(record) => {
                let outcome = record::outcome::of(&record);
                println!("{path}: {}", outcome.headline);
                let claims = record.judged.iter().map(|claim| (&claim.id, claim.word.name()));
                claims.for_each(|(id, word)| println!("  claim {id}: {word}"));
                outcome.code
            }
            Err(error) => {
                eprintln!("{error}");
                exit::BAD_INPUT
            }
        };
        exit::worse(code, own)
    });
    ExitCode::from(code)
}
