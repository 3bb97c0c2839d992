//! What a batch writes: counters, calls, holds, the ledger, alerts. Many rows a statement, as one JSON text.
//!
//! Every text comes in two: SQLite reads lists with `json_each`, PostgreSQL with `jsonb_to_recordset`.

use std::collections::BTreeMap;

use levqor_core::audit::Act;
use levqor_core::money::{Alarm, CallId, Charge, Usage};
use serde_json::{Value as Json, json};

use super::batch::{Item, Outcome};
use super::calls::{Call, Entry};
use super::counters::{Counters, Key, Passed};
use super::policy::Policy;
use super::statements::new_row;
use super::types::{NewCall, Settled};
use crate::tx::{Sql, Tx};
use crate::{Error, Result, audit, decode};

/// A row that carries a call.
pub(super) struct Hold<'a> {
    pub call: CallId,
    pub key: &'a Key,
    pub amount: levqor_core::money::Nano,
}

/// What a batch writes, in its order. On PostgreSQL all of it is under way before the first answer.
#[derive(Default)]
pub(super) struct Writes {
    statements: Vec<(Sql, String)>,
    /// How many rows each must write, and what they are; `None`: as many as are new.
    wanted: Vec<Option<(u64, &'static str)>>,
}

impl Writes {
    /// Rows of which some may be there.
    pub fn any(&mut self, sql: impl Into<Sql>, rows: Vec<Json>) {
        self.push(sql.into(), rows, None);
    }

    /// A row that is not there now would be money that is counted nowhere.
    fn all(&mut self, sql: Sql, rows: Vec<Json>, what: &'static str) {
        let wanted = rows.len() as u64;
        self.push(sql, rows, Some((wanted, what)));
    }

