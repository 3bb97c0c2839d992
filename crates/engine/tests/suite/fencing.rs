//! Jobs that were taken away: what their former owner still records changes nothing, and its run stops.

use levqor_core::job::{Fenced, Finish, JobError, Record, StepRow, StepStatus, Then};
use levqor_core::state::State;
use levqor_engine::Completed;
use levqor_store::Error;
use levqor_testkit::{Act, Answer, Receiver, Script, wait_until};
use serde_json::json;

use crate::support::{CALL, Database, LIMIT, Node, TestClock, ask, ask_with, by, result, settings};

each_engine!(
    late_records_of_a_job_that_was_completed_change_nothing,
    late_records_of_a_job_that_was_rescued_change_nothing,
    cancelling_a_job_gives_up_its_running_call,
    completing_a_job_gives_up_its_running_call,
    a_job_that_ended_cannot_be_ended_otherwise,
);

/// Everything that a run could still hand in.
fn late(id: levqor_core::id::JobId, claim: i64) -> Vec<Record> {
    let step = StepRow {
        step: "call".to_owned(),
        attempt: 9,
        status: StepStatus::Failed,
        started_at_ms: 1,
        finished_at_ms: Some(2),
        until_ms: None,
        output: None,
        error: Some(JobError::new("late", "late")),
    };
    let finish = Finish {
        state: State::Failed,
        finished_at_ms: 3,
        result: None,
        error: Some(JobError::new("late", "late")),
        callback: None,
    };
    let thens = [Then::Stay, Then::Rest { until_ms: 1 }, Then::HandBack, Then::Park, Then::Finish(finish)];
    thens.map(|then| Record { id, claim, pin: Some(7), steps: vec![step.clone()], then }).to_vec()
}

