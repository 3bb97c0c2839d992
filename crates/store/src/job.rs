//! Jobs, cold: how they are found, listed, ended from outside and started again. Intake, claim and record are hot and
//! native to each engine; what both share of them stands here.

pub(crate) mod end;
pub(crate) mod find;
pub(crate) mod intake;
pub(crate) mod list;
pub(crate) mod prune;
pub(crate) mod retry;

use std::sync::Arc;

use levqor_core::audit::{Act, Actor};
use levqor_core::id::JobId;
use levqor_core::job::{Idempotency, Intake};

use crate::{End, Ended, JobFilter, JobPage, JobRow, Result, StatusRow, Store, audit, callback};

impl Store {
    /// Ends a live job, whatever it is doing, and the jobs that its models asked for: its claim is fenced off, its callback becomes due (composed by
    /// `levqor_core::callback::compose`), all in one commit. `NotFound` for an unknown id.
    pub async fn end_job(&self, id: JobId, end: End, by: &Actor, now_ms: i64) -> Result<Ended> {
        let end = Arc::new(end);
        let action = match &*end {
            End::Cancelled { .. } => "job.cancel",
            End::Completed { .. } => "job.complete",
        };
        let act = Act::new(by, action, id.to_string(), now_ms);
        self.write(move |tx| {
            let (end, act) = (end.clone(), act.clone());
            Box::pin(async move {
                let ended = end::end_job(tx, id, &end, now_ms).await?;
                if matches!(ended, Ended::Now { .. }) {
                    audit::append(tx, &act).await?;
                }
                Ok(ended)
            })
        })
        .await
    }

    /// Cancels what the models of a job asked for and still lives, once the job itself is over. Returns how many jobs.
    pub async fn end_children(&self, parent: JobId, now_ms: i64) -> Result<usize> {
        self.write(move |tx| {
            Box::pin(async move {
                let sql = "select 1 from finished_jobs where id = $1";
                match tx.query_opt(sql, &[(&parent.to_string()).into()]).await? {
                    Some(_) => end::end_children(tx, parent, now_ms).await,
                    // It lives, here or elsewhere.
                    None => Ok(0),
                }
            })
        })
        .await
    }

    /// Puts a failed, cancelled or expired job back in the queue; its steps that failed, or of which only the start is on
    /// record, read `retried`. `Conflict` for any other state. Its claim numbers go on growing.
    pub async fn retry_job(&self, id: JobId, by: &Actor, now_ms: i64) -> Result<()> {
        let act = Act::new(by, "job.retry", id.to_string(), now_ms);
        self.write(move |tx| {
            let act = act.clone();
            Box::pin(async move {
                retry::retry_job(tx, id, now_ms).await?;
                audit::append(tx, &act).await
            })
        })
        .await
    }

    /// Deletes a finished job with its steps and callbacks. `Conflict` before its end, and while its callback is still due.
    pub async fn delete_job(&self, id: JobId, by: &Actor, now_ms: i64) -> Result<()> {
        let act = Act::new(by, "job.delete", id.to_string(), now_ms);
        self.write(move |tx| {
            let act = act.clone();
            Box::pin(async move {
                prune::delete_one(tx, id).await?;
                audit::append(tx, &act).await
            })
        })
        .await
    }

    /// Makes the job's newest callback due at once, with a fresh schedule, and returns its id. `Conflict` when the job
    /// has none (no URL, or not ended).
    pub async fn redeliver(&self, id: JobId, by: &Actor, now_ms: i64) -> Result<String> {
        let act = Act::new(by, "job.redeliver", id.to_string(), now_ms);
        self.write(move |tx| {
            let act = act.clone();
            Box::pin(async move {
                let callback_id = callback::redeliver(tx, id, now_ms).await?;
                let act = act.detail(serde_json::json!({"callback": callback_id}));
                audit::append(tx, &act).await?;
                Ok(callback_id)
            })
        })
        .await
    }

    /// What an intake under this key would meet, without storing anything; `None` for a key that is not in use.
    pub async fn find_intake(
        &self,
        caller: &str,
        idempotency: &Idempotency,
        now_ms: i64,
    ) -> Result<Option<Intake>> {
        let caller = caller.to_owned();
        let idempotency = idempotency.clone();
        self.read(move |tx| {
            let caller = caller.clone();
            let idempotency = idempotency.clone();
            Box::pin(async move { intake::find(tx, &caller, &idempotency, now_ms).await })
        })
        .await
    }

    pub async fn find_status(&self, id: JobId) -> Result<Option<StatusRow>> {
        self.read(move |tx| Box::pin(find::status(tx, id))).await
    }

    pub async fn find_job(&self, id: JobId) -> Result<Option<JobRow>> {
        self.read(move |tx| Box::pin(find::job(tx, id))).await
    }

    pub async fn list_jobs(&self, filter: &JobFilter) -> Result<JobPage> {
        let filter = filter.clone();
        self.read(move |tx| {
            let filter = filter.clone();
            Box::pin(async move { list::jobs(tx, &filter).await })
        })
        .await
    }
}
