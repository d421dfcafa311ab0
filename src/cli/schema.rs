//! `verify schema`: the JSON Schemas of the files that people write and read. They are committed as text, so that the program
//! needs nothing that makes them; tests hold them to what is accepted.

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::failure::Failure;
use crate::output::print;
use record::exit::VERIFIED;

#[derive(Args, Debug, Clone)]
pub struct SchemaArgs {
    #[arg(value_name = "KIND", value_parser = PossibleValuesParser::new(SCHEMAS.map(|(kind, _)| kind)))]
    pub kind: String,
}

/// Kinds of files, and the schema of each.
pub const SCHEMAS: [(&str, &str); 4] = [
    ("manifest", include_str!("../../schemas/manifest.json")),
    ("operator", include_str!("../../schemas/operator.json")),
    ("expected", include_str!("../../schemas/expected.json")),
    ("record", record::SCHEMA),
];

pub fn run(args: &SchemaArgs) -> Result<u8, Failure> {
    let known = SCHEMAS.iter().find(|(kind, _)| *kind == args.kind);
    let (_, text) = known.unwrap_or_else(|| unreachable!("one of the values of the argument"));
    print(text);
    Ok(VERIFIED)
}
