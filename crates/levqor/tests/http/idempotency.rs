//! One key, one job: twins in flight, another body, other callers, a restart.

use serde_json::json;

use crate::client::{Client, Reply};
use crate::server::TestServer;

const PATH: &str = "/api/v1/intake";
const JOB: &str = r#"{"workflow":"w","payload":{"n":1}}"#;
const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn post(client: &Client, key: &str, body: &str) -> Reply {
    client.send("POST", PATH, &[JSON, ("Idempotency-Key", key)], body).await
}

async fn jobs_today(server: &TestServer) -> i64 {
    server.anon().get("/public/metrics").await.json()["jobs_today"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_twins_in_flight_all_get_the_answer_of_the_first() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    for round in 0..5 {
        let key = format!("round-{round}");
        let twins: Vec<_> = (0..40)
            .map(|_| {
                let (client, key) = (server.key("k"), key.clone());
                tokio::spawn(async move { post(&client, &key, JOB).await })
            })
            .collect();

        let mut answers = std::collections::BTreeSet::new();
        for twin in twins {
            let reply = twin.await.unwrap();
            assert_eq!(reply.status, 202, "{reply:?}");
            answers.insert(reply.text());
        }
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(jobs_today(&server).await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_bodies_in_flight_under_one_key_one_is_taken_and_the_other_refused() {
    let server = TestServer::start(&[]).await;
    let other = JOB.replace('1', "2");
    for round in 0..10 {
        let key = format!("round-{round}");
        let (one, two) = (server.anon(), server.anon());
        let (one, two) = tokio::join!(post(&one, &key, JOB), post(&two, &key, &other));

        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 422], "{one:?} {two:?}");
        let refused = if one.status == 422 { &one } else { &two };
        assert_eq!(refused.error(), "idempotency_mismatch");
    }
    assert_eq!(jobs_today(&server).await, 10);
}

#[tokio::test]
async fn after_a_restart_the_answer_is_the_same_and_another_body_is_still_refused() {
    let server = TestServer::start(&[]).await;
    let first = post(&server.anon(), "kept", JOB).await;
    let id = first.json()["job_id"].as_str().unwrap().to_owned();

    let server = server.restarted(&[]).await;

    let again = post(&server.anon(), "kept", JOB).await;
    assert_eq!((again.status, again.text()), (202, first.text()));
    let other = post(&server.anon(), "kept", r#"{"workflow":"w","payload":{"n":2}}"#).await;
    assert_eq!((other.status, other.error().as_str()), (422, "idempotency_mismatch"));
    let status = server.anon().get(&format!("/api/v1/status/{id}")).await;
    assert_eq!((status.status, &status.json()["status"]), (200, &json!("queued")), "the job is there too");
    assert_eq!(jobs_today(&server).await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_its_caller_and_a_rotation_changes_no_caller() {
    let server = TestServer::start(&[("API_KEYS", "old"), ("API_KEYS_NEXT", "new")]).await;
    let stored = server.key("old").post("/api/v1/keys", r#"{"name":"shop","scopes":["submit"]}"#).await;
    let shop = server.key(stored.json()["key"].as_str().unwrap());

    let first = post(&server.key("old"), "same", JOB).await;
    let rotated = post(&server.key("new"), "same", JOB).await;
    let theirs = post(&shop, "same", JOB).await;
    let theirs_again = post(&shop, "same", JOB).await;
    let theirs_other = post(&shop, "same", r#"{"workflow":"w","payload":{"n":2}}"#).await;

    assert_eq!(rotated.text(), first.text(), "all keys of the environment are one caller");
    assert_eq!(theirs.status, 202);
    assert_ne!(theirs.text(), first.text(), "another caller has keys of its own");
    assert_eq!(theirs_again.text(), theirs.text());
    assert_eq!(theirs_other.status, 422);
    assert_eq!(jobs_today(&server).await, 2);
}

#[tokio::test]
async fn single_jobs_and_lines_of_a_batch_share_the_keys_of_their_caller() {
    let server = TestServer::start(&[]).await;
    let line = r#"{"workflow":"w","payload":{"n":1},"idempotency_key":"both"}"#;
    let batch = async || {
        let ndjson = [("Content-Type", "application/x-ndjson")];
        server.anon().send("POST", "/api/v1/intake/batch", &ndjson, line).await.json()["results"][0].clone()
    };

    let first = batch().await;
    assert_eq!(batch().await, first);
    let single = post(&server.anon(), "both", JOB).await;
    assert_eq!(single.status, 422, "the bodies differ, if only by the key in one of them");
    assert_eq!(jobs_today(&server).await, 1);
}

/// What was refused holds no key: the mended request goes through under the same one.
#[tokio::test]
async fn a_refused_request_and_a_dry_run_take_no_key() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();

    assert_eq!(post(&anon, "k", r#"{"workflow":"w"}"#).await.status, 400);
    assert_eq!(post(&anon, "k", r#"{"workflow":"w","payload":{},"dry_run":true}"#).await.status, 200);
    assert_eq!(post(&anon, "k", JOB).await.status, 202);
}
