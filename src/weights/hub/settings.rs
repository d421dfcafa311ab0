//! Where a hub is, how it is reached and who asks: all that the environment says of it, read at one place.
//!
//! The variables are those of huggingface_hub and of the libraries below it, and mean here what they mean there;
//! docs/weights.md lists them and where this differs. Each setting knows the variable that it comes from. A variable that
//! cannot be used is a fault of whoever asks the hub, and of nobody else.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::proxy::Proxies;
use super::trust::Trust;

/// The hub that is asked where HF_ENDPOINT names no other.
const ENDPOINT: &str = "https://huggingface.co";
/// How long nothing may come before a connection is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Before the second attempt; each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// In so long an answer must bring its least number of bytes, 1024 a second.
const WINDOW: Duration = Duration::from_secs(60);
/// Bytes of a file that is fetched as a whole, at most: what a range would save is less than what another program saves
/// that finds the file in Hugging Face's cache.
const WHOLE_MAX: u64 = 4 << 20;

/// A value, and the variable that it comes from or `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub origin: String,
}

/// What a hub knows its user by. Never shown.
#[derive(Clone)]
pub struct Token {
    pub text: String,
    /// Where it comes from, for messages.
    pub origin: String,
}

/// What is in force.
pub struct Settings {
    /// Hugging Face's cache of downloaded files.
    pub cache: Option<Setting<PathBuf>>,
    /// Where a hub is. Without a slash at its end.
    pub endpoint: Setting<String>,
    /// The variable that says that no network is to be used.
    pub offline: Option<String>,
    pub token: Option<Token>,
    /// The variable that says that no token is sent unless a program asks for it, which this one does not.
    pub token_disabled: Option<String>,
    /// The variable that lets the token go over a connection that everybody can read.
    pub token_in_clear: Option<String>,
    pub proxies: Proxies,
    pub trust: Trust,
    /// How long nothing may come once an answer has begun.
    pub silence: Setting<Duration>,
    /// How long an answer may take to begin.
    pub beginning: Setting<Duration>,
    /// Before the second attempt; each further pause is twice as long.
    pub pause: Duration,
    /// In so long an answer must bring a least number of bytes.
    pub window: Duration,
    /// Bytes of a file that is fetched as a whole, at most.
    pub whole_max: u64,
    /// Variables that cannot be used.
    pub faults: Vec<Fault>,
}

/// One setting that is in force, for people and for other programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    pub name: String,
    /// Never a token or a password.
    pub value: String,
    /// The variable that says so, or `default`.
    pub origin: String,
}

impl Settings {
    /// What this process' environment says.
    pub fn from_environment() -> Settings {
        Settings::of(&|name| std::env::var_os(name))
    }

    /// What variables say. Empty ones are as good as none.
    pub fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Settings {
        let env = Environment { variable };
        let mut faults = Vec::new();
        let mut kept = |fault: Fault| faults.push(fault);
        let home = env.home();
        let below = |folder: &str| {
            home.as_ref()
                .map(|home| Setting { value: home.value.join(folder), origin: home.origin.clone() })
        };
        let cache = env
            .path("HF_HUB_CACHE")
            .or_else(|| env.path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| below("hub"));
        let endpoint = env.text("HF_ENDPOINT").unwrap_or_else(|| Setting {
            value: ENDPOINT.to_owned(),
            origin: "default".to_owned(),
        });
        let endpoint = Setting {
            value: endpoint.value.trim().trim_end_matches('/').to_owned(),
            origin: endpoint.origin,
        };
        // The first that is set at all decides, as in huggingface_hub: `HF_HUB_OFFLINE=0` outdoes `TRANSFORMERS_OFFLINE=1`.
        let offline = env
            .text("HF_HUB_OFFLINE")
            .or_else(|| env.text("TRANSFORMERS_OFFLINE"))
            .filter(|setting| is_true(&setting.value))
            .map(|setting| setting.origin);
        let token_disabled = env.switch("HF_HUB_DISABLE_IMPLICIT_TOKEN");
        let token = match token_disabled {
            Some(_) => None,
            None => env.token(env.path("HF_TOKEN_PATH").or_else(|| below("token"))).unwrap_or_else(
                |fault| {
                    kept(fault);
                    None
                },
            ),
        };
        let mut seconds = |name: &str| {
            env.seconds(name).unwrap_or_else(|fault| {
                kept(fault);
                Setting { value: SILENCE, origin: "default".to_owned() }
            })
        };
        Settings {
            silence: seconds("HF_HUB_DOWNLOAD_TIMEOUT"),
            beginning: seconds("HF_HUB_ETAG_TIMEOUT"),
            cache,
            endpoint,
            offline,
            token,
            token_disabled,
            token_in_clear: env.switch("SPARSE_VERIFY_TOKEN_OVER_HTTP"),
            proxies: Proxies::of(&|name| env.raw_text(name)),
            trust: Trust::of(&|name| env.path(name)),
            pause: PAUSE,
            window: WINDOW,
            whole_max: WHOLE_MAX,
            faults,
        }
    }
}

