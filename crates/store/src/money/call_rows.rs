//! Calls for readers: one with its ledger, those of a job, and those that nobody will end.

use std::collections::HashMap;

use levqor_core::money::{CallId, Nano, Terms, Tier, Usage};
use serde_json::Value as Json;

use super::statements::{call_id, call_state};
use super::types::{CallRow, LedgerRow};
use crate::tx::{Row, Sql, Tx};
use crate::{Error, LEASE_MS, Result, decode};

macro_rules! columns {
    () => {
        columns!("usage_raw")
    };
    ($raw:literal) => {
        concat!("select id, job_id, root_job_id, workflow, step, logical_call, attempt, key_id, user_id, tags, provider, model, \
         price_id, terms, tier, state, node, lease_until_ms, est_input, est_output, reserved_nano, settled_nano, \
         uncached_in, cached_in, write_short, write_long, write_any, image_in, audio_in, out_said, out_thought, audio_out, \
         searches, ", $raw, ", provider_cost_nano, provider_request_id, http_status, finish_reason, failure, alarm, \
         reserved_at_ms, sent_at_ms, settled_at_ms, served from ai_calls ")
    };
}

const ONE: &str = concat!(columns!(), "where id = $1");
const OF_TREE: &str = concat!(columns!(), "where root_job_id = $1 order by id limit 1000");
const OF_PLACES: &str = concat!(
    columns!(),
    "where place >= $1 and place < $2 and (cast($3 as text) is null or id > $3) order by id limit $4"
);
const BETWEEN: &str =
    concat!(columns!("cast(null as text)"), "where id > $1 and id < $2 order by id limit $3");
const PAST_OF_TREE: &str =
    concat!(columns!("cast(null as text)"), "where root_job_id = $1 order by id limit $2");
const OF_USER: &str = concat!(columns!(), "where user_id = $1 order by id desc limit $2");

// Differs because lists are taken apart differently.
const LEDGERS: Sql = Sql::Each {
    sqlite: "select l.call_id, l.kind, l.amount_nano, l.actor, l.reason, l.at_ms from json_each($1) w \
        join cost_ledger l on l.call_id = w.value order by l.seq",
    postgres: "select l.call_id, l.kind, l.amount_nano, l.actor, l.reason, l.at_ms from cost_ledger l \
        where l.call_id = any (array(select jsonb_array_elements_text($1::text::jsonb))) order by l.seq",
};
pub(super) const ALL: &str = concat!(columns!(), "where id < $1 order by id desc limit $2");
pub(super) const OPEN: &str =
    concat!(columns!(), "where lease_until_ms is not null and id < $1 order by id desc limit $2");
/// Those of the job and, if it is a root, of its tree.
pub(super) const OF_JOB: &str = concat!(
    columns!(),
    "where id < $1 and (root_job_id = $3 or (place >= $4 and place < $5)) order by id desc limit $2"
);

pub(super) async fn find(tx: &mut Tx<'_>, id: CallId) -> Result<Option<CallRow>> {
    let rows = tx.query(ONE, &[(&id.to_string()).into()]).await?;
    Ok(with_ledgers(tx, &rows).await?.pop())
}

/// The calls of a job and its children, oldest first, a thousand at most.
pub(super) async fn of_tree(tx: &mut Tx<'_>, root_job: &str) -> Result<Vec<CallRow>> {
    let rows = tx.query(OF_TREE, &[root_job.into()]).await?;
    with_ledgers(tx, &rows).await
}

/// The calls whose places lie in a range, oldest first.
pub(super) async fn of_places(
    tx: &mut Tx<'_>,
    from: &str,
    until: &str,
    after: Option<String>,
    limit: usize,
) -> Result<Vec<CallRow>> {
    let values = [from.into(), until.into(), after.as_ref().into(), (limit as i64).into()];
    let rows = tx.query(OF_PLACES, &values).await?;
    with_ledgers(tx, &rows).await
}

/// Newest first, without ledgers.
pub(super) async fn of_user(tx: &mut Tx<'_>, user: &str, limit: usize) -> Result<Vec<CallRow>> {
    tx.query(OF_USER, &[user.into(), (limit as i64).into()]).await?.iter().map(read).collect()
}

/// Calls between two ids, both excluded, oldest first, without raw usage and ledgers.
pub(super) async fn between(
    tx: &mut Tx<'_>,
    after: &str,
    before: &str,
    limit: usize,
) -> Result<Vec<CallRow>> {
    let values = [after.into(), before.into(), (limit as i64).into()];
    tx.query(BETWEEN, &values).await?.iter().map(read).collect()
}

/// The same of a job and its children.
pub(super) async fn past_of_tree(tx: &mut Tx<'_>, root_job: &str, limit: usize) -> Result<Vec<CallRow>> {
    tx.query(PAST_OF_TREE, &[root_job.into(), (limit as i64).into()]).await?.iter().map(read).collect()
}

