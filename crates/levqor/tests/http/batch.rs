//! Batches: a verdict for each line.

use serde_json::json;

use crate::server::TestServer;

const NDJSON: [(&str, &str); 1] = [("Content-Type", "application/x-ndjson")];
const PATH: &str = "/api/v1/intake/batch";

#[tokio::test]
async fn each_line_gets_its_verdict_and_the_batch_is_one_write() {
    let server = TestServer::start(&[("API_KEYS", "k"), ("RATE_BURST", "2")]).await;
    let lines = [
        r#"{"workflow":"w","payload":{},"idempotency_key":"one"}"#,
        "",
        r#"{"workflow":"w"}"#,
        r#"{"workflow":"w","payload":{},"idempotency_key":"one"}"#,
        r#"{"workflow":"w","payload":{"other":1},"idempotency_key":"one"}"#,
        r#"{"workflow":"w","payload":{},"dry_run":true}"#,
        r#"{"workflow":"w","payload":{}}"#,
    ];

    let reply = server.key("k").send("POST", PATH, &NDJSON, &lines.join("\r\n")).await;

    assert_eq!((reply.status, reply.header("x-ratelimit-remaining")), (200, Some("1")), "{}", reply.text());
    let json = reply.json();
    assert_eq!((json["accepted"].as_u64(), json["refused"].as_u64()), (Some(3), Some(3)), "{json}");
    let results = json["results"].as_array().unwrap();
    let shown: Vec<_> = results
        .iter()
        .map(|result| {
            (
                result["line"].as_u64().unwrap(),
                result["error"].as_str().or(result["status"].as_str()).unwrap(),
            )
        })
        .collect();
    let expected = [
        (1, "queued"),
        (3, "Invalid request body"),
        (4, "queued"),
        (5, "idempotency_mismatch"),
        (6, "Invalid request body"),
        (7, "queued"),
    ];
    assert_eq!(shown, expected);
    assert_eq!(results[0]["job_id"], results[2]["job_id"], "the same key with the same line is the same job");
    assert_eq!(server.key("k").get("/public/metrics").await.json()["jobs_today"], 2);
}

#[tokio::test]
async fn batches_that_cannot_be_read_are_refused_whole() {
    let server = TestServer::start(&[("BATCH_MAX_BYTES", "1000000")]).await;
    let line = "{\"workflow\":\"w\",\"payload\":{}}\n";

    assert_eq!(
        server.anon().send("POST", PATH, &[("Content-Type", "application/json")], line).await.json(),
        json!({"error": "wrong_content_type", "message": "Content-Type must be application/x-ndjson"})
    );
    let keyed = [NDJSON[0], ("Idempotency-Key", "one")];
    let refused = server.anon().send("POST", PATH, &keyed, line).await;
    assert_eq!((refused.status, refused.error().as_str()), (400, "invalid_idempotency_key"));
    assert!(refused.text().contains("each line may bring its own `idempotency_key`"), "{}", refused.text());
    assert_eq!(server.anon().send("POST", PATH, &NDJSON, "\n \n").await.error(), "invalid_batch");
    assert_eq!(server.anon().send("POST", PATH, &NDJSON, &line.repeat(5001)).await.error(), "invalid_batch");
    assert_eq!(server.anon().send("POST", PATH, &NDJSON, &" ".repeat(1_000_001)).await.status, 413);
    let not_utf8 = server.anon().send_bytes("POST", PATH, &NDJSON, b"{\"workflow\":\"\xff\"}").await;
    assert_eq!((not_utf8.status, not_utf8.error().as_str()), (400, "invalid_batch"));
    assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 0);
    let full = server.anon().send("POST", PATH, &NDJSON, &line.repeat(5000)).await.json();
    assert_eq!(full["accepted"], 5000);
}

#[tokio::test]
async fn a_line_that_is_no_json_is_told_with_its_own_column() {
    let server = TestServer::start(&[]).await;

    let reply = server.anon().send("POST", PATH, &NDJSON, "\n  {\"workflow\":oops}\r\n").await.json();

    let expected = "invalid JSON at column 15 of the line: expected a value";
    assert_eq!(reply["results"], json!([{"details": expected, "error": "Invalid request body", "line": 2}]));
}
