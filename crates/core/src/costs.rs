//! What a report of costs is asked for: over which time, in which zone, told apart by what. Pure; the sums are the store's.
//!
//! Bounds are whole quarters of an hour, because that is what is summed: a report is exact or refused, never rounded.

use std::fmt;

use crate::budget::{Window, Zone, clock_period};
use crate::duration::HOUR_MS;

/// Periods that one report has at most.
pub const MAX_PERIODS: usize = 1_000;
/// The longest time that one report looks at.
pub const MAX_DAYS: i64 = 3_660;
pub const QUARTER_MS: i64 = HOUR_MS / 4;

const WORDS: &str = "hour, day, week, month, workflow, provider, model, key, user, tag:<name>";

/// What is told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Hour, day, week or month; none: the time as a whole.
    pub window: Option<Window>,
    pub workflow: bool,
    pub provider: bool,
    pub model: bool,
    pub key: bool,
    pub user: bool,
    pub tag: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGrouping {
    #[error("{0:?} is nothing to group by; there are {WORDS}")]
    Unknown(String),
    #[error("{0} stands there twice")]
    Twice(String),
    #[error("one of hour, day, week and month is enough")]
    TwoWindows,
    #[error("one tag at a time: a call with two tags would be counted twice")]
    TwoTags,
}

impl Grouping {
    /// Reads `day,model,tag:team`.
    pub fn parse(text: &str) -> Result<Self, BadGrouping> {
        let mut grouping = Grouping::default();
        for word in text.split(',') {
            let shown = || word.chars().take(60).collect::<String>();
            if let Some(name) =
                word.strip_prefix("tag:").filter(|name| !name.is_empty() && !name.contains('\0'))
            {
                if grouping.tag.replace(name.to_owned()).is_some() {
                    return Err(BadGrouping::TwoTags);
                }
                continue;
            }
            let window =
                ["hour", "day", "week", "month"].contains(&word).then(|| Window::parse(word)).flatten();
            if let Some(window) = window {
                match grouping.window.replace(window) {
                    None => continue,
                    Some(before) if before == window => return Err(BadGrouping::Twice(shown())),
                    Some(_) => return Err(BadGrouping::TwoWindows),
                }
            }
            let place = match word {
                "workflow" => &mut grouping.workflow,
                "provider" => &mut grouping.provider,
                "model" => &mut grouping.model,
                "key" => &mut grouping.key,
                "user" => &mut grouping.user,
                _ => return Err(BadGrouping::Unknown(shown())),
            };
            if std::mem::replace(place, true) {
                return Err(BadGrouping::Twice(shown()));
            }
        }
        Ok(grouping)
    }
}

/// As it is written.
impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(","))
    }
}

impl Grouping {
    /// The words of [`Grouping::parse`], in one order.
    pub fn words(&self) -> Vec<String> {
        let flags = [
            ("workflow", self.workflow),
            ("provider", self.provider),
            ("model", self.model),
            ("key", self.key),
            ("user", self.user),
        ];
        let window = self.window.map(|window| window.to_string());
        let flags = flags.into_iter().filter(|(_, is_on)| *is_on).map(|(word, _)| word.to_owned());
        let tag = self.tag.as_ref().map(|name| format!("tag:{name}"));
        window.into_iter().chain(flags).chain(tag).collect()
    }
}

