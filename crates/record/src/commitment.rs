//! A nonce that was drawn after somebody had committed to what it tests: which commitment, and where the nonce is from.
//! Formats of public randomness are checked without a network: whether a beacon or a chain really had that value is for
//! whoever asks it.

use contract::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::moment;

/// The commitment that a nonce was drawn after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Digest of the commitment's file.
    #[cfg_attr(feature = "schema", schemars(with = "crate::stand_in::Digest"))]
    pub commit_sha256: Digest,
    /// When it was made, by its own word: RFC 3339, UTC.
    pub committed: String,
    /// Where the nonce is from: words, `drand:CHAIN:ROUND:RANDOMNESS[:SIGNATURE]` or `bitcoin:HEIGHT:HASH`.
    pub nonce_source: String,
}

/// Where a nonce is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody's words, of which nothing is checked.
    Words(String),
    /// A round of a drand beacon (drand.love).
    Drand {
        /// Hash of the chain's parameters.
        chain: Digest,
        /// From 1.
        round: u64,
        /// SHA-256 of the round's signature.
        randomness: Digest,
        /// The BLS signature, 48 or 96 bytes, where it was given.
        signature: Option<Vec<u8>>,
    },
    /// A block of Bitcoin.
    Bitcoin {
        /// Height of the block.
        height: u64,
        /// Its hash, in the order in which explorers print it.
        hash: Digest,
    },
}

/// A drand chain whose rounds have known times.
struct Chain {
    hash: &'static str,
    name: &'static str,
    /// Time of round 1, in seconds since 1970.
    genesis_s: u64,
    /// Time between rounds, in seconds.
    period_s: u64,
}

/// Chains of the League of Entropy, as `https://api.drand.sh/CHAIN/info` gives them.
const CHAINS: [Chain; 2] = [
    Chain {
        hash: "8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce",
        name: "default",
        genesis_s: 1_595_431_050,
        period_s: 30,
    },
    Chain {
        hash: "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
        name: "quicknet",
        genesis_s: 1_692_803_367,
        period_s: 3,
    },
];

/// Bytes of a drand signature: a point of G1 or of G2 of BLS12-381.
const SIGNATURE_BYTES: [usize; 2] = [48, 96];
/// Leading zero bits that the hash of every block has: difficulty 1, the lowest of Bitcoin's main network.
const BLOCK_ZERO_BITS: u32 = 32;
/// Longest text of a source, in bytes: a signature takes 192.
const TEXT_BYTES_MAX: usize = 1024;

/// Why a source is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  expected {expected}\n  got      {got}")]
pub struct BadSource {
    /// What is wrong.
    pub what: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub got: String,
}

fn refused<T>(
    what: &'static str,
    expected: impl ToString,
    got: impl ToString,
) -> Result<T, BadSource> {
    Err(BadSource { what, expected: expected.to_string(), got: got.to_string() })
}

/// The bytes of lower-case hexadecimal digits.
fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .map(|c| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        })
        .collect::<Option<_>>()?;
    digits
        .len()
        .is_multiple_of(2)
        .then(|| digits.chunks_exact(2).map(|two| two[0] << 4 | two[1]).collect())
}

fn digest(what: &'static str, text: &str) -> Result<Digest, BadSource> {
    text.parse().or_else(|expected: contract::digest::NotADigest| refused(what, expected, text))
}

fn number(what: &'static str, text: &str) -> Result<u64, BadSource> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(number) if is_plain => Ok(number),
        _ => refused(what, "a number from 1, in digits", text),
    }
}