async fn with_ledgers(tx: &mut Tx<'_>, rows: &[Row]) -> Result<Vec<CallRow>> {
    let mut calls: Vec<CallRow> = rows.iter().map(read).collect::<Result<_>>()?;
    if calls.is_empty() {
        return Ok(calls);
    }
    let ids: Vec<String> = calls.iter().map(|call| call.id.to_string()).collect();
    let mut ledgers: HashMap<String, Vec<LedgerRow>> = HashMap::new();
    for row in tx.query(LEDGERS, &[(&Json::from(ids.as_slice()).to_string()).into()]).await? {
        ledgers.entry(row.text(0)?).or_default().push(LedgerRow {
            kind: row.text(1)?,
            amount: Nano::new(row.int(2)?),
            actor: row.text(3)?,
            reason: row.opt_text(4)?,
            at_ms: row.int(5)?,
        });
    }
    for (call, id) in calls.iter_mut().zip(&ids) {
        call.ledger = ledgers.remove(id).unwrap_or_default();
    }
    Ok(calls)
}

/// Without its ledger.
pub(super) fn read(row: &Row) -> Result<CallRow> {
    let job = |column| row.opt_text(column)?.as_deref().map(decode::job_id).transpose();
    let terms: Terms = serde_json::from_str(&row.text(13)?).map_err(|error| Error::Bug(error.into()))?;
    Ok(CallRow {
        id: call_id(&row.text(0)?)?,
        job: job(1)?,
        root_job: job(2)?,
        workflow: row.opt_text(3)?,
        step: row.opt_text(4)?,
        logical_call: row.opt_int(5)?,
        attempt: row.opt_int(6)?,
        key: row.opt_text(7)?,
        user: row.opt_text(8)?,
        tags: decode::tags(&row.text(9)?)?,
        provider: row.text(10)?,
        model: row.text(11)?,
        price_id: row.text(12)?,
        terms,
        state: call_state(&row.text(15)?)?,
        node: row.text(16)?,
        lease_until_ms: row.opt_int(17)?,
        est_input: row.int(18)?,
        est_output: row.int(19)?,
        reserved: Nano::new(row.int(20)?),
        settled: row.opt_int(21)?.map(Nano::new),
        usage: usage(row)?,
        usage_raw: row.opt_text(33)?,
        provider_request_id: row.opt_text(35)?,
        http_status: row.opt_int(36)?,
        finish_reason: row.opt_text(37)?,
        failure: row.opt_text(38)?,
        alarm: row.opt_text(39)?,
        reserved_at_ms: row.int(40)?,
        sent_at_ms: row.opt_int(41)?,
        settled_at_ms: row.opt_int(42)?,
        ledger: Vec::new(),
    })
}

/// What was used, as far as it has columns.
fn usage(row: &Row) -> Result<Option<Usage>> {
    if row.opt_int(22)?.is_none() {
        return Ok(None);
    }
    let class =
        |column: usize| -> Result<u64> { Ok(u64::try_from(row.opt_int(column)?.unwrap_or(0)).unwrap_or(0)) };
    let said = row.opt_text(43)?.unwrap_or_default();
    Ok(Some(Usage {
        uncached_in: class(22)?,
        cached_in: class(23)?,
        write_short: class(24)?,
        write_long: class(25)?,
        write_any: class(26)?,
        image_in: class(27)?,
        audio_in: class(28)?,
        out: class(29)?,
        reasoning: class(30)?,
        audio_out: class(31)?,
        searches: class(32)?,
        tier: Tier::parse(&row.text(14)?),
        provider_cost: row.opt_int(34)?.map(Nano::new),
        region: said.contains("region"),
        fast: said.contains("fast"),
        corrected: said.contains("corrected"),
    }))
}

// Differs because one process owns a SQLite file: whoever else is named in it is dead. On PostgreSQL the nodes' own rows
// tell who lives.
const ORPHANS: Sql = Sql::Each {
    sqlite: "select id from ai_calls where lease_until_ms is not null and (lease_until_ms <= $1 or node <> $2) \
        and $3 > 0 order by lease_until_ms, id limit $4",
    postgres: "select id from ai_calls c where lease_until_ms is not null and (lease_until_ms <= $1 or node <> $2 and not exists \
        (select 1 from nodes n where n.id = c.node \
         and n.beat_at_ms > (extract(epoch from clock_timestamp()) * 1000)::bigint - $3)) \
        order by lease_until_ms, id limit $4",
};

/// Open calls that nobody will end: their time is over, or their process.
pub(super) async fn orphans(tx: &mut Tx<'_>, node: &str, now_ms: i64, limit: usize) -> Result<Vec<CallId>> {
    let values = [now_ms.into(), node.into(), LEASE_MS.into(), (limit as i64).into()];
    tx.query(ORPHANS, &values).await?.iter().map(|row| call_id(&row.text(0)?)).collect()
}
