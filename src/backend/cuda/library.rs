//! What must be known of a vendor's library before its first call: the bindings panic where the
//! library or a function of it is missing.

use super::error::CudaError;

/// A library as the bindings look for it.
pub(super) struct Library<'a> {
    /// Such as `cuBLAS`.
    pub name: &'a str,
    /// The file without prefix and suffix, such as `cublas`.
    pub file: &'a str,
    /// Where it comes from, for the hint.
    pub package: &'a str,
    /// Every function that will be called.
    pub functions: &'a [&'a str],
}

impl Library<'_> {
    /// Whether the library can be opened and has all functions, else what is missing. `has` is not
    /// asked where the library is absent.
    pub fn require(
        &self,
        is_present: impl FnOnce() -> bool,
        has: impl Fn(&str) -> bool,
    ) -> Result<(), CudaError> {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let file = format!("{prefix}{}{suffix}", self.file);
        if !is_present() {
            let looked_for = format!("{}: looked for {file}, {file}.13 and {file}.12", self.name);
            return Err(CudaError::new("dlopen", "not installed, or cannot be opened", looked_for)
                .hint(format!(
                    "install the CUDA toolkit or PyPI's {}, and name its folder in LD_LIBRARY_PATH",
                    self.package
                )));
        }
        let missing: Vec<&str> = self.functions.iter().copied().filter(|name| !has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let asked = format!("{}: {}", self.name, missing.join(", "));
        Err(CudaError::new("dlsym", format!("{file} does not have these functions"), asked)
            .hint("this needs the libraries of CUDA 12 or later"))
    }
}

/// `MAJOR.MINOR.PATCH` from a library's three properties.
pub(super) fn version(parts: [i32; 3]) -> String {
    parts.map(|part| part.to_string()).join(".")
}

/// A size as a library's 32-bit integer.
pub(super) fn int(what: &str, size: usize, call: &str) -> Result<i32, CudaError> {
    i32::try_from(size).map_err(|_| {
        CudaError::new(call, format!("{size} is more than {}", i32::MAX), what.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: Library<'static> = Library {
        name: "cuXYZ",
        file: "cuxyz",
        package: "nvidia-cuxyz",
        functions: &["cuxyzCreate", "cuxyzRun"],
    };

    #[test]
    fn what_is_missing_is_named_with_a_hint() {
        let absent = LIBRARY.require(|| false, |_| panic!("not asked")).unwrap_err().to_string();
        assert!(absent.contains("cuXYZ: looked for libcuxyz.so"), "{absent}");
        assert!(absent.contains("hint: install the CUDA toolkit or PyPI's nvidia-cuxyz"));
        let old = LIBRARY.require(|| true, |name| name == "cuxyzCreate").unwrap_err().to_string();
        assert!(old.contains("(cuXYZ: cuxyzRun)") && !old.contains("cuxyzCreate"), "{old}");
        assert_eq!(LIBRARY.require(|| true, |_| true), Ok(()));
    }

    #[test]
    fn sizes_that_do_not_fit_are_errors() {
        assert_eq!(int("rows", 7, "call"), Ok(7));
        let error = int("rows of A", 1 << 31, "cublasGemmEx").unwrap_err().to_string();
        assert_eq!(error, "cublasGemmEx failed (rows of A): 2147483648 is more than 2147483647");
    }
}
