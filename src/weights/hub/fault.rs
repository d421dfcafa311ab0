//! What goes wrong between a hub and us, each with what to do about it.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::Place;
use contract::digest::Digest;
use contract::words::quote;

/// What a failure says of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The hub does not give them to us: the case is not run.
    Unavailable,
    /// The hub has them, and they are not what they should be: bad input.
    Malformed,
    /// The hub has others than the manifest names: a refutation.
    Refuted,
    /// The network, the hub or the disk failed.
    Environment,
}

/// Why nothing came of a fetch.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub message: String,
    pub hint: Option<String>,
    /// Whether no other file would fare better.
    pub(super) host_is_down: bool,
}

/// What else leads to weights, wherever the hub does not.
const ELSEWHERE: &str = "or name a folder that has the file with `--weights DIR`";

impl Fault {
    pub(super) fn new(kind: FaultKind, message: impl Into<String>, hint: &str) -> Fault {
        let message = message.into();
        let hint = Some(format!("{hint}, {ELSEWHERE}"));
        Fault { kind, message, hint, host_is_down: false }
    }

    pub(super) fn unavailable(message: impl Into<String>, hint: &str) -> Fault {
        Fault::new(FaultKind::Unavailable, message, hint)
    }

    pub(super) fn environment(message: impl Into<String>, hint: &str) -> Fault {
        Fault::new(FaultKind::Environment, message, hint)
    }

    /// A file that is not what it should be; no other place has a better one.
    pub(super) fn malformed((message, hint): (String, Option<String>)) -> Fault {
        Fault { kind: FaultKind::Malformed, message, hint, host_is_down: false }
    }

    /// `what` has another digest than the manifest says.
    pub(super) fn other_bytes(what: &str, expected: Digest, got: Digest) -> Fault {
        let message = format!("digest mismatch of {what}\n  expected {expected}\n  got      {got}");
        let hint = "a commit's files do not change: correct the manifest's revision or digest";
        let hint = Some(hint.to_owned());
        Fault { kind: FaultKind::Refuted, message, hint, host_is_down: false }
    }

    /// Only the whole file could show that it is the manifest's.
    pub(super) fn no_stated_digest() -> Fault {
        Fault::unavailable(
            "the hub does not state the file's SHA-256, and of the file only the tensor is fetched",
            "give the tensor's `sha256` in the manifest",
        )
    }

    /// Two answers are of different states of the file.
    pub(in super::super) fn changed() -> Fault {
        Fault::environment(
            "the file changed on the hub while it was fetched",
            "run it again: it begins anew",
        )
    }

    pub(in super::super) fn no_folder() -> Fault {
        let message = "there is no folder for what is fetched";
        Fault::environment(message, "name one with SPARSE_VERIFY_CACHE")
    }

    /// Writing to the cache failed; `len` bytes were wanted there.
    pub(super) fn disk(path: &Path, action: &str, error: &io::Error, len: u64) -> Fault {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let hint = match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => format!(
                "the tensor takes {len} bytes, and a further run goes on where this one stopped: \
                 free some, or name another folder with SPARSE_VERIFY_CACHE"
            ),
            _ => "name a folder that can be written to with SPARSE_VERIFY_CACHE".to_owned(),
        };
        let message = format!("{}: failed to {action}: {error}", path.display());
        let hint = Some(hint);
        Fault { kind: FaultKind::Environment, message, hint, host_is_down: false }
    }

    /// Writing to Hugging Face's cache failed; `len` bytes were wanted there.
    pub(super) fn shared_disk(path: &Path, action: &str, error: &io::Error, len: u64) -> Fault {
        let message = format!("{}: failed to {action}: {error}", path.display());
        let hint = format!(
            "the file takes {len} bytes: free some, or name another folder with HF_HUB_CACHE"
        );
        let hint = Some(hint);
        Fault { kind: FaultKind::Environment, message, hint, host_is_down: false }
    }

    /// The bytes of a whole file have another digest than the hub's headers say.
    pub(super) fn not_as_stated(file: &str, stated: Digest, got: Digest) -> Fault {
        Fault::environment(
            format!(
                "the bytes of {} are not those that the hub states\n  stated {stated}\n  got    {got}",
                quote(file)
            ),
            "run it again, check HF_ENDPOINT",
        )
    }

    /// The host gives no usable answer at all.
    pub(super) fn down(message: impl Into<String>, hint: &str) -> Fault {
        Fault { host_is_down: true, ..Fault::environment(message, hint) }
    }

    pub(super) fn after(mut self, attempts: u32) -> Fault {
        self.message += &format!(" ({attempts} attempts)");
        self
    }
}

/// How an attempt failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// May pass; the server may have said after what time.
    Passing(Fault, Option<Duration>),
    Lasting(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble::Lasting(fault)
    }
}

