//! YAML text -> a tree in which every node knows its place and its own spelling.
//!
//! Types, names and ranges are not looked at here: what YAML allows is accepted, repeated keys
//! included, so that the walk over the tree can report everything that is wrong at once.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DuplicateKeyPolicy, Location, MergeKeyPolicy, MessageFormatter, NonFiniteFloatPolicy, Spanned,
    UserMessageFormatter,
};

use super::errors::ManifestError;
use contract::words::quote;

/// Nested lists and mappings; the format itself needs 7.
const DEPTH_MAX: usize = 16;
/// Nodes, those that aliases stand for included. Keeps a few nested aliases from growing into
/// gigabytes; the largest published sections need a few hundred.
const NODES_MAX: usize = 50_000;

/// A value of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Line and column of its first character, both from 1. For an alias: where it is used.
    pub place: (u32, u32),
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    /// Exactly as written: `0.80` stays `0.80`.
    Bool(String),
    /// Exactly as written.
    Number(String),
    /// Without its quotes.
    Text(String),
    List(Vec<Node>),
    /// In the order of the text, repeats included.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What the value is, for "found ..." in messages.
    pub fn describe(&self) -> String {
        match self {
            Value::Null => "nothing".to_owned(),
            Value::Bool(text) | Value::Number(text) => quote(text),
            Value::Text(text) => format!("the text {}", quote(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Parses one YAML document.
pub(super) fn parse(source: &str) -> Result<Node, ManifestError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_recorded_anchor_events: 4 * NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
            max_replay_stack_depth: DEPTH_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(source, options).map_err(|e| {
        use serde_saphyr::Error;
        let mut cause = e.without_snippet();
        while let Error::AliasError { error, .. } = cause {
            cause = error;
        }
        let message = match cause {
            Error::Budget { .. }
            | Error::AliasReplayLimitExceeded { .. }
            | Error::AliasReplayStackDepthExceeded { .. } => format!(
                "too complex: more than {NODES_MAX} values or {DEPTH_MAX} nested levels, those \
                 that aliases stand for included"
            ),
            other => {
                let message = UserMessageFormatter.format_message(other);
                format!("not valid YAML: {}", message.trim_end_matches('.'))
            }
        };
        ManifestError { place: e.location().map(place), message, hint: None }
    })?;
    Ok(raw_to_node(raw, source))
}

fn place(location: Location) -> (u32, u32) {
    let clamp = |x: u64| u32::try_from(x).unwrap_or(u32::MAX);
    (clamp(location.line()), clamp(location.column()))
}

/// What the YAML reader resolves a node to, before its spelling is looked up.
enum Raw {
    Null,
    Bool,
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn raw_to_node(raw: Spanned<Raw>, source: &str) -> Node {
    let spelling = || {
        let span = raw.defined.span();
        let range = span.byte_offset().zip(span.byte_len());
        range
            .and_then(|(start, len)| source.get(start as usize..(start + len) as usize))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool => Value::Bool(spelling()),
        Raw::Number => Value::Number(spelling()),
        Raw::Text(text) => Value::Text(text),
        Raw::List(items) => {
            Value::List(items.into_iter().map(|item| raw_to_node(item, source)).collect())
        }
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (raw_to_node(key, source), raw_to_node(value, source)))
                .collect(),
        ),
    };
    Node { place: place(raw.referenced), value }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        struct RawVisitor;

        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
                Ok(Raw::Bool)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
                Ok(Raw::Number)
            }

            fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
                Ok(Raw::Number)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
                Ok(Raw::Number)
            }

            fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
                Ok(Raw::Number)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
                Ok(Raw::Number)
            }

            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }

        deserializer.deserialize_any(RawVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(source: &str) -> Vec<(Node, Node)> {
        match parse(source).unwrap_or_else(|e| panic!("{e:?}")).value {
            Value::Map(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_spelling_and_place() {
        let source = "é: [0.80, 1e3, 0x10, true, null, '0.5', -7, 18446744073709551616]\nb: &x 0.10 # c\nc: *x\n";
        let entries = entries(source);
        assert_eq!(entries[0].0.place, (1, 1));
        let Value::List(items) = &entries[0].1.value else { panic!() };
        let number = |s: &str| Value::Number(s.to_owned());
        let values: Vec<_> = items.iter().map(|n| n.value.clone()).collect();
        assert_eq!(
            values,
            [
                number("0.80"),
                number("1e3"),
                number("0x10"),
                Value::Bool("true".to_owned()),
                Value::Null,
                Value::Text("0.5".to_owned()),
                number("-7"),
                number("18446744073709551616"),
            ]
        );
        assert_eq!(items[1].place, (1, 11));
        assert_eq!(entries[1].1.value, number("0.10"));
        assert_eq!((entries[2].1.place, &entries[2].1.value), ((3, 4), &number("0.10")));
    }

    #[test]
    fn repeated_keys_are_kept() {
        let keys: Vec<_> = entries("a: 1\nb: 2\na: 3\n").iter().map(|(k, _)| k.place).collect();
        assert_eq!(keys, [(1, 1), (2, 1), (3, 1)]);
    }

    #[test]
    fn nesting_and_aliases_are_bounded() {
        for source in [
            "[".repeat(10_000),
            format!("a: {}1{}", "[".repeat(100), "]".repeat(100)),
            (0..100).map(|i| format!("{}a:\n", " ".repeat(i))).collect(),
            std::iter::once("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned())
                .chain(
                    (1..12)
                        .map(|i| format!("a{i}: &a{i} [{}]\n", format!("*a{},", i - 1).repeat(10))),
                )
                .collect(),
            "a: &a [*a]".to_owned(),
            "a: 1\n---\nb: 2\n".to_owned(),
            "a: {<<: {b: 1}}".to_owned(),
            "a: *missing".to_owned(),
            "a: [1, 2".to_owned(),
            "a: \"x".to_owned(),
        ] {
            let error = parse(&source).expect_err(&source);
            println!("{error:?}");
            assert!(error.place.is_some(), "{error:?}");
        }
    }
}
