//! PATH... and --case: which cases of which manifests.

use std::path::PathBuf;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::near;
use super::options::Selection;
use crate::expected;
use crate::expected::ExpectedError;
use crate::failure::Failure;
use crate::manifest;
use crate::manifest::ManifestErrors;
use contract::case::Case;
use contract::words::{self, quote};
use record::exit;
use record::expected::Expected;
use record::manifest::Manifest;

/// A manifest with its committed digests and the cases asked for.
pub struct Selected {
    pub manifest: Manifest,
    /// Indices into the manifest's cases.
    pub chosen: Vec<usize>,
    pub expected: Expected,
    /// Where they are committed; `None` of a case that is tried, which has no place for them.
    pub expected_path: Option<PathBuf>,
}

impl Selected {
    /// All cases of a manifest that is nowhere on disk: nothing is committed for them.
    pub fn of_no_file(manifest: Manifest) -> Selected {
        let chosen = (0..manifest.cases.len()).collect();
        let expected = Expected::empty(&manifest.name);
        Selected { manifest, chosen, expected, expected_path: None }
    }

    /// The file of the committed digests, in words.
    pub fn expected_file(&self) -> String {
        self.expected_path
            .as_deref()
            .map_or_else(|| "none for what is tried".to_owned(), words::path)
    }

    pub fn cases(&self) -> impl Iterator<Item = &Case> {
        self.chosen.iter().map(|&i| &self.manifest.cases[i])
    }
}

impl From<ManifestErrors> for Failure {
    fn from(errors: ManifestErrors) -> Failure {
        if errors.unreadable { Failure::environment(errors) } else { Failure::bad_input(errors) }
    }
}

impl From<ExpectedError> for Failure {
    fn from(error: ExpectedError) -> Failure {
        match error {
            ExpectedError::Malformed { .. } => Failure::bad_input(error),
            ExpectedError::Io { .. } => Failure::environment(error),
        }
    }
}

/// A set of globs; none matches everything.
pub fn globs(patterns: &[String]) -> Result<Option<GlobSet>, Failure> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|error| {
            Failure::bad_input(format!("--case `{pattern}`: {}", error.kind()))
        })?);
    }
    set.build().map(Some).map_err(|error| Failure::bad_input(format!("--case: {error}")))
}

/// Reads all manifests; their errors come together. No two have one name.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Manifest>, Failure> {
    let mut manifests: Vec<Manifest> = Vec::new();
    let mut errors = Vec::new();
    for path in manifest::find(paths).map_err(near::with_subcommand)? {
        let manifest = match manifest::load(&path) {
            Ok(manifest) => manifest,
            Err(error) => {
                errors.push(Failure::from(error));
                continue;
            }
        };
        match manifests.iter().find(|known| known.name == manifest.name) {
            Some(twin) if twin.path == manifest.path => {}
            Some(twin) => {
                return Err(Failure::bad_input(format!(
                    "{} and {} have the same name, which records and expected-hashes/ go by",
                    words::path(&twin.path),
                    words::path(&manifest.path)
                )));
            }
            None => manifests.push(manifest),
        }
    }
    if errors.is_empty() {
        return Ok(manifests);
    }
    let code = errors.iter().fold(exit::VERIFIED, |code, error| exit::worse(code, error.code));
    let messages: Vec<String> = errors.into_iter().map(|error| error.message).collect();
    Err(Failure { code, message: messages.join("\n") })
}

/// The cases asked for, with what is committed of them.
pub fn select(selection: &Selection) -> Result<Vec<Selected>, Failure> {
    choose(load(&selection.paths)?, &selection.cases)
}

/// The cases of manifests whose ids match any of `patterns`; without patterns all.
pub fn choose(manifests: Vec<Manifest>, patterns: &[String]) -> Result<Vec<Selected>, Failure> {
    let globs = globs(patterns)?;
    let mut selected: Vec<Selected> = Vec::new();
    for manifest in manifests {
        let matches = |case: &Case| globs.as_ref().is_none_or(|g| g.is_match(&case.id));
        let chosen =
            (0..manifest.cases.len()).filter(|&i| matches(&manifest.cases[i])).collect::<Vec<_>>();
        let expected_path = expected::path_for(&manifest)?;
        let expected = crate::expected::load(&expected_path, &manifest.name)?;
        selected.push(Selected { manifest, chosen, expected, expected_path: Some(expected_path) });
    }
    if selected.iter().all(|s| s.chosen.is_empty()) {
        let ids = selected.iter().flat_map(|s| &s.manifest.cases).map(|case| case.id.as_str());
        let ids: Vec<&str> = ids.collect();
        let message = match ids.len() {
            0 => {
                "there are claims and no cases\nhint: `verify lint PATH` looks at claims".to_owned()
            }
            all => format!(
                "no case matches {} (of {all} cases)\nhint: {}",
                patterns.iter().map(|glob| quote(glob)).collect::<Vec<_>>().join(", "),
                near::glob_hint(patterns, &ids)
            ),
        };
        return Err(Failure::bad_input(message));
    }
    Ok(selected)
}