/// An answer that is neither content nor a redirect.
pub(super) struct Refusal<'a> {
    pub status: u16,
    /// `X-Error-Code`.
    pub code: &'a str,
    /// `X-Error-Message`.
    pub message: &'a str,
    /// Who answered.
    pub host: &'a str,
    /// Whether that is the hub itself, and no server that it redirects to.
    pub is_hub: bool,
    /// After what time it wants to be asked again.
    pub after: Option<Duration>,
    /// Where the token comes from that is for who answered, and whether it was sent.
    pub token: Option<(&'a str, bool)>,
}

/// Longest that a server may keep us waiting: Hugging Face counts requests over five minutes.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

impl Refusal<'_> {
    /// What it means. `file` was asked for.
    pub fn trouble(&self, place: &Place, file: &str, endpoint: &str) -> Trouble {
        match (self.meaning(place, file, endpoint), self.token) {
            // Whoever is known may be let in.
            (Trouble::Lasting(mut fault), Some((token, false)))
                if matches!(self.status, 401 | 403 | 404) =>
            {
                fault.message += &format!(
                    "; the token ({token}) was not sent, because anybody on the way to {} could read it",
                    self.host
                );
                let hint = fault.hint.as_deref().unwrap_or_default();
                fault.hint = Some(format!(
                    "name the hub by https://, set SPARSE_VERIFY_TOKEN_OVER_HTTP=1, {hint}"
                ));
                Trouble::Lasting(fault)
            }
            (trouble, _) => trouble,
        }
    }

    fn meaning(&self, place: &Place, file: &str, endpoint: &str) -> Trouble {
        let token = self.token.filter(|(_, was_sent)| *was_sent).map(|(token, _)| token);
        let Place { repo, revision, .. } = place;
        let refused =
            |message: String, hint: &str| Trouble::Lasting(Fault::unavailable(message, hint));
        match (self.status, self.code) {
            (429, _) => self.later("asks to come back later"),
            (408 | 500.., _) => self.later(&format!("answers {}", self.shown())),
            _ if !self.is_hub => Fault::environment(
                format!("{}, to which the hub redirects, answers {}", self.host, self.shown()),
                "run it again: such addresses are valid for some minutes",
            )
            .into(),
            (401 | 403, "GatedRepo") => match token {
                None => refused(
                    format!("{repo} is gated, and there is no token"),
                    &format!(
                        "ask for access at {endpoint}/{repo}, then set HF_TOKEN or run \
                         `hf auth login`"
                    ),
                ),
                Some(token) => refused(
                    format!(
                        "{repo} is gated, and the account of the token ({token}) has no access"
                    ),
                    &format!("ask for access at {endpoint}/{repo}"),
                ),
            },
            (_, "RevisionNotFound") => refused(
                format!("{repo} has no revision {revision}"),
                "give a commit of the model's history in the manifest",
            ),
            (_, "EntryNotFound") => refused(
                format!("{repo} has no file {} at that revision", quote(file)),
                "a sharded model is named by its index, `model.safetensors.index.json`: correct \
                 the manifest",
            ),
            (401, code) => match token {
                // For a model that does not exist too: the hub does not tell strangers.
                None if code == "RepoNotFound" || code.is_empty() => refused(
                    format!("there is no model {repo}, or it is private and there is no token"),
                    "check its name; for a private model set HF_TOKEN or run `hf auth login`",
                ),
                Some(token) if code != "RepoNotFound" => refused(
                    format!("the hub refuses the token ({token}): {}", self.shown()),
                    &format!("make a valid one at {endpoint}/settings/tokens"),
                ),
                _ => self.no_repo(repo),
            },
            (_, "RepoNotFound") => self.no_repo(repo),
            (403, _) => refused(
                format!("access to {repo} is refused: {}", self.shown()),
                "see what the token may read (a fine-grained one names its models)",
            ),
            (404 | 410 | 451, _) => refused(
                format!("the hub does not give it: {}", self.shown()),
                "check model, revision and file in the manifest",
            ),
            _ => Fault::environment(
                format!("{} answers {}", self.host, self.shown()),
                "check HF_ENDPOINT, download the file with Hugging Face's client",
            )
            .into(),
        }
    }

    fn no_repo(&self, repo: &str) -> Trouble {
        let message = format!("there is no model {repo}, or the token may not see it");
        Fault::unavailable(message, "check its name in the manifest").into()
    }

    fn later(&self, does: &str) -> Trouble {
        const HINT: &str = "run it again later: what was fetched is kept";
        let host = self.host;
        match self.after {
            Some(after) if after > RETRY_AFTER_MAX => {
                let message = format!(
                    "{host} {does}, in {} s (we wait {} s at most)",
                    after.as_secs(),
                    RETRY_AFTER_MAX.as_secs()
                );
                Trouble::Lasting(Fault::down(message, HINT))
            }
            after => Trouble::Passing(Fault::down(format!("{host} {does}"), HINT), after),
        }
    }

    /// Status and message, as the server gives them.
    fn shown(&self) -> String {
        let reason = ureq::http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("an unknown status");
        match self.message {
            "" => format!("{} {reason}", self.status),
            message => format!("{} {reason}, {}", self.status, quote(message)),
        }
    }
}
