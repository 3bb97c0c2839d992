//! Which definition a job runs on: none yet, the one at its first claim, the one it began with, one that is gone.

use std::time::Duration;

use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::Idempotency;
use levqor_core::state::State;
use levqor_engine::{Accepted, IntakeError};
use levqor_testkit::{Answer, Receiver, wait_until};
use serde_json::json;

use crate::support::{Database, LIMIT, NOOP, Node, TestClock, ask, ask_with, by, code, result, settings};

each_engine!(
    a_job_without_a_definition_waits_outside_the_queue_and_says_for_what,
    a_job_gets_the_version_that_is_current_at_its_first_claim_and_is_checked_then,
    a_running_job_stays_on_its_version,
    a_deleted_name_is_refused_and_its_running_jobs_go_on,
    a_job_without_a_definition_can_be_cancelled_and_completed,
    a_job_that_came_in_beside_its_definition_starts_within_seconds,
);

async fn a_job_without_a_definition_waits_outside_the_queue_and_says_for_what(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("noop", NOOP).await;

    let waiting = node.submit(ask("later")).await;
    let other = node.submit(ask("noop")).await;
    node.ended(other).await;
    let view = node.find_job(waiting).await.unwrap().unwrap();
    node.put("later", NOOP).await;
    let row = node.ended(waiting).await;

    assert_eq!((view.row.line.state, view.row.claim), (State::Undefined, 0), "nobody claimed it");
    assert!(view.waits_for.unwrap().contains("definition of workflow `later`"));
    assert_eq!((row.line.state, row.line.version), (State::Succeeded, Some(1)));
}

async fn a_job_gets_the_version_that_is_current_at_its_first_claim_and_is_checked_then(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;
    let good = node.submit(ask_with("later", &receiver)).await;
    let mut request = ask("later");
    request.callback_url = Some(receiver.url("/callback"));
    let bad = node.submit(request).await;

    node.put("later", "{steps: [{id: only, transform: old}]}").await;
    let source = "{input: {type: object, required: [base]}, steps: [{id: only, transform: new}]}";
    node.put("later", source).await;
    node.turn_jobs(10).await.unwrap();
    node.turn_callbacks(10).await.unwrap();

    let (good, bad) = (node.row(good).await, node.row(bad).await);
    assert_eq!((good.line.state, good.line.version), (State::Succeeded, Some(2)));
    assert_eq!(result(&good), json!({"only": "new"}));
    assert_eq!((bad.line.state, code(&bad), bad.line.version), (State::Failed, "invalid_payload", Some(2)));
    assert!(!bad.error.unwrap().fields.unwrap().is_empty(), "the places are named");
    let callback = receiver.received_at("/callback")[0].json();
    assert_eq!((&callback["type"], &callback["data"]["version"]), (&json!("job.failed"), &json!(2)));
}