impl Settings {
    /// All that is in force, and from which variable.
    pub fn in_force(&self) -> Vec<InForce> {
        let mut rows = Vec::new();
        let mut say = |name: &str, value: String, origin: &str| {
            rows.push(InForce { name: name.to_owned(), value, origin: origin.to_owned() });
        };
        let Setting { value, origin } = &self.endpoint;
        // An address with a user and a password is refused, and not shown.
        let shown = if value.contains('@') { "not a hub's address" } else { value };
        say("hub", shown.to_owned(), origin);
        match &self.offline {
            Some(origin) => say("network", "not used".to_owned(), origin),
            None => say("network", "used".to_owned(), "default"),
        }
        match &self.cache {
            Some(cache) => say("cache", cache.value.display().to_string(), &cache.origin),
            None => say("cache", "none: no home folder is set".to_owned(), "default"),
        }
        match (&self.token, &self.token_disabled) {
            (_, Some(origin)) => say("token", "not used".to_owned(), origin),
            (Some(token), None) => say("token", "used".to_owned(), &token.origin),
            (None, None) => say("token", "none".to_owned(), "default"),
        }
        if let Some(origin) = &self.token_in_clear {
            say("token", "sent over http too".to_owned(), origin);
        }
        for (name, value, origin) in self.proxies.shown() {
            say(name, value, &origin);
        }
        match &self.trust {
            Trust::Machine => say("authorities", "this machine's".to_owned(), "default"),
            Trust::Named(path) => {
                say("authorities", path.value.display().to_string(), &path.origin);
            }
        }
        for (name, limit) in [("first byte", &self.beginning), ("silence", &self.silence)] {
            say(name, format!("{} s", limit.value.as_secs()), &limit.origin);
        }
        for fault in &self.faults {
            say("fault", fault.message.clone(), "the environment");
        }
        rows
    }
}

