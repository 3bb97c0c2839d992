//! Callbacks, cold: born with a job's end, read with the job, asked for once more.

use levqor_core::id::JobId;
use levqor_core::job::NewCallback;

use crate::tx::{Row, Tx};
use crate::{CallbackRow, CallbackTry, Error, Result, decode};

pub(crate) const INSERT: &str = "insert into callbacks \
    (id, job_id, url, host, state, created_at_ms, due_at_ms, attempt, round, body) \
    values ($1, $2, $3, $4, 'due', $5, $5, 0, 0, $6)";

/// Behind every receiver's name.
pub(crate) const LAST_HOST: &str = "\u{10FFFF}";

/// Which callbacks to claim: of the receivers after `after`, up to and including `until`.
#[derive(Clone)]
pub(crate) struct Walk {
    pub after: String,
    pub until: String,
    pub limit: usize,
    pub now_ms: i64,
}

pub(crate) const TRY: &str = "insert into callback_tries (callback_id, attempt, at_ms, duration_ms, status, error) \
    values ($1, $2, $3, $4, $5, $6)";

/// A try whose lease ran out without a record: it began with the lease and took no longer than that.
pub(crate) const LOST: &str = "insert into callback_tries (callback_id, attempt, at_ms, duration_ms, status, error) \
    values ($1, $2, $3, $4, null, 'lost') on conflict (callback_id, attempt) do nothing";

pub(crate) async fn insert(tx: &mut Tx<'_>, new: &NewCallback, now_ms: i64) -> Result<()> {
    let job_id = new.job_id.to_string();
    tx.execute(
        INSERT,
        &[
            (&new.id).into(),
            (&job_id).into(),
            (&new.url).into(),
            (&new.host).into(),
            now_ms.into(),
            (&new.body).into(),
        ],
    )
    .await?;
    tx.effects.callbacks = true;
    Ok(())
}

/// The newest one: ids of one job differ in the claim number at their end alone, so a longer id has the greater number.
/// A try that is under way when this comes does not settle the callback: it is made again all the same.
pub(crate) async fn redeliver(tx: &mut Tx<'_>, id: JobId, now_ms: i64) -> Result<String> {
    let key = id.to_string();
    let changed = tx
        .query_opt(
            "update callbacks set state = 'due', due_at_ms = $2, round = 0 where id = \
             (select id from callbacks where job_id = $1 \
             order by created_at_ms desc, length(id) desc, id desc limit 1) returning id",
            &[(&key).into(), now_ms.into()],
        )
        .await?;
    if let Some(row) = changed {
        tx.effects.callbacks = true;
        return row.text(0);
    }
    match tx.query_opt("select 1 from jobs where id = $1", &[(&key).into()]).await? {
        Some(_) => Err(Error::Conflict {
            what: "the job has no callback: no callback_url, or it has not ended".to_owned(),
        }),
        None => Err(Error::NotFound { what: "job" }),
    }
}

/// The job's callbacks with their tries, oldest first.
pub(crate) async fn of_job(tx: &mut Tx<'_>, job_id: &str) -> Result<Vec<CallbackRow>> {
    let mut callbacks = Vec::new();
    let rows = tx
        .query(
            "select id, url, state, created_at_ms, due_at_ms from callbacks where job_id = $1 \
             order by created_at_ms, length(id), id",
            &[job_id.into()],
        )
        .await?;
    for row in rows {
        let id = row.text(0)?;
        let tries = tx
            .query(
                "select attempt, at_ms, duration_ms, status, error from callback_tries where callback_id = $1 \
                 order by attempt",
                &[(&id).into()],
            )
            .await?;
        callbacks.push(CallbackRow {
            id,
            url: row.text(1)?,
            state: decode::callback_state(&row.text(2)?)?,
            created_at_ms: row.int(3)?,
            due_at_ms: row.opt_int(4)?,
            tries: tries.iter().map(tried).collect::<Result<_>>()?,
        });
    }
    Ok(callbacks)
}

fn tried(row: &Row) -> Result<CallbackTry> {
    Ok(CallbackTry {
        attempt: row.int(0)?,
        at_ms: row.int(1)?,
        duration_ms: row.int(2)?,
        status: row.opt_int(3)?,
        error: row.opt_text(4)?,
    })
}
