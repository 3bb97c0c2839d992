//! Rows of the contract that `contract.rs` does not walk through: edges of lengths and forms, and what optional means.

use serde_json::json;

use crate::server::{TestServer, check};

const PATH: &str = "/api/v1/intake";
const JOB: &str = r#"{"workflow":"w","payload":{}}"#;

#[tokio::test]
async fn lengths_are_code_points_and_a_payload_is_its_bytes_of_compact_utf_8() {
    let server = TestServer::start(&[]).await;
    let post = async |body: String| server.anon().post(PATH, &body).await;
    let named = |name: &str| json!({"workflow": name, "payload": {}}).to_string();
    for name in
        ["x".repeat(128), "\u{e9}".repeat(128), "\u{1f980}".repeat(128), " ".into(), "\t\n\u{1}".into()]
    {
        assert_eq!(post(named(&name)).await.status, 202, "{name:?}");
    }
    for name in ["", &"\u{e9}".repeat(129), "a\0b"] {
        assert_eq!(post(named(name)).await.error(), "Invalid request body", "{name:?}");
    }

    // With blanks, escapes and accents: what counts is the compact form.
    let payload = |letters: usize| format!("{{ \"a\" : \"{}\" }}", "\u{e9}".repeat(letters));
    let with = |payload: String| format!(r#"{{"workflow":"w","payload":{payload}}}"#);
    let most = (204_800 - r#"{"a":""}"#.len()) / 2;
    assert_eq!(post(with(payload(most))).await.status, 202);
    let large = post(with(payload(most + 1))).await;
    check("one letter more", &large, 400, "{\"details\":null,\"error\":\"payload too large\"}\n");
}

#[tokio::test]
async fn an_optional_member_is_left_out_and_never_null() {
    let server = TestServer::start(&[]).await;
    for member in ["callback_url", "priority", "run_at", "delay", "tags", "dry_run"] {
        let reply =
            server.anon().post(PATH, &format!(r#"{{"workflow":"w","payload":{{}},"{member}":null}}"#)).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "Invalid request body"), "{member}");
        assert!(reply.json()["details"].as_str().unwrap().starts_with(member), "{}", reply.text());
    }
    let twice = r#"{"workflow":"","workflow":"w","payload":[],"payload":{},"priority":1,"priority":"low"}"#;
    assert_eq!(server.anon().post(PATH, twice).await.status, 202, "of duplicate members the last one counts");
}

#[tokio::test]
async fn a_callback_url_is_a_url_that_may_be_called() {
    let server = TestServer::start(&[]).await;
    let post = async |url: &str| {
        server
            .anon()
            .post(PATH, &json!({"workflow": "w", "payload": {}, "callback_url": url}).to_string())
            .await
    };
    let long =
        |length: usize| format!("https://example.com/{}", "x".repeat(length - "https://example.com/".len()));
    for url in
        ["http://example.com", "https://example.com:8443/h?x=1#f", "https://93.184.216.34/", &long(1024)]
    {
        assert_eq!(post(url).await.status, 202, "{url}");
    }
    for url in ["", &long(1025)] {
        assert_eq!(post(url).await.error(), "Invalid request body", "{} characters", url.len());
    }
    for url in [
        "HTTP://example.com/",
        "ftp://example.com/",
        "example.com",
        "//example.com/",
        "http://",
        "https:///x",
        "http://:80/",
        " ",
        " http://example.com/",
        "http://example.com/\r\nX: 1",
        "http://exa mple.com/",
        "http://[::1/",
        "http://example.com:99999/",
        "javascript:alert(1)",
        "file:///etc/passwd",
    ] {
        let refused = "{\"details\":null,\"error\":\"callback_url must be a valid HTTP(S) URL\"}\n";
        check(url, &post(url).await, 400, refused);
    }
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://0.0.0.0/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[fd00::1]/",
        "http://[fe80::1]/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.0.1/",
        "http://169.254.169.254/",
        "http://100.64.0.1/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
    ] {
        let reply = post(url).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "callback_url is not allowed"), "{url}");
        assert!(reply.json()["details"].as_str().unwrap().contains("OUTBOUND_ALLOW"), "{}", reply.text());
    }
    assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 4);
}

