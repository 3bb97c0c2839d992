//! The database goes away and comes back: callers are told to come again, finished work is kept, and nobody restarts
//! anything. PostgreSQL only: a file does not go away.

use levqor_core::state::State;
use levqor_engine::IntakeError;
use levqor_store::Error;
use levqor_testkit::postgres::URL_VARIABLE;
use levqor_testkit::{Answer, Receiver, wait_until};

use crate::support::{
    CALL, Database, LIMIT, NOOP, Node, TestClock, ask, ask_with, attempts, postgres, settings,
};

/// Refuses new connections to the database and ends those that there are; or lets them in again.
pub async fn allow(database: &Database, allowed: bool) {
    let Database::Postgres(url) = database else { panic!("PostgreSQL only") };
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    #[allow(clippy::disallowed_methods, reason = "a test has no Config; the runner names its server here")]
    let server = postgres(&std::env::var(URL_VARIABLE).unwrap()).await;
    server.batch_execute(&format!("alter database {name} allow_connections {allowed}")).await.unwrap();
    if !allowed {
        let ends = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
        server.batch_execute(&ends).await.unwrap();
    }
}

#[tokio::test]
async fn work_that_ends_while_the_database_is_away_is_recorded_when_it_is_back() {
    let database = Database::postgres().await;
    let receiver = Receiver::start().await;
    let takes = std::time::Duration::from_millis(700);
    receiver.script("/call", [Answer::status(200).after(takes)]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("call", CALL).await;
    node.put("noop", NOOP).await;
    let mut request = ask_with("call", &receiver);
    request.callback_url = Some(receiver.url("/callback"));
    let id = node.submit(request).await;
    receiver.wait_for(1, LIMIT).await;

    allow(&database, false).await;
    let refused = node.intake(ask("noop"), "tester", None).await;
    let unread = node.status(id, None).await;
    let performed = &node.counters().steps_performed;
    wait_until(LIMIT, async || performed.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
    allow(&database, true).await;
    let row = node.ended(id).await;

    assert!(matches!(refused, Err(IntakeError::Store(Error::Unavailable(_)))), "{refused:?}");
    assert!(matches!(unread, Err(Error::Unavailable(_))), "{unread:?}");
    assert_eq!((row.line.state, row.deaths, row.claim), (State::Succeeded, 0, 1));
    assert_eq!(attempts(&row, "call"), [("succeeded", 1)]);
    assert_eq!(receiver.received_at("/call").len(), 1);
    wait_until(LIMIT, async || receiver.received_at("/callback").len() == 1).await;
    wait_until(LIMIT, async || node.intake(ask("noop"), "tester", None).await.is_ok()).await;
    let after = node.submit(ask("noop")).await;
    assert_eq!(node.ended(after).await.line.state, State::Succeeded);
}

#[tokio::test]
async fn jobs_under_load_all_end_once_although_the_database_went_away_twice() {
    let database = Database::postgres().await;
    let receiver = Receiver::start().await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("call", CALL).await;
    let mut ids = Vec::new();

    for round in 0..2 {
        for _ in 0..100 {
            ids.push(node.submit(ask_with("call", &receiver)).await);
        }
        receiver.wait_for(round * 100 + 10, LIMIT).await;
        allow(&database, false).await;
        let id = ids[0];
        wait_until(LIMIT, async || node.status(id, None).await.is_err()).await;
        allow(&database, true).await;
        wait_until(LIMIT, async || node.status(id, None).await.is_ok()).await;
        wait_until(LIMIT, async || node.intake(ask_with("call", &receiver), "tester", None).await.is_ok())
            .await;
    }

    for id in ids {
        let row = node.ended(id).await;
        assert_eq!(row.line.state, State::Succeeded);
    }
    wait_until(LIMIT, async || database.number("select count(*) from live_jobs").await == 0).await;
    wait_until(LIMIT, async || node.running_jobs() == 0).await;
}
