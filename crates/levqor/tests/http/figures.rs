//! What `/public/metrics` says of the truth.

use std::sync::Arc;

use levqor_store::Store;
use levqor_testkit::{TempDir, wait_until};

use crate::client::LIMIT;
use crate::server::{TestServer, new_location, now_ms};

#[tokio::test]
async fn jobs_of_today_are_counted_when_they_are_accepted_and_never_again() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let today = async || anon.get("/public/metrics").await.json()["jobs_today"].as_i64().unwrap();
    assert_eq!(today().await, 0);

    let id = server.submit(&anon).await;
    assert_eq!(today().await, 1);
    let json = ("Content-Type", "application/json");
    let job = r#"{"workflow":"w","payload":{}}"#;
    for _ in 0..3 {
        let keyed = anon.send("POST", "/api/v1/intake", &[json, ("Idempotency-Key", "k")], job).await;
        assert_eq!(keyed.status, 202);
    }
    assert_eq!(today().await, 2, "a key counts once");
    let lines = [job, job, "{}"].join("\n");
    let batch =
        anon.send("POST", "/api/v1/intake/batch", &[("Content-Type", "application/x-ndjson")], &lines).await;
    assert_eq!(batch.json()["accepted"], 2);
    assert_eq!(today().await, 4);

    assert_eq!(
        anon.post("/api/v1/intake", r#"{"workflow":"w","payload":{},"dry_run":true}"#).await.status,
        200
    );
    assert_eq!(anon.post("/api/v1/intake", "{}").await.status, 400);
    anon.post(&format!("/api/v1/_dev/complete/{id}"), "").await;
    anon.send("DELETE", &format!("/api/v1/jobs/{id}"), &[], "").await;
    assert_eq!(today().await, 4, "what is tried, refused, ended or deleted changes nothing");
    let server = server.restarted(&[]).await;
    assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 4, "nor does a restart");
}

#[tokio::test]
async fn the_uptime_is_measured() {
    let dir = Arc::new(TempDir::new());
    let location = new_location(&dir).await;
    let store = Store::open(&location, "node-before").await.unwrap();
    // Up for two of the last ten minutes.
    for minute in [9, 8] {
        store.beat(now_ms() - minute * 60_000).await.unwrap();
    }
    store.close().await;
    drop(store);

    let server = TestServer::start_on(location, &[]).await;

    let uptime =
        async || server.anon().get("/public/metrics").await.json()["uptime_rolling_7d"].as_f64().unwrap();
    // And for this one, once its first sign of life is on record.
    wait_until(LIMIT, async || uptime().await > 25.0).await;
    let uptime = uptime().await;
    assert!((25.0..=40.0).contains(&uptime), "{uptime}");
}
