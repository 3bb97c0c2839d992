//! What people's AI calls cost, told to the payment service in events: each amount once, whatever dies in between.
//!
//! An event and the mark that its amount is in one are one commit, so an amount is in one event or waits. An event has its id
//! before it is sent, and every try sends the same. The service keeps ids for a day at least: an event that may have arrived
//! and was never confirmed within that time is not sent again; it is in doubt until a person says what became of it.
//!
//! Invariant, for every person: what is metered is what is told, in doubt and still to be told together.

use levqor_core::audit::{Act, Actor};
use levqor_core::money::Nano;
use serde_json::json;

use crate::tx::{Row, Sql, Tx};
use crate::{Error, Result, Store, audit};

/// One person gets one event in this time at most.
const EVERY_MS: i64 = 3_600_000;
/// The service forgets ids after a day; this leaves room for clocks.
const DOUBT_MS: i64 = 23 * 3_600_000;
/// The service takes no event that is older than 35 days.
const OLDEST_MS: i64 = 34 * 86_400_000;
const NANO_IN_MICRO: i64 = 1_000;
/// Events that a view shows at most.
const SHOWN: i64 = 100;

/// An amount that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterEvent {
    pub id: String,
    pub customer: String,
    pub value_micro: i64,
    pub created_at_ms: i64,
    /// With this one.
    pub tries: i64,
    /// An earlier try may have arrived.
    pub in_doubt: bool,
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeterTry {
    Told,
    /// This try surely did not arrive; `in_doubt` is what the event said of those before.
    Refused {
        error: String,
        in_doubt: bool,
        again_at_ms: i64,
    },
    /// It may have arrived.
    Unknown {
        error: String,
        again_at_ms: i64,
    },
}

/// An event as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterEventRow {
    pub id: String,
    pub user: Option<String>,
    pub value_micro: i64,
    /// `pending`, `told`, `doubted` or `dropped`.
    pub state: String,
    pub tries: i64,
    pub error: Option<String>,
    pub created_at_ms: i64,
    pub told_at_ms: Option<i64>,
}

/// How telling does, over all people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterStatus {
    pub users: i64,
    /// What their calls cost.
    pub cost: Nano,
    pub told_micro: i64,
    pub doubted_micro: i64,
    pub pending_micro: i64,
    /// What waits for more of it, for an hour, or for the person to become a customer. Negative where corrections took back
    /// what was told: it is made up for by what comes.
    pub waiting: Nano,
    /// Pending and doubted ones, oldest first.
    pub events: Vec<MeterEventRow>,
}

// Whoever is a customer, has a whole micro-dollar that is in no event, and got none within the hour.
// Differs because on PostgreSQL another node may be at it: rows that it holds are left to it.
const DUE: Sql = Sql::Each {
    sqlite: "select u.user_id, u.cost_nano, u.metered_micro, (select p.customer from payments p where p.user_id = u.user_id \
        and p.customer is not null order by p.happened_at_ms desc, p.event_id desc limit 1) from user_costs u \
        where u.cost_nano >= (u.metered_micro + 1) * 1000 \
        and exists (select 1 from payments p where p.user_id = u.user_id and p.customer is not null) \
        and not exists (select 1 from meter_events e where e.user_id = u.user_id and e.created_at_ms > $1) \
        order by u.user_id limit $2",
    postgres: "select u.user_id, u.cost_nano, u.metered_micro, (select p.customer from payments p where p.user_id = u.user_id \
        and p.customer is not null order by p.happened_at_ms desc, p.event_id desc limit 1) from user_costs u \
        where u.cost_nano >= (u.metered_micro + 1) * 1000 \
        and exists (select 1 from payments p where p.user_id = u.user_id and p.customer is not null) \
        and not exists (select 1 from meter_events e where e.user_id = u.user_id and e.created_at_ms > $1) \
        order by u.user_id limit $2 for update of u skip locked",
};

// Differs because of the same.
const CLAIM: Sql = Sql::Each {
    sqlite: "select id, customer, value_micro, created_at_ms, tries, doubt_since_ms, user_id from meter_events \
        where state = 'pending' and again_at_ms <= $1 order by again_at_ms, id limit $2",
    postgres: "select id, customer, value_micro, created_at_ms, tries, doubt_since_ms, user_id from meter_events \
        where state = 'pending' and again_at_ms <= $1 order by again_at_ms, id limit $2 for update skip locked",
};

impl Store {
    /// Puts what is due into events. Returns how many were made.
    pub async fn make_meter_events(&self, now_ms: i64, limit: usize) -> Result<usize> {
        self.write(move |tx| Box::pin(make(tx, now_ms, limit))).await
    }