impl Source {
    /// Reads a source. `drand:` and `bitcoin:` have the forms of [`After::nonce_source`]; all else is words.
    pub fn parse(text: &str) -> Result<Source, BadSource> {
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            let got = format!("{} bytes", text.len());
            return refused(
                "the nonce's source is empty or too long",
                format!("1 to {TEXT_BYTES_MAX} bytes that say where the nonce is from"),
                got,
            );
        }
        let Some((kind, rest)) = text.split_once(':') else {
            return Ok(Source::Words(text.to_owned()));
        };
        let parts: Vec<&str> = rest.split(':').collect();
        match (kind, &parts[..]) {
            ("drand", [chain, round, randomness, signature @ ..]) if signature.len() < 2 => {
                let randomness = digest("the randomness of a drand round", randomness)?;
                let signature = match signature {
                    [] => None,
                    [text, ..] => Some(signature_of(text, randomness)?),
                };
                Ok(Source::Drand {
                    chain: digest("the hash of a drand chain", chain)?,
                    round: number("the number of a drand round", round)?,
                    randomness,
                    signature,
                })
            }
            ("drand", _) => refused(
                "a drand round",
                "drand:CHAIN:ROUND:RANDOMNESS, and :SIGNATURE or not",
                text,
            ),
            ("bitcoin", [height, hash]) => {
                let hash = digest("the hash of a block", hash)?;
                let height = number("the height of a block", height)?;
                let zeros: u32 = leading_zero_bits(&hash.0);
                if zeros < BLOCK_ZERO_BITS {
                    return refused(
                        "the hash of a block has too few zeros in front: it is in another byte order, or of no block",
                        format!("{BLOCK_ZERO_BITS} zero bits at least, as every block has"),
                        format!("{zeros}"),
                    );
                }
                Ok(Source::Bitcoin { height, hash })
            }
            ("bitcoin", _) => refused("a block of Bitcoin", "bitcoin:HEIGHT:HASH", text),
            _ => Ok(Source::Words(text.to_owned())),
        }
    }

    /// The nonce that the source gives; `None` of words.
    fn nonce(&self) -> Option<Digest> {
        match self {
            Source::Words(_) => None,
            Source::Drand { randomness, .. } => Some(*randomness),
            Source::Bitcoin { hash, .. } => Some(*hash),
        }
    }

    /// When the source had its value, in seconds since 1970; `None` where that cannot be known without asking.
    fn time_s(&self) -> Option<(i64, &'static str)> {
        let Source::Drand { chain, round, .. } = self else { return None };
        let chain = chain.to_string();
        let known = CHAINS.iter().find(|known| known.hash == chain)?;
        let since = (round - 1).checked_mul(known.period_s)?;
        Some((i64::try_from(known.genesis_s.checked_add(since)?).ok()?, known.name))
    }
}

fn leading_zero_bits(bytes: &[u8]) -> u32 {
    let zero = bytes.iter().take_while(|&&byte| byte == 0).count();
    let next = bytes.get(zero).map_or(0, |byte| byte.leading_zeros());
    8 * u32::try_from(zero).unwrap_or(u32::MAX / 8) + next
}

/// The signature of a round, whose SHA-256 is the round's randomness.
fn signature_of(text: &str, randomness: Digest) -> Result<Vec<u8>, BadSource> {
    let what = "the signature of a drand round";
    match bytes_of_hex(text) {
        Some(bytes) if SIGNATURE_BYTES.contains(&bytes.len()) => {
            let own = Digest::of(&bytes);
            if own != randomness {
                return refused(
                    "the randomness of a drand round is not the SHA-256 of its signature",
                    own,
                    randomness,
                );
            }
            Ok(bytes)
        }
        _ => refused(what, "48 or 96 bytes in lower-case hexadecimal digits", text),
    }
}

