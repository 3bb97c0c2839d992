//! Connectors through the real server: the contract's refusals, what vendors' faults become, and silence about tokens.

use levqor_testkit::{Answer, Receiver};
use serde_json::json;

use crate::server::{TestServer, check};

const TOKEN: &str = "canary-99:token_that_nobody_sees";

async fn start(vendor: &Receiver) -> TestServer {
    let url = vendor.url("");
    let token_url = vendor.url("/token");
    let vars = [
        ("API_KEYS", "k"),
        ("SLACK_BASE_URL", url.as_str()),
        ("TELEGRAM_BASE_URL", &url),
        ("NOTION_BASE_URL", &url),
        ("GMAIL_BASE_URL", &url),
        ("GOOGLE_TOKEN_URL", &token_url),
    ];
    TestServer::start(&vars).await
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_as_clients_know_it() {
    let vendor = Receiver::start().await;
    let server = start(&vendor).await;
    let key = server.key("k");
    let unknown =
        "{\"error\":\"invalid_connector\",\"valid\":[\"gmail\",\"notion\",\"slack\",\"telegram\"]}\n";
    for name in ["zzz", "Slack", "slack%00"] {
        let reply = key
            .send("POST", &format!("/api/v1/connect/{name}"), &[("Content-Type", "text/plain")], "{")
            .await;
        check(name, &reply, 400, unknown);
    }
    let plain = key.send("POST", "/api/v1/connect/slack", &[("Content-Type", "text/plain")], "{}").await;
    check("type", &plain, 400, "{\"details\":null,\"error\":\"Content-Type must be application/json\"}\n");
    let anon = server.anon().post("/api/v1/connect/zzz", "{").await;
    check("key first", &anon, 403, "{\"error\":\"forbidden\"}\n");

    let cases = [
        ("slack", "{}", "action required"),
        ("slack", "", "action required"),
        ("slack", "{", "action required"),
        ("slack", r#"{"action":"","token":"t"}"#, "action required"),
        ("slack", r#"{"action":"zzz"}"#, "token required (Slack bot token)"),
        ("slack", r#"{"action":"zzz","token":""}"#, "token required (Slack bot token)"),
        ("notion", r#"{"action":"search"}"#, "token required (Notion integration token)"),
        ("telegram", r#"{"action":"get_me"}"#, "token required (Telegram bot token)"),
        ("gmail", r#"{"action":"list_labels"}"#, "credentials required (OAuth2 token)"),
        ("gmail", r#"{"action":"list_labels","credentials":{}}"#, "credentials required (OAuth2 token)"),
        ("slack", r#"{"action":"zzz","token":"t"}"#, "unknown action: zzz"),
        ("slack", r#"{"action":"post_message","token":"t"}"#, "channel and text required"),
        (
            "slack",
            r#"{"action":"post_message","token":"t","params":{"channel":"c","text":""}}"#,
            "channel and text required",
        ),
        ("slack", r#"{"action":"upload_file","token":"t","params":{}}"#, "channel and content required"),
        ("notion", r#"{"action":"query_database","token":"t"}"#, "database_id required"),
        ("notion", r#"{"action":"create_page","token":"t"}"#, "database_id required"),
        ("telegram", r#"{"action":"send_message","token":"t"}"#, "chat_id and text required"),
        ("gmail", r#"{"action":"send_email","credentials":{"access_token":"t"}}"#, "to and subject required"),
    ];
    for (name, body, expected) in cases {
        let headers = [("Content-Type", "application/json")];
        let reply = key.send("POST", &format!("/api/v1/connect/{name}"), &headers, body).await;
        check(body, &reply, 400, &format!("{}\n", json!({"error": expected})));
    }

    let wrong = [
        ("[]", "", "the body must be an object"),
        ("\"text\"", "", "the body must be an object"),
        (r#"{"action":7,"token":"t"}"#, "/action", "action must be a text"),
        (r#"{"action":"post_message","token":7}"#, "/token", "token must be a text"),
        (
            r#"{"action":"post_message","token":"a\nb"}"#,
            "/token",
            "token must be at most 4096 visible ASCII characters",
        ),
        (r#"{"action":"post_message","token":"t","params":"x"}"#, "/params", "params must be an object"),
        (
            r#"{"action":"post_message","token":"t","params":{"channel":7,"text":"x"}}"#,
            "/params/channel",
            "7 is not of type \"string\"",
        ),
    ];
    for (body, at, message) in wrong {
        let reply = key.post("/api/v1/connect/slack", body).await;
        let expected = json!({"error": "invalid_request", "fields": {at: message}, "message": message});
        check(body, &reply, 400, &format!("{expected}\n"));
    }
    let elsewhere = r#"{"action":"get_me","token":"1:a/../../x?"}"#;
    assert_eq!(key.post("/api/v1/connect/telegram", elsewhere).await.error(), "invalid_request");
    assert!(vendor.received().is_empty(), "nothing of this is the vendor's business");
}

#[tokio::test]
async fn a_success_counts_as_a_write_and_has_the_contracts_form() {
    let vendor = Receiver::start().await;
    vendor.script("/chat.postMessage", [Answer::json(&json!({"ok": true, "channel": "C1", "ts": "1.2"}))]);
    let server = start(&vendor).await;

    let body = json!({"action": "post_message", "token": TOKEN, "params": {"channel": "C1", "text": "hi"}});
    let reply = server.key("k").post("/api/v1/connect/slack", &body.to_string()).await;

    let expected = "{\"connector\":\"slack\",\"result\":{\"channel\":\"C1\",\"message_ts\":\"1.2\",\"status\":\"sent\"},\"status\":\"ok\"}\n";
    check("success", &reply, 200, expected);
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("99999"));
}

#[tokio::test]
async fn a_vendors_faults_become_gateway_errors_that_hold_no_token() {
    let vendor = Receiver::start().await;
    let server = start(&vendor).await;
    let key = server.key("k");
    let body = json!({"action": "get_me", "token": TOKEN}).to_string();
    let path = format!("/bot{TOKEN}/getMe");
    let said = json!({"ok": false, "error_code": 401, "description": "Unauthorized"}).to_string();
    let leak = json!({"ok": false, "description": format!("no {TOKEN}")}).to_string();
    let mut texts = String::new();
    for (answer, status, code, word) in [
        (Answer::status(401).body(said), 502, "telegram_api_error", json!("Unauthorized")),
        (Answer::status(404).body(leak), 502, "telegram_api_error", json!("(hidden)")),
        (Answer::status(429).retry_after("9"), 429, "connector_rate_limited", json!(null)),
        (Answer::status(500), 502, "telegram_api_error", json!(null)),
        (Answer::status(200).body("garbage"), 502, "connector_bad_answer", json!(null)),
        (Answer::hang(), 504, "connector_timeout", json!(null)),
    ] {
        vendor.script(&path, [answer]);

        let reply = key.post("/api/v1/connect/telegram", &body).await;

        assert_eq!((reply.status, reply.error().as_str()), (status, code), "{}", reply.text());
        assert_eq!((&reply.json()["vendor_error"], &reply.json()["connector"]), (&word, &json!("telegram")));
        assert_eq!(reply.header("retry-after"), (status == 429).then_some("9"));
        texts.push_str(&reply.text());
    }
    drop(vendor);
    let reply = key.post("/api/v1/connect/telegram", &body).await;
    assert_eq!((reply.status, reply.error().as_str()), (502, "connector_unreachable"));
    texts.push_str(&reply.text());
    assert!(!texts.contains("127.0.0.1"), "{texts}");

    server.log.close();
    for text in [texts, server.logged.text()] {
        assert!(!text.is_empty() && !text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn connectors_are_listed_with_the_schemas_that_requests_are_checked_against() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;

    assert_eq!(server.anon().get("/api/v1/connectors").await.status, 403);
    let list = server.key("k").get("/api/v1/connectors").await.json();

    let names: Vec<_> =
        list["connectors"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["gmail", "notion", "slack", "telegram"]);
    let post = &list["connectors"][2]["actions"][0];
    assert_eq!(
        (&post["name"], &post["params"]["required"]),
        (&json!("post_message"), &json!(["channel", "text"]))
    );
}
