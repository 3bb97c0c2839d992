//! All SQL of Levqor: tables, migrations, transactions, wake-ups; one meaning on SQLite and PostgreSQL.
//!
//! Verbs are atomic facts ("record this if still mine"), never policies. A transaction never leaves this crate. Times are
//! arguments (milliseconds since 1970); only the liveness of nodes uses the database's clock.

mod audit;
pub mod backup;
mod backup_runs;
mod callback;
mod connections;
mod decode;
mod emails;
mod fault;
mod figures;
mod fill;
mod job;
mod keys;
mod migrate;
mod money;
mod payments;
mod postgres;
mod rate;
pub mod relocate;
mod settings;
mod sqlite;
mod tx;
mod types;
mod upkeep;
mod users;
mod wake;
mod workflow;

pub use backup_runs::{BackupEnd, BackupHealth, BackupRun, BackupRunState};
pub use connections::MAX_CONNECTIONS;
pub use keys::{KeyPage, KeyRow, KeyTally, LiveKey, LiveKeys, NewKey};
pub use money::*;
pub use types::*;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Fenced, Finish, Intake, JobError, NewJob, Record};

use money::{Done, Money, Work};
use postgres::Postgres;
use sqlite::Sqlite;
use tx::Tx;
use wake::Wake;

/// Where the data lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Sqlite(PathBuf),
    /// A `postgres://` URL. Its text holds a password: never log it.
    Postgres(String),
}

/// How a job ends other than by its own run.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Cancelled {
        reason: JobError,
    },
    /// `_dev/complete`: succeeded with this result (compact JSON).
    Completed {
        result: String,
    },
}

/// What [`Store::end_job`] met.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With it ended so many jobs that its models had asked for.
    Now { children: usize },
    /// It had ended before; with which state and result.
    Before(Box<Finish>),
}

/// The one door to the database.
pub struct Store {
    engine: Engine,
    wake: Arc<Wake>,
    money: Arc<Money>,
    node: String,
    /// Where the next search of retention goes on; lost with the process, which costs one search.
    prune_after: Mutex<String>,
    /// The receiver after which the next claim of callbacks goes on; empty: from the first.
    callbacks_after: Mutex<String>,
}

/// Both offer the same verbs; what is written once for both goes through their `write` and `read`.
enum Engine {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

macro_rules! on {
    ($self:ident, $engine:ident => $verb:expr) => {
        match &$self.engine {
            Engine::Sqlite($engine) => $verb.await,
            Engine::Postgres($engine) => $verb.await,
        }
    };
}

impl Store {
    /// Opens the database, creates or migrates it under a lock. `node` is this process's random id (liveness only).
    pub async fn open(location: &Location, node: &str) -> Result<Store> {
        let wake = Arc::new(Wake::new());
        let money = Arc::new(Money::default());
        let engine = match location {
            Location::Sqlite(path) => {
                Engine::Sqlite(Sqlite::open(path, node, wake.clone(), money.clone()).await?)
            }
            Location::Postgres(url) => {
                Engine::Postgres(Box::new(Postgres::open(url, node, wake.clone(), money.clone()).await?))
            }
        };
        Ok(Store {
            engine,
            wake,
            money,
            node: node.to_owned(),
            prune_after: Mutex::default(),
            callbacks_after: Mutex::default(),
        })
    }

    /// What [`Store::open`] would migrate: names of pending migrations. Changes nothing.
    pub async fn pending_migrations(location: &Location) -> Result<Vec<String>> {
        match location {
            Location::Sqlite(path) => Sqlite::pending_migrations(path).await,
            Location::Postgres(url) => Postgres::pending_migrations(url).await,
        }
    }

    /// [`Store::find_setting`] from outside: of a database that another process may own. Changes nothing; `None` also where
    /// there is no database yet.
    pub async fn read_setting(location: &Location, name: &str) -> Result<Option<String>> {
        match location {
            Location::Sqlite(path) => Sqlite::read_setting(path, name).await,
            Location::Postgres(url) => Postgres::read_setting(url, name).await,
        }
    }

    /// Which keys the database holds, asked from outside like [`Store::read_setting`].
    pub async fn read_keys(location: &Location, now_ms: i64) -> Result<KeyTally> {
        match location {
            Location::Sqlite(path) => Sqlite::read_keys(path, now_ms).await,
            Location::Postgres(url) => Postgres::read_keys(url, now_ms).await,
        }
    }

    /// `"sqlite"` or `"postgres"`.
    pub fn engine(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite(_) => "sqlite",
            Engine::Postgres(_) => "postgres",
        }
    }

    /// Waits until all accepted writes are committed, hands back what is still running here (no death counts), then closes.
    /// Later calls fail as unavailable.
    pub async fn close(&self) {
        on!(self, engine => engine.close())
    }

    // ---- the hot verbs -------------------------------------------------------------------------------------------

    /// **Commit 1.** Stores the job, its place in the queue and its idempotency key. `Ok` means durable.
    pub async fn intake(&self, job: NewJob) -> Result<Intake> {
        on!(self, engine => engine.intake(job))
    }

    /// The same for many, in one commit; verdicts in order. Twins inside the batch see each other.
    pub async fn intake_many(&self, jobs: Vec<NewJob>) -> Result<Vec<Intake>> {
        on!(self, engine => engine.intake_many(jobs))
    }

