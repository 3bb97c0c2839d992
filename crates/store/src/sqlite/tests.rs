//! Faults that only a hand on the connection can make: a full disk, a commit that fails, a verb that panics.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::{Intake, NewJob, Priority, Tags};
use levqor_testkit::TempDir;

use super::{Sqlite, callback};
use crate::tx::lock;
use crate::wake::Wake;
use crate::{Error, settings};

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(TestClock(AtomicI64::new(1_000)))
}

fn job(payload_bytes: usize) -> NewJob {
    NewJob {
        id: JobId::new(1_000, rand::random::<[u8; 10]>()),
        workflow: "w".to_owned(),
        version: Some(1),
        payload: format!("{:?}", "x".repeat(payload_bytes)),
        callback_url: None,
        priority: Priority::Normal,
        tags: Tags::new(),
        run_at_ms: None,
        caller: "key".to_owned(),
        created_at_ms: 1_000,
        idempotency: None,
    }
}

async fn open(dir: &TempDir) -> Arc<Sqlite> {
    Arc::new(
        Sqlite::open(&dir.join("levqor.db"), "node", Arc::new(Wake::new()), Arc::default()).await.unwrap(),
    )
}

impl Sqlite {
    /// How many pages the file may have: the way to a full disk without filling one.
    async fn limit_pages(&self, most: i64) {
        self.write(move |tx| {
            Box::pin(async move {
                lock(tx.sqlite()).query_row(&format!("pragma max_page_count = {most}"), [], |_| Ok(()))?;
                Ok(())
            })
        })
        .await
        .unwrap();
    }

