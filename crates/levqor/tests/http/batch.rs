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

#[tokio::test]
async fn a_mark_at_the_start_and_ends_of_lines_of_any_kind_change_nothing() {
    let server = TestServer::start(&[]).await;
    let line = r#"{"workflow":"w","payload":{"text":"gr\u00fc\u00df dich"}}"#;
    for (body, lines) in [
        (format!("\u{feff}{line}"), vec![1]),
        (format!("\u{feff}{line}\r\n{line}\r\n"), vec![1, 2]),
        (format!("{line}\n{line}"), vec![1, 2]),
        (format!("\r\n\r\n{line}\r\n \t \r\n{line}\r\n\r\n"), vec![3, 5]),
        (format!("\u{feff}\n{line}"), vec![2]),
    ] {
        let reply = server.anon().send("POST", PATH, &NDJSON, &body).await;
        let json = reply.json();
        assert_eq!((reply.status, &json["refused"]), (200, &json!(0)), "{body:?}: {json}");
        let results = json["results"].as_array().unwrap();
        let seen: Vec<u64> = results.iter().map(|result| result["line"].as_u64().unwrap()).collect();
        assert_eq!(seen, lines, "{body:?}");
    }
    // A mark inside is no mark, and a bare CR ends no line.
    for body in [format!("{line}\n\u{feff}{line}"), format!("{line}\r{line}")] {
        let json = server.anon().send("POST", PATH, &NDJSON, &body).await.json();
        assert_eq!(json["refused"], 1, "{body:?}: {json}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_refuse_the_batch_and_say_where() {
    let server = TestServer::start(&[]).await;
    let good: &[u8] = b"{\"workflow\":\"w\",\"payload\":{}}\n";
    let utf16: Vec<u8> =
        "{\"workflow\":\"w\",\"payload\":{}}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bad in
        [&b"\xff\xfe"[..], b"{\"workflow\":\"\xc3\x28\",\"payload\":{}}", b"\xed\xa0\x80", b"{}\xe2\x82"]
    {
        for body in [[good, bad].concat(), [bad, b"\n", good].concat()] {
            let reply = server.anon().send_bytes("POST", PATH, &NDJSON, &body).await;
            assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_batch"), "{bad:?}");
            assert!(reply.json()["message"].as_str().unwrap().contains("UTF-8"), "{}", reply.text());
        }
    }
    // UTF-16 without a mark is UTF-8 with many NULs, which is no JSON.
    let reply = server.anon().send_bytes("POST", PATH, &NDJSON, &utf16).await;
    assert!(reply.status == 400 || reply.json()["accepted"] == 0, "{reply:?}");
    assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 0, "all or nothing");
}

#[tokio::test]
async fn exactly_the_limit_of_bytes_is_read_and_one_more_is_not() {
    let line = "{\"workflow\":\"w\",\"payload\":{}}\n";
    for (vars, limit) in [(&[("BATCH_MAX_BYTES", "5000")][..], 5_000), (&[], 16 << 20)] {
        let server = TestServer::start(vars).await;
        let fill = |bytes: usize| format!("{line}{}", " ".repeat(bytes - line.len()));

        let exact = server.anon().send("POST", PATH, &NDJSON, &fill(limit)).await;
        assert_eq!((exact.status, &exact.json()["accepted"]), (200, &json!(1)), "{limit}");
        let more = server.anon().send("POST", PATH, &NDJSON, &fill(limit + 1)).await;
        assert_eq!((more.status, more.error().as_str()), (413, "body_too_large"), "{limit}");
        assert!(more.text().contains(&limit.to_string()), "{}", more.text());
        assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 1);
    }
}
