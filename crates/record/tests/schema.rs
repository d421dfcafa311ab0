//! The committed JSON Schema of a record is what the types give, and records validate by it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sparse_verify_record as record;

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");
const FILE: &str = "schema/record-4.json";

/// A committed record of this format, as its program wrote it.
const WRITTEN: &str = "../../tests/records/h100/rows.json";
/// Committed records of older formats.
const OLD: [&str; 3] = [
    "../../tests/records/cpu/h200.json",
    "../../tests/records/h100/bits.json",
    "../../tests/records/h200/bits.json",
];

fn path(relative: &str) -> PathBuf {
    Path::new(FOLDER).join(relative)
}

fn written() -> Value {
    let text = std::fs::read_to_string(path(WRITTEN)).expect("the record is committed");
    serde_json::from_str(&text).expect("the record is JSON")
}

/// What is wrong with a record by the schema, one line each.
fn faults(record: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(&record::schema()).expect("it is a schema");
    let errors = validator.iter_errors(record);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let schema = record::schema();
    let file = path(FILE);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let pretty = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        std::fs::write(&file, pretty + "\n").expect("the schema can be written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        serde_json::from_str(&committed).is_ok_and(|committed: Value| committed == schema),
        "{FILE} is not what the types give\nhint: UPDATE_GOLDEN=1 writes it anew, for somebody to read in a diff"
    );
}

#[test]
fn a_record_that_was_written_validates() {
    let record = written();
    assert_eq!(record["format"], record::FORMAT);
    assert_eq!(faults(&record), Vec::<String>::new());
}

#[test]
fn old_records_validate_once_they_are_read() {
    for old in OLD {
        let record = record::load(&path(old)).expect("the record is committed");
        let text = record::text::whole(&record);
        let mut value: Value = serde_json::from_str(&text).expect("records are JSON");
        value["format"] = record::FORMAT.into();
        assert_eq!(faults(&value), Vec::<String>::new(), "{old}");
    }
}

#[test]
fn what_is_no_record_does_not_validate() {
    let changes: [(&str, Value); 8] = [
        ("/format", json!("sparse-verify-record/3")),
        ("/options/require", json!("nothing")),
        ("/manifests/0/sha256", json!("8F3C")),
        ("/manifests/0/selected", json!(null)),
        ("/cases/0/m", json!(-1)),
        ("/cases/0/verdict", json!("passed")),
        ("/cases/0/bits/digests/0/got", json!("0".repeat(63))),
        ("/ended/how", json!("well")),
    ];
    for (place, value) in changes {
        let mut record = written();
        *record.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")) = value;
        assert_ne!(faults(&record), Vec::<String>::new(), "{place}");
    }
    let mut record = written();
    record.as_object_mut().expect("a record is an object").remove("cases");
    assert_ne!(faults(&record), Vec::<String>::new(), "without cases");
}
