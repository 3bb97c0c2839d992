//! The record of backups: which day is done, who makes one now, what became of the last ones.
//!
//! A day is claimed by one statement, so that of many nodes one makes its backup. What a node was making when it died is free
//! for the next one that asks: at once on SQLite, where nobody else can be alive, and after the lease on PostgreSQL.

use levqor_core::backup::{Kind, midnight_before};

use crate::tx::{Row, Sql, Tx};
use crate::{Error, LEASE_MS, Result, Store, figures};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupRunState {
    Running,
    Succeeded,
    Failed,
}

impl BackupRunState {
    pub fn as_str(self) -> &'static str {
        match self {
            BackupRunState::Running => "running",
            BackupRunState::Succeeded => "succeeded",
            BackupRunState::Failed => "failed",
        }
    }
}

/// One backup, as far as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRun {
    pub id: String,
    /// Of its file.
    pub name: String,
    pub kind: Kind,
    pub state: BackupRunState,
    pub node: String,
    /// Grows each time a day's backup is begun anew; it is the fencing number too.
    pub attempt: i64,
    pub started_at_ms: i64,
    pub finished_at_ms: Option<i64>,
    pub size_bytes: Option<i64>,
    /// A checked copy is in the bucket.
    pub uploaded: bool,
    /// Why it failed; of one that succeeded: what did not work beside it.
    pub error: Option<String>,
}

impl BackupRun {
    fn begun(id: String, name: String, kind: Kind, node: String, attempt: i64, now_ms: i64) -> Self {
        BackupRun {
            id,
            name,
            kind,
            state: BackupRunState::Running,
            node,
            attempt,
            started_at_ms: now_ms,
            finished_at_ms: None,
            size_bytes: None,
            uploaded: false,
            error: None,
        }
    }
}

/// What became of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupEnd {
    Succeeded {
        name: String,
        size_bytes: i64,
        uploaded: bool,
        warning: Option<String>,
    },
    Failed {
        error: String,
        /// When the day's backup may be tried again; `None`: at once.
        again_at_ms: Option<i64>,
    },
}

/// What tells whether backups are made as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupHealth {
    pub last_success: Option<BackupRun>,
    /// When the installation began; `None` before its first sign of life.
    pub first_start_ms: Option<i64>,
}

/// Runs are forgotten after this; files are kept and pruned by their names, whatever stands here.
const KEPT_MS: i64 = 90 * 86_400_000;

/// `$4` is the lease on PostgreSQL, and used on SQLite only so that both texts have the same places.
// Differs because on PostgreSQL other nodes live, and a row of theirs says so.
const CLAIM: Sql = Sql::Each {
    sqlite: "insert into backup_runs (id, name, kind, state, node, attempt, started_at_ms, uploaded) \
        values ($1, $2, 'automatic', 'running', $3, 1, $5, false) \
        on conflict (id) do update set name = excluded.name, state = 'running', node = excluded.node, \
        attempt = backup_runs.attempt + 1, started_at_ms = excluded.started_at_ms, finished_at_ms = null, \
        again_at_ms = null, size_bytes = null, uploaded = false, error = null \
        where (backup_runs.state = 'running' and $4 > 0) \
        or (backup_runs.state = 'failed' and coalesce(backup_runs.again_at_ms, 0) <= $5) returning attempt",
    postgres: "insert into backup_runs (id, name, kind, state, node, attempt, started_at_ms, uploaded) \
        values ($1, $2, 'automatic', 'running', $3, 1, $5, false) \
        on conflict (id) do update set name = excluded.name, state = 'running', node = excluded.node, \
        attempt = backup_runs.attempt + 1, started_at_ms = excluded.started_at_ms, finished_at_ms = null, \
        again_at_ms = null, size_bytes = null, uploaded = false, error = null \
        where (backup_runs.state = 'running' and (backup_runs.node = excluded.node or not exists (select 1 from nodes n \
        where n.id = backup_runs.node and n.beat_at_ms > (extract(epoch from clock_timestamp()) * 1000)::bigint - $4))) \
        or (backup_runs.state = 'failed' and coalesce(backup_runs.again_at_ms, 0) <= $5) returning attempt",
};

