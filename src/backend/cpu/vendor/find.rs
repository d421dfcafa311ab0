//! Where a vendor library is looked for.

use std::env;
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::backend::cpu::reset_float_environment;

/// A library's names and the variable that points at it.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Environment variable that names the library's file or its folder.
    pub variable: &'static str,
    /// File names to try, the best first.
    pub file_names: &'static [&'static str],
}

impl Search {
    /// Opens the library that the variable names or, if it is not set, the first that the
    /// system's loader finds. Returns the library and where it is.
    ///
    /// A variable that points at nothing usable is an error: what was asked for by name is
    /// never replaced by something else.
    pub fn open(&self) -> Result<(Library, PathBuf), String> {
        self.open_named(env::var_os(self.variable).filter(|path| !path.is_empty()).map(Into::into))
    }

    fn open_named(&self, named: Option<PathBuf>) -> Result<(Library, PathBuf), String> {
        let candidates = match &named {
            None => self.file_names.iter().map(PathBuf::from).collect(),
            Some(path) if path.is_dir() => self.in_folder(path),
            Some(path) => vec![path.clone()],
        };
        let mut refusals = Vec::new();
        for path in &candidates {
            match open(path) {
                Ok(library) => return Ok((library, resolved(path))),
                Err(reason) if path.exists() => refusals.push(reason),
                Err(_) => {}
            }
        }
        let looked_for = match &named {
            Some(path) => format!("{} (from {})", path.display(), self.variable),
            None => format!(
                "{} in the loader's paths; {} is not set",
                self.file_names.join(", "),
                self.variable
            ),
        };
        let refusals = refusals.iter().map(|r| format!("; {r}")).collect::<String>();
        Err(format!("not installed: looked for {looked_for}{refusals}"))
    }

    fn in_folder(&self, folder: &Path) -> Vec<PathBuf> {
        [folder.to_path_buf(), folder.join("lib")]
            .iter()
            .flat_map(|folder| self.file_names.iter().map(|name| folder.join(name)))
            .filter(|path| path.exists())
            .collect()
    }
}

/// Opens one library and restores the floating-point environment that its constructors may
/// have changed.
pub(super) fn open(path: &Path) -> Result<Library, String> {
    // SAFETY: runs the library's constructors. They are the vendor's own, of a file that the
    // user or the system's loader configuration names; what they are known to change, the
    // floating-point environment, is reset below.
    let library = unsafe { Library::new(path) };
    reset_float_environment();
    library.map_err(|error| error.to_string())
}

/// The full path of a library that was opened by its bare name, as far as the system tells.
fn resolved(path: &Path) -> PathBuf {
    if path.is_absolute() {
        return path.to_path_buf();
    }
    let stem = path.to_string_lossy();
    std::fs::read_to_string("/proc/self/maps")
        .ok()
        .and_then(|maps| {
            maps.lines()
                .filter_map(|line| line.find('/').map(|start| &line[start..]))
                .find(|mapped| {
                    mapped.rsplit('/').next().is_some_and(|name| name.starts_with(&*stem))
                })
                .map(PathBuf::from)
        })
        .unwrap_or_else(|| path.to_path_buf())
}

/// The function `name` of a library that is never closed.
///
/// # Safety
/// `T` must be the function's type.
pub(super) unsafe fn function<T: Copy>(library: &Library, name: &str) -> Result<T, String> {
    // SAFETY: by this function's own contract.
    unsafe { library.get::<T>(name) }
        .map(|symbol| *symbol)
        .map_err(|_| format!("the library has no `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Search =
        Search { variable: "SPARSE_VERIFY_NOTHING", file_names: &["libnothing-here.so.9"] };

    #[test]
    fn a_missing_library_is_a_reason() {
        assert_eq!(
            NONE.open().unwrap_err(),
            "not installed: looked for libnothing-here.so.9 in the loader's paths; \
             SPARSE_VERIFY_NOTHING is not set"
        );
        assert_eq!(
            NONE.open_named(Some("/nowhere/lib.so".into())).unwrap_err(),
            "not installed: looked for /nowhere/lib.so (from SPARSE_VERIFY_NOTHING)"
        );
    }

    #[test]
    fn a_file_that_is_no_library_is_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libnothing-here.so.9"), b"no ELF header").unwrap();
        let reason = NONE.open_named(Some(folder.path().to_path_buf())).unwrap_err();
        assert!(reason.starts_with("not installed: looked for "), "{reason}");
        assert!(reason.contains("; "), "{reason}");
    }
}