    /// Takes events that are to be sent now; nobody else gets them before `again_at_ms`. What may have arrived too long ago
    /// becomes doubted, and what is too old to be taken goes back to its person.
    pub async fn claim_meter_events(
        &self,
        now_ms: i64,
        again_at_ms: i64,
        limit: usize,
    ) -> Result<Vec<MeterEvent>> {
        self.write(move |tx| Box::pin(claim(tx, now_ms, again_at_ms, limit))).await
    }

    /// Notes what became of a try. False: another try has settled it.
    pub async fn end_meter_try(&self, id: &str, outcome: MeterTry, now_ms: i64) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |tx| {
            let (id, outcome) = (id.clone(), outcome.clone());
            Box::pin(async move { end(tx, &id, &outcome, now_ms).await })
        })
        .await
    }

    /// A person says of an event in doubt whether it arrived. If not, its amount goes into a later event.
    pub async fn settle_meter_event(&self, id: &str, arrived: bool, by: &Actor, now_ms: i64) -> Result<()> {
        let act = Act::new(by, "meter.settle", id, now_ms).detail(json!({ "arrived": arrived }));
        self.write(move |tx| {
            let act = act.clone();
            Box::pin(async move { settle(tx, &act, arrived, now_ms).await })
        })
        .await
    }

    pub async fn meter_status(&self) -> Result<MeterStatus> {
        self.read(|tx| Box::pin(status(tx))).await
    }
}

async fn make(tx: &mut Tx<'_>, now_ms: i64, limit: usize) -> Result<usize> {
    let due = tx.query(DUE, &[(now_ms - EVERY_MS).into(), (limit as i64).into()]).await?;
    for row in &due {
        let (user, metered) = (row.text(0)?, row.int(2)?);
        let value = row.int(1)?.div_euclid(NANO_IN_MICRO) - metered;
        let id = format!("levqor-{:032x}", rand::random::<u128>());
        let customer = row.opt_text(3)?;
        let insert = "insert into meter_events (id, user_id, customer, value_micro, state, tries, created_at_ms, again_at_ms) \
            values ($1, $2, $3, $4, 'pending', 0, $5, $5)";
        let values = [(&id).into(), (&user).into(), customer.as_ref().into(), value.into(), now_ms.into()];
        tx.execute(insert, &values).await?;
        let mark = "update user_costs set metered_micro = metered_micro + $2 where user_id = $1 and metered_micro = $3";
        if tx.execute(mark, &[(&user).into(), value.into(), metered.into()]).await? != 1 {
            return Err(Error::bug("what a person cost was put into two events at once"));
        }
    }
    Ok(due.len())
}

async fn claim(tx: &mut Tx<'_>, now_ms: i64, again_at_ms: i64, limit: usize) -> Result<Vec<MeterEvent>> {
    let mut claimed = Vec::new();
    for row in tx.query(CLAIM, &[now_ms.into(), (limit as i64).into()]).await? {
        let (id, value, created_at_ms) = (row.text(0)?, row.int(2)?, row.int(3)?);
        let (doubt, user) = (row.opt_int(5)?, row.opt_text(6)?);
        if doubt.is_some_and(|since_ms| since_ms < now_ms - DOUBT_MS) {
            set_state(tx, &id, "doubted", now_ms).await?;
            count(tx, user.as_ref(), [0, 0, value]).await?;
            continue;
        }
        if doubt.is_none() && created_at_ms < now_ms - OLDEST_MS {
            set_state(tx, &id, "dropped", now_ms).await?;
            count(tx, user.as_ref(), [-value, 0, 0]).await?;
            continue;
        }
        // From now on it may arrive without our knowing.
        let sql = "update meter_events set tries = tries + 1, again_at_ms = $2, \
            doubt_since_ms = coalesce(doubt_since_ms, $3) where id = $1";
        tx.execute(sql, &[(&id).into(), again_at_ms.into(), now_ms.into()]).await?;
        claimed.push(MeterEvent {
            id,
            customer: row.opt_text(1)?.unwrap_or_default(),
            value_micro: value,
            created_at_ms,
            tries: row.int(4)? + 1,
            in_doubt: doubt.is_some(),
        });
    }
    Ok(claimed)
}

async fn end(tx: &mut Tx<'_>, id: &str, outcome: &MeterTry, now_ms: i64) -> Result<bool> {
    match outcome {
        MeterTry::Told => {
            let sql = "update meter_events set state = 'told', told_at_ms = $2, error = null \
                where id = $1 and state in ('pending', 'doubted') returning value_micro, user_id";
            // A doubt that this try ends was counted as one.
            let was_doubted = tx
                .query_opt("select 1 from meter_events where id = $1 and state = 'doubted'", &[id.into()])
                .await?
                .is_some();
            let Some(row) = tx.query_opt(sql, &[id.into(), now_ms.into()]).await? else { return Ok(false) };
            let value = row.int(0)?;
            let doubted = if was_doubted { -value } else { 0 };
            count(tx, row.opt_text(1)?.as_ref(), [0, value, doubted]).await?;
            Ok(true)
        }
        MeterTry::Refused { error, in_doubt, again_at_ms } => {
            let sql = "update meter_events set error = $2, again_at_ms = $3, \
                doubt_since_ms = case when $4 then doubt_since_ms end where id = $1 and state = 'pending'";
            let values = [id.into(), error.into(), (*again_at_ms).into(), (*in_doubt).into()];
            Ok(tx.execute(sql, &values).await? == 1)
        }
        MeterTry::Unknown { error, again_at_ms } => {
            let sql =
                "update meter_events set error = $2, again_at_ms = $3 where id = $1 and state = 'pending'";
            Ok(tx.execute(sql, &[id.into(), error.into(), (*again_at_ms).into()]).await? == 1)
        }
    }
}

