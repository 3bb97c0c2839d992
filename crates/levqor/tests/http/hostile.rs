//! Bodies that no route may take for anything: the same on all of them.

use serde_json::{Value, json};

use crate::server::TestServer;

const STRIPE: [(&str, &str); 2] =
    [("STRIPE_SECRET_KEY", "sk_test_canary"), ("STRIPE_WEBHOOK_SECRET", "whsec_canary_1")];

/// A body with one member, whose value is what is wrong with it.
fn with(value: &str) -> Vec<u8> {
    format!("{{\"x\":{value}}}").into_bytes()
}

#[tokio::test]
async fn what_is_no_json_of_ours_is_400_on_every_route_and_changes_nothing() {
    let server = TestServer::start(&STRIPE).await;
    let anon = server.anon();
    let document = anon.get("/public/openapi-3.1.json").await.json();
    let deep = |levels: usize| with(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
    let bodies = [
        ("cut short", b"{".to_vec()),
        ("a word", b"nonsense".to_vec()),
        ("two values", b"{} {}".to_vec()),
        ("a comma too many", b"{\"x\":1,}".to_vec()),
        ("NaN", with("NaN")),
        ("Infinity", with("Infinity")),
        ("-Infinity", with("-Infinity")),
        ("1e999", with("1e999")),
        ("-1e999", with("-1e999")),
        ("a lone surrogate", with(r#""\ud800""#)),
        ("a lone surrogate as a name", br#"{"\udfff":1}"#.to_vec()),
        ("2,000 levels", deep(2_000)),
        ("50,000 levels", deep(50_000)),
        ("bytes that are no UTF-8", b"{\"x\":\"\xff\xfe\"}".to_vec()),
        ("UTF-16", "{\"x\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a raw control character", b"{\"x\":\"\x01\"}".to_vec()),
        ("a single quote", b"{'x':1}".to_vec()),
        ("a comment", b"{/* */}".to_vec()),
    ];
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let takes_json = |kind: &Value| kind.get("application/json").is_some();
            if !operation.get("requestBody").is_some_and(|body| takes_json(&body["content"])) {
                continue;
            }
            asked += 1;
            let path = path.replace("connect/{name}", "connect/slack");
            let named =
                ["{name}", "{user_id}", "{key_id}", "{job_id}", "{budget_id}", "{call_id}", "{book_id}"];
            let path = named.iter().fold(path, |path, name| path.replace(name, "x"));
            for (what, body) in &bodies {
                let json = [("Content-Type", "application/json")];
                let reply = anon.send_bytes(&method.to_uppercase(), &path, &json, body).await;
                assert_eq!(reply.status, 400, "{method} {path} with {what}: {reply:?}");
                // The wires of vendors have errors of their own shape.
                let error = &reply.json()["error"];
                let error = if path.starts_with("/v1/") { &error["code"] } else { error };
                assert!(error.is_string(), "{method} {path} with {what}: {reply:?}");
                assert!(reply.body.len() < 1_000, "{method} {path} with {what}: {reply:?}");
            }
        }
    }
    assert!(asked >= 16, "{asked}");
    assert_eq!(anon.get("/public/metrics").await.json()["jobs_today"], 0);
    assert_eq!(anon.get("/api/v1/workflows/x").await.status, 404);
    let figures = anon.get("/metrics").await.text();
    assert!(figures.contains("levqor_http_panics_total 0\n"), "{figures}");
}

/// In a batch they are verdicts of their lines, and the lines beside them go through.
#[tokio::test]
async fn a_hostile_line_of_a_batch_costs_nobody_but_itself() {
    let server = TestServer::start(&[]).await;
    let good = r#"{"workflow":"w","payload":{}}"#;
    let deep =
        format!(r#"{{"workflow":"w","payload":{{"a":{}{}}}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let payload = |value: &str| format!(r#"{{"workflow":"w","payload":{{"a":{value}}}}}"#);
    let hostile = [
        "{".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("{good}{good}"),
        payload("NaN"),
        payload("1e999"),
        payload(r#""\ud800""#),
        deep,
        r#"{"workflow":"a\u0000b","payload":{}}"#.to_owned(),
        payload(&format!("\"{}\"", "x".repeat(204_800))),
        r#"{"workflow":"w","payload":{},"callback_url":"http://127.0.0.1/"}"#.to_owned(),
        r#"{"workflow":"w","payload":{},"idempotency_key":"a b"}"#.to_owned(),
    ];
    let lines: Vec<String> = hostile.iter().flat_map(|line| [line.clone(), good.to_owned()]).collect();

    let ndjson = [("Content-Type", "application/x-ndjson")];
    let reply = server.anon().send("POST", "/api/v1/intake/batch", &ndjson, &lines.join("\n")).await;

    let reply = reply.json();
    assert_eq!((&reply["accepted"], &reply["refused"]), (&json!(12), &json!(12)), "{reply}");
    for (at, verdict) in reply["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(verdict["line"], at + 1);
        assert_eq!(verdict.get("job_id").is_some(), at % 2 == 1, "{verdict}");
    }
    assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 12);
}
