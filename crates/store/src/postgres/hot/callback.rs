//! Callbacks that are due: claiming them under a lease, and **commit 5**, the record of a try.

use std::collections::HashSet;

use levqor_core::job::{Fenced, NewCallback};
use tokio_postgres::Row;

use super::super::collector::Verb;
use super::super::lane::Session;
use crate::callback::Walk;
use crate::{CALLBACK_LEASE_MS, CallbackEnd, CallbackTry, ClaimedCallback, HostRoom, Result, decode};

/// Goes from receiver to receiver along the index, so that a backlog of one does not cost the others anything, and no
/// further than the limit: without an order of its own, `due` takes receivers as they come. A claim whose last try left no
/// record died with its process: that try is recorded as lost, and the schedule goes on where it was, with the same round.
///
/// `room` is an object from receiver to number, because a plan for any number of them cannot look them up in an array.
const CLAIM: &str = "
with recursive receiver (host, due_at_ms) as (
    (select host, due_at_ms from callbacks
        where due_at_ms is not null and host > $5::text and host <= $6::text order by host, due_at_ms limit 1)
    union all
    select next.host, next.due_at_ms
    from receiver r cross join lateral (
        select c.host, c.due_at_ms from callbacks c
        where c.due_at_ms is not null and c.host > r.host and c.host <= $6 order by c.host, c.due_at_ms limit 1
    ) next
), due as materialized (
    select d.id, d.due_at_ms, d.attempt
    from receiver r cross join lateral (
        select id, due_at_ms, attempt from callbacks c
        where c.host = r.host and c.due_at_ms is not null and c.due_at_ms <= $1::bigint
        order by c.due_at_ms, c.id
        limit coalesce(((select $3::text::jsonb) ->> r.host)::bigint, $7::bigint) for update skip locked
    ) d
    where r.due_at_ms <= $1
    limit $2::bigint
), lost as (
    insert into callback_tries (callback_id, attempt, at_ms, duration_ms, error)
    select id, attempt, due_at_ms - $4::bigint, $4, 'lost' from due
    where attempt > 0
    on conflict (callback_id, attempt) do nothing
    returning callback_id
)
update callbacks set attempt = attempt + 1, due_at_ms = $1 + $4,
    round = round + case when round > 0 and id in (select callback_id from lost) then 0 else 1 end
where id = any (array(select id from due))
returning id, job_id, url, host, body, attempt, round";

/// A try that was overtaken changes nothing: its lease ran out and somebody else tries, or a redelivery was asked for
/// (its round began anew).
const RECORD: &str = "
with input as materialized (
    select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::text[]) as i (id, attempt, round, state, due_at_ms, at_ms, duration_ms, status, error)
), held as materialized (
    update callbacks c
    set state = i.state, due_at_ms = i.due_at_ms
    from input i
    where c.id = any ($1) and c.id = i.id and c.attempt = i.attempt and c.round = i.round and c.state = 'due'
    returning c.id, i.attempt, i.at_ms, i.duration_ms, i.status, i.error
), tried as (
    insert into callback_tries (callback_id, attempt, at_ms, duration_ms, status, error)
    select * from held
    on conflict (callback_id, attempt) do nothing
)
select id from held";

/// In the order of the walk.
pub(in super::super) async fn claim(
    session: &mut Session,
    walk: &Walk,
    room: &HostRoom,
) -> Result<Vec<ClaimedCallback>> {
    let limit = as_bigint(walk.limit);
    let known: serde_json::Map<_, _> =
        room.known.iter().map(|(host, room)| (host.clone(), as_bigint(*room).into())).collect();
    let known = serde_json::Value::Object(known).to_string();
    let rows = session
        .query(
            CLAIM,
            &[
                &walk.now_ms,
                &limit,
                &known,
                &CALLBACK_LEASE_MS,
                &walk.after,
                &walk.until,
                &as_bigint(room.unknown),
            ],
        )
        .await?;
    let mut claimed = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    // An update answers in no particular order.
    claimed.sort_by(|a, b| a.callback.host.cmp(&b.callback.host));
    Ok(claimed)
}

fn as_bigint(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read(row: &Row) -> Result<ClaimedCallback> {
    let callback = NewCallback {
        id: row.try_get(0)?,
        job_id: decode::job_id(row.try_get(1)?)?,
        url: row.try_get(2)?,
        host: row.try_get(3)?,
        body: row.try_get(4)?,
    };
    Ok(ClaimedCallback { callback, attempt: row.try_get(5)?, round: row.try_get(6)? })
}

pub(in super::super) struct TryVerb;

pub(in super::super) struct Tried {
    pub id: String,
    pub attempt: i64,
    pub round: i64,
    pub tried: CallbackTry,
    pub end: CallbackEnd,
}

impl Verb for TryVerb {
    type Item = Tried;
    type Answer = Fenced;

    fn weight(_: &Tried) -> usize {
        1
    }

    async fn run(&self, session: &mut Session, items: &[&Tried]) -> Result<Vec<Fenced>> {
        // Of twins the first counts, as if the other had come a moment later: its callback is not waiting any more.
        let mut seen = HashSet::new();
        let items_once: Vec<&&Tried> = items.iter().filter(|item| seen.insert(item.id.as_str())).collect();
        let number = |get: fn(&Tried) -> i64| items_once.iter().map(|item| get(item)).collect::<Vec<i64>>();
        let (states, due): (Vec<&str>, Vec<Option<i64>>) =
            items_once.iter().map(|item| next(&item.end)).unzip();
        let rows = session
            .query(
                RECORD,
                &[
                    &items_once.iter().map(|item| item.id.as_str()).collect::<Vec<&str>>(),
                    &number(|item| item.attempt),
                    &number(|item| item.round),
                    &states,
                    &due,
                    &number(|item| item.tried.at_ms),
                    &number(|item| item.tried.duration_ms),
                    &items_once.iter().map(|item| item.tried.status).collect::<Vec<_>>(),
                    &items_once.iter().map(|item| item.tried.error.as_deref()).collect::<Vec<_>>(),
                ],
            )
            .await?;
        let mut held =
            rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<HashSet<&str>, _>>()?;
        let verdict =
            |item: &&Tried| if held.remove(item.id.as_str()) { Fenced::Done } else { Fenced::Stale };
        Ok(items.iter().map(verdict).collect())
    }
}

fn next(end: &CallbackEnd) -> (&'static str, Option<i64>) {
    match end {
        CallbackEnd::Delivered => ("delivered", None),
        CallbackEnd::Gone => ("gone", None),
        CallbackEnd::Exhausted => ("exhausted", None),
        CallbackEnd::Retry { due_at_ms } => ("due", Some(*due_at_ms)),
    }
}
