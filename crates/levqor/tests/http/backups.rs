//! Backups over HTTP: asked for, looked at, and told of when they are late.

use std::time::{SystemTime, UNIX_EPOCH};

use levqor_core::backup::DAY_MS;
use levqor_testkit::wait_until;

use crate::client::LIMIT;
use crate::server::{TestServer, check};

#[allow(clippy::disallowed_methods, reason = "the composition root of a test")]
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[tokio::test]
async fn a_backup_is_asked_for_made_and_listed() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    let client = server.key("k");
    server.submit(&client).await;
    let empty = client.get("/api/v1/ops/backups").await;
    check("nothing yet", &empty, 200, "{\"backups\":[],\"late\":false,\"runs\":[]}\n");

    let asked = client.send("POST", "/api/v1/ops/backup", &[], "").await;

    assert_eq!(asked.status, 202, "{asked:?}");
    assert!(asked.header("x-ratelimit-remaining").is_some(), "it is a write");
    assert_eq!(asked.json()["state"], "running");
    wait_until(LIMIT, async || {
        client.get("/api/v1/ops/backups").await.json()["runs"][0]["state"] != "running"
    })
    .await;
    let list = client.get("/api/v1/ops/backups").await.json();
    assert_eq!(list["runs"][0]["state"], "succeeded", "{list}");
    assert_eq!(list["runs"][0]["name"], asked.json()["name"]);
    assert_eq!(list["backups"][0]["name"], asked.json()["name"]);
    assert_eq!(list["backups"][0]["kind"], "manual");
    assert_eq!(list["backups"][0]["size_bytes"], list["runs"][0]["size_bytes"]);
    assert_eq!(list["backups"][0]["sha256"].as_str().unwrap().len(), 64);
    let metrics = client.get("/metrics").await.text();
    for line in
        ["levqor_backups_made_total 1", "levqor_backups_failed_total 0", "levqor_backup_last_uploaded 0"]
    {
        assert!(metrics.contains(line), "{line}");
    }
    assert!(metrics.contains("levqor_backup_last_success_timestamp_seconds 1"), "{metrics}");
}

#[tokio::test]
async fn both_routes_take_no_parameters_and_no_other_method() {
    let server = TestServer::start(&[]).await;

    let unknown = server.anon().send("POST", "/api/v1/ops/backup?wait=1", &[], "").await;
    assert_eq!((unknown.status, unknown.error().as_str()), (400, "invalid_query"));
    assert_eq!(server.anon().get("/api/v1/ops/backups?x").await.status, 400);
    assert_eq!(server.anon().get("/api/v1/ops/backup").await.status, 405);
    assert_eq!(server.anon().get("/api/v1/ops/backups").await.json()["runs"], serde_json::json!([]));
}

#[tokio::test]
async fn a_backup_that_is_older_than_26_hours_is_told_to_operators() {
    let server = TestServer::start(&[]).await;
    let store = server.engine.store();
    let run = store.begin_backup("old", "old", now_ms() - DAY_MS - 3 * 3_600_000).await.unwrap();
    let end = levqor_store::BackupEnd::Succeeded {
        name: "old".into(),
        size_bytes: 1,
        uploaded: false,
        warning: None,
    };
    assert!(store.end_backup(&run, end, now_ms() - DAY_MS).await.unwrap());

    let health = server.anon().get("/api/v1/ops/health").await;

    assert_eq!(health.status, 200);
    assert_eq!(health.json()["degraded"], serde_json::json!(["backup"]));
    assert_eq!(server.anon().get("/api/v1/ops/backups").await.json()["late"], true);
    let anybody = server.anon().get("/health").await.json();
    assert!(anybody.get("degraded").is_none(), "nobody else needs to know");
}
