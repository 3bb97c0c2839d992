//! Whoever goes away in the middle of a call, it is charged once, and by what it cost wherever that can be known.

use std::io::Read;
use std::time::Duration;

use levqor_core::money::Charge;
use levqor_mock_ai::{Fault, Settings as Mock};
use levqor_testkit::wait_until;

use super::world::*;
use crate::outage::allow;
use crate::support::*;

each_engine!(
    a_hold_that_is_not_used_goes_back,
    an_answer_that_nobody_reads_is_read_to_its_end_and_charged_exactly,
    a_call_that_nobody_waits_for_any_more_is_charged_exactly,
    an_answer_that_was_read_and_forgotten_is_charged,
    a_crash_between_hold_and_charge_is_swept_and_charged_in_full,
    what_went_wrong_is_charged_as_the_table_says,
    a_stop_waits_for_answers_that_are_on_their_way,
);

async fn a_hold_that_is_not_used_goes_back(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let ready = node.ai().hold(question(SOL, "Hello", 1_000)).await.unwrap();
    assert_eq!(counted(&database, "held_nano").await, ready.bound().amount.get());
    drop(ready);

    wait_until(LIMIT, async || calls_in(&database, "released").await == 1).await;
    assert_eq!((counted(&database, "held_nano").await, spent(&database).await), (0, 0));
    assert_eq!(mock.bill().calls, 0);
}

async fn charged_exactly(database: &Database, mock: &levqor_mock_ai::MockAi) {
    wait_until(LIMIT, async || calls_in(database, "settled").await == 1).await;
    let bill = mock.bill();
    assert_eq!((bill.calls, i64::try_from(bill.total_nano).unwrap()), (1, spent(database).await));
    assert_eq!(counted(database, "held_nano").await, 0);
}

async fn an_answer_that_nobody_reads_is_read_to_its_end_and_charged_exactly(database: Database) {
    let mock = mock_with(Mock { pace: PACE, ..Mock::default() }).await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let mut open = node.ai().hold(question(SOL, "Hello", 1_000)).await.unwrap().send().await;
    assert!(open.status().unwrap().is_success() && open.next().await.is_some());
    drop(open);

    charged_exactly(&database, &mock).await;
}

async fn a_call_that_nobody_waits_for_any_more_is_charged_exactly(database: Database) {
    let mock = mock_with(Mock { delay: Duration::from_millis(300), pace: PACE, ..Mock::default() }).await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let ready = node.ai().hold(question(SOL, "Hello", 1_000)).await.unwrap();
    let waiting = tokio::spawn(ready.send());
    wait_until(LIMIT, async || mock.bill().calls == 1).await;
    waiting.abort();

    charged_exactly(&database, &mock).await;
}

async fn an_answer_that_was_read_and_forgotten_is_charged(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let over = node.ai().hold(question(SOL, "Hello", 1_000)).await.unwrap().send().await.end().await;
    assert_eq!(calls_in(&database, "settled").await, 0);
    drop(over);

    charged_exactly(&database, &mock).await;
}

async fn a_crash_between_hold_and_charge_is_swept_and_charged_in_full(database: Database) {
    let mock = mock().await;
    mock.queue_faults([Some(Fault::Stall)]);
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let ai = node.ai();
    let held = node
        .spawn(async move {
            let ready = ai.hold(question(SOL, "Hello", 2_000)).await.unwrap();
            let amount = ready.bound().amount.get();
            // Its answer hangs.
            tokio::spawn(async move { ready.send().await.end().await });
            amount
        })
        .await;
    wait_until(LIMIT, async || mock.bill().calls == 1).await;
    node.crash(&database).await;
    assert_eq!(counted(&database, "held_nano").await, held);

    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    wait_until(LIMIT, async || calls_in(&database, "assumed").await == 1).await;

    assert_eq!((spent(&database).await, counted(&database, "held_nano").await), (held, 0));
    let swept = &node.counters().ai_swept;
    wait_until(LIMIT, async || swept.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
    assert!(i64::try_from(mock.bill().total_nano).unwrap() <= spent(&database).await);
}

async fn what_went_wrong_is_charged_as_the_table_says(database: Database) {
    let mock = mock().await;
    let clock = TestClock::running();
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    let faults = [Fault::Status(429), Fault::Status(500), Fault::DropReply, Fault::Cut, Fault::NoUsage];

    for (fault, expected) in faults.into_iter().zip(["release", "assume", "assume", "assume", "assume"]) {
        mock.queue_faults([Some(fault)]);
        let over = call(&node, question(SOL, "Hello", 100)).await.unwrap();
        let found = match &over.charge {
            Charge::Release => "release",
            Charge::Settle { .. } => "settle",
            Charge::Assume { .. } => "assume",
        };
        assert_eq!(found, expected, "{fault:?}: {:?}", over.answer.ending);
        assert!(over.settlement.failure.is_some(), "{fault:?}");
        // A provider that was told to wait for is waited for.
        clock.advance(2_000);
        // One that goes well in between: trouble in a row would be another matter.
        call(&node, question(SOL, "Hello", 100)).await.unwrap();
    }
    assert!(i64::try_from(mock.bill().total_nano).unwrap() <= spent(&database).await);
    assert_eq!(counted(&database, "held_nano").await, 0);
}

async fn a_stop_waits_for_answers_that_are_on_their_way(database: Database) {
    let mock = mock_with(Mock { pace: PACE, ..Mock::default() }).await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let ai = node.ai();
    node.spawn(async move {
        let mut open = ai.hold(question(SOL, "Hello", 1_000)).await.unwrap().send().await;
        open.next().await;
    })
    .await;
    node.stop().await;

    charged_exactly(&database, &mock).await;
}

#[tokio::test]
async fn a_charge_waits_for_a_database_that_is_away() {
    let database = Database::postgres().await;
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let over = node.ai().hold(question(SOL, "Hello", 1_000)).await.unwrap().send().await.end().await;

    allow(&database, false).await;
    let ai = node.ai();
    wait_until(LIMIT, async || ai.hold(question(SOL, "Hello", 10)).await.is_err()).await;
    drop(over);
    allow(&database, true).await;

    charged_exactly(&database, &mock).await;
}

/// Commits in the write-ahead log of a file: frames that say how large the file is after them.
fn commits(database: &Database) -> usize {
    let Database::Sqlite(folder) = database else { panic!("SQLite only") };
    let mut wal = Vec::new();
    std::fs::File::open(folder.join("levqor.db-wal")).unwrap().read_to_end(&mut wal).unwrap();
    let number = |at: usize| u32::from_be_bytes(wal[at..at + 4].try_into().unwrap());
    let (page, salts) = (number(8) as usize, wal[16..24].to_vec());
    let frames = (32..wal.len()).step_by(24 + page).filter(|at| at + 24 <= wal.len());
    frames.filter(|at| wal[at + 8..at + 16] == salts && number(at + 4) > 0).count()
}

#[tokio::test]
async fn a_call_takes_two_durable_commits() {
    let database = Database::sqlite();
    let mock = mock().await;
    let node = Node::by_hand(&database, ai_settings(&mock.url()), TestClock::running()).await;
    // Puts budgets and the price on record.
    call(&node, question(SOL, "Hello", 100)).await.unwrap();

    let before = commits(&database);
    for _ in 0..10 {
        call(&node, question(SOL, "Hello", 100)).await.unwrap();
    }

    assert_eq!(commits(&database) - before, 20);
}