async fn late_records_of_a_job_that_was_completed_change_nothing(database: Database) {
    let receiver = Receiver::start().await;
    let clock = TestClock::running();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("call", CALL).await;
    let id = node.submit(ask_with("call", &receiver)).await;
    let clock: std::sync::Arc<dyn levqor_core::clock::Clock> = clock;
    let claimed = node.store().claim(1, &clock).await.unwrap().remove(0);

    node.complete_job(id, r#"{"by":"hand"}"#.to_owned(), by()).await.unwrap();
    let before = node.row(id).await;
    for record in late(id, claimed.claim) {
        assert_eq!(node.store().record(record).await.unwrap(), Fenced::Stale);
    }

    assert_eq!(node.row(id).await, before);
    assert_eq!(result(&before), json!({"by": "hand"}));
}

async fn late_records_of_a_job_that_was_rescued_change_nothing(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang(), Answer::hang()]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("call", CALL).await;
    let id = node.submit(ask_with("call", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    let old = node.row(id).await.claim;
    node.crash(&database).await;

    let node = Node::start(&database, settings(), TestClock::running()).await;
    receiver.wait_for(2, LIMIT).await;
    let before = node.row(id).await;
    for record in late(id, old) {
        assert_eq!(node.store().record(record).await.unwrap(), Fenced::Stale);
    }

    assert_eq!(node.row(id).await, before);
    assert_eq!((before.line.state, before.claim, before.deaths), (State::Running, old + 1, 1));
    assert_eq!(node.running_jobs(), 1, "the new run goes on");
}

async fn cancelling_a_job_gives_up_its_running_call(database: Database) {
    let peer = Script::start(vec![Act::ReadRequest, Act::Hang]).await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let id = submit_hanging(&node, &peer).await;

    node.cancel_job(id, by()).await.unwrap();
    node.cancel_job(id, by()).await.unwrap();
    wait_until(LIMIT, async || peer.closed() == 1 && node.running_jobs() == 0).await;

    let row = node.row(id).await;
    assert_eq!(row.line.state, State::Cancelled);
    assert!(row.steps.is_empty(), "{row:?}");
}

async fn completing_a_job_gives_up_its_running_call(database: Database) {
    let peer = Script::start(vec![Act::ReadRequest, Act::Hang]).await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let id = submit_hanging(&node, &peer).await;

    let first = node.complete_job(id, r#"{"a":1,"b":2}"#.to_owned(), by()).await.unwrap();
    wait_until(LIMIT, async || peer.closed() == 1 && node.running_jobs() == 0).await;
    let again = node.complete_job(id, r#"{"b":2,"a":1}"#.to_owned(), by()).await.unwrap();
    let other = node.complete_job(id, r#"{"a":2}"#.to_owned(), by()).await;

    assert_eq!((first, again), (Completed::Now, Completed::Before));
    assert!(matches!(other, Err(Error::Conflict { .. })), "{other:?}");
    let row = node.row(id).await;
    assert_eq!((row.line.state, result(&row)), (State::Succeeded, json!({"a": 1, "b": 2})));
}

async fn submit_hanging(node: &Node, peer: &Script) -> levqor_core::id::JobId {
    node.put("hangs", r#"{steps: [{id: call, http: {url: "{{ payload.url }}"}}]}"#).await;
    let mut request = ask("hangs");
    request.payload = format!(r#"{{"url":"{}"}}"#, peer.url("/"));
    let id = node.submit(request).await;
    wait_until(LIMIT, async || peer.requests().len() == 1).await;
    id
}

async fn a_job_that_ended_cannot_be_ended_otherwise(database: Database) {
    let node = Node::by_hand(&database, settings(), TestClock::running()).await;
    let id = node.submit(ask("never")).await;
    node.cancel_job(id, by()).await.unwrap();

    let completed = node.complete_job(id, "{}".to_owned(), by()).await;

    assert!(matches!(completed, Err(Error::Conflict { .. })), "{completed:?}");
    assert_eq!(node.row(id).await.line.state, State::Cancelled);
}

/// Two nodes that both believe in themselves. PostgreSQL only: on SQLite the file's lock keeps the second one out.
#[tokio::test]
async fn a_node_that_was_taken_for_dead_stops_its_run_and_the_job_ends_once() {
    let database = Database::postgres().await;
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang(), Answer::json(&json!({"by": "the second"}))]);
    let slow = Node::start(&database, settings(), TestClock::running()).await;
    slow.put("call", CALL).await;
    let id = slow.submit(ask_with("call", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    let other = Node::by_hand(&database, settings(), TestClock::running()).await;

    // The slow node says again and again that it lives; the rescue must come in between.
    wait_until(LIMIT, async || {
        database.bury(&slow.name).await;
        other.store().rescue(500).await.unwrap() == 1
    })
    .await;
    let row = slow.ended(id).await;
    wait_until(LIMIT, async || slow.running_jobs() == 0).await;

    assert_eq!((row.line.state, row.claim, row.deaths), (State::Succeeded, 2, 1));
    assert_eq!(result(&row)["call"]["body"]["by"], "the second");
    assert_eq!(receiver.received().len(), 2);
}

/// PostgreSQL only: on SQLite there is one node.
#[tokio::test]
async fn a_cancel_on_one_node_stops_the_run_on_another() {
    let database = Database::postgres().await;
    let peer = Script::start(vec![Act::ReadRequest, Act::Hang]).await;
    let runs = Node::start(&database, settings(), TestClock::running()).await;
    let cancels = Node::by_hand(&database, settings(), TestClock::running()).await;
    let id = submit_hanging(&runs, &peer).await;

    cancels.cancel_job(id, by()).await.unwrap();

    wait_until(LIMIT, async || peer.closed() == 1 && runs.running_jobs() == 0).await;
    assert_eq!(runs.row(id).await.line.state, State::Cancelled);
}

/// A second process on the same SQLite file is refused, so the lock is a part of the fence there.
#[tokio::test]
async fn a_second_store_on_the_same_file_is_refused() {
    let database = Database::sqlite();
    let node = Node::by_hand(&database, settings(), TestClock::running()).await;

    let second = levqor_store::Store::open(&database.location(), "second").await;

    assert!(matches!(second.err(), Some(Error::Refused { .. })));
    drop(node);
}
