//! When a failed step runs again, when it does not, and what a retry by a person repeats.

use levqor_core::clock::Clock;
use levqor_core::state::State;
use levqor_store::Error;
use levqor_testkit::{Answer, Receiver};

use crate::support::{Database, LIMIT, Node, TestClock, ask_with, attempts, by, code, settings};

each_engine!(
    a_fixed_pause_is_kept_and_a_longer_retry_after_is_obeyed,
    an_exponential_pause_doubles_up_to_its_maximum_and_then_the_step_fails,
    an_answer_that_says_the_request_is_wrong_is_not_repeated,
    a_peer_that_takes_no_connections_is_tried_again,
    a_retry_goes_on_at_the_failed_step_and_repeats_nothing_that_succeeded,
    one_retry_is_enough_for_a_job_that_was_cancelled_during_a_step_that_must_not_run_twice,
    only_a_job_that_did_not_succeed_can_be_retried,
);

const RETRIED: &str = r#"
steps:
  - id: call
    http: {method: POST, url: "{{ payload.base }}/call"}
    retry: {attempts: 3, backoff: fixed, first: 10s, jitter: false}
"#;

async fn a_fixed_pause_is_kept_and_a_longer_retry_after_is_obeyed(database: Database) {
    let receiver = Receiver::start().await;
    let late = Answer::status(429).retry_after("60");
    let soon = Answer::status(503).retry_after("3");
    receiver.script("/call", [late, soon, Answer::status(200)]);
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("retried", RETRIED).await;
    let id = node.submit(ask_with("retried", &receiver)).await;

    for pause_ms in [60_000, 10_000] {
        node.turn_jobs(1).await.unwrap();
        let row = node.row(id).await;
        assert_eq!(row.line.state, State::Waiting, "{row:?}");
        assert_eq!(row.line.due_at_ms, Some(clock.now_ms() + pause_ms));
        clock.advance(pause_ms - 1);
        assert_eq!(node.move_due(&clock).await, 0, "not a moment earlier");
        clock.advance(1);
        assert_eq!(node.move_due(&clock).await, 1);
    }
    node.turn_jobs(1).await.unwrap();

    let row = node.row(id).await;
    assert_eq!(row.line.state, State::Succeeded);
    assert_eq!(attempts(&row, "call"), [("failed", 1), ("failed", 2), ("succeeded", 3)]);
    assert_eq!(receiver.received().len(), 3);
}

async fn an_exponential_pause_doubles_up_to_its_maximum_and_then_the_step_fails(database: Database) {
    let receiver = Receiver::start().await;
    receiver.statuses("/call", &[500]);
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    let source = RETRIED.replace(
        "{attempts: 3, backoff: fixed, first: 10s, jitter: false}",
        "{attempts: 4, backoff: exponential, first: 1s, max: 3s, jitter: false}",
    );
    node.put("retried", &source).await;
    let id = node.submit(ask_with("retried", &receiver)).await;

    for pause_ms in [1_000, 2_000, 3_000] {
        node.turn_jobs(1).await.unwrap();
        assert_eq!(node.row(id).await.line.due_at_ms, Some(clock.now_ms() + pause_ms));
        clock.advance(pause_ms);
        assert_eq!(node.move_due(&clock).await, 1);
    }
    node.turn_jobs(1).await.unwrap();

    let row = node.row(id).await;
    let error = row.error.clone().unwrap();
    assert_eq!((row.line.state, code(&row)), (State::Failed, "http_status"));
    assert_eq!(error.step.as_deref(), Some("call"));
    assert!(error.message.contains("500"), "{error:?}");
    assert_eq!(receiver.received().len(), 4);
}

async fn an_answer_that_says_the_request_is_wrong_is_not_repeated(database: Database) {
    let receiver = Receiver::start().await;
    receiver.statuses("/call", &[404]);
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;
    node.put("retried", RETRIED).await;
    let id = node.submit(ask_with("retried", &receiver)).await;

    node.turn_jobs(1).await.unwrap();

    let row = node.row(id).await;
    assert_eq!((row.line.state, code(&row)), (State::Failed, "http_status"));
    assert_eq!(receiver.received().len(), 1);
}

async fn a_peer_that_takes_no_connections_is_tried_again(database: Database) {
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("retried", RETRIED).await;
    let receiver = Receiver::start().await;
    let id = node.submit(ask_with("retried", &receiver)).await;
    drop(receiver);

    node.turn_jobs(1).await.unwrap();

    let row = node.row(id).await;
    assert_eq!(row.line.state, State::Waiting, "{row:?}");
    let error = row.steps[0].error.clone().unwrap();
    assert_eq!(error.code, "connect_failed");
    assert!(!error.message.contains("os error"), "{error:?}");
}

async fn a_retry_goes_on_at_the_failed_step_and_repeats_nothing_that_succeeded(database: Database) {
    let receiver = Receiver::start().await;
    receiver.statuses("/second", &[400, 200]);
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    let source = r#"
steps:
  - {id: first, http: {method: POST, url: "{{ payload.base }}/first"}}
  - {id: second, http: {method: POST, url: "{{ payload.base }}/second"}}
"#;
    node.put("two", source).await;
    let mut request = ask_with("two", &receiver);
    request.callback_url = Some(receiver.url("/callback"));
    let id = node.submit(request).await;
    node.turn_jobs(1).await.unwrap();
    node.turn_callbacks(10).await.unwrap();
    assert_eq!(node.row(id).await.line.state, State::Failed);

    // The callback of another end is another event, also within the same millisecond.
    node.retry_job(id, by()).await.unwrap();
    node.turn_jobs(1).await.unwrap();
    node.turn_callbacks(10).await.unwrap();

    let row = node.row(id).await;
    assert_eq!(row.line.state, State::Succeeded, "{row:?}");
    assert_eq!(attempts(&row, "first"), [("succeeded", 1)]);
    assert_eq!(attempts(&row, "second"), [("retried", 1), ("succeeded", 2)]);
    assert_eq!(receiver.received_at("/first").len(), 1);
    let callbacks = receiver.received_at("/callback");
    let kinds: Vec<_> = callbacks.iter().map(|callback| callback.json()["type"].clone()).collect();
    assert_eq!(kinds, ["job.failed", "job.succeeded"]);
    assert_ne!(callbacks[0].header("webhook-id"), callbacks[1].header("webhook-id"));
}

async fn one_retry_is_enough_for_a_job_that_was_cancelled_during_a_step_that_must_not_run_twice(
    database: Database,
) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang(), Answer::status(200)]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
steps:
  - {id: call, rerun: never, http: {method: POST, url: "{{ payload.base }}/call"}}
"#;
    node.put("once", source).await;
    let id = node.submit(ask_with("once", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    node.cancel_job(id, by()).await.unwrap();

    node.retry_job(id, by()).await.unwrap();
    let row = node.ended(id).await;

    assert_eq!(row.line.state, State::Succeeded, "{row:?}");
    assert_eq!(attempts(&row, "call"), [("retried", 1), ("succeeded", 2)]);
    assert_eq!(receiver.received().len(), 2);
}

async fn only_a_job_that_did_not_succeed_can_be_retried(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;
    node.put("retried", RETRIED).await;
    let id = node.submit(ask_with("retried", &receiver)).await;

    assert!(matches!(node.retry_job(id, by()).await, Err(Error::Conflict { .. })), "it is still live");
    node.turn_jobs(1).await.unwrap();
    assert!(matches!(node.retry_job(id, by()).await, Err(Error::Conflict { .. })), "it succeeded");
    assert_eq!(receiver.received().len(), 1);
}
