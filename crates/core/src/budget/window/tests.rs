#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::duration::DAY_MS;
use crate::id::JobId;
use crate::job::Tags;
use crate::money::CallId;

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn at(window: Window, zone: &str, now_ms: i64) -> Period {
    let tags = Tags::new();
    let facts = Facts {
        call: CallId::new(1, [1; 10]),
        root_job: None,
        workflow: None,
        step: None,
        key: None,
        user: None,
        tags: &tags,
        provider: "p",
        model: "m",
    };
    period(window, &Zone::parse(zone).unwrap(), now_ms, &facts)
}

fn check(window: Window, zone: &str, now: &str, key: &str, start: &str, end: &str) {
    let expected =
        Period { key: key.to_owned(), since: None, start_ms: Some(ms(start)), end_ms: Some(ms(end)) };
    assert_eq!(at(window, zone, ms(now)), expected, "{window} {zone} {now}");
}

#[test]
fn a_period_begins_and_ends_by_the_clock_on_the_wall() {
    use Window::{Day, Hour, Month, Week};
    check(
        Day,
        "UTC",
        "2026-11-22T23:59:59.999Z",
        "D:2026-11-22",
        "2026-11-22T00:00:00Z",
        "2026-11-23T00:00:00Z",
    );
    check(
        Day,
        "Asia/Tokyo",
        "2026-11-22T15:00:00Z",
        "D:2026-11-23",
        "2026-11-22T15:00:00Z",
        "2026-11-23T15:00:00Z",
    );
    check(Month, "UTC", "2026-12-31T23:59:59Z", "M:2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    check(Month, "UTC", "2028-02-29T12:00:00Z", "M:2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z");
    check(
        Month,
        "America/New_York",
        "2026-12-01T04:59:00Z",
        "M:2026-11",
        "2026-11-01T04:00:00Z",
        "2026-12-01T05:00:00Z",
    );
    // The week belongs to the year of its Thursday.
    check(Week, "UTC", "2027-01-03T12:00:00Z", "W:2026-W53", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z");
    check(Week, "UTC", "2027-01-04T00:00:00Z", "W:2027-W01", "2027-01-04T00:00:00Z", "2027-01-11T00:00:00Z");
    check(Week, "UTC", "2024-12-30T00:00:00Z", "W:2025-W01", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z");
    check(
        Hour,
        "Asia/Kolkata",
        "2026-11-22T10:15:00Z",
        "H:2026-11-22T15+0530",
        "2026-11-22T09:30:00Z",
        "2026-11-22T10:30:00Z",
    );
    check(
        Hour,
        "America/St_Johns",
        "2026-11-22T10:15:00Z",
        "H:2026-11-22T06-0330",
        "2026-11-22T09:30:00Z",
        "2026-11-22T10:30:00Z",
    );
}

#[test]
fn days_on_which_clocks_are_set_have_23_and_25_hours() {
    use Window::{Day, Hour};
    check(
        Day,
        "Europe/Berlin",
        "2026-03-29T12:00:00Z",
        "D:2026-03-29",
        "2026-03-28T23:00:00Z",
        "2026-03-29T22:00:00Z",
    );
    check(
        Day,
        "Europe/Berlin",
        "2026-10-25T12:00:00Z",
        "D:2026-10-25",
        "2026-10-24T22:00:00Z",
        "2026-10-25T23:00:00Z",
    );
    // The same hour on the wall, twice.
    check(
        Hour,
        "Europe/Berlin",
        "2026-10-25T00:30:00Z",
        "H:2026-10-25T02+02",
        "2026-10-25T00:00:00Z",
        "2026-10-25T01:00:00Z",
    );
    check(
        Hour,
        "Europe/Berlin",
        "2026-10-25T01:30:00Z",
        "H:2026-10-25T02+01",
        "2026-10-25T01:00:00Z",
        "2026-10-25T02:00:00Z",
    );
    // A day without a midnight, and a day that was left out.
    check(
        Day,
        "America/Santiago",
        "2026-09-06T12:00:00Z",
        "D:2026-09-06",
        "2026-09-06T04:00:00Z",
        "2026-09-07T03:00:00Z",
    );
    check(
        Day,
        "Pacific/Apia",
        "2011-12-30T09:00:00Z",
        "D:2011-12-29",
        "2011-12-29T10:00:00Z",
        "2011-12-30T10:00:00Z",
    );
    check(
        Day,
        "Pacific/Apia",
        "2011-12-30T10:00:00Z",
        "D:2011-12-31",
        "2011-12-30T10:00:00Z",
        "2011-12-31T10:00:00Z",
    );
}

#[test]
fn what_has_no_clock_has_no_bounds() {
    let tags = Tags::new();
    let job = JobId::new(7, [1; 10]);
    let facts = Facts {
        call: CallId::new(1, [1; 10]),
        root_job: Some(job),
        workflow: None,
        step: None,
        key: None,
        user: None,
        tags: &tags,
        provider: "p",
        model: "m",
    };

    assert_eq!(
        period(Window::Job, &Zone::utc(), 5, &facts),
        Period { key: format!("J:{job}"), since: None, start_ms: None, end_ms: None }
    );
    assert_eq!(period(Window::Total, &Zone::utc(), 5, &facts).key, "T");
    let bucket = period(Window::Rolling { hours: 24 }, &Zone::utc(), ms("2026-11-22T14:30:00Z"), &facts);
    let hour = ms("2026-11-22T14:00:00Z") / HOUR_MS;
    assert_eq!(bucket.key, format!("R:0{hour}"), "seven digits sort by time until the year 3110");
    assert_eq!(bucket.since, Some(format!("R:0{}", hour - 24)), "a whole day, and the hour that has begun");
    assert_eq!(rolling_since(&bucket.key, 24), bucket.since);
    assert_eq!(rolling_since("D:2026-11-22", 24), None);
}

#[test]
fn words_of_windows_round_trip_and_nothing_else_is_one() {
    for text in ["job", "hour", "day", "week", "month", "total", "rolling:1h", "rolling:744h"] {
        assert_eq!(Window::parse(text).unwrap().to_string(), text);
    }
    for bad in [
        "",
        "Day",
        "rolling",
        "rolling:0h",
        "rolling:745h",
        "rolling:+1h",
        "rolling:01h",
        "rolling:24",
        "year",
    ] {
        assert_eq!(Window::parse(bad), None, "{bad}");
    }
}

#[test]
fn zones_have_one_name_and_unknown_ones_are_told() {
    assert_eq!(Zone::parse("europe/berlin").unwrap().name(), "Europe/Berlin");
    assert_eq!(Zone::parse("UTC").unwrap(), Zone::utc());
    for bad in ["", "Berlin", "Etc/Unknown", "../../etc/passwd", "+01:00"] {
        assert_eq!(Zone::parse(bad), Err(BadZone(bad.to_owned())), "{bad}");
    }
}

#[test]
fn no_moment_is_out_of_range() {
    for now_ms in [i64::MIN, -1, 0, LAST_MS - 1, LAST_MS, i64::MAX] {
        for window in [Window::Hour, Window::Day, Window::Week, Window::Month, Window::Rolling { hours: 1 }] {
            for zone in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
                let period = at(window, zone, now_ms);
                assert!(period.start_ms < period.end_ms, "{window} {zone} {now_ms}: {period:?}");
            }
        }
    }
}

fn any_zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Santiago",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
        "Pacific/Apia",
        "Africa/Cairo",
        "America/St_Johns",
        "Asia/Kathmandu",
    ])
}

fn any_window() -> impl Strategy<Value = Window> {
    prop::sample::select(vec![
        Window::Hour,
        Window::Day,
        Window::Week,
        Window::Month,
        Window::Rolling { hours: 24 },
    ])
}

proptest! {
    /// Periods tile time: a moment lies in its own, and the next one begins where it ends.
    #[test]
    fn periods_have_no_gaps_and_do_not_overlap(window in any_window(), zone in any_zone(), now_ms in 0..4_102_444_800_000_i64) {
        let here = at(window, zone, now_ms);
        let (start, end) = (here.start_ms.unwrap(), here.end_ms.unwrap());

        prop_assert!(start <= now_ms && now_ms < end, "{here:?}");
        prop_assert!(end - start <= 32 * DAY_MS);
        prop_assert_eq!(at(window, zone, end - 1).key, here.key.clone());
        prop_assert_ne!(at(window, zone, end).key, here.key);
        prop_assert_eq!(at(window, zone, end).start_ms, Some(end));
    }
}
