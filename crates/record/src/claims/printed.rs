//! A figure as it is printed: all values that round to it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A published number, or a range of numbers.
///
/// `9.53` is every value from 9.525 to 9.535, `600` from 599.5 to 600.5, `7.6 to 9.2` from 7.55 to 9.25, and
/// `over 100` everything from 100 on: a figure says no more than its digits. `19.3M` is 19.3e6, by its digits too.
/// `few thousand` is 1,000 to 9,999: thousands that one digit counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Printed {
    text: String,
    /// The values that the text stands for.
    pub range: Range,
}

impl Printed {
    /// Reads a decimal (`9.53`, `3.9e-6`), two with ` to ` between them, one after `over `, or `few thousand`. Signs are
    /// refused: no published figure needs one.
    pub fn parse(text: &str) -> Option<Printed> {
        let range = if text == FEW_THOUSAND {
            Range { low: 1_000.0, high: 9_999.0 }
        } else if let Some((low, high)) = text.split_once(" to ") {
            let (low, high) = (decimal(low)?, decimal(high)?);
            (low.low <= high.low).then_some(Range { low: low.low, high: high.high })?
        } else if let Some(bound) = text.strip_prefix("over ") {
            let bound = decimal(bound)?;
            Range { low: (bound.low + bound.high) / 2.0, high: f64::INFINITY }
        } else {
            decimal(text)?
        };
        Some(Printed { text: text.to_owned(), range })
    }

    /// A count: the printed number and no other.
    pub fn count(text: &str) -> Option<Printed> {
        let count: u32 = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))?;
        Some(Printed { text: text.to_owned(), range: Range::exact(f64::from(count)) })
    }

    /// The values that round to it where zeros before the point may be those of rounding: `250` is 245 to 255 then.
    pub fn to_its_last_digit(&self) -> Range {
        let zeros = self.text.bytes().rev().take_while(|&b| b == b'0').count();
        let is_whole = !self.text.is_empty() && self.text.bytes().all(|b| b.is_ascii_digit());
        match is_whole && zeros < self.text.len() {
            true => {
                let half = 0.5 * 10f64.powi(zeros as i32);
                let value = (self.range.low + self.range.high) / 2.0;
                Range { low: value - half, high: value + half }
            }
            false => self.range,
        }
    }

    /// Whether it has two ends.
    pub fn is_span(&self) -> bool {
        self.text.contains(" to ")
    }

    /// Whether it is one number and no range.
    pub fn is_one(&self) -> bool {
        decimal(&self.text).is_some()
    }
}

/// As it was printed.
impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for Printed {
    type Error = String;

    fn try_from(text: String) -> Result<Printed, String> {
        Printed::parse(&text).ok_or_else(|| format!("`{text}` is no figure"))
    }
}

impl From<Printed> for String {
    fn from(printed: Printed) -> String {
        printed.text
    }
}

/// The one figure that is printed in words.
const FEW_THOUSAND: &str = "few thousand";

/// The values that round to a decimal.
fn decimal(text: &str) -> Option<Range> {
    let millions = text.strip_suffix('M');
    let (digits, exponent) = match (millions, text.split_once(['e', 'E'])) {
        (Some(digits), _) => (digits, 6),
        (None, Some((digits, exponent))) => (digits, exponent.parse::<i32>().ok()?),
        (None, None) => (text, 0),
    };
    let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let decimals = match digits.split_once('.') {
        Some((whole, decimals)) if is_plain(whole) && is_plain(decimals) => decimals.len(),
        None if is_plain(digits) => 0,
        _ => return None,
    };
    if text.len() > 32 || exponent.unsigned_abs() > 300 {
        return None;
    }
    let value: f64 = format!("{digits}e{exponent}").parse().ok()?;
    let half = 0.5 * 10f64.powi(exponent - decimals as i32);
    Some(Range { low: (value - half).max(0.0), high: value + half })
}

/// Values from `low` to `high`, both included and neither below zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least value.
    pub low: f64,
    /// The largest value.
    pub high: f64,
}

