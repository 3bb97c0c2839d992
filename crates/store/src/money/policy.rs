//! The budgets in force, kept in memory as long as the token in the database says that they are still the same.
//!
//! No amount is kept here: limits are, and a transaction that holds money has looked at the token under a lock that a
//! change of a budget waits for.

use std::sync::Arc;

use levqor_core::budget::{Budget, BudgetId, Mode, Scope, ScopeKind, Window, Zone};
use levqor_core::money::Nano;

use super::permits::Money;
use super::types::BudgetRow;
use crate::tx::{Row, Sql, Tx};
use crate::{Error, Result};

/// What is in force.
pub(crate) struct Policy {
    pub token: String,
    /// Enabled ones, in the order of locks.
    pub budgets: Vec<Budget>,
    /// In millionths: what share of a period may be assumed.
    pub assumed_share_ppm: u32,
}

const TOKEN: &str = "select token from budget_head where one = 1";

const TOKEN_LOCKED: &str = "select token from budget_head where one = 1 for share";

macro_rules! columns {
    () => {
        "id, scope_kind, scope_id, time_window, zone, limit_nano, mode, thresholds_ppm, max_open_holds, enabled, origin, \
         version, created_at_ms, updated_at_ms, recipients"
    };
}

const IN_FORCE: &str = concat!(
    "select ",
    columns!(),
    " from budgets where enabled = true and deleted = false order by scope_rank, id"
);

pub(super) const ALL: &str =
    concat!("select ", columns!(), " from budgets where deleted = false order by scope_rank, id limit 1000");

pub(super) const ONE: &str =
    concat!("select ", columns!(), " from budgets where id = $1 and deleted = false");

/// One that was deleted: its counters are still there.
pub(super) const DELETED: &str =
    concat!("select ", columns!(), " from budgets where id = $1 and deleted = true");

/// The policy of this moment.
pub(crate) async fn current(tx: &mut Tx<'_>, money: &Money) -> Result<Arc<Policy>> {
    let token = token(tx, Sql::Both(TOKEN)).await?;
    load(tx, money, token).await
}

/// The same, and it stays so until the transaction ends. SQLite has one writer: what was seen in its transaction is so.
pub(crate) async fn locked(tx: &mut Tx<'_>, money: &Money, seen: &Arc<Policy>) -> Result<Arc<Policy>> {
    if tx.is_sqlite() {
        return Ok(seen.clone());
    }
    let token = token(tx, TOKEN_LOCKED.into()).await?;
    load(tx, money, token).await
}

pub(super) async fn find_token(tx: &mut Tx<'_>) -> Result<String> {
    token(tx, Sql::Both(TOKEN)).await
}

async fn token(tx: &mut Tx<'_>, sql: Sql) -> Result<String> {
    tx.query_opt(sql, &[]).await?.ok_or_else(|| Error::bug("the budgets have no head"))?.text(0)
}

/// Tokens are random, so that one which was rolled back never comes again with other budgets behind it.
async fn load(tx: &mut Tx<'_>, money: &Money, token: String) -> Result<Arc<Policy>> {
    if let Some(kept) = money.kept_policy().filter(|kept| kept.token == token) {
        return Ok(kept);
    }
    let rows = tx.query(IN_FORCE, &[]).await?;
    let budgets = rows.iter().map(|row| Ok(read(row)?.budget)).collect::<Result<_>>()?;
    let policy = Arc::new(Policy { token, budgets, assumed_share_ppm: money.assumed_share_ppm() });
    money.keep_policy(policy.clone());
    Ok(policy)
}

pub(super) fn read(row: &Row) -> Result<BudgetRow> {
    let word = |column, what: &str| -> Result<_> {
        let text = row.text(column)?;
        Ok((text.clone(), Error::bug(format!("{text:?} is no {what}"))))
    };
    let (id, no_id) = word(0, "budget id")?;
    let (kind, no_kind) = word(1, "scope")?;
    let (window, no_window) = word(3, "window")?;
    let (mode, no_mode) = word(6, "mode")?;
    let budget = Budget {
        id: BudgetId::parse(&id).map_err(|_| no_id)?,
        scope: Scope { kind: ScopeKind::parse(&kind).ok_or(no_kind)?, id: row.text(2)? },
        window: Window::parse(&window).ok_or(no_window)?,
        zone: Zone::parse(&row.text(4)?).map_err(|error| Error::bug(error.to_string()))?,
        limit: Nano::new(row.int(5)?),
        mode: Mode::parse(&mode).ok_or(no_mode)?,
        thresholds_ppm: serde_json::from_str(&row.text(7)?).map_err(|error| Error::Bug(error.into()))?,
        max_open_holds: row.opt_int(8)?,
        enabled: row.bool(9)?,
    };
    Ok(BudgetRow {
        budget,
        origin: row.text(10)?,
        version: row.int(11)?,
        created_at_ms: row.int(12)?,
        updated_at_ms: row.int(13)?,
        recipients: row.opt_text(14)?,
    })
}
