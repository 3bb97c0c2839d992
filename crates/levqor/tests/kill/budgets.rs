//! Money under fire: nodes that call AI models die, freeze and come back, answers are lost, cut and late, and budgets run out
//! meanwhile. A provider that is a process of its own keeps the bill; it must never be over a limit, not by a nanodollar.
//!
//! `provider` is the other side, `house` what the nodes are told, `spend` the load, `books` what must be true in the end. `backup`
//! restores what was copied meanwhile; `points` ends nodes at exact moments, found by `gate` and `failpoint`.
//! Seeds are fixed; `LEVQOR_CHAOS_ROUNDS=<n>` runs n of them on each engine, `LEVQOR_KILL_SEED=<seed>` just that one. A round is
//! as many calls as fit into a minute; `LEVQOR_CHAOS_CALLS=20000` makes budgets, kills and time larger in proportion, which
//! is the full size that the ceiling is held to.

mod backup;
mod books;
mod failpoint;
mod gate;
mod house;
mod points;
mod provider;
mod spend;

use std::time::{Duration, Instant};

use levqor_testkit::wait_until;

use self::house::{House, Limits};
use self::provider::Provider;
use self::spend::Spenders;
use crate::chance::Chance;
use crate::client::Nodes;
use crate::server::{Server, now_ms};

/// At the same time, for each node.
const CLIENTS: usize = 32;
/// The calls that the usual budgets are enough for, and the deaths meanwhile.
const CALLS: u64 = 1_500;
const KILLS: u64 = 9;
/// Longer than usual budgets take to run out after the last kill.
const SPENDING: Duration = Duration::from_secs(45);
/// For budgets to run out after the last kill, and for calls that died to be charged: 15 s until a process counts as dead.
const RECOVERY: Duration = Duration::from_secs(75);

/// What an answer meets, in percent: every way in which nobody knows what became of a call, and refusals.
const FAULTS: [&str; 6] =
    ["drop_reply=0.05", "cut=0.05", "stall=0.05", "reset_before=0.02", "429=0.03", "500=0.02"];

/// What is never billed, and proven not to be.
const REFUSALS: [&str; 2] = ["429=0.05", "529=0.03"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_lost_answers_on_sqlite_spend_no_nanodollar_beyond_a_limit() {
    for seed in Chance::rounds(1) {
        round("budgets sqlite", House::sqlite, 1, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_lost_answers_among_three_nodes_on_postgres_spend_no_nanodollar_beyond_a_limit() {
    for seed in Chance::rounds(1) {
        let url = levqor_testkit::postgres_url().await;
        round("budgets postgres", move |limits, bill| House::postgres(url.clone(), limits, bill), 3, seed)
            .await;
    }
}

async fn round(test: &str, house: impl FnOnce(Limits, &str) -> House, count: usize, seed: u64) {
    println!("{test}: LEVQOR_KILL_SEED={seed}");
    let mut chance = Chance::of_seed(seed);
    let provider = Provider::start(&FAULTS, seed).await;
    let times = Chance::times(CALLS);
    let house = house(Limits::CHAOS.times(times), &provider.url);
    house.furnish().await;
    let nodes = Nodes::new(count);
    let spenders = Spenders::new(nodes.clone());

    let mut servers = Vec::new();
    for node in 0..count {
        servers.push(Some(start(&house, &nodes, node).await));
    }
    let load = spenders.start(CLIENTS * count, &mut chance);
    for _ in 0..KILLS * times {
        tokio::time::sleep(Duration::from_millis(chance.between(200, 1_200))).await;
        let first = chance.below(count as u64) as usize;
        let mut victims = vec![first];
        if count > 1 && chance.one_in(3) {
            victims.push((first + 1) % count);
        }
        for node in &victims {
            nodes.set(*node, None);
            servers[*node].take().expect("every node was started again").kill().await;
        }
        for node in victims {
            servers[node] = Some(start(&house, &nodes, node).await);
        }
    }
    if count > 1 {
        freeze(&house, &nodes, &spenders, servers[count - 1].as_ref().expect("all are up")).await;
    }
    spenders.spent_out(&provider, SPENDING * times as u32).await;
    load.stop().await;
    house.all_charged(RECOVERY).await;
    spenders.jobs_end(RECOVERY).await;
    house.all_charged(RECOVERY).await;
    for server in servers.into_iter().flatten() {
        let status = server.terminate(Duration::from_secs(45)).await;
        assert!(status.success(), "seed {seed}: SIGTERM of an idle node ended with {status}");
    }

    let bill = provider.bill().await;
    let run = format!("{test} (LEVQOR_KILL_SEED={seed})");
    books::check(&run, &house, &bill).await;
    spenders.check(&run);
}

/// A node stops in the middle of its calls for longer than it takes to count as dead: others charge them in full, and then
/// its own late charges come.
async fn freeze(house: &House, nodes: &Nodes, spenders: &Spenders, server: &Server) {
    let last = house.nodes() - 1;
    spenders.answered(20).await;
    nodes.set(last, None);
    server.signal("STOP").await;
    let stopped_ms = now_ms();
    let open = format!(
        "select count(*) from ai_calls where lease_until_ms is not null and reserved_at_ms < {stopped_ms}"
    );
    wait_until(Duration::from_secs(45), async || house.number(&open).await == 0).await;
    server.signal("CONT").await;
    nodes.set(last, Some(server.base.clone()));
}

async fn start(house: &House, nodes: &Nodes, node: usize) -> Server {
    let server = house.site.start(&format!("node{node}")).await;
    nodes.set(node, Some(server.base.clone()));
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_kills_nine_tenths_of_a_budget_can_be_used_and_the_bill_is_the_ledger() {
    for seed in Chance::rounds(1) {
        usable("usable sqlite", House::sqlite, seed).await;
        let url = levqor_testkit::postgres_url().await;
        usable("usable postgres", move |limits, bill| House::postgres(url.clone(), limits, bill), seed).await;
    }
}

async fn usable(test: &str, house: impl FnOnce(Limits, &str) -> House, seed: u64) {
    println!("{test}: LEVQOR_KILL_SEED={seed}");
    let mut chance = Chance::of_seed(seed);
    let provider = Provider::start(&REFUSALS, seed).await;
    let house = house(Limits::USABLE, &provider.url);
    house.furnish().await;
    let nodes = Nodes::new(1);
    let spenders = Spenders::new(nodes.clone());
    let began = Instant::now();
    let server = start(&house, &nodes, 0).await;
    let load = spenders.start(CLIENTS, &mut chance);
    spenders.refused_by("max-cost-per-day", 3 * CLIENTS).await;
    load.stop().await;
    spenders.jobs_end(RECOVERY).await;
    house.all_charged(RECOVERY).await;
    let status = server.terminate(Duration::from_secs(45)).await;
    assert!(status.success(), "seed {seed}: SIGTERM of an idle node ended with {status}");

    let bill = provider.bill().await;
    let run = format!("{test} (LEVQOR_KILL_SEED={seed})");
    books::check(&run, &house, &bill).await;
    let (limit, spent) = (Limits::USABLE.day_nano, house.spent().await);
    println!(
        "{run}: {} of {limit} nanodollars used in {:?}, {} calls",
        bill.total_nano,
        began.elapsed(),
        bill.calls
    );
    assert_eq!(bill.total_nano, spent, "{run}: nothing was lost, so the bill is the ledger");
    assert!(bill.total_nano * 10 >= limit * 9, "{run}: only {} of {limit} could be used", bill.total_nano);
}
