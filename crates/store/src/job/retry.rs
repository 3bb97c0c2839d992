//! Puts a job that did not succeed back in the queue.

use levqor_core::id::JobId;

use crate::tx::Tx;
use crate::{Error, Result, decode};

const INSERT: &str = "insert into live_jobs (id, workflow, version, state, sort_at_ms, claim, deaths) \
    values ($1, $2, $3, 'queued', $4, $5, 0)";

/// The job is new to the queue: it sorts by the time of the retry, its own time limit starts again, and process deaths of
/// before do not count. Only its claim numbers go on, for they fence.
pub(crate) async fn retry_job(tx: &mut Tx<'_>, id: JobId, now_ms: i64) -> Result<()> {
    let key = id.to_string();
    let finished = tx
        .query_opt(
            "delete from finished_jobs where id = $1 and state <> 'succeeded' returning version, claim",
            &[(&key).into()],
        )
        .await?;
    let job = tx.query_opt("select workflow, priority from jobs where id = $1", &[(&key).into()]).await?;
    let job = job.ok_or(Error::NotFound { what: "job" })?;
    let Some(finished) = finished else {
        let what = "only a failed, cancelled or expired job can be retried".to_owned();
        return Err(Error::Conflict { what });
    };
    let sort_at_ms = now_ms + decode::priority(&job.text(1)?)?.delay_ms();
    tx.execute(
        INSERT,
        &[
            (&key).into(),
            (&job.text(0)?).into(),
            finished.opt_int(0)?.into(),
            sort_at_ms.into(),
            finished.int(1)?.into(),
        ],
    )
    .await?;
    // A step whose start alone is on record may have happened: who asks for the retry has decided to run it again.
    tx.execute(
        "update steps set status = 'retried' where job_id = $1 and status in ('failed', 'started')",
        &[(&key).into()],
    )
    .await?;
    tx.effects.runnable = true;
    // Whoever waits for the job's end looks again: it is not over.
    tx.effects.ended.push(id);
    Ok(())
}
