//! **Commit 1**: jobs, their places in the queue, their idempotency keys and the count, in one statement.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use levqor_core::id::JobId;
use levqor_core::job::{Idempotency, Intake, NewJob};
use levqor_core::state::State;

use super::super::collector::Verb;
use super::super::lane::Session;
use super::super::news::News;
use super::weight_of;
use crate::wake::Effects;
use crate::{Error, Result, decode, figures};

/// A name that another node has deleted is refused here, whatever this one has in memory. A key counts for 24 hours. Keys are taken in order, so that two batches never wait for each other; one that another
/// transaction is just storing is waited for. A key that is taken makes its job disappear from `won`.
const INTAKE: &str = "
with input as materialized (
    select i.*, w.name is not null as gone from unnest(
        $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::text[], $15::text[]
    ) as i (id, workflow, version, priority, caller, created_at_ms, run_at_ms, callback_url, tags,
        payload, state, sort_at_ms, due_at_ms, key, body_hash)
    left join workflows w on w.name = i.workflow and w.deleted
), keyed as (
    insert into idempotency_keys as k (caller, key, body_hash, job_id, created_at_ms)
    select caller, key, body_hash, id, created_at_ms from input where key is not null and not gone order by caller, key
    on conflict (caller, key) do update
        set body_hash = excluded.body_hash, job_id = excluded.job_id, created_at_ms = excluded.created_at_ms
        where k.created_at_ms <= excluded.created_at_ms - 86400000
    returning job_id
), won as materialized (
    select * from input where not gone and (key is null or id in (select job_id from keyed))
), job as (
    insert into jobs (id, workflow, priority, caller, created_at_ms, run_at_ms, callback_url, tags, payload)
    select id, workflow, priority, caller, created_at_ms, run_at_ms, callback_url, tags, payload from won
), live as (
    insert into live_jobs (id, workflow, version, state, sort_at_ms, due_at_ms, claim, deaths)
    select id, workflow, version, state, sort_at_ms, due_at_ms, 0, 0 from won
), counted as (
    insert into rollups (hour_ms, kind, shard, n)
    select created_at_ms - created_at_ms % 3600000, $17::text, $16::bigint, count(*) from won group by 1
    on conflict (hour_ms, kind, shard) do update set n = rollups.n + excluded.n
)
select job_id, false from keyed union all select id, true from input where gone";

const FIND_KEYS: &str = "
select k.caller, k.key, k.body_hash, k.job_id
from unnest($1::text[], $2::text[]) as i (caller, key)
cross join lateral (
    select * from idempotency_keys k where k.caller = i.caller and k.key = i.key offset 0
) k";

/// A key that was taken at the insert and is gone at the look-up was pruned in between: it is tried again, this often.
const ROUNDS: usize = 3;

pub(in super::super) struct IntakeVerb {
    pub news: Arc<News>,
}

type Key<'a> = (&'a str, &'a str);

/// What is stored under a key.
struct Holder {
    body_hash: String,
    id: JobId,
}

impl Verb for IntakeVerb {
    type Item = Vec<NewJob>;
    type Answer = Vec<Intake>;

    fn weight(jobs: &Vec<NewJob>) -> usize {
        jobs.iter().map(|job| weight_of(job.payload.len())).sum()
    }

    async fn run(&self, session: &mut Session, items: &[&Vec<NewJob>]) -> Result<Vec<Vec<Intake>>> {
        let jobs: Vec<&NewJob> = items.iter().flat_map(|jobs| jobs.iter()).collect();
        let mut verdicts = self.take_in(session, &jobs).await?.into_iter();
        Ok(items.iter().map(|jobs| verdicts.by_ref().take(jobs.len()).collect()).collect())
    }
}

impl IntakeVerb {
    async fn take_in(&self, session: &mut Session, jobs: &[&NewJob]) -> Result<Vec<Intake>> {
        let mut verdicts: Vec<Option<Intake>> = vec![None; jobs.len()];
        let mut effects = Effects::default();
        for _ in 0..ROUNDS {
            let open = leaders(jobs, &verdicts);
            if open.is_empty() {
                break;
            }
            let batch: Vec<&NewJob> = open.iter().map(|place| jobs[*place]).collect();
            let (won, gone) = insert(session, &batch).await?;
            for place in open {
                let job = jobs[place];
                if gone.contains(&job.id) {
                    verdicts[place] = Some(Intake::WorkflowDeleted);
                } else if job.idempotency.is_none() || won.contains(&job.id) {
                    verdicts[place] = Some(Intake::Created);
                    effects.runnable |= job.first_state() == State::Queued;
                }
            }
            let asked: Vec<Key<'_>> =
                jobs.iter().zip(&verdicts).filter(|(_, it)| it.is_none()).filter_map(key).collect();
            if !asked.is_empty() {
                let holders = find_holders(session, &asked).await?;
                answer_from(&holders, jobs, &mut verdicts);
            }
        }
        self.news.tell(&effects);
        let verdict =
            |verdict: Option<Intake>| verdict.ok_or_else(|| Error::away("an idempotency key came and went"));
        verdicts.into_iter().map(verdict).collect()
    }
}

