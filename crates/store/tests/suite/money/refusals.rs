//! What a refusal costs: no lock that anybody could hold against it, and nothing that a disk would have to keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use levqor_core::budget::{Scope, ScopeKind, Window};
use levqor_store::{Location, Reason, Reserved, Store};

use super::help::*;
use crate::world::*;

const REFUSALS: usize = 1_000;

/// Budgets of each kind, one of them spent to its end.
async fn spend_out(store: &Store) {
    put(store, &day(100)).await;
    put(store, &per_job(35)).await;
    put(store, &budget("keys", Scope::each(ScopeKind::Key), Window::Rolling { hours: 2 }, 10_000)).await;
    for _ in 0..4 {
        let call = sent(store, call(25)).await;
        settle(store, call, 25).await;
    }
}

/// A thousand who ask at the same time, each of whom is refused because the day is spent.
async fn refuse_all(store: &Arc<Store>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let askers = (0..16).map(|_| {
        let (store, asked) = (store.clone(), asked.clone());
        tokio::spawn(async move {
            while asked.fetch_add(1, Ordering::Relaxed) < REFUSALS {
                let refusal = refused(&store, in_job(id(NOON), 1, call(1))).await;
                assert_eq!((refusal.budget.as_str(), refusal.reason), ("day", Reason::SpentOut));
            }
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.await.unwrap();
    }
}

/// Another connection has every row of the budgets, and every table against locks of rows: a refusal that wanted one would
/// wait until it fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_refuses_whoever_holds_its_rows() {
    let World { store, location, dir: _dir } = World::postgres().await;
    let Location::Postgres(url) = location else { unreachable!() };
    spend_out(&store).await;
    let store = Arc::new(store);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("begin").await.unwrap();
    for rows in ["budget_head", "budget_periods", "ai_calls", "budgets"] {
        client.query(&format!("select * from {rows} for update"), &[]).await.unwrap();
    }
    client
        .batch_execute("lock table budget_head, budgets, budget_periods, ai_calls, ai_call_holds, cost_ledger in exclusive mode")
        .await
        .unwrap();

    tokio::time::timeout(LIMIT, refuse_all(&store)).await.expect("nobody waits for a lock");

    // What costs nothing fits, so it needs the rows: it waits, and fails.
    let free = store.reserve(in_job(id(NOON), 1, call(0))).await;
    assert!(free.is_err(), "{free:?}");
}

/// A transaction that may only read takes no lock of a row and writes nothing, so there is nothing to make durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_refuses_in_a_database_that_nobody_may_write() {
    let World { store, location, dir: _dir } = World::postgres().await;
    spend_out(&store).await;
    // Another node, whose connection for money is made when it first needs one: what the database is told counts from then.
    let other = Arc::new(Store::open(&location, "node-2").await.unwrap());
    let Location::Postgres(url) = location else { unreachable!() };
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    run_postgres(&url, &format!("alter database {name} set default_transaction_read_only = on")).await;

    refuse_all(&other).await;

    let granted = other.reserve(call(0)).await;
    assert!(granted.is_err(), "a hold is written, so here it cannot be had: {granted:?}");
}

/// The other engine: not a byte more in the log of writes, and no commit that another connection could see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_refuses_without_a_commit_on_sqlite() {
    let World { store, location, dir: _dir } = World::sqlite().await;
    let Location::Sqlite(file) = location else { unreachable!() };
    spend_out(&store).await;
    let store = Arc::new(store);
    let watcher = rusqlite::Connection::open(&file).unwrap();
    let seen = || {
        let version: i64 = watcher.query_row("pragma data_version", [], |row| row.get(0)).unwrap();
        let log = std::fs::read(file.with_extension("db-wal")).unwrap();
        (version, log)
    };
    let before = seen();

    refuse_all(&store).await;

    assert!(seen() == before, "a refusal wrote something");
    // A hold is seen, so a commit would have been.
    let granted = store.reserve(call(0)).await.unwrap();
    assert!(matches!(granted, Reserved::Granted(_)), "{granted:?}");
    assert!(seen().0 != before.0);
}
