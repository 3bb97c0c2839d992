//! Stored connections through the real server: put, used, replaced, deleted, and never seen again.

use levqor_testkit::{Answer, Receiver};
use serde_json::{Value, json};

use crate::server::{TestServer, check};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Stands in every credential of these tests, and must stand nowhere else.
const CANARY: &str = "canary";

async fn start(vendor: &Receiver, key: Option<&str>) -> TestServer {
    let (url, token_url) = (vendor.url(""), vendor.url("/token"));
    let mut vars = vec![
        ("API_KEYS", "k"),
        ("SLACK_BASE_URL", url.as_str()),
        ("GMAIL_BASE_URL", &url),
        ("GOOGLE_TOKEN_URL", &token_url),
        ("LOG_LEVEL", "debug"),
    ];
    vars.extend(key.map(|key| ("SECRET_KEY", key)));
    TestServer::start(&vars).await
}

/// Times differ from run to run.
fn without_times(mut value: Value) -> Value {
    for member in ["created_at", "updated_at"] {
        assert!(value[member].as_f64().is_some_and(|time| time > 1e9), "{value}");
        value.as_object_mut().unwrap().remove(member);
    }
    value
}

#[tokio::test]
async fn a_connection_is_put_used_replaced_and_deleted() {
    let vendor = Receiver::start().await;
    vendor.script("/chat.postMessage", [Answer::json(&json!({"ok": true, "channel": "C1", "ts": "1.2"}))]);
    let server = start(&vendor, Some(KEY)).await;
    let key = server.key("k");
    let put = json!({"name": "team-slack", "connector": "slack", "token": "xoxb-canary-1"});

    let made = key.post("/api/v1/connections", &put.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["created"], true);
    let view = without_times(made.json()["connection"].clone());
    let expected =
        json!({"name": "team-slack", "connector": "slack", "fingerprint": "a5554615", "last_used_at": null});
    assert_eq!(view, expected);

    let call = json!({"action": "post_message", "connection": "team-slack", "params": {"channel": "C1", "text": "hi"}});
    let reply = key.post("/api/v1/connect/slack", &call.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(vendor.received()[0].header("authorization"), "Bearer xoxb-canary-1");
    assert_eq!(vendor.received()[0].json(), json!({"channel": "C1", "text": "hi"}));

    let again = key.post("/api/v1/connections", &put.to_string()).await;
    assert_eq!((again.status, again.error().as_str()), (409, "conflict"));
    let mut replace = put.clone();
    replace["token"] = "xoxb-canary-2".into();
    replace["replace"] = true.into();
    let replaced = key.post("/api/v1/connections", &replace.to_string()).await;
    assert_eq!((replaced.status, &replaced.json()["created"]), (200, &json!(false)));
    assert_ne!(replaced.json()["connection"]["fingerprint"], view["fingerprint"]);
    key.post("/api/v1/connect/slack", &call.to_string()).await;
    assert_eq!(vendor.received()[1].header("authorization"), "Bearer xoxb-canary-2");

    let one = key.get("/api/v1/connections/team-slack").await;
    assert!(one.json()["last_used_at"].as_f64().is_some_and(|time| time > 1e9), "{one:?}");
    let list = key.get("/api/v1/connections").await;
    assert_eq!(list.json(), json!({"connections": [one.json()]}));

    let gone = key.send("DELETE", "/api/v1/connections/team-slack", &[], "").await;
    check("delete", &gone, 200, "{\"deleted\":true,\"name\":\"team-slack\"}\n");
    for method in ["GET", "DELETE"] {
        let reply = key.send(method, "/api/v1/connections/team-slack", &[], "").await;
        check(method, &reply, 404, "{\"error\":\"not_found\",\"message\":\"no such connection\"}\n");
    }
    let reply = key.post("/api/v1/connect/slack", &call.to_string()).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "unknown_connection"));
    assert_eq!(vendor.received().len(), 2);
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_told_and_nothing_is_stored() {
    let vendor = Receiver::start().await;
    let server = start(&vendor, Some(KEY)).await;
    let key = server.key("k");
    let rule =
        "a name of 1 to 64 characters of a-z, A-Z, 0-9, `_`, `-` and `.`, beginning with a letter or digit";
    let long = "x".repeat(65);
    let cases = [
        ("[]".to_owned(), "", "the body must be an object".to_owned()),
        (
            json!({"connector": "slack", "token": "t"}).to_string(),
            "/name",
            format!("name is missing: {rule}"),
        ),
        (
            json!({"name": 7, "connector": "slack", "token": "t"}).to_string(),
            "/name",
            format!("name must be {rule}"),
        ),
        (
            json!({"name": "../x", "connector": "slack", "token": "t"}).to_string(),
            "/name",
            format!("name must be {rule}"),
        ),
        (
            json!({"name": "a\0", "connector": "slack", "token": "t"}).to_string(),
            "/name",
            format!("name must be {rule}"),
        ),
        (
            json!({"name": long, "connector": "slack", "token": "t"}).to_string(),
            "/name",
            format!("name must be {rule}"),
        ),
        (
            json!({"name": "a", "connector": "Slack", "token": "t"}).to_string(),
            "/connector",
            "connector must be one of gmail, notion, slack, telegram, anthropic, deepseek, gemini, groq, mistral, openai, openrouter, xai".to_owned(),
        ),
        (
            json!({"name": "a", "connector": "slack"}).to_string(),
            "/token",
            "token required (Slack bot token)".to_owned(),
        ),
        (
            json!({"name": "a", "connector": "gmail", "credentials": {}}).to_string(),
            "/credentials",
            "credentials required (OAuth2 token)".to_owned(),
        ),
        (
            json!({"name": "a", "connector": "slack", "credentials": {"access_token": "t"}}).to_string(),
            "",
            "unknown member `credentials`; there are name, connector, token, replace".to_owned(),
        ),
        (
            json!({"name": "a", "connector": "telegram", "token": "1:a/../../x"}).to_string(),
            "/token",
            "token must hold letters, digits, `:`, `_` and `-` only".to_owned(),
        ),
        (
            json!({"name": "a", "connector": "slack", "token": "t", "replace": 1}).to_string(),
            "/replace",
            "replace must be true or false".to_owned(),
        ),
    ];
    for (body, at, message) in cases {
        let reply = key.post("/api/v1/connections", &body).await;
        let expected = json!({"error": "invalid_request", "fields": {at: message}, "message": message});
        check(&body, &reply, 400, &format!("{expected}\n"));
    }
    for body in ["", "{", "{\"name\":\"a\",}"] {
        assert_eq!(key.post("/api/v1/connections", body).await.error(), "invalid_request", "{body}");
    }
    assert_eq!(key.get("/api/v1/connections").await.json(), json!({"connections": []}));
    for name in ["%00", "..", "a%2Fb", "%FF"] {
        assert_eq!(key.get(&format!("/api/v1/connections/{name}")).await.status, 404, "{name}");
    }
}

