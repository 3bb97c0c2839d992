//! What providers say a day cost, read from the reports that they give to administrators. Exact decimals, no floats.
//!
//! Shapes: OpenAI `GET /v1/organization/costs` (dollars as JSON numbers), Anthropic `GET /v1/organizations/cost_report`
//! (cents as decimal texts). Both give days of UTC in pages.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::amount::Nano;
use super::decimal;
use crate::duration::parse_rfc3339_ms;

/// Whose report it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    OpenAi,
    Anthropic,
}

/// Sums by day (UTC, in milliseconds), in 10^-18 dollars.
pub type Stated = BTreeMap<i64, i128>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStatement {
    #[error("the cost report cannot be read: {0}")]
    Shape(String),
    #[error("the cost report has the amount {0:?}")]
    Amount(String),
    #[error("the cost report is in {0:?}, not in US dollars")]
    Currency(String),
    #[error("the cost report has the day {0:?}")]
    Day(String),
    #[error("the cost report says that there is more, and not where")]
    NoNext,
}

#[derive(Deserialize)]
struct Page<B> {
    data: Vec<B>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    next_page: Option<String>,
}

#[derive(Deserialize)]
struct OpenAiBucket {
    start_time: i64,
    results: Vec<OpenAiResult>,
}

#[derive(Deserialize)]
struct OpenAiResult {
    amount: OpenAiAmount,
}

#[derive(Deserialize)]
struct OpenAiAmount {
    value: Box<RawValue>,
    currency: String,
}

#[derive(Deserialize)]
struct AnthropicBucket {
    starting_at: String,
    results: Vec<AnthropicResult>,
}

#[derive(Deserialize)]
struct AnthropicResult {
    amount: Box<RawValue>,
    currency: String,
}

const DAY_MS: i64 = 86_400_000;

/// Adds a page; returns where the next one is.
pub fn read_statement(
    reporter: Reporter,
    body: &str,
    stated: &mut Stated,
) -> Result<Option<String>, BadStatement> {
    let shape = |error: serde_json::Error| BadStatement::Shape(error.to_string());
    let (has_more, next) = match reporter {
        Reporter::OpenAi => {
            let page: Page<OpenAiBucket> = serde_json::from_str(body).map_err(shape)?;
            for bucket in &page.data {
                let at_ms = bucket.start_time.checked_mul(1_000);
                let day = day(at_ms, &bucket.start_time.to_string())?;
                for OpenAiResult { amount } in &bucket.results {
                    add(stated, day, amount.value.get(), 18, &amount.currency)?;
                }
                stated.entry(day).or_default();
            }
            (page.has_more, page.next_page)
        }
        Reporter::Anthropic => {
            let page: Page<AnthropicBucket> = serde_json::from_str(body).map_err(shape)?;
            for bucket in &page.data {
                let day = day(parse_rfc3339_ms(&bucket.starting_at).ok(), &bucket.starting_at)?;
                for result in &bucket.results {
                    // In cents.
                    add(stated, day, result.amount.get(), 16, &result.currency)?;
                }
                stated.entry(day).or_default();
            }
            (page.has_more, page.next_page)
        }
    };
    match (has_more, next.filter(|next| !next.is_empty())) {
        (false, _) => Ok(None),
        (true, Some(next)) => Ok(Some(next)),
        (true, None) => Err(BadStatement::NoNext),
    }
}

fn day(at_ms: Option<i64>, text: &str) -> Result<i64, BadStatement> {
    let is_day = |at_ms: &i64| *at_ms >= 0 && at_ms % DAY_MS == 0;
    at_ms.filter(is_day).ok_or_else(|| BadStatement::Day(text.chars().take(40).collect()))
}

fn add(stated: &mut Stated, day: i64, raw: &str, places: u32, currency: &str) -> Result<(), BadStatement> {
    if !currency.eq_ignore_ascii_case("usd") {
        return Err(BadStatement::Currency(currency.chars().take(10).collect()));
    }
    let text = raw.trim_matches('"');
    let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let wrong = || BadStatement::Amount(raw.chars().take(60).collect());
    let amount = decimal::parse_json_ceil(digits, places).ok_or_else(wrong)?;
    let amount = if is_negative { -amount } else { amount };
    let sum = stated.entry(day).or_default();
    *sum = sum.checked_add(amount).ok_or_else(wrong)?;
    Ok(())
}

