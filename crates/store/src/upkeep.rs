//! Upkeep of live work: what is due, what is defined by now, what is ours. Each verb is one bounded turn.
//! Liveness and rescue are native to the engines.

use levqor_core::id::JobId;

use crate::money::{answers, asks};
use crate::tx::{Sql, Tx};
use crate::{Result, Store, decode, emails, job, locked};

const ANSWERS_AT_ONCE: i64 = 500;

impl Store {
    /// Moves scheduled and waiting jobs that are due to the queue, oldest due first, at most `limit`. Returns how many,
    /// and when the next one is due.
    pub async fn move_due(&self, now_ms: i64, limit: usize) -> Result<(usize, Option<i64>)> {
        // Looked at first: an idle server writes nothing.
        match self.read(|tx| Box::pin(next_due(tx))).await? {
            Some(next_ms) if next_ms <= now_ms => {
                self.write(move |tx| Box::pin(move_due(tx, now_ms, limit))).await
            }
            next_ms => Ok((0, next_ms)),
        }
    }

    /// Makes waiting jobs due, because what they wait for is there. Returns how many still waited.
    pub async fn hasten(&self, jobs: &[JobId], now_ms: i64) -> Result<usize> {
        let ids: Vec<String> = jobs.iter().map(JobId::to_string).collect();
        self.write(move |tx| {
            let ids = ids.clone();
            Box::pin(async move { hasten(tx, &ids, now_ms).await })
        })
        .await
    }

    /// Moves jobs whose workflow has a definition by now to the queue, at most `limit`.
    pub async fn move_defined(&self, limit: usize) -> Result<usize> {
        // Looked at first: an idle server writes nothing.
        if !self.read(|tx| Box::pin(is_any_defined(tx))).await? {
            return Ok(0);
        }
        self.write(move |tx| Box::pin(move_defined(tx, limit))).await
    }

    /// The running jobs of this node with their claim numbers: what is not among them has been taken away.
    pub async fn list_mine(&self) -> Result<Vec<(JobId, i64)>> {
        let node = self.node.clone();
        self.read(move |tx| {
            let node = node.clone();
            Box::pin(async move { list_mine(tx, &node).await })
        })
        .await
    }

    /// Deletes one small batch of what retention no longer keeps: jobs finished before `finished_before_ms` (and, with
    /// `keep_newest`, beyond that count), idempotency keys older than 24 h, old rollups, tries of mails from before
    /// then. Returns how many jobs went.
    pub async fn prune(
        &self,
        finished_before_ms: i64,
        keep_newest: Option<i64>,
        now_ms: i64,
    ) -> Result<usize> {
        self.write(move |tx| Box::pin(job::prune::sweep(tx, now_ms))).await?;
        self.write(move |tx| Box::pin(answers::sweep(tx, now_ms, ANSWERS_AT_ONCE))).await?;
        self.write(move |tx| Box::pin(asks::sweep(tx, now_ms, ANSWERS_AT_ONCE))).await?;
        self.write(move |tx| Box::pin(emails::sweep(tx, finished_before_ms, now_ms))).await?;
        let after = locked(&self.prune_after).clone();
        let found = self
            .read(move |tx| {
                let after = after.clone();
                Box::pin(async move { job::prune::find(tx, &after, finished_before_ms, keep_newest).await })
            })
            .await?;
        let deleted = match found.piece {
            None => 0,
            Some(piece) => {
                self.write(move |tx| {
                    let piece = piece.clone();
                    Box::pin(async move { job::prune::delete(tx, &piece).await })
                })
                .await?
            }
        };
        *locked(&self.prune_after) = found.next_after;
        Ok(deleted)
    }
}

// Differs because on PostgreSQL two nodes do the same turn at the same time and must not wait for each other.
const MOVE_DUE: Sql = Sql::Each {
    sqlite: "update live_jobs set state = 'queued', due_at_ms = null where id in \
        (select id from live_jobs where due_at_ms is not null and due_at_ms <= $1 order by due_at_ms, id limit $2)",
    postgres: "update live_jobs set state = 'queued', due_at_ms = null where id in \
        (select id from live_jobs where due_at_ms is not null and due_at_ms <= $1 order by due_at_ms, id limit $2 \
         for update skip locked)",
};

// Differs because of the same.
const MOVE_DEFINED: Sql = Sql::Each {
    sqlite: "update live_jobs set state = 'queued' where id in \
        (select l.id from workflows w join live_jobs l on l.workflow = w.name \
         where w.deleted = false and l.state = 'undefined' limit $1)",
    postgres: "update live_jobs set state = 'queued' where id in \
        (select l.id from workflows w join live_jobs l on l.workflow = w.name \
         where w.deleted = false and l.state = 'undefined' limit $1 for update of l skip locked)",
};

/// How many were moved, and when the next one is due.
pub(crate) async fn move_due(tx: &mut Tx<'_>, now_ms: i64, limit: usize) -> Result<(usize, Option<i64>)> {
    let moved = tx.execute(MOVE_DUE, &[now_ms.into(), (limit as i64).into()]).await?;
    tx.effects.runnable |= moved > 0;
    Ok((moved as usize, next_due(tx).await?))
}

pub(crate) async fn hasten(tx: &mut Tx<'_>, ids: &[String], now_ms: i64) -> Result<usize> {
    let sql = "update live_jobs set due_at_ms = $2 where id = $1 and state = 'waiting' and due_at_ms > $2";
    // The step that paused says itself until when; a `wait` has no error, and rests as long as it says.
    let step = "update steps set until_ms = $2 \
        where job_id = $1 and status = 'waiting' and error is not null and until_ms > $2";
    let mut hastened = 0;
    for id in ids {
        let job = tx.execute(sql, &[id.into(), now_ms.into()]).await?;
        if job > 0 {
            tx.execute(step, &[id.into(), now_ms.into()]).await?;
        }
        hastened += job;
    }
    Ok(hastened as usize)
}

/// When the next scheduled or waiting job is due.
pub(crate) async fn next_due(tx: &mut Tx<'_>) -> Result<Option<i64>> {
    let row = tx.query_opt("select min(due_at_ms) from live_jobs where due_at_ms is not null", &[]).await?;
    row.map_or(Ok(None), |row| row.opt_int(0))
}

/// Whether a job waits for a definition that is there.
pub(crate) async fn is_any_defined(tx: &mut Tx<'_>) -> Result<bool> {
    let sql = "select 1 from workflows w join live_jobs l on l.workflow = w.name \
        where w.deleted = false and l.state = 'undefined' limit 1";
    Ok(tx.query_opt(sql, &[]).await?.is_some())
}

pub(crate) async fn move_defined(tx: &mut Tx<'_>, limit: usize) -> Result<usize> {
    let moved = tx.execute(MOVE_DEFINED, &[(limit as i64).into()]).await?;
    tx.effects.runnable |= moved > 0;
    Ok(moved as usize)
}

pub(crate) async fn list_mine(tx: &mut Tx<'_>, node: &str) -> Result<Vec<(JobId, i64)>> {
    let rows = tx
        .query("select id, claim from live_jobs where state = 'running' and node = $1", &[node.into()])
        .await?;
    rows.iter().map(|row| Ok((decode::job_id(&row.text(0)?)?, row.int(1)?))).collect()
}
