//! Commits 3 and 4: what a run did and what becomes of its job, if the job is still running under that claim.

use levqor_core::job::{Fenced, Finish, Record, StepRow, Then};
use rusqlite::{Connection, OptionalExtension};

use super::op::Turn;
use crate::{Result, callback, decode, figures};

const STAY: &str = "update live_jobs set version = coalesce(?3, version) \
    where id = ?1 and claim = ?2 and state = 'running'";
const IS_OURS: &str = "select 1 from live_jobs where id = ?1 and claim = ?2 and state = 'running'";
/// A job that goes back to wait for its definition has not started: its timeout counts from its first real start.
const LEAVE: &str = "update live_jobs set version = coalesce(?3, version), state = ?4, due_at_ms = ?5, node = null, \
    started_at_ms = case when ?4 <> 'undefined' then started_at_ms end \
    where id = ?1 and claim = ?2 and state = 'running'";
const FIND: &str = "select version, deaths, started_at_ms from live_jobs \
    where id = ?1 and claim = ?2 and state = 'running'";
/// Measured: `returning` instead of the search before costs more than the search. There is one writer.
const END: &str = "delete from live_jobs where id = ?1";

const STEP: &str = "insert into steps \
    (job_id, step, attempt, status, started_at_ms, finished_at_ms, until_ms, error, output) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) on conflict (job_id, step, attempt) do update set \
    status = excluded.status, started_at_ms = excluded.started_at_ms, finished_at_ms = excluded.finished_at_ms, \
    until_ms = excluded.until_ms, error = excluded.error, output = excluded.output";

const FINISHED: &str = "insert into finished_jobs \
    (id, state, version, claim, deaths, started_at_ms, finished_at_ms, error, result) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

pub(super) fn record(conn: &Connection, turn: &mut Turn, record: &Record) -> Result<Fenced> {
    let id = record.id.to_string();
    let leave = |state: &str, due_at_ms: Option<i64>| -> Result<bool> {
        let row = (&id, record.claim, record.pin, state, due_at_ms);
        Ok(conn.prepare_cached(LEAVE)?.execute(row)? == 1)
    };
    let ours = match &record.then {
        Then::Finish(finish) => end(conn, turn, &id, record, finish)?,
        Then::Stay if record.pin.is_none() => conn.prepare_cached(IS_OURS)?.exists((&id, record.claim))?,
        Then::Stay => conn.prepare_cached(STAY)?.execute((&id, record.claim, record.pin))? == 1,
        Then::Rest { until_ms } => leave("waiting", Some(*until_ms))?,
        Then::Park => leave("undefined", None)?,
        Then::HandBack => {
            turn.effects.runnable = true;
            leave("queued", None)?
        }
    };
    if !ours {
        return Ok(Fenced::Stale);
    }
    for step in &record.steps {
        put_step(conn, &id, step)?;
    }
    Ok(Fenced::Done)
}

fn put_step(conn: &Connection, id: &str, step: &StepRow) -> Result<()> {
    conn.prepare_cached(STEP)?.execute((
        id,
        &step.step,
        step.attempt,
        step.status.as_str(),
        step.started_at_ms,
        step.finished_at_ms,
        step.until_ms,
        step.error.as_ref().map(decode::error_text),
        &step.output,
    ))?;
    Ok(())
}

fn end(conn: &Connection, turn: &mut Turn, id: &str, record: &Record, finish: &Finish) -> Result<bool> {
    let live = conn
        .prepare_cached(FIND)?
        .query_row((id, record.claim), |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?))
        })
        .optional()?;
    let Some((version, deaths, started_at_ms)) = live else { return Ok(false) };
    conn.prepare_cached(END)?.execute([id])?;
    conn.prepare_cached(FINISHED)?.execute((
        id,
        finish.state.as_str(),
        record.pin.or(version),
        record.claim,
        deaths,
        started_at_ms,
        finish.finished_at_ms,
        finish.error.as_ref().map(decode::error_text),
        &finish.result,
    ))?;
    if let Some(due) = &finish.callback {
        let row = (&due.id, id, &due.url, &due.host, finish.finished_at_ms, &due.body);
        conn.prepare_cached(callback::INSERT)?.execute(row)?;
        turn.effects.callbacks = true;
    }
    turn.count(finish.finished_at_ms, figures::FINISHED);
    if deaths > 0 {
        // What the process did between its last record and its death is on no record.
        turn.count(finish.finished_at_ms, figures::UNRECORDED);
    }
    turn.effects.ended.push(record.id);
    Ok(true)
}
