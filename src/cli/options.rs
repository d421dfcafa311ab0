//! Options that several commands share: which cases, what the exit code goes by, how data is printed.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use record::exit::Require;

/// Which cases.
#[derive(Args, Debug, Clone)]
pub struct Selection {
    /// Manifests, or folders of manifests
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Only cases whose id matches (`*` matches any text, `/` included); may be repeated
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
}

/// What the exit code goes by.
#[derive(Args, Debug, Clone)]
pub struct Gate {
    /// What must be shown for exit code 0
    #[arg(long, value_name = "WHAT", value_parser = require(), default_value = "bits")]
    pub require: Require,
    /// Sections marked `required: false` count too
    #[arg(long)]
    pub strict: bool,
}

/// What [`Require`] is called on the command line.
fn require() -> impl TypedValueParser<Value = Require> {
    let help = |require| match require {
        Require::Bits => "Every required case's bits are verified",
        Require::Measurements => "And every required case was measured",
        Require::Claims => {
            "And every published claim was judged and holds by its own rule, attained by our operator or not"
        }
        Require::Isolation => {
            "Every required case's bits, and every layer of isolation around the operator under test"
        }
    };
    let values = Require::ALL.map(|known| PossibleValue::new(known.name()).help(help(known)));
    PossibleValuesParser::new(values).map(|name: String| {
        let known = Require::ALL.into_iter().find(|known| known.name() == name);
        known.unwrap_or_else(|| unreachable!("one of the values above"))
    })
}

/// How data is printed.
#[derive(Args, Debug, Clone)]
pub struct Printed {
    /// As text for people, or as one JSON document whose keys docs/json.md describes
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

impl Printed {
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Forms of printed data.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}
