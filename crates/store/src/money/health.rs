//! Models that are not called, and what the nodes asked of each provider in the last minute.

use levqor_core::audit::{Act, Actor};
use levqor_core::rate::{Minute, MinuteLimits};
use serde_json::json;

use crate::tx::{Row, Tx};
use crate::{Error, Result, Store, audit};

/// A model that cost more than its price list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    pub provider: String,
    pub model: String,
    /// The call that showed it, by its id.
    pub call: String,
    pub reason: String,
    pub since_ms: i64,
}

/// What came of asking for a place in a provider's minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinuteTaken {
    /// Counted in this slot.
    In(i64),
    /// Nothing was counted: there is room in so long.
    Wait { ms: i64 },
}

const ALL: &str =
    "select provider, model, call_id, reason, since_ms from ai_quarantines order by provider, model";
const LIFT: &str = "delete from ai_quarantines where provider = $1 and model = $2";

// PostgreSQL only. The row is held until the end of the transaction.
const HOLD_MINUTE: &str = "insert into ai_minutes (provider, slots) values ($1, '') \
    on conflict (provider) do update set provider = excluded.provider \
    returning slots, (extract(epoch from clock_timestamp()) * 1000)::bigint";
const WRITE_MINUTE: &str = "update ai_minutes set slots = $2 where provider = $1";

fn read(row: &Row) -> Result<Quarantine> {
    Ok(Quarantine {
        provider: row.text(0)?,
        model: row.text(1)?,
        call: row.text(2)?,
        reason: row.text(3)?,
        since_ms: row.int(4)?,
    })
}

impl Store {
    /// Refuses holds once more than this share of a budget's period, in millionths, is only assumed. Said once, at the start.
    pub fn pause_when_assumed(&self, share_ppm: u32) {
        self.money.pause_when_assumed(share_ppm);
    }

    /// Models that may not be called, by name.
    pub async fn list_quarantines(&self) -> Result<Vec<Quarantine>> {
        self.read(|tx| Box::pin(async move { tx.query(ALL, &[]).await?.iter().map(read).collect() })).await
    }

    /// Lets the model be called again. False: it was not in quarantine.
    pub async fn lift_quarantine(
        &self,
        provider: &str,
        model: &str,
        by: &Actor,
        now_ms: i64,
    ) -> Result<bool> {
        let (provider, model, by) = (provider.to_owned(), model.to_owned(), by.clone());
        self.write(move |tx| {
            let (provider, model, by) = (provider.clone(), model.clone(), by.clone());
            Box::pin(async move {
                if tx.execute(LIFT, &[(&provider).into(), (&model).into()]).await? == 0 {
                    return Ok(false);
                }
                let name = format!("{provider}/{model}");
                let detail = json!({ "provider": provider, "model": model });
                audit::append(tx, &Act::new(&by, "ai.quarantine.lift", &name, now_ms).detail(detail)).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Counts a request among those of all nodes, by the database's clock. PostgreSQL only: one process is all there is to an
    /// SQLite file, and counts for itself.
    pub async fn take_minute(
        &self,
        provider: &str,
        limits: MinuteLimits,
        tokens: u64,
    ) -> Result<MinuteTaken> {
        let taken = self.minute(provider, move |minute, now_ms| minute.take(&limits, tokens, now_ms)).await?;
        Ok(match taken {
            Ok(slot) => MinuteTaken::In(slot),
            Err(ms) => MinuteTaken::Wait { ms },
        })
    }

    /// Says what a request of this slot used in place of what was counted for it; `None`: it never went out.
    pub async fn correct_minute(
        &self,
        provider: &str,
        slot: i64,
        counted: u64,
        used: Option<u64>,
    ) -> Result<()> {
        self.minute(provider, move |minute, _| minute.correct(slot, counted, used)).await
    }

    async fn minute<T: Send + 'static>(
        &self,
        provider: &str,
        change: impl Fn(&mut Minute, i64) -> T + Clone + Send + Sync + 'static,
    ) -> Result<T> {
        let provider = provider.to_owned();
        self.write(move |tx| {
            let (provider, change) = (provider.clone(), change.clone());
            Box::pin(async move {
                let held = tx.query_opt(HOLD_MINUTE, &[(&provider).into()]).await?;
                let row = held.ok_or_else(|| Error::bug("a minute that was held is not there"))?;
                let (mut minute, now_ms) = (Minute::parse(&row.text(0)?), row.int(1)?);
                let answer = change(&mut minute, now_ms);
                write_minute(tx, &provider, &minute).await?;
                Ok(answer)
            })
        })
        .await
    }
}

async fn write_minute(tx: &mut Tx<'_>, provider: &str, minute: &Minute) -> Result<()> {
    let text = minute.to_text();
    tx.execute(WRITE_MINUTE, &[provider.into(), (&text).into()]).await?;
    Ok(())
}
