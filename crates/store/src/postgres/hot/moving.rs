//! **Commit 3**: attempts of jobs that do not end yet: they go on, rest, go back to the queue or wait for a definition.

use std::collections::HashSet;
use std::sync::Arc;

use levqor_core::id::JobId;
use levqor_core::job::{Fenced, Record, Then};
use levqor_core::state::State;

use super::super::collector::Verb;
use super::super::lane::Session;
use super::super::news::News;
use super::steps::{self, StepColumns};
use super::weight_of;
use crate::wake::Effects;
use crate::{Result, decode};

/// A job that goes back to wait for its definition has not started: its timeout counts from its first real start.
const MOVE: &str = "
with input as materialized (
    select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
        as i (id, claim, pin, state, due_at_ms)
), moved as materialized (
    update live_jobs l
    set state = i.state, due_at_ms = i.due_at_ms, version = coalesce(i.pin, l.version),
        node = case when i.state = 'running' then l.node end,
        started_at_ms = case when i.state <> 'undefined' then l.started_at_ms end
    from input i
    where l.id = any ($1) and l.id = i.id and l.claim = i.claim and l.node is not null
    returning l.id
), tried as (
    insert into steps (job_id, step, attempt, status, started_at_ms, finished_at_ms, until_ms, error, output)
    select * from unnest($6::text[], $7::text[], $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[],
        $13::text[], $14::text[]) as s (job_id)
    where (s.job_id in (select id from moved)) is true
    on conflict (job_id, step, attempt) do update set status = excluded.status, started_at_ms = excluded.started_at_ms,
        finished_at_ms = excluded.finished_at_ms, until_ms = excluded.until_ms, error = excluded.error,
        output = excluded.output
)
select id from moved";

pub(in super::super) struct MoveVerb {
    pub news: Arc<News>,
}

impl Verb for MoveVerb {
    type Item = Record;
    type Answer = Fenced;

    fn weight(record: &Record) -> usize {
        weight_of(steps::bytes(&record.steps))
    }

    async fn run(&self, session: &mut Session, records: &[&Record]) -> Result<Vec<Fenced>> {
        let (verdicts, effects) = run_all(session, records).await?;
        self.news.tell(&effects);
        Ok(verdicts)
    }
}

/// What becomes of jobs that go on, and what is to be told once it is committed.
pub(super) async fn run_all(session: &mut Session, records: &[&Record]) -> Result<(Vec<Fenced>, Effects)> {
    let mut effects = Effects::default();
    let mut verdicts = vec![Fenced::Stale; records.len()];
    let mut open: Vec<usize> = (0..records.len()).collect();
    // Two records of one job in one batch go one after the other, in the order in which they came.
    while !open.is_empty() {
        let mut seen = HashSet::new();
        let (now, later): (Vec<usize>, Vec<usize>) =
            open.into_iter().partition(|it| seen.insert(records[*it].id));
        let moved = run_distinct(session, &now.iter().map(|it| records[*it]).collect::<Vec<_>>()).await?;
        for it in now.iter().filter(|it| moved.contains(&records[**it].id)) {
            verdicts[*it] = Fenced::Done;
        }
        effects.runnable |=
            now.iter().any(|it| verdicts[*it] == Fenced::Done && records[*it].then == Then::HandBack);
        open = later;
    }
    Ok((verdicts, effects))
}

async fn run_distinct(session: &mut Session, records: &[&Record]) -> Result<HashSet<JobId>> {
    let ids: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
    let mut steps = StepColumns::default();
    for (id, record) in ids.iter().zip(records) {
        steps.add(id, &record.steps);
    }
    let (states, due): (Vec<&str>, Vec<Option<i64>>) =
        records.iter().map(|record| next(&record.then)).unzip();
    let rows = session
        .query(
            MOVE,
            &[
                &ids,
                &records.iter().map(|record| record.claim).collect::<Vec<i64>>(),
                &records.iter().map(|record| record.pin).collect::<Vec<_>>(),
                &states,
                &due,
                &steps.job_ids,
                &steps.steps,
                &steps.attempts,
                &steps.statuses,
                &steps.started,
                &steps.finished,
                &steps.until,
                &steps.errors,
                &steps.outputs,
            ],
        )
        .await?;
    rows.iter().map(|row| decode::job_id(row.try_get(0)?)).collect()
}

fn next(then: &Then) -> (&'static str, Option<i64>) {
    match then {
        Then::Stay => (State::Running.as_str(), None),
        Then::Rest { until_ms } => (State::Waiting.as_str(), Some(*until_ms)),
        Then::HandBack => (State::Queued.as_str(), None),
        Then::Park => (State::Undefined.as_str(), None),
        // Not sent here; it would break the table's rule on live states and fail as a bug.
        Then::Finish(finish) => (finish.state.as_str(), None),
    }
}
