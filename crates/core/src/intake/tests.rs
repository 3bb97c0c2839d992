#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::duration::MAX_DURATION_MS;
use crate::state::State;

const NOW_MS: i64 = 1_700_000_000_000;

fn parse_one(body: &str) -> Result<IntakeRequest, Invalid> {
    parse_intake(body, NOW_MS, &OutboundPolicy::default())
}

/// A body with these members after a workflow and a payload.
fn with(members: &str) -> String {
    format!(r#"{{"workflow":"w","payload":{{}},{members}}}"#)
}

fn check_details(body: &str, expected: &str) {
    let invalid = parse_one(body).unwrap_err();
    assert_eq!(invalid.error, "Invalid request body", "{body}");
    assert_eq!(invalid.details.as_deref(), Some(expected), "{body}");
}

#[test]
fn the_least_request_has_a_workflow_and_a_payload() {
    let request = parse_one(" {\"payload\" : { \"n\" : 1.0, \"b\":[ ] } ,\n\"workflow\":\"a b\"} ").unwrap();

    assert_eq!(
        request,
        IntakeRequest {
            workflow: "a b".to_owned(),
            payload: r#"{"n":1.0,"b":[]}"#.to_owned(),
            callback_url: None,
            priority: Priority::Normal,
            run_at_ms: None,
            tags: Tags::new(),
            dry_run: false,
            idempotency_key: None,
        }
    );
}

#[test]
fn every_member_is_read() {
    let body = r#"{"workflow":"\u00e9t\u00e9","payload":{"a":12345678901234567890123},"callback_url":"https:\/\/example.com/h",
        "priority":"high","run_at":"2030-01-31T09:00:00Z","tags":{"team":"x","\u006b":""},"dry_run":true}"#;

    let request = parse_one(body).unwrap();

    assert_eq!(request.workflow, "été");
    assert_eq!(request.payload, r#"{"a":12345678901234567890123}"#);
    assert_eq!(request.callback_url.as_deref(), Some("https://example.com/h"));
    assert_eq!(request.priority, Priority::High);
    assert_eq!(request.run_at_ms, Some(1_896_080_400_000));
    assert_eq!(request.tags, Tags::from([("k".into(), "".into()), ("team".into(), "x".into())]));
    assert!(request.dry_run);
}

#[test]
fn each_violation_names_the_field_the_value_and_what_is_allowed() {
    let members = "workflow, payload, callback_url, priority, run_at, delay, tags, dry_run";
    let workflow = "must be a string of 1 to 128 characters without NUL";
    let long = "x".repeat(129);
    let cases = [
        ("", "invalid JSON at line 1 column 1: the text is empty".to_owned()),
        ("{\"workflow\":}", "invalid JSON at line 1 column 13: expected a value".to_owned()),
        ("null", "the body must be an object, not null".to_owned()),
        ("[]", "the body must be an object, not []".to_owned()),
        ("\"x\"", "the body must be an object, not \"x\"".to_owned()),
        ("0", "the body must be an object, not 0".to_owned()),
        ("{}", "workflow is required: a string of 1 to 128 characters".to_owned()),
        (r#"{"workflow":"w"}"#, "payload is required: an object".to_owned()),
        (r#"{"payload":{},"workflow":""}"#, format!("workflow: \"\" is not allowed, it {workflow}")),
        (r#"{"payload":{},"workflow":7}"#, format!("workflow: 7 is not allowed, it {workflow}")),
        (r#"{"payload":{},"workflow":null}"#, format!("workflow: null is not allowed, it {workflow}")),
        (
            r#"{"payload":{},"workflow":"a\u0000"}"#,
            format!("workflow: \"a\\u0000\" is not allowed, it {workflow}"),
        ),
        (
            &format!(r#"{{"payload":{{}},"workflow":"{long}"}}"#),
            format!("workflow: \"{}… is not allowed, it {workflow}", &long[..79]),
        ),
        (r#"{"workflow":"w","payload":[1]}"#, "payload: [1] is not allowed, it must be an object".to_owned()),
        (
            r#"{"workflow":"w","payload":null}"#,
            "payload: null is not allowed, it must be an object".to_owned(),
        ),
        (&with(r#""Priority":"low""#), format!("unknown member \"Priority\", allowed are {members}")),
        (
            &with(r#""idempotency_key":"k""#),
            format!("unknown member \"idempotency_key\", allowed are {members}"),
        ),
        (
            &with(r#""priority":"urgent""#),
            "priority: \"urgent\" is not allowed, it must be low, normal or high".to_owned(),
        ),
        (
            &with(r#""priority":null"#),
            "priority: null is not allowed, it must be low, normal or high".to_owned(),
        ),
        (
            &with(r#""callback_url":null"#),
            "callback_url: null is not allowed, it must be a string of 1 to 1024 characters".to_owned(),
        ),
        (
            &with(r#""callback_url":"""#),
            "callback_url: \"\" is not allowed, it must be a string of 1 to 1024 characters".to_owned(),
        ),
        (
            &with(r#""dry_run":"true""#),
            "dry_run: \"true\" is not allowed, it must be true or false".to_owned(),
        ),
        (&with(r#""dry_run":null"#), "dry_run: null is not allowed, it must be true or false".to_owned()),
        (
            &with(r#""run_at":0,"delay":"1s""#),
            "run_at and delay exclude each other, send one of them".to_owned(),
        ),
    ];
    for (body, expected) in cases {
        check_details(body, &expected);
    }
}

#[test]
fn lengths_are_counted_in_code_points() {
    let request = |workflow: &str| parse_one(&format!(r#"{{"payload":{{}},"workflow":"{workflow}"}}"#));

    assert!(request(&"😀".repeat(128)).is_ok());
    assert!(request(&"😀".repeat(129)).is_err());
    assert!(request("\\u0001 \\t").is_ok(), "blanks and control characters pass");
    let url = |path: usize| {
        parse_one(&with(&format!(r#""callback_url":"http://example.com/{}""#, "a".repeat(path))))
    };
    assert!(url(1_024 - 19).is_ok());
    assert_eq!(url(1_025 - 19).unwrap_err().error, INVALID_BODY);
}

#[test]
fn a_payload_is_measured_as_compact_utf_8_and_204800_bytes_are_accepted() {
    let body = |bytes: usize| {
        format!(r#"{{"workflow":"w","payload":{{ "a" : "{}" }}}}"#, "é".repeat((bytes - 8) / 2))
    };

    let largest = parse_one(&body(204_800)).unwrap();
    let refused = parse_one(&body(204_802)).unwrap_err();

    assert_eq!(largest.payload.len(), 204_800);
    assert_eq!(refused, Invalid { error: "payload too large".to_owned(), details: None });
}

#[test]
fn the_schema_is_checked_before_the_size_and_the_size_before_the_callback() {
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(204_800));
    let body = |more: &str| format!(r#"{{"workflow":"w","payload":{large},{more}}}"#);

    assert_eq!(parse_one(&body(r#""callback_url":"ftp://x","dry_run":1"#)).unwrap_err().error, INVALID_BODY);
    assert_eq!(parse_one(&body(r#""callback_url":"ftp://x""#)).unwrap_err().error, "payload too large");
}

#[test]
fn callbacks_go_to_public_urls_only() {
    let invalid = |url: &str| parse_one(&with(&format!("\"callback_url\":\"{url}\""))).unwrap_err();
    for url in [
        "ftp://example.com",
        "HTTP://example.com",
        "example.com",
        "http://",
        "https:///x",
        "http://:80/",
        " ",
        "http://a b.com/",
        "http://example.com/\\r\\nHost: x",
        "http://user@example.com/",
        "http://example.com/\\u0000",
    ] {
        let expected =
            Invalid { error: "callback_url must be a valid HTTP(S) URL".to_owned(), details: None };
        assert_eq!(invalid(url), expected, "{url}");
    }
    let refused = invalid("http://169.254.169.254/latest/");
    assert_eq!(refused.error, "callback_url is not allowed");
    assert_eq!(
        refused.details.as_deref(),
        Some(
            "callback_url: 169.254.169.254 is a link-local address; only public addresses are called, unless OUTBOUND_ALLOW lists their network"
        )
    );
    let loopback = OutboundPolicy::parse("127.0.0.1").unwrap();
    assert!(parse_intake(&with(r#""callback_url":"http://127.0.0.1:9/""#), NOW_MS, &loopback).is_ok());
}

#[test]
fn a_job_may_wait_for_a_time_or_a_while() {
    let run_at = |member: &str| parse_one(&with(member)).map(|request| request.run_at_ms);
    let cases = [
        (r#""run_at":1700000001.5"#, Some(1_700_000_001_500)),
        (r#""run_at":0"#, Some(0)),
        (r#""run_at":"2023-11-14T23:13:21+01:00""#, Some(1_700_000_001_000)),
        (r#""delay":"30s""#, Some(NOW_MS + 30_000)),
        (r#""delay":1.5"#, Some(NOW_MS + 1_500)),
        (r#""delay":"366d""#, Some(NOW_MS + MAX_DURATION_MS)),
        (r#""delay":0"#, None),
        (r#""delay":"0s""#, None),
    ];
    for (member, expected) in cases {
        assert_eq!(run_at(member), Ok(expected), "{member}");
    }
    for member in [
        r#""run_at":null"#,
        r#""run_at":"tomorrow""#,
        r#""run_at":"1700000000""#,
        r#""run_at":-1"#,
        r#""run_at":1e300"#,
        r#""run_at":true"#,
        r#""run_at":{}"#,
        r#""delay":null"#,
        r#""delay":-1"#,
        r#""delay":"367d""#,
        r#""delay":"soon""#,
        r#""delay":[]"#,
    ] {
        let details = run_at(member).unwrap_err().details.unwrap();
        assert!(details.contains("is not allowed, it must "), "{member}: {details}");
    }
    check_details(
        &with(r#""delay":"1w""#),
        "delay: \"1w\" is not allowed, it must be a whole number with one unit (ms, s, m, h or d), such as 30s, or a number of seconds",
    );
}

#[test]
fn tags_are_a_small_flat_map_of_strings() {
    let tags = |inner: &str| parse_one(&with(&format!("\"tags\":{inner}")));
    let many = |count: usize| {
        let pairs: Vec<String> = (0..count).map(|number| format!("\"k{number}\":\"v\"")).collect();
        format!("{{{}}}", pairs.join(","))
    };

    assert_eq!(tags(&many(32)).unwrap().tags.len(), 32);
    assert_eq!(tags(r#"{"a":"1","a":"2"}"#).unwrap().tags["a"], "2", "the last duplicate wins");
    let (key, value) = ("é".repeat(64), "é".repeat(256));
    assert!(tags(&format!(r#"{{"{key}":"{value}"}}"#)).is_ok());
    for bad in [
        "null",
        "[]",
        "\"a\"",
        r#"{"a":1}"#,
        r#"{"a":null}"#,
        r#"{"a":{}}"#,
        r#"{"":"x"}"#,
        r#"{"a\u0000":"x"}"#,
        r#"{"a":"\u0000"}"#,
        &many(33),
        &format!(r#"{{"{key}é":""}}"#),
        &format!(r#"{{"a":"{value}é"}}"#),
    ] {
        let invalid = tags(bad).unwrap_err();
        assert!(invalid.details.unwrap().starts_with("tags"), "{bad}");
    }
}

#[test]
fn of_duplicate_members_the_last_one_counts() {
    let request = parse_one(r#"{"workflow":7,"payload":[],"workflow":"w","payload":{"a":1}}"#).unwrap();

    assert_eq!((request.workflow.as_str(), request.payload.as_str()), ("w", r#"{"a":1}"#));
}

#[test]
fn hostile_json_is_refused_wherever_it_stands() {
    for inner in [
        "NaN",
        "1e999",
        "-Infinity",
        r#""\ud800""#,
        "\"\u{1}\"",
        &"[".repeat(50_000),
        &format!("{}1{}", "[".repeat(63), "]".repeat(63)),
    ] {
        let invalid = parse_one(&format!(r#"{{"workflow":"w","payload":{{"a":{inner}}}}}"#)).unwrap_err();
        assert_eq!(invalid.error, INVALID_BODY);
        assert!(invalid.details.unwrap().starts_with("invalid JSON at line 1 column "), "{inner:.20}");
    }
}

#[test]
fn a_line_of_a_batch_may_bring_its_own_key() {
    let line = |key: &str| {
        parse_batch_line(&with(&format!("\"idempotency_key\":{key}")), NOW_MS, &OutboundPolicy::default())
    };

    assert_eq!(line("\"order-1\"").unwrap().idempotency_key.as_deref(), Some("order-1"));
    for bad in ["null", "7", "\"\"", "\"a b\"", "\"é\"", "\"\\u0000\"", &format!("\"{}\"", "k".repeat(256))]
    {
        assert!(line(bad).unwrap_err().details.unwrap().starts_with("idempotency_key: "), "{bad}");
    }
    let broken = parse_batch_line("{\"workflow\":w}", NOW_MS, &OutboundPolicy::default()).unwrap_err();
    assert_eq!(broken.details.unwrap(), "invalid JSON at column 13 of the line: expected a value");
    assert!(check_idempotency_key(&"~".repeat(255)).is_ok());
    assert_eq!(
        check_idempotency_key("").unwrap_err().to_string(),
        "Idempotency-Key must be 1 to 255 visible ASCII characters"
    );
}

#[test]
fn a_request_becomes_a_job_with_all_it_said() {
    let request = parse_one(&with(r#""tags":{"a":"b"},"priority":"low","delay":"5s""#)).unwrap();
    let idempotency = Idempotency { key: "k".to_owned(), body_hash: body_hash(b"abc") };

    let job = request.into_new_job(
        JobId::new(NOW_MS, [1; 10]),
        Some(4),
        "api".to_owned(),
        NOW_MS,
        Some(idempotency),
    );

    assert_eq!((job.workflow.as_str(), job.version, job.caller.as_str()), ("w", Some(4), "api"));
    assert_eq!((job.priority, job.run_at_ms), (Priority::Low, Some(NOW_MS + 5_000)));
    assert_eq!(job.tags["a"], "b");
    assert_eq!(job.first_state(), State::Scheduled);
    assert_eq!(
        job.idempotency.unwrap().body_hash,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn an_invalid_request_reads_as_one_sentence_too() {
    assert_eq!(
        parse_one("{}").unwrap_err().to_string(),
        "Invalid request body: workflow is required: a string of 1 to 128 characters"
    );
    assert_eq!(Invalid::plain("payload too large").to_string(), "payload too large");
}

proptest! {
    #[test]
    fn no_body_panics_and_what_is_taken_keeps_the_rules(
        text: String,
        members in prop::collection::vec(
            (prop::sample::select(vec!["workflow", "payload", "callback_url", "priority", "run_at", "delay", "tags", "dry_run", "x"]),
             prop::sample::select(vec!["\"w\"", "{}", "1", "null", "true", "\"high\"", "\"http://example.com\"", "{\"a\":\"b\"}", "[]", "\"5m\"", "1e18"])),
            0..6),
    ) {
        let _ = parse_one(&text);
        let inner: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        if let Ok(request) = parse_one(&format!("{{{}}}", inner.join(","))) {
            prop_assert!(!request.workflow.is_empty());
            prop_assert!(compact(&request.payload).is_ok_and(|payload| payload == request.payload));
            prop_assert!(members.iter().all(|(name, _)| *name != "x"), "an unknown member passed");
            let last: HashMap<&str, &str> = members.into_iter().collect();
            prop_assert!(last.values().all(|value| *value != "null"), "a null passed");
        }
    }
}
