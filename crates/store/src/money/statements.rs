//! What a batch reads: places, calls, counters. Many at once, as one JSON text, because both engines can take that apart.
//!
//! Every text comes in two: SQLite reads lists with `json_each`, PostgreSQL with `jsonb_to_recordset`. What PostgreSQL must find
//! by its key is written as the hot verbs write it, so that no plan can become a walk over a table.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use levqor_core::budget::{Window, rolling_since};
use levqor_core::money::{CallId, CallState};
use serde_json::{Value as Json, json};

use super::calls::Call;
use super::counters::{Counts, Key};
use super::policy::Policy;
use super::rollups::Belongs;
use crate::tx::{Row, Sql, Tx};
use crate::{Error, Result};

/// The rows of one budget and subject from a key on, up to and with another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub key: Key,
    pub first: String,
}

/// The range that a key of a rolling window is measured with.
pub(super) fn rolling(policy: &Policy, key: &Key) -> Option<Range> {
    let budget = policy.budgets.iter().find(|budget| budget.id.as_str() == key.budget)?;
    let Window::Rolling { hours } = budget.window else { return None };
    Some(Range { key: key.clone(), first: rolling_since(&key.period, hours)? })
}

// Differs because lists are taken apart differently.
const PLACES: Sql = Sql::Each {
    sqlite: "select c.place, c.id, c.state from json_each($1) w join ai_calls c on c.place = w.value",
    postgres: "select c.place, c.id, c.state from ai_calls c \
        where c.place = any (array(select jsonb_array_elements_text($1::text::jsonb)))",
};

pub(super) async fn find_places(
    tx: &mut Tx<'_>,
    places: &[String],
) -> Result<HashMap<String, (CallId, CallState)>> {
    let rows = tx.query(PLACES, &[(&Json::from(places).to_string()).into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, (call_id(&row.text(1)?)?, call_state(&row.text(2)?)?)))).collect()
}

macro_rules! call_columns {
    () => {
        "select c.id, c.state, c.reserved_nano, c.settled_nano, c.corrections, c.workflow, c.provider, c.model, c.key_id, \
         c.user_id, c.tags, c.reserved_at_ms "
    };
}

// Differs because of the same, and because on PostgreSQL other nodes may charge the same call.
const CALLS: Sql = Sql::Each {
    sqlite: concat!(call_columns!(), "from json_each($1) w join ai_calls c on c.id = w.value"),
    postgres: concat!(
        call_columns!(),
        "from ai_calls c where c.id = any (array(select jsonb_array_elements_text($1::text::jsonb))) order by c.id for update"
    ),
};

// Differs because lists are taken apart differently.
const HOLDS: Sql = Sql::Each {
    sqlite: "select h.call_id, p.scope_rank, h.budget_id, h.subject, h.period_key \
        from json_each($1) w join ai_call_holds h on h.call_id = w.value join budget_periods p \
        on p.budget_id = h.budget_id and p.period_key = h.period_key and p.subject = h.subject",
    postgres: "select h.call_id, p.scope_rank, h.budget_id, h.subject, h.period_key \
        from ai_call_holds h cross join lateral (select c.scope_rank from budget_periods c \
        where c.budget_id = h.budget_id and c.period_key = h.period_key and c.subject = h.subject offset 0) p \
        where h.call_id = any (array(select jsonb_array_elements_text($1::text::jsonb)))",
};

/// The calls of a batch, locked in the order of their ids, with the keys of the rows that carry them.
pub(super) async fn lock_calls(tx: &mut Tx<'_>, ids: &BTreeSet<String>) -> Result<BTreeMap<String, Call>> {
    let mut calls = BTreeMap::new();
    if ids.is_empty() {
        return Ok(calls);
    }
    let list = Json::from_iter(ids.iter().map(String::as_str)).to_string();
    for row in tx.query(CALLS, &[(&list).into()]).await? {
        let (state, settled) = (call_state(&row.text(1)?)?, row.opt_int(3)?);
        let call = Call {
            id: row.text(0)?,
            state,
            reserved: row.int(2)?,
            settled,
            corrections: row.int(4)?,
            before: (state, settled),
            belongs: belongs(&row)?,
            holds: Vec::new(),
            write: None,
        };
        calls.insert(call.id.clone(), call);
    }
    if calls.is_empty() {
        return Ok(calls);
    }
    for row in tx.query(HOLDS, &[(&list).into()]).await? {
        let key =
            Key { rank: row.int(1)?, budget: row.text(2)?, subject: row.text(3)?, period: row.text(4)? };
        if let Some(call) = calls.get_mut(&row.text(0)?) {
            call.holds.push(key);
        }
    }
    Ok(calls)
}