#[tokio::test]
async fn what_is_asked_without_a_type_or_of_a_path_that_is_not_there() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();

    let untyped = anon.send("POST", PATH, &[], JOB).await;
    check(
        "no type",
        &untyped,
        400,
        "{\"details\":null,\"error\":\"Content-Type must be application/json\"}\n",
    );
    check("options", &anon.send("OPTIONS", "/nowhere", &[], "").await, 404, "{\"error\":\"not_found\"}\n");
    let deep =
        format!(r#"{{"workflow":"w","payload":{{"a":{}{}}}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(anon.post(PATH, &deep).await.status, 400);
    let id = server.submit(&anon).await;
    for path in [format!("/api/v1/status/{id}"), "/public/metrics".to_owned(), "/health".to_owned()] {
        let (head, get) = (anon.send("HEAD", &path, &[], "").await, anon.get(&path).await);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
    let upper = anon.get(&format!("/api/v1/status/{}", id.to_uppercase())).await;
    assert_eq!(upper.status, 404, "ids are written in one way");
}

#[tokio::test]
async fn what_a_pattern_or_a_format_allows_is_told_to_who_broke_it() {
    let server = TestServer::start(&[]).await;
    let schema = json!({"steps": [{"id": "a", "transform": 1}], "input": {"type": "object", "properties": {
        "order": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"}, "mail": {"type": "string", "format": "email"}}}});
    let json = [("Content-Type", "application/json")];
    let put = server.anon().send("PUT", "/api/v1/workflows/shop", &json, &schema.to_string()).await;
    assert_eq!(put.status, 201, "{}", put.text());

    let reply =
        server.anon().post(PATH, r#"{"workflow":"shop","payload":{"order":"abc","mail":"nobody"}}"#).await;

    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_payload"));
    let fields = json!({
        "/mail": "\"nobody\" is not an e-mail address, such as name@example.org",
        "/order": "\"abc\" does not match the pattern ^[A-Z]{3}-[0-9]+$",
    });
    assert_eq!(reply.json()["fields"], fields);
}

#[tokio::test]
async fn every_answer_is_compact_json_with_sorted_members_and_a_newline() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let yaml = [("Content-Type", "application/yaml")];
    let steps = "steps:\n  - { id: a, transform: { z: 1, a: { y: 2, b: [ { d: 1, c: 2 } ] } } }\n";
    let defined = anon.send("PUT", "/api/v1/workflows/x", &yaml, steps).await;
    let accepted =
        anon.post(PATH, r#"{"workflow":"x","payload":{"z":1,"a":2},"tags":{"t":"1","b":"2"}}"#).await;
    let id = accepted.json()["job_id"].as_str().unwrap().to_owned();
    let status = anon.get(&format!("/api/v1/status/{id}?wait=15s")).await;
    assert_eq!(status.json()["status"], "succeeded", "{status:?}");
    let user = anon.post("/api/v1/users/upsert", r#"{"email":"ada@example.org","meta":{"z":1,"a":2}}"#).await;
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let batch = anon.send("POST", "/api/v1/intake/batch", &ndjson, &format!("{JOB}\n{{}}")).await;
    let mut answers = vec![
        ("definition", defined),
        ("intake", accepted),
        ("status", status),
        ("upsert", user),
        ("batch", batch),
        ("refusal", anon.post(PATH, "{}").await),
        ("dry run", anon.post(PATH, r#"{"workflow":"x","payload":{},"dry_run":true}"#).await),
        ("bad definition", anon.send("PUT", "/api/v1/workflows/y", &yaml, "steps: 1").await),
        ("job", anon.get(&format!("/api/v1/jobs/{id}")).await),
    ];
    for path in [
        "/",
        "/health",
        "/public/metrics",
        "/api/v1/ops/health",
        "/api/v1/jobs",
        "/api/v1/jobs?limit=0",
        "/api/v1/workflows",
        "/api/v1/workflows/x",
        "/api/v1/users?email=ada@example.org",
        "/api/v1/users?email=no@example.org",
        "/api/v1/users",
        "/api/v1/keys",
        "/api/v1/audit",
        "/api/v1/connections",
        "/api/v1/emails",
        "/api/v1/ops/backups",
        "/nowhere",
    ] {
        answers.push((path, anon.get(path).await));
    }
    for (what, reply) in answers {
        let text = reply.text();
        // Maps of this library are sorted, and it writes compactly.
        assert_eq!(text, format!("{}\n", reply.json()), "{what}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
    }
}
