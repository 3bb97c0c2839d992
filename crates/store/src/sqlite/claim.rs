//! Takes runnable jobs in order. A claim that nobody waits for any more gives its jobs back.

use std::sync::{Arc, mpsc};

use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Record, StepRow, Then};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::op::{Ask, Op};
use crate::{Result, decode};

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
            // After a close the next start rescues them.
            self.outbox.send(Op::Record(Ask::new(record, oneshot::channel().0))).ok();
        }
    }
}

const NEXT: &str = "select id from live_jobs where state = 'queued' order by sort_at_ms, id limit ?1";

const TAKE: &str = "update live_jobs set state = 'running', node = ?2, claim = claim + 1, \
    started_at_ms = coalesce(started_at_ms, ?3) where id = ?1 returning claim, version, started_at_ms, deaths";

const LOAD: &str = "select workflow, callback_url, priority, tags, payload from jobs where id = ?1";

const STEPS: &str = "select step, attempt, status, started_at_ms, finished_at_ms, until_ms, output, error from steps \
    where job_id = ?1 order by step, attempt";

pub(super) fn claim(conn: &Connection, node: &str, limit: usize, now_ms: i64) -> Result<Vec<ClaimedJob>> {
    let mut next = conn.prepare_cached(NEXT)?;
    let ids: Vec<String> =
        next.query_map([limit as i64], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut take = conn.prepare_cached(TAKE)?;
    let mut load = conn.prepare_cached(LOAD)?;
    let mut jobs = Vec::with_capacity(ids.len());
    for id in ids {
        let (claim, version, started_at_ms, deaths) = take.query_row((&id, node, now_ms), |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        let (workflow, callback_url, priority, tags, payload) = load.query_row([&id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?, row.get(4)?))
        })?;
        let id: JobId = decode::job_id(&id)?;
        jobs.push(ClaimedJob {
            id,
            claim,
            workflow,
            version,
            payload,
            callback_url,
            priority: decode::priority(&priority)?,
            tags: decode::tags(&tags)?,
            started_at_ms,
            deaths,
            // Nothing can be on record before the first claim.
            steps: if claim > 1 { steps(conn, id)? } else { Vec::new() },
        });
    }
    Ok(jobs)
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