/// The nearest nano-dollar; `None` for what is too large to be true.
pub fn stated_nano(atto: i128) -> Option<Nano> {
    const IN_NANO: i128 = 1_000_000_000;
    let nano = atto.checked_add(IN_NANO / 2)?.div_euclid(IN_NANO);
    i64::try_from(nano).ok().map(Nano::new)
}

/// How far ours is from theirs, in millionths of theirs; all of it where they say nothing.
pub fn drift_ppm(ours: Nano, theirs: Nano) -> i64 {
    let (ours, theirs) = (i128::from(ours.get()), i128::from(theirs.get()));
    let difference = (ours - theirs).abs();
    match (difference, theirs.abs()) {
        (0, _) => 0,
        (_, 0) => 1_000_000,
        (difference, theirs) => i64::try_from(difference * 1_000_000 / theirs).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DAY: i64 = 1_730_419_200_000;

    fn nano(stated: &Stated) -> Vec<(i64, i64)> {
        stated.iter().map(|(day, atto)| (day - DAY, stated_nano(*atto).unwrap().get())).collect()
    }

    #[test]
    fn pages_of_openai_are_dollars_as_numbers() {
        let page = r#"{"object":"page","data":[{"object":"bucket","start_time":1730419200,"end_time":1730505600,
            "results":[{"object":"organization.costs.result","amount":{"value":0.06,"currency":"usd"},"line_item":null},
            {"amount":{"value":1.5e-7,"currency":"usd"}},{"amount":{"value":-0.01,"currency":"USD"}}]},
            {"start_time":1730505600,"end_time":1730592000,"results":[]}],"has_more":true,"next_page":"AAA="}"#;
        let mut stated = Stated::new();

        let next = read_statement(Reporter::OpenAi, page, &mut stated).unwrap();

        assert_eq!(next.as_deref(), Some("AAA="));
        assert_eq!(nano(&stated), [(0, 50_000_150), (DAY_MS, 0)]);
    }

    #[test]
    fn pages_of_anthropic_are_cents_as_texts() {
        let page = r#"{"data":[{"starting_at":"2024-11-01T00:00:00Z","ending_at":"2024-11-02T00:00:00Z","results":[
            {"currency":"USD","amount":"123.78912","workspace_id":null,"description":null}]}],"has_more":false,"next_page":null}"#;
        let mut stated = Stated::new();
        for _ in 0..2 {
            assert_eq!(read_statement(Reporter::Anthropic, page, &mut stated), Ok(None));
        }

        assert_eq!(nano(&stated), [(0, 2_475_782_400)]);
    }

    #[test]
    fn ten_million_small_amounts_lose_nothing() {
        let mut stated = Stated::new();
        for _ in 0..1_000 {
            add(&mut stated, DAY, "0.00000000033", 18, "usd").unwrap();
        }

        assert_eq!(nano(&stated), [(0, 330)]);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let bucket = |amount: &str, currency: &str, start: &str| {
            format!(
                r#"{{"data":[{{"start_time":{start},"results":[{{"amount":{{"value":{amount},"currency":"{currency}"}}}}]}}]}}"#
            )
        };
        for (body, told) in [
            ("".to_owned(), "cannot be read"),
            ("[]".to_owned(), "cannot be read"),
            (r#"{"error":{"message":"no"}}"#.to_owned(), "missing field `data`"),
            (bucket("null", "usd", "1730419200"), "the amount"),
            (bucket("\"1.2.3\"", "usd", "1730419200"), "the amount"),
            (bucket("1e999999999", "usd", "1730419200"), "the amount"),
            (bucket("1", "eur", "1730419200"), "\"eur\""),
            (bucket("1", "usd", "1730419201"), "the day"),
            (bucket("1", "usd", "-86400"), "the day"),
            (bucket("1", "usd", "9223372036854775807"), "the day"),
            (r#"{"data":[],"has_more":true}"#.to_owned(), "not where"),
        ] {
            let error = read_statement(Reporter::OpenAi, &body, &mut Stated::new()).unwrap_err().to_string();
            assert!(error.contains(told), "{body}: {error}");
        }
    }

    #[test]
    fn drift_is_measured_in_parts_of_what_they_say() {
        for (ours, theirs, ppm) in [
            (0, 0, 0),
            (5, 5, 0),
            (1_005, 1_000, 5_000),
            (995, 1_000, 5_000),
            (1, 0, 1_000_000),
            (i64::MAX, 1, i64::MAX),
        ] {
            assert_eq!(drift_ppm(Nano::new(ours), Nano::new(theirs)), ppm, "{ours} {theirs}");
        }
    }
}
