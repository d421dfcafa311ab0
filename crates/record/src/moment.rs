//! Points in time as files write them, without a clock: RFC 3339 in UTC, and seconds since 1970-01-01T00:00:00Z.

/// Seconds since 1970 of a day and a time of day; `None` where there is no such day or time. A leap second is none.
pub fn seconds(date: (i64, i64, i64), time: (i64, i64, i64)) -> Option<i64> {
    let (year, month, day) = date;
    let (hour, minute, second) = time;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    if !(1970..=9999).contains(&year) || !(1..=days_of_month).contains(&day) || !is_time {
        return None;
    }
    // Days before the year, then before the month as if February had 28, then leap days of the year itself.
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let last = year - 1;
    let leaps = last / 4 - last / 100 + last / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let before = BEFORE[usize::try_from(month - 1).ok()?];
    let days = (year - 1970) * 365 + leaps + before + i64::from(is_leap && month > 2) + (day - 1);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Seconds since 1970 of a text such as `2026-11-28T04:01:08Z`, the one form that the program writes.
pub fn parse(text: &str) -> Option<i64> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let is_shaped = bytes.iter().zip(b"dddd-dd-ddTdd:dd:ddZ").all(|(&byte, &shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        _ => byte == shape,
    });
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    if !is_shaped {
        return None;
    }
    let date = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    seconds(date, (part(11, 13)?, part(14, 16)?, part(17, 19)?))
}

/// The text of [`parse`]; `None` outside of the years 1970 to 9999.
pub fn text(seconds_since_1970: i64) -> Option<String> {
    let (days, rest) = (seconds_since_1970.div_euclid(86400), seconds_since_1970.rem_euclid(86400));
    // The year and the month are those whose first day is the last not after it: no formula to get wrong.
    let first = |year, month| seconds((year, month, 1), (0, 0, 0)).map(|s| s / 86400);
    let guess = 1970 + days / 366;
    let year = (guess..=guess + 30)
        .take_while(|&year| first(year, 1).is_some_and(|f| f <= days))
        .last()?;
    let month =
        (1..=12).take_while(|&month| first(year, month).is_some_and(|f| f <= days)).last()?;
    let day = days - first(year, month)? + 1;
    let text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    );
    (parse(&text)? == seconds_since_1970).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (written, since) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2020-07-22T15:17:30Z", 1_595_431_050),
            ("2023-08-23T15:09:27Z", 1_692_803_367),
            ("2038-01-19T03:14:08Z", 2_147_483_648),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(parse(written), Some(since), "{written}");
            assert_eq!(text(since).as_deref(), Some(written));
        }
    }

    #[test]
    fn every_day_comes_back() {
        for day in 0..200 * 365 {
            let since = day * 86400 + day % 86400;
            let written = text(since).expect("within the years");
            assert_eq!(parse(&written), Some(since), "{written}");
        }
    }

    #[test]
    fn other_texts_are_none() {
        for other in [
            "",
            "2026-11-28T04:01:08",
            "2026-11-28 04:01:08Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2016-12-31T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "2026-11-28T04:01:08+0",
            "\u{661}026-11-28T04:01:0",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(text(-1), None);
        assert_eq!(text(i64::MAX), None);
    }
}
