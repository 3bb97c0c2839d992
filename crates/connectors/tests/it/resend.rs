//! Resend: what it is sent, field by field against its API's description, and what its answers mean.

use http::HeaderValue;
use levqor_connectors::email::{Failure, Mailer, Provider, Sent};
use levqor_connectors::resend::{Domain, Record, Resend};
use levqor_core::mail::{self, Mail};
use levqor_testkit::{Act, Answer, Receiver, Script};
use serde_json::{Value, json};

const KEY: &str = "re_canary_that_nobody_sees";
const LIMIT_MS: u64 = 10_000;

fn mailer(base_url: String) -> Mailer {
    let provider = Provider::Resend { api_key: KEY.to_owned(), base_url };
    Mailer::new(&provider, "example.com", &[], HeaderValue::from_static("levqor-test/1"))
}

fn mail(value: Value) -> Mail {
    mail::read(&value.to_string()).unwrap()
}

fn short() -> Mail {
    mail(json!({"from": "no-reply", "to": "ada@example.org", "subject": "Hi", "text": "Hello"}))
}

fn id() -> Answer {
    Answer::json(&json!({"id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}))
}

#[tokio::test]
async fn a_mail_is_sent_as_resends_api_describes_it() {
    let resend = Receiver::start().await;
    resend.script("/emails", [id()]);
    let full = mail(
        json!({"from": "billing", "to": ["ada@example.org", "b@example.org"], "cc": "c@example.org",
        "bcc": ["d@example.org"], "reply_to": "e@example.org", "subject": "Zürich", "text": "a\nb", "html": "<p>a</p>"}),
    );

    let sent = mailer(resend.url("")).send(&full, "job-send", 0, LIMIT_MS).await.unwrap();

    assert_eq!(sent, Sent { message_id: "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794".to_owned() });
    let received = resend.received().remove(0);
    assert_eq!(
        (received.method.as_str(), received.path.as_str(), received.query.as_str()),
        ("POST", "/emails", "")
    );
    assert_eq!(received.header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(received.header("idempotency-key"), "job-send");
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("user-agent"), "levqor-test/1");
    let expected = json!({"from": "billing@example.com", "to": ["ada@example.org", "b@example.org"], "cc": ["c@example.org"],
        "bcc": ["d@example.org"], "reply_to": ["e@example.org"], "subject": "Zürich", "text": "a\nb", "html": "<p>a</p>"});
    assert_eq!(received.json(), expected);
}

#[tokio::test]
async fn what_a_mail_does_not_have_is_not_sent() {
    let resend = Receiver::start().await;
    resend.script("/emails", [id()]);

    mailer(resend.url("")).send(&short(), "k", 0, LIMIT_MS).await.unwrap();

    let expected =
        json!({"from": "no-reply@example.com", "to": ["ada@example.org"], "subject": "Hi", "text": "Hello"});
    assert_eq!(resend.received()[0].json(), expected);
}

#[tokio::test]
async fn every_answer_has_its_meaning_and_none_shows_the_key() {
    let resend = Receiver::start().await;
    let said = |status: u16, name: &str| {
        let body = json!({"statusCode": status, "name": name, "message": format!("about ada@example.org and {KEY}")});
        Answer::status(status).body(body.to_string())
    };
    let word = |word: &str| Some(word.to_owned());
    let provider = "resend";
    let mailer = mailer(resend.url(""));
    for (answer, expected) in [
        (said(401, "missing_api_key"), Failure::Refused { provider, word: word("missing_api_key") }),
        (said(403, "invalid_api_key"), Failure::Refused { provider, word: word("invalid_api_key") }),
        (said(422, "validation_error"), Failure::Refused { provider, word: word("validation_error") }),
        (
            said(409, "invalid_idempotent_request"),
            Failure::Refused { provider, word: word("invalid_idempotent_request") },
        ),
        (
            said(409, "concurrent_idempotent_requests"),
            Failure::Busy { provider, word: word("concurrent_idempotent_requests") },
        ),
        (
            said(429, "rate_limit_exceeded").retry_after("7"),
            Failure::RateLimited { provider, word: word("rate_limit_exceeded"), retry_after_ms: Some(7_000) },
        ),
        (
            said(429, "daily_quota_exceeded").retry_after("99999999"),
            Failure::RateLimited {
                provider,
                word: word("daily_quota_exceeded"),
                retry_after_ms: Some(86_400_000),
            },
        ),
        (
            Answer::status(429).body("<html>"),
            Failure::RateLimited { provider, word: None, retry_after_ms: None },
        ),
        (said(500, "application_error"), Failure::Busy { provider, word: word("application_error") }),
        (Answer::status(503).body("busy"), Failure::Busy { provider, word: word("status 503") }),
        (Answer::status(302), Failure::Refused { provider, word: word("status 302") }),
        (said(422, &format!("x{KEY}y")), Failure::Refused { provider, word: word("(hidden)") }),
        (said(422, "a\r\nb"), Failure::Refused { provider, word: word("ab") }),
        (Answer::status(200).body("garbage"), Failure::BadAnswer { provider }),
        (Answer::json(&json!([])), Failure::BadAnswer { provider }),
        (Answer::json(&json!({"id": ""})), Failure::BadAnswer { provider }),
        (Answer::json(&json!({"id": 7})), Failure::BadAnswer { provider }),
    ] {
        resend.script("/emails", [answer.clone()]);

        let failure = mailer.send(&short(), "k", 0, LIMIT_MS).await.unwrap_err();

        assert_eq!(failure, expected, "{answer:?}");
        let shown = format!("{failure} {failure:?} {mailer:?}");
        assert!(!shown.contains("canary") && !shown.contains("ada@"), "{shown}");
        assert_eq!(failure.is_retryable(), !matches!(failure, Failure::Refused { .. }));
    }
}

#[tokio::test]
async fn a_resend_that_is_slow_cut_off_huge_or_gone_is_told_apart_in_time() {
    let huge = Script::start(vec![
        Act::ReadRequest,
        Act::send("HTTP/1.1 200 OK\r\n\r\n{\"id\":\""),
        Act::SendForever(vec![b'a'; 4096]),
    ])
    .await;
    let cut = Script::answer("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"id\"").await;
    let hanging = Script::start(vec![Act::ReadRequest, Act::Hang]).await;
    let gone = Script::answer("").await;
    let gone_url = gone.url("");
    drop(gone);
    let provider = "resend";
    for (url, limit_ms, expected) in [
        (huge.url(""), LIMIT_MS, Failure::BadAnswer { provider }),
        (cut.url(""), LIMIT_MS, Failure::BadAnswer { provider }),
        (hanging.url(""), 100, Failure::Timeout { provider, limit_ms: 100 }),
        (gone_url, LIMIT_MS, Failure::Unreachable { provider, code: "connect_failed" }),
    ] {
        let failure = mailer(url).send(&short(), "k", 0, limit_ms).await.unwrap_err();

        assert_eq!(failure, expected);
        assert!(failure.is_retryable());
    }
}

fn domain(name: &str, id: &str) -> Value {
    json!({"object": "domain", "id": id, "name": name, "status": "not_started", "region": "eu-west-1",
        "created_at": "2023-04-26 20:21:26.347412+00", "capabilities": {"sending": "enabled"}, "records": [
            {"record": "SPF", "name": "send", "type": "MX", "ttl": "Auto", "status": "not_started",
                "value": "feedback-smtp.eu-west-1.amazonses.com", "priority": 10},
            {"record": "DKIM", "name": "resend._domainkey", "type": "TXT", "ttl": "Auto", "status": "not_started", "value": "p=MIG"}]})
}

#[tokio::test]
async fn domains_are_found_made_and_verified_as_resends_api_describes_it() {
    let resend = Receiver::start().await;
    let listed = |names: &[&str], has_more: bool| {
        let data: Vec<_> = names
            .iter()
            .map(|name| json!({"id": format!("id of {name}"), "name": name, "status": "verified"}))
            .collect();
        Answer::json(&json!({"object": "list", "has_more": has_more, "data": data}))
    };
    resend.script(
        "/domains",
        [
            listed(&["a.org", "b.org"], true),
            listed(&["Example.com"], false),
            Answer::status(201).body(domain("c.org", "d/1").to_string()),
        ],
    );
    resend.script("/domains/id%20of%20Example.com", [Answer::json(&domain("example.com", "d1"))]);
    resend.script("/domains/d%2F1/verify", [Answer::json(&json!({"object": "domain", "id": "d/1"}))]);
    let api = Resend::new(KEY, &resend.url(""), &[], HeaderValue::from_static("levqor-test/1"));

    let found = api.find_domain("example.com", 0, LIMIT_MS).await.unwrap().unwrap();
    let made = api.create_domain("c.org", "eu-west-1", 0, LIMIT_MS).await.unwrap();
    api.verify_domain(&made.id, 0, LIMIT_MS).await.unwrap();

    let record = |purpose: &str, kind: &str, name: &str, value: &str, priority| Record {
        purpose: purpose.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
        priority,
        status: "not_started".to_owned(),
    };
    let expected = Domain {
        id: "d1".to_owned(),
        name: "example.com".to_owned(),
        status: "not_started".to_owned(),
        records: vec![
            record("SPF", "MX", "send", "feedback-smtp.eu-west-1.amazonses.com", Some(10)),
            record("DKIM", "TXT", "resend._domainkey", "p=MIG", None),
        ],
    };
    assert_eq!(found, expected);
    let asked: Vec<_> = resend
        .received()
        .into_iter()
        .map(|one| format!("{} {}?{}", one.method, one.path, one.query))
        .collect();
    assert_eq!(
        asked,
        [
            "GET /domains?limit=100",
            "GET /domains?limit=100&after=id%20of%20b.org",
            "GET /domains/id%20of%20Example.com?",
            "POST /domains?",
            "POST /domains/d%2F1/verify?"
        ]
    );
    assert_eq!(resend.received()[3].json(), json!({"name": "c.org", "region": "eu-west-1"}));
    assert!(resend.received().iter().all(|one| one.header("authorization") == format!("Bearer {KEY}")));
}

#[tokio::test]
async fn a_list_of_domains_that_never_ends_is_left_at_some_point() {
    let resend = Receiver::start().await;
    let page = json!({"has_more": true, "data": [{"id": "d1", "name": "other.org"}]});
    resend.script("/domains", [Answer::json(&page)]);
    let api = Resend::new(KEY, &resend.url(""), &[], HeaderValue::from_static("levqor-test/1"));

    assert_eq!(api.find_domain("example.com", 0, LIMIT_MS).await, Ok(None));
    assert!(resend.received().len() <= 20);
    resend.script("/domains", [Answer::json(&json!({"data": 7}))]);
    assert_eq!(
        api.find_domain("example.com", 0, LIMIT_MS).await,
        Err(Failure::BadAnswer { provider: "resend" })
    );
}
