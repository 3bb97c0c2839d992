//! Receivers that are slow, dead or not to be called: what they do to others, and what is recorded of them.

use std::time::{Duration, Instant};

use levqor_core::address::OutboundPolicy;
use levqor_core::id::JobId;
use levqor_core::intake::IntakeRequest;
use levqor_core::state::State;
use levqor_engine::Settings;
use levqor_store::{CallbackState, CallbackTry, JobRow};
use levqor_testkit::{Answer, Receiver, wait_until};

use crate::support::{Database, LIMIT, NOOP, Node, TestClock, ask, settings};

each_engine!(
    a_receiver_that_hangs_holds_up_nobody_and_is_given_up_after_15_s,
    many_receivers_that_hang_hold_up_nobody,
    more_receivers_hang_than_there_are_slots_and_one_that_nobody_knows_is_served,
    a_receiver_that_nobody_runs_is_recorded_without_internals,
    an_address_inside_is_refused_when_it_is_called,
    a_try_whose_process_died_is_made_again_and_reads_lost,
);

async fn submit_to(node: &Node, url: String) -> JobId {
    let mut request = ask("noop");
    request.callback_url = Some(url);
    node.submit(request).await
}

async fn tried(node: &Node, id: JobId) -> (JobRow, CallbackTry) {
    let row = node.when(id, |row| row.callbacks.iter().any(|it| !it.tries.is_empty())).await;
    let first = row.callbacks[0].tries[0].clone();
    (row, first)
}

async fn a_receiver_that_hangs_holds_up_nobody_and_is_given_up_after_15_s(database: Database) {
    let (dead, well) = (Receiver::start().await, Receiver::start().await);
    dead.script("/", [Answer::hang()]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("noop", NOOP).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(submit_to(&node, dead.url("/")).await);
    }
    for id in &ids {
        node.ended(*id).await;
    }
    dead.wait_for(1, LIMIT).await;

    let began = Instant::now();
    let other = submit_to(&node, well.url("/")).await;
    well.wait_for(1, LIMIT).await;
    let took = began.elapsed();
    node.when(other, |row| row.callbacks[0].state == CallbackState::Delivered).await;
    wait_until(LIMIT, async || database.number("select count(*) from callback_tries").await > 1).await;

    assert!(took < Duration::from_secs(2), "the other receiver waited {took:?}");
    assert!(dead.received().len() <= 8, "{} calls to a dead receiver", dead.received().len());
    let first = "select min(duration_ms) from callback_tries where status is null";
    let duration_ms = database.number(first).await;
    assert!((14_900..20_000).contains(&duration_ms), "given up after {duration_ms} ms");
}

async fn many_receivers_that_hang_hold_up_nobody(database: Database) {
    let mut dead = Vec::new();
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("noop", NOOP).await;
    let mut requests = Vec::new();
    for _ in 0..40 {
        let receiver = Receiver::start().await;
        receiver.script("/", [Answer::hang()]);
        for _ in 0..20 {
            requests.push((IntakeRequest { callback_url: Some(receiver.url("/")), ..ask("noop") }, None));
        }
        dead.push(receiver);
    }
    node.intake_many(requests, "tester").await.unwrap();
    for receiver in &dead {
        receiver.wait_for(1, LIMIT).await;
    }

    let began = Instant::now();
    let well = Receiver::start().await;
    submit_to(&node, well.url("/")).await;
    well.wait_for(1, LIMIT).await;
    let took = began.elapsed();

    assert!(took < Duration::from_secs(2), "the other receiver waited {took:?}");
    for receiver in &dead {
        assert!(
            receiver.received().len() <= 4,
            "{} calls to one that nobody knows",
            receiver.received().len()
        );
    }
}

async fn more_receivers_hang_than_there_are_slots_and_one_that_nobody_knows_is_served(database: Database) {
    let few = Settings { callbacks_at_once: 16, ..settings() };
    let node = Node::start(&database, few, TestClock::running()).await;
    node.put("noop", NOOP).await;
    let mut dead = Vec::new();
    let mut requests = Vec::new();
    for _ in 0..48 {
        let receiver = Receiver::start().await;
        receiver.script("/", [Answer::hang()]);
        requests.push((IntakeRequest { callback_url: Some(receiver.url("/")), ..ask("noop") }, None));
        dead.push(receiver);
    }
    node.intake_many(requests, "tester").await.unwrap();
    // As many as may begin at all hang now: three quarters of the slots.
    wait_until(LIMIT, async || dead.iter().filter(|it| !it.received().is_empty()).count() >= 12).await;

    let began = Instant::now();
    let well = Receiver::start().await;
    submit_to(&node, well.url("/")).await;
    well.wait_for(1, LIMIT).await;
    let stranger_took = began.elapsed();
    let began = Instant::now();
    submit_to(&node, well.url("/")).await;
    well.wait_for(2, LIMIT).await;
    let known_took = began.elapsed();

    assert!(stranger_took < Duration::from_secs(10), "one that nobody knows waited {stranger_took:?}");
    assert!(known_took < Duration::from_secs(1), "one that answers well waited {known_took:?}");
}

async fn a_receiver_that_nobody_runs_is_recorded_without_internals(database: Database) {
    let gone = Receiver::start().await;
    let url = gone.url("/callback?token=abc");
    drop(gone);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("noop", NOOP).await;

    let id = submit_to(&node, url).await;
    let (row, first) = tried(&node, id).await;

    let error = first.error.unwrap();
    assert_eq!((row.line.state, row.callbacks[0].state), (State::Succeeded, CallbackState::Due));
    assert_eq!(first.status, None);
    assert!(error.contains("does not take connections"), "{error}");
    for internal in ["os error", "tcp", "hyper", "reqwest", "token", "abc"] {
        assert!(!error.contains(internal), "{error}");
    }
}

/// The engine is asked past the check at intake: a stored address is judged again when it is called.
async fn an_address_inside_is_refused_when_it_is_called(database: Database) {
    let receiver = Receiver::start().await;
    let port = receiver.address().port();
    let closed = Settings { outbound: OutboundPolicy::default(), ..settings() };
    let node = Node::start(&database, closed, TestClock::running()).await;
    node.put("noop", NOOP).await;

    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"] {
        let id = submit_to(&node, format!("http://{host}:{port}/")).await;
        let (_, first) = tried(&node, id).await;
        let error = first.error.unwrap();
        assert!(first.status.is_none() && error.contains("OUTBOUND_ALLOW"), "{host}: {error}");
    }

    assert!(receiver.received().is_empty());
}

async fn a_try_whose_process_died_is_made_again_and_reads_lost(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/", [Answer::hang(), Answer::status(200)]);
    let clock = TestClock::running();
    let node = Node::start(&database, settings(), clock.clone()).await;
    node.put("noop", NOOP).await;
    let id = submit_to(&node, receiver.url("/")).await;
    receiver.wait_for(1, LIMIT).await;
    node.crash(&database).await;

    clock.advance(levqor_store::CALLBACK_LEASE_MS);
    let node = Node::start(&database, settings(), clock).await;
    let row = node
        .when(id, |row| row.callbacks.first().is_some_and(|it| it.state == CallbackState::Delivered))
        .await;

    let tries = &row.callbacks[0].tries;
    assert_eq!(tries.iter().map(|it| it.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((tries[0].error.as_deref(), tries[1].error.as_deref()), (Some("lost"), None));
    let received = receiver.received();
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
}
