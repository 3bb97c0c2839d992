//! Time limits of steps and jobs, and the `wait` step, which rests without a slot.

use std::time::{Duration, Instant};

use levqor_core::state::State;
use levqor_engine::Settings;
use levqor_testkit::{Act, Answer, Receiver, Script, wait_until};

use crate::support::{CALL, Database, LIMIT, NOOP, Node, TestClock, ask, ask_with, code, settings};

each_engine!(
    a_step_that_takes_too_long_fails_with_a_timeout,
    a_job_that_takes_too_long_expires_and_its_call_is_given_up,
    a_job_that_rests_too_long_expires_at_its_time_limit,
    a_waiting_job_holds_no_slot,
    a_short_wait_is_over_when_it_says_so,
    a_job_with_run_at_starts_then,
    calls_still_go_out_long_after_the_start,
);

async fn a_step_that_takes_too_long_fails_with_a_timeout(database: Database) {
    let peer = Script::start(vec![Act::ReadRequest, Act::Hang]).await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("slow", r#"{steps: [{id: call, timeout: 200ms, http: {url: "{{ payload.url }}"}}]}"#).await;
    let mut request = ask("slow");
    request.payload = format!(r#"{{"url":"{}"}}"#, peer.url("/"));

    let id = node.submit(request).await;
    let row = node.ended(id).await;

    assert_eq!((row.line.state, code(&row)), (State::Failed, "timeout"));
    assert_eq!(row.error.unwrap().step.as_deref(), Some("call"));
    wait_until(LIMIT, async || peer.closed() == 1).await;
}

async fn a_job_that_takes_too_long_expires_and_its_call_is_given_up(database: Database) {
    let peer = Script::start(vec![Act::ReadRequest, Act::Hang]).await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("slow", r#"{timeout: 300ms, steps: [{id: call, http: {url: "{{ payload.url }}"}}]}"#).await;
    let mut request = ask("slow");
    request.payload = format!(r#"{{"url":"{}"}}"#, peer.url("/"));

    let id = node.submit(request).await;
    let row = node.ended(id).await;

    assert_eq!((row.line.state, code(&row)), (State::Expired, "expired"));
    assert!(row.error.unwrap().message.contains("300ms"));
    wait_until(LIMIT, async || peer.closed() == 1 && node.running_jobs() == 0).await;
}

async fn a_job_that_rests_too_long_expires_at_its_time_limit(database: Database) {
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("rests", r#"{timeout: 1m, steps: [{id: pause, wait: "{{ payload.long }}"}]}"#).await;
    let mut request = ask("rests");
    request.payload = r#"{"long":"1h"}"#.to_owned();
    let id = node.submit(request).await;

    node.turn_jobs(1).await.unwrap();
    clock.advance(59_999);
    assert_eq!(node.move_due(&clock).await, 0);
    clock.advance(1);
    assert_eq!(node.move_due(&clock).await, 1);
    node.turn_jobs(1).await.unwrap();

    assert_eq!(node.row(id).await.line.state, State::Expired);
}

async fn a_waiting_job_holds_no_slot(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::start(&database, Settings { workers: 1, ..settings() }, TestClock::running()).await;
    node.put("rests", "{steps: [{id: pause, wait: 1h}]}").await;
    node.put("call", CALL).await;

    let resting = node.submit(ask("rests")).await;
    node.when(resting, |row| row.line.state == State::Waiting).await;
    let other = node.submit(ask_with("call", &receiver)).await;

    assert_eq!(node.ended(other).await.line.state, State::Succeeded);
    assert_eq!(node.row(resting).await.line.state, State::Waiting);
}

async fn a_short_wait_is_over_when_it_says_so(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("rests", "{steps: [{id: a, wait: 50ms}, {id: b, wait: 50ms}, {id: c, wait: 50ms}]}").await;

    let began = Instant::now();
    let id = node.submit(ask("rests")).await;
    let row = node.ended(id).await;

    assert_eq!(row.line.state, State::Succeeded);
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert!(began.elapsed() < Duration::from_secs(5), "three waits of 50 ms took {:?}", began.elapsed());
}

async fn a_job_with_run_at_starts_then(database: Database) {
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("noop", NOOP).await;
    let later = levqor_core::clock::Clock::now_ms(&*clock) + 60_000;
    let mut request = ask("noop");
    request.run_at_ms = Some(later);

    let id = node.submit(request).await;
    let first = node.row(id).await;
    clock.advance(59_999);
    let early = node.move_due(&clock).await;
    clock.advance(1);
    let moved = node.move_due(&clock).await;
    node.turn_jobs(1).await.unwrap();

    assert_eq!((first.line.state, first.line.due_at_ms), (State::Scheduled, Some(later)));
    assert_eq!((early, moved), (0, 1));
    assert_eq!(node.row(id).await.line.state, State::Succeeded);
}

/// A node that cannot say that it lives stops calling out; one that can, and one that is alone, must not. The lease, less
/// its margin, is 12 s.
async fn calls_still_go_out_long_after_the_start(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/first", [Answer::status(200).after(Duration::from_secs(13))]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
steps:
  - {id: first, http: {url: "{{ payload.base }}/first"}}
  - {id: second, http: {url: "{{ payload.base }}/second"}}
"#;
    node.put("long", source).await;

    let id = node.submit(ask_with("long", &receiver)).await;
    let row = node.ended(id).await;

    let calls = receiver.received();
    let pause = calls[1].at.duration_since(calls[0].at);
    assert_eq!(row.line.state, State::Succeeded);
    assert!(pause < Duration::from_secs(16), "the second call left {pause:?} after the first");
}
