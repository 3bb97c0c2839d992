//! Over which time a budget counts: the period a moment lies in, its name and its bounds, in the budget's zone.
//!
//! The name of the period is part of the key of its counters, so nothing is ever reset: a new period is a new row. Zones
//! come from the program's own copy of the time zone database, so that all nodes agree.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan, Zoned};

use super::scope::{Facts, job_subject};
use crate::duration::HOUR_MS;
use crate::job::Tags;
use crate::money::CallId;

/// The first moment of the year 9999: what lies beyond counts there, since a year more is more than a calendar has.
const LAST_MS: i64 = 253_370_764_800_000;

/// The longest rolling window: 31 days.
pub const MAX_ROLLING_HOURS: u32 = 744;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// The life of a job with its children.
    Job,
    Hour,
    Day,
    /// From Monday to Sunday.
    Week,
    Month,
    /// For ever.
    Total,
    /// Any so many hours in a row.
    Rolling {
        hours: u32,
    },
}

impl Window {
    /// `job`, `hour`, `day`, `week`, `month`, `total`, or `rolling:24h`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "job" => Window::Job,
            "hour" => Window::Hour,
            "day" => Window::Day,
            "week" => Window::Week,
            "month" => Window::Month,
            "total" => Window::Total,
            other => {
                let digits = other.strip_prefix("rolling:")?.strip_suffix('h')?;
                let is_plain = !digits.starts_with(['0', '+']);
                let hours = digits
                    .parse()
                    .ok()
                    .filter(|hours| is_plain && (1..=MAX_ROLLING_HOURS).contains(hours))?;
                Window::Rolling { hours }
            }
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Window::Job => "job",
            Window::Hour => "hour",
            Window::Day => "day",
            Window::Week => "week",
            Window::Month => "month",
            Window::Total => "total",
            Window::Rolling { hours } => return write!(f, "rolling:{hours}h"),
        })
    }
}

/// The name is in no time zone database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone; write a name such as UTC or Europe/Berlin")]
pub struct BadZone(pub String);

/// A time zone by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    pub fn utc() -> Self {
        Zone { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    pub fn parse(name: &str) -> Result<Self, BadZone> {
        static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        let zone = ZONES.get(name).ok().filter(|zone| !zone.is_unknown());
        let zone = zone.ok_or_else(|| BadZone(name.chars().take(60).collect()))?;
        // As the database writes it, so that one zone has one name.
        Ok(Zone { name: zone.iana_name().unwrap_or(name).to_owned(), zone })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// When a day begins here, of the years that are reckoned with: `2026-11-22`.
    pub fn day_start_ms(&self, date: &str) -> Option<i64> {
        let is_plain = date.len() == 10 && date.starts_with(|first: char| first.is_ascii_digit());
        let date =
            date.parse::<Date>().ok().filter(|date| is_plain && (1970..9999).contains(&date.year()))?;
        Some(day_start_ms(date, &self.zone))
    }
}

/// A stretch of time with its own counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// `J:<job id>`, `H:2026-11-22T14+01`, `D:2026-11-22`, `W:2026-W47`, `M:2026-11`, `T`, or `R:<hours since 1970>`.
    pub key: String,
    /// The first of the keys that count together, of a rolling window. Keys of one budget sort by time.
    pub since: Option<String>,
    /// Nothing starts or ends a job's own period, or all of time.
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
}

/// The period that `now_ms` lies in. A rolling window's is the hour; the window is as many hours before it as it is long,
/// and the hour itself: whichever so many hours are looked at, they hold no more than the limit.
pub fn period(window: Window, zone: &Zone, now_ms: i64, facts: &Facts<'_>) -> Period {
    let now_ms = now_ms.clamp(0, LAST_MS);
    let whole = |key: String| Period { key, since: None, start_ms: None, end_ms: None };
    let local = || {
        let at = Timestamp::from_millisecond(now_ms).expect("the years 1970 to 9998 fit");
        at.to_zoned(zone.zone.clone())
    };
    let days = |key: String, first: Date, after: Date| Period {
        key,
        since: None,
        start_ms: Some(day_start_ms(first, &zone.zone)),
        end_ms: Some(day_start_ms(after, &zone.zone)),
    };
    match window {
        Window::Job => whole(format!("J:{}", job_subject(facts))),
        Window::Total => whole("T".to_owned()),
        Window::Rolling { hours } => {
            let hour = now_ms / HOUR_MS;
            let (start_ms, end_ms) = (Some(hour * HOUR_MS), Some((hour + 1) * HOUR_MS));
            Period { key: bucket(hour), since: Some(bucket(hour - i64::from(hours))), start_ms, end_ms }
        }
        Window::Hour => hour(&local()),
        Window::Day => {
            let date = local().date();
            days(format!("D:{date}"), date, date.saturating_add(1.day()))
        }
        Window::Week => {
            let date = local().date();
            let week = date.iso_week_date();
            let monday = date.saturating_sub((i64::from(date.weekday().to_monday_zero_offset())).days());
            let key = format!("W:{}-W{:02}", week.year(), week.week());
            days(key, monday, monday.saturating_add(7.days()))
        }
        Window::Month => {
            let first = local().date().first_of_month();
            let key = format!("M:{}", first.strftime("%Y-%m"));
            days(key, first, first.saturating_add(1.month()))
        }
    }
}

/// From when until when the period lasts that a moment lies in, of a window that goes by the clock; others begin and end
/// with the moment.
pub fn clock_period(window: Window, zone: &Zone, at_ms: i64) -> (i64, i64) {
    // Windows that go by the clock do not look at the call.
    let tags = Tags::new();
    let facts = Facts {
        call: CallId::new(0, [0; 10]),
        root_job: None,
        workflow: None,
        step: None,
        key: None,
        user: None,
        tags: &tags,
        provider: "",
        model: "",
    };
    let period = period(window, zone, at_ms, &facts);
    (period.start_ms.unwrap_or(at_ms), period.end_ms.unwrap_or(at_ms))
}

fn bucket(hour: i64) -> String {
    format!("R:{:07}", hour.max(0))
}

/// The first key that counts together with this one in a rolling window; `None` for a key of another kind.
pub fn rolling_since(key: &str, hours: u32) -> Option<String> {
    let hour: i64 = key.strip_prefix("R:")?.parse().ok()?;
    Some(bucket(hour - i64::from(hours)))
}

/// When a date begins: midnight, or what comes first on a day without one.
fn day_start_ms(date: Date, zone: &TimeZone) -> i64 {
    let start = date.to_zoned(zone.clone()).expect("the years 1969 to 9999 fit");
    start.timestamp().as_millisecond()
}

/// The hour by the clock on the wall. The offset is part of its name: of the two hours that a clock shows when it is set
/// back each counts for itself.
fn hour(local: &Zoned) -> Period {
    let into_ms = i64::from(local.minute()) * 60_000
        + i64::from(local.second()) * 1_000
        + i64::from(local.millisecond());
    let now_ms = local.timestamp().as_millisecond();
    let minutes = local.offset().seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
    let rest = if rest == 0 { String::new() } else { format!("{rest:02}") };
    let key = format!("H:{}{sign}{hours:02}{rest}", local.strftime("%Y-%m-%dT%H"));
    let start_ms = now_ms - into_ms;
    Period { key, since: None, start_ms: Some(start_ms), end_ms: Some(start_ms + HOUR_MS) }
}

#[cfg(test)]
mod tests;
