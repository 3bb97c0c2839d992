//! What holds for every vendor: refusals, limits, silence about credentials. And the tools of the vendors' own tests.

use http::HeaderValue;
use levqor_connectors::catalogue::Vendor;
use levqor_connectors::{Ask, Bases, Connectors, Error, Failure, Source, Terms};
use levqor_core::address::OutboundPolicy;
use levqor_testkit::{Act, Answer, Receiver, Script, marks};
use serde_json::{Value, json};

/// Marks what must never be seen again.
pub const TOKEN: &str = "canary-1234567890:AAsecret_token";

/// Connectors whose vendors are all at this address, and nowhere else on loopback.
pub fn connectors(base: &str) -> Connectors {
    marks::listen();
    let base = base.trim_end_matches('/').to_owned();
    let bases = Bases {
        slack: base.clone(),
        telegram: base.clone(),
        notion: base.clone(),
        google_token: format!("{base}/token"),
        gmail: base,
        ..Bases::default()
    };
    Connectors::new(&OutboundPolicy::default(), HeaderValue::from_static("levqor-test/1"), bases)
}

/// What tests wait for at most.
pub const TERMS: Terms<'static> =
    Terms { now_ms: 784_111_777_000, limit_ms: 2_000, idempotency_key: Some("job-step"), went_out: None };

/// Does what the JSON of a request with its own credentials asks for.
pub async fn perform(connectors: &Connectors, vendor: Vendor, body: &Value) -> Result<Value, Error> {
    let (ask, source) = Ask::read(vendor, &body.to_string())?;
    let Source::Given(credentials) = source else { panic!("{body} names a connection") };
    let performed = connectors.run(&ask, &credentials, TERMS).await;
    if let Err(error) = &performed {
        marks::check("an error", format!("{error} {error:?}").as_bytes());
    }
    performed
}

pub async fn run(at: &str, vendor: Vendor, action: &str, params: Value) -> Result<Value, Error> {
    let mut body = json!({"action": action, "params": params});
    body[vendor.credentials_member()] = match vendor {
        Vendor::Gmail => json!({"access_token": TOKEN}),
        _ => TOKEN.into(),
    };
    perform(&connectors(at), vendor, &body).await
}

/// A simple action of each vendor.
const SIMPLE: [(Vendor, &str, &str); 4] = [
    (Vendor::Slack, "list_channels", "/conversations.list"),
    (Vendor::Telegram, "get_me", "/botcanary-1234567890:AAsecret_token/getMe"),
    (Vendor::Notion, "search", "/v1/search"),
    (Vendor::Gmail, "list_labels", "/gmail/v1/users/me/labels"),
];

fn word(word: &str) -> Option<String> {
    Some(word.to_owned())
}

#[tokio::test]
async fn a_refusal_is_told_in_the_vendors_word_and_sorted_by_what_it_means() {
    type Make = fn(Option<String>) -> Failure;
    let refused: Make = |word| Failure::Refused { word };
    let unauthorized: Make = |word| Failure::Unauthorized { word };
    let failed: Make = |word| Failure::Failed { word };
    let slack = |word: &str| json!({"ok": false, "error": word});
    let telegram = |word: &str| json!({"ok": false, "error_code": 400, "description": word});
    let notion = |word: &str| json!({"object": "error", "status": 400, "code": word, "message": "no"});
    let google = |word: &str| json!({"error": {"code": 403, "status": "X", "errors": [{"reason": word}]}});
    let server = Receiver::start().await;
    for (at, status, body, told, expected) in [
        (0, 200, slack("channel_not_found"), "channel_not_found", refused),
        (0, 200, slack("invalid_auth"), "invalid_auth", unauthorized),
        (0, 200, slack("missing_scope"), "missing_scope", unauthorized),
        (0, 200, slack("internal_error"), "internal_error", failed),
        (0, 503, slack("service_unavailable"), "service_unavailable", failed),
        (1, 400, telegram("Bad Request: chat not found"), "Bad Request: chat not found", refused),
        (1, 401, telegram("Unauthorized"), "Unauthorized", unauthorized),
        (1, 403, telegram("Forbidden: bot was blocked"), "Forbidden: bot was blocked", refused),
        (1, 500, telegram("Internal Server Error"), "Internal Server Error", failed),
        (2, 400, notion("validation_error"), "validation_error", refused),
        (2, 401, notion("unauthorized"), "unauthorized", unauthorized),
        (2, 403, notion("restricted_resource"), "restricted_resource", unauthorized),
        (2, 404, notion("object_not_found"), "object_not_found", refused),
        (2, 409, notion("conflict_error"), "conflict_error", failed),
        (2, 502, notion("bad_gateway"), "bad_gateway", failed),
        (3, 404, google("notFound"), "notFound", refused),
        (3, 403, google("insufficientPermissions"), "insufficientPermissions", unauthorized),
        (3, 500, google("backendError"), "backendError", failed),
    ] {
        let (vendor, action, path) = SIMPLE[at];
        server.script(path, [Answer::status(status).body(body.to_string())]);

        let error = run(&server.url(""), vendor, action, json!({})).await.unwrap_err();

        assert_eq!(error, expected(word(told)).into(), "{vendor:?}");
    }
}

