//! SQLite: one process, killed thirty times. Each start rescues what the one before left.

use std::time::{Duration, Instant};

use crate::audit::{Audit, Ended};
use crate::chance::Chance;
use crate::client::{Caller, Nodes};
use crate::load::Load;
use crate::recorder::Recorder;
use crate::server::{Site, now_ms};

const KILLS: usize = 30;
const CLIENTS: usize = 10;
const JOBS_A_LIFE: usize = 110;
/// After a start: until the first job that the kill before it interrupted has ended. The goal is a second; a machine that
/// builds something else beside this test needs longer.
const RECOVERY_LIMIT_MS: i64 = 10_000;

/// One life of the server, by the clock that job times are in.
struct Life {
    began_ms: i64,
    killed_ms: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_on_sqlite_lose_no_acknowledged_job_and_finish_none_twice() {
    let (mut chance, seed) = Chance::of_run("kill sqlite");
    let recorder = Recorder::start(chance.fork()).await;
    let site = Site::sqlite(None);
    let nodes = Nodes::new(1);
    let load = Load::new(nodes.clone(), recorder.base.clone());
    let clients = load.start(CLIENTS, &mut chance);

    let mut lives = Vec::new();
    for kill in 0..KILLS {
        // A start that is killed before it is over. No job may meet five deaths by our hand, so at most three lives in a row
        // end at any moment; the fourth lasts until what it found is finished.
        if kill % 4 != 3 && chance.one_in(5) {
            let server = site.spawn("node");
            tokio::time::sleep(Duration::from_millis(chance.between(1, 80))).await;
            server.kill().await;
            continue;
        }
        let promised: Vec<_> = load.ledger.promises();
        let server = site.start("node").await;
        nodes.set(0, Some(server.base.clone()));
        load.allow(JOBS_A_LIFE);
        if kill % 4 == 3 {
            finished(&server.base, promised.into_iter().map(|(_, id)| id), seed).await;
        }
        tokio::time::sleep(Duration::from_millis(chance.between(50, 500))).await;
        let began_ms = server.began_ms;
        server.kill().await;
        lives.push(Life { began_ms, killed_ms: now_ms() });
        nodes.set(0, None);
    }

    let server = site.start("node").await;
    nodes.set(0, Some(server.base.clone()));
    lives.push(Life { began_ms: server.began_ms, killed_ms: i64::MAX });
    clients.stop().await;
    let ended = Audit::new("kill sqlite", seed, &server.base, &load, &recorder)
        .settle_and_check(Duration::from_secs(90))
        .await;
    check_recovery(&lives, &ended);
}

/// Waits until these jobs are final.
async fn finished(base: &str, ids: impl Iterator<Item = String>, seed: u64) {
    let caller = Caller::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    for id in ids {
        loop {
            let answer = caller.get(base, &format!("/api/v1/status/{id}?wait=10s")).await;
            assert_eq!(
                answer.status,
                200,
                "seed {seed}: {id} was acknowledged, its status is {}",
                answer.text()
            );
            let status = answer.json();
            if status["status"] == "succeeded" || status["status"] == "failed" {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "seed {seed}: {id} is not finished a minute after a start: {status}"
            );
        }
    }
}

/// For each start: how long until the first job ended that was running in a process that died.
fn check_recovery(lives: &[Life], ended: &[Ended]) {
    let recovery_ms = |life: &Life| {
        let survivors = ended.iter().filter(|job| job.deaths > 0 && job.started_ms < life.began_ms);
        let here = survivors.filter(|job| (life.began_ms..life.killed_ms).contains(&job.finished_ms));
        here.map(|job| job.finished_ms - life.began_ms).min()
    };
    let mut recoveries: Vec<_> = lives.iter().filter_map(recovery_ms).collect();
    recoveries.sort_unstable();
    let (median, worst) = (recoveries[recoveries.len() / 2], recoveries[recoveries.len() - 1]);
    println!(
        "kill sqlite: start to first rescued job finished, {} starts: median {median} ms, worst {worst} ms",
        recoveries.len()
    );
    assert!(
        worst <= RECOVERY_LIMIT_MS,
        "a start took {worst} ms to finish its first rescued job: {recoveries:?}"
    );
}
