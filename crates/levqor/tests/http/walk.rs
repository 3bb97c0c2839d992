//! Jobs that go a longer way: a retry from the step that failed, a result that is too large for its callback.

use levqor_testkit::{Act, Answer, Receiver, Script, wait_until};
use serde_json::{Value, json};

use crate::client::{Client, LIMIT};
use crate::server::TestServer;

const YAML: [(&str, &str); 1] = [("Content-Type", "application/yaml")];

const THREE: &str = r#"
steps:
  - id: first
    http: { method: POST, url: "{{ payload.base }}/first" }
  - id: beside
    needs: []
    http: { method: POST, url: "{{ payload.base }}/beside" }
  - id: second
    needs: [first, beside]
    http: { method: POST, url: "{{ payload.base }}/second", json: "{{ steps.first.output.body }}" }
  - id: third
    http: { method: POST, url: "{{ payload.base }}/third" }
output: { first: "{{ steps.first.output.body }}", third: "{{ steps.third.output.status }}" }
"#;

async fn define(client: &Client, name: &str, yaml: &str) {
    let put = client.send("PUT", &format!("/api/v1/workflows/{name}"), &YAML, yaml).await;
    assert_eq!(put.status, 201, "{}", put.text());
}

async fn submit(client: &Client, job: &Value) -> String {
    let reply = client.post("/api/v1/intake", &job.to_string()).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.json()["job_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_retry_goes_on_from_the_step_that_failed_and_calls_no_earlier_one_again() {
    let vendor = Receiver::start().await;
    vendor.script("/first", [Answer::json(&json!({"order": 7}))]);
    vendor.statuses("/second", &[400, 500, 200]);
    let server = TestServer::start(&[("OUTBOUND_ALLOW", "127.0.0.1")]).await;
    let anon = server.anon();
    define(&anon, "three", THREE).await;
    let calls = || ["/first", "/beside", "/second", "/third"].map(|path| vendor.received_at(path).len());
    let ended = async |id: &str| anon.get(&format!("/api/v1/status/{id}?wait=15s")).await.json();

    let job = json!({"workflow": "three", "payload": {"base": vendor.url("")}});
    let id = submit(&anon, &job).await;
    let status = ended(&id).await;
    assert_eq!(
        (&status["status"], &status["error"]["step"]),
        (&json!("failed"), &json!("second")),
        "{status}"
    );
    assert_eq!(calls(), [1, 1, 1, 0]);

    for (second, third) in [(2, 0), (3, 1)] {
        let retried = anon.send("POST", &format!("/api/v1/jobs/{id}/retry"), &[], "").await;
        assert_eq!((retried.status, &retried.json()["status"]), (200, &json!("queued")), "{retried:?}");
        ended(&id).await;
        assert_eq!(calls(), [1, 1, second, third]);
    }

    let done = ended(&id).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(done["result"], json!({"first": {"order": 7}, "third": 200}));
    // What the earlier step brought is still there for the later one, and each call of a step carries its one key.
    let second = vendor.received_at("/second");
    assert!(second.iter().all(|call| call.json() == json!({"order": 7})));
    assert!(second.iter().all(|call| call.header("idempotency-key") == second[0].header("idempotency-key")));
    let page = anon.get(&format!("/api/v1/jobs/{id}")).await.json();
    let attempts = |step: &str| {
        let steps = page["steps"].as_array().unwrap();
        steps.iter().find(|shown| shown["id"] == step).unwrap()["attempts"].as_array().unwrap().len()
    };
    assert_eq!(["first", "beside", "second", "third"].map(attempts), [1, 1, 3, 1], "{page}");
    assert_eq!(anon.send("POST", &format!("/api/v1/jobs/{id}/retry"), &[], "").await.status, 409);
}

#[tokio::test]
async fn a_cancel_reaches_the_call_that_is_out() {
    let vendor = Script::start(vec![Act::ReadRequest, Act::Hang]).await;
    let server = TestServer::start(&[("OUTBOUND_ALLOW", "127.0.0.1")]).await;
    let anon = server.anon();
    define(&anon, "call", "steps:\n  - { id: call, http: { url: \"{{ payload.url }}\" }, timeout: 1h }\n")
        .await;
    let id = submit(&anon, &json!({"workflow": "call", "payload": {"url": vendor.url("/")}})).await;
    wait_until(LIMIT, async || vendor.requests().len() == 1).await;
    assert_eq!(anon.get(&format!("/api/v1/status/{id}")).await.json()["status"], "running");

    let cancelled = anon.send("POST", &format!("/api/v1/jobs/{id}/cancel"), &[], "").await;

    assert_eq!(cancelled.json(), json!({"job_id": id, "state": "cancelled", "status": "failed"}));
    wait_until(LIMIT, async || vendor.closed() == 1).await;
    wait_until(LIMIT, async || anon.get("/metrics").await.text().contains("levqor_node_jobs_running 0\n"))
        .await;
    assert_eq!(anon.get(&format!("/api/v1/jobs/{id}")).await.json()["state"], "cancelled");
}

#[tokio::test]
async fn a_callback_stays_small_whatever_the_result_and_says_where_all_of_it_is() {
    let receiver = Receiver::start().await;
    let server = TestServer::start(&[("OUTBOUND_ALLOW", "127.0.0.1")]).await;
    let anon = server.anon();
    define(
        &anon,
        "echo",
        "steps:\n  - { id: copy, transform: \"{{ payload }}\" }\noutput: \"{{ payload }}\"\n",
    )
    .await;
    let bytes = |count: usize| json!({"text": "x".repeat(count)});
    let tags: serde_json::Map<String, Value> =
        (0..20).map(|n| (format!("tag-{n}"), json!("v".repeat(200)))).collect();

    let mut seen = 0;
    for (payload, tags, is_whole) in [
        (bytes(10), json!({}), true),
        (bytes(18_000), json!({}), true),
        (bytes(20_000), json!({}), false),
        (bytes(204_000), json!({}), false),
        (json!({"text": "\u{1}".repeat(30_000)}), json!({}), false),
        (bytes(204_000), Value::Object(tags), false),
    ] {
        let job = json!({"workflow": "echo", "payload": payload, "tags": tags, "callback_url": receiver.url("/hook")});
        let id = submit(&anon, &job).await;
        seen += 1;
        let callback = receiver.wait_for(seen, LIMIT).await[seen - 1].clone();

        assert!(callback.body.len() < 20_000, "{} bytes", callback.body.len());
        let data = callback.json()["data"].clone();
        assert_eq!((&data["job_id"], &data["status"]), (&json!(id), &json!("succeeded")));
        if is_whole {
            assert_eq!(data["result"], payload);
            continue;
        }
        assert!(data["result"].is_null());
        assert_eq!(data["result_bytes"], payload.to_string().len());
        let whole = anon.get(data["result_url"].as_str().unwrap()).await.json();
        assert_eq!(whole["result"], payload);
    }
}

#[tokio::test]
async fn a_job_for_later_waits_and_says_until_when() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let now = anon.get("/health").await.json()["ts"].as_f64().unwrap();

    for (when, due) in [
        (json!({"run_at": "2999-01-01T00:00:00Z"}), 32_472_144_000.0),
        (json!({"run_at": 32_472_144_000_i64}), 32_472_144_000.0),
        (json!({"delay": "2h"}), now + 7_200.0),
    ] {
        let mut job = json!({"workflow": "w", "payload": {}});
        job.as_object_mut().unwrap().extend(when.as_object().unwrap().clone());
        let id = submit(&anon, &job).await;
        let page = anon.get(&format!("/api/v1/jobs/{id}")).await.json();
        assert_eq!((&page["status"], &page["state"]), (&json!("queued"), &json!("scheduled")), "{page}");
        assert!((page["due_at"].as_f64().unwrap() - due).abs() < 60.0, "{when}: {page}");
    }
    let id = submit(&anon, &json!({"workflow": "w", "payload": {}, "delay": "100ms"})).await;
    wait_until(LIMIT, async || anon.get(&format!("/api/v1/jobs/{id}")).await.json()["state"] == "queued")
        .await;
    for wrong in [r#""run_at":"soon""#, r#""delay":"-1s""#, r#""delay":"1h","run_at":"2999-01-01T00:00:00Z""#]
    {
        let reply =
            anon.post("/api/v1/intake", &format!(r#"{{"workflow":"w","payload":{{}},{wrong}}}"#)).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "Invalid request body"), "{wrong}");
    }
}
