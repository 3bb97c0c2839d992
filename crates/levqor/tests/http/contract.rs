//! The contract as a table: what the first version's clients rely on, and what ours do better.

use crate::marks;
use crate::server::{TestServer, check};

const JOB: &str = r#"{"workflow":"w","payload":{}}"#;

#[tokio::test]
async fn root_and_health_answer_as_the_first_version_did() {
    let server = TestServer::start(&[("API_KEYS", "k"), ("BUILD_ID", "b1")]).await;

    let root = server.anon().get("/").await;
    check(
        "root",
        &root,
        200,
        "{\"build\":\"b1\",\"ok\":true,\"service\":\"levqor-backend\",\"version\":\"1.0.0\"}\n",
    );
    let health = server.anon().get("/health").await;
    let ts = health.json()["ts"].as_i64().unwrap();
    check("health", &health, 200, &format!("{{\"ok\":true,\"ts\":{ts}}}\n"));
    assert!(ts > 1_700_000_000);
    assert_eq!(server.anon().get("/api/v1/ops/health").await.status, 403);
    assert_eq!(server.key("k").get("/api/v1/ops/health").await.status, 200);
    let metrics = server.anon().get("/public/metrics").await.json();
    assert_eq!(metrics["audit_coverage"], 100);
    assert_eq!(metrics["jobs_today"], 0);
    server.submit(&server.key("k")).await;
    assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 1);
}

#[tokio::test]
async fn every_answer_carries_all_standard_headers() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    let standard = [
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        (
            "content-security-policy",
            "default-src 'none'; connect-src https://levqor.ai https://api.levqor.ai https://checkout.stripe.com https://js.stripe.com; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("permissions-policy", "geolocation=(), microphone=()"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("access-control-allow-origin", "https://levqor.ai"),
        ("access-control-allow-methods", "GET,POST,OPTIONS,PATCH"),
        ("access-control-allow-headers", "Content-Type, Authorization, X-Api-Key"),
    ];
    let replies = [
        server.anon().get("/").await,
        server.anon().get("/nowhere").await,
        server.anon().post("/health", "").await,
        server.anon().send("OPTIONS", "/api/v1/intake", &[], "").await,
        server.anon().post("/api/v1/intake", JOB).await,
        server.key("k").post("/api/v1/intake", "{").await,
        server.key("k").post("/api/v1/intake", JOB).await,
        server.anon().get("/a//b").await,
        server.anon().send("GET", "/", &[("Host", "second")], "").await,
    ];
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 404, 405, 200, 403, 400, 202, 308, 400]);
    for reply in &replies {
        for (name, value) in standard {
            assert_eq!(reply.header(name), Some(value), "{} {name}", reply.status);
        }
        assert_eq!(reply.headers.iter().filter(|(name, _)| name == "x-frame-options").count(), 1);
        assert!(reply.header("server").is_none());
        assert!(reply.header("x-request-id").is_some());
        if reply.status >= 400 {
            assert_eq!(reply.header("content-type"), Some("application/json"));
        }
    }
}

#[tokio::test]
async fn checks_come_in_their_order() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    let (anon, key) = (server.anon(), server.key("k"));
    let json = [("Content-Type", "application/json")];

    check("key before body", &anon.post("/api/v1/intake", "{").await, 403, "{\"error\":\"forbidden\"}\n");
    let right = marks::key("k");
    let as_bearer = format!("Bearer {right}");
    let bearer = [("Authorization", as_bearer.as_str()), ("Content-Type", "application/json")];
    assert_eq!(anon.send("POST", "/api/v1/intake", &bearer, JOB).await.status, 403);
    for wrong in ["", &right.to_uppercase(), &format!("{right},{right}"), &format!("{right}2")] {
        let headers = [("X-Api-Key", wrong), ("Content-Type", "application/json")];
        assert_eq!(anon.send("POST", "/api/v1/intake", &headers, JOB).await.status, 403, "{wrong:?}");
    }
    for wrong in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let reply = key.send("POST", "/api/v1/intake", &[("Content-Type", wrong)], "{").await;
        check(wrong, &reply, 400, "{\"details\":null,\"error\":\"Content-Type must be application/json\"}\n");
    }
    for right in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"] {
        assert_eq!(
            key.send("POST", "/api/v1/intake", &[("Content-Type", right)], JOB).await.status,
            202,
            "{right}"
        );
    }
    let huge = "x".repeat(600_000);
    assert_eq!(
        key.send("POST", "/api/v1/intake", &[("Content-Type", "text/plain")], &huge).await.status,
        413
    );
    assert_eq!(anon.send("POST", "/api/v1/intake", &json, &huge).await.status, 403);
}

