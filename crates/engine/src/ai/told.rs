//! What a provider says of itself in its answers: when it wants to be asked again.

use http::HeaderMap;
use levqor_connectors::ai::Answer;
use levqor_core::duration::parse_rfc3339_ms;

/// The most that is believed.
const LONGEST_MS: i64 = 3_600_000;

/// Pairs of headers: how much is left, and when there is more.
const LEFT: [(&str, &str); 6] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
];

/// Until when the provider wants no calls for this model; `None`: it did not say.
pub(super) fn until_ms(answer: &Answer, now_ms: i64) -> Option<i64> {
    let asked = answer.retry_after_ms.map(|ms| now_ms.saturating_add(ms));
    let spent = LEFT.iter().filter_map(|(left, reset)| spent_until_ms(&answer.headers, left, reset, now_ms));
    let until_ms = asked.into_iter().chain(spent).max()?;
    Some(until_ms.min(now_ms.saturating_add(LONGEST_MS))).filter(|until_ms| *until_ms > now_ms)
}

fn spent_until_ms(headers: &HeaderMap, left: &str, reset: &str, now_ms: i64) -> Option<i64> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    if text(left)? != "0" {
        return None;
    }
    let reset = text(reset)?;
    span_ms(reset).map(|ms| now_ms.saturating_add(ms)).or_else(|| parse_rfc3339_ms(reset).ok())
}

/// Reads `120ms`, `1s`, `6m0s`, `1h2m3.5s`; a part of a millisecond is a whole one.
fn span_ms(text: &str) -> Option<i64> {
    let (mut rest, mut sum) = (text, 0i64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        sum = sum.checked_add(scaled(number, unit_ms)?)?;
        rest = after;
    }
    Some(sum)
}

/// A decimal times a whole number, rounded up.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part = &part[..part.len().min(6)];
    let part_unit = 10i64.pow(part.len() as u32);
    let part: i64 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let whole: i64 = whole.parse().ok()?;
    let part_ms = part.checked_mul(unit)?.checked_add(part_unit - 1)? / part_unit;
    whole.checked_mul(unit)?.checked_add(part_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_vendors_write_them() {
        for (text, expected) in [
            ("1s", Some(1_000)),
            ("6m0s", Some(360_000)),
            ("120ms", Some(120)),
            ("7.66s", Some(7_660)),
            ("1h2m3.5s", Some(3_723_500)),
            ("0.0001s", Some(1)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1.2.3s", None),
            ("99999999999999999999s", None),
            ("1d", None),
            ("-1s", None),
        ] {
            assert_eq!(span_ms(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_limit_that_is_used_up_is_waited_for_and_one_that_is_not_is_not() {
        let now_ms = 1_763_805_600_000;
        let until = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().expect("a header value"));
            }
            LEFT.iter().filter_map(|(left, reset)| spent_until_ms(&headers, left, reset, now_ms)).max()
        };
        let (left, reset) = LEFT[0];
        assert_eq!(until(&[(left, "0"), (reset, "2s")]), Some(now_ms + 2_000));
        assert_eq!(until(&[(left, "1"), (reset, "2s")]), None);
        assert_eq!(until(&[(left, "0")]), None);
        assert_eq!(until(&[(left, "0"), (reset, "soon")]), None);
        let (left, reset) = LEFT[2];
        assert_eq!(until(&[(left, "0"), (reset, "2025-11-22T10:00:07Z")]), Some(now_ms + 7_000));
    }
}