impl After {
    /// Refuses a source that does not give the nonce, or that had its value before the commitment was made. What is
    /// known of the order, in words.
    pub fn check(&self, nonce: Option<&str>) -> Result<String, BadSource> {
        let Some(nonce) = nonce else {
            return refused(
                "a nonce that was drawn after a commitment is named, and there is none",
                "a nonce",
                "none",
            );
        };
        let Some(committed) = moment::parse(&self.committed) else {
            return refused(
                "the time of a commitment",
                "RFC 3339 in UTC, such as 2026-11-28T04:01:08Z",
                &self.committed,
            );
        };
        let source = Source::parse(&self.nonce_source)?;
        if let Some(given) = source.nonce()
            && given.to_string() != nonce
        {
            return refused("the nonce is not the one that its source gives", given, nonce);
        }
        let committed_text = &self.committed;
        match (&source, source.time_s()) {
            (_, Some((drawn, _))) if drawn <= committed => {
                let text = moment::text(drawn).unwrap_or_else(|| format!("{drawn} s after 1970"));
                refused(
                    "the nonce's source had its value before the commitment was made",
                    format!("a round after {committed_text}"),
                    format!("one of {text}"),
                )
            }
            (_, Some((drawn, name))) => Ok(format!(
                "committed {committed_text} by its own word; the round of drand's chain {name} is of {}, {} s later",
                moment::text(drawn).unwrap_or_else(|| format!("{drawn} s after 1970")),
                drawn - committed
            )),
            (Source::Words(_), None) => Ok(format!(
                "committed {committed_text} by its own word; the nonce is from somebody's words: its order is not checked"
            )),
            (Source::Drand { .. }, None) => Ok(format!(
                "committed {committed_text} by its own word; times of this drand chain are not known here: the order is not \
                 checked"
            )),
            (Source::Bitcoin { height, .. }, None) => Ok(format!(
                "committed {committed_text} by its own word; when block {height} was found is not known here: the order is not \
                 checked"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = CHAINS[0].hash;
    /// Round 1 of the default chain, as `https://api.drand.sh/public/1` gives it.
    const RANDOMNESS: &str = "101297f1ca7dc44ef6088d94ad5fb7ba03455dc33d53ddb412bbc4564ed986ec";
    const SIGNATURE: &str = "8d61d9100567de44682506aea1a7a6fa6e5491cd27a0a0ed349ef6910ac5ac20\
                             ff7bc3e09d7c046566c9f7f3c6f3b10104990e7cb424998203d8f7de586fb7fa\
                             5f60045417a432684f85093b06ca91c769f0e7ca19268375e659c2a2352b4655";
    /// Bitcoin's first block.
    const BLOCK: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";

    fn after(committed: &str, source: String) -> After {
        After {
            commit_sha256: Digest::of(b"a commitment"),
            committed: committed.into(),
            nonce_source: source,
        }
    }

    #[test]
    fn a_published_round_is_what_it_says() {
        for source in [
            format!("drand:{CHAIN}:1:{RANDOMNESS}"),
            format!("drand:{CHAIN}:1:{RANDOMNESS}:{SIGNATURE}"),
        ] {
            assert!(matches!(Source::parse(&source), Ok(Source::Drand { round: 1, .. })));
            // Its time is 15:17:30.
            let words = after("2020-07-22T15:17:00Z", source.clone()).check(Some(RANDOMNESS));
            assert!(words.expect("in order").contains("of 2020-07-22T15:17:30Z, 30 s later"));
            for late in ["2020-07-22T15:17:30Z", "2026-01-01T00:00:00Z"] {
                let error = after(late, source.clone()).check(Some(RANDOMNESS)).unwrap_err();
                assert!(error.to_string().contains("before the commitment was made"), "{error}");
            }
            let error = after("2020-01-01T00:00:00Z", source).check(Some("mine")).unwrap_err();
            assert!(error.to_string().contains("not the one that its source gives"), "{error}");
        }
    }

    #[test]
    fn a_changed_digit_is_refused() {
        let other = RANDOMNESS.replacen('1', "2", 1);
        let source = format!("drand:{CHAIN}:1:{other}:{SIGNATURE}");
        let error = Source::parse(&source).unwrap_err().to_string();
        assert!(error.contains("is not the SHA-256 of its signature"), "{error}");
        assert!(error.contains(RANDOMNESS) && error.contains(&other), "{error}");
    }

    #[test]
    fn a_block_has_its_zeros_in_front() {
        assert!(Source::parse(&format!("bitcoin:840000:{BLOCK}")).is_ok());
        let reversed: String = BLOCK
            .as_bytes()
            .chunks(2)
            .rev()
            .flat_map(|two| [two[0] as char, two[1] as char])
            .collect();
        let error = Source::parse(&format!("bitcoin:840000:{reversed}")).unwrap_err().to_string();
        assert!(error.contains("another byte order"), "{error}");
        let words = after("2026-01-01T00:00:00Z", format!("bitcoin:840000:{BLOCK}"));
        assert!(words.check(Some(BLOCK)).expect("words").contains("is not checked"));
        assert!(words.check(Some(RANDOMNESS)).is_err());
    }

    #[test]
    fn words_are_words_and_shapes_are_kept() {
        for words in ["drawn by dice, with witnesses", "a coin: heads", "mail of the auditor"] {
            assert!(matches!(Source::parse(words), Ok(Source::Words(_))));
            let said = after("2026-01-01T00:00:00Z", words.into()).check(Some("n"));
            assert!(said.expect("words").contains("somebody's words"));
        }
        for bad in [
            String::new(),
            " ".into(),
            "x".repeat(1025),
            "drand:".into(),
            format!("drand:{CHAIN}:1"),
            format!("drand:{CHAIN}:0:{RANDOMNESS}"),
            format!("drand:{CHAIN}:+1:{RANDOMNESS}"),
            format!("drand:{CHAIN}:01:{RANDOMNESS}"),
            format!("drand:short:1:{RANDOMNESS}"),
            format!("drand:{CHAIN}:1:{}", RANDOMNESS.to_uppercase()),
            format!("drand:{CHAIN}:1:{RANDOMNESS}:"),
            format!("drand:{CHAIN}:1:{RANDOMNESS}:abc"),
            format!("drand:{CHAIN}:1:{RANDOMNESS}:{SIGNATURE}:x"),
            "bitcoin:1".into(),
            format!("bitcoin:-1:{BLOCK}"),
            format!("bitcoin:1:{BLOCK}:x"),
            format!("bitcoin:1:{RANDOMNESS}"),
        ] {
            assert!(Source::parse(&bad).is_err(), "{bad}");
        }
        assert!(after("yesterday", "words".into()).check(Some("n")).is_err());
        assert!(after("2026-01-01T00:00:00Z", "words".into()).check(None).is_err());
        // A round so late that its time is no number.
        let far = format!("drand:{CHAIN}:{}:{RANDOMNESS}", u64::MAX);
        assert!(after("2026-01-01T00:00:00Z", far).check(Some(RANDOMNESS)).is_ok());
    }
}