/// The time of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub zone: Zone,
    pub from_ms: i64,
    /// Not part of it.
    pub until_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSpan {
    #[error("`{0}` must be a whole quarter of an hour: that is what is summed")]
    NotAQuarter(&'static str),
    #[error("`until` must be after `from`")]
    Backwards,
    #[error("from `from` to `until` are more than {MAX_DAYS} days")]
    TooLong,
    #[error("that are more than {MAX_PERIODS} periods: narrow `from` and `until`, or group by a longer time")]
    TooManyPeriods,
}

impl Span {
    pub fn new(zone: Zone, from_ms: i64, until_ms: i64) -> Result<Self, BadSpan> {
        for (name, at_ms) in [("from", from_ms), ("until", until_ms)] {
            if at_ms.rem_euclid(QUARTER_MS) != 0 {
                return Err(BadSpan::NotAQuarter(name));
            }
        }
        match until_ms.saturating_sub(from_ms) {
            ..=0 => Err(BadSpan::Backwards),
            long if long > MAX_DAYS * 24 * HOUR_MS => Err(BadSpan::TooLong),
            _ => Ok(Span { zone, from_ms, until_ms }),
        }
    }

    /// The last thirty days with today, in the zone.
    pub fn last_days(zone: Zone, now_ms: i64) -> Self {
        let today = |at_ms| clock_period(Window::Day, &zone, at_ms);
        let (_, until_ms) = today(now_ms);
        let (from_ms, _) = today(now_ms - 29 * 24 * HOUR_MS);
        Span { from_ms, until_ms, zone }
    }

    /// The periods in it, in order; the first and the last may be cut by its ends.
    pub fn periods(&self, window: Option<Window>) -> Result<Vec<(i64, i64)>, BadSpan> {
        let Some(window) = window else { return Ok(vec![(self.from_ms, self.until_ms)]) };
        let mut periods = Vec::new();
        let mut at_ms = self.from_ms;
        while at_ms < self.until_ms {
            if periods.len() == MAX_PERIODS {
                return Err(BadSpan::TooManyPeriods);
            }
            let (_, end_ms) = clock_period(window, &self.zone, at_ms);
            // An end that does not come after its beginning would be no end of this loop.
            let end_ms = end_ms.clamp(at_ms + QUARTER_MS, self.until_ms);
            periods.push((at_ms, end_ms));
            at_ms = end_ms;
        }
        Ok(periods)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::duration::parse_time_ms;

    fn at(text: &str) -> i64 {
        parse_time_ms(text).unwrap()
    }

    fn span(zone: &str, from: &str, until: &str) -> Result<Span, BadSpan> {
        Span::new(Zone::parse(zone).unwrap(), at(from), at(until))
    }

    #[test]
    fn groupings_are_read_and_written() {
        let all = "day,workflow,provider,model,key,user,tag:team";
        assert_eq!(Grouping::parse(all).unwrap().to_string(), all);
        assert_eq!(Grouping::parse("tag:a:b").unwrap().tag.as_deref(), Some("a:b"));
        assert_eq!(Grouping::parse("model,month").unwrap().to_string(), "month,model");
    }

    #[test]
    fn what_is_no_grouping_is_told() {
        for (text, told) in [
            ("", "\"\" is nothing to group by"),
            ("colour", "\"colour\" is nothing to group by; there are hour, day"),
            ("day,", "\"\" is nothing"),
            ("tag:", "\"tag:\" is nothing"),
            ("job", "\"job\" is nothing"),
            ("rolling:3h", "\"rolling:3h\" is nothing"),
            ("day,day", "day stands there twice"),
            ("day,week", "one of hour, day, week and month is enough"),
            ("model,model", "model stands there twice"),
            ("tag:a,tag:b", "one tag at a time"),
        ] {
            let error = Grouping::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(told), "{text}: {error}");
        }
    }

    #[test]
    fn days_follow_the_zone_and_its_clock_changes() {
        let berlin = span("Europe/Berlin", "2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z").unwrap();
        let hours: Vec<i64> = berlin
            .periods(Some(Window::Day))
            .unwrap()
            .iter()
            .map(|(from, until)| (until - from) / HOUR_MS)
            .collect();
        assert_eq!(hours, [24, 23, 24], "on the 29th the clock is set forward");

        let nepal = span("Asia/Kathmandu", "2026-11-20T18:15:00Z", "2026-11-22T00:00:00Z").unwrap();
        assert_eq!(
            nepal.periods(Some(Window::Day)).unwrap(),
            [
                (at("2026-11-20T18:15:00Z"), at("2026-11-21T18:15:00Z")),
                (at("2026-11-21T18:15:00Z"), at("2026-11-22T00:00:00Z")),
            ],
            "the last one is cut"
        );
        assert_eq!(nepal.periods(None).unwrap().len(), 1);
    }

    #[test]
    fn a_span_is_exact_or_refused() {
        let utc = |from, until| span("UTC", from, until).map(|_| ());
        assert_eq!(utc("2026-11-22T00:00:00Z", "2026-11-22T00:15:00Z"), Ok(()));
        assert_eq!(utc("2026-11-22T00:00:01Z", "2026-11-23T00:00:00Z"), Err(BadSpan::NotAQuarter("from")));
        assert_eq!(utc("2026-11-22T00:00:00Z", "2026-11-23T00:07:00Z"), Err(BadSpan::NotAQuarter("until")));
        assert_eq!(utc("2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z"), Err(BadSpan::Backwards));
        assert_eq!(utc("2001-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), Err(BadSpan::TooLong));
        assert_eq!(Span::new(Zone::utc(), i64::MIN / 900_000 * 900_000, 0), Err(BadSpan::TooLong));
        let year = span("UTC", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z").unwrap();
        assert_eq!(year.periods(Some(Window::Hour)), Err(BadSpan::TooManyPeriods));
        assert_eq!(year.periods(Some(Window::Month)).unwrap().len(), 12);
    }

    #[test]
    fn thirty_days_end_with_today() {
        let span = Span::last_days(Zone::parse("Europe/Berlin").unwrap(), at("2026-11-22T23:30:00Z"));

        assert_eq!((span.from_ms, span.until_ms), (at("2026-10-24T22:00:00Z"), at("2026-11-23T23:00:00Z")));
        assert_eq!(span.periods(Some(Window::Day)).unwrap().len(), 30);
    }
}
