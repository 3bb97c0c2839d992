//! Idempotent intake: the same request under the same key is the same job, whatever happened since.

use levqor_core::job::Idempotency;
use levqor_engine::{Accepted, IntakeError};
use levqor_testkit::wait_until;

use crate::support::{Database, LIMIT, NOOP, Node, TestClock, ask, by, settings};

each_engine!(
    the_same_key_gets_the_same_answer_after_a_restart_and_a_changed_definition,
    the_same_key_with_another_body_is_a_conflict_and_stores_nothing,
    twins_in_flight_become_one_job,
    a_status_that_is_waited_for_comes_with_the_end_of_the_job,
);

fn key(key: &str, body_hash: &str) -> Option<Idempotency> {
    Some(Idempotency { key: key.to_owned(), body_hash: body_hash.to_owned() })
}

async fn the_same_key_gets_the_same_answer_after_a_restart_and_a_changed_definition(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("noop", NOOP).await;
    let first = node.intake(ask("noop"), "ada", key("k", "hash")).await.unwrap();
    node.crash(&database).await;

    let node = Node::start(&database, settings(), TestClock::running()).await;
    let restarted = node.intake(ask("noop"), "ada", key("k", "hash")).await.unwrap();
    // The payload breaks this schema: as a new request it would be refused.
    node.put("noop", "{input: {type: object, required: [x]}, steps: [{id: only, transform: 1}]}").await;
    let changed = node.intake(ask("noop"), "ada", key("k", "hash")).await.unwrap();
    let new = node.intake(ask("noop"), "ada", key("other", "hash")).await;
    node.delete_workflow("noop", by()).await.unwrap();
    let deleted = node.intake(ask("noop"), "ada", key("k", "hash")).await.unwrap();
    let many = node.intake_many(vec![(ask("noop"), key("k", "hash"))], "ada").await.unwrap();

    let same = Accepted { job_id: first.job_id, replayed: true };
    assert!(!first.replayed);
    assert_eq!((restarted, changed, deleted), (same, same, same));
    assert_eq!(*many[0].as_ref().unwrap(), same);
    assert!(matches!(new, Err(IntakeError::InvalidPayload(_))), "{new:?}");
    assert_eq!(database.number("select count(*) from jobs").await, 1);
}

async fn the_same_key_with_another_body_is_a_conflict_and_stores_nothing(database: Database) {
    let node = Node::by_hand(&database, settings(), TestClock::running()).await;
    node.put("noop", NOOP).await;
    node.intake(ask("noop"), "ada", key("k", "one")).await.unwrap();

    let other_body = node.intake(ask("noop"), "ada", key("k", "two")).await;
    let other_caller = node.intake(ask("noop"), "bob", key("k", "two")).await.unwrap();

    assert!(matches!(other_body, Err(IntakeError::IdempotencyConflict)), "{other_body:?}");
    assert!(!other_caller.replayed, "keys are scoped by caller");
    assert_eq!(database.number("select count(*) from jobs").await, 2);
}

async fn twins_in_flight_become_one_job(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("noop", NOOP).await;

    let twins: Vec<_> = (0..40)
        .map(|_| {
            let engine = (*node).clone();
            tokio::spawn(async move { engine.intake(ask("noop"), "ada", key("k", "hash")).await })
        })
        .collect();
    let mut answers = Vec::new();
    for twin in twins {
        answers.push(twin.await.unwrap().unwrap());
    }

    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.job_id == answers[0].job_id));
    assert_eq!(database.number("select count(*) from jobs").await, 1);
    node.ended(answers[0].job_id).await;
}

async fn a_status_that_is_waited_for_comes_with_the_end_of_the_job(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let id = node.submit(ask("later")).await;
    let engine = (*node).clone();

    let waiting = tokio::spawn(async move { engine.status(id, Some(LIMIT * 10)).await });
    node.complete_job(id, "{}".to_owned(), by()).await.unwrap();
    wait_until(LIMIT, async || waiting.is_finished()).await;

    assert!(waiting.await.unwrap().unwrap().unwrap().state.is_final());
}
