//! The walk over the tree: typed access that collects errors instead of stopping at the first.

use super::errors::ManifestError;
use super::tree::{Node, Value};
use contract::words::{nearest, quote};

/// Longest name. A case's id has a section's and a layer's, and with the rest of it names a folder: 255 bytes at most on
/// common file systems.
const NAME_LEN_MAX: usize = 100;

/// Collects what is wrong. Every reading method returns `None` after it has reported.
#[derive(Default)]
pub(super) struct Walk {
    pub errors: Vec<ManifestError>,
}

/// A mapping whose keys are all known and all different.
pub(super) struct Fields<'n> {
    pub place: (u32, u32),
    entries: Vec<(&'n str, &'n Node)>,
    /// Known keys that a refused one was probably meant to be: reported once is enough.
    slips: Vec<String>,
}

impl<'n> Fields<'n> {
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(known, _)| *known == key).map(|(_, node)| *node)
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn require(&self, walk: &mut Walk, key: &str) -> Option<&'n Node> {
        let node = self.get(key);
        if node.is_none() && !self.slips.iter().any(|slip| slip == key) {
            walk.fail(self.place, format!("missing key `{key}`"), "");
        }
        node
    }
}

impl Walk {
    /// Reports an error; an empty `hint` is none.
    pub fn fail(&mut self, place: (u32, u32), message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.errors.push(ManifestError { place: Some(place), message: message.into(), hint });
    }

    /// Reports that `node` is not what was expected.
    pub fn expected<T>(&mut self, node: &Node, what: &str, hint: &str) -> Option<T> {
        self.fail(node.place, format!("expected {what}, found {}", node.value.describe()), hint);
        None
    }

    /// A mapping; `what` says what of.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            let keys = known.join(", ");
            return self.expected(node, &format!("{what}: a mapping with the keys {keys}"), "");
        };
        let mut fields = Fields { place: node.place, entries: Vec::new(), slips: Vec::new() };
        for (key, value) in entries {
            let (Value::Text(name) | Value::Number(name) | Value::Bool(name)) = &key.value else {
                self.expected::<()>(key, "a key", "");
                continue;
            };
            if !known.contains(&name.as_str()) {
                let near = nearest(name, known.iter().copied());
                let hint = near.map_or(String::new(), |near| format!("did you mean `{near}`?"));
                let known = known.join(", ");
                let message =
                    format!("unknown key {} in {what} (known keys: {known})", quote(name));
                self.fail(key.place, message, &hint);
                fields.slips.extend(near.map(str::to_owned));
            } else if fields.has(name) {
                self.fail(key.place, format!("key `{name}` given twice in {what}"), "");
            } else {
                fields.entries.push((name.as_str(), value));
            }
        }
        Some(fields)
    }

    /// A list that is not empty; a single value stands for a list of one.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.fail(
                    node.place,
                    format!("expected at least one {what}, found an empty list"),
                    "",
                );
                &[]
            }
            Value::List(items) => items,
            Value::Null => {
                self.expected::<()>(node, &format!("at least one {what}"), "");
                &[]
            }
            _ => std::slice::from_ref(node),
        }
    }

    /// A list in which `read` understands each value and none occurs twice.
    pub fn distinct<T: PartialEq>(
        &mut self,
        node: &Node,
        what: &str,
        read: impl Fn(&mut Walk, &Node) -> Option<T>,
    ) -> Vec<(T, (u32, u32))> {
        let mut values: Vec<(T, (u32, u32))> = Vec::new();
        for item in self.list(node, what) {
            let Some(value) = read(self, item) else { continue };
            if values.iter().any(|(seen, _)| *seen == value) {
                self.fail(item.place, format!("{what} given twice in the list"), "");
            } else {
                values.push((value, item.place));
            }
        }
        values
    }

    /// One line of printable text. Numbers and booleans are read as they are spelled.
    pub fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) | Value::Number(text) | Value::Bool(text)
                if !text.is_empty() && !text.chars().any(char::is_control) =>
            {
                Some(text)
            }
            Value::Text(text) if text.is_empty() => self.expected(node, what, ""),
            Value::Text(_) => {
                self.expected(node, &format!("{what} without control characters"), "")
            }
            _ => self.expected(node, what, ""),
        }
    }

    /// A name made of the characters that `allowed` accepts, which `characters` says in words, and not too long for
    /// tables and for names of files.
    pub fn name<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        characters: &str,
        allowed: impl Fn(char) -> bool,
    ) -> Option<&'n str> {
        let text = self.text(node, what)?;
        if !text.chars().all(allowed) || text.starts_with(['.', '-']) {
            let what = format!("{what} made of {characters}, not starting with `.` or `-`");
            return self.expected(node, &what, "");
        }
        // All allowed characters have one byte.
        if text.len() > NAME_LEN_MAX {
            let what = format!("{what} of at most {NAME_LEN_MAX} characters");
            return self.expected(node, &what, &format!("it has {}", text.len()));
        }
        Some(text)
    }

    /// A decimal integer in `min..=max`.
    pub fn integer(&mut self, node: &Node, what: &str, min: u64, max: u64) -> Option<u64> {
        let number = match &node.value {
            Value::Number(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Some(number),
            _ => self.expected(node, &format!("{what}: an integer from {min} to {max}"), ""),
        }
    }

    pub fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.value {
            Value::Bool(text) => Some(text.eq_ignore_ascii_case("true")),
            _ => self.expected(node, &format!("{what}: true or false"), ""),
        }
    }

    /// One of `choices`, by name.
    pub fn choice<T: Copy>(&mut self, node: &Node, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = match &node.value {
            Value::Text(text) => text.as_str(),
            _ => "",
        };
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let near = nearest(text, names.iter().copied());
        let hint = near.map_or(String::new(), |near| format!("did you mean `{near}`?"));
        self.expected(node, &format!("{what}: one of {}", names.join(", ")), &hint)
    }

    /// A format that is not `known`. Its draft differs by the name alone.
    pub fn format(&mut self, node: &Node, known: &str) {
        let is_draft =
            matches!(&node.value, Value::Text(text) if text.strip_suffix("-draft") == Some(known));
        let hint = format!("write `format: {known}`: nothing else differs from its draft");
        self.expected::<()>(
            node,
            &format!("the format `{known}`"),
            if is_draft { &hint } else { "" },
        );
    }

    /// The digest, sha256, in hexadecimal.
    pub fn digest(&mut self, node: &Node) -> Option<contract::digest::Digest> {
        let text = self.text(node, "a SHA-256 digest")?;
        match text.parse() {
            Ok(digest) => Some(digest),
            Err(form) => self.expected(node, &format!("a SHA-256 digest: {form}"), ""),
        }
    }
}