/// Arithmetic on doubles is not exact: a range is this much wider than its ends say.
const SLACK: f64 = 1e-9;

impl Range {
    /// The one value.
    pub fn exact(value: f64) -> Range {
        Range { low: value, high: value }
    }

    /// All products of a value of each.
    pub fn times(self, other: Range) -> Range {
        Range { low: self.low * other.low, high: self.high * other.high }
    }

    /// All quotients of a value of each.
    pub fn over(self, other: Range) -> Range {
        Range { low: self.low / other.high, high: self.high / other.low }
    }

    /// `1 - self`, not below zero.
    pub fn complement(self) -> Range {
        Range { low: (1.0 - self.high).max(0.0), high: (1.0 - self.low).max(0.0) }
    }

    /// Whether some value is in both.
    pub fn meets(self, other: Range) -> bool {
        let slack = SLACK * self.high.abs().min(other.high.abs());
        self.low <= other.high + slack && other.low <= self.high + slack
    }

    /// Whether every value of this one is below every value of the other.
    pub fn is_below(self, other: Range) -> bool {
        !self.meets(other) && self.high < other.low
    }

    /// Whether `value` is in the range.
    pub fn contains(self, value: f64) -> bool {
        self.meets(Range::exact(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> (f64, f64) {
        let Range { low, high } = Printed::parse(text).unwrap_or_else(|| panic!("{text}")).range;
        (low, high)
    }

    #[test]
    fn a_figure_is_all_that_rounds_to_it() {
        assert_eq!(range("9.5"), (9.45, 9.55));
        assert_eq!(range("600"), (599.5, 600.5));
        assert_eq!(range("0"), (0.0, 0.5));
        assert_eq!(range("19.3e6"), (19.25e6, 19.35e6));
        assert_eq!(range("19.3M"), range("19.3e6"));
        assert_eq!(range("2.5e-3"), (2.45e-3, 2.55e-3));
        assert_eq!(range("7.5 to 9.5"), (7.45, 9.55));
        assert_eq!(range("over 100"), (100.0, f64::INFINITY));
        assert_eq!(range("few thousand"), (1000.0, 9999.0));
        // The last digit counts, zeros as well.
        assert_ne!(range("1.0"), range("1.00"));
    }

    #[test]
    fn zeros_before_the_point_may_be_of_rounding() {
        let whole = |text: &str| {
            let Range { low, high } = Printed::parse(text).expect(text).to_its_last_digit();
            (low, high)
        };
        assert_eq!(whole("250"), (245.0, 255.0));
        assert_eq!(whole("256"), (255.5, 256.5));
        assert_eq!(whole("2.50"), (2.495, 2.505));
        assert_eq!(whole("0"), (0.0, 0.5));
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1,000",
            "1 000",
            "nan",
            "inf",
            "0x10",
            "1e",
            "1e999",
            "9 to",
            "9 to 8",
            "over",
            "over x",
            "few",
            "thousand",
            "a few thousand",
            "few thousand to 9999",
            "over few thousand",
            "1 to 2 to 3",
            "1.2.3",
            "e5",
            "M",
            "1e3M",
            "1MM",
            "1m",
        ] {
            assert_eq!(Printed::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_value_meets_what_it_is_printed_as(value in 0.001f64..1e9, decimals in 0usize..6) {
            let printed = Printed::parse(&format!("{value:.decimals$}")).unwrap();
            prop_assert!(printed.range.contains(value), "{printed}");
        }

        #[test]
        fn a_ratio_meets_the_ratio_of_what_was_printed(
            x in 0.1f64..1e6, y in 0.1f64..1e6, decimals in 0usize..4
        ) {
            let print = |value: f64| Printed::parse(&format!("{value:.decimals$}")).unwrap().range;
            prop_assert!(print(x).over(print(y)).contains(x / y));
            prop_assert!(print(x).times(print(y)).contains(x * y));
        }
    }
}
