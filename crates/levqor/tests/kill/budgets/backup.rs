//! A backup in the middle of all that, put into another database: whatever was promised before it began is there, what was under
//! way goes on or is charged, and the books agree.

use std::time::{Duration, Instant};

use levqor_testkit::wait_until;
use serde_json::Value;

use super::house::{House, Limits};
use super::provider::Provider;
use super::spend::Spenders;
use super::{CLIENTS, RECOVERY, books, start};
use crate::chance::Chance;
use crate::client::{Caller, KEY, Nodes};

/// Enough that the backup meets calls in every state.
const ANSWERS_BEFORE: u64 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_on_sqlite_has_every_promise_and_books_that_agree() {
    let (provider, seed) = (Provider::start(&[], 1).await, 1);
    let houses = [House::sqlite(Limits::CHAOS, &provider.url), House::sqlite(Limits::CHAOS, &provider.url)];
    backup_and_restore("backup sqlite", houses, 1, seed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_on_postgres_has_every_promise_and_books_that_agree() {
    let (provider, seed) = (Provider::start(&[], 1).await, 1);
    let urls = [levqor_testkit::postgres_url().await, levqor_testkit::postgres_url().await];
    let houses = urls.map(|url| House::postgres(url, Limits::CHAOS, &provider.url));
    backup_and_restore("backup postgres", houses, 2, seed).await;
}

async fn backup_and_restore(test: &str, [house, other]: [House; 2], count: usize, seed: u64) {
    house.furnish().await;
    let nodes = Nodes::new(count);
    let spenders = Spenders::new(nodes.clone());
    let mut servers = Vec::new();
    for node in 0..count {
        servers.push(start(&house, &nodes, node).await);
    }
    let load = spenders.start(CLIENTS, &mut Chance::of_seed(seed));
    spenders.answered(ANSWERS_BEFORE).await;

    let (answered, jobs) = spenders.promises();
    let began = Instant::now();
    let made: Value = serde_json::from_str(&house.site.run(&["backup", "create", "--json"]).await).unwrap();
    let took = began.elapsed();
    let (answered_then, jobs_then) = spenders.promises();
    spenders.answered(20).await;
    load.stop().await;
    for server in servers {
        server.kill().await;
    }
    assert!(
        jobs.len() > 10 && answered_then > answered && jobs_then.len() >= jobs.len(),
        "nobody was stopped"
    );

    let file = house.site.dir.join(made["path"].as_str().unwrap());
    let said = other.site.run(&["backup", "restore", file.to_str().unwrap(), "--yes"]).await;
    assert!(said.contains("There is no database yet"), "{said}");
    let settled = other.number("select count(*) from ai_calls where state = 'settled'").await;
    assert!(settled >= answered, "{test}: {answered} answers before the backup, {settled} charges in it");
    let open = other.number("select count(*) from ai_calls where lease_until_ms is not null").await;
    println!(
        "{test}: {} jobs and {answered} answers before it, {open} calls open in it, made in {took:?}",
        jobs.len()
    );

    let nodes = Nodes::new(1);
    let server = start(&other, &nodes, 0).await;
    let caller = Caller::new();
    for id in &jobs {
        wait_until(RECOVERY, async || {
            let status = caller.get(&server.base, &format!("/api/v1/status/{id}?wait=10s")).await;
            assert_eq!(status.status, 200, "{test}: {id} was acknowledged before the backup began");
            ["succeeded", "failed"].iter().any(|end| status.json()["status"] == *end)
        })
        .await;
    }
    other.all_ended(RECOVERY).await;
    other.all_charged(RECOVERY).await;
    other.site.run(&["audit", "verify", "--url", &server.base, "--key", KEY]).await;
    let status = server.terminate(Duration::from_secs(45)).await;
    assert!(status.success(), "{test}: SIGTERM of an idle node ended with {status}");
    books::check_alone(test, &other).await;
}
