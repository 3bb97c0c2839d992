//! Calls for people: a page of them by what they are, and one with all that it rests on.

use levqor_core::money::{CallId, CallState, Nano};

use super::call_rows;
use super::prices;
use super::types::{CallDetail, CallFilter, CallHold, CallPage, CallRow};
use crate::Result;
use crate::tx::{Row, Tx, Value};

/// Rows examined for one page at most.
const EXAMINED_MOST: usize = 2_000;

const HOLDS: &str = "select budget_id, period_key, subject, amount_nano, closed_at_ms from ai_call_holds \
    where call_id = $1 order by budget_id, period_key, subject";

/// Newest first. A page may be short, or empty, and still have a next one.
pub(super) async fn page(tx: &mut Tx<'_>, filter: &CallFilter) -> Result<CallPage> {
    // One more than asked for tells whether there is a next page.
    let most = if filter.is_narrow() { EXAMINED_MOST } else { filter.limit + 1 };
    let (mut calls, mut examined, mut last) = (Vec::new(), 0, None);
    for call in rows(tx, filter, most).await? {
        if calls.len() == filter.limit {
            return Ok(CallPage { calls, next: last });
        }
        (examined, last) = (examined + 1, Some(call.id));
        calls.extend(Some(call).filter(|call| filter.shows(call)));
    }
    Ok(CallPage { calls, next: last.filter(|_| examined == most) })
}

/// The filter that leaves least goes through its index; the others are looked at afterwards.
async fn rows(tx: &mut Tx<'_>, filter: &CallFilter, most: usize) -> Result<Vec<CallRow>> {
    // Sorts behind every id.
    let before = filter.before.map_or_else(|| "g".to_owned(), |id| id.to_string());
    let mut values: Vec<Value<'_>> = vec![(&before).into(), (most as i64).into()];
    let job = filter.job.map(|job| job.to_string()).unwrap_or_default();
    // A place begins with its job: "0" is the character behind "/".
    let (first, end) = (format!("{job}/"), format!("{job}0"));
    let sql = if filter.job.is_some() {
        values.extend([&job, &first, &end].map(Value::from));
        call_rows::OF_JOB
    } else if filter.state.is_some_and(CallState::is_open) {
        call_rows::OPEN
    } else {
        call_rows::ALL
    };
    tx.query(sql, &values).await?.iter().map(call_rows::read).collect()
}

impl CallFilter {
    fn is_narrow(&self) -> bool {
        *self != CallFilter { before: self.before, limit: self.limit, ..CallFilter::default() }
    }

    fn shows(&self, call: &CallRow) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        self.job.is_none_or(|job| call.job == Some(job) || call.root_job == Some(job))
            && self.state.is_none_or(|state| call.state == state)
            && is(&self.provider, Some(&call.provider))
            && is(&self.model, Some(&call.model))
            && is(&self.key, call.key.as_deref())
            && is(&self.user, call.user.as_deref())
    }
}

/// One call with its ledger, its price and the counters that carry it.
pub(super) async fn explain(tx: &mut Tx<'_>, id: CallId) -> Result<Option<CallDetail>> {
    let Some(call) = call_rows::find(tx, id).await? else { return Ok(None) };
    let holds = tx.query(HOLDS, &[(&id.to_string()).into()]).await?;
    let holds = holds.iter().map(hold).collect::<Result<_>>()?;
    let price = prices::find_price(tx, &call.price_id).await?;
    Ok(Some(CallDetail { call, holds, price }))
}

fn hold(row: &Row) -> Result<CallHold> {
    Ok(CallHold {
        budget: row.text(0)?,
        period_key: row.text(1)?,
        subject: row.text(2)?,
        amount: Nano::new(row.int(3)?),
        closed_at_ms: row.opt_int(4)?,
    })
}
