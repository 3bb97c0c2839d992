//! Budgets as they are set up, and their figures.

use levqor_core::audit::{Act, Actor};
use levqor_core::budget::{Budget, BudgetId, Facts, Window, period};
use levqor_core::job::Tags;
use levqor_core::money::{CallId, Nano};
use serde_json::json;

use super::policy::{ALL, ONE, read};
use super::statements::{call_id, call_state};
use super::types::{BudgetRow, BudgetView, OpenHold, PeriodRow};
use crate::tx::{Row, Tx, Value};
use crate::{Error, Result, audit, decode};

/// The origin of a budget that stands on a setting.
pub const FROM_SETTING: &str = "setting";

/// Rows of periods, and of holds, that a view shows at most.
const SHOWN: i64 = 200;

/// Whoever changes a budget takes this row first: batches that hold money under the old budgets are over then.
pub(super) const HOLD_HEAD: &str = "update budget_head set token = $1 where one = 1";

const UPSERT: &str = "insert into budgets (id, scope_kind, scope_id, scope_rank, time_window, zone, limit_nano, mode, thresholds_ppm, \
    max_open_holds, enabled, deleted, origin, version, created_at_ms, updated_at_ms) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, false, $12, 1, $13, $13) \
    on conflict (id) do update set scope_kind = excluded.scope_kind, scope_id = excluded.scope_id, \
    scope_rank = excluded.scope_rank, time_window = excluded.time_window, zone = excluded.zone, \
    limit_nano = excluded.limit_nano, mode = excluded.mode, thresholds_ppm = excluded.thresholds_ppm, \
    max_open_holds = excluded.max_open_holds, enabled = excluded.enabled, deleted = false, origin = excluded.origin, \
    version = budgets.version + 1, updated_at_ms = excluded.updated_at_ms";

/// Limits of rows whose period goes on, for whoever looks at them; what counts is the limit of the budget.
const EDIT_PERIODS: &str =
    "update budget_periods set limit_nano = $2 where budget_id = $1 and period_key = $3";

/// Stores the budget. The row, and whether anything is different from before.
pub(super) async fn put(
    tx: &mut Tx<'_>,
    budget: &Budget,
    origin: &str,
    token: &str,
    actor: &Actor,
    now_ms: i64,
) -> Result<(BudgetRow, bool)> {
    budget.check().map_err(|problem| Error::Conflict { what: problem.to_string() })?;
    tx.execute(HOLD_HEAD, &[token.into()]).await?;
    let id = budget.id.as_str();
    let before = find(tx, id).await?;
    if let Some(before) = &before {
        if before.origin == FROM_SETTING && origin != FROM_SETTING {
            return Err(Error::Conflict {
                what: format!("the budget {id} stands on a setting: change it there"),
            });
        }
        if (before.budget.scope.clone(), before.budget.window) != (budget.scope.clone(), budget.window) {
            return Err(Error::Conflict {
                what: format!(
                    "the budget {id} has another scope or window, which cannot change: delete it, or choose another id"
                ),
            });
        }
    }
    if let Some(before) = before.filter(|before| before.budget == *budget && before.origin == origin) {
        return Ok((before, false));
    }
    let thresholds =
        serde_json::to_string(&budget.thresholds_ppm).map_err(|error| Error::Bug(error.into()))?;
    let window = budget.window.to_string();
    let values: [Value<'_>; 13] = [
        id.into(),
        budget.scope.kind.as_str().into(),
        (&budget.scope.id).into(),
        budget.scope.kind.rank().into(),
        (&window).into(),
        budget.zone.name().into(),
        budget.limit.get().into(),
        budget.mode.as_str().into(),
        (&thresholds).into(),
        budget.max_open_holds.into(),
        budget.enabled.into(),
        origin.into(),
        now_ms.into(),
    ];
    tx.execute(UPSERT, &values).await?;
    let key = current_key(budget, now_ms);
    if let Some(key) = &key {
        tx.execute(EDIT_PERIODS, &[id.into(), budget.limit.get().into(), key.into()]).await?;
    }
    let detail = json!({
        "scope": budget.scope.kind.as_str(), "scope_id": budget.scope.id, "window": window,
        "limit_usd": budget.limit.to_string(), "mode": budget.mode.as_str(), "enabled": budget.enabled,
    });
    audit::append(tx, &Act::new(actor, "budget.put", id, now_ms).detail(detail)).await?;
    let row = find(tx, id).await?.ok_or_else(|| Error::bug("a budget that was written is not there"))?;
    Ok((row, true))
}

