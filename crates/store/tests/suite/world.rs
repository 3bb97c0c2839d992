//! A database of one's own per test, and short words for what tests do all the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use levqor_core::audit::Actor;
use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::{
    ClaimedJob, Fenced, Finish, Idempotency, Intake, JobError, NewCallback, NewJob, Priority, Record,
    StepRow, StepStatus, Then,
};
use levqor_core::state::State;
use levqor_store::{HostRoom, Location, Store};
use levqor_testkit::TempDir;

/// Runs each test on both engines, under its own name: `<test>::sqlite` and `<test>::postgres`.
macro_rules! each_engine {
    ($(async fn $name:ident($world:ident: $kind:ty) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn test($world: $kind) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                test(crate::world::World::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                test(crate::world::World::postgres().await).await;
            }
        }
    )+};
}

/// Noon of some day, far from any edge of an hour.
pub const NOON: i64 = 1_800_014_400_000;
pub const SECOND: i64 = 1_000;
pub const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;

/// Longer than anything here takes, shorter than anybody's patience.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct World {
    pub store: Store,
    pub location: Location,
    pub dir: TempDir,
}

impl World {
    pub async fn sqlite() -> World {
        let dir = TempDir::new();
        let location = Location::Sqlite(dir.join("levqor.db"));
        World { store: Store::open(&location, "node-1").await.unwrap(), location, dir }
    }

    pub async fn postgres() -> World {
        let location = Location::Postgres(levqor_testkit::postgres_url().await);
        World { store: Store::open(&location, "node-1").await.unwrap(), location, dir: TempDir::new() }
    }

    /// This process dies without a word, its lease runs out, and another one opens the same database.
    pub async fn after_a_crash(self) -> World {
        let World { store, location, dir } = self;
        drop(store);
        if let Location::Postgres(url) = &location {
            run_postgres(url, "update nodes set beat_at_ms = 0").await;
        }
        World { store: Store::open(&location, "node-2").await.unwrap(), location, dir }
    }

    /// The same process again.
    pub async fn reopened(self) -> World {
        let World { store, location, dir } = self;
        store.close().await;
        drop(store);
        World { store: Store::open(&location, "node-1").await.unwrap(), location, dir }
    }

    /// One number, read past the store.
    pub async fn number(&self, sql: &str) -> i64 {
        match &self.location {
            Location::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).unwrap();
                conn.query_row(sql, [], |row| row.get(0)).unwrap()
            }
            Location::Postgres(url) => run_postgres(url, sql).await[0].get(0),
        }
    }

    /// A statement past the store; the error is the database's own words.
    pub async fn try_execute(&self, sql: &str) -> Result<(), String> {
        match &self.location {
            Location::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).unwrap();
                conn.execute_batch(sql).map_err(|error| error.to_string())
            }
            Location::Postgres(url) => {
                let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
                let serving = tokio::spawn(connection);
                let outcome = client.batch_execute(sql).await;
                drop(client);
                serving.await.unwrap().unwrap();
                outcome.map_err(|error| {
                    error.as_db_error().map_or(error.to_string(), |it| it.message().to_owned())
                })
            }
        }
    }

    pub async fn put(&self, job: NewJob) -> JobId {
        let id = job.id;
        assert_eq!(self.store.intake(job).await.unwrap(), Intake::Created);
        id
    }

    pub async fn claim(&self, limit: usize, now_ms: i64) -> Vec<ClaimedJob> {
        tokio::time::timeout(LIMIT, self.store.claim(limit, &at(now_ms)))
            .await
            .expect("a claim in time")
            .unwrap()
    }

    pub async fn claim_one(&self, now_ms: i64) -> ClaimedJob {
        let mut jobs = self.claim(1, now_ms).await;
        assert_eq!(jobs.len(), 1);
        jobs.remove(0)
    }

    /// Takes what is runnable, in order. A job that sorts after all others is put in to know when that is all: a claim
    /// that finds nothing waits.
    pub async fn claim_all(&self, now_ms: i64) -> Vec<ClaimedJob> {
        let last = self.put(NewJob { priority: Priority::Low, ..job(now_ms + DAY) }).await;
        let mut all = Vec::new();
        loop {
            for job in self.claim(100, now_ms).await {
                if job.id == last {
                    assert_eq!(self.end(&job, now_ms).await, Fenced::Done);
                    return all;
                }
                all.push(job);
            }
        }
    }

    pub async fn record(&self, job: &ClaimedJob, steps: Vec<StepRow>, then: Then) -> Fenced {
        self.store.record(Record { id: job.id, claim: job.claim, pin: None, steps, then }).await.unwrap()
    }

    pub async fn end(&self, job: &ClaimedJob, now_ms: i64) -> Fenced {
        self.record(job, Vec::new(), succeeded(now_ms)).await
    }

    pub async fn state(&self, id: JobId) -> State {
        self.store.find_status(id).await.unwrap().unwrap().state
    }

    /// A job that ended with a callback.
    pub async fn finished_with_callback(&self, host: &str, now_ms: i64) -> JobId {
        self.put(NewJob { callback_url: Some(format!("https://{host}/hook")), ..job(now_ms) }).await;
        let claimed = self.claim_one(now_ms).await;
        let callback = NewCallback {
            id: format!("msg_{}_{}", claimed.id, claimed.claim),
            job_id: claimed.id,
            url: format!("https://{host}/hook"),
            host: format!("{host}:443"),
            body: format!(r#"{{"job_id":"{}"}}"#, claimed.id),
        };
        let Then::Finish(finish) = succeeded(now_ms) else { unreachable!() };
        let then = Then::Finish(Finish { callback: Some(callback), ..finish });
        assert_eq!(self.record(&claimed, Vec::new(), then).await, Fenced::Done);
        claimed.id
    }
}