#[tokio::test]
async fn a_limit_tells_when_to_come_back() {
    let server = Receiver::start().await;
    for (vendor, action, path) in SIMPLE {
        for (answer, secs) in [
            (Answer::status(429).retry_after("7").body("{\"ok\":false}"), 7),
            (Answer::status(429).retry_after("Sun, 06 Nov 1994 08:50:37 GMT"), 60),
            (Answer::status(429).retry_after("99999999999999999999"), 86_400),
            (Answer::status(429).body("no json"), 30),
            (Answer::status(429).body("{\"ok\":false,\"parameters\":{\"retry_after\":5}}"), 5),
        ] {
            server.script(path, [answer]);

            let error = run(&server.url(""), vendor, action, json!({})).await.unwrap_err();

            assert_eq!(
                error,
                Failure::RateLimited { retry_after_secs: secs, word: None }.into(),
                "{vendor:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_limit_that_is_told_by_a_word_alone_is_one_too() {
    let server = Receiver::start().await;
    let google = |reason: &str| json!({"error": {"code": 403, "errors": [{"reason": reason}]}});
    for (at, status, body, told) in [
        (0, 200, json!({"ok": false, "error": "ratelimited"}), "ratelimited"),
        (2, 503, json!({"object": "error", "code": "rate_limited"}), "rate_limited"),
        (3, 403, google("rateLimitExceeded"), "rateLimitExceeded"),
        (3, 403, google("userRateLimitExceeded"), "userRateLimitExceeded"),
        (3, 400, json!({"error": {"status": "RESOURCE_EXHAUSTED"}}), "RESOURCE_EXHAUSTED"),
    ] {
        let (vendor, action, path) = SIMPLE[at];
        server.script(path, [Answer::status(status).body(body.to_string())]);

        let error = run(&server.url(""), vendor, action, json!({})).await.unwrap_err();

        assert_eq!(
            error,
            Failure::RateLimited { retry_after_secs: 30, word: word(told) }.into(),
            "{vendor:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_answer_is_sorted_by_its_kind() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length:";
    for (vendor, action, _) in SIMPLE {
        for (acts, expected) in [
            (
                vec![Act::ReadRequest, Act::send("HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\n<oh/>")],
                Failure::Failed { word: None },
            ),
            (vec![Act::ReadRequest, Act::send(format!("{head} 4\r\n\r\nnope"))], Failure::BadAnswer),
            (vec![Act::ReadRequest, Act::send(format!("{head} 2\r\n\r\n[]"))], Failure::BadAnswer),
            (vec![Act::ReadRequest, Act::send(format!("{head} 99\r\n\r\n{{"))], Failure::BadAnswer),
            (vec![Act::ReadRequest, Act::send(format!("{head} 99999999\r\n\r\n{{"))], Failure::BadAnswer),
            (vec![Act::ReadRequest, Act::send("garbage\r\n\r\n")], Failure::BadAnswer),
            (
                vec![
                    Act::ReadRequest,
                    Act::send(
                        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                    ),
                ],
                Failure::Refused { word: None },
            ),
            (vec![Act::ReadRequest, Act::Hang], Failure::Timeout { limit_ms: 2_000 }),
        ] {
            let shown = format!("{vendor:?} {acts:?}");
            let server = Script::start(acts).await;

            let error = run(&server.url(""), vendor, action, json!({})).await.unwrap_err();

            assert_eq!(error, expected.into(), "{shown}");
            assert_eq!(server.requests().len(), 1, "nothing is repeated: {shown}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_no_address_is_told() {
    let gone = {
        let server = Receiver::start().await;
        server.url("")
    };
    for (vendor, action, _) in SIMPLE {
        let error = run(&gone, vendor, action, json!({})).await.unwrap_err();

        assert_eq!(error, Failure::Unreachable { code: "connect_failed" }.into());
        assert!(!format!("{error} {error:?}").contains("127.0.0.1"), "{error:?}");
    }
}

#[tokio::test]
async fn a_vendor_that_repeats_the_token_is_not_repeated() {
    let server = Receiver::start().await;
    for (vendor, action, path) in SIMPLE {
        let text = format!("bad token {TOKEN}");
        let body = json!({"ok": false, "error": text, "description": text, "code": text});
        server.script(path, [Answer::status(401).body(body.to_string())]);

        let error = run(&server.url(""), vendor, action, json!({})).await.unwrap_err();

        assert_eq!(error, Failure::Unauthorized { word: word("(hidden)") }.into(), "{vendor:?}");
    }
}

#[tokio::test]
async fn an_address_of_ours_inside_is_called_only_where_the_operator_named_it() {
    let elsewhere = Receiver::start().await;
    let server = Receiver::start().await;
    let place = json!({"ok": true, "file_id": "F1", "upload_url": elsewhere.url("/upload")});
    server.script("/files.getUploadURLExternal", [Answer::json(&place)]);

    let params = json!({"channel": "C1", "content": "hello"});
    let error = run(&server.url(""), Vendor::Slack, "upload_file", params).await.unwrap_err();

    assert_eq!(error, Failure::Unreachable { code: "address_refused" }.into());
    assert!(elsewhere.received().is_empty());
}
