//! Upkeep of live work: what is due, what is defined by now, what is ours. Each verb is one bounded turn.
//! Liveness and rescue are native to the engines.

use levqor_core::id::JobId;

use crate::tx::{Sql, Tx};
use crate::{Result, decode};

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