pub async fn run_postgres(url: &str, sql: &str) -> Vec<tokio_postgres::Row> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let serving = tokio::spawn(connection);
    let rows = client.query(sql, &[]).await.unwrap();
    drop(client);
    serving.await.unwrap().unwrap();
    rows
}

pub struct TestClock(pub AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub fn at(now_ms: i64) -> Arc<dyn Clock> {
    Arc::new(TestClock(AtomicI64::new(now_ms)))
}

/// Whoever does things in these tests.
pub fn by() -> &'static Actor {
    static BY: LazyLock<Actor> = LazyLock::new(Actor::developer);
    &BY
}

/// Ids made one after the other sort one after the other, within the same millisecond too.
pub fn id(now_ms: i64) -> JobId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut random = [0; 10];
    random[2..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    JobId::new(now_ms, random)
}

/// A runnable job of the workflow `greet`, created now.
pub fn job(now_ms: i64) -> NewJob {
    NewJob {
        id: id(now_ms),
        workflow: "greet".to_owned(),
        version: Some(1),
        payload: r#"{"name":"Ada"}"#.to_owned(),
        callback_url: None,
        priority: Priority::Normal,
        tags: BTreeMap::new(),
        run_at_ms: None,
        caller: "key".to_owned(),
        created_at_ms: now_ms,
        idempotency: None,
    }
}

pub fn with_key(key: &str, body: &str, job: NewJob) -> NewJob {
    NewJob { idempotency: Some(Idempotency { key: key.to_owned(), body_hash: body.to_owned() }), ..job }
}

pub fn undefined(workflow: &str, now_ms: i64) -> NewJob {
    NewJob { workflow: workflow.to_owned(), version: None, ..job(now_ms) }
}

pub fn succeeded(now_ms: i64) -> Then {
    Then::Finish(Finish {
        state: State::Succeeded,
        finished_at_ms: now_ms,
        result: Some(r#"{"n":18446744073709551615}"#.to_owned()),
        error: None,
        callback: None,
    })
}

pub fn failed(now_ms: i64) -> Then {
    Then::Finish(Finish {
        state: State::Failed,
        finished_at_ms: now_ms,
        result: None,
        error: Some(JobError::new("step_failed", "it broke").at_step("one")),
        callback: None,
    })
}

pub fn step(name: &str, attempt: i64, status: StepStatus, now_ms: i64) -> StepRow {
    StepRow {
        step: name.to_owned(),
        attempt,
        status,
        started_at_ms: now_ms,
        finished_at_ms: Some(now_ms + 5),
        until_ms: None,
        output: Some(r#"{"ok":true}"#.to_owned()),
        error: None,
    }
}

/// Any number of callbacks to any receiver.
pub fn any_room() -> HostRoom {
    HostRoom { unknown: usize::MAX, ..HostRoom::default() }
}

pub fn ids(jobs: &[ClaimedJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}
