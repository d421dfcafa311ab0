//! Numbers in words for people: the digits shown and the unit behind them, for all tables and reports. Left
//! out: what is compared or stored, which keeps every bit.

/// Three significant digits; an exponent where it would be long.
pub fn three_digits(value: f64) -> String {
    digits(value, 3)
}

/// A number with four significant digits, or in full where it is an integer below a million.
pub fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e6 {
        return format!("{value}");
    }
    digits(value, 4)
}

fn digits(value: f64, count: i32) -> String {
    if !value.is_finite() {
        return "infinity".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    // Rounding can make a digit more, so that the exponent is that of the rounded value.
    let scientific = format!("{value:.*e}", (count - 1) as usize);
    let magnitude = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok());
    let Some(magnitude @ -4..6) = magnitude else { return scientific };
    format!("{value:.*}", (count - 1 - magnitude).max(0) as usize)
}

/// A probability: in percent where that has a digit, else as a power of ten.
pub fn probability(p: f64) -> String {
    match p {
        p if p <= 0.0 => "0".to_owned(),
        p if p < 1e-3 => format!("{p:.0e}"),
        p => format!("{:.1} %", p * 100.0),
    }
}

/// Three digits in the first unit that leaves less than a thousand, each unit a thousand of the one before.
fn scaled(value: f64, units: &[&str]) -> String {
    let mut value = value;
    for (at, unit) in units.iter().enumerate() {
        // What rounds to a thousand is one of the next unit.
        if value.abs() < 999.5 || at + 1 == units.len() {
            return format!("{} {unit}", three_digits(value));
        }
        value /= 1000.0;
    }
    String::new()
}

/// `520 us`, `2.50 ms`.
pub fn time(ns: f64) -> String {
    scaled(ns, &["ns", "us", "ms", "s"])
}

/// `326 mJ`.
pub fn energy(joules: f64) -> String {
    scaled(joules * 1e6, &["uJ", "mJ", "J", "kJ", "MJ"])
}

/// `9.53x`.
pub fn ratio(ratio: f64) -> String {
    format!("{}x", three_digits(ratio))
}

/// Decimal units; bytes below a thousand are counted.
pub fn bytes(bytes: f64) -> String {
    match bytes < 1000.0 {
        true => format!("{bytes:.0} B"),
        false => scaled(bytes / 1000.0, &["kB", "MB", "GB", "TB", "PB"]),
    }
}

/// `80.00 %`; `-` of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    percent_of(part as f64 / whole as f64)
}

/// A share from 0 to 1, in percent.
pub fn percent_of(share: f64) -> String {
    match (100.0 * share).abs() < 1e9 {
        true => format!("{:.2} %", 100.0 * share),
        false => format!("{} %", three_digits(100.0 * share)),
    }
}

/// How long a case or a run took: `250 ms`, `62.0 s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// A timing in the terminal's narrow column: `22 us`, `2.50 ms`.
pub fn narrow_time(ns: f64) -> String {
    let ms = ns / 1e6;
    if ms < 1.0 { format!("{:.0} us", ms * 1e3) } else { format!("{ms:.2} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_the_unit_last() {
        assert_eq!(time(520_176.0), "520 us");
        assert_eq!(time(2_496_176.0), "2.50 ms");
        assert_eq!(time(999_600.0), "1.00 ms");
        assert_eq!(time(62e9), "62.0 s");
        assert_eq!(time(0.0), "0 ns");
        assert_eq!(time(5e15), "5.00e6 s");
        assert_eq!(energy(0.3261), "326 mJ");
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(56_688_132.0), "56.7 MB");
        assert_eq!(bytes(999_700.0), "1.00 MB");
        assert_eq!(ratio(10.023), "10.0x");
        assert_eq!(ratio(0.9444), "0.944x");
        assert_eq!(percent(1, 3), "33.33 %");
        assert_eq!(percent(1, 0), "-");
    }

    #[test]
    fn odd_numbers_have_a_text_too() {
        for value in [0.0, -0.0, -1.5, 1e-300, 1e300, f64::MAX, f64::INFINITY, f64::NAN] {
            let texts = [time(value), energy(value), ratio(value), bytes(value), number(value)];
            for text in texts.into_iter().chain([percent_of(value), seconds(value)]) {
                assert!(!text.is_empty() && text.len() < 330, "{value}: {text}");
            }
            assert!(ratio(value).len() < 16, "{}", ratio(value));
        }
    }
}