#[tokio::test]
async fn a_connection_is_used_only_by_its_own_connector_and_not_beside_credentials() {
    let vendor = Receiver::start().await;
    let server = start(&vendor, Some(KEY)).await;
    let key = server.key("k");
    let put = json!({"name": "notes", "connector": "notion", "token": "secret_canary"});
    assert_eq!(key.post("/api/v1/connections", &put.to_string()).await.status, 201);

    for (body, code, at, message) in [
        (
            json!({"action": "list_channels", "connection": "notes"}),
            "connection_mismatch",
            "/connection",
            "the connection `notes` is one of notion",
        ),
        (
            json!({"action": "list_channels", "connection": "nobody"}),
            "unknown_connection",
            "/connection",
            "there is no connection `nobody`",
        ),
        (
            json!({"action": "list_channels", "connection": "notes", "token": "xoxb-1"}),
            "invalid_request",
            "/connection",
            "send either `connection` or `token`, not both",
        ),
        (
            json!({"action": "list_channels", "connection": 7}),
            "invalid_request",
            "/connection",
            "connection must be a text",
        ),
    ] {
        let reply = key.post("/api/v1/connect/slack", &body.to_string()).await;
        let expected = json!({"error": code, "fields": {at: message}, "message": message});
        check(&body.to_string(), &reply, 400, &format!("{expected}\n"));
    }
    for (body, expected) in [
        (json!({"action": "list_channels", "connection": ""}), "token required (Slack bot token)"),
        (json!({"action": "zzz", "connection": "notes"}), "unknown action: zzz"),
        (json!({"action": "post_message", "connection": "notes"}), "channel and text required"),
    ] {
        let reply = key.post("/api/v1/connect/slack", &body.to_string()).await;
        check(&body.to_string(), &reply, 400, &format!("{}\n", json!({ "error": expected })));
    }
    assert!(vendor.received().is_empty(), "nothing of this is the vendor's business");
}

