#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const FINISHED_MS: i64 = 1_700_000_002_500;

fn facts(tags: &Tags) -> Facts<'_> {
    Facts {
        job_id: "018bcfe5687b7fffbfffffffffffffff".parse().unwrap(),
        claim: 3,
        workflow: "support-triage",
        version: Some(2),
        tags,
        created_at_ms: 1_700_000_000_123,
        started_at_ms: Some(1_700_000_001_000),
        callback_url: "https://Example.com/hook",
    }
}

fn tags(count: usize, value: &str) -> Tags {
    (0..count).map(|number| (format!("key{number:02}"), value.to_owned())).collect()
}

fn data(callback: &NewCallback) -> Value {
    assert!(callback.body.len() < MAX_BODY_BYTES, "{} bytes", callback.body.len());
    let mut body: Value = serde_json::from_str(&callback.body).unwrap();
    body["data"].take()
}

#[test]
fn a_success_tells_its_result_with_numbers_as_they_were() {
    let tags = tags(1, "v");

    let callback = compose(&facts(&tags), State::Succeeded, FINISHED_MS, Some(r#"{"n":1.0}"#), None);

    assert_eq!(callback.id, "msg_018bcfe5687b7fffbfffffffffffffff_3");
    assert_eq!(callback.url, "https://Example.com/hook");
    assert_eq!(callback.host, "example.com:443");
    assert_eq!(
        callback.body,
        r#"{"type":"job.succeeded","timestamp":"2023-11-14T22:13:22.500Z","data":{"job_id":"018bcfe5687b7fffbfffffffffffffff","#
            .to_owned()
            + r#""status":"succeeded","state":"succeeded","workflow":"support-triage","version":2,"result":{"n":1.0},"#
            + r#""tags":{"key00":"v"},"created_at":"2023-11-14T22:13:20.123Z","started_at":"2023-11-14T22:13:21.000Z","#
            + r#""finished_at":"2023-11-14T22:13:22.500Z"}}"#
    );
}

#[test]
fn other_ends_tell_their_error_and_no_result() {
    let none = Tags::new();
    let facts = Facts { version: None, started_at_ms: None, ..facts(&none) };
    let mut error = JobError::new("invalid_payload", "a \"quoted\" text").at_step("tell");
    error.fields = Some([("/a".to_owned(), "is required".to_owned())].into());

    for (state, word) in
        [(State::Failed, "failed"), (State::Cancelled, "cancelled"), (State::Expired, "expired")]
    {
        let callback = compose(&facts, state, FINISHED_MS, Some("1"), Some(&error));

        assert!(callback.body.starts_with(&format!(r#"{{"type":"job.{word}","#)), "{}", callback.body);
        let data = data(&callback);
        assert_eq!(data["status"], "failed");
        assert_eq!(data["state"], word);
        assert_eq!(data["error"], serde_json::to_value(&error).unwrap());
        assert_eq!(data["started_at"], Value::Null);
        assert!(data.get("result").is_none() && data.get("version").is_none());
    }
    assert_eq!(data(&compose(&facts, State::Cancelled, FINISHED_MS, None, None))["error"], Value::Null);
}

#[test]
fn a_large_result_is_replaced_by_where_to_fetch_it() {
    let tags = tags(32, "v");
    let small = quote(&"x".repeat(18_000));
    let large = quote(&"x".repeat(20_000));

    let kept = data(&compose(&facts(&tags), State::Succeeded, FINISHED_MS, Some(&small), None));
    let replaced = data(&compose(&facts(&tags), State::Succeeded, FINISHED_MS, Some(&large), None));

    assert_eq!(kept["result"].as_str().map(str::len), Some(18_000));
    assert!(kept.get("result_url").is_none());
    assert_eq!(replaced["result"], Value::Null);
    assert_eq!(replaced["result_url"], "/api/v1/status/018bcfe5687b7fffbfffffffffffffff");
    assert_eq!(replaced["result_bytes"], 20_002);
    assert_eq!(replaced["tags"].as_object().map(|tags| tags.len()), Some(32));
}

#[test]
fn tags_give_in_before_a_result_that_would_fit_beside_fewer() {
    let tags = tags(32, &"\u{1}".repeat(256));
    let result = quote(&"x".repeat(10_000));

    let data = data(&compose(&facts(&tags), State::Succeeded, FINISHED_MS, Some(&result), None));

    assert_eq!(data["result"].as_str().map(str::len), Some(10_000));
    let kept = data["tags"].as_object().map_or(0, |tags| tags.len());
    assert!(kept >= 1, "some are kept");
    assert_eq!(data["tags_omitted"], json!(32 - kept));
}

#[test]
fn a_large_error_is_cut_and_says_where_it_stands_in_full() {
    let none = Tags::new();
    let mut error = JobError::new("failed", "é\"".repeat(20_000));
    error.fields = Some((0..5_000).map(|number| (format!("/{number}"), "wrong".to_owned())).collect());

    let data = data(&compose(&facts(&none), State::Failed, FINISHED_MS, None, Some(&error)));

    let message = data["error"]["message"].as_str().unwrap();
    assert!(message.len() > 2_500 && message.ends_with('…'), "{}", message.len());
    assert!(data["error"]["fields_omitted"].as_u64() > Some(4_000));
    assert_eq!(data["error_url"], "/api/v1/status/018bcfe5687b7fffbfffffffffffffff");
}

#[test]
fn tries_follow_the_schedule_with_at_most_a_fifth_more() {
    let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
    for (round, pause) in (1..).zip(seconds) {
        assert_eq!(next_try(round, 1_000, None, 0.0), Some(1_000 + pause * 1_000), "try {round}");
        assert_eq!(next_try(round, 1_000, None, 1.0), Some(1_000 + pause * 1_200), "try {round}");
    }
    for round in [8, 9, i64::MAX] {
        assert_eq!(next_try(round, 1_000, Some(5), 0.5), None, "try {round} was the last");
    }
}

#[test]
fn a_retry_after_puts_off_but_never_forward_and_not_for_ever() {
    assert_eq!(next_try(1, 0, Some(60_000), 0.9), Some(60_000));
    assert_eq!(next_try(2, 0, Some(60_000), 0.0), Some(300_000));
    assert_eq!(next_try(1, 0, Some(i64::MAX), 0.0), Some(DAY_MS));
    assert_eq!(next_try(1, 0, Some(-5), f64::NAN), Some(5_000));
}

#[test]
fn only_2xx_is_a_delivery_and_only_410_ends_it() {
    for (status, expected) in [
        (200, Verdict::Delivered),
        (204, Verdict::Delivered),
        (299, Verdict::Delivered),
        (100, Verdict::Failed),
        (301, Verdict::Failed),
        (304, Verdict::Failed),
        (400, Verdict::Failed),
        (404, Verdict::Failed),
        (410, Verdict::Gone),
        (429, Verdict::Busy),
        (500, Verdict::Failed),
        (503, Verdict::Busy),
        (599, Verdict::Failed),
    ] {
        assert_eq!(verdict(status), expected, "{status}");
    }
}

/// Short and long texts, of characters that take one byte to six when quoted.
fn text() -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![Just("a"), Just("\""), Just("\u{1}"), Just("é"), Just("😀"), Just("\n"), Just("\u{7f}")];
    (piece, prop_oneof![0..20_usize, 0..400_usize, 3_000..9_000_usize])
        .prop_map(|(piece, times)| piece.repeat(times))
}

proptest! {
    #[test]
    fn a_body_is_json_below_the_bound_whatever_the_job_holds(
        workflow in text(),
        version: Option<i64>,
        claim: i64,
        times: (i64, Option<i64>, i64),
        tags in prop::collection::btree_map(text(), text(), 0..40),
        state in prop::sample::select(vec![State::Succeeded, State::Failed, State::Cancelled, State::Expired]),
        result in prop::option::of(text()),
        error in prop::option::of((text(), text(), prop::option::of(text()))),
        fields in prop::option::of(prop::collection::btree_map(text(), text(), 0..40)),
    ) {
        let facts = Facts {
            workflow: &workflow, version, claim, tags: &tags, created_at_ms: times.0, started_at_ms: times.1, ..facts(&tags)
        };
        let result = result.map(|text| quote(&text));
        let error = error.map(|(code, message, step)| JobError { code, message, step, fields });

        let callback = compose(&facts, state, times.2, result.as_deref(), error.as_ref());

        let data = data(&callback);
        prop_assert_eq!(&data["state"], state.as_str());
        prop_assert_eq!(data.get("result").is_some(), state == State::Succeeded);
        prop_assert_eq!(data.get("error").is_some(), state != State::Succeeded);
    }
}
