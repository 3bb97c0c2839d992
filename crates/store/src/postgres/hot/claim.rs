//! **Commit 2**: the statements of a claim, and of giving claimed jobs back.
//!
//! Two round trips on purpose: the claimed ids are known here before they are committed. If the connection goes away
//! during the commit, they are handed back by name; otherwise they would run nowhere and yet count as ours.

use std::collections::HashMap;

use levqor_core::id::JobId;
use levqor_core::job::ClaimedJob;
use tokio_postgres::Row;

use super::super::lane::Session;
use super::steps::{FIND_STEPS, read_step};
use crate::{Error, Result, decode};

/// Skips what others are just taking, in the order of the queue's index, and never takes more than it asked for.
///
/// The time was read before the statement, and other nodes have clocks of their own: a job may have come later than that. It
/// does not start before it came, which its id tells.
const CLAIM: &str = "
with next as materialized (
    select id from live_jobs where state = 'queued' order by sort_at_ms, id limit $1::bigint for update skip locked
), mine as (
    update live_jobs
    set state = 'running', node = $2::text, claim = claim + 1,
        started_at_ms = coalesce(started_at_ms, greatest($3::bigint, ('x' || left(id, 12))::bit(48)::bigint))
    where id = any (array(select id from next)) and state || '' = 'queued'
    returning id, claim, workflow, version, started_at_ms, deaths, sort_at_ms
)
select mine.id, claim, workflow, version, started_at_ms, deaths, payload, callback_url, priority, tags, sort_at_ms, caller
from mine cross join lateral (
    select payload, callback_url, priority, tags, caller from jobs where jobs.id = mine.id offset 0
) job";

/// `node` is part of the condition: a claim that was rolled back may have been made again by another node, under the
/// same number.
const HAND_BACK: &str = "
update live_jobs set state = 'queued', node = null
where id = any ($1::text[]) and node = $2::text
    and ((id, claim) in (select * from unnest($1::text[], $3::bigint[]))) is true";

/// Takes up to `limit` jobs, in order. After an error, or broken off, the session may hold an open transaction: hang up. Then
/// `unsure` has the jobs whose commit was asked for and is not known to have happened.
pub(in super::super) async fn claim(
    session: &mut Session,
    node: &str,
    limit: usize,
    now_ms: i64,
    unsure: &mut Vec<(JobId, i64)>,
) -> Result<Vec<ClaimedJob>> {
    let statement = session.prepare(CLAIM).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let client = session.client();
    // Sent in this order without waiting in between.
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&limit, &node, &now_ms];
    let (begun, rows) = tokio::join!(client.batch_execute("begin"), client.query(&statement, &values));
    begun.map_err(Error::from)?;
    let mut jobs = rows.map_err(Error::from)?.iter().map(read).collect::<Result<Vec<_>>>()?;
    // An update answers in no particular order.
    jobs.sort_by_key(|(sort_at_ms, job)| (*sort_at_ms, job.id));
    let mut jobs: Vec<ClaimedJob> = jobs.into_iter().map(|(_, job)| job).collect();

    let again: Vec<String> = jobs.iter().filter(|job| job.claim > 1).map(|job| job.id.to_string()).collect();
    if !again.is_empty() {
        add_steps(session, &mut jobs, &again).await?;
    }
    unsure.extend(jobs.iter().map(|job| (job.id, job.claim)));
    session.client().batch_execute("commit").await?;
    unsure.clear();
    Ok(jobs)
}

async fn add_steps(session: &mut Session, jobs: &mut [ClaimedJob], ids: &[String]) -> Result<()> {
    let mut found: HashMap<JobId, Vec<_>> = HashMap::new();
    for row in session.query(FIND_STEPS, &[&ids]).await? {
        let (id, step) = read_step(&row)?;
        found.entry(id).or_default().push(step);
    }
    for job in jobs {
        job.steps = found.remove(&job.id).unwrap_or_default();
        job.steps.sort_by(|a, b| (&a.step, a.attempt).cmp(&(&b.step, b.attempt)));
    }
    Ok(())
}

/// Puts claimed jobs back in their old places, those that are still ours under that claim.
pub(in super::super) async fn hand_back(
    session: &mut Session,
    node: &str,
    jobs: &[(JobId, i64)],
) -> Result<()> {
    let (ids, claims): (Vec<String>, Vec<i64>) =
        jobs.iter().map(|(id, claim)| (id.to_string(), *claim)).unzip();
    session.query(HAND_BACK, &[&ids, &node, &claims]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<(i64, ClaimedJob)> {
    let job = ClaimedJob {
        id: decode::job_id(row.try_get(0)?)?,
        claim: row.try_get(1)?,
        workflow: row.try_get(2)?,
        version: row.try_get(3)?,
        started_at_ms: row.try_get(4)?,
        deaths: row.try_get(5)?,
        payload: row.try_get(6)?,
        callback_url: row.try_get(7)?,
        priority: decode::priority(row.try_get(8)?)?,
        tags: decode::tags(row.try_get(9)?)?,
        caller: row.try_get(11)?,
        steps: Vec::new(),
    };
    Ok((row.try_get(10)?, job))
}
