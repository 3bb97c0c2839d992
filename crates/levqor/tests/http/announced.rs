//! Bodies that are announced: refused before a byte of them is read wherever they are too large, and asked for where they are
//! not. On every route that takes one.

use serde_json::Value;

use crate::client::Connection;
use crate::marks;
use crate::server::TestServer;

/// Without them its routes say that they are not configured, and look no further.
const STRIPE: [(&str, &str); 2] =
    [("STRIPE_SECRET_KEY", "sk_test_canary"), ("STRIPE_WEBHOOK_SECRET", "whsec_canary_1")];

/// Method and path of every operation that takes a body.
async fn with_body(server: &TestServer) -> Vec<(String, String)> {
    let document = server.anon().get("/public/openapi-3.1.json").await.json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("requestBody").is_some_and(Value::is_object) {
                let path = path.replace("connect/{name}", "connect/slack");
                let named = ["{name}", "{user_id}", "{key_id}", "{job_id}"];
                let path = named.iter().fold(path, |path, name| path.replace(name, "x"));
                found.push((method.to_uppercase(), path));
            }
        }
    }
    assert!(found.len() >= 12, "{found:?}");
    found
}

/// The type that a route wants.
fn content_type(path: &str) -> &'static str {
    if path.ends_with("/batch") { "application/x-ndjson" } else { "application/json" }
}

fn head(method: &str, path: &str, more: &str) -> String {
    let (key, kind) = (marks::key("k"), content_type(path));
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {key}\r\nContent-Type: {kind}\r\n{more}\r\n")
}

#[tokio::test]
async fn an_announced_body_that_is_too_large_is_refused_unread_on_every_route() {
    let server = TestServer::start(&[&STRIPE[..], &[("API_KEYS", "k")]].concat()).await;
    for (method, path) in with_body(&server).await {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let at = format!("{method} {path} {expect:?}");
            let mut connection = Connection::open(server.address).await;
            let more = format!("Content-Length: 99999999999\r\n{expect}");
            connection.write(head(&method, &path, &more).as_bytes()).await;

            // Not a byte of the body was sent, and none was asked for.
            let reply = connection.reply().await;
            assert_eq!(reply.status, 413, "{at}: {reply:?}");
            assert!(reply.text().contains("\"body_too_large\""), "{at}: {reply:?}");
            assert_eq!(reply.header("connection"), Some("close"), "{at}");
            assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{at}");
            connection.close_write().await;
            assert!(connection.is_closed().await, "{at}");
        }
    }
}

#[tokio::test]
async fn who_has_no_key_is_told_that_first_and_asked_for_no_body() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    for (method, path) in with_body(&server).await {
        if path == "/billing/webhook" {
            continue;
        }
        for length in ["10", "99999999999"] {
            let mut connection = Connection::open(server.address).await;
            let more = format!("Content-Length: {length}\r\nExpect: 100-continue\r\n");
            let head = head(&method, &path, &more).replace(&marks::key("k"), "wrong");
            connection.write(head.as_bytes()).await;

            let reply = connection.reply().await;
            let refusal = if path.starts_with("/v1/") { 401 } else { 403 };
            assert_eq!(reply.status, refusal, "{method} {path} {length}");
        }
    }
}

#[tokio::test]
async fn a_chunked_body_is_refused_where_it_passes_the_limit_on_every_route() {
    let limits = [("MAX_CONTENT_LENGTH", "1000"), ("BATCH_MAX_BYTES", "1000"), ("AI_MAX_BODY", "1000")];
    let server = TestServer::start(&[&limits[..], &STRIPE].concat()).await;
    for (method, path) in with_body(&server).await {
        let mut connection = Connection::open(server.address).await;
        connection.write(head(&method, &path, "Transfer-Encoding: chunked\r\n").as_bytes()).await;
        for _ in 0..3 {
            connection.write(format!("200\r\n{}\r\n", " ".repeat(512)).as_bytes()).await;
        }

        let reply = connection.reply().await;
        assert_eq!(reply.status, 413, "{method} {path}: {reply:?}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_leave_is_given_it_and_served() {
    let server = TestServer::start(&[]).await;
    let job = r#"{"workflow":"w","payload":{}}"#;
    for (method, path, body, status) in [
        ("POST", "/api/v1/intake", job, 202),
        ("POST", "/api/v1/intake/batch", job, 200),
        ("POST", "/api/v1/users/upsert", r#"{"email":"ada@example.org"}"#, 201),
        ("PUT", "/api/v1/workflows/x", r#"{"steps":[{"id":"a","transform":1}]}"#, 201),
    ] {
        let mut connection = Connection::open(server.address).await;
        let more = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
        connection.write(head(method, path, &more).as_bytes()).await;

        assert_eq!(connection.reply().await.status, 100, "{path}");
        connection.write(body.as_bytes()).await;
        assert_eq!(connection.reply().await.status, status, "{path}");
        connection.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(connection.reply().await.status, 200, "{path}: the connection goes on");
    }
}

#[tokio::test]
async fn routes_without_a_body_answer_without_waiting_for_one() {
    let server = TestServer::start(&[]).await;
    let id = server.submit(&server.anon()).await;
    for (method, path, status) in [
        ("GET", "/health".to_owned(), 200),
        ("POST", format!("/api/v1/jobs/{id}/cancel"), 200),
        ("POST", format!("/api/v1/jobs/{id}/retry"), 200),
        ("DELETE", "/api/v1/workflows/nobody".to_owned(), 404),
        ("POST", "/nowhere".to_owned(), 404),
        ("POST", "/health".to_owned(), 405),
    ] {
        let mut connection = Connection::open(server.address).await;
        let more = "Content-Length: 99999999999\r\nExpect: 100-continue\r\n";
        connection.write(head(method, &path, more).as_bytes()).await;

        assert_eq!(connection.reply().await.status, status, "{method} {path}");
        connection.close_write().await;
        assert!(connection.is_closed().await, "{method} {path}: what follows would be the body");
    }
}
