//! Takes runnable jobs in order. A claim that nobody waits for any more gives its jobs back.

use std::sync::{Arc, mpsc};

use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Record, StepRow, Then};
use rusqlite::{Connection, Row};
use tokio::sync::oneshot;

use super::op::{Ask, Op};
use crate::{Error, Result, decode};

/// A parked question for jobs.
pub(super) struct ClaimAsk {
    pub limit: usize,
    pub clock: Arc<dyn Clock>,
    pub reply: oneshot::Sender<Result<Claimed>>,
}

impl ClaimAsk {
    pub fn answer(self, answer: Result<Claimed>) {
        self.reply.send(answer).ok();
    }
}

/// Claimed jobs on their way to the caller. Dropped before they were taken, they go back to the queue; no death counts.
pub(super) struct Claimed {
    jobs: Vec<ClaimedJob>,
    outbox: mpsc::Sender<Op>,
}

impl Claimed {
    pub fn new(jobs: Vec<ClaimedJob>, outbox: mpsc::Sender<Op>) -> Self {
        Claimed { jobs, outbox }
    }

    pub fn take(mut self) -> Vec<ClaimedJob> {
        std::mem::take(&mut self.jobs)
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        for job in self.jobs.drain(..) {
            let record =
                Record { id: job.id, claim: job.claim, pin: None, steps: Vec::new(), then: Then::HandBack };
            // After a close there is nothing to do: it has handed back all that was still ours.
            self.outbox.send(Op::Record(Ask::new(record, oneshot::channel().0))).ok();
        }
    }
}

const NEXT: &str = "select l.id, l.claim, l.version, l.started_at_ms, l.deaths, \
    j.workflow, j.callback_url, j.priority, j.tags, j.payload, j.caller \
    from live_jobs l join jobs j on j.id = l.id where l.state = 'queued' order by l.sort_at_ms, l.id limit ?1";

/// Measured: `returning` would open a temporary table for each row, a tenth of the writer's time. There is one writer,
/// so what was just read is still true.
const TAKE: &str = "update live_jobs set state = 'running', node = ?2, claim = claim + 1, \
    started_at_ms = coalesce(started_at_ms, ?3) where id = ?1";

const STEPS: &str = "select step, attempt, status, started_at_ms, finished_at_ms, until_ms, output, error from steps \
    where job_id = ?1 order by step, attempt";

pub(super) fn claim(conn: &Connection, node: &str, limit: usize, now_ms: i64) -> Result<Vec<ClaimedJob>> {
    let mut next = conn.prepare_cached(NEXT)?;
    let mut rows = next.query([limit as i64])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(ClaimedJob {
            id: decode::job_id(text(row, 0)?)?,
            claim: row.get::<_, i64>(1)? + 1,
            version: row.get(2)?,
            started_at_ms: row.get::<_, Option<i64>>(3)?.unwrap_or(now_ms),
            deaths: row.get(4)?,
            workflow: row.get(5)?,
            callback_url: row.get(6)?,
            priority: decode::priority(text(row, 7)?)?,
            tags: decode::tags(text(row, 8)?)?,
            payload: row.get(9)?,
            caller: row.get(10)?,
            steps: Vec::new(),
        });
    }
    drop(rows);
    let mut take = conn.prepare_cached(TAKE)?;
    for job in &mut jobs {
        take.execute((job.id.to_string(), node, now_ms))?;
        // Nothing can be on record before the first claim.
        if job.claim > 1 {
            job.steps = steps(conn, job.id)?;
        }
    }
    Ok(jobs)
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str> {
    row.get_ref(column)?.as_str().map_err(|error| Error::Bug(error.into()))
}

fn steps(conn: &Connection, id: JobId) -> Result<Vec<StepRow>> {
    let mut statement = conn.prepare_cached(STEPS)?;
    let mut rows = statement.query([id.to_string()])?;
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        steps.push(StepRow {
            step: row.get(0)?,
            attempt: row.get(1)?,
            status: decode::step_status(&row.get::<_, String>(2)?)?,
            started_at_ms: row.get(3)?,
            finished_at_ms: row.get(4)?,
            until_ms: row.get(5)?,
            output: row.get(6)?,
            error: decode::error(row.get::<_, Option<String>>(7)?.as_deref())?,
        });
    }
    Ok(steps)
}