/// Takes the budget out of force. Its counters and the ledger stay.
pub(super) async fn delete(tx: &mut Tx<'_>, id: &str, token: &str, actor: &Actor, now_ms: i64) -> Result<()> {
    tx.execute(HOLD_HEAD, &[token.into()]).await?;
    let row = find(tx, id).await?.ok_or(Error::NotFound { what: "budget" })?;
    if row.origin == FROM_SETTING {
        return Err(Error::Conflict {
            what: format!("the budget {id} stands on a setting: change it there"),
        });
    }
    let sql = "update budgets set deleted = true, version = version + 1, updated_at_ms = $2 where id = $1";
    tx.execute(sql, &[id.into(), now_ms.into()]).await?;
    audit::append(tx, &Act::new(actor, "budget.delete", id, now_ms)).await
}

pub(super) async fn find(tx: &mut Tx<'_>, id: &str) -> Result<Option<BudgetRow>> {
    tx.query_opt(ONE, &[id.into()]).await?.as_ref().map(read).transpose()
}

/// In the order of locks, narrow before wide, a thousand at most.
pub(super) async fn list(tx: &mut Tx<'_>) -> Result<Vec<BudgetRow>> {
    tx.query(ALL, &[]).await?.iter().map(read).collect()
}

const PERIODS_FROM: &str = "select period_key, subject, limit_nano, spent_nano, held_nano, assumed_nano, overrun_nano, calls, \
    open_holds, ends_at_ms from budget_periods where budget_id = $1 and period_key >= $2 and period_key <= $3 \
    order by period_key desc, subject limit $4";

const OPEN: &str = "select h.call_id, h.period_key, h.subject, h.amount_nano, c.state, c.job_id, c.step, c.provider, c.model, c.node, \
    c.reserved_at_ms, c.lease_until_ms from ai_call_holds h join ai_calls c on c.id = h.call_id \
    where h.budget_id = $1 and h.closed_at_ms is null order by h.call_id limit $2";

pub(super) async fn view(tx: &mut Tx<'_>, id: &str, now_ms: i64) -> Result<Option<BudgetView>> {
    let Some(row) = find(tx, id).await? else { return Ok(None) };
    let (first, last) = shown_keys(&row.budget, now_ms);
    let values = [id.into(), (&first).into(), (&last).into(), SHOWN.into()];
    let periods = tx.query(PERIODS_FROM, &values).await?.iter().map(period_row).collect::<Result<_>>()?;
    let holds =
        tx.query(OPEN, &[id.into(), SHOWN.into()]).await?.iter().map(open_hold).collect::<Result<_>>()?;
    Ok(Some(BudgetView { row, periods, holds }))
}

fn period_row(row: &Row) -> Result<PeriodRow> {
    Ok(PeriodRow {
        key: row.text(0)?,
        subject: row.text(1)?,
        limit: Nano::new(row.int(2)?),
        spent: Nano::new(row.int(3)?),
        held: Nano::new(row.int(4)?),
        assumed: Nano::new(row.int(5)?),
        overrun: Nano::new(row.int(6)?),
        calls: row.int(7)?,
        open_holds: row.int(8)?,
        ends_at_ms: row.opt_int(9)?,
    })
}

fn open_hold(row: &Row) -> Result<OpenHold> {
    Ok(OpenHold {
        call: call_id(&row.text(0)?)?,
        period_key: row.text(1)?,
        subject: row.text(2)?,
        amount: Nano::new(row.int(3)?),
        state: call_state(&row.text(4)?)?,
        job: row.opt_text(5)?.as_deref().map(decode::job_id).transpose()?,
        step: row.opt_text(6)?,
        provider: row.text(7)?,
        model: row.text(8)?,
        node: row.text(9)?,
        reserved_at_ms: row.int(10)?,
        lease_until_ms: row.opt_int(11)?,
    })
}

/// The key of the period that `now_ms` lies in, of a window that goes by the clock.
fn current_key(budget: &Budget, now_ms: i64) -> Option<String> {
    (budget.window != Window::Job).then(|| shown_keys(budget, now_ms).1)
}

/// From which key to which one a view shows: the period of now, the buckets of a rolling window, or the newest jobs.
fn shown_keys(budget: &Budget, now_ms: i64) -> (String, String) {
    if budget.window == Window::Job {
        return ("J:".to_owned(), "J;".to_owned());
    }
    // Windows that go by the clock do not look at the call.
    let tags = Tags::new();
    let facts = Facts {
        call: CallId::new(now_ms, [0; 10]),
        root_job: None,
        workflow: None,
        step: None,
        key: None,
        user: None,
        tags: &tags,
        provider: "",
        model: "",
    };
    let period = period(budget.window, &budget.zone, now_ms, &facts);
    (period.since.unwrap_or_else(|| period.key.clone()), period.key)
}

/// The id of a budget that somebody asks for; what is no id is no budget.
pub(super) fn is_id(text: &str) -> bool {
    BudgetId::parse(text).is_ok()
}
