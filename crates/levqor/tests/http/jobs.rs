//! Jobs and workflows beyond the first version.

use levqor_testkit::{Receiver, wait_until};
use serde_json::json;

use crate::client::LIMIT;
use crate::server::TestServer;

const YAML: [(&str, &str); 1] = [("Content-Type", "application/yaml")];
const JSON: (&str, &str) = ("Content-Type", "application/json");

const HELLO: &str = "name: hello\ninput:\n  type: object\n  required: [name]\n  properties:\n    name: { type: string }\n\
steps:\n  - id: greet\n    transform: { text: \"Hello, {{ payload.name }}\" }\n";

#[tokio::test]
async fn the_same_idempotency_key_gets_the_same_answer() {
    let server = TestServer::start(&[]).await;
    let post = async |key: &str, body: &str| {
        server.anon().send("POST", "/api/v1/intake", &[JSON, ("Idempotency-Key", key)], body).await
    };
    let job = r#"{"workflow":"w","payload":{}}"#;

    let (first, twin) = tokio::join!(post("one", job), post("one", job));
    assert_eq!((first.status, twin.status), (202, 202));
    assert_eq!(first.text(), twin.text());
    assert_eq!(post("one", job).await.text(), first.text());
    assert_ne!(post("two", job).await.text(), first.text());
    let other = post("one", r#"{"workflow":"w","payload":{ }}"#).await;
    assert_eq!((other.status, other.error().as_str()), (422, "idempotency_mismatch"));
    for bad in ["", "a b", &"x".repeat(256), "\u{e9}"] {
        let reply = post(bad, job).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_idempotency_key"), "{bad:?}");
    }
    let twice = [JSON, ("Idempotency-Key", "a"), ("Idempotency-Key", "b")];
    assert_eq!(server.anon().send("POST", "/api/v1/intake", &twice, job).await.status, 400);
}

#[tokio::test]
async fn a_defined_workflow_runs_and_its_schema_is_kept() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();

    let put = anon.send("PUT", "/api/v1/workflows/hello", &YAML, HELLO).await;
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(
        put.json(),
        json!({"created": true, "name": "hello", "version": 1, "steps": [{"id": "greet", "kind": "transform"}]})
    );
    assert_eq!(anon.send("PUT", "/api/v1/workflows/hello", &YAML, HELLO).await.status, 200);

    let refused = anon.post("/api/v1/intake", r#"{"workflow":"hello","payload":{"name":1}}"#).await;
    assert_eq!((refused.status, refused.error().as_str()), (400, "invalid_payload"));
    assert!(refused.json()["fields"]["/name"].is_string(), "{}", refused.text());

    let dry =
        anon.post("/api/v1/intake", r#"{"workflow":"hello","payload":{"name":"A"},"dry_run":true}"#).await;
    assert_eq!(dry.status, 200);
    let preview = json!({"cost": null, "dry_run": true, "run_at": null, "state": "queued", "steps": ["greet"], "version": 1, "workflow": "hello"});
    assert_eq!(dry.json(), preview);
    assert_eq!(anon.get("/public/metrics").await.json()["jobs_today"], 0);

    let accepted = anon
        .post("/api/v1/intake", r#"{"workflow":"hello","payload":{"name":"Ada"},"tags":{"team":"x"}}"#)
        .await;
    let id = accepted.json()["job_id"].as_str().unwrap().to_owned();
    let status = anon.get(&format!("/api/v1/status/{id}?wait=15s")).await.json();
    assert_eq!(status["status"], "succeeded", "{status}");
    assert_eq!(status["result"], json!({"greet": {"text": "Hello, Ada"}}));

    let job = anon.get(&format!("/api/v1/jobs/{id}")).await.json();
    assert_eq!(job["state"], "succeeded");
    assert_eq!(job["steps"][0]["id"], "greet");
    assert_eq!(job["steps"][0]["attempts"][0]["output"], json!({"text": "Hello, Ada"}));
    assert_eq!(job["payload"], json!({"name": "Ada"}));
    assert_eq!(job["callbacks"], json!([]));

    assert_eq!(anon.send("POST", &format!("/api/v1/jobs/{id}/retry"), &[], "").await.status, 409);
    assert_eq!(anon.send("POST", &format!("/api/v1/jobs/{id}/cancel"), &[], "").await.status, 409);
    assert_eq!(
        anon.send("POST", &format!("/api/v1/jobs/{id}/callbacks/redeliver"), &[], "").await.status,
        409
    );
}

#[tokio::test]
async fn workflows_are_listed_shown_and_deleted() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    anon.send("PUT", "/api/v1/workflows/hello", &YAML, HELLO).await;

    let list = anon.get("/api/v1/workflows").await.json();
    assert_eq!(list["workflows"][0]["name"], "hello");
    let shown = anon.get("/api/v1/workflows/hello").await.json();
    assert_eq!((shown["source"].as_str(), shown["origin"].as_str()), (Some(HELLO), Some("api")));
    assert_eq!(
        anon.get("/api/v1/workflows/hello?version=7").await.json(),
        json!({"error": "not_found", "message": "no such version: 7 of workflow `hello`"})
    );

    let broken = anon
        .send("PUT", "/api/v1/workflows/broken", &YAML, "name: broken\nsteps:\n  - id: a\n    dance: {}\n")
        .await;
    assert_eq!((broken.status, broken.error().as_str()), (400, "invalid_workflow"));
    assert!(broken.text().contains("line 4"), "{}", broken.text());
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(
        anon.send("PUT", "/api/v1/workflows/hello", &form, HELLO).await.json(),
        json!({"error": "wrong_content_type", "message": "Content-Type must be application/yaml or application/json"})
    );

    assert_eq!(
        anon.send("DELETE", "/api/v1/workflows/hello", &[], "").await.json(),
        json!({"deleted": true, "name": "hello"})
    );
    assert_eq!(anon.send("DELETE", "/api/v1/workflows/nobody", &[], "").await.status, 404);
    assert_eq!(anon.get("/api/v1/workflows/hello").await.status, 404);
    let refused = anon.post("/api/v1/intake", r#"{"workflow":"hello","payload":{"name":"A"}}"#).await;
    assert_eq!((refused.status, refused.error().as_str()), (400, "workflow_deleted"));
}

#[tokio::test]
async fn a_waiting_status_answers_as_soon_as_the_job_ends() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let id = server.submit(&anon).await;
    let path = format!("/api/v1/status/{id}?wait=60s");

    let waiting = tokio::spawn({
        let anon = anon.clone();
        async move { anon.get(&path).await }
    });
    let cancelled = anon.send("POST", &format!("/api/v1/jobs/{id}/cancel"), &[], "").await;
    assert_eq!(cancelled.json(), json!({"job_id": id, "state": "cancelled", "status": "failed"}));

    let status = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap().json();
    assert_eq!(status["status"], "failed");
    assert_eq!(status["error"]["code"], "cancelled");
    for bad in ["61", "61s", "-1", "-1s", "soon", "NaN", ""] {
        let reply = anon.get(&format!("/api/v1/status/{id}?wait={bad}")).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_query"), "{bad}");
    }
    assert_eq!(
        anon.get(&format!("/api/v1/status/{id}?whatever=1")).await.status,
        200,
        "as the first version did"
    );
    assert_eq!(anon.send("POST", &format!("/api/v1/jobs/{id}/cancel"), &[], "").await.status, 200, "again");
    let retried = anon.send("POST", &format!("/api/v1/jobs/{id}/retry"), &[], "").await;
    assert_eq!(retried.json(), json!({"job_id": id, "state": "queued", "status": "queued"}));
}

#[tokio::test]
async fn jobs_are_listed_by_filters_and_pages() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let mut jobs = Vec::new();
    for n in 0..5 {
        let body = format!(r#"{{"workflow":"w{}","payload":{{}},"tags":{{"team":"a:b","n":"{n}"}}}}"#, n % 2);
        let accepted = anon.post("/api/v1/intake", &body).await;
        assert_eq!(accepted.status, 202);
        jobs.push((accepted.json()["job_id"].as_str().unwrap().to_owned(), n));
    }
    // Newest first is by id: jobs of one millisecond stand in the order of their random bits.
    jobs.sort_unstable_by(|one, other| other.cmp(one));
    let all: String = jobs.iter().map(|(_, n)| n.to_string()).collect();
    let odd: String = all.chars().filter(|n| matches!(n, '1' | '3')).collect();
    let ids = async |query: &str| {
        let page = anon.get(&format!("/api/v1/jobs{query}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        page.json()["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["tags"]["n"].as_str().unwrap().to_owned())
            .collect::<String>()
    };

    assert_eq!(ids("").await, all);
    assert_eq!(ids("?workflow=w1").await, odd);
    assert_eq!(ids("?tag=team:a:b&tag=n:2").await, "2");
    assert_eq!(ids("?tag=team:other").await, "");
    assert_eq!(ids("?status=queued&state=queued").await, all);
    assert_eq!(ids("?state=succeeded").await, "");
    assert_eq!(ids("?from=2999-01-01T00:00:00Z").await, "");
    assert_eq!(ids("?until=2999-01-01T00:00:00%2B00:00").await, all);

    let first = anon.get("/api/v1/jobs?limit=2").await.json();
    let cursor = first["next"].as_str().unwrap();
    assert_eq!(ids(&format!("?limit=2&cursor={cursor}")).await, all[2..4]);
}

#[tokio::test]
async fn wrong_parameters_are_refused_by_name() {
    let server = TestServer::start(&[]).await;
    for (query, words) in [
        (
            "colour=red",
            "unknown parameter `colour`; allowed: cursor, from, limit, state, status, tag, until, workflow",
        ),
        ("status=done", "`status` is `done`; expected queued, running"),
        ("state=undefined", "`state` is `undefined`"),
        ("limit=0", "`limit` is `0`; expected a whole number, 1 to 500"),
        ("limit=501", "1 to 500"),
        ("limit=1&limit=2", "`limit` is given more than once"),
        ("cursor=x", "`cursor` is `x`"),
        ("tag=team", "`tag` is `team`; expected name:value"),
        ("tag=a:%00", "`tag`"),
        ("workflow=", "`workflow`"),
        ("workflow=%00", "`workflow`"),
        ("from=yesterday", "`from` is `yesterday`"),
    ] {
        let reply = server.anon().get(&format!("/api/v1/jobs?{query}")).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_query"), "{query}");
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{query}: {message}");
    }
    let id = server.submit(&server.anon()).await;
    let unknown = server.anon().get(&format!("/api/v1/jobs/{id}?x=1")).await;
    assert!(unknown.json()["message"].as_str().unwrap().contains("allowed: none"));
    for path in ["/api/v1/jobs/nope", "/api/v1/jobs/00000000000000000000000000000000"] {
        assert_eq!(
            server.anon().get(path).await.json(),
            json!({"error": "not_found", "message": "no such job"})
        );
    }
}

#[tokio::test]
async fn callbacks_are_shown_with_their_tries_and_sent_again_when_asked() {
    let receiver = Receiver::start().await;
    let server = TestServer::start(&[("OUTBOUND_ALLOW", "127.0.0.1")]).await;
    let anon = server.anon();
    let url = receiver.url("/hook");
    let job = json!({"workflow": "nobody-defined", "payload": {}, "callback_url": url}).to_string();
    let id = anon.post("/api/v1/intake", &job).await.json()["job_id"].as_str().unwrap().to_owned();
    let redeliver = format!("/api/v1/jobs/{id}/callbacks/redeliver");

    assert_eq!(anon.send("POST", &redeliver, &[], "").await.status, 409, "it has not ended");
    anon.post(&format!("/api/v1/_dev/complete/{id}"), "").await;
    let first = receiver.wait_for(1, LIMIT).await;
    wait_until(LIMIT, async || {
        anon.get(&format!("/api/v1/jobs/{id}")).await.json()["callbacks"][0]["state"] == "delivered"
    })
    .await;
    let again = anon.send("POST", &redeliver, &[], "").await;
    assert_eq!(again.status, 202);
    assert_eq!(again.json(), json!({"callback_id": first[0].header("webhook-id"), "job_id": id}));
    let both = receiver.wait_for(2, LIMIT).await;
    assert_eq!(both[0].json(), both[1].json());

    wait_until(LIMIT, async || {
        let callback = anon.get(&format!("/api/v1/jobs/{id}")).await.json()["callbacks"][0].clone();
        let tries = callback["tries"].as_array().unwrap();
        callback["url"] == url
            && tries.len() == 2
            && tries.iter().all(|tried| tried["status"] == 200 || tried["status"] == 204)
    })
    .await;
}

#[tokio::test]
async fn while_a_retried_job_lives_the_event_of_its_earlier_end_is_sent_again() {
    let receiver = Receiver::start().await;
    let server = TestServer::start(&[("OUTBOUND_ALLOW", "127.0.0.1")]).await;
    let anon = server.anon();
    let url = receiver.url("/hook");
    let job = json!({"workflow": "nobody-defined", "payload": {}, "callback_url": url}).to_string();
    let id = anon.post("/api/v1/intake", &job).await.json()["job_id"].as_str().unwrap().to_owned();
    for change in ["cancel", "retry"] {
        let reply = anon.send("POST", &format!("/api/v1/jobs/{id}/{change}"), &[], "").await;
        assert_eq!(reply.status, 200, "{change}: {}", reply.text());
    }
    let first = receiver.wait_for(1, LIMIT).await[0].clone();

    let again = anon.send("POST", &format!("/api/v1/jobs/{id}/callbacks/redeliver"), &[], "").await;

    assert_eq!(again.status, 202, "{}", again.text());
    assert_eq!(again.json()["callback_id"], first.header("webhook-id"));
    let second = receiver.wait_for(2, LIMIT).await[1].clone();
    assert_eq!(second.json(), first.json());
    // It is looked at once more, and goes back to wait for a definition.
    let status = format!("/api/v1/status/{id}");
    wait_until(LIMIT, async || anon.get(&status).await.json()["status"] == "queued").await;
}

#[tokio::test]
async fn a_path_names_a_workflow_by_the_same_rule_as_a_job() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let nameless = "steps:\n  - { id: a, transform: 1 }\n";
    let at = |name: &str| format!("/api/v1/workflows/{name}");

    for name in ["%00", "a%00b", &"x".repeat(129), &"%C3%BC".repeat(129), "%ff"] {
        let put = anon.send("PUT", &at(name), &YAML, nameless).await;
        assert_eq!((put.status, put.error().as_str()), (400, "invalid_workflow"), "{name}");
        assert!(put.json()["message"].as_str().unwrap().contains("1 to 128 characters"), "{}", put.text());
        assert_eq!(anon.get(&at(name)).await.error(), "not_found", "{name}");
        assert_eq!(anon.send("DELETE", &at(name), &[], "").await.error(), "not_found", "{name}");
    }
    for name in ["x", "a%20b%0A", &"%C3%BC".repeat(128), "%25ff"] {
        assert_eq!(anon.send("PUT", &at(name), &YAML, nameless).await.status, 201, "{name}");
        assert_eq!(anon.get(&at(name)).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_definition_that_says_it_is_json_has_to_be() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let json = [("Content-Type", "application/json")];

    for loose in [
        r#"{"steps":[{"id":"a","transform":NaN}]}"#,
        r#"{"steps":[{"id":"a","transform":1}],}"#,
        "{steps: [{id: a, transform: yes}]}",
        "steps:\n  - { id: a, transform: 1 }\n",
    ] {
        let put = anon.send("PUT", "/api/v1/workflows/x", &json, loose).await;
        assert_eq!((put.status, put.error().as_str()), (400, "invalid_workflow"), "{loose}");
    }
    let strict = r#"{"steps":[{"id":"a","transform":1}]}"#;
    assert_eq!(anon.send("PUT", "/api/v1/workflows/x", &json, strict).await.status, 201);
}

#[tokio::test]
async fn a_wait_is_a_duration_or_a_number_of_seconds() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let id = server.submit(&anon).await;
    anon.post(&format!("/api/v1/_dev/complete/{id}"), "").await;

    for wait in ["60", "0.5", "60s", "0"] {
        assert_eq!(anon.get(&format!("/api/v1/status/{id}?wait={wait}")).await.status, 200, "{wait}");
    }
}

#[tokio::test]
async fn a_job_that_has_ended_is_forgotten_and_no_other() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    let client = server.key("k");
    let id = server.submit(&client).await;
    let path = format!("/api/v1/jobs/{id}");
    let delete = async |path: &str| client.send("DELETE", path, &[], "").await;

    let live = delete(&path).await;
    assert_eq!((live.status, live.error().as_str()), (409, "conflict"), "{live:?}");
    assert!(live.text().contains("cancel it first"), "{live:?}");
    assert_eq!(client.post(&format!("{path}/cancel"), "{}").await.status, 200);
    assert_eq!(server.anon().send("DELETE", &path, &[], "").await.status, 403);
    assert_eq!(delete(&format!("{path}?force=1")).await.status, 400);
    let deleted = delete(&path).await;
    assert_eq!((deleted.status, deleted.json()), (200, serde_json::json!({"deleted": true, "job_id": id})));

    assert_eq!(server.anon().get(&format!("/api/v1/status/{id}")).await.status, 404);
    assert_eq!(client.get("/api/v1/jobs").await.json()["jobs"], serde_json::json!([]));
    for gone in [path.as_str(), "/api/v1/jobs/nothing", "/api/v1/jobs/%00"] {
        assert_eq!(delete(gone).await.status, 404, "{gone}");
    }
}
