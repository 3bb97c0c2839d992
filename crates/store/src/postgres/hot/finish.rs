//! **Commit 4**: attempts, final state, callback and count of jobs that end by their own run.

use std::collections::HashSet;
use std::sync::Arc;

use levqor_core::id::JobId;
use levqor_core::job::{Fenced, Finish, NewCallback, Record, Then};

use super::super::collector::Verb;
use super::super::lane::Session;
use super::super::news::News;
use super::steps::{self, StepColumns};
use super::weight_of;
use crate::wake::Effects;
use crate::{Error, Result, decode, figures};

/// What follows hangs on `gone`: the rows of live work that this statement itself took away under their claim numbers.
/// A finish that was committed and is asked for again (its answer got lost) finds nothing and is stale.
const FINISH: &str = "
with input as materialized (
    select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[])
        as i (id, claim, pin, state, finished_at_ms, error, result)
), gone as materialized (
    delete from live_jobs l using input i
    where l.id = any ($1) and l.id = i.id and l.claim = i.claim and l.node is not null
    returning l.id, l.claim, coalesce(i.pin, l.version) as version, l.deaths, l.started_at_ms,
        i.state, i.finished_at_ms, i.error, i.result
), ended as (
    insert into finished_jobs (id, state, version, claim, deaths, started_at_ms, finished_at_ms, error, result)
    select id, state, version, claim, deaths, started_at_ms, finished_at_ms, error, result from gone
), tried as (
    insert into steps (job_id, step, attempt, status, started_at_ms, finished_at_ms, until_ms, error, output)
    select * from unnest($8::text[], $9::text[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[],
        $15::text[], $16::text[]) as s (job_id)
    where (s.job_id in (select id from gone)) is true
    on conflict (job_id, step, attempt) do update set status = excluded.status, started_at_ms = excluded.started_at_ms,
        finished_at_ms = excluded.finished_at_ms, until_ms = excluded.until_ms, error = excluded.error,
        output = excluded.output
), called as (
    insert into callbacks (job_id, id, url, host, body, created_at_ms, due_at_ms, state, attempt, round)
    select c.*, c.created_at_ms, 'due', 0, 0
    from unnest($17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::bigint[])
        as c (job_id, id, url, host, body, created_at_ms)
    where (c.job_id in (select id from gone)) is true
), counted as (
    insert into rollups (hour_ms, kind, shard, n)
    select finished_at_ms - finished_at_ms % 3600000, kind, $23::bigint, count(*)
    from gone cross join lateral (values ($24::text, true), ($25::text, deaths > 0)) as k (kind, counts)
    where counts group by 1, 2 order by 1, 2
    on conflict (hour_ms, kind, shard) do update set n = rollups.n + excluded.n
)
select id from gone";

pub(in super::super) struct FinishVerb {
    pub news: Arc<News>,
}

/// A record whose `then` is the end of the job.
pub(in super::super) struct FinishItem {
    record: Record,
    id: String,
}

impl FinishItem {
    pub fn new(record: Record) -> Self {
        FinishItem { id: record.id.to_string(), record }
    }

    fn finish(&self) -> Result<&Finish> {
        match &self.record.then {
            Then::Finish(finish) => Ok(finish),
            _ => Err(Error::bug("a finish that is none")),
        }
    }
}

#[derive(Default)]
struct Columns<'a> {
    ids: Vec<&'a str>,
    claims: Vec<i64>,
    pins: Vec<Option<i64>>,
    states: Vec<&'a str>,
    finished: Vec<i64>,
    errors: Vec<Option<String>>,
    results: Vec<Option<&'a str>>,
    steps: StepColumns<'a>,
    callbacks: Vec<(&'a str, &'a NewCallback, i64)>,
}

impl<'a> Columns<'a> {
    fn add(&mut self, item: &'a FinishItem) -> Result<()> {
        let finish = item.finish()?;
        self.ids.push(&item.id);
        self.claims.push(item.record.claim);
        self.pins.push(item.record.pin);
        self.states.push(finish.state.as_str());
        self.finished.push(finish.finished_at_ms);
        self.errors.push(finish.error.as_ref().map(decode::error_text));
        self.results.push(finish.result.as_deref());
        self.steps.add(&item.id, &item.record.steps);
        if let Some(callback) = &finish.callback {
            self.callbacks.push((&item.id, callback, finish.finished_at_ms));
        }
        Ok(())
    }
}

impl Verb for FinishVerb {
    type Item = FinishItem;
    type Answer = Fenced;

    fn weight(item: &FinishItem) -> usize {
        let Then::Finish(finish) = &item.record.then else { return 1 };
        let texts = [finish.result.as_ref(), finish.callback.as_ref().map(|callback| &callback.body)];
        weight_of(
            steps::bytes(&item.record.steps) + texts.into_iter().flatten().map(String::len).sum::<usize>(),
        )
    }

    async fn run(&self, session: &mut Session, items: &[&FinishItem]) -> Result<Vec<Fenced>> {
        let (verdicts, effects) = run_all(session, items).await?;
        self.news.tell(&effects);
        Ok(verdicts)
    }
}

/// The ends of jobs, and what is to be told once they are committed.
pub(super) async fn run_all(session: &mut Session, items: &[&FinishItem]) -> Result<(Vec<Fenced>, Effects)> {
    let mut columns = Columns::default();
    let mut first = HashSet::new();
    for item in items {
        // Two ends of one job in one batch: the first counts, the other is stale.
        if first.insert(item.record.id) {
            columns.add(item)?;
        }
    }
    let mut gone = finish(session, &columns).await?;
    let mut effects = Effects { callbacks: !columns.callbacks.is_empty(), ..Effects::default() };
    let mut verdicts = Vec::with_capacity(items.len());
    for item in items {
        let done = gone.remove(&item.record.id);
        if done {
            effects.ended.push(item.record.id);
        }
        verdicts.push(if done { Fenced::Done } else { Fenced::Stale });
    }
    Ok((verdicts, effects))
}

async fn finish(session: &mut Session, columns: &Columns<'_>) -> Result<HashSet<JobId>> {
    let callback =
        |get: fn(&NewCallback) -> &str| columns.callbacks.iter().map(|it| get(it.1)).collect::<Vec<&str>>();
    let shard = session.shard;
    let Columns { ids, claims, pins, states, finished, errors, results, steps, callbacks } = columns;
    let rows = session
        .query(
            FINISH,
            &[
                ids,
                claims,
                pins,
                states,
                finished,
                errors,
                results,
                &steps.job_ids,
                &steps.steps,
                &steps.attempts,
                &steps.statuses,
                &steps.started,
                &steps.finished,
                &steps.until,
                &steps.errors,
                &steps.outputs,
                &callbacks.iter().map(|it| it.0).collect::<Vec<&str>>(),
                &callback(|callback| &callback.id),
                &callback(|callback| &callback.url),
                &callback(|callback| &callback.host),
                &callback(|callback| &callback.body),
                &callbacks.iter().map(|it| it.2).collect::<Vec<i64>>(),
                &shard,
                &figures::FINISHED,
                &figures::UNRECORDED,
            ],
        )
        .await?;
    rows.iter().map(|row| decode::job_id(row.try_get(0)?)).collect()
}
