//! Commit 1: a job, its place in the queue and its idempotency key.

use levqor_core::job::{Intake, NewJob};
use levqor_core::state::State;
use rusqlite::{Connection, OptionalExtension};

use super::op::Turn;
use crate::job::intake::{KEY_KEPT_MS, judge};
use crate::{Result, decode, figures};

const FIND_KEY: &str =
    "select body_hash, job_id from idempotency_keys where caller = ?1 and key = ?2 and created_at_ms > ?3";

/// A row that is there by now is older than the keys are kept.
const KEEP_KEY: &str = "insert or replace into idempotency_keys (caller, key, body_hash, job_id, created_at_ms) \
    values (?1, ?2, ?3, ?4, ?5)";

const JOB: &str = "insert into jobs (id, workflow, priority, caller, created_at_ms, run_at_ms, callback_url, tags, payload) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const LIVE: &str = "insert into live_jobs (id, workflow, version, state, sort_at_ms, due_at_ms, claim, deaths) \
    values (?1, ?2, ?3, ?4, ?5, ?6, 0, 0)";

pub(super) fn intake(conn: &Connection, turn: &mut Turn, job: &NewJob) -> Result<Intake> {
    let id = job.id.to_string();
    if let Some(idempotency) = &job.idempotency {
        let found = conn
            .prepare_cached(FIND_KEY)?
            .query_row((&job.caller, &idempotency.key, job.created_at_ms - KEY_KEPT_MS), |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
            .optional()?;
        if let Some((body_hash, first)) = found {
            return judge(idempotency, &body_hash, &first);
        }
        let row = (&job.caller, &idempotency.key, &idempotency.body_hash, &id, job.created_at_ms);
        conn.prepare_cached(KEEP_KEY)?.execute(row)?;
    }
    let state = job.first_state();
    conn.prepare_cached(JOB)?.execute((
        &id,
        &job.workflow,
        job.priority.as_str(),
        &job.caller,
        job.created_at_ms,
        job.run_at_ms,
        &job.callback_url,
        decode::tags_text(&job.tags),
        &job.payload,
    ))?;
    let due_at_ms = job.run_at_ms.filter(|_| state == State::Scheduled);
    let live = (&id, &job.workflow, job.version, state.as_str(), job.sort_at_ms(), due_at_ms);
    conn.prepare_cached(LIVE)?.execute(live)?;
    turn.count(job.created_at_ms, figures::ACCEPTED);
    turn.effects.runnable |= state == State::Queued;
    Ok(Intake::Created)
}
