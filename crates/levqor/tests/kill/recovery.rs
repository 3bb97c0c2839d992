//! How soon work goes on after a kill -9, as numbers: within a second of the next start on SQLite, within a lease on PostgreSQL.
//! And what the figures say of a job under which a process died.

use std::time::{Duration, Instant};

use levqor_testkit::wait_until;
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::client::{Call, Caller, Nodes};
use crate::load::Load;
use crate::recorder::Recorder;
use crate::server::{Server, Site, now_ms};
use crate::workflows::Kind;

/// After the start of a process on SQLite. The middle of some rounds, because this machine may be doing something else too.
const RESUMED_MS: i64 = 1_000;
const ROUNDS: usize = 5;
/// After the death of a process on PostgreSQL: the lease, a look every 2 s, a claim.
const LEASE: Duration = Duration::from_secs(15);
const MARGIN: Duration = Duration::from_secs(5);
/// A node says every 3 s that it lives, so its lease may have run for so long when it dies.
const BEAT: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(30);

/// A job whose call is out: its first answer would take minutes, later ones come at once.
async fn job_under_way(server: &Server, load: &Load, recorder: &Recorder, token: &str) -> String {
    let id = load.submit_slow(&server.base, token, Duration::from_secs(600), Duration::ZERO).await;
    wait_until(LIMIT, async || recorder.calls_of(token, "hold") == 1).await;
    id
}

async fn ended(base: &str, id: &str) -> Value {
    Caller::new().get(base, &format!("/api/v1/status/{id}?wait=20s")).await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_job_goes_on_within_a_second_of_the_start() {
    let (mut chance, seed) = Chance::of_run("recovery sqlite");
    let recorder = Recorder::start(chance.fork()).await;
    let load = Load::new(Nodes::new(1), recorder.base.clone());
    let site = Site::sqlite(None);
    let mut resumed_ms = Vec::new();
    for round in 0..ROUNDS {
        let server = site.start("node").await;
        let token = format!("cut-{round}");
        let id = job_under_way(&server, &load, &recorder, &token).await;
        server.kill().await;

        let server = site.start("node").await;
        wait_until(LIMIT, async || recorder.calls_of(&token, "hold") == 2).await;
        resumed_ms.push(now_ms() - server.began_ms);
        let status = ended(&server.base, &id).await;
        assert_eq!(status["status"], "succeeded", "seed {seed}: {status}");
        server.kill().await;
    }
    resumed_ms.sort_unstable();
    println!("recovery sqlite: from the start to the next call of a cut job: {resumed_ms:?} ms");
    assert!(resumed_ms[ROUNDS / 2] <= RESUMED_MS, "seed {seed}: {resumed_ms:?} ms");
    assert_eq!(recorder.broken_keys(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_job_goes_on_elsewhere_within_a_lease() {
    let (mut chance, seed) = Chance::of_run("recovery postgres");
    let recorder = Recorder::start(chance.fork()).await;
    let load = Load::new(Nodes::new(1), recorder.base.clone());
    let site = Site::postgres(levqor_testkit::postgres_url().await);
    let dying = site.start("node0").await;
    let id = job_under_way(&dying, &load, &recorder, "cut").await;
    let other = site.start("node1").await;

    dying.kill().await;
    let died = Instant::now();
    wait_until(LEASE + MARGIN + LIMIT, async || recorder.calls_of("cut", "hold") == 2).await;
    let took = died.elapsed();

    println!("recovery postgres: from a death to the next call of its job: {took:?}");
    assert!(took <= LEASE + MARGIN, "seed {seed}: {took:?}");
    assert!(
        took >= LEASE - BEAT - Duration::from_secs(1),
        "seed {seed}: {took:?}: taken before the lease was over"
    );
    let status = ended(&other.base, &id).await;
    assert_eq!(status["status"], "succeeded", "seed {seed}: {status}");
    check_figures(&other, &load, 0.0).await;
}

/// One job was cut short, and counted as such; one more, which was not, halves its share.
async fn check_figures(server: &Server, load: &Load, coverage: f64) {
    let figures = async || Caller::new().get(&server.base, "/public/metrics").await.json();
    let before = figures().await;
    assert_eq!(before["audit_coverage"].as_f64(), Some(coverage), "{before}");
    let job = load.job("whole", Kind::Echo, json!({"token": "whole"}));
    let answer = Caller::new().send(&server.base, &Call::intake(&job.body())).await.unwrap();
    let status = ended(&server.base, answer.json()["job_id"].as_str().unwrap()).await;
    assert_eq!(status["status"], "succeeded", "{status}");
    let after = figures().await;
    assert_eq!(after["audit_coverage"].as_f64(), Some(50.0), "{after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_figures_are_right_after_a_kill() {
    let (mut chance, seed) = Chance::of_run("figures after a kill");
    let recorder = Recorder::start(chance.fork()).await;
    let load = Load::new(Nodes::new(1), recorder.base.clone());
    let site = Site::sqlite(None);
    let server = site.start("node").await;
    let caller = Caller::new();
    let fresh = caller.get(&server.base, "/public/metrics").await.json();
    assert_eq!(
        (&fresh["audit_coverage"], &fresh["jobs_today"]),
        (&json!(100), &json!(0)),
        "nothing has ended"
    );
    let waits =
        |n: i64| Call::intake(&json!({"workflow": "nobody-defined", "payload": {"n": n}})).key("kept");
    let first = caller.send(&server.base, &waits(1)).await.unwrap();
    assert_eq!(first.status, 202);
    let id = job_under_way(&server, &load, &recorder, "cut").await;
    let running = caller.get(&server.base, "/public/metrics").await.json();
    assert_eq!(
        (&running["audit_coverage"], &running["jobs_today"]),
        (&json!(100), &json!(2)),
        "nothing has ended"
    );
    server.kill().await;

    let server = site.start("node").await;
    let again = caller.send(&server.base, &waits(1)).await.unwrap();
    assert_eq!((again.status, &again.body), (202, &first.body), "seed {seed}");
    let other = caller.send(&server.base, &waits(2)).await.unwrap();
    assert_eq!((other.status, &other.json()["error"]), (422, &json!("idempotency_mismatch")), "seed {seed}");
    let status = ended(&server.base, &id).await;
    assert_eq!(status["status"], "succeeded", "seed {seed}: {status}");
    let page = caller.get(&server.base, &format!("/api/v1/jobs/{id}")).await.json();
    assert_eq!(page["deaths"], 1, "seed {seed}: {page}");
    check_figures(&server, &load, 0.0).await;
    let counted = caller.get(&server.base, "/public/metrics").await.json();
    assert_eq!(counted["jobs_today"], 3, "seed {seed}: {counted}");
}