    async fn number(&self, sql: &'static str) -> i64 {
        self.read(move |tx| Box::pin(async move { tx.query_opt(sql, &[]).await?.unwrap().int(0) }))
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers_and_loses_nothing_acknowledged() {
    let dir = TempDir::new();
    let store = open(&dir).await;
    let pages = store.number("pragma page_count").await;
    store.limit_pages(pages + 40).await;

    let mut kept = Vec::new();
    let mut refused = 0;
    for _ in 0..60 {
        let new = job(8_000);
        let id = new.id;
        match store.intake(new).await {
            Ok(verdict) => {
                assert_eq!(verdict, Intake::Created);
                kept.push(id);
            }
            Err(Error::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }

    assert!(!kept.is_empty() && refused > 0, "{} kept, {refused} refused", kept.len());
    assert_eq!(store.number("select count(*) from jobs").await, kept.len() as i64);
    store.limit_pages(1_000_000).await;
    kept.push({
        let new = job(8_000);
        let id = new.id;
        assert_eq!(store.intake(new).await.unwrap(), Intake::Created);
        id
    });
    let mut claimed = Vec::new();
    while claimed.len() < kept.len() {
        claimed.extend(store.claim(100, &clock()).await.unwrap().into_iter().map(|job| job.id));
    }
    kept.sort();
    claimed.sort();
    assert_eq!(claimed, kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_what_fits_goes_through_beside_what_does_not() {
    let dir = TempDir::new();
    let store = open(&dir).await;
    let pages = store.number("pragma page_count").await;
    store.limit_pages(pages + 20).await;

    let asks: Vec<_> = (0..40)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { (n, store.intake(job(if n % 2 == 0 { 10 } else { 200_000 })).await) })
        })
        .collect();

    for ask in asks {
        match ask.await.unwrap() {
            (n, Ok(_)) => assert_eq!(n % 2, 0, "200 KB do not fit"),
            (n, Err(error)) => {
                assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
                assert_eq!(n % 2, 1, "a small job was refused: {error:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_is_told_to_all_and_the_next_one_works() {
    let dir = TempDir::new();
    let wake = Arc::new(Wake::new());
    let store =
        Arc::new(Sqlite::open(&dir.join("levqor.db"), "node", wake.clone(), Arc::default()).await.unwrap());
    let mut hints = wake.subscribe();
    let failing = Arc::new(AtomicBool::new(false));
    let flag = failing.clone();
    store
        .write(move |tx| {
            let flag = flag.clone();
            Box::pin(async move {
                lock(tx.sqlite()).commit_hook(Some(move || flag.load(Ordering::SeqCst)))?;
                Ok(())
            })
        })
        .await
        .unwrap();

    failing.store(true, Ordering::SeqCst);
    let (intake, workflow) = tokio::join!(
        store.intake(job(10)),
        store.write(|tx| Box::pin(async move { crate::workflow::put(tx, "w", "source", "api", 1).await }))
    );
    assert!(intake.is_err() && workflow.is_err());
    assert!(hints.try_recv().is_err(), "nothing is told of what is not on disk");
    failing.store(false, Ordering::SeqCst);

    assert_eq!(store.number("select count(*) from jobs").await, 0);
    let new = job(10);
    let id = new.id;
    assert_eq!(store.intake(new).await.unwrap(), Intake::Created);
    assert_eq!(store.claim(10, &clock()).await.unwrap()[0].id, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_commit_fails_takes_nothing() {
    let dir = TempDir::new();
    let store = open(&dir).await;
    store.intake(job(10)).await.unwrap();
    let failing = Arc::new(AtomicBool::new(false));
    let flag = failing.clone();
    store
        .write(move |tx| {
            let flag = flag.clone();
            Box::pin(async move {
                lock(tx.sqlite()).commit_hook(Some(move || flag.load(Ordering::SeqCst)))?;
                Ok(())
            })
        })
        .await
        .unwrap();

    failing.store(true, Ordering::SeqCst);
    assert!(store.claim(10, &clock()).await.is_err());
    failing.store(false, Ordering::SeqCst);

    let claimed = store.claim(10, &clock()).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].claim), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_that_fails_or_panics_takes_only_its_own_writes_back() {
    let dir = TempDir::new();
    let store = open(&dir).await;

    let panics = store.write(|tx| {
        Box::pin(async move {
            settings::or_insert(tx, "panicked", "x").await?;
            tx.effects.workflows = true;
            if tx.is_sqlite() {
                panic!("on purpose");
            }
            Ok(())
        })
    });
    let refuses = store.write(|tx| {
        Box::pin(async move {
            settings::or_insert(tx, "refused", "x").await?;
            Err::<(), _>(Error::NotFound { what: "thing" })
        })
    });
    let works = store.write(|tx| Box::pin(async move { settings::or_insert(tx, "worked", "x").await }));
    let (panicked, refused, worked) = tokio::join!(panics, refuses, works);

    assert!(matches!(panicked, Err(Error::Bug(_))), "{panicked:?}");
    assert!(matches!(refused, Err(Error::NotFound { what: "thing" })), "{refused:?}");
    assert_eq!(worked.unwrap(), "x");
    assert_eq!(store.number("select count(*) from settings").await, 1);
    assert_eq!(store.intake(job(10)).await.unwrap(), Intake::Created, "the writer lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_that_waits_is_a_bug_not_a_hang() {
    let dir = TempDir::new();
    let store = open(&dir).await;

    let waits = store.write(|_| Box::pin(std::future::pending::<crate::Result<()>>())).await;

    assert!(matches!(waits, Err(Error::Bug(_))), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_is_bounded_under_sustained_writing() {
    let dir = TempDir::new();
    let store = open(&dir).await;

    // 160 MB of payloads, more than twice what the WAL may hold.
    for _ in 0..20 {
        let jobs = (0..40).map(|_| job(200_000)).collect();
        store.intake_many(jobs).await.unwrap();
    }

    let wal_bytes = std::fs::metadata(dir.join("levqor.db-wal")).unwrap().len();
    assert!(wal_bytes < 100 * 1024 * 1024, "{wal_bytes} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hot_search_uses_an_index() {
    let dir = TempDir::new();
    let store = open(&dir).await;

    for (text, index) in [
        (
            "select id from live_jobs where state = 'queued' order by sort_at_ms, id limit 5",
            "live_jobs_queued",
        ),
        (callback::NEXT_HOST, "callbacks_due"),
        (callback::DUE, "callbacks_due"),
        ("select min(due_at_ms) from live_jobs where due_at_ms is not null", "live_jobs_due"),
        ("select id, claim from live_jobs where state = 'running' and node = 'n'", "live_jobs_running"),
        (
            "select l.id from workflows w join live_jobs l on l.workflow = w.name \
             where w.deleted = false and l.state = 'undefined' limit 5",
            "live_jobs_undefined",
        ),
        (
            "select f.id from finished_jobs f where f.id < 'f' and f.id >= '' and f.state = 'failed' \
             and f.state <> 'succeeded' order by f.id desc limit 5",
            "finished_jobs_not_succeeded",
        ),
    ] {
        let plan = store
            .read(move |tx| {
                Box::pin(async move {
                    let conn = lock(tx.sqlite());
                    let mut statement = conn.prepare(&format!("explain query plan {text}"))?;
                    let rows = statement.raw_query().mapped(|row| row.get::<_, String>(3));
                    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.join("; "))
                })
            })
            .await
            .unwrap();
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{text}: {plan}");
    }
}
