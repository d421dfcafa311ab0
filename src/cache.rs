//! The folder of what can be made or fetched again: compiled kernels, extracts of weights.

use std::path::PathBuf;

/// `SPARSE_VERIFY_CACHE`, or a folder in the user's cache folder; `None` where there is no home.
pub fn folder() -> Option<PathBuf> {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("SPARSE_VERIFY_CACHE").or_else(|| {
        let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
        Some(base.join("sparse-verify"))
    })
}
