//! Thresholds that were passed and are still to be told.

use levqor_core::budget::BudgetId;
use levqor_core::job::NewJob;
use levqor_core::money::Nano;

use super::types::Alert;
use crate::tx::{Row, Tx};
use crate::{Error, Result, job};

const OPEN: &str = "select budget_id, period_key, subject, threshold_ppm, spent_nano, limit_nano, at_ms from alert_outbox \
    where closed_at_ms is null order by at_ms limit $1";

const CLOSE: &str = "update alert_outbox set closed_at_ms = $5 where budget_id = $1 and period_key = $2 and subject = $3 \
    and threshold_ppm = $4 and closed_at_ms is null";

/// Oldest first.
pub(super) async fn list_open(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<Alert>> {
    tx.query(OPEN, &[(limit as i64).into()]).await?.iter().map(read).collect()
}

/// True for the one who closes it, and whose jobs are stored.
pub(super) async fn close(tx: &mut Tx<'_>, alert: &Alert, jobs: &[NewJob], now_ms: i64) -> Result<bool> {
    let values = [
        alert.budget.as_str().into(),
        (&alert.period_key).into(),
        (&alert.subject).into(),
        alert.threshold_ppm.into(),
        now_ms.into(),
    ];
    let is_mine = tx.execute(CLOSE, &values).await? == 1;
    for job in jobs.iter().filter(|_| is_mine) {
        job::intake::put(tx, job).await?;
    }
    Ok(is_mine)
}

fn read(row: &Row) -> Result<Alert> {
    let id = row.text(0)?;
    Ok(Alert {
        budget: BudgetId::parse(&id).map_err(|_| Error::bug(format!("{id:?} is no budget id")))?,
        period_key: row.text(1)?,
        subject: row.text(2)?,
        threshold_ppm: row.int(3)?,
        spent: Nano::new(row.int(4)?),
        limit: Nano::new(row.int(5)?),
        at_ms: row.int(6)?,
    })
}
