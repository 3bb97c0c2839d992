//! Idempotency keys: the same request under the same key gets the same answer for a day.

use levqor_core::job::{Idempotency, Intake};

use crate::tx::Tx;
use crate::{Result, decode};

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
