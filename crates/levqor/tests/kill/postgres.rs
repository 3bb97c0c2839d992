//! PostgreSQL: three processes on one database; one or two of them die twenty times, the others go on. Then one is frozen in
//! the middle of its work for longer than its lease, so that its late answers meet jobs that others have taken.

use std::time::Duration;

use levqor_testkit::wait_until;

use crate::audit::Audit;
use crate::chance::Chance;
use crate::client::{Caller, Nodes};
use crate::load::Load;
use crate::recorder::Recorder;
use crate::server::{Server, Site};

const KILLS: usize = 20;
const NODES: usize = 3;
const CLIENTS: usize = 12;
const JOBS_A_ROUND: usize = 110;
/// Jobs that are under way when a node is frozen; it holds its share of them.
const HELD: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_among_three_processes_on_postgres_lose_no_acknowledged_job_and_finish_none_twice() {
    let (mut chance, seed) = Chance::of_run("kill postgres");
    let recorder = Recorder::start(chance.fork()).await;
    let site = Site::postgres(levqor_testkit::postgres_url().await);
    let nodes = Nodes::new(NODES);
    let load = Load::new(nodes.clone(), recorder.base.clone());
    let clients = load.start(CLIENTS, &mut chance);

    // All at once: they agree on who migrates.
    let (a, b, c) = tokio::join!(site.start("node0"), site.start("node1"), site.start("node2"));
    let mut servers: Vec<Option<Server>> = [a, b, c].map(Some).into();
    for (node, server) in servers.iter().flatten().enumerate() {
        nodes.set(node, Some(server.base.clone()));
    }

    for _ in 0..KILLS {
        load.allow(JOBS_A_ROUND);
        tokio::time::sleep(Duration::from_millis(chance.between(50, 600))).await;
        let first = chance.below(NODES as u64) as usize;
        let mut victims = vec![first];
        if chance.one_in(3) {
            victims.push((first + 1) % NODES);
        }
        for node in &victims {
            servers[*node].take().expect("every node was started again").kill().await;
            nodes.set(*node, None);
        }
        // The others work alone for a moment.
        tokio::time::sleep(Duration::from_millis(chance.below(150))).await;
        for node in victims {
            let server = site.start(&format!("node{node}")).await;
            nodes.set(node, Some(server.base.clone()));
            servers[node] = Some(server);
        }
    }

    let node = servers[NODES - 1].as_ref().expect("all are up");
    let held = freeze(node, &load, &recorder).await;

    clients.stop().await;
    let base = servers[0].as_ref().expect("all are up").base.clone();
    // A lease of 15 s until rescue, one of 20 s for a callback that was under way, a look for definitions every 30 s.
    Audit::new("kill postgres", seed, &base, &load, &recorder)
        .settle_and_check(Duration::from_secs(120))
        .await;
    for (token, id) in held {
        let page = Caller::new().get(&base, &format!("/api/v1/jobs/{id}")).await.json();
        let recorded = &page["steps"][0]["attempts"][0]["output"]["body"]["call"];
        let last = recorder.calls_of(&token, "hold");
        assert_eq!(
            *recorded, last,
            "seed {seed}: a late answer was recorded over the claim of another node: {page}"
        );
    }
    for server in servers.into_iter().flatten() {
        let status = server.terminate(Duration::from_secs(45)).await;
        assert!(status.success(), "seed {seed}: SIGTERM of an idle server ended with {status}");
    }
}

/// Freezes a node while it waits for answers, and lets it go on when others have taken its jobs up: the old answers arrive
/// while the new calls are out. Returns tokens and ids of these jobs.
async fn freeze(server: &Server, load: &Load, recorder: &Recorder) -> Vec<(String, String)> {
    let mut held = Vec::new();
    for number in 0..HELD {
        let token = format!("held-{number}");
        // The first answer comes in the middle of the freeze, the later one well after it.
        let id = load.submit_slow(&server.base, &token, Duration::from_secs(5), Duration::from_secs(6)).await;
        held.push((token, id));
    }
    let calls = || held.iter().map(|(token, _)| recorder.calls_of(token, "hold"));
    wait_until(Duration::from_secs(30), async || calls().all(|count| count > 0)).await;
    load.allow(JOBS_A_ROUND);
    server.signal("STOP").await;
    load.nodes.set(NODES - 1, None);
    // A lease of 15 s, and then a claim.
    wait_until(Duration::from_secs(45), async || calls().any(|count| count > 1)).await;
    load.allow(JOBS_A_ROUND);
    server.signal("CONT").await;
    load.nodes.set(NODES - 1, Some(server.base.clone()));
    println!(
        "kill postgres: {} jobs of a frozen node were taken up by others",
        calls().filter(|count| *count > 1).count()
    );
    held
}