    fn push(&mut self, sql: Sql, rows: Vec<Json>, wanted: Option<(u64, &'static str)>) {
        if !rows.is_empty() {
            self.statements.push((sql, Json::Array(rows).to_string()));
            self.wanted.push(wanted);
        }
    }

    pub async fn run(self, tx: &mut Tx<'_>) -> Result<()> {
        let found = tx.execute_together(&self.statements).await?;
        for (found, wanted) in found.into_iter().zip(self.wanted) {
            if let Some((wanted, what)) = wanted.filter(|(wanted, _)| *wanted != found) {
                return Err(Error::bug(format!("{found} of {wanted} {what} were written")));
            }
        }
        Ok(())
    }
}

const MISSING: &str = "insert into budget_periods (budget_id, period_key, subject, scope_rank, limit_nano, spent_nano, held_nano, \
    assumed_nano, overrun_nano, calls, open_holds, ends_at_ms, updated_at_ms) \
    select value ->> 'b', value ->> 'p', value ->> 's', value ->> 'r', value ->> 'l', 0, 0, 0, 0, 0, 0, value ->> 'e', 0 \
    from json_each($1) where true on conflict (budget_id, period_key, subject) do nothing";

/// Rows of periods that begin with this batch. On PostgreSQL they were made by the lock.
pub(super) fn missing_rows(
    writes: &mut Writes,
    policy: &Policy,
    keys: &BTreeMap<Key, Option<i64>>,
    counters: &Counters,
) {
    let new = keys.iter().filter(|(key, _)| !counters.is_loaded(key));
    writes.any(MISSING, new.map(|(key, ends_at_ms)| new_row(policy, key, *ends_at_ms)).collect());
}

// The guard says it once more where it counts: no hold beyond a hard limit, whatever this program believes.
// Differs because on PostgreSQL the rows are there, locked and known since the lock, and only an insert that meets them is sure
// to find each by its key. So it writes sums, and SQLite adds changes. A limit that is not known stays as it was.
const COUNTERS: Sql = Sql::Each {
    sqlite: "update budget_periods as p set limit_nano = coalesce(w.value ->> 'l', p.limit_nano), \
        spent_nano = p.spent_nano + (w.value ->> 'spent'), held_nano = p.held_nano + (w.value ->> 'held'), \
        assumed_nano = p.assumed_nano + (w.value ->> 'assumed'), overrun_nano = p.overrun_nano + (w.value ->> 'overrun'), \
        calls = p.calls + (w.value ->> 'calls'), open_holds = p.open_holds + (w.value ->> 'open'), \
        updated_at_ms = max(p.updated_at_ms, w.value ->> 'at') \
        from json_each($1) w \
        where p.budget_id = w.value ->> 'b' and p.period_key = w.value ->> 'p' and p.subject = w.value ->> 's' \
        and (not (w.value ->> 'guard') or p.spent_nano + (w.value ->> 'spent') + p.held_nano + (w.value ->> 'held') \
        <= (w.value ->> 'l'))",
    postgres: "insert into budget_periods as p (budget_id, period_key, subject, scope_rank, limit_nano, spent_nano, held_nano, \
        assumed_nano, overrun_nano, calls, open_holds, updated_at_ms) \
        select w.b, w.p, w.s, w.r, coalesce(w.l, 9223372036854775807), w.spent, w.held, w.assumed, w.overrun, w.calls, w.open, w.at \
        from jsonb_to_recordset($1::text::jsonb) as w (b text, p text, s text, r bigint, l bigint, spent bigint, held bigint, \
        assumed bigint, overrun bigint, calls bigint, open bigint, at bigint, guard boolean) \
        where not w.guard or w.spent + w.held <= w.l \
        on conflict (budget_id, period_key, subject) do update set \
        limit_nano = case when excluded.limit_nano < 9223372036854775807 then excluded.limit_nano else p.limit_nano end, \
        spent_nano = excluded.spent_nano, held_nano = excluded.held_nano, assumed_nano = excluded.assumed_nano, \
        overrun_nano = excluded.overrun_nano, calls = excluded.calls, open_holds = excluded.open_holds, \
        updated_at_ms = greatest(p.updated_at_ms, excluded.updated_at_ms)",
};

pub(super) fn counters(
    writes: &mut Writes,
    is_sqlite: bool,
    policy: &Policy,
    counters: &Counters,
    at_ms: i64,
) -> Result<()> {
    let mut rows = Vec::new();
    for row in counters.changed() {
        let budget = policy.budgets.iter().find(|budget| budget.id.as_str() == row.key.budget);
        let counts = if is_sqlite {
            row.change
        } else {
            let locked = row.before.ok_or_else(|| Error::bug("counters that were not locked"))?;
            locked.plus(row.change)
        };
        rows.push(json!({
            "b": row.key.budget, "p": row.key.period, "s": row.key.subject, "r": row.key.rank,
            "l": budget.map(|budget| budget.limit.get()),
            "spent": counts.spent, "held": counts.held, "assumed": counts.assumed, "overrun": counts.overrun,
            "calls": counts.calls, "open": counts.open_holds, "at": at_ms, "guard": row.guard,
        }));
    }
    writes.all(COUNTERS, rows, "counters");
    Ok(())
}

macro_rules! call_columns {
    () => {
        "id, place, job_id, root_job_id, workflow, step, logical_call, attempt, key_id, user_id, tags, provider, model, \
         price_id, terms, tier, state, node, lease_until_ms, est_input, est_output, reserved_nano, corrections, reserved_at_ms"
    };
}

// Differs because lists are taken apart differently.
const NEW_CALLS: Sql = Sql::Each {
    sqlite: concat!(
        "insert into ai_calls (",
        call_columns!(),
        ") select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
         value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15, \
         'reserved', value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20, 0, value ->> 21 from json_each($1)"
    ),
    postgres: concat!(
        "insert into ai_calls (",
        call_columns!(),
        ") select w ->> 0, w ->> 1, w ->> 2, w ->> 3, w ->> 4, w ->> 5, (w ->> 6)::bigint, (w ->> 7)::bigint, \
         w ->> 8, w ->> 9, w ->> 10, w ->> 11, w ->> 12, w ->> 13, w ->> 14, w ->> 15, \
         'reserved', w ->> 16, (w ->> 17)::bigint, (w ->> 18)::bigint, (w ->> 19)::bigint, (w ->> 20)::bigint, 0, \
         (w ->> 21)::bigint from jsonb_array_elements($1::text::jsonb) as e (w)"
    ),
};

pub(super) fn new_calls<'a>(writes: &mut Writes, node: &str, calls: impl Iterator<Item = &'a NewCall>) {
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let rows = calls.map(|call| {
        let place = call.place.as_ref();
        json!([
            call.id.to_string(),
            call.place_text(),
            place.map(|place| place.job.to_string()),
            place.map(|place| place.root_job.to_string()),
            place.map(|place| &place.workflow),
            place.map(|place| &place.step),
            place.map(|place| place.logical_call),
            place.map(|place| place.attempt),
            call.key,
            call.user,
            decode::tags_text(&call.tags),
            call.provider,
            call.model,
            call.price_id,
            serde_json::to_string(&call.terms).unwrap_or_default(),
            call.terms.tier.as_str(),
            node,
            call.at_ms.saturating_add(call.lease_ms.max(0)),
            tokens(call.bound.input_tokens),
            tokens(call.bound.output_tokens),
            call.bound.amount.get(),
            call.at_ms,
        ])
    });
    writes.all(NEW_CALLS, rows.collect(), "calls");
}

// Differs because lists are taken apart differently.
const HOLDS: Sql = Sql::Each {
    sqlite: "insert into ai_call_holds (call_id, budget_id, period_key, subject, amount_nano) \
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 from json_each($1)",
    postgres: "insert into ai_call_holds (call_id, budget_id, period_key, subject, amount_nano) \
        select w ->> 0, w ->> 1, w ->> 2, w ->> 3, (w ->> 4)::bigint from jsonb_array_elements($1::text::jsonb) as e (w)",
};

pub(super) fn holds(writes: &mut Writes, holds: &[Hold<'_>]) {
    let rows = holds.iter().map(|hold| {
        let key = hold.key;
        json!([hold.call.to_string(), key.budget, key.period, key.subject, hold.amount.get()])
    });
    writes.all(HOLDS, rows.collect(), "holds");
}

// Differs because lists are taken apart differently.
const CALLS: Sql = Sql::Each {
    sqlite: "update ai_calls as c set state = w.value ->> 'state', settled_nano = w.value ->> 'settled', \
        corrections = w.value ->> 'corrections', tier = coalesce(w.value ->> 'tier', c.tier), \
        lease_until_ms = iif(w.value ->> 'settled' is null, c.lease_until_ms, null), \
        uncached_in = coalesce(w.value ->> 'u' ->> 0, c.uncached_in), cached_in = coalesce(w.value ->> 'u' ->> 1, c.cached_in), \
        write_short = coalesce(w.value ->> 'u' ->> 2, c.write_short), write_long = coalesce(w.value ->> 'u' ->> 3, c.write_long), \
        write_any = coalesce(w.value ->> 'u' ->> 4, c.write_any), image_in = coalesce(w.value ->> 'u' ->> 5, c.image_in), \
        audio_in = coalesce(w.value ->> 'u' ->> 6, c.audio_in), out_said = coalesce(w.value ->> 'u' ->> 7, c.out_said), \
        out_thought = coalesce(w.value ->> 'u' ->> 8, c.out_thought), audio_out = coalesce(w.value ->> 'u' ->> 9, c.audio_out), \
        searches = coalesce(w.value ->> 'u' ->> 10, c.searches), usage_raw = coalesce(w.value ->> 'raw', c.usage_raw), \
        provider_cost_nano = coalesce(w.value ->> 'cost', c.provider_cost_nano), \
        provider_request_id = coalesce(w.value ->> 'request', c.provider_request_id), \
        http_status = coalesce(w.value ->> 'http', c.http_status), finish_reason = coalesce(w.value ->> 'finish', c.finish_reason), \
        failure = coalesce(w.value ->> 'failure', c.failure), alarm = coalesce(w.value ->> 'alarm', c.alarm), \
        served = coalesce(w.value ->> 'served', c.served), \
        sent_at_ms = coalesce(c.sent_at_ms, w.value ->> 'sent_at'), settled_at_ms = coalesce(w.value ->> 'settled_at', c.settled_at_ms) \
        from json_each($1) w where c.id = w.value ->> 'id'",
    postgres: "with w as materialized (select * from jsonb_to_recordset($1::text::jsonb) as w (id text, state text, settled bigint, \
        corrections bigint, tier text, u jsonb, raw text, cost bigint, request text, http bigint, finish text, failure text, \
        alarm text, served text, sent_at bigint, settled_at bigint)) \
        update ai_calls as c set state = w.state, settled_nano = w.settled, corrections = w.corrections, \
        tier = coalesce(w.tier, c.tier), lease_until_ms = case when w.settled is null then c.lease_until_ms end, \
        uncached_in = coalesce((w.u ->> 0)::bigint, c.uncached_in), cached_in = coalesce((w.u ->> 1)::bigint, c.cached_in), \
        write_short = coalesce((w.u ->> 2)::bigint, c.write_short), write_long = coalesce((w.u ->> 3)::bigint, c.write_long), \
        write_any = coalesce((w.u ->> 4)::bigint, c.write_any), image_in = coalesce((w.u ->> 5)::bigint, c.image_in), \
        audio_in = coalesce((w.u ->> 6)::bigint, c.audio_in), out_said = coalesce((w.u ->> 7)::bigint, c.out_said), \
        out_thought = coalesce((w.u ->> 8)::bigint, c.out_thought), audio_out = coalesce((w.u ->> 9)::bigint, c.audio_out), \
        searches = coalesce((w.u ->> 10)::bigint, c.searches), usage_raw = coalesce(w.raw, c.usage_raw), \
        provider_cost_nano = coalesce(w.cost, c.provider_cost_nano), \
        provider_request_id = coalesce(w.request, c.provider_request_id), http_status = coalesce(w.http, c.http_status), \
        finish_reason = coalesce(w.finish, c.finish_reason), failure = coalesce(w.failure, c.failure), \
        alarm = coalesce(w.alarm, c.alarm), served = coalesce(w.served, c.served), sent_at_ms = coalesce(c.sent_at_ms, w.sent_at), \
        settled_at_ms = coalesce(w.settled_at, c.settled_at_ms) \
        from w where c.id = any (array(select id from w)) and c.id = w.id",
};

// Differs because lists are taken apart differently. That a hold is open is no condition on PostgreSQL: the index of those that
// are would look cheaper than the key.
const CLOSE: Sql = Sql::Each {
    sqlite: "update ai_call_holds as h set closed_at_ms = w.value ->> 'at' from json_each($1) w \
        where h.call_id = w.value ->> 'id' and h.closed_at_ms is null",
    postgres: "with w as materialized (select * from jsonb_to_recordset($1::text::jsonb) as w (id text, at bigint)) \
        update ai_call_holds as h set closed_at_ms = coalesce(h.closed_at_ms, w.at) \
        from w where h.call_id = any (array(select id from w)) and h.call_id = w.id",
};

/// Calls that were marked or charged; the holds of those that are over are closed.
pub(super) fn calls<'a>(writes: &mut Writes, calls: impl Iterator<Item = &'a Call>) {
    let (mut rows, mut closed) = (Vec::new(), Vec::new());
    for call in calls {
        let Some(write) = &call.write else { continue };
        let settlement = write.settlement.as_ref();
        let usage = settlement.and_then(|it| used(&it.charge));
        let text =
            |get: fn(&super::types::Settlement) -> &Option<String>| settlement.and_then(|it| get(it).clone());
        rows.push(json!({
            "id": call.id, "state": call.state.as_str(), "settled": call.settled, "corrections": call.corrections,
            "tier": usage.and_then(|usage| usage.tier).map(|tier| tier.as_str()),
            "u": usage.map(classes),
            "raw": text(|it| &it.usage_raw),
            "cost": usage.and_then(|usage| usage.provider_cost).map(|cost| cost.get()),
            "request": text(|it| &it.provider_request_id),
            "http": settlement.and_then(|it| it.http_status),
            "finish": text(|it| &it.finish_reason),
            "failure": text(|it| &it.failure),
            "alarm": settlement.and_then(|it| alarm(&it.charge)),
            "served": usage.and_then(served),
            "sent_at": settlement.and_then(|it| it.sent_at_ms),
            "settled_at": write.settled_at_ms,
        }));
        if let Some(at) = write.settled_at_ms {
            closed.push(json!({ "id": call.id, "at": at }));
        }
    }
    writes.all(CALLS, rows, "calls");
    writes.any(CLOSE, closed);
}

fn used(charge: &Charge) -> Option<&Usage> {
    match charge {
        Charge::Settle { usage, .. } => Some(usage),
        Charge::Release | Charge::Assume { .. } => None,
    }
}

pub(super) fn classes(usage: &Usage) -> [u64; 11] {
    [
        usage.uncached_in,
        usage.cached_in,
        usage.write_short,
        usage.write_long,
        usage.write_any,
        usage.image_in,
        usage.audio_in,
        usage.out,
        usage.reasoning,
        usage.audio_out,
        usage.searches,
    ]
}

/// What the provider said beside the classes, in words; read back by `call_rows.rs`.
fn served(usage: &Usage) -> Option<String> {
    let words = [("region", usage.region), ("fast", usage.fast), ("corrected", usage.corrected)];
    let said: Vec<&str> = words.into_iter().filter(|(_, is_said)| *is_said).map(|(word, _)| word).collect();
    (!said.is_empty()).then(|| said.join(" "))
}

fn alarm(charge: &Charge) -> Option<String> {
    match charge {
        Charge::Settle { alarm, .. } | Charge::Assume { alarm } => alarm.as_ref().map(Alarm::to_string),
        Charge::Release => None,
    }
}

// Differs because lists are taken apart differently.
const LEDGER: Sql = Sql::Each {
    sqlite: "insert into cost_ledger (call_id, kind, correction, amount_nano, actor, reason, at_ms) \
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 from json_each($1)",
    postgres: "insert into cost_ledger (call_id, kind, correction, amount_nano, actor, reason, at_ms) \
        select w ->> 0, w ->> 1, (w ->> 2)::bigint, (w ->> 3)::bigint, w ->> 4, w ->> 5, (w ->> 6)::bigint \
        from jsonb_array_elements($1::text::jsonb) as e (w)",
};

pub(super) fn ledger(writes: &mut Writes, entries: &[Entry]) {
    let rows = entries
        .iter()
        .map(|it| json!([it.call, it.kind, it.correction, it.amount, it.actor, it.reason, it.at_ms]));
    writes.all(LEDGER, rows.collect(), "rows of the ledger");
}

// Differs because lists are taken apart differently.
const ALERTS: Sql = Sql::Each {
    sqlite: "insert into alert_outbox (budget_id, period_key, subject, threshold_ppm, spent_nano, limit_nano, at_ms) \
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 \
        from json_each($1) where true on conflict do nothing",
    postgres: "insert into alert_outbox (budget_id, period_key, subject, threshold_ppm, spent_nano, limit_nano, at_ms) \
        select w ->> 0, w ->> 1, w ->> 2, (w ->> 3)::bigint, (w ->> 4)::bigint, (w ->> 5)::bigint, (w ->> 6)::bigint \
        from jsonb_array_elements($1::text::jsonb) as e (w) on conflict do nothing",
};

/// A threshold that was told in this period is not told again.
pub(super) fn alerts(writes: &mut Writes, passed: &[Passed], at_ms: i64) {
    let rows = passed.iter().map(|it| {
        json!([it.key.budget, it.key.period, it.key.subject, it.threshold_ppm, it.spent, it.limit, at_ms])
    });
    writes.any(ALERTS, rows.collect());
}

// Differs because lists are taken apart differently.
const QUARANTINES: Sql = Sql::Each {
    sqlite: "insert into ai_quarantines (provider, model, call_id, reason, since_ms) \
        select c.provider, c.model, c.id, w.value ->> 1, w.value ->> 2 from json_each($1) w join ai_calls c on c.id = w.value ->> 0 \
        where true order by 1, 2 on conflict (provider, model) do nothing",
    postgres: "insert into ai_quarantines (provider, model, call_id, reason, since_ms) \
        select c.provider, c.model, c.id, w ->> 1, (w ->> 2)::bigint from jsonb_array_elements($1::text::jsonb) as e (w) \
        cross join lateral (select * from ai_calls a where a.id = w ->> 0 offset 0) c \
        order by 1, 2 on conflict (provider, model) do nothing",
};

/// A model that cost more than what its price list allows is not called again until somebody has looked at it.
pub(super) fn quarantines(writes: &mut Writes, entries: &[Entry]) {
    let rows = entries.iter().filter(|it| it.kind == "overrun").map(|it| {
        let beyond = levqor_core::money::Nano::new(it.amount);
        json!([it.call, format!("a call cost ${beyond} more than its price list allows"), it.at_ms])
    });
    writes.any(QUARANTINES, rows.collect());
}

/// Corrections that changed something are in the audit log too. Their reasons are in the ledger alone: nothing is ever
/// taken out of the log, whoever a reason names.
pub(super) async fn corrections(
    tx: &mut Tx<'_>,
    items: &[&Item],
    outcomes: &[Option<Outcome>],
) -> Result<()> {
    for (item, outcome) in items.iter().zip(outcomes) {
        if let (Item::Correct(it), Some(Outcome::Settled(Settled { changed: true, .. }))) = (item, outcome) {
            let act = Act::new(&it.actor, "call.correct", it.call.to_string(), it.at_ms);
            let detail = json!({ "cost_usd": it.cost.to_string() });
            audit::append(tx, &act.detail(detail)).await?;
        }
    }
    Ok(())
}
