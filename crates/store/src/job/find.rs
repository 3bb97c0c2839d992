//! Finds one job: what the public may see of it, or all there is.

use levqor_core::id::JobId;

use super::list::{LINE_COLUMNS_COUNT, line};
use crate::tx::Tx;
use crate::{Error, JobRow, Result, StatusRow, callback, decode};

const STATUS: &str = "select j.created_at_ms, coalesce(l.state, f.state), f.result, f.error from jobs j \
    left join live_jobs l on l.id = j.id left join finished_jobs f on f.id = j.id where j.id = $1";

const JOB: &str = concat!(
    "select ",
    super::list::line_columns!(),
    ", j.payload, j.callback_url, j.caller, coalesce(l.claim, f.claim), coalesce(l.deaths, f.deaths), f.result, f.error \
     from jobs j left join live_jobs l on l.id = j.id left join finished_jobs f on f.id = j.id where j.id = $1"
);

const STEPS: &str = "select step, attempt, status, started_at_ms, finished_at_ms, until_ms, output, error from steps \
    where job_id = $1 order by step, attempt";

pub(crate) async fn status(tx: &mut Tx<'_>, id: JobId) -> Result<Option<StatusRow>> {
    let Some(row) = tx.query_opt(STATUS, &[(&id.to_string()).into()]).await? else { return Ok(None) };
    let state = row.opt_text(1)?.ok_or_else(|| Error::bug("a job that is neither live nor finished"))?;
    Ok(Some(StatusRow {
        id,
        created_at_ms: row.int(0)?,
        state: decode::state(&state)?,
        result: row.opt_text(2)?,
        error: decode::error(row.opt_text(3)?.as_deref())?,
    }))
}

pub(crate) async fn job(tx: &mut Tx<'_>, id: JobId) -> Result<Option<JobRow>> {
    let key = id.to_string();
    let Some(row) = tx.query_opt(JOB, &[(&key).into()]).await? else { return Ok(None) };
    let mut steps = Vec::new();
    for step in tx.query(STEPS, &[(&key).into()]).await? {
        steps.push(decode::step(&step)?);
    }
    let at = LINE_COLUMNS_COUNT;
    Ok(Some(JobRow {
        line: line(&row)?,
        payload: row.text(at)?,
        callback_url: row.opt_text(at + 1)?,
        caller: row.text(at + 2)?,
        claim: row.int(at + 3)?,
        deaths: row.int(at + 4)?,
        result: row.opt_text(at + 5)?,
        error: decode::error(row.opt_text(at + 6)?.as_deref())?,
        steps,
        callbacks: callback::of_job(tx, &key).await?,
    }))
}
