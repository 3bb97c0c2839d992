//! Lengths of time (`500ms`, `30s`, `5m`, `2h`, `7d`) and points in time (RFC 3339, epoch seconds), to and from milliseconds.

use jiff::Timestamp;

pub const SECOND_MS: i64 = 1_000;
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The longest duration that anybody may ask for.
pub const MAX_DURATION_MS: i64 = 366 * DAY_MS;

/// The last millisecond of the year 9999.
pub const MAX_TIME_MS: i64 = 253_402_300_799_999;

/// From the largest unit down, so that the first one that divides is the shortest way to write.
const UNITS: [(&str, i64); 5] =
    [("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS), ("ms", 1)];

/// The text is no duration that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDuration {
    #[error("must be a whole number with one unit (ms, s, m, h or d), such as 30s")]
    Form,
    #[error("must be longer than 0")]
    Zero,
    #[error("must be 366d at most")]
    TooLong,
    #[error("must be 0 or more seconds")]
    Negative,
}

/// The number or text is no point in time that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTime {
    #[error(
        "must be an RFC 3339 time with an offset, such as 2030-01-31T09:00:00Z, or a number of seconds since 1970"
    )]
    Form,
    #[error("must lie in the years 1970 to 9999")]
    OutOfRange,
}

/// Reads `500ms`, `30s`, `5m`, `2h` or `7d`; `0s` is fine.
pub fn parse_duration_ms(text: &str) -> Result<i64, BadDuration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(BadDuration::Form);
    };
    if number.is_empty() {
        return Err(BadDuration::Form);
    }
    // All that is left to go wrong is the size.
    let count: i64 = number.parse().map_err(|_| BadDuration::TooLong)?;
    count.checked_mul(*unit_ms).filter(|ms| *ms <= MAX_DURATION_MS).ok_or(BadDuration::TooLong)
}

/// Like [`parse_duration_ms`], where a length of 0 makes no sense.
pub fn parse_positive_ms(text: &str) -> Result<i64, BadDuration> {
    match parse_duration_ms(text)? {
        0 => Err(BadDuration::Zero),
        ms => Ok(ms),
    }
}

/// Reads a JSON number of seconds as a duration, rounded to milliseconds.
pub fn parse_seconds_ms(number: &str) -> Result<i64, BadDuration> {
    let seconds = decimal(number).ok_or(BadDuration::Form)?;
    if seconds < 0.0 {
        return Err(BadDuration::Negative);
    }
    if seconds > (MAX_DURATION_MS / SECOND_MS) as f64 {
        return Err(BadDuration::TooLong);
    }
    Ok((seconds * 1000.0).round() as i64)
}

/// Writes a duration as [`parse_duration_ms`] reads it, in the largest unit that divides it.
pub fn format_duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let (name, unit_ms) = UNITS.into_iter().find(|(_, unit_ms)| ms % unit_ms == 0).unwrap_or(("ms", 1));
    format!("{}{name}", ms / unit_ms)
}

/// Reads RFC 3339 or a number of seconds since 1970, whichever it is: for query parameters.
pub fn parse_time_ms(text: &str) -> Result<i64, BadTime> {
    if decimal(text).is_some() { parse_epoch_ms(text) } else { parse_rfc3339_ms(text) }
}

/// Reads a number of seconds since 1970, a fraction allowed, rounded to milliseconds.
pub fn parse_epoch_ms(number: &str) -> Result<i64, BadTime> {
    let ms = (decimal(number).ok_or(BadTime::Form)? * 1000.0).round();
    // Exact: the bound is far below 2^53.
    if (0.0..=MAX_TIME_MS as f64).contains(&ms) { Ok(ms as i64) } else { Err(BadTime::OutOfRange) }
}

/// Reads an RFC 3339 time with an offset.
pub fn parse_rfc3339_ms(text: &str) -> Result<i64, BadTime> {
    // The library reads more than RFC 3339: other separators, years of six digits, time zones in brackets.
    let shaped = text.is_ascii()
        && text.bytes().enumerate().take(19).all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => matches!(byte, b'T' | b't' | b' '),
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    if !shaped || text.len() < 20 || text.contains('[') {
        return Err(BadTime::Form);
    }
    let time: Timestamp = text.parse().map_err(|_| BadTime::Form)?;
    let ms = time.as_millisecond();
    if (0..=MAX_TIME_MS).contains(&ms) { Ok(ms) } else { Err(BadTime::OutOfRange) }
}

