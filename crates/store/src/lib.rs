//! All SQL of Levqor: tables, migrations, transactions, wake-ups; one meaning on SQLite and PostgreSQL.
//!
//! Verbs are atomic facts ("record this if still mine"), never policies. A transaction never leaves this crate. Times are
//! arguments (milliseconds since 1970); only the liveness of nodes uses the database's clock.

mod fault;
mod tx;
mod types;
mod wake;

pub use types::*;

use std::path::PathBuf;

use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Fenced, Finish, Intake, JobError, NewJob, Record};

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
    Now,
    /// It had ended before; with which state and result.
    Before(Box<Finish>),
}

/// The one door to the database.
pub struct Store {}

#[allow(unused_variables, clippy::unimplemented)]
impl Store {
    /// Opens the database, creates or migrates it under a lock. `node` is this process's random id (liveness only).
    pub async fn open(location: &Location, node: &str) -> Result<Store> {
        unimplemented!()
    }

    /// What [`Store::open`] would migrate: names of pending migrations. Changes nothing.
    pub async fn pending_migrations(location: &Location) -> Result<Vec<String>> {
        unimplemented!()
    }

    /// `"sqlite"` or `"postgres"`.
    pub fn engine(&self) -> &'static str {
        unimplemented!()
    }

    /// Waits until all accepted writes are committed, then closes. Later calls fail as unavailable.
    pub async fn close(&self) {
        unimplemented!()
    }

    // ---- the hot verbs -------------------------------------------------------------------------------------------

    /// **Commit 1.** Stores the job, its place in the queue and its idempotency key. `Ok` means durable.
    pub async fn intake(&self, job: NewJob) -> Result<Intake> {
        unimplemented!()
    }

    /// The same for many, in one commit; verdicts in order. Twins inside the batch see each other.
    pub async fn intake_many(&self, jobs: Vec<NewJob>) -> Result<Vec<Intake>> {
        unimplemented!()
    }

    /// **Commit 2.** Takes up to `limit` runnable jobs in order for this node. Waits (parked, without polling the
    /// database on SQLite) until there is at least one; cancel-safe: a claim whose caller went away claims nothing, or what it claimed is handed back.
    /// `clock` is read when the claim is executed (it may have been parked for hours): it becomes `started_at_ms`.
    pub async fn claim(
        &self,
        limit: usize,
        clock: &std::sync::Arc<dyn levqor_core::clock::Clock>,
    ) -> Result<Vec<ClaimedJob>> {
        unimplemented!()
    }

    /// **Commits 3 and 4.** Records attempts and what becomes of the job, if it is still ours.
    pub async fn record(&self, record: Record) -> Result<Fenced> {
        unimplemented!()
    }

    /// Takes up to `limit` due callbacks, oldest due first, passing over receivers in `busy_hosts`. Returns at once.
    /// The claim is a lease of [`CALLBACK_LEASE_MS`]. A try whose process died is recorded as `lost` here.
    pub async fn claim_callbacks(
        &self,
        limit: usize,
        busy_hosts: &[String],
        now_ms: i64,
    ) -> Result<Vec<ClaimedCallback>> {
        unimplemented!()
    }

    /// **Commit 5.** Records a try and what follows from it, if the lease is still ours.
    pub async fn record_callback(
        &self,
        claimed: &ClaimedCallback,
        tried: CallbackTry,
        end: CallbackEnd,
    ) -> Result<Fenced> {
        unimplemented!()
    }

    // ---- wake-ups: hints, never the truth ------------------------------------------------------------------------

    /// Resolves when a callback may have become due, here or on another node, since the last call.
    pub async fn callback_wake(&self) {
        unimplemented!()
    }

    /// A stream of hints, here and from other nodes: jobs that ended or were cancelled, workflows that changed.
    pub fn hints(&self) -> tokio::sync::broadcast::Receiver<Hint> {
        unimplemented!()
    }

    // ---- the life of jobs, cold ----------------------------------------------------------------------------------

    /// Ends a live job, whatever it is doing: its claim is fenced off, its callback becomes due (composed by
    /// `levqor_core::callback::compose`), all in one commit. `NotFound` for an unknown id.
    pub async fn end_job(&self, id: JobId, end: End, now_ms: i64) -> Result<Ended> {
        unimplemented!()
    }

    /// Puts a failed, cancelled or expired job back in the queue; its failed steps read `retried`. `Conflict` for any
    /// other state. Its claim numbers go on growing.
    pub async fn retry_job(&self, id: JobId, now_ms: i64) -> Result<()> {
        unimplemented!()
    }

    /// Makes the job's newest callback due at once, with a fresh schedule, and returns its id. `Conflict` when the job
    /// has none (no URL, or not ended).
    pub async fn redeliver(&self, id: JobId, now_ms: i64) -> Result<String> {
        unimplemented!()
    }

    pub async fn find_status(&self, id: JobId) -> Result<Option<StatusRow>> {
        unimplemented!()
    }

    pub async fn find_job(&self, id: JobId) -> Result<Option<JobRow>> {
        unimplemented!()
    }

    pub async fn list_jobs(&self, filter: &JobFilter) -> Result<JobPage> {
        unimplemented!()
    }

    // ---- upkeep: each is one turn of a loop, bounded in size -----------------------------------------------------

    /// Moves scheduled and waiting jobs that are due to the queue, oldest due first, at most `limit`. Returns how many,
    /// and when the next one is due.
    pub async fn move_due(&self, now_ms: i64, limit: usize) -> Result<(usize, Option<i64>)> {
        unimplemented!()
    }

    /// Moves jobs whose workflow has a definition by now to the queue, at most `limit`.
    pub async fn move_defined(&self, limit: usize) -> Result<usize> {
        unimplemented!()
    }

    /// Says that this node lives (PostgreSQL: database clock; no-op on SQLite), and marks the minute as up.
    pub async fn beat(&self, now_ms: i64) -> Result<()> {
        unimplemented!()
    }

    /// Hands back jobs of nodes that died: on PostgreSQL those without a beat for [`LEASE_MS`], on SQLite all that are
    /// running under another node id. Counts a death for each. At most `limit`; returns how many.
    pub async fn rescue(&self, limit: usize) -> Result<usize> {
        unimplemented!()
    }

    /// The running jobs of this node with their claim numbers: what is not among them has been taken away.
    pub async fn list_mine(&self) -> Result<Vec<(JobId, i64)>> {
        unimplemented!()
    }

    /// Deletes one small batch of what retention no longer keeps: jobs finished before `finished_before_ms` (and, with
    /// `keep_newest`, beyond that count), idempotency keys older than 24 h, old rollups. Returns how many jobs went.
    pub async fn prune(
        &self,
        finished_before_ms: i64,
        keep_newest: Option<i64>,
        now_ms: i64,
    ) -> Result<usize> {
        unimplemented!()
    }

    // ---- workflows -----------------------------------------------------------------------------------------------

    /// Stores a new version, unless its source equals the newest version's source from the same origin (and the name is not deleted).
    /// Returns the row in force and whether it is new.
    pub async fn put_workflow(
        &self,
        name: &str,
        source: &str,
        origin: &str,
        now_ms: i64,
    ) -> Result<(WorkflowRow, bool)> {
        unimplemented!()
    }

    /// Marks the name as deleted; versions stay for the jobs that run on them.
    pub async fn delete_workflow(&self, name: &str, now_ms: i64) -> Result<()> {
        unimplemented!()
    }

    /// One version; `None` as version: the current one (not if deleted).
    pub async fn find_workflow(&self, name: &str, version: Option<i64>) -> Result<Option<WorkflowRow>> {
        unimplemented!()
    }

    /// All names, sorted, deleted ones included.
    pub async fn list_workflows(&self) -> Result<Vec<WorkflowHead>> {
        unimplemented!()
    }

    // ---- the rest ------------------------------------------------------------------------------------------------

    /// A small value kept by the installation (the callback secret made at first start).
    pub async fn find_setting(&self, name: &str) -> Result<Option<String>> {
        unimplemented!()
    }

    /// Stores `value` unless there is one; returns the one in force. Two nodes at their first start agree.
    pub async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String> {
        unimplemented!()
    }

    pub async fn figures(&self, day_start_ms: i64, now_ms: i64) -> Result<Figures> {
        unimplemented!()
    }

    pub async fn live_counts(&self) -> Result<LiveCounts> {
        unimplemented!()
    }

    /// A trivial read, for /health.
    pub async fn ping(&self) -> Result<()> {
        unimplemented!()
    }
}

/// How long a node may be silent on PostgreSQL before its jobs are handed to others.
pub const LEASE_MS: i64 = 15_000;

/// How long a claimed callback is ours: longer than the 15 s that a receiver has.
pub const CALLBACK_LEASE_MS: i64 = 20_000;

/// Something happened; look at the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// This job ended (by its run, a cancel, `_dev/complete`) or was taken away.
    Ended(JobId),
    WorkflowsChanged,
}
