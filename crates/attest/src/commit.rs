//! A commitment: what somebody will be tested with, named before the nonce of the test exists. Its digest is published or
//! given to the auditor; the file itself may follow later. It hides nothing: digests of outputs are public.

use contract::digest::Digest;
use record::commitment::After;
use record::moment;
use record::operator::CodeFile;
use serde::{Deserialize, Serialize};

use crate::canonical;

/// The version of the file.
pub const COMMIT_FORMAT: &str = "sparse-verify-commit/1";
/// Largest file that is read, in bytes: an output takes about 200, and a manifest has 25,000 cases at most.
pub const COMMIT_BYTES_MAX: u64 = 16 << 20;

/// A commitment, one line of canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// [`COMMIT_FORMAT`].
    pub format: String,
    /// Name and version of the program.
    pub tool: String,
    /// When it was made, by the clock of whoever made it: RFC 3339, UTC.
    pub committed: String,
    /// Manifests whose cases will be asked for.
    pub manifests: Vec<ManifestCommitted>,
    /// The operator under test; `None` of our own.
    pub operator: Option<OperatorCommitted>,
    /// Outputs that were made already.
    pub outputs: Vec<OutputCommitted>,
}

/// A manifest by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestCommitted {
    /// Its name.
    pub name: String,
    /// Digest of its file.
    pub sha256: Digest,
}

/// An operator by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorCommitted {
    /// Name, as its file has it.
    pub name: String,
    /// Version, as its file has it.
    pub version: String,
    /// Digest of its file.
    pub sha256: Digest,
    /// Digests of its code, by name.
    pub files: Vec<CodeFile>,
}

/// An output by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputCommitted {
    /// Name of the manifest.
    pub manifest: String,
    /// Id of the case.
    pub id: String,
    /// Digest of the elements of Y, -0 made +0, as committed digests are.
    pub y: Digest,
}

