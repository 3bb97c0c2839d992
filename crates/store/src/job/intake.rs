//! Idempotency keys: the same request under the same key gets the same answer for a day. And the cold way in, for a job that
//! has to be one commit with something else.

use levqor_core::job::{Idempotency, Intake, NewJob};
use levqor_core::state::State;

use crate::tx::Tx;
use crate::{Result, decode, figures};

/// How long a key is kept. An older row counts as absent, whether it is deleted yet or not.
pub(crate) const KEY_KEPT_MS: i64 = 24 * 3_600_000;

/// The verdict on a request whose key is known: with this body, as this job.
pub(crate) fn judge(asked: &Idempotency, body_hash: &str, job_id: &str) -> Result<Intake> {
    if asked.body_hash == body_hash {
        Ok(Intake::Replayed(decode::job_id(job_id)?))
    } else {
        Ok(Intake::Conflict)
    }
}

pub(crate) async fn find(
    tx: &mut Tx<'_>,
    caller: &str,
    idempotency: &Idempotency,
    now_ms: i64,
) -> Result<Option<Intake>> {
    let row = tx
        .query_opt(
            "select body_hash, job_id from idempotency_keys where caller = $1 and key = $2 and created_at_ms > $3",
            &[caller.into(), (&idempotency.key).into(), (now_ms - KEY_KEPT_MS).into()],
        )
        .await?;
    row.map(|row| judge(idempotency, &row.text(0)?, &row.text(1)?)).transpose()
}

/// Stores a job and its place in the queue as a part of this transaction. For jobs without an idempotency key: what they are one
/// commit with tells whether they are new.
pub(crate) async fn put(tx: &mut Tx<'_>, job: &NewJob) -> Result<()> {
    debug_assert!(job.idempotency.is_none(), "a key would have to be looked at");
    let (id, state) = (job.id.to_string(), job.first_state());
    tx.execute(
        "insert into jobs (id, workflow, priority, caller, created_at_ms, run_at_ms, callback_url, tags, payload) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        &[
            (&id).into(),
            (&job.workflow).into(),
            job.priority.as_str().into(),
            (&job.caller).into(),
            job.created_at_ms.into(),
            job.run_at_ms.into(),
            job.callback_url.as_ref().into(),
            (&decode::tags_text(&job.tags)).into(),
            (&job.payload).into(),
        ],
    )
    .await?;
    tx.execute(
        "insert into live_jobs (id, workflow, version, state, sort_at_ms, due_at_ms, claim, deaths) \
         values ($1, $2, $3, $4, $5, $6, 0, 0)",
        &[
            (&id).into(),
            (&job.workflow).into(),
            job.version.into(),
            state.as_str().into(),
            job.sort_at_ms().into(),
            job.run_at_ms.filter(|_| state == State::Scheduled).into(),
        ],
    )
    .await?;
    figures::count(tx, job.created_at_ms, figures::ACCEPTED).await?;
    tx.effects.runnable |= state == State::Queued;
    Ok(())
}