/// Variables, read as huggingface_hub reads them.
struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Environment<'_> {
    fn set(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// A variable's text, empty where it is set so. Text that is no UTF-8 is kept as far as it can be shown.
    fn raw_text(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn text(&self, name: &str) -> Option<Setting<String>> {
        let value = self.raw_text(name).filter(|value| !value.is_empty())?;
        Some(Setting { value, origin: name.to_owned() })
    }

    /// The variable's name, if it is set to yes.
    fn switch(&self, name: &str) -> Option<String> {
        self.text(name).filter(|setting| is_true(&setting.value)).map(|setting| setting.origin)
    }

    fn path(&self, name: &str) -> Option<Setting<PathBuf>> {
        let value = expand(&self.set(name)?, &self.user(), self.variable);
        Some(Setting { value: value.into(), origin: name.to_owned() })
    }

    /// The user's folder.
    fn user(&self) -> Option<OsString> {
        self.set("HOME").or_else(|| std::env::home_dir().map(PathBuf::into_os_string))
    }

    /// HF_HOME, or Hugging Face's folder in the user's cache folder.
    fn home(&self) -> Option<Setting<PathBuf>> {
        self.path("HF_HOME")
            .or_else(|| {
                let cache = self.path("XDG_CACHE_HOME")?;
                Some(Setting { value: cache.value.join("huggingface"), origin: cache.origin })
            })
            .or_else(|| {
                let value = PathBuf::from(self.user()?).join(".cache/huggingface");
                Some(Setting { value, origin: "default".to_owned() })
            })
    }

    /// HF_TOKEN, its older name, or what Hugging Face's client has stored.
    fn token(&self, path: Option<Setting<PathBuf>>) -> Result<Option<Token>, Fault> {
        if let Some(token) = self.text("HF_TOKEN").or_else(|| self.text("HUGGING_FACE_HUB_TOKEN")) {
            let text = clean(&token.value);
            // A file's token is used where the variable holds nothing but blanks.
            if !text.is_empty() {
                return Ok(Some(Token { text, origin: token.origin }));
            }
        }
        let Some(Setting { value: path, origin }) = path else { return Ok(None) };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let (text, origin) = (clean(&text), path.display().to_string());
                Ok(Some(Token { text, origin }).filter(|token| !token.text.is_empty()))
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Fault::unavailable(
                format!("{}: failed to read the token ({origin}): {error}", path.display()),
                "correct the file, set HF_TOKEN",
            )),
        }
    }

    /// A time limit in whole seconds; 0 is as good as none.
    fn seconds(&self, name: &str) -> Result<Setting<Duration>, Fault> {
        let default = Setting { value: SILENCE, origin: "default".to_owned() };
        let Some(Setting { value, origin }) = self.text(name) else { return Ok(default) };
        match value.trim().parse::<u32>() {
            Ok(0) => Ok(default),
            Ok(seconds) => Ok(Setting { value: Duration::from_secs(seconds.into()), origin }),
            Err(_) => Err(Fault::down(
                format!("{name}: expected whole seconds, found {}", contract::words::quote(&value)),
                &format!("correct or unset {name}"),
            )),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A token without what an editor or a shell put around it.
fn clean(text: &str) -> String {
    text.replace(['\r', '\n'], "").trim().to_owned()
}

/// huggingface_hub's words for yes, in any case.
pub(super) fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// A path with a leading `~` and with `$NAME` and `${NAME}` in place of which their values stand. What is not set stays
/// as it is, and a value is not expanded again: so do Python's `expanduser` and `expandvars`. `~NAME` stays too.
fn expand(
    path: &OsStr,
    user: &Option<OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> OsString {
    let bytes = path.as_bytes();
    let mut expanded = Vec::new();
    let mut rest = bytes;
    if let (Some(after), Some(user)) = (bytes.strip_prefix(b"~"), user)
        && (after.is_empty() || after.starts_with(b"/"))
    {
        let user = user.as_bytes();
        let end = user.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1);
        expanded.extend_from_slice(&user[..end]);
        rest = after;
        if expanded.is_empty() && rest.is_empty() {
            rest = b"/";
        }
    }
    // What the user's folder has in its own name is expanded too.
    let text = [&expanded[..], rest].concat();
    expanded.clear();
    let mut at = 0;
    while at < text.len() {
        let value = name_at(&text[at..]).and_then(|(name, len)| {
            let value = variable(std::str::from_utf8(name).ok()?)?;
            Some((value, len))
        });
        match value {
            Some((value, len)) => {
                expanded.extend_from_slice(value.as_bytes());
                at += len;
            }
            None => {
                expanded.push(text[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(expanded)
}

/// The variable's name that a text begins with, after a dollar, and the length of both.
fn name_at(text: &[u8]) -> Option<(&[u8], usize)> {
    let rest = text.strip_prefix(b"$")?;
    match rest.strip_prefix(b"{") {
        Some(braced) => {
            let len = braced.iter().position(|&b| b == b'}')?;
            Some((&braced[..len], len + 3))
        }
        None => {
            let len = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            (len > 0).then_some((&rest[..len], len + 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Settings {
        Settings::of(&|name| {
            set.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_cache_is_found_as_huggingface_hub_finds_it() {
        let cache = |set: &[(&str, &str)]| {
            let set = [set, &[("HOME", "/h"), ("X", "/x"), ("E", "")]].concat();
            let cache = of(&set).cache.expect("there is a home");
            (cache.value.display().to_string(), cache.origin)
        };
        for (set, path, origin) in [
            (&[][..], "/h/.cache/huggingface/hub", "default"),
            (&[("XDG_CACHE_HOME", "/c")], "/c/huggingface/hub", "XDG_CACHE_HOME"),
            (&[("XDG_CACHE_HOME", "/c"), ("HF_HOME", "/f")], "/f/hub", "HF_HOME"),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/o")], "/o", "HUGGINGFACE_HUB_CACHE"),
            (&[("HF_HUB_CACHE", "/n"), ("HUGGINGFACE_HUB_CACHE", "/o")], "/n", "HF_HUB_CACHE"),
            (&[("HF_HOME", "")], "/h/.cache/huggingface/hub", "default"),
            (&[("HF_HUB_CACHE", "~")], "/h", "HF_HUB_CACHE"),
            (&[("HF_HUB_CACHE", "~/a")], "/h/a", "HF_HUB_CACHE"),
            (&[("HF_HUB_CACHE", "~other/a")], "~other/a", "HF_HUB_CACHE"),
            (&[("HF_HUB_CACHE", "a/~")], "a/~", "HF_HUB_CACHE"),
            (&[("HF_HUB_CACHE", "$X/${X}b$X")], "/x//xb/x", "HF_HUB_CACHE"),
            (&[("HF_HUB_CACHE", "$Y/$")], "$Y/$", "HF_HUB_CACHE"),
            (&[("HF_HUB_CACHE", "a${X")], "a${X", "HF_HUB_CACHE"),
            (&[("HF_HUB_CACHE", "a${}$E$$X")], "a${}$/x", "HF_HUB_CACHE"),
            (&[("HF_HOME", "$X/~")], "/x/~/hub", "HF_HOME"),
        ] {
            assert_eq!(cache(set), (path.to_owned(), origin.to_owned()), "{set:?}");
        }
    }

    #[test]
    fn offline_is_said_in_huggingface_hubs_words() {
        for yes in ["1", "ON", "on", "Yes", "true"] {
            assert_eq!(of(&[("HF_HUB_OFFLINE", yes)]).offline.as_deref(), Some("HF_HUB_OFFLINE"));
        }
        for no in ["", "0", "no", "2", " 1", "off"] {
            assert_eq!(of(&[("HF_HUB_OFFLINE", no)]).offline, None, "{no:?}");
        }
        let both = |hub, transformers| {
            of(&[("HF_HUB_OFFLINE", hub), ("TRANSFORMERS_OFFLINE", transformers)]).offline
        };
        assert_eq!(both("", "1").as_deref(), Some("TRANSFORMERS_OFFLINE"));
        assert_eq!(both("0", "1"), None);
    }

    #[test]
    fn a_limit_that_is_no_number_is_a_fault_that_names_it() {
        let seconds = |value| {
            let settings = of(&[("HF_HUB_DOWNLOAD_TIMEOUT", value)]);
            (settings.silence.value.as_secs(), settings.faults.len())
        };
        assert_eq!(seconds("7"), (7, 0));
        assert_eq!(seconds("0"), (30, 0));
        assert_eq!(seconds(""), (30, 0));
        for bad in ["x", "-1", "1.5"] {
            let settings = of(&[("HF_HUB_DOWNLOAD_TIMEOUT", bad)]);
            let [fault] = &settings.faults[..] else { panic!("one fault") };
            assert!(fault.message.starts_with("HF_HUB_DOWNLOAD_TIMEOUT: expected whole seconds"));
        }
    }
}
