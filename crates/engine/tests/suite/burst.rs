//! Many jobs at once: `workers` bounds the calls that are out, whatever came before.

use std::sync::atomic::Ordering;
use std::time::Duration;

use levqor_core::state::State;
use levqor_engine::Settings;
use levqor_testkit::{Answer, Receiver, wait_until};

use crate::support::{CALL, Database, LIMIT, NOOP, Node, TestClock, ask, ask_with, settings};

each_engine!(
    never_more_calls_are_out_than_there_are_workers,
    live_work_is_counted_anew_soon_after_it_was_counted,
);

/// How long the receiver takes: a call that came less than this after another was out at the same time.
const TAKES: Duration = Duration::from_millis(20);

async fn never_more_calls_are_out_than_there_are_workers(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::status(200).after(TAKES)]);
    let few = Settings { workers: 4, ..settings() };
    let node = Node::start(&database, few, TestClock::running()).await;
    node.put("noop", NOOP).await;
    node.put("call", CALL).await;
    // Jobs that need nothing from outside make the claims grow.
    let mut quick = Vec::new();
    for _ in 0..50 {
        quick.push((ask("noop"), None));
    }
    for verdict in node.intake_many(quick, "tester").await.unwrap() {
        node.ended(verdict.unwrap().job_id).await;
    }

    let calls = (0..300).map(|_| (ask_with("call", &receiver), None)).collect();
    let accepted = node.intake_many(calls, "tester").await.unwrap();
    let mut most_claims = 0;
    for verdict in accepted {
        let row = node.ended(verdict.unwrap().job_id).await;
        assert_eq!(row.line.state, State::Succeeded);
        most_claims = most_claims.max(row.claim);
    }

    let received = receiver.received();
    assert_eq!(received.len(), 300);
    for window in received.windows(5) {
        let apart = window[4].at.duration_since(window[0].at);
        assert!(apart >= TAKES, "five calls within {apart:?}");
    }
    assert!(most_claims <= 3, "a job was claimed {most_claims} times: claims and hand-backs spin");
}

async fn live_work_is_counted_anew_soon_after_it_was_counted(database: Database) {
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;
    node.put("noop", NOOP).await;

    for queued in 1..=3 {
        node.submit(ask("noop")).await;
        wait_until(LIMIT, async || node.live_counts().await.unwrap().queued == queued).await;
    }
}

/// PostgreSQL only: on SQLite there is one node.
#[tokio::test]
async fn two_nodes_share_the_work_and_do_nothing_twice() {
    let database = Database::postgres().await;
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::status(200).after(TAKES)]);
    let few = || Settings { workers: 4, ..settings() };
    let one = Node::start(&database, few(), TestClock::running()).await;
    let two = Node::start(&database, few(), TestClock::running()).await;
    one.put("call", CALL).await;

    let calls = (0..200).map(|_| (ask_with("call", &receiver), None)).collect();
    let accepted = one.intake_many(calls, "tester").await.unwrap();
    for verdict in accepted {
        let row = two.ended(verdict.unwrap().job_id).await;
        assert_eq!((row.line.state, row.deaths), (State::Succeeded, 0));
    }

    assert_eq!(receiver.received().len(), 200);
    for node in [one, two] {
        let performed = node.counters().steps_performed.load(Ordering::Relaxed);
        assert!(performed >= 20, "one node did {performed} of 200 calls");
    }
}
