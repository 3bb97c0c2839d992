//! Budgets as they are set up. What they count stands in [`super::figures`].

use levqor_core::audit::{Act, Actor};
use levqor_core::budget::{Budget, BudgetId, Mode, STOP_ID, Window, passed_at, setting_of};
use serde_json::json;

use super::figures::current;
use super::policy::{ALL, DELETED, ONE, read};
use super::types::BudgetRow;
use crate::tx::{Tx, Value};
use crate::{Error, Result, audit};

/// The origin of a budget that stands on a setting.
pub const FROM_SETTING: &str = "setting";

/// The origin of the budget that is there while AI calls are stopped.
pub const FROM_SWITCH: &str = "switch";

/// The origin of everything else.
pub const FROM_API: &str = "api";

/// Budgets that there may be: each hold looks at all of them.
pub const MAX_BUDGETS: i64 = 1_000;

/// Who is told when a budget is put.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told<'a> {
    /// Whoever was.
    AsBefore,
    /// JSON of [`levqor_core::budget::Recipients`]; `None`: whoever the settings name.
    Now(Option<&'a str>),
}

/// Whoever changes a budget takes this row first: batches that hold money under the old budgets are over then.
pub(super) const HOLD_HEAD: &str = "update budget_head set token = $1 where one = 1";

const UPSERT: &str = "insert into budgets (id, scope_kind, scope_id, scope_rank, time_window, zone, limit_nano, mode, thresholds_ppm, \
    max_open_holds, enabled, deleted, origin, version, created_at_ms, updated_at_ms, recipients) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, false, $12, 1, $13, $13, $14) \
    on conflict (id) do update set scope_kind = excluded.scope_kind, scope_id = excluded.scope_id, \
    scope_rank = excluded.scope_rank, time_window = excluded.time_window, zone = excluded.zone, \
    limit_nano = excluded.limit_nano, mode = excluded.mode, thresholds_ppm = excluded.thresholds_ppm, \
    max_open_holds = excluded.max_open_holds, enabled = excluded.enabled, deleted = false, origin = excluded.origin, \
    recipients = excluded.recipients, version = budgets.version + 1, updated_at_ms = excluded.updated_at_ms";

/// Limits of rows whose period goes on, for whoever looks at them; what counts is the limit of the budget.
const EDIT_PERIODS: &str =
    "update budget_periods set limit_nano = $2 where budget_id = $1 and period_key = $3";

/// Stores the budget. The row, and whether anything is different from before.
pub(super) async fn put(
    tx: &mut Tx<'_>,
    budget: &Budget,
    told: Told<'_>,
    origin: &str,
    token: &str,
    (actor, now_ms): (&Actor, i64),
) -> Result<(BudgetRow, bool)> {
    budget.check().map_err(|problem| Error::Conflict { what: problem.to_string() })?;
    tx.execute(HOLD_HEAD, &[token.into()]).await?;
    let id = budget.id.as_str();
    check_owner(id, origin)?;
    let before = find(tx, id).await?;
    match &before {
        Some(before) => check_same(&before.budget, budget)?,
        None => check_new(tx, budget).await?,
    }
    let recipients = match told {
        Told::AsBefore => before.as_ref().and_then(|before| before.recipients.clone()),
        Told::Now(recipients) => recipients.map(str::to_owned),
    };
    let is_same = |before: &BudgetRow| {
        before.budget == *budget && before.origin == origin && before.recipients == recipients
    };
    if let Some(before) = before.filter(is_same) {
        return Ok((before, false));
    }
    upsert(tx, budget, recipients.as_deref(), origin, now_ms).await?;
    tell_passed(tx, budget, now_ms).await?;
    let action = match id {
        STOP_ID => "ai.stop",
        _ => "budget.put",
    };
    let detail = json!({
        "scope": budget.scope.kind.as_str(), "scope_id": budget.scope.id, "window": budget.window.to_string(),
        "limit_usd": budget.limit.to_string(), "mode": budget.mode.as_str(), "enabled": budget.enabled,
    });
    audit::append(tx, &Act::new(actor, action, id, now_ms).detail(detail)).await?;
    let row = find(tx, id).await?.ok_or_else(|| Error::bug("a budget that was written is not there"))?;
    Ok((row, true))
}

async fn upsert(
    tx: &mut Tx<'_>,
    budget: &Budget,
    recipients: Option<&str>,
    origin: &str,
    now_ms: i64,
) -> Result<()> {
    let id = budget.id.as_str();
    let thresholds =
        serde_json::to_string(&budget.thresholds_ppm).map_err(|error| Error::Bug(error.into()))?;
    let window = budget.window.to_string();
    let values: [Value<'_>; 14] = [
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
        recipients.into(),
    ];
    tx.execute(UPSERT, &values).await?;
    if let Some(period) = current(budget, now_ms) {
        tx.execute(EDIT_PERIODS, &[id.into(), budget.limit.get().into(), (&period.key).into()]).await?;
    }
    Ok(())
}

