//! Commit 5: takes due callbacks and records their tries.

use levqor_core::job::{Fenced, NewCallback};
use rusqlite::{Connection, OptionalExtension};

use crate::callback::{LOST, TRY, Walk};
use crate::{
    CALLBACK_LEASE_MS, CallbackEnd, CallbackState, CallbackTry, ClaimedCallback, HostRoom, Result, decode,
};

pub(super) struct Wanted {
    pub walk: Walk,
    pub room: HostRoom,
}

pub(super) struct Outcome {
    pub id: String,
    pub attempt: i64,
    pub round: i64,
    pub tried: CallbackTry,
    pub end: CallbackEnd,
}

/// The next receiver, by name, that has an undelivered callback, and when its first is due.
pub(super) const NEXT_HOST: &str = "select host, due_at_ms from callbacks where due_at_ms is not null and host > ?1 and host <= ?2 \
    order by host, due_at_ms limit 1";

pub(super) const DUE: &str = "select due_at_ms, id from callbacks where host = ?1 and due_at_ms is not null and due_at_ms <= ?2 \
    order by due_at_ms, id limit ?3";

/// A try that was lost with its process does not move the schedule on.
const TAKE: &str = "update callbacks set due_at_ms = ?2, attempt = attempt + 1, \
    round = round + iif(round > 0 and attempt > 0 and not exists \
        (select 1 from callback_tries t where t.callback_id = callbacks.id and t.attempt = callbacks.attempt), 0, 1) \
    where id = ?1 returning attempt, round, job_id, url, host, body";

const SETTLE: &str = "update callbacks set state = ?4, due_at_ms = ?5 \
    where id = ?1 and attempt = ?2 and round = ?3 and state = 'due'";

pub(super) fn claim(conn: &Connection, wanted: &Wanted) -> Result<Vec<ClaimedCallback>> {
    let due = due(conn, wanted)?;
    let lease_until_ms = wanted.walk.now_ms + CALLBACK_LEASE_MS;
    let mut take = conn.prepare_cached(TAKE)?;
    let mut claimed = Vec::with_capacity(due.len());
    for (due_at_ms, id) in due {
        let taken = take.query_row((&id, lease_until_ms), |row| {
            let job_id = row.get::<_, String>(2)?;
            Ok((row.get::<_, i64>(0)?, row.get(1)?, job_id, row.get(3)?, row.get(4)?, row.get(5)?))
        })?;
        let (attempt, round, job_id, url, host, body) = taken;
        if attempt > 1 {
            // Changes nothing where the try before is on record, which is the rule.
            conn.prepare_cached(LOST)?.execute((
                &id,
                attempt - 1,
                due_at_ms - CALLBACK_LEASE_MS,
                CALLBACK_LEASE_MS,
            ))?;
        }
        let callback = NewCallback { id, job_id: decode::job_id(&job_id)?, url, host, body };
        claimed.push(ClaimedCallback { callback, attempt, round });
    }
    Ok(claimed)
}

/// From receiver to receiver by the index: what waits behind one without room is not looked at.
fn due(conn: &Connection, wanted: &Wanted) -> Result<Vec<(i64, String)>> {
    let Walk { until, limit, now_ms, .. } = &wanted.walk;
    let mut next_host = conn.prepare_cached(NEXT_HOST)?;
    let mut of_host = conn.prepare_cached(DUE)?;
    let mut due = Vec::new();
    let mut last = wanted.walk.after.clone();
    while due.len() < *limit {
        let next =
            next_host.query_row((&last, until), |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
        let Some((host, first_due_ms)) = next.optional()? else { break };
        let most = wanted.room.of(&host).min(limit - due.len());
        if first_due_ms <= *now_ms && most > 0 {
            let rows =
                of_host.query_map((&host, now_ms, most as i64), |row| Ok((row.get(0)?, row.get(1)?)))?;
            for row in rows {
                due.push(row?);
            }
        }
        last = host;
    }
    Ok(due)
}

pub(super) fn record(conn: &Connection, outcome: &Outcome) -> Result<Fenced> {
    let (state, due_at_ms) = match outcome.end {
        CallbackEnd::Delivered => (CallbackState::Delivered, None),
        CallbackEnd::Gone => (CallbackState::Gone, None),
        CallbackEnd::Exhausted => (CallbackState::Exhausted, None),
        CallbackEnd::Retry { due_at_ms } => (CallbackState::Due, Some(due_at_ms)),
    };
    let row = (&outcome.id, outcome.attempt, outcome.round, state.as_str(), due_at_ms);
    if conn.prepare_cached(SETTLE)?.execute(row)? == 0 {
        return Ok(Fenced::Stale);
    }
    let tried = &outcome.tried;
    conn.prepare_cached(TRY)?.execute((
        &outcome.id,
        outcome.attempt,
        tried.at_ms,
        tried.duration_ms,
        tried.status,
        &tried.error,
    ))?;
    Ok(Fenced::Done)
}
