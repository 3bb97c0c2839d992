//! The graceful stop: running steps get their grace, the rest goes back to the queue, nothing is lost and nobody dies.

use std::time::Duration;

use levqor_core::state::State;
use levqor_engine::Settings;
use levqor_testkit::{Answer, Receiver, wait_until};

use crate::support::{CALL, Database, LIMIT, Node, TestClock, ask_with, attempts, by, settings};

each_engine!(
    a_stop_in_the_middle_of_200_jobs_loses_none_and_repeats_none,
    a_step_that_outlasts_the_grace_is_handed_back_without_a_death,
    nothing_new_starts_after_the_stop,
);

async fn a_stop_in_the_middle_of_200_jobs_loses_none_and_repeats_none(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::status(200).after(Duration::from_millis(150))]);
    let patient = || Settings { workers: 16, shutdown_grace_ms: 20_000, ..settings() };
    let node = Node::start(&database, patient(), TestClock::running()).await;
    node.put("call", CALL).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(node.submit(ask_with("call", &receiver)).await);
    }
    receiver.wait_for(20, LIMIT).await;

    node.stop().await;
    let called = receiver.received().len();
    let waiting = database.number("select count(*) from live_jobs where state = 'queued'").await;
    let running = database.number("select count(*) from live_jobs where state = 'running'").await;
    let node = Node::start(&database, patient(), TestClock::running()).await;

    assert!(called < 200 && waiting == 200 - called as i64, "{called} called, {waiting} waiting");
    assert_eq!(running, 0);
    for id in ids {
        let row = node.ended(id).await;
        assert_eq!((row.line.state, row.deaths), (State::Succeeded, 0));
        assert_eq!(attempts(&row, "call"), [("succeeded", 1)]);
    }
    assert_eq!(receiver.received().len(), 200);
}

async fn a_step_that_outlasts_the_grace_is_handed_back_without_a_death(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang(), Answer::status(200)]);
    let hasty = Settings { shutdown_grace_ms: 100, ..settings() };
    let node = Node::start(&database, hasty, TestClock::running()).await;
    node.put("call", CALL).await;
    let id = node.submit(ask_with("call", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;

    node.stop().await;
    let left = database.number("select count(*) from live_jobs where state = 'queued' and deaths = 0").await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let row = node.ended(id).await;

    assert_eq!(left, 1);
    assert_eq!((row.line.state, row.deaths), (State::Succeeded, 0));
    assert_eq!(receiver.received().len(), 2);
}

async fn nothing_new_starts_after_the_stop(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("call", CALL).await;

    (*node).stop().await;
    let id = node.submit(ask_with("call", &receiver)).await;

    assert_eq!(node.row(id).await.line.state, State::Queued);
    node.stop().await;
    assert!(receiver.received().is_empty());
}

/// A stop may take longer than the lease of a node that says nothing. PostgreSQL only: on SQLite there is no lease.
#[tokio::test]
async fn a_node_says_that_it_lives_until_its_last_step_is_over() {
    let database = Database::postgres().await;
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang()]);
    let patient = Settings { shutdown_grace_ms: 600_000, ..settings() };
    let node = Node::start(&database, patient, TestClock::running()).await;
    node.put("call", CALL).await;
    let id = node.submit(ask_with("call", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    let engine = (*node).clone();

    let stopping = tokio::spawn(async move { engine.stop().await });
    let beat = "select max(beat_at_ms) from nodes";
    for _ in 0..2 {
        let last = database.number(beat).await;
        wait_until(LIMIT, async || database.number(beat).await > last).await;
    }

    // Who asks for the end of that job is heard as well.
    node.cancel_job(id, by()).await.unwrap();
    tokio::time::timeout(LIMIT, stopping).await.unwrap().unwrap();
}