/// Some budgets belong to somebody: nobody else changes them.
fn check_owner(id: &str, origin: &str) -> Result<()> {
    let what = match (setting_of(id), id) {
        (Some(setting), _) if origin != FROM_SETTING => {
            format!("the budget {id} stands on a setting: change {setting} and restart")
        }
        (None, STOP_ID) if origin != FROM_SWITCH => {
            format!("the budget {id} is the switch of AI calls: it is there while they are stopped")
        }
        _ => return Ok(()),
    };
    Err(Error::Conflict { what })
}

/// Counters go by scope and window: another one under the same id would count what it never bound.
fn check_same(before: &Budget, budget: &Budget) -> Result<()> {
    if (&before.scope, before.window) == (&budget.scope, budget.window) {
        return Ok(());
    }
    let id = &budget.id;
    Err(Error::Conflict {
        what: format!(
            "the budget {id} has, or had, another scope or window, which cannot change: choose another id"
        ),
    })
}

async fn check_new(tx: &mut Tx<'_>, budget: &Budget) -> Result<()> {
    if let Some(row) = tx.query_opt(DELETED, &[budget.id.as_str().into()]).await? {
        check_same(&read(&row)?.budget, budget)?;
    }
    let count = "select count(*) from budgets where deleted = false";
    let count = tx.query_opt(count, &[]).await?.ok_or_else(|| Error::bug("a count without a row"))?.int(0)?;
    if count >= MAX_BUDGETS {
        return Err(Error::Conflict { what: format!("there are {MAX_BUDGETS} budgets, which is the most") });
    }
    Ok(())
}

const PASSED: &str = "insert into alert_outbox (budget_id, period_key, subject, threshold_ppm, spent_nano, limit_nano, at_ms) \
    select budget_id, period_key, subject, cast($3 as bigint), spent_nano, cast($4 as bigint), cast($5 as bigint) \
    from budget_periods where budget_id = $1 and period_key = $2 and spent_nano >= $6 on conflict do nothing";

const PASSED_ROLLING: &str = "insert into alert_outbox (budget_id, period_key, subject, threshold_ppm, spent_nano, limit_nano, at_ms) \
    select cast($1 as text), cast($2 as text), subject, cast($3 as bigint), cast(sum(spent_nano) as bigint), \
    cast($4 as bigint), cast($5 as bigint) from budget_periods \
    where budget_id = $1 and period_key <= $2 and period_key >= $7 group by subject having sum(spent_nano) >= cast($6 as bigint) \
    on conflict do nothing";

/// Thresholds that are behind what was spent since the limit is what it is now. Of jobs each has a limit of its own, and
/// most of them are over: they are left alone.
async fn tell_passed(tx: &mut Tx<'_>, budget: &Budget, now_ms: i64) -> Result<()> {
    let Some(period) = current(budget, now_ms) else { return Ok(()) };
    if !budget.enabled || budget.mode == Mode::Observe || budget.limit.get() == 0 {
        return Ok(());
    }
    for threshold_ppm in &budget.thresholds_ppm {
        let needed = passed_at(budget.limit, *threshold_ppm).get();
        let mut values: Vec<Value<'_>> = vec![
            budget.id.as_str().into(),
            (&period.key).into(),
            i64::from(*threshold_ppm).into(),
            budget.limit.get().into(),
            now_ms.into(),
            needed.into(),
        ];
        match (&period.since, budget.window) {
            (Some(since), Window::Rolling { .. }) => {
                values.push(since.into());
                tx.execute(PASSED_ROLLING, &values).await?;
            }
            _ => {
                tx.execute(PASSED, &values).await?;
            }
        }
    }
    Ok(())
}

/// Takes the budget out of force. Its counters and the ledger stay.
pub(super) async fn delete(
    tx: &mut Tx<'_>,
    id: &str,
    origin: &str,
    token: &str,
    actor: &Actor,
    now_ms: i64,
) -> Result<()> {
    tx.execute(HOLD_HEAD, &[token.into()]).await?;
    find(tx, id).await?.ok_or(Error::NotFound { what: "budget" })?;
    check_owner(id, origin)?;
    let sql = "update budgets set deleted = true, version = version + 1, updated_at_ms = $2 where id = $1";
    tx.execute(sql, &[id.into(), now_ms.into()]).await?;
    let action = match id {
        STOP_ID => "ai.start",
        _ => "budget.delete",
    };
    audit::append(tx, &Act::new(actor, action, id, now_ms)).await
}

pub(super) async fn find(tx: &mut Tx<'_>, id: &str) -> Result<Option<BudgetRow>> {
    tx.query_opt(ONE, &[id.into()]).await?.as_ref().map(read).transpose()
}

/// In the order of locks, narrow before wide, a thousand at most.
pub(super) async fn list(tx: &mut Tx<'_>) -> Result<Vec<BudgetRow>> {
    tx.query(ALL, &[]).await?.iter().map(read).collect()
}

/// The id of a budget that somebody asks for; what is no id is no budget.
pub(super) fn is_id(text: &str) -> bool {
    BudgetId::parse(text).is_ok()
}
