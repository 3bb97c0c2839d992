//! A person in the books: what their calls cost, and how they are taken out of it. The money stays to the nano-dollar.

use levqor_core::money::Nano;
use serde_json::{Value as Json, json};

use super::asks;
use super::budgets::HOLD_HEAD;
use super::call_rows;
use super::meter;
use super::types::CallRow;
use crate::tx::{Sql, Tx};
use crate::{Result, Store};

/// What a person's calls cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserCosts {
    /// Calls that are over.
    pub calls: i64,
    pub cost: Nano,
    /// Newest first, open ones included, without their ledgers; [`CALLS_SHOWN`] at most.
    pub newest: Vec<CallRow>,
}

/// Calls that the export of a person holds at most.
pub const CALLS_SHOWN: usize = 10_000;

impl Store {
    pub async fn user_costs(&self, user: &str) -> Result<UserCosts> {
        let user = user.to_owned();
        self.read(move |tx| {
            let user = user.clone();
            Box::pin(async move {
                let sql = "select calls, cost_nano from user_costs where user_id = $1";
                let sums = tx.query_opt(sql, &[(&user).into()]).await?;
                let newest = call_rows::of_user(tx, &user, CALLS_SHOWN).await?;
                let Some(sums) = sums else { return Ok(UserCosts { newest, ..UserCosts::default() }) };
                Ok(UserCosts { calls: sums.int(0)?, cost: Nano::new(sums.int(1)?), newest })
            })
        })
        .await
    }
}

// Differs because lists are taken apart differently.
const MOVE_SUMS: Sql = Sql::Each {
    sqlite: "update cost_rollups as r set group_id = w.value ->> 1 from json_each($1) w where r.group_id = w.value ->> 0",
    postgres: "update cost_rollups as r set group_id = w ->> 1 from jsonb_array_elements($1::text::jsonb) as e (w) \
        where r.group_id = w ->> 0",
};

// Differs because of the same.
const MOVE_GROUPS: Sql = Sql::Each {
    sqlite: "update cost_groups as g set id = w.value ->> 1, user_id = '' from json_each($1) w where g.id = w.value ->> 0",
    postgres: "update cost_groups as g set id = w ->> 1, user_id = '' from jsonb_array_elements($1::text::jsonb) as e (w) \
        where g.id = w ->> 0",
};

/// Takes a person out of calls, sums and counters. What was spent stays where it counts, under a name that says nothing:
/// a counter of a budget for each user goes on as one of its own.
pub(crate) async fn erase(tx: &mut Tx<'_>, user: &str) -> Result<()> {
    // Like a change of a budget: batches that hold money with this person's counters are over then, and new ones wait.
    tx.execute(HOLD_HEAD, &[(&random()).into()]).await?;
    let nobody = format!("erased:{}", random());
    for sql in [
        "update ai_call_holds set subject = $2 where subject = $1 and call_id in (select id from ai_calls where user_id = $1) \
         and budget_id in (select budget_id from budget_periods where scope_rank = 40 and subject = $1)",
        "update alert_outbox set subject = $2 where subject = $1 \
         and budget_id in (select budget_id from budget_periods where scope_rank = 40 and subject = $1)",
        "update budget_periods set subject = $2 where subject = $1 and scope_rank = 40",
    ] {
        tx.execute(sql, &[user.into(), (&nobody).into()]).await?;
    }
    meter::forget_user(tx, user).await?;
    asks::forget_user(tx, user).await?;
    for sql in
        ["update ai_calls set user_id = null where user_id = $1", "delete from user_costs where user_id = $1"]
    {
        tx.execute(sql, &[user.into()]).await?;
    }
    // A group's id is made of what it belongs to, so another id is no hash of the person any more.
    let groups = tx.query("select id from cost_groups where user_id = $1", &[user.into()]).await?;
    let moves = groups.iter().map(|row| Ok(json!([row.text(0)?, random()]))).collect::<Result<Vec<_>>>()?;
    if !moves.is_empty() {
        let moves = Json::Array(moves).to_string();
        tx.execute(MOVE_SUMS, &[(&moves).into()]).await?;
        tx.execute(MOVE_GROUPS, &[(&moves).into()]).await?;
    }
    Ok(())
}

fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}