/// A time as RFC 3339 in UTC, always with milliseconds: `2023-11-14T22:13:20.123Z`.
pub fn rfc3339(at_ms: i64) -> String {
    let at_ms = at_ms.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
    let time = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A time as a JSON number of seconds since 1970, always with a fraction: `1700000000.123`, `1700000000.0`.
pub fn epoch_seconds_json(at_ms: i64) -> String {
    let sign = if at_ms < 0 { "-" } else { "" };
    let (seconds, millis) = (at_ms.unsigned_abs() / 1000, at_ms.unsigned_abs() % 1000);
    let padded = format!("{millis:03}");
    let fraction = padded.trim_end_matches('0');
    format!("{sign}{seconds}.{}", if fraction.is_empty() { "0" } else { fraction })
}

/// A finite decimal number. Stricter than `f64::from_str`, which reads `inf`, `nan` and `.5` as well.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    let starts = text.strip_prefix('-').unwrap_or(text).starts_with(|c: char| c.is_ascii_digit());
    if plain && starts { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_one_unit() {
        let cases = [
            ("500ms", Ok(500)),
            ("30s", Ok(30_000)),
            ("5m", Ok(300_000)),
            ("2h", Ok(7_200_000)),
            ("7d", Ok(604_800_000)),
            ("0s", Ok(0)),
            ("007s", Ok(7_000)),
            ("366d", Ok(MAX_DURATION_MS)),
            ("367d", Err(BadDuration::TooLong)),
            ("99999999999999999999s", Err(BadDuration::TooLong)),
            ("9223372036854775807d", Err(BadDuration::TooLong)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration_ms(text), expected, "{text}");
        }
        for bad in [
            "", "s", "30", "-1s", "+1s", "1.5s", "1 s", " 1s", "1s ", "1S", "1h30m", "1w", "½s", "٣s", "1ns",
            "0x1s",
        ] {
            assert_eq!(parse_duration_ms(bad), Err(BadDuration::Form), "{bad}");
        }
        assert_eq!(parse_positive_ms("0ms"), Err(BadDuration::Zero));
        assert_eq!(parse_positive_ms("1ms"), Ok(1));
    }

    #[test]
    fn seconds_as_a_number_may_have_a_fraction() {
        assert_eq!(parse_seconds_ms("0"), Ok(0));
        assert_eq!(parse_seconds_ms("1.5"), Ok(1_500));
        assert_eq!(parse_seconds_ms("3e1"), Ok(30_000));
        assert_eq!(parse_seconds_ms("-0.5"), Err(BadDuration::Negative));
        assert_eq!(parse_seconds_ms("31622401"), Err(BadDuration::TooLong));
        assert_eq!(parse_seconds_ms("1e300"), Err(BadDuration::TooLong));
        assert_eq!(parse_seconds_ms("inf"), Err(BadDuration::Form));
    }

    #[test]
    fn times_are_rfc_3339_or_seconds_since_1970() {
        let at = Ok(1_700_000_000_123);
        for text in [
            "2023-11-14T22:13:20.123Z",
            "2023-11-14t22:13:20.123z",
            "2023-11-14 22:13:20.123Z",
            "2023-11-15T00:13:20.123+02:00",
            "2023-11-14T22:13:20.123999Z",
            "1700000000.123",
        ] {
            assert_eq!(parse_time_ms(text), at, "{text}");
        }
        assert_eq!(parse_time_ms("1700000000"), Ok(1_700_000_000_000));
        assert_eq!(parse_time_ms("0"), Ok(0));
        assert_eq!(parse_time_ms("1.7e9"), Ok(1_700_000_000_000));
        assert_eq!(parse_time_ms("253402300799.999"), Ok(MAX_TIME_MS));
        for text in ["-1", "253402300800", "1e300", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse_time_ms(text), Err(BadTime::OutOfRange), "{text}");
        }
        for text in [
            "",
            "now",
            "nan",
            "inf",
            "1.2.3",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-13-14T22:13:20Z",
            "2023-02-30T22:13:20Z",
            "2023-11-14T25:13:20Z",
            "20231114T221320Z",
            "+002023-11-14T22:13:20Z",
            "2023-11-14T22:13:20+02:00[Europe/Rome]",
            "2023-11-14T22:13:20Z ",
            "2023-11-14T22:13:20é",
        ] {
            assert_eq!(parse_time_ms(text), Err(BadTime::Form), "{text}");
        }
    }

    #[test]
    fn times_are_written_with_a_fraction() {
        assert_eq!(epoch_seconds_json(1_700_000_000_123), "1700000000.123");
        assert_eq!(epoch_seconds_json(1_700_000_000_000), "1700000000.0");
        assert_eq!(epoch_seconds_json(50), "0.05");
        assert_eq!(epoch_seconds_json(-1_500), "-1.5");
        assert_eq!(rfc3339(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i64::MAX), rfc3339(i64::MAX - 1), "never a panic");
    }

    proptest! {
        #[test]
        fn durations_read_back_as_they_were_written(ms in 0..=MAX_DURATION_MS) {
            prop_assert_eq!(parse_duration_ms(&format_duration(ms)), Ok(ms));
        }

        #[test]
        fn times_read_back_as_they_were_written(ms in 0..253_402_200_000_000_i64) {
            prop_assert_eq!(parse_rfc3339_ms(&rfc3339(ms)), Ok(ms));
            prop_assert_eq!(parse_time_ms(&epoch_seconds_json(ms)), Ok(ms));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_duration_ms(&text), parse_time_ms(&text), parse_seconds_ms(&text));
        }
    }
}
