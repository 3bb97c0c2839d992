//! What providers say a day cost, beside what our books say of the same day. What they say later of a day replaces what they
//! said before.

use levqor_core::money::{Nano, drift_ppm};

use super::rollups::DAY_MS;
use crate::tx::{Row, Tx};
use crate::{Result, Store};

/// Nobody else takes the day's comparison before this has passed.
const LEASE_MS: i64 = 30 * 60_000;

/// One provider's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub provider: String,
    pub day_ms: i64,
    /// What the provider says.
    pub stated: Nano,
    /// What our books say, of calls held on that day.
    pub booked: Nano,
    /// How far apart they are, in millionths of what the provider says.
    pub drift_ppm: i64,
    pub fetched_at_ms: i64,
}

const CLAIM: &str = "insert into statement_runs as r (day_ms, attempt, started_at_ms, again_at_ms) values ($1, 1, $2, $3) \
    on conflict (day_ms) do update set attempt = r.attempt + 1, started_at_ms = excluded.started_at_ms, \
    again_at_ms = excluded.again_at_ms where r.again_at_ms is not null and r.again_at_ms <= $2 returning attempt";

const BOOKED: &str = "select cast(coalesce(sum(r.cost_nano), 0) as bigint) from cost_rollups r \
    join cost_groups g on g.id = r.group_id where r.width_ms = $1 and r.start_ms = $2 and g.provider in ($3, $4)";

const PUT: &str = "insert into provider_statements (provider, day_ms, stated_nano, booked_nano, drift_ppm, fetched_at_ms) \
    values ($1, $2, $3, $4, $5, $6) on conflict (provider, day_ms) do update set stated_nano = excluded.stated_nano, \
    booked_nano = excluded.booked_nano, drift_ppm = excluded.drift_ppm, fetched_at_ms = excluded.fetched_at_ms";

const LIST: &str = "select provider, day_ms, stated_nano, booked_nano, drift_ppm, fetched_at_ms from provider_statements \
    order by day_ms desc, provider limit $1";

impl Store {
    /// Takes the comparison of the day that begins at `day_ms`, if nobody has made it or is at it: the attempt's number.
    pub async fn claim_statements(&self, day_ms: i64, now_ms: i64) -> Result<Option<i64>> {
        let sql =
            "select 1 from statement_runs where day_ms = $1 and (again_at_ms is null or again_at_ms > $2)";
        let is_taken = self.read(move |tx| {
            Box::pin(async move { Ok(tx.query_opt(sql, &[day_ms.into(), now_ms.into()]).await?.is_some()) })
        });
        // Looked at first: an idle server writes nothing.
        if is_taken.await? {
            return Ok(None);
        }
        self.write(move |tx| {
            Box::pin(async move {
                let values = [day_ms.into(), now_ms.into(), (now_ms + LEASE_MS).into()];
                tx.query_opt(CLAIM, &values).await?.map(|row| row.int(0)).transpose()
            })
        })
        .await
    }

    /// Notes that the day is done, or when it is to be tried again. Nothing where somebody else has taken it over.
    pub async fn end_statements(&self, day_ms: i64, attempt: i64, again_at_ms: Option<i64>) -> Result<()> {
        let sql = "update statement_runs set again_at_ms = $3 where day_ms = $1 and attempt = $2";
        self.write(move |tx| {
            Box::pin(async move {
                tx.execute(sql, &[day_ms.into(), attempt.into(), again_at_ms.into()]).await?;
                Ok(())
            })
        })
        .await
    }

    /// Stores what a provider says of some days, and compares it with the books of this moment.
    pub async fn put_statements(
        &self,
        provider: &str,
        stated: &[(i64, Nano)],
        now_ms: i64,
    ) -> Result<Vec<Statement>> {
        let (provider, stated) = (provider.to_owned(), stated.to_vec());
        self.write(move |tx| {
            let (provider, stated) = (provider.clone(), stated.clone());
            Box::pin(async move { put(tx, &provider, &stated, now_ms).await })
        })
        .await
    }

    /// Newest days first.
    pub async fn list_statements(&self, limit: usize) -> Result<Vec<Statement>> {
        self.read(move |tx| {
            Box::pin(
                async move { tx.query(LIST, &[(limit as i64).into()]).await?.iter().map(read).collect() },
            )
        })
        .await
    }
}

async fn put(tx: &mut Tx<'_>, provider: &str, stated: &[(i64, Nano)], now_ms: i64) -> Result<Vec<Statement>> {
    let mut statements = Vec::with_capacity(stated.len());
    // The same account over its other wire.
    let responses = format!("{provider}-responses");
    for (day_ms, stated) in stated {
        let row = tx
            .query_opt(BOOKED, &[DAY_MS.into(), (*day_ms).into(), provider.into(), (&responses).into()])
            .await?;
        let booked = Nano::new(row.map_or(Ok(0), |row| row.int(0))?);
        let drift = drift_ppm(booked, *stated);
        let values = [
            provider.into(),
            (*day_ms).into(),
            stated.get().into(),
            booked.get().into(),
            drift.into(),
            now_ms.into(),
        ];
        tx.execute(PUT, &values).await?;
        statements.push(Statement {
            provider: provider.to_owned(),
            day_ms: *day_ms,
            stated: *stated,
            booked,
            drift_ppm: drift,
            fetched_at_ms: now_ms,
        });
    }
    Ok(statements)
}

fn read(row: &Row) -> Result<Statement> {
    Ok(Statement {
        provider: row.text(0)?,
        day_ms: row.int(1)?,
        stated: Nano::new(row.int(2)?),
        booked: Nano::new(row.int(3)?),
        drift_ppm: row.int(4)?,
        fetched_at_ms: row.int(5)?,
    })
}
