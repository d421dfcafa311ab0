//! The tool's name and version, in one place.

/// The name in records, expected files and reports.
pub const NAME: &str = "sparse-verify";
/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Name and version, as records and expected files write them.
pub fn tool() -> String {
    format!("{NAME} {VERSION}")
}
