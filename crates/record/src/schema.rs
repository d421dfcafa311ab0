//! The JSON Schema of a record, as its types give it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::run::{FORMAT, Record};

/// The JSON Schema (draft 2020-12) of what this version writes. Older records lack fields that it asks for.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Record>();
    schema.insert("title".into(), FORMAT.into());
    schema.to_value()
}
