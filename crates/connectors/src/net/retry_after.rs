//! Reads `Retry-After`. How long to wait in the end is the caller's decision.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, header};

/// How long the server wants to be left alone, in ms from `now_ms`; never negative. `None`: it did not say, or not legibly.
///
/// Seconds that no integer holds become the largest wait there is, so the caller must have a bound of its own.
pub fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse::<i64>().map_or(i64::MAX, |secs| secs.saturating_mul(1000)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let since_epoch = date.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let at_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    Some(at_ms.saturating_sub(now_ms).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nonsense_is_not() {
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now_ms = 784_111_777_000;
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120_000)),
            (" 7 ", Some(7_000)),
            ("99999999999999999999999999", Some(i64::MAX)),
            ("9223372036854775807", Some(i64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60_000)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60_000)),
            ("Sun Nov  6 08:50:37 1994", Some(60_000)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:50:37 CET", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("a header value"));
            assert_eq!(retry_after_ms(&headers, now_ms), expected, "{text:?}");
        }
        assert_eq!(retry_after_ms(&HeaderMap::new(), now_ms), None);
    }
}