async fn settle(tx: &mut Tx<'_>, act: &Act, arrived: bool, now_ms: i64) -> Result<()> {
    let id = &act.object;
    let sql = "select state, value_micro, user_id from meter_events where id = $1";
    let row = tx.query_opt(sql, &[id.into()]).await?.ok_or(Error::NotFound { what: "meter event" })?;
    if row.text(0)? != "doubted" {
        return Err(Error::Conflict { what: format!("the event is {}, not doubted", row.text(0)?) });
    }
    let (value, user) = (row.int(1)?, row.opt_text(2)?);
    let (state, counts) =
        if arrived { ("told", [0, value, -value]) } else { ("dropped", [-value, 0, -value]) };
    let sql = "update meter_events set state = $2, told_at_ms = $3 where id = $1 and state = 'doubted'";
    if tx.execute(sql, &[id.into(), state.into(), now_ms.into()]).await? != 1 {
        return Err(Error::Conflict { what: "somebody else has just settled the event".to_owned() });
    }
    count(tx, user.as_ref(), counts).await?;
    audit::append(tx, act).await
}

async fn set_state(tx: &mut Tx<'_>, id: &str, state: &str, now_ms: i64) -> Result<()> {
    let sql = "update meter_events set state = $2, again_at_ms = $3 where id = $1 and state = 'pending'";
    tx.execute(sql, &[id.into(), state.into(), now_ms.into()]).await?;
    Ok(())
}

/// Adds to metered, told and doubted. Somebody who was erased has no row any more.
async fn count(tx: &mut Tx<'_>, user: Option<&String>, [metered, told, doubted]: [i64; 3]) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    let sql = "update user_costs set metered_micro = metered_micro + $2, told_micro = told_micro + $3, \
        doubted_micro = doubted_micro + $4 where user_id = $1";
    tx.execute(sql, &[user.into(), metered.into(), told.into(), doubted.into()]).await?;
    Ok(())
}

/// Of a person who is erased: what was told is bookkeeping and stays, what was not can be told to nobody any more.
pub(super) async fn forget_user(tx: &mut Tx<'_>, user: &str) -> Result<()> {
    for sql in [
        "update meter_events set state = 'dropped' where user_id = $1 and state = 'pending'",
        "update meter_events set user_id = null, customer = null where user_id = $1",
    ] {
        tx.execute(sql, &[user.into()]).await?;
    }
    Ok(())
}

async fn status(tx: &mut Tx<'_>) -> Result<MeterStatus> {
    let sql = "select count(*), cast(coalesce(sum(cost_nano), 0) as bigint), cast(coalesce(sum(metered_micro), 0) as bigint), \
        cast(coalesce(sum(told_micro), 0) as bigint), cast(coalesce(sum(doubted_micro), 0) as bigint) from user_costs";
    let Some(row) = tx.query_opt(sql, &[]).await? else { return Ok(MeterStatus::default()) };
    let (cost, metered, told, doubted) = (row.int(1)?, row.int(2)?, row.int(3)?, row.int(4)?);
    let sql = "select id, user_id, value_micro, state, tries, error, created_at_ms, told_at_ms from meter_events \
        where state in ('pending', 'doubted') order by created_at_ms, id limit $1";
    let events = tx.query(sql, &[SHOWN.into()]).await?.iter().map(event).collect::<Result<_>>()?;
    Ok(MeterStatus {
        users: row.int(0)?,
        cost: Nano::new(cost),
        told_micro: told,
        doubted_micro: doubted,
        pending_micro: metered - told - doubted,
        waiting: Nano::new(cost.saturating_sub(metered.saturating_mul(NANO_IN_MICRO))),
        events,
    })
}

fn event(row: &Row) -> Result<MeterEventRow> {
    Ok(MeterEventRow {
        id: row.text(0)?,
        user: row.opt_text(1)?,
        value_micro: row.int(2)?,
        state: row.text(3)?,
        tries: row.int(4)?,
        error: row.opt_text(5)?,
        created_at_ms: row.int(6)?,
        told_at_ms: row.opt_int(7)?,
    })
}
