//! The budgets that one call counts in, as they stand.

use levqor_core::money::{CallId, Nano};

use super::types::TouchedBudget;
use crate::Result;
use crate::tx::Tx;

const OF_CALL: &str = "select h.budget_id, h.period_key, h.subject, p.limit_nano, p.spent_nano, p.held_nano, p.ends_at_ms \
    from ai_call_holds h join budget_periods p \
    on p.budget_id = h.budget_id and p.period_key = h.period_key and p.subject = h.subject \
    where h.call_id = $1 order by p.scope_rank, h.budget_id";

pub(super) async fn of_call(tx: &mut Tx<'_>, call: CallId) -> Result<Vec<TouchedBudget>> {
    let rows = tx.query(OF_CALL, &[(&call.to_string()).into()]).await?;
    let touched = rows.iter().map(|row| {
        Ok(TouchedBudget {
            budget: row.text(0)?,
            period_key: row.text(1)?,
            subject: row.text(2)?,
            limit: Nano::new(row.int(3)?),
            spent: Nano::new(row.int(4)?),
            held: Nano::new(row.int(5)?),
            ends_at_ms: row.opt_int(6)?,
        })
    });
    touched.collect()
}