#[tokio::test]
async fn without_a_key_nothing_is_stored_and_with_another_nothing_is_opened() {
    let vendor = Receiver::start().await;
    let put = json!({"name": "team", "connector": "slack", "token": "xoxb-canary"}).to_string();
    let server = start(&vendor, None).await;
    let reply = server.key("k").post("/api/v1/connections", &put).await;
    let message = "connections cannot be stored before SECRET_KEY is set: all nodes seal with the same key";
    check("no key", &reply, 503, &format!("{}\n", json!({"error": "not_configured", "message": message})));

    let vars = |key| [("API_KEYS", "k"), ("SECRET_KEY", key)];
    let server = server.restarted(&vars(KEY)).await;
    assert_eq!(server.key("k").post("/api/v1/connections", &put).await.status, 201);
    let other = KEY.replace("00", "01");
    let server = server.restarted(&vars(&other)).await;
    let call = json!({"action": "list_channels", "connection": "team"}).to_string();
    let reply = server.key("k").post("/api/v1/connect/slack", &call).await;
    assert_eq!((reply.status, reply.error().as_str()), (503, "connection_unreadable"));

    let rotated = [
        ("API_KEYS", "k"),
        ("SECRET_KEY", other.as_str()),
        ("SECRET_KEY_OLD", KEY),
        ("SLACK_BASE_URL", "http://127.0.0.1:9"),
    ];
    let server = server.restarted(&rotated).await;
    let reply = server.key("k").post("/api/v1/connect/slack", &call).await;
    assert_eq!(reply.error(), "connector_unreachable", "it is opened with the old key");
}

/// Everything that could hold a credential after it was stored, used and refused by its vendor.
#[tokio::test]
async fn a_credential_is_never_seen_again() {
    let vendor = Receiver::start().await;
    let leak = json!({"ok": false, "error": "bad xoxb-canary-token"}).to_string();
    vendor.script("/conversations.list", [Answer::status(401).body(leak)]);
    vendor.script(
        "/token",
        [Answer::status(400).body(json!({"error": "no r-canary for s-canary-secret"}).to_string())],
    );
    let server = start(&vendor, Some(KEY)).await;
    let key = server.key("k");
    let google = json!({"refresh_token": "r-canary-token", "client_id": "i-canary", "client_secret": "s-canary-secret",
        "token_uri": "http://canary.example/"});
    let mut texts = String::new();
    for put in [
        json!({"name": "slack", "connector": "slack", "token": "xoxb-canary-token"}),
        json!({"name": "gmail", "connector": "gmail", "credentials": google}),
        json!({"name": "bad", "connector": "slack", "token": "xoxb-canary\n"}),
        json!({"name": "bad", "connector": "slack", "token": ["canary"]}),
        json!({"name": "bad", "connector": "gmail", "credentials": {"refresh_token": "r-canary"}}),
    ] {
        texts.push_str(&key.post("/api/v1/connections", &put.to_string()).await.text());
    }
    for (connector, action) in [("slack", "list_channels"), ("gmail", "list_labels"), ("gmail", "zzz")] {
        let call = json!({"action": action, "connection": connector}).to_string();
        texts.push_str(&key.post(&format!("/api/v1/connect/{connector}"), &call).await.text());
    }
    for path in [
        "/api/v1/connections",
        "/api/v1/connections/slack",
        "/api/v1/connections/gmail",
        "/metrics",
        "/public/openapi.json",
    ] {
        texts.push_str(&key.get(path).await.text());
    }
    assert_eq!(vendor.received().len(), 2, "both were used");

    server.log.close();
    let logged = server.logged.text();
    assert!(!texts.contains(CANARY), "{texts}");
    assert!(!logged.is_empty() && !logged.contains(CANARY), "{logged}");
    let mut files = 0;
    for entry in std::fs::read_dir(server.dir()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        files += usize::from(!bytes.is_empty());
        let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!found, "{} holds a credential", path.display());
    }
    // On PostgreSQL it is the server that has the files.
    let is_file = matches!(server.location, levqor_store::Location::Sqlite(_));
    assert!(!is_file || files >= 2, "the database and its log");
}
