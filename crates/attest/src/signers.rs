//! The file of allowed signers, in OpenSSH's format (`ssh-keygen(1)`, ALLOWED SIGNERS): who may sign, with which key, for
//! what, and when. What would leave open who a signer is, is refused: patterns in place of names, and certificates.

use contract::words::{quote, visible};
use record::moment;

use crate::signature::{NAMESPACE, Public};

/// Largest file that is read, in bytes.
pub const SIGNERS_BYTES_MAX: u64 = 1 << 20;
/// Longest name of a signer, in bytes: an address of mail is at most that long.
const NAME_BYTES_MAX: usize = 254;

/// Why the file is refused; reads on after its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

/// One line: names of one signer, and a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signer {
    names: Vec<String>,
    key: Public,
    /// Patterns of purposes; `None` for all.
    namespaces: Option<Vec<String>>,
    /// Seconds since 1970; from here on, where there is one.
    valid_after: Option<i64>,
    /// Up to here, where there is one.
    valid_before: Option<i64>,
}

/// Everybody who may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers(Vec<Signer>);

impl Signers {
    /// Reads the file's bytes.
    pub fn read(bytes: &[u8]) -> Result<Signers, BadLine> {
        let mut signers = Vec::new();
        for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let bad = |what: String| BadLine { line: at + 1, what };
            let line = std::str::from_utf8(line).map_err(|_| bad("it is not UTF-8".into()))?;
            let line = line.trim_matches([' ', '\t', '\r']);
            if !line.is_empty() && !line.starts_with('#') {
                signers.push(signer(line).map_err(bad)?);
            }
        }
        if signers.is_empty() {
            let what = "nobody is named: each line is `NAME namespaces=\"...\" KEYTYPE BASE64`";
            return Err(BadLine { line: 1, what: what.into() });
        }
        Ok(Signers(signers))
    }

    /// Names of whoever may sign with `key` at a moment, in seconds since 1970, sorted; why nobody may otherwise.
    pub fn names(&self, key: &Public, at: i64) -> Result<Vec<&str>, String> {
        let own: Vec<&Signer> = self.0.iter().filter(|signer| signer.key == *key).collect();
        let fingerprint = key.fingerprint();
        if own.is_empty() {
            return Err(format!(
                "nobody is allowed to sign with the key {fingerprint}\nhint: a line `NAME {}` allows it",
                key.text().unwrap_or_default()
            ));
        }
        let mut names = Vec::new();
        let mut reasons = Vec::new();
        for signer in own {
            match signer.keeps_from(at) {
                None => names.extend(signer.names.iter().map(String::as_str)),
                Some(reason) => reasons.push(format!("{}: {reason}", visible(&signer.names[0]))),
            }
        }
        if names.is_empty() {
            return Err(format!("the key {fingerprint} is not allowed: {}", reasons.join("; ")));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

impl Signer {
    /// What keeps the signer from signing at a moment.
    fn keeps_from(&self, at: i64) -> Option<String> {
        if let Some(namespaces) = &self.namespaces
            && !is_matched(namespaces, NAMESPACE)
        {
            let listed = visible(&namespaces.join(",")).into_owned();
            return Some(format!("it is for namespaces {listed}, and this one is {NAMESPACE}"));
        }
        let text = |seconds: i64| moment::text(seconds).unwrap_or_default();
        if let Some(after) = self.valid_after.filter(|&after| at < after) {
            return Some(format!("it is valid from {}", text(after)));
        }
        self.valid_before
            .filter(|&before| at >= before)
            .map(|before| format!("it was valid up to {}", text(before)))
    }
}

/// A line without white space at its ends.
fn signer(line: &str) -> Result<Signer, String> {
    let (first, rest) = word(line)?;
    let names: Vec<String> = first.split(',').map(str::to_owned).collect();
    for name in &names {
        if name.contains(['*', '?', '!']) {
            return Err(format!(
                "{} is a pattern, and names nobody\nhint: a vote is somebody's: one line for each, with a name",
                quote(name)
            ));
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX || visible(name) != *name {
            return Err(format!(
                "{} is no name\nhint: one to {NAME_BYTES_MAX} bytes that can be printed, such as an address of mail",
                quote(name)
            ));
        }
    }
    // Options stand before the key, and no option begins as the type of a key does.
    let is_key = ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| rest.starts_with(kind));
    let (options, rest) = if is_key { (String::new(), rest) } else { word(rest)? };
    let mut signer =
        Signer { names, key: key(rest)?, namespaces: None, valid_after: None, valid_before: None };
    if !is_key {
        split_options(&options).into_iter().try_for_each(|option| signer.allow(option))?;
    }
    Ok(signer)
}

/// The key at the beginning of a text; its comment is left out.
fn key(text: &str) -> Result<Public, String> {
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    match (words.next(), words.next()) {
        (Some(kind), Some(base64)) => Public::read(&format!("{kind} {base64}"))
            .map_err(|refused| format!("the key is refused: {refused}")),
        _ => Err("no key: expected `NAME KEYTYPE BASE64`, with options before the key type or not"
            .into()),
    }
}

/// The first word of a line, whose parts in double quotes may hold white space, and the rest.
fn word(text: &str) -> Result<(String, &str), String> {
    let text = text.trim_start_matches([' ', '\t']);
    let mut is_quoted = false;
    let end = text.find(|c| {
        is_quoted ^= c == '"';
        !is_quoted && [' ', '\t'].contains(&c)
    });
    match end {
        Some(end) => Ok((text[..end].to_owned(), text[end..].trim_start_matches([' ', '\t']))),
        None if is_quoted => Err("a double quote is not closed".into()),
        None => Ok((text.to_owned(), "")),
    }
}

/// Options between commas that stand outside of quotes.
fn split_options(text: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let is_end = |c: char| {
        is_quoted ^= c == '"';
        !is_quoted && c == ','
    };
    text.split(is_end).collect()
}

impl Signer {
    /// Takes one option.
    fn allow(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            None => (option, None),
            Some((name, value)) => {
                let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                (name, Some(inner.unwrap_or(value)))
            }
        };
        let moment = |value: &str| {
            time(value).ok_or_else(|| {
                format!(
                    "{name} is {}, expected YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ\nhint: without the Z it is another \
                     moment on each machine",
                    quote(value)
                )
            })
        };
        let is_twice = |is_set: bool| match is_set {
            true => Err(format!("{name} stands twice")),
            false => Ok(()),
        };
        match (name.to_ascii_lowercase().as_str(), value) {
            ("namespaces", Some(value)) => {
                is_twice(self.namespaces.is_some())?;
                self.namespaces = Some(value.split(',').map(str::to_owned).collect());
            }
            ("valid-after", Some(value)) => {
                is_twice(self.valid_after.is_some())?;
                self.valid_after = Some(moment(value)?);
            }
            ("valid-before", Some(value)) => {
                is_twice(self.valid_before.is_some())?;
                self.valid_before = Some(moment(value)?);
            }
            ("cert-authority", _) => {
                return Err("cert-authority: certificates are not read here\nhint: name the signer's own key".into());
            }
            _ => {
                return Err(format!(
                    "the option {} is not known (known: namespaces, valid-after, valid-before)",
                    quote(option)
                ));
            }
        }
        Ok(())
    }
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS` with a Z behind it, in seconds since 1970.
pub fn time(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('Z')?;
    let is_shaped =
        [8, 12, 14].contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let part = |from: usize, to: usize| match digits.get(from..to) {
        Some(part) => part.parse().ok(),
        None => Some(0),
    };
    if !is_shaped {
        return None;
    }
    let date = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    moment::seconds(date, (part(8, 10)?, part(10, 12)?, part(12, 14)?))
}

/// Whether a list of patterns has a text: one of them matches, and none with a `!` before it does.
fn is_matched(patterns: &[String], text: &str) -> bool {
    let refused = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!'));
    let allowed = patterns.iter().filter(|pattern| !pattern.starts_with('!'));
    !refused.into_iter().any(|pattern| is_like(pattern.as_bytes(), text.as_bytes()))
        && allowed.into_iter().any(|pattern| is_like(pattern.as_bytes(), text.as_bytes()))
}

/// Whether a pattern of `*` and `?` matches all of a text, in time of their product.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and how much of the text it takes.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                None => return false,
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::tests::key as private;
    use proptest::prelude::*;

    const NOW: i64 = 1_790_000_000;

    fn public() -> String {
        private().public().text().expect("text")
    }

    fn names(file: &str, at: i64) -> Result<Vec<String>, String> {
        let signers = Signers::read(file.as_bytes()).map_err(|bad| bad.to_string())?;
        let names = signers.names(&private().public(), at)?;
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn whoever_is_named_may_sign() {
        let key = public();
        for (file, expected) in [
            (format!("ada@example.org {key}"), vec!["ada@example.org"]),
            (format!("# people\n\n ada {key} a comment = \"here\"\r\n"), vec!["ada"]),
            (format!("bob,ada {key}\nada {key}\n"), vec!["ada", "bob"]),
            (format!("ada namespaces=\"verify-*@sparse-verify\" {key}"), vec!["ada"]),
            (format!("ada namespaces=\"git,*\",valid-after=20260101Z {key}"), vec!["ada"]),
            (format!("ada NAMESPACES={NAMESPACE} {key}"), vec!["ada"]),
            (
                format!("ada valid-after=\"20260101Z\",valid-before=\"202701010000Z\" {key}"),
                vec!["ada"],
            ),
        ] {
            assert_eq!(
                names(&file, NOW),
                Ok(expected.iter().map(|n| (*n).to_owned()).collect()),
                "{file}"
            );
        }
    }

    #[test]
    fn whoever_may_not_is_told_why() {
        let key = public();
        for (file, words) in [
            (format!("ada namespaces=\"git\" {key}"), "it is for namespaces git"),
            (format!("ada namespaces=\"*,!verify-*\" {key}"), "it is for namespaces *,!verify-*"),
            (
                format!("ada valid-after=\"20270101Z\" {key}"),
                "it is valid from 2027-01-01T00:00:00Z",
            ),
            (
                format!("ada valid-before=20250101120000Z {key}"),
                "it was valid up to 2025-01-01T12:00:00Z",
            ),
        ] {
            let error = names(&file, NOW).unwrap_err();
            assert!(error.contains(words), "{file}: {error}");
        }
        let other =
            "ada ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGC1smCq3dhuB0XCPBuCjuT3J4jAF2N1f3DKXPXDDm4t";
        let error = names(other, NOW).unwrap_err();
        assert!(error.contains("nobody is allowed to sign with the key SHA256:"), "{error}");
    }

    #[test]
    fn a_bad_line_is_named() {
        let key = public();
        for (line, words) in [
            ("ada".to_owned(), "no key"),
            (format!("*@example.org {key}"), "is a pattern, and names nobody"),
            (format!("!ada {key}"), "is a pattern"),
            (format!("ada, {key}"), "is no name"),
            (format!("ada cert-authority {key}"), "certificates are not read here"),
            (format!("ada no-touch {key}"), "the option `no-touch` is not known"),
            (format!("ada namespaces {key}"), "is not known"),
            (format!("ada valid-after=20260101 {key}"), "expected YYYYMMDDZ"),
            (format!("ada valid-after=20260230Z {key}"), "expected YYYYMMDDZ"),
            (format!("ada valid-after=20260101Z,valid-after=20260101Z {key}"), "stands twice"),
            (format!("ada namespaces=\"git {key}"), "not closed"),
            ("ada ssh-ed25519 AAAA".to_owned(), "the key is refused"),
            ("ada ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==".to_owned(), "the key is refused"),
        ] {
            let file = format!("# first\n{line}\n");
            let error = names(&file, NOW).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(words), "{line}: {error}");
        }
        for empty in ["", "\n", "# nobody\n"] {
            assert!(names(empty, NOW).unwrap_err().contains("nobody is named"));
        }
        assert_eq!(Signers::read(b"# a\n\xff\n").unwrap_err().line, 2);
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("?", "", false),
            ("??", "ab", true),
            ("**a", "a", true),
        ] {
            assert_eq!(is_like(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_file(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Signers::read(&bytes);
        }

        /// A line of the words that a file has, in any order.
        #[test]
        fn any_words_as_a_line(words in prop::collection::vec(0..12usize, 0..8)) {
            let key = public();
            let (kind, base64) = key.split_once(' ').expect("two words");
            let known = [
                "ada", "bob,eve", kind, base64, "namespaces=\"git,*\"", "valid-after=20260101Z", "\"", ",", " ", "\t",
                "cert-authority", "#",
            ];
            let line: Vec<&str> = words.iter().map(|&at| known[at]).collect();
            let _ = Signers::read(line.join(" ").as_bytes());
        }
    }
}