fn key<'a>((job, _): (&&'a NewJob, &Option<Intake>)) -> Option<Key<'a>> {
    job.idempotency.as_ref().map(|idempotency| (job.caller.as_str(), idempotency.key.as_str()))
}

/// The jobs without a verdict that go to the database: of twins with one key only the first, the others ask afterwards
/// what is stored. (PostgreSQL refuses a statement that meets one key twice.)
fn leaders(jobs: &[&NewJob], verdicts: &[Option<Intake>]) -> Vec<usize> {
    let mut seen = HashSet::new();
    let open = jobs.iter().zip(verdicts).enumerate().filter(|(_, (_, verdict))| verdict.is_none());
    open.filter(|(_, it)| key(*it).is_none_or(|key| seen.insert(key))).map(|(place, _)| place).collect()
}

/// The ids of the jobs that got their key, and of those whose workflow is deleted.
async fn insert(session: &mut Session, jobs: &[&NewJob]) -> Result<(HashSet<JobId>, HashSet<JobId>)> {
    let ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    let tags: Vec<String> = jobs.iter().map(|job| decode::tags_text(&job.tags)).collect();
    let shard = session.shard;
    let text = |get: fn(&NewJob) -> &str| jobs.iter().map(|job| get(job)).collect::<Vec<&str>>();
    let some_text = |get: fn(&NewJob) -> Option<&str>| jobs.iter().map(|job| get(job)).collect::<Vec<_>>();
    let number = |get: fn(&NewJob) -> i64| jobs.iter().map(|job| get(job)).collect::<Vec<i64>>();
    let some_number = |get: fn(&NewJob) -> Option<i64>| jobs.iter().map(|job| get(job)).collect::<Vec<_>>();
    let due = |job: &NewJob| job.run_at_ms.filter(|_| job.first_state() == State::Scheduled);
    let rows = session
        .query(
            INTAKE,
            &[
                &ids,
                &text(|job| &job.workflow),
                &some_number(|job| job.version),
                &text(|job| job.priority.as_str()),
                &text(|job| &job.caller),
                &number(|job| job.created_at_ms),
                &some_number(|job| job.run_at_ms),
                &some_text(|job| job.callback_url.as_deref()),
                &tags,
                &text(|job| &job.payload),
                &text(|job| job.first_state().as_str()),
                &number(NewJob::sort_at_ms),
                &some_number(due),
                &some_text(|job| job.idempotency.as_ref().map(|it: &Idempotency| it.key.as_str())),
                &some_text(|job| job.idempotency.as_ref().map(|it: &Idempotency| it.body_hash.as_str())),
                &shard,
                &figures::ACCEPTED,
            ],
        )
        .await?;
    let (mut won, mut gone) = (HashSet::new(), HashSet::new());
    for row in &rows {
        let ids = if row.try_get(1)? { &mut gone } else { &mut won };
        ids.insert(decode::job_id(row.try_get(0)?)?);
    }
    Ok((won, gone))
}

async fn find_holders(session: &mut Session, keys: &[Key<'_>]) -> Result<HashMap<(String, String), Holder>> {
    let (callers, keys): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
    let mut holders = HashMap::new();
    for row in session.query(FIND_KEYS, &[&callers, &keys]).await? {
        let holder = Holder { body_hash: row.try_get(2)?, id: decode::job_id(row.try_get(3)?)? };
        holders.insert((row.try_get(0)?, row.try_get(1)?), holder);
    }
    Ok(holders)
}

fn answer_from(
    holders: &HashMap<(String, String), Holder>,
    jobs: &[&NewJob],
    verdicts: &mut [Option<Intake>],
) {
    for (job, verdict) in jobs.iter().zip(verdicts) {
        let (None, Some(asked)) = (&verdict, &job.idempotency) else { continue };
        let Some(holder) = holders.get(&(job.caller.clone(), asked.key.clone())) else { continue };
        let same = holder.body_hash == asked.body_hash;
        *verdict = Some(if same { Intake::Replayed(holder.id) } else { Intake::Conflict });
    }
}