// Differs because of the same. What is of the day that is claimed next is left to the claim.
const BURY: Sql = Sql::Each {
    sqlite: "update backup_runs set state = 'failed', finished_at_ms = $2, error = 'the process that made it ended' \
        where state = 'running' and node <> $1 and $3 > 0",
    postgres: "update backup_runs set state = 'failed', finished_at_ms = $2, error = 'the process that made it ended' \
        where state = 'running' and node <> $1 and not exists (select 1 from nodes n where n.id = backup_runs.node \
        and n.beat_at_ms > (extract(epoch from clock_timestamp()) * 1000)::bigint - $3)",
};

const BEGIN: &str = "insert into backup_runs (id, name, kind, state, node, attempt, started_at_ms, uploaded) \
    values ($1, $2, 'manual', 'running', $3, 1, $4, false)";

/// Changes nothing when another node has taken over.
const END: &str = "update backup_runs set name = $4, state = $5, finished_at_ms = $6, again_at_ms = $7, size_bytes = $8, \
    uploaded = $9, error = $10 where id = $1 and attempt = $2 and node = $3 and state = 'running'";

const LIST: &str = "select id, name, kind, state, node, attempt, started_at_ms, finished_at_ms, size_bytes, uploaded, error \
    from backup_runs order by started_at_ms desc, id desc limit $1";

const LAST_SUCCESS: &str = "select id, name, kind, state, node, attempt, started_at_ms, finished_at_ms, size_bytes, \
    uploaded, error from backup_runs where state = 'succeeded' order by started_at_ms desc, id desc limit 1";

impl Store {
    /// Takes the backup of the day that `now_ms` lies in for this node, if it is due: midnight passed since the first start,
    /// and nobody has made it, is making it, or failed just now. `name` is what the file will probably be called.
    pub async fn claim_backup(&self, name: &str, now_ms: i64) -> Result<Option<BackupRun>> {
        let day_ms = midnight_before(now_ms);
        // Looked at first: an idle server writes nothing.
        if !self.read(move |tx| Box::pin(is_due(tx, day_ms, now_ms))).await? {
            return Ok(None);
        }
        let (name, node) = (name.to_owned(), self.node.clone());
        self.write(move |tx| {
            let (name, node) = (name.clone(), node.clone());
            Box::pin(async move { claim(tx, day_ms, &name, &node, now_ms).await })
        })
        .await
    }

    /// Records that somebody asked for a backup, which begins now.
    pub async fn begin_backup(&self, id: &str, name: &str, now_ms: i64) -> Result<BackupRun> {
        let (id, name, node) = (id.to_owned(), name.to_owned(), self.node.clone());
        self.write(move |tx| {
            let (id, name, node) = (id.clone(), name.clone(), node.clone());
            Box::pin(async move {
                sweep(tx, &node, now_ms).await?;
                tx.execute(BEGIN, &[(&id).into(), (&name).into(), (&node).into(), now_ms.into()]).await?;
                Ok(BackupRun::begun(id, name, Kind::Manual, node, 1, now_ms))
            })
        })
        .await
    }

    /// Records what became of it; false when it is another node's by now.
    pub async fn end_backup(&self, run: &BackupRun, end: BackupEnd, now_ms: i64) -> Result<bool> {
        let run = run.clone();
        self.write(move |tx| {
            let (run, end) = (run.clone(), end.clone());
            Box::pin(async move { end_run(tx, &run, &end, now_ms).await })
        })
        .await
    }

    /// The newest runs first.
    pub async fn list_backup_runs(&self, limit: i64) -> Result<Vec<BackupRun>> {
        self.read(move |tx| {
            Box::pin(async move { tx.query(LIST, &[limit.into()]).await?.iter().map(read).collect() })
        })
        .await
    }

