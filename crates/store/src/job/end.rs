//! Ends a job from outside its run: a cancel, or a result handed in. With it end the jobs that its models asked for: nobody
//! waits for them any more, and they would go on spending.

use levqor_core::callback::{Facts, compose};
use levqor_core::id::JobId;
use levqor_core::job::{Finish, JobError};
use levqor_core::state::State;
use levqor_core::talk::Turn;

use crate::tx::Tx;
use crate::{End, Ended, Error, Result, callback, decode, figures};

const INSERT: &str = "insert into finished_jobs \
    (id, state, version, claim, deaths, started_at_ms, finished_at_ms, error, result) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// What the turns of conversations say of jobs, and of nothing else.
const CHILDREN: &str =
    "select output from steps where job_id = $1 and step like '%/%' and output like '%\"job\":%'";

/// Ends the job, and its children.
pub(crate) async fn end_job(tx: &mut Tx<'_>, id: JobId, end: &End, now_ms: i64) -> Result<Ended> {
    let ended = end_one(tx, id, end, now_ms).await?;
    match ended {
        Ended::Now { .. } => Ok(Ended::Now { children: end_children(tx, id, now_ms).await? }),
        before => Ok(before),
    }
}

/// Cancels the live jobs that this one's models asked for, and theirs. Returns how many.
pub(crate) async fn end_children(tx: &mut Tx<'_>, parent: JobId, now_ms: i64) -> Result<usize> {
    let reason = JobError::new("cancelled", "the job that asked for it is over");
    let end = End::Cancelled { reason };
    let (mut parents, mut count) = (vec![parent], 0);
    while let Some(parent) = parents.pop() {
        for child in children(tx, parent).await? {
            match end_one(tx, child, &end, now_ms).await {
                Ok(ended) => {
                    count += usize::from(matches!(ended, Ended::Now { .. }));
                    parents.push(child);
                }
                // It was never made: its parent ended before that.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(count)
}

async fn children(tx: &mut Tx<'_>, parent: JobId) -> Result<Vec<JobId>> {
    let rows = tx.query(CHILDREN, &[(&parent.to_string()).into()]).await?;
    let mut children = Vec::new();
    for row in rows {
        if let Ok(Turn::Tool(run)) = serde_json::from_str(&row.text(0)?)
            && let Some(child) = run.job.and_then(|id| id.parse().ok())
        {
            children.push(child);
        }
    }
    Ok(children)
}

async fn end_one(tx: &mut Tx<'_>, id: JobId, end: &End, now_ms: i64) -> Result<Ended> {
    let key = id.to_string();
    let live = tx
        .query_opt(
            "delete from live_jobs where id = $1 returning version, claim, deaths, started_at_ms",
            &[(&key).into()],
        )
        .await?;
    let Some(live) = live else { return ended_before(tx, &key).await };
    let (state, result, error) = match end {
        End::Cancelled { reason } => (State::Cancelled, None, Some(reason)),
        End::Completed { result } => (State::Succeeded, Some(result.as_str()), None),
    };
    // A claim number of its own: what a run still records is stale, and the callback's id is not that of another end.
    let (version, claim) = (live.opt_int(0)?, live.int(1)? + 1);
    let (deaths, started_at_ms) = (live.int(2)?, live.opt_int(3)?);
    let error_text = error.map(decode::error_text);
    tx.execute(
        INSERT,
        &[
            (&key).into(),
            state.as_str().into(),
            version.into(),
            claim.into(),
            deaths.into(),
            started_at_ms.into(),
            now_ms.into(),
            error_text.as_ref().into(),
            result.into(),
        ],
    )
    .await?;

    let job = tx
        .query_opt(
            "select workflow, tags, created_at_ms, callback_url from jobs where id = $1",
            &[(&key).into()],
        )
        .await?
        .ok_or_else(|| Error::bug("a live job without its job"))?;
    if let Some(callback_url) = job.opt_text(3)? {
        let facts = Facts {
            job_id: id,
            claim,
            workflow: &job.text(0)?,
            version,
            tags: &decode::tags(&job.text(1)?)?,
            created_at_ms: job.int(2)?,
            started_at_ms,
            callback_url: &callback_url,
        };
        callback::insert(tx, &compose(&facts, state, now_ms, result, error), now_ms).await?;
    }
    figures::count(tx, now_ms, figures::FINISHED).await?;
    if deaths > 0 {
        figures::count(tx, now_ms, figures::UNRECORDED).await?;
    }
    tx.effects.ended.push(id);
    Ok(Ended::Now { children: 0 })
}

async fn ended_before(tx: &mut Tx<'_>, key: &str) -> Result<Ended> {
    let row = tx
        .query_opt(
            "select state, finished_at_ms, result, error from finished_jobs where id = $1",
            &[key.into()],
        )
        .await?
        .ok_or(Error::NotFound { what: "job" })?;
    Ok(Ended::Before(Box::new(Finish {
        state: decode::state(&row.text(0)?)?,
        finished_at_ms: row.int(1)?,
        result: row.opt_text(2)?,
        error: decode::error(row.opt_text(3)?.as_deref())?,
        callback: None,
    })))
}