#[tokio::test]
async fn intake_refuses_what_is_wrong_with_its_name() {
    let server = TestServer::start(&[]).await;
    let deep = format!(r#"{{"workflow":"w","payload":{{"a":{}{}}}}}"#, "[".repeat(2000), "]".repeat(2000));
    let large = format!(r#"{{"workflow":"w","payload":{{"a":"{}"}}}}"#, "x".repeat(204_800));
    let cases: &[(&str, &str, &str)] = &[
        ("", "Invalid request body", ""),
        ("{", "Invalid request body", ""),
        ("null", "Invalid request body", "object"),
        ("[]", "Invalid request body", "object"),
        (r#"{"payload":{}}"#, "Invalid request body", "workflow"),
        (r#"{"workflow":"w"}"#, "Invalid request body", "payload"),
        (r#"{"workflow":"","payload":{}}"#, "Invalid request body", "workflow"),
        (r#"{"workflow":"w","payload":[]}"#, "Invalid request body", "payload"),
        (r#"{"workflow":"w","payload":{},"priority":"urgent"}"#, "Invalid request body", "priority"),
        (r#"{"workflow":"w","payload":{},"priority":null}"#, "Invalid request body", "priority"),
        (r#"{"workflow":"w","payload":{},"x":1}"#, "Invalid request body", "x"),
        (r#"{"workflow":"w","payload":{"a":NaN}}"#, "Invalid request body", "line 1"),
        (r#"{"workflow":"w","payload":{"a":1e999}}"#, "Invalid request body", ""),
        (r#"{"workflow":"w","payload":{"a":"\ud800"}}"#, "Invalid request body", ""),
        (r#"{"workflow":"a\u0000b","payload":{}}"#, "Invalid request body", "workflow"),
        (&deep, "Invalid request body", ""),
        (&large, "payload too large", ""),
        (
            r#"{"workflow":"w","payload":{},"callback_url":"ftp://x.example/"}"#,
            "callback_url must be a valid HTTP(S) URL",
            "",
        ),
        (
            r#"{"workflow":"w","payload":{},"callback_url":"http://169.254.169.254/"}"#,
            "callback_url is not allowed",
            "OUTBOUND_ALLOW",
        ),
        (
            r#"{"workflow":"w","payload":{},"callback_url":"http://localhost/"}"#,
            "callback_url is not allowed",
            "OUTBOUND_ALLOW",
        ),
    ];
    for (body, error, details) in cases {
        let reply = server.anon().post("/api/v1/intake", body).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(reply.status, 400, "{shown}");
        let json = reply.json();
        assert_eq!(json["error"], *error, "{shown}");
        assert!(json["details"].as_str().unwrap_or_default().contains(details), "{shown}: {json}");
        assert_eq!(json.as_object().unwrap().len(), 2, "{shown}: exactly error and details");
    }
    let utf16: Vec<u8> = JOB.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let json = [("Content-Type", "application/json")];
    assert_eq!(server.anon().send_bytes("POST", "/api/v1/intake", &json, &utf16).await.status, 400);
    assert_eq!(server.anon().post("/api/v1/intake", &format!("\u{feff}{JOB}")).await.status, 202);
    assert_eq!(
        server.anon().get("/public/metrics").await.json()["jobs_today"],
        1,
        "only the last one was stored"
    );
}

#[tokio::test]
async fn a_job_is_accepted_shown_and_completed() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();

    let accepted = anon.post("/api/v1/intake", JOB).await;
    let id = accepted.json()["job_id"].as_str().unwrap().to_owned();
    check("accepted", &accepted, 202, &format!("{{\"job_id\":\"{id}\",\"status\":\"queued\"}}\n"));
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));

    let status = anon.get(&format!("/api/v1/status/{id}")).await;
    let created_at = status.json()["created_at"].clone();
    let expected = |status: &str, result: &str| {
        format!(
            "{{\"created_at\":{created_at},\"error\":null,\"job_id\":\"{id}\",\"result\":{result},\"status\":\"{status}\"}}\n"
        )
    };
    check("queued", &status, 200, &expected("queued", "null"));

    let complete = format!("/api/v1/_dev/complete/{id}");
    for bad in ["{", "[]", "\"x\"", "1", "{\"result\":NaN}"] {
        assert_eq!(anon.post(&complete, bad).await.status, 400, "{bad}");
    }
    check("untouched", &anon.get(&format!("/api/v1/status/{id}")).await, 200, &expected("queued", "null"));
    let result = r#"{"result":{"b":12345678901234567890123,"a":1.0}}"#;
    check("completed", &anon.post(&complete, result).await, 200, "{\"ok\":true}\n");
    let done = anon.get(&format!("/api/v1/status/{id}")).await;
    check("succeeded", &done, 200, &expected("succeeded", r#"{"a":1.0,"b":12345678901234567890123}"#));
    check("the same again", &anon.post(&complete, result).await, 200, "{\"ok\":true}\n");
    assert_eq!(anon.post(&complete, r#"{"result":2}"#).await.status, 409);
}

#[tokio::test]
async fn completion_without_a_result_takes_the_default() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let cases = [
        ("", "", r#"{"ok":true}"#),
        ("application/json", "", r#"{"ok":true}"#),
        ("application/json", "{}", r#"{"ok":true}"#),
        ("text/plain", "{\"result\":1}", r#"{"ok":true}"#),
        ("application/json", "{\"result\":null}", "null"),
    ];
    for (content_type, body, result) in cases {
        let id = server.submit(&anon).await;
        let headers: &[(&str, &str)] =
            if content_type.is_empty() { &[] } else { &[("Content-Type", content_type)] };
        let reply = anon.send("POST", &format!("/api/v1/_dev/complete/{id}"), headers, body).await;
        check(body, &reply, 200, "{\"ok\":true}\n");
        let status = anon.get(&format!("/api/v1/status/{id}")).await.json();
        assert_eq!(status["result"].to_string(), result, "{body}");
        assert_eq!(status["status"], "succeeded");
    }
    let unknown = "0".repeat(32);
    check(
        "unknown",
        &anon.post(&format!("/api/v1/_dev/complete/{unknown}"), "").await,
        404,
        "{\"error\":\"not_found\"}\n",
    );
}

#[tokio::test]
async fn unknown_jobs_are_echoed_as_asked() {
    let server = TestServer::start(&[]).await;
    for (asked, shown) in [("nope", "nope"), ("A%20b", "A b"), ("%22%0a", "\\\"\\n"), ("%ff", "%ff")] {
        let reply = server.anon().get(&format!("/api/v1/status/{asked}")).await;
        check(asked, &reply, 404, &format!("{{\"error\":\"not_found\",\"job_id\":\"{shown}\"}}\n"));
    }
}

#[tokio::test]
async fn production_has_no_dev_routes() {
    let server = TestServer::start(&[("API_KEYS", "k"), ("LEVQOR_ENV", "production")]).await;
    let id = server.submit(&server.key("k")).await;

    let path = format!("/api/v1/_dev/complete/{id}");
    for client in [server.anon(), server.key("k")] {
        check("gone", &client.post(&path, "{}").await, 404, "{\"error\":\"not_found\"}\n");
    }
    assert_eq!(server.anon().get("/metrics").await.status, 403);
    let bearer = format!("Bearer {}", marks::key("k"));
    assert_eq!(server.anon().send("GET", "/metrics", &[("Authorization", &bearer)], "").await.status, 200);
    let figures = server.key("k").get("/metrics").await.text();
    assert!(
        figures.contains(
            "levqor_http_requests_total{route=\"/api/v1/intake\",method=\"POST\",status=\"202\"} 1"
        ),
        "{figures}"
    );
    assert!(figures.contains("levqor_jobs_undefined 1"), "{figures}");
    assert!(figures.ends_with("# EOF\n"));
}

#[tokio::test]
async fn paths_and_methods_have_one_answer_each() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    let anon = server.anon();

    for path in [
        "/nowhere",
        "/health/",
        "/api/v1/intake/",
        "/HEALTH",
        "/..%2fetc",
        "/%2e%2e/x",
        "/a%00b",
        "/api/v1/status/",
    ] {
        check(path, &anon.get(path).await, 404, "{\"error\":\"not_found\"}\n");
    }
    let wrong = anon.send("DELETE", "/health", &[], "").await;
    check("405", &wrong, 405, "{\"error\":\"method_not_allowed\"}\n");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(anon.send("BREW", "/api/v1/intake", &[], "").await.header("allow"), Some("POST, OPTIONS"));

    let options = anon.send("OPTIONS", "/api/v1/intake", &[], "").await;
    check("options", &options, 200, "");
    assert_eq!(options.header("allow"), Some("POST, OPTIONS"));
    assert_eq!(anon.send("OPTIONS", "*", &[], "").await.status, 200);

    let (head, get) = (anon.send("HEAD", "/", &[], "").await, anon.get("/").await);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));

    for (path, location) in
        [("/api//v1/jobs?a=//b", "/api/v1/jobs?a=//b"), ("//evil.example//x", "/evil.example/x")]
    {
        let reply = anon.get(path).await;
        assert_eq!((reply.status, reply.header("location")), (308, Some(location)), "{path}");
    }
    assert_eq!(anon.get("//health").await.status, 200);
    assert_eq!(anon.send("GET", "http://elsewhere.example/health", &[], "").await.status, 200);
}

#[tokio::test]
async fn each_request_is_one_log_line_that_tells_no_secret() {
    let server = TestServer::start(&[("API_KEYS", "s3cret-key"), ("LOG_FORMAT", "json")]).await;
    let headers =
        [("User-Agent", "agent\t\"x\""), ("X-Request-Id", "my-id_1"), ("Content-Type", "application/json")];
    let client = server.key("s3cret-key");

    let job = r#"{"workflow":"w","payload":{"word":"s3cret-payload"}}"#;
    let reply = client.send("POST", "/api/v1/intake?q=s3cret-query", &headers, job).await;
    assert_eq!(reply.header("x-request-id"), Some("my-id_1"));
    let forged =
        client.send("GET", "/a%0AINFO", &[("X-Request-Id", "not ok\x01"), ("User-Agent", "u")], "").await;
    assert_eq!(forged.status, 400, "a control character in a header is malformed");
    let random = client.send("GET", "/a%0AINFO", &[("X-Request-Id", "not ok")], "").await;
    assert_eq!(random.header("x-request-id").unwrap().len(), 32);

    server.log.close();
    let text = server.logged.text();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    assert_eq!(lines[0]["method"], "POST");
    assert_eq!(lines[0]["path"], "/api/v1/intake");
    assert_eq!(lines[0]["status"], 202);
    assert_eq!(lines[0]["id"], "my-id_1");
    assert_eq!(lines[0]["ip"], "127.0.0.1");
    assert_eq!(lines[0]["ua"], r"agent\x09\x22x\x22");
    assert_eq!((&lines[1]["path"], &lines[1]["status"]), (&"-".into(), &400.into()));
    assert_eq!(lines[2]["path"], "/a%0AINFO");
}

#[tokio::test]
async fn without_its_database_the_server_says_so_and_when_to_try_again() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.anon().get("/api/v1/ops/health").await.status, 200);

    server.engine.store().close().await;

    for reply in [
        server.anon().get("/health").await,
        server.anon().get("/api/v1/ops/health").await,
        server.anon().post("/api/v1/intake", JOB).await,
        server.anon().get("/api/v1/jobs").await,
    ] {
        assert_eq!((reply.status, reply.error().as_str()), (503, "unavailable"), "{reply:?}");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert_eq!(server.anon().get("/").await.status, 200);
}
