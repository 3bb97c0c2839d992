//! Answers of models that may be given again: what was said, under the hash of what was asked. A hit is a call of its own
//! that costs nothing, so that whoever explains a job's bill finds it.

use levqor_core::money::CallId;

use super::types::{CacheHit, CachedAnswer};
use crate::tx::{Sql, Tx};
use crate::{Error, Result, Store, decode};

const FIND: &str = "select call_id, said from ai_answers where key = $1 and created_at_ms >= $2";

const PUT: &str = "insert into ai_answers (key, call_id, said, created_at_ms, expires_at_ms) values ($1, $2, $3, $4, $5) \
    on conflict (key) do update set call_id = excluded.call_id, said = excluded.said, \
    created_at_ms = excluded.created_at_ms, expires_at_ms = excluded.expires_at_ms";

/// The same model at the same price, and nothing sent, held or used.
const HIT: &str = "insert into ai_calls (id, place, job_id, root_job_id, workflow, step, logical_call, attempt, key_id, \
    user_id, tags, provider, model, price_id, terms, tier, state, node, est_input, est_output, reserved_nano, settled_nano, \
    corrections, finish_reason, reserved_at_ms, settled_at_ms) \
    select $1, $2, $3, $4, $5, $6, $7, $8, $9, null, $10, provider, model, price_id, terms, tier, 'settled', $11, 0, 0, 0, 0, \
    0, 'cache_hit', $12, $12 from ai_calls where id = $13 on conflict (place) do nothing";

// Differs because a cast is what tells PostgreSQL the type of a parameter that stands in a list of columns alone.
const HIT_SQL: Sql = Sql::Each { sqlite: HIT, postgres: HIT_POSTGRES };
const HIT_POSTGRES: &str = "insert into ai_calls (id, place, job_id, root_job_id, workflow, step, logical_call, attempt, \
    key_id, user_id, tags, provider, model, price_id, terms, tier, state, node, est_input, est_output, reserved_nano, \
    settled_nano, corrections, finish_reason, reserved_at_ms, settled_at_ms) \
    select $1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::bigint, $8::bigint, $9::text, null, $10::text, \
    provider, model, price_id, terms, tier, 'settled', $11::text, 0, 0, 0, 0, 0, 'cache_hit', $12::bigint, $12::bigint \
    from ai_calls where id = $13::text on conflict (place) do nothing";

const LEDGER: &str = "insert into cost_ledger (call_id, kind, correction, amount_nano, actor, reason, at_ms) \
    values ($1, 'cache_hit', 0, 0, 'system', $2, $3)";

const EXPIRED: &str = "delete from ai_answers where key in \
    (select key from ai_answers where expires_at_ms <= $1 order by expires_at_ms limit $2)";

impl Store {
    /// The answer to what was asked under this hash, if it is from then or later.
    pub async fn find_answer(&self, key: &str, since_ms: i64) -> Result<Option<CachedAnswer>> {
        let key = key.to_owned();
        self.read(move |tx| {
            let key = key.clone();
            Box::pin(async move {
                let row = tx.query_opt(FIND, &[(&key).into(), since_ms.into()]).await?;
                row.map(|row| Ok(CachedAnswer { call: row.text(0)?, said: row.text(1)? })).transpose()
            })
        })
        .await
    }

    /// Keeps an answer until `expires_at_ms`.
    pub async fn put_answer(
        &self,
        key: &str,
        answer: &CachedAnswer,
        now_ms: i64,
        expires_at_ms: i64,
    ) -> Result<()> {
        let (key, answer) = (key.to_owned(), answer.clone());
        self.write(move |tx| {
            let (key, answer) = (key.clone(), answer.clone());
            Box::pin(async move {
                let values = [
                    (&key).into(),
                    (&answer.call).into(),
                    (&answer.said).into(),
                    now_ms.into(),
                    expires_at_ms.into(),
                ];
                tx.execute(PUT, &values).await.map(drop)
            })
        })
        .await
    }

    /// Records that a call was answered from the store, once for each place; returns the call that it is. `None`: the call
    /// that was paid for is not on record any more, or the place has a call that was sent.
    pub async fn record_cache_hit(&self, hit: &CacheHit) -> Result<Option<CallId>> {
        let (hit, node) = (hit.clone(), self.node.clone());
        self.write(move |tx| {
            let (hit, node) = (hit.clone(), node.clone());
            Box::pin(async move { record(tx, &hit, &node).await })
        })
        .await
    }
}

async fn record(tx: &mut Tx<'_>, hit: &CacheHit, node: &str) -> Result<Option<CallId>> {
    let (id, place, of) = (hit.id.to_string(), hit.place.text(), hit.of.to_string());
    let (job, root) = (hit.place.job.to_string(), hit.place.root_job.to_string());
    let tags = decode::tags_text(&hit.tags);
    let values = [
        (&id).into(),
        (&place).into(),
        (&job).into(),
        (&root).into(),
        (&hit.place.workflow).into(),
        (&hit.place.step).into(),
        hit.place.logical_call.into(),
        hit.place.attempt.into(),
        hit.key.as_deref().into(),
        (&tags).into(),
        node.into(),
        hit.at_ms.into(),
        (&of).into(),
    ];
    if tx.execute(HIT_SQL, &values).await? == 1 {
        let reason = format!("the answer of call {of}");
        tx.execute(LEDGER, &[(&id).into(), (&reason).into(), hit.at_ms.into()]).await?;
        return Ok(Some(hit.id));
    }
    // An earlier run recorded this very hit, and died before its turn was.
    let known = "select id from ai_calls where place = $1 and finish_reason = 'cache_hit'";
    let row = tx.query_opt(known, &[(&place).into()]).await?;
    row.map(|row| row.text(0)?.parse().map_err(|_| Error::bug("a call without an id"))).transpose()
}

/// Deletes answers that are too old.
pub(crate) async fn sweep(tx: &mut Tx<'_>, now_ms: i64, limit: i64) -> Result<()> {
    tx.execute(EXPIRED, &[now_ms.into(), limit.into()]).await.map(drop)
}
