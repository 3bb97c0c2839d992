//! What budgets count, for readers: one snapshot, so that figures fit each other and the holds beside them.

use levqor_core::budget::{Budget, Facts, Period, ScopeKind, Window, period};
use levqor_core::job::Tags;
use levqor_core::money::{CallId, Nano};

use super::budgets;
use super::statements::{call_id, call_state};
use super::types::{BudgetRow, BudgetView, OpenHold, PeriodRow};
use crate::tx::{Row, Tx};
use crate::{Result, decode};

/// Subjects, and holds, that a view shows at most.
pub const SHOWN: usize = 200;
/// Rows that are looked at for them, of windows that do not roll.
const EXAMINED: i64 = 2_000;

macro_rules! from_periods {
    () => {
        "from budget_periods where budget_id = $1 and period_key >= $2 and period_key <= $3 \
         and (cast($4 as text) is null or subject = $4) "
    };
}

/// The fullest of those that were looked at; of jobs the newest.
const FIXED: &str = concat!(
    "select period_key, subject, limit_nano, spent_nano, held_nano, assumed_nano, overrun_nano, calls, open_holds, ends_at_ms \
     from (select period_key, subject, limit_nano, spent_nano, held_nano, assumed_nano, overrun_nano, calls, open_holds, \
     ends_at_ms ",
    from_periods!(),
    "order by period_key desc, subject limit $5) as examined order by period_key desc, spent_nano + held_nano desc, subject"
);

/// The buckets of each subject together.
const ROLLING: &str = concat!(
    "select max(period_key), subject, max(limit_nano), cast(sum(spent_nano) as bigint), cast(sum(held_nano) as bigint), \
     cast(sum(assumed_nano) as bigint), cast(sum(overrun_nano) as bigint), cast(sum(calls) as bigint), \
     cast(sum(open_holds) as bigint), max(ends_at_ms) ",
    from_periods!(),
    "group by subject order by sum(spent_nano) + sum(held_nano) desc, subject limit $5"
);

const OPEN: &str = "select h.call_id, h.period_key, h.subject, h.amount_nano, c.state, c.job_id, c.workflow, c.step, c.key_id, \
    c.user_id, c.provider, c.model, c.node, c.reserved_at_ms, c.lease_until_ms \
    from ai_call_holds h join ai_calls c on c.id = h.call_id \
    where h.budget_id = $1 and h.closed_at_ms is null and (cast($2 as text) is null or h.subject = $2) \
    order by h.call_id limit $3";

/// A budget with its figures and its open holds; of one subject, if that is asked for.
pub(super) async fn find(
    tx: &mut Tx<'_>,
    id: &str,
    subject: Option<&str>,
    now_ms: i64,
) -> Result<Option<BudgetView>> {
    let Some(row) = budgets::find(tx, id).await? else { return Ok(None) };
    let mut view = count(tx, row, subject, now_ms).await?;
    let values = [id.into(), subject.into(), (SHOWN as i64).into()];
    view.holds = tx.query(OPEN, &values).await?.iter().map(open_hold).collect::<Result<_>>()?;
    Ok(Some(view))
}

/// All budgets with their figures, without their holds.
pub(super) async fn list(tx: &mut Tx<'_>, now_ms: i64) -> Result<Vec<BudgetView>> {
    let mut views = Vec::new();
    for row in budgets::list(tx).await? {
        views.push(count(tx, row, None, now_ms).await?);
    }
    Ok(views)
}

/// Those that go by the clock and bind somebody, `most` at most, without their holds.
pub(super) async fn watched(tx: &mut Tx<'_>, now_ms: i64, most: usize) -> Result<Vec<BudgetView>> {
    let mut rows = budgets::list(tx).await?;
    rows.retain(|row| row.budget.enabled && row.budget.window != Window::Job);
    rows.sort_by(|one, other| one.budget.id.as_str().cmp(other.budget.id.as_str()));
    let mut views = Vec::new();
    for row in rows.into_iter().take(most) {
        views.push(count(tx, row, None, now_ms).await?);
    }
    Ok(views)
}

async fn count(tx: &mut Tx<'_>, row: BudgetRow, subject: Option<&str>, now_ms: i64) -> Result<BudgetView> {
    let budget = &row.budget;
    let period = current(budget, now_ms);
    let (first, last) = match (&period, subject) {
        (Some(period), _) => (period.since.clone().unwrap_or_else(|| period.key.clone()), period.key.clone()),
        // A job's own period is named like the job.
        (None, Some(job)) if budget.scope.kind == ScopeKind::Job => (format!("J:{job}"), format!("J:{job}")),
        (None, _) => ("J:".to_owned(), "J;".to_owned()),
    };
    let (sql, most) = match budget.window {
        Window::Rolling { .. } => (ROLLING, SHOWN as i64 + 1),
        _ => (FIXED, EXAMINED),
    };
    // Periods of jobs have no index by subject: those that are looked at are the newest, whoever they are of.
    let in_statement = subject.filter(|_| period.is_some() || budget.scope.kind == ScopeKind::Job);
    let values =
        [budget.id.as_str().into(), (&first).into(), (&last).into(), in_statement.into(), most.into()];
    let rows = tx.query(sql, &values).await?;
    let mut periods = rows.iter().map(period_row).collect::<Result<Vec<_>>>()?;
    periods.retain(|it| subject.is_none_or(|subject| it.subject == subject));
    let has_more = periods.len() > SHOWN;
    periods.truncate(SHOWN);
    Ok(BudgetView { row, period, periods, has_more, holds: Vec::new() })
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
        workflow: row.opt_text(6)?,
        step: row.opt_text(7)?,
        key: row.opt_text(8)?,
        user: row.opt_text(9)?,
        provider: row.text(10)?,
        model: row.text(11)?,
        node: row.text(12)?,
        reserved_at_ms: row.int(13)?,
        lease_until_ms: row.opt_int(14)?,
    })
}

/// The period that `now_ms` lies in, of a window that goes by the clock.
pub(super) fn current(budget: &Budget, now_ms: i64) -> Option<Period> {
    if budget.window == Window::Job {
        return None;
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
    Some(period(budget.window, &budget.zone, now_ms, &facts))
}
