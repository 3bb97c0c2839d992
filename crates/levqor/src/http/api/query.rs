//! Query strings of newer routes: unknown, doubled and unreadable parameters are refused by name.

use std::borrow::Cow;
use std::time::Duration;

use http::Uri;
use levqor_core::duration::{parse_duration_ms, parse_seconds_ms, parse_time_ms};

use crate::http::error::{ApiError, Result};

/// The parameters of a request, decoded, in their order.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads parameters that must be among `allowed`, each once unless it is among `repeatable`.
    pub fn parse(uri: &Uri, allowed: &[&str], repeatable: &[&str]) -> Result<Query> {
        let query = Query::parse_any(uri);
        for (at, (name, _)) in query.0.iter().enumerate() {
            let is_repeatable = repeatable.contains(&name.as_str());
            if !is_repeatable && !allowed.contains(&name.as_str()) {
                let mut known: Vec<&str> = allowed.iter().chain(repeatable).copied().collect();
                known.sort_unstable();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(invalid(format!("unknown parameter `{}`; allowed: {known}", shown(name))));
            }
            if !is_repeatable && query.0[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid(format!("parameter `{name}` is given more than once")));
            }
        }
        Ok(query)
    }

    /// Reads what there is, for routes whose clients may send anything. Text that is not UTF-8 becomes a replacement mark.
    pub fn parse_any(uri: &Uri) -> Query {
        let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Query(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A text that will be compared with stored ones; no stored text holds NUL.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            Some(text) if text.is_empty() || text.contains('\0') => {
                Err(wrong(name, text, "a text that is not empty, without NUL"))
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    /// One of a few words.
    pub fn word<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>, allowed: &str) -> Result<Option<T>> {
        self.get(name).map(|text| parse(text).ok_or_else(|| wrong(name, text, allowed))).transpose()
    }

    pub fn number(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>> {
        let parse = |text: &str| text.parse().ok().filter(|number| (least..=most).contains(number));
        self.word(name, parse, &format!("a whole number, {least} to {most}"))
    }

    /// A time as RFC 3339 or seconds since 1970.
    pub fn time_ms(&self, name: &str) -> Result<Option<i64>> {
        // A `+` that was not escaped arrives as a blank; no time holds a blank otherwise.
        let parse = |text: &str| parse_time_ms(&text.replace(' ', "+")).ok();
        self.word(name, parse, "a time such as 2026-01-31T09:00:00Z, or seconds since 1970")
    }

    /// A duration, or a number of seconds as in bodies.
    pub fn duration(&self, name: &str, most: Duration) -> Result<Option<Duration>> {
        let parse = |text: &str| {
            let ms = parse_duration_ms(text).or_else(|_| parse_seconds_ms(text)).ok()?;
            let ms = u64::try_from(ms).ok()?;
            Some(Duration::from_millis(ms)).filter(|duration| *duration <= most)
        };
        self.word(
            name,
            parse,
            &format!("a duration such as 500ms or 30s, or seconds, at most {}s", most.as_secs()),
        )
    }
}

/// 400 for the query as a whole.
pub fn invalid(message: String) -> ApiError {
    ApiError::invalid("invalid_query", message)
}

/// 400 for a value: names the parameter, the value and what is allowed.
pub fn wrong(name: &str, value: &str, allowed: &str) -> ApiError {
    invalid(format!("parameter `{name}` is `{}`; expected {allowed}", shown(value)))
}

fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