/// What is not there is no text: a group has a place for each.
fn belongs(row: &Row) -> Result<Belongs> {
    Ok(Belongs {
        workflow: row.opt_text(5)?.unwrap_or_default(),
        provider: row.text(6)?,
        model: row.text(7)?,
        key: row.opt_text(8)?.unwrap_or_default(),
        user: row.opt_text(9)?.unwrap_or_default(),
        tags: row.text(10)?,
        reserved_at_ms: row.int(11)?,
    })
}

macro_rules! counter_columns {
    () => {
        "select p.scope_rank, p.budget_id, p.subject, p.period_key, p.spent_nano, p.held_nano, p.assumed_nano, \
         p.overrun_nano, p.calls, p.open_holds "
    };
}

// Differs because lists are taken apart differently.
const COUNTERS: Sql = Sql::Each {
    sqlite: concat!(
        counter_columns!(),
        "from json_each($1) w join budget_periods p on p.budget_id = w.value ->> 'b' and p.subject = w.value ->> 's' \
         and p.period_key >= w.value ->> 'f' and p.period_key <= w.value ->> 'p'"
    ),
    postgres: concat!(
        counter_columns!(),
        "from jsonb_to_recordset($1::text::jsonb) as w (b text, s text, f text, p text) cross join lateral \
         (select * from budget_periods c where c.budget_id = w.b and c.subject = w.s and c.period_key >= w.f \
         and c.period_key <= w.p offset 0) p"
    ),
};

/// Counters as they are, without a lock.
pub(super) async fn read_counters(tx: &mut Tx<'_>, ranges: &BTreeSet<Range>) -> Result<Vec<(Key, Counts)>> {
    let list = ranges.iter().map(|range| {
        let key = &range.key;
        json!({ "b": key.budget, "s": key.subject, "f": range.first, "p": key.period })
    });
    let list = Json::from_iter(list).to_string();
    tx.query(COUNTERS, &[(&list).into()]).await?.iter().map(counters).collect()
}

// Differs because on PostgreSQL rows must be locked, and in one order: one statement inserts what is missing and locks what
// is there, row by row in the order of its list. (An insert that came before the locks of narrower rows could wait for
// somebody who waits for us.) On SQLite there is one writer, and a batch that is refused must not write.
const LOCK: Sql = Sql::Each {
    sqlite: concat!(
        counter_columns!(),
        "from json_each($1) w join budget_periods p on p.budget_id = w.value ->> 'b' and p.subject = w.value ->> 's' \
         and p.period_key = w.value ->> 'p'"
    ),
    postgres: "insert into budget_periods as p (budget_id, period_key, subject, scope_rank, limit_nano, spent_nano, held_nano, \
        assumed_nano, overrun_nano, calls, open_holds, ends_at_ms, updated_at_ms) \
        select w.b, w.p, w.s, w.r, w.l, 0, 0, 0, 0, 0, 0, w.e, 0 \
        from jsonb_to_recordset($1::text::jsonb) as w (b text, p text, s text, r bigint, l bigint, e bigint) \
        on conflict (budget_id, period_key, subject) do update set scope_rank = p.scope_rank \
        returning p.scope_rank, p.budget_id, p.subject, p.period_key, p.spent_nano, p.held_nano, p.assumed_nano, \
        p.overrun_nano, p.calls, p.open_holds",
};

/// Counters under a lock, in the order of the keys.
pub(super) async fn lock_counters(
    tx: &mut Tx<'_>,
    policy: &Policy,
    keys: &BTreeSet<Key>,
    ends: &HashMap<&Key, Option<i64>>,
) -> Result<Vec<(Key, Counts)>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let list = keys.iter().map(|key| new_row(policy, key, ends.get(key).copied().flatten()));
    let list = Json::from_iter(list).to_string();
    tx.query(LOCK, &[(&list).into()]).await?.iter().map(counters).collect()
}

/// A row of counters as a list has it.
pub(super) fn new_row(policy: &Policy, key: &Key, ends_at_ms: Option<i64>) -> Json {
    let budget = policy.budgets.iter().find(|budget| budget.id.as_str() == key.budget);
    let limit = budget.map_or(0, |budget| budget.limit.get());
    json!({ "b": key.budget, "p": key.period, "s": key.subject, "r": key.rank, "l": limit, "e": ends_at_ms })
}

fn counters(row: &Row) -> Result<(Key, Counts)> {
    let key = Key { rank: row.int(0)?, budget: row.text(1)?, subject: row.text(2)?, period: row.text(3)? };
    let counts = Counts {
        spent: row.int(4)?,
        held: row.int(5)?,
        assumed: row.int(6)?,
        overrun: row.int(7)?,
        calls: row.int(8)?,
        open_holds: row.int(9)?,
    };
    Ok((key, counts))
}

pub(super) fn call_id(text: &str) -> Result<CallId> {
    text.parse().map_err(|_| Error::bug(format!("{text:?} is no call id")))
}

pub(super) fn call_state(text: &str) -> Result<CallState> {
    CallState::parse(text).ok_or_else(|| Error::bug(format!("{text:?} is no call state")))
}