    /// What an operator must know: the last success, and how old the installation is.
    pub async fn backup_health(&self) -> Result<BackupHealth> {
        self.read(|tx| {
            Box::pin(async move {
                let last = tx.query_opt(LAST_SUCCESS, &[]).await?;
                Ok(BackupHealth {
                    last_success: last.as_ref().map(read).transpose()?,
                    first_start_ms: figures::first_start_ms(tx).await?,
                })
            })
        })
        .await
    }
}

fn day_id(day_ms: i64) -> String {
    format!("day:{day_ms}")
}

async fn is_due(tx: &mut Tx<'_>, day_ms: i64, now_ms: i64) -> Result<bool> {
    // A new installation has missed no midnight.
    if figures::first_start_ms(tx).await?.is_none_or(|first_ms| first_ms >= day_ms) {
        return Ok(false);
    }
    let sql = "select 1 from backup_runs where id = $1 \
        and (state = 'succeeded' or (state = 'failed' and coalesce(again_at_ms, 0) > $2))";
    Ok(tx.query_opt(sql, &[(&day_id(day_ms)).into(), now_ms.into()]).await?.is_none())
}

async fn claim(
    tx: &mut Tx<'_>,
    day_ms: i64,
    name: &str,
    node: &str,
    now_ms: i64,
) -> Result<Option<BackupRun>> {
    let id = day_id(day_ms);
    let claimed = tx
        .query_opt(CLAIM, &[(&id).into(), name.into(), node.into(), LEASE_MS.into(), now_ms.into()])
        .await?;
    let Some(row) = claimed else { return Ok(None) };
    let attempt = row.int(0)?;
    sweep(tx, node, now_ms).await?;
    Ok(Some(BackupRun::begun(id, name.to_owned(), Kind::Automatic, node.to_owned(), attempt, now_ms)))
}

/// What dead processes left behind, and what is too old to be of interest.
async fn sweep(tx: &mut Tx<'_>, node: &str, now_ms: i64) -> Result<()> {
    tx.execute(BURY, &[node.into(), now_ms.into(), LEASE_MS.into()]).await?;
    tx.execute("delete from backup_runs where started_at_ms < $1", &[(now_ms - KEPT_MS).into()]).await?;
    Ok(())
}

async fn end_run(tx: &mut Tx<'_>, run: &BackupRun, end: &BackupEnd, now_ms: i64) -> Result<bool> {
    let (state, again_at_ms, size_bytes, uploaded, error) = match end {
        BackupEnd::Succeeded { size_bytes, uploaded, warning, .. } => {
            ("succeeded", None, Some(*size_bytes), *uploaded, warning.as_ref())
        }
        BackupEnd::Failed { error, again_at_ms } => ("failed", *again_at_ms, None, false, Some(error)),
    };
    let name = match end {
        BackupEnd::Succeeded { name, .. } => name,
        BackupEnd::Failed { .. } => &run.name,
    };
    let changed = tx
        .execute(
            END,
            &[
                (&run.id).into(),
                run.attempt.into(),
                (&run.node).into(),
                name.into(),
                state.into(),
                now_ms.into(),
                again_at_ms.into(),
                size_bytes.into(),
                uploaded.into(),
                error.into(),
            ],
        )
        .await?;
    Ok(changed == 1)
}

fn read(row: &Row) -> Result<BackupRun> {
    Ok(BackupRun {
        id: row.text(0)?,
        name: row.text(1)?,
        kind: match row.text(2)?.as_str() {
            "automatic" => Kind::Automatic,
            "manual" => Kind::Manual,
            other => return Err(Error::bug(format!("a backup of the kind {other}"))),
        },
        state: match row.text(3)?.as_str() {
            "running" => BackupRunState::Running,
            "succeeded" => BackupRunState::Succeeded,
            "failed" => BackupRunState::Failed,
            other => return Err(Error::bug(format!("a backup in the state {other}"))),
        },
        node: row.text(4)?,
        attempt: row.int(5)?,
        started_at_ms: row.int(6)?,
        finished_at_ms: row.opt_int(7)?,
        size_bytes: row.opt_int(8)?,
        uploaded: row.bool(9)?,
        error: row.opt_text(10)?,
    })
}