/// Why a commitment is refused; reads on after a file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Commit {
    /// Its bytes, whose digest is what is published.
    pub fn text(&self) -> String {
        canonical::text(self)
    }

    /// Reads a commitment in the form that is written.
    pub fn read(bytes: &[u8]) -> Result<Commit, Refused> {
        const HINT: &str = "hint: `verify commit` writes one; it must come back as it was written";
        let refuse = |why: String| Refused(format!("it is no commitment: {why}\n{HINT}"));
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_str) {
            Some(COMMIT_FORMAT) => {}
            Some(other) if other.strip_suffix("-draft") == Some(COMMIT_FORMAT) => {
                return Err(Refused(format!(
                    "its format is `{COMMIT_FORMAT}-draft`, expected `{COMMIT_FORMAT}`\nhint: a draft of it; what was published is the \
                     digest of its bytes: commit anew by `verify commit`, before the nonce is drawn"
                )));
            }
            Some(other) => {
                let other = contract::words::quote(other);
                return Err(refuse(format!("its format is {other}, expected `{COMMIT_FORMAT}`")));
            }
            None => return Err(refuse(format!("it has no `format`, expected `{COMMIT_FORMAT}`"))),
        }
        let commit: Commit = canonical::read(bytes).map_err(refuse)?;
        if moment::parse(&commit.committed).is_none() {
            return Err(refuse(format!(
                "its time is {}, expected RFC 3339 in UTC",
                contract::words::quote(&commit.committed)
            )));
        }
        Ok(commit)
    }

    /// A nonce drawn after it, whose source is checked as far as that goes without asking anybody. `sha256` is of its
    /// bytes. What is known of the order comes with it, in words.
    pub fn nonce(
        &self,
        sha256: Digest,
        nonce: &str,
        source: &str,
    ) -> Result<(After, String), Refused> {
        let after = After {
            commit_sha256: sha256,
            committed: self.committed.clone(),
            nonce_source: source.to_owned(),
        };
        let order = after.check(Some(nonce)).map_err(|bad| Refused(bad.to_string()))?;
        Ok((after, order))
    }

    /// Refuses a manifest that is not among those committed to.
    pub fn holds_manifest(&self, name: &str, sha256: Digest) -> Result<(), Refused> {
        let said = self.manifests.iter().find(|manifest| manifest.name == name);
        match said {
            Some(said) if said.sha256 == sha256 => Ok(()),
            _ => Err(Refused(format!(
                "the commitment is to another manifest {}\n  expected {}\n  got      sha256 {sha256}",
                contract::words::quote(name),
                said.map_or("none of that name".into(), |said| format!("sha256 {}", said.sha256)),
            ))),
        }
    }

    /// Refuses another operator than the one committed to; `None` is our own.
    pub fn holds_operator(&self, got: Option<&OperatorCommitted>) -> Result<(), Refused> {
        let words = |operator: Option<&OperatorCommitted>| match operator {
            None => "the open operator".to_owned(),
            Some(o) => {
                let files =
                    o.files.iter().map(|file| format!(", {} sha256 {}", file.name, file.sha256));
                let files: String = files.collect();
                format!("{} {}, its file sha256 {}{files}", o.name, o.version, o.sha256)
            }
        };
        if self.operator.as_ref() == got {
            return Ok(());
        }
        Err(Refused(format!(
            "the commitment is to another operator\n  expected {}\n  got      {}",
            words(self.operator.as_ref()),
            words(got)
        )))
    }

    /// The committed digest of a case's output.
    pub fn output(&self, manifest: &str, id: &str) -> Option<Digest> {
        let is_it = |output: &&OutputCommitted| output.manifest == manifest && output.id == id;
        self.outputs.iter().find(is_it).map(|output| output.y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commit() -> Commit {
        Commit {
            format: COMMIT_FORMAT.into(),
            tool: "sparse-verify 0.1.0".into(),
            committed: "2026-01-02T03:04:05Z".into(),
            manifests: vec![ManifestCommitted { name: "small".into(), sha256: Digest::of(b"m") }],
            operator: Some(OperatorCommitted {
                name: "mine".into(),
                version: "1".into(),
                sha256: Digest::of(b"o"),
                files: vec![CodeFile { name: "mine.so".into(), sha256: Digest::of(b"so") }],
            }),
            outputs: vec![OutputCommitted {
                manifest: "small".into(),
                id: "a/b".into(),
                y: Digest::of(b"y"),
            }],
        }
    }

    #[test]
    fn a_commitment_comes_back_and_one_changed_bit_is_seen() {
        let commit = commit();
        let good = commit.text().into_bytes();
        assert_eq!(Commit::read(&good), Ok(commit.clone()));
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(Commit::read(&bad).ok().is_none_or(|read| read != commit), "bit {at}");
        }
    }

    #[test]
    fn it_holds_what_it_names() {
        let commit = commit();
        assert_eq!(commit.holds_manifest("small", Digest::of(b"m")), Ok(()));
        for (name, digest) in [("small", b"x"), ("other", b"m")] {
            assert!(commit.holds_manifest(name, Digest::of(digest)).is_err());
        }
        let own = commit.operator.clone().expect("it has one");
        assert_eq!(commit.holds_operator(Some(&own)), Ok(()));
        assert!(commit.holds_operator(None).unwrap_err().to_string().contains("the open operator"));
        let mut other = own;
        other.files[0].sha256 = Digest::of(b"another build");
        assert!(commit.holds_operator(Some(&other)).is_err());
        assert_eq!(commit.output("small", "a/b"), Some(Digest::of(b"y")));
        assert_eq!(commit.output("small", "a"), None);
    }

    #[test]
    fn a_time_that_is_none_and_another_format_are_refused() {
        let bad = Commit { committed: "now".into(), ..commit() };
        assert!(Commit::read(bad.text().as_bytes()).unwrap_err().to_string().contains("`now`"));
        let bad = Commit { format: "sparse-verify-commit/9".into(), ..commit() };
        assert!(
            Commit::read(bad.text().as_bytes())
                .unwrap_err()
                .to_string()
                .contains("expected `sparse")
        );
        let draft = Commit { format: format!("{COMMIT_FORMAT}-draft"), ..commit() };
        let said = Commit::read(draft.text().as_bytes()).unwrap_err().to_string();
        assert!(
            said.contains("commit/1-draft`, expected `") && said.contains("commit anew"),
            "{said}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_commitment(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Commit::read(&bytes).is_err());
        }
    }
}