async fn a_running_job_stays_on_its_version(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::status(200).after(Duration::from_millis(300)), Answer::status(200)]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let version = |word: &str| {
        format!(
            r#"{{steps: [{{id: call, http: {{url: "{{{{ payload.base }}}}/call"}}}}, {{id: word, transform: {word}}}], output: "{{{{ steps.word.output }}}}"}}"#
        )
    };
    node.put("changing", &version("old")).await;

    let first = node.submit(ask_with("changing", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    node.put("changing", &version("new")).await;
    let second = node.submit(ask_with("changing", &receiver)).await;
    let (first, second) = (node.ended(first).await, node.ended(second).await);

    assert_eq!((result(&first), first.line.version), (json!("old"), Some(1)));
    assert_eq!((result(&second), second.line.version), (json!("new"), Some(2)));
}

async fn a_deleted_name_is_refused_and_its_running_jobs_go_on(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::status(200).after(Duration::from_millis(300))]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("going", crate::support::CALL).await;
    let running = node.submit(ask_with("going", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;

    node.delete_workflow("going", by()).await.unwrap();
    let refused = node.intake(ask_with("going", &receiver), "tester", None).await;
    let row = node.ended(running).await;
    node.put("going", NOOP).await;
    let again = node.submit(ask("going")).await;
    let again = node.ended(again).await;

    assert!(matches!(&refused, Err(IntakeError::WorkflowDeleted(name)) if name == "going"), "{refused:?}");
    assert_eq!(row.line.state, State::Succeeded);
    assert_eq!((again.line.state, again.line.version), (State::Succeeded, Some(2)));
}

/// PostgreSQL only: on SQLite there is no other node.
#[tokio::test]
async fn a_name_that_was_deleted_elsewhere_a_moment_ago_is_refused_by_a_node_that_has_not_heard_of_it() {
    let database = Database::postgres().await;
    let deaf = Node::by_hand(&database, settings(), TestClock::running()).await;
    let other = Node::by_hand(&database, settings(), TestClock::running()).await;
    deaf.put("going", NOOP).await;
    let key = || Some(Idempotency { key: "k".to_owned(), body_hash: "b".to_owned() });
    let first = deaf.intake(ask("going"), "tester", key()).await.unwrap();

    other.delete_workflow("going", by()).await.unwrap();
    let refused = deaf.intake(ask("going"), "tester", None).await;
    let batch = vec![(ask("going"), None), (ask("nobody"), None), (ask("going"), key())];
    let verdicts = deaf.intake_many(batch, "tester").await.unwrap();

    let is_deleted = |verdict: &Result<Accepted, IntakeError>| matches!(verdict, Err(IntakeError::WorkflowDeleted(name)) if name == "going");
    assert!(is_deleted(&refused), "{refused:?}");
    assert!(is_deleted(&verdicts[0]) && verdicts[1].is_ok(), "{verdicts:?}");
    assert_eq!(verdicts[2].as_ref().unwrap(), &Accepted { job_id: first.job_id, replayed: true });
    other.put("going", NOOP).await;
    assert!(deaf.intake(ask("going"), "tester", None).await.is_ok(), "put again, taken again");
}

async fn a_job_without_a_definition_can_be_cancelled_and_completed(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let (cancelled, completed) = (node.submit(ask("never")).await, node.submit(ask("never")).await);

    node.cancel_job(cancelled, by()).await.unwrap();
    node.complete_job(completed, r#"{"by":"hand"}"#.to_owned(), by()).await.unwrap();

    assert_eq!(node.row(cancelled).await.line.state, State::Cancelled);
    assert_eq!(result(&node.row(completed).await), json!({"by": "hand"}));
}

/// The node that claims may not have heard of a definition that another node took in a moment ago. PostgreSQL only: on
/// SQLite there is no other node.
#[tokio::test]
async fn a_node_that_has_not_heard_of_a_definition_runs_its_jobs_all_the_same() {
    let database = Database::postgres().await;
    let deaf = Node::by_hand(&database, settings(), TestClock::running()).await;
    let other = Node::by_hand(&database, settings(), TestClock::running()).await;
    let id = other.submit(ask("fresh")).await;
    other.put("fresh", NOOP).await;

    deaf.turn_jobs(1).await.unwrap();

    let row = deaf.row(id).await;
    assert_eq!((row.line.state, row.line.version), (State::Succeeded, Some(1)));
}

/// An intake that began before a definition came and was committed after it: nobody announces that job.
async fn a_job_that_came_in_beside_its_definition_starts_within_seconds(database: Database) {
    let clock = TestClock::running();
    let node = Node::start(&database, settings(), clock.clone()).await;
    node.put("fresh", NOOP).await;
    let now_ms = clock.now_ms();
    let id = JobId::new(now_ms, [7; 10]);
    let job = ask("fresh").into_new_job(id, None, "tester".to_owned(), now_ms, None);

    node.store().intake(job).await.unwrap();

    let limit = Duration::from_secs(10);
    wait_until(limit, async || node.row(id).await.line.state == State::Succeeded).await;
}