    /// **Commit 2.** Takes up to `limit` runnable jobs in order for this node. Waits (parked, without polling the
    /// database on SQLite) until there is at least one; cancel-safe: a claim whose caller went away claims nothing, or what it claimed is handed back.
    /// `clock` is read when the claim is executed (it may have been parked for hours): it becomes `started_at_ms`.
    pub async fn claim(&self, limit: usize, clock: &Arc<dyn Clock>) -> Result<Vec<ClaimedJob>> {
        on!(self, engine => engine.claim(limit, clock))
    }

    /// **Commits 3 and 4.** Records attempts and what becomes of the job, if it is still ours.
    pub async fn record(&self, record: Record) -> Result<Fenced> {
        on!(self, engine => engine.record(record))
    }

    /// Takes up to `limit` due callbacks: from receiver to receiver, of each the oldest due and no more than it has room
    /// for. Where the limit ends a claim, the next one goes on. Returns at once.
    /// The claim is a lease of [`CALLBACK_LEASE_MS`]. A try whose process died is recorded as `lost` here.
    pub async fn claim_callbacks(
        &self,
        limit: usize,
        room: &HostRoom,
        now_ms: i64,
    ) -> Result<Vec<ClaimedCallback>> {
        let after = std::mem::take(&mut *locked(&self.callbacks_after));
        let mut walk = callback::Walk { after, until: callback::LAST_HOST.to_owned(), limit, now_ms };
        let mut claimed = on!(self, engine => engine.claim_callbacks(walk.clone(), room))?;
        if claimed.len() < limit && !walk.after.is_empty() {
            // Those that were passed over by going on from there.
            walk.until = std::mem::take(&mut walk.after);
            walk.limit = limit - claimed.len();
            match on!(self, engine => engine.claim_callbacks(walk, room)) {
                Ok(more) => claimed.extend(more),
                // What was claimed is ours, whatever became of the rest.
                Err(error) if claimed.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        if claimed.len() >= limit
            && let Some(last) = claimed.last()
        {
            locked(&self.callbacks_after).clone_from(&last.callback.host);
        }
        Ok(claimed)
    }

    /// **Commit 5.** Records a try and what follows from it, if the lease is still ours.
    pub async fn record_callback(
        &self,
        claimed: &ClaimedCallback,
        tried: CallbackTry,
        end: CallbackEnd,
    ) -> Result<Fenced> {
        on!(self, engine => engine.record_callback(claimed, tried, end))
    }

    // ---- liveness: native to each engine --------------------------------------------------------------------------------

    /// Says that this node lives (PostgreSQL: database clock; no-op on SQLite), and marks the minute as up.
    pub async fn beat(&self, now_ms: i64) -> Result<()> {
        on!(self, engine => engine.beat(now_ms))
    }

    /// Hands back jobs of nodes that died: on PostgreSQL those without a beat for [`LEASE_MS`], on SQLite all that are
    /// running under another node id. Counts a death for each. At most `limit`; returns how many.
    pub async fn rescue(&self, limit: usize) -> Result<usize> {
        on!(self, engine => engine.rescue(limit))
    }

    // ---- wake-ups: hints, never the truth ------------------------------------------------------------------------

    /// Resolves when a callback may have become due, here or on another node, since the last call.
    pub async fn callback_wake(&self) {
        self.wake.callback_due().await;
    }

    /// A stream of hints, here and from other nodes: jobs that ended or were cancelled, workflows or keys that changed.
    pub fn hints(&self) -> tokio::sync::broadcast::Receiver<Hint> {
        self.wake.subscribe()
    }

    // ---- the rest ------------------------------------------------------------------------------------------------

    /// A trivial read, for /health.
    pub async fn ping(&self) -> Result<()> {
        self.read(|tx| {
            Box::pin(async move {
                // Touches a table, so that an unreadable file or a schema that went away is noticed.
                tx.query("select name from settings limit 1", &[]).await?;
                Ok(())
            })
        })
        .await
    }

    /// Holds and charges, batched with those of others.
    async fn engine_work(&self, work: Work) -> Result<Done> {
        on!(self, engine => engine.work(work))
    }

    /// Runs a verb in a transaction. It may run more than once; only its last run counts.
    async fn write<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        on!(self, engine => engine.write(verb))
    }

    async fn read<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        on!(self, engine => engine.read(verb))
    }

    /// The same on one snapshot, where figures have to fit each other.
    async fn read_snapshot<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        match &self.engine {
            // Every read of a SQLite file is.
            Engine::Sqlite(engine) => engine.read(verb).await,
            Engine::Postgres(engine) => engine.read_snapshot(verb).await,
        }
    }
}

fn locked(text: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a node may be silent on PostgreSQL before its jobs are handed to others.
pub const LEASE_MS: i64 = 15_000;

/// How long a claimed callback is ours: longer than the 15 s that a receiver has.
pub const CALLBACK_LEASE_MS: i64 = 20_000;

/// Something happened; look at the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// These jobs ended (by their runs, a cancel, `_dev/complete`) or were taken away.
    Ended(Arc<[JobId]>),
    WorkflowsChanged,
    KeysChanged,
}
