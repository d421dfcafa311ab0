//! Which part of a run that is dealt out to many machines. How cases are dealt is the kit's business.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of so many shards. Written `2/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[1-9][0-9]*/[1-9][0-9]*$")))]
pub struct Shard {
    /// From 1 to `count`.
    index: u16,
    count: u16,
}

impl Shard {
    /// Which shard it is, from 1.
    pub fn index(self) -> u16 {
        self.index
    }

    /// How many shards there are.
    pub fn count(self) -> u16 {
        self.count
    }

    /// All shards of so many.
    pub fn all(count: u16) -> impl Iterator<Item = Shard> {
        (1..=count).map(move |index| Shard { index, count })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            (is_number(index) && is_number(count)).then_some((index, count))
        });
        let Some((index, count)) = numbers else {
            return Err("expected I/N, such as 2/4 for the second of four".into());
        };
        let Some(count) = count.parse().ok().filter(|&count| count >= 1) else {
            return Err(format!("{count} shards are out of range: must be from 1 to {}", u16::MAX));
        };
        match index.parse() {
            Ok(index) if (1..=count).contains(&index) => Ok(Shard { index, count }),
            _ => Err(format!("shard {index} is out of range: must be from 1 to {count}")),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Shard, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_two_numbers_in_range() {
        let good: Shard = "2/4".parse().unwrap();
        assert_eq!((good.index(), good.count(), good.to_string().as_str()), (2, 4, "2/4"));
        for (text, words) in [
            ("", "expected I/N"),
            ("2", "expected I/N"),
            ("/4", "expected I/N"),
            ("+1/4", "expected I/N"),
            ("1/4/4", "expected I/N"),
            ("0/4", "shard 0 is out of range: must be from 1 to 4"),
            ("5/4", "shard 5 is out of range: must be from 1 to 4"),
            ("1/0", "0 shards are out of range: must be from 1 to 65535"),
            ("1/65536", "65536 shards are out of range"),
        ] {
            let message = text.parse::<Shard>().unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
